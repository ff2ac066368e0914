//! The smallest file that convicts the same keys, and the union of two files of one contradiction.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::{Contradiction, Evidence, KnownKeys, NotProven, Omission, Said, ShownLeaf, Verdict};
use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::gossip::SignedStatement;
use crate::note::SignatureLine;
use crate::tlog_proof::TlogProof;

/// How many lines by unknown keys a note may keep: enough for the witnesses that somebody else
/// knows, and too few to fill a store.
// Spec: EVI-51
const UNKNOWN_LINES_MAX: usize = 16;

impl Evidence {
    /// The same contradiction with the lines that it stands on, and no others: one line for each
    /// convicted key on either note, and at most 16 lines on either by keys that are not known here
    /// but stand on both, since somebody else may know them. The lines are in the order of their
    /// bytes, so that the same lines always make the same file.
    ///
    /// # Errors
    /// [`NotProven`], as [`Evidence::verify`].
    // Spec: EVI-50, EVI-51, EVI-52
    pub fn minimised(&self, keys: &KnownKeys) -> Result<(Self, Verdict), NotProven> {
        let (verdict, [on_a, on_b]) = self.convict(keys)?;
        let (a, b) = self.statements();
        let (lines_a, lines_b) = (a.signatures(), b.map_or(&[][..], |b| b.signatures()));
        let known_a = picked(lines_a, &on_a);
        let known_b = picked(lines_b, &on_b);
        // Only where any signer may be convicted is a stranger's line worth keeping.
        let any_signer = matches!(
            self.0,
            Contradiction::SameSize(_) | Contradiction::Opening { .. } | Contradiction::Entry(_)
        );
        let strangers = |lines: &[SignatureLine], others: &[SignatureLine]| {
            if any_signer {
                unknown(lines, others, keys)
            } else {
                Vec::new()
            }
        };
        let kept = [
            Kept::new(known_a, strangers(lines_a, lines_b)),
            Kept::new(known_b, strangers(lines_b, lines_a)),
        ];
        // A note with fewer lines is a note; were it not, the file as it came would stand.
        let smaller = self.with_lines(&kept).unwrap_or_else(|| self.clone());
        Ok((smaller, verdict))
    }

    /// What two files of one contradiction prove together, minimised. Who spreads a copy without
    /// some guilty witness's lines protects nobody: the copy that has them adds them.
    ///
    /// # Errors
    /// [`NotProven`] when neither proves anything.
    // Spec: EVI-53
    pub fn merged(&self, other: &Self, keys: &KnownKeys) -> Result<(Self, Verdict), NotProven> {
        if self.id() != other.id() || self.kind() != other.kind() {
            return self.minimised(keys);
        }
        let Ok((other, _)) = other.minimised(keys) else {
            return self.minimised(keys);
        };
        let Ok((mine, _)) = self.minimised(keys) else {
            return other.minimised(keys);
        };
        let (a, b) = (mine.statements(), other.statements());
        let union = |a: Said<'_>, b: Said<'_>| {
            let mut lines = a.signatures().to_vec();
            // Other extension lines are another text: its lines are no signatures of this one.
            if text(a) == text(b) {
                lines.extend_from_slice(b.signatures());
            }
            Kept::new(lines, Vec::new())
        };
        let first = union(a.0, b.0);
        let second = match (a.1, b.1) {
            (Some(a), Some(b)) => union(a, b),
            _ => Kept::new(Vec::new(), Vec::new()),
        };
        match mine.with_lines(&[first, second]) {
            Some(both) => both.minimised(keys),
            None => mine.minimised(keys),
        }
    }

