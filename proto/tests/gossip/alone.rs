//! A node without a network, and its one peer: every event is brought by hand.

use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::evidence::Evidence;
use jurat_proto::gossip::node::{
    Action, Answer, AskId, Config, Directory, Event, LogSettings, Moment, Node, Own, PeerSettings,
    Question, Reply, RequestId,
};
use jurat_proto::gossip::{Feed, Flags, OriginId, Page, Random, Row, State, Statement, Tag};
use jurat_proto::key::{KeyName, UnixSeconds};
use jurat_proto::tree::TreeHead;

use crate::actors::{Chance, Key, Memory, SimLog, leaf_head};
use crate::network::START;

/// A node without a world: every event is brought by hand.
pub(crate) struct Alone {
    pub(crate) node: Node,
    pub(crate) cosigner: Key,
    pub(crate) peer: (Key, Key),
    pub(crate) chance: Chance,
    directory: Directory,
    memory: Memory,
    pub(crate) now: u64,
    requests: u64,
    /// The first of its logs.
    log: Origin,
    /// How many pages it reads of a peer in a round.
    pub(crate) pages_per_round: u32,
}

impl Alone {
    pub(crate) fn new(
        logs: &[&SimLog],
        configure: impl Fn(&mut Config),
        settle: impl Fn(&mut LogSettings),
    ) -> Self {
        let chance = Chance(7);
        let gossip = Key::note("own.example", 1);
        let cosigner = Key::cosigner("own.example", 2);
        let peer = (
            Key::note("peer.example", 3),
            Key::cosigner("peer.example", 4),
        );
        let settings = logs.iter().map(|log| {
            let mut settings = LogSettings::new(log.origin.clone(), log.key.vkey());
            settle(&mut settings);
            settings
        });
        let directory = Directory {
            own: Own {
                name: gossip.vkey().name().clone(),
                cosigners: vec![cosigner.vkey()],
                gossip: vec![gossip.vkey()],
            },
            logs: settings.collect(),
            peers: vec![PeerSettings {
                name: peer.0.vkey().name().clone(),
                gossip: vec![peer.0.vkey()],
                cosigners: vec![peer.1.vkey()],
                operator: "peer".to_owned(),
                asked: true,
            }],
        };
        let mut config = Config::new(Random([1; 16]));
        config.jitter_percent = 0;
        configure(&mut config);
        let pages_per_round = config.pages_per_round;
        Self {
            node: Node::new(config, directory.clone(), Random([2; 16]), Moment(START)).unwrap(),
            directory,
            cosigner,
            peer,
            chance,
            memory: Memory::default(),
            now: START,
            requests: 0,
            log: logs[0].origin.clone(),
            pages_per_round,
        }
    }

    /// One more peer can be asked.
    pub(crate) fn add_peer(&mut self, name: &str) {
        self.directory.peers.push(PeerSettings {
            name: KeyName::parse(name).unwrap(),
            gossip: Vec::new(),
            cosigners: Vec::new(),
            operator: name.to_owned(),
            asked: true,
        });
        let changed = Event::DirectoryChanged(Box::new(self.directory.clone()));
        self.happen(changed);
    }

    pub(crate) fn happen(&mut self, event: Event) -> Vec<Action> {
        let now = Moment(self.now);
        self.node.step(event, now, &mut self.chance, &self.memory)
    }

    pub(crate) fn run(&mut self, seconds: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        for _ in 0..seconds {
            self.now += 1_000;
            actions.extend(self.happen(Event::Tick));
        }
        actions
    }

    pub(crate) fn seconds(&self) -> UnixSeconds {
        Moment(self.now).seconds()
    }

    pub(crate) fn cosign(&mut self, note: &SignedCheckpoint) -> Vec<Action> {
        let time = self.seconds();
        let note = self.cosigner.cosign(note, time);
        self.happen(Event::HeadCosigned {
            note,
            time,
            grown_from: None,
        })
    }

    pub(crate) fn observe(&mut self, note: SignedCheckpoint) -> Reply {
        self.requests += 1;
        let request = RequestId(self.requests);
        let actions = self.happen(Event::Observed { request, note });
        reply_to(&actions, request).expect("an answer at once")
    }

