//! Whatever logs sign and strangers send, what a node keeps has its bounds.

use std::time::Duration;

use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::evidence::{Evidence, Kind};
use jurat_proto::gossip::node::{
    Action, Answer, Config, Dice as _, Event, Failure, Moment, Question,
};
use jurat_proto::gossip::{
    Catalogue, CatalogueEntry, Feed, Flags, Notes, Opening, OriginId, Page, Random, Row, State,
    Statement, Tag,
};
use jurat_proto::hash::leaf_hash;
use jurat_proto::tree::{TreeHead, TreeSize};

use crate::actors::{Chance, SimLog, Tiles, leaf_head, size};
use crate::alone::Alone;
use crate::network::{World, under_seeds};

/// P5, for what anybody sends.
// Spec: GSP-33, GSP-44, GSP-60
#[test]
fn p5_what_is_kept_is_bounded_whatever_comes() {
    under_seeds(0..3, |seed| {
        let mut chance = Chance(seed);
        let mut world = World::new(seed, 2, 3);
        world.through_bytes = false;
        for log in &mut world.logs {
            log.fork(0, 3);
            log.fork(0, 8);
            log.tiles = Tiles::Refused;
        }
        for _ in 0..3_000 {
            let log = usize::try_from(chance.below(3)).unwrap();
            let branch = usize::try_from(chance.below(3)).unwrap();
            let to = 1 + chance.below(60);
            match chance.below(8) {
                0 => {
                    world.submit(0, log, 0, to);
                }
                1 | 2 => {
                    let note = world.logs[log].note(branch, to);
                    world.observe(0, note);
                }
                3 | 4 => {
                    let last = u8::try_from(chance.below(250)).unwrap();
                    let note = world.logs[log].sign(leaf_head(1 + chance.below(1 << 40), last));
                    world.observe(0, note);
                }
                5 => {
                    // Rarely enough that heads stay open as well.
                    let note = world.logs[log].note(branch, 60);
                    world.logs[log].tiles = Tiles::Open;
                    let opening: Option<Opening> = world.logs[log].open(0, size(to), &note);
                    world.logs[log].tiles = Tiles::Refused;
                    if chance.percent(2)
                        && let Some(opening) = opening
                    {
                        world.happen(0, Event::ProofSeen(Box::new(opening)));
                    }
                }
                6 => {
                    let one = world.logs[log].note(0, to);
                    let other = world.logs[log].note(branch, to);
                    if chance.percent(2)
                        && let Ok(evidence) = Evidence::same_size(one, other)
                    {
                        world.hand_in(0, evidence);
                    }
                }
                _ => world.run(chance.below(20)),
            }
            let node = &world.witnesses[0].node;
            let [logs, open, ring, evidence] = node.counts();
            assert!(open <= 16 * logs, "{open}");
            assert!(ring <= 64 * logs, "{ring}");
            // Two kinds of fork, one key a log; and nobody but logs signs here.
            assert!(evidence <= 2 * 4 * logs, "{evidence}");
            assert!(node.alarms().count() <= 40, "{}", node.alarms().count());
            for log in &world.logs {
                if let Some(record) = node.record(&log.origin) {
                    assert!(record.to_bytes().len() <= 17 * 1_000);
                }
            }
        }
    });
}

