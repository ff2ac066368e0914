//! Receipts, from a service and three real witnesses: they come when a quorum has cosigned, verify
//! offline, and never come without it.
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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::add_checkpoint::{AddCheckpoint, CONFLICT_CONTENT_TYPE};
use jurat_proto::checkpoint::{Checkpoint, SignedCheckpoint};
use jurat_proto::cosignature::cosign;
use jurat_proto::hash::sha256;
use jurat_proto::key::{Signer as _, UnixSeconds};
use jurat_proto::policy::Policy;
use jurat_proto::receipt::Receipt;
use jurat_proto::tree::TreeHead;
use serde_json::Value;

use crate::network::door::{relay, response};
use crate::network::log::key;
use crate::network::{
    Door, Home, Member, Mode, Service, TestLog, WitnessHome, eventually, http, jurat, network,
    policy,
};

/// A network in which one log of size 100 may anchor.
fn three_witnesses(quorum: usize) -> (Home, Vec<WitnessHome>, TestLog) {
    let (home, witnesses) = network(3, quorum);
    let log = registered(&home);
    (home, witnesses, log)
}

fn registered(home: &Home) -> TestLog {
    let mut log = TestLog::new("log.example/a");
    log.grow(100);
    home.add_log(&log);
    log
}

/// A time limit for witnesses that no test waits out: what is answered before it, has not waited
/// for one of them.
fn patient(home: &Home) {
    home.edit("timeout_ms = 2000 ", "timeout_ms = 60000 ");
}

/// How many of these witnesses have cosigned a checkpoint.
fn cosigners(checkpoint: &SignedCheckpoint, witnesses: &[WitnessHome]) -> usize {
    let cosigned = |witness: &&WitnessHome| checkpoint.verify_signatures(&witness.keys()).is_ok();
    witnesses.iter().filter(cosigned).count()
}

/// The row of `/health` about the witness whose first key has this name in the policy.
fn row<'a>(health: &'a Value, name: &str) -> &'a Value {
    let rows = health["witnesses"].as_array().unwrap();
    let row = rows.iter().find(|row| row["names"][0] == name);
    row.unwrap_or_else(|| panic!("no {name} in {health}"))
}

