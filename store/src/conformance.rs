//! The suite that every backend must pass.
//!
//! A backend's test implements [`Fixture`] and calls [`all`]; each function here is one claim and
//! panics when the backend breaks it. Trees are compared with a naive recursion over the leaf
//! hashes, not with the code that the backends share.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "assertions of a test suite"
)]

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::{Hash, empty_root, leaf_hash, node_hash, sha256};
use jurat_proto::key::UnixSeconds;
use jurat_proto::tile::{BundleCoord, EntryBundle, TileCoord};
use jurat_proto::tree::{LeafIndex, TreeHead, TreeSize};

use crate::fsck::{Finding, Inspect, fsck};
use crate::{
    Batch, CheckpointStore, CommitError, HeadRefusal, HeadSwap, HistoryItem, Landmark, LogStore,
    NewEntry, OriginHead, Published, RecordError, Records, RefusedSwap, SignedHead, SwapRefusal,
};

/// How the suite gets at a backend.
pub trait Fixture {
    /// The backend.
    type Store: Inspect;

    /// A new, empty store, independent of earlier ones.
    fn create(&self) -> Self::Store;

    /// Closes a store and opens it again, as a process that starts again would. A backend that
    /// makes no promise to survive gives back the store as it is.
    fn reopen(&self, store: Self::Store) -> Self::Store;
}

/// Every claim, one after the other.
pub fn all(fixture: &impl Fixture) {
    a_new_store_is_the_empty_tree(fixture);
    entries_hashes_tiles_and_bundles_are_those_of_the_naive_tree(fixture);
    a_stale_commit_conflicts_and_changes_nothing(fixture);
    a_refused_head_refuses_the_whole_batch(fixture);
    entries_and_heads_change_together(fixture);
    leaves_are_found_by_all_32_bytes_at_every_moment(fixture);
    the_first_of_equal_entries_is_found(fixture);
    swaps_are_serial_and_independent(fixture);
    heads_never_go_back(fixture);
    origins_are_listed_in_pages(fixture);
    history_lists_each_anchored_checkpoint_once(fixture);
    only_heads_of_this_tree_are_published_and_sizes_never_go_down(fixture);
    signing_never_goes_back_in_size_or_time(fixture);
    records_ride_on_a_commit_and_do_not_disturb_it(fixture);
    records_alone_are_a_commit_and_a_stale_batch_takes_them_down(fixture);
    readers_see_whole_batches(fixture);
    everything_survives_a_restart(fixture);
    landmarks_are_listed_and_of_timestamps_the_newest(fixture);
    fsck_is_clean_and_sees_a_forged_leaf(fixture);
}

/// Spec: STO-32.
pub fn landmarks_are_listed_and_of_timestamps_the_newest(fixture: &impl Fixture) {
    let mut store = fixture.create();
    let of = |kind: &str, number: usize| {
        let text = format!("jurat-entry/v1 {kind}\n{number}\n");
        NewEntry::new(text.into_bytes()).unwrap()
    };
    let mut due: [Vec<LeafIndex>; 4] = Default::default();
    let mut at = 0;
    // What only begins like an entry of the kind is none, and what is one is found wherever it is.
    let kinds = [
        "key",
        "checkpoint",
        "keys",
        "clock",
        "timestamp",
        "timestamp",
        "other",
        "evidence",
        "clock",
    ];
    for round in 0..20 {
        let expected = store.head().unwrap();
        let mut entries = Vec::new();
        for kind in kinds.iter().cycle().skip(round).take(round % 7) {
            entries.push(of(kind, at));
            match Landmark::ALL.iter().position(|known| known.name() == *kind) {
                Some(3) => due[3] = vec![index(at)],
                Some(place) => due[place].push(index(at)),
                None => {}
            }
            at += 1;
        }
        let heads = Vec::new();
        store
            .commit(Batch {
                expected,
                entries,
                heads,
            })
            .unwrap();
        if round % 3 == 2 {
            store = fixture.reopen(store);
        }
        for (kind, due) in Landmark::ALL.into_iter().zip(&due) {
            let all = store.landmarks(kind, index(0), usize::MAX).unwrap();
            assert_eq!(all, *due, "{kind:?} after round {round}");
            assert_eq!(store.newest(kind).unwrap(), due.last().copied());
            let Some(middle) = due.get(due.len() / 2) else {
                continue;
            };
            let some = store.landmarks(kind, *middle, 2).unwrap();
            assert_eq!(
                some,
                due[due.len() / 2..]
                    .iter()
                    .copied()
                    .take(2)
                    .collect::<Vec<_>>()
            );
        }
    }
    let report = fsck(&store, &mut |_| {}).unwrap();
    assert_eq!(report.findings, []);
}

