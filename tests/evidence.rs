//! Evidence as others meet it: `jurat verify` says whom a file convicts, and a verifier that was
//! written in Go from the specification alone says the same of thousands of files.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::checkpoint::{ExtensionLine, SignedCheckpoint};
use jurat_proto::cosignature::{cosign, sign_note};
use jurat_proto::evidence::{Cosigner, Evidence, KnownKeys, LogFinding, ShownRow, Standing};
use jurat_proto::gossip::{
    Flags, OriginId, Page, Random, Row, SignedStatement, State, Statement, Tag,
};
use jurat_proto::hash::leaf_hash;
use jurat_proto::hex;
use jurat_proto::key::{Signer as _, UnixSeconds};
use jurat_proto::note::SignatureLine;
use jurat_proto::proof::{InclusionProof, prove_inclusion};
use jurat_proto::tlog_proof::TlogProof;
use jurat_proto::tree::{LeafIndex, TreeHead, TreeSize};
use serde_json::Value;

use network::log::{TestLog, key};

mod network;

const ORIGIN: &str = "forking.example/log";
const NOW: u64 = 1_790_000_000;
/// Up to this size the two histories are one.
const SHARED: u64 = 7;

/// A log with two histories, and those who saw them.
struct Cast {
    log: TestLog,
    fork: TestLog,
    old_key: SigningKey,
    witness: SigningKey,
    ml_dsa: SigningKey,
    gossip: SigningKey,
}

impl Cast {
    fn new() -> Self {
        let mut log = TestLog::new(ORIGIN);
        log.grow(40);
        Self {
            fork: log.fork(SHARED, 40),
            log,
            old_key: key("forking.example/old", Algorithm::Ed25519),
            witness: key("w1.example", Algorithm::CosignatureV1),
            ml_dsa: key("w2.example", Algorithm::MlDsa44),
            gossip: key("w1.example", Algorithm::Ed25519),
        }
    }

    /// Signed by the log, if it is to, and by witnesses at a time.
    fn note(&self, head: TreeHead, by: &[&SigningKey], at: u64) -> SignedCheckpoint {
        self.note_of(0, head, by, at)
    }

    /// As [`Self::note`], of a text of so many bytes, or as short as it can be.
    fn note_of(
        &self,
        bytes: usize,
        head: TreeHead,
        by: &[&SigningKey],
        at: u64,
    ) -> SignedCheckpoint {
        let mut checkpoint = self.log.unsigned(head);
        if let Some(more) = bytes.checked_sub(checkpoint.to_text().len() + 1) {
            checkpoint.extensions = ExtensionLine::parse(&"x".repeat(more)).unwrap().into();
            assert_eq!(checkpoint.to_text().len(), bytes);
        }
        let time = UnixSeconds::new(at).unwrap();
        let lines = by.iter().map(|key| match key.algorithm() {
            Algorithm::Ed25519 => sign_note(&checkpoint.to_text(), *key).unwrap(),
            _ => cosign(&checkpoint, time, *key).unwrap(),
        });
        SignedCheckpoint::new(checkpoint.clone(), lines.collect()).unwrap()
    }

    fn both(&self) -> [&SigningKey; 2] {
        [&self.log.key, &self.witness]
    }

    fn by_both(&self, history: &TestLog, size: u64) -> SignedCheckpoint {
        self.note(history.head(size), &self.both(), NOW)
    }

    fn opening(&self) -> Evidence {
        let (older, newer) = (self.by_both(&self.log, 13), self.by_both(&self.fork, 30));
        Evidence::of_growth(&older, &newer, &self.fork.proof(13, 30)).unwrap()
    }

    fn said(&self, statement: Statement) -> SignedStatement {
        let line = sign_note(&statement.to_text(), &self.gossip).unwrap();
        SignedStatement::new(statement, vec![line]).unwrap()
    }

    fn state(&self, evidence: TreeHead) -> SignedStatement {
        self.said(Statement::State(State {
            name: self.gossip.verifier_key().name().clone(),
            epoch: Random([1; 16]),
            seq: 7,
            time: UnixSeconds::new(NOW).unwrap(),
            rows: TreeHead::empty(),
            evidence,
            nonce: Some(Random([2; 16])),
        }))
    }

