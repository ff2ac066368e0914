//! Evidence that this witness came across, kept for good, and what it stopped.
//!
//! ```text
//! evidence/                    beside the database; made with the first file
//!   <id: 64 hex digits>.tlog-fork
//!   <id>.<n>.tlog-fork         another copy of the same contradiction (`copies`)
//!   <id>.conviction            the log, or the key of ours, that it stopped
//! ```
//!
//! A request that its log signed and that is refused may be half of a proof: with the checkpoint
//! that we cosigned, it can convict the log. Such a file is verified, minimised and durable before
//! the refusal is told, so that nobody learns of it whom it does not protect yet. A file is never
//! removed here, and replaced only by one that has all its lines and more.
//!
//! What convicts a log stops it: nothing is signed for it any more, across starts. What convicts a
//! cosigner key of ours stops everything that we sign.
//!
//! In scope: the folder and its bounds. Out of scope: what is evidence
//! ([`jurat_proto::evidence`]), telling other witnesses of it.
//!
//! Rows: `spec/witness.md` WIT-120 to WIT-131.

mod convictions;
mod copies;
mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jurat_proto::checkpoint::Origin;
use jurat_proto::evidence::{Evidence, Kind, KnownKeys, Said, Standing, Verdict};
use jurat_proto::hash::Hash;
use jurat_proto::hex;
use jurat_proto::key::{KeyId, KeyName, VerifierKey};
use jurat_proto::note::SignatureLine;
use jurat_store::registry::Log;

use self::convictions::{CONVICTION, Convictions, Stops, read_all};
pub use self::convictions::{Convicted, convicted_logs};
use self::copies::joined;
pub(crate) use self::files::read_bounded;
use self::files::{COPIES_MAX, EVIDENCE, Mark, id_of, named, set_aside, sweep, write};
pub use self::files::{annotate, copy_of, files, notes, read};
use crate::gossip::GossipSettings;
use crate::log_list::LogList;
use crate::metrics::Metrics;

/// The folder's name, beside the database.
const FOLDER: &str = "evidence";

/// How many files of one kind are kept that convict one key for one log. Any two statements suffice
/// to convict; a log that signs a million forks gets no more room. Each kind has room of its own:
/// else a log would sign nonsense about the empty tree, which costs it nothing, before it forks.
// Spec: WIT-121
const KEPT_MAX: usize = 4;
/// How many contradictions wait for a disk that takes no file, in all.
const UNWRITTEN_MAX: usize = 64;

/// Who may be convicted, as far as this witness knows now.
pub trait Jury: fmt::Debug + Send + Sync {
    /// The keys of a log, and those of witnesses.
    fn keys(&self, origin: Option<&Origin>) -> KnownKeys;

    /// The keys with which this witness signs.
    fn own(&self) -> &[VerifierKey];
}

/// The keys of the list of logs, and those of this witness.
#[derive(Debug)]
pub struct Listed {
    /// The list.
    pub logs: Arc<LogList>,
    /// The keys with which this witness cosigns.
    pub cosigners: Vec<VerifierKey>,
    /// Those with which it did before.
    pub former: Vec<VerifierKey>,
    /// With whom it gossips.
    pub gossip: Option<GossipSettings>,
    /// All keys of which a conviction stops us.
    own: Vec<VerifierKey>,
}

impl Listed {
    /// The keys of a list, of a witness that has these, and had those.
    pub fn new(
        logs: Arc<LogList>,
        cosigners: Vec<VerifierKey>,
        former: Vec<VerifierKey>,
        gossip: Option<GossipSettings>,
    ) -> Self {
        let mut own = cosigners.clone();
        own.extend(gossip.as_ref().map(|gossip| gossip.vkey().clone()));
        Self {
            logs,
            cosigners,
            former,
            gossip,
            own,
        }
    }
}

