//! Asking for the notes behind rows, and the notes that answer.
//!
//! ```text
//! salt <32 hex digits>                                <signed note>
//! <16 hex digits: origin> <size> <base64: tag>
//! <16 hex digits: origin> <size> <base64: tag>        <signed note>
//! ```
//!
//! The salt is that of the page in which the rows were. The answer has the notes that are still
//! there, in any order; an empty line divides them.
//!
//! Rows: `spec/gossip.md` GSP-22, GSP-23.

use alloc::vec::Vec;
use core::fmt;

use super::{OriginId, Random, Row, Tag};
use crate::base64;
use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::decimal::{DecimalError, parse_decimal};
use crate::hex;
use crate::tree::TreeSize;

/// The most rows that are asked for at once.
// Spec: GSP-22
pub const FETCH_ROWS_MAX: usize = 256;

/// The longest request: a salt, and rows of 16, 19 and 16 characters.
// Spec: GSP-22
pub const FETCH_BYTES_MAX: usize = 38 + 54 * FETCH_ROWS_MAX;

/// Which notes are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    salt: Random,
    rows: Vec<Wanted>,
}

/// A head that is known by its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wanted {
    /// Which log, as far as 64 bits say it.
    pub origin: OriginId,
    /// The size of the head's tree.
    pub size: TreeSize,
    /// Which origin, size and root hash.
    pub tag: Tag,
}

impl Wanted {
    /// What a row names.
    pub fn of(row: &Row) -> Self {
        Self {
            origin: row.origin,
            size: row.size,
            tag: row.tag,
        }
    }

    fn parse_line(line: &str) -> Result<Self, FetchError> {
        let mut parts = line.splitn(3, ' ');
        let mut part = || parts.next().ok_or(FetchError::TooFewParts);
        let (origin, size, tag) = (part()?, part()?, part()?);
        let origin = hex::decode(origin).ok();
        let origin = origin.and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
        let tag = base64::decode(tag).ok();
        let tag = tag.and_then(|bytes| <[u8; 12]>::try_from(bytes).ok());
        let size = parse_decimal(size).map_err(FetchError::Size)?;
        Ok(Self {
            origin: OriginId(origin.ok_or(FetchError::Origin)?),
            size: TreeSize::new(size).ok_or(FetchError::Size(DecimalError::TooLarge))?,
            tag: Tag(tag.ok_or(FetchError::Tag)?),
        })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tag, origin) = (base64::encode(&self.tag.0), hex::encode(&self.origin.0));
        write!(f, "{origin} {} {tag}", self.size)
    }
}

impl Fetch {
    /// Asks for the notes of some rows of one page.
    ///
    /// # Errors
    /// When there are none, or too many.
    pub fn new(salt: Random, rows: Vec<Wanted>) -> Result<Self, FetchError> {
        match rows.len() {
            0 => Err(FetchError::Nothing),
            1..=FETCH_ROWS_MAX => Ok(Self { salt, rows }),
            _ => Err(FetchError::TooMany),
        }
    }

    /// Parses a request.
    ///
    /// # Errors
    /// When the bytes are not exactly what [`Fetch::to_bytes`] writes.
    // Spec: GSP-22
    pub fn parse(bytes: &[u8]) -> Result<Self, FetchError> {
        if bytes.len() > FETCH_BYTES_MAX {
            return Err(FetchError::TooLong { bytes: bytes.len() });
        }
        let text = core::str::from_utf8(bytes).map_err(|_| FetchError::NotText)?;
        let text = text.strip_suffix('\n').ok_or(FetchError::Unterminated)?;
        let mut lines = text.split('\n');
        let salt = lines.next().and_then(|line| line.strip_prefix("salt "));
        let salt = salt.and_then(|salt| hex::decode(salt).ok());
        let salt = salt.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        let salt = Random(salt.ok_or(FetchError::Salt)?);
        let rows = lines.map(Wanted::parse_line).collect::<Result<_, _>>()?;
        Self::new(salt, rows)
    }

    /// The bytes of the request.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = alloc::format!("salt {}\n", self.salt);
        for row in &self.rows {
            text.extend([alloc::format!("{row}\n")]);
        }
        text.into_bytes()
    }

    /// What the tags are salted with.
    pub fn salt(&self) -> Random {
        self.salt
    }

    /// The heads that are wanted.
    pub fn rows(&self) -> &[Wanted] {
        &self.rows
    }
}

