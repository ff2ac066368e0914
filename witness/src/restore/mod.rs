//! The restore guard: is our memory as new as what others have seen of us?
//!
//! A witness is worth what its memory is worth, and no witness sees by itself that its machine was
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
//! that we remember with another root, whoever shows it. That others are *ahead*, another witness
//! or the log itself, counts only before we signed anything since the start, because logs ask
//! witnesses one after the other. After an outage every log is ahead, so this alone does not say
//! that our memory is old; but nothing that a log submits says that it is not: who wants us to
//! forget 9 would lead us from 5 to the 8 of another witness first. What says it is our own newest
//! checkpoint, kept where it was published, or the operator.
//!
//! Sources that do not answer hold nothing, unless `answers_min` says how many must have answered.
//!
//! What the state says of itself (`own`) needs nobody: while it says that it is a copy, a log is
//! free only when our own newest checkpoint confirms what is remembered, or the operator does.
//!
//! Rows: `spec/witness.md` WIT-80 to WIT-94, WIT-106, WIT-107.

mod adopt;
mod config;
pub mod copied;
mod holds;
pub(crate) mod imported;
mod judge;
pub(crate) mod own;
mod sweep;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jurat_daemon::client::{Client, ClientOptions, ClientRequest, ClientSetupError};
use jurat_daemon::clock::Clock;
use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::hash::{Hash, sha256};
use jurat_proto::hex;
use jurat_proto::key::VerifierKey;
use jurat_proto::proof::ConsistencyProof;
use jurat_proto::tree::{TreeHead, TreeSize};
use jurat_store::FoundCopy;
use jurat_store::registry::{Change, Hold, HoldCause, Log, Registry, RegistryError, Resolution};
use tokio::task::JoinSet;

pub use self::adopt::adopt;
pub use self::config::{Ahead, Moved, RawRestoreGuard, RestoreGuard};
pub use self::holds::{Holds, keep};
pub use self::judge::{Evidence, Finding, Keys, Unusable, judge};
pub(crate) use self::judge::{Lag, judge_both, judge_import, judge_reference};
pub use self::own::{Look, OwnState, OwnStateError};
pub use self::sweep::sweep;
use crate::cosign::Witness;
use crate::heads::ReadError;
use crate::journal::{self, Journal};
use crate::metrics::{GuardAnswer, Metrics};
use crate::quota::Places;

