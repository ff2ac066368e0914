//! What can go wrong below the rules: the engine, the disk, the bytes on it.
//!
//! Refusals (a compare-and-swap that lost, a time that went back) are not here but beside the
//! calls that give them: they are answers, not failures.

use std::error::Error;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::Hash;
use jurat_proto::tree::{LeafIndex, TreeSize};

use crate::SwapRefusal;

/// A read or a write that the backend could not do. The store's state is unchanged unless a
/// [`WriteError::Unknown`] or a `CommitError::Unknown` wraps it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The storage engine or the disk below it failed. At fault: the machine. Whoever runs it
    /// must look at the disk; the engine may refuse every later call until it is reopened.
    #[error("storage failed while {doing}: {source}")]
    Engine {
        /// What was being done, as a phrase that follows "while".
        doing: &'static str,
        /// The engine's own error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The stored bytes contradict themselves. At fault: the disk, another program that wrote
    /// the file, or a bug of ours. A service runs fsck and asks its witnesses. A witness must not
    /// go on from an older copy: it has forgotten what it cosigned since.
    #[error("stored data is damaged: {0}")]
    Corrupt(#[from] Corruption),
    /// An earlier write ended in an unknown state, or what it made durable could not be taken over,
    /// so this store answers nothing more. At fault: the earlier error. Stop the process and open
    /// the store again.
    #[error("the store stopped after an earlier failure; reopen it")]
    Stopped,
}

impl StoreError {
    /// Whether the engine refuses everything from here on: after one failed read or write it does,
    /// until it is opened again. So there is no use in asking it again.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Engine { source, .. } => matches!(
                source.downcast_ref(),
                Some(
                    redb::Error::Io(_)
                        | redb::Error::PreviousIo
                        | redb::Error::DatabaseClosed
                        | redb::Error::LockPoisoned(_)
                )
            ),
            Self::Stopped => true,
            Self::Corrupt(_) => false,
        }
    }

    /// Whether the bytes on the disk are at fault, so that a new start finds the same.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Engine { source, .. } => {
                matches!(source.downcast_ref(), Some(redb::Error::Corrupted(_)))
            }
            Self::Corrupt(_) => true,
            Self::Stopped => false,
        }
    }

    /// The same for somebody else.
    pub(crate) fn retold(&self) -> Self {
        match self {
            Self::Engine { doing, source } => Self::Engine {
                doing,
                source: source.to_string().into(),
            },
            Self::Corrupt(corruption) => Self::Corrupt(corruption.clone()),
            Self::Stopped => Self::Stopped,
        }
    }
}

/// Why a panic of the storage engine ended the process, for the operator; nothing for a panic
/// elsewhere. The engine holds some of what it reads to be impossible and panics, at the start or
/// when a row is read: that is how it says that the file is damaged. To be asked by a panic hook,
/// which also runs in a build that aborts.
// Spec: STO-26
pub fn engine_panic(info: &PanicHookInfo<'_>, path: &Path) -> Option<String> {
    let at = info.location()?;
    let is_engine = |part: &str| part == "redb" || part.starts_with("redb-");
    if !at.file().split(['/', '\\']).any(is_engine) {
        return None;
    }
    let payload = info.payload();
    let said = payload.downcast_ref::<&str>().copied();
    let said = said.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    Some(format!(
        "{} is damaged: the storage engine cannot go on with what is in it ({} at {at})",
        path.display(),
        said.unwrap_or("it does not say why"),
    ))
}

