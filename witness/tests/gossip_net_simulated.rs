//! Witnesses in one process, over a network that is made up: messages wait, get lost or are held
//! back as a seed says, and hosts die and come back.
//!
//! All that a real witness does over its sockets is here: the listener and its limits, the routes,
//! the client and its pool, the driver of gossip, its folders on the disk. What is made up is the
//! network (turmoil), the time, and the store of what was cosigned, which is in memory. Not under
//! test are TLS, name lookups, and the order of `serve::run`: a host is put together here. A log's
//! requests do not go over the network, so that nothing of it waits for a thread that the seed does
//! not rule; what is left to chance is how long files take, for which the time stands still.
//!
//! A failure prints its seed:
//!
//! ```sh
//! JURAT_NET_SEED=7 cargo test -p jurat-witness --test gossip_net_simulated -- --nocapture
//! JURAT_NET_SEEDS=20 JURAT_NET_HOSTS=50 cargo test -p jurat-witness --test gossip_net_simulated
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod rig;

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jurat_daemon::client::{Client, Dialled, Link};
use jurat_daemon::clock::{BootTime, Clock, ClockGuard, ClockMetrics, UnixTime};
use jurat_daemon::http::{self, HttpMetrics, Listener, Uri};
use jurat_daemon::shutdown::Shutdown;
use jurat_keys::SigningKey;
use jurat_proto::key::{Signer, VerifierKey};
use jurat_store::MemoryStore;
use jurat_witness::config::Config;
use jurat_witness::cosign::{AddError, Parts, Witness};
use jurat_witness::evidence::{Convicted, EvidenceFolder, Listed};
use jurat_witness::gossip::{self, Gossip};
use jurat_witness::http::Api;
use jurat_witness::metrics::Metrics;
use prometheus_client::registry::Registry;
use tokio::runtime::Runtime;
use turmoil::net::{TcpListener, TcpStream};

use rig::circle::{acquaint, add_logs, homes};
use rig::{Home, TestLog};

fn set<T: FromStr<Err: fmt::Debug>>(variable: &str) -> Option<T> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap())
}

/// The network's own listener, for the server of every daemon.
struct Port(TcpListener);

impl Listener for Port {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }

    fn prepare(_: &TcpStream) -> io::Result<()> {
        Ok(())
    }
}

fn dial(uri: Uri) -> Dialled {
    Box::pin(async move {
        let host = uri.host().unwrap().to_owned();
        let stream: Box<dyn Link> = Box::new(TcpStream::connect((host, PORT)).await?);
        Ok(stream)
    })
}

const PORT: u16 = 8419;
const ROUND: Duration = Duration::from_secs(5);
/// What most clocks show, and those of the first two: ten minutes more, and ten less.
const MOST: Duration = Duration::from_secs(600);
const CLOCKS: [Duration; 2] = [Duration::from_secs(1_200), Duration::ZERO];
const START: UnixTime = UnixTime::from_seconds(1_790_000_000);

/// Shows how far the simulation is, and may be wrong all the time.
#[derive(Clone)]
struct SimClock {
    elapsed_ms: Arc<AtomicU64>,
    ahead: Duration,
    began: Instant,
}

impl SimClock {
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst))
    }
}

impl Clock for SimClock {
    fn now(&self) -> UnixTime {
        START.plus(self.elapsed() + self.ahead)
    }

    fn instant(&self) -> Instant {
        self.began + self.elapsed()
    }

    fn boot_time(&self) -> BootTime {
        BootTime::ZERO.plus(self.elapsed())
    }
}

/// What of a host outlives its death, and the witness that runs on it now.
#[derive(Clone)]
struct Host {
    config: PathBuf,
    store: Arc<MemoryStore>,
    clock: SimClock,
    running: Arc<Mutex<Option<Arc<Witness>>>>,
}

impl Host {
    /// Puts a witness together, as the process does, and serves until the host dies.
    async fn run(self) -> Result<(), Box<dyn Error>> {
        let config = Config::load(&self.config)?;
        let limits = config.limits.clone();
        let mut registry = Registry::default();
        let metrics = HttpMetrics::register(&mut registry);
        let witness = self.witness(config)?;
        let running = Arc::clone(&witness);
        *self.running.lock().unwrap() = Some(running);
        let gossip = witness.gossip().unwrap();
        tokio::spawn(Arc::clone(gossip).run());
        let listener = Port(TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?);
        let api = Arc::new(Api::new(witness, Arc::new(registry), limits.body_timeout));
        http::serve(listener, None, limits, api, Shutdown::new(), metrics).await?;
        Ok(())
    }

