//! Does anything get slower, larger or heavier as the log grows to ten million entries?
//!
//! `cargo bench --bench log10m [-- --quick]`
//!
//! Grows one store to 10^7 entries of 300 bytes through [`LogStore::commit`], in durable batches of
//! 1,000, each searched for duplicates first, as the sequencer does. On the way: cost per append by
//! size, `jurat fsck` at 10^6. At the end: bytes on disk, proofs, and `jurat serve` on it: time to
//! listen, and memory when idle. `--quick` stops at 10^5.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::unchecked_time_subtraction,
    reason = "a program that measures, and stops at the first failure"
)]

mod support;

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use jurat::log::tree::Tree;
use jurat_proto::hash::Hash;
use jurat_proto::tree::{LeafIndex, TreeSize};
use jurat_store::{Batch, LogStore, NewEntry, RedbOptions, RedbStore};
use serde_json::json;
use support::process::thread_cpu_time;
use support::report::{Report, Times, ms, thousands};
use support::service::Home;
use support::{Effort, Random, allocated_bytes};

const BATCH: u64 = 1_000;
const ENTRY_BYTES: usize = 300;

/// An entry, its length, its leaf hash and the 1/256 hashes above it that tiles keep.
const IDEAL_BYTES: f64 = 334.0;

fn main() {
    let Some(effort) = Effort::from_arguments() else {
        return;
    };
    let folder = support::scratch();
    let home = Home::init(&folder.path().join("service"));
    let path = home.database();
    let mut report = Report::new("log10m");
    let mut costs = Costs::default();
    let checked: u64 = effort.pick(1_000_000, 20_000);
    let whole: u64 = effort.pick(10_000_000, 100_000);

    grow(&path, 0, checked, &mut costs);
    fsck(&home, checked, &mut report);
    grow(&path, checked, whole, &mut costs);
    costs.report(&mut report);
    disk(&path, whole, &mut report);
    proofs(&path, effort, &mut report);
    starts(&home, whole, effort, &mut report);
    report.finish();
}

fn open(path: &Path) -> RedbStore {
    let options = RedbOptions {
        // What the service runs with, unless its configuration says otherwise.
        cache_bytes: 64 << 20,
        ..RedbOptions::default()
    };
    RedbStore::open(path, options).unwrap()
}

/// Entries are made and hashed by another thread, as submitters do.
fn grow(path: &Path, from: u64, to: u64, costs: &mut Costs) {
    let store = open(path);
    let (send, batches) = sync_channel::<Vec<NewEntry>>(4);
    thread::scope(|scope| {
        scope.spawn(move || {
            for first in (from..to).step_by(usize::try_from(BATCH).unwrap()) {
                send.send((first..(first + BATCH).min(to)).map(entry).collect())
                    .unwrap();
            }
        });
        for entries in batches {
            costs.append(&store, entries);
        }
    });
    assert_eq!(store.head().unwrap().size.get(), to);
}

fn entry(number: u64) -> NewEntry {
    let mut bytes = format!("entry {number} ").into_bytes();
    bytes.resize(ENTRY_BYTES, b'.');
    NewEntry::new(bytes).unwrap()
}

/// What appends cost, by the size of the tree.
#[derive(Default)]
struct Costs {
    batches: Vec<Cost>,
}

struct Cost {
    size_after: u64,
    entries: u64,
    search: Duration,
    commit: Duration,
    cpu: Duration,
    file_bytes: u64,
}

