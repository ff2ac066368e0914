//! A memory that was put back to what it was is noticed by others, before anything is signed.
//!
//! Spec: WIT-80, WIT-81, WIT-82, WIT-83, WIT-84, WIT-85, WIT-86, WIT-87.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod rig;

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::cosignature::cosign;
use jurat_proto::key::{KeyName, Signer as _, UnixSeconds};
use jurat_store::registry::HoldCause;
use jurat_witness::heads::Latest;
use jurat_witness::restore::{Finding, Keys, Unusable, judge};

use rig::{Home, Process, TestLog, until, verified};

/// Files over HTTP, as a CDN would serve them.
struct Published {
    address: SocketAddr,
    files: Arc<Mutex<HashMap<String, Vec<u8>>>>,
}

impl Published {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let files = Arc::new(Mutex::new(HashMap::<String, Vec<u8>>::new()));
        let served = Arc::clone(&files);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut lines = Vec::new();
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).unwrap_or(0) <= 2 {
                        break;
                    }
                    lines.push(line);
                }
                let path = lines.first().and_then(|line| line.split(' ').nth(1));
                let file = path.and_then(|path| served.lock().unwrap().get(path).cloned());
                let (status, body) = file.map_or((404, Vec::new()), |file| (200, file));
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                );
                let _ = stream.get_mut().write_all(head.as_bytes());
                let _ = stream.get_mut().write_all(&body);
            }
        });
        Self { address, files }
    }

    fn publish(&self, path: String, file: Vec<u8>) {
        self.files.lock().unwrap().insert(path, file);
    }
}

fn configure(home: &Home, table: &str) {
    let mut config = fs::read_to_string(home.config()).unwrap();
    config.push_str("\n[restore_guard]\n");
    config.push_str(table);
    fs::write(home.config(), config).unwrap();
}

const STATE: [&str; 3] = ["witness.redb", "witness.redb.wal-0", "witness.redb.wal-1"];

fn copy_state(home: &Home) -> Vec<Vec<u8>> {
    STATE.map(|file| fs::read(home.path(file)).unwrap()).into()
}

fn put_back(home: &Home, state: &[Vec<u8>]) {
    for (file, bytes) in STATE.iter().zip(state) {
        fs::write(home.path(file), bytes).unwrap();
    }
}

fn stored_size(process: &Process, log: &TestLog) -> u64 {
    let stored = process.get(&log.checkpoint_path());
    let note = SignedCheckpoint::parse(&stored.body).unwrap();
    note.head().size.get()
}

fn resolve(home: &Home, log: &TestLog, how: &str) -> std::process::Output {
    let origin = log.origin.as_str();
    home.logs(&["resolve", origin, how, "--reason", "a test"])
}

#[test]
fn an_older_copy_of_the_state_signs_nothing_until_its_operator_decides() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let fork = log.fork(5);
    let (home, published) = (Home::new(), Published::new());
    home.add_log(&log);
    configure(
        &home,
        &format!("own = [\"http://{}\"]\n", published.address),
    );
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 200);
    assert!(process.terminate().success());
    let old = copy_state(&home);
    let process = home.serve();
    assert_eq!(process.add(&log.request(5, 9)).status, 200);
    let newest = process.get(&log.checkpoint_path()).body;
    published.publish(log.checkpoint_path(), newest);
    assert!(process.terminate().success());

    put_back(&home, &old);
    let process = home.serve();
    // Both branches: the one that we know, and the one that an attacker would like.
    for body in [log.request(5, 9), fork.request(5, 6), log.request(5, 5)] {
        let answer = process.add(&body);
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(
            answer.text().contains("cosigned size 9"),
            "{}",
            answer.text()
        );
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(stored_size(&process, &log), 5);
    let text = process.get("/metrics").text().to_owned();
    assert!(text.contains("source=\"own\",answer=\"Ours\""), "{text}");
    until(|| {
        process
            .get("/metrics")
            .text()
            .contains("jurat_witness_logs_held 1")
    });
    assert!(process.terminate().success());

    // It is durable: after another start nobody has to be asked again.
    published.files.lock().unwrap().clear();
    let process = home.serve();
    assert_eq!(process.add(&log.request(5, 9)).status, 503);
    let held = home.logs(&["list", "--held"]);
    let held = String::from_utf8(held.stdout).unwrap();
    assert!(held.contains("example.com/log"), "{held}");
    assert!(resolve(&home, &log, "--adopt").status.success());
    until(|| stored_size(&process, &log) == 9);
    until(|| process.add(&log.request(9, 12)).status == 200);
    assert_eq!(process.add(&fork.request(5, 6)).status, 409);
    let journal = home.logs(&["journal"]);
    let journal = String::from_utf8(journal.stdout).unwrap();
    assert!(journal.contains("restore guard"), "{journal}");
    assert!(home.logs(&["journal", "--check"]).status.success());
}

