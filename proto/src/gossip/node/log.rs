//! The heads of one log that a node holds: its history, as far as it is known to be one, and the
//! heads that are not known to be part of it.
//!
//! ```text
//!   ring   own head ──── own ──── … ──── own (newest) ──── top
//!          └───────────── one history ─────────────────────┘
//!   open   heads that the log signed, too, and nobody has joined to it yet
//! ```
//!
//! *Held, not merged*: a smaller head than ours is as good a half of a proof as a larger one, and
//! is kept until it is resolved. What is known to be one history is known by proofs: each own head
//! by the one that came with it, `top` by an opening at the own newest head. When the own head
//! grows past the one that `top` was proven against, `top` is not proven any more: the log may have
//! forked between. It is put back among the open heads.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::time::Duration;

use super::directory::{Config, LogSettings};
use super::message::{Dice, Moment, Phase};
use super::record::{LogRecord, OpenRecord};
use crate::checkpoint::SignedCheckpoint;
use crate::evidence::Standing;
use crate::gossip::{Flags, Opening, OriginId, Random, Tag};
use crate::hash::{Hash, leaf_hash};
use crate::key::{KeyName, UnixSeconds};
use crate::note::SignatureLine;
use crate::tree::{TreeHead, TreeSize};

/// How many open heads of a log are kept at most, whatever is configured: a record of them, with
/// the largest notes, must be one that can be read.
const OPEN_MAX: usize = 28;
/// How many openings of a log are remembered.
const OPENINGS_MAX: usize = 16;
/// How many peers are asked in vain before tiles are read, where these wait for that and there are
/// as many.
// Spec: GSP-170
pub(super) const ASKED_FIRST: u64 = 2;
/// How many peers are remembered that have a head which is not resolved.
const SOURCES_MAX: usize = 8;

/// Of the heads that came within a round before the newest one, which are offered: the newest of
/// those that are older by these parts of a round.
// Spec: GSP-171
const SHORTLY_PART: u32 = 16;
const LONGER_PART: u32 = 4;

#[derive(Clone, Debug)]
pub(super) struct Log {
    pub(super) settings: Arc<LogSettings>,
    pub(super) id: OriginId,
    /// The newest head that this witness cosigned.
    pub(super) own: Option<Held>,
    /// The largest head of the history when it is not the own one.
    pub(super) top: Option<Held>,
    /// Recent heads of the history, by size.
    pub(super) ring: Vec<Recent>,
    /// In the order in which they were seen.
    pub(super) open: Vec<Open>,
    /// How many heads were ever open, for the reservoir.
    pub(super) opened: u64,
    /// How many heads were new in this round: by peer, and all strangers together.
    pub(super) new_in_round: BTreeMap<Option<KeyName>, u32>,
    pub(super) openings: VecDeque<Opening>,
    /// Whether it waits until its tiles may be read.
    pub(super) is_waiting: bool,
    /// The largest head that each of some peers is known to hold as well.
    pub(super) agreed: Vec<(KeyName, TreeSize)>,
    /// What convicts the log, by id; the first ones.
    pub(super) convicted: Vec<Hash>,
    /// What was stored last.
    pub(super) stored: Option<LogRecord>,
    /// Its rows, before they are salted.
    pub(super) offered: Vec<Offer>,
    /// The leaf that they are in a state; nothing when there are none.
    pub(super) leaf: Option<Hash>,
    /// What was said last about a hold.
    pub(super) held: Option<TreeHead>,
    /// The change of the journal at which its rows changed last.
    pub(super) changed: u64,
    /// The head that enough operators hold, and since when.
    pub(super) confirmed: Option<(TreeHead, Moment)>,
    /// Since when there is an own head that is not confirmed.
    pub(super) unconfirmed_since: Option<Moment>,
    /// When the own head grew last.
    pub(super) grew: Moment,
}

/// A head with its note.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) note: Arc<SignedCheckpoint>,
    /// When it was cosigned, or first seen.
    pub(super) seen: Moment,
    /// The peers that showed it, when it is not ours.
    pub(super) sources: Vec<KeyName>,
}

