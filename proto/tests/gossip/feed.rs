//! What a witness says that it holds: the rows of its pages, and its state.

use std::collections::BTreeSet;
use std::time::Duration;

use jurat_proto::gossip::node::{Config, Cosigning};
use jurat_proto::gossip::{OriginId, Page, Row, Statement, Tag};
use jurat_proto::hash::leaf_hash;
use jurat_proto::tree::{CompactRange, TreeHead};

use crate::actors::Tiles;
use crate::network::{World, under_seeds};

/// All rows that a witness shows, page by page.
fn read_all(world: &World, witness: usize, rows_max: usize) -> Vec<(Page, Vec<Row>)> {
    let node = &world.witnesses[witness].node;
    let now = world.moment();
    let mut pages = vec![node.page(None, 0, rows_max, now)];
    while let Some((last, _)) = pages.last()
        && last.next < last.seq
    {
        let (epoch, since) = (last.epoch, last.next);
        pages.push(node.page(Some(epoch), since, rows_max, now));
        assert!(pages.len() < 100, "it ends");
    }
    pages
}

// Spec: GSP-30, GSP-31
#[test]
fn pages_have_each_log_once_and_its_newest_heads_first() {
    let mut world = World::new(1, 1, 5);
    for to in 1..30 {
        for log in 0..5 {
            if to % (log as u64 + 1) == 0 {
                assert!(world.submit(0, log, 0, to));
            }
        }
    }
    let whole = read_all(&world, 0, 1_000);
    assert_eq!(whole.len(), 1);
    for rows_max in [1, 9, 16] {
        let pages = read_all(&world, 0, rows_max);
        let rows = |(_, rows): &(Page, Vec<Row>)| rows.clone();
        let heads = |rows: Vec<Row>| rows.iter().map(|row| (row.origin, row.size)).collect();
        let parts: Vec<(OriginId, _)> = heads(pages.iter().flat_map(rows).collect());
        let all: Vec<(OriginId, _)> = heads(whole.iter().flat_map(rows).collect());
        assert_eq!(parts, all, "in parts of {rows_max}");
    }
    let (page, rows) = &whole[0];
    assert_eq!(page.next, page.seq, "nothing is left out");
    assert_eq!(Page::rows_head(rows), Ok(page.rows));
    for log in 0..5 {
        let origin = world.logs[log].origin.clone();
        let own: Vec<&Row> = rows
            .iter()
            .filter(|row| row.origin == OriginId::of(&origin))
            .collect();
        assert!(own.len() <= 8);
        let newest = own.iter().map(|row| row.size).max();
        assert_eq!(Some(own[0].size), newest);
        assert!(own[0].flags.newest_cosigned);
        assert!(own[1..].iter().all(|row| !row.flags.newest_cosigned));
        for row in own {
            let head = world.logs[log].head(0, row.size.get());
            assert_eq!(row.tag, Tag::of(&page.salt, &origin, &head));
        }
    }
}

/// Whoever asks, and whenever: one subject, one claim.
// Spec: GSP-09, GSP-30
#[test]
fn a_page_is_the_same_whoever_asks_until_something_changes() {
    let mut world = World::new(1, 1, 3);
    for log in 0..3 {
        assert!(world.submit(0, log, 0, 10));
    }
    let claim = |world: &World, since| {
        let node = &world.witnesses[0].node;
        let epoch = node.page(None, 0, 100, world.moment()).0.epoch;
        let (page, _) = node.page(Some(epoch), since, 100, world.moment());
        Statement::Page(page).claim()
    };
    let before = [0, 1, 2, 3].map(|since| claim(&world, since));
    world.run(100);
    assert_eq!([0, 1, 2, 3].map(|since| claim(&world, since)), before);
    let different: BTreeSet<&String> = before.iter().collect();
    assert_eq!(different.len(), 4);
    assert!(world.submit(0, 1, 0, 11));
    let after = [0, 1, 2, 3].map(|since| claim(&world, since));
    assert!(after.iter().all(|claim| !before.contains(claim)));
    // A journal that is not ours, and changes to come: from the beginning.
    let node = &world.witnesses[0].node;
    let (first, rows) = node.page(None, 2, 100, world.moment());
    assert_eq!(first.since, 0);
    let (future, again) = node.page(Some(first.epoch), 1_000, 100, world.moment());
    assert_eq!((future.since, again), (0, rows));
}

// Spec: GSP-27
#[test]
fn a_state_has_a_leaf_for_each_log() {
    let mut world = World::new(1, 1, 3);
    let empty = world.witnesses[0].node.state(world.moment(), None);
    assert_eq!(empty.rows, TreeHead::empty());
    let mut times = [0; 2];
    for (time, to) in times.iter_mut().zip([10, 12]) {
        world.run(5);
        *time = world.moment().seconds().get();
        for log in 0..3 {
            assert!(world.submit(0, log, 0, to));
        }
    }
    let state = world.witnesses[0].node.state(world.moment(), None);
    let mut logs: Vec<usize> = vec![0, 1, 2];
    logs.sort_by_key(|log| world.logs[*log].origin.hash());
    let mut tree = CompactRange::new();
    for log in logs {
        let origin = world.logs[log].origin.hash_hex();
        let [before, time] = times;
        let heads = [12, 10].map(|to| world.logs[log].head(0, to).root_hash);
        let text = format!(
            "{origin} 12 {} {time} c\n{origin} 10 {} {before} -\n",
            heads[0], heads[1]
        );
        tree.append(leaf_hash(text.as_bytes())).unwrap();
    }
    assert_eq!(state.rows, tree.head());
    assert_eq!(state.evidence, TreeHead::empty());
}

/// A drill takes seconds.
// Spec: GSP-60
#[test]
fn times_may_be_zero() {
    let drill = |config: &mut Config| {
        config.round = Duration::from_secs(1);
        config.suspect_after = Duration::ZERO;
        config.unprovable_after = Duration::ZERO;
        config.grace_rounds = 0;
    };
    under_seeds(0..5, |seed| {
        let mut world = World::with(seed, 2, 1, drill, |_| {});
        let fork = world.logs[0].fork(0, 5);
        world.logs[0].tiles = Tiles::Refused;
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(1, 0, fork, 13));
        world.run(15);
        for witness in 0..2 {
            let cosigning = world.cosigning(witness, 0);
            assert!(matches!(cosigning, Cosigning::Held { .. }), "{cosigning:?}");
            assert!(world.published(witness));
        }
    });
}
