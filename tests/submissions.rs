//! Every bad checkpoint gets its exact answer and changes nothing; every good one is kept once.
//! The service as a process, through both doors: `/add-checkpoint` and `/anchor`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what panics here is a test that fails"
)]

mod network;

use std::sync::Barrier;

use jurat_keys::Algorithm;
use jurat_proto::add_checkpoint::BODY_BYTES_MAX;
use jurat_proto::checkpoint::{ExtensionLine, SignedCheckpoint};
use jurat_proto::cosignature_lines::CosignatureLines;
use jurat_proto::entry::{CheckpointEntry, Entry};
use jurat_proto::hash::{Hash, empty_root, sha256};
use jurat_proto::note::SignatureLine;
use jurat_proto::proof::ConsistencyProof;
use jurat_proto::receipt::Receipt;
use jurat_proto::tree::{TreeHead, TreeSize};

use crate::network::log::{body, key, line, sign};
use crate::network::{Answer, Home, Service, TestLog, eventually, http};

const DOORS: [&str; 2] = ["/add-checkpoint", "/anchor"];

/// A service that holds size 5 of a log whose true size is 20.
fn at_five() -> (Home, Service, TestLog) {
    let home = Home::new();
    let mut log = TestLog::new("log.example/a");
    log.grow(20);
    home.add_log(&log);
    let service = home.serve();
    service.anchored(&log.request(0, 5));
    (home, service, log)
}

/// Sends a body that proves that its log forked: it is refused, and its log from then on.
fn convicts(service: &Service, name: &str, body: &[u8]) {
    let answer = service.call("POST", DOORS[0], &[], body);
    assert_eq!(answer.status, 422, "{name}: {}", answer.text());
    assert_eq!(answer.header("location"), None, "{name}");
    let again = refused(service, name, body, 403);
    assert!(
        again.text().contains("evidence "),
        "{name}: {}",
        again.text()
    );
}

