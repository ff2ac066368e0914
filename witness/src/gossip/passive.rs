//! Witnesses and logs that do not gossip: what they show is looked at all the same.
//!
//! Any witness of c2sp.org/tlog-witness shows the newest checkpoint that it cosigned of each log,
//! and a log shows its own. So the witnesses that run already are peers, though they do not know
//! it.
//!
//! Rows: `spec/gossip.md` GSP-81.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jurat_daemon::client::ClientRequest;
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::gossip::node::{Event, RequestId};
use jurat_proto::note::NOTE_BYTES_MAX;

use super::Gossip;

impl Gossip {
    /// Looks at what others show, log after log, for ever.
    // Spec: GSP-81
    pub async fn watch(self: Arc<Self>) {
        let pause = Duration::from_secs(1) / self.settings.passive_per_second();
        loop {
            let current = self.logs.current();
            for log in current.logs() {
                let hash = log.origin.hash_hex();
                let places = self.settings.passive().iter();
                let places = places.map(|prefix| format!("{prefix}/{hash}/checkpoint"));
                for url in places.chain(log.url.clone()) {
                    if let Some(note) = self.shown_at(&url).await
                        && note.origin() == &log.origin
                    {
                        // Nobody waits for the reply.
                        let request = RequestId(self.requests.fetch_add(1, Ordering::Relaxed));
                        let event = Event::Observed { request, note };
                        drop(self.inbox.send(event).await);
                    }
                    tokio::time::sleep(pause).await;
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn shown_at(&self, url: &str) -> Option<SignedCheckpoint> {
        let request = ClientRequest::get(url).response_bytes_max(NOTE_BYTES_MAX);
        match self.client.send(request).await {
            Ok(answer) if answer.status == 200 => SignedCheckpoint::parse(&answer.body).ok(),
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(%url, %error, "a place shows nothing");
                None
            }
        }
    }
}
