//! The clock guard in the witness: with a clock in the test's hand, and as a process whose time
//! servers, on loopback, say another time; one of them is Debian's chronyd.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod rig;
#[path = "../../daemon/tests/time_server/mod.rs"]
mod time_server;

use std::fs;
use std::net::UdpSocket;
use std::num::{NonZeroU32, NonZeroUsize};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jurat_daemon::clock::band::{LeapSecond, Sample};
use jurat_daemon::clock::{
    Clock as _, ClockGuard, ClockMetrics, ManualClock, NoTime, RawClock, SystemClock, UnixTime,
};
use jurat_daemon::config::{self, Problems};
use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::key::{KeyName, Signer};
use jurat_proto::proof::{ConsistencyProof, Subtree};
use jurat_proto::sign_subtree::SignSubtree;
use jurat_store::MemoryStore;
use jurat_store::registry::Registry;
use jurat_witness::cosign::{AddError, ClockFault, Parts, Witness};
use jurat_witness::log_list::LogList;
use jurat_witness::metrics::Metrics;
use jurat_witness::quota::QuotaLimits;
use rig::{Answer, Home, NAME, Process, TestLog, run, until, verified};
use time_server::{Say, TimeServer};

const START: UnixTime = UnixTime::from_seconds(1_790_000_000);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A witness of two logs, with three time sources.
struct Bench {
    dir: tempfile::TempDir,
    logs: [TestLog; 2],
    key: String,
    store: Arc<MemoryStore>,
    clock: ManualClock,
    guard: Arc<ClockGuard>,
    witness: Arc<Witness>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("logs.toml");
        Registry::create(&list).unwrap();
        let logs = ["example.com/a", "example.com/b"].map(|name| {
            let mut log = TestLog::new(name);
            log.grow(16);
            Registry::add(&list, &log.origin, &[log.vkey().clone()]).unwrap();
            log
        });
        let name = KeyName::parse(NAME).unwrap();
        let key = SigningKey::generate(name, Algorithm::MlDsa44).unwrap();
        let key = key.to_note_signer().unwrap().to_string();
        let store = Arc::new(MemoryStore::new());
        let clock = ManualClock::new(START);
        let (guard, witness) = start(dir.path(), &store, &clock, &key);
        Self {
            dir,
            logs,
            key,
            store,
            clock,
            guard,
            witness,
        }
    }

    /// Two of the three sources say that it is this time.
    fn say(&self, time: UnixTime) {
        say(&self.guard, &self.clock, time);
    }

    async fn add(&self, log: usize, old: u64, new: u64) -> Result<u64, AddError> {
        let log = &self.logs[log];
        let body = Bytes::from(log.request(old, new));
        let lines = self.witness.add_checkpoint(body).await?;
        let keys = self.witness.keys();
        Ok(verified(&lines.to_bytes(), &log.checkpoint(new), keys))
    }

    async fn refused(&self, old: u64, new: u64) -> NoTime {
        match self.add(0, old, new).await {
            Err(AddError::Clock(ClockFault::NoTime(fault))) => fault,
            other => panic!("{other:?}"),
        }
    }
}

fn say(guard: &ClockGuard, clock: &ManualClock, time: UnixTime) {
    for source in 0..2 {
        let sample = Sample {
            source,
            at: clock.boot_time(),
            earliest: time,
            latest: time,
            leap: LeapSecond::None,
        };
        guard.answered(source, &Ok(sample));
    }
}

fn start(
    dir: &Path,
    store: &Arc<MemoryStore>,
    clock: &ManualClock,
    key: &str,
) -> (Arc<ClockGuard>, Arc<Witness>) {
    let file = Path::new("witness.toml");
    let raw: RawClock = config::parse("ntp = [\"a\", \"b\", \"c\"]", file).unwrap();
    let settings = raw.resolve(&mut Problems::new(file));
    let metrics = ClockMetrics::default();
    let guard = Arc::new(ClockGuard::new(Arc::new(clock.clone()), settings, metrics));
    let key: Box<dyn Signer> = Box::new(SigningKey::parse_note_signer(key).unwrap());
    let witness = Witness::start(Parts {
        signers: vec![key],
        store: store.clone(),
        clock: Arc::clone(&guard),
        logs: Arc::new(LogList::load(dir.join("logs.toml"), true).unwrap()),
        metrics: Metrics::unregistered(),
        guard: None,
        former_keys: Vec::new(),
        quotas: QuotaLimits {
            default_qpd: None,
            unsigned_per_minute: NonZeroU32::new(60).unwrap(),
            in_flight_max: 8,
        },
        commits_waiting_max: NonZeroUsize::new(32).unwrap(),
        commit_batch_max: NonZeroUsize::new(16).unwrap(),
    });
    (guard, Arc::new(witness.unwrap()))
}

