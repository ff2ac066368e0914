use alloc::format;
use alloc::string::ToString as _;
use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::test_signer::TestSigner;

fn vkey(name: &str, seed: u8) -> VerifierKey {
    TestSigner::note(name, seed).key
}

fn entry(name: &str, seed: u8) -> String {
    format!("vkey {}\nqpd 24\ncontact ops\n", vkey(name, seed))
}

fn list(entries: &[&str]) -> LogList {
    parse(entries).unwrap()
}

fn parse(entries: &[&str]) -> Result<LogList, LogListError> {
    LogList::parse(format!("logs/v0\n{}", entries.concat()).as_bytes())
}

fn origins(list: &LogList) -> Vec<&str> {
    list.logs.iter().map(|log| log.origin.as_str()).collect()
}

fn kinds(list: &LogList) -> Vec<(usize, &str)> {
    let kinds = list.anomalies.iter();
    kinds
        .map(|anomaly| (anomaly.line, anomaly.kind.name()))
        .collect()
}

// Spec: LST-01, LST-02, LST-05, LST-06
#[test]
fn a_list_as_the_format_shows_it() {
    let text = format!(
        "#\n# List: 10qps\n\n  logs/v0  \r\n\n# first\nvkey {}\nqpd 86400\ncontact a b  c\n\n  \
         vkey {}\t\norigin not the name\nqpd 2147483647\n#\ncontact \u{e9}\n",
        vkey("foo.org", 1),
        vkey("bar.org", 2)
    );
    let list = LogList::parse(text.as_bytes()).unwrap();
    assert_eq!(list.anomalies, vec![]);
    assert_eq!(origins(&list), ["foo.org", "not the name"]);
    assert_eq!(list.logs[0].line, 7);
    assert_eq!(list.logs[0].key, vkey("foo.org", 1));
    assert_eq!(list.logs[0].qpd.get(), 86_400);
    assert_eq!(list.logs[0].contact, "a b  c");
    assert_eq!(list.logs[1].qpd.get(), QPD_MAX);
    assert_eq!(list.logs[1].contact, "\u{e9}");
    assert_eq!(parse(&[]).unwrap(), LogList::default());
}

/// An entry of the network's own testing list.
// Spec: LST-05
#[test]
fn an_entry_of_the_public_network() {
    let list = list(&[
        "vkey keyserver.geomys.org+16b31509+ARLJ+pmTj78HzTeBj04V+LVfB+GFAQyrg54CRIju7Nn8\n\
         qpd 1440\ncontact keyserver-tlog@geomys.org\n",
    ]);
    assert_eq!(origins(&list), ["keyserver.geomys.org"]);
}

// Spec: LST-01
#[test]
fn what_is_no_list_is_refused_as_a_whole() {
    for text in [
        "",
        "\n# only comments\n",
        "logs/v1\n",
        "<html>",
        "logs/v0x\n",
    ] {
        let refused = LogList::parse(text.as_bytes());
        assert_eq!(refused, Err(LogListError::NotAList), "{text}");
    }
    let long = vec![b'#'; LIST_BYTES_MAX + 1];
    let bytes = long.len();
    assert_eq!(LogList::parse(&long), Err(LogListError::TooLong { bytes }));
}

