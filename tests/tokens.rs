//! Time-stamps on the command line: `jurat timestamp` and `jurat verify`, with `openssl ts` as an
//! authority that is none of ours, and with tokens of ours that a log stands for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what panics here is a test that fails"
)]

mod foreign_authority;
mod network;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jurat_proto::cose::Sign1;
use serde_json::Value;

use crate::foreign_authority::{
    Authority, DEFAULT_POLICY, OTHER_POLICY, P256, P384, RSA, TIME_STAMPING, example,
};
use crate::network::door::response;
use crate::network::{Door, jurat};

const REPLY: &str = "application/timestamp-reply";

/// Runs `jurat verify --json` on one file: the exit code, and what is proven or the error.
fn verify(file: &str, more: &[&str]) -> (i32, Value) {
    let args = ["verify", file, "--json"];
    let output = jurat(args.iter().chain(more));
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let code = output.status.code().unwrap();
    assert_eq!(report["good"], code == 0, "{report}");
    let row = &report["files"][0];
    let told = if code == 0 { "proven" } else { "error" };
    (code, row[told].clone())
}

/// It is good; gives what is proven.
fn good(file: &str, more: &[&str]) -> Value {
    let (code, proven) = verify(file, more);
    assert_eq!(code, 0, "{proven}");
    proven
}

/// It is not good, and the error says this.
fn refused(file: &str, more: &[&str], said: &str) {
    let (code, error) = verify(file, more);
    assert_eq!(code, 1, "{error}");
    assert!(error.as_str().unwrap().contains(said), "{error}");
}

/// An authority with a document that it has stamped: `document`, `q.tsq`, `document.tsr`.
fn stamped(key: &[&str]) -> Authority {
    let authority = Authority::new(key);
    authority.write("document", b"a document\n");
    authority.query("document", "q.tsq", &["-sha256"]);
    authority.reply("q.tsq", "document.tsr", "tsa", &[]);
    authority
}

// Spec: TSP-60, TSP-66, TSP-70, TSP-75, TSP-88
#[test]
fn tokens_of_a_foreign_authority_are_good_by_their_signature() {
    for (key, hash) in [(P256, "-sha256"), (P384, "-sha384"), (RSA, "-sha512")] {
        let foreign = stamped(key);
        foreign.query("document", "q.tsq", &[hash]);
        foreign.reply("q.tsq", "document.tsr", "tsa", &[]);
        let (token, root) = (foreign.path("document.tsr"), foreign.path("root.pem"));
        let query = foreign.path("q.tsq");
        let proven = good(&token, &["--ca", &root, "--query", &query]);
        assert_eq!(proven["class"], "signature only");
        assert_eq!(proven["policy"], DEFAULT_POLICY);
        assert_eq!(proven["accuracy_us"], 1_500_000);
        assert_eq!(proven["signer"], "CN=Foreign tsa");
        assert_eq!(proven["root"], "CN=Foreign root");
        assert_eq!(proven["nonce_verified"], true);
        assert_eq!(proven["hash"].as_str().unwrap()[4..], hash[4..]);
        // The token alone, a policy that is about logs, and the digest in place of the document.
        let take = [
            "ts",
            "-reply",
            "-in",
            "document.tsr",
            "-token_out",
            "-out",
            "t.der",
        ];
        foreign.openssl(&take);
        let policy = example("logged.policy");
        let digest = proven["digest"].as_str().unwrap();
        let policy = ["--policy", policy.to_str().unwrap(), "--ca", &root];
        let args = [&policy[..], &["--digest", digest]].concat();
        assert_eq!(
            good(&foreign.path("t.der"), &args)["class"],
            "signature only"
        );
        let args = [&policy[..], &["--require", "logged"]].concat();
        refused(&token, &args, "What is required is: logged");
    }
}

