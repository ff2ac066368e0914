//! Honest logs and honest witnesses in bad weather: nobody is ever convicted.

use std::time::Duration;

use jurat_proto::checkpoint::{Checkpoint, ExtensionLine, SignedCheckpoint};
use jurat_proto::cosignature::sign_note;
use jurat_proto::evidence::{Evidence, NoContradiction};
use jurat_proto::gossip::node::{Action, Alarm, Config, Cosigning, LogSettings, Reply};
use jurat_proto::hash::Hash;
use jurat_proto::proof::verify_inclusion;
use jurat_proto::tlog_proof::TlogProof;
use jurat_proto::tree::LeafIndex;

use crate::actors::Tiles;
use crate::network::{World, under_seeds};

/// An honest log whose witnesses hold different heads.
// Spec: GSP-39, GSP-53
#[test]
fn different_heads_of_one_history_are_resolved_and_confirmed() {
    under_seeds(0..10, |seed| {
        let mut world = World::new(seed, 3, 1);
        for to in [10, 20, 30, 45] {
            for witness in 0..3 {
                assert!(world.submit(witness, 0, 0, to + witness as u64));
                world.run(40);
            }
        }
        world.rounds(6);
        world.nobody_convicts();
        let origin = world.logs[0].origin.clone();
        for witness in 0..3 {
            let node = &world.witnesses[witness].node;
            assert_eq!(node.counts()[1], 0, "all is resolved");
            let (head, _) = node.confirmed(&origin).expect("two others hold it");
            assert!(head.size.get() >= 45, "{head:?}");
        }
    });
}

/// 13. A log whose tiles come late: suspect perhaps, then released, and never convicted.
// Spec: GSP-40, GSP-42
#[test]
fn scenario_13_a_slow_honest_log_is_released() {
    under_seeds(0..5, |seed| {
        let mut world = World::new(seed, 3, 1);
        world.logs[0].tiles = Tiles::UpTo(5);
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(1, 0, 0, 13));
        assert!(world.submit(2, 0, 0, 17));
        world.run(1_500);
        let held =
            |world: &World| (0..3).any(|witness| world.cosigning(witness, 0) != Cosigning::Free);
        assert!(held(&world), "after D1 it is held");
        world.logs[0].tiles = Tiles::Open;
        world.rounds(5);
        assert!(!held(&world));
        let released = world.deeds.iter();
        let released = released.filter(|deed| matches!(deed.action, Action::Release { .. }));
        assert!(released.count() > 0);
        world.nobody_convicts();
    });
}

/// 13, as it is when cosignatures are collected before publication: nothing is held at all.
// Spec: GSP-40
#[test]
fn scenario_13_tiles_that_come_within_d1_hold_nothing() {
    under_seeds(0..5, |seed| {
        let mut world = World::new(seed, 2, 1);
        world.logs[0].tiles = Tiles::UpTo(5);
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(1, 0, 0, 13));
        world.run(500);
        world.logs[0].tiles = Tiles::Open;
        world.run(1_500);
        let held = world
            .deeds
            .iter()
            .any(|deed| matches!(deed.action, Action::Hold { .. }));
        assert!(!held);
        world.nobody_convicts();
    });
}

/// A hold ends when the log asks to cosign the suspect head with a proof that joins it.
// Spec: GSP-42
#[test]
fn the_suspect_head_itself_may_be_cosigned() {
    under_seeds(0..5, |seed| {
        let mut world = World::new(seed, 2, 1);
        world.logs[0].tiles = Tiles::Refused;
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(1, 0, 0, 13));
        world.run(2_000);
        let suspect = world.logs[0].head(0, 13);
        assert_eq!(world.cosigning(0, 0), Cosigning::Held { suspect });
        assert!(!world.submit(0, 0, 0, 20), "only the suspect one");
        assert!(world.submit(0, 0, 0, 13));
        assert_eq!(world.cosigning(0, 0), Cosigning::Free);
        assert!(world.submit(0, 0, 0, 20));
    });
}

