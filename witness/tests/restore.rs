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
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::cosignature::cosign;
use jurat_proto::evidence::{Evidence, KnownKeys, Standing};
use jurat_proto::key::{KeyName, Signer as _, UnixSeconds, VerifierKey};
use jurat_proto::proof::{ConsistencyProof, Subtree};
use jurat_proto::sign_subtree::SignSubtree;
use jurat_store::registry::{Hold, HoldCause};
use jurat_witness::heads::Latest;
use jurat_witness::restore::{Finding, Keys, Unusable, evidence_id, judge};

use rig::{Home, NAME, Process, TestLog, until, verified};

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

/// What is in the files, and last what the name beside them is.
fn copy_state(home: &Home) -> Vec<Vec<u8>> {
    let files = STATE.map(|file| fs::read(home.path(file)).unwrap());
    let name = name_beside(home).into_bytes();
    files.into_iter().chain([name]).collect()
}

/// As when the whole machine is put back: they are the same files, and the name is the same file
/// under the name that it had, so the state does not say by itself that it is older.
fn put_back(home: &Home, state: &[Vec<u8>]) {
    for (file, bytes) in STATE.iter().zip(state) {
        fs::write(home.path(file), bytes).unwrap();
    }
    let was = String::from_utf8(state[STATE.len()].clone()).unwrap();
    fs::rename(home.path(&name_beside(home)), home.path(&was)).unwrap();
}

/// The name that says how far the state went.
fn name_beside(home: &Home) -> String {
    let files = fs::read_dir(home.path("")).unwrap();
    let mut names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.find(|name| name.contains(".reached-")).unwrap()
}

fn stored_size(process: &Process, log: &TestLog) -> u64 {
    let stored = process.get(&log.checkpoint_path());
    let note = SignedCheckpoint::parse(&stored.body).unwrap();
    note.head().size.get()
}

/// Decides on a hold, once it is in the list: it is in force before.
fn resolve(home: &Home, log: &TestLog, how: &str) -> std::process::Output {
    until(|| !held(home).is_empty());
    let origin = log.origin.as_str();
    home.logs(&["resolve", origin, how, "--reason", "a test"])
}

fn held(home: &Home) -> String {
    String::from_utf8(home.logs(&["list", "--held"]).stdout).unwrap()
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
    let held = held(&home);
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

/// What a new witness can compare with, before its operator names anybody: the logs themselves.
// Spec: WIT-82, WIT-88
#[test]
fn by_default_an_older_copy_is_refused_where_the_log_shows_its_checkpoint_and_else_warned_of() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let fork = log.fork(5);
    let (home, published) = (Home::new(), Published::new());
    let url = format!("http://{}/checkpoint", published.address);
    let vkey = log.vkey().to_string();
    assert!(home.logs(&["add", &vkey, "--url", &url]).status.success());
    published.publish("/checkpoint".to_owned(), log.checkpoint(5).to_bytes());
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 200);
    let off = "jurat_witness_restore_guard_sources 0\n";
    assert!(process.get("/metrics").text().contains(off));
    assert!(process.terminate().success());
    let old = copy_state(&home);
    let process = home.serve();
    assert_eq!(process.add(&log.request(5, 9)).status, 200);
    assert!(process.terminate().success());
    published.publish("/checkpoint".to_owned(), log.checkpoint(9).to_bytes());
    put_back(&home, &old);
    let process = home.serve();
    for body in [fork.request(5, 6), log.request(5, 9)] {
        assert_eq!(process.add(&body).status, 503);
    }
    assert!(held(&home).contains("example.com/log"));
    drop(process);

    let warns = |home: &Home| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jurat-witness"));
        let lines = home.path("stderr");
        command.stderr(fs::File::create(&lines).unwrap());
        let process = Process::spawn(command, Path::new(&home.config()));
        assert!(process.terminate().success());
        let said = fs::read_to_string(lines).unwrap();
        said.contains("[restore_guard] names nobody to ask")
    };
    assert!(warns(&home));
    configure(
        &home,
        &format!("own = [\"http://{}\"]\n", published.address),
    );
    assert!(!warns(&home));
}

