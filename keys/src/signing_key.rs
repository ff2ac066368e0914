//! [`SigningKey`]: one private key, its name and the verifier key that it answers to.
//!
//! In scope: making, loading, saving and using keys of four kinds. Out of scope: which message is
//! signed; `jurat_proto::cosignature` builds it and calls [`Signer::sign`].
//!
//! Signing goes through aws-lc-rs, because it is fast and its private-key operations are written to
//! take constant time; verification everywhere is proto's. The two share no code, so that a
//! fault in either shows as a signature which the other refuses.
//!
//! Rows: `spec/keys.md`.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsBigEndian as _, AsDer as _};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, ML_DSA_44_SIGNING, PqdsaKeyPair,
};
use jurat_proto::key::{KeyError, KeyId, KeyName, SignatureType, Signer, SignerError, VerifierKey};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::file::{self, FileError};
use crate::note_signer::{self, NoteSigner, NoteSignerError, SEED_BYTES};
use crate::pkcs8::{self, PemError};
use crate::timestamp_key::TimestampKeyError;

/// A private key with its name.
///
/// The seed and the expanded key are wiped when it is dropped (`zeroize` for ours, aws-lc frees its
/// own with a wipe). `Debug` shows the verifier key and nothing else; there is no `Clone`.
pub struct SigningKey {
    verifier_key: VerifierKey,
    algorithm: Algorithm,
    secret: Secret,
}

impl SigningKey {
    /// Makes a new key from the system's randomness.
    ///
    /// # Errors
    /// When the system has no randomness to give, or the key cannot be made.
    pub fn generate(name: KeyName, algorithm: Algorithm) -> Result<Self, GenerateError> {
        if algorithm == Algorithm::P256 {
            let document = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
                .and_then(|pair| pair.to_pkcs8v1())
                .map_err(|_| GenerateError::Key(KeyTextError::Unusable))?;
            return Self::from_pkcs8(name, algorithm, document.as_ref())
                .map_err(GenerateError::Key);
        }
        let mut seed = Zeroizing::new([0_u8; SEED_BYTES]);
        getrandom::fill(seed.as_mut_slice()).map_err(|_| GenerateError::Randomness)?;
        Self::from_seed(name, algorithm, seed).map_err(GenerateError::Key)
    }