/// Spec: STO-01.
pub fn a_new_store_is_the_empty_tree(fixture: &impl Fixture) {
    let store = fixture.create();
    assert_eq!(store.head().unwrap(), TreeHead::empty());
    assert_eq!(store.frontier().unwrap().root(), empty_root());
    assert_eq!(store.entry(index(0)).unwrap(), None);
    assert_eq!(store.leaf_hash(index(0)).unwrap(), None);
    assert_eq!(store.tile(TileCoord::new(0, 0, 1).unwrap()).unwrap(), None);
    assert_eq!(store.bundle(BundleCoord::new(0, 1).unwrap()).unwrap(), None);
    assert_eq!(store.published().unwrap(), None);
    assert_eq!(store.last_signed().unwrap(), None);
    assert_eq!(store.latest(&origin("a")).unwrap(), None);
    assert_eq!(store.origins(None, 10).unwrap(), Vec::new());
    assert_eq!(store.history(&origin("a"), None, 10).unwrap(), Vec::new());
    assert_eq!(store.find_leaves(&[leaf_hash(b"a")]).unwrap(), [None]);
    assert_eq!(store.find_leaves(&[]).unwrap(), []);
    let committed = append(&store, 0..0);
    assert_eq!(
        (committed.head, committed.first_index),
        (TreeHead::empty(), index(0))
    );
}

/// Spec: STO-02, STO-03, STO-17. Batches of odd sizes, so that every row and tile is cut somewhere.
pub fn entries_hashes_tiles_and_bundles_are_those_of_the_naive_tree(fixture: &impl Fixture) {
    let mut store = fixture.create();
    let mut leaves = Vec::new();
    for (step, n) in [1, 2, 5, 8, 13, 200, 27, 1, 255, 256, 257, 3]
        .into_iter()
        .enumerate()
    {
        let first = leaves.len();
        let committed = append(&store, first..first + n);
        assert_eq!(committed.first_index.get(), number(first));
        leaves.extend((first..first + n).map(|i| leaf_hash(&bytes(i))));
        let head = TreeHead {
            size: size(leaves.len()),
            root_hash: naive_root(&leaves),
        };
        assert_eq!(committed.head, head, "after step {step}");
        assert_eq!(store.head().unwrap(), head);
        assert_eq!(store.frontier().unwrap().head(), head);
        if step % 4 == 3 {
            store = fixture.reopen(store);
            assert_eq!(store.head().unwrap(), head);
        }
        compare_tiles(&store, &leaves);
    }
    for (i, leaf) in leaves.iter().enumerate() {
        assert_eq!(store.entry(index(i)).unwrap(), Some(bytes(i)));
        assert_eq!(store.leaf_hash(index(i)).unwrap(), Some(*leaf));
    }
    let beyond = index(leaves.len());
    assert_eq!(store.entry(beyond).unwrap(), None);
    assert_eq!(store.leaf_hash(beyond).unwrap(), None);
    assert_eq!(
        store.entry(LeafIndex::new(u64::MAX >> 2).unwrap()).unwrap(),
        None
    );
}

