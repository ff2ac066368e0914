//! Faults of the machine under the service: a full disk, a failed write, a clock that steps back, a
//! database that is missing, damaged or in use. It stops or refuses, acknowledges nothing that it
//! cannot keep, and has kept what it acknowledged.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "what panics here is a test that fails"
)]

mod network;
#[path = "../store/tests/small_disk/mod.rs"]
mod small_disk;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use jurat::config::Config;
use jurat::log::sequencer::ControlError;
use jurat::log::{Append, AppendError, Sequencer};
use jurat_daemon::clock::{ManualClock, UnixTime};
use jurat_daemon::shutdown::Shutdown;
use jurat_proto::checkpoint::{ExtensionLine, SignedCheckpoint};
use jurat_proto::key::UnixSeconds;
use jurat_proto::receipt::{ProvenEntry, Receipt};
use jurat_proto::tree::TreeHead;
use jurat_store::{Fault, Faulty, LogStore, MemoryStore, NewEntry};
use prometheus_client::registry::Registry;

use crate::network::log::{body, sign};
use crate::network::process::JURAT;
use crate::network::{Answer, Home, PATIENCE, Process, Service, TestLog, eventually, http};
use crate::small_disk::SmallDisk;

/// A log whose checkpoints are large, so that a disk is soon full.
fn large(log: &TestLog, size: u64) -> SignedCheckpoint {
    let mut checkpoint = log.unsigned(log.head(size));
    let line = |n| ExtensionLine::parse(&format!("{size} {n} {}", "x".repeat(1_000))).unwrap();
    checkpoint.extensions = (0..50).map(line).collect();
    sign(&checkpoint, &log.key)
}

/// Anchors large checkpoints until the service accepts no more; gives the indices and sizes that
/// were acknowledged.
fn fill(service: &Service, log: &mut TestLog) -> Vec<(u64, TreeHead)> {
    let mut acknowledged = Vec::new();
    let mut client = service.client();
    for size in 1..5_000 {
        log.grow(size);
        let request = body(size - 1, log.proof(size - 1, size), large(log, size));
        match client.call("POST", "/add-checkpoint", &[], &request) {
            Ok(answer) if answer.status == 200 => {
                acknowledged.push((answer.index(), log.head(size)));
            }
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.text());
                return acknowledged;
            }
            Err(_) => return acknowledged,
        }
    }
    panic!("the disk is never full");
}

/// There is space again: everything that was acknowledged is there, and it goes on.
fn recovers(home: &Home, log: &mut TestLog, acknowledged: &[(u64, TreeHead)]) {
    let kept = acknowledged.len();
    let entries = usize::try_from(home.fsck()).unwrap();
    assert!((kept..=kept + 1).contains(&entries), "{entries} of {kept}");
    let service = home.serve();
    for (index, head) in acknowledged {
        let receipt = service.get(&format!("/receipt/{index}?wait=25"));
        assert_eq!(receipt.status, 200, "{}", receipt.text());
        let verdict = home.verify(&receipt.body);
        let ProvenEntry::Checkpoint { head: anchored, .. } = verdict.entry else {
            panic!("{:?}", verdict.entry);
        };
        assert_eq!((verdict.index.get(), anchored), (*index, *head));
        Receipt::parse(&receipt.body)
            .unwrap()
            .verify_anchored(std::slice::from_ref(log.vkey()))
            .unwrap();
    }
    let latest = service.latest(&log.origin);
    let held = latest.map_or(0, |latest| latest.head().size.get());
    log.grow(held + 1);
    service.anchored(&log.request(held, held + 1));
    drop(service);
    home.fsck();
}

fn filling(home: &Home) -> TestLog {
    let log = TestLog::new("log.example/large");
    home.add_log(&log);
    log
}

/// The process ends with an error that says so.
fn stops(service: &mut Service) {
    let status = service.process.exit();
    assert_eq!(status.code(), Some(1), "{status}");
    let said = service.process.stderr();
    assert!(said.contains("the store failed"), "{said}");
}

