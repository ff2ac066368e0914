//! [`LogStore`]: commits, searches, and reads of the tree.

use std::sync::atomic::Ordering;

use redb::{ReadableTable, WriteTransaction};

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::Hash;
use jurat_proto::tile::{BundleCoord, EntryBundle, TileCoord};
use jurat_proto::tree::{CompactRange, LeafIndex, TreeHead, TreeSize};

use super::hashes;
use super::heads::{self, swap_all};
use super::journaled::{Owed, unwritten};
use super::landmarks;
use super::pool::Slice;
use super::schema::{
    self, DEDUP, DEDUP_MARK, ENTRIES, LEAVES, META, NODES, PUBLISHED, SIGNED, TILE_LEVEL_MAX, TREE,
    dedup_key, engine, split_dedup_key,
};
use super::{RedbStore, meta, put_meta, read_hashes};
use crate::landmarks::{Landmark, known};
use crate::rules::{check_head, check_signing_time, grown, next_index, prefix};
use crate::{
    Batch, CommitError, Committed, Corruption, HeadRefusal, HistoryItem, LogStore, NewEntry,
    Published, RecordError, Recorded, Records, RefusedSwap, SignedHead, StoreError, WriteError,
};

impl LogStore for RedbStore {
    fn head(&self) -> Result<TreeHead, StoreError> {
        Ok(self.shared()?.head)
    }

    fn frontier(&self) -> Result<CompactRange, StoreError> {
        Ok(self.shared()?.frontier.clone())
    }

    // Spec: STO-03, STO-04
    fn commit_with(
        &self,
        batch: Batch,
        records: Records,
    ) -> Result<(Committed, Recorded), CommitError> {
        let mut writer = self.writer().map_err(CommitError::Failed)?;
        let recorded = self.check_records(&records)?;
        let kept = (&records, &recorded);
        if let Some((committed, mark)) = self.commit_ahead(&mut writer, &batch, kept)? {
            let head = committed.head;
            writer.owed = Some(Owed { batch, head, mark });
            self.owing.store(true, Ordering::Release);
            return Ok((committed, recorded));
        }
        let finish = |write: WriteTransaction, head| match &mut writer.journal {
            Some(journal) => self.finish_journaled(journal, write, &batch, kept, head),
            None => Ok(self.finish(write)?),
        };
        let committed = self.write_batch(&batch, kept, finish)?;
        Ok((committed, recorded))
    }

    // Spec: STO-50
    fn settle(&self) -> Result<(), StoreError> {
        let settled = self.catch_up().and_then(|()| self.check_running());
        settled.map_err(|error| self.first_cause(error))
    }

    fn close(&self) -> Result<(), StoreError> {
        self.close_journal().map_err(unwritten)
    }

    // Spec: SVC-80
    fn is_settled(&self) -> bool {
        // In this order: who had it done and failed stops the store before nothing is owed.
        !self.owing.load(Ordering::Acquire) && self.check_running().is_ok()
    }

    // Spec: STO-10
    fn find_leaves(&self, leaf_hashes: &[Hash]) -> Result<Vec<Option<LeafIndex>>, StoreError> {
        const DOING: &str = "searching the dedup index";
        let mut found = vec![None; leaf_hashes.len()];
        // Memory first, the snapshot second: a key that leaves the pool is in the table before.
        let mut wanted = self.candidates(leaf_hashes)?;
        if wanted.is_empty() {
            return Ok(found);
        }
        wanted.sort_unstable_by_key(|candidate| candidate.prefix);
        let read = self.snapshot()?;
        let dedup = read.open_table(DEDUP).map_err(engine(DOING))?;
        let hashes = read_hashes(&read)?;
        for Candidate {
            prefix,
            wanted,
            at,
            pooled,
        } in wanted
        {
            // Eight bytes of a hash can be made to collide; all 32 are compared.
            let keys = dedup_key(prefix, 0)..=dedup_key(prefix, u64::MAX);
            let mut first = None;
            for row in dedup.range(keys).map_err(engine(DOING))? {
                let (_, index) = split_dedup_key(row.map_err(engine(DOING))?.0.value());
                if hashes.leaf_hash(index)? == wanted {
                    first = Some(index);
                    break;
                }
            }
            for index in pooled {
                if first.is_none_or(|first| index < first) && hashes.leaf_hash(index)? == wanted {
                    first = Some(index);
                    break;
                }
            }
            if let Some(slot) = found.get_mut(at) {
                *slot = first.and_then(LeafIndex::new);
            }
        }
        Ok(found)
    }

