//! [`Faulty`]: any backend, made to fail at a chosen write.

use std::sync::{Mutex, PoisonError};

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::Hash;
use jurat_proto::tile::{BundleCoord, TileCoord};
use jurat_proto::tree::{CompactRange, LeafIndex, TreeHead};

use crate::{
    Batch, CheckpointStore, CommitError, Committed, HeadSwap, HistoryItem, Landmark, LogStore,
    OriginHead, Published, RecordError, Recorded, Records, SignedHead, StoreError, SwapRefusal,
    WriteError,
};

/// What happens at the chosen write. Writes are `commit`, `compare_and_swap`, `publish` and
/// `record_signing`; they are counted together, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails and nothing is written: the `Failed` of each error. Later calls work.
    Before,
    /// It is not written, but the caller cannot know: the `Unknown` of each error. The store
    /// stops.
    UnknownUnwritten,
    /// It is written, but the caller cannot know: the `Unknown` of each error. The store stops.
    UnknownWritten,
    /// The crash hook runs before it is written.
    CrashBefore,
    /// The crash hook runs after it was written and before the caller is told.
    CrashAfter,
}

/// A store that fails on demand, for testing callers.
pub struct Faulty<S> {
    inner: S,
    plan: Mutex<Plan>,
    crash: Box<dyn Fn() + Send + Sync>,
}

#[derive(Debug, Default)]
struct Plan {
    writes: u64,
    fault: Option<(u64, Fault)>,
    settling: Settling,
    stopped: bool,
}

/// What becomes of what a commit left to be done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Settling {
    #[default]
    Done,
    Left,
    Fails,
}

impl<S: std::fmt::Debug> std::fmt::Debug for Faulty<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            inner,
            plan,
            crash: _,
        } = self;
        f.debug_struct("Faulty")
            .field("inner", inner)
            .field("plan", plan)
            .finish_non_exhaustive()
    }
}

impl<S> Faulty<S> {
    /// Wraps a store; nothing fails until [`Self::fail_at`]. A crash aborts the process.
    pub fn new(inner: S) -> Self {
        Self::with_crash(inner, || std::process::abort())
    }

    /// Wraps a store with a crash hook of the test's own, typically one that panics. Should the
    /// hook return, the write ends as `Unknown`.
    pub fn with_crash(inner: S, crash: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            inner,
            plan: Mutex::new(Plan::default()),
            crash: Box::new(crash),
        }
    }

    /// Makes the `nth` write from now fail (1: the next). Replaces an earlier plan.
    pub fn fail_at(&self, nth: u64, fault: Fault) {
        let mut plan = self.plan();
        plan.writes = 0;
        plan.fault = Some((nth, fault));
    }

    /// Makes every commit from now leave something to be done, and [`LogStore::settle`] fail. The
    /// store stops then, and every other one tells the same.
    pub fn fail_to_settle(&self) {
        self.plan().settling = Settling::Fails;
    }

    /// Makes [`LogStore::settle`] do nothing from now: what a commit left to be done waits for
    /// whoever reads or writes next.
    pub fn leave_unsettled(&self) {
        self.plan().settling = Settling::Left;
    }

    /// Writes since the last [`Self::fail_at`], the failed one included.
    pub fn writes(&self) -> u64 {
        self.plan().writes
    }

    /// The store within, unharmed, as a process that starts again would find it.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// The store within.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> Result<&S, StoreError> {
        if self.plan().stopped {
            Err(StoreError::Stopped)
        } else {
            Ok(&self.inner)
        }
    }

    fn write<T, E>(
        &self,
        failed: impl Fn(StoreError) -> E,
        unknown: impl Fn(StoreError) -> E,
        write: impl FnOnce(&S) -> Result<T, E>,
    ) -> Result<T, E> {
        let fault = {
            let mut plan = self.plan();
            if plan.stopped {
                return Err(failed(StoreError::Stopped));
            }
            plan.writes += 1;
            let writes = plan.writes;
            let fault = plan
                .fault
                .take_if(|(nth, _)| *nth == writes)
                .map(|(_, fault)| fault);
            plan.stopped = !matches!(fault, None | Some(Fault::Before));
            fault
        };
        match fault {
            None => write(&self.inner),
            Some(Fault::Before) => Err(failed(injected())),
            Some(Fault::UnknownUnwritten) => Err(unknown(injected())),
            Some(Fault::UnknownWritten) => {
                write(&self.inner)?;
                Err(unknown(injected()))
            }
            Some(Fault::CrashBefore) => {
                (self.crash)();
                Err(unknown(injected()))
            }
            Some(Fault::CrashAfter) => {
                write(&self.inner)?;
                (self.crash)();
                Err(unknown(injected()))
            }
        }
    }
}

