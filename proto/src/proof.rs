//! Inclusion, consistency and subtree proofs: RFC 6962 sections 2.1.1 and 2.1.2, and section 4 of
//! draft-ietf-plants-merkle-tree-certs-03.
//!
//! All four are one proof. It shows that the leaves `[start, end)` of a subtree are the same leaves
//! in a larger tree; an inclusion proof is that of the subtree `[index, index + 1)`, and a
//! consistency proof is that of the subtree `[0, old size)`. Both sides walk the same way down,
//! from the root of the tree to the target, and note at each node where the target is:
//!
//! ```text
//!      [lo ........ mid ..... hi)     mid - lo = largest power of two below hi - lo
//! Left     [start, end)               the right child goes into the proof
//! Right             [start, end)      the left child goes into the proof
//! Both [start ........ end)           start = lo: the left child goes into the proof, and counts
//!                                     for the subtree as well as for the tree; go right
//! ```
//!
//! The walk ends at a node that is the (rest of the) target. When a `Both` was on the way, that
//! node is not the whole subtree and the verifier does not know its hash, so it is the first of the
//! proof; the other hashes follow from the bottom to the top. There is no other choice anywhere, so
//! the number of hashes follows from `start`, `end` and the size, and any other number is an error.
//!
//! No recursion, no arithmetic that can overflow, and no allocation in verification.
//!
//! Out of scope: who signed the tree head, and which size to ask for.

mod descent;
mod error;
mod hashes;
mod plan;
mod subtree;

use self::descent::{Descent, Span, Turn};
pub use self::error::{ProofError, ProveError, RangeError};
pub use self::hashes::{ConsistencyProof, InclusionProof, LinesError};
pub use self::plan::ProofPlan;
pub use self::subtree::{Subtree, SubtreeError};
use crate::hash::{Hash, empty_root, node_hash};
use crate::tree::{LeafIndex, NodeReader, TreeHead, TreeSize};

/// The most hashes that a proof may carry: the bound of C2SP tlog-witness and tlog-proof.
///
/// An inclusion proof never needs more. A consistency proof can need 64, but only into a tree of
/// more than 2^62 leaves; it is refused when made, with [`ProveError::TooManyHashes`].
// Spec: MRK-13
pub const PROOF_HASHES_MAX: usize = 63;

/// Verifies that the leaf hash stands at `index` in the tree of `head`.
///
/// # Errors
///
/// Says whether the numbers, the length of the proof or the hashes are wrong.
pub fn verify_inclusion(
    index: LeafIndex,
    leaf: &Hash,
    proof: &InclusionProof,
    head: &TreeHead,
) -> Result<(), ProofError> {
    // Spec: MRK-05
    check_empty_root(head)?;
    let computed = included_root(index, leaf, proof, head.size)?;
    check_root(&head.root_hash, &computed)
}

/// The root hash that a leaf hash at `index` and its proof lead to in a tree of `size` leaves: for
/// who knows of the root only that it was signed. It shows nothing by itself, since any leaf leads
/// to some root.
///
/// # Errors
///
/// Says whether the numbers or the length of the proof are wrong.
pub fn included_root(
    index: LeafIndex,
    leaf: &Hash,
    proof: &InclusionProof,
    size: TreeSize,
) -> Result<Hash, ProofError> {
    let (leaf_span, tree) = spans_of_leaf(index, size)?;
    Ok(evaluate(leaf_span, tree, leaf, proof.hashes())?.tree)
}

/// Verifies that the tree of `to` begins with the leaves of the tree of `from`.
///
/// The empty tree is a beginning of every tree: from size 0, the proof must be empty and the root
/// hash that of the empty tree, and nothing at all is shown about `to`.
///
/// # Errors
///
/// Says whether the sizes, the length of the proof or the hashes are wrong. When neither root
/// matches, the old one is reported ([`ProofError::SubtreeMismatch`]).
pub fn verify_consistency(
    from: &TreeHead,
    to: &TreeHead,
    proof: &ConsistencyProof,
) -> Result<(), ProofError> {
    // Spec: MRK-06, MRK-07
    check_empty_root(from)?;
    check_empty_root(to)?;
    let Some((old, tree)) = spans_of_sizes(from.size, to.size)? else {
        return check_length(0, proof.hashes().len());
    };
    check_roots(&from.root_hash, &to.root_hash, old, tree, proof.hashes())
}

