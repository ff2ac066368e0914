//! A signed checkpoint under a policy.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use super::{Policy, PolicyWord};
use crate::checkpoint::{Origin, SignaturesError, SignedCheckpoint, VerifiedSignature};
use crate::key::{UnixSeconds, VerifierKey};

/// What a policy says about a checkpoint that it accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyVerdict {
    /// The log that signed: its place in [`Policy::logs`], or among the keys that the caller gave.
    /// When several did, the first of them.
    pub log: usize,
    /// The policy's witnesses that cosigned, each once, in the order of [`Policy::witnesses`].
    pub witnesses: Vec<WitnessVerdict>,
}

/// A witness that cosigned a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WitnessVerdict {
    /// The witness's place in [`Policy::witnesses`].
    pub witness: usize,
    /// When it says that it saw the checkpoint as the log's newest: the earliest time when it
    /// cosigned several times. Nothing when its cosignature omits the time, which says only that
    /// the checkpoint is consistent with all else that it saw.
    pub time: Option<UnixSeconds>,
}

impl Policy {
    /// Verifies that one of the policy's logs signed the checkpoint and that its quorum cosigned.
    ///
    /// Signatures by keys that the policy does not know are ignored; what they say is not proven.
    ///
    /// # Errors
    /// [`PolicyError`]: what the checkpoint lacks. Its sender is at fault, or the policy is not the
    /// one for this log.
    // Spec: POL-22, POL-26
    pub fn verify_checkpoint(
        &self,
        checkpoint: &SignedCheckpoint,
    ) -> Result<PolicyVerdict, PolicyError> {
        let (places, keys) = self.logs_of(checkpoint.origin());
        let mut verdict = self.verify_checkpoint_by(checkpoint, &keys)?;
        if let Some(&place) = places.get(verdict.log) {
            verdict.log = place;
        }
        Ok(verdict)
    }

    /// Verifies a checkpoint of a log whose keys the caller knows, whatever their names, and that
    /// the policy's quorum cosigned. The policy's own logs have no say.
    ///
    /// # Errors
    /// As [`Policy::verify_checkpoint`]; no key at all is an unknown log.
    // Spec: POL-22, POL-26
    pub fn verify_checkpoint_by(
        &self,
        checkpoint: &SignedCheckpoint,
        log_keys: &[VerifierKey],
    ) -> Result<PolicyVerdict, PolicyError> {
        let origin = checkpoint.origin();
        let (keys, verified) = self.verified_lines(checkpoint, log_keys)?;
        let mut signed: BTreeMap<usize, Option<UnixSeconds>> = BTreeMap::new();
        // Spec: POL-28
        for signature in verified {
            let time = signature.timestamp.filter(|time| time.get() > 0);
            signed
                .entry(signature.key_index)
                .and_modify(|known| *known = earliest(*known, time))
                .or_insert(time);
        }
        let time_of = |wanted: &VerifierKey| {
            let place = keys.iter().position(|key| key == wanted)?;
            signed.get(&place).copied()
        };
        let log = log_keys
            .iter()
            .position(|key| time_of(key).is_some())
            .ok_or_else(|| PolicyError::NotSignedByLog {
                origin: origin.clone(),
            })?;
        let witnesses: Vec<WitnessVerdict> = self
            .witnesses
            .iter()
            .enumerate()
            .filter_map(|(witness, known)| {
                Some(WitnessVerdict {
                    witness,
                    time: time_of(&known.key)?,
                })
            })
            .collect();
        let cosigned = |place: usize| witnesses.iter().any(|verdict| verdict.witness == place);
        if !self.quorum_met(cosigned) {
            // Spec: POL-25
            return Err(PolicyError::QuorumNotMet {
                unmet: self.shortfall(cosigned),
            });
        }
        Ok(PolicyVerdict { log, witnesses })
    }

