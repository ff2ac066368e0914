//! What a hostile reader found: an insider with a log's key, a peer that lies, a network that
//! answers in its own order. Each is told once, and stays told.

use std::time::Duration;

use jurat_proto::checkpoint::{ExtensionLine, SignedCheckpoint};
use jurat_proto::cosignature::sign_note;
use jurat_proto::evidence::{Cosigner, Evidence, Kind, Standing};
use jurat_proto::gossip::node::{
    Action, Alarm, Answer, AskId, Config, Cosigning, Event, Failure, LogRecord, Moment, OpenRecord,
    Phase, Question, Reply,
};
use jurat_proto::gossip::{Fetch, Flags, Notes, Opening, OriginId, Random, Row, Tag, Wanted};
use jurat_proto::key::{KeyName, UnixSeconds};
use jurat_proto::note::{KeyId, SignatureLine};
use jurat_proto::tree::TreeHead;

use crate::actors::{SimLog, Tiles, leaf_head};
use crate::alone::{Alone, asked, reply_to, stored};
use crate::network::{Conduct, START, World};

/// As long as a head takes to hold its log, and more.
const LONG: u64 = 1_500;

fn later(time: UnixSeconds, seconds: u64) -> UnixSeconds {
    UnixSeconds::new(time.get() + seconds).unwrap()
}

/// A log that forks can show everybody as many consistent heads as it likes. They must not take the
/// place of the one that a peer shows.
// Spec: GSP-33
#[test]
fn strangers_do_not_use_up_the_share_of_peers() {
    let mut world = World::new(1, 2, 1);
    world.through_bytes = false;
    world.delay_ms = 3_000;
    let fork = world.logs[0].fork(0, 5);
    assert!(world.submit(0, 0, 0, 6_000));
    assert!(world.submit(1, 0, fork, 5_999));
    let mut size = 100;
    for _ in 0..500 {
        world.run(1);
        for _ in 0..4 {
            size += 2;
            // The two never see the same size.
            for (witness, branch) in [(0, 0), (1, fork)] {
                let note = world.logs[0].note(branch, size + witness as u64);
                world.observe(witness, note);
            }
        }
    }
    assert!(world.all_convict(0));
}

/// One cosigner that lies about many logs leaves room for what convicts a log.
// Spec: GSP-44
#[test]
fn a_cosigner_that_lies_everywhere_hides_no_log() {
    let mut world = World::with(1, 2, 1, |config| config.evidence_max = 8, |_| {});
    let by = Cosigner {
        name: world.witnesses[1].cosigner.vkey().name().clone(),
        key_id: world.witnesses[1].cosigner.vkey().key_id(),
    };
    let time = world.moment().seconds();
    for index in 0..20 {
        let mut log = SimLog::new(&format!("nowhere{index}.example"), 1);
        let liar = &world.witnesses[1].cosigner;
        let small = (liar.cosign(&log.note(0, 5), later(time, 9)), later(time, 9));
        let large = (liar.cosign(&log.note(0, 9), time), time);
        let regress = Evidence::cosigner_regress(small, large, by.clone()).unwrap();
        world.hand_in(0, regress);
    }
    let fork = world.logs[0].fork(0, 5);
    let [one, other] = [0, fork].map(|branch| world.logs[0].note(branch, 10));
    let evidence = Evidence::same_size(one, other).unwrap();
    let id = evidence.id();
    let reply = world.hand_in(0, evidence);
    assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
    assert!(world.witnesses[0].node.evidence(&id).is_some());
}

/// Of two logs with one origin id, or of one log and its stray head, the larger one does not stand
/// before the head that was cosigned.
// Spec: GSP-34
#[test]
fn no_row_stands_before_a_cosigned_one() {
    let mut log = SimLog::new("log.example", 1);
    let fork = log.fork(0, 5);
    let mut alone = Alone::new(&[&log], |config| config.grace_rounds = 1, |_| {});
    alone.cosign(&log.note(0, 100));
    let theirs = log.note(fork, 90).head();
    let salt = Random([6; 16]);
    let row = |head: &TreeHead, newest_cosigned| Row {
        origin: OriginId::of(&log.origin),
        size: head.size,
        tag: Tag::of(&salt, &log.origin, head),
        time: Moment(START).seconds(),
        flags: Flags {
            newest_cosigned,
            unresolved: false,
        },
    };
    let rows = vec![row(&theirs, true), row(&leaf_head(1_000_000, 1), false)];
    let actions = alone.feed(salt, rows);
    let asks = asked(&actions);
    let [(_, Question::Fetch(fetch))] = &asks[..] else {
        panic!("{asks:?}");
    };
    assert!(fetch.rows().iter().any(|row| row.size == theirs.size));
}

