//! A world that a model checker goes through: real nodes, what is on their disks, what is on its
//! way between them, and what is left of the things that may happen.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use jurat_proto::add_checkpoint::{self, AddCheckpoint};
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::evidence::{Evidence, LogFinding, Standing, Verdict};
use jurat_proto::gossip::node::{
    Action, Answer, AskId, Cosigning, Event, Failure, LogRecord, Moment, Node, Phase, Question,
    Reply, RequestId,
};
use jurat_proto::gossip::{Feed, Notes, Opening, Statement};
use jurat_proto::hash::Hash as Digest;
use jurat_proto::key::{UnixSeconds, VerifierKey};
use jurat_proto::tree::{TreeHead, TreeSize};
use stateright::{Model, Property};

use super::cast::{Cast, Checked, FORK, Fixed, Known, MAIN, OTHER, SIZE_MAX, Signed, seconds};
use crate::network::START;

/// How many rows a page has at most.
const ROWS_MAX: usize = 64;
/// How much time passes when some does, in milliseconds: more than hides a head (EVI-15).
const LATER_MS: u64 = 20_000;
/// Where waits take time, how long a round takes, and how much time a tick shows: what tiles are
/// read after (GSP-115), and half a round.
pub(super) const ROUND_MS: u64 = 10_000;
const TICK_MS: u64 = ROUND_MS / 2;

/// What a model is of, and how much of each thing may happen.
#[derive(Clone)]
pub(super) struct Story {
    /// How many honest witnesses there are.
    pub(super) honest: usize,
    /// Whether there is one more, which lies.
    pub(super) liar: bool,
    pub(super) tiles: Tiles,
    /// Which heads the log may show to whom: `(witness, branch, size)`.
    pub(super) shows: Vec<(usize, usize, u64)>,
    /// What has happened before the story begins.
    pub(super) before: Vec<Act>,
    /// Which heads anybody may show to the first witness.
    pub(super) pushes: Vec<(usize, u64, Signed)>,
    /// How many rounds each witness has.
    pub(super) rounds: Vec<u8>,
    pub(super) left: Left,
    /// Whether rounds take time, as all waits do.
    pub(super) waits: bool,
    /// After how many of the actions of a step its process may die.
    pub(super) dies_after: usize,
    pub(super) variant: Variant,
    /// What may be open at most, for the property.
    pub(super) open_max: usize,
}

/// Which tiles the log serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tiles {
    /// All.
    Open,
    /// To each witness those of the histories that it cosigned.
    Followers,
    /// None.
    Refused,
}

/// How often each thing may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Left {
    pub(super) shows: u8,
    pub(super) pushes: u8,
    pub(super) drops: u8,
    pub(super) doubles: u8,
    pub(super) crashes: u8,
    pub(super) retires: u8,
    pub(super) prunes: u8,
    pub(super) later: u8,
    pub(super) ticks: u8,
}

/// A design that is broken on purpose: a property that holds of this one as well says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    /// The design as it is.
    AsDesigned,
    /// A witness takes the largest head that it sees for its own, and drops smaller ones.
    MaxMerge,
    /// Nobody answers challenges.
    NoChallenge,
    /// A cosignature leaves before it is durable.
    RepliesFirst,
    /// A disk that loses evidence when its process dies.
    Forgets,
    /// Evidence is neither mailed nor listed.
    TellsNobody,
    /// The log never serves tiles.
    NoTiles,
}

/// An honest witness: its process, and its disk.
#[derive(Clone)]
pub(super) struct Honest {
    pub(super) node: Node,
    known: Known,
    life: u8,
    head: Option<(SignedCheckpoint, UnixSeconds)>,
    logs: BTreeMap<Digest, Vec<u8>>,
    pub(super) evidence: BTreeMap<Digest, Vec<u8>>,
    /// What it asked whom, and waits for.
    asking: BTreeMap<usize, AskId>,
    digest: u64,
}

/// What is on its way.
#[derive(Clone)]
enum What {
    Question {
        from: usize,
        to: usize,
        ask: AskId,
        question: Question,
    },
    /// The answer to what the peer had to think about.
    Reply {
        to: usize,
        from: usize,
        ask: AskId,
        answer: Answer,
    },
    Tiles {
        witness: usize,
        old: TreeSize,
        note: Arc<SignedCheckpoint>,
    },
}

pub(super) struct Message {
    what: What,
    digest: u64,
}

