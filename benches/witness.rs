//! What does a log get from a witness, and what from the witnesses of others on the same machine?
//!
//! `cargo bench --bench witness [-- --quick] [throughput] [latency] [many] [peer]`
//!
//! Witnesses are processes of their own; this process only sends. Requests are signed before the
//! clock runs, and each is answered after the new state is durable.
//!
//! - `throughput`: 64 kept-alive connections, 1,000 logs, with an Ed25519 key and with an
//!   ML-DSA-44 key beside it; with what the signatures alone cost on the same cores.
//! - `latency`: at 100 a second, beside what an fsync costs on the same disk at the same pace, and
//!   what an answer costs that needs none.
//! - `many`: start-up, memory and throughput with 1,000, 40,000 and 100,000 logs.
//! - `peer`: throughput and latency of litewitness and of omniwitness, each with one Ed25519 key
//!   and its `SQLite` database, from the programs in the folder `JURAT_BENCH_PEERS` (`benches/run
//!   witness` puts them there). Left out without.

#![expect(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a program that measures, and stops at the first failure"
)]

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use jurat_proto::cosignature_lines::CosignatureLines;
use jurat_proto::key::{Signer as _, VerifierKey};
use serde_json::json;
use support::Effort;
use support::floor::Signatures;
use support::load::{ClosedLoop, Connection, Paced, Saturated, Statuses, paced};
use support::peers::{PEERS, Peer, Start, TUNED};
use support::report::{Report, Spread, Times, a_second, ms, thousands};
use support::service::{Process, WitnessHome};
use support::turns::Turns;
use support::workload::Workload;
use support::{disk, floor};

const LOGS: usize = 1_000;
const CONNECTIONS: usize = 64;

fn main() {
    floor::serve_if_asked();
    let Some(effort) = Effort::from_arguments() else {
        return;
    };
    let mut report = Report::new("witness");
    if support::wants("throughput") {
        throughput(effort, &mut report);
    }
    if support::wants("latency") {
        latency(effort, &mut report);
    }
    if support::wants("peer") {
        peer(effort, &mut report);
    }
    if support::wants("many") {
        many(effort, &mut report);
    }
    report.finish();
}

/// The requests of each connection for some of the logs: every log's first checkpoint, then every
/// log's second, …
fn lanes(workload: &Workload, logs: usize) -> Vec<Vec<Vec<u8>>> {
    let lane = |lane: usize| -> Vec<Vec<u8>> {
        (0..workload.checkpoints())
            .flat_map(|step| {
                (lane..logs)
                    .step_by(CONNECTIONS)
                    .map(move |log| (step, log))
            })
            .map(|(step, log)| workload.request("/add-checkpoint", log, step))
            .collect()
    };
    // Signing hundreds of thousands of checkpoints takes a while on one core.
    thread::scope(|scope| {
        let halves = [0..CONNECTIONS / 2, CONNECTIONS / 2..CONNECTIONS];
        let threads = halves.map(|half| scope.spawn(move || half.map(lane).collect::<Vec<_>>()));
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    })
}

fn only_200(statuses: &Statuses) {
    let only = statuses.keys().all(|status| *status == 200);
    assert!(only, "not only 200: {statuses:?}");
}

/// The answer to a request holds a cosignature of each key, on the checkpoint that was sent.
fn check_answer(process: &Process, workload: &Workload, log: usize, keys: &[VerifierKey]) {
    let mut connection = Connection::open(process.address);
    let status = connection.call(&workload.request("/add-checkpoint", log, 0));
    assert_eq!(
        status,
        200,
        "{}",
        String::from_utf8_lossy(connection.body())
    );
    let lines = CosignatureLines::parse(connection.body()).unwrap();
    let body = workload.body(log, 0);
    let verified = lines.verify(&body.checkpoint, keys).unwrap();
    assert_eq!(verified.len(), keys.len());
}