fn compare_tiles(store: &impl LogStore, leaves: &[Hash]) {
    for level in 0..3u8 {
        let span = 1usize << (8 * level);
        let hashes: Vec<Hash> = leaves.chunks_exact(span).map(naive_root).collect();
        for (n, tile) in hashes.chunks(256).enumerate() {
            for width in [1, 7, 8, 9, 255, 256, tile.len()] {
                let coord = TileCoord::new(level, number(n), u16::try_from(width).unwrap());
                let expected = tile.get(..width).map(|hashes| {
                    hashes
                        .iter()
                        .flat_map(|hash| *hash.as_bytes())
                        .collect::<Vec<_>>()
                });
                assert_eq!(store.tile(coord.unwrap()).unwrap(), expected, "{coord:?}");
            }
        }
        let next = TileCoord::new(level, number(hashes.len().div_ceil(256)), 1).unwrap();
        assert_eq!(store.tile(next).unwrap(), None);
    }
    for n in 0..leaves.len().div_ceil(256) {
        for width in [1, 100, 256, (leaves.len() - n * 256).min(256)] {
            let coord = BundleCoord::new(number(n), u16::try_from(width).unwrap()).unwrap();
            let bundle = store.bundle(coord).unwrap();
            assert_eq!(bundle.is_some(), n * 256 + width <= leaves.len());
            for (i, entry) in bundle
                .iter()
                .flat_map(|b| EntryBundle::parse(b, coord.width()).unwrap())
                .enumerate()
            {
                assert_eq!(entry, bytes(n * 256 + i));
            }
        }
    }
    let (last, far) = (
        TileCoord::new(7, 0, 1).unwrap(),
        BundleCoord::new(1 << 50, 1).unwrap(),
    );
    assert_eq!(store.tile(last).unwrap(), None);
    assert_eq!(store.bundle(far).unwrap(), None);
}