// Spec: LST-03, LST-04, LST-06, LST-08
#[test]
fn a_bad_entry_is_left_out_and_its_neighbours_are_taken() {
    let good = vkey("bad.org", 9);
    let cosigner = VerifierKey::from_parts(
        good.name().clone(),
        SignatureType::CosignatureV1,
        good.public_key_bytes(),
    )
    .unwrap();
    let bad: &[(String, (usize, &str))] = &[
        ("vkey nonsense\nqpd 1\ncontact c\n".into(), (5, "key")),
        (
            format!("vkey {cosigner}\nqpd 1\ncontact c\n"),
            (5, "key_type"),
        ),
        (format!("vkey {good}\ncontact c\nqpd 1\n"), (6, "order")),
        (
            format!("vkey {good}\nqpd 1\norigin o\ncontact c\n"),
            (7, "order"),
        ),
        (
            format!("vkey {good}\nqpd 1\nqpd 2\ncontact c\n"),
            (7, "order"),
        ),
        (format!("vkey {good}\nqpd 1\n"), (5, "incomplete")),
        (format!("vkey {good}\ncontact c\n"), (6, "order")),
        (format!("vkey {good}\nqpd 0\ncontact c\n"), (6, "qpd")),
        (format!("vkey {good}\nqpd 01\ncontact c\n"), (6, "qpd")),
        (format!("vkey {good}\nqpd +1\ncontact c\n"), (6, "qpd")),
        (
            format!("vkey {good}\nqpd 2147483648\ncontact c\n"),
            (6, "qpd"),
        ),
        (format!("vkey {good}\nqpd\ncontact c\n"), (6, "qpd")),
        (
            format!("vkey {good}\norigin\nqpd 1\ncontact c\n"),
            (6, "origin"),
        ),
        (
            format!("vkey {good}\nqpd 1\ncontact \u{9b}31m\n"),
            (7, "not_text"),
        ),
        (
            format!("vkey {good}\norigin a\u{202e}b\nqpd 1\ncontact c\n"),
            (6, "not_text"),
        ),
        // The lines between got lost: this origin must not go to that key.
        (
            format!("vkey {good}\nqpd 1\norigin second\nqpd 2\ncontact d\n"),
            (7, "order"),
        ),
    ];
    for (bad, anomaly) in bad {
        let list = list(&[&entry("one.org", 1), bad, &entry("two.org", 2)]);
        assert_eq!(origins(&list), ["one.org", "two.org"], "{bad}");
        assert_eq!(kinds(&list), [*anomaly], "{bad}");
    }
    let mut bytes = format!("logs/v0\n{}", entry("one.org", 1)).into_bytes();
    bytes.extend_from_slice(b"vkey \xff\nqpd 1\n");
    bytes.extend_from_slice(entry("two.org", 2).as_bytes());
    let list = LogList::parse(&bytes).unwrap();
    assert_eq!(origins(&list), ["one.org", "two.org"]);
    assert_eq!(kinds(&list), [(5, "not_text"), (6, "no_entry")]);
    // The vkey line of the second entry got lost.
    let orphan = format!("{}origin second\nqpd 2\ncontact d\n", entry("one.org", 1));
    let list = self::list(&[&orphan, &entry("two.org", 2)]);
    assert_eq!(origins(&list), ["one.org", "two.org"]);
    let expected = [(5, "no_entry"), (6, "no_entry"), (7, "no_entry")];
    assert_eq!(kinds(&list), expected);
}

// Spec: LST-14
#[test]
fn what_is_too_long_is_left_out_and_its_neighbours_are_taken() {
    let entry = |name: &str, origin: usize, contact: usize| {
        let (origin, contact) = ("o".repeat(origin), "c".repeat(contact));
        format!(
            "vkey {}\norigin {origin}\nqpd 1\ncontact {contact}\n",
            vkey(name, 1)
        )
    };
    let max = VALUE_BYTES_MAX;
    for (origin, contact, line) in [(max + 1, 1, 7), (1, max + 1, 9)] {
        let list = [
            "logs/v0\n",
            &entry("a", max, max),
            &entry("b", origin, contact),
        ]
        .concat();
        let list = LogList::parse(list.as_bytes()).unwrap();
        assert_eq!(list.logs.len(), 1);
        let told: Vec<_> = list
            .anomalies
            .iter()
            .map(|odd| (odd.line, odd.kind.name()))
            .collect();
        assert_eq!(told, [(line, "too_long")]);
    }
}

// Spec: LST-07
#[test]
fn unknown_keywords_are_reported_and_ignored() {
    let key = vkey("a.org", 1);
    let list = list(&[
        "revision 7\n",
        "qpd 1\n",
        &format!("vkey {key}\nshard 3\nqpd 1\ncontact c\n"),
    ]);
    assert_eq!(origins(&list), ["a.org"]);
    let expected = [
        (2, "unknown_keyword"),
        (3, "no_entry"),
        (5, "unknown_keyword"),
    ];
    assert_eq!(kinds(&list), expected);
}

