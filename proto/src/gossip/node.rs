//! The gossip of a witness as a state machine: events and the time in, actions out. No sockets, no
//! clock, no disk, no randomness of its own: a shell brings them, and so does a simulation.
//!
//! ```text
//!  own witness: HeadCosigned ─┐                        ┌─► Hold, Release, StopCosigning
//!  peers:       Answer ───────┤                        ├─► Ask (one at a time of a peer)
//!  log's tiles: TilesRead ────┼──► Node::step ─────────┼─► ReadTiles
//!  anyone:      Challenge… ───┤    (event, now, dice)  ├─► StoreLog, StoreEvidence
//!  disk:        EvidenceStored┘                        └─► Reply, Publish, Alarm
//! ```
//!
//! # How a shell drives it
//!
//! 1. Make a [`Node`] with a fresh random epoch: what peers read of an earlier process's journal is
//!    void, so nothing of it has to be durable. Give it what was stored ([`Node::restore_log`],
//!    [`Node::restore_evidence`]; do what they return) and the newest cosigned heads
//!    ([`Event::HeadCosigned`]) *before* the first request is served and before the witness cosigns
//!    anything: a hold outlives a crash only so. The same for a log that
//!    [`Event::DirectoryChanged`] brings: nothing was kept of it.
//! 2. Call [`Node::step`] with each event, one at a time, and do the actions in their order. An
//!    [`Action::StoreLog`] is durable before the next action begins, so that nobody is told
//!    "pending" of a head that a crash would forget. [`Action::StoreEvidence`] is different: go on,
//!    and bring [`Event::EvidenceStored`] when it is durable; only then does the node mail it and
//!    tell who submitted it.
//! 3. Bring [`Event::Tick`] every second or so.
//! 4. Serve what others ask with the methods that take `&self`: [`Node::state`], [`Node::page`],
//!    [`Node::notes`], [`Node::opening`], [`Node::catalogue`], [`Node::suspicions`]. What has to
//!    be signed is signed with the gossip key outside. A page is made from the node between two
//!    steps, and its rows and its statement belong together.
//! 5. Before each cosignature ask [`Node::cosigning`], in the same critical section in which
//!    actions are done: a hold that is decided is obeyed by the next request. Tell the node of a
//!    cosigned head when it is durable and before the head is served anywhere else, at most 10 s
//!    after the time in the cosignature (EVI-15), or pages hide what was cosigned. Cosignatures and
//!    pages take their times from one clock, and nothing is cosigned with a time before that of a
//!    page that was served.
//!
//! Budgets of bytes, connections and anonymous requests are the shell's; the bounds on what is kept
//! are here ([`Config`]).
//!
//! Rows: `spec/gossip.md` GSP-20 to GSP-60, GSP-82 to GSP-88, GSP-101.

use alloc::boxed::Box;
use alloc::collections::btree_map::{BTreeMap, Entry};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::checkpoint::{Origin, SignedCheckpoint};
use crate::evidence::{Evidence, KeyRefused, KnownKeys, NotProven, Verdict};
use crate::gossip::{Opening, OriginId, Random, SignedStatement};
use crate::hash::Hash;
use crate::key::{KeyName, UnixSeconds, VerifierKey};
use crate::note::SignatureLine;
use crate::proof::ConsistencyProof;
use crate::tree::{TreeHead, TreeSize};

mod company;
mod cosigners;
mod directory;
mod exchange;
mod fingerprint;
mod lifecycle;
mod log;
mod message;
mod peer;
mod proven;
mod record;
mod resolve;
mod serve;

pub use self::company::PeerStanding;
pub use self::directory::{Config, Directory, LogSettings, Own, PeerSettings, Roster};
pub use self::message::{
    Action, Alarm, Answer, AskId, Dice, Event, Failure, Moment, Phase, Question, Reply, RequestId,
};
pub use self::record::{LogRecord, OpenRecord, RecordError};
pub use self::serve::Cosigning;

use self::log::{Held, Log, Open, Place, ReadFrom, Recent};
use self::peer::Peer;
use self::proven::Kept;

/// How signatures are checked. The methods that are given do it; a simulation remembers answers.
pub trait Verifier {
    /// Whether a line under a checkpoint is by this key.
    fn checkpoint(&self, key: &VerifierKey, note: &SignedCheckpoint, line: &SignatureLine) -> bool {
        key.matches(line) && key.verify_signed(note, line.signature()).is_ok()
    }

