//! What a token says that it is after: the newest cosigned checkpoint, computed once for each.

use std::sync::Arc;

use jurat_daemon::shutdown::Shutdown;
use jurat_proto::key::{UnixSeconds, VerifierKey};
use jurat_proto::policy::Policy;
use jurat_proto::tsp::not_before::{NOTE_BYTES_MADE_MAX, NotBefore};
use jurat_proto::tsp::tst_info::Extension;
use tokio::sync::watch;

use crate::log::Published;

/// What tokens say of one checkpoint.
#[derive(Debug)]
pub struct Bracket {
    /// The extension; none when the checkpoint with its quorum is longer than a token takes.
    pub extension: Option<Extension>,
    /// The time that no token with it may precede: the log's own, and that since which a quorum of
    /// the cosignatures in it has been there.
    pub time: u64,
}

impl Bracket {
    // Spec: TSA-20
    fn of(published: &Published, policy: &Policy, log_keys: &[VerifierKey]) -> Self {
        let reduced =
            policy.reduce_checkpoint_by(published.signed(), log_keys, NOTE_BYTES_MADE_MAX);
        let made = reduced
            .map_err(|error| error.to_string())
            .and_then(|reduced| {
                let made = NotBefore::new(&reduced).map_err(|error| error.to_string())?;
                Ok((reduced, made))
            });
        let (extension, since) = match made {
            Ok((reduced, made)) => {
                let verdict = policy.verify_checkpoint_by(&reduced, log_keys).ok();
                let since = verdict.and_then(|verdict| policy.quorum_since(&verdict.witnesses));
                (Some(made.to_extension()), since)
            }
            Err(error) => {
                tracing::warn!("tokens name no checkpoint: {error}");
                (None, None)
            }
        };
        let time = published
            .time()
            .get()
            .max(since.map_or(0, UnixSeconds::get));
        Self { extension, time }
    }
}

/// Keeps the bracket of the newest published checkpoint, until the service ends.
pub async fn follow(
    mut published: watch::Receiver<Option<Published>>,
    policy: Policy,
    log_keys: Vec<VerifierKey>,
    tell: watch::Sender<Option<Arc<Bracket>>>,
    shutdown: Shutdown,
) {
    loop {
        let newest = published.borrow_and_update().clone();
        let bracket = newest.map(|newest| Arc::new(Bracket::of(&newest, &policy, &log_keys)));
        tell.send_replace(bracket);
        tokio::select! {
            changed = published.changed() => if changed.is_err() {
                return;
            },
            () = shutdown.wait() => return,
        }
    }
}
