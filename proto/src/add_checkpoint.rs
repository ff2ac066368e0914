//! The `add-checkpoint` request: its body, and what a witness decides about it.
//!
//! In scope: parsing and encoding the body, the decision as a pure function, and the bodies of the
//! 200 and 409 answers. Out of scope: HTTP, storing the new tree head, signing. A witness loads the
//! latest tree head of the origin, calls [`decide`], swaps the head durably, and only then lets its
//! cosignature leave. When it lost a race for the swap, it loads again and calls
//! [`decide_consistency`]: the signatures have not changed.
//!
//! ```text
//! old <decimal>                    the size that the witness cosigned last, as the client knows it
//! <base64 hash>                    consistency proof, 0 to 63 lines
//!
//! <signed note>                    the checkpoint, to the end of the body
//! ```
//!
//! Rules: `spec/witness.md`; C2SP tlog-witness, add-checkpoint, revision of 2026-07-22.

pub mod above;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::body::{self, BodyError, Lines};
use crate::checkpoint::{Origin, SignaturesError, SignedCheckpoint};
use crate::decimal::{DecimalError, parse_decimal};
use crate::hash::{Hash, empty_root};
use crate::key::VerifierKey;
use crate::proof::{ConsistencyProof, ProofError, verify_consistency};
use crate::tree::{TreeHead, TreeSize};

/// The most that a body may have: a note of the largest size that we read never needs all of it,
/// and 16 signatures of 5 kB, which a witness must accept, fit well.
// Spec: WIT-06, WIT-09
pub const BODY_BYTES_MAX: usize = 128 * 1024;

/// The content type of a 409 answer.
// Spec: WIT-16
pub const CONFLICT_CONTENT_TYPE: &str = "text/x.tlog.size";

/// A checkpoint that a log submits to a witness, with the proof that its tree only grew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size of the tree that the witness cosigned last, as far as the client knows.
    pub old_size: TreeSize,
    /// The proof from the old size to the checkpoint's. Not verified yet.
    pub proof: ConsistencyProof,
    /// The checkpoint. Its signatures are not verified yet.
    pub checkpoint: SignedCheckpoint,
}

impl AddCheckpoint {
    /// Reads a request body. Only the canonical form is accepted: [`AddCheckpoint::to_bytes`] of
    /// the result gives the same bytes.
    ///
    /// # Errors
    /// [`ParseError`]: the first thing that is wrong, with its line. The client is at fault; the
    /// status is 400 ([`ParseError::status`]).
    // Spec: WIT-01, WIT-02, WIT-07
    pub fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let mut lines = Lines::new(body, BODY_BYTES_MAX)?;
        let line = lines.next_line()?;
        // Spec: WIT-03
        let Some(decimal) = line.strip_prefix("old ") else {
            return Err(ParseError::NoOldLine {
                found: body::shown(line),
            });
        };
        let old_size = parse_decimal(decimal)
            .and_then(|size| TreeSize::new(size).ok_or(DecimalError::TooLarge))
            .map_err(|reason| ParseError::OldSize {
                found: body::shown(decimal),
                reason,
            })?;
        // Spec: WIT-04, WIT-05
        let proof = lines.consistency_proof()?;
        let checkpoint = lines.checkpoint()?;
        Ok(Self {
            old_size,
            proof,
            checkpoint,
        })
    }

    /// The request body.
    // Spec: WIT-01, WIT-03
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = alloc::format!("old {}\n", self.old_size.get()).into_bytes();
        body::push_tail(&mut body, self.proof.hashes(), &self.checkpoint);
        body
    }

    /// The log that the checkpoint is of.
    pub fn origin(&self) -> &Origin {
        self.checkpoint.origin()
    }

    /// The tree head that the checkpoint states.
    pub fn head(&self) -> TreeHead {
        self.checkpoint.head()
    }
}

/// Why a body is no add-checkpoint request. The client is at fault; nothing was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// A fault that other bodies can have, too.
    Body(BodyError),
    /// The first line is not `old <decimal>`.
    NoOldLine {
        /// How the line starts.
        found: String,
    },
    /// The old size is no canonical decimal.
    OldSize {
        /// What stands there.
        found: String,
        /// Why it is none.
        reason: DecimalError,
    },
}