/// A limit on the size of files, which fails writes as a full disk does (`EFBIG`), everywhere.
// Spec: SVC-11
#[test]
fn a_file_that_cannot_grow_stops_the_service_and_loses_nothing() {
    let home = Home::new();
    let mut log = filling(&home);
    let now = std::fs::metadata(home.database()).unwrap().len();
    let mut all = 0;
    for more_kib in [64, 1_000, 3_000, 9_000] {
        let home = Home::new();
        home.add_log(&log);
        let limit = now / 1024 + more_kib;
        let script = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" \"$@\"");
        let mut command = Command::new("bash");
        command.args(["-c", &script, JURAT, "serve", "--config"]);
        command.arg(home.config());
        let mut service = Service::of(Process::start(&mut command, &home.stderr_file()));
        let acknowledged = fill(&service, &mut log);
        all += acknowledged.len();
        stops(&mut service);
        recovers(&home, &mut log, &acknowledged);
    }
    assert!(all > 0);
}

/// A file system that is full (`ENOSPC`). Where mounting one is not permitted, the test above
/// stands for both.
// Spec: SVC-11
#[test]
fn a_full_disk_stops_the_service_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for but in [300_000, 1_000_000, 3_000_000] {
        let Some(disk) = SmallDisk::mount(dir.path(), 48) else {
            println!("mounting is not permitted here");
            return;
        };
        let home = Home::new();
        let mut log = filling(&home);
        let database = disk.path.join("jurat.redb");
        std::fs::copy(home.database(), &database).unwrap();
        let journal = |database: &std::path::Path| database.with_extension("redb.journal");
        std::fs::copy(journal(&home.database()), journal(&database)).unwrap();
        let database = format!("\"{}\"", database.display());
        home.edit("\"jurat.redb\"", &database);
        let ballast = disk.fill(but);
        let mut service = home.serve();
        let acknowledged = fill(&service, &mut log);
        stops(&mut service);
        // While it is full, the service may come up or not: nothing is lost by trying.
        let _ = home.spawn().try_address();
        std::fs::remove_file(ballast).unwrap();
        recovers(&home, &mut log, &acknowledged);
    }
}

/// A disk that is full when the service ends: all that it answered was durable, in a journal that
/// has its room already, and what the database would have to grow for does not get there. The end
/// says that it was none in order, and the next start finds everything.
// Spec: SVC-80, SVC-90
#[test]
fn a_store_that_cannot_be_closed_makes_a_stop_a_failure_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(dir.path(), 48) else {
        println!("mounting is not permitted here");
        return;
    };
    let home = Home::new();
    let mut log = filling(&home);
    let database = disk.path.join("jurat.redb");
    std::fs::copy(home.database(), &database).unwrap();
    let journal = |database: &std::path::Path| database.with_extension("redb.journal");
    std::fs::copy(journal(&home.database()), journal(&database)).unwrap();
    home.edit("\"jurat.redb\"", &format!("\"{}\"", database.display()));
    let mut service = home.serve();
    let mut acknowledged = Vec::new();
    for size in 1..=40 {
        log.grow(size);
        let request = body(size - 1, log.proof(size - 1, size), large(&log, size));
        let answer = service.add(&request);
        assert_eq!(answer.status, 200, "{}", answer.text());
        acknowledged.push((answer.index(), log.head(size)));
    }
    // Published: nothing is on its way any more.
    let (last, _) = acknowledged[39];
    let receipt = service.get(&format!("/receipt/{last}?wait=25"));
    assert_eq!(receipt.status, 200, "{}", receipt.text());
    let ballast = disk.fill(100_000);
    let status = service.process.terminate();
    assert_eq!(status.code(), Some(1), "{status}");
    let said = service.process.stderr();
    assert!(said.contains("the store was not closed in order"), "{said}");
    drop(service);
    std::fs::remove_file(ballast).unwrap();
    recovers(&home, &mut log, &acknowledged);
}

fn append(text: &str) -> Append {
    Append {
        entry: NewEntry::new(text.as_bytes().to_vec()).unwrap(),
        head: None,
    }
}

