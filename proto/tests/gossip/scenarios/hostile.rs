//! Peers and strangers that lie, flood and forge.

use std::time::Duration;

use jurat_proto::body::BodyError;
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::evidence::{Evidence, Kind, Standing};
use jurat_proto::gossip::node::{Alarm, Config, Cosigning, Question, Reply};
use jurat_proto::gossip::{
    Catalogue, CatalogueError, FEED_BYTES_MAX, Feed, FeedError, Fetch, FetchError, Notes,
    NotesError, Opening, OpeningError, Statement,
};
use jurat_proto::tree::TreeHead;

use crate::actors::{Key, SimLog, Tiles};
use crate::alone::{Alone, asked};
use crate::network::{Conduct, World, under_seeds};

/// 21. A third of the witnesses say nothing of the victim, and nobody asks all.
// Spec: GSP-35
#[test]
fn scenario_21_liars_around_everyone_delay_the_news_and_do_not_stop_it() {
    under_seeds(0..2, |seed| {
        let mut world = World::new(seed, 40, 1);
        world.through_bytes = false;
        let fork = world.logs[0].fork(0, 5);
        for witness in 0..40 {
            if witness % 3 == 1 {
                world.witnesses[witness].conduct = Conduct::Silent;
            }
        }
        for witness in 0..39 {
            assert!(world.submit(witness, 0, 0, 10));
        }
        assert!(world.submit(39, 0, fork, 13));
        world.rounds(12);
        let honest = (0..40).filter(|witness| witness % 3 != 1);
        for witness in honest {
            assert!(world.is_convicted(witness, 0), "w{witness}");
        }
    });
}

/// 21. Nearly all whom the victim asks answer as if the fork had never been.
///
/// Who is drawn by chance ends it.
// Spec: GSP-35
#[test]
fn scenario_21_neighbours_that_omit_do_not_eclipse_a_victim() {
    under_seeds(0..4, |seed| {
        let few = |config: &mut Config| {
            config.ask_all_up_to = 0;
            config.ask = 3;
        };
        let mut world = World::with(seed, 16, 1, few, |_| {});
        world.through_bytes = false;
        let fork = world.logs[0].fork(0, 5);
        for witness in 0..16 {
            assert!(world.submit(witness, 0, 0, 5));
        }
        world.rounds(1);
        let (honest, victim) = (0, 15);
        for witness in 1..15 {
            world.freeze(witness);
            world.witnesses[witness].conduct = Conduct::Omits;
            world.asks[witness] = false;
        }
        // The honest one does not come to the victim by itself.
        world.asks[honest] = false;
        assert!(world.submit(honest, 0, 0, 10));
        assert!(world.submit(victim, 0, fork, 13));
        for _ in 0..60 {
            world.rounds(1);
            if world.is_convicted(victim, 0) {
                return;
            }
        }
        panic!("nobody told the victim");
    });
}

/// 23. Evidence that proves nothing.
// Spec: GSP-52
#[test]
fn scenario_23_false_evidence_is_refused_with_the_reason() {
    under_seeds(0..3, |seed| {
        let mut world = World::new(seed, 2, 1);
        let fork = world.logs[0].fork(0, 5);
        let [one, other] = [0, fork].map(|branch| world.logs[0].note(branch, 10));
        let thief = Key::note("log0.example", 666);
        let forged =
            |note: &SignedCheckpoint, world: &World| world.logs[0].sign_with(&thief, note.head());
        let (forged_one, forged_other) = (forged(&one, &world), forged(&other, &world));
        for (a, b) in [
            (forged_one.clone(), forged_other),
            (one.clone(), forged(&other, &world)),
        ] {
            let evidence = Evidence::same_size(a, b).unwrap();
            let reply = world.hand_in(0, evidence);
            assert!(matches!(reply, Reply::NotProven(_)), "{reply:?}");
        }
        assert!(matches!(world.observe(0, forged_one), Reply::NotSigned));
        world.nobody_convicts();
        let true_one = Evidence::same_size(one, other).unwrap();
        assert!(matches!(
            world.hand_in(0, true_one.clone()),
            Reply::Stored { .. }
        ));
        assert!(matches!(world.hand_in(0, true_one), Reply::Known { .. }));
    });
}

