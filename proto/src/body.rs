//! What request bodies and proofs have in common: lines, then proof lines, an empty line, and a
//! checkpoint to the end.
//!
//! ```text
//! <header lines, the caller's>
//! <base64 hash>          0 to 63 times
//!
//! <signed note>
//! ```

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::base64::Base64Error;
use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::hash::Hash;
use crate::proof::{ConsistencyProof, InclusionProof, PROOF_HASHES_MAX};

/// A cursor over the lines of a text, which counts them from 1.
pub(crate) struct Lines<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Lines<'a> {
    /// Starts at the first line, after the checks that concern the whole body.
    pub(crate) fn new(body: &'a [u8], bytes_max: usize) -> Result<Self, BodyError> {
        if body.len() > bytes_max {
            return Err(BodyError::TooLong {
                bytes: body.len(),
                bytes_max,
            });
        }
        match core::str::from_utf8(body) {
            Ok(rest) => Ok(Self { rest, line: 1 }),
            Err(error) => {
                let valid = body.iter().take(error.valid_up_to());
                Err(BodyError::NotText {
                    line: 1 + valid.filter(|&&byte| byte == b'\n').count(),
                })
            }
        }
    }

    /// The number of the line that [`Lines::next_line`] would give.
    pub(crate) fn line(&self) -> usize {
        self.line
    }

    /// The next line, without its newline.
    pub(crate) fn next_line(&mut self) -> Result<&'a str, BodyError> {
        match self.rest.split_once('\n') {
            Some((line, rest)) => {
                self.rest = rest;
                self.line += 1;
                Ok(line)
            }
            None if self.rest.is_empty() => Err(BodyError::Ended { line: self.line }),
            None => Err(BodyError::Unterminated { line: self.line }),
        }
    }

    /// The proof lines of a consistency proof and the empty line after them.
    pub(crate) fn consistency_proof(&mut self) -> Result<ConsistencyProof, BodyError> {
        let line = self.line;
        let too_many = |_| BodyError::TooManyProofLines { line };
        ConsistencyProof::new(self.hashes()?).map_err(too_many)
    }

    /// The proof lines of an inclusion proof and the empty line after them.
    pub(crate) fn inclusion_proof(&mut self) -> Result<InclusionProof, BodyError> {
        let line = self.line;
        let too_many = |_| BodyError::TooManyProofLines { line };
        InclusionProof::new(self.hashes()?).map_err(too_many)
    }

    /// At most as many hashes as a proof may have, so that none is decoded in vain.
    fn hashes(&mut self) -> Result<Vec<Hash>, BodyError> {
        let mut hashes = Vec::new();
        loop {
            let line = self.line;
            let text = self.next_line()?;
            if text.is_empty() {
                return Ok(hashes);
            }
            if hashes.len() >= PROOF_HASHES_MAX {
                return Err(BodyError::TooManyProofLines { line });
            }
            let hash =
                Hash::from_base64(text).map_err(|reason| BodyError::ProofLine { line, reason })?;
            hashes.push(hash);
        }
    }

    /// What follows the lines that were taken.
    pub(crate) fn rest(&self) -> &'a str {
        self.rest
    }

    /// The checkpoint that takes the rest of the body.
    pub(crate) fn checkpoint(self) -> Result<SignedCheckpoint, BodyError> {
        SignedCheckpoint::parse(self.rest.as_bytes()).map_err(|reason| BodyError::Checkpoint {
            line: self.line,
            reason,
        })
    }
}

/// Appends proof lines, the empty line and the checkpoint.
pub(crate) fn push_tail(body: &mut Vec<u8>, hashes: &[Hash], checkpoint: &SignedCheckpoint) {
    for hash in hashes {
        body.extend_from_slice(hash.to_base64().as_bytes());
        body.push(b'\n');
    }
    body.push(b'\n');
    body.extend_from_slice(&checkpoint.to_bytes());
}

/// At most the first 80 characters, for an error message.
pub(crate) fn shown(text: &str) -> String {
    let mut characters = text.chars();
    let mut shown: String = characters.by_ref().take(80).collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Why a body was refused for something that is not peculiar to its kind. Its sender is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The body is too long.
    TooLong {
        /// Its length.
        bytes: usize,
        /// The most that is read.
        bytes_max: usize,
    },
    /// The body is not UTF-8.
    NotText {
        /// The first line that is not, from 1.
        line: usize,
    },
    /// The body ends where a line is due.
    Ended {
        /// The line that is missing, from 1.
        line: usize,
    },
    /// A line has no newline at its end.
    Unterminated {
        /// The line, from 1.
        line: usize,
    },
    /// A line is neither a hash nor the empty line that ends the proof.
    ProofLine {
        /// The line, from 1.
        line: usize,
        /// Why it is no hash.
        reason: Base64Error,
    },
    /// More than [`PROOF_HASHES_MAX`] proof lines.
    TooManyProofLines {
        /// The first line too many, from 1.
        line: usize,
    },
    /// What follows the empty line is no signed checkpoint.
    Checkpoint {
        /// The line where the checkpoint starts, from 1.
        line: usize,
        /// Why it is none.
        reason: CheckpointError,
    },
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes, bytes_max } => {
                write!(
                    f,
                    "{bytes} bytes are too many; at most {bytes_max} are read"
                )
            }
            Self::NotText { line } => write!(f, "line {line} is not UTF-8"),
            Self::Ended { line } => write!(
                f,
                "line {line} is missing; an empty line and a checkpoint must end the body"
            ),
            Self::Unterminated { line } => write!(f, "line {line} has no newline at its end"),
            Self::ProofLine { line, reason } => write!(
                f,
                "line {line} is neither a base64 SHA-256 hash nor the empty line before the \
                 checkpoint: {reason}"
            ),
            Self::TooManyProofLines { line } => {
                write!(
                    f,
                    "line {line} is a proof line too many; at most {PROOF_HASHES_MAX} may come"
                )
            }
            Self::Checkpoint { line, reason } => {
                write!(f, "no signed checkpoint starts at line {line}: {reason}")
            }
        }
    }
}

impl core::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::ProofLine { reason, .. } => Some(reason),
            Self::Checkpoint { reason, .. } => Some(reason),
            Self::TooLong { .. }
            | Self::NotText { .. }
            | Self::Ended { .. }
            | Self::Unterminated { .. }
            | Self::TooManyProofLines { .. } => None,
        }
    }
}
