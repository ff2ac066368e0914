//! Rows of `spec/policy.md`.

use jurat_proto::checkpoint::{SignaturesError, SignedCheckpoint};
use jurat_proto::key::{SignatureType, UnixSeconds};
use jurat_proto::policy::{
    GROUPS_MAX, LOGS_MAX, Member, POLICY_BYTES_MAX, Policy, PolicyBuilder, PolicyError,
    PolicyFault, PolicyParseError, PolicyWord, Quorum, Threshold, UnmetGroup, WITNESSES_MAX,
    WitnessVerdict,
};
use jurat_proto::tree::TreeHead;
use proptest::prelude::*;

use crate::signing::{Key, NOW, Tree, signed, spoiled, unsigned};

const ORIGIN: &str = "log.example/one";

fn word(text: &str) -> PolicyWord {
    PolicyWord::new(text).unwrap()
}

/// Witnesses w1 to w9 as lines; group lines may follow.
fn witness_lines() -> String {
    (1..=9)
        .map(|n| {
            format!(
                "witness w{n} {}\n",
                Key::witness(&format!("w{n}"), n).vkey()
            )
        })
        .collect()
}

fn parse(text: &str) -> Result<Policy, PolicyParseError> {
    Policy::parse(text.as_bytes())
}

/// The fault of a policy that ends in `line` (and a good quorum, unless that is the line).
fn fault(line: &str) -> PolicyFault {
    let before = witness_lines();
    match parse(&format!("{before}{line}\nquorum none\n")) {
        Err(PolicyParseError::Line {
            line: number,
            fault,
        }) => {
            assert!(
                (10..=11 + line.matches('\n').count()).contains(&number),
                "{number}"
            );
            fault
        }
        other => panic!("{line}: {other:?}"),
    }
}

// Spec: POL-01
#[test]
fn only_tab_newline_printable_ascii_and_high_octets_are_allowed() {
    for octet in 0..=0xff_u8 {
        let mut file = b"# ".to_vec();
        file.push(octet);
        file.extend_from_slice(b"\nquorum none\n");
        let allowed = matches!(octet, 0x09 | 0x0a | 0x20..=0x7e | 0x80..);
        let want = if allowed {
            Ok(())
        } else {
            Err(PolicyParseError::ForbiddenOctet {
                line: 1,
                column: 3,
                octet,
            })
        };
        assert_eq!(Policy::parse(&file).map(drop), want, "{octet:#04x}");
    }
    // Line ends of another system are told by name.
    let error = parse("# a\r\nquorum none\r\n").unwrap_err();
    assert_eq!(
        error,
        PolicyParseError::ForbiddenOctet {
            line: 1,
            column: 4,
            octet: b'\r'
        }
    );
    assert!(error.to_string().contains("carriage return"), "{error}");
    // A key name may hold the one other octet, so a key can be such that no file can hold it.
    let key = Key::witness("w\u{7f}", 1).vkey();
    let refused = PolicyBuilder::new().witness(word("w"), key.clone(), None);
    assert_eq!(refused, Err(PolicyFault::KeyNotWritable));
    assert_eq!(
        PolicyBuilder::new().log(key, None),
        Err(PolicyFault::KeyNotWritable)
    );
}

// Spec: POL-02
#[test]
fn a_file_cut_short_is_refused_even_where_it_would_mean_something() {
    let whole = format!("{}group w any w1 w2\nquorum w1\n", witness_lines());
    parse(&whole).unwrap();
    let cut = whole.strip_suffix('\n').unwrap();
    assert_eq!(parse(cut), Err(PolicyParseError::Unterminated { line: 11 }));
    // "quorum w1" could be what is left of "quorum w12".
    for end in 1..whole.len() {
        let cut = whole.as_bytes().get(..end).unwrap();
        assert!(Policy::parse(cut).is_err(), "cut at {end}");
    }
    assert_eq!(parse(""), Err(PolicyParseError::NoQuorum));
}

// Spec: POL-03, POL-04
#[test]
fn white_space_and_comments_mean_nothing() {
    let key = Key::witness("w", 1).vkey();
    let plain = parse(&format!("witness w {key}\nquorum w\n")).unwrap();
    let spaced = format!(
        "\n \t \n#\n\t # quorum none\n#quorum none\n \twitness\t w \t {key} \t\n\tquorum w \n\n"
    );
    assert_eq!(parse(&spaced).unwrap(), plain);
    // A number sign elsewhere is part of an item.
    let hash = parse(&format!("witness #w {key}\nquorum #w\n")).unwrap();
    assert_eq!(hash.witnesses()[0].name, word("#w"));
    assert_eq!(
        fault("quorum w1 # why"),
        PolicyFault::Extra { item: "#".into() }
    );
    // White space is space and tab, not what Unicode calls so.
    assert_eq!(
        fault("quorum\u{a0}w1"),
        PolicyFault::UnknownKeyword {
            keyword: "quorum\u{a0}w1".into()
        }
    );
}

