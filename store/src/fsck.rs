//! Re-derives a whole tree from its entries and lists every contradiction.
//!
//! Checked: each entry's leaf hash; each stored hash of each tile level; the tree head and the
//! right edge; the dedup index and the list of landmarks in both directions; rows that belong to
//! nothing; that the published and the last signed head are heads of this tree; that origin heads
//! and their histories point to entries that exist, each of which is in one history. Not checked:
//! what entries and notes say and whether their signatures are good (floor 2 knows those), nor the
//! engine's pages.
//!
//! Two threads: one reads and hashes entries, the other compares hashes and builds the tree.
//! Memory: 9 bytes for each entry, and a few bundles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::sync_channel;

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::{Hash, leaf_hash};
use jurat_proto::tile::{BundleCoord, EntryBundle, TileCoord};
use jurat_proto::tree::{CompactRange, LeafIndex, TreeHead, TreeSize};

use crate::landmarks::{self, Landmark};
use crate::rules::prefix;
use crate::{LogStore, OriginHead, StoreError};

/// What fsck must see of a backend beyond [`LogStore`].
pub trait Inspect: LogStore {
    /// Visits every row of the dedup index that is in storage, in any order. Returns the size up
    /// to which the index claims to be complete: entries beyond it may or may not have a row.
    ///
    /// # Errors
    /// The backend's failures.
    fn dedup_rows(&self, visit: &mut dyn FnMut(DedupRow)) -> Result<TreeSize, StoreError>;

    /// Number of rows that [`Self::dedup_rows`] visits.
    ///
    /// # Errors
    /// The backend's failures.
    fn dedup_len(&self) -> Result<u64, StoreError>;

    /// Visits the entry that each row of a history stands for, in any order, whether or not the
    /// history of an origin leads there.
    ///
    /// # Errors
    /// The backend's failures.
    fn history_rows(&self, visit: &mut dyn FnMut(u64)) -> Result<(), StoreError>;

    /// Every row that says that an entry is a landmark, in any order.
    ///
    /// # Errors
    /// The backend's failures.
    fn landmark_rows(&self) -> Result<Vec<(Landmark, u64)>, StoreError>;

    /// Rows that belong to nothing, as far as they can be told one by one. A sound store has none.
    ///
    /// # Errors
    /// The backend's failures.
    fn strays(&self) -> Result<Vec<Stray>, StoreError>;
}
/// A row of the dedup index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupRow {
    /// The first 8 bytes of the leaf hash.
    pub prefix: u64,
    /// The entry, as stored: not yet known to exist.
    pub index: u64,
}

/// A row that belongs to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stray {
    /// An entry beyond the tree.
    Entry {
        /// Its index.
        index: u64,
    },
    /// A history row of an entry beyond the tree, or one that no origin's history leads to.
    History {
        /// The entry's index.
        index: u64,
    },
    /// A row of hashes that the tree has no use for, or one of a wrong length.
    HashRow {
        /// Tile level.
        level: u8,
        /// Row number.
        row: u64,
        /// Its length.
        bytes: usize,
    },
    /// A row of bookkeeping that this version does not know.
    Meta {
        /// Its name.
        name: String,
    },
}