/// No witness can see by itself that its memory is an old one: this is what the guard is for, and
/// why nobody may put a copy back without it.
#[test]
fn without_the_guard_an_older_copy_of_the_state_signs_another_branch() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let fork = log.fork(5);
    let home = Home::new();
    home.add_log(&log);
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 200);
    assert!(process.terminate().success());
    let old = copy_state(&home);
    let process = home.serve();
    assert_eq!(process.add(&log.request(5, 9)).status, 200);
    assert!(process.terminate().success());
    put_back(&home, &old);
    let process = home.serve();
    assert_eq!(stored_size(&process, &log), 5);
    let answer = process.add(&fork.request(5, 6));
    assert_eq!(answer.status, 200, "{}", answer.text());
    verified(&answer.body, &fork.checkpoint(6), &home.keys);
    // Files of two moments are refused all the same: the newer log with the older store.
    let mut process = process;
    process.kill();
    let newer = copy_state(&home);
    put_back(&home, &[&old[..1], &newer[1..]].concat());
    let output = rig::run(&["serve", "--config", &home.config()]);
    assert_eq!(output.status.code(), Some(74), "{output:?}");
}

#[test]
fn what_another_witness_has_is_explained_by_the_log_or_decided_by_the_operator() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let fork = log.fork(5);
    let (ours, theirs) = (Home::new(), Home::new());
    ours.add_log(&log);
    theirs.add_log(&log);
    let process = ours.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 200);
    assert!(process.terminate().success());
    let peer = theirs.serve();
    assert_eq!(peer.add(&log.request(0, 8)).status, 200);
    let keys: Vec<String> = theirs.keys.iter().map(|key| format!("\"{key}\"")).collect();
    let table = format!(
        "[[restore_guard.peer]]\nmonitoring_url = \"http://{}\"\nkeys = [{}]\n",
        peer.address,
        keys.join(", ")
    );
    configure(&ours, &table);

    // Behind the other witness, before the first signature since the start.
    let process = ours.serve();
    let answer = process.add(&log.request(5, 7));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("another witness cosigned size 8"));
    let refused = resolve(&ours, &log, "--adopt");
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
    // A branch is not explained by being large.
    assert_eq!(process.add(&fork.request(5, 6)).status, 503);
    assert_eq!(process.add(&log.request(5, 9)).status, 503);
    // The tree that the other one has explains it.
    let answer = process.add(&log.request(5, 8));
    assert_eq!(answer.status, 200, "{}", answer.text());
    verified(&answer.body, &log.checkpoint(8), &ours.keys);
    // From then on it is as it should be that others are ahead.
    assert_eq!(peer.add(&log.request(8, 12)).status, 200);
    assert_eq!(process.add(&log.request(8, 9)).status, 200);
    assert!(process.terminate().success());

    // After another start it is held again; this time the operator decides.
    let process = ours.serve();
    assert_eq!(process.add(&log.request(9, 10)).status, 503);
    assert!(resolve(&ours, &log, "--dismiss").status.success());
    until(|| process.add(&log.request(9, 10)).status == 200);
    let again = resolve(&ours, &log, "--dismiss");
    assert_eq!(again.status.code(), Some(64), "{again:?}");
}

