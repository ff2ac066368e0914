//! [`LogStore`]: an append-only tree with its entries, and the state that must change with it.

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::{Hash, leaf_hash};
use jurat_proto::key::UnixSeconds;
use jurat_proto::tile::{BundleCoord, ENTRY_BYTES_MAX, TileCoord};
use jurat_proto::tree::{CompactRange, LeafIndex, TreeHead, TreeSize};

use crate::{CheckpointStore, HeadSwap, Landmark, StoreError, SwapRefusal};

/// An entry with its leaf hash, which cannot be another's: only the constructor sets it, so the
/// hash may be computed on any thread and the store need not compute it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    bytes: Vec<u8>,
    leaf_hash: Hash,
}

impl NewEntry {
    /// Hashes the entry.
    ///
    /// # Errors
    /// [`EntryTooLong`] when it does not fit an entry bundle.
    // Spec: STO-02
    pub fn new(bytes: Vec<u8>) -> Result<Self, EntryTooLong> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(EntryTooLong { bytes: bytes.len() });
        }
        let leaf_hash = leaf_hash(&bytes);
        Ok(Self { bytes, leaf_hash })
    }

    /// An entry under a leaf hash that is not its own, to test what hashes that collide in part
    /// do to the deduplication index. Such a tree fails fsck.
    #[cfg(any(test, feature = "conformance"))]
    pub fn forged(bytes: Vec<u8>, leaf_hash: Hash) -> Self {
        Self { bytes, leaf_hash }
    }

    /// The entry.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its RFC 6962 leaf hash.
    pub fn leaf_hash(&self) -> &Hash {
        &self.leaf_hash
    }

    /// Entry and leaf hash.
    pub fn into_parts(self) -> (Vec<u8>, Hash) {
        (self.bytes, self.leaf_hash)
    }
}

/// An entry bundle gives each entry a 16-bit length. At fault: the submitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entry of {bytes} bytes is longer than {ENTRY_BYTES_MAX}")]
pub struct EntryTooLong {
    /// Its length.
    pub bytes: usize,
}

/// Everything that becomes durable together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The tree head that the caller decided upon; anything else is a conflict.
    pub expected: TreeHead,
    /// Appended in this order at `expected.size`. May be empty when only heads are swapped.
    pub entries: Vec<NewEntry>,
    /// Applied in this order, each seeing those before it. All or nothing: one refusal refuses
    /// the batch.
    pub heads: Vec<HeadSwap>,
}

/// What a commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The tree head after it.
    pub head: TreeHead,
    /// Index of the batch's first entry (equal to `head.size` when it had none).
    pub first_index: LeafIndex,
}

/// Why a commit did not happen, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The tree is no longer what the batch expected. Nothing changed. At fault: a second writer
    /// in this process, or a caller that kept a stale head.
    #[error("the tree has size {} now", .current.size.get())]
    Conflict {
        /// The committed head.
        current: TreeHead,
    },
    /// Some head swaps were refused, so nothing changed at all. Every refused one is listed.
    #[error(
        "{} head swaps were refused, the first: {}",
        .0.len(),
        .0.first().map_or(String::new(), |first| first.refusal.to_string())
    )]
    HeadsRefused(Vec<RefusedSwap>),
    /// The tree would outgrow 2^63-1 entries. Nothing changed.
    #[error("the tree is full")]
    TreeFull,
    /// The backend failed before anything changed. The call may be repeated.
    #[error("nothing was committed: {0}")]
    Failed(#[source] StoreError),
    /// It may or may not have become durable. The store is stopped; the caller must stop too,
    /// reopen and look, and must let no signature leave that depends on this commit.
    #[error("it is not known whether the commit is durable: {0}")]
    Unknown(#[source] StoreError),
}

/// One refused swap of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedSwap {
    /// Its place in [`Batch::heads`].
    pub position: usize,
    /// Why.
    pub refusal: SwapRefusal,
}

/// A cosigned checkpoint of our own tree, as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The head it signs.
    pub head: TreeHead,
    /// The signed note; opaque here.
    pub note: Vec<u8>,
}

/// A tree head that a signature of ours may exist for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedHead {
    /// The head.
    pub head: TreeHead,
    /// The time that the signature states.
    pub time: UnixSeconds,
}

