//! What the log proves about a token: that it is in there, since when and until when it can have
//! been made, and whether its authority told the truth.
//!
//! ```text
//! cosignatures in the token      token      cosignatures of the receipt's checkpoint
//!          T1 ───────────────── genTime ────────────────── T2
//!          not before                                not after
//! ```
//!
//! A verified signature says that whoever had the key made the token, at any time at all. The rest
//! is here. The cosignatures inside were there before it. The entry in the log, which names the
//! hash of what the token says, was there when the witnesses cosigned the tree with it. Neither
//! needs the authority's clock, nor its good will: to move T1 or T2, a quorum of witnesses must
//! lie.
//!
//! In scope: a token that [`crate::tsp::verify`] found good, and whose signer nobody need know: the
//! log vouches for the certificates of its own units. Out of scope: that one; revocation; reading
//! files. Nothing here asks what time it is.
//!
//! Rules: `spec/timestamp.md`.

use core::fmt;

use crate::checkpoint::Origin;
use crate::entry::{CloseReason, Entry, KeyEvent, TimestampEntry};
use crate::hash::{Hash, sha256};
use crate::key::UnixSeconds;
use crate::policy::{Policy, PolicyError, WitnessVerdict};
use crate::proof::{ProofError, verify_inclusion};
use crate::receipt::{Receipt, ReceiptError, ReceiptVerdict};
use crate::tlog_proof;
use crate::tree::{LeafIndex, TreeHead, TreeSize};
use crate::tsp::certificate::Certificate;
use crate::tsp::gen_time::GenTime;
use crate::tsp::signed_data::TimestampToken;
use crate::tsp::tst_info::{Accuracy, TstInfo, UnitId};
use crate::tsp::verify::TokenVerdict;

/// What a verifier has of the log beside the token.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Which logs and witnesses are believed.
    pub policy: &'a Policy,
    /// The token's receipt, from inside it or from a file beside it. Nothing in it is believed.
    pub receipt: Option<&'a Receipt>,
    /// Keys that were closed.
    pub closings: &'a [Closing],
}

/// What is proven of a token beside its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedVerdict {
    /// Since when it can have been made.
    pub not_before: NotBeforeBound,
    /// That its entry is in a log of the policy, if there was a receipt.
    pub proof: Option<ReceiptVerdict>,
    /// Whether the policy asks for witnesses, so that a proof has their quorum.
    pub has_quorum: bool,
    /// By when it had been made: the time by which a quorum had cosigned the tree with its entry.
    pub not_after: Option<UnixSeconds>,
    /// The closing of its key, before which its entry stands.
    pub closing: Option<Closing>,
}

/// What the cosignatures inside a token prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotBeforeBound {
    /// There are none.
    Absent,
    /// They do not meet the policy, so that they prove nothing to this verifier.
    NotShown(PolicyError),
    /// They meet the policy.
    Shown {
        /// The log that they are about.
        origin: Origin,
        /// Its tree.
        head: TreeHead,
        /// Who cosigned, and when.
        witnesses: alloc::vec::Vec<WitnessVerdict>,
        /// The time since which a quorum has cosigned: the token was not made before. None when
        /// the policy asks for no witness, or too few state a time.
        time: Option<UnixSeconds>,
    },
}

impl NotBeforeBound {
    /// The time before which the token was not made, if one is proven.
    pub fn time(&self) -> Option<UnixSeconds> {
        match self {
            Self::Shown { time, .. } => *time,
            Self::Absent | Self::NotShown(_) => None,
        }
    }
}

/// How much is proven of a token, from least to most.
// Spec: TSP-88
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenClass {
    /// That whoever had the key made it. Not when.
    SignatureOnly,
    /// That a log of the policy has it, too. Nobody but the log says so.
    Logged,
    /// That a quorum of witnesses, of one at least, has cosigned the tree with it.
    Witnessed,
    /// That it was made between two times, neither of them the authority's.
    Bracketed,
    /// That it was in the log before its key was closed: it is good whoever has the key now.
    KeyClosed,
}

impl TokenClass {
    /// The class in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::SignatureOnly => "signature only",
            Self::Logged => "logged",
            Self::Witnessed => "witnessed",
            Self::Bracketed => "bracketed",
            Self::KeyClosed => "key closed",
        }
    }
}

impl fmt::Display for TokenClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl LoggedVerdict {
    /// The class of the token.
    // Spec: TSP-88
    pub fn class(&self) -> TokenClass {
        if self.closing.is_some() {
            TokenClass::KeyClosed
        } else {
            self.proven()
        }
    }

