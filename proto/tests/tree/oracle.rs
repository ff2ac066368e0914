//! Another implementation as the judge: `rs_merkle`, given the prefixes of RFC 6962.
//!
//! Its own SHA-256 hasher has no prefixes; a lone right node goes up unchanged in both.

use jurat_proto::hash::{Hash, sha256};
use jurat_proto::proof::prove_inclusion;
use rs_merkle::{Hasher, MerkleTree};

use crate::{index, leaves, size, tree};

#[derive(Clone)]
struct Rfc6962;

impl Hasher for Rfc6962 {
    type Hash = [u8; 32];

    fn hash(entry: &[u8]) -> [u8; 32] {
        *sha256(&[&[0x00], entry].concat()).as_bytes()
    }

    fn concat_and_hash(left: &[u8; 32], right: Option<&[u8; 32]>) -> [u8; 32] {
        match right {
            Some(right) => *sha256(&[&[0x01], &left[..], &right[..]].concat()).as_bytes(),
            None => *left,
        }
    }
}

// Spec: MRK-02, MRK-03, MRK-04, MRK-05
#[test]
fn roots_and_inclusion_proofs_are_those_of_rs_merkle() {
    let all = leaves(320);
    let (nodes, _) = tree(&all);
    for n in 1..=all.len() {
        let hashes: Vec<[u8; 32]> = (0..n)
            .map(|index| Rfc6962::hash(index.to_string().as_bytes()))
            .collect();
        let theirs = MerkleTree::<Rfc6962>::from_leaves(&hashes);
        let (_, head) = tree(&all[..n]);
        assert_eq!(
            theirs.root().map(Hash::new),
            Some(head.root_hash),
            "root of {n} leaves"
        );
        // All leaves of the small trees, a few of each larger one.
        let step = if n <= 130 { 1 } else { 23 };
        for m in (0..n).step_by(step).chain([n - 1]) {
            let proof = prove_inclusion(index(m), size(n), &nodes).unwrap();
            let ours: Vec<[u8; 32]> = proof.hashes().iter().map(|hash| *hash.as_bytes()).collect();
            assert_eq!(theirs.proof(&[m]).proof_hashes(), ours, "leaf {m} of {n}");
        }
    }
}
