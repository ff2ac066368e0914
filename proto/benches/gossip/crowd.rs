//! Thousands of real nodes on a network that loses, delays and divides.
//!
//! Time goes in windows that are as long as the shortest way of a message: what one node does in a
//! window reaches no other before the next, so that cores share the nodes between them and a seed
//! tells the same story whatever their number. Each node has dice of its own.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::evidence::{Evidence, KnownKeys, NotProven, Verdict};
use jurat_proto::gossip::node::{
    Action, Alarm, Answer, AskId, Config, Dice as _, Directory, Event, Failure, LogSettings,
    Moment, Node, Own, PeerSettings, Question, Reply, RequestId, Roster, Verifier,
};
use jurat_proto::gossip::{Feed, SignedStatement, Statement};
use jurat_proto::hash::{Hash, sha256};
use jurat_proto::key::{KeyName, VerifierKey};
use jurat_proto::note::SignatureLine;
use jurat_proto::proof::ConsistencyProof;
use jurat_proto::tree::{TreeHead, TreeSize};

use crate::actors::{Chance, Key, SimLog};

/// When every story begins.
pub(crate) const START: u64 = 1_790_000_000_000;
/// The shortest way of a message, and how much longer it may be.
const WAY_MS: u64 = 50;
const SLOWER_MS: u64 = 200;
/// After so long who asked gives up.
const TIMEOUT_MS: u64 = 5_000;
/// How many rows a page of the witness has.
const ROWS_MAX: usize = 8_192;

/// Signatures that were checked, or made here, and evidence that was judged: once for all.
pub(crate) struct Memo {
    lines: Vec<Mutex<HashMap<Hash, bool>>>,
    evidence: Mutex<HashMap<Hash, Judged>>,
}

type Judged = Result<(Evidence, Verdict), NotProven>;

impl Default for Memo {
    fn default() -> Self {
        Self {
            lines: (0..64).map(|_| Mutex::default()).collect(),
            evidence: Mutex::default(),
        }
    }
}

impl Memo {
    fn place(key: &VerifierKey, text: &str, line: &SignatureLine) -> (usize, Hash) {
        let mut message = Vec::from(key.name().as_str().as_bytes());
        message.extend(key.key_id().to_string().as_bytes());
        message.extend(line.signature());
        message.extend(text.as_bytes());
        let hash = sha256(&message);
        (usize::from(hash.as_bytes()[0]) % 64, hash)
    }

    fn line(&self, key: &VerifierKey, text: &str, line: &SignatureLine) -> bool {
        let (shard, hash) = Self::place(key, text, line);
        if let Some(known) = self.lines[shard].lock().unwrap().get(&hash) {
            return *known;
        }
        let good = key.matches(line) && key.verify_note(text, line.signature()).is_ok();
        self.lines[shard].lock().unwrap().insert(hash, good);
        good
    }

    /// The key of a witness signed this here.
    fn signed(&self, key: &VerifierKey, said: &SignedStatement) {
        for line in said.signatures() {
            let (shard, hash) = Self::place(key, said.note().text(), line);
            self.lines[shard].lock().unwrap().insert(hash, true);
        }
    }
}

impl Verifier for Memo {
    fn checkpoint(&self, key: &VerifierKey, note: &SignedCheckpoint, line: &SignatureLine) -> bool {
        self.line(key, note.note().text(), line)
    }

    fn statement(&self, key: &VerifierKey, said: &SignedStatement, line: &SignatureLine) -> bool {
        self.line(key, said.note().text(), line)
    }

    fn evidence(&self, evidence: &Evidence, keys: &KnownKeys) -> Judged {
        let place = sha256(&evidence.to_bytes());
        if let Some(known) = self.evidence.lock().unwrap().get(&place) {
            return known.clone();
        }
        let judged = evidence.minimised(keys);
        let mut known = self.evidence.lock().unwrap();
        known.entry(place).or_insert(judged).clone()
    }
}

/// The keys of all, and who knows whom: made once for many stories.
pub(crate) struct Cast {
    pub(crate) cosigners: Vec<Key>,
    pub(crate) gossip: Vec<Key>,
    pub(crate) names: Vec<KeyName>,
    places: HashMap<KeyName, u32>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) logs: Vec<SimLog>,
    log_places: HashMap<Origin, usize>,
    pub(crate) memo: Memo,
}

