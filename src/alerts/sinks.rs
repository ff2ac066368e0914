//! How an alert is told: to a program on its standard input, and to a URL.
//!
//! Both get one line of JSON: `{"service", "alert", "raised", "about", "log", "number"}`. The
//! number grows, across starts, too. What the URL gets is a note with a signature by a key that
//! signs nothing else, so that who receives it needs to trust nobody in between:
//!
//! ```text
//! jurat/service-alert@v0
//! {"service":…,"alert":…,"raised":…,"about":…,"log":…,"number":…}
//!
//! — <name of the key> <signature>
//! ```
//!
//! What it has not taken waits beside the database (`jurat_daemon::alarms`), and outlives the
//! process:
//!
//! ```text
//! alerts/
//!   numbered       no alert had this number or a larger one
//!   raised         what is raised (`remembered`)
//!   waiting/       a file for each alert that waits
//! ```
//!
//! Rows: `spec/service.md` SVC-61, SVC-65 to SVC-67.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jurat_daemon::alarms::{self, Alarm, Layout, Outbox, Subject, Tally, Webhook, WebhookParts};
use jurat_daemon::client::Client;
use jurat_daemon::clock::Clock;
use jurat_keys::SigningKey;
use jurat_proto::cosignature::sign_note;
use jurat_proto::hash::sha256;
use jurat_proto::note::Note;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::remembered::Remembered;
use super::{Key, Kind, Metrics, Outcome, SinkLabel};

/// What waits for one sink. There are fewer kinds than that; what finds no place waits where it is.
pub(super) const QUEUE: usize = 64;

/// The first line of what a URL gets.
const FORMAT: &str = "jurat/service-alert@v0";

/// What never ends, and so goes last when too many wait.
const LASTING: &[&str] = &[Kind::Convicted.name(), Kind::LogConvicted.name()];

/// Gives the numbers, and keeps what waits. This process alone has the folder while it lives.
pub(super) struct Folder {
    pub(super) outbox: Arc<Outbox>,
    /// None where another process has the folder.
    pub(super) remembered: Option<Arc<Remembered>>,
    _lock: Option<File>,
}

impl Folder {
    /// Takes the folder, which is made when it is not there: nothing that was signed depends on
    /// it. Another process of this service, which is about to be refused the database, has its
    /// numbers from there and writes nothing.
    // Spec: SVC-66
    pub(super) fn take(folder: &Path, metrics: &Metrics) -> Self {
        let layout = Layout {
            parent: folder.to_owned(),
            waiting: "waiting",
            numbers: "numbered",
            lasting: LASTING,
        };
        let tally: Arc<dyn Tally> = Arc::new(metrics.clone());
        match lock(folder) {
            Ok(lock) => Self {
                outbox: Arc::new(Outbox::open(layout, tally)),
                remembered: Some(Arc::new(Remembered::beside(folder))),
                _lock: Some(lock),
            },
            Err(error) => {
                let folder = folder.display();
                tracing::warn!(%folder, %error, "alerts are kept in memory alone");
                Self {
                    outbox: Arc::new(Outbox::in_memory(layout, tally)),
                    remembered: None,
                    _lock: None,
                }
            }
        }
    }
}

