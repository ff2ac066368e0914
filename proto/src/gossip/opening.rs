//! An opening: what a signed tree was when it was smaller, shown by a proof.
//!
//! ```text
//! old <decimal>
//! root <base64 hash>
//! <base64 hash>              0 to 63 times: a consistency proof
//!
//! <signed note>              the larger tree
//! ```
//!
//! One text for both outcomes. Who asked because it holds a smaller head compares the root: the
//! same root shows that the two trees are one history, and another one is half of a proof that
//! they are not ([`crate::evidence`], the kind *opening*). Of the tree's own size, it shows what
//! was signed for that size.
//!
//! What is parsed is true of the trees, whoever sent it: the proof was verified. Whether a log
//! signed the note is for who has the keys.
//!
//! Rows: `spec/gossip.md` GSP-24, GSP-25.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use super::push_field;
use crate::base64::Base64Error;
use crate::body::{BodyError, Lines, push_tail};
use crate::checkpoint::SignedCheckpoint;
use crate::decimal::{DecimalError, parse_decimal};
use crate::evidence::EVIDENCE_BYTES_MAX;
use crate::hash::Hash;
use crate::proof::{
    ConsistencyProof, ProofError, ProveError, prove_consistency, verify_consistency,
};
use crate::tree::{CompactRange, NodeReader, TreeHead, TreeSize};

/// The larger tree, what it was at a smaller size, and the proof of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    old: TreeHead,
    proof: ConsistencyProof,
    note: SignedCheckpoint,
}

/// The longest opening: what fits into evidence.
// Spec: GSP-24
pub const OPENING_BYTES_MAX: usize = EVIDENCE_BYTES_MAX;

impl Opening {
    /// Puts an opening together.
    ///
    /// # Errors
    /// When the proof does not show that the tree of `note` begins as `old` says.
    // Spec: GSP-25
    pub fn new(
        old: TreeHead,
        proof: ConsistencyProof,
        note: SignedCheckpoint,
    ) -> Result<Self, OpeningError> {
        if old.size.is_zero() {
            return Err(OpeningError::OfNothing);
        }
        verify_consistency(&old, &note.head(), &proof).map_err(OpeningError::Proof)?;
        Ok(Self { old, proof, note })
    }

    /// What a head that was signed is at its own size: itself.
    ///
    /// # Errors
    /// [`OpeningError::OfNothing`] when it has no leaves.
    pub fn of_itself(note: SignedCheckpoint) -> Result<Self, OpeningError> {
        Self::new(note.head(), ConsistencyProof::default(), note)
    }

    /// Makes an opening from the nodes of the larger tree, wherever they come from: nodes that are
    /// made up lead to another root and give an error.
    ///
    /// # Errors
    /// When `old` is no size below that of the note, or the nodes are missing or not the tree's.
    pub fn read<R: NodeReader + ?Sized>(
        old: TreeSize,
        note: SignedCheckpoint,
        reader: &R,
    ) -> Result<Self, ReadOpeningError<R::Error>> {
        let to = note.head().size;
        let proof = prove_consistency(old, to, reader).map_err(ReadOpeningError::Prove)?;
        let root_hash = if old == to {
            note.head().root_hash
        } else {
            let coords = CompactRange::node_coords(old);
            let nodes = reader
                .nodes(&coords)
                .map_err(|error| ReadOpeningError::Prove(ProveError::Reader(error)))?;
            let (asked, found) = (coords.len(), nodes.len());
            let miscounted = ReadOpeningError::Prove(ProveError::NodeCount { asked, found });
            let range = CompactRange::from_nodes(old, nodes).map_err(|_| miscounted)?;
            range.root()
        };
        let old = TreeHead {
            size: old,
            root_hash,
        };
        Self::new(old, proof, note).map_err(ReadOpeningError::Opening)
    }

    /// Parses an opening and verifies its proof; the note's signatures are not verified.
    ///
    /// # Errors
    /// When the bytes are not exactly what [`Opening::to_bytes`] writes, or the proof fails.
    // Spec: GSP-24, GSP-25
    pub fn parse(bytes: &[u8]) -> Result<Self, OpeningError> {
        let mut lines = Lines::new(bytes, OPENING_BYTES_MAX).map_err(OpeningError::Body)?;
        let mut field = |word: &'static str| {
            let line = lines.next_line().map_err(OpeningError::Body)?;
            let value = line
                .strip_prefix(word)
                .and_then(|value| value.strip_prefix(' '));
            value.ok_or(OpeningError::Field { word })
        };
        let size = parse_decimal(field("old")?).map_err(OpeningError::Old)?;
        let size = TreeSize::new(size).ok_or(OpeningError::Old(DecimalError::TooLarge))?;
        let root_hash = Hash::from_base64(field("root")?).map_err(OpeningError::Root)?;
        let proof = lines.consistency_proof().map_err(OpeningError::Body)?;
        let note = lines.checkpoint().map_err(OpeningError::Body)?;
        Self::new(TreeHead { size, root_hash }, proof, note)
    }

    /// The bytes of the opening: what [`Opening::parse`] takes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut head = String::new();
        push_field(&mut head, "old", &self.old.size);
        push_field(&mut head, "root", &self.old.root_hash.to_string());
        let mut bytes = head.into_bytes();
        push_tail(&mut bytes, self.proof.hashes(), &self.note);
        bytes
    }

    /// What the larger tree was.
    pub fn old(&self) -> TreeHead {
        self.old
    }

    /// The proof of it.
    pub fn proof(&self) -> &ConsistencyProof {
        &self.proof
    }

    /// The larger tree, as it was signed.
    pub fn note(&self) -> &SignedCheckpoint {
        &self.note
    }
}

/// Why bytes are no opening. Whoever made them is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpeningError {
    /// The proof lines, the note, or the body as a whole.
    Body(BodyError),
    /// A line does not begin with the word that is due.
    Field {
        /// The word.
        word: &'static str,
    },
    /// The older size is no size.
    Old(DecimalError),
    /// The older root is no hash.
    Root(Base64Error),
    /// The older size is 0: every tree begins with nothing.
    OfNothing,
    /// The proof does not show what the opening says.
    Proof(ProofError),
}

impl fmt::Display for OpeningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => error.fmt(f),
            Self::Field { word } => write!(f, "a line \"{word} …\" is missing"),
            Self::Old(reason) => write!(f, "the older size: {reason}"),
            Self::Root(reason) => write!(f, "the older root: {reason}"),
            Self::OfNothing => f.write_str("every tree begins with nothing: old must not be 0"),
            Self::Proof(reason) => write!(f, "the proof fails: {reason}"),
        }
    }
}

impl core::error::Error for OpeningError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Body(error) => Some(error),
            Self::Old(reason) => Some(reason),
            Self::Root(reason) => Some(reason),
            Self::Proof(reason) => Some(reason),
            Self::Field { .. } | Self::OfNothing => None,
        }
    }
}

/// Why an opening could not be made from the nodes of a tree. Whoever has the nodes is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOpeningError<E> {
    /// There is no such proof, or a node could not be read.
    Prove(ProveError<E>),
    /// The nodes are not those of the tree that was signed.
    Opening(OpeningError),
}

impl<E: fmt::Display> fmt::Display for ReadOpeningError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prove(error) => error.fmt(f),
            Self::Opening(error) => error.fmt(f),
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for ReadOpeningError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Prove(error) => Some(error),
            Self::Opening(error) => Some(error),
        }
    }
}