/// Nothing joins two roots of one size: who waits whether it may yet learn of it only loses rounds,
/// and the newest heads of two histories may never have one size.
// Spec: GSP-101
#[test]
fn a_row_that_contradicts_us_is_fetched_in_the_round_that_shows_it() {
    let mut log = SimLog::new("log.example", 1);
    let fork = log.fork(0, 5);
    let mut alone = Alone::new(&[&log], |_| {}, |_| {});
    alone.cosign(&log.note(0, 90));
    alone.cosign(&log.note(0, 100));
    let salt = Random([6; 16]);
    let theirs = [90, 120].map(|size| log.note(fork, size));
    let row = |note: &SignedCheckpoint, newest_cosigned| Row {
        origin: OriginId::of(&log.origin),
        size: note.head().size,
        tag: Tag::of(&salt, &log.origin, &note.head()),
        time: Moment(START).seconds(),
        flags: Flags {
            newest_cosigned,
            unresolved: false,
        },
    };
    let rows = vec![row(&theirs[0], false), row(&theirs[1], true)];
    let asks = asked(&alone.feed(salt, rows));
    let [(ask, Question::Fetch(fetch))] = &asks[..] else {
        panic!("{asks:?}");
    };
    let sizes: Vec<_> = fetch.rows().iter().map(|row| row.size).collect();
    // What is always wanted stands first (GSP-85).
    assert_eq!(sizes, [120, 90].map(|size| log.note(0, size).head().size));
    let notes = Notes::new(theirs);
    let actions = alone.answer(*ask, Answer::Notes(notes));
    assert_eq!(stored(&actions), 1);
}

/// An outage of hours is over for gossip within two rounds of its end.
// Spec: GSP-35, GSP-100
#[test]
fn who_cannot_be_reached_is_asked_again_and_again_and_who_refuses_is_spared() {
    let log = SimLog::new("log.example", 1);
    let longest = |failure: Failure| {
        let mut alone = Alone::new(&[&log], |_| {}, |_| {});
        let (mut last, mut longest) = (alone.now, 0);
        for _ in 0..7_200 {
            for (ask, _) in asked(&alone.run(1)) {
                longest = longest.max(alone.now - last);
                last = alone.now;
                alone.answer(ask, Answer::Failed(failure));
            }
        }
        longest
    };
    assert!(longest(Failure::Unreachable) <= 122_000);
    assert!(longest(Failure::Refused) >= 600_000);
}

/// Whoever stole a retired key can grow the tree, and prove it. It must not become the history.
// Spec: GSP-36, GSP-42
#[test]
fn a_retired_key_extends_no_history() {
    let mut world = World::new(1, 2, 1);
    let theirs = world.logs[0].fork(0, 20);
    let stolen = world.logs[0].note(theirs, 30);
    world.rotate(0);
    world.set_standing(0, Standing::Retired);
    assert!(world.submit(0, 0, 0, 20));
    let own = world.logs[0].head(0, 20);
    let proof = world.logs[0].proof(theirs, 20, 30);
    let opening = Opening::new(own, proof, stolen.clone()).unwrap();
    world.happen(0, Event::ProofSeen(Box::new(opening)));
    let honest = world.logs[0].note(0, 35);
    world.observe(0, honest.clone());
    world.run(LONG);
    assert_eq!(world.cosigning(0, 0), Cosigning::Free);
    let origin = world.logs[0].origin.clone();
    let node = &world.witnesses[0].node;
    assert_eq!(node.phase(&origin, &honest.head()), None);
    assert!(matches!(world.observe(0, stolen), Reply::Pending));
    assert!(world.submit(0, 0, 0, 40));
}

