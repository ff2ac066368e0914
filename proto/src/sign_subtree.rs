//! The `sign-subtree` request: its body, and what a witness decides about it.
//!
//! In scope: parsing and encoding the body, and the decision as a pure function. Out of scope: HTTP
//! and signing. The decision needs no stored state: the witness's own cosignature on the reference
//! checkpoint is its memory.
//!
//! ```text
//! subtree <start> <end>            leaves start to end-1
//! <base64 hash>                    the subtree's hash
//! <base64 hash>                    subtree consistency proof, 0 to 63 lines
//!
//! <signed note>                    the reference checkpoint, cosigned by this witness
//! ```
//!
//! Rules: `spec/witness.md`; C2SP tlog-witness, sign-subtree, revision of 2026-07-22.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::add_checkpoint::BODY_BYTES_MAX;
use crate::base64::Base64Error;
use crate::body::{self, BodyError, Lines};
use crate::checkpoint::{Origin, SignaturesError, SignedCheckpoint};
use crate::decimal::{DecimalError, parse_decimal};
use crate::hash::Hash;
use crate::key::VerifierKey;
use crate::note::SignatureType;
use crate::proof::{
    ConsistencyProof, ProofError, Subtree, SubtreeError, verify_subtree_consistency,
};
use crate::tree::TreeSize;

/// A request for a cosignature on a subtree of a tree that the witness has cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignSubtree {
    subtree: Subtree,
    hash: Hash,
    proof: ConsistencyProof,
    reference: SignedCheckpoint,
}

impl SignSubtree {
    /// The request for a subtree that lies within the reference checkpoint's tree.
    ///
    /// # Errors
    /// [`ParseError::EndAboveCheckpoint`] when it does not.
    // Spec: WIT-28
    pub fn new(
        subtree: Subtree,
        hash: Hash,
        proof: ConsistencyProof,
        reference: SignedCheckpoint,
    ) -> Result<Self, ParseError> {
        let size = reference.head().size;
        if subtree.end() > size.get() {
            return Err(ParseError::EndAboveCheckpoint {
                end: subtree.end(),
                size,
            });
        }
        Ok(Self {
            subtree,
            hash,
            proof,
            reference,
        })
    }

    /// Reads a request body. Only the canonical form is accepted.
    ///
    /// # Errors
    /// [`ParseError`]: the first thing that is wrong, with its line. The client is at fault; the
    /// status is 400 ([`ParseError::status`]).
    // Spec: WIT-25, WIT-26, WIT-27, WIT-28
    pub fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let mut lines = Lines::new(body, BODY_BYTES_MAX)?;
        let line = lines.next_line()?;
        let range = line
            .strip_prefix("subtree ")
            .and_then(|range| range.split_once(' '));
        let Some((start, end)) = range else {
            return Err(ParseError::NoRangeLine {
                found: body::shown(line),
            });
        };
        let start = parse_decimal(start).map_err(|reason| ParseError::Start {
            found: body::shown(start),
            reason,
        })?;
        let end = parse_decimal(end).map_err(|reason| ParseError::End {
            found: body::shown(end),
            reason,
        })?;
        let subtree = Subtree::new(start, end).map_err(ParseError::Subtree)?;
        let hash = lines.next_line()?;
        let hash = Hash::from_base64(hash).map_err(ParseError::Hash)?;
        let proof = lines.consistency_proof()?;
        Self::new(subtree, hash, proof, lines.checkpoint()?)
    }

    /// The request body.
    // Spec: WIT-25
    pub fn to_bytes(&self) -> Vec<u8> {
        let (start, end) = (self.subtree.start(), self.subtree.end());
        let mut body =
            alloc::format!("subtree {start} {end}\n{}\n", self.hash.to_base64()).into_bytes();
        body::push_tail(&mut body, self.proof.hashes(), &self.reference);
        body
    }

    /// The leaves that the subtree has.
    pub fn subtree(&self) -> &Subtree {
        &self.subtree
    }

    /// The hash that the subtree is said to have.
    pub fn hash(&self) -> &Hash {
        &self.hash
    }

    /// The proof that the subtree is part of the reference checkpoint's tree. Not verified yet.
    pub fn proof(&self) -> &ConsistencyProof {
        &self.proof
    }

    /// The reference checkpoint. Its signatures are not verified yet.
    pub fn reference(&self) -> &SignedCheckpoint {
        &self.reference
    }

    /// The log that the reference checkpoint is of.
    pub fn origin(&self) -> &Origin {
        self.reference.origin()
    }
}

/// Why a body is no sign-subtree request. The client is at fault; nothing was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// A fault that other bodies can have, too.
    Body(BodyError),
    /// The first line is not `subtree <start> <end>`.
    NoRangeLine {
        /// How the line starts.
        found: String,
    },
    /// The start is no canonical decimal.
    Start {
        /// What stands there.
        found: String,
        /// Why it is none.
        reason: DecimalError,
    },
    /// The end is no canonical decimal.
    End {
        /// What stands there.
        found: String,
        /// Why it is none.
        reason: DecimalError,
    },
    /// No tree has a subtree from the start to the end.
    Subtree(SubtreeError),
    /// The second line is no hash.
    Hash(Base64Error),
    /// The subtree ends after the last leaf of the reference checkpoint.
    EndAboveCheckpoint {
        /// The subtree's end.
        end: u64,
        /// The checkpoint's size.
        size: TreeSize,
    },
}

