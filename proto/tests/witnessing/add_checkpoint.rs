//! Rows WIT-01 to WIT-20, WIT-33 and WIT-34 of `spec/witness.md`.

use jurat_proto::add_checkpoint::{
    Accepted, AddCheckpoint, BODY_BYTES_MAX, CONFLICT_CONTENT_TYPE, ConflictBodyError, ParseError,
    Refusal, conflict_body, decide, decide_consistency, parse_conflict_body,
    require_signed_extensions, verify_log_signatures,
};
use jurat_proto::base64::Base64Error;
use jurat_proto::body::BodyError;
use jurat_proto::checkpoint::{CheckpointError, ExtensionLine, SignaturesError, SignedCheckpoint};
use jurat_proto::decimal::DecimalError;
use jurat_proto::hash::{Hash, sha256};
use jurat_proto::key::VerifierKey;
use jurat_proto::note::{SIGNATURES_MAX, SignatureLine};
use jurat_proto::proof::{ConsistencyProof, ProofError};
use jurat_proto::tree::{TreeHead, TreeSize};
use proptest::prelude::*;

use crate::signing::{Key, NOW, Tree, signed, size, spoiled, unsigned};

const ORIGIN: &str = "log.example/one";

fn log() -> Key {
    Key::log(ORIGIN, 1)
}

fn request(tree: &Tree, from: u64, to: u64) -> AddCheckpoint {
    AddCheckpoint {
        old_size: size(from),
        proof: if from == 0 {
            no_proof()
        } else {
            tree.consistency(from, to)
        },
        checkpoint: signed(ORIGIN, tree.head(usize::try_from(to).unwrap()), &[&log()]),
    }
}

fn no_proof() -> ConsistencyProof {
    ConsistencyProof::new(Vec::new()).unwrap()
}

fn keys() -> Vec<VerifierKey> {
    vec![log().vkey()]
}

fn parse(body: &str) -> Result<AddCheckpoint, ParseError> {
    AddCheckpoint::parse(body.as_bytes())
}

/// A good body, to be spoiled in one place.
fn body() -> String {
    String::from_utf8(request(&Tree::new(7, "e"), 3, 7).to_bytes()).unwrap()
}

// Spec: WIT-01, WIT-07
#[test]
fn a_body_is_old_size_proof_empty_line_checkpoint() {
    let tree = Tree::new(7, "e");
    let request = request(&tree, 3, 7);
    let body = body();
    let mut want = String::from("old 3\n");
    for hash in request.proof.hashes() {
        want += &format!("{hash}\n");
    }
    want += "\n";
    want += &String::from_utf8(request.checkpoint.to_bytes()).unwrap();
    assert_eq!(body, want);
    let parsed = parse(&body).unwrap();
    assert_eq!(parsed, request);
    assert_eq!(
        (parsed.origin().as_str(), parsed.head()),
        (ORIGIN, tree.head(7))
    );
}

// Spec: WIT-02
#[test]
fn every_line_ends_in_a_newline_and_none_is_missing() {
    let body = body();
    let last = body.strip_suffix('\n').unwrap();
    assert!(matches!(
        parse(last),
        Err(ParseError::Body(BodyError::Checkpoint { line: 7, .. }))
    ));
    let at = |end: &str| parse(body.split_once(end).unwrap().0);
    let cut = |line| Err(ParseError::Body(BodyError::Unterminated { line }));
    let ended = |line| Err(ParseError::Body(BodyError::Ended { line }));
    assert_eq!(parse(""), ended(1));
    assert_eq!(parse("old 3"), cut(1));
    assert_eq!(parse("old 3\n"), ended(2));
    assert_eq!(at("=\n"), cut(2));
    let lines: Vec<&str> = body.split_inclusive('\n').collect();
    assert_eq!(parse(&lines[..4].concat()), ended(5));
    assert!(matches!(
        parse(&lines[..6].concat()),
        Err(ParseError::Body(BodyError::Checkpoint { line: 7, .. }))
    ));
    for end in 0..body.len() {
        assert!(
            AddCheckpoint::parse(&body.as_bytes()[..end]).is_err(),
            "cut at {end}"
        );
    }
    for extra in ["\n", "x", "\u{2014} a b\n"] {
        assert!(parse(&format!("{body}{extra}")).is_err(), "{extra:?}");
    }
    // Without the empty line, the origin stands where a hash should.
    let joined = body.replacen("\n\n", "\n", 1);
    assert!(matches!(
        parse(&joined),
        Err(ParseError::Body(BodyError::ProofLine { line: 6, .. }))
    ));
}

