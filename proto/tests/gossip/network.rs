//! Witnesses on a network that loses, delays and divides; time is a number.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::rc::Rc;
use std::time::Duration;

use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::evidence::{Evidence, Kind, Standing};
use jurat_proto::gossip::node::{
    Action, Alarm, Answer, AskId, Config, Cosigning, Dice as _, Directory, Event, Failure,
    LogRecord, LogSettings, Moment, Node, Own, PeerSettings, Question, Reply, RequestId,
};
use jurat_proto::gossip::{Feed, Fetch, Notes, Opening, Page, Random, SignedStatement, Statement};
use jurat_proto::hash::{Hash, leaf_hash};
use jurat_proto::key::{KeyName, UnixSeconds};
use jurat_proto::proof::{ConsistencyProof, verify_consistency};
use jurat_proto::tree::{TreeHead, TreeSize};

use crate::actors::{Chance, Key, Memory, SimLog, size};

/// When every simulation begins.
pub(crate) const START: u64 = 1_790_000_000_000;
const ROWS_MAX: usize = 512;

/// How a witness answers its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    Honest,
    /// It answers nothing.
    Silent,
    /// It takes a question, and its answer never ends.
    Slow,
    /// It answers as if nothing had happened since [`World::freeze`].
    Omits,
    /// Of one state it says something else each time.
    TwoFaced,
    /// Of one page it shows other rows each time.
    TwoFacedPages,
    /// It says again what it said first.
    Replays,
}

/// A witness: its node, its keys, and what is on its disk.
#[derive(Clone)]
pub(crate) struct Witness {
    pub(crate) name: KeyName,
    pub(crate) cosigner: Key,
    pub(crate) gossip: Key,
    pub(crate) node: Node,
    pub(crate) conduct: Conduct,
    pub(crate) up: bool,
    /// What its clock shows less what the time is, in milliseconds.
    pub(crate) clock: i64,
    pub(crate) disk_full: bool,
    logs: BTreeMap<Hash, Vec<u8>>,
    pub(crate) evidence: BTreeMap<Hash, Vec<u8>>,
    pub(crate) heads: BTreeMap<Origin, (SignedCheckpoint, UnixSeconds)>,
    /// What it pretends to be.
    frozen: Option<Node>,
    /// What it said first.
    first: Vec<Answer>,
    waiting: BTreeMap<RequestId, (usize, AskId)>,
    pub(crate) replies: BTreeMap<RequestId, Reply>,
    /// The life of the process: what is on its way to a dead one is lost.
    life: u64,
}

#[derive(Clone)]
enum What {
    Tick,
    Question(usize, AskId, Question),
    Answer(usize, AskId, Answer),
    Tiles(TreeSize, SignedCheckpoint),
    Stored(Hash),
    NotStored(Hash),
}

#[derive(Clone)]
struct Due {
    at: u64,
    order: u64,
    witness: usize,
    life: u64,
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

/// Something that a node did, for the judge.
#[derive(Clone, Debug)]
pub(crate) struct Deed {
    pub(crate) witness: usize,
    pub(crate) action: Action,
}

/// A world of witnesses and logs.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) chance: Chance,
    pub(crate) logs: Vec<SimLog>,
    pub(crate) witnesses: Vec<Witness>,
    pub(crate) memory: Rc<Memory>,
    pub(crate) config: Config,
    directory: Vec<Directory>,
    queue: BinaryHeap<Reverse<Due>>,
    order: u64,
    /// In percent of the exchanges.
    pub(crate) loss: u64,
    /// The longest way of a message.
    pub(crate) delay_ms: u64,
    /// Witnesses in different parts do not reach each other.
    pub(crate) parts: Vec<usize>,
    /// Who cannot reach whom.
    pub(crate) apart: BTreeSet<(usize, usize)>,
    /// Who asks others at all.
    pub(crate) asks: Vec<bool>,
    /// Whether evidence arrives that is mailed.
    pub(crate) mail: bool,
    /// Whether every message goes through its bytes.
    pub(crate) through_bytes: bool,
    pub(crate) deeds: Vec<Deed>,
    last_request: u64,
}