/// No witness can see by itself that its whole machine was put back, with what it says of itself:
/// this is what the guard asks others for.
#[test]
fn without_the_guard_an_older_copy_of_the_machine_signs_another_branch() {
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
    assert_eq!(output.status.code(), Some(65), "{output:?}");
}

/// Our witness at 5 and another one, which it asks, at 8; neither serves yet but the other.
fn behind_another(log: &TestLog, more: &str) -> (Home, Home, Process) {
    let (ours, theirs) = (Home::new(), Home::new());
    ours.add_log(log);
    theirs.add_log(log);
    let process = ours.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 200);
    assert!(process.terminate().success());
    let peer = theirs.serve();
    assert_eq!(peer.add(&log.request(0, 8)).status, 200);
    let keys: Vec<String> = theirs.keys.iter().map(|key| format!("\"{key}\"")).collect();
    let table = format!(
        "{more}[[restore_guard.peer]]\nmonitoring_url = \"http://{}\"\nkeys = [{}]\n",
        peer.address,
        keys.join(", ")
    );
    configure(&ours, &table);
    (ours, theirs, peer)
}

#[test]
fn what_another_witness_has_is_decided_by_the_operator_and_by_no_submission() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let fork = log.fork(5);
    let (ours, _theirs, peer) = behind_another(&log, "");

    // Behind the other witness, before the first signature since the start.
    let process = ours.serve();
    let answer = process.add(&log.request(5, 7));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("another witness cosigned size 8"));
    let refused = resolve(&ours, &log, "--adopt");
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
    // No submission explains it: not a branch, not a larger tree, and not the very tree of the
    // other witness, which who wants us to forget 9 would show first.
    for body in [fork.request(5, 6), log.request(5, 9), log.request(5, 8)] {
        assert_eq!(process.add(&body).status, 503);
    }
    assert_eq!(stored_size(&process, &log), 5);
    assert!(resolve(&ours, &log, "--dismiss").status.success());
    until(|| process.add(&log.request(5, 7)).status == 200);
    // From then on it is as it should be that others are ahead.
    assert_eq!(peer.add(&log.request(8, 12)).status, 200);
    assert_eq!(process.add(&log.request(7, 9)).status, 200);
    assert!(process.terminate().success());

    // After another start it is held again; this time the operator decides on all such logs.
    let process = ours.serve();
    assert_eq!(process.add(&log.request(9, 10)).status, 503);
    let all = [
        "resolve",
        "--all-ahead",
        "--dismiss",
        "--reason",
        "an outage",
    ];
    let decided = ours.logs(&all);
    assert!(decided.status.success(), "{decided:?}");
    let text = String::from_utf8(decided.stdout).unwrap();
    assert!(text.contains("1 log"), "{text}");
    until(|| process.add(&log.request(9, 10)).status == 200);
    let origin = log.origin.as_str();
    let again = ours.logs(&["resolve", origin, "--dismiss", "--reason", "again"]);
    assert_eq!(again.status.code(), Some(64), "{again:?}");
    // Why, too, is in the journal.
    let journal = String::from_utf8(ours.logs(&["journal"]).stdout).unwrap();
    assert!(journal.contains("a test"), "{journal}");
    assert!(journal.contains("an outage"), "{journal}");
    assert!(ours.logs(&["journal", "--check"]).status.success());
}