/// Heads of our own tree that become durable with a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    /// A head that is about to be signed.
    pub signing: Option<SignedHead>,
    /// A checkpoint that is served from now on.
    pub publish: Option<Published>,
}

/// What became of [`Records`], each in its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Of the head to be signed.
    pub signing: Option<Result<(), HeadRefusal>>,
    /// Of the checkpoint.
    pub publish: Option<Result<(), HeadRefusal>>,
}

/// Why a head may not be published or signed. At fault: the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadRefusal {
    /// The head covers entries that are not committed.
    #[error("size {} is beyond the committed {}", .size.get(), .committed.get())]
    NotCommitted {
        /// The refused size.
        size: TreeSize,
        /// What is committed.
        committed: TreeSize,
    },
    /// Our tree has another root at that size.
    #[error("our root at size {} is {ours}, not {theirs}", .size.get())]
    OtherRoot {
        /// The size.
        size: TreeSize,
        /// Our tree's root there.
        ours: Hash,
        /// The refused one.
        theirs: Hash,
    },
    /// A larger tree was published or signed before.
    #[error("size {} is below {}, which came before", .size.get(), .current.get())]
    SizeWentBack {
        /// The size that came before.
        current: TreeSize,
        /// The refused one.
        size: TreeSize,
    },
    /// A later time was signed before.
    #[error("time {} is before {}, which was signed already", .time.get(), .current.get())]
    TimeWentBack {
        /// The time signed before.
        current: UnixSeconds,
        /// The refused one.
        time: UnixSeconds,
    },
}

