//! Rows of `spec/proof.md`.

use jurat_proto::base64;
use jurat_proto::body::BodyError;
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::decimal::DecimalError;
use jurat_proto::hash::{Hash, leaf_hash, sha256};
use jurat_proto::policy::{Policy, PolicyError};
use jurat_proto::proof::{InclusionProof, ProofError};
use jurat_proto::tlog_proof::{ParseError, TLOG_PROOF_BYTES_MAX, TlogProof, VerifyError};
use jurat_proto::tree::LeafIndex;
use proptest::prelude::*;

use crate::signing::{Key, Tree, signed};

const ORIGIN: &str = "log.example/one";

fn log() -> Key {
    Key::log(ORIGIN, 1)
}

fn witness() -> Key {
    Key::witness("w.example", 2)
}

fn policy() -> Policy {
    let (log, witness) = (log().vkey(), witness().vkey());
    Policy::parse(format!("log {log}\nwitness w {witness}\nquorum w\n").as_bytes()).unwrap()
}

fn proof(extra: Option<&[u8]>, keys: &[&Key]) -> TlogProof {
    let tree = Tree::new(11, "e");
    let index = LeafIndex::new(5).unwrap();
    let checkpoint = signed(ORIGIN, tree.head(11), keys);
    TlogProof::new(
        extra.map(Vec::from),
        index,
        tree.inclusion(5, 11),
        checkpoint,
    )
    .unwrap()
}

fn file(extra: Option<&[u8]>) -> String {
    String::from_utf8(proof(extra, &[&log(), &witness()]).to_bytes()).unwrap()
}

fn parse(file: &str) -> Result<TlogProof, ParseError> {
    TlogProof::parse(file.as_bytes())
}

// Spec: PRF-01, PRF-02, PRF-03, PRF-04, PRF-05, PRF-06, PRF-10
#[test]
fn a_proof_is_magic_extra_index_hashes_checkpoint() {
    let proof = proof(Some(b"opaque"), &[&log()]);
    let mut want = String::from("c2sp.org/tlog-proof@v1\nextra b3BhcXVl\nindex 5\n");
    for hash in proof.proof().hashes() {
        want += &format!("{hash}\n");
    }
    want += "\n";
    want += &String::from_utf8(proof.checkpoint().to_bytes()).unwrap();
    let file = String::from_utf8(proof.to_bytes()).unwrap();
    assert_eq!(file, want);
    let parsed = parse(&file).unwrap();
    assert_eq!(parsed, proof);
    assert_eq!(
        (parsed.extra(), parsed.index().get()),
        (Some(b"opaque".as_slice()), 5)
    );
    for end in 0..file.len() {
        assert!(
            TlogProof::parse(&file.as_bytes()[..end]).is_err(),
            "cut at {end}"
        );
    }
    for extra in ["\n", "x"] {
        assert!(parse(&format!("{file}{extra}")).is_err());
    }
}

// Spec: PRF-02
#[test]
fn the_first_line_names_the_format() {
    for first in [
        "c2sp.org/tlog-proof@v2",
        "c2sp.org/tlog-proof@v1 ",
        "",
        "C2SP.org/tlog-proof@v1",
    ] {
        let changed = file(None).replacen("c2sp.org/tlog-proof@v1", first, 1);
        assert_eq!(
            parse(&changed),
            Err(ParseError::Magic {
                found: first.into()
            })
        );
    }
    assert_eq!(
        parse(""),
        Err(ParseError::Body(BodyError::Ended { line: 1 }))
    );
}