impl ParseError {
    /// The HTTP status: 413 for a body that is too long, else 400.
    // Spec: WIT-08, WIT-09
    pub fn status(&self) -> u16 {
        match self {
            Self::Body(BodyError::TooLong { .. }) => 413,
            Self::Body(_) | Self::NoOldLine { .. } | Self::OldSize { .. } => 400,
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
            Self::NoOldLine { found } => {
                write!(f, "line 1 must be \"old <size>\", not \"{found}\"")
            }
            Self::OldSize { found, reason } => {
                write!(f, "line 1: \"{found}\" is no tree size: {reason}")
            }
        }
    }
}

impl core::error::Error for ParseError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Body(error) => Some(error),
            Self::OldSize { reason, .. } => Some(reason),
            Self::NoOldLine { .. } => None,
        }
    }
}

/// A request that a witness may cosign, once the new tree head is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The tree head to store as the origin's latest and to cosign.
    pub head: TreeHead,
    /// The signature lines of the checkpoint that were verified, by place, ascending. Others must
    /// not be stored or served.
    pub signatures: Vec<usize>,
    /// The head is the one stored already: only the time and the note that go with it are new.
    pub refresh: bool,
}

/// Decides about a request: may this checkpoint be cosigned?
///
/// `latest` is the tree head that the witness cosigned last for this origin, nothing when it never
/// did. `keys` are the keys trusted for the origin, nothing when the origin is unknown. No state is
/// changed here, and nothing may be signed before the new head is durable.
///
/// # Errors
/// [`Refusal`], the first in the order 404, 403, 400, 409, 422. No state has changed.
pub fn decide(
    latest: Option<&TreeHead>,
    keys: Option<&[VerifierKey]>,
    request: &AddCheckpoint,
) -> Result<Accepted, Refusal> {
    // Spec: WIT-33
    let signatures = verify_log_signatures(keys, &request.checkpoint)?;
    let progress = decide_consistency(latest, request)?;
    Ok(Accepted {
        head: progress.head,
        signatures,
        refresh: progress.refresh,
    })
}

/// The part of [`decide`] that depends on the keys and not on the stored tree head: the places of
/// the signature lines that verify under a key trusted for the origin, ascending, at least one.
///
/// # Errors
/// [`Refusal`] with status 404 or 403.
pub fn verify_log_signatures(
    keys: Option<&[VerifierKey]>,
    checkpoint: &SignedCheckpoint,
) -> Result<Vec<usize>, Refusal> {
    let origin = checkpoint.origin();
    // Spec: WIT-11
    let keys = keys.ok_or_else(|| Refusal::UnknownOrigin {
        origin: origin.clone(),
    })?;
    // Spec: WIT-10, WIT-12, WIT-13, WIT-35
    match checkpoint.verify_signatures(keys) {
        Ok(verified) => {
            let mut lines: Vec<usize> = verified.iter().map(|line| line.line_index).collect();
            lines.sort_unstable();
            lines.dedup();
            Ok(lines)
        }
        Err(SignaturesError::NoKnownSignature) => Err(Refusal::NoTrustedSignature {
            origin: origin.clone(),
        }),
        Err(error) => Err(Refusal::BadSignature(error)),
    }
}

/// What a witness does not ask, and who keeps a checkpoint as an entry does: whether one of the
/// verified lines is by a key that covers the extension lines, if there are any. Where only an
/// ML-DSA-44 key signed, anybody can add lines, and make another entry of each.
///
/// # Errors
/// [`Refusal::ExtensionsNotSigned`], with status 403.
// Spec: SVC-26
pub fn require_signed_extensions(
    keys: Option<&[VerifierKey]>,
    checkpoint: &SignedCheckpoint,
    verified: &[usize],
) -> Result<(), Refusal> {
    if checkpoint.checkpoint().extensions.is_empty() {
        return Ok(());
    }
    let lines = checkpoint.signatures();
    let covered = verified
        .iter()
        .filter_map(|place| lines.get(*place))
        .any(|line| {
            let mut keys = keys.unwrap_or_default().iter();
            keys.any(|key| key.matches(line) && key.covers_extension_lines())
        });
    if covered {
        return Ok(());
    }
    Err(Refusal::ExtensionsNotSigned {
        origin: checkpoint.origin().clone(),
    })
}

/// What the consistency part of a decision found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The tree head to store as the origin's latest and to cosign.
    pub head: TreeHead,
    /// The head is the one stored already.
    pub refresh: bool,
}

