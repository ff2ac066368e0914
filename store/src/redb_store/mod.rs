//! [`RedbStore`]: both traits on one redb file, for one process.
//!
//! In scope: atomic and durable commits, snapshots, exact deduplication at a cost that does not
//! grow with the tree, refusal of files that are not ours, damaged, or in use.
//! Out of scope: hot copies, compaction, several processes.
//!
//! **Why two-phase commit.** Submitters choose the stored bytes. redb's one-phase commit trusts a
//! non-cryptographic checksum to recognise a torn commit, and chosen bytes could in theory make a
//! torn one pass. Every write transaction here is two-phase, with quick repair (so that opening
//! after a crash does not walk the file), and waits for the disk.
//!
//! **Memory and file.** The committed head, the right edge of the tree and the dedup keys not yet
//! in their table ([`pool`]) are also in memory, under `shared`. They change only after a commit
//! has returned `Ok`. A reader that needs both looks at the memory first and begins its read
//! transaction afterwards: the file is then never older than what it saw in memory, and tables
//! only ever gain.

mod create;
mod hashes;
mod pool;
mod schema;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{
    Database, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, Table, WriteTransaction,
};

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::Hash;
use jurat_proto::tile::{BundleCoord, EntryBundle, TileCoord};
use jurat_proto::tree::{CompactRange, LeafIndex, TreeHead, TreeSize};

pub use self::create::{CreateError, OpenError};
use self::hashes::Hashes;
use self::pool::{Pool, Slice};
use self::schema::{
    DEDUP, DEDUP_THROUGH, ENTRIES, Fields, HISTORY, HistoryRow, LEAVES, META, NODES, ORIGINS,
    OriginRow, PUBLISHED, ROW, SIGNED, TILE_LEVEL_MAX, TREE, dedup_key, engine, node_row,
    split_dedup_key,
};
use crate::fsck::{DedupRow, Inspect, Stray};
use crate::rules::{check_head, check_signing_time, check_swap, grown, next_index, prefix};
use crate::{
    Batch, CheckpointStore, CommitError, Committed, Corruption, HeadRefusal, HeadSwap, HistoryItem,
    LogStore, NewEntry, OriginHead, Published, RecordError, RefusedSwap, SignedHead, StoreError,
    SwapRefusal, WriteError,
};

/// What to spend on a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedbOptions {
    /// Bytes of pages that the engine keeps in memory, read and not yet written ones together.
    /// Pages beyond it still come from the operating system's cache.
    pub cache_bytes: usize,
    /// Dedup keys that are collected before they are merged into their table. Up to twice as many
    /// are in memory, at about 26 bytes each. More of them make a merge cheaper in a large tree
    /// and opening slower (about 0.1 s for each million).
    pub dedup_pool: usize,
}

impl Default for RedbOptions {
    /// 16 MiB of pages, 2^18 dedup keys (up to 14 MB).
    fn default() -> Self {
        Self {
            cache_bytes: 16 << 20,
            dedup_pool: 1 << 18,
        }
    }
}

/// Both traits on one redb file.
// Spec: STO-01
pub struct RedbStore {
    path: PathBuf,
    database: Database,
    options: RedbOptions,
    /// Held through each write, so that rules are checked and obeyed in one piece. Before
    /// `shared`, where both are taken.
    writer: Mutex<()>,
    shared: RwLock<Shared>,
    /// Set when the outcome of a write is not known, and never reset.
    stopped: AtomicBool,
}

/// What is known without looking into the file. Follows the file, never leads it.
struct Shared {
    head: TreeHead,
    frontier: CompactRange,
    pool: Pool,
}

impl std::fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            path,
            options,
            stopped,
            ..
        } = self;
        f.debug_struct("RedbStore")
            .field("path", path)
            .field("options", options)
            .field("stopped", stopped)
            .finish_non_exhaustive()
    }
}