/// Heads of some logs that nobody can open take all questions, and other logs are still compared.
// Spec: GSP-35
#[test]
fn openings_that_nobody_has_do_not_stop_the_rounds() {
    let mut world = World::with(
        1,
        2,
        4,
        |config| {
            config.unresolved = 28;
            config.new_per_round = 100;
        },
        |log| log.tiles = false,
    );
    world.through_bytes = false;
    world.asks[1] = false;
    for log in 0..4 {
        for witness in 0..2 {
            assert!(world.submit(witness, log, 0, 100));
        }
    }
    world.rounds(2);
    for log in 0..3 {
        for size in 10..60 {
            let stray = world.logs[log].sign(leaf_head(size, 1));
            world.observe(0, stray);
        }
    }
    world.rounds(2);
    let fork = world.logs[3].fork(0, 100);
    assert!(world.submit(0, 3, 0, 110));
    assert!(world.submit(1, 3, fork, 110));
    world.rounds(8);
    assert!(world.is_convicted(0, 3));
}

/// A head of others that was proven against an older head of ours is not proven against the newest
/// one, in whichever order they are put back.
// Spec: GSP-32, GSP-46
#[test]
fn what_is_put_back_late_is_proven_again() {
    let mut log = SimLog::new("log.example", 1);
    let fork = log.fork(0, 10);
    let mut alone = Alone::new(&[&log], |_| {}, |_| {});
    let other = log.note(fork, 15);
    alone.cosign(&log.note(0, 20));
    let record = LogRecord {
        top: Some((other.clone().into(), Moment(START))),
        open: Vec::new(),
    };
    let stands = alone.node.restore_log(record, Moment(START));
    assert!(stands.is_empty(), "{stands:?}");
    assert_eq!(
        alone.node.phase(&log.origin, &other.head()),
        Some(Phase::New)
    );
    assert!(matches!(alone.observe(other), Reply::Pending));
}

/// Who shows the other half of a fork is not told of evidence that a crash would forget.
// Spec: GSP-45
#[test]
fn evidence_that_is_not_durable_is_not_told() {
    let mut log = SimLog::new("log.example", 1);
    let fork = log.fork(0, 5);
    let mut alone = Alone::new(&[&log], |_| {}, |_| {});
    let [one, other] = [0, fork].map(|branch| log.note(branch, 10));
    let evidence = Evidence::same_size(one.clone(), other.clone()).unwrap();
    let id = evidence.id();
    alone.cosign(&one);
    assert!(matches!(alone.observe(other.clone()), Reply::Pending));
    let (first, actions) = alone.submit(evidence.clone());
    assert!(reply_to(&actions, first).is_none());
    let (second, actions) = alone.submit(evidence);
    assert!(reply_to(&actions, second).is_none());
    let actions = alone.happen(Event::EvidenceStored { id });
    for request in [first, second] {
        let reply = reply_to(&actions, request);
        assert!(
            matches!(reply, Some(Reply::Stored { .. } | Reply::Known { .. })),
            "{reply:?}"
        );
    }
    assert!(matches!(alone.observe(other), Reply::Convicted { .. }));
}

/// Two copies are being stored: that the first one is durable says nothing of the second.
// Spec: GSP-45
#[test]
fn a_better_copy_is_told_when_it_is_durable() {
    let mut log = SimLog::new("log.example", 1);
    let fork = log.fork(0, 5);
    let mut alone = Alone::new(&[&log], |_| {}, |_| {});
    let [one, other] = [0, fork].map(|branch| log.note(branch, 10));
    let guilty =
        |note: &SignedCheckpoint, alone: &Alone| alone.peer.1.cosign(note, Moment(START).seconds());
    let full = Evidence::same_size(guilty(&one, &alone), guilty(&other, &alone)).unwrap();
    let stripped = Evidence::same_size(one, other).unwrap();
    let id = full.id();
    let (first, actions) = alone.submit(stripped);
    assert_eq!(stored(&actions), 1);
    let (second, actions) = alone.submit(full);
    assert_eq!(stored(&actions), 1);
    let actions = alone.happen(Event::EvidenceStored { id });
    assert!(reply_to(&actions, second).is_none(), "the first copy only");
    assert!(asked(&actions).is_empty());
    let actions = alone.happen(Event::EvidenceStored { id });
    assert!(reply_to(&actions, first).is_some());
    assert!(reply_to(&actions, second).is_some());
    assert!(matches!(asked(&actions)[..], [(_, Question::Mail(_))]));
}

