//! How an alert is told: to a program on its standard input, and to a URL.
//!
//! Both get one line of JSON: `{"service", "alert", "raised", "about", "log", "number"}`. The
//! number grows since the start. What the URL gets is a note with a signature by a key that signs
//! nothing else, so that who receives it needs to trust nobody in between:
//!
//! ```text
//! jurat/service-alert@v0
//! {"service":…,"alert":…,"raised":…,"about":…,"log":…,"number":…}
//!
//! — <name of the key> <signature>
//! ```
//!
//! Rows: `spec/service.md` SVC-61.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use jurat_daemon::client::{Client, ClientRequest};
use jurat_keys::SigningKey;
use jurat_proto::cosignature::sign_note;
use jurat_proto::note::Note;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Outcome, Settings};

/// What waits for one sink. There are fewer kinds than that; what finds no place waits where it is.
pub(super) const QUEUE: usize = 64;

/// The first line of what a URL gets.
const FORMAT: &str = "jurat/service-alert@v0";

const EXEC_TIMEOUT: Duration = Duration::from_secs(30);

const WEBHOOK_TRIES: u32 = 6;

/// Between the first two; then twice as long, and so on: half a minute in all.
const WEBHOOK_WAIT: Duration = Duration::from_secs(1);

/// One of those who are told, in the order in which it happened.
pub(super) struct Sink {
    queue: mpsc::Sender<String>,
    task: JoinHandle<()>,
}

/// Where alerts go.
enum Door {
    Exec(Vec<String>),
    Webhook(Box<Webhook>),
}

struct Webhook {
    url: String,
    key: Arc<SigningKey>,
    client: Client,
}

impl Sink {
    /// Each has a task of its own: one that hangs delays no other.
    pub(super) fn start_all(
        settings: &Settings,
        client: &Client,
        told: &Family<Outcome, Counter>,
    ) -> Vec<Self> {
        let exec = Some(&settings.exec).filter(|exec| !exec.is_empty());
        let exec = exec.map(|exec| Door::Exec(exec.clone()));
        let webhook = settings.webhook.clone().map(|(url, key)| {
            let client = client.clone();
            Door::Webhook(Box::new(Webhook { url, key, client }))
        });
        let doors = exec.into_iter().chain(webhook);
        doors.map(|door| Self::start(door, told.clone())).collect()
    }

    fn start(door: Door, told: Family<Outcome, Counter>) -> Self {
        let (queue, mut waiting) = mpsc::channel::<String>(QUEUE);
        let task = tokio::spawn(async move {
            while let Some(text) = waiting.recv().await {
                let result = door.tell(text).await;
                if let Err(reason) = &result {
                    tracing::error!(%reason, "an alert was not told");
                }
                let outcome = Outcome {
                    sink: door.name(),
                    outcome: if result.is_ok() { "told" } else { "failed" },
                };
                told.get_or_create(&outcome).inc();
            }
        });
        Self { queue, task }
    }

    /// One that tells nobody: what it would tell stays in the queue.
    #[cfg(test)]
    pub(super) fn queue_alone() -> (Self, mpsc::Receiver<String>) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let task = tokio::spawn(async {});
        (Self { queue, task }, waiting)
    }

    /// Whether it found a place.
    // Spec: SVC-61
    pub(super) fn put(&self, text: String) -> bool {
        self.queue.try_send(text).is_ok()
    }

    /// Waits until all that was put is told.
    pub(super) async fn end(self) {
        drop(self.queue);
        // One that panicked tells nothing more.
        let _ = self.task.await;
    }
}

impl Door {
    const fn name(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Webhook(_) => "webhook",
        }
    }

    async fn tell(&self, text: String) -> Result<(), String> {
        match self {
            Self::Exec(command) => {
                let ran = tokio::time::timeout(EXEC_TIMEOUT, exec(command, &text)).await;
                ran.unwrap_or_else(|_| Err("the program did not end".to_owned()))
            }
            Self::Webhook(webhook) => webhook.post(text).await,
        }
    }
}

/// Runs a program; it is killed when it does not end in time.
async fn exec(command: &[String], text: &str) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(());
    };
    let failed = |error: std::io::Error| format!("the program {program}: {error}");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read what it is told may end well all the same.
        let _ = stdin.write_all(text.as_bytes()).await;
    }
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the program {program}: {status}"))
    }
}

impl Webhook {
    async fn post(&self, text: String) -> Result<(), String> {
        // The first line is no origin of a log: the note can be taken for no checkpoint.
        let text = format!("{FORMAT}\n{text}");
        let line = sign_note(&text, &*self.key).map_err(|error| error.to_string())?;
        let note = Note::new(text, vec![line]).map_err(|error| error.to_string())?;
        let body = note.to_bytes();
        let mut wait = Duration::ZERO;
        let mut last = String::new();
        for _ in 0..WEBHOOK_TRIES {
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2).max(WEBHOOK_WAIT);
            let request = ClientRequest::post(self.url.clone(), body.clone());
            last = match self.client.send(request).await {
                Ok(response) if response.status.is_success() => return Ok(()),
                Ok(response) => format!("the webhook answered {}", response.status),
                Err(error) => format!("the webhook did not answer: {error}"),
            };
        }
        Err(last)
    }
}
