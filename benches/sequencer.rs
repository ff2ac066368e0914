//! How many durable, deduplicated appends a second does the sequencer give, and what do they cost?
//!
//! `cargo bench --bench sequencer [-- --quick]`
//!
//! 1,000 submitters, each waiting until its entry is durable before it makes the next one: through
//! [`Sequencer`] on [`RedbStore`], in one process, as in the service. Entries have 300 bytes and
//! are all different, so every one is searched for in vain and appended; hashing it counts too.

#![expect(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::unchecked_time_subtraction,
    reason = "a program that measures, and stops at the first failure"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jurat::log::{Append, Sequencer};
use jurat_store::{JournalOptions, LogStore, NewEntry, RedbOptions, RedbStore};
use prometheus_client::registry::Registry;
use serde_json::json;
use support::Effort;
use support::process::cpu_time;
use support::report::{Report, Times, thousands};

const SUBMITTERS: u64 = 1_000;
const ENTRY_BYTES: usize = 300;
const BAR: f64 = 25_000.0;

fn main() {
    let Some(effort) = Effort::from_arguments() else {
        return;
    };
    let folder = support::scratch();
    let options = JournalOptions {
        redb: RedbOptions {
            // What the service runs with, unless its configuration says otherwise.
            cache_bytes: 64 << 20,
            ..RedbOptions::default()
        },
        ..JournalOptions::default()
    };
    let store = RedbStore::create_journaled(folder.path().join("log.redb"), options).unwrap();
    let store: Arc<dyn LogStore> = Arc::new(store);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let warm_up = Duration::from_millis(effort.pick(2_000, 300));
    let length = Duration::from_millis(effort.pick(15_000, 1_500));
    let mut report = Report::new("sequencer");
    runtime.block_on(measure(&store, warm_up, length, &mut report));
    report.finish();
}

async fn measure(
    store: &Arc<dyn LogStore>,
    warm_up: Duration,
    length: Duration,
    report: &mut Report,
) {
    let sequencer = Sequencer::start(Arc::clone(store), &mut Registry::default()).unwrap();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let from = Instant::now() + warm_up;
    let end = from + length;
    let submitters: Vec<_> = (0..SUBMITTERS)
        .map(|number| {
            let (sequencer, acknowledged) = (sequencer.clone(), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                let mut times = Vec::new();
                for turn in 0.. {
                    let begun = Instant::now();
                    if begun >= end {
                        break;
                    }
                    let entry = NewEntry::new(entry(number, turn)).unwrap();
                    let append = Append { entry, head: None };
                    assert!(!sequencer.append(append).await.unwrap().duplicate);
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                    if begun >= from {
                        times.push(begun.elapsed());
                    }
                }
                times
            })
        })
        .collect();
    tokio::time::sleep_until(from.into()).await;
    let before = (
        Instant::now(),
        acknowledged.load(Ordering::Relaxed),
        cpu_time("self"),
    );
    tokio::time::sleep_until(end.into()).await;
    let counted = (acknowledged.load(Ordering::Relaxed) - before.1) as f64;
    let (elapsed, cpu) = (before.0.elapsed(), cpu_time("self") - before.2);
    let mut times = Vec::new();
    for submitter in submitters {
        times.extend(submitter.await.unwrap());
    }
    sequencer.stop().await;
    let size = store.head().unwrap().size.get();
    assert_eq!(
        size,
        acknowledged.load(Ordering::Relaxed),
        "what was acknowledged is there"
    );

    let rate = counted / elapsed.as_secs_f64();
    let times = Times::new(times);
    let cpu_us = cpu.as_secs_f64() * 1e6 / counted;
    report.row(
        "durable, deduplicated appends of 300 bytes, 1,000 waiting submitters",
        "≥ 25,000/s",
        Some(rate >= BAR),
        &format!(
            "{}/s; {cpu_us:.0} µs of processor time each; acknowledged after {}",
            thousands(rate),
            times.summary()
        ),
        json!({ "per_second": rate, "cpu_us": cpu_us, "latency": times.json(), "size": size }),
    );
}

fn entry(submitter: u64, turn: u64) -> Vec<u8> {
    let mut bytes = format!("submitter {submitter} turn {turn} ").into_bytes();
    bytes.resize(ENTRY_BYTES, b'.');
    bytes
}