fn throughput(effort: Effort, report: &mut Report) {
    // One more log than the load has: its answer is looked at.
    let workload = Workload::new(LOGS + 1, effort.pick(220, 20));
    let lanes = lanes(&workload, LOGS);
    for (what, both, bar) in [
        ("Ed25519", false, 0.0),
        ("Ed25519 + ML-DSA-44", true, 3_000.0),
    ] {
        let folder = support::scratch();
        let home = WitnessHome::init(&folder.path().join("witness"), both);
        home.register(&workload.registry());
        let witness = home.serve();
        let server = floor::start_signing(&home.key_files(), folder.path());
        let mut load = ClosedLoop::open(witness.address, &lanes);
        let mut least_load = ClosedLoop::open(server.address, &lanes);
        let warm_up = Duration::from_millis(effort.pick(500, 200));
        let length = Duration::from_millis(effort.pick(2_000, 800));
        let (mut turns, mut least) = (Turns::new(), Turns::new());
        let mut bare = vec![bare_rate(&home, effort)];
        for _ in 0..effort.pick(5, 1) {
            turns.take(&mut load, warm_up, length, || witness.cpu_time());
            bare.push(bare_rate(&home, effort));
            least.take(&mut least_load, warm_up / 2, length / 2, || {
                server.cpu_time()
            });
        }
        only_200(&turns.statuses);
        only_200(&least.statuses);
        let keys: Vec<VerifierKey> = home
            .signers()
            .iter()
            .map(|signer| signer.verifier_key().clone())
            .collect();
        check_answer(&witness, &workload, LOGS, &keys);
        throughput_row(report, what, both.then_some(bar), [&turns, &least], &bare);
    }
}

/// `bare`: before the first turn, and after each. `least`: of the server that only signs.
fn throughput_row(
    report: &mut Report,
    what: &str,
    bar: Option<f64>,
    [turns, least]: [&Turns; 2],
    bare: &[f64],
) {
    let [server_us, client_us] = turns.each();
    let [least_us, _] = least.each();
    let (share, least_share) = (turns.share_of(bare), least.share_of(bare));
    let bare = Spread::of(bare.iter().copied());
    let (rate, times) = (turns.rate(), turns.times());
    let bar_text = bar.map_or_else(
        || "≥ 10 times the better peer, below".to_owned(),
        |bar| format!("≥ {}/s, ≥ 70 % of the bare signatures", thousands(bar)),
    );
    report.row(
        &format!("witness: add-checkpoint, 64 connections, 1,000 logs, {what}"),
        &bar_text,
        bar.map(|bar| rate.median >= bar && share.median >= 0.7),
        &format!(
            "{}; {:.0} % ({:.0} to {:.0} %) of the bare signatures ({}/s on both cores); \
             processor time each: witness {server_us:.0} µs, this client {client_us:.0} µs; {}; a \
             server that does nothing but sign, and has no disk: {}, {:.0} % ({:.0} to {:.0} %), \
             {least_us:.0} µs",
            a_second(&rate),
            share.median * 100.0,
            share.least * 100.0,
            share.most * 100.0,
            thousands(bare.median),
            times.summary(),
            a_second(&least.rate()),
            least_share.median * 100.0,
            least_share.least * 100.0,
            least_share.most * 100.0,
        ),
        json!({
            "per_second": rate.median, "least": rate.least, "most": rate.most,
            "bare_per_second": bare.median, "share": share.median,
            "witness_cpu_us": server_us, "client_cpu_us": client_us,
            "latency": times.json(), "least_per_second": least.rate().median,
            "least_share": least_share.median, "least_cpu_us": least_us,
        }),
    );
}

