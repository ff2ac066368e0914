//! Holds that are in force before they are durable.
//!
//! ```text
//! evidence ─► held in memory ─► journal, list ─► list read again ─► held there
//!                  ▲                  │ cannot be written
//!                  └── tried again ───┘
//! ```
//!
//! A disk that takes no line of the journal is no reason to go on signing. What is lost when the
//! process ends before the hold is written is found again by the first request after the start, as
//! long as somebody still shows the evidence; so `/health` says that such a hold is there.
//!
//! Rows: `spec/witness.md` WIT-83, WIT-84.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jurat_proto::checkpoint::Origin;
use jurat_store::registry::{Hold, HoldCause, Log};

use super::{Guard, Held, Moment};
use crate::cosign::Witness;

/// The holds of this process that are not yet in the list of logs that it uses.
#[derive(Default)]
pub struct Holds {
    /// By origin; at most one for each log that is known.
    pending: RwLock<BTreeMap<Origin, Pending>>,
    /// How many those are, to be looked at without the lock: there are hardly ever any.
    count: AtomicUsize,
}

struct Pending {
    hold: Hold,
    /// Why it is not durable, once that was tried.
    failure: Option<String>,
}

impl Holds {
    /// Why nothing is signed for a log, if it is held here.
    pub fn held(&self, origin: &Origin) -> Option<Held> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let pending = self.pending.read().unwrap_or_else(PoisonError::into_inner);
        pending.get(origin).map(|pending| Held::by(&pending.hold))
    }

    /// Holds a log from now on.
    pub(crate) fn begin(&self, origin: &Origin, hold: Hold) {
        self.change(|pending| {
            let failure = None;
            let entry = pending.entry(origin.clone());
            entry.or_insert(Pending { hold, failure });
        });
    }

    /// The hold is in the list, or was put aside there.
    pub(super) fn end(&self, origin: &Origin) {
        self.change(|pending| drop(pending.remove(origin)));
    }

    pub(super) fn failed(&self, origin: &Origin, reason: String) {
        self.change(|pending| {
            if let Some(pending) = pending.get_mut(origin) {
                pending.failure = Some(reason);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<Origin, Pending>)) {
        // A map that a panic left poisoned is whole: each change is one step.
        let mut pending = self.pending.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut pending);
        self.count.store(pending.len(), Ordering::Release);
    }

    fn all(&self) -> Vec<(Origin, Hold)> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let pending = self.pending.read().unwrap_or_else(PoisonError::into_inner);
        let each = pending.iter();
        each.map(|(origin, pending)| (origin.clone(), pending.hold.clone()))
            .collect()
    }

    /// How many logs are held here.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// How many holds could not be written, and up to `most` of them for people.
    pub(crate) fn not_durable(&self, most: usize) -> (usize, Vec<String>) {
        if self.count.load(Ordering::Acquire) == 0 {
            return (0, Vec::new());
        }
        let pending = self.pending.read().unwrap_or_else(PoisonError::into_inner);
        let failed = pending.iter().filter_map(|(origin, pending)| {
            let reason = pending.failure.as_ref()?;
            Some(format!("{origin} is held in memory only: {reason}"))
        });
        let mut told: Vec<String> = failed.collect();
        let count = told.len();
        told.truncate(most);
        (count, told)
    }
}

impl fmt::Debug for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holds")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// Writes holds that could not be written, releases logs that reached what was imported, and looks
/// whether logs that are held because others are ahead can be let go, for ever.
pub async fn keep(guard: Arc<Guard>, witness: Arc<Witness>) {
    let mut rests_until = guard.clock.instant();
    loop {
        tokio::time::sleep(EVERY).await;
        for (origin, hold) in witness.holds().all() {
            // It may have been written since.
            if witness.holds().held(&origin).is_some() {
                guard.write(&witness, &origin, hold).await;
            }
        }
        // Spec: GSP-215
        let began = guard.clock.instant();
        if began >= rests_until && super::imported::release(&guard, &witness).await {
            let ended = guard.clock.instant();
            let took = ended.saturating_duration_since(began);
            rests_until = ended + super::imported::rest_after(took);
        }
        if guard.settings.own.is_empty() {
            continue;
        }
        let waiting: Vec<Log> = {
            let current = witness.logs().current();
            let held = current.held().iter();
            let logs = held.filter_map(|origin| current.log(origin));
            logs.filter(|log| waits(log)).cloned().collect()
        };
        for log in waiting {
            let_go(&guard, &witness, &log).await;
            tokio::time::sleep(guard.pause()).await;
        }
    }
}

fn waits(log: &Log) -> bool {
    let hold = log.hold.as_deref();
    hold.is_some_and(|hold| hold.cause == HoldCause::Peer && !hold.adopt)
}

/// Releases a log for which others are ahead when what we published last is what we remember.
// Spec: WIT-84
async fn let_go(guard: &Arc<Guard>, witness: &Arc<Witness>, log: &Log) {
    match guard.ask(witness, log, Moment::Held).await {
        Ok(asked) if asked.confirmed && asked.evidence.is_empty() => {
            if let Err(error) = guard.release(witness, log).await {
                tracing::error!(origin = %log.origin, %error, "the log is not released");
            }
        }
        Ok(_) => {}
        Err(error) => {
            tracing::error!(origin = %log.origin, %error, "what is remembered is not known");
        }
    }
}

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(5);
