//! What one witness exports and another imports: nothing is signed below it, and nobody has to
//! decide.
//!
//! Spec: GSP-182, GSP-183, GSP-184, GSP-185, GSP-186, GSP-187, GSP-188, GSP-189, GSP-211, GSP-212,
//! GSP-215, GSP-225.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod rig;

use std::fs;
use std::path::Path;

use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::evidence::Evidence;
use jurat_proto::export::{Part, parse};
use jurat_proto::proof::{ConsistencyProof, Subtree};
use jurat_proto::sign_subtree::SignSubtree;
use jurat_store::registry::{Hold, HoldCause, Registry};

use rig::carry::{
    code, export, file_of, head_of, held, import, imported, journal, nowhere, said, state,
};
use rig::{Home, Process, TestLog, files, run, until, verified};

fn stored(process: &Process, log: &TestLog) -> SignedCheckpoint {
    SignedCheckpoint::parse(&process.get(&log.checkpoint_path()).body).unwrap()
}

/// The witness that serves has taken the list over: a conflict names this size.
fn until_held(process: &Process, log: &TestLog, size: &str) {
    until(|| process.add(&log.request(0, 3)).text() == size);
}

// Spec: GSP-183, GSP-184, GSP-186, GSP-187
#[test]
fn a_new_witness_goes_on_where_another_stopped_and_nobody_decides() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let fork = log.fork(5);
    let (old, new) = (Home::new(), Home::named("other.example/w2"));
    for home in [&old, &new] {
        home.add_log(&log);
    }
    let process = old.serve();
    assert_eq!(process.add(&log.request(0, 9)).status, 200);
    let (_dir, file) = nowhere();
    // While it serves.
    let at = format!("http://{}", process.address);
    let output = export(&old, &file, &["--at", &at]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(said(&output).contains("1 heads, 0 evidence"));
    assert!(said(&output).contains("The witness serves"));
    let again = export(&old, &file, &["--at", &at]);
    assert_eq!(code(&again), 64, "{}", said(&again));
    process.terminate();
    let (_other, same) = nowhere();
    assert_eq!(code(&export(&old, &same, &[])), 0);
    let parts = |path: &Path| parse(&fs::read(path).unwrap()).unwrap().1;
    assert_eq!(parts(&file), parts(&same), "stopped or serving");

    imported(&new, &file);
    assert!(held(&new).contains("example.com/log"), "{}", held(&new));
    assert!(journal(&new).contains("imported"), "{}", journal(&new));
    let process = new.serve();
    // Spec: GSP-186. Below it there is nothing, whatever history it is of.
    for request in [log.request(0, 5), log.request(0, 12), fork.request(0, 6)] {
        let answer = process.add(&request);
        assert_eq!((answer.status, answer.text()), (409, "9\n"));
    }
    assert_eq!(process.get(&log.checkpoint_path()).status, 404);
    let answer = process.add(&log.request(9, 12));
    assert_eq!(answer.status, 200, "{}", answer.text());
    verified(&answer.body, &log.checkpoint(12), &new.keys);
    // Spec: GSP-187. It is as any log from then on.
    until(|| held(&new).is_empty());
    assert!(journal(&new).contains("released"));
    assert_eq!(process.add(&log.request(12, 20)).status, 200);
    process.terminate();
    // What others cosigned has to be continued where it is smaller, too.
    imported(&new, &file);
    assert!(held(&new).contains("example.com/log"), "{}", held(&new));
    let process = new.serve();
    let answer = process.add(&log.request(20, 20));
    assert_eq!((answer.status, answer.text()), (409, "9\n"));
    assert_eq!(process.add(&log.request(9, 20)).status, 200);
    until(|| held(&new).is_empty());
}