/// Two trees of one size that the log signed are evidence, whatever is wrong with our memory.
// Spec: WIT-120
pub(crate) async fn keep_fork(witness: &Arc<Witness>, found: &Found) {
    let shown = SignedCheckpoint::parse(found.evidence.note.as_bytes());
    if let (HoldCause::Fork, Ok(shown)) = (found.evidence.cause, shown) {
        let none = ConsistencyProof::default();
        witness.look_for_evidence(shown, none).await;
    }
}

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

    /// Whether its answer is one of those that `answers_min` asks for: a log knows only of itself.
    fn counts(&self) -> bool {
        !matches!(self, Self::Log(_))
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
    /// The logs that were asked about since the start, by their places.
    cleared: Mutex<HashSet<u64>>,
    places: Places,
    /// In seconds since 1970.
    started: u64,
    /// Where our checkpoints are published, as was seen since the start: a place that shows none
    /// may be no such place.
    publishes: Mutex<HashSet<String>>,
    /// When it was tried last to adopt what the operator wants to be.
    tried: Mutex<HashMap<Origin, Instant>>,
    /// What the state says of itself.
    own_state: Option<Arc<OwnState>>,
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
            places: Places::default(),
            publishes: Mutex::default(),
            tried: Mutex::default(),
            own_state: None,
        })
    }

    /// Also believes what the state says of itself.
    #[must_use]
    pub fn with_own_state(mut self, own_state: Arc<OwnState>) -> Self {
        self.own_state = Some(own_state);
        self
    }

    /// What the state says of itself.
    pub(crate) fn own_state(&self) -> Option<&Arc<OwnState>> {
        self.own_state.as_ref()
    }

    /// That the state is a copy, until its operator has decided.
    pub(crate) fn copy(&self) -> Option<FoundCopy> {
        self.own_state.as_ref()?.found()
    }

    /// Why nothing is signed for a log about which nobody can be asked, while the state is a copy.
    // Spec: WIT-91
    pub(crate) fn held_as_copy(&self, log: &Log) -> Option<Held> {
        let copy = self.copy()?;
        let free =
            self.asks_about(log) || decided_since(log, copy.since) || self.was_cleared(&log.origin);
        (!free).then_some(Held::Copy { why: copy.why })
    }

    /// Whether a log was asked about since the start, or there was nobody to ask when its first
    /// request came: who is named later is not asked before a first signature any more.
    pub fn is_cleared(&self, log: &Log, origin: &Hash) -> bool {
        let copy = self.copy().is_some();
        let mut cleared = lock(&self.cleared);
        let place = self.places.of(origin);
        let known = cleared.contains(&place);
        if known || copy || self.asks_about(log) {
            return known;
        }
        cleared.insert(place)
    }

    fn was_cleared(&self, origin: &Origin) -> bool {
        lock(&self.cleared).contains(&self.places.of(&origin.hash()))
    }

    /// Tells the operator when nobody but logs that show their own checkpoints is asked: a default
    /// that is quiet about it would be taken for a guard.
    // Spec: WIT-88
    pub fn warn_if_off(&self) {
        let sources = self.settings.sources();
        self.metrics.guard_sources(sources);
        if sources == 0 {
            tracing::warn!(
                "[restore_guard] names nobody to ask: files that are put back show it, but when \
                 the whole machine is, only logs that have a url do, and all others can be \
                 signed for twice"
            );
        }
    }

    fn asks_about(&self, log: &Log) -> bool {
        !self.settings.is_off() || log.url.is_some()
    }

    /// Between two logs in the background.
    fn pause(&self) -> Duration {
        Duration::from_secs(1) / self.settings.logs_per_second
    }

    /// Asks about a log before the first signature for it since the start.
    ///
    /// # Errors
    /// [`Held`]: nothing may be signed for it.
    // Spec: WIT-82, WIT-83, WIT-84
    pub async fn clear(
        self: &Arc<Self>,
        witness: &Arc<Witness>,
        origin: &Origin,
    ) -> Result<(), Held> {
        let Some(log) = witness.logs().current().log(origin).cloned() else {
            return Ok(());
        };
        let asked = self.ask(witness, &log, Moment::BeforeTheFirst).await?;
        // Another request for it may have been faster, and have been signed.
        let ahead_counts = self.settings.ahead == Ahead::Hold
            && !asked.confirmed
            && !self.was_decided(&log)
            && !self.was_cleared(origin);
        if !ahead_counts && let Some(found) = asked.ahead() {
            let why = &found.evidence.why;
            tracing::warn!(%origin, %why, "others are ahead; this holds nothing");
        }
        let counts = |cause| cause != HoldCause::Peer || ahead_counts;
        if let Some(held) = self.settle(witness, &log, asked.evidence, counts).await {
            return Err(held);
        }
        // Spec: WIT-92
        if let Some(copy) = self.copy().filter(|copy| !decided_since(&log, copy.since))
            && !asked.confirmed
            && !self.was_cleared(origin)
        {
            return Err(Held::Copy { why: copy.why });
        }
        if asked.answers < self.settings.answers_min {
            return Err(Held::TooFewAnswers {
                answers: asked.answers,
                needed: self.settings.answers_min,
            });
        }
        lock(&self.cleared).insert(self.places.of(&origin.hash()));
        Ok(())
    }

    /// The operator took what we published for the latest: a copy of the state is as new.
    fn adopted(&self, origin: &Origin) {
        lock(&self.cleared).insert(self.places.of(&origin.hash()));
    }

    /// Whether the operator decided since the start that others may be ahead. What is put aside is
    /// one tree of theirs, and they go on.
    fn was_decided(&self, log: &Log) -> bool {
        log.dismissed
            .iter()
            .any(|dismissed| dismissed.at >= self.started && dismissed.evidence.starts_with(AHEAD))
    }

    /// Holds a log for the worst of the evidence that counts and was not put aside.
    // Spec: WIT-83
    async fn settle(
        self: &Arc<Self>,
        witness: &Arc<Witness>,
        log: &Log,
        mut evidence: Vec<Found>,
        counts: impl Fn(HoldCause) -> bool,
    ) -> Option<Held> {
        evidence.sort_by_key(|found| std::cmp::Reverse(found.rank()));
        for found in evidence {
            if !counts(found.evidence.cause) {
                continue;
            }
            if let Some(held) = self.hold(witness, &log.origin, &found).await {
                return Some(held);
            }
        }
        None
    }

    /// Asks all sources about a log, and judges what they show.
    async fn ask(
        &self,
        witness: &Arc<Witness>,
        log: &Log,
        moment: Moment,
    ) -> Result<Asked, ReadError> {
        let own = self.settings.own.iter().cloned().map(Source::Own);
        let all = moment != Moment::Held;
        let others = self.settings.peers.iter().filter(|_| all);
        let others = others.map(|(prefix, keys)| Source::Peer(prefix.clone(), Arc::clone(keys)));
        let itself = log.url.iter().filter(|_| all).cloned().map(Source::Log);
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
            let answer = match answer {
                Err(reason) => {
                    let url = source.url(&log.origin);
                    tracing::warn!(%url, origin = %log.origin, %reason, "no answer about a log");
                    GuardAnswer::Unreachable
                }
                Ok(None) => self.judge_nothing(witness, log, &source, &mut asked)?,
                Ok(Some(note)) => self.judge(witness, log, &source, &note, &mut asked)?,
            };
            self.metrics.guard_answer(source.kind(), answer);
        }
        Ok(asked)
    }

    /// Looks at a place that has nothing of a log.
    // Spec: WIT-82, WIT-84
    fn judge_nothing(
        &self,
        witness: &Arc<Witness>,
        log: &Log,
        source: &Source,
        asked: &mut Asked,
    ) -> Result<GuardAnswer, ReadError> {
        let latest = witness.heads().latest(&log.origin)?;
        if let Source::Own(prefix) = source {
            if latest.is_some() {
                let url = source.url(&log.origin);
                let reason = "what we cosigned is not there; is this where it is published?";
                tracing::warn!(%url, origin = %log.origin, reason, "this says nothing of a log");
                return Ok(GuardAnswer::Unusable);
            }
            asked.confirmed |= lock(&self.publishes).contains(prefix);
        }
        asked.answers += usize::from(source.counts());
        Ok(GuardAnswer::Known)
    }

    fn judge(
        &self,
        witness: &Arc<Witness>,
        log: &Log,
        source: &Source,
        note: &[u8],
        asked: &mut Asked,
    ) -> Result<GuardAnswer, ReadError> {
        // What others show may be from before a key was retired.
        let log_keys = log.every_key();
        let keys = Keys {
            log: &log_keys,
            own: witness.every_key(),
            peer: match source {
                Source::Peer(_, keys) => Some(keys),
                Source::Own(_) | Source::Log(_) => None,
            },
        };
        // Spec: WIT-81. After the fetch: what we sign meanwhile is no evidence.
        let latest = witness.heads().latest(&log.origin)?;
        let floors = witness.floors(&log.origin);
        let ours = floors
            .as_ref()
            .map_or_else(Vec::new, imported::Floors::cosigned);
        let known = floors.map_or_else(Vec::new, |floors| floors.known(latest));
        let url = source.url(&log.origin);
        let judged = judge_both(note, &log.origin, keys, latest, (&known, &ours));
        asked.answers += usize::from(judged.is_ok() && source.counts());
        let evidence = match judged {
            Err(reason) => {
                tracing::warn!(%url, origin = %log.origin, %reason, "this says nothing of a log");
                return Ok(GuardAnswer::Unusable);
            }
            Ok(Finding::Same) => {
                if let Source::Own(prefix) = source {
                    lock(&self.publishes).insert(prefix.clone());
                    asked.confirmed = true;
                }
                return Ok(GuardAnswer::Known);
            }
            Ok(Finding::Known) => return Ok(GuardAnswer::Known),
            Ok(Finding::New) => return Ok(GuardAnswer::Ahead),
            Ok(Finding::Evidence(evidence)) => evidence,
        };
        let answer = match evidence.cause {
            HoldCause::Ours => GuardAnswer::Ours,
            HoldCause::Fork => GuardAnswer::Fork,
            // Nobody shows what is imported: it comes from a file.
            HoldCause::Imported | HoldCause::Peer => {
                let known = latest.map_or(0, |latest| latest.head.size.get());
                let ahead = evidence.head.size.get().saturating_sub(known);
                asked.lag.add(source, ahead);
                GuardAnswer::Ahead
            }
        };
        asked.evidence.push(Found {
            source: url,
            evidence: *evidence,
        });
        Ok(answer)
    }

    /// Holds a log, in memory before anything else and then durably; why it is held now. Nothing
    /// when its operator has put this evidence aside.
    // Spec: WIT-83
    pub(crate) async fn hold(
        self: &Arc<Self>,
        witness: &Arc<Witness>,
        origin: &Origin,
        found: &Found,
    ) -> Option<Held> {
        let held = self.hold_now(witness, origin, found).await;
        // It is in force before anything waits for a disk.
        keep_fork(witness, found).await;
        held
    }

    async fn hold_now(
        self: &Arc<Self>,
        witness: &Arc<Witness>,
        origin: &Origin,
        found: &Found,
    ) -> Option<Held> {
        // Spec: GSP-188. What else keeps it from being signed for ends by itself; this does not.
        if let Some(held) = witness.undecided(origin) {
            return Some(held);
        }
        let hold = found.hold(self.clock.now().seconds());
        let id = evidence_id(&hold);
        let current = witness.logs().current();
        let mut dismissed = current.log(origin)?.dismissed.iter();
        if dismissed.any(|dismissed| dismissed.evidence == id) {
            return None;
        }
        let (why, source) = (&hold.why, &hold.source);
        tracing::error!(%origin, %why, %source, "the log is held");
        witness.holds().begin(origin, hold.clone());
        lock(&self.cleared).remove(&self.places.of(&origin.hash()));
        self.write(witness, origin, hold).await;
        witness.held(origin)
    }

    /// Makes a hold durable that is in force already.
    // Spec: WIT-83
    async fn write(self: &Arc<Self>, witness: &Arc<Witness>, origin: &Origin, hold: Hold) {
        let (id, of) = (evidence_id(&hold), origin.clone());
        let written = self.edit(witness, move |registry| {
            let change = registry.hold(&of, &hold, &id)?;
            let log = registry.log(&of);
            Ok((change, log.is_some_and(Log::awaits_decision)))
        });
        let written = written.await;
        let current = witness.logs().current();
        let Some(reason) = only_in_memory(&written, current.log(origin)) else {
            return witness.holds().end(origin);
        };
        tracing::error!(%origin, %reason, "the hold is not durable; it is tried again");
        witness.holds().failed(origin, reason);
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
            let recorder = journal.by(journal::GUARD, &*this.clock);
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

    /// Whether to try to adopt for this log: at first, and again some time after a failure.
    fn tries(&self, origin: &Origin) -> bool {
        let now = self.clock.instant();
        let mut tried = lock(&self.tried);
        let waits = tried
            .get(origin)
            .is_some_and(|&last| now.saturating_duration_since(last) < ADOPT_EVERY);
        if !waits {
            tried.insert(origin.clone(), now);
        }
        !waits
    }
}

