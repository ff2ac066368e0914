//! What a checkpoint that somebody shows says about our memory: a pure function.

use std::fmt;

use jurat_proto::checkpoint::{Origin, SignaturesError, SignedCheckpoint, VerifiedSignature};
use jurat_proto::key::{UnixSeconds, VerifierKey};
use jurat_proto::note::{NoteError, SignatureLine};
use jurat_proto::tree::{TreeHead, TreeSize};
use jurat_store::registry::HoldCause;

use super::Source;
use crate::heads::Latest;

/// The keys that a checkpoint is looked at with.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a> {
    /// The log's. One of them must have signed, or the checkpoint says nothing.
    pub log: &'a [VerifierKey],
    /// This witness's.
    pub own: &'a [VerifierKey],
    /// Those of the witness that shows it, if it is a witness; one of them must have signed too.
    pub peer: Option<&'a [VerifierKey]>,
}

/// What a checkpoint says about our memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Exactly what we remember: the tree, and the time of our cosignature.
    Same,
    /// Nothing that we do not know.
    Known,
    /// The log has a tree, and we remember none: so it is with each log that is new here.
    New,
    /// Our memory is wrong, or the log forked, or both.
    Evidence(Box<Evidence>),
}

/// A checkpoint that our memory does not account for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What it shows.
    pub cause: HoldCause,
    /// Its tree.
    pub head: TreeHead,
    /// For people.
    pub why: String,
    /// The checkpoint with the signatures that were verified, and no others. Of ours there are only
    /// those of the latest time, and they stand last.
    pub note: String,
}

/// Looks at a checkpoint. `latest` is what we remember, read *after* the checkpoint was fetched.
///
/// # Errors
/// The checkpoint says nothing: it is not of this log, or not signed as it has to be.
// Spec: WIT-80, WIT-81
pub fn judge(
    note: &[u8],
    origin: &Origin,
    keys: Keys<'_>,
    latest: Option<Latest>,
) -> Result<Finding, Unusable> {
    let shown = SignedCheckpoint::parse(note).map_err(|e| Unusable::NoCheckpoint(e.to_string()))?;
    if shown.origin() != origin {
        let origin = shown.origin().clone();
        return Err(Unusable::OtherLog { origin });
    }
    let by = |keys: &[VerifierKey]| match shown.verify_signatures(keys) {
        Ok(lines) => Ok(lines),
        Err(SignaturesError::NoKnownSignature) => Ok(Vec::new()),
        Err(error) => Err(Unusable::Signatures(error)),
    };
    let log = by(keys.log)?;
    if log.is_empty() {
        return Err(Unusable::NotSigned { whose: "the log" });
    }
    let own = by(keys.own)?;
    let peer = keys.peer.map(by).transpose()?;
    if peer.as_ref().is_some_and(Vec::is_empty) {
        return Err(Unusable::NotSigned {
            whose: "the witness that shows it",
        });
    }
    let cosigned = own.iter().filter_map(|line| line.timestamp).max();
    let head = shown.head();
    let shown_by = match keys.peer {
        Some(_) => ShownBy::Peer,
        None => ShownBy::Log,
    };
    let Some((cause, why)) = compare(head, cosigned, shown_by, latest) else {
        let same = |latest: Latest| head == latest.head && cosigned == Some(latest.time);
        return Ok(match latest {
            None => Finding::New,
            Some(latest) if same(latest) => Finding::Same,
            Some(_) => Finding::Known,
        });
    };
    // Evidence that we cosigned stands without the witness that showed it.
    let peer = peer
        .filter(|_| cause != HoldCause::Ours)
        .unwrap_or_default();
    let others: Vec<VerifiedSignature> = log.into_iter().chain(peer).collect();
    let note = stripped(&shown, &others, &own).map_err(Unusable::Note)?;
    Ok(Finding::Evidence(Box::new(Evidence {
        cause,
        head,
        why,
        note,
    })))
}

