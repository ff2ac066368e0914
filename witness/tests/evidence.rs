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
use std::process::Command;

use jurat_proto::evidence::{Evidence, Kind, KnownKeys, Role, Standing};
use jurat_proto::hash::sha256;
use jurat_proto::hex;
use jurat_proto::tree::TreeHead;

use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::checkpoint::{ExtensionLine, Origin, SignedCheckpoint};
use jurat_proto::cosignature;
use jurat_proto::key::{KeyName, Signer as _, UnixSeconds, VerifierKey};
use jurat_witness::evidence::{EvidenceFolder, Jury, Outcome};
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

/// Keys that do not change.
#[derive(Debug, Clone)]
struct Bench {
    keys: KnownKeys,
    own: Vec<VerifierKey>,
}

impl Jury for Bench {
    fn keys(&self, _: Option<&Origin>) -> KnownKeys {
        self.keys.clone()
    }

    fn own(&self) -> &[VerifierKey] {
        &self.own
    }
}

fn folder_at(path: PathBuf, keys: &KnownKeys) -> EvidenceFolder {
    let (keys, own) = (keys.clone(), Vec::new());
    EvidenceFolder::open(path, Metrics::unregistered(), Bench { keys, own }).unwrap()
}

/// What `/health` says of one log that one file convicts.
fn convicting(log: &TestLog, id: &str) -> String {
    format!(
        "ok\nevidence kept: 1\nlogs convicted: 1\nconvicted: {}, evidence {id}\n",
        log.origin
    )
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
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_evidence = |path: &PathBuf| path.to_str().unwrap().ends_with(".tlog-fork");
    let mut paths: Vec<PathBuf> = paths.filter(is_evidence).collect();
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
    let said = convicting(&log, &id);
    assert_eq!((health.status, health.text()), (200, &*said));
    assert_eq!(counted(&process, "same-size", "kept"), 1);
    // It is still there after a power cut.
    let mut process = process;
    process.kill();
    let process = home.serve();
    assert_eq!(process.get("/health").text(), said);
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
    let mut second = TestLog::new("example.com/second");
    second.grow(40);
    home.add_log(&second);
    until(|| process.add(&second.request(0, 16)).status == 200);
    let other = fork(&mut second, 7);
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
    let unsigned = SignedCheckpoint::new(unsigned.checkpoint().clone(), vec![forged]);
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
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("evidence");
    let (forks, mut keys) = forks_of("example.com/log");
    // Another log has room of its own.
    let (others, others_log) = forks_and_log("example.com/second");
    keys.add_log(
        others_log.origin.clone(),
        others_log.vkey().clone(),
        Standing::Current,
    );
    let folder = folder_at(path, &keys);
    let became = |evidence| folder.keep(evidence).unwrap().1;
    let outcomes: Vec<Outcome> = forks.iter().map(became).collect();
    assert_eq!(outcomes[..4], [Outcome::Kept; 4]);
    assert_eq!(outcomes[4..], [Outcome::Counted; 4]);
    assert_eq!(became(&others[0]), Outcome::Kept);
    assert_eq!(folder.counts().kept, 5);
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
    // It does its work, and the log is stopped all the same.
    let health = process.get("/health");
    assert_eq!(health.status, 200);
    let text = health.text();
    assert!(
        text.starts_with("ok\nevidence that cannot be written: "),
        "{text}"
    );
    assert_eq!(process.add(&log.request(13, 14)).status, 403);
    assert_eq!(counted(&process, "same-size", "not_written"), 1);
    let metrics = process.get("/metrics");
    assert!(metrics.text().contains("jurat_witness_healthy 1\n"));
    fs::remove_file(home.path("evidence")).unwrap();
    let id = Evidence::same_size(log.checkpoint(13), other.checkpoint(13));
    let id = hex::encode(id.unwrap().id().as_bytes());
    until(|| process.get("/health").text() == convicting(&log, &id));
    assert_eq!(kept(&home).len(), 1);
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
    until(|| process.get("/health").text() == convicting(&log, &id));
    assert_eq!(process.add(&log.request(13, 14)).status, 403);
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
    let (forks, log) = forks_and_log(name);
    (forks, keys_of(&log))
}