/// What the tree of `to` was at size `from`, as a consistency proof shows it: the root hash that
/// the proof opens the root of `to` to, whatever root hash anybody signed for that size.
///
/// This is what is left of a proof that does not verify, and it is worth keeping: when the log
/// signed another root at that size, the two signatures are evidence against it.
///
/// Nothing comes from a proof that carries no old root: from size 0, from a power of two (RFC 6962
/// leaves it out there), and from the size of `to` itself.
///
/// # Errors
///
/// When the sizes or the length of the proof are wrong, or its hashes do not lead to the root of
/// `to`: then it says nothing about that tree.
pub fn opened_root(
    from: TreeSize,
    to: &TreeHead,
    proof: &ConsistencyProof,
) -> Result<Option<Hash>, ProofError> {
    // Spec: MRK-16
    check_empty_root(to)?;
    let Some((old, tree)) = spans_of_sizes(from, to.size)? else {
        check_length(0, proof.hashes().len())?;
        return Ok(None);
    };
    if from == to.size || from.get().is_power_of_two() {
        return Ok(None);
    }
    // The hash of the target is not looked at: such a proof begins with a node of its own.
    let computed = evaluate(old, tree, &to.root_hash, proof.hashes())?;
    check_root(&to.root_hash, &computed.tree)?;
    Ok(Some(computed.target))
}

/// Verifies that the leaf hash stands at `index`, counted from the first leaf of the whole tree,
/// within a subtree.
///
/// # Errors
///
/// Says whether the numbers, the length of the proof or the hashes are wrong.
pub fn verify_subtree_inclusion(
    index: LeafIndex,
    leaf: &Hash,
    proof: &InclusionProof,
    subtree: &Subtree,
    subtree_hash: &Hash,
) -> Result<(), ProofError> {
    // Spec: MRK-09
    let leaf_span = span_in_subtree(index, subtree)?;
    let computed = evaluate(leaf_span, subtree.0, leaf, proof.hashes())?.tree;
    check_root(subtree_hash, &computed)
}

/// Verifies that the leaves of a subtree are those leaves of the tree of `head`.
///
/// # Errors
///
/// Says whether the numbers, the length of the proof or the hashes are wrong. When neither hash
/// matches, the subtree's is reported ([`ProofError::SubtreeMismatch`]).
pub fn verify_subtree_consistency(
    subtree: &Subtree,
    subtree_hash: &Hash,
    proof: &ConsistencyProof,
    head: &TreeHead,
) -> Result<(), ProofError> {
    // Spec: MRK-10
    check_empty_root(head)?;
    let tree = span_around_subtree(subtree, head.size)?;
    check_roots(
        subtree_hash,
        &head.root_hash,
        subtree.0,
        tree,
        proof.hashes(),
    )
}

/// Makes the proof that the leaf at `index` is in the tree of `size` leaves.
///
/// # Errors
///
/// When there is no such leaf, or when the reader fails.
pub fn prove_inclusion<R: NodeReader + ?Sized>(
    index: LeafIndex,
    size: TreeSize,
    reader: &R,
) -> Result<InclusionProof, ProveError<R::Error>> {
    Ok(InclusionProof(
        ProofPlan::inclusion(index, size)?.read(reader)?,
    ))
}

/// Makes the proof that the tree of size `to` begins with the leaves of the tree of size `from`.
///
/// # Errors
///
/// When `from` is above `to`, when C2SP cannot carry the proof, or when the reader fails.
pub fn prove_consistency<R: NodeReader + ?Sized>(
    from: TreeSize,
    to: TreeSize,
    reader: &R,
) -> Result<ConsistencyProof, ProveError<R::Error>> {
    Ok(ConsistencyProof(
        ProofPlan::consistency(from, to)?.read(reader)?,
    ))
}

