//! The list of the evidence that a witness holds.
//!
//! ```text
//! <n> <id> <kind> <origin hash> <file hash> <unix time>
//! next <n>
//! ```
//!
//! The three hashes are 64 hex digits; the origin is `-` where the evidence is about no log. `n`
//! grows from line to line, and a copy of one id that came to prove more has a line again, with
//! another file hash.
//!
//! Rows: `spec/gossip.md` GSP-26.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::decimal::{DecimalError, parse_decimal};
use crate::evidence::Kind;
use crate::hash::Hash;
use crate::hex;
use crate::key::UnixSeconds;

/// The most lines of evidence that one answer has.
// Spec: GSP-26
pub const CATALOGUE_LINES_MAX: usize = 1_024;

/// The longest answer that is read.
// Spec: GSP-26
pub const CATALOGUE_BYTES_MAX: usize = 32 + 280 * CATALOGUE_LINES_MAX;

/// Part of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    entries: Vec<CatalogueEntry>,
    next: u64,
}

/// One file of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// Its place in the list, from 1.
    pub number: u64,
    /// Which contradiction.
    pub id: Hash,
    /// Of which kind.
    pub kind: Kind,
    /// The hash of the log's origin.
    pub origin: Option<Hash>,
    /// SHA-256 of the file.
    pub file: Hash,
    /// Since when it is held.
    pub time: UnixSeconds,
}

impl Catalogue {
    /// Puts a part of the list together; `since` is where it begins when nothing is in it.
    ///
    /// # Errors
    /// When there are too many entries, or their numbers do not grow.
    pub fn new(since: u64, entries: Vec<CatalogueEntry>) -> Result<Self, CatalogueError> {
        if entries.len() > CATALOGUE_LINES_MAX {
            return Err(CatalogueError::TooMany);
        }
        let mut next = 0;
        for entry in &entries {
            if entry.number <= next {
                return Err(CatalogueError::Order);
            }
            next = entry.number;
        }
        let next = if entries.is_empty() { since } else { next };
        Ok(Self { entries, next })
    }

    /// Parses a part of the list.
    ///
    /// # Errors
    /// When the bytes are not exactly what [`Catalogue::to_bytes`] writes.
    // Spec: GSP-26
    pub fn parse(bytes: &[u8]) -> Result<Self, CatalogueError> {
        if bytes.len() > CATALOGUE_BYTES_MAX {
            return Err(CatalogueError::TooLong { bytes: bytes.len() });
        }
        let text = core::str::from_utf8(bytes).map_err(|_| CatalogueError::NotText)?;
        let text = text
            .strip_suffix('\n')
            .ok_or(CatalogueError::Unterminated)?;
        let mut entries = Vec::new();
        for line in text.split('\n') {
            if let Some(next) = line.strip_prefix("next ") {
                let next = parse_decimal(next).map_err(CatalogueError::Number)?;
                let list = Self::new(next, entries)?;
                let rest = text.split('\n').nth(list.entries.len() + 1);
                return match rest {
                    None if list.next == next => Ok(list),
                    None => Err(CatalogueError::Order),
                    Some(_) => Err(CatalogueError::AfterNext),
                };
            }
            if entries.len() >= CATALOGUE_LINES_MAX {
                return Err(CatalogueError::TooMany);
            }
            entries.push(parse_entry(line)?);
        }
        Err(CatalogueError::NoNext)
    }

    /// The bytes of the list.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = String::new();
        for entry in &self.entries {
            text.extend([alloc::format!("{entry}\n")]);
        }
        text.extend([alloc::format!("next {}\n", self.next)]);
        text.into_bytes()
    }

    /// The files, in the order of their numbers.
    pub fn entries(&self) -> &[CatalogueEntry] {
        &self.entries
    }

    /// Where the next part begins.
    pub fn next(&self) -> u64 {
        self.next
    }
}

impl fmt::Display for CatalogueEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            number, kind, time, ..
        } = self;
        let [id, file] = [self.id, self.file].map(|hash| hex::encode(hash.as_bytes()));
        let origin = self.origin.map(|hash| hex::encode(hash.as_bytes()));
        let origin = origin.as_deref().unwrap_or("-");
        write!(f, "{number} {id} {kind} {origin} {file} {time}")
    }
}

fn parse_entry(line: &str) -> Result<CatalogueEntry, CatalogueError> {
    let mut parts = line.splitn(6, ' ');
    let mut part = || parts.next().ok_or(CatalogueError::TooFewParts);
    let number = parse_decimal(part()?).map_err(CatalogueError::Number)?;
    let id = parse_hash(part()?)?;
    let kind = part()?;
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind);
    let kind = kind.ok_or(CatalogueError::Kind)?;
    let origin = match part()? {
        "-" => None,
        origin => Some(parse_hash(origin)?),
    };
    let file = parse_hash(part()?)?;
    let time = parse_decimal(part()?).map_err(CatalogueError::Number)?;
    Ok(CatalogueEntry {
        number,
        id,
        kind,
        origin,
        file,
        time: UnixSeconds::new(time).ok_or(CatalogueError::Number(DecimalError::TooLarge))?,
    })
}

fn parse_hash(text: &str) -> Result<Hash, CatalogueError> {
    let bytes = hex::decode(text).map_err(|_| CatalogueError::Hash)?;
    Hash::from_slice(&bytes).ok_or(CatalogueError::Hash)
}

/// Why bytes are no list of evidence. Whoever sent them is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogueError {
    /// They are more than are read.
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// They are not UTF-8.
    NotText,
    /// The last line has no newline.
    Unterminated,
    /// There are more than [`CATALOGUE_LINES_MAX`] files.
    TooMany,
    /// A line has not six parts.
    TooFewParts,
    /// A number or a time is none.
    Number(DecimalError),
    /// A hash is not 64 hex digits.
    Hash,
    /// A kind is not known.
    Kind,
    /// Numbers do not grow from 1, or `next` is not the last of them.
    Order,
    /// No line `next` ends the list.
    NoNext,
    /// Lines follow the line `next`.
    AfterNext,
}

impl fmt::Display for CatalogueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => write!(
                f,
                "{bytes} bytes are too many; at most {CATALOGUE_BYTES_MAX} are read"
            ),
            Self::NotText => f.write_str("the list is not UTF-8"),
            Self::Unterminated => f.write_str("the last line has no newline at its end"),
            Self::TooMany => write!(f, "there are more than {CATALOGUE_LINES_MAX} files"),
            Self::TooFewParts => f.write_str("a line of the list has six parts"),
            Self::Number(reason) => write!(f, "a number of the list: {reason}"),
            Self::Hash => f.write_str("a hash of the list is not 64 lower-case hex digits"),
            Self::Kind => f.write_str("a kind of the list is not known"),
            Self::Order => f.write_str("the numbers of the list do not grow up to next"),
            Self::NoNext => f.write_str("the list ends without a line \"next …\""),
            Self::AfterNext => f.write_str("lines follow the line \"next …\""),
        }
    }
}

impl core::error::Error for CatalogueError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Number(reason) => Some(reason),
            _ => None,
        }
    }
}
