//! The bodies that peers exchange, and the record on the disk: one form each.

use std::collections::BTreeMap;

use jurat_proto::body::BodyError;
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::decimal::DecimalError;
use jurat_proto::evidence::Kind;
use jurat_proto::gossip::node::{LogRecord, Moment, OpenRecord, Phase, RecordError};
use jurat_proto::gossip::{
    CATALOGUE_LINES_MAX, Catalogue, CatalogueEntry, CatalogueError, FEED_ROWS_MAX, FETCH_ROWS_MAX,
    Feed, FeedError, Fetch, FetchError, Flags, Notes, NotesError, Opening, OpeningError, OriginId,
    Page, Random, Row, RowError, State, Statement, StatementError, Suspicion, SuspicionError, Tag,
    Wanted,
};
use jurat_proto::hash::{Hash, leaf_hash};
use jurat_proto::key::{KeyName, UnixSeconds};
use jurat_proto::proof::ProofError;
use jurat_proto::tree::{TreeHead, TreeSize};

use crate::actors::{Key, SimLog, size};

fn log() -> SimLog {
    SimLog::new("log.example/tree", 1)
}

fn gossip() -> Key {
    Key::note("w.example", 2)
}

fn time() -> UnixSeconds {
    UnixSeconds::new(1_790_000_000).unwrap()
}

fn row(number: u64) -> Row {
    let mut log = log();
    let head = log.head(0, number);
    Row {
        origin: OriginId::of(&log.origin),
        size: head.size,
        tag: Tag::of(&Random([3; 16]), &log.origin, &head),
        time: time(),
        flags: Flags::default(),
    }
}

fn page(rows: &[Row]) -> Page {
    Page {
        name: KeyName::parse("w.example").unwrap(),
        epoch: Random([1; 16]),
        seq: 9,
        since: 3,
        next: 9,
        time: time(),
        salt: Random([3; 16]),
        rows: Page::rows_head(rows).unwrap(),
    }
}