    /// Loads a key from a file in the Go note signer format, which names itself.
    ///
    /// # Errors
    /// When the file is not one that may be read (permissions, kind, size), or is not exactly one
    /// signer line whose key id is that of its key. See [`KeyFileProblem`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        let load = || {
            let text = file::read_secret(path)?;
            if text.starts_with("-----BEGIN ") {
                return Err(KeyFileProblem::NeedsName);
            }
            Ok(Self::parse_note_signer(&text)?)
        };
        load().map_err(|problem| KeyFileError {
            path: path.to_owned(),
            problem,
        })
    }

    /// Loads a key from a PKCS#8 PEM file, which does not name itself.
    ///
    /// # Errors
    /// As [`Self::load`], and when the key is not of `algorithm`.
    pub fn load_pkcs8(
        path: impl AsRef<Path>,
        name: KeyName,
        algorithm: Algorithm,
    ) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        let load = || {
            let text = file::read_secret(path)?;
            let der = pkcs8::parse_pem(&text)?;
            Ok(Self::from_pkcs8(name, algorithm, &der)?)
        };
        load().map_err(|problem| KeyFileError {
            path: path.to_owned(),
            problem,
        })
    }

    /// Parses the Go note signer format.
    ///
    /// # Errors
    /// When the text is not exactly one signer line, or its key id is not that of its key.
    pub fn parse_note_signer(text: &str) -> Result<Self, KeyTextError> {
        let signer = NoteSigner::parse(text)?;
        let key = Self::from_seed(signer.name, signer.algorithm, signer.seed)?;
        // Spec: KEY-03
        let computed = key.verifier_key.key_id();
        if computed != signer.stated_id {
            return Err(KeyTextError::WrongKeyId {
                stated: signer.stated_id,
                computed,
            });
        }
        Ok(key)
    }

    /// Saves the key to a new file of mode 0600: the Go note signer format, or PKCS#8 PEM for P-256
    /// (which that format does not carry). Durable on return.
    ///
    /// # Errors
    /// When the file exists (it is not touched) or cannot be written (what was created is removed).
    pub fn save_new(&self, path: impl AsRef<Path>) -> Result<(), KeyFileError> {
        let path = path.as_ref();
        let save = || {
            let text = match self.to_note_signer() {
                Some(line) => line,
                None => self.to_pkcs8_pem().map_err(KeyFileProblem::Text)?,
            };
            Ok(file::write_new_secret(path, &text)?)
        };
        save().map_err(|problem| KeyFileError {
            path: path.to_owned(),
            problem,
        })
    }

    /// The Go note signer line, final newline included; `None` for P-256, which that format does
    /// not carry. The caller keeps the secret; prefer [`Self::save_new`].
    pub fn to_note_signer(&self) -> Option<Zeroizing<String>> {
        // Spec: KEY-01
        let seed = match &self.secret {
            Secret::Ed25519 { seed, .. } | Secret::MlDsa44 { seed, .. } => seed,
            Secret::P256 { .. } => return None,
        };
        let type_byte = self.algorithm.signature_type().to_byte();
        let name = self.verifier_key.name();
        Some(note_signer::to_line(
            name,
            self.verifier_key.key_id(),
            type_byte,
            seed,
        ))
    }

    /// The key in PKCS#8 PEM (Ed25519: version 1; ML-DSA-44: the seed form of RFC 9881; P-256: with
    /// the public key). The caller keeps the secret.
    ///
    /// # Errors
    /// When aws-lc-rs cannot encode it.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, KeyTextError> {
        let document = match &self.secret {
            Secret::Ed25519 { pair, .. } => pair.to_pkcs8v1(),
            Secret::MlDsa44 { pair, .. } => pair.to_pkcs8v1(),
            Secret::P256 { asn1, .. } => asn1.to_pkcs8v1(),
        };
        document
            .map(|der| pkcs8::to_pem(der.as_ref()))
            .map_err(|_| KeyTextError::Unusable)
    }

    /// Which kind of key it is.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Signs with P-256 and gives the 64 bytes `r || s`; `None` for the other kinds.
    /// [`Signer::sign`] gives the DER form.
    ///
    /// # Errors
    /// When aws-lc-rs fails to sign.
    pub fn sign_p256_fixed(&self, message: &[u8]) -> Option<Result<[u8; 64], SignerError>> {
        let Secret::P256 { fixed, .. } = &self.secret else {
            return None;
        };
        Some(
            fixed
                .sign(&SystemRandom::new(), message)
                .ok()
                .and_then(|signature| <[u8; 64]>::try_from(signature.as_ref()).ok())
                .ok_or_else(|| not_signed(Unspecified)),
        )
    }

    fn from_seed(
        name: KeyName,
        algorithm: Algorithm,
        seed: Zeroizing<[u8; SEED_BYTES]>,
    ) -> Result<Self, KeyTextError> {
        let secret = match algorithm {
            Algorithm::Ed25519 | Algorithm::CosignatureV1 => {
                let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice())
                    .map_err(|_| KeyTextError::Unusable)?;
                Secret::Ed25519 { pair, seed }
            }
            Algorithm::MlDsa44 => {
                let pair = PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, seed.as_slice())
                    .map_err(|_| KeyTextError::Unusable)?;
                Secret::MlDsa44 { pair, seed }
            }
            Algorithm::P256 => return Err(KeyTextError::WrongAlgorithm { wanted: algorithm }),
        };
        Self::named(name, algorithm, secret)
    }

    fn from_pkcs8(name: KeyName, algorithm: Algorithm, der: &[u8]) -> Result<Self, KeyTextError> {
        // Spec: KEY-06
        let wrong = |_| KeyTextError::WrongAlgorithm { wanted: algorithm };
        match algorithm {
            Algorithm::Ed25519 | Algorithm::CosignatureV1 => {
                let pair = Ed25519KeyPair::from_pkcs8(der).map_err(wrong)?;
                let bytes = pair
                    .seed()
                    .and_then(|seed| seed.as_be_bytes())
                    .map_err(|_| KeyTextError::Unusable)?;
                let seed = <[u8; SEED_BYTES]>::try_from(bytes.as_ref())
                    .map_err(|_| KeyTextError::Unusable)?;
                Self::from_seed(name, algorithm, Zeroizing::new(seed))
            }
            Algorithm::MlDsa44 => {
                let parsed = PqdsaKeyPair::from_pkcs8(&ML_DSA_44_SIGNING, der).map_err(wrong)?;
                // aws-lc-rs has no getter for the seed, and writes the seed form with the seed
                // last. That is a guess about its encoding, so the key derived from the guess must
                // be the key that was parsed.
                let document = parsed.to_pkcs8v1().map_err(|_| KeyTextError::NoSeed)?;
                let seed = document
                    .as_ref()
                    .last_chunk::<SEED_BYTES>()
                    .map(|seed| Zeroizing::new(*seed))
                    .ok_or(KeyTextError::NoSeed)?;
                let key = Self::from_seed(name, algorithm, seed)?;
                if key.verifier_key.public_key_bytes() != parsed.public_key().as_ref() {
                    return Err(KeyTextError::NoSeed);
                }
                Ok(key)
            }
            Algorithm::P256 => {
                let asn1 = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der)
                    .map_err(wrong)?;
                let fixed = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
                    .map_err(wrong)?;
                Self::named(name, algorithm, Secret::P256 { asn1, fixed })
            }
        }
    }

    fn named(name: KeyName, algorithm: Algorithm, secret: Secret) -> Result<Self, KeyTextError> {
        let public_key = match &secret {
            Secret::Ed25519 { pair, .. } => pair.public_key().as_ref().to_vec(),
            Secret::MlDsa44 { pair, .. } => pair.public_key().as_ref().to_vec(),
            Secret::P256 { asn1, .. } => {
                let spki = asn1
                    .public_key()
                    .as_der()
                    .map_err(|_| KeyTextError::Unusable)?;
                spki.as_ref().to_vec()
            }
        };
        let verifier_key = VerifierKey::from_parts(name, algorithm.signature_type(), &public_key)
            .map_err(KeyTextError::Refused)?;
        Ok(Self {
            verifier_key,
            algorithm,
            secret,
        })
    }
}