/// Spec: STO-04.
pub fn a_stale_commit_conflicts_and_changes_nothing(fixture: &impl Fixture) {
    let store = fixture.create();
    append(&store, 0..10);
    let stale = store.head().unwrap();
    append(&store, 10..20);
    let current = store.head().unwrap();
    let other_root = TreeHead {
        root_hash: sha256(b"another"),
        ..current
    };
    for expected in [stale, TreeHead::empty(), other_root] {
        let heads = vec![swap("a", None, head(1), 1)];
        let batch = Batch {
            expected,
            entries: entries(90..95),
            heads,
        };
        match store.commit(batch) {
            Err(CommitError::Conflict { current: told }) => assert_eq!(told, current),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.head().unwrap(), current);
    assert_eq!(store.find_leaves(&[leaf_hash(&bytes(90))]).unwrap(), [None]);
    assert_eq!(store.latest(&origin("a")).unwrap(), None);
    assert_eq!(append(&store, 20..21).first_index, index(20));
}

/// Spec: STO-04.
pub fn a_refused_head_refuses_the_whole_batch(fixture: &impl Fixture) {
    let store = fixture.create();
    append(&store, 0..3);
    let before = store.head().unwrap();
    let good = swap("good", None, head(5), 1);
    let bad = swap("bad", Some(head(1)), head(5), 1);
    let beyond = HeadSwap {
        new: at_entry(head(5), 1, 4),
        ..swap("beyond", None, head(5), 1)
    };
    let batch = Batch {
        expected: before,
        entries: entries(3..4),
        heads: vec![good, bad, beyond],
    };
    match store.commit(batch) {
        Err(CommitError::HeadsRefused(refused)) => assert_eq!(
            refused,
            [
                RefusedSwap {
                    position: 1,
                    refusal: SwapRefusal::Conflict { current: None }
                },
                RefusedSwap {
                    position: 2,
                    refusal: SwapRefusal::NoSuchEntry {
                        log_index: index(4),
                        size: size(4)
                    },
                },
            ]
        ),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.head().unwrap(), before);
    assert_eq!(store.entry(index(3)).unwrap(), None);
    assert_eq!(store.origins(None, 10).unwrap(), Vec::new());
    assert_eq!(store.find_leaves(&[leaf_hash(&bytes(3))]).unwrap(), [None]);
}

/// Spec: STO-03.
pub fn entries_and_heads_change_together(fixture: &impl Fixture) {
    let store = fixture.create();
    let first = HeadSwap {
        new: at_entry(head(5), 1, 0),
        ..swap("a", None, head(5), 1)
    };
    let second = HeadSwap {
        new: at_entry(head(6), 2, 1),
        ..swap("a", Some(head(5)), head(6), 2)
    };
    let batch = Batch {
        expected: TreeHead::empty(),
        entries: entries(0..2),
        heads: vec![first, second.clone()],
    };
    assert_eq!(store.commit(batch).unwrap().head.size, size(2));
    let store = fixture.reopen(store);
    assert_eq!(store.latest(&origin("a")).unwrap(), Some(second.new));
    assert_eq!(store.entry(index(1)).unwrap(), Some(bytes(1)));
    let heads = vec![swap("b", None, head(9), 3)];
    let batch = Batch {
        expected: store.head().unwrap(),
        entries: Vec::new(),
        heads,
    };
    let committed = store.commit(batch).unwrap();
    assert_eq!(
        (committed.head.size, committed.first_index),
        (size(2), index(2))
    );
    assert_eq!(store.latest(&origin("b")).unwrap().unwrap().head, head(9));
}

/// Spec: STO-10. Four leaf hashes share each 8-byte prefix.
pub fn leaves_are_found_by_all_32_bytes_at_every_moment(fixture: &impl Fixture) {
    let mut store = fixture.create();
    let mut known: Vec<Hash> = Vec::new();
    for step in 0..60usize {
        let fresh: Vec<Hash> = (0..=step % 9).map(|i| colliding(known.len() + i)).collect();
        let batch = Batch {
            expected: store.head().unwrap(),
            entries: fresh
                .iter()
                .map(|hash| NewEntry::forged(b"x".to_vec(), *hash))
                .collect(),
            heads: Vec::new(),
        };
        assert!(
            store
                .find_leaves(&fresh)
                .unwrap()
                .iter()
                .all(Option::is_none)
        );
        store.commit(batch).unwrap();
        known.extend(fresh);
        let mut asked = known.clone();
        asked.push(colliding(known.len()));
        asked.reverse();
        let mut expected: Vec<_> = (0..known.len()).map(|i| Some(index(i))).collect();
        expected.push(None);
        expected.reverse();
        assert_eq!(
            store.find_leaves(&asked).unwrap(),
            expected,
            "after step {step}"
        );
        if step % 23 == 22 {
            store = fixture.reopen(store);
        }
    }
}

fn colliding(i: usize) -> Hash {
    let mut bytes = *sha256(&number(i).to_be_bytes()).as_bytes();
    let prefix = *sha256(&number(i / 4).to_be_bytes()).as_bytes();
    bytes[..8].copy_from_slice(&prefix[..8]);
    Hash::new(bytes)
}

/// Spec: STO-10.
pub fn the_first_of_equal_entries_is_found(fixture: &impl Fixture) {
    let mut store = fixture.create();
    append(&store, 0..5);
    append(&store, 3..30);
    append(&store, 0..30);
    let hashes: Vec<Hash> = (0..30).map(|i| leaf_hash(&bytes(i))).collect();
    // 0..5 at 0, then 3..30 at 5, so entry 5 is at 7.
    let expected: Vec<_> = (0..30)
        .map(|i| Some(index(if i < 5 { i } else { i + 2 })))
        .collect();
    assert_eq!(store.find_leaves(&hashes).unwrap(), expected);
    store = fixture.reopen(store);
    assert_eq!(store.find_leaves(&hashes).unwrap(), expected);
    let twice = [hashes[9], hashes[9]];
    assert_eq!(store.find_leaves(&twice).unwrap(), [Some(index(11)); 2]);
}

/// Spec: STO-06.
pub fn swaps_are_serial_and_independent(fixture: &impl Fixture) {
    let store = fixture.create();
    let swaps = [
        swap("a", None, head(1), 1),
        swap("a", None, head(2), 1),
        swap("b", Some(head(1)), head(2), 1),
        swap("a", Some(head(1)), head(3), 2),
        swap("c", None, head(0), 1),
    ];
    let conflict = |current| Err(SwapRefusal::Conflict { current });
    assert_eq!(
        store.compare_and_swap(&swaps).unwrap(),
        [
            Ok(()),
            conflict(Some(head(1))),
            conflict(None),
            Ok(()),
            Ok(())
        ]
    );
    let store = fixture.reopen(store);
    assert_eq!(
        store.latest(&origin("a")).unwrap(),
        Some(swaps[3].new.clone())
    );
    assert_eq!(store.latest(&origin("b")).unwrap(), None);
    assert_eq!(
        store.latest(&origin("c")).unwrap(),
        Some(swaps[4].new.clone())
    );
    assert_eq!(store.compare_and_swap(&[]).unwrap(), []);
    let refused = store.compare_and_swap(&swaps[1..2]).unwrap();
    assert_eq!(refused, [conflict(Some(head(3)))]);
}

/// Spec: STO-07.
pub fn heads_never_go_back(fixture: &impl Fixture) {
    let store = fixture.create();
    let current = head(7);
    store
        .compare_and_swap(&[swap("a", None, current, 100)])
        .unwrap();
    let fork = TreeHead {
        root_hash: sha256(b"fork"),
        ..current
    };
    let refused = store
        .compare_and_swap(&[
            swap("a", Some(current), head(6), 101),
            swap("a", Some(current), fork, 101),
            swap("a", Some(current), head(8), 99),
        ])
        .unwrap();
    assert_eq!(
        refused,
        [
            Err(SwapRefusal::Shrinks {
                current: size(7),
                new: size(6)
            }),
            Err(SwapRefusal::Forks { current, new: fork }),
            Err(SwapRefusal::TimeWentBack {
                current: seconds(100),
                new: seconds(99)
            }),
        ]
    );
    assert_eq!(
        store.latest(&origin("a")).unwrap().unwrap().time,
        seconds(100)
    );
    let refresh = swap("a", Some(current), current, 100);
    assert_eq!(store.compare_and_swap(&[refresh]).unwrap(), [Ok(())]);
}

/// Pages are in the byte order of the origins and neither repeat nor skip; and all are counted.
pub fn origins_are_listed_in_pages(fixture: &impl Fixture) {
    let store = fixture.create();
    assert_eq!(store.origin_count().unwrap(), 0);
    let mut names: Vec<String> = (0..25).map(|i| format!("log-{}", i * 7 % 25)).collect();
    let swaps: Vec<_> = names
        .iter()
        .map(|name| swap(name, None, head(1), 1))
        .collect();
    store.compare_and_swap(&swaps).unwrap();
    names.sort();
    let mut listed: Vec<Origin> = Vec::new();
    loop {
        let page = store.origins(listed.last(), 10).unwrap();
        assert!(page.len() <= 10);
        if page.is_empty() {
            break;
        }
        listed.extend(page.into_iter().map(|(origin, _)| origin));
    }
    assert_eq!(
        listed,
        names.iter().map(|name| origin(name)).collect::<Vec<_>>()
    );
    assert_eq!(store.origins(None, 0).unwrap(), Vec::new());
    assert_eq!(store.origin_count().unwrap(), 25);
    let again = swap("log-3", Some(head(1)), head(2), 1);
    store.compare_and_swap(&[again]).unwrap();
    assert_eq!(store.origin_count().unwrap(), 25);
}

/// Spec: STO-18. A refresh adds no item; an entry carries one checkpoint of one origin.
pub fn history_lists_each_anchored_checkpoint_once(fixture: &impl Fixture) {
    let store = fixture.create();
    append(&store, 0..10);
    let step = |name: &str, from: Option<usize>, to: usize, time: u64, entry: usize| HeadSwap {
        origin: origin(name),
        expected: from.map(head),
        new: at_entry(head(to), time, entry),
    };
    let swaps = [
        step("a", None, 1, 1, 0),
        step("b", None, 1, 1, 1),
        step("a", Some(1), 4, 2, 3),
        step("a", Some(4), 4, 5, 3),
        step("a", Some(4), 9, 6, 7),
        step("a", Some(9), 9, 7, 3),
        step("a", Some(9), 9, 8, 8),
        step("b", Some(1), 2, 2, 8),
    ];
    let done = store.compare_and_swap(&swaps).unwrap();
    assert!(done[..7].iter().all(Result::is_ok), "{done:?}");
    assert_eq!(
        done[7],
        Err(SwapRefusal::EntryTaken {
            log_index: index(8)
        })
    );
    let store = fixture.reopen(store);
    let item = |entry, to, time| HistoryItem {
        log_index: index(entry),
        size: size(to),
        time: seconds(time),
    };
    let all = [item(8, 9, 8), item(7, 9, 6), item(3, 4, 2), item(0, 1, 1)];
    assert_eq!(store.history(&origin("a"), None, 10).unwrap(), all);
    assert_eq!(store.history(&origin("a"), None, 2).unwrap(), all[..2]);
    assert_eq!(
        store.history(&origin("a"), Some(index(7)), 1).unwrap(),
        all[2..3]
    );
    assert_eq!(store.history(&origin("a"), Some(index(0)), 1).unwrap(), []);
    assert_eq!(
        store.history(&origin("b"), None, 10).unwrap(),
        [item(1, 1, 1)]
    );
    assert_eq!(store.history(&origin("a"), None, 0).unwrap(), []);
}

/// Spec: STO-08.
pub fn only_heads_of_this_tree_are_published_and_sizes_never_go_down(fixture: &impl Fixture) {
    let store = fixture.create();
    let heads: Vec<TreeHead> = (0..6)
        .map(|n| append(&store, n * 100..n * 100 + 100).head)
        .collect();
    let publish = |head: TreeHead, note: &[u8]| {
        store.publish(Published {
            head,
            note: note.to_vec(),
        })
    };
    publish(heads[1], b"one").unwrap();
    publish(heads[3], b"two").unwrap();
    publish(heads[3], b"two, cosigned again").unwrap();
    let other = TreeHead {
        root_hash: sha256(b"other"),
        ..heads[4]
    };
    let beyond = TreeHead {
        size: size(601),
        root_hash: heads[5].root_hash,
    };
    let (ours, theirs) = (heads[4].root_hash, other.root_hash);
    for (head, reason) in [
        (
            heads[2],
            HeadRefusal::SizeWentBack {
                current: size(400),
                size: size(300),
            },
        ),
        (
            other,
            HeadRefusal::OtherRoot {
                size: size(500),
                ours,
                theirs,
            },
        ),
        (
            beyond,
            HeadRefusal::NotCommitted {
                size: size(601),
                committed: size(600),
            },
        ),
    ] {
        match publish(head, b"no") {
            Err(RecordError::Refused(refusal)) => assert_eq!(refusal, reason),
            other => panic!("{other:?}"),
        }
    }
    let published = Published {
        head: heads[3],
        note: b"two, cosigned again".to_vec(),
    };
    assert_eq!(store.published().unwrap(), Some(published.clone()));
    let store = fixture.reopen(store);
    assert_eq!(store.published().unwrap(), Some(published));
}

/// Spec: STO-09.
pub fn signing_never_goes_back_in_size_or_time(fixture: &impl Fixture) {
    let store = fixture.create();
    let (small, large) = (append(&store, 0..300).head, append(&store, 300..555).head);
    let sign = |head, time| {
        store.record_signing(SignedHead {
            head,
            time: seconds(time),
        })
    };
    sign(TreeHead::empty(), 5).unwrap();
    sign(small, 10).unwrap();
    sign(large, 10).unwrap();
    let other = TreeHead {
        root_hash: sha256(b"other"),
        ..large
    };
    let ours = large.root_hash;
    for (head, time, reason) in [
        (
            large,
            9,
            HeadRefusal::TimeWentBack {
                current: seconds(10),
                time: seconds(9),
            },
        ),
        (
            small,
            11,
            HeadRefusal::SizeWentBack {
                current: large.size,
                size: small.size,
            },
        ),
        (
            other,
            11,
            HeadRefusal::OtherRoot {
                size: large.size,
                ours,
                theirs: other.root_hash,
            },
        ),
    ] {
        match sign(head, time) {
            Err(RecordError::Refused(refusal)) => assert_eq!(refusal, reason),
            other => panic!("{other:?}"),
        }
    }
    let store = fixture.reopen(store);
    let last = SignedHead {
        head: large,
        time: seconds(10),
    };
    assert_eq!(store.last_signed().unwrap(), Some(last));
}

/// Spec: STO-03, STO-08, STO-09.
pub fn records_ride_on_a_commit_and_do_not_disturb_it(fixture: &impl Fixture) {
    let store = fixture.create();
    let first = append(&store, 0..3).head;
    let records = records(Some((first, 100)), Some((first, "one")));
    let (committed, recorded) = commit_with(&store, first, 3..5, records);
    assert_eq!(committed.head, tree_of(5));
    let both = (recorded.signing, recorded.publish);
    assert_eq!(both, (Some(Ok(())), Some(Ok(()))));
    // Their heads are of the tree before the batch; what is refused leaves the entries alone.
    let records = self::records(Some((tree_of(6), 101)), Some((first, "two")));
    let (committed, recorded) = commit_with(&store, tree_of(5), 5..6, records);
    assert_eq!(committed.head, tree_of(6));
    let refused = HeadRefusal::NotCommitted {
        size: size(6),
        committed: size(5),
    };
    let both = (recorded.signing, recorded.publish);
    assert_eq!(both, (Some(Err(refused)), Some(Ok(()))));
    let store = fixture.reopen(store);
    let last = store.last_signed().unwrap();
    assert_eq!(
        last.map(|last| (last.head, last.time)),
        Some((first, seconds(100)))
    );
    assert_eq!(store.published().unwrap().unwrap().note, b"two");
    assert_eq!(store.head().unwrap(), tree_of(6));
}

/// Spec: STO-03, STO-09.
pub fn records_alone_are_a_commit_and_a_stale_batch_takes_them_down(fixture: &impl Fixture) {
    let store = fixture.create();
    let tree = append(&store, 0..3).head;
    let first = records(Some((tree, 100)), None);
    commit_with(&store, tree, 0..0, first);
    let back = records(Some((tree, 99)), None);
    let (_, recorded) = commit_with(&store, tree, 0..0, back);
    let refused = HeadRefusal::TimeWentBack {
        current: seconds(100),
        time: seconds(99),
    };
    let both = (recorded.signing, recorded.publish);
    assert_eq!(both, (Some(Err(refused)), None));
    let stale = Batch {
        expected: TreeHead::empty(),
        entries: Vec::new(),
        heads: Vec::new(),
    };
    let conflict = store.commit_with(stale, records(Some((tree, 200)), Some((tree, "no"))));
    assert!(matches!(conflict, Err(CommitError::Conflict { .. })));
    let store = fixture.reopen(store);
    assert_eq!(store.last_signed().unwrap().unwrap().time, seconds(100));
    assert_eq!(store.published().unwrap(), None);
}

/// The head over the first so many of [`entries`].
fn tree_of(leaves: usize) -> TreeHead {
    let hashes: Vec<Hash> = (0..leaves).map(|i| leaf_hash(&bytes(i))).collect();
    TreeHead {
        size: size(leaves),
        root_hash: naive_root(&hashes),
    }
}

fn records(signing: Option<(TreeHead, u64)>, publish: Option<(TreeHead, &str)>) -> Records {
    Records {
        signing: signing.map(|(head, time)| SignedHead {
            head,
            time: seconds(time),
        }),
        publish: publish.map(|(head, note)| Published {
            head,
            note: note.as_bytes().to_vec(),
        }),
    }
}

fn commit_with(
    store: &impl LogStore,
    expected: TreeHead,
    numbers: std::ops::Range<usize>,
    records: Records,
) -> (crate::Committed, crate::Recorded) {
    let batch = Batch {
        expected,
        entries: entries(numbers),
        heads: Vec::new(),
    };
    store.commit_with(batch, records).unwrap()
}

/// Spec: STO-03. Readers run beside the writer; whatever head they see, its newest entry, tile and
/// dedup answer are there, and its origin head is not older.
pub fn readers_see_whole_batches(fixture: &impl Fixture) {
    let store = &fixture.create();
    let total = 400;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                loop {
                    let seen = store.head().unwrap().size.get();
                    if let Some(last) = seen.checked_sub(1) {
                        let last = usize::try_from(last).unwrap();
                        assert_eq!(store.entry(index(last)).unwrap(), Some(bytes(last)));
                        let hash = leaf_hash(&bytes(last));
                        assert_eq!(store.leaf_hash(index(last)).unwrap(), Some(hash));
                        assert_eq!(store.find_leaves(&[hash]).unwrap(), [Some(index(last))]);
                        let anchored = store.latest(&origin("a")).unwrap().unwrap();
                        assert!(anchored.head.size.get() >= seen);
                    }
                    if seen >= number(total) {
                        break;
                    }
                }
            });
        }
        let (mut done, mut anchored) = (0, None);
        while done < total {
            let n = (1 + done % 7).min(total - done);
            let next = head(done + n);
            let heads = vec![swap("a", anchored, next, 1)];
            let expected = store.head().unwrap();
            store
                .commit(Batch {
                    expected,
                    entries: entries(done..done + n),
                    heads,
                })
                .unwrap();
            (done, anchored) = (done + n, Some(next));
        }
    });
}

