//! Evidence in the service's own log: what convicts a log that anchors here, or a witness, is an
//! entry, in the order of all other entries and under the same cosigned tree heads.
//!
//! ```text
//!  POST /evidence ────────┐
//!  witnesses (pull) ──────┼─► verdict (pure) ─► one at a time: known? room? ─► entry ─► told
//!  a refused checkpoint ──┘                                                        └─► stops a log
//! ```
//!
//! The log is the only place where it is kept: what is stopped is read from its entries at each
//! start. An insider who would take a conviction back has to rewrite a cosigned log for that; no
//! configuration does it, and no key that is called retired later.
//!
//! In scope: what is logged, once, and what follows from it. Out of scope: what is evidence
//! ([`jurat_proto::evidence`]), asking witnesses ([`pull`]), HTTP.
//!
//! Rows: `spec/service.md` SVC-51 to SVC-59, SVC-63, SVC-64.

pub mod pull;

pub use crate::log::Convicted;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::entry::{Convicts, Entry, EvidenceEntry, EvidenceFiles};
use jurat_proto::evidence::{Evidence, Kind, KnownKeys, NotProven, Role, Standing, Verdict};
use jurat_proto::hash::Hash;
use jurat_proto::hex;
use jurat_proto::key::VerifierKey;
use jurat_proto::policy::Policy;
use jurat_proto::proof::ConsistencyProof;
use jurat_proto::tree::{LeafIndex, TreeSize};
use jurat_store::{Landmark, LogStore, NewEntry, StoreError};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::{Mutex, watch};

use crate::log::{Append, AppendError, Conviction, Sequencer};
use crate::submit::logs::Logs;

/// How much of one kind is logged that convicts the same keys about the same log. Any of it
/// suffices; a log that signs a million forks gets no more room, and each kind has room of its own.
// Spec: SVC-53
const LOGGED_MAX: usize = 4;

/// Entries that are listed at a time.
const PAGE: usize = 256;

/// Whose keys may be convicted, as far as the configuration says; the registry says the rest.
pub struct Jury {
    /// This log's origin.
    pub origin: Origin,
    /// The keys with which this log signs its tree heads.
    pub log_keys: Vec<VerifierKey>,
    /// The keys with which this service cosigns the checkpoints of others.
    pub cosigners: Vec<VerifierKey>,
    /// The witnesses.
    pub policy: Policy,
    /// The logs that anchor here.
    pub logs: watch::Receiver<Arc<Logs>>,
}

impl Jury {
    /// Whether a log anchors here, or is this one.
    fn knows(&self, origin: &Origin) -> bool {
        *origin == self.origin || self.logs.borrow().log(origin).is_some()
    }

    fn keys(&self, origin: Option<&Origin>) -> KnownKeys {
        let mut keys = KnownKeys::new();
        let logs = Arc::clone(&self.logs.borrow());
        if let Some(log) = origin.and_then(|origin| logs.log(origin)) {
            for key in &log.keys {
                keys.add_log(log.origin.clone(), key.clone(), Standing::Current);
            }
            for key in &log.retired {
                keys.add_log(log.origin.clone(), key.clone(), Standing::Retired);
            }
        }
        for key in &self.log_keys {
            keys.add_log(self.origin.clone(), key.clone(), Standing::Current);
        }
        for key in &self.cosigners {
            // The configuration refuses other types.
            let _ = keys.add_cosigner(key.clone());
        }
        keys.add_policy(&self.policy);
        keys
    }

    /// Whether a verdict is about a key with which this service signs.
    fn is_ours(&self, verdict: &Verdict) -> bool {
        let cosigned = verdict
            .guilty
            .iter()
            .any(|guilty| guilty.role == Role::Cosigner && self.cosigners.contains(&guilty.key));
        cosigned || (verdict.convicts_log() && verdict.origin.as_ref() == Some(&self.origin))
    }
}