// Spec: WIT-03, WIT-08
#[test]
fn the_old_size_is_a_canonical_decimal() {
    let with = |line: &str| parse(&body().replacen("old 3", line, 1));
    let bad = |found: &str, reason| {
        Err(ParseError::OldSize {
            found: found.into(),
            reason,
        })
    };
    let none = |found: &str| {
        Err(ParseError::NoOldLine {
            found: found.into(),
        })
    };
    assert_eq!(with("old 0").unwrap().old_size, TreeSize::ZERO);
    assert_eq!(
        with("old 9223372036854775807").unwrap().old_size,
        TreeSize::MAX
    );
    let not_digit = |offset, byte| DecimalError::NotDigit { offset, byte };
    let rows = [
        ("old 03", bad("03", DecimalError::LeadingZero)),
        ("old 00", bad("00", DecimalError::LeadingZero)),
        ("old ", bad("", DecimalError::Empty)),
        ("old +3", bad("+3", not_digit(0, b'+'))),
        ("old -3", bad("-3", not_digit(0, b'-'))),
        ("old  3", bad(" 3", not_digit(0, b' '))),
        ("old 3 ", bad("3 ", not_digit(1, b' '))),
        ("old 3\r", bad("3\r", not_digit(1, b'\r'))),
        ("old 0x3", bad("0x3", not_digit(1, b'x'))),
        (
            "old 9223372036854775808",
            bad("9223372036854775808", DecimalError::TooLarge),
        ),
        (
            "old 18446744073709551619",
            bad("18446744073709551619", DecimalError::TooLarge),
        ),
        ("old", none("old")),
        ("Old 3", none("Old 3")),
        (" old 3", none(" old 3")),
        ("old\t3", none("old\t3")),
        ("", none("")),
        ("3", none("3")),
    ];
    for (line, want) in rows {
        assert_eq!(with(line), want, "{line:?}");
        assert_eq!(with(line).unwrap_err().status(), 400);
    }
    // What a client sent is shown, but not all of it.
    let error = with(&"x".repeat(5000)).unwrap_err().to_string();
    assert!(error.len() < 200, "{error}");
}

// Spec: WIT-04
#[test]
fn a_proof_line_is_one_canonical_hash() {
    let good = body();
    let hash = good.lines().nth(2).unwrap().to_owned();
    let with = |line: &str| match parse(&good.replacen(&hash, line, 1)) {
        Err(ParseError::Body(BodyError::ProofLine { line: 3, reason })) => reason,
        other => panic!("{line:?}: {other:?}"),
    };
    let start = &hash[..42];
    // The last character before the padding of 32 bytes carries two bits that must be zero.
    let symbols = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let last = symbols.find(&hash[42..43]).unwrap();
    let stray = format!("{start}{}=", &symbols[last + 1..last + 2]);
    assert!(matches!(with(&stray), Base64Error::TrailingBits { .. }));
    assert!(matches!(
        with(&hash[..43]),
        Base64Error::Length { .. } | Base64Error::Padding
    ));
    assert!(matches!(
        with(&format!("{hash} ")),
        Base64Error::Symbol { .. } | Base64Error::Length { .. }
    ));
    assert!(matches!(
        with("AAAA"),
        Base64Error::DecodedLength {
            expected: 32,
            found: 3
        }
    ));
    with(&format!(" {hash}"));
    with(&format!("{hash}\r"));
    with(&format!("{start}-="));
    with(
        &sha256(b"x")
            .as_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>(),
    );
}