impl World {
    /// So many witnesses that all know each other, and logs that they all know.
    pub(crate) fn new(seed: u64, count: usize, logs: usize) -> Self {
        Self::with(seed, count, logs, |_| {}, |_| {})
    }

    pub(crate) fn with(
        seed: u64,
        count: usize,
        logs: usize,
        configure: impl Fn(&mut Config),
        settle: impl Fn(&mut LogSettings),
    ) -> Self {
        let logs: Vec<String> = (0..logs)
            .map(|index| format!("log{index}.example"))
            .collect();
        Self::of_logs(seed, count, &logs, configure, settle)
    }

    /// So many witnesses, and logs of these origins.
    pub(crate) fn of_logs(
        seed: u64,
        count: usize,
        logs: &[impl AsRef<str>],
        configure: impl Fn(&mut Config),
        settle: impl Fn(&mut LogSettings),
    ) -> Self {
        let logs = (1_000..).zip(logs);
        let logs = logs.map(|(seed, log)| SimLog::new(log.as_ref(), seed));
        let keys = (0..count).map(|index| {
            let name = format!("w{index}.example");
            let seed = 10_000 + 2 * index as u64;
            (Key::cosigner(&name, seed), Key::note(&name, seed + 1))
        });
        Self::of_keys(seed, keys.collect(), logs.collect(), configure, settle)
    }

    /// Witnesses with these keys, with which they cosign and gossip, and logs with these.
    pub(crate) fn of_keys(
        seed: u64,
        keys: Vec<(Key, Key)>,
        logs: Vec<SimLog>,
        configure: impl Fn(&mut Config),
        settle: impl Fn(&mut LogSettings),
    ) -> Self {
        let count = keys.len();
        let mut chance = Chance(seed);
        let settings: Vec<LogSettings> = logs
            .iter()
            .map(|log| {
                let mut settings = LogSettings::new(log.origin.clone(), log.key.vkey());
                settings.tiles = true;
                let next = log.next.as_ref().map(Key::vkey);
                settings
                    .keys
                    .extend(next.map(|key| (key, Standing::Current)));
                settle(&mut settings);
                settings
            })
            .collect();
        let mut directory = Vec::new();
        for own in 0..count {
            let peers = (0..count).filter(|peer| *peer != own);
            let peers = peers.map(|peer| {
                let (cosigner, gossip) = &keys[peer];
                PeerSettings {
                    name: gossip.vkey().name().clone(),
                    gossip: vec![gossip.vkey()],
                    cosigners: vec![cosigner.vkey()],
                    operator: format!("operator {peer}"),
                    asked: true,
                }
            });
            let (cosigner, gossip) = &keys[own];
            directory.push(Directory {
                own: Own {
                    name: gossip.vkey().name().clone(),
                    cosigners: vec![cosigner.vkey()],
                    gossip: vec![gossip.vkey()],
                },
                logs: settings.clone(),
                peers: peers.collect(),
            });
        }
        let mut config = Config::new(chance.random());
        configure(&mut config);
        let mut witnesses = Vec::new();
        for (index, (cosigner, gossip)) in keys.into_iter().enumerate() {
            let mut config = config.clone();
            config.secret = chance.random();
            let directory = directory[index].clone();
            let node = Node::new(config, directory, chance.random(), Moment(START)).unwrap();
            witnesses.push(Witness {
                name: gossip.vkey().name().clone(),
                cosigner,
                gossip,
                node,
                conduct: Conduct::Honest,
                up: true,
                clock: 0,
                disk_full: false,
                logs: BTreeMap::new(),
                evidence: BTreeMap::new(),
                heads: BTreeMap::new(),
                frozen: None,
                first: Vec::new(),
                waiting: BTreeMap::new(),
                replies: BTreeMap::new(),
                life: 0,
            });
        }
        let mut world = Self {
            now: START,
            chance,
            logs,
            parts: vec![0; count],
            apart: BTreeSet::new(),
            asks: vec![true; count],
            witnesses,
            memory: Rc::default(),
            config,
            directory,
            queue: BinaryHeap::new(),
            order: 0,
            loss: 0,
            delay_ms: 200,
            mail: true,
            through_bytes: true,
            deeds: Vec::new(),
            last_request: 0,
        };
        for witness in 0..count {
            let at = world.now + world.chance.below(1_000);
            world.put(at, witness, What::Tick);
        }
        world
    }

