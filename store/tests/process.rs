//! A process that is killed while it commits, and one that opens a store in use.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "a test, and the program it runs"
)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use jurat_proto::hash::leaf_hash;
use jurat_proto::tree::LeafIndex;
use jurat_store::fsck::fsck;
use jurat_store::{Batch, LogStore, NewEntry, OpenError, RedbOptions, RedbStore};

const PATH: &str = "JURAT_TEST_STORE";
const OPTIONS: RedbOptions = RedbOptions {
    cache_bytes: 1 << 20,
    dedup_pool: 64,
    dedup_filter_bytes: 1 << 10,
};

fn bytes(i: u64) -> Vec<u8> {
    format!("entry {i}").into_bytes()
}

/// Not a test by itself: the other process. Commits until it is killed, saying how far it is.
#[test]
fn other_process() {
    let Some(path) = std::env::var_os(PATH) else {
        return;
    };
    let store = RedbStore::open(path, OPTIONS).unwrap();
    loop {
        let expected = store.head().unwrap();
        let first = expected.size.get();
        let entries = (first..first + 1 + first % 40)
            .map(|i| NewEntry::new(bytes(i)).unwrap())
            .collect();
        let committed = store
            .commit(Batch {
                expected,
                entries,
                heads: Vec::new(),
            })
            .unwrap();
        println!("\ncommitted {}", committed.head.size.get());
    }
}

fn spawn(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "other_process", "--nocapture"])
        .env(PATH, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

// Spec: STO-03, STO-11, STO-13
#[test]
fn what_a_killed_process_acknowledged_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.redb");
    drop(RedbStore::create(&path, OPTIONS).unwrap());
    let mut acknowledged = 0;
    for round in 1..5 {
        let mut child = spawn(&path);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let sizes = lines
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("committed ")?.parse::<u64>().ok());
        let mut sizes = sizes.skip(5 * round);
        acknowledged = sizes.next().unwrap().max(acknowledged);
        match RedbStore::open(&path, OPTIONS) {
            Err(OpenError::InUse { path: told }) => assert_eq!(told, path),
            other => panic!("{other:?}"),
        }
        child.kill().unwrap();
        acknowledged = sizes.last().unwrap_or(acknowledged);
        child.wait().unwrap();
        let store = RedbStore::open(&path, OPTIONS).unwrap();
        let size = store.head().unwrap().size.get();
        assert!(
            size >= acknowledged,
            "{acknowledged} acknowledged, {size} there"
        );
        let hashes: Vec<_> = (0..size).map(|i| leaf_hash(&bytes(i))).collect();
        let expected: Vec<_> = (0..size).map(LeafIndex::new).collect();
        assert_eq!(store.find_leaves(&hashes).unwrap(), expected);
        assert!(fsck(&store, &mut |_| {}).unwrap().is_clean());
    }
    assert!(acknowledged > 100);
}
