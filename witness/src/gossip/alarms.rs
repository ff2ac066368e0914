//! Alarms, told to whom the operator names: a program that is run, and a URL.
//!
//! Both get one JSON object: `{"witness", "alarm", "raised", "about", "number"}`. One that is tried
//! again may come after the one that ends it: the number grows, since the start, and tells. The
//! webhook's body is a note with the gossip key's signature, so that who receives it needs to trust
//! nobody in between:
//!
//! ```text
//! jurat/gossip-alarm@v0
//! {"witness":…,"alarm":…,"raised":…,"about":…,"number":…}
//!
//! — <witness> <signature by the gossip key>
//! ```
//!
//! Rows: `spec/gossip.md` GSP-77.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jurat_daemon::client::{Client, ClientRequest};
use jurat_keys::SigningKey;
use jurat_proto::cosignature::sign_note;
use jurat_proto::gossip::node::Alarm;
use jurat_proto::hex;
use jurat_proto::key::Signer as _;
use jurat_proto::note::Note;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::Semaphore;

use super::config::GossipSettings;

/// Where alarms go.
#[derive(Clone)]
pub(super) struct Sinks {
    exec: Vec<String>,
    webhook: Option<String>,
    key: Arc<SigningKey>,
    client: Client,
    /// So many are told at a time; one that finds no place is in metrics and log lines alone.
    places: Arc<Semaphore>,
    count: Arc<AtomicU64>,
}

impl Sinks {
    pub(super) fn new(settings: &GossipSettings, client: Client) -> Self {
        Self {
            exec: settings.alarm_exec.clone(),
            webhook: settings.alarm_webhook.clone(),
            key: Arc::clone(&settings.key),
            client,
            places: Arc::new(Semaphore::new(AT_A_TIME)),
            count: Arc::default(),
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
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            tracing::error!("too many alarms are being told already");
            return;
        };
        let json = serde_json::json!({
            "witness": self.key.verifier_key().name().as_str(),
            "alarm": kind,
            "raised": raised,
            "about": about,
            "number": self.count.fetch_add(1, Ordering::Relaxed),
        });
        let (this, text) = (self.clone(), format!("{json}\n"));
        tokio::spawn(async move {
            this.exec(&text).await;
            this.post(text).await;
            drop(place);
        });
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

    async fn post(&self, text: String) {
        let Some(url) = &self.webhook else { return };
        // Spec: GSP-02. The key signs nothing that could be taken for another text of its.
        let text = format!("{FORMAT}\n{text}");
        let line = sign_note(&text, &*self.key);
        let Some(note) = line.ok().and_then(|line| Note::new(text, vec![line]).ok()) else {
            return;
        };
        let body = note.to_bytes();
        let mut wait = Duration::ZERO;
        for _ in 0..WEBHOOK_TRIES {
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2).max(WEBHOOK_WAIT);
            let request = ClientRequest::post(url.clone(), body.clone());
            match self.client.send(request).await {
                Ok(response) if response.status.is_success() => return,
                Ok(response) => tracing::warn!(status = %response.status, "the webhook refused"),
                Err(error) => tracing::warn!(%error, "the webhook did not answer"),
            }
        }
        tracing::error!("an alarm did not reach the webhook");
    }
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
const WEBHOOK_TRIES: u32 = 6;
/// Between the first two; then twice as long, and so on: half a minute in all.
const WEBHOOK_WAIT: Duration = Duration::from_secs(1);
