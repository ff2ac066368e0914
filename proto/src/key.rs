//! Keys as verifiers see them: vkeys, and the one rule by which each signature type is verified.
//!
//! ```text
//! <key name>+<key id: 8 hex digits>+<base64(1-byte signature type || public key)>
//! ```
//!
//! | type | public key | signature | over |
//! | --- | --- | --- | --- |
//! | 0x01 Ed25519 | 32 bytes | 64 bytes | the note text |
//! | 0x02 ECDSA P-256 | DER `SubjectPublicKeyInfo` | DER `ECDSA-Sig-Value` | SHA-256 of the note text |
//! | 0x04 Ed25519 cosignature | 32 bytes | 8-byte time, 64 bytes | `cosignature/v1` message |
//! | 0x06 ML-DSA-44 cosignature | 1312 bytes | 8-byte time, 2420 bytes | `subtree/v1` message |
//!
//! # Ed25519, strictly
//!
//! RFC 8032 leaves room, and libraries differ in how they use it. Here one rule holds, the same for
//! 0x01 and 0x04, and one library decides (`ed25519-dalek`, `verify_strict`):
//!
//! - the public key is the canonical encoding of a point, and the point is not of small order: both
//!   are checked when a key is parsed, so a bad key is an error of the list that holds it;
//! - `s` is less than the group order;
//! - `R` is canonically encoded and not of small order;
//! - the equation is checked without the cofactor.
//!
//! All honest signatures pass. A signature that passes here also passes in Go's `crypto/ed25519`
//! and in `BoringSSL`, which check no small orders.
//!
//! # Out of scope
//! Private keys: the [`Signer`] trait is all that this crate knows of them.
//!
//! Rows: `spec/note.md`, `spec/cosignature.md`.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};

use crate::base64::{self, Base64Error};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::cosignature::{self, MessageError};
use crate::hash::sha256;
use crate::hex;
use crate::note::SignatureLine;
pub use crate::note::{KeyId, KeyName, KeyNameError, SignatureType};

/// A public key with its name, id and signature type. The key is decoded once, here; copies are
/// cheap and share it.
#[derive(Clone)]
pub struct VerifierKey(Arc<Inner>);

struct Inner {
    name: KeyName,
    key_id: KeyId,
    signature_type: SignatureType,
    bytes: Vec<u8>,
    decoded: Decoded,
}

/// Public keys as the libraries want them, ready to verify.
enum Decoded {
    Ed25519(ed25519_dalek::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
    CosignatureV1(ed25519_dalek::VerifyingKey),
    MlDsa44(Box<ml_dsa::VerifyingKey<ml_dsa::MlDsa44>>),
}

impl VerifierKey {
    /// Parses a vkey.
    ///
    /// # Errors
    /// When the text is not exactly what [`VerifierKey`] displays: a part is missing or not
    /// canonical, the type is not one of the four, the public key is bad, or the id is not its id.
    pub fn parse(vkey: &str) -> Result<Self, KeyError> {
        if vkey.len() > VKEY_BYTES_MAX {
            return Err(KeyError::TooLong { bytes: vkey.len() });
        }
        // Spec: NOTE-20. Names have no plus, base64 may: split from the left, twice.
        let (name, rest) = vkey.split_once('+').ok_or(KeyError::MissingPart)?;
        let (id, material) = rest.split_once('+').ok_or(KeyError::MissingPart)?;
        let name = KeyName::parse(name).map_err(KeyError::Name)?;
        let id = hex::decode(id)
            .ok()
            .and_then(|id| <[u8; 4]>::try_from(id).ok());
        let stated = KeyId::new(id.ok_or(KeyError::Id)?);
        let material = base64::decode(material).map_err(KeyError::Base64)?;
        let (&type_byte, bytes) = material.split_first().ok_or(KeyError::NoMaterial)?;
        let key = Self::from_parts(name, SignatureType::from_byte(type_byte), bytes)?;
        // Spec: NOTE-15, NOTE-17, NOTE-21
        match key.key_id() {
            computed if computed == stated => Ok(key),
            computed => Err(KeyError::IdMismatch { stated, computed }),
        }
    }

    /// Puts a key together from its name, type and public key, and computes its id.
    ///
    /// # Errors
    /// When the type is not one of the four, the public key is not one of that type, or the vkey
    /// would be longer than [`VKEY_BYTES_MAX`].
    pub fn from_parts(
        name: KeyName,
        signature_type: SignatureType,
        public_key: &[u8],
    ) -> Result<Self, KeyError> {
        // Spec: COS-16
        let decoded = match signature_type {
            SignatureType::Ed25519 => Decoded::Ed25519(decode_ed25519(public_key)?),
            SignatureType::Ecdsa => Decoded::P256(decode_p256(public_key)?),
            SignatureType::CosignatureV1 => Decoded::CosignatureV1(decode_ed25519(public_key)?),
            SignatureType::MlDsa44 => {
                // Spec: COS-12. Such a key could sign nothing.
                let bytes = name.as_str().len();
                if bytes > cosignature::NAME_BYTES_MAX {
                    return Err(KeyError::CosignerNameTooLong { bytes });
                }
                Decoded::MlDsa44(decode_ml_dsa_44(public_key)?)
            }
            // Spec: NOTE-22
            SignatureType::Rfc6962 | SignatureType::Other(_) => {
                return Err(KeyError::UnsupportedType { signature_type });
            }
        };
        let key_id = key_id(&name, signature_type, public_key);
        let bytes = public_key.to_vec();
        let key = Self(Arc::new(Inner {
            name,
            key_id,
            signature_type,
            bytes,
            decoded,
        }));
        match key.vkey_len() {
            bytes if bytes > VKEY_BYTES_MAX => Err(KeyError::TooLong { bytes }),
            _ => Ok(key),
        }
    }

