//! The restore guard: is our memory as new as what others have seen of us?
//!
//! A witness is worth what its memory is worth, and no witness sees by itself that its database was
//! put back to what it was. Others do: our own published checkpoints, other witnesses of the same
//! logs, and the logs. They are asked
//!
//! ```text
//! first request for a log since the start ─► all sources at once, for `wait_ms` at most
//!                     ─► evidence?  yes: the log is held, durably, until its operator decides
//!                                   no: it is served, and not asked about again
//! and in the background ─► every log, again and again, a few a second
//! ```
//!
//! What counts ([`judge`]): a checkpoint that we cosigned and do not remember, and one of the size
//! that we remember with another root, whoever shows it. Another witness's larger tree counts only
//! before we signed anything since the start, because logs ask witnesses one after the other; such
//! a log is free again when it submits the very tree that the other witness has.
//!
//! Sources that do not answer hold nothing, unless `answers_min` says how many must have answered.
//!
//! Rows: `spec/witness.md` WIT-80 to WIT-86.

mod adopt;
mod config;
mod judge;
mod sweep;

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jurat_daemon::client::{Client, ClientOptions, ClientRequest, ClientSetupError};
use jurat_daemon::clock::Clock;
use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::hash::{Hash, sha256};
use jurat_proto::hex;
use jurat_proto::key::VerifierKey;
use jurat_proto::tree::TreeHead;
use jurat_store::registry::{Change, Hold, HoldCause, Log, Registry, RegistryError, Resolution};
use tokio::task::JoinSet;

pub use self::adopt::adopt;
pub use self::config::{RawRestoreGuard, RestoreGuard};
pub use self::judge::{Evidence, Finding, Keys, Unusable, judge};
pub use self::sweep::sweep;
use crate::cosign::Witness;
use crate::heads::ReadError;
use crate::journal::Journal;
use crate::metrics::{GuardAnswer, Metrics};

/// Who is asked.
#[derive(Debug, Clone)]
pub enum Source {
    /// Where our own checkpoints are published: a monitoring prefix.
    Own(String),
    /// Another witness: a monitoring prefix and its keys.
    Peer(String, Arc<[VerifierKey]>),
    /// The log itself: the URL of its newest checkpoint.
    Log(String),
}

impl Source {
    fn url(&self, origin: &Origin) -> String {
        match self {
            Self::Own(prefix) | Self::Peer(prefix, _) => {
                format!(
                    "{}/{}/checkpoint",
                    prefix.trim_end_matches('/'),
                    origin.hash_hex()
                )
            }
            Self::Log(url) => url.clone(),
        }
    }

    /// For metrics: one of three words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Own(_) => "own",
            Self::Peer(..) => "peer",
            Self::Log(_) => "log",
        }
    }
}

/// The guard of a witness that runs.
pub struct Guard {
    settings: RestoreGuard,
    client: Client,
    logs: PathBuf,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    /// The logs that were asked about since the start, by the SHA-256 of the origin.
    cleared: Mutex<HashSet<Hash>>,
    /// In seconds since 1970.
    started: u64,
    /// The evidence that was tried to be adopted, once for each start.
    tried: Mutex<HashSet<String>>,
}

impl Guard {
    /// A guard over the list of logs in this file.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(
        settings: RestoreGuard,
        logs: PathBuf,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self, ClientSetupError> {
        let client = Client::new(ClientOptions {
            request_timeout: settings.wait,
            connect_timeout: settings.wait,
            response_bytes_max: NOTE_BYTES_MAX,
            ..ClientOptions::default()
        })?;
        Ok(Self {
            settings,
            client,
            logs,
            started: clock.now().seconds(),
            clock,
            metrics,
            cleared: Mutex::default(),
            tried: Mutex::default(),
        })
    }

    /// Whether a log was asked about since the start, or there is nobody to ask.
    pub fn is_cleared(&self, origin: &Hash) -> bool {
        self.settings.is_off() || self.lock().contains(origin)
    }

    /// Asks about a log before the first signature for it since the start. `submitted` is the tree
    /// for which its log asks; the log has signed it.
    ///
    /// # Errors
    /// [`Held`]: nothing may be signed for it.
    // Spec: WIT-82, WIT-83, WIT-84
    pub async fn clear(
        self: &Arc<Self>,
        witness: &Arc<Witness>,
        origin: &Origin,
        submitted: TreeHead,
    ) -> Result<(), Held> {
        let Some(log) = witness.logs().current().log(origin).cloned() else {
            return Ok(());
        };
        let asked = self.ask(witness, &log, true).await?;
        let started = self.started;
        let decided = log
            .dismissed
            .iter()
            .any(|dismissed| dismissed.at >= started);
        let mut blocking = None;
        for evidence in asked.evidence {
            // Spec: WIT-84. The log wants to bring us where the other witness is; or our operator
            // has decided since the start.
            let explained = evidence.evidence.head == submitted || decided;
            if evidence.evidence.cause == HoldCause::Peer && explained {
                continue;
            }
            if blocking
                .as_ref()
                .is_none_or(|known: &Found| known.is_less(&evidence))
            {
                blocking = Some(evidence);
            }
        }
        if let Some(found) = blocking {
            let why = found.evidence.why.clone();
            if self.hold(witness, origin, &found).await? {
                return Err(Held::Evidence { why });
            }
        } else if log
            .hold
            .as_ref()
            .is_some_and(|hold| hold.cause == HoldCause::Peer)
        {
            self.release(witness, &log).await?;
        }
        if asked.answers < self.settings.answers_min {
            return Err(Held::TooFewAnswers {
                answers: asked.answers,
                needed: self.settings.answers_min,
            });
        }
        self.lock().insert(origin.hash());
        Ok(())
    }