impl ParseError {
    /// The HTTP status: 413 for a body that is too long, else 400.
    // Spec: WIT-09, WIT-28
    pub fn status(&self) -> u16 {
        match self {
            Self::Body(BodyError::TooLong { .. }) => 413,
            Self::Body(_)
            | Self::NoRangeLine { .. }
            | Self::Start { .. }
            | Self::End { .. }
            | Self::Subtree(_)
            | Self::Hash(_)
            | Self::EndAboveCheckpoint { .. } => 400,
        }
    }
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
            Self::NoRangeLine { found } => {
                write!(
                    f,
                    "line 1 must be \"subtree <start> <end>\", not \"{found}\""
                )
            }
            Self::Start { found, reason } => {
                write!(
                    f,
                    "line 1: the start \"{found}\" is no leaf index: {reason}"
                )
            }
            Self::End { found, reason } => {
                write!(f, "line 1: the end \"{found}\" is no leaf index: {reason}")
            }
            Self::Subtree(error) => write!(f, "line 1: {error}"),
            Self::Hash(error) => write!(f, "line 2 is no base64 SHA-256 hash: {error}"),
            Self::EndAboveCheckpoint { end, size } => write!(
                f,
                "the subtree's end {end} is above the checkpoint's size {}; it must not be",
                size.get()
            ),
        }
    }
}

impl core::error::Error for ParseError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Body(error) => Some(error),
            Self::Start { reason, .. } | Self::End { reason, .. } => Some(reason),
            Self::Subtree(error) => Some(error),
            Self::Hash(error) => Some(error),
            Self::NoRangeLine { .. } | Self::EndAboveCheckpoint { .. } => None,
        }
    }
}

/// A subtree that the witness may cosign, with timestamp zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Which of the witness's keys sign, by place, ascending, at least one. All support subtrees.
    pub signers: Vec<usize>,
}

/// Decides about a request: may this subtree be cosigned, and with which keys?
///
/// `own_keys` are this witness's keys. Those that support subtrees and have cosigned the reference
/// checkpoint sign; when only keys that do not support subtrees have, all that do sign.
///
/// # Errors
/// [`Refusal`], the first in the order 404, 422, 403 (a body that earns 400 does not parse): what
/// is not known costs a look-up, and hashes are computed only for logs that are served.
pub fn decide(
    origin_known: bool,
    own_keys: &[VerifierKey],
    request: &SignSubtree,
) -> Result<Accepted, Refusal> {
    let reference = &request.reference;
    let head = reference.head();
    // Spec: WIT-30, WIT-33
    if !origin_known {
        return Err(Refusal::UnknownOrigin {
            origin: request.origin().clone(),
        });
    }
    // Spec: WIT-29, COS-25
    verify_subtree_consistency(&request.subtree, &request.hash, &request.proof, &head)
        .map_err(Refusal::Inconsistent)?;
    // Spec: WIT-31
    let verified = match reference.verify_signatures(own_keys) {
        Ok(verified) => verified,
        Err(SignaturesError::NoKnownSignature) => return Err(Refusal::NotCosigned),
        Err(error) => return Err(Refusal::BadSignature(error)),
    };
    // Spec: WIT-32
    let able: Vec<usize> = own_keys
        .iter()
        .enumerate()
        .filter(|(_, key)| supports_subtrees(key))
        .map(|(place, _)| place)
        .collect();
    if able.is_empty() {
        return Err(Refusal::NoSubtreeKey);
    }
    let cosigned = |place: &usize| verified.iter().any(|line| line.key_index == *place);
    let both: Vec<usize> = able.iter().copied().filter(cosigned).collect();
    Ok(Accepted {
        signers: if both.is_empty() { able } else { both },
    })
}

/// Whether signatures by this key can be on a subtree: the ML-DSA-44 cosignature's can, the Ed25519
/// cosignature's always cover a whole checkpoint.
// Spec: WIT-32
pub fn supports_subtrees(key: &VerifierKey) -> bool {
    key.signature_type() == SignatureType::MlDsa44
}

/// Why a witness does not cosign a subtree. Nothing has changed; the client is at fault, save for
/// [`Refusal::NoSubtreeKey`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 422: the proof does not verify.
    Inconsistent(ProofError),
    /// 404: the witness does not know the log.
    UnknownOrigin {
        /// The reference checkpoint's origin.
        origin: Origin,
    },
    /// 403: none of the witness's keys cosigned the reference checkpoint.
    NotCosigned,
    /// 403: a line names one of the witness's keys but its signature does not verify.
    BadSignature(SignaturesError),
    /// 404: the witness has no key that supports subtrees, so it does not offer this call.
    NoSubtreeKey,
}

impl Refusal {
    /// The HTTP status that says this.
    // Spec: WIT-29, WIT-30, WIT-31
    pub fn status(&self) -> u16 {
        match self {
            Self::Inconsistent(_) => 422,
            Self::UnknownOrigin { .. } | Self::NoSubtreeKey => 404,
            Self::NotCosigned | Self::BadSignature(_) => 403,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inconsistent(reason) => {
                write!(
                    f,
                    "the proof from the subtree to the checkpoint does not verify: {reason}"
                )
            }
            Self::UnknownOrigin { origin } => {
                write!(
                    f,
                    "the log {origin} is not known here; its operator must register its key"
                )
            }
            Self::NotCosigned => f.write_str(
                "the checkpoint has no cosignature by this witness; send one that it cosigned",
            ),
            Self::BadSignature(error) => {
                write!(
                    f,
                    "a signature that names a key of this witness is not good: {error}"
                )
            }
            Self::NoSubtreeKey => {
                f.write_str("this witness has no key that supports subtrees (ML-DSA-44)")
            }
        }
    }
}

impl core::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Inconsistent(reason) => Some(reason),
            Self::BadSignature(error) => Some(error),
            Self::UnknownOrigin { .. } | Self::NotCosigned | Self::NoSubtreeKey => None,
        }
    }
}