// Spec: GSP-184, GSP-186, GSP-187
#[test]
fn a_witness_that_is_behind_signs_what_continues_both() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let home = Home::new();
    home.add_log(&log);
    let mut process = home.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 200);
    let (_dir, file) = head_of(&log, 9);
    let at = format!("http://{}", process.address);
    let output = import(&home, &file, &["--at", &at]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    until_held(&process, &log, "9\n");
    let answer = process.add(&log.request(5, 7));
    assert_eq!((answer.status, answer.text()), (409, "9\n"));
    // A crash keeps the hold, and loses what one request proved.
    let first = process.add(&log.request(5, 12));
    assert_eq!((first.status, first.text()), (409, "9\n"));
    process.kill();
    let process = home.serve();
    let alone = process.add(&log.request(9, 12));
    assert_eq!((alone.status, alone.text()), (409, "5\n"));
    assert_eq!(stored(&process, &log).head(), log.head(5));
    assert_eq!(process.add(&log.request(5, 12)).status, 200);
    until(|| held(&home).is_empty());
}

// Spec: GSP-183
#[test]
fn a_file_that_is_not_good_in_every_part_changes_nothing() {
    let (mut log, mut other) = (TestLog::new("a.example/log"), TestLog::new("b.example/log"));
    log.grow(9);
    other.grow(9);
    let home = Home::new();
    home.add_log(&log);
    home.add_log(&other);
    let before = state(&home);
    let stranger = {
        let mut stranger = TestLog::new("b.example/log");
        stranger.grow(9);
        stranger.checkpoint(9)
    };
    let good = Part::Head(log.checkpoint(9));
    let (_dir, file) = file_of(&[good.clone(), Part::Head(stranger)]);
    let output = import(&home, &file, &[]);
    assert_eq!(code(&output), 65, "{}", said(&output));
    let (_dir, file) = file_of(&[good, Part::Head(other.checkpoint(9))]);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let output = import(&home, &file, &[]);
    assert_eq!(code(&output), 65, "{}", said(&output));
    assert!(said(&output).contains("ends before its last line"));
    assert_eq!(code(&import(&home, Path::new("/nonexistent/x"), &[])), 74);
    assert_eq!(code(&import(&home, Path::new("/dev/null"), &[])), 74);
    // Nor does one that is only looked at.
    fs::write(&file, &bytes).unwrap();
    let output = import(&home, &file, &["--dry-run"]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(said(&output).contains("would be held"));
    assert_eq!(state(&home), before);
    assert!(!journal(&home).contains("imported"));
    let unknown = Home::new();
    let output = import(&unknown, &file, &[]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(said(&output).contains("2 heads are of logs that are not in the list"));
}

// Spec: GSP-184, GSP-189
#[test]
fn what_contradicts_what_is_here_is_evidence() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let fork = log.fork(5);
    // Another root at the size that was cosigned here.
    let home = Home::new();
    home.add_log(&log);
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 6)).status, 200);
    process.terminate();
    let (_dir, file) = head_of(&fork, 6);
    let output = import(&home, &file, &["--dry-run"]);
    assert_eq!(code(&output), 1, "{}", said(&output));
    assert!(!home.path("evidence").exists());
    let output = import(&home, &file, &[]);
    assert_eq!(code(&output), 1, "{}", said(&output));
    let process = home.serve();
    let answer = process.add(&log.request(6, 9));
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert_eq!(
        stored(&process, &log).head(),
        log.head(6),
        "nothing is replaced"
    );

    // What another witness had caught.
    let fork = Evidence::same_size(log.checkpoint(6), fork.checkpoint(6)).unwrap();
    let home = Home::new();
    home.add_log(&log);
    let (_dir, file) = file_of(&[Part::Evidence(Box::new(fork))]);
    imported(&home, &file);
    let process = home.serve();
    let answer = process.add(&log.request(0, 9));
    assert_eq!(answer.status, 403, "{}", answer.text());
    process.terminate();
    let (_other, back) = nowhere();
    let output = export(&home, &back, &["--evidence"]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let (_, kept) = parse(&fs::read(&back).unwrap()).unwrap();
    assert!(matches!(&kept[..], [Part::Evidence(_)]), "{kept:?}");
}

