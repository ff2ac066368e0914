//! Evidence that this witness came across, kept for good.
//!
//! ```text
//! evidence/                    beside the database; made with the first file
//!   <id: 64 hex digits>.tlog-fork
//! ```
//!
//! A request that its log signed and that is refused may be half of a proof: with the checkpoint
//! that we cosigned, it can convict the log. Such a file is verified, minimised and durable before
//! the refusal is told, so that nobody learns of it whom it does not protect yet. A file is never
//! changed or removed here.
//!
//! In scope: the folder and its bounds. Out of scope: what is evidence
//! ([`jurat_proto::evidence`]), telling other witnesses of it.
//!
//! Rows: `spec/witness.md` WIT-120 to WIT-124.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jurat_proto::checkpoint::Origin;
use jurat_proto::evidence::{
    EVIDENCE_BYTES_MAX, Evidence, Kind, KnownKeys, LogFinding, ParseError, Verdict,
};
use jurat_proto::hash::Hash;
use jurat_proto::hex;
use jurat_proto::key::{KeyId, KeyName};

use crate::metrics::Metrics;

/// The folder's name, beside the database.
const FOLDER: &str = "evidence";
/// How the names of files end.
const SUFFIX: &str = ".tlog-fork";

/// How many files of one kind are kept that convict one key for one log. Any two statements suffice
/// to convict; a log that signs a million forks gets no more room. Each kind has room of its own:
/// else a log would sign nonsense about the empty tree, which costs it nothing, before it forks.
// Spec: WIT-121
const KEPT_MAX: usize = 4;
/// How many contradictions wait for a disk that takes no file, in all.
const UNWRITTEN_MAX: usize = 64;

/// Where evidence is kept.
#[derive(Debug)]
pub struct EvidenceFolder {
    folder: PathBuf,
    state: Mutex<State>,
    /// What is kept and what is not written, for who must not wait for the disk.
    counts: [AtomicUsize; 2],
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    /// What is in the folder, by id.
    kept: BTreeMap<Hash, Kept>,
    /// What is in the folder and is no evidence: it is told once.
    foreign: BTreeSet<PathBuf>,
    /// What could not be written yet, and whom it convicts.
    unwritten: BTreeMap<Hash, (Evidence, Vec<Signer>)>,
}

/// A key, as its lines name it.
type Signer = (KeyName, KeyId);

#[derive(Debug)]
struct Kept {
    kind: Kind,
    origin: Option<Origin>,
    /// The keys with lines under either statement: whom it convicts, and perhaps strangers.
    signers: Vec<Signer>,
}

impl Kept {
    fn of(evidence: &Evidence) -> Self {
        let (a, b) = evidence.statements();
        let lines = [Some(a), b].into_iter().flatten();
        let lines = lines.flat_map(|said| said.signatures());
        Self {
            kind: evidence.kind(),
            origin: evidence.origin().cloned(),
            signers: lines
                .map(|line| (line.name().clone(), line.key_id()))
                .collect(),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind && self.origin == other.origin
    }
}

/// What became of a contradiction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable now.
    Kept,
    /// It was there already.
    Known,
    /// Enough is kept, or waits for the disk, that convicts the same keys: it is counted.
    Counted,
    /// The disk did not take it. It is tried again, and `/health` says so.
    NotWritten,
}

impl EvidenceFolder {
    /// The folder beside a database.
    pub fn beside(database: &Path) -> PathBuf {
        database.with_file_name(FOLDER)
    }

    /// Reads what is in a folder; nothing when it is not there.
    ///
    /// # Errors
    /// The folder, or a file of it, cannot be read. A file that is no evidence is not ours, and is
    /// left alone.
    pub fn open(folder: PathBuf, metrics: Metrics) -> io::Result<Self> {
        let this = Self {
            folder,
            state: Mutex::default(),
            counts: Default::default(),
            metrics,
        };
        this.look()?;
        Ok(this)
    }

