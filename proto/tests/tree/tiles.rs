//! Tiles alone give the same proofs and roots as the tree that they were cut from.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use jurat_proto::hash::Hash;
use jurat_proto::proof::{Subtree, prove_consistency, prove_inclusion, prove_subtree_consistency};
use jurat_proto::tile::{MissingTile, TileCoord, TileNodes, TileReader, tiles_for};
use jurat_proto::tree::{CompactRange, NodeCoord, NodeReader, TreeSize};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::{index, leaves, reference, size, tree};

/// The tiles of a tree, cut from its definition: hash `i` of level `l` is that of the leaves
/// `[i * 256^l, (i + 1) * 256^l)`.
fn tiles(leaves: &[Hash]) -> BTreeMap<TileCoord, Vec<u8>> {
    tiles_for(size(leaves.len()))
        .map(|tile| {
            let below = 256_usize.pow(u32::from(tile.level()));
            let first = tile.index() as usize * 256;
            let bytes = (first..first + usize::from(tile.width()))
                .flat_map(|at| *reference::mth(&leaves[at * below..(at + 1) * below]).as_bytes())
                .collect();
            (tile, bytes)
        })
        .collect()
}

/// Notes which tiles are read.
struct Watched<'a> {
    tiles: &'a BTreeMap<TileCoord, Vec<u8>>,
    reads: RefCell<Vec<TileCoord>>,
}

impl<'a> Watched<'a> {
    fn new(tiles: &'a BTreeMap<TileCoord, Vec<u8>>) -> Self {
        Self {
            tiles,
            reads: RefCell::default(),
        }
    }
}

impl TileReader for Watched<'_> {
    type Error = MissingTile;

    fn tile(&self, coord: TileCoord) -> Result<Vec<u8>, MissingTile> {
        self.reads.borrow_mut().push(coord);
        self.tiles.tile(coord)
    }
}

// Spec: TIL-07, TIL-09
#[test]
fn completed_nodes_of_every_eighth_level_are_the_hashes_of_the_tiles() {
    let leaves = leaves(70_000);
    let (nodes, head) = tree(&leaves);
    let tiles = tiles(&leaves);
    let mut hashes = 0;
    for (tile, bytes) in &tiles {
        for (at, hash) in bytes.chunks(32).enumerate() {
            let index = tile.index() * 256 + at as u64;
            let node = NodeCoord {
                level: tile.level() * 8,
                index,
            };
            assert_eq!(nodes[&node].as_bytes(), hash, "{node:?}");
            hashes += 1;
        }
    }
    // No completed node of these levels is missing from the tiles, so partial tiles are not hashed.
    assert_eq!(
        hashes,
        nodes.keys().filter(|node| node.level % 8 == 0).count()
    );

    let coords = CompactRange::node_coords(head.size);
    let frontier = TileNodes::new(&tiles, head.size).nodes(&coords).unwrap();
    assert_eq!(
        CompactRange::from_nodes(head.size, frontier)
            .unwrap()
            .head(),
        head
    );

    for m in [0, 255, 256, 65_535, 65_536, 69_887, 69_888, 69_999] {
        let watched = Watched::new(&tiles);
        let reader = TileNodes::new(&watched, head.size);
        assert_eq!(
            prove_inclusion(index(m), head.size, &reader),
            Ok(prove_inclusion(index(m), head.size, &nodes).unwrap()),
            "leaf {m}"
        );
        let from = size(m + 1);
        assert_eq!(
            prove_consistency(from, head.size, &reader),
            Ok(prove_consistency(from, head.size, &nodes).unwrap()),
            "from {from}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // Spec: TIL-06, TIL-09
    #[test]
    fn proofs_from_tiles_are_those_from_nodes(n in 1..1_400_usize, at: Index, other: Index) {
        let leaves = leaves(n);
        let (nodes, head) = tree(&leaves);
        let tiles = tiles(&leaves);
        let m = at.index(n);

        let watched = Watched::new(&tiles);
        let proof = prove_inclusion(index(m), head.size, &TileNodes::new(&watched, head.size));
        prop_assert_eq!(proof.unwrap(), prove_inclusion(index(m), head.size, &nodes).unwrap());
        let reads = watched.reads.into_inner();
        prop_assert_eq!(reads.iter().collect::<BTreeSet<_>>().len(), reads.len());

        let watched = Watched::new(&tiles);
        let reader = TileNodes::new(&watched, head.size);
        let from = size(other.index(n + 1));
        let proof = prove_consistency(from, head.size, &reader).unwrap();
        prop_assert_eq!(proof, prove_consistency(from, head.size, &nodes).unwrap());
        let reads = watched.reads.take();
        prop_assert_eq!(reads.iter().collect::<BTreeSet<_>>().len(), reads.len());

        let start = m / 8 * 8;
        let end = start + 1 + other.index((n - start).min(8));
        let subtree = Subtree::new(start as u64, end as u64).unwrap();
        let proof = prove_subtree_consistency(&subtree, head.size, &reader).unwrap();
        prop_assert_eq!(proof, prove_subtree_consistency(&subtree, head.size, &nodes).unwrap());
    }

    #[test]
    fn each_node_of_a_tree_is_in_one_of_its_tiles(
        n in 1..=u64::MAX >> 1,
        level in 0..63_u8,
        at: u64,
    ) {
        let tree = TreeSize::new(n).unwrap();
        let count = n >> level;
        prop_assume!(count > 0);
        let node = NodeCoord { level, index: at % count };
        let tile = TileCoord::of_node(node, tree).unwrap();
        prop_assert_eq!(tile.level(), level / 8);
        prop_assert!(tile.is_covered_by(tree));
        prop_assert_eq!(TileCoord::of_size(tile.level(), tile.index(), tree), Some(tile));
        let beyond = NodeCoord { level, index: count };
        prop_assert_eq!(TileCoord::of_node(beyond, tree), None);
    }
}
