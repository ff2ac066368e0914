//! [`TimestampKey`]: the private key of a time-stamping unit, or of the authority above it.
//!
//! In scope: making, loading, saving and using keys of ECDSA on P-256, and loading and using those
//! on P-384 and of RSA with 2048 to 8192 bits, in PKCS#8 PEM. Out of scope: what is signed, which
//! `jurat_proto::tsp` says; whether the key is a certificate's, which a signature shows.
//!
//! Such a key has no name and no verifier key of a log, and is never one of a log or a witness: it
//! is for one purpose.
//!
//! Rows: `spec/keys.md`.

use std::fmt;
use std::path::Path;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1,
    ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
};
use jurat_proto::key::SignerError;
use thiserror::Error;

use crate::file;
use crate::pkcs8;
use crate::signing_key::{KeyFileError, KeyFileProblem};

/// What signs for a time-stamping unit, wherever its key is.
pub trait TimestampSigner: Send + Sync {
    /// Signs with SHA-256, on P-384 with SHA-384: ECDSA in DER, or RSA with PKCS #1 v1.5 padding.
    /// May block when
    /// [`Self::is_slow`].
    ///
    /// # Errors
    /// When the key is out of reach or refuses; nothing was signed.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError>;

    /// Whether signing takes so long that others would wait: RSA, P-384, or a device.
    fn is_slow(&self) -> bool;

    /// How many signatures may wait for a device, which then bounds itself. `None` when this
    /// machine's cores do the work.
    fn waiting_max(&self) -> Option<usize> {
        None
    }

    /// Why it could not sign now, as far as is known without trying.
    fn out_of_reach(&self) -> Option<String> {
        None
    }
}

/// The public key of a time-stamping unit, to check what its private key returns.
#[derive(Debug)]
pub struct TimestampVerifier(ParsedPublicKey);

impl TimestampVerifier {
    /// Of a `SubjectPublicKeyInfo` in DER.
    ///
    /// # Errors
    /// [`TimestampKeyError::Kind`].
    pub fn new(public_key: &[u8]) -> Result<Self, TimestampKeyError> {
        ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public_key)
            .or_else(|_| ParsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, public_key))
            .or_else(|_| ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_key))
            .map(Self)
            .map_err(|_| TimestampKeyError::Kind)
    }

    /// Checks a signature of [`TimestampSigner::sign`]. Done by the library that signs: five times
    /// faster than `jurat_proto`'s, which is what everybody else will verify with.
    ///
    /// # Errors
    /// [`WrongSignature`].
    // Spec: KEY-24
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), WrongSignature> {
        self.0
            .verify_sig(message, signature)
            .map_err(|_| WrongSignature)
    }
}

/// What was returned as a signature is none of the key's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("what it returned is no signature of this key")]
pub struct WrongSignature;

/// The private key of a time-stamping unit. `Debug` shows its kind and nothing else; there is no
/// `Clone`.
pub struct TimestampKey(Secret);

enum Secret {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(Box<rsa::KeyPair>),
}

