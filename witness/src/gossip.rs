//! Gossip between witnesses: the shell around [`jurat_proto::gossip::node`], which decides.
//!
//! ```text
//!  commit thread ─► cosigned heads ─┐
//!  requests of others ──────────────┼─► one driver ─► node.step ─► disk, then peers, then replies
//!  answers of peers ────────────────┘      │
//!  add-checkpoint ── may it be cosigned? ──┘ (asks the node itself)
//! ```
//!
//! One task drives the node, so that its actions are done in their order. What waits for a disk
//! runs in a thread; what waits for a peer is a task of its own, whose answer comes back as an
//! event.
//!
//! In scope: the driver, the disk, asking peers. Out of scope: what follows from what (the node),
//! routes and statuses ([`crate::http`]).
//!
//! Rows: `spec/gossip.md` GSP-70 to GSP-81.

mod alarms;
mod ask;
mod config;
mod passive;
mod records;
mod tiles;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jurat_daemon::client::{Client, ClientOptions, ClientSetupError};
use jurat_daemon::clock::Clock;
use jurat_keys::random_serial;
use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::cosignature::sign_note;
use jurat_proto::evidence::{Evidence, KeyRefused, Standing};
use jurat_proto::gossip::node::{
    Action, Alarm, Answer, AskId, Cosigning, Dice, Directory, Event, LogSettings, Moment, Node,
    Own, Question, Reply, RequestId, Strict,
};
use jurat_proto::gossip::{
    Catalogue, Feed, Fetch, Notes, Opening, Random, SignedStatement, Statement,
};
use jurat_proto::hash::{Hash, sha256};
use jurat_proto::key::{KeyName, UnixSeconds, VerifierKey};
use jurat_proto::note::Note;
use jurat_proto::proof::ConsistencyProof;
use jurat_proto::tree::{TreeHead, TreeSize};
use jurat_store::HeadSwap;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

use self::alarms::Sinks;
pub use self::config::GossipSettings;
pub(crate) use self::config::{RawGossip, resolve};
use self::records::Records;
use crate::evidence::{EvidenceFolder, Outcome};
use crate::heads::{Heads, Told};
use crate::log_list::{LogList, Logs};
use crate::metrics::Metrics;

/// The gossip of a witness that runs.
pub struct Gossip {
    settings: GossipSettings,
    cosigners: Vec<VerifierKey>,
    node: Mutex<Node>,
    dice: Mutex<Drawn>,
    records: Records,
    evidence: Arc<EvidenceFolder>,
    logs: Arc<LogList>,
    clock: Arc<dyn Clock>,
    client: Client,
    inbox: mpsc::Sender<Event>,
    outbox: Mutex<Option<mpsc::Receiver<Event>>>,
    /// Who waits for a reply.
    waiting: Mutex<HashMap<RequestId, oneshot::Sender<Reply>>>,
    requests: AtomicU64,
    /// What was to be done before anybody could be asked.
    early: Mutex<Vec<Action>>,
    /// The newest cosigned head of each log that the node was not told of yet.
    cosigned: Mutex<Cosigned>,
    wake: Notify,
    sinks: Sinks,
    metrics: Metrics,
}

#[derive(Default)]
struct Cosigned {
    heads: BTreeMap<Origin, (Vec<u8>, UnixSeconds)>,
    /// When the earliest of those was signed that are being committed, or that the node is being
    /// told of.
    earliest: [Option<UnixSeconds>; 2],
}

impl Told for Gossip {
    fn committing(&self, earliest: Option<UnixSeconds>) {
        let [committing, _] = &mut lock(&self.cosigned).earliest;
        *committing = earliest;
    }

    fn durable(&self, swap: &HeadSwap) {
        self.cosigned(&swap.origin, swap.new.note.clone(), swap.new.time);
    }
}

