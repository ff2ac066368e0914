//! The order check, sign, make durable, answer: with stores that fail and clocks that jump.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod rig;

use std::num::{NonZeroU32, NonZeroUsize};
use std::pin::pin;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use jurat_daemon::batch::Failure;
use jurat_daemon::clock::{ClockGuard, ManualClock, NoTime, UnixTime};
use jurat_daemon::config::Problems;
use jurat_daemon::http::{Body, Handler as _, Request};
use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::add_checkpoint::Refusal;
use jurat_proto::checkpoint::{
    Checkpoint, ExtensionLine, ExtensionLines, Origin, SignedCheckpoint,
};
use jurat_proto::cosignature;
use jurat_proto::key::{KeyName, Signer, SignerError, UnixSeconds, VerifierKey};
use jurat_proto::note::{KeyId, SignatureLine};
use jurat_store::registry::{About, Hold, HoldCause, LogState, Registry};
use jurat_store::{
    CheckpointStore, Fault, Faulty, HeadSwap, MemoryStore, OriginHead, StoreError, SwapRefusal,
    WriteError,
};
use jurat_witness::about::RawAbout;
use jurat_witness::cosign::{
    AddError, CheckpointError, ClockFault, Parts, StartError, SubtreeError, Witness,
};
use jurat_witness::evidence::EvidenceFolder;
use jurat_witness::heads::{HeadFault, Heads, ReadError};
use jurat_witness::http::Api;
use jurat_witness::log_list::{LogList, LogListError};
use jurat_witness::metrics::{Call, Metrics, Outcome};
use jurat_witness::quota::{Client, OverQuota, QuotaLimits};
use jurat_witness::recheck::{Step, Walk};

use proptest::prelude::*;
use rig::{TestLog, verified};

const WAITING_MAX: usize = 32;
const START: UnixTime = UnixTime::from_seconds(1_790_000_000);

struct Bench {
    dir: tempfile::TempDir,
    log: TestLog,
    store: Arc<Faulty<MemoryStore>>,
    clock: ManualClock,
    metrics: Metrics,
    witness: Arc<Witness>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut log = TestLog::new("example.com/log");
        log.grow(64);
        Registry::create(dir.path().join("logs.toml")).unwrap();
        Registry::add(
            dir.path().join("logs.toml"),
            &log.origin,
            &[log.vkey().clone()],
        )
        .unwrap();
        let store = Arc::new(Faulty::new(MemoryStore::new()));
        let clock = ManualClock::new(START);
        let metrics = Metrics::unregistered();
        let witness = start(dir.path(), store.clone(), &clock, &metrics, keys());
        Self {
            dir,
            log,
            store,
            clock,
            metrics,
            witness: witness.unwrap(),
        }
    }

    async fn add(&self, old: u64, new: u64) -> Result<u64, AddError> {
        let lines = self
            .witness
            .add_checkpoint(Bytes::from(self.log.request(old, new)))
            .await?;
        Ok(verified(
            &lines.to_bytes(),
            &self.log.checkpoint(new),
            self.witness.keys(),
        ))
    }

    fn stored_size(&self) -> u64 {
        let latest = self.store.inner().latest(&self.log.origin).unwrap();
        latest.map_or(0, |latest| latest.head.size.get())
    }

    fn served(&self) -> Option<Bytes> {
        self.witness.heads().note(&self.log.origin).unwrap()
    }
}

/// The keys of each witness here: the same ones, so that one can take over the state of another.
fn keys() -> Vec<Box<dyn Signer>> {
    static LINES: OnceLock<Vec<String>> = OnceLock::new();
    let lines = LINES.get_or_init(|| {
        let name = KeyName::parse("witness.example.com/w1").unwrap();
        [Algorithm::CosignatureV1, Algorithm::MlDsa44]
            .map(|algorithm| {
                let key = SigningKey::generate(name.clone(), algorithm).unwrap();
                key.to_note_signer().unwrap().to_string()
            })
            .into()
    });
    let key = |line: &String| -> Box<dyn Signer> {
        Box::new(SigningKey::parse_note_signer(line).unwrap())
    };
    lines.iter().map(key).collect()
}

fn shown(witness: &Witness, log: &TestLog) -> Option<Bytes> {
    witness.heads().note(&log.origin).unwrap()
}

fn start(
    dir: &std::path::Path,
    store: Arc<dyn CheckpointStore>,
    clock: &ManualClock,
    metrics: &Metrics,
    signers: Vec<Box<dyn Signer>>,
) -> Result<Arc<Witness>, StartError> {
    start_after(&[], dir, store, clock, metrics, signers)
}

/// The same, of a witness that had these keys before.
fn start_after(
    former_keys: &[VerifierKey],
    dir: &std::path::Path,
    store: Arc<dyn CheckpointStore>,
    clock: &ManualClock,
    metrics: &Metrics,
    signers: Vec<Box<dyn Signer>>,
) -> Result<Arc<Witness>, StartError> {
    Ok(Arc::new(Witness::start(Parts {
        signers,
        former_keys: former_keys.to_vec(),
        store,
        clock: Arc::new(ClockGuard::alone(Arc::new(clock.clone()))),
        logs: Arc::new(LogList::load(dir.join("logs.toml"), true).unwrap()),
        metrics: metrics.clone(),
        guard: None,
        quotas: QuotaLimits {
            default_qpd: None,
            unsigned_per_minute: NonZeroU32::new(60).unwrap(),
            in_flight_max: WAITING_MAX,
        },
        commits_waiting_max: NonZeroUsize::new(WAITING_MAX).unwrap(),
        commit_batch_max: NonZeroUsize::new(16).unwrap(),
    })?))
}

#[tokio::test]
async fn the_time_in_cosignatures_is_the_clock_and_never_goes_back() {
    // Spec: WIT-46
    let bench = Bench::new();
    assert_eq!(bench.add(0, 5).await.unwrap(), START.seconds());
    bench.clock.advance(Duration::from_secs(60));
    assert_eq!(
        bench.add(5, 5).await.unwrap(),
        START.seconds() + 60,
        "a refresh moves time on"
    );
    let before = bench.served();

    bench.clock.step_back(Duration::from_secs(10));
    for _ in 0..2 {
        let error = bench.add(5, 6).await.unwrap_err();
        let AddError::Clock(ClockFault::NoTime(NoTime::SteppedBack(fault))) = error else {
            panic!("{error}")
        };
        assert_eq!(fault.behind(), Duration::from_secs(10));
    }
    bench.witness.check_clock().unwrap_err();
    assert_eq!(
        (bench.stored_size(), bench.served()),
        (5, before),
        "nothing changed"
    );
    assert_eq!(
        bench
            .metrics
            .outcome_count(Call::AddCheckpoint, Outcome::Clock),
        2
    );

    bench.clock.advance(Duration::from_secs(10));
    assert_eq!(bench.add(5, 6).await.unwrap(), START.seconds() + 60);
}

#[tokio::test]
async fn a_clock_behind_the_stored_time_after_a_restart_signs_nothing_for_that_log() {
    let bench = Bench::new();
    bench.add(0, 5).await.unwrap();
    // Started again with a clock that is an hour slow: nothing to compare with but the state.
    let slow = ManualClock::new(UnixTime::from_seconds(START.seconds() - 3600));
    let store = Arc::clone(&bench.store);
    let again = start(bench.dir.path(), store, &slow, &bench.metrics, keys()).unwrap();
    let body = Bytes::from(bench.log.request(5, 6));
    let error = again.add_checkpoint(body.clone()).await.unwrap_err();
    assert!(
        matches!(error, AddError::Clock(ClockFault::BehindCosigned { .. })),
        "{error}"
    );
    assert_eq!(bench.stored_size(), 5);
    slow.advance(Duration::from_secs(3600));
    again.add_checkpoint(body).await.unwrap();
}

