//! A URL that is told of alarms, each of them at least once.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Alarm, Outbox};
use crate::client::{Client, ClientRequest, pause_after, retry_after};
use crate::clock::Clock;

/// Makes of a text what the URL gets: a signed note. Nothing when that cannot be.
pub type Seal = Arc<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>;

/// What a webhook is made of.
pub struct WebhookParts {
    /// Where it is.
    pub url: String,
    /// Who asks it.
    pub client: Client,
    /// When an alarm was told.
    pub clock: Arc<dyn Clock>,
    /// Where what it has not taken waits.
    pub outbox: Arc<Outbox>,
    /// What vouches for it.
    pub seal: Seal,
    /// So many may begin before one is on the disk.
    pub at_once_max: usize,
}

/// A URL that is told of alarms.
#[derive(Clone)]
pub struct Webhook {
    parts: Arc<WebhookParts>,
    /// What is to be kept, on its way to the disk; nothing at the end.
    keep: mpsc::Sender<Option<New>>,
    kept: Arc<Mutex<Option<mpsc::Receiver<Option<New>>>>>,
    /// Until when it is tried yet, when no more is told.
    ending: watch::Sender<Option<Instant>>,
}

/// An alarm that is to be kept.
struct New {
    number: u64,
    alarm: Alarm,
    body: Vec<u8>,
}

/// What became of an alarm.
enum Posted {
    Taken,
    /// This one is not wanted, or not yet.
    Refused,
    /// None is taken now.
    Failed(Option<Duration>),
}

impl Webhook {
    /// One that is told when [`Webhook::keep`] and [`Webhook::deliver`] run.
    pub fn new(parts: WebhookParts) -> Self {
        let (keep, kept) = mpsc::channel(parts.at_once_max);
        Self {
            parts: Arc::new(parts),
            keep,
            kept: Arc::new(Mutex::new(Some(kept))),
            ending: watch::Sender::new(None),
        }
    }

    /// Takes an alarm with its number ([`Outbox::number`]); whether there was place for it. Never
    /// waits.
    // Spec: GSP-136, SVC-65
    pub fn tell(&self, number: u64, alarm: Alarm, text: &str) -> bool {
        let new = self.sealed(number, alarm, text);
        new.is_none_or(|new| self.keep.try_send(Some(new)).is_ok())
    }

    /// As [`Webhook::tell`], and waits until there is place: for what must not be lost.
    pub async fn tell_in_turn(&self, number: u64, alarm: Alarm, text: &str) {
        if let Some(new) = self.sealed(number, alarm, text) {
            // An error is that nobody keeps any more.
            let _ = self.keep.send(Some(new)).await;
        }
    }

    fn sealed(&self, number: u64, alarm: Alarm, text: &str) -> Option<New> {
        let Some(body) = (self.parts.seal)(text) else {
            tracing::error!(number, kind = alarm.kind, "an alarm cannot be signed");
            return None;
        };
        Some(New {
            number,
            alarm,
            body,
        })
    }

    /// Has each alarm durable as soon as it is told, until no more is.
    // Spec: GSP-136, SVC-65
    pub async fn keep(&self) {
        let taken = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut kept) = taken else {
            return;
        };
        while let Some(Some(new)) = kept.recv().await {
            let (outbox, now) = (Arc::clone(&self.parts.outbox), self.now());
            let put = move || outbox.put(new.number, &new.alarm, now, &new.body);
            if tokio::task::spawn_blocking(put).await.is_err() {
                tracing::error!("an alarm was not kept");
            }
        }
    }

    /// No more is told: [`Webhook::keep`] ends when all that was is durable.
    pub async fn no_more(&self) {
        // An error is that nobody keeps any more.
        let _ = self.keep.send(None).await;
    }

    /// [`Webhook::deliver`] ends when the URL has taken what waits, or when it has not until then;
    /// it is tried once more in any case.
    pub fn end(&self, until: Instant) {
        self.ending.send_replace(Some(until));
    }

    /// Brings the URL what waits, in the order that the outbox says, until the end.
    // Spec: GSP-136, SVC-65, SVC-67
    pub async fn deliver(&self) {
        let mut ending = self.ending.subscribe();
        let mut failures = 0_u32;
        loop {
            let ends = *ending.borrow_and_update();
            let began = Instant::now();
            let wanted = self.bring_all().await;
            failures = match wanted {
                None => 0,
                Some(_) => failures.saturating_add(1),
            };
            if failures == FAILURES_TOLD {
                tracing::error!("alarms do not reach the webhook; they are kept");
            }
            let pause = match wanted {
                None => IDLE_MAX,
                Some(wanted) => pause_after(failures).max(wanted.unwrap_or_default()),
            };
            if ends.is_some_and(|until| wanted.is_none() || Instant::now() + pause >= until) {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // A new one is told at once, however long the webhook has been away: it may be
                // back. That costs a dead one a request.
                () = self.parts.outbox.wake.notified() => {
                    tokio::time::sleep_until(began + AGAIN_MIN).await;
                }
                _ = ending.changed() => {}
            }
        }
    }

    /// Brings what waits; when some of it waits still, and for how long the webhook wants that.
    async fn bring_all(&self) -> Option<Option<Duration>> {
        let (outbox, now) = (Arc::clone(&self.parts.outbox), self.now());
        let expired = tokio::task::spawn_blocking(move || {
            outbox.expire(now);
            outbox.numbers()
        });
        let mut refused = Vec::new();
        for number in expired.await.unwrap_or_default() {
            // Spec: GSP-193
            if self.parts.outbox.is_about_one_of(number, &refused) {
                continue;
            }
            let outbox = Arc::clone(&self.parts.outbox);
            let body = tokio::task::spawn_blocking(move || outbox.body(number));
            let Ok(Some(body)) = body.await else {
                continue;
            };
            match self.post(body).await {
                Posted::Taken => {
                    let outbox = Arc::clone(&self.parts.outbox);
                    drop(tokio::task::spawn_blocking(move || outbox.taken(number)).await);
                }
                // It may take others, which must not wait for this one: the next time they come
                // first.
                // Spec: GSP-193
                Posted::Refused => {
                    self.parts.outbox.refused(number);
                    refused.push(number);
                    if refused.len() > REFUSED_MAX {
                        return Some(None);
                    }
                }
                Posted::Failed(wanted) => {
                    self.parts.outbox.failed(number);
                    return Some(wanted);
                }
            }
        }
        (!refused.is_empty()).then_some(None)
    }

    fn now(&self) -> u64 {
        self.parts.clock.now().seconds()
    }

    async fn post(&self, body: Bytes) -> Posted {
        let request = ClientRequest::post(self.parts.url.clone(), body);
        match self.parts.client.send(request).await {
            Ok(response) if response.status.is_success() => Posted::Taken,
            Ok(response) => {
                tracing::warn!(status = %response.status, "the webhook refused");
                match response.status.as_u16() {
                    408 | 429 | 500.. => Posted::Failed(retry_after(&response)),
                    _ => Posted::Refused,
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the webhook did not answer");
                Posted::Failed(None)
            }
        }
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("url", &self.parts.url)
            .finish_non_exhaustive()
    }
}

/// How many a webhook may refuse before it is left alone for a while.
const REFUSED_MAX: usize = 16;
/// After how many failures in a row, half a minute, that is told.
const FAILURES_TOLD: u32 = 6;
/// Between two tries when something new is to be told.
const AGAIN_MIN: Duration = Duration::from_millis(500);
/// When nothing waits: what is too old is looked for.
const IDLE_MAX: Duration = Duration::from_secs(3_600);