// Spec: WIT-110, WIT-111
#[tokio::test]
async fn a_clock_that_is_set_an_hour_off_signs_nothing_until_it_is_right_again() {
    for forward in [false, true] {
        let bench = Bench::new();
        bench.say(START);
        assert_eq!(bench.add(0, 0, 4).await.unwrap(), START.seconds());
        bench.clock.advance(seconds(5));
        if forward {
            bench.clock.step_forward(seconds(3600));
        } else {
            bench.clock.step_back(seconds(3600));
        }
        let fault = bench.refused(4, 8).await;
        assert!(matches!(fault, NoTime::Outside { .. }), "{fault}");
        bench.witness.check_clock().unwrap_err();
        bench.clock.advance(seconds(400));
        let fault = bench.refused(4, 8).await;
        assert!(
            matches!(fault, NoTime::Outside { .. }),
            "no settling: {fault}"
        );
        bench.clock.set(START.plus(seconds(405)));
        assert_eq!(bench.add(0, 4, 8).await.unwrap(), START.seconds() + 405);
    }
}

// Spec: WIT-111
#[tokio::test]
async fn sources_that_fall_silent_or_contradict_each_other_stop_cosignatures() {
    let bench = Bench::new();
    assert!(matches!(bench.refused(0, 4).await, NoTime::Waiting { .. }));
    bench.say(START);
    bench.add(0, 0, 4).await.unwrap();
    bench.clock.advance(seconds(601));
    assert!(matches!(bench.refused(4, 8).await, NoTime::Stale { .. }));
    bench.say(bench.clock.now());
    bench.add(0, 4, 8).await.unwrap();
    bench.clock.advance(seconds(1));
    let sample = Sample {
        source: 1,
        at: bench.clock.boot_time(),
        earliest: START,
        latest: START,
        leap: LeapSecond::None,
    };
    bench.guard.answered(1, &Ok(sample));
    let fault = bench.refused(8, 9).await;
    assert!(matches!(fault, NoTime::NoAgreement { .. }), "{fault}");
}

// Spec: WIT-111
#[tokio::test]
async fn a_subtree_whose_cosignature_states_no_time_is_cosigned_all_the_same() {
    let bench = Bench::new();
    bench.say(START);
    bench.add(0, 0, 8).await.unwrap();
    bench.clock.step_forward(seconds(3600));
    bench.refused(8, 9).await;
    let log = &bench.logs[0];
    let note = bench.witness.heads().note(&log.origin).unwrap().unwrap();
    let reference = SignedCheckpoint::parse(&note).unwrap();
    let (subtree, hash) = (Subtree::new(0, 8).unwrap(), log.head(8).root_hash);
    let proof = ConsistencyProof::new(Vec::new()).unwrap();
    let request = SignSubtree::new(subtree, hash, proof, reference).unwrap();
    let lines = bench.witness.sign_subtree(Bytes::from(request.to_bytes()));
    assert_eq!(lines.await.unwrap().lines().len(), 1);
}

// Spec: WIT-112
#[tokio::test]
async fn after_a_restart_with_a_clock_behind_only_the_logs_that_it_contradicts_are_refused() {
    let bench = Bench::new();
    bench.say(START);
    bench.add(0, 0, 4).await.unwrap();
    // The sources are a second slow now, or were a second fast: within the tolerance.
    let behind = START.minus(seconds(1));
    let clock = ManualClock::new(behind);
    let (guard, witness) = start(bench.dir.path(), &bench.store, &clock, &bench.key);
    say(&guard, &clock, behind);
    let add = |log: usize, old| {
        let body = Bytes::from(bench.logs[log].request(old, 8));
        let witness = Arc::clone(&witness);
        async move { witness.add_checkpoint(body).await }
    };
    let error = add(0, 4).await.unwrap_err();
    assert!(
        matches!(error, AddError::Clock(ClockFault::BehindCosigned { .. })),
        "{error}"
    );
    add(1, 0).await.unwrap();
    clock.advance(seconds(1));
    add(0, 4).await.unwrap();
}

/// A process with one log and three time servers.
struct Timed {
    servers: [TimeServer; 3],
    asking: Asking,
}

