//! The backend against the suite, the reference model, other processes and a bad disk.

use std::cell::Cell;

use redb::ReadableTable;
use tempfile::TempDir;

use super::*;
use crate::conformance::{self, Fixture};
use crate::frames::BLOCK;
use crate::fsck::{Finding, Inspect as _, Stray, fsck};
use crate::{Batch, Landmark, LogStore, NewEntry};
use jurat_proto::tree::LeafIndex;

mod ahead;
mod disk;
mod journals;
mod leads;
mod model;

/// A pool so small that sweeps begin, end and are interrupted all the time.
const SMALL: RedbOptions = RedbOptions {
    cache_bytes: 1 << 20,
    dedup_pool: 16,
    dedup_filter_bytes: 1 << 10,
};

struct OnDisk {
    directory: TempDir,
    stores: Cell<u32>,
    options: RedbOptions,
    journal_bytes: Option<usize>,
}

impl OnDisk {
    fn new(options: RedbOptions) -> Self {
        Self {
            directory: TempDir::new().unwrap(),
            stores: Cell::new(0),
            options,
            journal_bytes: None,
        }
    }

    fn journal(&self) -> Option<JournalOptions> {
        Some(JournalOptions {
            redb: self.options,
            file_bytes: self.journal_bytes?,
        })
    }
}

impl Fixture for OnDisk {
    type Store = RedbStore;

    fn create(&self) -> RedbStore {
        self.stores.set(self.stores.get() + 1);
        let path = self
            .directory
            .path()
            .join(format!("{}.redb", self.stores.get()));
        match self.journal() {
            Some(options) => RedbStore::create_journaled(path, options).unwrap(),
            None => RedbStore::create(path, self.options).unwrap(),
        }
    }

    fn reopen(&self, store: RedbStore) -> RedbStore {
        let path = store.path().to_owned();
        drop(store);
        match self.journal() {
            Some(options) => RedbStore::open_journaled(path, options).unwrap(),
            None => RedbStore::open(path, self.options).unwrap(),
        }
    }
}

// Spec: STO-01, STO-02, STO-03, STO-04, STO-06, STO-07, STO-08, STO-09, STO-10, STO-11, STO-14,
// STO-17, STO-18, STO-32: each claim of the suite names its own.
#[test]
fn redb_conforms_while_sweeps_run() {
    conformance::all(&OnDisk::new(SMALL));
}

#[test]
fn redb_conforms_with_all_dedup_keys_in_the_pool() {
    conformance::all(&OnDisk::new(RedbOptions::default()));
}

#[test]
fn redb_conforms_without_a_filter() {
    conformance::all(&OnDisk::new(RedbOptions {
        dedup_filter_bytes: 0,
        ..SMALL
    }));
}

// Spec: STO-27
#[test]
fn redb_conforms_behind_a_journal() {
    // In the smallest no frame has room, or few have, so that generations change all the time.
    for blocks in [3, 64] {
        conformance::all(&OnDisk {
            journal_bytes: Some(blocks * BLOCK),
            ..OnDisk::new(SMALL)
        });
    }
}

// Spec: STO-12
#[test]
fn a_store_is_created_once_and_opened_only_when_it_exists() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log.redb");
    assert!(matches!(
        RedbStore::open(&path, SMALL),
        Err(OpenError::Missing { .. })
    ));
    assert!(!path.exists());
    drop(RedbStore::create(&path, SMALL).unwrap());
    assert!(matches!(
        RedbStore::create(&path, SMALL),
        Err(CreateError::Exists { .. })
    ));
    let dangling = directory.path().join("dangling");
    std::os::unix::fs::symlink(directory.path().join("nowhere"), &dangling).unwrap();
    assert!(matches!(
        RedbStore::create(&dangling, SMALL),
        Err(CreateError::Exists { .. })
    ));
    let nowhere = directory.path().join("none/log.redb");
    assert!(RedbStore::create(&nowhere, SMALL).is_err());
    let mut left: Vec<_> = directory
        .path()
        .read_dir()
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["dangling", "log.redb"], "no draft is left behind");
}

// Spec: STO-13. The lock is the kernel's, so a second opening in this process is refused like one
// in another; `tests/process.rs` has the other process.
#[test]
fn a_store_in_use_is_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log.redb");
    let first = RedbStore::create(&path, SMALL).unwrap();
    let second = RedbStore::open(&path, SMALL);
    let message = second.unwrap_err().to_string();
    assert_eq!(
        message,
        format!("{} is in use by another process", path.display())
    );
    drop(first);
    RedbStore::open(&path, SMALL).unwrap();
}

