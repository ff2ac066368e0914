//! Whom a gossip node knows, and how it is set up.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::checkpoint::Origin;
use crate::evidence::{KeyRefused, KnownKeys, LogKey, Standing};
use crate::gossip::{OriginId, Random};
use crate::hash::Hash;
use crate::key::{KeyName, VerifierKey};
use crate::tree::TreeSize;

/// Who this witness is, which logs have keys here, and which witnesses it asks.
///
/// Who is a witness is policy, reviewed by people: nobody is discovered, and nobody who is silent
/// is put out.
#[derive(Clone, Debug)]
pub struct Directory {
    /// This witness.
    pub own: Own,
    /// Every log whose keys are known, cosigned here or not: heads of the others are relayed.
    pub logs: Vec<LogSettings>,
    /// The other witnesses.
    pub peers: Vec<PeerSettings>,
}

/// This witness.
#[derive(Clone, Debug)]
pub struct Own {
    /// Its name, which is that of its gossip key.
    pub name: KeyName,
    /// The keys with which it cosigns, and those with which it did.
    pub cosigners: Vec<VerifierKey>,
    /// The keys with which it signs statements of gossip, and those with which it did.
    pub gossip: Vec<VerifierKey>,
}

/// A log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Which.
    pub origin: Origin,
    /// Its keys, current and retired.
    pub keys: Vec<(VerifierKey, Standing)>,
    /// Whether a suspect head holds its cosignatures, whether or not its tiles can be read: the log
    /// can always show the opening itself.
    pub hold: bool,
    /// Whether its tiles can be read, so that openings can be made from them. Where they cannot,
    /// and there is no peer to ask, that nobody can be asked counts as asking in vain.
    pub tiles: bool,
    /// Below this size the log has pruned its tiles: heads there are never suspect.
    pub pruned_below: TreeSize,
    /// How often it promised a new checkpoint, if it did.
    pub cadence: Option<Duration>,
    /// Whether nonsense about the empty tree stops its cosignatures, too.
    pub stop_on_empty: bool,
}

impl LogSettings {
    /// A log with one current key and nothing else said.
    pub fn new(origin: Origin, key: VerifierKey) -> Self {
        Self {
            origin,
            keys: alloc::vec![(key, Standing::Current)],
            hold: true,
            tiles: false,
            pruned_below: TreeSize::ZERO,
            cadence: None,
            stop_on_empty: false,
        }
    }
}

/// Another witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// Its name, which is that of its gossip key and of its cosigner keys.
    pub name: KeyName,
    /// With which it signs statements of gossip.
    pub gossip: Vec<VerifierKey>,
    /// With which it cosigns.
    pub cosigners: Vec<VerifierKey>,
    /// Who runs it: witnesses of one operator confirm a head once.
    pub operator: String,
    /// Whether it can be asked. One that cannot be reached asks and tells us, and its silence is
    /// no alarm.
    pub asked: bool,
}

impl Directory {
    /// The keys that evidence is verified with.
    ///
    /// # Errors
    /// [`KeyRefused`] when a key is not of a type that its use has.
    pub fn known_keys(&self) -> Result<KnownKeys, KeyRefused> {
        let mut known = KnownKeys::new();
        for log in &self.logs {
            for (key, standing) in &log.keys {
                let LogKey {
                    origin,
                    key,
                    standing,
                } = LogKey {
                    origin: log.origin.clone(),
                    key: key.clone(),
                    standing: *standing,
                };
                known.add_log(origin, key, standing);
            }
        }
        let peers = self.peers.iter();
        for key in self.own.cosigners.iter().cloned() {
            known.add_cosigner(key)?;
        }
        for key in self.own.gossip.iter().cloned() {
            known.add_gossip(key, &self.own.cosigners)?;
        }
        for peer in peers {
            for key in peer.cosigners.iter().cloned() {
                known.add_cosigner(key)?;
            }
            for key in peer.gossip.iter().cloned() {
                known.add_gossip(key, &peer.cosigners)?;
            }
        }
        Ok(known)
    }
}