/// Makes the proof that the leaf at `index`, counted from the first leaf of the whole tree, is in a
/// subtree.
///
/// # Errors
///
/// When the leaf is not in the subtree, or when the reader fails.
pub fn prove_subtree_inclusion<R: NodeReader + ?Sized>(
    index: LeafIndex,
    subtree: &Subtree,
    reader: &R,
) -> Result<InclusionProof, ProveError<R::Error>> {
    Ok(InclusionProof(
        ProofPlan::subtree_inclusion(index, subtree)?.read(reader)?,
    ))
}

/// Makes the proof that the leaves of a subtree are those leaves of the tree of `size` leaves.
///
/// # Errors
///
/// When the subtree is not in the tree, when C2SP cannot carry the proof, or when the reader fails.
pub fn prove_subtree_consistency<R: NodeReader + ?Sized>(
    subtree: &Subtree,
    size: TreeSize,
    reader: &R,
) -> Result<ConsistencyProof, ProveError<R::Error>> {
    Ok(ConsistencyProof(
        ProofPlan::subtree_consistency(subtree, size)?.read(reader)?,
    ))
}

/// What the hashes of a proof lead to.
struct Evaluated {
    /// The hash of the target.
    target: Hash,
    /// The root hash of the tree around it.
    tree: Hash,
}

/// Climbs from the target to the root of the tree.
///
/// The turns are kept as bits, the lowest one for the lowest node: a tree of less than 2^63 leaves
/// has at most 63 nodes on the way.
fn evaluate(
    target: Span,
    tree: Span,
    target_hash: &Hash,
    proof: &[Hash],
) -> Result<Evaluated, ProofError> {
    // Spec: MRK-12
    let mut descent = Descent {
        node: tree,
        target,
        target_known: true,
    };
    let (mut steps, mut not_left, mut both) = (0_usize, 0_u64, 0_u64);
    for (turn, _) in descent.by_ref() {
        steps += 1;
        not_left = (not_left << 1) | u64::from(turn != Turn::Left);
        both = (both << 1) | u64::from(turn == Turn::Both);
    }
    let first = usize::from(!descent.target_known);
    check_length(steps + first, proof.len())?;

    let (start, path) = match proof.split_first() {
        Some((start, path)) if !descent.target_known => (start, path),
        _ => (target_hash, proof),
    };
    let mut hashes = Evaluated {
        target: *start,
        tree: *start,
    };
    for sibling in path {
        hashes.tree = if not_left & 1 == 1 {
            node_hash(sibling, &hashes.tree)
        } else {
            node_hash(&hashes.tree, sibling)
        };
        if both & 1 == 1 {
            hashes.target = node_hash(sibling, &hashes.target);
        }
        not_left >>= 1;
        both >>= 1;
    }
    Ok(hashes)
}

fn spans_of_leaf(index: LeafIndex, size: TreeSize) -> Result<(Span, Span), RangeError> {
    if !size.contains(index) {
        return Err(RangeError::IndexOutsideTree { index, size });
    }
    Ok((
        leaf_span(index),
        Span {
            lo: 0,
            hi: size.get(),
        },
    ))
}

/// `None` from size 0, which has no leaves to prove anything about.
fn spans_of_sizes(from: TreeSize, to: TreeSize) -> Result<Option<(Span, Span)>, RangeError> {
    if from > to {
        return Err(RangeError::FromAboveTo { from, to });
    }
    Ok((!from.is_zero()).then_some((
        Span {
            lo: 0,
            hi: from.get(),
        },
        Span {
            lo: 0,
            hi: to.get(),
        },
    )))
}

fn span_in_subtree(index: LeafIndex, subtree: &Subtree) -> Result<Span, RangeError> {
    if index.get() < subtree.start() || index.get() >= subtree.end() {
        return Err(RangeError::IndexOutsideSubtree {
            index,
            subtree: *subtree,
        });
    }
    Ok(leaf_span(index))
}

fn span_around_subtree(subtree: &Subtree, size: TreeSize) -> Result<Span, RangeError> {
    if subtree.end() > size.get() {
        return Err(RangeError::SubtreeOutsideTree {
            subtree: *subtree,
            size,
        });
    }
    Ok(Span {
        lo: 0,
        hi: size.get(),
    })
}

/// An index is below 2^63, so the next one is a `u64`.
const fn leaf_span(index: LeafIndex) -> Span {
    Span {
        lo: index.get(),
        hi: index.get() + 1,
    }
}

