//! Who plays in a model: keys, the log with its two histories, what each witness knows of the
//! others, and what has been verified before.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::evidence::{Evidence, KnownKeys, NotProven, Standing, Verdict};
use jurat_proto::gossip::node::{
    Config, Dice, Directory, Event, LogSettings, Moment, Node, Own, PeerSettings, Verifier,
};
use jurat_proto::gossip::{Random, SignedStatement, Statement};
use jurat_proto::key::{KeyName, UnixSeconds, VerifierKey};
use jurat_proto::note::SignatureLine;
use jurat_proto::proof::ConsistencyProof;
use jurat_proto::tree::TreeHead;

use crate::actors::{Key, SimLog, size};
use crate::network::START;

/// Where the histories part: both have the first entry.
pub(super) const FORK: u64 = 1;
/// The largest tree.
pub(super) const SIZE_MAX: u64 = 3;
/// The name of a history: the first, or the other one.
pub(super) const MAIN: usize = 0;
pub(super) const OTHER: usize = 1;

/// A wait that is never over.
const NEVER: Duration = Duration::from_secs(1 << 40);

/// All that does not change in a model.
pub(super) struct Cast {
    pub(super) origin: Origin,
    witnesses: Vec<(Key, Key)>,
    directories: Vec<Directory>,
    config: Config,
    notes: BTreeMap<(usize, u64, Signed), SignedCheckpoint>,
    proofs: BTreeMap<(usize, u64, u64), ConsistencyProof>,
    log: SimLog,
}

/// By which key a checkpoint is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Signed {
    /// The log's first key.
    First,
    /// The key that it has after a rotation.
    Second,
    /// One that is not the log's.
    Forged,
}

/// How a witness was set up last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Known {
    /// The first key of the log is retired.
    pub(super) retired: bool,
    /// The log has pruned what is below its largest size.
    pub(super) pruned: bool,
}