// Spec: POL-05
#[test]
fn names_are_octets_without_a_meaning() {
    let (one, two) = (Key::witness("a", 1).vkey(), Key::witness("b", 2).vkey());
    // K and the Kelvin sign; then octets that are no UTF-8 at all.
    let mut file = format!("witness K {one}\nwitness \u{212a} {two}\n").into_bytes();
    file.extend_from_slice(b"# \xff\xfe\ngroup \xc3 all K \xe2\x84\xaa\nquorum \xc3\n");
    let policy = Policy::parse(&file).unwrap();
    assert_eq!(
        policy.groups()[0].members,
        [Member::Witness(0), Member::Witness(1)]
    );
    assert_eq!(policy.groups()[0].name.as_bytes(), b"\xc3");
    assert_eq!(policy.groups()[0].name.to_str(), None);
    assert_eq!(Policy::parse(&policy.to_bytes()).unwrap(), policy);

    let file = format!("witness K {one}\nquorum \u{212a}\n");
    assert!(matches!(
        parse(&file),
        Err(PolicyParseError::Line {
            line: 2,
            fault: PolicyFault::UnknownName { .. }
        })
    ));
    for bad in ["", "a b", "a\tb", "a\nb", "\u{7f}", "\u{0}"] {
        assert_eq!(PolicyWord::new(bad), None, "{bad:?}");
    }
}

// Spec: POL-05
#[test]
fn a_url_may_have_any_octets() {
    let key = Key::log(ORIGIN, 1).vkey();
    let mut file = format!("log {key} ").into_bytes();
    file.extend_from_slice("https://bücher.example/".as_bytes());
    file.extend_from_slice(b"\xff\nquorum none\n");
    let policy = Policy::parse(&file).unwrap();
    assert!(
        policy.logs()[0]
            .url
            .as_ref()
            .unwrap()
            .as_bytes()
            .ends_with(b"\xff")
    );
    assert_eq!(policy.to_bytes(), file);
}

// Spec: POL-06
#[test]
fn each_line_has_exactly_the_items_of_its_keyword() {
    let log = Key::log(ORIGIN, 20).vkey();
    let key = Key::witness("w", 20).vkey();
    let missing = |what| PolicyFault::Missing { what };
    let extra = |item: &str| PolicyFault::Extra { item: item.into() };
    let rows = [
        (
            "Log".into(),
            PolicyFault::UnknownKeyword {
                keyword: "Log".into(),
            },
        ),
        (
            "policy v1".into(),
            PolicyFault::UnknownKeyword {
                keyword: "policy".into(),
            },
        ),
        ("log".into(), missing("a log's vkey")),
        (format!("log {log} https://a b"), extra("b")),
        ("witness".into(), missing("a witness's name")),
        ("witness w".into(), missing("a witness's vkey")),
        (format!("witness w {key} https://a b"), extra("b")),
        ("group".into(), missing("a group's name")),
        ("group g".into(), missing("any, all or a number")),
        ("quorum".into(), missing("the quorum's name")),
        ("quorum w1 w2".into(), extra("w2")),
    ];
    for (line, want) in rows {
        assert_eq!(fault(&line), want, "{line}");
    }
}

// Spec: POL-07
#[test]
fn a_log_may_have_any_key_that_can_sign_a_checkpoint() {
    let types = [
        SignatureType::Ed25519,
        SignatureType::CosignatureV1,
        SignatureType::MlDsa44,
    ];
    for signature_type in types {
        let key = Key::new(ORIGIN, signature_type, 1).vkey();
        parse(&format!("log {key}\nquorum none\n")).unwrap();
    }
    assert!(matches!(fault("log nonsense"), PolicyFault::Key(_)));
    let bytes = b"log a\xff+00000000+AAAA\nquorum none\n";
    assert_eq!(
        Policy::parse(bytes),
        Err(PolicyParseError::Line {
            line: 1,
            fault: PolicyFault::KeyNotText
        })
    );
}

// Spec: POL-08
#[test]
fn a_witness_has_a_cosignature_key() {
    let key = Key::log("w", 20).vkey();
    let want = PolicyFault::WitnessKeyType {
        signature_type: SignatureType::Ed25519,
    };
    assert_eq!(fault(&format!("witness w {key}")), want);
    for key in [Key::witness("w", 20).vkey(), Key::ml_dsa("w", 20).vkey()] {
        parse(&format!("witness w {key}\nquorum w\n")).unwrap();
    }
}

