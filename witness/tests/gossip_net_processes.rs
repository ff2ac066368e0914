//! Many witnesses as real processes, over real sockets and disks: how long it takes from the first
//! cosignature on the second history of a log until every witness has the proof.
//!
//! The usual run is small, and its claim is in rounds. What is published is measured with
//!
//! ```sh
//! JURAT_NET_WITNESSES=30 JURAT_NET_TRIALS=20 JURAT_NET_ROUND_MS=5000 JURAT_NET_ROUNDS_MAX=3 \
//!     cargo test -p jurat-witness --test gossip_net_processes -- --nocapture
//! ```
//!
//! and is in `docs/gossip-processes.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod rig;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use jurat_proto::evidence::Evidence;
use jurat_proto::hex;
use jurat_proto::tree::{NodeCoord, NodeReader as _};

use rig::circle::{Hook, Place, acquaint, add_logs, homes, name, quiet, witness};
use rig::{Home, Process, TestLog, serve_tiles, until};

/// What of this is set from outside, or the small run.
fn set<T: FromStr<Err: fmt::Debug>>(variable: &str, otherwise: T) -> T {
    std::env::var(variable).map_or(otherwise, |value| value.parse().unwrap())
}

/// The heads that the two histories show.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    SameSize,
    TwoSizes,
}

/// The history that all have.
const COMMON: u64 = 10;
/// Where all but one are led.
const MANY: u64 = 20;
/// Where the one is led that is shown the other history, when its tree is larger.
const LARGER: u64 = 30;

/// A log, and the history that one witness is shown.
struct Fork {
    kind: Kind,
    log: TestLog,
    other: TestLog,
}

impl Fork {
    fn new(kind: Kind, trial: usize) -> Self {
        let mut log = TestLog::new(&format!("example.com/{kind:?}/{trial}"));
        log.grow(MANY);
        let mut other = log.fork(COMMON + 2);
        other.grow(LARGER);
        Self { kind, log, other }
    }

    fn size(&self) -> u64 {
        match self.kind {
            Kind::SameSize => MANY,
            Kind::TwoSizes => LARGER,
        }
    }

    /// The tiles of the history with the larger tree: nobody could open it without them.
    fn tiles(&self) -> Option<String> {
        let coords = (0..LARGER).map(|index| NodeCoord { level: 0, index });
        let hashes = self.other.nodes(&coords.collect::<Vec<_>>()).unwrap();
        let tile: Vec<u8> = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
        let path = format!("/tile/0/000.p/{LARGER}");
        (self.kind == Kind::TwoSizes).then(|| {
            let address = serve_tiles(BTreeMap::from([(path, tile)]));
            format!("http://{address}/checkpoint")
        })
    }

    fn evidence(&self) -> String {
        let (a, b) = (
            self.log.checkpoint(MANY),
            self.other.checkpoint(self.size()),
        );
        let evidence = match self.kind {
            Kind::SameSize => Evidence::same_size(a, b),
            Kind::TwoSizes => {
                let root = self.other.head(MANY).root_hash;
                Evidence::opening(a, b, root, self.other.proof(MANY, LARGER))
            }
        };
        hex::encode(evidence.unwrap().id().as_bytes())
    }
}

/// A witness has the proof when it says so, and when its evidence can be had from it: then it is on
/// its disk.
struct Net {
    processes: Vec<Process>,
    hook: Hook,
    round: Duration,
    _places: Vec<Place>,
    _homes: Vec<Home>,
}

impl Net {
    fn start(witnesses: usize, round: Duration, forks: &[Fork]) -> Self {
        let hook = Hook::open("127.0.0.1:0".parse().unwrap());
        let homes = homes(witnesses);
        let places: Vec<Place> = homes.iter().map(|_| Place::take()).collect();
        // The log is looked at seldom: it shows no checkpoint anyway.
        let more = format!(
            "round_ms = {}\npassive_per_second = 1\nalarm_webhook = \"http://{}/\"\n",
            round.as_millis(),
            hook.address
        );
        let url = |_, other: usize| format!("http://{}", places[other].address);
        acquaint(&homes, |place| places[place].address, url, |_| more.clone());
        add_logs(&homes, forks.iter().map(|fork| (&fork.log, fork.tiles())));
        let processes = homes.iter().map(|home| quiet(witness(), home)).collect();
        Self {
            processes,
            hook,
            round,
            _places: places,
            _homes: homes,
        }
    }