/// Why gossip did not start. The operator or the machine is at fault.
#[derive(Debug, thiserror::Error)]
pub enum GossipError {
    /// Its folder cannot be made or read.
    #[error("the folder of gossip: {0}")]
    Io(#[from] io::Error),
    /// No client can be made.
    #[error("gossip cannot ask: {0}")]
    Client(#[from] ClientSetupError),
    /// A key is of another type than its use has.
    #[error("{0}")]
    Key(#[from] KeyRefused),
}

/// What a witness is made of, as far as it gossips.
pub struct Parts<'p> {
    /// With whom, and how.
    pub settings: GossipSettings,
    /// The keys with which it cosigns, and did.
    pub cosigners: Vec<VerifierKey>,
    /// The database, beside which it keeps things.
    pub database: &'p Path,
    /// Where evidence is kept.
    pub evidence: Arc<EvidenceFolder>,
    /// The logs.
    pub logs: Arc<LogList>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// What it counts.
    pub metrics: Metrics,
}

impl Gossip {
    /// Opens what was kept. Nothing is asked or answered before [`Self::run`].
    ///
    /// # Errors
    /// [`GossipError`].
    // Spec: GSP-70, GSP-71
    pub fn open(parts: Parts<'_>) -> Result<Self, GossipError> {
        let Parts {
            settings,
            cosigners,
            database,
            evidence,
            logs,
            clock,
            metrics,
        } = parts;
        let records = Records::beside(database)?;
        let secret = records.secret(random)?;
        let mut dice = Drawn::new(random()?);
        let now = moment(&*clock);
        let config = settings.node(secret);
        let current = logs.current();
        let directory = directory(&settings, &cosigners, &current);
        let epoch = random()?;
        let mut node = Node::new(config, directory, epoch, now)?;
        let mut early = Vec::new();
        for record in records.read()? {
            early.extend(node.restore_log(record, now));
        }
        for kept in evidence.all() {
            let actions = node.restore_evidence(&kept, now, &mut dice, &Strict);
            // What it stops, the folder has stopped already.
            let is_alarm = |action: &Action| matches!(action, Action::Alarm { .. });
            early.extend(actions.into_iter().filter(is_alarm));
        }
        let client = Client::new(ClientOptions {
            request_timeout: ANSWER_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            ..ClientOptions::default()
        })?;
        let (inbox, outbox) = mpsc::channel(INBOX);
        let sinks = Sinks::new(&settings, client.clone());
        Ok(Self {
            settings,
            cosigners,
            node: Mutex::new(node),
            dice: Mutex::new(dice),
            records,
            evidence,
            logs,
            clock,
            client,
            inbox,
            outbox: Mutex::new(Some(outbox)),
            waiting: Mutex::default(),
            requests: AtomicU64::new(0),
            early: Mutex::new(early),
            cosigned: Mutex::default(),
            wake: Notify::new(),
            sinks,
            metrics,
        })
    }

    /// Tells the node of the heads that are stored, before anything is served.
    // Spec: GSP-71
    pub fn take_heads(&self, heads: &Heads) {
        let current = self.logs.current();
        for log in current.logs() {
            // In this order: what was read and verified for the note is remembered for the other.
            if let Ok(Some(note)) = heads.note(&log.origin)
                && let Ok(Some(latest)) = heads.latest(&log.origin)
            {
                self.cosigned(&log.origin, note.to_vec(), latest.time);
            }
        }
        for event in self.newest_cosigned() {
            let rest = self.settle(self.step(event));
            lock(&self.early).extend(rest);
        }
        let [_, telling] = &mut lock(&self.cosigned).earliest;
        *telling = None;
    }

    /// A head is durable. Never waits.
    pub(crate) fn cosigned(&self, origin: &Origin, note: Vec<u8>, time: UnixSeconds) {
        let mut cosigned = lock(&self.cosigned);
        cosigned.heads.insert(origin.clone(), (note, time));
        drop(cosigned);
        self.wake.notify_one();
    }

    fn newest_cosigned(&self) -> Vec<Event> {
        let heads = {
            let mut cosigned = lock(&self.cosigned);
            let heads = std::mem::take(&mut cosigned.heads);
            let [_, telling] = &mut cosigned.earliest;
            *telling = heads.values().map(|(_, time)| *time).min();
            heads
        };
        let events = heads.into_values().filter_map(|(note, time)| {
            let note = SignedCheckpoint::parse(&note).ok()?;
            Some(Event::HeadCosigned {
                note,
                time,
                grown_from: None,
            })
        });
        events.collect()
    }

    /// Whether a log may be cosigned.
    pub(crate) fn cosigning(&self, origin: &Origin) -> Cosigning {
        lock(&self.node).cosigning(origin)
    }

    /// Drives the node, for ever.
    // Spec: GSP-72
    pub async fn run(self: Arc<Self>) {
        let Some(mut outbox) = lock(&self.outbox).take() else {
            return;
        };
        let mut asked: JoinSet<()> = JoinSet::new();
        let mut seen = self.logs.current();
        let early = std::mem::take(&mut *lock(&self.early));
        for action in self.settle(early) {
            self.begin(action, &mut asked);
        }
        loop {
            let mut events: Vec<Event> = tokio::select! {
                event = outbox.recv() => event.into_iter().collect(),
                () = self.wake.notified() => Vec::new(),
                () = tokio::time::sleep(self.tick()) => vec![Event::Tick],
            };
            while asked.try_join_next().is_some() {}
            let current = self.logs.current();
            if !Arc::ptr_eq(&current, &seen) {
                seen = current;
                let directory = directory(&self.settings, &self.cosigners, &seen);
                events.push(Event::DirectoryChanged(Box::new(directory)));
            }
            events.extend(self.newest_cosigned());
            let this = Arc::clone(&self);
            let done = tokio::task::spawn_blocking(move || {
                let mut rest = Vec::new();
                for event in events {
                    let actions = this.step(event);
                    rest.extend(this.settle(actions));
                }
                rest
            });
            let done = done.await;
            let [_, telling] = &mut lock(&self.cosigned).earliest;
            *telling = None;
            let Ok(rest) = done else {
                tracing::error!("gossip failed, and goes on");
                continue;
            };
            for action in rest {
                self.begin(action, &mut asked);
            }
        }
    }

    /// Begins what waits for others.
    fn begin(self: &Arc<Self>, action: Action, asked: &mut JoinSet<()>) {
        match action {
            Action::Ask {
                peer,
                ask,
                question,
            } => drop(asked.spawn(Arc::clone(self).ask(peer, ask, question))),
            Action::ReadTiles { old, note } => {
                drop(asked.spawn(Arc::clone(self).read_tiles(old, note)));
            }
            Action::Alarm { alarm, raised } => {
                self.metrics.alarm(alarms::kind(&alarm), raised);
                self.sinks.tell(&alarm, raised);
            }
            // Done before.
            _ => {}
        }
    }

    /// Often enough for rounds of a drill, and seldom enough to cost nothing.
    fn tick(&self) -> Duration {
        (self.settings.round() / 4).clamp(TICK_MIN, TICK_MAX)
    }

    fn step(&self, event: Event) -> Vec<Action> {
        let now = moment(&*self.clock);
        let mut dice = lock(&self.dice);
        lock(&self.node).step(event, now, &mut *dice, &Strict)
    }

    /// Does what waits for the disk, in order, and answers; the rest is for who can wait for peers.
    // Spec: GSP-73
    fn settle(&self, actions: Vec<Action>) -> Vec<Action> {
        let mut rest = Vec::new();
        let mut todo: std::collections::VecDeque<Action> = actions.into();
        while let Some(action) = todo.pop_front() {
            match action {
                Action::StoreLog { origin, record } => {
                    if let Err(error) = self.records.store(&origin, record.as_deref()) {
                        tracing::error!(%origin, %error, "heads of gossip are not durable");
                    }
                }
                Action::StoreEvidence { evidence, verdict } => {
                    let id = verdict.id;
                    let stored = match self.evidence.keep_told(&evidence) {
                        Some((_, Outcome::NotWritten)) | None => Event::EvidenceNotStored { id },
                        Some(_) => Event::EvidenceStored { id },
                    };
                    todo.extend(self.step(stored));
                }
                Action::Reply { request, reply } => {
                    if let Some(waits) = lock(&self.waiting).remove(&request) {
                        // Who hung up needs no reply.
                        drop(waits.send(reply));
                    }
                }
                Action::Hold { origin, suspect } => {
                    let (size, root) = (suspect.size.get(), suspect.root_hash);
                    tracing::error!(%origin, size, %root, "held: nobody can join this head");
                }
                Action::Release { origin } => {
                    tracing::warn!(%origin, "gossip holds the log no more");
                }
                Action::Resolved {
                    origin,
                    head,
                    phase,
                } => {
                    let size = head.size.get();
                    tracing::info!(%origin, size, %phase, "a head was joined to the others");
                }
                Action::StopCosigning { origin, id } => {
                    self.evidence.stop_log(&origin, id);
                }
                Action::StopSigning { id } => {
                    let id = jurat_proto::hex::encode(id.as_bytes());
                    tracing::error!(%id, "evidence convicts a key of this witness");
                }
                Action::Publish(suspicion) => {
                    let origin = suspicion.origin;
                    tracing::error!(%origin, "told the public of a head that nobody can join");
                }
                other @ (Action::Ask { .. } | Action::ReadTiles { .. } | Action::Alarm { .. }) => {
                    rest.push(other);
                }
            }
        }
        rest
    }

    async fn ask(self: Arc<Self>, peer: KeyName, ask: AskId, question: Question) {
        let url = self.settings.url(&peer);
        let answer = match url {
            Some(url) => ask::ask(&self.client, url, &question).await,
            // It was taken out of the configuration.
            None => Answer::Nothing,
        };
        let event = Event::Answer { peer, ask, answer };
        // The driver has ended with the process.
        drop(self.inbox.send(event).await);
    }

    async fn read_tiles(self: Arc<Self>, old: TreeSize, note: Arc<SignedCheckpoint>) {
        let url = self
            .logs
            .current()
            .log(note.origin())
            .and_then(|log| log.url.clone());
        let opening = match url.as_deref().and_then(tiles::prefix) {
            Some(prefix) => {
                let read = tiles::open(&self.client, prefix, old, &note);
                tokio::time::timeout(ANSWER_TIMEOUT, read)
                    .await
                    .ok()
                    .flatten()
            }
            None => None,
        };
        let event = Event::TilesRead {
            origin: note.origin().clone(),
            old,
            of: note.head(),
            opening: opening.map(Box::new),
        };
        drop(self.inbox.send(event).await);
    }

    /// Brings what somebody sent, and waits for what becomes of it.
    ///
    /// # Errors
    /// [`NotNow`]: too much waits.
    // Spec: GSP-74
    pub(crate) async fn request(
        &self,
        event: impl FnOnce(RequestId) -> Event,
    ) -> Result<Reply, NotNow> {
        let request = RequestId(self.requests.fetch_add(1, Ordering::Relaxed));
        let (tell, told) = oneshot::channel();
        {
            let mut waiting = lock(&self.waiting);
            if waiting.len() >= WAITING_MAX {
                return Err(NotNow);
            }
            waiting.insert(request, tell);
        }
        if self.inbox.try_send(event(request)).is_err() {
            lock(&self.waiting).remove(&request);
            return Err(NotNow);
        }
        let reply = tokio::time::timeout(REPLY_TIMEOUT, told).await;
        lock(&self.waiting).remove(&request);
        reply.map_err(|_| NotNow)?.map_err(|_| NotNow)
    }

    /// A log sent a proof that it grew from a head. Never waits: without it others must show it.
    pub(crate) fn grown(&self, old: TreeHead, proof: &ConsistencyProof, note: &SignedCheckpoint) {
        if let Ok(opening) = Opening::new(old, proof.clone(), note.clone()) {
            drop(self.inbox.try_send(Event::ProofSeen(Box::new(opening))));
        }
    }

    /// What this process found itself.
    pub(crate) fn found(&self, evidence: Evidence) {
        let event = Event::EvidenceReceived {
            request: None,
            evidence: Box::new(evidence),
        };
        // It is kept already; what is not told now is told after the next start, or when it is
        // found in the folder.
        if self.inbox.try_send(event).is_err() {
            tracing::warn!("evidence waits to be told to peers");
        }
    }

    /// A signed state.
    ///
    /// # Errors
    /// [`NotNow`]: what was cosigned is not in it yet, or the key does not sign.
    // Spec: GSP-75
    pub(crate) fn state(&self, nonce: Option<Random>) -> Result<SignedStatement, NotNow> {
        self.is_current()?;
        let state = lock(&self.node).state(moment(&*self.clock), nonce);
        self.signed(Statement::State(state))
    }

    /// A signed page.
    ///
    /// # Errors
    /// As for [`Self::state`].
    // Spec: GSP-75
    pub(crate) fn feed(&self, epoch: Option<Random>, since: u64) -> Result<Feed, NotNow> {
        self.is_current()?;
        let (page, rows) = lock(&self.node).page(epoch, since, PAGE_ROWS, moment(&*self.clock));
        let signed = self.signed(Statement::Page(page))?;
        Feed::new(rows, signed).map_err(|_| NotNow)
    }

    /// A page that does not have what we cosigned ten seconds ago would convict us.
    // Spec: EVI-15
    fn is_current(&self) -> Result<(), NotNow> {
        let cosigned = lock(&self.cosigned);
        let waiting = cosigned.heads.values().map(|(_, time)| *time);
        let earliest = waiting.chain(cosigned.earliest.into_iter().flatten()).min();
        drop(cosigned);
        let now = self.clock.now().seconds();
        let late = earliest.is_some_and(|at| now.saturating_sub(at.get()) >= SIGNED_AGO_MAX);
        if late || self.evidence.convicts_us().is_some() {
            return Err(NotNow);
        }
        Ok(())
    }

    fn signed(&self, statement: Statement) -> Result<SignedStatement, NotNow> {
        let line = sign_note(&statement.to_text(), &*self.settings.key).map_err(|_| NotNow)?;
        SignedStatement::new(statement, vec![line]).map_err(|_| NotNow)
    }

    pub(crate) fn notes(&self, fetch: &Fetch) -> Notes {
        lock(&self.node).notes(fetch)
    }

    pub(crate) fn opening(&self, origin: &Hash, old: TreeSize, size: TreeSize) -> Option<Opening> {
        lock(&self.node).opening(origin, old, size).cloned()
    }

    pub(crate) fn catalogue(&self, since: u64) -> Catalogue {
        lock(&self.node).catalogue(since)
    }

    pub(crate) fn evidence(&self, id: &Hash) -> Option<Arc<Evidence>> {
        lock(&self.node).evidence(id).cloned()
    }

    /// Signed suspicions, each with the two notes that it is about.
    // Spec: GSP-43
    pub(crate) fn suspicions(&self) -> Vec<u8> {
        let said = lock(&self.node).suspicions(moment(&*self.clock));
        let mut bytes = Vec::new();
        for (suspicion, notes) in said {
            let text = suspicion.to_text();
            let signed = sign_note(&text, &*self.settings.key)
                .ok()
                .and_then(|line| Note::new(text, vec![line]).ok());
            let Some(signed) = signed else { continue };
            if !bytes.is_empty() {
                bytes.push(b'\n');
            }
            bytes.extend(signed.to_bytes());
            for note in notes {
                bytes.push(b'\n');
                bytes.extend(note.to_bytes());
            }
        }
        bytes
    }

    /// The largest head of a log that enough operators hold identically.
    // Spec: GSP-53
    pub(crate) fn confirmed(&self, origin: &Origin) -> Option<(TreeHead, UnixSeconds)> {
        let (head, since) = lock(&self.node).confirmed(origin)?;
        Some((head, since.seconds()))
    }

    /// The same, of the log whose origin has this hash.
    pub(crate) fn confirmed_of(&self, hash: &Hash) -> Option<Confirmed> {
        let logs = self.logs.current();
        let origin = logs.origin(hash)?;
        let (head, since) = self.confirmed(origin)?;
        Some(Confirmed {
            origin: origin.to_string(),
            size: head.size.get(),
            root_hash: head.root_hash.to_base64(),
            since: since.get(),
        })
    }

    /// The alarms that are raised, for people, without those that the folder of evidence tells.
    pub(crate) fn alarms(&self, most: usize) -> Vec<String> {
        let node = lock(&self.node);
        let elsewhere = |alarm: &&Alarm| matches!(alarm, Alarm::Proven { .. } | Alarm::NotStored);
        let told = node
            .alarms()
            .filter(|alarm| !elsewhere(alarm))
            .map(alarms::told);
        told.take(most).collect()
    }

    /// The key with which it gossips.
    pub fn vkey(&self) -> &VerifierKey {
        self.settings.vkey()
    }
}

impl fmt::Debug for Gossip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gossip").finish_non_exhaustive()
    }
}

