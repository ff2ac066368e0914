//! Logs that show different histories to different witnesses.

use std::collections::{BTreeMap, BTreeSet};

use jurat_proto::evidence::Kind;
use jurat_proto::gossip::node::{Action, Alarm, Cosigning, Phase, Reply};

use crate::actors::{Key, SimLog, Tiles, leaf_head};
use crate::network::{World, under_seeds};

/// Rounds until everyone of a full mesh knows: `G` rounds until a head is fetched, and then a
/// round for the opening and one for the mail; one to spare for the pauses after losses.
const SOON: u64 = 5;

/// 1. Two witnesses, two roots of one size.
// Spec: GSP-37, GSP-44, GSP-45
#[test]
fn scenario_01_a_fork_at_one_size_is_proven() {
    under_seeds(0..10, |seed| {
        let mut world = World::new(seed, 2, 1);
        let fork = world.logs[0].fork(0, 5);
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(1, 0, fork, 10));
        world.rounds(SOON);
        assert!(world.all_convict(0));
        assert_eq!(world.kinds(0), [Kind::SameSize]);
    });
}

/// 2. The holder of the larger head can read its tiles.
// Spec: GSP-38, GSP-39
#[test]
fn scenario_02_a_fork_across_sizes_is_proven() {
    under_seeds(0..10, |seed| {
        let mut world = World::new(seed, 2, 1);
        let fork = world.logs[0].fork(0, 5);
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(1, 0, fork, 13));
        world.rounds(SOON);
        assert!(world.all_convict(0));
        assert_eq!(world.kinds(0), [Kind::Opening]);
    });
}

/// 3 and 12. Each witness gets only the tiles of its own branch, and only the holder of the smaller
/// head asks: it has to show its head to the other one.
// Spec: GSP-24, GSP-39, GSP-50
#[test]
fn scenario_03_12_a_challenge_proves_what_its_sender_cannot() {
    under_seeds(0..10, |seed| {
        let mut world = World::new(seed, 2, 1);
        let fork = world.logs[0].fork(0, 5);
        let followers = [(0, [0]), (1, [fork])];
        let followers = followers.map(|(witness, branch)| (witness, BTreeSet::from(branch)));
        world.logs[0].tiles = Tiles::Followers(BTreeMap::from(followers));
        world.asks[1] = false;
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(1, 0, fork, 13));
        world.rounds(SOON);
        assert!(world.all_convict(0));
    });
}

/// 3, without any tiles: what the holder of the larger head was sent when it cosigned is enough.
// Spec: GSP-50
#[test]
fn scenario_03_a_proof_that_came_with_a_head_answers_a_challenge() {
    under_seeds(0..10, |seed| {
        let mut world = World::new(seed, 2, 1);
        let fork = world.logs[0].fork(0, 5);
        world.logs[0].tiles = Tiles::Refused;
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(1, 0, fork, 10));
        // Before anybody compares: the smaller heads are gone, save for what came with the larger.
        assert!(world.submit(1, 0, fork, 13));
        world.rounds(SOON);
        assert!(world.all_convict(0));
    });
}

/// 4. A log that never shows two witnesses the same size.
// Spec: GSP-34
#[test]
fn scenario_04_sizes_that_are_never_shared_hide_nothing() {
    under_seeds(0..10, |seed| {
        let mut world = World::new(seed, 2, 1);
        let fork = world.logs[0].fork(0, 5);
        for to in 0..8 {
            world.submit(0, 0, 0, 10 + 2 * to);
            world.submit(1, 0, fork, 11 + 2 * to);
            world.rounds(1);
        }
        assert!(world.all_convict(0));
    });
}

/// 5. One victim among thirty.
// Spec: GSP-35, GSP-45
#[test]
fn scenario_05_one_victim_among_thirty_is_enough() {
    under_seeds(0..2, |seed| {
        let mut world = World::new(seed, 30, 1);
        world.loss = 10;
        let fork = world.logs[0].fork(0, 5);
        for witness in 0..29 {
            assert!(world.submit(witness, 0, 0, 10));
        }
        assert!(world.submit(29, 0, fork, 13));
        world.rounds(SOON + 2);
        assert!(world.all_convict(0));
    });
}