/// Spec: STO-03, STO-11.
pub fn everything_survives_a_restart(fixture: &impl Fixture) {
    let mut store = fixture.create();
    for round in 0..8 {
        let first = round * 37;
        let head_now = append(&store, first..first + 37).head;
        store
            .publish(Published {
                head: head_now,
                note: vec![1, 2, 3],
            })
            .unwrap();
        let signed = SignedHead {
            head: head_now,
            time: seconds(5),
        };
        store.record_signing(signed).unwrap();
        let frontier = store.frontier().unwrap();
        store = fixture.reopen(store);
        assert_eq!(store.head().unwrap(), head_now);
        assert_eq!(store.frontier().unwrap(), frontier);
        assert_eq!(store.published().unwrap().unwrap().head, head_now);
        assert_eq!(store.last_signed().unwrap(), Some(signed));
        let hashes: Vec<Hash> = (0..first + 37).map(|i| leaf_hash(&bytes(i))).collect();
        let expected: Vec<_> = (0..first + 37).map(|i| Some(index(i))).collect();
        assert_eq!(store.find_leaves(&hashes).unwrap(), expected);
    }
}

/// Spec: STO-14.
pub fn fsck_is_clean_and_sees_a_forged_leaf(fixture: &impl Fixture) {
    let store = fixture.create();
    for round in 0..9 {
        append(&store, round * 77..round * 77 + 77);
    }
    let head_now = store.head().unwrap();
    store
        .publish(Published {
            head: head_now,
            note: Vec::new(),
        })
        .unwrap();
    store
        .record_signing(SignedHead {
            head: head_now,
            time: seconds(1),
        })
        .unwrap();
    let anchor = HeadSwap {
        new: at_entry(head(5), 1, 8),
        ..swap("a", None, head(5), 1)
    };
    store.compare_and_swap(&[anchor]).unwrap();
    let mut seen = 0;
    let report = fsck(&store, &mut |_| seen += 1).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.head, report.origins), (head_now, 1));
    assert!(seen > 0);
    let forged = NewEntry::forged(b"not this".to_vec(), leaf_hash(b"but that"));
    let batch = Batch {
        expected: head_now,
        entries: vec![forged],
        heads: Vec::new(),
    };
    let stored = store.commit(batch).unwrap().head;
    let report = fsck(&store, &mut |_| {}).unwrap();
    let at = head_now.size.get();
    let (derived, wrong) = (leaf_hash(b"not this"), leaf_hash(b"but that"));
    assert!(report.findings.contains(&Finding::LeafHash {
        index: at,
        derived,
        stored: wrong
    }));
    assert!(
        report.findings.iter().any(
            |finding| matches!(finding, Finding::TreeHead { stored: told, .. } if *told == stored)
        ),
        "{report:?}"
    );
}

