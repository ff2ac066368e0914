//! Cosignatures, and the other signatures that this crate can make (c2sp.org/tlog-cosignature).
//!
//! ```text
//! signature      u64 time || 64 bytes of Ed25519, or 2420 of ML-DSA-44        integers big-endian
//!
//! 0x04 signs     "cosignature/v1\ntime <decimal>\n" || text of the checkpoint
//!
//! 0x06 signs     "subtree/v1\n\0"
//!             || u8 length, cosigner's name
//!             || u64 time
//!             || u8 length, origin
//!             || u64 start || u64 end || 32-byte hash
//! ```
//!
//! In scope: the messages byte for byte, making lines with a [`Signer`], verifying them. Out of
//! scope: when a cosigner may sign, and with which time: that is for who holds the key.
//!
//! What the two types say differs. An Ed25519 cosignature covers the whole text, extension lines
//! included, but not its cosigner's name; so no two cosigners may share a public key. An ML-DSA-44
//! one covers names, size and root hash, but *no extension lines*: whoever relays the checkpoint
//! can change those without breaking it.
//!
//! Rows: `spec/cosignature.md`.

use alloc::format;
use alloc::vec::Vec;
use core::fmt;

use crate::checkpoint::{Checkpoint, Origin};
use crate::hash::Hash;
use crate::key::{
    ED25519_SIGNATURE_LEN, ML_DSA_44_SIGNATURE_LEN, SignatureError, SignatureType, Signer,
    SignerError, UnixSeconds, Verified, VerifierKey,
};
use crate::note::{self, LineError, NoteError, SignatureLine};
use crate::proof::Subtree;

/// Cosigns a checkpoint, with a key of type 0x04 or 0x06.
///
/// With 0x06, time 0 makes no statement about time; with 0x04, it would state 1970. May block as
/// long as the signer does.
///
/// # Errors
/// When the key has another type, an ML-DSA-44 key meets too long an origin, or the key does not
/// sign. No line exists then.
pub fn cosign(
    checkpoint: &Checkpoint,
    time: UnixSeconds,
    signer: &dyn Signer,
) -> Result<SignatureLine, SignError> {
    let message =
        cosigned_message(signer.verifier_key(), checkpoint, time).map_err(SignError::Message)?;
    timestamped_line(signer, time, &message)
}

/// Cosigns a subtree with a key of type 0x06, and says nothing about time.
///
/// # Errors
/// As [`cosign`].
pub fn cosign_subtree(
    origin: &Origin,
    subtree: &Subtree,
    hash: &Hash,
    signer: &dyn Signer,
) -> Result<SignatureLine, SignError> {
    let time = UnixSeconds::ZERO;
    let message = cosigned_subtree_message(signer.verifier_key(), origin, subtree, hash, time)
        .map_err(SignError::Message)?;
    timestamped_line(signer, time, &message)
}

/// Signs the text of a note with a key of type 0x01, as logs sign their checkpoints.
///
/// # Errors
/// When the key has another type, the text could not stand in a note, or the key does not sign.
pub fn sign_note(text: &str, signer: &dyn Signer) -> Result<SignatureLine, SignError> {
    let key = signer.verifier_key();
    let signature_type = key.signature_type();
    if signature_type != SignatureType::Ed25519 {
        return Err(SignError::Message(MessageError::WrongType {
            signature_type,
        }));
    }
    note::check_text(text).map_err(SignError::Text)?;
    // Spec: NOTE-16
    line(key, sign_exact(signer, text.as_bytes())?)
}

/// Verifies a cosigner's line for a subtree.
///
/// # Errors
/// When the line is not by this key, or is not its cosignature of this subtree.
pub fn verify_subtree_cosignature(
    key: &VerifierKey,
    line: &SignatureLine,
    origin: &Origin,
    subtree: &Subtree,
    hash: &Hash,
) -> Result<Verified, SignatureError> {
    if !key.matches(line) {
        return Err(SignatureError::WrongKey);
    }
    let (time, signature) = split_timestamp(line.signature())?;
    let message = cosigned_subtree_message(key, origin, subtree, hash, time)
        .map_err(SignatureError::Message)?;
    key.verify_message(&message, signature)?;
    Ok(Verified {
        timestamp: stated_time(key, time),
    })
}