/// 24. A convicted log that forks a thousand times more gets no more room.
// Spec: GSP-44
#[test]
fn scenario_24_a_flood_of_evidence_is_counted_and_not_kept() {
    let mut world = World::new(1, 2, 1);
    let fork = world.logs[0].fork(0, 5);
    for to in 6..600 {
        let [one, other] = [0, fork].map(|branch| world.logs[0].note(branch, to));
        let evidence = Evidence::same_size(one, other).unwrap();
        let reply = world.hand_in(0, evidence);
        assert!(
            matches!(reply, Reply::Stored { .. } | Reply::Known { .. }),
            "{reply:?}"
        );
        // From the fourth on nothing of it is kept: a million do what a few do.
        let kept = usize::try_from(to - 5).unwrap().min(4);
        assert_eq!(world.witnesses[0].evidence.len(), kept);
        let [_, _, _, evidence] = world.witnesses[0].node.counts();
        assert_eq!(evidence, kept);
    }
    world.rounds(3);
    assert_eq!(world.witnesses[1].evidence.len(), 4);
}

/// 25. A log that signs heads without end fills its own place and no other.
// Spec: GSP-33
#[test]
fn scenario_25_a_flood_of_heads_fills_one_place() {
    let mut world = World::new(1, 2, 2);
    world.logs[0].tiles = Tiles::Refused;
    assert!(world.submit(0, 0, 0, 10));
    let mut taken = 0;
    for number in 0..2_000_u64 {
        let size = 100 + (number * 7_919) % 1_000_003;
        let head = crate::actors::leaf_head(size, u8::try_from(number % 251).unwrap());
        let note = world.logs[0].sign(head);
        taken += usize::from(matches!(world.observe(0, note), Reply::Pending));
        if number % 50 == 0 {
            world.rounds(1);
        }
    }
    let [_, open, _, _] = world.witnesses[0].node.counts();
    assert!(open <= 16, "{open}");
    assert!(taken <= 4 * 41 + 4, "{taken}");
    assert_eq!(world.cosigning(0, 1), Cosigning::Free, "another log");
    world.nobody_convicts();
}

/// 39. Evidence that names me.
// Spec: GSP-47
#[test]
fn scenario_39_a_witness_that_is_convicted_signs_nothing_more() {
    let mut world = World::new(1, 2, 2);
    let fork = world.logs[0].fork(0, 5);
    let time = world.moment().seconds();
    let [one, other] = [0, fork].map(|branch| {
        let note = world.logs[0].note(branch, 10);
        world.witnesses[0].cosigner.cosign(&note, time)
    });
    let evidence = Evidence::same_size(one, other).unwrap();
    assert!(matches!(world.hand_in(0, evidence), Reply::Stored { .. }));
    for log in 0..2 {
        assert!(matches!(world.cosigning(0, log), Cosigning::Stopped { .. }));
    }
    world.rounds(2);
    assert!(matches!(world.cosigning(1, 0), Cosigning::Convicted { .. }));
    assert_eq!(world.cosigning(1, 1), Cosigning::Free, "another's guilt");
}

/// 22 and 20, the simple half: who answers nothing is silent, and stays a peer.
// Spec: GSP-35, GSP-54
#[test]
fn scenario_22_20_a_silent_peer_is_told_and_asked_again() {
    let mut world = World::new(1, 3, 1);
    world.witnesses[2].conduct = Conduct::Silent;
    world.run(1_200);
    let peer = world.witnesses[2].name.clone();
    let alarm = Alarm::PeerSilent { peer };
    assert!(world.raised(0, &alarm));
    assert!(!world.raised(0, &Alarm::Isolated));
    world.witnesses[2].conduct = Conduct::Honest;
    world.run(700);
    assert!(!world.raised(0, &alarm));
}

