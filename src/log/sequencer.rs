//! The sequencer: one thread that gives every entry its place.
//!
//! Requests that arrive while a commit is in flight share the next one, so one fsync serves many
//! and a lone request waits for nobody. Each batch becomes at most one transaction of entries and
//! origin heads; recording an intent to sign and publishing ride on the same thread, so that no
//! other writer of the store starves or is starved.

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
    Batch, HeadSwap, LogStore, NewEntry, Published, RecordError, SignedHead, StoreError,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::sync::watch;

/// Submitters that may wait at once. Beyond it a submission is refused with 503 rather than queued:
/// at the slowest disk that this is built for (20 commits a second) the last in line waits two
/// seconds.
pub const WAITING_MAX: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// Entries in one transaction. Larger batches gain no throughput and hold the last submitter longer.
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

#[derive(Clone)]
enum Request {
    Append(Append),
    RecordSigning(SignedHead),
    Publish(Published),
}

enum Answer {
    Append(Result<Appended, AppendError>),
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
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        match self.batcher.submit(Request::Append(append)).await {
            Ok(Answer::Append(result)) => result,
            Ok(Answer::Record(_)) | Err(BatchError::Stopped) => Err(AppendError::Stopped),
            Err(BatchError::Full { .. }) => Err(AppendError::Overloaded),
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
        self.control(Request::RecordSigning(SignedHead { head, time }))
            .await
    }

    /// Keeps a cosigned checkpoint durably as the published one.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn publish(&self, head: TreeHead, note: Vec<u8>) -> Result<(), ControlError> {
        self.control(Request::Publish(Published { head, note }))
            .await
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
    async fn control(&self, request: Request) -> Result<(), ControlError> {
        loop {
            match self.batcher.submit(request.clone()).await {
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
    /// A fault ends the thread, and the process with it: nothing is guessed, and what is on disk
    /// is known again after a restart.
    fn commit(&mut self, requests: Vec<Request>) -> Result<Vec<Answer>, Fatal> {
        self.try_commit(requests).map_err(|reason| Fatal { reason })
    }

    fn try_commit(&mut self, requests: Vec<Request>) -> Result<Vec<Answer>, String> {
        let mut appends = Vec::with_capacity(requests.len());
        let mut control = Vec::new();
        for (place, request) in requests.into_iter().enumerate() {
            match request {
                Request::Append(append) => appends.push((place, append)),
                other => control.push((place, other)),
            }
        }
        let mut answers = Vec::with_capacity(appends.len() + control.len());
        if !appends.is_empty() {
            let (places, appends): (Vec<_>, Vec<_>) = appends.into_iter().unzip();
            let results = self.append_all(appends)?.into_iter().map(Answer::Append);
            answers.extend(places.into_iter().zip(results));
        }
        for (place, request) in control {
            let result = match request {
                Request::RecordSigning(signed) => self.store.record_signing(signed),
                Request::Publish(published) => self.store.publish(published),
                Request::Append(_) => continue,
            };
            answers.push((place, Answer::Record(recorded(result)?)));
        }
        answers.sort_unstable_by_key(|(place, _)| *place);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// Appends a batch in one transaction.
    fn append_all(
        &mut self,
        appends: Vec<Append>,
    ) -> Result<Vec<Result<Appended, AppendError>>, String> {
        let heads = self
            .heads_of(&appends)
            .map_err(|e| format!("cannot read heads: {e}"))?;
        let hashes: Vec<Hash> = appends
            .iter()
            .map(|append| *append.entry.leaf_hash())
            .collect();
        let known = self
            .store
            .find_leaves(&hashes)
            .map_err(|e| format!("cannot look up leaf hashes: {e}"))?;
        let plan = plan(self.head.size, appends, &known, heads)?;
        let Plan {
            entries,
            swaps,
            answers,
        } = plan;
        let appended = entries.len();
        if appended > 0 || !swaps.is_empty() {
            let batch = Batch {
                entries,
                heads: swaps,
                expected: self.head,
            };
            match self.store.commit(batch) {
                Ok(committed) => {
                    self.head = committed.head;
                    self.announce.send_replace(committed.head);
                }
                // Whatever it is, what this thread believes of the store is no longer true.
                Err(error) => return Err(format!("a commit failed: {error}")),
            }
        }
        self.metrics.record(appended, &answers);
        Ok(answers)
    }

    fn heads_of(&self, appends: &[Append]) -> Result<Heads, StoreError> {
        let mut heads = HashMap::new();
        for swap in appends.iter().filter_map(|append| append.head.as_ref()) {
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
fn recorded(result: Result<(), RecordError>) -> Result<Result<(), ControlError>, String> {
    match result {
        Ok(()) => Ok(Ok(())),
        Err(RecordError::Refused(refusal)) => Ok(Err(ControlError::Refused(refusal.to_string()))),
        Err(error @ (RecordError::Failed(_) | RecordError::Unknown(_))) => Err(error.to_string()),
    }
}

/// What one batch writes, and what its submitters are told once that is durable.
struct Plan {
    entries: Vec<NewEntry>,
    swaps: Vec<HeadSwap>,
    answers: Vec<Result<Appended, AppendError>>,
}

/// Decides a batch: who conflicts, what is a duplicate, which index each new entry gets. Pure.
///
/// # Errors
/// When indices run out (2^63 entries).
fn plan(
    size: TreeSize,
    appends: Vec<Append>,
    known: &[Option<LeafIndex>],
    mut heads: Heads,
) -> Result<Plan, String> {
    let mut entries = Vec::with_capacity(appends.len());
    let mut swaps: Vec<HeadSwap> = Vec::new();
    let mut answers = Vec::with_capacity(appends.len());
    let mut fresh: HashMap<Hash, LeafIndex> = HashMap::new();
    for (append, known) in appends.into_iter().zip(known) {
        let Append { entry, head } = append;
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
            let next = u64::try_from(entries.len())
                .ok()
                .and_then(|offset| size.get().checked_add(offset))
                .and_then(LeafIndex::new)
                .ok_or("the log is full: 2^63 - 1 entries")?;
            fresh.insert(leaf_hash, next);
            entries.push(entry);
            next
        };
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

    fn record(&self, appended: usize, answers: &[Result<Appended, AppendError>]) {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        self.entries.inc_by(count(appended));
        let duplicates = answers
            .iter()
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
