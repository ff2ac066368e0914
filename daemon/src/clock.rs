//! Wall time and monotonic time, as arguments.
//!
//! [`SystemClock`] is the only place in the workspace that may read the wall clock; everything
//! else takes a [`Clock`]. [`SteadyClock`] stands in front of a clock and refuses to tell the
//! time after wall time stepped back against monotonic time, until wall time has caught up: who
//! signs times asks it, and signs nothing while it refuses.
//!
//! Out of scope: synchronisation (NTP state is asked of the system elsewhere), calendars.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time. Wall time may jump; [`Clock::instant`] never goes back.
pub trait Clock: Send + Sync {
    /// Wall time, as the system believes it. It may be earlier than at the call before.
    fn now(&self) -> UnixTime;
    /// Monotonic time, for intervals and deadlines.
    fn instant(&self) -> Instant;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> UnixTime {
        (**self).now()
    }
    fn instant(&self) -> Instant {
        (**self).instant()
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z, without leap seconds (POSIX time).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime {
    millis: u64,
}

impl UnixTime {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self { millis: 0 };

    /// The time this many milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    /// The time this many seconds after the epoch, at most `u64::MAX` milliseconds.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self {
            millis: seconds.saturating_mul(1000),
        }
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> u64 {
        self.millis / 1000
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.millis
    }

    /// The milliseconds within the second, 0 to 999.
    pub const fn subsec_millis(self) -> u64 {
        self.millis % 1000
    }

    /// How long after `earlier` this is, or zero when it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.millis.saturating_sub(earlier.millis))
    }

    /// This time moved forward, at most to the largest representable time.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self {
            millis: self.millis.saturating_add(whole_millis(by)),
        }
    }

    /// This time moved back, at most to the epoch.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self {
            millis: self.millis.saturating_sub(whole_millis(by)),
        }
    }
}

/// Seconds and milliseconds since the epoch, as `1790000000.123`.
impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.seconds(), self.subsec_millis())
    }
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    /// A system time before 1970 reads as the epoch, which no signer accepts as plausible.
    fn now(&self) -> UnixTime {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place where wall time enters; all else takes a Clock"
        )]
        let wall = SystemTime::now();
        UnixTime::from_millis(whole_millis(
            wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO),
        ))
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// A clock that stands still until a test moves it; its wall time can step either way.
#[derive(Clone, Debug)]
pub struct ManualClock {
    state: Arc<Mutex<ManualState>>,
}

#[derive(Debug)]
struct ManualState {
    wall: UnixTime,
    instant: Instant,
}

impl ManualClock {
    /// A clock that shows `wall`.
    pub fn new(wall: UnixTime) -> Self {
        Self {
            state: Arc::new(Mutex::new(ManualState {
                wall,
                instant: Instant::now(),
            })),
        }
    }

    /// Time passes: wall time and monotonic time advance together.
    pub fn advance(&self, by: Duration) {
        self.with(|state| {
            state.wall = state.wall.plus(by);
            state.instant += by;
        });
    }

    /// Only monotonic time passes, as when something steps the wall clock back meanwhile.
    pub fn advance_monotonic(&self, by: Duration) {
        self.with(|state| state.instant += by);
    }

    /// The wall clock is set; monotonic time does not move.
    pub fn set(&self, wall: UnixTime) {
        self.with(|state| state.wall = wall);
    }

    /// The wall clock steps back; monotonic time does not move.
    pub fn step_back(&self, by: Duration) {
        self.with(|state| state.wall = state.wall.minus(by));
    }