/// 20. A witness hides what it cosigned, and a client shows it: its gossip key is convicted.
// Spec: GSP-35, GSP-55
#[test]
fn scenario_20_a_witness_that_hides_what_it_cosigned_is_convicted() {
    under_seeds(0..3, |seed| {
        let often = |config: &mut Config| config.reread_every = Duration::from_secs(120);
        let mut world = World::with(seed, 2, 1, often, |_| {});
        let liar = 1;
        for witness in 0..2 {
            assert!(world.submit(witness, 0, 0, 10));
        }
        world.rounds(2);
        world.freeze(liar);
        world.witnesses[liar].conduct = Conduct::Omits;
        assert!(world.submit(liar, 0, 0, 20));
        let origin = world.logs[0].origin.clone();
        let (hidden, _) = world.witnesses[liar].heads[&origin].clone();
        world.rounds(2);
        world.observe(0, hidden);
        world.rounds(8);
        let kinds = world.kinds(0);
        assert!(!kinds.is_empty() && kinds.iter().all(|kind| *kind == Kind::Omission));
        assert!(world.guilty(0).contains(&world.witnesses[liar].name));
        assert!(!world.is_convicted(0, 0), "the log is honest");
    });
}

/// 20. A witness says two things of one state.
// Spec: GSP-55
#[test]
fn scenario_20_a_witness_with_two_faces_is_convicted() {
    under_seeds(0..3, |seed| {
        let mut world = World::new(seed, 3, 1);
        let liar = 2;
        world.witnesses[liar].conduct = Conduct::TwoFaced;
        assert!(world.submit(0, 0, 0, 10));
        world.rounds(4);
        for witness in 0..2 {
            assert_eq!(world.kinds(witness)[0], Kind::GossipEquivocation);
            assert!(world.guilty(witness).contains(&world.witnesses[liar].name));
        }
        assert_eq!(
            world.cosigning(0, 0),
            Cosigning::Free,
            "it says nothing of logs"
        );
    });
}

/// 20. A witness shows other rows on one page each time.
///
/// Whoever reads it from the beginning again has both.
// Spec: GSP-09, GSP-55
#[test]
fn scenario_20_a_witness_with_two_faced_pages_is_convicted() {
    under_seeds(0..3, |seed| {
        let often = |config: &mut Config| config.reread_every = Duration::from_secs(120);
        let mut world = World::with(seed, 2, 1, often, |_| {});
        let liar = 1;
        assert!(world.submit(liar, 0, 0, 10));
        world.rounds(2);
        world.nobody_convicts();
        world.witnesses[liar].conduct = Conduct::TwoFacedPages;
        world.rounds(6);
        assert!(world.kinds(0).contains(&Kind::GossipEquivocation));
        assert!(world.guilty(0).contains(&world.witnesses[liar].name));
        assert!(!world.is_convicted(0, 0), "it says nothing of logs");
    });
}

/// 27. Old answers for new ones: they are not taken, and said.
// Spec: GSP-48, GSP-49
#[test]
fn scenario_27_what_was_said_before_is_not_taken_for_new() {
    under_seeds(0..3, |seed| {
        let mut world = World::new(seed, 2, 1);
        assert!(world.submit(0, 0, 0, 10));
        world.rounds(2);
        world.witnesses[0].conduct = Conduct::Replays;
        world.rounds(4);
        let peer = world.witnesses[0].name.clone();
        assert!(world.raised(1, &Alarm::PeerMisbehaves { peer: peer.clone() }));
        world.witnesses[0].conduct = Conduct::Honest;
        world.run(700);
        assert!(!world.raised(1, &Alarm::PeerMisbehaves { peer }));
        world.nobody_convicts();
    });
}