#[test]
fn what_we_published_last_says_that_others_being_ahead_is_no_rollback() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let published = Published::new();
    let own = format!("own = [\"http://{}\"]\n", published.address);
    let (ours, _theirs, _peer) = behind_another(&log, &own);
    // What we published is not there yet, which is no answer.
    let process = ours.serve();
    let answer = process.add(&log.request(5, 7));
    assert_eq!(answer.status, 503, "{}", answer.text());
    let newest = process.get(&log.checkpoint_path()).body;
    published.publish(log.checkpoint_path(), newest);
    // Exactly what we remember: the log is free again by itself.
    until(|| process.add(&log.request(5, 7)).status == 200);
    assert_eq!(held(&ours), "");
    let newest = process.get(&log.checkpoint_path()).body;
    published.publish(log.checkpoint_path(), newest);
    assert!(process.terminate().success());
    let process = ours.serve();
    assert_eq!(process.add(&log.request(7, 8)).status, 200);
    let journal = String::from_utf8(ours.logs(&["journal"]).stdout).unwrap();
    assert_eq!(journal.matches(" held ").count(), 1, "{journal}");
}

#[test]
fn a_log_that_is_new_here_is_free_where_what_we_published_is_known_to_be() {
    let (mut log, mut new) = (TestLog::new("example.com/a"), TestLog::new("example.com/b"));
    log.grow(20);
    new.grow(20);
    let published = Published::new();
    let own = format!("own = [\"http://{}\"]\n", published.address);
    let (ours, theirs, peer) = behind_another(&log, &own);
    ours.add_log(&new);
    theirs.add_log(&new);
    until(|| peer.add(&new.request(0, 8)).status == 200);
    // Nothing says that this is where our checkpoints are.
    let process = ours.serve();
    let answer = process.add(&new.request(0, 5));
    assert_eq!(answer.status, 503, "{}", answer.text());
    let newest = process.get(&log.checkpoint_path()).body;
    published.publish(log.checkpoint_path(), newest);
    assert_eq!(process.add(&log.request(5, 7)).status, 200);
    until(|| process.add(&new.request(0, 5)).status == 200);
}

#[test]
fn an_operator_may_want_to_be_told_and_not_held_when_others_are_ahead() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let more = "ahead = \"report\"\nlogs_per_second = 1000\n";
    let (ours, _theirs, _peer) = behind_another(&log, more);
    let process = ours.serve();
    let answer = process.add(&log.request(5, 7));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = process.get("/metrics").text().to_owned();
    let counted = "jurat_witness_restore_guard_answers_total{source=\"peer\",answer=\"Ahead\"} 0";
    assert!(!text.contains(counted), "{text}");
    // The background asks them too, holds nothing, and says how far ahead they are.
    let no_lag = "jurat_witness_restore_guard_lag{source=\"peer\"} 0";
    until(|| !process.get("/metrics").text().contains(no_lag));
    assert_eq!(process.add(&log.request(7, 8)).status, 200);
}

#[test]
fn a_log_is_asked_about_itself_when_there_is_nobody_else() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let (home, published) = (Home::new(), Published::new());
    let (vkey, config) = (log.vkey().to_string(), home.config());
    let url = format!("http://{}/checkpoint", published.address);
    let output = rig::run(&["logs", "add", &vkey, "--url", &url, "--config", &config]);
    assert!(output.status.success(), "{output:?}");
    published.publish("/checkpoint".to_owned(), log.checkpoint(9).to_bytes());
    // A log that is new here is ahead of us, as every log once was.
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 200);
    assert!(process.terminate().success());
    let process = home.serve();
    let answer = process.add(&log.request(5, 9));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("the log signed size 9"));
    assert!(resolve(&home, &log, "--dismiss").status.success());
    until(|| process.add(&log.request(5, 9)).status == 200);
}

