//! Does wall time go with boot time? A pure state: the two clocks are arguments.
//!
//! ```text
//!                  ┌───────────────── steady ─────────────────┐
//!   wall behind ─► │ stepped back: refuse until it has caught │ ─► steady
//!   wall ahead  ─► │ leapt: refuse until confirmed, settled,  │ ─► steady
//!                  │ or back where it was                     │
//! ```
//!
//! Each good reading becomes the anchor of the next: wall time is expected to have advanced as far
//! as boot time did, within the tolerance and [`SLEW_PER_MILLE`] of the interval, so that clock
//! discipline is no alarm. Boot time goes on while a machine is suspended, so that waking up is no
//! leap.
//!
//! A time from the future is worse than one from the past: what was signed with it cannot be taken
//! back, and nothing more can be signed for its log until real time has come there. So a leap is
//! not believed at once. Outside knowledge ends the doubt at once, either way ([`super::band`]).
//!
//! Out of scope: whether wall time was right at the start; nobody here knows.
//!
//! Rows: `spec/clock.md` CLK-01 to CLK-05.

use std::time::Duration;

use super::{BootTime, UnixTime};

/// What counts as a step, and how a leap ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepLimits {
    /// How far wall time may fall behind boot time, or run ahead of it, and nobody says a word.
    pub tolerance: Duration,
    /// How far it may run ahead and still be believed.
    pub step_max: Duration,
    /// How long it must have stayed steady after a longer leap to be believed when nobody can be
    /// asked.
    pub settle: Duration,
}

impl Default for StepLimits {
    /// A second, which is the unit of what is signed; 10 seconds; and 300 seconds.
    fn default() -> Self {
        Self {
            tolerance: Duration::from_secs(1),
            step_max: Duration::from_secs(10),
            settle: Duration::from_secs(300),
        }
    }
}

/// How much of an interval a disciplined clock may gain or lose, in thousandths: twice the
/// 500 ppm to which kernels limit slewing.
pub const SLEW_PER_MILLE: u32 = 1;

/// Wall time, watched.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    limits: StepLimits,
    anchor: Anchor,
    /// The newest time that was told; none is told before it.
    told: Option<UnixTime>,
    doubt: Option<Doubt>,
}

/// Wall time and boot time of one moment.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    wall: UnixTime,
    boot: BootTime,
}

impl Anchor {
    /// What the wall should show at another moment.
    fn expected(&self, boot: BootTime) -> UnixTime {
        self.wall.plus(boot.since(self.boot))
    }
}

#[derive(Clone, Copy, Debug)]
enum Doubt {
    /// Wall time is behind: it must reach this before the time is told again.
    Behind(UnixTime),
    /// Wall time is ahead, since this moment.
    Ahead(Anchor),
}

/// One good reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Wall time; never earlier than in an earlier reading.
    pub time: UnixTime,
    /// How far wall time ran ahead of boot time since the last reading, when that is more than the
    /// tolerance. Reported once per leap.
    pub leap: Option<Duration>,
}

/// Wall time does not go with boot time. The cause is the machine's clock, or who set it; nothing
/// changed here, and a later reading may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsteady {
    /// It went back.
    #[error("{0}")]
    SteppedBack(SteppedBack),
    /// It went ahead by more than is believed at once.
    #[error("{0}")]
    Leapt(Leapt),
}

/// Wall time stepped back, and has not caught up.
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

/// Wall time leapt forward, and nobody has confirmed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "wall time {wall} leapt {} s ahead of the time since the machine started; it is believed when \
     it has stayed steady for {} s more",
    .ahead.as_secs(),
    .left.as_secs() + 1
)]
pub struct Leapt {
    /// What the wall clock shows.
    pub wall: UnixTime,
    /// How far that is ahead of what it should show.
    pub ahead: Duration,
    /// How long it must stay steady yet.
    pub left: Duration,
}

impl Steady {
    /// Anchors at this moment.
    pub fn new(limits: StepLimits, wall: UnixTime, boot: BootTime) -> Self {
        Self {
            limits,
            anchor: Anchor { wall, boot },
            told: None,
            doubt: None,
        }
    }

    /// Anchors at this moment, and tells no time before `floor` (the newest time that is known to
    /// have been signed before a restart).
    pub fn starting_from(
        limits: StepLimits,
        wall: UnixTime,
        boot: BootTime,
        floor: UnixTime,
    ) -> Self {
        Self {
            told: Some(floor),
            doubt: (wall < floor).then_some(Doubt::Behind(floor)),
            ..Self::new(limits, wall, boot)
        }
    }