// Spec: GSP-186, GSP-189
#[test]
fn a_log_that_forked_above_what_was_imported_is_caught_by_its_own_request() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let mut fork = log.fork(5);
    fork.grow(20);
    let home = Home::new();
    home.add_log(&log);
    let (_dir, file) = head_of(&log, 9);
    imported(&home, &file);
    let process = home.serve();
    let answer = process.add(&fork.request(9, 12));
    assert_eq!(answer.status, 422, "{}", answer.text());
    until(|| process.add(&log.request(9, 12)).status == 403);
    let output = run(&["evidence", "--config", &home.config(), "list"]);
    assert!(
        said(&output).contains("opening example.com/log"),
        "{}",
        said(&output)
    );
}

// Spec: GSP-188
#[test]
fn what_an_operator_has_to_decide_stands_above_what_was_imported() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let home = Home::new();
    home.add_log(&log);
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 12)).status, 200);
    let later = stored(&process, &log);
    process.terminate();
    // Another state with the same keys: what it cosigned elsewhere is imported on top of less.
    let again = Home::new();
    for file in ["ed25519.key", "ml-dsa-44.key"] {
        fs::copy(home.path(file), again.path(file)).unwrap();
    }
    again.add_log(&log);
    let process = again.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 200);
    process.terminate();
    let (_dir, nine) = head_of(&log, 9);
    imported(&again, &nine);
    let (_dir, twelve) = file_of(&[Part::Head(later)]);
    let output = import(&again, &twelve, &[]);
    assert_eq!(code(&output), 1, "{}", said(&output));
    let process = again.serve();
    let answer = process.add(&log.request(5, 20));
    assert_eq!(answer.status, 503, "{}", answer.text());
    let origin = log.origin.as_str();
    let resolved = again.logs(&["resolve", origin, "--dismiss", "--reason", "a test"]);
    assert_eq!(code(&resolved), 0, "{}", said(&resolved));
    // It is back to what was imported before.
    until_held(&process, &log, "9\n");
    assert_eq!(process.add(&log.request(5, 9)).status, 200);
}

// Spec: GSP-211
#[test]
fn a_larger_import_stands_beside_a_smaller_one_and_one_checkpoint_continues_both() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let home = Home::new();
    home.add_log(&log);
    let ((_nine, nine), (_twelve, twelve)) = (head_of(&log, 9), head_of(&log, 12));
    imported(&home, &nine);
    let before = state(&home);
    let again = import(&home, &nine, &[]);
    assert_eq!(code(&again), 0, "{}", said(&again));
    assert!(said(&again).contains("1 logs are held for that already"));
    assert_eq!(state(&home)[0], before[0]);
    let output = import(&home, &twelve, &[]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(said(&output).contains("example.com/log: held: size 12 was imported"));
    let told = held(&home);
    assert!(told.contains("size 9 was imported") && told.contains("size 12 was imported"));
    // A smaller one takes the place of none either, and is there already.
    let output = import(&home, &nine, &[]);
    assert!(said(&output).contains("1 logs are held for that already"));
    assert_eq!(held(&home), told);
    let process = home.serve();
    for (old, new) in [(0, 9), (9, 11), (0, 13), (9, 13)] {
        let answer = process.add(&log.request(old, new));
        assert_eq!((answer.status, answer.text()), (409, "12\n"), "{old} {new}");
    }
    assert_eq!(process.get(&log.checkpoint_path()).status, 404);
    // The proof from 9 is known: that from 12 is what was missing.
    let answer = process.add(&log.request(12, 13));
    assert_eq!(answer.status, 200, "{}", answer.text());
    // Spec: GSP-215. It is free at once, whatever the list still says.
    let subtree = Subtree::new(0, 13).unwrap();
    let (root, proof) = (log.head(13).root_hash, ConsistencyProof::new(Vec::new()));
    let body = SignSubtree::new(subtree, root, proof.unwrap(), stored(&process, &log)).unwrap();
    let answer = process.call("POST", "/sign-subtree", &body.to_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    until(|| held(&home).is_empty());
    assert_eq!(process.add(&log.request(13, 20)).status, 200);
    journal(&home);
}

// Spec: GSP-189, GSP-211
#[test]
fn a_larger_import_of_another_history_makes_nobody_forget_the_smaller_one() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let mut fork = log.fork(5);
    fork.grow(20);
    let home = Home::new();
    home.add_log(&log);
    let ((_nine, nine), (_twelve, twelve)) = (head_of(&log, 9), head_of(&fork, 12));
    imported(&home, &nine);
    imported(&home, &twelve);
    let process = home.serve();
    // Who has the log's key leads on from the larger one, and comes to the smaller.
    let answer = process.add(&fork.request(12, 13));
    assert_eq!((answer.status, answer.text()), (409, "9\n"));
    let answer = process.add(&fork.request(9, 13));
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert_eq!(process.get(&log.checkpoint_path()).status, 404);
    // That answer's request is the proof: both are its log's.
    until(|| process.add(&log.request(9, 13)).status == 403);
    let output = run(&["evidence", "--config", &home.config(), "list"]);
    assert!(
        said(&output).contains("opening example.com/log"),
        "{}",
        said(&output)
    );
}