/// Sends a body to both doors: both refuse with this status, and nothing changes.
fn refused(service: &Service, name: &str, body: &[u8], status: u16) -> Answer {
    let before = service.state();
    let mut last = None;
    for door in DOORS {
        let answer = service.call("POST", door, &[], body);
        assert_eq!(answer.status, status, "{name} {door}: {}", answer.text());
        assert_eq!(answer.header("location"), None, "{name} {door}");
        assert_eq!(service.state(), before, "{name} {door}");
        last = Some(answer);
    }
    last.unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn head(size: u64, root_hash: Hash) -> TreeHead {
    TreeHead {
        size: TreeSize::new(size).unwrap(),
        root_hash,
    }
}

/// The entry of the receipt of an anchored checkpoint.
fn anchored(receipt: &[u8]) -> CheckpointEntry {
    match Receipt::parse(receipt).unwrap().entry() {
        Entry::Checkpoint(entry) => entry.clone(),
        other => panic!("{other:?}"),
    }
}

// Spec: WIT-11, WIT-12, WIT-13
#[test]
fn who_did_not_sign_is_refused() {
    let (_home, service, log) = at_five();
    let checkpoint = log.unsigned(log.head(8));
    let proof = || log.proof(5, 8);

    let mut stranger = TestLog::new("log.example/nobody");
    stranger.grow(8);
    let answer = refused(&service, "unknown origin", &stranger.request(0, 8), 404);
    assert!(answer.text().contains("log.example/nobody"), "{answer:?}");

    let same_name = key("log.example/a", Algorithm::Ed25519);
    let wrong_key = body(5, proof(), sign(&checkpoint, &same_name));
    refused(&service, "another key of the same name", &wrong_key, 403);

    let elsewhere = key("log.example/b", Algorithm::Ed25519);
    let untrusted = body(5, proof(), sign(&checkpoint, &elsewhere));
    refused(&service, "no trusted signature", &untrusted, 403);

    let good = line(&checkpoint, &log.key);
    let mut signature = good.signature().to_vec();
    signature[40] ^= 1;
    let forged = SignatureLine::new(good.name().clone(), good.key_id(), signature).unwrap();
    let alone = SignedCheckpoint::new(checkpoint.clone(), vec![forged.clone()]).unwrap();
    refused(&service, "a forged line", &body(5, proof(), alone), 403);
    // One good line does not make up for it.
    let both = SignedCheckpoint::new(checkpoint.clone(), vec![good, forged]).unwrap();
    refused(&service, "good and forged", &body(5, proof(), both), 403);

    // The signature of another checkpoint of the same log.
    let moved = line(&log.unsigned(log.head(9)), &log.key);
    let moved = SignedCheckpoint::new(checkpoint, vec![moved]).unwrap();
    refused(&service, "a moved signature", &body(5, proof(), moved), 403);

    service.anchored(&log.request(5, 8));
}

// Spec: WIT-14, WIT-15, WIT-16, WIT-42
#[test]
fn a_wrong_old_size_gets_400_or_409_and_our_size() {
    let (home, service, log) = at_five();
    for (name, old, new) in [
        ("stale", 3, 8),
        ("from the beginning", 0, 8),
        ("above ours", 7, 8),
        ("above ours, equal to the checkpoint", 8, 8),
        ("stale refresh", 3, 3),
    ] {
        let answer = refused(&service, name, &log.request(old, new), 409);
        assert_eq!(answer.header("content-type"), Some("text/x.tlog.size"));
        assert_eq!(answer.text(), "5\n", "{name}");
    }
    // A log that has anchored nothing stands at 0.
    let mut fresh = TestLog::new("log.example/fresh");
    fresh.grow(4);
    home.add_log(&fresh);
    eventually("the new log is known", || {
        let answer = service.add(&fresh.request(2, 4));
        (answer.status == 409).then(|| assert_eq!(answer.text(), "0\n"))
    });

    let future = body(9, ConsistencyProof::default(), log.checkpoint(8));
    refused(&service, "above the checkpoint", &future, 400);
    let future = body(5, ConsistencyProof::default(), log.checkpoint(4));
    refused(&service, "ours, above the checkpoint", &future, 400);
    service.anchored(&log.request(5, 8));
}

// Spec: WIT-17, WIT-18, WIT-19, WIT-20
#[test]
fn what_is_not_append_only_gets_422() {
    let (home, service, log) = at_five();
    let good = log.proof(5, 8).into_hashes();
    let mut flipped = good.clone();
    flipped[1] = sha256(b"not this one");
    let mut longer = good.clone();
    longer.push(sha256(b"one more"));
    let shorter = good[1..].to_vec();
    let mut swapped = good.clone();
    swapped.swap(0, 1);
    for (name, hashes) in [
        ("a wrong hash", flipped),
        ("one hash too many", longer),
        ("one hash too few", shorter),
        ("two hashes swapped", swapped),
        ("no hash", Vec::new()),
    ] {
        let proof = ConsistencyProof::new(hashes).unwrap();
        refused(&service, name, &body(5, proof, log.checkpoint(8)), 422);
    }
    let stuffed = ConsistencyProof::new(good).unwrap();
    let refresh = body(5, stuffed.clone(), log.checkpoint(5));
    refused(&service, "a proof for a refresh", &refresh, 422);
    // The largest tree size is a number like any other.
    let largest = log.sign(head(TreeSize::MAX.get(), sha256(b"whatever")));
    refused(&service, "size 2^63-1", &body(5, stuffed, largest), 422);

    let mut fresh = TestLog::new("log.example/fresh");
    fresh.grow(8);
    home.add_log(&fresh);
    eventually("the new log is known", || {
        (service.add(&fresh.request(1, 8)).status == 409).then_some(())
    });
    let wrong_root = fresh.sign(head(0, sha256(b"not nothing")));
    let wrong_root = body(0, ConsistencyProof::default(), wrong_root);
    // It is logged as evidence, which stops nothing of its own.
    let (_, logs) = service.state();
    let answer = service.call("POST", DOORS[0], &[], &wrong_root);
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert_eq!(service.state().1, logs);
    let proof = fresh.proof(5, 8);
    let from_zero = body(0, proof, fresh.checkpoint(8));
    refused(&service, "a proof from size 0", &from_zero, 422);
}

// Spec: WIT-18
#[test]
fn a_fork_gets_422_and_its_log_403_from_then_on() {
    let (_home, service, log) = at_five();
    let fork = log.fork(4, 8);
    let same_size = body(5, ConsistencyProof::default(), fork.checkpoint(5));
    convicts(&service, "a fork at the same size", &same_size);
    refused(&service, "what comes after it", &log.request(5, 8), 403);
    let (_home, service, log) = at_five();
    convicts(&service, "a fork that grew", &log.fork(4, 8).request(5, 8));
}

// Spec: WIT-01, WIT-02, WIT-03, WIT-04, WIT-05, WIT-08
#[test]
fn what_is_not_canonical_gets_400() {
    let (_home, service, log) = at_five();
    let good = log.request(5, 8);
    let good = text(&good);
    let root = log.head(8).root_hash.to_base64();
    let proof = log.proof(5, 8).hashes()[0].to_base64();
    let spare_bits = format!("{}B=", &root[..42]);
    assert_ne!(spare_bits, root);
    let changed = |from: &str, to: &str| {
        assert!(good.contains(from), "{from:?} is not in {good:?}");
        good.replacen(from, to, 1)
    };
    let too_many = vec![proof.as_str(); 64].join("\n");
    let cases = [
        ("nothing", String::new()),
        ("no old line", good["old 5\n".len()..].to_owned()),
        ("no old size", changed("old 5\n", "old \n")),
        ("a leading zero", changed("old 5\n", "old 05\n")),
        ("a plus sign", changed("old 5\n", "old +5\n")),
        ("a minus sign", changed("old 5\n", "old -5\n")),
        ("two spaces", changed("old 5\n", "old  5\n")),
        ("a space at the end", changed("old 5\n", "old 5 \n")),
        ("hexadecimal", changed("old 5\n", "old 0x5\n")),
        (
            "an old size of 2^63",
            changed("old 5\n", "old 9223372036854775808\n"),
        ),
        (
            "an old size of 2^64",
            changed("old 5\n", "old 18446744073709551616\n"),
        ),
        (
            "a size of 2^63",
            changed("\n8\n", "\n9223372036854775808\n"),
        ),
        ("a size with a leading zero", changed("\n8\n", "\n08\n")),
        ("no padding", changed(&root, root.trim_end_matches('='))),
        ("spare bits", changed(&root, &spare_bits)),
        ("the URL alphabet", changed(&root, &"_".repeat(43))),
        ("a short hash", changed(&proof, "AAAA")),
        ("a space in base64", changed(&proof, &format!(" {proof}"))),
        ("64 proof lines", changed(&proof, &too_many)),
        ("carriage returns", good.replace('\n', "\r\n")),
        ("one carriage return", changed("old 5\n", "old 5\r\n")),
        (
            "a tab in the origin",
            changed("example/a\n", "example/\ta\n"),
        ),
        ("NUL in the origin", changed("example/a\n", "example/\0a\n")),
        ("no newline at the end", good.trim_end().to_owned()),
        ("an empty line at the end", format!("{good}\n")),
        ("no signature", changed("\u{2014} ", "- ")),
    ];
    for (name, body) in cases {
        refused(&service, name, body.as_bytes(), 400);
    }
    let mut not_text = good.as_bytes().to_vec();
    not_text[good.len() - 3] = 0xff;
    refused(&service, "not UTF-8", &not_text, 400);
    service.anchored(good.as_bytes());
}

// Spec: WIT-09
#[test]
fn an_oversized_body_gets_413_however_it_is_framed() {
    let (_home, service, log) = at_five();
    let oversized = vec![b'a'; BODY_BYTES_MAX + 1];
    refused(&service, "one byte too many", &oversized, 413);
    refused(&service, "the largest body", &oversized[1..], 400);
    refused(&service, "a megabyte", &vec![b'a'; 1 << 20], 413);

    let before = service.state();
    for door in DOORS {
        let mut client = service.client();
        let head = format!("POST {door} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(head.as_bytes()).unwrap();
        let chunk = [b"4000\r\n".to_vec(), vec![b'a'; 0x4000], b"\r\n".to_vec()].concat();
        // The answer comes while the client is still sending; it may break the connection under it.
        for _ in 0..64 {
            if client.send(&chunk).is_err() {
                break;
            }
        }
        let answer = client.read("POST").unwrap();
        assert_eq!(answer.status, 413, "{}", answer.text());
        assert_eq!(service.state(), before);
    }
    // The same framing within the bounds.
    let good = log.request(5, 8);
    let mut client = service.client();
    let head = "POST /add-checkpoint HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (a, b) = good.split_at(20);
    let chunk = |part: &[u8]| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
    client
        .send(&[head.as_bytes(), &chunk(a), &chunk(b), b"0\r\n\r\n"].concat())
        .unwrap();
    assert_eq!(client.read("POST").unwrap().status, 200);
}

/// About 54 kB of post-quantum signatures: by strangers, whose lines are not kept, and by 16 keys
/// of the log, which are all verified and kept.
// Spec: WIT-06, ENT-02, ENT-06, SVC-16
#[test]
fn sixteen_ml_dsa_signatures_are_accepted() {
    let (home, service, log) = at_five();
    let checkpoint = log.unsigned(log.head(8));
    let keys: Vec<_> = (0..21)
        .map(|n| key(&format!("log.example/key{n}"), Algorithm::MlDsa44))
        .collect();
    let with = |count: usize| {
        let mut lines = vec![line(&checkpoint, &log.key)];
        lines.extend(keys[..count].iter().map(|key| line(&checkpoint, key)));
        let signed = SignedCheckpoint::new(checkpoint.clone(), lines).unwrap();
        body(5, log.proof(5, 8), signed)
    };
    let request = with(16);
    assert!(request.len() > 52_000, "{}", request.len());
    let (index, receipt) = service.anchored(&request);
    let entry = anchored(&receipt);
    assert_eq!(entry.checkpoint().signatures().len(), 1);

    for key in &keys {
        let key = jurat_proto::key::Signer::verifier_key(key).to_string();
        home.add_key(&key, log.origin.as_str());
    }
    // A refresh with all lines of trusted keys, once the service has read the registry again.
    let newest = SignedCheckpoint::new(checkpoint.clone(), vec![line(&checkpoint, &keys[20])]);
    let newest = body(8, ConsistencyProof::default(), newest.unwrap());
    eventually("the keys are trusted", || {
        (service.add(&newest).status == 200).then_some(())
    });
    let lines = keys[..16].iter().map(|key| line(&checkpoint, key));
    let signed = SignedCheckpoint::new(checkpoint.clone(), lines.collect()).unwrap();
    let refresh = body(8, ConsistencyProof::default(), signed.clone());
    let (second, receipt) = service.anchored(&refresh);
    assert_eq!(second, index + 2);
    let entry = anchored(&receipt);
    assert_eq!(entry.checkpoint(), &signed);
    home.verify(&receipt);

    // What does not fit an entry (65,535 bytes) is refused, and nothing changes.
    let lines = keys.iter().map(|key| line(&checkpoint, key)).collect();
    let signed = SignedCheckpoint::new(checkpoint, lines).unwrap();
    let large = body(8, ConsistencyProof::default(), signed);
    refused(&service, "21 trusted lines", &large, 413);
    drop(service);
    home.fsck();
}

/// Ed25519 notes (0x01) are everywhere above; these are the two timestamped types.
// Spec: WIT-10, SVC-26
#[test]
fn logs_with_timestamped_keys_anchor() {
    let home = Home::new();
    let mut logs = [
        TestLog::with_algorithm("log.example/ml-dsa", Algorithm::MlDsa44),
        TestLog::with_algorithm("log.example/cosig", Algorithm::CosignatureV1),
    ];
    for log in &mut logs {
        log.grow(9);
        home.add_log(log);
    }
    let service = home.serve();
    for log in &logs {
        let (_, receipt) = service.anchored(&log.request(0, 4));
        home.verify(&receipt);
        let receipt = Receipt::parse(&receipt).unwrap();
        let verified = receipt.verify_anchored(std::slice::from_ref(log.vkey()));
        assert!(verified.unwrap()[0].timestamp.is_some());
        service.anchored(&log.request(4, 9));
        refused(&service, "stale", &log.request(4, 9), 409);
    }
    // An ML-DSA-44 signature does not cover extension lines, so anybody could have added them.
    let mut extended = logs[0].unsigned(logs[0].head(9));
    extended.extensions = ExtensionLine::parse("by nobody").unwrap().into();
    let extended = sign(&extended, &logs[0].key);
    let extended = body(9, ConsistencyProof::default(), extended);
    refused(&service, "an extension line", &extended, 403);
}

/// An empty log may say so, and then grow.
// Spec: WIT-17, WIT-18
#[test]
fn a_log_starts_empty_and_grows() {
    let home = Home::new();
    let mut log = TestLog::new("log.example/a");
    home.add_log(&log);
    let service = home.serve();
    assert_eq!(log.head(0).root_hash, empty_root());
    let (first, _) = service.anchored(&log.request(0, 0));
    assert_eq!(service.latest(&log.origin).unwrap().head(), log.head(0));
    assert_eq!(service.anchored(&log.request(0, 0)).0, first);
    log.grow(300);
    let (second, receipt) = service.anchored(&log.request(0, 300));
    assert_eq!((first, second), (0, 1));
    home.verify(&receipt);
    refused(&service, "size 0 again", &log.request(0, 0), 409);
}

/// The answer of `/add-checkpoint` is one cosignature for each key of the service, and a place.
// Spec: WIT-21, WIT-46, SVC-16
#[test]
fn a_submission_is_answered_with_cosignatures_and_its_place() {
    let (home, service, log) = at_five();
    let answer = service.add(&log.request(5, 8));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("location"), Some("/receipt/1"));
    let keys = home.cosigner_keys();
    let lines = CosignatureLines::parse(&answer.body).unwrap();
    assert_eq!(lines.lines().len(), keys.len());
    let verified = lines.verify(&log.checkpoint(8), &keys).unwrap();
    assert_eq!(verified.len(), keys.len());
    // What is served is the log's line and then those.
    let served = service.latest(&log.origin).unwrap();
    assert_eq!(served.signatures()[1..], *lines.lines());
    served.verify_signatures(&keys).unwrap();
    let receipt = service.get("/receipt/1?wait=25");
    assert_eq!(receipt.status, 200, "{}", receipt.text());
    assert_eq!(home.verify(&receipt.body).index.get(), 1);
    assert_eq!(service.get("/receipt/2").status, 404);
    assert_eq!(service.get("/receipt/01").status, 400);
}

// Spec: WIT-34, SVC-02
#[test]
fn the_same_checkpoint_again_has_the_same_place_and_grows_nothing() {
    let (home, service, log) = at_five();
    let (index, _) = service.anchored(&log.request(5, 8));
    let refresh = log.request(8, 8);
    let before = service.committed();
    for _ in 0..3 {
        assert_eq!(service.anchored(&refresh).0, index);
    }
    let gate = Barrier::new(16);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = service.client();
                gate.wait();
                let answer = client.call("POST", "/add-checkpoint", &[], &refresh);
                let answer = answer.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert_eq!(answer.index(), index);
            });
        }
    });
    assert_eq!(service.committed(), before);
    drop(service);
    assert_eq!(home.fsck(), before);
}

