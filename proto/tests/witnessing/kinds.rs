//! Rows of `spec/entry.md` on the entries whose body is a line a field.

use jurat_proto::base64;
use jurat_proto::entry::{
    ClockEntry, ClockEvent, CloseReason, Entry, EntryError, KeyEntry, KeyEvent, KeyPurpose,
    TimestampEntry,
};
use jurat_proto::hash::{Hash, leaf_hash, sha256};
use jurat_proto::key::UnixSeconds;
use jurat_proto::tree::LeafIndex;
use jurat_proto::tsp::gen_time::GenTime;
use jurat_proto::tsp::oid::Oid;
use jurat_proto::tsp::signed_data::TimestampToken;
use jurat_proto::tsp::tst_info::{SerialNumber, TstInfo, UnitId};
use proptest::prelude::*;

const HASH: &str = "LCZCuIGtUEzFOkH8Ww7s0Xp0cZ9Zg9eb9EoZ16m4fBs=";
const UNIT: &str = "4a01020304050607";

/// A `TSTInfo` as a token has it.
fn tst_info() -> TstInfo {
    let token = TimestampToken::parse(include_bytes!("../tsp/token.der")).unwrap();
    let mut info = token.tst_info().clone();
    info.gen_time = GenTime::new(1_795_000_000, 0).unwrap();
    info.serial = SerialNumber::of_unit(unit(), LeafIndex::new(300).unwrap());
    info.policy = Oid::parse("1.3.6.1.4.1.99999.1").unwrap();
    info
}

fn unit() -> UnitId {
    UnitId::parse(UNIT).unwrap()
}

fn parse(text: &str) -> Result<Entry, EntryError> {
    Entry::parse(text.as_bytes())
}

/// The entry parses, and comes back as the same bytes.
fn canonical(text: &str) -> Entry {
    let entry = parse(text).unwrap();
    assert_eq!(String::from_utf8(entry.to_bytes()).unwrap(), text);
    assert_eq!(entry.leaf_hash(), leaf_hash(text.as_bytes()));
    assert!(text.starts_with(&format!("jurat-entry/v1 {}\n", entry.kind())));
    entry
}

// Spec: ENT-09, ENT-10
#[test]
fn the_entry_of_a_token_is_made_from_what_it_says_and_shows_no_imprint() {
    let info = tst_info();
    let entry = TimestampEntry::of(&info).unwrap();
    let bytes = Entry::Timestamp(entry.clone()).to_bytes();
    // The bytes are fixed for ever: leaf hashes depend on them.
    let want = format!(
        "jurat-entry/v1 timestamp\n300\n1795000000\n1.3.6.1.4.1.99999.1\n{UNIT}\n{}\n",
        sha256(&info.to_bytes())
    );
    assert_eq!(String::from_utf8(bytes.clone()).unwrap(), want);
    assert!(bytes.len() < 150, "{}", bytes.len());
    assert_eq!(canonical(&want), Entry::Timestamp(entry.clone()));
    assert_eq!(entry.serial(), info.serial);
    assert_eq!((entry.index().get(), entry.unit()), (300, unit()));
    assert_eq!(entry.gen_time().get(), info.gen_time.seconds());
    assert_eq!(entry.policy(), info.policy.to_string());
    assert_eq!(entry.tst_info_hash(), &sha256(&info.to_bytes()));
    let digest = info.imprint.digest();
    assert!(!want.contains(&base64::encode(digest)));
    assert!(!bytes.windows(digest.len()).any(|window| window == digest));
}

// Spec: ENT-10
#[test]
fn any_other_thing_that_a_token_says_has_another_entry() {
    let info = tst_info();
    let entry = TimestampEntry::of(&info).unwrap();
    let mut later = info.clone();
    later.gen_time = GenTime::new(1_795_000_001, 0).unwrap();
    let mut elsewhere = info.clone();
    elsewhere.serial = SerialNumber::of_unit(unit(), LeafIndex::new(301).unwrap());
    let mut other_policy = info.clone();
    other_policy.policy = Oid::parse("1.2.3").unwrap();
    let mut without_nonce = info.clone();
    without_nonce.nonce = None;
    for other in [later, elsewhere, other_policy, without_nonce] {
        assert_ne!(TimestampEntry::of(&other).unwrap(), entry);
    }
    // What no log of Jurat's can hold.
    let mut fraction = info.clone();
    fraction.gen_time = GenTime::new(1_795_000_000, 1).unwrap();
    let mut bytes = info.to_bytes();
    let serial = info.serial.as_bytes();
    let at = bytes.windows(16).position(|window| window == serial);
    // The place would be above 2^63.
    bytes[at.unwrap() + 8] = 0x80;
    let foreign = TstInfo::parse(&bytes).unwrap();
    for info in [fraction, foreign] {
        assert_eq!(TimestampEntry::of(&info), Err(EntryError::NotOurToken));
    }
}