/// Sizes of a store, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedbUsage {
    /// Length of the file. Parts of it may be free or, on most file systems, not allocated.
    pub file_bytes: u64,
    /// Dedup keys in memory.
    pub pool_keys: usize,
}

impl RedbStore {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sizes, for metrics.
    ///
    /// # Errors
    /// The backend's failures.
    pub fn usage(&self) -> Result<RedbUsage, StoreError> {
        let doing = "reading the file's length";
        let file_bytes = std::fs::metadata(&self.path)
            .map_err(|source| StoreError::Engine {
                doing,
                source: Box::new(source),
            })?
            .len();
        Ok(RedbUsage {
            file_bytes,
            pool_keys: self.shared()?.pool.len(),
        })
    }

    /// Takes over an opened database: reads the head and rebuilds what is kept in memory.
    fn load(path: PathBuf, database: Database, options: RedbOptions) -> Result<Self, StoreError> {
        let read = begin_read(&database)?;
        let head = match meta(&read, TREE)? {
            Some(row) => schema::parse_head(&row)?,
            None => {
                return Err(Corruption::Row {
                    row: "meta/tree",
                    bytes: 0,
                }
                .into());
            }
        };
        let size = head.size.get();
        let hashes = read_hashes(&read)?;
        // The rows of the right edge must give the stored root: a file that lost or mixed up its
        // newest rows is refused here, and not when the next tree head is already signed.
        // Spec: STO-11
        let frontier = hashes.frontier(head.size)?;
        if frontier.root() != head.root_hash {
            let (stored, derived) = (head.root_hash, frontier.root());
            return Err(Corruption::Root {
                size: head.size,
                stored,
                derived,
            }
            .into());
        }
        let merged_through = match meta(&read, DEDUP_THROUGH)? {
            Some(row) => Fields::new("meta/dedup", &row).u64()?,
            None => 0,
        };
        if merged_through > size {
            return Err(Corruption::DedupAhead {
                merged_through,
                size: head.size,
            }
            .into());
        }
        let keys = tail_keys(&hashes, merged_through, size)?;
        let pool = Pool::rebuild(options.dedup_pool.max(1), keys.into_iter(), size);
        Ok(Self {
            path,
            database,
            options,
            writer: Mutex::new(()),
            shared: RwLock::new(Shared {
                head,
                frontier,
                pool,
            }),
            stopped: AtomicBool::new(false),
        })
    }

    fn check_running(&self) -> Result<(), StoreError> {
        if self.stopped.load(Ordering::Acquire) {
            Err(StoreError::Stopped)
        } else {
            Ok(())
        }
    }