fn write(home: &Home, name: &str, bytes: &[u8]) -> PathBuf {
    let path = home.root().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Runs `jurat verify --json` on one file: the exit code, and what is proven or the error.
fn verify(file: &Path, policy: &Path, more: &[&str]) -> (i32, Value) {
    let file = file.to_str().unwrap();
    let policy = policy.to_str().unwrap();
    let args = ["verify", file, "--policy", policy, "--json"];
    let output = jurat(args.iter().chain(more));
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let code = output.status.code().unwrap();
    assert_eq!(report["good"], code == 0, "{report}");
    let row = &report["files"][0];
    let told = if code == 0 { "proven" } else { "error" };
    (code, row[told].clone())
}

// Spec: RCP-01, RCP-04, RCP-05, RCP-06, SVC-07
#[test]
fn a_receipt_is_witnessed_and_verifies_offline() {
    let (home, witnesses, log) = three_witnesses(2);
    let policy_file = home.policy_file();
    let service = home.serve();
    let (index, bytes) = service.anchored(&log.request(0, 7));
    assert_eq!(index, 0);
    let cosigned = service.until("all three have cosigned", |_| {
        cosigners(&service.checkpoint().unwrap(), &witnesses) == 3
    });
    assert_eq!(cosigned["healthy"], true, "{cosigned}");
    let checkpoint = service.get("/checkpoint").body;
    // From here on there is no network.
    drop((service, witnesses));

    let receipt = write(&home, "receipt", &bytes);
    let vkey = log.vkey().to_string();
    let (code, row) = verify(&receipt, &policy_file, &["--log-key", &vkey]);
    assert_eq!(code, 0, "{row}");
    assert_eq!(row["kind"], "receipt");
    assert_eq!(row["log"], network::service::ORIGIN);
    assert_eq!((&row["index"], &row["size"]), (&0.into(), &1.into()));
    let entry = &row["entry"];
    assert_eq!(entry["origin"], log.origin.as_str());
    assert_eq!(entry["size"], 7);
    assert_eq!(entry["root_hash"], log.head(7).root_hash.to_base64());
    assert_eq!(entry["signature_verified"], true);
    let keys = row["witnesses"].as_array().unwrap().len();
    assert!(keys >= 4, "two witnesses with two keys each: {row}");

    let (code, row) = verify(&receipt, &policy_file, &[]);
    assert_eq!(
        (code, &row["entry"]["signature_verified"]),
        (0, &false.into())
    );
    let (code, row) = verify(&write(&home, "checkpoint", &checkpoint), &policy_file, &[]);
    assert_eq!((code, &row["kind"]), (0, &"checkpoint".into()), "{row}");
    assert_eq!(row["witnesses"].as_array().unwrap().len(), 6);

    let text = String::from_utf8(bytes).unwrap();
    let forged = text.replace("index 0\n", "index 1\n");
    assert_ne!(forged, text);
    let (code, row) = verify(
        &write(&home, "forged", forged.as_bytes()),
        &policy_file,
        &[],
    );
    assert_eq!(code, 1, "{row}");
    let stranger = TestLog::new(log.origin.as_str()).vkey().to_string();
    let (code, row) = verify(&receipt, &policy_file, &["--log-key", &stranger]);
    assert_eq!(code, 1, "{row}");
}

/// The service's own COSE receipt, and that written from its receipt with no network, are one.
// Spec: RCP-12, RCP-13, RCP-15, RCP-16
#[test]
fn a_receipt_is_witnessed_in_cose_as_well() {
    let (home, witnesses, log) = three_witnesses(2);
    let policy_file = home.policy_file();
    let service = home.serve();
    service.anchored(&log.request(0, 7));
    service.until("all three have cosigned", |_| {
        cosigners(&service.checkpoint().unwrap(), &witnesses) == 3
    });
    let plain = service.get("/receipt/0");
    let served = service.get("/receipt/0.cose");
    assert_eq!((plain.status, served.status), (200, 200));
    let kind = "application/cose; cose-type=\"cose-sign1\"";
    assert_eq!(served.header("content-type"), Some(kind));
    for (path, status) in [("1.cose", 404), (".cose", 400), ("0.COSE", 400)] {
        assert_eq!(
            service.get(&format!("/receipt/{path}")).status,
            status,
            "{path}"
        );
    }
    // From here on there is no network.
    drop((service, witnesses));

    let receipt = write(&home, "receipt", &plain.body);
    let in_cose = home.root().join("receipt.cose");
    let args = [
        "export",
        receipt.to_str().unwrap(),
        "--as",
        "cose-receipt",
        "-o",
    ];
    let output = jurat(args.iter().chain(&[in_cose.to_str().unwrap()]));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read(&in_cose).unwrap(), served.body);

    let vkey = log.vkey().to_string();
    let more = ["--log-key", &vkey, "--require", "witnessed"];
    let (code, row) = verify(&in_cose, &policy_file, &more);
    assert_eq!(code, 0, "{row}");
    assert_eq!(row["kind"], "cose-receipt");
    assert_eq!(row["class"], "witnessed");
    assert_eq!(row["log"], network::service::ORIGIN);
    assert_eq!((&row["index"], &row["size"]), (&0.into(), &1.into()));
    assert_eq!(row["entry"]["origin"], log.origin.as_str());
    assert_eq!(row["entry"]["signature_verified"], true);
    assert_eq!(row["witnesses"].as_array().unwrap().len(), 6);
    // A bracket is more than any receipt shows.
    assert_eq!(
        verify(&in_cose, &policy_file, &["--require", "bracketed"]).0,
        1
    );
    // What was signed in COSE, changed: the witnesses' cosignatures do not help.
    let mut forged = served.body.clone();
    *forged.last_mut().unwrap() ^= 1;
    let (code, row) = verify(&write(&home, "forged.cose", &forged), &policy_file, &[]);
    assert_eq!(code, 1, "{row}");
    assert!(
        row.as_str().unwrap().contains("has signed, in COSE"),
        "{row}"
    );
    // Another entry than the one inside.
    let other = write(&home, "other", b"another entry");
    let given = ["--data", other.to_str().unwrap()];
    assert_eq!(verify(&in_cose, &policy_file, &given).0, 1);
}

/// The same receipt under a policy whose quorum it does not meet.
// Spec: POL-24, POL-25
#[test]
fn a_receipt_without_the_quorum_of_a_policy_is_not_good() {
    let (home, witnesses, log) = three_witnesses(2);
    let service = home.serve();
    let (_, bytes) = service.anchored(&log.request(0, 7));
    let stranger = |number: usize| Member {
        keys: vec![
            key(&format!("w{number}.example"), Algorithm::MlDsa44)
                .verifier_key()
                .clone(),
        ],
        url: "http://127.0.0.1:9".to_owned(),
    };
    let one_of_ours = [witnesses[0].member(), stranger(2), stranger(3)];
    let receipt = write(&home, "receipt", &bytes);
    for (members, quorum) in [(&one_of_ours[..], 2), (&one_of_ours[1..], 1)] {
        let text = policy(&home.log_keys(), members, quorum);
        let file = write(&home, "other.policy", text.as_bytes());
        let (code, row) = verify(&receipt, &file, &[]);
        assert_eq!(code, 1, "{row}");
    }
}