    fn with<R>(&self, change: impl FnOnce(&mut ManualState) -> R) -> R {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixTime {
        self.with(|state| state.wall)
    }
    fn instant(&self) -> Instant {
        self.with(|state| state.instant)
    }
}

/// A clock that tells the time only while wall time agrees with monotonic time.
///
/// Each good reading becomes the anchor of the next: wall time is expected to have advanced as
/// far as monotonic time did. What it lags behind that expectation by more than the tolerance
/// (plus [`SLEW_PER_MILLE`] of the interval, so that clock discipline is no alarm) is a step
/// back. From then on every reading is an error until wall time reaches the time that would have
/// been shown when the step was noticed: so that no reading is ever earlier than one before it.
///
/// A step forward cannot be told from a suspended machine, so the time is told, and
/// [`Reading::leap`] reports it once; what to do about it is the caller's policy.
pub struct SteadyClock {
    clock: Arc<dyn Clock>,
    tolerance: Duration,
    state: Mutex<SteadyState>,
}

/// How much of an interval a disciplined clock may gain or lose, in thousandths: twice the
/// 500 ppm to which kernels limit slewing.
pub const SLEW_PER_MILLE: u32 = 1;

#[derive(Clone, Copy, Debug)]
struct SteadyState {
    wall: UnixTime,
    instant: Instant,
    /// Set while wall time is behind: it must reach this before the time is told again.
    resume_at: Option<UnixTime>,
}

/// One good reading of a [`SteadyClock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Wall time; never earlier than in an earlier reading.
    pub time: UnixTime,
    /// How far wall time ran ahead of monotonic time since the last reading, when that is more
    /// than the tolerance. Reported once per leap.
    pub leap: Option<Duration>,
}

/// Wall time stepped back, and has not caught up. The cause is the machine's clock; nothing
/// changed here, and a later reading may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wall time {wall} is behind: it was {resume_at} when it stepped back")]
pub struct SteppedBack {
    /// What the wall clock shows.
    pub wall: UnixTime,
    /// What it must reach before the time is told again.
    pub resume_at: UnixTime,
}

impl SteppedBack {
    /// How far wall time still has to go.
    pub fn behind(&self) -> Duration {
        self.resume_at.since(self.wall)
    }
}

impl SteadyClock {
    /// Anchors at the present. `tolerance` is how far wall time may fall behind unnoticed; a
    /// reading still never goes back, whatever the tolerance.
    pub fn new(clock: Arc<dyn Clock>, tolerance: Duration) -> Self {
        let floor = clock.now();
        Self::starting_from(clock, tolerance, floor)
    }

    /// Anchors at the present, and tells no time before `floor` (the newest time that is known to
    /// have been signed before a restart).
    pub fn starting_from(clock: Arc<dyn Clock>, tolerance: Duration, floor: UnixTime) -> Self {
        let (wall, instant) = (clock.now(), clock.instant());
        let state = SteadyState {
            wall,
            instant,
            resume_at: (wall < floor).then_some(floor),
        };
        Self {
            clock,
            tolerance,
            state: Mutex::new(state),
        }
    }

    /// Tells the time.
    ///
    /// # Errors
    /// [`SteppedBack`] from the step until wall time has caught up.
    pub fn now(&self) -> Result<UnixTime, SteppedBack> {
        self.read().map(|reading| reading.time)
    }

    /// Tells the time, and whether it leapt forward.
    ///
    /// # Errors
    /// [`SteppedBack`] from the step until wall time has caught up.
    pub fn read(&self) -> Result<Reading, SteppedBack> {
        // The clock is read under the lock: two readers can not be ordered otherwise.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (wall, instant) = (self.clock.now(), self.clock.instant());
        let elapsed = instant.saturating_duration_since(state.instant);
        let slack = self.tolerance + elapsed * SLEW_PER_MILLE / 1000;
        let expected = state.wall.plus(elapsed);

        if let Some(resume_at) = state.resume_at {
            if wall < resume_at {
                return Err(SteppedBack { wall, resume_at });
            }
        } else if wall < state.wall || wall.plus(slack) < expected {
            let resume_at = expected;
            state.resume_at = Some(resume_at);
            return Err(SteppedBack { wall, resume_at });
        }

        let ahead = wall.since(expected);
        // While it refused, the expectation stood still at the step: no leap can be judged.
        let leap = (state.resume_at.is_none() && ahead > slack).then_some(ahead);
        *state = SteadyState {
            wall,
            instant,
            resume_at: None,
        };
        Ok(Reading { time: wall, leap })
    }

