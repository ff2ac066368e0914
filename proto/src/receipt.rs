//! The receipt: a tlog-proof whose extra data are the entry itself, so that one file verifies
//! alone.
//!
//! In scope: parsing, encoding, and what a receipt proves under a policy. Out of scope: waiting for
//! cosignatures, and comparing their times with a clock.
//!
//! The extra data of a tlog-proof are not authenticated, but here they are the entry whose leaf
//! hash the inclusion proof needs: another entry there, and the proof does not verify.
//!
//! Rules: `spec/receipt.md`; C2SP tlog-proof, revision of 2026-07-22.

use alloc::vec::Vec;
use core::fmt;

use crate::checkpoint::{Origin, SignaturesError, SignedCheckpoint, VerifiedSignature};
use crate::entry::{ClockEntry, Entry, EntryError, EvidenceEntry, KeyEntry, TimestampEntry};
use crate::key::VerifierKey;
use crate::policy::{Policy, WitnessVerdict};
use crate::proof::InclusionProof;
use crate::tlog_proof::{self, TlogProof, VerifyError};
use crate::tree::{LeafIndex, TreeHead};

/// A receipt: an entry and the proof that the log has it. Nothing of it is verified by parsing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    entry: Entry,
    proof: TlogProof,
}

impl Receipt {
    /// Puts a receipt together.
    ///
    /// # Errors
    /// [`ReceiptError::Proof`], which an entry, never being empty, does not cause.
    // Spec: RCP-01
    pub fn new(
        entry: Entry,
        index: LeafIndex,
        proof: InclusionProof,
        checkpoint: SignedCheckpoint,
    ) -> Result<Self, ReceiptError> {
        let extra = Some(entry.to_bytes());
        let proof = TlogProof::new(extra, index, proof, checkpoint).map_err(ReceiptError::Proof)?;
        Ok(Self { entry, proof })
    }

    /// Reads a receipt file. Only the canonical form is accepted.
    ///
    /// # Errors
    /// [`ReceiptError`]: it is no tlog-proof, has no extra data, or they are no entry.
    // Spec: RCP-01, RCP-02, RCP-03
    pub fn parse(file: &[u8]) -> Result<Self, ReceiptError> {
        let proof = TlogProof::parse(file).map_err(ReceiptError::Proof)?;
        let extra = proof.extra().ok_or(ReceiptError::NoEntry)?;
        let entry = Entry::parse(extra).map_err(ReceiptError::Entry)?;
        Ok(Self { entry, proof })
    }

    /// The receipt file, a tlog-proof.
    // Spec: RCP-01
    pub fn to_bytes(&self) -> Vec<u8> {
        self.proof.to_bytes()
    }

    /// The entry.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The receipt as the tlog-proof that it is.
    pub fn tlog_proof(&self) -> &TlogProof {
        &self.proof
    }

    /// Verifies that the entry stands in a log of the policy, in a tree that the quorum cosigned.
    ///
    /// The policy is about the log that gave the receipt, not about a log whose checkpoint the
    /// entry is: for that one see [`Receipt::verify_anchored`].
    ///
    /// # Errors
    /// [`VerifyError`]: what the receipt lacks.
    // Spec: RCP-04, RCP-05
    pub fn verify(&self, policy: &Policy) -> Result<ReceiptVerdict, VerifyError> {
        let verdict = self.proof.verify(&self.entry.leaf_hash(), policy)?;
        let checkpoint = self.proof.checkpoint();
        Ok(ReceiptVerdict {
            log: verdict.log,
            origin: checkpoint.origin().clone(),
            index: self.proof.index(),
            head: checkpoint.head(),
            entry: ProvenEntry::of(&self.entry),
            witnesses: verdict.witnesses,
        })
    }