impl What {
    /// Without the number of the question: see [`World::is_awaited`].
    fn digest(&self) -> u64 {
        let mut into = DefaultHasher::new();
        match self {
            Self::Question {
                from, to, question, ..
            } => {
                (0, from, to, std::mem::discriminant(question)).hash(&mut into);
                match question {
                    Question::State { nonce } => nonce.hash(&mut into),
                    Question::Heads { epoch, since } => (epoch, since).hash(&mut into),
                    Question::Fetch(fetch) => fetch.to_bytes().hash(&mut into),
                    Question::Challenge(note) => note.to_bytes().hash(&mut into),
                    Question::Opening { old, size, .. } => (old, size).hash(&mut into),
                    Question::Catalogue { since } => since.hash(&mut into),
                    Question::Evidence { id } => id.hash(&mut into),
                    Question::Mail(evidence) => evidence.to_bytes().hash(&mut into),
                }
            }
            Self::Reply {
                to, from, answer, ..
            } => {
                (1, from, to, std::mem::discriminant(answer)).hash(&mut into);
                if let Answer::Opening(opening) = answer {
                    opening.to_bytes().hash(&mut into);
                }
            }
            Self::Tiles { witness, old, note } => (2, witness, old, note.head()).hash(&mut into),
        }
        into.finish()
    }
}

impl Honest {
    /// It changes no more before it is seen.
    fn seal(&mut self) {
        let mut into = DefaultHasher::new();
        self.node.fingerprint(&mut into);
        let head = self
            .head
            .as_ref()
            .map(|(note, time)| (note.to_bytes(), time));
        (self.known, self.life, head).hash(&mut into);
        (&self.logs, &self.evidence).hash(&mut into);
        let waits: Vec<&usize> = self.asking.keys().collect();
        waits.hash(&mut into);
        self.digest = into.finish().max(1);
    }
}

/// How far a round of one witness with another has come, that began when they held heads of two
/// histories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Contact {
    #[default]
    None,
    Running,
    /// All that was asked was answered.
    Done,
    /// And the asker had a round since.
    Past,
}

/// What is never to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Broken {
    S1,
    S2,
    S3,
    D3,
    B1,
}

/// A state of a model.
#[derive(Clone)]
pub(super) struct World {
    pub(super) witnesses: Vec<Arc<Honest>>,
    pub(super) on_its_way: Vec<Arc<Message>>,
    now: u64,
    tiles: Tiles,
    left: Left,
    rounds: Vec<u8>,
    /// What each witness ever cosigned, whether it remembers or not.
    signed: Vec<BTreeSet<(usize, u64)>>,
    /// Evidence that each ever had on its disk, and told.
    told: Vec<BTreeSet<Digest>>,
    pub(super) contact: Vec<Vec<Contact>>,
    pub(super) broken: BTreeSet<Broken>,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, into: &mut H) {
        for witness in &self.witnesses {
            witness.digest.hash(into);
        }
        for message in &self.on_its_way {
            (message.digest, self.is_awaited(&message.what)).hash(into);
        }
        (self.now, self.tiles, self.left, &self.rounds).hash(into);
        (&self.signed, &self.told, &self.contact, &self.broken).hash(into);
    }
}

impl World {
    /// A witness that is about to change.
    fn touch(&mut self, witness: usize) -> &mut Honest {
        let this = Arc::make_mut(&mut self.witnesses[witness]);
        this.digest = 0;
        this
    }

    fn send(&mut self, what: What) {
        let digest = what.digest();
        self.on_its_way.push(Arc::new(Message { what, digest }));
    }

    /// Whether anybody still waits for what comes of this.
    fn is_awaited(&self, what: &What) -> bool {
        let (asker, peer, ask) = match what {
            What::Question { from, to, ask, .. } => (*from, *to, ask),
            What::Reply { to, from, ask, .. } => (*to, *from, ask),
            What::Tiles { .. } => return true,
        };
        self.witnesses[asker].asking.get(&peer) == Some(ask)
    }

    /// What a witness was told by a peer, or by all, was not all.
    fn break_off(&mut self, witness: usize, peer: Option<usize>) {
        for (one, row) in self.contact.iter_mut().enumerate() {
            for (other, contact) in row.iter_mut().enumerate() {
                let is_theirs = (one == witness && peer.is_none_or(|peer| peer == other))
                    || (other == witness && peer.is_none_or(|peer| peer == one));
                if is_theirs && *contact == Contact::Running {
                    *contact = Contact::None;
                }
            }
        }
    }

    /// S3: what somebody was told of is on the disk from then on.
    fn is_told(&mut self, witness: usize, id: Digest) {
        self.told[witness].insert(id);
        if !self.witnesses[witness].evidence.contains_key(&id) {
            self.broken.insert(Broken::S3);
        }
    }

    /// The newest head that a witness cosigned.
    fn newest(&self, witness: usize) -> Option<TreeHead> {
        let head = self.witnesses[witness].head.as_ref();
        head.map(|(note, _)| note.head())
    }

    /// Whether honest witnesses cosigned heads of two histories.
    pub(super) fn is_forked(&self, told: &Told) -> bool {
        let signed = self.signed.iter().flatten();
        let heads: Vec<TreeHead> = signed
            .map(|(branch, to)| told.cast.head(*branch, *to))
            .collect();
        heads.iter().enumerate().any(|(place, head)| {
            let mut before = heads[..place].iter();
            before.any(|before| !told.cast.agree(before, head))
        })
    }

