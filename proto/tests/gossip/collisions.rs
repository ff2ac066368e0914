//! Logs whose ids are one. An id is 64 bits of a hash: whoever makes some 2^32 origins has two that
//! have one id, and neither log may hide behind the other.

use jurat_proto::evidence::Kind;
use jurat_proto::gossip::node::{Action, Alarm, Config, Moment, Question};
use jurat_proto::gossip::{Flags, OriginId, Random, Row, Tag};

use crate::actors::{SimLog, leaf_head};
use crate::alone::{Alone, asked};
use crate::network::{START, World, under_seeds};

/// Two origins that were looked for until their ids were one: 3.8 billion hashes.
const ORIGINS: [&str; 2] = [
    "log.example/75286f55479077ba",
    "log.example/8ce768450041d98e",
];

fn world(seed: u64, count: usize) -> World {
    World::of_logs(seed, count, &ORIGINS, |_| {}, |_| {})
}

#[test]
fn the_two_ids_are_one() {
    let [one, other] = ORIGINS.map(|origin| OriginId::of(&SimLog::new(origin, 1).origin));
    assert_eq!(one, other);
}

/// One log forks, and the other one, whose tree is larger, grows in each round. Between the two
/// witnesses stand two that cosign neither: what they relay of the first log must not be taken for
/// old heads of the second.
// Spec: GSP-85
#[test]
fn a_fork_is_not_hidden_by_a_log_with_the_same_id() {
    for (forks, grows) in [(0, 1), (1, 0)] {
        under_seeds(0..4, |seed| {
            let mut world = world(seed, 4);
            let fork = world.logs[forks].fork(0, 5);
            for (one, other) in [(0, 2), (0, 3), (1, 3)] {
                world.apart.insert((one, other));
                world.apart.insert((other, one));
            }
            let mut size = 1_000;
            assert!(world.submit(0, forks, 0, 10));
            assert!(world.submit(3, forks, fork, 13));
            for _ in 0..20 {
                size += 1;
                for witness in [0, 3] {
                    world.submit(witness, grows, 0, size);
                }
                world.rounds(1);
            }
            assert!(world.all_convict(forks));
            assert!(!world.is_convicted(0, grows), "the other log is honest");
            assert_eq!(world.kinds(0), [Kind::Opening]);
        });
    }
}

/// Both fork, and each is proven.
// Spec: GSP-85
#[test]
fn two_forks_of_one_id_are_two_proofs() {
    under_seeds(0..4, |seed| {
        let mut world = world(seed, 2);
        for log in 0..2 {
            let fork = world.logs[log].fork(0, 5);
            assert!(world.submit(0, log, 0, 10 + 40 * log as u64));
            assert!(world.submit(1, log, fork, 13 + 40 * log as u64));
        }
        world.rounds(6);
        assert!(world.all_convict(0) && world.all_convict(1));
    });
}

/// What is served of logs of one id is one thing: a change of one shows both, on one page, the one
/// with the smaller newest head first, however few rows a page may have.
// Spec: GSP-30, GSP-85
#[test]
fn logs_of_one_id_are_on_one_page() {
    let mut logs = ORIGINS.map(|origin| SimLog::new(origin, 1));
    let mut third = SimLog::new("third.example", 1);
    let mut alone = Alone::new(&[&logs[0], &logs[1], &third], |_| {}, |_| {});
    for size in [20, 25] {
        alone.cosign(&logs[0].note(0, size));
        alone.now += 4_000;
    }
    alone.cosign(&third.note(0, 9));
    let [_, other] = &mut logs;
    for size in [7, 8] {
        alone.now += 4_000;
        alone.cosign(&other.note(0, size));
    }
    alone.now += 4_000;
    let epoch = Some(Random([2; 16]));
    let now = Moment(alone.now);
    let sizes = |rows: Vec<Row>| -> Vec<u64> { rows.iter().map(|row| row.size.get()).collect() };
    let (page, rows) = alone.node.page(epoch, 0, 1, now);
    assert_eq!(sizes(rows), [9], "the third changed first");
    let (page, rows) = alone.node.page(epoch, page.next, 1, now);
    assert_eq!(sizes(rows), [8, 7, 25, 20]);
    assert_eq!(page.next, page.seq);
    // The smaller one is the first whichever changed.
    alone.cosign(&logs[0].note(0, 26));
    let (_, rows) = alone.node.page(epoch, page.next, 1, now);
    assert_eq!(sizes(rows), [8, 7, 26, 25]);
}

fn row(log: &SimLog, salt: &Random, size: u64, newest_cosigned: bool) -> Row {
    let head = leaf_head(size, 1);
    Row {
        origin: OriginId::of(&log.origin),
        size: head.size,
        tag: Tag::of(salt, &log.origin, &head),
        time: Moment(START).seconds(),
        flags: Flags {
            newest_cosigned,
            unresolved: false,
        },
    }
}

fn at_once(config: &mut Config) {
    config.grace_rounds = 1;
}

/// The peer knows both logs, and we know one: rows that nobody here can read do not stand before
/// those that we could.
// Spec: GSP-85
#[test]
fn a_log_that_is_not_known_here_hides_nothing_of_one_that_is() {
    let [one, unknown] = ORIGINS.map(|origin| SimLog::new(origin, 1));
    let mut alone = Alone::new(&[&one], at_once, |_| {});
    alone.cosign(&one.sign(leaf_head(500, 9)));
    let salt = Random([6; 16]);
    let rows = vec![
        row(&one, &salt, 40, false),
        row(&one, &salt, 30, false),
        row(&unknown, &salt, 900, false),
        row(&unknown, &salt, 800, false),
    ];
    let asks = asked(&alone.feed(salt, rows));
    let [(_, Question::Fetch(fetch))] = &asks[..] else {
        panic!("{asks:?}");
    };
    let sizes: Vec<u64> = fetch.rows().iter().map(|row| row.size.get()).collect();
    assert_eq!(sizes, [900, 40], "the newest of each, and no more");
}

/// More rows of one id than any logs have are no feed.
// Spec: GSP-85
#[test]
fn a_crowd_of_one_id_is_told() {
    let log = SimLog::new(ORIGINS[0], 1);
    let misbehaves = |alone: &Alone| {
        let mut alarms = alone.node.alarms();
        alarms.any(|alarm| matches!(alarm, Alarm::PeerMisbehaves { .. }))
    };
    for (count, is_crowd) in [(128, false), (129, true)] {
        let mut alone = Alone::new(&[&log], at_once, |_| {});
        let salt = Random([6; 16]);
        let rows = (0..count).map(|size| row(&log, &salt, 1_000 - size, false));
        let actions = alone.feed(salt, rows.collect());
        assert_eq!(misbehaves(&alone), is_crowd);
        let told = |action: &Action| matches!(action, Action::Alarm { raised: true, .. });
        assert_eq!(actions.iter().any(told), is_crowd);
    }
}