/// As [`judge`], where what was imported is known, too: `known` is all of that and what we
/// remember, the largest first, if anything is imported, and `ours` what we cosigned of it. That
/// our memory is wrong is said of the largest, and that there are two trees of one size of any;
/// whether others are ahead, and whether we remember what we published last, of what we remember.
/// So an import makes no log wait that would not wait without it. And what we cosigned and do not
/// remember is accounted for only by what we cosigned, or whoever has the log's key would have us
/// believe a memory that is old.
///
/// # Errors
/// As for [`judge`].
// Spec: GSP-188
pub(crate) fn judge_both(
    note: &[u8],
    origin: &Origin,
    keys: Keys<'_>,
    latest: Option<Latest>,
    (known, ours): (&[Latest], &[Latest]),
) -> Result<Finding, Unusable> {
    let remembered = judge(note, origin, keys, latest)?;
    let Some((largest, smaller)) = known.split_first() else {
        return Ok(remembered);
    };
    let of = |finding: &Finding| match finding {
        Finding::Evidence(evidence) => Some(evidence.cause),
        Finding::Same | Finding::Known | Finding::New => None,
    };
    // Spec: GSP-211
    for known in smaller {
        let imported = judge(note, origin, keys, Some(*known))?;
        if of(&imported) == Some(HoldCause::Fork) {
            return Ok(imported);
        }
    }
    let imported = judge(note, origin, keys, Some(*largest))?;
    let mut is_accounted_for = of(&remembered) != Some(HoldCause::Ours);
    for ours in ours {
        let beside = judge(note, origin, keys, Some(*ours))?;
        is_accounted_for |= !matches!(of(&beside), Some(HoldCause::Ours | HoldCause::Fork));
    }
    Ok(match (of(&remembered), of(&imported)) {
        (_, Some(HoldCause::Ours | HoldCause::Fork)) => imported,
        (Some(HoldCause::Ours), _) if !is_accounted_for => remembered,
        // What was imported accounts for it.
        (Some(HoldCause::Ours), _) | (Some(HoldCause::Peer), None) => Finding::Known,
        _ => remembered,
    })
}

/// What a checkpoint is evidence of that somebody shows us as cosigned by us, and that is: one that
/// our memory does not account for. The log need not have signed it; we did.
// Spec: WIT-83
pub(crate) fn judge_reference(
    shown: &SignedCheckpoint,
    keys: Keys<'_>,
    latest: Option<Latest>,
) -> Option<Evidence> {
    let own = shown.verify_signatures(keys.own).ok()?;
    let log = shown.verify_signatures(keys.log).unwrap_or_default();
    let cosigned = own.iter().filter_map(|line| line.timestamp).max();
    let cosigned = cosigned.unwrap_or(UnixSeconds::ZERO);
    let (cause, why) = compare(shown.head(), Some(cosigned), ShownBy::Log, latest)?;
    Some(Evidence {
        cause,
        head: shown.head(),
        why,
        note: stripped(shown, &log, &own).ok()?,
    })
}

/// A checkpoint with these lines of others and, after them, our lines of the latest time.
fn stripped(
    shown: &SignedCheckpoint,
    others: &[VerifiedSignature],
    own: &[VerifiedSignature],
) -> Result<String, NoteError> {
    with_newest(shown, others, own, usize::MAX)
}

/// So many of our lines, the shortest.
fn with_newest(
    shown: &SignedCheckpoint,
    others: &[VerifiedSignature],
    own: &[VerifiedSignature],
    most: usize,
) -> Result<String, NoteError> {
    let latest = own.iter().filter_map(|line| line.timestamp).max();
    let lines = shown.signatures();
    let newest = own.iter().filter(|line| line.timestamp == latest);
    let mut newest: Vec<SignatureLine> = newest
        .filter_map(|line| lines.get(line.line_index).cloned())
        .collect();
    if newest.len() > most {
        newest.sort_by_key(|line| line.signature().len());
        newest.truncate(most);
    }
    let is_ours = |index: usize| own.iter().any(|line| line.line_index == index);
    let mut keep: Vec<usize> = others.iter().map(|line| line.line_index).collect();
    keep.retain(|&index| !is_ours(index));
    keep.sort_unstable();
    keep.dedup();
    let note = shown.with_signatures(&keep, &newest)?;
    Ok(String::from_utf8_lossy(&note.to_bytes()).into_owned())
}