    fn entry(&self, index: LeafIndex) -> Result<Option<Vec<u8>>, StoreError> {
        let size = self.shared()?.head.size;
        if index.get() >= size.get() {
            return Ok(None);
        }
        let table = self
            .snapshot()?
            .open_table(ENTRIES)
            .map_err(engine("reading an entry"))?;
        let row = table.get(index.get()).map_err(engine("reading an entry"))?;
        let row = row.ok_or(Corruption::EntryMissing { index, size })?;
        Ok(Some(row.value().to_vec()))
    }

    fn leaf_hash(&self, index: LeafIndex) -> Result<Option<Hash>, StoreError> {
        if index.get() >= self.size()? {
            return Ok(None);
        }
        read_hashes(&self.snapshot()?)?
            .leaf_hash(index.get())
            .map(Some)
    }

    // Spec: STO-17
    fn tile(&self, tile: TileCoord) -> Result<Option<Vec<u8>>, StoreError> {
        if !tile.is_covered_by(self.shared()?.head.size) {
            return Ok(None);
        }
        let hashes = read_hashes(&self.snapshot()?)?;
        let first = tile.index() * 256;
        hashes.bytes(tile.level(), first, tile.width()).map(Some)
    }

    // Spec: STO-17
    fn bundle(&self, bundle: BundleCoord) -> Result<Option<Vec<u8>>, StoreError> {
        const DOING: &str = "reading an entry bundle";
        let size = self.shared()?.head.size;
        if !bundle.is_covered_by(size) {
            return Ok(None);
        }
        let table = self
            .snapshot()?
            .open_table(ENTRIES)
            .map_err(engine(DOING))?;
        let first = bundle.first();
        let end = first + u64::from(bundle.width());
        let mut rows = Vec::with_capacity(usize::from(bundle.width()));
        for (expected, row) in (first..).zip(table.range(first..end).map_err(engine(DOING))?) {
            let (index, value) = row.map_err(engine(DOING))?;
            if index.value() != expected {
                break;
            }
            rows.push(value);
        }
        if rows.len() != usize::from(bundle.width()) {
            let index = first + u64::try_from(rows.len()).unwrap_or(0);
            let index = LeafIndex::new(index).unwrap_or_default();
            return Err(Corruption::EntryMissing { index, size }.into());
        }
        let entries: Vec<&[u8]> = rows.iter().map(redb::AccessGuard::value).collect();
        let bytes = EntryBundle::encode(&entries);
        bytes.map(Some).map_err(|_| {
            Corruption::Row {
                row: "entries",
                bytes: 0,
            }
            .into()
        })
    }

    fn published(&self) -> Result<Option<Published>, StoreError> {
        meta(&self.snapshot()?, PUBLISHED)?
            .map(|row| schema::parse_published(&row))
            .transpose()
    }

    // Spec: STO-08
    fn publish(&self, published: Published) -> Result<(), RecordError> {
        let _writer = self.writer().map_err(RecordError::Failed)?;
        self.check_publish(&published)?;
        Ok(self.write_meta(PUBLISHED, &schema::published_bytes(&published))?)
    }

    fn last_signed(&self) -> Result<Option<SignedHead>, StoreError> {
        meta(&self.snapshot()?, SIGNED)?
            .map(|row| schema::parse_signed(&row))
            .transpose()
    }

    // Spec: STO-09
    fn record_signing(&self, signed: SignedHead) -> Result<(), RecordError> {
        let _writer = self.writer().map_err(RecordError::Failed)?;
        self.check_signing(&signed)?;
        Ok(self.write_meta(SIGNED, &schema::signed_bytes(&signed))?)
    }

    // Spec: STO-32
    fn landmarks(
        &self,
        kind: Landmark,
        from: LeafIndex,
        limit: usize,
    ) -> Result<Vec<LeafIndex>, StoreError> {
        let size = self.size()?;
        let rows = self.landmark_rows_of(kind, from.get(), limit)?;
        Ok(rows
            .into_iter()
            .filter_map(|index| known(index, size))
            .collect())
    }

    fn newest(&self, kind: Landmark) -> Result<Option<LeafIndex>, StoreError> {
        Ok(self.newest_landmark(kind)?.and_then(LeafIndex::new))
    }

    fn history(
        &self,
        origin: &Origin,
        before: Option<LeafIndex>,
        limit: usize,
    ) -> Result<Vec<HistoryItem>, StoreError> {
        heads::history(&self.snapshot()?, origin, before, limit)
    }
}

/// A leaf hash that memory does not rule out.
struct Candidate {
    prefix: u64,
    wanted: Hash,
    /// Its place in the question.
    at: usize,
    /// Entries in the pool with that prefix.
    pooled: Vec<u64>,
}