/// The evidence in this log, and the door for more.
pub struct Docket {
    jury: Jury,
    store: Arc<dyn LogStore>,
    sequencer: Sequencer,
    state: RwLock<State>,
    /// Held by whoever makes an entry: what is logged once is looked up and logged by one.
    turn: Mutex<()>,
    ours: watch::Sender<Option<Convicted>>,
    metrics: Metrics,
}

#[derive(Default)]
struct State {
    logged: BTreeMap<Hash, Logged>,
    /// The same in the order of the log.
    order: Vec<Hash>,
    convicted: BTreeMap<Origin, Convicted>,
}

/// A contradiction that is in this log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Which.
    pub id: Hash,
    /// Of which kind.
    pub kind: Kind,
    /// The log that it is about.
    pub origin: Option<Origin>,
    /// Whom it convicts.
    pub convicts: Convicts,
    /// Where it stands: the entry that has it, or the last of those that do.
    pub index: LeafIndex,
    /// The keys that are convicted, or that convict their log between them, as far as they are
    /// known now.
    pub keys: BTreeSet<String>,
    /// The entries of the copy that proves most.
    pub entries: Vec<LeafIndex>,
    /// How many of the keys that copy accuses.
    pub proven: usize,
}

/// What became of evidence that was brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is an entry now.
    Logged,
    /// It was there, and a copy that convicts more keys is an entry now.
    More,
    /// It was there.
    Known,
    /// It is good, and not logged: enough is there that convicts the same keys of the same.
    Enough,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Logged => "logged",
            Self::More => "more",
            Self::Known => "known",
            Self::Enough => "enough",
        }
    }
}