#[test]
fn who_is_named_while_it_runs_is_not_asked_before_a_first_signature_that_was_made() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let (home, published) = (Home::new(), Published::new());
    home.add_log(&log);
    home.add_log(&TestLog::new("example.com/other"));
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 200);
    published.publish("/checkpoint".to_owned(), log.checkpoint(9).to_bytes());
    let url = format!("http://{}/checkpoint", published.address);
    let vkey = log.vkey().to_string();
    assert!(home.logs(&["add", &vkey, "--url", &url]).status.success());
    // The change before this one is known when this one is.
    let off = home.logs(&["disable", "example.com/other"]);
    assert!(off.status.success(), "{off:?}");
    let disabled = "jurat_witness_logs_disabled 1";
    until(|| process.get("/metrics").text().contains(disabled));
    assert_eq!(process.add(&log.request(5, 7)).status, 200);
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
    configure(&home, "logs_per_second = 1000\n");
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 6)).status, 200);
    assert!(process.terminate().success());
    // The log shows another tree than the one that it had cosigned; nobody submitted it.
    published.publish("/checkpoint".to_owned(), fork.checkpoint(6).to_bytes());
    let process = home.serve();
    // Spec: WIT-120, WIT-128. It convicts the log, whatever we remember.
    until(|| process.add(&log.request(6, 6)).status == 403);
    until(|| held(&home).contains("two trees of size 6"));
    let mut files = fs::read_dir(home.path("evidence")).unwrap();
    let files = files.find_map(|file| {
        let path = file.unwrap().path();
        (path.extension()? == "tlog-fork").then_some(path)
    });
    let evidence = Evidence::parse(&fs::read(files.unwrap()).unwrap()).unwrap();
    let mut keys = KnownKeys::new();
    keys.add_log(log.origin.clone(), log.vkey().clone(), Standing::Current);
    assert!(evidence.verify(&keys).unwrap().convicts_log());
    assert_eq!(resolve(&home, &log, "--adopt").status.code(), Some(64));
    assert!(resolve(&home, &log, "--dismiss").status.success());
    // The same evidence does not hold it again, also after another start; what convicted it lasts.
    assert!(process.terminate().success());
    let process = home.serve();
    assert_eq!(process.add(&log.request(6, 7)).status, 403);
    assert_eq!(held(&home), "");
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
    assert_eq!(held(&home), "");
}

#[test]
fn a_place_without_what_we_published_there_is_no_answer() {
    let mut log = TestLog::new("example.com/log");
    log.grow(5);
    let (home, published) = (Home::new(), Published::new());
    home.add_log(&log);
    configure(
        &home,
        &format!(
            "own = [\"http://{}/mistyped\"]\nanswers_min = 1\n",
            published.address
        ),
    );
    // A log that was never cosigned is nowhere, so that it is not there is an answer.
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 1)).status, 200);
    assert!(process.terminate().success());
    let process = home.serve();
    let answer = process.add(&log.request(1, 2));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("0 of 1"), "{}", answer.text());
    let text = process.get("/metrics").text().to_owned();
    let none = "source=\"own\",answer=\"Unusable\"} 0";
    assert!(!text.contains(none), "{text}");
}

/// A checkpoint with cosignatures by one of the witness's keys at these times.
fn cosigned_by(home: &Home, checkpoint: &SignedCheckpoint, times: &[u64]) -> Vec<u8> {
    let key = SigningKey::load(home.path("ed25519.key")).unwrap();
    let signers: Vec<(&SigningKey, u64)> = times.iter().map(|&time| (&key, time)).collect();
    Court::shown(checkpoint, &signers)
}

/// When the witness cosigned last, by its own cosignature.
fn stored_time(home: &Home, process: &Process, log: &TestLog) -> u64 {
    let stored = process.get(&log.checkpoint_path());
    let note = SignedCheckpoint::parse(&stored.body).unwrap();
    let lines = note.verify_signatures(&home.keys).unwrap();
    lines[0].timestamp.unwrap().get()
}

#[test]
fn evidence_that_was_put_aside_hides_no_other() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let (home, published) = (Home::new(), Published::new());
    home.add_log(&log);
    let at = published.address;
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 200);
    assert!(process.terminate().success());
    for (place, size) in [("/a", 9), ("/b", 12)] {
        let ours = cosigned_by(&home, &log.checkpoint(size), &[1_790_000_000]);
        published.publish(format!("{place}{}", log.checkpoint_path()), ours);
    }
    configure(
        &home,
        &format!("own = [\"http://{at}/a\", \"http://{at}/b\"]\n"),
    );

    let process = home.serve();
    let answer = process.add(&log.request(5, 6));
    assert!(
        answer.text().contains("cosigned size 12"),
        "{}",
        answer.text()
    );
    assert!(resolve(&home, &log, "--dismiss").status.success());
    until(|| {
        process
            .add(&log.request(5, 6))
            .text()
            .contains("cosigned size 9")
    });
    until(|| held(&home).contains("cosigned size 9"));
    assert_eq!(stored_size(&process, &log), 5);
}

