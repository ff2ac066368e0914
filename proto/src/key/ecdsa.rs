//! ECDSA, type 0x02: three curves, one digest.
//!
//! Whatever the curve, what is signed is the SHA-256 of the message: `signed-note` leaves the type
//! to transparency-dev's implementation, which does that. On P-521 the digest has fewer bits than
//! half of the group order, and stands for itself as an integer (FIPS 186-5, 6.4.2).
//!
//! Out of scope: RFC 3161 and certificates, where the digest is named beside the signature.
//!
//! Rows: `spec/note.md` NOTE-17 to NOTE-19.

use alloc::vec::Vec;

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};

use super::{KeyError, SignatureError};
use crate::hash::sha256;

/// A curve of an ECDSA key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EcdsaCurve {
    /// NIST P-256, which signed-note recommends.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
}

impl EcdsaCurve {
    /// That of a public key in the one encoding that [`EcdsaKey::decode`] takes: each curve's has
    /// a length of its own.
    pub(super) fn of(spki: &[u8]) -> Option<Self> {
        match spki.len() {
            91 => Some(Self::P256),
            120 => Some(Self::P384),
            158 => Some(Self::P521),
            _ => None,
        }
    }

    /// `r` and `s` of a signature in DER, each as long as the group order.
    pub(super) fn fixed_signature(self, der: &[u8]) -> Result<Vec<u8>, SignatureError> {
        let not_der = |_| SignatureError::NotDer;
        Ok(match self {
            Self::P256 => p256::ecdsa::Signature::from_der(der)
                .map_err(not_der)?
                .to_bytes()
                .to_vec(),
            Self::P384 => p384::ecdsa::Signature::from_der(der)
                .map_err(not_der)?
                .to_bytes()
                .to_vec(),
            Self::P521 => p521::ecdsa::Signature::from_der(der)
                .map_err(not_der)?
                .to_bytes()
                .to_vec(),
        })
    }
}

/// The DER of a P-256 signature whose `r` and `s` stand one after the other, as COSE has them.
pub(crate) fn der_of_p256(fixed: &[u8]) -> Option<Vec<u8>> {
    let signature = p256::ecdsa::Signature::from_slice(fixed).ok()?;
    Some(signature.to_der().as_bytes().to_vec())
}

/// A public key, ready to verify.
pub(super) enum EcdsaKey {
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    P521(p521::ecdsa::VerifyingKey),
}

impl EcdsaKey {
    /// Reads a DER `SubjectPublicKeyInfo`.
    // Spec: NOTE-19
    pub(super) fn decode(spki: &[u8]) -> Result<Self, KeyError> {
        let not_spki = |_| KeyError::NotASpki;
        // One of the three takes it; the others see another curve.
        let (key, der) = if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_der(spki) {
            let der = key.to_public_key_der();
            (Self::P256(key), der)
        } else if let Ok(key) = p384::ecdsa::VerifyingKey::from_public_key_der(spki) {
            let der = key.to_public_key_der();
            (Self::P384(key), der)
        } else {
            let key = p521::ecdsa::VerifyingKey::from_public_key_der(spki).map_err(not_spki)?;
            let der = key.to_public_key_der();
            (Self::P521(key), der)
        };
        // Only what the library itself would write: the uncompressed point, and nothing after it.
        // The key id hashes these bytes, so a second encoding of one key would be a second key.
        match der {
            Ok(der) if der.as_bytes() == spki => Ok(key),
            _ => Err(KeyError::NotCanonical),
        }
    }

    /// Whether this is the key's signature over the message.
    // Spec: NOTE-18
    pub(super) fn verify(&self, message: &[u8], der: &[u8]) -> Result<bool, SignatureError> {
        let not_der = |_| SignatureError::NotDer;
        let digest = sha256(message);
        let digest = digest.as_bytes();
        Ok(match self {
            Self::P256(key) => {
                let signature = p256::ecdsa::Signature::from_der(der).map_err(not_der)?;
                key.verify_prehash(digest, &signature).is_ok()
            }
            Self::P384(key) => {
                let signature = p384::ecdsa::Signature::from_der(der).map_err(not_der)?;
                key.verify_prehash(digest, &signature).is_ok()
            }
            Self::P521(key) => {
                let signature = p521::ecdsa::Signature::from_der(der).map_err(not_der)?;
                key.verify_prehash(digest, &signature).is_ok()
            }
        })
    }
}
