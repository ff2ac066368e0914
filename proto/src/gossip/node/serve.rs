//! What others are shown. Nothing changes here, and nothing is signed.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::log::{Log, Place};
use super::message::{Alarm, Moment, Phase};
use super::{LogRecord, Node, first_hash};
use crate::checkpoint::{Origin, SignedCheckpoint};
use crate::evidence::Evidence;
use crate::gossip::{
    CATALOGUE_LINES_MAX, Catalogue, Fetch, Notes, Opening, Page, Random, Row, State, Suspicion, Tag,
};
use crate::hash::{Hash, leaf_hash, sha256};
use crate::tree::{CompactRange, TreeHead, TreeSize};

/// Whether a log may be cosigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cosigning {
    /// As far as gossip knows.
    Free,
    /// Nothing but what is proven consistent with this head: 503.
    Held {
        /// The head that its log signed and nobody can join to the others.
        suspect: TreeHead,
    },
    /// Nothing, of any log that nothing else is said of, while no peer is heard: 503.
    Isolated,
    /// Never again: 403.
    Convicted {
        /// By which evidence.
        id: Hash,
    },
    /// This witness signs nothing any more.
    Stopped {
        /// By which evidence.
        id: Hash,
    },
}

impl Node {
    /// Whether a log may be cosigned.
    // Spec: GSP-42, GSP-44, GSP-47, GSP-194
    pub fn cosigning(&self, origin: &Origin) -> Cosigning {
        if let Some(id) = self.stopped {
            return Cosigning::Stopped { id };
        }
        // Spec: GSP-194
        let alone = self.config.hold_isolated && self.alarms.contains(&Alarm::Isolated);
        let otherwise = if alone {
            Cosigning::Isolated
        } else {
            Cosigning::Free
        };
        let Some(log) = self.logs.get(&origin.hash()) else {
            return otherwise;
        };
        match (log.convicted.first(), log.suspect()) {
            (Some(id), _) => Cosigning::Convicted { id: *id },
            (None, Some(suspect)) => Cosigning::Held { suspect },
            (None, None) => otherwise,
        }
    }

    /// Which journal, and how many changes it has seen: what is held is the same while this is.
    // Spec: GSP-03
    pub fn position(&self) -> (Random, u64) {
        (self.journal.epoch, self.journal.seq)
    }

    /// What is held, to be signed.
    // Spec: GSP-03, GSP-27
    pub fn state(&self, now: Moment, nonce: Option<Random>) -> State {
        let mut rows = CompactRange::new();
        for leaf in self.logs.values().filter_map(|log| log.leaf) {
            // A tree that is full of logs does not fit in memory.
            let _ = rows.append(leaf);
        }
        State {
            name: self.own.name.clone(),
            epoch: self.journal.epoch,
            seq: self.journal.seq,
            time: now.seconds(),
            rows: rows.head(),
            evidence: self.evidence_head(),
            nonce,
        }
    }

    /// The tree over the ids of the stored evidence, in their order.
    // Spec: GSP-27
    pub(super) fn evidence_head(&self) -> TreeHead {
        let mut tree = CompactRange::new();
        for (id, kept) in &self.evidence {
            if kept.entry.is_some() {
                // A tree that is full of evidence does not fit in memory.
                let _ = tree.append(leaf_hash(id.as_bytes()));
            }
        }
        tree.head()
    }

    /// A page of the feed and its rows, to be signed: of every log that changed after `since`, what
    /// is offered now, in the order of the changes. At the same change, for the same `since` and
    /// `rows_max`, all but its time comes out the same (GSP-09).
    ///
    /// - `epoch` is the journal that who asks has read; `since` counts in it. Of another journal
    ///   than ours, or none, or of changes to come, it is the first page, and `since` is 0.
    /// - `rows_max` ends the page before the log that would not fit whole, save the first, so that
    ///   who asks gets on: a page may have up to eight rows more than asked for when that is less
    ///   than eight. [`crate::gossip::FEED_ROWS_MAX`] is the most that anybody reads.
    /// - Its `next` is the last change that it holds; when nothing is left out, `seq`, the last one
    ///   of all. Then `since` may be as large, and there are no rows.
    /// - Logs of one id (64 bits, which can be made to collide) are one in this: all or none of
    ///   them are on a page, the one with the smaller newest head first, so that who reads it sees
    ///   where each begins.
    // Spec: GSP-04, GSP-09, GSP-30, GSP-85
    pub fn page(
        &self,
        epoch: Option<Random>,
        since: u64,
        rows_max: usize,
        now: Moment,
    ) -> (Page, Vec<Row>) {
        let is_ours = epoch == Some(self.journal.epoch) && since <= self.journal.seq;
        let since = if is_ours { since } else { 0 };
        let mut changed: Vec<&Log> = Vec::new();
        let (mut next, mut count) = (self.journal.seq, 0_usize);
        let mut until = since;
        for (seq, id) in self.journal.changed.range(since.saturating_add(1)..) {
            let mut logs: Vec<&Log> = self
                .logs
                .range(first_hash(*id)..)
                .map(|(_, log)| log)
                .take_while(|log| log.id == *id)
                .collect();
            logs.sort_by_key(|log| log.newest_offered());
            let rows: usize = logs.iter().map(|log| log.offered.len()).sum();
            if count > 0 && count.saturating_add(rows) > rows_max {
                next = until;
                break;
            }
            count = count.saturating_add(rows);
            until = *seq;
            changed.append(&mut logs);
        }
        let mut page = Page {
            name: self.own.name.clone(),
            epoch: self.journal.epoch,
            seq: self.journal.seq,
            since,
            next,
            time: now.seconds(),
            salt: Random([0; 16]),
            rows: TreeHead::empty(),
        };
        page.salt = self.salt_of(&page);
        let rows: Vec<Row> = changed
            .into_iter()
            .flat_map(|log| rows_of(log, &page.salt))
            .collect();
        page.rows = Page::rows_head(&rows).unwrap_or(TreeHead::empty());
        (page, rows)
    }

