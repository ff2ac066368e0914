//! [`MemoryStore`]: the reference model of both traits, as simple as it can be.
//!
//! It keeps everything in memory and so breaks, knowingly, the promise of durability: it is for
//! tests and for rehearsals, and for showing what the other backends must do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::Hash;
use jurat_proto::tile::{BundleCoord, EntryBundle, TileCoord};
use jurat_proto::tree::{CompactRange, LeafIndex, TreeFull, TreeHead, TreeSize};

use crate::fsck::{DedupRow, Inspect, Stray};
use crate::landmarks;
use crate::rules::{check_head, check_signing_time, check_swap, grown, next_index, prefix};
use crate::{
    Batch, CheckpointStore, CommitError, Committed, HeadRefusal, HeadSwap, HistoryItem, Landmark,
    LogStore, OriginHead, Published, RecordError, Recorded, Records, RefusedSwap, SignedHead,
    StoreError, SwapRefusal, WriteError,
};

/// Both traits in memory. Nothing survives the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    range: CompactRange,
    entries: Vec<Vec<u8>>,
    /// Tile level -> hashes; level 0 is the leaf hashes.
    levels: Vec<Vec<Hash>>,
    first_with: HashMap<Hash, LeafIndex>,
    origins: Origins,
    published: Option<Published>,
    signed: Option<SignedHead>,
}

/// What a batch's swaps work on, so that a refused batch can be thrown away.
#[derive(Debug, Default, Clone)]
struct Origins {
    heads: BTreeMap<String, OriginHead>,
    history: BTreeMap<String, Vec<HistoryItem>>,
    /// Entries that some history contains.
    carriers: BTreeSet<LeafIndex>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        // A panic while writing can leave at most an unfinished state in a test that has failed.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Origins {
    fn swap(&mut self, swap: &HeadSwap, size: TreeSize) -> Result<(), SwapRefusal> {
        let key = swap.origin.as_str().to_owned();
        let current = self
            .heads
            .get(&key)
            .map(|current| (current.head, current.time));
        check_swap(current, swap, size)?;
        if let Some(log_index) = swap.new.log_index {
            let items = self.history.entry(key.clone()).or_default();
            if items.last().is_none_or(|last| last.log_index < log_index) {
                if !self.carriers.insert(log_index) {
                    return Err(SwapRefusal::EntryTaken { log_index });
                }
                let (size, time) = (swap.new.head.size, swap.new.time);
                items.push(HistoryItem {
                    log_index,
                    size,
                    time,
                });
            }
        }
        self.heads.insert(key, swap.new.clone());
        Ok(())
    }
}

impl State {
    fn append(&mut self, bytes: Vec<u8>, leaf_hash: Hash) -> Result<(), TreeFull> {
        self.first_with
            .entry(leaf_hash)
            .or_insert_with(|| next_index(self.range.size()));
        let levels = &mut self.levels;
        self.range.append_with(leaf_hash, &mut |node, hash| {
            if node.level % 8 == 0 {
                let level = usize::from(node.level / 8);
                if levels.len() <= level {
                    levels.resize_with(level + 1, Vec::new);
                }
                if let Some(hashes) = levels.get_mut(level) {
                    hashes.push(hash);
                }
            }
        })?;
        self.entries.push(bytes);
        Ok(())
    }

    fn leaves(&self) -> &[Hash] {
        self.levels.first().map_or(&[], Vec::as_slice)
    }

    fn root_at(&self, size: TreeSize) -> Option<Hash> {
        let mut range = CompactRange::new();
        for leaf_hash in self.leaves().get(..usize::try_from(size.get()).ok()?)? {
            range.append(*leaf_hash).ok()?;
        }
        Some(range.root())
    }

    fn check(&self, current: Option<TreeSize>, head: &TreeHead) -> Result<(), HeadRefusal> {
        check_head(current, head, self.range.size(), self.root_at(head.size))
    }

    fn publish(&mut self, published: Published) -> Result<(), HeadRefusal> {
        let current = self.published.as_ref().map(|now| now.head.size);
        self.check(current, &published.head)?;
        self.published = Some(published);
        Ok(())
    }