    pub(super) fn stands(&self, told: &Told, witness: usize) -> Cosigning {
        self.witnesses[witness].node.cosigning(&told.cast.origin)
    }

    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?} {:?}", self.signed, self.contact, self.broken)
    }
}

/// Something that may happen.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    /// The log asks a witness to cosign.
    Show(usize, usize, u64),
    /// As [`Act::Show`], and the witness dies before its gossip is told.
    ShowAndDie(usize, usize, u64),
    /// Anybody shows a witness a checkpoint.
    Push(usize, usize, u64, Signed),
    Round(usize),
    /// What is on its way arrives, and is answered; by a liar as who holds one of the histories.
    Deliver(usize, Lie),
    /// As [`Act::Deliver`], and who takes it dies after so many actions.
    DeliverAndDie(usize, usize),
    Drop(usize),
    Double(usize),
    Crash(usize),
    Retire(usize),
    Prune(usize),
    Later,
    /// Some time passes, and a witness sees it; it is too early for a round.
    Tick(usize),
}

/// As who a liar answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// It is no liar.
    No,
    Holds(usize),
    /// It says that there is nothing.
    Nothing,
}

/// A story and its cast.
pub(super) struct Told {
    pub(super) story: Story,
    pub(super) cast: Cast,
    personas: Vec<Node>,
    properties: Vec<Property<Told>>,
}

impl Told {
    pub(super) fn new(story: Story, cast: Cast, properties: Vec<Property<Self>>) -> Self {
        let liar = story.honest;
        let personas = if story.liar {
            vec![cast.persona(liar, MAIN, 3), cast.persona(liar, OTHER, 3)]
        } else {
            Vec::new()
        };
        Self {
            story,
            cast,
            personas,
            properties,
        }
    }

    fn is_honest(&self, witness: usize) -> bool {
        witness < self.story.honest
    }

    /// Whether any two heads that the log ever signs are of two histories.
    fn forks(&self) -> bool {
        let before = self.story.before.iter().filter_map(|act| match act {
            Act::Show(_, branch, _) => Some(*branch),
            _ => None,
        });
        let shown = self.story.shows.iter().map(|(_, branch, _)| *branch);
        let real = self.story.pushes.iter();
        let real = real.filter(|(_, _, signed)| *signed != Signed::Forged);
        let pushed = real.map(|(branch, _, _)| *branch);
        let branches: BTreeSet<usize> = before.chain(shown).chain(pushed).collect();
        branches.len() > 1
    }

    /// Lets a witness take an event and does what it wants, up to so many actions; then it dies.
    fn happen(
        &self,
        world: &mut World,
        witness: usize,
        event: Event,
        dies: Option<usize>,
    ) -> Option<Reply> {
        let now = Moment(world.now);
        let this = world.touch(witness);
        let known = this.known;
        let actions = this.node.step(event, now, &mut Fixed, &Checked(known));
        self.perform(world, witness, actions, dies)
    }

    fn perform(
        &self,
        world: &mut World,
        witness: usize,
        actions: Vec<Action>,
        dies: Option<usize>,
    ) -> Option<Reply> {
        let mut todo = VecDeque::from(actions);
        let (mut reply, mut done) = (None, 0);
        while let Some(action) = todo.pop_front() {
            if dies == Some(done) {
                self.crash(world, witness);
                return None;
            }
            done += 1;
            let this = world.touch(witness);
            match action {
                Action::Ask {
                    peer,
                    ask,
                    question,
                } => {
                    let to = self.cast.index_of(&peer);
                    // Spec: GSP-35. One question at a time.
                    if this.asking.insert(to, ask).is_some() {
                        world.broken.insert(Broken::B1);
                    }
                    if let Question::Mail(evidence) = &question {
                        world.is_told(witness, evidence.id());
                    }
                    let from = witness;
                    world.send(What::Question {
                        from,
                        to,
                        ask,
                        question,
                    });
                }
                Action::ReadTiles { old, note } => world.send(What::Tiles { witness, old, note }),
                Action::Reply { reply: said, .. } => {
                    if let Reply::Stored { id } | Reply::Known { id } | Reply::Convicted { id } =
                        &said
                    {
                        world.is_told(witness, *id);
                    }
                    reply = Some(said);
                }
                Action::StoreLog { origin, record } => {
                    match record {
                        Some(record) => this.logs.insert(origin.hash(), record.to_bytes()),
                        None => this.logs.remove(&origin.hash()),
                    };
                }
                Action::StoreEvidence { evidence, verdict } => {
                    let id = evidence.id();
                    this.evidence.insert(id, evidence.to_bytes());
                    self.judge(world, &verdict);
                    let now = Moment(world.now);
                    let this = world.touch(witness);
                    let known = this.known;
                    let stored = Event::EvidenceStored { id };
                    todo.extend(this.node.step(stored, now, &mut Fixed, &Checked(known)));
                }
                Action::StopCosigning { .. }
                | Action::StopSigning { .. }
                | Action::Hold { .. }
                | Action::Release { .. }
                | Action::Publish(_)
                | Action::Alarm { .. }
                | Action::Resolved { .. } => {}
            }
        }
        if dies.is_some() {
            self.crash(world, witness);
            return None;
        }
        reply
    }

