//! How a store's file comes to be, and what is refused when it is opened.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use redb::{Builder, Database, DatabaseError, ReadableDatabase, StorageError, TableError};

use jurat_proto::hash::empty_root;
use jurat_proto::tree::{TreeHead, TreeSize};

use super::schema::{
    self, DEDUP, ENTRIES, FORMAT, FORMAT_1, HISTORY, LEAVES, META, NODES, ORIGINS, TIPS, TREE,
    engine,
};
use super::{RedbOptions, RedbStore};
use crate::{Corruption, StoreError};

/// Why a store was not created. Nothing is left at its path.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Something is there already; it is never overwritten. At fault: the operator.
    #[error("{} exists already; a store is never overwritten", .path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The engine refused.
    #[error("cannot write a new store to {}: {source}", .path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: StoreError,
    },
}

/// Why a store was not opened. The file is as it was, but for a repair by the engine after a
/// crash.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no file. Only an explicit `create` makes one, so that a wrong path or a volume
    /// that is not mounted cannot pass for an empty log. At fault: the operator.
    #[error(
        "{} does not exist; a store is created only on demand, never by opening it",
        .path.display()
    )]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// Another process, or another store in this one, has it open. At fault: the operator.
    #[error("{} is in use by another process", .path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The file is not one of ours. At fault: the operator.
    #[error("{} is not a jurat store: {reason}", .path.display())]
    NotAStore {
        /// The path.
        path: PathBuf,
        /// What gave it away.
        reason: String,
    },
    /// The file was written by another version of this program. At fault: the operator.
    #[error("{} has format {found:?}; this version knows {known:?}", .path.display())]
    UnknownFormat {
        /// The path.
        path: PathBuf,
        /// Its format row.
        found: String,
        /// The format of this version.
        known: &'static str,
    },
    /// The file could not be read, or contradicts itself.
    #[error("cannot open {}: {source}", .path.display())]
    Store {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: StoreError,
    },
}

impl RedbStore {
    /// Creates a store with an empty tree and opens it. The name appears, durably, only once the
    /// file is complete: it is written beside it under a name of its own, and linked.
    ///
    /// # Errors
    /// [`CreateError::Exists`], and what file system and engine refuse.
    // Spec: STO-12
    pub fn create(path: impl AsRef<Path>, options: RedbOptions) -> Result<Self, CreateError> {
        let path = path.as_ref();
        let io = |doing, source| CreateError::Io {
            doing,
            path: path.to_owned(),
            source,
        };
        if path.symlink_metadata().is_ok() {
            return Err(CreateError::Exists {
                path: path.to_owned(),
            });
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let draft = path.with_file_name(name);
        let made = Self::draft(&draft, options).and_then(|()| match fs::hard_link(&draft, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(CreateError::Exists {
                    path: path.to_owned(),
                })
            }
            linked => linked.map_err(|source| io("link", source)),
        });
        // The draft goes in any case; one that cannot be removed is only litter.
        let _ = fs::remove_file(&draft);
        made?;
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|source| io("make durable the directory of", source))?;
        Self::open(path, options).map_err(|error| match error {
            OpenError::Store { path, source } => CreateError::Store { path, source },
            other => io("open", io::Error::other(other)),
        })
    }

    fn draft(draft: &Path, options: RedbOptions) -> Result<(), CreateError> {
        let path = draft.to_owned();
        // A draft left by a crash of a process that had our number is not a store of anyone's.
        let _ = fs::remove_file(draft);
        let database = builder(options)
            .create(draft)
            .map_err(|error| CreateError::Store {
                path: path.clone(),
                source: engine("creating the file")(error),
            })?;
        let write = initialize(&database);
        drop(database);
        write.map_err(|source| CreateError::Store {
            path: path.clone(),
            source,
        })?;
        let synced = File::open(draft).and_then(|file| file.sync_all());
        synced.map_err(|source| CreateError::Io {
            doing: "make durable",
            path,
            source,
        })
    }

    /// Opens an existing store: locks it, checks its format and that its newest hashes give its
    /// tree head, and rebuilds what is kept in memory. After a crash the engine repairs the file
    /// first, without walking it.
    ///
    /// # Errors
    /// [`OpenError`] says which of these failed.
    // Spec: STO-11, STO-13, STO-23, STO-29
    pub fn open(path: impl AsRef<Path>, options: RedbOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let store = Self::open_behind_wal(path, options)?;
        let open = || -> Result<_, StoreError> {
            let wal = store.wal_mark()?.is_some_and(|mark| mark.open);
            let journal = store.journal_mark()?.is_some_and(|mark| mark.open);
            Ok((wal, journal))
        };
        let source = match open() {
            Ok((true, _)) => Corruption::BehindWal.into(),
            Ok((_, true)) => Corruption::BehindJournal.into(),
            Ok(_) => return Ok(store),
            Err(source) => source,
        };
        let path = path.to_owned();
        Err(OpenError::Store { path, source })
    }

    /// [`Self::open`], whatever a write-ahead log may hold besides.
    pub(crate) fn open_behind_wal(path: &Path, options: RedbOptions) -> Result<Self, OpenError> {
        let path = path.to_owned();
        let database = match builder(options).open(&path) {
            Ok(database) => database,
            Err(error) => return Err(open_error(path, error)),
        };
        Self::from_database(path, database, options)
    }

    /// The part of opening after the file is locked.
    pub(crate) fn from_database(
        path: PathBuf,
        database: Database,
        options: RedbOptions,
    ) -> Result<Self, OpenError> {
        match format(&database) {
            Ok(found) if found == FORMAT_1 => {}
            Ok(found) => {
                return Err(OpenError::UnknownFormat {
                    path,
                    found,
                    known: FORMAT_1,
                });
            }
            Err(FormatError::Absent(reason)) => return Err(OpenError::NotAStore { path, reason }),
            Err(FormatError::Store(source)) => return Err(OpenError::Store { path, source }),
        }
        let loaded = Self::load(path.clone(), database, options);
        let listed = loaded.and_then(|store| {
            store.list_missing_landmarks()?;
            Ok(store)
        });
        listed.map_err(|source| OpenError::Store { path, source })
    }
}