    /// Spec: STO-05
    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        tracing::error!(store.path = %self.path.display(), "the outcome of a write is not known");
    }

    // A lock is poisoned by a panic in a write: what memory and file hold is then not known.
    fn shared(&self) -> Result<RwLockReadGuard<'_, Shared>, StoreError> {
        self.check_running()?;
        self.shared.read().map_err(|_| StoreError::Stopped)
    }

    fn shared_mut(&self) -> Result<RwLockWriteGuard<'_, Shared>, StoreError> {
        self.shared.write().map_err(|_| StoreError::Stopped)
    }

    fn writer(&self) -> Result<MutexGuard<'_, ()>, StoreError> {
        let guard = self.writer.lock().map_err(|_| StoreError::Stopped)?;
        self.check_running()?;
        Ok(guard)
    }

    fn size(&self) -> Result<u64, StoreError> {
        Ok(self.shared()?.head.size.get())
    }

    fn snapshot(&self) -> Result<ReadTransaction, StoreError> {
        self.check_running()?;
        begin_read(&self.database)
    }

    // Spec: STO-03
    fn begin_write(&self) -> Result<WriteTransaction, StoreError> {
        let mut write = self
            .database
            .begin_write()
            .map_err(engine("beginning a write"))?;
        write
            .set_durability(Durability::Immediate)
            .map_err(engine("beginning a write"))?;
        write.set_two_phase_commit(true);
        write.set_quick_repair(true);
        Ok(write)
    }

    /// Commits; an error other than a rollback leaves the outcome unknown and stops the store.
    // Spec: STO-05
    fn finish(&self, write: WriteTransaction) -> Result<(), WriteError> {
        match write.commit() {
            Ok(()) => Ok(()),
            Err(error @ redb::CommitError::TransactionPoisoned) => {
                Err(WriteError::Failed(engine("committing")(error)))
            }
            Err(error) => {
                self.stop();
                Err(WriteError::Unknown(engine("committing")(error)))
            }
        }
    }

    /// Writes one row of `meta` by itself.
    fn write_meta(&self, name: &str, row: &[u8]) -> Result<(), WriteError> {
        let write = self.begin_write().map_err(WriteError::Failed)?;
        put_meta(&write, name, row).map_err(WriteError::Failed)?;
        self.finish(write)
    }

    /// Whether `head` is one of this tree and not below `current`.
    fn check_own(&self, current: Option<TreeSize>, head: &TreeHead) -> Result<(), RecordError> {
        let committed = self.shared().map_err(RecordError::Failed)?.head;
        let ours = if head.size == committed.size {
            Some(committed.root_hash)
        } else if head.size < committed.size {
            let read = self.snapshot().map_err(RecordError::Failed)?;
            let hashes = read_hashes(&read).map_err(RecordError::Failed)?;
            Some(
                hashes
                    .frontier(head.size)
                    .map_err(RecordError::Failed)?
                    .root(),
            )
        } else {
            None
        };
        Ok(check_head(current, head, committed.size, ours)?)
    }

    /// The part of a commit inside the transaction. Nothing outside it is changed here.
    fn append(
        &self,
        write: &WriteTransaction,
        batch: &Batch,
        frontier: &mut CompactRange,
        slice: &Slice,
    ) -> Result<(), CommitError> {
        let old = batch.expected.size.get();
        let size = grown(batch.expected.size, batch.entries.len()).ok_or(CommitError::TreeFull)?;
        self.check_stored_head(write, &batch.expected)?;
        if !batch.entries.is_empty() {
            append_entries(write, old, &batch.entries).map_err(CommitError::Failed)?;
            append_hashes(write, frontier, &batch.entries).map_err(CommitError::Failed)?;
            let head = schema::head_bytes(&frontier.head());
            put_meta(write, TREE, &head).map_err(CommitError::Failed)?;
        }
        merge(write, slice).map_err(CommitError::Failed)?;
        let refused: Vec<_> = swap_all(write, &batch.heads, size)
            .map_err(CommitError::Failed)?
            .into_iter()
            .enumerate()
            .filter_map(|(position, swap)| {
                Some(RefusedSwap {
                    position,
                    refusal: swap.err()?,
                })
            })
            .collect();
        if refused.is_empty() {
            Ok(())
        } else {
            Err(CommitError::HeadsRefused(refused))
        }
    }

    /// The compare of the compare-and-swap, on the row that the transaction will replace.
    // Spec: STO-04
    fn check_stored_head(
        &self,
        write: &WriteTransaction,
        expected: &TreeHead,
    ) -> Result<(), CommitError> {
        let stored = || {
            let table = write
                .open_table(META)
                .map_err(engine("reading the tree head"))?;
            let row = table.get(TREE).map_err(engine("reading the tree head"))?;
            schema::parse_head(row.as_ref().map_or(&[][..], |row| row.value()))
        };
        let current = stored().map_err(CommitError::Failed)?;
        if current == *expected {
            Ok(())
        } else {
            Err(CommitError::Conflict { current })
        }
    }
}

impl From<WriteError> for CommitError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Failed(source) => Self::Failed(source),
            WriteError::Unknown(source) => Self::Unknown(source),
        }
    }
}

impl From<WriteError> for RecordError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Failed(source) => Self::Failed(source),
            WriteError::Unknown(source) => Self::Unknown(source),
        }
    }
}

