//! The sequencer: one thread at a time commits. It is the sequencing thread; for a lone submission
//! it is the one that submits ([`jurat_daemon::batch`]).
//!
//! Requests that arrive while a commit is in flight share the next one, so one fsync serves many
//! and a lone request waits for nobody. Each batch becomes at most one transaction of entries and
//! origin heads; recording an intent to sign and publishing ride on the same thread, so that no
//! other writer of the store starves or is starved.
//!
//! An entry may say where it stands ([`Sequencer::place`]): it gets its place at once and is made
//! for it, in the thread that submits, and that thread may use what it says while the commit is in
//! flight. The others get theirs behind those that are there when their commit begins.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use jurat_daemon::batch::{BatchError, Batcher, Failure, Fatal};
use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::Hash;
use jurat_proto::key::UnixSeconds;
use jurat_proto::tree::{LeafIndex, TreeHead, TreeSize};
use jurat_store::{
    Batch, HeadSwap, LogStore, NewEntry, Published, RecordError, Recorded, Records, SignedHead,
    StoreError,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use super::convicted::{Convicted, Conviction, Convictions};
use super::places::{Load, NoPlace, Placed, Places, next_place};

/// Submitters that may wait at once. Beyond it a submission is refused with 503 rather than queued:
/// at the slowest disk that this is built for (20 commits a second) the last in line waits two
/// seconds.
pub const WAITING_MAX: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// Entries in one transaction. Larger batches gain no throughput and hold the last submitter
/// longer.
pub const BATCH_MAX: NonZeroUsize = NonZeroUsize::new(2_048).unwrap();

/// A commit waits for more when those before had at least so many entries with places.
const LINGER_AFTER: usize = 4;

/// One step of that. A commit costs a few hundred microseconds of processor time whatever is in
/// it; with steps of 200 a crowd whose requests come in bursts was committed in small parts.
const LINGER_STEP: Duration = Duration::from_micros(400);

/// How many steps at most.
const LINGER_STEPS_MAX: u32 = 4;

/// Pause before a control request tries the full queue again.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// Handle on the sequencing thread. Clones share it.
#[derive(Clone)]
pub struct Sequencer {
    queue: Arc<Queue>,
    committed: watch::Receiver<TreeHead>,
}

/// What waits for a commit.
struct Queue {
    batcher: Batcher<Request, Answer>,
    places: Arc<Places>,
}

impl Queue {
    /// Has all that have a place committed, by the sequencing thread.
    fn call(&self) {
        let called = self.batcher.try_submit(Request::Placed);
        self.called(called.err());
    }

    /// A full queue is a commit that is about to begin, and takes along whatever has a place.
    fn called(&self, error: Option<BatchError>) {
        if error == Some(BatchError::Stopped) {
            self.places.close();
        }
    }
}

/// One entry to append, and the head of the origin that moves with it.
#[derive(Debug, Clone)]
pub struct Append {
    /// The entry, hashed by the submitter, so that hashing runs on its core.
    pub entry: NewEntry,
    /// Moves the origin's latest head in the same transaction, when it is still the expected one.
    /// `new.log_index` is filled in here.
    pub head: Option<HeadSwap>,
}

/// Where an entry stands, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The entry's leaf index.
    pub index: LeafIndex,
    /// Whether an equal entry was there already; `index` is then the older one's.
    pub duplicate: bool,
}

/// Why an append did not happen. Nothing of it was kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The origin's head moved since the caller looked. The caller decides anew.
    #[error("another checkpoint of this origin was committed first")]
    Conflict {
        /// The origin's latest head now.
        current: Option<TreeHead>,
    },
    /// An entry that was committed first convicts the log whose head was to move.
    #[error("{0} convicts this log: nothing of it is recorded any more")]
    Convicted(Convicted),
    /// [`WAITING_MAX`] submitters wait already.
    #[error("too many submissions are waiting; try again shortly")]
    Overloaded,
    /// The service is stopping, or the store failed; whether the entry was kept is not known, and
    /// sending it again is safe.
    #[error("the log is not accepting entries: the service is stopping")]
    Stopped,
}

/// Why an entry was not given a place. Nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError<E> {
    /// Its maker refused to make it.
    #[error("it was not made")]
    Refused(E),
    /// [`WAITING_MAX`] submitters wait already.
    #[error("too many submissions are waiting; try again shortly")]
    Overloaded,
    /// The service is stopping, or the store failed.
    #[error("the log is not accepting entries: the service is stopping")]
    Stopped,
    /// There are 2^63 - 1 entries.
    #[error("the log is full")]
    LogFull,
}

/// An entry that has its place, and will be committed whether anybody waits or not.
pub struct Placing {
    placed: Placed,
    queue: Arc<Queue>,
}

impl Placing {
    /// Sees to it that the commit begins. To be called by who does something long before
    /// [`Self::durable`].
    pub fn begin(&self) {
        if self.queue.places.is_uncalled(&self.placed) {
            self.queue.call();
        }
    }

    /// Waits until it is durable.
    ///
    /// # Errors
    /// [`AppendError::Stopped`]: whether the entry was kept is not known.
    pub async fn durable(mut self) -> Result<Appended, AppendError> {
        if self.queue.places.is_uncalled(&self.placed) {
            // Alone as it is, it is committed in this thread.
            let called = self.queue.batcher.submit(Request::Placed).await;
            self.queue.called(called.err());
        }
        if self.placed.durable().await {
            let index = self.placed.index;
            Ok(Appended {
                index,
                duplicate: false,
            })
        } else {
            Err(AppendError::Stopped)
        }
    }
}