// Spec: STO-13
#[test]
fn foreign_files_and_formats_are_refused() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(
        path("text"),
        "not a database, and long enough to be read as one",
    )
    .unwrap();
    std::fs::write(path("empty"), "").unwrap();
    drop(Database::create(path("other")).unwrap());
    for name in ["text", "empty", "other"] {
        match RedbStore::open(path(name), SMALL) {
            Err(OpenError::NotAStore { .. }) => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    drop(RedbStore::create(path("newer"), SMALL).unwrap());
    rewrite(&path("newer"), |write| {
        put_meta(write, schema::FORMAT, b"jurat-store/2").unwrap();
    });
    match RedbStore::open(path("newer"), SMALL) {
        Err(OpenError::UnknownFormat { found, known, .. }) => {
            assert_eq!((found.as_str(), known), ("jurat-store/2", "jurat-store/1"));
        }
        other => panic!("{other:?}"),
    }
}

/// Changes the file behind the store's back.
fn rewrite(path: &Path, change: impl FnOnce(&WriteTransaction)) {
    let database = Database::open(path).unwrap();
    let write = database.begin_write().unwrap();
    change(&write);
    write.commit().unwrap();
}

fn filled(path: &Path, entries: u64) -> RedbStore {
    let store = RedbStore::create(path, SMALL).unwrap();
    for first in (0..entries).step_by(50) {
        let entries = (first..entries.min(first + 50))
            .map(|i| NewEntry::new(format!("entry {i}").into_bytes()).unwrap())
            .collect();
        let expected = store.head().unwrap();
        store
            .commit(Batch {
                expected,
                entries,
                heads: Vec::new(),
            })
            .unwrap();
    }
    store
}

// Spec: STO-11
#[test]
fn a_file_whose_newest_hashes_do_not_give_its_head_is_not_opened() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log.redb");
    drop(filled(&path, 300));
    rewrite(&path, |write| {
        let mut leaves = write.open_table(LEAVES).unwrap();
        let mut row = leaves.get(36).unwrap().unwrap().value().to_vec();
        row[3] ^= 1;
        leaves.insert(36, row.as_slice()).unwrap();
    });
    let error = RedbStore::open(&path, SMALL).unwrap_err();
    let corrupt = matches!(
        error,
        OpenError::Store {
            source: StoreError::Corrupt(Corruption::Root { .. }),
            ..
        }
    );
    assert!(corrupt, "{error}");
}

// Spec: STO-14. Each damage is found, and named exactly.
#[test]
fn fsck_names_each_damage() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log.redb");
    drop(filled(&path, 600));
    damage(&path);
    let store = RedbStore::open(&path, SMALL).unwrap();
    let found = fsck(&store, &mut |_| {}).unwrap().findings;
    let (derived, stored) = (jurat_proto::hash::leaf_hash(b"forged"), leaf(7));
    let expected = [
        Finding::LeafHash {
            index: 7,
            derived,
            stored,
        },
        Finding::DedupMissing { index: 5 },
        Finding::DedupWrong {
            prefix: prefix(&leaf(6)),
            index: 4,
            actual: prefix(&leaf(4)),
        },
        Finding::DedupBeyond {
            prefix: 1,
            index: 5_000,
        },
        Finding::DedupWrong {
            prefix: prefix(&leaf(7)),
            index: 7,
            actual: prefix(&derived),
        },
        Finding::DedupMissing { index: 7 },
        Finding::Stray(Stray::Entry { index: 900 }),
        Finding::Stray(Stray::HashRow {
            level: 1,
            row: 1,
            bytes: 32,
        }),
    ];
    for finding in &expected {
        assert!(found.contains(finding), "{finding} is not in {found:#?}");
    }
    let kinds: [fn(&Finding) -> bool; 3] = [
        |finding| {
            matches!(
                finding,
                Finding::BundleUnreadable {
                    first: 256,
                    width: 256,
                    ..
                }
            )
        },
        |finding| {
            matches!(
                finding,
                Finding::NodeHash {
                    level: 1,
                    index: 0,
                    ..
                }
            )
        },
        |finding| matches!(finding, Finding::TreeHead { .. }),
    ];
    assert!(
        kinds.iter().all(|kind| found.iter().any(kind)),
        "{found:#?}"
    );
}

