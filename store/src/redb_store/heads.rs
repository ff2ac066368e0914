//! [`CheckpointStore`]: origin heads, their swaps, and the history behind them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use redb::{
    AccessGuard, ReadTransaction, ReadableTable, ReadableTableMetadata as _, Table,
    WriteTransaction,
};

use jurat_proto::checkpoint::Origin;
use jurat_proto::key::UnixSeconds;
use jurat_proto::tree::{LeafIndex, TreeHead, TreeSize};

use super::schema::{
    HISTORY, HistoryRow, ORIGINS, OriginRow, PLACE, TIPS, WAL, WAL_FILES, engine, log_files_bytes,
    parse_log_files, parse_place, parse_wal_mark, place_bytes, tip_bytes, wal_mark_bytes,
};
use super::{RedbStore, meta, put_meta};
use crate::rules::check_swap;
use crate::wal::{FileId, Placed, WalMark};
use crate::{
    CheckpointStore, Corruption, HeadSwap, HistoryItem, OriginHead, StoreError, SwapRefusal,
    WriteError,
};

impl CheckpointStore for RedbStore {
    fn latest(&self, origin: &Origin) -> Result<Option<OriginHead>, StoreError> {
        let table = self
            .snapshot()?
            .open_table(ORIGINS)
            .map_err(engine("reading a head"))?;
        let row = table
            .get(origin.as_str())
            .map_err(engine("reading a head"))?;
        row.map(|row| Ok(OriginRow::parse(row.value())?.head))
            .transpose()
    }

    // Spec: STO-06
    fn compare_and_swap(&self, swaps: &[HeadSwap]) -> Result<Swapped, WriteError> {
        let _writer = self.writer().map_err(WriteError::Failed)?;
        let size = self.shared().map_err(WriteError::Failed)?.head.size;
        let write = self.begin_write().map_err(WriteError::Failed)?;
        let swapped = swap_all(&write, swaps, size).map_err(WriteError::Failed)?;
        if swapped.iter().any(Result::is_ok) {
            self.finish(write)?;
        }
        Ok(swapped)
    }

    fn origins(
        &self,
        after: Option<&Origin>,
        limit: usize,
    ) -> Result<Vec<(Origin, OriginHead)>, StoreError> {
        let table = self
            .snapshot()?
            .open_table(ORIGINS)
            .map_err(engine("listing heads"))?;
        let from = after.map_or(Bound::Unbounded, |origin| Bound::Excluded(origin.as_str()));
        let rows = table
            .range::<&str>((from, Bound::Unbounded))
            .map_err(engine("listing heads"))?;
        rows.take(limit)
            .map(|row| {
                let (key, value) = row.map_err(engine("listing heads"))?;
                let bytes = key.value().len();
                let origin = Origin::parse(key.value()).map_err(|_| Corruption::Row {
                    row: "origins",
                    bytes,
                })?;
                Ok((origin, OriginRow::parse(value.value())?.head))
            })
            .collect()
    }

    fn origin_count(&self) -> Result<u64, StoreError> {
        self.snapshot()?
            .open_table(ORIGINS)
            .map_err(engine("counting heads"))?
            .len()
            .map_err(engine("counting heads"))
    }
}

impl RedbStore {
    /// [`CheckpointStore::latest`] of a store behind a write-ahead log, where each head stands in
    /// two tables: that of a page that was lost, or is an old one, is neither missed nor believed.
    ///
    /// # Errors
    /// Also when the two tables do not say the same.
    // Spec: STO-25
    pub(crate) fn latest_twice(&self, origin: &Origin) -> Result<Option<OriginHead>, StoreError> {
        let read = |row: &[u8]| Ok(OriginRow::parse(row)?.head);
        self.read_twice(origin, read, |head| (head.head, head.time))
    }

    /// What [`Self::latest_twice`] says, without the note.
    ///
    /// # Errors
    /// As for [`Self::latest_twice`].
    // Spec: STO-25
    pub(crate) fn tip_twice(&self, origin: &Origin) -> Result<Option<Tip>, StoreError> {
        self.read_twice(origin, OriginRow::parse_head, |tip| *tip)
    }