fn begin_read(database: &Database) -> Result<ReadTransaction, StoreError> {
    database.begin_read().map_err(engine("beginning a read"))
}

type HashTable = ReadOnlyTable<u64, &'static [u8]>;

fn read_hashes(read: &ReadTransaction) -> Result<Hashes<HashTable>, StoreError> {
    let leaves = read.open_table(LEAVES).map_err(engine("opening hashes"))?;
    let nodes = read.open_table(NODES).map_err(engine("opening hashes"))?;
    Ok(Hashes { leaves, nodes })
}

fn meta(read: &ReadTransaction, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let table = read
        .open_table(META)
        .map_err(engine("reading bookkeeping"))?;
    let row = table.get(name).map_err(engine("reading bookkeeping"))?;
    Ok(row.map(|row| row.value().to_vec()))
}

fn put_meta(write: &WriteTransaction, name: &str, row: &[u8]) -> Result<(), StoreError> {
    let mut table = write
        .open_table(META)
        .map_err(engine("writing bookkeeping"))?;
    table
        .insert(name, row)
        .map_err(engine("writing bookkeeping"))?;
    Ok(())
}

/// The dedup keys of the entries [from, to).
fn tail_keys(hashes: &Hashes<HashTable>, from: u64, to: u64) -> Result<Vec<u128>, StoreError> {
    let mut keys = Vec::new();
    let mut at = from;
    while at < to {
        let count = u16::try_from(to - at).unwrap_or(u16::MAX);
        let bytes = hashes.bytes(0, at, count)?;
        for hash in bytes.as_chunks::<{ Hash::LEN }>().0 {
            keys.push(dedup_key(prefix(&Hash::new(*hash)), at));
            at += 1;
        }
    }
    Ok(keys)
}

fn append_entries(
    write: &WriteTransaction,
    first: u64,
    entries: &[NewEntry],
) -> Result<(), StoreError> {
    let mut table = write
        .open_table(ENTRIES)
        .map_err(engine("appending entries"))?;
    let end = std::ops::Bound::<u64>::Unbounded;
    let mut cursor = table
        .upper_bound_mut(end)
        .map_err(engine("appending entries"))?;
    for (index, entry) in (first..).zip(entries) {
        cursor
            .insert_before(index, entry.bytes())
            .map_err(engine("appending entries"))?;
    }
    cursor.close().map_err(engine("appending entries"))
}

fn append_hashes(
    write: &WriteTransaction,
    frontier: &mut CompactRange,
    entries: &[NewEntry],
) -> Result<(), StoreError> {
    let old = frontier.size().get();
    let mut levels: [Vec<Hash>; 8] = Default::default();
    for entry in entries {
        let appended = frontier.append_with(*entry.leaf_hash(), &mut |node, hash| {
            if node.level % 8 == 0
                && let Some(level) = levels.get_mut(usize::from(node.level / 8))
            {
                level.push(hash);
            }
        });
        // `grown` has seen that there is room.
        appended.map_err(|_| Corruption::Row {
            row: "meta/tree",
            bytes: 0,
        })?;
    }
    let mut leaves = write
        .open_table(LEAVES)
        .map_err(engine("appending hashes"))?;
    let mut nodes = write
        .open_table(NODES)
        .map_err(engine("appending hashes"))?;
    for (level, hashes) in (0..=TILE_LEVEL_MAX).zip(&levels) {
        let table = if level == 0 { &mut leaves } else { &mut nodes };
        hashes::append(table, level, old >> (8 * level), hashes)?;
    }
    Ok(())
}

fn merge(write: &WriteTransaction, slice: &Slice) -> Result<(), StoreError> {
    if !slice.keys.is_empty() {
        let mut table = write
            .open_table(DEDUP)
            .map_err(engine("merging the dedup index"))?;
        for key in &slice.keys {
            table
                .insert(*key, ())
                .map_err(engine("merging the dedup index"))?;
        }
    }
    match slice.merged_through {
        Some(through) => put_meta(write, DEDUP_THROUGH, &through.to_be_bytes()),
        None => Ok(()),
    }
}

