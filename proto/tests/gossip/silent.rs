//! What a hostile reader found: a feed that is never given, and a note that was forgotten.

use std::time::Duration;

use jurat_proto::gossip::node::{Alarm, Answer, Cosigning, Failure, Question};
use jurat_proto::gossip::{Random, State, Statement};
use jurat_proto::tree::TreeHead;

use crate::actors::SimLog;
use crate::alone::{Alone, asked};

// Spec: GSP-42, EVI-55
#[test]
fn two_heads_of_an_old_size_are_laid_beside_each_other_though_the_note_of_one_was_forgotten() {
    for known_first in [false, true] {
        let mut log = SimLog::new("log.example", 1);
        let fork = log.fork(0, 5);
        let mut alone = Alone::new(&[&log], |_| {}, |_| {});
        for to in 10..=30 {
            alone.cosign(&log.note(0, to));
            alone.now += 1_000;
        }
        let (known, other) = (log.note(0, 12), log.note(fork, 12));
        if known_first {
            alone.observe(known.clone());
        }
        alone.observe(other);
        alone.observe(known);
        let standing = alone.node.cosigning(&log.origin);
        assert!(
            matches!(standing, Cosigning::Convicted { .. }),
            "{known_first} {standing:?}"
        );
    }
}

// Spec: GSP-173
#[test]
fn a_peer_that_gives_its_state_and_never_its_feed_is_told_as_silent() {
    let busy = Failure::Busy {
        wait: Duration::from_secs(30),
    };
    for failure in [Failure::Malformed, busy, Failure::Unreachable] {
        let log = SimLog::new("log.example", 1);
        let mut alone = Alone::new(&[&log], |_| {}, |_| {});
        for _ in 0..7_200 {
            let mut asks = asked(&alone.run(1));
            while let Some((ask, question)) = asks.pop() {
                let answer = match question {
                    Question::State { nonce } => {
                        let state = State {
                            name: alone.peer.0.vkey().name().clone(),
                            epoch: Random([5; 16]),
                            seq: 7,
                            time: alone.seconds(),
                            rows: TreeHead::empty(),
                            evidence: TreeHead::empty(),
                            nonce: Some(nonce),
                        };
                        Answer::State(Box::new(alone.peer.0.say(Statement::State(state))))
                    }
                    Question::Heads { .. } => Answer::Failed(failure),
                    _ => Answer::Nothing,
                };
                asks.extend(asked(&alone.answer(ask, answer)));
            }
        }
        let alarms: Vec<_> = alone.node.alarms().collect();
        let is_silent = |alarm: &Alarm| matches!(alarm, Alarm::PeerSilent { .. });
        assert!(
            alarms.iter().any(|alarm| is_silent(alarm)),
            "{failure:?} {alarms:?}"
        );
    }
}
