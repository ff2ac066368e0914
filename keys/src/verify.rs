//! Verification by aws-lc-rs, for processes that verify thousands of signatures a second.
//!
//! The rule stays `jurat_proto`'s: it checks encodings first, with the same code whichever library
//! goes on, and the vkey was parsed by it. Only the equation is computed elsewhere, in about two
//! thirds of the time for Ed25519 and a sixth for ML-DSA-44. ECDSA keys on P-384 and P-521 are too
//! rare among logs to be worth a second implementation, and stay as they are. That the two agree is
//! tested in `tests/agreement.rs`.

use std::fmt;

use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ML_DSA_44, ParsedPublicKey};
use jurat_proto::key::{EcdsaCurve, Primitive, SignatureType, VerifierKey};

/// The same key, whose signatures aws-lc-rs checks, unless it is an ECDSA key on another curve than
/// P-256.
///
/// # Errors
/// The library does not take a public key that `jurat_proto` took: one of the two is wrong.
// Spec: KEY-22
pub fn fast_verifier(key: &VerifierKey) -> Result<VerifierKey, FastKeyError> {
    let refused = |reason| FastKeyError {
        key: key.clone(),
        reason,
    };
    if let Some(EcdsaCurve::P384 | EcdsaCurve::P521) = key.ecdsa_curve() {
        return Ok(key.clone());
    }
    let bytes = key.public_key_bytes();
    let parsed = match key.signature_type() {
        SignatureType::Ecdsa => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes),
        SignatureType::MlDsa44 => ParsedPublicKey::new(&ML_DSA_44, bytes),
        _ => ParsedPublicKey::new(&ED25519, bytes),
    };
    let primitive = Fast(parsed.map_err(refused)?);
    Ok(key.with_primitive(Box::new(primitive)))
}

struct Fast(ParsedPublicKey);

impl Primitive for Fast {
    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }
}

/// aws-lc-rs does not take a verifier key. A defect of this program, never of its input.
#[derive(Debug, Clone)]
pub struct FastKeyError {
    key: VerifierKey,
    reason: KeyRejected,
}

impl fmt::Display for FastKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the cryptographic library does not take {}: {}",
            self.key, self.reason
        )
    }
}

impl std::error::Error for FastKeyError {}
