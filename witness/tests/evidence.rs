//! What a witness keeps of a log that forked, in a real process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod rig;

use std::fs;
use std::path::PathBuf;

use jurat_proto::evidence::{Evidence, Kind, KnownKeys, Role, Standing};
use jurat_proto::hash::sha256;
use jurat_proto::hex;
use jurat_proto::tree::TreeHead;

use jurat_witness::evidence::{EvidenceFolder, Outcome};
use jurat_witness::metrics::Metrics;
use rig::{Home, Process, TestLog, run, until};

fn witness_at(size: u64) -> (TestLog, Home, Process) {
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let home = Home::new();
    home.add_log(&log);
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, size)).status, 200);
    (log, home, process)
}

/// Another history from there on.
fn fork(log: &mut TestLog, common: u64) -> TestLog {
    let mut fork = log.fork(common);
    fork.grow(40);
    fork
}

fn kept(home: &Home) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(home.path("evidence")) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn keys_of(log: &TestLog) -> KnownKeys {
    let mut keys = KnownKeys::new();
    keys.add_log(log.origin.clone(), log.vkey().clone(), Standing::Current);
    keys
}

fn command(home: &Home, args: &[&str]) -> (Option<i32>, Vec<u8>) {
    let config = home.config();
    let output = run(&[&["evidence", "--config", &config], args].concat());
    (output.status.code(), output.stdout)
}

fn counted(process: &Process, kind: &str, outcome: &str) -> u64 {
    let metrics = process.get("/metrics");
    let name = "jurat_witness_evidence_total";
    let start = format!("{name}{{kind=\"{kind}\",outcome=\"{outcome}\"}} ");
    let line = metrics
        .text()
        .lines()
        .find_map(|line| line.strip_prefix(&*start));
    line.unwrap_or_else(|| panic!("no {start}in {}", metrics.text()))
        .parse()
        .unwrap()
}

// Spec: WIT-48, WIT-120, WIT-121, WIT-122
#[test]
fn two_trees_of_one_size_are_evidence_before_the_refusal_is_told() {
    let (mut log, home, process) = witness_at(13);
    assert_eq!(process.get("/health").text(), "ok\n");
    let other = fork(&mut log, 7);
    let body = other.request_with(13, log.proof(13, 13), other.checkpoint(13));
    assert_eq!(process.add(&body).status, 422);

    let paths = kept(&home);
    assert_eq!(paths.len(), 1, "{paths:?}");
    let file = fs::read(&paths[0]).unwrap();
    let evidence = Evidence::parse(&file).unwrap();
    assert_eq!(evidence.kind(), Kind::SameSize);
    let verdict = evidence.verify(&keys_of(&log)).unwrap();
    assert!(verdict.convicts_log());
    let id = hex::encode(verdict.id.as_bytes());
    assert!(paths[0].ends_with(format!("{id}.tlog-fork")));
    let (a, b) = evidence.statements();
    for said in [Some(a), b] {
        assert_eq!(
            said.unwrap().signatures().len(),
            1,
            "our own line is no part of it"
        );
    }

    let (code, list) = command(&home, &["list"]);
    let list = String::from_utf8(list).unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(
        list,
        format!("{id} same-size example.com/log {}\n", paths[0].display())
    );
    let (code, shown) = command(&home, &["show", &id[..8]]);
    assert_eq!((code, shown), (Some(0), file));
    assert_eq!(command(&home, &["show", "x"]).0, Some(64));

    let health = process.get("/health");
    assert_eq!(
        (health.status, health.text()),
        (200, "ok\nevidence kept: 1\n")
    );
    assert_eq!(counted(&process, "same-size", "kept"), 1);
    assert_eq!(process.add(&body).status, 422);
    assert_eq!(counted(&process, "same-size", "known"), 1);
    // It is still there after a power cut, and known again.
    let mut process = process;
    process.kill();
    let process = home.serve();
    assert_eq!(process.get("/health").text(), "ok\nevidence kept: 1\n");
    assert_eq!(process.add(&body).status, 422);
    assert_eq!(counted(&process, "same-size", "known"), 1);
    assert_eq!(kept(&home), paths);
}

// Spec: WIT-120, EVI-30, EVI-32
#[test]
fn a_proof_that_failed_and_reaches_the_newer_root_is_kept_with_it() {
    let (mut log, home, process) = witness_at(13);
    let other = fork(&mut log, 7);
    let body = other.request_with(13, other.proof(13, 30), other.checkpoint(30));
    assert_eq!(process.add(&body).status, 422);
    let paths = kept(&home);
    assert_eq!(paths.len(), 1);
    let evidence = Evidence::parse(&fs::read(&paths[0]).unwrap()).unwrap();
    assert_eq!(evidence.kind(), Kind::Opening);
    assert_eq!(evidence.opened_root(), Some(other.head(13).root_hash));
    let verdict = evidence.verify(&keys_of(&log)).unwrap();
    let guilty: Vec<Role> = verdict.guilty.iter().map(|guilty| guilty.role).collect();
    assert_eq!(guilty, [Role::Log]);
    assert_eq!(counted(&process, "opening", "kept"), 1);

    // From a power of two the request does not carry what would prove it.
    let answer = process.add(&log.request(13, 16));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = other.request_with(16, other.proof(16, 30), other.checkpoint(30));
    assert_eq!(process.add(&body).status, 422);
    assert_eq!(kept(&home), paths);
}