/// 6. Three histories: each witness has a proof, and none of the three goes on anywhere.
// Spec: GSP-38, GSP-44
#[test]
fn scenario_06_three_histories_are_proven_like_two() {
    under_seeds(0..10, |seed| {
        let mut world = World::new(seed, 3, 1);
        let second = world.logs[0].fork(0, 5);
        let third = world.logs[0].fork(0, 7);
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(1, 0, second, 13));
        assert!(world.submit(2, 0, third, 16));
        world.rounds(SOON);
        assert!(world.all_convict(0));
        for (witness, branch) in [(0, 0), (1, second), (2, third)] {
            let kinds = world.kinds(witness);
            let all = kinds.iter().all(|kind| *kind == Kind::Opening);
            assert!(all && (1..=3).contains(&kinds.len()), "{kinds:?}");
            assert_eq!(
                world.guilty(witness),
                world.guilty(0),
                "the log and nobody else"
            );
            assert!(!world.submit(witness, 0, branch, 20));
        }
        assert_eq!(world.guilty(0).len(), 1);
    });
}

/// 7. The log gives the other history up before anybody has compared.
// Spec: GSP-32
#[test]
fn scenario_07_a_fork_that_was_given_up_is_still_a_fork() {
    under_seeds(0..10, |seed| {
        let mut world = World::new(seed, 3, 1);
        let fork = world.logs[0].fork(0, 5);
        for witness in [0, 2] {
            assert!(world.submit(witness, 0, 0, 10));
        }
        assert!(world.submit(1, 0, fork, 12));
        for to in [20, 30, 40] {
            for witness in 0..3 {
                world.submit(witness, 0, 0, to);
            }
            world.run(20);
        }
        world.rounds(SOON);
        assert!(world.all_convict(0));
    });
}

/// 8. A fork during a partition of a day, of which nothing is left but the victim's last head.
// Spec: GSP-35, GSP-100
#[test]
fn scenario_08_a_partition_of_a_day_hides_nothing_when_it_is_over() {
    under_seeds(0..2, |seed| {
        let mut world = World::new(seed, 3, 1);
        world.parts[1] = 1;
        let fork = world.logs[0].fork(0, 5);
        assert!(world.submit(1, 0, fork, 12));
        for hour in 0..24 {
            for witness in [0, 2] {
                assert!(world.submit(witness, 0, 0, 10 + hour));
            }
            world.run(3_600);
        }
        world.nobody_convicts();
        world.parts[1] = 0;
        // However long it was: in the first round somebody has the proof, and in the next all do.
        world.rounds(1);
        let proven = (0..3).any(|witness| world.is_convicted(witness, 0));
        assert!(proven, "within a round of the end");
        world.rounds(1);
        assert!(world.all_convict(0));
        for witness in 0..3 {
            assert_eq!(world.kinds(witness), [Kind::Opening]);
        }
    });
}

/// 9. A head below what the log has pruned holds nothing.
// Spec: GSP-41, GSP-42
#[test]
fn scenario_09_a_head_below_what_was_pruned_stays_pending() {
    let pruned = |settings: &mut jurat_proto::gossip::node::LogSettings| {
        settings.pruned_below = crate::actors::size(50);
    };
    under_seeds(0..5, |seed| {
        let mut world = World::with(seed, 2, 1, |_| {}, pruned);
        let fork = world.logs[0].fork(0, 5);
        world.logs[0].tiles = Tiles::Refused;
        assert!(world.submit(0, 0, 0, 100));
        assert!(world.submit(1, 0, fork, 40));
        world.run(86_400);
        assert_eq!(world.cosigning(0, 0), Cosigning::Free);
        let low = world.logs[0].head(fork, 40);
        let origin = world.logs[0].origin.clone();
        let phase = world.witnesses[0].node.phase(&origin, &low);
        assert_eq!(phase, Some(Phase::Pending));
        world.nobody_convicts();
    });
}