    fn omission(&self) -> Evidence {
        let (salt, head) = (Random([3; 16]), self.log.head(12));
        let row = Row {
            origin: OriginId::of(&self.log.origin),
            size: head.size,
            tag: Tag::of(&salt, &self.log.origin, &head),
            time: UnixSeconds::new(NOW - 60).unwrap(),
            flags: Flags {
                newest_cosigned: true,
                unresolved: false,
            },
        };
        let page = self.said(Statement::Page(Page {
            name: self.gossip.verifier_key().name().clone(),
            epoch: Random([1; 16]),
            seq: 7,
            since: 3,
            next: 7,
            time: UnixSeconds::new(NOW + 10).unwrap(),
            salt,
            rows: Page::rows_head([&row]).unwrap(),
        }));
        let shown = ShownRow {
            row,
            root: head.root_hash,
            index: LeafIndex::ZERO,
            proof: InclusionProof::default(),
        };
        let hidden = self.note(self.log.head(13), &[&self.witness], NOW);
        let time = UnixSeconds::new(NOW).unwrap();
        Evidence::omission(page, shown, hidden, self.accused(), time).unwrap()
    }

    fn accused(&self) -> Cosigner {
        Cosigner {
            name: self.witness.verifier_key().name().clone(),
            key_id: self.witness.verifier_key().key_id(),
        }
    }

    fn entry(&self) -> Evidence {
        let shown = |history: &TestLog, size: u64| {
            let index = LeafIndex::new(9).unwrap();
            let of = TreeSize::new(size).unwrap();
            let proof = prove_inclusion(index, of, history).unwrap();
            TlogProof::new(None, index, proof, self.by_both(history, size)).unwrap()
        };
        let mine = leaf_hash(&9_u64.to_be_bytes());
        let theirs = leaf_hash(b"another history 9");
        Evidence::entry(
            (mine, &shown(&self.log, 12)),
            (theirs, &shown(&self.fork, 31)),
        )
        .unwrap()
    }

    /// Every kind, and what keys of other ages make of a fork.
    fn files(&self) -> Vec<Evidence> {
        let at = |seconds| UnixSeconds::new(seconds).unwrap();
        let alone = |size, seconds| {
            let note = self.note(self.log.head(size), &[&self.witness], seconds);
            (note, at(seconds))
        };
        let nonsense = TreeHead {
            root_hash: leaf_hash(b"nothing"),
            ..TreeHead::empty()
        };
        let (one, other) = (&self.log, &self.fork);
        let across = Evidence::same_size(
            self.note(one.head(20), &[&self.old_key], NOW),
            self.note(other.head(20), &[&self.log.key], NOW),
        );
        let noisy = self.note(
            one.head(20),
            &[&self.ml_dsa, &self.witness, &self.gossip, &self.log.key],
            NOW,
        );
        vec![
            Evidence::same_size(self.by_both(one, 20), self.by_both(other, 20)).unwrap(),
            Evidence::same_size(noisy, self.by_both(other, 20)).unwrap(),
            self.opening(),
            self.entry(),
            Evidence::empty(self.note(nonsense, &self.both(), NOW)).unwrap(),
            Evidence::cosigner_regress(alone(12, NOW), alone(11, NOW + 1), self.accused()).unwrap(),
            self.omission(),
            Evidence::gossip_equivocation(
                self.state(TreeHead::empty()),
                self.state(self.log.head(2)),
            )
            .unwrap(),
            across.unwrap(),
            Evidence::same_size(
                self.note(one.head(20), &[&self.old_key], NOW),
                self.note(other.head(20), &[&self.old_key], NOW),
            )
            .unwrap(),
        ]
    }