/// Answers a second that the signatures alone would allow: one verification of the log's and one
/// signature of each key, by the library that the witness uses, on all cores.
fn bare_rate(home: &WitnessHome, effort: Effort) -> f64 {
    let signatures = Signatures::of(home.signers());
    let begun = Instant::now();
    let end = begun + Duration::from_millis(effort.pick(700, 150));
    let rounds: u32 = thread::scope(|scope| {
        let cores = thread::available_parallelism().unwrap().get();
        let work = || {
            let mut rounds = 0;
            while Instant::now() < end {
                for _ in 0..16 {
                    signatures.make();
                }
                rounds += 16;
            }
            rounds
        };
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    f64::from(rounds) / begun.elapsed().as_secs_f64()
}

const SLOW_RATE: u32 = 100;

/// What the public network sends a witness in ten seconds, to each log its next checkpoint.
fn slow_requests(workload: &Workload, step: usize) -> Vec<Vec<u8>> {
    (0..LOGS)
        .map(|log| workload.request("/add-checkpoint", log, step))
        .collect()
}

/// The first requests of new connections, which do not count.
const SKIPPED: usize = 32;

/// A witness meets each log once, and then for years: that first time does not count.
fn meet(address: SocketAddr, requests: &[Vec<u8>]) {
    let mut connection = Connection::open(address);
    for request in requests {
        connection.call(request);
    }
}

fn slowly(address: SocketAddr, requests: &[Vec<u8>]) -> Paced {
    paced(address, requests, SLOW_RATE, 16, SKIPPED)
}

/// Ours takes turns of ten seconds with what it is compared with.
fn latency(effort: Effort, report: &mut Report) {
    let turns = effort.pick(7, 1);
    let workload = Workload::new(LOGS, turns + 1);
    let part = effort.pick(LOGS, 200);
    for both in [false, true] {
        let folder = support::scratch();
        let home = WitnessHome::init(&folder.path().join("witness"), both);
        home.register(&workload.registry());
        let witness = home.serve();
        let server = floor::start(folder.path());
        meet(witness.address, &slow_requests(&workload, 0));
        let (mut disk, mut ours) = (fsyncs(folder.path(), effort), Vec::new());
        let (mut http, mut write) = (Vec::new(), Vec::new());
        for step in 1..=turns {
            let requests = slow_requests(&workload, step);
            let requests = requests.get(..part).unwrap();
            ours.push(slowly(witness.address, requests));
            write.push(slowly(server.address, requests).times);
            let health = slowly(witness.address, &healths(effort));
            only_200(&health.statuses);
            http.push(health.times);
            disk.extend(fsyncs(folder.path(), effort));
        }
        let ours = Paced::all(ours);
        only_200(&ours.statuses);
        let floor = Floor {
            disk: Times::new(disk),
            http: Times::all(http),
            write: Some(Times::all(write)),
        };
        let keys = if both {
            "Ed25519 + ML-DSA-44"
        } else {
            "Ed25519"
        };
        latency_row(report, &format!("witness, {keys}"), &ours, &floor, true);
    }
}

/// What no answer can be faster than, at the same pace: a machine that has slept for ten
/// milliseconds is slower at everything.
struct Floor {
    /// A wait for the disk.
    disk: Times,
    /// An answer that needs no disk.
    http: Times,
    /// An answer that needs nothing but the disk, by the smallest of servers.
    write: Option<Times>,
}

fn latency_row(report: &mut Report, who: &str, paced: &Paced, floor: &Floor, barred: bool) {
    let p99 = paced.times.at(99.0);
    let two = floor.disk.at(99.0) * 2;
    let write = floor.write.as_ref().map_or_else(String::new, |times| {
        format!(
            "; a server that does nothing but such a write and wait {}",
            times.summary()
        )
    });
    report.row(
        &format!("{who}: 100 requests/s, from when due"),
        if barred {
            "p99 ≤ two fsyncs (p99)"
        } else {
            ""
        },
        barred.then_some(p99 <= two),
        &format!(
            "{}; of which p99 {} ms until sent; at this pace one fsync of 4 KiB takes {}, so two \
             of p99 {} ms; GET /health, which needs no disk, p50 {}, p99 {} ms{}",
            paced.times.summary(),
            ms(paced.lateness.at(99.0)),
            floor.disk.summary(),
            ms(two),
            ms(floor.http.at(50.0)),
            ms(floor.http.at(99.0)),
            write,
        ),
        json!({
            "latency": paced.times.json(), "fsync": floor.disk.json(),
            "health": floor.http.json(), "floor": floor.write.as_ref().map(Times::json),
        }),
    );
}

/// Requests for what every witness has some answer to without looking at its disk.
fn healths(effort: Effort) -> Vec<Vec<u8>> {
    vec![HEALTH.to_vec(); effort.pick(300, 150)]
}

/// What it costs to make 4 KiB durable, at the pace of the requests.
fn fsyncs(folder: &Path, effort: Effort) -> Vec<Duration> {
    disk::fsyncs(folder, effort.pick(300, 100), SLOW_RATE)
}

/// What was measured with so many logs.
struct Many {
    logs: usize,
    start: Duration,
    cold: u64,
    warm: u64,
    after_start: f64,
    rate: Spread,
    /// Of that of the witness with few logs.
    share: Option<Spread>,
}

/// A witness that has met all of its logs since its start.
struct Grown<'w> {
    process: Process,
    lanes: &'w [Vec<Vec<u8>>],
    start: Duration,
    cold: u64,
    after_start: f64,
}

/// The witness with 1,000 logs takes turns with those with more: the speed of a machine moves
/// within minutes, and a tenth is the bar.
fn many(effort: Effort, report: &mut Report) {
    let turns = effort.pick(5, 1);
    let each = Duration::from_millis(effort.pick(2_000, 200));
    let few = Prepared::with(1_000, turns * 2 * effort.pick(60_000, 6_000));
    let few = few.grow();
    let mut few_load = ClosedLoop::open(few.process.address, few.lanes);
    let (mut all, mut few_rates) = (Vec::new(), Vec::new());
    for logs in effort.pick([40_000, 100_000], [2_000, 4_000]) {
        let many = Prepared::with(logs, turns * effort.pick(60_000, 6_000));
        let many = many.grow();
        let mut load = ClosedLoop::open(many.process.address, many.lanes);
        let (mut theirs, mut ours) = (Turns::new(), Turns::new());
        for _ in 0..turns {
            theirs.take(&mut few_load, each / 4, each, || few.process.cpu_time());
            ours.take(&mut load, each / 4, each, || many.process.cpu_time());
        }
        only_200(&theirs.statuses);
        only_200(&ours.statuses);
        let share = ours.beside(&theirs.rates);
        few_rates.extend(theirs.rates);
        all.push(many.measured(logs, ours.rate(), Some(share)));
    }
    let rate = Spread::of(few_rates.into_iter());
    all.insert(0, few.measured(1_000, rate, None));
    for many in &all {
        many_row(report, many);
    }
}

fn many_row(report: &mut Report, many: &Many) {
    let share = many.share.as_ref();
    let met = many.start < Duration::from_secs(1)
        && many.warm < 200_000_000
        && share.is_none_or(|share| share.median >= 0.9);
    let beside = share.map_or_else(String::new, |share| {
        format!(
            ", {:.0} % ({:.0} to {:.0} %) of what the one with 1,000 makes in turns with it",
            share.median * 100.0,
            share.least * 100.0,
            share.most * 100.0
        )
    });
    report.row(
        &format!("witness: {} logs, Ed25519", thousands(many.logs as f64)),
        "start < 1 s; < 200 MB; ≥ 90 % of the throughput with 1,000",
        Some(met),
        &format!(
            "start {} ms; {:.0} MB after it, {:.0} MB at the end; {}{beside}; {}/s for the first \
             request of each log after the start, when what is stored is verified",
            ms(many.start),
            many.cold as f64 / 1e6,
            many.warm as f64 / 1e6,
            a_second(&many.rate),
            thousands(many.after_start),
        ),
        json!({
            "logs": many.logs, "start_ms": many.start.as_secs_f64() * 1e3,
            "resident_cold": many.cold, "resident_warm": many.warm,
            "per_second": many.rate.median, "share": share.map(|share| share.median),
            "per_second_after_start": many.after_start,
        }),
    );
}

/// What a witness with so many logs is sent, and where it is.
struct Prepared {
    _folder: tempfile::TempDir,
    home: WitnessHome,
    /// One request of each log for the state to be there, one after the start, and the rest.
    rounds: [Vec<Vec<Vec<u8>>>; 3],
}

impl Prepared {
    fn with(logs: usize, requests: usize) -> Self {
        let checkpoints = 2 + requests.div_ceil(logs);
        let workload = Workload::new(logs, checkpoints);
        let folder = support::scratch();
        let home = WitnessHome::init(&folder.path().join("witness"), false);
        home.register(&workload.registry());
        let mut all = lanes(&workload, logs);
        let mut first_of_each = || -> Vec<Vec<Vec<u8>>> {
            let round = |lane: usize| (lane..logs).step_by(CONNECTIONS).len();
            let lanes = all.iter_mut().enumerate();
            lanes
                .map(|(lane, requests)| requests.drain(..round(lane)).collect())
                .collect()
        };
        let (first, second) = (first_of_each(), first_of_each());
        Self {
            _folder: folder,
            home,
            rounds: [first, second, all],
        }
    }

    /// Starts it with all logs in its state, and has each met.
    fn grow(&self) -> Grown<'_> {
        let [first, second, rest] = &self.rounds;
        let witness = self.home.serve();
        all_of(&witness, first);
        witness.stop();
        let begun = Instant::now();
        let process = self.home.serve();
        let mut connection = Connection::open(process.address);
        assert_eq!(connection.call(HEALTH), 200);
        let start = begun.elapsed();
        let cold = process.resident_bytes();
        let after_start = all_of(&process, second).rate;
        Grown {
            process,
            lanes: rest,
            start,
            cold,
            after_start,
        }
    }
}

