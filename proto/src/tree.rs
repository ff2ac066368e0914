//! Sizes, indices, tree heads, and the right frontier of a growing tree: RFC 6962 section 2.1.
//!
//! A tree over `n` leaves splits at the largest power of two below `n`, on every level. It is
//! therefore a row of perfect subtrees, one for each bit of `n`, highest bit first, and only their
//! roots are needed to append or to compute the root hash:
//!
//! ```text
//! size 7 = 0b111        root
//!                      /    \
//!                     /      .
//!                    /      / \
//!     nodes():    (2,0)  (1,2) (0,6)      NodeCoord { level, index }
//!                 0..4    4..6  6..7      leaves below
//! ```
//!
//! Appending a leaf completes one node for each bit that the addition carries through; these nodes
//! never change again, so a store may write each of them once.
//!
//! Out of scope: who may append (the store's commit) and proofs ([`crate::proof`]).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use crate::decimal::DECIMAL_MAX;
use crate::hash::{Hash, empty_root, node_hash};

/// A number of leaves, at most 2^63 - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeSize(u64);

impl TreeSize {
    /// The size of the empty tree.
    pub const ZERO: Self = Self(0);
    /// The largest size that the formats can carry.
    pub const MAX: Self = Self(DECIMAL_MAX);

    /// Takes `leaves` as a size; `None` above [`Self::MAX`].
    pub const fn new(leaves: u64) -> Option<Self> {
        if leaves <= DECIMAL_MAX {
            Some(Self(leaves))
        } else {
            None
        }
    }

    /// The number of leaves.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether there are no leaves.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Whether the leaf at `index` is one of this many leaves.
    pub const fn contains(self, index: LeafIndex) -> bool {
        index.0 < self.0
    }
}

impl fmt::Display for TreeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The position of a leaf, counted from 0. At most 2^63 - 1, so that it fits wherever a size does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafIndex(u64);

impl LeafIndex {
    /// The first leaf.
    pub const ZERO: Self = Self(0);

    /// Takes `index` as a position; `None` above 2^63 - 1.
    pub const fn new(index: u64) -> Option<Self> {
        if index <= DECIMAL_MAX {
            Some(Self(index))
        } else {
            None
        }
    }

    /// The position, counted from 0.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for LeafIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a log commits to: how many leaves, and the root hash over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TreeHead {
    /// The number of leaves.
    pub size: TreeSize,
    /// The Merkle tree hash of those leaves.
    pub root_hash: Hash,
}

impl TreeHead {
    /// The head of the tree without leaves.
    pub const fn empty() -> Self {
        Self {
            size: TreeSize::ZERO,
            root_hash: empty_root(),
        }
    }
}

/// A perfect subtree: the node over leaves `[index << level, (index + 1) << level)`.
///
/// Level 0 are the leaf hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeCoord {
    /// Height above the leaves, 0 to 62 in any tree that exists.
    pub level: u8,
    /// Position in the level, counted from 0.
    pub index: u64,
}

impl NodeCoord {
    /// Whether all leaves below the node are in a tree of this size, so that the node is final.
    pub const fn is_complete_in(self, size: TreeSize) -> bool {
        // Level 63 would already have 2^63 leaves, one more than a tree can have.
        self.level < 63 && self.index < size.0 >> self.level
    }
}

/// Where node hashes come from: a store, tiles, a map in memory.
///
/// An implementation answers from one snapshot, and may be untrusted: hashes that it makes up give
/// a proof that does not verify, never a wrong acceptance.
pub trait NodeReader {
    /// Why a read failed.
    type Error;

    /// Returns the hash of each node, in the order asked.
    ///
    /// Only nodes that are complete in the tree of the reader are asked for, and all that a proof
    /// needs are asked for in one call, so that the reads can be batched.
    ///
    /// # Errors
    ///
    /// When a node is unknown or cannot be read; there are no partial answers.
    fn nodes(&self, coords: &[NodeCoord]) -> Result<Vec<Hash>, Self::Error>;
}

impl<R: NodeReader + ?Sized> NodeReader for &R {
    type Error = R::Error;

    fn nodes(&self, coords: &[NodeCoord]) -> Result<Vec<Hash>, Self::Error> {
        (**self).nodes(coords)
    }
}

/// The nodes of a tree that fits in memory, as [`CompactRange::append_with`] reports them.
impl NodeReader for BTreeMap<NodeCoord, Hash> {
    type Error = MissingNode;

    fn nodes(&self, coords: &[NodeCoord]) -> Result<Vec<Hash>, MissingNode> {
        coords
            .iter()
            .map(|coord| {
                self.get(coord)
                    .copied()
                    .ok_or(MissingNode { coord: *coord })
            })
            .collect()
    }
}

/// A reader in memory does not hold this node. The fault is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingNode {
    /// The node that was asked for.
    pub coord: NodeCoord,
}

impl fmt::Display for MissingNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "node {} of level {} is not held",
            self.coord.index, self.coord.level
        )
    }
}