fn forks_and_log(name: &str) -> (Vec<Evidence>, TestLog) {
    let mut log = TestLog::new(name);
    log.grow(40);
    let forks = (2..10).map(|common| {
        let other = fork(&mut log, common);
        Evidence::same_size(log.checkpoint(13), other.checkpoint(13)).unwrap()
    });
    let forks = forks.collect();
    (forks, log)
}

// Spec: WIT-121, WIT-123
#[test]
fn one_log_does_not_take_all_the_places_where_evidence_waits_for_the_disk() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("evidence");
    let (forks, mut keys) = forks_of("example.com/log");
    let (others, second) = forks_and_log("example.com/other");
    let vkey = second.vkey().clone();
    keys.add_log(second.origin.clone(), vkey, Standing::Current);
    let folder = folder_at(path.clone(), &keys);
    fs::write(&path, b"in the way").unwrap();
    let became = |evidence| folder.keep(evidence).unwrap().1;
    let outcomes: Vec<Outcome> = forks.iter().map(became).collect();
    assert_eq!(outcomes[..4], [Outcome::NotWritten; 4]);
    assert_eq!(outcomes[4..], [Outcome::Counted; 4]);
    // With that the log is stopped, which is not written either.
    assert_eq!((folder.counts().kept, folder.counts().unwritten), (0, 5));
    // One that waits is tried again.
    assert_eq!(became(&forks[0]), Outcome::NotWritten);
    assert_eq!(became(&others[0]), Outcome::NotWritten);
    assert_eq!((folder.counts().kept, folder.counts().unwritten), (0, 7));
    fs::remove_file(&path).unwrap();
    folder.retry();
    assert_eq!((folder.counts().kept, folder.counts().unwritten), (5, 0));
}

// Spec: WIT-121, WIT-123
#[test]
fn what_the_disk_took_of_a_file_that_is_not_kept_is_given_back() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("evidence");
    let (forks, keys) = forks_of("example.com/log");
    let folder = folder_at(path.clone(), &keys);
    let id = hex::encode(forks[0].id().as_bytes());
    let name = format!("{id}.tlog-fork");
    fs::create_dir_all(path.join(&name)).unwrap();
    let (_, outcome) = folder.keep(&forks[0]).unwrap();
    assert_eq!(outcome, Outcome::NotWritten);
    let left = fs::read_dir(&path).unwrap();
    let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut left: Vec<String> = left.collect();
    left.sort();
    assert_eq!(left, [format!("{id}.conviction"), name]);
}

// Spec: EVI-53, WIT-121
#[test]
fn a_later_copy_adds_the_lines_that_it_has_and_takes_none_away() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("evidence");
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let other = fork(&mut log, 7);
    let named = KeyName::parse("w9.example").unwrap();
    let cosigner = SigningKey::generate(named, Algorithm::CosignatureV1).unwrap();
    let mut keys = keys_of(&log);
    keys.add_cosigner(cosigner.verifier_key().clone()).unwrap();
    let by_both = |of: &TestLog| cosigned(&of.checkpoint(13), &cosigner);
    let stripped = Evidence::same_size(log.checkpoint(13), other.checkpoint(13)).unwrap();
    let whole = Evidence::same_size(by_both(&log), by_both(&other)).unwrap();
    let folder = folder_at(path.clone(), &keys);
    assert_eq!(folder.keep(&stripped).unwrap().1, Outcome::Kept);
    assert_eq!(folder.keep(&whole).unwrap().1, Outcome::Merged);
    assert_eq!(folder.keep(&stripped).unwrap().1, Outcome::Known);
    let id = hex::encode(whole.id().as_bytes());
    let file = fs::read(path.join(format!("{id}.tlog-fork"))).unwrap();
    let read = Evidence::parse(&file).unwrap();
    assert_eq!(read.verify(&keys).unwrap().guilty.len(), 2);
    // Another process has merged it meanwhile: its copy is taken up, too.
    let (again, file) = (home.path().join("again"), format!("{id}.tlog-fork"));
    let folder = folder_at(again.clone(), &keys);
    folder.keep(&stripped).unwrap();
    fs::copy(path.join(&file), again.join("new")).unwrap();
    fs::rename(again.join("new"), again.join(&file)).unwrap();
    folder.look(drop).unwrap();
    assert_eq!(folder.keep(&whole).unwrap().1, Outcome::Known);
}