    /// The name.
    pub fn name(&self) -> &KeyName {
        &self.0.name
    }

    /// The id.
    pub fn key_id(&self) -> KeyId {
        self.0.key_id
    }

    /// The type.
    pub fn signature_type(&self) -> SignatureType {
        self.0.signature_type
    }

    /// The public key as it stands in the vkey, without the type byte.
    pub fn public_key_bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Whether this key's signatures cover the extension lines of a checkpoint. Those of ML-DSA-44
    /// cosigners do not.
    // Spec: COS-14
    pub fn covers_extension_lines(&self) -> bool {
        match self.0.decoded {
            Decoded::Ed25519(_) | Decoded::P256(_) | Decoded::CosignatureV1(_) => true,
            Decoded::MlDsa44(_) => false,
        }
    }

    /// Whether a line claims to be by this key: the same name *and* the same id.
    // Spec: NOTE-11
    pub fn matches(&self, line: &SignatureLine) -> bool {
        self.key_id() == line.key_id() && self.name() == line.name()
    }

    /// Verifies a signature under a note text. `signature` is what follows the key id in the line.
    ///
    /// # Errors
    /// When it is not this key's signature for this text; for timestamped types (0x04 and 0x06)
    /// also when the text is no checkpoint.
    pub fn verify_note(&self, text: &str, signature: &[u8]) -> Result<Verified, SignatureError> {
        match &self.0.decoded {
            Decoded::Ed25519(_) | Decoded::P256(_) => self.verify_text(text, signature),
            Decoded::CosignatureV1(_) | Decoded::MlDsa44(_) => {
                // Spec: COS-01
                let checkpoint =
                    Checkpoint::parse_text(text).map_err(SignatureError::NotACheckpoint)?;
                cosignature::verify_checkpoint(self, &checkpoint, signature)
            }
        }
    }

    /// As [`VerifierKey::verify_note`], for a checkpoint that is already parsed.
    ///
    /// # Errors
    /// When it is not this key's signature for this checkpoint.
    pub fn verify_checkpoint(
        &self,
        checkpoint: &Checkpoint,
        signature: &[u8],
    ) -> Result<Verified, SignatureError> {
        match &self.0.decoded {
            Decoded::Ed25519(_) | Decoded::P256(_) => {
                self.verify_text(&checkpoint.to_text(), signature)
            }
            Decoded::CosignatureV1(_) | Decoded::MlDsa44(_) => {
                cosignature::verify_checkpoint(self, checkpoint, signature)
            }
        }
    }

    fn verify_text(&self, text: &str, signature: &[u8]) -> Result<Verified, SignatureError> {
        self.verify_message(text.as_bytes(), signature)?;
        Ok(Verified { timestamp: None })
    }

    /// Verifies a bare signature, without timestamp, over bare bytes: the primitive under
    /// everything else here. What the bytes mean is the caller's business.
    ///
    /// # Errors
    /// When it is not this key's signature over these bytes.
    pub fn verify_message(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        match &self.0.decoded {
            Decoded::Ed25519(key) | Decoded::CosignatureV1(key) => {
                // Spec: NOTE-16
                let signature: &[u8; ED25519_SIGNATURE_LEN] = exact(signature)?;
                let signature = ed25519_dalek::Signature::from_bytes(signature);
                key.verify_strict(message, &signature)
                    .map_err(|_| SignatureError::Invalid)
            }
            Decoded::P256(key) => {
                // Spec: NOTE-18
                let signature = p256::ecdsa::Signature::from_der(signature)
                    .map_err(|_| SignatureError::NotDer)?;
                key.verify(message, &signature)
                    .map_err(|_| SignatureError::Invalid)
            }
            Decoded::MlDsa44(key) => {
                // Spec: COS-05
                let signature: &[u8; ML_DSA_44_SIGNATURE_LEN] = exact(signature)?;
                let signature = ml_dsa::Signature::<ml_dsa::MlDsa44>::decode(signature.into())
                    .ok_or(SignatureError::Invalid)?;
                if key.verify_with_context(message, &[], &signature) {
                    Ok(())
                } else {
                    Err(SignatureError::Invalid)
                }
            }
        }
    }

    fn vkey_len(&self) -> usize {
        let material = (1 + self.0.bytes.len()).div_ceil(3).saturating_mul(4);
        material.saturating_add(self.0.name.as_str().len() + 2 * KeyId::LEN + 2)
    }
}

/// The longest vkey that is read or made. One of ML-DSA-44 takes 1752 characters and its name.
pub const VKEY_BYTES_MAX: usize = 4096;

/// The length of an Ed25519 signature.
pub(crate) const ED25519_SIGNATURE_LEN: usize = 64;

/// The length of an ML-DSA-44 signature (FIPS 204, table 2).
pub(crate) const ML_DSA_44_SIGNATURE_LEN: usize = 2420;

/// Equal when name, type and public key are; the id follows from them.
impl PartialEq for VerifierKey {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&*self.0, &*other.0);
        a.key_id == b.key_id
            && a.signature_type == b.signature_type
            && a.name == b.name
            && a.bytes == b.bytes
    }
}

