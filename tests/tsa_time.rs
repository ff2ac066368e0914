//! The time-stamp authority over a store in memory, with a clock that the test moves, a store that
//! fails and a key that fails: what real processes cannot be made to do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what panics here is a test that fails"
)]

mod network;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use jurat::cosigners::Standing;
use jurat::cosigners::times::WitnessTimes;
use jurat::log::Sequencer;
use jurat::tsa::units::{Unit, Units};
use jurat::tsa::{self, Authority, Bracket, Granted, LeapSeconds, Settings};
use jurat_daemon::clock::{Clock as _, ClockGuard, ManualClock, UnixTime};
use jurat_daemon::shutdown::Shutdown;
use jurat_keys::{Algorithm, TimestampKey, TimestampSigner};
use jurat_proto::entry::{ClockEvent, Entry};
use jurat_proto::key::{Signer as _, SignerError, UnixSeconds};
use jurat_proto::policy::Policy;
use jurat_proto::tree::LeafIndex;
use jurat_proto::tsp::imprint::{HashAlgorithm, MessageImprint};
use jurat_proto::tsp::oid::Oid;
use jurat_proto::tsp::request::{Offer, TimestampRequest};
use jurat_proto::tsp::response::{FailureBits, PkiFailureInfo, TimestampResponse};
use jurat_store::{Batch, Fault, Faulty, LogStore, MemoryStore, NewEntry};
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, watch};

use crate::network::Home;
use crate::network::service::ORIGIN;

struct Rig {
    authority: Arc<Authority>,
    store: Arc<dyn LogStore>,
    clock: ManualClock,
    stand: watch::Sender<Standing>,
    tell_bracket: watch::Sender<Option<Arc<Bracket>>>,
    times: Arc<WitnessTimes>,
    _home: Home,
}

/// A policy of which two of three witnesses are a quorum.
fn two_of_three() -> Policy {
    let witness = |name: &str| {
        let key = network::log::key(&format!("witness.example/{name}"), Algorithm::CosignatureV1);
        format!("witness {name} {}\n", key.verifier_key())
    };
    let witnesses = ["a", "b", "c"].map(witness).concat();
    let text = witnesses + "group all 2 a b c\nquorum all\n";
    Policy::parse(text.as_bytes()).unwrap()
}

/// Makes the key of the unit of a home.
type KeyOf = Box<dyn FnOnce(&Home) -> Arc<dyn TimestampSigner>>;

impl Rig {
    fn new() -> Self {
        Self::with(Arc::new(MemoryStore::new()), |_| {}, None)
    }

    /// The clock stands ten seconds after the unit's start.
    fn with(
        store: Arc<dyn LogStore>,
        change: impl FnOnce(&mut Settings),
        key: Option<KeyOf>,
    ) -> Self {
        let home = Home::with_timestamps();
        let origin = ORIGIN.parse().unwrap();
        let units = Units::load(&home.file("timestamp.toml"), &origin).unwrap();
        let unit = Arc::clone(units.current().unwrap());
        let units = match key {
            None => units,
            Some(key) => Units::new(vec![Arc::new(Unit::clone(&unit).with_key(key(&home)))]),
        };
        let clock = ManualClock::new(UnixTime::from_seconds(unit.started.get() + 10));
        let mut settings = Settings {
            offer: Offer {
                default_policy: Oid::parse("1.2.3").unwrap(),
                other_policies: Vec::new(),
                hash_algorithms: HashAlgorithm::ALL.to_vec(),
            },
            accuracy: Duration::from_secs(2),
            has_sources: false,
            include_chain: false,
            leap_seconds: LeapSeconds::Pause,
            authority_key: home.file("keys/tsa/ca.key"),
        };
        change(&mut settings);
        let (tell_bracket, bracket) = watch::channel(None);
        let (stand, standing) = watch::channel(Standing::Good);
        let times = Arc::new(WitnessTimes::new(two_of_three()));
        let registry = &mut Registry::default();
        let sequencer = Sequencer::start(Arc::clone(&store), registry).unwrap();
        let authority = Arc::new(Authority {
            origin,
            settings,
            units: watch::channel(Arc::new(units)).1,
            store: Arc::clone(&store),
            sequencer,
            clock: Arc::new(ClockGuard::alone(Arc::new(clock.clone()))),
            bracket,
            times: Arc::clone(&times),
            standing,
            last: AtomicU64::new(tsa::last_time(store.as_ref()).unwrap()),
            waiting: Arc::new(Semaphore::new(1)),
            slow: Semaphore::new(1),
            metrics: tsa::Metrics::new(registry),
        });
        Self {
            authority,
            store,
            clock,
            stand,
            tell_bracket,
            times,
            _home: home,
        }
    }

