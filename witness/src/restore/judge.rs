//! What a checkpoint that somebody shows says about our memory: a pure function.

use std::fmt;

use jurat_proto::checkpoint::{Origin, SignaturesError, SignedCheckpoint};
use jurat_proto::key::{UnixSeconds, VerifierKey};
use jurat_proto::note::NoteError;
use jurat_proto::tree::TreeHead;
use jurat_store::registry::HoldCause;

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
    /// Nothing that we do not know.
    Known,
    /// The log has a larger tree than we cosigned. So it is whenever a log was not shown to us.
    Ahead,
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
    /// The checkpoint with the signatures that were verified, and no others.
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
    let Some((cause, why)) = compare(head, cosigned, keys.peer.is_some(), latest) else {
        let ahead = latest.is_none_or(|latest| head.size > latest.head.size);
        return Ok(if ahead {
            Finding::Ahead
        } else {
            Finding::Known
        });
    };
    let mut keep: Vec<usize> = [Some(log), Some(own), peer]
        .into_iter()
        .flatten()
        .flatten()
        .map(|line| line.line_index)
        .collect();
    keep.sort_unstable();
    keep.dedup();
    let note = shown.with_signatures(&keep, &[]).map_err(Unusable::Note)?;
    let note = String::from_utf8_lossy(&note.to_bytes()).into_owned();
    Ok(Finding::Evidence(Box::new(Evidence {
        cause,
        head,
        why,
        note,
    })))
}

fn compare(
    head: TreeHead,
    cosigned: Option<UnixSeconds>,
    by_peer: bool,
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
    match cosigned {
        Some(time) if ahead => {
            let why = format!(
                "we cosigned size {size} at {time} and remember size {remembered}: this state is \
                 older than that"
            );
            Some((HoldCause::Ours, why))
        }
        Some(time) if latest.is_none_or(|latest| time > latest.time) => {
            let known = latest.map_or(0, |latest| latest.time.get());
            let why = format!(
                "we cosigned size {size} at {time} and remember no time after {known}: this state \
                 is older than that"
            );
            Some((HoldCause::Ours, why))
        }
        _ if ahead && by_peer => {
            let why = format!("another witness cosigned size {size}; here it is {remembered}");
            Some((HoldCause::Peer, why))
        }
        _ => None,
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
