//! Private keys for tests: each is made from one byte, and the same byte makes the same key.

use alloc::string::ToString as _;
use alloc::vec::Vec;

use ml_dsa::MlDsa44;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;

use crate::key::{KeyName, SignatureType, Signer, SignerError, VerifierKey};

/// A key in memory, of any type that this crate verifies.
pub(crate) struct TestSigner {
    pub(crate) key: VerifierKey,
    secret: Secret,
}

enum Secret {
    Ed25519(ed25519_dalek::SigningKey),
    P256(p256::ecdsa::SigningKey),
    MlDsa44(alloc::boxed::Box<ml_dsa::SigningKey<MlDsa44>>),
}

impl TestSigner {
    pub(crate) fn new(name: &str, signature_type: SignatureType, seed: u8) -> Self {
        let (secret, public_key) = match signature_type {
            SignatureType::Ecdsa => {
                let secret = p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap();
                let der = secret.verifying_key().to_public_key_der().unwrap();
                (Secret::P256(secret), der.as_bytes().to_vec())
            }
            SignatureType::MlDsa44 => {
                let secret = ml_dsa::SigningKey::<MlDsa44>::from_seed(&[seed; 32].into());
                let public_key = secret.expanded_key().verifying_key().encode().to_vec();
                (Secret::MlDsa44(secret.into()), public_key)
            }
            _ => {
                let secret = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
                let public_key = secret.verifying_key().to_bytes().to_vec();
                (Secret::Ed25519(secret), public_key)
            }
        };
        let name = KeyName::parse(name).unwrap();
        let key = VerifierKey::from_parts(name, signature_type, &public_key).unwrap();
        Self { key, secret }
    }

    pub(crate) fn note(name: &str, seed: u8) -> Self {
        Self::new(name, SignatureType::Ed25519, seed)
    }

    pub(crate) fn cosigner(name: &str, seed: u8) -> Self {
        Self::new(name, SignatureType::CosignatureV1, seed)
    }

    pub(crate) fn ml_dsa(name: &str, seed: u8) -> Self {
        Self::new(name, SignatureType::MlDsa44, seed)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        Signer::sign(self, message)
            .map_err(|error| error.to_string())
            .unwrap()
    }
}

impl Signer for TestSigner {
    fn verifier_key(&self) -> &VerifierKey {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(match &self.secret {
            Secret::Ed25519(secret) => secret.sign(message).to_bytes().to_vec(),
            Secret::P256(secret) => {
                let signature: p256::ecdsa::DerSignature = secret.sign(message);
                signature.as_bytes().to_vec()
            }
            Secret::MlDsa44(secret) => {
                let signature = secret.expanded_key().sign_deterministic(message, &[]);
                signature
                    .map_err(|_| SignerError::new("too long a context"))?
                    .encode()
                    .to_vec()
            }
        })
    }
}