    fn put(&mut self, at: u64, witness: usize, what: What) {
        self.order += 1;
        let life = self.witnesses[witness].life;
        self.queue.push(Reverse(Due {
            at,
            order: self.order,
            witness,
            life,
            what,
        }));
    }

    fn later(&mut self, witness: usize, what: What) {
        let at = self.now + 1 + self.chance.below(self.delay_ms);
        self.put(at, witness, what);
    }

    fn clock_of(&self, witness: usize) -> Moment {
        let clock = self.witnesses[witness].clock;
        Moment(self.now.checked_add_signed(clock).unwrap())
    }

    /// Lets a node take an event and does what it wants.
    pub(crate) fn happen(&mut self, witness: usize, event: Event) {
        let now = self.clock_of(witness);
        let memory = self.memory.clone();
        let node = &mut self.witnesses[witness].node;
        let actions = node.step(event, now, &mut self.chance, &*memory);
        for action in actions {
            self.act(witness, action);
        }
    }

    fn act(&mut self, witness: usize, action: Action) {
        match &action {
            Action::Ask {
                peer,
                ask,
                question,
            } => self.ask(witness, peer, *ask, question.clone()),
            Action::ReadTiles { old, note } => {
                self.later(witness, What::Tiles(*old, (**note).clone()));
            }
            Action::Reply { request, reply } => self.reply(witness, *request, reply.clone()),
            Action::StoreLog { origin, record } => {
                let disk = &mut self.witnesses[witness].logs;
                match record {
                    Some(record) => {
                        let bytes = record.to_bytes();
                        assert_eq!(LogRecord::parse(&bytes).as_ref(), Ok(&**record));
                        disk.insert(origin.hash(), bytes);
                    }
                    None => {
                        disk.remove(&origin.hash());
                    }
                }
            }
            Action::StoreEvidence { evidence, .. } => {
                let id = evidence.id();
                let this = &mut self.witnesses[witness];
                if this.disk_full {
                    self.later(witness, What::NotStored(id));
                } else {
                    this.evidence.insert(id, evidence.to_bytes());
                    self.later(witness, What::Stored(id));
                }
            }
            Action::Hold { .. }
            | Action::Release { .. }
            | Action::StopCosigning { .. }
            | Action::StopSigning { .. }
            | Action::Publish(_)
            | Action::Alarm { .. }
            | Action::Resolved { .. } => {}
        }
        if !matches!(action, Action::Ask { .. } | Action::ReadTiles { .. }) {
            self.deeds.push(Deed { witness, action });
        }
    }

    fn ask(&mut self, witness: usize, peer: &KeyName, ask: AskId, question: Question) {
        let to = self.index_of(peer);
        let lost = self.parts[witness] != self.parts[to]
            || self.apart.contains(&(witness, to))
            || !self.asks[witness]
            || self.chance.percent(self.loss);
        let target = &self.witnesses[to];
        if target.conduct == Conduct::Slow {
            return;
        }
        if lost || !target.up || target.conduct == Conduct::Silent {
            let at = self.now + 5_000;
            let answer = Answer::Failed(Failure::Unreachable);
            self.put(at, witness, What::Answer(to, ask, answer));
        } else {
            self.later(to, What::Question(witness, ask, question));
        }
    }

    pub(crate) fn index_of(&self, name: &KeyName) -> usize {
        let mut names = self.witnesses.iter();
        names.position(|witness| witness.name == *name).unwrap()
    }

