//! Commits that are answered when the journal has them, and the engine has not.
//!
//! Spec: STO-27, STO-50, STO-70.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use jurat_proto::checkpoint::Origin;
use jurat_proto::key::UnixSeconds;
use jurat_proto::tile::TileCoord;
use jurat_proto::tree::LeafIndex;

use super::disk::{Disks, End};
use super::*;
use crate::simulated_disk::Random;
use crate::{CheckpointStore, CommitError, Records, SignedHead};

fn batch(store: &RedbStore, entries: usize) -> Batch {
    let expected = store.head().unwrap();
    let size = expected.size.get();
    let entry = |n: usize| NewEntry::new(format!("entry {n} behind {size}").into_bytes()).unwrap();
    Batch {
        expected,
        entries: (0..entries).map(entry).collect(),
        heads: Vec::new(),
    }
}

/// Whether a look at the store shows the entry that was committed last, at this index.
type Look<'a> = &'a dyn Fn(u64, &NewEntry) -> bool;

// Spec: STO-50
#[test]
fn a_few_entries_cost_one_write_and_one_wait_and_whoever_looks_next_sees_them() {
    let disks = Disks::new(Some(64));
    let store = disks.open();
    let index = |n: u64| LeafIndex::new(n).unwrap();
    let looks: [(&str, Look<'_>); 7] = [
        ("head", &|n, _| store.head().unwrap().size.get() == n + 1),
        ("frontier", &|n, _| {
            store.frontier().unwrap().size().get() == n + 1
        }),
        ("entry", &|n, entry| {
            store.entry(index(n)).unwrap().as_deref() == Some(entry.bytes())
        }),
        ("leaf hash", &|n, entry| {
            store.leaf_hash(index(n)).unwrap().as_ref() == Some(entry.leaf_hash())
        }),
        ("tile", &|n, entry| {
            let width = u16::try_from(n + 1).unwrap();
            let tile = TileCoord::new(0, 0, width).unwrap();
            let bytes = store.tile(tile).unwrap().unwrap();
            bytes.ends_with(entry.leaf_hash().as_bytes())
        }),
        ("search", &|n, entry| {
            store.find_leaves(&[*entry.leaf_hash()]).unwrap() == [Some(index(n))]
        }),
        ("settle", &|n, _| {
            store.settle().unwrap();
            store.size().unwrap() == n + 1
        }),
    ];
    for (n, (what, look)) in (0..).zip(looks) {
        let batch = batch(&store, 1);
        let entry = batch.entries[0].clone();
        disks.engine.power.fails_at(u64::MAX);
        store.commit(batch).unwrap();
        assert_eq!(disks.engine.power.operations(), 2, "{what}");
        assert!(!store.is_settled(), "{what}");
        assert!(look(n, &entry), "{what}");
        assert!(store.is_settled(), "{what}");
    }
}

// Spec: STO-50
#[test]
fn whoever_writes_next_has_it_done_first() {
    let disks = Disks::new(Some(64));
    let store = disks.open();
    let batch_of = |entries| {
        let batch = batch(&store, entries);
        let committed = store.commit(batch.clone()).unwrap();
        (batch, committed)
    };
    let (stale, first) = batch_of(8);
    assert!(!store.is_settled());
    // The head is what it became, also for who did not look.
    let current = first.head;
    let conflict = store.commit(stale).unwrap_err();
    assert!(matches!(conflict, CommitError::Conflict { current: c } if c == current));
    assert!(store.is_settled());
    let (_, second) = batch_of(1);
    assert!(!store.is_settled());
    let time = UnixSeconds::new(7).unwrap();
    let head = second.head;
    store.record_signing(SignedHead { head, time }).unwrap();
    assert!(store.is_settled());
    assert_eq!(store.size().unwrap(), 9);
}

// Spec: STO-50
#[test]
fn what_is_more_than_a_few_entries_is_with_the_engine_when_it_is_answered() {
    let disks = Disks::new(Some(64));
    let store = disks.open();
    store.commit(batch(&store, 9)).unwrap();
    assert!(store.is_settled());
    let signing = Some(SignedHead {
        head: store.head().unwrap(),
        time: UnixSeconds::new(7).unwrap(),
    });
    let records = Records {
        signing,
        ..Records::default()
    };
    store.commit_with(batch(&store, 1), records).unwrap();
    assert!(store.is_settled());
    let mut with_head = batch(&store, 1);
    with_head.heads.push(crate::HeadSwap {
        origin: Origin::parse("example.com/a").unwrap(),
        expected: None,
        new: crate::OriginHead {
            head: with_head.expected,
            time: UnixSeconds::new(7).unwrap(),
            note: Vec::new(),
            log_index: None,
        },
    });
    store.commit(with_head).unwrap();
    assert!(store.is_settled());
    // Without a journal there is nothing to be ahead with.
    let disks = Disks::new(None);
    let store = disks.open();
    store.commit(batch(&store, 1)).unwrap();
    assert!(store.is_settled());
}

// Spec: STO-28, STO-50
#[test]
fn what_the_engine_was_owed_is_found_after_a_crash() {
    for how in [End::Kill, End::PowerCut] {
        let disks = Disks::new(Some(64));
        let store = disks.open();
        for _ in 0..3 {
            store.commit(batch(&store, 2)).unwrap();
        }
        assert!(!store.is_settled());
        let left = disks.after(how, &mut Random(5));
        drop(store);
        let store = left.open();
        assert_eq!(store.size().unwrap(), 6, "{how:?}");
        assert!(fsck(&store, &mut |_| {}).unwrap().is_clean());
    }
}

/// What a disk says that fails.
const GONE: &str = "the disk is gone";

fn commit_large(store: &RedbStore, n: u64) {
    let mut large = batch(store, 1);
    let bytes = vec![u8::try_from(n % 251).unwrap(); 60_000];
    large.entries = vec![NewEntry::new(bytes).unwrap()];
    store.commit(large).unwrap();
}

/// A store of so many entries, whose engine is owed the last of them and cannot take it: its file
/// would have to grow.
fn owed_what_it_cannot_take() -> (Disks, RedbStore, u64) {
    let begun = || {
        let disks = Disks::new(Some(4_096));
        let store = disks.open();
        (disks, store)
    };
    // Sooner or later that is so: after as many commits each time.
    let (disks, store) = begun();
    let mut size = 0;
    loop {
        commit_large(&store, size);
        size += 1;
        disks.engine.power.fails_at(1);
        if store.settle().is_err() {
            break;
        }
        disks.engine.power.fails_at(u64::MAX);
    }
    let (disks, store) = begun();
    for n in 0..size {
        store.settle().unwrap();
        commit_large(&store, n);
    }
    disks.engine.power.fails_at(1);
    (disks, store, size)
}

// Spec: STO-50, SVC-80
#[test]
fn who_settles_after_a_reader_met_the_failure_learns_of_it_and_why() {
    let (_disks, store, _) = owed_what_it_cannot_take();
    let met = store.head().unwrap_err().to_string();
    assert!(met.contains(GONE), "{met}");
    assert!(matches!(store.head(), Err(StoreError::Stopped)));
    // Else nobody would be sent to settle it, and the service would seem alive.
    assert!(!store.is_settled());
    for _ in 0..2 {
        assert_eq!(store.settle().unwrap_err().to_string(), met);
    }
}

// Spec: STO-30, STO-50, SVC-80
#[test]
fn a_store_that_cannot_be_closed_in_order_says_why_and_loses_nothing() {
    for read_before in [false, true] {
        let (disks, store, size) = owed_what_it_cannot_take();
        if read_before {
            store.head().unwrap_err();
        }
        for _ in 0..2 {
            let failed = store.close().unwrap_err().to_string();
            assert!(failed.contains(GONE), "{failed}");
        }
        let left = disks.after(End::PowerCut, &mut Random(5));
        drop(store);
        assert_eq!(left.open().size().unwrap(), size);
    }
}

// Spec: STO-28, STO-50
#[test]
fn an_engine_that_does_not_take_what_it_is_owed_ends_the_store_and_loses_nothing() {
    let (disks, store, size) = owed_what_it_cannot_take();
    let failed = store.settle().unwrap_err().to_string();
    assert!(failed.contains(GONE), "{failed}");
    assert!(matches!(store.head(), Err(StoreError::Stopped)));
    assert!(matches!(
        store.latest(&Origin::parse("a").unwrap()),
        Err(StoreError::Stopped)
    ));
    let left = disks.after(End::PowerCut, &mut Random(5));
    drop(store);
    let store = left.open();
    assert_eq!(store.size().unwrap(), size);
    assert!(fsck(&store, &mut |_| {}).unwrap().is_clean());
}

/// A store whose engine did not end a commit that the journal has, which was answered so; and the
/// size that it has since.
fn one_that_the_engine_did_not_end() -> (Disks, RedbStore, u64) {
    // Where its file grows before the frame is written, it is the frame that fails: then the next
    // commit is tried, of a store that begins anew.
    let mut from = 0;
    'again: for _ in 0..400 {
        let disks = Disks::new(Some(4_096));
        let store = disks.open();
        for n in 0_u64.. {
            if n >= from {
                // Behind the write of the frame and the wait for it.
                disks.engine.power.fails_at(3);
            }
            // More than a few: the engine has them when they are answered.
            let committed = store.commit(batch(&store, 9));
            disks.engine.power.fails_at(u64::MAX);
            match committed {
                Ok(_) if store.is_settled() => {}
                Ok(committed) => return (disks, store, committed.head.size.get()),
                Err(_) => {
                    from = n + 1;
                    continue 'again;
                }
            }
        }
    }
    panic!("the engine ends all that it begins");
}

