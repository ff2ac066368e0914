//! Keys as verifiers see them: vkeys, and the one rule by which each signature type is verified.
//!
//! ```text
//! <key name>+<key id: 8 hex digits>+<base64(1-byte signature type || public key)>
//! ```
//!
//! | type | public key | signature | over |
//! | --- | --- | --- | --- |
//! | 0x01 Ed25519 | 32 bytes | 64 bytes | the note text |
//! | 0x02 ECDSA | DER `SubjectPublicKeyInfo` | DER `r`, `s` | SHA-256 of the note text |
//! | 0x04 Ed25519 cosignature | 32 bytes | 8-byte time, 64 bytes | `cosignature/v1` message |
//! | 0x06 ML-DSA-44 cosignature | 1312 bytes | 8-byte time, 2420 bytes | `subtree/v1` message |
//!
//! # Ed25519, strictly
//!
//! RFC 8032 leaves room, and libraries differ in how they use it. Here one rule holds, the same for
//! 0x01 and 0x04:
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
//! What can be said of the encodings alone is checked here; the equation is left to a library:
//! `ed25519-dalek` (`verify_strict`), or the one behind a [`Primitive`]. With those checks in front
//! nothing is left on which libraries that leave out the cofactor could differ.
//!
//! # Out of scope
//! Private keys: the [`Signer`] trait is all that this crate knows of them.
//!
//! Rows: `spec/note.md`, `spec/cosignature.md`.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::base64::{self, Base64Error};
use crate::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use crate::cosignature::{self, MessageError};
use crate::hash::sha256;
use crate::hex;
use crate::note::SignatureLine;
pub use crate::note::{KeyId, KeyName, KeyNameError, SignatureType};
pub use ecdsa::EcdsaCurve;

use ecdsa::EcdsaKey;
pub(crate) use ecdsa::der_of_p256;

/// A public key with its name, id and signature type. The key is decoded once, here; copies are
/// cheap and share it.
#[derive(Clone)]
pub struct VerifierKey(Arc<Inner>);

struct Inner {
    name: KeyName,
    key_id: KeyId,
    signature_type: SignatureType,
    bytes: Box<[u8]>,
    decoded: Decoded,
}

/// Public keys as the libraries want them, ready to verify.
enum Decoded {
    Ed25519(ed25519_dalek::VerifyingKey),
    Ecdsa(Box<EcdsaKey>),
    MlDsa44(Box<ml_dsa::VerifyingKey<ml_dsa::MlDsa44>>),
    Primitive(Box<dyn Primitive>),
}

/// The bare signature check of one public key, done by another library than this crate's own:
/// a faster one, which need not be pure Rust. See [`VerifierKey::with_primitive`].
pub trait Primitive: Send + Sync {
    /// Whether this is the key's signature over these bytes.
    ///
    /// What is checked before: a `signature` of Ed25519 has 64 bytes, `s` below the group order and
    /// an `R` that is canonical and not of small order; one of ECDSA is not the DER but `r` and
    /// `s`, each as long as the group order (on P-256, 32 bytes) and from 1 to the order less 1;
    /// one of ML-DSA-44 has its 2420 bytes, and the context is empty.
    fn verify(&self, message: &[u8], signature: &[u8]) -> bool;
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
            SignatureType::Ed25519 | SignatureType::CosignatureV1 => {
                Decoded::Ed25519(decode_ed25519(public_key)?)
            }
            SignatureType::Ecdsa => Decoded::Ecdsa(Box::new(EcdsaKey::decode(public_key)?)),
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
        let bytes = public_key.into();
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

