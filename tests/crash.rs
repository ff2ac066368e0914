//! kill -9 at random moments under load: what was acknowledged is there, no two tree heads that
//! anybody has read contradict each other, and the database is whole.
//!
//! `JURAT_KILL_ROUNDS` sets how often the service is killed (40 when it is not set, and then no
//! more once [`TIME_MAX`] is over); `JURAT_KILL_SEED` repeats the moments of an earlier run, as far
//! as the machine does.
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
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::policy::Policy;
use jurat_proto::proof::{ConsistencyProof, verify_consistency};
use jurat_proto::receipt::{ProvenEntry, Receipt};
use jurat_proto::tree::TreeHead;

use crate::network::{Answer, Client, Home, Service, TestLog, network};

const ROUNDS: usize = 40;

/// No round begins after this time, unless the rounds were asked for.
const TIME_MAX: Duration = Duration::from_secs(75);

const CLIENTS: usize = 8;

/// The service is killed at a moment before this, from its start or from when it listens.
const LIFE_MAX: Duration = Duration::from_millis(400);

/// Receipts of earlier rounds that are fetched again in each round; all of them are at the end.
const LOOK_BACK: usize = 10;

/// splitmix64: enough to choose moments.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn moment(&mut self) -> Duration {
        let most = u64::try_from(LIFE_MAX.as_micros()).unwrap();
        Duration::from_micros(self.roll(most))
    }
}

/// A client with its log, and what the service has told it.
struct Anchoring {
    log: TestLog,
    dice: Dice,
    /// The size that the service holds, as far as is known.
    size: u64,
    /// Sent when the connection broke.
    in_flight: Option<u64>,
    /// Index in the service's log and size of what was acknowledged.
    acknowledged: Vec<(u64, u64)>,
}

impl Anchoring {
    /// Anchors until the service is gone.
    fn work(&mut self, address: SocketAddr) {
        let Ok(mut client) = Client::connect(address) else {
            return;
        };
        loop {
            // Now and then the same size again, and now and then through the slow door.
            let size = (self.size + self.dice.roll(4)).max(1);
            self.log.grow(size);
            let request = self.log.request(self.size, size);
            let wait = self.dice.roll(8) == 0;
            let (door, headers): (_, &[&str]) = if wait {
                ("/anchor", &["Prefer: wait=20"])
            } else {
                ("/add-checkpoint", &[])
            };
            self.in_flight = Some(size);
            let Ok(answer) = client.call("POST", door, headers, &request) else {
                return;
            };
            self.in_flight = None;
            assert_eq!(answer.status, 200, "{}", answer.text());
            self.acknowledged.push((answer.index(), size));
            self.size = size;
        }
    }

    /// After a restart the service holds what it acknowledged last, or what was in flight.
    fn settle(&mut self, service: &Service) {
        let latest = service.latest(&self.log.origin);
        let held = latest.as_ref().map_or(0, |latest| latest.head().size.get());
        let in_flight = self.in_flight.take().unwrap_or(self.size);
        assert!(
            held == self.size || held == in_flight,
            "{}: {held} is held, {} was acknowledged and {in_flight} in flight",
            self.log.origin,
            self.size
        );
        if let Some(latest) = latest {
            assert_eq!(latest.head(), self.log.head(held));
        }
        self.size = held;
    }

    /// Each acknowledged entry from `from` on is where the service said that it is.
    fn check(&self, client: &mut Client, policy: &Policy, from: usize) {
        for (index, size) in &self.acknowledged[from..] {
            let path = format!("/receipt/{index}?wait=25");
            let answer = client.call("GET", &path, &[], b"").unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
            let receipt = Receipt::parse(&answer.body).unwrap();
            let verdict = receipt.verify(policy).unwrap();
            assert_eq!(verdict.index.get(), *index);
            let ProvenEntry::Checkpoint { origin, head } = verdict.entry else {
                panic!("{:?}", verdict.entry);
            };
            assert_eq!((&origin, head), (&self.log.origin, self.log.head(*size)));
            receipt
                .verify_anchored(std::slice::from_ref(self.log.vkey()))
                .unwrap();
        }
    }
}

/// Every checkpoint that anybody has read, by size.
#[derive(Default)]
struct Seen {
    heads: BTreeMap<u64, TreeHead>,
    reads: usize,
}

impl Seen {
    fn largest(&self) -> u64 {
        self.heads.last_key_value().map_or(0, |(size, _)| *size)
    }

    /// Takes what was served; the size never goes back.
    fn take(&mut self, answer: &Answer, policy: &Policy) {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let signed = SignedCheckpoint::parse(&answer.body).unwrap();
        policy.verify_checkpoint(&signed).unwrap();
        let head = signed.head();
        let size = head.size.get();
        assert!(size >= self.largest(), "{size} after {}", self.largest());
        let before = *self.heads.entry(size).or_insert(head);
        assert_eq!(before, head, "two trees of one size");
        self.reads += 1;
    }

    /// Each head from `from` on is consistent with the one before it, and so with all.
    fn check(&self, client: &mut Client, from: u64) {
        let heads: Vec<&TreeHead> = self.heads.range(from..).map(|(_, head)| head).collect();
        for pair in heads.windows(2) {
            consistent(client, pair[0], pair[1]);
        }
    }
}