// Spec: POL-09, POL-10
#[test]
fn a_public_key_comes_once_whatever_its_name_and_type() {
    let (one, again) = (Key::log("one", 7).vkey(), Key::witness("two", 7).vkey());
    let file = format!("log {one}\nlog {again}\nquorum none\n");
    assert_eq!(
        parse(&file),
        Err(PolicyParseError::Line {
            line: 2,
            fault: PolicyFault::DuplicateLogKey {
                first: one.to_string()
            }
        })
    );
    let again = Key::witness("other", 3).vkey();
    assert_eq!(
        fault(&format!("witness other {again}")),
        PolicyFault::DuplicateWitnessKey { first: word("w3") }
    );
    // A log and a witness may share one, and one operator may have two keys at one URL.
    let (ed, ml) = (Key::witness("w", 7).vkey(), Key::ml_dsa("w", 7).vkey());
    let url = "https://w.example/";
    let file = format!("log {one}\nwitness a {ed} {url}\nwitness b {ml} {url}\nquorum a\n");
    assert_eq!(parse(&file).unwrap().witnesses().len(), 2);
}

// Spec: POL-11, POL-12, POL-13, POL-14, POL-16
#[test]
fn names_are_defined_once_before_use_and_listed_once() {
    let key = Key::witness("new", 20).vkey();
    let name = |text: &str| word(text);
    let rows = [
        (
            format!("witness w1 {key}"),
            PolicyFault::DuplicateName { name: name("w1") },
        ),
        (
            "group w1 any w2".into(),
            PolicyFault::DuplicateName { name: name("w1") },
        ),
        (
            "group g any w1\ngroup g any w2".into(),
            PolicyFault::DuplicateName { name: name("g") },
        ),
        (
            format!("group g any w1\nwitness g {key}"),
            PolicyFault::DuplicateName { name: name("g") },
        ),
        (format!("witness none {key}"), PolicyFault::ReservedName),
        ("group none any w1".into(), PolicyFault::ReservedName),
        ("group g any w1 none".into(), PolicyFault::NoneAsMember),
        (
            "group g any g".into(),
            PolicyFault::UnknownName { name: name("g") },
        ),
        (
            "group g any h\ngroup h any w1".into(),
            PolicyFault::UnknownName { name: name("h") },
        ),
        (
            format!("group g any late\nwitness late {key}"),
            PolicyFault::UnknownName { name: name("late") },
        ),
        (
            "group g all".into(),
            PolicyFault::EmptyGroup { name: name("g") },
        ),
        (
            "group g any w1 w1".into(),
            PolicyFault::MemberTwice {
                name: name("w1"),
                first: name("g"),
            },
        ),
        (
            "group g any w1 w2\ngroup h any w3 w1".into(),
            PolicyFault::MemberTwice {
                name: name("w1"),
                first: name("g"),
            },
        ),
        (
            "group g any w1\ngroup h any g\ngroup i any g".into(),
            PolicyFault::MemberTwice {
                name: name("g"),
                first: name("h"),
            },
        ),
    ];
    for (line, want) in rows {
        assert_eq!(fault(&line), want, "{line}");
    }
    // Keywords are names like any other.
    parse(&format!(
        "witness any {key}\ngroup all any any\nquorum all\n"
    ))
    .unwrap();
}

// Spec: POL-15
#[test]
fn a_threshold_is_any_all_or_a_number_that_fits() {
    let needed = |threshold: &str| {
        let text = format!(
            "{}group g {threshold} w1 w2 w3\nquorum g\n",
            witness_lines()
        );
        parse(&text).unwrap().groups()[0].needed()
    };
    assert_eq!(
        [needed("any"), needed("all"), needed("1"), needed("3")],
        [1, 3, 1, 3]
    );
    for (threshold, number) in [("0", 0), ("4", 4), ("9223372036854775807", usize::MAX >> 1)] {
        assert_eq!(
            fault(&format!("group g {threshold} w1 w2 w3")),
            PolicyFault::ThresholdOutOfRange {
                threshold: number,
                members: 3
            }
        );
    }
    for threshold in [
        "02",
        "+2",
        "-1",
        "two",
        "Any",
        "1.0",
        "9223372036854775808",
        "２",
    ] {
        let fault = fault(&format!("group g {threshold} w1 w2 w3"));
        assert!(
            matches!(fault, PolicyFault::Threshold { .. }),
            "{threshold}: {fault:?}"
        );
    }
}

