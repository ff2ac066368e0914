//! Landmarks: entries that say what is in force, and must be found without a walk through the log.
//!
//! A unit whose key was closed a million entries ago must not sign, and the next time-stamp must
//! not be before one that a million checkpoints followed. So a store keeps where such entries are,
//! in the same transaction as the entries, and derives it from their first lines alone: it can be
//! checked, and made again when it is not there.

use jurat_proto::entry::Entry;
use jurat_proto::tree::LeafIndex;

/// What an entry is a landmark of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Landmark {
    /// A key starts or is closed. Each is listed.
    Key,
    /// The clock was lost or regained. Each is listed.
    Clock,
    /// Evidence, or a part of it. Each is listed.
    Evidence,
    /// A token. There are too many to list; the newest is known.
    Timestamp,
}

impl Landmark {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Key, Self::Clock, Self::Evidence, Self::Timestamp];

    /// What an entry is, by its first line. Whether the rest of it is one is not looked at.
    pub fn of(entry: &[u8]) -> Option<Self> {
        match Entry::kind_of(entry)? {
            "key" => Some(Self::Key),
            "clock" => Some(Self::Clock),
            "evidence" => Some(Self::Evidence),
            "timestamp" => Some(Self::Timestamp),
            _ => None,
        }
    }

    /// The kind of entry.
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Clock => "clock",
            Self::Evidence => "evidence",
            Self::Timestamp => "timestamp",
        }
    }
}

/// Which of these entries, of which the first has the index `first`, belong into the list: all
/// landmarks, but of time-stamps the last alone.
// Spec: STO-32
pub(crate) fn among<'a>(
    first: u64,
    entries: impl Iterator<Item = &'a [u8]>,
) -> Vec<(Landmark, u64)> {
    let mut found = Vec::new();
    let mut timestamp = None;
    for (index, entry) in (first..).zip(entries) {
        match Landmark::of(entry) {
            Some(Landmark::Timestamp) => timestamp = Some((Landmark::Timestamp, index)),
            Some(kind) => found.push((kind, index)),
            None => {}
        }
    }
    found.extend(timestamp);
    found
}

/// The index of a row that was found in a list: one beyond the tree is no index.
pub(crate) fn known(index: u64, size: u64) -> Option<LeafIndex> {
    LeafIndex::new(index).filter(|_| index < size)
}