/// Two files are being stored and one is durable: nothing is wrong with the disk.
// Spec: GSP-54
#[test]
fn a_file_that_is_being_stored_is_no_alarm() {
    let mut log = SimLog::new("log.example", 1);
    let fork = log.fork(0, 5);
    let mut alone = Alone::new(&[&log], |_| {}, |_| {});
    let mut ids = Vec::new();
    for size in [10, 11] {
        let [one, other] = [0, fork].map(|branch| log.note(branch, size));
        let evidence = Evidence::same_size(one, other).unwrap();
        ids.push(evidence.id());
        alone.submit(evidence);
    }
    let actions = alone.happen(Event::EvidenceStored { id: ids[0] });
    let alarm = |action: &Action| {
        matches!(
            action,
            Action::Alarm {
                alarm: Alarm::NotStored,
                ..
            }
        )
    };
    assert!(!actions.iter().any(alarm));
}

/// Mail that nobody answered is mailed again, and the list is read again when a file that it names
/// did not come.
// Spec: GSP-45
#[test]
fn mail_without_an_answer_is_mailed_again() {
    let mut log = SimLog::new("log.example", 1);
    let fork = log.fork(0, 5);
    let mut alone = Alone::new(&[&log], |_| {}, |_| {});
    let [one, other] = [0, fork].map(|branch| log.note(branch, 10));
    let evidence = Evidence::same_size(one, other).unwrap();
    let id = evidence.id();
    alone.submit(evidence);
    let is_mail = |(_, question): &(AskId, Question)| matches!(question, Question::Mail(_));
    let actions = alone.happen(Event::EvidenceStored { id });
    assert!(asked(&actions).iter().any(is_mail));
    // A round is over, and the peer does not answer either what it is asked then.
    let asks = asked(&alone.run(200));
    assert!(!asks.iter().any(is_mail));
    // It does answer something: evidence is mailed before all else.
    let (ask, question) = asks.last().expect("a round");
    let answer = alone.endless(question);
    let actions = alone.answer(*ask, answer);
    assert!(asked(&actions).iter().any(is_mail), "once more");
}

/// A copy under other extension lines, which accuses a witness alone, does not shield the log; nor
/// the other way round.
// Spec: GSP-45, GSP-117, GSP-192
#[test]
fn a_copy_that_accuses_somebody_else_shields_nobody() {
    for log_first in [false, true] {
        let mut log = SimLog::new("log.example", 1);
        let fork = log.fork(0, 5);
        let mut alone = Alone::new(&[&log], |_| {}, |_| {});
        let plain = [0, fork].map(|branch| log.note(branch, 10));
        let by_peer = plain.clone().map(|note| {
            let mut checkpoint = note.checkpoint().clone();
            checkpoint.extensions = ExtensionLine::parse("variant").unwrap().into();
            let line = sign_note(&checkpoint.to_text(), &log.key).unwrap();
            let signed = SignedCheckpoint::new(checkpoint, vec![line]).unwrap();
            let cosigned = alone.peer.1.cosign(&signed, Moment(START).seconds());
            cosigned.with_signatures(&[1], &[]).unwrap()
        });
        let [of_log, of_peer] =
            [plain, by_peer].map(|[one, other]| Evidence::same_size(one, other).unwrap());
        let id = of_log.id();
        assert_eq!(of_peer.id(), id);
        let mut order = [of_peer.clone(), of_log.clone()];
        if log_first {
            order.reverse();
        }
        let mut mailed = Vec::new();
        let mut alarms = Vec::new();
        for evidence in order {
            let (_, mut actions) = alone.submit(evidence);
            alarms.extend(actions.iter().filter_map(|action| match action {
                Action::Alarm {
                    alarm,
                    raised: true,
                } => Some(alarm.clone()),
                _ => None,
            }));
            for _ in 0..stored(&actions) {
                actions.extend(alone.happen(Event::EvidenceStored { id }));
            }
            let mut asks = asked(&actions);
            while let Some((ask, question)) = asks.pop() {
                if let Question::Mail(evidence) = question {
                    mailed.push((*evidence).clone());
                }
                asks.extend(asked(&alone.answer(ask, Answer::Taken)));
            }
        }
        assert!(mailed.contains(&of_log) && mailed.contains(&of_peer));
        // Spec: GSP-192. That the log is convicted is told, whichever came first.
        let proven = |log: Option<&SimLog>| Alarm::Proven {
            id,
            log: log.map(|log| log.origin.clone()),
        };
        let mut told = vec![proven(None), proven(Some(&log))];
        told.drain(..usize::from(log_first));
        assert_eq!(alarms, told);
        assert_eq!(alone.node.evidence(&id).map(|kept| &**kept), Some(&of_log));
        // Neither is anything new.
        for evidence in [of_log, of_peer] {
            assert_eq!(stored(&alone.submit(evidence).1), 0);
        }
    }
}