    /// Judges what the clocks show, and tells the time. `confirmed` is whether somebody outside
    /// knows that wall time is right: then only a time before one that was told is refused.
    ///
    /// # Errors
    /// [`Unsteady`], while wall time is in doubt.
    // Spec: CLK-01
    pub fn read(
        &mut self,
        wall: UnixTime,
        boot: BootTime,
        confirmed: bool,
    ) -> Result<Reading, Unsteady> {
        let expected = self.anchor.expected(boot);
        let slack = self.slack(self.anchor, boot);
        let ahead = wall.since(expected);
        if confirmed {
            // Spec: CLK-05
            if let Some(resume_at) = self.told.filter(|&told| wall < told) {
                return Err(Unsteady::SteppedBack(SteppedBack { wall, resume_at }));
            }
        } else {
            self.check_behind(wall, expected, slack)?;
            if ahead > self.limits.step_max.saturating_add(slack) {
                self.check_leap(wall, boot, ahead)?;
            }
        }
        let was_behind = matches!(self.doubt, Some(Doubt::Behind(_)));
        self.anchor = Anchor { wall, boot };
        self.told = Some(wall);
        self.doubt = None;
        // While it was behind, what it should show stood still at the step: no leap can be judged.
        let leap = (!was_behind && ahead > slack).then_some(ahead);
        Ok(Reading { time: wall, leap })
    }

    // Spec: CLK-03
    fn check_behind(
        &mut self,
        wall: UnixTime,
        expected: UnixTime,
        slack: Duration,
    ) -> Result<(), Unsteady> {
        let resume_at = match self.doubt {
            Some(Doubt::Behind(resume_at)) => resume_at,
            _ if wall < self.anchor.wall || wall.plus(slack) < expected => expected,
            _ => return Ok(()),
        };
        if wall >= resume_at {
            return Ok(());
        }
        self.doubt = Some(Doubt::Behind(resume_at));
        Err(Unsteady::SteppedBack(SteppedBack { wall, resume_at }))
    }

    // Spec: CLK-04
    fn check_leap(
        &mut self,
        wall: UnixTime,
        boot: BootTime,
        ahead: Duration,
    ) -> Result<(), Unsteady> {
        let here = Anchor { wall, boot };
        let since = match self.doubt {
            Some(Doubt::Ahead(since)) if self.goes_on(since, here) => since,
            _ => here,
        };
        self.doubt = Some(Doubt::Ahead(since));
        let left = self.limits.settle.saturating_sub(boot.since(since.boot));
        if left.is_zero() {
            return Ok(());
        }
        Err(Unsteady::Leapt(Leapt { wall, ahead, left }))
    }

    /// Whether the clock was not set between two moments.
    fn goes_on(&self, since: Anchor, here: Anchor) -> bool {
        let (slack, expected) = (self.slack(since, here.boot), since.expected(here.boot));
        here.wall.plus(slack) >= expected && here.wall <= expected.plus(slack)
    }

