//! What can be wrong with a proof, or with the wish for one.

use core::fmt;

use super::{PROOF_HASHES_MAX, Subtree};
use crate::hash::Hash;
use crate::tree::{LeafIndex, TreeSize};

/// Numbers that no proof can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeError {
    /// The tree has no leaf at that index.
    IndexOutsideTree {
        /// The index asked for.
        index: LeafIndex,
        /// The size of the tree.
        size: TreeSize,
    },
    /// The subtree has no leaf at that index.
    IndexOutsideSubtree {
        /// The index asked for.
        index: LeafIndex,
        /// The subtree.
        subtree: Subtree,
    },
    /// The old tree is larger than the new one.
    FromAboveTo {
        /// The old size.
        from: TreeSize,
        /// The new size.
        to: TreeSize,
    },
    /// The subtree ends after the tree.
    SubtreeOutsideTree {
        /// The subtree.
        subtree: Subtree,
        /// The size of the tree.
        size: TreeSize,
    },
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IndexOutsideTree { index, size } => {
                write!(f, "there is no leaf {index} in a tree of size {size}")
            }
            Self::IndexOutsideSubtree { index, subtree } => {
                write!(f, "there is no leaf {index} in the subtree {subtree}")
            }
            Self::FromAboveTo { from, to } => {
                write!(f, "the old size {from} is above the new size {to}")
            }
            Self::SubtreeOutsideTree { subtree, size } => {
                write!(f, "the subtree {subtree} is not in a tree of size {size}")
            }
        }
    }
}

impl core::error::Error for RangeError {}

/// Why a proof does not show what it should. Whoever made the proof is at fault, or the log has
/// forked; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofError {
    /// More hashes than any proof may carry.
    TooManyHashes {
        /// How many there are.
        found: usize,
    },
    /// No proof can be about these numbers.
    Range(RangeError),
    /// A tree head of size 0 whose root hash is not that of the empty tree.
    EmptyTreeRoot {
        /// The root hash in the tree head.
        found: Hash,
    },
    /// The proof ends before the root is reached.
    MissingHashes {
        /// How many hashes the numbers ask for.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// The proof goes on after the root is reached.
    ExtraHashes {
        /// How many hashes the numbers ask for.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// The hashes do not lead to the hash of the subtree or of the old tree.
    SubtreeMismatch {
        /// The hash that was to be shown.
        expected: Hash,
        /// The hash that the proof leads to.
        computed: Hash,
    },
    /// The hashes do not lead to the root hash of the tree.
    RootMismatch {
        /// The root hash that was to be shown.
        expected: Hash,
        /// The root hash that the proof leads to.
        computed: Hash,
    },
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyHashes { found } => {
                write!(
                    f,
                    "the proof has {found} hashes, more than {PROOF_HASHES_MAX}"
                )
            }
            Self::Range(reason) => reason.fmt(f),
            Self::EmptyTreeRoot { found } => {
                write!(f, "the root hash of an empty tree cannot be {found}")
            }
            Self::MissingHashes { expected, found } | Self::ExtraHashes { expected, found } => {
                write!(
                    f,
                    "the proof has {found} hashes where {expected} are needed"
                )
            }
            Self::SubtreeMismatch { expected, computed } => {
                write!(
                    f,
                    "the proof leads to {computed}, not to the older hash {expected}"
                )
            }
            Self::RootMismatch { expected, computed } => {
                write!(
                    f,
                    "the proof leads to root hash {computed}, not to {expected}"
                )
            }
        }
    }
}

impl core::error::Error for ProofError {}

impl From<RangeError> for ProofError {
    fn from(reason: RangeError) -> Self {
        Self::Range(reason)
    }
}

/// Why a proof could not be made. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProveError<E> {
    /// No proof can be about these numbers; the one who asked is at fault.
    Range(RangeError),
    /// The proof would have more than [`PROOF_HASHES_MAX`] hashes. Only some consistency proofs
    /// into trees of more than 2^62 leaves do.
    TooManyHashes {
        /// How many it would have.
        needed: usize,
    },
    /// The node reader failed.
    Reader(E),
    /// The node reader is broken: it answered with a wrong number of hashes.
    NodeCount {
        /// How many nodes were asked for.
        asked: usize,
        /// How many hashes came.
        found: usize,
    },
}

impl<E: fmt::Display> fmt::Display for ProveError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(reason) => reason.fmt(f),
            Self::TooManyHashes { needed } => {
                write!(
                    f,
                    "the proof needs {needed} hashes, more than {PROOF_HASHES_MAX}"
                )
            }
            Self::Reader(error) => write!(f, "the nodes cannot be read: {error}"),
            Self::NodeCount { asked, found } => {
                write!(f, "{found} hashes came where {asked} nodes were asked for")
            }
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for ProveError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Range(reason) => Some(reason),
            Self::Reader(error) => Some(error),
            Self::TooManyHashes { .. } | Self::NodeCount { .. } => None,
        }
    }
}

impl<E> From<RangeError> for ProveError<E> {
    fn from(reason: RangeError) -> Self {
        Self::Range(reason)
    }
}
