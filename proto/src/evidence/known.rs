//! The keys that a verifier of evidence knows, and what they are keys of.

use alloc::vec::Vec;
use core::fmt;

use crate::checkpoint::Origin;
use crate::key::{SignatureType, VerifierKey};
use crate::note::SignatureLine;
use crate::policy::Policy;

/// Keys by what they may be convicted of. A key that is not here convicts nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownKeys {
    logs: Vec<LogKey>,
    cosigners: Vec<VerifierKey>,
    gossip: Vec<VerifierKey>,
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
    pub fn from_policy(policy: &Policy) -> Self {
        let mut known = Self::new();
        for log in policy.logs() {
            // A key name is always an origin: it has no control characters.
            if let Ok(origin) = Origin::parse(log.key.name().as_str()) {
                known.add_log(origin, log.key.clone(), Standing::Current);
            }
        }
        known.cosigners = policy.witnesses().iter().map(|w| w.key.clone()).collect();
        known
    }

    /// Adds a key of a log. A key that is there already keeps its first standing.
    pub fn add_log(&mut self, origin: Origin, key: VerifierKey, standing: Standing) {
        let known = |log: &LogKey| log.origin == origin && log.key == key;
        if !self.logs.iter().any(known) {
            self.logs.push(LogKey {
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

    /// Adds the gossip key of a witness. The cosigner keys of the same name are the same witness's.
    ///
    /// # Errors
    /// [`KeyRefused`] when it is not of the type that gossip keys have.
    // Spec: EVI-41, GSP-10
    pub fn add_gossip(&mut self, key: VerifierKey) -> Result<(), KeyRefused> {
        require(&key, &[SignatureType::Ed25519])?;
        if !self.gossip.contains(&key) {
            self.gossip.push(key);
        }
        Ok(())
    }

    /// The keys of a log: those that it signs with first.
    pub(super) fn logs<'k>(&'k self, origin: &Origin) -> impl Iterator<Item = &'k LogKey> {
        let of = move |standing| {
            let keys = self.logs.iter();
            keys.filter(move |log| log.origin == *origin && log.standing == standing)
        };
        of(Standing::Current).chain(of(Standing::Retired))
    }

    /// Whether a line names a key that is known, whatever it is a key of.
    pub(super) fn knows(&self, line: &SignatureLine) -> bool {
        let logs = self.logs.iter().map(|log| &log.key);
        let others = self.cosigners.iter().chain(&self.gossip);
        logs.chain(others).any(|key| key.matches(line))
    }

    pub(super) fn cosigners(&self) -> &[VerifierKey] {
        &self.cosigners
    }

    pub(super) fn gossip(&self) -> &[VerifierKey] {
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