impl Held {
    pub(super) fn head(&self) -> TreeHead {
        self.note.head()
    }
}

/// A head of the history.
#[derive(Clone, Debug)]
pub(super) struct Recent {
    pub(super) head: TreeHead,
    pub(super) time: UnixSeconds,
    /// Whether this witness cosigned it.
    pub(super) own: bool,
    /// Its note; the oldest ones have none any more.
    pub(super) note: Option<Arc<SignedCheckpoint>>,
}

/// A head that is not resolved.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) note: Arc<SignedCheckpoint>,
    pub(super) phase: Phase,
    pub(super) seen: Moment,
    /// Since when it is in this phase: for waits, and for the record.
    pub(super) since: Moment,
    pub(super) since_wall: Moment,
    /// How many rounds it was open in this phase.
    pub(super) rounds: u32,
    /// How often tiles were read, and peers asked, in vain.
    pub(super) tried: [u64; 2],
    /// How many turns went by because those whose turn it was had no room for a question.
    // Spec: GSP-114
    pub(super) passed: u64,
    /// How many attempts have ended since this process began.
    pub(super) attempts: u32,
    /// The peer that is being asked.
    pub(super) asking: Option<KeyName>,
    /// What may still be tried in this round.
    pub(super) left: Attempts,
    /// When tiles may be read for it, while they may not: a peer may open it, or its log bring it
    /// here, first.
    // Spec: GSP-115, GSP-170
    pub(super) read_from: Option<ReadFrom>,
    /// When a peer may be asked for it, while none may: its log brings everybody just now the head
    /// that would open it.
    // Spec: GSP-200
    pub(super) ask_from: Option<Moment>,
    /// The peers that showed it.
    pub(super) sources: Vec<KeyName>,
    /// Only retired keys signed it: whoever stole one must not hold the log.
    pub(super) retired: bool,
}

/// Whether a log's tiles may be read, and a peer asked, once more in this round: an opening that
/// decides nothing must not lead to the next question at once, and so on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempts {
    pub(super) read: bool,
    pub(super) ask: bool,
}

impl Attempts {
    pub(super) const ALL: Self = Self {
        read: true,
        ask: true,
    };
}

/// When tiles may be read for a head that a peer showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ReadFrom {
    /// From when on, when a peer was asked in vain.
    pub(super) asked: Moment,
    /// From when on in any case.
    pub(super) latest: Moment,
}

impl ReadFrom {
    /// For a head that is larger than ours its log has so long to bring it here. A question waits
    /// behind others, perhaps, but not for more than half a round.
    // Spec: GSP-115, GSP-170
    pub(super) fn of(is_ahead: bool, now: Moment, config: &Config) -> Option<Self> {
        let after = config.tiles_after;
        (!after.is_zero()).then(|| Self {
            asked: if is_ahead { now.after(after) } else { now },
            latest: now.after(after.max(config.round / 2)),
        })
    }
}

impl Open {
    pub(super) fn new(
        note: Arc<SignedCheckpoint>,
        seen: Moment,
        (now, wall): (Moment, Moment),
    ) -> Self {
        Self {
            note,
            phase: Phase::New,
            seen,
            since: now,
            since_wall: wall,
            rounds: 0,
            tried: [0; 2],
            passed: 0,
            attempts: 0,
            asking: None,
            left: Attempts::ALL,
            read_from: None,
            ask_from: None,
            sources: Vec::new(),
            retired: false,
        }
    }

    /// As it was stored. A pending head gets its full time again, in which somebody must try.
    // Spec: GSP-46
    pub(super) fn restored(
        record: OpenRecord,
        (steady, wall): (Moment, Moment),
        retired: bool,
    ) -> Self {
        let since = match record.phase {
            Phase::New | Phase::Pending => steady,
            Phase::Suspect | Phase::Unprovable => steady.before(wall.since(record.since)),
        };
        Self {
            phase: record.phase,
            since,
            since_wall: record.since,
            tried: record.tried,
            retired,
            ..Self::new(record.note, record.seen, (steady, wall))
        }
    }

    pub(super) fn head(&self) -> TreeHead {
        self.note.head()
    }