fn injected() -> StoreError {
    StoreError::Engine {
        doing: "writing",
        source: "a fault was injected".into(),
    }
}

impl<S: CheckpointStore> CheckpointStore for Faulty<S> {
    fn latest(&self, origin: &Origin) -> Result<Option<OriginHead>, StoreError> {
        self.alive()?.latest(origin)
    }

    fn compare_and_swap(
        &self,
        swaps: &[HeadSwap],
    ) -> Result<Vec<Result<(), SwapRefusal>>, WriteError> {
        self.write(WriteError::Failed, WriteError::Unknown, |s| {
            s.compare_and_swap(swaps)
        })
    }

    fn origins(
        &self,
        after: Option<&Origin>,
        limit: usize,
    ) -> Result<Vec<(Origin, OriginHead)>, StoreError> {
        self.alive()?.origins(after, limit)
    }

    fn origin_count(&self) -> Result<u64, StoreError> {
        self.alive()?.origin_count()
    }
}

impl<S: LogStore> LogStore for Faulty<S> {
    fn head(&self) -> Result<TreeHead, StoreError> {
        self.alive()?.head()
    }

    fn frontier(&self) -> Result<CompactRange, StoreError> {
        self.alive()?.frontier()
    }

    fn commit_with(
        &self,
        batch: Batch,
        records: Records,
    ) -> Result<(Committed, Recorded), CommitError> {
        self.write(CommitError::Failed, CommitError::Unknown, |s| {
            s.commit_with(batch, records)
        })
    }

    fn settle(&self) -> Result<(), StoreError> {
        let mut plan = self.plan();
        if plan.settling == Settling::Fails {
            plan.stopped = true;
            return Err(injected());
        }
        let left = plan.settling == Settling::Left;
        drop(plan);
        let inner = self.alive()?;
        if left { Ok(()) } else { inner.settle() }
    }

    fn close(&self) -> Result<(), StoreError> {
        self.alive()?.close()
    }

    fn is_settled(&self) -> bool {
        self.plan().settling != Settling::Fails && self.alive().is_ok_and(S::is_settled)
    }

    fn find_leaves(&self, leaf_hashes: &[Hash]) -> Result<Vec<Option<LeafIndex>>, StoreError> {
        self.alive()?.find_leaves(leaf_hashes)
    }

    fn entry(&self, index: LeafIndex) -> Result<Option<Vec<u8>>, StoreError> {
        self.alive()?.entry(index)
    }

    fn leaf_hash(&self, index: LeafIndex) -> Result<Option<Hash>, StoreError> {
        self.alive()?.leaf_hash(index)
    }

    fn tile(&self, tile: TileCoord) -> Result<Option<Vec<u8>>, StoreError> {
        self.alive()?.tile(tile)
    }

    fn bundle(&self, bundle: BundleCoord) -> Result<Option<Vec<u8>>, StoreError> {
        self.alive()?.bundle(bundle)
    }

    fn published(&self) -> Result<Option<Published>, StoreError> {
        self.alive()?.published()
    }

    fn publish(&self, published: Published) -> Result<(), RecordError> {
        self.write(RecordError::Failed, RecordError::Unknown, |s| {
            s.publish(published)
        })
    }

    fn last_signed(&self) -> Result<Option<SignedHead>, StoreError> {
        self.alive()?.last_signed()
    }

    fn record_signing(&self, signed: SignedHead) -> Result<(), RecordError> {
        self.write(RecordError::Failed, RecordError::Unknown, |s| {
            s.record_signing(signed)
        })
    }

    fn landmarks(
        &self,
        kind: Landmark,
        from: LeafIndex,
        limit: usize,
    ) -> Result<Vec<LeafIndex>, StoreError> {
        self.alive()?.landmarks(kind, from, limit)
    }

    fn newest(&self, kind: Landmark) -> Result<Option<LeafIndex>, StoreError> {
        self.alive()?.newest(kind)
    }

    fn history(
        &self,
        origin: &Origin,
        before: Option<LeafIndex>,
        limit: usize,
    ) -> Result<Vec<HistoryItem>, StoreError> {
        self.alive()?.history(origin, before, limit)
    }
}