    /// S2: who is honest is convicted.
    fn judge(&self, world: &mut World, verdict: &Verdict) {
        let guilty = verdict.guilty.iter().map(|guilty| &guilty.key);
        let mut witnesses = guilty.filter_map(|key| self.cast.witness_of(key));
        let is_log = verdict.convicts_log() || verdict.log == LogFinding::Guilty;
        if witnesses.any(|witness| self.is_honest(witness)) || (is_log && !self.forks()) {
            world.broken.insert(Broken::S2);
        }
    }

    /// A process dies, and the next one begins: what is not on the disk is gone.
    fn crash(&self, world: &mut World, witness: usize) {
        world.on_its_way.retain(|message| match &message.what {
            What::Question { from, question, .. } => {
                let arrives = matches!(question, Question::Challenge(_) | Question::Mail(_));
                *from != witness || arrives
            }
            What::Reply { to, .. } => *to != witness,
            What::Tiles { witness: of, .. } => *of != witness,
        });
        world.break_off(witness, None);
        let now = world.now;
        let this = world.touch(witness);
        this.life += 1;
        this.asking.clear();
        if self.story.variant == Variant::RepliesFirst {
            this.head = None;
        }
        if self.story.variant == Variant::Forgets {
            this.evidence.clear();
        }
        this.node = self.cast.node(witness, this.known, this.life, now);
        let mut actions = Vec::new();
        for bytes in this.logs.values() {
            let record = LogRecord::parse(bytes).expect("what was written");
            actions.extend(this.node.restore_log(record, Moment(now)));
        }
        for bytes in this.evidence.values() {
            let evidence = Evidence::parse(bytes).expect("what was written");
            let checked = Checked(this.known);
            let news = this
                .node
                .restore_evidence(&evidence, Moment(now), &mut Fixed, &checked);
            actions.extend(news);
        }
        let head = this.head.clone();
        self.perform(world, witness, actions, None);
        if let Some((note, time)) = head {
            let event = Event::HeadCosigned {
                note,
                time,
                grown_from: None,
            };
            self.happen(world, witness, event, None);
        }
        // S3: what it held before, it holds.
        let this = &world.witnesses[witness];
        let told = world.told[witness].iter();
        let mut lost = told.filter(|id| this.node.evidence(id).is_none());
        if lost.next().is_some() {
            world.broken.insert(Broken::S3);
        }
    }

    /// The log asks a witness to cosign, as any client does.
    fn show(&self, world: &mut World, witness: usize, branch: usize, to: u64, dies: bool) {
        let signed = if world.witnesses[witness].known.retired {
            Signed::Second
        } else {
            Signed::First
        };
        let note = self.cast.note(branch, to, signed);
        let this = &world.witnesses[witness];
        let latest = this.head.as_ref().map(|(note, _)| note.head());
        let old_size = latest.map_or(TreeSize::ZERO, |head| head.size);
        let from = old_size.get();
        if from > to {
            return;
        }
        let request = AddCheckpoint {
            old_size,
            proof: self.cast.proof(branch, from, to),
            checkpoint: note.clone(),
        };
        let directory = self.cast.directory(witness, this.known);
        let keys = directory.logs[0].keys.iter();
        let current = keys.filter(|(_, standing)| *standing == Standing::Current);
        let keys: Vec<VerifierKey> = current.map(|(key, _)| key.clone()).collect();
        // What the log sent is laid beside what is held, whatever becomes of the request.
        let decided = add_checkpoint::decide(latest.as_ref(), Some(&keys), &request);
        match (this.node.cosigning(&self.cast.origin), decided) {
            (Cosigning::Free, Ok(_)) => {}
            (Cosigning::Held { .. }, Ok(_)) => {
                if let Some(latest) = latest
                    && let Ok(opening) = Opening::new(latest, request.proof, note.clone())
                {
                    self.happen(world, witness, Event::ProofSeen(Box::new(opening)), None);
                }
                return;
            }
            (_, Err(_)) => {
                if let Some((own, _)) = &this.head
                    && let Ok(evidence) = Evidence::of_growth(own, note, &request.proof)
                {
                    let evidence = Box::new(evidence);
                    let request = None;
                    self.happen(
                        world,
                        witness,
                        Event::EvidenceReceived { request, evidence },
                        None,
                    );
                }
                return;
            }
            (
                Cosigning::Convicted { .. } | Cosigning::Stopped { .. } | Cosigning::Isolated,
                Ok(_),
            ) => return,
        }
        self.cosigns(world, witness, (branch, to));
        let time = seconds(world.now);
        let note = self.cast.cosign(witness, note, world.now);
        let this = world.touch(witness);
        this.head = Some((note.clone(), time));
        if dies {
            self.crash(world, witness);
            return;
        }
        let grown_from = latest.map(|latest| (latest, request.proof));
        let event = Event::HeadCosigned {
            note,
            time,
            grown_from,
        };
        self.happen(world, witness, event, None);
    }

