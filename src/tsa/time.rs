//! Which time a token states: a pure decision.
//!
//! Whole seconds, cut off; never before the token before it, nor before what the checkpoint that it
//! carries says; and none at all around a possible leap second, where clocks differ by a second and
//! each is right in its way.

use jurat_daemon::clock::UnixTime;
use jurat_proto::tsp::gen_time::GenTime;

/// How far a token's time may be ahead of the clock, in whole seconds, so that it is not before
/// another one that was cut off in the same second by a clock a little ahead.
// Spec: TSA-11
const RAISE_SECONDS_MAX: u64 = 1;

/// What happens around a possible leap second, at the end of each month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeapSeconds {
    /// No token is made from 23:59:58.989 to 00:00:01.010.
    Pause,
    /// Nothing: the machine's clock smears them, or nobody cares.
    Ignore,
}

/// The time for a token, from the clock and the latest time that it must not precede. `None` when
/// there is none now.
// Spec: TSA-10, TSA-11, TSA-12
pub(super) fn gen_time(now: UnixTime, floor: u64, leap_seconds: LeapSeconds) -> Option<GenTime> {
    if leap_seconds == LeapSeconds::Pause && is_leap_window(now) {
        return None;
    }
    let seconds = now.seconds();
    if floor.saturating_sub(seconds) > RAISE_SECONDS_MAX {
        return None;
    }
    GenTime::new(seconds.max(floor), 0)
}

/// Seconds since 1970 for people, in UTC.
// Spec: SVC-68
pub fn rfc3339(seconds: u64) -> String {
    match GenTime::new(seconds, 0) {
        Some(time) => time.to_string(),
        // After 9999.
        None => format!("{seconds} s after 1970"),
    }
}

/// From 23:59:58.989 of a month's last day to 00:00:01.010 of the next one's first.
// Spec: TSA-12
fn is_leap_window(now: UnixTime) -> bool {
    const DAY_MILLIS: u64 = 86_400_000;
    const BEFORE_MILLIS: u64 = 1_011;
    const AFTER_MILLIS: u64 = 1_010;
    // Where both ends of the window lie in the new day.
    let shifted = now.millis().saturating_add(BEFORE_MILLIS);
    if shifted % DAY_MILLIS > BEFORE_MILLIS + AFTER_MILLIS {
        return false;
    }
    let day = GenTime::new(shifted / 1000, 0).map(|time| time.to_string());
    day.is_some_and(|day| day.get(8..10) == Some("01"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2027-01-01T00:00:00Z, the end of a month.
    const NEW_YEAR: u64 = 1_798_761_600;

    fn at(now: UnixTime, floor: u64) -> Option<u64> {
        gen_time(now, floor, LeapSeconds::Pause).map(GenTime::seconds)
    }

    // Spec: TSA-10, TSA-11
    #[test]
    fn times_are_whole_seconds_and_never_before_what_came_before() {
        let now = UnixTime::from_millis(1_795_000_000_999);
        assert_eq!(at(now, 0), Some(1_795_000_000));
        assert_eq!(at(now, 1_795_000_000), Some(1_795_000_000));
        assert_eq!(at(now, 1_795_000_001), Some(1_795_000_001));
        assert_eq!(at(now, 1_795_000_002), None);
        // 9999 ends the calendar of ASN.1.
        assert_eq!(at(UnixTime::from_seconds(253_402_300_800), 0), None);
    }

    // Spec: SVC-68
    #[test]
    fn people_are_told_dates() {
        assert_eq!(rfc3339(NEW_YEAR), "2027-01-01T00:00:00Z");
        assert_eq!(rfc3339(253_402_300_799), "9999-12-31T23:59:59Z");
        assert_eq!(rfc3339(253_402_300_800), "253402300800 s after 1970");
    }

    // Spec: TSA-12
    #[test]
    fn no_token_is_made_where_a_leap_second_may_be() {
        let around = [
            (-1_012, true),
            (-1_011, false),
            (-1, false),
            (0, false),
            (1_010, false),
            (1_011, true),
        ];
        for (offset, told) in around {
            let millis = (NEW_YEAR * 1000).checked_add_signed(offset).unwrap();
            let now = UnixTime::from_millis(millis);
            assert_eq!(at(now, 0).is_some(), told, "{offset}");
            assert!(gen_time(now, 0, LeapSeconds::Ignore).is_some());
            // Any other midnight, also that before the last day of a month.
            let other = UnixTime::from_millis(millis - 86_400_000);
            assert!(at(other, 0).is_some(), "{offset}");
        }
        // The end of February of a leap year and of another.
        for (midnight, is_end) in [
            (1_835_395_200, false),
            (1_835_481_600, true),
            (1_803_859_200, true),
        ] {
            let now = UnixTime::from_seconds(midnight);
            assert_eq!(at(now, 0).is_none(), is_end, "{midnight}");
        }
    }
}
