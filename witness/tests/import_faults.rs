//! Imports that are killed, that meet each other, a witness that is busy, names that a terminal
//! would obey, and a list that is full: what is held is as before or as after.
//!
//! Spec: GSP-182, GSP-183, GSP-185, GSP-211, GSP-214, GSP-220,
//! GSP-221, GSP-222.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod rig;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use jurat_proto::checkpoint::Origin;
use jurat_proto::evidence::Evidence;
use jurat_proto::export::{Part, parse};
use jurat_proto::key::VerifierKey;
use jurat_store::registry::{REGISTRY_BYTES_MAX, Registry};

use rig::carry::{
    code, export, file_of, head_of, held, import, imported, journal, nowhere, said, state,
};
use rig::{Home, TestLog, files, run, verified};

/// Many logs, in the order of their names.
fn logs(count: usize) -> Vec<TestLog> {
    let log = |n| {
        let mut log = TestLog::new(&format!("{n:04}.example/log"));
        log.grow(20);
        log
    };
    (0..count).map(log).collect()
}

/// A list as an operator writes it before the first start.
fn list_of(logs: &[TestLog]) -> String {
    let mut text = String::new();
    for log in logs {
        let origin = log
            .origin
            .as_str()
            .replace('\\', "\\\\")
            .replace('"', "\\\"");
        let escaped = |character: char| match character {
            control if control.is_control() => format!("\\u{:04X}", u32::from(control)),
            other => other.to_string(),
        };
        let origin: String = origin.chars().map(escaped).collect();
        let key = log.vkey();
        let entry = format!("[[log]]\norigin = \"{origin}\"\nkeys = [\"{key}\"]\n");
        write!(text, "{entry}state = \"active\"\n\n").unwrap();
    }
    text
}

fn heads(logs: &[TestLog], size: u64) -> Vec<Part> {
    logs.iter()
        .map(|log| Part::Head(log.checkpoint(size)))
        .collect()
}

/// How many imported heads each log waits for.
fn waiting(home: &Home) -> Vec<usize> {
    let list = Registry::load(home.path("logs.toml")).unwrap();
    list.logs().map(|log| log.imported().count()).collect()
}