impl Jury for Listed {
    fn keys(&self, origin: Option<&Origin>) -> KnownKeys {
        let mut keys = KnownKeys::new();
        let logs = self.logs.current();
        if let Some(log) = origin.and_then(|origin| logs.log(origin)) {
            add_log_keys(&mut keys, log);
        }
        let ever = [&*self.cosigners, &*self.former].concat();
        for key in &ever {
            // Ours are of types that cosign.
            let _ = keys.add_cosigner(key.clone());
        }
        if let Some(gossip) = &self.gossip {
            // The configuration refuses other types.
            let _ = gossip.add_keys(&mut keys, &ever);
        }
        keys
    }

    fn own(&self) -> &[VerifierKey] {
        &self.own
    }
}

/// Adds the keys of a log as the list of logs has them.
// Spec: WIT-132
pub fn add_log_keys(keys: &mut KnownKeys, log: &Log) {
    for key in &log.keys {
        keys.add_log(log.origin.clone(), key.clone(), Standing::Current);
    }
    for key in &log.retired {
        keys.add_log(log.origin.clone(), key.clone(), Standing::Retired);
    }
}

/// Where evidence is kept.
#[derive(Debug)]
pub struct EvidenceFolder {
    folder: PathBuf,
    jury: Box<dyn Jury>,
    state: Mutex<State>,
    convictions: Convictions,
    /// What is kept, not written, and set aside, for who must not wait for the disk.
    counts: [AtomicUsize; 3],
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    /// What is in the folder, by id.
    kept: BTreeMap<Hash, Kept>,
    /// What is in the folder and is no evidence, or cannot be read: it is told once.
    aside: BTreeMap<PathBuf, Option<Mark>>,
    /// The copies that are in the folder.
    copies: BTreeMap<PathBuf, Option<Mark>>,
    /// What another process brought and nobody was handed yet: seen when something was kept.
    untold: BTreeSet<PathBuf>,
    /// What could not be written yet, and whom it convicts: of one contradiction copies that do not
    /// become one.
    unwritten: BTreeMap<Hash, Vec<(Evidence, Vec<Signer>)>>,
    /// What is stopped and could not be written yet.
    unlatched: BTreeMap<Hash, Stops>,
}

/// A key, as its lines name it.
type Signer = (KeyName, KeyId);

impl State {
    /// Keeps in memory what the disk did not take, if there is room.
    fn wait(&mut self, evidence: Evidence, culprits: Vec<Signer>) {
        let id = evidence.id();
        if self.unwritten.len() >= UNWRITTEN_MAX && !self.unwritten.contains_key(&id) {
            return;
        }
        let waiting = self.unwritten.entry(id).or_default();
        let is_known = waiting.iter().any(|(other, _)| *other == evidence);
        if !is_known && waiting.len() <= COPIES_MAX {
            waiting.push((evidence, culprits));
        }
    }
}

#[derive(Debug)]
struct Kept {
    kind: Kind,
    origin: Option<Origin>,
    /// Whom it convicts. Others may have lines in it, too: they cost nothing to make.
    culprits: Vec<Signer>,
    mark: Option<Mark>,
}

impl Kept {
    /// What convicts nobody whom this witness knows takes nobody's room.
    fn of(evidence: &Evidence, verdict: Option<&Verdict>, mark: Option<Mark>) -> Self {
        Self {
            kind: evidence.kind(),
            origin: evidence.origin().cloned(),
            culprits: verdict.map(culprits).unwrap_or_default(),
            mark,
        }
    }

    fn is_like(&self, evidence: &Evidence) -> bool {
        self.kind == evidence.kind() && self.origin.as_ref() == evidence.origin()
    }
}

fn signer(line: &SignatureLine) -> Signer {
    (line.name().clone(), line.key_id())
}

/// What stands under the name of a contradiction.
enum There {
    Kept(Box<Evidence>),
    /// The system does not say.
    NotKnown,
    Nothing,
}