/// Why a hold has to stay in memory: what became of writing it (whether the list has a hold that is
/// to be decided then), and the log as the list that is in use has it.
// Spec: WIT-83
fn only_in_memory(written: &Result<bool, Held>, listed: Option<&Log>) -> Option<String> {
    match written {
        Err(error) => Some(error.to_string()),
        // Spec: GSP-188. One of an imported head is not the one that was written.
        Ok(true) if !listed.is_some_and(Log::awaits_decision) => {
            Some("the list of logs cannot be read again".to_owned())
        }
        // It is there; or the operator has put this evidence aside meanwhile.
        Ok(_) => None,
    }
}

/// Whether the operator decided on a log since the state was found to be a copy.
fn decided_since(log: &Log, since: u64) -> bool {
    log.dismissed.iter().any(|dismissed| dismissed.at >= since)
}

// What a panic left poisoned is whole: each change here is one step.
fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// When a log is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Before the first signature since the start.
    BeforeTheFirst,
    /// In the background.
    Running,
    /// It is held because others are ahead: only what we published can let it go.
    Held,
}

#[derive(Default)]
struct Asked {
    /// How many of those whom the configuration names said something.
    answers: usize,
    /// Whether what we published last is what we remember.
    confirmed: bool,
    /// How far ahead others are.
    lag: Lag,
    evidence: Vec<Found>,
}

