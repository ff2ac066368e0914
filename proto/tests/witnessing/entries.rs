//! Rows of `spec/entry.md`.

use jurat_proto::checkpoint::{Checkpoint, CheckpointError, ExtensionLine, SignedCheckpoint};
use jurat_proto::entry::{CheckpointEntry, Entry, EntryError};
use jurat_proto::hash::leaf_hash;
use jurat_proto::note::SignatureLine;
use jurat_proto::tile::ENTRY_BYTES_MAX;
use proptest::prelude::*;

use crate::signing::{Key, NOW, Tree, signed, unsigned};

const ORIGIN: &str = "anchored.example/log";

fn checkpoint() -> Checkpoint {
    unsigned(ORIGIN, Tree::new(3, "e").head(3))
}

fn entry() -> Entry {
    let signed = signed(ORIGIN, Tree::new(3, "e").head(3), &[&Key::log(ORIGIN, 1)]);
    Entry::Checkpoint(CheckpointEntry::new(&signed, &[0]).unwrap())
}

// Spec: ENT-01, ENT-04, ENT-08
#[test]
fn an_entry_is_its_first_line_and_its_body() {
    let signed = signed(ORIGIN, Tree::new(3, "e").head(3), &[&Key::log(ORIGIN, 1)]);
    let entry = entry();
    let want = [
        b"jurat-entry/v1 checkpoint\n".as_slice(),
        &signed.to_bytes(),
    ]
    .concat();
    assert_eq!(entry.to_bytes(), want);
    assert_eq!(entry.kind(), "checkpoint");
    assert_eq!(Entry::kind_of(&want), Some("checkpoint"));
    assert_eq!(entry.leaf_hash(), leaf_hash(&want));
    let parsed = Entry::parse(&want).unwrap();
    assert_eq!(parsed, entry);
    let Entry::Checkpoint(parsed) = parsed else {
        panic!("{parsed:?}");
    };
    assert_eq!(parsed.checkpoint(), &signed);
    for end in 0..want.len() {
        assert!(Entry::parse(&want[..end]).is_err(), "cut at {end}");
    }
    let more = [want.as_slice(), b"\n"].concat();
    assert!(matches!(
        Entry::parse(&more),
        Err(EntryError::Checkpoint(CheckpointError::Note(_)))
    ));
    // The bytes are fixed for ever: leaf hashes depend on them.
    let text = String::from_utf8(want).unwrap();
    assert!(
        text.starts_with("jurat-entry/v1 checkpoint\nanchored.example/log\n3\n"),
        "{text}"
    );
}

// Spec: ENT-01, ENT-03
#[test]
fn the_first_line_names_format_and_kind() {
    let long = "a".repeat(33);
    let unknown = |kind: &str| EntryError::UnknownKind { kind: kind.into() };
    let syntax = |found: &str| EntryError::KindSyntax {
        found: found.into(),
    };
    let rows = [
        ("", EntryError::NoFirstLine),
        ("jurat-entry/v1 checkpoint", EntryError::NoFirstLine),
        ("\n", EntryError::Magic),
        ("jurat-entry/v2 checkpoint\n", EntryError::Magic),
        ("jurat-entry/v1\n", EntryError::Magic),
        (" jurat-entry/v1 checkpoint\n", EntryError::Magic),
        ("jurat-entry/v1 rules\n", unknown("rules")),
        ("jurat-entry/v1 key-end\nwhatever", unknown("key-end")),
        (
            &format!("jurat-entry/v1 {}\n", &long[1..]),
            unknown(&long[1..]),
        ),
        (&format!("jurat-entry/v1 {long}\n"), syntax(&long)),
        ("jurat-entry/v1 \n", syntax("")),
        ("jurat-entry/v1 Checkpoint\n", syntax("Checkpoint")),
        ("jurat-entry/v1  checkpoint\n", syntax(" checkpoint")),
        ("jurat-entry/v1 checkpoint \n", syntax("checkpoint ")),
        ("jurat-entry/v1 checkpoint\r\n", syntax("checkpoint\r")),
        ("jurat-entry/v1 check1\n", syntax("check1")),
    ];
    for (bytes, want) in rows {
        // What is looked at alone says the same as what is parsed.
        let kind = match &want {
            EntryError::UnknownKind { kind } => Some(kind.as_str()),
            _ => None,
        };
        assert_eq!(Entry::kind_of(bytes.as_bytes()), kind, "{bytes:?}");
        assert_eq!(Entry::parse(bytes.as_bytes()), Err(want), "{bytes:?}");
    }
    let bytes = b"jurat-entry/v1 \xff\n";
    assert_eq!(Entry::kind_of(bytes), None);
    assert!(matches!(
        Entry::parse(bytes),
        Err(EntryError::KindSyntax { .. })
    ));
}