/// P5, for what a peer answers: anything that has the form of an answer, signed or not, true or
/// not, in any order. What is kept, what is asked and what is told has its bounds.
// Spec: GSP-31, GSP-33, GSP-34, GSP-44, GSP-60
#[test]
fn p5_what_a_peer_answers_fills_no_more_than_its_share() {
    under_seeds(0..1, |seed| {
        let mut chance = Chance(seed ^ 0xb0d5);
        let mut logs: Vec<SimLog> = (0..3)
            .map(|index| SimLog::new(&format!("log{index}.example"), 1_000 + index))
            .collect();
        for log in &mut logs {
            log.fork(0, 3);
            log.fork(0, 8);
        }
        let all: Vec<&SimLog> = logs.iter().collect();
        let impatient = |config: &mut Config| {
            config.round = Duration::from_secs(5);
            config.backoff_max = Duration::from_secs(5);
        };
        let mut alone = Alone::new(&all, impatient, |log| log.tiles = true);
        for log in &mut logs {
            alone.cosign(&log.note(0, 12));
        }
        let mut hostile = Hostile {
            chance: Chance(seed),
            logs,
        };
        let (mut largest, mut questions, mut files) = (0, 0, 0);
        for second in 1..1_500_u64 {
            let mut todo = alone.run(1);
            if chance.percent(20) {
                let note = hostile.note();
                alone.observe(note);
            }
            let mut at_once = 0;
            while let Some(action) = todo.pop() {
                match action {
                    Action::Ask { ask, question, .. } => {
                        questions += 1;
                        at_once += 1;
                        let answer = hostile.answer(&alone, &question);
                        todo.extend(alone.answer(ask, answer));
                    }
                    Action::ReadTiles { old, note } => {
                        let opening = hostile.tiles(old, &note);
                        todo.extend(alone.happen(Event::TilesRead {
                            origin: note.origin().clone(),
                            old,
                            of: note.head(),
                            opening: opening.map(Box::new),
                        }));
                    }
                    Action::StoreEvidence { evidence, .. } => {
                        files += 1;
                        let id = evidence.id();
                        todo.extend(alone.happen(Event::EvidenceStored { id }));
                    }
                    _ => {}
                }
            }
            // The queue, what a round begins with, its pages, and what its answers lead to.
            assert!(at_once <= 200, "{at_once} questions without a pause");
            let [_, open, ring, evidence] = alone.node.counts();
            assert!(open <= 16 * 3 && ring <= 64 * 3, "{open}, {ring}");
            // Kinds that convict, four each, against the log, its peer, and the peer's gossip key.
            assert!(evidence <= 4 * 4 * 3 * 3, "{evidence}");
            // Evidence is told once, and once more when it convicts its log after all.
            assert!(alone.node.alarms().count() <= 3 * 4 + 5 + 2 * evidence);
            if second % 100 == 0 {
                let (page, rows) = alone.node.page(None, 0, 512, Moment(alone.now));
                assert!(rows.len() <= 3 * 8, "{}", rows.len());
                assert!(page.next <= page.seq);
                // All that is held, as far as it can be printed.
                largest = largest.max(format!("{:?}", alone.node).len());
            }
        }
        assert!(questions > 500, "{questions}: it was asked");
        assert!(files > 0, "something was proven");
        assert!(largest < 4_000_000, "{largest}");
    });
}

/// A peer that answers anything.
struct Hostile {
    chance: Chance,
    logs: Vec<SimLog>,
}

impl Hostile {
    fn log(&mut self) -> usize {
        usize::try_from(self.chance.below(3)).unwrap()
    }

    /// What a log signed: of a history, or of none.
    fn head(&mut self) -> (usize, TreeHead) {
        let (log, branch) = (self.log(), self.log());
        let head = if self.chance.percent(50) {
            let last = u8::try_from(self.chance.below(250)).unwrap();
            leaf_head(1 + self.chance.below(1 << 40), last)
        } else {
            let to = 1 + self.chance.below(40);
            self.logs[log].head(branch, to)
        };
        (log, head)
    }

    fn note(&mut self) -> SignedCheckpoint {
        let (log, head) = self.head();
        self.logs[log].sign(head)
    }

    fn tiles(&mut self, old: TreeSize, note: &SignedCheckpoint) -> Option<Opening> {
        // Rarely, or every log would be convicted soon.
        if !self.chance.percent(1) || note.head().size.get() > 40 {
            return None;
        }
        let mut logs = self.logs.iter();
        let log = logs.find(|log| log.origin == *note.origin())?;
        log.open(0, old, note)
    }

