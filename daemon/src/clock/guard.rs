//! Tells the time while it can be believed, and says why when it cannot.
//!
//! ```text
//!             ┌──── every_s, give or take; at once after a step ◄───┐
//!             ▼                                                     │
//! [`run`] ─► ask all sources at once ─► samples ─► look, each second┘
//!                                          │
//! read: wall, boot ─► band (samples) ──────┴─► steady ─► the time, and how wrong it can be
//!                      Outside, NoAgreement,   SteppedBack, Leapt
//!                      Stale, Waiting
//! ```
//!
//! With sources, they decide: while they do not agree, or the wall clock is not where they agree
//! that true time is, no time is told, and when they confirm it, a leap is over. Without sources
//! the guard knows only whether wall time goes with boot time. Either way no time is told that is
//! before one that was told.
//!
//! Out of scope: what is signed with a time, and whether it went back against what was signed
//! before a restart; the caller knows that.
//!
//! Rows: `spec/clock.md` CLK-30 to CLK-36, CLK-40.
//!
//! [`run`]: ClockGuard::run

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::band::{Band, Direction, SOURCES_MAX, Sample, Samples, Verdict};
use super::local::Unsynchronised;
use super::metrics::{Answer, ClockMetrics, State};
use super::settings::GuardSettings;
use super::sntp::{AskError, ReplyError, SntpClient};
use super::steady::{Leapt, Steady, SteppedBack, Unsteady};
use super::{BootTime, Clock, UnixTime};

/// Stands between a clock and who signs times. Shared by all who do, so that none of them is told
/// a time before one that another was told.
pub struct ClockGuard {
    clock: Arc<dyn Clock>,
    settings: GuardSettings,
    state: Mutex<Watch>,
    client: SntpClient,
    /// Somebody set the clock: the sources are to be asked at once.
    stepped: Notify,
    metrics: ClockMetrics,
}

struct Watch {
    steady: Steady,
    samples: Samples,
    /// What the NTP daemon of this machine said last, and when.
    local: Option<(BootTime, Result<(), Unsynchronised>)>,
    /// What the clocks showed when they were read last.
    seen: (UnixTime, BootTime),
    /// What the last reading came to, as far as it was told to the operator.
    told: Option<State>,
    sources: [Source; SOURCES_MAX],
}

/// How it goes with a source.
#[derive(Clone, Copy, Default)]
struct Source {
    fails: bool,
    /// How often in a row it wanted to be asked less.
    kisses: u32,
    /// Until then it is left alone.
    not_before: Option<BootTime>,
}

/// A time that can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Wall time; never before one that was told.
    pub time: UnixTime,
    /// How wrong it can be, when there are sources.
    pub bound: Option<Duration>,
}

/// Why no time is told. The machine's clock is at fault, or the sources are, or the way to them;
/// nothing changed, and it passes by itself when the fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTime {
    /// Wall time went back.
    #[error("the clock stepped back; its time counts again in {} s", .0.behind().as_secs() + 1)]
    SteppedBack(SteppedBack),
    /// Wall time went ahead, and nobody confirmed it.
    #[error(
        "the clock leapt {} s ahead; its time counts when it has been steady for {} s more",
        .0.ahead.as_secs(),
        .0.left.as_secs() + 1
    )]
    Leapt(Leapt),
    /// Wall time is not where the sources agree that true time is.
    #[error(
        "the clock is {}.{:03} s {} what the time sources agree on",
        .by.as_secs(),
        .by.subsec_millis(),
        match .direction { Direction::Ahead => "ahead of", Direction::Behind => "behind" }
    )]
    Outside {
        /// At least by so much.
        by: Duration,
        /// Which way.
        direction: Direction,
    },
    /// The sources contradict each other.
    #[error("the time sources contradict each other: of {answers}, {agree} agree; {needed} must")]
    NoAgreement {
        /// How many answers count.
        answers: usize,
        /// How many of them agree.
        agree: usize,
        /// How many must.
        needed: usize,
    },
    /// The sources have not answered for too long.
    #[error("too few time sources have answered for {} s; {needed} must", .age.as_secs())]
    Stale {
        /// How long.
        age: Duration,
        /// How many must.
        needed: usize,
    },
    /// Too few sources have answered since the start.
    #[error("{answers} time sources have answered since the start; {needed} must")]
    Waiting {
        /// How many have.
        answers: usize,
        /// How many must.
        needed: usize,
    },
    /// The NTP daemon of this machine does not say that it is synchronised.
    #[error("{0}")]
    NotSynchronised(Unsynchronised),
}

