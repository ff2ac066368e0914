//! Trees of any size up to 2^63 - 1: when all leaves are equal, a node's hash depends on its level
//! alone, so no tree has to be built.

use std::convert::Infallible;

use jurat_proto::hash::{Hash, leaf_hash, node_hash};
use jurat_proto::proof::{
    ProveError, Subtree, prove_consistency, prove_inclusion, prove_subtree_consistency,
    prove_subtree_inclusion, verify_consistency, verify_inclusion, verify_subtree_consistency,
    verify_subtree_inclusion,
};
use jurat_proto::tree::{CompactRange, LeafIndex, NodeCoord, NodeReader, TreeHead, TreeSize};
use proptest::prelude::*;

use crate::reference;

struct Uniform {
    levels: Vec<Hash>,
    size: TreeSize,
}

impl Uniform {
    fn new(size: u64) -> Self {
        let leaf = leaf_hash(b"same");
        let levels = std::iter::successors(Some(leaf), |hash| Some(node_hash(hash, hash)))
            .take(63)
            .collect();
        Self {
            levels,
            size: TreeSize::new(size).unwrap(),
        }
    }

    fn leaf(&self) -> Hash {
        self.levels[0]
    }

    fn head_of(&self, size: TreeSize) -> TreeHead {
        let nodes = CompactRange::node_coords(size)
            .iter()
            .map(|coord| self.levels[usize::from(coord.level)])
            .collect();
        CompactRange::from_nodes(size, nodes).unwrap().head()
    }
}

impl NodeReader for Uniform {
    type Error = Infallible;

    fn nodes(&self, coords: &[NodeCoord]) -> Result<Vec<Hash>, Infallible> {
        assert!(coords.len() <= 126, "{} nodes are asked for", coords.len());
        let hash = |coord: &NodeCoord| {
            assert!(
                coord.is_complete_in(self.size),
                "{coord:?} is not in {}",
                self.size
            );
            self.levels[usize::from(coord.level)]
        };
        Ok(coords.iter().map(hash).collect())
    }
}

/// Two numbers of any magnitude, the first below the second, which is at most 2^63 - 1.
fn below() -> impl Strategy<Value = (u64, u64)> {
    (1..=u64::MAX >> 1, 0..63_u32)
        .prop_map(|(n, shift)| (n >> shift).max(1))
        .prop_flat_map(|n| (0..n, 0..63_u32, Just(n)).prop_map(|(m, shift, n)| (m >> shift, n)))
}

// Spec: MRK-04
#[test]
fn the_largest_tree_has_its_first_and_last_leaf() {
    let tree = Uniform::new(u64::MAX >> 1);
    let head = tree.head_of(tree.size);
    for index in [0, 1, (1 << 62) - 1, 1 << 62, (u64::MAX >> 1) - 1] {
        let index = LeafIndex::new(index).unwrap();
        let proof = prove_inclusion(index, tree.size, &tree).unwrap();
        assert_eq!(verify_inclusion(index, &tree.leaf(), &proof, &head), Ok(()));
    }
    let beyond = LeafIndex::new(u64::MAX >> 1).unwrap();
    assert!(prove_inclusion(beyond, tree.size, &tree).is_err());
}

proptest! {
    #[test]
    fn inclusion_holds_at_every_magnitude((m, n) in below()) {
        let tree = Uniform::new(n);
        let index = LeafIndex::new(m).unwrap();
        let head = tree.head_of(tree.size);
        let proof = prove_inclusion(index, tree.size, &tree).unwrap();
        prop_assert_eq!(verify_inclusion(index, &tree.leaf(), &proof, &head), Ok(()));
        let numbers = [m, m + 1, n];
        prop_assert!(reference::accepts(numbers, proof.hashes(), tree.leaf(), head.root_hash));
    }

    #[test]
    fn consistency_holds_at_every_magnitude((m, n) in below()) {
        let tree = Uniform::new(n);
        let head = tree.head_of(tree.size);
        let from = tree.head_of(TreeSize::new(m + 1).unwrap());
        match prove_consistency(from.size, tree.size, &tree) {
            Ok(proof) => {
                prop_assert_eq!(verify_consistency(&from, &head, &proof), Ok(()));
                let numbers = [0, m + 1, n];
                prop_assert!(
                    reference::accepts(numbers, proof.hashes(), from.root_hash, head.root_hash)
                );
            }
            Err(error) => {
                prop_assert_eq!(error, ProveError::TooManyHashes { needed: 64 });
                prop_assert!(n > 1 << 62);
            }
        }
    }

    #[test]
    fn subtrees_hold_at_every_magnitude((m, n) in below(), level in 0..63_u32, cut: u64) {
        let tree = Uniform::new(n);
        let head = tree.head_of(tree.size);
        let start = m >> level << level;
        let length = 1 + cut % (1 << level).min(n - start);
        let subtree = Subtree::new(start, start + length).unwrap();
        let hash = tree.head_of(TreeSize::new(length).unwrap()).root_hash;

        match prove_subtree_consistency(&subtree, tree.size, &tree) {
            Ok(proof) => {
                prop_assert_eq!(verify_subtree_consistency(&subtree, &hash, &proof, &head), Ok(()));
                let numbers = [start, start + length, n];
                prop_assert!(reference::accepts(numbers, proof.hashes(), hash, head.root_hash));
            }
            Err(error) => prop_assert_eq!(error, ProveError::TooManyHashes { needed: 64 }),
        }

        let index = LeafIndex::new(start + cut % length).unwrap();
        let proof = prove_subtree_inclusion(index, &subtree, &tree).unwrap();
        let verdict = verify_subtree_inclusion(index, &tree.leaf(), &proof, &subtree, &hash);
        prop_assert_eq!(verdict, Ok(()));
    }
}