#[test]
fn a_hold_that_cannot_be_written_holds_all_the_same() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let (home, published) = (Home::new(), Published::new());
    home.add_log(&log);
    let own = format!("own = [\"http://{}\"]\n", published.address);
    configure(&home, &format!("{own}logs_per_second = 1000\n"));
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 6)).status, 200);
    assert!(process.terminate().success());
    let process = home.serve();
    // The journal takes no line, so the list cannot be changed.
    let (journal, aside) = (home.path("journal.ndjson"), home.path("journal.aside"));
    fs::rename(&journal, &aside).unwrap();
    fs::create_dir(&journal).unwrap();
    let ours = cosigned_by(&home, &log.checkpoint(9), &[1_790_000_000]);
    published.publish(log.checkpoint_path(), ours);
    until(|| process.add(&log.request(6, 6)).status == 503);
    let answer = process.add(&log.request(6, 7));
    assert!(
        answer.text().contains("cosigned size 9"),
        "{}",
        answer.text()
    );
    // It is in force before the disk was asked, and refused.
    until(|| process.get("/health").status == 503);
    let health = process.get("/health");
    assert!(
        health
            .text()
            .contains("example.com/log is held in memory only")
    );
    let text = process.get("/metrics").text().to_owned();
    assert!(text.contains("jurat_witness_holds_not_durable 1"), "{text}");
    assert_eq!(held(&home), "");
    // It is tried again until it is written.
    fs::remove_dir(&journal).unwrap();
    fs::rename(&aside, &journal).unwrap();
    until(|| !held(&home).is_empty());
    until(|| process.get("/health").status == 200);
    assert_eq!(process.add(&log.request(6, 7)).status, 503);
}

// Spec: WIT-83, GSP-188
#[test]
fn a_hold_in_memory_stands_above_an_imported_head_that_the_list_has() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let (home, published) = (Home::new(), Published::new());
    home.add_log(&log);
    let own = format!("own = [\"http://{}\"]\n", published.address);
    configure(&home, &format!("{own}logs_per_second = 1000\n"));
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 6)).status, 200);
    assert!(process.terminate().success());
    let (_dir, nine) = rig::carry::head_of(&log, 9);
    rig::carry::imported(&home, &nine);
    let process = home.serve();
    let answer = process.add(&log.request(6, 13));
    assert_eq!((answer.status, answer.text()), (409, "9\n"));
    assert!(process.terminate().success());
    let process = home.serve();
    // The journal takes no line and cannot be read, so the list cannot be changed.
    let (journal, aside) = (home.path("journal.ndjson"), home.path("journal.aside"));
    fs::rename(&journal, &aside).unwrap();
    fs::create_dir(&journal).unwrap();
    let ours = cosigned_by(&home, &log.checkpoint(12), &[1_790_000_000]);
    published.publish(log.checkpoint_path(), ours);
    // The first request since the start is what has others asked.
    until(|| process.add(&log.request(6, 13)).status == 503);
    until(|| process.get("/health").status == 503);
    let health = process.get("/health").text().to_owned();
    assert!(
        health.contains("example.com/log is held in memory only"),
        "{health}"
    );
    // What would have been enough for the imported head is not for this.
    let answer = process.add(&log.request(9, 13));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(
        answer.text().contains("cosigned size 12"),
        "{}",
        answer.text()
    );
    assert_eq!(stored_size(&process, &log), 6);
    let listed = held(&home);
    assert!(
        listed.contains("size 9 was imported") && !listed.contains("cosigned size 12"),
        "{listed}"
    );
    // It is written as soon as it can be, above the other.
    fs::remove_dir(&journal).unwrap();
    fs::rename(&aside, &journal).unwrap();
    until(|| held(&home).contains("cosigned size 12"));
    until(|| process.get("/health").status == 200);
    assert!(held(&home).contains("size 9 was imported"));
    assert_eq!(process.add(&log.request(9, 13)).status, 503);
    assert!(resolve(&home, &log, "--dismiss").status.success());
    until(|| process.add(&log.request(6, 13)).text() == "9\n");
}

