//! Rows WIT-25 to WIT-33 of `spec/witness.md`.

use jurat_proto::body::BodyError;
use jurat_proto::checkpoint::{SignaturesError, SignedCheckpoint};
use jurat_proto::cosignature;
use jurat_proto::decimal::DecimalError;
use jurat_proto::hash::sha256;
use jurat_proto::proof::ConsistencyProof;
use jurat_proto::sign_subtree::{
    Accepted, ParseError, Refusal, SignSubtree, decide, supports_subtrees,
};
use proptest::prelude::*;

use crate::signing::{Key, NOW, Tree, signed, size, spoiled, unsigned};

const ORIGIN: &str = "log.example/one";

fn tree() -> Tree {
    Tree::new(14, "e")
}

fn ml() -> Key {
    Key::ml_dsa("w.example", 1)
}

fn ed() -> Key {
    Key::witness("w.example", 2)
}

fn request(start: u64, end: u64, reference: SignedCheckpoint) -> SignSubtree {
    let (subtree, hash, proof) = tree().subtree(start, end, 14);
    SignSubtree::new(subtree, hash, proof, reference).unwrap()
}

fn reference(keys: &[&Key]) -> SignedCheckpoint {
    signed(ORIGIN, tree().head(14), keys)
}

fn body() -> String {
    let bytes = request(8, 13, reference(&[&ed()])).to_bytes();
    String::from_utf8(bytes).unwrap()
}

fn parse(body: &str) -> Result<SignSubtree, ParseError> {
    SignSubtree::parse(body.as_bytes())
}

// Spec: WIT-25, WIT-27
#[test]
fn a_body_is_range_hash_proof_empty_line_checkpoint() {
    let request = request(8, 13, reference(&[&ed()]));
    let body = body();
    let mut want = format!("subtree 8 13\n{}\n", request.hash());
    for hash in request.proof().hashes() {
        want += &format!("{hash}\n");
    }
    want += "\n";
    want += &String::from_utf8(request.reference().to_bytes()).unwrap();
    assert_eq!(body, want);
    let parsed = parse(&body).unwrap();
    assert_eq!(parsed, request);
    assert_eq!((parsed.subtree().start(), parsed.subtree().end()), (8, 13));
    assert_eq!(parsed.origin().as_str(), ORIGIN);
    for end in 0..body.len() {
        assert!(
            SignSubtree::parse(&body.as_bytes()[..end]).is_err(),
            "cut at {end}"
        );
    }
    let ended = |line| Err(ParseError::Body(BodyError::Ended { line }));
    assert_eq!(parse(""), ended(1));
    assert_eq!(parse("subtree 8 13\n"), ended(2));
    // The hash is due even when the proof is empty.
    assert!(matches!(
        parse("subtree 8 13\n\n"),
        Err(ParseError::Hash(_))
    ));
    let hash = request.hash().to_base64();
    let padded = body.replacen(&hash, &format!("{hash} "), 1);
    assert!(matches!(parse(&padded), Err(ParseError::Hash(_))));
    let many = body.replacen(&hash, &[hash.as_str(); 70].join("\n"), 1);
    let want = ParseError::Body(BodyError::TooManyProofLines { line: 66 });
    assert_eq!(parse(&many), Err(want));
    let long = SignSubtree::parse(&vec![b'x'; 128 * 1024 + 1]).unwrap_err();
    assert_eq!(long.status(), 413);
}

// Spec: WIT-26, WIT-28
#[test]
fn the_range_is_two_canonical_decimals_that_name_a_subtree() {
    let with = |line: &str| parse(&body().replacen("subtree 8 13", line, 1));
    for line in [
        "subtree 0 1",
        "subtree 0 14",
        "subtree 8 12",
        "subtree 13 14",
        "subtree 12 14",
    ] {
        assert!(with(line).is_ok(), "{line}");
    }
    let none = |found: &str| ParseError::NoRangeLine {
        found: found.into(),
    };
    let start = |found: &str, reason| ParseError::Start {
        found: found.into(),
        reason,
    };
    let end = |found: &str, reason| ParseError::End {
        found: found.into(),
        reason,
    };
    let rows = [
        ("subtree", none("subtree")),
        ("subtree 8", none("subtree 8")),
        ("Subtree 8 13", none("Subtree 8 13")),
        ("subtree\t8 13", none("subtree\t8 13")),
        ("subtree 08 13", start("08", DecimalError::LeadingZero)),
        ("subtree  13", start("", DecimalError::Empty)),
        ("subtree 8 013", end("013", DecimalError::LeadingZero)),
        (
            "subtree 8 13 ",
            end(
                "13 ",
                DecimalError::NotDigit {
                    offset: 2,
                    byte: b' ',
                },
            ),
        ),
        (
            "subtree 8  13",
            end(
                " 13",
                DecimalError::NotDigit {
                    offset: 0,
                    byte: b' ',
                },
            ),
        ),
        (
            "subtree 8 9223372036854775808",
            end("9223372036854775808", DecimalError::TooLarge),
        ),
        (
            "subtree 8 15",
            ParseError::EndAboveCheckpoint {
                end: 15,
                size: size(14),
            },
        ),
    ];
    for (line, want) in rows {
        let error = with(line).unwrap_err();
        assert_eq!((error.status(), &error), (400, &want), "{line}");
    }
    // Empty, backwards, not aligned.
    for line in [
        "subtree 8 8",
        "subtree 0 0",
        "subtree 9 8",
        "subtree 1 3",
        "subtree 4 13",
    ] {
        let error = with(line).unwrap_err();
        assert!(matches!(error, ParseError::Subtree(_)), "{line}: {error:?}");
        assert_eq!(error.status(), 400);
    }
}

