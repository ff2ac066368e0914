//! Any sequence of calls gives the same answers as the reference model, restarts included.

use proptest::prelude::*;

use super::*;
use crate::fsck::fsck;
use crate::{
    Batch, CheckpointStore, HeadSwap, LogStore, MemoryStore, NewEntry, OriginHead, Published,
    SignedHead,
};
use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::sha256;
use jurat_proto::key::UnixSeconds;
use jurat_proto::tile::{BundleCoord, TileCoord};
use jurat_proto::tree::LeafIndex;

#[derive(Debug, Clone)]
enum Call {
    Commit {
        entries: Vec<u16>,
        heads: Vec<Swap>,
        stale: bool,
    },
    Swap(Vec<Swap>),
    Publish {
        back: usize,
        right: bool,
    },
    Sign {
        back: usize,
        time: u64,
    },
    Reopen,
    /// Opens with another target for the pool.
    Resize(usize),
}

#[derive(Debug, Clone)]
struct Swap {
    origin: u8,
    right: bool,
    size: u64,
    time: u64,
    entry: Option<u64>,
}

fn swap() -> impl Strategy<Value = Swap> {
    let entry = proptest::option::of(0..60u64);
    (
        0..3u8,
        proptest::bool::weighted(0.9),
        0..40u64,
        0..20u64,
        entry,
    )
        .prop_map(|(origin, right, size, time, entry)| Swap {
            origin,
            right,
            size,
            time,
            entry,
        })
}

fn call() -> impl Strategy<Value = Call> {
    let entries = proptest::collection::vec(0..200u16, 0..40);
    let heads = proptest::collection::vec(swap(), 0..2);
    let stale = proptest::bool::weighted(0.1);
    prop_oneof![
        8 => (entries, heads, stale)
            .prop_map(|(entries, heads, stale)| Call::Commit { entries, heads, stale }),
        2 => proptest::collection::vec(swap(), 0..5).prop_map(Call::Swap),
        1 => (0..3usize, proptest::bool::weighted(0.8))
            .prop_map(|(back, right)| Call::Publish { back, right }),
        1 => (0..3usize, 0..20u64).prop_map(|(back, time)| Call::Sign { back, time }),
        2 => Just(Call::Reopen),
        1 => (0..50usize).prop_map(Call::Resize),
    ]
}

fn build(store: &MemoryStore, swap: &Swap) -> HeadSwap {
    let origin = Origin::parse(&format!("example.com/{}", swap.origin)).unwrap();
    let head = |size: u64| TreeHead {
        size: TreeSize::new(size).unwrap(),
        root_hash: sha256(&size.to_be_bytes()),
    };
    let current = store.latest(&origin).unwrap().map(|latest| latest.head);
    let expected = if swap.right { current } else { Some(head(99)) };
    let new = OriginHead {
        head: head(swap.size + current.map_or(0, |head| head.size.get().saturating_sub(5))),
        time: UnixSeconds::new(swap.time).unwrap(),
        note: swap.time.to_be_bytes().to_vec(),
        log_index: swap.entry.and_then(LeafIndex::new),
    };
    HeadSwap {
        origin,
        expected,
        new,
    }
}

/// Makes the call on both and compares what they answer.
fn same(redb: &RedbStore, model: &MemoryStore, heads: &mut Vec<TreeHead>, call: &Call) {
    let older = |back: usize| heads[heads.len().saturating_sub(1 + back)];
    match call {
        Call::Commit {
            entries,
            heads: swaps,
            stale,
        } => {
            let batch = Batch {
                expected: older(usize::from(*stale)),
                entries: entries
                    .iter()
                    .map(|n| NewEntry::new(vec![b'x'; usize::from(*n)]).unwrap())
                    .collect(),
                heads: swaps.iter().map(|swap| build(model, swap)).collect(),
            };
            let (a, b) = (redb.commit(batch.clone()), model.commit(batch));
            assert_eq!(format!("{a:?}"), format!("{b:?}"));
            if let Ok(committed) = b {
                heads.push(committed.head);
            }
        }
        Call::Swap(swaps) => {
            let swaps: Vec<HeadSwap> = swaps.iter().map(|swap| build(model, swap)).collect();
            let (a, b) = (
                redb.compare_and_swap(&swaps),
                model.compare_and_swap(&swaps),
            );
            assert_eq!(a.unwrap(), b.unwrap());
        }
        Call::Publish { back, right } => {
            let mut head = older(*back);
            if !right {
                head.root_hash = sha256(b"wrong");
            }
            let published = Published {
                head,
                note: vec![9; *back],
            };
            let (a, b) = (redb.publish(published.clone()), model.publish(published));
            assert_eq!(format!("{a:?}"), format!("{b:?}"));
        }
        Call::Sign { back, time } => {
            let signed = SignedHead {
                head: older(*back),
                time: UnixSeconds::new(*time).unwrap(),
            };
            let (a, b) = (redb.record_signing(signed), model.record_signing(signed));
            assert_eq!(format!("{a:?}"), format!("{b:?}"));
        }
        Call::Reopen | Call::Resize(_) => {}
    }
    compare(redb, model);
}

fn compare(redb: &RedbStore, model: &MemoryStore) {
    let head = model.head().unwrap();
    assert_eq!(redb.head().unwrap(), head);
    assert_eq!(redb.frontier().unwrap(), model.frontier().unwrap());
    assert_eq!(redb.published().unwrap(), model.published().unwrap());
    assert_eq!(redb.last_signed().unwrap(), model.last_signed().unwrap());
    let origins = model.origins(None, 10).unwrap();
    assert_eq!(redb.origins(None, 10).unwrap(), origins);
    for (origin, _) in &origins {
        let (a, b) = (
            redb.history(origin, None, 99),
            model.history(origin, None, 99),
        );
        assert_eq!(a.unwrap(), b.unwrap());
    }
    let mut wanted: Vec<Hash> = (0..200usize)
        .map(|n| *NewEntry::new(vec![b'x'; n]).unwrap().leaf_hash())
        .collect();
    wanted.push(sha256(b"never"));
    assert_eq!(
        redb.find_leaves(&wanted).unwrap(),
        model.find_leaves(&wanted).unwrap()
    );
    for width in [1u16, 13, 256] {
        let tile = TileCoord::new(0, head.size.get() / 256, width).unwrap();
        assert_eq!(redb.tile(tile).unwrap(), model.tile(tile).unwrap());
        let bundle = BundleCoord::new(head.size.get() / 256, width).unwrap();
        assert_eq!(redb.bundle(bundle).unwrap(), model.bundle(bundle).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn redb_answers_as_the_model_does(calls in proptest::collection::vec(call(), 1..40)) {
        let fixture = OnDisk::new(SMALL);
        let mut redb = fixture.create();
        let model = MemoryStore::new();
        let mut heads = vec![TreeHead::empty()];
        for call in calls {
            match call {
                Call::Reopen => redb = fixture.reopen(redb),
                Call::Resize(target) => {
                    let path = redb.path().to_owned();
                    drop(redb);
                    let options = RedbOptions { dedup_pool: target, ..SMALL };
                    redb = RedbStore::open(path, options).unwrap();
                }
                _ => {}
            }
            same(&redb, &model, &mut heads, &call);
        }
        let report = fsck(&redb, &mut |_| {}).unwrap();
        prop_assert!(report.is_clean(), "{:?}", report);
    }
}
