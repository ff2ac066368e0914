//! How long a fork can stay unseen, as a number that follows from the weather.

use std::collections::BTreeSet;

use jurat_proto::gossip::node::{Config, Cosigning, Dice as _};

use crate::actors::{Chance, Tiles};
use crate::network::{Conduct, World, under_seeds};

/// The weather of one fork.
#[derive(Clone, Copy, Debug)]
struct Weather {
    witnesses: usize,
    /// How many of them answer nothing.
    silent: usize,
    /// In percent of the questions.
    loss: u64,
    /// How many peers are asked in a round.
    asked: usize,
}

/// How many questions it takes to get a head: a state, a page, notes, and an opening.
const QUESTIONS: i32 = 4;
/// How often it may take longer than it should.
const LUCK: f64 = 1e-6;

impl Weather {
    /// `R = G + ceil(ln(1e-6) / ln(p_miss))`, with `p_miss = (1 - (1 - loss)(1 - byz))^F` for the
    /// victim's own pulls alone. What is lost of an exchange is any one of its questions.
    fn rounds(self, config: &Config) -> u64 {
        let part = |count: usize| f64::from(u32::try_from(count).unwrap());
        let got = (1.0 - f64::from(u32::try_from(self.loss).unwrap()) / 100.0).powi(QUESTIONS);
        let honest = 1.0 - part(self.silent) / part(self.witnesses - 1);
        let missed = (1.0 - got * honest).powi(i32::try_from(self.asked).unwrap());
        let rounds = (LUCK.ln() / missed.max(LUCK).ln()).ceil();
        let rounds = format!("{rounds}").parse::<u64>().expect("a whole number");
        u64::from(config.grace_rounds) + rounds
    }
}

/// P4: "every fork served to two honest, connected witnesses is PROVEN or SUSPECT within R rounds".
/// Nobody but the victim asks.
// Spec: GSP-34, GSP-35, GSP-39, GSP-40
#[test]
fn p4_every_fork_is_proven_or_suspect_within_its_rounds() {
    under_seeds(0..120, |seed| {
        let mut chance = Chance(seed ^ 0x94);
        let witnesses = usize::try_from(2 + chance.below(8)).unwrap();
        let weather = Weather {
            witnesses,
            silent: usize::try_from(chance.below(witnesses as u64 - 1)).unwrap(),
            loss: [0, 10, 30][usize::try_from(chance.below(3)).unwrap()],
            asked: witnesses - 1,
        };
        let is_open = chance.percent(70);
        let mut world = World::new(seed, witnesses, 1);
        world.through_bytes = false;
        world.loss = weather.loss;
        let shared = chance.below(12);
        let fork = world.logs[0].fork(0, shared);
        if !is_open {
            world.logs[0].tiles = Tiles::Refused;
        }
        let victim = witnesses - 1;
        let silent: BTreeSet<usize> = (0..weather.silent).collect();
        for witness in 0..victim {
            world.asks[witness] = false;
            if silent.contains(&witness) {
                world.witnesses[witness].conduct = Conduct::Silent;
            }
            let to = shared + 1 + chance.below(20);
            assert!(world.submit(witness, 0, 0, to));
        }
        let to = shared + 1 + chance.below(20);
        assert!(world.submit(victim, 0, fork, to));
        let rounds = weather.rounds(&world.config);
        // Where there are no tiles it takes `D1` more.
        let more = if is_open {
            0
        } else {
            1 + world.config.suspect_after.as_secs() / world.config.round.as_secs()
        };
        for _ in 0..rounds + more {
            world.rounds(1);
            if world.cosigning(victim, 0) != Cosigning::Free {
                return;
            }
        }
        panic!("{weather:?}: not within {rounds} rounds and {more}");
    });
}

/// P4 among many, of whom three are asked in a round, and half answer nothing.
// Spec: GSP-34, GSP-35, GSP-39
#[test]
fn p4_among_many_with_three_asked_in_a_round() {
    under_seeds(0..24, |seed| {
        let mut chance = Chance(seed ^ 0x94f3);
        let witnesses = usize::try_from(16 + chance.below(16)).unwrap();
        let weather = Weather {
            witnesses,
            silent: usize::try_from(chance.below(witnesses as u64 / 2)).unwrap(),
            loss: [0, 10, 30][usize::try_from(chance.below(3)).unwrap()],
            asked: 3,
        };
        let three = |config: &mut Config| {
            config.ask_all_up_to = 0;
            config.ask = weather.asked;
            config.ask_evidence = 0;
        };
        let mut world = World::with(seed, witnesses, 1, three, |_| {});
        world.through_bytes = false;
        world.mail = false;
        world.loss = weather.loss;
        let shared = chance.below(12);
        let fork = world.logs[0].fork(0, shared);
        let victim = witnesses - 1;
        for witness in 0..victim {
            world.asks[witness] = false;
            if witness < weather.silent {
                world.witnesses[witness].conduct = Conduct::Silent;
            }
            let to = shared + 1 + chance.below(20);
            assert!(world.submit(witness, 0, 0, to));
        }
        let to = shared + 1 + chance.below(20);
        assert!(world.submit(victim, 0, fork, to));
        let rounds = weather.rounds(&world.config);
        for _ in 0..rounds {
            world.rounds(1);
            if world.cosigning(victim, 0) != Cosigning::Free {
                return;
            }
        }
        panic!("{weather:?}: not within {rounds} rounds");
    });
}
