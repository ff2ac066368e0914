//! The C2SP tlog-proof: one text file that shows an entry in a log, with no network.
//!
//! In scope: parsing, encoding, and verification under a policy. Out of scope: the leaf hash, which
//! only the application can compute, what the extra data means (`receipt` gives it one meaning),
//! and what the cosignatures' times must be compared with.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64>                   may be absent; not authenticated by anything here
//! index <decimal>
//! <base64 hash>                    inclusion proof, 0 to 63 lines
//!
//! <signed note>                    the checkpoint, to the end of the file
//! ```
//!
//! Rules: `spec/proof.md`; C2SP tlog-proof, revision of 2026-07-22.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::base64::{self, Base64Error};
use crate::body::{self, BodyError, Lines};
use crate::checkpoint::SignedCheckpoint;
use crate::decimal::{DecimalError, parse_decimal};
use crate::hash::Hash;
use crate::policy::{Policy, PolicyError, PolicyVerdict};
use crate::proof::{InclusionProof, ProofError, verify_inclusion};
use crate::tree::LeafIndex;

/// The first line.
const MAGIC: &str = "c2sp.org/tlog-proof@v1";
/// The most that a proof file may have: a note of the largest size, an inclusion proof, and extra
/// data of up to about 90 kB (an entry of 65535 bytes takes 87380 in base64).
// Spec: PRF-09
pub const TLOG_PROOF_BYTES_MAX: usize = 256 * 1024;

/// A proof that an entry stands at an index of a log. Nothing of it is verified by parsing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    extra: Option<Vec<u8>>,
    index: LeafIndex,
    proof: InclusionProof,
    checkpoint: SignedCheckpoint,
}

impl TlogProof {
    /// Puts a proof together.
    ///
    /// # Errors
    /// [`ParseError::EmptyExtra`] when there is extra data of no bytes: the format has one way to
    /// say "none".
    // Spec: PRF-03
    pub fn new(
        extra: Option<Vec<u8>>,
        index: LeafIndex,
        proof: InclusionProof,
        checkpoint: SignedCheckpoint,
    ) -> Result<Self, ParseError> {
        if extra.as_ref().is_some_and(Vec::is_empty) {
            return Err(ParseError::EmptyExtra);
        }
        Ok(Self {
            extra,
            index,
            proof,
            checkpoint,
        })
    }

    /// Whether a file begins as a proof file does.
    pub fn is_one(file: &[u8]) -> bool {
        let rest = file.strip_prefix(MAGIC.as_bytes());
        rest.is_some_and(|rest| rest.starts_with(b"\n"))
    }

    /// Reads a proof file. Only the canonical form is accepted.
    ///
    /// # Errors
    /// [`ParseError`]: the first thing that is wrong, with its line.
    // Spec: PRF-01
    pub fn parse(file: &[u8]) -> Result<Self, ParseError> {
        let mut lines = Lines::new(file, TLOG_PROOF_BYTES_MAX)?;
        // Spec: PRF-02
        let first = lines.next_line()?;
        if first != MAGIC {
            return Err(ParseError::Magic {
                found: body::shown(first),
            });
        }
        // Spec: PRF-03
        let mut line = lines.line();
        let mut text = lines.next_line()?;
        let mut extra = None;
        if let Some(encoded) = text.strip_prefix("extra ") {
            extra = Some(base64::decode(encoded).map_err(ParseError::Extra)?);
            line = lines.line();
            text = lines.next_line()?;
        }
        // Spec: PRF-04
        let Some(decimal) = text.strip_prefix("index ") else {
            return Err(ParseError::NoIndexLine {
                line,
                found: body::shown(text),
            });
        };
        let index = parse_decimal(decimal)
            .and_then(|index| LeafIndex::new(index).ok_or(DecimalError::TooLarge))
            .map_err(|reason| ParseError::Index {
                line,
                found: body::shown(decimal),
                reason,
            })?;
        // Spec: PRF-05, PRF-06
        let proof = lines.inclusion_proof()?;
        Self::new(extra, index, proof, lines.checkpoint()?)
    }