fn consistent(client: &mut Client, old: &TreeHead, new: &TreeHead) {
    let (from, to) = (old.size.get(), new.size.get());
    let path = format!("/proof/consistency?from={from}&to={to}");
    let answer = client.call("GET", &path, &[], b"").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let proof = ConsistencyProof::parse_lines(answer.text()).unwrap();
    verify_consistency(old, new, &proof).unwrap();
}

/// Reads the checkpoint until the service is gone.
fn watch(address: SocketAddr, policy: &Policy, seen: &Mutex<Seen>) {
    let Ok(mut client) = Client::connect(address) else {
        return;
    };
    while let Ok(answer) = client.call("GET", "/checkpoint", &[], b"") {
        // Before the first quorum there is none.
        if answer.status != 503 || seen.lock().unwrap().reads > 0 {
            seen.lock().unwrap().take(&answer, policy);
        }
    }
}

/// Runs the service under load until its moment has come.
fn live_and_die(
    home: &Home,
    clients: &mut [Anchoring],
    policy: &Policy,
    seen: &Mutex<Seen>,
    dice: &mut Dice,
) {
    if dice.roll(6) == 0 {
        // It dies while it starts.
        let mut process = home.spawn();
        // Wait: this is the moment that the dice chose.
        std::thread::sleep(dice.moment() / 4);
        process.kill();
        return;
    }
    let mut service = home.serve();
    let address = service.address;
    std::thread::scope(|scope| {
        for client in clients {
            scope.spawn(|| client.work(address));
        }
        scope.spawn(|| watch(address, policy, seen));
        // Wait: this is the moment that the dice chose.
        std::thread::sleep(dice.moment());
        service.process.kill();
    });
}

/// Brings the service up again and looks at everything that it has promised.
fn examine(
    home: &Home,
    clients: &mut [Anchoring],
    policy: &Policy,
    seen: &Mutex<Seen>,
    checked: &mut [usize],
    consistent_to: &mut u64,
) {
    let entries = home.fsck();
    let service = home.serve();
    let mut reader = service.client();
    let promised = clients.iter().flat_map(|client| &client.acknowledged);
    let promised = promised.map(|(index, _)| index + 1).max().unwrap_or(0);
    assert!(entries >= promised, "{entries} of {promised} entries");
    let published = service.published().map_or(0, |head| head.size.get());
    assert!(published >= seen.lock().unwrap().largest());
    for (client, checked) in clients.iter_mut().zip(checked) {
        client.settle(&service);
        client.check(&mut reader, policy, checked.saturating_sub(LOOK_BACK));
        *checked = client.acknowledged.len();
    }
    let mut seen = seen.lock().unwrap();
    if service.published().is_some() {
        seen.take(&service.get("/checkpoint"), policy);
        seen.check(&mut reader, *consistent_to);
        *consistent_to = seen.largest();
    }
    // The witness has not refused anything.
    service.until("the witness agrees", |health| {
        health["witnesses"][0]["error"].is_null()
    });
}

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
}

// Spec: SVC-01, SVC-02, SVC-04, SVC-07
#[test]
fn kill_9_at_any_moment_loses_nothing_that_was_acknowledged() {
    let asked = setting("JURAT_KILL_ROUNDS");
    let rounds = asked.map_or(ROUNDS, |rounds| usize::try_from(rounds).unwrap());
    let mut dice =
        Dice(setting("JURAT_KILL_SEED").unwrap_or_else(|| RandomState::new().hash_one("kill -9")));
    println!("JURAT_KILL_SEED={} JURAT_KILL_ROUNDS={rounds}", dice.0);
    let (home, witnesses) = network(1, 1);
    home.edit("interval_ms = 100 ", "interval_ms = 20 ");
    let policy = home.policy();
    let mut clients: Vec<Anchoring> = (0..CLIENTS)
        .map(|number| {
            let log = TestLog::new(&format!("log.example/{number}"));
            home.add_log(&log);
            Anchoring {
                log,
                dice: Dice(dice.roll(u64::MAX)),
                size: 0,
                in_flight: None,
                acknowledged: Vec::new(),
            }
        })
        .collect();
    let seen = Mutex::new(Seen::default());
    let mut checked = vec![0; CLIENTS];
    let mut consistent_to = 0;
    let began = Instant::now();
    let mut done = 0;
    while done < rounds && (asked.is_some() || began.elapsed() < TIME_MAX) {
        live_and_die(&home, &mut clients, &policy, &seen, &mut dice);
        examine(
            &home,
            &mut clients,
            &policy,
            &seen,
            &mut checked,
            &mut consistent_to,
        );
        done += 1;
    }

    checked.fill(0);
    consistent_to = 0;
    examine(
        &home,
        &mut clients,
        &policy,
        &seen,
        &mut checked,
        &mut consistent_to,
    );
    let service = home.serve();
    let seen = seen.into_inner().unwrap();
    let newest = service.published().unwrap();
    let mut reader = service.client();
    for head in seen.heads.values() {
        consistent(&mut reader, head, &newest);
    }
    assert!(witnesses[0].cosigned_size() <= service.committed());
    let acknowledged: usize = clients.iter().map(|c| c.acknowledged.len()).sum();
    println!(
        "killed {done} times in {:?}: {acknowledged} submissions acknowledged, {} entries, \
         {} heads in {} reads",
        began.elapsed(),
        service.committed(),
        seen.heads.len(),
        seen.reads
    );
    assert!(acknowledged > 0 && seen.heads.len() > 1);
}
