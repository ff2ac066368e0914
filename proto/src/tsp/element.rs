//! Single elements of DER, strictly: what the structures of this module are read from and made of.
//!
//! In scope: headers in their one form, INTEGER, BOOLEAN, OBJECT IDENTIFIER, `AlgorithmIdentifier`,
//! and which field was wrong. Out of scope: what the fields mean.
//!
//! The headers are read by `der`. The structures are not derived, for two reasons: a field that
//! came in one of several valid forms must go out in the same one (echoed algorithms, an explicit
//! FALSE), and `der`'s own OBJECT IDENTIFIER holds no arc above 32 bits, although other people's
//! policies and attributes may.

use alloc::vec::Vec;
use core::fmt;

use der::{Decode as _, Header, Reader as _, SliceReader};

/// Tags, as the first byte of an element.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
    /// `[0]` and `[1]`, primitive.
    pub(crate) const PRIMITIVE_0: u8 = 0x80;
    pub(crate) const PRIMITIVE_1: u8 = 0x81;
    /// `[0]`, `[1]` and `[4]`, constructed.
    pub(crate) const CONSTRUCTED_0: u8 = 0xa0;
    pub(crate) const CONSTRUCTED_1: u8 = 0xa1;
    pub(crate) const CONSTRUCTED_4: u8 = 0xa4;
}

/// One element: its tag, its content and all of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) bytes: &'a [u8],
}

impl<'a> Element<'a> {
    /// The one element that these bytes are.
    pub(crate) fn only(bytes: &'a [u8], tag: u8, field: &'static str) -> Result<Self, DerError> {
        let mut elements = Elements::new(bytes);
        let element = elements.take(tag, field)?;
        elements.finish(field)?;
        Ok(element)
    }

    /// The elements inside.
    pub(crate) fn inside(&self) -> Elements<'a> {
        Elements::new(self.content)
    }

    /// The one element inside: what an explicit tag is around.
    pub(crate) fn inner(&self, tag: u8, field: &'static str) -> Result<Element<'a>, DerError> {
        Self::only(self.content, tag, field)
    }

    /// The content of an INTEGER, which must be minimal.
    pub(crate) fn integer(&self, field: &'static str) -> Result<&'a [u8], DerError> {
        if is_minimal_integer(self.content) {
            Ok(self.content)
        } else {
            Err(DerFault::Integer.of(field))
        }
    }

    /// An INTEGER from 0 to 2^64 - 1.
    pub(crate) fn unsigned(&self, field: &'static str) -> Result<u64, DerError> {
        let content = self.integer(field)?;
        let negative = content.first().is_some_and(|first| first & 0x80 != 0);
        let digits = content.strip_prefix(&[0]).unwrap_or(content);
        if negative || digits.len() > 8 {
            return Err(DerFault::Range.of(field));
        }
        Ok(digits
            .iter()
            .fold(0, |sum, digit| (sum << 8) | u64::from(*digit)))
    }
}

/// Whether this is the content of an INTEGER: not empty, and no octet more than needed.
pub(crate) fn is_minimal_integer(content: &[u8]) -> bool {
    match content {
        [] => false,
        [_] => true,
        [first, second, ..] => {
            !(*first == 0 && second & 0x80 == 0 || *first == 0xff && second & 0x80 != 0)
        }
    }
}

/// Elements one after another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next element, whatever its tag.
    pub(crate) fn next_any(&mut self, field: &'static str) -> Result<Element<'a>, DerError> {
        let Some(&tag) = self.rest.first() else {
            return Err(DerFault::Missing.of(field));
        };
        let (content, rest) = split(self.rest).map_err(|_| DerFault::Malformed.of(field))?;
        let (bytes, _) = self
            .rest
            .split_at(self.rest.len().saturating_sub(rest.len()));
        self.rest = rest;
        Ok(Element {
            tag,
            content,
            bytes,
        })
    }

    /// The next element, which must have this tag.
    pub(crate) fn take(&mut self, tag: u8, field: &'static str) -> Result<Element<'a>, DerError> {
        match self.rest.first() {
            None => Err(DerFault::Missing.of(field)),
            Some(&found) if found != tag => Err(DerFault::Tag { found }.of(field)),
            Some(_) => self.next_any(field),
        }
    }

    /// The next element, if it has this tag.
    pub(crate) fn take_if(
        &mut self,
        tag: u8,
        field: &'static str,
    ) -> Result<Option<Element<'a>>, DerError> {
        if self.rest.first() == Some(&tag) {
            self.next_any(field).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Nothing may be left.
    pub(crate) fn finish(self, field: &'static str) -> Result<(), DerError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DerFault::Trailing {
                bytes: self.rest.len(),
            }
            .of(field))
        }
    }

    /// All that is left, each with this tag.
    pub(crate) fn all(
        mut self,
        tag: u8,
        field: &'static str,
    ) -> Result<Vec<Element<'a>>, DerError> {
        let mut elements = Vec::new();
        while !self.is_empty() {
            elements.push(self.take(tag, field)?);
        }
        Ok(elements)
    }
}