    /// The proof file.
    // Spec: PRF-01, PRF-02, PRF-03, PRF-04
    pub fn to_bytes(&self) -> Vec<u8> {
        let extra = match &self.extra {
            Some(extra) => format!("extra {}\n", base64::encode(extra)),
            None => String::new(),
        };
        let mut file = format!("{MAGIC}\n{extra}index {}\n", self.index.get()).into_bytes();
        body::push_tail(&mut file, self.proof.hashes(), &self.checkpoint);
        file
    }

    /// The extra data. Nothing authenticates it.
    // Spec: PRF-10
    pub fn extra(&self) -> Option<&[u8]> {
        self.extra.as_deref()
    }

    /// The entry's place in the log, from 0.
    pub fn index(&self) -> LeafIndex {
        self.index
    }

    /// The inclusion proof.
    pub fn proof(&self) -> &InclusionProof {
        &self.proof
    }

    /// The checkpoint of the tree that holds the entry.
    pub fn checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }

    /// Verifies that the entry with this leaf hash stands in a tree that the policy accepts: signed
    /// by one of its logs and cosigned by its quorum.
    ///
    /// # Errors
    /// [`VerifyError`]: the checkpoint's fault first, the inclusion proof's second.
    // Spec: PRF-07, PRF-08
    pub fn verify(&self, leaf: &Hash, policy: &Policy) -> Result<PolicyVerdict, VerifyError> {
        let verdict = policy
            .verify_checkpoint(&self.checkpoint)
            .map_err(VerifyError::Policy)?;
        let head = self.checkpoint.head();
        verify_inclusion(self.index, leaf, &self.proof, &head).map_err(VerifyError::Inclusion)?;
        Ok(verdict)
    }
}

/// Why a file is no tlog-proof. Its maker is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// A fault that other bodies can have, too.
    Body(BodyError),
    /// The first line does not name the format.
    Magic {
        /// How the line starts.
        found: String,
    },
    /// The extra data are not base64.
    Extra(Base64Error),
    /// The extra data are empty: then the line must be absent.
    EmptyExtra,
    /// A line is not `index <decimal>`.
    NoIndexLine {
        /// The line, from 1.
        line: usize,
        /// How it starts.
        found: String,
    },
    /// The index is no canonical decimal.
    Index {
        /// The line, from 1.
        line: usize,
        /// What stands there.
        found: String,
        /// Why it is none.
        reason: DecimalError,
    },
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
            Self::Magic { found } => write!(f, "line 1 must be \"{MAGIC}\", not \"{found}\""),
            Self::Extra(error) => write!(f, "line 2: the extra data are not base64: {error}"),
            Self::EmptyExtra => f.write_str("line 2: without extra data the line must be absent"),
            Self::NoIndexLine { line, found } => {
                write!(f, "line {line} must be \"index <number>\", not \"{found}\"")
            }
            Self::Index {
                line,
                found,
                reason,
            } => {
                write!(f, "line {line}: \"{found}\" is no leaf index: {reason}")
            }
        }
    }
}

impl core::error::Error for ParseError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Body(error) => Some(error),
            Self::Extra(error) => Some(error),
            Self::Index { reason, .. } => Some(reason),
            Self::Magic { .. } | Self::EmptyExtra | Self::NoIndexLine { .. } => None,
        }
    }
}

/// Why a tlog-proof proves nothing under a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyError {
    /// The policy does not accept the checkpoint.
    Policy(PolicyError),
    /// The checkpoint is accepted, but the entry is not shown to be in its tree at the index.
    Inclusion(ProofError),
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(error) => error.fmt(f),
            Self::Inclusion(error) => {
                write!(
                    f,
                    "the entry is not shown to be in the checkpoint's tree: {error}"
                )
            }
        }
    }
}

impl core::error::Error for VerifyError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Policy(error) => Some(error),
            Self::Inclusion(error) => Some(error),
        }
    }
}