fn begin(home: &Home, file: &Path) -> Child {
    let config = home.config();
    Command::new(env!("CARGO_BIN_EXE_jurat-witness"))
        .args(["import", file.to_str().unwrap(), "--config", &config])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

// Spec: GSP-182, GSP-185
#[test]
fn an_import_that_is_killed_holds_all_logs_or_none_and_a_second_one_completes_it() {
    const LOGS: usize = 150;
    const ROUNDS: u32 = 24;
    let mut logs = logs(LOGS);
    let fork = logs[0].fork(5);
    let evidence = Evidence::same_size(logs[0].checkpoint(6), fork.checkpoint(6)).unwrap();
    let mut parts = heads(&logs, 9);
    parts.push(Part::Evidence(Box::new(evidence)));
    let (_dir, file) = file_of(&parts);
    let list = list_of(&logs);
    let home = Home::new();
    let afresh = || {
        for file in ["journal.ndjson", "journal.said", "logs.toml.new"] {
            drop(fs::remove_file(home.path(file)));
        }
        drop(fs::remove_dir_all(home.path("evidence")));
        fs::write(home.path("logs.toml"), &list).unwrap();
    };
    afresh();
    let began = Instant::now();
    imported(&home, &file);
    let whole = began.elapsed();
    assert_eq!(waiting(&home), [1; LOGS]);

    let (mut killed, mut before, mut between, mut after) = (0, 0, 0, 0);
    for round in 0..ROUNDS {
        afresh();
        let mut process = begin(&home, &file);
        // Wait: it is killed at another moment of its work in each round.
        thread::sleep(whole * round / ROUNDS);
        process.kill().unwrap();
        killed += u32::from(process.wait().unwrap().code().is_none());
        let left = waiting(&home);
        assert!(left == [0; LOGS] || left == [1; LOGS], "{round}: {left:?}");
        let journaled = fs::read_to_string(home.path("journal.ndjson"));
        let journaled = journaled.is_ok_and(|text| text.contains("\"imported\""));
        match (left[0], journaled) {
            (0, false) => before += 1,
            (0, true) => between += 1,
            (_, journaled) => {
                assert!(journaled, "no change without its line");
                after += 1;
            }
        }
        // What it did not do, or not to the end.
        imported(&home, &file);
        assert_eq!(waiting(&home), [1; LOGS]);
        journal(&home);
        let kept = fs::read_dir(home.path("evidence")).unwrap().count();
        assert!(kept > 0, "{round}");
    }
    println!("killed {killed}: before {before}, between {between}, after {after}");
    assert!(killed > 0 && before > 0, "nothing was interrupted");
    let process = home.serve();
    let answer = process.add(&logs[1].request(0, 12));
    assert_eq!((answer.status, answer.text()), (409, "9\n"));
    assert_eq!(process.add(&logs[0].request(9, 12)).status, 403);
}

// Spec: GSP-185, GSP-211, GSP-214
#[test]
fn two_imports_at_once_take_turns_and_both_hold() {
    const LOGS: usize = 60;
    let logs = logs(LOGS);
    let home = Home::new();
    fs::write(home.path("logs.toml"), list_of(&logs)).unwrap();
    let ((_nine, nine), (_twelve, twelve)) =
        (file_of(&heads(&logs, 9)), file_of(&heads(&logs, 12)));
    let both = [begin(&home, &nine), begin(&home, &twelve)];
    for process in both {
        let output = process.wait_with_output().unwrap();
        assert_eq!(code(&output), 0, "{}", said(&output));
        assert!(
            said(&output).contains("40 more logs: held"),
            "{}",
            said(&output)
        );
    }
    assert_eq!(waiting(&home), [2; LOGS]);
    let lines = journal(&home);
    assert_eq!(lines.matches("logs to be held").count(), 2, "{lines}");
    let process = home.serve();
    let answer = process.add(&logs[7].request(9, 13));
    assert_eq!((answer.status, answer.text()), (409, "12\n"));
    assert_eq!(process.add(&logs[7].request(12, 13)).status, 200);
}

// Spec: GSP-211, GSP-220
#[test]
fn a_stranger_who_replays_older_heads_between_the_requests_of_a_log_sets_it_back_by_none() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let home = Home::new();
    home.add_log(&log);
    let ((_nine, nine), (_twelve, twelve)) = (head_of(&log, 9), head_of(&log, 12));
    imported(&home, &nine);
    imported(&home, &twelve);
    let process = home.serve();
    let ask = |old, new| {
        let answer = process.add(&log.request(old, new));
        (answer.status, answer.text().to_owned())
    };
    let missing = |size: u64| (409, format!("{size}\n"));
    assert_eq!(ask(9, 20), missing(12));
    // Whatever the log signed before anybody may send, with a proof from what is known.
    for (old, new, from) in [
        (9, 13, 12),
        (12, 14, 9),
        (9, 15, 12),
        (12, 16, 9),
        (9, 17, 12),
    ] {
        assert_eq!(ask(old, new), missing(from));
    }
    for (old, new) in [(0, 19), (9, 9), (9, 11)] {
        assert_eq!(ask(old, new), missing(12));
    }
    let answer = process.add(&log.request(12, 20));
    assert_eq!(answer.status, 200, "{}", answer.text());
    verified(&answer.body, &log.checkpoint(20), &home.keys);
}

// Spec: GSP-214
#[test]
fn a_database_that_somebody_has_who_is_no_witness_is_told_of_and_nothing_is_done() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let home = Home::new();
    home.add_log(&log);
    let (_dir, file) = head_of(&log, 9);
    let before = state(&home);
    let database = home.path("witness.redb");
    let options = jurat_store::RedbOptions::default();
    let somebody = jurat_store::Peek::open(&database, options).unwrap();
    let output = import(&home, &file, &[]);
    assert_eq!(code(&output), 69, "{}", said(&output));
    let wanted = format!(
        "another process has {}, and no witness answers at http://127.0.0.1:0; nothing was done",
        database.display()
    );
    assert!(said(&output).contains(&wanted), "{}", said(&output));
    assert_eq!(state(&home), before);
    drop(somebody);
    imported(&home, &file);
}

