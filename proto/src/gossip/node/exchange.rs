//! What peers answer: states, pages, notes, openings, lists and files of evidence.
//!
//! ```text
//! state ─► (epoch, seq) moved? ─► heads … heads ─► rows unknown for G rounds ─► fetch ─► learn
//!       └► evidence differs? ───► list ─► evidence
//! ```
//!
//! A page is believed as far as its peer signed it. What it says of heads is only a hint: each note
//! is verified by itself, and a row that matches one of our heads matches its whole history.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::directory::{Config, Roster};
use super::log::{Log, Place};
use super::message::{Alarm, Answer, AskId, Failure, Moment, Question};
use super::peer::{Cursor, MISSED_MAX, Missed, Reading};
use super::proven::Found;
use super::{Node, Step};
use crate::evidence::Evidence;
use crate::gossip::{
    Catalogue, FETCH_ROWS_MAX, Feed, Fetch, OriginId, Page, Random, Row, SignedStatement,
    Statement, Wanted,
};
use crate::hash::{Hash, sha256};
use crate::key::{KeyName, UnixSeconds};
use crate::tree::{TreeHead, TreeSize};

/// How many rows of one id are remembered that are not known here: all that are wanted of three
/// logs that have one id.
const MISSED_ROWS_MAX: usize = 16;
/// How many rows of one id a page may have: those of sixteen logs, which it would take some 2^60
/// hashes to find. A peer that shows more is lying, and is told.
const ROWS_OF_ID_MAX: usize = 128;
/// The longest that rows wait which their peer does not give the notes of, in rounds.
const PATIENCE_MAX: u32 = 64;
/// How many files of evidence are fetched from a peer at a time.
const EVIDENCE_ASKED_MAX: usize = 16;
/// For how many quorums it is remembered who agrees on a head of a log: a thousand peers that do
/// would need more room than the log itself.
const AGREED_QUORUMS: usize = 4;