/// Why bytes ask for nothing. Whoever sent them is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// They are more than are read.
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// They are not UTF-8.
    NotText,
    /// The last line has no newline.
    Unterminated,
    /// The first line is not a salt.
    Salt,
    /// No row is asked for.
    Nothing,
    /// More than [`FETCH_ROWS_MAX`] rows are asked for.
    TooMany,
    /// A row has not three parts.
    TooFewParts,
    /// The origin of a row is not 16 hex digits.
    Origin,
    /// The size of a row is no number.
    Size(DecimalError),
    /// The tag of a row is not the base64 of 12 bytes.
    Tag,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => write!(
                f,
                "{bytes} bytes are too many; at most {FETCH_BYTES_MAX} are read"
            ),
            Self::NotText => f.write_str("the request is not UTF-8"),
            Self::Unterminated => f.write_str("the last line has no newline at its end"),
            Self::Salt => {
                f.write_str("the first line is not \"salt\" and 32 lower-case hex digits")
            }
            Self::Nothing => f.write_str("no row is asked for"),
            Self::TooMany => write!(f, "at most {FETCH_ROWS_MAX} rows may be asked for"),
            Self::TooFewParts => f.write_str("a row that is asked for has three parts"),
            Self::Origin => f.write_str("the origin of a row is 16 lower-case hex digits"),
            Self::Size(reason) => write!(f, "the size of a row: {reason}"),
            Self::Tag => f.write_str("the tag of a row is the base64 of 12 bytes"),
        }
    }
}

impl core::error::Error for FetchError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Size(reason) => Some(reason),
            _ => None,
        }
    }
}

/// The longest answer that is read: as much as a peer may send in a round.
// Spec: GSP-23
pub const NOTES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The notes of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes(Vec<SignedCheckpoint>);

impl Notes {
    /// Takes notes, as many as fit; what does not fit is left out, and is asked for again.
    pub fn new(notes: impl IntoIterator<Item = SignedCheckpoint>) -> Self {
        let mut taken = Vec::new();
        let mut bytes = 0_usize;
        for note in notes {
            bytes = bytes.saturating_add(1 + note.to_bytes().len());
            if bytes > NOTES_BYTES_MAX || taken.len() >= FETCH_ROWS_MAX {
                break;
            }
            taken.push(note);
        }
        Self(taken)
    }

    /// Parses an answer. Signatures are not verified.
    ///
    /// # Errors
    /// When the bytes are not exactly what [`Notes::to_bytes`] writes.
    // Spec: GSP-23
    pub fn parse(bytes: &[u8]) -> Result<Self, NotesError> {
        if bytes.len() > NOTES_BYTES_MAX {
            return Err(NotesError::TooLong { bytes: bytes.len() });
        }
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let text = core::str::from_utf8(bytes).map_err(|_| NotesError::NotText)?;
        let mut notes = Vec::new();
        let mut rest = Some(text);
        while let Some(from_here) = rest {
            if notes.len() >= FETCH_ROWS_MAX {
                return Err(NotesError::TooMany);
            }
            let (note, after) = split_note(from_here);
            let note =
                SignedCheckpoint::parse(note.as_bytes()).map_err(|reason| NotesError::Note {
                    index: notes.len(),
                    reason,
                })?;
            notes.push(note);
            rest = after;
        }
        Ok(Self(notes))
    }

    /// The bytes of the answer.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for note in &self.0 {
            if !bytes.is_empty() {
                bytes.push(b'\n');
            }
            bytes.extend(note.to_bytes());
        }
        bytes
    }

    /// The notes.
    pub fn as_slice(&self) -> &[SignedCheckpoint] {
        &self.0
    }

    /// The notes, moved out.
    pub fn into_vec(self) -> Vec<SignedCheckpoint> {
        self.0
    }
}

/// Two notes are divided by the second empty line: texts of checkpoints have none, and one stands
/// before the signature lines.
pub(super) fn split_note(text: &str) -> (&str, Option<&str>) {
    let mut empty = text.match_indices("\n\n").skip(1);
    match empty.next() {
        Some((at, _)) => {
            let (note, rest) = text.split_at(at + 1);
            (note, rest.strip_prefix('\n'))
        }
        None => (text, None),
    }
}

/// Why bytes are no notes. Whoever sent them is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotesError {
    /// They are more than are read.
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// They are not UTF-8.
    NotText,
    /// There are more notes than can be asked for.
    TooMany,
    /// What stands between the empty lines is no signed checkpoint.
    Note {
        /// Which, from 0.
        index: usize,
        /// Why it is none.
        reason: CheckpointError,
    },
}

impl fmt::Display for NotesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => write!(
                f,
                "{bytes} bytes are too many; at most {NOTES_BYTES_MAX} are read"
            ),
            Self::NotText => f.write_str("the notes are not UTF-8"),
            Self::TooMany => write!(f, "there are more than {FETCH_ROWS_MAX} notes"),
            Self::Note { index, reason } => write!(f, "note {}: {reason}", index + 1),
        }
    }
}

impl core::error::Error for NotesError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Note { reason, .. } => Some(reason),
            Self::TooLong { .. } | Self::NotText | Self::TooMany => None,
        }
    }
}