impl Eq for VerifierKey {}

impl core::hash::Hash for VerifierKey {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.0.key_id.hash(state);
        self.0.bytes.hash(state);
    }
}

/// The vkey.
impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut material = Vec::with_capacity(1 + self.0.bytes.len());
        material.push(self.0.signature_type.to_byte());
        material.extend_from_slice(&self.0.bytes);
        write!(
            f,
            "{}+{}+{}",
            self.0.name,
            self.0.key_id,
            base64::encode(&material)
        )
    }
}

/// The vkey too: it is public and says everything.
impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

impl core::str::FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(vkey: &str) -> Result<Self, KeyError> {
        Self::parse(vkey)
    }
}

/// Spec: NOTE-13, NOTE-15, NOTE-17, NOTE-23, COS-03, COS-04.
fn key_id(name: &KeyName, signature_type: SignatureType, public_key: &[u8]) -> KeyId {
    let hash = if signature_type == SignatureType::Ecdsa {
        sha256(public_key)
    } else {
        let mut bytes = Vec::with_capacity(name.as_str().len() + 2 + public_key.len());
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(&[b'\n', signature_type.to_byte()]);
        bytes.extend_from_slice(public_key);
        sha256(&bytes)
    };
    let [a, b, c, d, ..] = *hash.as_bytes();
    KeyId::new([a, b, c, d])
}

fn decode_ed25519(bytes: &[u8]) -> Result<ed25519_dalek::VerifyingKey, KeyError> {
    let bytes: &[u8; 32] = exact_key(bytes)?;
    // Spec: NOTE-16
    let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
    if key.to_edwards().compress().as_bytes() != bytes {
        return Err(KeyError::NotCanonical);
    }
    if key.is_weak() {
        return Err(KeyError::SmallOrder);
    }
    Ok(key)
}

fn decode_p256(bytes: &[u8]) -> Result<p256::ecdsa::VerifyingKey, KeyError> {
    // Spec: NOTE-19
    let key =
        p256::ecdsa::VerifyingKey::from_public_key_der(bytes).map_err(|_| KeyError::NotASpki)?;
    // Only what the library itself would write: the uncompressed point, and nothing after it. The
    // key id hashes these bytes, so a second encoding of one key would be a second key.
    match key.to_public_key_der() {
        Ok(der) if der.as_bytes() == bytes => Ok(key),
        _ => Err(KeyError::NotCanonical),
    }
}

fn decode_ml_dsa_44(bytes: &[u8]) -> Result<Box<ml_dsa::VerifyingKey<ml_dsa::MlDsa44>>, KeyError> {
    // Spec: COS-04. Every string of this length is the encoding of one key.
    let bytes: &[u8; 1312] = exact_key(bytes)?;
    Ok(Box::new(ml_dsa::VerifyingKey::decode(bytes.into())))
}

fn exact_key<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], KeyError> {
    bytes.try_into().map_err(|_| KeyError::WrongLength {
        bytes: bytes.len(),
        expected: N,
    })
}

fn exact<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], SignatureError> {
    bytes.try_into().map_err(|_| SignatureError::WrongLength {
        bytes: bytes.len(),
        expected: N,
    })
}

/// What a verified signature says beside the fact that it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// When the signer says it signed. `None` for types without a time (0x01, 0x02), and for
    /// ML-DSA-44 cosignatures whose time is 0, which say nothing about time (COS-10). A 0x04
    /// cosignature always states a time, be it 0.
    pub timestamp: Option<UnixSeconds>,
}

/// Seconds since the Unix epoch, at most 2^63 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(u64);

impl UnixSeconds {
    /// The epoch; in ML-DSA-44 cosignatures, "no statement about time".
    pub const ZERO: Self = Self(0);

    /// The latest time that there is.
    pub const MAX: Self = Self((1 << 63) - 1);

    /// Takes seconds, unless there are more than 2^63 - 1.
    // Spec: COS-07
    pub const fn new(seconds: u64) -> Option<Self> {
        if seconds <= Self::MAX.0 {
            Some(Self(seconds))
        } else {
            None
        }
    }

    /// The seconds.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The decimal number.
impl fmt::Display for UnixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A private key, wherever it is kept: in memory, in a device, on another machine.
pub trait Signer: Send + Sync {
    /// The key that verifies what this one signs.
    fn verifier_key(&self) -> &VerifierKey;

    /// Signs bare bytes and returns the bare signature, without key id and time, in the form that
    /// the type of [`Signer::verifier_key`] prescribes. May block.
    ///
    /// What to sign is for [`crate::cosignature`] to say; nothing else should call this, because a
    /// key that signs arbitrary bytes can be made to sign a fork.
    ///
    /// # Errors
    /// When the key is out of reach or refuses. Nothing was signed then.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError>;
}

/// Why a private key did not sign: what the thing that holds it said. The operator is at fault.
#[derive(Debug)]
pub struct SignerError(Box<dyn core::error::Error + Send + Sync>);

impl SignerError {
    /// Wraps what the holder of the key said.
    pub fn new(reason: impl Into<Box<dyn core::error::Error + Send + Sync>>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for SignerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key did not sign: {}", self.0)
    }
}

impl core::error::Error for SignerError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&*self.0)
    }
}