impl Node {
    pub(super) fn answered(
        &mut self,
        step: &mut Step<'_>,
        name: &KeyName,
        ask: AskId,
        answer: Answer,
    ) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        let is_due = |(due, _, _): &(AskId, Question, _)| *due == ask;
        let Some((_, question, asked)) = peer.busy.take_if(|busy| is_due(busy)) else {
            return;
        };
        if let Answer::Failed(failure) = answer {
            self.unanswered(step, name, (question, asked), failure);
            return;
        }
        self.heard = step.now;
        let about = origin_asked(&question);
        let is_page = matches!(question, Question::Heads { .. });
        if about.is_some() {
            self.asked_in_vain(name, about);
        }
        let failure = match (question, answer) {
            (Question::State { nonce }, Answer::State(signed)) => {
                self.state_said(step, name, &nonce, *signed)
            }
            (Question::Heads { epoch, since }, Answer::Heads(feed)) => {
                self.page_said(step, name, (epoch, since), &feed)
            }
            (Question::Fetch(_), Answer::Notes(notes)) => {
                for note in notes.into_vec().iter().take(FETCH_ROWS_MAX) {
                    self.learn(step, note, Some(name));
                }
                None
            }
            (Question::Challenge(_) | Question::Opening { .. }, Answer::Opening(opening)) => {
                self.apply(step, &opening, Some(name));
                None
            }
            (Question::Catalogue { .. }, Answer::Catalogue(list)) => {
                self.listed_there(name, &list);
                None
            }
            (Question::Evidence { .. }, Answer::Evidence(evidence)) => {
                let found = self.found(step, &evidence, Some(name));
                if !matches!(found, Found::New(_))
                    && let Some(peer) = self.peers.get_mut(name)
                {
                    peer.refuse(sha256(&evidence.to_bytes()));
                }
                None
            }
            (Question::Mail(_), Answer::Taken | Answer::Nothing)
            | (
                Question::Challenge(_) | Question::Opening { .. } | Question::Evidence { .. },
                Answer::Nothing,
            ) => None,
            _ => Some(Failure::Malformed),
        };
        // Spec: GSP-170. It was asked in vain.
        if let Some(key) = about {
            self.ripen(step, &key);
        }
        self.said(step, name, (asked, is_page), failure);
    }

    /// How an answer was. A peer whose feed cannot be read is silent, whatever else it says.
    // Spec: GSP-173
    fn said(
        &mut self,
        step: &mut Step<'_>,
        name: &KeyName,
        (asked, is_page): (Moment, bool),
        failure: Option<Failure>,
    ) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        if let Some(failure) = failure {
            peer.unread |= is_page;
            self.failed(step, name, asked, failure);
            return;
        }
        peer.unread &= !is_page;
        peer.succeeded();
        if !peer.unread {
            let peer = name.clone();
            self.alarm(step, Alarm::PeerSilent { peer }, false);
        }
    }

    /// There is no answer. What was lost is asked again, soon: an exchange is some questions in a
    /// row, and each that is lost would cost a round.
    // Spec: GSP-82
    pub(super) fn unanswered(
        &mut self,
        step: &mut Step<'_>,
        name: &KeyName,
        (question, asked): (Question, Moment),
        failure: Failure,
    ) {
        let times = (step.now, asked, self.round_at);
        if failure == Failure::Unreachable
            && let Some(peer) = self.peers.get_mut(name)
            && peer.ask_again(times, &self.config, &question)
        {
            return;
        }
        if let Some(origin) = origin_asked(&question) {
            self.asked_in_vain(name, Some(origin));
        }
        if let Some(peer) = self.peers.get_mut(name) {
            peer.unread |= matches!(question, Question::Heads { .. });
        }
        // Mail waits until the peer can be reached; one that refuses evidence is not asked again,
        // it finds it in our list.
        let later = matches!(failure, Failure::Unreachable | Failure::Busy { .. });
        if later
            && let Question::Mail(evidence) = question
            && let Some(peer) = self.peers.get_mut(name)
        {
            peer.mail(evidence);
        }
        self.failed(step, name, asked, failure);
    }

    fn failed(&mut self, step: &mut Step<'_>, name: &KeyName, asked: Moment, failure: Failure) {
        self.asked_in_vain(name, None);
        let times = (step.now, asked, self.round_at);
        if let Some(peer) = self.peers.get_mut(name) {
            peer.failed(times, &self.config, failure);
        }
    }

    fn misbehaves(&mut self, step: &mut Step<'_>, name: &KeyName) -> Failure {
        let peer = name.clone();
        self.alarm(step, Alarm::PeerMisbehaves { peer }, true);
        Failure::Malformed
    }

    /// Whether a statement is signed by the peer's gossip key, in its name.
    // Spec: GSP-10
    fn is_said_by(&self, step: &Step<'_>, name: &KeyName, signed: &SignedStatement) -> bool {
        let keys = self.roster.peer(name).map(|peer| &peer.gossip[..]);
        signed.statement().name() == name
            && signed.signatures().iter().any(|line| {
                let mut keys = keys.unwrap_or_default().iter();
                keys.any(|key| key.matches(line) && step.verifier.statement(key, signed, line))
            })
    }

    /// What a peer says that it holds.
    // Spec: GSP-48
    fn state_said(
        &mut self,
        step: &mut Step<'_>,
        name: &KeyName,
        nonce: &Random,
        signed: SignedStatement,
    ) -> Option<Failure> {
        let state = match signed.statement() {
            Statement::State(state)
                if self.is_said_by(step, name, &signed) && state.nonce == Some(*nonce) =>
            {
                state.clone()
            }
            _ => return Some(self.misbehaves(step, name)),
        };
        let peer = self.peers.get_mut(name)?;
        let before = peer.stated.replace(signed.clone());
        peer.clock_offset = Some(offset(state.time, step.wall.seconds()));
        let same_journal = peer.cursor.filter(|cursor| cursor.epoch == state.epoch);
        let cursor = Cursor {
            epoch: state.epoch,
            next: same_journal.map_or(0, |cursor| cursor.next),
            seq: state.seq,
            time: state.time,
        };
        let went_back = same_journal.is_some_and(|cursor| cursor.seq > state.seq);
        if let Some(before) = before
            && let Ok(evidence) = Evidence::gossip_equivocation(before, signed)
        {
            self.found(step, &evidence, None);
        }
        if went_back {
            return Some(self.misbehaves(step, name));
        }
        let alarm = Alarm::PeerMisbehaves { peer: name.clone() };
        self.alarm(step, alarm, false);
        let glance = self.config.glance;
        let peer = self.peers.get_mut(name)?;
        if same_journal.is_none() {
            peer.catalogue_next = 0;
        }
        peer.cursor = Some(cursor);
        // Spec: GSP-45. Copies of the same contradictions may still differ.
        if !state.evidence.size.is_zero() {
            let since = peer.catalogue_next;
            peer.ask(Question::Catalogue { since });
        }
        if same_journal.is_none() {
            // It is read from its beginning anyway.
            peer.reread = None;
        }
        // Spec: GSP-83
        let recent = state.seq.saturating_sub(glance);
        match peer.reading {
            Reading::Newest if recent > cursor.next => peer.reread = Some(recent),
            Reading::Newest | Reading::Whole => {}
            Reading::Evidence => return None,
        }
        let since = peer.reread.unwrap_or(cursor.next);
        peer.unread &= state.seq > since;
        if state.seq > since {
            peer.ask_round(Question::Heads {
                epoch: cursor.epoch,
                since,
            });
        } else {
            self.look_at_missed(step, name);
        }
        None
    }

    /// A page of a peer's feed.
    // Spec: GSP-21, GSP-34, GSP-49, GSP-85, GSP-88
    fn page_said(
        &mut self,
        step: &mut Step<'_>,
        name: &KeyName,
        (epoch, since): (Random, u64),
        feed: &Feed,
    ) -> Option<Failure> {
        let page = feed.page();
        let skew_max = self.config.statement_skew.as_secs();
        if !self.is_said_by(step, name, feed.signed()) {
            return Some(self.misbehaves(step, name));
        }
        let peer = self.peers.get_mut(name)?;
        let before = peer.paged.replace(feed.signed().clone());
        let cursor = peer.cursor?;
        if let Some(before) = before
            && let Ok(evidence) = Evidence::gossip_equivocation(before, feed.signed().clone())
        {
            self.found(step, &evidence, None);
        }
        if page.epoch != epoch || cursor.epoch != epoch {
            // Its journal began anew between the two answers: the next round sees it.
            return None;
        }
        let is_fresh = page.time.get().abs_diff(cursor.time.get()) <= skew_max;
        if page.since != since || !is_fresh {
            return Some(self.misbehaves(step, name));
        }
        self.look_for_omission(step, name, feed);
        let mut by_origin: BTreeMap<OriginId, Vec<Row>> = BTreeMap::new();
        for row in feed.rows() {
            by_origin.entry(row.origin).or_default().push(*row);
        }
        if by_origin.values().any(|rows| rows.len() > ROWS_OF_ID_MAX) {
            return Some(self.misbehaves(step, name));
        }
        let mut is_full = false;
        for (id, rows) in by_origin {
            let keys = self.keys_of(id);
            if keys.is_empty() {
                continue;
            }
            is_full |= !self.compare(step.now, name, &keys, page, &rows);
            for key in keys {
                self.confirm(step, &key);
            }
        }
        let peer = self.peers.get_mut(name)?;
        let more = page.next > since && page.next < page.seq;
        if !is_full {
            // What a glance left out was not read.
            let is_next = since <= cursor.next;
            let next = if is_next { page.next } else { 0 };
            peer.cursor = Some(Cursor {
                next: cursor.next.max(next),
                seq: cursor.seq.max(page.seq),
                ..cursor
            });
            peer.reread = peer.reread.filter(|_| more).map(|_| page.next);
        }
        if more && !is_full && peer.pages_left > 0 {
            peer.pages_left -= 1;
            peer.ask(Question::Heads {
                epoch,
                since: page.next,
            });
        } else {
            self.look_at_missed(step, name);
        }
        None
    }

    /// Compares a peer's rows of one id with the heads of the logs that have it, nearly always one.
    /// Whether what is not known could be noted.
    // Spec: GSP-34, GSP-85, GSP-101
    fn compare(
        &mut self,
        now: Moment,
        name: &KeyName,
        keys: &[Hash],
        page: &Page,
        rows: &[Row],
    ) -> bool {
        let salt = &page.salt;
        let grace = self.config.grace_rounds;
        let (Some(first), Some(peer)) = (rows.first(), self.peers.get_mut(name)) else {
            return true;
        };
        let id = first.origin;
        let is_settled = |key: &Hash| self.logs.get(key).is_some_and(Log::is_convicted);
        if keys.iter().all(is_settled) {
            peer.missed.remove(&id);
            return true;
        }
        let mut matching = Matching::new(&self.roster, &self.config, name, salt);
        let mut unknown: Vec<(bool, bool, Row)> = Vec::new();
        let mut contradicts = false;
        for (is_newest, row) in rows_with_newest(rows) {
            if matching.any(&mut self.logs, keys, row) {
                continue;
            }
            // Nothing that we may learn later joins two roots of one size.
            let is_other = is_size_known(&self.logs, keys, row);
            contradicts |= is_other;
            let is_flagged = row.flags.unresolved || row.flags.newest_cosigned;
            if is_other || is_newest || is_flagged {
                unknown.push((is_other, is_newest, *row));
            }
        }
        // What is always wanted of each log goes first, or logs of one id could use up the room of
        // another with rows of sizes that are known.
        unknown.sort_by_key(|(is_other, is_newest, row)| {
            let flags = row.flags;
            let wanted = (flags.newest_cosigned, *is_newest, flags.unresolved);
            core::cmp::Reverse((wanted, *is_other, row.size))
        });
        unknown.truncate(MISSED_ROWS_MAX);
        let unknown: Vec<Row> = unknown.into_iter().map(|(_, _, row)| row).collect();
        if unknown.is_empty() {
            peer.missed.remove(&id);
            return true;
        }
        let before = peer.missed.get(&id);
        if before.is_none() && peer.missed.len() >= MISSED_MAX {
            return false;
        }
        let fresh_s = self.config.tiles_after.as_secs();
        let age = |row: &Row| page.time.get().saturating_sub(row.time.get());
        let is_fresh = |row: &Row| age(row) < fresh_s;
        let is_urgent = contradicts || unknown.iter().any(|row| row.flags.unresolved);
        let logs = keys.iter().filter_map(|key| self.logs.get(key));
        let held = logs.filter_map(Log::reference).map(|held| held.head().size);
        let held = held.max();
        let agreed = before.and_then(|missed| missed.agreed);
        let rounds = before
            .filter(|_| matching.agreed <= agreed)
            .map_or(0, |missed| missed.rounds);
        let missed = Missed {
            salt: *salt,
            rounds,
            patience: if is_urgent { 0 } else { grace },
            since: before.map_or(now, |missed| missed.since),
            agreed: agreed.max(matching.agreed),
            is_behind: unknown.iter().any(|row| Some(row.size) <= held),
            is_fresh: unknown.iter().all(is_fresh),
            is_asked: before.is_some_and(|missed| missed.is_asked),
            rows: unknown,
        };
        peer.missed.insert(id, missed);
        true
    }

    /// Once a round: which of a peer's heads are still not known, and which of them to fetch.
    // Spec: GSP-34
    fn look_at_missed(&mut self, step: &mut Step<'_>, name: &KeyName) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        let mut missed = core::mem::take(&mut peer.missed);
        let mut wanted: BTreeMap<Random, Vec<Wanted>> = BTreeMap::new();
        let (mut left, mut at_once_left) = (peer.notes_left, peer.at_once_left);
        let mut progress: Vec<Hash> = Vec::new();
        missed.retain(|id, missed| {
            let keys = self.roster.keys_of(*id);
            // Nothing is held of a log that was not met.
            let is_settled = |key: &Hash| self.logs.get(key).is_some_and(Log::is_convicted);
            if keys.iter().all(is_settled) {
                return false;
            }
            let mut matching = Matching::new(&self.roster, &self.config, name, &missed.salt);
            let before = missed.rows.len();
            let logs = &mut self.logs;
            missed.rows.retain(|row| !matching.any(logs, &keys, row));
            missed.agreed = missed.agreed.max(matching.agreed);
            if missed.rows.len() < before {
                progress.extend(&keys);
            }
            missed.rounds = missed.rounds.saturating_add(1);
            !missed.rows.is_empty()
        });
        let mut due: Vec<(bool, &mut Missed)> = missed
            .values_mut()
            .filter_map(|missed| {
                let is_old = step.now.since(missed.since) >= self.config.slow_every;
                let is_due = missed.rounds >= missed.patience || is_old;
                (is_due || !missed.is_asked).then_some((is_due, missed))
            })
            .collect();
        // Who waited longest is first, or the logs whose hashes are small would use up each round.
        // Then what is new: first where the peer has another history, perhaps, than ours, and last
        // what its log is bringing here just now.
        due.sort_by_key(|(is_due, missed)| {
            let is_first = *is_due || missed.is_behind;
            (!is_due, !is_first, missed.is_fresh, missed.since)
        });
        for (is_due, missed) in due {
            if left < missed.rows.len() || (!is_due && at_once_left == 0) {
                break;
            }
            left = left.saturating_sub(missed.rows.len());
            missed.since = step.now;
            missed.is_asked = true;
            let rows = missed.rows.iter().map(Wanted::of);
            wanted.entry(missed.salt).or_default().extend(rows);
            if is_due {
                missed.rounds = 0;
                missed.patience = missed.patience.saturating_mul(2).clamp(1, PATIENCE_MAX);
            } else {
                at_once_left -= 1;
            }
        }
        if let Some(peer) = self.peers.get_mut(name) {
            peer.missed = missed;
            peer.notes_left = left;
            peer.at_once_left = at_once_left;
            for (salt, rows) in wanted {
                for rows in rows.chunks(FETCH_ROWS_MAX) {
                    if let Ok(fetch) = Fetch::new(salt, rows.to_vec()) {
                        peer.ask(Question::Fetch(fetch));
                    }
                }
            }
        }
        for key in progress {
            self.confirm(step, &key);
        }
    }

    /// What a peer has of evidence.
    // Spec: GSP-45
    fn listed_there(&mut self, name: &KeyName, list: &Catalogue) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        let mut asked = 0;
        for entry in list.entries() {
            let held = self.evidence.get(&entry.id).and_then(|kept| kept.entry);
            let is_held = held.is_some_and(|held| held.file == entry.file);
            if !is_held && !peer.has_refused(&entry.file) {
                if asked >= EVIDENCE_ASKED_MAX || !peer.ask(Question::Evidence { id: entry.id }) {
                    return;
                }
                asked += 1;
            }
            peer.catalogue_next = entry.number;
        }
        peer.catalogue_next = list.next();
    }
}