/// With a line more.
fn cosigned(note: &SignedCheckpoint, key: &SigningKey) -> SignedCheckpoint {
    let time = UnixSeconds::new(1_790_000_000).unwrap();
    let line = cosignature::cosign(note.checkpoint(), time, key).unwrap();
    let lines = [note.signatures(), &[line]].concat();
    SignedCheckpoint::new(note.checkpoint().clone(), lines).unwrap()
}

fn cosigner(name: &str) -> SigningKey {
    let name = KeyName::parse(name).unwrap();
    SigningKey::generate(name, Algorithm::CosignatureV1).unwrap()
}

/// The same two trees under other texts, which only this cosigner signed.
fn of_cosigner(log: &TestLog, other: &TestLog, key: &SigningKey) -> Evidence {
    let note = |of: &TestLog| {
        let mut checkpoint = of.checkpoint(13).checkpoint().clone();
        let line = ExtensionLine::parse(key.verifier_key().name().as_str()).unwrap();
        checkpoint.extensions = line.into();
        let time = UnixSeconds::new(1_790_000_000).unwrap();
        let line = cosignature::cosign(&checkpoint, time, key).unwrap();
        SignedCheckpoint::new(checkpoint, vec![line]).unwrap()
    };
    Evidence::same_size(note(log), note(other)).unwrap()
}

// Spec: GSP-117, GSP-143
#[test]
fn copies_that_do_not_become_one_are_all_kept_and_the_log_is_convicted_by_the_first() {
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let other = fork(&mut log, 7);
    let of_log = Evidence::same_size(log.checkpoint(13), other.checkpoint(13)).unwrap();
    let cosigners: Vec<SigningKey> = (0..6)
        .map(|number| cosigner(&format!("w{number}.example")))
        .collect();
    let mut keys = keys_of(&log);
    for key in &cosigners {
        keys.add_cosigner(key.verifier_key().clone()).unwrap();
    }
    let of_cosigners: Vec<Evidence> = cosigners
        .iter()
        .map(|key| of_cosigner(&log, &other, key))
        .collect();
    let id = of_log.id();
    assert!(of_cosigners.iter().all(|copy| copy.id() == id));
    let name = hex::encode(id.as_bytes());
    for log_first in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("evidence");
        let file = |suffix: &str| {
            let bytes = fs::read(path.join(format!("{name}{suffix}"))).ok()?;
            Some(Evidence::parse(&bytes).unwrap())
        };
        let mut order = [&of_cosigners[0], &of_log];
        if log_first {
            order.reverse();
        }
        let folder = folder_at(path.clone(), &keys);
        assert_eq!(folder.keep(order[0]).unwrap().1, Outcome::Kept);
        assert_eq!(folder.keep(order[1]).unwrap().1, Outcome::Beside);
        assert_eq!(file(".tlog-fork").as_ref(), Some(&of_log));
        assert_eq!(file(".1.tlog-fork").as_ref(), Some(&of_cosigners[0]));
        // After a start, too, neither is anything new; and nobody has to read them twice.
        drop(folder);
        let folder = folder_at(path.clone(), &keys);
        for copy in order {
            assert_eq!(folder.keep(copy).unwrap().1, Outcome::Known);
        }
        folder.look(|copy| panic!("{copy:?}")).unwrap();
        // There is a bound.
        for copy in &of_cosigners[1..4] {
            assert_eq!(folder.keep(copy).unwrap().1, Outcome::Beside);
        }
        assert_eq!(folder.keep(&of_cosigners[4]).unwrap().1, Outcome::Counted);
        assert_eq!(file(".5.tlog-fork"), None);
        assert_eq!(folder.counts().kept, 1, "it is one contradiction");
    }

    // However many copies accuse others, the one that convicts the log has room; and what stands
    // in the place of a copy and is none is in nobody's way.
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("evidence");
    fs::create_dir(&path).unwrap();
    fs::write(path.join(format!("{name}.1.tlog-fork")), b"rubbish").unwrap();
    let folder = folder_at(path.clone(), &keys);
    assert_eq!(folder.counts().aside, 1);
    for (place, copy) in of_cosigners.iter().enumerate() {
        let wanted = match place {
            0 => Outcome::Kept,
            1..=4 => Outcome::Beside,
            _ => Outcome::Counted,
        };
        assert_eq!(folder.keep(copy).unwrap().1, wanted, "{place}");
    }
    assert!(folder.convicted(&log.origin, false).is_none());
    assert_eq!(folder.keep(&of_log).unwrap().1, Outcome::Beside);
    assert!(folder.convicted(&log.origin, false).is_some());
    let bytes = fs::read(path.join(format!("{name}.tlog-fork"))).unwrap();
    assert_eq!(Evidence::parse(&bytes).unwrap(), of_log);
    let aside = path.join(format!("{name}.1.tlog-fork.aside.0"));
    assert_eq!(fs::read(aside).unwrap(), b"rubbish");
}

