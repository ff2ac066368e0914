//! Many clients at once: one history for each log, whatever is asked beside it, and a process that
//! is killed while it starts, works, and reads back what it wrote.

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

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use jurat_proto::add_checkpoint::parse_conflict_body;
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::proof::verify_consistency;
use rig::{Client, Home, Process, TestLog, verified};

/// Grows a log alone, as fast as it is answered; nobody else's requests may be felt. How far it
/// got.
fn grow_alone(log: &TestLog, home: &Home, address: SocketAddr, stop: &AtomicBool) -> u64 {
    let mut client = Client::connect(address);
    let mut size = 0;
    while !stop.load(Ordering::SeqCst) {
        let body = log.request(size, size + 1);
        let answer = client.call("POST", "/add-checkpoint", &body).unwrap();
        assert_eq!(answer.status, 200, "{}: {}", log.origin, answer.text());
        size += 1;
        verified(&answer.body, &log.checkpoint(size), &home.keys);
    }
    size
}

/// Asks for cosignatures of the tree that is there, and of no other.
fn refresh(log: &TestLog, home: &Home, address: SocketAddr, stop: &AtomicBool) -> u64 {
    let mut client = Client::connect(address);
    let (mut size, mut refreshed) = (1, 0);
    while !stop.load(Ordering::SeqCst) {
        let body = log.request(size, size);
        let answer = client.call("POST", "/add-checkpoint", &body).unwrap();
        match answer.status {
            200 => {
                verified(&answer.body, &log.checkpoint(size), &home.keys);
                refreshed += 1;
            }
            409 => {
                let now = parse_conflict_body(&answer.body).unwrap().get();
                assert!(now > size, "{now} after {size}: a size went back");
                size = now;
            }
            // Lost to others three times in a row.
            503 => assert!(answer.header("retry-after").is_some()),
            other => panic!("{other}: {}", answer.text()),
        }
    }
    refreshed
}

// Spec: WIT-43, WIT-34
#[test]
fn one_of_64_wins_each_round_while_others_refresh_and_other_logs_grow() {
    const ROUNDS: u64 = 6;
    const CLIENTS: u64 = 64;
    let home = Arc::new(Home::new());
    let mut contested = TestLog::new("example.com/contested");
    contested.grow(ROUNDS * CLIENTS + 1);
    home.add_log(&contested);
    let contested = Arc::new(contested);
    let others: Vec<Arc<TestLog>> = (0..3)
        .map(|n| {
            let mut log = TestLog::new(&format!("example.com/{n}"));
            log.grow(30_000);
            home.add_log(&log);
            Arc::new(log)
        })
        .collect();
    let process = home.serve();
    let address = process.address;
    assert_eq!(process.add(&contested.request(0, 1)).status, 200);
    let stop = Arc::new(AtomicBool::new(false));
    let background =
        |log: &Arc<TestLog>, work: fn(&TestLog, &Home, SocketAddr, &AtomicBool) -> u64| {
            let (log, home, stop) = (Arc::clone(log), Arc::clone(&home), Arc::clone(&stop));
            thread::spawn(move || work(&log, &home, address, &stop))
        };
    let growing: Vec<_> = others
        .iter()
        .map(|log| background(log, grow_alone))
        .collect();
    let refreshing: Vec<_> = (0..2).map(|_| background(&contested, refresh)).collect();

    let mut accepted = vec![1];
    for _ in 0..ROUNDS {
        let size = *accepted.last().unwrap();
        let start = Arc::new(Barrier::new(usize::try_from(CLIENTS).unwrap()));
        let clients: Vec<_> = (1..=CLIENTS)
            .map(|ahead| {
                let (log, start) = (Arc::clone(&contested), Arc::clone(&start));
                thread::spawn(move || {
                    let body = log.request(size, size + ahead);
                    let mut client = Client::connect(address);
                    start.wait();
                    let answer = client.call("POST", "/add-checkpoint", &body).unwrap();
                    (size + ahead, answer)
                })
            })
            .collect();
        let answers: Vec<_> = clients.into_iter().map(|c| c.join().unwrap()).collect();
        let won = answers.iter().filter(|(_, answer)| answer.status == 200);
        let won: Vec<u64> = won.map(|(new, _)| *new).collect();
        // A refresh leaves the tree as it is, so that nobody loses to it.
        let [winner] = won[..] else { panic!("{won:?}") };
        for (new, answer) in answers {
            match answer.status {
                200 => drop(verified(
                    &answer.body,
                    &contested.checkpoint(new),
                    &home.keys,
                )),
                409 => assert_eq!(answer.text(), format!("{winner}\n")),
                other => panic!("{other}: {}", answer.text()),
            }
        }
        accepted.push(winner);
    }
    stop.store(true, Ordering::SeqCst);
    let refreshed: u64 = refreshing
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    assert!(refreshed > 0);
    for (log, thread) in others.iter().zip(growing) {
        let size = thread.join().unwrap();
        assert!(size > 0);
        let served = SignedCheckpoint::parse(&process.get(&log.checkpoint_path()).body).unwrap();
        assert_eq!(served.head(), log.head(size), "{}", log.origin);
    }
    // One chain, from the first to what is served.
    for pair in accepted.windows(2) {
        let (old, new) = (contested.head(pair[0]), contested.head(pair[1]));
        verify_consistency(&old, &new, &contested.proof(pair[0], pair[1])).unwrap();
    }
    let served = process.get(&contested.checkpoint_path()).body;
    let served = SignedCheckpoint::parse(&served).unwrap();
    assert_eq!(served.head(), contested.head(*accepted.last().unwrap()));
}

