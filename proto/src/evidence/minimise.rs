//! The smallest file that convicts the same keys, and the union of two files of one contradiction.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::{Contradiction, Evidence, KnownKeys, NotProven, Omission, Said, ShownLeaf, Verdict};
use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::gossip::SignedStatement;
use crate::note::SignatureLine;
use crate::tlog_proof::TlogProof;

/// How many lines that were not tried a note may keep: enough for the witnesses that somebody
/// else knows, and too few to fill a store.
// Spec: EVI-51
const UNTRIED_LINES_MAX: usize = 16;
/// No signature that anybody verifies is longer; sixteen of them leave half of a note to those that
/// convict.
// Spec: EVI-51
const UNTRIED_LINE_BYTES_MAX: usize = 4 * 1024;

impl Evidence {
    /// The same contradiction with the lines that it stands on, and no others: one line for each
    /// convicted key on either note, and at most 16 lines on either that were not tried, by keys
    /// that stand on both, since somebody else may convict them. The lines are in the order of
    /// their bytes, so that the same lines always make the same file.
    ///
    /// # Errors
    /// [`NotProven`], as [`Evidence::verify`].
    // Spec: EVI-50, EVI-51, EVI-52
    pub fn minimised(&self, keys: &KnownKeys) -> Result<(Self, Verdict), NotProven> {
        let (verdict, tried) = self.convict(keys)?;
        let [on_a, on_b] = &tried.count;
        let (a, b) = self.statements();
        let (lines_a, lines_b) = (a.signatures(), b.map_or(&[][..], |b| b.signatures()));
        let known_a = picked(lines_a, on_a);
        let known_b = picked(lines_b, on_b);
        // Only where any signer may be convicted is a stranger's line worth keeping.
        let any_signer = matches!(
            self.0,
            Contradiction::SameSize(_) | Contradiction::Opening { .. } | Contradiction::Entry(_)
        );
        let convicted = known_a.clone();
        let strangers = |lines: &[SignatureLine], others: &[SignatureLine]| {
            if any_signer {
                untried(lines, others, &convicted, &tried.failed)
            } else {
                Vec::new()
            }
        };
        let (more_a, more_b) = (strangers(lines_a, lines_b), strangers(lines_b, lines_a));
        let kept = [Kept::new(known_a, more_a), Kept::new(known_b, more_b)];
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
        // A file whose lines cover no extension lines may have lost them (EVI-52): its lines count
        // under the other's texts, too, and not the other way about.
        let (first, second) = if mine.covers_extensions() || !other.covers_extensions() {
            (&mine, &other)
        } else {
            (&other, &mine)
        };
        let (a, b) = (first.statements(), second.statements());
        let union = |a: Said<'_>, b: Said<'_>| {
            let same = text(a) == text(b);
            let mut lines = a.signatures().to_vec();
            // What was kept before stays before what comes: else lines that cost nothing to make
            // would displace those of whom somebody may convict.
            let more = b.signatures().iter();
            let more =
                more.filter(|line| (same || is_long(line)) && !a.signatures().contains(line));
            lines.extend(more.cloned());
            Kept::unsorted(lines)
        };
        let on_a = union(a.0, b.0);
        let on_b = match (a.1, b.1) {
            (Some(a), Some(b)) => union(a, b),
            _ => Kept::unsorted(Vec::new()),
        };
        match first.with_lines(&[on_a, on_b]) {
            Some(both) => both.minimised(keys),
            // They do not fit into a note: what it proves already stays.
            None => mine.minimised(keys),
        }
    }

    /// Whether a line under either statement covers its extension lines, or may.
    fn covers_extensions(&self) -> bool {
        let (a, b) = self.statements();
        let lines = [Some(a), b].into_iter().flatten();
        lines
            .flat_map(|said| said.signatures())
            .any(|line| !is_long(line))
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
    /// All of them, in this order, under the text as it is.
    fn unsorted(lines: Vec<SignatureLine>) -> Self {
        Self {
            lines,
            covers_extensions: true,
        }
    }

    fn new(known: Vec<SignatureLine>, unknown: Vec<SignatureLine>) -> Self {
        // A line by a key that is not known may be of any type.
        let covers_extensions = !unknown.is_empty() || !known.iter().all(is_long);
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

/// Of the types that are verified, only cosignatures of ML-DSA-44 are that long.
fn is_long(line: &SignatureLine) -> bool {
    line.signature().len() == ML_DSA_44_LINE_BYTES
}

/// A time and a signature of ML-DSA-44.
const ML_DSA_44_LINE_BYTES: usize = 8 + 2420;

fn picked(lines: &[SignatureLine], places: &[usize]) -> Vec<SignatureLine> {
    let places = places.iter().filter_map(|place| lines.get(*place));
    places.cloned().collect()
}

/// The lines that were not tried, of keys that have lines on both notes and are not convicted:
/// those of keys that are not known, or known for somebody who cannot be convicted of this, and
/// those that were dropped unseen. All of a key's lines: the first may be somebody's who shields
/// the key.
// Spec: EVI-51
fn untried(
    lines: &[SignatureLine],
    others: &[SignatureLine],
    convicted: &[SignatureLine],
    failed: &[SignatureLine],
) -> Vec<SignatureLine> {
    let same_key = |one: &SignatureLine, other: &SignatureLine| {
        one.name() == other.name() && one.key_id() == other.key_id()
    };
    let mut found: Vec<SignatureLine> = Vec::new();
    for line in lines {
        if found.len() >= UNTRIED_LINES_MAX {
            break;
        }
        let stands = |other: &SignatureLine| same_key(line, other) && !failed.contains(other);
        let wanted = others.iter().any(stands)
            && !convicted.iter().any(|other| same_key(line, other))
            && !failed.contains(line)
            && !found.contains(line)
            && line.encoded_len() <= UNTRIED_LINE_BYTES_MAX;
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