// Spec: WIT-120
#[test]
fn a_fork_behind_a_wrong_old_size_and_nonsense_about_the_empty_tree_are_kept() {
    let (mut log, home, process) = witness_at(13);
    let other = fork(&mut log, 7);
    let body = other.request_with(9, other.proof(9, 13), other.checkpoint(13));
    assert_eq!(process.add(&body).status, 409);
    assert_eq!(counted(&process, "same-size", "kept"), 1);

    let mut young = TestLog::new("example.com/young");
    young.grow(1);
    home.add_log(&young);
    let nonsense = TreeHead {
        root_hash: sha256(b"nothing"),
        ..TreeHead::empty()
    };
    let body = young.request_with(0, young.proof(0, 0), young.sign(nonsense));
    until(|| process.add(&body).status == 422);
    assert!(counted(&process, "empty", "kept") == 1);
    assert_eq!(kept(&home).len(), 2);
}

// Spec: WIT-120
#[test]
fn mistakes_and_what_the_log_did_not_sign_leave_nothing() {
    let (mut log, home, process) = witness_at(13);
    let other = fork(&mut log, 7);
    let stranger = TestLog::new("example.com/stranger");
    let forged = stranger.checkpoint(0).signatures()[0].clone();
    let unsigned = other.checkpoint(13);
    let unsigned =
        jurat_proto::checkpoint::SignedCheckpoint::new(unsigned.checkpoint().clone(), vec![forged]);
    for (body, status) in [
        // A proof between other sizes, an old size that is not ours, one that is too large.
        (
            log.request_with(13, log.proof(9, 30), log.checkpoint(30)),
            422,
        ),
        (
            log.request_with(9, log.proof(9, 30), log.checkpoint(30)),
            409,
        ),
        (
            log.request_with(9, log.proof(9, 13), log.checkpoint(13)),
            409,
        ),
        (
            log.request_with(40, log.proof(0, 0), log.checkpoint(13)),
            400,
        ),
        (
            other.request_with(13, log.proof(13, 13), unsigned.unwrap()),
            403,
        ),
    ] {
        assert_eq!(process.add(&body).status, status);
    }
    assert_eq!(kept(&home), Vec::<PathBuf>::new());
    assert!(!home.path("evidence").exists());
    assert_eq!(process.get("/health").text(), "ok\n");
    let (code, list) = command(&home, &["list"]);
    assert_eq!((code, list.len()), (Some(0), 0));
}

// Spec: WIT-121
#[test]
fn a_log_that_forks_again_and_again_gets_four_files() {
    let (mut log, home, process) = witness_at(13);
    for common in 2..9 {
        let other = fork(&mut log, common);
        let body = other.request_with(13, log.proof(13, 13), other.checkpoint(13));
        assert_eq!(process.add(&body).status, 422);
    }
    assert_eq!(kept(&home).len(), 4);
    assert_eq!(counted(&process, "same-size", "kept"), 4);
    assert_eq!(counted(&process, "same-size", "counted"), 3);
    // Another log has room of its own.
    let mut second = TestLog::new("example.com/second");
    second.grow(40);
    home.add_log(&second);
    until(|| process.add(&second.request(0, 13)).status == 200);
    let other = fork(&mut second, 7);
    let body = other.request_with(13, second.proof(13, 13), other.checkpoint(13));
    assert_eq!(process.add(&body).status, 422);
    assert_eq!(kept(&home).len(), 5);
}

// Spec: WIT-120, WIT-123
#[test]
fn evidence_that_the_disk_does_not_take_is_told_and_written_later() {
    let (mut log, home, process) = witness_at(13);
    // A file where the folder has to be.
    fs::write(home.path("evidence"), b"in the way").unwrap();
    let other = fork(&mut log, 7);
    let body = other.request_with(13, log.proof(13, 13), other.checkpoint(13));
    assert_eq!(process.add(&body).status, 422);
    let health = process.get("/health");
    assert_eq!(health.status, 503);
    assert_eq!(health.text(), "evidence that cannot be written: 1\n");
    assert_eq!(counted(&process, "same-size", "not_written"), 1);
    let metrics = process.get("/metrics");
    assert!(metrics.text().contains("jurat_witness_healthy 0\n"));
    fs::remove_file(home.path("evidence")).unwrap();
    until(|| process.get("/health").status == 200);
    assert_eq!(kept(&home).len(), 1);
    assert_eq!(process.get("/health").text(), "ok\nevidence kept: 1\n");
}