    fn read_twice<T>(
        &self,
        origin: &Origin,
        parse: impl FnOnce(&[u8]) -> Result<T, StoreError>,
        tip: impl FnOnce(&T) -> Tip,
    ) -> Result<Option<T>, StoreError> {
        let (read, doing) = (self.snapshot()?, "reading a head");
        let key = origin.as_str();
        let table = read.open_table(ORIGINS).map_err(engine(doing))?;
        let row = table.get(key).map_err(engine(doing))?;
        let found = row.map(|row| parse(row.value())).transpose()?;
        let wanted = found.as_ref().map(tip);
        let wanted = wanted.map(|(head, time)| tip_bytes(&head, time));
        let table = read.open_table(TIPS).map_err(engine(doing))?;
        let row = table.get(key).map_err(engine(doing))?;
        if row.as_ref().map(AccessGuard::value) != wanted.as_deref() {
            let origin = origin.clone();
            return Err(Corruption::TwoHeads { origin }.into());
        }
        Ok(found)
    }

    /// Whether there is a row for an origin, right or wrong.
    pub(crate) fn has_head(&self, origin: &Origin) -> Result<bool, StoreError> {
        const DOING: &str = "counting heads";
        let table = self.snapshot()?.open_table(ORIGINS);
        let row = table.map_err(engine(DOING))?.get(origin.as_str());
        Ok(row.map_err(engine(DOING))?.is_some())
    }

    /// How far this file goes, if a write-ahead log was ever in front of it.
    pub(crate) fn wal_mark(&self) -> Result<Option<WalMark>, StoreError> {
        let row = meta(&self.snapshot()?, WAL)?;
        row.map(|row| parse_wal_mark(&row)).transpose()
    }

    /// What this file says of where it is, if anything.
    pub(crate) fn placed(&self) -> Result<Option<Placed>, StoreError> {
        let row = meta(&self.snapshot()?, PLACE)?;
        row.map(|row| parse_place(&row)).transpose()
    }

    /// Says where this file is, and in which files its log is if that is given, durably.
    pub(crate) fn place(
        &self,
        placed: &Placed,
        log_files: Option<&[FileId; 2]>,
    ) -> Result<(), WriteError> {
        let _writer = self.writer().map_err(WriteError::Failed)?;
        let write = self.begin_write().map_err(WriteError::Failed)?;
        let put = |name, row: &[u8]| put_meta(&write, name, row).map_err(WriteError::Failed);
        put(PLACE, &place_bytes(placed))?;
        if let Some(files) = log_files {
            put(WAL_FILES, &log_files_bytes(files))?;
        }
        self.finish(write)
    }

    /// In which files the log was, if that is recorded.
    pub(crate) fn log_files(&self) -> Result<Option<[FileId; 2]>, StoreError> {
        let row = meta(&self.snapshot()?, WAL_FILES)?;
        row.map(|row| parse_log_files(&row)).transpose()
    }

    /// Says in which files the log is, durably.
    pub(crate) fn record_log_files(&self, files: &[FileId; 2]) -> Result<(), WriteError> {
        let _writer = self.writer().map_err(WriteError::Failed)?;
        self.write_meta(WAL_FILES, &log_files_bytes(files))
    }

    /// Takes over heads that are durable in a write-ahead log, and says so in the last of the
    /// transactions that it takes. They are in the order of the table, so that each page is visited
    /// once, and of a bounded size: one transaction for all would have its pages in memory until
    /// the end, and its wait for the disk would hold up those for the log.
    ///
    /// When it ends in between, some of the heads are here and the log has them all: taking them
    /// over again changes nothing.
    ///
    /// # Errors
    /// As for [`CheckpointStore::compare_and_swap`]; and a head that would go back.
    pub(crate) fn apply_heads(
        &self,
        heads: &HashMap<Origin, OriginHead>,
        mark: WalMark,
    ) -> Result<(), WriteError> {
        let _writer = self.writer().map_err(WriteError::Failed)?;
        let sorted: BTreeMap<&Origin, &OriginHead> = heads.iter().collect();
        let mut sorted = sorted.into_iter().peekable();
        loop {
            let write = self.begin_write().map_err(WriteError::Failed)?;
            let part = sorted.by_ref().take(HEADS_A_COMMIT);
            put_heads(&write, part).map_err(WriteError::Failed)?;
            if sorted.peek().is_none() {
                put_meta(&write, WAL, &wal_mark_bytes(&mark)).map_err(WriteError::Failed)?;
                return self.finish(write);
            }
            self.finish(write)?;
        }
    }
}

