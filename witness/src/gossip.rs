//! Gossip between witnesses: the shell around [`jurat_proto::gossip::node`], which decides.
//!
//! ```text
//!  commit thread ─► cosigned heads ─┐
//!  requests of others ──────────────┼─► one driver ─► node.step ─► disk, then peers, then replies
//!  answers of peers ────────────────┘      │
//!  stored heads, one after the other ──────┤
//!  add-checkpoint ◄── standings: free, held, convicted
//! ```
//!
//! One task drives the node, so that its actions are done in their order. What waits for a disk
//! runs in a thread; what waits for a peer is a task of its own, whose answer comes back as an
//! event. Who cosigns reads a table and waits for nobody (`standings`).
//!
//! A start puts back what was kept of logs and evidence, which is little, before anything is
//! answered. All logs, and then the newest cosigned head of each, come to the node after that; that
//! of a log to which something happens comes first (`stored`).
//!
//! In scope: the driver, the disk, asking peers. Out of scope: what follows from what (the node),
//! routes and statuses ([`crate::http`]).
//!
//! Rows: `spec/gossip.md` GSP-70 to GSP-110.

pub(crate) mod account;
mod alarms;
mod ask;
mod claims;
mod config;
mod distributor;
mod driver;
mod passive;
mod records;
mod standings;
mod statements;
mod stored;
mod tiles;
mod verify;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jurat_daemon::client::{Client, ClientOptions, ClientSetupError};
use jurat_daemon::clock::{Clock, ClockGuard};
use jurat_keys::random_serial;
use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::evidence::{Evidence, KeyRefused, Standing};
use jurat_proto::gossip::node::{
    Action, Alarm, Answer, AskId, Cosigning, Dice, Directory, Event, LogRecord, LogSettings,
    Moment, Node, Own, PeerSettings, Phase, Question, Reply, RequestId,
};
use jurat_proto::gossip::{Catalogue, Fetch, Notes, Opening, Random};
use jurat_proto::hash::{Hash, sha256};
use jurat_proto::key::{KeyName, UnixSeconds, VerifierKey};
use jurat_proto::proof::ConsistencyProof;
use jurat_proto::tree::{TreeHead, TreeSize};
use jurat_store::HeadSwap;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use self::account::Contacts;
use self::alarms::{Sinks, Told as ToldAlarm};
pub(crate) use self::claims::CLAIM_FIELD;
use self::claims::Claims;
pub use self::config::{GossipSettings, NotTaken};
pub(crate) use self::config::{NamedPeer, RawGossip, resolve};
use self::distributor::Distributor;
use self::records::{Kept, Records};
use self::standings::Standings;
pub(crate) use self::statements::PAGE_SECONDS;
use self::statements::Said;
use self::stored::Stored;
use self::verify::Fast;
use crate::evidence::EvidenceFolder;
use crate::heads::Told;
use crate::journal::peers::{PeerChange, PeersJournal};
use crate::log_list::LogList;
use crate::metrics::Metrics;

/// The gossip of a witness that runs.
pub struct Gossip {
    settings: GossipSettings,
    cosigners: Cosigners,
    node: Mutex<Node>,
    standings: Standings,
    dice: Mutex<Drawn>,
    records: Records,
    /// Heads that could not be written, by log: nobody is told of them.
    unstored: Mutex<BTreeMap<Origin, Option<Box<LogRecord>>>>,
    /// What is kept of logs that no list names.
    unlisted: Mutex<Vec<Kept>>,
    evidence: Arc<EvidenceFolder>,
    logs: Arc<LogList>,
    clock: Arc<dyn Clock>,
    guard: Arc<ClockGuard>,
    client: Client,
    inbox: mpsc::Sender<Event>,
    outbox: Mutex<Option<mpsc::Receiver<Event>>>,
    /// Who waits for a reply.
    waiting: Mutex<HashMap<RequestId, oneshot::Sender<Reply>>>,
    requests: AtomicU64,
    /// What was to be done before anybody could be asked.
    early: Mutex<Vec<Action>>,
    cosigned: Mutex<Cosigned>,
    found: Mutex<Found>,
    stored: Stored,
    said: Said,
    claims: Claims,
    contacts: Contacts,
    /// The alarms that are raised, for who must not wait for the node.
    raised: Mutex<BTreeSet<Alarm>>,
    /// Whether the node knows all logs and peers.
    ready: watch::Sender<bool>,
    /// A place for the one answer that is made, and for the one that is read: the threads are there
    /// for who cosigns.
    making: Arc<Semaphore>,
    reading: Arc<Semaphore>,
    lookups: Lookups,
    /// Whose turn it is of the mirrors.
    mirror_turn: AtomicUsize,
    wake: Notify,
    /// Who is brought what we cosigned.
    distributors: Vec<Arc<Distributor>>,
    /// What is told of those who do not gossip: the node knows nothing of them.
    troubles: Mutex<BTreeSet<String>>,
    sinks: Sinks,
    metrics: Metrics,
}