    fn witness(&self, config: Config) -> Result<Arc<Witness>, Box<dyn Error>> {
        let logs = Arc::new(config.logs);
        let own: Vec<VerifierKey> = config
            .keys
            .iter()
            .map(|key| key.verifier_key().clone())
            .collect();
        let jury = Listed::new(
            Arc::clone(&logs),
            own.clone(),
            Vec::new(),
            config.gossip.clone(),
        );
        let metrics = Metrics::unregistered();
        let folder = EvidenceFolder::beside(&config.database);
        let evidence = Arc::new(EvidenceFolder::open(folder, metrics.clone(), jury)?);
        let boxed = |key: SigningKey| -> Box<dyn Signer> { Box::new(key) };
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let guard = ClockGuard::new(clock, config.clock, ClockMetrics::default());
        let guard = Arc::new(guard);
        let witness = Witness::start(Parts {
            signers: config.keys.into_iter().map(boxed).collect(),
            former_keys: Vec::new(),
            store: self.store.clone(),
            clock: Arc::clone(&guard),
            logs: Arc::clone(&logs),
            metrics: metrics.clone(),
            quotas: config.quotas,
            guard: None,
            commits_waiting_max: config.commits_waiting_max,
            commit_batch_max: config.commit_batch_max,
        })?;
        let witness = witness.with_evidence(Arc::clone(&evidence));
        let settings = config.gossip.unwrap();
        let client = Client::dialling(gossip::client_options(&settings), dial)?;
        let gossip = Gossip::open(gossip::Parts {
            settings,
            cosigners: own,
            former: Vec::new(),
            database: &config.database,
            evidence,
            logs,
            clock: guard,
            metrics,
            client,
        })?;
        Ok(Arc::new(witness.with_gossip(Arc::new(gossip))))
    }
}

/// Numbers that follow from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % u64::try_from(bound).unwrap()).unwrap()
    }
}

fn host_name(place: usize) -> String {
    format!("w{place}")
}

struct Net {
    sim: turmoil::Sim<'static>,
    hosts: Vec<Host>,
    dead: Vec<bool>,
    elapsed_ms: Arc<AtomicU64>,
    runtime: Runtime,
    chance: Chance,
    _homes: Vec<Home>,
}

impl Net {
    fn new(seed: u64, count: usize, logs: &[&TestLog]) -> Self {
        let homes = homes(count);
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let more = format!("round_ms = {}\n", ROUND.as_millis());
        acquaint(
            &homes,
            |_| anywhere,
            |_, other| format!("http://{}:{PORT}", host_name(other)),
            |_| more.clone(),
        );
        add_logs(&homes, logs.iter().map(|log| (*log, None)));
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(86_400))
            .min_message_latency(Duration::from_millis(10))
            .max_message_latency(Duration::from_millis(150))
            .tcp_capacity(4_096)
            .build();
        let elapsed_ms = Arc::new(AtomicU64::new(0));
        let hosts: Vec<Host> = homes
            .iter()
            .enumerate()
            .map(|(place, home)| Host {
                config: Path::new(&home.config()).to_owned(),
                store: Arc::new(MemoryStore::new()),
                clock: SimClock {
                    elapsed_ms: Arc::clone(&elapsed_ms),
                    ahead: CLOCKS.get(place).copied().unwrap_or(MOST),
                    began: Instant::now(),
                },
                running: Arc::default(),
            })
            .collect();
        for (place, host) in hosts.iter().enumerate() {
            let host = host.clone();
            sim.host(host_name(place), move || host.clone().run());
        }
        Self {
            sim,
            dead: vec![false; hosts.len()],
            hosts,
            elapsed_ms,
            runtime: Runtime::new().unwrap(),
            chance: Chance(seed),
            _homes: homes,
        }
    }

    fn run(&mut self, how_long: Duration) {
        let end = self.sim.elapsed() + how_long;
        while self.sim.elapsed() < end {
            self.step();
        }
    }

    fn step(&mut self) {
        self.sim.step().unwrap();
        let elapsed = u64::try_from(self.sim.elapsed().as_millis()).unwrap();
        self.elapsed_ms.store(elapsed, Ordering::SeqCst);
    }

    fn everybody(&self) -> std::ops::Range<usize> {
        0..self.hosts.len()
    }

    fn witness(&self, place: usize) -> Arc<Witness> {
        let running = self.hosts[place].running.lock().unwrap();
        Arc::clone(running.as_ref().unwrap())
    }

    fn add(&self, place: usize, log: &TestLog, old: u64, new: u64) -> Result<(), AddError> {
        let body = Bytes::from(log.request(old, new));
        let witness = self.witness(place);
        let added = self.runtime.block_on(witness.add_checkpoint(body));
        added.map(drop)
    }

    fn has_proof(&self, place: usize, log: &TestLog) -> bool {
        let witness = self.witness(place);
        let evidence = witness.evidence().unwrap();
        let convicted = evidence.convicted(&log.origin, false);
        matches!(convicted, Some(Convicted::Log(_))) && evidence.counts().kept == 1
    }

    fn kill(&mut self, place: usize) {
        if !std::mem::replace(&mut self.dead[place], true) {
            self.sim.crash(host_name(place));
        }
    }

    fn revive(&mut self, place: usize) {
        if std::mem::replace(&mut self.dead[place], false) {
            self.sim.bounce(host_name(place));
        }
    }

    /// Something happens to the network, or to a host; or all is well again, if it may.
    fn misfortune(&mut self, may_end: bool) {
        let count = self.hosts.len();
        let (a, b) = (self.chance.below(count), self.chance.below(count));
        match self.chance.below(5 + usize::from(may_end)) {
            0 | 1 => {
                // Some are on one side and the rest on the other.
                for x in 0..=a {
                    for y in a + 1..count {
                        self.sim.partition(host_name(x), host_name(y));
                    }
                }
            }
            2 if a != b => self.sim.partition_oneway(host_name(a), host_name(b)),
            3 if a != b => self.sim.hold(host_name(a), host_name(b)),
            4 => self.kill(a),
            _ => self.mend(),
        }
    }

    /// What one sends and what is sent to it is lost, or waits, until all is well again.
    fn isolate(&mut self, place: usize) {
        for other in self.everybody().filter(|other| *other != place) {
            let (a, b) = (host_name(place), host_name(other));
            if self.chance.below(2) == 0 {
                self.sim.partition(a, b);
            } else {
                self.sim.hold(a, b);
            }
        }
    }

    /// All links are as they should be, and all hosts run.
    fn mend(&mut self) {
        for a in self.everybody() {
            for b in a + 1..self.hosts.len() {
                self.sim.repair(host_name(a), host_name(b));
                self.sim.release(host_name(a), host_name(b));
            }
            self.revive(a);
        }
    }
}