    async fn ask(&self) -> Granted {
        let digest = HashAlgorithm::Sha256.digest(b"any");
        let imprint = MessageImprint::new(HashAlgorithm::Sha256, digest).unwrap();
        let request = TimestampRequest::new(imprint, None, None, false);
        self.authority.answer(&request.to_bytes()).await
    }

    /// The failure of a refusal; none of a token.
    async fn refused(&self) -> Option<PkiFailureInfo> {
        match self.ask().await {
            Granted::Rejected(response) => failure(&response),
            Granted::Token { .. } => None,
            Granted::Overloaded => panic!("nobody else asks"),
        }
    }

    fn size(&self) -> u64 {
        self.store.head().unwrap().size.get()
    }

    fn entry(&self, index: u64) -> Entry {
        let bytes = self.store.entry(LeafIndex::new(index).unwrap()).unwrap();
        Entry::parse(&bytes.unwrap()).unwrap()
    }
}

fn failure(response: &TimestampResponse) -> Option<PkiFailureInfo> {
    response
        .failures()
        .into_iter()
        .flat_map(FailureBits::failures)
        .next()
}

/// A key that is out of reach.
struct Gone {
    slow: bool,
}

impl TimestampSigner for Gone {
    fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, SignerError> {
        Err(SignerError::new("the device does not answer"))
    }

    fn is_slow(&self) -> bool {
        self.slow
    }
}

// Spec: TSA-04, TSA-06
#[tokio::test]
async fn a_key_that_fails_leaves_an_entry_without_a_token_and_never_the_reverse() {
    for slow in [false, true] {
        let store = Arc::new(MemoryStore::new());
        let rig = Rig::with(
            store,
            |_| {},
            Some(Box::new(move |_| Arc::new(Gone { slow }))),
        );
        assert_eq!(rig.refused().await, Some(PkiFailureInfo::SystemFailure));
        assert_eq!(rig.size(), 1);
        assert!(matches!(rig.entry(0), Entry::Timestamp(_)));
    }
}

/// A key that signs with another one than the certificate's: signatures of the right form.
struct Wrong {
    key: TimestampKey,
    slow: bool,
}

impl TimestampSigner for Wrong {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        self.key.sign(message)
    }

    fn is_slow(&self) -> bool {
        self.slow
    }
}

// Spec: TSA-06, TSA-08
#[tokio::test]
async fn a_signature_that_is_wrong_does_not_leave_and_its_entry_stays() {
    for slow in [false, true] {
        let key = Box::new(move |_: &Home| -> Arc<dyn TimestampSigner> {
            let key = TimestampKey::generate().unwrap();
            Arc::new(Wrong { key, slow })
        });
        let rig = Rig::with(Arc::new(MemoryStore::new()), |_| {}, Some(key));
        assert_eq!(rig.authority.warnings().len(), 1);
        for asked in 1..=3 {
            assert_eq!(rig.refused().await, Some(PkiFailureInfo::SystemFailure));
            assert_eq!(rig.size(), asked);
        }
        // Enough: the log is not filled with entries that will have no token.
        assert_eq!(rig.refused().await, Some(PkiFailureInfo::SystemFailure));
        assert_eq!(rig.size(), 3);
        let why = rig.authority.ready().unwrap_err().to_string();
        assert!(why.contains("no signatures of its own"), "{why}");
        let warnings = rig.authority.warnings().concat();
        assert!(warnings.contains("no signature of its own"), "{warnings}");
    }
}

