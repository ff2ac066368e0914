//! Deterministic CBOR, and maps of header parameters in it.
//!
//! In scope: whether bytes are one item whose lengths and numbers are in their shortest form and
//! whose lengths are stated (RFC 8949, 4.2.1); header parameters, each label once. Out of scope:
//! the order of a map's labels, which a signature covers or nothing does, and the width of floats.
//!
//! Rules: `spec/receipt.md`.

use alloc::vec::Vec;

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

/// The most members of one map of header parameters.
// Spec: RCP-10
pub(super) const HEADERS_MAX: u64 = 64;

/// Whether these bytes are exactly one item in deterministic form. A walk without recursion: each
/// item takes a byte at least, so it ends.
// Spec: RCP-10
pub(super) fn is_deterministic(mut bytes: &[u8]) -> bool {
    let mut items = 1_u64;
    while items > 0 {
        let Some((major, value, rest)) = head(bytes) else {
            return false;
        };
        bytes = rest;
        items -= 1;
        let more = match major {
            2 | 3 => {
                let Some((content, rest)) = usize::try_from(value)
                    .ok()
                    .and_then(|length| bytes.split_at_checked(length))
                else {
                    return false;
                };
                if major == 3 && core::str::from_utf8(content).is_err() {
                    return false;
                }
                bytes = rest;
                0
            }
            4 => value,
            5 => value.saturating_mul(2),
            6 => 1,
            _ => 0,
        };
        items = items.saturating_add(more);
    }
    bytes.is_empty()
}

/// The head of an item: its major type and its number, which is not written longer than it must be.
fn head(bytes: &[u8]) -> Option<(u8, u64, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (major, short) = (first >> 5, first & 0x1f);
    let width = match short {
        0..=23 => return Some((major, u64::from(short), rest)),
        24..=27 => 1_usize << (short - 24),
        _ => return None,
    };
    let (number, rest) = rest.split_at_checked(width)?;
    let value = number
        .iter()
        .fold(0, |value, byte| (value << 8) | u64::from(*byte));
    let least = match short {
        // A simple value below 32 has no second byte (RFC 8949, 3.3).
        24 if major == 7 => 32,
        24 => 24,
        // Floats, whose width is their own business.
        _ if major == 7 => 0,
        25 => 1 << 8,
        26 => 1 << 16,
        _ => 1 << 32,
    };
    (value >= least).then_some((major, value, rest))
}

/// Header parameters: labels and values as they are encoded.
pub(super) struct Headers<'a>(Vec<(&'a [u8], &'a [u8])>);

impl<'a> Headers<'a> {
    /// Takes members that are cut already. Nothing comes of a label that is there twice.
    pub(super) fn new(members: Vec<(&'a [u8], &'a [u8])>) -> Option<Self> {
        for (place, (label, _)) in members.iter().enumerate() {
            if members
                .iter()
                .skip(place + 1)
                .any(|(other, _)| other == label)
            {
                return None;
            }
        }
        Some(Self(members))
    }

    /// Reads one map that is deterministic.
    pub(super) fn parse(map: &'a [u8]) -> Option<Self> {
        if !is_deterministic(map) {
            return None;
        }
        let mut decoder = Decoder::new(map);
        let count = decoder.map().ok().flatten();
        let mut members = Vec::new();
        for _ in 0..count.filter(|count| *count <= HEADERS_MAX)? {
            let label = item(&mut decoder)?;
            members.push((label, item(&mut decoder)?));
        }
        Self::new(members)
    }

    /// The value of a label, as it is encoded.
    pub(super) fn value(&self, label: i64) -> Option<&'a [u8]> {
        let mut wanted = Vec::new();
        push(&mut wanted, |out| out.i64(label).map(drop));
        let mut members = self.0.iter();
        let found = members.find(|(label, _)| *label == wanted);
        found.map(|(_, value)| *value)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The next item as its bytes.
pub(super) fn item<'a>(decoder: &mut Decoder<'a>) -> Option<&'a [u8]> {
    let from = decoder.position();
    decoder.skip().ok()?;
    decoder.input().get(from..decoder.position())
}

/// The one item that these bytes are, when it is a byte string.
pub(super) fn byte_string(bytes: &[u8]) -> Option<&[u8]> {
    let mut decoder = Decoder::new(bytes);
    if decoder.datatype().ok()? != Type::Bytes {
        return None;
    }
    decoder.bytes().ok()
}

/// What writing gives.
pub(super) type Written = Result<(), minicbor::encode::Error<core::convert::Infallible>>;

/// Writing to memory does not fail.
pub(super) fn push(out: &mut Vec<u8>, write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Written) {
    let written = write(&mut Encoder::new(out));
    debug_assert!(written.is_ok(), "memory takes all");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    // Spec: RCP-10
    #[test]
    fn each_item_has_one_form() {
        let is = |text: &str| is_deterministic(&hex::decode(text).unwrap());
        for good in [
            "00",
            "17",
            "1818",
            "190100",
            "1a00010000",
            "1b0000000100000000",
            "20",
            "3818",
            "40",
            "4100",
            "60",
            "6141",
            "80",
            "820102",
            "a0",
            "a10102",
            "c000",
            "f6",
            "f5",
            "f820",
            "f90000",
            "fa00000000",
            "fb0000000000000000",
            "d28443a10126a0f640",
        ] {
            assert!(is(good), "{good}");
        }
        for bad in [
            "",
            "18",
            "1817",
            "1900ff",
            "1a0000ffff",
            "1b00000000ffffffff",
            "3817",
            "41",
            "5800",
            "5801",
            "590001",
            "5f4100ff",
            "61ff",
            "9f00ff",
            "9801",
            "81",
            "810000",
            "bf0000ff",
            "a101",
            "c0",
            "d81200",
            "f817",
            "f81f",
            "fc",
            "ff",
            "0000",
            "1c",
            "9bffffffffffffffff",
            "bbffffffffffffffff",
            "5bffffffffffffffff",
        ] {
            assert!(!is(bad), "{bad}");
        }
    }

    // Spec: RCP-10
    #[test]
    fn a_label_is_there_once() {
        let read = |text: &str| {
            let bytes = hex::decode(text).unwrap();
            Headers::parse(&bytes).map(|headers| (headers.len(), headers.value(1).map(hex::encode)))
        };
        assert_eq!(read("a0"), Some((0, None)));
        assert_eq!(read("a20126616100"), Some((2, Some("26".into()))));
        assert_eq!(read("a201260127"), None);
        assert_eq!(read("a118010126"), None);
        assert_eq!(read("80"), None);
        assert_eq!(read("a1012600"), None);
        // Labels from 24 on, each of two bytes.
        let mut map = alloc::vec![0xb8, 65];
        for label in 0..65 {
            map.extend([0x18, 24 + label, 0]);
        }
        assert!(is_deterministic(&map));
        assert!(Headers::parse(&map).is_none(), "more than the limit");
    }
}
