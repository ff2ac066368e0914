use super::*;
use alloc::format;
use alloc::vec;

use crate::checkpoint::Origin;
use crate::hash::sha256;

fn name() -> KeyName {
    KeyName::parse("w.example").unwrap()
}

fn head(size: u64) -> TreeHead {
    TreeHead {
        size: TreeSize::new(size).unwrap(),
        root_hash: if size == 0 {
            empty_root()
        } else {
            sha256(&size.to_be_bytes())
        },
    }
}

fn state() -> State {
    State {
        name: name(),
        epoch: Random([7; 16]),
        seq: 9,
        time: UnixSeconds::new(1_790_000_000).unwrap(),
        rows: head(3),
        evidence: head(0),
        nonce: None,
    }
}

fn page() -> Page {
    Page {
        name: name(),
        epoch: Random([7; 16]),
        seq: 9,
        since: 2,
        next: 9,
        time: UnixSeconds::new(1_790_000_000).unwrap(),
        salt: Random([8; 16]),
        rows: head(3),
    }
}

// Spec: GSP-01, GSP-02, GSP-03, GSP-04
#[test]
fn statements_have_the_lines_of_the_specification() {
    let rows = head(3).root_hash;
    let empty = empty_root();
    let epoch = "07".repeat(16);
    let expected = format!(
        "jurat/gossip-state@v0\nname w.example\nepoch {epoch}\nseq 9\ntime 1790000000\n\
         rows 3 {rows}\nevidence 0 {empty}\n"
    );
    assert_eq!(Statement::State(state()).to_text(), expected);
    let nonce = Some(Random([9; 16]));
    let asked = State { nonce, ..state() };
    let expected = format!("{expected}nonce {}\n", "09".repeat(16));
    assert_eq!(Statement::State(asked.clone()).to_text(), expected);
    let expected = format!(
        "jurat/gossip-page@v0\nname w.example\nepoch {epoch}\nseq 9\nsince 2\nnext 9\n\
         time 1790000000\nsalt {}\nrows 3 {rows}\n",
        "08".repeat(16)
    );
    assert_eq!(Statement::Page(page()).to_text(), expected);
    for statement in [
        Statement::State(state()),
        Statement::State(asked),
        Statement::Page(page()),
    ] {
        assert_eq!(
            Statement::parse_text(&statement.to_text()).as_ref(),
            Ok(&statement)
        );
        let line = SignatureLine::new(name(), crate::note::KeyId::new([1; 4]), vec![1]).unwrap();
        let signed = SignedStatement::new(statement, vec![line]).unwrap();
        assert_eq!(SignedStatement::parse(&signed.to_bytes()), Ok(signed));
    }
}

// Spec: GSP-01, GSP-03, GSP-04, GSP-05
#[test]
fn other_texts_are_no_statements() {
    let (state, page) = (
        Statement::State(state()).to_text(),
        Statement::Page(page()).to_text(),
    );
    let table = |word| StatementError::Table { word };
    for (text, why) in [
        (String::new(), StatementError::TooFewLines),
        (state.replace("@v0", "@v1"), StatementError::Format),
        (
            state.replace("seq 9\n", ""),
            StatementError::Field { word: "seq" },
        ),
        (
            state.replace("name w.example", "name w example"),
            StatementError::Name(KeyNameError::Character { character: ' ' }),
        ),
        (
            state.replace("seq 9", "seq 09"),
            StatementError::Number {
                word: "seq",
                reason: DecimalError::LeadingZero,
            },
        ),
        (
            state.replace("epoch 07", "epoch 7"),
            StatementError::Random { word: "epoch" },
        ),
        (state.replace("rows 3", "rows 0"), table("rows")),
        (state.replace("rows 3 ", "rows 3  "), table("rows")),
        (
            format!("{state}\n"),
            StatementError::Field { word: "nonce" },
        ),
        (format!("{page}x\n"), StatementError::TooManyLines),
        (page.trim_end().into(), StatementError::TooFewLines),
        (
            page.replace("since 2", "since 10"),
            StatementError::Part {
                since: 10,
                next: 9,
                seq: 9,
            },
        ),
        (
            page.replace("next 9", "next 10"),
            StatementError::Part {
                since: 2,
                next: 10,
                seq: 9,
            },
        ),
        (
            "x".repeat(STATEMENT_BYTES_MAX + 1),
            StatementError::TooLong {
                bytes: STATEMENT_BYTES_MAX + 1,
            },
        ),
    ] {
        assert_eq!(Statement::parse_text(&text), Err(why), "{text}");
    }
}

