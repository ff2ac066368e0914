//! What a witness reads in an hour, in the bytes that are really sent, among a thousand witnesses
//! and a hundred thousand logs.
//!
//! Six nodes are real and hold all the logs. Each knows a thousand peers; whoever it asks is played
//! by one of the other five, who answers with what it really holds, in that peer's name. So what is
//! read is real, to the byte; only that there are no more than five others to differ from is not.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::cosignature::sign_note;
use jurat_proto::gossip::node::{
    Action, Answer, AskId, Config, Dice as _, Event, Moment, Node, Question, Reply, RequestId,
};
use jurat_proto::gossip::{Call, Claim, SignedClaim};
use jurat_proto::hash::sha256;
use jurat_proto::hex;
use jurat_proto::key::UnixSeconds;
use jurat_proto::tree::TreeSize;

use crate::actors::{Chance, SimLog};
use crate::crowd::{Cast, START, serve};

const REAL: usize = 6;
const PEERS: usize = 1_000;
/// Logs that sign a checkpoint each second, each ten seconds, and each half an hour.
const HOT: usize = 100;
const WARM: usize = 1_000;
const LOGS: usize = 100_000;
/// In percent: how many pushed checkpoints do not reach a witness.
const LOST: u64 = 5;
/// What is read after this time counts; to what that is by the hour comes what is read of whole
/// feeds: of two peers when the order changes, and of one once more.
const WARM_UP_S: u64 = 300;
const WHOLE_FEEDS: u64 = 3;
/// What one opening costs that is read from a log's tiles: four of them, or five, in a tree of a
/// million entries. Those of these logs are smaller.
const TILES_BYTES: u64 = 16_384;
/// What the fields of a request and of its answer have as well, besides the claim: see
/// `docs/gossip-figures.md`.
const FIELDS_BYTES: u64 = 400;

enum What {
    Tick,
    Push(usize, Arc<SignedCheckpoint>),
    Served(usize, AskId, Question),
    Answered(usize, AskId, Answer),
    Tiles(TreeSize, Arc<SignedCheckpoint>),
}

