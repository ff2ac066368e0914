//! Making proofs: first which nodes, then their hashes.

use alloc::vec::Vec;

use super::descent::{Descent, Span};
use super::{
    PROOF_HASHES_MAX, ProveError, RangeError, Subtree, span_around_subtree, span_in_subtree,
    spans_of_leaf, spans_of_sizes,
};
use crate::hash::{Hash, node_hash};
use crate::tree::{LeafIndex, NodeCoord, NodeReader, TreeSize};

/// Which nodes a proof is made from, known before any is read.
///
/// The `prove_*` functions do both steps. Use the plan when the nodes come from somewhere that has
/// no [`NodeReader`], such as tiles that are fetched in parallel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofPlan {
    coords: Vec<NodeCoord>,
    /// For each hash of the proof, how many of `coords` it is made from; at least 1.
    parts: Vec<usize>,
}

impl ProofPlan {
    /// Plans [`prove_inclusion`](super::prove_inclusion).
    ///
    /// # Errors
    ///
    /// When there is no such leaf.
    pub fn inclusion(index: LeafIndex, size: TreeSize) -> Result<Self, RangeError> {
        // Spec: MRK-05
        spans_of_leaf(index, size).map(|(leaf, tree)| Self::between(leaf, tree))
    }

    /// Plans [`prove_consistency`](super::prove_consistency).
    ///
    /// # Errors
    ///
    /// When `from` is above `to`.
    pub fn consistency(from: TreeSize, to: TreeSize) -> Result<Self, RangeError> {
        // Spec: MRK-06, MRK-07
        Ok(match spans_of_sizes(from, to)? {
            Some((old, tree)) => Self::between(old, tree),
            None => Self {
                coords: Vec::new(),
                parts: Vec::new(),
            },
        })
    }

    /// Plans [`prove_subtree_inclusion`](super::prove_subtree_inclusion).
    ///
    /// # Errors
    ///
    /// When the leaf is not in the subtree.
    pub fn subtree_inclusion(index: LeafIndex, subtree: &Subtree) -> Result<Self, RangeError> {
        // Spec: MRK-09
        span_in_subtree(index, subtree).map(|leaf| Self::between(leaf, subtree.0))
    }

    /// Plans [`prove_subtree_consistency`](super::prove_subtree_consistency).
    ///
    /// # Errors
    ///
    /// When the subtree is not in the tree.
    pub fn subtree_consistency(subtree: &Subtree, size: TreeSize) -> Result<Self, RangeError> {
        // Spec: MRK-10
        span_around_subtree(subtree, size).map(|tree| Self::between(subtree.0, tree))
    }

    fn between(target: Span, tree: Span) -> Self {
        let mut descent = Descent {
            node: tree,
            target,
            target_known: true,
        };
        let mut siblings: Vec<Span> = descent.by_ref().map(|(_, sibling)| sibling).collect();
        if !descent.target_known {
            siblings.push(descent.node);
        }
        siblings.reverse();

        let mut coords = Vec::with_capacity(siblings.len());
        let mut parts = Vec::with_capacity(siblings.len());
        for span in siblings {
            let before = coords.len();
            span.push_nodes(&mut coords);
            parts.push(coords.len().saturating_sub(before));
        }
        Self { coords, parts }
    }

    /// The nodes to read. All of them are complete in the tree that the proof is about.
    pub fn coords(&self) -> &[NodeCoord] {
        &self.coords
    }

    /// How many hashes the proof has.
    pub fn proof_len(&self) -> usize {
        self.parts.len()
    }

    /// Makes the hashes of the proof from those of the nodes, given in the order of
    /// [`Self::coords`]. `None` when their number differs.
    pub fn assemble(&self, nodes: &[Hash]) -> Option<Vec<Hash>> {
        if nodes.len() != self.coords.len() {
            return None;
        }
        let mut rest = nodes;
        self.parts
            .iter()
            .map(|&count| {
                let (part, after) = rest.split_at_checked(count)?;
                rest = after;
                part.iter()
                    .rev()
                    .copied()
                    .reduce(|right, left| node_hash(&left, &right))
            })
            .collect()
    }

    pub(super) fn read<R: NodeReader + ?Sized>(
        &self,
        reader: &R,
    ) -> Result<Vec<Hash>, ProveError<R::Error>> {
        // Spec: MRK-13
        if self.proof_len() > PROOF_HASHES_MAX {
            return Err(ProveError::TooManyHashes {
                needed: self.proof_len(),
            });
        }
        if self.coords.is_empty() {
            return Ok(Vec::new());
        }
        let nodes = reader.nodes(&self.coords).map_err(ProveError::Reader)?;
        self.assemble(&nodes).ok_or(ProveError::NodeCount {
            asked: self.coords.len(),
            found: nodes.len(),
        })
    }
}