// Spec: POL-17, POL-18
#[test]
fn the_quorum_is_set_once_and_never_by_silence() {
    assert_eq!(parse(&witness_lines()), Err(PolicyParseError::NoQuorum));
    assert_eq!(PolicyBuilder::new().finish(), Err(PolicyFault::NoQuorum));
    for second in ["quorum w1", "quorum none"] {
        assert_eq!(
            fault(&format!("quorum none\n{second}")),
            PolicyFault::SecondQuorum
        );
    }
    assert_eq!(
        fault("quorum w10"),
        PolicyFault::UnknownName { name: word("w10") }
    );
    assert_eq!(
        fault("quorum None"),
        PolicyFault::UnknownName { name: word("None") }
    );
    let after = format!("quorum w1\n{}", witness_lines());
    assert!(matches!(
        parse(&after),
        Err(PolicyParseError::Line {
            line: 1,
            fault: PolicyFault::UnknownName { .. }
        })
    ));
    assert_eq!(parse("quorum none\n").unwrap().quorum(), Quorum::None);
    // Other lines may follow it.
    let early = format!(
        "witness w {}\nquorum w\n{}",
        Key::witness("w", 20).vkey(),
        witness_lines()
    );
    assert_eq!(
        parse(&early).unwrap().quorum(),
        Quorum::Member(Member::Witness(0))
    );
}

// Spec: POL-19
#[test]
fn limits_are_far_above_what_must_be_supported() {
    const { assert!(LOGS_MAX >= 32 && WITNESSES_MAX >= 32 && GROUPS_MAX >= 32) };
    // Keys from distinct seeds are slow to make by the hundred in ML-DSA; Ed25519 will do.
    let key = |n: usize| {
        let seed = u8::try_from(n % 256).unwrap();
        Key::witness(&format!("n{n}"), seed).vkey()
    };
    let mut builder = PolicyBuilder::new();
    for n in 0..LOGS_MAX {
        builder.log(key(n), None).unwrap();
        builder
            .witness(word(&format!("w{n}")), key(n), None)
            .unwrap();
        // Each group holds a witness and the group before it: as deep as groups can nest.
        let (witness, inner) = (format!("w{n}"), format!("g{}", n.wrapping_sub(1)));
        let members = [witness.as_bytes(), inner.as_bytes()];
        let members = members.into_iter().take(if n == 0 { 1 } else { 2 });
        builder
            .group(word(&format!("g{n}")), Threshold::All, members)
            .unwrap();
    }
    assert_eq!(builder.log(key(0), None), Err(PolicyFault::TooManyLogs));
    assert_eq!(
        builder.witness(word("w"), key(0), None),
        Err(PolicyFault::TooManyWitnesses)
    );
    assert_eq!(
        builder.group(word("g"), Threshold::All, [b"g255".as_slice()]),
        Err(PolicyFault::TooManyGroups)
    );
    builder.quorum(b"g255").unwrap();
    let policy = builder.finish().unwrap();
    assert_eq!(Policy::parse(&policy.to_bytes()).unwrap(), policy);
    assert!(policy.quorum_met(|_| true));
    assert!(!policy.quorum_met(|place| place != 0));

    let comment = vec![b'#'; POLICY_BYTES_MAX + 1];
    let bytes = POLICY_BYTES_MAX + 1;
    assert_eq!(
        Policy::parse(&comment),
        Err(PolicyParseError::TooLong { bytes })
    );
    let mut builder = PolicyBuilder::new();
    let url = PolicyWord::new(vec![b'u'; POLICY_BYTES_MAX]).unwrap();
    builder.log(key(0), Some(url)).unwrap();
    builder.quorum(b"none").unwrap();
    assert!(matches!(builder.finish(), Err(PolicyFault::TooLong { .. })));
}

/// A failed definition leaves the builder as it was.
// Spec: POL-16
#[test]
fn a_refused_group_takes_no_member() {
    let mut builder = PolicyBuilder::new();
    builder
        .witness(word("w"), Key::witness("w", 1).vkey(), None)
        .unwrap();
    builder
        .group(word("g"), Threshold::AtLeast(2), [b"w".as_slice()])
        .unwrap_err();
    builder
        .group(word("w"), Threshold::Any, [b"w".as_slice()])
        .unwrap_err();
    builder
        .group(word("g"), Threshold::Any, [b"w".as_slice()])
        .unwrap();
}

