//! The bytes: exactly one form, and every other refused with its reason.

use jurat_proto::body::BodyError;
use jurat_proto::checkpoint::{ExtensionLine, SignedCheckpoint};
use jurat_proto::entry::{Convicts, Entry, EntryError, EvidenceEntry, EvidenceFiles};
use jurat_proto::evidence::{EVIDENCE_BYTES_MAX, Evidence, NoContradiction, ParseError};
use jurat_proto::hash::sha256;
use jurat_proto::note::NOTE_BYTES_MAX;
use jurat_proto::tlog_proof::TlogProof;

use super::{Cast, ORIGIN, forked, names, one_of_each};
use crate::signing::{NOW, Tree, signed, unsigned};

fn text(evidence: &Evidence) -> String {
    String::from_utf8(evidence.to_bytes()).unwrap()
}

// Spec: EVI-01, EVI-04, EVI-05, EVI-06
#[test]
fn files_look_as_the_specification_draws_them() {
    let cast = Cast::new();
    let lines: Vec<Vec<String>> = one_of_each(&cast)
        .iter()
        .map(|(evidence, _)| {
            let lines = text(evidence);
            let lines = lines.lines().map(|line| match line.split_once(' ') {
                Some(("\u{2014}", _)) => "sig".to_owned(),
                Some((word, _)) => word.to_owned(),
                None if line.len() == 44 => "hash".to_owned(),
                None => line.to_owned(),
            });
            lines.collect()
        })
        .collect();
    let magic = "jurat/tlog-fork@v0";
    let note = |size: &str, sigs: usize| {
        let mut note = vec!["", ORIGIN, size, "hash", ""];
        note.extend(vec!["sig"; sigs]);
        note.iter().map(|&line| line.to_owned()).collect::<Vec<_>>()
    };
    let file = |head: &[&str], notes: &[Vec<String>]| {
        let mut file = vec![magic.to_owned()];
        file.extend(head.iter().map(|&line| line.to_owned()));
        file.extend(notes.concat());
        file
    };
    assert_eq!(lines[0], file(&[], &[note("20", 2), note("20", 2)]));
    let hashes = vec!["hash"; forked(30, 7).1.consistency(13, 29).hashes().len()];
    let head = [&["root"][..], &hashes].concat();
    assert_eq!(lines[1], file(&head, &[note("13", 2), note("29", 2)]));
    let proof = |size: &str, hashes: usize| {
        let mut proof: Vec<String> = vec![String::new(), "c2sp.org/tlog-proof@v1".into()];
        proof.push("index".into());
        proof.extend(vec!["hash".to_owned(); hashes]);
        proof.extend(note(size, 2));
        proof
    };
    assert_eq!(
        lines[2],
        file(&["kind", "leaf", "leaf"], &[proof("12", 3), proof("30", 5)])
    );
    assert_eq!(lines[3], file(&[], &[note("0", 1)]));
    assert_eq!(
        lines[4],
        file(&["kind", "cosigner"], &[note("11", 1), note("12", 1)])
    );
    let gossip = |words: &[&str]| {
        let mut lines = vec![String::new()];
        lines.extend(words.iter().map(|&word| word.to_owned()));
        lines.extend([String::new(), "sig".to_owned()]);
        lines
    };
    let page = gossip(&[
        "jurat/gossip-page@v0",
        "name",
        "epoch",
        "seq",
        "since",
        "next",
        "time",
        "salt",
        "rows",
    ]);
    let head = ["kind", "cosigner", "row", "root", "index", "hash", "hash"];
    assert_eq!(lines[5], file(&head, &[page, note("13", 1)]));
    let words = [
        "jurat/gossip-state@v0",
        "name",
        "epoch",
        "seq",
        "time",
        "rows",
        "evidence",
    ];
    let state = || gossip(&words);
    assert_eq!(lines[6], file(&["kind"], &[state(), state()]));
    for (evidence, _) in one_of_each(&cast) {
        let file = text(&evidence);
        assert!(file.starts_with("jurat/tlog-fork@v0\n") && file.ends_with('\n'));
        assert!(!file.ends_with("\n\n"));
        assert!(evidence.to_bytes().starts_with(Evidence::MAGIC));
    }
}