impl RedbStore {
    /// A commit under the lock of writers, ended by `finish`, after which the memory follows.
    pub(super) fn write_batch(
        &self,
        batch: &Batch,
        (records, recorded): (&Records, &Recorded),
        finish: impl FnOnce(WriteTransaction, TreeHead) -> Result<(), CommitError>,
    ) -> Result<Committed, CommitError> {
        let (mut frontier, slice) = {
            let shared = self.shared_as_it_is().map_err(CommitError::Failed)?;
            (
                shared.frontier.clone(),
                shared.pool.slice(batch.entries.len()),
            )
        };
        let first_index = next_index(frontier.size());
        if frontier.head() != batch.expected {
            return Err(CommitError::Conflict {
                current: frontier.head(),
            });
        }
        self.fill_filter(batch.entries.len())
            .map_err(CommitError::Failed)?;
        let write = self.begin_write().map_err(CommitError::Failed)?;
        // An early return drops the transaction, which rolls it back.
        append(&write, batch, &mut frontier, &slice)?;
        put_records(&write, records, recorded).map_err(CommitError::Failed)?;
        let head = frontier.head();
        finish(write, head)?;
        let keys = (first_index.get()..)
            .zip(&batch.entries)
            .map(|(index, entry)| dedup_key(prefix(entry.leaf_hash()), index));
        let mut shared = self.shared_mut().map_err(CommitError::Unknown)?;
        // Before the pool lets go of them: a search that misses a key there must pass the filter.
        self.filter.insert_keys(&slice.keys);
        shared.pool.committed(&slice, keys, head.size.get());
        shared.head = head;
        shared.frontier = frontier;
        Ok(Committed { head, first_index })
    }

    /// The leaf hashes that are in the pool or that the filter lets through to the table.
    fn candidates(&self, leaf_hashes: &[Hash]) -> Result<Vec<Candidate>, StoreError> {
        let shared = self.shared()?;
        let filled = shared.unfiltered.is_empty();
        let candidates = leaf_hashes.iter().enumerate().filter_map(|(at, wanted)| {
            let prefix = prefix(wanted);
            let pooled: Vec<u64> = shared.pool.indices(prefix).collect();
            let possible = !pooled.is_empty() || !filled || self.filter.lets_through(prefix);
            possible.then_some(Candidate {
                prefix,
                wanted: *wanted,
                at,
                pooled,
            })
        });
        Ok(candidates.collect())
    }

    /// Whether `head` is one of this tree and not below `current`.
    fn check_own(&self, current: Option<TreeSize>, head: &TreeHead) -> Result<(), RecordError> {
        let committed = self.shared().map_err(RecordError::Failed)?.head;
        let ours = if head.size > committed.size {
            None
        } else {
            let read = self.snapshot().map_err(RecordError::Failed)?;
            let hashes = read_hashes(&read).map_err(RecordError::Failed)?;
            Some(
                hashes
                    .frontier(head.size)
                    .map_err(RecordError::Failed)?
                    .root(),
            )
        };
        Ok(check_head(current, head, committed.size, ours)?)
    }

    fn check_publish(&self, published: &Published) -> Result<(), RecordError> {
        let current = self.published().map_err(RecordError::Failed)?;
        self.check_own(current.map(|current| current.head.size), &published.head)
    }

    fn check_signing(&self, signed: &SignedHead) -> Result<(), RecordError> {
        let current = self.last_signed().map_err(RecordError::Failed)?;
        self.check_own(current.map(|current| current.head.size), &signed.head)?;
        Ok(check_signing_time(current, signed.time)?)
    }

    fn check_records(&self, records: &Records) -> Result<Recorded, CommitError> {
        let signing = records.signing.as_ref();
        let publish = records.publish.as_ref();
        Ok(Recorded {
            signing: refusal(signing.map(|signed| self.check_signing(signed)))?,
            publish: refusal(publish.map(|published| self.check_publish(published)))?,
        })
    }
}

/// A refusal is an answer; what else goes wrong ends the commit, which has not begun.
fn refusal(
    checked: Option<Result<(), RecordError>>,
) -> Result<Option<Result<(), HeadRefusal>>, CommitError> {
    match checked {
        None => Ok(None),
        Some(Ok(())) => Ok(Some(Ok(()))),
        Some(Err(RecordError::Refused(refusal))) => Ok(Some(Err(refusal))),
        Some(Err(RecordError::Failed(error) | RecordError::Unknown(error))) => {
            Err(CommitError::Failed(error))
        }
    }
}

/// Those that were not refused.
fn put_records(
    write: &WriteTransaction,
    records: &Records,
    recorded: &Recorded,
) -> Result<(), StoreError> {
    if let (Some(signed), Some(Ok(()))) = (&records.signing, &recorded.signing) {
        put_meta(write, SIGNED, &schema::signed_bytes(signed))?;
    }
    if let (Some(published), Some(Ok(()))) = (&records.publish, &recorded.publish) {
        put_meta(write, PUBLISHED, &schema::published_bytes(published))?;
    }
    Ok(())
}

