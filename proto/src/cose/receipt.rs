//! COSE receipts (RFC 9942) for the tree of RFC 6962, which that RFC calls `RFC9162_SHA256`.
//!
//! ```text
//! 18([
//!   << { 1: -8, 4: key id, 15: { 1: origin }, 395: 1, SIZE: tree size } >>,
//!   { 396: { -1: [ << [tree size, index, [* path]] >> ] }, ? CHECKPOINT: note, ? ENTRY: entry },
//!   nil,                            the payload is the root, which the verifier computes
//!   signature                       of the log, over the root
//! ])
//! ```
//!
//! The signature is the log's word alone. A log that shows two people two trees signs two roots,
//! and nobody who has one receipt can see it. So what Jurat writes carries the cosigned checkpoint
//! as well, and a policy that asks for witnesses is met by that and by nothing else.
//!
//! In scope: receipts of inclusion with one proof, of ours and of others. Out of scope: receipts of
//! consistency; trees of other kinds; the header parameter 394, which puts receipts into the
//! message that is a log's entry: entries of Jurat's log are no COSE messages.
//!
//! Rules: `spec/receipt.md`; RFC 9942, 4.3 and 5.2; RFC 9053, 2.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use minicbor::Decoder;

use super::deterministic::{Headers, byte_string, is_deterministic, item, push};
use super::root_line::{root_header, root_signature};
use super::{CoseError, Sign1, member, signature1};
use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::entry::{Entry, EntryError};
use crate::hash::Hash;
use crate::key::{EcdsaCurve, SignatureType, VerifierKey, der_of_p256};
use crate::policy::{Policy, PolicyError, WitnessVerdict};
use crate::proof::{InclusionProof, ProofError, included_root, verify_inclusion};
use crate::receipt::Receipt;
use crate::tree::{LeafIndex, TreeHead, TreeSize};

/// A receipt of inclusion. Nothing of it is verified by parsing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoseReceipt {
    message: Sign1,
    algorithm: Algorithm,
    size: TreeSize,
    size_is_signed: bool,
    index: LeafIndex,
    proof: InclusionProof,
    checkpoint: Option<SignedCheckpoint>,
    entry: Option<Entry>,
}

/// The most that a receipt may have: a note, an entry and a path, each of the largest size.
// Spec: RCP-10
pub const COSE_RECEIPT_BYTES_MAX: usize = 256 * 1024;

pub(super) const ALG: i64 = 1;
const CRIT: i64 = 2;
pub(super) const KEY_ID: i64 = 4;
pub(super) const CWT_CLAIMS: i64 = 15;
/// Among the claims of [`CWT_CLAIMS`].
pub(super) const ISSUER: i64 = 1;
pub(super) const VDS: i64 = 395;
const VDP: i64 = 396;
/// Among the proofs of [`VDP`].
const INCLUSION: i64 = -1;
pub(super) const VDS_RFC9162_SHA256: i64 = 1;

/// Deprecated by RFC 9864 for the next, and what COSE libraries know.
pub(super) const ED_DSA: i64 = -8;
const ED25519: i64 = -19;
/// RFC 9864 has ESP256 in its place, which says the curve, too; here ES256 is P-256 alone.
const ES256: i64 = -7;
const ESP256: i64 = -9;

/// Of the range for private use. The first 32 bits of the UUID that our object identifiers have,
/// as the argument of a negative number, and the two below.
// Spec: RCP-14
pub(super) const SIZE: i64 = -1 - 0x5f23_d36d;
const CHECKPOINT: i64 = SIZE - 1;
const ENTRY: i64 = SIZE - 2;

/// How a root is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Ed25519,
    Es256,
}

