//! [`WalStore`]: the heads of a [`RedbStore`] behind a write-ahead log, for witnesses.
//!
//! A commit of the engine writes a dozen scattered pages and waits for the disk twice, for ever the
//! same few rows. Here a batch of swaps is one sequential write and one wait, and the engine gets
//! each origin's newest head only when a file of the log is full.
//!
//! ```text
//!  swap ─► frame in the active file, fdatasync ─► `active` (memory) ─► answer
//!                      │ full: the files change places
//!                      ▼
//!              `frozen` (memory) ─► one commit of the engine, in its own thread ─► file is free
//! ```
//!
//! - What is durable is the engine's file **and** the two files beside it, `<name>.wal-0` and
//!   `<name>.wal-1`. A row in the engine's file says how far it goes and that there is more, so
//!   that a copy without the log is refused and not taken for the whole. After an orderly end
//!   ([`WalStore::close`]) the engine's file is whole by itself.
//! - A frame is acknowledged after its wait. A failed write or wait leaves its outcome unknown: the
//!   store stops, and nothing is tried twice ([`crate::WriteError::Unknown`]).
//! - The file that frames go to is allocated beforehand: a full disk does not stop it. It stops the
//!   engine's commit, and with it the store ([`WalStore::on_failure`]), for an engine that failed
//!   once takes nothing more. What was acknowledged is in the log, and found by the next opening.
//! - Opening reads both files, which takes milliseconds, and goes on where they end. What may not
//!   be durable of it, the last frame, is written once more and waited for.
//! - All three files are locked, and are those that their names led to before they were opened.
//!
//! Out of scope: history and entries of the service's own tree, which are the engine's alone.
//!
//! Rows: `spec/store.md` STO-20 to STO-25, STO-38 to STO-41, STO-60 to STO-63.

mod checkpointer;
mod file;
mod frame;
mod health;
mod known;
mod open;
mod place;
#[cfg(test)]
mod tests;
mod trail;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::Hash;
use jurat_proto::key::UnixSeconds;
use jurat_proto::tree::{TreeHead, TreeSize};

use self::checkpointer::Checkpointer;
pub use self::file::StateFile;
pub(crate) use self::file::{DiskFile, WalFile};
use self::frame::{Draft, FORMAT};
use self::health::Health;
use self::known::Known;
pub use self::open::Peek;
pub(crate) use self::open::identity;
pub use self::place::{FileId, FoundCopy, Identity, Placed, Reached};
use self::trail::Trail;
pub use self::trail::TrailFolder;
use crate::frames::{BLOCK, Header, Tail};
use crate::redb_store::{RedbOptions, RedbStore};
use crate::rules::check_swap;
use crate::{
    CheckpointStore, Corruption, HeadSwap, OriginHead, StoreError, SwapRefusal, WriteError,
};

/// What to spend on a store with a write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalOptions {
    /// What to spend on the engine.
    pub redb: RedbOptions,
    /// Bytes of each of the two files. A batch must fit in one; larger files mean fewer commits of
    /// the engine, more memory (about as much again) and a start that reads more.
    pub file_bytes: usize,
}

impl WalOptions {
    /// The least that holds any checkpoint of 128 KiB with the cosignatures of a witness.
    pub const FILE_BYTES_MIN: usize = 256 << 10;
    /// The most: opening reads both files, and what is in them is in memory.
    pub const FILE_BYTES_MAX: usize = 64 << 20;
}

impl Default for WalOptions {
    /// 12 MiB each, and 8 MiB of pages: what is busy is in memory here, not in the engine. With so
    /// many logs that each head is on a page of its own, shorter files make the engine's disk the
    /// limit, and longer ones take memory.
    fn default() -> Self {
        Self {
            redb: RedbOptions {
                cache_bytes: 8 << 20,
                ..RedbOptions::default()
            },
            file_bytes: 12 << 20,
        }
    }
}

/// How far the engine's file goes: a row of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WalMark {
    /// All generations up to this one are in it.
    pub(crate) generation: u64,
    /// The end of that generation.
    pub(crate) end: Hash,
    /// Whether there is more in the log.
    pub(crate) open: bool,
}