#[test]
fn two_trees_of_one_size_hold_the_log_whoever_shows_the_other() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let fork = log.fork(5);
    let (home, published) = (Home::new(), Published::new());
    let (vkey, config) = (log.vkey().to_string(), home.config());
    let url = format!("http://{}/checkpoint", published.address);
    let output = rig::run(&["logs", "add", &vkey, "--url", &url, "--config", &config]);
    assert!(output.status.success(), "{output:?}");
    published.publish("/checkpoint".to_owned(), fork.checkpoint(6).to_bytes());
    configure(&home, "logs_per_second = 1000\n");
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 6)).status, 200);
    assert!(process.terminate().success());
    // The log shows another tree than the one that it had cosigned; nobody submitted it.
    let process = home.serve();
    until(|| process.add(&log.request(6, 6)).status == 503);
    let answer = process.add(&log.request(6, 7));
    assert!(
        answer.text().contains("two trees of size 6"),
        "{}",
        answer.text()
    );
    assert_eq!(resolve(&home, &log, "--adopt").status.code(), Some(64));
    assert!(resolve(&home, &log, "--dismiss").status.success());
    until(|| process.add(&log.request(6, 7)).status == 200);
    // The same evidence does not hold it again, also after another start.
    assert!(process.terminate().success());
    let process = home.serve();
    assert_eq!(process.add(&log.request(7, 8)).status, 200);
}

#[test]
fn who_does_not_answer_holds_nothing_unless_the_operator_wants_it() {
    let mut log = TestLog::new("example.com/log");
    log.grow(5);
    let home = Home::new();
    home.add_log(&log);
    // Bound and closed again: nobody listens there.
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    configure(&home, &format!("own = [\"http://{nobody}\"]\n"));
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 1)).status, 200);
    assert!(process.terminate().success());
    let config = fs::read_to_string(home.config()).unwrap();
    fs::write(home.config(), format!("{config}answers_min = 1\n")).unwrap();
    let process = home.serve();
    let answer = process.add(&log.request(1, 2));
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("0 of 1"), "{}", answer.text());
    // It holds nothing durably.
    let held = home.logs(&["list", "--held"]);
    assert!(held.stdout.is_empty(), "{held:?}");
}

#[test]
fn a_file_of_the_state_that_is_replaced_ends_the_process() {
    let mut log = TestLog::new("example.com/log");
    log.grow(5);
    for file in STATE {
        let home = Home::new();
        home.add_log(&log);
        let mut process = home.serve();
        assert_eq!(process.add(&log.request(0, 1)).status, 200);
        let copy = home.path("copy");
        fs::copy(home.path(file), &copy).unwrap();
        fs::rename(&copy, home.path(file)).unwrap();
        until(|| process.child.try_wait().unwrap().is_some());
        let code = process.child.wait().unwrap().code();
        assert_eq!(code, Some(74), "{file}");
    }
}

/// What the cases of [`judge`] are made of.
struct Court {
    log: TestLog,
    fork: TestLog,
    own: SigningKey,
    peer: SigningKey,
}

impl Court {
    fn new() -> Self {
        let mut log = TestLog::new("example.com/log");
        log.grow(20);
        let fork = log.fork(5);
        let key = |name: &str| {
            let name = KeyName::parse(name).unwrap();
            SigningKey::generate(name, Algorithm::CosignatureV1).unwrap()
        };
        let (own, peer) = (key("own"), key("peer"));
        Self {
            log,
            fork,
            own,
            peer,
        }
    }

    fn latest(&self, size: u64) -> Latest {
        let head = self.log.head(size);
        let time = UnixSeconds::new(1_000).unwrap();
        Latest { head, time }
    }

    /// A checkpoint with a cosignature by each of these keys.
    fn shown(checkpoint: &SignedCheckpoint, signers: &[(&SigningKey, u64)]) -> Vec<u8> {
        let line = |&(key, at): &(&SigningKey, u64)| {
            let time = UnixSeconds::new(at).unwrap();
            cosign(checkpoint.checkpoint(), time, key).unwrap()
        };
        let lines: Vec<_> = signers.iter().map(line).collect();
        checkpoint.with_signatures(&[0], &lines).unwrap().to_bytes()
    }

    fn by_own(&self, size: u64, at: u64) -> Vec<u8> {
        Self::shown(
            &self.log.checkpoint(size),
            &[(&self.own, at), (&self.peer, at)],
        )
    }

    fn by_peer(&self, size: u64, at: u64) -> Vec<u8> {
        Self::shown(&self.log.checkpoint(size), &[(&self.peer, at)])
    }

