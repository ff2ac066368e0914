//! Every proof that is made verifies and is the one of the specification; no change of it does.

use jurat_proto::hash::Hash;
use jurat_proto::proof::{
    ConsistencyProof, InclusionProof, ProofError, Subtree, opened_root, prove_consistency,
    prove_inclusion, prove_subtree_consistency, prove_subtree_inclusion, verify_consistency,
    verify_inclusion, verify_subtree_consistency, verify_subtree_inclusion,
};
use jurat_proto::tree::{CompactRange, LeafIndex, TreeHead, TreeSize};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::{index, leaves, reference, size, tree};

fn head(leaves: &[Hash]) -> TreeHead {
    TreeHead {
        size: size(leaves.len()),
        root_hash: reference::mth(leaves),
    }
}

fn flip(hash: &Hash, bit: usize) -> Hash {
    let mut bytes = *hash.as_bytes();
    bytes[bit / 8 % 32] ^= 1 << (bit % 8);
    Hash::new(bytes)
}

// Spec: MRK-04
#[test]
fn compact_ranges_have_the_root_of_the_definition() {
    let leaves = leaves(300);
    let mut range = CompactRange::new();
    for count in 0..=leaves.len() {
        assert_eq!(range.head(), head(&leaves[..count]), "size {count}");
        if let Some(leaf) = leaves.get(count) {
            assert_eq!(range.append(*leaf), Ok(index(count)));
        }
    }
}

// Spec: MRK-05, MRK-11
#[test]
fn every_inclusion_proof_is_the_path_of_the_rfc_and_verifies() {
    let leaves = leaves(80);
    let (nodes, _) = tree(&leaves);
    for n in 1..=leaves.len() {
        let (leaves, head) = (&leaves[..n], head(&leaves[..n]));
        for (m, leaf) in leaves.iter().enumerate() {
            let proof = prove_inclusion(index(m), size(n), &nodes).unwrap();
            assert_eq!(
                proof.hashes(),
                reference::path(m, leaves),
                "PATH({m}, D[{n}])"
            );
            assert_eq!(proof.hashes(), reference::subtree_proof(m, m + 1, leaves));
            assert_eq!(verify_inclusion(index(m), leaf, &proof, &head), Ok(()));
        }
    }
}

// Spec: MRK-06, MRK-11
#[test]
fn every_consistency_proof_is_the_proof_of_the_rfc_and_verifies() {
    let leaves = leaves(80);
    let (nodes, _) = tree(&leaves);
    for n in 1..=leaves.len() {
        let (leaves, to) = (&leaves[..n], head(&leaves[..n]));
        for m in 1..=n {
            let proof = prove_consistency(size(m), size(n), &nodes).unwrap();
            assert_eq!(
                proof.hashes(),
                reference::proof(m, leaves),
                "PROOF({m}, D[{n}])"
            );
            assert_eq!(proof.hashes(), reference::subtree_proof(0, m, leaves));
            assert_eq!(verify_consistency(&head(&leaves[..m]), &to, &proof), Ok(()));
        }
    }
}

// Spec: MRK-16
#[test]
fn a_proof_shows_the_old_root_of_the_new_tree_whatever_was_signed() {
    let leaves = leaves(40);
    let (nodes, _) = tree(&leaves);
    for n in 1..=leaves.len() {
        let to = head(&leaves[..n]);
        for m in 0..=n {
            let proof = match m {
                0 => ConsistencyProof::default(),
                _ => prove_consistency(size(m), size(n), &nodes).unwrap(),
            };
            let carried = m != 0 && m != n && !m.is_power_of_two();
            let expected = carried.then(|| head(&leaves[..m]).root_hash);
            assert_eq!(opened_root(size(m), &to, &proof), Ok(expected), "{m} {n}");
            if carried {
                let mut hashes = proof.into_hashes();
                hashes[0] = flip(&hashes[0], 0);
                let changed = ConsistencyProof::new(hashes).unwrap();
                let error = opened_root(size(m), &to, &changed).unwrap_err();
                assert!(matches!(error, ProofError::RootMismatch { .. }), "{error}");
            }
        }
    }
    let (two, five) = (size(2), head(&leaves[..5]));
    let none = ConsistencyProof::default();
    assert!(opened_root(size(5), &head(&leaves[..2]), &none).is_err());
    assert!(opened_root(size(3), &five, &none).is_err());
    assert_eq!(opened_root(two, &five, &none), Ok(None));
}