/// A head that enough operators hold identically, for programs.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Confirmed {
    origin: String,
    size: u64,
    root_hash: String,
    since: u64,
}

/// Too much waits, or what would be said is not true yet. Nobody is at fault; later it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotNow;

fn directory(settings: &GossipSettings, cosigners: &[VerifierKey], logs: &Logs) -> Directory {
    let gossip = std::iter::once(settings.vkey()).chain(&settings.former_keys);
    Directory {
        own: Own {
            name: settings.vkey().name().clone(),
            cosigners: cosigners.to_vec(),
            gossip: gossip.cloned().collect(),
        },
        logs: logs
            .logs()
            .map(|log| settings_of(log, settings.hold))
            .collect(),
        peers: settings
            .peers
            .iter()
            .map(|peer| peer.settings.clone())
            .collect(),
    }
}

fn settings_of(log: &jurat_store::registry::Log, hold: bool) -> LogSettings {
    let with = |keys: &[VerifierKey], standing| {
        let keys = keys.iter().cloned();
        keys.map(move |key| (key, standing)).collect::<Vec<_>>()
    };
    let mut keys = with(&log.keys, Standing::Current);
    keys.extend(with(&log.retired, Standing::Retired));
    LogSettings {
        origin: log.origin.clone(),
        keys,
        hold,
        tiles: log
            .url
            .as_deref()
            .is_some_and(|url| tiles::prefix(url).is_some()),
        pruned_below: TreeSize::ZERO,
        cadence: None,
        stop_on_empty: log.empty_stops,
    }
}

