//! What the operator decided is done: evidence becomes the latest checkpoint.

use std::sync::Arc;

use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_store::registry::{Hold, HoldCause, Log};
use jurat_store::{HeadSwap, OriginHead};

use super::Guard;
use crate::cosign::Witness;

/// Takes over the evidence of each hold that the operator wants to be adopted, and releases the
/// log.
// Spec: WIT-86
pub async fn adopt(guard: &Arc<Guard>, witness: &Arc<Witness>) {
    let wanted: Vec<Log> = {
        let current = witness.logs().current();
        let held = current.held().iter();
        held.filter_map(|origin| current.log(origin).cloned())
            .collect()
    };
    for log in wanted {
        let Some(hold) = log.hold.as_ref().filter(|hold| hold.adopt) else {
            continue;
        };
        if !guard.tries(&hold.evidence) {
            continue;
        }
        let taken = match swap(witness, &log, hold) {
            Ok(Some(swap)) => witness.adopt(swap).await,
            Ok(None) => Ok(()),
            Err(reason) => Err(reason),
        };
        let origin = &log.origin;
        if let Err(reason) = taken {
            tracing::error!(%origin, %reason, "the evidence was not adopted; the log stays held");
        } else if let Err(error) = guard.release(witness, &log).await {
            tracing::error!(%origin, %error, "the evidence was adopted; the log is not released");
        }
    }
}

/// The swap that makes evidence the latest checkpoint; nothing when it is that already.
fn swap(witness: &Witness, log: &Log, hold: &Hold) -> Result<Option<HeadSwap>, String> {
    if hold.cause != HoldCause::Ours {
        return Err("only what this witness cosigned itself can be adopted".to_owned());
    }
    let bytes = hold.evidence.as_bytes();
    let note = SignedCheckpoint::parse(bytes).map_err(|error| error.to_string())?;
    if note.origin() != &log.origin {
        return Err(format!("it is a checkpoint of {}", note.origin()));
    }
    let signed = note.verify_signatures(&log.keys);
    signed.map_err(|error| format!("the log has not signed it: {error}"))?;
    let cosigned = note.verify_signatures(witness.keys());
    let cosigned = cosigned.map_err(|error| format!("we have not cosigned it: {error}"))?;
    let times = cosigned.iter().filter_map(|line| line.timestamp);
    let time = times.max().ok_or("our cosignature has no time")?;
    let latest = witness.heads().latest(&log.origin);
    let latest = latest.map_err(|error| error.to_string())?;
    if latest.is_some_and(|latest| latest.head == note.head() && latest.time >= time) {
        return Ok(None);
    }
    Ok(Some(HeadSwap {
        origin: log.origin.clone(),
        expected: latest.map(|latest| latest.head),
        new: OriginHead {
            head: note.head(),
            time,
            note: bytes.to_vec(),
            log_index: None,
        },
    }))
}