// Spec: EVI-20, EVI-21, EVI-22, EVI-23
#[test]
fn ids_are_the_hashes_of_the_texts_in_the_specification() {
    let cast = Cast::new();
    let (a, b) = forked(30, 7);
    let head = |tree: &Tree, at: usize| {
        let root = tree.head(at).root_hash;
        format!("{ORIGIN}\n{at}\n{root}\n")
    };
    for (evidence, _) in one_of_each(&cast) {
        let file = text(&evidence);
        let after = |word: &str| {
            let line = file.lines().find_map(|line| line.strip_prefix(word));
            line.unwrap_or_default().to_owned()
        };
        let leaves: Vec<_> = file
            .lines()
            .filter_map(|line| line.strip_prefix("leaf "))
            .collect();
        let blocks: Vec<_> = file.split("\n\n").collect();
        let claim = |block: &str| {
            let lines = block.lines().filter(|line| !line.starts_with("time "));
            lines.map(|line| format!("{line}\n")).collect::<String>()
        };
        let kind = evidence.kind();
        let expected = match kind.name() {
            "same-size" => {
                let (a, b) = (head(&a, 20), head(&b, 20));
                let one_first = blocks[1] == a.trim_end();
                let (a, b) = if one_first { (a, b) } else { (b, a) };
                format!("tlog-fork/v0\n{ORIGIN}\n{a}{b}")
            }
            "opening" => format!("tlog-fork/v0\n{ORIGIN}\n{}{}", head(&a, 13), head(&b, 29)),
            "empty" => format!("tlog-fork/v0\n{ORIGIN}\n{}\n", blocks[1]),
            "entry" => format!(
                "tlog-fork/v0 entry\n{ORIGIN}\n{}{}9 {}\n9 {}\n",
                head(&a, 12),
                head(&b, 30),
                leaves[0],
                leaves[1]
            ),
            "cosigner-regress" => format!(
                "tlog-fork/v0 cosigner-regress\n{ORIGIN}\n{}{}{}\n",
                head(&a, 11),
                head(&a, 12),
                after("cosigner ")
            ),
            "omission" => format!(
                "tlog-fork/v0 omission\n{ORIGIN}\n{}\n{} {}\n{}{}\n",
                blocks[1],
                after("row "),
                after("root "),
                head(&a, 13),
                after("cosigner ")
            ),
            _ => format!(
                "tlog-fork/v0 gossip-equivocation\n{}{}",
                claim(blocks[1]),
                claim(blocks[3])
            ),
        };
        assert_eq!(evidence.id(), sha256(expected.as_bytes()), "{kind}");
    }
}

