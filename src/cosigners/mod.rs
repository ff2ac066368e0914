//! Cosigners: the witnesses of the service's policy, asked for a cosignature on every tree head.
//!
//! One task for each witness URL, so that none waits for another; each holds one kept-alive
//! connection, learns old sizes from 409, and verifies what comes back before anybody sees it. One
//! gathering task counts them against the quorum, publishes when it holds, and goes on adding the
//! cosignatures that come later.
//!
//! Before the first tree head of a run is signed, the service's state is compared with what its
//! witnesses last cosigned ([`standing`]): a restored backup must not sign a second history.

#[cfg(test)]
mod compared;
pub mod gather;
pub mod standing;
#[cfg(test)]
pub(crate) mod testing;
pub mod times;
pub mod witness;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jurat_daemon::client::Client;
use jurat_daemon::clock::Clock;
use jurat_daemon::shutdown::Shutdown;
use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::key::VerifierKey;
use jurat_proto::policy::Policy;
use jurat_proto::tree::TreeSize;
use jurat_store::LogStore;
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use self::times::WitnessTimes;
use crate::log::tree_heads::SignedHead;
use crate::log::{Published, Sequencer};

/// Messages from the witness tasks that may wait for the gatherer. There are at most a few
/// witnesses (the policy's limit), each with one request in flight.
const GATHER_QUEUE: usize = 256;

/// How the witnesses are asked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Limit on one request to one witness, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// First pause after a failed request; it doubles up to [`Settings::retry_max`].
    pub retry_min: Duration,
    /// Longest pause between two requests to a witness that fails.
    pub retry_max: Duration,
    /// Names of witnesses whose claim to be ahead of the service is not believed, because an
    /// operator has looked into it.
    pub ignore_ahead: Vec<String>,
}

/// What the cosigners stand on.
pub struct Parts {
    /// The witnesses, their keys and URLs, and the quorum.
    pub policy: Policy,
    /// The service's log.
    pub origin: Origin,
    /// Its verifier keys: a witness that shows a head signed by these proves that it was signed.
    pub log_keys: Vec<VerifierKey>,
    /// Tiles, for consistency proofs.
    pub store: Arc<dyn LogStore>,
    /// Where publications are kept.
    pub sequencer: Sequencer,
    /// The connections.
    pub client: Client,
    /// Wall time, for the status page, and boot time.
    pub clock: Arc<dyn Clock>,
    /// How to ask.
    pub settings: Settings,
    /// The checkpoint that was published before the restart.
    pub published: Option<Published>,
    /// What a witness is sent to learn where it stands: the published checkpoint, or the empty
    /// tree, with which every history begins and which so contradicts none.
    pub probe: SignedCheckpoint,
    /// The largest tree that was signed before the restart.
    pub signed: TreeSize,
}

/// The running cosigners.
pub struct Cosigners {
    /// The newest checkpoint with its quorum.
    pub published: watch::Receiver<Option<Published>>,
    /// Whether the service may sign, as far as its witnesses know.
    pub standing: watch::Receiver<Standing>,
    /// One row for each witness.
    pub status: Arc<Status>,
    /// What the witnesses' clocks say of ours.
    pub times: Arc<WitnessTimes>,
}

/// Whether the service may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Not enough witnesses have been compared with yet.
    Comparing,
    /// A quorum of witnesses is not ahead of the service's state.
    Good,
    /// A witness has cosigned something that the service's state does not hold: it must not sign.
    Refused(String),
}

/// A witness as `/health` and the status page show it.
#[derive(Debug, Clone, Serialize)]
pub struct WitnessStatus {
    /// Its names in the policy (a witness with two keys at one URL has two).
    pub names: Vec<String>,
    /// Where it is asked.
    pub url: String,
    /// The size it last cosigned, when known.
    pub size: Option<u64>,
    /// When it last answered with a cosignature, in seconds since the epoch.
    pub last_cosigned: Option<u64>,
    /// What went wrong last, when nothing has gone right since.
    pub error: Option<String>,
}

/// One row for each witness, shared with whoever shows it.
#[derive(Debug, Default)]
pub struct Status {
    rows: Mutex<Vec<WitnessStatus>>,
}

impl Status {
    /// The rows as they are now.
    pub fn rows(&self) -> Vec<WitnessStatus> {
        self.rows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn update(&self, row: usize, change: impl FnOnce(&mut WitnessStatus)) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = rows.get_mut(row) {
            change(row);
        }
    }
}

