//! What evidence stopped, for good: logs, and this witness itself.
//!
//! ```text
//! <id>.conviction
//!   jurat/conviction@v0
//!   log example.com/log             the log that is not cosigned any more
//!   key example.com/w1+1a2b3c4d+BA… a cosigner key of ours that is convicted
//! ```
//!
//! A conviction is in force at once and durable soon after; until then the evidence, which is
//! durable before anything is told, makes it again after a start. It lasts when the keys that it
//! was found with change their standing later: what a log did with a key is not undone by its
//! having done with the key. Of our own keys it lasts as long as we have the key.
//!
//! Rows: `spec/witness.md` WIT-128 to WIT-131.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};

use jurat_proto::checkpoint::Origin;
use jurat_proto::evidence::{Kind, LogFinding, Role, Verdict};
use jurat_proto::hash::Hash;
use jurat_proto::hex;
use jurat_proto::key::VerifierKey;

use super::files::{id_of, read_bounded, with_suffix};

/// How the names of files that say so end.
pub(super) const CONVICTION: &str = ".conviction";
const FORMAT: &str = "jurat/conviction@v0";
/// An origin and the keys that a witness may have.
const BYTES_MAX: usize = 256 * 1024;

/// Why nothing is signed for a log any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Convicted {
    /// The log is convicted. Its operator is at fault, or whoever has its key.
    #[error(
        "this log signed what cannot be true together, and is not cosigned any more; evidence {}",
        hex::encode(.0.as_bytes())
    )]
    Log(Hash),
    /// A key of this witness is convicted. Its operator has to say how.
    #[error(
        "this witness signed what cannot be true together, and signs nothing any more; \
         evidence {}",
        hex::encode(.0.as_bytes())
    )]
    Ours(Hash),
}

/// What a piece of evidence stops.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stops {
    log: Option<Origin>,
    ours: Vec<VerifierKey>,
    /// A log that signed nonsense: that stops it where the list of logs says so.
    nonsense: Option<Origin>,
}

impl Stops {
    // Spec: WIT-128, WIT-130, WIT-131
    pub(super) fn by(verdict: &Verdict, own: &[VerifierKey]) -> Self {
        let origin = verdict.origin.clone();
        let nonsense = verdict.kind == Kind::Empty && verdict.log == LogFinding::Guilty;
        let guilty = verdict.guilty.iter();
        let ours = guilty.filter(|guilty| guilty.role != Role::Log && has(own, &guilty.key));
        Self {
            log: origin.clone().filter(|_| verdict.convicts_log()),
            ours: ours.map(|guilty| guilty.key.clone()).collect(),
            nonsense: origin.filter(|_| nonsense),
        }
    }

    pub(super) fn of_log(origin: Origin) -> Self {
        Self {
            log: Some(origin),
            ..Self::default()
        }
    }

    /// The file that says so, if it is for good.
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut text = format!("{FORMAT}\n");
        let head = text.len();
        if let Some(origin) = &self.log {
            let _ = writeln!(text, "log {origin}");
        }
        for key in &self.ours {
            let _ = writeln!(text, "key {key}");
        }
        (text.len() > head).then(|| text.into_bytes())
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
        let mut lines = text.split('\n');
        if lines.next() != Some(FORMAT) {
            return None;
        }
        let mut stops = Self::default();
        for line in lines {
            match line.split_once(' ')? {
                ("log", origin) if stops.log.is_none() => stops.log = Some(origin.parse().ok()?),
                ("key", vkey) => stops.ours.push(VerifierKey::parse(vkey).ok()?),
                _ => return None,
            }
        }
        Some(stops)
    }
}

fn has(keys: &[VerifierKey], key: &VerifierKey) -> bool {
    let bytes = key.public_key_bytes();
    keys.iter().any(|own| own.public_key_bytes() == bytes)
}