/// The policy of the specification's example: two of three X, any of three Y.
fn example() -> (Policy, Vec<Key>) {
    let keys: Vec<Key> = (1..=6).map(|n| Key::witness(&format!("w{n}"), n)).collect();
    let mut text = format!("log {}\n", Key::log(ORIGIN, 100).vkey());
    for (name, key) in ["X1", "X2", "X3", "Y1", "Y2", "Y3"].iter().zip(&keys) {
        text += &format!("witness {name} {}\n", key.vkey());
    }
    text += "group X-witnesses 2 X1 X2 X3\ngroup Y-witnesses any Y1 Y2 Y3\n";
    text += "group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n";
    (parse(&text).unwrap(), keys)
}

fn head() -> TreeHead {
    Tree::new(5, "e").head(5)
}

// Spec: POL-20
#[test]
fn a_policy_is_written_back_in_order() {
    let (policy, _) = example();
    let bytes = policy.to_bytes();
    assert_eq!(Policy::parse(&bytes).unwrap(), policy);
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.ends_with(
        "\ngroup X-witnesses 2 X1 X2 X3\ngroup Y-witnesses any Y1 Y2 Y3\n\
         group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n"
    ));
    // Logs and witnesses in another order, groups between witnesses: written in the one order.
    let (log, w, v) = (
        Key::log("l", 1).vkey(),
        Key::witness("w", 1).vkey(),
        Key::witness("v", 2).vkey(),
    );
    let mixed = format!("witness w {w}\ngroup g any w\nwitness v {v}\nlog {log}\nquorum g\n");
    let sorted = format!("log {log}\nwitness w {w}\nwitness v {v}\ngroup g any w\nquorum g\n");
    assert_eq!(parse(&mixed).unwrap().to_bytes(), sorted.as_bytes());
}

// Spec: POL-24
#[test]
fn quorum_of_the_example_in_every_combination() {
    let (policy, _) = example();
    for set in 0..64_u32 {
        let xs = (set & 0b00_0111).count_ones();
        let ys = (set & 0b11_1000).count_ones();
        assert_eq!(
            policy.quorum_met(|place| set >> place & 1 == 1),
            xs >= 2 && ys >= 1,
            "{set:b}"
        );
    }
    let one = parse(&format!("{}quorum w2\n", witness_lines())).unwrap();
    assert!(one.quorum_met(|place| place == 1) && !one.quorum_met(|place| place != 1));
    assert!(parse("quorum none\n").unwrap().quorum_met(|_| false));
}

// Spec: POL-21, POL-22
#[test]
fn a_checkpoint_is_valid_when_its_log_signed_and_the_quorum_cosigned() {
    let (policy, w) = example();
    let log = Key::log(ORIGIN, 100);
    let good = signed(ORIGIN, head(), &[&log, &w[0], &w[2], &w[4]]);
    let verdict = policy.verify_checkpoint(&good).unwrap();
    assert_eq!(verdict.log, 0);
    let time = UnixSeconds::new(NOW);
    let want = [0, 2, 4].map(|witness| WitnessVerdict { witness, time });
    assert_eq!(verdict.witnesses, want);

    // Another origin, even under a signature by the same key.
    let other = signed("log.example/two", head(), &[&log, &w[0], &w[2], &w[4]]);
    let origin = other.origin().clone();
    assert_eq!(
        policy.verify_checkpoint(&other),
        Err(PolicyError::UnknownLog { origin })
    );
    // The origin of the log, without its signature.
    let unsigned_by_log = signed(ORIGIN, head(), &[&w[0], &w[2], &w[4]]);
    let origin = unsigned_by_log.origin().clone();
    assert_eq!(
        policy.verify_checkpoint(&unsigned_by_log),
        Err(PolicyError::NotSignedByLog {
            origin: origin.clone()
        })
    );
    // A key of the right name and another id.
    let stranger = signed(
        ORIGIN,
        head(),
        &[&Key::log(ORIGIN, 101), &w[0], &w[2], &w[4]],
    );
    assert_eq!(
        policy.verify_checkpoint(&stranger),
        Err(PolicyError::NotSignedByLog {
            origin: origin.clone()
        })
    );
    // Nothing known at all.
    let strangers = signed(ORIGIN, head(), &[&Key::log("x", 102)]);
    assert_eq!(
        policy.verify_checkpoint(&strangers),
        Err(PolicyError::NotSignedByLog { origin })
    );
}