impl Signer for SigningKey {
    fn verifier_key(&self) -> &VerifierKey {
        &self.verifier_key
    }

    fn only_computes(&self) -> bool {
        true
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        // Spec: KEY-20
        match &self.secret {
            Secret::Ed25519 { pair, .. } => pair
                .try_sign(message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(not_signed),
            Secret::MlDsa44 { pair, .. } => {
                let mut signature = vec![0_u8; pair.algorithm().signature_len()];
                let length = pair.sign(message, &mut signature).map_err(not_signed)?;
                signature.truncate(length);
                Ok(signature)
            }
            Secret::P256 { asn1, .. } => asn1
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(not_signed),
        }
    }
}

/// aws-lc-rs does not say why.
fn not_signed(_: Unspecified) -> SignerError {
    SignerError::new("the cryptographic library did not sign")
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Spec: KEY-21
        f.debug_tuple("SigningKey")
            .field(&format_args!("{}", self.verifier_key))
            .finish()
    }
}

/// What a key signs with, and what its signatures are called in a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519 over the note text: type 0x01, a log's own key.
    Ed25519,
    /// Ed25519 over a timestamped checkpoint: type 0x04, a cosigner's key.
    CosignatureV1,
    /// ML-DSA-44 over a timestamped checkpoint or a subtree: type 0x06, a cosigner's key.
    MlDsa44,
    /// ECDSA on P-256 with SHA-256: type 0x02; also the timestamp authority's key.
    P256,
}

