//! What an operator sees of the peers, and what is written down when they change.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod rig;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::thread;

use serde_json::Value;

use rig::circle::{Place, acquaint, homes, quiet};
use rig::{Home, run, until};

/// Rounds of a drill, in which silence is told soon.
const QUICK: &str = "round_ms = 200\npeer_silence_ms = 1000\noperator = \"Us\"\n";

fn peers(home: &Home, args: &[&str]) -> (Option<i32>, String) {
    let config = home.config();
    let output = run(&[&["peers", "--config", &config], args].concat());
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// What is listed of each peer, for programs.
fn listed(home: &Home) -> Vec<Value> {
    let (code, text) = peers(home, &["list", "--json"]);
    assert_eq!(code, Some(0), "{text}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn states(home: &Home) -> Vec<String> {
    let state = |peer: &Value| peer["state"].as_str().unwrap().to_owned();
    listed(home).iter().map(state).collect()
}

/// A place that has no time for five minutes.
fn busy() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut bytes) = (client.unwrap(), [0; 4096]);
            let answer = b"HTTP/1.1 503 Busy\r\nretry-after: 300\r\ncontent-length: 0\r\n\r\n";
            let read = client
                .read(&mut bytes)
                .and_then(|_| client.write_all(answer));
            // Who asks may hang up.
            drop(read);
        }
    });
    at
}

// Spec: GSP-141
#[test]
fn peers_are_listed_with_how_it_is_with_them_while_a_witness_serves_and_after() {
    let homes = homes(4);
    let places: Vec<Place> = homes.iter().map(|_| Place::take()).collect();
    // Of the four the third answers nothing but errors, and nobody is there in the place of the
    // fourth.
    let at = busy();
    let url = |_: usize, other: usize| match other {
        2 => format!("http://{at}"),
        other => format!("http://{}", places[other].address),
    };
    acquaint(
        &homes,
        |place| places[place].address,
        url,
        |_| QUICK.to_owned(),
    );
    let [us, other] = [&homes[0], &homes[1]];
    assert_eq!(states(us), ["not-taken"; 3]);
    let (_, text) = peers(us, &["list"]);
    assert!(
        text.ends_with("no witness has said yet how it is with them\n"),
        "{text}"
    );

    let (mut process, peer) = (us.serve(), other.serve());
    until(|| states(us) == ["answers", "silent", "silent"]);
    let all = listed(us);
    assert_eq!(all[0]["name"], "w1.example");
    assert!(
        all[0]["answered"].is_u64() && all[0]["claimed"].is_u64(),
        "{}",
        all[0]
    );
    assert!(all[0]["failing_since"].is_null(), "{}", all[0]);
    // The one that asked for it is left alone for that long; who cannot be reached is not.
    let pause = |peer: &Value| peer["paused_until"].as_u64().unwrap_or_default();
    let written = all[1]["written"].as_u64().unwrap();
    assert!(
        (written + 200..written + 301).contains(&pause(&all[1])),
        "{}",
        all[1]
    );
    assert!(pause(&all[2]) <= written + 1, "{}", all[2]);
    assert!(all[1]["answered"].is_null() && all[2]["failures"].is_u64());
    let (_, text) = peers(us, &["list"]);
    let line = format!("answers    w1.example http://{}\n", places[1].address);
    assert!(text.starts_with(&line), "{text}");
    assert!(text.contains("; asked again in 2"), "{text}");

    // It is there when nobody serves, and a start knows when a peer was heard.
    process.kill();
    drop(peer);
    let before = listed(us)[0]["answered"].as_u64().unwrap();
    assert_eq!(states(us), ["answers", "silent", "silent"]);
    let written = |home: &Home| listed(home)[0]["written"].as_u64();
    let last = written(us);
    let process = us.serve();
    until(|| written(us) > last);
    assert_eq!(listed(us)[0]["answered"].as_u64(), Some(before));

    // What is cut short is told, and says nothing.
    drop(process);
    fs::write(us.path("gossip/peers.json"), b"{\"written\":").unwrap();
    let (code, text) = peers(us, &["list"]);
    assert_eq!(code, Some(0));
    assert!(
        text.contains("unreadable") && text.contains("not taken  w1.example"),
        "{text}"
    );
    // A witness without gossip has nobody.
    let alone = Home::named("alone.example");
    assert_eq!(peers(&alone, &["list"]).0, Some(64));
}

