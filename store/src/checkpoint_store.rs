//! [`CheckpointStore`]: the latest head of each origin.

use jurat_proto::checkpoint::Origin;
use jurat_proto::key::UnixSeconds;
use jurat_proto::tree::{LeafIndex, TreeHead, TreeSize};

use crate::{Corruption, StoreError, WriteError};

/// The newest checkpoint accepted for an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginHead {
    /// Its tree head.
    pub head: TreeHead,
    /// When it was accepted. Never decreases for an origin, not even when the head stays.
    pub time: UnixSeconds,
    /// The checkpoint as the log signed it, for serving it again; opaque here. May be empty where
    /// `log_index` leads to it.
    pub note: Vec<u8>,
    /// The entry that carries it, in the service's own tree; `None` for a witness.
    pub log_index: Option<LeafIndex>,
}

/// Replace an origin's head, if it still is what the caller decided upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadSwap {
    /// Whose head.
    pub origin: Origin,
    /// The head the decision was made on; `None` means that the origin has no head yet.
    pub expected: Option<TreeHead>,
    /// The new head. Equal to the expected one when only time or note are refreshed.
    pub new: OriginHead,
}

/// Why a swap changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwapRefusal {
    /// Someone else was faster. At fault: nobody; decide again on the current head.
    #[error("the current head is another one (size {:?})", .current.map(|head| head.size.get()))]
    Conflict {
        /// The head now stored.
        current: Option<TreeHead>,
    },
    /// What is stored of this origin is damaged. At fault: the disk. Swaps of other origins in the
    /// same call are not affected.
    #[error("what is stored is damaged: {0}")]
    Damaged(Box<Corruption>),
    /// The new tree is smaller than the current one. At fault: the caller, whose decision must
    /// have refused it.
    #[error("the new size {} is below the current {}", .new.get(), .current.get())]
    Shrinks {
        /// Size of the current head.
        current: TreeSize,
        /// Size of the refused head.
        new: TreeSize,
    },
    /// Same size, other root. At fault: as above; this is a fork.
    #[error(
        "two roots for size {}: {} and {}",
        .current.size.get(),
        .current.root_hash,
        .new.root_hash
    )]
    Forks {
        /// The current head.
        current: TreeHead,
        /// The refused head.
        new: TreeHead,
    },
    /// The new time is before the current one. At fault: the caller's clock.
    #[error("the new time {} is before the current {}", .new.get(), .current.get())]
    TimeWentBack {
        /// Time of the current head.
        current: UnixSeconds,
        /// The refused time.
        new: UnixSeconds,
    },
    /// The head names an entry that the tree will not have. At fault: the caller.
    #[error("entry {} is not in a tree of size {}", .log_index.get(), .size.get())]
    NoSuchEntry {
        /// The entry named.
        log_index: LeafIndex,
        /// Size of the store's tree, with the entries of the same batch.
        size: TreeSize,
    },
    /// The head names an entry that carries another checkpoint already. At fault: the caller.
    #[error("entry {} carries another checkpoint already", .log_index.get())]
    EntryTaken {
        /// The entry named.
        log_index: LeafIndex,
    },
}

/// The latest head of each origin, replaced by compare-and-swap.
///
/// **Trust**: a witness's whole safety rests on this store. Whoever can set it back to an older
/// state can make the witness cosign a fork; it is to be kept where the witness's key is kept.
/// Heads that went through [`crate::LogStore::commit`] are the same rows.
///
/// **Consistency**: serialisable. A swap sees every swap that returned before it began.
///
/// **Durability**: what a method returned `Ok` for survives a crash of process and machine.
pub trait CheckpointStore: Send + Sync {
    /// The latest head of an origin, `None` when it never had one.
    ///
    /// Reads a snapshot, never waits for a writer; sees every swap that has returned.
    ///
    /// # Errors
    /// The backend's failures.
    fn latest(&self, origin: &Origin) -> Result<Option<OriginHead>, StoreError>;

    /// Performs the swaps in order; each is atomic and sees those before it in the slice. One
    /// that is refused changes nothing and does not disturb the others. All accepted ones become
    /// durable together, with one wait for the disk, before this returns.
    ///
    /// A swap is refused when the stored head is not the expected one, and also, whatever was
    /// expected, when size or time would go back or one size would get two roots.
    ///
    /// # Errors
    /// [`WriteError::Failed`]: none took effect. [`WriteError::Unknown`]: not known; the store is
    /// stopped and the caller must stop too.
    fn compare_and_swap(
        &self,
        swaps: &[HeadSwap],
    ) -> Result<Vec<Result<(), SwapRefusal>>, WriteError>;

    /// Up to `limit` origins with their heads in the byte order of the origins, after `after`.
    ///
    /// One snapshot per call: a page is consistent, two pages need not be of one moment.
    ///
    /// # Errors
    /// The backend's failures.
    fn origins(
        &self,
        after: Option<&Origin>,
        limit: usize,
    ) -> Result<Vec<(Origin, OriginHead)>, StoreError>;

    /// How many origins have a head. Costs no more with many than with few.
    ///
    /// # Errors
    /// The backend's failures.
    fn origin_count(&self) -> Result<u64, StoreError>;
}