// Spec: ENT-11
#[test]
fn keys_start_and_are_closed_for_one_of_three_reasons() {
    let events = [
        ("start", KeyEvent::Start),
        ("close superseded", KeyEvent::Close(CloseReason::Superseded)),
        ("close cessation", KeyEvent::Close(CloseReason::Cessation)),
        ("close compromise", KeyEvent::Close(CloseReason::Compromise)),
    ];
    for (text, event) in events {
        let text =
            format!("jurat-entry/v1 key\n{text}\ntimestamp-unit\n{UNIT}\n{HASH}\n1795000000\n");
        let want = Entry::Key(KeyEntry {
            event,
            purpose: KeyPurpose::TimestampUnit,
            unit: unit(),
            certificate: Hash::from_base64(HASH).unwrap(),
            time: UnixSeconds::new(1_795_000_000).unwrap(),
        });
        assert_eq!(canonical(&text), want);
        assert_eq!(want.to_bytes(), text.as_bytes());
    }
}

// Spec: ENT-12
#[test]
fn a_clock_is_lost_and_regained_for_a_reason_of_bounded_form() {
    for (text, event) in [
        ("lost", ClockEvent::Lost),
        ("regained", ClockEvent::Regained),
    ] {
        let text = format!("jurat-entry/v1 clock\n{text}\n1795000000\nsources-disagree\n");
        let time = UnixSeconds::new(1_795_000_000).unwrap();
        let want = ClockEntry::new(event, time, "sources-disagree").unwrap();
        assert_eq!(
            (want.event(), want.time(), want.reason()),
            (event, time, "sources-disagree")
        );
        assert_eq!(canonical(&text), Entry::Clock(want));
    }
    let longest = "r".repeat(64);
    let new = |reason: &str| ClockEntry::new(ClockEvent::Lost, UnixSeconds::ZERO, reason);
    new(&longest).unwrap();
    for reason in ["", " ", "Lost", "a_b", "a\nb", "é", &format!("{longest}r")] {
        assert!(
            matches!(
                new(reason),
                Err(EntryError::Field {
                    field: "reason",
                    ..
                })
            ),
            "{reason:?}"
        );
    }
}

/// A kind, its fields, the place of one, what that may not be, and what it is called.
type Row<'a> = (
    &'static str,
    &'a [&'static str],
    usize,
    &'a [&'static str],
    &'static str,
);

// Spec: ENT-04, ENT-09, ENT-11, ENT-12
#[test]
fn a_field_that_is_not_canonical_is_refused_by_its_name() {
    let timestamp = ["300", "1795000000", "1.2.3", UNIT, HASH];
    let key = ["start", "timestamp-unit", UNIT, HASH, "1795000000"];
    let clock = ["lost", "1795000000", "stepped"];
    let rows: [Row<'_>; 11] = [
        (
            "timestamp",
            &timestamp,
            0,
            &["", "0300", "-1", "9223372036854775808"],
            "leaf index",
        ),
        (
            "timestamp",
            &timestamp,
            1,
            &["", "01", "1.5", "253402300800"],
            "time",
        ),
        (
            "timestamp",
            &timestamp,
            2,
            &["", "1", "1.02", "1.2.3 ", "3.1"],
            "policy",
        ),
        (
            "timestamp",
            &timestamp,
            3,
            &[
                "",
                "4A01020304050607",
                "4a010203040506",
                "0001020304050607",
                "8001020304050607",
            ],
            "unit",
        ),
        (
            "timestamp",
            &timestamp,
            4,
            &["", "AAAA", &HASH[..43]],
            "hash",
        ),
        (
            "key",
            &key,
            0,
            &["", "Start", "end", "close", "close ", "close key", "start "],
            "event",
        ),
        ("key", &key, 1, &["", "log"], "purpose"),
        ("key", &key, 2, &["", "4a0102030405060g"], "unit"),
        ("key", &key, 4, &["", "1e9"], "time"),
        ("clock", &clock, 0, &["", "Lost", "start"], "event"),
        ("clock", &clock, 1, &["", "+1"], "time"),
    ];
    for (kind, fields, at, bad, field) in rows {
        let text = |fields: &[&str]| format!("jurat-entry/v1 {kind}\n{}\n", fields.join("\n"));
        canonical(&text(fields));
        for found in bad {
            let mut fields = fields.to_vec();
            fields[at] = found;
            let want = EntryError::Field {
                field,
                found: (*found).into(),
            };
            assert_eq!(parse(&text(&fields)), Err(want), "{kind} {at} {found:?}");
        }
        // One line fewer, one more, and the last without its end.
        let whole = text(fields);
        let fewer = text(&fields[1..]);
        let more = format!("{whole}\n");
        for wrong in [&fewer, &more, whole.trim_end()] {
            let answer = parse(wrong);
            assert!(matches!(answer, Err(EntryError::Lines { .. })), "{wrong:?}");
        }
    }
}