// Spec: GSP-08, GSP-09
#[test]
fn time_and_nonce_are_no_part_of_a_claim_and_all_else_is() {
    let claim = |state: &State| Statement::State(state.clone()).claim();
    let later = State {
        time: UnixSeconds::MAX,
        nonce: Some(Random([1; 16])),
        ..state()
    };
    assert_eq!(claim(&later), claim(&state()));
    let other = State {
        evidence: head(1),
        ..state()
    };
    assert_ne!(claim(&other), claim(&state()));
    assert_eq!(
        Statement::State(other).subject(),
        Statement::State(state()).subject()
    );
    let claim = |page: &Page| Statement::Page(page.clone()).claim();
    let later = Page {
        time: UnixSeconds::ZERO,
        ..page()
    };
    assert_eq!(claim(&later), claim(&page()));
    for other in [
        Page {
            salt: Random([1; 16]),
            ..page()
        },
        Page {
            rows: head(4),
            ..page()
        },
    ] {
        assert_ne!(claim(&other), claim(&page()));
        assert_eq!(
            Statement::Page(other).subject(),
            Statement::Page(page()).subject()
        );
    }
    let another_part = Statement::Page(Page { since: 3, ..page() });
    assert_ne!(another_part.subject(), Statement::Page(page()).subject());
}

// Spec: GSP-06
#[test]
fn rows_are_canonical() {
    let origin = Origin::parse("log.example").unwrap();
    let salt = Random([8; 16]);
    let row = Row {
        origin: OriginId::of(&origin),
        size: TreeSize::new(7).unwrap(),
        tag: Tag::of(&salt, &origin, &head(7)),
        time: UnixSeconds::new(5).unwrap(),
        flags: Flags {
            newest_cosigned: true,
            unresolved: true,
        },
    };
    let text = format!("{row}");
    assert_eq!(Row::parse(&text), Ok(row));
    let (id, _) = text.split_once(' ').unwrap();
    assert!(origin.hash_hex().starts_with(id));
    for (from, to, why) in [
        (" cu", "", RowError::TooFewParts),
        (" cu", " uc", RowError::Flags),
        (" cu", " cu ", RowError::Flags),
        (" cu", " ", RowError::Flags),
        (" 7 ", " 07 ", RowError::Size(DecimalError::LeadingZero)),
        (
            " 5 ",
            " -5 ",
            RowError::Time(DecimalError::NotDigit {
                offset: 0,
                byte: b'-',
            }),
        ),
        (id, "0123", RowError::Origin),
    ] {
        assert_eq!(Row::parse(&text.replace(from, to)), Err(why), "{to}");
    }
    let tag = base64_tag(&row);
    assert_eq!(Row::parse(&text.replace(&tag, "AAAA")), Err(RowError::Tag));
}

fn base64_tag(row: &Row) -> String {
    crate::base64::encode(&row.tag.0)
}

// Spec: GSP-07
#[test]
fn a_tag_depends_on_salt_origin_size_and_root() {
    let (one, other) = (
        Origin::parse("log.example").unwrap(),
        Origin::parse("log.example/2").unwrap(),
    );
    let salt = Random([8; 16]);
    let tag = Tag::of(&salt, &one, &head(7));
    let mut message = b"jurat/gossip-tag@v0\n".to_vec();
    message.extend([8; 16]);
    message.extend(one.hash().as_bytes());
    message.extend([0, 0, 0, 0, 0, 0, 0, 7]);
    message.extend(head(7).root_hash.as_bytes());
    assert_eq!(tag.0[..], sha256(&message).as_bytes()[..12]);
    let another_root = TreeHead {
        root_hash: empty_root(),
        ..head(7)
    };
    for different in [
        Tag::of(&Random([9; 16]), &one, &head(7)),
        Tag::of(&salt, &other, &head(7)),
        Tag::of(&salt, &one, &head(8)),
        Tag::of(&salt, &one, &another_root),
    ] {
        assert_ne!(different, tag);
    }
}

// Spec: GSP-05
#[test]
fn the_rows_of_a_page_are_a_tree() {
    let row = |size| Row {
        origin: OriginId([1; 8]),
        size: TreeSize::new(size).unwrap(),
        tag: Tag([2; 12]),
        time: UnixSeconds::ZERO,
        flags: Flags::default(),
    };
    assert_eq!(Page::rows_head(&[]), Ok(TreeHead::empty()));
    let leaf = |size| crate::hash::leaf_hash(row(size).to_string().as_bytes());
    let head = Page::rows_head(&[row(1), row(2)]).unwrap();
    assert_eq!(head.size.get(), 2);
    assert_eq!(head.root_hash, crate::hash::node_hash(&leaf(1), &leaf(2)));
}
