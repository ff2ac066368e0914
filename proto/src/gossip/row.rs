//! A row of a page: one head of one log, in as few bytes as two peers need to see that they agree.
//!
//! ```text
//! <16 hex digits: origin> <size> <base64 of 12 bytes: tag> <time> <flags>
//! ```

use alloc::format;
use alloc::string::String;
use core::fmt;

use super::Random;
use crate::base64;
use crate::checkpoint::Origin;
use crate::decimal::{DecimalError, parse_decimal};
use crate::hash::{Hash, sha256};
use crate::hex;
use crate::key::UnixSeconds;
use crate::tree::{TreeHead, TreeSize};

/// One head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// Which log, as far as 64 bits say it.
    pub origin: OriginId,
    /// The size of the head's tree.
    pub size: TreeSize,
    /// Which origin, size and root hash.
    pub tag: Tag,
    /// When the witness cosigned the head, or first saw it when it did not.
    pub time: UnixSeconds,
    /// What the witness says of it.
    pub flags: Flags,
}

impl Row {
    /// Parses a row, without its newline.
    ///
    /// # Errors
    /// When the text is not exactly what [`Row`] displays.
    // Spec: GSP-06
    pub fn parse(text: &str) -> Result<Self, RowError> {
        let mut parts = text.splitn(5, ' ');
        let mut part = || parts.next().ok_or(RowError::TooFewParts);
        let (origin, size, tag, time, flags) = (part()?, part()?, part()?, part()?, part()?);
        let origin = OriginId::parse(origin);
        let tag = Tag::parse(tag);
        let size = parse_decimal(size).map_err(RowError::Size)?;
        let time = parse_decimal(time).map_err(RowError::Time)?;
        Ok(Self {
            origin: origin?,
            size: TreeSize::new(size).ok_or(RowError::Size(DecimalError::TooLarge))?,
            tag: tag?,
            time: UnixSeconds::new(time).ok_or(RowError::Time(DecimalError::TooLarge))?,
            flags: Flags::parse(flags)?,
        })
    }
}

impl Row {
    /// The row as it stands in a feed (GSP-172), without its newline: behind `before`, on a page of
    /// this time.
    pub(super) fn to_line(self, before: Option<&Self>, at: UnixSeconds) -> String {
        let (tag, flags) = (base64::encode(&self.tag.0), self.flags);
        let age = Difference::of(at.get(), self.time.get());
        if let Some(before) = before.filter(|before| before.origin == self.origin) {
            let smaller = Difference::of(before.size.get(), self.size.get());
            format!("{smaller} {tag} {age} {flags}")
        } else {
            let origin = hex::encode(&self.origin.0);
            format!("{origin} {} {tag} {age} {flags}", self.size)
        }
    }

    /// Parses what [`Row::to_line`] writes, and nothing else.
    // Spec: GSP-172
    pub(super) fn parse_line(
        text: &str,
        before: Option<&Self>,
        at: UnixSeconds,
    ) -> Result<Self, RowError> {
        // By the number of parts: an origin may look like a number.
        let has_origin = text.bytes().filter(|byte| *byte == b' ').count() > 3;
        let mut parts = text.splitn(if has_origin { 5 } else { 4 }, ' ');
        let mut part = || parts.next().ok_or(RowError::TooFewParts);
        let (origin, size) = if has_origin {
            let origin = OriginId::parse(part()?)?;
            if before.is_some_and(|before| before.origin == origin) {
                return Err(RowError::OriginAgain);
            }
            (origin, parse_decimal(part()?).map_err(RowError::Size)?)
        } else {
            let before = before.ok_or(RowError::Origin)?;
            let smaller = Difference::parse(part()?).map_err(RowError::Size)?;
            let size = smaller.from(before.size.get());
            (
                before.origin,
                size.ok_or(RowError::Size(DecimalError::TooLarge))?,
            )
        };
        let (tag, age, flags) = (part()?, part()?, part()?);
        let age = Difference::parse(age).map_err(RowError::Time)?;
        let time = age.from(at.get()).and_then(UnixSeconds::new);
        Ok(Self {
            origin,
            size: TreeSize::new(size).ok_or(RowError::Size(DecimalError::TooLarge))?,
            tag: Tag::parse(tag)?,
            time: time.ok_or(RowError::Time(DecimalError::TooLarge))?,
            flags: Flags::parse(flags)?,
        })
    }
}

/// By how much a number is smaller than another one: a decimal, behind a minus when it is larger.
#[derive(Clone, Copy)]
struct Difference {
    is_larger: bool,
    by: u64,
}

impl Difference {
    fn of(other: u64, number: u64) -> Self {
        Self {
            is_larger: number > other,
            by: number.abs_diff(other),
        }
    }

