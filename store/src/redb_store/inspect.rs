//! [`Inspect`]: what fsck sees of the file.

use redb::{ReadableTable, ReadableTableMetadata};

use jurat_proto::hash::Hash;
use jurat_proto::tree::TreeSize;

use super::schema::{
    DEDUP, ENTRIES, HISTORY, ROW, TILE_LEVEL_MAX, engine, node_row, split_dedup_key,
};
use super::{RedbStore, read_hashes, read_mark};
use crate::StoreError;
use crate::fsck::{DedupRow, Inspect, Stray};

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
        for level in 0..=TILE_LEVEL_MAX {
            let table = if level == 0 {
                &hashes.leaves
            } else {
                &hashes.nodes
            };
            let have = size >> (8 * level);
            // The last row that should exist may be too long; any row after it is too much.
            let last = have.saturating_sub(1) / ROW;
            let rows = table.range(node_row(level, last)..node_row(level + 1, 0));
            for row in rows.map_err(engine(DOING))? {
                let (key, value) = row.map_err(engine(DOING))?;
                let row = key.value() - node_row(level, 0);
                let should = have.saturating_sub(row * ROW).min(ROW);
                let bytes = value.value().len();
                if u64::try_from(bytes / Hash::LEN).unwrap_or(0) != should || bytes % Hash::LEN != 0
                {
                    strays.push(Stray::HashRow { level, row, bytes });
                }
            }
        }
        Ok(strays)
    }

    fn dedup_len(&self) -> Result<u64, StoreError> {
        let table = self
            .snapshot()?
            .open_table(DEDUP)
            .map_err(engine("counting rows"))?;
        table.len().map_err(engine("counting rows"))
    }
}