// Spec: GSP-189, GSP-211
#[test]
fn another_root_at_the_size_of_an_earlier_import_is_evidence() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let mut fork = log.fork(5);
    fork.grow(20);
    let home = Home::new();
    home.add_log(&log);
    let ((_one, one), (_other, other)) = (head_of(&log, 9), head_of(&fork, 9));
    let (_twelve, twelve) = head_of(&log, 12);
    imported(&home, &one);
    imported(&home, &twelve);
    let output = import(&home, &other, &[]);
    assert_eq!(code(&output), 1, "{}", said(&output));
    assert!(said(&output).contains("two trees of size 9"));
    let process = home.serve();
    assert_eq!(process.add(&log.request(12, 13)).status, 403);
    process.terminate();
    let output = run(&["evidence", "--config", &home.config(), "list"]);
    assert!(
        said(&output).contains("same-size example.com/log"),
        "{}",
        said(&output)
    );
}

// Spec: GSP-185, GSP-212
#[test]
fn a_log_that_is_held_for_something_else_or_for_too_many_is_told_of() {
    let (mut log, mut full) = (TestLog::new("a.example/log"), TestLog::new("b.example/log"));
    log.grow(20);
    full.grow(20);
    let home = Home::new();
    home.add_log(&log);
    home.add_log(&full);
    for size in 1..=8 {
        let (_dir, file) = head_of(&full, size);
        imported(&home, &file);
    }
    let ((_nine, nine), (_twelve, twelve)) = (head_of(&full, 9), head_of(&log, 12));
    let before = state(&home)[0].clone();
    let output = import(&home, &nine, &[]);
    assert_eq!(code(&output), 75, "{}", said(&output));
    assert!(
        said(&output).contains(
            "1 logs wait for 8 imported heads already; import again when they have reached these"
        ),
        "{}",
        said(&output)
    );
    assert_eq!(state(&home)[0], before);
    let process = home.serve();
    // One request for each of them, about one tree.
    let mut asked = 8;
    for left in (1..8).rev() {
        let answer = process.add(&full.request(asked, 20));
        assert_eq!((answer.status, answer.text()), (409, &*format!("{left}\n")));
        asked = left;
    }
    assert_eq!(process.add(&full.request(1, 20)).status, 200);
    until(|| held(&home).is_empty());
    process.terminate();

    // What its operator has to decide stands above, until it is decided.
    let elsewhere = with_keys_of(&home);
    elsewhere.add_log(&log);
    let process = elsewhere.serve();
    assert_eq!(process.add(&log.request(0, 6)).status, 200);
    let later = stored(&process, &log);
    process.terminate();
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 200);
    process.terminate();
    let (_six, six) = file_of(&[Part::Head(later)]);
    let output = import(&home, &six, &[]);
    assert_eq!(code(&output), 1, "{}", said(&output));
    let output = import(&home, &six, &[]);
    assert_eq!(code(&output), 1, "{}", said(&output));
    assert!(
        said(&output).contains("1 logs are held for that already"),
        "{}",
        said(&output)
    );
    // What is imported then waits below it, and is not forgotten when it is decided.
    imported(&home, &twelve);
    let process = home.serve();
    let answer = process.add(&log.request(5, 20));
    assert_eq!(answer.status, 503, "{}", answer.text());
    let origin = log.origin.as_str();
    let put_aside = home.logs(&["resolve", origin, "--dismiss", "--reason", "a test"]);
    assert_eq!(code(&put_aside), 0, "{}", said(&put_aside));
    until_held(&process, &log, "12\n");
    assert_eq!(process.add(&log.request(5, 20)).status, 409);
    assert_eq!(process.add(&log.request(12, 20)).status, 200);
    process.terminate();
    // What the operator has put aside is no news.
    let output = import(&home, &six, &[]);
    assert_eq!(code(&output), 0, "{}", said(&output));
}

