//! Evidence: two signed statements that cannot both be honest, in one file that convicts whoever
//! signed both. Anyone verifies it, with the keys alone.
//!
//! ```text
//! jurat/tlog-fork@v0
//! kind <name>                      only four of the kinds have it
//! <lines of the kind>              the root and the hashes of a proof, for example
//!
//! <signed note A>                  the smaller tree, or the smaller root hash at one size
//!
//! <signed note B>                  not in the kind "empty"
//! ```
//!
//! | kind | what contradicts |
//! | --- | --- |
//! | same size | two root hashes of one size |
//! | opening | a tree whose beginning, by a proof, is not the smaller tree that was signed |
//! | entry | two entries at one index |
//! | empty | a tree without leaves and a root hash that is not that of nothing |
//! | cosigner-regress | a smaller tree, cosigned later as the largest seen |
//! | omission | a page of gossip that hides a tree which its witness had cosigned |
//! | gossip-equivocation | two statements of gossip about one state |
//!
//! An [`Evidence`] is a contradiction: everything but the signatures was checked when it was parsed
//! or made. Whose contradiction it is, [`Evidence::verify`] says, from the keys that the caller
//! knows. It is a pure function: no clock, no network, no state.
//!
//! What is *not* evidence: silence, errors, tiles that do not hash (answers are not signed), an
//! older checkpoint (it has no time of its log's), other extension lines under one root hash, and a
//! proof that leads to neither root.
//!
//! Rows: `spec/evidence.md`.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::fmt;

use crate::checkpoint::{Origin, SignedCheckpoint};
use crate::gossip::{OriginId, Row, SignedStatement, Statement, Tag};
use crate::hash::{Hash, empty_root, sha256};
use crate::key::{KeyId, KeyName, UnixSeconds};
use crate::note::SignatureLine;
use crate::proof::{
    ConsistencyProof, InclusionProof, opened_root, verify_consistency, verify_inclusion,
};
use crate::tlog_proof::TlogProof;
use crate::tree::{LeafIndex, TreeHead, TreeSize};

mod error;
mod known;
mod minimise;
mod parse;
mod verify;

pub use self::error::{NoContradiction, NotProven, ParseError};
pub use self::known::{KeyRefused, KnownKeys, LogKey, Standing};
pub use self::verify::{Guilty, LogFinding, Role, Verdict};

/// The most bytes that a file of evidence may have: two notes of the largest size, two proofs and
/// the lines before them. With less, a log could fork unconvicted between notes that no file holds.
// Spec: EVI-02
pub const EVIDENCE_BYTES_MAX: usize = 288 * 1024;

/// The most bytes of a file that costs a stranger one question; a larger one costs two. Whoever
/// makes one that convicts nobody has it hashed: of the largest files that takes longer than any
/// other check, and of these less than half a millisecond.
// Spec: EVI-55
pub const STRANGERS_EVIDENCE_BYTES_MAX: usize = 128 * 1024;

/// A contradiction, whoever signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence(Contradiction);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Contradiction {
    SameSize([SignedCheckpoint; 2]),
    Opening {
        notes: [SignedCheckpoint; 2],
        root: Hash,
        proof: ConsistencyProof,
    },
    Entry(Box<[ShownLeaf; 2]>),
    Empty(SignedCheckpoint),
    CosignerRegress {
        notes: [SignedCheckpoint; 2],
        by: Cosigner,
        times: [UnixSeconds; 2],
    },
    Omission(Box<Omission>),
    GossipEquivocation([SignedStatement; 2]),
}

/// An entry of a log, by its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ShownLeaf {
    leaf: Hash,
    proof: TlogProof,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Omission {
    page: SignedStatement,
    row: ShownRow,
    note: SignedCheckpoint,
    by: Cosigner,
    time: UnixSeconds,
}