    /// The same contradiction under other lines; nothing when they do not fit into a note.
    fn with_lines(&self, [on_a, on_b]: &[Kept; 2]) -> Option<Self> {
        let pair = |notes: &[SignedCheckpoint; 2]| {
            let [a, b] = notes;
            Some([checkpoint(a, on_a)?, checkpoint(b, on_b)?])
        };
        let contradiction = match &self.0 {
            Contradiction::SameSize(notes) => Contradiction::SameSize(pair(notes)?),
            Contradiction::Opening { notes, root, proof } => Contradiction::Opening {
                notes: pair(notes)?,
                root: *root,
                proof: proof.clone(),
            },
            Contradiction::Entry(leaves) => {
                let [a, b] = &**leaves;
                Contradiction::Entry([shown(a, on_a)?, shown(b, on_b)?].into())
            }
            Contradiction::Empty(note) => Contradiction::Empty(checkpoint(note, on_a)?),
            Contradiction::CosignerRegress { notes, by, times } => Contradiction::CosignerRegress {
                notes: pair(notes)?,
                by: by.clone(),
                times: *times,
            },
            Contradiction::Omission(omission) => Contradiction::Omission(
                Omission {
                    page: statement(&omission.page, on_a)?,
                    note: checkpoint(&omission.note, on_b)?,
                    ..(**omission).clone()
                }
                .into(),
            ),
            Contradiction::GossipEquivocation([a, b]) => {
                Contradiction::GossipEquivocation([statement(a, on_a)?, statement(b, on_b)?])
            }
        };
        Self::bounded(contradiction).ok()
    }
}

fn text(said: Said<'_>) -> &str {
    match said {
        Said::Checkpoint(note) => note.note().text(),
        Said::Gossip(note) => note.note().text(),
    }
}

/// The lines that stay under a note.
struct Kept {
    lines: Vec<SignatureLine>,
    /// Whether a signature among them covers, or may cover, extension lines.
    covers_extensions: bool,
}

impl Kept {
    fn new(known: Vec<SignatureLine>, unknown: Vec<SignatureLine>) -> Self {
        // Of the types that are verified, only cosignatures of ML-DSA-44 are that long, and a line
        // by a key that is not known may be of any type.
        let long = |line: &SignatureLine| line.signature().len() == ML_DSA_44_LINE_BYTES;
        let covers_extensions = !unknown.is_empty() || !known.iter().all(long);
        let mut lines = known;
        lines.extend(unknown);
        lines.sort_by_cached_key(ToString::to_string);
        lines.dedup();
        Self {
            lines,
            covers_extensions,
        }
    }
}

/// A time and a signature of ML-DSA-44.
const ML_DSA_44_LINE_BYTES: usize = 8 + 2420;

fn picked(lines: &[SignatureLine], places: &[usize]) -> Vec<SignatureLine> {
    let places = places.iter().filter_map(|place| lines.get(*place));
    places.cloned().collect()
}

/// The first line of each key that is not known but has lines on both notes.
fn unknown(
    lines: &[SignatureLine],
    others: &[SignatureLine],
    keys: &KnownKeys,
) -> Vec<SignatureLine> {
    let same_key = |one: &SignatureLine, other: &SignatureLine| {
        one.name() == other.name() && one.key_id() == other.key_id()
    };
    let mut found: Vec<SignatureLine> = Vec::new();
    for line in lines {
        if found.len() >= UNKNOWN_LINES_MAX {
            break;
        }
        let wanted = others.iter().any(|other| same_key(line, other))
            && !found.iter().any(|other| same_key(line, other))
            && !keys.knows(line);
        if wanted {
            found.push(line.clone());
        }
    }
    found
}

/// Spec: EVI-52. Extension lines that no signature covers could be anybody's, and go.
fn checkpoint(note: &SignedCheckpoint, kept: &Kept) -> Option<SignedCheckpoint> {
    let mut said: Checkpoint = note.checkpoint().clone();
    if !kept.covers_extensions {
        said.extensions.clear();
    }
    SignedCheckpoint::new(said, kept.lines.clone()).ok()
}

fn statement(signed: &SignedStatement, kept: &Kept) -> Option<SignedStatement> {
    SignedStatement::new(signed.statement().clone(), kept.lines.clone()).ok()
}

fn shown(shown: &ShownLeaf, kept: &Kept) -> Option<ShownLeaf> {
    let ShownLeaf { leaf, proof } = shown;
    let note = checkpoint(proof.checkpoint(), kept)?;
    // Extra data are not authenticated by anything.
    let proof = TlogProof::new(None, proof.index(), proof.proof().clone(), note).ok()?;
    Some(ShownLeaf { leaf: *leaf, proof })
}