    /// Files with lines that fail, which may shield somebody (EVI-45) and must do so alike.
    fn with_bad_lines(&self) -> Vec<Evidence> {
        let note = |history: &TestLog, bad: &[usize]| {
            let by = [&self.log.key, &self.old_key, &self.witness];
            spoil(&self.note(history.head(20), &by, NOW), bad)
        };
        let bad: [[&[usize]; 2]; 7] = [
            [&[0], &[0]],
            [&[0], &[1]],
            [&[1], &[0]],
            [&[0, 2], &[]],
            [&[], &[0, 1]],
            [&[0, 1], &[2]],
            [&[0, 1, 2], &[]],
        ];
        let mut files: Vec<Evidence> = bad
            .iter()
            .map(|[one, other]| {
                Evidence::same_size(note(&self.log, one), note(&self.fork, other)).unwrap()
            })
            .collect();
        // Two keys of the log, behind two bad lines of a witness.
        let by = |history: &TestLog, key, bad: &[usize]| {
            let note = self.note(history.head(20), &[key, &self.witness, &self.witness], NOW);
            spoil(&note, bad)
        };
        let one = by(&self.log, &self.log.key, &[]);
        let other = by(&self.fork, &self.old_key, &[1, 2]);
        files.push(Evidence::same_size(one, other).unwrap());
        // The same bad lines under longer and longer texts, on either side.
        for lengths in [
            [LONG, 0],
            [LONG + 1, 0],
            [0, LONG + 1],
            [LONG + 1, 3 * LONG],
        ] {
            let [first, second] = [(&self.log, lengths[0]), (&self.fork, lengths[1])];
            let note = |(history, bytes): (&TestLog, usize), bad: &[usize]| {
                let by = [&self.log.key, &self.old_key, &self.witness];
                spoil(&self.note_of(bytes, history.head(20), &by, NOW), bad)
            };
            for [one, other] in bad {
                files.push(Evidence::same_size(note(first, one), note(second, other)).unwrap());
            }
        }
        files
    }

    /// What the Go program is told, and what we know. It verifies no ML-DSA-44.
    fn keys(&self, old: Standing) -> KnownKeys {
        let mut keys = KnownKeys::new();
        let origin = &self.log.origin;
        keys.add_log(origin.clone(), self.log.vkey().clone(), Standing::Current);
        keys.add_log(origin.clone(), self.old_key.verifier_key().clone(), old);
        keys.add_cosigner(self.witness.verifier_key().clone())
            .unwrap();
        let of_the_same = [self.witness.verifier_key().clone()];
        keys.add_gossip(self.gossip.verifier_key().clone(), &of_the_same)
            .unwrap();
        keys
    }

    fn arguments(&self, old: Standing) -> Vec<String> {
        let old_flag = match old {
            Standing::Current => "-log-vkey",
            Standing::Retired => "-retired-vkey",
        };
        let keys = [
            ("-log-vkey", self.log.vkey().to_string()),
            (old_flag, self.old_key.verifier_key().to_string()),
            ("-cosigner-vkey", self.witness.verifier_key().to_string()),
            (
                "-gossip-vkey",
                format!(
                    "{} {}",
                    self.gossip.verifier_key(),
                    self.witness.verifier_key()
                ),
            ),
        ];
        let mut arguments = vec!["-origin".to_owned(), ORIGIN.to_owned()];
        for (flag, key) in keys {
            arguments.extend([flag.to_owned(), key]);
        }
        arguments
    }
}

/// The same note with some of its lines changed, so that they fail.
fn spoil(note: &SignedCheckpoint, places: &[usize]) -> SignedCheckpoint {
    let mut lines = note.signatures().to_vec();
    for &place in places {
        let line = &lines[place];
        let mut signature = line.signature().to_vec();
        signature[9] ^= 1;
        lines[place] = SignatureLine::new(line.name().clone(), line.key_id(), signature).unwrap();
    }
    SignedCheckpoint::new(note.checkpoint().clone(), lines).unwrap()
}

/// The answer for one file, in the words of the Go program.
fn judge(file: &[u8], keys: &KnownKeys) -> String {
    let Ok(evidence) = Evidence::parse(file) else {
        return "refused".to_owned();
    };
    let Ok(verdict) = evidence.verify(keys) else {
        return "refused".to_owned();
    };
    let log = match verdict.log {
        LogFinding::NotShown => "none",
        LogFinding::Guilty => "guilty",
        LogFinding::AcrossKeys { .. } => "across",
        LogFinding::RetiredKey { .. } => "retired",
        LogFinding::Undetermined { .. } => "undetermined",
    };
    let id = hex::encode(verdict.id.as_bytes());
    let mut said = format!("{} {id} {log}", verdict.kind);
    let guilty = verdict.guilty.iter();
    let mut guilty: Vec<String> = guilty
        .map(|guilty| format!("{}:{}", guilty.role.name(), guilty.key))
        .collect();
    guilty.sort_unstable();
    for guilty in guilty {
        write!(said, " {guilty}").unwrap();
    }
    said
}