    /// The salt of a page follows from what it is about and a secret: the same page comes out the
    /// same, and nobody knows it before.
    // Spec: GSP-09
    fn salt_of(&self, page: &Page) -> Random {
        let mut message = Vec::from(self.config.secret.0);
        message.extend(b"jurat/gossip-salt\n");
        message.extend(page.subject().as_bytes());
        let hash = sha256(&message);
        let (salt, _) = hash.as_bytes().split_at(16);
        Random(salt.try_into().unwrap_or_default())
    }

    /// The notes behind rows, as far as they are still held.
    // Spec: GSP-22
    pub fn notes(&self, fetch: &Fetch) -> Notes {
        let mut found: Vec<Arc<SignedCheckpoint>> = Vec::new();
        for wanted in fetch.rows() {
            let keys = self.keys_of(wanted.origin);
            let logs: Vec<&Log> = keys.iter().filter_map(|key| self.logs.get(key)).collect();
            let exact = logs.iter().find_map(|log| {
                let origin = &log.settings.origin;
                log.notes().find(|note| {
                    note.head().size == wanted.size
                        && Tag::of(&fetch.salt(), origin, &note.head()) == wanted.tag
                })
            });
            // Where the log grows faster than peers ask, its newest head does as well.
            let newest = logs.iter().filter_map(|log| log.own.as_ref());
            let notes: Vec<_> = match exact {
                Some(note) => [note].into(),
                None => newest.map(|own| &own.note).collect(),
            };
            for note in notes {
                if !found.iter().any(|other| Arc::ptr_eq(note, other)) {
                    found.push(note.clone());
                }
            }
        }
        Notes::new(found.iter().map(|note| (**note).clone()))
    }

    /// An opening that is remembered.
    // Spec: GSP-50
    pub fn opening(&self, origin: &Hash, old: TreeSize, size: TreeSize) -> Option<&Opening> {
        let log = self.logs.get(origin)?;
        let mut openings = log.openings.iter();
        openings.find(|opening| opening.old().size == old && opening.note().head().size == size)
    }

    /// Part of the list of evidence.
    // Spec: GSP-26
    pub fn catalogue(&self, since: u64) -> Catalogue {
        let listed = self.listed.range(since.saturating_add(1)..);
        let entries = listed.filter_map(|(_, id)| self.evidence.get(id)?.entry);
        let entries = entries.take(CATALOGUE_LINES_MAX).collect();
        Catalogue::new(since, entries).unwrap_or_default()
    }

    /// Evidence that is stored.
    pub fn evidence(&self, id: &Hash) -> Option<&Arc<Evidence>> {
        let kept = self.evidence.get(id)?;
        kept.entry.is_some().then_some(&kept.evidence)
    }

    /// What is said in public now of heads that nobody can open, to be signed, with the two notes.
    // Spec: GSP-43
    pub fn suspicions(&self, now: Moment) -> Vec<(Suspicion, [Arc<SignedCheckpoint>; 2])> {
        let mut said = Vec::new();
        for key in &self.unsettled {
            let Some(log) = self.logs.get(key) else {
                continue;
            };
            let Some(held) = log.reference() else {
                continue;
            };
            for open in &log.open {
                if open.phase != Phase::Unprovable || log.is_convicted() {
                    continue;
                }
                let suspicion = Suspicion {
                    name: self.own.name.clone(),
                    time: now.seconds(),
                    origin: log.settings.origin.clone(),
                    held: held.head(),
                    suspect: open.head(),
                    seen: open.seen.seconds(),
                    tried: open.tried,
                };
                said.push((suspicion, [held.note.clone(), open.note.clone()]));
            }
        }
        said
    }

    /// The largest head of a log that enough operators hold identically, and since when this is
    /// known.
    // Spec: GSP-53
    pub fn confirmed(&self, origin: &Origin) -> Option<(TreeHead, Moment)> {
        let log = self.logs.get(&origin.hash())?;
        log.confirmed.filter(|_| !log.is_convicted())
    }

    /// How far a head has come that is not resolved; nothing when it is, or is not held.
    pub fn phase(&self, origin: &Origin, head: &TreeHead) -> Option<Phase> {
        let log = self.logs.get(&origin.hash())?;
        match log.standing(head) {
            Place::Open(place) => log.open.get(place).map(|open| open.phase),
            Place::Known | Place::Unknown => None,
        }
    }

    /// What is stored for a log.
    pub fn record(&self, origin: &Origin) -> Option<LogRecord> {
        self.logs.get(&origin.hash())?.record()
    }

    /// The alarms that are raised.
    pub fn alarms(&self) -> impl Iterator<Item = &Alarm> {
        self.alarms.iter()
    }

    /// The evidence that convicts a key of this witness.
    pub fn stopped(&self) -> Option<Hash> {
        self.stopped
    }

    /// How much is held: logs, heads that are not resolved, remembered heads, evidence.
    pub fn counts(&self) -> [usize; 4] {
        let logs = self.logs.values();
        [
            self.roster.logs.len(),
            logs.clone().map(|log| log.open.len()).sum(),
            logs.map(|log| log.ring.len()).sum(),
            self.evidence.len(),
        ]
    }
}

fn rows_of(log: &Log, salt: &Random) -> impl Iterator<Item = Row> {
    log.offered.iter().map(|offer| Row {
        origin: log.id,
        size: offer.head.size,
        tag: Tag::of(salt, &log.settings.origin, &offer.head),
        time: offer.time,
        flags: offer.flags,
    })
}