    /// Verifies the signatures of an anchored checkpoint with the keys of the log that it is of.
    /// Without this, that the checkpoint is by that log is only the receipt's log's word.
    ///
    /// # Errors
    /// [`AnchoredError`]: the entry is of another kind, or a line by one of the keys does not
    /// verify or none is by any of them.
    // Spec: RCP-06
    pub fn verify_anchored(
        &self,
        keys: &[VerifierKey],
    ) -> Result<Vec<VerifiedSignature>, AnchoredError> {
        match &self.entry {
            Entry::Checkpoint(entry) => entry
                .checkpoint()
                .verify_signatures(keys)
                .map_err(AnchoredError::Signatures),
            Entry::Timestamp(_) | Entry::Key(_) | Entry::Clock(_) | Entry::Evidence(_) => {
                Err(AnchoredError::NotCheckpoint {
                    kind: self.entry.kind(),
                })
            }
        }
    }
}

/// What a receipt proves under a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptVerdict {
    /// The log that holds the entry, by its place in [`Policy::logs`].
    pub log: usize,
    /// That log's origin.
    pub origin: Origin,
    /// The entry's place in it.
    pub index: LeafIndex,
    /// The tree in which the entry stands.
    pub head: TreeHead,
    /// What the entry says.
    pub entry: ProvenEntry,
    /// The witnesses that cosigned the tree, with their times.
    pub witnesses: Vec<WitnessVerdict>,
}

/// What an entry says, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProvenEntry {
    /// The log of this origin had this tree head.
    Checkpoint {
        /// The anchored log's origin.
        origin: Origin,
        /// Its tree head.
        head: TreeHead,
    },
    /// The authority made a token of this.
    Timestamp(TimestampEntry),
    /// A key started or ended.
    Key(KeyEntry),
    /// The service's clock was lost or regained.
    Clock(ClockEntry),
    /// Somebody contradicted himself. What the file proves, its own keys say.
    Evidence(EvidenceEntry),
}

impl ProvenEntry {
    fn of(entry: &Entry) -> Self {
        match entry {
            Entry::Checkpoint(entry) => {
                let checkpoint = entry.checkpoint();
                Self::Checkpoint {
                    origin: checkpoint.origin().clone(),
                    head: checkpoint.head(),
                }
            }
            Entry::Timestamp(entry) => Self::Timestamp(entry.clone()),
            Entry::Key(entry) => Self::Key(*entry),
            Entry::Clock(entry) => Self::Clock(entry.clone()),
            Entry::Evidence(entry) => Self::Evidence(entry.clone()),
        }
    }

    /// The entry's kind, as its first line names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Checkpoint { .. } => "checkpoint",
            Self::Timestamp(_) => "timestamp",
            Self::Key(_) => "key",
            Self::Clock(_) => "clock",
            Self::Evidence(_) => "evidence",
        }
    }
}

/// Why no signature of an anchored log was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnchoredError {
    /// The entry is no checkpoint, so no log signed it.
    NotCheckpoint {
        /// The entry's kind.
        kind: &'static str,
    },
    /// The signature lines under the given keys.
    Signatures(SignaturesError),
}

impl fmt::Display for AnchoredError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCheckpoint { kind } => {
                write!(f, "an entry of kind {kind} has no signature of a log")
            }
            Self::Signatures(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for AnchoredError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::NotCheckpoint { .. } => None,
            Self::Signatures(error) => error.source(),
        }
    }
}

/// Why a file is no receipt. Its maker is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiptError {
    /// It is no tlog-proof.
    Proof(tlog_proof::ParseError),
    /// It is a tlog-proof without extra data, so it has no entry.
    NoEntry,
    /// Its extra data are no entry.
    Entry(EntryError),
}

impl fmt::Display for ReceiptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proof(error) => write!(f, "the receipt is no tlog-proof: {error}"),
            Self::NoEntry => f.write_str("the receipt has no extra line, so it carries no entry"),
            Self::Entry(error) => write!(f, "the receipt's extra data are no entry: {error}"),
        }
    }
}

impl core::error::Error for ReceiptError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Proof(error) => Some(error),
            Self::Entry(error) => Some(error),
            Self::NoEntry => None,
        }
    }
}