// Spec: MRK-08, MRK-09, MRK-10, MRK-11
#[test]
fn every_subtree_has_the_proofs_of_the_draft_and_they_verify() {
    let leaves = leaves(40);
    let (nodes, _) = tree(&leaves);
    for n in 1..=leaves.len() {
        let (leaves, head) = (&leaves[..n], head(&leaves[..n]));
        for (start, end) in (0..n).flat_map(|start| (start + 1..=n).map(move |end| (start, end))) {
            let (first, after) = (start as u64, end as u64);
            assert_eq!(
                Subtree::new(first, after).is_ok(),
                reference::is_subtree(first, after)
            );
            let Ok(subtree) = Subtree::new(first, after) else {
                continue;
            };
            let hash = reference::mth(&leaves[start..end]);

            let proof = prove_subtree_consistency(&subtree, size(n), &nodes).unwrap();
            assert_eq!(
                proof.hashes(),
                reference::subtree_proof(start, end, leaves),
                "SUBTREE_PROOF({start}, {end}, D_{n})"
            );
            assert_eq!(
                verify_subtree_consistency(&subtree, &hash, &proof, &head),
                Ok(())
            );
            let numbers = [first, after, n as u64];
            assert!(reference::accepts(
                numbers,
                proof.hashes(),
                hash,
                head.root_hash
            ));

            for m in start..end {
                let proof = prove_subtree_inclusion(index(m), &subtree, &nodes).unwrap();
                assert_eq!(
                    proof.hashes(),
                    reference::path(m - start, &leaves[start..end]),
                    "leaf {m} of {subtree}"
                );
                let verdict =
                    verify_subtree_inclusion(index(m), &leaves[m], &proof, &subtree, &hash);
                assert_eq!(verdict, Ok(()));
            }
        }
    }
}

/// A size, and an index below it.
fn leaf_in_tree() -> impl Strategy<Value = (usize, usize)> {
    (1..700_usize).prop_flat_map(|n| (0..n, Just(n)))
}

/// A size, and a subtree of that tree.
fn subtree_in_tree() -> impl Strategy<Value = (Subtree, usize)> {
    (1..700_usize, 0..10_u32, any::<Index>(), any::<Index>()).prop_map(|(n, level, at, length)| {
        let ceil = 1_usize << level.min(n.ilog2());
        let start = at.index(n.div_ceil(ceil)) * ceil;
        let end = start + 1 + length.index((n - start).min(ceil));
        (Subtree::new(start as u64, end as u64).unwrap(), n)
    })
}

