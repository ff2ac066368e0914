//! One peer: what was asked, what it said of itself, and which of its heads we do not know.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::directory::Config;
use super::message::{AskId, Failure, Moment, Question};
use crate::evidence::Evidence;
use crate::gossip::{OriginId, Random, Row, SignedStatement};
use crate::hash::Hash;
use crate::key::UnixSeconds;
use crate::tree::TreeSize;

/// How many questions wait for a peer, and how many files of evidence besides.
const QUEUE_MAX: usize = 64;
/// From how many on no more openings are asked for.
const ASIDE_MAX: usize = QUEUE_MAX / 2;
/// How many logs of a peer may have heads that are not known here. When there are more, its feed is
/// not read further before they are fewer.
// Spec: GSP-34
pub(super) const MISSED_MAX: usize = 16_384;
/// How many files of evidence are remembered that a peer offered and that were of no use.
const REFUSED_MAX: usize = 256;
/// What parts of a round pass before a question that was lost is asked again: once for each. With
/// answers that are waited for 5 s, all of them are over within a round of 60 s.
const AGAIN_PARTS: [u32; 4] = [64, 32, 16, 8];
/// How often a pause doubles.
const DOUBLINGS_MAX: u32 = 16;

#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    /// The question that is out, and since when.
    pub(super) busy: Option<(AskId, Question, Moment)>,
    pub(super) queue: VecDeque<Question>,
    /// Evidence that is to be mailed: it has a place of its own, or who cannot be reached would
    /// have room for nothing else.
    // Spec: GSP-111
    pub(super) mail: VecDeque<Arc<Evidence>>,
    /// The question that was lost, and comes before all others.
    pub(super) again: Option<Question>,
    /// How many questions were lost in a row, until it answered or was given up.
    pub(super) lost: u32,
    pub(super) failures: u32,
    /// When the first of the questions was asked that it has not answered.
    pub(super) failing_since: Option<Moment>,
    /// A page of its feed was asked for in vain, and none was read since: what it says of itself
    /// does not end its silence.
    pub(super) unread: bool,
    pub(super) wait_until: Moment,
    /// When evidence is mailed again, unless it answers before.
    pub(super) mail_from: Moment,
    /// How far its journal was read.
    pub(super) cursor: Option<Cursor>,
    /// How far its journal was read again, while it is.
    pub(super) reread: Option<u64>,
    /// What it said last that it holds.
    pub(super) stated: Option<SignedStatement>,
    /// The last page of its feed.
    pub(super) paged: Option<SignedStatement>,
    /// The time of its clock less that of ours, in seconds, when it answered last.
    pub(super) clock_offset: Option<i64>,
    /// How far its list of evidence was read.
    pub(super) catalogue_next: u64,
    pub(super) refused: VecDeque<Hash>,
    /// Its heads that are not known here.
    pub(super) missed: BTreeMap<OriginId, Missed>,
    /// What is left of this round's share.
    pub(super) pages_left: u32,
    pub(super) notes_left: usize,
    pub(super) at_once_left: usize,
    pub(super) reading: Reading,
}

/// What is read of a peer in a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Reading {
    /// All that is new.
    #[default]
    Whole,
    /// Of its feed the newest changes alone.
    Newest,
    /// Its evidence, and nothing of its feed.
    Evidence,
}

/// How far the journal of a peer was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    pub(super) epoch: Random,
    pub(super) next: u64,
    /// The largest change that it has spoken of.
    pub(super) seq: u64,
    /// The time in the state that was asked for last.
    pub(super) time: UnixSeconds,
}

/// Heads of a log, or of all logs of one id, that a peer has and that are not known here.
#[derive(Clone, Debug)]
pub(super) struct Missed {
    pub(super) salt: Random,
    pub(super) rows: Vec<Row>,
    /// For how many rounds in which the peer and we came to agree on nothing newer.
    pub(super) rounds: u32,
    /// How many rounds it takes until they are fetched.
    pub(super) patience: u32,
    /// Since when, or since when they were fetched last.
    pub(super) since: Moment,
    /// The largest head that the peer and we were seen to agree on meanwhile.
    pub(super) agreed: Option<TreeSize>,
    /// Whether one of them is no larger than our history: what it was should be known here.
    pub(super) is_behind: bool,
    /// Whether all of them came within the last seconds: their log is bringing them here, perhaps.
    pub(super) is_fresh: bool,
    /// Whether they, or earlier ones, were fetched.
    pub(super) is_asked: bool,
}

impl Peer {
    /// Whether it may be asked anything now.
    pub(super) fn is_ready(&self, now: Moment) -> bool {
        self.busy.is_none() && self.wait_until <= now
    }

    /// Whether its pause after failures, or the one that it asked for, is not over.
    pub(super) fn is_pausing(&self, now: Moment) -> bool {
        self.wait_until > now
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing_since.is_some()
    }