impl Timed {
    fn new(say: Say, valid_s: u64) -> Self {
        let servers = [say; 3].map(TimeServer::start);
        let addresses = servers.each_ref().map(|server| server.address.to_string());
        let asking = Asking::start(&addresses, &format!("valid_s = {valid_s}\n"));
        Self { servers, asking }
    }

    fn say(&self, says: [Say; 3]) {
        for (server, say) in self.servers.iter().zip(says) {
            server.say(say);
        }
    }
}

impl std::ops::Deref for Timed {
    type Target = Asking;

    fn deref(&self) -> &Asking {
        &self.asking
    }
}

/// A process with one log that asks these time servers each second.
struct Asking {
    home: Home,
    log: TestLog,
    process: Process,
}

impl Asking {
    fn start(servers: &[String], more: &str) -> Self {
        let home = Home::new();
        let mut log = TestLog::new("example.com/log");
        log.grow(64);
        home.add_log(&log);
        let config = fs::read_to_string(home.config()).unwrap();
        let clock = format!("[clock]\nntp = {servers:?}\nevery_s = 1\n{more}");
        fs::write(home.config(), config + &clock).unwrap();
        let process = home.serve();
        Self { home, log, process }
    }

    fn grow(&self, old: u64, new: u64) -> Answer {
        self.process.add(&self.log.request(old, new))
    }

    /// Waits until the witness says why it does not sign, then looks whether it does so rightly.
    fn refuses(&self, size: u64, why: &str) {
        until(|| self.process.get("/health").text().contains(why));
        let health = self.process.get("/health");
        assert_eq!(health.status, 503);
        let answer = self.grow(size, size + 1);
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.text().contains(why), "{}", answer.text());
        assert_eq!(answer.header("retry-after"), Some("30"));
        // What was cosigned can still be read.
        let read = self.process.get(&self.log.checkpoint_path());
        assert_eq!(read.status, if size == 0 { 404 } else { 200 });
    }

    /// Waits until the witness signs.
    fn signs(&self, old: u64, new: u64) {
        let mut answer = self.grow(old, new);
        until(|| {
            if answer.status != 200 {
                answer = self.grow(old, new);
            }
            answer.status == 200
        });
        let checkpoint = self.log.checkpoint(new);
        let time = verified(&answer.body, &checkpoint, &self.home.keys);
        let now = SystemClock.now().seconds();
        assert!(now.abs_diff(time) <= 30, "{now} {time}");
    }
}

// Spec: WIT-113, WIT-114
#[test]
fn a_witness_that_starts_signs_nothing_before_its_time_sources_agree() {
    let timed = Timed::new(Say::Nothing, 60);
    timed.refuses(0, "0 time sources have answered since the start; 2 must");
    let metrics = timed.process.get("/metrics");
    assert!(
        metrics
            .text()
            .contains("jurat_clock_state{state=\"Waiting\"} 1\n")
    );
    assert!(metrics.text().contains("jurat_witness_healthy 0\n"));
    timed.say([Say::Right, Say::Right, Say::Nothing]);
    timed.signs(0, 4);
    let metrics = timed.process.get("/metrics");
    assert!(
        metrics
            .text()
            .contains("jurat_clock_state{state=\"Good\"} 1\n")
    );
}

// Spec: WIT-111, WIT-114
#[test]
fn a_process_whose_clock_leaves_the_band_signs_nothing_until_it_is_back() {
    let timed = Timed::new(Say::Right, 60);
    timed.signs(0, 4);
    // Our clock, which nobody sets, is an hour wrong when all say so.
    timed.say([Say::Ahead(3600); 3]);
    timed.refuses(4, " s behind what the time sources agree on");
    timed.say([Say::Right; 3]);
    timed.signs(4, 8);
    timed.say([Say::Behind(3600); 3]);
    timed.refuses(8, " s ahead of what the time sources agree on");
    timed.say([Say::Right; 3]);
    timed.signs(8, 9);
}

// Spec: WIT-111
#[test]
fn a_process_stops_signing_without_a_majority_and_not_because_of_one_liar() {
    let timed = Timed::new(Say::Right, 60);
    timed.say([Say::Right, Say::Right, Say::Ahead(3600)]);
    timed.signs(0, 4);
    timed.say([Say::Right, Say::Behind(3600), Say::Ahead(3600)]);
    timed.refuses(
        4,
        "the time sources contradict each other: of 3, 1 agree; 2 must",
    );
    timed.say([Say::Right; 3]);
    timed.signs(4, 8);
}