/// Why evidence was not taken. Nothing changed, except after [`AppendError::Stopped`], where
/// bringing it again is safe.
#[derive(Debug, thiserror::Error)]
pub enum DocketError {
    /// It convicts nobody whose keys are known here.
    #[error("{0}")]
    NotProven(#[from] NotProven),
    /// A retirement's date, which nobody can show, decides whether the log did it.
    #[error("it convicts nobody for certain")]
    Undetermined,
    /// An entry cannot hold it; a bug.
    #[error("it cannot be made an entry")]
    Entry,
    /// The log could not take it.
    #[error("{0}")]
    Append(#[from] AppendError),
    /// The store failed.
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    /// The copy that is logged cannot be read.
    #[error("{0}")]
    Damaged(#[from] DamagedEvidence),
}

/// Why what the log has of evidence is not known. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum DamagedEvidence {
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// An entry that is listed as evidence is none, or its parts make none.
    #[error("entry {index} is listed as evidence, and is none: {reason}; run `jurat fsck`")]
    Entry {
        /// The entry.
        index: u64,
        /// Why.
        reason: String,
    },
}

impl Docket {
    /// Reads what is in the log, and what it stops.
    ///
    /// # Errors
    /// [`DamagedEvidence`]: it is not known what is stopped.
    // Spec: SVC-52
    pub fn open(
        jury: Jury,
        store: Arc<dyn LogStore>,
        sequencer: Sequencer,
        registry: &mut Registry,
    ) -> Result<Self, DamagedEvidence> {
        let this = Self {
            jury,
            store,
            sequencer,
            state: RwLock::default(),
            turn: Mutex::new(()),
            ours: watch::Sender::new(None),
            metrics: Metrics::new(registry),
        };
        for (evidence, convicts, entries) in read_all(this.store.as_ref())? {
            let keys = this.jury.keys(evidence.origin());
            // What was found when it was logged stays found, whatever is known now.
            let verdict = evidence.verify(&keys).ok();
            this.note(&evidence, verdict.as_ref(), convicts, entries);
        }
        Ok(this)
    }

    /// Brings evidence: what became of it, when that is durable.
    ///
    /// It goes on when the caller goes away.
    ///
    /// # Errors
    /// [`DocketError`].
    // Spec: SVC-51
    pub async fn submit(
        self: &Arc<Self>,
        evidence: Evidence,
    ) -> Result<(Outcome, Logged), DocketError> {
        let this = Arc::clone(self);
        let taken = tokio::spawn(async move {
            let result = this.take(evidence).await;
            this.metrics.brought(&result);
            result
        });
        let stopped = DocketError::Append(AppendError::Stopped);
        taken.await.unwrap_or(Err(stopped))
    }

    /// Looks whether a checkpoint that its log signed, and that is refused, contradicts the one
    /// that is stored; such evidence is logged before the refusal is told.
    ///
    /// # Errors
    /// [`DocketError`]: there is evidence, and the log did not take it. Whoever refused the
    /// checkpoint now would forget what it proves; who asks to come again is shown it again.
    // Spec: SVC-54
    pub async fn look(
        self: &Arc<Self>,
        stored: Option<&[u8]>,
        shown: &SignedCheckpoint,
        proof: &ConsistencyProof,
    ) -> Result<(), DocketError> {
        let evidence = if shown.head().size == TreeSize::ZERO {
            Evidence::empty(shown.clone()).ok()
        } else {
            // Spec: EVI-30
            let stored = stored.and_then(|stored| SignedCheckpoint::parse(stored).ok());
            stored.and_then(|stored| Evidence::of_growth(&stored, shown, proof).ok())
        };
        let Some(evidence) = evidence else {
            return Ok(());
        };
        match self.submit(evidence).await {
            Ok(_) => Ok(()),
            Err(error @ (DocketError::NotProven(_) | DocketError::Undetermined)) => {
                tracing::warn!(origin = %shown.origin(), %error, "evidence was not logged");
                Ok(())
            }
            Err(error) => {
                tracing::error!(origin = %shown.origin(), %error, "evidence was not logged");
                Err(error)
            }
        }
    }

    async fn take(&self, evidence: Evidence) -> Result<(Outcome, Logged), DocketError> {
        let keys = self.jury.keys(evidence.origin());
        let judged = {
            let keys = keys.clone();
            tokio::task::spawn_blocking(move || evidence.minimised(&keys))
        };
        let judged = judged.await.map_err(|_| AppendError::Stopped)?;
        let (evidence, verdict) = judged?;
        // Spec: EVI-43
        if !verdict.convicts() {
            return Err(DocketError::Undetermined);
        }
        let _turn = self.turn.lock().await;
        let id = evidence.id();
        let convicts = found(&verdict);
        let known = self.state().logged.get(&id).cloned();
        if let Some(known) = known {
            let more = convicts < known.convicts || !accused(&verdict).is_subset(&known.keys);
            if !more {
                return Ok((Outcome::Known, known));
            }
            // Spec: EVI-53, SVC-51
            let kept = read(self.store.as_ref(), &known.entries)?;
            let (both, merged) = kept.merged(&evidence, &keys)?;
            // Spec: SVC-64. When they do not fit one file, the new one goes beside the kept one.
            let fits = accused(&verdict).is_subset(&accused(&merged));
            let (file, verdict) = if fits {
                (both, merged)
            } else {
                (evidence, verdict)
            };
            let convicts = found(&verdict).min(convicts).min(known.convicts);
            let logged = self.log(&file, &verdict, convicts).await?;
            return Ok((Outcome::More, logged));
        }
        if let Some(enough) = self.enough(&verdict) {
            return Ok((Outcome::Enough, enough));
        }
        let logged = self.log(&evidence, &verdict, convicts).await?;
        Ok((Outcome::Logged, logged))
    }

    /// What is there already that convicts the same keys, when it is as much as is logged.
    // Spec: SVC-53
    fn enough(&self, verdict: &Verdict) -> Option<Logged> {
        let state = self.state();
        // A cosigner can contradict itself about any number of logs that it made up: those that
        // nobody knows here are one.
        let knows = |origin: &Option<Origin>| origin.as_ref().is_some_and(|o| self.jury.knows(o));
        let is_made_up = !knows(&verdict.origin);
        let alike = |logged: &&Logged| {
            logged.kind == verdict.kind
                && (logged.origin == verdict.origin || (is_made_up && !knows(&logged.origin)))
        };
        let alike: Vec<&Logged> = state.logged.values().filter(alike).collect();
        let full = |key: &String| {
            alike
                .iter()
                .filter(|logged| logged.keys.contains(key))
                .count()
                >= LOGGED_MAX
        };
        // A log that is convicted for the first time is never counted away.
        let first = verdict.convicts_log()
            && verdict
                .origin
                .as_ref()
                .is_some_and(|origin| !state.convicted.contains_key(origin));
        if first || !accused(verdict).iter().all(full) {
            return None;
        }
        alike.into_iter().min_by_key(|logged| logged.index).cloned()
    }

    // Spec: SVC-51, ENT-14
    async fn log(
        &self,
        evidence: &Evidence,
        verdict: &Verdict,
        convicts: Convicts,
    ) -> Result<Logged, DocketError> {
        let mut entries = Vec::new();
        let mut conviction = self.conviction(evidence, verdict, convicts);
        let mut parts = EvidenceEntry::all_of(evidence, convicts)
            .into_iter()
            .peekable();
        while let Some(entry) = parts.next() {
            let bytes = Entry::Evidence(entry).to_bytes();
            let entry = NewEntry::new(bytes).map_err(|_| DocketError::Entry)?;
            // Parts that a crash left alone are found again, and not logged twice (SVC-02).
            // Spec: SVC-59. The entry that completes the file convicts.
            let convicted = match parts.peek() {
                None => conviction.take(),
                Some(_) => None,
            };
            let appended = match convicted {
                Some(conviction) => self.sequencer.convict(entry, conviction).await?,
                None => self.sequencer.append(Append { entry, head: None }).await?,
            };
            entries.push(appended.index);
        }
        let logged = self.note(evidence, Some(verdict), convicts, entries);
        let id = hex::encode(logged.id.as_bytes());
        tracing::error!(
            %id,
            kind = %logged.kind,
            origin = logged.origin.as_ref().map(Origin::as_str),
            index = logged.index.get(),
            convicts = convicts.name(),
            "evidence is logged"
        );
        Ok(logged)
    }

    /// What the entry that completes a file stops.
    // Spec: SVC-57, SVC-59, SVC-63
    fn conviction(
        &self,
        evidence: &Evidence,
        verdict: &Verdict,
        convicts: Convicts,
    ) -> Option<Conviction> {
        let origin = evidence.origin().filter(|_| convicts == Convicts::Log);
        let ours = origin == Some(&self.jury.origin) || self.jury.is_ours(verdict);
        (ours || origin.is_some()).then(|| Conviction {
            origin: origin.cloned(),
            ours,
            id: evidence.id(),
        })
    }

    /// Takes note of what is in the log, and stops what it stops.
    // Spec: SVC-52
    fn note(
        &self,
        evidence: &Evidence,
        verdict: Option<&Verdict>,
        convicts: Convicts,
        entries: Vec<LeafIndex>,
    ) -> Logged {
        let id = evidence.id();
        let index = entries.iter().max().copied().unwrap_or_default();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let State {
            logged,
            order,
            convicted,
        } = &mut *state;
        let known = logged.entry(id).or_insert_with(|| {
            order.push(id);
            Logged {
                id,
                kind: evidence.kind(),
                origin: evidence.origin().cloned(),
                convicts,
                index,
                keys: BTreeSet::new(),
                entries: Vec::new(),
                proven: 0,
            }
        });
        known.convicts = known.convicts.min(convicts);
        let accused = verdict.map(accused).unwrap_or_default();
        if known.entries.is_empty() || accused.len() >= known.proven {
            known.proven = accused.len();
            known.entries = entries;
        }
        known.keys.extend(accused);
        let known = known.clone();
        if convicts == Convicts::Log
            && let Some(origin) = &known.origin
        {
            let by = Convicted { id, index };
            convicted.entry(origin.clone()).or_insert(by);
        }
        self.metrics.logged(order.len(), convicted.len());
        drop(state);
        // Spec: SVC-57. This log stays convicted, whatever keys the configuration has left of it.
        let own_log = convicts == Convicts::Log && evidence.origin() == Some(&self.jury.origin);
        if own_log || verdict.is_some_and(|verdict| self.jury.is_ours(verdict)) {
            self.ours.send_if_modified(|ours| {
                let first = ours.is_none();
                ours.get_or_insert(Convicted { id, index });
                first
            });
        }
        known
    }

    /// Why nothing is recorded or signed for a log any more, if that is so.
    // Spec: SVC-55
    pub fn convicted(&self, origin: &Origin) -> Option<Convicted> {
        self.state().convicted.get(origin).cloned()
    }

    /// How many logs are convicted, and up to `most` of them.
    pub fn convicted_logs(&self, most: usize) -> (usize, Vec<(Origin, Convicted)>) {
        let state = self.state();
        let first = state.convicted.iter().take(most);
        let first = first.map(|(origin, by)| (origin.clone(), by.clone()));
        (state.convicted.len(), first.collect())
    }

    /// How much there is.
    pub fn count(&self) -> usize {
        self.state().order.len()
    }

    /// What is logged, in the order of the log, after so many.
    pub fn list(&self, after: usize, most: usize) -> Vec<Logged> {
        let state = self.state();
        let ids = state.order.iter().skip(after).take(most);
        ids.filter_map(|id| state.logged.get(id)).cloned().collect()
    }

    /// One that is logged.
    pub fn logged(&self, id: &Hash) -> Option<Logged> {
        self.state().logged.get(id).cloned()
    }

    /// Its file. Blocks for the disk.
    ///
    /// # Errors
    /// [`DamagedEvidence`].
    pub fn file(&self, logged: &Logged) -> Result<Evidence, DamagedEvidence> {
        read(self.store.as_ref(), &logged.entries)
    }

    /// The logs that may be convicted, to see when there are others.
    pub(crate) fn logs(&self) -> Arc<Logs> {
        Arc::clone(&self.jury.logs.borrow())
    }

    /// The evidence that convicts a key of this service, once there is some.
    // Spec: SVC-57
    pub fn convicts_us(&self) -> watch::Receiver<Option<Convicted>> {
        self.ours.subscribe()
    }

    /// Whether this service may sign at all.
    // Spec: SVC-57
    pub fn signs(&self) -> bool {
        self.ours.borrow().is_none()
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        // Whoever panicked with it left maps that are whole: each change is one step.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks all evidence of a log: each that is listed is evidence, or a part of some.
///
/// # Errors
/// When the store cannot be read. What is damaged is in the answer.
// Spec: SVC-52, ENT-14
pub fn check_all(store: &dyn LogStore) -> Result<Vec<DamagedEvidence>, StoreError> {
    match read_all(store) {
        Ok(_) => Ok(Vec::new()),
        Err(DamagedEvidence::Store(error)) => Err(error),
        Err(damaged @ DamagedEvidence::Entry { .. }) => Ok(vec![damaged]),
    }
}

type Found = (Evidence, Convicts, Vec<LeafIndex>);

/// All evidence of a log, in its order, each with its entries.
fn read_all(store: &dyn LogStore) -> Result<Vec<Found>, DamagedEvidence> {
    // What was found before is another finding of the same file, and hides none.
    let mut files: BTreeMap<Convicts, EvidenceFiles> = BTreeMap::new();
    let mut parts: BTreeMap<(Convicts, Hash), Vec<LeafIndex>> = BTreeMap::new();
    let mut found = Vec::new();
    let mut from = LeafIndex::default();
    loop {
        let page = store.landmarks(Landmark::Evidence, from, PAGE)?;
        for &index in &page {
            let entry = entry(store, index)?;
            let convicts = entry.convicts;
            let of = entry.part().map(|part| *part.file());
            let complete = files.entry(convicts).or_default().add(entry);
            let complete = complete.map_err(|error| damaged(index, error))?;
            let entries = match of {
                None => vec![index],
                Some(file) => {
                    let parts = parts.entry((convicts, file)).or_default();
                    parts.push(index);
                    parts.clone()
                }
            };
            found.extend(complete.map(|evidence| (evidence, convicts, entries)));
        }
        let next = page.last().filter(|_| page.len() == PAGE);
        match next.and_then(|last| LeafIndex::new(last.get() + 1)) {
            Some(next) => from = next,
            None => return Ok(found),
        }
    }
}

fn read(store: &dyn LogStore, entries: &[LeafIndex]) -> Result<Evidence, DamagedEvidence> {
    let mut files = EvidenceFiles::default();
    for &index in entries {
        let complete = files.add(entry(store, index)?);
        if let Some(evidence) = complete.map_err(|error| damaged(index, error))? {
            return Ok(evidence);
        }
    }
    let index = entries.last().copied().unwrap_or_default();
    Err(damaged(index, "a part is missing"))
}

fn entry(store: &dyn LogStore, index: LeafIndex) -> Result<EvidenceEntry, DamagedEvidence> {
    let bytes = store.entry(index)?.unwrap_or_default();
    match Entry::parse(&bytes) {
        Ok(Entry::Evidence(entry)) => Ok(entry),
        Ok(other) => Err(damaged(index, other.kind())),
        Err(error) => Err(damaged(index, error)),
    }
}

fn damaged(index: LeafIndex, reason: impl fmt::Display) -> DamagedEvidence {
    DamagedEvidence::Entry {
        index: index.get(),
        reason: reason.to_string(),
    }
}

fn found(verdict: &Verdict) -> Convicts {
    if verdict.convicts_log() {
        Convicts::Log
    } else {
        Convicts::Keys
    }
}

/// The keys that are convicted, or that convict their log between them.
fn accused(verdict: &Verdict) -> BTreeSet<String> {
    verdict.accused().map(ToString::to_string).collect()
}

/// Evidence by what became of it; the outcomes are a closed set.
#[derive(Debug, Clone, Default)]
struct Metrics {
    brought: Family<Brought, Counter>,
    logged: Gauge,
    convicted: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Brought {
    outcome: &'static str,
}

impl Metrics {
    fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("jurat");
        registry.register(
            "evidence_brought",
            "Evidence that was submitted, pulled or found, by what became of it",
            metrics.brought.clone(),
        );
        registry.register(
            "evidence_logged",
            "Contradictions that are entries of the log",
            metrics.logged.clone(),
        );
        registry.register(
            "logs_convicted",
            "Logs that are convicted of two histories: nothing is taken of them any more",
            metrics.convicted.clone(),
        );
        metrics
    }

    fn brought(&self, result: &Result<(Outcome, Logged), DocketError>) {
        let outcome = match result {
            Ok((outcome, _)) => outcome.name(),
            Err(DocketError::NotProven(_) | DocketError::Undetermined) => "not_proven",
            Err(DocketError::Append(AppendError::Overloaded)) => "overloaded",
            Err(
                DocketError::Append(
                    AppendError::Stopped | AppendError::Conflict { .. } | AppendError::Convicted(_),
                )
                | DocketError::Entry
                | DocketError::Store(_)
                | DocketError::Damaged(_),
            ) => "failed",
        };
        self.brought.get_or_create(&Brought { outcome }).inc();
    }

    fn logged(&self, logged: usize, convicted: usize) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.logged.set(count(logged));
        self.convicted.set(count(convicted));
    }
}