/// A log that is not to be held is not, and its suspect heads are told.
// Spec: GSP-42
#[test]
fn a_log_without_the_switch_is_never_held() {
    under_seeds(0..3, |seed| {
        let unheld = |settings: &mut LogSettings| settings.hold = false;
        let mut world = World::with(seed, 2, 1, |_| {}, unheld);
        let fork = world.logs[0].fork(0, 5);
        world.logs[0].tiles = Tiles::Refused;
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(1, 0, fork, 13));
        world.run(2_000);
        assert_eq!(world.cosigning(0, 0), Cosigning::Free);
        let origin = world.logs[0].origin.clone();
        assert!(world.raised(0, &Alarm::Suspect { origin }));
    });
}

/// 15. One witness is shown nothing new: it learns the larger head from the others.
// Spec: GSP-32, GSP-54
#[test]
fn scenario_15_a_frozen_witness_learns_what_it_was_not_shown() {
    let cadence = |settings: &mut LogSettings| settings.cadence = Some(Duration::from_secs(300));
    under_seeds(0..5, |seed| {
        let mut world = World::with(seed, 3, 1, |_| {}, cadence);
        assert!(world.submit(0, 0, 0, 10));
        for step in 0..10 {
            for witness in 1..3 {
                assert!(world.submit(witness, 0, 0, 10 + step));
            }
            world.run(300);
        }
        let origin = world.logs[0].origin.clone();
        let record = world.witnesses[0].node.record(&origin).expect("a head");
        let (top, _) = record.top.expect("a larger head");
        assert_eq!(top.head().size.get(), 19);
        assert!(world.raised(
            0,
            &Alarm::Stalled {
                origin: origin.clone()
            }
        ));
        assert!(!world.raised(1, &Alarm::Stalled { origin }));
        world.nobody_convicts();
    });
}

/// 22. Nobody can be reached.
///
/// It is told by the time that it has lasted a quarter of an hour, and not much before.
// Spec: GSP-54, GSP-113
#[test]
fn scenario_22_isolation_is_an_alarm_within_its_time() {
    under_seeds(0..5, |seed| {
        let mut world = World::new(seed, 4, 1);
        world.run(120);
        world.parts = vec![0, 1, 2, 3];
        world.run(760);
        assert!(!world.raised(0, &Alarm::Isolated), "it may be over yet");
        world.run(140);
        for witness in 0..4 {
            assert!(world.raised(witness, &Alarm::Isolated));
            // Where nothing else was said, it goes on cosigning.
            assert!(world.submit(witness, 0, 0, 10));
        }
        world.parts = vec![0; 4];
        world.run(800);
        for witness in 0..4 {
            assert_eq!(world.witnesses[witness].node.alarms().count(), 0);
        }
    });
}

/// 22. Nobody can be reached, and the operator wants nothing to be cosigned then.
// Spec: GSP-194
#[test]
fn scenario_22_isolation_stops_cosigning_where_that_was_said() {
    under_seeds(0..5, |seed| {
        let holds = |config: &mut Config| config.hold_isolated = true;
        let mut world = World::with(seed, 4, 1, holds, |_| {});
        for witness in 0..4 {
            assert!(world.submit(witness, 0, 0, 10));
        }
        world.run(120);
        world.parts = vec![0, 1, 2, 3];
        world.run(760);
        assert!(world.submit(0, 0, 0, 11), "it may be over yet");
        // A quarter of an hour after the last answer, no cosignature leaves.
        world.run(140);
        for witness in 0..4 {
            assert_eq!(world.cosigning(witness, 0), Cosigning::Isolated);
            assert!(!world.submit(witness, 0, 0, 12));
        }
        // When somebody is heard, without anybody's decision.
        world.parts = vec![0; 4];
        world.run(800);
        for witness in 0..4 {
            assert!(world.submit(witness, 0, 0, 12));
        }
        world.nobody_convicts();
    });
}

