//! A row of a page: one head of one log, in as few bytes as two peers need to see that they agree.
//!
//! ```text
//! <16 hex digits: origin> <size> <base64 of 12 bytes: tag> <time> <flags>
//! ```

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
        let origin = hex::decode(origin).ok();
        let origin = origin.and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
        let tag = base64::decode(tag).ok();
        let tag = tag.and_then(|bytes| <[u8; 12]>::try_from(bytes).ok());
        let size = parse_decimal(size).map_err(RowError::Size)?;
        let time = parse_decimal(time).map_err(RowError::Time)?;
        Ok(Self {
            origin: OriginId(origin.ok_or(RowError::Origin)?),
            size: TreeSize::new(size).ok_or(RowError::Size(DecimalError::TooLarge))?,
            tag: Tag(tag.ok_or(RowError::Tag)?),
            time: UnixSeconds::new(time).ok_or(RowError::Time(DecimalError::TooLarge))?,
            flags: Flags::parse(flags)?,
        })
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
    /// The origin is not 16 hex digits.
    Origin,
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
            Self::TooFewParts | Self::Origin | Self::Tag | Self::Flags => None,
        }
    }
}
