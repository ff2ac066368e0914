//! Heads that come from others: are they part of the history that we hold, or proof that there is
//! more than one?
//!
//! A head is *resolved* when it is in the history, or an opening joins it: the history's largest
//! head opens to it, or it opens to the history's largest head. An opening that shows another root
//! is evidence, and so are two roots of one size. Nothing else convicts: not silence, not a proof
//! that leads nowhere.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::directory::Roster;
use super::log::{ASKED_FIRST, Held, Open, Place, ReadFrom, Recent};
use super::message::{Action, Phase, Question, Reply, RequestId};
use super::proven::Found;
use super::{Node, Step};
use crate::checkpoint::{Origin, SignedCheckpoint};
use crate::evidence::{Evidence, NoContradiction, Standing};
use crate::gossip::{Opening, Random};
use crate::hash::{Hash, empty_root};
use crate::key::KeyName;
use crate::note::SignatureLine;
use crate::tree::{TreeHead, TreeSize};

/// How many lines of cosigners are kept under a head: they can be convicted with the log.
const COSIGNER_LINES_MAX: usize = 4;
/// How many lines may fail before the others are not looked at, as in evidence.
const FAILED_LINES_MAX: usize = 2;

/// How many turns go by at once when those whose turn it is have no room for a question.
const TURNS_MAX: usize = 8;

/// What became of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Learned {
    UnknownOrigin,
    NotSigned,
    /// It is in the history.
    Consistent,
    /// It is kept until it is resolved.
    Open,
    /// There were enough of its log in this round.
    TooMany,
    /// Its log is convicted.
    Convicted(Hash),
}

impl Node {
    /// Takes a head that somebody shows.
    // Spec: GSP-36
    pub(super) fn learn(
        &mut self,
        step: &mut Step<'_>,
        note: &SignedCheckpoint,
        from: Option<&KeyName>,
    ) -> Learned {
        let key = note.origin().hash();
        let head = note.head();
        let Some(log) = self.log_mut(&key) else {
            return Learned::UnknownOrigin;
        };
        if let Some(id) = log.convicted.first() {
            return Learned::Convicted(*id);
        }
        self.look_for_regress(step, &key, note);
        let Some(log) = self.logs.get_mut(&key) else {
            return Learned::UnknownOrigin;
        };
        // A head that is held needs no signature: its note was verified. Its note may be gone, and
        // be what convicts with an open head of its size.
        // Spec: GSP-42
        let has_rival = log.open.iter().any(|open| open.head().size == head.size);
        let mut is_known = false;
        match log.standing(&head) {
            Place::Known if !has_rival => return Learned::Consistent,
            Place::Known => is_known = true,
            Place::Open(place) => {
                if let (Some(open), Some(from)) = (log.open.get_mut(place), from) {
                    open.add_source(from);
                }
                return Learned::Open;
            }
            Place::Unknown => {}
        }
        let Some((note, retired)) = self.admit(step, &key, note, from) else {
            return if is_known {
                Learned::Consistent
            } else {
                Learned::NotSigned
            };
        };
        if let Some(learned) = self.contradict(step, &key, &note) {
            return learned;
        }
        if is_known || head.size.is_zero() {
            return Learned::Consistent;
        }
        let learned = self.insert(step, &key, note, retired, from);
        if learned == Learned::Open {
            self.settle(step, &key);
            self.attempt(step, &key);
            self.confirm(step, &key);
            return self.outcome(&key, &head);
        }
        learned
    }

    fn outcome(&self, key: &Hash, head: &TreeHead) -> Learned {
        let Some(log) = self.logs.get(key) else {
            return Learned::UnknownOrigin;
        };
        match (log.convicted.first(), log.standing(head)) {
            (Some(id), _) => Learned::Convicted(*id),
            (None, Place::Known) => Learned::Consistent,
            (None, Place::Open(_) | Place::Unknown) => Learned::Open,
        }
    }