// Spec: LST-09
#[test]
fn of_entries_with_one_origin_the_first_counts() {
    let (one, other) = (entry("a.org", 1), entry("a.org", 2));
    let list = list(&[&one, &one, &other]);
    assert_eq!(list.logs.len(), 1);
    assert_eq!(list.logs[0].key, vkey("a.org", 1));
    assert_eq!(kinds(&list), [(5, "twice"), (8, "twice_other_key")]);
}

// Spec: LST-10
#[test]
fn a_list_that_was_cut_short_gives_no_half_entry() {
    let text = format!("logs/v0\n{}{}", entry("a.org", 1), entry("b.org", 2));
    for length in 9..text.len() {
        let list = LogList::parse(&text.as_bytes()[..length]).unwrap();
        assert!(!origins(&list).contains(&"b.org"), "{length}");
        for log in &list.logs {
            assert_eq!((log.qpd.get(), log.contact.as_str()), (24, "ops"));
        }
    }
}

#[test]
fn anomalies_are_bounded() {
    let text = format!("logs/v0\n{}", "what is this\n".repeat(ANOMALIES_MAX + 5));
    let list = LogList::parse(text.as_bytes()).unwrap();
    assert_eq!(list.anomalies.len(), ANOMALIES_MAX);
    assert_eq!(list.anomalies_more, 5);
}

#[test]
fn anomalies_say_which_line() {
    for anomaly in list(&["what\n", "vkey x\n"]).anomalies {
        assert!(anomaly.to_string().starts_with("line "));
    }
}

// Spec: LST-11, LST-12
#[test]
fn only_logs_that_are_not_known_are_new() {
    let list = list(&[
        &entry("new.org", 1),
        &entry("same.org", 2),
        &entry("rekeyed.org", 3),
        &entry("disabled.org", 4),
        &entry("requota.org", 5),
    ]);
    let known =
        |name: &str, seed, qpd, active| (name.to_string(), (vec![vkey(name, seed)], qpd, active));
    let known: BTreeMap<_, _> = [
        known("same.org", 2, Some(24), true),
        known("rekeyed.org", 30, None, true),
        known("disabled.org", 4, None, false),
        known("requota.org", 5, Some(7), true),
        known("unlisted.org", 6, None, true),
    ]
    .into();
    let difference = compare(&list, |origin| {
        known
            .get(origin.as_str())
            .map(|(keys, qpd, active)| KnownLog {
                keys,
                qpd: qpd.and_then(NonZeroU32::new),
                active: *active,
            })
    });
    assert_eq!(difference.new, [&list.logs[0]]);
    assert_eq!(difference.known, 4);
    let disagreements: Vec<_> = difference
        .disagreements
        .iter()
        .map(|d| (d.listed.origin.as_str(), d.kind.name()))
        .collect();
    let expected = [
        ("rekeyed.org", "other_key"),
        ("disabled.org", "disabled_here"),
        ("requota.org", "other_qpd"),
    ];
    assert_eq!(disagreements, expected);
}

proptest! {
    /// Whatever stands around them, good entries that begin with a vkey line and are followed by
    /// one are taken, each once.
    #[test]
    fn rubbish_between_entries_costs_no_other_entry(
        rubbish in prop::collection::vec("(vkey|qpd|origin|contact|#|x)?[ -~]{0,12}", 0..12),
    ) {
        let rubbish = rubbish.join("\n") + "\n";
        let text = format!(
            "logs/v0\n{rubbish}{}{}{rubbish}",
            entry("one.example", 1),
            entry("two.example", 2)
        );
        let list = LogList::parse(text.as_bytes()).unwrap();
        let origins = origins(&list);
        prop_assert_eq!(origins.iter().filter(|o| **o == "one.example").count(), 1);
        prop_assert_eq!(origins.iter().filter(|o| **o == "two.example").count(), 1);
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut list = b"logs/v0\n".to_vec();
        list.extend_from_slice(&bytes);
        let list = LogList::parse(&list).unwrap();
        prop_assert!(list.logs.is_empty());
    }
}