/// Heads behind a write-ahead log.
// Spec: STO-20
pub struct WalStore {
    engine: Arc<RedbStore>,
    files: [Box<dyn WalFile>; 2],
    file_bytes: usize,
    /// Held through each write.
    writer: Mutex<Writer>,
    recent: Arc<RwLock<Recent>>,
    checkpointer: Checkpointer,
    health: Arc<Health>,
    count: AtomicU64,
    /// The engine's file first.
    state: Vec<StateFile>,
    trail: Trail,
    /// Of a store that was opened from files.
    log_files: Option<LogFiles>,
}

/// Which files the log is in.
#[derive(Debug, Clone, Copy)]
struct LogFiles {
    /// What is recorded, where the store needs its log; nothing where no version did that.
    was: Option<[FileId; 2]>,
    found: [FileId; 2],
}

/// Where the next frame goes.
struct Writer {
    file: usize,
    tail: Tail,
    draft: Draft,
    /// What was read or written since the start.
    known: Known,
}

type HeadMap = HashMap<Origin, OriginHead>;

/// What is durable in the log and maybe not yet in the engine's file.
#[derive(Default)]
struct Recent {
    /// From the file that is being written.
    active: HeadMap,
    /// From the one that is full, while the engine takes it over.
    frozen: Arc<HeadMap>,
}

impl Recent {
    fn get(&self, origin: &Origin) -> Option<&OriginHead> {
        let active = self.active.get(origin);
        active.or_else(|| self.frozen.get(origin))
    }
}

type Current = Option<(TreeHead, UnixSeconds)>;

impl WalStore {
    /// The store behind the log. Its heads may be older than those here.
    pub fn engine(&self) -> &RedbStore {
        &self.engine
    }

    /// The newest head of each origin in one file of a log, as that file alone has them. A pure
    /// function, for whoever looks into a file by hand.
    ///
    /// # Errors
    /// A frame in the middle is broken, or is whole and holds no heads.
    pub fn heads_in_file(bytes: &[u8]) -> Result<Vec<(Origin, OriginHead)>, Corruption> {
        let segment = frame::read(bytes)?;
        let heads = segment.map(|segment| segment.heads).unwrap_or_default();
        Ok(heads.into_iter().collect())
    }

    /// The files that hold it: the engine's and the two of the log.
    pub fn files(&self) -> &[StateFile] {
        &self.state
    }

    /// What the store's file says of where it is; nothing where no version did that was here.
    ///
    /// # Errors
    /// The engine's failures.
    // Spec: STO-39
    pub fn placed(&self) -> Result<Option<Placed>, StoreError> {
        self.read(self.engine.placed())
    }

    /// Says where the store is, durably. From then on names ([`Self::keep_trail`]) have its epoch.
    ///
    /// # Errors
    /// As for [`CheckpointStore::compare_and_swap`].
    // Spec: STO-39, STO-63
    pub fn place(&self, placed: &Placed) -> Result<(), WriteError> {
        // What is a copy keeps what it says of its log, until somebody decides.
        let sound = placed.copy.is_none();
        let log_files = self.log_files.filter(|_| sound).map(|files| files.found);
        self.engine.place(placed, log_files.as_ref())?;
        self.trail.begin_epoch(placed.epoch);
        Ok(())
    }

    /// The first file of the log that is another than the one that the store went on in, as it was
    /// and as it is. A store that was closed in order needs none, and says nothing of them.
    // Spec: STO-63
    pub fn other_log_file(&self) -> Option<(FileId, FileId)> {
        let LogFiles { was, found } = self.log_files?;
        let mut both = was?.into_iter().zip(found);
        both.find(|(was, found)| found.is_other_than(*was))
    }

    /// Which file has the name beside the store, once names are kept.
    // Spec: STO-61
    pub fn name_file(&self) -> Option<FileId> {
        self.trail.file()
    }

    /// A file of the store that is not in its place any more: one of [`Self::files`], or the name
    /// beside them.
    // Spec: STO-61
    pub fn lost_file(&self) -> Option<PathBuf> {
        let mut state = self.state.iter();
        let lost = state.find(|file| !file.is_in_place());
        lost.map(|file| file.path.clone())
            .or_else(|| self.trail.lost())
    }

