//! The protocol, spoken to a real process over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "tests"
)]

mod rig;

use std::fs;
use std::path::Path;

use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::checkpoint::{ExtensionLine, SignedCheckpoint};
use jurat_proto::cosignature;
use jurat_proto::cosignature_lines::CosignatureLines;
use jurat_proto::hash::{Hash, sha256};
use jurat_proto::key::KeyName;
use jurat_proto::note::SignatureLine;
use jurat_proto::proof::{ConsistencyProof, Subtree, prove_subtree_consistency};
use jurat_proto::sign_subtree::SignSubtree;
use jurat_proto::tree::{NodeCoord, NodeReader as _, TreeHead, TreeSize};

use rig::{Home, NAME, Process, TestLog, names, until, verified};

fn witness_with(log: &TestLog) -> (Home, Process) {
    let home = Home::new();
    home.add_log(log);
    let process = home.serve();
    (home, process)
}

fn proof(hashes: &[Hash]) -> ConsistencyProof {
    ConsistencyProof::new(hashes.to_vec()).unwrap()
}

fn size(size: u64) -> TreeSize {
    TreeSize::new(size).unwrap()
}

#[test]
fn a_log_grows_and_each_answer_is_a_line_for_each_key() {
    // Spec: WIT-21, WIT-41, WIT-45, WIT-46, WIT-47
    let mut log = TestLog::new("example.com/log");
    log.grow(301);
    let (home, process) = witness_with(&log);
    let mut time = 0;
    let sizes = [0, 0, 1, 2, 5, 5, 255, 256, 257, 300, 300];
    for (&old, &new) in sizes.iter().zip(&sizes[1..]) {
        let answer = process.add(&log.request(old, new));
        assert_eq!(answer.status, 200, "{old} to {new}: {}", answer.text());
        let now = verified(&answer.body, &log.checkpoint(new), &home.keys);
        assert!(now >= time, "time goes on");
        time = now;
        // From here on the record is this checkpoint.
        let conflict = process.add(&log.request(new + 1, 301));
        assert_eq!(
            (conflict.status, conflict.text()),
            (409, &*format!("{new}\n"))
        );
    }
}

#[test]
fn each_refusal_has_its_status_and_changes_nothing() {
    // Spec: WIT-42, WIT-48
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let (_home, process) = witness_with(&log);
    assert_eq!(process.add(&log.request(0, 8)).status, 200);
    let before = process.get(&log.checkpoint_path()).body;

    let unknown = TestLog::new("example.com/other");
    let mut stranger = TestLog::new("example.com/log");
    stranger.grow(20);
    let bad_signature = {
        let good = log.checkpoint(12);
        let mut bytes = good.signatures()[0].signature().to_vec();
        bytes[10] ^= 1;
        let line =
            SignatureLine::new(log.vkey().name().clone(), log.vkey().key_id(), bytes).unwrap();
        // A good line besides does not help.
        SignedCheckpoint::new(
            good.checkpoint().clone(),
            vec![good.signatures()[0].clone(), line],
        )
        .unwrap()
    };
    let mut fork = log.fork(8);
    fork.grow(12);
    let empty_with_root = log.sign(TreeHead {
        size: size(0),
        root_hash: sha256(b"not nothing"),
    });
    let request = |old, proof, checkpoint| log.request_with(old, proof, checkpoint);
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("unknown origin", unknown.request(0, 0), 404),
        (
            "unknown origin before anything else",
            unknown.request_with(9, proof(&[]), unknown.checkpoint(0)),
            404,
        ),
        ("no trusted key", stranger.request(8, 12), 403),
        (
            "no trusted key, wrong old size",
            stranger.request(9, 12),
            403,
        ),
        (
            "a bad line of a trusted key",
            request(8, log.proof(8, 12), bad_signature),
            403,
        ),
        (
            "old size above",
            request(13, proof(&[]), log.checkpoint(12)),
            400,
        ),
        ("old size below the stored", log.request(7, 12), 409),
        ("old size above the stored", log.request(9, 12), 409),
        ("old size zero", log.request(0, 12), 409),
        (
            "wrong old size and bad proof",
            request(7, proof(&[sha256(b"")]), log.checkpoint(12)),
            409,
        ),
        ("no proof", request(8, proof(&[]), log.checkpoint(12)), 422),
        (
            "bad proof",
            request(8, proof(&[sha256(b"")]), log.checkpoint(12)),
            422,
        ),
        (
            "a proof for an equal size",
            request(8, proof(&[sha256(b"")]), log.checkpoint(8)),
            422,
        ),
        (
            "another branch",
            request(8, log.proof(8, 12), fork.checkpoint(12)),
            422,
        ),
        (
            "a smaller tree",
            request(0, proof(&[]), empty_with_root),
            409,
        ),
        ("not text", vec![0xff; 10], 400),
        ("nothing", Vec::new(), 400),
        ("only the old line", b"old 8\n".to_vec(), 400),
        (
            "a leading zero",
            [b"old 08\n".to_vec(), log.request(8, 12)[6..].to_vec()].concat(),
            400,
        ),
    ];
    for (case, body, status) in cases {
        let answer = process.add(&body);
        assert_eq!(answer.status, status, "{case}: {}", answer.text());
        if status == 409 {
            assert_eq!(answer.text(), "8\n", "{case}");
            assert_eq!(
                answer.header("content-type"),
                Some("text/x.tlog.size"),
                "{case}"
            );
        }
        assert_eq!(process.get(&log.checkpoint_path()).body, before, "{case}");
    }
    assert_eq!(
        process.add(&log.request(8, 12)).status,
        200,
        "and it goes on"
    );
    // Spec: WIT-128. Two roots of one size change nothing that is served, and end it.
    let other_root = log.sign(TreeHead {
        size: size(12),
        root_hash: sha256(b"other"),
    });
    let before = process.get(&log.checkpoint_path()).body;
    let forked = process.add(&log.request_with(12, proof(&[]), other_root));
    assert_eq!(forked.status, 422, "{}", forked.text());
    assert_eq!(process.get(&log.checkpoint_path()).body, before);
    assert_eq!(process.add(&log.request(12, 13)).status, 403);
}