type Swapped = Vec<Result<(), SwapRefusal>>;

fn swap_all(
    write: &WriteTransaction,
    swaps: &[HeadSwap],
    size: TreeSize,
) -> Result<Swapped, StoreError> {
    if swaps.is_empty() {
        return Ok(Vec::new());
    }
    let mut origins = write
        .open_table(ORIGINS)
        .map_err(engine("swapping heads"))?;
    let mut history = write
        .open_table(HISTORY)
        .map_err(engine("swapping heads"))?;
    swaps
        .iter()
        .map(|swap| swap_one(&mut origins, &mut history, swap, size))
        .collect()
}

fn swap_one(
    origins: &mut Table<'_, &'static str, &'static [u8]>,
    history: &mut Table<'_, u64, &'static [u8; 24]>,
    swap: &HeadSwap,
    size: TreeSize,
) -> Result<Result<(), SwapRefusal>, StoreError> {
    const DOING: &str = "swapping heads";
    let key = swap.origin.as_str();
    let current = match origins.get(key).map_err(engine(DOING))? {
        Some(row) => Some(OriginRow::parse(row.value())?),
        None => None,
    };
    let head = current.as_ref().map(|row| (row.head.head, row.head.time));
    if let Err(refusal) = check_swap(head, swap, size) {
        return Ok(Err(refusal));
    }
    let mut newest = current.and_then(|row| row.newest);
    if let Some(index) = swap.new.log_index
        && newest.is_none_or(|newest| newest < index)
    {
        if history.get(index.get()).map_err(engine(DOING))?.is_some() {
            return Ok(Err(SwapRefusal::EntryTaken { log_index: index }));
        }
        let (size, time) = (swap.new.head.size, swap.new.time);
        let row = HistoryRow {
            previous: newest,
            size,
            time,
        };
        history
            .insert(index.get(), &row.to_bytes())
            .map_err(engine(DOING))?;
        newest = Some(index);
    }
    let row = OriginRow {
        head: swap.new.clone(),
        newest,
    };
    origins
        .insert(key, row.to_bytes().as_slice())
        .map_err(engine(DOING))?;
    Ok(Ok(()))
}

impl CheckpointStore for RedbStore {
    fn latest(&self, origin: &Origin) -> Result<Option<OriginHead>, StoreError> {
        let table = self
            .snapshot()?
            .open_table(ORIGINS)
            .map_err(engine("reading a head"))?;
        let row = table
            .get(origin.as_str())
            .map_err(engine("reading a head"))?;
        row.map(|row| Ok(OriginRow::parse(row.value())?.head))
            .transpose()
    }

    // Spec: STO-06
    fn compare_and_swap(&self, swaps: &[HeadSwap]) -> Result<Swapped, WriteError> {
        let _writer = self.writer().map_err(WriteError::Failed)?;
        let size = self.shared().map_err(WriteError::Failed)?.head.size;
        let write = self.begin_write().map_err(WriteError::Failed)?;
        let swapped = swap_all(&write, swaps, size).map_err(WriteError::Failed)?;
        if swapped.iter().any(Result::is_ok) {
            self.finish(write)?;
        }
        Ok(swapped)
    }

    fn origins(
        &self,
        after: Option<&Origin>,
        limit: usize,
    ) -> Result<Vec<(Origin, OriginHead)>, StoreError> {
        use std::ops::Bound;
        let table = self
            .snapshot()?
            .open_table(ORIGINS)
            .map_err(engine("listing heads"))?;
        let from = after.map_or(Bound::Unbounded, |origin| Bound::Excluded(origin.as_str()));
        let rows = table
            .range::<&str>((from, Bound::Unbounded))
            .map_err(engine("listing heads"))?;
        rows.take(limit)
            .map(|row| {
                let (key, value) = row.map_err(engine("listing heads"))?;
                let bytes = key.value().len();
                let origin = Origin::parse(key.value()).map_err(|_| Corruption::Row {
                    row: "origins",
                    bytes,
                })?;
                Ok((origin, OriginRow::parse(value.value())?.head))
            })
            .collect()
    }
}