/// A device that is away, of which that is known.
struct Away;

impl TimestampSigner for Away {
    fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, SignerError> {
        panic!("it is not asked")
    }

    fn is_slow(&self) -> bool {
        true
    }

    fn waiting_max(&self) -> Option<usize> {
        Some(1)
    }

    fn out_of_reach(&self) -> Option<String> {
        Some("no slot has it".to_owned())
    }
}

// Spec: TSA-61
#[tokio::test]
async fn of_a_key_that_is_known_to_be_away_nothing_is_asked_and_nothing_is_logged() {
    let key = Box::new(|_: &Home| -> Arc<dyn TimestampSigner> { Arc::new(Away) });
    let rig = Rig::with(Arc::new(MemoryStore::new()), |_| {}, Some(key));
    assert_eq!(rig.refused().await, Some(PkiFailureInfo::SystemFailure));
    assert_eq!(rig.size(), 0);
    let why = rig.authority.ready().unwrap_err().to_string();
    assert!(
        why.contains("its key is out of reach: no slot has it"),
        "{why}"
    );
}

/// A device that signs when it is let.
struct Held {
    key: TimestampKey,
    begun: std::sync::mpsc::SyncSender<()>,
    go_on: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl TimestampSigner for Held {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        self.begun.send(()).unwrap();
        self.go_on.lock().unwrap().recv().unwrap();
        self.key.sign(message)
    }

    fn is_slow(&self) -> bool {
        true
    }

    fn waiting_max(&self) -> Option<usize> {
        Some(1)
    }
}

// Spec: TSA-62
#[tokio::test(flavor = "multi_thread")]
async fn those_who_find_no_place_before_a_device_are_told_so_and_nothing_is_logged() {
    let (begun, begins) = std::sync::mpsc::sync_channel(1);
    let (let_go, go_on) = std::sync::mpsc::sync_channel(1);
    let key = Box::new(move |home: &Home| -> Arc<dyn TimestampSigner> {
        Arc::new(Held {
            key: TimestampKey::load(home.file("keys/tsa/unit-1.key")).unwrap(),
            begun,
            go_on: std::sync::Mutex::new(go_on),
        })
    });
    let rig = Rig::with(Arc::new(MemoryStore::new()), |_| {}, Some(key));
    let rig = Arc::new(rig);
    let first = tokio::spawn({
        let rig = Arc::clone(&rig);
        async move { rig.refused().await }
    });
    tokio::task::spawn_blocking(move || begins.recv().unwrap())
        .await
        .unwrap();
    assert!(matches!(rig.ask().await, Granted::Overloaded));
    // What has a place is made durable while the device signs.
    let mut committed = rig.authority.sequencer.committed();
    committed
        .wait_for(|head| head.size.get() == 1)
        .await
        .unwrap();
    let_go.send(()).unwrap();
    assert_eq!(first.await.unwrap(), None);
    assert_eq!(rig.size(), 1);
}

// Spec: TSA-05
#[tokio::test]
async fn a_commit_of_unknown_outcome_gives_no_token() {
    for fault in [
        Fault::Before,
        Fault::UnknownUnwritten,
        Fault::UnknownWritten,
    ] {
        let store = Faulty::new(MemoryStore::new());
        store.fail_at(2, fault);
        let rig = Rig::with(Arc::new(store), |_| {}, None);
        assert_eq!(rig.refused().await, None);
        assert_eq!(rig.refused().await, Some(PkiFailureInfo::SystemFailure));
        assert_eq!(rig.refused().await, Some(PkiFailureInfo::SystemFailure));
    }
}