/// What became of a contradiction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable now.
    Kept,
    /// It was there, and has lines now that it had not.
    Merged,
    /// Another copy was there, and neither accuses all whom both do: both are kept.
    Beside,
    /// It was there already.
    Known,
    /// Enough is kept, or waits for the disk, that convicts the same keys: it is counted.
    Counted,
    /// The disk did not take it. It is tried again, and `/health` says so.
    NotWritten,
}

/// How much there is, for people and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Contradictions that are kept.
    pub kept: usize,
    /// What the disk did not take.
    pub unwritten: usize,
    /// Files in the folder that are no evidence, or cannot be read.
    pub aside: usize,
}

impl EvidenceFolder {
    /// The folder beside a database.
    pub fn beside(database: &Path) -> PathBuf {
        database.with_file_name(FOLDER)
    }

    /// Reads what is in a folder, nothing when it is not there, and takes up what it stopped.
    ///
    /// # Errors
    /// The folder cannot be read: it is not known what is stopped. A file that cannot be read is
    /// set aside.
    // Spec: WIT-126, WIT-128
    pub fn open(folder: PathBuf, metrics: Metrics, jury: impl Jury + 'static) -> io::Result<Self> {
        let this = Self {
            folder,
            jury: Box::new(jury),
            state: Mutex::default(),
            convictions: Convictions::default(),
            counts: Default::default(),
            metrics,
        };
        if let Err(error) = sweep(&this.folder) {
            tracing::warn!(%error, "drafts of evidence are left where they are");
        }
        this.look(drop)?;
        Ok(this)
    }