impl LogStore for RedbStore {
    fn head(&self) -> Result<TreeHead, StoreError> {
        Ok(self.shared()?.head)
    }

    fn frontier(&self) -> Result<CompactRange, StoreError> {
        Ok(self.shared()?.frontier.clone())
    }

    // Spec: STO-03, STO-04
    fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        let _writer = self.writer().map_err(CommitError::Failed)?;
        let (mut frontier, slice) = {
            let shared = self.shared().map_err(CommitError::Failed)?;
            (
                shared.frontier.clone(),
                shared.pool.slice(batch.entries.len()),
            )
        };
        let first_index = next_index(frontier.size());
        if frontier.head() != batch.expected {
            return Err(CommitError::Conflict {
                current: frontier.head(),
            });
        }
        let write = self.begin_write().map_err(CommitError::Failed)?;
        // An early return drops the transaction, which rolls it back.
        self.append(&write, &batch, &mut frontier, &slice)?;
        self.finish(write)?;
        let head = frontier.head();
        let keys = (first_index.get()..)
            .zip(&batch.entries)
            .map(|(index, entry)| dedup_key(prefix(entry.leaf_hash()), index));
        let mut shared = self.shared_mut().map_err(CommitError::Unknown)?;
        shared.pool.committed(&slice, keys, head.size.get());
        shared.head = head;
        shared.frontier = frontier;
        Ok(Committed { head, first_index })
    }

    // Spec: STO-10
    fn find_leaves(&self, leaf_hashes: &[Hash]) -> Result<Vec<Option<LeafIndex>>, StoreError> {
        const DOING: &str = "searching the dedup index";
        let mut wanted: Vec<(u64, &Hash, usize)> = leaf_hashes
            .iter()
            .enumerate()
            .map(|(at, hash)| (prefix(hash), hash, at))
            .collect();
        wanted.sort_unstable_by_key(|(prefix, ..)| *prefix);
        // The pool first, the snapshot second: a key that leaves the pool is in the table before.
        let pooled: Vec<Vec<u64>> = {
            let shared = self.shared()?;
            wanted
                .iter()
                .map(|(prefix, ..)| shared.pool.indices(*prefix).collect())
                .collect()
        };
        let read = self.snapshot()?;
        let dedup = read.open_table(DEDUP).map_err(engine(DOING))?;
        let hashes = read_hashes(&read)?;
        let mut found = vec![None; leaf_hashes.len()];
        for ((prefix, wanted, at), pooled) in wanted.into_iter().zip(pooled) {
            // Eight bytes of a hash can be made to collide; all 32 are compared.
            let keys = dedup_key(prefix, 0)..=dedup_key(prefix, u64::MAX);
            let mut first = None;
            for row in dedup.range(keys).map_err(engine(DOING))? {
                let (_, index) = split_dedup_key(row.map_err(engine(DOING))?.0.value());
                if hashes.leaf_hash(index)? == *wanted {
                    first = Some(index);
                    break;
                }
            }
            for index in pooled {
                if first.is_none_or(|first| index < first) && hashes.leaf_hash(index)? == *wanted {
                    first = Some(index);
                    break;
                }
            }
            if let Some(slot) = found.get_mut(at) {
                *slot = first.and_then(LeafIndex::new);
            }
        }
        Ok(found)
    }

    fn entry(&self, index: LeafIndex) -> Result<Option<Vec<u8>>, StoreError> {
        let size = self.shared()?.head.size;
        if index.get() >= size.get() {
            return Ok(None);
        }
        let table = self
            .snapshot()?
            .open_table(ENTRIES)
            .map_err(engine("reading an entry"))?;
        let row = table.get(index.get()).map_err(engine("reading an entry"))?;
        let row = row.ok_or(Corruption::EntryMissing { index, size })?;
        Ok(Some(row.value().to_vec()))
    }

    fn leaf_hash(&self, index: LeafIndex) -> Result<Option<Hash>, StoreError> {
        if index.get() >= self.size()? {
            return Ok(None);
        }
        read_hashes(&self.snapshot()?)?
            .leaf_hash(index.get())
            .map(Some)
    }

    fn tile(&self, tile: TileCoord) -> Result<Option<Vec<u8>>, StoreError> {
        let size = self.size()?;
        if tile.level > TILE_LEVEL_MAX || !covers(size >> (8 * tile.level), tile.index, tile.width)
        {
            return Ok(None);
        }
        read_hashes(&self.snapshot()?)?
            .bytes(tile.level, tile.index * 256, tile.width)
            .map(Some)
    }

    fn bundle(&self, bundle: BundleCoord) -> Result<Option<Vec<u8>>, StoreError> {
        const DOING: &str = "reading an entry bundle";
        let size = self.shared()?.head.size;
        if !covers(size.get(), bundle.index, bundle.width) {
            return Ok(None);
        }
        let table = self
            .snapshot()?
            .open_table(ENTRIES)
            .map_err(engine(DOING))?;
        let first = bundle.index * 256;
        let end = first + u64::from(bundle.width);
        let mut rows = Vec::with_capacity(usize::from(bundle.width));
        for (expected, row) in (first..).zip(table.range(first..end).map_err(engine(DOING))?) {
            let (index, value) = row.map_err(engine(DOING))?;
            if index.value() != expected {
                break;
            }
            rows.push(value);
        }
        if rows.len() != usize::from(bundle.width) {
            let index = first + u64::try_from(rows.len()).unwrap_or(0);
            let index = LeafIndex::new(index).unwrap_or_default();
            return Err(Corruption::EntryMissing { index, size }.into());
        }
        let entries: Vec<&[u8]> = rows.iter().map(redb::AccessGuard::value).collect();
        let bytes = EntryBundle::encode(&entries);
        bytes.map(Some).map_err(|_| {
            Corruption::Row {
                row: "entries",
                bytes: 0,
            }
            .into()
        })
    }

    fn published(&self) -> Result<Option<Published>, StoreError> {
        meta(&self.snapshot()?, PUBLISHED)?
            .map(|row| schema::parse_published(&row))
            .transpose()
    }

    // Spec: STO-08
    fn publish(&self, published: Published) -> Result<(), RecordError> {
        let _writer = self.writer().map_err(RecordError::Failed)?;
        let current = self.published().map_err(RecordError::Failed)?;
        self.check_own(current.map(|current| current.head.size), &published.head)?;
        Ok(self.write_meta(PUBLISHED, &schema::published_bytes(&published))?)
    }

    fn last_signed(&self) -> Result<Option<SignedHead>, StoreError> {
        meta(&self.snapshot()?, SIGNED)?
            .map(|row| schema::parse_signed(&row))
            .transpose()
    }

    // Spec: STO-09
    fn record_signing(&self, signed: SignedHead) -> Result<(), RecordError> {
        let _writer = self.writer().map_err(RecordError::Failed)?;
        let current = self.last_signed().map_err(RecordError::Failed)?;
        self.check_own(current.map(|current| current.head.size), &signed.head)?;
        check_signing_time(current, signed.time)?;
        Ok(self.write_meta(SIGNED, &schema::signed_bytes(&signed))?)
    }

    fn history(
        &self,
        origin: &Origin,
        before: Option<LeafIndex>,
        limit: usize,
    ) -> Result<Vec<HistoryItem>, StoreError> {
        const DOING: &str = "reading history";
        let read = self.snapshot()?;
        let origins = read.open_table(ORIGINS).map_err(engine(DOING))?;
        let history = read.open_table(HISTORY).map_err(engine(DOING))?;
        let newest = match origins.get(origin.as_str()).map_err(engine(DOING))? {
            Some(row) => OriginRow::parse(row.value())?.newest,
            None => None,
        };
        let mut items = Vec::new();
        let mut next = newest;
        while let Some(log_index) = next
            && items.len() < limit
        {
            let row = history.get(log_index.get()).map_err(engine(DOING))?;
            let row = row.ok_or(Corruption::History { index: log_index })?;
            let HistoryRow {
                previous,
                size,
                time,
            } = HistoryRow::parse(row.value())?;
            if previous.is_some_and(|previous| previous >= log_index) {
                return Err(Corruption::History { index: log_index }.into());
            }
            if before.is_none_or(|before| log_index < before) {
                items.push(HistoryItem {
                    log_index,
                    size,
                    time,
                });
            }
            next = previous;
        }
        Ok(items)
    }
}