// Spec: POL-21
#[test]
fn any_key_listed_for_the_origin_will_do_and_the_verdict_names_it() {
    let (other, old, new) = (
        Key::log("x", 1),
        Key::log(ORIGIN, 2),
        Key::ml_dsa(ORIGIN, 3),
    );
    let text = format!(
        "log {}\nlog {}\nlog {}\nquorum none\n",
        other.vkey(),
        old.vkey(),
        new.vkey()
    );
    let policy = parse(&text).unwrap();
    let log = |keys: &[&Key]| {
        policy
            .verify_checkpoint(&signed(ORIGIN, head(), keys))
            .unwrap()
            .log
    };
    assert_eq!([log(&[&old]), log(&[&new]), log(&[&new, &old])], [1, 2, 1]);
    // A bad line by the key of a log of another origin is nobody's business here.
    let checkpoint = unsigned(ORIGIN, head());
    let lines = vec![
        spoiled(&other.line(&checkpoint, NOW)),
        old.line(&checkpoint, NOW),
    ];
    let note = SignedCheckpoint::new(checkpoint, lines).unwrap();
    assert_eq!(policy.verify_checkpoint(&note).unwrap().log, 1);
}

// Spec: POL-23
#[test]
fn one_bad_line_by_a_known_key_spoils_the_checkpoint() {
    let (policy, w) = example();
    let log = Key::log(ORIGIN, 100);
    let checkpoint = unsigned(ORIGIN, head());
    let keys = [&log, &w[0], &w[1], &w[3], &w[4]];
    for bad in 0..keys.len() {
        let lines = keys.iter().enumerate().map(|(place, key)| {
            let line = key.line(&checkpoint, NOW);
            if place == bad { spoiled(&line) } else { line }
        });
        let note = SignedCheckpoint::new(checkpoint.clone(), lines.collect()).unwrap();
        let error = policy.verify_checkpoint(&note).unwrap_err();
        let PolicyError::BadSignature(SignaturesError::BadSignature { line_index, .. }) = error
        else {
            panic!("{error:?}");
        };
        assert_eq!(line_index, bad);
    }
}

// Spec: POL-25
#[test]
fn a_missed_quorum_is_explained_down_to_the_witnesses() {
    let (policy, w) = example();
    let log = Key::log(ORIGIN, 100);
    let error = policy
        .verify_checkpoint(&signed(ORIGIN, head(), &[&log, &w[1]]))
        .unwrap_err();
    let group = |name: &str, needed, members, present, missing: &[&str]| UnmetGroup {
        name: word(name),
        needed,
        members,
        present,
        missing: missing.iter().map(|name| word(name)).collect(),
    };
    let unmet = vec![
        group("X-and-Y", 2, 2, 0, &["X-witnesses", "Y-witnesses"]),
        group("X-witnesses", 2, 3, 1, &["X1", "X3"]),
        group("Y-witnesses", 1, 3, 0, &["Y1", "Y2", "Y3"]),
    ];
    assert_eq!(error, PolicyError::QuorumNotMet { unmet });
    assert_eq!(
        error.to_string(),
        "the quorum is not met: X-and-Y needs 2 of 2 and has 0, without X-witnesses, Y-witnesses; \
         X-witnesses needs 2 of 3 and has 1, without X1, X3; \
         Y-witnesses needs 1 of 3 and has 0, without Y1, Y2, Y3"
    );
    // What is met is not mentioned.
    let error = policy
        .verify_checkpoint(&signed(ORIGIN, head(), &[&log, &w[3]]))
        .unwrap_err();
    assert!(!error.to_string().contains("Y-"), "{error}");

    let one = parse(&format!(
        "log {}\n{}quorum w2\n",
        log.vkey(),
        witness_lines()
    ))
    .unwrap();
    let error = one
        .verify_checkpoint(&signed(ORIGIN, head(), &[&log, &w[2]]))
        .unwrap_err();
    assert_eq!(
        error,
        PolicyError::QuorumNotMet {
            unmet: vec![group("w2", 1, 1, 0, &["w2"])]
        }
    );
}

// Spec: POL-26
#[test]
fn a_policy_without_logs_verifies_for_logs_that_the_caller_knows() {
    let w = Key::witness("w", 1);
    let policy = parse(&format!("witness w {}\nquorum w\n", w.vkey())).unwrap();
    // The log's key has another name than its origin, as that of the Go checksum database.
    let log = Key::log("sum.example", 2);
    let note = signed("sum database tree", head(), &[&log, &w]);
    let origin = note.origin().clone();
    assert_eq!(
        policy.verify_checkpoint(&note),
        Err(PolicyError::UnknownLog {
            origin: origin.clone()
        })
    );
    let keys = [Key::log("sum.example", 3).vkey(), log.vkey()];
    let verdict = policy.verify_checkpoint_by(&note, &keys).unwrap();
    assert_eq!((verdict.log, verdict.witnesses.len()), (1, 1));
    assert_eq!(
        policy.verify_checkpoint_by(&note, &[]),
        Err(PolicyError::UnknownLog { origin })
    );
}

