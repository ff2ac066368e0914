//! Heads that were imported and are not reached yet: nothing is signed below them.
//!
//! ```text
//! import ─► hold, cause `imported`, in the list of logs
//!             ├─ a checkpoint that continues it and what we cosigned last ─► cosigned; released
//!             └─ anything else ─► 409 with the size from which a proof is missing, or 422
//! ```
//!
//! So no operator has to decide on each of a hundred thousand logs that a witness took over: the
//! log itself proves that it is the one that was imported, with requests as it makes them anyway.
//! Worse evidence of the restore guard goes above such a hold, which stays below it (GSP-188).
//!
//! In scope: what is remembered between requests, and the release. Out of scope: the decision
//! ([`jurat_proto::add_checkpoint::above`]), and the file ([`crate::import_command`]).
//!
//! Rows: `spec/gossip.md` GSP-184 to GSP-188.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jurat_proto::add_checkpoint::above::Joined;
use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::key::{UnixSeconds, VerifierKey};
use jurat_proto::tree::{TreeHead, TreeSize};
use jurat_store::registry::{Change, Hold, HoldCause, RegistryError, Resolution};

use super::{Guard, lock};
use crate::cosign::Witness;
use crate::heads::Latest;

/// A head that must not be signed below.
#[derive(Debug, Clone)]
pub(crate) struct Floor {
    /// The tree.
    pub(crate) head: TreeHead,
    /// When we cosigned it, if we did.
    pub(crate) time: Option<UnixSeconds>,
    /// As its log signed it.
    pub(crate) note: SignedCheckpoint,
    /// The text of it in the list.
    evidence: String,
}

impl Floor {
    /// What a log is held for; nothing when that is no checkpoint of it. `own` are all keys that we
    /// have and had.
    pub(crate) fn of(origin: &Origin, hold: &Hold, own: &[VerifierKey]) -> Option<Self> {
        if hold.cause != HoldCause::Imported {
            return None;
        }
        let note = SignedCheckpoint::parse(hold.evidence.as_bytes()).ok()?;
        if note.origin() != origin || note.head().size == TreeSize::ZERO {
            return None;
        }
        let ours = note.verify_signatures(own).unwrap_or_default();
        Some(Self {
            head: note.head(),
            time: ours.iter().filter_map(|line| line.timestamp).max(),
            note,
            evidence: hold.evidence.clone(),
        })
    }

    /// What we know of the log besides what we cosigned last, where that is less.
    pub(super) fn or(&self, latest: Option<Latest>) -> Option<Latest> {
        let known = latest.filter(|latest| latest.head.size >= self.head.size);
        known.or_else(|| {
            Some(Latest {
                head: self.head,
                time: self
                    .not_before(latest)
                    .map_or(UnixSeconds::ZERO, |latest| latest.time),
            })
        })
    }

    /// The time before which nothing may be signed.
    pub(crate) fn not_before(&self, latest: Option<Latest>) -> Option<Latest> {
        let ours = self.time.map(|time| Latest {
            head: self.head,
            time,
        });
        match (latest, ours) {
            (Some(latest), Some(ours)) if ours.time > latest.time => Some(ours),
            (Some(latest), _) => Some(latest),
            (None, ours) => ours,
        }
    }
}

/// What requests proved of imported heads. Lost with the process: a log proves it again.
#[derive(Debug, Default)]
pub(crate) struct Joins {
    /// At most one for each log that is known.
    joined: Mutex<HashMap<Origin, Joined>>,
    /// Those that are reached durably, with what they were held for, until the list says so.
    reached: Mutex<HashMap<Origin, String>>,
}

impl Joins {
    /// What an earlier request proved.
    pub(crate) fn joined(&self, origin: &Origin) -> Option<Joined> {
        lock(&self.joined).get(origin).copied()
    }

    /// A request proved this.
    pub(crate) fn join(&self, origin: &Origin, joined: Joined) {
        lock(&self.joined).insert(origin.clone(), joined);
    }

    /// A checkpoint is durable that continues what was imported.
    pub(crate) fn reach(&self, origin: &Origin, floor: &Floor) {
        lock(&self.joined).remove(origin);
        lock(&self.reached).insert(origin.clone(), floor.evidence.clone());
    }

    /// Whether that was so, and the list does not say it yet.
    pub(crate) fn is_reached(&self, origin: &Origin, hold: &Hold) -> bool {
        let reached = lock(&self.reached);
        reached.get(origin) == Some(&hold.evidence)
    }
}

/// Releases the logs that reached what was imported, all in one change of the list. What cannot be
/// written is tried again.
// Spec: GSP-187
pub(super) async fn release(guard: &Arc<Guard>, witness: &Arc<Witness>) {
    let reached = lock(&witness.joins().reached).clone();
    if reached.is_empty() {
        return;
    }
    let all = reached.clone();
    let released = guard.edit(witness, move |registry| {
        let mut change = Change::Nothing;
        for (origin, evidence) in &all {
            match registry.resolve(origin, evidence, Resolution::Release) {
                Ok(_) => change = Change::Changed,
                // Its operator was faster.
                Err(RegistryError::NotHeld { .. } | RegistryError::UnknownLog { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((change, ()))
    });
    match released.await {
        Ok(()) => lock(&witness.joins().reached)
            .retain(|origin, evidence| reached.get(origin) != Some(evidence)),
        Err(error) => {
            tracing::error!(%error, "logs that reached what was imported are not released yet");
        }
    }
}