// Spec: WIT-29, WIT-32
#[test]
fn every_subtree_of_a_cosigned_tree_is_signed() {
    let keys = [ml().vkey()];
    let reference = reference(&[&ml()]);
    for end in 1..=14_u64 {
        for start in 0..end {
            if !start.is_multiple_of((end - start).next_power_of_two()) {
                continue;
            }
            let request = request(start, end, reference.clone());
            let want = Ok(Accepted { signers: vec![0] });
            assert_eq!(decide(true, &keys, &request), want, "{start} {end}");
        }
    }
}

// Spec: WIT-29, COS-25
#[test]
fn a_proof_that_does_not_verify_is_refused() {
    let keys = [ml().vkey()];
    let (subtree, hash, proof) = tree().subtree(8, 13, 14);
    let try_with = |hash, hashes: Vec<_>| {
        let proof = ConsistencyProof::new(hashes).unwrap();
        let request = SignSubtree::new(subtree, hash, proof, reference(&[&ml()])).unwrap();
        decide(true, &keys, &request)
    };
    let good = proof.hashes().to_vec();
    assert!(try_with(hash, good.clone()).is_ok());
    let mut refusals = vec![try_with(sha256(b"other"), good.clone())];
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] = sha256(b"other");
        refusals.push(try_with(hash, changed));
        let mut shorter = good.clone();
        shorter.remove(at);
        refusals.push(try_with(hash, shorter));
    }
    refusals.push(try_with(hash, [good, vec![sha256(b"more")]].concat()));
    for refusal in refusals {
        let refusal = refusal.unwrap_err();
        assert!(matches!(refusal, Refusal::Inconsistent(_)), "{refusal:?}");
        assert_eq!(refusal.status(), 422);
    }
}

// Spec: WIT-30, WIT-31, WIT-33
#[test]
fn the_log_is_known_and_the_checkpoint_is_ours() {
    let keys = [ml().vkey(), ed().vkey()];
    let unknown = decide(false, &keys, &request(8, 13, reference(&[&ml()]))).unwrap_err();
    assert_eq!(unknown.status(), 404);
    assert!(matches!(unknown, Refusal::UnknownOrigin { .. }));

    let strangers = reference(&[&Key::ml_dsa("w.example", 7), &Key::log(ORIGIN, 8)]);
    let refusal = decide(true, &keys, &request(8, 13, strangers.clone())).unwrap_err();
    assert_eq!((refusal.status(), &refusal), (403, &Refusal::NotCosigned));
    assert_eq!(
        decide(false, &keys, &request(8, 13, strangers.clone()))
            .unwrap_err()
            .status(),
        404
    );

    let checkpoint = unsigned(ORIGIN, tree().head(14));
    let lines = vec![
        ml().line(&checkpoint, NOW),
        spoiled(&ed().line(&checkpoint, NOW)),
    ];
    let spoiled = SignedCheckpoint::new(checkpoint, lines).unwrap();
    let refusal = decide(true, &keys, &request(8, 13, spoiled)).unwrap_err();
    assert!(matches!(
        refusal,
        Refusal::BadSignature(SignaturesError::BadSignature { .. })
    ));
    assert_eq!(refusal.status(), 403);

    // 404 before 422 before 403.
    let (subtree, _, proof) = tree().subtree(8, 13, 14);
    let bad = SignSubtree::new(subtree, sha256(b"x"), proof, strangers).unwrap();
    assert_eq!(decide(false, &keys, &bad).unwrap_err().status(), 404);
    assert_eq!(decide(true, &keys, &bad).unwrap_err().status(), 422);
}

// Spec: WIT-32
#[test]
fn only_keys_that_support_subtrees_sign() {
    let (ml, ed, second) = (ml(), ed(), Key::ml_dsa("w.example/2", 3));
    assert!(supports_subtrees(&ml.vkey()) && !supports_subtrees(&ed.vkey()));
    let keys = [ed.vkey(), ml.vkey(), second.vkey()];
    let signers = |by: &[&Key]| {
        decide(true, &keys, &request(8, 13, reference(by)))
            .unwrap()
            .signers
    };
    assert_eq!(signers(&[&ml]), [1]);
    assert_eq!(signers(&[&second, &ml, &ed]), [1, 2]);
    // Cosigned by the key that cannot sign subtrees: the others do.
    assert_eq!(signers(&[&ed]), [1, 2]);
    let refusal = decide(true, &[ed.vkey()], &request(8, 13, reference(&[&ed]))).unwrap_err();
    assert_eq!((refusal.status(), refusal), (404, Refusal::NoSubtreeKey));
}

/// What the decision allows can be signed and verified, and says nothing about time.
// Spec: WIT-32
#[test]
fn the_signature_that_follows_has_time_zero() {
    let request = request(8, 13, reference(&[&ml()]));
    let line =
        cosignature::cosign_subtree(request.origin(), request.subtree(), request.hash(), &ml())
            .unwrap();
    assert_eq!(line.signature()[..8], [0; 8]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // Spec: WIT-25
    #[test]
    fn what_parses_after_a_change_is_canonical(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut body = body().into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(parsed) = SignSubtree::parse(&body) {
            prop_assert_eq!(parsed.to_bytes(), body);
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = SignSubtree::parse(&body);
        let _ = SignSubtree::parse(&[b"subtree 0 1\n".as_slice(), &body].concat());
    }
}
