//! The backend against the suite, the reference model, other processes and a bad disk.

use std::cell::Cell;

use tempfile::TempDir;

use super::*;
use crate::conformance::{self, Fixture};

/// A pool so small that sweeps begin, end and are interrupted all the time.
const SMALL: RedbOptions = RedbOptions {
    cache_bytes: 1 << 20,
    dedup_pool: 16,
};

struct OnDisk {
    directory: TempDir,
    stores: Cell<u32>,
    options: RedbOptions,
}

impl OnDisk {
    fn new(options: RedbOptions) -> Self {
        Self {
            directory: TempDir::new().unwrap(),
            stores: Cell::new(0),
            options,
        }
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
        RedbStore::create(path, self.options).unwrap()
    }

    fn reopen(&self, store: RedbStore) -> RedbStore {
        let path = store.path().to_owned();
        drop(store);
        RedbStore::open(path, self.options).unwrap()
    }
}

#[test]
fn redb_conforms_while_sweeps_run() {
    conformance::all(&OnDisk::new(SMALL));
}

#[test]
fn redb_conforms_with_all_dedup_keys_in_the_pool() {
    conformance::all(&OnDisk::new(RedbOptions::default()));
}