impl TimestampKey {
    /// Makes a new P-256 key from the system's randomness.
    ///
    /// # Errors
    /// [`TimestampKeyError::Unusable`] when the system has none, or the library fails.
    pub fn generate() -> Result<Self, TimestampKeyError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map(|pair| Self(Secret::P256(pair)))
            .map_err(|_| TimestampKeyError::Unusable)
    }

    /// Loads a key from a PKCS#8 PEM file.
    ///
    /// # Errors
    /// When the file is not one that may be read (permissions, kind, size), or holds no P-256,
    /// P-384 or RSA key.
    // Spec: KEY-05, KEY-06, KEY-10
    pub fn load(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        let load = || {
            let text = file::read_secret(path)?;
            let der = pkcs8::parse_pem(&text)?;
            Self::from_pkcs8(&der).map_err(KeyFileProblem::Timestamp)
        };
        load().map_err(|problem| KeyFileError {
            path: path.to_owned(),
            problem,
        })
    }

    /// Saves a P-256 key to a new file of mode 0600. Durable on return.
    ///
    /// # Errors
    /// When the file exists (it is not touched) or cannot be written, and for keys of other kinds,
    /// which are not made here.
    // Spec: KEY-15, KEY-16
    pub fn save_new(&self, path: impl AsRef<Path>) -> Result<(), KeyFileError> {
        let path = path.as_ref();
        let save = || {
            let unusable = KeyFileProblem::Timestamp(TimestampKeyError::Unusable);
            let Secret::P256(pair) = &self.0 else {
                return Err(unusable);
            };
            let document = pair.to_pkcs8v1().map_err(|_| unusable)?;
            let pem = pkcs8::to_pem(document.as_ref());
            Ok(file::write_new_secret(path, &pem)?)
        };
        save().map_err(|problem| KeyFileError {
            path: path.to_owned(),
            problem,
        })
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, TimestampKeyError> {
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der) {
            return Ok(Self(Secret::P256(pair)));
        }
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, der) {
            return Ok(Self(Secret::P384(pair)));
        }
        let pair = rsa::KeyPair::from_pkcs8(der).map_err(|_| TimestampKeyError::Kind)?;
        Ok(Self(Secret::Rsa(Box::new(pair))))
    }

    /// The public key: a `SubjectPublicKeyInfo` in DER.
    ///
    /// # Errors
    /// [`TimestampKeyError::Unusable`] when the library cannot encode it.
    pub fn public_key(&self) -> Result<Vec<u8>, TimestampKeyError> {
        let der: Result<PublicKeyX509Der<'_>, _> = match &self.0 {
            Secret::P256(pair) | Secret::P384(pair) => pair.public_key().as_der(),
            Secret::Rsa(pair) => pair.public_key().as_der(),
        };
        der.map(|der| der.as_ref().to_vec())
            .map_err(|_| TimestampKeyError::Unusable)
    }
}

impl TimestampSigner for TimestampKey {
    // Spec: KEY-23
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let random = SystemRandom::new();
        let signature = match &self.0 {
            Secret::P256(pair) | Secret::P384(pair) => pair
                .sign(&random, message)
                .map(|signature| signature.as_ref().to_vec()),
            Secret::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map(|()| signature)
            }
        };
        signature.map_err(|_| SignerError::new("the cryptographic library did not sign"))
    }

    fn is_slow(&self) -> bool {
        matches!(self.0, Secret::P384(_) | Secret::Rsa(_))
    }
}

impl fmt::Debug for TimestampKey {
    // Spec: KEY-21
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Secret::P256(_) => "TimestampKey(P-256)",
            Secret::P384(_) => "TimestampKey(P-384)",
            Secret::Rsa(_) => "TimestampKey(RSA)",
        })
    }
}

/// Sixteen random octets, for the serial number of a certificate.
///
/// # Errors
/// [`TimestampKeyError::Unusable`] when the system has no randomness.
pub fn random_serial() -> Result<[u8; 16], TimestampKeyError> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(|_| TimestampKeyError::Unusable)?;
    Ok(serial)
}

/// Why there is no key of a time-stamping unit. The operator is at fault, or the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TimestampKeyError {
    /// It is none of P-256, P-384 or RSA of 2048 to 8192 bits, or damaged.
    #[error("it is no sound private key of P-256, P-384 or RSA of 2048 to 8192 bits")]
    Kind,
    /// aws-lc-rs could not make or use the key.
    #[error("the cryptographic library cannot make or use the key")]
    Unusable,
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: KEY-15, KEY-23, KEY-24
    #[test]
    fn a_saved_key_is_loaded_again_and_its_signatures_are_the_public_keys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("unit.key");
        let key = TimestampKey::generate().unwrap();
        key.save_new(&path).unwrap();
        assert!(key.save_new(&path).is_err());
        let again = TimestampKey::load(&path).unwrap();
        assert_eq!(again.public_key().unwrap(), key.public_key().unwrap());
        let signature = again.sign(b"a message").unwrap();
        let public = key.public_key().unwrap();
        let public = TimestampVerifier::new(&public).unwrap();
        assert_eq!(public.verify(b"a message", &signature), Ok(()));
        assert_eq!(public.verify(b"another", &signature), Err(WrongSignature));
        assert!(TimestampVerifier::new(b"no key").is_err());
        assert_eq!(format!("{again:?}"), "TimestampKey(P-256)");
        assert!(!again.is_slow());
    }
}
