//! A store with a journal: one write and one wait for each commit.
//!
//! A durable commit of the engine writes a dozen scattered pages and waits for the disk twice. With
//! a journal, a commit is one sequential write and one wait; then the engine takes it without
//! waiting, so that readers see it in the one place where everything is. When the journal is full,
//! the engine's own durable commit makes all of it durable there, and the journal begins anew.
//!
//! ```text
//!  commit ─► checked in a transaction ─► frame, fdatasync ─► engine, not waiting ─► answer
//!                   │ no room for the frame
//!                   └► engine, waiting twice ─► the journal's next generation ─► answer
//! ```
//!
//! A commit of a few entries is answered as soon as its frame is durable. The engine takes it over
//! after that: by [`crate::LogStore::settle`], or by whoever wants to read or write first. So its
//! work, which lasts about as long as a fast disk's, is not waited for, and nobody sees that.
//!
//! - What is durable is the engine's file **and** `<name>.journal` beside it. A row of the engine's
//!   file, in the same transaction as what it speaks of, says which frame it has last; after a
//!   crash the frames behind that one are taken over, in one durable commit, before anything is
//!   answered.
//! - A failed write or wait leaves its outcome unknown: the store stops, nothing is tried twice.
//! - After an orderly end the engine's file is whole by itself, and says so.
//! - Both files are locked.
//!
//! Rows: `spec/store.md` STO-27 to STO-30, STO-50.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use redb::{Durability, WriteTransaction};

use jurat_proto::tree::TreeHead;

use super::journal::{self, Change, Journal, JournalMark};
use super::log::NO_ROOM;
use super::schema::{JOURNAL, engine, journal_mark_bytes, parse_journal_mark};
use super::{CreateError, OpenError, RedbOptions, RedbStore, Stop, Writer, meta, put_meta};
use crate::frames::BLOCK;
use crate::rules::{grown, next_index};
use crate::wal::{DiskFile, WalFile, identity};
use crate::{
    Batch, CommitError, Committed, Corruption, LogStore, NewEntry, Recorded, Records, StoreError,
    WriteError,
};

/// Entries of a commit that the engine takes after the answer. With more, who comes next would wait
/// longer for it than this one did not.
const AHEAD_MAX: usize = 8;

/// What is durable in the journal, and was answered, and is not in the engine yet.
pub(super) struct Owed {
    pub(super) batch: Batch,
    /// What it leads to.
    pub(super) head: TreeHead,
    /// The journal behind it.
    pub(super) mark: JournalMark,
}

/// What to spend on a store with a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalOptions {
    /// What to spend on the engine.
    pub redb: RedbOptions,
    /// Bytes of the journal. A longer one means fewer commits of the engine and a longer start
    /// after a crash.
    pub file_bytes: usize,
}

impl Default for JournalOptions {
    /// 8 MiB: two thousand lone commits, or some fifty thousand entries in large ones, which take
    /// a third of a second to be taken over.
    fn default() -> Self {
        Self {
            redb: RedbOptions::default(),
            file_bytes: 2048 * BLOCK,
        }
    }
}

impl RedbStore {
    /// Creates a store with an empty tree and its journal, and opens both.
    ///
    /// # Errors
    /// As for [`Self::create`].
    // Spec: STO-12
    pub fn create_journaled(
        path: impl AsRef<Path>,
        options: JournalOptions,
    ) -> Result<Self, CreateError> {
        let path = path.as_ref();
        drop(Self::create(path, options.redb)?);
        Self::open_journaled(path, options).map_err(|error| match error {
            OpenError::Store { path, source } => CreateError::Store { path, source },
            other => CreateError::Io {
                doing: "open",
                path: path.to_owned(),
                source: io::Error::other(other),
            },
        })
    }

