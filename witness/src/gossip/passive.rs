//! Witnesses, distributors and logs that do not gossip: what they show is looked at all the same.
//!
//! Any witness of c2sp.org/tlog-witness shows the newest checkpoint that it cosigned of each log, a
//! distributor shows those of the witnesses that bring it theirs, and a log shows its own. So those
//! that run already are peers, though they do not know it.
//!
//! What is shown here is nobody's word: the log's signature counts, or nothing. So none of these
//! places can convict, hide what another one shows, or keep the others from being looked at: each
//! has a task and a pace of its own.
//!
//! Rows: `spec/gossip.md` GSP-81, GSP-105 to GSP-107.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jurat_daemon::client::{ClientRequest, PAUSE_MAX};
pub(super) use jurat_daemon::client::{pause_after, retry_after};
use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::gossip::node::{Event, Reply};
use jurat_proto::hash::{Hash, sha256};
use jurat_proto::note::NOTE_BYTES_MAX;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::{Gossip, Trouble};

impl Gossip {
    /// Looks at what others show, and brings distributors what we cosigned, for ever.
    // Spec: GSP-81, GSP-105
    pub async fn watch(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        for prefix in self.settings.passive() {
            let place = Place::new(&self, prefix.clone());
            tasks.spawn(Arc::clone(&self).watch_witness(place));
        }
        for distributor in &self.distributors {
            let place = Place::new(&self, distributor.url().to_owned());
            let reads = Arc::clone(&self).watch_distributor(place, Arc::clone(distributor));
            tasks.spawn(reads);
            tasks.spawn(Arc::clone(&self).bring_to(Arc::clone(distributor)));
        }
        tasks.spawn(Arc::clone(&self).watch_logs());
        while tasks.join_next().await.is_some() {
            // They end with the process, or not at all.
            tracing::error!("a place of others is not looked at any more");
        }
    }

    /// A witness, by its monitoring prefix: log after log.
    async fn watch_witness(self: Arc<Self>, mut place: Place) {
        loop {
            let begun = Instant::now();
            let current = self.logs.current();
            for log in current.logs() {
                let url = format!("{}/{}/checkpoint", place.url, log.origin.hash_hex());
                place.look(&self, &log.origin, url).await;
            }
            tokio::time::sleep_until(begun + self.pass_every()).await;
        }
    }

    /// What logs show at their URLs. One that is slow delays nobody: some are asked at a time, a
    /// pass does not wait for them, and who failed is left alone for longer and longer.
    async fn watch_logs(self: Arc<Self>) {
        let pause = Duration::from_secs(1) / self.settings.passive_per_second();
        let mut asked: JoinSet<(Origin, bool, Option<Hash>)> = JoinSet::new();
        let mut known: HashMap<Origin, AtUrl> = HashMap::new();
        loop {
            let begun = Instant::now();
            let current = self.logs.current();
            known.retain(|origin, _| current.log(origin).is_some());
            for log in current.logs() {
                let Some(url) = log.url.clone() else { continue };
                while let Some(done) = asked.try_join_next() {
                    AtUrl::done(&mut known, done);
                }
                if asked.len() >= LOGS_AT_A_TIME
                    && let Some(done) = asked.join_next().await
                {
                    AtUrl::done(&mut known, done);
                }
                let at = known.entry(log.origin.clone()).or_default();
                if at.not_before.is_some_and(|at| at > Instant::now()) {
                    continue;
                }
                // It is not asked again before it has answered, or has not.
                at.not_before = Some(Instant::now() + PAUSE_MAX);
                let (this, origin, before) = (Arc::clone(&self), log.origin.clone(), at.seen);
                asked.spawn(async move {
                    let shown = tokio::time::timeout(LOG_TIMEOUT, this.shown_at(url)).await;
                    let shown = shown.unwrap_or(Shown::Failed(None));
                    let failed = matches!(shown, Shown::Failed(_));
                    let hash = this.seen(&origin, before, shown).await;
                    (origin, failed, hash)
                });
                tokio::time::sleep(pause).await;
            }
            let next = tokio::time::sleep_until(begun + self.pass_every());
            tokio::pin!(next);
            loop {
                tokio::select! {
                    () = &mut next => break,
                    Some(done) = asked.join_next() => AtUrl::done(&mut known, done),
                }
            }
        }
    }

    /// From the beginning of a pass to that of the next one.
    pub(super) fn pass_every(&self) -> Duration {
        self.settings.round().max(PASS_MIN)
    }

    /// Takes what a place showed as what anybody may show: its hash, when it need not be looked at
    /// again.
    async fn seen(&self, origin: &Origin, before: Option<Hash>, shown: Shown) -> Option<Hash> {
        self.metrics.passive_read(shown.outcome());
        let Shown::Bytes(bytes) = shown else {
            return None;
        };
        let hash = sha256(&bytes);
        if before == Some(hash) {
            return None;
        }
        let note = match SignedCheckpoint::parse(&bytes) {
            Ok(note) if note.origin() == origin => note,
            // It is no better the next time.
            Ok(_) | Err(_) => return Some(hash),
        };
        let reply = self.request(None, |request| Event::Observed { request, note });
        match reply.await {
            Ok(Reply::Consistent | Reply::Convicted { .. }) => Some(hash),
            // A key may be added, a head may be let go, and who has no time now may have it later.
            Ok(_) | Err(_) => None,
        }
    }