// Spec: POL-27
#[test]
fn lines_by_other_keys_count_for_nothing() {
    let w = Key::witness("w", 1);
    let log = Key::log(ORIGIN, 2);
    let policy = parse(&format!(
        "log {}\nwitness w {}\nquorum w\n",
        log.vkey(),
        w.vkey()
    ))
    .unwrap();
    let checkpoint = unsigned(ORIGIN, head());
    let stranger = Key::witness("w", 9).line(&checkpoint, NOW);
    let mut lines = vec![spoiled(&stranger), stranger, log.line(&checkpoint, NOW)];
    let note = SignedCheckpoint::new(checkpoint.clone(), lines.clone()).unwrap();
    assert!(matches!(
        policy.verify_checkpoint(&note),
        Err(PolicyError::QuorumNotMet { .. })
    ));
    lines.push(w.line(&checkpoint, NOW));
    let note = SignedCheckpoint::new(checkpoint, lines).unwrap();
    policy.verify_checkpoint(&note).unwrap();
}

// Spec: POL-28
#[test]
fn a_witness_counts_once_with_its_earliest_time() {
    let (w, m) = (Key::witness("w", 1), Key::ml_dsa("m", 2));
    let log = Key::log(ORIGIN, 3);
    let text = format!(
        "log {}\nwitness w {}\nwitness m {}\ngroup g all w m\nquorum g\n",
        log.vkey(),
        w.vkey(),
        m.vkey()
    );
    let policy = parse(&text).unwrap();
    let checkpoint = unsigned(ORIGIN, head());
    let times = |w_times: &[u64], m_times: &[u64]| {
        let mut lines = vec![log.line(&checkpoint, NOW)];
        lines.extend(w_times.iter().map(|&time| w.line(&checkpoint, time)));
        lines.extend(m_times.iter().map(|&time| m.line(&checkpoint, time)));
        let note = SignedCheckpoint::new(checkpoint.clone(), lines).unwrap();
        let verdict = policy.verify_checkpoint(&note)?;
        let time = |verdict: &WitnessVerdict| verdict.time.map(UnixSeconds::get);
        Ok::<_, PolicyError>(verdict.witnesses.iter().map(time).collect::<Vec<_>>())
    };
    assert_eq!(times(&[30, 10, 20], &[5]), Ok(vec![Some(10), Some(5)]));
    assert_eq!(times(&[10], &[0]), Ok(vec![Some(10), None]));
    assert_eq!(times(&[10], &[0, 7]), Ok(vec![Some(10), Some(7)]));
    // Three lines of one witness are not two witnesses.
    assert!(times(&[10, 20, 30], &[]).is_err());
}

/// One key can be a log's and a witness's; its one line is both.
// Spec: POL-22
#[test]
fn a_key_that_is_both_log_and_witness_counts_for_both() {
    let both = Key::ml_dsa(ORIGIN, 1);
    let policy = parse(&format!("log {0}\nwitness w {0}\nquorum w\n", both.vkey())).unwrap();
    let verdict = policy
        .verify_checkpoint(&signed(ORIGIN, head(), &[&both]))
        .unwrap();
    assert_eq!((verdict.log, verdict.witnesses.len()), (0, 1));
}

// Spec: POL-04, POL-32, POL-33, POL-34
#[test]
fn comments_of_ours_name_retired_keys_and_whose_a_gossip_key_is() {
    let log = Key::log(ORIGIN, 1).vkey().to_string();
    let old = Key::ml_dsa(ORIGIN, 2).vkey().to_string();
    let gossip = Key::log("w.example", 3).vkey().to_string();
    let other = Key::log("w.example", 4).vkey().to_string();
    let [one, two] = [5, 6].map(|seed| Key::witness("w.example", seed).vkey().to_string());
    let head = format!("log {log}\nwitness w1 {one}\nwitness w2 {two}\ngroup g any w1 w2\n");
    let with = |lines: &str| parse(&format!("{head}{lines}quorum g\n"));
    let policy = with(&format!(
        "#jurat:retired {old}\n \t#jurat:gossip {gossip}  w2 w1\n# {old}\n#jurat\n"
    ));
    let policy = policy.unwrap();
    let retired: Vec<String> = policy.retired().iter().map(ToString::to_string).collect();
    assert_eq!(retired, std::slice::from_ref(&old));
    let [tied] = policy.gossip() else {
        panic!("{policy:?}")
    };
    assert_eq!(
        (tied.key.to_string(), &*tied.witnesses),
        (gossip.clone(), &[1, 0][..])
    );
    assert_eq!(Policy::parse(&policy.to_bytes()).unwrap(), policy);
    for (lines, fault) in [
        (
            format!("#jurat:retired {old}\n#jurat:retired {old}\n"),
            "above says",
        ),
        (format!("#jurat:retired {old} {old}\n"), "unexpected"),
        ("#jurat:retired\n".to_owned(), "missing"),
        ("#jurat:retired x\n".to_owned(), "not valid"),
        (format!("#jurat:gossip {gossip}\n"), "missing"),
        (format!("#jurat:gossip {gossip} g\n"), "a group"),
        (format!("#jurat:gossip {gossip} none\n"), "none cannot"),
        (format!("#jurat:gossip {gossip} w3\n"), "not defined"),
        (format!("#jurat:gossip {gossip} w1 w1\n"), "already defined"),
        (format!("#jurat:gossip {one} w1\n"), "does not gossip"),
        (
            format!("#jurat:gossip {gossip} w1\n#jurat:gossip {gossip} w2\n"),
            "above says",
        ),
        ("#jurat:retries x\n".to_owned(), "unknown keyword"),
    ] {
        let said = with(&lines).unwrap_err().to_string();
        assert!(said.contains(fault), "{lines}{said}");
    }
    // One witness may have two gossip keys, one after the other.
    let both = format!("#jurat:gossip {gossip} w1\n#jurat:gossip {other} w1\n");
    assert_eq!(with(&both).unwrap().gossip().len(), 2);
}