// Spec: SVC-09
#[test]
fn a_dead_witness_delays_nobody() {
    let (home, mut witnesses, log) = three_witnesses(2);
    patient(&home);
    let service = home.serve();
    service.anchored(&log.request(0, 5));
    witnesses[1].kill();
    for size in 6..12 {
        let (_, receipt) = service.anchored(&log.request(size - 1, size));
        home.verify(&receipt);
    }
    let health = service.until("the dead one is named", |health| {
        row(health, "w2.0")["error"].is_string()
    });
    assert_eq!(health["healthy"], true, "{health}");
    assert!(row(&health, "w1.0")["error"].is_null(), "{health}");

    witnesses[1].start();
    service.until("it cosigns again", |health| {
        row(health, "w2.0")["error"].is_null() && row(health, "w2.0")["size"] == 7
    });
    eventually("its cosignature is shown", || {
        (cosigners(&service.checkpoint().unwrap(), &witnesses) == 3).then_some(())
    });
}

/// It accepts connections and says nothing, from the first one on.
// Spec: SVC-08, SVC-09
#[test]
fn a_silent_witness_delays_nobody_and_is_heard_later() {
    let (home, witnesses, log) = three_witnesses(2);
    patient(&home);
    let silent = &witnesses[2];
    silent.door.set(Mode::Silent);
    let service = home.serve();
    let mut last = Vec::new();
    for size in 1..6 {
        last = service.anchored(&log.request(size - 1, size)).1;
    }
    let verdict = home.verify(&last);
    assert_eq!(verdict.head.size.get(), 5);
    let published = service.checkpoint().unwrap();
    assert_eq!(cosigners(&published, &witnesses), 2);
    assert!(silent.door.accepted() > 0);

    // More cosignatures than the quorum are gathered in the background, for the head that stands.
    silent.door.set(Mode::Forward(silent.address));
    let improved = eventually("the third cosignature is shown", || {
        let checkpoint = service.checkpoint().unwrap();
        (cosigners(&checkpoint, &witnesses) == 3).then_some(checkpoint)
    });
    assert_eq!(improved.head(), published.head());
    let receipt = service.get("/receipt/0").body;
    assert_eq!(home.verify(&receipt).witnesses.len(), 6);
}

/// The time limit for a witness is kept: what a silent one does not answer is asked again.
// Spec: SVC-09
#[test]
fn a_silent_witness_is_given_up_after_its_time() {
    let (home, witnesses, log) = three_witnesses(2);
    home.edit("timeout_ms = 2000 ", "timeout_ms = 200 ");
    witnesses[2].door.set(Mode::Silent);
    let service = home.serve();
    service.anchored(&log.request(0, 5));
    service.until("it is named", |health| {
        row(health, "w3.0")["error"].is_string()
    });
    let before = witnesses[2].door.accepted();
    eventually("it is asked again", || {
        (witnesses[2].door.accepted() > before).then_some(())
    });
}