    /// S1 and D3: what a cosignature must not contradict.
    fn cosigns(&self, world: &mut World, witness: usize, (branch, to): (usize, u64)) {
        let head = self.cast.head(branch, to);
        let before = world.signed[witness].iter();
        let mut before = before.map(|(branch, to)| self.cast.head(*branch, *to));
        if before.any(|before| !self.cast.agree(&before, &head)) {
            world.broken.insert(Broken::S1);
        }
        world.signed[witness].insert((branch, to));
        let this = &world.witnesses[witness];
        let known = this.known;
        for bytes in this.logs.values() {
            let record = LogRecord::parse(bytes).expect("what was written");
            for open in record.open {
                let retired = self.cast.directory(witness, known).logs[0].keys[0].clone();
                let by_first = open
                    .note
                    .signatures()
                    .iter()
                    .any(|line| retired.0.matches(line));
                let holds = open.phase >= Phase::Suspect && !(by_first && known.retired);
                if holds && !self.cast.agree(&open.note.head(), &head) {
                    world.broken.insert(Broken::D3);
                }
            }
        }
    }

    /// A peer answers; one that has to think about it sends a reply later.
    fn serve(
        &self,
        world: &mut World,
        (from, to): (usize, usize),
        ask: AskId,
        question: &Question,
        dies: Option<usize>,
    ) -> Option<Answer> {
        let tells = self.story.variant != Variant::TellsNobody;
        let event = match question {
            Question::Challenge(_) if self.story.variant == Variant::NoChallenge => {
                return Some(Answer::Nothing);
            }
            Question::Catalogue { .. } | Question::Evidence { .. } if !tells => {
                return Some(Answer::Nothing);
            }
            Question::Mail(_) if !tells => return Some(Answer::Taken),
            Question::Challenge(note) => Event::ChallengeReceived {
                from: None,
                request: REQUEST,
                note: (**note).clone(),
            },
            Question::Mail(evidence) => Event::EvidenceReceived {
                request: Some(REQUEST),
                evidence: Box::new((**evidence).clone()),
            },
            _ => {
                if let Question::Catalogue { since } = question {
                    let listed = world.witnesses[to].node.catalogue(*since);
                    let ids: Vec<Digest> = listed.entries().iter().map(|entry| entry.id).collect();
                    for id in ids {
                        world.is_told(to, id);
                    }
                }
                let node = &world.witnesses[to].node;
                return Some(self.read(node, to, world.now, question));
            }
        };
        let reply = self.happen(world, to, event, dies);
        let answer = match reply {
            Some(Reply::Opening(opening)) => Answer::Opening(opening),
            Some(Reply::Stored { .. }) => Answer::Taken,
            Some(Reply::Known { .. }) if matches!(question, Question::Mail(_)) => Answer::Taken,
            Some(
                Reply::Consistent | Reply::Pending | Reply::Convicted { .. } | Reply::UnknownOrigin,
            ) => Answer::Nothing,
            Some(Reply::NotSigned | Reply::NotProven(_)) => Answer::Failed(Failure::Refused),
            _ => Answer::Failed(Failure::Unreachable),
        };
        world.send(What::Reply {
            to: from,
            from: to,
            ask,
            answer,
        });
        None
    }

    /// What a node shows without thinking.
    fn read(&self, node: &Node, of: usize, now: u64, question: &Question) -> Answer {
        let now = Moment(now);
        match question {
            Question::State { nonce } => {
                let state = Statement::State(node.state(now, Some(*nonce)));
                Answer::State(Box::new(self.cast.say(of, state)))
            }
            Question::Heads { epoch, since } => {
                let (page, rows) = node.page(Some(*epoch), *since, ROWS_MAX, now);
                let said = self.cast.say(of, Statement::Page(page));
                Answer::Heads(Box::new(Feed::new(rows, said).expect("its own rows")))
            }
            Question::Fetch(fetch) => Answer::Notes(node.notes(fetch)),
            Question::Opening { origin, old, size } => {
                match node.opening(&origin.hash(), *old, *size) {
                    Some(opening) => Answer::Opening(Box::new(opening.clone())),
                    None => Answer::Nothing,
                }
            }
            Question::Catalogue { since } => Answer::Catalogue(node.catalogue(*since)),
            Question::Evidence { id } => match node.evidence(id) {
                Some(evidence) => Answer::Evidence(Box::new((**evidence).clone())),
                None => Answer::Nothing,
            },
            Question::Challenge(_) => Answer::Nothing,
            Question::Mail(_) => Answer::Taken,
        }
    }