/// A write that fails, or whose outcome is not known, as after a failed fsync: nobody who waits is
/// told that it was kept, and the process is told to end.
// Spec: SVC-01, SVC-11
#[tokio::test]
async fn a_failed_write_acknowledges_nobody_and_stops_the_sequencer() {
    for fault in [
        Fault::Before,
        Fault::UnknownUnwritten,
        Fault::UnknownWritten,
        Fault::CrashBefore,
        Fault::CrashAfter,
    ] {
        let store = Faulty::with_crash(MemoryStore::new(), || panic!("a crash, on demand"));
        let store = Arc::new(store);
        let shared: Arc<dyn LogStore> = store.clone();
        let sequencer = Sequencer::start(shared, &mut Registry::default()).unwrap();
        let mut kept = Vec::new();
        for n in 0..3 {
            kept.push(
                sequencer
                    .append(append(&format!("kept {n}")))
                    .await
                    .unwrap(),
            );
        }
        let head = *sequencer.committed().borrow();
        store.fail_at(1, fault);
        let waiting: Vec<_> = (0..64)
            .map(|n| {
                let sequencer = sequencer.clone();
                tokio::spawn(async move { sequencer.append(append(&format!("lost {n}"))).await })
            })
            .collect();
        for waiting in waiting {
            let outcome = waiting.await.unwrap();
            assert_eq!(outcome, Err(AppendError::Stopped), "{fault:?}");
        }
        let failure = tokio::time::timeout(PATIENCE, sequencer.failed()).await;
        assert!(failure.is_ok(), "{fault:?}");
        // It stays closed, for everything.
        let outcome = sequencer.append(append("kept 0")).await;
        assert_eq!(outcome, Err(AppendError::Stopped));
        let time = UnixSeconds::new(1).unwrap();
        let signing = sequencer.record_signing(head, time).await;
        assert_eq!(signing, Err(ControlError::Stopped));
        let publishing = sequencer.publish(head, Vec::new()).await;
        assert_eq!(publishing, Err(ControlError::Stopped));
        // No head that may not be durable was told to those who sign.
        assert_eq!(*sequencer.committed().borrow(), head, "{fault:?}");
        let inner = store.inner();
        assert!(inner.head().unwrap().size >= head.size);
        for appended in kept {
            assert!(inner.entry(appended.index).unwrap().is_some());
        }
    }
}

/// The same for the two other writes: the intent to sign, and a publication.
// Spec: SVC-04, SVC-11
#[tokio::test]
async fn a_failed_record_of_a_signing_stops_the_sequencer_too() {
    for (publish, fault) in [
        (false, Fault::Before),
        (false, Fault::UnknownWritten),
        (true, Fault::Before),
        (true, Fault::UnknownUnwritten),
    ] {
        let store = Arc::new(Faulty::new(MemoryStore::new()));
        let shared: Arc<dyn LogStore> = store.clone();
        let sequencer = Sequencer::start(shared, &mut Registry::default()).unwrap();
        sequencer.append(append("an entry")).await.unwrap();
        let head = *sequencer.committed().borrow();
        store.fail_at(1, fault);
        let outcome = if publish {
            sequencer.publish(head, b"a note".to_vec()).await
        } else {
            let time = UnixSeconds::new(7).unwrap();
            sequencer.record_signing(head, time).await
        };
        assert_eq!(outcome, Err(ControlError::Stopped), "{publish} {fault:?}");
        let failure = tokio::time::timeout(PATIENCE, sequencer.failed()).await;
        assert!(failure.is_ok(), "{fault:?}");
    }
}

/// A service in this process, so that its clock is the test's.
struct Inside {
    address: SocketAddr,
    shutdown: Shutdown,
    runtime: tokio::runtime::Runtime,
    running: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Inside {
    fn start(home: &Home, clock: &ManualClock) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let config = Config::load(&home.config()).unwrap();
        let shutdown = Shutdown::new();
        let (tell, address) = std::sync::mpsc::sync_channel(1);
        let running = runtime.spawn(jurat::service::run(
            config,
            Arc::new(clock.clone()),
            shutdown.clone(),
            move |address| tell.send(address).unwrap(),
        ));
        let Ok(address) = address.recv_timeout(PATIENCE) else {
            panic!("it did not start: {:?}", runtime.block_on(running));
        };
        Self {
            address,
            shutdown,
            runtime,
            running,
        }
    }

    fn call(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        http::call(self.address, method, path, &[], body).unwrap()
    }

    fn refused_heads(&self) -> u64 {
        let answer = self.call("GET", "/metrics", b"");
        let of = |line: &str| {
            let count = line.strip_prefix("jurat_tree_heads_refused_total ")?;
            count.parse().ok()
        };
        answer.text().lines().find_map(of).unwrap()
    }

