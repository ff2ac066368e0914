//! The keys that a verifier of evidence knows, and what they are keys of.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

use super::Evidence;
use crate::checkpoint::Origin;
use crate::key::{KeyId, KeyName, SignatureType, VerifierKey};
use crate::policy::Policy;

/// Keys by what they may be convicted of. A key that is not here convicts nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownKeys {
    /// By origin: a witness may know a hundred thousand logs.
    logs: BTreeMap<Origin, Vec<LogKey>>,
    cosigners: Vec<VerifierKey>,
    gossip: Vec<GossipKey>,
}

/// The gossip key of a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GossipKey {
    pub(super) key: VerifierKey,
    /// The keys with which the same witness cosigns: whoever gave us the keys says so. A name says
    /// nothing; anybody makes a key of any name.
    pub(super) cosigners: Vec<VerifierKey>,
}

/// A key of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKey {
    /// The log.
    pub origin: Origin,
    /// The key.
    pub key: VerifierKey,
    /// Whether the log signs with it still.
    pub standing: Standing,
}

/// Whether a log signs with a key still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Current,
    /// It does not: what the key signs now may be by whoever got hold of it.
    Retired,
}

impl KnownKeys {
    /// No keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// The logs and witnesses of a policy. The name of a log's key is its origin there.
    // Spec: POL-32, POL-33
    pub fn from_policy(policy: &Policy) -> Self {
        let mut known = Self::new();
        known.add_policy(policy);
        known
    }

    /// Adds the logs and witnesses of a policy, after keys of which the caller knows more.
    pub fn add_policy(&mut self, policy: &Policy) {
        // A key that is marked is retired, whether or not it is listed as a log's, too.
        let retired = policy.retired().iter().map(|key| (key, Standing::Retired));
        let listed = policy
            .logs()
            .iter()
            .map(|log| (&log.key, Standing::Current));
        for (key, standing) in retired.chain(listed) {
            // A key name is always an origin: it has no control characters.
            if let Ok(origin) = Origin::parse(key.name().as_str()) {
                self.add_log(origin, key.clone(), standing);
            }
        }
        // The policy refuses keys of other types.
        for witness in policy.witnesses() {
            let _ = self.add_cosigner(witness.key.clone());
        }
        for gossip in policy.gossip() {
            let of = gossip.witnesses.iter();
            let of = of.filter_map(|&place| policy.witnesses().get(place));
            let of: Vec<VerifierKey> = of.map(|witness| witness.key.clone()).collect();
            let _ = self.add_gossip(gossip.key.clone(), &of);
        }
    }

    /// Adds a key of a log. A key that is there already keeps its first standing.
    pub fn add_log(&mut self, origin: Origin, key: VerifierKey, standing: Standing) {
        let keys = self.logs.entry(origin.clone()).or_default();
        if !keys.iter().any(|known| known.key == key) {
            keys.push(LogKey {
                origin,
                key,
                standing,
            });
        }
    }

    /// Adds a key with which a witness cosigns.
    ///
    /// # Errors
    /// [`KeyRefused`] when it is not of a type that cosigns.
    // Spec: EVI-41
    pub fn add_cosigner(&mut self, key: VerifierKey) -> Result<(), KeyRefused> {
        let types = [SignatureType::CosignatureV1, SignatureType::MlDsa44];
        require(&key, &types)?;
        if !self.cosigners.contains(&key) {
            self.cosigners.push(key);
        }
        Ok(())
    }