    /// Whether so much is proven. That the key was closed takes nothing away from what is proven
    /// without it.
    // Spec: TSP-88
    pub fn shows(&self, class: TokenClass) -> bool {
        class <= self.proven() || (class == TokenClass::KeyClosed && self.closing.is_some())
    }

    fn proven(&self) -> TokenClass {
        match &self.proof {
            None => TokenClass::SignatureOnly,
            // Whose policy asks for nobody has no quorum, whoever cosigned.
            Some(_) if !self.has_quorum => TokenClass::Logged,
            Some(_) if self.is_bracketed() => TokenClass::Bracketed,
            Some(_) => TokenClass::Witnessed,
        }
    }

    /// Whether there is a bracket. Times are whole seconds, cut off; a bracket that ends before it
    /// begins says that witnesses' clocks disagree, and bounds nothing.
    fn is_bracketed(&self) -> bool {
        match (self.not_before.time(), self.not_after) {
            (Some(since), Some(by)) => since.get() <= by.get().saturating_add(1),
            _ => false,
        }
    }
}

/// Verifies what the log proves about a token that is good by its signature.
///
/// The verdict must be that of this token.
///
/// # Errors
/// [`LoggedError`]: the first thing that is wrong. Without a receipt, and with no closing of the
/// key, nothing is wrong with a token of another authority.
// Spec: TSP-81, TSP-83, TSP-84, TSP-89
pub fn verify_logged(
    token: &TimestampToken,
    verdict: &TokenVerdict,
    evidence: Evidence<'_>,
) -> Result<LoggedVerdict, LoggedError> {
    let Evidence {
        policy,
        receipt,
        closings,
    } = evidence;
    let tst_info = token.tst_info();
    let signer = &verdict.signer;
    let proof = match receipt {
        Some(receipt) => Some(verify_receipt(tst_info, signer, receipt, policy)?),
        None if verdict.root.is_none() => return Err(LoggedError::NobodyVouches),
        None => None,
    };
    let not_after = proof
        .as_ref()
        .and_then(|proof| policy.quorum_by(&proof.witnesses));
    let not_before = verify_not_before(tst_info, signer, verdict, policy)?;
    verify_time(tst_info, not_before.time(), not_after)?;
    let closing = verify_open(signer, proof.as_ref(), closings)?;
    Ok(LoggedVerdict {
        not_before,
        has_quorum: proof.is_some() && !policy.quorum_met(|_| false),
        proof,
        not_after,
        closing,
    })
}

/// The log in which a token has its place, of those of a policy: no other can give it a receipt.
/// None for tokens of others.
// Spec: TSP-80
pub fn log_of<'a>(
    tst_info: &TstInfo,
    signer: &Certificate,
    policy: &'a Policy,
) -> Option<(&'a str, LeafIndex)> {
    let (_, index) = tst_info.serial.as_unit()?;
    policy.logs().iter().find_map(|log| {
        let origin = Origin::parse(log.key.name().as_str()).ok()?;
        place_in(tst_info, signer, &origin).map(|_| (log.key.name().as_str(), index))
    })
}

/// That a token came back with its receipt and otherwise as it was. Whether the log and the
/// witnesses stand behind the receipt is for [`verify_logged`], under a policy.
///
/// # Errors
/// [`UpgradeError`]: what came back. Who sent it is at fault.
// Spec: TSP-92
pub fn verify_upgrade(
    before: &TimestampToken,
    after: &TimestampToken,
) -> Result<Receipt, UpgradeError> {
    if before.without_receipt() != after.without_receipt() {
        return Err(UpgradeError::OtherToken);
    }
    let receipt = after.receipt().ok_or(UpgradeError::NoReceipt)?;
    let receipt = Receipt::parse(receipt).map_err(UpgradeError::Receipt)?;
    let due = TimestampEntry::of(before.tst_info());
    let place = due.as_ref().ok().map(TimestampEntry::index);
    let proof = receipt.tlog_proof();
    if due.map(Entry::Timestamp).as_ref() != Ok(receipt.entry()) || place != Some(proof.index()) {
        return Err(UpgradeError::OtherEntry);
    }
    let (leaf, head) = (receipt.entry().leaf_hash(), proof.checkpoint().head());
    verify_inclusion(proof.index(), &leaf, proof.proof(), &head).map_err(UpgradeError::Proof)?;
    Ok(receipt)
}