    /// The folder that the store's file is in, and what the names there say.
    ///
    /// # Errors
    /// It cannot be read.
    // Spec: STO-40
    pub fn trail_folder(&self) -> io::Result<TrailFolder> {
        let path = file::real(self.engine.path());
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        let folder = folder.unwrap_or(Path::new("."));
        TrailFolder::look(folder, &trail::name_of(&path)).map(TrailFolder::beside)
    }

    /// How far the store went, in this epoch.
    ///
    /// # Errors
    /// The store has stopped.
    pub fn reached(&self, epoch: u64) -> Result<Reached, WriteError> {
        let Tail {
            generation, frames, ..
        } = self.writer()?.tail;
        Ok(Reached {
            epoch,
            generation,
            frames,
        })
    }

    /// Keeps names in these folders that say how far the store went: durably, before this returns
    /// and before the first frame is acknowledged, and every few seconds from then on. Once.
    ///
    /// # Errors
    /// A name cannot be made, or a folder does not answer.
    // Spec: STO-40, STO-41, STO-62
    pub fn keep_trail(&self, folders: Vec<TrailFolder>, at: Reached) -> io::Result<()> {
        self.trail.begin(folders, at)
    }

    /// Why the names do not say how far the store went, if they do not.
    pub fn trail_fault(&self) -> Option<String> {
        self.trail.fault()
    }

    /// Tells of the failure after which nothing is answered any more, as soon as there is one: also
    /// when it is in the thread that empties the log, or the engine fails a read. The process must
    /// end then, and find out what is durable by a new start.
    // Spec: STO-21
    pub fn on_failure(&self, tell: impl FnOnce(&StoreError) + Send + 'static) {
        self.health.watch(Box::new(tell));
    }

    /// Ends the store in order: everything goes into the engine's file, which then is whole without
    /// the log. Nothing can be read or written here afterwards.
    ///
    /// # Errors
    /// The engine does not take it. Nothing is lost: opening the store again finds it in the log.
    // Spec: STO-24
    pub fn close(&self) -> Result<(), WriteError> {
        let writer = self.writer()?;
        self.checkpointer.idle()?;
        let mark = WalMark {
            generation: writer.tail.generation,
            end: writer.tail.end,
            open: false,
        };
        // Who reads meanwhile finds each head in the memory, and after that nothing.
        let recent = self.recent();
        let closed = self.engine.apply_heads(&recent.active, mark);
        drop(recent);
        self.health.close();
        if closed.is_ok() {
            *self.recent_mut() = Recent::default();
            // Where the next start begins.
            self.trail.reached(mark.generation + 1, 0);
            self.trail.raise();
        }
        closed
    }

