//! Proofs, tiles and bundles: numbers and hashes that peers make up.

use std::collections::BTreeMap;

use jurat_proto::hash::Hash;
use jurat_proto::proof::{
    ConsistencyProof, InclusionProof, Subtree, prove_consistency, prove_inclusion,
    prove_subtree_consistency, prove_subtree_inclusion, verify_consistency, verify_inclusion,
    verify_subtree_consistency, verify_subtree_inclusion,
};
use jurat_proto::tile::{BundleCoord, EntryBundle, TileCoord, TileNodes, TileReader};
use jurat_proto::tree::{LeafIndex, NodeCoord, NodeReader, TreeHead, TreeSize};

use crate::world::{LEAVES, WORLD};
use crate::{canonical, canonical_text};

pub(crate) fn proof_lines(data: &[u8]) {
    canonical_text(data, InclusionProof::parse_lines, InclusionProof::to_lines);
    canonical_text(
        data,
        ConsistencyProof::parse_lines,
        ConsistencyProof::to_lines,
    );
}

pub(crate) fn tile_path(data: &[u8]) {
    canonical_text(data, TileCoord::parse_path, TileCoord::path);
    canonical_text(data, BundleCoord::parse_path, BundleCoord::path);
}

/// The first byte is the width, less one.
pub(crate) fn bundle(data: &[u8]) {
    let Some((&width, data)) = data.split_first() else {
        return;
    };
    let parse = |data: &[u8]| {
        let entries = EntryBundle::parse(data, u16::from(width) + 1)?;
        Ok::<_, jurat_proto::tile::BundleError>(
            entries.into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>(),
        )
    };
    canonical(data, parse, |entries| {
        EntryBundle::encode(entries).expect("it was parsed")
    });
}

/// Tiles of any bytes for a tree of any size: never a panic, and never hashes that were not asked.
pub(crate) fn tile_nodes(data: &[u8]) {
    struct Tiles<'a>(&'a [u8]);
    impl TileReader for Tiles<'_> {
        type Error = std::convert::Infallible;

        fn tile(&self, coord: TileCoord) -> Result<Vec<u8>, Self::Error> {
            let length = coord
                .byte_len()
                .saturating_sub(usize::from(self.0.len() % 7 == 0));
            let mut tile = self.0.repeat(length / self.0.len() + 1);
            tile.truncate(length);
            Ok(tile)
        }
    }
    let mut numbers = Numbers(data);
    let size = numbers.size();
    let coords: Vec<NodeCoord> = (0..4)
        .map(|_| NodeCoord {
            level: numbers.byte(),
            index: numbers.long(),
        })
        .collect();
    let reader = TileNodes::new(Tiles(if data.is_empty() { &[0] } else { data }), size);
    if let Ok(hashes) = reader.nodes(&coords) {
        assert_eq!(hashes.len(), coords.len());
    }
    drop(prove_inclusion(numbers.index(), size, &reader));
}

/// Any numbers and any hashes: verification returns, and accepts nothing but the trivial.
pub(crate) fn verify_proof(data: &[u8]) {
    let mut numbers = Numbers(data);
    let (from, to, index) = (numbers.size(), numbers.size(), numbers.index());
    let (start, end) = (numbers.long(), numbers.long());
    let (leaf, old_root, new_root) = (numbers.hash(), numbers.hash(), numbers.hash());
    let count = usize::from(numbers.byte() % 65);
    let hashes: Vec<Hash> = (0..count).map(|_| numbers.hash()).collect();
    let old = TreeHead {
        size: from,
        root_hash: old_root,
    };
    let new = TreeHead {
        size: to,
        root_hash: new_root,
    };
    if let Ok(proof) = InclusionProof::new(hashes.clone()) {
        if verify_inclusion(index, &leaf, &proof, &new).is_ok() {
            assert!(index.get() < to.get(), "a leaf beyond the tree");
        }
        if let Ok(subtree) = Subtree::new(start, end) {
            let accepted = verify_subtree_inclusion(index, &leaf, &proof, &subtree, &new_root);
            let inside = (subtree.start()..subtree.end()).contains(&index.get());
            assert!(accepted.is_err() || inside, "a leaf outside of the subtree");
        }
    }
    let Ok(proof) = ConsistencyProof::new(hashes) else {
        return assert!(count > 63, "a proof of {count} hashes is refused");
    };
    if verify_consistency(&old, &new, &proof).is_ok() {
        assert!(from <= to, "a tree that shrank");
        assert!(from != to || old == new, "two trees of one size");
    }
    if let Ok(subtree) = Subtree::new(start, end) {
        let accepted = verify_subtree_consistency(&subtree, &leaf, &proof, &new).is_ok();
        assert!(
            !accepted || subtree.end() <= to.get(),
            "a subtree beyond the tree"
        );
    }
}

