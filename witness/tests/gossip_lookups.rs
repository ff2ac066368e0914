//! What is only looked up, over HTTP, while nobody has time for it: a witness in this process,
//! whose threads are all busy.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod rig;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use jurat_daemon::client::Client;
use jurat_daemon::clock::{ClockGuard, ClockMetrics, SystemClock};
use jurat_daemon::http::{self, HttpMetrics};
use jurat_daemon::shutdown::Shutdown;
use jurat_keys::SigningKey;
use jurat_proto::key::Signer;
use jurat_store::MemoryStore;
use jurat_witness::config::Config;
use jurat_witness::cosign::{Parts, Witness};
use jurat_witness::evidence::EvidenceFolder;
use jurat_witness::gossip::{self, Gossip};
use jurat_witness::http::Api;
use jurat_witness::metrics::Metrics;
use prometheus_client::registry::Registry;
use tokio::runtime::Runtime;

use rig::{Home, Nobody, until};

/// How many threads there are for what may wait.
const THREADS: usize = 2;
/// How many lookups wait at most.
const WAIT: usize = 256;

fn witness(home: &Home) -> (Config, Arc<Witness>) {
    let config = fs::read_to_string(home.config()).unwrap();
    let off = "#[gossip]\n#key = \"gossip.key\"\n";
    fs::write(home.config(), config.replace(off, &off.replace('#', ""))).unwrap();
    let config = Config::load(Path::new(&home.config())).unwrap();
    let again = Config::load(Path::new(&home.config())).unwrap();
    let metrics = Metrics::unregistered();
    let folder = EvidenceFolder::beside(&config.database);
    let evidence = Arc::new(EvidenceFolder::open(folder, metrics.clone(), Nobody).unwrap());
    let guard = ClockGuard::new(Arc::new(SystemClock), config.clock, ClockMetrics::default());
    let (guard, logs) = (Arc::new(guard), Arc::new(config.logs));
    let cosigners = config.keys.iter().map(|key| key.verifier_key().clone());
    let settings = config.gossip.unwrap();
    let gossip = Gossip::open(gossip::Parts {
        client: Client::new(gossip::client_options(&settings)).unwrap(),
        settings,
        cosigners: cosigners.collect(),
        former: Vec::new(),
        database: &config.database,
        evidence: Arc::clone(&evidence),
        logs: Arc::clone(&logs),
        clock: Arc::clone(&guard),
        metrics: metrics.clone(),
    });
    let boxed = |key: SigningKey| -> Box<dyn Signer> { Box::new(key) };
    let witness = Witness::start(Parts {
        signers: config.keys.into_iter().map(boxed).collect(),
        former_keys: Vec::new(),
        store: Arc::new(MemoryStore::new()),
        clock: guard,
        logs,
        metrics,
        quotas: config.quotas,
        guard: None,
        commits_waiting_max: config.commits_waiting_max,
        commit_batch_max: config.commit_batch_max,
    });
    let witness = witness.unwrap().with_evidence(evidence);
    (
        again,
        Arc::new(witness.with_gossip(Arc::new(gossip.unwrap()))),
    )
}

/// Has the threads wait until what is returned is dropped.
fn occupy(runtime: &Runtime) -> Vec<SyncSender<()>> {
    let occupied = (0..THREADS).map(|_| {
        let (free, until_free) = mpsc::sync_channel::<()>(0);
        let (waits, waiting) = mpsc::sync_channel::<()>(1);
        runtime.spawn_blocking(move || {
            waits.send(()).unwrap();
            assert!(until_free.recv().is_err(), "nobody sends anything");
        });
        waiting.recv().unwrap();
        free
    });
    occupied.collect()
}