// Spec: TSP-66, TSP-69, TSP-71, TSP-89
#[test]
fn another_document_root_or_policy_is_refused() {
    // Its root has the same name, and is valid when the token is made.
    let stranger = Authority::new(P256);
    let foreign = stamped(P256);
    let token = foreign.path("document.tsr");
    let root = foreign.path("root.pem");
    let other = foreign.write("other", b"another document\n");
    refused(&token, &["--ca", &root, "--data", &other], "another digest");
    refused(&token, &["--ca", &stranger.path("root.pem")], "signature");
    refused(&token, &[], "nobody vouches for the signer");
    let policy = ["--ca", &root, "--policy-oid", OTHER_POLICY];
    refused(&token, &policy, "under the policy");
    let (code, _) = verify(&token, &["--ca", &root, "--policy-oid", DEFAULT_POLICY]);
    assert_eq!(code, 0);
    // What cannot be asked is a mistake of the caller's.
    let moved = foreign.write("moved.der", &fs::read(&token).unwrap());
    for args in [
        &["verify", &moved, "--ca", &root][..],
        &["verify", &token, "--ca", &other],
        &["verify", &token, "--ca", &root, "--policy-oid", "x"],
    ] {
        let output = jurat(args);
        assert_eq!(output.status.code(), Some(64), "{output:?}");
    }
}

/// The bag of certificates is not under the signature.
// Spec: TSP-61, TSP-65
#[test]
fn injected_certificates_neither_help_nor_harm() {
    let genuine = stamped(P256);
    let attacker = stamped(P256);
    let root = genuine.path("root.pem");
    // Signed by a stranger, with the genuine signer and its root in the bag.
    let bag = ["tsa.pem", "root.pem"].map(|name| fs::read(genuine.file(name)).unwrap());
    attacker.write("bag.pem", &bag.concat());
    attacker.reply("q.tsq", "forged.tsr", "tsa", &["-chain", "bag.pem"]);
    let data = attacker.path("document");
    refused(
        &attacker.path("forged.tsr"),
        &["--ca", &root, "--data", &data],
        "signature",
    );
    // The genuine one, with a stranger's certificates in its bag.
    let bag = fs::read(attacker.file("tsa.pem")).unwrap();
    genuine.write("bag.pem", &bag);
    genuine.reply("q.tsq", "stuffed.tsr", "tsa", &["-chain", "bag.pem"]);
    let data = genuine.path("document");
    good(
        &genuine.path("stuffed.tsr"),
        &["--ca", &root, "--data", &data],
    );
}

/// Two certificates of one issuer, number and key: only the hash in the signed attributes tells
/// which of them was used.
// Spec: TSP-63
#[test]
fn a_certificate_of_another_hash_is_not_the_signers() {
    let foreign = stamped(P256);
    foreign.certify("twin", "tsa.csr", "7", TIME_STAMPING);
    foreign.query("document", "bare.tsq", &[]);
    let ask = ["ts", "-query", "-data", "document", "-out", "bare.tsq"];
    foreign.openssl(&ask);
    foreign.reply("bare.tsq", "bare.tsr", "tsa", &[]);
    let token = foreign.path("bare.tsr");
    let (root, data) = (foreign.path("root.pem"), foreign.path("document"));
    let args = ["--ca", &root, "--data", &data];
    refused(&token, &args, "not at hand");
    let with = |name: &str| [&args[..], &["--untrusted", name]].concat().join(" ");
    let (right, twin) = (
        with(&foreign.path("tsa.pem")),
        with(&foreign.path("twin.pem")),
    );
    good(&token, &right.split(' ').collect::<Vec<_>>());
    let twin: Vec<&str> = twin.split(' ').collect();
    refused(&token, &twin, "made with another certificate");
}

// Spec: TSP-41
#[test]
fn a_token_with_two_signers_is_refused() {
    let foreign = stamped(P256);
    foreign.signer("second", P256, "8", TIME_STAMPING);
    foreign.content("document.tsr");
    let again = [
        "cms",
        "-resign",
        "-inform",
        "DER",
        "-in",
        "token.der",
        "-outform",
        "DER",
    ];
    let by = [
        "-signer",
        "second.pem",
        "-inkey",
        "second.key",
        "-out",
        "two.der",
    ];
    foreign.openssl(&[&again[..], &["-binary", "-nodetach", "-cades"], &by].concat());
    let (root, data) = (foreign.path("root.pem"), foreign.path("document"));
    let args = ["--ca", &root, "--data", &data];
    good(&foreign.path("token.der"), &args);
    refused(
        &foreign.path("two.der"),
        &args,
        "no time-stamp: the token has 2 signers",
    );
}