// Spec: EVI-01, EVI-04, EVI-05, EVI-06
#[test]
fn files_of_another_form_are_refused_with_the_reason() {
    let cast = Cast::new();
    let all = one_of_each(&cast);
    let file = |place: usize| text(&all[place].0);
    let same = file(0);
    let blocks: Vec<&str> = same.split("\n\n").collect();
    let body = |error| ParseError::Body(error);
    let layout = ParseError::Layout;
    let turned = format!(
        "{}\n\n{}\n\n{}\n\n{}\n\n{}\n",
        blocks[0],
        blocks[3],
        blocks[4].trim_end(),
        blocks[1],
        blocks[2]
    );
    let field = |line, word| ParseError::Field { line, word };
    for (file, why) in [
        (String::new(), body(BodyError::Ended { line: 1 })),
        (
            same.replace("@v0", "@v1"),
            ParseError::Format {
                found: "jurat/tlog-fork@v1".into(),
            },
        ),
        (
            "jurat/tlog-fork@v0".into(),
            body(BodyError::Unterminated { line: 1 }),
        ),
        (
            "jurat/tlog-fork@v0\n".into(),
            body(BodyError::Ended { line: 2 }),
        ),
        (
            same.replacen("@v0\n", "@v0\nkind same-size\n", 1),
            ParseError::Kind {
                found: "same-size".into(),
            },
        ),
        (
            same.replacen("@v0\n", "@v0\nkind\n", 1),
            ParseError::NoEmptyLine {
                line: 2,
                found: "kind".into(),
            },
        ),
        (format!("{same}\n"), layout.clone()),
        (format!("{same}\nx\n"), layout.clone()),
        (turned, ParseError::NoContradiction(NoContradiction::Order)),
        (file(1).replacen("root ", "root  ", 1), field(2, "root")),
        (file(2).replacen("leaf ", "lief ", 1), field(3, "leaf")),
        (
            file(2).replacen("leaf", "leaf x\nleaf", 1),
            field(3, "leaf"),
        ),
        (
            file(4).replacen("cosigner w1", "cosigner w 1", 1),
            ParseError::Cosigner { line: 3 },
        ),
        (
            file(4).replacen(" 1790000000\n", "\n", 1),
            ParseError::Cosigner { line: 3 },
        ),
        (
            file(4).replacen(" 1790000000\n", " 01790000000\n", 1),
            ParseError::Cosigner { line: 3 },
        ),
        (
            file(5).replacen("index 2", "index 02", 1),
            field(6, "index"),
        ),
        (
            file(5).replacen(" 1790000000\n", " 1790000000 1790000001\n", 1),
            ParseError::Cosigner { line: 3 },
        ),
        (file(6).replacen("kind gossip-equivocation\n", "", 1), {
            let note = &file(6)["jurat/tlog-fork@v0\nkind gossip-equivocation\n\n".len()..];
            let note = note.split("\n\n").take(2).collect::<Vec<_>>().join("\n\n") + "\n";
            ParseError::Checkpoint(SignedCheckpoint::parse(note.as_bytes()).unwrap_err())
        }),
    ] {
        assert_eq!(Evidence::parse(file.as_bytes()), Err(why), "{file}");
    }
    for (place, (evidence, _)) in all.iter().enumerate() {
        let file = text(evidence);
        // A line break more anywhere, one less, another kind of it, a byte at the end.
        let breaks: Vec<usize> = file.match_indices('\n').map(|(at, _)| at).collect();
        for &at in &breaks {
            for (with, until) in [
                ("\n\n", at + 1),
                ("\r\n", at + 1),
                ("", at + 1),
                (" \n", at + 1),
            ] {
                let other = format!("{}{with}{}", &file[..at], &file[until..]);
                // An origin may end in a space: then it is another log's contradiction.
                let read = Evidence::parse(other.as_bytes());
                let same = read.is_ok_and(|read| read.id() == evidence.id());
                assert!(!same, "{place} {at} {with:?}");
            }
        }
        for cut in (0..file.len()).filter(|&cut| file.is_char_boundary(cut)) {
            // What is left is a file when whole signature lines are cut off.
            let whole = cut > 0
                && file[..cut].ends_with('\n')
                && !file[..cut].ends_with("\n\n")
                && file[cut..].lines().all(|line| line.starts_with('\u{2014}'));
            let read = Evidence::parse(&file.as_bytes()[..cut]);
            assert_eq!(read.is_ok(), whole, "{place} {cut}");
        }
        for more in ["\n", " ", "\0", "x\n"] {
            assert!(Evidence::parse(format!("{file}{more}").as_bytes()).is_err());
        }
    }
}

