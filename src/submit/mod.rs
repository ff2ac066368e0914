//! Anchoring: a registered log's checkpoint is checked as a witness checks it, committed as an
//! entry of this log, and answered with cosignatures.
//!
//! The order is that of every witness: check, commit durably, then let a signature leave. The
//! signatures are made before the commit, so that what the log's page serves after a restart is
//! what was answered; they leave after it.

use std::sync::Arc;

use jurat_daemon::clock::{ClockGuard, NoTime};
use jurat_proto::add_checkpoint::{
    AddCheckpoint, Refusal, decide_consistency, require_signed_extensions, verify_log_signatures,
};
use jurat_proto::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use jurat_proto::cosignature::cosign;
use jurat_proto::entry::{CheckpointEntry, Entry, EntryError};
use jurat_proto::key::{Signer, UnixSeconds};
use jurat_proto::note::SignatureLine;
use jurat_proto::tree::{LeafIndex, TreeHead};
use jurat_store::{EntryTooLong, HeadSwap, LogStore, NewEntry, OriginHead, StoreError};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::evidence::{Convicted, Docket, DocketError};
use crate::log::{Append, AppendError, Sequencer};

pub mod heads;
pub mod logs;

use self::heads::Damaged;
use self::logs::Logs;

/// Times that a submission is decided anew because another one of its origin was faster. The
/// second look nearly always ends in 409; a refresh that raced a refresh succeeds.
const RACES_MAX: usize = 4;

/// The door for checkpoints of registered logs.
pub struct Submit {
    /// Which logs may anchor; replaced when the registry file changes.
    pub logs: watch::Receiver<Arc<Logs>>,
    /// Latest heads.
    pub store: Arc<dyn LogStore>,
    /// Where entries go.
    pub sequencer: Sequencer,
    /// The keys that cosign other logs' checkpoints.
    pub cosigners: Vec<Arc<dyn Signer>>,
    /// The time, while it can be believed.
    pub clock: Arc<ClockGuard>,
    /// The evidence against logs.
    pub docket: Arc<Docket>,
    /// Counters.
    pub metrics: Metrics,
}

/// What an accepted submission gets.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The entry's place in this log.
    pub index: LeafIndex,
    /// One cosignature for each cosigner key.
    pub cosignatures: Vec<SignatureLine>,
}