struct Due {
    at: u64,
    order: u64,
    node: usize,
    what: What,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// How many were read, their bytes, and their bytes under gzip.
type Read = BTreeMap<&'static str, [u64; 3]>;

struct World {
    cast: Cast,
    nodes: Vec<Node>,
    queue: BinaryHeap<Reverse<Due>>,
    order: u64,
    now: u64,
    chance: Chance,
    read: Read,
    counts: bool,
    /// The newest size that each witness cosigned of each log.
    held: Vec<TreeSize>,
    waiting: BTreeMap<(usize, RequestId), (usize, usize, AskId)>,
    requests: u64,
    /// How many questions were asked, and how many openings were read from tiles.
    asked: u64,
    tiles: u64,
    /// What each node read, in this minute and in those before.
    minute: [u64; REAL],
    minutes: Vec<u64>,
    alarms: u64,
    /// How many openings were looked for: whose, of which logs, and whether of a larger head than
    /// the own one.
    sought: BTreeMap<(&'static str, &'static str, &'static str), u64>,
}

/// Counts for so many seconds, or for fewer when that much time is over.
pub(crate) fn measure(counted_s: u64, limit: Duration) {
    let began = Instant::now();
    let logs = (0..LOGS).map(|index| {
        let mut log = SimLog::new(
            &format!("log{index}.example/tree"),
            5_000_000 + index as u64,
        );
        log.grow(0, 2);
        log
    });
    let cast = Cast::new(PEERS, logs.collect());
    let mut chance = Chance(0);
    let nodes = (0..REAL).map(|index| {
        let config = Config::new(chance.random());
        let (own, roster) = (cast.own(index), cast.roster.clone());
        Node::with_roster(config, own, roster, chance.random(), Moment(START))
    });
    let mut world = World {
        nodes: nodes.collect(),
        cast,
        queue: BinaryHeap::new(),
        order: 0,
        now: START,
        chance,
        read: Read::new(),
        counts: false,
        held: vec![TreeSize::ZERO; REAL * LOGS],
        waiting: BTreeMap::new(),
        requests: 0,
        asked: 0,
        tiles: 0,
        minute: [0; REAL],
        minutes: Vec::new(),
        alarms: 0,
        sought: BTreeMap::new(),
    };
    let mut sizes = vec![2_u64; LOGS];
    for log in 0..LOGS {
        let notes = [1, 2].map(|size| Arc::new(world.cast.logs[log].note(0, size)));
        for node in 0..REAL {
            // As it is after a day: of the logs that sign each half an hour some have not brought
            // their newest head here, and it came by gossip.
            let late = log >= HOT + WARM && world.chance.percent(LOST);
            world.cosign(node, log, &notes[0]);
            if late {
                let request = RequestId(0);
                let note = (*notes[1]).clone();
                world.happen(node, Event::Observed { request, note });
            } else {
                world.cosign(node, log, &notes[1]);
            }
        }
    }
    eprintln!(
        "traffic: the logs are there, {:.0} MB",
        crate::memory("VmRSS")
    );
    for node in 0..REAL {
        let at = START + world.chance.below(60_000);
        world.put(at, node, What::Tick);
    }
    let mut counted = 0;
    for second in 0..WARM_UP_S + counted_s {
        world.counts = second >= WARM_UP_S;
        if second.is_multiple_of(60) {
            world.progress(second, began);
            if world.counts && counted > 0 && began.elapsed() > limit {
                eprintln!("traffic: no more time");
                break;
            }
        }
        counted += u64::from(world.counts);
        let warm = (0..WARM).filter(|log| *log as u64 % 10 == second % 10);
        let cold = HOT + WARM..LOGS;
        let cold = cold.filter(|log| *log as u64 % 1_800 == second % 1_800);
        let due: Vec<usize> = (0..HOT)
            .chain(warm.map(|log| HOT + log))
            .chain(cold)
            .collect();
        for log in due {
            sizes[log] += 1;
            let note = Arc::new(world.cast.logs[log].note(0, sizes[log]));
            for node in 0..REAL {
                if !world.chance.percent(LOST) {
                    let at = START + second * 1_000 + world.chance.below(2_000);
                    world.put(at, node, What::Push(log, note.clone()));
                }
            }
        }
        world.run_to(START + second * 1_000 + 999);
    }
    world.progress(WARM_UP_S + counted, began);
    world.counts = true;
    let by_hour = |value: u64| value * 3_600 / counted;
    for read in world.read.values_mut() {
        *read = read.map(by_hour);
    }
    let mut since = 0;
    for _ in 0..WHOLE_FEEDS * REAL as u64 {
        since = world.whole_feed();
    }
    eprintln!("traffic: a whole feed goes up to change {since}");
    let mut sum = [0_u64; 3];
    for (what, read) in &world.read {
        let each = read.map(|value| value as f64 / REAL as f64);
        for (sum, value) in sum.iter_mut().zip(read) {
            *sum += value;
        }
        let [count, raw, packed] = each;
        println!(
            "traffic,{PEERS},{LOGS},0,0,true,0,0,,,,,{what}: {count:.0} an hour; {:.2} MB; \
             gzip {:.2} MB",
            raw / 1e6,
            packed / 1e6
        );
    }
    let [count, raw, packed] = sum.map(|value| value as f64 / REAL as f64);
    println!(
        "traffic,{PEERS},{LOGS},0,0,true,0,0,,,{:.0},{:.0},sum: {count:.0} an hour; {:.2} MB; \
         gzip {:.2} MB",
        began.elapsed().as_secs_f64(),
        crate::memory("VmHWM"),
        raw / 1e6,
        packed / 1e6,
    );
    let tiles = by_hour(world.tiles) as f64 / REAL as f64;
    let asked = by_hour(world.asked) as f64 / REAL as f64;
    let [tiles_mb, fields_mb] = [
        tiles * TILES_BYTES as f64 / 1e6,
        asked * FIELDS_BYTES as f64 / 1e6,
    ];
    println!(
        "traffic,{PEERS},{LOGS},0,0,true,0,0,,,,,with {tiles:.0} openings from tiles: \
         {:.2} MB; and with the fields of {asked:.0} questions: {:.2} MB; counted {counted} s",
        raw / 1e6 + tiles_mb,
        raw / 1e6 + tiles_mb + fields_mb,
    );
    world.minutes.sort_unstable();
    let rank = |percent: usize| {
        let place = (world.minutes.len() * percent).div_ceil(100).max(1) - 1;
        let read = world.minutes.get(place).copied().unwrap_or(0);
        read as f64 * 60.0 / 1e6
    };
    println!(
        "traffic,{PEERS},{LOGS},0,0,true,0,0,,,,,a minute of a witness, times sixty, with tiles \
         and without whole feeds: {:.1} / {:.1} / {:.1} / {:.1} MB (least, p50, p99, most of {})",
        rank(0),
        rank(50),
        rank(99),
        rank(100),
        world.minutes.len(),
    );
    for ((whose, class, which), count) in &world.sought {
        let count = by_hour(*count) as f64 / REAL as f64;
        println!(
            "traffic,{PEERS},{LOGS},0,0,true,0,0,,,,,{whose} of {class} logs of what is {which}: \
             {count:.0} an hour"
        );
    }
    let open: usize = world.nodes.iter().map(|node| node.counts()[1]).sum();
    eprintln!(
        "traffic: {open} heads are open; false alarms: {}",
        world.alarms
    );
    assert_eq!(world.alarms, 0, "nothing was wrong");
}

impl World {
    fn put(&mut self, at: u64, node: usize, what: What) {
        self.order += 1;
        let order = self.order;
        self.queue.push(Reverse(Due {
            at,
            order,
            node,
            what,
        }));
    }