// Spec: GSP-130
#[test]
fn so_many_lookups_wait_and_all_others_are_told_to_come_later() {
    let home = Home::named("w1.example");
    let (config, witness) = witness(&home);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(THREADS)
        .enable_all()
        .build()
        .unwrap();
    let address: SocketAddr = runtime.block_on(async {
        let mut registry = Registry::default();
        let metrics = HttpMetrics::register(&mut registry);
        let gossip = witness.gossip().unwrap();
        tokio::spawn(Arc::clone(gossip).run());
        let listener = http::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let limits = config.limits.clone();
        let api = Api::new(
            Arc::clone(&witness),
            Arc::new(registry),
            limits.body_timeout,
        );
        let serve = http::serve(
            listener,
            None,
            limits,
            Arc::new(api),
            Shutdown::new(),
            metrics,
        );
        tokio::spawn(serve);
        address
    });
    let client = || rig::Client::connect(address);
    let lookups = [
        format!("/gossip/v0/confirmed/{}", "0".repeat(64)),
        format!("/gossip/v0/evidence/{}", "0".repeat(64)),
        format!("/gossip/v0/opening/{}/1/2", "0".repeat(64)),
        "/gossip/v0/evidence?since=0".to_owned(),
    ];
    let look = |client: &mut rig::Client, path: &str| client.call("GET", path, b"").unwrap();
    // It knows the logs: from now on a lookup is one.
    until(|| look(&mut client(), &lookups[3]).status == 200);
    let busy = occupy(&runtime);
    let (answered, answers) = mpsc::sync_channel(WAIT + 1);
    for place in 0..=WAIT {
        let (path, answered) = (lookups[place % 4].clone(), answered.clone());
        let mut client = client();
        thread::spawn(move || {
            let answer = client.call("GET", &path, b"").unwrap();
            answered.send(answer.status).unwrap();
        });
    }
    // One of them finds no place, and is told so at once; and so is each further one.
    assert_eq!(answers.recv().unwrap(), 503);
    let mut more = client();
    for path in &lookups {
        let answer = look(&mut more, path);
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.header("retry-after").is_some());
    }
    assert!(answers.try_recv().is_err(), "all others wait");
    // Nobody else waits for them.
    assert_eq!(look(&mut more, "/health").status, 200);
    drop(busy);
    for _ in 0..WAIT {
        let status = answers.recv().unwrap();
        assert!(matches!(status, 200 | 404), "{status}");
    }
    until(|| look(&mut more, &lookups[3]).status == 200);
}

// Spec: GSP-92, GSP-190
#[test]
fn a_stranger_has_one_budget_whichever_way_it_comes() {
    let home = Home::named("w1.example");
    let (config, witness) = witness(&home);
    let runtime = Runtime::new().unwrap();
    let addresses: Vec<SocketAddr> = runtime.block_on(async {
        let metrics = HttpMetrics::register(&mut Registry::default());
        tokio::spawn(Arc::clone(witness.gossip().unwrap()).run());
        let api = Api::new(witness, Arc::default(), config.limits.body_timeout);
        let behind = api.behind_bastion();
        let serve = |api: Api| {
            let listener = http::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = listener.local_addr().unwrap();
            let (limits, shutdown) = (config.limits.clone(), Shutdown::new());
            let api = Arc::new(api);
            tokio::spawn(http::serve(
                listener,
                None,
                limits,
                api,
                shutdown,
                metrics.clone(),
            ));
            address
        };
        [api, behind].map(serve).into()
    });
    let [mut front, mut behind] = [0, 1].map(|place| rig::Client::connect(addresses[place]));
    let is_full = |client: &mut rig::Client| {
        let posted = client.call("POST", "/gossip/v0/observe", b"rubbish");
        posted.unwrap().status == 429
    };
    assert!((0..2_000).any(|_| is_full(&mut front)));
    // A budget of its own would be a hundred requests; a few come back while this is asked.
    assert!((0..50).any(|_| is_full(&mut behind)));
    let mut again = rig::Client::connect(addresses[1]);
    assert_eq!(again.call("GET", "/metrics", b"").unwrap().status, 404);
}
