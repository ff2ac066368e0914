//! Object identifiers: those that this module knows, and those of others, such as policies.
//!
//! Jurat has no enterprise number. Its own identifiers stand below
//! `1.2.840.113556.1.8000.2554`, the arc that Microsoft gives away: one appends a UUID of one's
//! own, cut into arcs of 16 and 24 bits. The arc for UUIDs in one piece, `2.25`, was rejected: its
//! next arc has 128 bits, and Go's `encoding/asn1` (31 bits an arc) and the Rust `const-oid`
//! (32 bits) then refuse the whole token, although they would only have to skip it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};

use const_oid::ObjectIdentifier;

use crate::tsp::element::{DerError, DerFault, Element, push, tag};

/// The extension of a `TSTInfo` that names a checkpoint: not before.
// Spec: TSP-33
pub const NOT_BEFORE_CHECKPOINT: ObjectIdentifier = ObjectIdentifier::new_unwrap(
    "1.2.840.113556.1.8000.2554.24355.54125.48897.16678.42822.7514055.13516296.1",
);
/// The unsigned attribute that carries a receipt: not after.
// Spec: TSP-46
pub const RECEIPT: ObjectIdentifier = ObjectIdentifier::new_unwrap(
    "1.2.840.113556.1.8000.2554.24355.54125.48897.16678.42822.7514055.13516296.2",
);

/// The policy of an authority whose operator has none of their own: RFC 3161 and the rules of
/// `spec/authority.md`, and nothing promised beyond them.
pub const DEFAULT_POLICY: ObjectIdentifier = ObjectIdentifier::new_unwrap(
    "1.2.840.113556.1.8000.2554.24355.54125.48897.16678.42822.7514055.13516296.3",
);

macro_rules! known {
    ($($name:ident = $text:literal;)*) => {
        $(pub(crate) const $name: ObjectIdentifier = ObjectIdentifier::new_unwrap($text);)*
    };
}

known! {
    SHA256 = "2.16.840.1.101.3.4.2.1";
    SHA384 = "2.16.840.1.101.3.4.2.2";
    SHA512 = "2.16.840.1.101.3.4.2.3";
    SHA3_256 = "2.16.840.1.101.3.4.2.8";
    SHA3_384 = "2.16.840.1.101.3.4.2.9";
    SHA3_512 = "2.16.840.1.101.3.4.2.10";
    ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2";
    ECDSA_WITH_SHA384 = "1.2.840.10045.4.3.3";
    ECDSA_WITH_SHA512 = "1.2.840.10045.4.3.4";
    RSA_ENCRYPTION = "1.2.840.113549.1.1.1";
    SHA256_WITH_RSA = "1.2.840.113549.1.1.11";
    SHA384_WITH_RSA = "1.2.840.113549.1.1.12";
    SHA512_WITH_RSA = "1.2.840.113549.1.1.13";
    SIGNED_DATA = "1.2.840.113549.1.7.2";
    TST_INFO = "1.2.840.113549.1.9.16.1.4";
    CONTENT_TYPE = "1.2.840.113549.1.9.3";
    MESSAGE_DIGEST = "1.2.840.113549.1.9.4";
    SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.12";
    SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47";
    ALGORITHM_PROTECTION = "1.2.840.113549.1.9.52";
    TIME_STAMPING = "1.3.6.1.5.5.7.3.8";
    ANY_EXTENDED_KEY_USAGE = "2.5.29.37.0";
}

/// An object identifier of any length up to [`OID_BYTES_MAX`], as the bytes of its DER content.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(Vec<u8>);

/// The longest identifier that is taken, in bytes of its content. Real ones have up to 35.
// Spec: TSP-02
pub const OID_BYTES_MAX: usize = 64;

