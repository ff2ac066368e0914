//! The sequencer: one thread at a time gives every entry its place. It is the sequencing thread;
//! for a lone submission it is the one that submits ([`jurat_daemon::batch`]), except for entries
//! that say where they stand.
//!
//! Requests that arrive while a commit is in flight share the next one, so one fsync serves many
//! and a lone request waits for nobody. Each batch becomes at most one transaction of entries and
//! origin heads; recording an intent to sign and publishing ride on the same thread, so that no
//! other writer of the store starves or is starved.
//!
//! An entry may say where it stands ([`Sequencer::place`]): it is then made in this thread, when
//! its place is known, and its submitter may use what it says while the commit is in flight.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
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

/// Submitters that may wait at once. Beyond it a submission is refused with 503 rather than queued:
/// at the slowest disk that this is built for (20 commits a second) the last in line waits two
/// seconds.
pub const WAITING_MAX: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// Entries in one transaction. Larger batches gain no throughput and hold the last submitter
/// longer.
pub const BATCH_MAX: NonZeroUsize = NonZeroUsize::new(2_048).unwrap();

/// Pause before a control request tries the full queue again.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// Handle on the sequencing thread. Clones share it.
#[derive(Clone)]
pub struct Sequencer {
    batcher: Batcher<Request, Answer>,
    committed: watch::Receiver<TreeHead>,
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
    /// [`WAITING_MAX`] submitters wait already.
    #[error("too many submissions are waiting; try again shortly")]
    Overloaded,
    /// The service is stopping, or the store failed; whether the entry was kept is not known, and
    /// sending it again is safe.
    #[error("the log is not accepting entries: the service is stopping")]
    Stopped,
}

/// Makes an entry for its place, in the sequencing thread: it must not wait, and costs everybody
/// what it costs. `None` is a refusal, which appends nothing; the place then goes to the next.
pub type Place = Box<dyn FnOnce(LeafIndex) -> Option<NewEntry> + Send>;

/// An entry that was handed over to be placed.
pub struct Placing(jurat_daemon::batch::Answer<Answer>);

impl Placing {
    /// Waits until it is durable. `None` when its maker refused to make it.
    ///
    /// # Errors
    /// [`AppendError::Stopped`]: whether the entry was kept is not known.
    pub async fn durable(self) -> Result<Option<Appended>, AppendError> {
        match self.0.await {
            Ok(Answer::Append(Ok(appended))) => Ok(Some(appended)),
            Ok(Answer::Append(Err(error))) => Err(error),
            Ok(Answer::Unmade) => Ok(None),
            Ok(Answer::Record(_)) | Err(_) => Err(AppendError::Stopped),
        }
    }
}

enum Request {
    Append(Append),
    Place(Place),
    RecordSigning(SignedHead),
    Publish(Published),
}