impl Cast {
    pub(crate) fn new(count: usize, logs: Vec<SimLog>) -> Self {
        let name = |index: usize| format!("w{index}.example");
        let keys = (0..count).map(|index| {
            let seed = 10_000 + 2 * index as u64;
            (
                Key::cosigner(&name(index), seed),
                Key::note(&name(index), seed + 1),
            )
        });
        let (cosigners, gossip): (Vec<Key>, Vec<Key>) = keys.unzip();
        let names: Vec<KeyName> = gossip.iter().map(|key| key.vkey().name().clone()).collect();
        let peers = (0..count).map(|peer| PeerSettings {
            name: names[peer].clone(),
            gossip: vec![gossip[peer].vkey()],
            cosigners: vec![cosigners[peer].vkey()],
            operator: format!("operator {peer}"),
            asked: true,
        });
        let settings = logs.iter().map(|log| {
            let mut settings = LogSettings::new(log.origin.clone(), log.key.vkey());
            settings.tiles = true;
            settings
        });
        let directory = Directory {
            own: Own {
                name: names[0].clone(),
                cosigners: vec![cosigners[0].vkey()],
                gossip: vec![gossip[0].vkey()],
            },
            logs: settings.collect(),
            peers: peers.collect(),
        };
        let places = names.iter().enumerate();
        let log_places = logs.iter().enumerate();
        Self {
            places: places
                .map(|(place, name)| (name.clone(), place as u32))
                .collect(),
            log_places: log_places
                .map(|(place, log)| (log.origin.clone(), place))
                .collect(),
            roster: Arc::new(Roster::new(directory).unwrap()),
            cosigners,
            gossip,
            names,
            logs,
            memo: Memo::default(),
        }
    }

    pub(crate) fn own(&self, index: usize) -> Own {
        Own {
            name: self.names[index].clone(),
            cosigners: vec![self.cosigners[index].vkey()],
            gossip: vec![self.gossip[index].vkey()],
        }
    }

    pub(crate) fn place_of(&self, name: &KeyName) -> usize {
        self.places[name] as usize
    }

    pub(crate) fn place_of_log(&self, origin: &Origin) -> usize {
        self.log_places[origin]
    }

    /// A witness signs a statement about itself.
    pub(crate) fn say(&self, witness: usize, statement: Statement) -> SignedStatement {
        let key = &self.gossip[witness];
        let said = key.say(statement);
        self.memo.signed(&key.vkey(), &said);
        said
    }

    pub(crate) fn open(&self, witness: usize, old: TreeSize, note: &SignedCheckpoint) -> Event {
        let log = &self.logs[self.log_places[note.origin()]];
        let opening = log.open(witness, old, note);
        Event::TilesRead {
            origin: note.origin().clone(),
            old,
            of: note.head(),
            opening: opening.map(Box::new),
        }
    }
}

/// How a witness answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conduct {
    Honest,
    /// It answers nothing.
    Silent,
    /// It answers as if nothing had happened since the fork.
    Omits,
}

struct Mate {
    node: Node,
    frozen: Option<Box<Node>>,
    conduct: Conduct,
    chance: Chance,
    sent: u64,
    requests: u64,
    waiting: HashMap<RequestId, (u32, AskId)>,
    convicted: Option<u64>,
    /// What was raised, whether it was lowered again or not.
    alarms: Vec<Alarm>,
}

enum What {
    Tick,
    Question(u32, AskId, Question),
    Answer(u32, AskId, Answer),
    Tiles(TreeSize, Arc<SignedCheckpoint>),
    Stored(Hash),
}

struct Due {
    at: u64,
    from: u32,
    number: u64,
    to: u32,
    what: What,
}

impl Due {
    fn key(&self) -> (u64, u32, u64) {
        (self.at, self.from, self.number)
    }
}
impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
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
        self.key().cmp(&other.key())
    }
}

/// Some of the nodes, and what is due for them.
struct Share {
    first: u32,
    mates: Vec<Mate>,
    queue: BinaryHeap<Reverse<Due>>,
    out: Vec<Due>,
}

/// What the network does to messages.
#[derive(Clone, Copy)]
pub(crate) struct Network {
    /// In percent of the exchanges; half of them lose the question, half the answer.
    pub(crate) loss: u64,
    /// Whether evidence arrives that is mailed.
    pub(crate) mail: bool,
}

pub(crate) struct Crowd<'c> {
    pub(crate) cast: &'c Cast,
    pub(crate) network: Network,
    shares: Vec<Share>,
    parts: Vec<u32>,
    per_share: usize,
    pub(crate) now: u64,
}

