//! Rows WIT-21 to WIT-24 of `spec/witness.md`.

use jurat_proto::checkpoint::SignaturesError;
use jurat_proto::cosignature_lines::{CosignatureLines, CosignatureLinesError, CosignaturesError};
use jurat_proto::note::{LineError, NOTE_BYTES_MAX, SIGNATURES_MAX, SignatureLine};
use proptest::prelude::*;

use crate::signing::{Key, NOW, Tree, signed, spoiled, unsigned};

const ORIGIN: &str = "log.example/one";

fn lines(keys: &[&Key]) -> Vec<SignatureLine> {
    let checkpoint = unsigned(ORIGIN, Tree::new(3, "e").head(3));
    keys.iter().map(|key| key.line(&checkpoint, NOW)).collect()
}

// Spec: WIT-21
#[test]
fn an_answer_is_signature_lines_and_nothing_else() {
    let (ed, ml) = (
        Key::witness("w.example/1", 1),
        Key::ml_dsa("w.example/1", 2),
    );
    let answer = CosignatureLines::new(lines(&[&ed, &ml])).unwrap();
    let bytes = answer.to_bytes();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(text.ends_with('\n') && text.lines().all(|line| line.starts_with("\u{2014} w.ex")));
    assert_eq!(CosignatureLines::parse(&bytes).unwrap(), answer);

    let error = |body: &str| CosignatureLines::parse(body.as_bytes()).unwrap_err();
    let no_dash = |line| CosignatureLinesError::Line {
        line,
        reason: LineError::NoDash,
    };
    assert_eq!(error(""), CosignatureLinesError::Empty);
    assert_eq!(error(text.trim_end()), CosignatureLinesError::Unterminated);
    assert_eq!(error("\n"), no_dash(1));
    assert_eq!(error(&format!("{text}\n")), no_dash(3));
    assert_eq!(error(&format!("\n{text}")), no_dash(1));
    assert_eq!(error(&text.replace('\u{2014}', "-")), no_dash(1));
    assert!(matches!(
        error(&text.replace('\n', "\r\n")),
        CosignatureLinesError::Line { .. }
    ));
    assert_eq!(
        CosignatureLines::parse(b"\xff\n"),
        Err(CosignatureLinesError::NotText)
    );
    assert_eq!(
        CosignatureLines::new(Vec::new()),
        Err(CosignatureLinesError::Empty)
    );
    let first = text.split_inclusive('\n').next().unwrap();
    CosignatureLines::parse(first.repeat(SIGNATURES_MAX).as_bytes()).unwrap();
    assert_eq!(
        error(&first.repeat(SIGNATURES_MAX + 1)),
        CosignatureLinesError::TooMany
    );
    let long = vec![b'x'; NOTE_BYTES_MAX + 1];
    assert_eq!(
        CosignatureLines::parse(&long),
        Err(CosignatureLinesError::TooLong {
            bytes: NOTE_BYTES_MAX + 1
        })
    );
}

// Spec: WIT-22, WIT-23
#[test]
fn a_client_keeps_good_lines_by_keys_that_it_knows() {
    let (ed, ml, other) = (
        Key::witness("w", 1),
        Key::ml_dsa("w", 2),
        Key::witness("stranger", 3),
    );
    let checkpoint = signed(ORIGIN, Tree::new(3, "e").head(3), &[&Key::log(ORIGIN, 9)]);
    let keys = [ml.vkey(), ed.vkey()];
    let check = |lines| {
        CosignatureLines::new(lines)
            .unwrap()
            .verify(&checkpoint, &keys)
    };
    let mut answer = lines(&[&other, &ed, &ml]);
    answer[0] = spoiled(&answer[0]);
    let verified = check(answer.clone()).unwrap();
    let places: Vec<_> = verified
        .iter()
        .map(|line| (line.line_index, line.key_index))
        .collect();
    assert_eq!(places, [(1, 1), (2, 0)]);
    assert!(
        verified
            .iter()
            .all(|line| line.timestamp.is_some_and(|time| time.get() == NOW))
    );

    answer[2] = spoiled(&answer[2]);
    assert!(matches!(
        check(answer),
        Err(CosignaturesError::Signatures(
            SignaturesError::BadSignature { line_index: 2, .. }
        ))
    ));
    assert_eq!(
        check(lines(&[&other])),
        Err(CosignaturesError::Signatures(
            SignaturesError::NoKnownSignature
        ))
    );
    // Cosignatures of another checkpoint are bad ones of this.
    let elsewhere = signed(ORIGIN, Tree::new(4, "e").head(4), &[&Key::log(ORIGIN, 9)]);
    let answer = CosignatureLines::new(lines(&[&ed])).unwrap();
    assert!(answer.verify(&elsewhere, &keys).is_err());
}

// Spec: WIT-24
#[test]
fn a_cosignature_without_a_time_is_refused() {
    let checkpoint = signed(ORIGIN, Tree::new(3, "e").head(3), &[&Key::log(ORIGIN, 9)]);
    for key in [Key::witness("w", 1), Key::ml_dsa("w", 2)] {
        let good = key.line(checkpoint.checkpoint(), 1);
        let zero = key.line(checkpoint.checkpoint(), 0);
        let answer = CosignatureLines::new(vec![good, zero]).unwrap();
        let want = Err(CosignaturesError::NoTime { line: 1 });
        assert_eq!(answer.verify(&checkpoint, &[key.vkey()]), want);
    }
}

proptest! {
    // Spec: WIT-21
    #[test]
    fn what_parses_after_a_change_is_canonical(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let answer = CosignatureLines::new(lines(&[&Key::witness("w", 1), &Key::witness("v", 2)]));
        let mut body = answer.unwrap().to_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(parsed) = CosignatureLines::parse(&body) {
            prop_assert_eq!(parsed.to_bytes(), body);
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = CosignatureLines::parse(&body);
    }
}
