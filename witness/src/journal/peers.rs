//! The journal of peers: who is one, with which keys and at which URL, since when, and who said so.
//!
//! ```text
//! {"previous":"<SHA-256 of the line before>","time":1790000000,"actor":"SIGHUP",
//!  "action":"other keys","peer":"w2.example","before":{…},"after":{…}}
//! ```
//!
//! Whom a witness asks, and whose keys it believes, decides what it can find. So each change is a
//! line here, durable before it takes effect, as each change of the list of logs is in the journal
//! of logs. A start writes what was changed while nothing ran.
//!
//! The two are two files: a line of the other one is about a log, and is read by who compares the
//! list of logs with it.
//!
//! Rows: `spec/gossip.md` GSP-142.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use jurat_daemon::clock::Clock;
use serde::{Deserialize, Serialize};

use super::chain::{self, Before, JournalError, Link};

/// The file's name, beside the list of logs.
pub const FILE_NAME: &str = "peers.ndjson";

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerLine {
    /// SHA-256 of the line before, in hex; 64 zeroes in the first.
    pub previous: String,
    /// Whether the line before was cut short by a crash.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub after_cut: bool,
    /// When, in seconds since 1970, by the clock of the machine.
    pub time: u64,
    /// What made the witness look: `start` or `SIGHUP`.
    pub actor: String,
    /// What became of the peer.
    pub action: String,
    /// Its name.
    pub peer: String,
    /// How it was; nothing when it is new.
    pub before: Option<PeerEntry>,
    /// How it is from now on; nothing when it is no peer any more.
    pub after: Option<PeerEntry>,
}

/// A peer as the configuration has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerEntry {
    /// Its gossip keys.
    pub gossip_keys: Vec<String>,
    /// Its cosigner keys.
    pub keys: Vec<String>,
    /// Where it is asked; nothing when it cannot be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Who runs it.
    pub operator: String,
}

impl Link for PeerLine {
    fn previous(&self) -> &str {
        &self.previous
    }

    fn after_cut(&self) -> bool {
        self.after_cut
    }
}

/// Peers by name.
pub type Peers = BTreeMap<String, PeerEntry>;

/// What became of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerChange {
    /// Whose.
    pub peer: String,
    /// How it was.
    pub before: Option<PeerEntry>,
    /// How it is.
    pub after: Option<PeerEntry>,
}

impl PeerChange {
    /// What differs between two sets of peers, by name.
    pub fn between(before: &Peers, after: &Peers) -> Vec<Self> {
        let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let of = |peers: &Peers, name: &String| peers.get(name).cloned();
        let changes = names.into_iter().map(|name| Self {
            peer: name.clone(),
            before: of(before, name),
            after: of(after, name),
        });
        changes
            .filter(|change| change.before != change.after)
            .collect()
    }

    /// In a word or two.
    pub fn action(&self) -> &'static str {
        match (&self.before, &self.after) {
            (None, _) => "added",
            (Some(_), None) => "removed",
            (Some(before), Some(after)) => {
                let keys = |entry: &PeerEntry| (entry.gossip_keys.clone(), entry.keys.clone());
                if keys(before) == keys(after) {
                    "other URL or operator"
                } else {
                    "other keys"
                }
            }
        }
    }
}

/// The journal of the peers of a witness.
#[derive(Debug, Clone)]
pub struct PeersJournal {
    path: PathBuf,
    list: PathBuf,
}

impl PeersJournal {
    /// The journal beside the list of logs at `logs`.
    pub fn beside(logs: &Path) -> Self {
        Self {
            path: logs.with_file_name(FILE_NAME),
            list: logs.to_owned(),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads every line and checks that each names the one before. `each` gets the lines.
    ///
    /// # Errors
    /// [`JournalError`], the first that is found.
    // Spec: GSP-142
    pub fn check(&self, each: impl FnMut(&PeerLine)) -> Result<u64, JournalError> {
        chain::check(&self.path, each)
    }

    /// The peers by the lines that are there.
    ///
    /// # Errors
    /// The journal is there and cannot be read.
    pub fn peers(&self) -> io::Result<Peers> {
        let mut peers = Peers::new();
        chain::read(&self.path, |line: PeerLine| match line.after {
            Some(after) => drop(peers.insert(line.peer, after)),
            None => drop(peers.remove(&line.peer)),
        })?;
        Ok(peers)
    }

    /// Records how peers are from now on, and gives what is new about them. Durable on return.
    ///
    /// # Errors
    /// It cannot be read or written: then nothing may change.
    // Spec: GSP-142
    pub fn record(
        &self,
        actor: &str,
        peers: &Peers,
        clock: &dyn Clock,
    ) -> io::Result<Vec<PeerChange>> {
        let changes = PeerChange::between(&self.peers()?, peers);
        if changes.is_empty() {
            return Ok(changes);
        }
        let time = clock.now().seconds();
        let lines = changes.iter().map(|change| {
            move |Before {
                      previous,
                      after_cut,
                  }| PeerLine {
                previous,
                after_cut,
                time,
                actor: actor.to_owned(),
                action: change.action().to_owned(),
                peer: change.peer.clone(),
                before: change.before.clone(),
                after: change.after.clone(),
            }
        });
        chain::append(&self.path, &self.list, lines)?;
        Ok(changes)
    }
}
