//! kill -9 at random moments while time-stamps are made: no token exists without its entry, no
//! serial number is used twice, and no time goes back, across all the lives of the service.
//!
//! A commit of a few entries is answered when the journal has it and the engine has not (STO-50).
//! So some lives end at the very moment of an answer, and in a process of this test's own the
//! engine is left behind by one commit all the time.
//!
//! `JURAT_KILL_ROUNDS` and `JURAT_KILL_SEED` are as in `crash.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "what panics here is a test that fails"
)]

mod network;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use jurat::log::Sequencer;
use jurat_proto::entry::{Entry, TimestampEntry};
use jurat_proto::tree::LeafIndex;
use jurat_proto::tsp::imprint::{HashAlgorithm, MessageImprint};
use jurat_proto::tsp::request::{Nonce, TimestampRequest};
use jurat_proto::tsp::response::{PkiStatus, TimestampResponse};
use jurat_proto::tsp::tst_info::TstInfo;
use jurat_store::{Faulty, JournalOptions, LogStore, NewEntry, RedbStore};
use prometheus_client::registry::Registry;

use crate::network::{Client, Home};

const ROUNDS: usize = 20;

/// Fewer than these in the time that there is are no test.
const ROUNDS_MIN: u64 = 5;

/// No round begins after this time, unless the rounds were asked for.
const TIME_MAX: Duration = Duration::from_secs(40);

const CLIENTS: u64 = 6;

/// The service is killed at a moment before this, from when it listens.
const LIFE_MAX: Duration = Duration::from_millis(400);

/// Of the lives that end with an answer, the most of those before it.
const ANSWERS_MAX: u64 = 120;

/// How long an answer may take on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until the service is gone, and gives what the tokens say whose last byte came. Each is told
/// of when it has come.
fn work(address: SocketAddr, client: u64, told: &SyncSender<()>) -> Vec<TstInfo> {
    let mut tokens = Vec::new();
    let Ok(mut connection) = Client::connect(address) else {
        return tokens;
    };
    for number in 0_u64.. {
        let imprint = HashAlgorithm::Sha256.digest(&number.to_be_bytes());
        let imprint = MessageImprint::new(HashAlgorithm::Sha256, imprint).unwrap();
        let nonce = Nonce::from_number(&client.to_be_bytes()).unwrap();
        let request = TimestampRequest::new(imprint, None, Some(nonce), number % 2 == 0);
        let headers = ["Content-Type: application/timestamp-query"];
        let body = request.to_bytes();
        let Ok(answer) = connection.call("POST", "/timestamp", &headers, &body) else {
            break;
        };
        assert_eq!(answer.status, 200, "{}", answer.text());
        let Ok(response) = TimestampResponse::parse(&answer.body) else {
            break;
        };
        assert_eq!(
            response.status(),
            PkiStatus::Granted,
            "{:?}",
            response.texts()
        );
        // Who counts them wants fewer than find room, and may have gone.
        let _ = told.try_send(());
        tokens.push(response.token().unwrap().tst_info().clone());
    }
    tokens
}

/// Each token's entry is at the place that its serial number says, and says the same.
fn examine(home: &Home, tokens: &BTreeMap<u64, TstInfo>, from: u64) {
    home.fsck();
    let store = RedbStore::open_journaled(home.database(), JournalOptions::default()).unwrap();
    for (index, info) in tokens.range(from..) {
        let bytes = store.entry(LeafIndex::new(*index).unwrap()).unwrap();
        let bytes = bytes.unwrap_or_else(|| panic!("token {index} has no entry"));
        let due = TimestampEntry::of(info).unwrap();
        assert_eq!(Entry::parse(&bytes), Ok(Entry::Timestamp(due)), "{index}");
    }
}

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
}

// Spec: TSA-03, TSA-05, TSA-11
#[test]
fn kill_9_at_any_moment_leaves_no_token_without_its_entry_and_no_number_twice() {
    let asked = setting("JURAT_KILL_ROUNDS");
    let rounds = asked.map_or(ROUNDS, |rounds| usize::try_from(rounds).unwrap());
    let seed = setting("JURAT_KILL_SEED");
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one("kill -9"));
    println!("JURAT_KILL_SEED={seed} JURAT_KILL_ROUNDS={rounds}");
    let home = Home::with_timestamps();
    let mut tokens: BTreeMap<u64, TstInfo> = BTreeMap::new();
    let began = Instant::now();
    let mut done: u64 = 0;
    while done < u64::try_from(rounds).unwrap() && (asked.is_some() || began.elapsed() < TIME_MAX) {
        let most = u64::try_from(LIFE_MAX.as_micros()).unwrap();
        let moment = seed.wrapping_mul(done * 2 + 1) >> 20;
        let moment = Duration::from_micros(moment % most);
        let mut service = home.serve();
        let address = service.address;
        let new = std::thread::scope(|scope| {
            let (told, answers) = sync_channel(2 * usize::try_from(ANSWERS_MAX).unwrap());
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let told = told.clone();
                    scope.spawn(move || work(address, client, &told))
                })
                .collect();
            let mut answered = true;
            if done.is_multiple_of(2) {
                // Wait: this is the moment that the seed chose.
                std::thread::sleep(moment);
            } else {
                let mut count = 0..=(seed.wrapping_mul(done) >> 20) % ANSWERS_MAX;
                answered = count.all(|_| answers.recv_timeout(PATIENCE).is_ok());
            }
            // Whatever came: the clients end with it.
            service.process.kill();
            assert!(answered, "no answer in {PATIENCE:?}");
            let tokens = clients.into_iter().map(|client| client.join().unwrap());
            tokens.collect::<Vec<_>>().concat()
        });
        let before = tokens.last_key_value().map_or(0, |(index, _)| index + 1);
        for info in new {
            let (_, index) = info.serial.as_unit().unwrap();
            let twice = tokens.insert(index.get(), info);
            assert!(twice.is_none(), "serial number of {index} twice");
        }
        examine(&home, &tokens, before);
        done += 1;
    }
    examine(&home, &tokens, 0);
    assert!(tokens.values().is_sorted_by_key(|info| info.gen_time));
    assert!(!tokens.is_empty());
    let least = ROUNDS_MIN.min(u64::try_from(rounds).unwrap());
    assert!(done >= least, "{done} rounds in {TIME_MAX:?}: too few");
    println!(
        "killed {done} times in {:?}: {} tokens",
        began.elapsed(),
        tokens.len()
    );
}