    /// Takes note of files that another process has put into the folder since, and hands over each:
    /// all of them may be a gigabyte. What is called must not come back here.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn look(&self, news: impl FnMut(Evidence)) -> io::Result<()> {
        let mut state = self.state();
        let looked = self.look_into(&mut state);
        let untold = std::mem::take(&mut state.untold);
        let evidence = untold.iter().filter_map(|path| read(path).ok()?.ok());
        evidence.for_each(news);
        self.show(&state);
        looked
    }

    fn look_into(&self, state: &mut State) -> io::Result<()> {
        let stopped = read_all(&self.folder)?;
        for (id, stops) in stopped.found {
            self.stop(id, &stops);
        }
        for path in stopped.bad {
            Self::aside(state, path, &"it says of nothing that it is stopped");
        }
        for path in files(&self.folder)? {
            let mark = Mark::of(&path);
            let copy = copy_of(&path);
            if copy.is_some() && state.copies.get(&path).is_some_and(|seen| *seen == mark) {
                continue;
            }
            let known = id_of(&path, EVIDENCE).and_then(|id| state.kept.get(&id));
            if known.is_some_and(|known| known.mark == mark)
                || state
                    .aside
                    .get(&path)
                    .is_some_and(|seen| mark.is_some() && *seen == mark)
            {
                continue;
            }
            let evidence = match read(&path) {
                Ok(Ok(evidence)) => evidence,
                // Spec: WIT-126
                Ok(Err(error)) => {
                    Self::aside(state, path, &error);
                    continue;
                }
                Err(error) => {
                    Self::aside(state, path, &error);
                    continue;
                }
            };
            if copy.is_some_and(|(id, _)| id != evidence.id()) {
                Self::aside(state, path, &"it is of another contradiction");
                continue;
            }
            state.aside.remove(&path);
            // Spec: WIT-128. Kept evidence stops what it stops by the keys that are known now.
            let verdict = evidence.verify(&self.jury.keys(evidence.origin())).ok();
            state.untold.insert(path.clone());
            if copy.is_some() {
                // Spec: GSP-143
                state.copies.insert(path, mark);
            } else {
                let kept = Kept::of(&evidence, verdict.as_ref(), mark);
                state.kept.insert(evidence.id(), kept);
            }
            if let Some(verdict) = verdict {
                self.take_effect(state, &verdict);
            }
        }
        Ok(())
    }

    fn aside(state: &mut State, path: PathBuf, why: &dyn fmt::Display) {
        let mark = Mark::of(&path);
        if !state.aside.contains_key(&path) {
            tracing::error!(path = %path.display(), %why, "a file beside evidence is set aside");
        }
        state.aside.insert(path, mark);
    }

    fn take_effect(&self, state: &mut State, verdict: &Verdict) {
        let stops = Stops::by(verdict, self.jury.own());
        self.stop(verdict.id, &stops);
        // Once: more evidence stops nothing more.
        let path = named(&self.folder, &verdict.id, CONVICTION);
        if self.convictions.is_by(verdict.id, &stops) && !path.exists() {
            self.latch(state, verdict.id, stops);
        }
    }

    fn stop(&self, id: Hash, stops: &Stops) {
        if self.convictions.stop(id, stops, self.jury.own()) {
            let id = hex::encode(id.as_bytes());
            tracing::error!(%id, "evidence stops what it convicts; nothing is signed for it");
        }
    }

    fn latch(&self, state: &mut State, id: Hash, stops: Stops) {
        let Some(bytes) = stops.to_bytes() else {
            return;
        };
        if let Err(error) = write(&self.folder, &id, CONVICTION, &bytes) {
            tracing::error!(%error, "what is stopped was not written; it is tried again");
            state.unlatched.insert(id, stops);
        }
    }

    /// How much there is. Never waits for a disk.
    pub fn counts(&self) -> Counts {
        let [kept, unwritten, aside] = &self.counts;
        let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        Counts {
            kept: count(kept),
            unwritten: count(unwritten),
            aside: count(aside),
        }
    }

    /// Why nothing is signed for a log any more, if that is so. `nonsense_stops` says whether a
    /// signed root hash of nothing that is not one counts. Never waits for a disk.
    // Spec: WIT-128, WIT-130
    pub fn convicted(&self, origin: &Origin, nonsense_stops: bool) -> Option<Convicted> {
        self.convictions.of(origin, nonsense_stops)
    }

    /// The evidence that stops all that this witness signs.
    // Spec: WIT-131
    pub fn convicts_us(&self) -> Option<Hash> {
        self.convictions.ours()
    }

    /// Stops a log for evidence that is not durable yet.
    pub(crate) fn stop_log(&self, origin: &Origin, id: Hash) {
        let stops = Stops::of_log(origin.clone());
        self.stop(id, &stops);
    }

    /// Hands over all that is kept and can be read, one after the other, copies last.
    // Spec: GSP-143
    pub(crate) fn each(&self, take: impl FnMut(Evidence)) {
        let paths: Vec<PathBuf> = {
            let state = self.state();
            let first = state.kept.keys();
            let first = first.map(|id| named(&self.folder, id, EVIDENCE));
            first.chain(state.copies.keys().cloned()).collect()
        };
        let read = |path: &PathBuf| read(path).ok()?.ok();
        paths.iter().filter_map(read).for_each(take);
    }

    /// The logs that it is about.
    pub(crate) fn origins(&self) -> BTreeSet<Origin> {
        let state = self.state();
        let kept = state.kept.values();
        kept.filter_map(|kept| kept.origin.clone()).collect()
    }

    /// How many logs are stopped, and up to `most` of them with the evidence.
    pub fn convicted_logs(&self, most: usize) -> (usize, Vec<(Origin, Hash)>) {
        (self.convictions.count(), self.convictions.first(most))
    }

    /// Keeps evidence, if it convicts anybody whom this witness knows: what it convicts of, and
    /// what became of it. Blocks until it is durable. What it stops is stopped then.
    // Spec: WIT-120, WIT-128
    pub fn keep(&self, evidence: &Evidence) -> Option<(Verdict, Outcome)> {
        let kept = self.store(evidence);
        if let Some((verdict, outcome)) = &kept {
            self.metrics.evidence_found(verdict.kind, *outcome);
        }
        kept
    }

    /// As [`Self::keep`], for gossip, which stores again what this process found: that is counted
    /// once.
    pub(crate) fn keep_told(&self, evidence: &Evidence) -> Option<(Verdict, Outcome)> {
        let kept = self.store(evidence);
        if let Some((
            verdict,
            outcome @ (Outcome::Kept | Outcome::Merged | Outcome::Beside | Outcome::Counted),
        )) = &kept
        {
            self.metrics.evidence_found(verdict.kind, *outcome);
        }
        kept
    }

    fn store(&self, evidence: &Evidence) -> Option<(Verdict, Outcome)> {
        let keys = self.jury.keys(evidence.origin());
        let (smallest, verdict) = evidence.minimised(&keys).ok()?;
        if !verdict.convicts() {
            return None;
        }
        let outcome = {
            let mut state = self.state();
            if let Err(error) = self.look_into(&mut state) {
                tracing::warn!(%error, "the folder of evidence cannot be read");
            }
            let outcome = self.insert(&mut state, smallest, culprits(&verdict), &keys);
            // Whatever became of the file.
            self.take_effect(&mut state, &verdict);
            self.show(&state);
            outcome
        };
        Some((verdict, outcome))
    }

    /// Tries again to write what could not be written.
    // Spec: WIT-123
    pub fn retry(&self) {
        let mut state = self.state();
        let unwritten = std::mem::take(&mut state.unwritten);
        for (evidence, culprits) in unwritten.into_values().flatten() {
            let keys = self.jury.keys(evidence.origin());
            self.insert(&mut state, evidence, culprits, &keys);
        }
        for (id, stops) in std::mem::take(&mut state.unlatched) {
            self.latch(&mut state, id, stops);
        }
        self.show(&state);
    }

    // Spec: WIT-121
    fn insert(
        &self,
        state: &mut State,
        evidence: Evidence,
        culprits: Vec<Signer>,
        keys: &KnownKeys,
    ) -> Outcome {
        let id = evidence.id();
        // What waits for the disk already may have lines that this has not.
        let (mut evidence, mut culprits) = (evidence, culprits);
        let waiting = state.unwritten.remove(&id).unwrap_or_default();
        for (waits, whom) in waiting {
            match joined(&waits, &evidence, keys) {
                Some((merged, verdict)) => {
                    (evidence, culprits) = (merged, self::culprits(&verdict));
                }
                None => state.wait(waits, whom),
            }
        }
        let path = named(&self.folder, &id, EVIDENCE);
        match Self::there(state, &id, &path, keys) {
            There::Kept(kept) => return self.merge(state, &kept, &evidence, keys),
            There::NotKnown => {
                state.wait(evidence, culprits);
                return Outcome::NotWritten;
            }
            There::Nothing => {}
        }
        // Only whom it convicts counts: lines of strangers cost nothing to make.
        let full = |culprit: &Signer| {
            let kept = state.kept.values();
            let kept = kept.filter(|kept| kept.is_like(&evidence));
            let kept = kept.filter(|kept| kept.culprits.contains(culprit));
            // What waits for the disk counts, too: one log must not take all the places there.
            let waiting = state.unwritten.iter().filter(|(other, _)| **other != id);
            let waiting = waiting.filter(|(_, copies)| {
                let mut copies = copies.iter();
                copies.any(|(other, culprits)| {
                    let is_like = other.kind() == evidence.kind();
                    is_like && other.origin() == evidence.origin() && culprits.contains(culprit)
                })
            });
            kept.count() + waiting.count() >= KEPT_MAX
        };
        if culprits.iter().all(full) {
            return Outcome::Counted;
        }
        // Spec: WIT-126
        let room = match state.aside.remove(&path) {
            Some(_) => set_aside(&path),
            None => Ok(()),
        };
        match room.and_then(|()| write(&self.folder, &id, EVIDENCE, &evidence.to_bytes())) {
            Ok(()) => {
                let kept = Kept {
                    kind: evidence.kind(),
                    origin: evidence.origin().cloned(),
                    culprits,
                    mark: Mark::of(&path),
                };
                state.kept.insert(id, kept);
                Outcome::Kept
            }
            Err(error) => {
                tracing::error!(%error, "evidence was not written; it is tried again");
                state.wait(evidence, culprits);
                Outcome::NotWritten
            }
        }
    }

    /// What stands under the name of an id, if anything is known to.
    // Spec: EVI-60, WIT-126
    fn there(state: &mut State, id: &Hash, path: &Path, keys: &KnownKeys) -> There {
        if !state.kept.contains_key(id) && !state.aside.contains_key(path) {
            return There::Nothing;
        }
        match read(path) {
            Ok(Ok(kept)) if kept.id() == *id => {
                if state.aside.remove(path).is_some() {
                    let verdict = kept.verify(keys).ok();
                    let known = Kept::of(&kept, verdict.as_ref(), Mark::of(path));
                    state.kept.insert(*id, known);
                }
                return There::Kept(Box::new(kept));
            }
            // It may be what it was when the disk answers again: what comes is merged with it then.
            Err(error) if files::passes(&error) => {
                tracing::error!(%error, "kept evidence cannot be read; it is tried again");
                return There::NotKnown;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                state.aside.remove(path);
            }
            // What was good has gone bad: what comes takes its place.
            Ok(Ok(_)) => Self::aside(state, path.to_owned(), &"it is of another contradiction"),
            Ok(Err(error)) => Self::aside(state, path.to_owned(), &error),
            Err(error) => Self::aside(state, path.to_owned(), &error),
        }
        state.kept.remove(id);
        There::Nothing
    }

    /// Adds to a kept file what another of the same contradiction has more.
    // Spec: EVI-53, WIT-121
    fn merge(
        &self,
        state: &mut State,
        kept: &Evidence,
        evidence: &Evidence,
        keys: &KnownKeys,
    ) -> Outcome {
        let Some((merged, verdict)) = joined(kept, evidence, keys) else {
            return self.keep_beside(state, kept, evidence, keys);
        };
        if merged == *kept {
            return Outcome::Known;
        }
        if !has_all_of(&merged, kept) {
            return self.keep_beside(state, kept, evidence, keys);
        }
        let id = merged.id();
        if let Err(error) = write(&self.folder, &id, EVIDENCE, &merged.to_bytes()) {
            tracing::error!(%error, "more of evidence was not written; it is tried again");
            state.wait(merged, culprits(&verdict));
            return Outcome::NotWritten;
        }
        let mark = Mark::of(&named(&self.folder, &id, EVIDENCE));
        state
            .kept
            .insert(id, Kept::of(&merged, Some(&verdict), mark));
        self.take_effect(state, &verdict);
        Outcome::Merged
    }

    fn show(&self, state: &State) {
        let unwritten: usize = state.unwritten.values().map(Vec::len).sum();
        let unwritten = unwritten + state.unlatched.len();
        let counts = [state.kept.len(), unwritten, state.aside.len()];
        for (shown, count) in self.counts.iter().zip(counts) {
            shown.store(count, Ordering::Relaxed);
        }
        let (logs, ours) = (self.convictions.count(), self.convicts_us().is_some());
        self.metrics.evidence_kept(self.counts(), logs, ours);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked with it left maps that are whole: each change is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether each key that has a line under a statement of one has it in the other, too.
fn has_all_of(merged: &Evidence, kept: &Evidence) -> bool {
    let sides = |evidence: &Evidence| {
        let (a, b) = evidence.statements();
        let signers = |said: Said<'_>| said.signatures().iter().map(signer).collect();
        let sides: [Vec<Signer>; 2] = [signers(a), b.map(signers).unwrap_or_default()];
        sides
    };
    let (merged, kept) = (sides(merged), sides(kept));
    let mut pairs = merged.iter().zip(&kept);
    pairs.all(|(merged, kept)| kept.iter().all(|signer| merged.contains(signer)))
}

/// The keys that are convicted, or that convict their log between them.
fn culprits(verdict: &Verdict) -> Vec<Signer> {
    let keys = verdict.accused();
    keys.map(|key| (key.name().clone(), key.key_id())).collect()
}