/// What a checkpoint that is imported says about our memory, under the rules of [`judge`]; but that
/// where it is ahead, and we remember nothing that says otherwise, it is what must not be signed
/// below. `from` is for people.
///
/// # Errors
/// As for [`judge`].
// Spec: GSP-183, GSP-184
pub(crate) fn judge_import(
    shown: &SignedCheckpoint,
    keys: Keys<'_>,
    latest: Option<Latest>,
    from: &str,
) -> Result<Finding, Unusable> {
    let by = |keys: &[VerifierKey]| match shown.verify_signatures(keys) {
        Ok(lines) => Ok(lines),
        Err(SignaturesError::NoKnownSignature) => Ok(Vec::new()),
        Err(error) => Err(Unusable::Signatures(error)),
    };
    let (log, own) = (by(keys.log)?, by(keys.own)?);
    if log.is_empty() {
        return Err(Unusable::NotSigned { whose: "the log" });
    }
    let cosigned = own.iter().filter_map(|line| line.timestamp).max();
    let head = shown.head();
    let Some((cause, why)) = compare(head, cosigned, ShownBy::File(from), latest) else {
        let same = latest.is_some_and(|latest| latest.head == head);
        return Ok(if same { Finding::Same } else { Finding::Known });
    };
    let most = match cause {
        HoldCause::Imported => 1,
        HoldCause::Ours | HoldCause::Peer | HoldCause::Fork => usize::MAX,
    };
    Ok(Finding::Evidence(Box::new(Evidence {
        cause,
        head,
        why,
        // Spec: GSP-185. A list has room for a hundred thousand short ones.
        note: with_newest(shown, &log, &own, most).map_err(Unusable::Note)?,
    })))
}

/// Who shows a checkpoint.
#[derive(Debug, Clone, Copy)]
enum ShownBy<'a> {
    /// The log, or the place where ours are published.
    Log,
    /// Another witness.
    Peer,
    /// A file, which is said to be from there.
    File(&'a str),
}

fn compare(
    head: TreeHead,
    cosigned: Option<UnixSeconds>,
    shown_by: ShownBy<'_>,
    latest: Option<Latest>,
) -> Option<(HoldCause, String)> {
    let size = head.size.get();
    let remembered = latest.map_or(0, |latest| latest.head.size.get());
    if let Some(latest) = latest
        && latest.head.size == head.size
        && latest.head.root_hash != head.root_hash
    {
        let (theirs, ours) = (head.root_hash, latest.head.root_hash);
        let why = format!("two trees of size {size}: root {theirs}, and {ours} here");
        return Some((HoldCause::Fork, why));
    }
    let ahead = latest.is_none_or(|latest| head.size > latest.head.size);
    match (cosigned, shown_by) {
        // A witness that remembers nothing takes over what it, or another, cosigned elsewhere. What
        // others cosigned says something where it is smaller, too: nobody has proven that what we
        // remember continues it.
        (_, ShownBy::File(from))
            if latest.is_none_or(|latest| cosigned.is_none() && latest.head.size != head.size) =>
        {
            let imported = head.size != TreeSize::ZERO;
            let why = format!("size {size} was imported from {from}; here it is {remembered}");
            imported.then_some((HoldCause::Imported, why))
        }
        (Some(time), _) if ahead => {
            let why = format!(
                "we cosigned size {size} at {time} and remember size {remembered}: this state is \
                 older than that"
            );
            Some((HoldCause::Ours, why))
        }
        (Some(time), _) if latest.is_none_or(|latest| time > latest.time) => {
            let known = latest.map_or(0, |latest| latest.time.get());
            let why = format!(
                "we cosigned size {size} at {time} and remember no time after {known}: this state \
                 is older than that"
            );
            Some((HoldCause::Ours, why))
        }
        (_, ShownBy::Peer) if ahead => {
            let why = format!("another witness cosigned size {size}; here it is {remembered}");
            Some((HoldCause::Peer, why))
        }
        (_, ShownBy::Log) if ahead && latest.is_some() => {
            let why = format!("the log signed size {size}; here it is {remembered}");
            Some((HoldCause::Peer, why))
        }
        _ => None,
    }
}