/// A page of one contradiction many times over costs one of them.
// Spec: GSP-55
#[test]
fn a_page_that_hides_one_head_many_times_costs_one_proof() {
    let mut log = SimLog::new("log.example", 1);
    let mut alone = Alone::new(&[&log], |_| {}, |_| {});
    let hidden = alone
        .peer
        .1
        .cosign(&log.note(0, 20), Moment(START).seconds());
    let shown = log.note(0, 10);
    alone.cosign(&shown);
    alone.observe(hidden);
    alone.now += 60_000;
    let salt = Random([6; 16]);
    let rows = (0..500).map(|time| Row {
        origin: OriginId::of(&log.origin),
        size: shown.head().size,
        tag: Tag::of(&salt, &log.origin, &shown.head()),
        time: UnixSeconds::new(time).unwrap(),
        flags: Flags {
            newest_cosigned: true,
            unresolved: false,
        },
    });
    let actions = alone.feed(salt, rows.collect());
    assert_eq!(stored(&actions), 1);
}

/// A log that is not held can fill its places with stray heads, and cannot keep out what another
/// witness cosigned. What is stored of it can be read, however many places are configured.
// Spec: GSP-33, GSP-46
#[test]
fn what_a_peer_cosigned_always_comes_in() {
    let mut log = SimLog::new("log.example", 1);
    let fork = log.fork(0, 5);
    let flooded = |config: &mut Config| {
        config.unresolved = 200;
        config.new_per_round = 1_000;
    };
    let mut alone = Alone::new(&[&log], flooded, |log| log.hold = false);
    alone.cosign(&log.note(0, 2_000));
    for size in (10..800).step_by(2) {
        alone.observe(log.sign(leaf_head(size, 1)));
    }
    let theirs = alone
        .peer
        .1
        .cosign(&log.note(fork, 401), Moment(START).seconds());
    alone.observe(theirs.clone());
    assert!(alone.node.phase(&log.origin, &theirs.head()).is_some());
    let record = alone.node.record(&log.origin).expect("open heads");
    assert_eq!(LogRecord::parse(&record.to_bytes()), Ok(record));
}

/// A peer's head is read from the log's tiles when a peer was asked for the opening in vain: one
/// that is larger than ours when the log had the time to bring it here, too, and did not. One that
/// is no larger does not come any more. A peer that does not answer delays it by half a round.
// Spec: GSP-115, GSP-170
#[test]
fn tiles_are_not_read_for_what_the_log_or_a_peer_is_about_to_bring() {
    for (size, answers, brings) in [
        (5, true, false),
        (5, false, false),
        (20, true, false),
        (20, false, false),
        (20, true, true),
        (20, false, true),
    ] {
        let mut log = SimLog::new("log.example", 1);
        let mut alone = Alone::new(&[&log], |_| {}, |log| log.tiles = true);
        alone.cosign(&log.note(0, 10));
        let theirs = log.note(0, size);
        let salt = Random([6; 16]);
        let row = Row {
            origin: OriginId::of(&log.origin),
            size: theirs.head().size,
            tag: Tag::of(&salt, &log.origin, &theirs.head()),
            time: Moment(START).seconds(),
            flags: Flags::default(),
        };
        let asks = asked(&alone.feed(salt, vec![row]));
        let [(ask, Question::Fetch(_))] = asks[..] else {
            panic!("{asks:?}");
        };
        let reads = |actions: &[Action]| {
            let is_read = |action: &&Action| matches!(action, Action::ReadTiles { .. });
            actions.iter().filter(is_read).count()
        };
        let actions = alone.answer(ask, Answer::Notes(Notes::new(vec![theirs])));
        let [(ask, Question::Challenge(_))] = asked(&actions)[..] else {
            panic!("{actions:?}");
        };
        let mut read = [reads(&actions), 0, 0, 0, 0];
        if answers {
            read[1] = reads(&alone.answer(ask, Answer::Nothing));
        }
        read[2] = reads(&alone.run(4));
        if brings {
            alone.cosign(&log.note(0, 20));
        }
        read[3] = reads(&alone.run(4));
        read[4] = reads(&alone.run(23));
        let expected = match (size, answers, brings) {
            (_, _, true) => [0; 5],
            (5, true, _) => [0, 1, 0, 0, 0],
            (_, true, _) => [0, 0, 0, 1, 0],
            (_, false, _) => [0, 0, 0, 0, 1],
        };
        assert_eq!(read, expected, "{size} {answers} {brings}");
    }
}

