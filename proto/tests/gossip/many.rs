//! One node among many peers, each event brought by hand: whom it asks, what it reads of them, and
//! what it remembers.

use std::collections::{BTreeMap, BTreeSet};

use jurat_proto::evidence::Evidence;
use jurat_proto::gossip::node::{
    Action, Alarm, Answer, AskId, Config, Directory, Event, Failure, LogSettings, Moment, Node,
    Own, PeerSettings, Question, RequestId,
};
use jurat_proto::gossip::{Feed, Flags, OriginId, Page, Random, Row, State, Statement, Tag};
use jurat_proto::key::{KeyName, UnixSeconds};
use jurat_proto::tree::TreeHead;

use crate::actors::{Chance, Key, Memory, SimLog};
use crate::network::START;

const EPOCH: Random = Random([5; 16]);
const SALT: Random = Random([6; 16]);

struct Among {
    node: Node,
    cosigner: Key,
    peers: BTreeMap<KeyName, Key>,
    chance: Chance,
    memory: Memory,
    now: u64,
}

impl Among {
    fn new(peers: usize, logs: &[SimLog], operator: impl Fn(usize) -> String) -> Self {
        let gossip = Key::note("own.example", 1);
        let cosigner = Key::cosigner("own.example", 2);
        let keys =
            (0..peers).map(|peer| Key::note(&format!("peer{peer}.example"), 10 + peer as u64));
        let keys: Vec<Key> = keys.collect();
        let settings = keys.iter().enumerate().map(|(peer, key)| PeerSettings {
            name: key.vkey().name().clone(),
            gossip: vec![key.vkey()],
            cosigners: Vec::new(),
            operator: operator(peer),
            asked: true,
        });
        let known = logs
            .iter()
            .map(|log| LogSettings::new(log.origin.clone(), log.key.vkey()));
        let directory = Directory {
            own: Own {
                name: gossip.vkey().name().clone(),
                cosigners: vec![cosigner.vkey()],
                gossip: vec![gossip.vkey()],
            },
            logs: known.collect(),
            peers: settings.collect(),
        };
        let mut config = Config::new(Random([1; 16]));
        config.jitter_percent = 0;
        let named = |key: Key| (key.vkey().name().clone(), key);
        Self {
            node: Node::new(config, directory, Random([2; 16]), Moment(START)).unwrap(),
            cosigner,
            peers: keys.into_iter().map(named).collect(),
            chance: Chance(7),
            memory: Memory::default(),
            now: START,
        }
    }

    fn happen(&mut self, event: Event) -> Vec<(KeyName, AskId, Question)> {
        let now = Moment(self.now);
        let (chance, memory) = (&mut self.chance, &self.memory);
        let actions = self.node.step(event, now, chance, memory).into_iter();
        let asks = actions.filter_map(|action| match action {
            Action::Ask {
                peer,
                ask,
                question,
            } => Some((peer, ask, question)),
            _ => None,
        });
        asks.collect()
    }

    fn run(&mut self, seconds: u64) -> Vec<(KeyName, AskId, Question)> {
        let mut asks = Vec::new();
        for _ in 0..seconds {
            self.now += 1_000;
            asks.extend(self.happen(Event::Tick));
        }
        asks
    }

    fn cosign(&mut self, log: &mut SimLog, to: u64) {
        let time = Moment(self.now).seconds();
        let note = self.cosigner.cosign(&log.note(0, to), time);
        let grown_from = None;
        self.happen(Event::HeadCosigned {
            note,
            time,
            grown_from,
        });
    }

    fn answer(
        &mut self,
        peer: &KeyName,
        ask: AskId,
        answer: Answer,
    ) -> Vec<(KeyName, AskId, Question)> {
        let peer = peer.clone();
        self.happen(Event::Answer { peer, ask, answer })
    }

    fn state(&mut self, peer: &KeyName, ask: AskId, nonce: Random, seq: u64) -> Vec<Question> {
        let state = State {
            name: peer.clone(),
            epoch: EPOCH,
            seq,
            time: Moment(self.now).seconds(),
            rows: TreeHead::empty(),
            evidence: TreeHead::empty(),
            nonce: Some(nonce),
        };
        let said = self.peers[peer].say(Statement::State(state));
        let asks = self.answer(peer, ask, Answer::State(Box::new(said)));
        asks.into_iter().map(|(_, _, question)| question).collect()
    }

    /// Finds evidence of a fork at this size, and has it stored.
    fn find(&mut self, log: &mut SimLog, size: u64) {
        let fork = log.fork(0, 5);
        let [one, other] = [0, fork].map(|branch| log.note(branch, size));
        let evidence = Box::new(Evidence::same_size(one, other).unwrap());
        let id = evidence.id();
        let request = None;
        self.happen(Event::EvidenceReceived { request, evidence });
        self.happen(Event::EvidenceStored { id });
    }