/// A peer's rows of one id, and whether each is the newest head of a log's history. A log's rows
/// are in the order of GSP-31, and logs of one id in that of their newest heads (GSP-30), so where
/// sizes grow a newest head stands. A head that the peer holds besides its history says nothing.
// Spec: GSP-31, GSP-34, GSP-85
fn rows_with_newest(rows: &[Row]) -> impl Iterator<Item = (bool, &Row)> {
    let history = rows.iter().filter(|row| !row.flags.unresolved);
    let largest = history.map(|row| row.size).max();
    let mut before = None;
    rows.iter().map(move |row| {
        if row.flags.unresolved {
            return (false, row);
        }
        let grew = before.is_none_or(|before| row.size >= before);
        before = Some(row.size);
        (grew || Some(row.size) == largest, row)
    })
}

/// Whether a root of this size is in the history of one of these logs.
fn is_size_known(logs: &BTreeMap<Hash, Log>, keys: &[Hash], row: &Row) -> bool {
    let mut logs = keys.iter().filter_map(|key| logs.get(key));
    logs.any(|log| log.known_root(row.size).is_some())
}

/// Rows of one peer beside the heads that are held.
struct Matching<'m> {
    roster: &'m Roster,
    /// Of how many peers it is remembered what they agree on.
    agreed_max: usize,
    name: &'m KeyName,
    salt: &'m Random,
    /// The largest head of the history that a row stood for.
    agreed: Option<TreeSize>,
}

