//! [`RedbStore`]: both traits on one redb file, for one process; with a journal beside it, where
//! commits are to be fast ([`journaled`]).
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
//! only ever gain. A commit that only the journal has as yet ([`journaled`]) is taken over by
//! whoever comes first, before anything is read or written.

mod create;
mod filter;
mod hashes;
mod heads;
mod inspect;
mod journal;
mod journaled;
mod landmarks;
mod log;
mod pool;
mod schema;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{
    Database, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, WriteTransaction,
};

use jurat_proto::hash::Hash;
use jurat_proto::tree::{CompactRange, TreeHead, TreeSize};

pub use self::create::{CreateError, OpenError};
#[cfg(test)]
pub(crate) use self::create::{builder, initialize};
use self::filter::Filter;
use self::hashes::Hashes;
use self::journal::Journal;
pub use self::journaled::JournalOptions;
use self::journaled::Owed;
use self::pool::Pool;
use self::schema::{DEDUP_MARK, LEAVES, META, Mark, NODES, TREE, dedup_key, engine};
use crate::rules::prefix;
use crate::{Corruption, StoreError, WriteError};

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
    /// Bytes of the filter that spares new leaf hashes a look into the dedup table. At one byte or
    /// more for each entry of the tree it lets 3 in 100 through; a smaller one lets more through,
    /// which costs time only.
    pub dedup_filter_bytes: usize,
}

impl Default for RedbOptions {
    /// 16 MiB of pages, 2^18 dedup keys (up to 14 MB), 12 MiB of filter.
    fn default() -> Self {
        Self {
            cache_bytes: 16 << 20,
            dedup_pool: 1 << 18,
            dedup_filter_bytes: 12 << 20,
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
    writer: Mutex<Writer>,
    shared: RwLock<Shared>,
    filter: Filter,
    /// Whether [`Writer::owed`] is there. Set before its commit returns, and reset when the memory
    /// has followed.
    owing: AtomicBool,
    /// Set, to what failed first, when the outcome of a write is not known or the engine did not
    /// take over what it was owed; and never reset.
    stopped: OnceLock<StoreError>,
}

/// What stops a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Nobody can say what became of a write.
    Unknown,
    /// What is durable in the journal did not get into the engine.
    NotTaken,
}

impl Stop {
    fn text(self) -> &'static str {
        match self {
            Self::Unknown => "the outcome of a write is not known",
            Self::NotTaken => {
                "a commit is durable in the journal and was not taken over: the next start does it"
            }
        }
    }
}

/// What only a write touches.
#[derive(Default)]
struct Writer {
    journal: Option<Journal>,
    /// A commit that was answered, and that the engine has yet to take.
    owed: Option<Owed>,
}

/// What is known without looking into the file. Follows the file, never leads it.
struct Shared {
    head: TreeHead,
    frontier: CompactRange,
    pool: Pool,
    /// The entries that `filter` has yet to learn of: from here to here, of those that were there
    /// when the store was opened. Empty when the filter is of use.
    unfiltered: std::ops::Range<u64>,
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
        let mark = read_mark(&read, head.size)?;
        let keys = tail_keys(&hashes, mark.merged_through, size)?;
        let pool = Pool::rebuild(options.dedup_pool, mark, keys.into_iter(), size);
        Ok(Self {
            path,
            database,
            options,
            writer: Mutex::default(),
            shared: RwLock::new(Shared {
                head,
                frontier,
                pool,
                unfiltered: 0..mark.frozen_through,
            }),
            filter: Filter::new(options.dedup_filter_bytes),
            owing: AtomicBool::new(false),
            stopped: OnceLock::new(),
        })
    }

    fn check_running(&self) -> Result<(), StoreError> {
        match self.stopped.get() {
            Some(_) => Err(StoreError::Stopped),
            None => Ok(()),
        }
    }

    /// From here on the store answers nothing. Told once, with what failed first.
    fn stop(&self, why: Stop, error: &StoreError) {
        if self.stopped.set(error.retold()).is_ok() {
            let path = self.path.display();
            tracing::error!(store.path = %path, %error, "{}", why.text());
        }
    }

    /// Of who only learned that the store had stopped: what stopped it.
    // Spec: SVC-80
    fn first_cause(&self, error: StoreError) -> StoreError {
        match (error, self.stopped.get()) {
            (StoreError::Stopped, Some(cause)) => cause.retold(),
            (error, _) => error,
        }
    }

    /// Whoever has this must not ask for a lock or a snapshot again: both may have to write first,
    /// and a write waits for this.
    fn shared(&self) -> Result<RwLockReadGuard<'_, Shared>, StoreError> {
        self.catch_up()?;
        self.shared_as_it_is()
    }

    // A lock is poisoned by a panic in a write: what memory and file hold is then not known.
    fn shared_as_it_is(&self) -> Result<RwLockReadGuard<'_, Shared>, StoreError> {
        self.check_running()?;
        self.shared.read().map_err(|_| StoreError::Stopped)
    }

    fn shared_mut(&self) -> Result<RwLockWriteGuard<'_, Shared>, StoreError> {
        self.shared.write().map_err(|_| StoreError::Stopped)
    }

    fn writer(&self) -> Result<MutexGuard<'_, Writer>, StoreError> {
        let mut guard = self.writer.lock().map_err(|_| StoreError::Stopped)?;
        self.check_running()?;
        self.take_owed(&mut guard)?;
        Ok(guard)
    }

    /// As if it wrote for as long as this is held.
    #[cfg(test)]
    pub(crate) fn keep_busy(&self) -> impl Sized + '_ {
        self.writer().unwrap()
    }

    /// What was answered is there for everybody from then on.
    fn catch_up(&self) -> Result<(), StoreError> {
        if self.owing.load(Ordering::Acquire) {
            drop(self.writer()?);
        }
        Ok(())
    }

    fn size(&self) -> Result<u64, StoreError> {
        Ok(self.shared()?.head.size.get())
    }

    fn snapshot(&self) -> Result<ReadTransaction, StoreError> {
        self.catch_up()?;
        self.snapshot_as_it_is()
    }

    fn snapshot_as_it_is(&self) -> Result<ReadTransaction, StoreError> {
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
                let error = engine("committing")(error);
                self.stop(Stop::Unknown, &error);
                Err(WriteError::Unknown(error))
            }
        }
    }

    /// Tells the filter of some more entries that were there when the store was opened. Called with
    /// each commit, so that opening need not read the whole index.
    fn fill_filter(&self, entries: usize) -> Result<(), StoreError> {
        let rest = self.shared_as_it_is()?.unfiltered.clone();
        if rest.is_empty() {
            return Ok(());
        }
        let piece = u64::try_from(entries)
            .unwrap_or(0)
            .saturating_mul(8)
            .saturating_add(4_096);
        let end = rest.end.min(rest.start.saturating_add(piece));
        let keys = tail_keys(&read_hashes(&self.snapshot_as_it_is()?)?, rest.start, end)?;
        self.filter.insert_keys(&keys);
        self.shared_mut()?.unfiltered.start = end;
        Ok(())
    }

    /// Writes one row of `meta` by itself.
    fn write_meta(&self, name: &str, row: &[u8]) -> Result<(), WriteError> {
        let write = self.begin_write().map_err(WriteError::Failed)?;
        put_meta(&write, name, row).map_err(WriteError::Failed)?;
        self.finish(write)
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

fn read_mark(read: &ReadTransaction, size: TreeSize) -> Result<Mark, StoreError> {
    match meta(read, DEDUP_MARK)? {
        Some(row) => Mark::parse(&row, size),
        None => Ok(Mark::START),
    }
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