impl Costs {
    fn append(&mut self, store: &RedbStore, entries: Vec<NewEntry>) {
        let hashes: Vec<Hash> = entries.iter().map(|entry| *entry.leaf_hash()).collect();
        let count = u64::try_from(entries.len()).unwrap();
        let cpu = thread_cpu_time();
        let begun = Instant::now();
        let found = store.find_leaves(&hashes).unwrap();
        let search = begun.elapsed();
        assert!(found.iter().all(Option::is_none));
        let expected = store.head().unwrap();
        let heads = Vec::new();
        let begun = Instant::now();
        let committed = store
            .commit(Batch {
                expected,
                entries,
                heads,
            })
            .unwrap();
        let commit = begun.elapsed();
        let cpu = thread_cpu_time() - cpu;
        let size_after = committed.head.size.get();
        let file_bytes = if size_after.is_multiple_of(10_000) {
            allocated_bytes(store.path())
        } else {
            0
        };
        self.batches.push(Cost {
            size_after,
            entries: count,
            search,
            commit,
            cpu,
            file_bytes,
        });
    }

    fn report(&self, report: &mut Report) {
        let last = self.batches.last().unwrap().size_after;
        let stretches: Vec<Stretch> = [10_000, 100_000, 1_000_000, 10_000_000]
            .into_iter()
            .filter(|size| *size <= last)
            .map(|size| self.stretch(size))
            .collect();
        let mut text = String::from(
            "Cost per append by size of the log (batches of 1,000; each row is measured over the \
             entries since half its size, at most the last million):\n\n\
             | entries | per append | search | commit | processor | appends/s | \
             commit p50 / p99 | bytes on disk per entry |\n\
             |---:|---:|---:|---:|---:|---:|---:|---:|\n",
        );
        for stretch in &stretches {
            text.push_str(&stretch.markdown());
        }
        report.more(text.trim_end());
        let (before, large) = (
            &stretches[stretches.len().saturating_sub(2)],
            stretches.last().unwrap(),
        );
        let at = |stretch: &Stretch| {
            let size = thousands(stretch.size as f64);
            format!("{:.1} µs at {size}", stretch.each_us())
        };
        report.row(
            "cost per append as the log grows",
            "flat",
            Some(large.each_us() / before.each_us() <= FLAT),
            &stretches.iter().map(at).collect::<Vec<_>>().join(", "),
            json!(stretches.iter().map(Stretch::json).collect::<Vec<_>>()),
        );
    }

    fn stretch(&self, size: u64) -> Stretch {
        let from = (size / 2).max(size.saturating_sub(1_000_000));
        let batches = || {
            self.batches
                .iter()
                .filter(move |batch| (from + 1..=size).contains(&batch.size_after))
        };
        Stretch {
            size,
            entries: batches().map(|batch| batch.entries).sum::<u64>() as f64,
            search: batches().map(|batch| batch.search).sum(),
            commit: batches().map(|batch| batch.commit).sum(),
            cpu: batches().map(|batch| batch.cpu).sum(),
            commits: Times::new(batches().map(|batch| batch.commit).collect()),
            bytes: batches().next_back().unwrap().file_bytes as f64 / size as f64,
        }
    }
}

/// Costs within this of those at a tenth of the size count as flat: less is noise of the disk.
const FLAT: f64 = 1.25;

struct Stretch {
    size: u64,
    entries: f64,
    search: Duration,
    commit: Duration,
    cpu: Duration,
    commits: Times,
    bytes: f64,
}

impl Stretch {
    fn us(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.entries
    }

    fn each_us(&self) -> f64 {
        self.us(self.search + self.commit)
    }

    fn markdown(&self) -> String {
        format!(
            "| {} | {:.1} µs | {:.1} µs | {:.1} µs | {:.1} µs | {} | {} / {} ms | {:.0} |\n",
            thousands(self.size as f64),
            self.each_us(),
            self.us(self.search),
            self.us(self.commit),
            self.us(self.cpu),
            thousands(1e6 / self.each_us()),
            ms(self.commits.at(50.0)),
            ms(self.commits.at(99.0)),
            self.bytes,
        )
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "entries": self.size, "search_us": self.us(self.search),
            "commit_us": self.us(self.commit),
            "cpu_us": self.us(self.cpu),
            "commits": self.commits.json(),
            "bytes_per_entry": self.bytes,
        })
    }
}