/// One contradiction between what is stored and what the entries say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// An entry bundle could not be read; its entries were not checked.
    #[error("entries {first} to {}: {reason}", .first + u64::from(*.width) - 1)]
    BundleUnreadable {
        /// First entry of the bundle.
        first: u64,
        /// Number of entries.
        width: u16,
        /// Why not.
        reason: String,
    },
    /// An entry does not have the leaf hash stored for it.
    #[error("entry {index} has the leaf hash {derived}, stored is {stored}")]
    LeafHash {
        /// The entry.
        index: u64,
        /// Computed from the entry.
        derived: Hash,
        /// Stored.
        stored: Hash,
    },
    /// A tile could not be read; its hashes were not compared.
    #[error("tile {tile}: {reason}")]
    TileUnreadable {
        /// Path of the tile.
        tile: String,
        /// Why not.
        reason: String,
    },
    /// A stored hash above the leaves is not the one of its subtree.
    #[error("hash {index} of tile level {level} is {derived}, stored is {stored}")]
    NodeHash {
        /// Tile level.
        level: u8,
        /// Number of the hash within the level.
        index: u64,
        /// Computed from the entries.
        derived: Hash,
        /// Stored.
        stored: Hash,
    },
    /// The tree head is not that of the entries.
    #[error(
        "the entries have root {derived} at size {}, the tree head says {}",
        .stored.size.get(),
        .stored.root_hash
    )]
    TreeHead {
        /// Computed from the entries.
        derived: Hash,
        /// The committed head.
        stored: TreeHead,
    },
    /// The right edge that the store would append to is not that of the entries.
    #[error("the frontier in use is not the frontier of the entries")]
    Frontier,
    /// A dedup row names an entry beyond the tree.
    #[error("dedup row {prefix:016x} names entry {index}, which does not exist")]
    DedupBeyond {
        /// The row's prefix.
        prefix: u64,
        /// The row's entry.
        index: u64,
    },
    /// A dedup row names an entry whose leaf hash begins otherwise.
    #[error("dedup row {prefix:016x} names entry {index}, whose leaf hash begins {actual:016x}")]
    DedupWrong {
        /// The row's prefix.
        prefix: u64,
        /// The row's entry.
        index: u64,
        /// The prefix of that entry's leaf hash.
        actual: u64,
    },
    /// The dedup index says that it covers an entry and has no row for it.
    #[error("entry {index} has no dedup row")]
    DedupMissing {
        /// The entry.
        index: u64,
    },
    /// The search by leaf hash does not find the first entry that has it.
    #[error("entry {index} is not found by its leaf hash (found: {found:?})")]
    NotFound {
        /// The entry.
        index: u64,
        /// What the search answered.
        found: Option<u64>,
    },
    /// An entry is a landmark, and the list does not have it.
    #[error("entry {index} is of the kind {}, and is not listed", .kind.name())]
    LandmarkMissing {
        /// Its kind.
        kind: Landmark,
        /// The entry.
        index: u64,
    },
    /// The list has an entry that is not of that kind, is not there, or is not the newest.
    #[error("the list of entries of the kind {} has entry {index}, wrongly", .kind.name())]
    LandmarkWrong {
        /// The kind.
        kind: Landmark,
        /// The entry.
        index: u64,
    },
    /// A row belongs to nothing.
    #[error("a row belongs to nothing: {0:?}")]
    Stray(Stray),
    /// The published head is not one of this tree.
    #[error("the published head {0:?} is not one of this tree")]
    Published(TreeHead),
    /// The last signed head is not one of this tree.
    #[error("the last signed head {0:?} is not one of this tree")]
    Signed(TreeHead),
    /// An origin's head or history names an entry beyond the tree.
    #[error("{} names entry {index}, which does not exist", .origin.as_str())]
    OriginBeyond {
        /// The origin.
        origin: Origin,
        /// The entry it names.
        index: u64,
    },
    /// An origin's history could not be read, or does not begin at its head.
    #[error("the history of {} is broken: {reason}", .origin.as_str())]
    History {
        /// The origin.
        origin: Origin,
        /// How.
        reason: String,
    },
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The committed tree head that was checked.
    pub head: TreeHead,
    /// Number of dedup rows looked at.
    pub dedup_rows: u64,
    /// Number of origins looked at.
    pub origins: u64,
    /// The contradictions, in the order in which they were found; at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// How many more there were.
    pub findings_left_out: u64,
}

impl Report {
    /// Whether nothing contradicts anything.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    fn add(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.findings_left_out += 1;
        }
    }
}

/// How many contradictions are listed exactly; a file that is damaged throughout need not fill
/// the memory too.
pub const FINDINGS_MAX: usize = 10_000;

/// What is being checked, for a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Entries and hashes: this many entries of so many.
    Entries(u64, u64),
    /// Rows of the dedup index: this many of so many.
    Dedup(u64, u64),
    /// Heads: this many origins.
    Origins(u64),
}

