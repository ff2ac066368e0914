//! Asking about every log in the background.

use std::sync::Arc;
use std::time::Duration;

use jurat_proto::checkpoint::Origin;
use jurat_store::registry::{HoldCause, Log, LogState};

use super::Guard;
use crate::cosign::Witness;

/// How many logs are taken from the list at once.
const PAGE: usize = 64;

/// Between two passes over all logs, at least.
const PASS_PAUSE: Duration = Duration::from_secs(60);

/// Asks about one log after the other, for ever: our own checkpoints and the log's. Other witnesses
/// are not asked here: that one of them has a larger tree is as it should be while we run.
// Spec: WIT-85
pub async fn sweep(guard: Arc<Guard>, witness: Arc<Witness>) {
    let pause = Duration::from_secs(1) / guard.settings.logs_per_second;
    let mut after: Option<Origin> = None;
    loop {
        let page: Vec<Log> = {
            let current = witness.logs().current();
            let logs = current.logs_after(after.as_ref());
            logs.take(PAGE).cloned().collect()
        };
        after = page.last().map(|log| log.origin.clone());
        let ended = page.len() < PAGE;
        for log in page {
            let asks = !guard.settings.own.is_empty() || log.url.is_some();
            if log.state == LogState::Active && log.hold.is_none() && asks {
                look(&guard, &witness, &log).await;
                tokio::time::sleep(pause).await;
            }
        }
        if ended {
            after = None;
            tokio::time::sleep(PASS_PAUSE).await;
        }
    }
}

async fn look(guard: &Arc<Guard>, witness: &Arc<Witness>, log: &Log) {
    let asked = match guard.ask(witness, log, false).await {
        Ok(asked) => asked,
        Err(error) => {
            tracing::error!(origin = %log.origin, %error, "what is remembered is not known");
            return;
        }
    };
    for found in asked.evidence {
        if found.evidence.cause == HoldCause::Peer {
            continue;
        }
        if let Err(error) = guard.hold(witness, &log.origin, &found).await {
            let why = &found.evidence.why;
            tracing::error!(origin = %log.origin, why, %error, "the log cannot be held");
        }
    }
}