impl Asked {
    fn ahead(&self) -> Option<&Found> {
        let mut found = self.evidence.iter();
        found.find(|found| found.evidence.cause == HoldCause::Peer)
    }
}

/// Evidence, and where it was.
pub(crate) struct Found {
    pub(crate) source: String,
    pub(crate) evidence: Evidence,
}

impl Found {
    /// What is worse is held for; of equals, the larger tree.
    pub(crate) fn rank(&self) -> (u8, TreeSize) {
        let cause = match self.evidence.cause {
            HoldCause::Imported | HoldCause::Peer => 0,
            HoldCause::Ours => 1,
            HoldCause::Fork => 2,
        };
        (cause, self.evidence.head.size)
    }

    /// A hold for it, from now on.
    pub(crate) fn hold(&self, now: u64) -> Hold {
        Hold {
            cause: self.evidence.cause,
            since: now,
            source: self.source.clone(),
            why: self.evidence.why.clone(),
            adopt: false,
            reason: None,
            evidence: self.evidence.note.clone(),
            below: None,
        }
    }
}

/// What dismissed evidence is remembered by: its cause, the text of the checkpoint and, if we
/// cosigned it, when. The signatures of logs and of other witnesses, who sign the same tree again
/// and again, are no part of it.
///
/// It needs no key, so that a hold can be put aside where none can be read: evidence that we
/// cosigned ends with our line ([`judge`]), and that begins with the time.
pub fn evidence_id(hold: &Hold) -> String {
    let cause = match hold.cause {
        HoldCause::Ours => "ours-",
        HoldCause::Peer => AHEAD,
        HoldCause::Fork => "fork-",
        HoldCause::Imported => "imported-",
    };
    let mut bytes = hold.evidence.clone().into_bytes();
    if let Ok(note) = SignedCheckpoint::parse(&bytes) {
        bytes = note.checkpoint().to_text().into_bytes();
        let last = note
            .signatures()
            .last()
            .filter(|_| hold.cause == HoldCause::Ours);
        bytes.extend(
            last.and_then(|line| line.signature().get(..TIME_BYTES))
                .unwrap_or_default(),
        );
    }
    format!("{cause}{}", hex::encode(sha256(&bytes).as_bytes()))
}