    fn all_cosign(&self, log: &TestLog, old: u64, new: u64, but: Option<usize>) {
        let request = log.request(old, new);
        for (place, process) in self.processes.iter().enumerate() {
            if but != Some(place) {
                let answer = process.add(&request);
                assert_eq!(answer.status, 200, "witness {place}: {}", answer.text());
            }
        }
    }

    /// How long it took until each witness had the proof, from the first to the last.
    fn trial(&self, fork: &Fork, victim: usize) -> Vec<Duration> {
        let id = fork.evidence();
        self.all_cosign(&fork.log, COMMON, MANY, Some(victim));
        let request = fork.other.request(COMMON, fork.size());
        let answer = self.processes[victim].add(&request);
        let began = Instant::now();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let deadline = began + self.round * 30;
        let mut missing: BTreeMap<String, usize> = (0..self.processes.len())
            .map(|place| (name(place), place))
            .collect();
        let mut times = Vec::new();
        while !missing.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(told) = self.hook.told.recv_timeout(left) else {
                panic!("nothing of {:?}", missing.keys());
            };
            assert!(
                !matches!(&*told.alarm, "own-clock" | "peer-misbehaves" | "not-stored"),
                "{told:?}"
            );
            let is_it = told.alarm == "proven" && told.raised && told.about.contains(&id);
            if is_it && let Some(place) = missing.remove(&told.witness) {
                let shown = format!("/gossip/v0/evidence/{id}");
                until(|| self.processes[place].get(&shown).status == 200);
                times.push(began.elapsed());
            }
        }
        assert_eq!(times.len(), self.processes.len(), "each has told, once");
        for (place, process) in self.processes.iter().enumerate() {
            let (branch, size) = if place == victim {
                (&fork.other, fork.size())
            } else {
                (&fork.log, MANY)
            };
            assert_eq!(process.add(&branch.request(size, size)).status, 403);
        }
        times
    }
}

/// The value below which this share of them is, of a hundred.
fn percentile(times: &mut [Duration], share: usize) -> Duration {
    times.sort_unstable();
    let place = (times.len() * share).div_ceil(100).max(1) - 1;
    times[place]
}

fn print(what: &str, mut times: Vec<Duration>) {
    let [half, most, last] = [50, 99, 100].map(|share| percentile(&mut times, share));
    let of = |time: Duration| time.as_secs_f64();
    println!(
        "{what}: p50 {:.2} s, p99 {:.2} s, max {:.2} s, of {}",
        of(half),
        of(most),
        of(last),
        times.len()
    );
}

// Spec: GSP-45, GSP-72, GSP-101
#[test]
fn a_fork_that_one_witness_sees_is_proven_at_all_within_some_rounds() {
    let witnesses = set("JURAT_NET_WITNESSES", 8);
    let trials = set("JURAT_NET_TRIALS", 1);
    let round = Duration::from_millis(set("JURAT_NET_ROUND_MS", 1_000));
    // Three, and for a small run that shares its machine with others as many again and more.
    let rounds_max: u32 = set("JURAT_NET_ROUNDS_MAX", 10);
    let kinds = [Kind::SameSize, Kind::TwoSizes];
    let forks = kinds.map(|kind| (0..trials).map(move |trial| Fork::new(kind, trial)));
    let forks: Vec<Fork> = forks.into_iter().flatten().collect();
    let net = Net::start(witnesses, round, &forks);
    for fork in &forks {
        net.all_cosign(&fork.log, 0, COMMON, None);
    }
    let mut late = Vec::new();
    for kind in kinds {
        let (mut first, mut each, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for (trial, fork) in forks.iter().filter(|fork| fork.kind == kind).enumerate() {
            // Wait: the fork has to meet the rounds at any point of them.
            thread::sleep(round.mul_f64(fraction(trial)));
            let times = net.trial(fork, trial % witnesses);
            first.push(times[0]);
            all.push(times[times.len() - 1]);
            each.extend(times);
        }
        println!("{kind:?}, {witnesses} witnesses, rounds of {round:?}");
        print("  first", first);
        print("  each ", each);
        print("  all  ", all.clone());
        let last = percentile(&mut all, 99);
        if last > round * rounds_max {
            late.push((kind, last));
        }
    }
    assert!(late.is_empty(), "more than {rounds_max} rounds: {late:?}");
}

/// Points that fill a round evenly, however many there are.
fn fraction(trial: usize) -> f64 {
    let golden = 0.618_033_988_749_895_f64;
    (golden * f64::from(u32::try_from(trial).unwrap())).fract()
}