/// The exact contradiction that was found in stored bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Corruption {
    /// The tree head covers an entry that is not stored.
    #[error("entry {} is missing from a tree of size {}", .index.get(), .size.get())]
    EntryMissing {
        /// The missing entry.
        index: LeafIndex,
        /// The size of the committed tree.
        size: TreeSize,
    },
    /// A row of hashes is absent or has another length than the tree size demands.
    #[error("hash row {row} of tile level {level} holds {actual} bytes, not at least {needed}")]
    HashRow {
        /// Tile level (0 is leaf hashes).
        level: u8,
        /// Row number within the level.
        row: u64,
        /// Bytes found; 0 when the row is absent.
        actual: usize,
        /// Bytes that the committed tree size demands.
        needed: usize,
    },
    /// A row of bookkeeping does not have its fixed form.
    #[error("row {row:?} has a wrong form ({bytes} bytes)")]
    Row {
        /// Name of the row or of its table.
        row: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// The hashes stored for the right edge of the tree do not give the stored root.
    #[error(
        "the tree head of size {} says root {stored}, the stored hashes give {derived}",
        .size.get()
    )]
    Root {
        /// Size of the committed tree.
        size: TreeSize,
        /// Root hash in the tree head.
        stored: Hash,
        /// Root hash computed from the stored hashes.
        derived: Hash,
    },
    /// A history row points forward, to itself, or to nothing.
    #[error("history row {} does not lead to an older entry", .index.get())]
    History {
        /// The row's entry index.
        index: LeafIndex,
    },
    /// A frame of the write-ahead log is broken, and there are others behind it.
    #[error("generation {generation} of the write-ahead log is broken at byte {at}")]
    Wal {
        /// The generation.
        generation: u64,
        /// Where in its file.
        at: usize,
    },
    /// The store needs a write-ahead log, and a file of it is not there. The operator is at fault,
    /// who copied or moved the store without it.
    #[error(
        "{} is missing: what was acknowledged last is in it; it was left where the store was last \
         used, and an older copy of it will not do",
        .path.display()
    )]
    WalMissing {
        /// The file.
        path: PathBuf,
    },
    /// The store needs a generation of its write-ahead log that neither file holds. The operator is
    /// at fault, who put files of two stores, or of two moments, together; or the disk.
    #[error(
        "the write-ahead log does not hold generation {generation}, with which it would go on from \
         this store; they are not of one moment"
    )]
    WalAbsent {
        /// The generation.
        generation: u64,
    },
    /// The store holds each head of a witness twice, and these two differ. The disk is at fault.
    #[error("what is stored of {origin} in two places is not the same")]
    TwoHeads {
        /// Whose head.
        origin: Origin,
    },
    /// The write-ahead log goes on beyond the store, which says that it was closed in order: the
    /// store is an older copy. The operator is at fault, who put it there; what was acknowledged
    /// since is in the log, and in the store that was there before.
    #[error(
        "the store ends with generation {generation}, and its write-ahead log has generation \
         {found}: the store is an older copy, and to go on from it would \
         undo what was acknowledged since"
    )]
    WalNewer {
        /// Where the store ends.
        generation: u64,
        /// What the log has.
        found: u64,
    },
    /// A file of the write-ahead log is shorter or longer than it was made. The operator is at
    /// fault, or the file system.
    #[error(
        "generation {generation} of the write-ahead log is in files of {expected} bytes, and one \
         has {bytes}"
    )]
    WalLength {
        /// The generation.
        generation: u64,
        /// Bytes found.
        bytes: u64,
        /// Bytes that the generation began with.
        expected: u64,
    },
    /// The store was opened without its write-ahead log, which holds newer heads.
    #[error("the newest heads of this store are in a write-ahead log; it belongs to a witness")]
    BehindWal,
    /// The store was opened without its journal, which holds newer entries.
    #[error("the newest entries of this store are in its journal")]
    BehindJournal,
    /// What is in the journal does not follow what is in the store.
    #[error("the journal does not lead on from the store")]
    JournalGoesBack,
    /// A head in the write-ahead log contradicts the store.
    #[error("the write-ahead log would set {origin} back: {refusal}")]
    WalGoesBack {
        /// Whose head.
        origin: Origin,
        /// In what way.
        refusal: Box<SwapRefusal>,
    },
    /// The deduplication index claims what the tree does not have.
    #[error(
        "the dedup index is at {merged_through} and {frozen_through} in a tree of {}",
        .size.get()
    )]
    DedupMark {
        /// Entries below it are claimed to have a row.
        merged_through: u64,
        /// Entries below it are claimed to be getting one.
        frozen_through: u64,
        /// Size of the committed tree.
        size: TreeSize,
    },
}

/// A write that did not succeed for a reason of the backend's.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Nothing changed. The call may be repeated.
    #[error("nothing was written: {0}")]
    Failed(#[source] StoreError),
    /// It may or may not have become durable. The store is stopped; the caller must stop too,
    /// reopen and look, and must let no signature leave that depends on this write.
    #[error("it is not known whether the write is durable: {0}")]
    Unknown(#[source] StoreError),
}