/// Builds any policy that there can be, from choices.
fn any_policy() -> impl Strategy<Value = Policy> {
    let group = (
        0..4_usize,
        prop::collection::vec(any::<prop::sample::Index>(), 1..4),
    );
    (
        0..3_u8,
        0..6_u8,
        prop::collection::vec(group, 0..4),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(logs, witnesses, groups, quorum)| {
            let mut builder = PolicyBuilder::new();
            for n in 0..logs {
                let url = (n % 2 == 0).then(|| word("https://log.example/\u{e9}"));
                builder
                    .log(Key::log(&format!("log{n}"), n).vkey(), url)
                    .unwrap();
            }
            let mut names: Vec<Vec<u8>> = Vec::new();
            for n in 0..witnesses {
                let name = [b"w", [0x80 + n].as_slice()].concat();
                let key = Key::witness(&format!("witness{n}"), n).vkey();
                builder
                    .witness(PolicyWord::new(name.clone()).unwrap(), key, None)
                    .unwrap();
                names.push(name);
            }
            let mut free = names.clone();
            for (n, (kind, picks)) in groups.into_iter().enumerate() {
                let mut members = Vec::new();
                for pick in picks {
                    if !free.is_empty() {
                        members.push(free.swap_remove(pick.index(free.len())));
                    }
                }
                if members.is_empty() {
                    continue;
                }
                let threshold = match kind {
                    0 => Threshold::Any,
                    1 => Threshold::All,
                    k => Threshold::AtLeast(k.min(members.len())),
                };
                let name = format!("g{n}").into_bytes();
                let word = PolicyWord::new(name.clone()).unwrap();
                builder
                    .group(word, threshold, members.iter().map(Vec::as_slice))
                    .unwrap();
                free.push(name.clone());
                names.push(name);
            }
            names.push(b"none".to_vec());
            builder.quorum(&names[quorum.index(names.len())]).unwrap();
            builder.finish().unwrap()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // Spec: POL-20
    #[test]
    fn every_policy_survives_its_file(policy in any_policy()) {
        let file = policy.to_bytes();
        let parsed = Policy::parse(&file).unwrap();
        prop_assert_eq!(parsed.to_bytes(), file);
        prop_assert_eq!(parsed, policy);
    }

    // Spec: POL-24, POL-25
    #[test]
    fn more_cosignatures_never_hurt_and_shortfalls_are_told(
        policy in any_policy(),
        set in any::<u8>(),
    ) {
        let met = policy.quorum_met(|place| set >> place & 1 == 1);
        for more in 0..8 {
            let with_more = policy.quorum_met(|place| (set | 1 << more) >> place & 1 == 1);
            prop_assert!(!met || with_more);
        }
        prop_assert!(policy.quorum_met(|_| true));
    }

    #[test]
    fn no_octets_make_the_parser_panic(file in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Policy::parse(&file);
    }

    /// What parses after a change is still a policy that survives its file.
    #[test]
    fn a_changed_file_is_refused_or_another_policy(
        policy in any_policy(),
        at in any::<prop::sample::Index>(),
        octet in any::<u8>(),
    ) {
        let mut file = policy.to_bytes();
        let at = at.index(file.len());
        file[at] = octet;
        if let Ok(changed) = Policy::parse(&file) {
            prop_assert_eq!(Policy::parse(&changed.to_bytes()).unwrap(), changed);
        }
    }
}
