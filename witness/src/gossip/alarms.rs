//! Alarms, told to whom the operator names: a program that is run, and a URL.
//!
//! Both get one JSON object: `{"witness", "alarm", "raised", "about", "number"}`. One that is tried
//! again may come after the one that ends it: the number grows, across starts, too, and tells. What
//! the webhook has not taken waits on the disk (`outbox`) and is tried again, for a week. Its body
//! is a note with the gossip key's signature, so that who receives it needs to trust nobody in
//! between:
//!
//! ```text
//! jurat/gossip-alarm@v0
//! {"witness":…,"alarm":…,"raised":…,"about":…,"number":…}
//!
//! — <witness> <signature by the gossip key>
//! ```
//!
//! Rows: `spec/gossip.md` GSP-77, GSP-136, GSP-137.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use jurat_daemon::client::{Client, ClientRequest};
use jurat_daemon::clock::Clock;
use jurat_keys::SigningKey;
use jurat_proto::cosignature::sign_note;
use jurat_proto::gossip::node::Alarm;
use jurat_proto::hex;
use jurat_proto::key::Signer as _;
use jurat_proto::note::Note;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::config::GossipSettings;
use super::outbox::Outbox;
use super::passive::{pause_after, retry_after};
use super::records::Records;
use super::{lock, moment};
use crate::metrics::Metrics;

/// Where alarms go.
#[derive(Clone)]
pub(super) struct Sinks {
    exec: Vec<String>,
    webhook: Option<String>,
    key: Arc<SigningKey>,
    client: Client,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    /// So many programs run at a time; an alarm that finds no place is told in other ways.
    places: Arc<Semaphore>,
    outbox: Arc<Outbox>,
    /// What is to be kept, on its way to the disk.
    keep: mpsc::Sender<New>,
    kept: Arc<Mutex<Option<mpsc::Receiver<New>>>>,
}

/// An alarm that is to be kept.
struct New {
    number: u64,
    alarm: Told,
    raised: bool,
    body: Vec<u8>,
}