impl<'c> Crowd<'c> {
    pub(crate) fn new(
        cast: &'c Cast,
        seed: u64,
        threads: usize,
        network: Network,
        configure: impl Fn(&mut Config),
    ) -> Self {
        let mut chance = Chance(seed);
        let mut config = Config::new(chance.random());
        configure(&mut config);
        let count = cast.names.len();
        let per_share = count.div_ceil(threads);
        let mut shares: Vec<Share> = Vec::new();
        let round = config.round.as_millis() as u64;
        for index in 0..count {
            if index % per_share == 0 {
                shares.push(Share {
                    first: index as u32,
                    mates: Vec::new(),
                    queue: BinaryHeap::new(),
                    out: Vec::new(),
                });
            }
            let share = shares.last_mut().unwrap();
            let mut config = config.clone();
            config.secret = chance.random();
            let (own, roster) = (cast.own(index), cast.roster.clone());
            let node = Node::with_roster(config, own, roster, chance.random(), Moment(START));
            share.mates.push(Mate {
                node,
                frozen: None,
                conduct: Conduct::Honest,
                chance: Chance(chance.roll()),
                sent: 0,
                requests: 0,
                waiting: HashMap::new(),
                convicted: None,
                alarms: Vec::new(),
            });
            // Rounds of different witnesses begin at any time.
            share.queue.push(Reverse(Due {
                at: START + 1 + chance.below(round),
                from: index as u32,
                number: 0,
                to: index as u32,
                what: What::Tick,
            }));
        }
        Self {
            cast,
            network,
            shares,
            parts: vec![0; count],
            per_share,
            now: START,
        }
    }

    fn mate(&mut self, witness: usize) -> &mut Mate {
        let per_share = self.per_share;
        &mut self.shares[witness / per_share].mates[witness % per_share]
    }

    pub(crate) fn set(&mut self, witness: usize, conduct: Conduct) {
        let mate = self.mate(witness);
        mate.conduct = conduct;
        if conduct == Conduct::Omits {
            mate.frozen = Some(Box::new(mate.node.clone()));
        }
    }

    pub(crate) fn divide(&mut self, part_of: impl Fn(usize) -> u32) {
        self.parts = (0..self.cast.names.len()).map(part_of).collect();
    }

    /// A witness cosigns a head.
    pub(crate) fn cosign(
        &mut self,
        witness: usize,
        note: &SignedCheckpoint,
        grown_from: Option<(TreeHead, ConsistencyProof)>,
    ) {
        let time = Moment(self.now).seconds();
        let note = self.cast.cosigners[witness].cosign(note, time);
        let event = Event::HeadCosigned {
            note,
            time,
            grown_from,
        };
        let (cast, network, now) = (self.cast, self.network, self.now);
        let per_share = self.per_share;
        let share = &mut self.shares[witness / per_share];
        let parts = &self.parts;
        let world = World {
            cast,
            network,
            parts,
        };
        share.happen(&world, witness as u32, now, event);
        self.deliver();
    }

    fn deliver(&mut self) {
        let out: Vec<Due> = self
            .shares
            .iter_mut()
            .flat_map(|s| std::mem::take(&mut s.out))
            .collect();
        for due in out {
            let to = due.to as usize / self.per_share;
            self.shares[to].queue.push(Reverse(due));
        }
    }

    /// Runs until so many milliseconds from the start, or until `done` says so, which is asked
    /// between windows. Whether it did.
    pub(crate) fn run_to(&mut self, ms: u64, done: impl Fn(&Self) -> bool) -> bool {
        let end = START + ms;
        let (cast, network) = (self.cast, self.network);
        while self.now < end {
            let nexts = self.shares.iter().filter_map(|share| share.queue.peek());
            let next = nexts
                .map(|Reverse(due)| due.at)
                .min()
                .unwrap_or(end)
                .max(self.now);
            let until = (next + WAY_MS).min(end);
            let world = World {
                cast,
                network,
                parts: &self.parts,
            };
            if let [share] = &mut self.shares[..] {
                share.run(&world, until);
            } else {
                std::thread::scope(|scope| {
                    for share in &mut self.shares {
                        scope.spawn(|| share.run(&world, until));
                    }
                });
            }
            self.now = until;
            self.deliver();
            if done(self) {
                return true;
            }
        }
        false
    }

    /// When each honest witness had a proof, in milliseconds from the start.
    pub(crate) fn convicted(&self) -> impl Iterator<Item = Option<u64>> {
        let mates = self.shares.iter().flat_map(|share| &share.mates);
        let honest = mates.filter(|mate| mate.conduct == Conduct::Honest);
        honest.map(|mate| mate.convicted.map(|at| at - START))
    }