/// 28. A fork between an old key that is retired and the new one: a date decides, and nobody acts.
// Spec: GSP-42, GSP-44
#[test]
fn scenario_28_a_retired_key_holds_nothing_and_convicts_nobody() {
    under_seeds(0..3, |seed| {
        let mut world = World::new(seed, 2, 1);
        let fork = world.logs[0].fork(0, 5);
        let stolen = world.logs[0].note(fork, 10);
        world.rotate(0);
        world.set_standing(0, Standing::Retired);
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(1, 0, 0, 12));
        world.observe(0, stolen);
        world.run(3_000);
        for witness in 0..2 {
            assert_eq!(world.cosigning(witness, 0), Cosigning::Free);
        }
        let origin = world.logs[0].origin.clone();
        assert!(world.raised(0, &Alarm::Undetermined { origin }));
        world.nobody_convicts();
    });
}

/// 28. A log has a new key, and one history: nobody is alarmed, and nothing is held.
// Spec: GSP-36, GSP-44
#[test]
fn scenario_28_an_honest_rotation_alarms_nobody() {
    under_seeds(0..3, |seed| {
        let mut world = World::new(seed, 2, 1);
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(1, 0, 0, 12));
        world.rounds(2);
        world.rotate(0);
        assert!(world.submit(0, 0, 0, 15));
        assert!(world.submit(1, 0, 0, 17));
        world.run(1_500);
        world.nobody_convicts();
        for witness in 0..2 {
            assert_eq!(world.cosigning(witness, 0), Cosigning::Free);
            assert_eq!(world.witnesses[witness].node.alarms().count(), 0);
            assert!(world.submit(witness, 0, 0, 20));
        }
    });
}

/// 28. Two keys that are both current, one on each history.
// Spec: GSP-44
#[test]
fn scenario_28_two_current_keys_convict_their_log() {
    under_seeds(0..3, |seed| {
        let mut world = World::new(seed, 2, 1);
        let fork = world.logs[0].fork(0, 5);
        assert!(world.submit(0, 0, fork, 10));
        world.rotate(0);
        assert!(world.submit(1, 0, 0, 12));
        world.rounds(5);
        assert!(world.all_convict(0));
    });
}

/// 33. Heads of a log that nobody here knows.
// Spec: GSP-36
#[test]
fn scenario_33_heads_of_logs_that_are_not_known_are_left_alone() {
    let mut world = World::new(1, 2, 2);
    world.forget_log(0, 1);
    assert!(world.submit(1, 1, 0, 10));
    assert!(world.submit(0, 0, 0, 10));
    world.rounds(6);
    assert_eq!(world.witnesses[0].node.counts()[0], 1, "one log");
    assert_eq!(world.witnesses[0].node.alarms().count(), 0);
    let note = world.logs[1].note(0, 10);
    assert!(matches!(world.observe(0, note), Reply::UnknownOrigin));
}

/// 40. Whoever has a witness's gossip key can convict that key, and nothing else.
// Spec: GSP-10, GSP-55
#[test]
fn scenario_40_a_stolen_gossip_key_convicts_no_log_and_no_cosigner() {
    let mut world = World::new(1, 3, 1);
    for witness in 0..3 {
        assert!(world.submit(witness, 0, 0, 10));
    }
    let now = world.moment();
    let states = [1, 2].map(|lie| {
        let mut state = world.witnesses[2].node.state(now, None);
        state.evidence = TreeHead {
            size: crate::actors::size(lie),
            ..crate::actors::leaf_head(1, 1)
        };
        world.witnesses[2].gossip.say(Statement::State(state))
    });
    let [one, other] = states;
    let evidence = Evidence::gossip_equivocation(one, other).unwrap();
    assert!(matches!(world.hand_in(0, evidence), Reply::Stored { .. }));
    world.rounds(3);
    assert_eq!(world.cosigning(0, 0), Cosigning::Free);
    assert_eq!(world.cosigning(1, 0), Cosigning::Free);
    let stops = world.cosigning(2, 0);
    assert!(
        matches!(stops, Cosigning::Stopped { .. }),
        "its own key is stolen"
    );
}