    /// Takes note of files that another process has put into the folder since.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn look(&self) -> io::Result<()> {
        let mut state = self.state();
        let looked = self.look_into(&mut state);
        self.show(&state);
        looked
    }

    fn look_into(&self, state: &mut State) -> io::Result<()> {
        for path in files(&self.folder)? {
            let known = id_of(&path).is_some_and(|id| state.kept.contains_key(&id));
            if known || state.foreign.contains(&path) {
                continue;
            }
            match read(&path)? {
                Ok(evidence) => {
                    state.kept.insert(evidence.id(), Kept::of(&evidence));
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "not evidence");
                    state.foreign.insert(path);
                }
            }
        }
        Ok(())
    }

    /// How many contradictions are kept, and how many could not be written. Never waits for a disk.
    pub fn counts(&self) -> (usize, usize) {
        let [kept, unwritten] = &self.counts;
        (
            kept.load(Ordering::Relaxed),
            unwritten.load(Ordering::Relaxed),
        )
    }

    /// Keeps evidence, if it convicts anybody under these keys: what it convicts of, and what
    /// became of it. Blocks until it is durable.
    // Spec: WIT-120
    pub fn keep(&self, evidence: &Evidence, keys: &KnownKeys) -> Option<(Verdict, Outcome)> {
        let (smallest, verdict) = evidence.minimised(keys).ok()?;
        if !verdict.convicts() {
            return None;
        }
        let outcome = {
            let mut state = self.state();
            if let Err(error) = self.look_into(&mut state) {
                tracing::warn!(%error, "the folder of evidence cannot be read");
            }
            let outcome = self.insert(&mut state, smallest, culprits(&verdict));
            self.show(&state);
            outcome
        };
        self.metrics.evidence_found(verdict.kind, outcome);
        Some((verdict, outcome))
    }

    /// Tries again to write what could not be written.
    // Spec: WIT-123
    pub fn retry(&self) {
        let mut state = self.state();
        let waiting = std::mem::take(&mut state.unwritten);
        for (evidence, culprits) in waiting.into_values() {
            self.insert(&mut state, evidence, culprits);
        }
        self.show(&state);
    }

    // Spec: WIT-121
    fn insert(&self, state: &mut State, evidence: Evidence, culprits: Vec<Signer>) -> Outcome {
        let id = evidence.id();
        if state.kept.contains_key(&id) {
            return Outcome::Known;
        }
        let new = Kept::of(&evidence);
        // Only whom it convicts counts: lines of strangers cost nothing to make.
        let full = |culprit: &Signer| {
            let kept = state.kept.values();
            let kept = kept.filter(|kept| kept.is_like(&new) && kept.signers.contains(culprit));
            // What waits for the disk counts, too: one log must not take all the places there.
            let waiting = state.unwritten.iter();
            let waiting = waiting.filter(|(other, (evidence, culprits))| {
                **other != id && culprits.contains(culprit) && Kept::of(evidence).is_like(&new)
            });
            kept.count() + waiting.count() >= KEPT_MAX
        };
        if culprits.iter().all(full) {
            return Outcome::Counted;
        }
        match self.write(&id, &evidence) {
            Ok(()) => {
                state.kept.insert(id, new);
                Outcome::Kept
            }
            Err(error) => {
                tracing::error!(%error, "evidence was not written; it is tried again");
                if state.unwritten.len() < UNWRITTEN_MAX {
                    state.unwritten.insert(id, (evidence, culprits));
                }
                Outcome::NotWritten
            }
        }
    }

    /// A file appears whole or not at all: it is durable under another name first.
    // Spec: WIT-120
    fn write(&self, id: &Hash, evidence: &Evidence) -> io::Result<()> {
        if !self.folder.is_dir() {
            fs::create_dir(&self.folder)?;
        }
        // Each time: whoever made the folder may have died before its name was durable.
        let parent = self.folder.parent();
        let parent = parent.filter(|path| !path.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        let name = hex::encode(id.as_bytes());
        // A command may write the same at the same time.
        let draft = format!(".{name}.{}.draft", std::process::id());
        let draft = self.folder.join(draft);
        let written = write_file(&draft, &evidence.to_bytes())
            .and_then(|()| fs::rename(&draft, self.folder.join(name + SUFFIX)));
        if let Err(error) = written {
            // What a full disk took of it would keep the disk full, once for each fork.
            let _ = fs::remove_file(&draft);
            return Err(error);
        }
        File::open(&self.folder)?.sync_all()
    }

    fn show(&self, state: &State) {
        let counts = [state.kept.len(), state.unwritten.len()];
        for (shown, count) in self.counts.iter().zip(counts) {
            shown.store(count, Ordering::Relaxed);
        }
        let [kept, unwritten] = counts;
        self.metrics.evidence_kept(kept, unwritten);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked with it left maps that are whole: each change is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The keys that are convicted, or that convict their log between them.
fn culprits(verdict: &Verdict) -> Vec<Signer> {
    let guilty = verdict.guilty.iter().map(|guilty| &guilty.key);
    let across = match &verdict.log {
        LogFinding::AcrossKeys { keys } => &keys[..],
        LogFinding::NotShown | LogFinding::Guilty | LogFinding::Undetermined { .. } => &[],
    };
    let keys = guilty.chain(across);
    keys.map(|key| (key.name().clone(), key.key_id())).collect()
}

/// The files of a folder, by name; none when there is no folder.
///
/// # Errors
/// The folder cannot be read.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.ends_with(SUFFIX) && !name.starts_with('.')) {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// The id in the name of a file.
fn id_of(path: &Path) -> Option<Hash> {
    let name = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
    Hash::from_slice(&hex::decode(name).ok()?)
}

/// Reads a file, of the folder or not.
///
/// # Errors
/// The file cannot be read; within, it is no evidence.
pub fn read(path: &Path) -> io::Result<Result<Evidence, ParseError>> {
    let bytes_max = u64::try_from(EVIDENCE_BYTES_MAX).unwrap_or(u64::MAX);
    if fs::metadata(path)?.len() > bytes_max {
        // The parser says that it is too long without that all of it is read.
        let bytes = vec![0; EVIDENCE_BYTES_MAX + 1];
        return Ok(Evidence::parse(&bytes));
    }
    Ok(Evidence::parse(&fs::read(path)?))
}