// Spec: WIT-124
#[test]
fn evidence_of_others_is_kept_when_it_verifies_and_else_nothing_is_recorded() {
    let (mut log, home, process) = witness_at(13);
    let other = fork(&mut log, 7);
    let of = |log: &TestLog, other: &TestLog| {
        let proof = other.proof(11, 30);
        Evidence::of_growth(&log.checkpoint(11), &other.checkpoint(30), &proof).unwrap()
    };
    let file = home.path("theirs.tlog-fork");
    let path = file.to_str().unwrap();
    let mut stranger = TestLog::new("example.com/stranger");
    stranger.grow(40);
    let forked = fork(&mut stranger, 7);
    for bytes in [of(&stranger, &forked).to_bytes(), b"rubbish".to_vec()] {
        fs::write(&file, bytes).unwrap();
        assert_eq!(command(&home, &["submit", path]).0, Some(65));
        assert!(!home.path("evidence").exists());
    }
    let evidence = of(&log, &other);
    let id = hex::encode(evidence.id().as_bytes());
    fs::write(&file, evidence.to_bytes()).unwrap();
    for said in ["kept", "known already"] {
        let (code, told) = command(&home, &["submit", path]);
        assert_eq!(code, Some(0));
        assert_eq!(String::from_utf8(told).unwrap(), format!("{id} {said}\n"));
    }
    assert_eq!(fs::read(&kept(&home)[0]).unwrap(), evidence.to_bytes());
    until(|| process.get("/health").text() == "ok\nevidence kept: 1\n");
    assert_eq!(command(&home, &["submit", "absent"]).0, Some(74));
}

// Spec: WIT-121
#[test]
fn nonsense_about_the_empty_tree_leaves_room_for_a_fork() {
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let home = Home::new();
    home.add_log(&log);
    let process = home.serve();
    for nonsense in 0..5_u8 {
        let head = TreeHead {
            root_hash: sha256(&[nonsense]),
            ..TreeHead::empty()
        };
        let body = log.request_with(0, log.proof(0, 0), log.sign(head));
        assert_eq!(process.add(&body).status, 422);
    }
    assert_eq!(counted(&process, "empty", "kept"), 4);
    assert_eq!(counted(&process, "empty", "counted"), 1);
    assert_eq!(process.add(&log.request(0, 13)).status, 200);
    let other = fork(&mut log, 7);
    let body = other.request_with(13, log.proof(13, 13), other.checkpoint(13));
    assert_eq!(process.add(&body).status, 422);
    assert_eq!(counted(&process, "same-size", "kept"), 1);
    assert_eq!(kept(&home).len(), 5);
}

/// Forks of one log, and its keys.
fn forks_of(name: &str) -> (Vec<Evidence>, KnownKeys) {
    let mut log = TestLog::new(name);
    log.grow(40);
    let forks = (2..10).map(|common| {
        let other = fork(&mut log, common);
        Evidence::same_size(log.checkpoint(13), other.checkpoint(13)).unwrap()
    });
    let forks = forks.collect();
    (forks, keys_of(&log))
}

// Spec: WIT-121, WIT-123
#[test]
fn one_log_does_not_take_all_the_places_where_evidence_waits_for_the_disk() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("evidence");
    let folder = EvidenceFolder::open(path.clone(), Metrics::unregistered()).unwrap();
    fs::write(&path, b"in the way").unwrap();
    let (forks, keys) = forks_of("example.com/log");
    let became = |evidence| folder.keep(evidence, &keys).unwrap().1;
    let outcomes: Vec<Outcome> = forks.iter().map(became).collect();
    assert_eq!(outcomes[..4], [Outcome::NotWritten; 4]);
    assert_eq!(outcomes[4..], [Outcome::Counted; 4]);
    assert_eq!(folder.counts(), (0, 4));
    // One that waits is tried again.
    assert_eq!(became(&forks[0]), Outcome::NotWritten);
    let (others, keys) = forks_of("example.com/other");
    let outcome = folder.keep(&others[0], &keys).unwrap().1;
    assert_eq!((outcome, folder.counts()), (Outcome::NotWritten, (0, 5)));
    fs::remove_file(&path).unwrap();
    folder.retry();
    assert_eq!(folder.counts(), (5, 0));
}

// Spec: WIT-121, WIT-123
#[test]
fn what_the_disk_took_of_a_file_that_is_not_kept_is_given_back() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("evidence");
    let folder = EvidenceFolder::open(path.clone(), Metrics::unregistered()).unwrap();
    let (forks, keys) = forks_of("example.com/log");
    let name = format!("{}.tlog-fork", hex::encode(forks[0].id().as_bytes()));
    fs::create_dir_all(path.join(&name)).unwrap();
    let (_, outcome) = folder.keep(&forks[0], &keys).unwrap();
    assert_eq!(outcome, Outcome::NotWritten);
    let left = fs::read_dir(&path).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [&*name]);
}
