//! The laws of the tree, of its proofs and of its tiles, against the words of the specifications.
//!
//! `reference` is written from RFC 6962 and the subtree draft, recursion by recursion, and shares
//! no algorithm with the crate; `oracle` asks another implementation.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "a test may fail by panicking"
)]

mod laws;
mod oracle;
mod reference;
mod tiles;
mod uniform;

use std::collections::BTreeMap;

use jurat_proto::hash::{Hash, leaf_hash};
use jurat_proto::tree::{CompactRange, LeafIndex, NodeCoord, TreeHead, TreeSize};

/// The first leaf hashes of a log whose entries are the decimal indices.
fn leaves(count: usize) -> Vec<Hash> {
    (0..count)
        .map(|index| leaf_hash(index.to_string().as_bytes()))
        .collect()
}

/// All complete nodes of a tree, and its head.
fn tree(leaves: &[Hash]) -> (BTreeMap<NodeCoord, Hash>, TreeHead) {
    let mut nodes = BTreeMap::new();
    let mut range = CompactRange::new();
    for leaf in leaves {
        range
            .append_with(*leaf, &mut |coord, hash| {
                assert_eq!(
                    nodes.insert(coord, hash),
                    None,
                    "{coord:?} is reported twice"
                );
            })
            .unwrap();
    }
    (nodes, range.head())
}

fn size(leaves: usize) -> TreeSize {
    TreeSize::new(leaves as u64).unwrap()
}

fn index(index: usize) -> LeafIndex {
    LeafIndex::new(index as u64).unwrap()
}