    async fn shown_at(&self, url: String) -> Shown {
        let request = ClientRequest::get(url).response_bytes_max(NOTE_BYTES_MAX);
        match self.client.send(request).await {
            Ok(answer) => match answer.status.as_u16() {
                200 => Shown::Bytes(answer.body.to_vec()),
                408 | 429 | 500.. => Shown::Failed(retry_after(&answer)),
                _ => Shown::Nothing,
            },
            Err(error) => {
                tracing::debug!(%error, "a place shows nothing");
                Shown::Failed(None)
            }
        }
    }
}

/// A log, as far as its URL goes.
#[derive(Default)]
struct AtUrl {
    /// What it showed last.
    seen: Option<Hash>,
    failures: u32,
    not_before: Option<Instant>,
}

impl AtUrl {
    /// A log was asked, or the task that asked it came to nothing: then it is asked much later.
    fn done(
        known: &mut HashMap<Origin, Self>,
        done: Result<(Origin, bool, Option<Hash>), JoinError>,
    ) {
        let Ok((origin, failed, hash)) = done else {
            return;
        };
        let Some(at) = known.get_mut(&origin) else {
            return;
        };
        at.seen = hash.or(at.seen);
        at.failures = if failed {
            at.failures.saturating_add(1)
        } else {
            0
        };
        at.not_before = failed.then(|| Instant::now() + pause_after(at.failures));
    }
}

/// What came of looking.
pub(super) enum Shown {
    /// Bytes.
    Bytes(Vec<u8>),
    /// It has nothing there, and says so.
    Nothing,
    /// It did not answer as it should. It may have said when to come again.
    Failed(Option<Duration>),
}

impl Shown {
    const fn outcome(&self) -> &'static str {
        match self {
            Self::Bytes(_) => "shown",
            Self::Nothing => "nothing",
            Self::Failed(_) => "failed",
        }
    }
}

/// Somebody who shows checkpoints of several logs.
pub(super) struct Place {
    pub(super) url: String,
    /// Between two requests.
    pace: Duration,
    /// What was shown last, by the hash of what it was asked for.
    seen: HashMap<Hash, Hash>,
    failures: u32,
    trouble: Trouble,
}

impl Place {
    fn new(gossip: &Gossip, url: String) -> Self {
        Self {
            pace: Duration::from_secs(1) / gossip.settings.passive_per_second(),
            seen: HashMap::new(),
            failures: 0,
            trouble: Trouble::new("passive-silent", format!("{url} does not answer")),
            url,
        }
    }

    /// Looks at one URL of it, and then waits for as long as it wants, or as is due.
    // Spec: GSP-105, GSP-106
    pub(super) async fn look(&mut self, gossip: &Gossip, origin: &Origin, url: String) {
        let asked = sha256(url.as_bytes());
        let shown = gossip.shown_at(url).await;
        let pause = self.pause(gossip, &shown);
        let before = self.seen.get(&asked).copied();
        if let Some(hash) = gossip.seen(origin, before, shown).await {
            if self.seen.len() >= SEEN_MAX {
                self.seen.clear();
            }
            self.seen.insert(asked, hash);
        }
        tokio::time::sleep(pause).await;
    }

    /// How long to leave it alone.
    pub(super) fn pause(&mut self, gossip: &Gossip, shown: &Shown) -> Duration {
        let silence = gossip.settings.peer_silence();
        match shown {
            Shown::Failed(wanted) => {
                self.failures = self.failures.saturating_add(1);
                gossip.failed(&mut self.trouble, silence);
                let pause = pause_after(self.failures);
                wanted.map_or(pause, |wanted| wanted.max(pause))
            }
            Shown::Bytes(_) | Shown::Nothing => {
                self.well(gossip);
                self.pace
            }
        }
    }

    /// It does what it should.
    pub(super) fn well(&mut self, gossip: &Gossip) {
        self.failures = 0;
        gossip.well(&mut self.trouble);
    }

    /// Fetches a list of the place's own, with the same patience. Of several lists one that comes
    /// says nothing of the others: the caller says when all is well.
    pub(super) async fn list(&mut self, gossip: &Gossip, path: &str) -> Option<Vec<String>> {
        let request = ClientRequest::get(format!("{}{path}", self.url));
        let request = request.response_bytes_max(LIST_BYTES_MAX);
        let answer = gossip.client.send(request).await;
        let list = match &answer {
            Ok(answer) if answer.status == 200 => serde_json::from_slice(&answer.body).ok(),
            _ => None,
        };
        let wanted = answer.ok().and_then(|answer| retry_after(&answer));
        let pause = match list {
            Some(_) => self.pace,
            None => self.pause(gossip, &Shown::Failed(wanted)),
        };
        tokio::time::sleep(pause).await;
        list
    }
}

/// Logs whose own URL is asked at a time.
const LOGS_AT_A_TIME: usize = 64;
/// How long one of them may take.
const LOG_TIMEOUT: Duration = Duration::from_secs(10);
/// No drill needs passes more often, and who has no log to look at needs a rest.
const PASS_MIN: Duration = Duration::from_millis(100);
/// Answers of one place that are remembered: 16 MiB. Beyond it all are looked at again.
const SEEN_MAX: usize = 262_144;
/// A list of names or of hashes.
const LIST_BYTES_MAX: usize = 4 << 20;
