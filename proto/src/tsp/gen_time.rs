//! The time in a token: `GeneralizedTime` with or without a fraction of a second.
//!
//! ```text
//! YYYYMMDDhhmmss[.f…]Z     UTC; the fraction has no zero at its end, and is not empty
//! ```
//!
//! `der` knows no fraction, so this type reads it and leaves the calendar to `der`. There is no
//! second 60 here: the common libraries cannot write it, and an authority does not stamp then.

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

use der::DateTime;

use crate::tsp::element::{DerError, DerFault};

/// A point in time, from 1970 to 9999, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenTime {
    seconds: u64,
    nanos: u32,
}

const NANOS_PER_SECOND: u32 = 1_000_000_000;
/// The last second of 9999.
const SECONDS_MAX: u64 = 253_402_300_799;

impl GenTime {
    /// A time by its seconds since 1970 and the nanoseconds in them; `None` after 9999, or when
    /// the nanoseconds are a second or more.
    pub fn new(seconds: u64, nanos: u32) -> Option<Self> {
        (seconds <= SECONDS_MAX && nanos < NANOS_PER_SECOND).then_some(Self { seconds, nanos })
    }

    /// Whole seconds since 1970.
    pub fn seconds(self) -> u64 {
        self.seconds
    }

    /// The rest, in nanoseconds.
    pub fn nanos(self) -> u32 {
        self.nanos
    }

    /// The time since 1970.
    pub fn since_epoch(self) -> Duration {
        Duration::new(self.seconds, self.nanos)
    }

    // Spec: TSP-32
    pub(crate) fn read(content: &[u8], field: &'static str) -> Result<Self, DerError> {
        parse(content).ok_or(DerFault::Text.of(field))
    }

    /// The content of the `GeneralizedTime`.
    // Spec: TSP-32
    pub(crate) fn content(self) -> String {
        let Ok(date) = DateTime::from_unix_duration(Duration::from_secs(self.seconds)) else {
            // Not reached: the constructor refuses what comes after 9999.
            return String::new();
        };
        let mut whole = String::with_capacity(15);
        // Digits by hand: a token is written often, and the formatter takes longer than the rest.
        let mut two = |number: u16| {
            whole.push(digit(number / 10));
            whole.push(digit(number));
        };
        two(date.year() / 100);
        two(date.year() % 100);
        for part in [
            date.month(),
            date.day(),
            date.hour(),
            date.minutes(),
            date.seconds(),
        ] {
            two(u16::from(part));
        }
        if self.nanos == 0 {
            whole.push('Z');
            return whole;
        }
        let fraction = format!("{:09}", self.nanos);
        format!("{whole}.{}Z", fraction.trim_end_matches('0'))
    }
}

/// The last decimal digit.
fn digit(number: u16) -> char {
    char::from_digit(u32::from(number % 10), 10).unwrap_or('0')
}

fn parse(content: &[u8]) -> Option<GenTime> {
    let text = core::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    if whole.len() != 14 || !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let field = |from: usize, to: usize| -> Option<u8> { whole.get(from..to)?.parse().ok() };
    let year = whole.get(..4)?.parse().ok()?;
    let date = DateTime::new(
        year,
        field(4, 6)?,
        field(6, 8)?,
        field(8, 10)?,
        field(10, 12)?,
        field(12, 14)?,
    );
    let seconds = date.ok()?.unix_duration().as_secs();
    let nanos = match fraction {
        None => 0,
        Some(fraction) => {
            let proper = (1..=9).contains(&fraction.len())
                && fraction.bytes().all(|byte| byte.is_ascii_digit())
                && !fraction.ends_with('0');
            let digits = proper.then(|| format!("{fraction:0<9}"))?;
            digits.parse().ok()?
        }
    };
    GenTime::new(seconds, nanos)
}

impl fmt::Display for GenTime {
    /// As RFC 3339 has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = self.content();
        let part = |from: usize, to: usize| content.get(from..to).unwrap_or_default();
        write!(
            f,
            "{}-{}-{}T{}:{}:{}{}",
            part(0, 4),
            part(4, 6),
            part(6, 8),
            part(8, 10),
            part(10, 12),
            part(12, 14),
            content.get(14..).unwrap_or_default()
        )
    }
}

impl fmt::Debug for GenTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GenTime({self})")
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use proptest::prelude::*;

    use super::*;

    // Spec: TSP-32
    #[test]
    fn times_with_and_without_a_fraction_are_read_and_written() {
        for (content, seconds, nanos, shown) in [
            ("19700101000000Z", 0, 0, "1970-01-01T00:00:00Z"),
            ("20241008154032Z", 1_728_402_032, 0, "2024-10-08T15:40:32Z"),
            (
                "20241008154032.5Z",
                1_728_402_032,
                500_000_000,
                "2024-10-08T15:40:32.5Z",
            ),
            (
                "20240229000000.000000001Z",
                1_709_164_800,
                1,
                "2024-02-29T00:00:00.000000001Z",
            ),
            ("99991231235959Z", SECONDS_MAX, 0, "9999-12-31T23:59:59Z"),
        ] {
            let time = GenTime::read(content.as_bytes(), "genTime").unwrap();
            assert_eq!(
                (time.seconds(), time.nanos()),
                (seconds, nanos),
                "{content}"
            );
            assert_eq!(time.content(), content);
            assert_eq!(time.to_string(), shown);
        }
    }

    // Spec: TSP-32
    #[test]
    fn other_forms_of_a_time_are_refused() {
        for content in [
            "",
            "Z",
            "202410081540Z",
            "20241008154032",
            "20241008154032+0000",
            "20241008154032.Z",
            "20241008154032.0Z",
            "20241008154032.50Z",
            "20241008154032,5Z",
            "20241008154032.0000000001Z",
            "20241008154060Z",
            "20241008244032Z",
            "20230229000000Z",
            "20241308154032Z",
            "19691231235959Z",
            "+0241008154032Z",
            "2024100815403 Z",
        ] {
            let answer = GenTime::read(content.as_bytes(), "genTime");
            assert_eq!(answer, Err(DerFault::Text.of("genTime")), "{content}");
        }
        assert_eq!(GenTime::new(SECONDS_MAX + 1, 0), None);
        assert_eq!(GenTime::new(0, NANOS_PER_SECOND), None);
    }

    proptest! {
        // Spec: TSP-32
        #[test]
        fn any_time_is_read_again_and_its_order_is_that_of_its_parts(
            one in (0..=SECONDS_MAX, 0..NANOS_PER_SECOND),
            other in (0..=SECONDS_MAX, 0..NANOS_PER_SECOND),
        ) {
            let time = |(seconds, nanos)| GenTime::new(seconds, nanos).unwrap();
            let content = time(one).content();
            prop_assert_eq!(GenTime::read(content.as_bytes(), "genTime"), Ok(time(one)));
            prop_assert_eq!(time(one).cmp(&time(other)), one.cmp(&other));
        }
    }
}
