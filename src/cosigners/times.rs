//! What the witnesses' clocks say of ours: each cosignature states when it was made.
//!
//! ```text
//!     we ask        it signs, t       we have it         now
//!  ─────┼───────────────┼─────────────────┼───────────────┼────▶  boot time
//!       └ true time was before t + 1 s here, and now it is before t + 1 s + what went by
//! ```
//!
//! A cosignature that answers a question was made after it was asked, and states whole seconds,
//! cut off. So the witness bounds true time from above, at a moment of boot time, which nobody
//! sets; and goes on doing so while boot time can be relied on. That our clock is *behind* what
//! witnesses have signed is seen elsewhere: no token precedes the checkpoint that it carries.
//!
//! A witness that answers with what it signed long ago bounds nothing that it did not before: only
//! a time after its last one counts. The first such of a run can do harm, together with a quorum of
//! others alike: then no time is told until the log grows, and never a wrong one.
//!
//! Rows: `spec/authority.md` TSA-15.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jurat_daemon::clock::band::DRIFT_PPM;
use jurat_daemon::clock::{BootTime, UnixTime};
use jurat_proto::key::UnixSeconds;
use jurat_proto::policy::Policy;

/// How long what a cosignature says is carried on.
const VALID: Duration = Duration::from_secs(600);

/// What is cut off of a cosignature's time.
const CUT_OFF: Duration = Duration::from_secs(1);

/// The newest time of each witness.
#[derive(Debug)]
pub struct WitnessTimes {
    policy: Policy,
    newest: Mutex<BTreeMap<usize, Stated>>,
}

#[derive(Clone, Copy, Debug)]
struct Stated {
    /// When the witness was asked.
    asked: BootTime,
    time: UnixSeconds,
}

impl WitnessTimes {
    /// Nothing is known yet.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            newest: Mutex::default(),
        }
    }

    /// Takes the time of a verified cosignature, by the witness's place in the policy, and when it
    /// was asked for.
    pub fn take(&self, witness: usize, asked: BootTime, time: UnixSeconds) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let stated = Stated { asked, time };
        let known = newest.entry(witness).or_insert(stated);
        if known.time.get() < time.get() {
            *known = stated;
        }
    }

    /// By how much at least a wall time, read at a moment, is ahead of what the clocks of a quorum
    /// of witnesses show then. `None` when no quorum says so.
    // Spec: TSA-15
    pub fn ahead(&self, wall: UnixTime, now: BootTime) -> Option<Duration> {
        if self.policy.quorum_met(|_| false) {
            return None;
        }
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = newest
            .iter()
            .filter(|(_, stated)| now.since(stated.asked) <= VALID);
        let mut ahead: Vec<(Duration, usize)> = fresh
            .map(|(witness, stated)| (wall.since(stated.latest(now)), *witness))
            .filter(|(by, _)| !by.is_zero())
            .collect();
        drop(newest);
        // From the one that says most: the last that a quorum needs says what all of it says.
        ahead.sort_unstable_by(|a, b| b.cmp(a));
        let says = |count: usize| {
            let of = ahead.get(..count).unwrap_or_default();
            self.policy
                .quorum_met(|witness| of.iter().any(|(_, place)| *place == witness))
        };
        let needed = (1..=ahead.len()).find(|count| says(*count))?;
        ahead.get(needed.checked_sub(1)?).map(|(by, _)| *by)
    }
}

impl Stated {
    /// The latest that true time can be at a moment, as far as the witness's clock is right.
    fn latest(&self, now: BootTime) -> UnixTime {
        let elapsed = now.since(self.asked);
        let drift = elapsed * DRIFT_PPM / 1_000_000;
        UnixTime::from_seconds(self.time.get()).plus(CUT_OFF + elapsed + drift)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{policy_with, witness_keys};
    use super::*;

    const T: u64 = 1_790_000_000;

    fn times(threshold: &str) -> WitnessTimes {
        let keys = witness_keys(3);
        WitnessTimes::new(policy_with(
            &keys,
            &["http://a", "http://b", "http://c"],
            threshold,
        ))
    }

    fn at(seconds: u64) -> BootTime {
        BootTime::ZERO.plus(Duration::from_secs(seconds))
    }

    fn time(seconds: u64) -> UnixSeconds {
        UnixSeconds::new(seconds).unwrap()
    }

    fn wall(millis: u64) -> UnixTime {
        UnixTime::from_millis(T * 1_000 + millis)
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    // Spec: TSA-15
    #[test]
    fn a_quorum_of_fresh_times_says_that_a_clock_is_ahead_and_one_witness_alone_does_not() {
        let times = times("2");
        assert_eq!(times.ahead(wall(3_600_000), at(0)), None, "nobody has said");
        times.take(0, at(0), time(T));
        assert_eq!(times.ahead(wall(3_600_000), at(0)), None, "one of two");
        times.take(1, at(0), time(T + 5));
        // What the second of them says as well.
        assert_eq!(times.ahead(wall(10_000), at(0)), Some(ms(4_000)));
        assert_eq!(times.ahead(wall(6_000), at(0)), None);
        // A liar who is far behind does not make it more, and no third one less.
        times.take(2, at(0), time(T - 3_600));
        assert_eq!(times.ahead(wall(10_000), at(0)), Some(ms(9_000)));
        times.take(2, at(1), time(T + 3_600));
        assert_eq!(times.ahead(wall(10_000), at(0)), Some(ms(4_000)));
    }

    /// An answer that took long, and one that came long ago, say less.
    // Spec: TSA-15
    #[test]
    fn what_went_by_since_it_was_asked_for_is_added_and_what_is_old_is_dropped() {
        let times = times("1");
        times.take(0, at(100), time(T));
        assert_eq!(times.ahead(wall(31_000), at(130)), None);
        assert_eq!(times.ahead(wall(41_015), at(130)), Some(ms(10_000)));
        // 500 ppm of ten minutes.
        assert_eq!(times.ahead(wall(602_300), at(700)), Some(ms(1_000)));
        assert_eq!(times.ahead(wall(3_600_000), at(701)), None);
    }

    /// One that repeats what it signed before.
    // Spec: TSA-15
    #[test]
    fn a_cosignature_that_is_shown_again_says_nothing_new() {
        let times = times("1");
        times.take(0, at(0), time(T));
        times.take(0, at(60), time(T));
        assert_eq!(times.ahead(wall(61_000), at(60)), None);
        times.take(0, at(60), time(T + 1));
        assert_eq!(times.ahead(wall(61_000), at(60)), Some(ms(59_000)));
    }

    // Spec: TSA-15
    #[test]
    fn without_a_quorum_nobody_says_anything() {
        let times = WitnessTimes::new(Policy::parse(b"quorum none\n").unwrap());
        assert_eq!(times.ahead(wall(3_600_000), at(0)), None);
    }
}