impl CoseReceipt {
    /// Writes a receipt in COSE, with everything that it has.
    ///
    /// # Errors
    /// [`NoRootSignature`] when its log did not sign the root in COSE.
    // Spec: RCP-15
    pub fn new(receipt: &Receipt) -> Result<Self, NoRootSignature> {
        let tlog_proof = receipt.tlog_proof();
        let (checkpoint, proof) = (tlog_proof.checkpoint(), tlog_proof.proof());
        let (key, signature) = root_signature(checkpoint).ok_or(NoRootSignature)?;
        let (size, index) = (checkpoint.head().size, tlog_proof.index());
        let (note, entry) = (checkpoint.to_bytes(), receipt.entry().to_bytes());
        let header = root_header(checkpoint.origin(), key, size);
        let inclusion = inclusion_bytes(size, index, proof);
        let message = Sign1 {
            tagged: true,
            protected: encoded(&header),
            unprotected: [
                member(VDP, |out| {
                    out.map(1)?.i64(INCLUSION)?.array(1)?;
                    out.bytes(&inclusion).map(drop)
                }),
                member(CHECKPOINT, |out| out.bytes(&note).map(drop)),
                member(ENTRY, |out| out.bytes(&entry).map(drop)),
            ]
            .into(),
            payload: NIL.to_vec(),
            signature: encoded(&signature),
            token: None,
        };
        Ok(Self {
            message,
            algorithm: Algorithm::Ed25519,
            size,
            size_is_signed: true,
            index,
            proof: proof.clone(),
            checkpoint: Some(checkpoint.clone()),
            entry: Some(receipt.entry().clone()),
        })
    }

