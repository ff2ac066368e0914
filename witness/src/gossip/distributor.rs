//! Distributors: services that collect what witnesses cosigned and show it by log and witness
//! (github.com/transparency-dev/distributor, API v0).
//!
//! ```text
//! GET /distributor/v0/witnesses                            a list of vkeys, JSON
//! GET /distributor/v0/logs                                 a list of log ids, JSON
//! GET /distributor/v0/logs/<id>/byWitness/<name>/checkpoint
//! GET /distributor/v0/logs/<id>/checkpoint.<N>             one that N of them cosigned
//! PUT /distributor/v0/logs/<id>/byWitness/<name>/checkpoint
//! ```
//!
//! An id is the SHA-256 of `o:` and the origin. A distributor compares what one witness brings with
//! what the same witness brought before, and nothing else; so what it shows of all of them is read,
//! and it is brought what we cosigned, so that others can read that.
//!
//! A head waits here until it was brought, newer ones of its log in its place. Nothing waits for
//! it: signing puts it here, under a lock that is held for as long as that takes.
//!
//! Rows: `spec/gossip.md` GSP-107 to GSP-110.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use jurat_daemon::client::ClientRequest;
use jurat_daemon::http::Method;
use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::sha256;
use jurat_proto::hex;
use jurat_proto::key::KeyName;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::passive::{Place, pause_after, retry_after};
use super::{Gossip, Trouble, in_turn, lock};

/// A distributor, and what it is to be brought.
pub(super) struct Distributor {
    url: String,
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Default)]
struct Waiting {
    heads: BTreeMap<Origin, Head>,
    /// Those that wait, in the order in which they are due.
    due: BTreeSet<(Instant, Origin)>,
    /// The ids of the logs that it takes heads of, when it has said so.
    takes: Option<BTreeSet<String>>,
    /// It was asked for them, whatever came of it. Before that nothing is brought: most logs may be
    /// none of its.
    asked: bool,
}

/// The newest head of a log.
struct Head {
    /// How the distributor names its log; made before the lock is taken.
    id: String,
    /// Nothing once it was brought, or refused.
    note: Option<Bytes>,
    not_before: Instant,
    failures: u32,
}

impl Distributor {
    pub(super) fn all(urls: &[String]) -> Vec<Arc<Self>> {
        let urls = urls.iter().cloned();
        urls.map(|url| Arc::new(Self::new(url))).collect()
    }