/// Many clients of one log: in each round exactly one is first, and all others learn its size.
// Spec: WIT-43, SVC-03
#[test]
fn of_64_racing_submissions_exactly_one_wins() {
    const CLIENTS: u64 = 64;
    let home = Home::new();
    let mut log = TestLog::new("log.example/a");
    home.add_log(&log);
    let service = home.serve();
    let mut old = 0;
    for round in 0..6 {
        log.grow(old + CLIENTS);
        let committed = service.committed();
        let requests: Vec<(u64, Vec<u8>)> = (old + 1..=old + CLIENTS)
            .map(|new| (new, log.request(old, new)))
            .collect();
        let gate = Barrier::new(requests.len());
        let answers: Vec<(u64, Answer)> = std::thread::scope(|scope| {
            let (gate, service) = (&gate, &service);
            let race = |(new, body): (u64, Vec<u8>)| {
                scope.spawn(move || {
                    let mut client = service.client();
                    gate.wait();
                    let answer = client.call("POST", "/add-checkpoint", &[], &body);
                    (new, answer.unwrap())
                })
            };
            let racers: Vec<_> = requests.into_iter().map(race).collect();
            racers.into_iter().map(|r| r.join().unwrap()).collect()
        });
        let won: Vec<u64> = answers
            .iter()
            .filter(|(_, answer)| answer.status == 200)
            .map(|(new, _)| *new)
            .collect();
        assert_eq!(won.len(), 1, "round {round}: {won:?}");
        for (_, answer) in answers.iter().filter(|(_, answer)| answer.status != 200) {
            assert_eq!(answer.status, 409);
            assert_eq!(answer.text(), format!("{}\n", won[0]));
        }
        assert_eq!(service.committed(), committed + 1, "round {round}");
        assert_eq!(
            service.latest(&log.origin).unwrap().head(),
            log.head(won[0])
        );
        old = won[0];
    }
    drop(service);
    assert_eq!(home.fsck(), 6);
}