/// Says who it is, answers 503 so often, then 200 with this note; and how often it was asked.
fn busy(home: &Home, times: usize, note: Vec<u8>) -> (SocketAddr, Arc<AtomicUsize>) {
    let document = document(&home.keys);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut line, mut first) = (String::new(), String::new());
            stream.read_line(&mut first).unwrap();
            let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
            while stream.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
                line.clear();
            }
            let (status, body) = match path.as_str() {
                // Whether anybody is there, and who, is asked first.
                "/health" => (503, &b"too many\n"[..]),
                "/witness.v0.json" => (200, document.as_bytes()),
                _ if count.fetch_add(1, Ordering::SeqCst) < times => (503, &b"too many\n"[..]),
                _ => (200, &note[..]),
            };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.get_mut().write_all(head.as_bytes());
            let _ = stream.get_mut().write_all(body);
        }
    });
    (address, asked)
}

/// What a witness with these keys says of itself.
fn document(keys: &[VerifierKey]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| format!("\"{key}\"")).collect();
    format!("{{\"verifier_keys\": [{}], \"more\": 1}}", keys.join(", "))
}

// Spec: GSP-221
#[test]
fn a_server_that_is_not_this_witness_is_not_believed_to_have_nothing_of_a_log() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let (home, other) = (Home::new(), Home::named("other.example/w2"));
    for home in [&home, &other] {
        home.add_log(&log);
    }
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 200);
    // Another witness, which never heard of the log but is listed with it; and any web server.
    let foreign = other.serve();
    assert_eq!(foreign.get(&log.checkpoint_path()).status, 404);
    let of = |document: &str| {
        let document = ("/witness.v0.json".to_owned(), document.as_bytes().to_vec());
        files(vec![document])
    };
    let both = [&home.keys[..], &other.keys[..1]].concat();
    let another = format!("it has the key \"{}\"", other.keys[0]);
    let servers = [
        (foreign.address, another.as_str()),
        (files(Vec::new()), "/witness.v0.json answers 404"),
        (of("<html>"), "/witness.v0.json is no document of a witness"),
        (of("{}"), "/witness.v0.json is no document of a witness"),
        (of(&document(&[])), "/witness.v0.json names no key"),
        // Keys of ours and one more.
        (of(&document(&both)), another.as_str()),
    ];
    let (_dir, nine) = head_of(&log, 9);
    let (_other, whole) = nowhere();
    let before = state(&home);
    for (address, wanted) in servers {
        let at = format!("http://{address}");
        let outputs = [
            import(&home, &nine, &["--at", &at, "--dry-run"]),
            import(&home, &nine, &["--at", &at]),
            export(&home, &whole, &["--at", &at]),
        ];
        for output in outputs {
            let told = said(&output);
            assert_eq!(code(&output), 69, "{told}");
            let wanted = format!("the server at {at} is not this witness: {wanted}");
            assert!(told.contains(&wanted), "{told}");
            assert!(told.contains("; nothing was done"), "{told}");
            // Nor is anything said of what would be.
            assert!(!told.contains("held"), "{told}");
        }
    }
    assert_eq!(state(&home), before);
    assert!(!whole.exists());
    // Ours is believed, and so is one that does not know yet that a key was replaced.
    let at = format!("http://{}/", process.address);
    let output = import(&home, &nine, &["--at", &at]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(
        held(&home).contains("size 9 was imported"),
        "{}",
        held(&home)
    );
    let config = fs::read_to_string(home.config()).unwrap();
    let keys = "keys = [\"ed25519.key\", \"ml-dsa-44.key\"]";
    assert!(config.contains(keys), "{config}");
    let replaced = format!(
        "keys = [\"ml-dsa-44.key\"]\nformer_keys = [\"{}\"]",
        home.keys[0]
    );
    fs::write(home.config(), config.replace(keys, &replaced)).unwrap();
    let output = export(&home, &whole, &["--at", &at]);
    assert_eq!(code(&output), 0, "{}", said(&output));
}

