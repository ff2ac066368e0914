//! [`Inspect`]: what fsck sees of the file.

use redb::{ReadableTable, ReadableTableMetadata};

use jurat_proto::hash::Hash;
use jurat_proto::tree::TreeSize;

use super::schema::{
    DEDUP, DEDUP_MARK, ENTRIES, FORMAT, HISTORY, JOURNAL, MARKS, META, PUBLISHED, ROW, SIGNED,
    TILE_LEVEL_MAX, TREE, WAL, engine, split_dedup_key, split_node_row,
};
use super::{RedbStore, read_hashes, read_mark};
use crate::fsck::{DedupRow, Inspect, Stray};
use crate::{Landmark, StoreError};

impl Inspect for RedbStore {
    fn dedup_rows(&self, visit: &mut dyn FnMut(DedupRow)) -> Result<TreeSize, StoreError> {
        const DOING: &str = "walking the dedup index";
        let read = self.snapshot()?;
        let mark = read_mark(&read, self.shared()?.head.size)?;
        let table = read.open_table(DEDUP).map_err(engine(DOING))?;
        for row in table.iter().map_err(engine(DOING))? {
            let (prefix, index) = split_dedup_key(row.map_err(engine(DOING))?.0.value());
            visit(DedupRow { prefix, index });
        }
        Ok(TreeSize::new(mark.merged_through).unwrap_or_default())
    }

    fn strays(&self) -> Result<Vec<Stray>, StoreError> {
        const DOING: &str = "looking for stray rows";
        let size = self.size()?;
        let read = self.snapshot()?;
        let mut strays = Vec::new();
        let entries = read.open_table(ENTRIES).map_err(engine(DOING))?;
        for row in entries.range(size..).map_err(engine(DOING))? {
            strays.push(Stray::Entry {
                index: row.map_err(engine(DOING))?.0.value(),
            });
        }
        let history = read.open_table(HISTORY).map_err(engine(DOING))?;
        for row in history.range(size..).map_err(engine(DOING))? {
            strays.push(Stray::History {
                index: row.map_err(engine(DOING))?.0.value(),
            });
        }
        let hashes = read_hashes(&read)?;
        let tables = [
            (&hashes.leaves, 0..=0_u8),
            (&hashes.nodes, 1..=TILE_LEVEL_MAX),
        ];
        for (table, levels) in tables {
            for row in table.iter().map_err(engine(DOING))? {
                let (key, value) = row.map_err(engine(DOING))?;
                let (level, row) = split_node_row(key.value());
                let have = if levels.contains(&level) {
                    size >> (8 * level)
                } else {
                    0
                };
                let should = have.saturating_sub(row.saturating_mul(ROW)).min(ROW);
                let bytes = value.value().len();
                if u64::try_from(bytes / Hash::LEN).unwrap_or(0) != should
                    || bytes % Hash::LEN != 0
                    || bytes == 0
                {
                    strays.push(Stray::HashRow { level, row, bytes });
                }
            }
        }
        let meta = read.open_table(META).map_err(engine(DOING))?;
        for row in meta.iter().map_err(engine(DOING))? {
            let name = row.map_err(engine(DOING))?.0.value().to_owned();
            let known = [
                FORMAT, TREE, DEDUP_MARK, PUBLISHED, SIGNED, WAL, JOURNAL, MARKS,
            ];
            if !known.contains(&name.as_str()) {
                strays.push(Stray::Meta { name });
            }
        }
        Ok(strays)
    }

    fn landmark_rows(&self) -> Result<Vec<(Landmark, u64)>, StoreError> {
        let mut rows = Vec::new();
        for kind in Landmark::ALL {
            let found = self.landmark_rows_of(kind, 0, usize::MAX)?;
            rows.extend(found.into_iter().map(|index| (kind, index)));
        }
        Ok(rows)
    }

    fn history_rows(&self, visit: &mut dyn FnMut(u64)) -> Result<(), StoreError> {
        const DOING: &str = "walking the histories";
        let read = self.snapshot()?;
        let table = read.open_table(HISTORY).map_err(engine(DOING))?;
        for row in table.iter().map_err(engine(DOING))? {
            visit(row.map_err(engine(DOING))?.0.value());
        }
        Ok(())
    }

    fn dedup_len(&self) -> Result<u64, StoreError> {
        let table = self
            .snapshot()?
            .open_table(DEDUP)
            .map_err(engine("counting rows"))?;
        table.len().map_err(engine("counting rows"))
    }
}