impl NoTime {
    /// Whether it is what each start goes through, until those who are asked have answered.
    pub const fn is_of_a_start(&self) -> bool {
        matches!(
            self,
            Self::Waiting { .. } | Self::NotSynchronised(Unsynchronised::Unknown)
        )
    }

    fn state(&self) -> State {
        match self {
            Self::SteppedBack(_) => State::SteppedBack,
            Self::Leapt(_) => State::Leapt,
            Self::Outside { .. } => State::Outside,
            Self::NoAgreement { .. } => State::NoAgreement,
            Self::Stale { .. } => State::Stale,
            Self::Waiting { .. } => State::Waiting,
            Self::NotSynchronised(_) => State::NotSynchronised,
        }
    }
}

impl From<Unsteady> for NoTime {
    fn from(unsteady: Unsteady) -> Self {
        match unsteady {
            Unsteady::SteppedBack(back) => Self::SteppedBack(back),
            Unsteady::Leapt(leapt) => Self::Leapt(leapt),
        }
    }
}

/// Why no time of a certain accuracy is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAccurate {
    /// No time is told at all.
    #[error("{0}")]
    NoTime(#[from] NoTime),
    /// There are no sources, so that nobody knows how wrong the clock is. The operator is at fault.
    #[error("no time sources are configured; how right the clock is nobody knows")]
    NoSources,
    /// It can be more wrong than it may be.
    #[error(
        "the clock can be wrong by {} ms; at most {} ms may be",
        .bound.as_millis(),
        .accuracy.as_millis()
    )]
    TooUncertain {
        /// How wrong it can be.
        bound: Duration,
        /// How wrong it may be.
        accuracy: Duration,
    },
}

impl ClockGuard {
    /// Begins to watch a clock. Whoever has sources must also [`Self::run`] it.
    pub fn new(clock: Arc<dyn Clock>, settings: GuardSettings, metrics: ClockMetrics) -> Self {
        let seen = (clock.now(), clock.boot_time());
        let state = Watch {
            steady: Steady::new(settings.steps, seen.0, seen.1),
            samples: Samples::new(settings.rules),
            local: None,
            seen,
            told: None,
            sources: [Source::default(); SOURCES_MAX],
        };
        Self {
            clock,
            settings,
            state: Mutex::new(state),
            client: SntpClient::default(),
            stepped: Notify::new(),
            metrics,
        }
    }

    /// A guard that asks nobody and counts nothing: it watches only for steps.
    pub fn alone(clock: Arc<dyn Clock>) -> Self {
        Self::new(clock, GuardSettings::default(), ClockMetrics::default())
    }

    /// Tells the time.
    ///
    /// # Errors
    /// [`NoTime`], while it cannot be believed.
    // Spec: CLK-30, CLK-31
    pub fn read(&self) -> Result<Told, NoTime> {
        // The clock is read under the lock: two readers can not be ordered otherwise.
        let mut state = self.lock();
        let (wall, boot) = (self.clock.now(), self.clock.boot_time());
        if self.is_step(state.seen, (wall, boot)) {
            self.stepped.notify_one();
        }
        state.seen = (wall, boot);
        let verdict = state.samples.judge(wall, boot);
        self.show(wall, &verdict);
        let believed = self.decide(verdict);
        let believed = believed.and_then(|bound| self.synchronised(&state, boot).map(|()| bound));
        let result = match believed {
            Ok(bound) => {
                let confirmed = bound.is_some();
                let reading = state.steady.read(wall, boot, confirmed);
                if let Some(leap) = reading.ok().and_then(|reading| reading.leap) {
                    tracing::warn!(
                        clock.leap_ms = leap.as_millis(),
                        "the wall clock leapt forward: it was set"
                    );
                }
                let time = reading.map(|reading| reading.time);
                time.map(|time| Told { time, bound }).map_err(NoTime::from)
            }
            Err(fault) => Err(fault),
        };
        self.tell(&mut state, &result);
        result
    }

    /// Tells the time, if it is not more wrong than `accuracy`.
    ///
    /// # Errors
    /// [`NotAccurate`].
    // Spec: CLK-32
    pub fn read_within(&self, accuracy: Duration) -> Result<Told, NotAccurate> {
        let told = self.read()?;
        match told.bound {
            None => Err(NotAccurate::NoSources),
            Some(bound) if bound > accuracy => Err(NotAccurate::TooUncertain { bound, accuracy }),
            Some(_) => Ok(told),
        }
    }

