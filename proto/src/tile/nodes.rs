//! The nodes of a tree, computed from its tiles.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;
use core::fmt;

use super::{LEVELS_PER_TILE, TileCoord};
use crate::hash::{Hash, node_hash};
use crate::tree::{NodeCoord, NodeReader, TreeSize};

/// Where tiles come from: a store, a directory, a log's URL.
///
/// An implementation may be untrusted: hashes that it makes up give a proof that does not verify,
/// never a wrong acceptance.
pub trait TileReader {
    /// Why a read failed.
    type Error;

    /// Returns the bytes of a tile, exactly [`TileCoord::byte_len`] of them.
    ///
    /// A partial tile may be gone once the full tile exists: fetch [`TileCoord::to_full`] then, and
    /// return its first hashes.
    ///
    /// # Errors
    ///
    /// When the tile is unknown or cannot be read.
    fn tile(&self, coord: TileCoord) -> Result<Vec<u8>, Self::Error>;
}

impl<R: TileReader + ?Sized> TileReader for &R {
    type Error = R::Error;

    fn tile(&self, coord: TileCoord) -> Result<Vec<u8>, Self::Error> {
        (**self).tile(coord)
    }
}

/// The tiles of a tree of one size.
impl TileReader for BTreeMap<TileCoord, Vec<u8>> {
    type Error = MissingTile;

    fn tile(&self, coord: TileCoord) -> Result<Vec<u8>, MissingTile> {
        self.get(&coord).cloned().ok_or(MissingTile { coord })
    }
}

/// A reader in memory does not hold this tile. The fault is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingTile {
    /// The tile that was asked for.
    pub coord: TileCoord,
}

impl fmt::Display for MissingTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not held", self.coord)
    }
}

impl core::error::Error for MissingTile {}

/// The nodes of a tree of a given size, computed from its tiles.
///
/// Take the size from a checkpoint that is verified: partial tiles of other sizes need not exist.
/// Each call reads each tile that it needs once, however many nodes come from it.
#[derive(Clone, Debug)]
pub struct TileNodes<R> {
    reader: R,
    size: TreeSize,
}

impl<R: TileReader> TileNodes<R> {
    /// Reads the tiles of the tree of `size` leaves.
    pub const fn new(reader: R, size: TreeSize) -> Self {
        Self { reader, size }
    }

    /// The size of the tree.
    pub const fn size(&self) -> TreeSize {
        self.size
    }

    fn read(&self, coord: TileCoord) -> Result<Vec<u8>, TileNodesError<R::Error>> {
        // Spec: TIL-05
        let bytes = self.reader.tile(coord).map_err(TileNodesError::Reader)?;
        if bytes.len() != coord.byte_len() {
            return Err(TileNodesError::TileLength {
                coord,
                found: bytes.len(),
            });
        }
        Ok(bytes)
    }
}

impl<R: TileReader> NodeReader for TileNodes<R> {
    type Error = TileNodesError<R::Error>;

    fn nodes(&self, coords: &[NodeCoord]) -> Result<Vec<Hash>, Self::Error> {
        // Spec: TIL-09
        let mut tiles: BTreeMap<TileCoord, Vec<u8>> = BTreeMap::new();
        let mut hashes = Vec::with_capacity(coords.len());
        for &node in coords {
            let outside = TileNodesError::OutsideTree {
                node,
                size: self.size,
            };
            let Some(coord) = TileCoord::of_node(node, self.size) else {
                return Err(outside);
            };
            let bytes = match tiles.entry(coord) {
                Entry::Occupied(held) => held.into_mut(),
                Entry::Vacant(gap) => gap.insert(self.read(coord)?),
            };
            hashes.push(Place::of(node).hash_in(bytes).ok_or(outside)?);
        }
        Ok(hashes)
    }
}

/// Where the hashes are from which a node is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) level: u8,
    pub(super) index: u64,
    /// The first of them within the tile.
    first: usize,
    /// How many there are: a power of two, 1 to 128.
    count: usize,
}

impl Place {
    /// For a node that is complete in some tree, so that the shift loses nothing.
    pub(super) fn of(node: NodeCoord) -> Self {
        // Spec: TIL-09
        let (level, above) = (node.level / 8, node.level % 8);
        let first = node.index << above;
        Self {
            level,
            index: first >> LEVELS_PER_TILE,
            first: usize::from(first.to_le_bytes()[0]),
            count: 1 << above,
        }
    }

    /// `None` when the tile does not reach that far.
    fn hash_in(self, tile: &[u8]) -> Option<Hash> {
        let (hashes, _) = tile.as_chunks::<{ Hash::LEN }>();
        let below = hashes.get(self.first..self.first.checked_add(self.count)?)?;
        let mut row: Vec<Hash> = below.iter().copied().map(Hash::new).collect();
        while row.len() > 1 {
            row = row
                .as_chunks()
                .0
                .iter()
                .map(|[left, right]| node_hash(left, right))
                .collect();
        }
        row.pop()
    }
}

/// Why nodes could not be computed from tiles. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TileNodesError<E> {
    /// The tree of that size does not have the node; the caller is at fault.
    OutsideTree {
        /// The node asked for.
        node: NodeCoord,
        /// The size of the tree.
        size: TreeSize,
    },
    /// The tile reader failed.
    Reader(E),
    /// A tile is too short or too long; whoever serves it is at fault.
    TileLength {
        /// The tile asked for.
        coord: TileCoord,
        /// How many bytes came.
        found: usize,
    },
}

impl<E: fmt::Display> fmt::Display for TileNodesError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutsideTree { node, size } => {
                let NodeCoord { level, index } = node;
                write!(
                    f,
                    "there is no node {index} of level {level} in a tree of size {size}"
                )
            }
            Self::Reader(error) => error.fmt(f),
            Self::TileLength { coord, found } => {
                write!(
                    f,
                    "{coord} has {found} bytes where {} are needed",
                    coord.byte_len()
                )
            }
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for TileNodesError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Reader(error) => error.source(),
            Self::OutsideTree { .. } | Self::TileLength { .. } => None,
        }
    }
}