// Spec: TSP-64, TSP-66
#[test]
fn a_signer_for_more_than_time_stamps_or_of_another_time_is_refused() {
    let foreign = stamped(P256);
    let content = foreign.content("document.tsr");
    let (root, data) = (foreign.path("root.pem"), foreign.path("document"));
    let args = ["--ca", &root, "--data", &data];
    foreign.sign(&content, "same.der", "tsa");
    good(&foreign.path("same.der"), &args);
    for (name, purposes, said) in [
        (
            "both",
            "critical,timeStamping,codeSigning",
            "not for time-stamps alone",
        ),
        ("mild", "timeStamping", "not marked as critical"),
        (
            "code",
            "critical,codeSigning",
            "its key is not for time-stamps",
        ),
    ] {
        foreign.signer(name, P256, "9", purposes);
        foreign.sign(&content, "other.der", name);
        refused(&foreign.path("other.der"), &args, said);
    }
    // The same, a year before the certificate was made.
    let at = content
        .windows(3)
        .position(|three| three == b"\x18\x0f2")
        .unwrap()
        + 2;
    let mut early = content.clone();
    early[at..at + 4].copy_from_slice(b"2019");
    foreign.sign(&early, "early.der", "tsa");
    refused(&foreign.path("early.der"), &args, "valid");
}

// Spec: TSP-70
#[test]
fn an_answer_without_the_nonce_that_was_sent_is_refused() {
    let foreign = stamped(P256);
    foreign.query("document", "bare.tsq", &["-no_nonce"]);
    foreign.reply("bare.tsq", "bare.tsr", "tsa", &[]);
    let (root, data, query) = (
        foreign.path("root.pem"),
        foreign.path("document"),
        foreign.path("q.tsq"),
    );
    let args = ["--ca", &root, "--data", &data, "--query", &query];
    refused(&foreign.path("bare.tsr"), &args, "lacks the nonce");
    good(&foreign.path("bare.tsr"), &args[..4]);
    foreign.query("document", "again.tsq", &[]);
    foreign.reply("again.tsq", "again.tsr", "tsa", &[]);
    refused(&foreign.path("again.tsr"), &args, "another nonce");
}

/// A token of ours, made by the examples of proto, with the document that it is about.
fn ours(name: &str, more: &[&str]) -> (i32, Value) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("document");
    fs::write(&data, b"a document\n").unwrap();
    let (token, data) = (example(name), data.to_str().unwrap());
    let args = [&["--data", data][..], more].concat();
    verify(token.to_str().unwrap(), &args)
}

// Spec: TSP-81, TSP-83, TSP-84, TSP-87, TSP-88, TSP-89
#[test]
fn a_logged_token_is_said_to_be_bracketed_and_survives_its_key() {
    let file = |name: &str| example(name).to_str().unwrap().to_owned();
    let (root, policy) = (file("root.der"), file("logged.policy"));
    let args = ["--ca", &root, "--policy", &policy];
    let (code, proven) = ours("logged.tsr", &args);
    assert_eq!(
        (code, &proven["class"]),
        (0, &"bracketed".into()),
        "{proven}"
    );
    let bracket = (&proven["not_before"], &proven["not_after"]);
    assert_eq!(bracket, (&1_789_999_994.into(), &1_790_000_002.into()));
    assert_eq!(proven["proof"]["index"], 5);
    assert_eq!(proven["proof"]["witnesses"].as_array().unwrap().len(), 3);
    let required = [&args[..], &["--require", "bracketed"]].concat();
    assert_eq!(ours("logged.tsr", &required).0, 0);
    // The log stands for its unit; a receipt beside the token is as good as one inside.
    let (code, proven) = ours("logged.tsr", &["--policy", &policy]);
    assert_eq!((code, &proven["root"]), (0, &Value::Null), "{proven}");
    let receipt = file("receipt.tlog-proof");
    let beside = ["--policy", &policy, "--receipt", &receipt];
    assert_eq!(ours("plain.tsr", &beside).1["class"], "bracketed");
    // Alone, it still shows what it is not older than.
    let (code, proven) = ours("plain.tsr", &args);
    assert_eq!((code, &proven["class"]), (0, &"signature only".into()));
    assert_eq!(proven["not_before"], 1_789_999_994);
    assert_eq!(ours("plain.tsr", &required).0, 1);
    assert_eq!(ours("plain.tsr", &["--policy", &policy]).0, 1);

    let (after, before) = (
        file("closed-after.tlog-proof"),
        file("closed-before.tlog-proof"),
    );
    let closed = |name: &str, closing: &str| {
        ours(
            name,
            &["--ca", &root, "--policy", &policy, "--closed", closing],
        )
    };
    let (code, proven) = closed("logged.tsr", &after);
    assert_eq!(
        (code, &proven["class"]),
        (0, &"key closed".into()),
        "{proven}"
    );
    assert_eq!(proven["closing"]["index"], 6);
    for (token, closing, said) in [
        ("plain.tsr", &after, "not proven to stand before"),
        ("logged.tsr", &before, "stands after it, at 5"),
    ] {
        let (code, error) = closed(token, closing);
        assert_eq!(code, 1);
        assert!(error.as_str().unwrap().contains(said), "{error}");
    }
}

