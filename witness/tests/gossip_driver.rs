//! What becomes of the process when the driver of gossip panics: told by a process of its own, this
//! program again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod rig;

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use jurat_daemon::client::Client;
use jurat_daemon::clock::{BootTime, Clock, ClockGuard, ClockMetrics, SystemClock, UnixTime};
use jurat_proto::key::Signer as _;
use jurat_witness::config::Config;
use jurat_witness::evidence::EvidenceFolder;
use jurat_witness::gossip::{self, Gossip};
use jurat_witness::metrics::Metrics;

use rig::{Home, Nobody};

const CONFIG: &str = "JURAT_TEST_DRIVER_PANICS";

/// A clock that breaks.
struct Breaks(Arc<AtomicBool>);

impl Clock for Breaks {
    fn now(&self) -> UnixTime {
        assert!(!self.0.load(Ordering::SeqCst), "the clock broke");
        SystemClock.now()
    }

    fn instant(&self) -> Instant {
        SystemClock.instant()
    }

    fn boot_time(&self) -> BootTime {
        SystemClock.boot_time()
    }
}

// Spec: GSP-139
#[test]
fn a_panic_of_the_driver_ends_the_process_with_its_code() {
    if let Some(config) = env::var_os(CONFIG) {
        drive(Path::new(&config));
        return;
    }
    let home = Home::new();
    let config = fs::read_to_string(home.config()).unwrap();
    let off = "#[gossip]\n#key = \"gossip.key\"\n";
    assert!(config.contains(off));
    fs::write(home.config(), config.replace(off, &off.replace('#', ""))).unwrap();
    let name = "a_panic_of_the_driver_ends_the_process_with_its_code";
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CONFIG, home.config())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the clock broke"), "{said}");
    assert_eq!(output.status.code(), Some(70), "{said}");
}

/// In the other process: drives gossip with a clock that breaks as soon as it runs.
fn drive(config: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let config = Config::load(config).unwrap();
        let breaks = Arc::new(AtomicBool::new(false));
        let clock: Arc<dyn Clock> = Arc::new(Breaks(Arc::clone(&breaks)));
        let clock = ClockGuard::new(clock, config.clock, ClockMetrics::default());
        let metrics = Metrics::unregistered();
        let folder = EvidenceFolder::beside(&config.database);
        let evidence = EvidenceFolder::open(folder, metrics.clone(), Nobody).unwrap();
        let settings = config.gossip.unwrap();
        let keys = config.keys.iter().map(|key| key.verifier_key().clone());
        let gossip = Gossip::open(gossip::Parts {
            client: Client::new(gossip::client_options(&settings)).unwrap(),
            settings,
            cosigners: keys.collect(),
            former: Vec::new(),
            database: &config.database,
            evidence: Arc::new(evidence),
            logs: Arc::new(config.logs),
            clock: Arc::new(clock),
            metrics,
        });
        let gossip = Arc::new(gossip.unwrap());
        breaks.store(true, Ordering::SeqCst);
        gossip.run().await;
    });
}
