//! Hashes of the tree in rows: reading them as tiles and nodes, and appending.

use std::ops::Bound;

use redb::{ReadableTable, Table};

use jurat_proto::hash::{Hash, node_hash};
use jurat_proto::tree::{CompactRange, NodeCoord, NodeReader, TreeSize};

use super::schema::{ROW, engine, node_row};
use crate::{Corruption, StoreError};

/// The two hash tables, in a read or a write transaction.
pub(super) struct Hashes<T> {
    pub(super) leaves: T,
    pub(super) nodes: T,
}

impl<T: ReadableTable<u64, &'static [u8]>> Hashes<T> {
    /// `count` consecutive hashes of a tile level from `start`, which must all exist.
    pub(super) fn bytes(&self, level: u8, start: u64, count: u16) -> Result<Vec<u8>, StoreError> {
        let table = if level == 0 {
            &self.leaves
        } else {
            &self.nodes
        };
        let end = start.saturating_add(u64::from(count));
        let mut hashes = Vec::with_capacity(usize::from(count) * Hash::LEN);
        let mut at = start;
        let rows = table
            .range(node_row(level, start / ROW)..node_row(level, end.div_ceil(ROW)))
            .map_err(engine("reading hashes"))?;
        for row in rows {
            let (key, value) = row.map_err(engine("reading hashes"))?;
            let row = at / ROW;
            if key.value() != node_row(level, row) {
                break;
            }
            let from = hash_offset(at % ROW);
            let to = hash_offset((end - row * ROW).min(ROW));
            let value = value.value();
            let part = value.get(from..to).ok_or(Corruption::HashRow {
                level,
                row,
                actual: value.len(),
                needed: to,
            })?;
            hashes.extend_from_slice(part);
            at = (row + 1) * ROW;
        }
        if at < end {
            let needed = hash_offset((end - at / ROW * ROW).min(ROW));
            return Err(Corruption::HashRow {
                level,
                row: at / ROW,
                actual: 0,
                needed,
            }
            .into());
        }
        Ok(hashes)
    }

    pub(super) fn leaf_hash(&self, index: u64) -> Result<Hash, StoreError> {
        let row = index / ROW;
        let needed = hash_offset(index % ROW + 1);
        let value = self.leaves.get(row).map_err(engine("reading hashes"))?;
        let bytes = value.as_ref().map_or(&[][..], |value| value.value());
        let hash = bytes
            .get(..needed)
            .and_then(|bytes| Some(Hash::new(*bytes.last_chunk()?)));
        hash.ok_or_else(|| {
            Corruption::HashRow {
                level: 0,
                row,
                actual: bytes.len(),
                needed,
            }
            .into()
        })
    }

    /// A node of the tree; between tile levels it is computed from up to 128 stored hashes.
    fn node(&self, node: NodeCoord) -> Result<Hash, StoreError> {
        let below = node.level % 8;
        let bytes = self.bytes(node.level / 8, node.index << below, 1 << below)?;
        let mut hashes: Vec<Hash> = bytes
            .as_chunks::<{ Hash::LEN }>()
            .0
            .iter()
            .copied()
            .map(Hash::new)
            .collect();
        while hashes.len() > 1 {
            hashes = hashes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|[l, r]| node_hash(l, r))
                .collect();
        }
        // `bytes` returned 2^below hashes, so one is left.
        hashes.pop().ok_or_else(|| {
            Corruption::Row {
                row: "nodes",
                bytes: 0,
            }
            .into()
        })
    }

    /// The right edge of the tree at a size that is committed.
    pub(super) fn frontier(&self, size: TreeSize) -> Result<CompactRange, StoreError> {
        let nodes = self.nodes(&CompactRange::node_coords(size))?;
        let range = CompactRange::from_nodes(size, nodes);
        range.map_err(|_| {
            Corruption::Row {
                row: "nodes",
                bytes: 0,
            }
            .into()
        })
    }
}

impl<T: ReadableTable<u64, &'static [u8]>> NodeReader for Hashes<T> {
    type Error = StoreError;

    fn nodes(&self, nodes: &[NodeCoord]) -> Result<Vec<Hash>, StoreError> {
        nodes.iter().map(|node| self.node(*node)).collect()
    }
}

/// Appends hashes to a tile level that has `have` of them.
pub(super) fn append(
    table: &mut Table<'_, u64, &'static [u8]>,
    level: u8,
    have: u64,
    new: &[Hash],
) -> Result<(), StoreError> {
    const DOING: &str = "appending hashes";
    let mut row_number = have / ROW;
    let mut row = Vec::with_capacity(hash_offset(ROW));
    let mut new = new.iter();
    if !have.is_multiple_of(ROW) && !new.as_slice().is_empty() {
        let needed = hash_offset(have % ROW);
        let key = node_row(level, row_number);
        {
            let stored = table.get(key).map_err(engine(DOING))?;
            row.extend_from_slice(stored.as_ref().map_or(&[][..], |stored| stored.value()));
        }
        if row.len() != needed {
            let actual = row.len();
            return Err(Corruption::HashRow {
                level,
                row: row_number,
                actual,
                needed,
            }
            .into());
        }
        fill(&mut row, &mut new);
        table.insert(key, row.as_slice()).map_err(engine(DOING))?;
        row_number += 1;
    }
    let end = node_row(level + 1, 0);
    let mut cursor = table
        .upper_bound_mut(Bound::Excluded(end))
        .map_err(engine(DOING))?;
    while !new.as_slice().is_empty() {
        row.clear();
        fill(&mut row, &mut new);
        let key = node_row(level, row_number);
        cursor
            .insert_before(key, row.as_slice())
            .map_err(engine(DOING))?;
        row_number += 1;
    }
    cursor.close().map_err(engine(DOING))
}

fn fill(row: &mut Vec<u8>, new: &mut std::slice::Iter<'_, Hash>) {
    while row.len() < hash_offset(ROW) {
        let Some(hash) = new.next() else { return };
        row.extend_from_slice(hash.as_bytes());
    }
}

/// Where the `n`-th hash of a row begins.
fn hash_offset(n: u64) -> usize {
    usize::try_from(n)
        .unwrap_or(usize::MAX)
        .saturating_mul(Hash::LEN)
}