    fn writer(&self) -> Result<MutexGuard<'_, Writer>, WriteError> {
        let stopped = |_| WriteError::Failed(StoreError::Stopped);
        let writer = self.writer.lock().map_err(stopped)?;
        match self.health.check() {
            Ok(()) => Ok(writer),
            Err(stopped) => Err(match self.health.failure() {
                Some(failure) => WriteError::Unknown(failure),
                None => WriteError::Failed(stopped),
            }),
        }
    }

    /// What the engine says. When it will say nothing more, neither will the store.
    fn read<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        answer.inspect_err(|error| {
            if error.is_final() {
                self.health.fail(error);
            }
        })
    }

    // A map that a panic left poisoned is whole: nothing that panics runs under this lock.
    fn recent_mut(&self) -> std::sync::RwLockWriteGuard<'_, Recent> {
        self.recent.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent(&self) -> std::sync::RwLockReadGuard<'_, Recent> {
        self.recent.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self, origin: &Origin) -> Result<Current, StoreError> {
        if let Some(recent) = self.recent().get(origin) {
            return Ok(Some((recent.head, recent.time)));
        }
        // The engine got it before `frozen` lost it, so it is in one of them at every moment.
        self.read(self.engine.tip_twice(origin))
    }

    /// What a swap is compared with: what it expects, where that is what was read or written last,
    /// and otherwise what the log and the engine say.
    // Spec: STO-38
    fn current_for(&self, swap: &HeadSwap, known: &mut Known) -> Result<Current, StoreError> {
        if let Some(expected) = swap.expected
            && let Some(time) = known.time_of(&swap.origin, &expected)
        {
            return Ok(Some((expected, time)));
        }
        let current = self.current(&swap.origin)?;
        if let Some((head, time)) = current {
            known.remember(&swap.origin, &head, time);
        }
        Ok(current)
    }

    /// The files change places: frames go to the other one, the engine gets what is in this one.
    ///
    /// The new generation is durable before the engine's row may say that the old one is in it.
    fn rotate(&self, writer: &mut Writer) -> Result<(), WriteError> {
        self.checkpointer.idle()?;
        let (old, other) = (writer.tail, 1 - writer.file);
        let header = Header {
            generation: old.generation + 1,
            file_bytes: u64::try_from(self.file_bytes).unwrap_or(u64::MAX),
            previous: old.end,
        };
        self.write(other, &FORMAT.header_block(header), 0)?;
        (writer.file, writer.tail) = (other, FORMAT.after(header));
        let mut recent = self.recent_mut();
        let active = std::mem::take(&mut recent.active);
        recent.frozen = Arc::new(active);
        drop(recent);
        self.checkpointer.start(WalMark {
            generation: old.generation,
            end: old.end,
            open: true,
        });
        Ok(())
    }

    /// One write and one wait.
    // Spec: STO-21
    fn write(&self, file: usize, bytes: &[u8], at: usize) -> Result<(), WriteError> {
        let unknown = |source| {
            tracing::error!(error = %source, "the outcome of a write to the log is not known");
            let error = failed("writing the write-ahead log", source);
            self.health.fail(&error);
            WriteError::Unknown(error)
        };
        let Some(file) = self.files.get(file) else {
            return Err(WriteError::Failed(StoreError::Stopped));
        };
        let at = u64::try_from(at).unwrap_or(u64::MAX);
        file.write_at(bytes, at).map_err(unknown)?;
        file.sync().map_err(unknown)
    }

    /// Makes these swaps durable, in as few frames as it takes: one, unless they fill a file.
    fn append_all(&self, writer: &mut Writer, swaps: &[&HeadSwap]) -> Result<(), WriteError> {
        let mut from = 0;
        writer.draft.clear();
        for (at, swap) in swaps.iter().enumerate() {
            let room = writer.draft.room_with(&swap.origin, &swap.new);
            if room > self.file_bytes - BLOCK && from < at {
                let frame = swaps.get(from..at).unwrap_or_default();
                self.append(writer, frame)
                    .map_err(|error| self.half_done(from, error))?;
                writer.draft.clear();
                from = at;
            }
            if !writer.draft.push(&swap.origin, &swap.new)
                || writer.draft.room() > self.file_bytes - BLOCK
            {
                let source = io::Error::other("an origin or a note is too long");
                let error = failed("writing heads", source);
                return Err(self.half_done(from, WriteError::Failed(error)));
            }
        }
        let frame = swaps.get(from..).unwrap_or_default();
        self.append(writer, frame)
            .map_err(|error| self.half_done(from, error))
    }

    /// Makes one frame durable, and then visible.
    fn append(&self, writer: &mut Writer, swaps: &[&HeadSwap]) -> Result<(), WriteError> {
        if writer.tail.used + writer.draft.room() > self.file_bytes {
            self.rotate(writer)?;
        }
        let Writer {
            file, tail, draft, ..
        } = writer;
        let Some((bytes, after)) = draft.finish(*tail) else {
            return Err(WriteError::Failed(StoreError::Stopped));
        };
        self.write(*file, bytes, tail.used)?;
        *tail = after;
        self.trail.reached(after.generation, after.frames);
        let mut recent = self.recent_mut();
        let mut new_origins = 0;
        for swap in swaps {
            new_origins += u64::from(swap.expected.is_none());
            match recent.active.get_mut(&swap.origin) {
                Some(old) => old.clone_from(&swap.new),
                None => drop(recent.active.insert(swap.origin.clone(), swap.new.clone())),
            }
        }
        drop(recent);
        self.count.fetch_add(new_origins, Ordering::Relaxed);
        Ok(())
    }

    /// An error after a frame of the same call became durable: the caller cannot be told that
    /// nothing did.
    fn half_done(&self, written: usize, error: WriteError) -> WriteError {
        match error {
            WriteError::Failed(error) if written > 0 => {
                self.health.fail(&error);
                WriteError::Unknown(error)
            }
            error => error,
        }
    }
}

