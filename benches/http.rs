//! What does a submitter get: how many checkpoints a second, and how soon?
//!
//! `cargo bench --bench http [-- --quick] [throughput] [latency] [receipts]`
//!
//! The service is `jurat serve`, a process of its own, as are its witnesses; this process only
//! sends. Requests are signed before the clock runs.
//!
//! - `throughput`: `POST /add-checkpoint` over 64 kept-alive connections for 1,000 logs, with one
//!   and with two cosigner keys, beside what the signatures alone cost on the same cores.
//! - `latency`: from the moment a submission is due until it is durable, at 1 and 1,000 a second,
//!   beside what a commit costs on the same disk.
//! - `receipts`: `POST /anchor` at 1,000 a second with three witnesses: from the moment it is due
//!   to the receipt under a cosigned tree head.

#![expect(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::unchecked_time_subtraction,
    reason = "a program that measures, and stops at the first failure"
)]

mod support;

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use jurat_keys::SigningKey;
use jurat_proto::cosignature::cosigned_message;
use jurat_proto::key::{Signer as _, UnixSeconds, VerifierKey};
use jurat_proto::policy::Policy;
use jurat_proto::receipt::Receipt;
use jurat_store::{Batch, LogStore, NewEntry, RedbOptions, RedbStore};
use serde_json::json;
use support::load::{ClosedLoop, Connection, Paced, Statuses, paced};
use support::report::{Report, Spread, Times, a_second, ms, thousands};
use support::service::{Home, Process, Witness};
use support::turns::Turns;
use support::workload::Workload;
use support::{Effort, Random};

const LOGS: usize = 1_000;
const CONNECTIONS: usize = 64;

fn main() {
    let Some(effort) = Effort::from_arguments() else {
        return;
    };
    let mut report = Report::new("http");
    if support::wants("throughput") {
        throughput(effort, &mut report);
    }
    if support::wants("latency") {
        latency(effort, &mut report);
    }
    if support::wants("receipts") {
        receipts(effort, &mut report);
    }
    report.finish();
}

fn throughput(effort: Effort, report: &mut Report) {
    let workload = Workload::new(LOGS, effort.pick(150, 20));
    let lanes: Vec<Vec<Vec<u8>>> = (0..CONNECTIONS)
        .map(|lane| {
            (0..workload.checkpoints())
                .flat_map(|step| {
                    (lane..LOGS)
                        .step_by(CONNECTIONS)
                        .map(move |log| (step, log))
                })
                .map(|(step, log)| workload.request("/add-checkpoint", log, step))
                .collect()
        })
        .collect();
    for (what, both, bar) in [
        ("Ed25519", false, 5_000.0),
        ("Ed25519 + ML-DSA-44", true, 2_500.0),
    ] {
        let folder = support::scratch();
        let home = Home::init(&folder.path().join("service"));
        home.register(&workload.registry());
        if !both {
            home.cosign_with_ed25519_only();
        }
        let mut signers = vec![home.key("cosigner.ed25519.key")];
        if both {
            signers.push(home.key("cosigner.mldsa44.key"));
        }
        let service = home.serve();
        let mut load = ClosedLoop::open(service.address, &lanes);
        let warm_up = Duration::from_millis(effort.pick(500, 200));
        let length = Duration::from_millis(effort.pick(2_500, 800));
        let (turns, bare) = Turns::between(
            &mut load,
            effort.pick(5, 1),
            (warm_up, length),
            || service.cpu_time(),
            || bare_rate(&workload, &signers, effort),
        );
        only_200(&turns.statuses);
        drop(load);
        drop(service);
        // The whole log is sound, after having been killed.
        home.fsck();
        throughput_row(report, what, bar, &turns, &bare);
    }
}

/// `bare`: before the first turn, and after each.
fn throughput_row(report: &mut Report, what: &str, bar: f64, turns: &Turns, bare: &[f64]) {
    let [server_us, client_us] = turns.each();
    let share = turns.share_of(bare);
    let bare = Spread::of(bare.iter().copied());
    let (rate, times) = (turns.rate(), turns.times());
    report.row(
        &format!("POST /add-checkpoint, 64 connections, 1,000 logs, {what}"),
        &format!("≥ {}/s", thousands(bar)),
        Some(rate.median >= bar),
        &format!(
            "{}; {:.0} % ({:.0} to {:.0} %) of the bare signatures ({}/s on both cores); \
             processor time each: service {server_us:.0} µs, this client {client_us:.0} µs; {}",
            a_second(&rate),
            share.median * 100.0,
            share.least * 100.0,
            share.most * 100.0,
            thousands(bare.median),
            times.summary()
        ),
        json!({
            "per_second": rate.median, "least": rate.least, "most": rate.most,
            "bare_per_second": bare.median, "share": share.median,
            "service_cpu_us": server_us, "client_cpu_us": client_us,
            "latency": times.json(),
        }),
    );
}