#[test]
fn the_first_contact_starts_from_nothing() {
    // Spec: WIT-53
    let mut log = TestLog::new("example.com/log");
    log.grow(5);
    let (_home, process) = witness_with(&log);
    assert_eq!(process.get(&log.checkpoint_path()).status, 404);
    let answer = process.add(&log.request(3, 5));
    assert_eq!((answer.status, answer.text()), (409, "0\n"));
    let answer = process.add(&log.request_with(0, proof(&[sha256(b"")]), log.checkpoint(5)));
    assert_eq!(answer.status, 422, "{}", answer.text());
    let wrong_empty = log.sign(TreeHead {
        size: size(0),
        root_hash: Hash::new([0; 32]),
    });
    assert_eq!(
        process
            .add(&log.request_with(0, proof(&[]), wrong_empty))
            .status,
        422
    );
    assert_eq!(process.get(&log.checkpoint_path()).status, 404);
    assert_eq!(
        process.add(&log.request(0, 0)).status,
        200,
        "the empty tree"
    );
    assert_eq!(process.get(&log.checkpoint_path()).status, 200);
    assert_eq!(
        process.add(&log.request(0, 5)).status,
        200,
        "grows from the empty tree"
    );
}

#[test]
fn methods_paths_and_sizes_are_refused_as_http_has_it() {
    // Spec: WIT-41, WIT-49, WIT-51
    let mut log = TestLog::new("example.com/log");
    log.grow(1);
    let (_home, process) = witness_with(&log);
    assert_eq!(process.add(&log.request(0, 1)).status, 200);
    for path in ["/add-checkpoint", "/sign-subtree"] {
        for method in ["GET", "PUT", "DELETE", "HEAD"] {
            let answer = process.call(method, path, b"");
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), Some("POST"));
        }
        let answer = process.call("POST", path, &vec![b'a'; 128 * 1024 + 1]);
        assert_eq!(answer.status, 413, "{path}");
        let answer = process.call("POST", path, &vec![b'a'; 128 * 1024]);
        assert_eq!(answer.status, 400, "{path}");
    }
    let path = log.checkpoint_path();
    assert_eq!(process.call("POST", &path, b"").status, 405);
    assert_eq!(process.call("HEAD", &path, b"").status, 200);
    let upper = path.to_uppercase().replace("CHECKPOINT", "checkpoint");
    for path in [
        "/nothing",
        "/add-checkpoint/",
        "/x/checkpoint",
        "/checkpoint",
        &upper,
    ] {
        assert_eq!(process.get(path).status, 404, "{path}");
    }
    let index = process.get("/");
    assert!(
        index.text().contains("2026-07-22") && index.text().contains(NAME),
        "{}",
        index.text()
    );
}

