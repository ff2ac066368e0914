//! What is stored for a log: the heads besides those that this witness cosigned.
//!
//! ```text
//! jurat/gossip-log@v0
//! top <ms>                                        the largest head that is resolved, if not ours
//! open <phase> <ms seen> <ms since> <tiles> <peers>    each head that is not resolved
//!
//! <signed note>                                   one for each line, in their order
//!
//! <signed note>
//! ```
//!
//! Rows: `spec/gossip.md` GSP-46.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::message::{Moment, Phase};
use crate::checkpoint::SignedCheckpoint;
use crate::decimal::{DecimalError, parse_decimal};
use crate::gossip::{Notes, NotesError};

/// The heads of one log that must survive a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRecord {
    /// The largest head that is resolved, when this witness did not cosign it, and since when.
    pub top: Option<(Arc<SignedCheckpoint>, Moment)>,
    /// Those that are not resolved, in the order in which they were seen.
    pub open: Vec<OpenRecord>,
}

/// A head that is not resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRecord {
    /// The head, as its log signed it.
    pub note: Arc<SignedCheckpoint>,
    /// How far it has come.
    pub phase: Phase,
    /// When it was first seen.
    pub seen: Moment,
    /// Since when it is in this phase.
    pub since: Moment,
    /// How often tiles were read, and peers asked, in vain.
    pub tried: [u64; 2],
}

/// The first line.
const FORMAT: &str = "jurat/gossip-log@v0";

/// More heads than this no record has.
const HEADS_MAX: usize = 64;

impl LogRecord {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.top.is_none() && self.open.is_empty()
    }

    /// Parses a record.
    ///
    /// # Errors
    /// When the bytes are not exactly what [`LogRecord::to_bytes`] writes.
    // Spec: GSP-46
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let text = core::str::from_utf8(bytes).map_err(|_| RecordError::NotText)?;
        let (head, notes) = text.split_once("\n\n").ok_or(RecordError::NoNotes)?;
        let mut lines = head.split('\n');
        if lines.next() != Some(FORMAT) {
            return Err(RecordError::Format);
        }
        let mut notes = Notes::parse(notes.as_bytes())
            .map_err(RecordError::Notes)?
            .into_vec()
            .into_iter();
        let mut record = Self::default();
        for (index, line) in lines.enumerate() {
            if index >= HEADS_MAX {
                return Err(RecordError::TooMany);
            }
            let note = Arc::new(notes.next().ok_or(RecordError::Count)?);
            match line.split_once(' ') {
                Some(("top", seen)) if index == 0 => record.top = Some((note, moment(seen)?)),
                Some(("open", rest)) => record.open.push(open(note, rest)?),
                _ => return Err(RecordError::Line { index }),
            }
        }
        if notes.next().is_some() || record.is_empty() {
            return Err(RecordError::Count);
        }
        record.require_one_origin()?;
        Ok(record)
    }

    /// A head of another log would be held against this one.
    // Spec: GSP-86
    fn require_one_origin(&self) -> Result<(), RecordError> {
        let mut notes = self.notes().enumerate();
        let Some((_, first)) = notes.next() else {
            return Ok(());
        };
        match notes.find(|(_, note)| note.origin() != first.origin()) {
            Some((index, _)) => Err(RecordError::OtherOrigin { index }),
            None => Ok(()),
        }
    }

    /// The notes, in the order of the lines.
    fn notes(&self) -> impl Iterator<Item = &Arc<SignedCheckpoint>> {
        let top = self.top.iter().map(|(note, _)| note);
        top.chain(self.open.iter().map(|open| &open.note))
    }

    /// The bytes of the record.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = String::from(FORMAT);
        text.push('\n');
        let mut notes = Vec::new();
        if let Some((note, seen)) = &self.top {
            text.extend([alloc::format!("top {}\n", seen.0)]);
            notes.push(note);
        }
        for head in &self.open {
            let OpenRecord {
                phase, seen, since, ..
            } = head;
            let [tiles, peers] = head.tried;
            let line = alloc::format!("open {phase} {} {} {tiles} {peers}\n", seen.0, since.0);
            text.push_str(&line);
            notes.push(&head.note);
        }
        let mut bytes = text.into_bytes();
        for note in notes {
            bytes.push(b'\n');
            bytes.extend(note.to_bytes());
        }
        bytes
    }
}

fn moment(text: &str) -> Result<Moment, RecordError> {
    parse_decimal(text).map(Moment).map_err(RecordError::Number)
}

fn open(note: Arc<SignedCheckpoint>, rest: &str) -> Result<OpenRecord, RecordError> {
    let mut parts = rest.splitn(5, ' ');
    let mut part = || parts.next().ok_or(RecordError::TooFewParts);
    let phase = part()?;
    let phase = Phase::ALL.into_iter().find(|known| known.name() == phase);
    Ok(OpenRecord {
        note,
        phase: phase.ok_or(RecordError::Phase)?,
        seen: moment(part()?)?,
        since: moment(part()?)?,
        tried: [moment(part()?)?.0, moment(part()?)?.0],
    })
}

/// Why bytes are no record. The disk is at fault, or whoever wrote to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// They are not UTF-8.
    NotText,
    /// The first line is another.
    Format,
    /// No empty line and no notes follow the lines.
    NoNotes,
    /// The notes are none.
    Notes(NotesError),
    /// There are more heads than a log has.
    TooMany,
    /// There are not as many notes as lines, or none.
    Count,
    /// A line is neither `top`, as the first, nor `open`.
    Line {
        /// Which, from 0.
        index: usize,
    },
    /// A note is of another log than the first.
    OtherOrigin {
        /// Which, from 0.
        index: usize,
    },
    /// A line has not all its parts.
    TooFewParts,
    /// A phase is not known.
    Phase,
    /// A number is none.
    Number(DecimalError),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText => f.write_str("the record is not UTF-8"),
            Self::Format => write!(f, "the first line is not \"{FORMAT}\""),
            Self::NoNotes => f.write_str("no empty line and no notes follow the lines"),
            Self::Notes(error) => error.fmt(f),
            Self::TooMany => write!(f, "there are more than {HEADS_MAX} heads"),
            Self::Count => f.write_str("there must be one note for each line, and at least one"),
            Self::Line { index } => write!(f, "line {} is not due", index + 2),
            Self::OtherOrigin { index } => {
                write!(f, "note {} is of another log than the first", index + 1)
            }
            Self::TooFewParts => f.write_str("a line \"open\" has five values"),
            Self::Phase => f.write_str("a phase is not known"),
            Self::Number(reason) => write!(f, "a number: {reason}"),
        }
    }
}

impl core::error::Error for RecordError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Notes(error) => Some(error),
            Self::Number(reason) => Some(reason),
            _ => None,
        }
    }
}