// Spec: GSP-211
#[test]
fn a_larger_head_that_was_reached_makes_nobody_forget_a_smaller_one_that_comes_later() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let mut fork = log.fork(5);
    fork.grow(20);
    let home = Home::new();
    home.add_log(&log);
    // Who has the log's key brings another history first.
    let (_dir, twelve) = head_of(&fork, 12);
    imported(&home, &twelve);
    let process = home.serve();
    assert_eq!(process.add(&fork.request(12, 15)).status, 200);
    until(|| held(&home).is_empty());
    process.terminate();
    let (_dir, nine) = head_of(&log, 9);
    imported(&home, &nine);
    let process = home.serve();
    let answer = process.add(&fork.request(15, 20));
    assert_eq!((answer.status, answer.text()), (409, "9\n"));
    // The proof from there convicts it.
    let answer = process.add(&fork.request(9, 20));
    assert_eq!(answer.status, 422, "{}", answer.text());
    until(|| process.add(&fork.request(15, 20)).status == 403);
}

/// As of a witness with the keys of `home`, which never reached this.
fn with_keys_of(home: &Home) -> Home {
    let again = Home::new();
    for file in ["ed25519.key", "ml-dsa-44.key"] {
        fs::copy(home.path(file), again.path(file)).unwrap();
    }
    again
}

/// What the witness with the keys of `home` cosigns of a log at this size, as the log has it.
fn cosigned(home: &Home, log: &TestLog, size: u64) -> SignedCheckpoint {
    let elsewhere = with_keys_of(home);
    elsewhere.add_log(log);
    let process = elsewhere.serve();
    assert_eq!(process.add(&log.request(0, size)).status, 200);
    let note = stored(&process, log);
    process.terminate();
    note
}

/// A witness that is shown what its keys cosigned, and does not remember it.
fn with_undecided(keys: &Home, log: &TestLog, note: &SignedCheckpoint) -> Home {
    let home = with_keys_of(keys);
    home.add_log(log);
    let hold = Hold {
        cause: HoldCause::Ours,
        since: 1,
        source: "a test".to_owned(),
        why: "we cosigned size 9 and remember size 0".to_owned(),
        adopt: false,
        reason: None,
        evidence: String::from_utf8(note.to_bytes()).unwrap(),
        below: None,
    };
    let list = home.path("logs.toml");
    Registry::edit(&list, &(), |list| list.hold(&log.origin, &hold, "one")).unwrap();
    home
}

