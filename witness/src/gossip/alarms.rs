//! Alarms, told to whom the operator names: a program that is run, and a URL.
//!
//! Both get one JSON object: `{"witness", "alarm", "raised", "about", "number"}`. One that is tried
//! again may come after the one that ends it: the number grows, across starts, too, and tells. What
//! the webhook has not taken waits on the disk (`jurat_daemon::alarms`) and is tried again, for a
//! week. A program that fails is run again for some minutes: it is on this machine, and what keeps
//! it from its work for longer, a start does not mend; a start tells what stands once more. The
//! webhook's body
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

use std::sync::Arc;

use jurat_daemon::alarms::{self, Alarm as Keep, Layout, Outbox, Subject, Tally};
use jurat_daemon::alarms::{Webhook, WebhookParts};
use jurat_daemon::client::{Client, pause_after};
use jurat_daemon::clock::Clock;
use jurat_keys::SigningKey;
use jurat_proto::cosignature::sign_note;
use jurat_proto::gossip::node::Alarm;
use jurat_proto::hash::sha256;
use jurat_proto::hex;
use jurat_proto::key::Signer as _;
use jurat_proto::note::Note;
use tokio::sync::Semaphore;

use super::config::GossipSettings;
use super::records::Records;
use crate::metrics::Metrics;

/// Where alarms go.
#[derive(Clone)]
pub(super) struct Sinks {
    exec: Vec<String>,
    webhook: Option<Webhook>,
    key: Arc<SigningKey>,
    metrics: Metrics,
    /// So many programs run at a time,
    places: Arc<Semaphore>,
    /// and for so many alarms one is to be run, or run again; one that finds no place is told in
    /// other ways.
    told: Arc<Semaphore>,
    outbox: Arc<Outbox>,
}

impl Sinks {
    pub(super) fn new(
        settings: &GossipSettings,
        client: &Client,
        clock: &Arc<dyn Clock>,
        records: &Records,
        metrics: &Metrics,
    ) -> Self {
        let layout = Layout {
            parent: records.folder().to_owned(),
            waiting: WAITING,
            numbers: NUMBERS,
            lasting: &[PROVEN],
        };
        let outbox = Arc::new(Outbox::open(layout, Arc::new(metrics.clone())));
        let key = Arc::clone(&settings.key);
        let webhook = settings.alarm_webhook.clone().map(|url| {
            let key = Arc::clone(&key);
            Webhook::new(WebhookParts {
                url,
                client: client.clone(),
                clock: Arc::clone(clock),
                outbox: Arc::clone(&outbox),
                seal: Arc::new(move |text: &str| signed(&key, text)),
                at_once_max: KEEP_MAX,
            })
        });
        Self {
            exec: settings.alarm_exec.clone(),
            webhook,
            key,
            metrics: metrics.clone(),
            places: Arc::new(Semaphore::new(AT_A_TIME)),
            told: Arc::new(Semaphore::new(KEEP_MAX)),
            outbox,
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
        // A proof waits for its place: there are no more of those than evidence.
        let lasts = *kind == PROVEN;
        if let Some(webhook) = &self.webhook
            && !webhook.tell(number, alarm.to_keep(raised), &text)
        {
            if lasts {
                let (webhook, keep) = (webhook.clone(), alarm.to_keep(raised));
                let text = text.clone();
                tokio::spawn(async move { webhook.tell_in_turn(number, keep, &text).await });
            } else {
                tracing::error!(number, "too many alarms begin at once: one is lost");
                self.metrics.alarm_lost("burst");
            }
        }
        if self.exec.is_empty() {
            return;
        }
        let place = Arc::clone(&self.told).try_acquire_owned();
        if place.is_err() && !lasts {
            tracing::error!(
                number,
                "too many alarms wait for their program: one is lost"
            );
            self.metrics.alarm_lost("exec");
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            let place = match place {
                Ok(place) => Ok(place),
                Err(_) => Arc::clone(&this.told).acquire_owned().await,
            };
            this.exec_until_taken(number, &text).await;
            drop(place);
        });
    }

    /// Runs the program until it ends well, or was run often enough.
    // Spec: GSP-146
    async fn exec_until_taken(&self, number: u64, text: &str) {
        for tries in 1..=EXEC_TRIES {
            let Ok(place) = self.places.acquire().await else {
                return;
            };
            let ran = alarms::run(&self.exec, text).await;
            drop(place);
            match ran {
                Ok(()) => return,
                Err(error) => tracing::error!(number, %error, "the program for alarms failed"),
            }
            if tries < EXEC_TRIES {
                tokio::time::sleep(pause_after(tries)).await;
            }
        }
        tracing::error!(number, "an alarm is given up: its program failed each time");
        self.metrics.alarm_lost("exec");
    }

    /// Has each alarm durable as soon as it is told, for ever.
    // Spec: GSP-136
    pub(super) async fn keep(self) {
        if let Some(webhook) = &self.webhook {
            webhook.keep().await;
        }
    }

    /// Brings the webhook what waits, the oldest first, for ever.
    // Spec: GSP-136
    pub(super) async fn deliver(self) {
        if let Some(webhook) = &self.webhook {
            webhook.deliver().await;
        }
    }
}

// Spec: GSP-02. The key signs nothing that could be taken for another text of its.
fn signed(key: &SigningKey, text: &str) -> Option<Vec<u8>> {
    let text = format!("{FORMAT}\n{text}");
    let line = sign_note(&text, key).ok()?;
    Some(Note::new(text, vec![line]).ok()?.to_bytes())
}

impl Tally for Metrics {
    fn waiting(&self, count: usize) {
        self.alarms_waiting(count);
    }

    fn taken(&self) {}

    fn lost(&self, reason: &'static str) {
        self.alarm_lost(reason);
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

    /// As what waits is known by.
    // Spec: GSP-136
    fn to_keep(&self, raised: bool) -> Keep {
        let Self { kind, about } = self;
        let hash = sha256(format!("{kind}\n{about}").as_bytes());
        let first = hash.as_bytes().first_chunk().copied();
        Keep {
            kind,
            subject: Subject::new(first.unwrap_or_default()),
            raised,
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
        Alarm::Proven { .. } => PROVEN,
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
        Alarm::Proven { id, log: None } => {
            format!("evidence {} convicts somebody", hex::encode(id.as_bytes()))
        }
        Alarm::Proven { id, log: Some(log) } => {
            format!("evidence {} convicts {log}", hex::encode(id.as_bytes()))
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
/// What waits for the webhook.
const WAITING: &str = "alarms";
/// What keeps numbers from being used again.
// Spec: GSP-137
const NUMBERS: &str = "alarmed";
/// The alarm that never ends: a proof stays one for good.
const PROVEN: &str = "proven";
const AT_A_TIME: usize = 16;
/// With the pauses between them, two minutes, and six when each runs out of time.
const EXEC_TRIES: u32 = 9;
/// Alarms on their way to the disk: those that stand when a process begins, and more.
const KEEP_MAX: usize = 1_024;