/// For people: one line says how much is proven, the others what exactly.
#[test]
fn the_answer_for_people_says_what_is_proven_and_what_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(place("document"), b"a document\n").unwrap();
    fs::copy(example("plain.tsr"), place("document.tsr")).unwrap();
    let file = |name: &str| example(name).to_str().unwrap().to_owned();
    let (root, policy) = (file("root.der"), file("logged.policy"));
    let token = place("document.tsr");
    let say = |token: &str| {
        let output = jurat(["verify", token, "--ca", &root, "--policy", &policy]);
        String::from_utf8(output.stdout).unwrap()
    };
    let plain = say(&token);
    assert!(plain.contains(": good. Signature only: "), "{plain}");
    assert!(plain.contains("not before 2026-09-21T"), "{plain}");
    assert!(
        plain.contains("not shown: that it is entry 5 of log log.example/time"),
        "{plain}"
    );
    fs::copy(example("logged.tsr"), &token).unwrap();
    let logged = say(&token);
    assert!(
        logged.contains(": good. Bracketed between 2026-09-21T"),
        "{logged}"
    );
    assert!(
        logged.contains("witnessed by 3 of 3 keys of the policy"),
        "{logged}"
    );
}

/// An authority behind HTTP. What it is asked is counted.
fn serve(authority: &Arc<Authority>) -> (Door, Arc<AtomicUsize>) {
    let (authority, asked) = (Arc::clone(authority), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let door = Door::answering(move |request| {
        count.fetch_add(1, Ordering::SeqCst);
        response(200, REPLY, &authority.answer(&request.body))
    });
    (door, asked)
}

fn stamp(url: &str, files: &[String], more: &[&str]) -> (i32, Value) {
    let args = ["timestamp", "--url", url, "--json"];
    let files = files.iter().map(String::as_str);
    let output = jurat(args.into_iter().chain(more.iter().copied()).chain(files));
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code().unwrap(), report)
}

// Spec: TSP-91, TSP-93
#[test]
fn many_files_are_stamped_over_few_connections_and_nothing_is_written_over() {
    let foreign = Arc::new(Authority::new(P256));
    let (door, asked) = serve(&foreign);
    let files: Vec<String> = (0..9)
        .map(|number| foreign.write(&format!("file{number}"), format!("{number}").as_bytes()))
        .collect();
    let (code, report) = stamp(&door.url(), &files, &["--connections", "2"]);
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["files"].as_array().unwrap().len(), 9);
    assert_eq!(asked.load(Ordering::SeqCst), 9);
    assert!(door.accepted() <= 2, "{} connections", door.accepted());
    let root = foreign.path("root.pem");
    for file in &files {
        let (token, query) = (format!("{file}.tsr"), format!("{file}.tsq"));
        let proven = good(&token, &["--ca", &root, "--query", &query]);
        assert_eq!(proven["nonce_verified"], true);
    }
    let before = fs::read(format!("{}.tsr", files[0])).unwrap();
    let (code, report) = stamp(&door.url(), &files[..1], &[]);
    assert_eq!(code, 1);
    let error = report["files"][0]["error"].as_str().unwrap();
    assert!(error.contains("exists already"), "{error}");
    assert_eq!(fs::read(format!("{}.tsr", files[0])).unwrap(), before);
    assert_eq!(asked.load(Ordering::SeqCst), 9, "nothing was asked");
    let (code, _) = stamp(&door.url(), &files[..1], &["--force"]);
    assert_eq!(code, 0);
    assert_ne!(fs::read(format!("{}.tsr", files[0])).unwrap(), before);
}

