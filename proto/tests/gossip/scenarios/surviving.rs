//! Crashes and full disks.

use jurat_proto::evidence::Kind;
use jurat_proto::gossip::node::{Action, Alarm, Cosigning};

use crate::actors::Tiles;
use crate::network::{World, under_seeds};

/// A hold outlives a crash.
// Spec: GSP-46
#[test]
fn a_hold_outlives_a_crash() {
    under_seeds(0..5, |seed| {
        let mut world = World::new(seed, 2, 1);
        let fork = world.logs[0].fork(0, 5);
        world.logs[0].tiles = Tiles::Refused;
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(1, 0, fork, 13));
        world.run(1_500);
        let held = world.cosigning(0, 0);
        assert!(matches!(held, Cosigning::Held { .. }), "{held:?}");
        world.kill(0);
        world.run(30);
        world.revive(0);
        assert_eq!(world.cosigning(0, 0), held, "before anything else happens");
        assert!(!world.submit(0, 0, 0, 20));
    });
}

/// A head that was pending when its witness died is not forgotten, whatever its peers say now.
// Spec: GSP-46
#[test]
fn a_head_that_was_seen_once_outlives_a_crash() {
    under_seeds(0..5, |seed| {
        let mut world = World::new(seed, 2, 1);
        let fork = world.logs[0].fork(0, 5);
        world.logs[0].tiles = Tiles::Refused;
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(1, 0, fork, 13));
        world.rounds(3);
        world.kill(1);
        world.kill(0);
        world.run(30);
        world.revive(0);
        world.logs[0].tiles = Tiles::Open;
        world.rounds(3);
        assert!(world.is_convicted(0, 0));
    });
}

/// 31. A crash after evidence is durable and before anybody was told.
// Spec: GSP-45, GSP-46
#[test]
fn scenario_31_evidence_that_was_not_told_before_a_crash_is_told_after_it() {
    under_seeds(0..10, |seed| {
        let mut world = World::new(seed, 3, 1);
        let fork = world.logs[0].fork(0, 5);
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(1, 0, fork, 13));
        while world.witnesses[0].evidence.is_empty() && world.witnesses[1].evidence.is_empty() {
            world.run(1);
        }
        let finder = usize::from(world.witnesses[0].evidence.is_empty());
        world.kill(finder);
        // The other half of the proof is gone for good.
        world.kill(1 - finder);
        world.run(30);
        world.revive(finder);
        assert!(
            world.is_convicted(finder, 0),
            "before anything else happens"
        );
        world.rounds(3);
        assert!(world.is_convicted(2, 0));
    });
}

/// 32. The disk takes no evidence: cosigning stops all the same, and it is told once it is durable.
// Spec: GSP-44, GSP-45, GSP-54
#[test]
fn scenario_32_a_full_disk_delays_the_telling_and_not_the_stopping() {
    under_seeds(0..5, |seed| {
        let mut world = World::new(seed, 3, 1);
        for witness in &mut world.witnesses {
            witness.disk_full = true;
        }
        let fork = world.logs[0].fork(0, 5);
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(1, 0, fork, 13));
        world.rounds(6);
        assert!(world.is_convicted(0, 0));
        assert!(!world.submit(0, 0, 0, 20));
        assert!(world.raised(0, &Alarm::NotStored));
        assert_eq!(world.witnesses[0].node.catalogue(0).entries(), []);
        for witness in &mut world.witnesses {
            witness.disk_full = false;
        }
        world.rounds(3);
        assert!(world.all_convict(0));
        for witness in 0..3 {
            assert!(!world.raised(witness, &Alarm::NotStored));
            assert_eq!(world.witnesses[witness].evidence.len(), 1);
        }
    });
}

/// 36. A peer that loses its journal again and again costs its pages, and hides nothing.
// Spec: GSP-48
#[test]
fn scenario_36_a_peer_that_forgets_its_journal_hides_nothing() {
    under_seeds(0..5, |seed| {
        let mut world = World::new(seed, 2, 1);
        let fork = world.logs[0].fork(0, 5);
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(1, 0, fork, 13));
        for _ in 0..8 {
            world.run(50);
            world.kill(1);
            world.revive(1);
        }
        world.rounds(4);
        assert!(world.all_convict(0));
    });
}

/// 16 and 17. A witness that was restored from a backup, or that runs twice, and is shown another
/// history: everyone that has both cosignatures convicts it, and its own node stops it.
// Spec: GSP-36, GSP-47
#[test]
fn scenario_16_17_a_restored_witness_on_another_history_stops_itself() {
    under_seeds(0..10, |seed| {
        let mut world = World::new(seed, 3, 1);
        let fork = world.logs[0].fork(0, 11);
        let restored = 1;
        assert!(world.submit(restored, 0, 0, 10));
        let origin = world.logs[0].origin.clone();
        let backup = world.witnesses[restored].heads[&origin].clone();
        assert!(world.submit(restored, 0, 0, 20));
        world.rounds(4);
        world.kill(restored);
        world.witnesses[restored].heads.insert(origin, backup);
        world.revive(restored);
        assert!(world.submit(restored, 0, fork, 20));
        world.rounds(5);
        assert!(world.all_convict(0));
        assert!(world.guilty(0).contains(&world.witnesses[restored].name));
        assert!(world.witnesses[restored].node.stopped().is_some());
        let stopped = world.deeds.iter().filter(|deed| {
            deed.witness == restored && matches!(deed.action, Action::StopSigning { .. })
        });
        assert_eq!(stopped.count(), 1);
    });
}

/// 17. Two replicas cosign with one key at the same time, without a lock, and the log is honest.
///
/// The one goes on, the other is behind, and the key calls a smaller tree the largest that it has
/// seen.
// Spec: GSP-47, GSP-55
#[test]
fn scenario_17_two_live_replicas_of_one_key_are_convicted() {
    under_seeds(0..5, |seed| {
        let mut world = World::new(seed, 3, 1);
        let (one, other) = (1, 2);
        world.witnesses[other].cosigner = world.witnesses[one].cosigner.clone();
        for witness in 0..3 {
            assert!(world.submit(witness, 0, 0, 10));
        }
        world.run(5);
        assert!(world.submit(one, 0, 0, 20));
        world.run(5);
        assert!(world.submit(other, 0, 0, 15));
        world.rounds(5);
        assert!(world.kinds(0).contains(&Kind::CosignerRegress));
        assert!(world.guilty(0).contains(&world.witnesses[one].name));
        assert!(world.witnesses[one].node.stopped().is_some());
        assert!(!world.is_convicted(0, 0), "the log is honest");
    });
}

/// 16. A witness that was restored from a backup stays on one history, and goes back in it.
// Spec: GSP-55
#[test]
fn scenario_16_a_restored_witness_that_goes_back_is_convicted() {
    under_seeds(0..5, |seed| {
        let mut world = World::new(seed, 2, 1);
        let restored = 1;
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(restored, 0, 0, 10));
        let origin = world.logs[0].origin.clone();
        let backup = world.witnesses[restored].heads[&origin].clone();
        assert!(world.submit(restored, 0, 0, 20));
        world.rounds(4);
        world.kill(restored);
        world.witnesses[restored].heads.insert(origin, backup);
        world.revive(restored);
        assert!(world.submit(restored, 0, 0, 15));
        world.rounds(5);
        assert!(world.kinds(0).contains(&Kind::CosignerRegress));
        assert!(!world.is_convicted(0, 0), "the log is honest");
        assert!(world.guilty(0).contains(&world.witnesses[restored].name));
        assert!(
            world.witnesses[restored].node.stopped().is_some(),
            "it was told by mail"
        );
    });
}