    fn later(&mut self, node: usize, what: What) {
        let at = self.now + 50 + self.chance.below(200);
        self.put(at, node, what);
    }

    fn run_to(&mut self, until: u64) {
        while self
            .queue
            .peek()
            .is_some_and(|Reverse(due)| due.at <= until)
        {
            let Reverse(due) = self.queue.pop().unwrap();
            self.now = due.at;
            let node = due.node;
            match due.what {
                What::Tick => {
                    self.put(self.now + 1_000, node, What::Tick);
                    self.happen(node, Event::Tick);
                }
                What::Push(log, note) => self.cosign(node, log, &note),
                What::Served(peer, ask, question) => self.serve(node, peer, ask, question),
                What::Answered(peer, ask, answer) => {
                    let peer = self.cast.names[peer].clone();
                    self.happen(node, Event::Answer { peer, ask, answer });
                }
                What::Tiles(old, note) => {
                    self.tiles += u64::from(self.counts);
                    self.minute[node] += TILES_BYTES;
                    let event = self.cast.open(node, old, &note);
                    self.happen(node, event);
                }
            }
        }
    }

    fn cosign(&mut self, node: usize, log: usize, note: &SignedCheckpoint) {
        // Two pushes may overtake each other: the older one is refused.
        let held = &mut self.held[node * LOGS + log];
        if *held >= note.head().size {
            return;
        }
        let before = std::mem::replace(held, note.head().size);
        let time = Moment(self.now).seconds();
        let note = self.cast.cosigners[node].cosign(note, time);
        // As a log shows it: with the proof from what the witness cosigned last.
        let grown_from = (!before.is_zero()).then(|| {
            let log = &mut self.cast.logs[log];
            let (from, to) = (before.get(), note.head().size.get());
            (log.head(0, from), log.proof(0, from, to))
        });
        let event = Event::HeadCosigned {
            note,
            time,
            grown_from,
        };
        self.happen(node, event);
    }