/// A head of the size of ours cannot be opened, and does not keep the others from the tiles.
// Spec: GSP-39
#[test]
fn a_head_that_cannot_be_opened_does_not_stop_the_others() {
    let mut world = World::new(1, 1, 1);
    let stray = world.logs[0].sign(leaf_head(20, 1));
    world.rotate(0);
    world.set_standing(0, Standing::Retired);
    assert!(world.submit(0, 0, 0, 20));
    world.observe(0, stray);
    world.logs[0].tiles = Tiles::Refused;
    let late = world.logs[0].note(0, 15);
    world.observe(0, late.clone());
    world.rounds(5);
    world.logs[0].tiles = Tiles::Open;
    world.run(LONG);
    let origin = world.logs[0].origin.clone();
    assert_eq!(world.witnesses[0].node.phase(&origin, &late.head()), None);
    assert_eq!(world.cosigning(0, 0), Cosigning::Free);
}

/// A log is held by a stray head of a stolen key. When the key is retired, the hold ends.
// Spec: GSP-42
#[test]
fn a_hold_ends_when_its_key_is_retired() {
    let mut world = World::new(1, 1, 1);
    let stray = world.logs[0].sign(leaf_head(30, 1));
    world.rotate(0);
    assert!(world.submit(0, 0, 0, 20));
    world.observe(0, stray);
    world.run(LONG);
    assert!(matches!(world.cosigning(0, 0), Cosigning::Held { .. }));
    world.set_standing(0, Standing::Retired);
    assert_eq!(world.cosigning(0, 0), Cosigning::Free);
    let released = |deed: &crate::network::Deed| matches!(deed.action, Action::Release { .. });
    assert!(world.deeds.iter().any(released));
}

/// What was confirmed of a history that we left is not confirmed any more.
// Spec: GSP-32, GSP-53
#[test]
fn a_confirmed_head_is_one_of_our_history() {
    let mut world = World::with(1, 2, 1, |config| config.quorum = 1, |_| {});
    let fork = world.logs[0].fork(0, 10);
    assert!(world.submit(0, 0, 0, 10));
    assert!(world.submit(1, 0, 0, 10));
    assert!(world.submit(1, 0, fork, 15));
    world.rounds(5);
    let origin = world.logs[0].origin.clone();
    let theirs = world.logs[0].head(fork, 15);
    let confirmed = |world: &World| world.witnesses[0].node.confirmed(&origin);
    assert_eq!(confirmed(&world).map(|(head, _)| head), Some(theirs));
    assert!(world.submit(0, 0, 0, 20));
    assert_ne!(confirmed(&world).map(|(head, _)| head), Some(theirs));
    world.rounds(6);
    assert!(world.is_convicted(0, 0));
    assert_eq!(confirmed(&world), None);
}

/// A held log that is convicted is not released before it is stopped.
// Spec: GSP-42, GSP-44
#[test]
fn a_conviction_releases_nothing() {
    let mut world = World::new(1, 1, 1);
    let fork = world.logs[0].fork(0, 5);
    assert!(world.submit(0, 0, 0, 20));
    let stray = world.logs[0].sign(leaf_head(30, 1));
    world.observe(0, stray);
    world.run(LONG);
    assert!(matches!(world.cosigning(0, 0), Cosigning::Held { .. }));
    let other = world.logs[0].note(fork, 20);
    world.observe(0, other);
    world.rounds(1);
    assert!(world.is_convicted(0, 0));
    let released = |deed: &crate::network::Deed| matches!(deed.action, Action::Release { .. });
    assert!(!world.deeds.iter().any(released));
}