// Spec: GSP-225
#[test]
fn another_root_at_the_size_of_what_is_not_decided_yet_is_evidence() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let mut fork = log.fork(5);
    fork.grow(20);
    let keys = Home::new();
    let ours = cosigned(&keys, &log, 9);
    let home = with_undecided(&keys, &log, &ours);
    // Its own tree of that size contradicts nothing, nor does one of another size.
    for part in [log.checkpoint(9), fork.checkpoint(12)] {
        let (_dir, file) = file_of(&[Part::Head(part)]);
        let told = said(&import(&home, &file, &["--dry-run"]));
        assert!(!told.contains("evidence"), "{told}");
        assert!(!told.contains("another tree"), "{told}");
    }
    let (_dir, other) = head_of(&fork, 9);
    let before = state(&home);
    for (more, told_of) in [
        (&["--dry-run"][..], "1 pieces of evidence: would be kept"),
        (&[], "1 pieces of evidence: kept"),
        // As often as it is imported.
        (&[], "1 pieces of evidence: kept"),
    ] {
        let output = import(&home, &other, more);
        assert_eq!(code(&output), 1, "{}", said(&output));
        assert!(said(&output).contains(told_of), "{}", said(&output));
        assert_eq!(home.path("evidence").exists(), more.is_empty());
        assert_eq!(state(&home) == before, !more.is_empty());
    }
    let output = run(&["evidence", "--config", &home.config(), "list"]);
    let listed = said(&output);
    assert_eq!(
        listed.matches("same-size example.com/log").count(),
        1,
        "{listed}"
    );
    // What the operator has to decide stands as it did.
    assert!(
        held(&home).contains("we cosigned size 9"),
        "{}",
        held(&home)
    );
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 9)).status, 403);
}

// Spec: GSP-225
#[test]
fn what_is_not_decided_and_lacks_the_signature_of_the_log_does_not_convict_it() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let mut fork = log.fork(5);
    fork.grow(20);
    let keys = Home::new();
    let ours = cosigned(&keys, &log, 9);
    let mut lines: Vec<usize> = (0..ours.signatures().len()).collect();
    lines.retain(|&line| ours.signatures()[line].name() != log.vkey().name());
    assert_eq!(lines.len(), 2);
    let ours = ours.with_signatures(&lines, &[]).unwrap();
    let home = with_undecided(&keys, &log, &ours);
    let (_dir, other) = head_of(&fork, 9);
    let output = import(&home, &other, &[]);
    let told = said(&output);
    assert_eq!(code(&output), 0, "{told}");
    let wanted = "example.com/log: has another tree of size 9 than what it is held for, which \
                  lacks a signature of the log that would convict it\n";
    assert!(told.contains(wanted), "{told}");
    assert!(told.contains("held: size 9 was imported"), "{told}");
    assert!(!told.contains("evidence"), "{told}");
    assert!(!home.path("evidence").exists());
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 9)).status, 503);
    process.terminate();

    // Where our keys cosigned both, they are what is convicted.
    let home = with_undecided(&keys, &log, &ours);
    let (_dir, other) = file_of(&[Part::Head(cosigned(&keys, &fork, 9))]);
    let output = import(&home, &other, &[]);
    let told = said(&output);
    assert_eq!(code(&output), 1, "{told}");
    assert!(!told.contains("another tree"), "{told}");
    assert!(told.contains("1 pieces of evidence: kept"), "{told}");
    assert!(home.path("evidence").exists());
}