/// How the id of evidence begins that others are ahead.
const AHEAD: &str = "ahead-";

/// Of the time in a cosignature of type 0x04 or 0x06, before all else in it.
const TIME_BYTES: usize = 8;

/// Between two attempts to adopt what cannot be adopted yet.
const ADOPT_EVERY: Duration = Duration::from_secs(10);

/// A checkpoint with the cosignatures of many witnesses is far below this.
const NOTE_BYTES_MAX: usize = 256 * 1024;

/// How long a request waits for a log that is held.
pub const RETRY_AFTER_SECONDS: u32 = 60;

impl Held {
    /// What is told of a hold.
    pub fn by(hold: &Hold) -> Self {
        let why = hold.why.clone();
        match hold.cause {
            HoldCause::Imported => Self::Imported { why },
            HoldCause::Ours | HoldCause::Peer | HoldCause::Fork => Self::Evidence { why },
        }
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
    /// What was imported is not reached yet.
    #[error("this log is held until it proves that it continues what was imported: {why}")]
    Imported {
        /// What was imported.
        why: String,
    },
    /// The state says of itself that it is a copy.
    #[error(
        "this log is held until the operator of this witness decides: the state of this witness \
         is not where it was, or not what it was: {why}"
    )]
    Copy {
        /// What gave it away.
        why: String,
    },
    // Spec: GSP-78
    /// Others showed a head that the log signed and that nobody can join to ours.
    #[error(
        "this log is held: it signed root {} at size {} as well, and nobody has shown that this \
         is one history; post the opening, or serve the tiles",
        .head.root_hash,
        .head.size.get()
    )]
    Suspect {
        /// The head.
        head: TreeHead,
    },
    // Spec: GSP-194
    /// Gossip reaches nobody, and the operator wants nothing to be signed then.
    #[error(
        "this witness has not heard from other witnesses for so long that it signs nothing until \
         it does"
    )]
    Isolated,
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

#[cfg(test)]
mod tests {
    use jurat_store::registry::LogState;

    use super::*;

    fn hold(cause: HoldCause, below: Option<Hold>) -> Hold {
        Hold {
            cause,
            since: 1,
            source: "s".to_owned(),
            why: "w".to_owned(),
            adopt: false,
            reason: None,
            evidence: format!("{cause:?}"),
            below: below.map(Box::new),
        }
    }

    // Spec: WIT-83, GSP-188
    #[test]
    fn a_hold_leaves_the_memory_only_for_a_list_in_use_that_has_what_is_to_be_decided() {
        use HoldCause::{Fork, Imported, Ours};
        let listed = |hold| {
            let origin = Origin::parse("example.com/log").unwrap();
            let mut log = Log::new(origin, Vec::new(), LogState::Active);
            log.hold = Option::map(hold, Box::new);
            log
        };
        let imported = || hold(Imported, None);
        let above = hold(Ours, Some(imported()));
        for (log, stays) in [
            (listed(None), true),
            (listed(Some(imported())), true),
            (listed(Some(hold(Imported, Some(imported())))), true),
            (listed(Some(above)), false),
            (listed(Some(hold(Fork, None))), false),
        ] {
            let reason = only_in_memory(&Ok(true), Some(&log));
            assert_eq!(reason.is_some(), stays, "{log:?}");
            // Put aside meanwhile, so that the list has nothing new.
            assert_eq!(only_in_memory(&Ok(false), Some(&log)), None);
            let failed = only_in_memory(&Err(Held::Panicked), Some(&log));
            assert_eq!(failed, Some(Held::Panicked.to_string()));
        }
        assert!(only_in_memory(&Ok(true), None).is_some());
    }
}