// Spec: TSA-07
#[tokio::test]
async fn no_number_is_given_while_witnesses_may_know_of_its_first_use() {
    let rig = Rig::new();
    let failure = Some(PkiFailureInfo::SystemFailure);
    rig.stand.send_replace(Standing::Comparing);
    assert_eq!(rig.refused().await, failure);
    let why = rig.authority.ready().unwrap_err().to_string();
    assert!(why.contains("too few witnesses"), "{why}");
    rig.stand.send_replace(Standing::Good);
    assert_eq!(rig.refused().await, None);
    rig.authority.ready().unwrap();
    rig.stand
        .send_replace(Standing::Refused("ahead".to_owned()));
    assert_eq!(rig.refused().await, failure);
    assert_eq!(rig.size(), 1);
}

/// Whoever has a place waits for the witnesses; the others leave room for who does not.
// Spec: TSA-16
#[tokio::test]
async fn those_who_find_no_place_to_wait_for_the_witnesses_are_told_at_once() {
    let rig = Arc::new(Rig::new());
    rig.stand.send_replace(Standing::Comparing);
    let first = tokio::spawn({
        let rig = Arc::clone(&rig);
        async move { rig.refused().await }
    });
    while rig.authority.waiting.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let mut second = std::pin::pin!(rig.refused());
    let at_once = std::future::poll_fn(|context| Poll::Ready(second.as_mut().poll(context)));
    let failure = Some(PkiFailureInfo::SystemFailure);
    assert_eq!(at_once.await, Poll::Ready(failure));
    rig.stand.send_replace(Standing::Good);
    assert_eq!(first.await.unwrap(), None);
    assert_eq!(rig.authority.waiting.available_permits(), 1);
}

/// A witness shows that it is ahead while this key signs.
struct Overtaken {
    key: TimestampKey,
    stand: Arc<OnceLock<watch::Sender<Standing>>>,
}

impl TimestampSigner for Overtaken {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let stand = self.stand.get().unwrap();
        stand.send_replace(Standing::Refused("ahead".to_owned()));
        self.key.sign(message)
    }

    fn is_slow(&self) -> bool {
        false
    }
}

// Spec: TSA-07
#[tokio::test]
async fn a_token_whose_state_is_found_to_be_old_meanwhile_does_not_leave() {
    let stand = Arc::new(OnceLock::new());
    let overtaken = Arc::clone(&stand);
    let store = Arc::new(MemoryStore::new());
    let key = Box::new(|home: &Home| -> Arc<dyn TimestampSigner> {
        Arc::new(Overtaken {
            key: TimestampKey::load(home.file("keys/tsa/unit-1.key")).unwrap(),
            stand: overtaken,
        })
    });
    let rig = Rig::with(store, |_| {}, Some(key));
    stand.set(rig.stand.clone()).unwrap();
    assert_eq!(rig.refused().await, Some(PkiFailureInfo::SystemFailure));
    assert_eq!(rig.size(), 1);
}

// Spec: TSA-13
#[tokio::test]
async fn a_clock_that_is_not_believed_is_stated_in_no_token() {
    let rig = Rig::new();
    let no_time = Some(PkiFailureInfo::TimeNotAvailable);
    assert_eq!(rig.refused().await, None);
    rig.clock.step_back(Duration::from_secs(60));
    assert_eq!(rig.refused().await, no_time);
    rig.clock.advance(Duration::from_secs(61));
    assert_eq!(rig.refused().await, None);
    rig.clock.step_forward(Duration::from_secs(3_600));
    assert_eq!(rig.refused().await, no_time);
    rig.clock.advance(Duration::from_secs(600));
    assert_eq!(rig.refused().await, None);
    assert_eq!(rig.size(), 3);
    // Sources that have said nothing yet.
    let rig = Rig::with(
        Arc::new(MemoryStore::new()),
        |settings| settings.has_sources = true,
        None,
    );
    assert_eq!(rig.refused().await, no_time);
    assert_eq!(rig.size(), 0);
}