impl Oid {
    /// Parses the dotted form.
    ///
    /// # Errors
    /// [`OidError`] when it is not decimal arcs between dots, or no object identifier.
    pub fn parse(text: &str) -> Result<Self, OidError> {
        let mut arcs = text.split('.').map(arc);
        let first = arcs.next().ok_or(OidError)??;
        let second = arcs.next().ok_or(OidError)??;
        if first > 2 || (first < 2 && second > 39) {
            return Err(OidError);
        }
        let mut content = Vec::new();
        let both = second.checked_add(first * 40).ok_or(OidError)?;
        push_arc(&mut content, both);
        for next in arcs {
            push_arc(&mut content, next?);
            if content.len() > OID_BYTES_MAX {
                return Err(OidError);
            }
        }
        Ok(Self(content))
    }

    // Spec: TSP-02
    pub(crate) fn read(element: Element<'_>, field: &'static str) -> Result<Self, DerError> {
        let content = element.content;
        let mut starts = true;
        let mut proper = content.len() <= OID_BYTES_MAX && !content.is_empty();
        for octet in content {
            proper &= !(starts && *octet == 0x80);
            starts = octet & 0x80 == 0;
        }
        if proper && starts {
            Ok(Self(content.to_vec()))
        } else {
            Err(DerFault::Oid.of(field))
        }
    }

    pub(crate) fn push(&self, out: &mut Vec<u8>) {
        push(out, tag::OID, &[&self.0]);
    }

    /// The content of its DER.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its dotted form, if that can be read again: no arc has more than 128 bits.
    pub(crate) fn dotted(&self) -> Option<String> {
        let mut text = String::with_capacity(96);
        let whole = self.arcs().all(|arc| arc.is_some());
        (whole && write!(text, "{self}").is_ok()).then_some(text)
    }

    /// Its arcs, of which the first holds two; `None` for one of more than 128 bits.
    fn arcs(&self) -> impl Iterator<Item = Option<u128>> {
        let parts = self.0.split_inclusive(|octet| octet & 0x80 == 0);
        parts.map(|part| {
            part.iter().try_fold(0_u128, |arc, octet| {
                (arc.leading_zeros() >= 7).then(|| (arc << 7) | u128::from(octet & 0x7f))
            })
        })
    }
}

impl From<ObjectIdentifier> for Oid {
    fn from(oid: ObjectIdentifier) -> Self {
        Self(oid.as_bytes().to_vec())
    }
}

impl PartialEq<ObjectIdentifier> for Oid {
    fn eq(&self, other: &ObjectIdentifier) -> bool {
        self.0 == other.as_bytes()
    }
}

fn arc(text: &str) -> Result<u128, OidError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (text.len() > 1 && text.starts_with('0')) {
        return Err(OidError);
    }
    text.parse().map_err(|_| OidError)
}

/// Base 128, most significant first; the top bit says that more follows.
fn push_arc(content: &mut Vec<u8>, arc: u128) {
    let bits = u128::BITS - arc.leading_zeros();
    for place in (1..bits.div_ceil(7)).rev() {
        content.push(low_seven(arc >> (7 * place)) | 0x80);
    }
    content.push(low_seven(arc));
}

fn low_seven(value: u128) -> u8 {
    let [.., last] = value.to_be_bytes();
    last & 0x7f
}

impl fmt::Display for Oid {
    /// The dotted form; an arc that does not fit into 128 bits is written as `…`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for arc in self.arcs() {
            match arc {
                Some(both) if first => {
                    let root = (both / 40).min(2);
                    write_arc(f, root)?;
                    f.write_char('.')?;
                    write_arc(f, both - root * 40)?;
                }
                Some(arc) => {
                    f.write_char('.')?;
                    write_arc(f, arc)?;
                }
                None if first => f.write_str("2.…")?,
                None => f.write_str(".…")?,
            }
            first = false;
        }
        Ok(())
    }
}