// Spec: GSP-180, GSP-184
#[test]
fn only_what_was_cosigned_is_carried_and_not_what_gossip_was_shown() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let mut fork = log.fork(5);
    fork.grow(20);
    let old = Home::new();
    old.add_log(&log);
    let process = old.serve();
    assert_eq!(process.add(&log.request(0, 9)).status, 200);
    process.terminate();
    // A larger head of another history that the log signed for somebody else.
    let stray = String::from_utf8(fork.checkpoint(12).to_bytes()).unwrap();
    let now = 1_790_000_000_000_u64;
    let record = format!("jurat/gossip-log@v0\nopen suspect {now} {now} 3 3\n\n{stray}");
    fs::create_dir_all(old.path("gossip")).unwrap();
    let name = format!("gossip/{}.heads", log.origin.hash_hex());
    fs::write(old.path(&name), record).unwrap();
    let (_dir, file) = nowhere();
    let output = export(&old, &file, &["--evidence"]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(said(&output).contains("1 heads, 0 evidence"));
    // A file that says more is none.
    let text = fs::read_to_string(&file).unwrap();
    let body = text.rsplit_once("end ").unwrap().0;
    let more = format!("{body}retained {}\n{stray}", stray.len());
    let (_other, larger) = nowhere();
    fs::write(&larger, more).unwrap();
    let new = with_keys_of(&old);
    new.add_log(&log);
    let before = state(&new);
    let output = import(&new, &larger, &[]);
    assert_eq!(code(&output), 65, "{}", said(&output));
    assert_eq!(state(&new), before);

    imported(&new, &file);
    let process = new.serve();
    let answer = process.add(&fork.request(12, 13));
    assert_eq!((answer.status, answer.text()), (409, "9\n"));
    let answer = process.add(&fork.request(0, 13));
    assert_eq!((answer.status, answer.text()), (409, "9\n"));
    assert_eq!(process.get(&log.checkpoint_path()).status, 404);
    assert_eq!(process.add(&log.request(9, 13)).status, 200);
}

// Spec: GSP-185
#[test]
fn what_the_operator_put_aside_is_told_of_and_is_not_said_to_hold() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let home = Home::new();
    home.add_log(&log);
    let (_dir, nine) = head_of(&log, 9);
    imported(&home, &nine);
    let again = import(&home, &nine, &[]);
    assert!(said(&again).contains("1 logs are held for that already"));
    let origin = log.origin.as_str();
    let resolved = home.logs(&["resolve", origin, "--dismiss", "--reason", "a test"]);
    assert_eq!(code(&resolved), 0, "{}", said(&resolved));
    let output = import(&home, &nine, &[]);
    let told = said(&output);
    assert_eq!(code(&output), 0, "{told}");
    assert!(told.contains("1 heads were put aside by the operator, and hold nothing"));
    assert!(!told.contains(": held"), "{told}");
    assert_eq!(held(&home), "");
}

// Spec: GSP-183
#[test]
fn a_key_that_its_log_has_done_with_holds_it_only_for_what_was_cosigned_here() {
    let (log, mut former) = (TestLog::new("a.example/log"), TestLog::new("a.example/log"));
    former.grow(20);
    let old = Home::new();
    old.add_log(&former);
    let process = old.serve();
    assert_eq!(process.add(&former.request(0, 9)).status, 200);
    process.terminate();
    let home = with_keys_of(&old);
    home.add_log(&log);
    home.add_log(&former);
    let vkey = former.vkey().to_string();
    let retired = home.logs(&["retire", former.origin.as_str(), &vkey]);
    assert_eq!(code(&retired), 0, "{}", said(&retired));
    let (_dir, foreign) = head_of(&former, 9);
    let output = import(&home, &foreign, &[]);
    let told = said(&output);
    assert_eq!(code(&output), 0, "{told}");
    assert!(told.contains("1 heads are signed by keys that their logs have done with"));
    assert_eq!(held(&home), "");
    let (_other, ours) = nowhere();
    assert_eq!(code(&export(&old, &ours, &[])), 0);
    imported(&home, &ours);
    assert!(held(&home).contains("a.example/log"), "{}", held(&home));
    // Spec: GSP-185. One of our lines is enough, and the other is long.
    let list = fs::read_to_string(home.path("logs.toml")).unwrap();
    assert_eq!(list.matches('\u{2014}').count(), 2, "{list}");
    assert!(list.len() < 3000, "{list}");
}

