//! Where the landmarks are: rows that a commit writes beside its entries.
//!
//! `meta/marks` says how far they are listed. A file of an earlier version has none of it, and one
//! that an earlier version wrote to since lacks the end: what is missing is listed when the store
//! is opened, once, in pieces that each are a transaction.

use redb::{ReadableTable, WriteTransaction};

use jurat_proto::tree::LeafIndex;

use super::schema::{ENTRIES, LANDMARKS, MARKS, META, Marks, engine};
use super::{RedbStore, meta, put_meta};
use crate::landmarks::{self, Landmark};
use crate::{Corruption, NewEntry, StoreError, WriteError};

const DOING: &str = "listing the landmarks";

/// Entries that are looked at in one transaction: a fraction of a second.
const PIECE: u64 = 65_536;

/// The number of a kind in a key; time-stamps have none.
fn code(kind: Landmark) -> Option<u8> {
    match kind {
        Landmark::Key => Some(1),
        Landmark::Clock => Some(2),
        Landmark::Evidence => Some(3),
        Landmark::Timestamp => None,
    }
}

/// Lists the landmarks of a batch that begins at `first`.
// Spec: STO-32
pub(super) fn append(
    write: &WriteTransaction,
    first: u64,
    entries: &[NewEntry],
) -> Result<(), StoreError> {
    let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    let found = landmarks::among(first, entries.iter().map(NewEntry::bytes));
    put(write, first.saturating_add(count), &found)
}

fn put(
    write: &WriteTransaction,
    through: u64,
    found: &[(Landmark, u64)],
) -> Result<(), StoreError> {
    let mut marks = {
        let table = write.open_table(META).map_err(engine(DOING))?;
        let row = table.get(MARKS).map_err(engine(DOING))?;
        row.map_or(Ok(Marks::START), |row| Marks::parse(row.value()))?
    };
    marks.listed_through = through;
    for (kind, index) in found {
        match code(*kind) {
            Some(code) => {
                let mut table = write.open_table(LANDMARKS).map_err(engine(DOING))?;
                table.insert((code, *index), ()).map_err(engine(DOING))?;
            }
            None => marks.timestamp = LeafIndex::new(*index),
        }
    }
    put_meta(write, MARKS, &marks.to_bytes())
}

impl RedbStore {
    /// Lists what is not listed yet.
    // Spec: STO-32
    pub(super) fn list_missing_landmarks(&self) -> Result<(), StoreError> {
        let size = self.size()?;
        let mut at = self.marks()?.listed_through;
        if at > size {
            return Err(Corruption::Row {
                row: "meta/marks",
                bytes: 16,
            }
            .into());
        }
        if size.saturating_sub(at) > PIECE {
            tracing::info!(
                entries.from = at,
                entries.to = size,
                "listing the landmarks of the log, once"
            );
        }
        while at < size {
            let end = size.min(at.saturating_add(PIECE));
            let found = {
                let read = self.snapshot()?;
                let table = read.open_table(ENTRIES).map_err(engine(DOING))?;
                let mut found = Vec::new();
                for row in table.range(at..end).map_err(engine(DOING))? {
                    let (index, entry) = row.map_err(engine(DOING))?;
                    found.extend(landmarks::among(
                        index.value(),
                        std::iter::once(entry.value()),
                    ));
                }
                found
            };
            let write = self.begin_write()?;
            put(&write, end, &found)?;
            self.finish(write).map_err(|error| match error {
                WriteError::Failed(source) | WriteError::Unknown(source) => source,
            })?;
            at = end;
        }
        Ok(())
    }

    pub(super) fn marks(&self) -> Result<Marks, StoreError> {
        let row = meta(&self.snapshot()?, MARKS)?;
        row.map_or(Ok(Marks::START), |row| Marks::parse(&row))
    }

    /// The rows as they are.
    pub(super) fn landmark_rows_of(
        &self,
        kind: Landmark,
        from: u64,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let Some(code) = code(kind) else {
            let newest = self.marks()?.timestamp.map(LeafIndex::get);
            return Ok(newest.filter(|index| *index >= from).into_iter().collect());
        };
        let read = self.snapshot()?;
        let table = match read.open_table(LANDMARKS) {
            Ok(table) => table,
            // Before the first landmark.
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(engine(DOING)(error)),
        };
        let rows = table.range((code, from)..=(code, u64::MAX));
        rows.map_err(engine(DOING))?
            .take(limit)
            .map(|row| Ok(row.map_err(engine(DOING))?.0.value().1))
            .collect()
    }

    pub(super) fn newest_landmark(&self, kind: Landmark) -> Result<Option<u64>, StoreError> {
        let Some(code) = code(kind) else {
            return Ok(self.marks()?.timestamp.map(LeafIndex::get));
        };
        let read = self.snapshot()?;
        let table = match read.open_table(LANDMARKS) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(engine(DOING)(error)),
        };
        let mut rows = table
            .range((code, 0)..=(code, u64::MAX))
            .map_err(engine(DOING))?;
        let newest = rows.next_back().transpose().map_err(engine(DOING))?;
        Ok(newest.map(|row| row.0.value().1))
    }
}