/// What goes wrong with somebody who does not gossip.
struct Trouble {
    told: ToldAlarm,
    since: Option<Instant>,
    raised: bool,
}

impl Trouble {
    fn new(kind: &'static str, about: String) -> Self {
        Self {
            told: ToldAlarm { kind, about },
            since: None,
            raised: false,
        }
    }
}

/// Cosigned heads that the node was not told of yet.
#[derive(Default)]
struct Cosigned {
    /// The newest of each log that was committed.
    heads: BTreeMap<Origin, (Vec<u8>, UnixSeconds)>,
    /// Those that were stored before the start. No page was made with others of their logs.
    stored: Vec<(Vec<u8>, UnixSeconds)>,
    /// When the earliest of `heads` was signed, with those that newer ones took the place of: no
    /// page has those either.
    since: Option<UnixSeconds>,
    /// When the earliest of those was signed that are being committed.
    committing: Option<UnixSeconds>,
    /// And of those that the node is being told of.
    telling: Option<UnixSeconds>,
}

impl Cosigned {
    /// A head is durable.
    fn takes(&mut self, origin: &Origin, note: Vec<u8>, time: UnixSeconds) {
        self.since = Some(self.since.map_or(time, |since| since.min(time)));
        self.heads.insert(origin.clone(), (note, time));
    }

    /// When the earliest of those was signed that a page would not have.
    fn earliest(&self) -> Option<UnixSeconds> {
        let on_their_way = [self.since, self.committing, self.telling];
        on_their_way.into_iter().flatten().min()
    }
}

/// Evidence that this process found, for the node to tell.
#[derive(Default)]
struct Found {
    waiting: VecDeque<Evidence>,
    /// There was more: all that is kept is looked at.
    more: bool,
}

impl Told for Gossip {
    fn committing(&self, earliest: Option<UnixSeconds>) {
        lock(&self.cosigned).committing = earliest;
    }