// Spec: TSA-11
#[tokio::test]
async fn a_token_after_a_restart_is_not_before_those_of_the_life_before() {
    let store: Arc<dyn LogStore> = Arc::new(MemoryStore::new());
    let rig = Rig::with(Arc::clone(&store), |_| {}, None);
    rig.clock.advance(Duration::from_secs(60));
    assert_eq!(rig.refused().await, None);
    let Entry::Timestamp(last) = rig.entry(0) else {
        panic!("a token's entry");
    };
    let again = Rig::with(store, |_| {}, None);
    let now = again.clock.now().seconds();
    assert!(now < last.gen_time().get());
    assert_eq!(
        again.refused().await,
        Some(PkiFailureInfo::TimeNotAvailable)
    );
    again
        .clock
        .advance(Duration::from_secs(last.gen_time().get() - now));
    assert_eq!(again.refused().await, None);
}

// Spec: TSA-11
#[tokio::test]
async fn the_last_token_is_found_however_many_other_entries_came_after_it() {
    let store: Arc<dyn LogStore> = Arc::new(MemoryStore::new());
    let rig = Rig::with(Arc::clone(&store), |_| {}, None);
    rig.clock.advance(Duration::from_secs(60));
    assert_eq!(rig.refused().await, None);
    let Entry::Timestamp(last) = rig.entry(0) else {
        panic!("a token's entry");
    };
    drop(rig);
    for batch in 0..20 {
        let entries = (0..1_000).map(|number| {
            let text = format!("jurat-entry/v1 other\n{batch} {number}\n");
            NewEntry::new(text.into_bytes()).unwrap()
        });
        let batch = Batch {
            expected: store.head().unwrap(),
            entries: entries.collect(),
            heads: Vec::new(),
        };
        store.commit(batch).unwrap();
    }
    assert_eq!(
        tsa::last_time(store.as_ref()).unwrap(),
        last.gen_time().get()
    );
    let again = Rig::with(store, |_| {}, None);
    assert_eq!(
        again.refused().await,
        Some(PkiFailureInfo::TimeNotAvailable)
    );
}

// Spec: TSA-11, TSA-14
#[tokio::test]
async fn witnesses_ahead_of_the_clock_stop_it_and_it_says_so() {
    let rig = Rig::new();
    let now = rig.clock.now().seconds();
    let bracket = |time| {
        let extension = None;
        Some(Arc::new(Bracket { extension, time }))
    };
    rig.tell_bracket.send_replace(bracket(now + 1));
    assert_eq!(rig.refused().await, None);
    rig.authority.ready().unwrap();
    rig.tell_bracket.send_replace(bracket(now + 60));
    let no_time = Some(PkiFailureInfo::TimeNotAvailable);
    assert_eq!(rig.refused().await, no_time);
    assert!(rig.authority.ready().is_err());
    assert_eq!(rig.size(), 1);
}