// Spec: WIT-05
#[test]
fn there_are_at_most_63_proof_lines() {
    let hash = sha256(b"any");
    let note = String::from_utf8(signed(ORIGIN, Tree::new(1, "e").head(1), &[&log()]).to_bytes());
    let note = note.unwrap();
    let with = |count: usize| {
        parse(&format!(
            "old 1\n{}\n{note}",
            format!("{hash}\n").repeat(count)
        ))
    };
    assert_eq!(with(63).unwrap().proof.hashes().len(), 63);
    for count in [64, 65, 1000] {
        let want = ParseError::Body(BodyError::TooManyProofLines { line: 65 });
        assert_eq!(with(count), Err(want));
    }
}

// Spec: WIT-06, WIT-09
#[test]
fn sixteen_of_the_largest_signatures_fit_and_more_than_the_limit_does_not() {
    let head = Tree::new(1, "e").head(1);
    let checkpoint = unsigned(ORIGIN, head);
    // The size of the largest kind of signature that signed-note speaks of: nearly 5 kB.
    let mut lines: Vec<SignatureLine> = (0..15_u8)
        .map(|n| {
            let key = Key::log(&format!("witness.example/{n}"), n).vkey();
            SignatureLine::new(key.name().clone(), key.key_id(), vec![n; 5000]).unwrap()
        })
        .collect();
    lines.push(log().line(&checkpoint, NOW));
    let checkpoint = SignedCheckpoint::new(checkpoint, lines).unwrap();
    let request = AddCheckpoint {
        old_size: size(0),
        proof: no_proof(),
        checkpoint,
    };
    let parsed = AddCheckpoint::parse(&request.to_bytes()).unwrap();
    assert_eq!(parsed, request);
    assert_eq!(
        decide(None, Some(&keys()), &parsed).unwrap().signatures,
        [15]
    );

    let body = vec![b'x'; BODY_BYTES_MAX + 1];
    let error = AddCheckpoint::parse(&body).unwrap_err();
    let want = BodyError::TooLong {
        bytes: BODY_BYTES_MAX + 1,
        bytes_max: BODY_BYTES_MAX,
    };
    assert_eq!(error, ParseError::Body(want));
    assert_eq!(error.status(), 413);
    assert_eq!(AddCheckpoint::parse(&body[1..]).unwrap_err().status(), 400);
    const { assert!(SIGNATURES_MAX >= 16) };
}

// Spec: WIT-08
#[test]
fn other_malformed_bodies_get_400() {
    let rows: [&[u8]; 4] = [
        b"old 0\n\nlog.example/one\nnot a size\n",
        b"old 0\n\xff\n\n",
        b"\xff",
        b"old 0\n\n\n\n",
    ];
    for row in rows {
        assert_eq!(AddCheckpoint::parse(row).unwrap_err().status(), 400);
    }
    let not_text = BodyError::NotText { line: 2 };
    assert_eq!(
        AddCheckpoint::parse(rows[1]),
        Err(ParseError::Body(not_text))
    );
    // The checkpoint's own rules are the checkpoint's own errors.
    let zeros = body().replacen("\n7\n", "\n07\n", 1);
    assert_eq!(
        parse(&zeros),
        Err(ParseError::Body(BodyError::Checkpoint {
            line: 7,
            reason: CheckpointError::Size(DecimalError::LeadingZero)
        }))
    );
}

/// The latest head, the keys, the request, and what must come of it.
type Row = (
    &'static str,
    Option<TreeHead>,
    Option<Vec<VerifierKey>>,
    AddCheckpoint,
    Result<bool, u16>,
);