/// Two megabytes of pages when each head is on a page of its own: the wait for more of them would
/// hold up those for the log.
const HEADS_A_COMMIT: usize = 512;

/// What is said of an origin besides its note.
pub(crate) type Tip = (TreeHead, UnixSeconds);

fn put_heads<'a>(
    write: &WriteTransaction,
    heads: impl Iterator<Item = (&'a Origin, &'a OriginHead)>,
) -> Result<(), StoreError> {
    const DOING: &str = "taking over heads from the log";
    let mut table = write.open_table(ORIGINS).map_err(engine(DOING))?;
    let mut tips = write.open_table(TIPS).map_err(engine(DOING))?;
    for (origin, new) in heads {
        let key = origin.as_str();
        let tip = tip_bytes(&new.head, new.time);
        let tipped = tips.insert(key, tip.as_slice()).map_err(engine(DOING))?;
        let tipped = tipped.map(|row| row.value().to_vec());
        let row = OriginRow {
            head: new.clone(),
            newest: None,
        };
        let bytes = row.to_bytes();
        let before = table.insert(key, bytes.as_slice()).map_err(engine(DOING))?;
        // Looked at once it is replaced, which spares a search. An error undoes all of it. What is
        // damaged, or not the same in both tables, is older than what the log holds, and gone.
        let current = before
            .map(|row| OriginRow::parse_head(row.value()))
            .transpose();
        let current = current.and_then(|current| {
            let wanted = current.map(|(head, time)| tip_bytes(&head, time));
            let origin = origin.clone();
            if tipped == wanted {
                Ok(current)
            } else {
                Err(Corruption::TwoHeads { origin }.into())
            }
        });
        let current = match current {
            Ok(current) => current,
            Err(error) => {
                tracing::error!(%origin, %error, "a damaged head was replaced by a newer one");
                continue;
            }
        };
        let swap = HeadSwap {
            origin: origin.clone(),
            expected: current.map(|(head, _)| head),
            new: row.head,
        };
        if let Err(refusal) = check_swap(current, &swap, TreeSize::ZERO) {
            let (origin, refusal) = (swap.origin, Box::new(refusal));
            return Err(Corruption::WalGoesBack { origin, refusal }.into());
        }
    }
    Ok(())
}

/// What became of each swap.
pub(super) type Swapped = Vec<Result<(), SwapRefusal>>;

/// Applies swaps in order inside a transaction, in a store whose tree gets `size` entries.
pub(super) fn swap_all(
    write: &WriteTransaction,
    swaps: &[HeadSwap],
    size: TreeSize,
) -> Result<Swapped, StoreError> {
    if swaps.is_empty() {
        return Ok(Vec::new());
    }
    let mut origins = write
        .open_table(ORIGINS)
        .map_err(engine("swapping heads"))?;
    let mut history = write
        .open_table(HISTORY)
        .map_err(engine("swapping heads"))?;
    swaps
        .iter()
        .map(|swap| swap_one(&mut origins, &mut history, swap, size))
        .collect()
}