    /// Whether bytes claim to be one: a `COSE_Sign1` with its tag, as no other file here begins.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.first() == Some(&0xd2)
    }

    /// Reads a receipt.
    ///
    /// # Errors
    /// [`ReceiptError`]: the first thing that is wrong. Who made it is at fault.
    // Spec: RCP-10, RCP-14
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        if bytes.len() > COSE_RECEIPT_BYTES_MAX {
            return Err(ReceiptError::TooLong { bytes: bytes.len() });
        }
        let message = Sign1::parse(bytes).map_err(ReceiptError::Message)?;
        if !is_deterministic(bytes) {
            return Err(ReceiptError::NotDeterministic);
        }
        if !message.tagged {
            return Err(ReceiptError::Untagged);
        }
        if message.payload != NIL {
            return Err(ReceiptError::Attached);
        }
        let protected =
            Headers::parse(message.protected()).ok_or(ReceiptError::NotDeterministic)?;
        let algorithm = algorithm(&protected)?;
        let unprotected = message.unprotected().ok_or(ReceiptError::Header)?;
        let (size, index, proof) = one_inclusion(&unprotected)?;
        let size_is_signed = protected.value(SIZE).is_some();
        if size_is_signed && signed_size(&protected) != Some(size.get()) {
            return Err(ReceiptError::OtherSize);
        }
        let part = |label| match unprotected.value(label) {
            Some(value) => byte_string(value).ok_or(ReceiptError::Header).map(Some),
            None => Ok(None),
        };
        let checkpoint = part(CHECKPOINT)?.map(SignedCheckpoint::parse);
        let checkpoint = checkpoint.transpose().map_err(ReceiptError::Checkpoint)?;
        if let Some(checkpoint) = &checkpoint {
            let is_its = issuer(&protected) == Some(checkpoint.origin().as_str())
                && size_is_signed
                && checkpoint.head().size == size;
            if !is_its {
                return Err(ReceiptError::OtherCheckpoint);
            }
        }
        let entry = part(ENTRY)?.map(Entry::parse).transpose();
        let entry = entry.map_err(ReceiptError::Entry)?;
        Ok(Self {
            message,
            algorithm,
            size,
            size_is_signed,
            index,
            proof,
            checkpoint,
            entry,
        })
    }

    /// The receipt: of a parsed one, the bytes that were parsed.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.message.to_bytes()
    }

    /// The entry, if it is carried. Only a leaf hash that was verified makes it one of the log.
    pub fn entry(&self) -> Option<&Entry> {
        self.entry.as_ref()
    }

    /// The checkpoint, if it is carried.
    pub fn checkpoint(&self) -> Option<&SignedCheckpoint> {
        self.checkpoint.as_ref()
    }

    /// Whether the log signed the tree size. RFC 9942 does not ask for it, and then whoever hands a
    /// receipt on can change it: trees of several sizes have paths of one shape.
    // Spec: RCP-14
    pub fn size_is_signed(&self) -> bool {
        self.size_is_signed
    }

    /// The receipt that this was written from, when it carries checkpoint and entry.
    // Spec: RCP-15
    pub fn to_receipt(&self) -> Option<Receipt> {
        let (entry, checkpoint) = (self.entry.clone()?, self.checkpoint.clone()?);
        Receipt::new(entry, self.index, self.proof.clone(), checkpoint).ok()
    }

    /// Verifies that the entry with this leaf hash stands in a tree that a log of the policy has
    /// signed in COSE, and that the policy accepts: by the checkpoint inside, or, when the policy
    /// asks for no witness, without one.
    ///
    /// # Errors
    /// [`VerifyError`]: what the receipt lacks.
    // Spec: RCP-16, RCP-17
    pub fn verify(&self, leaf: &Hash, policy: &Policy) -> Result<CoseVerdict, VerifyError> {
        let (root_hash, witnesses, places) = match &self.checkpoint {
            Some(checkpoint) => {
                let head = checkpoint.head();
                verify_inclusion(self.index, leaf, &self.proof, &head)
                    .map_err(VerifyError::Inclusion)?;
                let verdict = policy
                    .verify_checkpoint(checkpoint)
                    .map_err(VerifyError::Policy)?;
                let (places, _) = policy.logs_of(checkpoint.origin());
                (head.root_hash, verdict.witnesses, places)
            }
            None if !policy.quorum_met(|_| false) => return Err(VerifyError::NoCheckpoint),
            None => {
                let root = included_root(self.index, leaf, &self.proof, self.size);
                let root = root.map_err(VerifyError::Inclusion)?;
                (root, Vec::new(), (0..policy.logs().len()).collect())
            }
        };
        let logs = policy.logs().iter().enumerate();
        let mut logs = logs.filter(|(place, _)| places.contains(place));
        let (log, known) = logs
            .find(|(_, log)| self.is_signed_by(&log.key, &root_hash))
            .ok_or(VerifyError::NotSigned)?;
        Ok(CoseVerdict {
            log,
            origin: known.key.name().to_string(),
            index: self.index,
            head: TreeHead {
                size: self.size,
                root_hash,
            },
            witnesses,
        })
    }

    // Spec: RCP-18
    fn is_signed_by(&self, key: &VerifierKey, root: &Hash) -> bool {
        let message = signature1(self.message.protected(), root.as_bytes());
        let signature = byte_string(&self.message.signature).unwrap_or_default();
        let signature = match (self.algorithm, key.signature_type()) {
            (Algorithm::Ed25519, SignatureType::Ed25519) => Some(signature.to_vec()),
            (Algorithm::Es256, SignatureType::Ecdsa)
                if key.ecdsa_curve() == Some(EcdsaCurve::P256) =>
            {
                der_of_p256(signature)
            }
            _ => None,
        };
        signature.is_some_and(|signature| key.verify_message(&message, &signature).is_ok())
    }
}

/// What a COSE receipt proves under a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoseVerdict {
    /// The log whose key signed the root, by its place in [`Policy::logs`].
    pub log: usize,
    /// The name of that key.
    pub origin: String,
    /// The entry's place in it.
    pub index: LeafIndex,
    /// The tree in which the entry stands.
    pub head: TreeHead,
    /// The witnesses that cosigned the tree, with their times.
    pub witnesses: Vec<WitnessVerdict>,
}

/// The one way to say that there is no payload.
const NIL: &[u8] = &[0xf6];