/// In the environment of a process that is to be killed: its database.
const LIFE: &str = "JURAT_KILL_LIFE";

/// An entry that says where it stands, as a token's does.
fn entry_of(client: u64, number: u64, index: LeafIndex) -> NewEntry {
    NewEntry::new(format!("{client} {number} at {index}").into_bytes()).unwrap()
}

/// Fills a log until it is killed, and says of each entry that it is durable. The engine gets a
/// commit when the next one begins, and never before.
fn live(database: &Path) -> ! {
    let store = RedbStore::open_journaled(database, JournalOptions::default()).unwrap();
    let store = Arc::new(Faulty::new(store));
    store.leave_unsettled();
    let shared: Arc<dyn LogStore> = store.clone();
    let sequencer = Sequencer::start(shared, &mut Registry::default()).unwrap();
    let work = async |client: u64| {
        for number in 0_u64.. {
            let made = |index| Ok::<_, ()>((index, entry_of(client, number, index)));
            let (index, placing) = sequencer.place(made).unwrap();
            let appended = placing.durable().await.unwrap();
            assert_eq!(appended.index, index);
            let owed = !store.inner().is_settled();
            println!("at {index} {client} {number} {owed}");
        }
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let works = async { tokio::join!(work(0), work(1), work(2), work(3)) };
        let _ = tokio::time::timeout(PATIENCE, works).await;
    });
    panic!("nobody has killed it");
}

/// Starts a life, kills it after so many answers, and gives what it said: index, client, number,
/// and whether the engine was owed a commit then.
fn killed_after(database: &Path, answers: u64) -> Vec<(u64, u64, u64, bool)> {
    let mut life = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", OWED])
        .env(LIFE, database)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    let mut alive = true;
    for line in BufReader::new(life.stdout.take().unwrap()).split(b'\n') {
        let said_now = String::from_utf8(line.unwrap()).unwrap();
        // The first one may stand behind what the harness says of a test that begins.
        let Some((_, rest)) = said_now.split_once("at ") else {
            continue;
        };
        // The last line may be cut.
        let words: Vec<_> = rest.split(' ').collect();
        let [index, client, number, owed] = words[..] else {
            continue;
        };
        let Ok(owed) = owed.parse() else {
            continue;
        };
        let number_of = |word: &str| word.parse().unwrap();
        said.push((number_of(index), number_of(client), number_of(number), owed));
        if alive && u64::try_from(said.len()).unwrap() > answers {
            life.kill().unwrap();
            alive = false;
        }
    }
    let status = life.wait().unwrap();
    assert!(!alive, "it ended by itself: {status}");
    said
}

const OWED: &str =
    "kill_9_while_the_engine_is_owed_a_commit_loses_nothing_and_gives_no_place_twice";

// Spec: STO-50, TSA-05, SVC-50
#[test]
fn kill_9_while_the_engine_is_owed_a_commit_loses_nothing_and_gives_no_place_twice() {
    if let Some(database) = std::env::var_os(LIFE) {
        live(Path::new(&database));
    }
    let rounds = setting("JURAT_KILL_ROUNDS").unwrap_or(u64::try_from(ROUNDS).unwrap());
    let seed = setting("JURAT_KILL_SEED");
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one("kill -9"));
    println!("JURAT_KILL_SEED={seed} JURAT_KILL_ROUNDS={rounds}");
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("log.redb");
    RedbStore::create_journaled(&database, JournalOptions::default()).unwrap();
    let mut told: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let mut owing = 0;
    for round in 0..rounds {
        let answers = (seed.wrapping_mul(round * 2 + 1) >> 20) % 200;
        let said = killed_after(&database, answers);
        owing += usize::from(said.iter().rev().take(8).any(|(.., owed)| *owed));
        for (index, client, number, _) in said {
            let twice = told.insert(index, (client, number));
            assert!(twice.is_none(), "place {index} twice");
        }
        // To open it here ends what the journal has; most lives begin with what a kill left.
        if round % 4 == 3 || round + 1 == rounds {
            let store = RedbStore::open_journaled(&database, JournalOptions::default()).unwrap();
            for (index, (client, number)) in &told {
                let index = LeafIndex::new(*index).unwrap();
                let entry = store.entry(index).unwrap();
                let due = entry_of(*client, *number, index);
                assert_eq!(entry.as_deref(), Some(due.bytes()), "{index}");
            }
        }
    }
    println!(
        "{} places, {owing} of {rounds} lives ended owing",
        told.len()
    );
    // Else this has shown nothing: between two commits the engine is even for a moment.
    assert!(
        owing * 2 > usize::try_from(rounds).unwrap(),
        "{owing} of {rounds}"
    );
}