    fn durable(&self, swap: &HeadSwap) {
        self.offer(&swap.origin, &swap.new.note, false);
        let (note, time) = (swap.new.note.clone(), swap.new.time);
        lock(&self.cosigned).takes(&swap.origin, note, time);
        self.wake.notify_one();
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
    /// The keys with which it cosigns.
    pub cosigners: Vec<VerifierKey>,
    /// Those with which it did.
    pub former: Vec<VerifierKey>,
    /// The database, beside which it keeps things.
    pub database: &'p Path,
    /// Where evidence is kept.
    pub evidence: Arc<EvidenceFolder>,
    /// The logs.
    pub logs: Arc<LogList>,
    /// Whose times it signs.
    pub clock: Arc<ClockGuard>,
    /// What it counts.
    pub metrics: Metrics,
    /// How it asks: a client with [`client_options`].
    pub client: Client,
}

/// The bounds of what asks peers: an answer comes within half a round, or the peer is asked again
/// in a later one. Behind a partition a connection stays that leads nowhere, and what is asked on
/// it waits as long as it may.
// Spec: GSP-100
pub fn client_options(settings: &GossipSettings) -> ClientOptions {
    let answer = (settings.round() / 2).clamp(ANSWER_TIMEOUT_MIN, ANSWER_TIMEOUT);
    ClientOptions {
        request_timeout: answer,
        connect_timeout: answer / 3,
        ..ClientOptions::default()
    }
}

impl Gossip {
    /// Opens what was kept: what must not be cosigned is known when this returns. Nothing is asked
    /// or answered before [`Self::run`].
    ///
    /// # Errors
    /// [`GossipError`].
    // Spec: GSP-70, GSP-71
    pub fn open(parts: Parts<'_>) -> Result<Self, GossipError> {
        let Parts {
            settings,
            cosigners,
            former,
            database,
            evidence,
            logs,
            clock: guard,
            metrics,
            client,
        } = parts;
        let records = Records::beside(database)?;
        let (secret, said) = (records.secret(random)?, Said::open(&records)?);
        let mut dice = Drawn::new(random()?);
        let clock = Arc::clone(guard.clock());
        let now = moment(&*clock);
        let kept = records.read()?;
        let current = logs.current();
        // Only these have anything to be put back; the others come with the first turn.
        let mut origins = evidence.origins();
        origins.extend(kept.iter().map(|kept| kept.origin.clone()));
        let some = origins.iter().filter_map(|origin| current.log(origin));
        let cosigners = Cosigners { cosigners, former };
        let directory = directory(&settings, &cosigners, some);
        let node = Node::new(settings.node(secret), directory, random()?, now)?;
        let listed = |origin: &Origin| current.log(origin).is_some();
        let Restored {
            node,
            standings,
            early,
            unlisted,
        } = restore(node, &evidence, kept, listed, now, &mut dice);
        let (inbox, outbox) = mpsc::channel(INBOX);
        let sinks = Sinks::new(&settings, &client, &clock, &records, &metrics);
        Ok(Self {
            distributors: Distributor::all(settings.distributors()),
            troubles: Mutex::default(),
            contacts: Contacts::open(&records),
            claims: Claims::open(&records)?,
            standings: standings.holding(settings.hold_isolated),
            settings,
            cosigners,
            node: Mutex::new(node),
            dice: Mutex::new(dice),
            records,
            unstored: Mutex::default(),
            unlisted: Mutex::new(unlisted),
            evidence,
            logs,
            clock,
            guard,
            client,
            inbox,
            outbox: Mutex::new(Some(outbox)),
            waiting: Mutex::default(),
            requests: AtomicU64::new(0),
            early: Mutex::new(early),
            cosigned: Mutex::default(),
            found: Mutex::default(),
            stored: Stored::default(),
            said,
            raised: Mutex::default(),
            ready: watch::Sender::new(false),
            making: Arc::new(Semaphore::new(1)),
            reading: Arc::new(Semaphore::new(1)),
            lookups: Lookups::default(),
            mirror_turn: AtomicUsize::new(0),
            wake: Notify::new(),
            sinks,
            metrics,
        })
    }

    /// Has each distributor brought a head that is durable. Never waits.
    // Spec: GSP-108
    fn offer(&self, origin: &Origin, note: &[u8], stored: bool) {
        for distributor in &self.distributors {
            distributor.offer(origin, note, stored);
        }
    }

    /// Whether a log may be cosigned. Waits for nobody.
    // Spec: GSP-42, GSP-99
    pub(crate) fn cosigning(&self, origin: &Origin) -> Cosigning {
        self.standings.of(origin)
    }

    /// Whether nothing of any log is cosigned, since no peer is heard.
    // Spec: GSP-194, GSP-213
    pub(crate) fn holds_all(&self) -> bool {
        self.standings.hold_all()
    }

    async fn ask(self: Arc<Self>, peer: KeyName, ask: AskId, question: Question) {
        let answer = match self.settings.url(&peer) {
            Some(url) => {
                self.show_first(&peer, &url, &question).await;
                let answer = self.answer_of(&peer, &url, question).await;
                if !matches!(answer, Answer::Failed(_)) {
                    self.contacts.answered(&peer, self.clock.now().seconds());
                }
                answer
            }
            // It was taken out of the configuration.
            None => Answer::Nothing,
        };
        let event = Event::Answer { peer, ask, answer };
        // The driver has ended with the process.
        drop(self.inbox.send(event).await);
    }