/// Checks a store. It must not be written to meanwhile: findings would be of two moments.
///
/// # Errors
/// Only when the store cannot be read at all; what contradicts itself is in the report.
// Spec: STO-14
pub fn fsck<S: Inspect + ?Sized>(
    store: &S,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, StoreError> {
    let head = store.head()?;
    let mut report = Report {
        head,
        dedup_rows: 0,
        origins: 0,
        findings: Vec::new(),
        findings_left_out: 0,
    };
    let published = store.published()?.map(|published| published.head.size);
    let signed = store.last_signed()?.map(|signed| signed.head.size);
    let wanted = published.into_iter().chain(signed).collect();
    let mut tree = Rederived::new(store, wanted, &mut report);
    tree.read_entries(progress);
    let (prefixes, roots, landmarks) = tree.finish()?;
    check_landmarks(store, landmarks, &mut report)?;
    check_dedup(store, &prefixes, &mut report, progress)?;
    check_heads(store, &roots, &mut report)?;
    check_origins(store, &mut report, progress)?;
    for stray in store.strays()? {
        report.add(Finding::Stray(stray));
    }
    Ok(report)
}

/// The first thread's work: reads each bundle and hashes its entries.
fn hash_bundle<S: LogStore + ?Sized>(store: &S, bundle: BundleCoord) -> Result<Hashed, String> {
    let bytes = store.bundle(bundle).map_err(|error| error.to_string())?;
    let bytes = bytes.ok_or("the store does not have it")?;
    let entries = EntryBundle::parse(&bytes, bundle.width()).map_err(|error| error.to_string())?;
    let landmarks = landmarks::among(bundle.first(), entries.iter().copied());
    let hashes = entries.into_iter().map(leaf_hash).collect();
    Ok((hashes, landmarks))
}

/// Leaf hashes of a bundle, and the landmarks in it.
type Hashed = (Vec<Hash>, Vec<(Landmark, u64)>);

/// The tree as its entries say it is, compared with the stored one while it grows.
struct Rederived<'a, S: ?Sized> {
    store: &'a S,
    report: &'a mut Report,
    range: CompactRange,
    /// Tile level -> the hashes since the last full tile.
    tails: Vec<Vec<Hash>>,
    prefixes: Vec<u64>,
    /// Those that are to be listed.
    landmarks: BTreeSet<(Landmark, u64)>,
    /// The newest time-stamp.
    timestamp: Option<u64>,
    /// Roots at the sizes that are asked for.
    roots: BTreeMap<TreeSize, Hash>,
    wanted: Vec<TreeSize>,
}

impl<'a, S: LogStore + ?Sized> Rederived<'a, S> {
    fn new(store: &'a S, wanted: Vec<TreeSize>, report: &'a mut Report) -> Self {
        let mut tree = Self {
            store,
            report,
            range: CompactRange::new(),
            tails: Vec::new(),
            prefixes: Vec::new(),
            landmarks: BTreeSet::new(),
            timestamp: None,
            roots: BTreeMap::new(),
            wanted,
        };
        tree.note_root();
        tree
    }

    fn read_entries(&mut self, progress: &mut dyn FnMut(Progress)) {
        let size = self.report.head.size.get();
        let store = self.store;
        std::thread::scope(|scope| {
            let (send, receive) = sync_channel(4);
            scope.spawn(move || {
                for bundle in bundles(size) {
                    if send.send((bundle, hash_bundle(store, bundle))).is_err() {
                        return;
                    }
                }
            });
            for (bundle, outcome) in receive {
                self.add_bundle(bundle, outcome);
                progress(Progress::Entries(self.range.size().get(), size));
            }
        });
        for level in 0..self.tails.len() {
            self.compare_tile(level);
        }
    }

    fn add_bundle(&mut self, bundle: BundleCoord, outcome: Result<Hashed, String>) {
        let first = bundle.first();
        let hashes = match outcome {
            Ok((hashes, landmarks)) => {
                for (kind, index) in landmarks {
                    if kind == Landmark::Timestamp {
                        self.timestamp = Some(index);
                    } else {
                        self.landmarks.insert((kind, index));
                    }
                }
                hashes
            }
            Err(reason) => {
                let width = bundle.width();
                self.report.add(Finding::BundleUnreadable {
                    first,
                    width,
                    reason,
                });
                // Go on with the stored hashes, so that the rest is still compared.
                let stored = stored_tile(self.store, 0, bundle.index(), bundle.width());
                stored.unwrap_or_else(|_| vec![Hash::new([0; Hash::LEN]); usize::from(width)])
            }
        };
        for hash in hashes {
            self.prefixes.push(prefix(&hash));
            self.add_leaf(hash);
        }
    }

    fn add_leaf(&mut self, leaf: Hash) {
        let mut full = Vec::new();
        let tails = &mut self.tails;
        // The store's head bounds the size, so the range cannot be full.
        let _ = self.range.append_with(leaf, &mut |node, hash| {
            if node.level % 8 != 0 {
                return;
            }
            let level = usize::from(node.level / 8);
            if tails.len() <= level {
                tails.resize_with(level + 1, Vec::new);
            }
            if let Some(tail) = tails.get_mut(level) {
                tail.push(hash);
                if tail.len() == 256 {
                    full.push(level);
                }
            }
        });
        for level in full {
            self.compare_tile(level);
        }
        self.note_root();
    }