/// 10 and 11. The log shows no tiles, or makes them up: it is held, then named in public.
// Spec: GSP-40, GSP-42, GSP-43
#[test]
fn scenario_10_11_a_log_that_cannot_be_opened_is_held_and_named() {
    for tiles in [Tiles::Refused, Tiles::Garbage] {
        under_seeds(0..3, |seed| {
            let mut world = World::new(seed, 2, 1);
            let fork = world.logs[0].fork(0, 5);
            world.logs[0].tiles = tiles.clone();
            assert!(world.submit(0, 0, 0, 10));
            assert!(world.submit(1, 0, fork, 13));
            // Two rounds until it is fetched, two until it is pending, ten minutes.
            world.run(60);
            assert_eq!(world.cosigning(0, 0), Cosigning::Free, "not yet");
            world.run(600);
            world.rounds(SOON);
            for (witness, branch, suspect) in [(0, fork, 13), (1, 0, 10)] {
                let suspect = world.logs[0].head(branch, suspect);
                assert_eq!(world.cosigning(witness, 0), Cosigning::Held { suspect });
                let origin = world.logs[0].origin.clone();
                let node = &world.witnesses[witness].node;
                assert_eq!(node.phase(&origin, &suspect), Some(Phase::Suspect));
                assert!(world.raised(witness, &Alarm::Suspect { origin }));
            }
            assert!(!world.submit(0, 0, 0, 20), "it is held");
            // A day after it became suspect, ten minutes after the beginning at the soonest, and
            // within a quarter of an hour of when that was seen to be so.
            world.run(86_400 - 600);
            assert!(!world.published(0) && !world.published(1), "not yet");
            world.run(900);
            for witness in 0..2 {
                assert!(world.published(witness));
                let said = world.witnesses[witness].node.suspicions(world.moment());
                assert_eq!(said.len(), 1);
            }
            world.nobody_convicts();
        });
    }
}

/// 10, then the log shows its tiles after all: that convicts it.
// Spec: GSP-40
#[test]
fn scenario_10_a_suspect_log_that_opens_is_proven() {
    under_seeds(0..5, |seed| {
        let mut world = World::new(seed, 2, 1);
        let fork = world.logs[0].fork(0, 5);
        world.logs[0].tiles = Tiles::Refused;
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(1, 0, fork, 13));
        world.run(2_000);
        world.nobody_convicts();
        world.logs[0].tiles = Tiles::Open;
        world.rounds(SOON);
        assert!(world.all_convict(0));
    });
}

/// 14. An honest log that lost what a witness had cosigned: a fork like any other.
#[test]
fn scenario_14_a_log_that_lost_what_was_cosigned_is_convicted() {
    under_seeds(0..10, |seed| {
        let mut world = World::new(seed, 2, 1);
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(1, 0, 0, 10));
        assert!(world.submit(0, 0, 0, 12));
        let restored = world.logs[0].fork(0, 11);
        assert!(world.submit(1, 0, restored, 15));
        world.rounds(SOON);
        assert!(world.all_convict(0));
    });
}

/// 18. A witness helps: it cosigns both histories. It is convicted with the log.
// Spec: GSP-36
#[test]
fn scenario_18_a_witness_that_cosigns_both_histories_is_convicted_too() {
    under_seeds(0..10, |seed| {
        let mut world = World::new(seed, 3, 1);
        let fork = world.logs[0].fork(0, 5);
        let liar = 2;
        let good = world.logs[0].note(0, 10);
        let other = world.logs[0].note(fork, 10);
        let time = world.moment().seconds();
        let [good, other] =
            [good, other].map(|note| world.witnesses[liar].cosigner.cosign(&note, time));
        // It shows each victim the head that it believes in.
        world.cosign(0, &good, None);
        world.cosign(1, &other, None);
        world.rounds(SOON);
        for witness in 0..2 {
            assert!(world.is_convicted(witness, 0));
            assert!(world.guilty(witness).contains(&world.witnesses[liar].name));
        }
        assert!(
            world.witnesses[liar].node.stopped().is_some(),
            "its own node stops it"
        );
    });
}

/// 19. No honest witness has seen the other history; a client shows what it was served.
// Spec: GSP-51
#[test]
fn scenario_19_what_a_client_saw_is_enough() {
    under_seeds(0..10, |seed| {
        let mut world = World::new(seed, 3, 1);
        let fork = world.logs[0].fork(0, 5);
        for witness in 0..3 {
            assert!(world.submit(witness, 0, 0, 20));
        }
        let seen = world.logs[0].note(fork, 14);
        assert!(matches!(world.observe(1, seen.clone()), Reply::Pending));
        world.rounds(SOON);
        assert!(world.all_convict(0));
        assert!(matches!(world.observe(1, seen), Reply::Convicted { .. }));
    });
}