#[test]
fn what_is_served_is_what_was_answered_and_what_was_verified() {
    // Spec: WIT-51, WIT-52, WIT-54, WIT-56
    let mut log = TestLog::new("example.com/log");
    log.grow(9);
    let (home, process) = witness_with(&log);
    let signed = log.checkpoint(9);
    // A stranger's line, a forged line in the witness's own name and the log's line twice.
    let stranger = SigningKey::generate(
        KeyName::parse("example.com/log").unwrap(),
        Algorithm::Ed25519,
    )
    .unwrap();
    let strange = cosignature::sign_note(signed.note().text(), &stranger).unwrap();
    let ours = &home.keys[0];
    let forged = SignatureLine::new(ours.name().clone(), ours.key_id(), vec![7; 72]).unwrap();
    let good = signed.signatures()[0].clone();
    let crowded = SignedCheckpoint::new(
        signed.checkpoint().clone(),
        vec![strange, good.clone(), forged, good.clone()],
    )
    .unwrap();
    let answer = process.add(&log.request_with(0, proof(&[]), crowded));
    assert_eq!(answer.status, 200, "{}", answer.text());

    let served = process.get(&log.checkpoint_path());
    assert_eq!(served.status, 200);
    let note = SignedCheckpoint::parse(&served.body).unwrap();
    assert_eq!(note.checkpoint(), signed.checkpoint());
    assert_eq!(names(note.signatures()), ["example.com/log", NAME, NAME]);
    assert_eq!(note.signatures()[0], good);
    let lines = CosignatureLines::parse(&answer.body).unwrap();
    assert_eq!(note.signatures()[1..], *lines.lines());

    // And the same after a restart.
    assert!(process.terminate().success());
    let process = home.serve();
    assert_eq!(process.get(&log.checkpoint_path()).body, served.body);
}

#[test]
fn extension_lines_that_the_log_cannot_have_signed_are_cosigned_as_the_text_says() {
    // Spec: WIT-35
    let name = KeyName::parse("example.com/log").unwrap();
    let mut log = TestLog::with_key(SigningKey::generate(name, Algorithm::MlDsa44).unwrap());
    log.grow(2);
    let (home, process) = witness_with(&log);
    let mut extended = log.checkpoint(2).checkpoint().clone();
    extended.extensions = ExtensionLine::parse("by nobody").unwrap().into();
    let lines = log.checkpoint(2).signatures().to_vec();
    let extended = SignedCheckpoint::new(extended, lines).unwrap();
    let answer = process.add(&log.request_with(0, proof(&[]), extended.clone()));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let lines = CosignatureLines::parse(&answer.body).unwrap();
    assert_eq!(lines.verify(&extended, &home.keys).unwrap().len(), 2);

    // What was stored is believed again, and the log goes on from it.
    assert!(process.terminate().success());
    let process = home.serve();
    let served = process.get(&log.checkpoint_path());
    let served = SignedCheckpoint::parse(&served.body).unwrap();
    assert_eq!(served.checkpoint(), extended.checkpoint());
    log.grow(5);
    assert_eq!(process.add(&log.request(2, 5)).status, 200);
}

