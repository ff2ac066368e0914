//! The text format `tlog-fork`: what is read, and what is written.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{
    Contradiction, Cosigner, EVIDENCE_BYTES_MAX, Evidence, Kind, Omission, ParseError, ShownLeaf,
    ShownRow,
};
use crate::body::{self, Lines};
use crate::checkpoint::SignedCheckpoint;
use crate::decimal::parse_decimal;
use crate::gossip::{Row, SignedStatement};
use crate::hash::Hash;
use crate::hex;
use crate::key::{KeyId, KeyName, UnixSeconds};
use crate::tlog_proof::TlogProof;
use crate::tree::LeafIndex;

/// The first line.
const FORMAT: &str = "jurat/tlog-fork@v0";

impl Evidence {
    /// How a file of evidence begins, by which it is told from others.
    pub const MAGIC: &'static [u8] = b"jurat/tlog-fork@v0\n";

    /// Reads a file of evidence. Only the canonical form is accepted. Everything but the signatures
    /// is checked: what parses is a contradiction, if somebody signed it.
    ///
    /// # Errors
    /// [`ParseError`]: the first thing that is wrong. Whoever made the file is at fault.
    // Spec: EVI-01, EVI-02, EVI-03
    pub fn parse(file: &[u8]) -> Result<Self, ParseError> {
        let mut lines = Lines::new(file, EVIDENCE_BYTES_MAX)?;
        let first = lines.next_line()?;
        if first != FORMAT {
            return Err(ParseError::Format {
                found: body::shown(first),
            });
        }
        let contradiction = if lines.rest().starts_with("kind ") {
            written_kind(lines)?
        } else {
            by_shape(lines)?
        };
        Self::checked(contradiction).map_err(ParseError::NoContradiction)
    }

    /// The file.
    // Spec: EVI-01, EVI-05
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("{FORMAT}\n");
        if self.kind().is_written() {
            head.extend([format!("kind {}\n", self.kind())]);
        }
        let mut notes: Vec<Vec<u8>> = Vec::new();
        match &self.0 {
            Contradiction::SameSize([a, b]) => notes.extend([a.to_bytes(), b.to_bytes()]),
            Contradiction::Empty(note) => notes.push(note.to_bytes()),
            Contradiction::Opening {
                notes: [a, b],
                root,
                proof,
            } => {
                head.extend([format!("root {root}\n{}", proof.to_lines())]);
                notes.extend([a.to_bytes(), b.to_bytes()]);
            }
            Contradiction::Entry(leaves) => {
                for ShownLeaf { leaf, proof } in leaves.iter() {
                    head.extend([format!("leaf {leaf}\n")]);
                    notes.push(proof.to_bytes());
                }
            }
            Contradiction::CosignerRegress {
                notes: [a, b],
                by,
                times: [time_a, time_b],
            } => {
                head.extend([format!("cosigner {by} {time_a} {time_b}\n")]);
                notes.extend([a.to_bytes(), b.to_bytes()]);
            }
            Contradiction::Omission(omission) => {
                let Omission {
                    page,
                    row,
                    note,
                    by,
                    time,
                } = &**omission;
                head.extend([format!("cosigner {by} {time}\n")]);
                push_row(&mut head, row);
                notes.extend([page.to_bytes(), note.to_bytes()]);
            }
            Contradiction::GossipEquivocation([a, b]) => {
                notes.extend([a.to_bytes(), b.to_bytes()]);
            }
        }
        let mut file = head.into_bytes();
        for note in notes {
            file.push(b'\n');
            file.extend_from_slice(&note);
        }
        file
    }
}

fn push_row(head: &mut String, shown: &ShownRow) {
    let ShownRow {
        row,
        root,
        index,
        proof,
    } = shown;
    head.extend([format!("row {row}\nroot {root}\nindex {index}\n")]);
    head.push_str(&proof.to_lines());
}

/// The kinds that have a line with their name.
// Spec: EVI-04
fn written_kind(mut lines: Lines<'_>) -> Result<Contradiction, ParseError> {
    let name = field(&mut lines, "kind")?;
    match Kind::ALL.into_iter().find(|kind| kind.name() == name) {
        Some(Kind::Entry) => entry(lines),
        Some(Kind::CosignerRegress) => cosigner_regress(lines),
        Some(Kind::Omission) => omission(lines),
        Some(Kind::GossipEquivocation) => gossip_equivocation(lines),
        Some(Kind::SameSize | Kind::Opening | Kind::Empty) | None => Err(ParseError::Kind {
            found: body::shown(name),
        }),
    }
}