    pub(crate) fn submit(&mut self, evidence: Evidence) -> (RequestId, Vec<Action>) {
        self.requests += 1;
        let request = RequestId(self.requests);
        let actions = self.happen(Event::EvidenceReceived {
            request: Some(request),
            evidence: Box::new(evidence),
        });
        (request, actions)
    }

    /// A round in which the peer shows these rows.
    pub(crate) fn feed(&mut self, salt: Random, rows: Vec<Row>) -> Vec<Action> {
        let mut round = Vec::new();
        while round.is_empty() {
            let asks = asked(&self.run(1)).into_iter();
            round.extend(asks.filter(|(_, question)| matches!(question, Question::State { .. })));
        }
        let [(ask, Question::State { nonce })] = round[..] else {
            panic!("{round:?}");
        };
        let (name, epoch) = (self.peer.0.vkey().name().clone(), Random([5; 16]));
        let state = State {
            name: name.clone(),
            epoch,
            seq: 1,
            time: self.seconds(),
            rows: TreeHead::empty(),
            evidence: TreeHead::empty(),
            nonce: Some(nonce),
        };
        let said = self.peer.0.say(Statement::State(state));
        let asks = asked(&self.answer(ask, Answer::State(Box::new(said))));
        let [(ask, Question::Heads { since: 0, .. })] = asks[..] else {
            panic!("{asks:?}");
        };
        let page = Page {
            name,
            epoch,
            seq: 1,
            since: 0,
            next: 1,
            time: self.seconds(),
            salt,
            rows: Page::rows_head(&rows).unwrap(),
        };
        let feed = Feed::new(rows, self.peer.0.say(Statement::Page(page))).unwrap();
        self.answer(ask, Answer::Heads(Box::new(feed)))
    }

    /// What a peer answers whose feed has no end.
    pub(crate) fn endless(&self, question: &Question) -> Answer {
        let (name, epoch) = (self.peer.0.vkey().name().clone(), Random([5; 16]));
        match question {
            Question::State { nonce } => {
                Answer::State(Box::new(self.peer.0.say(Statement::State(State {
                    name,
                    epoch,
                    seq: 1 << 40,
                    time: self.seconds(),
                    rows: TreeHead::empty(),
                    evidence: TreeHead::empty(),
                    nonce: Some(*nonce),
                }))))
            }
            Question::Heads { since, .. } => {
                let log = self.log.clone();
                let head = leaf_head(since + 1, 1);
                let salt = Random([6; 16]);
                let rows = vec![Row {
                    origin: OriginId::of(&log),
                    size: head.size,
                    tag: Tag::of(&salt, &log, &head),
                    time: self.seconds(),
                    flags: Flags::default(),
                }];
                let page = Page {
                    name,
                    epoch,
                    seq: 1 << 40,
                    since: *since,
                    next: since + 1,
                    time: self.seconds(),
                    salt,
                    rows: Page::rows_head(&rows).unwrap(),
                };
                let said = self.peer.0.say(Statement::Page(page));
                Answer::Heads(Box::new(Feed::new(rows, said).unwrap()))
            }
            _ => Answer::Nothing,
        }
    }

    pub(crate) fn answer(&mut self, ask: AskId, answer: Answer) -> Vec<Action> {
        let peer = self.peer.0.vkey().name().clone();
        self.happen(Event::Answer { peer, ask, answer })
    }
}

pub(crate) fn reply_to(actions: &[Action], wanted: RequestId) -> Option<Reply> {
    actions.iter().find_map(|action| match action {
        Action::Reply { request, reply } if *request == wanted => Some(reply.clone()),
        _ => None,
    })
}

pub(crate) fn asked(actions: &[Action]) -> Vec<(AskId, Question)> {
    let asks = actions.iter().filter_map(|action| match action {
        Action::Ask { ask, question, .. } => Some((*ask, question.clone())),
        _ => None,
    });
    asks.collect()
}

pub(crate) fn stored(actions: &[Action]) -> usize {
    let stores = actions
        .iter()
        .filter(|action| matches!(action, Action::StoreEvidence { .. }));
    stores.count()
}