/// A row of a page of gossip, shown to be in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownRow {
    /// The row.
    pub row: Row,
    /// The root hash of the head that it stands for.
    pub root: Hash,
    /// Its place in the page, from 0.
    pub index: LeafIndex,
    /// The proof that the page's root hash covers it there.
    pub proof: InclusionProof,
}

/// Which cosigner is accused: the name and the id that its lines have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigner {
    /// The name of its key.
    pub name: KeyName,
    /// The id of its key.
    pub key_id: KeyId,
}

impl Cosigner {
    fn signed(&self, line: &SignatureLine) -> bool {
        *line.name() == self.name && line.key_id() == self.key_id
    }

    /// Whether a note has a line by it that states this time. Whether it is good is for later.
    fn signed_at(&self, lines: &[SignatureLine], time: UnixSeconds) -> bool {
        let mut lines = lines.iter();
        lines.any(|line| self.signed(line) && stated_time(line) == Some(time))
    }
}

impl fmt::Display for Cosigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.name, self.key_id)
    }
}

/// The time at the beginning of a timestamped signature.
fn stated_time(line: &SignatureLine) -> Option<UnixSeconds> {
    let (time, _) = line.signature().split_first_chunk::<8>()?;
    UnixSeconds::new(u64::from_be_bytes(*time))
}