fn lock(folder: &Path) -> io::Result<File> {
    if !folder.is_dir() {
        fs::create_dir(folder)?;
        let parent = folder.parent();
        let parent = parent.filter(|path| !path.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    let file = File::open(folder)?;
    file.try_lock()?;
    Ok(file)
}

/// One alert that begins or is over, on its way.
pub(super) struct Notice {
    pub(super) number: u64,
    pub(super) alarm: Alarm,
    pub(super) text: String,
}

/// What an alert is about, for what waits: its kind and log. The reasons of two ends differ, and
/// each is told.
// Spec: SVC-65
pub(super) fn alarm((kind, log): &Key, about: &str, raised: bool) -> Alarm {
    let log = log.as_ref().map_or("", |log| log.as_str());
    let reason = if *kind == Kind::Ended { about } else { "" };
    let hash = sha256(format!("{}\n{log}\n{reason}", kind.name()).as_bytes());
    Alarm {
        kind: kind.name(),
        subject: Subject::new(hash.as_bytes().first_chunk().copied().unwrap_or_default()),
        raised,
    }
}

/// One of those who are told, in the order in which it happened.
pub(super) enum Sink {
    /// A program, by a task of its own.
    Exec {
        queue: mpsc::Sender<String>,
        task: JoinHandle<()>,
    },
    /// A URL, by two: one that hangs keeps nothing from the disk.
    Webhook {
        webhook: Webhook,
        keeping: JoinHandle<()>,
        delivering: JoinHandle<()>,
    },
}

impl Sink {
    /// A program and its arguments.
    pub(super) fn exec(command: Vec<String>, told: Family<Outcome, Counter>) -> Self {
        let (queue, mut waiting) = mpsc::channel::<String>(QUEUE);
        let task = tokio::spawn(async move {
            while let Some(text) = waiting.recv().await {
                let result = alarms::run(&command, &text).await;
                if let Err(reason) = &result {
                    tracing::error!(%reason, "an alert was not told");
                }
                let outcome = Outcome {
                    sink: "exec",
                    outcome: if result.is_ok() { "told" } else { "failed" },
                };
                told.get_or_create(&outcome).inc();
            }
        });
        Self::Exec { queue, task }
    }

    /// A URL, and the key that signs what it gets.
    // Spec: SVC-65
    pub(super) fn webhook(
        (url, key): (String, Arc<SigningKey>),
        client: &Client,
        clock: &Arc<dyn Clock>,
        folder: &Folder,
    ) -> Self {
        let webhook = Webhook::new(WebhookParts {
            url,
            client: client.clone(),
            clock: Arc::clone(clock),
            outbox: Arc::clone(&folder.outbox),
            seal: Arc::new(move |text: &str| signed(&key, text)),
            at_once_max: QUEUE,
        });
        let (keep, deliver) = (webhook.clone(), webhook.clone());
        Self::Webhook {
            webhook,
            keeping: tokio::spawn(async move { keep.keep().await }),
            delivering: tokio::spawn(async move { deliver.deliver().await }),
        }
    }

    /// One that tells nobody: what it would tell stays in the queue.
    #[cfg(test)]
    pub(super) fn queue_alone() -> (Self, mpsc::Receiver<String>) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let task = tokio::spawn(async {});
        (Self::Exec { queue, task }, waiting)
    }

    /// Whether it found a place.
    // Spec: SVC-61
    pub(super) fn put(&self, notice: Notice) -> bool {
        match self {
            Self::Exec { queue, .. } => queue.try_send(notice.text).is_ok(),
            Self::Webhook { webhook, .. } => {
                webhook.tell(notice.number, notice.alarm, &notice.text)
            }
        }
    }

    /// Waits until all that was put is told, or is durable and was tried once more; for so long it
    /// is tried again and again.
    // Spec: SVC-67
    pub(super) async fn end(self, patience: Duration) {
        // One that panicked tells nothing more.
        match self {
            Self::Exec { queue, task } => {
                drop(queue);
                let _ = task.await;
            }
            Self::Webhook {
                webhook,
                keeping,
                delivering,
            } => {
                webhook.no_more().await;
                let _ = keeping.await;
                webhook.end(Instant::now() + patience);
                let _ = delivering.await;
            }
        }
    }
}

/// The first line is no origin of a log: the note can be taken for no checkpoint.
fn signed(key: &SigningKey, text: &str) -> Option<Vec<u8>> {
    let text = format!("{FORMAT}\n{text}");
    let line = sign_note(&text, key).ok()?;
    Some(Note::new(text, vec![line]).ok()?.to_bytes())
}

impl Tally for Metrics {
    fn waiting(&self, count: usize) {
        let gauge = self.waiting.get_or_create(&SinkLabel { sink: "webhook" });
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    fn taken(&self) {
        let (sink, outcome) = ("webhook", "told");
        self.told.get_or_create(&Outcome { sink, outcome }).inc();
    }

    fn lost(&self, _reason: &'static str) {
        let (sink, outcome) = ("webhook", "failed");
        self.told.get_or_create(&Outcome { sink, outcome }).inc();
    }
}
