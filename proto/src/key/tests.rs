//! Verifier keys and the rule of each signature type: examples, edge cases, laws.

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

/// With its two counts it fills 256 bytes, which is what an allocator gives: a witness has a
/// hundred thousand of them.
#[test]
fn an_ed25519_key_takes_no_more_memory_than_it_needs() {
    assert!(size_of::<Inner>() <= 240, "{}", size_of::<Inner>());
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
const P384_SPKI: &str = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEtfa0p+hlVWHRtXq0tnZoGWWxvKtYZcpfnXVf8XHYDF10zp2jkZQSnihhyq5d4c1sQQV2YWYggFVVgw/tkg95P9kp/w/r+poix/GRIUGgwdjJ6pgA0TAyBfoAwBDKPQau";
const P384_SIGNATURE: &str = "MGQCMGdp6w6sa9VZTLTnuxzVAMY3j25AOGf9aIZJSINyiMiAmq106MufbYBUtE1WH1OHLwIwM8xR8juMM3GArdQ186k/OTKAae6PnKJnrz0nQzyycm/xoIThicGF6snPNzBSxttQ";
const P521_SPKI: &str = "MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBycEE0rzcTKeFptILnCkd718BDbJ0w1s0O+Q7be7RP/cSGiH69xVwclEdsGC53p0KKCKPpNlbOplwJDUS+r7ii7gBGNFT7lV68uLad/japo4/kDnKvOhhro41mTa5CiW/dSRiAk8lciti2X6eXTPljcc1UuXQ5hgg8/+XJRB7epDco2o=";
const P521_SIGNATURE: &str = "MIGIAkIA2rdJDLwGWOb0k4PEYrPE5pHfJAvmhy2iifOz/hBQOzmrpbfipK67cHk1JxWt6rf1f9FP6pvp6H57PoafHEZ9NyECQgHJcDS9meNOqRpy3NwwIc7bzsawTLt6H9mr6SU0Zhv1Qw3gV0hhFohwZoPyOigaMT+ILGOqGhyBvXZna5kj3wDa8w==";

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

// Spec: NOTE-17, NOTE-18, NOTE-19
#[test]
fn signatures_by_openssl_on_the_larger_curves_verify() {
    for (spki, signature, curve) in [
        (P256_SPKI, P256_SIGNATURE, EcdsaCurve::P256),
        (P384_SPKI, P384_SIGNATURE, EcdsaCurve::P384),
        (P521_SPKI, P521_SIGNATURE, EcdsaCurve::P521),
    ] {
        let spki = base64::decode(spki).unwrap();
        let key = p256(&spki).unwrap();
        assert_eq!(key.ecdsa_curve(), Some(curve));
        assert_eq!(key.key_id().as_bytes(), &sha256(&spki).as_bytes()[..4]);
        assert_eq!(VerifierKey::parse(&key.to_string()), Ok(key.clone()));
        let good = base64::decode(signature).unwrap();
        let verified = Verified { timestamp: None };
        assert_eq!(key.verify_note(EXAMPLE_TEXT, &good), Ok(verified));
        let of_another = key.verify_note("x\n", &good);
        assert_eq!(of_another, Err(SignatureError::Invalid));
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            assert!(key.verify_note(EXAMPLE_TEXT, &bad).is_err(), "{place}");
        }
        let mut trailing = spki.clone();
        trailing.push(0);
        assert_eq!(p256(&trailing), Err(KeyError::NotASpki));
    }
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
    // The point of a key on P-384, said to be on P-256.
    let mut p384 = base64::decode(P384_SPKI).unwrap();
    p384.splice(2..20, good[2..23].iter().copied());
    p384[1] += 3;
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
    fn a_vkey_has_one_form(
        at in any::<prop::sample::Index>(),
        put in "[ -~]{0,2}",
        cut in 0..2_usize,
    ) {
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