    fn reply(&mut self, witness: usize, request: RequestId, reply: Reply) {
        let this = &mut self.witnesses[witness];
        let Some((asker, ask)) = this.waiting.remove(&request) else {
            this.replies.insert(request, reply);
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
        self.later(asker, What::Answer(witness, ask, answer));
    }

    fn request(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(self.last_request)
    }

    /// A peer serves a question.
    fn serve(&mut self, witness: usize, asker: usize, ask: AskId, question: Question) {
        let now = self.clock_of(witness);
        let lie = self.chance.random();
        let this = &self.witnesses[witness];
        let shown = match (&this.frozen, this.conduct) {
            (Some(frozen), Conduct::Omits) => frozen,
            _ => &this.node,
        };
        let answer = match question {
            Question::State { nonce } => {
                let mut state = shown.state(now, Some(nonce));
                if this.conduct == Conduct::TwoFaced {
                    state.rows = TreeHead {
                        size: size(1),
                        root_hash: leaf_hash(&lie.0),
                    };
                }
                let said = this.gossip.say(Statement::State(state));
                self.memory.signed(&this.gossip.vkey(), &said);
                Answer::State(Box::new(SignedStatement::parse(&said.to_bytes()).unwrap()))
            }
            Question::Heads { epoch, since } => {
                let (mut page, mut rows) = shown.page(Some(epoch), since, ROWS_MAX, now);
                if this.conduct == Conduct::TwoFacedPages
                    && let Some(row) = rows.first_mut()
                {
                    row.time = now.seconds();
                    page.rows = Page::rows_head(&rows).unwrap();
                }
                let said = this.gossip.say(Statement::Page(page));
                self.memory.signed(&this.gossip.vkey(), &said);
                let feed = Feed::new(rows, said).unwrap();
                Answer::Heads(Box::new(
                    self.whole(feed, |feed| Feed::parse(&feed.to_bytes()).unwrap()),
                ))
            }
            Question::Fetch(fetch) => {
                let fetch = self.whole(fetch, |fetch| Fetch::parse(&fetch.to_bytes()).unwrap());
                let notes = shown.notes(&fetch);
                Answer::Notes(self.whole(notes, |notes| Notes::parse(&notes.to_bytes()).unwrap()))
            }
            Question::Opening { origin, old, size } => {
                match shown.opening(&origin.hash(), old, size) {
                    Some(opening) => Answer::Opening(Box::new(opening.clone())),
                    None => Answer::Nothing,
                }
            }
            Question::Catalogue { since } => Answer::Catalogue(shown.catalogue(since)),
            Question::Evidence { id } => match shown.evidence(&id) {
                Some(evidence) => Answer::Evidence(Box::new((**evidence).clone())),
                None => Answer::Nothing,
            },
            Question::Challenge(_) if this.conduct == Conduct::Omits => Answer::Nothing,
            Question::Challenge(note) => {
                let request = self.request();
                let this = &mut self.witnesses[witness];
                this.waiting.insert(request, (asker, ask));
                let note = (*note).clone();
                let from = Some(self.witnesses[asker].name.clone());
                self.happen(
                    witness,
                    Event::ChallengeReceived {
                        request,
                        from,
                        note,
                    },
                );
                return;
            }
            Question::Mail(_) if !self.mail => Answer::Taken,
            Question::Mail(evidence) => {
                let request = self.request();
                let this = &mut self.witnesses[witness];
                this.waiting.insert(request, (asker, ask));
                let evidence = Box::new(Evidence::parse(&evidence.to_bytes()).unwrap());
                let request = Some(request);
                self.happen(witness, Event::EvidenceReceived { request, evidence });
                return;
            }
        };
        let answer = match answer {
            Answer::Opening(opening) => {
                Answer::Opening(Box::new(self.whole(*opening, |opening| {
                    Opening::parse(&opening.to_bytes()).unwrap()
                })))
            }
            other => other,
        };
        let this = &mut self.witnesses[witness];
        let same =
            |said: &&Answer| std::mem::discriminant(*said) == std::mem::discriminant(&answer);
        let answer = match this.first.iter().find(same) {
            Some(first) if this.conduct == Conduct::Replays => first.clone(),
            Some(_) => answer,
            None => {
                this.first.push(answer.clone());
                answer
            }
        };
        self.later(asker, What::Answer(witness, ask, answer));
    }

    fn whole<T>(&self, value: T, through: impl Fn(&T) -> T) -> T {
        if self.through_bytes {
            through(&value)
        } else {
            value
        }
    }

    /// Runs until a time, in seconds from the start.
    pub(crate) fn run_to(&mut self, seconds: u64) {
        let end = START + 1_000 * seconds;
        while let Some(Reverse(due)) = self.queue.peek() {
            if due.at > end {
                break;
            }
            let Some(Reverse(due)) = self.queue.pop() else {
                break;
            };
            self.now = due.at;
            let witness = due.witness;
            let alive = self.witnesses[witness].up && self.witnesses[witness].life == due.life;
            match due.what {
                What::Tick => {
                    let at = self.now + 1_000;
                    self.order += 1;
                    self.queue.push(Reverse(Due {
                        at,
                        order: self.order,
                        what: What::Tick,
                        life: due.life,
                        ..due
                    }));
                    if self.witnesses[witness].up {
                        self.happen(witness, Event::Tick);
                    }
                }
                _ if !alive => {}
                What::Question(asker, ask, question) => {
                    self.serve(witness, asker, ask, question);
                }
                What::Answer(peer, ask, answer) => {
                    let peer = self.witnesses[peer].name.clone();
                    self.happen(witness, Event::Answer { peer, ask, answer });
                }
                What::Tiles(old, note) => {
                    let log = self.log_of(note.origin());
                    let opening = self.logs[log].open(witness, old, &note);
                    let event = Event::TilesRead {
                        origin: note.origin().clone(),
                        old,
                        of: note.head(),
                        opening: opening.map(Box::new),
                    };
                    self.happen(witness, event);
                }
                What::Stored(id) => self.happen(witness, Event::EvidenceStored { id }),
                What::NotStored(id) => self.happen(witness, Event::EvidenceNotStored { id }),
            }
        }
        self.now = end;
    }

    /// So many seconds more.
    pub(crate) fn run(&mut self, seconds: u64) {
        let so_far = (self.now - START) / 1_000;
        self.run_to(so_far + seconds);
    }

    /// So many rounds more, each as long as rounds are at most.
    pub(crate) fn rounds(&mut self, rounds: u64) {
        // A tick later, that is.
        self.run(rounds * (self.config.round.as_secs() + 1) + 1);
    }

    pub(crate) fn log_of(&self, origin: &Origin) -> usize {
        let mut logs = self.logs.iter();
        logs.position(|log| log.origin == *origin).unwrap()
    }

    /// A log asks a witness to cosign, as an honest client of one branch would. Whether it did.
    pub(crate) fn submit(&mut self, witness: usize, log: usize, branch: usize, to: u64) -> bool {
        if !self.witnesses[witness].up {
            return false;
        }
        let origin = self.logs[log].origin.clone();
        let note = self.logs[log].note(branch, to);
        let own = self.witnesses[witness].heads.get(&origin);
        let before = own.map(|(note, _)| note.head());
        let from = before.map_or(0, |head| head.size.get());
        if from > to {
            return false;
        }
        let proof = self.logs[log].proof(branch, from, to);
        match self.witnesses[witness].node.cosigning(&origin) {
            Cosigning::Free => {}
            Cosigning::Held { suspect } if suspect == note.head() => {}
            _ => return false,
        }
        let verified =
            before.is_none_or(|old| verify_consistency(&old, &note.head(), &proof).is_ok());
        if !verified {
            if let Some((own, _)) = self.witnesses[witness].heads.get(&origin)
                && let Ok(evidence) = Evidence::of_growth(own, &note, &proof)
            {
                let evidence = Box::new(evidence);
                let request = None;
                self.happen(witness, Event::EvidenceReceived { request, evidence });
            }
            return false;
        }
        self.cosign(witness, &note, before.map(|head| (head, proof)));
        true
    }

    /// A witness cosigns, whatever is asked: honest ones go through [`World::submit`].
    pub(crate) fn cosign(
        &mut self,
        witness: usize,
        note: &SignedCheckpoint,
        grown_from: Option<(TreeHead, ConsistencyProof)>,
    ) {
        let time = self.clock_of(witness).seconds();
        let this = &mut self.witnesses[witness];
        let note = this.cosigner.cosign(note, time);
        this.heads
            .insert(note.origin().clone(), (note.clone(), time));
        let event = Event::HeadCosigned {
            note,
            time,
            grown_from,
        };
        self.happen(witness, event);
    }

    /// Somebody shows a witness a checkpoint.
    pub(crate) fn observe(&mut self, witness: usize, note: SignedCheckpoint) -> Reply {
        let request = self.request();
        self.happen(witness, Event::Observed { request, note });
        self.witnesses[witness].replies.remove(&request).unwrap()
    }

    /// A witness remembers what it will pretend to be.
    pub(crate) fn freeze(&mut self, witness: usize) {
        let this = &mut self.witnesses[witness];
        this.frozen = Some(this.node.clone());
    }

    /// Kills a witness between two steps: what is not on its disk is gone.
    pub(crate) fn kill(&mut self, witness: usize) {
        let this = &mut self.witnesses[witness];
        this.up = false;
        this.life += 1;
        this.waiting.clear();
    }

    /// Starts it again.
    pub(crate) fn revive(&mut self, witness: usize) {
        let now = self.clock_of(witness);
        let mut config = self.config.clone();
        config.secret = self.chance.random();
        let epoch: Random = self.chance.random();
        let directory = self.directory[witness].clone();
        let mut node = Node::new(config, directory, epoch, now).unwrap();
        let this = &mut self.witnesses[witness];
        let mut news = Vec::new();
        for bytes in this.logs.values() {
            news.extend(node.restore_log(LogRecord::parse(bytes).unwrap(), now));
        }
        for bytes in this.evidence.values() {
            let evidence = Evidence::parse(bytes).unwrap();
            let memory = &*self.memory;
            news.extend(node.restore_evidence(&evidence, now, &mut self.chance, memory));
        }
        this.node = node;
        this.up = true;
        let heads: Vec<(SignedCheckpoint, UnixSeconds)> = this.heads.values().cloned().collect();
        for action in news {
            self.act(witness, action);
        }
        for (note, time) in heads {
            let grown_from = None;
            self.happen(
                witness,
                Event::HeadCosigned {
                    note,
                    time,
                    grown_from,
                },
            );
        }
    }

    /// A log signs with its other key from now on.
    pub(crate) fn rotate(&mut self, log: usize) {
        let log = &mut self.logs[log];
        if let Some(next) = log.next.take() {
            log.key = next;
        }
    }

    /// Everyone is told of the standing of a log's first key, if the log does not use it any more.
    pub(crate) fn set_standing(&mut self, log: usize, standing: Standing) {
        if self.logs[log].next.is_some() {
            return;
        }
        self.memory.forget_evidence();
        for witness in 0..self.witnesses.len() {
            let settings = &mut self.directory[witness].logs[log];
            settings.keys[0].1 = standing;
            let directory = Box::new(self.directory[witness].clone());
            if self.witnesses[witness].up {
                self.happen(witness, Event::DirectoryChanged(directory));
            }
        }
    }

    /// A log says that it has no tiles any more below a size.
    pub(crate) fn prune(&mut self, log: usize, below: u64) {
        for witness in 0..self.witnesses.len() {
            self.directory[witness].logs[log].pruned_below = size(below);
            let directory = Box::new(self.directory[witness].clone());
            if self.witnesses[witness].up {
                self.happen(witness, Event::DirectoryChanged(directory));
            }
        }
    }

    /// A witness never heard of a log.
    pub(crate) fn forget_log(&mut self, witness: usize, log: usize) {
        self.directory[witness].logs.remove(log);
        let directory = self.directory[witness].clone();
        let config = self.config.clone();
        let now = self.clock_of(witness);
        let epoch = self.chance.random();
        self.witnesses[witness].node = Node::new(config, directory, epoch, now).unwrap();
    }

    pub(crate) fn cosigning(&self, witness: usize, log: usize) -> Cosigning {
        let origin = &self.logs[log].origin;
        self.witnesses[witness].node.cosigning(origin)
    }

    pub(crate) fn is_convicted(&self, witness: usize, log: usize) -> bool {
        matches!(self.cosigning(witness, log), Cosigning::Convicted { .. })
    }

    /// Everyone cosigns the log no more: for its guilt, or for its own.
    pub(crate) fn all_convict(&self, log: usize) -> bool {
        (0..self.witnesses.len()).all(|witness| {
            let cosigning = self.cosigning(witness, log);
            matches!(
                cosigning,
                Cosigning::Convicted { .. } | Cosigning::Stopped { .. }
            )
        })
    }

    pub(crate) fn nobody_convicts(&self) {
        for (index, witness) in self.witnesses.iter().enumerate() {
            assert!(witness.evidence.is_empty(), "w{index} holds evidence");
        }
        let guilty = self.deeds.iter().find(|deed| {
            matches!(
                deed.action,
                Action::StopCosigning { .. } | Action::StopSigning { .. }
            )
        });
        assert!(guilty.is_none(), "{guilty:?}");
    }

    /// The kinds of the evidence that a witness stored.
    pub(crate) fn kinds(&self, witness: usize) -> Vec<Kind> {
        let files = self.witnesses[witness].evidence.values();
        files
            .map(|bytes| Evidence::parse(bytes).unwrap().kind())
            .collect()
    }

    /// Whom the evidence that a witness stored convicts.
    pub(crate) fn guilty(&self, witness: usize) -> BTreeSet<KeyName> {
        let keys = self.directory[witness].known_keys().unwrap();
        let mut names = BTreeSet::new();
        for bytes in self.witnesses[witness].evidence.values() {
            let verdict = Evidence::parse(bytes).unwrap().verify(&keys).unwrap();
            names.extend(
                verdict
                    .guilty
                    .iter()
                    .map(|guilty| guilty.key.name().clone()),
            );
        }
        names
    }

    /// Whether a witness told the public of a head that nobody can open.
    pub(crate) fn published(&self, witness: usize) -> bool {
        self.deeds
            .iter()
            .any(|deed| deed.witness == witness && matches!(deed.action, Action::Publish(_)))
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment(self.now)
    }

    /// Somebody submits evidence, and waits.
    pub(crate) fn hand_in(&mut self, witness: usize, evidence: Evidence) -> Reply {
        let request = self.request();
        let event = Event::EvidenceReceived {
            request: Some(request),
            evidence: Box::new(evidence),
        };
        self.happen(witness, event);
        for _ in 0..10 {
            if let Some(reply) = self.witnesses[witness].replies.remove(&request) {
                return reply;
            }
            self.run(1);
        }
        panic!("no answer");
    }

    pub(crate) fn raised(&self, witness: usize, alarm: &Alarm) -> bool {
        self.witnesses[witness]
            .node
            .alarms()
            .any(|raised| raised == alarm)
    }
}

/// Runs a story under many seeds; when it fails, says under which.
pub(crate) fn under_seeds(seeds: std::ops::Range<u64>, story: impl Fn(u64)) {
    for seed in seeds {
        let run = std::panic::AssertUnwindSafe(|| story(seed));
        if let Err(why) = std::panic::catch_unwind(run) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(why);
        }
    }
}
