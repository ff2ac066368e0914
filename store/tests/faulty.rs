//! The wrapper that fails on demand fails as it says.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use jurat_proto::tree::TreeHead;
use jurat_store::{Batch, CommitError, Fault, Faulty, LogStore, MemoryStore, NewEntry, StoreError};

fn commit(store: &dyn LogStore) -> Result<TreeHead, CommitError> {
    let expected = store.head().map_err(CommitError::Failed)?;
    let entries = vec![NewEntry::new(b"entry".to_vec()).unwrap()];
    let committed = store.commit(Batch {
        expected,
        entries,
        heads: Vec::new(),
    })?;
    Ok(committed.head)
}

fn size(store: &dyn LogStore) -> u64 {
    store.head().unwrap().size.get()
}

// Spec: STO-05
#[test]
fn a_fault_before_changes_nothing_and_passes() {
    let store = Faulty::new(MemoryStore::new());
    store.fail_at(2, Fault::Before);
    commit(&store).unwrap();
    assert!(matches!(
        commit(&store),
        Err(CommitError::Failed(StoreError::Engine { .. }))
    ));
    assert_eq!(size(&store), 1);
    commit(&store).unwrap();
    assert_eq!((size(&store), store.writes()), (2, 3));
}

// Spec: STO-05
#[test]
fn after_an_unknown_outcome_nothing_is_answered() {
    for (fault, written) in [(Fault::UnknownUnwritten, 0), (Fault::UnknownWritten, 1)] {
        let store = Faulty::new(MemoryStore::new());
        store.fail_at(1, fault);
        assert!(matches!(commit(&store), Err(CommitError::Unknown(_))));
        assert!(matches!(store.head(), Err(StoreError::Stopped)));
        assert!(matches!(
            commit(&store),
            Err(CommitError::Failed(StoreError::Stopped))
        ));
        assert_eq!(size(store.inner()), written, "{fault:?}");
        assert_eq!(size(&store.into_inner()), written);
    }
}

#[test]
fn a_crash_runs_the_hook_before_or_after_the_write() {
    for (fault, written) in [(Fault::CrashBefore, 0), (Fault::CrashAfter, 1)] {
        let store = Faulty::with_crash(MemoryStore::new(), || panic!("crash"));
        store.fail_at(1, fault);
        let crashed = catch_unwind(AssertUnwindSafe(|| commit(&store)));
        assert!(crashed.is_err());
        assert!(matches!(store.head(), Err(StoreError::Stopped)));
        assert_eq!(size(&store.into_inner()), written, "{fault:?}");
    }
}