#[test]
fn a_reference_checkpoint_that_we_do_not_remember_holds_the_log() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let home = Home::new();
    home.add_log(&log);
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 200);
    assert!(process.terminate().success());
    let old = copy_state(&home);
    let process = home.serve();
    assert_eq!(process.add(&log.request(5, 8)).status, 200);
    let newest = process.get(&log.checkpoint_path()).body;
    assert!(process.terminate().success());
    let reference = SignedCheckpoint::parse(&newest).unwrap();
    let subtree = Subtree::new(0, 8).unwrap();
    let proof = ConsistencyProof::new(Vec::new()).unwrap();
    let body = SignSubtree::new(subtree, log.head(8).root_hash, proof, reference);
    let body = body.unwrap().to_bytes();

    put_back(&home, &old);
    let process = home.serve();
    let answer = process.call("POST", "/sign-subtree", &body);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(
        answer
            .text()
            .contains("cosigned size 8 but remembers size 5")
    );
    assert_eq!(process.add(&log.request(5, 6)).status, 503);
    until(|| !held(&home).is_empty());
    assert!(process.terminate().success());
    let process = home.serve();
    assert_eq!(process.add(&log.request(5, 6)).status, 503);
    assert!(resolve(&home, &log, "--adopt").status.success());
    until(|| stored_size(&process, &log) == 8);
    until(|| process.add(&log.request(8, 9)).status == 200);
}

#[test]
fn before_the_first_signature_a_subtree_is_asked_about_too() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let (ours, _theirs, _peer) = behind_another(&log, "");
    let process = ours.serve();
    let newest = process.get(&log.checkpoint_path()).body;
    let reference = SignedCheckpoint::parse(&newest).unwrap();
    let proof = ConsistencyProof::new(Vec::new()).unwrap();
    let subtree = Subtree::new(0, 5).unwrap();
    let body = SignSubtree::new(subtree, log.head(5).root_hash, proof, reference);
    let answer = process.call("POST", "/sign-subtree", &body.unwrap().to_bytes());
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("another witness cosigned size 8"));
}

#[test]
fn adopted_evidence_is_cosigned_anew_whatever_times_it_has() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    for times in [&[1_785_000_000, 1_785_000_001][..], &[0, 1]] {
        let (home, published) = (Home::new(), Published::new());
        home.add_log(&log);
        let process = home.serve();
        assert_eq!(process.add(&log.request(0, 5)).status, 200);
        let before = stored_time(&home, &process, &log);
        assert!(process.terminate().success());
        // Larger and earlier than what is remembered; or at that time and later, at once.
        let times: Vec<u64> = times
            .iter()
            .map(|&time| if time < 2 { before + time } else { time })
            .collect();
        let evidence = cosigned_by(&home, &log.checkpoint(9), &times);
        published.publish(log.checkpoint_path(), evidence);
        configure(
            &home,
            &format!("own = [\"http://{}\"]\n", published.address),
        );
        let process = home.serve();
        assert_eq!(process.add(&log.request(5, 9)).status, 503);
        assert!(resolve(&home, &log, "--adopt").status.success());
        until(|| stored_size(&process, &log) == 9);
        let after = stored_time(&home, &process, &log);
        assert!(after >= before && times.iter().all(|&time| after >= time));
        until(|| process.add(&log.request(9, 12)).status == 200);
        assert!(process.terminate().success());
        let process = home.serve();
        assert_eq!(stored_size(&process, &log), 12);
        assert_eq!(process.get("/health").status, 200);
    }
}