    pub(super) fn add_source(&mut self, peer: &KeyName) {
        if self.sources.len() < SOURCES_MAX && !self.sources.contains(peer) {
            self.sources.push(peer.clone());
        }
    }

    /// Whether tiles may be read, or peers asked, for it from now on, and not before. So many peers
    /// are asked before tiles are read.
    pub(super) fn ripens(&mut self, now: Moment, first: u64) -> bool {
        let [_, asked] = self.tried;
        let suspect = self.is_suspect();
        let over = |from: &mut ReadFrom| {
            suspect || from.latest <= now || (asked >= first && from.asked <= now)
        };
        let may_read = self.read_from.take_if(over).is_some();
        let may_ask = self.ask_from.take_if(|from| suspect || *from <= now);
        may_read || may_ask.is_some()
    }

    /// Whether a peer may be asked now: one in a round, and while tiles wait for that, two.
    // Spec: GSP-170, GSP-200
    pub(super) fn may_ask(&self, first: u64) -> bool {
        let [_, asked] = self.tried;
        let is_next = self.read_from.is_some() && (1..first).contains(&asked);
        let is_free = self.asking.is_none() && self.ask_from.is_none();
        is_free && (self.left.ask || is_next)
    }

    /// Which peer's turn it is to be asked.
    pub(super) fn turn(&self) -> u64 {
        let [_, asked] = self.tried;
        asked.wrapping_add(self.passed)
    }

    pub(super) fn is_suspect(&self) -> bool {
        matches!(self.phase, Phase::Suspect | Phase::Unprovable)
    }
}

/// A row of the feed before it is salted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) head: TreeHead,
    pub(super) time: UnixSeconds,
    pub(super) flags: Flags,
}

/// Where a head stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the history.
    Known,
    /// Among those that are not resolved, at this place.
    Open(usize),
    /// Not held.
    Unknown,
}

impl Log {
    pub(super) fn new(settings: Arc<LogSettings>, now: Moment) -> Self {
        Self {
            id: OriginId::of(&settings.origin),
            settings,
            own: None,
            top: None,
            ring: Vec::new(),
            open: Vec::new(),
            opened: 0,
            new_in_round: BTreeMap::new(),
            openings: VecDeque::new(),
            is_waiting: false,
            agreed: Vec::new(),
            convicted: Vec::new(),
            stored: None,
            offered: Vec::new(),
            leaf: None,
            held: None,
            changed: 0,
            confirmed: None,
            unconfirmed_since: None,
            grew: now,
        }
    }

    /// The largest head of the history: what others are compared with.
    pub(super) fn reference(&self) -> Option<&Held> {
        self.top.as_ref().or(self.own.as_ref())
    }

    pub(super) fn is_convicted(&self) -> bool {
        !self.convicted.is_empty()
    }

    /// The root that the history has at a size, if it is remembered.
    pub(super) fn known_root(&self, size: TreeSize) -> Option<Hash> {
        let reference = [self.own.as_ref(), self.top.as_ref()];
        let held = reference.into_iter().flatten().map(Held::head);
        let ring = self.ring.iter().map(|recent| recent.head);
        let mut heads = held.chain(ring);
        heads
            .find(|head| head.size == size)
            .map(|head| head.root_hash)
    }

    pub(super) fn standing(&self, head: &TreeHead) -> Place {
        if self.known_root(head.size) == Some(head.root_hash) {
            return Place::Known;
        }
        match self.open.iter().position(|open| open.head() == *head) {
            Some(place) => Place::Open(place),
            None => Place::Unknown,
        }
    }

    /// Every head whose note is held: its own first.
    pub(super) fn notes(&self) -> impl Iterator<Item = &Arc<SignedCheckpoint>> {
        let held = [self.own.as_ref(), self.top.as_ref()];
        let held = held.into_iter().flatten().map(|held| &held.note);
        let ring = self.ring.iter().filter_map(|recent| recent.note.as_ref());
        held.chain(ring)
            .chain(self.open.iter().map(|open| &open.note))
    }