/// The part of [`decide`] that depends on the stored tree head and not on the keys. It costs at
/// most a few hundred hashes.
///
/// # Errors
/// [`Refusal`] with status 400, 409 or 422.
pub fn decide_consistency(
    latest: Option<&TreeHead>,
    request: &AddCheckpoint,
) -> Result<Progress, Refusal> {
    let head = request.head();
    let old_size = request.old_size;
    // Spec: WIT-14
    if old_size > head.size {
        return Err(Refusal::OldSizeAboveCheckpoint {
            old_size,
            size: head.size,
        });
    }
    // Spec: WIT-15
    let current = latest.map_or(TreeSize::ZERO, |latest| latest.size);
    if old_size != current {
        return Err(Refusal::Conflict { old_size, current });
    }
    // Spec: WIT-17
    if head.size == TreeSize::ZERO && head.root_hash != empty_root() {
        return Err(Refusal::WrongEmptyRoot {
            root_hash: head.root_hash,
        });
    }
    // Spec: WIT-20. Before the proof, so that the one fault that proves a fork by itself is the one
    // that is reported.
    if let Some(latest) = latest
        && latest.size == head.size
        && latest.root_hash != head.root_hash
    {
        return Err(Refusal::RootMismatch {
            size: head.size,
            latest: latest.root_hash,
            submitted: head.root_hash,
        });
    }
    // Spec: WIT-18
    if old_size == TreeSize::ZERO {
        let hashes = request.proof.hashes().len();
        if hashes > 0 {
            return Err(Refusal::ProofNotEmpty { hashes });
        }
    } else if let Some(latest) = latest {
        // Spec: WIT-19
        verify_consistency(latest, &head, &request.proof).map_err(|reason| {
            Refusal::Inconsistent {
                old_size,
                size: head.size,
                reason,
            }
        })?;
    }
    // Spec: WIT-34
    Ok(Progress {
        head,
        refresh: latest == Some(&head),
    })
}

/// Why a witness does not cosign a checkpoint. Nothing has changed; the client may correct the
/// request and send it again. After a 422 with a valid signature the log itself may be at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 404: the witness has no key for the origin.
    UnknownOrigin {
        /// The checkpoint's origin.
        origin: Origin,
    },
    /// 403: none of the keys trusted for the origin signed.
    NoTrustedSignature {
        /// The checkpoint's origin.
        origin: Origin,
    },
    /// 403: a line names a trusted key but its signature does not verify.
    BadSignature(SignaturesError),
    /// 403, where asked for ([`require_signed_extensions`]): there are extension lines, and no
    /// verified signature is of a kind that covers them. Anybody could have added them.
    ExtensionsNotSigned {
        /// The checkpoint's origin.
        origin: Origin,
    },
    /// 400: the old size is above the checkpoint's.
    OldSizeAboveCheckpoint {
        /// The old size.
        old_size: TreeSize,
        /// The checkpoint's size.
        size: TreeSize,
    },
    /// 409: the old size is not that of the latest cosigned checkpoint.
    Conflict {
        /// The old size.
        old_size: TreeSize,
        /// The size cosigned last, zero when none was: what the answer's body says.
        current: TreeSize,
    },
    /// 422: an empty tree with a root hash that is not the hash of nothing.
    WrongEmptyRoot {
        /// The checkpoint's root hash.
        root_hash: Hash,
    },
    /// 422: proof lines although the old size is zero.
    ProofNotEmpty {
        /// How many.
        hashes: usize,
    },
    /// 422: the size cosigned last with another root hash. With both notes this is a fork.
    RootMismatch {
        /// The size of both trees.
        size: TreeSize,
        /// The root hash cosigned last.
        latest: Hash,
        /// The checkpoint's root hash.
        submitted: Hash,
    },
    /// 422: the consistency proof does not verify.
    Inconsistent {
        /// The old size, which is the size cosigned last.
        old_size: TreeSize,
        /// The checkpoint's size.
        size: TreeSize,
        /// What is wrong with the proof.
        reason: ProofError,
    },
}