/// Scenario 35. Keys of Ed25519 and of ML-DSA, of a log and of its witnesses: a fork is proven
/// whoever signed which half with which, and so is the guilt of a witness.
// Spec: EVI-41, EVI-42, EVI-43, GSP-36
#[test]
fn scenario_35_mixed_signatures_convict_logs_and_witnesses_alike() {
    let mixed = |seed, first: Key, next: Key| {
        let mut log = SimLog::new("log0.example", 1_000);
        log.key = first;
        log.next = Some(next);
        let keys = (0..3).map(|index| {
            let name = format!("w{index}.example");
            let gossip = Key::note(&name, 10_000 + index);
            let cosigner = match index {
                1 | 2 => Key::ml_dsa(&name, 20_000 + index),
                _ => Key::cosigner(&name, 20_000 + index),
            };
            (cosigner, gossip)
        });
        World::of_keys(seed, keys.collect(), vec![log], |_| {}, |_| {})
    };
    let (old, new) = (
        Key::note("log0.example", 1_000),
        Key::ml_dsa("log0.example", 1_001),
    );
    // Each half by another key, of another type, in either order; and both by one of ML-DSA.
    let both = Key::ml_dsa("log0.example", 1_001);
    for (first, next, rotates) in [(&old, &new, true), (&new, &old, true), (&both, &old, false)] {
        for (one, other) in [(10, 10), (10, 13)] {
            let mut world = mixed(1, first.clone(), next.clone());
            let fork = world.logs[0].fork(0, 5);
            assert!(world.submit(0, 0, 0, one));
            if rotates {
                world.rotate(0);
            }
            assert!(world.submit(1, 0, fork, other));
            world.rounds(SOON);
            assert!(world.all_convict(0));
            for witness in 0..3 {
                assert_eq!(world.kinds(witness).len(), 1);
            }
        }
    }
    // A witness with a key of ML-DSA helps.
    let mut world = mixed(1, old, new);
    let fork = world.logs[0].fork(0, 5);
    let time = world.moment().seconds();
    let [good, other] = [(0, 10), (fork, 13)].map(|(branch, to)| {
        let note = world.logs[0].note(branch, to);
        world.witnesses[2].cosigner.cosign(&note, time)
    });
    world.cosign(0, &good, None);
    world.cosign(1, &other, None);
    world.rounds(SOON);
    for witness in 0..2 {
        assert!(world.is_convicted(witness, 0));
        assert!(world.guilty(witness).contains(&world.witnesses[2].name));
    }
    assert!(world.witnesses[2].node.stopped().is_some());
}

/// 41. The roots of both histories begin alike, so that a row without a salt would agree.
// Spec: GSP-07
#[test]
fn scenario_41_roots_that_begin_alike_hide_nothing() {
    under_seeds(0..5, |seed| {
        let mut world = World::new(seed, 2, 1);
        let [one, other] = [1, 2].map(|last| world.logs[0].sign(leaf_head(10, last)));
        world.cosign(0, &one, None);
        world.cosign(1, &other, None);
        world.rounds(SOON);
        assert!(world.all_convict(0));
        let stops = world.deeds.iter();
        let stops = stops.filter(|deed| matches!(deed.action, Action::StopCosigning { .. }));
        assert_eq!(stops.count(), 2, "each stops once");
    });
}

/// Two witnesses of a log that they do not cosign carry its heads between two that do.
// Spec: GSP-33
#[test]
fn heads_travel_over_witnesses_that_do_not_cosign_their_log() {
    under_seeds(0..10, |seed| {
        let mut world = World::new(seed, 4, 1);
        let fork = world.logs[0].fork(0, 5);
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(3, 0, fork, 13));
        // A chain: 0 and 3 never meet.
        for (one, other) in [(0, 2), (0, 3), (1, 3)] {
            world.apart.insert((one, other));
            world.apart.insert((other, one));
        }
        world.rounds(4 * SOON);
        assert!(world.all_convict(0));
    });
}