    /// The keys of the log and the witnesses, each once, and the lines that they signed. One key
    /// can stand for the log and for a witness. It is verified once and counts for both, so that
    /// nothing depends on which of two equal keys a line is given to.
    // Spec: POL-23, POL-27
    pub(super) fn verified_lines(
        &self,
        checkpoint: &SignedCheckpoint,
        log_keys: &[VerifierKey],
    ) -> Result<(Vec<VerifierKey>, Vec<VerifiedSignature>), PolicyError> {
        if log_keys.is_empty() {
            return Err(PolicyError::UnknownLog {
                origin: checkpoint.origin().clone(),
            });
        }
        let mut keys: Vec<VerifierKey> = Vec::new();
        let witnesses = self.witnesses.iter().map(|witness| &witness.key);
        for key in log_keys.iter().chain(witnesses) {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        match checkpoint.verify_signatures(&keys) {
            Ok(verified) => Ok((keys, verified)),
            Err(SignaturesError::NoKnownSignature) => Ok((keys, Vec::new())),
            Err(error) => Err(PolicyError::BadSignature(error)),
        }
    }

    /// The policy's logs of this origin: places and keys.
    // Spec: POL-21
    pub(crate) fn logs_of(&self, origin: &Origin) -> (Vec<usize>, Vec<VerifierKey>) {
        self.logs
            .iter()
            .enumerate()
            .filter(|(_, log)| log.key.name().as_str() == origin.as_str())
            .map(|(place, log)| (place, log.key.clone()))
            .unzip()
    }
}

/// The earlier of two times; a time that is there before one that is not.
fn earliest(one: Option<UnixSeconds>, other: Option<UnixSeconds>) -> Option<UnixSeconds> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Why a checkpoint does not satisfy a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// The policy has no log whose key name is the checkpoint's origin.
    UnknownLog {
        /// The checkpoint's origin.
        origin: Origin,
    },
    /// The origin is known, but none of its keys signed.
    NotSignedByLog {
        /// The checkpoint's origin.
        origin: Origin,
    },
    /// A signature that claims a known key does not verify, so nothing in the note counts.
    BadSignature(SignaturesError),
    /// The log signed, but too few witnesses cosigned.
    QuorumNotMet {
        /// The groups that are not met, the quorum first, then those nested in it. A quorum of one
        /// witness shows as a group of one.
        unmet: Vec<UnmetGroup>,
    },
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownLog { origin } => {
                write!(
                    f,
                    "the policy has no log named {origin}, the checkpoint's origin"
                )
            }
            Self::NotSignedByLog { origin } => {
                write!(
                    f,
                    "no key that the policy trusts for {origin} signed the checkpoint"
                )
            }
            Self::BadSignature(error) => {
                write!(f, "the checkpoint's signatures are not valid: {error}")
            }
            Self::QuorumNotMet { unmet } => {
                f.write_str("the quorum is not met")?;
                for (place, group) in unmet.iter().enumerate() {
                    f.write_str(if place == 0 { ": " } else { "; " })?;
                    group.fmt(f)?;
                }
                Ok(())
            }
        }
    }
}

impl core::error::Error for PolicyError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::BadSignature(error) => Some(error),
            Self::UnknownLog { .. } | Self::NotSignedByLog { .. } | Self::QuorumNotMet { .. } => {
                None
            }
        }
    }
}

/// A group of which too few members have witnessed a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmetGroup {
    /// The group's name.
    pub name: PolicyWord,
    /// How many members must have witnessed.
    pub needed: usize,
    /// How many members it has.
    pub members: usize,
    /// How many have witnessed.
    pub present: usize,
    /// The members that have not.
    pub missing: Vec<PolicyWord>,
}

impl fmt::Display for UnmetGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            needed,
            members,
            present,
            missing,
        } = self;
        write!(
            f,
            "{name} needs {needed} of {members} and has {present}, without "
        )?;
        for (place, name) in missing.iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            name.fmt(f)?;
        }
        Ok(())
    }
}