const LOGS: usize = 24;
const LEAVES: u64 = 3_000;

/// Starts a process and kills it after so long, wherever it is then: before it reads, while it
/// reads back what is in the log, or while it makes it durable.
fn killed_while_starting(home: &Home, after: Duration) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_jurat-witness"))
        .args(["serve", "--config", &home.config()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Wait: so that the kill falls somewhere in the start, where nothing announces it.
    thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn submit(log: &TestLog, answered: &AtomicU64, address: SocketAddr) {
    let Ok(stream) = std::net::TcpStream::connect(address) else {
        return;
    };
    let mut client = Client::over(stream);
    let mut size = answered.load(Ordering::SeqCst);
    loop {
        let body = log.request(size, size + 1);
        match client.call("POST", "/add-checkpoint", &body) {
            None => return,
            Some(answer) if answer.status == 200 => {
                size += 1;
                answered.fetch_max(size, Ordering::SeqCst);
            }
            Some(answer) => {
                assert_eq!(answer.status, 409, "{}", answer.text());
                let now = parse_conflict_body(&answer.body).unwrap().get();
                assert!(now > size, "{now} is stored, {size} was answered");
                size = now;
            }
        }
    }
}

/// By the read endpoint and by a conflict; both must say the same.
fn stored(process: &Process, log: &TestLog) -> u64 {
    let conflict = process.add(&log.request(LEAVES, LEAVES));
    assert_eq!(conflict.status, 409, "{}", conflict.text());
    let size = parse_conflict_body(&conflict.body).unwrap().get();
    let served = process.get(&log.checkpoint_path());
    if size > 0 {
        let served = SignedCheckpoint::parse(&served.body).unwrap();
        assert_eq!(served.head(), log.head(size));
    } else {
        assert_eq!(served.status, 404);
    }
    size
}

/// `JURAT_KILL_ROUNDS` asks for more rounds than the ordinary 8.
// Spec: WIT-44, WIT-54, STO-22
#[test]
fn kills_at_work_and_while_starting_lose_nothing_of_many_logs() {
    let rounds = std::env::var("JURAT_KILL_ROUNDS");
    let rounds: u64 = rounds.map_or(8, |rounds| rounds.parse().unwrap());
    let home = Home::new();
    let logs: Vec<Arc<TestLog>> = (0..LOGS)
        .map(|n| {
            let mut log = TestLog::new(&format!("example.com/{n}"));
            log.grow(LEAVES);
            Arc::new(log)
        })
        .collect();
    let answered: Vec<Arc<AtomicU64>> = (0..LOGS).map(|_| Arc::default()).collect();
    for log in &logs {
        home.add_log(log);
    }
    for round in 0..rounds {
        let mut process = home.serve();
        let address = process.address;
        let before: u64 = answered
            .iter()
            .map(|size| size.load(Ordering::SeqCst))
            .sum();
        let clients: Vec<_> = logs
            .iter()
            .zip(&answered)
            .map(|(log, answered)| {
                let (log, answered) = (Arc::clone(log), Arc::clone(answered));
                thread::spawn(move || submit(&log, &answered, address))
            })
            .collect();
        let moved = || {
            answered
                .iter()
                .map(|size| size.load(Ordering::SeqCst))
                .sum::<u64>()
                - before
        };
        rig::until(|| moved() > 40 + round * 13 % 50);
        process.kill();
        for client in clients {
            client.join().unwrap();
        }
        for step in 0..3 {
            killed_while_starting(&home, Duration::from_micros(round * 1_337 + step * 9_100));
        }
        let mut process = home.serve();
        for (log, answered) in logs.iter().zip(&answered) {
            let (size, answered) = (stored(&process, log), answered.load(Ordering::SeqCst));
            assert!(size >= answered, "{}: {size} after {answered}", log.origin);
        }
        process.kill();
    }
}