    /// Whether a line under a statement of gossip is by this key.
    fn statement(&self, key: &VerifierKey, said: &SignedStatement, line: &SignatureLine) -> bool {
        let text = said.note().text();
        key.matches(line) && key.verify_note(text, line.signature()).is_ok()
    }

    /// Whom evidence convicts, and its smallest file.
    ///
    /// # Errors
    /// [`NotProven`] when it convicts nobody.
    fn evidence(
        &self,
        evidence: &Evidence,
        keys: &KnownKeys,
    ) -> Result<(Evidence, Verdict), NotProven> {
        evidence.minimised(keys)
    }
}

/// Checks every signature each time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Strict;

impl Verifier for Strict {}

/// The gossip of one witness.
#[derive(Clone, Debug)]
pub struct Node {
    config: Config,
    own: Own,
    roster: Arc<Roster>,
    /// Those of which anything was ever held.
    logs: BTreeMap<Hash, Log>,
    /// The logs that have heads which are not resolved.
    unsettled: BTreeSet<Hash>,
    /// Which logs' tiles are being read: at which size which head is opened, and since when.
    reading: BTreeMap<Hash, (TreeSize, TreeHead, Moment)>,
    /// The logs whose tiles are to be read when there is room; each once.
    to_read: VecDeque<Hash>,
    /// Those that were ever asked anything.
    peers: BTreeMap<KeyName, Peer>,
    journal: Journal,
    evidence: BTreeMap<Hash, Kept>,
    /// The ids of stored evidence, in the order of the list.
    listed: BTreeMap<u64, Hash>,
    alarms: BTreeSet<Alarm>,
    /// The evidence that convicts a key of this witness.
    stopped: Option<Hash>,
    round_at: Moment,
    /// When a peer's feed is read from its beginning again.
    reread_at: Moment,
    last_ask: u64,
    /// When any peer answered last.
    heard: Moment,
    /// What the clock showed last.
    wall: Moment,
    /// The sum of what the clock went forward, in short steps: what every wait is measured in. A
    /// clock that is set back stops no round, and one that is set forward makes nobody suspect.
    steady: Moment,
}

/// What changed, in order: one place for each log, that of its last change. Logs of one id have one
/// place between them.
#[derive(Clone, Debug)]
struct Journal {
    epoch: Random,
    seq: u64,
    changed: BTreeMap<u64, OriginId>,
}

/// What one step works with.
struct Step<'s> {
    /// For waits.
    now: Moment,
    /// For what is told.
    wall: Moment,
    dice: &'s mut dyn Dice,
    verifier: &'s dyn Verifier,
    actions: Vec<Action>,
    replies: Vec<Action>,
    /// The logs whose heads changed.
    dirty: BTreeSet<Hash>,
}

impl Node {
    /// A node that holds nothing yet.
    ///
    /// # Errors
    /// [`KeyRefused`] when a key in the directory is not of a type that its use has.
    pub fn new(
        config: Config,
        directory: Directory,
        epoch: Random,
        now: Moment,
    ) -> Result<Self, KeyRefused> {
        let own = directory.own.clone();
        let roster = Arc::new(Roster::new(directory)?);
        Ok(Self::with_roster(config, own, roster, epoch, now))
    }

    /// As [`Node::new`], with a roster that other nodes may have as well.
    pub fn with_roster(
        config: Config,
        own: Own,
        roster: Arc<Roster>,
        epoch: Random,
        now: Moment,
    ) -> Self {
        let config_reread = config.reread_every;
        Self {
            config,
            own,
            roster,
            logs: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            reading: BTreeMap::new(),
            to_read: VecDeque::new(),
            peers: BTreeMap::new(),
            journal: Journal {
                epoch,
                seq: 0,
                changed: BTreeMap::new(),
            },
            evidence: BTreeMap::new(),
            listed: BTreeMap::new(),
            alarms: BTreeSet::new(),
            stopped: None,
            round_at: now,
            reread_at: now.after(config_reread),
            last_ask: 0,
            heard: now,
            wall: now,
            steady: now,
        }
    }