    /// The head with the lines that verify: the log's, and some by cosigners. Nothing when none of
    /// the log's keys signed it; with them, whether only retired keys did.
    // Spec: GSP-36
    fn admit(
        &self,
        step: &Step<'_>,
        key: &Hash,
        note: &SignedCheckpoint,
        from: Option<&KeyName>,
    ) -> Option<(Arc<SignedCheckpoint>, bool)> {
        let log = self.logs.get(key)?;
        let (mut good, mut current, mut failed) = (Vec::new(), false, 0_usize);
        for (place, line) in note.signatures().iter().enumerate() {
            let mut keys = log.settings.keys.iter();
            let Some((key, standing)) = keys.find(|(key, _)| key.matches(line)) else {
                continue;
            };
            if failed >= FAILED_LINES_MAX {
                break;
            }
            if step.verifier.checkpoint(key, note, line) {
                good.push(place);
                current |= *standing == Standing::Current;
            } else {
                failed += 1;
            }
        }
        if good.is_empty() {
            return None;
        }
        let mut cosigners = 0;
        // The line of who shows it first: it can be convicted of hiding or going back.
        let by_sender = |place: &usize| {
            let line = note.signatures().get(*place);
            usize::from(line.map(SignatureLine::name) != from)
        };
        let mut places: Vec<usize> = (0..note.signatures().len()).collect();
        places.sort_by_key(by_sender);
        for place in places {
            let Some(line) = note.signatures().get(place) else {
                continue;
            };
            let keys = self.roster.cosigners.get(line.name());
            let Some(key) = keys.and_then(|keys| keys.iter().find(|key| key.matches(line))) else {
                continue;
            };
            if cosigners >= COSIGNER_LINES_MAX || failed >= FAILED_LINES_MAX {
                break;
            }
            if good.contains(&place) {
                continue;
            }
            if step.verifier.checkpoint(key, note, line) {
                good.push(place);
                cosigners += 1;
            } else {
                failed += 1;
            }
        }
        let note = note.with_signatures(&good, &[]).ok()?;
        Some((Arc::new(note), !current))
    }

    /// Looks for a head of the same size and another root.
    // Spec: GSP-37
    fn contradict(
        &mut self,
        step: &mut Step<'_>,
        key: &Hash,
        note: &Arc<SignedCheckpoint>,
    ) -> Option<Learned> {
        let head = note.head();
        let mut nonsense = None;
        if head.size.is_zero() && head.root_hash != empty_root() {
            nonsense = self.contradiction(step, Evidence::empty((**note).clone()));
        }
        let log = self.logs.get(key)?;
        let rival =
            |other: &&Arc<SignedCheckpoint>| other.head().size == head.size && other.head() != head;
        let rivals: Vec<Arc<SignedCheckpoint>> = log.notes().filter(rival).cloned().collect();
        for rival in rivals {
            let evidence = Evidence::same_size((*rival).clone(), (**note).clone());
            self.contradiction(step, evidence);
        }
        let convicted = self.logs.get(key)?.convicted.first().copied();
        convicted.or(nonsense).map(Learned::Convicted)
    }

    /// Hands in what may be a contradiction. Its id when it convicts somebody.
    pub(super) fn contradiction(
        &mut self,
        step: &mut Step<'_>,
        evidence: Result<Evidence, NoContradiction>,
    ) -> Option<Hash> {
        match self.found(step, &evidence.ok()?, None) {
            Found::New(id) | Found::Known(id) | Found::Counted(id) => Some(id),
            Found::Nothing(_) | Found::Undetermined(_) => None,
        }
    }