// Spec: TSP-91
#[test]
fn the_request_asks_for_what_the_arguments_say() {
    let foreign = Arc::new(Authority::new(P256));
    let (door, _) = serve(&foreign);
    let file = foreign.write("file", b"a file");
    let into = foreign.path("stamps");
    let how = [
        "--hash",
        "sha512",
        "--policy-oid",
        OTHER_POLICY,
        "-o",
        &into,
    ];
    let bare = [&how[..], &["--no-nonce", "--no-cert"]].concat();
    let (code, report) = stamp(&door.url(), std::slice::from_ref(&file), &bare);
    assert_eq!(code, 0, "{report}");
    let token = Path::new(&into).join("file.tsr");
    let (root, signer) = (foreign.path("root.pem"), foreign.path("tsa.pem"));
    let query = Path::new(&into).join("file.tsq");
    let args = [
        "--ca",
        &root,
        "--data",
        &file,
        "--query",
        query.to_str().unwrap(),
    ];
    let token = token.to_str().unwrap();
    refused(token, &args, "not at hand");
    let proven = good(token, &[&args[..], &["--untrusted", &signer]].concat());
    assert_eq!(
        (&proven["hash"], &proven["policy"]),
        (&"SHA-512".into(), &OTHER_POLICY.into())
    );
    assert_eq!(proven["nonce_verified"], false);
}

// Spec: TSP-24, TSP-91
#[test]
fn what_an_authority_refuses_is_said_in_its_words_and_nothing_is_written() {
    let foreign = Arc::new(Authority::new(P256));
    let (door, _) = serve(&foreign);
    let file = foreign.write("file", b"a file");
    let unknown = ["--policy-oid", "1.2.3"];
    let (code, report) = stamp(&door.url(), std::slice::from_ref(&file), &unknown);
    assert_eq!(code, 1);
    let error = report["files"][0]["error"].as_str().unwrap();
    assert!(error.contains("rejection (unacceptedPolicy): "), "{error}");
    assert!(error.contains("policy is not supported"), "{error}");
    // An answer to another question.
    let other = foreign.write("other", b"another file");
    foreign.query(&other, "other.tsq", &[]);
    let answer = foreign.answer(&fs::read(foreign.file("other.tsq")).unwrap());
    let liar = Door::answering(move |_| response(200, REPLY, &answer));
    let (code, report) = stamp(&liar.url(), std::slice::from_ref(&file), &[]);
    assert_eq!(code, 1);
    let error = report["files"][0]["error"].as_str().unwrap();
    assert!(error.contains("another digest"), "{error}");
    let closed = Door::answering(|_| response(404, "text/plain", b"no such\x1b[31m page\n"));
    let (code, report) = stamp(&closed.url(), std::slice::from_ref(&file), &[]);
    let error = report["files"][0]["error"].as_str().unwrap();
    assert!(
        code == 1 && error.ends_with("answered 404: no such [31m page"),
        "{error}"
    );
    assert!(!Path::new(&format!("{file}.tsr")).exists());
    assert!(!Path::new(&format!("{file}.tsq")).exists());
}

// Spec: TSP-93
#[test]
fn a_busy_authority_is_asked_again_for_a_while() {
    let foreign = Arc::new(Authority::new(P256));
    let (authority, asked) = (Arc::clone(&foreign), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let door = Door::answering(move |request| match count.fetch_add(1, Ordering::SeqCst) {
        0 => response(503, "text/plain", b"busy"),
        1 => response(429, "text/plain", b"slower"),
        _ => response(200, REPLY, &authority.answer(&request.body)),
    });
    let file = foreign.write("file", b"a file");
    let (code, report) = stamp(&door.url(), std::slice::from_ref(&file), &[]);
    assert_eq!((code, asked.load(Ordering::SeqCst)), (0, 3), "{report}");
    let busy = Door::answering(|_| response(503, "text/plain", b"busy"));
    let other = foreign.write("other", b"another file");
    let (code, report) = stamp(&busy.url(), &[other], &["--wait-s", "0"]);
    let error = report["files"][0]["error"].as_str().unwrap();
    assert!(code == 1 && error.contains("answered 503"), "{error}");
}

// Spec: TSP-92, TSP-93
#[test]
fn a_token_gets_its_receipt_and_no_other_answer_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("document.tsr").to_str().unwrap().to_owned();
    fs::write(dir.path().join("document"), b"a document\n").unwrap();
    fs::copy(example("plain.tsr"), &token).unwrap();
    let (plain, logged) = (example("plain.tsr"), example("logged.tsr"));
    let (plain, logged) = (fs::read(plain).unwrap(), fs::read(logged).unwrap());
    let sent = plain.clone();
    let wrong = Door::answering(move |request| {
        assert_eq!(request.path, "/timestamp/upgrade");
        assert_eq!(request.body, sent);
        response(200, REPLY, &fs::read(example("granted.tsr")).unwrap())
    });
    let (code, report) = stamp(&wrong.url(), std::slice::from_ref(&token), &["--upgrade"]);
    let error = report["files"][0]["error"].as_str().unwrap();
    assert!(
        code == 1 && error.contains("another token came back"),
        "{error}"
    );
    assert_eq!(fs::read(&token).unwrap(), plain);
    let asked = AtomicUsize::new(0);
    let answer = logged.clone();
    let door = Door::answering(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => response(202, "text/plain", b"not witnessed yet"),
        _ => response(200, REPLY, &answer),
    });
    let (code, report) = stamp(&door.url(), std::slice::from_ref(&token), &["--upgrade"]);
    assert_eq!(code, 0, "{report}");
    let row = &report["files"][0];
    assert_eq!((&row["upgraded"], &row["index"]), (&true.into(), &5.into()));
    assert_eq!(fs::read(&token).unwrap(), logged);
    let policy = example("logged.policy").to_str().unwrap().to_owned();
    assert_eq!(good(&token, &["--policy", &policy])["class"], "bracketed");
}