fn encoded(bytes: &[u8]) -> Vec<u8> {
    let mut item = Vec::new();
    push(&mut item, |out| out.bytes(bytes).map(drop));
    item
}

// Spec: RCP-10
fn algorithm(protected: &Headers<'_>) -> Result<Algorithm, ReceiptError> {
    let number = |label| {
        protected
            .value(label)
            .and_then(|value| Decoder::new(value).i64().ok())
    };
    if protected.value(CRIT).is_some() {
        return Err(ReceiptError::Critical);
    }
    if number(VDS) != Some(VDS_RFC9162_SHA256) {
        return Err(ReceiptError::OtherTree);
    }
    match number(ALG) {
        Some(ED_DSA | ED25519) => Ok(Algorithm::Ed25519),
        Some(ES256 | ESP256) => Ok(Algorithm::Es256),
        _ => Err(ReceiptError::Algorithm),
    }
}

fn issuer<'a>(protected: &Headers<'a>) -> Option<&'a str> {
    let claims = Headers::parse(protected.value(CWT_CLAIMS)?)?;
    Decoder::new(claims.value(ISSUER)?).str().ok()
}

fn signed_size(protected: &Headers<'_>) -> Option<u64> {
    Decoder::new(protected.value(SIZE)?).u64().ok()
}

/// The bytes of an inclusion proof. The path of a tree of one leaf is empty, for which the RFC's
/// CDDL has no form.
// Spec: RCP-11
fn inclusion_bytes(size: TreeSize, index: LeafIndex, proof: &InclusionProof) -> Vec<u8> {
    let mut bytes = Vec::new();
    push(&mut bytes, |out| {
        out.array(3)?.u64(size.get())?.u64(index.get())?;
        let hashes = proof.hashes();
        out.array(u64::try_from(hashes.len()).unwrap_or(u64::MAX))?;
        for hash in hashes {
            out.bytes(hash.as_bytes())?;
        }
        Ok(())
    });
    bytes
}

// Spec: RCP-10
fn one_inclusion(
    unprotected: &Headers<'_>,
) -> Result<(TreeSize, LeafIndex, InclusionProof), ReceiptError> {
    let proofs = unprotected.value(VDP).and_then(Headers::parse);
    let inclusions = proofs
        .filter(|proofs| proofs.len() == 1)
        .and_then(|proofs| proofs.value(INCLUSION))
        .ok_or(ReceiptError::Proofs)?;
    let mut decoder = Decoder::new(inclusions);
    if decoder.array().ok().flatten() != Some(1) {
        return Err(ReceiptError::Proofs);
    }
    let inclusion = item(&mut decoder).and_then(byte_string);
    let inclusion = inclusion.ok_or(ReceiptError::Proofs)?;
    let (size, index, hashes) = numbers_and_path(inclusion).ok_or(ReceiptError::Proofs)?;
    let proof = InclusionProof::new(hashes).map_err(ReceiptError::Path)?;
    // One form: nothing else has these bytes.
    if inclusion_bytes(size, index, &proof) != inclusion {
        return Err(ReceiptError::NotDeterministic);
    }
    Ok((size, index, proof))
}

fn numbers_and_path(inclusion: &[u8]) -> Option<(TreeSize, LeafIndex, Vec<Hash>)> {
    let mut decoder = Decoder::new(inclusion);
    decoder.array().ok()?.filter(|fields| *fields == 3)?;
    let size = TreeSize::new(decoder.u64().ok()?)?;
    let index = LeafIndex::new(decoder.u64().ok()?)?;
    let mut hashes = Vec::new();
    for _ in 0..decoder.array().ok()?? {
        let hash = decoder.bytes().ok()?;
        hashes.push(Hash::new(hash.try_into().ok()?));
    }
    Some((size, index, hashes))
}

/// Why there is no COSE receipt of a receipt: the checkpoint has no line that signs its root in
/// COSE. The log makes none, or did not when it signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRootSignature;

impl fmt::Display for NoRootSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the receipt's checkpoint has no signature of its log in COSE")
    }
}