    /// The clock behind it, for what may not refuse (log lines, metrics, monotonic time).
    pub fn inner(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

impl fmt::Debug for SteadyClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SteadyClock")
            .field("tolerance", &self.tolerance)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: UnixTime = UnixTime::from_seconds(1_790_000_000);

    fn steady() -> (ManualClock, SteadyClock) {
        let manual = ManualClock::new(START);
        let steady = SteadyClock::new(Arc::new(manual.clone()), Duration::from_millis(50));
        (manual, steady)
    }

    #[test]
    fn unix_time_splits_into_seconds_and_millis() {
        let time = UnixTime::from_millis(1_790_000_000_042);
        assert_eq!(time.seconds(), 1_790_000_000);
        assert_eq!(time.subsec_millis(), 42);
        assert_eq!(time.to_string(), "1790000000.042");
        assert_eq!(
            UnixTime::EPOCH.minus(Duration::from_secs(1)),
            UnixTime::EPOCH
        );
    }

    #[test]
    fn system_clock_is_after_2026_and_monotonic() {
        let clock = SystemClock;
        assert!(clock.now() > UnixTime::from_seconds(1_767_000_000));
        assert!(clock.instant() <= clock.instant());
    }

    #[test]
    fn time_that_passes_evenly_is_told() {
        let (manual, steady) = steady();
        for _ in 0..10 {
            manual.advance(Duration::from_secs(3600));
            assert_eq!(steady.read().unwrap().leap, None);
        }
    }

    #[test]
    fn a_step_back_refuses_until_wall_time_has_caught_up() {
        let (manual, steady) = steady();
        manual.advance(Duration::from_secs(10));
        let newest = steady.now().unwrap();
        manual.step_back(Duration::from_secs(5));
        assert_eq!(steady.now().unwrap_err().behind(), Duration::from_secs(5));
        manual.advance(Duration::from_millis(4_999));
        assert_eq!(steady.now().unwrap_err().behind(), Duration::from_millis(1));
        manual.advance(Duration::from_millis(1));
        assert_eq!(steady.now(), Ok(newest));
    }

    #[test]
    fn a_step_back_that_hides_between_two_readings_is_seen() {
        let (manual, steady) = steady();
        manual.advance_monotonic(Duration::from_secs(10));
        manual.advance(Duration::from_secs(1));
        let error = steady.now().unwrap_err();
        assert_eq!(error.resume_at, START.plus(Duration::from_secs(11)));
    }

    #[test]
    fn a_clock_slewed_by_the_kernel_is_no_step() {
        let (manual, steady) = steady();
        manual.advance_monotonic(Duration::from_millis(500));
        manual.advance(Duration::from_secs(1000));
        assert!(steady.now().is_ok());
    }

    #[test]
    fn a_leap_forward_is_told_and_reported_once() {
        let (manual, steady) = steady();
        manual.set(START.plus(Duration::from_secs(30)));
        assert_eq!(steady.read().unwrap().leap, Some(Duration::from_secs(30)));
        assert_eq!(steady.read().unwrap().leap, None);
    }

    #[test]
    fn a_floor_from_before_the_restart_is_respected() {
        let manual = ManualClock::new(START);
        let floor = START.plus(Duration::from_secs(2));
        let steady = SteadyClock::starting_from(Arc::new(manual.clone()), Duration::ZERO, floor);
        assert!(steady.now().is_err());
        manual.advance(Duration::from_secs(2));
        assert_eq!(steady.now(), Ok(floor));
    }

    proptest! {
        #[test]
        fn readings_never_go_back(moves in prop::collection::vec((0u8..3, 0u64..5_000), 1..200)) {
            let (manual, steady) = steady();
            let mut newest = UnixTime::EPOCH;
            for (kind, millis) in moves {
                let by = Duration::from_millis(millis);
                match kind {
                    0 => manual.advance(by),
                    1 => manual.step_back(by),
                    _ => manual.advance_monotonic(by),
                }
                if let Ok(time) = steady.now() {
                    prop_assert!(time >= newest);
                    newest = time;
                }
            }
        }
    }
}