fn check(rows: Vec<Row>) {
    for (name, latest, keys, request, want) in rows {
        let decided = decide(latest.as_ref(), keys.as_deref(), &request);
        match (&decided, want) {
            (Ok(accepted), Ok(refresh)) => {
                assert_eq!(
                    (accepted.head, accepted.refresh),
                    (request.head(), refresh),
                    "{name}"
                );
            }
            (Err(refusal), Err(status)) => {
                assert_eq!(refusal.status(), status, "{name}: {refusal}");
            }
            _ => panic!("{name}: {decided:?}"),
        }
    }
}

// Spec: WIT-15, WIT-18, WIT-19, WIT-34
#[test]
fn what_is_append_only_is_accepted() {
    let tree = Tree::new(9, "e");
    let some = |at: usize| Some(tree.head(at));
    let keys = || Some(keys());
    check(vec![
        (
            "first contact",
            None,
            keys(),
            request(&tree, 0, 9),
            Ok(false),
        ),
        (
            "first contact, empty tree",
            None,
            keys(),
            request(&tree, 0, 0),
            Ok(false),
        ),
        ("growth", some(3), keys(), request(&tree, 3, 9), Ok(false)),
        (
            "growth by one",
            some(8),
            keys(),
            request(&tree, 8, 9),
            Ok(false),
        ),
        (
            "growth from the empty tree",
            some(0),
            keys(),
            request(&tree, 0, 9),
            Ok(false),
        ),
        ("refresh", some(9), keys(), request(&tree, 9, 9), Ok(true)),
        (
            "refresh of the empty tree",
            some(0),
            keys(),
            request(&tree, 0, 0),
            Ok(true),
        ),
    ]);
    // The accepted head and lines, in full.
    assert_eq!(
        decide(
            Some(&tree.head(3)),
            Some(&[log().vkey()]),
            &request(&tree, 3, 9)
        ),
        Ok(Accepted {
            head: tree.head(9),
            signatures: vec![0],
            refresh: false
        })
    );
}

// Spec: WIT-35, SVC-26, COS-14
#[test]
fn extension_lines_are_taken_by_a_witness_and_must_be_covered_where_they_become_entries() {
    let tree = Tree::new(3, "e");
    let mut checkpoint = unsigned(ORIGIN, tree.head(3));
    let (ed25519, ml_dsa) = (log(), Key::ml_dsa(ORIGIN, 2));
    let trusted = [ed25519.vkey(), ml_dsa.vkey()];
    let plain = ml_dsa.line(&checkpoint, NOW);
    let without = SignedCheckpoint::new(checkpoint.clone(), vec![plain.clone()]).unwrap();
    assert_eq!(
        require_signed_extensions(Some(&trusted), &without, &[0]),
        Ok(())
    );
    // The same signature: the log cannot be asked whether it knows of the line.
    checkpoint.extensions = ExtensionLine::parse("added by a stranger").unwrap().into();
    let ask = |lines: Vec<SignatureLine>| {
        let checkpoint = SignedCheckpoint::new(checkpoint.clone(), lines).unwrap();
        let verified = verify_log_signatures(Some(&trusted), &checkpoint).unwrap();
        let covered = require_signed_extensions(Some(&trusted), &checkpoint, &verified);
        (verified, covered)
    };
    let (verified, covered) = ask(vec![plain.clone()]);
    assert_eq!(verified, [0]);
    let refusal = covered.unwrap_err();
    assert!(matches!(refusal, Refusal::ExtensionsNotSigned { .. }));
    assert_eq!(refusal.status(), 403);
    let covering = ed25519.line(&checkpoint, NOW);
    assert_eq!(ask(vec![plain, covering]), (vec![0, 1], Ok(())));
}