impl CheckpointStore for WalStore {
    fn latest(&self, origin: &Origin) -> Result<Option<OriginHead>, StoreError> {
        self.health.check()?;
        if let Some(recent) = self.recent().get(origin) {
            return Ok(Some(recent.clone()));
        }
        self.read(self.engine.latest_twice(origin))
    }

    // Spec: STO-06, STO-07, STO-21
    fn compare_and_swap(
        &self,
        swaps: &[HeadSwap],
    ) -> Result<Vec<Result<(), SwapRefusal>>, WriteError> {
        let mut writer = self.writer()?;
        let mut newest: HashMap<&Origin, &OriginHead> = HashMap::new();
        let mut accepted = Vec::with_capacity(swaps.len());
        let mut results = Vec::with_capacity(swaps.len());
        for swap in swaps {
            let current = match newest.get(&swap.origin) {
                Some(head) => Some((head.head, head.time)),
                None => match self.current_for(swap, &mut writer.known) {
                    Ok(current) => current,
                    // One log's loss is not that of the others in the batch.
                    Err(StoreError::Corrupt(corruption)) => {
                        results.push(Err(SwapRefusal::Damaged(Box::new(corruption))));
                        continue;
                    }
                    // Nothing was written; but nothing ever will be, and who is told that stops.
                    Err(error) if error.is_final() => return Err(WriteError::Unknown(error)),
                    Err(error) => return Err(WriteError::Failed(error)),
                },
            };
            // The tree of the engine's file is not written to behind a log: it has no entries.
            let result = check_swap(current, swap, TreeSize::ZERO);
            if result.is_ok() {
                newest.insert(&swap.origin, &swap.new);
                accepted.push(swap);
            }
            results.push(result);
        }
        if !accepted.is_empty() {
            self.append_all(&mut writer, &accepted)?;
        }
        for (origin, new) in newest {
            writer.known.remember(origin, &new.head, new.time);
        }
        Ok(results)
    }

    fn origins(
        &self,
        after: Option<&Origin>,
        limit: usize,
    ) -> Result<Vec<(Origin, OriginHead)>, StoreError> {
        self.health.check()?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        // The memory first: what leaves it is in the engine by then.
        let mut page: BTreeMap<Origin, OriginHead> = {
            let recent = self.recent();
            let all = recent.frozen.iter().chain(&recent.active);
            let wanted = all.filter(|(origin, _)| match from {
                Bound::Excluded(after) => origin.as_str() > after.as_str(),
                _ => true,
            });
            // The active ones come last and win.
            let newest: BTreeMap<&Origin, &OriginHead> = wanted.collect();
            let first = newest.into_iter().take(limit);
            first
                .map(|(origin, head)| (origin.clone(), head.clone()))
                .collect()
        };
        for (origin, head) in self.read(self.engine.origins(after, limit))? {
            let newer =
                |known: &OriginHead| (known.head.size, known.time) >= (head.head.size, head.time);
            if !page.get(&origin).is_some_and(newer) {
                page.insert(origin, head);
            }
        }
        Ok(page.into_iter().take(limit).collect())
    }

    fn origin_count(&self) -> Result<u64, StoreError> {
        self.health.check()?;
        Ok(self.count.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for WalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WalStore")
            .field("engine", &self.engine)
            .field("file_bytes", &self.file_bytes)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

fn failed(doing: &'static str, source: io::Error) -> StoreError {
    StoreError::Engine {
        doing,
        source: Box::new(source),
    }
}
