//! How fast does gossip find a fork, what does it cost, and what does it keep under flood? The real
//! core ([`jurat_proto::gossip::node`]), from eight witnesses to ten thousand.
//!
//! ```sh
//! cargo bench -p jurat-proto --bench gossip -- detect all heal > figures.csv
//! cargo bench -p jurat-proto --bench gossip -- scale traffic flood weather
//! python3 docs/gossip-figures.py figures.csv
//! ```
//!
//! Each line of the output is one story: its kind, its setting, its seed, and what came of it. The
//! same seed tells the same story. `runs=10` tells fewer, `threads=2` uses more cores. Signatures
//! are real; one that was checked, or made, in this process is not checked again. Bytes are counted
//! for `seconds=600`, or until `limit=900` seconds of this process are over.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "what panics here is a figure that is not taken"
)]
#![allow(
    clippy::too_many_lines,
    clippy::similar_names,
    clippy::inconsistent_struct_constructor,
    reason = "a story is told from its beginning to its end, and nodes have notes"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[path = "../tests/gossip/actors.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod actors;
#[path = "gossip/crowd.rs"]
mod crowd;
#[path = "gossip/flood.rs"]
mod flood;
#[path = "../tests/gossip/network.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod network;
#[path = "gossip/traffic.rs"]
mod traffic;
#[path = "../tests/gossip/weather.rs"]
#[expect(dead_code, unused_imports, reason = "the tests need more of it")]
mod weather;

use jurat_proto::gossip::node::{Alarm, Config};
use tikv_jemallocator::Jemalloc;

use crate::actors::{Chance, SimLog};
use crate::crowd::{Cast, Conduct, Crowd, Network};

/// That of the witness. The system's gives memory back that is wanted again at once, and the kernel
/// clears it each time: a sixth of the time that ten thousand witnesses take.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// When the log forks, in milliseconds: every witness has had a round before.
const FORK_MS: u64 = 90_000;
const ROUND_MS: u64 = 60_000;
/// How many rounds of honest logs are told.
const MILLION: u64 = 1_000_000;
/// The longest that is waited for a proof.
const PATIENCE_ROUNDS: u64 = 200;

fn main() {
    let (mut kinds, mut runs, mut threads) = (Vec::new(), 100, 1);
    let (mut seconds, mut limit) = (600, 900);
    let mut only = None;
    for word in std::env::args().skip(1) {
        if let Some(count) = word.strip_prefix("runs=") {
            runs = count.parse().unwrap();
        } else if let Some(count) = word.strip_prefix("threads=") {
            threads = count.parse().unwrap();
        } else if let Some(count) = word.strip_prefix("seconds=") {
            seconds = count.parse().unwrap();
        } else if let Some(count) = word.strip_prefix("limit=") {
            limit = count.parse().unwrap();
        } else if let Some(count) = word.strip_prefix("n=") {
            only = Some(count.parse().unwrap());
        } else if !word.starts_with('-') {
            kinds.push(word);
        }
    }
    println!("kind,witnesses,logs,loss,omit,mail,outage,seed,first,all,seconds,megabytes,note");
    let asked = Asked {
        runs,
        threads,
        only,
        seconds,
    };
    for kind in kinds {
        let began = Instant::now();
        match kind.as_str() {
            "detect" => detect(asked),
            "all" => all(asked),
            "heal" => heal(asked),
            "scale" => scale(asked),
            "traffic" => traffic::measure(asked.seconds, Duration::from_secs(limit)),
            "flood" => flood::measure(),
            "weather" => fair(asked),
            other => panic!("there is no figure {other}"),
        }
        eprintln!("{kind}: {:.0} s", began.elapsed().as_secs_f64());
    }
}

/// How many stories, on how many cores, and of how many witnesses only; and in how many seconds
/// bytes are counted.
#[derive(Clone, Copy)]
struct Asked {
    runs: u64,
    threads: usize,
    only: Option<usize>,
    seconds: u64,
}

/// What a story is about.
#[derive(Clone, Copy)]
struct Story {
    kind: &'static str,
    loss: u64,
    /// Of a hundred witnesses, so many, and how they answer.
    omit: (u64, Conduct),
    mail: bool,
    /// For how many rounds the two halves cannot reach each other.
    outage: u64,
    threads: usize,
}

const PLAIN: Story = Story {
    kind: "detect",
    loss: 10,
    omit: (0, Conduct::Omits),
    mail: true,
    outage: 0,
    threads: 1,
};

fn logs(count: usize) -> Vec<SimLog> {
    let logs = (0..count).map(|index| {
        let mut log = SimLog::new(&format!("log{index}.example"), 5_000_000 + index as u64);
        log.grow(0, 10);
        log
    });
    logs.collect()
}

/// The first log has two histories, which part at the fifth entry.
fn forked(count: usize) -> Vec<SimLog> {
    let mut logs = logs(count);
    let fork = logs[0].fork(0, 5);
    logs[0].grow(0, 4_000);
    logs[0].grow(fork, 4_000);
    logs
}

/// Tells a story: all cosign five entries; then one witness, or those of the second half when there
/// is an outage, are shown another history than the others. Prints the rounds from the fork, or
/// from the end of the outage, to the first proof and to the last.
fn tell(cast: &Cast, story: Story, seed: u64, cosign: impl Fn(&mut Crowd<'_>)) -> [u64; 2] {
    let began = Instant::now();
    let count = cast.names.len();
    let few = |config: &mut Config| {
        if story.outage == 0 {
            // Three of all, however few there are.
            config.ask_all_up_to = 0;
        }
    };
    let network = Network {
        loss: story.loss,
        mail: story.mail,
    };
    let mut crowd = Crowd::new(cast, seed, story.threads, network, few);
    let mut log = cast.logs[0].clone();
    let shared = log.note(0, 5);
    for witness in 0..count {
        crowd.cosign(witness, &shared, None);
    }
    cosign(&mut crowd);
    crowd.run_to(FORK_MS, |_| false);
    let mut chance = Chance(seed ^ 0x0317);
    let (share, conduct) = story.omit;
    for witness in 1..count.saturating_sub(1) {
        if chance.percent(share) {
            crowd.set(witness, conduct);
        }
    }
    let half = |witness: usize| witness >= count / 2;
    let is_victim = |witness: usize| match story.outage {
        0 => witness == count - 1,
        _ => half(witness),
    };
    if story.outage > 0 {
        crowd.divide(|witness| u32::from(half(witness)));
    }
    let mut sizes = [10, 13];
    let show = |crowd: &mut Crowd<'_>, log: &mut SimLog, sizes: [u64; 2], from: [u64; 2]| {
        for side in 0..2 {
            let note = log.note(side, sizes[side]);
            let old = log.head(side, from[side]);
            for witness in (0..count).filter(|witness| usize::from(is_victim(*witness)) == side) {
                let proof = log.proof(side, from[side], sizes[side]);
                crowd.cosign(witness, &note, Some((old, proof)));
            }
        }
    };
    show(&mut crowd, &mut log, sizes, [5, 5]);
    let mut since = FORK_MS;
    // Both histories grow on while nobody can see it.
    while since < FORK_MS + story.outage * ROUND_MS {
        since += ROUND_MS.min(FORK_MS + story.outage * ROUND_MS - since);
        assert!(
            !crowd.run_to(since, |crowd| !crowd.nobody_convicts()),
            "seed {seed}"
        );
        let before = sizes;
        sizes = sizes.map(|size| size + 2);
        show(&mut crowd, &mut log, sizes, before);
    }
    crowd.divide(|_| 0);
    let is_over = |crowd: &Crowd<'_>| {
        let mut convicted = crowd.convicted();
        convicted.all(|at| at.is_some())
    };
    let over = crowd.run_to(since + PATIENCE_ROUNDS * ROUND_MS, is_over);
    assert!(over, "seed {seed}: not in {PATIENCE_ROUNDS} rounds");
    let rounds = |at: u64| (at - since).div_ceil(ROUND_MS).max(1);
    let times: Vec<u64> = crowd.convicted().flatten().collect();
    let first = rounds(*times.iter().min().unwrap());
    let last = rounds(*times.iter().max().unwrap());
    let Story {
        kind,
        loss,
        mail,
        outage,
        ..
    } = story;
    let omit = match (share, conduct) {
        (0, _) => "0".to_owned(),
        (_, Conduct::Silent) => format!("{share} silent"),
        _ => format!("{share} omitting"),
    };
    let [logs, open, ring, evidence] = crowd.counts();
    // Nobody is silent but in an outage, or on purpose.
    let is_true = |alarm: &Alarm| match alarm {
        Alarm::Proven { .. } => true,
        Alarm::PeerSilent { .. } | Alarm::Isolated => outage > 0 || conduct == Conduct::Silent,
        Alarm::AgreementLag { .. } => outage > 0,
        _ => false,
    };
    let alarms = crowd.alarms().filter(|alarm| !is_true(alarm)).count();
    assert_eq!(
        alarms,
        0,
        "seed {seed}: {:?}",
        crowd.alarms().collect::<Vec<_>>()
    );
    println!(
        "{kind},{count},{},{loss},{omit},{mail},{outage},{seed},{first},{last},{:.2},{:.0},\
         {logs} logs {open} open {ring} heads {evidence} files {alarms} false alarms",
        cast.logs.len(),
        began.elapsed().as_secs_f64(),
        memory("VmHWM"),
    );
    [first, last]
}