/// The first element's content, and what follows the element.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), der::Error> {
    let mut reader = SliceReader::new(bytes)?;
    let header = Header::decode(&mut reader)?;
    let content = reader.read_slice(header.length())?;
    let rest = reader.read_slice(reader.remaining_len())?;
    Ok((content, rest))
}

/// A BOOLEAN that is FALSE when it is absent. DER says that FALSE must then not be written; some
/// write it, and what came in goes out in the same form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Flag {
    /// Absent: FALSE.
    #[default]
    Absent,
    /// FALSE, written out.
    ExplicitFalse,
    /// TRUE.
    True,
}

impl Flag {
    /// TRUE, or absent.
    pub fn new(value: bool) -> Self {
        if value { Self::True } else { Self::Absent }
    }

    /// Whether it is TRUE.
    pub fn is_true(self) -> bool {
        self == Self::True
    }

    pub(crate) fn take(elements: &mut Elements<'_>, field: &'static str) -> Result<Self, DerError> {
        match elements.take_if(tag::BOOLEAN, field)? {
            None => Ok(Self::Absent),
            Some(element) => match element.content {
                [0x00] => Ok(Self::ExplicitFalse),
                [0xff] => Ok(Self::True),
                _ => Err(DerFault::Boolean.of(field)),
            },
        }
    }

    pub(crate) fn push(self, out: &mut Vec<u8>) {
        match self {
            Self::Absent => {}
            Self::ExplicitFalse => push(out, tag::BOOLEAN, &[&[0x00]]),
            Self::True => push(out, tag::BOOLEAN, &[&[0xff]]),
        }
    }
}

/// An `AlgorithmIdentifier`, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Algorithm<'a> {
    pub(crate) oid: &'a [u8],
    pub(crate) parameters: Parameters<'a>,
}

/// The parameters of an algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameters<'a> {
    Absent,
    Null,
    Other(Element<'a>),
}

impl<'a> Algorithm<'a> {
    /// Reads the inside of an `AlgorithmIdentifier`.
    pub(crate) fn read(element: Element<'a>, field: &'static str) -> Result<Self, DerError> {
        let mut inside = element.inside();
        let oid = inside.take(tag::OID, field)?.content;
        let parameters = if inside.is_empty() {
            Parameters::Absent
        } else {
            match inside.next_any(field)? {
                Element {
                    tag: tag::NULL,
                    content: [],
                    ..
                } => Parameters::Null,
                other => Parameters::Other(other),
            }
        };
        inside.finish(field)?;
        Ok(Self { oid, parameters })
    }
}

/// Appends an element.
pub(crate) fn push(out: &mut Vec<u8>, tag: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.reserve(HEADER_BYTES_MAX + length);
    let octets = length.to_be_bytes();
    let (first, more) = length_octets(length, &octets);
    out.extend_from_slice(&[tag, first]);
    out.extend_from_slice(more);
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Appends an element whose content `inside` appends: all levels of a structure in one buffer. A
/// length of more than one octet is known too late, so that the content moves up for it.
pub(crate) fn nest(out: &mut Vec<u8>, tag: u8, inside: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[tag, 0]);
    let start = out.len();
    inside(out);
    let end = out.len();
    let length = end.saturating_sub(start);
    let octets = length.to_be_bytes();
    let (first, more) = length_octets(length, &octets);
    out.extend_from_slice(more);
    out.copy_within(start..end, start + more.len());
    if let Some(place) = out.get_mut(start..start + more.len()) {
        place.copy_from_slice(more);
    }
    if let Some(place) = start.checked_sub(1).and_then(|at| out.get_mut(at)) {
        *place = first;
    }
}