/// Logs whose heads always differ a little get no more than their share of a round's notes.
// Spec: GSP-34
#[test]
fn every_log_has_its_turn_to_be_fetched() {
    let mut world = World::with(1, 2, 16, |config| config.notes_per_round = 4, |_| {});
    world.through_bytes = false;
    world.asks[1] = false;
    let mut logs: Vec<usize> = (0..16).collect();
    logs.sort_by_key(|log| world.logs[*log].origin.hash());
    let last = logs.pop().unwrap();
    let fork = world.logs[last].fork(0, 5);
    let mut size = 10;
    for round in 0..25 {
        for log in &logs {
            world.submit(0, *log, 0, size);
            world.submit(1, *log, 0, size + 1);
        }
        if round == 3 {
            assert!(world.submit(0, last, 0, 10));
            assert!(world.submit(1, last, fork, 13));
        }
        size += 2;
        world.rounds(1);
    }
    assert!(world.is_convicted(0, last));
}

/// Nobody has the one opening that joins a head to ours, and somebody has two that do.
// Spec: GSP-39, GSP-42
#[test]
fn an_honest_log_is_freed_by_openings_of_openings() {
    let mut world = World::with(1, 2, 1, |_| {}, |log| log.tiles = false);
    world.asks[1] = false;
    for size in [10, 15, 18, 20] {
        assert!(world.submit(1, 0, 0, size));
    }
    assert!(world.submit(0, 0, 0, 10));
    assert!(world.submit(0, 0, 0, 20));
    let late = world.logs[0].note(0, 15);
    world.observe(0, late);
    world.run(LONG);
    assert_eq!(world.cosigning(0, 0), Cosigning::Free);
    let [_, open, _, _] = world.witnesses[0].node.counts();
    assert_eq!(open, 0);
}

/// A log that grows faster than peers ask shows its newest head to them, once.
// Spec: GSP-22
#[test]
fn a_head_that_is_gone_is_answered_with_the_newest() {
    let mut log = SimLog::new("log.example", 1);
    let mut alone = Alone::new(&[&log], |_| {}, |_| {});
    for size in 10..30 {
        alone.cosign(&log.note(0, size));
    }
    let salt = Random([6; 16]);
    let gone = log.note(0, 10).head();
    let wanted = Wanted {
        origin: OriginId::of(&log.origin),
        size: gone.size,
        tag: Tag::of(&salt, &log.origin, &gone),
    };
    let fetch = Fetch::new(salt, vec![wanted; 256]).unwrap();
    let notes = alone.node.notes(&fetch).into_vec();
    let heads: Vec<TreeHead> = notes.iter().map(SignedCheckpoint::head).collect();
    assert_eq!(heads, [log.head(0, 29)]);
}

/// Lines in strangers' names can be made by anybody, as many as they like: no copy is mailed for
/// other ones.
// Spec: EVI-51, GSP-45
#[test]
fn other_strangers_lines_make_no_better_copy() {
    let mut log = SimLog::new("log.example", 1);
    let fork = log.fork(0, 5);
    let mut alone = Alone::new(&[&log], |_| {}, |_| {});
    let notes = [0, fork].map(|branch| log.note(branch, 10));
    let mut stores = 0;
    for copy in (10..90).rev() {
        let [one, other] = notes.clone().map(|note| {
            let strangers: Vec<SignatureLine> = (0..16)
                .map(|line| {
                    let name = KeyName::parse(&format!("s{copy}.{line:02}.example")).unwrap();
                    SignatureLine::new(name, KeyId::new([1; 4]), vec![1; 64]).unwrap()
                })
                .collect();
            note.with_signatures(&[0], &strangers).unwrap()
        });
        let (_, actions) = alone.submit(Evidence::same_size(one, other).unwrap());
        stores += stored(&actions);
    }
    assert!(stores <= 2, "{stores}");
}

/// Who sent a stripped copy gets the whole one as well.
// Spec: GSP-45, EVI-53
#[test]
fn who_sent_a_stripped_copy_gets_the_whole_one() {
    let mut world = World::new(1, 3, 1);
    world.witnesses[2].conduct = Conduct::Silent;
    world.asks[2] = false;
    let fork = world.logs[0].fork(0, 5);
    let notes = [0, fork].map(|branch| world.logs[0].note(branch, 10));
    let time = world.moment().seconds();
    let [one, other] = notes.clone();
    // It is found in the list, and not in the mail.
    world.apart.insert((1, 0));
    world.hand_in(1, Evidence::same_size(one, other).unwrap());
    world.rounds(3);
    assert_eq!(world.kinds(0), [Kind::SameSize]);
    world.apart.clear();
    world.run(600);
    let [one, other] = notes.map(|note| world.witnesses[2].cosigner.cosign(&note, time));
    let full = Evidence::same_size(one, other).unwrap();
    world.hand_in(0, full);
    world.rounds(3);
    let liar = world.witnesses[2].name.clone();
    assert!(world.guilty(0).contains(&liar));
    assert!(world.guilty(1).contains(&liar));
}