impl Drop for Placing {
    fn drop(&mut self) {
        // Who went away has an entry in the log all the same.
        self.begin();
    }
}

/// An append, as the sequencing thread gets it.
#[derive(Debug, Clone)]
struct Wanted {
    append: Append,
    /// Whom the entry convicts: no head of that log, or of any, moves behind it.
    convicts: Option<Conviction>,
}

enum Request {
    Append(Wanted),
    /// There are entries that have their places.
    Placed,
    RecordSigning(SignedHead),
    Publish(Published),
}

enum Answer {
    Append(Result<Appended, AppendError>),
    Placed,
    Record(Result<(), ControlError>),
}

/// Why a head was not recorded as signed or published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The store's rules forbid it: the size or the time would go back, or the head is not one of
    /// this tree.
    #[error("the store refuses it: {0}")]
    Refused(String),
    /// The service is stopping, or the store failed.
    #[error("the store is closed: the service is stopping")]
    Stopped,
}

impl Sequencer {
    /// Starts the sequencing thread over a store.
    ///
    /// # Errors
    /// When the store's head cannot be read, or the thread cannot be started.
    pub fn start(
        store: Arc<dyn LogStore>,
        registry: &mut Registry,
    ) -> Result<Self, SequencerError> {
        let head = store.head()?;
        let (announce, committed) = watch::channel(head);
        let metrics = Metrics::new(registry);
        let places = Arc::new(Places::behind(head.size));
        let (settler, settling) = Settler::new();
        let work = Arc::clone(&store);
        let mut thread = Committer {
            store,
            settler,
            head,
            places: Arc::clone(&places),
            announce,
            convictions: Convictions::default(),
            metrics,
        };
        let batcher = Batcher::spawn("sequencer", WAITING_MAX, BATCH_MAX, move |requests| {
            thread.commit(requests)
        })
        .map_err(SequencerError::Thread)?;
        let queue = Arc::new(Queue { batcher, places });
        let tell = Arc::downgrade(&queue);
        settling
            .start(work, move || {
                if let Some(queue) = tell.upgrade() {
                    queue.call();
                }
            })
            .map_err(SequencerError::Thread)?;
        Ok(Self { queue, committed })
    }

    /// Appends an entry; returns when it is durable.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was kept, except after [`AppendError::Stopped`].
    // Spec: SVC-01, SVC-15
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.want(append, None).await
    }

    /// Appends an entry that convicts a log, or this service: from there on no head of that log, or
    /// of any, moves in any commit, also for those who decided before and wait. Returns when it is
    /// durable.
    ///
    /// # Errors
    /// As [`Self::append`].
    // Spec: SVC-59
    pub async fn convict(
        &self,
        entry: NewEntry,
        conviction: Conviction,
    ) -> Result<Appended, AppendError> {
        let append = Append { entry, head: None };
        self.want(append, Some(conviction)).await
    }

    async fn want(
        &self,
        append: Append,
        convicts: Option<Conviction>,
    ) -> Result<Appended, AppendError> {
        let wanted = Request::Append(Wanted { append, convicts });
        match self.queue.batcher.submit(wanted).await {
            Ok(Answer::Append(result)) => result,
            Ok(Answer::Record(_) | Answer::Placed) | Err(BatchError::Stopped) => {
                Err(AppendError::Stopped)
            }
            Err(BatchError::Full { .. }) => Err(AppendError::Overloaded),
        }
    }

    /// Gives an entry its place, and makes it for that: what else `maker` gives is given back. It
    /// is never taken for a duplicate: two that say where they stand are not equal.
    ///
    /// `maker` runs under the lock that gives places: it must not wait, and costs everybody what it
    /// costs. When it refuses, the place goes to the next.
    ///
    /// # Errors
    /// [`PlaceError`], at once; nothing was done.
    // Spec: SVC-15, SVC-50
    pub fn place<T, E>(
        &self,
        maker: impl FnOnce(LeafIndex) -> Result<(T, NewEntry), E>,
    ) -> Result<(T, Placing), PlaceError<E>> {
        let given = self.queue.places.place(WAITING_MAX.get(), maker);
        let (made, placed, call) = given.map_err(|error| match error {
            NoPlace::Refused(why) => PlaceError::Refused(why),
            NoPlace::Full => PlaceError::Overloaded,
            NoPlace::Closed => PlaceError::Stopped,
            NoPlace::LogFull => PlaceError::LogFull,
        })?;
        if call {
            self.queue.call();
        }
        let queue = Arc::clone(&self.queue);
        Ok((made, Placing { placed, queue }))
    }

    /// Records durably that this head is about to be signed at this time.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn record_signing(
        &self,
        head: TreeHead,
        time: UnixSeconds,
    ) -> Result<(), ControlError> {
        self.control(|| Request::RecordSigning(SignedHead { head, time }))
            .await
    }

    /// Keeps a cosigned checkpoint durably as the published one.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn publish(&self, head: TreeHead, note: Vec<u8>) -> Result<(), ControlError> {
        let published = Published { head, note };
        self.control(|| Request::Publish(published.clone())).await
    }

    /// The newest durable head; it changes with every batch that appended something.
    pub fn committed(&self) -> watch::Receiver<TreeHead> {
        self.committed.clone()
    }

    /// Resolves when the sequencing thread has stopped for a fault. The process must then exit:
    /// what the store holds is known only after it has been opened again.
    pub async fn failed(&self) -> Failure {
        self.queue.batcher.failed().await
    }

    /// Finishes the commits that wait and ends the thread.
    pub async fn stop(&self) {
        self.queue.batcher.stop().await;
    }

    /// Control requests wait for a place in the queue rather than fail: there are at most a few at
    /// once, and under load they share the submitters' commits.
    async fn control(&self, request: impl Fn() -> Request) -> Result<(), ControlError> {
        loop {
            match self.queue.batcher.submit(request()).await {
                Ok(Answer::Record(result)) => return result,
                Err(BatchError::Full { .. }) => tokio::time::sleep(FULL_PAUSE).await,
                _ => return Err(ControlError::Stopped),
            }
        }
    }
}

