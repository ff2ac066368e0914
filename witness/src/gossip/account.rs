//! How it is with each peer, for the operator: a file that a witness which serves writes now and
//! then, and that `jurat-witness peers` reads, while one serves or not.
//!
//! ```text
//! node: failures, pause, clock ─┐
//! answers, claims that counted ─┼─► gossip/peers.json ─► jurat-witness peers
//! alarms ───────────────────────┘
//! ```
//!
//! Nothing is decided by it, so it is written without waiting for the disk: one that a crash cut
//! short says nothing, and the next one is there within seconds. When a peer was heard last comes
//! back from it at a start.
//!
//! Rows: `spec/gossip.md` GSP-141.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jurat_daemon::clock::Clock as _;
use jurat_daemon::files::DRAFT;
use jurat_proto::gossip::node::PeerStanding;
use jurat_proto::key::KeyName;
use serde::{Deserialize, Serialize};

use super::records::Records;
use super::{Gossip, lock};
use crate::evidence::read_bounded;

/// What a witness wrote of its peers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Account {
    /// When, in seconds since 1970.
    pub(crate) written: u64,
    /// How often it is written while a witness serves, in seconds.
    pub(crate) every_s: u64,
    /// Of each peer that the witness has, by name.
    pub(crate) peers: BTreeMap<String, Standing>,
}

/// How it is with a peer. Times are in seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// Whether it is asked; one without a URL is not.
    pub(crate) asked: bool,
    /// When it answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answered: Option<u64>,
    /// When it made a request last whose claim counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) claimed: Option<u64>,
    /// How many questions failed in a row.
    pub(crate) failures: u32,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failing_since: Option<u64>,
    /// Before when it is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) paused_until: Option<u64>,
    /// The time of its clock less that of ours, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) clock_offset_s: Option<i64>,
    /// Whether its silence is an alarm.
    pub(crate) silent: bool,
    /// Whether what it says of itself does not fit.
    pub(crate) misbehaves: bool,
}

/// When peers were heard.
#[derive(Debug, Default)]
pub(super) struct Contacts(Mutex<BTreeMap<KeyName, Contact>>);

#[derive(Debug, Clone, Copy, Default)]
struct Contact {
    answered: Option<u64>,
    claimed: Option<u64>,
}

impl Contacts {
    /// What an earlier process wrote of it.
    pub(super) fn open(records: &Records) -> Self {
        let known = read(&path_in(records.folder())).ok().flatten();
        let known = known.unwrap_or_default().peers.into_iter();
        let known = known.filter_map(|(name, standing)| {
            let Standing {
                answered, claimed, ..
            } = standing;
            Some((KeyName::parse(&name).ok()?, Contact { answered, claimed }))
        });
        Self(Mutex::new(known.collect()))
    }

    pub(super) fn answered(&self, name: &KeyName, now: u64) {
        lock(&self.0).entry(name.clone()).or_default().answered = Some(now);
    }

    pub(super) fn claimed(&self, name: &KeyName, now: u64) {
        lock(&self.0).entry(name.clone()).or_default().claimed = Some(now);
    }

    /// Forgets those who are no peers any more.
    pub(super) fn keep(&self, is_peer: impl Fn(&KeyName) -> bool) {
        lock(&self.0).retain(|name, _| is_peer(name));
    }

    fn of(&self, name: &KeyName) -> Contact {
        lock(&self.0).get(name).copied().unwrap_or_default()
    }
}

impl Gossip {
    /// Writes down how it is with the peers, for ever.
    // Spec: GSP-141
    pub(super) async fn keep_account(self: Arc<Self>) {
        let every = (self.settings.round() / 4).clamp(EVERY_MIN, EVERY_MAX);
        let mut told = false;
        loop {
            tokio::time::sleep(every).await;
            let this = Arc::clone(&self);
            let written = tokio::task::spawn_blocking(move || this.write_account(every)).await;
            let failed = !matches!(written, Ok(Ok(())));
            if failed && !told {
                tracing::warn!("what is known of the peers is not written; it is tried again");
            }
            told = failed;
        }
    }

    fn write_account(&self, every: Duration) -> io::Result<()> {
        let standings: Vec<PeerStanding> = lock(&self.node).company().collect();
        let now = self.clock.now().seconds();
        let peers = standings.into_iter().map(|standing| {
            let PeerStanding {
                name,
                asked,
                failures,
                failing_for,
                pause,
                clock_offset,
                silent,
                misbehaves,
            } = standing;
            let Contact { answered, claimed } = self.contacts.of(&name);
            let standing = Standing {
                asked,
                answered,
                claimed,
                failures,
                failing_since: failing_for.map(|time| now.saturating_sub(time.as_secs())),
                paused_until: (!pause.is_zero()).then(|| now.saturating_add(pause.as_secs())),
                clock_offset_s: clock_offset,
                silent,
                misbehaves,
            };
            (name.to_string(), standing)
        });
        let account = Account {
            written: now,
            every_s: every.as_secs(),
            peers: peers.collect(),
        };
        let path = path_in(self.records.folder());
        let draft = path.with_extension(DRAFT);
        fs::write(&draft, serde_json::to_vec(&account)?)?;
        fs::rename(&draft, &path)
    }
}

fn path_in(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// What a witness with this database wrote; nothing when none did.
///
/// # Errors
/// It is there and cannot be read, or is cut short.
pub(crate) fn beside(database: &Path) -> io::Result<Option<Account>> {
    read(&path_in(&database.with_file_name(super::records::FOLDER)))
}

fn read(path: &Path) -> io::Result<Option<Account>> {
    match read_bounded(path, BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        bytes => Ok(Some(serde_json::from_slice(&bytes?)?)),
    }
}

const FILE: &str = "peers.json";
/// A thousand peers, each with a name of the longest kind.
const BYTES_MAX: usize = 2 << 20;
const EVERY_MIN: Duration = Duration::from_secs(1);
const EVERY_MAX: Duration = Duration::from_secs(15);