/// A log that is held, and every head of which that is open is suspect, signs ever larger ones:
/// none takes the place of what holds it. What another witness cosigned comes in all the same.
// Spec: GSP-33
#[test]
fn no_head_that_only_its_log_signed_replaces_a_suspect() {
    let mut log = SimLog::new("log.example", 1);
    let fork = log.fork(0, 5);
    let mut alone = Alone::new(&[&log], |config| config.unresolved = 4, |_| {});
    alone.cosign(&log.note(0, 20));
    let suspects = [30, 31, 35, 33].map(|size| log.sign(leaf_head(size, 1)));
    for suspect in &suspects {
        assert!(matches!(alone.observe(suspect.clone()), Reply::Pending));
    }
    alone.run(LONG);
    let phase = |alone: &Alone, note: &SignedCheckpoint| {
        let phase = alone.node.phase(&log.origin, &note.head());
        phase.filter(|phase| *phase >= Phase::Suspect)
    };
    for larger in 40..80 {
        alone.observe(log.sign(leaf_head(larger, 1)));
        alone.run(30);
        for suspect in &suspects {
            assert!(phase(&alone, suspect).is_some(), "{:?}", suspect.head());
        }
    }
    let mut honest = log.clone();
    let theirs = honest.note(fork, 32);
    let theirs = alone.peer.1.cosign(&theirs, Moment(START).seconds());
    assert!(matches!(alone.observe(theirs.clone()), Reply::Pending));
    assert!(alone.node.phase(&log.origin, &theirs.head()).is_some());
    // The first that was seen holds the log, and the largest and the smallest are halves of proofs.
    for place in [0, 2] {
        assert!(phase(&alone, &suspects[place]).is_some());
    }
}

/// A restart with a suspect head says at once what stands, and not when something happens to the
/// log: that may be never.
// Spec: GSP-42, GSP-46, GSP-86
#[test]
fn a_hold_that_was_put_back_is_told() {
    let mut log = SimLog::new("log.example", 1);
    let suspect = log.sign(leaf_head(30, 1));
    let record = |phase| LogRecord {
        top: None,
        open: vec![OpenRecord {
            note: suspect.clone().into(),
            phase,
            seen: Moment(START),
            since: Moment(START),
            tried: [1, 1],
        }],
    };
    for phase in [Phase::Suspect, Phase::Unprovable] {
        let mut alone = Alone::new(&[&log], |_| {}, |_| {});
        let stands = alone.node.restore_log(record(phase), Moment(START));
        let [
            Action::Hold { suspect: head, .. },
            Action::Alarm { alarm, raised },
        ] = &stands[..]
        else {
            panic!("{stands:?}");
        };
        assert_eq!(*head, suspect.head());
        let origin = log.origin.clone();
        assert_eq!(alarm, &Alarm::Suspect { origin });
        assert!(raised);
        assert!(alone.node.alarms().any(|raised| raised == alarm));
        // It is told once, and its end is.
        let again = alone.cosign(&log.note(0, 20));
        let told = |action: &Action| matches!(action, Action::Hold { .. } | Action::Alarm { .. });
        assert!(!again.iter().any(told), "{again:?}");
    }
    let mut alone = Alone::new(&[&log], |_| {}, |_| {});
    let pending = alone
        .node
        .restore_log(record(Phase::Pending), Moment(START));
    assert!(pending.is_empty(), "{pending:?}");
    let mut alone = Alone::new(&[&log], |_| {}, |log| log.hold = false);
    let unheld = alone
        .node
        .restore_log(record(Phase::Suspect), Moment(START));
    assert!(matches!(unheld[..], [Action::Alarm { .. }]), "{unheld:?}");
}

/// A suspect stays a suspect until the time is over, however the clock of the test runs.
#[test]
fn the_times_of_the_review_fit_the_defaults() {
    let config = Config::new(Random([0; 16]));
    let most = config.suspect_after + config.round * (config.grace_rounds + 2);
    assert!(Duration::from_secs(LONG) > most);
}