/// Why the sequencer could not start.
#[derive(Debug, thiserror::Error)]
pub enum SequencerError {
    /// The store's head could not be read.
    #[error("cannot read the log's head: {0}")]
    Store(#[from] StoreError),
    /// The operating system gave no thread.
    #[error("cannot start the sequencing thread: {0}")]
    Thread(std::io::Error),
}

/// The state of the sequencing thread.
struct Committer {
    store: Arc<dyn LogStore>,
    settler: Settler,
    head: TreeHead,
    places: Arc<Places>,
    announce: watch::Sender<TreeHead>,
    convictions: Convictions,
    metrics: Metrics,
}

impl Committer {
    // Spec: SVC-11
    /// A fault ends the thread, and the process with it: nothing is guessed, and what is on disk
    /// is known again after a restart.
    fn commit(&mut self, requests: Vec<Request>) -> Result<Vec<Answer>, Fatal> {
        // A panic ends it as well, where the build unwinds.
        let closing = Closing(Some(Arc::clone(&self.places)));
        let answers = self
            .try_commit(requests)
            .map_err(|reason| self.with_cause(reason))
            .map_err(|reason| Fatal { reason })?;
        closing.disarm();
        Ok(answers)
    }

    /// A reader may have met the failure first, and this thread only that the store has stopped.
    // Spec: SVC-80
    fn with_cause(&self, reason: String) -> String {
        match self.store.settle() {
            Err(StoreError::Stopped) | Ok(()) => reason,
            Err(cause) => {
                let cause = cause.to_string();
                if reason.contains(&cause) {
                    reason
                } else {
                    format!("{reason} ({cause})")
                }
            }
        }
    }

    /// Under load, waits for as long as that brings more: a wait for the disk costs processor time,
    /// too, and with every core busy fewer and larger commits answer everybody sooner. But not for
    /// more than half of those that there usually are: while the disk is waited for, the other half
    /// keeps the cores busy.
    fn linger(&self) {
        let Load {
            waiting: mut before,
            recent,
            crowd,
        } = self.places.load();
        let enough = (crowd / 2).min(BATCH_MAX.get());
        if recent < LINGER_AFTER {
            return;
        }
        for _ in 0..LINGER_STEPS_MAX {
            if before >= enough {
                return;
            }
            thread::sleep(LINGER_STEP);
            let now = self.places.load().waiting;
            if now == before {
                return;
            }
            before = now;
        }
    }