const TICK: Duration = Duration::from_millis(20);

// Spec: GSP-35, GSP-49, GSP-72, GSP-73
#[test]
fn a_fork_in_bad_weather_is_proven_at_all_soon_after_it_and_no_honest_log_is() {
    let hosts = set("JURAT_NET_HOSTS").unwrap_or(6);
    let seeds = match set("JURAT_NET_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..set("JURAT_NET_SEEDS").unwrap_or(3) + 1,
    };
    let mut rounds: Vec<f64> = seeds.map(|seed| story(seed, hosts)).collect();
    rounds.sort_by(f64::total_cmp);
    println!("rounds after the weather: {rounds:.1?}");
}

/// Prints the seed when the story goes wrong.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("JURAT_NET_SEED={}", self.0);
        }
    }
}

/// How many rounds after the end of the weather all had the proof.
fn story(seed: u64, count: usize) -> f64 {
    let _told = Seed(seed);
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let mut other = log.fork(12);
    other.grow(20);
    let mut honest = TestLog::new("example.com/honest");
    honest.grow(40);
    let mut net = Net::new(seed, count, &[&log, &honest]);
    net.run(ROUND);
    for place in net.everybody() {
        net.add(place, &log, 0, 10).unwrap();
        net.add(place, &honest, 0, 10).unwrap();
    }
    net.run(ROUND * 2);

    let mut honest_sizes = vec![10; count];
    let forked_at = 2 + net.chance.below(3);
    for turn in 0..7 {
        // Before the fork the weather may end; after it nothing of the victim gets out.
        net.misfortune(turn < forked_at);
        if turn == forked_at {
            let victim = net.chance.below(count);
            net.isolate(victim);
            for place in net.everybody() {
                let branch = if place == victim { &other } else { &log };
                // The store of a dead host takes it: it died just after.
                net.add(place, branch, 10, 20).unwrap();
            }
        }
        // The honest log goes on, and not everybody hears of each step.
        let size = 11 + u64::try_from(turn).unwrap();
        for (place, held) in honest_sizes.iter_mut().enumerate() {
            if net.chance.below(2) == 0 {
                net.add(place, &honest, *held, size).unwrap();
                *held = size;
            }
        }
        let pause = u32::try_from(1 + net.chance.below(6)).unwrap();
        net.run(ROUND * pause / 2);
    }
    for place in net.everybody() {
        assert!(!net.has_proof(place, &log), "seed {seed}: witness {place}");
    }
    net.mend();
    let healed = net.sim.elapsed();
    let mut rounds = 0.0;
    while !net.everybody().all(|place| net.has_proof(place, &log)) {
        net.step();
        let since = net.sim.elapsed().saturating_sub(healed);
        rounds = since.as_secs_f64() / ROUND.as_secs_f64();
        assert!(
            rounds < ROUNDS_MAX,
            "seed {seed}: not proven at all of them"
        );
    }
    net.run(ROUND * 4);
    for (place, held) in honest_sizes.into_iter().enumerate() {
        net.add(place, &honest, held, 40).unwrap();
        let evidence = net.witness(place).evidence().unwrap().counts();
        assert_eq!(evidence.kept, 1, "seed {seed}: witness {place}");
    }
    rounds
}

const ROUNDS_MAX: f64 = 8.0;