    fn happen(&mut self, node: usize, event: Event) {
        let now = Moment(self.now);
        let actions = self.nodes[node].step(event, now, &mut self.chance, &self.cast.memo);
        for action in actions {
            match action {
                Action::Ask {
                    peer,
                    ask,
                    question,
                } => {
                    let peer = self.cast.place_of(&peer);
                    self.asked += u64::from(self.counts);
                    self.claim(node, peer, &question);
                    if let Question::Challenge(note) = &question {
                        self.seek("challenge", node, note, note.head().size);
                    }
                    if let Question::Opening { origin, size, .. } = &question {
                        self.seek_of("opening", node, origin, *size);
                    }
                    let (what, bytes) = match &question {
                        Question::Fetch(fetch) => ("fetch, asked", fetch.to_bytes()),
                        Question::Challenge(note) => ("challenge, asked", note.to_bytes()),
                        _ => ("others, asked", Vec::new()),
                    };
                    self.count(node, what, &bytes);
                    self.later(node, What::Served(peer, ask, question));
                }
                Action::ReadTiles { old, note } => {
                    self.seek("tiles", node, &note, note.head().size);
                    self.later(node, What::Tiles(old, note));
                }
                Action::Reply { request, reply } => {
                    if let Some((asker, peer, ask)) = self.waiting.remove(&(node, request)) {
                        let answer = match reply {
                            Reply::Opening(opening) => Answer::Opening(opening),
                            _ => Answer::Nothing,
                        };
                        self.answer(asker, peer, ask, answer);
                    }
                }
                Action::StopCosigning { .. } | Action::StopSigning { .. } => {
                    panic!("an honest log is convicted");
                }
                Action::StoreEvidence { evidence, verdict } => {
                    panic!("{:?} of {:?}", evidence.kind(), verdict.guilty);
                }
                Action::Alarm { alarm, raised } => {
                    eprintln!("traffic: {alarm:?} {raised}");
                    self.alarms += u64::from(raised);
                }
                _ => {}
            }
        }
    }

    fn seek(&mut self, whose: &'static str, node: usize, note: &SignedCheckpoint, size: TreeSize) {
        self.seek_of(whose, node, note.origin(), size);
    }

    fn seek_of(&mut self, whose: &'static str, node: usize, origin: &Origin, size: TreeSize) {
        if !self.counts {
            return;
        }
        let log = self.cast.place_of_log(origin);
        let class = match log {
            0..HOT => "hot",
            _ if log < HOT + WARM => "warm",
            _ => "cold",
        };
        // Whose opening it is tells which of the two heads is ours.
        let held = self.held[node * LOGS + log];
        let which = match size.cmp(&held) {
            std::cmp::Ordering::Less => "smaller than ours",
            std::cmp::Ordering::Equal => "ours",
            std::cmp::Ordering::Greater => "larger than ours",
        };
        *self.sought.entry((whose, class, which)).or_default() += 1;
    }

    /// Another node plays the peer.
    fn serve(&mut self, asker: usize, peer: usize, ask: AskId, question: Question) {
        // A real one plays itself: in its name another would hide what it had cosigned.
        let player = if peer < REAL {
            peer
        } else {
            (asker + 1 + peer % (REAL - 1)) % REAL
        };
        if let Question::Challenge(note) = question {
            self.requests += 1;
            let request = RequestId(self.requests);
            self.waiting.insert((player, request), (asker, peer, ask));
            let note = (*note).clone();
            let challenged = Event::ChallengeReceived {
                request,
                from: Some(self.cast.names[asker].clone()),
                note,
            };
            self.happen(player, challenged);
            return;
        }
        let (node, now) = (&self.nodes[player], Moment(self.now));
        let answer = serve(&self.cast, peer, node, now, question);
        self.answer(asker, peer, ask, answer);
    }

