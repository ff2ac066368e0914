//! Does an append cost the same in a small and in a large tree, and what does it cost?
//!
//! `cargo bench -p jurat-store --bench append -- [--entries N] [--directory D]`
//!
//! Grows a store to N entries (default 10^6; 10^7 takes about three minutes) of 300 bytes in
//! durable batches of 1,000, each searched for duplicates first, and prints at each power of ten
//! what the last stretch cost. Then: opening, memory after opening in a fresh process, proofs,
//! fsck (up to 10^6 entries), and batches of 1 and 100.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program that measures, and stops at the first failure"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jurat_proto::hash::Hash;
use jurat_proto::proof::{prove_consistency, prove_inclusion};
use jurat_proto::tile::TileNodes;
use jurat_proto::tree::{LeafIndex, TreeSize};
use jurat_store::fsck::fsck;
use jurat_store::{Batch, LogStore, NewEntry, RedbOptions, RedbStore, StoreTiles};

const ENTRY_BYTES: usize = 300;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    if let Some(path) = value("--idle") {
        return idle(Path::new(&path));
    }
    // `cargo test --benches` runs this too: then it only has to work.
    let default = if arguments.iter().any(|argument| argument == "--bench") {
        1_000_000
    } else {
        2_000
    };
    let entries = value("--entries").map_or(default, |n| n.parse().unwrap());
    let directory = value("--directory").map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(directory).unwrap();
    let path = directory.path().join("grown.redb");
    let store = RedbStore::create(&path, RedbOptions::default()).unwrap();
    grow(&store, entries);
    proofs(&store);
    drop(store);
    opening(&path);
    if entries <= 1_000_000 {
        check(&path);
    }
    for batch in [1, 100, 1_000] {
        let store = RedbStore::create(
            directory.path().join(format!("batch-{batch}.redb")),
            RedbOptions::default(),
        );
        batches(
            &store.unwrap(),
            batch,
            if entries < 10_000 { 3 } else { 300 },
        );
    }
}

fn entries(first: u64, n: u64) -> Vec<NewEntry> {
    (first..first + n)
        .map(|i| {
            let mut bytes = format!("entry {i} ").into_bytes();
            bytes.resize(ENTRY_BYTES, b'.');
            NewEntry::new(bytes).unwrap()
        })
        .collect()
}

fn grow(store: &RedbStore, total: u64) {
    let mut at = 0;
    let mut next = 1_000;
    let mut stretch = Stretch::default();
    while at < total {
        let entries = entries(at, 1_000.min(total - at));
        let hashes: Vec<Hash> = entries.iter().map(|entry| *entry.leaf_hash()).collect();
        let (start, cpu) = (Instant::now(), cpu_time());
        assert!(
            store
                .find_leaves(&hashes)
                .unwrap()
                .iter()
                .all(Option::is_none)
        );
        let found = Instant::now();
        let expected = store.head().unwrap();
        store
            .commit(Batch {
                expected,
                entries,
                heads: Vec::new(),
            })
            .unwrap();
        let done = Instant::now();
        stretch.entries += u64::try_from(hashes.len()).unwrap();
        stretch.find += found - start;
        stretch.cpu += cpu_time().saturating_sub(cpu);
        stretch.commits.push(done - found);
        at += u64::try_from(hashes.len()).unwrap();
        if at >= next || at >= total {
            stretch.print(at, store.path());
            stretch = Stretch::default();
            next = if next < 1_000_000 {
                next * 10
            } else {
                next + 1_000_000
            };
        }
    }
}

#[derive(Default)]
struct Stretch {
    entries: u64,
    find: Duration,
    /// Of this thread, for search and commit: other programs on the machine do not change it.
    cpu: Duration,
    commits: Vec<Duration>,
}