/// Answers 500 to whatever it is asked.
fn failing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
                line.clear();
            }
            let answer = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.get_mut().write_all(answer);
        }
    });
    address
}

// Spec: GSP-221
#[test]
fn a_server_that_fails_is_not_said_to_be_another_one() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let home = Home::new();
    home.add_log(&log);
    // It has the database.
    let _process = home.serve();
    let before = state(&home);
    let (_dir, nine) = head_of(&log, 9);
    let at = format!("http://{}", failing());
    let output = import(&home, &nine, &["--at", &at]);
    let told = said(&output);
    assert_eq!(code(&output), 69, "{told}");
    let wanted =
        format!("the server at {at} does not say who it is: /witness.v0.json answers 500; nothing");
    assert!(told.contains(&wanted), "{told}");
    assert_eq!(state(&home), before);
}

// Spec: GSP-221
#[test]
fn who_cannot_read_a_key_of_the_witness_is_told_of_the_file_and_not_that_it_is_another() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let home = Home::new();
    home.add_log(&log);
    let process = home.serve();
    let at = format!("http://{}", process.address);
    let key = home.path("ml-dsa-44.key");
    fs::rename(&key, home.path("away.key")).unwrap();
    let before = state(&home);
    let (_dir, nine) = head_of(&log, 9);
    let output = import(&home, &nine, &["--at", &at]);
    let told = said(&output);
    assert_eq!(code(&output), 69, "{told}");
    let file = format!(
        "which may be that in {}: this file cannot be read",
        key.display()
    );
    assert!(told.contains(&file), "{told}");
    assert!(!told.contains("is not this witness"), "{told}");
    assert_eq!(state(&home), before);
    fs::rename(home.path("away.key"), key).unwrap();
    let output = import(&home, &nine, &["--at", &at]);
    assert_eq!(code(&output), 0, "{}", said(&output));
}

// Spec: GSP-222
#[test]
fn an_export_names_the_logs_that_wait_for_imported_heads() {
    let logs = logs(24);
    let home = Home::new();
    fs::write(home.path("logs.toml"), list_of(&logs)).unwrap();
    let exported = || {
        let (_dir, file) = nowhere();
        let output = export(&home, &file, &[]);
        assert_eq!(code(&output), 0, "{}", said(&output));
        said(&output)
    };
    assert!(!exported().contains("imported"), "{}", exported());
    let import_of = |logs: &[TestLog], size| {
        let (_dir, file) = file_of(&heads(logs, size));
        imported(&home, &file);
    };
    let waits = |n: usize| {
        format!("{n:04}.example/log: waits for imported heads, which are not in the file\n")
    };
    // It does not matter for how many.
    import_of(&logs[7..8], 9);
    import_of(&logs[7..8], 12);
    let told = exported();
    assert!(told.contains(&waits(7)), "{told}");
    assert_eq!(told.matches("imported heads").count(), 1, "{told}");
    assert!(
        told.contains("Import the earlier files there, too\n"),
        "{told}"
    );
    import_of(&logs[1..], 9);
    let told = exported();
    for n in 1..24 {
        assert_eq!(told.contains(&waits(n)), n <= 20, "{n}: {told}");
    }
    assert!(!told.contains(&waits(0)), "{told}");
    let more = "3 more logs: wait for imported heads, which are not in the file\n";
    assert!(told.contains(more), "{told}");
}