// Spec: EVI-02
#[test]
fn two_of_the_largest_notes_make_a_file_and_more_bytes_do_not() {
    let cast = Cast::new();
    let (a, b) = forked(30, 7);
    let by = |tree: &Tree, at| {
        let mut checkpoint = unsigned(ORIGIN, tree.head(at));
        let plain = signed(ORIGIN, tree.head(at), &[&cast.log]).to_bytes().len();
        let filler = "x".repeat(NOTE_BYTES_MAX - plain - 1);
        checkpoint
            .extensions
            .push(&ExtensionLine::parse(&filler).unwrap());
        let line = cast.log.line(&checkpoint, 0);
        SignedCheckpoint::new(checkpoint, vec![line]).unwrap()
    };
    let (small, large) = (by(&a, 13), by(&b, 30));
    assert_eq!(small.to_bytes().len(), NOTE_BYTES_MAX);
    let proof = b.consistency(13, 30);
    let evidence = Evidence::of_growth(&small, &large, &proof).unwrap();
    let file = evidence.to_bytes();
    assert!(file.len() > 2 * NOTE_BYTES_MAX && file.len() <= EVIDENCE_BYTES_MAX);
    assert_eq!(
        names(&Evidence::parse(&file).unwrap(), &cast.keys()).len(),
        1
    );
    let bytes = EVIDENCE_BYTES_MAX + 1;
    let too_long = vec![b'x'; bytes];
    let bytes_max = EVIDENCE_BYTES_MAX;
    assert_eq!(
        Evidence::parse(&too_long),
        Err(ParseError::Body(BodyError::TooLong { bytes, bytes_max }))
    );
}

// Spec: EVI-12
#[test]
fn extra_data_of_a_proof_are_read_and_mean_nothing() {
    let cast = Cast::new();
    let (evidence, _) = one_of_each(&cast).remove(2);
    let file = text(&evidence);
    let with_extra = file.replacen("index 9\n", "extra aGVsbG8=\nindex 9\n", 1);
    let read = Evidence::parse(with_extra.as_bytes()).unwrap();
    assert_eq!(text(&read), with_extra);
    assert_eq!(read.id(), evidence.id());
    assert_eq!(read.verify(&cast.keys()), evidence.verify(&cast.keys()));
    let (smaller, _) = read.minimised(&cast.keys()).unwrap();
    assert_eq!(smaller, evidence.minimised(&cast.keys()).unwrap().0);
    let block = file
        .split("\n\n")
        .skip(1)
        .take(3)
        .collect::<Vec<_>>()
        .join("\n\n")
        + "\n";
    assert!(
        TlogProof::parse(block.as_bytes()).is_ok(),
        "the file holds whole proofs"
    );
}

/// The entries of a log that hold a file, as bytes.
fn entries_of(evidence: &Evidence, convicts: Convicts) -> Vec<Vec<u8>> {
    let entries = EvidenceEntry::all_of(evidence, convicts).into_iter();
    entries
        .map(|entry| Entry::Evidence(entry).to_bytes())
        .collect()
}

fn read(bytes: &[u8]) -> Result<EvidenceEntry, EntryError> {
    match Entry::parse(bytes)? {
        Entry::Evidence(entry) => Ok(entry),
        other => panic!("{other:?}"),
    }
}

// Spec: ENT-13
#[test]
fn the_entry_of_evidence_is_a_finding_and_the_file_as_it_is() {
    let cast = Cast::new();
    for (evidence, _) in one_of_each(&cast) {
        for convicts in Convicts::ALL {
            let [bytes] = &entries_of(&evidence, convicts)[..] else {
                panic!("one entry");
            };
            let head = format!("jurat-entry/v1 evidence\nconvicts {convicts}\n");
            assert_eq!(*bytes, [head.as_bytes(), &evidence.to_bytes()].concat());
            let entry = read(bytes).unwrap();
            assert_eq!((entry.convicts, entry.part()), (convicts, None));
            assert_eq!(
                EvidenceFiles::default().add(entry).unwrap(),
                Some(evidence.clone())
            );
        }
    }
    let [bytes] = &entries_of(&one_of_each(&cast)[0].0, Convicts::Log)[..] else {
        panic!("one entry");
    };
    let text = String::from_utf8(bytes.clone()).unwrap();
    for (from, to) in [
        ("convicts log\n", ""),
        ("convicts log\n", "convicts nobody\n"),
        ("convicts log\n", "convicts log \n"),
        ("convicts log\n", "convicts log\n\n"),
        ("tlog-fork@v0", "tlog-fork@v1"),
    ] {
        let changed = text.replace(from, to);
        assert!(read(changed.as_bytes()).is_err(), "{from:?} {to:?}");
    }
    assert!(read(&bytes[..bytes.len() - 1]).is_err());
    assert!(read(b"jurat-entry/v1 evidence\n").is_err());
    assert!(read(b"jurat-entry/v1 evidence\nconvicts log\n").is_err());
}