/// The octets of a length, which is `octets` as a number: the first, and those behind it.
fn length_octets(length: usize, octets: &[u8]) -> (u8, &[u8]) {
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => (short, &[]),
        _ => {
            let zeros = octets.iter().take_while(|octet| **octet == 0).count();
            let octets = octets.get(zeros..).unwrap_or_default();
            (octets.iter().fold(0x80, |first, _| first + 1), octets)
        }
    }
}

/// A tag, and the longest length.
const HEADER_BYTES_MAX: usize = 2 + size_of::<usize>();

/// An element of its own.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    push(&mut out, tag, parts);
    out
}

/// Appends an INTEGER from 0.
pub(crate) fn push_unsigned(out: &mut Vec<u8>, value: u64) {
    let magnitude = value.to_be_bytes();
    let (sign, digits) = sign_and_digits(&magnitude);
    push(out, tag::INTEGER, &[sign, digits]);
}

/// The content of an INTEGER of this magnitude: minimal, and not negative.
pub(crate) fn unsigned_content(magnitude: &[u8]) -> Vec<u8> {
    let (sign, digits) = sign_and_digits(magnitude);
    [sign, digits].concat()
}

/// What an INTEGER of this magnitude has: an octet of zero if it would be negative or empty
/// without, and the octets from the first that is not zero.
fn sign_and_digits(magnitude: &[u8]) -> (&'static [u8], &[u8]) {
    let zeros = magnitude.iter().take_while(|octet| **octet == 0).count();
    let digits = magnitude.get(zeros..).unwrap_or_default();
    if digits.first().is_none_or(|first| first & 0x80 != 0) {
        (&[0], digits)
    } else {
        (&[], digits)
    }
}

/// A field that is not what it must be. Its maker is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DerError {
    /// The field, by its name in the specification.
    pub field: &'static str,
    /// What is wrong there.
    pub fault: DerFault,
}

/// What can be wrong with an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DerFault {
    /// Its header is not DER, or it ends too early.
    Malformed,
    /// It is not there.
    Missing,
    /// Another element stands in its place.
    Tag {
        /// The first byte of what was found.
        found: u8,
    },
    /// Something follows that does not belong there.
    Trailing {
        /// How much.
        bytes: usize,
    },
    /// An INTEGER that is empty or not minimal.
    Integer,
    /// A BOOLEAN that is neither 0x00 nor 0xff.
    Boolean,
    /// An OBJECT IDENTIFIER that is empty, too long or not minimal.
    Oid,
    /// A value outside its range.
    Range,
    /// Text that is not UTF-8, or a time that is not one.
    Text,
    /// A list that must not be empty.
    Empty,
    /// A list with the same thing twice.
    Twice,
}

impl DerFault {
    pub(crate) fn of(self, field: &'static str) -> DerError {
        DerError { field, fault: self }
    }
}

impl fmt::Display for DerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field;
        match self.fault {
            DerFault::Malformed => write!(f, "{field} is not DER"),
            DerFault::Missing => write!(f, "{field} is missing"),
            DerFault::Tag { found } => {
                write!(
                    f,
                    "an element of tag 0x{found:02x} stands where {field} must be"
                )
            }
            DerFault::Trailing { bytes } => {
                write!(f, "{bytes} bytes too many at the end of {field}")
            }
            DerFault::Integer => write!(f, "{field} is not a minimal INTEGER"),
            DerFault::Boolean => write!(f, "{field} is neither TRUE nor FALSE in DER"),
            DerFault::Oid => write!(f, "{field} is not a proper OBJECT IDENTIFIER"),
            DerFault::Range => write!(f, "{field} is out of range"),
            DerFault::Text => write!(f, "{field} is not in its canonical form"),
            DerFault::Empty => write!(f, "{field} is an empty list"),
            DerFault::Twice => write!(f, "{field} has the same item twice"),
        }
    }
}

impl core::error::Error for DerError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn an_element_is_the_same_written_around_its_content_or_behind_it() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let content = vec![0xab; length];
            let mut whole = vec![7];
            push(
                &mut whole,
                tag::SET,
                &[&element(tag::SEQUENCE, &[&content])],
            );
            let mut nested = vec![7];
            nest(&mut nested, tag::SET, |out| {
                nest(out, tag::SEQUENCE, |out| out.extend_from_slice(&content));
            });
            assert_eq!(nested, whole, "{length}");
        }
    }
}
