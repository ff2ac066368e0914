//! A document is stamped by the real service among three real witnesses, and what is proven of it
//! is verified offline: plain, with its receipt, and after the key was closed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what panics here is a test that fails"
)]

mod network;

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::network::service::ORIGIN;
use crate::network::{Home, eventually, jurat, network_of};

fn verify(token: &str, more: &[&str]) -> (i32, Value) {
    let args = ["verify", token, "--json"];
    let output = jurat(args.iter().chain(more));
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code().unwrap(), report["files"][0].clone())
}

/// A client that was not built for it shows the extension with the cosigned checkpoint, which is
/// not critical.
fn shown_by_openssl(token: &str) {
    let shown = Command::new("openssl")
        .args(["ts", "-reply", "-text", "-in", token])
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let (_, extensions) = shown.split_once("Extensions:").expect(&shown);
    let mut lines = extensions
        .lines()
        .map(str::trim)
        .skip_while(|line| line.is_empty());
    assert_eq!(lines.next(), Some(&*format!("{ARC}.1:")), "{shown}");
    // The note's text, as far as OpenSSL prints it: no "critical" stands before it.
    assert!(extensions.contains(ORIGIN), "{shown}");
}

/// The arc of our object identifiers (`spec/timestamp.md`).
const ARC: &str = "1.2.840.113556.1.8000.2554.24355.54125.48897.16678.42822.7514055.13516296";

/// The receipt inside a token as a COSE receipt, alone and beside tokens.
fn in_cose(token: &str, without: &str, policy: &str, index: u64) {
    let export = |token: &str, to: &str| {
        let output = jurat(["export", token, "--as", "cose-receipt", "-o", to]);
        output.status.code().unwrap()
    };
    let receipt = format!("{token}.cose");
    assert_eq!(export(token, &receipt), 0);
    assert_eq!(
        export(without, &format!("{without}.cose")),
        1,
        "there is none inside"
    );
    let (code, row) = verify(&receipt, &["--policy", policy]);
    assert_eq!(code, 0, "{row}");
    assert_eq!(row["proven"]["entry"]["kind"], "timestamp");
    assert_eq!(row["proven"]["index"], index);
    let beside = ["--policy", policy, "--receipt", &receipt];
    let (code, row) = verify(token, &beside);
    assert_eq!(code, 0, "{row}");
    assert_eq!(row["proven"]["class"], "bracketed");
    assert_eq!(verify(without, &beside).0, 1, "another's receipt");
}

// Spec: TSP-81, TSP-83, TSP-84, TSP-87, TSP-89, TSP-92, TSA-50, RCP-15
#[test]
fn a_document_is_stamped_bracketed_by_witnesses_and_outlives_its_key() {
    let (home, _witnesses) = network_of(Home::with_timestamps(), 3, 2);
    let service = home.serve();
    let url = format!("http://{}/timestamp", service.address);
    let place = |name: &str| home.root().join(name).to_str().unwrap().to_owned();
    let stamp = |args: &[&str]| {
        let output = jurat(["timestamp", "--url", &url].iter().chain(args));
        assert!(output.status.success(), "{output:?}");
    };
    // Until a quorum has cosigned a tree head, a token has nothing to carry.
    service.until("something is published", |health| {
        health["published_size"].as_u64() > Some(0)
    });
    for name in ["first", "late"] {
        fs::write(place(name), name).unwrap();
    }
    stamp(&["--upgrade", &place("first")]);
    stamp(&[&place("late")]);

    shown_by_openssl(&place("late.tsr"));

    let (policy, root) = (home.policy_file(), home.file("keys/tsa/ca.pem"));
    let (policy, root) = (policy.to_str().unwrap(), root.to_str().unwrap());
    let (first, late) = (place("first.tsr"), place("late.tsr"));
    let query = place("first.tsq");
    let how = ["--policy", policy, "--ca", root];
    let required = [&how[..], &["--require", "bracketed", "--query", &query]].concat();
    let (code, row) = verify(&first, &required);
    assert_eq!(code, 0, "{row}");
    let proven = &row["proven"];
    assert_eq!(proven["class"], "bracketed");
    let (from, to) = (&proven["not_before"], &proven["not_after"]);
    assert!(from.as_u64().unwrap() <= to.as_u64().unwrap(), "{proven}");
    let index = proven["proof"]["index"].as_u64().unwrap();
    // The log stands for its unit.
    assert_eq!(verify(&first, &["--policy", policy]).0, 0);
    in_cose(&first, &late, policy, index);
    // Alone, a token is as good as its signature, and not older than what it carries.
    let (code, row) = verify(&late, &how);
    assert_eq!(
        (code, &row["proven"]["class"]),
        (0, &"signature only".into()),
        "{row}"
    );
    assert!(row["proven"]["not_before"].is_u64(), "{row}");
    assert_eq!(verify(&late, &required[..6]).0, 1);

    let closed = home.command(&["tsa", "close", "--reason", "compromise"]);
    assert!(closed.status.success(), "{closed:?}");
    let closing = eventually("the closing is in the log", || {
        (index + 1..index + 8).find_map(|index| {
            let answer = service.get(&format!("/receipt/{index}"));
            let text = (answer.status == 200).then_some(answer.body)?;
            let file = place("closing.tlog-proof");
            fs::write(&file, text).unwrap();
            let (code, row) = verify(&file, &["--policy", policy]);
            assert_eq!(code, 0, "{row}");
            (row["proven"]["entry"]["event"] == "close").then_some(file)
        })
    });
    let how = [&how[..], &["--closed", &closing]].concat();
    let (code, row) = verify(&first, &how);
    assert_eq!(
        (code, &row["proven"]["class"]),
        (0, &"key closed".into()),
        "{row}"
    );
    let (code, row) = verify(&late, &how);
    assert_eq!(code, 1, "{row}");
    // It was logged before the closing: its receipt saves it.
    stamp(&["--upgrade", &late]);
    let (code, row) = verify(&late, &how);
    assert_eq!(
        (code, &row["proven"]["class"]),
        (0, &"key closed".into()),
        "{row}"
    );
}