impl Sinks {
    pub(super) fn new(
        settings: &GossipSettings,
        client: &Client,
        clock: &Arc<dyn Clock>,
        records: &Records,
        metrics: &Metrics,
    ) -> Self {
        let (keep, kept) = mpsc::channel(KEEP_MAX);
        Self {
            clock: Arc::clone(clock),
            metrics: metrics.clone(),
            outbox: Arc::new(Outbox::open(records, metrics.clone())),
            keep,
            kept: Arc::new(Mutex::new(Some(kept))),
            exec: settings.alarm_exec.clone(),
            webhook: settings.alarm_webhook.clone(),
            key: Arc::clone(&settings.key),
            client: client.clone(),
            places: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    /// Tells of an alarm that began or ended. Never waits.
    // Spec: GSP-77
    pub(super) fn tell(&self, alarm: &Told, raised: bool) {
        let Told { kind, about } = alarm;
        if raised {
            tracing::error!(alarm = kind, %about, "alarm");
        } else {
            tracing::warn!(alarm = kind, %about, "the alarm is over");
        }
        if self.exec.is_empty() && self.webhook.is_none() {
            return;
        }
        let number = self.outbox.number();
        let json = serde_json::json!({
            "witness": self.key.verifier_key().name().as_str(),
            "alarm": kind,
            "raised": raised,
            "about": about,
            "number": number,
        });
        let text = format!("{json}\n");
        if self.webhook.is_some()
            && let Some(body) = self.signed(&text)
        {
            let alarm = Told {
                kind,
                about: about.clone(),
            };
            let new = New {
                number,
                alarm,
                raised,
                body,
            };
            if self.keep.try_send(new).is_err() {
                tracing::error!(number, "too many alarms begin at once: one is lost");
                self.metrics.alarm_lost("burst");
            }
        }
        if self.exec.is_empty() {
            return;
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            tracing::error!("too many programs for alarms run already");
            return;
        };
        let this = self.clone();
        tokio::spawn(async move {
            this.exec(&text).await;
            drop(place);
        });
    }

    /// Has each alarm durable as soon as it is told, for ever.
    // Spec: GSP-136
    pub(super) async fn keep(self) {
        let Some(mut kept) = lock(&self.kept).take() else {
            return;
        };
        while let Some(new) = kept.recv().await {
            let (outbox, now) = (Arc::clone(&self.outbox), self.now());
            let put = move || {
                outbox.put(new.number, &new.alarm, new.raised, now, &new.body);
            };
            if tokio::task::spawn_blocking(put).await.is_err() {
                tracing::error!("an alarm was not kept");
            }
        }
    }

    /// Brings the webhook what waits, the oldest first, for ever.
    // Spec: GSP-136
    pub(super) async fn deliver(self) {
        let Some(url) = self.webhook.clone() else {
            return;
        };
        let mut failures = 0_u32;
        loop {
            let began = Instant::now();
            let wanted = self.bring_all(&url).await;
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
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // A new one is told at once, however long the webhook has been away: it may be
                // back. That costs a dead one a request.
                () = self.outbox.wake.notified() => {
                    tokio::time::sleep_until(began + AGAIN_MIN).await;
                }
            }
        }
    }

    /// Brings what waits; when some of it waits still, and for how long the webhook wants that.
    async fn bring_all(&self, url: &str) -> Option<Option<Duration>> {
        let (outbox, now) = (Arc::clone(&self.outbox), self.now());
        let expired = tokio::task::spawn_blocking(move || {
            outbox.expire(now);
            outbox.numbers()
        });
        let mut refused = 0;
        for number in expired.await.unwrap_or_default() {
            let outbox = Arc::clone(&self.outbox);
            let body = tokio::task::spawn_blocking(move || outbox.body(number));
            let Ok(Some(body)) = body.await else {
                continue;
            };
            match self.post(url, body).await {
                Posted::Taken => {
                    let outbox = Arc::clone(&self.outbox);
                    drop(tokio::task::spawn_blocking(move || outbox.taken(number)).await);
                }
                // It may take others, which must not wait for this one.
                Posted::Refused if refused < REFUSED_MAX => refused += 1,
                Posted::Refused => return Some(None),
                Posted::Failed(wanted) => return Some(wanted),
            }
        }
        (refused > 0).then_some(None)
    }

    fn now(&self) -> u64 {
        moment(&*self.clock).seconds().get()
    }

    async fn exec(&self, text: &str) {
        let Some((program, arguments)) = self.exec.split_first() else {
            return;
        };
        let spawned = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => {
                tracing::error!(%error, "the program for alarms was not run");
                return;
            }
        };
        let ran = async {
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(text.as_bytes()).await?;
            }
            child.wait().await
        };
        match tokio::time::timeout(EXEC_TIMEOUT, ran).await {
            Ok(Ok(status)) if status.success() => {}
            Ok(Ok(status)) => tracing::error!(%status, "the program for alarms failed"),
            Ok(Err(error)) => tracing::error!(%error, "the program for alarms failed"),
            Err(_) => tracing::error!("the program for alarms did not end"),
        }
    }

    // Spec: GSP-02. The key signs nothing that could be taken for another text of its.
    fn signed(&self, text: &str) -> Option<Vec<u8>> {
        let text = format!("{FORMAT}\n{text}");
        let line = sign_note(&text, &*self.key).ok()?;
        Some(Note::new(text, vec![line]).ok()?.to_bytes())
    }

    async fn post(&self, url: &str, body: Bytes) -> Posted {
        let request = ClientRequest::post(url.to_owned(), body);
        match self.client.send(request).await {
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

/// What became of an alarm.
enum Posted {
    Taken,
    /// This one is not wanted, or not yet.
    Refused,
    /// None is taken now.
    Failed(Option<Duration>),
}

/// An alarm, for programs and for people.
#[derive(Debug)]
pub(super) struct Told {
    /// One of a bounded number of words.
    pub(super) kind: &'static str,
    pub(super) about: String,
}

impl Told {
    /// One of the node's.
    pub(super) fn of(alarm: &Alarm) -> Self {
        Self {
            kind: kind(alarm),
            about: told(alarm),
        }
    }

    /// The disk does not take what is to be kept of logs.
    // Spec: GSP-94
    pub(super) fn heads_not_stored() -> Self {
        Self {
            kind: "heads-not-stored",
            about: "heads that others show are not durable".to_owned(),
        }
    }
}

const fn kind(alarm: &Alarm) -> &'static str {
    match alarm {
        Alarm::Proven { .. } => "proven",
        Alarm::Undetermined { .. } => "undetermined",
        Alarm::Suspect { .. } => "suspect",
        Alarm::PeerSilent { .. } => "peer-silent",
        Alarm::Isolated => "isolated",
        Alarm::PeerMisbehaves { .. } => "peer-misbehaves",
        Alarm::PeerClock { .. } => "peer-clock",
        Alarm::OwnClock => "own-clock",
        Alarm::AgreementLag { .. } => "agreement-lag",
        Alarm::Stalled { .. } => "stalled",
        Alarm::NotStored => "not-stored",
    }
}

fn told(alarm: &Alarm) -> String {
    match alarm {
        Alarm::Proven { id } => {
            format!("evidence {} convicts somebody", hex::encode(id.as_bytes()))
        }
        Alarm::Undetermined { origin } => {
            format!("two keys of {origin} contradict each other, and one is retired")
        }
        Alarm::Suspect { origin } => format!("{origin} has a head that nobody can join"),
        Alarm::PeerSilent { peer } => format!("{peer} does not answer"),
        Alarm::Isolated => "more than half of the peers do not answer".to_owned(),
        Alarm::PeerMisbehaves { peer } => format!("what {peer} says of itself does not fit"),
        Alarm::PeerClock { peer } => format!("the clock of {peer} is off"),
        Alarm::OwnClock => "our clock is off the median of the peers'".to_owned(),
        Alarm::AgreementLag { origin } => {
            format!("the newest head of {origin} is not confirmed by others")
        }
        Alarm::Stalled { origin } => format!("{origin} brings no checkpoint"),
        Alarm::NotStored => "evidence is not durable".to_owned(),
    }
}

/// The first line of what a URL gets.
const FORMAT: &str = "jurat/gossip-alarm@v0";
const AT_A_TIME: usize = 16;
const EXEC_TIMEOUT: Duration = Duration::from_secs(30);
/// Alarms on their way to the disk: those that stand when a process begins, and more.
const KEEP_MAX: usize = 1_024;
/// How many a webhook may refuse before it is left alone for a while.
const REFUSED_MAX: u32 = 16;
/// After how many failures in a row, half a minute, that is told.
const FAILURES_TOLD: u32 = 6;
/// Between two tries when something new is to be told.
const AGAIN_MIN: Duration = Duration::from_millis(500);
/// When nothing waits: what is too old is looked for.
const IDLE_MAX: Duration = Duration::from_secs(3_600);