    fn slack(&self, since: Anchor, boot: BootTime) -> Duration {
        let slewed = boot.since(since.boot) * SLEW_PER_MILLE / 1000;
        self.limits.tolerance.saturating_add(slewed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, ManualClock};
    use proptest::prelude::*;

    const START: UnixTime = UnixTime::from_seconds(1_790_000_000);
    const LIMITS: StepLimits = StepLimits {
        tolerance: Duration::from_millis(50),
        step_max: Duration::from_secs(10),
        settle: Duration::from_secs(300),
    };

    /// A clock, and its watcher.
    struct Watched {
        clock: ManualClock,
        steady: Steady,
    }

    impl Watched {
        fn new() -> Self {
            let clock = ManualClock::new(START);
            let steady = Steady::new(LIMITS, clock.now(), clock.boot_time());
            Self { clock, steady }
        }

        fn read(&mut self) -> Result<Reading, Unsteady> {
            let (wall, boot) = (self.clock.now(), self.clock.boot_time());
            self.steady.read(wall, boot, false)
        }

        fn confirmed(&mut self) -> Result<Reading, Unsteady> {
            let (wall, boot) = (self.clock.now(), self.clock.boot_time());
            self.steady.read(wall, boot, true)
        }

        fn behind(&mut self) -> Duration {
            match self.read() {
                Err(Unsteady::SteppedBack(back)) => back.behind(),
                other => panic!("{other:?}"),
            }
        }

        fn leapt(&mut self) -> (u64, u64) {
            match self.read() {
                Err(Unsteady::Leapt(leapt)) => (leapt.ahead.as_secs(), leapt.left.as_secs()),
                other => panic!("{other:?}"),
            }
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    // Spec: CLK-01, CLK-02
    #[test]
    fn time_that_passes_evenly_is_told_and_so_is_that_of_a_suspended_machine() {
        let mut watched = Watched::new();
        for _ in 0..10 {
            watched.clock.advance(seconds(3600));
            assert_eq!(watched.read().unwrap().leap, None);
            watched.clock.suspend(seconds(86_400));
            assert_eq!(watched.read().unwrap().leap, None);
        }
    }

    // Spec: CLK-03
    #[test]
    fn a_step_back_refuses_until_wall_time_has_caught_up() {
        let mut watched = Watched::new();
        watched.clock.advance(seconds(10));
        let newest = watched.read().unwrap().time;
        watched.clock.step_back(seconds(5));
        assert_eq!(watched.behind(), seconds(5));
        watched.clock.advance(Duration::from_millis(4_999));
        assert_eq!(watched.behind(), Duration::from_millis(1));
        watched.clock.advance(Duration::from_millis(1));
        assert_eq!(watched.read().unwrap().time, newest);
    }

    // Spec: CLK-03
    #[test]
    fn a_step_back_that_hides_between_two_readings_is_seen() {
        let mut watched = Watched::new();
        watched.clock.advance_monotonic(seconds(10));
        watched.clock.advance(seconds(1));
        let error = watched.read().unwrap_err();
        let resume_at = START.plus(seconds(11));
        let wall = START.plus(seconds(1));
        assert_eq!(
            error,
            Unsteady::SteppedBack(SteppedBack { wall, resume_at })
        );
        assert_eq!(
            error.to_string(),
            "wall time 1790000001.000 is behind: it was 1790000011.000 when it stepped back"
        );
    }

    // Spec: CLK-01
    #[test]
    fn a_clock_slewed_by_the_kernel_is_no_step() {
        let mut watched = Watched::new();
        watched.clock.advance_monotonic(Duration::from_millis(500));
        watched.clock.advance(seconds(1000));
        watched.read().unwrap();
    }

    // Spec: CLK-04
    #[test]
    fn a_short_leap_is_told_and_reported_once() {
        let mut watched = Watched::new();
        watched.clock.step_forward(seconds(10));
        assert_eq!(watched.read().unwrap().leap, Some(seconds(10)));
        assert_eq!(watched.read().unwrap().leap, None);
    }

    // Spec: CLK-04
    #[test]
    fn a_long_leap_is_believed_when_it_has_settled() {
        let mut watched = Watched::new();
        watched.clock.step_forward(seconds(3600));
        assert_eq!(watched.leapt(), (3600, 300));
        watched.clock.advance(seconds(299));
        assert_eq!(watched.leapt(), (3600, 1));
        assert_eq!(
            watched.read().unwrap_err().to_string(),
            "wall time 1790003899.000 leapt 3600 s ahead of the time since the machine started; \
             it is believed when it has stayed steady for 2 s more"
        );
        watched.clock.advance(seconds(1));
        let reading = watched.read().unwrap();
        assert_eq!(reading.leap, Some(seconds(3600)));
        assert_eq!(watched.read().unwrap().leap, None);
    }

    // Spec: CLK-04
    #[test]
    fn a_clock_that_is_set_again_while_it_settles_settles_anew() {
        for again in [seconds(5), seconds(50_000)] {
            let mut watched = Watched::new();
            watched.clock.step_forward(seconds(100_000));
            watched.leapt();
            watched.clock.advance(seconds(200));
            watched.clock.step_forward(again);
            assert_eq!(watched.leapt().1, 300);
            watched.clock.advance(seconds(200));
            watched.clock.step_back(again);
            assert_eq!(
                watched.leapt().1,
                300,
                "nor is the way back believed at once"
            );
            watched.clock.advance(seconds(300));
            watched.read().unwrap();
        }
    }

    // Spec: CLK-04
    #[test]
    fn a_leap_that_is_taken_back_ends_at_once() {
        let mut watched = Watched::new();
        watched.read().unwrap();
        watched.clock.step_forward(seconds(3600));
        watched.leapt();
        watched.clock.advance(seconds(100));
        watched.clock.step_back(seconds(3600));
        let reading = watched.read().unwrap();
        assert_eq!(reading.time, START.plus(seconds(100)));
        assert_eq!(reading.leap, None);
    }

    // Spec: CLK-04
    #[test]
    fn a_leap_after_a_step_back_is_a_leap() {
        let mut watched = Watched::new();
        watched.read().unwrap();
        watched.clock.step_back(seconds(5));
        assert_eq!(watched.behind(), seconds(5));
        watched.clock.step_forward(seconds(3605));
        assert_eq!(watched.leapt(), (3600, 300));
    }

    // Spec: CLK-05
    #[test]
    fn who_knows_the_time_ends_the_doubt_either_way() {
        let mut watched = Watched::new();
        watched.clock.step_forward(seconds(3600));
        watched.leapt();
        assert_eq!(watched.confirmed().unwrap().leap, Some(seconds(3600)));
        // An hour in which nothing was told may be taken back; what was told may not.
        watched.clock.advance(seconds(3600));
        watched.clock.step_back(seconds(1800));
        assert_eq!(watched.behind(), seconds(1800));
        let told = watched.confirmed().unwrap().time;
        watched.clock.step_back(seconds(1));
        let Err(Unsteady::SteppedBack(back)) = watched.confirmed() else {
            panic!()
        };
        assert_eq!(back.resume_at, told);
    }

    // Spec: CLK-05
    #[test]
    fn a_clock_that_was_wrong_at_the_start_may_be_set_back_before_it_told_anything() {
        let mut watched = Watched::new();
        watched.clock.step_back(seconds(3600));
        watched.confirmed().unwrap();
    }

    // Spec: CLK-03
    #[test]
    fn a_floor_from_before_the_restart_is_respected() {
        let (clock, floor) = (ManualClock::new(START), START.plus(seconds(2)));
        for confirmed in [false, true] {
            let (wall, boot) = (clock.now(), clock.boot_time());
            let mut steady = Steady::starting_from(LIMITS, wall, boot, floor);
            steady.read(wall, boot, confirmed).unwrap_err();
            let boot = boot.plus(seconds(2));
            let reading = steady.read(floor, boot, confirmed).unwrap();
            assert_eq!(reading.time, floor);
        }
    }

    /// Readings after such moves of the clocks neither go back nor far ahead.
    fn check(moves: &[(u8, u64, bool)]) -> Result<(), TestCaseError> {
        // A clock that is set by no more goes on as it did, for all that is seen while it settles.
        let unseen = LIMITS.tolerance + LIMITS.settle * SLEW_PER_MILLE / 1000;
        let mut watched = Watched::new();
        let mut newest = (START, watched.clock.boot_time());
        let (mut told, mut stepped_at) = (UnixTime::EPOCH, newest.1);
        for &(kind, millis, confirmed) in moves {
            let by = Duration::from_millis(millis);
            let (back, forward) = (by, by * 10);
            match kind {
                0 => watched.clock.advance(by),
                1 => watched.clock.step_back(back),
                2 => watched.clock.step_forward(forward),
                3 => watched.clock.suspend(by * 50),
                _ => watched.clock.advance_monotonic(by),
            }
            if (kind == 1 && back > unseen) || (kind == 2 && forward > unseen) {
                stepped_at = watched.clock.boot_time();
            }
            let confirmed = confirmed && kind == 0;
            let read = if confirmed {
                watched.confirmed()
            } else {
                watched.read()
            };
            if let Ok(reading) = read {
                let boot = watched.clock.boot_time();
                prop_assert!(reading.time >= told);
                told = reading.time;
                let passed = boot.since(newest.1);
                let most = passed + LIMITS.step_max + LIMITS.tolerance + passed / 1000;
                let settled = boot.since(stepped_at) >= LIMITS.settle;
                prop_assert!(
                    confirmed || settled || reading.time.since(newest.0) <= most,
                    "{reading:?} after {newest:?}"
                );
                newest = (reading.time, boot);
            }
        }
        Ok(())
    }

    // Spec: CLK-04
    #[test]
    fn a_clock_that_is_set_by_nothing_that_is_seen_goes_on_to_settle() {
        let (leap, suspended) = ((2, 1071, false), |millis| (3, millis, false));
        // At 105 seconds it is 155 ms that are not seen.
        for (set_by, left) in [(0, 0), (150, 0), (200, 105)] {
            let moves = [leap, suspended(2100), (1, set_by, false), suspended(3900)];
            check(&moves).unwrap();
            let mut watched = Watched::new();
            watched.clock.step_forward(Duration::from_millis(10_710));
            watched.leapt();
            watched.clock.suspend(seconds(105));
            watched.leapt();
            watched.clock.step_back(Duration::from_millis(set_by));
            watched.leapt();
            watched.clock.suspend(seconds(195));
            if left == 0 {
                let leap = Duration::from_millis(10_710 - set_by);
                assert_eq!(watched.read().unwrap().leap, Some(leap));
            } else {
                assert_eq!(watched.leapt(), (10, left));
            }
        }
    }

    proptest! {
        // Spec: CLK-01, CLK-04
        #[test]
        fn readings_never_go_back_nor_far_ahead_unless_confirmed_or_settled(
            moves in prop::collection::vec((0_u8..5, 0_u64..20_000, any::<bool>()), 1..200)
        ) {
            check(&moves)?;
        }
    }
}
