//! The `[gossip]` table: with whom this witness compares what it holds.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jurat_daemon::config::{Loaded, Problems};
use jurat_keys::SigningKey;
use jurat_proto::evidence::{KeyRefused, KnownKeys};
use jurat_proto::gossip::Random;
use jurat_proto::gossip::node::{Config, PeerSettings};
use jurat_proto::key::{KeyName, SignatureType, Signer as _, VerifierKey};
use serde::Deserialize;

use crate::journal::peers::{PeerChange, PeerEntry, Peers};

/// As it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawGossip {
    key: PathBuf,
    #[serde(default)]
    former_keys: Vec<String>,
    #[serde(default)]
    operator: String,
    #[serde(default)]
    peer: Vec<RawPeer>,
    #[serde(default = "yes")]
    hold: bool,
    #[serde(default)]
    isolated: Isolated,
    #[serde(default = "round")]
    round_ms: u64,
    #[serde(default = "grace")]
    grace_rounds: u32,
    #[serde(default = "suspect")]
    suspect_after_ms: u64,
    #[serde(default = "unprovable")]
    unprovable_after_ms: u64,
    #[serde(default = "suspect")]
    slow_every_ms: u64,
    #[serde(default = "silence")]
    peer_silence_ms: u64,
    #[serde(default = "quorum")]
    quorum: usize,
    #[serde(default)]
    outbound_only: bool,
    #[serde(default)]
    passive: Vec<String>,
    #[serde(default)]
    distributors: Vec<String>,
    #[serde(default)]
    mirrors: Vec<String>,
    #[serde(default = "passive")]
    passive_per_second: u32,
    #[serde(default)]
    alarm_exec: Vec<String>,
    alarm_webhook: Option<String>,
}

/// What becomes of cosigning while no peer is heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Isolated {
    /// It goes on, and there is an alarm.
    #[default]
    Sign,
    /// Nothing is cosigned.
    Hold,
}