/// The message of RFC 9921, 3.1.1.
const MESSAGE: &str = "d28443a10126a10442313154546869732069732074686520636f6e74656e742e58408eb3\
    3e4ca31d1c465ab05aac34cc6b23d58fef5c083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a2234\
    44547e01f11d3b0916e5a4c345cacb36";

// Spec: TSP-96, TSP-97
#[test]
fn a_time_stamp_goes_into_a_cose_message_and_comes_out_as_a_receipt() {
    let foreign = Arc::new(Authority::new(P256));
    let (door, _) = serve(&foreign);
    let message = foreign.write("message.cose", &jurat_proto::hex::decode(MESSAGE).unwrap());
    let (code, report) = stamp(&door.url(), std::slice::from_ref(&message), &["--cose"]);
    assert_eq!(code, 0, "{report}");
    let (token, root) = (format!("{message}.tsr"), foreign.path("root.pem"));
    let proven = good(&token, &["--ca", &root, "--cose"]);
    // What the RFC says.
    assert!(
        proven["digest"]
            .as_str()
            .unwrap()
            .starts_with("44c2419d131d53d55584b5dd33b788c2")
    );
    refused(
        &token,
        &["--ca", &root, "--data", &message],
        "another digest",
    );
    let stamped = foreign.path("stamped.cose");
    let export = |args: &[&str]| jurat(["export"].iter().chain(args));
    let put = [
        &token,
        "--as",
        "cose-ctt",
        "--message",
        &message,
        "-o",
        &stamped,
    ];
    assert!(export(&put).status.success());
    assert_eq!(export(&put).status.code(), Some(1), "it exists");
    let with = Sign1::parse(&fs::read(&stamped).unwrap()).unwrap();
    let alone = foreign.path("token.der");
    assert!(
        export(&[&token, "--as", "token", "-o", &alone])
            .status
            .success()
    );
    assert_eq!(with.token().unwrap(), fs::read(&alone).unwrap());
    // The token in the message is about its signature still.
    let args = ["--ca", &root, "--cose", "--data", &stamped];
    good(&alone, &args);
    let header = foreign.path("header.cbor");
    assert!(
        export(&[&token, "--as", "cose-ttc", "-o", &header])
            .status
            .success()
    );
    assert!(
        fs::read(&header)
            .unwrap()
            .starts_with(b"\xa1\x19\x01\x0d\x59")
    );
    // There is no receipt in a foreign one; in ours there is.
    let receipt = foreign.path("receipt");
    let output = export(&[&token, "--as", "tlog-proof", "-o", &receipt]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let ours = example("logged.tsr");
    let ours = ours.to_str().unwrap();
    assert!(
        export(&[ours, "--as", "tlog-proof", "-o", &receipt])
            .status
            .success()
    );
    let expected = fs::read(example("receipt.tlog-proof")).unwrap();
    assert_eq!(fs::read(&receipt).unwrap(), expected);
    let output = export(&[ours, "--as", "cose-ctt", "-o", &receipt]);
    assert_eq!(output.status.code(), Some(64), "no message: {output:?}");
}