/// Whether a level of `have` items covers tile `index` up to `width`.
fn covers(have: u64, index: u64, width: u16) -> bool {
    let end = index
        .checked_mul(256)
        .and_then(|start| start.checked_add(u64::from(width)));
    width > 0 && end.is_some_and(|end| end <= have)
}

impl Inspect for RedbStore {
    fn dedup_rows(&self, visit: &mut dyn FnMut(DedupRow)) -> Result<TreeSize, StoreError> {
        const DOING: &str = "walking the dedup index";
        let read = self.snapshot()?;
        let through = match meta(&read, DEDUP_THROUGH)? {
            Some(row) => Fields::new("meta/dedup", &row).u64()?,
            None => 0,
        };
        let table = read.open_table(DEDUP).map_err(engine(DOING))?;
        for row in table.iter().map_err(engine(DOING))? {
            let (prefix, index) = split_dedup_key(row.map_err(engine(DOING))?.0.value());
            visit(DedupRow { prefix, index });
        }
        TreeSize::new(through).ok_or(
            Corruption::Row {
                row: "meta/dedup",
                bytes: 8,
            }
            .into(),
        )
    }

    fn strays(&self) -> Result<Vec<Stray>, StoreError> {
        const DOING: &str = "looking for stray rows";
        let size = self.size()?;
        let read = self.snapshot()?;
        let mut strays = Vec::new();
        let entries = read.open_table(ENTRIES).map_err(engine(DOING))?;
        for row in entries.range(size..).map_err(engine(DOING))? {
            strays.push(Stray::Entry {
                index: row.map_err(engine(DOING))?.0.value(),
            });
        }
        let history = read.open_table(HISTORY).map_err(engine(DOING))?;
        for row in history.range(size..).map_err(engine(DOING))? {
            strays.push(Stray::History {
                index: row.map_err(engine(DOING))?.0.value(),
            });
        }
        let hashes = read_hashes(&read)?;
        for level in 0..=TILE_LEVEL_MAX {
            let table = if level == 0 {
                &hashes.leaves
            } else {
                &hashes.nodes
            };
            let have = size >> (8 * level);
            // The last row that should exist may be too long; any row after it is too much.
            let last = have.saturating_sub(1) / ROW;
            let rows = table.range(node_row(level, last)..node_row(level + 1, 0));
            for row in rows.map_err(engine(DOING))? {
                let (key, value) = row.map_err(engine(DOING))?;
                let row = key.value() - node_row(level, 0);
                let should = have.saturating_sub(row * ROW).min(ROW);
                let bytes = value.value().len();
                if u64::try_from(bytes / Hash::LEN).unwrap_or(0) != should || bytes % Hash::LEN != 0
                {
                    strays.push(Stray::HashRow { level, row, bytes });
                }
            }
        }
        Ok(strays)
    }

    fn dedup_len(&self) -> Result<u64, StoreError> {
        let table = self
            .snapshot()?
            .open_table(DEDUP)
            .map_err(engine("counting rows"))?;
        table.len().map_err(engine("counting rows"))
    }
}

// `HeadRefusal` is named by the conversion in `check_own`.
const _: fn(HeadRefusal) -> RecordError = RecordError::Refused;