fn swap_one(
    origins: &mut Table<'_, &'static str, &'static [u8]>,
    history: &mut Table<'_, u64, &'static [u8; 24]>,
    swap: &HeadSwap,
    size: TreeSize,
) -> Result<Result<(), SwapRefusal>, StoreError> {
    const DOING: &str = "swapping heads";
    let key = swap.origin.as_str();
    let current = match origins.get(key).map_err(engine(DOING))? {
        Some(row) => Some(OriginRow::parse(row.value())?),
        None => None,
    };
    let head = current.as_ref().map(|row| (row.head.head, row.head.time));
    if let Err(refusal) = check_swap(head, swap, size) {
        return Ok(Err(refusal));
    }
    let mut newest = current.and_then(|row| row.newest);
    if let Some(index) = swap.new.log_index
        && newest.is_none_or(|newest| newest < index)
    {
        if history.get(index.get()).map_err(engine(DOING))?.is_some() {
            return Ok(Err(SwapRefusal::EntryTaken { log_index: index }));
        }
        let (size, time) = (swap.new.head.size, swap.new.time);
        let row = HistoryRow {
            previous: newest,
            size,
            time,
        };
        history
            .insert(index.get(), &row.to_bytes())
            .map_err(engine(DOING))?;
        newest = Some(index);
    }
    let row = OriginRow {
        head: swap.new.clone(),
        newest,
    };
    origins
        .insert(key, row.to_bytes().as_slice())
        .map_err(engine(DOING))?;
    Ok(Ok(()))
}

// Spec: STO-18
pub(super) fn history(
    read: &ReadTransaction,
    origin: &Origin,
    before: Option<LeafIndex>,
    limit: usize,
) -> Result<Vec<HistoryItem>, StoreError> {
    const DOING: &str = "reading history";
    let origins = read.open_table(ORIGINS).map_err(engine(DOING))?;
    let history = read.open_table(HISTORY).map_err(engine(DOING))?;
    let newest = match origins.get(origin.as_str()).map_err(engine(DOING))? {
        Some(row) => OriginRow::parse(row.value())?.newest,
        None => None,
    };
    let mut items = Vec::new();
    let mut next = newest;
    while let Some(log_index) = next
        && items.len() < limit
    {
        let row = history.get(log_index.get()).map_err(engine(DOING))?;
        let row = row.ok_or(Corruption::History { index: log_index })?;
        let HistoryRow {
            previous,
            size,
            time,
        } = HistoryRow::parse(row.value())?;
        if previous.is_some_and(|previous| previous >= log_index) {
            return Err(Corruption::History { index: log_index }.into());
        }
        if before.is_none_or(|before| log_index < before) {
            items.push(HistoryItem {
                log_index,
                size,
                time,
            });
        }
        next = previous;
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use jurat_proto::hash::sha256;

    use super::*;
    use crate::redb_store::RedbOptions;
    use crate::simulated_disk::SimulatedDisk;

    // Spec: STO-38
    #[test]
    fn a_damaged_row_is_replaced_by_a_newer_head_from_the_log() {
        let options = RedbOptions::default();
        let disk = SimulatedDisk::with_store(options);
        let store = disk.open(options).unwrap();
        let write = store.begin_write().unwrap();
        let of_size = |size| OriginHead {
            head: TreeHead {
                size: TreeSize::new(size).unwrap(),
                root_hash: sha256(b"7"),
            },
            time: UnixSeconds::new(8).unwrap(),
            note: b"note".to_vec(),
            log_index: None,
        };
        // One is no row, one is a row whose size turned into a larger one.
        let turned = OriginRow {
            head: of_size(1 << 40),
            newest: None,
        };
        let mut table = write.open_table(ORIGINS).unwrap();
        table.insert("example.com/1", &b"junk"[..]).unwrap();
        let turned = turned.to_bytes();
        table.insert("example.com/2", turned.as_slice()).unwrap();
        drop(table);
        store.finish(write).unwrap();
        let origins = [1, 2].map(|n| Origin::parse(&format!("example.com/{n}")).unwrap());
        let new = of_size(7);
        let mark = WalMark {
            generation: 1,
            end: sha256(b"end"),
            open: true,
        };
        for origin in &origins {
            assert!(store.tip_twice(origin).is_err());
        }
        let heads = origins
            .each_ref()
            .map(|origin| (origin.clone(), new.clone()));
        store.apply_heads(&HashMap::from(heads), mark).unwrap();
        for origin in &origins {
            assert_eq!(store.latest_twice(origin).unwrap(), Some(new.clone()));
        }
    }
}
