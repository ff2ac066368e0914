//! Why a file is no evidence, or proves nothing to who reads it.

use alloc::string::String;
use core::fmt;

use crate::body::BodyError;
use crate::checkpoint::CheckpointError;
use crate::gossip::{RowError, StatementError};
use crate::key::UnixSeconds;
use crate::proof::ProofError;
use crate::tlog_proof;
use crate::tree::TreeSize;

use super::EVIDENCE_BYTES_MAX;

/// Why a file is no evidence. Whoever made it is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// A fault that other files can have, too.
    Body(BodyError),
    /// The first line does not name the format.
    Format {
        /// How the line starts.
        found: String,
    },
    /// No kind that is written has this name.
    Kind {
        /// How the name starts.
        found: String,
    },
    /// A line of the kind is missing, or its value is not one.
    Field {
        /// The line, from 1.
        line: usize,
        /// The word that it begins with.
        word: &'static str,
    },
    /// The line that names the cosigner is not one.
    Cosigner {
        /// The line, from 1.
        line: usize,
    },
    /// The row of a page is none.
    Row(RowError),
    /// The lines before the notes do not end in an empty line.
    NoEmptyLine {
        /// The line, from 1.
        line: usize,
        /// What stands there.
        found: String,
    },
    /// After the lines of the kind, there are not the notes of the kind with an empty line between
    /// them.
    Layout,
    /// A note is no checkpoint.
    Checkpoint(CheckpointError),
    /// A note is no statement of gossip.
    Statement(StatementError),
    /// A proof of an entry is none.
    TlogProof(tlog_proof::ParseError),
    /// It is a file as it should be, and the statements in it may both be true.
    NoContradiction(NoContradiction),
}

impl From<BodyError> for ParseError {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => error.fmt(f),
            Self::Format { found } => {
                write!(f, "line 1 must be \"jurat/tlog-fork@v0\", not \"{found}\"")
            }
            Self::Kind { found } => write!(f, "line 2: \"{found}\" is no kind that is written"),
            Self::Field { line, word } => {
                write!(
                    f,
                    "line {line} must be \"{word} …\" with a value of its kind"
                )
            }
            Self::Cosigner { line } => write!(
                f,
                "line {line} must be \"cosigner <name>+<key id> <time>…\" with as many times as \
                 the kind has"
            ),
            Self::Row(error) => write!(f, "the row: {error}"),
            Self::NoEmptyLine { line, found } => {
                write!(f, "line {line} must be empty, not \"{found}\"")
            }
            Self::Layout => f.write_str(
                "what follows is not two notes, each of a text, an empty line and signature \
                 lines, with an empty line between them",
            ),
            Self::Checkpoint(error) => write!(f, "a note is no checkpoint: {error}"),
            Self::Statement(error) => write!(f, "a note is no statement of gossip: {error}"),
            Self::TlogProof(error) => write!(f, "a proof of an entry is none: {error}"),
            Self::NoContradiction(reason) => write!(f, "it shows no contradiction: {reason}"),
        }
    }
}

impl core::error::Error for ParseError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Body(error) => Some(error),
            Self::Row(error) => Some(error),
            Self::Checkpoint(error) => Some(error),
            Self::Statement(error) => Some(error),
            Self::TlogProof(error) => Some(error),
            Self::NoContradiction(error) => Some(error),
            Self::Format { .. }
            | Self::Kind { .. }
            | Self::Field { .. }
            | Self::Cosigner { .. }
            | Self::NoEmptyLine { .. }
            | Self::Layout => None,
        }
    }
}

/// Why two statements are no contradiction of a kind, or not shown to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoContradiction {
    /// The checkpoints are of two logs.
    TwoOrigins,
    /// The statements do not stand in the order that the format prescribes.
    Order,
    /// The statements agree.
    Consistent,
    /// The sizes differ, and no root of the larger tree at the smaller size is given.
    NoOpening,
    /// There is a root and a proof where the kind has none.
    Shape,
    /// The proof carries no root of the older size (RFC 6962 leaves it out from a power of two, and
    /// from 0). It must be made from the tiles of the larger tree.
    NoOldRoot {
        /// The older size.
        size: TreeSize,
    },
    /// A proof does not lead to the root that was signed.
    Proof(ProofError),
    /// The proofs are of two indices.
    TwoIndices,
    /// The tree has leaves.
    NotEmpty {
        /// How many.
        size: TreeSize,
    },
    /// The sizes are equal, a time is 0, or the smaller tree was not cosigned later.
    NoRegress,
    /// No line of the accused cosigner states this time.
    NotSignedAt {
        /// The time.
        time: UnixSeconds,
    },
    /// The statement of gossip is no page.
    NotAPage,
    /// The row is not of that head of that log.
    AnotherHead,
    /// The row does not call its head the newest, it is no smaller than the one that was cosigned,
    /// that was cosigned too short a time before, or by a witness of another name.
    NothingHidden,
    /// The statements of gossip are of two witnesses, states or parts of the feed.
    TwoSubjects,
    /// The file would be too large to be read.
    TooLarge {
        /// How large.
        bytes: usize,
    },
}

impl fmt::Display for NoContradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwoOrigins => f.write_str("the checkpoints are of two logs"),
            Self::Order => f.write_str("the statements are in the wrong order"),
            Self::Consistent => f.write_str("the statements agree"),
            Self::NoOpening => f.write_str(
                "the sizes differ, and the root of the larger tree at the smaller size is missing",
            ),
            Self::Shape => f.write_str("a root and a proof are given where there can be none"),
            Self::NoOldRoot { size } => write!(
                f,
                "a consistency proof from size {size} does not carry the root of that size"
            ),
            Self::Proof(error) => write!(f, "{error}"),
            Self::TwoIndices => f.write_str("the proofs are of two indices"),
            Self::NotEmpty { size } => write!(f, "the tree has {size} leaves"),
            Self::NoRegress => {
                f.write_str("the smaller tree was not cosigned later, at a time that is stated")
            }
            Self::NotSignedAt { time } => {
                write!(f, "no line of the accused cosigner states the time {time}")
            }
            Self::NotAPage => f.write_str("the statement of gossip is no page"),
            Self::AnotherHead => f.write_str("the row is not of that head of that log"),
            Self::NothingHidden => {
                f.write_str("the page hides no head that its witness had cosigned well before")
            }
            Self::TwoSubjects => f.write_str("the statements are about two things"),
            Self::TooLarge { bytes } => write!(
                f,
                "the file would have {bytes} bytes; at most {EVIDENCE_BYTES_MAX} are read"
            ),
        }
    }
}

impl core::error::Error for NoContradiction {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Proof(error) => Some(error),
            Self::TwoOrigins
            | Self::Order
            | Self::Consistent
            | Self::NoOpening
            | Self::Shape
            | Self::NoOldRoot { .. }
            | Self::TwoIndices
            | Self::NotEmpty { .. }
            | Self::NoRegress
            | Self::NotSignedAt { .. }
            | Self::NotAPage
            | Self::AnotherHead
            | Self::NothingHidden
            | Self::TwoSubjects
            | Self::TooLarge { .. } => None,
        }
    }
}

/// Why a contradiction convicts nobody that the verifier knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotProven {
    /// No key of the log, and none of a witness that is accused, is known.
    NoKnownKey,
    /// Keys are known, but no one of them signed both statements.
    NobodySignedBoth,
}

impl fmt::Display for NotProven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoKnownKey => "no line is by a known key that could be convicted",
            Self::NobodySignedBoth => "no known key signed both statements",
        })
    }
}

impl core::error::Error for NotProven {}