    /// Whether a log that is held may be asked about again: another witness is ahead of us, and may
    /// by now have what the log submits.
    pub fn may_explain(hold: &Hold) -> bool {
        hold.cause == HoldCause::Peer && !hold.adopt
    }

    /// Asks all sources about a log, and judges what they show.
    async fn ask(
        &self,
        witness: &Arc<Witness>,
        log: &Log,
        peers: bool,
    ) -> Result<Asked, ReadError> {
        let own = self.settings.own.iter().cloned().map(Source::Own);
        let others = self.settings.peers.iter().filter(|_| peers);
        let others = others.map(|(prefix, keys)| Source::Peer(prefix.clone(), Arc::clone(keys)));
        let itself = log.url.iter().cloned().map(Source::Log);
        let mut fetches = JoinSet::new();
        for source in own.chain(others).chain(itself) {
            let request = ClientRequest::get(source.url(&log.origin)).timeout(self.settings.wait);
            let client = self.client.clone();
            fetches.spawn(async move { (source, client.send(request).await) });
        }
        let mut asked = Asked::default();
        while let Some(fetched) = fetches.join_next().await {
            let Ok((source, answer)) = fetched else {
                continue;
            };
            let answer = match answer {
                Ok(answer) if answer.status == 404 => Ok(None),
                Ok(answer) if answer.status == 200 => Ok(Some(answer.body)),
                Ok(answer) => Err(format!("status {}", answer.status)),
                Err(error) => Err(error.to_string()),
            };
            let kind = source.kind();
            match answer {
                Err(reason) => {
                    self.metrics.guard_answer(kind, GuardAnswer::Unreachable);
                    let url = source.url(&log.origin);
                    tracing::warn!(%url, origin = %log.origin, %reason, "no answer about a log");
                }
                Ok(None) => {
                    self.metrics.guard_answer(kind, GuardAnswer::Known);
                    asked.answers += 1;
                }
                Ok(Some(note)) => self.judge(witness, log, &source, &note, &mut asked)?,
            }
        }
        Ok(asked)
    }

    fn judge(
        &self,
        witness: &Arc<Witness>,
        log: &Log,
        source: &Source,
        note: &[u8],
        asked: &mut Asked,
    ) -> Result<(), ReadError> {
        let keys = Keys {
            log: &log.keys,
            own: witness.keys(),
            peer: match source {
                Source::Peer(_, keys) => Some(keys),
                Source::Own(_) | Source::Log(_) => None,
            },
        };
        // Spec: WIT-81. After the fetch: what we sign meanwhile is no evidence.
        let latest = witness.heads().latest(&log.origin)?;
        let url = source.url(&log.origin);
        let judged = judge(note, &log.origin, keys, latest);
        asked.answers += usize::from(judged.is_ok());
        let answer = match judged {
            Err(reason) => {
                tracing::warn!(%url, origin = %log.origin, %reason, "this says nothing of a log");
                GuardAnswer::Unusable
            }
            Ok(Finding::Known) => GuardAnswer::Known,
            Ok(Finding::Ahead) => GuardAnswer::Ahead,
            Ok(Finding::Evidence(evidence)) => {
                let cause = evidence.cause;
                asked.evidence.push(Found {
                    source: url,
                    evidence: *evidence,
                });
                match cause {
                    HoldCause::Ours => GuardAnswer::Ours,
                    HoldCause::Peer => GuardAnswer::Ahead,
                    HoldCause::Fork => GuardAnswer::Fork,
                }
            }
        };
        self.metrics.guard_answer(source.kind(), answer);
        Ok(())
    }

    /// Holds a log. `false` when its operator has put this evidence aside.
    // Spec: WIT-83
    async fn hold(
        self: &Arc<Self>,
        witness: &Arc<Witness>,
        origin: &Origin,
        found: &Found,
    ) -> Result<bool, Held> {
        let hold = Hold {
            cause: found.evidence.cause,
            since: self.clock.now().seconds(),
            source: found.source.clone(),
            why: found.evidence.why.clone(),
            adopt: false,
            reason: None,
            evidence: found.evidence.note.clone(),
        };
        let id = evidence_id(&hold);
        let (why, source) = (hold.why.clone(), hold.source.clone());
        let of = origin.clone();
        let is_held = self.edit(witness, move |registry| {
            let change = registry.hold(&of, &hold, &id)?;
            let log = registry.log(&of);
            Ok((change, log.is_some_and(|log| log.hold.is_some())))
        });
        let is_held = is_held.await?;
        if is_held {
            tracing::error!(%origin, %why, %source, "the log is held");
            self.lock().remove(&origin.hash());
        }
        Ok(is_held)
    }