// Spec: PRF-03
#[test]
fn extra_data_are_canonical_base64_and_never_empty() {
    let without = file(None);
    assert_eq!(parse(&without).unwrap().extra(), None);
    let with = |line: &str| parse(&without.replacen("index", &format!("{line}\nindex"), 1));
    assert_eq!(with("extra YQ==").unwrap().extra(), Some(b"a".as_slice()));
    assert_eq!(with("extra "), Err(ParseError::EmptyExtra));
    for line in [
        "extra YR==",
        "extra YQ",
        "extra YQ== ",
        "extra  YQ==",
        "extra YQ==\r",
        "extra _w==",
    ] {
        assert!(matches!(with(line), Err(ParseError::Extra(_))), "{line}");
    }
    for line in [
        "extra",
        "Extra YQ==",
        "extra\tYQ==",
        "extra YQ==\nextra YQ==",
        "other YQ==",
    ] {
        assert!(
            matches!(with(line), Err(ParseError::NoIndexLine { .. })),
            "{line}"
        );
    }
    let index = LeafIndex::new(0).unwrap();
    let checkpoint = proof(None, &[&log()]).checkpoint().clone();
    let none = InclusionProof::new(Vec::new()).unwrap();
    assert_eq!(
        TlogProof::new(Some(Vec::new()), index, none, checkpoint),
        Err(ParseError::EmptyExtra)
    );
}

// Spec: PRF-04
#[test]
fn the_index_is_a_canonical_decimal() {
    for (extra, line) in [(None, 2), (Some(b"x".as_slice()), 3)] {
        let file = file(extra);
        let with = |text: &str| parse(&file.replacen("index 5", text, 1));
        let bad = |found: &str, reason| {
            Err(ParseError::Index {
                line,
                found: found.into(),
                reason,
            })
        };
        assert_eq!(with("index 0").unwrap().index().get(), 0);
        assert_eq!(with("index 05"), bad("05", DecimalError::LeadingZero));
        assert_eq!(with("index "), bad("", DecimalError::Empty));
        let plus = DecimalError::NotDigit {
            offset: 0,
            byte: b'+',
        };
        assert_eq!(with("index +5"), bad("+5", plus));
        let large = "9223372036854775808";
        assert_eq!(
            with(&format!("index {large}")),
            bad(large, DecimalError::TooLarge)
        );
        for text in ["5", "index", "Index 5", "index\t5", ""] {
            let want = Err(ParseError::NoIndexLine {
                line,
                found: text.into(),
            });
            assert_eq!(with(text), want, "{text:?}");
        }
    }
}

// Spec: PRF-05
#[test]
fn hashes_are_canonical_and_at_most_63() {
    let file = file(None);
    let hash = proof(None, &[&log()]).proof().hashes()[0].to_base64();
    let error = parse(&file.replacen(&hash, &hash[..40], 1)).unwrap_err();
    assert!(
        matches!(
            error,
            ParseError::Body(BodyError::ProofLine { line: 3, .. })
        ),
        "{error:?}"
    );
    let with =
        |count: usize| parse(&file.replacen(&hash, &vec![hash.as_str(); count].join("\n"), 1));
    let others = proof(None, &[&log()]).proof().hashes().len() - 1;
    assert!(with(63 - others).is_ok());
    let too_many = ParseError::Body(BodyError::TooManyProofLines { line: 66 });
    assert_eq!(with(64 - others), Err(too_many));
}

// Spec: PRF-09
#[test]
fn a_proof_has_room_for_the_largest_entry_and_has_a_limit() {
    let extra = vec![b'x'; 65_535];
    let file = file(Some(&extra));
    assert_eq!(parse(&file).unwrap().extra(), Some(extra.as_slice()));
    let long = vec![b'x'; TLOG_PROOF_BYTES_MAX + 1];
    assert!(matches!(
        TlogProof::parse(&long),
        Err(ParseError::Body(BodyError::TooLong {
            bytes_max: TLOG_PROOF_BYTES_MAX,
            ..
        }))
    ));
    // The largest note, the longest proof and the largest entry fit together.
    const { assert!(TLOG_PROOF_BYTES_MAX > 128 * 1024 + 64 * 45 + 87_380 + 100) };
    assert_eq!(base64::encode(&extra).len(), 87_380);
}