/// What contradicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Two root hashes of one size.
    SameSize,
    /// The root of the larger tree opens to another root at the size of the smaller.
    Opening,
    /// Two entries at one index.
    Entry,
    /// A root hash that no tree without leaves has.
    Empty,
    /// A cosigner went back.
    CosignerRegress,
    /// A witness hid what it had cosigned.
    Omission,
    /// A witness said two things of one state.
    GossipEquivocation,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::SameSize,
        Self::Opening,
        Self::Entry,
        Self::Empty,
        Self::CosignerRegress,
        Self::Omission,
        Self::GossipEquivocation,
    ];

    /// The name, as in files, metrics and lists.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SameSize => "same-size",
            Self::Opening => "opening",
            Self::Entry => "entry",
            Self::Empty => "empty",
            Self::CosignerRegress => "cosigner-regress",
            Self::Omission => "omission",
            Self::GossipEquivocation => "gossip-equivocation",
        }
    }

    /// Whether files of this kind say so in a line; the shape of the others does.
    const fn is_written(self) -> bool {
        !matches!(self, Self::SameSize | Self::Opening | Self::Empty)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One of the two statements.
#[derive(Clone, Copy, Debug)]
pub enum Said<'a> {
    /// A checkpoint.
    Checkpoint(&'a SignedCheckpoint),
    /// A statement of gossip.
    Gossip(&'a SignedStatement),
}

impl<'a> Said<'a> {
    /// The signature lines under it.
    pub fn signatures(&self) -> &'a [SignatureLine] {
        match self {
            Self::Checkpoint(note) => note.signatures(),
            Self::Gossip(note) => note.signatures(),
        }
    }
}

/// How it is made.
impl Evidence {
    /// From what a log sent: the older and the newer checkpoint, and the consistency proof between
    /// them just as it was received. A proof that fails is worth a look before it is refused: when
    /// it leads to the newer root, it shows what the newer tree had at the older size.
    ///
    /// The checkpoints may come in any order.
    ///
    /// # Errors
    /// [`NoContradiction`] when the two are consistent, or the proof shows nothing. Then nothing is
    /// known, in particular not that they are consistent.
    // Spec: EVI-30, EVI-31, EVI-32
    pub fn of_growth(
        one: &SignedCheckpoint,
        other: &SignedCheckpoint,
        proof: &ConsistencyProof,
    ) -> Result<Self, NoContradiction> {
        let [a, b] = in_order([one.clone(), other.clone()]);
        if a.origin() != b.origin() {
            return Err(NoContradiction::TwoOrigins);
        }
        if a.head().size == b.head().size {
            return Self::same_size(a, b);
        }
        match opened_root(a.head().size, &b.head(), proof) {
            Ok(Some(root)) => Self::opening(a, b, root, proof.clone()),
            Ok(None) => Err(NoContradiction::NoOldRoot {
                size: a.head().size,
            }),
            Err(reason) => Err(NoContradiction::Proof(reason)),
        }
    }

    /// Two checkpoints of one size, in any order.
    ///
    /// # Errors
    /// When they are no such contradiction.
    pub fn same_size(
        one: SignedCheckpoint,
        other: SignedCheckpoint,
    ) -> Result<Self, NoContradiction> {
        Self::bounded(Contradiction::SameSize(in_order([one, other])))
    }

    /// Two checkpoints, and the proof that the larger tree had another `root` at the size of the
    /// smaller: one that was received, or made from the tiles of the larger tree.
    ///
    /// # Errors
    /// When they are no such contradiction.
    pub fn opening(
        one: SignedCheckpoint,
        other: SignedCheckpoint,
        root: Hash,
        proof: ConsistencyProof,
    ) -> Result<Self, NoContradiction> {
        Self::bounded(Contradiction::Opening {
            notes: in_order([one, other]),
            root,
            proof,
        })
    }

    /// Two leaf hashes, each with the proof that it is in the log, at one index. Extra data of the
    /// proofs are left out: nothing authenticates them.
    ///
    /// # Errors
    /// When they are no such contradiction.
    pub fn entry(
        one: (Hash, &TlogProof),
        other: (Hash, &TlogProof),
    ) -> Result<Self, NoContradiction> {
        let bare = |(leaf, proof): (Hash, &TlogProof)| {
            let checkpoint = proof.checkpoint().clone();
            let proof = TlogProof::new(None, proof.index(), proof.proof().clone(), checkpoint);
            let proof = proof.map_err(|_| NoContradiction::Shape)?;
            Ok::<_, NoContradiction>(ShownLeaf { leaf, proof })
        };
        let mut leaves = [bare(one)?, bare(other)?];
        leaves.sort_by_key(|shown| order(shown.proof.checkpoint()));
        Self::bounded(Contradiction::Entry(Box::new(leaves)))
    }

    /// A checkpoint of a tree without leaves.
    ///
    /// # Errors
    /// When it is as it should be, or has leaves.
    pub fn empty(note: SignedCheckpoint) -> Result<Self, NoContradiction> {
        Self::bounded(Contradiction::Empty(note))
    }

    /// Two checkpoints, and the cosigner that signed the smaller one at the later time. `one` was
    /// signed at the first of the times.
    ///
    /// # Errors
    /// When they are no such contradiction.
    pub fn cosigner_regress(
        one: (SignedCheckpoint, UnixSeconds),
        other: (SignedCheckpoint, UnixSeconds),
        by: Cosigner,
    ) -> Result<Self, NoContradiction> {
        let mut signed = [one, other];
        signed.sort_by_key(|(note, _)| order(note));
        let [(a, time_a), (b, time_b)] = signed;
        Self::bounded(Contradiction::CosignerRegress {
            notes: [a, b],
            by,
            times: [time_a, time_b],
        })
    }

    /// A page of gossip and one of its rows, and the larger checkpoint that `by` had cosigned at
    /// `time`, well before.
    ///
    /// # Errors
    /// When they are no such contradiction.
    pub fn omission(
        page: SignedStatement,
        row: ShownRow,
        note: SignedCheckpoint,
        by: Cosigner,
        time: UnixSeconds,
    ) -> Result<Self, NoContradiction> {
        Self::bounded(Contradiction::Omission(Box::new(Omission {
            page,
            row,
            note,
            by,
            time,
        })))
    }

    /// Two statements of gossip about one state or one page, in any order.
    ///
    /// # Errors
    /// When they are no such contradiction.
    pub fn gossip_equivocation(
        one: SignedStatement,
        other: SignedStatement,
    ) -> Result<Self, NoContradiction> {
        let mut statements = [one, other];
        statements.sort_by_key(|signed| signed.statement().claim());
        Self::bounded(Contradiction::GossipEquivocation(statements))
    }

    fn bounded(contradiction: Contradiction) -> Result<Self, NoContradiction> {
        let evidence = Self::checked(contradiction)?;
        // Spec: EVI-02
        match evidence.to_bytes().len() {
            bytes if bytes > EVIDENCE_BYTES_MAX => Err(NoContradiction::TooLarge { bytes }),
            _ => Ok(evidence),
        }
    }

    /// Everything but the signatures.
    fn checked(contradiction: Contradiction) -> Result<Self, NoContradiction> {
        match &contradiction {
            Contradiction::SameSize(notes) => check_same_size(notes)?,
            Contradiction::Opening { notes, root, proof } => check_opening(notes, root, proof)?,
            Contradiction::Entry(leaves) => check_entry(leaves)?,
            Contradiction::Empty(note) => check_empty(note)?,
            Contradiction::CosignerRegress { notes, by, times } => {
                check_regress(notes, by, times)?;
            }
            Contradiction::Omission(omission) => check_omission(omission)?,
            Contradiction::GossipEquivocation(statements) => check_equivocation(statements)?,
        }
        Ok(Self(contradiction))
    }
}

/// What it is.
impl Evidence {
    /// What contradicts.
    pub fn kind(&self) -> Kind {
        match &self.0 {
            Contradiction::SameSize(_) => Kind::SameSize,
            Contradiction::Opening { .. } => Kind::Opening,
            Contradiction::Entry(_) => Kind::Entry,
            Contradiction::Empty(_) => Kind::Empty,
            Contradiction::CosignerRegress { .. } => Kind::CosignerRegress,
            Contradiction::Omission(_) => Kind::Omission,
            Contradiction::GossipEquivocation(_) => Kind::GossipEquivocation,
        }
    }

    /// The log that it is about; statements of gossip that contradict each other are about none.
    pub fn origin(&self) -> Option<&Origin> {
        match self.statements() {
            (Said::Checkpoint(note), _) | (_, Some(Said::Checkpoint(note))) => Some(note.origin()),
            (Said::Gossip(_), _) => None,
        }
    }

    /// The two statements, in the order of the file. There is one of the kind [`Kind::Empty`].
    pub fn statements(&self) -> (Said<'_>, Option<Said<'_>>) {
        match &self.0 {
            Contradiction::SameSize([a, b])
            | Contradiction::Opening { notes: [a, b], .. }
            | Contradiction::CosignerRegress { notes: [a, b], .. } => {
                (Said::Checkpoint(a), Some(Said::Checkpoint(b)))
            }
            Contradiction::Entry(leaves) => {
                let [a, b] = &**leaves;
                let (a, b) = (a.proof.checkpoint(), b.proof.checkpoint());
                (Said::Checkpoint(a), Some(Said::Checkpoint(b)))
            }
            Contradiction::Empty(note) => (Said::Checkpoint(note), None),
            Contradiction::Omission(omission) => (
                Said::Gossip(&omission.page),
                Some(Said::Checkpoint(&omission.note)),
            ),
            Contradiction::GossipEquivocation([a, b]) => (Said::Gossip(a), Some(Said::Gossip(b))),
        }
    }

    /// The root hash that the larger tree had at the size of the smaller, of an opening.
    pub fn opened_root(&self) -> Option<Hash> {
        match &self.0 {
            Contradiction::Opening { root, .. } => Some(*root),
            _ => None,
        }
    }

    /// The index and the two leaf hashes, of two entries.
    pub fn leaves(&self) -> Option<(LeafIndex, [Hash; 2])> {
        match &self.0 {
            Contradiction::Entry(leaves) => {
                let [a, b] = &**leaves;
                Some((a.proof.index(), [a.leaf, b.leaf]))
            }
            _ => None,
        }
    }

    /// The row that hides a head, of an omission.
    pub fn row(&self) -> Option<&ShownRow> {
        match &self.0 {
            Contradiction::Omission(omission) => Some(&omission.row),
            _ => None,
        }
    }

    /// The name of the contradiction: the same for every file that shows it, whatever signatures,
    /// extension lines and proofs the file has.
    // Spec: EVI-20, EVI-21, EVI-22, EVI-23
    pub fn id(&self) -> Hash {
        let mut message = String::from("tlog-fork/v0");
        if self.kind().is_written() {
            message.push(' ');
            message.push_str(self.kind().name());
        }
        message.push('\n');
        if let Some(origin) = self.origin() {
            message.push_str(origin.as_str());
            message.push('\n');
        }
        match &self.0 {
            Contradiction::SameSize(notes) | Contradiction::Opening { notes, .. } => {
                for note in notes {
                    push_head(&mut message, note);
                }
            }
            Contradiction::Empty(note) => push_head(&mut message, note),
            Contradiction::Entry(leaves) => {
                for shown in leaves.iter() {
                    push_head(&mut message, shown.proof.checkpoint());
                }
                for shown in leaves.iter() {
                    let ShownLeaf { leaf, proof } = shown;
                    message.extend([format!("{} {leaf}\n", proof.index())]);
                }
            }
            Contradiction::CosignerRegress { notes, by, times } => {
                for note in notes {
                    push_head(&mut message, note);
                }
                let [a, b] = times;
                message.extend([format!("{by} {a} {b}\n")]);
            }
            Contradiction::Omission(omission) => {
                let Omission {
                    page,
                    row: ShownRow { row, root, .. },
                    note,
                    by,
                    time,
                } = &**omission;
                message.push_str(&page.statement().to_text());
                message.extend([format!("{row} {root}\n")]);
                push_head(&mut message, note);
                message.extend([format!("{by} {time}\n")]);
            }
            Contradiction::GossipEquivocation([a, b]) => {
                message.push_str(&a.statement().claim());
                message.push_str(&b.statement().claim());
            }
        }
        sha256(message.as_bytes())
    }
}

/// The three lines of a checkpoint that every signature type covers.
fn push_head(text: &mut String, note: &SignedCheckpoint) {
    let TreeHead { size, root_hash } = note.head();
    text.extend([format!("{}\n{size}\n{root_hash}\n", note.origin())]);
}

/// Where a checkpoint stands in a file: the smaller size first, then the smaller root hash.
// Spec: EVI-06
fn order(note: &SignedCheckpoint) -> (TreeSize, Hash) {
    (note.head().size, note.head().root_hash)
}

fn in_order(mut notes: [SignedCheckpoint; 2]) -> [SignedCheckpoint; 2] {
    notes.sort_by_key(order);
    notes
}

fn check_order(a: &SignedCheckpoint, b: &SignedCheckpoint) -> Result<(), NoContradiction> {
    if a.origin() != b.origin() {
        return Err(NoContradiction::TwoOrigins);
    }
    if order(a) > order(b) {
        return Err(NoContradiction::Order);
    }
    Ok(())
}

// Spec: EVI-10
fn check_same_size([a, b]: &[SignedCheckpoint; 2]) -> Result<(), NoContradiction> {
    check_order(a, b)?;
    if a.head().size != b.head().size {
        return Err(NoContradiction::NoOpening);
    }
    if a.head() == b.head() {
        return Err(NoContradiction::Consistent);
    }
    Ok(())
}

// Spec: EVI-11
fn check_opening(
    [a, b]: &[SignedCheckpoint; 2],
    root: &Hash,
    proof: &ConsistencyProof,
) -> Result<(), NoContradiction> {
    check_order(a, b)?;
    let (from, to) = (a.head(), b.head());
    if from.size.is_zero() || from.size == to.size {
        return Err(NoContradiction::Shape);
    }
    if from.root_hash == *root {
        return Err(NoContradiction::Consistent);
    }
    let opened = TreeHead {
        root_hash: *root,
        ..from
    };
    verify_consistency(&opened, &to, proof).map_err(NoContradiction::Proof)
}

// Spec: EVI-12
fn check_entry([a, b]: &[ShownLeaf; 2]) -> Result<(), NoContradiction> {
    check_order(a.proof.checkpoint(), b.proof.checkpoint())?;
    if a.proof.index() != b.proof.index() {
        return Err(NoContradiction::TwoIndices);
    }
    if a.leaf == b.leaf {
        return Err(NoContradiction::Consistent);
    }
    for ShownLeaf { leaf, proof } in [a, b] {
        let head = proof.checkpoint().head();
        verify_inclusion(proof.index(), leaf, proof.proof(), &head)
            .map_err(NoContradiction::Proof)?;
    }
    Ok(())
}

// Spec: EVI-13
fn check_empty(note: &SignedCheckpoint) -> Result<(), NoContradiction> {
    let head = note.head();
    if !head.size.is_zero() {
        return Err(NoContradiction::NotEmpty { size: head.size });
    }
    if head.root_hash == empty_root() {
        return Err(NoContradiction::Consistent);
    }
    Ok(())
}

// Spec: EVI-14
fn check_regress(
    [a, b]: &[SignedCheckpoint; 2],
    by: &Cosigner,
    [time_a, time_b]: &[UnixSeconds; 2],
) -> Result<(), NoContradiction> {
    check_order(a, b)?;
    if a.head().size == b.head().size || *time_b == UnixSeconds::ZERO || time_a <= time_b {
        return Err(NoContradiction::NoRegress);
    }
    for (note, time) in [(a, time_a), (b, time_b)] {
        if !by.signed_at(note.signatures(), *time) {
            return Err(NoContradiction::NotSignedAt { time: *time });
        }
    }
    Ok(())
}

/// How long after a cosignature a page must be before it can be blamed for not showing it.
// Spec: EVI-15
const OMISSION_SECONDS_MIN: u64 = 10;

// Spec: EVI-15
fn check_omission(omission: &Omission) -> Result<(), NoContradiction> {
    let Omission {
        page,
        row:
            ShownRow {
                row,
                root,
                index,
                proof,
            },
        note,
        by,
        time,
    } = omission;
    let Statement::Page(page) = page.statement() else {
        return Err(NoContradiction::NotAPage);
    };
    let head = TreeHead {
        size: row.size,
        root_hash: *root,
    };
    let is_of_head = row.origin == OriginId::of(note.origin())
        && row.tag == Tag::of(&page.salt, note.origin(), &head);
    if !is_of_head {
        return Err(NoContradiction::AnotherHead);
    }
    let old_enough = time
        .get()
        .checked_add(OMISSION_SECONDS_MIN)
        .is_some_and(|latest| latest <= page.time.get());
    let hidden = row.flags.newest_cosigned && row.size < note.head().size;
    if !hidden || !old_enough || *time == UnixSeconds::ZERO || page.name != by.name {
        return Err(NoContradiction::NothingHidden);
    }
    if !by.signed_at(note.signatures(), *time) {
        return Err(NoContradiction::NotSignedAt { time: *time });
    }
    let leaf = crate::hash::leaf_hash(format!("{row}").as_bytes());
    verify_inclusion(*index, &leaf, proof, &page.rows).map_err(NoContradiction::Proof)
}

// Spec: EVI-16
fn check_equivocation([a, b]: &[SignedStatement; 2]) -> Result<(), NoContradiction> {
    let (a, b) = (a.statement(), b.statement());
    if a.subject() != b.subject() {
        return Err(NoContradiction::TwoSubjects);
    }
    match a.claim().cmp(&b.claim()) {
        core::cmp::Ordering::Less => Ok(()),
        core::cmp::Ordering::Equal => Err(NoContradiction::Consistent),
        core::cmp::Ordering::Greater => Err(NoContradiction::Order),
    }
}

#[cfg(test)]
mod tests;