#[tokio::test]
async fn a_clock_that_was_never_set_signs_nothing() {
    let bench = Bench::new();
    let unset = ManualClock::new(UnixTime::EPOCH);
    let store = Arc::clone(&bench.store);
    let witness = start(bench.dir.path(), store, &unset, &bench.metrics, keys()).unwrap();
    let body = Bytes::from(bench.log.request(0, 6));
    let error = witness.add_checkpoint(body).await.unwrap_err();
    assert!(
        matches!(error, AddError::Clock(ClockFault::NotSet { .. })),
        "{error}"
    );
}

#[tokio::test]
async fn a_write_that_failed_changes_nothing_and_may_be_tried_again() {
    // Spec: WIT-44
    let bench = Bench::new();
    bench.add(0, 5).await.unwrap();
    let before = bench.served();
    bench.store.fail_at(1, Fault::Before);
    let error = bench.add(5, 6).await.unwrap_err();
    assert!(matches!(error, AddError::NotWritten), "{error}");
    assert_eq!((bench.stored_size(), bench.served()), (5, before));
    bench.add(5, 6).await.unwrap();
    assert_eq!(bench.stored_size(), 6);
}

#[tokio::test]
async fn a_write_whose_outcome_is_not_known_ends_everything() {
    // Spec: WIT-44
    for (fault, on_disk) in [(Fault::UnknownUnwritten, 5), (Fault::UnknownWritten, 6)] {
        let bench = Bench::new();
        bench.add(0, 5).await.unwrap();
        let failed = bench.witness.failed();
        bench.store.fail_at(1, fault);
        let error = bench.add(5, 6).await.unwrap_err();
        assert!(matches!(error, AddError::Stopped), "{error}");
        let note = bench.witness.heads().note(&bench.log.origin);
        assert!(matches!(note, Err(ReadError::Store(_))), "nothing is shown");
        assert!(matches!(failed.await, Failure::Fatal(_)));
        let error = bench.add(5, 7).await.unwrap_err();
        assert!(
            matches!(error, AddError::Stopped),
            "and nothing is answered any more: {error}"
        );
        assert_eq!(bench.stored_size(), on_disk);
    }
}

#[tokio::test]
async fn a_write_whose_outcome_is_not_known_at_the_end_is_no_orderly_end() {
    // Spec: WIT-44
    let bench = Bench::new();
    bench.add(0, 5).await.unwrap();
    bench.store.fail_at(1, Fault::UnknownWritten);
    bench.add(5, 6).await.unwrap_err();
    assert!(matches!(bench.witness.stop().await, Err(Failure::Fatal(_))));

    let bench = Bench::new();
    bench.add(0, 5).await.unwrap();
    bench.witness.stop().await.unwrap();
    let error = bench.add(5, 6).await.unwrap_err();
    assert!(matches!(error, AddError::Stopped), "{error}");
}

#[tokio::test]
async fn a_lost_race_is_decided_again_and_answered_with_the_new_size() {
    // Spec: WIT-43
    let bench = Bench::new();
    bench.add(0, 5).await.unwrap();
    // A second witness on the same state stands for the request that is faster: this one does not
    // see its swap until its own is refused.
    let store = Arc::clone(&bench.store);
    let other = start(
        bench.dir.path(),
        store,
        &bench.clock,
        &bench.metrics,
        keys(),
    )
    .unwrap();
    other
        .add_checkpoint(Bytes::from(bench.log.request(5, 9)))
        .await
        .unwrap();
    let error = bench.add(5, 6).await.unwrap_err();
    // Its heads never learn of the other's swap, so that it gives up instead of guessing.
    assert!(matches!(error, AddError::Contended(_)), "{error}");
    assert_eq!(bench.stored_size(), 9);
}

#[tokio::test]
async fn unknown_logs_cost_no_write_and_disabled_logs_keep_their_state() {
    let bench = Bench::new();
    let mut stranger = TestLog::new("example.com/stranger");
    stranger.grow(2);
    let body = Bytes::from(stranger.request(0, 2));
    let error = bench.witness.add_checkpoint(body).await.unwrap_err();
    assert!(
        matches!(error, AddError::Refused(Refusal::UnknownOrigin { .. })),
        "{error}"
    );
    bench.add(0, 5).await.unwrap();

    let list = bench.dir.path().join("logs.toml");
    Registry::set_state(&list, &bench.log.origin, LogState::Disabled).unwrap();
    assert!(bench.witness.logs().reload_if_changed().unwrap());
    assert!(!bench.witness.logs().reload_if_changed().unwrap());
    let error = bench.add(5, 6).await.unwrap_err();
    assert!(
        matches!(error, AddError::Refused(Refusal::UnknownOrigin { .. })),
        "{error}"
    );
    Registry::set_state(&list, &bench.log.origin, LogState::Active).unwrap();
    assert!(bench.witness.logs().reload_if_changed().unwrap());
    bench.add(5, 6).await.unwrap();

    // The list vanishes, comes back without the log, comes back whole: one error for each change.
    let whole = std::fs::read(&list).unwrap();
    std::fs::remove_file(&list).unwrap();
    let look = || bench.witness.logs().reload_if_changed();
    assert!(matches!(look(), Err(LogListError::Look { .. })));
    assert!(matches!(look(), Ok(false)));
    std::fs::write(&list, "").unwrap();
    assert!(matches!(look(), Err(LogListError::Forgotten { .. })));
    assert!(matches!(look(), Ok(false)));
    bench.add(6, 7).await.unwrap();
    std::fs::write(&list, whole).unwrap();
    assert!(matches!(look(), Ok(true)));
}

#[tokio::test]
async fn a_witness_whose_state_was_rolled_back_signs_no_subtree() {
    use jurat_proto::proof::{ConsistencyProof, Subtree};
    use jurat_proto::sign_subtree::SignSubtree;
    let mut bench = Bench::new();
    let name = KeyName::parse("witness.example.com/w1").unwrap();
    let key = SigningKey::generate(name, Algorithm::MlDsa44).unwrap();
    let line = key.to_note_signer().unwrap();
    let over = |store: MemoryStore| {
        let key = SigningKey::parse_note_signer(&line).unwrap();
        let store = Arc::new(Faulty::new(store));
        start(
            bench.dir.path(),
            store,
            &bench.clock,
            &bench.metrics,
            vec![Box::new(key)],
        )
        .unwrap()
    };
    let subtree = Subtree::new(0, 8).unwrap();
    let proof = ConsistencyProof::new(Vec::new()).unwrap();
    let hash = bench.log.head(8).root_hash;

    let witness = over(MemoryStore::new());
    witness
        .add_checkpoint(Bytes::from(bench.log.request(0, 8)))
        .await
        .unwrap();
    let reference = witness.heads().note(&bench.log.origin).unwrap().unwrap();
    let reference = SignedCheckpoint::parse(&reference).unwrap();
    let body = SignSubtree::new(subtree, hash, proof, reference)
        .unwrap()
        .to_bytes();
    witness
        .sign_subtree(Bytes::from(body.clone()))
        .await
        .unwrap();

    // The same key over an older copy of the state.
    let rolled_back = over(MemoryStore::new());
    let error = rolled_back
        .sign_subtree(Bytes::from(body.clone()))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cosigned size 8 but remembers size 0"),
        "{error}"
    );

    // From then on it signs nothing for that log, and least of all another tree of that size.
    // Spec: WIT-83
    let fork = bench.log.fork(7);
    let led = Bytes::from(fork.request(0, 8));
    let held = rolled_back.add_checkpoint(led.clone()).await.unwrap_err();
    assert!(matches!(held, AddError::Held(_)), "{held}");
    assert_eq!(shown(&rolled_back, &bench.log), None);

    // The same, of a copy that was led there before anybody showed it what it had signed.
    let led_before = over(MemoryStore::new());
    led_before.add_checkpoint(led).await.unwrap();
    let error = led_before.sign_subtree(Bytes::from(body.clone())).await;
    assert!(
        matches!(error, Err(SubtreeError::TwoTrees { stored, .. }) if stored == fork.head(8)),
        "{error:?}"
    );
    let held = led_before.sign_subtree(Bytes::from(body)).await;
    assert!(matches!(held, Err(SubtreeError::Held(_))), "{held:?}");
    let more = Bytes::from(fork.request(8, 8));
    let held = led_before.add_checkpoint(more).await.unwrap_err();
    assert!(matches!(held, AddError::Held(_)), "{held}");
}