fn feed(rows: Vec<Row>) -> Feed {
    let said = gossip().say(Statement::Page(page(&rows)));
    Feed::new(rows, said).unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

// Spec: GSP-20, GSP-21
#[test]
fn a_feed_is_its_rows_and_its_page() {
    for rows in [vec![], vec![row(7)], vec![row(7), row(9)]] {
        let feed = feed(rows.clone());
        assert_eq!(Feed::parse(&feed.to_bytes()).as_ref(), Ok(&feed));
        assert_eq!(feed.rows(), rows);
    }
    let one = text(feed(vec![row(7)]).to_bytes());
    let (line, said) = one.split_once("\n\n").unwrap();
    assert!(said.starts_with("jurat/gossip-page@v0\n"));
    let other = text(feed(vec![row(9)]).to_bytes());
    let (other, _) = other.split_once("\n\n").unwrap();
    for rows in [format!("{other}\n"), String::new()] {
        let feed = format!("{rows}\n{said}");
        assert!(matches!(
            Feed::parse(feed.as_bytes()),
            Err(FeedError::OtherRows { .. })
        ));
    }
    for (body, why) in [
        (String::new(), FeedError::NoPage),
        (
            "\n".to_owned(),
            FeedError::Statement(StatementError::Note(
                jurat_proto::note::NoteError::NoSeparator,
            )),
        ),
        (
            format!("{line}x\n\n{said}"),
            FeedError::Row {
                index: 0,
                reason: RowError::Flags,
            },
        ),
        (format!("{line}\n"), FeedError::NoPage),
    ] {
        assert_eq!(Feed::parse(body.as_bytes()), Err(why), "{body:?}");
    }
    let (_, tag) = line.split_once(" 7 ").unwrap();
    let many = format!("0 {tag}\n").repeat(FEED_ROWS_MAX);
    let many = format!("{line}\n{many}\n{said}");
    assert_eq!(Feed::parse(many.as_bytes()), Err(FeedError::TooMany));
    let state = Statement::State(State {
        name: KeyName::parse("w.example").unwrap(),
        epoch: Random([1; 16]),
        seq: 9,
        time: time(),
        rows: TreeHead::empty(),
        evidence: TreeHead::empty(),
        nonce: None,
    });
    let said = gossip().say(state);
    assert_eq!(Feed::new(Vec::new(), said), Err(FeedError::NotAPage));
}

/// Lines of rows that have one origin, and of one that has another, and what is wrong with others.
// Spec: GSP-172
#[test]
fn a_row_of_a_feed_leaves_out_what_the_one_before_it_and_the_page_say() {
    let at = |origin: u8, size: u64, time: u64| Row {
        origin: OriginId([origin; 8]),
        size: TreeSize::new(size).unwrap(),
        time: UnixSeconds::new(time).unwrap(),
        ..row(7)
    };
    let (now, largest) = (time().get(), TreeSize::MAX.get());
    let rows = vec![
        at(1, 100, now - 2),
        at(1, 97, now - 20),
        at(1, 97, now),
        at(1, largest, now + 3),
        at(1, 0, 0),
        // An origin that looks like a number.
        at(0x12, 5, now - 1),
        at(1, 5, now - 1),
    ];
    let feed = feed(rows.clone());
    let tag = "OTm73KlCwpw0Wtxb";
    let lines = [
        format!("0101010101010101 100 {tag} 2 -"),
        format!("3 {tag} 20 -"),
        format!("0 {tag} 0 -"),
        format!("-9223372036854775710 {tag} -3 -"),
        format!("9223372036854775807 {tag} 1790000000 -"),
        format!("1212121212121212 5 {tag} 1 -"),
        format!("0101010101010101 5 {tag} 1 -"),
    ];
    let written = text(feed.to_bytes());
    let (head, said) = written.split_once("\n\n").unwrap();
    assert_eq!(head.lines().collect::<Vec<_>>(), lines);
    assert_eq!(Feed::parse(written.as_bytes()).as_ref(), Ok(&feed));
    let (first, origin) = (&lines[0], "0101010101010101");
    let refused = |index, line: String| {
        let before = lines[..index].join("\n");
        let body = format!("{before}\n{line}\n\n{said}");
        match Feed::parse(body.trim_start().as_bytes()) {
            Err(FeedError::Row { index: at, reason }) if at == index => reason,
            other => panic!("{other:?}"),
        }
    };
    for (line, why) in [
        (first.clone(), RowError::OriginAgain),
        (format!("{origin} 97 {tag} 20 -"), RowError::OriginAgain),
        (format!("{origin}x 97 {tag} 20 -"), RowError::Origin),
        (
            format!("-0 {tag} 20 -"),
            RowError::Size(DecimalError::LeadingZero),
        ),
        (
            format!("101 {tag} 20 -"),
            RowError::Size(DecimalError::TooLarge),
        ),
        (
            format!("-{largest} {tag} 20 -"),
            RowError::Size(DecimalError::TooLarge),
        ),
        (
            format!("3 {tag} -0 -"),
            RowError::Time(DecimalError::LeadingZero),
        ),
        (
            format!("3 {tag} {} -", now + 1),
            RowError::Time(DecimalError::TooLarge),
        ),
        (format!("3 {tag} 20"), RowError::TooFewParts),
        (format!("3 {tag} 20  -"), RowError::Origin),
        ("3 AAAA 20 -".to_owned(), RowError::Tag),
    ] {
        assert_eq!(refused(1, line.clone()), why, "{line}");
    }
    assert_eq!(refused(0, format!("3 {tag} 20 -")), RowError::Origin);
}

// Spec: GSP-22
#[test]
fn a_fetch_is_a_salt_and_some_rows() {
    let rows: Vec<Wanted> = [row(7), row(9)].iter().map(Wanted::of).collect();
    let fetch = Fetch::new(Random([3; 16]), rows.clone()).unwrap();
    let body = text(fetch.to_bytes());
    assert_eq!(Fetch::parse(body.as_bytes()).as_ref(), Ok(&fetch));
    assert_eq!(
        body.lines().next(),
        Some("salt 03030303030303030303030303030303")
    );
    for (from, to, why) in [
        ("salt ", "salz ", FetchError::Salt),
        ("salt 03", "salt 3", FetchError::Salt),
        (" 7 ", " 07 ", FetchError::Size(DecimalError::LeadingZero)),
        (" 7 ", " ", FetchError::TooFewParts),
    ] {
        let other = body.replacen(from, to, 1);
        assert_eq!(Fetch::parse(other.as_bytes()), Err(why), "{other}");
    }
    for (body, why) in [
        (body.trim_end().to_owned(), FetchError::Unterminated),
        (format!("{body}\n"), FetchError::TooFewParts),
        (
            body.lines().next().unwrap().to_owned() + "\n",
            FetchError::Nothing,
        ),
    ] {
        assert_eq!(Fetch::parse(body.as_bytes()), Err(why), "{body}");
    }
    let many = vec![rows[0]; FETCH_ROWS_MAX];
    assert!(Fetch::new(Random([3; 16]), many.clone()).is_ok());
    let more = [many, vec![rows[1]]].concat();
    assert_eq!(Fetch::new(Random([3; 16]), more), Err(FetchError::TooMany));
}

// Spec: GSP-23
#[test]
fn notes_are_divided_by_empty_lines() {
    let mut log = log();
    let notes: Vec<SignedCheckpoint> = [3, 5, 8].map(|to| log.note(0, to)).into();
    for count in 0..=3 {
        let some = Notes::new(notes[..count].to_vec());
        let body = some.to_bytes();
        assert_eq!(Notes::parse(&body).as_ref(), Ok(&some));
        assert_eq!(some.as_slice(), &notes[..count]);
    }
    let body = text(Notes::new(notes.clone()).to_bytes());
    for wrong in [
        format!("{body}\n"),
        format!("\n{body}"),
        body.trim_end().to_owned(),
        body.replacen("\n\n", "\n\n\n", 1),
    ] {
        let refused = Notes::parse(wrong.as_bytes());
        assert!(matches!(refused, Err(NotesError::Note { .. })), "{wrong:?}");
    }
    let many = vec![text(notes[0].to_bytes()); FETCH_ROWS_MAX + 1].join("\n");
    assert_eq!(Notes::parse(many.as_bytes()), Err(NotesError::TooMany));
}

// Spec: GSP-24, GSP-25
#[test]
fn an_opening_is_true_or_is_none() {
    let mut log = log();
    let (old, new) = (log.head(0, 7), log.note(0, 13));
    let proof = log.proof(0, 7, 13);
    let opening = Opening::new(old, proof.clone(), new.clone()).unwrap();
    let body = text(opening.to_bytes());
    assert_eq!(Opening::parse(body.as_bytes()).as_ref(), Ok(&opening));
    assert!(body.starts_with(&format!("old 7\nroot {}\n", old.root_hash)));
    let itself = Opening::of_itself(new.clone()).unwrap();
    assert_eq!(itself.old(), new.head());
    assert_eq!(Opening::parse(&itself.to_bytes()), Ok(itself));
    // Of a power of two, the proof does not carry the root, and the root is there all the same.
    let (old, proof) = (log.head(0, 8), log.proof(0, 8, 13));
    let opening = Opening::new(old, proof, new.clone()).unwrap();
    assert_eq!(Opening::parse(&opening.to_bytes()).as_ref(), Ok(&opening));
    let wrong = leaf_hash(b"wrong").to_string();
    let root = old.root_hash.to_string();
    for (from, to) in [("old 8", "old 7"), (root.as_str(), wrong.as_str())] {
        let other = text(opening.to_bytes()).replacen(from, to, 1);
        assert!(
            matches!(
                Opening::parse(other.as_bytes()),
                Err(OpeningError::Proof(_))
            ),
            "{other}"
        );
    }
    let fields = |from: &str, to: &str| Opening::parse(body.replacen(from, to, 1).as_bytes());
    assert_eq!(
        fields("old ", "older "),
        Err(OpeningError::Field { word: "old" })
    );
    assert_eq!(
        fields("root ", "roots "),
        Err(OpeningError::Field { word: "root" })
    );
    assert_eq!(fields("old 7", "old 0"), Err(OpeningError::OfNothing));
    assert_eq!(
        fields("old 7", "old 07"),
        Err(OpeningError::Old(DecimalError::LeadingZero))
    );
    let beyond = fields("old 7", "old 14");
    assert!(
        matches!(beyond, Err(OpeningError::Proof(ProofError::Range(_)))),
        "{beyond:?}"
    );
    let longer = format!("{body}\n");
    assert!(matches!(
        Opening::parse(longer.as_bytes()),
        Err(OpeningError::Body(BodyError::Checkpoint { .. }))
    ));
}

// Spec: GSP-24
#[test]
fn nodes_that_are_made_up_open_nothing() {
    let mut log = log();
    let note = log.note(0, 13);
    let mut nodes = BTreeMap::new();
    for old in [1, 7, 8, 12, 13] {
        assert!(log.open(0, size(old), &note).is_some());
        assert!(Opening::read(size(old), note.clone(), &nodes).is_err() || old == 13);
    }
    let coords = jurat_proto::proof::ProofPlan::consistency(size(7), size(13)).unwrap();
    for coord in coords.coords() {
        nodes.insert(*coord, leaf_hash(b"made up"));
    }
    for coord in jurat_proto::tree::CompactRange::node_coords(size(7)) {
        nodes.insert(coord, leaf_hash(b"made up"));
    }
    assert!(Opening::read(size(7), note, &nodes).is_err());
}

// Spec: GSP-26
#[test]
fn a_list_of_evidence_grows_up_to_next() {
    let entry = |number, origin| CatalogueEntry {
        number,
        id: leaf_hash(b"id"),
        kind: Kind::Opening,
        origin,
        file: leaf_hash(b"file"),
        time: time(),
    };
    let origin: Hash = log().origin.hash();
    let list = Catalogue::new(0, vec![entry(1, Some(origin)), entry(4, None)]).unwrap();
    assert_eq!(list.next(), 4);
    let body = text(list.to_bytes());
    assert_eq!(Catalogue::parse(body.as_bytes()).as_ref(), Ok(&list));
    let empty = Catalogue::new(7, vec![]).unwrap();
    assert_eq!(empty.to_bytes(), b"next 7\n");
    assert_eq!(Catalogue::parse(b"next 7\n"), Ok(empty));
    for (from, to, why) in [
        ("next 4", "next 5", CatalogueError::Order),
        ("next 4\n", "", CatalogueError::NoNext),
        ("next 4\n", "next 4\nnext 4\n", CatalogueError::AfterNext),
        ("next 4\n", "next 4", CatalogueError::Unterminated),
        ("1 ", "0 ", CatalogueError::Order),
        ("1 ", "4 ", CatalogueError::Order),
        (
            "1 ",
            "01 ",
            CatalogueError::Number(DecimalError::LeadingZero),
        ),
        (" opening ", " openings ", CatalogueError::Kind),
        (" opening - ", " opening -- ", CatalogueError::Hash),
        (" opening - ", " opening ", CatalogueError::Hash),
    ] {
        let other = body.replacen(from, to, 1);
        assert_eq!(Catalogue::parse(other.as_bytes()), Err(why), "{other}");
    }
    let many = (1..)
        .take(CATALOGUE_LINES_MAX + 1)
        .map(|number| entry(number, None));
    assert_eq!(
        Catalogue::new(0, many.collect()),
        Err(CatalogueError::TooMany)
    );
}

// Spec: GSP-02, GSP-43
#[test]
fn a_suspicion_names_two_heads_of_one_log() {
    let mut log = log();
    let suspicion = Suspicion {
        name: KeyName::parse("w.example").unwrap(),
        time: time(),
        origin: log.origin.clone(),
        held: log.head(0, 9),
        suspect: log.head(0, 7),
        seen: time(),
        tried: [3, 4],
    };
    let text = suspicion.to_text();
    let (held, suspect) = (suspicion.held.root_hash, suspicion.suspect.root_hash);
    let expected = format!(
        "jurat/gossip-suspicion@v0\nname w.example\ntime 1790000000\norigin log.example/tree\n\
         held 9 {held}\nsuspect 7 {suspect}\nseen 1790000000\ntried 3 4\n"
    );
    assert_eq!(text, expected);
    assert_eq!(Suspicion::parse_text(&text), Ok(suspicion));
    let statement = |error| SuspicionError::Statement(error);
    for (from, to, why) in [
        ("@v0", "@v1", statement(StatementError::Format)),
        (
            "seen",
            "saw",
            statement(StatementError::Field { word: "seen" }),
        ),
        (
            "tried 3 4",
            "tried 3",
            SuspicionError::Pair { word: "tried" },
        ),
        (
            "tried 3 4\n",
            "tried 3 4\nx\n",
            statement(StatementError::TooManyLines),
        ),
        ("held 9 ", "held 9", SuspicionError::Pair { word: "held" }),
    ] {
        assert_eq!(
            Suspicion::parse_text(&text.replacen(from, to, 1)),
            Err(why),
            "{to}"
        );
    }
    let one = text.replace(
        &format!("suspect 7 {suspect}"),
        &format!("suspect 9 {held}"),
    );
    assert_eq!(Suspicion::parse_text(&one), Err(SuspicionError::OneHead));
    // It is no statement that evidence could be made of.
    assert_eq!(Statement::parse_text(&text), Err(StatementError::Format));
}

// Spec: GSP-46, GSP-86
#[test]
fn a_record_survives_its_bytes() {
    let mut log = log();
    let open = |log: &mut SimLog, to, phase| OpenRecord {
        note: log.note(0, to).into(),
        phase,
        seen: Moment(6),
        since: Moment(7),
        tried: [1, 2],
    };
    let record = LogRecord {
        top: Some((log.note(0, 13).into(), Moment(5))),
        open: vec![
            open(&mut log, 7, Phase::New),
            open(&mut log, 9, Phase::Unprovable),
        ],
    };
    let body = text(record.to_bytes());
    assert_eq!(LogRecord::parse(body.as_bytes()).as_ref(), Ok(&record));
    for (from, to, why) in [
        ("@v0", "@v1", RecordError::Format),
        ("open new", "open newer", RecordError::Phase),
        ("open new 6", "open new", RecordError::TooFewParts),
        (
            "top 5",
            "top 05",
            RecordError::Number(DecimalError::LeadingZero),
        ),
        ("top 5\n", "", RecordError::Count),
        ("top 5\n", "top 5\ntop 5\n", RecordError::Line { index: 1 }),
        ("top 5\n", "top 5\nopen new 6 7 1 2\n", RecordError::Count),
    ] {
        let other = body.replacen(from, to, 1);
        assert_eq!(LogRecord::parse(other.as_bytes()), Err(why), "{other}");
    }
    // A head of another log would be held against this one.
    let mut stray = record.clone();
    stray.open[1].note = SimLog::new("other.example", 1).note(0, 9).into();
    assert_eq!(
        LogRecord::parse(&stray.to_bytes()),
        Err(RecordError::OtherOrigin { index: 2 })
    );
    stray.top = None;
    assert_eq!(
        LogRecord::parse(&stray.to_bytes()),
        Err(RecordError::OtherOrigin { index: 1 })
    );
}