    /// Tells the time to who remembers, across restarts too, what it signed last for each of its
    /// logs, and signs nothing that is before it: a clock of which nothing is known but that it
    /// stepped back is told as it is.
    ///
    /// # Errors
    /// [`NoTime`], but never [`NoTime::SteppedBack`].
    // Spec: CLK-36
    pub fn read_unordered(&self) -> Result<UnixTime, NoTime> {
        match self.read() {
            Ok(told) => Ok(told.time),
            Err(NoTime::SteppedBack(back)) => Ok(back.wall),
            Err(fault) => Err(fault),
        }
    }

    /// The clock behind it, for what may not refuse (log lines, ages, monotonic time).
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// How wrong the clock can be, if there are sources; or why no time can be told.
    fn decide(&self, verdict: Verdict) -> Result<Option<Duration>, NoTime> {
        let needed = self.settings.rules.agree_min;
        Err(match verdict {
            Verdict::NotConfigured => return Ok(None),
            Verdict::Inside { bound, .. } => return Ok(Some(bound)),
            Verdict::Outside { by, direction, .. } => NoTime::Outside { by, direction },
            Verdict::NoAgreement { answers, agree } => NoTime::NoAgreement {
                answers,
                agree,
                needed,
            },
            Verdict::Stale { age } => NoTime::Stale { age, needed },
            Verdict::Waiting { answers } => NoTime::Waiting { answers, needed },
        })
    }

    /// What is not said again and again is not so any more.
    // Spec: CLK-40
    fn synchronised(&self, state: &Watch, boot: BootTime) -> Result<(), NoTime> {
        if self.settings.local.is_none() {
            return Ok(());
        }
        let said = match state.local {
            None => Err(Unsynchronised::Unknown),
            Some((at, _)) if boot.since(at) > LOCAL_VALID => Err(Unsynchronised::Unreadable),
            Some((_, said)) => said,
        };
        said.map_err(NoTime::NotSynchronised)
    }

    /// Asks the NTP daemon of this machine, if one is named.
    // Spec: CLK-40
    pub async fn ask_local(&self) {
        let Some(local) = &self.settings.local else {
            return;
        };
        let said = local.ask(self.clock.now()).await;
        let boot = self.clock.boot_time();
        self.lock().local = Some((boot, said));
        let _ = self.read();
    }

    fn is_step(&self, seen: (UnixTime, BootTime), now: (UnixTime, BootTime)) -> bool {
        let expected = seen.0.plus(now.1.since(seen.1));
        let off = now.0.since(expected).max(expected.since(now.0));
        off > self.settings.steps.tolerance
    }

    fn show(&self, wall: UnixTime, verdict: &Verdict) {
        let (Verdict::Inside { band, .. } | Verdict::Outside { band, .. }) = verdict else {
            return self.metrics.unknown();
        };
        let Band { earliest, latest } = *band;
        let middle = earliest.plus(latest.since(earliest) / 2);
        let (ahead, behind) = (wall.since(middle), middle.since(wall));
        let bound = wall.since(earliest).max(latest.since(wall));
        self.metrics.compared(ahead, behind, bound);
    }

    /// Tells the operator once when it changes, not at each reading.
    // Spec: CLK-34
    fn tell(&self, state: &mut Watch, result: &Result<Told, NoTime>) {
        let now = result.as_ref().map_or_else(NoTime::state, |_| State::Good);
        let before = state.told.replace(now);
        if before == Some(now) {
            return;
        }
        self.metrics.state(now);
        match (result, before) {
            (Ok(_), None) => {}
            (Ok(_), Some(_)) => tracing::info!("the clock is believed again"),
            (Err(fault), None) if fault.is_of_a_start() => {
                tracing::info!(%fault, "no time is stated until the time sources agree");
            }
            (Err(fault), _) => {
                tracing::error!(%fault, "the clock is not believed; no time is stated");
            }
        }
    }

    /// Takes what a source answered, or why it did not.
    // Spec: CLK-33
    pub fn answered(&self, source: usize, answer: &Result<Sample, AskError>) {
        let mut state = self.lock();
        let boot = self.clock.boot_time();
        let counted = answer.as_ref().map_or_else(Answer::of, |_| Answer::Good);
        self.metrics.answered(source, counted);
        if let Some(known) = state.sources.get_mut(source) {
            let server = self.settings.servers.get(source).map(ToString::to_string);
            let server = server.unwrap_or_default();
            known.kisses = match answer {
                Err(AskError::Reply(ReplyError::Kiss(_))) => known.kisses.saturating_add(1),
                _ => 0,
            };
            known.not_before = match known.kisses {
                0 => None,
                kisses => Some(boot.plus(pause_after(kisses))),
            };
            match answer {
                Ok(_) if known.fails => tracing::info!(%server, "the time source answers again"),
                Err(error) if !known.fails => {
                    tracing::warn!(%server, %error, "the time source gave no time");
                }
                _ => {}
            }
            known.fails = answer.is_err();
        }
        if let Ok(sample) = answer {
            state.samples.take(*sample);
        }
    }