    /// What a liar answers.
    fn lie(&self, liar: usize, now: u64, question: &Question, lie: Lie) -> Answer {
        let Lie::Holds(branch) = lie else {
            return match question {
                Question::Challenge(_) | Question::Opening { .. } | Question::Evidence { .. } => {
                    Answer::Nothing
                }
                Question::Mail(_) => Answer::Taken,
                _ => Answer::Failed(Failure::Refused),
            };
        };
        if let Question::Challenge(note) = question {
            // It has the log's tiles.
            let larger = self.cast.note(branch, SIZE_MAX, Signed::First);
            let old = Some(note.head().size).filter(|old| *old < larger.head().size);
            let opening = old.and_then(|old| self.cast.log().open(liar, old, larger));
            return opening.map_or(Answer::Nothing, |opening| {
                Answer::Opening(Box::new(opening))
            });
        }
        self.read(&self.personas[branch], liar, now, question)
    }

    fn tiles(
        &self,
        world: &World,
        witness: usize,
        old: TreeSize,
        note: &SignedCheckpoint,
    ) -> Option<Opening> {
        let branch = self.cast.branch_of(&note.head());
        let follows = world.signed[witness]
            .iter()
            .any(|(of, to)| Some(*of) == branch && *to > FORK);
        match world.tiles {
            Tiles::Refused => None,
            Tiles::Followers if !follows => None,
            Tiles::Open | Tiles::Followers => self.cast.log().open(witness, old, note),
        }
    }

    fn answer(
        &self,
        world: &mut World,
        (to, from): (usize, usize),
        ask: AskId,
        answer: Answer,
        dies: Option<usize>,
    ) {
        let this = world.touch(to);
        if this.asking.get(&from) == Some(&ask) {
            this.asking.remove(&from);
        }
        let mut merged = None;
        let answer = match answer {
            // What today's witnesses do: the largest head is the head.
            Answer::Notes(notes) if self.story.variant == Variant::MaxMerge => {
                let own = this.head.as_ref().map(|(note, _)| note.head().size);
                let notes = notes.into_vec().into_iter();
                let larger: Vec<SignedCheckpoint> =
                    notes.filter(|note| Some(note.head().size) > own).collect();
                merged = larger.first().cloned();
                Answer::Notes(Notes::default())
            }
            answer => answer,
        };
        let peer = self.cast.name(from).clone();
        self.happen(world, to, Event::Answer { peer, ask, answer }, dies);
        if let Some(note) = merged {
            let event = Event::HeadCosigned {
                note,
                time: seconds(world.now),
                grown_from: None,
            };
            self.happen(world, to, event, None);
        }
    }

    fn deliver(&self, world: &mut World, place: usize, lie: Lie, dies: Option<usize>) {
        let message = world.on_its_way.remove(place);
        self.arrive(world, &message.what, lie, dies);
    }

    fn arrive(&self, world: &mut World, what: &What, lie: Lie, dies: Option<usize>) {
        match what {
            What::Question {
                from,
                to,
                ask,
                question,
            } => {
                let answer = if self.is_honest(*to) {
                    self.serve(world, (*from, *to), *ask, question, dies)
                } else {
                    Some(self.lie(*to, world.now, question, lie))
                };
                if let Some(answer) = answer {
                    self.answer(world, (*from, *to), *ask, answer, dies);
                }
            }
            What::Reply {
                to,
                from,
                ask,
                answer,
            } => self.answer(world, (*to, *from), *ask, answer.clone(), dies),
            What::Tiles { witness, old, note } => {
                let opening = self.tiles(world, *witness, *old, note);
                let event = Event::TilesRead {
                    origin: note.origin().clone(),
                    old: *old,
                    of: note.head(),
                    opening: opening.map(Box::new),
                };
                self.happen(world, *witness, event, dies);
            }
        }
    }

    fn drop(&self, world: &mut World, place: usize) {
        let message = world.on_its_way.remove(place);
        let failed = Answer::Failed(Failure::Unreachable);
        match &message.what {
            What::Question { from, to, ask, .. } => {
                world.break_off(*from, Some(*to));
                self.answer(world, (*from, *to), *ask, failed, None);
            }
            What::Reply { to, from, ask, .. } => {
                world.break_off(*to, Some(*from));
                self.answer(world, (*to, *from), *ask, failed, None);
            }
            What::Tiles { witness, old, note } => {
                world.break_off(*witness, None);
                let event = Event::TilesRead {
                    origin: note.origin().clone(),
                    old: *old,
                    of: note.head(),
                    opening: None,
                };
                self.happen(world, *witness, event, None);
            }
        }
    }

