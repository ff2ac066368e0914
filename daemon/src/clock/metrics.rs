//! What a guard counts and shows. Every label has a bounded set of values; a source is named by
//! its place in the list.
//!
//! Rows: `spec/clock.md` CLK-35.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::sntp::{AskError, ReplyError};

/// A guard's metrics. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct ClockMetrics {
    state: Family<StateLabel, Gauge>,
    offset: Gauge<f64, AtomicU64>,
    bound: Gauge<f64, AtomicU64>,
    answers: Family<AnswerLabel, Counter>,
}

impl ClockMetrics {
    /// Metrics that `registry` shows, for a guard with so many sources.
    // Spec: CLK-35
    pub fn register(registry: &mut Registry, sources: usize) -> Self {
        let this = Self::default();
        // From the start: what appears only when it happens is missed by `increase()`.
        for source in 0..sources {
            for answer in ANSWERS {
                drop(
                    this.answers
                        .get_or_create(&AnswerLabel::new(source, answer)),
                );
            }
        }
        this.state(State::Good);
        this.unknown();
        registry.register(
            "clock_state",
            "1 for what is known of the clock, 0 for the rest; only with Good a time is told",
            this.state.clone(),
        );
        registry.register_with_unit(
            "clock_offset",
            "How far the clock is ahead of the middle of what the time sources agree on",
            Unit::Seconds,
            this.offset.clone(),
        );
        registry.register_with_unit(
            "clock_bound",
            "How wrong the clock can be, as far as the time sources know",
            Unit::Seconds,
            this.bound.clone(),
        );
        registry.register(
            "clock_source_answers",
            "What time sources answered, by place in the list",
            this.answers.clone(),
        );
        this
    }

    /// What is known of the clock now.
    pub(super) fn state(&self, now: State) {
        for state in STATES {
            let gauge = self.state.get_or_create(&StateLabel { state });
            gauge.set(i64::from(state == now));
        }
    }

    /// The clock was compared with the sources.
    pub(super) fn compared(&self, ahead: Duration, behind: Duration, bound: Duration) {
        self.offset.set(ahead.as_secs_f64() - behind.as_secs_f64());
        self.bound.set(bound.as_secs_f64());
    }

    /// Nobody knows how right the clock is.
    pub(super) fn unknown(&self) {
        self.offset.set(f64::NAN);
        self.bound.set(f64::NAN);
    }

    /// A source answered, or did not.
    pub(super) fn answered(&self, source: usize, answer: Answer) {
        let label = AnswerLabel::new(source, answer);
        self.answers.get_or_create(&label).inc();
    }

    /// How often a source answered so.
    pub fn answer_count(&self, source: usize, answer: Answer) -> u64 {
        let counter = self.answers.get(&AnswerLabel::new(source, answer));
        counter.map_or(0, |counter| counter.get())
    }
}

/// What is known of a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum State {
    /// Nothing speaks against it.
    Good,
    /// It stepped back.
    SteppedBack,
    /// It leapt forward.
    Leapt,
    /// It is not where the sources say that true time is.
    Outside,
    /// The sources contradict each other.
    NoAgreement,
    /// The sources have not answered for too long.
    Stale,
    /// Not enough sources have answered since the start.
    Waiting,
    /// The NTP daemon of this machine does not say that it is synchronised.
    NotSynchronised,
}

const STATES: [State; 8] = [
    State::Good,
    State::SteppedBack,
    State::Leapt,
    State::Outside,
    State::NoAgreement,
    State::Stale,
    State::Waiting,
    State::NotSynchronised,
];

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Answer {
    /// It counts.
    Good,
    /// The server is not synchronised.
    Unsynchronised,
    /// The server asks for fewer questions.
    Kiss,
    /// It says too little to be of use.
    Uncertain,
    /// It is no answer.
    Malformed,
    /// There is none.
    Silent,
    /// The server cannot be reached, or its name not be looked up.
    Unreachable,
}

impl Answer {
    /// What an error is counted as.
    pub fn of(error: &AskError) -> Self {
        match error {
            AskError::Lookup(_)
            | AskError::LookupsHang
            | AskError::NoAddress
            | AskError::Unreachable(_)
            | AskError::NoRandom(_) => Self::Unreachable,
            AskError::Silent { .. } => Self::Silent,
            AskError::Reply(reply) => match reply {
                ReplyError::Unsynchronised { .. } => Self::Unsynchronised,
                ReplyError::Kiss(_) => Self::Kiss,
                ReplyError::Uncertain { .. } => Self::Uncertain,
                ReplyError::Length { .. }
                | ReplyError::Mode { .. }
                | ReplyError::NotAsked
                | ReplyError::Version { .. }
                | ReplyError::NoTime
                | ReplyError::SentBeforeReceived
                | ReplyError::HeldTooLong { .. } => Self::Malformed,
            },
        }
    }
}

const ANSWERS: [Answer; 7] = [
    Answer::Good,
    Answer::Unsynchronised,
    Answer::Kiss,
    Answer::Uncertain,
    Answer::Malformed,
    Answer::Silent,
    Answer::Unreachable,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabel {
    source: u64,
    answer: Answer,
}

impl AnswerLabel {
    fn new(source: usize, answer: Answer) -> Self {
        let source = u64::try_from(source).unwrap_or(u64::MAX);
        Self { source, answer }
    }
}