#[test]
fn sixteen_signatures_of_the_largest_kind_fit() {
    let mut log = TestLog::new("example.com/log");
    log.grow(2);
    let (_home, process) = witness_with(&log);
    let signed = log.checkpoint(2);
    let mut lines: Vec<SignatureLine> = (0..15_u8)
        .map(|at| {
            let name = KeyName::parse(&format!("cosigner.example/{at}")).unwrap();
            SignatureLine::new(name, jurat_proto::key::KeyId::new([at; 4]), vec![at; 5000]).unwrap()
        })
        .collect();
    lines.push(signed.signatures()[0].clone());
    let crowded = SignedCheckpoint::new(signed.checkpoint().clone(), lines).unwrap();
    let answer = process.add(&log.request_with(0, proof(&[]), crowded));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn subtrees_of_cosigned_checkpoints_are_cosigned() {
    // Spec: WIT-49, WIT-50
    let mut log = TestLog::new("example.com/log");
    log.grow(14);
    let (home, process) = witness_with(&log);
    let submitted = process.add(&log.request(0, 14));
    assert_eq!(submitted.status, 200);
    let cosigned = SignedCheckpoint::parse(&process.get(&log.checkpoint_path()).body).unwrap();

    let subtree = Subtree::new(8, 12).unwrap();
    let hash = log.nodes(&[NodeCoord { level: 2, index: 2 }]).unwrap()[0];
    let proof = prove_subtree_consistency(&subtree, size(14), &log).unwrap();
    let request = |hash, proof, reference| {
        SignSubtree::new(subtree, hash, proof, reference)
            .unwrap()
            .to_bytes()
    };
    let sign = |body: &[u8]| process.call("POST", "/sign-subtree", body);

    let answer = sign(&request(hash, proof.clone(), cosigned.clone()));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let lines = CosignatureLines::parse(&answer.body).unwrap();
    let [line] = lines.lines() else {
        panic!("{lines:?}")
    };
    let verified =
        cosignature::verify_subtree_cosignature(&home.keys[1], line, &log.origin, &subtree, &hash)
            .unwrap();
    assert_eq!(
        verified.timestamp, None,
        "time zero makes no statement about time"
    );

    let wrong = sign(&request(sha256(b"x"), proof.clone(), cosigned.clone()));
    assert_eq!(wrong.status, 422, "{}", wrong.text());
    let by_log_only = sign(&request(hash, proof.clone(), log.checkpoint(14)));
    assert_eq!(by_log_only.status, 403, "{}", by_log_only.text());
    let body = String::from_utf8(request(hash, proof, cosigned)).unwrap();
    for (from, to) in [
        ("subtree 8 12", "subtree 9 12"),
        ("subtree 8 12", "subtree 8 16"),
    ] {
        assert_eq!(sign(body.replace(from, to).as_bytes()).status, 400, "{to}");
    }
    assert!(home.logs(&["disable", "example.com/log"]).status.success());
    until(|| sign(body.as_bytes()).status == 404);
}

#[test]
fn foreign_requests_get_the_foreign_statuses() {
    let Some(vectors) = rig::vectors() else {
        return;
    };
    let folder = vectors.join("witness-requests");
    let home = Home::new();
    let vkey = fs::read_to_string(folder.join("log.vkey")).unwrap();
    assert!(home.logs(&["add", vkey.trim_end()]).status.success());
    let process = home.serve();
    let mut seen = 0;
    for number in 1.. {
        let Ok(body) = fs::read(folder.join(format!("{number:02}.request"))) else {
            break;
        };
        let status = fs::read_to_string(folder.join(format!("{number:02}.status"))).unwrap();
        let status: u16 = status.trim_end().parse().unwrap();
        let answer = process.add(&body);
        // The signature of the second one is not canonical base64: the body has another form than
        // the protocol's, which comes before who signed it.
        let status = if number == 2 { 400 } else { status };
        assert_eq!(answer.status, status, "{number}: {}", answer.text());
        seen = number;
    }
    assert_eq!(seen, 5);
}

#[test]
fn logs_come_and_go_while_it_serves_and_are_never_forgotten() {
    let mut first = TestLog::new("example.com/first");
    let mut second = TestLog::new("example.com/second");
    first.grow(5);
    second.grow(5);
    let (home, process) = witness_with(&first);
    assert_eq!(process.add(&first.request(0, 3)).status, 200);
    assert_eq!(process.add(&second.request(0, 3)).status, 404);

    home.add_log(&second);
    until(|| process.add(&second.request(0, 3)).status == 200);

    // SIGHUP does not wait for the next look.
    assert!(
        home.logs(&["disable", "example.com/first"])
            .status
            .success()
    );
    process.signal("HUP");
    // A conflict, as long as it is not noticed: what asks must not make the log grow.
    until(|| process.add(&first.request(0, 4)).status == 404);
    assert_eq!(
        process.get(&first.checkpoint_path()).status,
        200,
        "what it cosigned stays"
    );

    assert!(home.logs(&["enable", "example.com/first"]).status.success());
    until(|| process.add(&first.request(0, 4)).status != 404);
    let answer = process.add(&first.request(0, 4));
    assert_eq!(
        (answer.status, answer.text()),
        (409, "3\n"),
        "from where it stopped"
    );

    // A list that is broken, or that lost a log, changes nothing.
    let list = fs::read_to_string(home.path("logs.toml")).unwrap();
    let errors = || -> u64 {
        let metrics = process.get("/metrics");
        let line = "jurat_witness_log_list_errors_total ";
        let count = metrics.text().lines().find_map(|l| l.strip_prefix(line));
        count.unwrap().parse().unwrap()
    };
    let before = errors();
    // Without a signal each of them is found once, or twice when it is half written.
    for (more, broken) in (1..).zip(["[[log]", ""]) {
        fs::write(home.path("logs.toml"), broken).unwrap();
        until(|| errors() >= before + more);
        assert_eq!(process.add(&first.request(3, 3)).status, 200);
    }
    fs::write(home.path("logs.toml"), list).unwrap();
    let listed = home.logs(&["list"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("active   example.com/first\n"), "{listed}");
}

#[test]
fn connections_live_on_and_the_state_can_be_seen() {
    // Spec: WIT-55
    let mut log = TestLog::new("example.com/log");
    log.grow(10);
    let (_home, process) = witness_with(&log);
    let mut client = process.client();
    for (old, new) in [(0, 1), (1, 2), (2, 10)] {
        let answer = client
            .call("POST", "/add-checkpoint", &log.request(old, new))
            .unwrap();
        assert_eq!(answer.status, 200);
    }
    assert_eq!(
        client.call("POST", "/add-checkpoint", b"x").unwrap().status,
        400
    );
    let health = client.call("GET", "/health", b"").unwrap();
    assert_eq!((health.status, health.text()), (200, "ok\n"));
    let metrics = client.call("GET", "/metrics", b"").unwrap();
    for line in [
        "jurat_witness_outcomes_total{call=\"AddCheckpoint\",outcome=\"Grown\"} 3\n",
        "jurat_witness_outcomes_total{call=\"AddCheckpoint\",outcome=\"Malformed\"} 1\n",
        "jurat_witness_origins 1\n",
        "jurat_witness_logs_active 1\n",
        "jurat_witness_commit_swaps_count 3\n",
    ] {
        assert!(metrics.text().contains(line), "{line}: {}", metrics.text());
    }
}

/// Tries until it holds, for at most 5 s.
#[test]
fn a_log_over_its_quota_is_told_when_to_come_again() {
    // Spec: WIT-65
    let mut log = TestLog::new("example.com/log");
    log.grow(11);
    let home = Home::new();
    let added = home.logs(&["add", &log.vkey().to_string(), "--qpd", "24"]);
    assert!(added.status.success());
    let process = home.serve();
    for size in 0..10 {
        assert_eq!(process.add(&log.request(size + 1, 11)).status, 409);
        assert_eq!(process.add(&log.request(size, size + 1)).status, 200);
    }
    let answer = process.add(&log.request(10, 11));
    assert_eq!(answer.status, 429, "{}", answer.text());
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((3_500..=3_600).contains(&wait), "{wait}");
    assert!(
        answer.text().contains("24 requests a day"),
        "{}",
        answer.text()
    );
    assert_eq!(process.get(&log.checkpoint_path()).status, 200);
    let metrics = process.get("/metrics");
    assert!(metrics.text().contains("outcome=\"OverQuota\"} 1"));

    // More is allowed while it serves.
    let vkey = log.vkey().to_string();
    assert!(
        home.logs(&["add", &vkey, "--qpd", "86400"])
            .status
            .success()
    );
    until(|| process.add(&log.request(10, 11)).status == 200);
}

#[test]
fn programs_can_read_who_it_is() {
    // Spec: WIT-95, WIT-96
    let home = Home::new();
    let get = |process: &Process| -> serde_json::Value {
        let answer = process.get("/witness.v0.json");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        serde_json::from_slice(&answer.body).unwrap()
    };
    let keys: Vec<String> = home.keys.iter().map(ToString::to_string).collect();
    let process = home.serve();
    let said = get(&process);
    assert_eq!(said["name"], NAME);
    assert_eq!(said["verifier_keys"], serde_json::json!(keys));
    // From `init --url`.
    assert_eq!(said["submission_url"], "https://witness.example.com/");
    assert_eq!(said["monitoring_url"], "https://witness.example.com/");
    assert_eq!(said["software"]["name"], "jurat-witness");
    assert_eq!(said["log_lists"], serde_json::json!([]));
    assert_eq!(said.get("operator"), None);
    assert_eq!(said.get("log_lists_every_s"), None);
    assert_eq!(process.call("POST", "/witness.v0.json", b"").status, 405);
    drop(process);

    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/witness.toml");
    let example = fs::read_to_string(example).unwrap();
    let config = example.replace("127.0.0.1:8419", "127.0.0.1:0");
    fs::write(home.config(), config).unwrap();
    let said = get(&home.serve());
    assert_eq!(said["operator"], "Example Organisation");
    assert_eq!(said["default_qpd"], 8_640_000);
}