impl core::error::Error for MissingNode {}

/// The right frontier of the tree over leaves `[0, size)`: the roots of its perfect subtrees.
///
/// At most 63 hashes, whatever the size. This is all that appending needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompactRange {
    size: u64,
    /// Largest subtree first; one for each bit of `size`.
    nodes: Vec<Hash>,
}

impl CompactRange {
    /// The frontier of the empty tree.
    pub const fn new() -> Self {
        Self {
            size: 0,
            nodes: Vec::new(),
        }
    }

    /// Takes stored nodes, in the order of [`Self::node_coords`].
    ///
    /// # Errors
    ///
    /// When their number is not that of the perfect subtrees of `size`. Whether the hashes are the
    /// right ones cannot be seen here: compare [`Self::root`] with a root that is known.
    pub fn from_nodes(size: TreeSize, nodes: Vec<Hash>) -> Result<Self, NodeCount> {
        let expected = subtree_count(size);
        if nodes.len() == expected {
            Ok(Self {
                size: size.get(),
                nodes,
            })
        } else {
            Err(NodeCount {
                size,
                expected,
                found: nodes.len(),
            })
        }
    }

    /// The coordinates of the perfect subtrees of a tree, from left (largest) to right.
    pub fn node_coords(size: TreeSize) -> Vec<NodeCoord> {
        let mut coords = Vec::with_capacity(subtree_count(size));
        for level in (0..63_u8).rev() {
            let count = size.get() >> level;
            if count & 1 == 1 {
                coords.push(NodeCoord {
                    level,
                    index: count - 1,
                });
            }
        }
        coords
    }

    /// The number of leaves.
    pub const fn size(&self) -> TreeSize {
        TreeSize(self.size)
    }

    /// The roots of the perfect subtrees, from left (largest) to right.
    pub fn nodes(&self) -> &[Hash] {
        &self.nodes
    }

    /// Appends a leaf hash. Returns its index.
    ///
    /// # Errors
    ///
    /// [`TreeFull`] at 2^63 - 1 leaves; the range is unchanged.
    pub fn append(&mut self, leaf: Hash) -> Result<LeafIndex, TreeFull> {
        self.append_with(leaf, &mut |_, _| {})
    }

    /// Appends a leaf hash and reports every node that it completes: the leaf first, then upwards.
    ///
    /// Over the life of a tree, each node is reported once. Returns the index of the leaf.
    ///
    /// # Errors
    ///
    /// [`TreeFull`] at 2^63 - 1 leaves; the range is unchanged and nothing was reported.
    pub fn append_with(
        &mut self,
        leaf: Hash,
        completed: &mut impl FnMut(NodeCoord, Hash),
    ) -> Result<LeafIndex, TreeFull> {
        // Spec: MRK-04
        if self.size >= DECIMAL_MAX {
            return Err(TreeFull);
        }
        let leaf_index = self.size;
        let mut coord = NodeCoord {
            level: 0,
            index: leaf_index,
        };
        let mut hash = leaf;
        completed(coord, hash);
        while coord.index & 1 == 1
            && let Some(left) = self.nodes.pop()
        {
            hash = node_hash(&left, &hash);
            coord = NodeCoord {
                level: coord.level + 1,
                index: coord.index >> 1,
            };
            completed(coord, hash);
        }
        self.nodes.push(hash);
        self.size = leaf_index + 1;
        Ok(LeafIndex(leaf_index))
    }

    /// The root hash of the tree: the subtrees joined from the right.
    pub fn root(&self) -> Hash {
        // Spec: MRK-04
        self.nodes
            .iter()
            .rev()
            .copied()
            .reduce(|right, left| node_hash(&left, &right))
            .unwrap_or(empty_root())
    }

    /// Size and root hash together.
    pub fn head(&self) -> TreeHead {
        TreeHead {
            size: self.size(),
            root_hash: self.root(),
        }
    }
}

/// How many perfect subtrees a tree is made of.
fn subtree_count(size: TreeSize) -> usize {
    // At most 63, so the conversion cannot fail.
    usize::try_from(size.get().count_ones()).unwrap_or(usize::MAX)
}

/// A tree has 2^63 - 1 leaves and takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeFull;

impl fmt::Display for TreeFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the tree has {} leaves and takes no more", TreeSize::MAX)
    }
}

impl core::error::Error for TreeFull {}

/// The number of nodes given is not that of the tree's perfect subtrees. The fault is the caller's,
/// or its storage is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeCount {
    /// The size the nodes were given for.
    pub size: TreeSize,
    /// How many perfect subtrees a tree of this size has.
    pub expected: usize,
    /// How many nodes were given.
    pub found: usize,
}

impl fmt::Display for NodeCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            size,
            expected,
            found,
        } = self;
        write!(
            f,
            "a tree of size {size} has {expected} perfect subtrees, {found} were given"
        )
    }
}