    pub(super) fn round(&self, world: &mut World, witness: usize) {
        if self.story.waits {
            world.now += ROUND_MS;
        }
        let own = world.newest(witness);
        for peer in 0..self.story.honest {
            let contact = &mut world.contact[witness][peer];
            *contact = match *contact {
                Contact::Done | Contact::Past => Contact::Past,
                Contact::None | Contact::Running => Contact::None,
            };
            let theirs = world.newest(peer);
            if let (Some(own), Some(theirs)) = (own, theirs)
                && !self.cast.agree(&own, &theirs)
                && world.contact[witness][peer] == Contact::None
                && !world.witnesses[witness].asking.contains_key(&peer)
            {
                world.contact[witness][peer] = Contact::Running;
            }
        }
        self.happen(world, witness, Event::Tick, None);
    }

    fn change(&self, world: &mut World, witness: usize, change: impl Fn(&mut Known)) {
        let this = world.touch(witness);
        change(&mut this.known);
        let directory = self.cast.directory(witness, this.known);
        let event = Event::DirectoryChanged(Box::new(directory));
        self.happen(world, witness, event, None);
    }

    /// After each act: what was touched has a new digest, and what ended has.
    fn conclude(&self, world: &mut World) {
        if world.on_its_way.is_empty() {
            for contact in world.contact.iter_mut().flatten() {
                if *contact == Contact::Running {
                    *contact = Contact::Done;
                }
            }
        }
        let keys_max = 2 * usize::from(self.forks()) + 2 * usize::from(self.story.liar);
        for witness in &mut world.witnesses {
            if witness.digest != 0 {
                continue;
            }
            let [_, open, ring, evidence] = witness.node.counts();
            let config = self.cast.config();
            let of_culprit = config.evidence_per_culprit * 4;
            let is_over = open > self.story.open_max
                || ring > config.ring
                || evidence > of_culprit * keys_max
                || witness.asking.len() > self.story.honest;
            if is_over {
                world.broken.insert(Broken::B1);
            }
            Arc::make_mut(witness).seal();
        }
        world.on_its_way.sort_by_key(|message| message.digest);
    }

    fn act(&self, world: &mut World, act: &Act) {
        match *act {
            Act::Show(witness, branch, to) => {
                world.left.shows -= 1;
                self.show(world, witness, branch, to, false);
            }
            Act::ShowAndDie(witness, branch, to) => {
                world.left.shows -= 1;
                world.left.crashes -= 1;
                self.show(world, witness, branch, to, true);
            }
            Act::Push(witness, branch, to, signed) => {
                world.left.pushes -= 1;
                let note = self.cast.note(branch, to, signed).clone();
                let request = REQUEST;
                self.happen(world, witness, Event::Observed { request, note }, None);
            }
            Act::Round(witness) => {
                world.rounds[witness] -= 1;
                self.round(world, witness);
            }
            Act::Deliver(place, lie) => self.deliver(world, place, lie, None),
            Act::DeliverAndDie(place, after) => {
                world.left.crashes -= 1;
                self.deliver(world, place, Lie::No, Some(after));
            }
            Act::Drop(place) => {
                world.left.drops -= 1;
                self.drop(world, place);
            }
            Act::Double(place) => {
                world.left.doubles -= 1;
                let message = world.on_its_way[place].clone();
                self.arrive(world, &message.what, Lie::No, None);
            }
            Act::Crash(witness) => {
                world.left.crashes -= 1;
                self.crash(world, witness);
            }
            Act::Retire(witness) => {
                world.left.retires -= 1;
                self.change(world, witness, |known| known.retired = true);
            }
            Act::Prune(witness) => {
                world.left.prunes -= 1;
                self.change(world, witness, |known| known.pruned = true);
            }
            Act::Later => {
                world.left.later -= 1;
                world.now += LATER_MS;
            }
            Act::Tick(witness) => {
                world.left.ticks -= 1;
                self.tick(world, witness);
            }
        }
        self.conclude(world);
    }

    fn tick(&self, world: &mut World, witness: usize) {
        world.now += TICK_MS;
        self.happen(world, witness, Event::Tick, None);
    }

    /// What a log's standing at a witness is when time passes there, and nothing arrives.
    pub(super) fn stands_later(&self, world: &World, witness: usize) -> Cosigning {
        let this = &world.witnesses[witness];
        let mut node = this.node.clone();
        let now = Moment(world.now);
        // What it wants to ask then, nobody is asked.
        drop(node.step(Event::Tick, now, &mut Fixed, &Checked(this.known)));
        node.cosigning(&self.cast.origin)
    }

    /// How it goes on from now on: tiles can be read, whoever lies says nothing, and each witness
    /// has its rounds, in this order. Whether it holds in the end.
    pub(super) fn clear_up(
        &self,
        world: &World,
        weather: &Weather<'_>,
        holds: impl Fn(&World) -> bool,
    ) -> bool {
        let mut world = world.clone();
        if world.tiles == Tiles::Refused && self.story.variant != Variant::NoTiles {
            world.tiles = Tiles::Open;
        }
        let mut lost = BTreeMap::new();
        self.settle(&mut world, weather, &mut lost);
        for _ in 0..weather.rounds {
            if holds(&world) {
                return true;
            }
            for witness in weather.order {
                self.round(&mut world, *witness);
                self.settle(&mut world, weather, &mut lost);
                if self.story.waits {
                    self.tick(&mut world, *witness);
                    self.settle(&mut world, weather, &mut lost);
                }
            }
        }
        holds(&world)
    }