fn check_empty_root(head: &TreeHead) -> Result<(), ProofError> {
    // Spec: MRK-01
    if head.size.is_zero() && head.root_hash != empty_root() {
        return Err(ProofError::EmptyTreeRoot {
            found: head.root_hash,
        });
    }
    Ok(())
}

fn check_length(expected: usize, found: usize) -> Result<(), ProofError> {
    // Spec: MRK-12
    match found.cmp(&expected) {
        core::cmp::Ordering::Less => Err(ProofError::MissingHashes { expected, found }),
        core::cmp::Ordering::Equal => Ok(()),
        core::cmp::Ordering::Greater => Err(ProofError::ExtraHashes { expected, found }),
    }
}

fn check_roots(
    target_hash: &Hash,
    root_hash: &Hash,
    target: Span,
    tree: Span,
    proof: &[Hash],
) -> Result<(), ProofError> {
    let computed = evaluate(target, tree, target_hash, proof)?;
    if computed.target != *target_hash {
        return Err(ProofError::SubtreeMismatch {
            expected: *target_hash,
            computed: computed.target,
        });
    }
    check_root(root_hash, &computed.tree)
}

fn check_root(expected: &Hash, computed: &Hash) -> Result<(), ProofError> {
    if computed == expected {
        Ok(())
    } else {
        Err(ProofError::RootMismatch {
            expected: *expected,
            computed: *computed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base64::Base64Error;
    use crate::decimal::DECIMAL_MAX;
    use crate::hash::leaf_hash;
    use crate::tree::{CompactRange, NodeCoord};
    use alloc::collections::BTreeMap;
    use alloc::vec;
    use alloc::vec::Vec;
    use core::convert::Infallible;

    /// Nodes of the tree over the first leaves, and its head.
    fn tree(leaves: u8) -> (BTreeMap<NodeCoord, Hash>, TreeHead) {
        let mut nodes = BTreeMap::new();
        let mut range = CompactRange::new();
        for index in 0..leaves {
            let leaf = leaf_hash(&[index]);
            range
                .append_with(leaf, &mut |coord, hash| {
                    let _ = nodes.insert(coord, hash);
                })
                .unwrap();
        }
        (nodes, range.head())
    }

    fn size(leaves: u64) -> TreeSize {
        TreeSize::new(leaves).unwrap()
    }

    fn index(index: u64) -> LeafIndex {
        LeafIndex::new(index).unwrap()
    }

    fn coords(plan: &ProofPlan) -> Vec<(u8, u64)> {
        plan.coords()
            .iter()
            .map(|coord| (coord.level, coord.index))
            .collect()
    }

    // Spec: MRK-05
    #[test]
    fn inclusion_proofs_of_the_rfc_example_have_its_nodes() {
        // RFC 6962, section 2.1.3: the tree over d0 to d6.
        for (leaf, expected) in [
            (0, vec![(0, 1), (1, 1), (1, 2), (0, 6)]),
            (3, vec![(0, 2), (1, 0), (1, 2), (0, 6)]),
            (4, vec![(0, 5), (0, 6), (2, 0)]),
            (6, vec![(1, 2), (2, 0)]),
        ] {
            let plan = ProofPlan::inclusion(index(leaf), size(7)).unwrap();
            assert_eq!(coords(&plan), expected, "leaf {leaf}");
        }
        // The sibling [4, 7) is one hash made from two nodes.
        assert_eq!(
            ProofPlan::inclusion(index(0), size(7)).unwrap().proof_len(),
            3
        );
    }

    // Spec: MRK-06
    #[test]
    fn consistency_proofs_of_the_rfc_example_have_its_nodes() {
        for (from, expected) in [
            // PROOF(3, D[7]) = [c, d, g, l]
            (3, vec![(0, 2), (0, 3), (1, 0), (1, 2), (0, 6)]),
            // PROOF(4, D[7]) = [l]
            (4, vec![(1, 2), (0, 6)]),
            // PROOF(6, D[7]) = [i, j, k]
            (6, vec![(1, 2), (0, 6), (2, 0)]),
        ] {
            let plan = ProofPlan::consistency(size(from), size(7)).unwrap();
            assert_eq!(coords(&plan), expected, "from {from}");
        }
    }

    // Spec: MRK-10
    #[test]
    fn subtree_proofs_of_the_draft_examples_have_their_nodes() {
        for (start, end, expected) in [
            (4, 8, vec![(2, 0), (2, 2), (1, 6)]),
            (8, 13, vec![(0, 12), (0, 13), (2, 2), (3, 0)]),
        ] {
            let subtree = Subtree::new(start, end).unwrap();
            let plan = ProofPlan::subtree_consistency(&subtree, size(14)).unwrap();
            assert_eq!(coords(&plan), expected, "{subtree}");
        }
    }

    // Spec: MRK-09
    #[test]
    fn the_subtree_inclusion_proof_of_the_draft_example_has_its_nodes() {
        let subtree = Subtree::new(8, 13).unwrap();
        let plan = ProofPlan::subtree_inclusion(index(10), &subtree).unwrap();
        assert_eq!(coords(&plan), [(0, 11), (1, 4), (0, 12)]);
        let outside = RangeError::IndexOutsideSubtree {
            index: index(13),
            subtree,
        };
        assert_eq!(
            ProofPlan::subtree_inclusion(index(13), &subtree),
            Err(outside)
        );
        assert!(ProofPlan::subtree_inclusion(index(7), &subtree).is_err());
    }

    // Spec: MRK-08
    #[test]
    fn only_aligned_ranges_with_leaves_are_subtrees() {
        for (start, end) in [
            (0, 1),
            (0, DECIMAL_MAX),
            (4, 8),
            (8, 13),
            (7, 8),
            (1 << 62, 3 << 61),
        ] {
            let subtree = Subtree::new(start, end).unwrap();
            assert_eq!((subtree.start(), subtree.end()), (start, end));
        }
        for (start, end, error) in [
            (0, 0, SubtreeError::Empty { start: 0, end: 0 }),
            (8, 4, SubtreeError::Empty { start: 8, end: 4 }),
            (0, 1 << 63, SubtreeError::TooLarge { end: 1 << 63 }),
            (u64::MAX, u64::MAX, SubtreeError::TooLarge { end: u64::MAX }),
            (
                1,
                3,
                SubtreeError::Unaligned {
                    start: 1,
                    end: 3,
                    alignment: 2,
                },
            ),
            (
                4,
                9,
                SubtreeError::Unaligned {
                    start: 4,
                    end: 9,
                    alignment: 8,
                },
            ),
            (
                1,
                DECIMAL_MAX,
                SubtreeError::Unaligned {
                    start: 1,
                    end: DECIMAL_MAX,
                    alignment: 1 << 63,
                },
            ),
        ] {
            assert_eq!(Subtree::new(start, end), Err(error));
        }
        assert!(Subtree::new(4, 8).unwrap().is_full());
        assert!(!Subtree::new(8, 13).unwrap().is_full());
    }

    // Spec: MRK-07
    #[test]
    fn from_the_empty_tree_only_the_empty_proof_is_accepted() {
        let (_, head) = tree(5);
        let none = ConsistencyProof::default();
        let one = ConsistencyProof::new(vec![head.root_hash]).unwrap();
        let extra = ProofError::ExtraHashes {
            expected: 0,
            found: 1,
        };
        for to in [TreeHead::empty(), head] {
            assert_eq!(verify_consistency(&TreeHead::empty(), &to, &none), Ok(()));
            assert_eq!(
                verify_consistency(&TreeHead::empty(), &to, &one),
                Err(extra)
            );
        }
    }

    // Spec: MRK-07
    #[test]
    fn equal_sizes_need_the_empty_proof_and_equal_roots() {
        let (_, head) = tree(5);
        let other = TreeHead {
            root_hash: leaf_hash(b"other"),
            ..head
        };
        let none = ConsistencyProof::default();
        assert_eq!(verify_consistency(&head, &head, &none), Ok(()));
        assert_eq!(
            verify_consistency(&head, &other, &none),
            Err(ProofError::RootMismatch {
                expected: other.root_hash,
                computed: head.root_hash
            })
        );
        let one = ConsistencyProof::new(vec![head.root_hash]).unwrap();
        let extra = ProofError::ExtraHashes {
            expected: 0,
            found: 1,
        };
        assert_eq!(verify_consistency(&head, &head, &one), Err(extra));
    }

    // Spec: MRK-01
    #[test]
    fn a_head_of_size_zero_has_no_other_root_than_the_empty_one() {
        let (_, head) = tree(5);
        let wrong = TreeHead {
            size: TreeSize::ZERO,
            root_hash: head.root_hash,
        };
        let error = Err(ProofError::EmptyTreeRoot {
            found: head.root_hash,
        });
        let none = ConsistencyProof::default();
        assert_eq!(verify_consistency(&wrong, &head, &none), error);
        assert_eq!(verify_consistency(&TreeHead::empty(), &wrong, &none), error);
        let path = InclusionProof::default();
        assert_eq!(
            verify_inclusion(index(0), &head.root_hash, &path, &wrong),
            error
        );
        let one = Subtree::new(0, 1).unwrap();
        assert_eq!(
            verify_subtree_consistency(&one, &head.root_hash, &none, &wrong),
            error
        );
    }

    #[test]
    fn numbers_that_no_proof_is_about_are_refused_on_both_sides() {
        let (nodes, head) = tree(5);
        let outside = RangeError::IndexOutsideTree {
            index: index(5),
            size: size(5),
        };
        assert_eq!(
            prove_inclusion(index(5), size(5), &nodes),
            Err(ProveError::Range(outside))
        );
        assert_eq!(
            verify_inclusion(index(5), &head.root_hash, &InclusionProof::default(), &head),
            Err(ProofError::Range(outside))
        );
        let above = RangeError::FromAboveTo {
            from: size(6),
            to: size(5),
        };
        assert_eq!(
            prove_consistency(size(6), size(5), &nodes),
            Err(ProveError::Range(above))
        );
        let later = TreeHead {
            size: size(6),
            ..head
        };
        assert_eq!(
            verify_consistency(&later, &head, &ConsistencyProof::default()),
            Err(ProofError::Range(above))
        );
        let subtree = Subtree::new(4, 6).unwrap();
        let beyond = RangeError::SubtreeOutsideTree {
            subtree,
            size: size(5),
        };
        assert_eq!(
            prove_subtree_consistency(&subtree, size(5), &nodes),
            Err(ProveError::Range(beyond))
        );
        assert_eq!(
            verify_subtree_consistency(
                &subtree,
                &head.root_hash,
                &ConsistencyProof::default(),
                &head
            ),
            Err(ProofError::Range(beyond))
        );
    }

    // Spec: MRK-12
    #[test]
    fn missing_and_extra_hashes_are_told_apart() {
        let (nodes, head) = tree(13);
        let leaf = leaf_hash(&[4]);
        let good = prove_inclusion(index(4), size(13), &nodes)
            .unwrap()
            .into_hashes();
        for found in (0..10).filter(|&found| found != good.len()) {
            let mut hashes = good.clone();
            hashes.resize(found, leaf);
            let proof = InclusionProof::new(hashes).unwrap();
            let expected = good.len();
            let error = if found < expected {
                ProofError::MissingHashes { expected, found }
            } else {
                ProofError::ExtraHashes { expected, found }
            };
            assert_eq!(verify_inclusion(index(4), &leaf, &proof, &head), Err(error));
        }
    }

    // Spec: MRK-12
    #[test]
    fn mismatches_say_which_hash_was_missed() {
        let (nodes, head) = tree(13);
        let (_, old) = tree(6);
        let proof = prove_consistency(old.size, head.size, &nodes).unwrap();
        assert_eq!(verify_consistency(&old, &head, &proof), Ok(()));
        let wrong = leaf_hash(b"wrong");
        let wrong_old = TreeHead {
            root_hash: wrong,
            ..old
        };
        let wrong_head = TreeHead {
            root_hash: wrong,
            ..head
        };
        assert_eq!(
            verify_consistency(&wrong_old, &head, &proof),
            Err(ProofError::SubtreeMismatch {
                expected: wrong,
                computed: old.root_hash
            })
        );
        assert_eq!(
            verify_consistency(&old, &wrong_head, &proof),
            Err(ProofError::RootMismatch {
                expected: wrong,
                computed: head.root_hash
            })
        );
    }

    // Spec: MRK-13
    #[test]
    fn a_proof_carries_at_most_63_hashes() {
        let hash = empty_root();
        assert!(InclusionProof::new(vec![hash; 63]).is_ok());
        let error = ProofError::TooManyHashes { found: 64 };
        assert_eq!(InclusionProof::new(vec![hash; 64]), Err(error));
        assert_eq!(ConsistencyProof::new(vec![hash; 64]), Err(error));

        let lines = ConsistencyProof::new(vec![hash; 63]).unwrap().to_lines();
        assert!(ConsistencyProof::parse_lines(&lines).is_ok());
        let lines = lines + "\n";
        assert_eq!(
            ConsistencyProof::parse_lines(&lines),
            Err(LinesError::TooMany)
        );
    }

    /// Gives any number of hashes for whatever is asked.
    struct Broken(usize);

    impl NodeReader for Broken {
        type Error = Infallible;

        fn nodes(&self, _: &[NodeCoord]) -> Result<Vec<Hash>, Infallible> {
            Ok(vec![empty_root(); self.0])
        }
    }

    // Spec: MRK-13
    #[test]
    fn the_few_proofs_that_c2sp_cannot_carry_are_not_made() {
        assert_eq!(
            prove_consistency(size(3), TreeSize::MAX, &Broken(0)),
            Err(ProveError::TooManyHashes { needed: 64 })
        );
        let plan = ProofPlan::consistency(size(3), size(1 << 62)).unwrap();
        assert_eq!(plan.proof_len(), 63);
        let plan = ProofPlan::inclusion(index(0), TreeSize::MAX).unwrap();
        assert_eq!(plan.proof_len(), 63);
    }

    #[test]
    fn a_reader_that_answers_with_a_wrong_number_is_caught() {
        for found in [0, 2, 4] {
            assert_eq!(
                prove_inclusion(index(0), size(8), &Broken(found)),
                Err(ProveError::NodeCount { asked: 3, found })
            );
        }
    }

    #[test]
    fn nothing_is_read_for_an_empty_proof() {
        struct Untouched;
        impl NodeReader for Untouched {
            type Error = Infallible;

            fn nodes(&self, coords: &[NodeCoord]) -> Result<Vec<Hash>, Infallible> {
                panic!("asked for {coords:?}")
            }
        }
        let empty = ConsistencyProof::default();
        for (from, to) in [(0, 0), (0, 9), (9, 9)] {
            assert_eq!(
                prove_consistency(size(from), size(to), &Untouched),
                Ok(empty.clone())
            );
        }
        assert_eq!(
            prove_inclusion(index(0), size(1), &Untouched),
            Ok(InclusionProof::default())
        );
    }

    // Spec: MRK-14
    #[test]
    fn proof_lines_are_canonical() {
        let (nodes, head) = tree(9);
        let proof = prove_consistency(size(6), head.size, &nodes).unwrap();
        let text = proof.to_lines();
        assert_eq!(ConsistencyProof::parse_lines(&text), Ok(proof));
        assert_eq!(
            ConsistencyProof::parse_lines(""),
            Ok(ConsistencyProof::default())
        );

        let unterminated = text.strip_suffix('\n').unwrap();
        assert_eq!(
            ConsistencyProof::parse_lines(unterminated),
            Err(LinesError::Unterminated { line: 4 })
        );
        let with_return = text.replacen('\n', "\r\n", 1);
        assert_eq!(
            ConsistencyProof::parse_lines(&with_return),
            Err(LinesError::Hash {
                line: 1,
                reason: Base64Error::Symbol {
                    offset: 44,
                    byte: b'\r'
                }
            })
        );
        assert_eq!(
            ConsistencyProof::parse_lines("AAAA\n"),
            Err(LinesError::Hash {
                line: 1,
                reason: Base64Error::DecodedLength {
                    expected: 32,
                    found: 3
                }
            })
        );
        assert!(ConsistencyProof::parse_lines("\n").is_err());
    }
}