    fn new(url: String) -> Self {
        Self {
            url,
            waiting: Mutex::default(),
            wake: Notify::new(),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// A head is durable. Takes the place of an older one of the log; never waits.
    // Spec: GSP-108
    ///
    /// One that was stored before the start is older than all that became durable since.
    pub(super) fn offer(&self, origin: &Origin, note: &[u8], stored: bool) {
        let id = log_id(origin);
        let mut waiting = lock(&self.waiting);
        let Waiting {
            heads, due, takes, ..
        } = &mut *waiting;
        if takes.as_ref().is_some_and(|takes| !takes.contains(&id))
            || (heads.len() >= HEADS_MAX && !heads.contains_key(origin))
        {
            return;
        }
        if stored && heads.contains_key(origin) {
            return;
        }
        let head = heads.entry(origin.clone()).or_insert_with(|| Head {
            id,
            note: None,
            not_before: Instant::now(),
            failures: 0,
        });
        head.note = Some(Bytes::copy_from_slice(note));
        due.insert((head.not_before, origin.clone()));
        drop(waiting);
        self.wake.notify_one();
    }

    /// How many heads wait.
    fn count(&self) -> usize {
        lock(&self.waiting).due.len()
    }

    /// It says which logs it knows: those that it does not know are let go. Which it did not know
    /// when it said so before, if it did.
    fn takes(&self, ids: BTreeSet<String>) -> BTreeSet<String> {
        let mut waiting = lock(&self.waiting);
        let before = waiting.takes.as_ref();
        let new = before.map(|before| ids.difference(before).cloned().collect());
        if waiting.takes.as_ref() != Some(&ids) {
            let Waiting { heads, due, .. } = &mut *waiting;
            heads.retain(|_, head| ids.contains(&head.id));
            due.retain(|(_, origin)| heads.contains_key(origin));
            waiting.takes = Some(ids);
        }
        drop(waiting);
        self.asked();
        new.unwrap_or_default()
    }

    /// It was asked which logs it knows.
    fn asked(&self) {
        lock(&self.waiting).asked = true;
        self.wake.notify_one();
    }

    /// The head that is due first, or when one will be.
    fn next(&self, now: Instant) -> Result<(Origin, Bytes), Option<Instant>> {
        let waiting = lock(&self.waiting);
        let first = waiting.due.first().filter(|_| waiting.asked);
        let (not_before, origin) = first.ok_or(None)?;
        let note = waiting.heads.get(origin).and_then(|head| head.note.clone());
        match note {
            Some(note) if *not_before <= now => Ok((origin.clone(), note)),
            _ => Err(Some(*not_before)),
        }
    }

    /// What became of a head, unless a newer one took its place meanwhile: that one waits as long.
    fn done(&self, origin: &Origin, note: &Bytes, outcome: Brought, every: Duration) {
        let mut waiting = lock(&self.waiting);
        let Waiting { heads, due, .. } = &mut *waiting;
        let Some(head) = heads.get_mut(origin) else {
            return;
        };
        due.remove(&(head.not_before, origin.clone()));
        head.failures = match outcome {
            Brought::Taken | Brought::Refused => 0,
            Brought::Failed { .. } => head.failures.saturating_add(1),
        };
        let pause = match outcome {
            Brought::Taken | Brought::Refused => every,
            Brought::Failed { wanted } => {
                pause_after(head.failures).max(wanted.unwrap_or_default())
            }
        };
        head.not_before = Instant::now() + pause;
        // What is refused is not brought again, the next head is.
        let over = matches!(outcome, Brought::Taken | Brought::Refused);
        if over && head.note.as_ref() == Some(note) {
            head.note = None;
        }
        if head.note.is_some() {
            due.insert((head.not_before, origin.clone()));
        }
    }

    fn drop_head(&self, origin: &Origin) {
        let mut waiting = lock(&self.waiting);
        waiting.heads.remove(origin);
        waiting.due.retain(|(_, other)| other != origin);
    }
}

/// What became of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Brought {
    Taken,
    /// It is not wanted: another witness's key is known there, or a newer head.
    Refused,
    /// It may be taken later.
    Failed {
        wanted: Option<Duration>,
    },
}

impl Brought {
    const fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Refused => "refused",
            Self::Failed { .. } => "failed",
        }
    }
}

/// How long a distributor is left alone, whatever the log, when it failed so often in a row: as it
/// wants, and no shorter because it has been asked for another log meanwhile.
// Spec: GSP-132
fn rest_after(outcome: Brought, failures: u32) -> Option<Duration> {
    match outcome {
        Brought::Failed { wanted } if failures > 0 => {
            Some(pause_after(failures).max(wanted.unwrap_or_default()))
        }
        Brought::Taken | Brought::Refused | Brought::Failed { .. } => None,
    }
}

impl Gossip {
    /// Reads what a distributor shows of the logs that we know and of all its witnesses.
    // Spec: GSP-107
    pub(super) async fn watch_distributor(
        self: Arc<Self>,
        mut place: Place,
        distributor: Arc<Distributor>,
    ) {
        loop {
            let begun = Instant::now();
            let witnesses = place.list(&self, "/distributor/v0/witnesses").await;
            let logs = place.list(&self, "/distributor/v0/logs").await;
            let (Some(witnesses), Some(logs)) = (witnesses, logs) else {
                distributor.asked();
                continue;
            };
            place.well(&self);
            let names = names(&witnesses);
            let ids: BTreeSet<String> = logs.into_iter().take(LOGS_MAX).collect();
            let new = distributor.takes(ids.clone());
            let current = self.logs.current();
            // Spec: GSP-138
            let newly = current.logs().filter(|_| !new.is_empty());
            for log in newly.filter(|log| new.contains(&log_id(&log.origin))) {
                let (this, origin) = (Arc::clone(&self), log.origin.clone());
                let read = in_turn(&self.reading, move || this.read_stored(&origin));
                if let Ok(Ok(Some((note, _)))) = read.await {
                    distributor.offer(&log.origin, &note, true);
                }
            }
            for log in current.logs() {
                let id = log_id(&log.origin);
                if !ids.contains(&id) {
                    continue;
                }
                let at = |what: String| format!("{}/distributor/v0/logs/{id}/{what}", place.url);
                let by_witness = names.iter().map(|name| at(by_witness(name)));
                let cosigned_by = 1..=names.len().min(COSIGNED_BY_MAX);
                let cosigned_by = cosigned_by.map(|count| at(format!("checkpoint.{count}")));
                let urls: Vec<String> = by_witness.chain(cosigned_by).collect();
                for url in urls {
                    place.look(&self, &log.origin, url).await;
                }
            }
            tokio::time::sleep_until(begun + self.pass_every()).await;
        }
    }