    /// The own head grew, or is the first one. What is not ours and was larger than the one before
    /// is not known to be in one history with this one: the log may have forked in between.
    // Spec: GSP-32
    pub(super) fn forget_unproven(
        &mut self,
        before: Option<TreeHead>,
        head: TreeHead,
        (now, read_from): ((Moment, Moment), Option<ReadFrom>),
    ) {
        let proven = before.map_or(TreeSize::ZERO, |before| before.size);
        let agreed = core::mem::take(&mut self.agreed);
        self.ring
            .retain(|recent| recent.own || (before.is_some() && recent.head.size <= proven));
        let still = |confirmed: &TreeHead| confirmed.size <= proven || *confirmed == head;
        self.confirmed = self.confirmed.filter(|(confirmed, _)| still(confirmed));
        if let Some(top) = self.top.take()
            && top.head() != head
        {
            let retired = !self.is_signed_by_current(&top.note);
            let size = top.head().size;
            let mut open = Open::new(top.note, top.seen, now);
            open.retired = retired;
            // Spec: GSP-170, GSP-200. Who cosigned both can open it, as soon as the log has brought
            // the new head there, too.
            open.read_from = read_from;
            open.ask_from = read_from.map(|from| from.asked);
            let agreeing = agreed.iter().filter(|(_, agreed)| *agreed == size);
            for name in agreeing.map(|(name, _)| name).chain(&top.sources) {
                open.add_source(name);
            }
            self.open.push(open);
        }
        self.agreed = agreed;
        self.agreed
            .retain(|(_, size)| *size <= proven || *size == head.size);
    }

    /// How often tiles were read for that of the open heads for which they were read the least. Of
    /// one size there is nothing to open: such a head is never read, and the others are.
    pub(super) fn fewest_reads(&self, held: TreeSize) -> Option<u64> {
        let is_ripe = |open: &&Open| open.head().size != held && open.read_from.is_none();
        let ripe = self.open.iter().filter(is_ripe);
        ripe.map(|open| {
            let [read, _] = open.tried;
            read
        })
        .min()
    }