    fn parse(text: &str) -> Result<Self, DecimalError> {
        let (is_larger, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        match parse_decimal(digits)? {
            0 if is_larger => Err(DecimalError::LeadingZero),
            by => Ok(Self { is_larger, by }),
        }
    }

    /// The number that is so much smaller than another one, if there is one.
    fn from(self, other: u64) -> Option<u64> {
        if self.is_larger {
            other.checked_add(self.by)
        } else {
            other.checked_sub(self.by)
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minus = if self.is_larger { "-" } else { "" };
        write!(f, "{minus}{}", self.by)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tag, origin) = (base64::encode(&self.tag.0), hex::encode(&self.origin.0));
        write!(
            f,
            "{origin} {} {tag} {} {}",
            self.size, self.time, self.flags
        )
    }
}

/// The first eight bytes of the hash of an origin: enough to find a log, and not to accuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OriginId(pub [u8; 8]);

impl OriginId {
    fn parse(text: &str) -> Result<Self, RowError> {
        let bytes = hex::decode(text).ok();
        let bytes = bytes.and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
        bytes.map(Self).ok_or(RowError::Origin)
    }

    /// That of an origin.
    pub fn of(origin: &Origin) -> Self {
        let hash = origin.hash();
        let (id, _) = hash.as_bytes().split_at(8);
        Self(id.try_into().unwrap_or_default())
    }
}

/// Twelve bytes that stand for an origin, a size and a root hash under a salt that the log does not
/// know beforehand. A log owns both of its branches: of bare truncated root hashes it could compute
/// two that agree, and hide its fork behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub [u8; 12]);

impl Tag {
    fn parse(text: &str) -> Result<Self, RowError> {
        let bytes = base64::decode(text).ok();
        let bytes = bytes.and_then(|bytes| <[u8; 12]>::try_from(bytes).ok());
        bytes.map(Self).ok_or(RowError::Tag)
    }

    /// That of a head.
    // Spec: GSP-07
    pub fn of(salt: &Random, origin: &Origin, head: &TreeHead) -> Self {
        let mut message = alloc::vec::Vec::from(TAG_LABEL.as_bytes());
        message.extend_from_slice(&salt.0);
        message.extend_from_slice(origin.hash().as_bytes());
        message.extend_from_slice(&head.size.get().to_be_bytes());
        message.extend_from_slice(head.root_hash.as_bytes());
        let hash: Hash = sha256(&message);
        let (tag, _) = hash.as_bytes().split_at(12);
        Self(tag.try_into().unwrap_or_default())
    }
}

/// What the hash of a tag begins with.
const TAG_LABEL: &str = "jurat/gossip-tag@v0\n";

/// What a witness says of a head in a row: the letters that hold, in this order, or `-` for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flags {
    /// `c`: it is the largest head of this log that the witness cosigned.
    pub newest_cosigned: bool,
    /// `u`: it is not known yet whether it is consistent with the others.
    pub unresolved: bool,
}

impl Flags {
    // Spec: GSP-06
    fn parse(text: &str) -> Result<Self, RowError> {
        let (newest_cosigned, unresolved) = match text {
            "-" => (false, false),
            "c" => (true, false),
            "u" => (false, true),
            "cu" => (true, true),
            _ => return Err(RowError::Flags),
        };
        Ok(Self {
            newest_cosigned,
            unresolved,
        })
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        if self.newest_cosigned {
            text.push('c');
        }
        if self.unresolved {
            text.push('u');
        }
        f.write_str(if text.is_empty() { "-" } else { &text })
    }
}

/// Why a text is no row. Whoever made it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowError {
    /// It has not five parts.
    TooFewParts,
    /// The origin is not 16 hex digits, or is left out where no row stands before.
    Origin,
    /// In a feed, the origin is that of the row before, and is left out then.
    OriginAgain,
    /// The size is no number.
    Size(DecimalError),
    /// The tag is not the base64 of 12 bytes.
    Tag,
    /// The time is no number.
    Time(DecimalError),
    /// The flags are not known ones in their order.
    Flags,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewParts => f.write_str("a row has five parts"),
            Self::Origin => f.write_str("the origin of a row is 16 lower-case hex digits"),
            Self::OriginAgain => {
                f.write_str("a row has its origin again, which the one before has")
            }
            Self::Size(reason) => write!(f, "the size of the row: {reason}"),
            Self::Tag => f.write_str("the tag of a row is the base64 of 12 bytes"),
            Self::Time(reason) => write!(f, "the time of the row: {reason}"),
            Self::Flags => f.write_str("the flags of a row are \"-\", \"c\", \"u\" or \"cu\""),
        }
    }
}

impl core::error::Error for RowError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Size(reason) | Self::Time(reason) => Some(reason),
            Self::TooFewParts | Self::Origin | Self::OriginAgain | Self::Tag | Self::Flags => None,
        }
    }
}