#[tokio::test]
async fn a_witness_whose_state_is_one_refresh_behind_signs_no_subtree() {
    // Spec: WIT-83
    use jurat_proto::proof::{ConsistencyProof, Subtree};
    use jurat_proto::sign_subtree::SignSubtree;
    let mut bench = Bench::new();
    bench.add(0, 8).await.unwrap();
    let before = bench.store.inner().latest(&bench.log.origin);
    let before = before.unwrap().unwrap();
    bench.clock.advance(Duration::from_secs(10));
    bench.add(8, 8).await.unwrap();
    let newest = SignedCheckpoint::parse(&bench.served().unwrap()).unwrap();
    let subtree = Subtree::new(0, 8).unwrap();
    let hash = bench.log.head(8).root_hash;
    let proof = ConsistencyProof::new(Vec::new()).unwrap();
    let body = SignSubtree::new(subtree, hash, proof, newest).unwrap();
    let body = Bytes::from(body.to_bytes());
    bench.witness.sign_subtree(body.clone()).await.unwrap();

    // The tree is the same, and the time gives the copy away.
    let store = Arc::new(holding(&bench.log.origin, before));
    let (dir, clock, metrics) = (bench.dir.path(), &bench.clock, &bench.metrics);
    bench.witness = start(dir, store, clock, metrics, keys()).unwrap();
    let error = bench.witness.sign_subtree(body.clone()).await;
    let told = matches!(error, Err(SubtreeError::TimeIsBehind { .. }));
    assert!(told, "{error:?}");
    let held = bench.witness.sign_subtree(body).await;
    assert!(matches!(held, Err(SubtreeError::Held(_))), "{held:?}");
    let held = bench.add(8, 9).await;
    assert!(matches!(held, Err(AddError::Held(_))), "{held:?}");
}

/// A store that does something once a swap is durable, before anybody is told.
struct Then<F> {
    inner: MemoryStore,
    then: F,
}

impl<F: Fn() + Send + Sync> CheckpointStore for Then<F> {
    fn latest(&self, origin: &Origin) -> Result<Option<OriginHead>, StoreError> {
        self.inner.latest(origin)
    }
    fn compare_and_swap(
        &self,
        swaps: &[HeadSwap],
    ) -> Result<Vec<Result<(), SwapRefusal>>, WriteError> {
        let swapped = self.inner.compare_and_swap(swaps);
        (self.then)();
        swapped
    }
    fn origins(
        &self,
        after: Option<&Origin>,
        limit: usize,
    ) -> Result<Vec<(Origin, OriginHead)>, StoreError> {
        self.inner.origins(after, limit)
    }
    fn origin_count(&self) -> Result<u64, StoreError> {
        self.inner.origin_count()
    }
}

#[tokio::test]
async fn a_log_that_is_held_while_the_disk_works_gets_no_answer() {
    // Spec: WIT-83
    let mut bench = Bench::new();
    let witness: Arc<OnceLock<Arc<Witness>>> = Arc::default();
    let (list, of) = (bench.dir.path().join("logs.toml"), Arc::clone(&witness));
    let origin = bench.log.origin.clone();
    let hold = move || {
        let hold = Hold {
            cause: HoldCause::Fork,
            since: 1,
            source: "a test".to_owned(),
            why: "two trees".to_owned(),
            adopt: false,
            reason: None,
            evidence: "none".to_owned(),
            below: None,
        };
        Registry::edit(&list, &(), |list| list.hold(&origin, &hold, "none")).unwrap();
        of.get().unwrap().logs().reload().unwrap();
    };
    let store = Arc::new(Then {
        inner: MemoryStore::new(),
        then: hold,
    });
    let (dir, clock, metrics) = (bench.dir.path(), &bench.clock, &bench.metrics);
    let started = start(dir, store.clone(), clock, metrics, keys()).unwrap();
    assert!(witness.set(Arc::clone(&started)).is_ok());
    bench.witness = started;
    let refused = bench.add(0, 5).await.unwrap_err();
    assert!(matches!(refused, AddError::Held(_)), "{refused}");
    // It is durable all the same, and can be had again when the log is free.
    let stored = store.inner.latest(&bench.log.origin).unwrap().unwrap();
    assert_eq!(stored.head, bench.log.head(5));
}

#[tokio::test]
async fn requests_that_arrive_together_become_durable_together() {
    let bench = Arc::new(Bench::new());
    let list = bench.dir.path().join("logs.toml");
    let logs: Vec<TestLog> = (0..24)
        .map(|number| {
            let mut log = TestLog::new(&format!("example.com/{number}"));
            log.grow(2);
            Registry::add(&list, &log.origin, &[log.vkey().clone()]).unwrap();
            log
        })
        .collect();
    bench.witness.logs().reload().unwrap();
    bench.store.fail_at(u64::MAX, Fault::Before);
    let requests: Vec<_> = logs
        .iter()
        .map(|log| {
            let (witness, body) = (Arc::clone(&bench.witness), Bytes::from(log.request(0, 2)));
            tokio::spawn(async move { witness.add_checkpoint(body).await })
        })
        .collect();
    for request in requests {
        request.await.unwrap().unwrap();
    }
    assert!(bench.store.writes() <= 24);
    assert_eq!(bench.witness.heads().count(), 24);
    assert_eq!(
        bench
            .metrics
            .outcome_count(Call::AddCheckpoint, Outcome::Grown),
        24
    );
}

/// A disk that takes as long as the test wants.
struct Slow {
    inner: MemoryStore,
    /// Closed while the other end is there.
    gate: Mutex<Receiver<()>>,
}

impl CheckpointStore for Slow {
    fn latest(&self, origin: &Origin) -> Result<Option<OriginHead>, StoreError> {
        self.inner.latest(origin)
    }

    fn compare_and_swap(
        &self,
        swaps: &[HeadSwap],
    ) -> Result<Vec<Result<(), SwapRefusal>>, WriteError> {
        let _opened = self.gate.lock().unwrap().recv();
        self.inner.compare_and_swap(swaps)
    }