impl core::error::Error for NodeCount {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;
    use alloc::vec;

    fn leaf(index: u8) -> Hash {
        leaf_hash(&[index])
    }

    fn range_of(leaves: u8) -> CompactRange {
        let mut range = CompactRange::new();
        for index in 0..leaves {
            range.append(leaf(index)).unwrap();
        }
        range
    }

    #[test]
    fn sizes_and_indices_end_at_2_to_the_63_minus_1() {
        assert_eq!(TreeSize::new(u64::MAX / 2), Some(TreeSize::MAX));
        assert_eq!(TreeSize::new(u64::MAX / 2 + 1), None);
        assert_eq!(LeafIndex::new(u64::MAX / 2 + 1), None);
        assert!(TreeSize::MAX.contains(LeafIndex(DECIMAL_MAX - 1)));
        assert!(!TreeSize::MAX.contains(LeafIndex(DECIMAL_MAX)));
        assert!(!TreeSize::ZERO.contains(LeafIndex::ZERO));
    }

    // Spec: MRK-01
    #[test]
    fn the_empty_range_has_the_empty_head() {
        assert_eq!(CompactRange::new().head(), TreeHead::empty());
        assert_eq!(CompactRange::new().nodes(), []);
        assert_eq!(CompactRange::node_coords(TreeSize::ZERO), []);
    }

    // Spec: MRK-04
    #[test]
    fn the_root_of_seven_leaves_is_that_of_the_rfc_drawing() {
        let leaves: Vec<Hash> = (0..7).map(leaf).collect();
        let pair = |at: usize| node_hash(&leaves[at], &leaves[at + 1]);
        let left = node_hash(&pair(0), &pair(2));
        let right = node_hash(&pair(4), &leaves[6]);
        assert_eq!(range_of(7).root(), node_hash(&left, &right));
        assert_eq!(range_of(7).nodes(), [left, pair(4), leaves[6]]);
    }

    #[test]
    fn each_completed_node_is_reported_once_leaf_first() {
        let mut reported = Vec::new();
        let mut range = CompactRange::new();
        for index in 0..4 {
            range
                .append_with(leaf(index), &mut |coord, _| reported.push(coord))
                .unwrap();
        }
        let expected = [(0, 0), (0, 1), (1, 0), (0, 2), (0, 3), (1, 1), (2, 0)]
            .map(|(level, index)| NodeCoord { level, index });
        assert_eq!(reported, expected);
    }

    #[test]
    fn a_range_comes_back_from_its_nodes() {
        for leaves in 0..40 {
            let range = range_of(leaves);
            let nodes = range.nodes().to_vec();
            assert_eq!(CompactRange::from_nodes(range.size(), nodes), Ok(range));
        }
    }

    #[test]
    fn a_range_from_a_wrong_number_of_nodes_is_refused() {
        let size = TreeSize(7);
        for found in [0, 2, 4] {
            assert_eq!(
                CompactRange::from_nodes(size, vec![leaf(0); found]),
                Err(NodeCount {
                    size,
                    expected: 3,
                    found
                })
            );
        }
    }

    #[test]
    fn a_full_tree_takes_no_leaf_and_stays_as_it_is() {
        let nodes = vec![leaf(0); 63];
        let mut range = CompactRange::from_nodes(TreeSize::MAX, nodes).unwrap();
        let before = range.clone();
        let mut reports = 0;
        assert_eq!(
            range.append_with(leaf(1), &mut |_, _| reports += 1),
            Err(TreeFull)
        );
        assert_eq!((range, reports), (before, 0));
    }

    #[test]
    fn the_last_leaf_of_all_can_be_appended() {
        let size = TreeSize(DECIMAL_MAX - 1);
        let mut range = CompactRange::from_nodes(size, vec![leaf(0); 62]).unwrap();
        assert_eq!(range.append(leaf(1)), Ok(LeafIndex(DECIMAL_MAX - 1)));
        assert_eq!(range.size(), TreeSize::MAX);
    }

    #[test]
    fn only_finished_nodes_are_complete() {
        let node = |level, index| NodeCoord { level, index };
        assert!(node(0, 6).is_complete_in(TreeSize(7)));
        assert!(!node(0, 7).is_complete_in(TreeSize(7)));
        assert!(node(1, 2).is_complete_in(TreeSize(7)));
        assert!(!node(1, 3).is_complete_in(TreeSize(7)));
        assert!(node(62, 0).is_complete_in(TreeSize::MAX));
        for level in [63, 64, 255] {
            assert!(!node(level, 0).is_complete_in(TreeSize::MAX));
        }
    }

    #[test]
    fn a_map_says_which_node_it_does_not_hold() {
        let coord = NodeCoord { level: 1, index: 2 };
        let nodes = BTreeMap::from([(NodeCoord { level: 0, index: 0 }, leaf(0))]);
        assert_eq!(nodes.nodes(&[coord]), Err(MissingNode { coord }));
    }
}