    /// A round in which every peer that is asked shows these rows. What else it is asked then.
    fn round(&mut self, seq: u64, rows: &[Row]) -> Vec<Question> {
        self.round_of(seq, |_| rows.to_vec())
    }

    /// As [`Among::round`], each peer with rows of its own.
    fn round_of(&mut self, seq: u64, rows: impl Fn(&KeyName) -> Vec<Row>) -> Vec<Question> {
        let mut left = Vec::new();
        let mut asks = Vec::new();
        while asks.is_empty() {
            asks = self.run(1);
        }
        while let Some((peer, ask, question)) = asks.pop() {
            let name = peer.clone();
            let rows = rows(&name);
            let statement = match question {
                Question::State { nonce } => Statement::State(State {
                    name,
                    epoch: EPOCH,
                    seq,
                    time: Moment(self.now).seconds(),
                    rows: TreeHead::empty(),
                    evidence: TreeHead::empty(),
                    nonce: Some(nonce),
                }),
                Question::Heads { since, .. } => Statement::Page(Page {
                    name,
                    epoch: EPOCH,
                    seq,
                    since,
                    next: seq,
                    time: Moment(self.now).seconds(),
                    salt: SALT,
                    rows: Page::rows_head(&rows).unwrap(),
                }),
                other => {
                    left.push(other);
                    asks.extend(self.answer(&peer, ask, Answer::Nothing));
                    continue;
                }
            };
            let said = self.peers[&peer].say(statement);
            let answer = match said.statement() {
                Statement::State(_) => Answer::State(Box::new(said)),
                Statement::Page(_) => Answer::Heads(Box::new(Feed::new(rows, said).unwrap())),
            };
            asks.extend(self.answer(&peer, ask, answer));
        }
        left
    }
}

fn row(log: &mut SimLog, to: u64) -> Row {
    let head = log.head(0, to);
    Row {
        origin: OriginId::of(&log.origin),
        size: head.size,
        tag: Tag::of(&SALT, &log.origin, &head),
        time: UnixSeconds::new(START / 1_000).unwrap(),
        flags: Flags {
            newest_cosigned: true,
            unresolved: false,
        },
    }
}

fn logs(count: u64) -> Vec<SimLog> {
    let logs = (0..count).map(|log| SimLog::new(&format!("log{log}.example"), 1_000 + log));
    logs.collect()
}

fn alone(peer: usize) -> String {
    format!("operator {peer}")
}

/// Soon, with the same words, four times and each time later; then its peer fails, and the next
/// round asks, as often.
// Spec: GSP-82, GSP-112
#[test]
fn a_question_that_was_lost_is_asked_again_within_the_round() {
    let mut among = Among::new(1, &logs(1), alone);
    let mut nonces = Vec::new();
    for _ in 0..2 {
        let mut asks = among.run(1);
        for later in [1, 2, 4, 8, 44] {
            let [(peer, ask, Question::State { nonce })] = &asks[..] else {
                panic!("{asks:?}");
            };
            nonces.push(*nonce);
            let lost = Answer::Failed(Failure::Unreachable);
            assert!(among.answer(peer, *ask, lost).is_empty(), "not at once");
            let (wait, tick) = if later == 44 { (44, 0) } else { (later - 1, 1) };
            assert!(among.run(wait).is_empty(), "not before its time");
            asks = among.run(tick);
        }
    }
    assert!(nonces[..5].iter().all(|nonce| *nonce == nonces[0]));
    assert!(nonces[5..].iter().all(|nonce| *nonce == nonces[5]));
    assert_ne!(nonces[0], nonces[5]);
}

/// Mail that gets no answer is given up for a while, however long each answer is waited for: the
/// rounds go on.
// Spec: GSP-82, GSP-111
#[test]
fn mail_that_is_lost_stops_no_round() {
    let mut known = logs(1);
    let mut among = Among::new(1, &known, alone);
    among.find(&mut known[0], 10);
    let asks = among.run(1_200);
    let states = asks.iter();
    let states = states.filter(|(_, _, question)| matches!(question, Question::State { .. }));
    assert!(states.count() >= 5);
}

/// As many files as wait at most, and what is fetched has room still; and the other way round.
// Spec: GSP-111
#[test]
fn mail_takes_no_place_of_what_is_fetched() {
    let mut known = logs(20);
    let mut among = Among::new(1, &known, alone);
    for log in &mut known[1..] {
        for size in [10, 11, 12, 13] {
            among.find(log, size);
        }
    }
    among.cosign(&mut known[0], 10);
    let rows = [row(&mut known[0], 5)];
    let asks = among.round(1, &rows);
    let mails = asks.iter();
    let mails = mails.filter(|question| matches!(question, Question::Mail(_)));
    // One was out, besides.
    assert!((64..=65).contains(&mails.count()));
    let is_fetch = |question: &Question| matches!(question, Question::Fetch(_));
    assert_eq!(asks.iter().filter(|question| is_fetch(question)).count(), 1);
}