    /// All alarms that honest witnesses raised.
    pub(crate) fn alarms(&self) -> impl Iterator<Item = &Alarm> {
        let mates = self.shares.iter().flat_map(|share| &share.mates);
        let honest = mates.filter(|mate| mate.conduct == Conduct::Honest);
        honest.flat_map(|mate| &mate.alarms)
    }

    /// Whether any action in this story convicted anybody.
    pub(crate) fn nobody_convicts(&self) -> bool {
        self.convicted().all(|at| at.is_none())
    }

    pub(crate) fn counts(&self) -> [usize; 4] {
        let mut sum = [0; 4];
        for mate in self.shares.iter().flat_map(|share| &share.mates) {
            for (sum, count) in sum.iter_mut().zip(mate.node.counts()) {
                *sum += count;
            }
        }
        sum
    }
}

struct World<'w> {
    cast: &'w Cast,
    network: Network,
    parts: &'w [u32],
}

impl Share {
    fn run(&mut self, world: &World<'_>, until: u64) {
        while self.queue.peek().is_some_and(|Reverse(due)| due.at < until) {
            let Reverse(due) = self.queue.pop().unwrap();
            let (to, now) = (due.to, due.at);
            match due.what {
                What::Tick => {
                    self.own(to, now + 1_000, What::Tick);
                    self.happen(world, to, now, Event::Tick);
                }
                What::Question(asker, ask, question) => {
                    self.serve(world, to, now, (asker, ask), question);
                }
                What::Answer(peer, ask, answer) => {
                    let peer = world.cast.names[peer as usize].clone();
                    self.happen(world, to, now, Event::Answer { peer, ask, answer });
                }
                What::Tiles(old, note) => {
                    let event = world.cast.open(to as usize, old, &note);
                    self.happen(world, to, now, event);
                }
                What::Stored(id) => self.happen(world, to, now, Event::EvidenceStored { id }),
            }
        }
    }

    fn mate(&mut self, witness: u32) -> &mut Mate {
        &mut self.mates[(witness - self.first) as usize]
    }

    fn own(&mut self, witness: u32, at: u64, what: What) {
        let mate = self.mate(witness);
        mate.sent += 1;
        let number = mate.sent;
        self.queue.push(Reverse(Due {
            at,
            from: witness,
            number,
            to: witness,
            what,
        }));
    }

    fn send(&mut self, from: u32, to: u32, now: u64, what: What) {
        let mate = self.mate(from);
        mate.sent += 1;
        let number = mate.sent;
        let at = now + WAY_MS + mate.chance.below(SLOWER_MS);
        self.out.push(Due {
            at,
            from,
            number,
            to,
            what,
        });
    }

    fn happen(&mut self, world: &World<'_>, witness: u32, now: u64, event: Event) {
        let mate = self.mate(witness);
        let memo = &world.cast.memo;
        let actions = mate.node.step(event, Moment(now), &mut mate.chance, memo);
        for action in actions {
            match action {
                Action::Ask {
                    peer,
                    ask,
                    question,
                } => {
                    let to = world.cast.place_of(&peer) as u32;
                    let apart = world.parts[witness as usize] != world.parts[to as usize];
                    let mate = self.mate(witness);
                    if apart || mate.chance.below(200) < world.network.loss {
                        self.give_up(witness, to, now, ask);
                    } else {
                        self.send(witness, to, now, What::Question(witness, ask, question));
                    }
                }
                Action::ReadTiles { old, note } => {
                    let late = self.mate(witness).chance.below(SLOWER_MS);
                    self.own(witness, now + 1 + late, What::Tiles(old, note));
                }
                Action::StoreEvidence { evidence, .. } => {
                    self.own(witness, now + 5, What::Stored(evidence.id()));
                }
                Action::Reply { request, reply } => self.reply(world, witness, now, request, reply),
                Action::StopCosigning { .. } | Action::StopSigning { .. } => {
                    self.mate(witness).convicted.get_or_insert(now);
                }
                Action::Alarm {
                    alarm,
                    raised: true,
                } => self.mate(witness).alarms.push(alarm),
                Action::StoreLog { .. }
                | Action::Hold { .. }
                | Action::Release { .. }
                | Action::Publish(_)
                | Action::Alarm { raised: false, .. }
                | Action::Resolved { .. } => {}
            }
        }
    }

    fn give_up(&mut self, witness: u32, peer: u32, now: u64, ask: AskId) {
        let answer = Answer::Failed(Failure::Unreachable);
        self.own(witness, now + TIMEOUT_MS, What::Answer(peer, ask, answer));
    }

