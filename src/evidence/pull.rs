//! Asking witnesses for their evidence, so that what their gossip proves ends in this log without
//! anybody's hand.
//!
//! The whole list of a witness is read in each round: its numbers begin anew when it starts, and
//! what was fetched once is remembered by its hash. What a witness lists that proves nothing costs
//! that witness a place in its own round, and nobody else anything.
//!
//! Rows: `spec/service.md` SVC-56.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jurat_daemon::client::{Client, ClientError, ClientRequest, ClientResponse};
use jurat_daemon::clock::Clock;
use jurat_daemon::shutdown::Shutdown;
use jurat_proto::evidence::{EVIDENCE_BYTES_MAX, Evidence};
use jurat_proto::gossip::{CATALOGUE_BYTES_MAX, Catalogue, CatalogueError};
use jurat_proto::hash::Hash;
use jurat_proto::hex;
use jurat_proto::policy::Policy;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde::Serialize;

use super::{Docket, DocketError};
use crate::submit::logs::Logs;

/// Parts of a list that are read in a round; a witness that has more lists what nobody can use.
const PAGES_MAX: usize = 16;
/// Files that are fetched in a round; the rest is for the next one.
const FILES_MAX: usize = 64;
/// Files that are remembered of one witness. Beyond it all are forgotten, and fetched again.
const TRIED_MAX: usize = 16_384;

/// Who is asked, and how often.
#[derive(Debug, Clone)]
pub struct Settings {
    /// From one round to the next; nobody is asked when it is zero.
    pub every: Duration,
    /// Witnesses that are asked besides those of the policy, by URL.
    pub from: Vec<String>,
}

impl Settings {
    /// The URLs that are asked, each once.
    pub fn urls(&self, policy: &Policy) -> Vec<String> {
        if self.every.is_zero() {
            return Vec::new();
        }
        let mut urls: Vec<String> = Vec::new();
        let of_policy = policy.witnesses().iter();
        let of_policy = of_policy.filter_map(|witness| witness.url.as_ref()?.to_str());
        for url in of_policy.chain(self.from.iter().map(String::as_str)) {
            let url = url.trim_end_matches('/').to_owned();
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        urls
    }
}

/// A witness that is asked, as `/health` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Where it is asked.
    pub url: String,
    /// When it last answered, in seconds since 1970.
    pub last_answered: Option<u64>,
    /// Whether it shows evidence at all; one that does not gossip has none to show.
    pub gossips: Option<bool>,
    /// What went wrong last, when nothing has gone right since.
    pub error: Option<String>,
}

/// One row for each witness that is asked.
#[derive(Debug, Default)]
pub struct Pulls(Mutex<Vec<Row>>);

impl Pulls {
    /// A copy of the rows.
    pub fn rows(&self) -> Vec<Row> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, place: usize, change: impl FnOnce(&mut Row)) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = rows.get_mut(place) {
            change(row);
        }
    }
}

/// What the tasks share.
pub struct Parts {
    /// Where evidence goes.
    pub docket: Arc<Docket>,
    /// The connections.
    pub client: Client,
    /// Wall time, for the status page only.
    pub clock: Arc<dyn Clock>,
    /// How often.
    pub every: Duration,
}

/// Starts a task for each URL; they end at `shutdown`.
pub fn start(
    parts: Parts,
    urls: Vec<String>,
    registry: &mut Registry,
    shutdown: &Shutdown,
) -> Arc<Pulls> {
    let metrics = Metrics::new(registry);
    let row = |url: &String| Row {
        url: url.clone(),
        last_answered: None,
        gossips: None,
        error: None,
    };
    let pulls = Arc::new(Pulls(Mutex::new(urls.iter().map(row).collect())));
    let parts = Arc::new(parts);
    for (place, url) in urls.into_iter().enumerate() {
        let task = Task {
            parts: Arc::clone(&parts),
            pulls: Arc::clone(&pulls),
            metrics: metrics.clone(),
            place,
            url,
            tried: BTreeSet::new(),
        };
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = task.run() => {}
                () = shutdown.wait() => {}
            }
        });
    }
    pulls
}