impl Refusal {
    /// The HTTP status that says this.
    // Spec: WIT-11, WIT-12, WIT-13, WIT-14, WIT-15, WIT-17, WIT-18, WIT-19, WIT-20
    pub fn status(&self) -> u16 {
        match self {
            Self::UnknownOrigin { .. } => 404,
            Self::NoTrustedSignature { .. }
            | Self::BadSignature(_)
            | Self::ExtensionsNotSigned { .. } => 403,
            Self::OldSizeAboveCheckpoint { .. } => 400,
            Self::Conflict { .. } => 409,
            Self::WrongEmptyRoot { .. }
            | Self::ProofNotEmpty { .. }
            | Self::RootMismatch { .. }
            | Self::Inconsistent { .. } => 422,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownOrigin { origin } => {
                write!(
                    f,
                    "the log {origin} is not known here; its operator must register its key"
                )
            }
            Self::ExtensionsNotSigned { origin } => write!(
                f,
                "the signatures of {origin} do not cover its extension lines (ML-DSA-44 never \
                 does); leave them out, or add an Ed25519 or ECDSA signature"
            ),
            Self::NoTrustedSignature { origin } => write!(
                f,
                "no signature is by a key that is trusted for {origin}; sign with the \
                 registered key"
            ),
            Self::BadSignature(error) => {
                write!(
                    f,
                    "a signature that names a trusted key is not good: {error}"
                )
            }
            Self::OldSizeAboveCheckpoint { old_size, size } => write!(
                f,
                "the old size {} is above the checkpoint's size {}; it must not be",
                old_size.get(),
                size.get()
            ),
            Self::Conflict { old_size, current } => write!(
                f,
                "the old size is {}, but the size cosigned last is {}; send a proof from there",
                old_size.get(),
                current.get()
            ),
            Self::WrongEmptyRoot { root_hash } => write!(
                f,
                "a tree of size 0 has the root hash {}, not {root_hash}",
                empty_root()
            ),
            Self::ProofNotEmpty { hashes } => write!(
                f,
                "the old size is 0, so the proof must be empty, but it has {hashes} lines"
            ),
            Self::RootMismatch {
                size,
                latest,
                submitted,
            } => write!(
                f,
                "the root hash at size {} was {latest} when it was cosigned and is \
                 {submitted} now; \
                 a log never has two",
                size.get()
            ),
            Self::Inconsistent {
                old_size,
                size,
                reason,
            } => write!(
                f,
                "the proof from size {} to size {} does not verify: {reason}",
                old_size.get(),
                size.get()
            ),
        }
    }
}

impl core::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::BadSignature(error) => Some(error),
            Self::Inconsistent { reason, .. } => Some(reason),
            Self::UnknownOrigin { .. }
            | Self::NoTrustedSignature { .. }
            | Self::ExtensionsNotSigned { .. }
            | Self::OldSizeAboveCheckpoint { .. }
            | Self::Conflict { .. }
            | Self::WrongEmptyRoot { .. }
            | Self::ProofNotEmpty { .. }
            | Self::RootMismatch { .. } => None,
        }
    }
}

/// The body of a 409 answer: the size cosigned last and a newline.
// Spec: WIT-16
pub fn conflict_body(current: TreeSize) -> String {
    alloc::format!("{}\n", current.get())
}

/// Reads the body of a 409 answer.
///
/// # Errors
/// [`ConflictBodyError`] when it is anything but a canonical size and a newline. The witness is at
/// fault.
// Spec: WIT-16
pub fn parse_conflict_body(body: &[u8]) -> Result<TreeSize, ConflictBodyError> {
    let text = core::str::from_utf8(body).map_err(|_| ConflictBodyError::NotText)?;
    let decimal = text
        .strip_suffix('\n')
        .ok_or(ConflictBodyError::NoNewline)?;
    parse_decimal(decimal)
        .and_then(|size| TreeSize::new(size).ok_or(DecimalError::TooLarge))
        .map_err(ConflictBodyError::Size)
}

/// Why the body of a 409 answer says no size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConflictBodyError {
    /// Not UTF-8.
    NotText,
    /// No newline at the end.
    NoNewline,
    /// No canonical decimal.
    Size(DecimalError),
}

impl fmt::Display for ConflictBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText => f.write_str("the conflict answer is not UTF-8"),
            Self::NoNewline => f.write_str("the conflict answer does not end in a newline"),
            Self::Size(reason) => write!(f, "the conflict answer is no tree size: {reason}"),
        }
    }
}

impl core::error::Error for ConflictBodyError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Size(reason) => Some(reason),
            Self::NotText | Self::NoNewline => None,
        }
    }
}