/// A directory as nodes look things up in it. Nothing in it is one node's alone, so that all the
/// nodes of a simulation can have one.
#[derive(Clone, Debug)]
pub struct Roster {
    pub(super) keys: KnownKeys,
    pub(super) cosigners: BTreeMap<KeyName, Vec<VerifierKey>>,
    /// By the hash of the origin.
    pub(super) logs: BTreeMap<Hash, Arc<LogSettings>>,
    peers: BTreeMap<KeyName, PeerSettings>,
    /// The names of the peers that can be asked, in their order: to choose one by a number.
    names: Vec<KeyName>,
}

impl Roster {
    /// Takes a directory apart. The witness that it is of may be among the peers: a node never
    /// takes itself for one.
    ///
    /// # Errors
    /// [`KeyRefused`] when a key is not of a type that its use has.
    pub fn new(directory: Directory) -> Result<Self, KeyRefused> {
        let keys = directory.known_keys()?;
        let Directory { own, logs, peers } = directory;
        let mut cosigners: BTreeMap<KeyName, Vec<VerifierKey>> = BTreeMap::new();
        let known = peers.iter().flat_map(|peer| &peer.cosigners);
        for key in known.chain(&own.cosigners) {
            let keys = cosigners.entry(key.name().clone()).or_default();
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        let logs = logs.into_iter();
        let peers = peers.into_iter();
        let peers: BTreeMap<_, _> = peers.map(|peer| (peer.name.clone(), peer)).collect();
        Ok(Self {
            keys,
            cosigners,
            logs: logs.map(|log| (log.origin.hash(), Arc::new(log))).collect(),
            names: asked(&peers),
            peers,
        })
    }

    /// A log is never forgotten: those of `before` that are not here are added.
    pub(super) fn keep_logs(&mut self, before: &Self) {
        for (key, log) in &before.logs {
            self.logs.entry(*key).or_insert_with(|| log.clone());
        }
    }

    pub(super) fn peer_names(&self) -> impl Iterator<Item = &KeyName> {
        self.peers.keys()
    }

    pub(super) fn peer(&self, name: &KeyName) -> Option<&PeerSettings> {
        self.peers.get(name)
    }

    /// Whether there is a peer of this name that can be asked.
    // Spec: GSP-133
    pub(super) fn is_asked(&self, name: &KeyName) -> bool {
        self.place_of(name).is_some()
    }

    /// Every known log that an id may stand for: 64 bits can be made to collide.
    pub(super) fn keys_of(&self, id: OriginId) -> Vec<Hash> {
        let mut first = [0; 32];
        let (start, _) = first.split_at_mut(8);
        start.copy_from_slice(&id.0);
        let logs = self.logs.range(Hash::new(first)..);
        logs.map(|(key, _)| *key)
            .take_while(|key| key.as_bytes().starts_with(&id.0))
            .collect()
    }

    /// How many others can be asked than these.
    pub(super) fn count_but(&self, excluded: &[&KeyName]) -> usize {
        let there = excluded.iter().filter(|name| self.place_of(name).is_some());
        self.names.len().saturating_sub(there.count())
    }

    /// One of the others than these, which are different ones, by its number among them; the
    /// numbers go round.
    pub(super) fn one_but(&self, excluded: &[&KeyName], number: u64) -> Option<&KeyName> {
        let count = u64::try_from(self.count_but(excluded)).ok()?;
        let mut place = usize::try_from(number.checked_rem(count)?).ok()?;
        let places = excluded.iter().filter_map(|name| self.place_of(name));
        let mut places: Vec<usize> = places.collect();
        places.sort_unstable();
        for excluded in places {
            place = place.saturating_add(usize::from(excluded <= place));
        }
        self.names.get(place)
    }

    /// All others than this one, in their order.
    pub(super) fn all_but<'r>(&'r self, own: &'r KeyName) -> impl Iterator<Item = &'r KeyName> {
        self.names.iter().filter(move |name| *name != own)
    }

    fn place_of(&self, name: &KeyName) -> Option<usize> {
        self.names.binary_search(name).ok()
    }
}

fn asked(peers: &BTreeMap<KeyName, PeerSettings>) -> Vec<KeyName> {
    let asked = peers.values().filter(|peer| peer.asked);
    asked.map(|peer| peer.name.clone()).collect()
}

/// How a node behaves. Every time may be zero, so that a drill takes seconds.
// Spec: GSP-60
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a round takes.
    pub round: Duration,
    /// By how many percent of its length, at most, a round is shorter or longer.
    pub jitter_percent: u32,
    /// `G`: how many rounds a head may be unknown before it is fetched, and then unresolved before
    /// it is pending.
    pub grace_rounds: u32,
    /// `D1`: how long a head is pending before it is suspect. It must exceed the time between a
    /// log's signature and its tiles.
    pub suspect_after: Duration,
    /// `D2`: how long a head is suspect before it is called unprovable in public.
    pub unprovable_after: Duration,
    /// How long heads that are not known wait for nothing more than that their peer and we agree
    /// on ever newer ones.
    pub slow_every: Duration,
    /// How long a peer may fail before it is an alarm.
    pub peer_silence: Duration,
    /// Whether nothing is cosigned while [`Alarm::Isolated`](super::Alarm::Isolated) stands.
    pub hold_isolated: bool,
    /// How often the feed of some peer is read from its beginning: who hides a head need say
    /// nothing new otherwise.
    pub reread_every: Duration,
    /// The longest pause after failures.
    pub backoff_max: Duration,
    /// How long an answer may take before it is given up.
    pub answer_timeout: Duration,
    /// How far a page's time may be from that of the state that was asked for before it.
    pub statement_skew: Duration,
    /// How far from the median of its peers' the own clock may be.
    pub clock_skew: Duration,
    /// How long the newest cosigned head may go unconfirmed.
    pub agreement_lag: Duration,
    /// How many operators must hold a head that is called confirmed.
    pub quorum: usize,
    /// Up to so many peers are all asked in each round.
    pub ask_all_up_to: usize,
    /// `F`: how many are asked in a round when there are more.
    pub ask: usize,
    /// How many more are asked for nothing but their evidence then: that is cheap, and whoever has
    /// liars for all of `ask` has it from those.
    pub ask_evidence: usize,
    /// How many logs of a peer, of whose heads one is not known, are fetched at once in a round.
    pub at_once: usize,
    /// How many changes back the feed of a peer is read that is asked by chance.
    pub glance: u64,
    /// To how many peers evidence goes that others brought.
    pub pass_on: usize,
    /// How many recent heads of a log are remembered.
    pub ring: usize,
    /// How many heads of a log a page has.
    pub offer: usize,
    /// How many unresolved heads of a log are kept; more than 28 are never.
    pub unresolved: usize,
    /// How many of them may be new in a round from one peer, or from all strangers together.
    pub new_per_round: u32,
    /// How many notes are fetched from a peer in a round.
    pub notes_per_round: usize,
    /// How long a peer's head that is larger than ours waits until tiles are read for it: its log
    /// brings it here meanwhile, nearly always, and then nothing has to be read.
    pub tiles_after: Duration,
    /// The tiles of how many logs are read at a time.
    pub reads_at_once: usize,
    /// How many pages are read from a peer in a round.
    pub pages_per_round: u32,
    /// How many contradictions of one kind are kept that convict one key for one log.
    pub evidence_per_culprit: usize,
    /// How many contradictions are kept in all.
    pub evidence_max: usize,
    /// What page salts and the choice of peers follow from; known to nobody else.
    pub secret: Random,
}

impl Config {
    /// The defaults.
    pub fn new(secret: Random) -> Self {
        Self {
            round: Duration::from_secs(60),
            jitter_percent: 20,
            grace_rounds: 2,
            suspect_after: Duration::from_secs(600),
            unprovable_after: Duration::from_secs(86_400),
            slow_every: Duration::from_secs(600),
            peer_silence: Duration::from_secs(900),
            hold_isolated: false,
            reread_every: Duration::from_secs(3_600),
            backoff_max: Duration::from_secs(600),
            answer_timeout: Duration::from_secs(60),
            statement_skew: Duration::from_secs(120),
            clock_skew: Duration::from_secs(5),
            agreement_lag: Duration::from_secs(3_600),
            quorum: 2,
            ask_all_up_to: 32,
            ask: 3,
            ask_evidence: 3,
            at_once: 16,
            glance: 16_384,
            pass_on: 32,
            ring: 64,
            offer: 8,
            unresolved: 16,
            new_per_round: 4,
            notes_per_round: 2_000,
            tiles_after: Duration::from_secs(5),
            reads_at_once: 16,
            pages_per_round: 16,
            evidence_per_culprit: 4,
            evidence_max: 4_096,
            secret,
        }
    }
}