/// Why a text is not a vkey, or parts make none. Whoever wrote it into a list is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// It is longer than [`VKEY_BYTES_MAX`].
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// There are not three parts with a plus sign between them.
    MissingPart,
    /// The key name is none.
    Name(KeyNameError),
    /// The key id is not eight lower-case hex digits.
    Id,
    /// The key material is not canonical base64.
    Base64(Base64Error),
    /// The key material is empty.
    NoMaterial,
    /// The signature type is not one that this crate verifies.
    UnsupportedType {
        /// The type.
        signature_type: SignatureType,
    },
    /// The public key is not as long as keys of its type are.
    WrongLength {
        /// Its length.
        bytes: usize,
        /// The length of such keys.
        expected: usize,
    },
    /// The public key is not a point of the curve.
    NotAPoint,
    /// The public key is not in the one encoding that is accepted.
    NotCanonical,
    /// The public key is a point of small order, under which signatures prove nothing.
    SmallOrder,
    /// The public key is not the DER `SubjectPublicKeyInfo` of a P-256 key. (Keys on P-384 and
    /// P-521 are allowed by signed-note, and not supported.)
    NotASpki,
    /// The name of an ML-DSA-44 cosigner does not fit into the message it would sign.
    CosignerNameTooLong {
        /// The length of the name.
        bytes: usize,
    },
    /// The id is not the id of this name, type and public key.
    IdMismatch {
        /// The id in the text.
        stated: KeyId,
        /// The id of the key.
        computed: KeyId,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => {
                write!(
                    f,
                    "it has {bytes} bytes; at most {VKEY_BYTES_MAX} are accepted"
                )
            }
            Self::MissingPart => {
                f.write_str("a part is missing: want <name>+<8 hex digits>+<base64>")
            }
            Self::Name(error) => write!(f, "{error}"),
            Self::Id => f.write_str("the key id is not eight lower-case hex digits"),
            Self::Base64(error) => write!(f, "the key material is not base64: {error}"),
            Self::NoMaterial => f.write_str("the key material is empty"),
            Self::UnsupportedType { signature_type } => {
                write!(f, "signature type {signature_type} is not supported")
            }
            Self::WrongLength { bytes, expected } => {
                write!(
                    f,
                    "the public key has {bytes} bytes; such keys have {expected}"
                )
            }
            Self::NotAPoint => f.write_str("the public key is not a point of the curve"),
            Self::NotCanonical => f.write_str("the public key is not canonically encoded"),
            Self::SmallOrder => f.write_str("the public key is a point of small order"),
            Self::NotASpki => {
                f.write_str("the public key is not a SubjectPublicKeyInfo of a P-256 key")
            }
            Self::CosignerNameTooLong { bytes } => write!(
                f,
                "the cosigner's name has {bytes} bytes; at most {} fit into what it signs",
                cosignature::NAME_BYTES_MAX
            ),
            Self::IdMismatch { stated, computed } => {
                write!(
                    f,
                    "the key id is {stated}, and that of this key is {computed}"
                )
            }
        }
    }
}

impl core::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Name(error) => Some(error),
            Self::Base64(error) => Some(error),
            Self::TooLong { .. }
            | Self::MissingPart
            | Self::Id
            | Self::NoMaterial
            | Self::UnsupportedType { .. }
            | Self::WrongLength { .. }
            | Self::NotAPoint
            | Self::NotCanonical
            | Self::SmallOrder
            | Self::NotASpki
            | Self::CosignerNameTooLong { .. }
            | Self::IdMismatch { .. } => None,
        }
    }
}

/// Why a signature does not verify. Whoever made, or changed, what was signed is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// The signature is not as long as those of its type are.
    WrongLength {
        /// Its length, without key id and time.
        bytes: usize,
        /// The length of such signatures.
        expected: usize,
    },
    /// An ECDSA signature is not in DER.
    NotDer,
    /// There are fewer bytes than a timestamp takes.
    NoTimestamp {
        /// How many there are.
        bytes: usize,
    },
    /// The timestamp is beyond 2^63 - 1.
    TimestampTooLarge {
        /// The timestamp.
        seconds: u64,
    },
    /// A timestamped signature stands under a text that is no checkpoint.
    NotACheckpoint(CheckpointError),
    /// Keys of this type sign no such message: the origin is too long, or the type is another.
    Message(MessageError),
    /// The line is by another key.
    WrongKey,
    /// The signature is not this key's signature of this message.
    Invalid,
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongLength { bytes, expected } => {
                write!(
                    f,
                    "the signature has {bytes} bytes; such signatures have {expected}"
                )
            }
            Self::NotDer => f.write_str("the signature is not in DER"),
            Self::NoTimestamp { bytes } => {
                write!(
                    f,
                    "the signature has {bytes} bytes, which is too short for a timestamp"
                )
            }
            Self::TimestampTooLarge { seconds } => {
                write!(f, "the timestamp {seconds} is beyond 2^63 - 1")
            }
            Self::NotACheckpoint(error) => {
                write!(
                    f,
                    "the timestamped signature is not under a checkpoint: {error}"
                )
            }
            Self::Message(error) => write!(f, "{error}"),
            Self::WrongKey => f.write_str("the signature line is by another key"),
            Self::Invalid => f.write_str("the signature is not valid"),
        }
    }
}