const fn yes() -> bool {
    true
}
const fn round() -> u64 {
    60_000
}
const fn grace() -> u32 {
    2
}
const fn suspect() -> u64 {
    600_000
}
const fn unprovable() -> u64 {
    86_400_000
}
const fn silence() -> u64 {
    900_000
}
const fn passive() -> u32 {
    10
}
const fn quorum() -> usize {
    2
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPeer {
    name: String,
    url: Option<String>,
    gossip_keys: Vec<String>,
    keys: Vec<String>,
    #[serde(default)]
    operator: String,
}

/// With whom, and how.
#[derive(Debug, Clone)]
pub struct GossipSettings {
    /// The key that signs statements, and nothing else.
    pub(super) key: Arc<SigningKey>,
    pub(super) former_keys: Vec<VerifierKey>,
    /// Shared by the copies of these settings: they are the same for all who ask.
    peers: Shared,
    operator: String,
    /// Whether a head that cannot be joined holds the cosignatures of its log.
    pub(super) hold: bool,
    /// Whether nothing is cosigned while no peer is heard.
    pub(super) hold_isolated: bool,
    /// Whether nobody can ask this witness.
    pub(super) outbound_only: bool,
    pub(super) alarm_exec: Vec<String>,
    pub(super) alarm_webhook: Option<String>,
    passive: Vec<String>,
    distributors: Vec<String>,
    mirrors: Vec<String>,
    passive_per_second: u32,
    times: Times,
    quorum: usize,
}

/// The peers, as they are now.
#[derive(Debug, Clone)]
struct Shared(Arc<RwLock<Arc<[Peer]>>>);

/// A peer, and where it is; nowhere, when it cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) settings: PeerSettings,
    pub(super) url: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Times {
    round: Duration,
    grace_rounds: u32,
    suspect_after: Duration,
    unprovable_after: Duration,
    slow_every: Duration,
    peer_silence: Duration,
}

/// A peer, as far as a command shows it.
#[derive(Debug)]
pub(crate) struct NamedPeer {
    pub(crate) name: String,
    pub(crate) url: Option<String>,
    pub(crate) operator: String,
}

impl RawGossip {
    /// The peers as they are written, whether or not all else is right.
    pub(crate) fn named(&self) -> Vec<NamedPeer> {
        let named = self.peer.iter().map(|peer| NamedPeer {
            name: peer.name.clone(),
            url: peer.url.clone(),
            operator: peer.operator.clone(),
        });
        named.collect()
    }
}

impl GossipSettings {
    /// The verifier key of the gossip key.
    pub fn vkey(&self) -> &VerifierKey {
        self.key.verifier_key()
    }

    /// The monitoring prefixes of witnesses that do not gossip.
    pub(super) fn passive(&self) -> &[String] {
        &self.passive
    }

    /// What stands before `/distributor/v0` of those that collect what witnesses cosigned.
    pub(super) fn distributors(&self) -> &[String] {
        &self.distributors
    }

    /// The monitoring prefixes of those who have the tiles of many logs.
    pub(super) fn mirrors(&self) -> &[String] {
        &self.mirrors
    }

    pub(super) fn peer_silence(&self) -> Duration {
        self.times.peer_silence
    }

    pub(super) fn passive_per_second(&self) -> u32 {
        self.passive_per_second
    }

    pub(super) fn round(&self) -> Duration {
        self.times.round
    }

    pub(super) fn url(&self, peer: &KeyName) -> Option<String> {
        let peers = self.peers();
        let found = peers.iter().find(|known| known.settings.name == *peer);
        found.and_then(|peer| peer.url.clone())
    }

    /// The gossip keys of a peer, if there is one of this name.
    pub(super) fn gossip_keys(&self, peer: &KeyName) -> Option<Vec<VerifierKey>> {
        let peers = self.peers();
        let found = peers.iter().find(|known| known.settings.name == *peer);
        found.map(|peer| peer.settings.gossip.clone())
    }

    /// The peers as they are now; holding them keeps them as they are.
    pub(super) fn peers(&self) -> Arc<[Peer]> {
        Arc::clone(&self.peers.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The peers, as a journal has them.
    pub(crate) fn entries(&self) -> Peers {
        let vkeys = |keys: &[VerifierKey]| keys.iter().map(ToString::to_string).collect();
        let peers = self.peers();
        let entries = peers.iter().map(|peer| {
            let settings = &peer.settings;
            let entry = PeerEntry {
                gossip_keys: vkeys(&settings.gossip),
                keys: vkeys(&settings.cosigners),
                url: peer.url.clone(),
                operator: settings.operator.clone(),
            };
            (settings.name.to_string(), entry)
        });
        entries.collect()
    }

    /// Takes the peers of other settings, for all copies of these, once `record` has them.
    ///
    /// # Errors
    /// [`NotTaken`]; nothing changed.
    // Spec: GSP-96, GSP-142
    pub(super) fn take_peers(
        &self,
        new: &Self,
        record: impl FnOnce(&Peers) -> io::Result<Vec<PeerChange>>,
    ) -> Result<Vec<PeerChange>, NotTaken> {
        if new.vkey() != self.vkey() {
            return Err(NotTaken::OtherKey);
        }
        let changes = record(&new.entries()).map_err(NotTaken::NotRecorded)?;
        let after = new.peers();
        if *after != *self.peers() {
            let mut peers = self.peers.0.write().unwrap_or_else(PoisonError::into_inner);
            *peers = after;
        }
        Ok(changes)
    }

    /// Whether other settings differ in more than their peers: that takes a start.
    pub(super) fn differs_besides_peers(&self, other: &Self) -> bool {
        let rest = |settings: &Self| {
            let Self {
                key: _,
                former_keys,
                peers: _,
                operator,
                hold,
                hold_isolated,
                outbound_only,
                alarm_exec,
                alarm_webhook,
                passive,
                passive_per_second,
                distributors,
                mirrors,
                times,
                quorum,
            } = settings.clone();
            let alarms = (alarm_exec, alarm_webhook);
            let passive = (passive, passive_per_second, distributors, mirrors);
            let own = (former_keys, operator, outbound_only);
            let hold = (hold, hold_isolated);
            (own, hold, alarms, passive, times, quorum)
        };
        rest(self) != rest(other)
    }

    /// The node's own settings.
    // Spec: GSP-60
    pub(super) fn node(&self, secret: Random) -> Config {
        let times = self.times.clone();
        Config {
            round: times.round,
            grace_rounds: times.grace_rounds,
            suspect_after: times.suspect_after,
            unprovable_after: times.unprovable_after,
            slow_every: times.slow_every,
            peer_silence: times.peer_silence,
            quorum: self.quorum,
            hold_isolated: self.hold_isolated,
            ..Config::new(secret)
        }
    }

    /// Adds the keys of the peers, and the gossip keys of a witness that has these cosigner keys
    /// and had some of them, to those that may be convicted.
    ///
    /// # Errors
    /// A key is not of a type that its use has; the configuration refuses these.
    // Spec: GSP-10, GSP-134
    pub(crate) fn add_keys(
        &self,
        keys: &mut KnownKeys,
        own: &[VerifierKey],
    ) -> Result<(), KeyRefused> {
        for key in std::iter::once(self.vkey()).chain(&self.former_keys) {
            keys.add_gossip(key.clone(), own)?;
        }
        for Peer { settings, .. } in self.peers().iter() {
            for key in &settings.cosigners {
                keys.add_cosigner(key.clone())?;
            }
            for key in &settings.gossip {
                keys.add_gossip(key.clone(), &settings.cosigners)?;
            }
        }
        Ok(())
    }
}

/// Why the peers of a configuration were not taken over. The operator is at fault; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// The gossip key is another one.
    #[error("the gossip key is another one, which takes a start")]
    OtherKey,
    /// There is no `[gossip]` any more.
    #[error("[gossip] is gone, which takes a start")]
    Gone,
    /// The journal of peers does not take the change. The machine is at fault.
    #[error("the journal of peers: {0}")]
    NotRecorded(io::Error),
}

/// What a table says; what is wrong with it goes to `problems`, and is left out.
pub(crate) fn resolve<T>(
    raw: &RawGossip,
    loaded: &Loaded<T>,
    name: Option<&KeyName>,
    problems: &mut Problems,
) -> Option<GossipSettings> {
    let right = "the gossip key that init made, mode 0600";
    let key = SigningKey::load(loaded.path(&raw.key));
    let key = problems.take("gossip.key", key, right)?;
    let vkey = key.verifier_key();
    problems.check(
        vkey.signature_type() == SignatureType::Ed25519 && name.is_none_or(|n| vkey.name() == n),
        "gossip.key",
        vkey,
        "a key of type 0x01 with the name of this witness",
    );
    let former_keys = vkeys("gossip.former_keys", &raw.former_keys, GOSSIP, problems);
    let operator = &raw.operator;
    let mut peers: Vec<Peer> = Vec::new();
    problems.check(
        raw.peer.len() <= PEERS_MAX,
        "gossip.peer",
        format!("there are {}", raw.peer.len()),
        "at most 1024",
    );
    for peer in raw.peer.iter().take(PEERS_MAX) {
        let Some(peer) = resolve_peer(peer, operator, problems) else {
            continue;
        };
        let known = peers
            .iter()
            .any(|known| known.settings.name == peer.settings.name);
        problems.check(
            !known && name != Some(&peer.settings.name),
            "gossip.peer.name",
            &peer.settings.name,
            "each other witness once",
        );
        peers.push(peer);
    }
    check(raw, problems);
    let ms = Duration::from_millis;
    Some(GossipSettings {
        key: Arc::new(key),
        former_keys,
        peers: Shared(Arc::new(RwLock::new(peers.into()))),
        operator: raw.operator.clone(),
        hold: raw.hold,
        hold_isolated: raw.isolated == Isolated::Hold,
        outbound_only: raw.outbound_only,
        alarm_exec: raw.alarm_exec.clone(),
        alarm_webhook: raw.alarm_webhook.clone(),
        passive: places(&raw.passive),
        distributors: places(&raw.distributors),
        mirrors: places(&raw.mirrors),
        passive_per_second: raw.passive_per_second.clamp(1, 1_000),
        times: Times {
            round: ms(raw.round_ms),
            grace_rounds: raw.grace_rounds,
            suspect_after: ms(raw.suspect_after_ms),
            unprovable_after: ms(raw.unprovable_after_ms),
            slow_every: ms(raw.slow_every_ms),
            peer_silence: ms(raw.peer_silence_ms),
        },
        quorum: raw.quorum,
    })
}

fn check(raw: &RawGossip, problems: &mut Problems) {
    for (field, value) in [
        ("gossip.round_ms", raw.round_ms),
        ("gossip.suspect_after_ms", raw.suspect_after_ms),
        ("gossip.unprovable_after_ms", raw.unprovable_after_ms),
        ("gossip.slow_every_ms", raw.slow_every_ms),
        ("gossip.peer_silence_ms", raw.peer_silence_ms),
    ] {
        problems.check(
            value <= TIME_MS_MAX,
            field,
            value,
            "up to 2592000000, thirty days",
        );
    }
    for (field, urls, most) in [
        ("gossip.passive", &raw.passive, PASSIVE_MAX),
        ("gossip.distributors", &raw.distributors, DISTRIBUTORS_MAX),
        ("gossip.mirrors", &raw.mirrors, MIRRORS_MAX),
    ] {
        let right = format!("at most {most}");
        problems.check(urls.len() <= most, field, urls.len(), &right);
        for url in urls {
            problems.check(is_url(url), field, url, URL);
        }
    }
    let rate = raw.passive_per_second;
    let holds = (1..=1_000).contains(&rate);
    problems.check(holds, "gossip.passive_per_second", rate, "1 to 1000");
    if let Some(url) = &raw.alarm_webhook {
        problems.check(is_url(url), "gossip.alarm_webhook", url, URL);
    }
}

fn resolve_peer(raw: &RawPeer, own_operator: &str, problems: &mut Problems) -> Option<Peer> {
    let right = "the name of the witness's keys";
    let name = problems.take("gossip.peer.name", KeyName::parse(&raw.name), right)?;
    if let Some(url) = &raw.url {
        problems.check(is_url(url), "gossip.peer.url", url, URL);
    }
    let gossip = vkeys(
        "gossip.peer.gossip_keys",
        &raw.gossip_keys,
        GOSSIP,
        problems,
    );
    let cosigners = vkeys("gossip.peer.keys", &raw.keys, COSIGNS, problems);
    for key in gossip.iter().chain(&cosigners) {
        // Statements say a name, and evidence of them is about keys of that name.
        problems.check(
            *key.name() == name,
            "gossip.peer",
            key,
            "keys with the name of the witness",
        );
    }
    let named = !gossip.is_empty() && !cosigners.is_empty();
    let right = "a gossip key and a cosigner key at least";
    problems.check(named, "gossip.peer", &raw.name, right);
    // One that says nothing is an operator of its own: it is no witness of ours.
    let operator = match raw.operator.as_str() {
        "" => name.as_str().to_owned(),
        operator => operator.to_owned(),
    };
    problems.check(
        own_operator.is_empty() || operator != own_operator,
        "gossip.peer.operator",
        &operator,
        "another operator than this witness's",
    );
    // Spec: GSP-133
    let url = raw.url.as_deref();
    let url = url.map(|url| url.trim_end_matches('/').to_owned());
    let settings = PeerSettings {
        name,
        gossip,
        cosigners,
        operator,
        asked: url.is_some(),
    };
    Some(Peer { settings, url })
}

/// Each once: two entries of one place would be asked twice.
fn places(urls: &[String]) -> Vec<String> {
    let mut places: Vec<String> = Vec::new();
    for url in urls {
        let url = url.trim_end_matches('/').to_owned();
        if !places.contains(&url) {
            places.push(url);
        }
    }
    places
}

fn is_url(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

const URL: &str = "an http or https URL, as https://witness.example.com/w1";
const GOSSIP: &[SignatureType] = &[SignatureType::Ed25519];
const COSIGNS: &[SignatureType] = &[SignatureType::CosignatureV1, SignatureType::MlDsa44];

fn vkeys(
    field: &str,
    raw: &[String],
    types: &[SignatureType],
    problems: &mut Problems,
) -> Vec<VerifierKey> {
    let mut keys = Vec::new();
    for vkey in raw.iter().take(KEYS_MAX) {
        let Some(key) = problems.take(field, VerifierKey::parse(vkey), "vkeys") else {
            continue;
        };
        let of = types.contains(&key.signature_type());
        problems.check(of, field, vkey, "vkeys of the type for this use");
        keys.push(key);
    }
    keys
}

/// Tens to hundreds of witnesses know each other; a peer costs kilobytes.
const PEERS_MAX: usize = 1_024;
/// Each has a task of its own, and remembers what was shown.
const PASSIVE_MAX: usize = 64;
/// There are a few in the world.
const DISTRIBUTORS_MAX: usize = 16;
/// As many.
const MIRRORS_MAX: usize = 16;
/// Of one peer, and of each use.
const KEYS_MAX: usize = 16;
/// Thirty days.
const TIME_MS_MAX: u64 = 2_592_000_000;