// Spec: WIT-41
#[test]
fn methods_and_paths_that_do_not_exist_get_405_and_404() {
    let (_home, service, log) = at_five();
    for door in DOORS {
        for method in ["GET", "PUT", "DELETE", "HEAD"] {
            let answer = service.call(method, door, &[], b"");
            assert_eq!(answer.status, 405, "{method} {door}");
            assert_eq!(answer.header("allow"), Some("POST"), "{method} {door}");
        }
    }
    for path in [
        "/checkpoint",
        "/receipt/0",
        "/logs",
        "/health",
        "/tile/0/000",
    ] {
        let answer = service.call("POST", path, &[], &log.request(5, 8));
        assert_eq!(answer.status, 405, "{path}");
        let allow = answer.header("allow").expect("an Allow header");
        assert!(allow.split(", ").any(|method| method == "GET"), "{allow}");
    }
    for path in [
        "/add-checkpoint/",
        "/add-checkpoints",
        "/anchor/0",
        "//",
        "/x",
    ] {
        for method in ["GET", "POST"] {
            assert_eq!(service.call(method, path, &[], b"").status, 404, "{path}");
        }
    }
    assert_eq!(service.committed(), 1);
}

/// `jurat logs` works on the registry of a service that runs.
// Spec: SVC-14, SVC-18
#[test]
fn logs_are_added_disabled_and_enabled_while_the_service_runs() {
    let home = Home::new();
    let service = home.serve();
    let mut log = TestLog::new("log.example/late");
    log.grow(20);
    refused(&service, "not yet registered", &log.request(0, 5), 404);
    home.add_log(&log);
    eventually("the log may anchor", || {
        (service.add(&log.request(0, 5)).status == 200).then_some(())
    });

    let origin = log.origin.as_str();
    assert!(home.command(&["logs", "disable", origin]).status.success());
    eventually("the log may not anchor", || {
        (service.add(&log.request(5, 5)).status == 404).then_some(())
    });
    refused(&service, "disabled", &log.request(5, 8), 404);
    // What it has anchored stays.
    assert_eq!(service.latest(&log.origin).unwrap().head(), log.head(5));
    let row = &service.get("/logs").json()["logs"][0];
    assert_eq!(
        (&row["active"], &row["latest"]["size"]),
        (&false.into(), &5.into())
    );

    assert!(home.command(&["logs", "enable", origin]).status.success());
    eventually("the log may anchor again", || {
        (service.add(&log.request(0, 8)).status == 409).then_some(())
    });
    let answer = refused(&service, "from the beginning", &log.request(0, 8), 409);
    assert_eq!(answer.text(), "5\n");
    service.anchored(&log.request(5, 8));
}

/// A registry that does not parse leaves the one before in force.
// Spec: SVC-14
#[test]
fn a_damaged_registry_does_not_stop_the_logs_that_are_known() {
    let (home, service, log) = at_five();
    let registry = home.file("logs.toml");
    let good = std::fs::read(&registry).unwrap();
    std::fs::write(&registry, "this is [ not a registry").unwrap();
    eventually("the damage is noticed", || {
        let said = service.process.stderr();
        said.contains("stays in force").then_some(())
    });
    service.anchored(&log.request(5, 8));
    std::fs::write(&registry, good).unwrap();
    service.anchored(&log.request(8, 9));
}

/// Two requests on one connection are two requests: a refusal does not disturb what follows it.
#[test]
fn a_connection_goes_on_after_a_refusal() {
    let (_home, service, log) = at_five();
    let mut client = service.client();
    let both = [
        http::request("POST", "/add-checkpoint", &[], &log.request(3, 8)),
        http::request("POST", "/add-checkpoint", &[], &log.request(5, 8)),
    ];
    client.send(&both.concat()).unwrap();
    assert_eq!(client.read("POST").unwrap().status, 409);
    assert_eq!(client.read("POST").unwrap().status, 200);
}