fn fsck(home: &Home, size: u64, report: &mut Report) {
    let took = home.fsck();
    report.row(
        &format!("jurat fsck of {} entries", thousands(size as f64)),
        "< 10 s",
        Some(took < Duration::from_secs(10)),
        &format!("{:.1} s, from start to exit", took.as_secs_f64()),
        json!({ "seconds": took.as_secs_f64(), "entries": size }),
    );
}

fn disk(path: &Path, size: u64, report: &mut Report) {
    let each = allocated_bytes(path) as f64 / size as f64;
    let length = std::fs::metadata(path).unwrap().len() as f64 / size as f64;
    report.row(
        "bytes on disk per 300-byte entry, indices included",
        "≤ 1.3 × 334",
        Some(each <= 1.3 * IDEAL_BYTES),
        &format!(
            "{each:.0} = {:.2} × 334 at {} entries ({length:.0} by the file's length)",
            each / IDEAL_BYTES,
            thousands(size as f64),
        ),
        json!({ "bytes_per_entry": each, "length_per_entry": length, "entries": size }),
    );
}

fn proofs(path: &Path, effort: Effort, report: &mut Report) {
    let store = open(path);
    let tree = Tree::of(&store);
    let size = store.head().unwrap().size;
    let mut random = Random::new(2);
    let (mut inclusion, mut consistency) = (Vec::new(), Vec::new());
    for _ in 0..effort.pick(20_000, 1_000) {
        let index = LeafIndex::new(random.below(size.get())).unwrap();
        let begun = Instant::now();
        tree.inclusion(index, size).unwrap();
        inclusion.push(begun.elapsed());
        let from = TreeSize::new(1 + random.below(size.get())).unwrap();
        let begun = Instant::now();
        tree.consistency(from, size).unwrap();
        consistency.push(begun.elapsed());
    }
    for (what, times) in [("inclusion", inclusion), ("consistency", consistency)] {
        let times = Times::new(times);
        report.row(
            &format!(
                "{what} proof at {} leaves, from the store",
                thousands(size.get() as f64)
            ),
            "p99 < 1 ms",
            Some(times.at(99.0) < Duration::from_millis(1)),
            &times.summary(),
            times.json(),
        );
    }
}

fn starts(home: &Home, size: u64, effort: Effort, report: &mut Report) {
    let idle = effort.pick(Duration::from_secs(5), Duration::from_millis(500));
    home.serve().stop();
    let mut ordered = Vec::new();
    let mut killed = Vec::new();
    for _ in 0..effort.pick(5, 1) {
        let service = home.serve();
        ordered.push(service.started_in);
        // A process that is dropped is killed: the next start is one after a crash.
        drop(service);
        let service = home.serve();
        killed.push(service.started_in);
        service.stop();
    }
    let (ordered, killed) = (Times::new(ordered), Times::new(killed));
    let [after_stop, after_kill] = [&ordered, &killed].map(|times| times.at(100.0));
    report.row(
        &format!(
            "start-up with {} entries, process to listening",
            thousands(size as f64)
        ),
        "< 1 s",
        Some(after_stop.max(after_kill) < Duration::from_secs(1)),
        &format!(
            "{} ms, after kill -9 {} ms (the slowest)",
            ms(after_stop),
            ms(after_kill)
        ),
        json!({ "after_stop": ordered.json(), "after_kill": killed.json() }),
    );
    let service = home.serve();
    thread::sleep(idle);
    let (resident, cpu) = (service.resident_bytes() as f64 / 1e6, service.cpu_time());
    thread::sleep(idle);
    let idle_cpu = (service.cpu_time() - cpu).as_secs_f64() / idle.as_secs_f64();
    report.row(
        &format!("idle memory with {} entries", thousands(size as f64)),
        "< 50 MB",
        Some(resident < 50.0),
        &format!(
            "{resident:.0} MB resident; {:.1} % of a core",
            idle_cpu * 100.0
        ),
        json!({ "resident_mb": resident, "idle_cpu": idle_cpu }),
    );
}