    /// Ends it, and waits until the last of its threads has closed the database.
    fn stop(self, home: &Home) {
        self.shutdown.trigger();
        self.runtime.block_on(self.running).unwrap().unwrap();
        drop(self.runtime);
        eventually("the database is closed", || {
            home.command(&["fsck"]).status.success().then_some(())
        });
    }
}

// Spec: SVC-05, SVC-13
#[test]
fn a_clock_that_steps_back_signs_nothing_until_it_has_caught_up() {
    let home = Home::new();
    home.edit("refresh_s = 30 ", "refresh_s = 1 ");
    let mut log = TestLog::new("log.example/a");
    let mut other = TestLog::new("log.example/b");
    for log in [&mut log, &mut other] {
        log.grow(10);
        home.add_log(log);
    }
    let clock = ManualClock::new(UnixTime::from_seconds(1_800_000_000));
    let mut service = Inside::start(&home, &clock);
    let answer = service.call("POST", "/anchor", &log.request(0, 5));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let checkpoint = service.call("GET", "/checkpoint", b"").body;
    assert_eq!(service.call("GET", "/health", b"").status, 200);

    clock.step_back(Duration::from_secs(100));
    holds_still(&service, &log, 100, &checkpoint);
    // A log without a cosignature has no time to go back behind. It is kept, and waits.
    let answer = service.call("POST", "/add-checkpoint", &other.request(0, 4));
    assert_eq!((answer.status, answer.index()), (200, 1));
    clock.advance(Duration::from_secs(99));
    holds_still(&service, &log, 1, &checkpoint);
    assert_eq!(service.call("GET", "/receipt/1", b"").status, 202);
    clock.advance(Duration::from_secs(1));
    let answer = service.call("POST", "/anchor", &log.request(5, 6));
    assert_eq!((answer.status, answer.index()), (200, 2));
    assert_eq!(service.call("GET", "/receipt/1", b"").status, 200);
    assert_eq!(service.call("GET", "/health", b"").status, 200);

    // The same when the clock was set back while the service was down.
    service.stop(&home);
    clock.step_back(Duration::from_secs(1_000));
    service = Inside::start(&home, &clock);
    let checkpoint = service.call("GET", "/checkpoint", b"").body;
    holds_still(&service, &log, 1_000, &checkpoint);
    clock.advance(Duration::from_secs(1_000));
    let answer = service.call("POST", "/anchor", &log.request(6, 7));
    assert_eq!((answer.status, answer.index()), (200, 3));
    assert_eq!(service.call("GET", "/health", b"").status, 200);
    service.stop(&home);
    assert_eq!(home.fsck(), 4);
}

// Spec: SVC-40
#[test]
fn a_clock_that_leaps_signs_nothing_until_it_is_back_or_has_settled() {
    let home = Home::new();
    home.edit("refresh_s = 30 ", "refresh_s = 1 ");
    let mut log = TestLog::new("log.example/a");
    log.grow(10);
    home.add_log(&log);
    let clock = ManualClock::new(UnixTime::from_seconds(1_800_000_000));
    let service = Inside::start(&home, &clock);
    let answer = service.call("POST", "/anchor", &log.request(0, 5));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let checkpoint = service.call("GET", "/checkpoint", b"").body;

    let leap = Duration::from_secs(3_600);
    clock.step_forward(leap);
    holds_still(&service, &log, 3_600, &checkpoint);
    clock.step_back(leap);
    let answer = service.call("POST", "/anchor", &log.request(5, 6));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(service.call("GET", "/health", b"").status, 200);

    let checkpoint = service.call("GET", "/checkpoint", b"").body;
    clock.step_forward(leap);
    holds_still(&service, &log, 3_600, &checkpoint);
    clock.advance(Duration::from_secs(300));
    let answer = service.call("POST", "/anchor", &log.request(6, 7));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(service.call("GET", "/health", b"").status, 200);
    service.stop(&home);
}

/// Nothing is signed while the clock is so wrong, and `/health` and the submitter are told why.
fn holds_still(service: &Inside, log: &TestLog, wrong: u64, checkpoint: &[u8]) {
    let wrong = format!("{wrong} s");
    let latest = format!("/logs/{}/checkpoint", log.origin.hash_hex());
    let latest = || service.call("GET", &latest, b"").body;
    let before = latest();
    let held = SignedCheckpoint::parse(&before).unwrap().head().size.get();
    let refused = service.refused_heads();
    let answer = service.call("POST", "/add-checkpoint", &log.request(held, held + 1));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some());
    assert!(answer.text().contains(&wrong), "{}", answer.text());
    assert_eq!(latest(), before);
    let health = service.call("GET", "/health", b"");
    assert_eq!(health.status, 503, "{}", health.text());
    let summary = health.json()["summary"].to_string();
    assert!(summary.contains("clock"), "{summary}");
    assert!(summary.contains(&wrong), "{summary}");
    eventually("a tree head has fallen due", || {
        (service.refused_heads() > refused).then_some(())
    });
    assert_eq!(service.call("GET", "/checkpoint", b"").body, checkpoint);
}