    /// Asks the sources, for ever, and watches the clock between: a guard that nobody asks for a
    /// while still notices a step when it happens.
    // Spec: CLK-31, CLK-33
    pub async fn run(self: Arc<Self>) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked = Instant::now();
        let mut due = asked;
        let has_sources = !self.settings.servers.is_empty();
        let has_local = self.settings.local.is_some();
        let mut local_due = asked;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due), if has_sources => {
                    asked = Instant::now();
                    self.ask_all().await;
                    due = Instant::now() + self.pause();
                }
                () = tokio::time::sleep_until(local_due), if has_local => {
                    self.ask_local().await;
                    local_due = Instant::now() + LOCAL_EVERY;
                }
                () = self.stepped.notified(), if has_sources => {
                    due = due.min(Instant::now() + ASK_AGAIN);
                }
                _ = looks.tick() => if self.read().is_err() {
                    // A machine that was suspended wakes up with answers that are too old.
                    due = due.min(asked + self.settings.every.min(EVERY_IN_DOUBT));
                }
            }
        }
    }

    /// Asks each source that did not want to be left alone, all at once, and waits for the slowest.
    pub async fn ask_all(&self) {
        let boot = self.clock.boot_time();
        let sources = self.lock().sources;
        let mut asked = JoinSet::new();
        for (place, server) in self.settings.servers.iter().enumerate() {
            let not_before = sources.get(place).and_then(|source| source.not_before);
            if not_before.is_some_and(|not_before| boot < not_before) {
                continue;
            }
            let (server, clock) = (server.clone(), Arc::clone(&self.clock));
            let (client, most) = (self.client.clone(), self.settings.rules.tolerance);
            asked.spawn(async move {
                let answer = client.ask(&server, place, &*clock, ANSWER_WAIT, most);
                (place, answer.await)
            });
        }
        while let Some(answer) = asked.join_next().await {
            // One that panicked gave no answer.
            if let Ok((place, answer)) = answer {
                self.answered(place, &answer);
                let _ = self.read();
            }
        }
    }

    /// Until the sources are asked again: sooner while they do not say that the clock is right.
    fn pause(&self) -> Duration {
        let every = self.settings.every;
        let every = match self.read() {
            Ok(_) => every,
            Err(_) => every.min(EVERY_IN_DOUBT),
        };
        // Up to a tenth more or less, so that those that were started together do not ask together.
        let chance = RandomState::new().hash_one(0_u8) % 201;
        every.saturating_mul(900 + u32::try_from(chance).unwrap_or(100)) / 1000
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ClockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClockGuard")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// How long a source is left alone that wanted so, from how often in a row it did.
// Spec: CLK-24
fn pause_after(kisses: u32) -> Duration {
    let doublings = kisses.saturating_sub(1).min(7);
    (KISS_PAUSE * (1 << doublings)).min(KISS_PAUSE_MAX)
}

/// How often the NTP daemon of this machine is asked.
const LOCAL_EVERY: Duration = Duration::from_secs(10);

/// How long what it said counts: some questions may fail.
const LOCAL_VALID: Duration = Duration::from_secs(60);

/// How soon a step is noticed though nobody asks for the time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a source has to answer. Who is slower is too uncertain to be of use.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// After a step; and somebody who steps the clock without end does not make us flood the sources.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What public servers take from one client for some minutes without a complaint.
const EVERY_IN_DOUBT: Duration = Duration::from_secs(16);

const KISS_PAUSE: Duration = Duration::from_secs(15 * 60);

const KISS_PAUSE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: CLK-24
    #[test]
    fn a_source_that_wants_to_be_left_alone_is_for_longer_each_time() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        assert_eq!(pause_after(1), minutes(15));
        assert_eq!(pause_after(2), minutes(30));
        assert_eq!(pause_after(7), minutes(16 * 60));
        for kisses in [8, 9, u32::MAX] {
            assert_eq!(pause_after(kisses), minutes(24 * 60));
        }
    }
}