// Spec: EVI-60
#[test]
fn a_kept_file_that_cannot_be_read_for_a_while_keeps_its_name_and_its_lines() {
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let other = fork(&mut log, 7);
    let witness = cosigner("w9.example");
    let mut keys = keys_of(&log);
    keys.add_cosigner(witness.verifier_key().clone()).unwrap();
    let plain = Evidence::same_size(log.checkpoint(13), other.checkpoint(13)).unwrap();
    let both = [&log, &other].map(|branch| {
        let note = branch.checkpoint(13);
        let time = UnixSeconds::new(1_790_000_000).unwrap();
        let line = cosignature::cosign(note.checkpoint(), time, &witness).unwrap();
        note.with_signatures(&[0], &[line]).unwrap()
    });
    let [one, two] = both;
    let more = Evidence::same_size(one, two).unwrap();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("evidence");
    let name = hex::encode(plain.id().as_bytes());
    let file = path.join(format!("{name}.tlog-fork"));
    for looks_meanwhile in [false, true] {
        let _ = fs::remove_dir_all(&path);
        let mut folder = folder_at(path.clone(), &keys);
        assert_eq!(folder.keep(&plain).unwrap().1, Outcome::Kept);
        // A link to itself: the system says why it cannot be read, and nothing of what is in it.
        let away = home.path().join("away");
        fs::rename(&file, &away).unwrap();
        std::os::unix::fs::symlink(&file, &file).unwrap();
        if looks_meanwhile {
            folder = folder_at(path.clone(), &keys);
            assert_eq!(folder.counts().aside, 1);
        }
        assert_eq!(folder.keep(&more).unwrap().1, Outcome::NotWritten);
        assert_eq!(folder.counts().unwritten, 1);
        assert!(!path.join(format!("{name}.tlog-fork.aside.0")).exists());
        // The disk answers again.
        fs::rename(&away, &file).unwrap();
        folder.retry();
        let counts = folder.counts();
        assert_eq!((counts.kept, counts.unwritten, counts.aside), (1, 0, 0));
        let kept = Evidence::parse(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(kept, more, "with the lines of both");
        // What is gone is written anew.
        fs::remove_file(&file).unwrap();
        assert_eq!(folder.keep(&more).unwrap().1, Outcome::Kept);
    }
}

// Spec: GSP-143, WIT-123
#[test]
fn copies_that_the_disk_does_not_take_all_wait_for_it() {
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let other = fork(&mut log, 7);
    let of_log = Evidence::same_size(log.checkpoint(13), other.checkpoint(13)).unwrap();
    let witness = cosigner("w9.example");
    let of_witness = of_cosigner(&log, &other, &witness);
    let mut keys = keys_of(&log);
    keys.add_cosigner(witness.verifier_key().clone()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("evidence");
    let folder = folder_at(path.clone(), &keys);
    fs::write(&path, b"in the way").unwrap();
    for copy in [&of_witness, &of_log, &of_log] {
        assert_eq!(folder.keep(copy).unwrap().1, Outcome::NotWritten);
    }
    // With that the log is stopped, which is not written either.
    assert_eq!(folder.counts().unwritten, 3);
    fs::remove_file(&path).unwrap();
    folder.retry();
    assert_eq!(folder.counts().unwritten, 0);
    let name = hex::encode(of_log.id().as_bytes());
    let read = |suffix: &str| {
        let bytes = fs::read(path.join(format!("{name}{suffix}"))).unwrap();
        Evidence::parse(&bytes).unwrap()
    };
    assert_eq!(read(".tlog-fork"), of_log);
    assert_eq!(read(".1.tlog-fork"), of_witness);
}

// Spec: WIT-121, WIT-128
#[test]
fn whoever_has_a_line_in_evidence_against_others_does_not_use_up_the_room_for_its_own() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("evidence");
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let witness = cosigner("w9.example");
    let mut keys = keys_of(&log);
    keys.add_cosigner(witness.verifier_key().clone()).unwrap();
    let folder = folder_at(path, &keys);
    // Its log signed one of the two trees, and a witness both.
    for common in 2..7 {
        let other = fork(&mut log, common);
        let both = |of: &TestLog| cosigned(&of.checkpoint(13), &witness);
        let (one, other) = (both(&log), both(&other));
        let other = other.with_signatures(&[1], &[]).unwrap();
        let evidence = Evidence::same_size(one, other).unwrap();
        let (verdict, outcome) = folder.keep(&evidence).unwrap();
        assert!(!verdict.convicts_log());
        let is_full = common == 6;
        let wanted = if is_full {
            Outcome::Counted
        } else {
            Outcome::Kept
        };
        assert_eq!(outcome, wanted);
    }
    let other = fork(&mut log, 9);
    let evidence = Evidence::same_size(log.checkpoint(13), other.checkpoint(13)).unwrap();
    assert_eq!(folder.keep(&evidence).unwrap().1, Outcome::Kept);
    assert!(folder.convicted(&log.origin, false).is_some());
}

// Spec: WIT-128, WIT-129
#[test]
fn a_convicted_log_is_refused_for_good_and_shown_everywhere() {
    let (mut log, home, mut process) = witness_at(13);
    let other = fork(&mut log, 7);
    let body = other.request_with(13, log.proof(13, 13), other.checkpoint(13));
    assert_eq!(process.add(&body).status, 422);
    let paths = kept(&home);
    let id = paths[0].file_stem().unwrap().to_str().unwrap().to_owned();
    let refused = |process: &Process| {
        for body in [log.request(13, 14), log.request(13, 13), body.clone()] {
            let answer = process.add(&body);
            assert_eq!(answer.status, 403);
            assert!(answer.text().contains(&id), "{}", answer.text());
        }
        // What was cosigned is still to be read.
        assert_eq!(process.get(&log.checkpoint_path()).status, 200);
    };
    refused(&process);
    let metrics = process.get("/metrics");
    let metrics = metrics.text();
    assert!(
        metrics.contains("jurat_witness_logs_convicted 1\n"),
        "{metrics}"
    );
    assert!(
        process
            .get("/")
            .text()
            .contains("convicted, not cosigned any more")
    );
    let line = format!("convicted: evidence {id}");
    let listed = home.logs(&["list"]).stdout;
    assert!(String::from_utf8(listed).unwrap().contains(&line));
    let shown = home.logs(&["show", log.origin.as_str()]).stdout;
    assert!(String::from_utf8(shown).unwrap().contains(&id));

    // The operator may say what is to be said about it.
    assert_eq!(
        command(&home, &["annotate", &id[..9], "disk swapped"]).0,
        Some(0)
    );
    let (_, list) = command(&home, &["list"]);
    assert!(
        String::from_utf8(list)
            .unwrap()
            .contains(": disk swapped\n")
    );

    // It lasts, without the file and with the log's key retired: the fork is not undone by that.
    process.kill();
    let new = SigningKey::generate(log.vkey().name().clone(), Algorithm::Ed25519).unwrap();
    let (new, old) = (new.verifier_key().to_string(), log.vkey().to_string());
    assert!(home.logs(&["add", &new]).status.success());
    assert!(
        home.logs(&["retire", log.origin.as_str(), &old])
            .status
            .success()
    );
    assert!(
        home.logs(&["retire", log.origin.as_str(), &old, "--undo"])
            .status
            .success()
    );
    fs::remove_file(&paths[0]).unwrap();
    let process = home.serve();
    refused(&process);
}

// Spec: WIT-131
#[test]
fn a_witness_whose_own_key_is_convicted_signs_nothing_and_says_so_when_it_ends() {
    let (mut log, home, process) = witness_at(13);
    let other = fork(&mut log, 7);
    let own = SigningKey::load(home.path("ed25519.key")).unwrap();
    let by_us = |of: &TestLog| cosigned(&of.checkpoint(13), &own);
    let evidence = Evidence::same_size(by_us(&log), by_us(&other)).unwrap();
    let id = hex::encode(evidence.id().as_bytes());
    let file = home.path("ours.tlog-fork");
    fs::write(&file, evidence.to_bytes()).unwrap();
    let mut second = TestLog::new("example.com/second");
    second.grow(40);
    home.add_log(&second);
    until(|| process.add(&second.request(0, 13)).status == 200);
    assert_eq!(
        command(&home, &["submit", file.to_str().unwrap()]).0,
        Some(0)
    );
    until(|| process.get("/health").status == 503);
    let stopped = |process: Process| {
        let answer = process.add(&second.request(13, 14));
        assert_eq!(answer.status, 503);
        assert!(answer.text().contains(&id), "{}", answer.text());
        assert!(process.get("/health").text().contains(&id));
        let metrics = process.get("/metrics");
        assert!(metrics.text().contains("jurat_witness_convicted 1\n"));
        assert_eq!(process.get(&second.checkpoint_path()).status, 200);
        assert_eq!(process.terminate().code(), Some(76));
    };
    stopped(process);
    // A new start is no way out, nor is one without the file.
    stopped(home.serve());
    fs::remove_file(home.path("evidence").join(format!("{id}.tlog-fork"))).unwrap();
    stopped(home.serve());
}

// Spec: WIT-126, WIT-127
#[test]
fn what_is_no_evidence_is_set_aside_and_stops_nothing() {
    let (mut log, home, mut process) = witness_at(13);
    let other = fork(&mut log, 7);
    let evidence = Evidence::same_size(log.checkpoint(13), other.checkpoint(13)).unwrap();
    let id = hex::encode(evidence.id().as_bytes());
    process.kill();
    let folder = home.path("evidence");
    fs::create_dir(&folder).unwrap();
    let at = |name: &str| folder.join(name);
    let damaged = at(&format!("{id}.tlog-fork"));
    fs::write(&damaged, b"bits rot").unwrap();
    let made = Command::new("mkfifo").arg(at("pipe.tlog-fork")).status();
    assert!(made.unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", at("endless.tlog-fork")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("gone.tlog-fork")).unwrap();
    // What a process left that died, what another is about to write, and what is not ours.
    let draft = |process: &str| at(&format!(".{id}.{process}.draft"));
    fs::write(draft("1"), b"half").unwrap();
    let busy = fs::File::create(draft("2")).unwrap();
    busy.lock().unwrap();
    fs::write(at(".mine.draft"), b"notes").unwrap();
    let process = home.serve();
    assert_eq!(process.get("/health").text(), "ok\nevidence set aside: 4\n");
    assert!(!draft("1").exists() && draft("2").exists() && at(".mine.draft").exists());
    let (code, list) = command(&home, &["list"]);
    assert_eq!((code, list.len()), (Some(0), 0));
    assert_eq!(command(&home, &["submit", "/dev/zero"]).0, Some(74));

    // Its place is taken, and it is kept.
    let body = other.request_with(13, log.proof(13, 13), other.checkpoint(13));
    assert_eq!(process.add(&body).status, 422);
    assert_eq!(counted(&process, "same-size", "kept"), 1);
    let aside = at(&format!("{id}.tlog-fork.aside.0"));
    assert_eq!(fs::read(aside).unwrap(), b"bits rot");
    assert!(Evidence::parse(&fs::read(damaged).unwrap()).is_ok());
}

// Spec: WIT-130
#[test]
fn nonsense_about_the_empty_tree_stops_a_log_only_where_its_entry_says_so() {
    let (log, home, process) = witness_at(13);
    let nonsense = TreeHead {
        root_hash: sha256(b"nothing"),
        ..TreeHead::empty()
    };
    let evidence = Evidence::empty(log.sign(nonsense)).unwrap();
    let id = hex::encode(evidence.id().as_bytes());
    let file = home.path("empty.tlog-fork");
    fs::write(&file, evidence.to_bytes()).unwrap();
    assert_eq!(
        command(&home, &["submit", file.to_str().unwrap()]).0,
        Some(0)
    );
    until(|| process.get("/health").text() == "ok\nevidence kept: 1\n");
    assert_eq!(process.add(&log.request(13, 14)).status, 200);
    let vkey = log.vkey().to_string();
    assert!(
        home.logs(&["add", &vkey, "--empty-stops", "true"])
            .status
            .success()
    );
    until(|| process.add(&log.request(14, 14)).status == 403);
    assert!(process.add(&log.request(14, 15)).text().contains(&id));
    assert!(
        home.logs(&["add", &vkey, "--empty-stops", "false"])
            .status
            .success()
    );
    until(|| process.add(&log.request(14, 15)).status == 200);
}

// Spec: EVI-43, STO-37, WIT-132
#[test]
fn whoever_steals_a_key_that_a_log_has_done_with_does_not_stop_it() {
    let (mut log, home, process) = witness_at(13);
    let new = SigningKey::generate(log.vkey().name().clone(), Algorithm::Ed25519).unwrap();
    let (vkey, old) = (new.verifier_key().to_string(), log.vkey().to_string());
    assert!(home.logs(&["add", &vkey]).status.success());
    assert!(
        home.logs(&["retire", log.origin.as_str(), &old])
            .status
            .success()
    );
    let new = new.to_note_signer().unwrap();
    let other = fork(&mut log, 7);
    let mut renewed = TestLog::with_key(SigningKey::parse_note_signer(&new).unwrap());
    renewed.grow(40);
    // What the old key signed is not accepted any more, and what was cosigned before stays good.
    until(|| process.add(&renewed.request(13, 14)).status == 200);
    assert_eq!(process.add(&log.request(14, 15)).status, 403);
    let stolen = Evidence::same_size(log.checkpoint(13), other.checkpoint(13)).unwrap();
    let across = Evidence::same_size(renewed.checkpoint(13), other.checkpoint(13)).unwrap();
    let file = home.path("theirs.tlog-fork");
    let path = file.to_str().unwrap();
    fs::write(&file, across.to_bytes()).unwrap();
    assert_eq!(command(&home, &["submit", path]).0, Some(65));
    fs::write(&file, stolen.to_bytes()).unwrap();
    assert_eq!(command(&home, &["submit", path]).0, Some(0));
    until(|| process.get("/health").text() == "ok\nevidence kept: 1\n");
    assert_eq!(process.add(&renewed.request(14, 15)).status, 200);
    let (_, home, process) = (log, home, process.terminate());
    assert!(process.success());
    let process = home.serve();
    assert_eq!(process.add(&renewed.request(15, 16)).status, 200);
}

// Spec: WIT-124
#[test]
fn what_another_process_brought_is_handed_over_though_something_was_kept_meanwhile() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("evidence");
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let keys = keys_of(&log);
    let folder = folder_at(path.clone(), &keys);
    let proof = |log: &mut TestLog, common| {
        let other = fork(log, common);
        Evidence::same_size(log.checkpoint(13), other.checkpoint(13)).unwrap()
    };
    let (brought, own) = (proof(&mut log, 7), proof(&mut log, 8));
    let command = folder_at(path, &keys);
    assert_eq!(command.keep(&brought).unwrap().1, Outcome::Kept);
    assert_eq!(folder.keep(&own).unwrap().1, Outcome::Kept);
    let mut news = Vec::new();
    folder.look(|evidence| news.push(evidence.id())).unwrap();
    assert_eq!(news, [brought.id()]);
    news.clear();
    folder.look(|evidence| news.push(evidence.id())).unwrap();
    assert_eq!(news, []);
}

// Spec: GSP-143
#[test]
fn a_copy_by_keys_that_are_not_known_today_stays() {
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let other = fork(&mut log, 7);
    let of_log = Evidence::same_size(log.checkpoint(13), other.checkpoint(13)).unwrap();
    let [one, two] = ["w1.example", "w2.example"].map(cosigner);
    let knows = |cosigners: &[&SigningKey]| {
        let mut keys = keys_of(&log);
        for key in cosigners {
            keys.add_cosigner(key.verifier_key().clone()).unwrap();
        }
        keys
    };
    let [of_one, of_two] = [&one, &two].map(|key| of_cosigner(&log, &other, key));
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("evidence");
    let folder = folder_at(path.clone(), &knows(&[&one]));
    folder.keep(&of_log).unwrap();
    assert_eq!(folder.keep(&of_one).unwrap().1, Outcome::Beside);
    drop(folder);
    // The first is no peer for a while.
    let folder = folder_at(path.clone(), &knows(&[&two]));
    assert_eq!(folder.keep(&of_two).unwrap().1, Outcome::Beside);
    drop(folder);
    let folder = folder_at(path.clone(), &knows(&[&one, &two]));
    let mut names: Vec<_> = fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".conviction"))
        .map(|name| name[64..].to_owned())
        .collect();
    names.sort();
    assert_eq!(names, [".1.tlog-fork", ".2.tlog-fork", ".tlog-fork"]);
    drop(folder);
}