    fn note_root(&mut self) {
        let size = self.range.size();
        if self.wanted.contains(&size) {
            self.roots.insert(size, self.range.root());
        }
    }

    /// Compares and forgets the collected hashes of a level.
    fn compare_tile(&mut self, level: usize) {
        let Some(derived) = self.tails.get_mut(level).map(std::mem::take) else {
            return;
        };
        let (Ok(level), Ok(width)) = (u8::try_from(level), u16::try_from(derived.len())) else {
            return;
        };
        if width == 0 {
            return;
        }
        let have = self.range.size().get() >> (8 * level);
        let first = (have - 1) / 256 * 256;
        match stored_tile(self.store, level, first / 256, width) {
            Err((tile, reason)) => self.report.add(Finding::TileUnreadable { tile, reason }),
            Ok(stored) => {
                for ((index, derived), stored) in (first..).zip(derived).zip(stored) {
                    if derived != stored {
                        self.report.add(match level {
                            0 => Finding::LeafHash {
                                index,
                                derived,
                                stored,
                            },
                            _ => Finding::NodeHash {
                                level,
                                index,
                                derived,
                                stored,
                            },
                        });
                    }
                }
            }
        }
    }

    fn finish(mut self) -> Result<Derived, StoreError> {
        let stored = self.report.head;
        let derived = self.range.root();
        if derived != stored.root_hash {
            self.report.add(Finding::TreeHead { derived, stored });
        }
        if self.store.frontier()? != self.range {
            self.report.add(Finding::Frontier);
        }
        let timestamp = self.timestamp.map(|index| (Landmark::Timestamp, index));
        self.landmarks.extend(timestamp);
        Ok((self.prefixes, self.roots, self.landmarks))
    }
}

/// Prefixes of the leaf hashes, roots at some sizes, and the landmarks that are to be listed.
type Derived = (
    Vec<u64>,
    BTreeMap<TreeSize, Hash>,
    BTreeSet<(Landmark, u64)>,
);

// Spec: STO-14, STO-32
fn check_landmarks<S: Inspect + ?Sized>(
    store: &S,
    mut due: BTreeSet<(Landmark, u64)>,
    report: &mut Report,
) -> Result<(), StoreError> {
    for (kind, index) in store.landmark_rows()? {
        if !due.remove(&(kind, index)) {
            report.add(Finding::LandmarkWrong { kind, index });
        }
    }
    for (kind, index) in due {
        report.add(Finding::LandmarkMissing { kind, index });
    }
    Ok(())
}

fn bundles(size: u64) -> impl Iterator<Item = BundleCoord> {
    (0..size.div_ceil(256)).filter_map(move |index| {
        let width = u16::try_from((size - index * 256).min(256)).ok()?;
        BundleCoord::new(index, width).ok()
    })
}

/// A tile's hashes, or its path and why it cannot be read.
fn stored_tile<S: LogStore + ?Sized>(
    store: &S,
    level: u8,
    index: u64,
    width: u16,
) -> Result<Vec<Hash>, (String, String)> {
    let tile = TileCoord::new(level, index, width)
        .map_err(|error| (format!("level {level} index {index}"), error.to_string()))?;
    let path = || tile.path();
    let bytes = store
        .tile(tile)
        .map_err(|error| (path(), error.to_string()))?;
    let bytes = bytes.ok_or_else(|| (path(), "the store does not have it".to_owned()))?;
    let (hashes, rest) = bytes.as_chunks::<{ Hash::LEN }>();
    if hashes.len() != usize::from(width) || !rest.is_empty() {
        return Err((path(), format!("it has {} bytes", bytes.len())));
    }
    Ok(hashes.iter().copied().map(Hash::new).collect())
}

fn check_dedup<S: Inspect + ?Sized>(
    store: &S,
    prefixes: &[u64],
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), StoreError> {
    let rows = store.dedup_len()?;
    let mut seen = vec![false; prefixes.len()];
    let through = store.dedup_rows(&mut |DedupRow { prefix, index }| {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        match (prefixes.get(at), seen.get_mut(at)) {
            (Some(actual), Some(seen)) if *actual == prefix => *seen = true,
            (Some(actual), _) => {
                report.add(Finding::DedupWrong {
                    prefix,
                    index,
                    actual: *actual,
                });
            }
            (None, _) => report.add(Finding::DedupBeyond { prefix, index }),
        }
        report.dedup_rows += 1;
        if report.dedup_rows.is_multiple_of(4096) {
            progress(Progress::Dedup(report.dedup_rows, rows));
        }
    })?;
    progress(Progress::Dedup(report.dedup_rows, rows));
    for (index, seen) in (0..through.get()).zip(seen) {
        if !seen {
            report.add(Finding::DedupMissing { index });
        }
    }
    check_search(store, through.get(), report)
}

