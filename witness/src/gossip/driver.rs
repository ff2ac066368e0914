//! The one task that drives the node: turn after turn, each in a thread that may wait for the disk.
//!
//! ```text
//! lists changed? ─► cosigned heads ─► found evidence ─► events of others ─► some stored heads
//!     each event: step ─► standings ─► disk, in order ─► replies        the rest ─► peers, tiles
//! ```
//!
//! Rows: `spec/gossip.md` GSP-72, GSP-73, GSP-94, GSP-96, GSP-97.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jurat_daemon::exit;
use jurat_proto::checkpoint::Origin;
use jurat_proto::gossip::node::{Action, Event, LogRecord, Reply};
use jurat_proto::key::KeyName;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::alarms::Told;
use super::config::Peer;
use super::verify::Fast;
use super::{Gossip, directory, head_event, lock, moment, put_back};
use crate::evidence::Outcome;
use crate::log_list::Logs;

impl Gossip {
    /// Drives the node, for ever.
    // Spec: GSP-72
    pub async fn run(self: Arc<Self>) {
        let Some(mut outbox) = lock(&self.outbox).take() else {
            return;
        };
        let mut asked: JoinSet<()> = JoinSet::new();
        asked.spawn(self.sinks.clone().keep());
        asked.spawn(self.sinks.clone().deliver());
        asked.spawn(Arc::clone(&self).keep_account());
        let early = std::mem::take(&mut *lock(&self.early));
        for action in early {
            self.begin(action, &mut asked);
        }
        let mut ticks = tokio::time::interval(self.tick());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turn = Turn::default();
        let mut unstored = false;
        loop {
            // The first turn waits for nothing: it brings all logs and peers.
            if turn.seen.is_some() {
                tokio::select! {
                    event = outbox.recv() => turn.events.extend(event),
                    () = self.wake.notified() => {}
                    _ = ticks.tick() => turn.events.push(Event::Tick),
                    () = tokio::time::sleep(BRING_PAUSE), if turn.brings => {}
                }
            }
            while turn.events.len() < EVENTS_MAX
                && let Ok(event) = outbox.try_recv()
            {
                turn.events.push(event);
            }
            while asked.try_join_next().is_some() {}
            let this = Arc::clone(&self);
            let done = tokio::task::spawn_blocking(move || this.take_turn(turn));
            let done = done.await;
            lock(&self.cosigned).telling = None;
            let (next, rest) = match done {
                Ok(done) => done,
                // The heads of that turn would be told by no page: a page that hides them convicts
                // us, and a start tells them.
                // Spec: GSP-139
                Err(error) if error.is_panic() => {
                    tracing::error!(%error, "gossip failed: ending at once");
                    std::process::exit(i32::from(exit::SOFTWARE));
                }
                // The process ends.
                Err(_) => return,
            };
            turn = next;
            self.ready.send_replace(true);
            for action in rest {
                self.begin(action, &mut asked);
            }
            let is_unstored = !lock(&self.unstored).is_empty();
            if is_unstored != std::mem::replace(&mut unstored, is_unstored) {
                self.tell(&Told::heads_not_stored(), is_unstored);
            }
        }
    }

    /// One turn of the driver: what changed in the lists, heads, evidence, then what came from
    /// others, and some of the stored heads when there are more.
    fn take_turn(&self, mut turn: Turn) -> (Turn, Vec<Action>) {
        let mut rest = Vec::new();
        // Before the lists are looked at: a log was listed before it was signed for, and a head of
        // a log that the node does not know would be lost.
        let cosigned = self.newest_cosigned();
        self.take_lists(&mut turn, &mut rest);
        for event in cosigned {
            rest.extend(self.settle(event));
        }
        self.newly_found(|event| rest.extend(self.settle(event)));
        for event in std::mem::take(&mut turn.events) {
            if matches!(event, Event::Tick) {
                self.store_again();
            }
            for head in self.heads_for(&event) {
                rest.extend(self.settle(head));
            }
            rest.extend(self.settle(event));
        }
        if turn.brings {
            let (heads, next) = self.next_stored(turn.after.as_ref());
            turn.brings = next.is_some();
            turn.after = next;
            for head in heads {
                rest.extend(self.settle(head));
            }
        }
        (turn, rest)
    }

