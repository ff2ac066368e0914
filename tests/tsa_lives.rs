//! The lives of units' keys, as the log has them: what an old or a damaged file of units says
//! against it, over restarts of the real service.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what panics here is a test that fails"
)]

mod network;
#[path = "../daemon/tests/time_server/mod.rs"]
mod time_server;

use std::sync::atomic::{AtomicBool, Ordering};

use jurat::tsa::units::{Units, UnitsFile};
use jurat_proto::entry::{CloseReason, Entry, KeyEvent};
use jurat_proto::receipt::Receipt;
use jurat_proto::tree::LeafIndex;
use jurat_proto::tsp::imprint::{HashAlgorithm, MessageImprint};
use jurat_proto::tsp::request::TimestampRequest;
use jurat_proto::tsp::response::{FailureBits, PkiFailureInfo, PkiStatus, TimestampResponse};
use jurat_proto::tsp::tst_info::UnitId;
use jurat_store::{JournalOptions, LogStore as _, RedbStore};
use serde_json::Value;

use crate::network::service::ORIGIN;
use crate::network::{Home, Service, eventually};
use crate::time_server::{Say, TimeServer};

const UNITS: &str = "timestamp.toml";

fn stamp(service: &Service) -> TimestampResponse {
    let digest = HashAlgorithm::Sha256.digest(b"any");
    let imprint = MessageImprint::new(HashAlgorithm::Sha256, digest).unwrap();
    let request = TimestampRequest::new(imprint, None, None, true).to_bytes();
    let query = "Content-Type: application/timestamp-query";
    let answer = service.call("POST", "/timestamp", &[query], &request);
    assert_eq!(answer.status, 200, "{}", answer.text());
    TimestampResponse::parse(&answer.body).unwrap()
}

fn granted(service: &Service) -> UnitId {
    let response = stamp(service);
    assert_eq!(
        response.status(),
        PkiStatus::Granted,
        "{:?}",
        response.texts()
    );
    let serial = &response.token().unwrap().tst_info().serial;
    serial.as_unit().unwrap().0
}

fn failure(response: &TimestampResponse) -> Option<PkiFailureInfo> {
    let bits = response.failures().into_iter();
    bits.flat_map(FailureBits::failures).next()
}