    fn record(&mut self, signed: SignedHead) -> Result<(), HeadRefusal> {
        self.check(self.signed.map(|last| last.head.size), &signed.head)?;
        check_signing_time(self.signed, signed.time)?;
        self.signed = Some(signed);
        Ok(())
    }
}

fn window<T>(items: &[T], index: u64, width: u16) -> Option<&[T]> {
    let start = usize::try_from(index.checked_mul(256)?).ok()?;
    items.get(start..start.checked_add(usize::from(width))?)
}

fn at<T>(items: &[T], index: LeafIndex) -> Option<&T> {
    items.get(usize::try_from(index.get()).ok()?)
}

impl CheckpointStore for MemoryStore {
    fn latest(&self, origin: &Origin) -> Result<Option<OriginHead>, StoreError> {
        Ok(self.read().origins.heads.get(origin.as_str()).cloned())
    }

    fn compare_and_swap(
        &self,
        swaps: &[HeadSwap],
    ) -> Result<Vec<Result<(), SwapRefusal>>, WriteError> {
        let mut state = self.write();
        let size = state.range.size();
        Ok(swaps
            .iter()
            .map(|swap| state.origins.swap(swap, size))
            .collect())
    }

    fn origins(
        &self,
        after: Option<&Origin>,
        limit: usize,
    ) -> Result<Vec<(Origin, OriginHead)>, StoreError> {
        let from = after.map_or(Bound::Unbounded, |origin| Bound::Excluded(origin.as_str()));
        let state = self.read();
        let heads = state
            .origins
            .heads
            .range::<str, _>((from, Bound::Unbounded))
            .take(limit);
        Ok(heads
            .filter_map(|(key, head)| Some((Origin::parse(key).ok()?, head.clone())))
            .collect())
    }

    fn origin_count(&self) -> Result<u64, StoreError> {
        let count = self.read().origins.heads.len();
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
    }
}

impl LogStore for MemoryStore {
    fn head(&self) -> Result<TreeHead, StoreError> {
        Ok(self.read().range.head())
    }

    fn frontier(&self) -> Result<CompactRange, StoreError> {
        Ok(self.read().range.clone())
    }

    fn commit_with(
        &self,
        batch: Batch,
        records: Records,
    ) -> Result<(Committed, Recorded), CommitError> {
        let mut state = self.write();
        let current = state.range.head();
        if batch.expected != current {
            return Err(CommitError::Conflict { current });
        }
        let size = grown(current.size, batch.entries.len()).ok_or(CommitError::TreeFull)?;
        let mut origins = state.origins.clone();
        let refused: Vec<_> = (batch.heads.iter().enumerate())
            .filter_map(|(position, swap)| {
                let refusal = origins.swap(swap, size).err()?;
                Some(RefusedSwap { position, refusal })
            })
            .collect();
        if !refused.is_empty() {
            return Err(CommitError::HeadsRefused(refused));
        }
        state.origins = origins;
        let recorded = Recorded {
            signing: records.signing.map(|signed| state.record(signed)),
            publish: records.publish.map(|published| state.publish(published)),
        };
        for entry in batch.entries {
            let (bytes, leaf_hash) = entry.into_parts();
            state
                .append(bytes, leaf_hash)
                .map_err(|TreeFull| CommitError::TreeFull)?;
        }
        let committed = Committed {
            head: state.range.head(),
            first_index: next_index(current.size),
        };
        Ok((committed, recorded))
    }

    fn find_leaves(&self, leaf_hashes: &[Hash]) -> Result<Vec<Option<LeafIndex>>, StoreError> {
        let state = self.read();
        Ok(leaf_hashes
            .iter()
            .map(|hash| state.first_with.get(hash).copied())
            .collect())
    }