// Spec: WIT-10, WIT-11, WIT-12, WIT-13
#[test]
fn only_trusted_keys_count_and_a_bad_line_of_theirs_spoils_all() {
    let tree = Tree::new(3, "e");
    let checkpoint = unsigned(ORIGIN, tree.head(3));
    let (old, new, stranger) = (log(), Key::ml_dsa(ORIGIN, 2), Key::log(ORIGIN, 3));
    let witness = Key::witness("w.example", 4);
    let (old_line, new_line) = (old.line(&checkpoint, NOW), new.line(&checkpoint, NOW));
    let other_line = stranger.line(&checkpoint, NOW);
    let trusted = [old.vkey(), new.vkey()];
    // Shares the id, not the name; then the name, not the id: both are strangers.
    let same_id = SignatureLine::new(
        witness.vkey().name().clone(),
        old.vkey().key_id(),
        vec![1; 64],
    )
    .unwrap();
    let try_lines = |lines: Vec<SignatureLine>| {
        let checkpoint = SignedCheckpoint::new(checkpoint.clone(), lines).unwrap();
        verify_log_signatures(Some(&trusted), &checkpoint)
    };
    let none = Err(Refusal::NoTrustedSignature {
        origin: checkpoint.origin.clone(),
    });
    assert_eq!(try_lines(vec![old_line.clone()]), Ok(vec![0]));
    assert_eq!(
        try_lines(vec![new_line.clone(), old_line.clone()]),
        Ok(vec![0, 1])
    );
    assert_eq!(
        try_lines(vec![
            spoiled(&other_line),
            same_id.clone(),
            old_line.clone()
        ]),
        Ok(vec![2])
    );
    assert_eq!(
        try_lines(vec![old_line.clone(), other_line.clone(), old_line.clone()]),
        Ok(vec![0, 2])
    );
    assert_eq!(try_lines(vec![other_line, same_id]), none);
    assert_eq!(none.map_err(|refusal| refusal.status()), Err(403));
    for lines in [
        vec![spoiled(&old_line)],
        vec![new_line.clone(), spoiled(&old_line)],
        vec![spoiled(&new_line), old_line.clone()],
        vec![old_line.clone(), spoiled(&old_line)],
    ] {
        let refusal = try_lines(lines).unwrap_err();
        assert!(matches!(
            refusal,
            Refusal::BadSignature(SignaturesError::BadSignature { .. })
        ));
        assert_eq!(refusal.status(), 403);
    }
    // A signature over other bytes is bad, however good it was there.
    let elsewhere = old.line(&unsigned(ORIGIN, tree.head(2)), NOW);
    assert_eq!(try_lines(vec![elsewhere]).unwrap_err().status(), 403);

    let signed = signed(ORIGIN, tree.head(3), &[&old]);
    let unknown = verify_log_signatures(None, &signed).unwrap_err();
    assert_eq!(
        unknown,
        Refusal::UnknownOrigin {
            origin: checkpoint.origin.clone()
        }
    );
    assert_eq!(unknown.status(), 404);
    // A known origin whose keys were all taken away is still known.
    assert_eq!(
        verify_log_signatures(Some(&[]), &signed)
            .unwrap_err()
            .status(),
        403
    );
}

// Spec: WIT-10
#[test]
fn the_keys_name_need_not_be_the_origin() {
    let key = Key::log("sum.example", 1);
    let checkpoint = signed("sum database tree", Tree::new(1, "e").head(1), &[&key]);
    assert_eq!(
        verify_log_signatures(Some(&[key.vkey()]), &checkpoint),
        Ok(vec![0])
    );
}

// Spec: WIT-14, WIT-15
#[test]
fn an_old_size_that_is_not_ours_is_told_ours() {
    let tree = Tree::new(9, "e");
    let conflict = |latest: Option<usize>, from: u64, current: u64| {
        let latest = latest.map(|at| tree.head(at));
        let refusal = decide_consistency(latest.as_ref(), &request(&tree, from, 9)).unwrap_err();
        assert_eq!(
            refusal,
            Refusal::Conflict {
                old_size: size(from),
                current: size(current)
            }
        );
        assert_eq!(refusal.status(), 409);
    };
    conflict(None, 1, 0);
    conflict(None, 9, 0);
    conflict(Some(3), 0, 3);
    conflict(Some(3), 2, 3);
    conflict(Some(3), 4, 3);
    conflict(Some(9), 3, 9);
    conflict(Some(0), 3, 0);
    // A checkpoint older than ours, with our size as the old one: its size is below the old size.
    let mut back = request(&tree, 3, 5);
    back.old_size = size(9);
    let refusal = decide_consistency(Some(&tree.head(9)), &back).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::OldSizeAboveCheckpoint {
            old_size: size(9),
            size: size(5)
        }
    );
    assert_eq!(refusal.status(), 400);
}

