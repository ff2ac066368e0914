//! kill -9 at random moments while time-stamps are made: no token exists without its entry, no
//! serial number is used twice, and no time goes back, across all the lives of the service.
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
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use jurat_proto::entry::{Entry, TimestampEntry};
use jurat_proto::tree::LeafIndex;
use jurat_proto::tsp::imprint::{HashAlgorithm, MessageImprint};
use jurat_proto::tsp::request::{Nonce, TimestampRequest};
use jurat_proto::tsp::response::{PkiStatus, TimestampResponse};
use jurat_proto::tsp::tst_info::TstInfo;
use jurat_store::{JournalOptions, LogStore as _, RedbStore};

use crate::network::{Client, Home};

const ROUNDS: usize = 20;

/// Fewer than these in the time that there is are no test.
const ROUNDS_MIN: u64 = 5;

/// No round begins after this time, unless the rounds were asked for.
const TIME_MAX: Duration = Duration::from_secs(40);

const CLIENTS: u64 = 6;

/// The service is killed at a moment before this, from when it listens.
const LIFE_MAX: Duration = Duration::from_millis(400);

/// Asks until the service is gone, and gives what the tokens say whose last byte came.
fn work(address: SocketAddr, client: u64) -> Vec<TstInfo> {
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
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| scope.spawn(move || work(address, client)))
                .collect();
            // Wait: this is the moment that the seed chose.
            std::thread::sleep(moment);
            service.process.kill();
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