/// What is stopped, in memory. Nothing is ever taken out.
#[derive(Debug, Default)]
pub(super) struct Convictions {
    logs: RwLock<BTreeMap<Origin, Hash>>,
    /// How many those are, to be looked at without the lock: there are hardly ever any.
    count: AtomicUsize,
    nonsense: RwLock<BTreeMap<Origin, Hash>>,
    ours: OnceLock<Hash>,
}

impl Convictions {
    /// Why a log is stopped, if it is. The list of logs says whether nonsense stops it.
    pub(super) fn of(&self, origin: &Origin, nonsense_stops: bool) -> Option<Convicted> {
        if let Some(id) = self.ours.get() {
            return Some(Convicted::Ours(*id));
        }
        let find = |logs: &RwLock<BTreeMap<Origin, Hash>>| {
            // A map that a panic left poisoned is whole: an insert is one step.
            let logs = logs.read().unwrap_or_else(PoisonError::into_inner);
            logs.get(origin).copied()
        };
        let mut id = None;
        if self.count.load(Ordering::Acquire) > 0 {
            id = find(&self.logs);
        }
        if id.is_none() && nonsense_stops {
            id = find(&self.nonsense);
        }
        id.map(Convicted::Log)
    }

    pub(super) fn ours(&self) -> Option<Hash> {
        self.ours.get().copied()
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Up to `most` logs that are stopped, and by what.
    pub(super) fn first(&self, most: usize) -> Vec<(Origin, Hash)> {
        let logs = self.logs.read().unwrap_or_else(PoisonError::into_inner);
        let first = logs.iter().take(most);
        first.map(|(origin, id)| (origin.clone(), *id)).collect()
    }

    /// Whether it is this evidence that stops what it stops.
    pub(super) fn is_by(&self, id: Hash, stops: &Stops) -> bool {
        let logs = self.logs.read().unwrap_or_else(PoisonError::into_inner);
        let by = |origin: &Origin| logs.get(origin) == Some(&id);
        stops.log.as_ref().is_some_and(by) || self.ours.get() == Some(&id)
    }

    /// Takes effect at once. Says whether anything was not stopped before.
    pub(super) fn stop(&self, id: Hash, stops: &Stops, own: &[VerifierKey]) -> bool {
        let insert = |logs: &RwLock<BTreeMap<Origin, Hash>>, origin: &Origin| {
            let mut logs = logs.write().unwrap_or_else(PoisonError::into_inner);
            let new = !logs.contains_key(origin);
            logs.entry(origin.clone()).or_insert(id);
            (new, logs.len())
        };
        let mut news = false;
        if let Some(origin) = &stops.log {
            let (new, count) = insert(&self.logs, origin);
            self.count.store(count, Ordering::Release);
            news |= new;
        }
        if let Some(origin) = &stops.nonsense {
            insert(&self.nonsense, origin);
        }
        if stops.ours.iter().any(|key| has(own, key)) {
            news |= self.ours.set(id).is_ok();
        }
        news
    }
}

/// What files of a folder say is stopped, by id; and those that do not say it as they should.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn read_all(folder: &Path) -> io::Result<Read> {
    let mut read = Read::default();
    for path in with_suffix(folder, CONVICTION)? {
        let stops = read_bounded(&path, BYTES_MAX).ok();
        let stops = stops.and_then(|bytes| Stops::parse(&bytes));
        match id_of(&path, CONVICTION).zip(stops) {
            Some(conviction) => read.found.push(conviction),
            None => read.bad.push(path),
        }
    }
    Ok(read)
}

/// What stands in a folder.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// What is stopped, by which evidence.
    pub(super) found: Vec<(Hash, Stops)>,
    /// The files that do not say it as they should.
    pub(super) bad: Vec<PathBuf>,
}

/// The logs that are stopped, as far as a folder says so: for commands.
///
/// # Errors
/// The folder cannot be read.
pub fn convicted_logs(folder: &Path) -> io::Result<BTreeMap<Origin, Hash>> {
    let found = read_all(folder)?.found;
    let logs = found
        .into_iter()
        .filter_map(|(id, stops)| Some((stops.log?, id)));
    Ok(logs.collect())
}