// Spec: STO-28, STO-70
#[test]
fn a_commit_that_only_the_engine_did_not_end_is_answered_as_done_and_found_again() {
    for how in [End::Kill, End::PowerCut] {
        let (disks, store, size) = one_that_the_engine_did_not_end();
        assert!(matches!(store.head(), Err(StoreError::Stopped)));
        let why = store.settle().unwrap_err().to_string();
        assert!(why.contains(GONE), "{why}");
        let left = disks.after(how, &mut Random(5));
        drop(store);
        let store = left.open();
        assert_eq!(store.size().unwrap(), size, "{how:?}");
        assert!(fsck(&store, &mut |_| {}).unwrap().is_clean());
    }
}

// Spec: STO-27, STO-50
#[test]
fn nobody_sees_less_than_was_answered_while_others_write_and_settle() {
    const COMMITS: u64 = 400;
    let disks = Disks::new(Some(64));
    let store = disks.open();
    let answered = AtomicU64::new(0);
    thread::scope(|scope| {
        for reader in 0..3_u32 {
            let (store, answered) = (&store, &answered);
            scope.spawn(move || {
                loop {
                    let before = answered.load(Ordering::Acquire);
                    if reader == 0 {
                        store.settle().unwrap();
                    }
                    let seen = store.head().unwrap().size.get();
                    assert!(seen >= before, "{seen} of {before}");
                    if let Some(last) = before.checked_sub(1) {
                        let last = LeafIndex::new(last).unwrap();
                        assert!(store.entry(last).unwrap().is_some());
                    }
                    if before == COMMITS {
                        break;
                    }
                }
            });
        }
        let mut expected = store.head().unwrap();
        for n in 1..=COMMITS {
            let entries = vec![NewEntry::new(n.to_be_bytes().to_vec()).unwrap()];
            let batch = Batch {
                expected,
                entries,
                heads: Vec::new(),
            };
            expected = store.commit(batch).unwrap().head;
            answered.store(n, Ordering::Release);
        }
    });
    assert!(fsck(&store, &mut |_| {}).unwrap().is_clean());
}