    /// Opens a store with its journal, and takes over what only that has. A store without one gets
    /// one.
    ///
    /// # Errors
    /// [`OpenError`]: as for [`Self::open`], and when the journal that the store needs is missing,
    /// is of another store or moment, is broken, or is in use.
    // Spec: STO-28, STO-29
    pub fn open_journaled(
        path: impl AsRef<Path>,
        options: JournalOptions,
    ) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let mut store = Self::open_behind_wal(path, options.redb)?;
        let at_fault = |source: StoreError| OpenError::Store {
            path: path.to_owned(),
            source,
        };
        if store
            .wal_mark()
            .map_err(at_fault)?
            .is_some_and(|mark| mark.open)
        {
            return Err(at_fault(Corruption::BehindWal.into()));
        }
        let beside = journal_beside(path);
        let found = match DiskFile::open(&beside) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                return Err(OpenError::InUse { path: beside });
            }
            Err(error) => return Err(at_fault(failed("opening the journal", error))),
        };
        let mark = store.journal_mark().map_err(at_fault)?;
        let file = journal_file(found, &beside, mark, options.file_bytes).map_err(at_fault)?;
        store.attach(Box::new(file), mark).map_err(at_fault)?;
        Ok(store)
    }

    /// [`Self::open_journaled`], or [`Self::open`] where there is no journal: whoever looks into a
    /// store makes no file that its owner could not use.
    ///
    /// # Errors
    /// As for them.
    // Spec: STO-28, STO-29
    pub fn open_as_found(
        path: impl AsRef<Path>,
        options: JournalOptions,
    ) -> Result<Self, OpenError> {
        let path = path.as_ref();
        if journal_beside(path).symlink_metadata().is_ok() {
            Self::open_journaled(path, options)
        } else {
            Self::open(path, options.redb)
        }
    }

    /// The entries of the newest generation in a journal, as that file alone has them. A pure
    /// function, for whoever looks into a file by hand.
    ///
    /// # Errors
    /// A frame in the middle is broken, or is whole and holds no commit.
    pub fn entries_in_journal(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Corruption> {
        let changes = journal::newest(bytes)?;
        Ok(changes
            .into_iter()
            .flat_map(|change| change.entries)
            .collect())
    }

    /// How far the engine's file goes, if there was ever a journal.
    pub(super) fn journal_mark(&self) -> Result<Option<JournalMark>, StoreError> {
        let row = meta(&self.snapshot()?, JOURNAL)?;
        row.map(|row| parse_journal_mark(&row)).transpose()
    }

    /// Goes on where the journal ends, in a new generation.
    pub(super) fn attach(
        &mut self,
        file: Box<dyn WalFile>,
        mark: Option<JournalMark>,
    ) -> Result<(), StoreError> {
        let reading = |source| failed("reading the journal", source);
        let contents = file.read().map_err(reading)?;
        let bytes = contents.len();
        let going_on = mark.filter(|mark| mark.open);
        let (changes, tail) = match going_on {
            Some(mark) => journal::go_on(&contents, mark)?,
            None => (
                Vec::new(),
                journal::check_ended(&contents, mark, identity())?,
            ),
        };
        drop(contents);
        // With them the engine's file is whole by itself. It must not name them as what is to be
        // found in the journal: one that was never waited for may be in the system's cache alone.
        self.take_over(changes, JournalMark::at(&tail, false))?;
        let mut journal = Journal::behind(file, bytes, tail);
        let writing = |source| failed("beginning the journal", source);
        journal.begin_next().map_err(writing)?;
        // From here on it is not.
        let row = journal_mark_bytes(&JournalMark::at(journal.tail(), true));
        self.write_meta(JOURNAL, &row).map_err(unwritten)?;
        let writer = self
            .writer
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        writer.journal = Some(journal);
        Ok(())
    }

    /// What the journal has and the engine's file has not, in one durable commit. What a failed
    /// wait left in the system's cache is made durable by that as well.
    // Spec: STO-28
    fn take_over(&self, changes: Vec<Change>, mark: JournalMark) -> Result<(), StoreError> {
        let Some(last) = changes.last().map(|change| change.head) else {
            return Ok(());
        };
        let (mut batch, mut records) = (
            Batch {
                expected: self.head()?,
                entries: Vec::new(),
                heads: Vec::new(),
            },
            Records::default(),
        );
        for change in changes {
            for entry in change.entries {
                let entry = NewEntry::new(entry).map_err(|_| Corruption::Row {
                    row: "journal",
                    bytes: 0,
                })?;
                batch.entries.push(entry);
            }
            batch.heads.extend(change.heads);
            records.signing = change.records.signing.or(records.signing);
            records.publish = change.records.publish.or(records.publish);
        }
        // Each was checked, and accepted, before it was written to the journal.
        let recorded = Recorded {
            signing: records.signing.as_ref().map(|_| Ok(())),
            publish: records.publish.as_ref().map(|_| Ok(())),
        };
        let finish = |write: WriteTransaction, head: TreeHead| {
            if head != last {
                let (size, stored, derived) = (last.size, last.root_hash, head.root_hash);
                return Err(CommitError::Failed(
                    Corruption::Root {
                        size,
                        stored,
                        derived,
                    }
                    .into(),
                ));
            }
            put_meta(&write, JOURNAL, &journal_mark_bytes(&mark)).map_err(CommitError::Failed)?;
            Ok(self.finish(write)?)
        };
        let entries = batch.entries.len();
        match self.write_batch(&batch, (&records, &recorded), finish) {
            Ok(_) => {
                tracing::info!(entries, "took over what was in the journal");
                Ok(())
            }
            Err(CommitError::Failed(error) | CommitError::Unknown(error)) => Err(error),
            Err(CommitError::Conflict { .. } | CommitError::TreeFull) => {
                Err(Corruption::JournalGoesBack.into())
            }
            Err(CommitError::HeadsRefused(_)) => Err(Corruption::JournalGoesBack.into()),
        }
    }

    /// Makes a few entries durable in the journal alone. `None`, and nothing was done, when the
    /// commit is another one, or there is no room for it.
    ///
    /// What this finds right, the engine takes: entries only, behind the head that the memory has,
    /// which followed the engine.
    // Spec: STO-50
    pub(super) fn commit_ahead(
        &self,
        writer: &mut Writer,
        batch: &Batch,
        (records, recorded): (&Records, &Recorded),
    ) -> Result<Option<(Committed, JournalMark)>, CommitError> {
        let few = (1..=AHEAD_MAX).contains(&batch.entries.len());
        let others = !batch.heads.is_empty() || *records != Records::default();
        let Some(journal) = writer.journal.as_mut().filter(|_| few && !others) else {
            return Ok(None);
        };
        let mut frontier = {
            let shared = self.shared_as_it_is().map_err(CommitError::Failed)?;
            shared.frontier.clone()
        };
        let (current, first_index) = (frontier.head(), next_index(frontier.size()));
        if current != batch.expected {
            return Err(CommitError::Conflict { current });
        }
        grown(current.size, batch.entries.len()).ok_or(CommitError::TreeFull)?;
        for entry in &batch.entries {
            let appended = frontier.append(*entry.leaf_hash());
            appended.map_err(|_| CommitError::Failed(NO_ROOM.into()))?;
        }
        let head = frontier.head();
        let Some(after) = journal.draft(batch, (records, recorded), head) else {
            return Ok(None);
        };
        journal
            .append(after)
            .map_err(|error| self.unknown("writing the journal", error))?;
        Ok(Some((
            Committed { head, first_index },
            JournalMark::at(&after, true),
        )))
    }

    /// Has the engine take what it is owed. When it does not, the store stops: what was answered is
    /// in the journal, and found by the next opening.
    // Spec: STO-50
    pub(super) fn take_owed(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let Some(Owed { batch, head, mark }) = writer.owed.take() else {
            return Ok(());
        };
        let none = (&Records::default(), &Recorded::default());
        let taken = self.write_batch(&batch, none, |write, reached| {
            if reached != head {
                let (size, stored, derived) = (head.size, head.root_hash, reached.root_hash);
                let corruption = Corruption::Root {
                    size,
                    stored,
                    derived,
                };
                return Err(CommitError::Failed(corruption.into()));
            }
            Self::hand_over(write, mark)
        });
        let taken = taken.map(drop).map_err(|error| {
            let error = match error {
                CommitError::Failed(error) | CommitError::Unknown(error) => error,
                // It was behind the head that the memory had, and has no heads.
                CommitError::Conflict { .. }
                | CommitError::TreeFull
                | CommitError::HeadsRefused(_) => Corruption::JournalGoesBack.into(),
            };
            self.stop(Stop::NotTaken, &error);
            error
        });
        self.owing.store(false, Ordering::Release);
        taken
    }

    /// What is durable in the journal, for readers. Who calls this stops the store when it fails.
    fn hand_over(mut write: WriteTransaction, mark: JournalMark) -> Result<(), CommitError> {
        put_meta(&write, JOURNAL, &journal_mark_bytes(&mark)).map_err(CommitError::Failed)?;
        write
            .set_durability(Durability::None)
            .map_err(engine("beginning a write"))
            .map_err(CommitError::Failed)?;
        write
            .commit()
            .map_err(engine("committing"))
            .map_err(CommitError::Unknown)
    }

    /// Ends a commit that was checked: in the journal, and then in the engine.
    ///
    /// Once its frame is durable, a commit has happened, and is told so. When the engine then does
    /// not take it, the store stops, as it does for what was answered ahead of the engine.
    // Spec: STO-27, STO-70
    pub(super) fn finish_journaled(
        &self,
        journal: &mut Journal,
        mut write: WriteTransaction,
        batch: &Batch,
        records: (&Records, &Recorded),
        head: TreeHead,
    ) -> Result<(), CommitError> {
        let Some(after) = journal.draft(batch, records, head) else {
            // All that is in the journal becomes durable in the engine with this.
            self.finish(write)?;
            // The engine's row names a frame, or the header, of the generation that ends here, or
            // else of the one before: nothing would lead from that to the next but one.
            if !journal.has_frames() {
                return Ok(());
            }
            return journal
                .begin_next()
                .map_err(|error| self.unknown("beginning the journal", error));
        };
        let mark = journal_mark_bytes(&JournalMark::at(&after, true));
        put_meta(&write, JOURNAL, &mark).map_err(CommitError::Failed)?;
        write
            .set_durability(Durability::None)
            .map_err(engine("beginning a write"))
            .map_err(CommitError::Failed)?;
        journal
            .append(after)
            .map_err(|error| self.unknown("writing the journal", error))?;
        // Durable as it is, whatever the engine says: the next opening finds it.
        if let Err(error) = write.commit() {
            self.stop(Stop::NotTaken, &engine("committing")(error));
        }
        Ok(())
    }

    fn unknown(&self, doing: &'static str, error: io::Error) -> CommitError {
        let error = failed(doing, error);
        self.stop(Stop::Unknown, &error);
        CommitError::Unknown(error)
    }

    /// Everything into the engine's file, which then is whole without the journal. A store that
    /// has stopped says why: what does not get there now is found in the journal by the next
    /// opening.
    // Spec: STO-30
    pub(super) fn close_journal(&self) -> Result<(), WriteError> {
        let writer = self.writer().map_err(|error| self.first_cause(error));
        let mut writer = writer.map_err(WriteError::Failed)?;
        match writer.journal.take() {
            Some(journal) => {
                let row = journal_mark_bytes(&JournalMark::at(journal.tail(), false));
                self.write_meta(JOURNAL, &row)
            }
            None => Ok(()),
        }
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        // One that stopped before has said so.
        if self.check_running().is_ok()
            && let Err(error) = self.close_journal()
        {
            // Nothing is lost: the next opening finds it in the journal.
            tracing::warn!(%error, "the journal was not emptied");
        }
    }
}