    /// Keeps a head: as the history, when none is known of its log, or among the open ones.
    // Spec: GSP-32, GSP-33
    fn insert(
        &mut self,
        step: &mut Step<'_>,
        key: &Hash,
        note: Arc<SignedCheckpoint>,
        retired: bool,
        from: Option<&KeyName>,
    ) -> Learned {
        let (ring, offer) = (self.config.ring, self.config.offer);
        let head = note.head();
        let Some(log) = self.logs.get_mut(key) else {
            return Learned::UnknownOrigin;
        };
        if log.reference().is_none() && retired {
            // Whoever stole an old key must not decide what the history is.
            return Learned::NotSigned;
        }
        if log.reference().is_none() {
            let recent = Recent {
                head,
                time: step.wall.seconds(),
                own: false,
                note: Some(note.clone()),
            };
            log.remember(recent, ring, offer);
            log.top = Some(Held {
                note,
                seen: step.wall,
                sources: from.cloned().into_iter().collect(),
            });
            step.dirty.insert(*key);
            return Learned::Consistent;
        }
        // Each has its own share: a log can show as many heads as it likes where strangers do, and
        // they must not take the place of the one that a peer shows.
        let so_far = log.new_in_round.entry(from.cloned()).or_default();
        if *so_far >= self.config.new_per_round {
            return Learned::TooMany;
        }
        *so_far += 1;
        if log
            .make_room(&note, self.config.unresolved, step.dice)
            .is_none()
        {
            return Learned::TooMany;
        }
        let mut open = Open::new(note, step.wall, (step.now, step.wall));
        open.retired = retired;
        // Spec: GSP-115, GSP-170. What is not larger than ours, the log does not bring any more.
        let is_ahead = log
            .reference()
            .is_some_and(|held| held.head().size < head.size);
        if from.is_some() {
            open.read_from = ReadFrom::of(is_ahead, step.now, &self.config);
        }
        if log
            .known_root(head.size)
            .is_some_and(|root| root != head.root_hash)
        {
            // Two roots of one size, and the other note is gone: only the proof is missing.
            open.read_from = None;
            open.phase = if retired {
                Phase::Pending
            } else {
                Phase::Suspect
            };
        }
        if let Some(from) = from {
            open.add_source(from);
        }
        log.open.push(open);
        self.unsettled.insert(*key);
        step.dirty.insert(*key);
        Learned::Open
    }

    /// Takes an opening, whoever it is from: it is true of the trees, and its note is checked here.
    // Spec: GSP-38
    pub(super) fn apply(&mut self, step: &mut Step<'_>, opening: &Opening, from: Option<&KeyName>) {
        let key = opening.note().origin().hash();
        let head = opening.note().head();
        let Some(log) = self.log_mut(&key) else {
            return;
        };
        let known = log.notes().find(|note| note.head() == head).cloned();
        let note = match (known, log.standing(&head)) {
            (Some(known), _) => Some(known),
            // Its note is gone here, and this one may say anything under it.
            (None, Place::Known) => self
                .admit(step, &key, opening.note(), from)
                .map(|(note, _)| note),
            (None, _) => {
                match self.learn(step, opening.note(), from) {
                    Learned::UnknownOrigin | Learned::NotSigned => return,
                    Learned::Consistent
                    | Learned::Open
                    | Learned::TooMany
                    | Learned::Convicted(_) => {}
                }
                let admitted = self.admit(step, &key, opening.note(), from);
                admitted.map(|(note, _)| note)
            }
        };
        let Some(note) = note else {
            return;
        };
        let (old, proof) = (opening.old(), opening.proof().clone());
        let verified = Opening::new(old, proof, (*note).clone());
        let (Ok(opening), Some(log)) = (verified, self.logs.get_mut(&key)) else {
            return;
        };
        log.remember_opening(opening);
        self.settle(step, &key);
        self.attempt(step, &key);
        self.confirm(step, &key);
    }

    /// Draws all conclusions from what is held of a log.
    // Spec: GSP-38, GSP-39
    pub(super) fn settle(&mut self, step: &mut Step<'_>, key: &Hash) {
        for evidence in self.contradictions(key) {
            self.found(step, &evidence, None);
            if self.logs.get(key).is_none_or(super::Log::is_convicted) {
                return;
            }
        }
        while let Some(place) = self.resolvable(key) {
            self.resolve(step, key, place);
        }
    }