    fn answer(&mut self, asker: usize, peer: usize, ask: AskId, answer: Answer) {
        let (what, bytes) = match &answer {
            Answer::State(state) => ("state", state.to_bytes()),
            Answer::Heads(feed) => ("heads", feed.to_bytes()),
            Answer::Notes(notes) => ("notes", notes.to_bytes()),
            Answer::Opening(opening) => ("opening", opening.to_bytes()),
            Answer::Catalogue(list) => ("list", list.to_bytes()),
            _ => ("none", Vec::new()),
        };
        self.count(asker, what, &bytes);
        self.later(asker, What::Answered(peer, ask, answer));
    }

    /// A witness says who it is. What it writes so, another reads: all of them ask as much.
    fn claim(&mut self, node: usize, peer: usize, question: &Question) {
        if !self.counts {
            return;
        }
        let (method, target, body) = match question {
            Question::State { nonce } => ("GET", format!("state?nonce={nonce}"), Vec::new()),
            Question::Heads { epoch, since } => (
                "GET",
                format!("heads?epoch={epoch}&since={since}"),
                Vec::new(),
            ),
            Question::Fetch(fetch) => ("POST", "fetch".to_owned(), fetch.to_bytes()),
            Question::Challenge(note) => ("POST", "challenge".to_owned(), note.to_bytes()),
            Question::Opening { origin, old, size } => (
                "GET",
                format!("opening/{}/{old}/{size}", origin.hash_hex()),
                Vec::new(),
            ),
            Question::Catalogue { since } => ("GET", format!("evidence?since={since}"), Vec::new()),
            Question::Evidence { id } => (
                "GET",
                format!("evidence/{}", hex::encode(id.as_bytes())),
                Vec::new(),
            ),
            Question::Mail(evidence) => ("POST", "evidence".to_owned(), evidence.to_bytes()),
        };
        let claim = Claim {
            name: self.cast.names[node].clone(),
            to: self.cast.names[peer].clone(),
            call: Call::new(method, &format!("/gossip/v0/{target}")).unwrap(),
            body: sha256(&body),
            time: UnixSeconds::new(self.now / 1_000).unwrap(),
            number: self.asked,
        };
        let line = sign_note(&claim.to_text(), &self.cast.gossip[node]).unwrap();
        let field = SignedClaim::new(claim, line).unwrap().to_header();
        self.count_plain(node, "claims", field.len() as u64);
    }

    /// Says how far it has come, once a minute, and closes the minute.
    fn progress(&mut self, second: u64, began: Instant) {
        if self.minute != [0; REAL] && second > WARM_UP_S {
            self.minutes.extend(self.minute);
        }
        self.minute = [0; REAL];
        eprintln!(
            "traffic: {second} s are over after {:.0} s, {:.0} MB",
            began.elapsed().as_secs_f64(),
            crate::memory("VmRSS")
        );
    }

    /// Counts a feed from its beginning to its end.
    fn whole_feed(&mut self) -> u64 {
        let state = self.nodes[0].state(Moment(self.now), None);
        let (epoch, mut since) = (state.epoch, 0);
        while since < state.seq {
            let question = Question::Heads { epoch, since };
            let answer = serve(&self.cast, 0, &self.nodes[0], Moment(self.now), question);
            let Answer::Heads(feed) = answer else {
                panic!("no feed");
            };
            self.count(0, "whole feeds", &feed.to_bytes());
            since = feed.page().next;
        }
        since
    }

    /// What is no body, and is never compressed.
    fn count_plain(&mut self, node: usize, what: &'static str, bytes: u64) {
        self.minute[node] += bytes;
        let read = self.read.entry(what).or_default();
        for (sum, value) in read.iter_mut().zip([1, bytes, bytes]) {
            *sum += value;
        }
    }

    fn count(&mut self, node: usize, what: &'static str, bytes: &[u8]) {
        self.minute[node] += bytes.len() as u64;
        if !self.counts {
            return;
        }
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(bytes).unwrap();
        let packed = packed.finish().unwrap().len().min(bytes.len());
        let read = self.read.entry(what).or_default();
        for (sum, value) in read.iter_mut().zip([1, bytes.len() as u64, packed as u64]) {
            *sum += value;
        }
    }
}
