//! The hashes of a proof, and their text: a line of base64 each.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::{PROOF_HASHES_MAX, ProofError};
use crate::base64::Base64Error;
use crate::hash::Hash;

/// The hashes that show a leaf to be in a tree or subtree, from the leaf's sibling upwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InclusionProof(pub(super) Vec<Hash>);

/// The hashes that show one tree, or a subtree, to be part of a tree, from the bottom upwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsistencyProof(pub(super) Vec<Hash>);

macro_rules! list_of_hashes {
    ($proof:ident) => {
        impl $proof {
            /// Takes the hashes in the order in which they are sent.
            ///
            /// # Errors
            ///
            /// [`ProofError::TooManyHashes`] above [`PROOF_HASHES_MAX`].
            pub fn new(hashes: Vec<Hash>) -> Result<Self, ProofError> {
                // Spec: MRK-13
                if hashes.len() > PROOF_HASHES_MAX {
                    return Err(ProofError::TooManyHashes {
                        found: hashes.len(),
                    });
                }
                Ok(Self(hashes))
            }

            /// The hashes.
            pub fn hashes(&self) -> &[Hash] {
                &self.0
            }

            /// The hashes, moved out.
            pub fn into_hashes(self) -> Vec<Hash> {
                self.0
            }

            /// The text form: a line of base64 for each hash, each ended by a newline.
            pub fn to_lines(&self) -> String {
                to_lines(&self.0)
            }

            /// Parses what [`Self::to_lines`] prints, and nothing else.
            ///
            /// # Errors
            ///
            /// Says which line is wrong, and why.
            pub fn parse_lines(text: &str) -> Result<Self, LinesError> {
                parse_lines(text).map(Self)
            }
        }
    };
}
list_of_hashes!(InclusionProof);
list_of_hashes!(ConsistencyProof);

fn to_lines(hashes: &[Hash]) -> String {
    let mut text = String::with_capacity(hashes.len().saturating_mul(HASH_LINE_BYTES));
    for hash in hashes {
        text.push_str(&hash.to_base64());
        text.push('\n');
    }
    text
}

/// Length of a line: 44 characters of base64 and the newline.
const HASH_LINE_BYTES: usize = 45;

fn parse_lines(text: &str) -> Result<Vec<Hash>, LinesError> {
    // Spec: MRK-13, MRK-14
    let mut hashes = Vec::new();
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        if number > PROOF_HASHES_MAX {
            return Err(LinesError::TooMany);
        }
        let line = line
            .strip_suffix('\n')
            .ok_or(LinesError::Unterminated { line: number })?;
        let hash = Hash::from_base64(line).map_err(|reason| LinesError::Hash {
            line: number,
            reason,
        })?;
        hashes.push(hash);
    }
    Ok(hashes)
}

/// Why a text is not the lines of a proof. The fault is the sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinesError {
    /// There are more than [`PROOF_HASHES_MAX`] lines.
    TooMany,
    /// The last line has no newline.
    Unterminated {
        /// The line, counted from 1.
        line: usize,
    },
    /// A line is not a hash.
    Hash {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: Base64Error,
    },
}

impl fmt::Display for LinesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(f, "there are more than {PROOF_HASHES_MAX} proof lines"),
            Self::Unterminated { line } => write!(f, "proof line {line} has no newline"),
            Self::Hash { line, reason } => write!(f, "proof line {line}: {reason}"),
        }
    }
}

impl core::error::Error for LinesError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Hash { reason, .. } => Some(reason),
            Self::TooMany | Self::Unterminated { .. } => None,
        }
    }
}