/// Tells a story under many seeds, and says what is usual and what is rare.
fn many(cast: &Cast, story: Story, runs: u64) {
    let told: Vec<[u64; 2]> = (0..runs)
        .map(|seed| tell(cast, story, seed, |_| {}))
        .collect();
    let rank = |place: usize, percent: u64| {
        let mut rounds: Vec<u64> = told.iter().map(|told| told[place]).collect();
        rounds.sort_unstable();
        rounds[(runs * percent).div_ceil(100).max(1) as usize - 1]
    };
    let Story {
        kind,
        loss,
        omit: (omit, conduct),
        mail,
        outage,
        ..
    } = story;
    let how = if conduct == Conduct::Silent {
        "silent"
    } else {
        "omitting"
    };
    eprintln!(
        "{kind}: {} witnesses, {loss} % lost, {omit} % {how}, mail {mail}, outage {outage}: \
         first {} / {}, all {} / {} (p50 / p99 of {runs})",
        cast.names.len(),
        rank(0, 50),
        rank(0, 99),
        rank(1, 50),
        rank(1, 99),
    );
}

/// Rounds to the first proof, one victim.
fn detect(
    Asked {
        runs,
        threads,
        only,
        ..
    }: Asked,
) {
    for count in [8, 32, 128, 1_000, 10_000] {
        if only.is_some_and(|only| only != count) {
            continue;
        }
        let cast = Cast::new(count, forked(1));
        let runs = if count > 1_000 { runs.min(20) } else { runs };
        many(&cast, Story { threads, ..PLAIN }, runs);
    }
}