/// A file and everything that is a line or a bit away from it.
fn mutations(file: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![file.to_vec()];
    let lines: Vec<&[u8]> = file.split_inclusive(|&byte| byte == b'\n').collect();
    for (at, line) in lines.iter().enumerate() {
        let (before, after) = (lines[..at].concat(), lines[at + 1..].concat());
        all.push([&before[..], &after].concat());
        all.push([&before[..], line, line, &after].concat());
        all.push([&before[..], b"\n", line, &after].concat());
        all.push(before.clone());
        if at + 1 < lines.len() {
            let rest = lines[at + 2..].concat();
            all.push([&before[..], lines[at + 1], line, &rest].concat());
        }
    }
    for at in 0..file.len() {
        for bit in [0x01, 0x20, 0x80] {
            let mut other = file.to_vec();
            other[at] ^= bit;
            all.push(other);
        }
    }
    all
}

/// Up to this length of its text a statement may have two lines that fail.
const LONG: usize = 8 * 1024;

// Spec: EVI-54
#[test]
fn a_byte_more_than_8_kib_leaves_one_line_that_may_fail() {
    let cast = Cast::new();
    let keys = cast.keys(Standing::Current);
    let by = [&cast.log.key, &cast.witness];
    let judged = |bytes| {
        let note =
            |history: &TestLog| spoil(&cast.note_of(bytes, history.head(20), &by, NOW), &[0]);
        let evidence = Evidence::same_size(note(&cast.log), note(&cast.fork)).unwrap();
        judge(&evidence.to_bytes(), &keys)
    };
    assert!(judged(LONG).contains(" cosigner:"), "{}", judged(LONG));
    assert_eq!(judged(LONG + 1), "refused");
}

// Spec: EVI-01, EVI-40, EVI-43, EVI-44, EVI-54
#[test]
fn a_verifier_in_go_says_the_same_of_every_file() {
    let Some(program) = build_program() else {
        assert!(
            env::var_os("CI").is_none(),
            "there is no `go` on PATH: `tests/run` installs it"
        );
        println!("cannot run: there is no `go` on PATH (`tests/run` installs it)");
        return;
    };
    let cast = Cast::new();
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<Vec<u8>> = cast.files().iter().map(Evidence::to_bytes).collect();
    let mut corpus: Vec<Vec<u8>> = files.iter().flat_map(|file| mutations(file)).collect();
    corpus.extend(cast.with_bad_lines().iter().map(Evidence::to_bytes));
    let path = folder.path().join("corpus");
    let mut frames = File::create(&path).unwrap();
    for file in &corpus {
        let frame = [format!("{}\n", file.len()).as_bytes(), file].concat();
        frames.write_all(&frame).unwrap();
    }
    drop(frames);
    for old in [Standing::Current, Standing::Retired] {
        let keys = cast.keys(old);
        for file in &files {
            assert_ne!(judge(file, &keys), "refused", "a file that convicts nobody");
        }
        let output = Command::new(&program)
            .arg("evidence")
            .args(cast.arguments(old))
            .stdin(File::open(&path).unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let answers = String::from_utf8(output.stdout).unwrap();
        let answers: Vec<&str> = answers.lines().collect();
        assert_eq!(answers.len(), corpus.len());
        let mut convicted = 0;
        for (file, theirs) in corpus.iter().zip(answers) {
            let ours = judge(file, &keys);
            convicted += usize::from(ours != "refused");
            let same = match ours.as_str() {
                "refused" => theirs.starts_with("refused: "),
                ours => theirs == ours,
            };
            let shown = String::from_utf8_lossy(file);
            assert!(same, "ours: {ours}\ntheirs: {theirs}\n{shown}");
        }
        assert!(convicted > files.len() && convicted < corpus.len() / 2);
        println!("{convicted} of {} files convict somebody", corpus.len());
    }
}

/// Builds the Go program; nothing when there is no Go to build it with.
fn build_program() -> Option<PathBuf> {
    let version = Command::new("go").arg("version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop-evidence");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop"))
        .output()
        .expect("go has just said its version");
    assert!(built.status.success(), "{built:?}");
    Some(program)
}

/// Runs `jurat verify` on a file: exit code and output.
fn verify(file: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_jurat"))
        .arg("verify")
        .arg(file)
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), said)
}

fn verify_json(file: &Path, arguments: &[&str]) -> (i32, Value) {
    let (code, said) = verify(file, &[arguments, &["--json"]].concat());
    let report: Value =
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(report["good"], code == 0, "{report}");
    (code, report["files"][0].clone())
}