/// Most arcs are small, and numbers of 128 bits are written much more slowly.
fn write_arc(f: &mut fmt::Formatter<'_>, arc: u128) -> fmt::Result {
    match u64::try_from(arc) {
        Ok(arc) => write!(f, "{arc}"),
        Err(_) => write!(f, "{arc}"),
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oid({self})")
    }
}

/// Text that is no object identifier. Whoever wrote it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OidError;

impl fmt::Display for OidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not an object identifier of at most {OID_BYTES_MAX} bytes: decimal numbers between \
             dots, such as 1.3.6.1.4.1.99999.1"
        )
    }
}

impl core::error::Error for OidError {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;
    use crate::tsp::element::element;

    // Spec: TSP-02
    #[test]
    fn dotted_text_and_bytes_are_each_others_inverse() {
        for text in [
            "0.4.0.2023.1.1",
            "1.3.6.1.4.1.57264.2",
            "2.16.840.1.101.3.4.2.1",
            "2.999.1",
            "2.25.126462678273024964918680120265618112008.1",
            "1.39",
        ] {
            let oid = Oid::parse(text).unwrap();
            assert_eq!(oid.to_string(), text);
            assert_eq!(oid.dotted().as_deref(), Some(text));
            let der = element(tag::OID, &[oid.as_bytes()]);
            let read = Element::only(&der, tag::OID, "policy").unwrap();
            assert_eq!(Oid::read(read, "policy"), Ok(oid));
        }
        let known = Oid::parse("1.2.840.113549.1.9.16.1.4").unwrap();
        assert_eq!(known, TST_INFO);
        assert_eq!(NOT_BEFORE_CHECKPOINT.as_bytes().len(), 35);
        // 2^128, as an arc of its own and in the first one.
        let large = [&[0x84][..], &[0x80; 17], &[0x00]].concat();
        for (content, text) in [
            ([&[0x2a][..], &large, &[0x01]].concat(), "1.2.….1"),
            ([&large[..], &[0x01]].concat(), "2.….1"),
        ] {
            let oid = Oid(content);
            assert_eq!((oid.to_string().as_str(), oid.dotted()), (text, None));
            assert!(Oid::parse(text).is_err());
        }
    }

    // Spec: TSP-02
    #[test]
    fn text_and_bytes_that_are_no_identifier_are_refused() {
        for text in [
            "", "1", "3.1", "1.40", "1..2", "1.02", "1.x", "1.-2", "1.2.",
        ] {
            assert_eq!(Oid::parse(text), Err(OidError), "{text}");
        }
        assert!(Oid::parse(&["1.2", &".4294967295".repeat(13)].concat()).is_err());
        for content in [
            &[][..],
            &[0x80, 0x01],
            &[0x2a, 0x86],
            &[0x2a, 0x80, 0x01],
            &[1; 65],
        ] {
            let der = element(tag::OID, &[content]);
            let read = Element::only(&der, tag::OID, "policy").unwrap();
            assert!(Oid::read(read, "policy").is_err(), "{content:?}");
        }
    }

    // Spec: TSP-33, TSP-46
    #[test]
    fn our_identifiers_are_the_uuid_in_pieces_that_every_reader_can_hold() {
        let uuid = "5f23d36d-bf01-4126-a746-72a7c7ce3e08".replace('-', "");
        let mut text = String::from("1.2.840.113556.1.8000.2554");
        let mut rest = uuid.as_str();
        for digits in [4, 4, 4, 4, 4, 6, 6] {
            let (piece, tail) = rest.split_at(digits);
            write!(text, ".{}", u32::from_str_radix(piece, 16).unwrap()).unwrap();
            rest = tail;
        }
        assert_eq!(
            Oid::from(NOT_BEFORE_CHECKPOINT).to_string(),
            [&text, ".1"].concat()
        );
        assert_eq!(Oid::from(RECEIPT).to_string(), [&text, ".2"].concat());
        assert_eq!(
            Oid::from(DEFAULT_POLICY).to_string(),
            [&text, ".3"].concat()
        );
    }
}