/// In a tree that is known, each proof that is made verifies, and with one bit flipped does not.
pub(crate) fn prove_and_verify(data: &[u8]) {
    let mut numbers = Numbers(data);
    let mut below = |bound: u64| u64::from(numbers.short()) % bound;
    let to = 1 + below(LEAVES);
    let (from, index) = (below(to + 1), below(to));
    let flip = below(1 << 16);
    let (old, new) = (WORLD.head(from), WORLD.head(to));
    let nodes: &BTreeMap<NodeCoord, Hash> = &WORLD.nodes;

    let position = LeafIndex::new(index).expect("a small index");
    let leaf = WORLD.nodes[&NodeCoord { level: 0, index }];
    let proof = prove_inclusion(position, new.size, nodes).expect("all nodes are there");
    assert_eq!(verify_inclusion(position, &leaf, &proof, &new), Ok(()));
    if let Some(bad) = flipped(proof.hashes(), flip) {
        let bad = InclusionProof::new(bad).expect("no more hashes than before");
        assert!(verify_inclusion(position, &leaf, &bad, &new).is_err());
    }

    let proof = prove_consistency(old.size, new.size, nodes).expect("all nodes are there");
    assert_eq!(verify_consistency(&old, &new, &proof), Ok(()));
    if let Some(bad) = flipped(proof.hashes(), flip) {
        let bad = ConsistencyProof::new(bad).expect("no more hashes than before");
        assert!(verify_consistency(&old, &new, &bad).is_err());
    }
    prove_and_verify_subtree(index, new, nodes);
}

fn prove_and_verify_subtree(index: u64, head: TreeHead, nodes: &BTreeMap<NodeCoord, Hash>) {
    let start = index & (index + 1);
    let Ok(subtree) = Subtree::new(start, index + 1) else {
        return;
    };
    let position = LeafIndex::new(index).expect("a small index");
    let proof = prove_subtree_consistency(&subtree, head.size, nodes).expect("all nodes");
    // The subtree's own hash is that of the tree over its leaves alone.
    let mut alone = jurat_proto::tree::CompactRange::new();
    for leaf in start..=index {
        let leaf = NodeCoord {
            level: 0,
            index: leaf,
        };
        alone.append(WORLD.nodes[&leaf]).expect("far from full");
    }
    let hash = alone.root();
    assert_eq!(
        verify_subtree_consistency(&subtree, &hash, &proof, &head),
        Ok(())
    );
    let leaf = WORLD.nodes[&NodeCoord { level: 0, index }];
    let proof = prove_subtree_inclusion(position, &subtree, nodes).expect("all nodes");
    assert_eq!(
        verify_subtree_inclusion(position, &leaf, &proof, &subtree, &hash),
        Ok(())
    );
}

/// The same hashes with one bit changed, if there are any.
fn flipped(hashes: &[Hash], flip: u64) -> Option<Vec<Hash>> {
    let flip = usize::try_from(flip).expect("16 bits");
    let at = flip.checked_rem(hashes.len())?;
    let mut bytes = *hashes[at].as_bytes();
    bytes[flip % Hash::LEN] ^= 1 << (flip % 8);
    let mut changed = hashes.to_vec();
    changed[at] = Hash::new(bytes);
    Some(changed)
}

/// Numbers from bytes; zeroes when they are used up.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let taken = self.0.len().min(N);
        bytes[..taken].copy_from_slice(&self.0[..taken]);
        self.0 = &self.0[taken..];
        bytes
    }

    fn byte(&mut self) -> u8 {
        u8::from_le_bytes(self.bytes())
    }

    fn short(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }

    /// A number of any magnitude: the first byte says how many bits are cut off.
    fn long(&mut self) -> u64 {
        let cut = u32::from(self.byte() % 64);
        u64::from_le_bytes(self.bytes()) >> cut
    }

    fn size(&mut self) -> TreeSize {
        TreeSize::new(self.long() >> 1).expect("63 bits")
    }

    fn index(&mut self) -> LeafIndex {
        LeafIndex::new(self.long() >> 1).expect("63 bits")
    }

    fn hash(&mut self) -> Hash {
        Hash::new(self.bytes())
    }
}
