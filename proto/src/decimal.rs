//! Canonical decimal numbers: how the formats write sizes, indices and times.
//!
//! ASCII digits, no sign, no leading zero except for `0` itself, and at most 2^63 - 1, so that
//! every reader (also those whose integers are signed) sees the same number.

use core::fmt;

/// The largest number that any of the formats carries.
pub const DECIMAL_MAX: u64 = u64::MAX >> 1;

/// Parses a canonical decimal number up to [`DECIMAL_MAX`].
///
/// The inverse is `Display` of `u64`.
///
/// # Errors
///
/// Says which rule `text` breaks.
pub fn parse_decimal(text: &str) -> Result<u64, DecimalError> {
    // Spec: MRK-15
    let bytes = text.as_bytes();
    match bytes {
        [] => return Err(DecimalError::Empty),
        [b'0', b'0'..=b'9', ..] => return Err(DecimalError::LeadingZero),
        _ => {}
    }
    let mut value: u64 = 0;
    for (offset, &byte) in bytes.iter().enumerate() {
        if !byte.is_ascii_digit() {
            return Err(DecimalError::NotDigit { offset, byte });
        }
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(byte - b'0')))
            .filter(|&value| value <= DECIMAL_MAX)
            .ok_or(DecimalError::TooLarge)?;
    }
    Ok(value)
}

/// Why a text is not a canonical decimal number. The fault is the sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecimalError {
    /// There is no character.
    Empty,
    /// A zero stands before another digit.
    LeadingZero,
    /// A byte that is no ASCII digit: signs, spaces and other scripts' digits included.
    NotDigit {
        /// Where, in bytes from the start.
        offset: usize,
        /// The byte found there.
        byte: u8,
    },
    /// The number is above [`DECIMAL_MAX`].
    TooLarge,
}

impl fmt::Display for DecimalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("the number is missing"),
            Self::LeadingZero => f.write_str("the number has a leading zero"),
            Self::NotDigit { offset, byte } => {
                write!(
                    f,
                    "byte 0x{byte:02x} at offset {offset} is no decimal digit"
                )
            }
            Self::TooLarge => write!(f, "the number is above {DECIMAL_MAX}"),
        }
    }
}

impl core::error::Error for DecimalError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString as _};
    use proptest::prelude::*;

    // Spec: MRK-15
    #[test]
    fn only_the_canonical_text_is_accepted() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("7", Ok(7)),
            ("10", Ok(10)),
            ("9223372036854775807", Ok(DECIMAL_MAX)),
            ("9223372036854775808", Err(DecimalError::TooLarge)),
            ("18446744073709551616", Err(DecimalError::TooLarge)),
            ("99999999999999999999999", Err(DecimalError::TooLarge)),
            ("", Err(DecimalError::Empty)),
            ("00", Err(DecimalError::LeadingZero)),
            ("01", Err(DecimalError::LeadingZero)),
            (
                "-1",
                Err(DecimalError::NotDigit {
                    offset: 0,
                    byte: b'-',
                }),
            ),
            (
                "+1",
                Err(DecimalError::NotDigit {
                    offset: 0,
                    byte: b'+',
                }),
            ),
            (
                "1 ",
                Err(DecimalError::NotDigit {
                    offset: 1,
                    byte: b' ',
                }),
            ),
            (
                "1\n",
                Err(DecimalError::NotDigit {
                    offset: 1,
                    byte: b'\n',
                }),
            ),
            (
                "0x1",
                Err(DecimalError::NotDigit {
                    offset: 1,
                    byte: b'x',
                }),
            ),
            (
                "1_0",
                Err(DecimalError::NotDigit {
                    offset: 1,
                    byte: b'_',
                }),
            ),
            (
                "\u{0661}",
                Err(DecimalError::NotDigit {
                    offset: 0,
                    byte: 0xd9,
                }),
            ),
        ] {
            assert_eq!(parse_decimal(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_number_survives(value in 0..=DECIMAL_MAX) {
            prop_assert_eq!(parse_decimal(&value.to_string()), Ok(value));
        }

        #[test]
        fn what_parses_prints_the_same(text in "[0-9+ -]{0,21}") {
            if let Ok(value) = parse_decimal(&text) {
                prop_assert_eq!(value.to_string(), text);
            }
        }

        #[test]
        fn any_text_is_answered(text: String) {
            let _ = parse_decimal(&text);
        }
    }
}