impl<'m> Matching<'m> {
    fn new(roster: &'m Roster, config: &Config, name: &'m KeyName, salt: &'m Random) -> Self {
        Self {
            roster,
            agreed_max: config.quorum.saturating_mul(AGREED_QUORUMS),
            name,
            salt,
            agreed: None,
        }
    }

    /// Whether a row stands for a head that is held of one of these logs.
    fn any(&mut self, logs: &mut BTreeMap<Hash, Log>, keys: &[Hash], row: &Row) -> bool {
        let mut keys = keys.iter();
        keys.any(|key| logs.get_mut(key).is_some_and(|log| self.row(log, row)))
    }

    /// Whether a row stands for a head that is held.
    fn row(&mut self, log: &mut Log, row: &Row) -> bool {
        let Some(head): Option<TreeHead> = log.head_of_tag(self.salt, row.size, &row.tag) else {
            return false;
        };
        match log.standing(&head) {
            Place::Known => {
                self.agreed = self.agreed.max(Some(head.size));
                let roster = self.roster;
                let operator =
                    |name: &KeyName| roster.peer(name).map(|peer| peer.operator.as_str());
                log.agree(self.name, head.size, self.agreed_max, operator);
                true
            }
            Place::Open(place) => {
                if let Some(open) = log.open.get_mut(place) {
                    open.add_source(self.name);
                }
                true
            }
            Place::Unknown => false,
        }
    }
}

/// The log that an opening was asked of.
fn origin_asked(question: &Question) -> Option<Hash> {
    match question {
        Question::Challenge(note) => Some(note.origin().hash()),
        Question::Opening { origin, .. } => Some(origin.hash()),
        Question::State { .. }
        | Question::Heads { .. }
        | Question::Fetch(_)
        | Question::Catalogue { .. }
        | Question::Evidence { .. }
        | Question::Mail(_) => None,
    }
}

/// How many seconds one time is after another.
fn offset(time: UnixSeconds, from: UnixSeconds) -> i64 {
    let apart = i64::try_from(time.get().abs_diff(from.get())).unwrap_or(i64::MAX);
    if time >= from { apart } else { -apart }
}
