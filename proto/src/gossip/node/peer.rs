//! One peer: what was asked, what it said of itself, and which of its heads we do not know.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::directory::{Config, PeerSettings};
use super::message::{AskId, Failure, Moment, Question};
use crate::gossip::{OriginId, Random, Row, SignedStatement};
use crate::hash::Hash;
use crate::key::UnixSeconds;

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
/// How often a pause doubles.
const DOUBLINGS_MAX: u32 = 16;

#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) settings: PeerSettings,
    /// The question that is out, and since when.
    pub(super) busy: Option<(AskId, Question, Moment)>,
    pub(super) queue: VecDeque<Question>,
    pub(super) failures: u32,
    pub(super) failing_since: Option<Moment>,
    pub(super) wait_until: Moment,
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
}

impl Peer {
    pub(super) fn new(settings: PeerSettings) -> Self {
        Self {
            settings,
            busy: None,
            queue: VecDeque::new(),
            failures: 0,
            failing_since: None,
            wait_until: Moment::default(),
            cursor: None,
            reread: None,
            stated: None,
            paged: None,
            clock_offset: None,
            catalogue_next: 0,
            refused: VecDeque::new(),
            missed: BTreeMap::new(),
            pages_left: 0,
            notes_left: 0,
        }
    }

    /// Whether it may be asked anything now.
    pub(super) fn is_ready(&self, now: Moment) -> bool {
        self.busy.is_none() && self.wait_until <= now
    }

    /// Whether its pause after failures, or the one that it asked for, is not over.
    pub(super) fn is_pausing(&self, now: Moment) -> bool {
        self.wait_until > now
    }

    /// Whether it failed last, and its pause is over.
    pub(super) fn is_due_again(&self, now: Moment) -> bool {
        self.failing_since.is_some() && self.is_ready(now)
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

    pub(super) fn next_question(&mut self) -> Option<Question> {
        self.queue.pop_front()
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
        self.failing_since = None;
    }

    /// A pause that doubles with each failure. What waited is dropped, save evidence: the next
    /// round asks again.
    ///
    /// Who cannot be reached has no burden to be spared, and to ask costs nothing: a partition that
    /// lasted for hours is over within a round of its end, and not after the longest pause.
    // Spec: GSP-35, GSP-100
    pub(super) fn failed(&mut self, now: Moment, config: &Config, failure: Failure) {
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(now);
        let doublings = self.failures.saturating_sub(1).min(DOUBLINGS_MAX);
        let pause = config.round.saturating_mul(1 << doublings) / 2;
        let pause = match failure {
            Failure::Unreachable => pause.min(config.round),
            Failure::Busy { wait } => pause.max(wait),
            Failure::Malformed | Failure::Refused => pause,
        };
        self.wait_until = now.after(pause.min(config.backoff_max));
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