// Spec: PRF-07, PRF-08
#[test]
fn a_proof_is_verified_with_a_leaf_and_a_policy() {
    let leaf = leaf_hash(b"e5");
    let policy = policy();
    let good = proof(None, &[&log(), &witness()]);
    let verdict = good.verify(&leaf, &policy).unwrap();
    assert_eq!((verdict.log, verdict.witnesses.len()), (0, 1));

    let by = |keys: &[&Key]| proof(None, keys).verify(&leaf, &policy).unwrap_err();
    assert!(matches!(
        by(&[&log()]),
        VerifyError::Policy(PolicyError::QuorumNotMet { .. })
    ));
    assert!(matches!(
        by(&[&witness()]),
        VerifyError::Policy(PolicyError::NotSignedByLog { .. })
    ));
    // Another leaf; another index; another tree.
    assert!(matches!(
        good.verify(&leaf_hash(b"e6"), &policy),
        Err(VerifyError::Inclusion(ProofError::RootMismatch { .. }))
    ));
    let with_index = |index: u64| {
        let index = LeafIndex::new(index).unwrap();
        let (proof, checkpoint) = (good.proof().clone(), good.checkpoint().clone());
        TlogProof::new(None, index, proof, checkpoint)
            .unwrap()
            .verify(&leaf, &policy)
    };
    for index in (0..20).filter(|&index| index != 5) {
        assert!(
            matches!(with_index(index), Err(VerifyError::Inclusion(_))),
            "{index}"
        );
    }
    with_index(5).unwrap();
    let other = signed(ORIGIN, Tree::new(11, "f").head(11), &[&log(), &witness()]);
    let other = TlogProof::new(None, good.index(), good.proof().clone(), other).unwrap();
    assert!(matches!(
        other.verify(&leaf, &policy),
        Err(VerifyError::Inclusion(_))
    ));
    // The policy's fault comes first: what no one vouches for is not looked at.
    assert!(matches!(
        proof(None, &[&log()]).verify(&leaf_hash(b"e6"), &policy),
        Err(VerifyError::Policy(_))
    ));
}

// Spec: PRF-10
#[test]
fn extra_data_are_not_authenticated_and_change_no_verdict() {
    let leaf = leaf_hash(b"e5");
    let keys = [&log(), &witness()];
    let verdicts = [None, Some(b"a".as_slice()), Some(b"b")]
        .map(|extra| proof(extra, &keys).verify(&leaf, &policy()));
    assert!(
        verdicts
            .iter()
            .all(|verdict| verdict.is_ok() && *verdict == verdicts[0])
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    // Spec: PRF-01
    #[test]
    fn a_proof_survives_its_bytes(
        extra in prop::option::of(prop::collection::vec(any::<u8>(), 1..200)),
        index in 0..=i64::MAX.unsigned_abs(),
        hashes in prop::collection::vec(any::<[u8; 32]>(), 0..=63),
    ) {
        let hashes = InclusionProof::new(hashes.into_iter().map(Hash::new).collect()).unwrap();
        let checkpoint: SignedCheckpoint = signed(ORIGIN, Tree::new(2, "e").head(2), &[&log()]);
        let index = LeafIndex::new(index).unwrap();
        let proof = TlogProof::new(extra, index, hashes, checkpoint).unwrap();
        prop_assert_eq!(TlogProof::parse(&proof.to_bytes()).unwrap(), proof);
    }

    /// A changed byte is refused, or makes another canonical file; and nothing but the extra data
    /// and lines of unknown keys can change without the proof failing.
    // Spec: PRF-01, PRF-08
    #[test]
    fn a_changed_byte_never_proves_another_leaf(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut changed = file(None).into_bytes();
        let at = at.index(changed.len());
        changed[at] = byte;
        if let Ok(parsed) = TlogProof::parse(&changed) {
            prop_assert_eq!(&parsed.to_bytes(), &changed);
            prop_assert!(parsed.verify(&sha256(b"another"), &policy()).is_err());
            if parsed.verify(&leaf_hash(b"e5"), &policy()).is_ok() {
                prop_assert_eq!(changed, file(None).into_bytes());
            }
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(file in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = TlogProof::parse(&file);
        let _ = TlogProof::parse(&[b"c2sp.org/tlog-proof@v1\n".as_slice(), &file].concat());
    }
}