    /// Brings a distributor what we cosigned.
    // Spec: GSP-108, GSP-109, GSP-110
    pub(super) async fn bring_to(self: Arc<Self>, distributor: Arc<Distributor>) {
        let pace = Duration::from_secs(1) / self.settings.passive_per_second();
        let about = format!("{} takes no head of ours", distributor.url);
        let mut trouble = Trouble::new("distributor", about);
        // How often it could not be reached in a row, whatever the log.
        let mut unreachable = 0_u32;
        loop {
            self.metrics
                .distributor_waiting(&distributor.url, distributor.count());
            let (origin, note) = match distributor.next(Instant::now()) {
                Ok(due) => due,
                Err(later) => {
                    let later = later.unwrap_or_else(|| Instant::now() + IDLE_MAX);
                    tokio::select! {
                        () = tokio::time::sleep_until(later) => {}
                        () = distributor.wake.notified() => {}
                    }
                    continue;
                }
            };
            if self.evidence.convicted(&origin, false).is_some() {
                distributor.drop_head(&origin);
                continue;
            }
            let (outcome, reached) = self.put(&distributor, &origin, &note).await;
            self.metrics.distributor_put(outcome.name());
            distributor.done(&origin, &note, outcome, self.settings.round());
            match outcome {
                Brought::Taken => self.well(&mut trouble),
                Brought::Refused | Brought::Failed { .. } => {
                    self.failed(&mut trouble, self.settings.peer_silence());
                }
            }
            unreachable = if reached {
                0
            } else {
                unreachable.saturating_add(1)
            };
            let pause = rest_after(outcome, unreachable);
            tokio::time::sleep(pause.unwrap_or(pace)).await;
        }
    }

    /// Brings one head: what became of it, and whether the distributor works at all.
    async fn put(
        &self,
        distributor: &Distributor,
        origin: &Origin,
        note: &Bytes,
    ) -> (Brought, bool) {
        let (url, id) = (&distributor.url, log_id(origin));
        let place = by_witness(self.settings.vkey().name());
        let url = format!("{url}/distributor/v0/logs/{id}/{place}");
        let request = ClientRequest::new(Method::PUT, url, note.clone());
        match self
            .client
            .send(request.response_bytes_max(REPLY_BYTES_MAX))
            .await
        {
            Ok(answer) => match answer.status.as_u16() {
                200..=299 => (Brought::Taken, true),
                status @ (408 | 429 | 500..) => {
                    tracing::debug!(%origin, status, "a distributor took no head");
                    let wanted = retry_after(&answer);
                    // A fault with one log (500) says nothing of the others.
                    (Brought::Failed { wanted }, status == 500)
                }
                status => {
                    tracing::warn!(%origin, status, "a distributor refused a head");
                    (Brought::Refused, true)
                }
            },
            Err(error) => {
                tracing::debug!(%origin, %error, "a distributor was not reached");
                (Brought::Failed { wanted: None }, false)
            }
        }
    }
}

/// How distributors name a log.
// Spec: GSP-107
fn log_id(origin: &Origin) -> String {
    hex::encode(sha256(format!("o:{origin}").as_bytes()).as_bytes())
}

fn by_witness(name: &KeyName) -> String {
    format!("byWitness/{}/checkpoint", in_path(name.as_str()))
}

/// The names of witnesses in a list of vkeys. What is none is left out.
fn names(vkeys: &[String]) -> Vec<KeyName> {
    let vkeys = vkeys.iter().take(WITNESSES_MAX);
    let names = vkeys.filter_map(|vkey| KeyName::parse(vkey.split('+').next()?).ok());
    let mut names: Vec<KeyName> = names.collect();
    names.sort();
    names.dedup();
    names
}

/// A name as a path holds it. A slash in it stays one: that is how distributors read it.
fn in_path(name: &str) -> String {
    let mut path = String::new();
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                path.push(char::from(byte));
            }
            other => {
                // Writing to a string does not fail.
                let _ = write!(path, "%{other:02X}");
            }
        }
    }
    path
}