// Spec: GSP-188, WIT-84
#[test]
fn a_log_that_shows_its_own_checkpoint_waits_for_nobody_after_an_import() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let home = Home::new();
    let twelve = log.checkpoint(12).to_bytes();
    let address = files(vec![("/checkpoint".to_owned(), twelve)]);
    let url = format!("http://{address}/checkpoint");
    let added = home.logs(&["add", &log.vkey().to_string(), "--url", &url]);
    assert_eq!(code(&added), 0, "{}", said(&added));
    let (_dir, nine) = head_of(&log, 9);
    imported(&home, &nine);
    let process = home.serve();
    let below = process.add(&log.request(0, 5));
    assert_eq!((below.status, below.text()), (409, "9\n"));
    let answer = process.add(&log.request(9, 13));
    assert_eq!(answer.status, 200, "{}", answer.text());
    until(|| held(&home).is_empty());
}

// Spec: GSP-188, WIT-84
#[test]
fn what_we_published_last_says_so_after_an_import_too() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let home = Home::new();
    home.add_log(&log);
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 200);
    let ours = process.get(&log.checkpoint_path()).body;
    process.terminate();
    let twelve = log.checkpoint(12).to_bytes();
    let shown = vec![
        ("/checkpoint".to_owned(), twelve),
        (log.checkpoint_path(), ours),
    ];
    let address = files(shown);
    let url = format!("http://{address}/checkpoint");
    let added = home.logs(&["add", &log.vkey().to_string(), "--url", &url]);
    assert_eq!(code(&added), 0, "{}", said(&added));
    let config = fs::read_to_string(home.config()).unwrap();
    let guarded = format!("{config}\n[restore_guard]\nown = [\"http://{address}\"]\n");
    fs::write(home.config(), guarded).unwrap();
    let (_dir, nine) = head_of(&log, 9);
    imported(&home, &nine);
    let process = home.serve();
    let first = process.add(&log.request(5, 13));
    assert_eq!((first.status, first.text()), (409, "9\n"));
    assert_eq!(process.add(&log.request(9, 13)).status, 200);
}

// Spec: WIT-74
#[test]
fn a_list_that_lost_what_an_operator_has_to_decide_is_not_served_for_what_was_imported() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let old = Home::new();
    old.add_log(&log);
    let process = old.serve();
    assert_eq!(process.add(&log.request(0, 12)).status, 200);
    let later = stored(&process, &log);
    process.terminate();
    let home = with_keys_of(&old);
    home.add_log(&log);
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 200);
    process.terminate();
    let (_dir, nine) = head_of(&log, 9);
    imported(&home, &nine);
    let list = home.path("logs.toml");
    let before = fs::read_to_string(&list).unwrap();
    let (_dir, twelve) = file_of(&[Part::Head(later)]);
    assert_eq!(code(&import(&home, &twelve, &[])), 1);
    let after = fs::read_to_string(&list).unwrap();
    // An old copy; and a word that is another by hand.
    let by_hand = after.replacen("cause = \"ours\"", "cause = \"imported\"", 1);
    assert_ne!(by_hand, after);
    for broken in [&before, &by_hand] {
        fs::write(&list, broken).unwrap();
        let output = run(&["serve", "--config", &home.config()]);
        assert_eq!(code(&output), 64, "{}", said(&output));
        assert!(said(&output).contains("example.com/log is not held any more"));
    }
    // While it runs what it was stays in force.
    fs::write(&list, &after).unwrap();
    let process = home.serve();
    assert_eq!(process.add(&log.request(5, 9)).status, 503);
    fs::write(&list, &before).unwrap();
    until(|| {
        let metrics = process.get("/metrics").text().to_owned();
        metrics.contains("log_list_errors_total") && !metrics.contains("log_list_errors_total 0\n")
    });
    let answer = process.add(&log.request(5, 9));
    assert_eq!(answer.status, 503, "{}", answer.text());
    process.terminate();
}