    fn origins(
        &self,
        after: Option<&Origin>,
        limit: usize,
    ) -> Result<Vec<(Origin, OriginHead)>, StoreError> {
        self.inner.origins(after, limit)
    }

    fn origin_count(&self) -> Result<u64, StoreError> {
        self.inner.origin_count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_disk_works_nothing_is_answered_or_shown_and_too_many_are_refused() {
    // Spec: WIT-44, WIT-54
    let bench = Bench::new();
    let (closed, gate) = sync_channel(0);
    let store = Arc::new(Slow {
        inner: MemoryStore::new(),
        gate: Mutex::new(gate),
    });
    let witness = start(
        bench.dir.path(),
        store,
        &bench.clock,
        &bench.metrics,
        keys(),
    )
    .unwrap();
    let add = |new| {
        let (witness, body) = (Arc::clone(&witness), Bytes::from(bench.log.request(0, new)));
        tokio::spawn(async move { witness.add_checkpoint(body).await })
    };
    // One batch is with the disk, WAITING_MAX wait, the rest is refused at once.
    let mut requests: Vec<_> = (0..WAITING_MAX + 17).map(|_| add(5)).collect();
    requests.push(add(5));
    while bench
        .metrics
        .outcome_count(Call::AddCheckpoint, Outcome::Busy)
        == 0
    {
        tokio::task::yield_now().await;
    }
    assert!(shown(&witness, &bench.log).is_none());
    assert_eq!(
        bench
            .metrics
            .outcome_count(Call::AddCheckpoint, Outcome::Grown),
        0
    );
    drop(closed);
    let (mut cosigned, mut busy) = (0, 0);
    for request in requests {
        match request.await.unwrap() {
            Ok(_) => cosigned += 1,
            Err(AddError::Busy {
                capacity: WAITING_MAX,
            }) => busy += 1,
            // Decided again after the first of them was durable: from size 5, not 0.
            Err(AddError::Refused(Refusal::Conflict { .. })) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert!(cosigned >= 1 && busy >= 1, "{cosigned} {busy}");
    assert!(shown(&witness, &bench.log).is_some());
}

/// A key that signs when the test wants.
struct SlowKey {
    key: SigningKey,
    /// Closed while the other end is there.
    gate: Mutex<Receiver<()>>,
}

impl Signer for SlowKey {
    fn verifier_key(&self) -> &VerifierKey {
        self.key.verifier_key()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let _opened = self.gate.lock().unwrap().recv();
        self.key.sign(message)
    }
}

#[tokio::test]
async fn whoever_hangs_up_does_not_make_room_for_more_work() {
    let bench = Bench::new();
    let (closed, gate) = sync_channel(0);
    let name = KeyName::parse("witness.example.com/w1").unwrap();
    let key = SlowKey {
        key: SigningKey::generate(name, Algorithm::CosignatureV1).unwrap(),
        gate: Mutex::new(gate),
    };
    let store = Arc::new(MemoryStore::new());
    let (dir, metrics) = (bench.dir.path(), &bench.metrics);
    let witness = start(dir, store, &bench.clock, metrics, vec![Box::new(key)]).unwrap();
    let add = || witness.add_checkpoint(Bytes::from(bench.log.request(0, 5)));
    for _ in 0..WAITING_MAX {
        // Begun, and given up at once: the work is with the threads, the request is gone.
        tokio::select! {
            biased;
            result = add() => panic!("{result:?}"),
            () = std::future::ready(()) => {}
        }
    }
    let refused = tokio::time::timeout(Duration::from_secs(5), add()).await;
    let error = refused.expect("no more is taken").unwrap_err();
    let all = WAITING_MAX;
    assert!(
        matches!(error, AddError::Busy { capacity } if capacity == all),
        "{error}"
    );
    drop(closed);
    while shown(&witness, &bench.log).is_none() {
        match add().await {
            Ok(_) | Err(AddError::Busy { .. }) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_checkpoint_that_leaves_no_room_for_cosignatures_is_too_large() {
    let bench = Bench::new();
    let text = |bytes: usize| {
        let line = ExtensionLine::parse(&"e".repeat(bytes)).unwrap();
        let head = bench.log.head(4);
        let origin = bench.log.origin.clone();
        Checkpoint {
            origin,
            head,
            extensions: line.into(),
        }
    };
    let submit = |bytes| {
        let checkpoint = text(bytes);
        let line = cosignature::sign_note(&checkpoint.to_text(), &bench.log.key).unwrap();
        let checkpoint = SignedCheckpoint::new(checkpoint, vec![line]).unwrap();
        let body = bench.log.request_with(0, bench.log.proof(0, 4), checkpoint);
        bench.witness.add_checkpoint(Bytes::from(body))
    };
    let error = submit(127 * 1024).await.unwrap_err();
    assert!(matches!(error, AddError::Note(_)), "{error}");
    assert_eq!(bench.stored_size(), 0);
    submit(120 * 1024).await.unwrap();
}

#[test]
fn heads_of_more_than_one_page_are_loaded() {
    let store = MemoryStore::new();
    let head = TestLog::new("example.com/log").head(0);
    let name = KeyName::parse("witness.example.com/w1").unwrap();
    let key = SigningKey::generate(name, Algorithm::CosignatureV1).unwrap();
    let note = |origin: Origin, time: UnixSeconds| {
        let extensions = ExtensionLines::new();
        let checkpoint = Checkpoint {
            origin,
            head,
            extensions,
        };
        let line = cosignature::cosign(&checkpoint, time, &key).unwrap();
        SignedCheckpoint::new(checkpoint, vec![line])
            .unwrap()
            .to_bytes()
    };
    let swaps: Vec<HeadSwap> = (0..2500_u64)
        .map(|number| {
            let origin = Origin::parse(&format!("example.com/{number}")).unwrap();
            let time = UnixSeconds::new(number + 1).unwrap();
            let new = OriginHead {
                head,
                time,
                note: note(origin.clone(), time),
                log_index: None,
            };
            HeadSwap {
                origin,
                expected: None,
                new,
            }
        })
        .collect();
    store.compare_and_swap(&swaps).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("logs.toml");
    Registry::create(&list).unwrap();
    let logs = Arc::new(LogList::load(list, true).unwrap());
    let own = vec![key.verifier_key().clone()];
    let heads = Heads::open(Arc::new(store), own, logs).unwrap();
    assert_eq!(heads.count(), 2500);
    for swap in &swaps {
        let latest = heads.latest(&swap.origin).unwrap().unwrap();
        assert_eq!((latest.head, latest.time), (swap.new.head, swap.new.time));
        let note = heads.note(&swap.origin).unwrap().unwrap();
        assert_eq!(note, swap.new.note);
    }
    let unknown = Origin::parse("example.com/unknown").unwrap();
    assert_eq!(heads.latest(&unknown).unwrap(), None);
    assert_eq!(heads.note(&unknown).unwrap(), None);
}

/// A store that holds this as what was cosigned last.
fn holding(origin: &Origin, new: OriginHead) -> MemoryStore {
    let store = MemoryStore::new();
    let swap = HeadSwap {
        origin: origin.clone(),
        expected: None,
        new,
    };
    let swapped = store.compare_and_swap(&[swap]).unwrap();
    assert!(swapped.iter().all(Result::is_ok));
    store
}

#[tokio::test]
async fn a_stored_head_that_its_own_note_does_not_bear_out_is_refused() {
    // Spec: WIT-57
    let mut bench = Bench::new();
    bench.add(0, 5).await.unwrap();
    let (log, own) = (&bench.log, bench.witness.keys());
    let sound = bench.store.inner().latest(&log.origin).unwrap().unwrap();
    let list = LogList::load(bench.dir.path().join("logs.toml"), true);
    let list = Arc::new(list.unwrap());
    let load = |origin: &Origin, head: &OriginHead, keys: &[VerifierKey]| {
        let store = Arc::new(holding(origin, head.clone()));
        let heads = Heads::open(store, keys.to_vec(), Arc::clone(&list)).unwrap();
        let latest = heads.latest(origin);
        assert_eq!(latest.is_err(), heads.note(origin).is_err());
        latest
    };
    load(&log.origin, &sound, own).unwrap();
    let fault = |origin: &Origin, head: OriginHead| match load(origin, &head, own) {
        Err(ReadError::Damaged { fault, .. }) => fault,
        other => panic!("{other:?}"),
    };
    let with = |change: &dyn Fn(&mut OriginHead)| {
        let mut head = sound.clone();
        change(&mut head);
        fault(&log.origin, head)
    };
    // Set back to nothing, to grow into another tree.
    let emptied = with(&|head| head.head = log.head(0));
    assert!(matches!(emptied, HeadFault::OtherHead { .. }), "{emptied}");
    let time = with(&|head| head.time = UnixSeconds::new(1).unwrap());
    assert!(matches!(time, HeadFault::OtherTime { .. }), "{time}");
    let torn = with(&|head| head.note.truncate(100));
    assert!(matches!(torn, HeadFault::NotACheckpoint(_)), "{torn}");
    let other = Origin::parse("example.com/other").unwrap();
    let moved = fault(&other, sound.clone());
    assert!(matches!(moved, HeadFault::OtherOrigin { .. }), "{moved}");

    // A fork with the log's signature, and our lines from the true checkpoint.
    let lines: Vec<SignatureLine> = SignedCheckpoint::parse(&sound.note)
        .unwrap()
        .signatures()
        .to_vec();
    let fork = bench.log.fork(4);
    let forged = fork.checkpoint(5).with_signatures(&[0], &lines[1..]);
    let mut head = sound.clone();
    head.head = fork.head(5);
    head.note = forged.unwrap().to_bytes();
    let store = Arc::new(Faulty::new(holding(&bench.log.origin, head)));
    let heads = Heads::open(store.clone(), bench.witness.keys().to_vec(), list).unwrap();
    let error = heads.latest(&bench.log.origin).unwrap_err();
    let not_ours = |error: &ReadError| {
        let ReadError::Damaged { fault, .. } = error else {
            return false;
        };
        matches!(fault, HeadFault::NotOurs(_))
    };
    assert!(not_ours(&error), "{error}");
    // A witness on such a state signs nothing for this log, and changes nothing.
    let log = fork;
    let witness = start(
        bench.dir.path(),
        store,
        &bench.clock,
        &bench.metrics,
        keys(),
    )
    .unwrap();
    let error = witness.add_checkpoint(Bytes::from(log.request(5, 5))).await;
    assert!(matches!(&error, Err(AddError::State(error)) if not_ours(error)));
    let error = witness.checkpoint(&log.origin.hash()).await;
    assert!(matches!(&error, Err(CheckpointError::Read(error)) if not_ours(error)));
}

#[tokio::test]
async fn a_stored_head_with_a_line_by_a_stranger_or_none_by_us_is_refused() {
    // Spec: WIT-57
    let bench = Bench::new();
    bench.add(0, 5).await.unwrap();
    let (origin, own) = (&bench.log.origin, bench.witness.keys());
    let sound = bench.store.inner().latest(origin).unwrap().unwrap();
    let list = LogList::load(bench.dir.path().join("logs.toml"), true);
    let list = Arc::new(list.unwrap());
    let load = |head: &OriginHead, keys: &[VerifierKey]| {
        let store = Arc::new(holding(origin, head.clone()));
        let heads = Heads::open(store, keys.to_vec(), Arc::clone(&list)).unwrap();
        match heads.latest(origin) {
            Err(ReadError::Damaged { fault, .. }) => Err(fault),
            latest => Ok(latest.unwrap()),
        }
    };
    load(&sound, own).unwrap();
    // One of ours is enough, but what the other one signed must not be anybody's.
    for some in [&own[..1], &own[1..]] {
        let unknown = load(&sound, some).unwrap_err();
        let told = matches!(unknown, HeadFault::UnknownLine { .. });
        assert!(told, "{unknown}");
    }
    let nobody = load(&sound, &[]).unwrap_err();
    assert!(matches!(nobody, HeadFault::NotCosigned), "{nobody}");

    let note = SignedCheckpoint::parse(&sound.note).unwrap();
    let name = KeyName::parse("witness.example.com/w1").unwrap();
    let stranger = SignatureLine::new(name, KeyId::new([1; 4]), vec![1; 72]).unwrap();
    // Instead of ours, and beside them.
    for (keep, instead) in [(&[0][..], true), (&[0, 1, 2][..], false)] {
        let note = note.with_signatures(keep, std::slice::from_ref(&stranger));
        let mut head = sound.clone();
        head.note = note.unwrap().to_bytes();
        match load(&head, own) {
            Err(HeadFault::NotCosigned) => assert!(instead),
            Err(HeadFault::UnknownLine { .. }) => assert!(!instead),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn keys_that_were_replaced_are_ours_when_they_are_named() {
    // Spec: WIT-57
    let mut bench = Bench::new();
    bench.add(0, 5).await.unwrap();
    let former = bench.witness.keys().to_vec();
    let after = |former: &[VerifierKey]| {
        let name = KeyName::parse("witness.example.com/w1").unwrap();
        let key = SigningKey::generate(name, Algorithm::CosignatureV1).unwrap();
        let sound = bench.store.inner().latest(&bench.log.origin);
        let store = holding(&bench.log.origin, sound.unwrap().unwrap());
        let (dir, clock, metrics) = (bench.dir.path(), &bench.clock, &bench.metrics);
        let signers: Vec<Box<dyn Signer>> = vec![Box::new(key)];
        start_after(former, dir, Arc::new(store), clock, metrics, signers).unwrap()
    };
    let unnamed = after(&[]);
    let body = Bytes::from(bench.log.request(5, 7));
    let refused = unnamed.add_checkpoint(body).await;
    assert!(matches!(refused, Err(AddError::State(_))), "{refused:?}");
    let named = after(&former);
    assert_eq!(shown(&named, &bench.log), bench.served());
    bench.witness = named;
    bench.add(5, 7).await.unwrap();
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_is_counted_too() {
    // Spec: WIT-101
    let bench = Bench::new();
    let counted = |outcome| bench.metrics.outcome_count(Call::AddCheckpoint, outcome);
    let body = Bytes::from(bench.log.request(0, 5));
    let mut call = Box::pin(bench.witness.add_checkpoint(body));
    let begun = std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
    assert!(begun.is_pending());
    assert_eq!(counted(Outcome::Abandoned), 0);
    drop(call);
    assert_eq!(counted(Outcome::Abandoned), 1);
    assert_eq!(counted(Outcome::Grown), 0);
}

/// A store that somebody writes into behind the witness's back.
#[derive(Default)]
struct Tampered {
    inner: MemoryStore,
    /// What is read of an origin, whatever was stored.
    shown: Mutex<Option<(Origin, Option<OriginHead>)>>,
}

impl CheckpointStore for Tampered {
    fn latest(&self, origin: &Origin) -> Result<Option<OriginHead>, StoreError> {
        match &*self.shown.lock().unwrap() {
            Some((shown, head)) if shown == origin => Ok(head.clone()),
            _ => self.inner.latest(origin),
        }
    }
    fn compare_and_swap(
        &self,
        swaps: &[HeadSwap],
    ) -> Result<Vec<Result<(), SwapRefusal>>, WriteError> {
        self.inner.compare_and_swap(swaps)
    }
    fn origins(
        &self,
        after: Option<&Origin>,
        limit: usize,
    ) -> Result<Vec<(Origin, OriginHead)>, StoreError> {
        self.inner.origins(after, limit)
    }
    fn origin_count(&self) -> Result<u64, StoreError> {
        self.inner.origin_count()
    }
}

/// One pass over all logs.
fn pass(witness: &Witness) -> Step {
    let mut walk = Walk::default();
    let mut checked = 0;
    loop {
        let step = walk.step(witness, 3, false);
        checked += step.checked;
        if step.pass_ended {
            return Step { checked, ..step };
        }
    }
}

#[tokio::test]
async fn a_head_that_goes_bad_is_found_though_nobody_asks_for_it() {
    // Spec: WIT-99, WIT-100
    let mut bench = Bench::new();
    let list = bench.dir.path().join("logs.toml");
    for n in 0..7 {
        let origin = Origin::parse(&format!("example.com/{n}")).unwrap();
        Registry::add(&list, &origin, &[bench.log.vkey().clone()]).unwrap();
    }
    let store = Arc::new(Tampered::default());
    let (dir, clock, metrics) = (bench.dir.path(), &bench.clock, &bench.metrics);
    let witness = start(dir, store.clone(), clock, metrics, keys()).unwrap();
    bench.witness = witness;
    bench.add(0, 5).await.unwrap();
    let sound = pass(&bench.witness);
    assert_eq!((sound.checked, sound.bad), (8, 0));

    // The head of another time, of another tree, none, and an older one that is sound in itself.
    let origin = bench.log.origin.clone();
    let old = store.inner.latest(&origin).unwrap();
    bench.add(5, 6).await.unwrap();
    let now = store.inner.latest(&origin).unwrap().unwrap();
    let mut early = now.clone();
    early.time = UnixSeconds::new(1).unwrap();
    let mut other = now.clone();
    other.head = bench.log.fork(4).head(5);
    for (shown, part) in [
        (Some(early), "its time is 1, "),
        (Some(other), "its note of size 6 and root"),
        (None, "and is gone"),
        (old, "it was of size 6 and root"),
    ] {
        *store.shown.lock().unwrap() = Some((origin.clone(), shown));
        assert_eq!(pass(&bench.witness).bad, 1, "{part}");
        let (count, told) = bench.witness.heads().faults(10);
        assert_eq!((count, told.len()), (1, 1));
        let told = told[0].to_string();
        assert!(told.contains("example.com/log"), "{told}");
        assert!(told.contains(part), "{told}");
        // The witness remembers a sound head, and signs nothing all the same.
        let refused = bench.add(6, 7).await;
        assert!(matches!(refused, Err(AddError::State(_))), "{refused:?}");
        let refused = bench.witness.checkpoint(&origin.hash()).await;
        assert!(matches!(refused, Err(CheckpointError::Read(_))));

        // Those that are bad are looked at in each step, even while the others rest.
        *store.shown.lock().unwrap() = None;
        let step = Walk::default().step(&bench.witness, 1, true);
        assert_eq!((step.checked, step.bad, step.pass_ended), (1, 0, false));
        bench.add(6, 6).await.unwrap();
    }

    // A line in the name of the log's key that is not its signature.
    let mut bad = now;
    let note = SignedCheckpoint::parse(&bad.note).unwrap();
    let mut lines = note.signatures().to_vec();
    let mut signature = lines[0].signature().to_vec();
    signature[9] ^= 1;
    let (name, id) = (lines[0].name().clone(), lines[0].key_id());
    lines[0] = SignatureLine::new(name, id, signature).unwrap();
    let forged = SignedCheckpoint::new(note.checkpoint().clone(), lines);
    bad.note = forged.unwrap().to_bytes();
    *store.shown.lock().unwrap() = Some((origin, Some(bad)));
    pass(&bench.witness);
    let told = bench.witness.heads().faults(1).1;
    let fault = told.first().map(ToString::to_string).unwrap_or_default();
    assert!(fault.contains("as to the log's keys"), "{fault}");
}

#[test]
fn two_pages_are_made_at_a_time() {
    // Spec: WIT-98
    let bench = Bench::new();
    let store = Arc::new(Tampered::default());
    let (dir, clock, metrics) = (bench.dir.path(), &bench.clock, &bench.metrics);
    let witness = start(dir, store.clone(), clock, metrics, keys()).unwrap();
    let shown = RawAbout::default().resolve(&mut Problems::new(dir));
    let api = Api::new(witness, Arc::default(), Duration::from_secs(10)).with_about(shown);
    let page = || {
        let request = Request::new(Body::from(Bytes::new()));
        Box::pin(api.handle(request, ([127, 0, 0, 1], 1).into()))
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let inside = runtime.enter();
    // The disk is slow.
    let reading = store.shown.lock().unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let (mut first, mut second) = (page(), page());
    assert!(first.as_mut().poll(&mut context).is_pending());
    assert!(second.as_mut().poll(&mut context).is_pending());
    let Poll::Ready(third) = page().as_mut().poll(&mut context) else {
        panic!("it waits");
    };
    assert_eq!(third.status(), 503);
    assert_eq!(third.headers()["retry-after"], "1");
    drop((reading, inside));
    assert_eq!(runtime.block_on(first).status(), 200);
    assert_eq!(runtime.block_on(second).status(), 200);
    assert_eq!(runtime.block_on(page()).status(), 200);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is submitted, in whatever order: what is served never shrinks, is always the tree
    /// of the log, and is exactly what was answered last.
    #[test]
    fn any_sequence_of_requests_leaves_one_history(
        moves in prop::collection::vec((0_u64..20, 0_u64..20, 0_u8..6), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut bench = Bench::new();
        let mut fork = bench.log.fork(9);
        fork.grow(20);
        let mut latest: Option<u64> = None;
        for (old, new, kind) in moves {
            bench.clock.advance(Duration::from_millis(300));
            let (old, new) = (old.min(new), new);
            // Mostly the true old size, so that the log grows; sometimes the other branch.
            let old = if kind < 4 { latest.unwrap_or(0) } else { old };
            // A fork that nobody could tell from growth is the log's history from then on.
            let undetectable = kind == 3 && new > 9 && latest.unwrap_or(0) <= 9;
            if old > new || undetectable {
                continue;
            }
            let body = if kind == 3 { fork.request(old, new) } else { bench.log.request(old, new) };
            let checkpoint = bench.log.checkpoint(new);
            let result = runtime.block_on(bench.witness.add_checkpoint(Bytes::from(body)));
            let same_tree = kind != 3 || new <= 9;
            let grows = old == latest.unwrap_or(0) && same_tree;
            prop_assert_eq!(result.is_ok(), grows, "{} to {} of kind {}", old, new, kind);
            if let Ok(lines) = result {
                verified(&lines.to_bytes(), &checkpoint, bench.witness.keys());
                latest = Some(new);
            }
            let served = bench.served();
            prop_assert_eq!(served.is_some(), latest.is_some());
            if let (Some(served), Some(latest)) = (served, latest) {
                let served = SignedCheckpoint::parse(&served).unwrap();
                prop_assert_eq!(served.head(), bench.log.head(latest));
                prop_assert_eq!(bench.stored_size(), latest);
            }
        }
    }
}

#[test]
fn a_witness_without_keys_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    Registry::create(dir.path().join("logs.toml")).unwrap();
    let store = Arc::new(Faulty::new(MemoryStore::new()));
    let clock = ManualClock::new(START);
    let error = start(
        dir.path(),
        store,
        &clock,
        &Metrics::unregistered(),
        Vec::new(),
    )
    .unwrap_err();
    assert!(matches!(error, StartError::NoKeys));
}

#[test]
fn an_origin_that_no_key_of_ours_can_sign_is_not_served_and_holds_up_no_other() {
    // Spec: WIT-73
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("logs.toml");
    Registry::create(&list).unwrap();
    let log = TestLog::new("example.com/log");
    let origin: Origin = "o".repeat(256).parse().unwrap();
    for origin in [&origin, &log.origin] {
        Registry::add(&list, origin, &[VerifierKey::clone(log.vkey())]).unwrap();
    }
    for ml_dsa in [true, false] {
        let logs = LogList::load(&list, ml_dsa).unwrap();
        let logs = logs.current();
        assert!(logs.is_active(&log.origin) && logs.log(&origin).is_some());
        assert_eq!(logs.is_active(&origin), !ml_dsa);
        assert_eq!(logs.keys_for(&origin).is_none(), ml_dsa);
        assert_eq!(logs.active_qpd(&origin).is_none(), ml_dsa);
        assert_eq!(logs.too_long().len(), usize::from(ml_dsa));
    }
}

#[tokio::test]
async fn a_quota_is_enforced_before_signatures_and_strangers_do_not_use_it_up() {
    // Spec: WIT-65, WIT-66, WIT-67
    let bench = Bench::new();
    let list = bench.dir.path().join("logs.toml");
    let about = About {
        qpd: NonZeroU32::new(24),
        ..About::default()
    };
    let describe = |list: &mut Registry| list.describe(&bench.log.origin, about);
    Registry::edit(&list, &(), describe).unwrap();
    bench.witness.logs().reload().unwrap();
    let stranger = Client::at("192.0.2.1".parse().unwrap());
    let mut unsigned = bench.log.checkpoint(5).to_bytes();
    let end = unsigned.len() - 20;
    unsigned[end] = if unsigned[end] == b'A' { b'B' } else { b'A' };
    let rubbish = Bytes::from([b"old 0\n\n", &unsigned[..]].concat());
    for _ in 0..60 {
        let sent = bench
            .witness
            .add_checkpoint_from(rubbish.clone(), Some(stranger));
        assert!(matches!(sent.await, Err(AddError::Refused(_))));
    }
    let sent = bench
        .witness
        .add_checkpoint_from(rubbish.clone(), Some(stranger));
    let refused = sent.await.unwrap_err();
    assert!(
        matches!(refused, AddError::OverQuota(OverQuota::Address { .. })),
        "{refused}"
    );
    // The log still has all of its burst. A conflict is not taken from it: who knows a checkpoint
    // of the log, and everybody does, can make any number of them.
    bench.add(0, 1).await.unwrap();
    for size in 1..10 {
        assert!(bench.add(0, 6).await.unwrap_err().conflict().is_some());
        bench.add(size, size + 1).await.unwrap();
    }
    let refused = bench.add(10, 11).await.unwrap_err();
    let AddError::OverQuota(quota @ OverQuota::Log { .. }) = refused else {
        panic!("{refused}");
    };
    assert_eq!(quota.retry_after(), 3600);
    // Not even a signature that would be refused is looked at.
    let sent = bench.witness.add_checkpoint(rubbish).await.unwrap_err();
    assert!(matches!(sent, AddError::OverQuota(OverQuota::Log { .. })));
    let unknown = TestLog::new("example.com/unknown");
    for _ in 0..100 {
        let sent = Bytes::from(unknown.request(0, 0));
        let sent = bench
            .witness
            .add_checkpoint_from(sent, Some(stranger))
            .await;
        let unknown = matches!(sent, Err(AddError::Refused(Refusal::UnknownOrigin { .. })));
        assert!(unknown, "{sent:?}");
    }
    bench.clock.advance(Duration::from_secs(3600));
    bench.add(10, 11).await.unwrap();
    let late = bench.add(11, 12).await.unwrap_err();
    assert!(matches!(late, AddError::OverQuota(_)), "{late}");
}

/// A bench whose log may make 24 requests a day, and as many others may be refused.
fn of_24_a_day() -> Bench {
    let bench = Bench::new();
    let about = About {
        qpd: NonZeroU32::new(24),
        ..About::default()
    };
    let list = bench.dir.path().join("logs.toml");
    let describe = |list: &mut Registry| list.describe(&bench.log.origin, about);
    Registry::edit(&list, &(), describe).unwrap();
    bench.witness.logs().reload().unwrap();
    bench
}

#[tokio::test]
async fn what_everybody_can_read_and_send_again_uses_up_nothing_of_the_log() {
    // Spec: WIT-65, WIT-67
    let bench = of_24_a_day();
    bench.add(0, 5).await.unwrap();
    let stranger = Client::at("192.0.2.1".parse().unwrap());
    let send = |old: u64| {
        let note = bench.served().unwrap();
        let body = [format!("old {old}\n\n").as_bytes(), &note[..]].concat();
        let witness = &bench.witness;
        async move {
            witness
                .add_checkpoint_from(body.into(), Some(stranger))
                .await
        }
    };
    // With the right old size it is a refresh: of these there are as many as the log may make.
    let mut refreshed = 0;
    let over = loop {
        bench.clock.advance(Duration::from_secs(1));
        match send(5).await {
            Ok(_) => refreshed += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refreshed, 10);
    assert!(
        matches!(over, AddError::OverQuota(OverQuota::Refreshes { .. })),
        "{over}"
    );
    // With another it is a conflict, and a proof that does not verify is no better.
    for old in [0, 3].iter().cycle().take(10) {
        assert!(send(*old).await.unwrap_err().conflict().is_some());
    }
    let over = send(0).await.unwrap_err();
    assert!(
        matches!(over, AddError::OverQuota(OverQuota::Refused { .. })),
        "{over}"
    );
    for size in 5..14 {
        bench.add(size, size + 1).await.unwrap();
    }
    let over = bench.add(14, 15).await.unwrap_err();
    assert!(matches!(over, AddError::OverQuota(OverQuota::Log { .. })));
}

#[tokio::test]
async fn who_hangs_up_while_evidence_is_looked_for_has_paid() {
    // Spec: WIT-67, WIT-120
    let mut bench = of_24_a_day();
    let folder = bench.dir.path().join("evidence");
    let folder = EvidenceFolder::open(folder, Metrics::unregistered(), rig::Nobody).unwrap();
    let witness = Arc::into_inner(bench.witness).unwrap();
    bench.witness = Arc::new(witness.with_evidence(Arc::new(folder)));
    bench.add(0, 5).await.unwrap();
    let stranger = Client::at("192.0.2.1".parse().unwrap());
    let body = Bytes::from([b"old 0\n\n", &bench.served().unwrap()[..]].concat());
    let mut hung_up = 0;
    let over = loop {
        assert!(hung_up < 24, "nobody pays");
        let witness = &bench.witness;
        let mut asked = pin!(witness.add_checkpoint_from(body.clone(), Some(stranger)));
        match asked.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => hung_up += 1,
            Poll::Ready(answer) => break answer.unwrap_err(),
        }
    };
    assert!(
        matches!(over, AddError::OverQuota(OverQuota::Refused { .. })),
        "{over}"
    );
    assert_eq!(hung_up, 10);
}

#[tokio::test]
async fn a_log_that_learns_its_old_size_from_a_conflict_stays_within_its_quota() {
    // Spec: WIT-67
    let bench = of_24_a_day();
    let own = Some(Client::at("192.0.2.1".parse().unwrap()));
    for size in 0..10 {
        let wrong = Bytes::from(bench.log.request(size + 1, size + 2));
        let conflict = bench.witness.add_checkpoint_from(wrong, own).await;
        assert!(conflict.unwrap_err().conflict().is_some());
        let right = Bytes::from(bench.log.request(size, size + 1));
        bench.witness.add_checkpoint_from(right, own).await.unwrap();
        // One request of each kind an hour, for ever.
        bench.clock.advance(Duration::from_secs(3_600));
    }
}

#[tokio::test]
async fn a_refresh_within_the_second_repeats_what_is_durable() {
    // Spec: WIT-71
    let bench = Bench::new();
    bench.add(0, 4).await.unwrap();
    let send = |body: Vec<u8>| bench.witness.add_checkpoint(Bytes::from(body));
    let refresh = || send(bench.log.request(4, 4));
    // What an earlier process left is not relied on: in the second of the start all is written.
    let (first, second) = (refresh().await.unwrap(), refresh().await.unwrap());
    assert_ne!(
        first.to_bytes(),
        second.to_bytes(),
        "signed with another random number"
    );
    bench.clock.advance(Duration::from_secs(1));
    let grown = send(bench.log.request(4, 5)).await.unwrap();
    let (stored, writes) = (bench.served(), bench.store.writes());
    for _ in 0..100 {
        let repeated = send(bench.log.request(5, 5)).await.unwrap();
        assert_eq!(repeated.to_bytes(), grown.to_bytes());
    }
    assert_eq!(
        (bench.served(), bench.store.writes()),
        (stored.clone(), writes)
    );
    // Another text of the same tree is cosigned by itself, and so is a signature that is new.
    let mut checkpoint = bench.log.checkpoint(5).checkpoint().clone();
    checkpoint.extensions = ExtensionLine::parse("more").unwrap().into();
    let line = cosignature::sign_note(&checkpoint.to_text(), &bench.log.key).unwrap();
    let extended = SignedCheckpoint::new(checkpoint, vec![line]).unwrap();
    let proof = bench.log.proof(5, 5);
    let body = bench.log.request_with(5, proof, extended.clone());
    let lines = send(body).await.unwrap();
    verified(&lines.to_bytes(), &extended, bench.witness.keys());
    assert_ne!(bench.served(), stored);
    assert_eq!(bench.store.writes(), writes + 1);

    bench.clock.advance(Duration::from_secs(1));
    let renewed = send(bench.log.request(5, 5)).await.unwrap();
    let time = verified(
        &renewed.to_bytes(),
        &bench.log.checkpoint(5),
        bench.witness.keys(),
    );
    assert_eq!(time, START.seconds() + 2);
    assert_eq!(bench.store.writes(), writes + 2);
}

#[tokio::test]
async fn subtrees_take_no_place_from_checkpoints() {
    // Spec: WIT-72
    use jurat_proto::proof::{ConsistencyProof, Subtree};
    use jurat_proto::sign_subtree::SignSubtree;
    let bench = Bench::new();
    let (closed, gate) = sync_channel(0);
    let name = KeyName::parse("witness.example.com/w1").unwrap();
    let key = SlowKey {
        key: SigningKey::generate(name, Algorithm::MlDsa44).unwrap(),
        gate: Mutex::new(gate),
    };
    let store = Arc::new(MemoryStore::new());
    let (dir, metrics) = (bench.dir.path(), &bench.metrics);
    let witness = start(dir, store, &bench.clock, metrics, vec![Box::new(key)]).unwrap();
    let add = |old, new| witness.add_checkpoint(Bytes::from(bench.log.request(old, new)));
    let first = add(0, 8);
    let opened = async { tokio::task::spawn_blocking(move || (closed.send(()), closed)).await };
    let (first, opened) = tokio::join!(first, opened);
    first.unwrap();
    let closed = opened.unwrap().1;
    let reference = shown(&witness, &bench.log).unwrap();
    let reference = SignedCheckpoint::parse(&reference).unwrap();
    let subtree = |hash| {
        let proof = ConsistencyProof::new(Vec::new()).unwrap();
        let whole = Subtree::new(0, 8).unwrap();
        let body = SignSubtree::new(whole, hash, proof, reference.clone()).unwrap();
        witness.sign_subtree(Bytes::from(body.to_bytes()))
    };
    let hash = bench.log.head(8).root_hash;
    for _ in 0..WAITING_MAX / 4 {
        // Begun, and given up at once: the work is with the threads.
        tokio::select! {
            biased;
            result = subtree(hash) => panic!("{result:?}"),
            () = std::future::ready(()) => {}
        }
    }
    let refused = subtree(hash).await.unwrap_err();
    let part = WAITING_MAX / 4;
    assert!(
        matches!(refused, SubtreeError::Busy { capacity } if capacity == part),
        "{refused}"
    );
    // Who is not known is told so, whatever else is wrong, and without a place.
    let list = bench.dir.path().join("logs.toml");
    Registry::set_state(&list, &bench.log.origin, LogState::Disabled).unwrap();
    witness.logs().reload().unwrap();
    let wrong = subtree(bench.log.head(7).root_hash).await.unwrap_err();
    let unknown = jurat_proto::sign_subtree::Refusal::UnknownOrigin {
        origin: bench.log.origin.clone(),
    };
    assert!(matches!(wrong, SubtreeError::Refused(refusal) if refusal == unknown));
    Registry::set_state(&list, &bench.log.origin, LogState::Active).unwrap();
    witness.logs().reload().unwrap();
    // All others are free.
    for _ in 0..WAITING_MAX - part {
        tokio::select! {
            biased;
            result = add(8, 9) => panic!("{result:?}"),
            () = std::future::ready(()) => {}
        }
    }
    drop(closed);
}

#[tokio::test]
async fn what_was_cosigned_is_served_though_no_list_names_it() {
    // Spec: WIT-53, WIT-75
    let bench = Bench::new();
    bench.add(0, 5).await.unwrap();
    let served = bench.served();
    let hash = bench.log.origin.hash();
    std::fs::write(bench.dir.path().join("logs.toml"), "").unwrap();
    let (dir, store) = (bench.dir.path(), bench.store.clone());
    let again = start(dir, store, &bench.clock, &bench.metrics, keys()).unwrap();
    assert_eq!(again.checkpoint(&hash).await.unwrap(), served);
    let refused = again
        .add_checkpoint(Bytes::from(bench.log.request(5, 6)))
        .await;
    let unknown = matches!(
        refused,
        Err(AddError::Refused(Refusal::UnknownOrigin { .. }))
    );
    assert!(unknown, "{refused:?}");
    let never = TestLog::new("example.com/never").origin.hash();
    assert_eq!(again.checkpoint(&never).await.unwrap(), None);
}
