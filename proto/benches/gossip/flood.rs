//! What a node keeps when a log signs, and strangers and peers send, as much as they can.

use std::time::Instant;

use jurat_proto::evidence::Evidence;
use jurat_proto::gossip::node::{Config, Dice as _, Event, Moment, Node, RequestId, Strict};

use crate::actors::{Chance, SimLog, leaf_head};
use crate::crowd::{Cast, START};

/// How many heads that no tree has a log signs, and how many contradictions are handed in:
/// scenario 24 has a million.
const HEADS: u64 = 100_000;
const FILES: u64 = 1_000_000;
const LOGS: usize = 8;

pub(crate) fn measure() {
    let logs = (0..LOGS)
        .map(|index| SimLog::new(&format!("log{index}.example"), 5_000_000 + index as u64));
    let cast = Cast::new(32, logs.collect());
    let mut chance = Chance(0);
    let config = Config::new(chance.random());
    let (own, roster) = (cast.own(0), cast.roster.clone());
    let mut node = Node::with_roster(config, own, roster, chance.random(), Moment(START));
    let mut now = START;
    let before = crate::memory("VmRSS");
    let began = Instant::now();
    let mut longest = 0.0_f64;
    for number in 0..HEADS + FILES {
        now += 20;
        let log = &cast.logs[usize::try_from(chance.below(LOGS as u64)).unwrap()];
        let last = u8::try_from(number % 251).unwrap();
        let head = leaf_head(1 + chance.below(1 << 40), last);
        let request = RequestId(number);
        // The evidence comes last: who is convicted sends no heads any more.
        let event = if number < HEADS {
            let note = log.sign(head);
            Event::Observed { request, note }
        } else {
            let other = leaf_head(head.size.get(), last.wrapping_add(1));
            let evidence = Evidence::same_size(log.sign(head), log.sign(other)).unwrap();
            Event::EvidenceReceived {
                request: Some(request),
                evidence: Box::new(evidence),
            }
        };
        let step = Instant::now();
        node.step(event, Moment(now), &mut chance, &Strict);
        longest = longest.max(step.elapsed().as_secs_f64());
        if number.is_multiple_of(50) {
            node.step(Event::Tick, Moment(now), &mut chance, &Strict);
        }
        if number + 1 == HEADS || number + 1 == HEADS + FILES {
            let [logs, open, ring, files] = node.counts();
            assert!(files <= 4 * LOGS, "{files} files of {LOGS} logs");
            println!(
                "flood,32,{LOGS},0,0,true,0,0,,,{:.2},{:.1},after {} messages: {logs} logs {open} \
                 open {ring} heads {files} files; the longest step {:.2} ms",
                began.elapsed().as_secs_f64(),
                crate::memory("VmRSS") - before,
                number + 1,
                longest * 1e3,
            );
        }
    }
}