impl core::error::Error for SignatureError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::NotACheckpoint(error) => Some(error),
            Self::Message(error) => Some(error),
            Self::WrongLength { .. }
            | Self::NotDer
            | Self::NoTimestamp { .. }
            | Self::TimestampTooLarge { .. }
            | Self::WrongKey
            | Self::Invalid => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::{String, ToString as _};

    use proptest::prelude::*;
    use sha2::Digest as _;

    use super::*;
    use crate::test_signer::TestSigner;

    /// The example of signed-note.
    const EXAMPLE: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const EXAMPLE_TEXT: &str = "This is an example message.\n";
    const EXAMPLE_LINE: &str = "\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=";

    fn name(name: &str) -> KeyName {
        KeyName::parse(name).unwrap()
    }

    // Spec: NOTE-13, NOTE-15, NOTE-16, NOTE-20, NOTE-21
    #[test]
    fn the_published_example_verifies() {
        let key = VerifierKey::parse(EXAMPLE).unwrap();
        assert_eq!(key.to_string(), EXAMPLE);
        assert_eq!(key.name().as_str(), "example.com/foo");
        assert_eq!(key.key_id().to_string(), "530d903a");
        assert_eq!(key.signature_type(), SignatureType::Ed25519);
        let line = SignatureLine::parse(EXAMPLE_LINE).unwrap();
        assert!(key.matches(&line));
        let verified = Verified { timestamp: None };
        assert_eq!(
            key.verify_note(EXAMPLE_TEXT, line.signature()),
            Ok(verified)
        );
        let changed = key.verify_note("This is an example message!\n", line.signature());
        assert_eq!(changed, Err(SignatureError::Invalid));
        assert_eq!(EXAMPLE.parse(), Ok(key.clone()));
        let bytes = key.public_key_bytes();
        assert_eq!(
            VerifierKey::from_parts(name("example.com/foo"), SignatureType::Ed25519, bytes),
            Ok(key.clone())
        );
        assert_eq!(format!("{key:?}"), format!("VerifierKey({EXAMPLE})"));
    }

    // Spec: NOTE-20, NOTE-21
    #[test]
    fn what_is_no_vkey_is_refused_for_its_reason() {
        let material = "AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        let stated = KeyId::new([0x53, 0x0d, 0x90, 0x3b]);
        let computed = KeyId::new([0x53, 0x0d, 0x90, 0x3a]);
        let space = KeyNameError::Character { character: ' ' };
        for (vkey, why) in [
            (String::new(), KeyError::MissingPart),
            ("a".into(), KeyError::MissingPart),
            ("a+530d903a".into(), KeyError::MissingPart),
            (
                format!("+530d903a+{material}"),
                KeyError::Name(KeyNameError::Empty),
            ),
            (format!("a b+530d903a+{material}"), KeyError::Name(space)),
            (format!("example.com/foo+530D903A+{material}"), KeyError::Id),
            (format!("example.com/foo+530d903+{material}"), KeyError::Id),
            (
                format!("example.com/foo+530d903a00+{material}"),
                KeyError::Id,
            ),
            (format!("example.com/foo++{material}"), KeyError::Id),
            ("example.com/foo+530d903a+".into(), KeyError::NoMaterial),
            (
                "example.com/foo+530d903a+AQ==".into(),
                KeyError::WrongLength {
                    bytes: 0,
                    expected: 32,
                },
            ),
            (
                format!("example.com/foo+530d903b+{material}"),
                KeyError::IdMismatch { stated, computed },
            ),
        ] {
            assert_eq!(VerifierKey::parse(&vkey), Err(why), "{vkey}");
        }
        for vkey in [
            format!("{EXAMPLE}\n"),
            format!("{EXAMPLE}+"),
            format!("{EXAMPLE}="),
        ] {
            let answer = VerifierKey::parse(&vkey);
            assert!(
                matches!(answer, Err(KeyError::Base64(_))),
                "{vkey}: {answer:?}"
            );
        }
        let answer = VerifierKey::parse(&format!("example.com/fop{}", &EXAMPLE[15..]));
        assert!(
            matches!(answer, Err(KeyError::IdMismatch { .. })),
            "{answer:?}"
        );
        let bytes = VKEY_BYTES_MAX + 1;
        assert_eq!(
            VerifierKey::parse(&"a".repeat(bytes)),
            Err(KeyError::TooLong { bytes })
        );
    }

    #[test]
    fn a_key_whose_vkey_would_be_too_long_cannot_be_made() {
        let key = VerifierKey::parse(EXAMPLE).unwrap();
        let make = |len: usize| {
            let name = name(&"a".repeat(len));
            VerifierKey::from_parts(name, SignatureType::Ed25519, key.public_key_bytes())
        };
        let rest = EXAMPLE.len() - "example.com/foo".len();
        let longest = make(VKEY_BYTES_MAX - rest).unwrap();
        assert_eq!(VerifierKey::parse(&longest.to_string()), Ok(longest));
        let bytes = VKEY_BYTES_MAX + 1;
        assert_eq!(make(bytes - rest), Err(KeyError::TooLong { bytes }));
    }

    // Spec: NOTE-22
    #[test]
    fn types_that_are_not_verified_are_an_error_of_the_vkey() {
        for byte in (0..=u8::MAX).filter(|byte| ![1, 2, 4, 6].contains(byte)) {
            let signature_type = SignatureType::from_byte(byte);
            let material = base64::encode(&[byte, 1, 2, 3]);
            let answer = VerifierKey::parse(&format!("a+01020304+{material}"));
            assert_eq!(answer, Err(KeyError::UnsupportedType { signature_type }));
        }
    }

    // Spec: NOTE-23
    #[test]
    fn one_public_key_has_another_id_for_each_type() {
        let note = TestSigner::note("a", 1).key;
        let cosigner = TestSigner::cosigner("a", 1).key;
        assert_eq!(note.public_key_bytes(), cosigner.public_key_bytes());
        assert_ne!(note.key_id(), cosigner.key_id());
        assert_ne!(note, cosigner);
        assert_ne!(note, TestSigner::note("b", 1).key);
        assert_eq!(note, TestSigner::note("a", 1).key);
    }

    // Spec: COS-03, COS-04, COS-16
    #[test]
    fn cosigners_keys_have_ids_of_their_own_types() {
        for (key, byte) in [
            (TestSigner::cosigner("w.example", 1).key, 4_u8),
            (TestSigner::ml_dsa("w.example", 1).key, 6),
        ] {
            let bytes = [b"w.example\n", &[byte][..], key.public_key_bytes()].concat();
            assert_eq!(key.key_id().as_bytes(), &sha256(&bytes).as_bytes()[..4]);
            let vkey = key.to_string();
            assert_eq!(VerifierKey::parse(&vkey), Ok(key));
        }
        let short = VerifierKey::from_parts(name("a"), SignatureType::MlDsa44, &[0; 1311]);
        assert_eq!(
            short,
            Err(KeyError::WrongLength {
                bytes: 1311,
                expected: 1312
            })
        );
    }

    // Spec: COS-12
    #[test]
    fn a_cosigners_name_must_fit_into_what_it_signs() {
        let make = |len: usize| {
            VerifierKey::from_parts(name(&"é".repeat(len)), SignatureType::MlDsa44, &[0; 1312])
        };
        assert!(make(127).is_ok());
        assert_eq!(make(128), Err(KeyError::CosignerNameTooLong { bytes: 256 }));
    }

    // Made with openssl(1) from a throw-away key.
    const P256_SPKI: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEQytFLqLBA4e2JAZ0/lwUq2fN7jfqLjnhdE/RIxoG2Pg6cRRkmo0yElyJpzRWxt8p+IHJtEUdVMCSBgaHFjy5QA==";
    const P256_SIGNATURE: &str = "MEUCIQC+s7BNz2aQNyGQAuw3G2F5XlAM/8SlgBdWa7OuqUesyAIgatEILU/cbKFfDWTq3T2QkxYyckGVGvVd7AWq7VGMk3Q=";
    const P256_COMPRESSED: &str =
        "MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgACQytFLqLBA4e2JAZ0/lwUq2fN7jfqLjnhdE/RIxoG2Pg=";
    const P384_SPKI: &str = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEBSGK5BCe/MZhsrm1YB44vaCXEouAfy+YoebYkrL/F0nwFhqSUhoIefHqZPrEOyXF1NQIOMAJWnZmJVBf29brs5i444IatSlS8aYkW8UjoTwcOMCwgviXF/SkIV3XdBHA";

    fn p256(spki: &[u8]) -> Result<VerifierKey, KeyError> {
        VerifierKey::from_parts(name("log.example"), SignatureType::Ecdsa, spki)
    }

    // Spec: NOTE-17, NOTE-18, NOTE-19
    #[test]
    fn a_p256_signature_by_openssl_verifies() {
        let spki = base64::decode(P256_SPKI).unwrap();
        let key = p256(&spki).unwrap();
        assert_eq!(key.key_id().as_bytes(), &sha256(&spki).as_bytes()[..4]);
        assert_eq!(VerifierKey::parse(&key.to_string()), Ok(key.clone()));
        let signature = base64::decode(P256_SIGNATURE).unwrap();
        let verified = Verified { timestamp: None };
        assert_eq!(key.verify_note(EXAMPLE_TEXT, &signature), Ok(verified));
        assert_eq!(
            key.verify_note("x\n", &signature),
            Err(SignatureError::Invalid)
        );
        let checkpoint =
            Checkpoint::parse_text("a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n").unwrap();
        let signer = TestSigner::new("a", SignatureType::Ecdsa, 1);
        let own = signer.sign(checkpoint.to_text().as_bytes());
        assert_eq!(
            signer.key.verify_checkpoint(&checkpoint, &own),
            Ok(verified)
        );
    }

    // Spec: NOTE-18
    #[test]
    fn a_p256_signature_is_strict_der() {
        let key = p256(&base64::decode(P256_SPKI).unwrap()).unwrap();
        let good = base64::decode(P256_SIGNATURE).unwrap();
        let mut trailing = good.clone();
        trailing.push(0);
        let mut indefinite = good.clone();
        indefinite[1] = 0x80;
        // The length of the sequence in two bytes, where one is enough.
        let long_form = [&[0x30, 0x81][..], &good[1..]].concat();
        // r without the zero that keeps it positive.
        let mut negative = good.clone();
        negative.remove(4);
        negative[3] -= 1;
        negative[1] -= 1;
        let zero = [0x30, 6, 2, 1, 0, 2, 1, 0].to_vec();
        let fixed = [7; 64].to_vec();
        for bad in [
            trailing,
            indefinite,
            long_form,
            negative,
            zero,
            fixed,
            alloc::vec![],
            good[..70].to_vec(),
        ] {
            assert_eq!(
                key.verify_note(EXAMPLE_TEXT, &bad),
                Err(SignatureError::NotDer),
                "{bad:x?}"
            );
        }
    }

    // Spec: NOTE-19
    #[test]
    fn a_p256_key_has_one_encoding() {
        let good = base64::decode(P256_SPKI).unwrap();
        let mut trailing = good.clone();
        trailing.push(0);
        let mut off_curve = good.clone();
        *off_curve.last_mut().unwrap() ^= 1;
        let p384 = base64::decode(P384_SPKI).unwrap();
        for bad in [
            &trailing,
            &off_curve,
            &p384,
            &good[26..].to_vec(),
            &alloc::vec![],
        ] {
            assert_eq!(p256(bad), Err(KeyError::NotASpki));
        }
        let compressed = base64::decode(P256_COMPRESSED).unwrap();
        assert_eq!(p256(&compressed), Err(KeyError::NotCanonical));
    }

    fn ed25519(public_key: &[u8]) -> Result<VerifierKey, KeyError> {
        VerifierKey::from_parts(name("a"), SignatureType::Ed25519, public_key)
    }

    fn point(hex: &str) -> [u8; 32] {
        hex::decode(hex).unwrap().try_into().unwrap()
    }

    const IDENTITY: &str = "0100000000000000000000000000000000000000000000000000000000000000";
    const ORDER_8: &str = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";

    /// The points whose order divides 8, canonically encoded.
    const SMALL_ORDER: [&str; 8] = [
        IDENTITY,
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        ORDER_8,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ];

    // Spec: NOTE-16
    #[test]
    fn keys_of_small_order_are_refused_when_parsed() {
        for encoding in SMALL_ORDER {
            assert_eq!(
                ed25519(&point(encoding)),
                Err(KeyError::SmallOrder),
                "{encoding}"
            );
        }
        // The same points with the sign of a zero x, or with y + p for y.
        for encoding in [
            "0100000000000000000000000000000000000000000000000000000000000080",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        ] {
            let answer = ed25519(&point(encoding));
            let refused = matches!(answer, Err(KeyError::NotCanonical | KeyError::NotAPoint));
            assert!(refused, "{encoding}: {answer:?}");
        }
    }

    // Spec: NOTE-16
    #[test]
    fn keys_that_are_not_canonical_are_refused_when_parsed() {
        let mut decodable = 0;
        // All encodings of y from p to 2^255 - 1, with both signs.
        for low in 0xed..=0xff_u8 {
            for high in [0x7f, 0xff] {
                let mut bytes = [0xff; 32];
                (bytes[0], bytes[31]) = (low, high);
                let answer = ed25519(&bytes);
                let refused = matches!(answer, Err(KeyError::NotCanonical | KeyError::NotAPoint));
                assert!(refused, "{bytes:x?}: {answer:?}");
                decodable += usize::from(answer == Err(KeyError::NotCanonical));
            }
        }
        // Were it 0, this test would say nothing about points that a lax parser takes.
        assert!(decodable >= 10, "{decodable}");
        let mut bytes = [0; 32];
        bytes[0] = 2;
        assert_eq!(ed25519(&bytes), Err(KeyError::NotAPoint));
        assert_eq!(
            ed25519(&[1; 33]),
            Err(KeyError::WrongLength {
                bytes: 33,
                expected: 32
            })
        );
    }

    // Spec: NOTE-16
    #[test]
    fn s_is_below_the_group_order() {
        let signer = TestSigner::note("a", 1);
        let good = signer.sign(b"text\n");
        assert!(signer.key.verify_message(b"text\n", &good).is_ok());
        let order = point("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let mut malleated = good.clone();
        let mut carry = 0;
        for (byte, add) in malleated[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            [*byte, _] = sum.to_le_bytes();
            carry = sum >> 8;
        }
        let invalid = Err(SignatureError::Invalid);
        assert_eq!(signer.key.verify_message(b"text\n", &malleated), invalid);
        for top_bit in [0x20, 0x40, 0x80] {
            let mut high = good.clone();
            high[63] |= top_bit;
            assert_eq!(signer.key.verify_message(b"text\n", &high), invalid);
        }
        for len in [0, 63, 65, 72] {
            let why = SignatureError::WrongLength {
                bytes: len,
                expected: 64,
            };
            assert_eq!(
                signer.key.verify_message(b"text\n", &alloc::vec![0; len]),
                Err(why)
            );
        }
    }

    /// `s` such that `sB = R + kA` for `A = aB` and a given `R = rB`, with `k` for the public key
    /// as it is encoded in `public_key`; and whether `k` is a multiple of 8.
    ///
    /// The scalar type is curve25519-dalek's, which is not a dependency: it is never named.
    macro_rules! forge {
        ($a:expr, $r:expr, $r_bytes:expr, $public_key:expr, $message:expr) => {{
            let zero = $a - $a;
            let one = $a * $a.invert();
            let mut hash = sha2::Sha512::new();
            hash.update($r_bytes);
            hash.update($public_key);
            hash.update($message);
            let mut k = zero;
            for byte in hash.finalize().iter().rev() {
                for bit in (0..8).rev() {
                    k = k + k + if byte >> bit & 1 == 1 { one } else { zero };
                }
            }
            let s = $r + k * $a;
            let signature = [&$r_bytes[..], &s.to_bytes()[..]].concat();
            (signature, k.to_bytes()[0] % 8 == 0)
        }};
    }

    // Spec: NOTE-16
    #[test]
    fn r_is_canonical_and_not_of_small_order() {
        let secret = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
        let public_key = secret.verifying_key().to_bytes();
        let key = ed25519(&public_key).unwrap();
        let a = secret.to_scalar();
        // An honest R first, to see that the forge works.
        let nonce = ed25519_dalek::SigningKey::from_bytes(&[2; 32]);
        let r_bytes = nonce.verifying_key().to_bytes();
        let (honest, _) = forge!(a, nonce.to_scalar(), r_bytes, public_key, b"m");
        assert_eq!(key.verify_message(b"m", &honest), Ok(()));
        // R is the identity, which satisfies the equation with s = ka: canonical, with the sign of
        // its zero x, and with y + p for y.
        for r_bytes in [
            point(IDENTITY),
            point("0100000000000000000000000000000000000000000000000000000000000080"),
            point("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        ] {
            let (signature, _) = forge!(a, a - a, r_bytes, public_key, b"m");
            assert_eq!(
                key.verify_message(b"m", &signature),
                Err(SignatureError::Invalid)
            );
        }
        // The library's lax rule takes the first of these: the strict one is what refuses it.
        let (signature, _) = forge!(a, a - a, point(IDENTITY), public_key, b"m");
        let lax = ed25519_dalek::Signature::from_slice(&signature).unwrap();
        assert!(ed25519_dalek::Verifier::verify(&secret.verifying_key(), b"m", &lax).is_ok());
    }

    // Spec: NOTE-16
    #[test]
    fn the_equation_is_checked_without_the_cofactor() {
        let secret = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
        let torsion = ed25519_dalek::VerifyingKey::from_bytes(&point(ORDER_8)).unwrap();
        let mixed = secret.verifying_key().to_edwards() + torsion.to_edwards();
        let public_key = ed25519_dalek::VerifyingKey::from(mixed).to_bytes();
        let key = ed25519(&public_key).unwrap();
        let nonce = ed25519_dalek::SigningKey::from_bytes(&[2; 32]);
        let r_bytes = nonce.verifying_key().to_bytes();
        let (mut good, mut bad) = (0, 0);
        for message in 0..=u8::MAX {
            let (signature, multiple) = forge!(
                secret.to_scalar(),
                nonce.to_scalar(),
                r_bytes,
                public_key,
                [message]
            );
            // Multiplied by the cofactor, the equation would hold for every message.
            let answer = key.verify_message(&[message], &signature);
            assert_eq!(
                answer,
                if multiple {
                    Ok(())
                } else {
                    Err(SignatureError::Invalid)
                }
            );
            *if multiple { &mut good } else { &mut bad } += 1;
        }
        assert!(good > 0 && bad > good, "{good} {bad}");
    }

    // Spec: COS-05
    #[test]
    fn a_changed_ml_dsa_signature_is_invalid() {
        let signer = TestSigner::ml_dsa("a", 1);
        let good = signer.sign(b"m");
        assert_eq!(good.len(), ML_DSA_44_SIGNATURE_LEN);
        assert_eq!(signer.key.verify_message(b"m", &good), Ok(()));
        // The challenge, the response, the hints, and the end of the hints.
        for at in [0, 31, 32, 1000, 2335, 2336, 2415, 2419] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(
                signer.key.verify_message(b"m", &bad),
                Err(SignatureError::Invalid),
                "{at}"
            );
        }
        let why = SignatureError::WrongLength {
            bytes: 2419,
            expected: 2420,
        };
        assert_eq!(signer.key.verify_message(b"m", &good[1..]), Err(why));
        assert_eq!(
            signer.key.verify_message(b"n", &good),
            Err(SignatureError::Invalid)
        );
    }

    #[test]
    fn time_has_63_bits() {
        assert_eq!(UnixSeconds::new(u64::MAX >> 1), Some(UnixSeconds::MAX));
        assert_eq!(UnixSeconds::new(1 << 63), None);
        assert_eq!(UnixSeconds::ZERO.get(), 0);
        assert_eq!(UnixSeconds::MAX.to_string(), "9223372036854775807");
    }

    proptest! {
        #[test]
        fn a_vkey_has_one_form(at in any::<prop::sample::Index>(), put in "[ -~]{0,2}", cut in 0..2_usize) {
            let mut vkey = String::from(EXAMPLE);
            let at = at.index(vkey.len());
            vkey.replace_range(at..at + cut, &put);
            if let Ok(key) = VerifierKey::parse(&vkey) {
                prop_assert_eq!(key.to_string(), vkey);
            }
        }

        #[test]
        fn any_text_and_any_key_are_answered(vkey: String, byte: u8, key: Vec<u8>) {
            let _ = VerifierKey::parse(&vkey);
            let _ = VerifierKey::from_parts(name("a"), SignatureType::from_byte(byte), &key);
        }

        #[test]
        fn any_signature_is_answered(
            signature in prop::collection::vec(any::<u8>(), 0..120),
            text: String,
        ) {
            for signer in [
                TestSigner::note("a", 1),
                TestSigner::cosigner("a", 1),
                TestSigner::new("a", SignatureType::Ecdsa, 1),
            ] {
                prop_assert!(signer.key.verify_note(&text, &signature).is_err());
            }
        }

        #[test]
        fn a_changed_signature_or_text_does_not_verify(bit in 0..512_usize, at in 0..8_usize) {
            let signer = TestSigner::note("a", 1);
            let mut signature = signer.sign(b"a text.\n");
            let mut text = *b"a text.\n";
            text[at] ^= 1;
            prop_assert!(signer.key.verify_message(&text, &signature).is_err());
            signature[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(signer.key.verify_message(b"a text.\n", &signature).is_err());
        }
    }
}
