//! Wall time and monotonic time, as arguments.
//!
//! [`SystemClock`] is the only place in the workspace that may read the wall clock; everything
//! else takes a [`Clock`]. Who signs times asks a [`ClockGuard`], which stands in front of a clock
//! and does not tell the time while it cannot be believed, and signs nothing then:
//!
//! ```text
//! Clock ─► steady: does wall time go with boot time? ─┐
//! SNTP  ─► band: what do most sources agree on? ──────┴─► ClockGuard ─► the time, or why not
//! ```
//!
//! Out of scope: setting the clock (an NTP daemon does), calendars.
//!
//! Rows: `spec/clock.md`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub mod band;
mod guard;
pub mod local;
mod metrics;
mod settings;
pub mod sntp;
pub mod steady;

pub use guard::{ClockGuard, NoTime, NotAccurate, Told};
pub use metrics::{Answer, ClockMetrics, State};
pub use settings::{GuardSettings, RawClock};

/// A source of time. Wall time may jump; [`Clock::instant`] never goes back.
pub trait Clock: Send + Sync {
    /// Wall time, as the system believes it. It may be earlier than at the call before.
    fn now(&self) -> UnixTime;
    /// Monotonic time, for intervals and deadlines. It stands still while the machine is suspended.
    fn instant(&self) -> Instant;
    /// Time since the machine started, suspended or not: what wall time is compared with.
    fn boot_time(&self) -> BootTime;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> UnixTime {
        (**self).now()
    }
    fn instant(&self) -> Instant {
        (**self).instant()
    }
    fn boot_time(&self) -> BootTime {
        (**self).boot_time()
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

/// Time since some moment before the process began. It never goes back, nobody can set it, and it
/// goes on while the machine is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(Duration);

impl BootTime {
    /// The moment that it counts from.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// How long after `earlier` this is, or zero when it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// This time moved forward.
    #[must_use]
    pub const fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
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

    // Spec: CLK-02
    fn boot_time(&self) -> BootTime {
        let time = rustix::time::clock_gettime(BOOT_CLOCK);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
        BootTime(Duration::new(seconds, nanos))
    }
}

#[cfg(target_os = "linux")]
const BOOT_CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;

/// Elsewhere a machine that was suspended looks as if its clock had leapt.
#[cfg(not(target_os = "linux"))]
const BOOT_CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

/// A clock that stands still until a test moves it; its wall time can step either way.
#[derive(Clone, Debug)]
pub struct ManualClock {
    state: Arc<Mutex<ManualState>>,
}

#[derive(Debug)]
struct ManualState {
    wall: UnixTime,
    instant: Instant,
    boot: BootTime,
}

impl ManualClock {
    /// A clock that shows `wall`.
    pub fn new(wall: UnixTime) -> Self {
        Self {
            state: Arc::new(Mutex::new(ManualState {
                wall,
                instant: Instant::now(),
                boot: BootTime::ZERO,
            })),
        }
    }

    /// Time passes: wall time, monotonic time and boot time advance together.
    pub fn advance(&self, by: Duration) {
        self.with(|state| state.wall = state.wall.plus(by));
        self.advance_monotonic(by);
    }

    /// Only monotonic time and boot time pass, as when something steps the wall clock back
    /// meanwhile.
    pub fn advance_monotonic(&self, by: Duration) {
        self.with(|state| {
            state.instant += by;
            state.boot = state.boot.plus(by);
        });
    }

    /// The machine is suspended for so long: monotonic time does not see it.
    pub fn suspend(&self, by: Duration) {
        self.with(|state| {
            state.wall = state.wall.plus(by);
            state.boot = state.boot.plus(by);
        });
    }

    /// The wall clock is set; monotonic time does not move.
    pub fn set(&self, wall: UnixTime) {
        self.with(|state| state.wall = wall);
    }

    /// The wall clock steps back; monotonic time does not move.
    pub fn step_back(&self, by: Duration) {
        self.with(|state| state.wall = state.wall.minus(by));
    }

    /// The wall clock steps forward; monotonic time does not move.
    pub fn step_forward(&self, by: Duration) {
        self.with(|state| state.wall = state.wall.plus(by));
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
    fn boot_time(&self) -> BootTime {
        self.with(|state| state.boot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    // Spec: CLK-02
    #[test]
    fn boot_time_runs_with_monotonic_time_and_is_no_younger_than_the_process() {
        let clock = SystemClock;
        let (boot, instant) = (clock.boot_time(), clock.instant());
        let mut later = clock.boot_time();
        while later.since(boot) < Duration::from_millis(2) {
            later = clock.boot_time();
        }
        let monotonic = clock.instant() - instant;
        assert!(monotonic >= Duration::from_millis(1), "{monotonic:?}");
        assert!(boot > BootTime::ZERO);
    }
}