fn done(home: &Home, args: &[&str]) -> String {
    let output = home.command(args);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn entry(service: &Service, index: u64) -> Entry {
    let answer = service.get(&format!("/receipt/{index}?wait=25"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    Receipt::parse(&answer.body).unwrap().entry().clone()
}

/// The events of units' keys in the log, in its order.
fn events(service: &Service) -> Vec<(UnitId, KeyEvent)> {
    let all = 0..service.committed();
    all.filter_map(|index| match entry(service, index) {
        Entry::Key(key) => Some((key.unit, key.event)),
        _ => None,
    })
    .collect()
}

fn warnings(health: &Value) -> String {
    let rows = health["timestamps"]["warnings"].as_array().unwrap();
    let texts = rows.iter().map(|row| row.as_str().unwrap());
    texts.collect::<Vec<_>>().join("; ")
}

fn close(reason: CloseReason) -> KeyEvent {
    KeyEvent::Close(reason)
}

// Spec: TSA-35, TSA-36
#[test]
fn an_old_file_of_units_opens_no_unit_that_the_log_has_closed_also_after_a_restart() {
    let home = Home::with_timestamps();
    let old = std::fs::read(home.file(UNITS)).unwrap();
    let service = home.serve();
    let unit = granted(&service);
    done(&home, &["tsa", "close", "--reason", "compromise"]);
    service.until("it is closed", |health| {
        health["timestamps"]["unit"].is_null()
    });
    let logged = eventually("the closing is logged", || {
        let logged = events(&service);
        (logged.len() == 2).then_some(logged)
    });
    let size = service.committed();
    // A backup of the file, while the service runs …
    std::fs::write(home.file("backup.toml"), &old).unwrap();
    std::fs::rename(home.file("backup.toml"), home.file(UNITS)).unwrap();
    let said = format!(
        "unit {unit} is open in the file of units, but entry {} of the log",
        size - 1
    );
    let health = service.until("it was read", |health| warnings(health).contains(&said));
    assert!(health["timestamps"]["unit"].is_null(), "{health}");
    assert_eq!(
        failure(&stamp(&service)),
        Some(PkiFailureInfo::SystemFailure)
    );
    drop(service);
    // … and when it starts with it.
    let before = home.stderr().len();
    let service = home.serve();
    assert_eq!(
        failure(&stamp(&service)),
        Some(PkiFailureInfo::SystemFailure)
    );
    let health = service.health();
    assert!(warnings(&health).contains(&said), "{health}");
    assert!(
        health["summary"]
            .as_str()
            .unwrap()
            .contains("no time-stamping unit is open"),
        "{health}"
    );
    assert!(home.stderr()[before..].contains(&said), "{}", home.stderr());
    assert_eq!(events(&service), logged);
    assert_eq!(service.committed(), size);
    // A new unit makes an end of it.
    let output = home.command(&["tsa", "rotate"]);
    assert!(output.status.success(), "{output:?}");
    let next = eventually("the next unit signs", || {
        (stamp(&service).status() == PkiStatus::Granted).then(|| granted(&service))
    });
    assert_ne!(next, unit);
    // The old unit's second closing, as superseded, is not logged: the first one stands.
    let logged = events(&service);
    let wanted = [
        (unit, KeyEvent::Start),
        (unit, close(CloseReason::Compromise)),
        (next, KeyEvent::Start),
    ];
    assert_eq!(logged, wanted);
    drop(service);
    home.fsck();
}

// Spec: TSA-37
#[test]
fn a_unit_does_not_end_because_its_row_is_lost() {
    let home = Home::with_timestamps();
    let service = home.serve();
    let first = granted(&service);
    let whole = std::fs::read_to_string(home.file(UNITS)).unwrap();
    // While the service runs, such a file is not used.
    std::fs::write(home.file(UNITS), "# empty\n").unwrap();
    let said = format!("unit {first} is open in the log (entry 0) and not in the file of units");
    eventually("it says so", || home.stderr().contains(&said).then_some(()));
    assert_eq!(granted(&service), first);
    drop(service);
    let (code, text) = home.refuses_to_serve();
    assert_eq!(code, 64, "{text}");
    assert!(text.contains(&said), "{text}");
    assert!(
        text.contains(&format!("jurat tsa close --gone {first}")),
        "{text}"
    );
    // One way out: the row is put back.
    std::fs::write(home.file(UNITS), &whole).unwrap();
    let service = home.serve();
    assert_eq!(granted(&service), first);
    drop(service);
    // The other: its files are lost for good, and the key with them.
    std::fs::write(home.file(UNITS), "").unwrap();
    for file in ["keys/tsa/unit-1.pem", "keys/tsa/unit-1.key"] {
        std::fs::remove_file(home.file(file)).unwrap();
    }
    let unit = first.to_string();
    let text = done(
        &home,
        &["tsa", "close", "--gone", &unit, "--reason", "compromise"],
    );
    assert!(
        text.contains(&format!("unit {first} is closed (compromise)")),
        "{text}"
    );
    done(&home, &["tsa", "rotate"]);
    let service = home.serve();
    let second = granted(&service);
    let wanted = [
        (first, KeyEvent::Start),
        (second, KeyEvent::Start),
        (first, close(CloseReason::Compromise)),
    ];
    assert_eq!(events(&service), wanted);
    drop(service);
    // The log says it once, however often it is said.
    let entries = home.fsck();
    let service = home.serve();
    assert_eq!(service.committed(), entries);
}

// Spec: TSA-35
#[test]
fn of_several_open_units_the_one_that_is_named_is_closed() {
    let home = Home::with_timestamps();
    done(&home, &["tsa", "rotate"]);
    // As a hand may leave it: both open.
    let units = std::fs::read_to_string(home.file(UNITS)).unwrap();
    let lines = units.lines();
    let open: Vec<_> = lines
        .filter(|line| !line.starts_with("closed") && !line.starts_with("reason"))
        .collect();
    std::fs::write(home.file(UNITS), open.join("\n")).unwrap();
    let before = std::fs::read(home.file(UNITS)).unwrap();
    let refused = home.command(&["tsa", "close", "--reason", "compromise"]);
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    let (_, names) = text.trim().split_once("--unit: ").expect(&text);
    let names: Vec<UnitId> = names
        .split(", ")
        .map(|name| UnitId::parse(name).unwrap())
        .collect();
    assert_eq!(names.len(), 2);
    assert_eq!(std::fs::read(home.file(UNITS)).unwrap(), before);
    let wrong = home.command(&[
        "tsa",
        "close",
        "--unit",
        "4000000000000000",
        "--reason",
        "cessation",
    ]);
    assert!(!wrong.status.success());
    // The older one, though the newer one signs; also without its key.
    std::fs::remove_file(home.file("keys/tsa/unit-1.key")).unwrap();
    let name = names[0].to_string();
    let text = done(
        &home,
        &["tsa", "close", "--unit", &name, "--reason", "compromise"],
    );
    assert!(
        text.contains(&format!("unit {} is closed (compromise)", names[0])),
        "{text}"
    );
    assert!(
        text.contains(&format!("unit {} signs from now on", names[1])),
        "{text}"
    );
    let service = home.serve();
    assert_eq!(granted(&service), names[1]);
    // The only one need not be named, and is.
    let text = done(&home, &["tsa", "close", "--reason", "cessation"]);
    assert!(
        text.contains(&format!("unit {} is closed (cessation)", names[1])),
        "{text}"
    );
}

// Spec: TSA-38
#[test]
fn the_authoritys_key_on_the_service_is_warned_of_until_it_is_elsewhere() {
    let home = Home::with_timestamps();
    let service = home.serve();
    let said = "keys/tsa/ca.key is on this machine";
    assert!(home.stderr().contains(said), "{}", home.stderr());
    let health = service.until("it is healthy", |health| health["healthy"] == true);
    assert!(warnings(&health).contains(said), "{health}");
    std::fs::rename(home.file("keys/tsa/ca.key"), home.root().join("ca.key")).unwrap();
    assert_eq!(warnings(&service.health()), "");
}

// Spec: TSA-13, TSA-14
#[test]
fn a_clock_that_is_less_right_than_tokens_say_is_lost_and_regained_over_a_restart_too() {
    let home = Home::with_timestamps();
    let source = TimeServer::start(Say::Right);
    // Of a second and a millisecond the second is what is cut off, and the source itself is a
    // millisecond uncertain.
    home.configure(&format!(
        "accuracy_ms = 1001\n[clock]\nntp = [\"{}\"]\nevery_s = 1\nvalid_s = 3600",
        source.address
    ));
    let service = home.serve();
    let clock = |service: &Service, index: u64| match entry(service, index) {
        Entry::Clock(clock) => (clock.event().name(), clock.reason().to_owned()),
        other => panic!("{other:?}"),
    };
    eventually("the loss is logged", || {
        (service.committed() >= 2).then_some(())
    });
    assert_eq!(clock(&service, 1), ("lost", "too-uncertain".to_owned()));
    assert_eq!(
        failure(&stamp(&service)),
        Some(PkiFailureInfo::TimeNotAvailable)
    );
    drop(service);
    home.edit("accuracy_ms = 1001", "accuracy_ms = 5000");
    let service = home.serve();
    eventually("that it was regained is logged", || {
        (service.committed() >= 3).then_some(())
    });
    assert_eq!(clock(&service, 2), ("regained", "too-uncertain".to_owned()));
    granted(&service);
}

/// Three operators make a unit each, at once, while clients ask.
// Spec: TSA-31, TSA-33, TSA-34, TSA-35
#[test]
fn rotations_at_once_under_load_leave_one_sound_file_and_deny_nobody() {
    const ROTATIONS: usize = 3;
    let home = Home::with_timestamps();
    let service = home.serve();
    let first = granted(&service);
    let over = AtomicBool::new(false);
    let last = std::thread::scope(|scope| {
        // Each panics when it is not granted.
        let client = || {
            let mut asked = 0_usize;
            while !over.load(Ordering::SeqCst) {
                granted(&service);
                asked += 1;
            }
            asked
        };
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(client)).collect();
        let operator = || {
            eventually("it is this one's turn", || {
                let output = home.command(&["tsa", "rotate"]);
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(
                    output.status.success() || said.contains("another `jurat tsa` is at work"),
                    "{said}"
                );
                output.status.success().then_some(())
            });
        };
        let operators: Vec<_> = (0..ROTATIONS).map(|_| scope.spawn(operator)).collect();
        for operator in operators {
            operator.join().unwrap();
        }
        let last = Units::load(&home.file(UNITS), &ORIGIN.parse().unwrap()).unwrap();
        let last = last.current().unwrap().id;
        service.until("the last one signs", |health| {
            health["timestamps"]["unit"] == last.to_string()
        });
        over.store(true, Ordering::SeqCst);
        for client in clients {
            assert!(client.join().unwrap() > 0);
        }
        last
    });
    assert_eq!(granted(&service), last);
    let units = UnitsFile::read(&home.file(UNITS)).unwrap().unit;
    let open = units.iter().filter(|unit| unit.closed.is_none());
    assert_eq!((units.len(), open.count()), (ROTATIONS + 1, 1));
    drop(service);
    // What was not logged when it was killed is when it listens again.
    let mut service = home.serve();
    assert!(service.process.terminate().success());
    // Of each unit: its start, then its tokens, then its closing.
    let mut lives: Vec<(UnitId, bool)> = Vec::new();
    let store = RedbStore::open_journaled(home.database(), JournalOptions::default()).unwrap();
    let mut logged = 0;
    while let Some(bytes) = store.entry(LeafIndex::new(logged).unwrap()).unwrap() {
        logged += 1;
        match Entry::parse(&bytes).unwrap() {
            Entry::Key(key) if key.event == KeyEvent::Start => lives.push((key.unit, true)),
            Entry::Key(key) => {
                let life = lives.iter_mut().find(|(unit, _)| *unit == key.unit);
                let life = life.expect("what is closed was started");
                assert!(std::mem::replace(&mut life.1, false), "closed once");
            }
            Entry::Timestamp(token) => assert!(lives.contains(&(token.unit(), true))),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(lives.len(), ROTATIONS + 1);
    assert_eq!(lives[0].0, first);
    let open: Vec<_> = lives.iter().filter(|(_, open)| *open).collect();
    assert_eq!((open.len(), open[0].0), (1, last));
}
