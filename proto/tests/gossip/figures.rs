//! How many rounds it takes until somebody has a proof, and until everybody has.
//!
//! `GOSSIP_FIGURES=20 cargo test -p jurat-proto --test gossip -- figures --nocapture` prints the
//! table of `docs/gossip-figures.md`, each line from as many seeds; without it, a small part is
//! measured and must stay within its bounds.

use jurat_proto::gossip::node::Config;

use crate::network::{Conduct, World};

/// How a world is made.
#[derive(Clone, Copy)]
struct Setting {
    count: usize,
    loss: u64,
    /// Of a hundred witnesses, so many answer nothing.
    silent: usize,
    /// How many cosign each history; nothing when one is the victim and all others are not.
    followers: Option<usize>,
    mail: bool,
}

/// The rounds until the first and until the last honest witness has the proof.
fn measure(seed: u64, setting: Setting) -> Option<[u64; 2]> {
    let three = |config: &mut Config| {
        config.ask_all_up_to = 0;
        config.ask = 3;
    };
    let Setting { count, .. } = setting;
    let mut world = World::with(seed, count, 1, three, |_| {});
    world.through_bytes = false;
    world.loss = setting.loss;
    world.mail = setting.mail;
    let fork = world.logs[0].fork(0, 5);
    let is_silent = |witness: usize| witness != 0 && witness * 100 % 101 < setting.silent;
    for witness in 0..count {
        if is_silent(witness) && witness + 1 < count {
            world.witnesses[witness].conduct = Conduct::Silent;
        }
    }
    match setting.followers {
        None => {
            for witness in 0..count - 1 {
                assert!(world.submit(witness, 0, 0, 10));
            }
        }
        Some(followers) => {
            for witness in 0..followers {
                assert!(world.submit(witness, 0, 0, 10));
            }
        }
    }
    let victims = setting.followers.unwrap_or(1);
    for victim in count - victims..count {
        assert!(world.submit(victim, 0, fork, 13));
    }
    let honest: Vec<usize> = (0..count)
        .filter(|witness| world.witnesses[*witness].conduct == Conduct::Honest)
        .collect();
    let mut first = None;
    for second in 1..6_000 {
        world.run_to(second);
        let round = second.div_ceil(world.config.round.as_secs());
        let convicted = honest
            .iter()
            .filter(|witness| world.is_convicted(**witness, 0));
        let convicted = convicted.count();
        if convicted > 0 {
            first.get_or_insert(round);
        }
        if convicted == honest.len() {
            return Some([first?, round]);
        }
    }
    None
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() - 1) * percent / 100]
}

fn line(name: &str, setting: Setting, seeds: u64) -> [u64; 4] {
    let runs = (0..seeds).map(|seed| {
        measure(seed, setting).unwrap_or_else(|| panic!("seed {seed}: {name}: not in 100 rounds"))
    });
    let (mut first, mut all): (Vec<u64>, Vec<u64>) = runs.map(|[first, all]| (first, all)).unzip();
    first.sort_unstable();
    all.sort_unstable();
    let told = [
        percentile(&first, 50),
        percentile(&first, 99),
        percentile(&all, 50),
        percentile(&all, 99),
    ];
    let [f50, f99, a50, a99] = told;
    let Setting {
        count,
        loss,
        silent,
        ..
    } = setting;
    println!("| {name} | {count} | {loss} | {silent} | {f50} / {f99} | {a50} / {a99} |");
    told
}

#[test]
fn one_victim_is_found_in_few_rounds() {
    let victim = Setting {
        count: 8,
        loss: 10,
        silent: 0,
        followers: None,
        mail: true,
    };
    let [_, first, _, all] = line("one victim", victim, 10);
    assert!(first <= 6 && all <= 7, "{first}, {all}");
    let Ok(seeds) = std::env::var("GOSSIP_FIGURES") else {
        return;
    };
    let seeds = seeds.parse().expect("a number");
    let relayed = Setting {
        followers: Some(1),
        ..victim
    };
    for count in [8, 32, 128] {
        line("one victim", Setting { count, ..victim }, seeds);
        line(
            "one victim, no mail",
            Setting {
                count,
                mail: false,
                ..victim
            },
            seeds,
        );
        line("one follower of each", Setting { count, ..relayed }, seeds);
    }
    for (loss, silent) in [(0, 33), (30, 33), (50, 33), (50, 45)] {
        let setting = Setting {
            count: 100,
            loss,
            silent,
            ..victim
        };
        line("one victim", setting, seeds);
    }
}
