//! The entries of Jurat's own log.
//!
//! In scope: the bytes of an entry, its kinds, its leaf hash. Out of scope: who may submit what,
//! and where entries are stored.
//!
//! ```text
//! jurat-entry/v1 <kind>
//! <the kind's text, to the end>
//!
//! jurat-entry/v1 checkpoint
//! <signed note>                    verbatim, with the signatures that were verified and no others
//!
//! jurat-entry/v1 timestamp         see `timestamp`: what a token says, as a hash
//! jurat-entry/v1 key               see `key`: a unit's key starts or is closed
//! jurat-entry/v1 clock             see `clock`: the time was lost or regained
//! jurat-entry/v1 evidence          see `evidence`: a log or a witness contradicted itself
//! ```
//!
//! Re-encoding a parsed entry gives the same bytes, so an entry has one leaf hash.
//!
//! Rules: `spec/entry.md`.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::body::shown;
use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::evidence::ParseError as EvidenceError;
use crate::hash::{Hash, leaf_hash};
use crate::note::{NoteError, SignatureLine};
use crate::tile::ENTRY_BYTES_MAX;

pub use clock::{ClockEntry, ClockEvent};
pub use evidence::{
    Convicts, EVIDENCE_PART_BYTES, EvidenceEntry, EvidenceFile, EvidenceFiles, EvidencePart,
};
pub use key::{CloseReason, KeyEntry, KeyEvent, KeyPurpose};
pub use timestamp::TimestampEntry;

mod clock;
mod evidence;
mod fields;
mod key;
mod timestamp;

/// The most characters that a kind may have.
const KIND_CHARS_MAX: usize = 32;
/// What the first line starts with: the format and its version.
const MAGIC: &str = "jurat-entry/v1 ";

/// An entry of Jurat's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The checkpoint of a log that anchors here.
    Checkpoint(CheckpointEntry),
    /// A token of the time-stamp authority.
    Timestamp(TimestampEntry),
    /// A key that starts or ends.
    Key(KeyEntry),
    /// A clock that was lost or regained.
    Clock(ClockEntry),
    /// Evidence against a log or a witness, or a part of it.
    Evidence(EvidenceEntry),
}

impl Entry {
    /// Reads an entry. Only the canonical form is accepted.
    ///
    /// # Errors
    /// [`EntryError`]: the first thing that is wrong. A kind that this version does not know is
    /// [`EntryError::UnknownKind`]; the bytes may well be an entry of a later one.
    // Spec: ENT-01, ENT-04
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        // Spec: ENT-02
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(EntryError::TooLong { bytes: bytes.len() });
        }
        let end = bytes
            .iter()
            .position(|&byte| byte == b'\n')
            .ok_or(EntryError::NoFirstLine)?;
        let (first, body) = bytes.split_at(end);
        let kind = first
            .strip_prefix(MAGIC.as_bytes())
            .ok_or(EntryError::Magic)?;
        let body = body.strip_prefix(b"\n").unwrap_or(body);
        match kind {
            b"timestamp" => TimestampEntry::parse(body).map(Self::Timestamp),
            b"key" => KeyEntry::parse(body).map(Self::Key),
            b"clock" => ClockEntry::parse(body).map(Self::Clock),
            b"evidence" => EvidenceEntry::parse(body).map(Self::Evidence),
            b"checkpoint" => {
                let checkpoint = SignedCheckpoint::parse(body).map_err(EntryError::Checkpoint)?;
                check_distinct(&checkpoint)?;
                Ok(Self::Checkpoint(CheckpointEntry(checkpoint)))
            }
            // Spec: ENT-03
            _ => Err(
                match core::str::from_utf8(kind).ok().filter(|kind| is_kind(kind)) {
                    Some(kind) => EntryError::UnknownKind {
                        kind: String::from(kind),
                    },
                    None => EntryError::KindSyntax {
                        found: shown(&String::from_utf8_lossy(kind)),
                    },
                },
            ),
        }
    }

    /// The kind that the first line of these bytes names, though they may be no entry of it; `None`
    /// when they are none at all. To find entries of a kind among many without parsing each.
    pub fn kind_of(bytes: &[u8]) -> Option<&str> {
        let rest = bytes.strip_prefix(MAGIC.as_bytes())?;
        let end = rest
            .iter()
            .take(KIND_CHARS_MAX + 1)
            .position(|&byte| byte == b'\n')?;
        let kind = core::str::from_utf8(rest.get(..end)?).ok()?;
        is_kind(kind).then_some(kind)
    }

    /// The entry's bytes.
    // Spec: ENT-01, ENT-04, ENT-05
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = alloc::format!("{MAGIC}{}\n", self.kind()).into_bytes();
        match self {
            Self::Checkpoint(entry) => bytes.extend_from_slice(&entry.0.to_bytes()),
            Self::Timestamp(entry) => entry.push(&mut bytes),
            Self::Key(entry) => entry.push(&mut bytes),
            Self::Clock(entry) => entry.push(&mut bytes),
            Self::Evidence(entry) => entry.push(&mut bytes),
        }
        bytes
    }

    /// The kind, as the first line names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Checkpoint(_) => "checkpoint",
            Self::Timestamp(_) => "timestamp",
            Self::Key(_) => "key",
            Self::Clock(_) => "clock",
            Self::Evidence(_) => "evidence",
        }
    }

    /// The hash of the entry as a leaf of the log.
    // Spec: ENT-08
    pub fn leaf_hash(&self) -> Hash {
        leaf_hash(&self.to_bytes())
    }
}

/// An anchored checkpoint: a note whose signature lines are each by another key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointEntry(SignedCheckpoint);

