//! How many rounds it takes until somebody has a proof, and until everybody has: a few of the
//! figures of `docs/gossip-figures.md`, which `benches/gossip.rs` takes of many more witnesses.

use jurat_proto::gossip::node::Config;

use crate::network::{Conduct, World};

/// How a world is made.
#[derive(Clone, Copy)]
struct Setting {
    count: usize,
    loss: u64,
    /// Of a hundred witnesses, so many answer nothing.
    silent: usize,
    mail: bool,
}

fn world(seed: u64, setting: Setting) -> World {
    let three = |config: &mut Config| {
        config.ask_all_up_to = 0;
        config.ask = 3;
    };
    let Setting { count, .. } = setting;
    let mut world = World::with(seed, count, 1, three, |_| {});
    world.through_bytes = false;
    world.loss = setting.loss;
    world.mail = setting.mail;
    let is_silent = |witness: usize| witness != 0 && witness * 100 % 101 < setting.silent;
    for witness in (0..count - 1).filter(|witness| is_silent(*witness)) {
        world.witnesses[witness].conduct = Conduct::Silent;
    }
    world
}

/// The rounds from now until the first and until the last honest witness has the proof.
fn rounds(world: &mut World) -> [u64; 2] {
    let count = world.witnesses.len();
    let honest: Vec<usize> = (0..count)
        .filter(|witness| world.witnesses[*witness].conduct == Conduct::Honest)
        .collect();
    let mut first = None;
    for second in 1..6_000 {
        world.run(1);
        let round = u64::div_ceil(second, world.config.round.as_secs());
        let convicted = honest.iter();
        let convicted = convicted.filter(|witness| world.is_convicted(**witness, 0));
        let convicted = convicted.count();
        if convicted > 0 {
            first.get_or_insert(round);
        }
        if let Some(first) = first
            && convicted == honest.len()
        {
            return [first, round];
        }
    }
    panic!("not in 100 rounds");
}

fn rank(mut rounds: Vec<u64>, percent: usize) -> u64 {
    rounds.sort_unstable();
    rounds[(rounds.len() * percent).div_ceil(100) - 1]
}

/// One witness is shown another history than all others.
fn one_victim(seeds: u64, setting: Setting) -> [Vec<u64>; 2] {
    let told = (0..seeds).map(|seed| {
        let mut world = world(seed, setting);
        let fork = world.logs[0].fork(0, 5);
        for witness in 0..setting.count - 1 {
            assert!(world.submit(witness, 0, 0, 10));
        }
        assert!(world.submit(setting.count - 1, 0, fork, 13));
        rounds(&mut world)
    });
    let told: Vec<[u64; 2]> = told.collect();
    [0, 1].map(|place| told.iter().map(|told| told[place]).collect())
}

// Spec: GSP-34, GSP-82
#[test]
fn one_victim_is_found_in_the_first_round() {
    let setting = Setting {
        count: 32,
        loss: 10,
        silent: 0,
        mail: true,
    };
    let [first, all] = one_victim(20, setting);
    let told = (rank(first.clone(), 50), rank(first, 95), rank(all, 95));
    assert!(told.0 == 1 && told.1 <= 2 && told.2 <= 3, "{told:?}");
}

/// A third answers nothing, and no evidence is mailed.
// Spec: GSP-35, GSP-45
#[test]
fn all_know_in_few_rounds_without_mail_and_without_a_third() {
    let setting = Setting {
        count: 24,
        loss: 10,
        silent: 33,
        mail: false,
    };
    let [first, all] = one_victim(10, setting);
    let told = (rank(first, 90), rank(all, 90));
    assert!(told.0 <= 2 && told.1 <= 7, "{told:?}");
}

/// Two halves that did not reach each other, each with its history.
// Spec: GSP-35
#[test]
fn the_end_of_an_outage_is_seen_within_a_round() {
    for seed in 0..10 {
        let count = 4;
        let mut world = World::new(seed, count, 1);
        world.through_bytes = false;
        let fork = world.logs[0].fork(0, 5);
        world.parts = (0..count).map(|witness| witness % 2).collect();
        for witness in 0..count {
            let (branch, to) = if witness % 2 == 0 {
                (0, 10)
            } else {
                (fork, 13)
            };
            assert!(world.submit(witness, 0, branch, to));
        }
        world.rounds(40);
        world.nobody_convicts();
        world.parts = vec![0; count];
        let [first, _] = rounds(&mut world);
        assert_eq!(first, 1, "seed {seed}");
    }
}