impl Cast {
    pub(super) fn new(
        witnesses: usize,
        configure: impl Fn(&mut Config),
        settle: impl Fn(&mut LogSettings),
    ) -> Self {
        let mut log = SimLog::new("log.example", 1_000);
        log.fork(0, FORK);
        let forger = Key::note("log.example", 1);
        let (mut notes, mut proofs) = (BTreeMap::new(), BTreeMap::new());
        for branch in [MAIN, OTHER] {
            for to in 1..=SIZE_MAX {
                let head = log.head(branch, to);
                let second = log.next.clone().expect("not rotated");
                for (signed, key) in [
                    (Signed::First, &log.key),
                    (Signed::Second, &second),
                    (Signed::Forged, &forger),
                ] {
                    notes.insert((branch, to, signed), log.sign_with(key, head));
                }
                for from in 0..=to {
                    proofs.insert((branch, from, to), log.proof(branch, from, to));
                }
            }
        }
        let keys: Vec<(Key, Key)> = (0..witnesses)
            .map(|index| {
                let name = format!("w{index}.example");
                let seed = 10_000 + 2 * index as u64;
                (Key::cosigner(&name, seed), Key::note(&name, seed + 1))
            })
            .collect();
        let mut settings = LogSettings::new(log.origin.clone(), log.key.vkey());
        settings.tiles = true;
        let second = log.next.as_ref().map(Key::vkey);
        settings
            .keys
            .extend(second.map(|key| (key, Standing::Current)));
        settle(&mut settings);
        let directories = (0..witnesses).map(|own| {
            let peers = (0..witnesses).filter(|peer| *peer != own).map(|peer| {
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
            Directory {
                own: Own {
                    name: gossip.vkey().name().clone(),
                    cosigners: vec![cosigner.vkey()],
                    gossip: vec![gossip.vkey()],
                },
                logs: vec![settings.clone()],
                peers: peers.collect(),
            }
        });
        let directories = directories.collect();
        let mut config = Config::new(Random([1; 16]));
        // Each tick is a round, and no wait is longer: time itself can stand still.
        config.round = Duration::ZERO;
        config.jitter_percent = 0;
        config.grace_rounds = 0;
        config.suspect_after = Duration::ZERO;
        config.unprovable_after = NEVER;
        config.slow_every = Duration::ZERO;
        config.tiles_after = Duration::ZERO;
        config.backoff_max = Duration::ZERO;
        config.peer_silence = NEVER;
        config.reread_every = NEVER;
        config.answer_timeout = NEVER;
        config.agreement_lag = NEVER;
        config.quorum = 1;
        configure(&mut config);
        Self {
            origin: log.origin.clone(),
            witnesses: keys,
            directories,
            config,
            notes,
            proofs,
            log,
        }
    }

    pub(super) fn note(&self, branch: usize, to: u64, signed: Signed) -> &SignedCheckpoint {
        &self.notes[&(branch, to, signed)]
    }

    pub(super) fn head(&self, branch: usize, to: u64) -> TreeHead {
        self.note(branch, to, Signed::First).head()
    }

    pub(super) fn proof(&self, branch: usize, from: u64, to: u64) -> ConsistencyProof {
        self.proofs[&(branch, from, to)].clone()
    }

    /// In which history a head is; in either, before they part.
    pub(super) fn branch_of(&self, head: &TreeHead) -> Option<usize> {
        let to = head.size.get();
        (to > FORK).then(|| {
            let mut branches = [MAIN, OTHER].into_iter();
            let found = branches.find(|branch| self.head(*branch, to) == *head);
            found.expect("a head of the log")
        })
    }

    /// Whether two heads are in one history.
    pub(super) fn agree(&self, one: &TreeHead, other: &TreeHead) -> bool {
        match (self.branch_of(one), self.branch_of(other)) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        }
    }

    pub(super) fn name(&self, witness: usize) -> &KeyName {
        &self.directories[witness].own.name
    }

    pub(super) fn index_of(&self, name: &KeyName) -> usize {
        let mut names = 0..self.witnesses.len();
        names
            .find(|witness| self.name(*witness) == name)
            .expect("a witness")
    }

    pub(super) fn cosign(
        &self,
        witness: usize,
        note: &SignedCheckpoint,
        now: u64,
    ) -> SignedCheckpoint {
        let (cosigner, _) = &self.witnesses[witness];
        let time = seconds(now);
        let text = (witness, note.to_bytes(), time);
        SEEN.with_borrow_mut(|seen| {
            let known = seen.cosigned.entry(text);
            known.or_insert_with(|| cosigner.cosign(note, time)).clone()
        })
    }

    pub(super) fn say(&self, witness: usize, statement: Statement) -> SignedStatement {
        let (_, gossip) = &self.witnesses[witness];
        let text = (witness, statement.to_text());
        SEEN.with_borrow_mut(|seen| {
            let said = seen.said.entry(text);
            said.or_insert_with(|| gossip.say(statement)).clone()
        })
    }

    /// Which witness a convicted key is of; nothing when it is the log's.
    pub(super) fn witness_of(&self, key: &VerifierKey) -> Option<usize> {
        let is_of =
            |(cosigner, gossip): &(Key, Key)| cosigner.vkey() == *key || gossip.vkey() == *key;
        self.witnesses.iter().position(is_of)
    }

    pub(super) fn directory(&self, witness: usize, known: Known) -> Directory {
        let mut directory = self.directories[witness].clone();
        let settings = &mut directory.logs[0];
        if known.retired {
            settings.keys[0].1 = Standing::Retired;
        }
        if known.pruned {
            settings.pruned_below = size(SIZE_MAX);
        }
        directory
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn log(&self) -> &SimLog {
        &self.log
    }

    /// The node of a process that begins.
    pub(super) fn node(&self, witness: usize, known: Known, life: u8, now: u64) -> Node {
        let mut config = self.config.clone();
        config.secret = Random([u8::try_from(witness).expect("few"); 16]);
        let mut epoch = [life; 16];
        epoch[0] = u8::try_from(witness).expect("few");
        Node::new(
            config,
            self.directory(witness, known),
            Random(epoch),
            Moment(now),
        )
        .expect("keys of the right types")
    }

    /// A node that holds one history up to a size, and never anything else: what a liar shows.
    pub(super) fn persona(&self, witness: usize, branch: usize, to: u64) -> Node {
        let mut persona = self.node(
            witness,
            Known::default(),
            100 + u8::try_from(branch).expect("2"),
            START,
        );
        let note = self.cosign(witness, self.note(branch, to, Signed::First), START);
        let event = Event::HeadCosigned {
            note,
            time: seconds(START),
            grown_from: None,
        };
        persona.step(event, Moment(START), &mut Fixed, &Checked(Known::default()));
        persona
    }
}

pub(super) fn seconds(now: u64) -> UnixSeconds {
    Moment(now).seconds()
}

/// No chance at all: where it matters, the model has an action for it.
pub(super) struct Fixed;

impl Dice for Fixed {
    fn roll(&mut self) -> u64 {
        0
    }
}

/// Whom a file convicts, under keys of which the log's first is retired or not.
type Proven = Result<(Evidence, Verdict), NotProven>;
/// By whom, what, and when.
type Cosigned = (usize, Vec<u8>, UnixSeconds);
type SignedText = (VerifierKey, String, Vec<u8>);

#[derive(Default)]
struct Seen {
    lines: HashMap<SignedText, bool>,
    evidence: HashMap<(Vec<u8>, bool), Proven>,
    said: HashMap<(usize, String), SignedStatement>,
    cosigned: HashMap<Cosigned, SignedCheckpoint>,
}

thread_local! {
    /// What was signed and verified before: the same again is the same.
    static SEEN: RefCell<Seen> = RefCell::default();
}

/// Checks each signature once.
pub(super) struct Checked(pub(super) Known);

fn line(
    key: &VerifierKey,
    text: &str,
    line: &SignatureLine,
    verify: impl FnOnce() -> bool,
) -> bool {
    let place = (key.clone(), text.to_owned(), line.signature().to_vec());
    SEEN.with_borrow_mut(|seen| {
        let verified = seen.lines.entry(place);
        *verified.or_insert_with(|| key.matches(line) && verify())
    })
}

impl Verifier for Checked {
    fn checkpoint(
        &self,
        key: &VerifierKey,
        note: &SignedCheckpoint,
        under: &SignatureLine,
    ) -> bool {
        line(key, note.note().text(), under, || {
            let signature = under.signature();
            key.verify_checkpoint(note.checkpoint(), signature).is_ok()
        })
    }

    fn statement(&self, key: &VerifierKey, said: &SignedStatement, under: &SignatureLine) -> bool {
        line(key, said.note().text(), under, || {
            key.verify_note(said.note().text(), under.signature())
                .is_ok()
        })
    }

    fn evidence(
        &self,
        evidence: &Evidence,
        keys: &KnownKeys,
    ) -> Result<(Evidence, Verdict), NotProven> {
        let place = (evidence.to_bytes(), self.0.retired);
        let known = SEEN.with_borrow(|seen| seen.evidence.get(&place).cloned());
        if let Some(known) = known {
            return known;
        }
        let proven = evidence.minimised(keys);
        SEEN.with_borrow_mut(|seen| seen.evidence.insert(place, proven.clone()));
        proven
    }
}
