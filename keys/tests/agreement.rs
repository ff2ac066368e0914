//! The two implementations of each signature check say the same about everything: `jurat_proto`'s
//! own and the one of aws-lc-rs.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failure must say where it happened"
)]

use curve25519_dalek::constants::{ED25519_BASEPOINT_TABLE, EIGHT_TORSION};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use jurat_keys::{Algorithm, SigningKey, fast_verifier};
use jurat_proto::key::{KeyName, SignatureType, Signer as _, VerifierKey};
use proptest::prelude::*;
use sha2::{Digest as _, Sha512};

fn name() -> KeyName {
    KeyName::parse("example.com/log").unwrap()
}

/// What both say, which must be the same.
fn both(key: &VerifierKey, message: &[u8], signature: &[u8]) -> bool {
    let pure = key.verify_message(message, signature);
    let fast = fast_verifier(key)
        .unwrap()
        .verify_message(message, signature);
    assert_eq!(pure, fast, "{key} {message:x?} {signature:x?}");
    pure.is_ok()
}

const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::Ed25519,
    Algorithm::CosignatureV1,
    Algorithm::MlDsa44,
    Algorithm::P256,
];

// Spec: KEY-22
#[test]
fn a_fast_key_shows_itself_as_the_same_key() {
    for algorithm in ALGORITHMS {
        let key = SigningKey::generate(name(), algorithm).unwrap();
        let (pure, fast) = (
            key.verifier_key().clone(),
            fast_verifier(key.verifier_key()).unwrap(),
        );
        assert_eq!(pure, fast);
        assert_eq!(pure.to_string(), fast.to_string());
        assert_eq!(pure.covers_extension_lines(), fast.covers_extension_lines());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // Spec: KEY-22
    #[test]
    fn both_take_what_was_signed_and_refuse_what_was_changed(
        message in proptest::collection::vec(any::<u8>(), 0..300),
        places in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        for algorithm in ALGORITHMS {
            let key = SigningKey::generate(name(), algorithm).unwrap();
            let public = key.verifier_key();
            let good = key.sign(&message).unwrap();
            prop_assert!(both(public, &message, &good));
            for (place, flip) in &places {
                let mut bad = good.clone();
                bad[place.index(good.len())] ^= flip;
                both(public, &message, &bad);
            }
            both(public, &message, &good[..cut.index(good.len())]);
            let mut other = message.clone();
            other.push(0);
            prop_assert!(!both(public, &other, &good));
        }
    }
}

/// `sB = R + kA` for a key and an `R` that need not lie in the group of prime order.
fn forge(a: &Scalar, r: &Scalar, key: &[u8; 32], r_bytes: &[u8; 32], message: &[u8]) -> Vec<u8> {
    let hash: [u8; 64] = Sha512::new()
        .chain_update(r_bytes)
        .chain_update(key)
        .chain_update(message)
        .finalize()
        .into();
    let k = Scalar::from_bytes_mod_order_wide(&hash);
    [&r_bytes[..], (r + k * a).as_bytes()].concat()
}

fn public(bytes: &[u8; 32]) -> Option<VerifierKey> {
    VerifierKey::from_parts(name(), SignatureType::Ed25519, bytes).ok()
}

/// Points `p + t` for each `t` whose order divides 8: with `t` not the identity, the cofactor
/// decides whether the equation holds.
fn with_torsion(p: &EdwardsPoint) -> Vec<[u8; 32]> {
    EIGHT_TORSION
        .iter()
        .map(|t| (p + t).compress().to_bytes())
        .collect()
}

// Spec: KEY-22, NOTE-16
#[test]
fn both_decide_alike_on_keys_and_r_of_mixed_order() {
    let (mut taken, mut refused) = (0, 0);
    let (a, r) = (Scalar::from(0x1234_5678_9abc_u64), Scalar::from(77_u64));
    for key_bytes in with_torsion(&(&a * ED25519_BASEPOINT_TABLE)) {
        let key = public(&key_bytes).unwrap();
        for r_bytes in with_torsion(&(&r * ED25519_BASEPOINT_TABLE)) {
            for n in 0..32_u8 {
                let message = [n];
                let signature = forge(&a, &r, &key_bytes, &r_bytes, &message);
                if both(&key, &message, &signature) {
                    taken += 1;
                } else {
                    refused += 1;
                }
            }
        }
    }
    // With the cofactor all of them would be taken; without it, about one in eight.
    assert!(taken > 100 && refused > 1_000, "{taken} {refused}");
}

/// All encodings that a lax reader takes for a point whose order divides 8.
fn small_order_encodings() -> Vec<[u8; 32]> {
    let mut all: Vec<[u8; 32]> = Vec::new();
    for point in EIGHT_TORSION {
        let mut bytes = point.compress().to_bytes();
        all.push(bytes);
        bytes[31] ^= 0x80;
        all.push(bytes);
    }
    // y + p for y = 0 and 1, with both signs.
    for low in [0xed, 0xee] {
        for high in [0x7f, 0xff] {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (low, high);
            all.push(bytes);
        }
    }
    all
}

// Spec: KEY-22, NOTE-16
#[test]
fn both_refuse_points_of_small_order_everywhere() {
    let a = Scalar::from(99_u64);
    let key_bytes = (&a * ED25519_BASEPOINT_TABLE).compress().to_bytes();
    let key = public(&key_bytes).unwrap();
    for encoding in small_order_encodings() {
        assert!(public(&encoding).is_none(), "{encoding:x?}");
        // s = ka satisfies the equation for R of small order, whenever the cofactor does not count.
        for n in 0..64_u8 {
            let signature = forge(&a, &Scalar::ZERO, &key_bytes, &encoding, &[n]);
            assert!(!both(&key, &[n], &signature), "{encoding:x?}");
        }
    }
}

// Spec: KEY-22, NOTE-16
#[test]
fn both_refuse_what_is_not_canonical() {
    let a = Scalar::from(4_242_u64);
    let key_bytes = (&a * ED25519_BASEPOINT_TABLE).compress().to_bytes();
    let key = public(&key_bytes).unwrap();
    // R with y from p to 2^255 - 1: no honest signer writes it, and libraries differ on it.
    for low in 0xed..=0xff_u8 {
        for high in [0x7f, 0xff] {
            let mut r_bytes = [0xff; 32];
            (r_bytes[0], r_bytes[31]) = (low, high);
            assert!(public(&r_bytes).is_none());
            let signature = forge(&a, &Scalar::ZERO, &key_bytes, &r_bytes, b"m");
            assert!(!both(&key, b"m", &signature));
        }
    }
    // s + L, s + 2L, … as long as it fits into 256 bits.
    let r = Scalar::from(3_u64);
    let r_bytes = (&r * ED25519_BASEPOINT_TABLE).compress().to_bytes();
    let mut signature = forge(&a, &r, &key_bytes, &r_bytes, b"m");
    assert!(both(&key, b"m", &signature));
    let minus_one = (-Scalar::ONE).to_bytes();
    for _ in 0..14 {
        let mut carry = 1_u16;
        for (byte, add) in signature[32..].iter_mut().zip(minus_one) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            [*byte, _] = sum.to_le_bytes();
            carry = sum >> 8;
        }
        assert_eq!(carry, 0);
        assert!(!both(&key, b"m", &signature));
    }
}