/// New keys in the place of those that `init` made.
fn replace_keys(home: &Home) -> [VerifierKey; 2] {
    let generate = |algorithm, file: &str| {
        let key = SigningKey::generate(KeyName::parse(NAME).unwrap(), algorithm).unwrap();
        key.save_new(home.path(file)).unwrap();
        key.verifier_key().clone()
    };
    let new = [
        generate(Algorithm::CosignatureV1, "new-ed25519.key"),
        generate(Algorithm::MlDsa44, "new-ml-dsa.key"),
    ];
    let config = fs::read_to_string(home.config()).unwrap();
    let keys = "\"ed25519.key\", \"ml-dsa-44.key\"";
    assert!(config.contains(keys), "{config}");
    let replaced = config.replace(keys, "\"new-ed25519.key\", \"new-ml-dsa.key\"");
    fs::write(home.config(), replaced).unwrap();
    new
}

/// All keys of the witness are replaced while its state is older than what it signed with the
/// former ones: the operator's word that these were ours is what makes that known, and what lets
/// the evidence be adopted. Without it neither the state nor the evidence is ours.
// Spec: WIT-57, WIT-80, WIT-86
#[test]
fn what_a_former_key_cosigned_is_adopted_and_nothing_is_signed_without_its_name() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let (home, published) = (Home::new(), Published::new());
    home.add_log(&log);
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

    let new = replace_keys(&home);
    let replaced = fs::read_to_string(home.config()).unwrap();
    let process = home.serve();
    for body in [log.request(5, 9), log.request(9, 12), log.request(0, 12)] {
        assert_eq!(process.add(&body).status, 500);
    }
    assert_eq!(process.get(&log.checkpoint_path()).status, 500);
    assert!(process.terminate().success());

    configure(
        &home,
        &format!("own = [\"http://{}\"]\n", published.address),
    );
    let guarded = fs::read_to_string(home.config()).unwrap();
    let former: Vec<String> = home.keys.iter().map(ToString::to_string).collect();
    fs::write(
        home.config(),
        format!("former_keys = {former:?}\n{guarded}"),
    )
    .unwrap();
    let process = home.serve();
    let answer = process.add(&log.request(5, 9));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(
        answer.text().contains("cosigned size 9"),
        "{}",
        answer.text()
    );
    assert_eq!(stored_size(&process, &log), 5);
    assert!(resolve(&home, &log, "--adopt").status.success());
    until(|| stored_size(&process, &log) == 9);
    // It is cosigned anew, by the keys of today alone, and goes on from there.
    let stored = SignedCheckpoint::parse(&process.get(&log.checkpoint_path()).body).unwrap();
    assert_eq!(stored.verify_signatures(&new).unwrap().len(), new.len());
    stored.verify_signatures(&home.keys).unwrap_err();
    let mut answer = process.add(&log.request(9, 12));
    until(|| {
        if answer.status != 200 {
            answer = process.add(&log.request(9, 12));
        }
        answer.status == 200
    });
    verified(&answer.body, &log.checkpoint(12), &new);
    assert!(process.terminate().success());
    // The former keys have nothing left to vouch for.
    fs::write(home.config(), &replaced).unwrap();
    let process = home.serve();
    assert_eq!(stored_size(&process, &log), 12);
}