    async fn release(self: &Arc<Self>, witness: &Arc<Witness>, log: &Log) -> Result<(), Held> {
        let Some(hold) = log.hold.clone() else {
            return Ok(());
        };
        let origin = log.origin.clone();
        let released = self.edit(witness, move |registry| {
            match registry.resolve(&origin, &hold.evidence, Resolution::Release) {
                Ok(change) => Ok((change, ())),
                // Its operator was faster.
                Err(RegistryError::NotHeld { .. }) => Ok((Change::Nothing, ())),
                Err(error) => Err(error),
            }
        });
        released.await?;
        tracing::info!(origin = %log.origin, "the log is released");
        Ok(())
    }

    /// Changes the list of logs, with a line in the journal, and takes the change over.
    async fn edit<T: Send + 'static>(
        self: &Arc<Self>,
        witness: &Arc<Witness>,
        change: impl FnOnce(&mut Registry) -> Result<(Change, T), RegistryError> + Send + 'static,
    ) -> Result<T, Held> {
        let (this, witness) = (Arc::clone(self), Arc::clone(witness));
        let edited = tokio::task::spawn_blocking(move || {
            let journal = Journal::beside(&this.logs);
            let recorder = journal.by("restore guard", &*this.clock);
            let mut result = None;
            Registry::edit(&this.logs, &recorder, |registry| {
                let (changed, value) = change(registry)?;
                result = Some(value);
                Ok(changed)
            })?;
            if let Err(error) = witness.logs().reload() {
                tracing::error!(%error, "the changed list of logs was not read");
            }
            Ok::<_, RegistryError>(result)
        });
        let edited = edited.await.map_err(|_| Held::Panicked)??;
        edited.ok_or(Held::Panicked)
    }

    /// Whether this evidence was not yet tried to be adopted since the start.
    fn tries(&self, evidence: &str) -> bool {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        tried.insert(evidence.to_owned())
    }

    // A set that a panic left poisoned is whole.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<Hash>> {
        self.cleared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Asked {
    /// How many said something.
    answers: usize,
    evidence: Vec<Found>,
}

/// Evidence, and where it was.
struct Found {
    source: String,
    evidence: Evidence,
}

impl Found {
    /// What is worse is held for; of equals, the larger tree.
    fn is_less(&self, other: &Self) -> bool {
        let rank = |found: &Self| {
            let cause = match found.evidence.cause {
                HoldCause::Peer => 0,
                HoldCause::Ours => 1,
                HoldCause::Fork => 2,
            };
            (cause, found.evidence.head.size)
        };
        rank(self) < rank(other)
    }
}

/// What dismissed evidence is remembered by. Another witness signs its newest tree again and again;
/// what counts of it is the tree.
pub fn evidence_id(hold: &Hold) -> String {
    let text = match (
        hold.cause,
        SignedCheckpoint::parse(hold.evidence.as_bytes()),
    ) {
        (HoldCause::Peer, Ok(note)) => note.checkpoint().to_text(),
        _ => hold.evidence.clone(),
    };
    hex::encode(sha256(text.as_bytes()).as_bytes())
}

/// A checkpoint with the cosignatures of many witnesses is far below this.
const NOTE_BYTES_MAX: usize = 256 * 1024;

/// How long a request waits for a log that is held.
pub const RETRY_AFTER_SECONDS: u32 = 60;

impl Held {
    /// What is told of a hold.
    pub fn by(hold: &Hold) -> Self {
        let why = hold.why.clone();
        Self::Evidence { why }
    }
}

/// Why nothing is signed for a log. Its operator, or the witness's, has to act.
#[derive(Debug, thiserror::Error)]
pub enum Held {
    /// There is evidence against our memory, or against the log.
    #[error("this log is held until the operator of this witness decides: {why}")]
    Evidence {
        /// What was compared.
        why: String,
    },
    /// Too few of those who know were reached.
    #[error(
        "this witness has just started and has not yet heard from enough others about this log: \
         {answers} of {needed}"
    )]
    TooFewAnswers {
        /// How many answered.
        answers: usize,
        /// How many must.
        needed: usize,
    },
    /// Our own memory cannot be read.
    #[error("{0}")]
    State(#[from] ReadError),
    /// A bug of ours.
    #[error("the request made the witness panic")]
    Panicked,
    /// The hold cannot be written down; without it the log would be free after a restart.
    #[error("the list of logs cannot be changed: {0}")]
    List(#[from] RegistryError),
}
