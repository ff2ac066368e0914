//! [`StoreTiles`]: a store as the tile reader that proofs are built from.

use jurat_proto::tile::{TileCoord, TileReader};

use crate::{LogStore, StoreError};

/// Reads tiles of the committed tree, for [`jurat_proto::tile::TileNodes`].
///
/// Tiles never change, so a proof for any size up to the committed one may be built from several
/// reads without a snapshot around them.
#[derive(Clone, Copy)]
pub struct StoreTiles<'a>(
    /// The store.
    pub &'a dyn LogStore,
);

impl std::fmt::Debug for StoreTiles<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreTiles")
    }
}

impl TileReader for StoreTiles<'_> {
    type Error = TileError;

    fn tile(&self, tile: TileCoord) -> Result<Vec<u8>, TileError> {
        self.0.tile(tile)?.ok_or(TileError::Absent(tile))
    }
}

/// A tile that a proof needs could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TileError {
    /// The backend's failure.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The committed tree does not cover it. At fault: the caller, who asked for a proof in a
    /// tree larger than the committed one.
    #[error("the committed tree does not cover {}", .0.path())]
    Absent(TileCoord),
}