// Spec: TIL-20, SVC-07, SVC-10, SVC-13
#[test]
fn without_a_quorum_nothing_that_is_unwitnessed_is_served() {
    let (home, mut witnesses, log) = three_witnesses(2);
    home.edit("timeout_ms = 2000 ", "timeout_ms = 500 ");
    home.edit("refresh_s = 30 ", "refresh_s = 1 ");
    home.edit("stale_after_s = 120 ", "stale_after_s = 3 ");
    witnesses[0].kill();
    witnesses[1].kill();
    let mut service = home.serve();
    let answer = service.add(&log.request(0, 5));
    assert_eq!((answer.status, answer.index()), (200, 0));
    // The entry is durable, and no quorum has ever seen it.
    let unwitnessed = |service: &Service| {
        let answer = service.get("/receipt/0");
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert!(answer.header("retry-after").is_some());
        for path in ["/checkpoint", "/tile/0/000.p/1", "/tile/entries/000.p/1"] {
            assert_eq!(service.get(path).status, 503, "{path}");
        }
        assert_eq!(service.get("/proof/inclusion?index=0").status, 503);
    };
    unwitnessed(&service);
    let began = Instant::now();
    let answer = service.anchor(&log.request(5, 6), 1);
    assert_eq!((answer.status, answer.index()), (202, 1));
    assert!(answer.header("retry-after").is_some());
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
    unwitnessed(&service);
    assert_eq!(service.get("/health").status, 503);
    service.process.kill();
    let service = home.serve();
    unwitnessed(&service);

    witnesses[0].start();
    let receipt = service.get("/receipt/1?wait=25");
    assert_eq!(receipt.status, 200, "{}", receipt.text());
    home.verify(&receipt.body);
    service.until("it is healthy", |health| health["healthy"] == true);

    // The quorum is lost: what was published stays, and health says that it gets old.
    witnesses[0].kill();
    let answer = service.anchor(&log.request(6, 7), 0);
    assert_eq!((answer.status, answer.index()), (202, 2));
    service.until("it is stale", |health| health["healthy"] == false);
    assert_eq!(service.get("/health").status, 503);
    assert_eq!(service.published().unwrap().size.get(), 2);
    assert_eq!(service.get("/receipt/2").status, 202);
    assert_eq!(service.get("/receipt/1").status, 200);
    assert_eq!(service.get("/proof/inclusion?index=2&size=3").status, 404);
    assert_eq!(service.get("/tile/entries/000.p/3").status, 404);
    assert_eq!(service.get("/tile/0/000.p/3").status, 404);
    assert_eq!(service.get("/tile/0/000.p/2").status, 200);

    witnesses[0].start();
    witnesses[1].start();
    let receipt = service.get("/receipt/2?wait=25");
    assert_eq!(receipt.status, 200, "{}", receipt.text());
    home.verify(&receipt.body);
    service.until("it is healthy again", |health| health["healthy"] == true);
}

/// Makes the response of a witness, with its own key.
type Lie = fn(&Checkpoint, &SigningKey) -> Vec<u8>;

/// A witness of the policy that answers each add-checkpoint of a tree with leaves in its own way,
/// and has no read API.
struct Liar {
    key: SigningKey,
    lie: Lie,
    /// A part of what `/health` must say of it.
    said: &'static str,
}

fn cosignature(checkpoint: &Checkpoint, key: &SigningKey) -> String {
    let time = UnixSeconds::new(1_790_000_000).unwrap();
    format!("{}\n", cosign(checkpoint, time, key).unwrap())
}

fn liars() -> Vec<Liar> {
    let lies: [(Lie, &str); 8] = [
        (
            |_, _| response(200, "text/plain", b"<html>Hello</html>\n"),
            "not a list of signature lines",
        ),
        (
            |_, _| response(200, "text/plain", b""),
            "not a list of signature lines",
        ),
        // Right, but by a key that nobody asked.
        (
            |checkpoint, _| {
                let stranger = key("stranger.example", Algorithm::CosignatureV1);
                response(
                    200,
                    "text/plain",
                    cosignature(checkpoint, &stranger).as_bytes(),
                )
            },
            "cosignatures are not good",
        ),
        // By the right key, over a tree that is not ours.
        (
            |checkpoint, key| {
                let mut other = checkpoint.clone();
                other.head.root_hash = sha256(b"another tree");
                response(200, "text/plain", cosignature(&other, key).as_bytes())
            },
            "cosignatures are not good",
        ),
        // Good lines, and then more than anybody would read.
        (
            |checkpoint, key| {
                let line = cosignature(checkpoint, key);
                response(200, "text/plain", line.repeat(40_000).as_bytes())
            },
            "",
        ),
        (|_, _| response(500, "text/plain", b"out of order"), "500"),
        (
            |_, _| response(409, CONFLICT_CONTENT_TYPE, b"1000000\n"),
            "1000000",
        ),
        (
            |_, _| response(409, "text/plain", b"1\n"),
            "409 without a tree size",
        ),
    ];
    (0..)
        .zip(lies)
        .map(|(number, (lie, said))| Liar {
            key: key(&format!("liar{number}.example"), Algorithm::CosignatureV1),
            lie,
            said,
        })
        .collect()
}

