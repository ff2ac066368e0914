//! The `[restore_guard]` table.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jurat_daemon::config::Problems;
use jurat_proto::key::{SignatureType, VerifierKey};
use serde::Deserialize;

use super::own::in_time;

/// As it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawRestoreGuard {
    own: Vec<String>,
    peer: Vec<RawPeer>,
    wait_ms: u64,
    answers_min: usize,
    logs_per_second: u32,
    ahead: Ahead,
    moved: Moved,
    mark_dir: Option<PathBuf>,
    machine_id_file: PathBuf,
}

/// What becomes of a state that is in another file than it was, or on another machine, and that no
/// name says to be older.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Moved {
    /// Its logs are held.
    #[default]
    Hold,
    /// It is told of, and signed for.
    Report,
}

/// What becomes of a log when others are ahead of us before the first signature since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ahead {
    /// It is held.
    #[default]
    Hold,
    /// It is counted, and signed for.
    Report,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPeer {
    monitoring_url: String,
    keys: Vec<String>,
}

impl Default for RawRestoreGuard {
    fn default() -> Self {
        Self {
            own: Vec::new(),
            peer: Vec::new(),
            wait_ms: 2_000,
            answers_min: 0,
            logs_per_second: 10,
            ahead: Ahead::Hold,
            moved: Moved::Hold,
            mark_dir: None,
            machine_id_file: PathBuf::from("/etc/machine-id"),
        }
    }
}

fn cosigns(key: &VerifierKey) -> bool {
    let kind = key.signature_type();
    matches!(kind, SignatureType::CosignatureV1 | SignatureType::MlDsa44)
}

/// Who is asked about our memory, and how.
#[derive(Debug, Clone)]
pub struct RestoreGuard {
    /// Where our own checkpoints are published.
    pub(super) own: Vec<String>,
    /// Other witnesses.
    pub(super) peers: Vec<(String, Arc<[VerifierKey]>)>,
    /// How long an answer may take.
    pub(super) wait: Duration,
    /// How many must have answered before a log is signed for.
    pub(super) answers_min: usize,
    /// How many logs are asked about each second in the background.
    pub(super) logs_per_second: u32,
    /// What becomes of a log when others are ahead.
    pub(super) ahead: Ahead,
    /// What becomes of a state that was moved.
    pub(super) moved: Moved,
    /// Where names say how far the state went, besides its own folder.
    pub(super) mark_dir: Option<PathBuf>,
    /// What names the machine.
    pub(super) machine_id_file: Option<PathBuf>,
}

impl RestoreGuard {
    /// Whether there is nobody to ask but logs that have a URL.
    pub(super) fn is_off(&self) -> bool {
        self.sources() == 0
    }

    /// How many there are to ask, besides logs that have a URL.
    pub(super) fn sources(&self) -> usize {
        self.own.len() + self.peers.len()
    }
}

impl RawRestoreGuard {
    /// What the table says; what is wrong with it goes to `problems`, and is left out. `path` says
    /// where a path that the file names is.
    pub fn resolve(
        &self,
        path: impl Fn(&Path) -> PathBuf,
        problems: &mut Problems,
    ) -> RestoreGuard {
        let right = "an http or https URL, as https://witness.example.com/w1";
        let is_url = |url: &str| url.starts_with("https://") || url.starts_with("http://");
        for url in &self.own {
            problems.check(is_url(url), "restore_guard.own", url, right);
        }
        let mut peers = Vec::new();
        for peer in &self.peer {
            let url = &peer.monitoring_url;
            problems.check(is_url(url), "restore_guard.peer.monitoring_url", url, right);
            let keys: Vec<VerifierKey> = peer
                .keys
                .iter()
                .filter_map(|key| {
                    let parsed = VerifierKey::parse(key);
                    problems.take("restore_guard.peer.keys", parsed, "vkeys of the witness")
                })
                .collect();
            problems.check(
                !peer.keys.is_empty() && keys.iter().all(cosigns),
                "restore_guard.peer.keys",
                peer.keys.join(" "),
                "one or more vkeys of type 0x04 or 0x06",
            );
            peers.push((url.clone(), keys.into()));
        }
        let wait = self.wait_ms;
        let right = "100 to 10000 milliseconds";
        let holds = (100..=10_000).contains(&wait);
        problems.check(holds, "restore_guard.wait_ms", wait, right);
        let (needed, sources) = (self.answers_min, self.own.len() + self.peer.len());
        let right = format!("at most {sources}, the number of sources in own and peer");
        problems.check(
            needed <= sources,
            "restore_guard.answers_min",
            needed,
            &right,
        );
        let rate = self.logs_per_second;
        let holds = (1..=1_000).contains(&rate);
        problems.check(
            holds,
            "restore_guard.logs_per_second",
            rate,
            "1 to 1000 logs",
        );
        let mark_dir = self.mark_dir.as_deref().map(&path);
        if let Some(dir) = &mark_dir {
            let right = "a folder that is there, best on another disk";
            let (wrong, asked) = (format!("{} is none", dir.display()), dir.clone());
            // Spec: WIT-107. What does not answer may be one; a start says what it is.
            let is_dir = in_time(move || asked.is_dir()).unwrap_or(true);
            problems.check(is_dir, "restore_guard.mark_dir", wrong, right);
        }
        let machine = &self.machine_id_file;
        let named = !machine.as_os_str().is_empty();
        RestoreGuard {
            moved: self.moved,
            mark_dir,
            machine_id_file: named.then(|| path(machine)),
            own: self.own.clone(),
            peers,
            wait: Duration::from_millis(wait),
            answers_min: needed,
            logs_per_second: rate.clamp(1, 1_000),
            ahead: self.ahead,
        }
    }
}