/// The lines of the journal of peers.
fn journal(home: &Home) -> Vec<(String, String, String)> {
    let text = fs::read_to_string(home.path("peers.ndjson")).unwrap_or_default();
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let word = |name: &str| line[name].as_str().unwrap().to_owned();
        (word("actor"), word("action"), word("peer"))
    };
    text.lines().map(line).collect()
}

fn line(actor: &str, action: &str, peer: &str) -> (String, String, String) {
    (actor.to_owned(), action.to_owned(), peer.to_owned())
}

// Spec: GSP-142
#[test]
fn each_change_of_the_peers_is_a_line_that_names_the_one_before() {
    let homes = homes(3);
    let place = Place::take();
    let url = |_: usize, other: usize| format!("http://127.0.0.1:{}", other + 1);
    acquaint(&homes, |_| place.address, url, |_| QUICK.to_owned());
    let us = &homes[0];
    let mut process = quiet(Command::new(env!("CARGO_BIN_EXE_jurat-witness")), us);
    let mut wanted = vec![
        line("start", "added", "w1.example"),
        line("start", "added", "w2.example"),
    ];
    assert_eq!(journal(us), wanted);
    let config = fs::read_to_string(us.config()).unwrap();
    let last = config.rfind("\n[[gossip.peer]]").unwrap();
    let moved = config[..last].replace("http://127.0.0.1:2", "http://127.0.0.1:4");
    fs::write(us.config(), &moved).unwrap();
    process.signal("HUP");
    wanted.push(line("SIGHUP", "other URL or operator", "w1.example"));
    wanted.push(line("SIGHUP", "removed", "w2.example"));
    until(|| journal(us) == wanted);
    // Nothing changed: nothing to write.
    process.signal("HUP");
    // What cannot be written down is not done.
    let path = us.path("peers.ndjson");
    let aside = us.path("aside");
    fs::rename(&path, &aside).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(us.config(), &config).unwrap();
    process.signal("HUP");
    let stderr = us.path("stderr");
    let told = || fs::read_to_string(&stderr).is_ok_and(|text| text.contains("not taken over"));
    until(told);
    let written = || listed(us)[0]["written"].as_u64().unwrap_or_default();
    let at = written();
    until(|| written() > at + 1);
    assert_eq!(states(us)[1], "not-taken");
    process.kill();
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    fs::remove_dir(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    assert_eq!(journal(us), wanted);

    // A start writes what was changed while nothing ran, also that nobody is a peer any more; and
    // no start goes unrecorded.
    let key = format!("[gossip]\nkey = \"gossip.key\"\n{QUICK}");
    let first = config.find("\n[[gossip.peer]]").unwrap();
    fs::write(us.config(), config[..first].replace(&key, "")).unwrap();
    let process = us.serve();
    wanted.push(line("start", "removed", "w1.example"));
    assert_eq!(journal(us), wanted);
    drop(process);

    let check = || {
        let journal = peers(us, &["journal", "--check"]).0;
        let logs = us.logs(&["journal", "--check"]).status.code();
        assert_eq!(journal, logs, "one command checks both");
        journal
    };
    assert_eq!(check(), Some(0));
    let (_, shown) = peers(us, &["journal"]);
    assert!(shown.contains(" removed w2.example (SIGHUP)\n"), "{shown}");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    fs::write(&path, [lines[0], lines[2], lines[3], lines[4]].concat()).unwrap();
    assert_eq!(check(), Some(65));
}