/// Rounds until all know.
fn all(
    Asked {
        runs,
        threads,
        only,
        ..
    }: Asked,
) {
    let count = only.unwrap_or(1_000);
    let cast = Cast::new(count, forked(1));
    let story = Story {
        kind: "all",
        threads,
        ..PLAIN
    };
    for mail in [true, false] {
        for omit in [
            (33, Conduct::Omits),
            (0, Conduct::Omits),
            (33, Conduct::Silent),
        ] {
            many(
                &cast,
                Story {
                    omit,
                    mail,
                    ..story
                },
                runs,
            );
        }
    }
    for loss in [30, 50] {
        let omit = (33, Conduct::Omits);
        many(
            &cast,
            Story {
                omit,
                loss,
                ..story
            },
            runs.min(20),
        );
    }
}

/// Rounds from the end of an outage to the first proof.
fn heal(
    Asked {
        runs,
        threads,
        only,
        ..
    }: Asked,
) {
    for count in [2, 8, 32, 128] {
        if only.is_some_and(|only| only != count) {
            continue;
        }
        let cast = Cast::new(count, forked(1));
        for (outage, most) in [(1, 100), (10, 100), (100, 100), (1_440, 20)] {
            let dear = outage * count as u64 > 12_000;
            let story = Story {
                kind: "heal",
                outage,
                threads,
                ..PLAIN
            };
            many(
                &cast,
                story,
                if dear { runs.min(4) } else { runs.min(most) },
            );
        }
    }
}

/// Ten thousand witnesses that know a thousand logs: how long does it take to simulate?
fn scale(Asked { threads, only, .. }: Asked) {
    let began = Instant::now();
    let count = only.unwrap_or(10_000);
    let cast = Cast::new(count, forked(1_000));
    let notes: Vec<_> = cast
        .logs
        .iter()
        .map(|log| log.clone().note(0, 10))
        .collect();
    let story = Story {
        kind: "scale",
        threads,
        ..PLAIN
    };
    // Each log is cosigned by one in a hundred, the first one by all.
    let [first, all] = tell(&cast, story, 0, |crowd| {
        let mut chance = Chance(7);
        for note in &notes[1..] {
            for _ in 0..count / 100 {
                let witness = chance.percent_of(count);
                crowd.cosign(witness, note, None);
            }
        }
    });
    eprintln!(
        "scale: {count} witnesses, {} logs: first {first}, all {all}; {:.1} s, {:.0} MB",
        cast.logs.len(),
        began.elapsed().as_secs_f64(),
        memory("VmHWM"),
    );
}

impl Chance {
    fn percent_of(&mut self, count: usize) -> usize {
        use jurat_proto::gossip::node::Dice as _;
        self.below(count as u64) as usize
    }
}

/// A million rounds of honest logs in any weather: whoever is convicted ends the program.
fn fair(Asked { threads, .. }: Asked) {
    let next = AtomicU64::new(0);
    let rounds = AtomicU64::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while rounds.load(Ordering::Relaxed) < MILLION {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    network::under_seeds(seed..seed + 1, |seed| {
                        rounds.fetch_add(weather::honest(seed, 16), Ordering::Relaxed);
                    });
                    if seed.is_multiple_of(500) {
                        eprintln!("weather: seed {seed}");
                    }
                }
            });
        }
    });
    println!(
        "weather,,,,,,,,,,{:.0},{:.0},seeds 0 to {}: {} rounds of honest logs and no conviction",
        began.elapsed().as_secs_f64(),
        memory("VmHWM"),
        next.into_inner() - 1,
        rounds.into_inner(),
    );
}

/// How much memory this process has, or had at most, in megabytes.
fn memory(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1_024.0
}