    /// Puts back what was stored for a log. Heads that the directory knows no log of are left
    /// alone, and stay stored: put them back when [`Event::DirectoryChanged`] brought the log, or
    /// the next [`Action::StoreLog`] replaces them.
    ///
    /// Returns what stands already: the hold of a suspect head, and the alarm about it. Nobody
    /// would be told before something else happens to the log, which may be never.
    // Spec: GSP-46, GSP-86
    #[must_use]
    pub fn restore_log(&mut self, record: LogRecord, now: Moment) -> Vec<Action> {
        let LogRecord { top, open } = record;
        let notes = top.iter().map(|(note, _)| note);
        let mut notes = notes.chain(open.iter().map(|open| &open.note));
        let Some(key) = notes.next().map(|note| note.origin().hash()) else {
            return Vec::new();
        };
        let (ring, offer) = (self.config.ring, self.config.offer);
        let steady = self.steady;
        let Some(log) = self.log_mut(&key) else {
            return Vec::new();
        };
        // Spec: GSP-32. It was proven against the own head of its time, and not against one that
        // this node was told before.
        let is_proven = log.reference().is_none();
        if let Some((note, seen)) = top {
            let recent = Recent {
                head: note.head(),
                time: seen.seconds(),
                own: false,
                note: Some(note.clone()),
            };
            if is_proven {
                log.remember(recent, ring, offer);
                log.top = Some(Held {
                    note,
                    seen,
                    sources: Vec::new(),
                });
            } else if log.standing(&note.head()) == Place::Unknown {
                let retired = !log.is_signed_by_current(&note);
                let mut open = Open::new(note, seen, (steady, now));
                open.retired = retired;
                log.open.push(open);
            }
        }
        for open in open {
            if log.standing(&open.note.head()) == Place::Unknown {
                let retired = !log.is_signed_by_current(&open.note);
                log.open.push(Open::restored(open, (steady, now), retired));
            }
        }
        log.stored = log.record();
        self.refresh(&key);
        self.restored(&key)
    }