/// The kinds that have no line with their name.
// Spec: EVI-04, EVI-10, EVI-11, EVI-13
fn by_shape(mut lines: Lines<'_>) -> Result<Contradiction, ParseError> {
    if lines.rest().starts_with("root ") {
        let root = hash(&mut lines, "root")?;
        let proof = lines.consistency_proof()?;
        return Ok(Contradiction::Opening {
            notes: checkpoints(lines.rest())?,
            root,
            proof,
        });
    }
    end(&mut lines)?;
    // A note is two blocks of lines, text and signatures.
    if empty_lines(lines.rest()).take(2).count() < 2 {
        return Ok(Contradiction::Empty(checkpoint(lines.rest())?));
    }
    Ok(Contradiction::SameSize(checkpoints(lines.rest())?))
}

// Spec: EVI-12
fn entry(mut lines: Lines<'_>) -> Result<Contradiction, ParseError> {
    let leaves = [hash(&mut lines, "leaf")?, hash(&mut lines, "leaf")?];
    end(&mut lines)?;
    // A proof is three blocks: its own lines, and the two of its note.
    let proofs = halves(lines.rest(), 3)?
        .map(|half| TlogProof::parse(half.as_bytes()).map_err(ParseError::TlogProof));
    let ([leaf_a, leaf_b], [proof_a, proof_b]) = (leaves, proofs);
    let shown = |leaf, proof| ShownLeaf { leaf, proof };
    Ok(Contradiction::Entry(Box::new([
        shown(leaf_a, proof_a?),
        shown(leaf_b, proof_b?),
    ])))
}

// Spec: EVI-14
fn cosigner_regress(mut lines: Lines<'_>) -> Result<Contradiction, ParseError> {
    let at = lines.line();
    let (by, times) = cosigner(&mut lines)?;
    end(&mut lines)?;
    let notes = checkpoints(lines.rest())?;
    let [time_a, time_b] = times[..] else {
        return Err(ParseError::Cosigner { line: at });
    };
    Ok(Contradiction::CosignerRegress {
        notes,
        by,
        times: [time_a, time_b],
    })
}

// Spec: EVI-15
fn omission(mut lines: Lines<'_>) -> Result<Contradiction, ParseError> {
    let at = lines.line();
    let (by, times) = cosigner(&mut lines)?;
    let [time] = times[..] else {
        return Err(ParseError::Cosigner { line: at });
    };
    let row = field(&mut lines, "row")?;
    let row = Row::parse(row).map_err(ParseError::Row)?;
    let root = hash(&mut lines, "root")?;
    let at = lines.line();
    let index = parse_decimal(field(&mut lines, "index")?).ok();
    let index = index.and_then(LeafIndex::new);
    let row = ShownRow {
        row,
        root,
        index: index.ok_or(ParseError::Field {
            line: at,
            word: "index",
        })?,
        proof: lines.inclusion_proof()?,
    };
    let [page, note] = halves(lines.rest(), 2)?;
    Ok(Contradiction::Omission(Box::new(Omission {
        page: statement(page)?,
        row,
        note: checkpoint(note)?,
        by,
        time,
    })))
}

// Spec: EVI-16
fn gossip_equivocation(mut lines: Lines<'_>) -> Result<Contradiction, ParseError> {
    end(&mut lines)?;
    let [a, b] = halves(lines.rest(), 2)?;
    Ok(Contradiction::GossipEquivocation([
        statement(a)?,
        statement(b)?,
    ]))
}

/// The value of a line that begins with a word.
fn field<'a>(lines: &mut Lines<'a>, word: &'static str) -> Result<&'a str, ParseError> {
    let line = lines.line();
    let text = lines.next_line()?;
    text.strip_prefix(word)
        .and_then(|value| value.strip_prefix(' '))
        .ok_or(ParseError::Field { line, word })
}

fn hash(lines: &mut Lines<'_>, word: &'static str) -> Result<Hash, ParseError> {
    let line = lines.line();
    let value = field(lines, word)?;
    Hash::from_base64(value).map_err(|_| ParseError::Field { line, word })
}