    fn reply(
        &mut self,
        world: &World<'_>,
        witness: u32,
        now: u64,
        request: RequestId,
        reply: Reply,
    ) {
        let Some(asked) = self.mate(witness).waiting.remove(&request) else {
            return;
        };
        let answer = match reply {
            Reply::Opening(opening) => Answer::Opening(opening),
            Reply::Stored { .. } | Reply::Known { .. } => Answer::Taken,
            Reply::NotStored | Reply::TooMany => Answer::Failed(Failure::Busy {
                wait: Duration::from_secs(1),
            }),
            Reply::NotSigned | Reply::NotProven(_) => Answer::Failed(Failure::Refused),
            Reply::Consistent | Reply::Pending | Reply::Convicted { .. } | Reply::UnknownOrigin => {
                Answer::Nothing
            }
        };
        self.answer(world, witness, now, asked, answer);
    }

    fn answer(
        &mut self,
        world: &World<'_>,
        witness: u32,
        now: u64,
        (asker, ask): (u32, AskId),
        answer: Answer,
    ) {
        // Who asked gives up at the same time, wherever its message was lost.
        let lost = self.mate(witness).chance.below(200) < world.network.loss;
        let (at, answer) = if lost {
            (now + TIMEOUT_MS, Answer::Failed(Failure::Unreachable))
        } else {
            (now, answer)
        };
        self.send(witness, asker, at, What::Answer(witness, ask, answer));
    }

    fn serve(
        &mut self,
        world: &World<'_>,
        witness: u32,
        now: u64,
        asked: (u32, AskId),
        question: Question,
    ) {
        let mate = self.mate(witness);
        if mate.conduct == Conduct::Silent {
            let (asker, ask) = asked;
            let answer = Answer::Failed(Failure::Unreachable);
            self.send(
                witness,
                asker,
                now + TIMEOUT_MS,
                What::Answer(witness, ask, answer),
            );
            return;
        }
        let event = |mate: &mut Mate| {
            mate.requests += 1;
            let request = RequestId(mate.requests);
            mate.waiting.insert(request, asked);
            request
        };
        let question = match question {
            Question::Challenge(_) | Question::Mail(_) if mate.conduct == Conduct::Omits => {
                self.answer(world, witness, now, asked, Answer::Nothing);
                return;
            }
            Question::Mail(_) if !world.network.mail => {
                self.answer(world, witness, now, asked, Answer::Taken);
                return;
            }
            Question::Challenge(note) => {
                let request = event(mate);
                let note = (*note).clone();
                self.happen(
                    world,
                    witness,
                    now,
                    Event::ChallengeReceived {
                        request,
                        from: None,
                        note,
                    },
                );
                return;
            }
            Question::Mail(evidence) => {
                let request = Some(event(mate));
                let evidence = Box::new((*evidence).clone());
                self.happen(
                    world,
                    witness,
                    now,
                    Event::EvidenceReceived { request, evidence },
                );
                return;
            }
            question => question,
        };
        let node = mate.frozen.as_deref().unwrap_or(&mate.node);
        let answer = serve(world.cast, witness as usize, node, Moment(now), question);
        self.answer(world, witness, now, asked, answer);
    }
}

/// What a node shows of itself, signed in a witness's name.
pub(crate) fn serve(
    cast: &Cast,
    witness: usize,
    node: &Node,
    now: Moment,
    question: Question,
) -> Answer {
    match question {
        Question::State { nonce } => {
            let mut state = node.state(now, Some(nonce));
            state.name = cast.names[witness].clone();
            Answer::State(Box::new(cast.say(witness, Statement::State(state))))
        }
        Question::Heads { epoch, since } => {
            let (mut page, rows) = node.page(Some(epoch), since, ROWS_MAX, now);
            page.name = cast.names[witness].clone();
            let said = cast.say(witness, Statement::Page(page));
            Answer::Heads(Box::new(Feed::new(rows, said).unwrap()))
        }
        Question::Fetch(fetch) => Answer::Notes(node.notes(&fetch)),
        Question::Opening { origin, old, size } => match node.opening(&origin.hash(), old, size) {
            Some(opening) => Answer::Opening(Box::new(opening.clone())),
            None => Answer::Nothing,
        },
        Question::Catalogue { since } => Answer::Catalogue(node.catalogue(since)),
        Question::Evidence { id } => match node.evidence(&id) {
            Some(evidence) => Answer::Evidence(Box::new((**evidence).clone())),
            None => Answer::Nothing,
        },
        Question::Challenge(_) | Question::Mail(_) => Answer::Nothing,
    }
}