    async fn read_tiles(self: Arc<Self>, old: TreeSize, note: Arc<SignedCheckpoint>) {
        let current = self.logs.current();
        let log = current.log(note.origin());
        let keys = log.map(|log| log.keys.clone()).unwrap_or_default();
        let places = self.tile_places(note.origin(), log.and_then(|log| log.url.as_deref()));
        let opened = tiles::open(&self.client, &places, (old, &note), &keys, ANSWER_TIMEOUT);
        let opening = opened.await;
        let event = Event::TilesRead {
            origin: note.origin().clone(),
            old,
            of: note.head(),
            opening: opening.map(Box::new),
        };
        drop(self.inbox.send(event).await);
    }

    /// Where the tiles of a log are read now: at the log, and then at two mirrors, in turn.
    // Spec: GSP-144
    fn tile_places(&self, origin: &Origin, url: Option<&str>) -> Vec<String> {
        let own = url.and_then(tiles::prefix).map(str::to_owned);
        let mirrors = self.settings.mirrors();
        let turn = self.mirror_turn.fetch_add(1, Ordering::Relaxed);
        let first = turn.checked_rem(mirrors.len()).unwrap_or(0);
        let in_turn = mirrors.iter().cycle().skip(first).take(mirrors.len());
        let hash = origin.hash_hex();
        let mirrors = in_turn.take(MIRRORS_AT_A_TIME);
        own.into_iter()
            .chain(mirrors.map(|mirror| format!("{mirror}/{hash}")))
            .collect()
    }

    /// Brings what a peer, or a stranger, sent, and waits for what becomes of it.
    ///
    /// # Errors
    /// [`NotNow`]: too much waits.
    // Spec: GSP-74, GSP-92
    pub(crate) async fn request(
        &self,
        from: Option<&KeyName>,
        event: impl FnOnce(RequestId) -> Event,
    ) -> Result<Reply, NotNow> {
        let request = RequestId(self.requests.fetch_add(1, Ordering::Relaxed));
        let (tell, told) = oneshot::channel();
        // Strangers leave room for peers.
        let (waiting_max, room_min) = match from {
            Some(_) => (WAITING_MAX, 0),
            None => (WAITING_MAX / 4 * 3, INBOX / 4),
        };
        {
            let mut waiting = lock(&self.waiting);
            if waiting.len() >= waiting_max || self.inbox.capacity() < room_min {
                return Err(NotNow);
            }
            waiting.insert(request, tell);
        }
        let waits = Waits {
            gossip: self,
            request,
        };
        self.inbox.try_send(event(request)).map_err(|_| NotNow)?;
        let reply = tokio::time::timeout(REPLY_TIMEOUT, told).await;
        drop(waits);
        reply.map_err(|_| NotNow)?.map_err(|_| NotNow)
    }

    /// Resolves when what is held can be shown.
    ///
    /// # Errors
    /// [`NotNow`]: the start takes long.
    // Spec: GSP-97
    pub(crate) async fn ready(&self) -> Result<(), NotNow> {
        let mut ready = self.ready.subscribe();
        let waited = tokio::time::timeout(REPLY_TIMEOUT, ready.wait_for(|ready| *ready)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            _ => Err(NotNow),
        }
    }

    /// Makes what somebody asked for that takes a thread for a while: for one at a time.
    ///
    /// # Errors
    /// [`NotNow`]: others have their turn for too long.
    // Spec: GSP-92
    pub(crate) async fn make<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotNow> {
        in_turn(&self.making, work).await
    }

    /// Looks something up in the node, for which it may have to wait while that does a step.
    ///
    /// # Errors
    /// [`NotNow`]: too many wait already.
    pub(crate) async fn look<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, NotNow> {
        let this = Arc::clone(self);
        self.lookups.take(move || work(&this)).await
    }

    /// A log sent a proof that it grew from a head. Never waits: without it others must show it.
    pub(crate) fn grown(&self, old: TreeHead, proof: &ConsistencyProof, note: &SignedCheckpoint) {
        if let Ok(opening) = Opening::new(old, proof.clone(), note.clone()) {
            drop(self.inbox.try_send(Event::ProofSeen(Box::new(opening))));
        }
    }

