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
use jurat_proto::checkpoint::{Checkpoint, ExtensionLine, Origin, SignedCheckpoint};
use jurat_proto::cosignature::{cosign, sign_note};
use jurat_proto::evidence::{Evidence, KnownKeys, Standing};
use jurat_proto::hash::leaf_hash;
use jurat_proto::key::{KeyName, SignatureType, Signer as _, UnixSeconds, VerifierKey};
use jurat_proto::note::SignatureLine;
use jurat_proto::tree::{TreeHead, TreeSize};
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

/// The longest that notes are, and one byte at either end of it changed.
// Spec: KEY-22
#[test]
fn both_decide_alike_about_the_longest_texts() {
    let message: Vec<u8> = (0..128 * 1024_u32).map(|at| at.to_le_bytes()[0]).collect();
    for algorithm in ALGORITHMS {
        let key = SigningKey::generate(name(), algorithm).unwrap();
        let public = key.verifier_key();
        let good = key.sign(&message).unwrap();
        assert!(both(public, &message, &good));
        for place in [0, message.len() / 2, message.len() - 1] {
            let mut other = message.clone();
            other[place] ^= 1;
            assert!(!both(public, &other, &good));
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

/// `r` and `s` as strict DER.
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let bytes = &bytes[zeros.min(bytes.len() - 1)..];
        let sign = if bytes[0] & 0x80 == 0 {
            &[][..]
        } else {
            &[0][..]
        };
        let length = u8::try_from(sign.len() + bytes.len()).unwrap();
        [&[2, length][..], sign, bytes].concat()
    };
    let both = [integer(r), integer(s)].concat();
    [&[0x30, u8::try_from(both.len()).unwrap()][..], &both].concat()
}

/// The order of the group of P-256 (FIPS 186-5; SP 800-186, 3.2.1.3).
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// `a + b` or `a - b` of 256 bits, without the carry.
fn plus(a: &[u8], b: &[u8], minus: bool) -> [u8; 32] {
    let mut sum = [0; 32];
    let mut carry = i16::from(minus);
    for (place, digit) in sum.iter_mut().enumerate().rev() {
        let other = if minus { !b[place] } else { b[place] };
        let [high, low] = (i16::from(a[place]) + i16::from(other) + carry).to_be_bytes();
        *digit = low;
        carry = i16::from(high);
    }
    sum
}

// Spec: KEY-22, NOTE-18
#[test]
fn both_decide_alike_on_the_edges_of_p256() {
    let key = SigningKey::generate(name(), Algorithm::P256).unwrap();
    let public = key.verifier_key();
    let zero = [0; 32];
    let mut one = zero;
    one[31] = 1;
    let edges = [
        zero,
        one,
        plus(&P256_ORDER, &one, true),
        P256_ORDER,
        plus(&P256_ORDER, &one, false),
        [0xff; 32],
    ];
    for n in 0..16_u8 {
        let fixed = key.sign_p256_fixed(&[n]).unwrap().unwrap();
        let (r, s) = fixed.split_at(32);
        assert!(both(public, &[n], &der(r, s)));
        // The other root: whoever sees a signature can make it, and both libraries take it.
        assert!(both(public, &[n], &der(r, &plus(&P256_ORDER, s, true))));
        // The same values, larger by the order; most of them no longer fit into 256 bits.
        both(public, &[n], &der(&plus(r, &P256_ORDER, false), s));
        both(public, &[n], &der(r, &plus(s, &P256_ORDER, false)));
        for edge in &edges {
            assert!(!both(public, &[n], &der(edge, s)));
            assert!(!both(public, &[n], &der(r, edge)));
            for other in &edges {
                assert!(!both(public, &[n], &der(edge, other)));
            }
        }
    }
}

// Spec: KEY-22, COS-05
#[test]
fn both_refuse_hints_of_ml_dsa_that_are_written_otherwise() {
    // FIPS 204, 4 and algorithm 20: 80 places for the positions of ones, then where each of the
    // four polynomials ends. Positions rise within one, and what is left over is zero.
    const OMEGA: usize = 80;
    const HINT: usize = 2420 - OMEGA - 4;
    let key = SigningKey::generate(name(), Algorithm::MlDsa44).unwrap();
    let (mut swapped, mut padded) = (0, 0);
    for n in 0..32_u8 {
        let good = key.sign(&[n]).unwrap();
        assert!(both(key.verifier_key(), &[n], &good));
        let refused = |change: &dyn Fn(&mut [u8])| {
            let mut bad = good.clone();
            change(&mut bad[HINT..]);
            assert_ne!(bad, good);
            assert!(!both(key.verifier_key(), &[n], &bad));
        };
        let ends = &good[HINT + OMEGA..];
        let last = usize::from(ends[3]);
        if ends[0] > 1 {
            // The same ones, in another order; and one of them twice.
            refused(&|hint| hint.swap(0, 1));
            refused(&|hint| hint[1] = hint[0]);
            swapped += 1;
        }
        if last < OMEGA {
            refused(&|hint| hint[last] = 1);
            refused(&|hint| hint[OMEGA - 1] = 255);
            padded += 1;
        }
        refused(&|hint| hint[OMEGA + 3] = 81);
        refused(&|hint| hint[OMEGA + 3] = 255);
        refused(&|hint| hint[OMEGA] = 255);
        if ends[0] > 0 {
            refused(&|hint| hint[OMEGA + 1] = 0);
        }
    }
    assert!(swapped > 16 && padded > 16, "{swapped} {padded}");
    for length in [0, 1, 2419, 2421, 4840] {
        let signature = vec![0; length];
        assert!(!both(key.verifier_key(), b"m", &signature));
    }
}

// Spec: KEY-22
#[test]
fn keys_on_larger_curves_verify_as_they_are() {
    // Made with openssl(1) from a throw-away key.
    let spki = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEtfa0p+hlVWHRtXq0tnZoGWWxvKtYZcpfnXVf8XHYDF10zp2jkZQS\
                nihhyq5d4c1sQQV2YWYggFVVgw/tkg95P9kp/w/r+poix/GRIUGgwdjJ6pgA0TAyBfoAwBDKPQau";
    let spki = jurat_proto::base64::decode(spki).unwrap();
    let key = VerifierKey::from_parts(name(), SignatureType::Ecdsa, &spki).unwrap();
    assert_eq!(fast_verifier(&key).unwrap(), key);
    assert!(!both(&key, b"m", &der(&[1; 48], &[1; 48])));
}

const ORIGIN: &str = "log.example/tree";

fn key_of(name: &str, algorithm: Algorithm) -> SigningKey {
    SigningKey::generate(KeyName::parse(name).unwrap(), algorithm).unwrap()
}

/// A head under the lines of some keys, of which those at `spoiled` are none of theirs.
fn note(root: &str, filler: usize, keys: &[&SigningKey], spoiled: &[usize]) -> SignedCheckpoint {
    let mut checkpoint = Checkpoint {
        origin: Origin::parse(ORIGIN).unwrap(),
        head: TreeHead {
            size: TreeSize::new(20).unwrap(),
            root_hash: leaf_hash(root.as_bytes()),
        },
        extensions: [].into_iter().collect(),
    };
    if filler > 0 {
        let line = ExtensionLine::parse(&"x".repeat(filler)).unwrap();
        checkpoint.extensions.push(&line);
    }
    let lines = keys.iter().enumerate().map(|(place, key)| {
        let is_log = key.verifier_key().name().as_str() == ORIGIN;
        let line = if is_log {
            sign_note(&checkpoint.to_text(), *key)
        } else {
            cosign(&checkpoint, UnixSeconds::new(1_790_000_000).unwrap(), *key)
        };
        let line = line.unwrap();
        let mut signature = line.signature().to_vec();
        if spoiled.contains(&place) {
            *signature.last_mut().unwrap() ^= 1;
        }
        SignatureLine::new(line.name().clone(), line.key_id(), signature).unwrap()
    });
    let lines = lines.collect();
    SignedCheckpoint::new(checkpoint, lines).unwrap()
}

/// Whom a file convicts, and what is left of it, is the same whichever library looks.
// Spec: EVI-70, KEY-22
#[test]
fn both_libraries_give_the_same_verdicts() {
    let log = key_of(ORIGIN, Algorithm::Ed25519);
    let witnesses = [
        key_of("w1.example", Algorithm::CosignatureV1),
        key_of("w2.example", Algorithm::MlDsa44),
    ];
    let stranger = key_of("nobody.example", Algorithm::CosignatureV1);
    let mut known = KnownKeys::new();
    let origin = Origin::parse(ORIGIN).unwrap();
    known.add_log(origin, log.verifier_key().clone(), Standing::Current);
    for witness in &witnesses {
        known.add_cosigner(witness.verifier_key().clone()).unwrap();
    }
    let signers = [&log, &witnesses[0], &witnesses[1], &stranger];
    let (mut proven, mut refused) = (0, 0);
    for filler in [0, 100, 100_000] {
        for spoiled in [&[][..], &[0], &[1], &[2], &[0, 1], &[0, 1, 2]] {
            let a = note("one", filler, &signers, &[]);
            let b = note("other", filler, &signers, spoiled);
            let evidence = Evidence::same_size(a, b).unwrap();
            let prepared = known.about(&evidence, |key| fast_verifier(key).unwrap());
            let quickly = evidence.minimised(&prepared);
            assert_eq!(quickly, evidence.minimised(&known));
            proven += usize::from(quickly.is_ok());
            refused += usize::from(quickly.is_err());
        }
    }
    assert!(proven >= 10 && refused >= 3, "{proven} {refused}");
}