/// Requests in flight while the clock steps back and forward: those that are told a time are told a
/// right one, and in the order of the log; the others that there is none.
// Spec: TSA-11, TSA-13
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_clock_that_steps_under_requests_in_flight_is_stated_only_while_it_is_right() {
    const CLIENTS: usize = 16;
    const ROUNDS: u64 = 20;
    let rig = Arc::new(Rig::new());
    let begun = rig.clock.now().seconds();
    let (tell, mut answers) = watch::channel(0);
    let tell = Arc::new(tell);
    let stop = Shutdown::new();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (rig, tell, stop) = (Arc::clone(&rig), Arc::clone(&tell), stop.clone());
            tokio::spawn(async move {
                let (mut times, mut refused) = (Vec::new(), 0);
                while !stop.is_triggered() {
                    match rig.ask().await {
                        Granted::Token { response, index } => {
                            let info = response.token().unwrap().tst_info();
                            times.push((index, info.gen_time.seconds()));
                        }
                        Granted::Rejected(response) => {
                            let no_time = Some(PkiFailureInfo::TimeNotAvailable);
                            assert_eq!(failure(&response), no_time);
                            refused += 1;
                        }
                        Granted::Overloaded => panic!("so few are never too many"),
                    }
                    tell.send_modify(|answers| *answers += 1);
                }
                (times, refused)
            })
        })
        .collect();
    // Of so many answers, those of one to each client may be to requests of before.
    let mut some = async || {
        let due = *answers.borrow() + 2 * CLIENTS;
        answers.wait_for(|answers| *answers >= due).await.unwrap();
    };
    let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
    for _ in 0..ROUNDS {
        some().await;
        rig.clock.step_back(minute);
        some().await;
        rig.clock.step_forward(minute);
        some().await;
        rig.clock.step_forward(hour);
        some().await;
        rig.clock.step_back(hour);
        rig.clock.advance(Duration::from_secs(1));
    }
    stop.trigger();
    let (mut times, mut refused) = (Vec::new(), 0);
    for client in clients {
        let (some, none) = client.await.unwrap();
        times.extend(some);
        refused += none;
    }
    let rounds = usize::try_from(ROUNDS).unwrap();
    assert!(times.len() >= 2 * rounds * CLIENTS, "{}", times.len());
    assert!(refused >= 2 * rounds * CLIENTS, "{refused}");
    times.sort_unstable();
    assert!(times.is_sorted_by_key(|(_, time)| *time));
    let wrong = times
        .iter()
        .find(|(_, time)| !(begun..=begun + ROUNDS).contains(time));
    assert_eq!(wrong, None);
}

/// A clock an hour ahead that steadily goes on so, as one that was set wrong before the start: no
/// step is seen, and what witnesses sign is all that tells.
// Spec: TSA-14, TSA-15
#[tokio::test]
async fn a_clock_that_is_ahead_of_a_quorum_of_witnesses_is_stated_in_no_token_and_is_lost() {
    let rig = Rig::new();
    let no_time = Some(PkiFailureInfo::TimeNotAvailable);
    let truth = rig.clock.now().seconds() - 3_600;
    let signs = |witness, after: u64| {
        let time = UnixSeconds::new(truth + after).unwrap();
        rig.times.take(witness, rig.clock.boot_time(), time);
    };
    assert_eq!(rig.refused().await, None, "nobody has said anything yet");
    signs(0, 0);
    assert_eq!(rig.refused().await, None, "one witness says nothing");
    signs(1, 0);
    assert_eq!(rig.refused().await, no_time);
    let why = rig.authority.ready().unwrap_err().to_string();
    assert!(
        why.contains("3599.000 s ahead of what a quorum of witnesses says"),
        "{why}"
    );
    let shutdown = Shutdown::new();
    let mut committed = rig.authority.sequencer.committed();
    tokio::spawn(tsa::follow_clock(
        Arc::clone(&rig.authority),
        shutdown.clone(),
    ));
    let lost = committed.wait_for(|head| head.size.get() == 3);
    lost.await.unwrap();
    let Entry::Clock(lost) = rig.entry(2) else {
        panic!("an entry of the clock");
    };
    assert_eq!(
        (lost.event(), lost.reason()),
        (ClockEvent::Lost, "ahead-of-witnesses")
    );
    shutdown.trigger();
    // Within what a token may be wrong by, it is stated: one second is cut off, two are allowed.
    for (ahead, refused) in [(4, no_time), (3, None)] {
        for witness in [0, 1] {
            signs(witness, 3_600 - ahead);
        }
        assert_eq!(rig.refused().await, refused, "{ahead}");
    }
    // What was signed long ago says nothing any more.
    rig.clock.advance(Duration::from_secs(601));
    rig.times
        .take(2, rig.clock.boot_time(), UnixSeconds::new(truth).unwrap());
    assert_eq!(rig.refused().await, None);
}