impl Algorithm {
    /// The signature type of such a key's notes.
    pub fn signature_type(self) -> SignatureType {
        match self {
            Self::Ed25519 => SignatureType::Ed25519,
            Self::CosignatureV1 => SignatureType::CosignatureV1,
            Self::MlDsa44 => SignatureType::MlDsa44,
            Self::P256 => SignatureType::Ecdsa,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ed25519 => "Ed25519 (0x01)",
            Self::CosignatureV1 => "Ed25519 cosignature/v1 (0x04)",
            Self::MlDsa44 => "ML-DSA-44 (0x06)",
            Self::P256 => "ECDSA P-256 (0x02)",
        })
    }
}

/// The two P-256 pairs are one key: aws-lc-rs ties the form of the signature to the pair.
enum Secret {
    Ed25519 {
        pair: Ed25519KeyPair,
        seed: Zeroizing<[u8; SEED_BYTES]>,
    },
    MlDsa44 {
        pair: PqdsaKeyPair,
        seed: Zeroizing<[u8; SEED_BYTES]>,
    },
    P256 {
        asn1: EcdsaKeyPair,
        fixed: EcdsaKeyPair,
    },
}

/// A key file that cannot be used, and which.
#[derive(Debug, Error)]
#[error("key file {}: {problem}", path.display())]
pub struct KeyFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: KeyFileProblem,
}

/// What is wrong with a key file. The operator is at fault, or the disk; nothing changed.
#[derive(Debug, Error)]
pub enum KeyFileProblem {
    /// The file, before its content.
    #[error(transparent)]
    File(#[from] FileError),
    /// The key in it.
    #[error(transparent)]
    Text(#[from] KeyTextError),
    /// The file is PEM, which has no place for a name, and was loaded as one that names itself.
    #[error("it is in PEM form, which does not name the key; want the form PRIVATE+KEY+…")]
    NeedsName,
    /// The key of a time-stamping unit in it.
    #[error(transparent)]
    Timestamp(TimestampKeyError),
}

impl From<PemError> for KeyFileProblem {
    fn from(error: PemError) -> Self {
        Self::Text(KeyTextError::Pem(error))
    }
}

/// What is wrong with the text of a key. The operator is at fault. Carries no part of the secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyTextError {
    /// It is not a note signer line.
    #[error(transparent)]
    NoteSigner(#[from] NoteSignerError),
    /// It is not a PEM private key.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The key id in the line is not the one that follows from name, type and key: the name or the
    /// type was edited, or the line was damaged.
    #[error("it states key id {stated}, and its name, type and key give {computed}")]
    WrongKeyId {
        /// The id in the line.
        stated: KeyId,
        /// The id of the key.
        computed: KeyId,
    },
    /// The key is of another algorithm, or damaged.
    #[error("it is not a sound {wanted} private key")]
    WrongAlgorithm {
        /// The algorithm that was asked for.
        wanted: Algorithm,
    },
    /// An ML-DSA-44 key in expanded form, from which the seed cannot be had.
    #[error("it has the expanded key only; the seed form (RFC 9881) is required")]
    NoSeed,
    /// There is no verifier key for this name and public key.
    #[error("no verifier key can be made of it: {0}")]
    Refused(KeyError),
    /// aws-lc-rs refuses the key.
    #[error("the cryptographic library cannot use the key")]
    Unusable,
}

/// Why no key was made. The machine is at fault, or the operator for a name that cannot be; nothing
/// changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GenerateError {
    /// The system gave no randomness.
    #[error("the system has no randomness to give")]
    Randomness,
    /// aws-lc-rs failed, or the name cannot name such a key.
    #[error("the key could not be made: {0}")]
    Key(KeyTextError),
}