    fn try_commit(&mut self, requests: Vec<Request>) -> Result<Vec<Answer>, String> {
        if let Some(why) = self.settler.failed() {
            return Err(why.to_owned());
        }
        self.linger();
        let mut appends = Vec::with_capacity(requests.len());
        let mut records = Records::default();
        let (mut signing, mut publish) = (None, None);
        let mut rest = Vec::new();
        let mut answers = Vec::with_capacity(requests.len());
        for (place, request) in requests.into_iter().enumerate() {
            match request {
                Request::Append(append) => appends.push((place, append)),
                Request::Placed => answers.push((place, Answer::Placed)),
                Request::RecordSigning(signed) if signing.is_none() => {
                    signing = Some(place);
                    records.signing = Some(signed);
                }
                Request::Publish(published) if publish.is_none() => {
                    publish = Some(place);
                    records.publish = Some(published);
                }
                other => rest.push((place, other)),
            }
        }
        let (places, appends): (Vec<_>, Vec<_>) = appends.into_iter().unzip();
        let (results, recorded) = self.commit_all(appends, records)?;
        let results = results.into_iter().map(Answer::Append);
        answers.extend(places.into_iter().zip(results));
        for (place, result) in [(signing, recorded.signing), (publish, recorded.publish)] {
            if let (Some(place), Some(result)) = (place, result) {
                let result = result.map_err(|refusal| ControlError::Refused(refusal.to_string()));
                answers.push((place, Answer::Record(result)));
            }
        }
        for (place, request) in rest {
            let result = match request {
                Request::RecordSigning(signed) => self.store.record_signing(signed),
                Request::Publish(published) => self.store.publish(published),
                Request::Append(_) | Request::Placed => continue,
            };
            answers.push((place, Answer::Record(recorded_alone(result)?)));
        }
        answers.sort_unstable_by_key(|(place, _)| *place);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// Everything in one transaction: entries, origin heads, and the records of our own heads. All
    /// that have their places go first.
    fn commit_all(
        &mut self,
        appends: Vec<Wanted>,
        records: Records,
    ) -> Result<(Vec<Outcome>, Recorded), String> {
        let heads = self
            .heads_of(&appends)
            .map_err(|e| format!("cannot read heads: {e}"))?;
        let known = self.known(&appends)?;
        let taking = self.places.take();
        let placed = taking.entries.len();
        let Plan {
            size,
            entries,
            swaps,
            answers,
        } = plan(taking.size(), appends, &known, heads, &mut self.convictions)?;
        let (entries, durable) = taking.then(entries, size);
        let appended = entries.len();
        let mut recorded = Recorded::default();
        if appended > 0 || !swaps.is_empty() || records != Records::default() {
            let batch = Batch {
                entries,
                heads: swaps,
                expected: self.head,
            };
            recorded = self.commit_batch(batch, records)?;
            if !self.store.is_settled() {
                self.settler.call();
            }
        }
        self.metrics.record(appended, placed, &answers);
        self.places.committed(placed);
        durable.tell();
        Ok((answers, recorded))
    }

    /// Whatever fails, what this thread believes of the store is no longer true.
    fn commit_batch(&mut self, batch: Batch, records: Records) -> Result<Recorded, String> {
        let (committed, recorded) = self
            .store
            .commit_with(batch, records)
            .map_err(|error| format!("a commit failed: {error}"))?;
        self.head = committed.head;
        self.announce.send_if_modified(|head| {
            let moved = *head != committed.head;
            *head = committed.head;
            moved
        });
        Ok(recorded)
    }

    /// Where equal entries are that were there before.
    fn known(&self, appends: &[Wanted]) -> Result<Vec<Option<LeafIndex>>, String> {
        if appends.is_empty() {
            return Ok(Vec::new());
        }
        let hashes: Vec<Hash> = appends
            .iter()
            .map(|wanted| *wanted.append.entry.leaf_hash())
            .collect();
        self.store
            .find_leaves(&hashes)
            .map_err(|e| format!("cannot look up leaf hashes: {e}"))
    }

    fn heads_of(&self, appends: &[Wanted]) -> Result<Heads, StoreError> {
        let mut heads = HashMap::new();
        let swaps = appends.iter();
        let swaps = swaps.filter_map(|wanted| wanted.append.head.as_ref());
        for swap in swaps {
            if !heads.contains_key(&swap.origin) {
                let latest = self.store.latest(&swap.origin)?;
                let latest = latest.map(|latest| (latest.head, latest.time));
                heads.insert(swap.origin.clone(), latest);
            }
        }
        Ok(heads)
    }
}

/// Calls the thread that does what a commit left to be done, while its answer is on its way. That
/// ends with the last handle.
///
/// When it cannot do that, it has the next commit begin at once, which finds so and ends the log as
/// any failed commit does: the store answers nothing more, and a process that only finds out with
/// the next entry would look alive until then.
// Spec: STO-50, SVC-80
struct Settler {
    call: SyncSender<()>,
    failed: Arc<OnceLock<String>>,
}

/// Its other half, before the thread is there: who is told of a failure is made after the
/// committer.
struct Settling {
    called: Receiver<()>,
    failed: Arc<OnceLock<String>>,
}

impl Settler {
    fn new() -> (Self, Settling) {
        let (call, called) = sync_channel(1);
        let failed = Arc::new(OnceLock::new());
        let settling = Settling {
            called,
            failed: Arc::clone(&failed),
        };
        (Self { call, failed }, settling)
    }

    fn call(&self) {
        // One that was called and has not begun yet will find this, too.
        let _ = self.call.try_send(());
    }