    /// Takes over the lists of logs and peers when they changed.
    // Spec: GSP-46, GSP-96, GSP-97
    fn take_lists(&self, turn: &mut Turn, rest: &mut Vec<Action>) {
        let (logs, peers) = (self.logs.current(), self.settings.peers());
        let same = |(before, with): &(Arc<Logs>, Arc<[Peer]>)| {
            Arc::ptr_eq(before, &logs) && Arc::ptr_eq(with, &peers)
        };
        if turn.seen.as_ref().is_some_and(same) {
            return;
        }
        let directory = directory(&self.settings, &self.cosigners, logs.logs());
        let is_peer = |name: &KeyName| {
            let mut peers = peers.iter();
            peers.any(|peer| peer.settings.name == *name)
        };
        self.claims.keep(is_peer);
        self.contacts.keep(is_peer);
        rest.extend(self.settle(Event::DirectoryChanged(Box::new(directory))));
        let now = moment(&*self.clock);
        let mut unlisted = lock(&self.unlisted);
        for kept in std::mem::take(&mut *unlisted) {
            if logs.log(&kept.origin).is_some() {
                rest.extend(put_back(&mut lock(&self.node), &self.standings, kept, now));
            } else {
                unlisted.push(kept);
            }
        }
        turn.seen = Some((logs, peers));
        (turn.brings, turn.after) = (true, None);
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
                self.tell(&Told::of(&alarm), raised);
                let mut alarms = lock(&self.raised);
                if raised {
                    alarms.insert(alarm);
                } else {
                    alarms.remove(&alarm);
                }
            }
            // Done before.
            _ => {}
        }
    }

    fn tell(&self, alarm: &Told, raised: bool) {
        self.metrics.alarm(alarm.kind, raised);
        self.sinks.tell(alarm, raised);
    }

    /// Often enough for rounds of a drill, and seldom enough to cost nothing.
    fn tick(&self) -> Duration {
        (self.settings.round() / 4).clamp(TICK_MIN, TICK_MAX)
    }

    /// What is decided is obeyed by who cosigns before this returns.
    fn step(&self, event: Event) -> Vec<Action> {
        let now = moment(&*self.clock);
        let mut dice = lock(&self.dice);
        let mut node = lock(&self.node);
        let actions = node.step(event, now, &mut *dice, &Fast);
        self.standings.obey(&actions);
        actions
    }

    fn newest_cosigned(&self) -> Vec<Event> {
        let (stored, heads) = {
            let mut cosigned = lock(&self.cosigned);
            let heads = std::mem::take(&mut cosigned.heads);
            cosigned.telling = cosigned.since.take();
            (std::mem::take(&mut cosigned.stored), heads)
        };
        // In this order: what was stored before is older.
        let heads = stored.into_iter().chain(heads.into_values());
        heads
            .filter_map(|(note, time)| head_event(&note, time))
            .collect()
    }

    fn newly_found(&self, mut take: impl FnMut(Event)) {
        let mut found = lock(&self.found);
        let waiting = std::mem::take(&mut found.waiting);
        let more = std::mem::take(&mut found.more);
        drop(found);
        let mut event = |evidence| {
            take(Event::EvidenceReceived {
                request: None,
                evidence: Box::new(evidence),
            });
        };
        waiting.into_iter().for_each(&mut event);
        if more {
            self.evidence.each(event);
        }
    }

    /// Does what an event leads to that waits for the disk, in order, and answers; the rest is for
    /// who can wait for peers.
    // Spec: GSP-73
    fn settle(&self, event: Event) -> Vec<Action> {
        let about = match &event {
            Event::ChallengeReceived { note, .. } | Event::Observed { note, .. } => {
                Some(note.origin().clone())
            }
            _ => None,
        };
        let mut rest = Vec::new();
        let mut todo: VecDeque<Action> = self.step(event).into();
        while let Some(action) = todo.pop_front() {
            match action {
                Action::StoreLog { origin, record } => self.store(&origin, record),
                Action::StoreEvidence { evidence, verdict } => {
                    let id = verdict.id;
                    let stored = match self.evidence.keep_told(&evidence) {
                        Some((_, Outcome::NotWritten)) | None => Event::EvidenceNotStored { id },
                        Some(_) => Event::EvidenceStored { id },
                    };
                    todo.extend(self.step(stored));
                }
                Action::Reply { request, reply } => {
                    let reply = match &about {
                        Some(origin) => self.durable_reply(origin, reply),
                        None => reply,
                    };
                    if let Some(waits) = lock(&self.waiting).remove(&request) {
                        // Who hung up needs no reply.
                        drop(waits.send(reply));
                    }
                }
                Action::StopCosigning { origin, id } => self.evidence.stop_log(&origin, id),
                other @ (Action::Ask { .. } | Action::ReadTiles { .. } | Action::Alarm { .. }) => {
                    rest.push(other);
                }
                other => log_of(&other),
            }
        }
        rest
    }

    // Spec: GSP-73, GSP-94
    fn store(&self, origin: &Origin, record: Option<Box<LogRecord>>) {
        let stored = self.records.store(origin, record.as_deref());
        let mut unstored = lock(&self.unstored);
        match stored {
            Ok(()) => drop(unstored.remove(origin)),
            Err(error) => {
                // Once for each log: it is tried again and again.
                if unstored.insert(origin.clone(), record).is_none() {
                    tracing::error!(%origin, %error, "heads of gossip are not durable");
                }
            }
        }
    }

    /// Tries again to write what could not be written: all of it, when the disk takes the first.
    // Spec: GSP-94
    fn store_again(&self) {
        loop {
            let first = {
                let unstored = lock(&self.unstored);
                let first = unstored.first_key_value();
                first.map(|(origin, record)| (origin.clone(), record.clone()))
            };
            let Some((origin, record)) = first else {
                return;
            };
            if self.records.store(&origin, record.as_deref()).is_err() {
                return;
            }
            lock(&self.unstored).remove(&origin);
        }
    }

    /// Nobody is told of a head that a crash would forget.
    // Spec: GSP-73, GSP-94
    fn durable_reply(&self, origin: &Origin, reply: Reply) -> Reply {
        if !matches!(reply, Reply::Pending | Reply::Consistent) {
            return reply;
        }
        let record = lock(&self.unstored).get(origin).cloned();
        let Some(record) = record else {
            return reply;
        };
        self.store(origin, record);
        if lock(&self.unstored).contains_key(origin) {
            Reply::NotStored
        } else {
            reply
        }
    }
}