    /// All that is on its way arrives, and what comes of it, but for what is lost.
    fn settle(&self, world: &mut World, weather: &Weather<'_>, lost: &mut BTreeMap<u64, u8>) {
        for _ in 0..10_000 {
            if world.on_its_way.is_empty() {
                return;
            }
            let place = if weather.last_first {
                world.on_its_way.len() - 1
            } else {
                0
            };
            let times = lost.entry(world.on_its_way[place].digest).or_default();
            if *times < weather.losses {
                *times += 1;
                self.drop(world, place);
            } else {
                self.deliver(world, place, Lie::Nothing, None);
            }
            self.conclude(world);
        }
        panic!("it never ends");
    }
}

/// How it goes on from a state.
pub(super) struct Weather<'w> {
    /// How many rounds each witness has.
    pub(super) rounds: usize,
    /// Whose round is first.
    pub(super) order: &'w [usize],
    /// What was sent last arrives first.
    pub(super) last_first: bool,
    /// How often each message is lost, and each answer and each reading of tiles, before it
    /// arrives: whoever sends it again and again gets through, and nobody else does.
    pub(super) losses: u8,
}

/// The model has one question of each witness to each peer at a time, so a number is enough.
const REQUEST: RequestId = RequestId(1);

impl Model for Told {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        let count = self.story.honest;
        let witnesses = (0..count).map(|witness| {
            let mut this = Honest {
                node: self.cast.node(witness, Known::default(), 0, START),
                known: Known::default(),
                life: 0,
                head: None,
                logs: BTreeMap::new(),
                evidence: BTreeMap::new(),
                asking: BTreeMap::new(),
                digest: 0,
            };
            this.seal();
            Arc::new(this)
        });
        let mut world = World {
            witnesses: witnesses.collect(),
            on_its_way: Vec::new(),
            now: START,
            tiles: self.story.tiles,
            left: Left {
                shows: 9,
                ..Left::default()
            },
            rounds: self.story.rounds.clone(),
            signed: vec![BTreeSet::new(); count],
            told: vec![BTreeSet::new(); count],
            contact: vec![vec![Contact::None; count]; count],
            broken: BTreeSet::new(),
        };
        for act in &self.story.before {
            self.act(&mut world, act);
        }
        world.left = self.story.left;
        vec![world]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        let left = world.left;
        if left.shows > 0 {
            for &(witness, branch, to) in &self.story.shows {
                let newest = world.newest(witness).map_or(0, |head| head.size.get());
                if newest <= to {
                    acts.push(Act::Show(witness, branch, to));
                    if left.crashes > 0 {
                        acts.push(Act::ShowAndDie(witness, branch, to));
                    }
                }
            }
        }
        for witness in 0..self.story.honest {
            if left.pushes > 0 && witness == 0 {
                let pushes = self.story.pushes.iter();
                acts.extend(
                    pushes.map(|&(branch, to, signed)| Act::Push(witness, branch, to, signed)),
                );
            }
            if world.rounds[witness] > 0 {
                acts.push(Act::Round(witness));
            }
            if left.crashes > 0 {
                acts.push(Act::Crash(witness));
            }
            let known = world.witnesses[witness].known;
            if left.retires > 0 && !known.retired {
                acts.push(Act::Retire(witness));
            }
            if left.prunes > 0 && !known.pruned {
                acts.push(Act::Prune(witness));
            }
        }
        for (place, message) in world.on_its_way.iter().enumerate() {
            // Of two that are the same, one is enough.
            if place > 0 && world.on_its_way[place - 1].digest == message.digest {
                continue;
            }
            match &message.what {
                What::Question { to, .. } if !self.is_honest(*to) => {
                    acts.push(Act::Deliver(place, Lie::Holds(MAIN)));
                    let other = if self.forks() {
                        Lie::Holds(OTHER)
                    } else {
                        Lie::Nothing
                    };
                    acts.push(Act::Deliver(place, other));
                }
                _ => acts.push(Act::Deliver(place, Lie::No)),
            }
            if left.crashes > 0 {
                acts.extend(
                    (0..self.story.dies_after).map(|after| Act::DeliverAndDie(place, after)),
                );
            }
            if left.drops > 0 {
                acts.push(Act::Drop(place));
            }
            if left.doubles > 0 {
                acts.push(Act::Double(place));
            }
        }
        if left.later > 0 {
            acts.push(Act::Later);
        }
        if left.ticks > 0 {
            acts.extend((0..self.story.honest).map(Act::Tick));
        }
    }

    fn next_state(&self, world: &World, act: Act) -> Option<World> {
        let mut next = world.clone();
        self.act(&mut next, &act);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        self.properties.clone()
    }
}
