//! Random weather: loss, delay, partitions, crashes, late and pruned tiles and new keys, in any
//! order.
//!
//! Two laws. Whatever the weather, an honest log is never convicted, and in the end it is free. And
//! a log that forks is convicted by everyone as soon as the weather is good.
//!
//! `cargo bench -p jurat-proto --bench gossip -- weather` tells a million rounds of the first law.

use jurat_proto::evidence::Standing;
use jurat_proto::gossip::node::{Action, Alarm, Cosigning, Dice as _};

use crate::actors::{Chance, Tiles};
use crate::network::{START, World, under_seeds};

/// How many stories are told, each of some thirty rounds.
fn runs(usual: u64) -> u64 {
    let wanted = std::env::var("GOSSIP_RUNS").ok();
    wanted.map_or(usual, |runs| runs.parse().expect("a number"))
}

fn changing(world: &mut World, chance: &mut Chance) {
    let count = world.witnesses.len();
    let any = usize::try_from(chance.below(count as u64)).unwrap();
    match chance.below(12) {
        0 => world.kill(any),
        1 => {
            for witness in 0..count {
                if !world.witnesses[witness].up {
                    world.revive(witness);
                }
            }
        }
        2 => world.parts[any] = 1,
        3 => world.parts = vec![0; count],
        4 => world.loss = chance.below(60),
        5 => world.delay_ms = 50 + chance.below(4_000),
        6 => world.witnesses[any].disk_full ^= true,
        _ => {}
    }
}

fn clear_up(world: &mut World) {
    for witness in 0..world.witnesses.len() {
        world.witnesses[witness].disk_full = false;
        if !world.witnesses[witness].up {
            world.revive(witness);
        }
    }
    world.parts = vec![0; world.witnesses.len()];
    world.loss = 0;
    world.delay_ms = 200;
    for log in &mut world.logs {
        log.tiles = Tiles::Open;
    }
    // The longest pause, then rounds.
    world.run(600);
    world.rounds(8);
}

/// A story of up to so many honest logs, and how many rounds of a log it had.
pub(crate) fn honest(seed: u64, logs_max: u64) -> u64 {
    let mut chance = Chance(seed ^ 0x5eed);
    let count = usize::try_from(2 + chance.below(4)).unwrap();
    let logs = usize::try_from(1 + chance.below(logs_max)).unwrap();
    let mut world = World::new(seed, count, logs);
    world.through_bytes = false;
    let mut sizes = vec![5; logs];
    for _ in 0..20 {
        changing(&mut world, &mut chance);
        for (log, size) in sizes.iter_mut().enumerate() {
            *size += chance.below(5);
            match chance.below(10) {
                0 => world.logs[log].tiles = Tiles::Refused,
                1 => world.logs[log].tiles = Tiles::UpTo(size.saturating_sub(4)),
                2 => world.logs[log].tiles = Tiles::Open,
                3 => world.rotate(log),
                4 => world.set_standing(log, Standing::Retired),
                5 => world.prune(log, chance.below(*size)),
                _ => {}
            }
            for witness in 0..count {
                if chance.percent(60) {
                    world.submit(witness, log, 0, *size);
                }
            }
        }
        world.run(chance.below(90));
    }
    clear_up(&mut world);
    world.nobody_convicts();
    for deed in &world.deeds {
        // Silence was true. Nobody misbehaved, and no clock was wrong.
        let Action::Alarm { alarm, .. } = &deed.action else {
            continue;
        };
        let is_false = matches!(
            alarm,
            Alarm::PeerMisbehaves { .. } | Alarm::PeerClock { .. } | Alarm::OwnClock
        );
        assert!(!is_false, "{alarm:?}");
    }
    for witness in 0..count {
        for log in 0..logs {
            assert_eq!(world.cosigning(witness, log), Cosigning::Free, "w{witness}");
        }
        let [_, open, _, _] = world.witnesses[witness].node.counts();
        assert_eq!(open, 0, "w{witness} has open heads");
    }
    (world.now - START) / 60_000 * logs as u64
}

/// P2 and L1.
#[test]
fn p2_honest_logs_are_never_convicted_and_free_in_the_end() {
    under_seeds(0..runs(280), |seed| {
        honest(seed, 2);
    });
}

/// P1 and P4.
#[test]
fn p1_p4_a_fork_in_any_weather_is_proven_when_it_clears_up() {
    under_seeds(0..runs(100), |seed| {
        let mut chance = Chance(seed ^ 0xf04c);
        let count = usize::try_from(2 + chance.below(4)).unwrap();
        let mut world = World::new(seed, count, 1);
        world.through_bytes = false;
        let shared = chance.below(12);
        let fork = world.logs[0].fork(0, shared);
        let mut sizes = [shared + 1, shared + 1];
        let victim = usize::try_from(chance.below(count as u64)).unwrap();
        for _ in 0..12 {
            changing(&mut world, &mut chance);
            for witness in 0..count {
                let (branch, side) = if witness == victim { (fork, 1) } else { (0, 0) };
                if chance.percent(50) {
                    sizes[side] += chance.below(4);
                    world.submit(witness, 0, branch, sizes[side]);
                }
            }
            if chance.percent(20) {
                world.logs[0].tiles = Tiles::Refused;
            }
            world.run(chance.below(90));
        }
        // Each has cosigned at last, unless it knew better.
        clear_up(&mut world);
        for witness in 0..count {
            let (branch, side) = if witness == victim { (fork, 1) } else { (0, 0) };
            world.submit(witness, 0, branch, sizes[side] + 1);
        }
        world.rounds(8);
        assert!(world.all_convict(0));
    });
}