    /// What the openings contradict.
    fn contradictions(&self, key: &Hash) -> Vec<Evidence> {
        let Some(log) = self.logs.get(key) else {
            return Vec::new();
        };
        if log.is_convicted() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for opening in &log.openings {
            let old = opening.old();
            for note in log.notes() {
                let head = note.head();
                if head.size == old.size && head != old {
                    let note = (**note).clone();
                    let larger = opening.note().clone();
                    let evidence = if larger.head().size == old.size {
                        Evidence::same_size(note, larger)
                    } else {
                        let proof = opening.proof().clone();
                        Evidence::opening(note, larger, old.root_hash, proof)
                    };
                    found.extend(evidence);
                }
            }
        }
        found
    }

    /// The place of an open head that is known to be in the history.
    fn resolvable(&self, key: &Hash) -> Option<usize> {
        let log = self.logs.get(key)?;
        if log.is_convicted() {
            return None;
        }
        let reference = log.reference().map(Held::head);
        log.open.iter().position(|open| {
            let head = open.head();
            if log.known_root(head.size) == Some(head.root_hash) {
                return true;
            }
            log.openings.iter().any(|opening| {
                let larger = opening.note().head();
                let of_history = log.known_root(larger.size) == Some(larger.root_hash);
                (of_history && opening.old() == head)
                    || (larger == head && Some(opening.old()) == reference)
            })
        })
    }

    // Spec: GSP-39
    fn resolve(&mut self, step: &mut Step<'_>, key: &Hash, place: usize) {
        let (ring, offer) = (self.config.ring, self.config.offer);
        let Some(log) = self.logs.get_mut(key) else {
            return;
        };
        if place >= log.open.len() {
            return;
        }
        let open = log.open.remove(place);
        let head = open.head();
        let is_longer = log
            .reference()
            .is_none_or(|held| held.head().size < head.size);
        // Whoever stole an old key must not decide how the history goes on. It fits, and is let go;
        // whoever shows it again when the history is as long has it compared.
        let continues = is_longer && !open.retired;
        if (continues || !is_longer) && log.known_root(head.size).is_none() {
            let recent = Recent {
                head,
                time: open.seen.seconds(),
                own: false,
                note: Some(open.note.clone()),
            };
            log.remember(recent, ring, offer);
        }
        if continues {
            log.top = Some(Held {
                note: open.note,
                seen: open.seen,
                sources: open.sources,
            });
        }
        step.dirty.insert(*key);
        step.actions.push(Action::Resolved {
            origin: super::origin_of(log),
            head,
            phase: open.phase,
        });
    }

    /// Looks for openings of what is not resolved: the log's tiles, then the peers that have the
    /// larger head. One at a time.
    // Spec: GSP-39
    pub(super) fn attempt(&mut self, step: &mut Step<'_>, key: &Hash) {
        let first = self.asked_first();
        let Some(log) = self.logs.get_mut(key) else {
            return;
        };
        if log.is_convicted() {
            return;
        }
        let Some(reference) = log.reference().cloned() else {
            return;
        };
        let origin = log.settings.origin.clone();
        let whose = (&self.own.name, self.config.secret);
        let least = log.fewest_reads(reference.head().size);
        for open in &mut log.open {
            let (small, large) = if open.head().size < reference.head().size {
                (&open.note, &reference.note)
            } else {
                (&reference.note, &open.note)
            };
            let (old, of) = (small.head().size, large.head());
            if old == of.size || old.is_zero() {
                continue;
            }
            let [read, _] = open.tried;
            let is_reading = self.reading.contains_key(key);
            let may_read = log.settings.tiles && open.left.read && open.read_from.is_none();
            let may_read = may_read && !is_reading && Some(read) == least;
            if may_read && self.reading.len() >= self.config.reads_at_once {
                if !core::mem::replace(&mut log.is_waiting, true) {
                    self.to_read.push_back(*key);
                }
            } else if may_read {
                self.reading.insert(*key, (old, of, step.now));
                open.left.read = false;
                step.actions.push(Action::ReadTiles {
                    old,
                    note: large.clone(),
                });
            }
            if !open.may_ask(first) {
                continue;
            }
            let is_larger = Arc::ptr_eq(large, &open.note);
            for _ in 0..TURNS_MAX {
                let name = whom_to_ask(&log.agreed, &self.roster, whose, open, is_larger, of.size);
                let Some(name) = name else {
                    if !log.settings.tiles {
                        // There is nobody to ask.
                        open.attempts = open.attempts.saturating_add(1);
                    }
                    break;
                };
                // Spec: GSP-170. A log that grows meanwhile has no opening in the one that we hold,
                // but in the next one; and a peer that has none at that size may have this one.
                let question = if is_larger || open.turn() % 4 < 2 {
                    Question::Challenge(small.clone())
                } else {
                    Question::Opening {
                        origin: origin.clone(),
                        old,
                        size: of.size,
                    }
                };
                let peer = self.peers.entry(name.clone()).or_default();
                if peer.ask_aside(question) {
                    open.asking = Some(name);
                    open.left.ask = false;
                    break;
                }
                // Spec: GSP-114. It is the next one's turn; nobody was asked in vain.
                open.passed = open.passed.saturating_add(1);
            }
        }
    }