impl Stretch {
    fn print(&mut self, at: u64, path: &Path) {
        let commit: Duration = self.commits.iter().sum();
        let each = |time: Duration| time.as_secs_f64() * 1e6 / float(self.entries);
        println!(
            "{at:>9} entries: {:>7.0} appends/s | per entry: search {:>5.2} \
             commit {:>5.2} us, of CPU {:>5.2} us | \
             commit p50 {:.1} p99 {:.1} max {:.1} ms | {:.1} bytes on disk per entry | {}",
            1e6 / (each(self.find) + each(commit)),
            each(self.find),
            each(commit),
            each(self.cpu),
            percentile(&mut self.commits, 50),
            percentile(&mut self.commits, 99),
            percentile(&mut self.commits, 100),
            float(disk_bytes(path)) / float(at),
            memory(),
        );
    }
}

fn proofs(store: &RedbStore) {
    let size = store.head().unwrap().size;
    let mut inclusion = Vec::new();
    let mut consistency = Vec::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..2_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let index = (random >> 16) % size.get();
        let nodes = TileNodes::new(StoreTiles(store), size);
        inclusion.push(best_of_three(|| {
            prove_inclusion(LeafIndex::new(index).unwrap(), size, &nodes).unwrap();
        }));
        consistency.push(best_of_three(|| {
            prove_consistency(TreeSize::new(index + 1).unwrap(), size, &nodes).unwrap();
        }));
    }
    for (what, times) in [
        ("inclusion", &mut inclusion),
        ("consistency", &mut consistency),
    ] {
        println!(
            "{what} proof at {} (best of three for each): p50 {:.3} p99 {:.3} max {:.3} ms",
            size.get(),
            percentile(times, 50),
            percentile(times, 99),
            percentile(times, 100),
        );
    }
}

/// Leaves out what other programs on the machine add, and keeps what the place in the tree does.
fn best_of_three(work: impl Fn()) -> Duration {
    let times = [(); 3].map(|()| {
        let start = Instant::now();
        work();
        start.elapsed()
    });
    times.into_iter().min().unwrap_or_default()
}

fn opening(path: &Path) {
    let program = std::env::current_exe().unwrap();
    for _ in 0..3 {
        let status = std::process::Command::new(&program)
            .arg("--idle")
            .arg(path)
            .status();
        assert!(status.unwrap().success());
    }
}

fn idle(path: &Path) {
    let before = memory();
    let start = Instant::now();
    let store = RedbStore::open(path, RedbOptions::default()).unwrap();
    let opened = start.elapsed();
    println!(
        "opened {} entries in {:.0} ms; memory before {before}, after {}",
        store.head().unwrap().size.get(),
        opened.as_secs_f64() * 1e3,
        memory()
    );
}

fn check(path: &Path) {
    let store = RedbStore::open(path, RedbOptions::default()).unwrap();
    let start = Instant::now();
    let report = fsck(&store, &mut |_| {}).unwrap();
    assert!(report.is_clean());
    println!(
        "fsck of {} entries: {:.2} s",
        report.head.size.get(),
        start.elapsed().as_secs_f64()
    );
}

fn batches(store: &RedbStore, batch: u64, rounds: u64) {
    let mut stretch = Stretch::default();
    for round in 0..rounds {
        let entries = entries(round * batch, batch);
        let expected = store.head().unwrap();
        let start = Instant::now();
        store
            .commit(Batch {
                expected,
                entries,
                heads: Vec::new(),
            })
            .unwrap();
        stretch.commits.push(start.elapsed());
    }
    let total: Duration = stretch.commits.iter().sum();
    println!(
        "batches of {batch:>4}: {:>7.0} durable appends/s, commit p50 {:.2} p99 {:.2} ms",
        float(batch * rounds) / total.as_secs_f64(),
        percentile(&mut stretch.commits, 50),
        percentile(&mut stretch.commits, 99),
    );
}

fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3
}

/// Blocks that the file system has given to the file.
fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).unwrap().blocks() * 512
}

/// CPU time of this thread so far; zero where the system does not say.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text
        .split_whitespace()
        .next()
        .and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap_or("VmRSS: unknown");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "figures for people"
)]
fn float(n: u64) -> f64 {
    n as f64
}