/// Why a token that came back is not the one that was sent, with its receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpgradeError {
    /// More has changed than the receipt.
    OtherToken,
    /// It has none.
    NoReceipt,
    /// What it has is none.
    Receipt(ReceiptError),
    /// The receipt is of another entry.
    OtherEntry,
    /// The receipt does not show the entry in its tree.
    Proof(ProofError),
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherToken => f.write_str("another token came back than was sent"),
            Self::NoReceipt => f.write_str("the token came back without a receipt"),
            Self::Receipt(error) => write!(f, "the receipt inside: {error}"),
            Self::OtherEntry => f.write_str("the receipt inside is of another entry"),
            Self::Proof(error) => write!(f, "the receipt inside: {error}"),
        }
    }
}

impl core::error::Error for UpgradeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Receipt(error) => Some(error),
            Self::Proof(error) => Some(error),
            Self::OtherToken | Self::NoReceipt | Self::OtherEntry => None,
        }
    }
}

/// The place that the serial number claims in the log of this origin, if it is about that log.
// Spec: TSP-80
fn place_in(tst_info: &TstInfo, signer: &Certificate, origin: &Origin) -> Option<LeafIndex> {
    let (unit, index) = tst_info.serial.as_unit()?;
    (unit == UnitId::of_certificate(origin, &fingerprint(signer))).then_some(index)
}

fn fingerprint(certificate: &Certificate) -> Hash {
    sha256(certificate.as_bytes())
}

/// That the log has the entry of this token at the place that the token says.
// Spec: TSP-80, TSP-81, TSP-82
fn verify_receipt(
    tst_info: &TstInfo,
    signer: &Certificate,
    receipt: &Receipt,
    policy: &Policy,
) -> Result<ReceiptVerdict, LoggedError> {
    let proof = receipt.verify(policy).map_err(LoggedError::Receipt)?;
    let Some(index) = place_in(tst_info, signer, &proof.origin) else {
        return Err(LoggedError::OtherLog {
            origin: proof.origin,
        });
    };
    if proof.index != index {
        return Err(LoggedError::OtherIndex {
            token: index,
            receipt: proof.index,
        });
    }
    let due = TimestampEntry::of(tst_info).map(Entry::Timestamp);
    if due.as_ref() != Ok(receipt.entry()) {
        return Err(LoggedError::Misissued(Misissuance::OtherEntry {
            index,
            kind: receipt.entry().kind(),
        }));
    }
    Ok(proof)
}

// Spec: TSP-84, TSP-86
fn verify_not_before(
    tst_info: &TstInfo,
    signer: &Certificate,
    verdict: &TokenVerdict,
    policy: &Policy,
) -> Result<NotBeforeBound, LoggedError> {
    let Some(not_before) = &verdict.not_before else {
        return Ok(NotBeforeBound::Absent);
    };
    let checkpoint = not_before.checkpoint();
    let cosigned = match policy.verify_checkpoint(checkpoint) {
        Ok(cosigned) => cosigned,
        Err(error) => return Ok(NotBeforeBound::NotShown(error)),
    };
    let (origin, head) = (checkpoint.origin(), checkpoint.head());
    if let Some(index) = place_in(tst_info, signer, origin)
        && index.get() < head.size.get()
    {
        let size = head.size;
        return Err(LoggedError::Misissued(Misissuance::PlaceTaken {
            index,
            size,
        }));
    }
    Ok(NotBeforeBound::Shown {
        origin: origin.clone(),
        head,
        time: policy.quorum_since(&cosigned.witnesses),
        witnesses: cosigned.witnesses,
    })
}

/// What a token is allowed that states no accuracy: no clock that works is wrong by more. Its
/// authority has promised nothing, so that less would call misissuance what is only inexact.
// Spec: TSP-85
const ACCURACY_UNSTATED_MICROS: u64 = 60_000_000;