/// Why a round came to no end. The next one begins anew.
#[derive(Debug, thiserror::Error)]
enum PullError {
    #[error("{0}")]
    Client(#[from] ClientError),
    #[error("answered {0}")]
    Status(u16),
    #[error("its list of evidence: {0}")]
    Catalogue(#[from] CatalogueError),
    #[error("evidence could not be logged: {0}")]
    Docket(DocketError),
}

/// Asks one witness.
struct Task {
    parts: Arc<Parts>,
    pulls: Arc<Pulls>,
    metrics: Metrics,
    place: usize,
    url: String,
    /// The hashes of the files that need not be fetched again.
    tried: BTreeSet<Hash>,
}

impl Task {
    // Spec: SVC-56
    async fn run(mut self) {
        let mut seen = self.parts.docket.logs();
        loop {
            let logs = self.parts.docket.logs();
            if !Arc::ptr_eq(&logs, &seen) {
                // What convicted nobody who was known may convict a log that is known now.
                self.tried.clear();
                seen = logs;
            }
            let outcome = self.round(&seen).await;
            self.told(&outcome);
            tokio::time::sleep(self.parts.every).await;
        }
    }

    fn told(&self, outcome: &Result<bool, PullError>) {
        self.metrics.pulled(match outcome {
            Ok(true) => "read",
            Ok(false) => "does_not_gossip",
            Err(_) => "failed",
        });
        let now = self.parts.clock.now().seconds();
        self.pulls.set(self.place, |row| match outcome {
            Ok(gossips) => {
                row.last_answered = Some(now);
                row.gossips = Some(*gossips);
                row.error = None;
            }
            Err(error) => {
                let error = error.to_string();
                if row.error.as_ref() != Some(&error) {
                    tracing::warn!(url = %self.url, %error, "a witness shows no evidence");
                }
                row.error = Some(error);
            }
        });
    }

    /// Reads the whole list, and fetches what is not known; whether there is a list.
    async fn round(&mut self, logs: &Arc<Logs>) -> Result<bool, PullError> {
        let (mut since, mut files) = (0, 0);
        for _ in 0..PAGES_MAX {
            let url = format!("{}/gossip/v0/evidence?since={since}", self.url);
            let answer = self.get(url, CATALOGUE_BYTES_MAX).await?;
            match answer.status.as_u16() {
                200 => {}
                404 | 405 if since == 0 => return Ok(false),
                status => return Err(PullError::Status(status)),
            }
            let list = Catalogue::parse(&answer.body)?;
            for listed in list.entries() {
                if self.tried.contains(&listed.file) {
                    continue;
                }
                files += 1;
                if files > FILES_MAX || !Arc::ptr_eq(logs, &self.parts.docket.logs()) {
                    return Ok(true);
                }
                self.fetch(&listed.id, listed.file).await?;
            }
            if list.entries().is_empty() || list.next() <= since {
                break;
            }
            since = list.next();
        }
        Ok(true)
    }

    async fn fetch(&mut self, id: &Hash, file: Hash) -> Result<(), PullError> {
        let id = hex::encode(id.as_bytes());
        let url = format!("{}/gossip/v0/evidence/{id}", self.url);
        let answer = self.get(url, EVIDENCE_BYTES_MAX).await?;
        match answer.status.as_u16() {
            200 => {}
            404 => return Ok(()),
            status => return Err(PullError::Status(status)),
        }
        match Evidence::parse(&answer.body) {
            Ok(evidence) => match self.parts.docket.submit(evidence).await {
                Ok(_) | Err(DocketError::NotProven(_) | DocketError::Undetermined) => {}
                Err(error) => return Err(PullError::Docket(error)),
            },
            Err(error) => tracing::debug!(url = %self.url, %error, "what is listed is no evidence"),
        }
        if self.tried.len() >= TRIED_MAX {
            self.tried.clear();
        }
        self.tried.insert(file);
        Ok(())
    }

    async fn get(&self, url: String, bytes_max: usize) -> Result<ClientResponse, ClientError> {
        let request = ClientRequest::get(url).response_bytes_max(bytes_max);
        self.parts.client.send(request).await
    }
}

/// Rounds by their outcome; the outcomes are a closed set.
#[derive(Debug, Clone, Default)]
struct Metrics {
    pulls: Family<Pulled, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pulled {
    outcome: &'static str,
}

impl Metrics {
    fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.sub_registry_with_prefix("jurat").register(
            "evidence_pulls",
            "Rounds in which a witness was asked for its evidence, by outcome",
            metrics.pulls.clone(),
        );
        metrics
    }

    fn pulled(&self, outcome: &'static str) {
        self.pulls.get_or_create(&Pulled { outcome }).inc();
    }
}