// Spec: ENT-02
#[test]
fn an_entry_fits_an_entry_bundle() {
    let bytes = ENTRY_BYTES_MAX + 1;
    assert_eq!(
        Entry::parse(&vec![b'x'; bytes]),
        Err(EntryError::TooLong { bytes })
    );
    // An extension line that fills the entry to the last byte, and one more.
    let with_extension = |length: usize| {
        let mut checkpoint = checkpoint();
        checkpoint.extensions = ExtensionLine::parse(&"x".repeat(length)).unwrap().into();
        let line = Key::log(ORIGIN, 1).line(&checkpoint, NOW);
        CheckpointEntry::new(
            &SignedCheckpoint::new(checkpoint, vec![line]).unwrap(),
            &[0],
        )
    };
    let room = ENTRY_BYTES_MAX
        - Entry::Checkpoint(with_extension(1).unwrap())
            .to_bytes()
            .len();
    let full = Entry::Checkpoint(with_extension(1 + room).unwrap()).to_bytes();
    assert_eq!(full.len(), ENTRY_BYTES_MAX);
    Entry::parse(&full).unwrap();
    assert_eq!(with_extension(2 + room), Err(EntryError::TooLong { bytes }));
}

// Spec: ENT-05, ENT-06, ENT-07
#[test]
fn an_entry_has_the_verified_lines_and_no_others_one_for_each_key() {
    let checkpoint = checkpoint();
    let (ed, ml) = (Key::log(ORIGIN, 1), Key::ml_dsa(ORIGIN, 2));
    let lines: Vec<SignatureLine> = vec![
        Key::witness("stranger", 3).line(&checkpoint, NOW),
        ml.line(&checkpoint, NOW),
        ed.line(&checkpoint, NOW),
        ml.line(&checkpoint, NOW + 1),
        ed.line(&checkpoint, NOW),
    ];
    let signed = SignedCheckpoint::new(checkpoint.clone(), lines.clone()).unwrap();
    let kept = |verified: &[usize]| {
        let entry = CheckpointEntry::new(&signed, verified).unwrap();
        let bytes = Entry::Checkpoint(entry.clone()).to_bytes();
        assert_eq!(Entry::parse(&bytes), Ok(Entry::Checkpoint(entry.clone())));
        assert_eq!(entry.checkpoint().checkpoint(), &checkpoint);
        entry.checkpoint().signatures().to_vec()
    };
    assert_eq!(kept(&[1, 2, 3, 4]), lines[1..3]);
    assert_eq!(kept(&[4, 3, 2, 1]), lines[1..3]);
    assert_eq!(kept(&[3, 2]), lines[2..4]);
    assert_eq!(kept(&[2, 99]), lines[2..3]);
    for none in [[].as_slice(), &[99]] {
        assert_eq!(
            CheckpointEntry::new(&signed, none),
            Err(EntryError::NoSignature)
        );
    }
    // What nobody made this way does not parse.
    let twice = SignedCheckpoint::new(checkpoint, lines[1..].to_vec()).unwrap();
    let bytes = [b"jurat-entry/v1 checkpoint\n".as_slice(), &twice.to_bytes()].concat();
    assert_eq!(
        Entry::parse(&bytes),
        Err(EntryError::SameKeyTwice {
            first: 0,
            second: 2
        })
    );
}

// Spec: ENT-05
#[test]
fn the_anchored_text_is_kept_byte_for_byte() {
    let mut checkpoint = checkpoint();
    checkpoint.extensions = ExtensionLine::parse(" \u{e9}xtra  line ").unwrap().into();
    let line = Key::log(ORIGIN, 1).line(&checkpoint, NOW);
    let signed = SignedCheckpoint::new(checkpoint, vec![line]).unwrap();
    let entry = Entry::Checkpoint(CheckpointEntry::new(&signed, &[0]).unwrap());
    assert!(entry.to_bytes().ends_with(&signed.to_bytes()));
}

proptest! {
    // Spec: ENT-04
    #[test]
    fn what_parses_after_a_change_is_canonical(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = entry().to_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(parsed) = Entry::parse(&bytes) {
            prop_assert_eq!(parsed.to_bytes(), bytes);
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Entry::parse(&bytes);
        let _ = Entry::parse(&[b"jurat-entry/v1 checkpoint\n".as_slice(), &bytes].concat());
    }
}
