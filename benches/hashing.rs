//! Does the tree cost more than its hashes?
//!
//! `cargo bench --bench hashing [-- --quick]`
//!
//! Appending a leaf hash to a [`CompactRange`] computes one node on average. Its rate, against the
//! rate of bare SHA-256 over as many 65-byte inputs with the same library (sha2), in turns, so that
//! what disturbs one disturbs the other. `proto/benches/tree.rs` has the parts.

#![expect(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a program that measures, and stops at the first failure"
)]

mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use jurat_proto::hash::{Hash, leaf_hash};
use jurat_proto::tree::CompactRange;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use support::Effort;
use support::report::{Report, Times};

const LEAVES: u64 = 1 << 16;
const BAR: f64 = 0.80;

fn main() {
    let Some(effort) = Effort::from_arguments() else {
        return;
    };
    let leaves: Vec<Hash> = (0..LEAVES)
        .map(|index| leaf_hash(&index.to_le_bytes()))
        .collect();
    let (mut bare, mut tree) = (Vec::new(), Vec::new());
    for _ in 0..effort.pick(200, 20) {
        bare.push(bare_nodes(&leaves));
        tree.push(tree_nodes(&leaves));
    }
    // What disturbs a turn makes it longer, never shorter: the better quarter is the machine's.
    let rate = |times: Vec<Duration>| LEAVES as f64 / Times::new(times).at(25.0).as_secs_f64();
    let (bare, tree) = (rate(bare), rate(tree));
    let share = tree / bare;
    let mut report = Report::new("hashing");
    report.row(
        "tree hashing against the bare SHA-256 node rate of the same library",
        "≥ 80 %",
        Some(share >= BAR),
        &format!(
            "{:.0} %: {:.2} M of {:.2} M nodes/s on one core",
            share * 100.0,
            tree / 1e6,
            bare / 1e6
        ),
        json!({ "share": share, "tree_per_second": tree, "bare_per_second": bare }),
    );
    report.finish();
}

fn bare_nodes(leaves: &[Hash]) -> Duration {
    let mut input = [1; 65];
    let begun = Instant::now();
    for leaf in leaves {
        input
            .get_mut(1..33)
            .unwrap()
            .copy_from_slice(leaf.as_bytes());
        black_box(Sha256::digest(black_box(&input)));
    }
    begun.elapsed()
}

fn tree_nodes(leaves: &[Hash]) -> Duration {
    let begun = Instant::now();
    let mut range = CompactRange::new();
    for leaf in leaves {
        range.append(*leaf).unwrap();
    }
    black_box(range.head());
    begun.elapsed()
}