    /// A peer holds a head of the history, too. Of `most` operators the largest head and its peer
    /// are remembered: those with smaller ones give way. However many peers one operator has, they
    /// take one place.
    // Spec: GSP-53, GSP-116
    pub(super) fn agree<'n>(
        &mut self,
        name: &'n KeyName,
        size: TreeSize,
        most: usize,
        operator: impl Fn(&KeyName) -> Option<&'n str>,
    ) {
        let own = operator(name);
        let mut agreed = self.agreed.iter_mut();
        if let Some(same) = agreed.find(|(known, _)| operator(known) == own) {
            if same.1 < size {
                *same = (name.clone(), size);
            }
            return;
        }
        if self.agreed.len() >= most {
            let places = self.agreed.iter().enumerate();
            let smallest = places.min_by_key(|(_, (_, known))| *known);
            let Some((place, _)) = smallest.filter(|(_, (_, known))| *known < size) else {
                return;
            };
            self.agreed.remove(place);
        }
        self.agreed.push((name.clone(), size));
    }

    /// The head of the history, or the open one, that a tag stands for.
    pub(super) fn head_of_tag(&self, salt: &Random, size: TreeSize, tag: &Tag) -> Option<TreeHead> {
        let origin = &self.settings.origin;
        let known = self
            .known_root(size)
            .map(|root_hash| TreeHead { size, root_hash });
        let open = self.open.iter().map(Open::head);
        let mut heads = known
            .into_iter()
            .chain(open.filter(|head| head.size == size));
        heads.find(|head| Tag::of(salt, origin, head) == *tag)
    }

    /// Takes a head into the history. The newest ones keep their notes.
    pub(super) fn remember(&mut self, recent: Recent, ring_max: usize, notes_max: usize) {
        let place = self
            .ring
            .binary_search_by_key(&recent.head.size, |other| other.head.size);
        match place {
            Ok(place) => {
                if let Some(there) = self.ring.get_mut(place) {
                    there.own |= recent.own;
                    if recent.note.is_some() {
                        there.note = recent.note;
                    }
                    if recent.own {
                        there.time = recent.time;
                    }
                }
            }
            Err(place) => self.ring.insert(place, recent),
        }
        let surplus = self.ring.len().saturating_sub(ring_max);
        self.ring.drain(..surplus);
        let bare = self.ring.len().saturating_sub(notes_max);
        for old in self.ring.iter_mut().take(bare) {
            old.note = None;
        }
    }

    /// Which heads a page shows: the newest cosigned one, the largest one, those that are not
    /// resolved, and those that came shortly before, so that who is a little behind finds its own.
    // Spec: GSP-31
    pub(super) fn offers(&self, most: usize, shortly: Duration) -> Vec<Offer> {
        let mut offers: Vec<Offer> = Vec::new();
        let mut add = |head: TreeHead, time: UnixSeconds, flags: Flags| {
            if offers.len() < most && !offers.iter().any(|offer| offer.head == head) {
                offers.push(Offer { head, time, flags });
            }
        };
        if let Some(own) = &self.own {
            let flags = Flags {
                newest_cosigned: true,
                unresolved: false,
            };
            add(own.head(), own.seen.seconds(), flags);
        }
        if let Some(top) = &self.top {
            add(top.head(), top.seen.seconds(), Flags::default());
        }
        for open in self.shown_open() {
            let flags = Flags {
                newest_cosigned: false,
                unresolved: true,
            };
            add(open.head(), open.seen.seconds(), flags);
        }
        let newest = self.ring.iter().map(|recent| recent.time.get()).max();
        let newest = newest.unwrap_or(0);
        let age = |recent: &Recent| Duration::from_secs(newest.saturating_sub(recent.time.get()));
        // Spec: GSP-171. One that nobody waits for any more, and one that was there long before; or
        // of those whose note is still here, so that who asks for it gets it, the oldest.
        let within = || {
            let recent = self.ring.iter().rev();
            recent.filter(|recent| age(recent) <= shortly)
        };
        for part in [SHORTLY_PART, LONGER_PART] {
            let least = shortly / part;
            let recent = match within().find(|recent| age(recent) >= least) {
                Some(gone) if gone.note.is_none() => within().rfind(|recent| recent.note.is_some()),
                found => found,
            };
            if let Some(recent) = recent {
                add(recent.head, recent.time, Flags::default());
            }
        }
        offers
    }

    /// The size of the largest head of the history that is offered.
    pub(super) fn newest_offered(&self) -> Option<TreeSize> {
        let history = self.offered.iter().filter(|offer| !offer.flags.unresolved);
        history.map(|offer| offer.head.size).max()
    }

    /// The leaf of a state that stands for the rows of this log.
    // Spec: GSP-27
    pub(super) fn offers_leaf(&self) -> Option<Hash> {
        let origin = self.settings.origin.hash_hex();
        let mut text = String::new();
        for offer in &self.offered {
            let TreeHead { size, root_hash } = offer.head;
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "{origin} {size} {root_hash} {} {}",
                offer.time, offer.flags
            );
        }
        (!text.is_empty()).then(|| leaf_hash(text.as_bytes()))
    }

    /// The first that was seen, the smallest and the largest.
    fn shown_open(&self) -> impl Iterator<Item = &Open> {
        let size = |open: &&Open| open.head().size;
        let smallest = self.open.iter().min_by_key(size);
        let largest = self.open.iter().max_by_key(size);
        [self.open.first(), smallest, largest].into_iter().flatten()
    }

    /// Makes room for one more open head: the first seen, the smallest and the largest stay, and
    /// so do suspects before others; of the rest each has the same chance to stay. What another
    /// witness cosigned comes in always: the log alone can sign as many as it likes.
    ///
    /// `None` when the new one is the one to go.
    // Spec: GSP-33
    pub(super) fn make_room(
        &mut self,
        note: &SignedCheckpoint,
        most: usize,
        dice: &mut dyn Dice,
    ) -> Option<()> {
        let (size, most) = (note.head().size, most.min(OPEN_MAX));
        self.opened = self.opened.saturating_add(1);
        if self.open.len() < most {
            return Some(());
        }
        let smallest = self.open.iter().map(|open| open.head().size).min();
        let largest = self.open.iter().map(|open| open.head().size).max();
        let is_extreme = Some(size) < smallest || Some(size) > largest;
        let is_cosigned = self.is_cosigned(note);
        let draw = dice.below(self.opened);
        let kept = u64::try_from(most).unwrap_or(u64::MAX);
        if !is_extreme && !is_cosigned && draw >= kept {
            return None;
        }
        let candidates = self.places_to_free(is_cosigned);
        let count = u64::try_from(candidates.len()).unwrap_or(u64::MAX);
        let chosen = usize::try_from(dice.below(count.max(1))).unwrap_or(0);
        let place = candidates.get(chosen)?;
        self.open.remove(*place);
        Some(())
    }

    /// Which open heads may go for a new one that another witness cosigned, or that none did: what
    /// only the log signed never takes the place of a suspect.
    fn places_to_free(&self, is_cosigned: bool) -> Vec<usize> {
        let smallest = self.open.iter().map(|open| open.head().size).min();
        let largest = self.open.iter().map(|open| open.head().size).max();
        let spare = |(place, open): &(usize, &Open)| {
            *place != 0 && Some(open.head().size) != smallest && Some(open.head().size) != largest
        };
        let spare: Vec<(usize, &Open)> = self.open.iter().enumerate().filter(spare).collect();
        let places = |of: &dyn Fn(&Open) -> bool| -> Vec<usize> {
            let spare = spare.iter().filter(|(_, open)| of(open));
            spare.map(|(place, _)| *place).collect()
        };
        let mut found = places(&|open| !open.is_suspect());
        if found.is_empty() && is_cosigned {
            found = places(&|open| !self.is_cosigned(&open.note));
        }
        if found.is_empty() && is_cosigned {
            found = places(&|_| true);
        }
        if found.is_empty() {
            // The last that came, which is neither the first nor a reason to keep it.
            let last = self.open.len().checked_sub(1).filter(|last| *last > 0);
            let goes = |last: &usize| {
                let open = self.open.get(*last);
                open.is_some_and(|open| is_cosigned || !open.is_suspect())
            };
            found.extend(last.filter(goes));
        }
        found
    }

    /// Whether a known cosigner signed a note: only the log's lines and those of known cosigners
    /// are left under the notes that are held.
    fn is_cosigned(&self, note: &SignedCheckpoint) -> bool {
        let keys = &self.settings.keys;
        let is_log = |line: &SignatureLine| keys.iter().any(|(key, _)| key.matches(line));
        !note.signatures().iter().all(is_log)
    }

    pub(super) fn remember_opening(&mut self, opening: Opening) {
        let same = |other: &Opening| {
            other.old() == opening.old() && other.note().head() == opening.note().head()
        };
        if self.openings.iter().any(same) {
            return;
        }
        if self.openings.len() >= OPENINGS_MAX {
            self.openings.pop_front();
        }
        self.openings.push_back(opening);
    }

    /// What must be stored.
    pub(super) fn record(&self) -> Option<LogRecord> {
        let record = LogRecord {
            top: self.top.as_ref().map(|top| (top.note.clone(), top.seen)),
            open: self
                .open
                .iter()
                .map(|open| OpenRecord {
                    note: open.note.clone(),
                    phase: open.phase,
                    seen: open.seen,
                    since: open.since_wall,
                    tried: open.tried,
                })
                .collect(),
        };
        (!record.is_empty()).then_some(record)
    }

    /// The head that holds the log, if one does: the first that became suspect.
    // Spec: GSP-42
    pub(super) fn suspect(&self) -> Option<TreeHead> {
        if !self.settings.hold || self.is_convicted() {
            return None;
        }
        let suspects = self
            .open
            .iter()
            .filter(|open| open.is_suspect() && !open.retired);
        suspects.map(Open::head).next()
    }

    /// Whether a line under a note, which was verified before, names a current key of the log.
    pub(super) fn is_signed_by_current(&self, note: &SignedCheckpoint) -> bool {
        let keys = self.settings.keys.iter();
        let mut current = keys.filter(|(_, standing)| *standing == Standing::Current);
        current.any(|(key, _)| note.signatures().iter().any(|line| key.matches(line)))
    }
}