/// The journal of a store: the one that it needs, or one that is made for it.
fn journal_file(
    found: Option<DiskFile>,
    path: &Path,
    mark: Option<JournalMark>,
    bytes: usize,
) -> Result<DiskFile, StoreError> {
    let failing = |source| failed("creating the journal", source);
    match (found, mark.filter(|mark| mark.open)) {
        (Some(file), Some(_)) => Ok(file),
        (None, Some(_)) => {
            let path = path.to_owned();
            Err(Corruption::WalMissing { path }.into())
        }
        (Some(file), None) => {
            // Before anything is written over.
            let contents = file
                .read()
                .map_err(|source| failed("reading the journal", source))?;
            journal::check_ended(&contents, mark, identity())?;
            if contents.len() == bytes {
                file.settle(path).map_err(failing)?;
                return Ok(file);
            }
            drop(file);
            DiskFile::create(path, bytes).map_err(failing)
        }
        (None, None) => DiskFile::create(path, bytes).map_err(failing),
    }
}

/// Relative paths and links: the journal is beside the file, whatever that was called.
fn journal_beside(database: &Path) -> PathBuf {
    let real = std::fs::canonicalize(database);
    journal_path(real.as_deref().unwrap_or(database))
}

/// Where the journal of a database is: `jurat.redb.journal` beside `jurat.redb`.
pub(super) fn journal_path(database: &Path) -> PathBuf {
    let mut name = OsString::from(database.file_name().unwrap_or_default());
    name.push(".journal");
    database.with_file_name(name)
}

fn failed(doing: &'static str, source: io::Error) -> StoreError {
    StoreError::Engine {
        doing,
        source: Box::new(source),
    }
}

pub(super) fn unwritten(error: WriteError) -> StoreError {
    match error {
        WriteError::Failed(error) | WriteError::Unknown(error) => error,
    }
}
