//! Whatever logs sign and strangers send, what a node keeps has its bounds.

use jurat_proto::evidence::Evidence;
use jurat_proto::gossip::Opening;
use jurat_proto::gossip::node::{Dice as _, Event};

use crate::actors::{Chance, Tiles, leaf_head, size};
use crate::network::{World, under_seeds};

/// P5, for all but what peers answer.
// Spec: GSP-33, GSP-44, GSP-60
#[test]
fn what_is_kept_is_bounded_whatever_comes() {
    under_seeds(0..3, |seed| {
        let mut chance = Chance(seed);
        let mut world = World::new(seed, 2, 3);
        world.through_bytes = false;
        for log in &mut world.logs {
            log.fork(0, 3);
            log.fork(0, 8);
            log.tiles = Tiles::Refused;
        }
        for _ in 0..3_000 {
            let log = usize::try_from(chance.below(3)).unwrap();
            let branch = usize::try_from(chance.below(3)).unwrap();
            let to = 1 + chance.below(60);
            match chance.below(8) {
                0 => {
                    world.submit(0, log, 0, to);
                }
                1 | 2 => {
                    let note = world.logs[log].note(branch, to);
                    world.observe(0, note);
                }
                3 | 4 => {
                    let last = u8::try_from(chance.below(250)).unwrap();
                    let note = world.logs[log].sign(leaf_head(1 + chance.below(1 << 40), last));
                    world.observe(0, note);
                }
                5 => {
                    // Rarely enough that heads stay open as well.
                    let note = world.logs[log].note(branch, 60);
                    world.logs[log].tiles = Tiles::Open;
                    let opening: Option<Opening> = world.logs[log].open(0, size(to), &note);
                    world.logs[log].tiles = Tiles::Refused;
                    if chance.percent(2)
                        && let Some(opening) = opening
                    {
                        world.happen(0, Event::ProofSeen(Box::new(opening)));
                    }
                }
                6 => {
                    let one = world.logs[log].note(0, to);
                    let other = world.logs[log].note(branch, to);
                    if chance.percent(2)
                        && let Ok(evidence) = Evidence::same_size(one, other)
                    {
                        world.hand_in(0, evidence);
                    }
                }
                _ => world.run(chance.below(20)),
            }
            let node = &world.witnesses[0].node;
            let [logs, open, ring, evidence] = node.counts();
            assert!(open <= 16 * logs, "{open}");
            assert!(ring <= 64 * logs, "{ring}");
            // Two kinds of fork, one key a log; and nobody but logs signs here.
            assert!(evidence <= 2 * 4 * logs, "{evidence}");
            assert!(node.alarms().count() <= 40, "{}", node.alarms().count());
            for log in &world.logs {
                if let Some(record) = node.record(&log.origin) {
                    assert!(record.to_bytes().len() <= 17 * 1_000);
                }
            }
        }
    });
}