    /// Adds the gossip key of a witness, and the keys with which this witness cosigns: no others
    /// are taken for its, whatever their names.
    ///
    /// # Errors
    /// [`KeyRefused`] when a key is not of a type that its use has. Nothing was added.
    // Spec: EVI-41, GSP-10
    pub fn add_gossip(
        &mut self,
        key: VerifierKey,
        cosigners: &[VerifierKey],
    ) -> Result<(), KeyRefused> {
        require(&key, &[SignatureType::Ed25519])?;
        for cosigner in cosigners {
            require(
                cosigner,
                &[SignatureType::CosignatureV1, SignatureType::MlDsa44],
            )?;
        }
        for cosigner in cosigners {
            self.add_cosigner(cosigner.clone())?;
        }
        let place = self.gossip.iter().position(|known| known.key == key);
        let place = place.unwrap_or_else(|| {
            let cosigners = Vec::new();
            self.gossip.push(GossipKey { key, cosigners });
            self.gossip.len().saturating_sub(1)
        });
        if let Some(known) = self.gossip.get_mut(place) {
            for cosigner in cosigners {
                if !known.cosigners.contains(cosigner) {
                    known.cosigners.push(cosigner.clone());
                }
            }
        }
        Ok(())
    }

    /// Those of these keys that decide what this evidence proves, the keys of its log and the keys
    /// that have a line in it, each as `prepare` makes it: so that a caller who verifies with
    /// another library ([`VerifierKey::with_primitive`]) prepares these few alone. Whom it
    /// convicts, and what is left when it is minimised, is as with all of them.
    // Spec: EVI-70
    #[must_use]
    pub fn about(
        &self,
        evidence: &Evidence,
        prepare: impl Fn(&VerifierKey) -> VerifierKey,
    ) -> Self {
        let (a, b) = evidence.statements();
        let lines = [Some(a), b].into_iter().flatten();
        let lines = lines.flat_map(|said| said.signatures());
        let names: BTreeSet<(&KeyName, KeyId)> =
            lines.map(|line| (line.name(), line.key_id())).collect();
        let has_line = |key: &VerifierKey| names.contains(&(key.name(), key.key_id()));
        let prepared = |key: &VerifierKey| {
            if has_line(key) {
                prepare(key)
            } else {
                key.clone()
            }
        };
        let of_log = evidence.origin();
        let of_log = of_log.and_then(|origin| Some((origin, self.logs.get(origin)?)));
        let of_log = of_log.map(|(origin, keys)| {
            let keys = keys.iter().map(|log| LogKey {
                key: prepared(&log.key),
                ..log.clone()
            });
            (origin.clone(), keys.collect())
        });
        let cosigners = self.cosigners.iter().filter(|key| has_line(key));
        let gossip = self.gossip.iter().filter(|gossip| has_line(&gossip.key));
        Self {
            logs: of_log.into_iter().collect(),
            cosigners: cosigners.map(prepared).collect(),
            gossip: gossip
                .map(|GossipKey { key, cosigners }| GossipKey {
                    key: prepared(key),
                    cosigners: cosigners.iter().map(prepared).collect(),
                })
                .collect(),
        }
    }

    /// The keys of a log: those that it signs with first.
    pub(super) fn logs<'k>(&'k self, origin: &Origin) -> impl Iterator<Item = &'k LogKey> {
        let keys = self.logs.get(origin).map_or(&[][..], Vec::as_slice);
        let of = move |standing| keys.iter().filter(move |log| log.standing == standing);
        of(Standing::Current).chain(of(Standing::Retired))
    }

    pub(super) fn cosigners(&self) -> &[VerifierKey] {
        &self.cosigners
    }

    pub(super) fn gossip(&self) -> &[GossipKey] {
        &self.gossip
    }
}

fn require(key: &VerifierKey, types: &[SignatureType]) -> Result<(), KeyRefused> {
    let signature_type = key.signature_type();
    if types.contains(&signature_type) {
        return Ok(());
    }
    Err(KeyRefused { signature_type })
}

/// A key is not of a type that its use has. Whoever named it is at fault; nothing was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRefused {
    /// The type that it has.
    pub signature_type: SignatureType,
}

impl fmt::Display for KeyRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a key of type {:#04x} signs nothing of this sort",
            self.signature_type.to_byte()
        )
    }
}

impl core::error::Error for KeyRefused {}