/// Why a head was not recorded as published or as about to be signed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The rules forbid it. Nothing changed.
    #[error(transparent)]
    Refused(#[from] HeadRefusal),
    /// The backend failed before anything changed. The call may be repeated.
    #[error("nothing was recorded: {0}")]
    Failed(#[source] StoreError),
    /// It may or may not have become durable. The store is stopped; the caller must stop too.
    #[error("it is not known whether the record is durable: {0}")]
    Unknown(#[source] StoreError),
}

/// One anchored checkpoint of an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryItem {
    /// The entry that carries it.
    pub log_index: LeafIndex,
    /// Its tree size.
    pub size: TreeSize,
    /// When it was accepted.
    pub time: UnixSeconds,
}

/// An append-only tree, its entries, and the heads that must change in the same moment.
///
/// **Trust**: the store is trusted for availability and for not going back; it is *not* trusted
/// for content by those outside, who verify everything against cosigned heads. The caller is
/// trusted to send entries that are canonical and not yet present ([`Self::find_leaves`]), heads
/// that were verified, and notes that were parsed; the store checks what follows from its own
/// tree.
///
/// **Consistency**: one writer, any number of readers. Reads are snapshots: they never wait for
/// the writer, see every call that returned `Ok` before they began, and never see part of a
/// batch. One process at a time has the store open.
///
/// **Durability**: on `Ok`, after a wait for the disk. An outcome that is not known is an error
/// of its own, after which the store answers nothing more ([`StoreError::Stopped`]).
///
/// All indices and sizes are of the store's own tree, which never shrinks or changes.
pub trait LogStore: CheckpointStore {
    /// The last committed tree head; not signed, not published. No I/O.
    ///
    /// # Errors
    /// [`StoreError::Stopped`].
    fn head(&self) -> Result<TreeHead, StoreError>;

    /// The right edge of the committed tree, to compute the next head with. No I/O.
    ///
    /// # Errors
    /// [`StoreError::Stopped`].
    fn frontier(&self) -> Result<CompactRange, StoreError>;

    /// Appends entries, with their hashes and dedup rows, swaps origin heads, and moves the tree
    /// head: all of it, durably, or nothing. Waits for a commit in progress.
    ///
    /// Deduplication is the caller's: equal entries get an index each.
    ///
    /// # Errors
    /// All but [`CommitError::Unknown`] promise that nothing changed.
    fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        let (committed, _) = self.commit_with(batch, Records::default())?;
        Ok(committed)
    }

    /// As [`Self::commit`], and what [`Self::record_signing`] and [`Self::publish`] would do, with
    /// one wait for the disk for all of it. The records' heads are checked against the tree as it
    /// was before the batch; one that is refused changes nothing and does not disturb the rest.
    ///
    /// # Errors
    /// As [`Self::commit`].
    fn commit_with(
        &self,
        batch: Batch,
        records: Records,
    ) -> Result<(Committed, Recorded), CommitError>;

    /// Does what a commit may have left to be done after its answer: work, but nothing that could
    /// be lost or seen. Who does not call it leaves it to whoever reads or writes next.
    ///
    /// # Errors
    /// The backend's failures, which stop the store: the first one, also when it met somebody else.
    /// What was answered is found by opening the store again.
    // Spec: STO-50
    fn settle(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether there is nothing of that. Of a store that has stopped it cannot be said: who then
    /// calls [`Self::settle`] learns why.
    fn is_settled(&self) -> bool {
        true
    }

    /// Ends the store in order, whoever else has a handle on it: all that is durable is in its own
    /// file then (STO-30), as after a drop.
    ///
    /// # Errors
    /// The backend's failures, and of a store that had stopped the one that stopped it. Nothing is
    /// lost: opening the store again finds it.
    // Spec: STO-30
    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// For each leaf hash, the lowest index of a committed entry with exactly that hash (all 32
    /// bytes), or `None`. Entries of a commit that has not returned are not seen: those in flight
    /// are the sequencer's to remember.
    ///
    /// # Errors
    /// The backend's failures.
    fn find_leaves(&self, leaf_hashes: &[Hash]) -> Result<Vec<Option<LeafIndex>>, StoreError>;

    /// A committed entry; `None` beyond the tree.
    ///
    /// # Errors
    /// The backend's failures.
    fn entry(&self, index: LeafIndex) -> Result<Option<Vec<u8>>, StoreError>;

    /// A committed entry's leaf hash; `None` beyond the tree.
    ///
    /// # Errors
    /// The backend's failures.
    fn leaf_hash(&self, index: LeafIndex) -> Result<Option<Hash>, StoreError>;

    /// A tile of any width that the committed tree covers, else `None`. Tiles are assembled from
    /// rows, so a partial tile stays available after the full one exists.
    ///
    /// # Errors
    /// The backend's failures.
    fn tile(&self, tile: TileCoord) -> Result<Option<Vec<u8>>, StoreError>;

    /// An entry bundle of any width that the committed tree covers, else `None`.
    ///
    /// # Errors
    /// The backend's failures.
    fn bundle(&self, bundle: BundleCoord) -> Result<Option<Vec<u8>>, StoreError>;

    /// The newest published checkpoint; `None` before the first.
    ///
    /// # Errors
    /// The backend's failures.
    fn published(&self) -> Result<Option<Published>, StoreError>;

    /// Records, durably, the checkpoint that is served from now on. Its head must be one of this
    /// tree; the size never goes down (the same size again replaces the note).
    ///
    /// # Errors
    /// All but [`RecordError::Unknown`] promise that nothing changed.
    fn publish(&self, published: Published) -> Result<(), RecordError>;

    /// The newest head that a signature of ours may exist for.
    ///
    /// # Errors
    /// The backend's failures.
    fn last_signed(&self) -> Result<Option<SignedHead>, StoreError>;

    /// Records, durably, that this head is about to be signed with this time: to be called before
    /// the signature leaves the process. The head must be one of this tree; neither size nor time
    /// ever goes down.
    ///
    /// # Errors
    /// All but [`RecordError::Unknown`] promise that nothing changed.
    fn record_signing(&self, signed: SignedHead) -> Result<(), RecordError>;

    /// Up to `limit` entries of a kind, lowest first, from `from` on. Of time-stamps only the
    /// newest is known.
    ///
    /// # Errors
    /// The backend's failures.
    fn landmarks(
        &self,
        kind: Landmark,
        from: LeafIndex,
        limit: usize,
    ) -> Result<Vec<LeafIndex>, StoreError>;

    /// The newest entry of a kind; `None` when the log has none.
    ///
    /// # Errors
    /// The backend's failures.
    fn newest(&self, kind: Landmark) -> Result<Option<LeafIndex>, StoreError>;

    /// Up to `limit` anchored checkpoints of an origin, newest first, with entries below `before`
    /// (`None`: from the newest). The cost is one row for each item and for each one skipped.
    ///
    /// # Errors
    /// The backend's failures.
    fn history(
        &self,
        origin: &Origin,
        before: Option<LeafIndex>,
        limit: usize,
    ) -> Result<Vec<HistoryItem>, StoreError>;
}