// Spec: WIT-111
#[test]
fn a_process_whose_sources_fall_silent_stops_signing_when_their_answers_are_too_old() {
    let timed = Timed::new(Say::Right, 2);
    timed.signs(0, 4);
    timed.say([Say::Unsynchronised, Say::Right, Say::Nothing]);
    timed.refuses(4, "too few time sources have answered for ");
    timed.say([Say::Right; 3]);
    timed.signs(4, 8);
}

/// Debian's NTP daemon on loopback. It does not touch the clock of this machine, but keeps one of
/// its own beside it (`-x`), and is told by `chronyc`.
struct Chrony {
    /// Nobody else may enter it, or there is no command socket.
    dir: tempfile::TempDir,
    port: u16,
    daemon: Child,
}

impl Chrony {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
        // It takes 0 for "do not serve", so that a port has to be found before.
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let at = dir.path().display();
        let config = format!(
            "port {port}\nbindaddress 127.0.0.1\nallow 127.0.0.1\ncmdport 0\nmanual\n\
             bindcmdaddress {at}/socket\npidfile {at}/pid\n"
        );
        fs::write(dir.path().join("chrony.conf"), config).unwrap();
        let daemon = Self::start(dir.path());
        Self { dir, port, daemon }
    }

    fn start(dir: &Path) -> Child {
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let user = String::from_utf8(user).unwrap();
        Command::new(Self::program("sbin/chronyd"))
            .args(["-d", "-x", "-U", "-u", user.trim_end(), "-f"])
            .arg(dir.join("chrony.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Where Debian puts it, or where `tests/run tools` unpacks it.
    fn program(name: &str) -> PathBuf {
        let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/run/chrony/usr");
        let places = [Path::new("/usr"), &unpacked].map(|place| place.join(name));
        let found = places.iter().find(|place| place.exists());
        found
            .unwrap_or_else(|| panic!("there is no {name}: `tests/run tools` fetches it"))
            .clone()
    }

    fn try_tell(&self, words: &[&str]) -> Output {
        Command::new(Self::program("bin/chronyc"))
            .arg("-h")
            .arg(self.dir.path().join("socket"))
            .args(words)
            .env("TZ", "UTC")
            .output()
            .unwrap()
    }

    fn tell(&self, words: &[&str]) {
        until(|| self.try_tell(words).status.success());
    }

    /// Sets its clock, to the second.
    fn set(&self, time: u64) {
        let date = Command::new("date")
            .args(["-u", "-d", &format!("@{time}"), "+%Y-%m-%d %H:%M:%S"])
            .output()
            .unwrap();
        self.tell(&[
            "settime",
            String::from_utf8(date.stdout).unwrap().trim_end(),
        ]);
    }

    fn stop(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }
}

impl Drop for Chrony {
    fn drop(&mut self) {
        drop(self.daemon.kill());
        drop(self.daemon.wait());
    }
}

// Spec: CLK-22, WIT-111, WIT-113
#[test]
fn a_real_ntp_daemon_is_believed_when_it_is_synchronised_and_not_without_it() {
    let mut chrony = Chrony::new();
    let server = format!("127.0.0.1:{}", chrony.port);
    let asking = Asking::start(&[server], "valid_s = 2\ntolerance_ms = 5000\n");
    // It answers, and says of itself that it knows no time.
    let metrics = || asking.process.get("/metrics").text().to_owned();
    let unsynchronised = "answer=\"Unsynchronised\"} 0\n";
    until(|| !metrics().contains(unsynchronised));
    asking.refuses(0, "0 time sources have answered since the start; 1 must");
    chrony.tell(&["local", "stratum", "5"]);
    asking.signs(0, 4);
    chrony.set(SystemClock.now().seconds() + 3600);
    asking.refuses(4, " s behind what the time sources agree on");
    chrony.stop();
    asking.refuses(4, "too few time sources have answered for ");
    chrony.daemon = Chrony::start(chrony.dir.path());
    chrony.tell(&["local", "stratum", "5"]);
    asking.signs(4, 8);
}

// Spec: WIT-110
#[test]
fn check_config_says_all_that_is_wrong_with_the_clock() {
    let home = Home::new();
    let mut config = fs::read_to_string(home.config()).unwrap();
    config += "[clock]\nntp = [\"a b\", \"c\"]\nagree_min = 1\ntolerance_ms = 0\n";
    fs::write(home.config(), config).unwrap();
    let output = run(&["check-config", "--config", &home.config()]);
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stderr).unwrap();
    for said in [
        "clock.ntp[0]: it has no host name or address",
        "clock.agree_min: 1",
        "2 to 2: more than half of the sources in ntp",
        "clock.tolerance_ms: 0",
    ] {
        assert!(text.contains(said), "{text}");
    }
}
