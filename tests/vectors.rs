//! Checkpoints that other people's logs have signed, anchored in the service and receipted with
//! three real witnesses. Their folder is named by `JURAT_VECTORS`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "what panics here is a test that fails"
)]

mod network;

use std::path::Path;

use jurat_proto::add_checkpoint::AddCheckpoint;
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::key::VerifierKey;
use jurat_proto::proof::ConsistencyProof;
use serde_json::Value;

use crate::network::door::response;
use crate::network::log::body;
use crate::network::{Door, Home, Service, jurat, network, vectors};

fn vkey(folder: &Path) -> VerifierKey {
    let text = std::fs::read_to_string(folder.join("log.vkey")).unwrap();
    VerifierKey::parse(text.trim_end()).unwrap()
}

/// Runs `jurat verify` with the anchored log's key; gives what is proven.
fn verify(home: &Home, receipt: &Path, vkey: &VerifierKey) -> Value {
    let vkey = vkey.to_string();
    let policy = home.policy_file();
    let args = [
        "verify",
        receipt.to_str().unwrap(),
        "--policy",
        policy.to_str().unwrap(),
        "--log-key",
        &vkey,
        "--json",
    ];
    let output = jurat(args);
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["files"][0]["proven"].clone()
}

/// The Go checksum database: the name of its key is not its origin. Each of its two checkpoints
/// goes into a service of its own, since there is no proof between them.
// Spec: WIT-10, RCP-05, RCP-06, SVC-07
#[test]
fn checkpoints_of_the_go_checksum_database_are_anchored_and_receipted() {
    let Some(folder) = vectors("sumdb") else {
        return;
    };
    let key = vkey(&folder);
    let origin = "go.sum database tree";
    assert_ne!(key.name().as_str(), origin);
    let request = std::fs::read(folder.join("add-checkpoint-35225469.txt")).unwrap();
    let note = std::fs::read(folder.join("checkpoint-6476701.txt")).unwrap();
    let signed = SignedCheckpoint::parse(&note).unwrap();
    let older = body(0, ConsistencyProof::default(), signed);
    for (size, request) in [(35_225_469, request), (6_476_701, older)] {
        let (home, witnesses) = network(3, 2);
        home.add_key(&key.to_string(), origin);
        let service = home.serve();
        let (index, receipt) = service.anchored(&request);
        assert_eq!(index, 0);
        let latest = AddCheckpoint::parse(&request).unwrap().checkpoint;
        let served = service.latest(latest.origin()).unwrap();
        assert_eq!(served.signatures()[0], latest.signatures()[0]);
        drop((service, witnesses));

        let file = home.root().join("receipt.tlog-proof");
        std::fs::write(&file, receipt).unwrap();
        let proven = verify(&home, &file, &key);
        let entry = &proven["entry"];
        assert_eq!(entry["origin"], origin);
        assert_eq!(entry["size"], size);
        assert_eq!(entry["root_hash"], latest.head().root_hash.to_base64());
        assert_eq!(entry["signature_verified"], true);
        assert!(
            proven["witnesses"].as_array().unwrap().len() >= 4,
            "{proven}"
        );
    }
}

/// The bodies of another implementation's tests, in their order, with the status that each must
/// get. The signature of 02 is base64 with stray bits: a canonical decoder says 400, not 403.
// Spec: WIT-08, WIT-11, WIT-13, WIT-18, WIT-19
#[test]
fn requests_of_another_implementation_get_the_statuses_that_are_due() {
    let Some(folder) = vectors("witness-requests") else {
        return;
    };
    let key = vkey(&folder);
    let home = Home::new();
    home.add_key(&key.to_string(), key.name().as_str());
    let service = home.serve();
    for name in ["01", "02", "03", "04", "05"] {
        let body = std::fs::read(folder.join(format!("{name}.request"))).unwrap();
        let status = std::fs::read_to_string(folder.join(format!("{name}.status"))).unwrap();
        let mut status: u16 = status.trim_end().parse().unwrap();
        if name == "02" {
            assert_eq!(status, 403);
            status = 400;
        }
        let before = service.state();
        let answer = service.add(&body);
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        if status != 200 {
            assert_eq!(service.state(), before, "{name}");
        }
    }
    let (entries, logs) = service.state();
    assert_eq!((entries, &logs[0]["latest"]["size"]), (1, &1.into()));
}

/// A small log of another implementation, at each of its sizes: `jurat anchor` reads its tiles over
/// HTTP and builds the proofs between them.
// Spec: WIT-17, RCP-06, SVC-02
#[test]
fn a_foreign_log_is_anchored_at_each_size_from_its_tiles() {
    let Some(folder) = vectors("tessera-log") else {
        return;
    };
    let key = vkey(&folder);
    let tiles = folder.clone();
    let door = Door::answering(move |asked| {
        let path = tiles.join(asked.path.trim_start_matches('/'));
        match std::fs::read(path) {
            Ok(bytes) => response(200, "application/octet-stream", &bytes),
            Err(_) => response(404, "text/plain", b""),
        }
    });
    let (home, _witnesses) = network(3, 2);
    home.add_key(&key.to_string(), key.name().as_str());
    let service = home.serve();
    for size in 0..=8 {
        let receipt = home.root().join(format!("receipt.{size}"));
        anchor(
            &service,
            &folder.join(format!("checkpoint.{size}")),
            &door,
            &receipt,
        );
        let proven = verify(&home, &receipt, &key);
        assert_eq!(proven["index"], size);
        assert_eq!(proven["entry"]["size"], size);
        assert_eq!(proven["entry"]["signature_verified"], true);
    }
    assert_eq!(service.committed(), 9);
    // The last one again is the same entry.
    let receipt = home.root().join("receipt.again");
    anchor(&service, &folder.join("checkpoint.8"), &door, &receipt);
    assert_eq!(verify(&home, &receipt, &key)["index"], 8);
    assert_eq!(service.committed(), 9);
}

fn anchor(service: &Service, checkpoint: &Path, tiles: &Door, receipt: &Path) {
    let url = format!("http://{}", service.address);
    let output = jurat([
        "anchor",
        "--url",
        &url,
        "--tiles",
        &tiles.url(),
        checkpoint.to_str().unwrap(),
        "-o",
        receipt.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{output:?}");
}