/// Appends the entries of these numbers.
fn append(store: &impl LogStore, numbers: std::ops::Range<usize>) -> crate::Committed {
    let expected = store.head().unwrap();
    store
        .commit(Batch {
            expected,
            entries: entries(numbers),
            heads: Vec::new(),
        })
        .unwrap()
}

fn entries(numbers: std::ops::Range<usize>) -> Vec<NewEntry> {
    numbers.map(|i| NewEntry::new(bytes(i)).unwrap()).collect()
}

/// Entry number `i`: empty, short, longer than a page of the engine, or somewhere between.
fn bytes(i: usize) -> Vec<u8> {
    let length = match i % 50 {
        _ if i == 0 => return Vec::new(),
        49 => 9_000,
        step => step * 7,
    };
    let mut bytes = format!("entry {i} ").into_bytes();
    bytes.resize(bytes.len() + length, b'.');
    bytes
}

/// RFC 6962, section 2.1, word for word.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&naive_root(left), &naive_root(right))
        }
    }
}

fn origin(name: &str) -> Origin {
    Origin::parse(&format!("example.com/{name}")).unwrap()
}

/// Some tree head of that size, the same each time.
fn head(leaves: usize) -> TreeHead {
    TreeHead {
        size: size(leaves),
        root_hash: sha256(&number(leaves).to_be_bytes()),
    }
}

fn swap(name: &str, expected: Option<TreeHead>, new: TreeHead, time: u64) -> HeadSwap {
    let note = format!("{name} {time}").into_bytes();
    let new = OriginHead {
        head: new,
        time: seconds(time),
        note,
        log_index: None,
    };
    HeadSwap {
        origin: origin(name),
        expected,
        new,
    }
}

fn at_entry(head: TreeHead, time: u64, entry: usize) -> OriginHead {
    OriginHead {
        head,
        time: seconds(time),
        note: Vec::new(),
        log_index: Some(index(entry)),
    }
}

fn seconds(time: u64) -> UnixSeconds {
    UnixSeconds::new(time).unwrap()
}

fn index(i: usize) -> LeafIndex {
    LeafIndex::new(number(i)).unwrap()
}

fn size(n: usize) -> TreeSize {
    TreeSize::new(number(n)).unwrap()
}

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap()
}
