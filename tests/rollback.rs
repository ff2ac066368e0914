//! A service on a state that is older than, or other than, what it has signed before must not sign
//! again: its witnesses remember.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what panics here is a test that fails"
)]

mod network;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::network::door::{relay, response};
use jurat_proto::tsp::imprint::{HashAlgorithm, MessageImprint};
use jurat_proto::tsp::request::TimestampRequest;
use jurat_proto::tsp::response::{PkiStatus, TimestampResponse};

use crate::network::{
    Home, Mode, Service, TestLog, WitnessHome, eventually, http, network, network_of,
};

fn anchoring(home: &Home) -> TestLog {
    let mut log = TestLog::new("log.example/a");
    log.grow(100);
    home.add_log(&log);
    log
}

/// Anchors the sizes from `from` to `to`, and waits until every witness has cosigned the last.
fn anchor(service: &Service, log: &TestLog, witnesses: &[WitnessHome], from: u64, to: u64) {
    for size in from..to {
        service.anchored(&log.request(size, size + 1));
    }
    let size = service.committed();
    for witness in witnesses {
        eventually("it has cosigned all", || {
            (witness.cosigned_size() == size).then_some(())
        });
    }
}

fn stop(mut service: Service) {
    assert!(service.process.terminate().success());
}

/// What every witness holds of what the service has signed: the text, and the lines by its keys.
/// One of them has a time, so the same head signed again is not the same. (A witness may cosign
/// what it holds once more.)
fn held(witnesses: &[WitnessHome]) -> Vec<Option<String>> {
    let signed = |witness: &WitnessHome| {
        let checkpoint = witness.cosigned()?;
        let lines = checkpoint.signatures().iter();
        let own = lines.filter(|line| line.name().as_str() == network::service::ORIGIN);
        let own: Vec<String> = own.map(ToString::to_string).collect();
        assert_eq!(own.len(), 2, "{own:?}");
        Some(checkpoint.checkpoint().to_text() + &own.join("\n"))
    };
    witnesses.iter().map(signed).collect()
}

/// Copies the database, which is two files.
fn keep(home: &Home, name: &str) -> PathBuf {
    let copy = home.root().join(name);
    copied(&home.database(), &copy);
    copy
}

fn copied(from: &Path, to: &Path) {
    let journal = |database: &Path| {
        let mut name = database.as_os_str().to_owned();
        name.push(".journal");
        PathBuf::from(name)
    };
    std::fs::copy(from, to).unwrap();
    std::fs::copy(journal(from), journal(to)).unwrap();
}