/// Verifies the part of a line after the key id, for [`VerifierKey::verify_checkpoint`].
pub(crate) fn verify_checkpoint(
    key: &VerifierKey,
    checkpoint: &Checkpoint,
    signature: &[u8],
) -> Result<Verified, SignatureError> {
    let (time, signature) = split_timestamp(signature)?;
    let message = cosigned_message(key, checkpoint, time).map_err(SignatureError::Message)?;
    key.verify_message(&message, signature)?;
    Ok(Verified {
        timestamp: stated_time(key, time),
    })
}

/// The bytes that a cosigner of type 0x04 or 0x06 signs for a checkpoint.
///
/// # Errors
/// When the key has another type, or an ML-DSA-44 key meets too long an origin.
pub fn cosigned_message(
    key: &VerifierKey,
    checkpoint: &Checkpoint,
    time: UnixSeconds,
) -> Result<Vec<u8>, MessageError> {
    match key.signature_type() {
        SignatureType::CosignatureV1 => {
            // Spec: COS-08, COS-09
            let text = checkpoint.to_text();
            Ok(format!("cosignature/v1\ntime {time}\n{text}").into_bytes())
        }
        SignatureType::MlDsa44 => {
            // Spec: COS-13
            let end = checkpoint.head.size.get();
            let hash = &checkpoint.head.root_hash;
            subtree_message(key, time, &checkpoint.origin, (0, end), hash)
        }
        signature_type => Err(MessageError::WrongType { signature_type }),
    }
}

/// The bytes that a cosigner of type 0x06 signs for a subtree.
///
/// # Errors
/// When the key has another type, the origin is too long, or `time` is not 0 while the start is
/// not 0 either.
pub fn cosigned_subtree_message(
    key: &VerifierKey,
    origin: &Origin,
    subtree: &Subtree,
    hash: &Hash,
    time: UnixSeconds,
) -> Result<Vec<u8>, MessageError> {
    match key.signature_type() {
        SignatureType::MlDsa44 => {
            subtree_message(key, time, origin, (subtree.start(), subtree.end()), hash)
        }
        signature_type => Err(MessageError::WrongType { signature_type }),
    }
}

/// The longest cosigner's name and the longest origin, in bytes, in the message of type 0x06.
// Spec: COS-12
pub const NAME_BYTES_MAX: usize = 255;

/// Spec: COS-11.
fn subtree_message(
    key: &VerifierKey,
    time: UnixSeconds,
    origin: &Origin,
    (start, end): (u64, u64),
    hash: &Hash,
) -> Result<Vec<u8>, MessageError> {
    // Spec: COS-10
    if start != 0 && time != UnixSeconds::ZERO {
        return Err(MessageError::TimestampNotZero {
            seconds: time.get(),
        });
    }
    let (name, origin) = (key.name().as_str().as_bytes(), origin.as_str().as_bytes());
    // Spec: COS-12. Neither can be empty, by their types.
    let name_len = u8::try_from(name.len())
        .map_err(|_| MessageError::CosignerNameTooLong { bytes: name.len() })?;
    let origin_len = u8::try_from(origin.len()).map_err(|_| MessageError::OriginTooLong {
        bytes: origin.len(),
    })?;
    let mut message = Vec::with_capacity(SUBTREE_LABEL.len() + 58 + name.len() + origin.len());
    message.extend_from_slice(SUBTREE_LABEL);
    message.push(name_len);
    message.extend_from_slice(name);
    message.extend_from_slice(&time.get().to_be_bytes());
    message.push(origin_len);
    message.extend_from_slice(origin);
    message.extend_from_slice(&start.to_be_bytes());
    message.extend_from_slice(&end.to_be_bytes());
    message.extend_from_slice(hash.as_bytes());
    Ok(message)
}

const SUBTREE_LABEL: &[u8; 12] = b"subtree/v1\n\0";

/// Spec: COS-05, COS-06, COS-07.
fn split_timestamp(signature: &[u8]) -> Result<(UnixSeconds, &[u8]), SignatureError> {
    let (time, signature) = signature
        .split_first_chunk()
        .ok_or(SignatureError::NoTimestamp {
            bytes: signature.len(),
        })?;
    let seconds = u64::from_be_bytes(*time);
    let time = UnixSeconds::new(seconds).ok_or(SignatureError::TimestampTooLarge { seconds })?;
    Ok((time, signature))
}