proptest! {
    #[test]
    fn a_changed_inclusion_proof_fails((m, n) in leaf_in_tree(), bit in 0..256_usize, at: Index) {
        let leaves = leaves(n);
        let (nodes, head) = tree(&leaves);
        let leaf = leaves[m];
        let proof = prove_inclusion(index(m), size(n), &nodes).unwrap();
        prop_assert_eq!(verify_inclusion(index(m), &leaf, &proof, &head), Ok(()));

        prop_assert!(verify_inclusion(index(m), &flip(&leaf, bit), &proof, &head).is_err());
        let other = TreeHead { root_hash: flip(&head.root_hash, bit), ..head };
        prop_assert!(verify_inclusion(index(m), &leaf, &proof, &other).is_err());
        if !proof.hashes().is_empty() {
            let mut hashes = proof.hashes().to_vec();
            let at = at.index(hashes.len());
            hashes[at] = flip(&hashes[at], bit);
            let other = InclusionProof::new(hashes).unwrap();
            prop_assert!(verify_inclusion(index(m), &leaf, &other, &head).is_err());
        }
        for bit in 0..63 {
            let other = LeafIndex::new(m as u64 ^ 1 << bit).unwrap();
            prop_assert!(verify_inclusion(other, &leaf, &proof, &head).is_err());
        }
    }

    #[test]
    fn a_changed_consistency_proof_fails(
        (m, n) in leaf_in_tree(), bit in 0..256_usize, at: Index,
    ) {
        let leaves = leaves(n);
        let (nodes, to) = tree(&leaves);
        let from = tree(&leaves[..=m]).1;
        let proof = prove_consistency(from.size, to.size, &nodes).unwrap();
        prop_assert_eq!(verify_consistency(&from, &to, &proof), Ok(()));

        let other = TreeHead { root_hash: flip(&from.root_hash, bit), ..from };
        prop_assert!(verify_consistency(&other, &to, &proof).is_err());
        let other = TreeHead { root_hash: flip(&to.root_hash, bit), ..to };
        prop_assert!(verify_consistency(&from, &other, &proof).is_err());
        if !proof.hashes().is_empty() {
            let mut hashes = proof.hashes().to_vec();
            let at = at.index(hashes.len());
            hashes[at] = flip(&hashes[at], bit);
            let other = ConsistencyProof::new(hashes).unwrap();
            prop_assert!(verify_consistency(&from, &to, &other).is_err());
        }
        for bit in 0..63 {
            let size = TreeSize::new(from.size.get() ^ 1 << bit).unwrap();
            let other = TreeHead { size, ..from };
            prop_assert!(verify_consistency(&other, &to, &proof).is_err());
        }
    }

    #[test]
    fn a_tree_that_is_no_continuation_has_no_consistency_proof(
        (m, n) in leaf_in_tree(), changed: Index,
    ) {
        let mut leaves = leaves(n);
        let from = tree(&leaves[..=m]).1;
        let changed = changed.index(m + 1);
        leaves[changed] = flip(&leaves[changed], 0);
        let (nodes, to) = tree(&leaves);
        let proof = prove_consistency(from.size, to.size, &nodes).unwrap();
        prop_assert!(verify_consistency(&from, &to, &proof).is_err());
    }

    // Spec: MRK-10
    #[test]
    fn a_changed_subtree_proof_fails(
        (subtree, n) in subtree_in_tree(),
        bit in 0..256_usize,
        at: Index,
    ) {
        let leaves = leaves(n);
        let (nodes, head) = tree(&leaves);
        let hash = reference::mth(&leaves[subtree.start() as usize..subtree.end() as usize]);
        let proof = prove_subtree_consistency(&subtree, size(n), &nodes).unwrap();
        prop_assert_eq!(verify_subtree_consistency(&subtree, &hash, &proof, &head), Ok(()));

        prop_assert!(
            verify_subtree_consistency(&subtree, &flip(&hash, bit), &proof, &head).is_err()
        );
        let other = TreeHead { root_hash: flip(&head.root_hash, bit), ..head };
        prop_assert!(verify_subtree_consistency(&subtree, &hash, &proof, &other).is_err());
        if !proof.hashes().is_empty() {
            let mut hashes = proof.hashes().to_vec();
            let at = at.index(hashes.len());
            hashes[at] = flip(&hashes[at], bit);
            let other = ConsistencyProof::new(hashes).unwrap();
            prop_assert!(verify_subtree_consistency(&subtree, &hash, &other, &head).is_err());
        }
        for bit in 0..63 {
            for (start, end) in [
                (subtree.start() ^ 1 << bit, subtree.end()),
                (subtree.start(), subtree.end() ^ 1 << bit),
            ] {
                if let Ok(other) = Subtree::new(start, end) {
                    prop_assert!(
                        verify_subtree_consistency(&other, &hash, &proof, &head).is_err()
                    );
                }
            }
        }
    }

    // Spec: MRK-12
    #[test]
    fn any_other_number_of_hashes_fails((subtree, n) in subtree_in_tree(), found in 0..=63_usize) {
        let leaves = leaves(n);
        let (nodes, head) = tree(&leaves);
        let hash = reference::mth(&leaves[subtree.start() as usize..subtree.end() as usize]);
        let proof = prove_subtree_consistency(&subtree, size(n), &nodes).unwrap();
        let mut hashes = proof.into_hashes();
        let expected = hashes.len();
        hashes.resize(found, hash);
        let proof = ConsistencyProof::new(hashes).unwrap();
        let verdict = verify_subtree_consistency(&subtree, &hash, &proof, &head);
        match found.cmp(&expected) {
            std::cmp::Ordering::Less => {
                prop_assert_eq!(verdict, Err(ProofError::MissingHashes { expected, found }));
            }
            std::cmp::Ordering::Equal => prop_assert_eq!(verdict, Ok(())),
            std::cmp::Ordering::Greater => {
                prop_assert_eq!(verdict, Err(ProofError::ExtraHashes { expected, found }));
            }
        }
    }

    /// A size is bound to a root hash by the signature over both, not by the hash: leaf 0 has the
    /// same path in trees of 3 and of 4 leaves. So a changed size must get the verdict of the
    /// draft's own procedure, which mostly is a refusal.
    #[test]
    fn a_changed_size_gets_the_verdict_of_the_draft(
        (subtree, n) in subtree_in_tree(), other in 1..1_500_u64, bit in 0..63_u32,
    ) {
        let leaves = leaves(n);
        let (nodes, head) = tree(&leaves);
        let hash = reference::mth(&leaves[subtree.start() as usize..subtree.end() as usize]);
        let proof = prove_subtree_consistency(&subtree, size(n), &nodes).unwrap();
        for other in [other, n as u64 ^ 1 << bit] {
            let numbers = [subtree.start(), subtree.end(), other];
            let expected = reference::accepts(numbers, proof.hashes(), hash, head.root_hash);
            let other = TreeHead { size: TreeSize::new(other).unwrap(), ..head };
            if !other.size.is_zero() {
                let verdict = verify_subtree_consistency(&subtree, &hash, &proof, &other);
                prop_assert_eq!(verdict.is_ok(), expected);
            }
        }
    }

    #[test]
    fn any_numbers_and_hashes_are_answered(
        numbers in any::<[u64; 3]>(), shift in any::<[u8; 3]>(), count in 0..=63_usize,
        roots in any::<[[u8; 32]; 2]>(),
    ) {
        let [start, end, n] =
            [0, 1, 2].map(|at| (numbers[at] >> 1) >> (shift[at] % 63));
        let [hash, root_hash] = roots.map(Hash::new);
        let proof = vec![hash; count];
        let head = TreeHead { size: TreeSize::new(n).unwrap(), root_hash };
        let from = TreeHead { size: TreeSize::new(end).unwrap(), root_hash: hash };
        let consistency = ConsistencyProof::new(proof.clone()).unwrap();
        let inclusion = InclusionProof::new(proof).unwrap();
        let index = LeafIndex::new(start).unwrap();
        prop_assert!(verify_inclusion(index, &hash, &inclusion, &head).is_err());
        prop_assert!(verify_consistency(&from, &head, &consistency).is_err());
        // Forces an aligned start now and then.
        let aligned = start & !(end.saturating_sub(start).max(1).next_power_of_two() - 1);
        let ranges = [Subtree::new(start, end), Subtree::new(aligned, end)];
        for subtree in ranges.into_iter().flatten() {
            let verdict = verify_subtree_consistency(&subtree, &hash, &consistency, &head);
            let numbers = [subtree.start(), subtree.end(), n];
            prop_assert_eq!(
                verdict.is_ok(),
                n > 0 && reference::accepts(numbers, consistency.hashes(), hash, root_hash)
            );
            let _ = verify_subtree_inclusion(index, &hash, &inclusion, &subtree, &root_hash);
        }
    }
}