    /// How many peers are asked for an opening before tiles are read for it.
    // Spec: GSP-170
    pub(super) fn asked_first(&self) -> u64 {
        let count = self.roster.count_but(&[&self.own.name]);
        ASKED_FIRST.min(u64::try_from(count).unwrap_or(u64::MAX))
    }

    /// What the tiles of a log gave. Then it is another log's turn.
    // Spec: GSP-39
    pub(super) fn tiles_read(
        &mut self,
        step: &mut Step<'_>,
        origin: &Origin,
        wanted: (TreeSize, TreeHead),
        opening: Option<Opening>,
    ) {
        self.take_tiles(step, origin, wanted, opening);
        while self.reading.len() < self.config.reads_at_once {
            let Some(key) = self.to_read.pop_front() else {
                break;
            };
            if let Some(log) = self.logs.get_mut(&key) {
                log.is_waiting = false;
            }
            self.attempt(step, &key);
        }
    }

    fn take_tiles(
        &mut self,
        step: &mut Step<'_>,
        origin: &Origin,
        (old, of): (TreeSize, TreeHead),
        opening: Option<Opening>,
    ) {
        let key = origin.hash();
        let Some(log) = self.logs.get_mut(&key) else {
            return;
        };
        let reading = self.reading.get(&key);
        if reading.is_some_and(|(size, head, _)| (*size, *head) == (old, of)) {
            self.reading.remove(&key);
        }
        // It counts as in vain, unless it resolves the head, which is not open then.
        for open in &mut log.open {
            if open.head() == of || open.head().size == old {
                let [tiles, _] = &mut open.tried;
                *tiles = tiles.saturating_add(1);
                open.attempts = open.attempts.saturating_add(1);
            }
        }
        match opening.filter(|opening| opening.note().head() == of) {
            Some(opening) => self.apply(step, &opening, None),
            // Others of its open heads may be read in this round.
            None => self.attempt(step, &key),
        }
    }

    /// A peer that was asked for an opening of a log, or of any, has none or does not answer.
    pub(super) fn asked_in_vain(&mut self, peer: &KeyName, of: Option<Hash>) {
        let keys = match of {
            Some(key) => BTreeSet::from([key]),
            None => self.unsettled.clone(),
        };
        for key in keys {
            let Some(log) = self.logs.get_mut(&key) else {
                continue;
            };
            for open in &mut log.open {
                if open.asking.as_ref() == Some(peer) {
                    open.asking = None;
                    let [_, peers] = &mut open.tried;
                    *peers = peers.saturating_add(1);
                    open.attempts = open.attempts.saturating_add(1);
                }
            }
        }
    }

    /// Somebody wants our head opened at the size of its own.
    // Spec: GSP-50
    pub(super) fn challenged(
        &mut self,
        step: &mut Step<'_>,
        request: RequestId,
        from: Option<&KeyName>,
        note: &SignedCheckpoint,
    ) {
        let head = note.head();
        // Only the share of a peer that is known counts as one.
        let is_peer = |name: &&KeyName| **name != self.own.name && self.roster.peer(name).is_some();
        let from = from.filter(is_peer);
        let learned = self.learn(step, note, from);
        let reply = match learned {
            Learned::UnknownOrigin => Reply::UnknownOrigin,
            Learned::NotSigned => Reply::NotSigned,
            _ => match self.opening_at(&note.origin().hash(), head.size) {
                Some(opening) => Reply::Opening(Box::new(opening)),
                None => self.reply_to_head(learned),
            },
        };
        step.replies.push(Action::Reply { request, reply });
    }

