//! What an operator does: init, check-config, logs, anchor, verify, and reading /health.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod network;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::key::{SignatureType, Signer as _, VerifierKey};
use network::log::key;
use network::process::jurat;
use network::service::{Home, ORIGIN};
use network::{TestLog, eventually};

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The key that signs what a URL is told, and nothing else.
fn alerts_key(home: &Home) -> VerifierKey {
    let key = SigningKey::load(home.file("keys/alerts.ed25519.key")).unwrap();
    let key = key.verifier_key().clone();
    let named = (key.name().to_string(), key.signature_type());
    assert_eq!(named, (format!("{ORIGIN}/alerts"), SignatureType::Ed25519));
    key
}

// Spec: CKP-22, CKP-25, COS-21, COS-22, COS-24, COS-26, NOTE-32, NOTE-33, SVC-19
#[test]
fn init_makes_five_keys_with_a_purpose_each_and_never_overwrites() {
    let home = Home::new();
    let types = |keys: Vec<VerifierKey>| -> Vec<_> {
        keys.iter()
            .map(|key| (key.name().to_string(), key.signature_type()))
            .collect()
    };
    let (log, cosigner) = (ORIGIN.to_owned(), format!("{ORIGIN}/cosigner"));
    let expected = [
        (log.clone(), SignatureType::Ed25519),
        (log, SignatureType::MlDsa44),
    ];
    assert_eq!(types(home.log_keys()), expected);
    let expected = [
        (cosigner.clone(), SignatureType::CosignatureV1),
        (cosigner, SignatureType::MlDsa44),
    ];
    assert_eq!(types(home.cosigner_keys()), expected);
    let mut public: Vec<_> = home.log_keys();
    public.extend(home.cosigner_keys());
    public.push(alerts_key(&home));
    let mut bytes: Vec<_> = public
        .iter()
        .map(|key| key.public_key_bytes().to_vec())
        .collect();
    bytes.sort();
    bytes.dedup();
    assert_eq!(bytes.len(), 5);
    for file in [
        "alerts.ed25519",
        "log.ed25519",
        "log.mldsa44",
        "cosigner.ed25519",
        "cosigner.mldsa44",
    ] {
        let path = home.file(&format!("keys/{file}.key"));
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    let before = fs::read(home.file("keys/log.ed25519.key")).unwrap();
    let dir = home.dir();
    let again = jurat([
        "init",
        dir.to_str().unwrap(),
        "--origin",
        "other.example/log",
    ]);
    assert!(
        !again.status.success() && stderr(&again).contains("not empty"),
        "{}",
        stderr(&again)
    );
    assert_eq!(fs::read(home.file("keys/log.ed25519.key")).unwrap(), before);
    for origin in [
        "https://example.com/log",
        "with space",
        "plus+sign",
        "a\u{2003}b",
        "",
    ] {
        let dir = home.root().join("new");
        let refused = jurat(["init", dir.to_str().unwrap(), "--origin", origin]);
        assert!(!refused.status.success(), "{origin:?}");
        assert!(!dir.exists(), "{origin:?} left something behind");
    }
}

// Spec: COS-22, TIL-21, SVC-19
#[test]
fn all_problems_of_a_configuration_come_at_once_with_exit_code_64() {
    let home = Home::new();
    let text = fs::read_to_string(home.config()).unwrap();
    let broken = text
        .replace("\"keys/log.ed25519.key\", ", "")
        .replace("\"keys/cosigner.mldsa44.key\"", "\"keys/log.mldsa44.key\"")
        .replace("jurat.redb", "missing.redb")
        .replace("timeout_ms = 2000", "timeout_ms = 0");
    fs::write(home.config(), broken).unwrap();
    fs::write(home.policy_file(), "quorum nobody\n").unwrap();
    fs::set_permissions(
        home.file("keys/cosigner.ed25519.key"),
        fs::Permissions::from_mode(0o640),
    )
    .unwrap();
    let output = home.command(&["check-config"]);
    assert_eq!(output.status.code(), Some(64));
    let problems = stderr(&output);
    for wrong in [
        "no Ed25519 note key",
        "is used twice",
        "missing.redb does not exist",
        "witnesses.timeout_ms",
        "policy",
        "chmod",
    ] {
        assert!(
            problems.contains(wrong),
            "{wrong} is missing in:\n{problems}"
        );
    }
    assert!(
        !home.file("missing.redb").exists(),
        "checking created a database"
    );
    let (code, _) = home.refuses_to_serve();
    assert_eq!(code, 64);
}

#[test]
fn a_policy_without_a_quorum_line_is_refused_until_somebody_decides() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("service");
    let made = jurat(["init", dir.to_str().unwrap(), "--origin", ORIGIN]);
    assert!(made.status.success());
    let config = dir.join("jurat.toml");
    let checked = jurat(["check-config", "--config", config.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(64));
    assert!(stderr(&checked).contains("quorum"), "{}", stderr(&checked));
}

// Spec: SVC-14, SVC-18, NOTE-31
#[test]
fn a_log_is_added_disabled_and_enabled_while_the_service_runs() {
    let home = Home::new();
    let mut log = TestLog::new("operated.example/log");
    log.grow(9);
    let service = home.serve();
    assert_eq!(service.add(&log.request(0, 3)).status, 404);
    home.add_log(&log);
    eventually("the log is known", || {
        (service.add(&log.request(0, 3)).status == 200).then_some(())
    });
    // Refused with 409 while the log is known, so that asking changes nothing.
    let stale = log.request(0, 9);
    let disabled = home.command(&["logs", "disable", "operated.example/log"]);
    assert!(disabled.status.success());
    eventually("it is disabled", || {
        (service.add(&stale).status == 404).then_some(())
    });
    let enabled = home.command(&["logs", "enable", "operated.example/log"]);
    assert!(enabled.status.success());
    let answer = eventually("it is enabled", || {
        Some(service.add(&stale)).filter(|answer| answer.status != 404)
    });
    let stands = (answer.status, answer.text());
    assert_eq!(stands, (409, "3\n"), "it goes on where it stood");
    fs::write(home.file("logs.toml"), "this is not a registry").unwrap();
    assert_eq!(
        service.add(&log.request(3, 5)).status,
        200,
        "the registry before stays in force"
    );
    let listed = home.command(&["logs", "list", "--json"]);
    assert!(!listed.status.success() && stderr(&listed).contains("logs.toml"));
}

// Spec: PRF-11, SVC-10
#[test]
fn anchor_writes_receipts_that_verify_offline_and_says_what_is_missing() {
    let home = Home::new();
    let mut log = TestLog::new("anchored.example/log");
    log.grow(12);
    home.add_log(&log);
    let service = home.serve();
    let url = format!("http://{}", service.address);
    let file = |name: &str| home.root().join(name).to_str().unwrap().to_owned();
    for size in [5, 12] {
        fs::write(
            file(&format!("checkpoint.{size}")),
            log.checkpoint(size).to_bytes(),
        )
        .unwrap();
    }
    let first = jurat(["anchor", "--url", &url, &file("checkpoint.5")]);
    assert!(first.status.success(), "{}", stderr(&first));
    let receipt = file("checkpoint.5.tlog-proof");
    let policy = home.policy_file();
    let policy = policy.to_str().unwrap();
    let verified = jurat(["verify", &receipt, "--policy", policy, "--json"]);
    assert!(verified.status.success(), "{}", stderr(&verified));
    let json: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(json["files"][0]["proven"]["entry"]["size"], 5);
    let no_proof = jurat(["anchor", "--url", &url, &file("checkpoint.12")]);
    assert!(!no_proof.status.success());
    assert!(
        stderr(&no_proof).contains("from there to 12"),
        "{}",
        stderr(&no_proof)
    );
    fs::write(file("proof"), log.proof(5, 12).to_lines()).unwrap();
    let second = jurat([
        "anchor",
        "--url",
        &url,
        &file("checkpoint.12"),
        "--proof",
        &file("proof"),
        "--output",
        &file("mine.tlog-proof"),
        "--json",
    ]);
    assert!(second.status.success(), "{}", stderr(&second));
    let key = log.vkey().to_string();
    let good = jurat([
        "verify",
        &file("mine.tlog-proof"),
        "--policy",
        policy,
        "--log-key",
        &key,
    ]);
    assert!(good.status.success());
    let receipt = fs::read_to_string(file("mine.tlog-proof")).unwrap();
    // In the log's signature, the first of the lines; a line of no known key would not matter.
    let line = receipt.find("\n\u{2014} ").unwrap() + 1;
    let at = line + receipt[line..].find('\n').unwrap() - 10;
    let mut bytes = receipt.into_bytes();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    fs::write(file("spoiled.tlog-proof"), bytes).unwrap();
    let both = [file("mine.tlog-proof"), file("spoiled.tlog-proof")];
    let bad = jurat(["verify", &both[0], &both[1], "--policy", policy]);
    assert_eq!(bad.status.code(), Some(1));
    let said = String::from_utf8_lossy(&bad.stdout).into_owned();
    assert!(
        said.contains("mine.tlog-proof: good") && said.contains("spoiled.tlog-proof: NOT GOOD")
    );
}

// Spec: SVC-13
#[test]
fn health_says_no_with_the_reason_when_the_checkpoint_is_too_old() {
    let home = Home::new();
    home.edit("refresh_s = 30 ", "refresh_s = 3600 ");
    home.edit("stale_after_s = 120", "stale_after_s = 3601");
    let service = home.serve();
    let good = service.until("the service is healthy", |health| health["healthy"] == true);
    assert_eq!(good["summary"], "ok");
    drop(service);
    // The published checkpoint is of the run before; its age is what counts.
    home.edit("refresh_s = 3600 ", "refresh_s = 1 ");
    home.edit("stale_after_s = 3601", "stale_after_s = 2");
    let witness = key("w.example", Algorithm::CosignatureV1);
    home.write_policy(&format!(
        "witness w {} http://127.0.0.1:9\nquorum w\n",
        witness.verifier_key()
    ));
    let service = home.serve();
    let bad = service.until("the witness is out of reach", |health| {
        health["healthy"] == false
    });
    assert!(
        bad["summary"].as_str().unwrap().contains("witnesses"),
        "{bad}"
    );
    assert_eq!(service.get("/health").status, 503);
    // What was published has no quorum under the policy of today, and is not shown.
    assert_eq!(service.get("/checkpoint").status, 503);
}

#[test]
fn completions_and_manual_cover_every_command() {
    let page = jurat(["man"]);
    let text = String::from_utf8_lossy(&page.stdout).into_owned();
    for command in [
        "serve",
        "init",
        "logs",
        "anchor",
        "timestamp",
        "verify",
        "export",
        "fsck",
        "demo",
        "check\\-config",
    ] {
        assert!(text.contains(command), "{command} is not in the manual");
    }
    let dir = tempfile::tempdir().unwrap();
    assert!(
        jurat(["man", "--dir", dir.path().to_str().unwrap()])
            .status
            .success()
    );
    assert!(dir.path().join("jurat-anchor.1").is_file());
    for shell in ["bash", "zsh", "fish"] {
        let script = jurat(["completions", shell]);
        assert!(
            String::from_utf8_lossy(&script.stdout).contains("check-config"),
            "{shell}"
        );
    }
}
