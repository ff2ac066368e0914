//! Who is asked for an opening, when, and when a log's tiles are read instead.

use std::collections::BTreeSet;
use std::time::Duration;

use jurat_proto::gossip::node::{Action, Answer, AskId, Config, Event, Moment, Question};
use jurat_proto::gossip::{Flags, Notes, OriginId, Random, Row, Tag};
use jurat_proto::key::KeyName;

use crate::actors::{SimLog, size};
use crate::alone::{Alone, asked};
use crate::network::START;

/// The peers besides the one that shows its heads.
const OTHERS: [&str; 4] = ["a.example", "b.example", "c.example", "d.example"];

/// A witness that holds a head of others which an opening joined to its own.
fn joined(log: &mut SimLog, configure: impl Fn(&mut Config)) -> Alone {
    let mut alone = Alone::new(&[&*log], configure, |log| log.tiles = true);
    alone.cosign(&log.note(0, 10));
    let theirs = log.note(0, 15);
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
    let actions = alone.answer(ask, Answer::Notes(Notes::new(vec![theirs.clone()])));
    let [(ask, Question::Challenge(_))] = asked(&actions)[..] else {
        panic!("{actions:?}");
    };
    let opened = Box::new(log.open(0, size(10), &theirs).unwrap());
    alone.answer(ask, Answer::Opening(opened));
    assert_eq!(alone.node.phase(&log.origin, &theirs.head()), None);
    for other in OTHERS {
        alone.add_peer(other);
    }
    alone
}

/// Which peers are asked about heads: `(peer, ask)`.
fn asked_whom(actions: &[Action]) -> Vec<(KeyName, AskId)> {
    let asks = actions.iter().filter_map(|action| match action {
        Action::Ask {
            peer,
            ask,
            question: Question::Challenge(_) | Question::Opening { .. },
        } => Some((peer.clone(), *ask)),
        _ => None,
    });
    asks.collect()
}

fn reads(actions: &[Action]) -> usize {
    let is_read = |action: &&Action| matches!(action, Action::ReadTiles { .. });
    actions.iter().filter(is_read).count()
}

/// The largest head of others was joined to ours, and ours grew past it: who cosigned both can open
/// it, as soon as the log has brought the new head there, too. Who showed it is asked first then,
/// and tiles are not read.
// Spec: GSP-32, GSP-170, GSP-200
#[test]
fn what_was_joined_to_an_earlier_head_is_asked_of_its_peers_a_little_later() {
    let mut log = SimLog::new("log.example", 1);
    let mut alone = joined(&mut log, |_| {});
    let theirs = log.note(0, 15);
    let mut actions = alone.cosign(&log.note(0, 20));
    assert!(alone.node.phase(&log.origin, &theirs.head()).is_some());
    actions.extend(alone.run(4));
    assert_eq!((asked_whom(&actions).len(), reads(&actions)), (0, 0));
    let actions = alone.run(1);
    let [(peer, ask)] = &asked_whom(&actions)[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(peer, alone.peer.0.vkey().name());
    let ours = log.note(0, 20);
    let opened = log.open(0, size(15), &ours).unwrap();
    let mut actions = alone.answer(*ask, Answer::Opening(Box::new(opened)));
    assert_eq!(alone.node.phase(&log.origin, &theirs.head()), None);
    actions.extend(alone.run(20));
    assert_eq!((asked_whom(&actions).len(), reads(&actions)), (0, 0));
}

/// Two different peers are asked in vain before tiles are read, and no third one in that round.
/// Where nothing waits for logs, the first is asked at once.
// Spec: GSP-170, GSP-200
#[test]
fn two_peers_are_asked_before_tiles_are_read() {
    let mut log = SimLog::new("log.example", 1);
    let mut alone = joined(&mut log, |_| {});
    alone.cosign(&log.note(0, 20));
    let actions = alone.run(5);
    let [(first, ask)] = &asked_whom(&actions)[..] else {
        panic!("{actions:?}");
    };
    let answered = |alone: &mut Alone, (peer, ask): (&KeyName, AskId)| {
        let (peer, answer) = (peer.clone(), Answer::Nothing);
        alone.happen(Event::Answer { peer, ask, answer })
    };
    let actions = answered(&mut alone, (first, *ask));
    let [(second, ask)] = &asked_whom(&actions)[..] else {
        panic!("{actions:?}");
    };
    assert_ne!(first, second);
    assert_eq!(reads(&actions), 0);
    let mut actions = answered(&mut alone, (second, *ask));
    assert_eq!(reads(&actions), 1);
    actions.extend(alone.run(10));
    assert_eq!((asked_whom(&actions).len(), reads(&actions)), (0, 1));

    let mut alone = joined(&mut log, |config| config.tiles_after = Duration::ZERO);
    let actions = alone.cosign(&log.note(0, 20));
    assert_eq!(asked_whom(&actions).len(), 1);
}

/// Where nobody is known to have a head, each turn is another peer's.
// Spec: GSP-39
#[test]
fn who_may_have_a_head_is_asked_after_one_another() {
    let mut log = SimLog::new("log.example", 1);
    let few = |config: &mut Config| {
        config.ask_all_up_to = 0;
        config.ask = 1;
        config.ask_evidence = 0;
        config.answer_timeout = Duration::from_secs(1);
    };
    let mut alone = Alone::new(&[&log], few, |_| {});
    for other in OTHERS {
        alone.add_peer(other);
    }
    alone.cosign(&log.note(0, 10));
    alone.observe(log.note(0, 20));
    let mut whom = Vec::new();
    for _ in 0..10 * 60 {
        let actions = alone.run(1);
        for (peer, ask) in asked_whom(&actions) {
            whom.push(peer.clone());
            let answer = Answer::Nothing;
            alone.happen(Event::Answer { peer, ask, answer });
        }
    }
    let first: BTreeSet<&KeyName> = whom.iter().take(4).collect();
    assert_eq!(first.len(), 4, "{whom:?}");
}
