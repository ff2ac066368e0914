//! Reading the tree: proofs and roots from the store's tiles.

use jurat_proto::hash::Hash;
use jurat_proto::proof::{
    ConsistencyProof, InclusionProof, ProveError, prove_consistency, prove_inclusion,
};
use jurat_proto::tile::{TileNodes, TileNodesError};
use jurat_proto::tree::{CompactRange, LeafIndex, NodeReader, TreeHead, TreeSize};
use jurat_store::{LogStore, StoreTiles, TileError};

/// The store's committed tree, read tile by tile.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    store: &'a dyn LogStore,
}

/// Why a proof or root could not be read from the store.
pub type TreeError = ProveError<TileNodesError<TileError>>;

impl<'a> Tree<'a> {
    /// The tree of a store.
    pub fn of(store: &'a dyn LogStore) -> Self {
        Self { store }
    }

    /// The inclusion proof of a leaf in the tree of `size` leaves.
    ///
    /// # Errors
    /// When the leaf is not in that tree, or the store cannot be read.
    pub fn inclusion(&self, index: LeafIndex, size: TreeSize) -> Result<InclusionProof, TreeError> {
        prove_inclusion(index, size, &TileNodes::new(StoreTiles(self.store), size))
    }

    /// The consistency proof between two sizes.
    ///
    /// # Errors
    /// When `from` is above `to`, or the store cannot be read.
    pub fn consistency(&self, from: TreeSize, to: TreeSize) -> Result<ConsistencyProof, TreeError> {
        prove_consistency(from, to, &TileNodes::new(StoreTiles(self.store), to))
    }

    /// The head of the tree at an earlier size.
    ///
    /// # Errors
    /// When the store cannot be read; `size` must not exceed the committed one.
    pub fn head_at(&self, size: TreeSize) -> Result<TreeHead, TreeError> {
        let nodes: Vec<Hash> = TileNodes::new(StoreTiles(self.store), size)
            .nodes(&CompactRange::node_coords(size))
            .map_err(ProveError::Reader)?;
        let root_hash = CompactRange::from_nodes(size, nodes)
            .map_or_else(|_| jurat_proto::hash::empty_root(), |range| range.root());
        Ok(TreeHead { size, root_hash })
    }
}