/// Why a submission was not accepted. Nothing changed, except after [`SubmitError::Store`] and
/// [`AppendError::Stopped`], where sending it again is safe.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// tlog-witness says no.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The checkpoint with its verified signatures does not fit an entry.
    #[error("{0}")]
    Entry(#[from] EntryError),
    /// The same, as the store sees it.
    #[error("{0}")]
    TooLong(#[from] EntryTooLong),
    /// The log could not take it.
    #[error("{0}")]
    Append(#[from] AppendError),
    /// What the refused checkpoint proves could not be logged: the refusal is not told, so that
    /// the checkpoint comes again.
    #[error("evidence against this log could not be logged: {0}")]
    Evidence(Box<DocketError>),
    /// The clock stands before the time of this origin's last cosignature.
    #[error("the clock is behind this origin's last cosignature by {behind} s; nothing is signed")]
    ClockBehind {
        /// Seconds.
        behind: u64,
    },
    /// Nobody can say what time it is.
    #[error("{0}; nothing is signed")]
    NoTime(#[from] NoTime),
    /// The store failed.
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    /// The stored head of this origin contradicts its checkpoint.
    #[error("{0}")]
    Damaged(#[from] Box<Damaged>),
    /// The log is convicted of two histories.
    #[error("{0} convicts this log: nothing of it is recorded or cosigned any more")]
    Convicted(Convicted),
    /// A cosigner key failed.
    #[error("a key could not sign: {0}")]
    Signer(String),
}

impl Submit {
    /// Checks, commits and cosigns one checkpoint.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn add_checkpoint(&self, request: &AddCheckpoint) -> Result<Accepted, SubmitError> {
        let result = self.add(request).await;
        self.metrics.record(&result);
        result
    }

    // Spec: NOTE-31
    /// What does not depend on the stored head is done once, whatever races there are.
    async fn add(&self, request: &AddCheckpoint) -> Result<Accepted, SubmitError> {
        let origin = request.checkpoint.origin();
        let logs = Arc::clone(&self.logs.borrow());
        let keys = logs.keys_for(origin);
        let verified = verify_log_signatures(keys, &request.checkpoint)?;
        self.is_free(origin)?;
        require_signed_extensions(keys, &request.checkpoint, &verified)?;
        let entry = CheckpointEntry::new(&request.checkpoint, &verified)?;
        let new = NewEntry::new(Entry::Checkpoint(entry.clone()).to_bytes())?;
        let mut races = 0;
        loop {
            match self.attempt(request, entry.checkpoint(), &new).await {
                Err(SubmitError::Append(AppendError::Conflict { .. })) if races < RACES_MAX => {
                    races += 1;
                }
                // Whoever was told of the evidence before sees nothing signed after it.
                Ok(accepted) => return self.is_free(origin).map(|()| accepted),
                refused => return refused,
            }
        }
    }

    // Spec: SVC-55, SVC-57
    fn is_free(&self, origin: &Origin) -> Result<(), SubmitError> {
        if !self.docket.signs() {
            return Err(AppendError::Stopped.into());
        }
        let convicted = self.docket.convicted(origin);
        convicted.map_or(Ok(()), |by| Err(SubmitError::Convicted(by)))
    }

    // Spec: SVC-03, SVC-16, SVC-20, WIT-43, WIT-44, WIT-45
    async fn attempt(
        &self,
        request: &AddCheckpoint,
        verified: &SignedCheckpoint,
        entry: &NewEntry,
    ) -> Result<Accepted, SubmitError> {
        let origin = verified.origin();
        let latest = self.store.latest(origin)?;
        if let Some(latest) = &latest {
            heads::check(origin, latest)?;
        }
        let expected = latest.as_ref().map(|latest| latest.head);
        let progress = match decide_consistency(expected.as_ref(), request) {
            Ok(progress) => progress,
            Err(refusal) => {
                let stored = latest.as_ref().map(|latest| &*latest.note);
                let looked = self.docket.look(stored, verified, &request.proof);
                looked.await.map_err(not_logged)?;
                return Err(refusal.into());
            }
        };
        // It may have been convicted since the attempt before.
        self.is_free(origin)?;
        let time = self.time(latest.as_ref())?;
        let cosignatures = self.cosign(verified.checkpoint(), time)?;
        let note = served_note(verified, &cosignatures)?;
        let swap = head_swap(origin, expected, progress.head, time, note);
        let append = Append {
            entry: entry.clone(),
            head: Some(swap),
        };
        let appended = self.sequencer.append(append).await;
        let appended = appended.map_err(not_appended)?;
        Ok(Accepted {
            index: appended.index,
            cosignatures,
        })
    }

    // Spec: SVC-05, SVC-40, COS-23
    /// Times of one origin never go back.
    fn time(&self, latest: Option<&OriginHead>) -> Result<UnixSeconds, SubmitError> {
        let now = self.clock.read_unordered()?.seconds();
        let last = latest.map_or(0, |latest| latest.time.get());
        match UnixSeconds::new(now) {
            Some(time) if now >= last => Ok(time),
            _ => Err(SubmitError::ClockBehind {
                behind: last.saturating_sub(now),
            }),
        }
    }

    fn cosign(
        &self,
        checkpoint: &Checkpoint,
        time: UnixSeconds,
    ) -> Result<Vec<SignatureLine>, SubmitError> {
        self.cosigners
            .iter()
            .map(|signer| cosign(checkpoint, time, signer.as_ref()))
            .collect::<Result<_, _>>()
            .map_err(|error| SubmitError::Signer(error.to_string()))
    }
}

// Spec: SVC-55, SVC-59
fn not_appended(error: AppendError) -> SubmitError {
    match error {
        AppendError::Convicted(by) => SubmitError::Convicted(by),
        AppendError::Conflict { .. } | AppendError::Overloaded | AppendError::Stopped => {
            SubmitError::Append(error)
        }
    }
}

// Spec: SVC-54
fn not_logged(error: DocketError) -> SubmitError {
    match error {
        DocketError::Append(error) => not_appended(error),
        other => SubmitError::Evidence(Box::new(other)),
    }
}

// Spec: SVC-16, WIT-52, WIT-56
/// What `/logs/<origin hash>/checkpoint` serves: the verified lines and our own.
fn served_note(
    verified: &SignedCheckpoint,
    cosignatures: &[SignatureLine],
) -> Result<Vec<u8>, EntryError> {
    let all: Vec<usize> = (0..verified.signatures().len()).collect();
    let served = verified
        .with_signatures(&all, cosignatures)
        .map_err(EntryError::Note)?;
    Ok(served.to_bytes())
}

fn head_swap(
    origin: &Origin,
    expected: Option<TreeHead>,
    head: TreeHead,
    time: UnixSeconds,
    note: Vec<u8>,
) -> HeadSwap {
    let new = OriginHead {
        head,
        time,
        note,
        log_index: None,
    };
    HeadSwap {
        origin: origin.clone(),
        expected,
        new,
    }
}

/// Submissions by outcome; the outcomes are a closed set.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    submissions: Family<Outcome, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl Metrics {
    /// Registers the metrics of submissions.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.sub_registry_with_prefix("jurat").register(
            "submissions",
            "Checkpoints submitted, by outcome",
            metrics.submissions.clone(),
        );
        metrics
    }

    fn record(&self, result: &Result<Accepted, SubmitError>) {
        let outcome = match result {
            Ok(_) => "accepted",
            Err(SubmitError::Refused(refusal)) => match refusal.status() {
                404 => "unknown_origin",
                403 => "bad_signature",
                409 => "conflict",
                422 => "inconsistent",
                _ => "bad_request",
            },
            Err(SubmitError::Entry(_) | SubmitError::TooLong(_)) => "too_large",
            Err(SubmitError::Append(AppendError::Conflict { .. })) => "conflict",
            Err(SubmitError::Append(AppendError::Overloaded)) => "overloaded",
            Err(SubmitError::ClockBehind { .. }) => "clock_behind",
            Err(SubmitError::NoTime(_)) => "no_time",
            Err(SubmitError::Convicted(_) | SubmitError::Append(AppendError::Convicted(_))) => {
                "convicted"
            }
            Err(
                SubmitError::Append(AppendError::Stopped)
                | SubmitError::Evidence(_)
                | SubmitError::Store(_)
                | SubmitError::Damaged(_)
                | SubmitError::Signer(_),
            ) => "failed",
        };
        self.submissions.get_or_create(&Outcome { outcome }).inc();
    }
}