// Spec: WIT-16
#[test]
fn the_conflict_answer_is_a_size_and_a_newline() {
    assert_eq!(CONFLICT_CONTENT_TYPE, "text/x.tlog.size");
    for (leaves, body) in [(0, "0\n"), (20_852_163, "20852163\n")] {
        assert_eq!(conflict_body(size(leaves)), body);
        assert_eq!(parse_conflict_body(body.as_bytes()), Ok(size(leaves)));
    }
    let rows: [(&[u8], ConflictBodyError); 8] = [
        (b"", ConflictBodyError::NoNewline),
        (b"5", ConflictBodyError::NoNewline),
        (b"\n", ConflictBodyError::Size(DecimalError::Empty)),
        (b"05\n", ConflictBodyError::Size(DecimalError::LeadingZero)),
        (
            b"5\n\n",
            ConflictBodyError::Size(DecimalError::NotDigit {
                offset: 1,
                byte: b'\n',
            }),
        ),
        (
            b"5\r\n",
            ConflictBodyError::Size(DecimalError::NotDigit {
                offset: 1,
                byte: b'\r',
            }),
        ),
        (
            b"9223372036854775808\n",
            ConflictBodyError::Size(DecimalError::TooLarge),
        ),
        (b"\xff\n", ConflictBodyError::NotText),
    ];
    for (body, want) in rows {
        assert_eq!(parse_conflict_body(body), Err(want));
    }
}

// Spec: WIT-17
#[test]
fn the_empty_tree_has_one_root_hash() {
    let tree = Tree::new(4, "e");
    for wrong in [sha256(b"x"), Hash::new([0; 32]), tree.head(1).root_hash] {
        let head = TreeHead {
            size: TreeSize::ZERO,
            root_hash: wrong,
        };
        let mut request = request(&tree, 0, 0);
        request.checkpoint = signed(ORIGIN, head, &[&log()]);
        for latest in [None, Some(tree.head(0))] {
            let refusal = decide(latest.as_ref(), Some(&keys()), &request).unwrap_err();
            assert_eq!(refusal, Refusal::WrongEmptyRoot { root_hash: wrong });
            assert_eq!(refusal.status(), 422);
        }
    }
    // The hash of nothing, from RFC 6962.
    let empty = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    assert_eq!(tree.head(0).root_hash.to_base64(), empty);
}

// Spec: WIT-18
#[test]
fn nothing_needs_proof_from_the_empty_tree_and_nothing_may_come() {
    let tree = Tree::new(4, "e");
    let mut request = request(&tree, 0, 4);
    request.proof = ConsistencyProof::new(vec![sha256(b"a"), sha256(b"b")]).unwrap();
    for latest in [None, Some(tree.head(0))] {
        let refusal = decide_consistency(latest.as_ref(), &request).unwrap_err();
        assert_eq!(refusal, Refusal::ProofNotEmpty { hashes: 2 });
        assert_eq!(refusal.status(), 422);
    }
    // Nor for the empty tree itself.
    request.checkpoint = signed(ORIGIN, tree.head(0), &[&log()]);
    assert_eq!(
        decide_consistency(None, &request),
        Err(Refusal::ProofNotEmpty { hashes: 2 })
    );
}