// Spec: SVC-19
#[test]
fn a_missing_database_is_an_error_with_its_path() {
    let home = Home::new();
    let kept = home.root().join("kept");
    std::fs::rename(home.database(), &kept).unwrap();
    let (code, text) = home.refuses_to_serve();
    assert_eq!(code, 64, "{text}");
    let path = home.database().display().to_string();
    assert!(text.contains(&format!("{path} does not exist")), "{text}");
    assert!(text.contains("jurat init"), "{text}");
    assert!(!home.database().exists(), "only init creates state");
    std::fs::rename(&kept, home.database()).unwrap();
    home.serve();
}

#[test]
fn a_damaged_database_is_an_error_and_is_left_alone() {
    let home = Home::new();
    let good = std::fs::read(home.database()).unwrap();
    for bytes in [Vec::new(), b"this is no database".repeat(1_000), {
        let mut torn = good.clone();
        torn.truncate(good.len() / 3);
        torn
    }] {
        std::fs::write(home.database(), &bytes).unwrap();
        let (code, text) = home.refuses_to_serve();
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("jurat.redb"), "{text}");
        assert!(!text.contains("panicked"), "{text}");
        assert_eq!(std::fs::read(home.database()).unwrap(), bytes);
    }
}

/// A block of the database is lost, and the engine panics over it.
// Spec: STO-26
#[test]
fn a_database_on_which_the_engine_panics_is_said_to_be_damaged() {
    const BLOCK: usize = 4096;
    let home = Home::new();
    let good = std::fs::read(home.database()).unwrap();
    let mut found = 0;
    for at in (0..good.len()).step_by(BLOCK) {
        let mut torn = good.clone();
        torn[at..at + BLOCK].fill(0);
        std::fs::write(home.database(), &torn).unwrap();
        let output = home.command(&["fsck"]);
        let said = String::from_utf8(output.stderr).unwrap();
        if said.contains("jurat.redb is damaged: the storage engine cannot go on") {
            assert_eq!(output.status.code(), Some(65), "{said}");
            if found == 0 {
                std::fs::write(home.database(), &torn).unwrap();
                let (code, text) = home.refuses_to_serve();
                assert_eq!(code, 65, "{text}");
                assert!(text.contains("jurat.redb is damaged"), "{text}");
            }
            found += 1;
        } else {
            let code = output.status.code();
            assert!(matches!(code, Some(0 | 1)), "{at}: {code:?} {said}");
        }
    }
    assert!(found > 0);
}

/// A copy that was made after an orderly end needs no journal.
// Spec: STO-30
#[test]
fn a_service_that_was_stopped_leaves_its_database_whole_without_the_journal() {
    let home = Home::new();
    let mut log = TestLog::new("log.example/a");
    log.grow(40);
    home.add_log(&log);
    for round in 0..4 {
        let mut service = home.serve();
        for size in round * 10..(round + 1) * 10 {
            service.anchored(&log.request(size, size + 1));
        }
        assert!(service.process.terminate().success());
        let mut journal = home.database().into_os_string();
        journal.push(".journal");
        std::fs::remove_file(journal).unwrap();
        assert_eq!(home.fsck(), (round + 1) * 10);
    }
}

// Spec: SVC-19
#[test]
fn a_second_service_on_the_same_database_refuses() {
    let home = Home::new();
    let mut log = TestLog::new("log.example/a");
    log.grow(9);
    home.add_log(&log);
    let service = home.serve();
    service.anchored(&log.request(0, 5));
    let (code, text) = home.refuses_to_serve();
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("jurat.redb"), "{text}");
    // So does the check of the whole database.
    let output = home.command(&["fsck"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    service.anchored(&log.request(5, 9));
    drop(service);
    assert_eq!(home.fsck(), 2);
}