    fn failed(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }
}

impl Settling {
    /// Starts the thread. `tell` has a commit begin.
    fn start(
        self,
        store: Arc<dyn LogStore>,
        tell: impl Fn() + Send + 'static,
    ) -> std::io::Result<()> {
        let Self { called, failed } = self;
        let work = move || {
            while let Ok(()) = called.recv() {
                // A panic ends the log as well, where the build unwinds.
                let settled = catch_unwind(AssertUnwindSafe(|| store.settle()));
                let why = match settled {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "a panic".to_owned(),
                };
                let why = format!("the store did not take over a commit: {why}");
                // Set before it is told: whoever is woken finds it. It is the only one.
                let _ = failed.set(why);
                return tell();
            }
        };
        thread::Builder::new()
            .name("settler".to_owned())
            .spawn(work)
            .map(drop)
    }
}

/// Gives no more places when it is dropped, and tells those who wait for one that was given.
struct Closing(Option<Arc<Places>>);

impl Closing {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(places) = &self.0 {
            places.close();
        }
    }
}

/// The latest head and its time of each origin that a batch touches.
type Heads = HashMap<Origin, Option<(TreeHead, UnixSeconds)>>;

/// A refusal is the asker's; a failure is everybody's.
fn recorded_alone(result: Result<(), RecordError>) -> Result<Result<(), ControlError>, String> {
    match result {
        Ok(()) => Ok(Ok(())),
        Err(RecordError::Refused(refusal)) => Ok(Err(ControlError::Refused(refusal.to_string()))),
        Err(error @ (RecordError::Failed(_) | RecordError::Unknown(_))) => Err(error.to_string()),
    }
}

/// Where an entry stands once the batch is durable.
type Outcome = Result<Appended, AppendError>;

/// What one batch writes besides what has its place, and what its submitters are told once that is
/// durable.
struct Plan {
    /// Of the tree with all of it.
    size: TreeSize,
    entries: Vec<NewEntry>,
    swaps: Vec<HeadSwap>,
    answers: Vec<Outcome>,
}

/// Decides a batch behind a tree of `size`: who conflicts, what is a duplicate, which index each
/// new entry gets, whose log is convicted. Pure. `known` has a row for each append, in their order.
// Spec: SVC-02, SVC-03, SVC-59
///
/// # Errors
/// When indices run out (2^63 entries).
fn plan(
    mut size: TreeSize,
    appends: Vec<Wanted>,
    known: &[Option<LeafIndex>],
    mut heads: Heads,
    convictions: &mut Convictions,
) -> Result<Plan, String> {
    let mut entries = Vec::with_capacity(appends.len());
    let mut swaps: Vec<HeadSwap> = Vec::new();
    let mut answers = Vec::with_capacity(appends.len());
    let mut fresh: HashMap<Hash, LeafIndex> = HashMap::new();
    let mut known = known.iter();
    for Wanted { append, convicts } in appends {
        let Append { entry, head } = append;
        let known = known.next().copied().flatten();
        let leaf_hash = *entry.leaf_hash();
        if let Some(swap) = &head {
            // Spec: SVC-63
            if convictions.are_ours() {
                answers.push(Err(AppendError::Stopped));
                continue;
            }
            if let Some(by) = convictions.of(&swap.origin) {
                answers.push(Err(AppendError::Convicted(by.clone())));
                continue;
            }
            let latest = heads.get(&swap.origin).copied().flatten();
            let current = latest.map(|(head, _)| head);
            // Two refreshes of one second may arrive in the other order of their times.
            let late = latest.is_some_and(|(_, time)| swap.new.time.get() < time.get());
            if current != swap.expected || late {
                answers.push(Err(AppendError::Conflict { current }));
                continue;
            }
        }
        let before = known.or_else(|| fresh.get(&leaf_hash).copied());
        let index = if let Some(index) = before {
            index
        } else {
            let (next, larger) =
                next_place(size).ok_or_else(|| "the log is full: 2^63 - 1 entries".to_owned())?;
            fresh.insert(leaf_hash, next);
            entries.push(entry);
            size = larger;
            next
        };
        if let Some(conviction) = convicts {
            convictions.add(conviction, index);
        }
        if let Some(mut swap) = head {
            swap.new.log_index = Some(index);
            heads.insert(swap.origin.clone(), Some((swap.new.head, swap.new.time)));
            swaps.push(swap);
        }
        answers.push(Ok(Appended {
            index,
            duplicate: before.is_some(),
        }));
    }
    Ok(Plan {
        size,
        entries,
        swaps,
        answers,
    })
}

struct Metrics {
    entries: Counter,
    duplicates: Counter,
    conflicts: Counter,
    batch_entries: Histogram,
}

impl Metrics {
    fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            entries: Counter::default(),
            duplicates: Counter::default(),
            conflicts: Counter::default(),
            batch_entries: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
        };
        let registry = registry.sub_registry_with_prefix("jurat_log");
        registry.register(
            "entries_appended",
            "Entries appended",
            metrics.entries.clone(),
        );
        registry.register(
            "entries_duplicate",
            "Submissions answered with an entry that was there already",
            metrics.duplicates.clone(),
        );
        registry.register(
            "conflicts",
            "Submissions whose origin moved before they were committed",
            metrics.conflicts.clone(),
        );
        registry.register(
            "batch_entries",
            "Submissions that shared one commit",
            metrics.batch_entries.clone(),
        );
        metrics
    }

    fn record(&self, appended: usize, placed: usize, answers: &[Outcome]) {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        self.entries.inc_by(count(appended));
        let duplicates = answers
            .iter()
            .flatten()
            .filter(|answer| answer.duplicate)
            .count();
        self.duplicates.inc_by(count(duplicates));
        let conflicts = answers
            .iter()
            .filter(|answer| matches!(answer, Err(AppendError::Conflict { .. })))
            .count();
        self.conflicts.inc_by(count(conflicts));
        let submissions = u32::try_from(answers.len() + placed).unwrap_or(u32::MAX);
        self.batch_entries.observe(f64::from(submissions));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jurat_proto::hash::sha256;
    use jurat_store::{Fault, Faulty, JournalOptions, MemoryStore, OriginHead, RedbStore};
    use std::sync::Mutex;

    fn entry(text: &str) -> NewEntry {
        NewEntry::new(text.as_bytes().to_vec()).unwrap()
    }

    fn tree_head(size: u64) -> TreeHead {
        let root_hash = sha256(&size.to_be_bytes());
        TreeHead {
            size: TreeSize::new(size).unwrap(),
            root_hash,
        }
    }

    fn swap(origin: &str, expected: Option<u64>, new: u64, time: u64) -> HeadSwap {
        HeadSwap {
            origin: Origin::parse(origin).unwrap(),
            expected: expected.map(tree_head),
            new: OriginHead {
                head: tree_head(new),
                time: UnixSeconds::new(time).unwrap(),
                note: Vec::new(),
                log_index: None,
            },
        }
    }

    fn append(text: &str, head: Option<HeadSwap>) -> Append {
        Append {
            entry: entry(text),
            head,
        }
    }

    fn wanted(append: Append) -> Wanted {
        Wanted {
            append,
            convicts: None,
        }
    }

    fn planned(appends: Vec<Append>, known: &[Option<u64>], heads: Heads) -> Plan {
        let known: Vec<_> = known
            .iter()
            .map(|index| index.and_then(LeafIndex::new))
            .collect();
        let appends = appends.into_iter().map(wanted).collect();
        let none = &mut Convictions::default();
        plan(TreeSize::new(10).unwrap(), appends, &known, heads, none).unwrap()
    }

    fn indices(plan: &Plan) -> Vec<Option<(u64, bool)>> {
        let answer = |answer: &Outcome| {
            let done = answer.as_ref().ok();
            done.map(|done| (done.index.get(), done.duplicate))
        };
        plan.answers.iter().map(answer).collect()
    }

    // Spec: SVC-02
    #[test]
    fn equal_entries_share_an_index_with_the_store_and_within_a_batch() {
        let batch = ["a", "b", "a", "c"].map(|text| append(text, None)).to_vec();
        let plan = planned(batch, &[None, Some(3), None, None], Heads::new());
        let answers = [(10, false), (3, true), (10, true), (11, false)].map(Some);
        assert_eq!(indices(&plan), answers);
        assert_eq!(plan.entries, [entry("a"), entry("c")]);
    }

    // Spec: SVC-03
    #[test]
    fn of_two_submissions_on_one_head_the_second_conflicts() {
        let batch = vec![
            append("a", Some(swap("o", None, 5, 100))),
            append("b", Some(swap("o", None, 7, 100))),
            append("c", Some(swap("o", Some(5), 7, 100))),
        ];
        let plan = planned(batch, &[None; 3], Heads::new());
        assert_eq!(indices(&plan), [Some((10, false)), None, Some((11, false))]);
        let current = Some(tree_head(5));
        assert_eq!(plan.answers[1], Err(AppendError::Conflict { current }));
        assert_eq!(plan.entries, [entry("a"), entry("c")]);
        let places: Vec<_> = plan.swaps.iter().map(|swap| swap.new.log_index).collect();
        assert_eq!(places, [LeafIndex::new(10), LeafIndex::new(11)]);
    }

    // Spec: SVC-03
    #[test]
    fn a_refresh_with_an_earlier_time_than_the_stored_one_is_decided_anew() {
        let origin = Origin::parse("o").unwrap();
        let stored = (tree_head(5), UnixSeconds::new(101).unwrap());
        let heads = Heads::from([(origin, Some(stored))]);
        let batch = vec![append("a", Some(swap("o", Some(5), 5, 100)))];
        let plan = planned(batch, &[Some(2)], heads);
        assert_eq!(indices(&plan), [None]);
        assert!(plan.swaps.is_empty());
    }

    #[test]
    fn a_full_log_is_an_error_and_not_a_wrapped_index() {
        let full = TreeSize::MAX;
        let batch = vec![wanted(append("a", None))];
        let none = &mut Convictions::default();
        assert!(plan(full, batch, &[None], Heads::new(), none).is_err());
    }

    // Spec: SVC-50
    #[tokio::test]
    async fn what_has_its_place_stands_before_what_was_handed_over_with_it() {
        let store = Arc::new(MemoryStore::new());
        let shared: Arc<dyn LogStore> = store.clone();
        let sequencer = Sequencer::start(shared, &mut Registry::default()).unwrap();
        let at = |index: LeafIndex| Ok::<_, ()>((index, entry(&format!("at {index}"))));
        let (first, lone) = sequencer.place(at).unwrap();
        // Nobody has called for the first yet: it is committed with what comes.
        let appended = sequencer.append(append("a", None)).await.unwrap();
        let refused = sequencer.place(|index| {
            assert_eq!(index.get(), 2);
            Err::<((), _), _>("not now")
        });
        assert!(matches!(refused, Err(PlaceError::Refused("not now"))));
        let (second, more) = sequencer.place(at).unwrap();
        let places = [first, appended.index, second].map(LeafIndex::get);
        assert_eq!(places, [0, 1, 2]);
        assert_eq!(lone.durable().await.unwrap().index, first);
        assert_eq!(more.durable().await.unwrap().index, second);
        for (index, text) in ["at 0", "a", "at 2"].into_iter().enumerate() {
            let index = LeafIndex::new(u64::try_from(index).unwrap()).unwrap();
            assert_eq!(store.entry(index).unwrap().unwrap(), text.as_bytes());
        }
    }

    // Spec: SVC-50, TSA-05
    #[tokio::test]
    async fn a_placed_entry_is_made_before_it_is_durable_and_answered_after() {
        let store = Arc::new(MemoryStore::new());
        let shared: Arc<dyn LogStore> = store.clone();
        let sequencer = Sequencer::start(shared, &mut Registry::default()).unwrap();
        let place = |text| sequencer.place(move |index| Ok::<_, ()>((index, entry(text))));
        let (index, placing) = place("placed").unwrap();
        assert_eq!(store.entry(index).unwrap(), None);
        let appended = placing.durable().await.unwrap();
        assert_eq!(appended.index, index);
        assert_eq!(store.entry(index).unwrap().unwrap(), b"placed");
        // One whose submitter went away is committed all the same.
        let mut committed = sequencer.committed();
        let (index, placing) = place("left").unwrap();
        drop(placing);
        committed
            .wait_for(|head| head.size.get() == 2)
            .await
            .unwrap();
        assert_eq!(store.entry(index).unwrap().unwrap(), b"left");
        sequencer.stop().await;
        let (_, late) = place("late").unwrap();
        assert_eq!(late.durable().await, Err(AppendError::Stopped));
        assert!(matches!(place("later"), Err(PlaceError::Stopped)));
    }

    // Spec: SVC-11, TSA-05
    #[tokio::test]
    async fn a_failed_commit_tells_nobody_who_has_a_place_that_it_is_durable() {
        for fault in [
            Fault::Before,
            Fault::UnknownUnwritten,
            Fault::UnknownWritten,
        ] {
            let store = Faulty::new(MemoryStore::new());
            store.fail_at(1, fault);
            let sequencer = started(store);
            let place = |text| sequencer.place(move |index| Ok::<_, ()>((index, entry(text))));
            // The second of them calls for the commit, which may have failed before the third.
            let placings = ["a", "b"].map(|text| place(text).unwrap().1);
            let more = place("c");
            for placing in placings {
                assert_eq!(placing.durable().await, Err(AppendError::Stopped));
            }
            if let Ok((_, placing)) = more {
                assert_eq!(placing.durable().await, Err(AppendError::Stopped));
            }
            sequencer.failed().await;
            assert!(matches!(place("d"), Err(PlaceError::Stopped)));
        }
    }

    // Spec: SVC-11
    #[tokio::test]
    async fn a_commit_that_panics_leaves_nobody_waiting_for_the_next() {
        let meanwhile = Arc::new((OnceLock::<Sequencer>::new(), Mutex::<Vec<_>>::default()));
        let seen = Arc::clone(&meanwhile);
        let store = Faulty::with_crash(MemoryStore::new(), move || {
            let (log, given) = &*seen;
            for text in ["b", "c"] {
                let made = |index| Ok::<_, ()>((index, entry(text)));
                let (_, placing) = log.get().unwrap().place(made).unwrap();
                given.lock().unwrap().push(placing);
            }
            panic!("a bug of the store");
        });
        store.fail_at(1, Fault::CrashBefore);
        let sequencer = started(store);
        meanwhile.0.set(sequencer.clone()).ok().unwrap();
        let failed = sequencer.append(append("a", None)).await;
        assert_eq!(failed, Err(AppendError::Stopped));
        sequencer.failed().await;
        let given: Vec<_> = meanwhile.1.lock().unwrap().drain(..).collect();
        assert_eq!(given.len(), 2);
        for placing in given {
            assert_eq!(placing.durable().await, Err(AppendError::Stopped));
        }
    }

    fn started(store: impl LogStore + 'static) -> Sequencer {
        Sequencer::start(Arc::new(store), &mut Registry::default()).unwrap()
    }

    // Spec: SVC-01
    #[tokio::test]
    async fn an_answer_means_that_the_store_has_the_entry() {
        let store = Arc::new(MemoryStore::new());
        let shared: Arc<dyn LogStore> = store.clone();
        let sequencer = Sequencer::start(shared, &mut Registry::default()).unwrap();
        let first = sequencer.append(append("a", None)).await.unwrap();
        let again = sequencer.append(append("a", None)).await.unwrap();
        assert_eq!((first.index, again.index), (again.index, first.index));
        assert!(!first.duplicate && again.duplicate);
        assert_eq!(store.entry(first.index).unwrap().unwrap(), b"a");
        assert_eq!(*sequencer.committed().borrow(), store.head().unwrap());
    }

    // Spec: STO-50
    #[tokio::test]
    async fn what_a_commit_left_to_be_done_is_done_though_nobody_looks() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("log.redb");
        let store = RedbStore::create_journaled(path, JournalOptions::default()).unwrap();
        let store = Arc::new(store);
        let shared: Arc<dyn LogStore> = store.clone();
        let sequencer = Sequencer::start(shared, &mut Registry::default()).unwrap();
        for text in ["a", "b"] {
            sequencer.append(append(text, None)).await.unwrap();
            let settled = async {
                while !store.is_settled() {
                    tokio::task::yield_now().await;
                }
            };
            let patience = Duration::from_secs(30);
            tokio::time::timeout(patience, settled).await.unwrap();
        }
    }

    // Spec: STO-50, SVC-80
    #[tokio::test]
    async fn a_commit_that_the_store_does_not_take_over_stops_the_log_though_nobody_comes() {
        for with_places in [false, true] {
            let store = Arc::new(Faulty::new(MemoryStore::new()));
            store.fail_to_settle();
            let shared: Arc<dyn LogStore> = store.clone();
            let sequencer = Sequencer::start(shared, &mut Registry::default()).unwrap();
            let place = |text| sequencer.place(move |index| Ok::<_, ()>((index, entry(text))));
            // What was answered stays answered: it is durable.
            if with_places {
                let (_, placing) = place("a").unwrap();
                placing.durable().await.unwrap();
            } else {
                sequencer.append(append("a", None)).await.unwrap();
            }
            // No request comes: it ends by itself.
            let patience = Duration::from_secs(30);
            let failure = tokio::time::timeout(patience, sequencer.failed()).await;
            let failure = failure.unwrap().to_string();
            let why = "the store did not take over a commit: ";
            assert!(failure.contains(why), "{failure}");
            assert!(matches!(place("b"), Err(PlaceError::Stopped)));
            let late = sequencer.append(append("c", None)).await;
            assert_eq!(late, Err(AppendError::Stopped));
            assert_eq!(store.inner().head().unwrap().size.get(), 1);
        }
    }

    // Spec: SVC-80
    #[test]
    fn a_commit_that_only_finds_the_store_stopped_says_what_stopped_it() {
        let store = Arc::new(Faulty::new(MemoryStore::new()));
        let head = store.head().unwrap();
        let mut thread = Committer {
            settler: Settler::new().0,
            store: store.clone(),
            head,
            places: Arc::new(Places::behind(head.size)),
            announce: watch::channel(head).0,
            convictions: Convictions::default(),
            metrics: Metrics::new(&mut Registry::default()),
        };
        store.fail_to_settle();
        // Somebody else meets it.
        let cause = store.settle().unwrap_err().to_string();
        let requests = vec![Request::Append(wanted(append("a", None)))];
        let Err(Fatal { reason }) = thread.commit(requests) else {
            panic!("committed");
        };
        assert!(reason.contains("the store stopped"), "{reason}");
        assert!(reason.contains(&cause), "{reason}");
    }

    // Spec: SVC-11
    #[tokio::test]
    async fn a_commit_of_unknown_outcome_answers_nobody_and_stops_the_log() {
        for fault in [
            Fault::Before,
            Fault::UnknownUnwritten,
            Fault::UnknownWritten,
        ] {
            let store = Faulty::new(MemoryStore::new());
            store.fail_at(2, fault);
            let sequencer = started(store);
            sequencer.append(append("a", None)).await.unwrap();
            let failed = sequencer.append(append("b", None)).await;
            assert_eq!(failed, Err(AppendError::Stopped));
            sequencer.failed().await;
            assert_eq!(
                sequencer.append(append("c", None)).await,
                Err(AppendError::Stopped)
            );
        }
    }

    // Spec: SVC-01, SVC-04
    #[test]
    fn an_entry_an_intent_and_a_publication_share_one_commit() {
        let faulty = Arc::new(Faulty::new(MemoryStore::new()));
        let store: Arc<dyn LogStore> = faulty.clone();
        let head = store.head().unwrap();
        let (announce, committed) = watch::channel(head);
        let metrics = Metrics::new(&mut Registry::default());
        let mut thread = Committer {
            settler: Settler::new().0,
            store,
            head,
            places: Arc::new(Places::behind(head.size)),
            announce,
            convictions: Convictions::default(),
            metrics,
        };
        let time = UnixSeconds::new(7).unwrap();
        let note = b"note".to_vec();
        let requests = vec![
            Request::Publish(Published { head, note }),
            Request::Append(wanted(append("a", None))),
            Request::RecordSigning(SignedHead { head, time }),
        ];
        let answers = thread.commit(requests).unwrap();
        assert!(matches!(
            answers[..],
            [
                Answer::Record(Ok(())),
                Answer::Append(Ok(_)),
                Answer::Record(Ok(()))
            ]
        ));
        assert_eq!(faulty.writes(), 1);
        assert_eq!(committed.borrow().size.get(), 1);
        // Two of a kind are two commits, and each gets its own answer.
        let back = UnixSeconds::new(6).unwrap();
        let answers = thread
            .commit(vec![
                Request::RecordSigning(SignedHead { head, time }),
                Request::RecordSigning(SignedHead { head, time: back }),
            ])
            .unwrap();
        assert!(matches!(
            answers[..],
            [Answer::Record(Ok(())), Answer::Record(Err(_))]
        ));
    }

    // Spec: SVC-59
    #[test]
    fn nothing_of_a_log_is_committed_behind_its_conviction_in_whatever_order_and_batches() {
        let (a, b) = (Origin::parse("a").unwrap(), Origin::parse("b").unwrap());
        let conviction = Wanted {
            append: append("convicts a", None),
            convicts: Some(Conviction {
                origin: Some(a.clone()),
                ours: false,
                id: sha256(b"fork"),
            }),
        };
        let of = |origin: &str, text| wanted(append(text, Some(swap(origin, None, 5, 100))));
        // Where the conviction stands, and after how many requests a batch ends.
        for (place, cuts) in (0..3).flat_map(|place| (0..4_u32).map(move |cuts| (place, cuts))) {
            let store: Arc<dyn LogStore> = Arc::new(MemoryStore::new());
            let mut thread = Committer {
                settler: Settler::new().0,
                head: store.head().unwrap(),
                places: Arc::new(Places::behind(TreeSize::ZERO)),
                announce: watch::channel(store.head().unwrap()).0,
                store: Arc::clone(&store),
                convictions: Convictions::default(),
                metrics: Metrics::new(&mut Registry::default()),
            };
            let mut waiting = vec![of("a", "of a"), of("b", "of b")];
            waiting.insert(place, conviction.clone());
            let mut batch = Vec::new();
            let mut answers = Vec::new();
            for (bit, wanted) in waiting.into_iter().enumerate() {
                batch.push(Request::Append(wanted));
                if bit == 2 || cuts & (1 << bit) != 0 {
                    answers.extend(thread.commit(std::mem::take(&mut batch)).unwrap());
                }
            }
            let refused = answers
                .iter()
                .filter(|answer| matches!(answer, Answer::Append(Err(AppendError::Convicted(_)))));
            let refused = refused.count();
            assert_eq!(refused, usize::from(place == 0), "{place} {cuts}");
            assert_eq!(store.latest(&a).unwrap().is_none(), place == 0);
            assert!(store.latest(&b).unwrap().is_some());
            assert_eq!(store.head().unwrap().size.get(), 3 - u64::from(place == 0));
        }
    }

    // Spec: SVC-04
    #[tokio::test]
    async fn an_intent_to_sign_that_goes_back_is_refused_and_stops_nothing() {
        let sequencer = started(MemoryStore::new());
        sequencer.append(append("a", None)).await.unwrap();
        let head = *sequencer.committed().borrow();
        let at = |seconds| UnixSeconds::new(seconds).unwrap();
        sequencer.record_signing(head, at(100)).await.unwrap();
        let back = sequencer.record_signing(head, at(99)).await;
        assert!(matches!(back, Err(ControlError::Refused(_))), "{back:?}");
        let other = TreeHead {
            root_hash: sha256(b"fork"),
            ..head
        };
        let forked = sequencer.record_signing(other, at(101)).await;
        assert!(
            matches!(forked, Err(ControlError::Refused(_))),
            "{forked:?}"
        );
        sequencer.append(append("b", None)).await.unwrap();
    }
}
