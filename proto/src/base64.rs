//! Canonical base64: the standard alphabet of RFC 4648 section 4, padded.
//!
//! One value has one text. Missing or extra padding, set bits after the last byte, white space and
//! the URL alphabet are refused, so that decoding and encoding again gives the same characters:
//! a note that verifies cannot be respelled into a second note that verifies as well.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use ::base64::engine::general_purpose::STANDARD;
use ::base64::{DecodeError, Engine as _};

/// Encodes `bytes` with padding.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Appends the encoding of `front` and `rest` as one piece, without putting them together first.
pub(crate) fn push_joined(front: [u8; 4], rest: &[u8], out: &mut Vec<u8>) {
    // Two groups of three bytes; what follows begins a group of its own.
    let (joint, rest) = rest.split_at_checked(2).unwrap_or((rest, &[]));
    push(&[&front, joint].concat(), out);
    push(rest, out);
}

fn push(bytes: &[u8], out: &mut Vec<u8>) {
    let from = out.len();
    out.resize(from + bytes.len().div_ceil(3) * 4, 0);
    let room = out.get_mut(from..).unwrap_or_default();
    let written = STANDARD.encode_slice(bytes, room).unwrap_or_default();
    debug_assert_eq!(written, out.len() - from, "the room is what it takes");
}

/// Decodes the canonical encoding of some bytes.
///
/// The result is three quarters as long as `text`: bound `text` before the call.
///
/// # Errors
///
/// Says which rule `text` breaks, and where.
pub fn decode(text: &str) -> Result<Vec<u8>, Base64Error> {
    // Spec: MRK-14
    STANDARD.decode(text).map_err(|error| match error {
        DecodeError::InvalidByte(offset, byte) => Base64Error::Symbol { offset, byte },
        DecodeError::InvalidLength(_) => Base64Error::Length { chars: text.len() },
        DecodeError::InvalidLastSymbol { offset, .. } => Base64Error::TrailingBits { offset },
        DecodeError::InvalidPadding => Base64Error::Padding,
    })
}

/// Why a text is not the base64 that was expected. The fault is the sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base64Error {
    /// A byte outside the alphabet, or a padding character before the end.
    Symbol {
        /// Where, in bytes from the start.
        offset: usize,
        /// The byte found there.
        byte: u8,
    },
    /// The text cannot be cut into groups of four characters.
    Length {
        /// Length of the text in bytes.
        chars: usize,
    },
    /// The last character carries bits that belong to no byte, and they are not zero.
    TrailingBits {
        /// Where that character stands, in bytes from the start.
        offset: usize,
    },
    /// The padding is missing, incomplete or too long.
    Padding,
    /// The text is canonical, but it decodes to a number of bytes that the field does not have.
    DecodedLength {
        /// Bytes that the field has.
        expected: usize,
        /// Bytes that the text decodes to.
        found: usize,
    },
}

impl fmt::Display for Base64Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Symbol { offset, byte } => {
                write!(
                    f,
                    "byte 0x{byte:02x} at offset {offset} is no base64 character"
                )
            }
            Self::Length { chars } => {
                write!(
                    f,
                    "base64 text of {chars} characters is not made of groups of four"
                )
            }
            Self::TrailingBits { offset } => {
                write!(
                    f,
                    "base64 character at offset {offset} has stray bits after the last byte"
                )
            }
            Self::Padding => f.write_str("base64 padding is missing or wrong"),
            Self::DecodedLength { expected, found } => {
                write!(
                    f,
                    "base64 text holds {found} bytes where {expected} are expected"
                )
            }
        }
    }
}

impl core::error::Error for Base64Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_4648_section_10_both_ways() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Ok(bytes.as_bytes()));
        }
    }

    // Spec: MRK-14
    #[test]
    fn only_the_canonical_text_is_accepted() {
        for (text, why) in [
            ("Zg", Base64Error::Padding),
            ("Zg=", Base64Error::Padding),
            ("Zm8", Base64Error::Padding),
            ("Zh==", Base64Error::TrailingBits { offset: 1 }),
            ("Zm9=", Base64Error::TrailingBits { offset: 2 }),
            (
                "Zm9v\n",
                Base64Error::Symbol {
                    offset: 4,
                    byte: b'\n',
                },
            ),
            (
                " Zm9",
                Base64Error::Symbol {
                    offset: 0,
                    byte: b' ',
                },
            ),
            (
                "Zm-_",
                Base64Error::Symbol {
                    offset: 2,
                    byte: b'-',
                },
            ),
            (
                "Zg==Zg==",
                Base64Error::Symbol {
                    offset: 2,
                    byte: b'=',
                },
            ),
        ] {
            assert_eq!(decode(text), Err(why), "{text:?}");
        }
        for text in ["Z", "Zm9vY", "====", "=", "Zm9v====", "Zg===", "Zm9v="] {
            assert!(decode(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_byte_string_survives(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)), Ok(bytes));
        }

        #[test]
        fn two_pieces_are_encoded_as_one(
            front: [u8; 4],
            rest in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut out = b"before".to_vec();
            push_joined(front, &rest, &mut out);
            let expected = encode(&[&front[..], &rest].concat());
            prop_assert_eq!(out, [b"before", expected.as_bytes()].concat());
        }

        #[test]
        fn what_decodes_encodes_to_the_same_text(text in "[A-Za-z0-9+/]{0,9}={0,3}") {
            if let Ok(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }

        #[test]
        fn any_text_is_answered(text: String) {
            let _ = decode(&text);
        }
    }
}
