//! Rows GSP-180 to GSP-182 of `spec/gossip.md`: the file that a witness takes along.

use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::evidence::Evidence;
use jurat_proto::export::{
    Counts, Decoder, ExportError, Header, Part, STEP_BYTES_MAX, Step, parse, to_bytes,
};
use jurat_proto::hash::sha256;
use jurat_proto::hex;
use jurat_proto::key::{KeyName, UnixSeconds};

use crate::signing::{Key, NOW, Tree, signed};

fn header() -> Header {
    Header {
        name: KeyName::parse("witness.example/w1").unwrap(),
        time: UnixSeconds::new(NOW).unwrap(),
    }
}

fn note(origin: &str, size: usize, label: &str) -> SignedCheckpoint {
    let tree = Tree::new(12, label);
    let witness = Key::witness("witness.example/w1", 7);
    signed(origin, tree.head(size), &[&Key::log(origin, 1), &witness])
}

fn parts() -> Vec<Part> {
    let fork = Evidence::same_size(note("b.example", 7, "e"), note("b.example", 7, "x"));
    vec![
        Part::Head(note("a.example", 9, "e")),
        Part::Head(note("b.example", 7, "e")),
        Part::Evidence(Box::new(fork.unwrap())),
    ]
}

fn file() -> Vec<u8> {
    to_bytes(&header(), &parts()).unwrap()
}

/// With a last line that fits whatever was changed before it.
fn resealed(text: &str) -> Vec<u8> {
    let (body, last) = text.trim_end().rsplit_once('\n').unwrap();
    let counts = last.rsplit_once(' ').unwrap().0;
    let digest = hex::encode(sha256(format!("{body}\n").as_bytes()).as_bytes());
    format!("{body}\n{counts} {digest}\n").into_bytes()
}

fn text() -> String {
    String::from_utf8(file()).unwrap()
}

// Spec: GSP-180
#[test]
fn a_file_is_header_parts_and_a_last_line_that_says_what_was_before() {
    let bytes = file();
    assert_eq!(parse(&bytes).unwrap(), (header(), parts()));
    let text = text();
    assert!(
        text.starts_with(
            "jurat/witness-export@v0\nname witness.example/w1\ntime 1790000000\n\nhead "
        )
    );
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("end 2 1 "), "{last}");
    assert_eq!(resealed(&text), bytes);
    let empty = to_bytes(&header(), &[]).unwrap();
    assert_eq!(parse(&empty).unwrap(), (header(), Vec::new()));
}

// Spec: GSP-182
#[test]
fn a_file_that_lost_or_gained_anything_is_refused() {
    let bytes = file();
    for end in 0..bytes.len() {
        assert!(parse(&bytes[..end]).is_err(), "cut at {end}");
    }
    let longer = [&bytes[..], b"\n"].concat();
    assert_eq!(parse(&longer), Err(ExportError::AfterTheEnd));
    for at in (0..bytes.len()).step_by(3) {
        let mut other = bytes.clone();
        other[at] ^= 1;
        assert!(parse(&other).is_err(), "changed at {at}");
    }
}

// Spec: GSP-180, GSP-181
#[test]
fn only_one_order_and_one_form_are_accepted() {
    let all = parts();
    for (one, other) in [(0, 1), (1, 2), (2, 1)] {
        let mut swapped = all.clone();
        swapped.swap(one, other);
        assert_eq!(to_bytes(&header(), &swapped), Err(ExportError::Order));
        let twice = [all[one].clone(), all[one].clone()];
        assert_eq!(to_bytes(&header(), &twice), Err(ExportError::Order));
    }
    let text = text();
    let changed = |from: &str, to: &str| {
        let other = text.replacen(from, to, 1);
        assert_ne!(other, text, "{from}");
        parse(&resealed(&other)).unwrap_err()
    };
    assert_eq!(
        changed("witness-export@v0", "witness-export@v1"),
        ExportError::Format
    );
    assert_eq!(changed("\ntime ", "\nwhen "), ExportError::Header);
    assert_eq!(changed("time 17", "time 017"), ExportError::Header);
    assert_eq!(
        changed("1790000000\n\n", "1790000000\n"),
        ExportError::Header
    );
    assert_eq!(changed("\nhead ", "\nhead 0"), ExportError::Line);
    assert_eq!(changed("\nhead ", "\nhand "), ExportError::Line);
    assert_eq!(changed("\nhead ", "\nretained "), ExportError::Line);
    assert!(matches!(
        changed("\nhead ", "\nevidence "),
        ExportError::Evidence(_)
    ));
    assert!(matches!(
        changed("\nevidence ", "\nhead "),
        ExportError::Note(_)
    ));
    // Another order of the same parts, under a last line that is right.
    let (first, rest) = text.split_once("\n\n").unwrap();
    let at = rest[1..].find("head ").unwrap() + 1;
    let until = rest.find("evidence ").unwrap();
    let swapped = [&rest[at..until], &rest[..at], &rest[until..]].concat();
    let swapped = resealed(&format!("{first}\n\n{swapped}"));
    assert_eq!(parse(&swapped), Err(ExportError::Order));
}

// Spec: GSP-180
#[test]
fn a_reader_is_told_early_that_it_need_not_read_on() {
    let begin = "jurat/witness-export@v0\nname w\ntime 1\n\n";
    let long = format!("{begin}evidence {}\n", STEP_BYTES_MAX + 1);
    assert!(matches!(
        parse(long.as_bytes()),
        Err(ExportError::TooLong { .. })
    ));
    let endless = [begin.as_bytes(), &vec![b'h'; 5000]].concat();
    assert_eq!(parse(&endless), Err(ExportError::Line));
    assert_eq!(parse(&[0_u8; 40]), Err(ExportError::Format));
}

// Spec: GSP-180
#[test]
fn a_file_is_read_by_parts_as_it_is_read_whole() {
    let bytes = file();
    for window in [1, 7, 300] {
        let (mut decoder, mut read, mut have) = (Decoder::default(), Vec::new(), Vec::new());
        let mut rest = bytes.chunks(window);
        let counts = loop {
            let used = match decoder.step(&have).unwrap() {
                Step::More => {
                    have.extend_from_slice(rest.next().expect("it is not cut short"));
                    continue;
                }
                Step::Header(found, used) => {
                    assert_eq!(found, header());
                    used
                }
                Step::Part(part, used) => {
                    read.push(part);
                    used
                }
                Step::End(counts) => break counts,
            };
            have.drain(..used);
        };
        assert_eq!(read, parts());
        let wanted = Counts {
            heads: 2,
            evidence: 1,
        };
        assert_eq!(counts, wanted);
    }
}