// Spec: EVI-11, EVI-40
#[test]
fn verify_tells_who_is_guilty_and_by_which_two_statements() {
    let cast = Cast::new();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let file = path("fork.tlog-fork");
    fs::write(&file, cast.opening().to_bytes()).unwrap();
    let log_key = cast.log.vkey().to_string();
    let witness_key = cast.witness.verifier_key().to_string();
    let policy = path("policy");
    let text = format!("log {log_key}\nwitness w1 {witness_key}\nquorum none\n");
    fs::write(&policy, text).unwrap();
    let policy = policy.to_str().unwrap();

    let (code, row) = verify_json(&file, &["--policy", policy]);
    assert_eq!(code, 0, "{row}");
    let proven = &row["proven"];
    assert_eq!(proven["kind"], "evidence");
    assert_eq!(proven["contradiction"], "opening");
    assert_eq!(proven["log"], ORIGIN);
    assert_eq!(proven["log_forked"], true);
    assert_eq!(proven["id"], hex::encode(cast.opening().id().as_bytes()));
    let fork = cast.fork.head(13).root_hash.to_base64();
    assert_eq!(proven["opened_root"], fork);
    let statement = |place: usize| {
        let said = &proven["statements"][place];
        (
            said["size"].as_u64().unwrap(),
            said["root_hash"].as_str().unwrap().to_owned(),
        )
    };
    assert_eq!(statement(0), (13, cast.log.head(13).root_hash.to_base64()));
    assert_eq!(statement(1), (30, cast.fork.head(30).root_hash.to_base64()));
    let guilty = proven["guilty"].as_array().unwrap();
    let guilty: Vec<(&str, &str)> = guilty
        .iter()
        .map(|row| (row["role"].as_str().unwrap(), row["key"].as_str().unwrap()))
        .collect();
    assert_eq!(guilty, [("log", &*log_key), ("cosigner", &*witness_key)]);

    let (code, said) = verify(&file, &["--log-key", &log_key]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains(&format!("PROVEN: {ORIGIN} forked.")),
        "{said}"
    );
    for part in [
        "A: ",
        "size 13",
        "B: ",
        "size 30",
        &*fork,
        "convicted: the log key",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!said.contains("cosigner key"), "{said}");
}

// Spec: EVI-13, EVI-14, EVI-15, EVI-16, EVI-40, EVI-41
#[test]
fn verify_takes_every_kind_and_says_what_it_is_not_told_the_keys_of() {
    let cast = Cast::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("some.tlog-fork");
    let log_key = cast.log.vkey().to_string();
    let keys = [
        cast.witness.verifier_key().to_string(),
        cast.gossip.verifier_key().to_string(),
    ];
    let mut arguments = vec!["--log-key", &*log_key];
    for key in &keys {
        arguments.extend(["--key", key]);
    }
    let old = cast.old_key.verifier_key().to_string();
    let stranger = key("stranger.example", Algorithm::CosignatureV1);
    let stranger = stranger.verifier_key().to_string();
    for evidence in cast.files() {
        fs::write(&file, evidence.to_bytes()).unwrap();
        let kind = evidence.kind();
        // A key of the log may have another name than the log.
        let (code, row) = verify_json(&file, &[&arguments[..], &["--log-key", &old]].concat());
        assert_eq!(code, 0, "{kind}: {row}");
        assert_eq!(row["proven"]["contradiction"], kind.name());
        let (code, said) = verify(&file, &["--key", &stranger]);
        assert_eq!(code, 1, "{said}");
        assert!(
            said.contains("NOT GOOD") && said.contains("known key"),
            "{said}"
        );
    }
    // One byte, and it is nothing any more; without any key, it is a mistake of the caller's.
    let mut bytes = cast.opening().to_bytes();
    bytes[30] ^= 1;
    fs::write(&file, bytes).unwrap();
    let (code, said) = verify(&file, &arguments);
    assert_eq!(code, 1, "{said}");
    assert_eq!(verify(&file, &[]).0, 64);
}