/// Submissions a second that the signatures alone would allow: one verification of the log's (by
/// proto: ed25519-dalek) and one signature of each cosigner (by keys: aws-lc), on all cores.
fn bare_rate(workload: &Workload, signers: &[SigningKey], effort: Effort) -> f64 {
    let body = workload.body(0, 1);
    let checkpoint = body.checkpoint.checkpoint();
    let text = checkpoint.to_text();
    let key: VerifierKey = workload.key(0).verifier_key().clone();
    let line = body.checkpoint.signatures().first().unwrap();
    let time = UnixSeconds::new(1_700_000_000).unwrap();
    let messages: Vec<(Vec<u8>, &SigningKey)> = signers
        .iter()
        .map(|signer| {
            let message = cosigned_message(signer.verifier_key(), checkpoint, time).unwrap();
            (message, signer)
        })
        .collect();
    let end = Instant::now() + Duration::from_millis(effort.pick(1_500, 150));
    let begun = Instant::now();
    let rounds: u32 = thread::scope(|scope| {
        let cores = thread::available_parallelism().unwrap().get();
        let work = || {
            let mut rounds = 0;
            while Instant::now() < end {
                for _ in 0..16 {
                    key.verify_message(text.as_bytes(), line.signature())
                        .unwrap();
                    for (message, signer) in &messages {
                        signer.sign(message).unwrap();
                    }
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

fn latency(effort: Effort, report: &mut Report) {
    let seconds = effort.pick(20, 1);
    let slow = effort.pick(100, 6);
    let workload = Workload::new(LOGS, seconds + 2);
    let folder = support::scratch();
    let home = Home::init(&folder.path().join("service"));
    home.register(&workload.registry());
    let service = home.serve();
    let rare = rare(&service, &workload, folder.path(), slow, effort);
    rare_rows(report, &rare);

    // The slow requests have taken the first checkpoint of the first logs.
    let requests: Vec<Vec<u8>> = (slow..seconds * LOGS + slow)
        .map(|place| workload.request("/add-checkpoint", place % LOGS, place / LOGS))
        .collect();
    let often = paced(service.address, &requests, 1_000, 250, requests.len() / 10);
    only_200(&often.statuses);
    report.row(
        "submit to durable at 1,000 requests/s",
        "reported",
        None,
        &format!("{}; {}", often.times.summary(), sent_late(&often)),
        json!({ "latency": often.times.json(), "sent_late": often.lateness.json() }),
    );
}

/// What one request a second met, and what the disk gave in between.
struct Rare {
    submissions: Times,
    /// Commits of one entry to a store of its own on the same disk.
    commits: Times,
    /// 4 KiB appended to a file, and fdatasync.
    syncs: Times,
}

fn rare(
    service: &Process,
    workload: &Workload,
    folder: &Path,
    count: usize,
    effort: Effort,
) -> Rare {
    let store = RedbStore::create(folder.join("probe.redb"), RedbOptions::default()).unwrap();
    let mut file = File::create(folder.join("probe")).unwrap();
    let mut connection = Connection::open(service.address);
    let mut random = Random::new(1);
    let period = effort.pick(Duration::from_secs(1), Duration::from_millis(200));
    let begun = Instant::now();
    let (mut submissions, mut commits, mut syncs) = (Vec::new(), Vec::new(), Vec::new());
    let mut probe = |number: usize| {
        let entry = NewEntry::new(format!("{number:0>300}").into_bytes()).unwrap();
        let start = Instant::now();
        let expected = store.head().unwrap();
        let entries = vec![entry];
        let heads = Vec::new();
        store
            .commit(Batch {
                expected,
                entries,
                heads,
            })
            .unwrap();
        commits.push(start.elapsed());
        let start = Instant::now();
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        syncs.push(start.elapsed());
    };
    for number in 0..count {
        let request = workload.request("/add-checkpoint", number, 0);
        // At any moment of the period, so that no rhythm of the service is always met or missed.
        let offset = period.mul_f64(random.below(1_000) as f64 / 1_250.0);
        let due = begun + period * u32::try_from(number).unwrap() + offset;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        assert_eq!(connection.call(&request), 200);
        submissions.push(due.elapsed());
        // Away from the commits that the submission itself causes (its tree head).
        thread::sleep(period.mul_f64(0.05));
        probe(number);
    }
    Rare {
        submissions: Times::new(submissions),
        commits: Times::new(commits),
        syncs: Times::new(syncs),
    }
}

fn rare_rows(report: &mut Report, rare: &Rare) {
    let p99 = rare.submissions.at(99.0);
    let commits = p99.as_secs_f64() / rare.commits.at(99.0).as_secs_f64();
    report.row(
        "submit to durable at 1 request/s",
        "p99 ≤ 2 commits of the disk",
        Some(commits <= 2.0),
        &format!(
            "{} in {} requests; p99 is {commits:.1} times that of a commit ({}); fdatasync of \
             4 KiB: {}",
            rare.submissions.summary(),
            rare.submissions.len(),
            rare.commits.summary(),
            rare.syncs.summary()
        ),
        json!({
            "latency": rare.submissions.json(), "commit": rare.commits.json(),
            "fdatasync": rare.syncs.json(), "commits_at_p99": commits,
        }),
    );
}

fn receipts(effort: Effort, report: &mut Report) {
    let seconds = effort.pick(20, 2);
    let workload = Workload::new(LOGS, seconds);
    let folder = support::scratch();
    let home = Home::init(&folder.path().join("service"));
    home.register(&workload.registry());
    let log_keys = home.log_keys();
    let witnesses: Vec<Witness> = (1..=3)
        .map(|number| Witness::start(folder.path(), number, &log_keys))
        .collect();
    home.witnessed_by(&witnesses);
    let service = home.serve();
    let requests: Vec<Vec<u8>> = (0..seconds * LOGS)
        .map(|place| workload.request("/anchor", place % LOGS, place / LOGS))
        .collect();
    let spent = || {
        let witnesses = witnesses.iter().map(Witness::cpu_time).sum::<Duration>();
        (service.cpu_time(), witnesses)
    };
    let before = spent();
    let anchored = paced(
        service.address,
        &requests,
        1_000,
        1_000,
        requests.len() / 10,
    );
    let after = spent();
    only_200(&anchored.statuses);
    let bytes = a_receipt_verifies(&home, service.address);
    let cores = |cpu: Duration| cpu.as_secs_f64() / seconds as f64;
    let (p50, p99) = (anchored.times.at(50.0), anchored.times.at(99.0));
    report.row(
        "submit to cosigned receipt (POST /anchor) at 1,000/s, three witness processes",
        "p50 ≤ 0.6 s, p99 ≤ 1.5 s",
        Some(p50 <= Duration::from_millis(600) && p99 <= Duration::from_millis(1_500)),
        &format!(
            "{}; {}; cores in use: service {:.2}, witnesses {:.2}; a receipt has {bytes} bytes",
            anchored.times.summary(),
            sent_late(&anchored),
            cores(after.0 - before.0),
            cores(after.1 - before.1),
        ),
        json!({
            "latency": anchored.times.json(), "sent_late": anchored.lateness.json(),
            "receipt_bytes": bytes,
        }),
    );
}

/// One receipt of what was measured, verified as an auditor would; its length.
fn a_receipt_verifies(home: &Home, address: SocketAddr) -> usize {
    let mut connection = Connection::open(address);
    let request = b"GET /receipt/12 HTTP/1.1\r\nHost: bench.example\r\n\r\n";
    assert_eq!(connection.call(request), 200);
    let policy = Policy::parse(&home.policy()).unwrap();
    let receipt = Receipt::parse(connection.body()).unwrap();
    receipt.verify(&policy).unwrap();
    connection.body().len()
}

fn sent_late(paced: &Paced) -> String {
    let late = paced.lateness.at(99.0);
    format!(
        "counted from when due, of which p99 {} ms until sent",
        ms(late)
    )
}

fn only_200(statuses: &Statuses) {
    assert!(
        statuses.keys().eq([&200]),
        "statuses and how often: {statuses:?}"
    );
}
