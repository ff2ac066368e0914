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
            // Spec: COS-08, COS-09, COS-15
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
pub(crate) fn sign_exact(signer: &dyn Signer, message: &[u8]) -> Result<Vec<u8>, SignError> {
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

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString as _};
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::hex;
    use crate::test_signer::TestSigner;

    const TEXT: &str =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    const HASH: &str = "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62";

    fn checkpoint(text: &str) -> Checkpoint {
        Checkpoint::parse_text(text).unwrap()
    }

    fn time(seconds: u64) -> UnixSeconds {
        UnixSeconds::new(seconds).unwrap()
    }

    fn ed25519() -> TestSigner {
        TestSigner::cosigner("w.example", 1)
    }

    fn ml_dsa() -> TestSigner {
        TestSigner::ml_dsa("w.example", 2)
    }

    // Spec: COS-08, COS-09, COS-15
    #[test]
    fn the_ed25519_message_is_two_lines_and_the_whole_text() {
        let message = |text: &str, seconds| {
            let message = cosigned_message(&ed25519().key, &checkpoint(text), time(seconds));
            String::from_utf8(message.unwrap()).unwrap()
        };
        assert_eq!(
            message(TEXT, 1_679_315_147),
            format!("cosignature/v1\ntime 1679315147\n{TEXT}")
        );
        assert_eq!(message(TEXT, 0), format!("cosignature/v1\ntime 0\n{TEXT}"));
        let extended = format!("{TEXT}extension\n");
        assert_eq!(
            message(&extended, 7),
            format!("cosignature/v1\ntime 7\n{TEXT}extension\n")
        );
    }

    // Spec: COS-11, COS-13, COS-14
    #[test]
    fn the_ml_dsa_message_is_the_structure() {
        let wanted = [
            &b"subtree/v1\n\0"[..],
            b"\x09w.example",
            b"\x00\x00\x00\x00\x64\x18\x50\xcb",
            b"\x1bexample.com/behind-the-sofa",
            b"\x00\x00\x00\x00\x00\x00\x00\x00",
            b"\x00\x00\x00\x00\x01\x3e\x2d\xc3",
            &hex::decode(HASH).unwrap(),
        ]
        .concat();
        let at = time(1_679_315_147);
        let key = ml_dsa().key;
        assert_eq!(
            cosigned_message(&key, &checkpoint(TEXT), at),
            Ok(wanted.clone())
        );
        let extended = checkpoint(&format!("{TEXT}extension\n"));
        assert_eq!(cosigned_message(&key, &extended, at), Ok(wanted.clone()));
        let whole = Subtree::new(0, 20_852_163).unwrap();
        let Checkpoint { origin, head, .. } = checkpoint(TEXT);
        let message = cosigned_subtree_message(&key, &origin, &whole, &head.root_hash, at);
        assert_eq!(message, Ok(wanted));

        let part = Subtree::new(256, 512).unwrap();
        let hash = Hash::new([7; 32]);
        let wanted = [
            &b"subtree/v1\n\0\x09w.example\x00\x00\x00\x00\x00\x00\x00\x00"[..],
            b"\x1bexample.com/behind-the-sofa",
            b"\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00",
            &[7; 32],
        ]
        .concat();
        let message = cosigned_subtree_message(&key, &origin, &part, &hash, UnixSeconds::ZERO);
        assert_eq!(message, Ok(wanted));
    }

    // Spec: COS-05, COS-06
    #[test]
    fn a_line_is_the_big_endian_time_and_the_signature() {
        let at = time(0x0102_0304_0506_0708);
        for (signer, len) in [(ed25519(), 64), (ml_dsa(), 2420)] {
            let line = cosign(&checkpoint(TEXT), at, &signer).unwrap();
            let key = &signer.key;
            assert!(key.matches(&line));
            let (stamp, signature) = line.signature().split_at(8);
            assert_eq!(stamp, [1, 2, 3, 4, 5, 6, 7, 8]);
            assert_eq!(signature.len(), len);
            let message = cosigned_message(key, &checkpoint(TEXT), at).unwrap();
            assert_eq!(key.verify_message(&message, signature), Ok(()));
            let verified = Ok(Verified {
                timestamp: Some(at),
            });
            assert_eq!(key.verify_note(TEXT, line.signature()), verified);
            assert_eq!(
                key.verify_checkpoint(&checkpoint(TEXT), line.signature()),
                verified
            );
        }
    }

    // Spec: COS-06, COS-07
    #[test]
    fn what_is_no_timestamped_signature_is_refused_for_its_reason() {
        for (signer, len) in [(ed25519(), 64), (ml_dsa(), 2420)] {
            let good = cosign(&checkpoint(TEXT), UnixSeconds::MAX, &signer).unwrap();
            let good = good.signature();
            let verified = Verified {
                timestamp: Some(UnixSeconds::MAX),
            };
            assert_eq!(signer.key.verify_note(TEXT, good), Ok(verified));
            let mut late = good.to_vec();
            late[0] = 0xff;
            let wrong_len = |bytes| SignatureError::WrongLength {
                bytes,
                expected: len,
            };
            let mut earlier = good.to_vec();
            earlier[7] -= 1;
            for (signature, why) in [
                (vec![], SignatureError::NoTimestamp { bytes: 0 }),
                (good[..7].to_vec(), SignatureError::NoTimestamp { bytes: 7 }),
                (good[..8].to_vec(), wrong_len(0)),
                (good[..7 + len].to_vec(), wrong_len(len - 1)),
                ([good, &[0]].concat(), wrong_len(len + 1)),
                (
                    late,
                    SignatureError::TimestampTooLarge { seconds: u64::MAX },
                ),
                (earlier, SignatureError::Invalid),
            ] {
                assert_eq!(signer.key.verify_note(TEXT, &signature), Err(why));
            }
        }
    }

    // Spec: COS-01
    #[test]
    fn a_cosignature_is_under_a_checkpoint() {
        for signer in [ed25519(), ml_dsa()] {
            let line = cosign(&checkpoint(TEXT), time(1), &signer).unwrap();
            let answer = signer.key.verify_note("no checkpoint\n", line.signature());
            assert!(
                matches!(answer, Err(SignatureError::NotACheckpoint(_))),
                "{answer:?}"
            );
        }
    }

    // Spec: COS-10
    #[test]
    fn ml_dsa_time_zero_says_nothing_about_time_and_ed25519_time_zero_does() {
        let line = cosign(&checkpoint(TEXT), UnixSeconds::ZERO, &ml_dsa()).unwrap();
        let answer = ml_dsa().key.verify_note(TEXT, line.signature());
        assert_eq!(answer, Ok(Verified { timestamp: None }));
        let line = cosign(&checkpoint(TEXT), UnixSeconds::ZERO, &ed25519()).unwrap();
        let answer = ed25519().key.verify_note(TEXT, line.signature());
        assert_eq!(
            answer,
            Ok(Verified {
                timestamp: Some(UnixSeconds::ZERO)
            })
        );
    }

    // Spec: COS-14, COS-15
    #[test]
    fn extension_lines_are_covered_by_ed25519_and_not_by_ml_dsa() {
        let extended = format!("{TEXT}extension\n");
        for (signer, covered) in [(ed25519(), true), (ml_dsa(), false)] {
            assert_eq!(signer.key.covers_extension_lines(), covered);
            let line = cosign(&checkpoint(TEXT), time(1), &signer).unwrap();
            let answer = signer.key.verify_note(&extended, line.signature());
            assert_eq!(answer.is_err(), covered, "{answer:?}");
        }
        assert!(TestSigner::note("a", 1).key.covers_extension_lines());
    }

    // Spec: COS-10, COS-11
    #[test]
    fn a_subtree_cosignature_is_for_one_subtree_hash_and_log() {
        let signer = ml_dsa();
        let Checkpoint { origin, head, .. } = checkpoint(TEXT);
        let subtree = Subtree::new(256, 512).unwrap();
        let hash = head.root_hash;
        let line = cosign_subtree(&origin, &subtree, &hash, &signer).unwrap();
        let verify = |key: &VerifierKey, origin: &str, end, hash: Hash| {
            let origin = Origin::parse(origin).unwrap();
            let subtree = Subtree::new(256, end).unwrap();
            verify_subtree_cosignature(key, &line, &origin, &subtree, &hash)
        };
        let origin = origin.as_str();
        let verified = Ok(Verified { timestamp: None });
        let invalid = Err(SignatureError::Invalid);
        assert_eq!(verify(&signer.key, origin, 512, hash), verified);
        assert_eq!(verify(&signer.key, origin, 511, hash), invalid);
        assert_eq!(
            verify(&signer.key, origin, 512, Hash::new([0; 32])),
            invalid
        );
        assert_eq!(verify(&signer.key, "another", 512, hash), invalid);
        let stranger = TestSigner::ml_dsa("another", 2).key;
        assert_eq!(
            verify(&stranger, origin, 512, hash),
            Err(SignatureError::WrongKey)
        );

        // A time where there must be none.
        let mut stamped = line.signature().to_vec();
        stamped[7] = 5;
        let stamped = SignatureLine::new(line.name().clone(), line.key_id(), stamped).unwrap();
        let origin = Origin::parse(origin).unwrap();
        let answer = verify_subtree_cosignature(&signer.key, &stamped, &origin, &subtree, &hash);
        let why = MessageError::TimestampNotZero { seconds: 5 };
        assert_eq!(answer, Err(SignatureError::Message(why)));
    }

    // Spec: COS-13
    #[test]
    fn a_checkpoints_cosignature_is_that_of_the_whole_tree() {
        let signer = ml_dsa();
        let checkpoint = checkpoint(TEXT);
        let line = cosign(&checkpoint, time(9), &signer).unwrap();
        let whole = Subtree::new(0, 20_852_163).unwrap();
        let hash = checkpoint.head.root_hash;
        let origin = &checkpoint.origin;
        let answer = verify_subtree_cosignature(&signer.key, &line, origin, &whole, &hash);
        assert_eq!(
            answer,
            Ok(Verified {
                timestamp: Some(time(9))
            })
        );
    }

    // Spec: COS-12
    #[test]
    fn an_origin_must_fit_into_what_an_ml_dsa_cosigner_signs() {
        let with =
            |len: usize| checkpoint(&TEXT.replace("example.com/behind-the-sofa", &"o".repeat(len)));
        assert!(cosign(&with(255), time(1), &ml_dsa()).is_ok());
        let message = cosigned_message(&ml_dsa().key, &with(256), time(1));
        assert_eq!(message, Err(MessageError::OriginTooLong { bytes: 256 }));
        assert!(matches!(
            cosign(&with(256), time(1), &ml_dsa()),
            Err(SignError::Message(_))
        ));
        // The Ed25519 message has no such limit.
        assert!(cosign(&with(256), time(1), &ed25519()).is_ok());
    }

    #[test]
    fn a_key_signs_only_what_its_type_is_for() {
        let note = TestSigner::note("log", 1);
        let wrong = |signature_type| MessageError::WrongType { signature_type };
        let at = time(1);
        assert_eq!(
            cosigned_message(&note.key, &checkpoint(TEXT), at),
            Err(wrong(SignatureType::Ed25519))
        );
        assert!(matches!(
            cosign(&checkpoint(TEXT), at, &note),
            Err(SignError::Message(_))
        ));
        for signer in [
            ed25519(),
            ml_dsa(),
            TestSigner::new("a", SignatureType::Ecdsa, 1),
        ] {
            assert!(matches!(
                sign_note(TEXT, &signer),
                Err(SignError::Message(_))
            ));
        }
        let Checkpoint { origin, head, .. } = checkpoint(TEXT);
        let subtree = Subtree::new(0, 1).unwrap();
        let answer = cosign_subtree(&origin, &subtree, &head.root_hash, &ed25519());
        assert!(matches!(
            answer,
            Err(SignError::Message(MessageError::WrongType { .. }))
        ));
        for text in ["", "no newline", "control\r\n"] {
            assert!(
                matches!(sign_note(text, &note), Err(SignError::Text(_))),
                "{text:?}"
            );
        }
        // Spec: NOTE-16
        let line = sign_note(TEXT, &note).unwrap();
        assert_eq!(
            note.key.verify_note(TEXT, line.signature()),
            Ok(Verified { timestamp: None })
        );
    }

    /// A signer that returns too much, or nothing.
    struct Broken(TestSigner, Option<usize>);

    impl Signer for Broken {
        fn verifier_key(&self) -> &VerifierKey {
            &self.0.key
        }

        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignerError> {
            match self.1 {
                Some(len) => Ok(vec![0; len]),
                None => Err(SignerError::new("the token is not plugged in")),
            }
        }
    }

    #[test]
    fn what_a_signer_returns_is_not_believed() {
        for (signer, expected) in [(ed25519(), 64), (ml_dsa(), 2420)] {
            let broken = Broken(signer, Some(70));
            let answer = cosign(&checkpoint(TEXT), time(1), &broken);
            let Err(SignError::WrongLength {
                bytes: 70,
                expected: found,
            }) = answer
            else {
                panic!("{answer:?}");
            };
            assert_eq!(found, expected);
        }
        let error = cosign(&checkpoint(TEXT), time(1), &Broken(ed25519(), None)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the key did not sign: the token is not plugged in"
        );
    }

    proptest! {
        #[test]
        fn a_cosignature_is_for_one_checkpoint_and_time(
            seconds in 0..=(u64::MAX >> 1),
            other in 0..=(u64::MAX >> 1),
            size in 1..1000_u64,
        ) {
            for signer in [ed25519(), ml_dsa()] {
                let checkpoint = checkpoint(TEXT);
                let line = cosign(&checkpoint, time(seconds), &signer).unwrap();
                let answer = signer.key.verify_checkpoint(&checkpoint, line.signature()).unwrap();
                if seconds != 0 {
                    prop_assert_eq!(answer.timestamp, Some(time(seconds)));
                }
                let mut restamped = line.signature().to_vec();
                restamped[..8].copy_from_slice(&other.to_be_bytes());
                let answer = signer.key.verify_checkpoint(&checkpoint, &restamped);
                prop_assert_eq!(answer.is_ok(), other == seconds);
                let mut larger = checkpoint.clone();
                larger.head.size = crate::tree::TreeSize::new(20_852_163 + size).unwrap();
                prop_assert!(signer.key.verify_checkpoint(&larger, line.signature()).is_err());
            }
        }

        #[test]
        fn any_cosignature_is_answered(signature in prop::collection::vec(any::<u8>(), 0..2500)) {
            for signer in [ed25519(), ml_dsa()] {
                prop_assert!(signer.key.verify_note(TEXT, &signature).is_err());
            }
        }
    }
}