    /// Somebody saw a checkpoint.
    // Spec: GSP-51
    pub(super) fn observed(
        &mut self,
        step: &mut Step<'_>,
        request: RequestId,
        note: &SignedCheckpoint,
    ) {
        let learned = self.learn(step, note, None);
        let reply = self.reply_to_head(learned);
        step.replies.push(Action::Reply { request, reply });
    }

    // Spec: GSP-45. A conviction that a crash would forget is not told.
    fn reply_to_head(&self, learned: Learned) -> Reply {
        match learned {
            Learned::Convicted(id) if self.evidence(&id).is_none() => Reply::Pending,
            Learned::UnknownOrigin => Reply::UnknownOrigin,
            Learned::NotSigned => Reply::NotSigned,
            Learned::Consistent => Reply::Consistent,
            Learned::Open => Reply::Pending,
            Learned::TooMany => Reply::TooMany,
            Learned::Convicted(id) => Reply::Convicted { id },
        }
    }

    /// An opening that shows what the history has at a size: of the largest head that one is
    /// remembered of, or of a head of that size itself.
    // Spec: GSP-50
    fn opening_at(&self, key: &Hash, size: TreeSize) -> Option<Opening> {
        let log = self.logs.get(key)?;
        let own = log.openings.iter();
        let own = own.filter(|opening| opening.old().size == size);
        let largest = own.max_by_key(|opening| opening.note().head().size);
        if let Some(opening) = largest {
            return Some(opening.clone());
        }
        let mut notes = log.notes();
        let itself = notes.find(|note| {
            note.head().size == size && log.known_root(size) == Some(note.head().root_hash)
        });
        Opening::of_itself((**itself?).clone()).ok()
    }
}

/// Who has the larger head can open it: of others' heads who showed it, of ours whoever agrees on
/// it. Those in turn, and every other time one of the others: they may have it by now, and a head
/// that comes from the disk, or was in the history once, has nobody who is known to have it. Where
/// the turns of the others begin is each witness's secret, or all would ask the same ones.
fn whom_to_ask(
    agreed: &[(KeyName, TreeSize)],
    roster: &Roster,
    (own, secret): (&KeyName, Random),
    open: &Open,
    is_larger: bool,
    size: TreeSize,
) -> Option<KeyName> {
    let mut holders: Vec<&KeyName> = Vec::new();
    if !is_larger {
        let agreeing = agreed.iter().filter(|(_, largest)| *largest >= size);
        holders.extend(agreeing.map(|(name, _)| name));
    }
    for name in &open.sources {
        if !holders.contains(&name) {
            holders.push(name);
        }
    }
    holders.retain(|name| roster.is_asked(name));
    let asked = open.turn();
    // Of a smaller head each is asked twice: see where this is called.
    let turns = if is_larger { asked / 2 } else { asked / 4 };
    let mut known = holders.clone();
    if !known.contains(&own) {
        known.push(own);
    }
    let has_others = roster.count_but(&known) > 0;
    if has_others && (asked % 2 == 1 || holders.is_empty()) {
        let (start, _) = secret.0.split_at(8);
        let start = u64::from_be_bytes(start.try_into().unwrap_or_default());
        // Each turn is one of theirs when there is nobody else.
        let turns = match (holders.is_empty(), is_larger) {
            (false, _) => turns,
            (true, true) => asked,
            (true, false) => turns.wrapping_mul(2).wrapping_add(asked % 2),
        };
        return roster.one_but(&known, start.wrapping_add(turns)).cloned();
    }
    let count = u64::try_from(holders.len()).unwrap_or(u64::MAX);
    let place = usize::try_from(turns.checked_rem(count)?).ok()?;
    holders.get(place).map(|name| (*name).clone())
}
