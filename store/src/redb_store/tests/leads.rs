//! fsck on rows that are sound by themselves and that nothing, or too much, leads to.

use redb::TableDefinition;

use super::*;
use crate::{CheckpointStore, HeadSwap, OriginHead};
use jurat_proto::checkpoint::Origin;
use jurat_proto::key::UnixSeconds;
use jurat_proto::tree::LeafIndex;

// Spec: STO-14
#[test]
fn fsck_names_rows_that_nothing_leads_to() {
    let damages = histories().into_iter().chain(strays());
    for (place, (damage, expected)) in damages.enumerate() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("log.redb");
        drop(with_histories(&path));
        rewrite(&path, damage);
        let store = RedbStore::open(&path, SMALL).unwrap();
        let found = fsck(&store, &mut |_| {}).unwrap().findings;
        assert_eq!(found, expected, "damage {place}");
    }
}

type Damage = (fn(&WriteTransaction), Vec<Finding>);

fn histories() -> Vec<Damage> {
    let broken = |name, reason: &str| Finding::History {
        origin: Origin::parse(name).unwrap(),
        reason: reason.to_owned(),
    };
    let stray = |index| Finding::Stray(Stray::History { index });
    vec![
        (|_| {}, Vec::new()),
        (
            |write| {
                let mut rows = write.open_table(schema::HISTORY).unwrap();
                rows.insert(5, &[0; 24]).unwrap();
            },
            vec![stray(5)],
        ),
        (
            |write| {
                let mut rows = write.open_table(schema::ORIGINS).unwrap();
                rows.remove("example.com/a").unwrap();
            },
            vec![stray(300), stray(302)],
        ),
        (
            // The history of b goes on with the entry before 301, which is of a.
            |write| change_newest_of_b(write, 7, 44),
            vec![
                broken("example.com/b", "entry 300 is in another one as well"),
                stray(301),
            ],
        ),
        (
            |write| change_newest_of_b(write, 8, 1),
            vec![broken("example.com/b", "entry 303 is beyond the head")],
        ),
    ]
}

fn strays() -> Vec<Damage> {
    let hash_row = |level| {
        let (row, bytes) = (0, 32);
        vec![Finding::Stray(Stray::HashRow { level, row, bytes })]
    };
    let name = "other".to_owned();
    vec![
        (|write| add_hash(write, LEAVES, 1), hash_row(1)),
        (|write| add_hash(write, NODES, 0), hash_row(0)),
        (|write| add_hash(write, NODES, 9), hash_row(9)),
        (
            |write| {
                let mut rows = write.open_table(META).unwrap();
                rows.insert("other", [].as_slice()).unwrap();
            },
            vec![Finding::Stray(Stray::Meta { name })],
        ),
    ]
}

fn change_newest_of_b(write: &WriteTransaction, at: usize, byte: u8) {
    let mut rows = write.open_table(schema::HISTORY).unwrap();
    let mut row = *rows.get(303).unwrap().unwrap().value();
    row[at] = byte;
    rows.insert(303, &row).unwrap();
}

fn add_hash(write: &WriteTransaction, table: TableDefinition<'_, u64, &'static [u8]>, level: u8) {
    let mut rows = write.open_table(table).unwrap();
    let key = schema::node_row(level, 0);
    rows.insert(key, [0; 32].as_slice()).unwrap();
}

/// Two origins, each with two entries among the last four: 300 and 302, 301 and 303.
fn with_histories(path: &Path) -> RedbStore {
    let store = filled(path, 300);
    for (index, name) in (300..).zip(["example.com/a", "example.com/b"].repeat(2)) {
        let origin = Origin::parse(name).unwrap();
        let current = store.latest(&origin).unwrap();
        let size = TreeSize::new(index).unwrap();
        let new = OriginHead {
            head: TreeHead {
                size,
                root_hash: leaf(index),
            },
            time: UnixSeconds::new(index).unwrap(),
            note: Vec::new(),
            log_index: LeafIndex::new(index),
        };
        let expected = current.map(|current| current.head);
        let swap = HeadSwap {
            origin,
            expected,
            new,
        };
        let batch = Batch {
            expected: store.head().unwrap(),
            entries: vec![NewEntry::new(format!("entry {index}").into_bytes()).unwrap()],
            heads: vec![swap],
        };
        store.commit(batch).unwrap();
    }
    store
}
