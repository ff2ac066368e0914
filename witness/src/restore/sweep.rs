//! Asking about every log in the background.

use std::sync::Arc;
use std::time::Duration;

use jurat_proto::checkpoint::Origin;
use jurat_store::registry::{HoldCause, Log, LogState};

use super::{Guard, Lag, Moment};
use crate::cosign::Witness;

/// How many logs are taken from the list at once.
const PAGE: usize = 64;

/// Between two passes over all logs, at least.
const PASS_PAUSE: Duration = Duration::from_secs(60);

/// Asks everybody about one log after the other, for ever. That others are ahead is as it should be
/// while we run, for a log asks one witness after the other; by how much is told.
// Spec: WIT-85
pub async fn sweep(guard: Arc<Guard>, witness: Arc<Witness>) {
    let mut after: Option<Origin> = None;
    let mut lag = Lag::default();
    loop {
        let page: Vec<Log> = {
            let current = witness.logs().current();
            let logs = current.logs_after(after.as_ref());
            logs.take(PAGE).cloned().collect()
        };
        after = page.last().map(|log| log.origin.clone());
        let ended = page.len() < PAGE;
        for log in page {
            if log.state == LogState::Active && is_free(&log) && guard.asks_about(&log) {
                look(&guard, &witness, &log, &mut lag).await;
                tokio::time::sleep(guard.pause()).await;
            }
        }
        if ended {
            guard.metrics.guard_lag(&lag);
            (after, lag) = (None, Lag::default());
            tokio::time::sleep(PASS_PAUSE).await;
        }
    }
}

/// What was imported keeps nothing worse from being found.
fn is_free(log: &Log) -> bool {
    let hold = log.hold.as_deref();
    hold.is_none_or(|hold| hold.cause == HoldCause::Imported)
}

async fn look(guard: &Arc<Guard>, witness: &Arc<Witness>, log: &Log, lag: &mut Lag) {
    let asked = match guard.ask(witness, log, Moment::Running).await {
        Ok(asked) => asked,
        Err(error) => {
            tracing::error!(origin = %log.origin, %error, "what is remembered is not known");
            return;
        }
    };
    lag.widen(&asked.lag);
    let counts = |cause| cause != HoldCause::Peer;
    guard.settle(witness, log, asked.evidence, counts).await;
}