impl CheckpointEntry {
    /// The entry for a checkpoint of which the signature lines at these places were verified. Other
    /// lines are left out, and so is a second line by the same key.
    ///
    /// # Errors
    /// [`EntryError::NoSignature`] when no line is left, [`EntryError::TooLong`] when the entry
    /// would not fit a log. The submitter is at fault.
    // Spec: ENT-05, ENT-06, ENT-07
    pub fn new(checkpoint: &SignedCheckpoint, verified: &[usize]) -> Result<Self, EntryError> {
        let mut kept: Vec<(usize, &SignatureLine)> = Vec::new();
        for (place, line) in checkpoint.signatures().iter().enumerate() {
            if verified.contains(&place) && !kept.iter().any(|(_, other)| same_key(line, other)) {
                kept.push((place, line));
            }
        }
        if kept.is_empty() {
            return Err(EntryError::NoSignature);
        }
        let kept: Vec<usize> = kept.into_iter().map(|(place, _)| place).collect();
        let entry = Self(
            checkpoint
                .with_signatures(&kept, &[])
                .map_err(EntryError::Note)?,
        );
        let bytes = Entry::Checkpoint(entry.clone()).to_bytes().len();
        if bytes > ENTRY_BYTES_MAX {
            return Err(EntryError::TooLong { bytes });
        }
        Ok(entry)
    }

    /// The anchored checkpoint. Its signatures were verified by whoever logged the entry; a reader
    /// of the entry has only that log's word for it, or verifies them again.
    pub fn checkpoint(&self) -> &SignedCheckpoint {
        &self.0
    }
}

/// No key has two signature lines.
// Spec: ENT-07
fn check_distinct(checkpoint: &SignedCheckpoint) -> Result<(), EntryError> {
    let lines = checkpoint.signatures();
    for (second, line) in lines.iter().enumerate() {
        if let Some(first) = lines
            .iter()
            .take(second)
            .position(|other| same_key(line, other))
        {
            return Err(EntryError::SameKeyTwice { first, second });
        }
    }
    Ok(())
}

fn same_key(one: &SignatureLine, other: &SignatureLine) -> bool {
    one.name() == other.name() && one.key_id() == other.key_id()
}

/// 1 to 32 lower-case letters and hyphens.
// Spec: ENT-03
fn is_kind(kind: &str) -> bool {
    (1..=KIND_CHARS_MAX).contains(&kind.len())
        && kind
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

/// Why bytes are no entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryError {
    /// More than [`ENTRY_BYTES_MAX`] bytes.
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// No newline, so no first line.
    NoFirstLine,
    /// The first line does not start with the format's name and version.
    Magic,
    /// What follows them is no kind.
    KindSyntax {
        /// What stands there.
        found: String,
    },
    /// A kind that this version does not know.
    UnknownKind {
        /// The kind.
        kind: String,
    },
    /// The body of a checkpoint entry is no signed checkpoint.
    Checkpoint(CheckpointError),
    /// The signature lines that are left make no note.
    Note(NoteError),
    /// A checkpoint entry needs a verified signature.
    NoSignature,
    /// Two signature lines of a checkpoint entry are by the same key.
    SameKeyTwice {
        /// The place of the one, from 0.
        first: usize,
        /// The place of the other.
        second: usize,
    },
    /// The body of an entry of fields is not the lines that are due, each with its newline.
    Lines {
        /// The entry's kind.
        kind: &'static str,
        /// How many lines its body has.
        due: usize,
    },
    /// A field is not as it must be, or not in its canonical form.
    Field {
        /// Which.
        field: &'static str,
        /// What stands there.
        found: String,
    },
    /// A `TSTInfo` that no log of Jurat's has an entry of.
    NotOurToken,
    /// What an evidence entry has, or its parts make, is no evidence.
    Evidence(Box<EvidenceError>),
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => {
                write!(
                    f,
                    "the entry has {bytes} bytes; a log holds at most {ENTRY_BYTES_MAX}"
                )
            }
            Self::NoFirstLine => f.write_str("the entry has no first line"),
            Self::Magic => write!(f, "the entry's first line does not start with \"{MAGIC}\""),
            Self::KindSyntax { found } => write!(
                f,
                "\"{found}\" is no entry kind: 1 to {KIND_CHARS_MAX} lower-case letters and hyphens"
            ),
            Self::UnknownKind { kind } => {
                write!(
                    f,
                    "entries of the kind {kind} are not known to this version"
                )
            }
            Self::Checkpoint(error) => write!(f, "the entry's checkpoint: {error}"),
            Self::Note(error) => write!(f, "the entry's note: {error}"),
            Self::NoSignature => f.write_str("the entry's checkpoint has no verified signature"),
            Self::SameKeyTwice { first, second } => write!(
                f,
                "the entry's signature lines {} and {} are by the same key",
                first + 1,
                second + 1
            ),
            Self::Lines { kind, due } => {
                write!(f, "the body of a {kind} entry is not {due} lines of text")
            }
            Self::Field { field, found } => {
                write!(f, "\"{found}\" is no {field} of the entry")
            }
            Self::NotOurToken => f.write_str(
                "the serial number, time or policy of the token are none of this log's format",
            ),
            Self::Evidence(error) => write!(f, "the entry's evidence: {error}"),
        }
    }
}

impl core::error::Error for EntryError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Checkpoint(error) => Some(error),
            Self::Note(error) => Some(error),
            Self::Evidence(error) => Some(&**error),
            Self::TooLong { .. }
            | Self::NoFirstLine
            | Self::Magic
            | Self::KindSyntax { .. }
            | Self::UnknownKind { .. }
            | Self::NoSignature
            | Self::SameKeyTwice { .. }
            | Self::Lines { .. }
            | Self::Field { .. }
            | Self::NotOurToken => None,
        }
    }
}