pub(crate) fn builder(options: RedbOptions) -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(options.cache_bytes);
    builder.set_repair_callback(|session| {
        tracing::warn!(
            repair.progress = session.progress(),
            "repairing the store after a crash"
        );
    });
    builder
}

/// Writes the tables and rows of an empty store.
pub(crate) fn initialize(database: &Database) -> Result<(), StoreError> {
    const DOING: &str = "creating the tables";
    let mut write = database.begin_write().map_err(engine(DOING))?;
    write.set_two_phase_commit(true);
    write.set_quick_repair(true);
    {
        let mut meta = write.open_table(META).map_err(engine(DOING))?;
        meta.insert(FORMAT, FORMAT_1.as_bytes())
            .map_err(engine(DOING))?;
        let head = TreeHead {
            size: TreeSize::ZERO,
            root_hash: empty_root(),
        };
        meta.insert(TREE, schema::head_bytes(&head).as_slice())
            .map_err(engine(DOING))?;
        write.open_table(ENTRIES).map_err(engine(DOING))?;
        write.open_table(LEAVES).map_err(engine(DOING))?;
        write.open_table(NODES).map_err(engine(DOING))?;
        write.open_table(DEDUP).map_err(engine(DOING))?;
        write.open_table(ORIGINS).map_err(engine(DOING))?;
        write.open_table(TIPS).map_err(engine(DOING))?;
        write.open_table(HISTORY).map_err(engine(DOING))?;
    }
    write.commit().map_err(engine(DOING))
}

enum FormatError {
    Absent(String),
    Store(StoreError),
}

fn format(database: &Database) -> Result<String, FormatError> {
    const DOING: &str = "reading the format";
    let read = database
        .begin_read()
        .map_err(|e| FormatError::Store(engine(DOING)(e)))?;
    let table = read.open_table(META).map_err(|error| match error {
        TableError::Storage(error) => FormatError::Store(engine(DOING)(error)),
        other => FormatError::Absent(other.to_string()),
    })?;
    match table
        .get(FORMAT)
        .map_err(|error| FormatError::Store(engine(DOING)(error)))?
    {
        Some(row) => Ok(String::from_utf8_lossy(row.value()).into_owned()),
        None => Err(FormatError::Absent("it has no format row".to_owned())),
    }
}

fn open_error(path: PathBuf, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            OpenError::InUse { path }
        }
        DatabaseError::UpgradeRequired(version) => OpenError::NotAStore {
            path,
            reason: format!("it has the engine's old file format {version}"),
        },
        DatabaseError::Storage(StorageError::Io(error)) => match error.kind() {
            io::ErrorKind::NotFound => OpenError::Missing { path },
            io::ErrorKind::InvalidData => OpenError::NotAStore {
                path,
                reason: error.to_string(),
            },
            _ => OpenError::Store {
                path,
                source: engine("opening the file")(StorageError::Io(error)),
            },
        },
        other => OpenError::Store {
            path,
            source: engine("opening the file")(other),
        },
    }
}