/// `serve` must end with an error that has all of these in it, and no witness may have been asked
/// for anything new.
fn refuses(home: &Home, witnesses: &[WitnessHome], said: &[&str]) -> String {
    let before = held(witnesses);
    let (code, text) = home.refuses_to_serve();
    assert_eq!(code, 1, "{text}");
    for part in said {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert_eq!(held(witnesses), before);
    text
}

// Spec: CKP-21, SVC-06
#[test]
fn a_restored_backup_does_not_sign() {
    let (home, witnesses) = network(3, 2);
    let log = anchoring(&home);
    let empty = keep(&home, "empty");
    let service = home.serve();
    anchor(&service, &log, &witnesses, 0, 2);
    stop(service);
    let backup = keep(&home, "backup");
    let service = home.serve();
    anchor(&service, &log, &witnesses, 2, 5);
    stop(service);
    let newest = keep(&home, "newest");

    copied(&backup, &home.database());
    let text = refuses(&home, &witnesses, &["of 5 leaves", "holds 2"]);
    let named = |number| text.contains(&format!("witness w{number}.0"));
    assert!((1..=3).any(named), "{text}");
    // It says so each time, and the state is not touched by it.
    refuses(&home, &witnesses, &["of 5 leaves", "holds 2"]);
    assert_eq!(home.fsck(), 2);
    // A volume that was mounted empty.
    copied(&empty, &home.database());
    refuses(&home, &witnesses, &["of 5 leaves", "holds 0"]);

    // With the newest state all is well.
    copied(&newest, &home.database());
    let service = home.serve();
    anchor(&service, &log, &witnesses, 5, 7);
}

fn stamp(service: &Service) -> TimestampResponse {
    let digest = HashAlgorithm::Sha256.digest(b"any");
    let imprint = MessageImprint::new(HashAlgorithm::Sha256, digest).unwrap();
    let body = TimestampRequest::new(imprint, None, None, false).to_bytes();
    let headers = ["Content-Type: application/timestamp-query"];
    let answer = service.call("POST", "/timestamp", &headers, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    TimestampResponse::parse(&answer.body).unwrap()
}

/// A serial number is a place in the log: after a restore, the next one was given before.
// Spec: TSA-05, TSA-07
#[test]
fn a_restored_backup_gives_no_serial_number_while_no_witness_can_be_asked() {
    let (home, witnesses) = network_of(Home::with_timestamps(), 3, 2);
    let service = home.serve();
    service.until("it is well", |health| health["healthy"] == true);
    stop(service);
    let backup = keep(&home, "backup");
    let service = home.serve();
    service.until("it is well", |health| health["healthy"] == true);
    assert_eq!(stamp(&service).status(), PkiStatus::Granted);
    stop(service);

    copied(&backup, &home.database());
    for witness in &witnesses {
        witness.door.set(Mode::Closed);
    }
    let service = home.serve();
    let before = service.committed();
    assert_eq!(stamp(&service).status(), PkiStatus::Rejection);
    assert_eq!(service.committed(), before);
}

/// The same keys over another tree, as large as the first one or larger.
// Spec: CKP-21, SVC-06
#[test]
fn another_history_does_not_sign() {
    let (home, witnesses) = network(3, 2);
    let log = anchoring(&home);
    let service = home.serve();
    anchor(&service, &log, &witnesses, 0, 3);
    stop(service);

    let other = Home::new();
    std::fs::remove_dir_all(other.file("keys")).unwrap();
    std::fs::rename(home.file("keys"), other.file("keys")).unwrap();
    let other_log = anchoring(&other);
    let policy = std::fs::read_to_string(home.policy_file()).unwrap();
    let alone = policy.replace("quorum enough", "quorum none");
    for leaves in [3, 6] {
        // Signed before anybody looked, so that the state itself is whole.
        other.write_policy(&alone);
        let unseen: Vec<_> = witnesses.iter().collect();
        for witness in &unseen {
            witness.door.set(Mode::Closed);
        }
        let service = other.serve();
        let from = service.committed();
        anchor(&service, &other_log, &[], from, leaves);
        stop(service);
        assert_eq!(other.fsck(), leaves);
        for witness in &unseen {
            witness.door.set(Mode::Forward(witness.address));
        }
        other.write_policy(&policy);
        let root = witnesses[0].cosigned().unwrap().head().root_hash;
        let said = ["of 3 leaves", "another history", &root.to_base64()];
        refuses(&other, &witnesses, &said);
    }
}

/// The only witness that saw the newest head was away when the older state came up.
// Spec: CKP-21, SVC-06
#[test]
fn a_witness_that_comes_back_ahead_stops_the_service() {
    let (home, mut witnesses) = network(3, 2);
    let log = anchoring(&home);
    let service = home.serve();
    anchor(&service, &log, &witnesses, 0, 1);
    stop(service);
    let backup = keep(&home, "backup");
    let service = home.serve();
    service.until("all have been compared with", |health| {
        let rows = health["witnesses"].as_array().unwrap();
        rows.iter().all(|row| row["size"] == 1)
    });
    witnesses[0].kill();
    witnesses[1].kill();
    assert_eq!(service.add(&log.request(1, 9)).status, 200);
    eventually("the third has cosigned alone", || {
        (witnesses[2].cosigned_size() == 2).then_some(())
    });
    stop(service);

    copied(&backup, &home.database());
    witnesses[2].kill();
    witnesses[0].start();
    witnesses[1].start();
    let before = home.stderr();
    let mut service = home.serve();
    service.until("a quorum knows nothing of it", |health| {
        health["healthy"] == true
    });
    witnesses[2].start();
    let status = service.process.exit();
    assert_eq!(status.code(), Some(1));
    let text = service.process.stderr()[before.len()..].to_owned();
    for part in ["witness w3.0", "of 2 leaves", "holds 1"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    // As long as that is so, the service does not come up while that witness is there.
    witnesses[0].kill();
    let (code, text) = home.refuses_to_serve();
    assert_eq!(code, 1, "{text}");
}

/// A witness that only claims to be ahead, without a head that the service's keys signed, is
/// believed until an operator says otherwise.
// Spec: SVC-06
#[test]
fn a_claim_to_be_ahead_holds_until_the_operator_overrules_it() {
    let (home, witnesses) = network(2, 1);
    let log = anchoring(&home);
    let service = home.serve();
    anchor(&service, &log, &witnesses, 0, 2);
    stop(service);
    let upstream = witnesses[0].address;
    witnesses[0].door.set(Mode::Answer(Arc::new(move |asked| {
        if asked.method == "GET" {
            response(404, "text/plain", b"")
        } else if asked.path == "/add-checkpoint" {
            response(409, "text/x.tlog.size", b"77\n")
        } else {
            relay(&http::call(upstream, &asked.method, &asked.path, &[], &asked.body).unwrap())
        }
    })));
    refuses(
        &home,
        &witnesses,
        &["w1.0", "77", "signed 2", "ignore_ahead"],
    );
    home.edit("[witnesses]\n", "[witnesses]\nignore_ahead = [\"w1.0\"]\n");
    let service = home.serve();
    anchor(&service, &log, &witnesses[1..], 2, 4);
}

/// A head signed by somebody else proves nothing about this service.
// Spec: SVC-06
#[test]
fn a_forged_head_stops_nothing() {
    let (home, witnesses) = network(2, 1);
    let log = anchoring(&home);
    let service = home.serve();
    anchor(&service, &log, &witnesses, 0, 2);
    stop(service);
    let mut forger = TestLog::new(network::service::ORIGIN);
    forger.grow(50);
    let head = forger.checkpoint(50).to_bytes();
    let upstream = witnesses[0].address;
    witnesses[0].door.set(Mode::Answer(Arc::new(move |asked| {
        if asked.method == "GET" {
            return response(200, "text/plain", &head);
        }
        relay(&http::call(upstream, &asked.method, &asked.path, &[], &asked.body).unwrap())
    })));
    let service = home.serve();
    anchor(&service, &log, &witnesses, 2, 4);
}