impl Grown<'_> {
    fn measured(&self, logs: usize, rate: Spread, share: Option<Spread>) -> Many {
        Many {
            logs,
            start: self.start,
            cold: self.cold,
            warm: self.process.resident_bytes(),
            after_start: self.after_start,
            rate,
            share,
        }
    }
}

const FOREVER: Duration = Duration::from_secs(600);

/// Sends one request of each log, and has all of them taken. A closed loop ends when one lane has
/// nothing left, and so the others' last requests are sent after it.
fn all_of(witness: &Process, lanes: &[Vec<Vec<u8>>]) -> Saturated {
    let saturated = ClosedLoop::open(witness.address, lanes).run(Duration::ZERO, FOREVER, || {});
    only_200(&saturated.statuses);
    let mut connection = Connection::open(witness.address);
    for lane in lanes {
        for request in lane.iter().rev() {
            match connection.call(request) {
                200 => {}
                // It was taken before, and so were those before it.
                status => {
                    assert_eq!(status, 409);
                    break;
                }
            }
        }
    }
    saturated
}

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: bench.example\r\n\r\n";

fn peer(effort: Effort, report: &mut Report) {
    let Some(programs) = std::env::var_os("JURAT_BENCH_PEERS").map(PathBuf::from) else {
        report.more("No peer was measured: JURAT_BENCH_PEERS is not set.");
        return;
    };
    let workload = Workload::new(LOGS + 1, effort.pick(240, 60));
    let lanes = lanes(&workload, LOGS);
    let folder = support::scratch();
    let home = WitnessHome::init(&folder.path().join("witness"), false);
    home.register(&workload.registry());
    let witness = home.serve();
    let mut ours = (&witness, ClosedLoop::open(witness.address, &lanes));
    let mut measure = |(name, start): &(&str, Start)| {
        let folder = support::scratch();
        let peer = start(&programs, folder.path(), &workload);
        peer_throughput(
            effort,
            report,
            name,
            (&peer, &mut ours),
            (&workload, &lanes),
        )
    };
    let as_they_come = PEERS.iter().map(&mut measure).fold(f64::MAX, f64::min);
    let of_tuned = measure(&TUNED).min(as_they_come);
    report.row(
        "witness: the same with Ed25519, beside the better peer as it comes",
        "≥ 10 times",
        Some(as_they_come >= 10.0),
        &format!("{as_they_come:.1} times; {of_tuned:.1} times the better one when tuned"),
        json!({ "times": as_they_come, "of_tuned": of_tuned }),
    );
    drop(witness);
    let turns = effort.pick(3, 1);
    let slow = Workload::new(LOGS, turns + 1);
    for (name, start) in PEERS {
        let folder = support::scratch();
        let peer = start(&programs, folder.path(), &slow);
        meet(peer.address(), &slow_requests(&slow, 0));
        let (mut disk, mut http) = (fsyncs(folder.path(), effort), Vec::new());
        let mut theirs = Vec::new();
        for step in 1..=turns {
            theirs.push(slowly(peer.address(), &slow_requests(&slow, step)));
            http.push(slowly(peer.address(), &healths(effort)).times);
            disk.extend(fsyncs(folder.path(), effort));
        }
        let theirs = Paced::all(theirs);
        let who = format!("{name}, Ed25519{}", other_statuses(&theirs.statuses));
        let floor = Floor {
            disk: Times::new(disk),
            http: Times::all(http),
            write: None,
        };
        latency_row(report, &who, &theirs, &floor, false);
    }
}