// Spec: WIT-19
#[test]
fn a_proof_that_does_not_verify_is_refused() {
    let (tree, fork) = (Tree::new(9, "e"), Tree::new(9, "f"));
    for from in 1..9_usize {
        let latest = tree.head(from);
        let good = request(&tree, u64::try_from(from).unwrap(), 9);
        let refused = |request: &AddCheckpoint| {
            let refusal = decide_consistency(Some(&latest), request).unwrap_err();
            assert!(
                matches!(refusal, Refusal::Inconsistent { .. }),
                "{refusal:?}"
            );
            assert_eq!(refusal.status(), 422);
        };
        assert!(decide_consistency(Some(&latest), &good).is_ok());
        let hashes = good.proof.hashes().to_vec();
        for at in 0..hashes.len() {
            let mut changed = hashes.clone();
            changed[at] = sha256(b"other");
            refused(&AddCheckpoint {
                proof: ConsistencyProof::new(changed).unwrap(),
                ..good.clone()
            });
            let mut shorter = hashes.clone();
            shorter.remove(at);
            refused(&AddCheckpoint {
                proof: ConsistencyProof::new(shorter).unwrap(),
                ..good.clone()
            });
        }
        let mut longer = hashes.clone();
        longer.push(sha256(b"more"));
        refused(&AddCheckpoint {
            proof: ConsistencyProof::new(longer).unwrap(),
            ..good.clone()
        });
        // A fork, with a proof that is good within the fork.
        refused(&request(&fork, u64::try_from(from).unwrap(), 9));
    }
}

// Spec: WIT-20, WIT-34
#[test]
fn equal_sizes_have_equal_roots_and_no_proof() {
    let (tree, fork) = (Tree::new(5, "e"), Tree::new(5, "f"));
    let latest = tree.head(5);
    let refusal = decide_consistency(Some(&latest), &request(&fork, 5, 5)).unwrap_err();
    let (submitted, latest_root) = (fork.head(5).root_hash, latest.root_hash);
    assert_eq!(
        refusal,
        Refusal::RootMismatch {
            size: size(5),
            latest: latest_root,
            submitted
        }
    );
    assert_eq!(refusal.status(), 422);
    let mut refresh = request(&tree, 5, 5);
    refresh.proof = ConsistencyProof::new(vec![sha256(b"x")]).unwrap();
    let refusal = decide_consistency(Some(&latest), &refresh).unwrap_err();
    let Refusal::Inconsistent {
        reason: ProofError::ExtraHashes { .. },
        ..
    } = refusal
    else {
        panic!("{refusal:?}");
    };
    // With both faults, the one that proves a fork is told.
    refresh.checkpoint = signed(ORIGIN, fork.head(5), &[&log()]);
    let refusal = decide_consistency(Some(&latest), &refresh).unwrap_err();
    assert!(matches!(refusal, Refusal::RootMismatch { .. }));
}

// Spec: WIT-33
#[test]
fn the_first_of_several_faults_is_told_in_the_order_of_the_text() {
    let (tree, fork) = (Tree::new(9, "e"), Tree::new(9, "f"));
    let some = |at: usize| Some(tree.head(at));
    let strangers = || Some(vec![Key::log(ORIGIN, 9).vkey()]);
    // Old size above the checkpoint's, not ours, an empty tree with a wrong root, with proof lines.
    let mut all = request(&tree, 3, 9);
    all.old_size = size(7);
    let head = TreeHead {
        size: TreeSize::ZERO,
        root_hash: sha256(b"x"),
    };
    all.checkpoint = signed(ORIGIN, head, &[&log()]);
    let mut not_above = all.clone();
    not_above.old_size = size(0);
    let mut wrong_root = request(&tree, 0, 0);
    wrong_root.proof = all.proof.clone();
    wrong_root.checkpoint = all.checkpoint.clone();
    check(vec![
        ("404 before 403", some(3), None, all.clone(), Err(404)),
        (
            "403 before 400",
            some(3),
            strangers(),
            all.clone(),
            Err(403),
        ),
        ("400 before 409", some(3), Some(keys()), all, Err(400)),
        (
            "409 before 422, empty root",
            some(3),
            Some(keys()),
            not_above,
            Err(409),
        ),
        (
            "409 before 422, fork",
            some(3),
            Some(keys()),
            request(&fork, 9, 9),
            Err(409),
        ),
        ("422", None, Some(keys()), wrong_root, Err(422)),
    ]);
}