    /// Puts a question behind the others; drops it when there are too many.
    pub(super) fn ask(&mut self, question: Question) -> bool {
        let fits = self.queue.len() < QUEUE_MAX;
        if fits {
            self.queue.push_back(question);
        }
        fits
    }

    /// As [`Peer::ask`], for what may wait: openings of one log must not take the place of what is
    /// asked about the others.
    pub(super) fn ask_aside(&mut self, question: Question) -> bool {
        self.queue.len() < ASIDE_MAX && self.ask(question)
    }

    /// A round begins, or goes on with what is new: however much waits, it goes before all. At most
    /// one does at a time.
    pub(super) fn ask_round(&mut self, question: Question) {
        self.queue.push_front(question);
    }

    /// Evidence goes before everything else, save what was lost.
    // Spec: GSP-111
    pub(super) fn mail(&mut self, evidence: Arc<Evidence>) {
        if self.mail.len() < QUEUE_MAX {
            self.mail.push_front(evidence);
        }
    }

    /// The first that waits; evidence does until it may be mailed.
    pub(super) fn next_question(&mut self, now: Moment) -> Option<Question> {
        if let Some(lost) = self.again.take() {
            return Some(lost);
        }
        let may_mail = self.failures == 0 || self.mail_from <= now;
        if may_mail && let Some(evidence) = self.mail.pop_front() {
            return Some(Question::Mail(evidence));
        }
        self.queue.pop_front()
    }

    pub(super) fn is_exchanging(&self) -> bool {
        let is_round = |question: &Question| {
            matches!(question, Question::State { .. } | Question::Heads { .. })
        };
        let out = self.busy.as_ref().map(|(_, question, _)| question);
        let mut pending = self.queue.iter().chain(&self.again).chain(out);
        pending.any(is_round)
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.lost = 0;
        if !self.unread {
            self.failing_since = None;
        }
    }

    /// There was no answer to what was asked then: asks the same again, soon, and not as soon when
    /// that is lost as well, until the round is over. Whether it will. What was lost that often is
    /// given up, however many rounds that took: it comes before all else, and nothing else would
    /// ever be asked.
    ///
    /// Mail for who fails anyway has a longer pause, see [`Peer::failed`].
    // Spec: GSP-82, GSP-111
    pub(super) fn ask_again(
        &mut self,
        (now, asked, round_at): (Moment, Moment, Moment),
        config: &Config,
        question: &Question,
    ) -> bool {
        let lost = usize::try_from(self.lost).ok();
        let part = lost.and_then(|lost| AGAIN_PARTS.get(lost));
        let again_at = part.map(|part| now.after(config.round / *part));
        let Some(again_at) = again_at.filter(|at| *at <= round_at) else {
            return false;
        };
        if self.failures > 0 && matches!(question, Question::Mail(_)) {
            return false;
        }
        self.lost = self.lost.saturating_add(1);
        self.failing_since.get_or_insert(asked);
        self.wait_until = again_at;
        self.again = Some(question.clone());
        true
    }

    /// A pause that doubles with each failure. When nobody answers it is a short one, but evidence
    /// waits for the whole of it. What waited is dropped, save evidence: the next round asks again.
    ///
    /// Who cannot be reached has no burden to be spared, and to ask costs nothing: a partition that
    /// lasted for hours is over within a round of its end, and not after the longest pause.
    // Spec: GSP-35, GSP-100
    pub(super) fn failed(
        &mut self,
        (now, asked, round_at): (Moment, Moment, Moment),
        config: &Config,
        failure: Failure,
    ) {
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(asked);
        let doublings = self.failures.saturating_sub(1).min(DOUBLINGS_MAX);
        // It is asked in the next round, however late in this one it was given up.
        let shortest = (config.round / 2).min(round_at.since(now));
        let longest = config.round.saturating_mul(1 << doublings) / 2;
        let pause = match failure {
            Failure::Unreachable => shortest,
            Failure::Busy { wait } => longest.max(wait),
            Failure::Malformed | Failure::Refused => longest,
        };
        self.wait_until = now.after(pause.min(config.backoff_max));
        self.mail_from = now.after(longest.min(config.backoff_max));
        self.lost = 0;
        // The round's own question stays: a round may have begun while the last one was lost.
        let is_round = |question: &Question| {
            failure == Failure::Unreachable && matches!(question, Question::State { .. })
        };
        self.queue.retain(is_round);
        // Files that its list named were not fetched, perhaps. What is held is not fetched again.
        self.catalogue_next = 0;
    }

    pub(super) fn refuse(&mut self, file: Hash) {
        if self.refused.len() >= REFUSED_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back(file);
    }

    /// Other keys are known: what was of no use may be of use.
    pub(super) fn read_list_anew(&mut self) {
        self.catalogue_next = 0;
        self.refused.clear();
    }

    pub(super) fn has_refused(&self, file: &Hash) -> bool {
        self.refused.contains(file)
    }
}