/// So many heads are open that the peer whose turn it is has no room: the next one is asked in its
/// place, and none waits a round longer.
// Spec: GSP-114
#[test]
fn who_has_no_room_for_a_question_passes_its_turn_on() {
    let mut known = logs(64);
    let mut among = Among::new(2, &known, alone);
    let mut asks = Vec::new();
    for log in &mut known {
        among.cosign(log, 10);
        let (request, note) = (RequestId(1), log.note(0, 5));
        asks.extend(among.happen(Event::Observed { request, note }));
    }
    let mut about = BTreeMap::new();
    while let Some((peer, ask, question)) = asks.pop() {
        let origin = match &question {
            Question::Challenge(note) => note.origin().clone(),
            Question::Opening { origin, .. } => origin.clone(),
            _ => panic!("{question:?}"),
        };
        *about.entry(origin).or_insert(0) += 1;
        asks.extend(among.answer(&peer, ask, Answer::Nothing));
    }
    assert_eq!(about.len(), 64);
}

/// Two by the order of the hour, from the beginning; one by chance, of which only the newest
/// changes are read; and three for nothing but their evidence.
// Spec: GSP-35, GSP-83
#[test]
fn of_a_peer_that_is_met_by_chance_the_newest_changes_are_read() {
    let mut among = Among::new(100, &logs(1), alone);
    let asks = among.run(1);
    assert_eq!(asks.len(), 6);
    let mut begins = Vec::new();
    for (peer, ask, question) in asks {
        let Question::State { nonce } = question else {
            panic!("{question:?}");
        };
        let questions = among.state(&peer, ask, nonce, 100_000);
        match questions[..] {
            [] => {}
            [Question::Heads { since, .. }] => begins.push(since),
            _ => panic!("{questions:?}"),
        }
    }
    begins.sort_unstable();
    assert_eq!(begins, [0, 0, 100_000 - 16_384]);
}

/// Who fails is asked besides the others, and does not take their place.
// Spec: GSP-35
#[test]
fn who_fails_does_not_take_the_place_of_others() {
    let mut among = Among::new(100, &logs(1), alone);
    // As long as enough are left that do not.
    for round in 0..8 {
        let mut nonces = BTreeSet::new();
        for _ in 0..60 {
            let mut asks = among.run(1);
            while let Some((peer, ask, question)) = asks.pop() {
                let Question::State { nonce } = question else {
                    panic!("{question:?}");
                };
                nonces.insert(nonce);
                among.answer(&peer, ask, Answer::Failed(Failure::Unreachable));
            }
        }
        let most = if round == 0 { 6 } else { 8 };
        assert!((6..=most).contains(&nonces.len()), "round {round}");
    }
}

/// By mail: to all from who found it, to some from who was told.
// Spec: GSP-45, GSP-84
#[test]
fn evidence_that_others_brought_is_passed_on_to_some() {
    let mut log = SimLog::new("log.example", 1_000);
    let fork = log.fork(0, 5);
    let [one, other] = [0, fork].map(|branch| log.note(branch, 10));
    let evidence = Evidence::same_size(one, other).unwrap();
    let id = evidence.id();
    let mailed = |peers: usize, request: Option<RequestId>| {
        let mut among = Among::new(peers, &[log.clone()], alone);
        let evidence = Box::new(evidence.clone());
        among.happen(Event::EvidenceReceived { request, evidence });
        let asks = among.happen(Event::EvidenceStored { id });
        let mails = asks.iter();
        let mails = mails.filter(|(_, _, question)| matches!(question, Question::Mail(_)));
        mails
            .map(|(peer, _, _)| peer)
            .collect::<BTreeSet<_>>()
            .len()
    };
    assert_eq!(mailed(100, None), 100, "found here");
    let passed_on = mailed(100, Some(RequestId(1)));
    assert!((20..=32).contains(&passed_on), "{passed_on}");
    assert_eq!(mailed(32, Some(RequestId(1))), 32, "they are few");
}

/// Nine witnesses of one operator confirm nothing, and do not hide the one of another.
// Spec: GSP-53, GSP-84
#[test]
fn many_witnesses_of_one_operator_hide_no_other() {
    for others in [0, 1] {
        let mut known = logs(1);
        let of_few = |peer: usize| alone(usize::from(peer >= 20));
        let mut among = Among::new(20 + others, &known, of_few);
        among.cosign(&mut known[0], 10);
        let rows = [row(&mut known[0], 10)];
        for _ in 0..2 {
            among.round(1, &rows);
            among.run(30);
        }
        let confirmed = among.node.confirmed(&known[0].origin);
        assert_eq!(confirmed.is_some(), others == 1);
    }
}