/// 29. The same head under other extension lines.
#[test]
fn scenario_29_extension_lines_are_no_fork() {
    under_seeds(0..5, |seed| {
        let mut world = World::new(seed, 2, 1);
        let plain = world.logs[0].note(0, 10);
        let checkpoint = Checkpoint {
            extensions: ExtensionLine::parse("for one client").unwrap().into(),
            ..plain.checkpoint().clone()
        };
        let line = sign_note(&checkpoint.to_text(), &world.logs[0].key).unwrap();
        let marked = SignedCheckpoint::new(checkpoint, vec![line]).unwrap();
        world.cosign(0, &plain, None);
        world.cosign(1, &marked, None);
        world.rounds(5);
        world.nobody_convicts();
        assert!(matches!(world.observe(0, marked), Reply::Consistent));
        for witness in 0..2 {
            assert_eq!(world.witnesses[witness].node.alarms().count(), 0);
        }
    });
}

/// 30. Clocks ten minutes off, one's own or a peer's: an alarm, and forks are found as ever.
// Spec: GSP-48, GSP-49, GSP-54, GSP-56
#[test]
fn scenario_30_wrong_clocks_are_told_and_hide_nothing() {
    for skew in [-600_000, 600_000] {
        under_seeds(0..3, |seed| {
            let mut world = World::new(seed, 5, 1);
            world.witnesses[4].clock = skew;
            let fork = world.logs[0].fork(0, 5);
            for witness in 0..4 {
                assert!(world.submit(witness, 0, 0, 10));
            }
            assert!(world.submit(4, 0, fork, 13));
            world.rounds(5);
            assert!(world.all_convict(0));
            assert!(world.raised(4, &Alarm::OwnClock));
            let peer = world.witnesses[4].name.clone();
            assert!(world.raised(0, &Alarm::PeerClock { peer }));
            assert!(!world.raised(0, &Alarm::OwnClock));
        });
    }
}

/// 34. The smallest heads and the largest.
#[test]
fn scenario_34_the_smallest_heads_and_the_largest_are_heads() {
    under_seeds(0..3, |seed| {
        let mut world = World::new(seed, 2, 1);
        let empty = world.logs[0].note(0, 0);
        world.cosign(0, &empty, None);
        assert!(world.submit(1, 0, 0, 1));
        world.rounds(4);
        let largest = world.logs[0].sign(crate::actors::leaf_head((1 << 63) - 1, 1));
        assert!(matches!(world.observe(0, largest), Reply::Pending));
        world.rounds(4);
        world.nobody_convicts();
    });
}

/// Scenario 38. A log whose heads are consistent, and one of whose entries is not what it hashed (a
/// bit was flipped on its disk). Whoever hashes entries, as a mirror does, refuses it; it is no
/// fork: nobody is alarmed, nothing is held, and nothing can be made of it that convicts anybody.
// Spec: EVI-12, MRK-05
#[test]
fn scenario_38_an_entry_that_does_not_hash_is_no_fork() {
    under_seeds(0..3, |seed| {
        let mut world = World::with(seed, 3, 1, |config| config.quorum = 1, |_| {});
        for (witness, to) in [(0, 10), (1, 13), (2, 17)] {
            assert!(world.submit(witness, 0, 0, to));
        }
        let index = LeafIndex::new(4).unwrap();
        let signed = world.logs[0].note(0, 13);
        let (leaf, path) = world.logs[0].entry(0, index, 13);
        assert_eq!(
            verify_inclusion(index, &leaf, &path, &signed.head()),
            Ok(())
        );
        let mut flipped = *leaf.as_bytes();
        flipped[0] ^= 1;
        let flipped = Hash::new(flipped);
        let refused = verify_inclusion(index, &flipped, &path, &signed.head());
        assert!(refused.is_err(), "a mirror refuses it");
        let proof = TlogProof::new(None, index, path, signed).unwrap();
        let evidence = Evidence::entry((leaf, &proof), (flipped, &proof));
        assert!(
            matches!(evidence, Err(NoContradiction::Proof(_))),
            "{evidence:?}"
        );
        world.rounds(8);
        world.nobody_convicts();
        let origin = world.logs[0].origin.clone();
        for witness in 0..3 {
            assert_eq!(world.cosigning(witness, 0), Cosigning::Free);
            let node = &world.witnesses[witness].node;
            assert_eq!(node.alarms().count(), 0);
            let (head, _) = node.confirmed(&origin).expect("others hold it");
            assert!(head.size.get() >= 10);
        }
    });
}