/// `cosigner <name>+<key id> <time>…`
fn cosigner(lines: &mut Lines<'_>) -> Result<(Cosigner, Vec<UnixSeconds>), ParseError> {
    let wrong = ParseError::Cosigner { line: lines.line() };
    let mut parts = field(lines, "cosigner")?.splitn(COSIGNER_PARTS_MAX, ' ');
    let key = parts.next().and_then(|key| key.split_once('+'));
    let parsed = key.and_then(|(name, id)| {
        let id = <[u8; 4]>::try_from(hex::decode(id).ok()?).ok()?;
        Some(Cosigner {
            name: KeyName::parse(name).ok()?,
            key_id: KeyId::new(id),
        })
    });
    let times = parts.map(|part| UnixSeconds::new(parse_decimal(part).ok()?));
    match (parsed, times.collect()) {
        (Some(cosigner), Some(times)) => Ok((cosigner, times)),
        _ => Err(wrong),
    }
}

/// A key and two times; a fourth part makes the third no number.
const COSIGNER_PARTS_MAX: usize = 3;

/// The empty line after the lines of the kind.
// Spec: EVI-05
fn end(lines: &mut Lines<'_>) -> Result<(), ParseError> {
    let line = lines.line();
    match lines.next_line()? {
        "" => Ok(()),
        found => Err(ParseError::NoEmptyLine {
            line,
            found: body::shown(found),
        }),
    }
}

/// Two texts of as many blocks of lines each, with an empty line between them and between blocks.
/// Neither has an empty line elsewhere: that is so of checkpoints and of statements of gossip.
// Spec: EVI-05
fn halves(rest: &str, blocks: usize) -> Result<[&str; 2], ParseError> {
    let mut at = empty_lines(rest);
    let (Some(middle), rest_of) = (at.nth(blocks - 1), at.count()) else {
        return Err(ParseError::Layout);
    };
    // The first text keeps its newline; the empty line between the two belongs to neither.
    match rest.split_at_checked(middle + 1) {
        Some((first, second)) if rest_of == blocks - 1 => {
            let second = second.strip_prefix('\n').ok_or(ParseError::Layout)?;
            Ok([first, second])
        }
        _ => Err(ParseError::Layout),
    }
}

/// Where two newlines stand, from left to right, none of them twice. As `match_indices` has it, but
/// many bytes are looked at in one step: whoever sends a file decides how long it is.
fn empty_lines(text: &str) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    let mut from = 0_usize;
    core::iter::from_fn(move || {
        let mut at = from;
        while let Some(step) = bytes.get(at..).and_then(<[u8]>::first_chunk::<STEP>) {
            // Without a branch. The last byte of a step is the first of the next one.
            // Of two slices: beside one that skips a byte the step is not one.
            let pairs = step.iter().zip(step.get(1..).unwrap_or_default());
            let found = pairs.fold(0, |found, (byte, next)| {
                found | (u8::from(*byte == b'\n') & u8::from(*next == b'\n'))
            });
            if found != 0 {
                break;
            }
            at = at.saturating_add(STEP - 1);
        }
        let place = bytes
            .get(at..)?
            .windows(2)
            .position(|pair| pair == b"\n\n")?;
        let place = at.saturating_add(place);
        from = place.saturating_add(2);
        Some(place)
    })
}

/// How many bytes are looked at in a step.
const STEP: usize = 129;

fn checkpoints(rest: &str) -> Result<[SignedCheckpoint; 2], ParseError> {
    let [a, b] = halves(rest, 2)?;
    Ok([checkpoint(a)?, checkpoint(b)?])
}

fn checkpoint(text: &str) -> Result<SignedCheckpoint, ParseError> {
    SignedCheckpoint::parse_str(text).map_err(ParseError::Checkpoint)
}

fn statement(text: &str) -> Result<SignedStatement, ParseError> {
    SignedStatement::parse(text.as_bytes()).map_err(ParseError::Statement)
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;

    use super::{STEP, empty_lines};

    // Spec: EVI-05
    #[test]
    fn empty_lines_are_found_wherever_they_stand() {
        let mut texts: Vec<String> = ["", "\n", "\n\n", "\n\n\n", "\n\n\n\n", "a\n\nb\n"]
            .map(String::from)
            .to_vec();
        // At each place around the ends of the steps.
        for before in (0..6)
            .chain(STEP - 4..STEP + 4)
            .chain(2 * STEP - 5..2 * STEP + 5)
        {
            for newlines in 0..5 {
                for after in [0, 1, STEP] {
                    let (a, b) = ("x".repeat(before), "y".repeat(after));
                    texts.push(a.clone() + &"\n".repeat(newlines) + &b + "\n\n");
                    texts.push(a + &"\nz".repeat(newlines) + &b);
                }
            }
        }
        for text in texts {
            let all: Vec<usize> = text.match_indices("\n\n").map(|(place, _)| place).collect();
            assert_eq!(empty_lines(&text).collect::<Vec<_>>(), all, "{text:?}");
        }
    }
}