/// That the authority's clock and the witnesses' agree, as far as the accuracy goes.
///
/// The times of cosignatures are whole seconds, cut off: a witness that says T cosigned before
/// T + 1.
// Spec: TSP-85
fn verify_time(
    tst_info: &TstInfo,
    not_before: Option<UnixSeconds>,
    not_after: Option<UnixSeconds>,
) -> Result<(), LoggedError> {
    let gen_time = tst_info.gen_time;
    let accuracy = tst_info.accuracy;
    let nanos = gen_time.since_epoch().as_nanos();
    let margin = accuracy.map_or(ACCURACY_UNSTATED_MICROS, Accuracy::as_micros);
    let margin = u128::from(margin) * 1_000;
    let at = |seconds: u64| u128::from(seconds) * 1_000_000_000;
    if let Some(not_before) = not_before
        && nanos.saturating_add(margin) < at(not_before.get())
    {
        return Err(LoggedError::Misissued(Misissuance::Backdated {
            gen_time,
            accuracy,
            not_before,
        }));
    }
    if let Some(not_after) = not_after
        && nanos >= at(not_after.get().saturating_add(1)).saturating_add(margin)
    {
        return Err(LoggedError::Misissued(Misissuance::Postdated {
            gen_time,
            accuracy,
            not_after,
        }));
    }
    Ok(())
}

/// That the token does not need a key that was closed.
// Spec: TSP-87
fn verify_open(
    signer: &Certificate,
    proof: Option<&ReceiptVerdict>,
    closings: &[Closing],
) -> Result<Option<Closing>, LoggedError> {
    let certificate = fingerprint(signer);
    let of_key = closings
        .iter()
        .filter(|closing| closing.certificate == certificate);
    let mut first: Option<&Closing> = None;
    for closing in of_key {
        let proven = proof.filter(|proof| proof.origin == closing.origin);
        match proven {
            None => {
                return Err(LoggedError::KeyClosed {
                    closing: closing.clone(),
                    index: None,
                });
            }
            Some(proof) if proof.index >= closing.index => {
                return Err(LoggedError::KeyClosed {
                    closing: closing.clone(),
                    index: Some(proof.index),
                });
            }
            Some(_) => {}
        }
        if first.is_none_or(|first| closing.index < first.index) {
            first = Some(closing);
        }
    }
    Ok(first.cloned())
}

/// A proven entry that closes the key of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The log that has the entry.
    pub origin: Origin,
    /// The entry's place in it.
    pub index: LeafIndex,
    /// The SHA-256 of the unit's certificate.
    pub certificate: Hash,
    /// Why the key was closed.
    pub reason: CloseReason,
    /// When, by the service's clock.
    pub time: UnixSeconds,
}

impl Closing {
    /// Verifies the receipt of a closing.
    ///
    /// # Errors
    /// [`ClosingError`]: the receipt does not verify, or its entry closes no key of its own log.
    // Spec: TSP-87
    pub fn verify(receipt: &Receipt, policy: &Policy) -> Result<Self, ClosingError> {
        let proof = receipt.verify(policy).map_err(ClosingError::Receipt)?;
        let kind = receipt.entry().kind();
        let Entry::Key(key) = receipt.entry() else {
            return Err(ClosingError::NotClosing { kind });
        };
        let KeyEvent::Close(reason) = key.event else {
            return Err(ClosingError::NotClosing { kind });
        };
        if key.unit != UnitId::of_certificate(&proof.origin, &key.certificate) {
            return Err(ClosingError::OtherLog { unit: key.unit });
        }
        Ok(Self {
            origin: proof.origin,
            index: proof.index,
            certificate: key.certificate,
            reason,
            time: key.time,
        })
    }
}

/// Why a receipt is none of the closing of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClosingError {
    /// It does not verify.
    Receipt(tlog_proof::VerifyError),
    /// Its entry closes no key.
    NotClosing {
        /// The entry's kind.
        kind: &'static str,
    },
    /// Its entry is about a unit of another log than the one that has it.
    OtherLog {
        /// The unit.
        unit: UnitId,
    },
}

impl fmt::Display for ClosingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receipt(error) => error.fmt(f),
            Self::NotClosing { kind } => write!(f, "an entry of kind {kind} that closes no key"),
            Self::OtherLog { unit } => {
                write!(f, "the unit {unit} is none of the log that has the entry")
            }
        }
    }
}

impl core::error::Error for ClosingError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Receipt(error) => Some(error),
            Self::NotClosing { .. } | Self::OtherLog { .. } => None,
        }
    }
}