/// Entries that need not have a row must be found all the same.
fn check_search<S: LogStore + ?Sized>(
    store: &S,
    from: u64,
    report: &mut Report,
) -> Result<(), StoreError> {
    let size = report.head.size.get();
    for bundle in bundles(size).skip(usize::try_from(from / 256).unwrap_or(usize::MAX)) {
        let Ok(hashes) = stored_tile(store, 0, bundle.index(), bundle.width()) else {
            continue;
        };
        let found = store.find_leaves(&hashes)?;
        for ((index, hash), found) in (bundle.first()..).zip(&hashes).zip(found) {
            let first = found.filter(|found| found.get() <= index);
            let right = match first {
                Some(first) => store.leaf_hash(first)? == Some(*hash),
                None => false,
            };
            if index >= from && !right {
                let found = found.map(LeafIndex::get);
                report.add(Finding::NotFound { index, found });
            }
        }
    }
    Ok(())
}

fn check_heads<S: LogStore + ?Sized>(
    store: &S,
    roots: &BTreeMap<TreeSize, Hash>,
    report: &mut Report,
) -> Result<(), StoreError> {
    let ours = |head: &TreeHead| roots.get(&head.size) == Some(&head.root_hash);
    if let Some(head) = store.published()?.map(|published| published.head)
        && !ours(&head)
    {
        report.add(Finding::Published(head));
    }
    if let Some(head) = store.last_signed()?.map(|signed| signed.head)
        && !ours(&head)
    {
        report.add(Finding::Signed(head));
    }
    Ok(())
}

fn check_origins<S: Inspect + ?Sized>(
    store: &S,
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), StoreError> {
    let size = usize::try_from(report.head.size.get()).unwrap_or(usize::MAX);
    let mut reached = vec![false; size];
    let mut after: Option<Origin> = None;
    loop {
        let page = store.origins(after.as_ref(), 256)?;
        for (origin, head) in &page {
            report.origins += 1;
            check_origin(store, origin, head, &mut reached, report);
        }
        progress(Progress::Origins(report.origins));
        match page.into_iter().next_back() {
            Some((origin, _)) => after = Some(origin),
            None => break,
        }
    }
    store.history_rows(&mut |index| {
        // Rows beyond the tree are among the strays.
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        if reached.get(at) == Some(&false) {
            report.add(Finding::Stray(Stray::History { index }));
        }
    })
}

fn check_origin<S: LogStore + ?Sized>(
    store: &S,
    origin: &Origin,
    head: &OriginHead,
    reached: &mut [bool],
    report: &mut Report,
) {
    let size = report.head.size;
    let beyond = |index: LeafIndex| Finding::OriginBeyond {
        origin: origin.clone(),
        index: index.get(),
    };
    if let Some(index) = head.log_index.filter(|index| !size.contains(*index)) {
        report.add(beyond(index));
    }
    let broken = |reason: String| Finding::History {
        origin: origin.clone(),
        reason,
    };
    let items = match store.history(origin, None, usize::MAX) {
        Ok(items) => items,
        Err(error) => return report.add(broken(error.to_string())),
    };
    for item in items.iter().filter(|item| !size.contains(item.log_index)) {
        report.add(beyond(item.log_index));
    }
    for item in &items {
        let at = usize::try_from(item.log_index.get()).unwrap_or(usize::MAX);
        if let Some(reached) = reached.get_mut(at)
            && std::mem::replace(reached, true)
        {
            let index = item.log_index.get();
            report.add(broken(format!("entry {index} is in another one as well")));
        }
    }
    let newest = items.first().map(|item| item.log_index);
    if head.log_index > newest {
        report.add(broken(format!(
            "it begins at {newest:?}, the head is at {:?}",
            head.log_index
        )));
    }
    if let Some(newest) = items.first()
        && (newest.size > head.head.size || newest.time > head.time)
    {
        let index = newest.log_index.get();
        report.add(broken(format!("entry {index} is beyond the head")));
    }
    let pairs = items.iter().zip(items.iter().skip(1));
    if let Some((newer, older)) = pairs
        .clone()
        .find(|(newer, older)| newer.size < older.size || newer.time < older.time)
    {
        report.add(broken(format!(
            "size or time goes back between entries {} and {}",
            older.log_index.get(),
            newer.log_index.get()
        )));
    }
}