/// A fork between notes that no entry holds.
fn long(cast: &Cast) -> Evidence {
    let (a, b) = forked(20, 9);
    let note = |tree: &Tree| {
        let mut checkpoint = unsigned(ORIGIN, tree.head(12));
        for _ in 0..70 {
            let line = ExtensionLine::parse(&"x".repeat(1_000)).unwrap();
            checkpoint.extensions.push(&line);
        }
        let line = cast.log.line(&checkpoint, NOW);
        SignedCheckpoint::new(checkpoint, vec![line]).unwrap()
    };
    Evidence::same_size(note(&a), note(&b)).unwrap()
}

// Spec: ENT-14
#[test]
fn a_file_that_no_entry_holds_is_cut_in_one_way_and_put_together_again() {
    let cast = Cast::new();
    let evidence = long(&cast);
    let entries = entries_of(&evidence, Convicts::Log);
    assert_eq!(entries.len(), 3);
    let file = sha256(&evidence.to_bytes());
    let head = format!("jurat-entry/v1 evidence\nconvicts log\npart 2 3 {file}\n");
    assert!(entries[1].starts_with(head.as_bytes()));
    assert_eq!(entries[1].len(), head.len() + 61_440);
    // In any order, with one of them twice, and with other files between.
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        let mut files = EvidenceFiles::default();
        let mut found = Vec::new();
        for place in order {
            for _ in 0..2 {
                found.extend(files.add(read(&entries[place]).unwrap()).unwrap());
            }
            let other = one_of_each(&cast).remove(0).0;
            let other = entries_of(&other, Convicts::Keys).remove(0);
            assert!(files.add(read(&other).unwrap()).unwrap().is_some());
        }
        assert_eq!(found, std::slice::from_ref(&evidence), "once");
    }
    // Other cuts are no entries.
    let with = |head: &str, bytes: usize| {
        let head = format!("jurat-entry/v1 evidence\nconvicts log\n{head} {file}\n");
        read(&[head.into_bytes(), vec![b'x'; bytes]].concat()).map(|_| ())
    };
    for (head, bytes) in [
        ("part 1 2", 61_440),
        ("part 2 2", 1),
        ("part 2 2", 61_440),
        ("part 4 5", 61_440),
        ("part 5 5", 288 * 1024 - 4 * 61_440),
    ] {
        assert_eq!(with(head, bytes), Ok(()), "{head} {bytes}");
    }
    for (head, bytes) in [
        ("part 1 1", 100),
        ("part 0 2", 61_440),
        ("part 3 2", 100),
        ("part 1 6", 61_440),
        ("part 1 2", 61_439),
        ("part 1 2", 61_441),
        ("part 2 2", 0),
        ("part 2 2", 61_441),
        ("part 5 5", 288 * 1024 - 4 * 61_440 + 1),
        ("part 01 2", 61_440),
        ("part  2", 61_440),
        ("part 1 2 3", 61_440),
    ] {
        assert!(with(head, bytes).is_err(), "{head} {bytes}");
    }
    // One that fits is not cut, and one that does not is not whole.
    let whole = [
        b"jurat-entry/v1 evidence\nconvicts log\n",
        &evidence.to_bytes()[..],
    ]
    .concat();
    assert!(read(&whole).is_err());
    // Parts of another file make nothing, and disturb nobody.
    let mut files = EvidenceFiles::default();
    let mut changed = entries[2].clone();
    *changed.last_mut().unwrap() = b'x';
    for entry in [&entries[0], &entries[1]] {
        assert_eq!(files.add(read(entry).unwrap()), Ok(None));
    }
    assert!(files.add(read(&changed).unwrap()).is_err());
}