/// Why a token whose signature is good is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoggedError {
    /// The verifier knows no root that leads to the signer, and there is no receipt either. The
    /// caller is at fault.
    NobodyVouches,
    /// Its receipt does not verify under the policy. Whoever gave it is at fault.
    Receipt(tlog_proof::VerifyError),
    /// The receipt is of a log in which the token has no place. Whoever gave it is at fault.
    OtherLog {
        /// The receipt's log.
        origin: Origin,
    },
    /// The receipt is of another entry. Whoever gave it is at fault.
    OtherIndex {
        /// The place of the token.
        token: LeafIndex,
        /// The place of the entry.
        receipt: LeafIndex,
    },
    /// The authority is at fault, and what the verifier holds proves it to anybody.
    Misissued(Misissuance),
    /// The key was closed, and the token is not proven to have been in the log before.
    KeyClosed {
        /// The closing.
        closing: Closing,
        /// The place of the token in the log, if that is proven.
        index: Option<LeafIndex>,
    },
}

/// What an authority has done that it must not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misissuance {
    /// At the token's place, the log has the entry of something else.
    OtherEntry {
        /// The place.
        index: LeafIndex,
        /// What kind of entry stands there.
        kind: &'static str,
    },
    /// The token's place lies in the tree whose cosignatures it carries: something else stood there
    /// before the token was made.
    PlaceTaken {
        /// The place.
        index: LeafIndex,
        /// The size of the tree.
        size: TreeSize,
    },
    /// The token says an earlier time than that of the cosignatures in it.
    Backdated {
        /// The token's time.
        gen_time: GenTime,
        /// How exact the token says that it is.
        accuracy: Option<Accuracy>,
        /// The time since which a quorum has cosigned.
        not_before: UnixSeconds,
    },
    /// The token says a later time than that by which witnesses had cosigned its entry.
    Postdated {
        /// The token's time.
        gen_time: GenTime,
        /// How exact the token says that it is.
        accuracy: Option<Accuracy>,
        /// The time by which a quorum had cosigned.
        not_after: UnixSeconds,
    },
}

impl fmt::Display for LoggedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NobodyVouches => f.write_str(
                "nobody vouches for the signer: neither a root certificate nor a receipt is given",
            ),
            Self::Receipt(error) => write!(f, "the token's receipt: {error}"),
            Self::OtherLog { origin } => write!(
                f,
                "the receipt is of {origin}, a log in which the token has no place"
            ),
            Self::OtherIndex { token, receipt } => write!(
                f,
                "the receipt is of entry {receipt}, and the token's place is {token}"
            ),
            Self::Misissued(misissuance) => write!(f, "MISISSUED: {misissuance}"),
            Self::KeyClosed {
                closing,
                index: None,
            } => write!(
                f,
                "the key was closed ({}) at entry {}, and the token is not proven to stand before",
                closing.reason, closing.index
            ),
            Self::KeyClosed {
                closing,
                index: Some(index),
            } => write!(
                f,
                "the key was closed ({}) at entry {}, and the token stands after it, at {index}",
                closing.reason, closing.index
            ),
        }
    }
}

impl fmt::Display for Misissuance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let within = |accuracy: &Option<Accuracy>| match accuracy {
            Some(accuracy) => alloc::format!("within {} microseconds", accuracy.as_micros()),
            None => "without an accuracy".into(),
        };
        match self {
            Self::OtherEntry { index, kind } => write!(
                f,
                "at the token's place, {index}, the log has another entry, of kind {kind}"
            ),
            Self::PlaceTaken { index, size } => write!(
                f,
                "the token's place, {index}, was taken: the checkpoint in the token has size {size}"
            ),
            Self::Backdated {
                gen_time,
                accuracy,
                not_before,
            } => {
                let earliest = shown(*not_before);
                let within = within(accuracy);
                write!(
                    f,
                    "the token says {gen_time}, {within}, and carries \
                     cosignatures of {earliest}"
                )
            }
            Self::Postdated {
                gen_time,
                accuracy,
                not_after,
            } => {
                let latest = shown(*not_after);
                let within = within(accuracy);
                write!(
                    f,
                    "the token says {gen_time}, {within}, and witnesses had \
                     cosigned its entry by {latest}"
                )
            }
        }
    }
}

/// A time as RFC 3339 has it, where that can be written.
fn shown(time: UnixSeconds) -> alloc::string::String {
    use alloc::string::ToString as _;
    match GenTime::new(time.get(), 0) {
        Some(time) => time.to_string(),
        None => alloc::format!("{time} s"),
    }
}

impl core::error::Error for LoggedError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Receipt(error) => Some(error),
            Self::NobodyVouches
            | Self::OtherLog { .. }
            | Self::OtherIndex { .. }
            | Self::Misissued(_)
            | Self::KeyClosed { .. } => None,
        }
    }
}

#[cfg(test)]
pub(crate) use self::tests::examples;

#[cfg(test)]
mod tests;