/// By how many leaves others are ahead, at most.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lag {
    /// Other witnesses.
    pub(crate) peer: u64,
    /// Logs.
    pub(crate) log: u64,
}

impl Lag {
    pub(super) fn add(&mut self, source: &Source, leaves: u64) {
        match source {
            Source::Peer(..) => self.peer = self.peer.max(leaves),
            // What we published without our cosignature is the log's.
            Source::Log(_) | Source::Own(_) => self.log = self.log.max(leaves),
        }
    }

    pub(super) fn widen(&mut self, other: &Self) {
        self.peer = self.peer.max(other.peer);
        self.log = self.log.max(other.log);
    }
}

/// Why a checkpoint says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// It is none.
    NoCheckpoint(String),
    /// It is of another log.
    OtherLog {
        /// Of which.
        origin: Origin,
    },
    /// A line by a key that counts is not good.
    Signatures(SignaturesError),
    /// Somebody has not signed it.
    NotSigned {
        /// Who.
        whose: &'static str,
    },
    /// It cannot be written down.
    Note(NoteError),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCheckpoint(reason) => write!(f, "no checkpoint: {reason}"),
            Self::OtherLog { origin } => write!(f, "a checkpoint of {origin}"),
            Self::Signatures(error) => write!(f, "{error}"),
            Self::NotSigned { whose } => write!(f, "not signed by {whose}"),
            Self::Note(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Unusable {}

#[cfg(test)]
mod tests {
    use jurat_keys::{Algorithm, SigningKey};
    use jurat_proto::checkpoint::{Checkpoint, ExtensionLines};
    use jurat_proto::cosignature;
    use jurat_proto::hash::sha256;
    use jurat_proto::key::{KeyName, Signer as _};

    use super::*;

    fn key(name: &str, algorithm: Algorithm) -> SigningKey {
        SigningKey::generate(KeyName::parse(name).unwrap(), algorithm).unwrap()
    }

    fn at(size: u64, time: u64) -> Latest {
        Latest {
            head: TreeHead {
                size: TreeSize::new(size).unwrap(),
                root_hash: sha256(&size.to_be_bytes()),
            },
            time: UnixSeconds::new(time).unwrap(),
        }
    }

    // Spec: GSP-188
    #[test]
    fn what_we_cosigned_is_accounted_for_by_what_we_cosigned_and_not_by_what_the_log_signed() {
        let log = key("example.com/log", Algorithm::Ed25519);
        let own = key("witness.example", Algorithm::CosignatureV1);
        let origin = Origin::parse("example.com/log").unwrap();
        let forgotten = at(10, 200);
        let checkpoint = Checkpoint {
            origin: origin.clone(),
            head: forgotten.head,
            extensions: ExtensionLines::new(),
        };
        let lines = vec![
            cosignature::sign_note(&checkpoint.to_text(), &log).unwrap(),
            cosignature::cosign(&checkpoint, forgotten.time, &own).unwrap(),
        ];
        let shown = SignedCheckpoint::new(checkpoint, lines).unwrap().to_bytes();
        let (log, own) = ([log.verifier_key().clone()], [own.verifier_key().clone()]);
        let judge = |ours: &[Latest]| {
            let keys = Keys {
                log: &log,
                own: &own,
                peer: None,
            };
            let remembered = Some(at(6, 300));
            let known = [at(12, 300), at(6, 300)];
            judge_both(&shown, &origin, keys, remembered, (&known, ours)).unwrap()
        };
        let is_held = |finding: Finding| match finding {
            Finding::Evidence(evidence) => evidence.cause == HoldCause::Ours,
            _ => false,
        };
        assert!(is_held(judge(&[])), "the log alone signed the larger one");
        assert!(is_held(judge(&[at(12, 150)])), "that was cosigned before");
        assert!(is_held(judge(&[at(9, 250)])), "that is smaller");
        assert!(!is_held(judge(&[at(9, 250), at(12, 250)])));
    }
}
