//! The line of a checkpoint by which its log signs the root in COSE, too.
//!
//! ```text
//! — <origin> base64(
//!     4 bytes   SHA-256(origin, U+000A, 0xff, "rfc9942 RFC9162_SHA256", public key), its start
//!     4 bytes   the key id of the log's key, of type 0x01
//!     64 bytes  its signature over Sig_structure(root_header(origin, key id, size), root)
//! )
//! ```
//!
//! A log signs so whenever it signs a checkpoint, and nowhere else: what says in COSE that a root
//! is the log's stands in the note that witnesses see, and every receipt that has the note can be
//! written as a COSE receipt, with no network and when the log is long gone. Who does not know such
//! lines ignores them (`NOTE-11`).
//!
//! # One key, two messages
//! The key that signs notes signs these. A note is UTF-8, and what is signed here begins with the
//! byte 0x84, an array of four, which begins no UTF-8 text: so no signature of the one kind is ever
//! one of the other, whoever chooses origin and root. A key of its own would be one more that
//! verifiers must be told of, and whoever owns the log would own it as well.
//!
//! In scope: signing, and finding the line. Out of scope: believing it ([`super::receipt`]).
//!
//! Rules: `spec/receipt.md`.

use alloc::vec::Vec;

use super::deterministic::push;
use super::receipt::{ALG, CWT_CLAIMS, ED_DSA, ISSUER, KEY_ID, SIZE, VDS, VDS_RFC9162_SHA256};
use super::signature1;
use crate::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use crate::cosignature::{MessageError, SignError, sign_exact};
use crate::key::{ED25519_SIGNATURE_LEN, KeyId, SignatureType, Signer, key_id};
use crate::note::SignatureLine;
use crate::tree::TreeSize;

/// Signs the root of a checkpoint in COSE, with a key that signs the log's checkpoints.
///
/// # Errors
/// [`SignError`]: the key is not of type 0x01, or does not sign.
// Spec: RCP-12
pub fn sign_root(checkpoint: &Checkpoint, signer: &dyn Signer) -> Result<SignatureLine, SignError> {
    let key = signer.verifier_key();
    let signature_type = key.signature_type();
    if signature_type != SignatureType::Ed25519 {
        return Err(SignError::Message(MessageError::WrongType {
            signature_type,
        }));
    }
    let header = root_header(&checkpoint.origin, key.key_id(), checkpoint.head.size);
    let message = signature1(&header, checkpoint.head.root_hash.as_bytes());
    let signature = sign_exact(signer, &message)?;
    // Spec: RCP-13
    let material = [IDENTIFIER, key.public_key_bytes()].concat();
    let line_id = key_id(key.name(), SignatureType::Other(0xff), &material);
    let named = [key.key_id().as_bytes(), &signature[..]].concat();
    SignatureLine::new(key.name().clone(), line_id, named).map_err(SignError::Line)
}

/// What the log signed in COSE of a checkpoint: the id of its key and the signature, neither of
/// them verified. The line is known by its length and by naming the key of another line.
// Spec: RCP-13
pub(super) fn root_signature(signed: &SignedCheckpoint) -> Option<(KeyId, Vec<u8>)> {
    let by_log = |line: &&SignatureLine| line.name().as_str() == signed.origin().as_str();
    let lines = signed.signatures().iter().filter(by_log);
    lines.clone().find_map(|line| {
        let (id, signature) = line.signature().split_first_chunk::<{ KeyId::LEN }>()?;
        let id = KeyId::new(*id);
        let names_another = line.key_id() != id && lines.clone().any(|other| other.key_id() == id);
        let is_ours = names_another && signature.len() == ED25519_SIGNATURE_LEN;
        is_ours.then(|| (id, signature.to_vec()))
    })
}

/// The protected header under which a root is signed: the algorithm, the key, and, as what is
/// signed would else say neither, the log and the size of its tree.
// Spec: RCP-11
pub(super) fn root_header(origin: &Origin, key: KeyId, size: TreeSize) -> Vec<u8> {
    let mut header = Vec::new();
    push(&mut header, |out| {
        out.map(5)?.i64(ALG)?.i64(ED_DSA)?;
        out.i64(KEY_ID)?.bytes(key.as_bytes())?;
        out.i64(CWT_CLAIMS)?
            .map(1)?
            .i64(ISSUER)?
            .str(origin.as_str())?;
        out.i64(VDS)?.i64(VDS_RFC9162_SHA256)?;
        out.i64(SIZE)?.u64(size.get()).map(drop)
    });
    header
}

/// What follows the type byte 0xff in what is hashed to the line's key id, as C2SP signed-note
/// recommends for types without a byte of their own.
// Spec: RCP-13
const IDENTIFIER: &[u8] = b"rfc9942 RFC9162_SHA256";