    /// The same key, whose signatures another library checks. Name, id and everything that is shown
    /// or compared stay.
    #[must_use]
    pub fn with_primitive(&self, primitive: Box<dyn Primitive>) -> Self {
        Self(Arc::new(Inner {
            name: self.0.name.clone(),
            key_id: self.0.key_id,
            signature_type: self.0.signature_type,
            bytes: self.0.bytes.clone(),
            decoded: Decoded::Primitive(primitive),
        }))
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

    /// The curve, of an ECDSA key.
    pub fn ecdsa_curve(&self) -> Option<EcdsaCurve> {
        let ecdsa = self.0.signature_type == SignatureType::Ecdsa;
        ecdsa.then(|| EcdsaCurve::of(&self.0.bytes)).flatten()
    }

    /// Whether this key's signatures cover the extension lines of a checkpoint. Those of ML-DSA-44
    /// cosigners do not.
    // Spec: COS-14
    pub fn covers_extension_lines(&self) -> bool {
        self.0.signature_type != SignatureType::MlDsa44
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
        if !self.is_timestamped() {
            return self.verify_text(text, signature);
        }
        // Spec: COS-01
        let checkpoint = Checkpoint::parse_text(text).map_err(SignatureError::NotACheckpoint)?;
        cosignature::verify_checkpoint(self, &checkpoint, signature)
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
        if self.is_timestamped() {
            cosignature::verify_checkpoint(self, checkpoint, signature)
        } else {
            self.verify_text(&checkpoint.to_text(), signature)
        }
    }

    /// As [`VerifierKey::verify_checkpoint`], for one whose note is at hand: its text is not made
    /// again, which counts where it is long.
    ///
    /// # Errors
    /// When it is not this key's signature for this checkpoint.
    pub fn verify_signed(
        &self,
        note: &SignedCheckpoint,
        signature: &[u8],
    ) -> Result<Verified, SignatureError> {
        if self.is_timestamped() {
            cosignature::verify_checkpoint(self, note.checkpoint(), signature)
        } else {
            self.verify_text(note.note().text(), signature)
        }
    }

    /// Whether a time goes with each signature, which then is of a checkpoint (0x04 and 0x06).
    fn is_timestamped(&self) -> bool {
        let timestamped = [SignatureType::CosignatureV1, SignatureType::MlDsa44];
        timestamped.contains(&self.0.signature_type)
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
        let verified = match self.0.signature_type {
            SignatureType::Ecdsa => self.verify_ecdsa(message, signature)?,
            SignatureType::MlDsa44 => self.verify_ml_dsa_44(message, exact(signature)?)?,
            _ => self.verify_ed25519(message, exact(signature)?)?,
        };
        if verified {
            Ok(())
        } else {
            Err(SignatureError::Invalid)
        }
    }

    // Spec: NOTE-16
    fn verify_ed25519(
        &self,
        message: &[u8],
        signature: &[u8; ED25519_SIGNATURE_LEN],
    ) -> Result<bool, SignatureError> {
        if !is_strict_ed25519(signature) {
            return Err(SignatureError::Invalid);
        }
        Ok(match &self.0.decoded {
            Decoded::Ed25519(key) => {
                let signature = ed25519_dalek::Signature::from_bytes(signature);
                key.verify_strict(message, &signature).is_ok()
            }
            Decoded::Primitive(primitive) => primitive.verify(message, signature),
            Decoded::Ecdsa(_) | Decoded::MlDsa44(_) => false,
        })
    }

    // Spec: NOTE-18
    fn verify_ecdsa(&self, message: &[u8], signature: &[u8]) -> Result<bool, SignatureError> {
        match &self.0.decoded {
            Decoded::Ecdsa(key) => key.verify(message, signature),
            Decoded::Primitive(primitive) => {
                let curve = EcdsaCurve::of(&self.0.bytes).ok_or(SignatureError::Invalid)?;
                let fixed = curve.fixed_signature(signature)?;
                Ok(primitive.verify(message, &fixed))
            }
            Decoded::Ed25519(_) | Decoded::MlDsa44(_) => Ok(false),
        }
    }

    // Spec: COS-05
    fn verify_ml_dsa_44(
        &self,
        message: &[u8],
        signature: &[u8; ML_DSA_44_SIGNATURE_LEN],
    ) -> Result<bool, SignatureError> {
        Ok(match &self.0.decoded {
            Decoded::MlDsa44(key) => {
                let signature = ml_dsa::Signature::<ml_dsa::MlDsa44>::decode(signature.into())
                    .ok_or(SignatureError::Invalid)?;
                key.verify_with_context(message, &[], &signature)
            }
            Decoded::Primitive(primitive) => primitive.verify(message, signature),
            Decoded::Ed25519(_) | Decoded::Ecdsa(_) => false,
        })
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
pub(crate) fn key_id(name: &KeyName, signature_type: SignatureType, public_key: &[u8]) -> KeyId {
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
    let (y, negative) = split_point(*bytes);
    // By the encoding alone: decoding was work enough where there are 100,000 keys.
    let [one, minus_one, ..] = SMALL_ORDER_Y;
    if !is_below(&y, &FIELD_PRIME) || (negative && [one, minus_one].contains(&y)) {
        return Err(KeyError::NotCanonical);
    }
    if SMALL_ORDER_Y.contains(&y) {
        return Err(KeyError::SmallOrder);
    }
    Ok(key)
}

/// Whether `R` is canonical and not of small order, and `s` below the group order.
// Spec: NOTE-16
fn is_strict_ed25519(signature: &[u8; ED25519_SIGNATURE_LEN]) -> bool {
    let ([r, s], []) = signature.as_chunks::<32>() else {
        return false;
    };
    // The sign of x tells no order; and where x is zero, which has no sign, the order is 1 or 2.
    let (y, _) = split_point(*r);
    is_below(&y, &FIELD_PRIME) && !SMALL_ORDER_Y.contains(&y) && is_below(s, &GROUP_ORDER)
}

/// The y of an encoded point, little-endian, and whether its x is negative.
fn split_point(mut bytes: [u8; 32]) -> ([u8; 32], bool) {
    let [.., top] = &mut bytes;
    let negative = *top & 0x80 != 0;
    *top &= 0x7f;
    (bytes, negative)
}

/// Compares little-endian numbers.
fn is_below(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().rev().lt(b.iter().rev())
}

/// 2^255 - 19, little-endian.
const FIELD_PRIME: [u8; 32] = {
    let mut prime = [0xff; 32];
    prime[0] = 0xed;
    prime[31] = 0x7f;
    prime
};

/// 2^252 + 27742317777372353535851937790883648493, little-endian.
const GROUP_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The y of the eight points whose order divides 8, little-endian: of order 1 and 2, of order 4
/// (two points), of order 8 (two points each).
const SMALL_ORDER_Y: [[u8; 32]; 5] = [
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    {
        let mut minus_one = FIELD_PRIME;
        minus_one[0] = 0xec;
        minus_one
    },
    [0; 32],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];

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

    /// Whether [`Signer::sign`] only computes, for well under a millisecond, and waits for nothing:
    /// then it may run where waiting is forbidden.
    fn only_computes(&self) -> bool {
        false
    }
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
    /// The public key is not the DER `SubjectPublicKeyInfo` of a key on P-256, P-384 or P-521.
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
            Self::NotASpki => f.write_str(
                "the public key is not a SubjectPublicKeyInfo of a key on P-256, P-384 or P-521",
            ),
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

mod ecdsa;

#[cfg(test)]
mod tests;
