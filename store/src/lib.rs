//! Bytes that survive a restart.
//!
//! Two narrow traits: [`LogStore`] is what the service needs (entries, tiles, deduplication, the
//! tree head and the heads of the anchored logs, all changed by one [`LogStore::commit`]);
//! [`CheckpointStore`] is what a witness needs (the latest head of each origin, changed by
//! compare-and-swap). Each method says what it trusts, how consistent its answer is and what is
//! durable when it returns; the rows of `spec/store.md` are cited where they are obeyed.
//!
//! Backends: [`RedbStore`] (one file, one process, both traits; with a journal beside it where each
//! commit is to wait for the disk once), [`WalStore`] (its heads behind a
//! write-ahead log: one sequential write and one wait for the disk each), [`MemoryStore`] (the
//! reference model; survives nothing), [`Faulty`] (any backend, failing on demand). One suite,
//! `conformance` (behind the feature of that name), runs on all of them. [`fsck`] re-derives a
//! tree from its entries. [`registry`] keeps the list of logs that may anchor.
//!
//! Out of scope: HTTP, notes and signatures (stored here as opaque bytes), clocks, tasks. Every
//! call blocks its thread; keep them off an async executor's workers.

mod checkpoint_store;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
mod faulty;
mod frames;
pub mod fsck;
mod landmarks;
mod log_store;
mod memory;
mod nodes;
mod redb_store;
pub mod registry;
mod rules;
#[cfg(test)]
mod simulated_disk;
mod wal;

pub use checkpoint_store::{CheckpointStore, HeadSwap, OriginHead, SwapRefusal};
pub use error::{Corruption, StoreError, WriteError, engine_panic};
pub use faulty::{Fault, Faulty};
pub use landmarks::Landmark;
pub use log_store::{
    Batch, CommitError, Committed, EntryTooLong, HeadRefusal, HistoryItem, LogStore, NewEntry,
    Published, RecordError, Recorded, Records, RefusedSwap, SignedHead,
};
pub use memory::MemoryStore;
pub use nodes::{StoreTiles, TileError};
pub use redb_store::{CreateError, JournalOptions, OpenError, RedbOptions, RedbStore, RedbUsage};
pub use wal::{
    FileId, FoundCopy, Identity, Peek, Placed, Reached, StateFile, TrailFolder, WalOptions,
    WalStore,
};