#[test]
fn a_log_that_is_disabled_while_others_are_asked_about_it_is_not_signed() {
    let mut log = TestLog::new("example.com/log");
    log.grow(5);
    let home = Home::new();
    home.add_log(&log);
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = slow.local_addr().unwrap();
    configure(
        &home,
        &format!("own = [\"http://{at}\"]\nwait_ms = 10000\n"),
    );
    let process = home.serve();
    let mut asking = process.client();
    let body = log.request(0, 1);
    let answer = thread::spawn(move || asking.call("POST", "/add-checkpoint", &body));
    // The first to ask is the background or the request; both wait for this answer.
    let first = slow.accept().unwrap();
    let second = slow.accept().unwrap();
    let origin = log.origin.as_str();
    assert!(home.logs(&["disable", origin]).status.success());
    let disabled = "jurat_witness_logs_disabled 1";
    until(|| process.get("/metrics").text().contains(disabled));
    drop((first, second));
    let answer = answer.join().unwrap().unwrap();
    assert_eq!(answer.status, 404, "{}", answer.text());
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
        // No supervisor is to start it again on what is there now.
        assert_eq!(code, Some(65), "{file}");
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
            Finding::Same | Finding::Known | Finding::New => None,
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
    // What is exactly as we remember it is told from what is older.
    let look = |size, at| court.look(&court.by_own(size, at), By::Anybody, latest);
    assert_eq!(look(5, 1_000), Ok(Finding::Same));
    for (size, at) in [(5, 999), (4, 1_000)] {
        assert_eq!(look(size, at), Ok(Finding::Known));
    }
    let five = court.log.checkpoint(5).to_bytes();
    let uncosigned = court.look(&five, By::Anybody, latest);
    assert_eq!(uncosigned, Ok(Finding::Known));
}

/// What dismissed evidence would be remembered by.
fn id(finding: Result<Finding, Unusable>) -> String {
    let Ok(Finding::Evidence(evidence)) = finding else {
        panic!("{finding:?}");
    };
    evidence_id(&Hold {
        cause: evidence.cause,
        since: 1,
        source: "somewhere".to_owned(),
        why: evidence.why,
        adopt: false,
        reason: None,
        evidence: evidence.note,
        below: None,
    })
}

// Spec: WIT-86
#[test]
fn dismissed_evidence_is_known_again_whoever_shows_it_and_whenever() {
    let court = Court::new();
    let latest = Some(court.latest(5));
    let shown = |size, own: &[u64], peer, by| {
        let mut signers: Vec<(&SigningKey, u64)> = vec![(&court.peer, peer)];
        signers.extend(own.iter().map(|&at| (&court.own, at)));
        let note = Court::shown(&court.log.checkpoint(size), &signers);
        id(court.look(&note, by, latest))
    };
    // The other witness signs again and again; we do not.
    let once = shown(6, &[900], 901, By::Witness);
    assert_eq!(once, shown(6, &[900], 955, By::Witness));
    assert_eq!(once, shown(6, &[900], 955, By::Anybody));
    assert_eq!(once, shown(6, &[800, 900], 955, By::Anybody));
    assert_ne!(once, shown(6, &[901], 901, By::Witness));
    assert_ne!(once, shown(7, &[900], 901, By::Witness));
    let ahead = shown(6, &[], 901, By::Witness);
    assert_eq!(ahead, shown(6, &[], 955, By::Witness));
    assert_ne!(ahead, once);
    assert!(ahead.starts_with("ahead-"), "{ahead}");
}

// Spec: WIT-80, WIT-81
#[test]
fn a_larger_tree_says_less_than_another_root() {
    let court = Court::new();
    let latest = Some(court.latest(5));
    let six = court.by_peer(6, 900);
    assert_eq!(
        court.cause(&six, By::Witness, latest),
        Some(HoldCause::Peer)
    );
    let log = court.cause(&six, By::Anybody, latest);
    assert_eq!(log, Some(HoldCause::Peer));
    let five = court.by_peer(5, 2_000);
    assert_eq!(court.look(&five, By::Witness, latest), Ok(Finding::Known));
    // Where we remember nothing, each log is ahead of us, and each other witness too; the log says
    // nothing by that, the other witness that there is something to be forgotten.
    assert_eq!(court.look(&six, By::Anybody, None), Ok(Finding::New));
    let witness = court.cause(&six, By::Witness, None);
    assert_eq!(witness, Some(HoldCause::Peer));
    let forked = court.fork.checkpoint(6).to_bytes();
    let fork = court.cause(&forked, By::Anybody, Some(court.latest(6)));
    assert_eq!(fork, Some(HoldCause::Fork));
    let ahead = court.cause(&forked, By::Anybody, latest);
    assert_eq!(ahead, Some(HoldCause::Peer));
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