/// Two requests pass; one is stored first; the other decides again, without its signatures.
// Spec: WIT-15
#[test]
fn who_lost_a_race_decides_again_and_is_told_the_new_size() {
    let tree = Tree::new(9, "e");
    let (slow, fast) = (request(&tree, 3, 5), request(&tree, 3, 9));
    let before = tree.head(3);
    assert!(decide(Some(&before), Some(&keys()), &slow).is_ok());
    let stored = decide(Some(&before), Some(&keys()), &fast).unwrap().head;
    let again = decide_consistency(Some(&stored), &slow).unwrap_err();
    assert_eq!(
        again,
        Refusal::Conflict {
            old_size: size(3),
            current: size(9)
        }
    );
}

// Spec: WIT-08
#[test]
fn messages_name_what_was_wrong_and_what_would_be_right() {
    let tree = Tree::new(9, "e");
    let text = |latest: Option<usize>, request: &AddCheckpoint| {
        let latest = latest.map(|at| tree.head(at));
        decide_consistency(latest.as_ref(), request)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        text(Some(4), &request(&tree, 3, 9)),
        "the old size is 3, but the size cosigned last is 4; send a proof from there"
    );
    let mut above = request(&tree, 3, 5);
    above.old_size = size(6);
    assert_eq!(
        text(Some(6), &above),
        "the old size 6 is above the checkpoint's size 5; it must not be"
    );
    let unknown = verify_log_signatures(None, &above.checkpoint)
        .unwrap_err()
        .to_string();
    assert!(unknown.contains(ORIGIN), "{unknown}");
    let error = parse("old x\n").unwrap_err().to_string();
    assert!(
        error.starts_with("line 1: \"x\" is no tree size"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    // Spec: WIT-07
    #[test]
    fn a_request_survives_its_bytes(
        old in 0..=i64::MAX.unsigned_abs(),
        leaves in 0..=i64::MAX.unsigned_abs(),
        hashes in prop::collection::vec(any::<[u8; 32]>(), 0..=63),
        root in any::<[u8; 32]>(),
        origin in "[ -~\u{a0}-\u{2fff}]{1,40}",
    ) {
        let head = TreeHead { size: size(leaves), root_hash: Hash::new(root) };
        let request = AddCheckpoint {
            old_size: size(old),
            proof: ConsistencyProof::new(hashes.into_iter().map(Hash::new).collect()).unwrap(),
            checkpoint: signed(&origin, head, &[&log()]),
        };
        let body = request.to_bytes();
        prop_assert_eq!(AddCheckpoint::parse(&body).unwrap(), request);
    }

    // Spec: WIT-07
    #[test]
    fn what_parses_after_a_change_is_canonical(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut body = body().into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(parsed) = AddCheckpoint::parse(&body) {
            prop_assert_eq!(parsed.to_bytes(), body);
        }
    }

    /// The one property that a witness exists for: from a stored head it goes to no other history,
    /// whatever is sent, and a change in any byte of a good request is never accepted as more.
    #[test]
    fn no_change_of_a_byte_leads_to_another_head(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let tree = Tree::new(7, "e");
        let mut body = body().into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(parsed) = AddCheckpoint::parse(&body)
            && let Ok(accepted) = decide(Some(&tree.head(3)), Some(&keys()), &parsed)
        {
            prop_assert_eq!(accepted.head, tree.head(7));
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = AddCheckpoint::parse(&body);
        let _ = AddCheckpoint::parse(&[b"old 1\n\n".as_slice(), &body].concat());
        let _ = parse_conflict_body(&body);
    }
}
