//! Many clients at once, and a process that is killed under them again and again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod rig;

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use jurat_proto::add_checkpoint::parse_conflict_body;
use jurat_proto::checkpoint::{SignedCheckpoint, verify_signatures};
use jurat_proto::proof::verify_consistency;

use rig::{Home, Process, TestLog, verified};

#[test]
fn of_64_requests_from_one_size_exactly_one_wins() {
    // Spec: WIT-43
    const ROUNDS: u64 = 8;
    const CLIENTS: u64 = 64;
    let mut log = TestLog::new("example.com/log");
    log.grow(ROUNDS * CLIENTS + 1);
    let log = Arc::new(log);
    let home = Home::new();
    home.add_log(&log);
    let process = home.serve();

    let mut size = 1;
    assert_eq!(process.add(&log.request(0, size)).status, 200);
    for _ in 0..ROUNDS {
        let start = Arc::new(Barrier::new(usize::try_from(CLIENTS).unwrap()));
        let clients: Vec<_> = (1..=CLIENTS)
            .map(|ahead| {
                let (log, start, address) = (Arc::clone(&log), Arc::clone(&start), process.address);
                thread::spawn(move || {
                    let body = log.request(size, size + ahead);
                    let mut client = rig::Client::connect(address);
                    start.wait();
                    (
                        size + ahead,
                        client.call("POST", "/add-checkpoint", &body).unwrap(),
                    )
                })
            })
            .collect();
        let answers: Vec<_> = clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect();
        let winners: Vec<u64> = answers
            .iter()
            .filter(|(_, answer)| answer.status == 200)
            .map(|(new, answer)| {
                verified(&answer.body, &log.checkpoint(*new), &home.keys);
                *new
            })
            .collect();
        let [winner] = winners[..] else {
            panic!("{winners:?}")
        };
        for (new, answer) in &answers {
            if *new != winner {
                assert_eq!(answer.status, 409, "{}", answer.text());
                assert_eq!(answer.text(), format!("{winner}\n"));
            }
        }
        // What is served is the winner's tree, and it continues the one before.
        let served = process.get(&log.checkpoint_path());
        let served = SignedCheckpoint::parse(&served.body).unwrap();
        assert_eq!(served.head(), log.head(winner));
        verify_consistency(&log.head(size), &served.head(), &log.proof(size, winner)).unwrap();
        size = winner;
    }
}

#[test]
fn requests_for_the_same_tree_all_get_their_cosignatures() {
    // Spec: WIT-34
    let mut log = TestLog::new("example.com/log");
    log.grow(5);
    let log = Arc::new(log);
    let home = Home::new();
    home.add_log(&log);
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 200);
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let (log, keys, address) = (Arc::clone(&log), home.keys.clone(), process.address);
            thread::spawn(move || {
                let mut client = rig::Client::connect(address);
                let mut time = 0;
                for _ in 0..20 {
                    let answer = client
                        .call("POST", "/add-checkpoint", &log.request(5, 5))
                        .unwrap();
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    let now = verified(&answer.body, &log.checkpoint(5), &keys);
                    assert!(now >= time);
                    time = now;
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
}

/// More than all rounds reach, so that the old size of the whole tree is always a conflict.
const LEAVES: u64 = 20_000;

/// `JURAT_KILL_ROUNDS` asks for more rounds than the ordinary 30.
#[test]
fn a_size_that_was_answered_survives_any_kill() {
    // Spec: WIT-44, WIT-54
    const LOGS: usize = 4;
    let rounds = std::env::var("JURAT_KILL_ROUNDS").map_or(30, |rounds| {
        rounds
            .parse::<u64>()
            .expect("JURAT_KILL_ROUNDS is a number")
    });
    let home = Home::new();
    let logs: Vec<Arc<TestLog>> = (0..LOGS)
        .map(|number| {
            let mut log = TestLog::new(&format!("example.com/{number}"));
            log.grow(LEAVES);
            home.add_log(&log);
            Arc::new(log)
        })
        .collect();
    let answered: Vec<Arc<AtomicU64>> = (0..LOGS).map(|_| Arc::default()).collect();
    for round in 0..rounds {
        let mut process = home.serve();
        for (log, answered) in logs.iter().zip(&answered) {
            check_after_restart(&process, log, answered.load(Ordering::SeqCst), &home);
        }
        let successes = Arc::new(AtomicU64::new(0));
        let clients: Vec<_> = logs
            .iter()
            .zip(&answered)
            .flat_map(|(log, answered)| (0..2).map(move |_| (log, answered)))
            .map(|(log, answered)| {
                let (log, answered) = (Arc::clone(log), Arc::clone(answered));
                let (successes, address) = (Arc::clone(&successes), process.address);
                thread::spawn(move || submit(&log, &answered, &successes, address))
            })
            .collect();
        // Another moment each round: from the first commits to the middle of the stream, and then
        // anywhere within a commit.
        let began = Instant::now();
        while successes.load(Ordering::SeqCst) <= (round * 7) % 40 {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "the load does not move"
            );
            // Wait: for other threads, which answer to the process that is to be killed.
            thread::sleep(Duration::from_micros(200));
        }
        // Wait: so that the kill falls where nothing announces it.
        thread::sleep(Duration::from_micros((round * 1337) % 5000));
        process.kill();
        for client in clients {
            client.join().unwrap();
        }
    }
    let process = home.serve();
    for (log, answered) in logs.iter().zip(&answered) {
        let answered = answered.load(Ordering::SeqCst);
        assert!(answered > 0);
        check_after_restart(&process, log, answered, &home);
    }
}

/// Grows the log as fast as the witness answers, until it does not.
fn submit(log: &TestLog, answered: &AtomicU64, successes: &AtomicU64, address: SocketAddr) {
    let Ok(stream) = TcpStream::connect(address) else {
        return;
    };
    let mut client = rig::Client::over(stream);
    let mut size = answered.load(Ordering::SeqCst);
    loop {
        let new = (size + 1).min(LEAVES);
        let Some(answer) = client.call("POST", "/add-checkpoint", &log.request(size, new)) else {
            return;
        };
        match answer.status {
            200 => {
                answered.fetch_max(new, Ordering::SeqCst);
                successes.fetch_add(1, Ordering::SeqCst);
                size = new;
            }
            409 => size = parse_conflict_body(&answer.body).unwrap().get(),
            other => panic!("{other}: {}", answer.text()),
        }
    }
}

fn check_after_restart(process: &Process, log: &TestLog, answered: u64, home: &Home) {
    let conflict = process.add(&log.request(LEAVES, LEAVES));
    assert_eq!(conflict.status, 409, "{}", conflict.text());
    let stored = parse_conflict_body(&conflict.body).unwrap().get();
    assert!(
        stored >= answered,
        "{stored} is stored and {answered} was answered"
    );
    let served = process.get(&log.checkpoint_path());
    if stored == 0 && served.status == 404 {
        return;
    }
    let served = SignedCheckpoint::parse(&served.body).unwrap();
    assert_eq!(served.head(), log.head(stored));
    assert_eq!(
        verify_signatures(served.note(), &home.keys).unwrap().len(),
        2
    );
    verify_signatures(served.note(), std::slice::from_ref(log.vkey())).unwrap();
}
