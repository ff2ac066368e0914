//! Lowercase hexadecimal: the origin hash in a path, the key id in a verifier key.
//!
//! Capital digits are refused when decoding, so that one value has one text.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Encodes `bytes`, two lowercase digits each.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for &byte in bytes {
        for nibble in [byte >> 4, byte & 0x0f] {
            if let Some(&digit) = DIGITS.get(usize::from(nibble)) {
                text.push(char::from(digit));
            }
        }
    }
    text
}

/// Decodes lowercase digits, two a byte.
///
/// # Errors
///
/// When the number of characters is odd, or one of them is no lowercase digit.
pub fn decode(text: &str) -> Result<Vec<u8>, HexError> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return Err(HexError::OddLength { chars: text.len() });
    }
    let mut bytes = Vec::with_capacity(pairs.len());
    for (at, &[high, low]) in pairs.iter().enumerate() {
        let offset = at.saturating_mul(2);
        let high = digit_value(high).ok_or(HexError::Digit { offset, byte: high })?;
        let low = digit_value(low).ok_or(HexError::Digit {
            offset: offset + 1,
            byte: low,
        })?;
        bytes.push((high << 4) | low);
    }
    Ok(bytes)
}

const fn digit_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Why a text is not lowercase hexadecimal. The fault is the sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HexError {
    /// The last byte has one digit only.
    OddLength {
        /// Length of the text in bytes.
        chars: usize,
    },
    /// A byte that is no digit, or a capital one.
    Digit {
        /// Where, in bytes from the start.
        offset: usize,
        /// The byte found there.
        byte: u8,
    },
}

impl fmt::Display for HexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OddLength { chars } => write!(f, "hex text has an odd length, {chars}"),
            Self::Digit { offset, byte } => {
                write!(
                    f,
                    "byte 0x{byte:02x} at offset {offset} is no lowercase hex digit"
                )
            }
        }
    }
}

impl core::error::Error for HexError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        assert_eq!(encode(&[]), "");
        assert_eq!(encode(&[0x00, 0x9a, 0xff]), "009aff");
        assert_eq!(decode("009aff"), Ok([0x00, 0x9a, 0xff].into()));
    }

    #[test]
    fn capitals_odd_lengths_and_other_characters_are_refused() {
        assert_eq!(decode("0"), Err(HexError::OddLength { chars: 1 }));
        assert_eq!(
            decode("0A"),
            Err(HexError::Digit {
                offset: 1,
                byte: b'A'
            })
        );
        assert_eq!(
            decode("00g0"),
            Err(HexError::Digit {
                offset: 2,
                byte: b'g'
            })
        );
        assert_eq!(
            decode("é"),
            Err(HexError::Digit {
                offset: 0,
                byte: 0xc3
            })
        );
        assert_eq!(
            decode("0x"),
            Err(HexError::Digit {
                offset: 1,
                byte: b'x'
            })
        );
    }

    proptest! {
        #[test]
        fn every_byte_string_survives(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)), Ok(bytes));
        }

        #[test]
        fn what_decodes_encodes_to_the_same_text(text in "[0-9a-fA-F]{0,8}") {
            if let Ok(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