fn moment(clock: &dyn Clock) -> Moment {
    Moment(clock.now().millis())
}

fn random() -> io::Result<Random> {
    let random = random_serial().map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Random(random))
}

/// Chance that follows from what was drawn once, and that nobody else can foretell.
struct Drawn {
    seed: [u8; 16],
    count: u64,
}

impl Drawn {
    fn new(seed: Random) -> Self {
        Self {
            seed: seed.0,
            count: 0,
        }
    }
}

impl Dice for Drawn {
    fn roll(&mut self) -> u64 {
        self.count = self.count.wrapping_add(1);
        let hash = sha256(&[&self.seed[..], &self.count.to_be_bytes()].concat());
        let first = hash.as_bytes().first_chunk().copied();
        first.map_or(0, u64::from_be_bytes)
    }
}

// What a panic left poisoned is whole: each change here is one step.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Events that wait for the driver.
const INBOX: usize = 1_024;
/// Requests that wait for a reply.
const WAITING_MAX: usize = 256;
/// How long one waits: some writes of a disk that is not well.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);
/// From the question to the last byte of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TICK_MIN: Duration = Duration::from_millis(20);
const TICK_MAX: Duration = Duration::from_secs(1);
/// Rows of a page, so that a page is below a megabyte.
const PAGE_ROWS: usize = 8_192;
/// How long ago what is committed, and what a page does not have yet, was signed at most, in
/// seconds. Ten would convict us.
// Spec: EVI-15
pub(crate) const SIGNED_AGO_MAX: u64 = 7;