// Spec: TSA-32
#[tokio::test]
async fn a_unit_whose_key_has_ended_signs_nothing_and_nothing_is_logged() {
    let rig = Rig::new();
    assert_eq!(rig.refused().await, None);
    rig.authority.ready().unwrap();
    let until = rig.authority.signs_until().unwrap();
    rig.clock
        .advance(Duration::from_secs(until - rig.clock.now().seconds()));
    assert_eq!(rig.refused().await, None);
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(rig.refused().await, Some(PkiFailureInfo::SystemFailure));
    let why = rig.authority.ready().unwrap_err().to_string();
    assert!(why.contains("no time-stamping unit may sign"), "{why}");
    assert_eq!(rig.size(), 2);
}

// Spec: TSA-14
#[tokio::test]
async fn a_clock_that_is_lost_and_regained_is_an_entry_each() {
    let rig = Rig::new();
    let shutdown = Shutdown::new();
    let mut committed = rig.authority.sequencer.committed();
    tokio::spawn(tsa::follow_clock(
        Arc::clone(&rig.authority),
        shutdown.clone(),
    ));
    assert_eq!(rig.refused().await, None);
    committed
        .wait_for(|head| head.size.get() == 1)
        .await
        .unwrap();
    rig.clock.step_back(Duration::from_secs(60));
    committed
        .wait_for(|head| head.size.get() == 2)
        .await
        .unwrap();
    rig.clock.advance(Duration::from_secs(61));
    committed
        .wait_for(|head| head.size.get() == 3)
        .await
        .unwrap();
    let events = [1, 2].map(|index| match rig.entry(index) {
        Entry::Clock(clock) => (clock.event(), clock.reason().to_owned()),
        other => panic!("{other:?}"),
    });
    let reason = "stepped-back".to_owned();
    assert_eq!(
        events,
        [
            (ClockEvent::Lost, reason.clone()),
            (ClockEvent::Regained, reason)
        ]
    );
    shutdown.trigger();
}

// Spec: TSA-14
#[tokio::test]
async fn a_clock_that_was_lost_before_a_restart_is_regained_after_it() {
    let store: Arc<dyn LogStore> = Arc::new(MemoryStore::new());
    let rig = Rig::with(Arc::clone(&store), |_| {}, None);
    let mut committed = rig.authority.sequencer.committed();
    let follow = |rig: &Rig, shutdown: &Shutdown| {
        tokio::spawn(tsa::follow_clock(
            Arc::clone(&rig.authority),
            shutdown.clone(),
        ))
    };
    let shutdown = Shutdown::new();
    rig.authority.clock.read().unwrap();
    rig.clock.step_back(Duration::from_secs(60));
    let first = follow(&rig, &shutdown);
    committed
        .wait_for(|head| head.size.get() == 1)
        .await
        .unwrap();
    shutdown.trigger();
    first.await.unwrap();
    drop(rig);
    let rig = Rig::with(store, |_| {}, None);
    let mut committed = rig.authority.sequencer.committed();
    let shutdown = Shutdown::new();
    let second = follow(&rig, &shutdown);
    committed
        .wait_for(|head| head.size.get() == 2)
        .await
        .unwrap();
    shutdown.trigger();
    second.await.unwrap();
    let events = [0, 1].map(|index| match rig.entry(index) {
        Entry::Clock(clock) => (clock.event(), clock.reason().to_owned()),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        events.clone().map(|(event, _)| event),
        [ClockEvent::Lost, ClockEvent::Regained]
    );
    assert_eq!(events[0].1, events[1].1);
    assert_eq!(rig.size(), 2);
}