    /// What this process found itself. Never waits, and nothing of it is lost: whoever floods the
    /// inbox must not keep from peers what convicts him.
    // Spec: GSP-99
    pub(crate) fn found(&self, evidence: Evidence) {
        let mut found = lock(&self.found);
        if found.waiting.len() < FOUND_MAX {
            found.waiting.push_back(evidence);
        } else {
            // It is kept already.
            found.more = true;
        }
        drop(found);
        self.wake.notify_one();
    }

    /// Takes the peers of a configuration that was read again, once they are in the journal.
    ///
    /// # Errors
    /// [`NotTaken`]; nothing changed.
    // Spec: GSP-96, GSP-142
    pub(crate) fn take_peers(
        &self,
        new: &GossipSettings,
        journal: &PeersJournal,
    ) -> Result<Vec<PeerChange>, NotTaken> {
        let record = |peers: &_| journal.record("SIGHUP", peers, &*self.clock);
        let changes = self.settings.take_peers(new, record)?;
        if self.settings.differs_besides_peers(new) {
            tracing::warn!("what else is new in [gossip] takes a start");
        }
        self.wake.notify_one();
        Ok(changes)
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

    /// Something failed; it is an alarm when nothing went well for so long.
    // Spec: GSP-106, GSP-109
    fn failed(&self, trouble: &mut Trouble, silence: Duration) {
        let now = Instant::now();
        let since = *trouble.since.get_or_insert(now);
        if !trouble.raised && now.saturating_duration_since(since) >= silence {
            trouble.raised = true;
            self.tell_of(trouble);
        }
    }

    /// It went well.
    fn well(&self, trouble: &mut Trouble) {
        trouble.since = None;
        if std::mem::take(&mut trouble.raised) {
            self.tell_of(trouble);
        }
    }

    fn tell_of(&self, trouble: &Trouble) {
        let Trouble { told, raised, .. } = trouble;
        let mut troubles = lock(&self.troubles);
        if *raised {
            troubles.insert(told.about.clone());
        } else {
            troubles.remove(&told.about);
        }
        drop(troubles);
        self.metrics.alarm(told.kind, *raised);
        self.sinks.tell(told, *raised);
    }

    /// The alarms that are raised, for people, without those that the folder of evidence tells.
    // Spec: GSP-94
    pub(crate) fn alarms(&self, most: usize) -> Vec<String> {
        let elsewhere = |alarm: &&Alarm| matches!(alarm, Alarm::Proven { .. } | Alarm::NotStored);
        let unstored = !lock(&self.unstored).is_empty();
        let unstored = unstored.then(|| ToldAlarm::heads_not_stored().about);
        let raised = lock(&self.raised);
        let told = raised.iter().filter(|alarm| !elsewhere(alarm));
        let told = told.map(|alarm| ToldAlarm::of(alarm).about);
        let told: Vec<String> = unstored.into_iter().chain(told).collect();
        drop(raised);
        let troubles = lock(&self.troubles);
        let troubles = troubles.iter().cloned();
        told.into_iter().chain(troubles).take(most).collect()
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

/// Does what takes a thread for a while, when there is a place.
async fn in_turn<T: Send + 'static>(
    places: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NotNow> {
    let place = Arc::clone(places).acquire_owned();
    let place = tokio::time::timeout(REPLY_TIMEOUT, place).await;
    let place = place.map_err(|_| NotNow)?.map_err(|_| NotNow)?;
    let done = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(place);
        done
    });
    done.await.map_err(|_| NotNow)
}

/// Looking up what is there, which nobody counts. A thread does it, since the node may be busy, and
/// it has one place, since threads are there for who cosigns.
#[derive(Debug)]
struct Lookups {
    /// Those who wait, and the one that has its turn.
    places: Semaphore,
    turn: Arc<Semaphore>,
}

impl Default for Lookups {
    fn default() -> Self {
        Self {
            places: Semaphore::new(LOOKUPS_MAX),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Lookups {
    // Spec: GSP-130
    async fn take<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotNow> {
        let _place = self.places.try_acquire().map_err(|_| NotNow)?;
        in_turn(&self.turn, work).await
    }
}

/// A request that waits for a reply: who hangs up leaves no place taken.
struct Waits<'g> {
    gossip: &'g Gossip,
    request: RequestId,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        lock(&self.gossip.waiting).remove(&self.request);
    }
}

/// A cosigned head, for the node.
fn head_event(note: &[u8], time: UnixSeconds) -> Option<Event> {
    let note = SignedCheckpoint::parse(note).ok()?;
    Some(Event::HeadCosigned {
        note,
        time,
        grown_from: None,
    })
}

/// A node that was given what was kept.
struct Restored {
    node: Node,
    standings: Standings,
    early: Vec<Action>,
    unlisted: Vec<Kept>,
}

/// Gives a node what was kept; what must not be cosigned is in the table then.
// Spec: GSP-46
fn restore(
    mut node: Node,
    proven: &EvidenceFolder,
    kept: Vec<Kept>,
    listed: impl Fn(&Origin) -> bool,
    now: Moment,
    dice: &mut dyn Dice,
) -> Restored {
    let standings = Standings::default();
    let mut early = Vec::new();
    proven.each(|evidence| {
        let actions = node.restore_evidence(&evidence, now, dice, &Fast);
        standings.obey(&actions);
        // What it stops, the folder has stopped already.
        let is_alarm = |action: &Action| matches!(action, Action::Alarm { .. });
        early.extend(actions.into_iter().filter(is_alarm));
    });
    let mut unlisted = Vec::new();
    for kept in kept {
        if listed(&kept.origin) {
            early.extend(put_back(&mut node, &standings, kept, now));
        } else {
            standings.set(&kept.origin, held_by(&kept.record));
            unlisted.push(kept);
        }
    }
    Restored {
        node,
        standings,
        early,
        unlisted,
    }
}

/// Puts back what was kept of a log that the node knows; gives the alarms that stand.
// Spec: GSP-46, GSP-86
fn put_back(node: &mut Node, standings: &Standings, kept: Kept, now: Moment) -> Vec<Action> {
    let mut actions = node.restore_log(kept.record, now);
    standings.set(&kept.origin, node.cosigning(&kept.origin));
    actions.retain(|action| matches!(action, Action::Alarm { .. }));
    actions
}

/// Of a log that no list names: whether it would be held, if one did. When one does, it is signed
/// for before the node has heard of it.
// Spec: GSP-46
fn held_by(record: &LogRecord) -> Cosigning {
    let is_suspect = |phase| matches!(phase, Phase::Suspect | Phase::Unprovable);
    let suspect = record.open.iter().find(|open| is_suspect(open.phase));
    match suspect {
        Some(open) => Cosigning::Held {
            suspect: open.note.head(),
        },
        None => Cosigning::Free,
    }
}

/// The keys with which a witness cosigns, and did.
#[derive(Debug)]
struct Cosigners {
    cosigners: Vec<VerifierKey>,
    former: Vec<VerifierKey>,
}

/// The node's own keys are those with which we sign: their conviction stops it. What this witness
/// had before is convicted as a peer's keys are, and stops nothing: it was replaced, perhaps for
/// that. A node takes nobody of its own name for somebody to ask.
// Spec: GSP-134
fn directory<'l>(
    settings: &GossipSettings,
    own: &Cosigners,
    logs: impl Iterator<Item = &'l jurat_store::registry::Log>,
) -> Directory {
    let Cosigners { cosigners, former } = own;
    let name = settings.vkey().name();
    let gossip = std::iter::once(settings.vkey()).chain(&settings.former_keys);
    let ever = PeerSettings {
        name: name.clone(),
        gossip: gossip.cloned().collect(),
        cosigners: cosigners.iter().chain(former).cloned().collect(),
        operator: String::new(),
        asked: false,
    };
    let peers = settings.peers();
    let peers = peers.iter().map(|peer| peer.settings.clone());
    Directory {
        own: Own {
            name: name.clone(),
            cosigners: cosigners.clone(),
            gossip: vec![settings.vkey().clone()],
        },
        logs: logs.map(|log| settings_of(log, settings)).collect(),
        peers: peers.chain([ever]).collect(),
    }
}

// Spec: GSP-95, GSP-144
fn settings_of(log: &jurat_store::registry::Log, settings: &GossipSettings) -> LogSettings {
    let with = |keys: &[VerifierKey], standing| {
        let keys = keys.iter().cloned();
        keys.map(move |key| (key, standing)).collect::<Vec<_>>()
    };
    let mut keys = with(&log.keys, Standing::Current);
    keys.extend(with(&log.retired, Standing::Retired));
    let pruned_below = log.pruned_below;
    let pruned_below = pruned_below.and_then(|size| TreeSize::new(size.get()));
    let cadence = log.cadence_s;
    LogSettings {
        origin: log.origin.clone(),
        keys,
        hold: log.suspect_holds.unwrap_or(settings.hold),
        tiles: !settings.mirrors().is_empty()
            || log
                .url
                .as_deref()
                .is_some_and(|url| tiles::prefix(url).is_some()),
        pruned_below: pruned_below.unwrap_or(TreeSize::ZERO),
        cadence: cadence.map(|seconds| Duration::from_secs(seconds.get().into())),
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
/// Lookups that wait for their turn, each of which takes microseconds once the node is free.
const LOOKUPS_MAX: usize = 256;
/// How long one waits: some writes of a disk that is not well.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);
/// From the question to the last byte of the answer, at most.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// That long in the shortest round, too: a peer that is busy needs a moment.
const ANSWER_TIMEOUT_MIN: Duration = Duration::from_secs(3);
/// How many mirrors are asked in one reading.
const MIRRORS_AT_A_TIME: usize = 2;
/// Evidence that waits to be told; of more, what is kept is looked at.
const FOUND_MAX: usize = 64;
/// How long ago what is committed, and what a page does not have yet, was signed at most, in
/// seconds. Ten would convict us.
// Spec: EVI-15
pub(crate) const SIGNED_AGO_MAX: u64 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: GSP-130
    #[tokio::test]
    async fn who_looks_something_up_holds_up_nobody_while_the_node_is_busy() {
        let (lookups, node) = (Arc::new(Lookups::default()), Arc::new(Mutex::new(7)));
        let look = || {
            let (lookups, node) = (Arc::clone(&lookups), Arc::clone(&node));
            tokio::spawn(async move { lookups.take(move || *lock(&node)).await })
        };
        let (busy, free) = (Arc::clone(&node), oneshot::channel::<()>());
        let (holds, held) = oneshot::channel();
        let step = std::thread::spawn(move || {
            let held = lock(&busy);
            holds.send(()).unwrap();
            drop(free.1.blocking_recv());
            drop(held);
        });
        held.await.unwrap();
        let waiting: Vec<_> = (0..LOOKUPS_MAX).map(|_| look()).collect();
        // This thread is the only one that drives tasks: it goes on.
        while lookups.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(look().await.unwrap(), Err(NotNow), "there is a bound");
        free.0.send(()).unwrap();
        for looked in waiting {
            assert_eq!(looked.await.unwrap(), Ok(7));
        }
        step.join().unwrap();
    }

    // Spec: GSP-75, EVI-15
    #[test]
    fn a_newer_head_does_not_hide_when_the_one_before_it_was_signed() {
        let time = |seconds| UnixSeconds::new(seconds).unwrap();
        let origin = Origin::parse("log.example/a").unwrap();
        let mut cosigned = Cosigned::default();
        assert_eq!(cosigned.earliest(), None);
        for seconds in [100, 106] {
            cosigned.takes(&origin, Vec::new(), time(seconds));
        }
        assert_eq!(cosigned.heads.len(), 1);
        assert_eq!(cosigned.earliest(), Some(time(100)));
        cosigned.telling = cosigned.since.take();
        cosigned.takes(&origin, Vec::new(), time(107));
        assert_eq!(cosigned.earliest(), Some(time(100)));
        cosigned.telling = None;
        assert_eq!(cosigned.earliest(), Some(time(107)));
    }
}