/// What the driver knows from turn to turn.
#[derive(Default)]
struct Turn {
    events: Vec<Event>,
    /// The lists that the node was told.
    seen: Option<(Arc<Logs>, Arc<[Peer]>)>,
    /// Whether stored heads are to be brought, and after which log.
    brings: bool,
    after: Option<Origin>,
}

/// What is only told to the log of the process.
fn log_of(action: &Action) {
    match action {
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
        Action::StopSigning { id } => {
            let id = jurat_proto::hex::encode(id.as_bytes());
            tracing::error!(%id, "evidence convicts a key of this witness");
        }
        Action::Publish(suspicion) => {
            let origin = &suspicion.origin;
            tracing::error!(%origin, "told the public of a head that nobody can join");
        }
        // These are done, and not told.
        Action::Ask { .. }
        | Action::ReadTiles { .. }
        | Action::Reply { .. }
        | Action::StoreLog { .. }
        | Action::StoreEvidence { .. }
        | Action::StopCosigning { .. }
        | Action::Alarm { .. } => {}
    }
}

/// Between stored heads that are brought, as long as some of them take: a core is for who cosigns.
const BRING_PAUSE: Duration = Duration::from_millis(10);
/// Events that are taken in one turn.
const EVENTS_MAX: usize = 64;
const TICK_MIN: Duration = Duration::from_millis(20);
const TICK_MAX: Duration = Duration::from_secs(1);