/// A peer and ours take turns; gives how many times as many answers ours gave. What a peer answers
/// with another status than 200 is told, and does not count.
fn peer_throughput(
    effort: Effort,
    report: &mut Report,
    name: &str,
    (peer, (witness, load)): (&Peer, &mut (&Process, ClosedLoop<'_>)),
    (workload, lanes): (&Workload, &[Vec<Vec<u8>>]),
) -> f64 {
    let mut loaded = ClosedLoop::open(peer.address(), lanes);
    let (mut theirs, mut ours) = (Turns::new(), Turns::new());
    let warm_up = Duration::from_millis(effort.pick(500, 200));
    let length = Duration::from_millis(effort.pick(4_000, 800));
    let short = Duration::from_millis(effort.pick(1_000, 200));
    for _ in 0..effort.pick(3, 1) {
        theirs.take(&mut loaded, warm_up, length, || peer.cpu_time());
        ours.take(load, warm_up / 2, short, || witness.cpu_time());
    }
    only_200(&ours.statuses);
    drop(loaded);
    let beside = ours.beside(&theirs.rates);
    let [server_us, client_us] = theirs.each();
    let (rate, times) = (theirs.rate(), theirs.times());
    let fsyncs = peer.fsyncs_a_request(workload);
    report.row(
        &format!("{name}: add-checkpoint, 64 connections, 1,000 logs, Ed25519"),
        "",
        None,
        &format!(
            "{}{}; processor time each: peer {server_us:.0} µs (without any ssh-agent), this \
             client {client_us:.0} µs; {}; fsyncs for each lone request: {fsyncs:.1}; ours in \
             turns with it {}, {:.1} times as many ({:.1} to {:.1})",
            a_second(&rate),
            other_statuses(&theirs.statuses),
            times.summary(),
            a_second(&ours.rate()),
            beside.median,
            beside.least,
            beside.most
        ),
        json!({
            "per_second": rate.median, "cpu_us": server_us, "fsyncs_a_request": fsyncs,
            "latency": times.json(), "ours_per_second": ours.rate().median,
            "times": beside.median,
        }),
    );
    beside.median
}

/// What was answered beside 200, for the table.
fn other_statuses(statuses: &Statuses) -> String {
    let all: u64 = statuses.values().sum();
    let others: Vec<String> = statuses
        .iter()
        .filter(|(status, _)| **status != 200)
        .map(|(status, count)| format!("{count} of {all} answers were {status}"))
        .collect();
    if others.is_empty() {
        String::new()
    } else {
        format!(" ({})", others.join(", "))
    }
}