    fn entry(&self, index: LeafIndex) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(at(&self.read().entries, index).cloned())
    }

    fn leaf_hash(&self, index: LeafIndex) -> Result<Option<Hash>, StoreError> {
        Ok(at(self.read().leaves(), index).copied())
    }

    fn tile(&self, tile: TileCoord) -> Result<Option<Vec<u8>>, StoreError> {
        let state = self.read();
        let hashes = state
            .levels
            .get(usize::from(tile.level()))
            .and_then(|hashes| window(hashes, tile.index(), tile.width()));
        Ok(hashes.map(|hashes| hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()))
    }

    fn bundle(&self, bundle: BundleCoord) -> Result<Option<Vec<u8>>, StoreError> {
        let state = self.read();
        let Some(entries) = window(&state.entries, bundle.index(), bundle.width()) else {
            return Ok(None);
        };
        let entries: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
        Ok(EntryBundle::encode(&entries).ok())
    }

    fn published(&self) -> Result<Option<Published>, StoreError> {
        Ok(self.read().published.clone())
    }

    fn publish(&self, published: Published) -> Result<(), RecordError> {
        Ok(self.write().publish(published)?)
    }

    fn last_signed(&self) -> Result<Option<SignedHead>, StoreError> {
        Ok(self.read().signed)
    }

    fn record_signing(&self, signed: SignedHead) -> Result<(), RecordError> {
        Ok(self.write().record(signed)?)
    }

    fn landmarks(
        &self,
        kind: Landmark,
        from: LeafIndex,
        limit: usize,
    ) -> Result<Vec<LeafIndex>, StoreError> {
        let state = self.read();
        let entries = state.entries.iter().map(Vec::as_slice);
        Ok(landmarks::among(0, entries)
            .into_iter()
            .filter(|(found, index)| *found == kind && *index >= from.get())
            .filter_map(|(_, index)| LeafIndex::new(index))
            .take(limit)
            .collect())
    }

    fn newest(&self, kind: Landmark) -> Result<Option<LeafIndex>, StoreError> {
        let state = self.read();
        let newest = state
            .entries
            .iter()
            .rposition(|entry| Landmark::of(entry) == Some(kind));
        let newest = newest.and_then(|index| u64::try_from(index).ok());
        Ok(newest.and_then(LeafIndex::new))
    }

    fn history(
        &self,
        origin: &Origin,
        before: Option<LeafIndex>,
        limit: usize,
    ) -> Result<Vec<HistoryItem>, StoreError> {
        let state = self.read();
        let items = state
            .origins
            .history
            .get(origin.as_str())
            .map_or(&[][..], Vec::as_slice);
        let items = items.iter().rev().copied();
        Ok(items
            .filter(|item| before.is_none_or(|before| item.log_index < before))
            .take(limit)
            .collect())
    }
}

impl Inspect for MemoryStore {
    fn landmark_rows(&self) -> Result<Vec<(Landmark, u64)>, StoreError> {
        let state = self.read();
        Ok(landmarks::among(0, state.entries.iter().map(Vec::as_slice)))
    }

    fn dedup_rows(&self, visit: &mut dyn FnMut(DedupRow)) -> Result<TreeSize, StoreError> {
        let state = self.read();
        for (index, leaf_hash) in (0..).zip(state.leaves()) {
            visit(DedupRow {
                prefix: prefix(leaf_hash),
                index,
            });
        }
        Ok(state.range.size())
    }

    fn history_rows(&self, visit: &mut dyn FnMut(u64)) -> Result<(), StoreError> {
        let state = self.read();
        let items = state.origins.history.values().flatten();
        items.for_each(|item| visit(item.log_index.get()));
        Ok(())
    }

    fn dedup_len(&self) -> Result<u64, StoreError> {
        Ok(self.read().range.size().get())
    }

    fn strays(&self) -> Result<Vec<Stray>, StoreError> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{self, Fixture};

    struct Memory;

    impl Fixture for Memory {
        type Store = MemoryStore;

        fn create(&self) -> MemoryStore {
            MemoryStore::new()
        }

        fn reopen(&self, store: MemoryStore) -> MemoryStore {
            store
        }
    }

    #[test]
    fn the_reference_model_conforms() {
        conformance::all(&Memory);
    }
}
