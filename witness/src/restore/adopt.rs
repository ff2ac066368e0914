//! What the operator decided is done: evidence becomes the latest checkpoint.
//!
//! It is cosigned anew, at the present time, and becomes the latest as any checkpoint does. That
//! is a refresh of what we cosigned already, and none of our lines in the evidence need be kept:
//! they may be of several times, or by former keys, or older than what we remember, while the times
//! of a log never go back.

use std::sync::Arc;

use jurat_proto::add_checkpoint::verify_log_signatures;
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_store::HeadSwap;
use jurat_store::registry::{Hold, HoldCause, Log};

use super::Guard;
use super::imported::Imported;
use crate::cosign::Witness;
use crate::heads::Latest;

/// Takes over the evidence of each hold that the operator wants to be adopted, and releases the
/// log. What fails is tried again later.
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
        let origin = &log.origin;
        if !guard.tries(origin) {
            continue;
        }
        let taken = match swap(witness, &log, hold) {
            Ok(Some(swap)) => witness.adopt(swap).await,
            Ok(None) => Ok(()),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = taken {
            tracing::error!(%origin, %reason, "the evidence was not adopted; the log stays held");
        } else if let Err(error) = guard.release(witness, &log).await {
            tracing::error!(%origin, %error, "the evidence was adopted; the log is not released");
        } else {
            guard.adopted(origin);
        }
    }
}

/// The swap that makes evidence the latest checkpoint; nothing when it is that already.
fn swap(witness: &Witness, log: &Log, hold: &Hold) -> Result<Option<HeadSwap>, String> {
    if hold.cause != HoldCause::Ours {
        return Err("only what this witness cosigned itself can be adopted".to_owned());
    }
    let note = SignedCheckpoint::parse(hold.evidence.as_bytes());
    let note = note.map_err(|error| error.to_string())?;
    if note.origin() != &log.origin {
        return Err(format!("it is a checkpoint of {}", note.origin()));
    }
    // Spec: GSP-188. Signed anew it would be later than the larger one.
    let imported = log.imported();
    let imported = imported.filter_map(|hold| Imported::of(&log.origin, hold));
    let heads = imported.map(|imported| imported.head());
    let head = note.head();
    // Spec: GSP-211. Nor beside another root of its size.
    let mut beyond = heads.filter(|imported| imported.size >= head.size && *imported != head);
    if let Some(beyond) = beyond.next() {
        let size = beyond.size.get();
        return Err(format!("size {size} was imported; dismiss it"));
    }
    let signed = verify_log_signatures(Some(&log.every_key()), &note);
    let signed = signed.map_err(|error| format!("the log has not signed it: {error}"))?;
    let cosigned = note.verify_signatures(witness.every_key());
    let cosigned = cosigned.map_err(|error| format!("we have not cosigned it: {error}"))?;
    let times = cosigned.iter().filter_map(|line| line.timestamp);
    let time = times.max().ok_or("our cosignature has no time")?;
    let latest = witness.heads().latest(&log.origin);
    let latest = latest.map_err(|error| error.to_string())?;
    if let Some(latest) = latest {
        if latest.head == note.head() && latest.time >= time {
            return Ok(None);
        }
        if latest.head.size > note.head().size {
            let size = latest.head.size.get();
            return Err(format!("we have cosigned size {size} since; dismiss it"));
        }
    }
    // Spec: GSP-186
    let floors = witness.floors(&log.origin);
    let known = floors.map_or(latest, |floors| floors.not_before(latest));
    let not_before = Latest {
        head: note.head(),
        time: known.map_or(time, |known| known.time.max(time)),
    };
    let keep = witness.log_lines(&note, signed);
    let signed = witness.sign(&note, &keep, Some(not_before));
    let (new, _) = signed.map_err(|error| error.to_string())?;
    Ok(Some(HeadSwap {
        origin: log.origin.clone(),
        expected: latest.map(|latest| latest.head),
        new,
    }))
}