/// Spec: COS-10.
fn stated_time(key: &VerifierKey, time: UnixSeconds) -> Option<UnixSeconds> {
    match key.signature_type() {
        SignatureType::MlDsa44 if time == UnixSeconds::ZERO => None,
        _ => Some(time),
    }
}

fn timestamped_line(
    signer: &dyn Signer,
    time: UnixSeconds,
    message: &[u8],
) -> Result<SignatureLine, SignError> {
    // Spec: COS-05, COS-06
    let signature = sign_exact(signer, message)?;
    let mut stamped = Vec::with_capacity(8 + signature.len());
    stamped.extend_from_slice(&time.get().to_be_bytes());
    stamped.extend_from_slice(&signature);
    line(signer.verifier_key(), stamped)
}

/// A signature of the length that the key's type has: a signer is a device or a driver, and what it
/// returns is not believed.
fn sign_exact(signer: &dyn Signer, message: &[u8]) -> Result<Vec<u8>, SignError> {
    let expected = match signer.verifier_key().signature_type() {
        SignatureType::MlDsa44 => ML_DSA_44_SIGNATURE_LEN,
        _ => ED25519_SIGNATURE_LEN,
    };
    let signature = signer.sign(message).map_err(SignError::Signer)?;
    if signature.len() == expected {
        Ok(signature)
    } else {
        Err(SignError::WrongLength {
            bytes: signature.len(),
            expected,
        })
    }
}

fn line(key: &VerifierKey, signature: Vec<u8>) -> Result<SignatureLine, SignError> {
    SignatureLine::new(key.name().clone(), key.key_id(), signature).map_err(SignError::Line)
}

/// Why there is no such message. The calling code is at fault, or the operator who gave a log too
/// long an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// Keys of this type do not sign such messages.
    WrongType {
        /// The type of the key.
        signature_type: SignatureType,
    },
    /// The cosigner's name has more than [`NAME_BYTES_MAX`] bytes.
    CosignerNameTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The origin has more than [`NAME_BYTES_MAX`] bytes.
    OriginTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The subtree does not start at 0, so that nothing can be said about time.
    TimestampNotZero {
        /// The time.
        seconds: u64,
    },
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongType { signature_type } => {
                write!(f, "keys of type {signature_type} do not sign such messages")
            }
            Self::CosignerNameTooLong { bytes } => {
                write!(
                    f,
                    "the cosigner's name has {bytes} bytes; at most {NAME_BYTES_MAX} fit"
                )
            }
            Self::OriginTooLong { bytes } => write!(
                f,
                "the origin has {bytes} bytes; at most {NAME_BYTES_MAX} fit into what an \
                 ML-DSA-44 cosigner signs"
            ),
            Self::TimestampNotZero { seconds } => {
                write!(
                    f,
                    "the subtree does not start at 0, and its timestamp is {seconds}, not 0"
                )
            }
        }
    }
}

impl core::error::Error for MessageError {}

/// Why there is no signature line. Nothing that was signed has left.
#[derive(Debug)]
pub enum SignError {
    /// There is no message for this key to sign.
    Message(MessageError),
    /// The text could not stand in a note. The calling code is at fault.
    Text(NoteError),
    /// The key did not sign. The operator is at fault.
    Signer(SignerError),
    /// What the signer returned is not as long as such signatures are. The signer is at fault.
    WrongLength {
        /// Its length.
        bytes: usize,
        /// The length of such signatures.
        expected: usize,
    },
    /// The signature cannot stand in a line. The signer is at fault.
    Line(LineError),
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(error) => write!(f, "{error}"),
            Self::Text(error) => write!(f, "the text cannot be signed: {error}"),
            Self::Signer(error) => write!(f, "{error}"),
            Self::WrongLength { bytes, expected } => write!(
                f,
                "the signer returned {bytes} bytes; such signatures have {expected}"
            ),
            Self::Line(error) => write!(f, "the signer's answer makes no line: {error}"),
        }
    }
}

impl core::error::Error for SignError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Message(error) => Some(error),
            Self::Text(error) => Some(error),
            Self::Signer(error) => Some(error),
            Self::Line(error) => Some(error),
            Self::WrongLength { .. } => None,
        }
    }
}