// Spec: GSP-183, GSP-185
#[test]
fn a_witness_that_is_busy_is_asked_again_and_one_that_stays_so_is_told_of() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let home = Home::new();
    home.add_log(&log);
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 200);
    let ours = process.get(&log.checkpoint_path()).body;
    let (_dir, file) = head_of(&log, 9);

    // It never has time: nothing is done, after as many questions as there may be.
    let before = state(&home);
    let (address, asked) = busy(&home, usize::MAX, Vec::new());
    let output = import(&home, &file, &["--at", &format!("http://{address}")]);
    assert_eq!(code(&output), 69, "{}", said(&output));
    assert!(
        said(&output).contains("/checkpoint answers 503"),
        "{}",
        said(&output)
    );
    assert_eq!(asked.load(Ordering::SeqCst), 20);
    assert_eq!(state(&home), before);

    let (address, asked) = busy(&home, 3, ours.clone());
    let output = import(&home, &file, &["--at", &format!("http://{address}")]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    assert!(held(&home).contains("size 9 was imported"));

    let (address, asked) = busy(&home, 2, ours.clone());
    let (_other, whole) = nowhere();
    let output = export(&home, &whole, &["--at", &format!("http://{address}")]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    let (_, parts) = parse(&fs::read(&whole).unwrap()).unwrap();
    let [Part::Head(head)] = &parts[..] else {
        panic!("{parts:?}")
    };
    assert_eq!(head.to_bytes(), ours);
}

// Spec: GSP-183
#[test]
fn origins_that_a_list_or_a_terminal_reads_otherwise_are_carried_as_they_are() {
    let names = [
        "a \"quoted\" 'log' = [[x]] # \\ back",
        "b \u{1f333} \u{fc} e\u{301}",
        // A terminal would turn this around.
        "c \u{202e}gol",
    ];
    let log_of = |(n, name): (usize, &&str)| {
        let mut log = TestLog::new(&format!("{n}.example/log"));
        log.origin = Origin::parse(name).unwrap();
        log.grow(20);
        log
    };
    let logs: Vec<TestLog> = names.iter().enumerate().map(log_of).collect();
    let (old, new) = (Home::new(), Home::named("other.example/w2"));
    for home in [&old, &new] {
        fs::write(home.path("logs.toml"), list_of(&logs)).unwrap();
    }
    let process = old.serve();
    for log in &logs {
        assert_eq!(process.add(&log.request(0, 9)).status, 200);
    }
    let (_dir, file) = nowhere();
    let at = format!("http://{}", process.address);
    let output = export(&old, &file, &["--at", &at]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    process.terminate();

    let output = import(&new, &file, &[]);
    let told = said(&output);
    assert_eq!(code(&output), 0, "{told}");
    for name in &names[..2] {
        assert!(told.contains(&format!("{name}: held: size 9")), "{told}");
    }
    assert!(told.contains("c \\u{202e}gol: held: size 9"), "{told}");
    for text in [told, held(&new), journal(&new)] {
        assert!(!text.contains('\u{202e}'), "{text}");
    }
    assert_eq!(waiting(&new), [1; 3]);
    let list = Registry::load(new.path("logs.toml")).unwrap();
    let listed: Vec<&str> = list.logs().map(|log| log.origin.as_str()).collect();
    assert_eq!(listed, names);
    let process = new.serve();
    for log in &logs {
        let answer = process.add(&log.request(0, 12));
        assert_eq!((answer.status, answer.text()), (409, "9\n"));
        assert_eq!(process.add(&log.request(9, 12)).status, 200);
    }
}

// Spec: GSP-185
#[test]
fn an_import_for_which_the_list_has_no_room_is_refused_and_changes_nothing() {
    let logs = logs(2);
    let home = Home::new();
    let list = list_of(&logs);
    // The rest is what somebody says of a log: the list can be read, and takes not one hold more.
    let most = REGISTRY_BYTES_MAX - list.len() - 200;
    let text = format!("{list}contact = \"{}\"\n", "x".repeat(most));
    let text = text.replacen("\n\ncontact", "\ncontact", 1);
    fs::write(home.path("logs.toml"), &text).unwrap();
    let (_dir, file) = file_of(&heads(&logs, 9));
    for more in [&["--dry-run"][..], &[]] {
        let output = import(&home, &file, more);
        let told = said(&output);
        assert_eq!(code(&output), 64, "{told}");
        assert!(told.contains("the list would have 1342"), "{told}");
        assert!(told.contains("bytes, 134217728 at most are read"), "{told}");
        assert!(!told.contains("held"), "{told}");
    }
    assert!(fs::read(home.path("logs.toml")).unwrap() == text.as_bytes());
    assert!(!home.path("journal.ndjson").exists());
    assert!(!home.path("logs.toml.new").exists());
    let output = run(&["check-config", "--config", &home.config()]);
    assert_eq!(code(&output), 0, "{}", said(&output));
}