    fn look(&self, note: &[u8], by: By, latest: Option<Latest>) -> Result<Finding, Unusable> {
        let (own, peer) = (self.own.verifier_key(), self.peer.verifier_key());
        let keys = Keys {
            log: std::slice::from_ref(self.log.vkey()),
            own: std::slice::from_ref(own),
            peer: (by == By::Witness).then_some(std::slice::from_ref(peer)),
        };
        judge(note, &self.log.origin, keys, latest)
    }

    fn cause(&self, note: &[u8], by: By, latest: Option<Latest>) -> Option<HoldCause> {
        match self.look(note, by, latest).unwrap() {
            Finding::Evidence(evidence) => {
                // The evidence stands by itself.
                let note = SignedCheckpoint::parse(evidence.note.as_bytes()).unwrap();
                assert_eq!(note.head(), evidence.head);
                let log = std::slice::from_ref(self.log.vkey());
                assert!(note.verify_signatures(log).is_ok());
                Some(evidence.cause)
            }
            Finding::Known | Finding::Ahead => None,
        }
    }
}

/// Who shows a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Witness,
    Anybody,
}

// Spec: WIT-80, WIT-81
#[test]
fn what_we_cosigned_and_do_not_remember_is_evidence() {
    let court = Court::new();
    let latest = Some(court.latest(5));
    let cause = |size, at| court.cause(&court.by_own(size, at), By::Anybody, latest);
    // Larger, or later, or where we remember nothing.
    assert_eq!(cause(6, 900), Some(HoldCause::Ours));
    assert_eq!(cause(5, 1_001), Some(HoldCause::Ours));
    assert_eq!(cause(4, 1_001), Some(HoldCause::Ours));
    let forgotten = court.cause(&court.by_own(1, 1), By::Anybody, None);
    assert_eq!(forgotten, Some(HoldCause::Ours));
    assert_eq!(cause(5, 1_000), None);
    assert_eq!(cause(4, 999), None);
}

// Spec: WIT-80, WIT-81
#[test]
fn a_larger_tree_is_evidence_only_from_a_witness_and_another_root_from_anybody() {
    let court = Court::new();
    let latest = Some(court.latest(5));
    let six = court.by_peer(6, 900);
    assert_eq!(
        court.cause(&six, By::Witness, latest),
        Some(HoldCause::Peer)
    );
    assert_eq!(court.look(&six, By::Anybody, latest), Ok(Finding::Ahead));
    let five = court.by_peer(5, 2_000);
    assert_eq!(court.look(&five, By::Witness, latest), Ok(Finding::Known));
    assert_eq!(court.look(&six, By::Anybody, None), Ok(Finding::Ahead));
    let forked = court.fork.checkpoint(6).to_bytes();
    let fork = court.cause(&forked, By::Anybody, Some(court.latest(6)));
    assert_eq!(fork, Some(HoldCause::Fork));
    assert_eq!(court.look(&forked, By::Anybody, latest), Ok(Finding::Ahead));
}

// Spec: WIT-80
#[test]
fn nobody_without_the_keys_can_hold_a_log() {
    let court = Court::new();
    let latest = Some(court.latest(5));
    let not_signed = |note: &[u8], by| {
        let said = court.look(note, by, latest);
        matches!(said, Err(Unusable::NotSigned { .. }))
    };
    assert!(not_signed(&court.log.checkpoint(6).to_bytes(), By::Witness));
    let stranger = TestLog::new("example.com/log").sign(court.log.head(9));
    assert!(not_signed(
        &Court::shown(&stranger, &[(&court.own, 5_000)]),
        By::Anybody
    ));
    let other = TestLog::new("example.com/other").sign(court.log.head(9));
    let other = court.look(&other.to_bytes(), By::Anybody, latest);
    assert!(matches!(other, Err(Unusable::OtherLog { .. })));
    let mut bent = court.by_own(6, 900);
    let end = bent.len() - 10;
    bent[end] = if bent[end] == b'A' { b'B' } else { b'A' };
    let bent = court.look(&bent, By::Witness, latest);
    assert!(matches!(bent, Err(Unusable::Signatures(_))));
    let none = court.look(b"nothing", By::Anybody, None);
    assert!(matches!(none, Err(Unusable::NoCheckpoint(_))));
}