/// Logs whose heads may wait; their list is bounded, too.
const HEADS_MAX: usize = 65_536;
/// Logs of a distributor that are known to be its.
const LOGS_MAX: usize = 65_536;
/// Witnesses of a distributor that are looked at.
const WITNESSES_MAX: usize = 64;
/// Up to which N a `checkpoint.N` is looked at: what it adds is an older head.
const COSIGNED_BY_MAX: usize = 16;
/// When nothing waits, what is shown of it is shown again.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// What a distributor says to a head; nobody reads it.
const REPLY_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::parse(text).unwrap()
    }

    // Spec: GSP-107
    #[test]
    fn logs_and_witnesses_are_named_as_distributors_name_them() {
        let id = "b0c7a2a7e377de7529d430c63f5d67ec51fdd76a10e1756d8bee2a57a46ab6b4";
        assert_eq!(log_id(&origin("from foo")), id);
        assert_eq!(in_path("witness.example/w1"), "witness.example/w1");
        assert_eq!(in_path("a%b?c#d"), "a%25b%3Fc%23d");
        assert_eq!(in_path("\u{e9}"), "%C3%A9");
        let listed = [
            "Aardvark+871d50e2+AW",
            "Aardvark+00000000+AW",
            "",
            "+1+2",
            "b c+1+A",
        ];
        let named = names(&listed.map(str::to_owned));
        let named: Vec<&str> = named.iter().map(KeyName::as_str).collect();
        assert_eq!(named, ["Aardvark"]);
    }

    // Spec: GSP-108, GSP-109
    #[tokio::test]
    async fn the_newest_head_waits_and_what_is_refused_is_not_brought_again() {
        let distributor = Distributor::new("http://d".to_owned());
        let (a, b) = (origin("a"), origin("b"));
        let every = Duration::from_secs(60);
        distributor.offer(&a, b"one", false);
        distributor.offer(&a, b"two", false);
        // Read before the other was durable.
        distributor.offer(&a, b"zero", true);
        distributor.offer(&b, b"three", false);
        assert_eq!(distributor.count(), 2);
        let now = Instant::now();
        assert_eq!(
            distributor.next(now),
            Err(None),
            "nobody has asked which logs it knows"
        );
        distributor.asked();
        let (log, note) = distributor.next(now).unwrap();
        assert_eq!((&log, &*note), (&a, &b"two"[..]));
        // A newer one came while it was brought: it waits for the next round.
        distributor.offer(&a, b"four", false);
        distributor.done(&a, &note, Brought::Taken, every);
        assert_eq!(distributor.count(), 2);
        let (log, note) = distributor.next(now).unwrap();
        assert_eq!((&log, &*note), (&b, &b"three"[..]));
        distributor.done(&b, &note, Brought::Failed { wanted: None }, every);
        let later = distributor.next(now).unwrap_err().unwrap();
        assert!(
            later <= Instant::now() + pause_after(1),
            "the failed one first"
        );
        let due = now + every + every;
        let (log, note) = distributor.next(due).unwrap();
        assert_eq!((&log, &*note), (&b, &b"three"[..]), "it was kept");
        distributor.done(&b, &note, Brought::Refused, every);
        assert_eq!(distributor.next(due).unwrap().1, &b"four"[..]);
        assert_eq!(distributor.count(), 1);
        // A distributor that does not know a log is not brought its heads.
        let listed = distributor.takes(BTreeSet::from([log_id(&b)]));
        assert!(listed.is_empty(), "nothing was let go before");
        assert_eq!(distributor.next(due), Err(None));
        distributor.offer(&a, b"five", false);
        assert_eq!(distributor.count(), 0);
        let both = BTreeSet::from([log_id(&a), log_id(&b)]);
        assert_eq!(distributor.takes(both), BTreeSet::from([log_id(&a)]));
        distributor.takes(BTreeSet::from([log_id(&b)]));
        distributor.offer(&b, b"six", false);
        assert_eq!(distributor.count(), 1);
    }

    // Spec: GSP-132
    #[test]
    fn who_wants_to_be_left_alone_is_for_all_logs() {
        let wanted = Some(Duration::from_secs(120));
        let failed = Brought::Failed { wanted };
        assert_eq!(rest_after(failed, 1), wanted);
        assert_eq!(
            rest_after(Brought::Failed { wanted: None }, 2),
            Some(pause_after(2))
        );
        // A fault with one log.
        assert_eq!(rest_after(failed, 0), None);
        assert_eq!(rest_after(Brought::Taken, 0), None);
    }

    // Spec: GSP-108
    #[tokio::test]
    async fn heads_that_wait_have_a_bound() {
        let distributor = Distributor::new("http://d".to_owned());
        for number in 0..=HEADS_MAX {
            distributor.offer(&origin(&number.to_string()), b"note", false);
        }
        assert_eq!(distributor.count(), HEADS_MAX);
    }
}