// Spec: WIT-22, WIT-23, SVC-17
#[test]
fn witnesses_that_lie_are_ignored_and_named() {
    let (home, witnesses, log) = three_witnesses(3);
    let mut members: Vec<Member> = witnesses.iter().map(WitnessHome::member).collect();
    let mut doors = Vec::new();
    let mut keys = Vec::new();
    let liars = liars();
    let said: Vec<&str> = liars.iter().map(|liar| liar.said).collect();
    for Liar { key, lie, .. } in liars {
        let vkey = key.verifier_key().clone();
        let door = Door::answering(move |asked| {
            if asked.method == "GET" {
                return response(404, "text/plain", b"");
            }
            let request = AddCheckpoint::parse(&asked.body).unwrap();
            let checkpoint = request.checkpoint.checkpoint();
            if checkpoint.head == TreeHead::empty() {
                // Where it stands when the service starts, which is believed.
                return response(200, "text/plain", cosignature(checkpoint, &key).as_bytes());
            }
            lie(checkpoint, &key)
        });
        members.push(Member {
            keys: vec![vkey.clone()],
            url: door.url(),
        });
        keys.push(vkey);
        doors.push(door);
    }
    // Three of eleven: the liars could make up the quorum if they were believed.
    home.write_policy(&policy(&home.log_keys(), &members, 3));
    let service = home.serve();
    for size in 1..4 {
        let (_, receipt) = service.anchored(&log.request(size - 1, size));
        home.verify(&receipt);
        let receipt = Receipt::parse(&receipt).unwrap();
        let checkpoint = receipt.tlog_proof().checkpoint();
        assert_eq!(cosigners(checkpoint, &witnesses), 3);
        assert!(checkpoint.verify_signatures(&keys).is_err());
    }
    let health = service.until("every liar is named", |health| {
        (4..12).all(|number| row(health, &format!("w{number}.0"))["error"].is_string())
    });
    for (number, said) in (4..).zip(said) {
        let row = row(&health, &format!("w{number}.0"));
        assert!(row["error"].as_str().unwrap().contains(said), "{row}");
        assert!(row["size"].is_null() || row["size"] == 0, "{row}");
    }
    assert_eq!(health["healthy"], true, "{health}");
    assert!(Policy::parse(&std::fs::read(home.policy_file()).unwrap()).is_ok());
}

/// A witness without a read API says where it stands with 409, at the comparison and afterwards.
// Spec: WIT-15, WIT-16
#[test]
fn old_sizes_are_learned_from_409() {
    let (home, mut witnesses) = network(2, 2);
    let log = registered(&home);
    let conflicts = Arc::new(AtomicUsize::new(0));
    let (upstream, counted) = (witnesses[0].address, Arc::clone(&conflicts));
    witnesses[0].door.set(Mode::Answer(Arc::new(move |asked| {
        if asked.method == "GET" {
            return response(404, "text/plain", b"");
        }
        let answer = http::call(upstream, "POST", &asked.path, &[], &asked.body).unwrap();
        counted.fetch_add(usize::from(answer.status == 409), Ordering::SeqCst);
        relay(&answer)
    })));
    let learned = |service: &Service, times: usize| {
        eventually("a size was learned", || {
            (conflicts.load(Ordering::SeqCst) >= times).then_some(())
        });
        service.health()
    };

    // One witness stands at size 1, and nothing has been published.
    witnesses[1].kill();
    let service = home.serve();
    assert_eq!(service.add(&log.request(0, 5)).status, 200);
    // Without the other one there is no quorum that has been compared with: nothing is signed.
    witnesses[1].start();
    service.until("size 1 is published", |health| {
        health["published_size"] == 1
    });
    eventually("both have cosigned", || {
        (witnesses[0].cosigned_size() == 1).then_some(())
    });
    assert_eq!(conflicts.load(Ordering::SeqCst), 0);

    // Now one is ahead of what is published, and not of what is committed.
    witnesses[1].kill();
    assert_eq!(service.add(&log.request(5, 6)).status, 200);
    eventually("the other one cosigns alone", || {
        (witnesses[0].cosigned_size() == 2).then_some(())
    });
    drop(service);
    let service = home.serve();
    learned(&service, 1);
    witnesses[1].start();
    let (index, receipt) = service.anchored(&log.request(6, 7));
    assert_eq!(index, 2);
    home.verify(&receipt);
    drop(service);
    assert_eq!(home.fsck(), 3);
}

/// A witness whose state was lost stands at size 0 again, and is brought up from there.
#[test]
fn a_witness_that_forgot_its_state_is_brought_up_again() {
    let (home, mut witnesses, log) = three_witnesses(2);
    let service = home.serve();
    service.anchored(&log.request(0, 5));
    service.anchored(&log.request(5, 6));
    // A new witness at the URL of an old one, with the same keys and an empty database.
    witnesses[0].kill();
    witnesses[0].forget();
    witnesses[0].start();
    service.anchored(&log.request(6, 7));
    eventually("it has cosigned again", || {
        (witnesses[0].cosigned_size() == 3).then_some(())
    });
}