/// A store with landmarks at 2 (key), 3 (clock), 5 and 6 (time-stamps).
fn with_landmarks(path: &Path) {
    let store = filled(path, 2);
    let kinds = [
        "key",
        "clock",
        "checkpoint",
        "timestamp",
        "timestamp",
        "checkpoint",
    ];
    let entries = kinds
        .map(|kind| NewEntry::new(format!("jurat-entry/v1 {kind}\n").into_bytes()).unwrap())
        .to_vec();
    let expected = store.head().unwrap();
    store
        .commit(Batch {
            expected,
            entries,
            heads: Vec::new(),
        })
        .unwrap();
}

fn listed(store: &RedbStore) -> Vec<(Landmark, u64)> {
    assert_eq!(fsck(store, &mut |_| {}).unwrap().findings, []);
    store.landmark_rows().unwrap()
}

const DUE: [(Landmark, u64); 3] = [
    (Landmark::Key, 2),
    (Landmark::Clock, 3),
    (Landmark::Timestamp, 6),
];

// Spec: STO-32
#[test]
fn landmarks_that_an_earlier_version_did_not_list_are_listed_when_the_store_is_opened() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log.redb");
    with_landmarks(&path);
    assert_eq!(listed(&RedbStore::open(&path, SMALL).unwrap()), DUE);
    // A file of before there was a list.
    rewrite(&path, |write| {
        write.delete_table(schema::LANDMARKS).unwrap();
        write
            .open_table(META)
            .unwrap()
            .remove(schema::MARKS)
            .unwrap();
    });
    assert_eq!(listed(&RedbStore::open(&path, SMALL).unwrap()), DUE);
    // One that such a version appended to since: the list ends after the key's entry.
    rewrite(&path, |write| {
        let mut table = write.open_table(schema::LANDMARKS).unwrap();
        table.remove((2, 3)).unwrap();
        let marks = schema::Marks {
            listed_through: 3,
            timestamp: None,
        };
        let row = marks.to_bytes();
        write
            .open_table(META)
            .unwrap()
            .insert(schema::MARKS, row.as_slice())
            .unwrap();
    });
    assert_eq!(listed(&RedbStore::open(&path, SMALL).unwrap()), DUE);
    // A list of more entries than there are is of another file.
    rewrite(&path, |write| {
        let marks = schema::Marks {
            listed_through: 9,
            timestamp: None,
        };
        let row = marks.to_bytes();
        write
            .open_table(META)
            .unwrap()
            .insert(schema::MARKS, row.as_slice())
            .unwrap();
    });
    let error = RedbStore::open(&path, SMALL).unwrap_err().to_string();
    assert!(error.contains("meta/marks"), "{error}");
}

// Spec: STO-14, STO-32
#[test]
fn fsck_names_each_landmark_that_is_listed_wrongly_or_not_at_all() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log.redb");
    with_landmarks(&path);
    rewrite(&path, |write| {
        let mut table = write.open_table(schema::LANDMARKS).unwrap();
        table.remove((1, 2)).unwrap();
        table.insert((2, 4), ()).unwrap();
        let marks = schema::Marks {
            listed_through: 8,
            timestamp: LeafIndex::new(5),
        };
        let row = marks.to_bytes();
        write
            .open_table(META)
            .unwrap()
            .insert(schema::MARKS, row.as_slice())
            .unwrap();
    });
    let store = RedbStore::open(&path, SMALL).unwrap();
    let missing = |kind, index| Finding::LandmarkMissing { kind, index };
    let wrong = |kind, index| Finding::LandmarkWrong { kind, index };
    assert_eq!(
        fsck(&store, &mut |_| {}).unwrap().findings,
        [
            wrong(Landmark::Clock, 4),
            wrong(Landmark::Timestamp, 5),
            missing(Landmark::Key, 2),
            missing(Landmark::Timestamp, 6),
        ]
    );
}

/// The leaf hash of entry `i` of a store that [`filled`] made.
fn leaf(i: u64) -> Hash {
    jurat_proto::hash::leaf_hash(format!("entry {i}").as_bytes())
}

fn damage(path: &Path) {
    rewrite(path, |write| {
        let mut entries = write.open_table(schema::ENTRIES).unwrap();
        entries.insert(7, b"forged".as_slice()).unwrap();
        entries.remove(300).unwrap();
        entries.insert(900, b"stray".as_slice()).unwrap();
        let mut nodes = write.open_table(NODES).unwrap();
        nodes
            .insert(schema::node_row(1, 1), [1; 32].as_slice())
            .unwrap();
        let mut dedup = write.open_table(schema::DEDUP).unwrap();
        dedup.remove(dedup_key(prefix(&leaf(5)), 5)).unwrap();
        dedup.insert(dedup_key(prefix(&leaf(6)), 4), ()).unwrap();
        dedup.insert(dedup_key(1, 5_000), ()).unwrap();
    });
}