impl core::error::Error for NoRootSignature {}

/// Why bytes are no COSE receipt that is read. Who made them is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiptError {
    /// More than [`COSE_RECEIPT_BYTES_MAX`].
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It is no `COSE_Sign1`.
    Message(CoseError),
    /// Something in it is not in the one form of deterministic CBOR, or a label is there twice.
    NotDeterministic,
    /// A receipt has the tag of a `COSE_Sign1`.
    Untagged,
    /// Its payload is inside: then its signature could be of another root than its proof.
    Attached,
    /// It has header parameters that must be understood, and are not.
    Critical,
    /// Its tree is of another kind than `RFC9162_SHA256`.
    OtherTree,
    /// It is signed by another algorithm than `EdDSA` or Ed25519, or ES256 or ESP256.
    Algorithm,
    /// A header parameter of ours is no byte string, or a label is there twice.
    Header,
    /// It has no proof of inclusion, several, or proofs of another kind.
    Proofs,
    /// Its path is longer than any.
    Path(ProofError),
    /// Its checkpoint is none.
    Checkpoint(CheckpointError),
    /// Its proof is of another tree size than is signed in COSE.
    OtherSize,
    /// Its checkpoint is of another log or size than is signed in COSE, or none is.
    OtherCheckpoint,
    /// Its entry is none.
    Entry(EntryError),
}

impl fmt::Display for ReceiptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong { bytes } => {
                return write!(
                    f,
                    "the COSE receipt has {bytes} bytes, of at most {COSE_RECEIPT_BYTES_MAX}"
                );
            }
            Self::Message(error) => return error.fmt(f),
            Self::Path(error) => return error.fmt(f),
            Self::Checkpoint(error) => {
                return write!(f, "the COSE receipt's checkpoint is none: {error}");
            }
            Self::Entry(error) => return write!(f, "the COSE receipt's entry is none: {error}"),
            Self::NotDeterministic => "the COSE receipt is not in deterministic CBOR",
            Self::Untagged => "the message has no tag, so it is no COSE receipt",
            Self::Attached => "the message has a payload; that of a COSE receipt is detached",
            Self::Critical => "the COSE receipt has critical header parameters, and none is known",
            Self::OtherTree => "the message is no COSE receipt of a tree RFC9162_SHA256",
            Self::Algorithm => {
                "the COSE receipt is signed neither with Ed25519 nor with ECDSA on P-256"
            }
            Self::Header => "the COSE receipt's unprotected header is not taken",
            Self::Proofs => "the COSE receipt has not exactly one proof, of inclusion",
            Self::OtherSize => "the COSE receipt's proof is of another tree size than is signed",
            Self::OtherCheckpoint => {
                "the COSE receipt's checkpoint is not of the log and size that are signed in COSE"
            }
        })
    }
}

impl core::error::Error for ReceiptError {}

/// Why a COSE receipt proves nothing under a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyError {
    /// Entry and path do not lead to the checkpoint's root, or cannot lead to any.
    Inclusion(ProofError),
    /// The policy does not accept the checkpoint.
    Policy(PolicyError),
    /// The policy asks for witnesses, and there is no checkpoint that they could have cosigned.
    NoCheckpoint,
    /// No key of a log of the policy has signed the root in COSE.
    NotSigned,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inclusion(error) => error.fmt(f),
            Self::Policy(error) => error.fmt(f),
            Self::NoCheckpoint => f.write_str(
                "the COSE receipt carries no checkpoint: only the log's key stands for it, and the \
                 policy asks for witnesses",
            ),
            Self::NotSigned => f.write_str(
                "no log of the policy has signed, in COSE, the root that the entry and its path \
                 lead to",
            ),
        }
    }
}

impl core::error::Error for VerifyError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Inclusion(error) => Some(error),
            Self::Policy(error) => Some(error),
            Self::NoCheckpoint | Self::NotSigned => None,
        }
    }
}
