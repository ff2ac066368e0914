//! What tells one node from another: all that decides what it does next. A model checker that tells
//! every story must see when it was here before (`docs/gossip-models.md`).
//!
//! Left out: what a node is given and never changes by itself (configuration, directory), what
//! follows from the rest, and the numbers of its questions, which say only how many there were.

use core::hash::{Hash as _, Hasher};

use super::Node;
use super::log::{Held, Log, Open, Recent};
use super::message::Question;
use super::peer::{Cursor, Missed, Peer};
use super::proven::Kept;
use crate::checkpoint::SignedCheckpoint;
use crate::gossip::{Opening, SignedStatement};
use crate::note::SignatureLine;

impl Node {
    /// Feeds a hasher all that decides what this node does next, besides what it was made from. Two
    /// nodes of one configuration and directory that feed the same do the same from here on, but
    /// for the numbers of their questions.
    // Spec: GSP-87
    pub fn fingerprint(&self, into: &mut impl Hasher) {
        for (key, log) in &self.logs {
            key.hash(into);
            of_log(log, into);
        }
        self.reading.hash(into);
        self.to_read.hash(into);
        for (name, peer) in &self.peers {
            name.hash(into);
            of_peer(peer, into);
        }
        self.journal.epoch.hash(into);
        self.journal.seq.hash(into);
        self.evidence.len().hash(into);
        for (id, kept) in &self.evidence {
            id.hash(into);
            of_kept(kept, into);
        }
        self.alarms.hash(into);
        self.stopped.hash(into);
        let times = [
            self.round_at,
            self.reread_at,
            self.heard,
            self.wall,
            self.steady,
        ];
        times.hash(into);
    }
}

fn of_log(log: &Log, into: &mut impl Hasher) {
    of_held(log.own.as_ref(), into);
    of_held(log.top.as_ref(), into);
    log.ring.len().hash(into);
    for recent in &log.ring {
        let Recent {
            head,
            time,
            own,
            note,
        } = recent;
        (head.size, head.root_hash, time, own, note.is_some()).hash(into);
        if let Some(note) = note {
            of_note(note, into);
        }
    }
    log.open.len().hash(into);
    for open in &log.open {
        of_open(open, into);
    }
    (log.opened, &log.new_in_round, log.is_waiting).hash(into);
    log.openings.len().hash(into);
    for opening in &log.openings {
        of_opening(opening, into);
    }
    (&log.agreed, &log.convicted, log.changed, log.grew).hash(into);
    let stored = log.stored.as_ref().map(super::LogRecord::to_bytes);
    stored.hash(into);
    log.offered.len().hash(into);
    for offer in &log.offered {
        let flags = [offer.flags.newest_cosigned, offer.flags.unresolved];
        (offer.head.size, offer.head.root_hash, offer.time, flags).hash(into);
    }
    log.held.map(|head| (head.size, head.root_hash)).hash(into);
    let confirmed = log
        .confirmed
        .map(|(head, since)| (head.size, head.root_hash, since));
    (confirmed, log.unconfirmed_since).hash(into);
}

fn of_held(held: Option<&Held>, into: &mut impl Hasher) {
    held.is_some().hash(into);
    if let Some(held) = held {
        (held.seen, &held.sources).hash(into);
        of_note(&held.note, into);
    }
}

fn of_open(open: &Open, into: &mut impl Hasher) {
    of_note(&open.note, into);
    (open.phase, open.seen, open.since, open.since_wall).hash(into);
    (open.rounds, open.tried, open.attempts, open.retired).hash(into);
    (&open.asking, open.left.read, open.left.ask, &open.sources).hash(into);
    (open.read_from, open.ask_from, open.passed).hash(into);
}

fn of_opening(opening: &Opening, into: &mut impl Hasher) {
    let old = opening.old();
    (old.size, old.root_hash).hash(into);
    // Of one pair of heads there is one proof.
    of_note(opening.note(), into);
}

fn of_note(note: &SignedCheckpoint, into: &mut impl Hasher) {
    note.note().text().hash(into);
    of_lines(note.signatures(), into);
}

fn of_lines(lines: &[SignatureLine], into: &mut impl Hasher) {
    for line in lines {
        (line.name(), line.key_id(), line.signature()).hash(into);
    }
}

fn of_statement(said: Option<&SignedStatement>, into: &mut impl Hasher) {
    said.is_some().hash(into);
    if let Some(said) = said {
        said.note().text().hash(into);
        of_lines(said.signatures(), into);
    }
}

fn of_peer(peer: &Peer, into: &mut impl Hasher) {
    peer.busy.is_some().hash(into);
    if let Some((_, question, since)) = &peer.busy {
        since.hash(into);
        of_question(question, into);
    }
    peer.queue.len().hash(into);
    for question in &peer.queue {
        of_question(question, into);
    }
    peer.mail.len().hash(into);
    for evidence in &peer.mail {
        evidence.to_bytes().hash(into);
    }
    peer.again.is_some().hash(into);
    if let Some(lost) = &peer.again {
        of_question(lost, into);
    }
    (peer.failures, peer.lost, peer.failing_since).hash(into);
    (peer.wait_until, peer.mail_from).hash(into);
    peer.cursor.is_some().hash(into);
    if let Some(cursor) = peer.cursor {
        let Cursor {
            epoch,
            next,
            seq,
            time,
        } = cursor;
        (epoch, next, seq, time).hash(into);
    }
    (peer.reread, peer.clock_offset, peer.catalogue_next).hash(into);
    of_statement(peer.stated.as_ref(), into);
    of_statement(peer.paged.as_ref(), into);
    peer.refused.hash(into);
    for (id, missed) in &peer.missed {
        let Missed {
            salt,
            rows,
            rounds,
            patience,
            since,
            agreed,
            is_behind,
            is_fresh,
            is_asked,
        } = missed;
        (id, salt, rows, rounds, patience, since).hash(into);
        (agreed, is_behind, is_fresh, is_asked).hash(into);
    }
    (peer.pages_left, peer.notes_left, peer.at_once_left).hash(into);
    (peer.reading, peer.unread).hash(into);
}

fn of_question(question: &Question, into: &mut impl Hasher) {
    core::mem::discriminant(question).hash(into);
    match question {
        Question::State { nonce } => nonce.hash(into),
        Question::Heads { epoch, since } => (epoch, since).hash(into),
        Question::Fetch(fetch) => (fetch.salt(), fetch.rows()).hash(into),
        Question::Challenge(note) => of_note(note, into),
        Question::Opening { origin, old, size } => (origin, old, size).hash(into),
        Question::Catalogue { since } => since.hash(into),
        Question::Evidence { id } => id.hash(into),
        Question::Mail(evidence) => evidence.to_bytes().hash(into),
    }
}

fn of_kept(kept: &Kept, into: &mut impl Hasher) {
    // The verdict follows from the file and the keys.
    kept.evidence.to_bytes().hash(into);
    kept.hash_beside(into);
    kept.entry
        .map(|entry| (entry.number, entry.file))
        .hash(into);
    (kept.stored, kept.outstanding, kept.spoiled, kept.late).hash(into);
    (&kept.waiting, &kept.from, kept.finder, kept.since).hash(into);
}