/// Scenario 26. A page of a million rows, or a body without an end, is refused by its length,
/// before a row of it is looked at; so is what was squeezed, whatever comes out of it.
// Spec: GSP-20, GSP-22, GSP-23, GSP-24, GSP-26, EVI-02, GSP-88
#[test]
fn scenario_26_bodies_that_are_too_long_are_refused_unread() {
    let row = "0123456789abcdef 1 AAAAAAAAAAAAAAAA 1 -\n";
    let rows = row.repeat(1_000_000).into_bytes();
    let refused = Feed::parse(&rows);
    assert_eq!(refused, Err(FeedError::TooLong { bytes: rows.len() }));
    // Who stops at the bound has no page, without which no row is looked at.
    assert_eq!(Feed::parse(&rows[..FEED_BYTES_MAX]), Err(FeedError::NoPage));
    let fetch = Fetch::parse(&rows);
    assert!(matches!(fetch, Err(FetchError::TooLong { .. })));
    let notes = Notes::parse(&rows);
    assert!(matches!(notes, Err(NotesError::TooLong { .. })));
    let opening = Opening::parse(&rows);
    assert!(matches!(
        opening,
        Err(OpeningError::Body(BodyError::TooLong { .. }))
    ));
    let list = Catalogue::parse(&rows);
    assert!(matches!(list, Err(CatalogueError::TooLong { .. })));
    assert!(Evidence::parse(&rows).is_err());
    let squeezed = [0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 3];
    assert!(Feed::parse(&squeezed).is_err());
    assert!(Notes::parse(&squeezed).is_err());
}

/// Scenario 26. A feed without an end: so many pages of it are read in a round and no more, and
/// what they show has its bounds.
// Spec: GSP-34, GSP-88
#[test]
fn scenario_26_a_feed_without_an_end_is_read_page_by_page() {
    let log = SimLog::new("log.example", 1);
    let mut alone = Alone::new(&[&log], |_| {}, |_| {});
    let mut pages = 0;
    let rounds = 20;
    let mut asks = Vec::new();
    for _ in 0..rounds * 61 {
        asks.extend(asked(&alone.run(1)));
        while let Some((ask, question)) = asks.pop() {
            let answer = alone.endless(&question);
            pages += usize::from(matches!(question, Question::Heads { .. }));
            asks.extend(asked(&alone.answer(ask, answer)));
        }
    }
    let most = usize::try_from(alone.pages_per_round).unwrap() + 1;
    assert!(pages > rounds, "{pages}");
    assert!(pages <= (rounds + 1) * most, "{pages}");
    assert_eq!(alone.node.counts(), [1, 0, 0, 0]);
    let held = format!("{:?}", alone.node).len();
    assert!(held < 200_000, "{held}");
}

/// Scenario 26. A peer that takes each question, and whose answer never ends, keeps nothing from
/// the others, and is told.
// Spec: GSP-35, GSP-54, GSP-88
#[test]
fn scenario_26_an_answer_that_never_ends_keeps_nobody_waiting() {
    under_seeds(0..3, |seed| {
        let mut world = World::new(seed, 3, 1);
        world.witnesses[2].conduct = Conduct::Slow;
        let fork = world.logs[0].fork(0, 5);
        assert!(world.submit(0, 0, 0, 10));
        assert!(world.submit(1, 0, fork, 13));
        world.rounds(5);
        assert!(world.is_convicted(0, 0) && world.is_convicted(1, 0));
        world.run(1_200);
        let peer = world.witnesses[2].name.clone();
        assert!(world.raised(0, &Alarm::PeerSilent { peer }));
        let held = format!("{:?}", world.witnesses[0].node).len();
        world.run(3_600);
        let later = format!("{:?}", world.witnesses[0].node).len();
        assert!(later < held + 1_000, "{held}, {later}");
    });
}