// Spec: EVI-43, EVI-47, POL-32
#[test]
fn a_key_that_the_log_has_done_with_does_not_convict_it() {
    let cast = Cast::new();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let old_key = key(ORIGIN, Algorithm::MlDsa44);
    let by = |tree: &TestLog, keys: &[&SigningKey]| cast.note(tree.head(20), keys, NOW);
    let [stolen, across] = ["stolen.tlog-fork", "across.tlog-fork"].map(path);
    let (a, b) = (&cast.log, &cast.fork);
    let both = Evidence::same_size(by(a, &[&old_key]), by(b, &[&old_key])).unwrap();
    let mixed = Evidence::same_size(by(a, &[&cast.log.key]), by(b, &[&old_key])).unwrap();
    fs::write(&stolen, both.to_bytes()).unwrap();
    fs::write(&across, mixed.to_bytes()).unwrap();
    let (new, old) = (
        cast.log.vkey().to_string(),
        old_key.verifier_key().to_string(),
    );
    let policy = |marked: &str| {
        let text = format!("log {new}\nlog {old}\n{marked}quorum none\n");
        fs::write(path("policy"), text).unwrap();
        path("policy").to_str().unwrap().to_owned()
    };
    let current = policy("");
    for file in [&stolen, &across] {
        assert_eq!(verify(file, &["--policy", &current]).0, 0);
        let arguments = ["--policy", &current, "--retired-log-key", &old];
        let (code, said) = verify(file, &arguments);
        assert_eq!(code, 1, "{said}");
        let named = format!("{ORIGIN}+{}", old_key.verifier_key().key_id());
        assert!(
            said.contains("not determined") && said.contains(&named),
            "{said}"
        );
    }
    let marked = policy(&format!("#jurat:retired {old}\n"));
    for file in [&stolen, &across] {
        let (code, said) = verify(file, &["--policy", &marked]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("not determined"), "{said}");
    }
    // A cosigner's key that is named like the log is a cosigner's.
    let posing = key(ORIGIN, Algorithm::CosignatureV1);
    let forks = Evidence::same_size(by(a, &[&posing]), by(b, &[&posing])).unwrap();
    fs::write(&stolen, forks.to_bytes()).unwrap();
    let posing = posing.verifier_key().to_string();
    let (code, row) = verify_json(&stolen, &["--key", &posing]);
    assert_eq!(code, 0, "{row}");
    assert_eq!(row["proven"]["log_forked"], false);
    assert_eq!(row["proven"]["guilty"][0]["role"], "cosigner");
}

// Spec: EVI-47, GSP-10, POL-33
#[test]
fn a_gossip_key_is_of_the_witness_that_the_policy_says() {
    let cast = Cast::new();
    let folder = tempfile::tempdir().unwrap();
    let (file, policy) = (
        folder.path().join("o.tlog-fork"),
        folder.path().join("policy"),
    );
    fs::write(&file, cast.omission().to_bytes()).unwrap();
    let gossip = cast.gossip.verifier_key().to_string();
    let other = key("w1.example", Algorithm::MlDsa44);
    let witnesses = format!(
        "witness w1 {}\nwitness w1-ml {}\n",
        cast.witness.verifier_key(),
        other.verifier_key()
    );
    let policy_with = |line: &str| {
        fs::write(&policy, format!("{witnesses}{line}quorum none\n")).unwrap();
        let policy = policy.to_str().unwrap();
        verify(&file, &["--policy", policy])
    };
    let (code, said) = policy_with(&format!("#jurat:gossip {gossip} w1 w1-ml\n"));
    assert_eq!(code, 0, "{said}");
    // Of one name, and not of one witness.
    assert_eq!(policy_with(&format!("#jurat:gossip {gossip} w1-ml\n")).0, 1);
    let (code, said) = verify(
        &file,
        &["--policy", policy.to_str().unwrap(), "--key", &gossip],
    );
    assert_eq!(code, 1, "{said}");
    for line in ["#jurat:gossip x w1\n", "#jurat:gossip\n", "#jurat:what\n"] {
        assert_eq!(policy_with(line).0, 64, "{line}");
    }
}

// Spec: GSP-73
#[test]
fn the_demonstration_of_a_fork_ends_with_a_command_that_verifies_it() {
    let folder = tempfile::tempdir().unwrap();
    // As people name folders.
    let folder = folder.path().join("it's a demo");
    let output = Command::new(env!("CARGO_BIN_EXE_jurat"))
        .args(["demo", "--fork", "--once", "--dir"])
        .arg(&folder)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{:?}", output.stderr);
    assert_eq!(said.matches("  403  ").count(), 3, "{said}");
    let command = said.trim_end().lines().next_back().unwrap();
    let verified = Command::new("sh").args(["-c", command]).output().unwrap();
    let said = String::from_utf8(verified.stdout).unwrap();
    assert!(verified.status.success(), "{said}");
    assert!(
        said.contains("PROVEN: demo.example/payroll-audit forked."),
        "{said}"
    );
}
