//! What does the tree cost above its hashes?
//!
//! - `hash/*`: one node of 65 bytes and one leaf of 300, ours and as bare SHA-256.
//! - `append/*`: leaves a second through [`CompactRange`], which computes one node for each. The
//!   aim is 80 % of `hash/sha2 65 bytes`.
//! - `prove/*`, `verify/*`: proofs in a tree of ten million leaves, from nodes in memory.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "a bench may fail by panicking"
)]

use std::convert::Infallible;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jurat_proto::hash::{Hash, leaf_hash, node_hash};
use jurat_proto::proof::{
    prove_consistency, prove_inclusion, verify_consistency, verify_inclusion,
};
use jurat_proto::tree::{CompactRange, LeafIndex, NodeCoord, NodeReader, TreeHead, TreeSize};
use sha2::{Digest as _, Sha256};

const ENTRY_BYTES: usize = 300;
const APPENDED: u64 = 1 << 16;
const LEAVES: u64 = 10_000_000;

fn hashes(c: &mut Criterion) {
    let mut group = c.benchmark_group("hash");
    group.throughput(Throughput::Elements(1));
    let (left, right) = (leaf_hash(b"left"), leaf_hash(b"right"));
    group.bench_function("node_hash", |b| {
        b.iter(|| node_hash(black_box(&left), black_box(&right)));
    });
    let message = [7; 65];
    group.bench_function("sha2 65 bytes", |b| {
        b.iter(|| Sha256::digest(black_box(&message)));
    });
    let entry = [7; ENTRY_BYTES];
    group.bench_function("leaf_hash 300 bytes", |b| {
        b.iter(|| leaf_hash(black_box(&entry)));
    });
    let message = [7; ENTRY_BYTES + 1];
    group.bench_function("sha2 301 bytes", |b| {
        b.iter(|| Sha256::digest(black_box(&message)));
    });
    group.finish();
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(APPENDED));
    let leaves: Vec<Hash> = (0..APPENDED)
        .map(|index| leaf_hash(&index.to_le_bytes()))
        .collect();
    group.bench_function("leaf hashes", |b| {
        b.iter_batched_ref(
            CompactRange::new,
            |range| {
                for leaf in &leaves {
                    range.append(*leaf).unwrap();
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("leaf hashes, nodes kept", |b| {
        b.iter_batched_ref(
            || (CompactRange::new(), Vec::with_capacity(2 * leaves.len())),
            |(range, nodes)| {
                for leaf in &leaves {
                    range
                        .append_with(*leaf, &mut |coord, hash| nodes.push((coord, hash)))
                        .unwrap();
                }
            },
            BatchSize::LargeInput,
        );
    });
    let entry = [7; ENTRY_BYTES];
    group.bench_function("entries of 300 bytes", |b| {
        b.iter_batched_ref(
            CompactRange::new,
            |range| {
                for _ in 0..APPENDED {
                    range.append(leaf_hash(black_box(&entry))).unwrap();
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// All nodes of a tree, one row for each level.
struct Levels(Vec<Vec<Hash>>);

impl Levels {
    /// Makes the tree, and its heads at two sizes.
    fn new(sizes: [u64; 2]) -> (Self, [TreeHead; 2]) {
        let mut levels: Vec<Vec<Hash>> = (0..64).map(|_| Vec::new()).collect();
        let mut range = CompactRange::new();
        let heads = sizes.map(|size| {
            for index in range.size().get()..size {
                let leaf = leaf_hash(&index.to_le_bytes());
                range
                    .append_with(leaf, &mut |coord, hash| {
                        levels[usize::from(coord.level)].push(hash);
                    })
                    .unwrap();
            }
            range.head()
        });
        (Self(levels), heads)
    }
}

impl NodeReader for Levels {
    type Error = Infallible;

    fn nodes(&self, coords: &[NodeCoord]) -> Result<Vec<Hash>, Infallible> {
        let hash = |coord: &NodeCoord| self.0[usize::from(coord.level)][coord.index as usize];
        Ok(coords.iter().map(hash).collect())
    }
}

fn proofs(c: &mut Criterion) {
    let (nodes, [from, to]) = Levels::new([LEAVES - 12_345, LEAVES]);
    // A walk over all leaves in a stride that is prime to their number.
    let mut at = 0;
    let mut next = || {
        at = (at + 7_368_787) % LEAVES;
        at
    };

    let mut group = c.benchmark_group("prove");
    group.throughput(Throughput::Elements(1));
    group.bench_function("inclusion in 10 M", |b| {
        b.iter(|| prove_inclusion(LeafIndex::new(next()).unwrap(), to.size, &nodes));
    });
    group.bench_function("consistency to 10 M", |b| {
        b.iter(|| prove_consistency(TreeSize::new(next() + 1).unwrap(), to.size, &nodes));
    });
    group.finish();

    let mut group = c.benchmark_group("verify");
    group.throughput(Throughput::Elements(1));
    let index = LeafIndex::new(LEAVES / 3).unwrap();
    let leaf = leaf_hash(&index.get().to_le_bytes());
    let proof = prove_inclusion(index, to.size, &nodes).unwrap();
    group.bench_function("inclusion in 10 M", |b| {
        b.iter(|| verify_inclusion(index, black_box(&leaf), &proof, &to).unwrap());
    });
    let proof = prove_consistency(from.size, to.size, &nodes).unwrap();
    group.bench_function("consistency to 10 M", |b| {
        b.iter(|| verify_consistency(black_box(&from), &to, &proof).unwrap());
    });
    group.finish();
}

criterion_group!(benches, hashes, append, proofs);
criterion_main!(benches);