/// The part of a commit inside the transaction. Nothing outside it is changed here.
fn append(
    write: &WriteTransaction,
    batch: &Batch,
    frontier: &mut CompactRange,
    slice: &Slice,
) -> Result<(), CommitError> {
    let old = batch.expected.size.get();
    let size = grown(batch.expected.size, batch.entries.len()).ok_or(CommitError::TreeFull)?;
    check_stored_head(write, &batch.expected)?;
    if !batch.entries.is_empty() {
        append_entries(write, old, &batch.entries).map_err(CommitError::Failed)?;
        append_hashes(write, frontier, &batch.entries).map_err(CommitError::Failed)?;
        landmarks::append(write, old, &batch.entries).map_err(CommitError::Failed)?;
        let head = schema::head_bytes(&frontier.head());
        put_meta(write, TREE, &head).map_err(CommitError::Failed)?;
    }
    merge(write, slice).map_err(CommitError::Failed)?;
    let refused: Vec<_> = swap_all(write, &batch.heads, size)
        .map_err(CommitError::Failed)?
        .into_iter()
        .enumerate()
        .filter_map(|(position, swap)| {
            Some(RefusedSwap {
                position,
                refusal: swap.err()?,
            })
        })
        .collect();
    if refused.is_empty() {
        Ok(())
    } else {
        Err(CommitError::HeadsRefused(refused))
    }
}

/// The compare of the compare-and-swap, on the row that the transaction will replace.
// Spec: STO-04
fn check_stored_head(write: &WriteTransaction, expected: &TreeHead) -> Result<(), CommitError> {
    let stored = || {
        let table = write
            .open_table(META)
            .map_err(engine("reading the tree head"))?;
        let row = table.get(TREE).map_err(engine("reading the tree head"))?;
        schema::parse_head(row.as_ref().map_or(&[][..], |row| row.value()))
    };
    let current = stored().map_err(CommitError::Failed)?;
    if current == *expected {
        Ok(())
    } else {
        Err(CommitError::Conflict { current })
    }
}

fn append_entries(
    write: &WriteTransaction,
    first: u64,
    entries: &[NewEntry],
) -> Result<(), StoreError> {
    let mut table = write
        .open_table(ENTRIES)
        .map_err(engine("appending entries"))?;
    let end = std::ops::Bound::<u64>::Unbounded;
    let mut cursor = table
        .upper_bound_mut(end)
        .map_err(engine("appending entries"))?;
    for (index, entry) in (first..).zip(entries) {
        cursor
            .insert_before(index, entry.bytes())
            .map_err(engine("appending entries"))?;
    }
    cursor.close().map_err(engine("appending entries"))
}

/// A right edge that does not grow where the size says that it can.
pub(super) const NO_ROOM: Corruption = Corruption::Row {
    row: "meta/tree",
    bytes: 0,
};

fn append_hashes(
    write: &WriteTransaction,
    frontier: &mut CompactRange,
    entries: &[NewEntry],
) -> Result<(), StoreError> {
    let old = frontier.size().get();
    let mut levels: [Vec<Hash>; 8] = Default::default();
    for entry in entries {
        let appended = frontier.append_with(*entry.leaf_hash(), &mut |node, hash| {
            if node.level % 8 == 0
                && let Some(level) = levels.get_mut(usize::from(node.level / 8))
            {
                level.push(hash);
            }
        });
        // `grown` has seen that there is room.
        appended.map_err(|_| NO_ROOM)?;
    }
    let mut leaves = write
        .open_table(LEAVES)
        .map_err(engine("appending hashes"))?;
    let mut nodes = write
        .open_table(NODES)
        .map_err(engine("appending hashes"))?;
    for (level, hashes) in (0..=TILE_LEVEL_MAX).zip(&levels) {
        let table = if level == 0 { &mut leaves } else { &mut nodes };
        hashes::append(table, level, old >> (8 * level), hashes)?;
    }
    Ok(())
}

fn merge(write: &WriteTransaction, slice: &Slice) -> Result<(), StoreError> {
    const DOING: &str = "merging the dedup index";
    if slice.keys.is_empty() {
        return Ok(());
    }
    let mut table = write.open_table(DEDUP).map_err(engine(DOING))?;
    for key in &slice.keys {
        table.insert(*key, ()).map_err(engine(DOING))?;
    }
    put_meta(write, DEDUP_MARK, &slice.mark.to_bytes())
}

impl From<WriteError> for CommitError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Failed(source) => Self::Failed(source),
            WriteError::Unknown(source) => Self::Unknown(source),
        }
    }
}

impl From<WriteError> for RecordError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Failed(source) => Self::Failed(source),
            WriteError::Unknown(source) => Self::Unknown(source),
        }
    }
}