/// A name in the entry and in a serial number: nobody chooses it.
// Spec: TSP-39
#[test]
fn a_unit_is_named_after_its_log_and_certificate() {
    let origin = |text: &str| text.parse().unwrap();
    let certificate = sha256(b"a certificate");
    let here = UnitId::of_certificate(&origin("example.com/log"), &certificate);
    let text = [b"example.com/log\n".as_slice(), certificate.as_bytes()].concat();
    let digest = *sha256(&text).as_bytes();
    assert_eq!(here.as_bytes()[1..], digest[1..8]);
    assert_eq!(here.as_bytes()[0], digest[0] & 0x3f | 0x40);
    let there = UnitId::of_certificate(&origin("example.org/log"), &certificate);
    let other = UnitId::of_certificate(&origin("example.com/log"), &sha256(b"another"));
    assert!(here != there && here != other && there != other);
    assert_eq!(UnitId::parse(&here.to_string()), Some(here));
    assert_eq!(UnitId::parse("4A01020304050607"), None);
}

proptest! {
    // Spec: ENT-04, ENT-09
    #[test]
    fn any_time_stamp_entry_is_read_again(
        index in 0_u64..1 << 63,
        seconds in 0_u64..253_402_300_800,
        arcs in prop::collection::vec(any::<u32>(), 0..8),
        unit in any::<[u8; 8]>(),
    ) {
        let mut unit = unit;
        unit[0] = unit[0] & 0x3f | 0x40;
        let arcs: String = arcs.iter().map(|arc| format!(".{arc}")).collect();
        let mut info = tst_info();
        info.gen_time = GenTime::new(seconds, 0).unwrap();
        info.policy = Oid::parse(&format!("1.3{arcs}")).unwrap();
        let unit = UnitId::new(unit).unwrap();
        info.serial = SerialNumber::of_unit(unit, LeafIndex::new(index).unwrap());
        let entry = TimestampEntry::of(&info).unwrap();
        prop_assert_eq!(entry.serial(), info.serial);
        let bytes = Entry::Timestamp(entry.clone()).to_bytes();
        prop_assert_eq!(Entry::parse(&bytes), Ok(Entry::Timestamp(entry)));
    }

    // Spec: ENT-04
    #[test]
    fn what_parses_after_a_change_is_canonical(
        which in 0_usize..3,
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let text = match which {
            0 => format!("timestamp\n300\n1795000000\n1.2.3\n{UNIT}\n{HASH}\n"),
            1 => format!("key\nclose compromise\ntimestamp-unit\n{UNIT}\n{HASH}\n1795000000\n"),
            _ => String::from("clock\nregained\n1795000000\nstepped\n"),
        };
        let mut bytes = format!("jurat-entry/v1 {text}").into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(parsed) = Entry::parse(&bytes) {
            prop_assert_eq!(Entry::kind_of(&bytes), Some(parsed.kind()));
            prop_assert_eq!(parsed.to_bytes(), bytes);
        }
    }

    #[test]
    fn no_lines_make_the_parser_panic(
        which in 0_usize..3,
        lines in prop::collection::vec("[ -~]{0,60}", 0..8),
    ) {
        let kind = ["timestamp", "key", "clock"][which];
        let _ = parse(&format!("jurat-entry/v1 {kind}\n{}\n", lines.join("\n")));
    }
}