/// As many as one operator likes, with a larger head than the others, take one place.
// Spec: GSP-53, GSP-116
#[test]
fn witnesses_of_one_operator_take_one_place_of_those_that_agree() {
    let mut known = logs(1);
    let of_few = |peer: usize| alone(peer.saturating_sub(19));
    let mut among = Among::new(21, &known, of_few);
    among.cosign(&mut known[0], 10);
    among.cosign(&mut known[0], 11);
    let (small, large) = (row(&mut known[0], 10), row(&mut known[0], 11));
    let last = KeyName::parse("peer20.example").unwrap();
    among.round_of(1, |peer| vec![if *peer == last { small } else { large }]);
    let confirmed = among.node.confirmed(&known[0].origin).expect("two hold it");
    assert_eq!(confirmed.0.size.get(), 10);
}

/// A newest head that nobody confirms for an hour is told, and one operator is not enough.
// Spec: GSP-54
#[test]
fn a_head_that_is_not_confirmed_for_an_hour_is_an_alarm() {
    let mut known = logs(1);
    let mut among = Among::new(4, &known, |peer| alone(peer / 2));
    among.cosign(&mut known[0], 10);
    let origin = known[0].origin.clone();
    let lag = Alarm::AgreementLag { origin };
    let raised = |among: &Among| among.node.alarms().any(|alarm| *alarm == lag);
    let rows = [row(&mut known[0], 10)];
    let of_one = |peer: &KeyName| peer.as_str() < "peer2";
    let mut seq = 0;
    let began = among.now;
    while among.now < began + 3_500_000 {
        seq += 1;
        among.round_of(seq, |peer| rows[..usize::from(of_one(peer))].to_vec());
        assert!(!raised(&among), "not before");
    }
    for _ in 0..3 {
        seq += 1;
        among.round_of(seq, |peer| rows[..usize::from(of_one(peer))].to_vec());
    }
    assert!(raised(&among));
    for _ in 0..2 {
        seq += 1;
        among.round(seq, &rows);
    }
    assert!(!raised(&among));
}

/// What is not known is fetched at once, of some logs: first where the peer's head is no larger
/// than ours, so that it should be in our history.
// Spec: GSP-34
#[test]
fn heads_of_some_logs_are_fetched_at_once() {
    let mut known = logs(20);
    let mut among = Among::new(1, &known, alone);
    for log in &mut known {
        among.cosign(log, 10);
    }
    let rows: Vec<Row> = known
        .iter_mut()
        .enumerate()
        .map(|(index, log)| row(log, if index >= 10 { 5 } else { 20 }))
        .collect();
    let asks = among.round(1, &rows);
    let [Question::Fetch(fetch)] = &asks[..] else {
        panic!("{asks:?}");
    };
    let wanted: BTreeSet<OriginId> = fetch.rows().iter().map(|wanted| wanted.origin).collect();
    assert_eq!(wanted.len(), 16);
    assert!(rows[10..].iter().all(|row| wanted.contains(&row.origin)));
    among.run(30);
    // Each once: of the others in the next round, which is the second in which they are unknown.
    let asks = among.round(1, &rows);
    let [Question::Fetch(fetch)] = &asks[..] else {
        panic!("{asks:?}");
    };
    let rest = fetch.rows().iter().map(|wanted| wanted.origin);
    assert!(
        rows.iter()
            .all(|row| wanted.contains(&row.origin) || rest.clone().any(|id| id == row.origin))
    );
}

/// A log that was quiet shows one head, and one that is not those of a round.
// Spec: GSP-31, GSP-171
#[test]
fn heads_that_were_replaced_long_ago_are_not_offered() {
    let mut known = logs(1);
    let mut among = Among::new(1, &known, alone);
    for to in [10, 11, 12] {
        among.cosign(&mut known[0], to);
        among.now += 61_000;
    }
    let sizes = |among: &Among| {
        let (_, rows) = among.node.page(None, 0, 100, Moment(among.now));
        rows.iter().map(|row| row.size.get()).collect::<Vec<_>>()
    };
    assert_eq!(sizes(&among), [12]);
    for to in [13, 14, 15] {
        among.cosign(&mut known[0], to);
        among.now += 10_000;
    }
    assert_eq!(sizes(&among), [15, 14, 13]);
    // Of one that signs each second, three: who misses what was pushed last has one of before.
    for to in 16..=90 {
        among.cosign(&mut known[0], to);
        among.now += 1_000;
    }
    // Spec: GSP-171. The notes of the eight newest are held, so that 75 would be asked for in vain.
    assert_eq!(sizes(&among), [90, 86, 83]);
}