enum Answer {
    Append(Result<Appended, AppendError>),
    Unmade,
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
        let mut thread = Committer {
            store,
            head,
            announce,
            metrics,
        };
        let batcher = Batcher::spawn("sequencer", WAITING_MAX, BATCH_MAX, move |requests| {
            thread.commit(requests)
        })
        .map_err(SequencerError::Thread)?;
        Ok(Self { batcher, committed })
    }

    /// Appends an entry; returns when it is durable.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was kept, except after [`AppendError::Stopped`].
    // Spec: SVC-01, SVC-15
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        match self.batcher.submit(Request::Append(append)).await {
            Ok(Answer::Append(result)) => result,
            Ok(Answer::Record(_) | Answer::Unmade) | Err(BatchError::Stopped) => {
                Err(AppendError::Stopped)
            }
            Err(BatchError::Full { .. }) => Err(AppendError::Overloaded),
        }
    }

    /// Hands over an entry that depends on its place. It is never taken for a duplicate: two that
    /// say where they stand are not equal.
    ///
    /// # Errors
    /// [`AppendError::Overloaded`] or [`AppendError::Stopped`], at once; nothing was done.
    // Spec: SVC-15, SVC-50
    pub fn place(&self, place: Place) -> Result<Placing, AppendError> {
        match self.batcher.try_submit(Request::Place(place)) {
            Ok(answer) => Ok(Placing(answer)),
            Err(BatchError::Full { .. }) => Err(AppendError::Overloaded),
            Err(BatchError::Stopped) => Err(AppendError::Stopped),
        }
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
        self.batcher.failed().await
    }

    /// Finishes the commits that wait and ends the thread.
    pub async fn stop(&self) {
        self.batcher.stop().await;
    }

    /// Control requests wait for a place in the queue rather than fail: there are at most a few at
    /// once, and under load they share the submitters' commits.
    async fn control(&self, request: impl Fn() -> Request) -> Result<(), ControlError> {
        loop {
            match self.batcher.submit(request()).await {
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
    head: TreeHead,
    announce: watch::Sender<TreeHead>,
    metrics: Metrics,
}

impl Committer {
    // Spec: SVC-11
    /// A fault ends the thread, and the process with it: nothing is guessed, and what is on disk
    /// is known again after a restart.
    fn commit(&mut self, requests: Vec<Request>) -> Result<Vec<Answer>, Fatal> {
        self.try_commit(requests).map_err(|reason| Fatal { reason })
    }

    fn try_commit(&mut self, requests: Vec<Request>) -> Result<Vec<Answer>, String> {
        let mut appends = Vec::with_capacity(requests.len());
        let mut records = Records::default();
        let (mut signing, mut publish) = (None, None);
        let mut rest = Vec::new();
        for (place, request) in requests.into_iter().enumerate() {
            match request {
                Request::Append(append) => appends.push((place, Item::Append(append))),
                Request::Place(make) => appends.push((place, Item::Place(make))),
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
        let mut answers = Vec::with_capacity(appends.len() + 2 + rest.len());
        let (places, appends): (Vec<_>, Vec<_>) = appends.into_iter().unzip();
        let (results, recorded) = self.commit_all(appends, records)?;
        let results = results.into_iter().map(|result| match result.transpose() {
            Some(result) => Answer::Append(result),
            None => Answer::Unmade,
        });
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
                Request::Append(_) | Request::Place(_) => continue,
            };
            answers.push((place, Answer::Record(recorded_alone(result)?)));
        }
        answers.sort_unstable_by_key(|(place, _)| *place);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// Everything in one transaction: entries, origin heads, and the records of our own heads.
    fn commit_all(
        &mut self,
        items: Vec<Item>,
        records: Records,
    ) -> Result<(Vec<Placed>, Recorded), String> {
        let heads = self
            .heads_of(&items)
            .map_err(|e| format!("cannot read heads: {e}"))?;
        let hashes: Vec<Hash> = items
            .iter()
            .filter_map(|item| Some(*item.append()?.entry.leaf_hash()))
            .collect();
        let known = self
            .store
            .find_leaves(&hashes)
            .map_err(|e| format!("cannot look up leaf hashes: {e}"))?;
        let Plan {
            entries,
            swaps,
            answers,
        } = plan(self.head.size, items, &known, heads)?;
        let appended = entries.len();
        let mut recorded = Recorded::default();
        if appended > 0 || !swaps.is_empty() || records != Records::default() {
            let batch = Batch {
                entries,
                heads: swaps,
                expected: self.head,
            };
            // Whatever fails, what this thread believes of the store is no longer true.
            let (committed, done) = self
                .store
                .commit_with(batch, records)
                .map_err(|error| format!("a commit failed: {error}"))?;
            recorded = done;
            self.head = committed.head;
            self.announce.send_if_modified(|head| {
                let moved = *head != committed.head;
                *head = committed.head;
                moved
            });
        }
        self.metrics.record(appended, &answers);
        Ok((answers, recorded))
    }

    fn heads_of(&self, items: &[Item]) -> Result<Heads, StoreError> {
        let mut heads = HashMap::new();
        let swaps = items.iter().filter_map(|item| item.append()?.head.as_ref());
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

/// One entry of a batch.
enum Item {
    Append(Append),
    Place(Place),
}

impl Item {
    fn append(&self) -> Option<&Append> {
        match self {
            Self::Append(append) => Some(append),
            Self::Place(_) => None,
        }
    }
}

/// Where an entry stands once the batch is durable; `None` when its maker refused.
type Placed = Result<Option<Appended>, AppendError>;

/// What one batch writes, and what its submitters are told once that is durable.
struct Plan {
    entries: Vec<NewEntry>,
    swaps: Vec<HeadSwap>,
    answers: Vec<Placed>,
}

/// The index of the entry after `taken` further ones.
fn next_index(size: TreeSize, taken: usize) -> Result<LeafIndex, String> {
    u64::try_from(taken)
        .ok()
        .and_then(|offset| size.get().checked_add(offset))
        .filter(|next| *next < TreeSize::MAX.get())
        .and_then(LeafIndex::new)
        .ok_or_else(|| "the log is full: 2^63 - 1 entries".to_owned())
}

/// Decides a batch: who conflicts, what is a duplicate, which index each new entry gets. Pure but
/// for the makers of placed entries. `known` has a row for each append, in their order.
// Spec: SVC-02, SVC-03, SVC-50
///
/// # Errors
/// When indices run out (2^63 entries).
fn plan(
    size: TreeSize,
    items: Vec<Item>,
    known: &[Option<LeafIndex>],
    mut heads: Heads,
) -> Result<Plan, String> {
    let mut entries = Vec::with_capacity(items.len());
    let mut swaps: Vec<HeadSwap> = Vec::new();
    let mut answers = Vec::with_capacity(items.len());
    let mut fresh: HashMap<Hash, LeafIndex> = HashMap::new();
    let mut known = known.iter();
    for item in items {
        let Append { entry, head } = match item {
            Item::Append(append) => append,
            Item::Place(make) => {
                let index = next_index(size, entries.len())?;
                let placed = make(index);
                answers.push(Ok(placed.is_some().then_some(Appended {
                    index,
                    duplicate: false,
                })));
                entries.extend(placed);
                continue;
            }
        };
        let known = known.next().copied().flatten();
        let leaf_hash = *entry.leaf_hash();
        if let Some(swap) = &head {
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
            let next = next_index(size, entries.len())?;
            fresh.insert(leaf_hash, next);
            entries.push(entry);
            next
        };
        if let Some(mut swap) = head {
            swap.new.log_index = Some(index);
            heads.insert(swap.origin.clone(), Some((swap.new.head, swap.new.time)));
            swaps.push(swap);
        }
        answers.push(Ok(Some(Appended {
            index,
            duplicate: before.is_some(),
        })));
    }
    Ok(Plan {
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

    fn record(&self, appended: usize, answers: &[Placed]) {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        self.entries.inc_by(count(appended));
        let duplicates = answers
            .iter()
            .flatten()
            .flatten()
            .filter(|answer| answer.duplicate)
            .count();
        self.duplicates.inc_by(count(duplicates));
        self.conflicts.inc_by(count(
            answers.iter().filter(|answer| answer.is_err()).count(),
        ));
        let submissions = u32::try_from(answers.len()).unwrap_or(u32::MAX);
        self.batch_entries.observe(f64::from(submissions));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jurat_proto::hash::sha256;
    use jurat_store::{Fault, Faulty, MemoryStore, OriginHead};

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

    fn planned(appends: Vec<Append>, known: &[Option<u64>], heads: Heads) -> Plan {
        let known: Vec<_> = known
            .iter()
            .map(|index| index.and_then(LeafIndex::new))
            .collect();
        let items = appends.into_iter().map(Item::Append).collect();
        plan(TreeSize::new(10).unwrap(), items, &known, heads).unwrap()
    }

    fn indices(plan: &Plan) -> Vec<Option<(u64, bool)>> {
        let answer = |answer: &Placed| {
            answer
                .as_ref()
                .ok()
                .and_then(Option::as_ref)
                .map(|done| (done.index.get(), done.duplicate))
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
        let items = || vec![Item::Append(append("a", None))];
        assert!(plan(full, items(), &[None], Heads::new()).is_err());
        let placed = vec![Item::Place(Box::new(|_| Some(entry("a"))))];
        assert!(plan(full, placed, &[], Heads::new()).is_err());
    }

    // Spec: SVC-50
    #[test]
    fn an_entry_is_made_for_its_place_and_one_that_is_not_made_takes_none() {
        let place = |make: bool| {
            Item::Place(Box::new(move |index: LeafIndex| {
                make.then(|| entry(&format!("at {}", index.get())))
            }))
        };
        let items = vec![
            place(true),
            Item::Append(append("a", None)),
            place(false),
            place(true),
            Item::Append(append("old", None)),
            place(true),
        ];
        let size = TreeSize::new(10).unwrap();
        let plan = plan(size, items, &[None, LeafIndex::new(3)], Heads::new()).unwrap();
        let at = |index| Some((index, false));
        let answers = [at(10), at(11), None, at(12), Some((3, true)), at(13)];
        assert_eq!(indices(&plan), answers);
        assert_eq!(plan.answers[2], Ok(None));
        let texts = ["at 10", "a", "at 12", "at 13"].map(entry);
        assert_eq!(plan.entries, texts);
    }

    // Spec: SVC-50, TSA-05
    #[tokio::test]
    async fn a_placed_entry_is_made_before_it_is_durable_and_answered_after() {
        let store = Arc::new(MemoryStore::new());
        let shared: Arc<dyn LogStore> = store.clone();
        let sequencer = Sequencer::start(shared, &mut Registry::default()).unwrap();
        let (tell, told) = tokio::sync::oneshot::channel();
        let reader: Arc<dyn LogStore> = store.clone();
        let placing = sequencer.place(Box::new(move |index| {
            let durable = reader.entry(index).unwrap().is_some();
            tell.send((index, durable)).unwrap();
            Some(entry("placed"))
        }));
        let placing = placing.unwrap();
        let (index, durable) = told.await.unwrap();
        assert!(!durable);
        let appended = placing.durable().await.unwrap().unwrap();
        assert_eq!(appended.index, index);
        assert_eq!(store.entry(index).unwrap().unwrap(), b"placed");
        let unmade = sequencer.place(Box::new(|_| None)).unwrap();
        assert_eq!(unmade.durable().await, Ok(None));
        assert_eq!(store.head().unwrap().size.get(), 1);
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
            store,
            head,
            announce,
            metrics,
        };
        let time = UnixSeconds::new(7).unwrap();
        let note = b"note".to_vec();
        let requests = vec![
            Request::Publish(Published { head, note }),
            Request::Append(append("a", None)),
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
