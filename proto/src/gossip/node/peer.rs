//! One peer: what was asked, what it said of itself, and which of its heads we do not know.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::directory::Config;
use super::message::{AskId, Failure, Moment, Question};
use crate::gossip::{OriginId, Random, Row, SignedStatement};
use crate::hash::Hash;
use crate::key::UnixSeconds;
use crate::tree::TreeSize;

/// How many questions wait for a peer.
const QUEUE_MAX: usize = 64;
/// From how many on no more openings are asked for.
const ASIDE_MAX: usize = QUEUE_MAX / 2;
/// How many logs of a peer may have heads that are not known here. When there are more, its feed is
/// not read further before they are fewer.
// Spec: GSP-34
pub(super) const MISSED_MAX: usize = 16_384;
/// How many files of evidence are remembered that a peer offered and that were of no use.
const REFUSED_MAX: usize = 256;
/// What part of a round passes before a question that was lost is asked once more.
const AGAIN_PART: u32 = 16;
/// How often a pause doubles.
const DOUBLINGS_MAX: u32 = 16;

#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    /// The question that is out, and since when.
    pub(super) busy: Option<(AskId, Question, Moment)>,
    pub(super) queue: VecDeque<Question>,
    pub(super) failures: u32,
    /// Whether the question that is out was lost before, and is asked once more.
    pub(super) is_again: bool,
    pub(super) failing_since: Option<Moment>,
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

    /// Evidence goes before everything else.
    pub(super) fn ask_first(&mut self, question: Question) {
        if self.queue.len() < QUEUE_MAX {
            self.queue.push_front(question);
        }
    }

    /// The first that waits; evidence does until it may be mailed.
    pub(super) fn next_question(&mut self, now: Moment) -> Option<Question> {
        let may_mail = self.failures == 0 || self.mail_from <= now;
        let mut waiting = self.queue.iter();
        let place = waiting.position(|next| may_mail || !matches!(next, Question::Mail(_)))?;
        self.queue.remove(place)
    }

    pub(super) fn is_exchanging(&self) -> bool {
        let is_round = |question: &Question| {
            matches!(question, Question::State { .. } | Question::Heads { .. })
        };
        self.queue.iter().any(is_round)
            || matches!(&self.busy, Some((_, question, _)) if is_round(question))
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.is_again = false;
        self.failing_since = None;
    }

    /// There was no answer: asks once more, soon, what was asked, unless that was the second time,
    /// or the peer is failing anyway. Whether it will.
    // Spec: GSP-82
    pub(super) fn ask_again(&mut self, now: Moment, config: &Config, question: &Question) -> bool {
        if self.is_again || self.failures > 0 {
            return false;
        }
        self.is_again = true;
        self.failing_since.get_or_insert(now);
        self.wait_until = now.after(config.round / AGAIN_PART);
        self.queue.push_front(question.clone());
        true
    }

    /// A pause that doubles with each failure. When nobody answers it is a short one, but evidence
    /// waits for the whole of it. What waited is dropped, save evidence: the next round asks again.
    ///
    /// Who cannot be reached has no burden to be spared, and to ask costs nothing: a partition that
    /// lasted for hours is over within a round of its end, and not after the longest pause.
    // Spec: GSP-35, GSP-100
    pub(super) fn failed(&mut self, now: Moment, config: &Config, failure: Failure) {
        self.failures = self.failures.saturating_add(1);
        self.is_again = false;
        self.failing_since.get_or_insert(now);
        let doublings = self.failures.saturating_sub(1).min(DOUBLINGS_MAX);
        let shortest = config.round / 2;
        let longest = config.round.saturating_mul(1 << doublings) / 2;
        let pause = match failure {
            Failure::Unreachable => shortest,
            Failure::Busy { wait } => longest.max(wait),
            Failure::Malformed | Failure::Refused => longest,
        };
        self.wait_until = now.after(pause.min(config.backoff_max));
        self.mail_from = now.after(longest.min(config.backoff_max));
        self.queue
            .retain(|question| matches!(question, Question::Mail(_)));
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