    /// What a hold that was put back says of itself.
    fn restored(&mut self, key: &Hash) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(log) = self.logs.get_mut(key) else {
            return actions;
        };
        let origin = origin_of(log);
        let suspect = log.suspect();
        if suspect != log.held {
            log.held = suspect;
            let origin = origin.clone();
            actions.extend(suspect.map(|suspect| Action::Hold { origin, suspect }));
        }
        let is_suspect = log.open.iter().any(Open::is_suspect) && !log.is_convicted();
        let alarm = Alarm::Suspect { origin };
        if is_suspect && self.alarms.insert(alarm.clone()) {
            let raised = true;
            actions.push(Action::Alarm { alarm, raised });
        }
        actions
    }

    /// Takes an event, and says what to do about it.
    pub fn step(
        &mut self,
        event: Event,
        now: Moment,
        dice: &mut dyn Dice,
        verifier: &dyn Verifier,
    ) -> Vec<Action> {
        // Spec: GSP-56
        self.steady = self.steady.after(now.since(self.wall).min(STEP_MAX));
        self.wall = now;
        let steady = self.steady;
        let mut step = Step {
            now: steady,
            wall: now,
            dice,
            verifier,
            actions: Vec::new(),
            replies: Vec::new(),
            dirty: BTreeSet::new(),
        };
        match event {
            Event::Tick => self.tick(&mut step),
            Event::HeadCosigned {
                note,
                time,
                grown_from,
            } => self.cosigned(&mut step, note, time, grown_from),
            Event::ProofSeen(opening) => self.apply(&mut step, &opening, None),
            Event::DirectoryChanged(directory) => self.change_directory(&mut step, *directory),
            Event::Answer { peer, ask, answer } => self.answered(&mut step, &peer, ask, answer),
            Event::TilesRead {
                origin,
                old,
                of,
                opening,
            } => {
                self.tiles_read(
                    &mut step,
                    &origin,
                    (old, of),
                    opening.map(|opening| *opening),
                );
            }
            Event::ChallengeReceived {
                request,
                from,
                note,
            } => self.challenged(&mut step, request, from.as_ref(), &note),
            Event::Observed { request, note } => self.observed(&mut step, request, &note),
            Event::EvidenceReceived { request, evidence } => {
                self.submitted(&mut step, request, &evidence);
            }
            Event::EvidenceStored { id } => self.stored(&mut step, &id),
            Event::EvidenceNotStored { id } => self.not_stored(&mut step, &id),
        }
        let (now, replies) = (step.now, core::mem::take(&mut step.replies));
        let mut actions = self.conclude(step);
        self.pump(now, &mut actions);
        actions.extend(replies);
        actions
    }

    /// What was decided, in the order in which it must be done: stored, held, then told.
    fn conclude(&mut self, mut step: Step<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        for key in core::mem::take(&mut step.dirty) {
            self.refresh(&key);
            let Some(log) = self.logs.get_mut(&key) else {
                continue;
            };
            let origin = log.settings.origin.clone();
            let record = log.record();
            if record != log.stored {
                log.stored.clone_from(&record);
                let record = record.map(Box::new);
                let origin = origin.clone();
                actions.push(Action::StoreLog { origin, record });
            }
            let suspect = log.suspect();
            if suspect != log.held {
                log.held = suspect;
                let origin = origin.clone();
                match suspect {
                    Some(suspect) => actions.push(Action::Hold { origin, suspect }),
                    // A conviction ends a hold, and releases nothing.
                    None if log.is_convicted() => {}
                    None => actions.push(Action::Release { origin }),
                }
            }
            let is_suspect = log.open.iter().any(Open::is_suspect) && !log.is_convicted();
            self.alarm(&mut step, Alarm::Suspect { origin }, is_suspect);
        }
        actions.append(&mut step.actions);
        actions
    }

    /// Asks each peer that can be asked what comes next for it.
    fn pump(&mut self, now: Moment, actions: &mut Vec<Action>) {
        for (name, peer) in &mut self.peers {
            if !peer.is_ready(now) {
                continue;
            }
            let Some(question) = peer.next_question(now) else {
                continue;
            };
            self.last_ask = self.last_ask.saturating_add(1);
            let ask = AskId(self.last_ask);
            peer.busy = Some((ask, question.clone(), now));
            actions.push(Action::Ask {
                peer: name.clone(),
                ask,
                question,
            });
        }
    }

    /// Brings rows and journal up to what is held of a log.
    // Spec: GSP-03, GSP-30
    fn refresh(&mut self, key: &Hash) {
        let Some(log) = self.logs.get_mut(key) else {
            return;
        };
        if log.open.is_empty() {
            self.unsettled.remove(key);
        } else {
            self.unsettled.insert(*key);
        }
        let offers = log.offers(self.config.offer, self.config.round);
        if offers == log.offered {
            return;
        }
        log.offered = offers;
        log.leaf = log.offers_leaf();
        let id = log.id;
        self.journal.seq = self.journal.seq.saturating_add(1);
        let seq = self.journal.seq;
        let logs = self.logs.range_mut(first_hash(id)..);
        for (_, log) in logs.take_while(|(_, log)| log.id == id) {
            self.journal.changed.remove(&log.changed);
            log.changed = seq;
        }
        self.journal.changed.insert(seq, id);
    }

    /// Every log of the directory that an id may stand for: 64 bits can be made to collide.
    fn keys_of(&self, id: OriginId) -> Vec<Hash> {
        self.roster.keys_of(id)
    }

    /// What is held of a log whose keys are known; its place, when that is nothing yet.
    fn log_mut(&mut self, key: &Hash) -> Option<&mut Log> {
        match self.logs.entry(*key) {
            Entry::Occupied(log) => Some(log.into_mut()),
            Entry::Vacant(place) => {
                let settings = self.roster.logs.get(key)?.clone();
                Some(place.insert(Log::new(settings, self.steady)))
            }
        }
    }

    /// What is known of a peer that the directory has and that can be asked.
    fn peer_mut(&mut self, name: &KeyName) -> Option<&mut Peer> {
        if !self.roster.is_asked(name) || *name == self.own.name {
            return None;
        }
        if !self.peers.contains_key(name) {
            self.peers.insert(name.clone(), Peer::default());
        }
        self.peers.get_mut(name)
    }

    fn alarm(&mut self, step: &mut Step<'_>, alarm: Alarm, raised: bool) {
        let changed = if raised {
            self.alarms.insert(alarm.clone())
        } else {
            self.alarms.remove(&alarm)
        };
        if changed {
            step.actions.push(Action::Alarm { alarm, raised });
        }
    }

    /// This witness cosigned a head.
    fn cosigned(
        &mut self,
        step: &mut Step<'_>,
        note: SignedCheckpoint,
        time: UnixSeconds,
        grown_from: Option<(TreeHead, ConsistencyProof)>,
    ) {
        let key = note.origin().hash();
        let (ring, offer) = (self.config.ring, self.config.offer);
        let read_from = ReadFrom::of(true, step.now, &self.config);
        let Some(log) = self.log_mut(&key) else {
            return;
        };
        let head = note.head();
        let before = log.own.as_ref().map(Held::head);
        if before.is_some_and(|before| before.size > head.size) {
            return;
        }
        let note = Arc::new(note);
        let seen = Moment(time.get().saturating_mul(1_000));
        let rivals: Vec<Arc<SignedCheckpoint>> = log.notes().cloned().collect();
        log.own = Some(Held {
            note: note.clone(),
            seen,
            sources: Vec::new(),
        });
        if before != Some(head) {
            log.grew = step.now;
            log.unconfirmed_since.get_or_insert(step.now);
            log.forget_unproven(before, head, ((step.now, step.wall), read_from));
        }
        let recent = Recent {
            head,
            time,
            own: true,
            note: Some(note.clone()),
        };
        log.remember(recent, ring, offer);
        if let Some((old, proof)) = grown_from
            && let Ok(opening) = Opening::new(old, proof, (*note).clone())
        {
            log.remember_opening(opening);
        }
        step.dirty.insert(key);
        for rival in rivals {
            let other = rival.head();
            if other.size == head.size && other != head {
                self.contradiction(step, Evidence::same_size((*rival).clone(), (*note).clone()));
            }
        }
        self.settle(step, &key);
        self.attempt(step, &key);
        self.confirm(step, &key);
    }

    /// A log is never forgotten: what it signed is held against it whether a list has it or not. A
    /// key that has a wrong type changes nothing.
    fn change_directory(&mut self, step: &mut Step<'_>, directory: Directory) {
        let own = directory.own.clone();
        let Ok(mut roster) = Roster::new(directory) else {
            return;
        };
        roster.keep_logs(&self.roster);
        self.own = own;
        self.roster = Arc::new(roster);
        let roster = self.roster.clone();
        for (key, log) in &mut self.logs {
            if let Some(settings) = roster.logs.get(key) {
                log.settings = settings.clone();
            }
        }
        let known = |name: &KeyName| roster.peer(name).is_some();
        let asked = |name: &KeyName| roster.is_asked(name);
        self.peers.retain(|name, _| asked(name));
        let of_nobody = |alarm: &&Alarm| match alarm {
            Alarm::PeerSilent { peer }
            | Alarm::PeerMisbehaves { peer }
            | Alarm::PeerClock { peer } => !asked(peer),
            _ => false,
        };
        let over: Vec<Alarm> = self.alarms.iter().filter(of_nobody).cloned().collect();
        for alarm in over {
            self.alarm(step, alarm, false);
        }
        for (key, log) in &mut self.logs {
            // A key that was retired holds nothing any more, and who is gone cannot be asked.
            let retired: Vec<bool> = log
                .open
                .iter()
                .map(|open| !log.is_signed_by_current(&open.note))
                .collect();
            for (open, retired) in log.open.iter_mut().zip(retired) {
                open.retired = retired;
                open.asking.take_if(|name| !asked(name));
                open.sources.retain(&known);
            }
            log.agreed.retain(|(name, _)| known(name));
            step.dirty.insert(*key);
        }
        // Evidence that proved nothing under the keys of before may prove something now.
        for peer in self.peers.values_mut() {
            peer.read_list_anew();
        }
    }
}

/// A process that did not run, or a clock that was set, is not time in which somebody could answer.
const STEP_MAX: Duration = Duration::from_secs(60);

/// The smallest hash that an origin of this id can have.
fn first_hash(id: OriginId) -> Hash {
    let mut first = [0; 32];
    let (start, _) = first.split_at_mut(8);
    start.copy_from_slice(&id.0);
    Hash::new(first)
}

/// The origin of a log, for a message.
fn origin_of(log: &Log) -> Origin {
    log.settings.origin.clone()
}