/// What a witness task tells the gatherer.
#[derive(Debug)]
pub(crate) enum Report {
    /// The witness is not ahead of the service's state.
    Compared {
        /// Its indices in the policy.
        witnesses: Vec<usize>,
    },
    /// It is, or holds another history.
    Ahead {
        /// What it holds, and how that is known.
        why: String,
    },
    /// Verified cosignatures of a head.
    Cosigned {
        /// The head.
        head: Arc<SignedHead>,
        /// Index in the policy, line, time.
        lines: Vec<gather::Line>,
    },
}

impl Cosigners {
    /// Starts one task for each witness URL of the policy, and the gatherer.
    pub fn start(
        parts: Parts,
        offered: &watch::Receiver<Option<Arc<SignedHead>>>,
        registry: &mut Registry,
        shutdown: &Shutdown,
    ) -> Self {
        let metrics = gather::Metrics::new(registry);
        let (report, reports) = mpsc::channel(GATHER_QUEUE);
        let groups = witness::by_url(&parts.policy);
        let status = Arc::new(Status {
            rows: Mutex::new(
                groups
                    .iter()
                    .map(|group| group.status(&parts.policy))
                    .collect(),
            ),
        });
        let served = parts.published.clone().filter(|published| {
            let enough = has_quorum(published.signed(), &parts.policy);
            if !enough {
                tracing::warn!(
                    tree.size = published.size().get(),
                    "the checkpoint that was published before has no quorum under the policy as it \
                     is now: nothing is served until a new one has it"
                );
            }
            enough
        });
        let (published_to, published) = watch::channel(served);
        // Where nobody is asked for there is nobody to wait for.
        let begun = if parts.policy.quorum_met(|_| false) {
            Standing::Good
        } else {
            Standing::Comparing
        };
        let (standing_to, standing) = watch::channel(begun);
        let parts = Arc::new(parts);
        let times = Arc::new(WitnessTimes::new(parts.policy.clone()));
        for (row, group) in groups.into_iter().enumerate() {
            let task = witness::Task {
                parts: Arc::clone(&parts),
                group,
                row,
                status: Arc::clone(&status),
                offered: offered.clone(),
                report: report.clone(),
                times: Arc::clone(&times),
                known: None,
            };
            tokio::spawn(task.run(shutdown.clone()));
        }
        let gatherer = gather::Gatherer::new(
            parts.policy.clone(),
            parts.sequencer.clone(),
            parts.published.clone(),
            published_to,
            standing_to,
            metrics,
        );
        tokio::spawn(gatherer.run(offered.clone(), report, reports, shutdown.clone()));
        Self {
            published,
            standing,
            status,
            times,
        }
    }
}

// Spec: SVC-07, SVC-10
/// Whether a quorum of the policy has signed a checkpoint.
fn has_quorum(checkpoint: &SignedCheckpoint, policy: &Policy) -> bool {
    let keys: Vec<VerifierKey> = policy.witnesses().iter().map(|w| w.key.clone()).collect();
    // No good line of a known key is no witness.
    let verified = checkpoint.verify_signatures(&keys).unwrap_or_default();
    policy.quorum_met(|witness| verified.iter().any(|line| line.key_index == witness))
}

#[cfg(test)]
mod tests {
    use super::testing::{checkpoint, policy_with, witness_keys};
    use super::*;
    use jurat_proto::cosignature::cosign;
    use jurat_proto::key::UnixSeconds;

    /// An operator who raises the quorum does not go on serving what the old one allowed.
    // Spec: SVC-07
    #[test]
    fn a_restored_checkpoint_counts_under_the_policy_of_today() {
        let keys = witness_keys(2);
        let policy = |threshold| policy_with(&keys, &["http://a", "http://b"], threshold);
        let alone = checkpoint(3);
        let time = UnixSeconds::new(1_700_000_000).unwrap();
        let line = cosign(alone.checkpoint(), time, &keys[1]).unwrap();
        let witnessed = alone.with_signatures(&[0], &[line]).unwrap();
        assert!(!has_quorum(&alone, &policy("1")));
        assert!(has_quorum(&witnessed, &policy("1")));
        assert!(!has_quorum(&witnessed, &policy("2")));
        assert!(has_quorum(
            &alone,
            &Policy::parse(b"quorum none\n").unwrap()
        ));
    }
}