    fn answer(&mut self, to: &Alone, question: &Question) -> Answer {
        if self.chance.percent(10) {
            return match self.chance.below(4) {
                0 => Answer::Failed(Failure::Unreachable),
                1 => Answer::Failed(Failure::Malformed),
                2 => Answer::Failed(Failure::Busy {
                    wait: Duration::from_secs(self.chance.below(10)),
                }),
                _ => Answer::Nothing,
            };
        }
        match question {
            Question::State { nonce } => {
                let state = State {
                    name: to.peer.0.vkey().name().clone(),
                    epoch: Random([u8::try_from(self.chance.below(4)).unwrap(); 16]),
                    seq: self.chance.below(1 << 20),
                    time: to.seconds(),
                    rows: self.head().1,
                    evidence: leaf_head(1 + self.chance.below(9), 1),
                    nonce: Some(*nonce),
                };
                Answer::State(Box::new(to.peer.0.say(Statement::State(state))))
            }
            Question::Heads { epoch, since } => self.page(to, *epoch, *since),
            Question::Fetch(_) => {
                let count = self.chance.below(40);
                Answer::Notes(Notes::new((0..count).map(|_| {
                    let note = self.note();
                    if self.chance.percent(30) {
                        to.peer.1.cosign(&note, to.seconds())
                    } else {
                        note
                    }
                })))
            }
            Question::Challenge(_) | Question::Opening { .. } => {
                let (log, branch) = (self.log(), self.log());
                let (old, size) = (1 + self.chance.below(20), 20 + self.chance.below(20));
                let note = self.logs[log].note(branch, size);
                let opening = self.logs[log].open(0, crate::actors::size(old), &note);
                match opening.filter(|_| self.chance.percent(2)) {
                    Some(opening) => Answer::Opening(Box::new(opening)),
                    None => Answer::Nothing,
                }
            }
            Question::Catalogue { since } => {
                let count = self.chance.below(1_024);
                let entries = (1..=count).map(|number| CatalogueEntry {
                    number: since + number,
                    id: leaf_hash(&self.chance.random().0),
                    kind: Kind::Opening,
                    origin: None,
                    file: leaf_hash(&self.chance.random().0),
                    time: to.seconds(),
                });
                Answer::Catalogue(Catalogue::new(*since, entries.collect()).unwrap())
            }
            Question::Evidence { .. } => {
                let log = self.log();
                let size = 9 + self.chance.below(30);
                let [one, other] = [0, 2].map(|branch| self.logs[log].note(branch, size));
                match Evidence::same_size(one, other) {
                    Ok(evidence) if self.chance.percent(1) => Answer::Evidence(Box::new(evidence)),
                    _ => Answer::Nothing,
                }
            }
            Question::Mail(_) => Answer::Taken,
        }
    }

    fn page(&mut self, to: &Alone, epoch: Random, since: u64) -> Answer {
        let salt = self.chance.random();
        let rows: Vec<Row> = (0..self.chance.below(300))
            .map(|_| {
                let (log, head) = self.head();
                let of = self.logs[log].origin.clone();
                let origin = if self.chance.percent(30) {
                    OriginId(self.chance.roll().to_be_bytes())
                } else {
                    OriginId::of(&of)
                };
                Row {
                    origin,
                    size: head.size,
                    tag: Tag::of(&salt, &of, &head),
                    time: to.seconds(),
                    flags: Flags {
                        newest_cosigned: self.chance.percent(20),
                        unresolved: self.chance.percent(20),
                    },
                }
            })
            .collect();
        let next = since + self.chance.below(3);
        let page = Page {
            name: to.peer.0.vkey().name().clone(),
            epoch,
            seq: next + self.chance.below(1 << 20),
            since,
            next,
            time: to.seconds(),
            salt,
            rows: Page::rows_head(&rows).unwrap(),
        };
        let said = to.peer.0.say(Statement::Page(page));
        Answer::Heads(Box::new(Feed::new(rows, said).unwrap()))
    }
}
