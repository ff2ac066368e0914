//! The list of logs that may anchor: one TOML file, shared by service and witness.
//!
//! ```toml
//! [[log]]
//! origin = "example.com/log"
//! keys = ["example.com/log+c5b49d6d+AUx…"]   # vkeys; a checkpoint by any of them is the log's
//! state = "active"                           # or "disabled": known, and refused
//! qpd = 86400                                # optional: requests a day that it may make
//! contact = "ops@example.com"                # optional
//! source = "https://lists.example/log-list"  # optional: the list that it came from
//! added = 1790000000                         # optional: when, in seconds since 1970
//! reason = "it forked"                       # optional: why it is disabled
//! url = "https://log.example.com/checkpoint" # optional: where the log shows its checkpoint
//! retired = ["example.com/log+0b1a2c3d+AUy…"] # optional: keys that it signed with before
//! empty_stops = true                         # optional: a witness stops for nonsense, too
//! suspect_holds = false                      # optional: whether a suspect head holds it
//! cadence_s = 3600                           # optional: how often it promised a checkpoint
//! pruned_below = 1048576                     # optional: below this size it has no tiles
//! [log.hold]                                 # set by a witness: see [`Hold`]
//! [[log.dismissed]]                          # what the operator said of former holds
//! ```
//!
//! In scope: reading it strictly, and changing it so that a crash leaves the old list or the new
//! one, with two changers taking turns. A log is never forgotten: it can be disabled, get more
//! keys, and have done with some, but neither a log nor a key is ever taken out. Out of scope:
//! whether a log's checkpoints
//! are good, and when a running process reads the file again.
//!
//! Comments in the file do not survive a change; the file is not the place for them.

mod pieces;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::num::{NonZeroU32, NonZeroU64};
use std::ops::Bound;
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use jurat_proto::checkpoint::Origin;
use jurat_proto::key::VerifierKey;
use jurat_proto::log_list::is_control;

/// The logs that are known, by origin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registry {
    logs: BTreeMap<Origin, Log>,
}

/// A log that is known. There may be a hundred thousand: what is empty for almost all of them has
/// no room to grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The first line of its checkpoints.
    pub origin: Origin,
    /// The keys that it signs with. Never empty, no key twice.
    pub keys: Box<[VerifierKey]>,
    /// The keys that it signed with before. What they sign now is not accepted: it may be by
    /// whoever got hold of them. None of them is one of the others.
    pub retired: Box<[VerifierKey]>,
    /// Whether its checkpoints are accepted.
    pub state: LogState,
    /// How many add-checkpoint requests it may make a day, where a bound of its own was set.
    pub qpd: Option<NonZeroU32>,
    /// How to reach its operator; for people.
    pub contact: Option<String>,
    /// Which list it came from; nothing when the operator added it.
    pub source: Option<String>,
    /// When it was added, in seconds since 1970, if that is known.
    pub added: Option<u64>,
    /// Why it is disabled, if somebody said so.
    pub reason: Option<String>,
    /// Where the log itself shows its newest checkpoint, an `http` or `https` URL.
    pub url: Option<String>,
    /// Whether a witness stops cosigning it when it signed nonsense about the empty tree.
    pub empty_stops: bool,
    /// Whether a witness that gossips cosigns it no more while nobody can join a head that it
    /// signed to the others; where nothing is said, the witness's configuration says.
    pub suspect_holds: Option<bool>,
    /// How often, in seconds, it promised a new checkpoint.
    pub cadence_s: Option<NonZeroU32>,
    /// Below this size of its tree it has pruned its tiles.
    pub pruned_below: Option<NonZeroU64>,
    /// Why nothing is signed for it until its operator decides.
    pub hold: Option<Box<Hold>>,
    /// Evidence that the operator judged and put aside; it holds the log no more.
    pub dismissed: Box<[Dismissed]>,
}

impl Log {
    /// A log of which no more is known.
    pub fn new(origin: Origin, keys: Vec<VerifierKey>, state: LogState) -> Self {
        Self {
            origin,
            keys: keys.into(),
            retired: Box::default(),
            empty_stops: false,
            suspect_holds: None,
            cadence_s: None,
            pruned_below: None,
            state,
            qpd: None,
            contact: None,
            source: None,
            added: None,
            reason: None,
            url: None,
            hold: None,
            dismissed: Box::default(),
        }
    }

    /// The keys that it signs with, and those that it signed with before.
    pub fn every_key(&self) -> Vec<VerifierKey> {
        self.keys.iter().chain(&self.retired).cloned().collect()
    }

    /// What it is held for, and all that this stands above.
    pub fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.hold.iter().flat_map(|hold| hold.all())
    }

    /// What its operator has to decide about.
    pub fn decision(&self) -> Option<&Hold> {
        let mut holds = self.holds();
        holds.find(|hold| hold.cause != HoldCause::Imported)
    }

    /// Whether it is held until its operator decides.
    pub fn awaits_decision(&self) -> bool {
        self.decision().is_some()
    }

    /// The imported heads of it that are not reached, whatever stands above them.
    pub fn imported(&self) -> impl Iterator<Item = &Hold> {
        self.holds()
            .filter(|hold| hold.cause == HoldCause::Imported)
    }

    /// Whether there is any.
    pub fn has_imported(&self) -> bool {
        self.imported().next().is_some()
    }

    /// Takes back what it was held for and is no more: what awaits a decision stands above.
    fn keep_hold(&mut self, was: &Self) {
        let mut imported: Vec<Hold> = self.imported().cloned().collect();
        for was in was.imported() {
            if !imported.iter().any(|now| now.evidence == was.evidence) {
                imported.push(was.clone());
            }
        }
        let decision = self.decision().or_else(|| was.decision());
        let all: Vec<Hold> = decision.cloned().into_iter().chain(imported).collect();
        self.hold = stack(all);
    }

    /// How many bytes it takes in the file, at most.
    fn bytes_max(&self) -> usize {
        let hold = self.hold.as_ref().map_or(0, |hold| hold.bytes_max());
        let dismissed = self.dismissed.iter().map(|dismissed| {
            LOG_BYTES + written_bytes(&dismissed.evidence) + written_bytes(&dismissed.reason)
        });
        let texts = [&self.contact, &self.source, &self.reason, &self.url];
        let texts = texts.into_iter().flatten().map(|text| written_bytes(text));
        let keys = self.keys.iter().chain(&self.retired);
        let keys = keys.map(|key| key.to_string().len() + 4);
        LOG_BYTES
            + written_bytes(self.origin.as_str())
            + hold
            + dismissed.chain(texts).chain(keys).sum::<usize>()
    }
}

/// Holds that stand upon each other, the first one uppermost.
fn stack(holds: Vec<Hold>) -> Option<Box<Hold>> {
    let mut below = None;
    for hold in holds.into_iter().rev() {
        below = Some(Box::new(Hold { below, ..hold }));
    }
    below
}

/// More imported heads than this do not wait for one log. Each costs it a request, and the list
/// some hundred bytes.
// Spec: GSP-212
pub const IMPORTED_MAX: usize = 8;

/// What the file has beside the texts of a log.
const LOG_BYTES: usize = 260;

fn written_bytes(text: &str) -> usize {
    let written = |character: char| match character {
        '"' | '\\' => 2,
        control if control.is_control() => 10,
        other => other.len_utf8(),
    };
    text.chars().map(written).sum()
}

/// What made a witness stop signing for a log: a checkpoint that its own memory cannot explain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// What is wrong.
    pub cause: HoldCause,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// Where the evidence was found.
    pub source: String,
    /// For people: what was compared.
    pub why: String,
    /// The operator wants the evidence to be the latest checkpoint; done as soon as a witness can.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopt: bool,
    /// The reason that was given for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The evidence: a signed checkpoint, with the signatures that were verified.
    pub evidence: String,
    /// What was imported and is not reached yet: the log is held for it again when this is decided,
    /// and for it, too, when this was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<Box<Hold>>,
}

impl Hold {
    /// It, and all that it stands above.
    fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |hold| hold.below.as_deref())
    }

    fn bytes_max(&self) -> usize {
        let texts = [&self.source, &self.why, &self.evidence];
        let texts = texts.into_iter().chain(&self.reason);
        let below = self.below.as_ref().map_or(0, |below| below.bytes_max());
        LOG_BYTES + texts.map(|text| written_bytes(text)).sum::<usize>() + below
    }
}

/// What is wrong with a log that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldCause {
    /// We cosigned what we do not remember: our state is old, or somebody has our key.
    Ours,
    /// Others have a larger tree, another witness or the log itself, before we signed anything
    /// since the start.
    Peer,
    /// Two roots of one size, both signed by the log.
    Fork,
    /// A checkpoint that was imported, and that nobody has joined to ours yet. It is no evidence:
    /// nothing is signed below it, and what continues it and ours is, and ends the hold.
    Imported,
}

/// Evidence that the operator put aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dismissed {
    /// What the evidence is known again by.
    pub evidence: String,
    /// Why, for whoever reads this later.
    pub reason: String,
    /// When, in seconds since 1970.
    pub at: u64,
}

/// What a decision on a hold did to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// The witness shall take the evidence as its latest checkpoint, and release the log then.
    Adopt {
        /// Why.
        reason: String,
    },
    /// The evidence was taken, or explained itself: the log is free.
    Release,
    /// The evidence is put aside: the log is free, and the same evidence does not hold it again.
    Dismiss(Dismissed),
}

/// What can be said about a log beside its keys and its state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// As [`Log::qpd`].
    pub qpd: Option<NonZeroU32>,
    /// As [`Log::contact`].
    pub contact: Option<String>,
    /// As [`Log::source`].
    pub source: Option<String>,
    /// As [`Log::added`].
    pub added: Option<u64>,
    /// As [`Log::url`].
    pub url: Option<String>,
    /// As [`Log::empty_stops`].
    pub empty_stops: Option<bool>,
    /// As [`Log::suspect_holds`]; within, that nothing is said.
    pub suspect_holds: Option<Option<bool>>,
    /// As [`Log::cadence_s`]; within, that nothing was promised.
    pub cadence_s: Option<Option<NonZeroU32>>,
    /// As [`Log::pruned_below`]; within, that nothing was pruned.
    pub pruned_below: Option<Option<NonZeroU64>>,
}

/// One log before and after a change.
#[derive(Debug, Clone, Copy)]
pub struct Edit<'a> {
    /// As it was; nothing when it is new.
    pub before: Option<&'a Log>,
    /// As it will be.
    pub after: &'a Log,
}

/// Writes down what is about to change in a list.
pub trait Record {
    /// Called with the lock of the list held, before the change takes effect. When this returns,
    /// what was written down is durable.
    ///
    /// # Errors
    /// It cannot be written down. The change is not made then.
    fn record(&self, edits: &[Edit<'_>]) -> io::Result<()>;
}

/// Writes nothing down.
impl Record for () {
    fn record(&self, _: &[Edit<'_>]) -> io::Result<()> {
        Ok(())
    }
}

/// More dismissed evidence than this is not kept for one log; the oldest goes first.
pub const DISMISSED_MAX: usize = 16;

/// Whether a log's checkpoints are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogState {
    /// They are.
    Active,
    /// They are refused as if the log were unknown. What it anchored stays.
    Disabled,
}

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The log is new.
    Added,
    /// The log was known and has this many more keys.
    KeysAdded(usize),
    /// The log's state is another one.
    StateChanged,
    /// The log is held, or free again, has done with a key, or its URL is another one.
    Changed,
    /// It was so already.
    Nothing,
}

/// The file could not be read or changed. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There is no file. At fault: the operator; only an explicit init makes one.
    #[error("{} does not exist", .path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// There is a file already. At fault: the operator; it is never overwritten.
    #[error("{} exists already", .path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The list was replaced, and it is not known whether a power cut brings the old one back. At
    /// fault: the machine. The change is in force, and whoever reads the list sees it.
    #[error(
        "{} was changed, and it is not known whether the change is durable: {source}",
        .path.display()
    )]
    Unsettled {
        /// The list.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The lock file was exchanged again and again while it was waited for. At fault: whoever does
    /// that.
    #[error("{} does not stay what it is; nothing was changed", .path.display())]
    LockMoved {
        /// The lock file.
        path: PathBuf,
    },
    /// The file is not a list of logs. At fault: whoever edited it. All problems are listed.
    #[error("{}: {}", .path.display(), join(.problems))]
    Parse {
        /// The path.
        path: PathBuf,
        /// Each one that was found.
        problems: Vec<Problem>,
    },
    /// No log has this origin. At fault: the operator.
    #[error("no log has the origin {:?}", .origin.as_str())]
    UnknownLog {
        /// The origin.
        origin: Origin,
    },
    /// The log is not held by this evidence. At fault: the operator, or somebody was faster.
    #[error("the log {:?} is not held, or not by that any more", .origin.as_str())]
    NotHeld {
        /// The origin.
        origin: Origin,
    },
    /// A terminal would not show the origin as it is. At fault: the operator, or who told them.
    #[error("the origin {:?} has control characters", .origin.as_str())]
    Unprintable {
        /// The origin.
        origin: Origin,
    },
    /// What is about to change could not be written down. At fault: the machine.
    #[error("nothing was changed, for it cannot be recorded: {0}")]
    NotRecorded(io::Error),
    /// The log has not this key. At fault: the caller.
    #[error("the log {:?} has no such key", .origin.as_str())]
    UnknownKey {
        /// The origin.
        origin: Origin,
    },
    /// A log needs a key. At fault: the caller.
    #[error("the log {:?} would have no key", .origin.as_str())]
    NoKeys {
        /// The origin.
        origin: Origin,
    },
    /// The list would be longer than what is read. At fault: the operator.
    #[error("the list would have {bytes} bytes, {REGISTRY_BYTES_MAX} at most are read")]
    TooLarge {
        /// Bytes of the new list.
        bytes: usize,
    },
}

/// What is wrong with the text of a list. Logs are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is longer than [`REGISTRY_BYTES_MAX`].
    #[error("it is longer than {REGISTRY_BYTES_MAX} bytes")]
    TooLarge,
    /// It is not TOML of this form.
    #[error("{0}")]
    Toml(String),
    /// An origin cannot be one.
    #[error("log {log}: {origin:?} is no origin: {reason}")]
    Origin {
        /// Which log.
        log: usize,
        /// Its origin.
        origin: String,
        /// Why not.
        reason: String,
    },
    /// An origin stands there twice.
    #[error("log {log}: the origin {origin:?} is there already")]
    OriginTwice {
        /// The second of the two.
        log: usize,
        /// The origin.
        origin: String,
    },
    /// A log has no key.
    #[error("log {log}: it has no key")]
    NoKeys {
        /// Which log.
        log: usize,
    },
    /// A key cannot be read.
    #[error("log {log}: key {key}: {reason}")]
    Key {
        /// Which log.
        log: usize,
        /// Which key, from 1.
        key: usize,
        /// Why not.
        reason: String,
    },
    /// A log has a key twice.
    #[error("log {log}: key {key} is there already")]
    KeyTwice {
        /// Which log.
        log: usize,
        /// The second of the two, from 1.
        key: usize,
    },
}

fn join(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(Problem::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// A list is read whole into memory, so its length is bounded: more than 300,000 logs of the usual
/// 400 bytes.
pub const REGISTRY_BYTES_MAX: usize = 128 << 20;

impl Registry {
    /// Makes an empty list.
    ///
    /// # Errors
    /// [`RegistryError::Exists`], and what the file system refuses.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, RegistryError> {
        let path = path.as_ref();
        let _lock = lock(path)?;
        if path.symlink_metadata().is_ok() {
            return Err(RegistryError::Exists {
                path: path.to_owned(),
            });
        }
        let registry = Self::default();
        save(&registry.to_toml(path)?, path)?;
        Ok(registry)
    }

    /// Reads the list.
    ///
    /// # Errors
    /// [`RegistryError::Missing`], [`RegistryError::Parse`] with everything that is wrong, and
    /// what the file system refuses.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, RegistryError> {
        let path = path.as_ref();
        let io = |source| unreadable(path, source);
        let parse = |problems| RegistryError::Parse {
            path: path.to_owned(),
            problems,
        };
        let limit = u64::try_from(REGISTRY_BYTES_MAX).unwrap_or(u64::MAX);
        let mut text = Vec::new();
        let file = File::open(path).map_err(io)?;
        file.take(limit.saturating_add(1))
            .read_to_end(&mut text)
            .map_err(io)?;
        if text.len() > REGISTRY_BYTES_MAX {
            return Err(parse(vec![Problem::TooLarge]));
        }
        let text =
            str::from_utf8(&text).map_err(|error| parse(vec![Problem::Toml(error.to_string())]))?;
        Self::parse(text).map_err(parse)
    }

    /// Reads the list from its text.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    // Spec: STO-16
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let mut read = pieces::read(text).map_err(|problem| vec![problem])?;
        let (mut problems, mut known) = (Vec::new(), HashSet::with_capacity(read.len()));
        for read in &mut read {
            problems.append(&mut read.problems);
            let Some(log) = &read.log else { continue };
            if !known.insert(&log.origin) {
                problems.push(Problem::OriginTwice {
                    log: read.number,
                    origin: log.origin.to_string(),
                });
            }
        }
        drop(known);
        let logs = read.into_iter().filter_map(|read| read.log);
        // All at once: nodes are full then. Logs that come one by one in order leave them half
        // empty, 20 MB of 100,000 logs.
        let logs = logs.map(|log| (log.origin.clone(), log)).collect();
        if problems.is_empty() {
            Ok(Self { logs })
        } else {
            Err(problems)
        }
    }

    /// Adds a log, or more keys to a log that is known. The state of a known log stays.
    ///
    /// Takes the file's lock, reads it again, and replaces it; durable on return.
    ///
    /// # Errors
    /// Those of [`Self::load`] and [`Self::add_keys`], and what the file system refuses.
    // Spec: STO-15
    pub fn add(
        path: impl AsRef<Path>,
        origin: &Origin,
        keys: &[VerifierKey],
    ) -> Result<Change, RegistryError> {
        Self::edit(path, &(), |registry| registry.add_keys(origin, keys))
    }

    /// Makes a known log active or disabled. Durable on return.
    ///
    /// # Errors
    /// [`RegistryError::UnknownLog`], those of [`Self::load`], and what the file system refuses.
    // Spec: STO-15
    pub fn set_state(
        path: impl AsRef<Path>,
        origin: &Origin,
        state: LogState,
    ) -> Result<Change, RegistryError> {
        Self::edit(path, &(), |registry| registry.switch(origin, state, None))
    }

    /// Changes a list: takes the file's lock, reads it, lets `edit` work on what was read, has
    /// `record` write down what will be different, and replaces the file. Durable on return.
    ///
    /// Changers take turns. A crash leaves the old list or the new one; it may leave a record of a
    /// change that was not made, never a change without its record.
    ///
    /// # Errors
    /// What `edit` and `record` refuse, those of [`Self::load`], and what the file system refuses.
    // Spec: STO-15, STO-19
    pub fn edit(
        path: impl AsRef<Path>,
        record: &dyn Record,
        edit: impl FnOnce(&mut Self) -> Result<Change, RegistryError>,
    ) -> Result<Change, RegistryError> {
        // The file itself, not a link to it: the link stays, and whoever comes by another name
        // waits for the same lock.
        let path = path.as_ref();
        let path = fs::canonicalize(path).map_err(|source| unreadable(path, source))?;
        let _lock = lock(&path)?;
        let before = Self::load(&path)?;
        let mut after = before.clone();
        let done = edit(&mut after)?;
        let edits: Vec<Edit<'_>> = after
            .logs
            .values()
            .map(|after| Edit {
                before: before.logs.get(&after.origin),
                after,
            })
            .filter(|edit| edit.before != Some(edit.after))
            .collect();
        if edits.is_empty() {
            return Ok(done);
        }
        let text = after.to_toml(&path)?;
        record.record(&edits).map_err(RegistryError::NotRecorded)?;
        save(&text, &path)?;
        Ok(done)
    }

    /// Runs `read` while nobody changes the list at this path: what is read then was not read in
    /// the middle of a change, whose record is there already.
    ///
    /// # Errors
    /// The lock cannot be had; nothing ran.
    pub fn settled<R>(
        path: impl AsRef<Path>,
        read: impl FnOnce() -> R,
    ) -> Result<R, RegistryError> {
        let path = path.as_ref();
        let path = fs::canonicalize(path).map_err(|source| unreadable(path, source))?;
        let _lock = lock(&path)?;
        Ok(read())
    }

    /// Puts back what a log was: known, with these keys, disabled, held. What is stricter now
    /// stays.
    pub fn keep(&mut self, was: &Log) {
        match self.logs.entry(was.origin.clone()) {
            Entry::Vacant(vacant) => drop(vacant.insert(was.clone())),
            Entry::Occupied(mut occupied) => {
                let log = occupied.get_mut();
                log.keys.clone_from(&was.keys);
                log.retired.clone_from(&was.retired);
                if was.state == LogState::Disabled {
                    log.state = LogState::Disabled;
                }
                log.keep_hold(was);
            }
        }
    }

    /// Adds a log, or more keys to a log that is known. The state of a known log stays, and a key
    /// that it has done with stays retired.
    ///
    /// # Errors
    /// [`RegistryError::NoKeys`], [`RegistryError::Unprintable`].
    pub fn add_keys(
        &mut self,
        origin: &Origin,
        keys: &[VerifierKey],
    ) -> Result<Change, RegistryError> {
        let known = self.logs.contains_key(origin);
        if !known && origin.as_str().chars().any(is_control) {
            return Err(RegistryError::Unprintable {
                origin: origin.clone(),
            });
        }
        let log = self
            .logs
            .entry(origin.clone())
            .or_insert_with(|| Log::new(origin.clone(), Vec::new(), LogState::Active));
        let before = log.keys.len();
        let mut all = std::mem::take(&mut log.keys).into_vec();
        for key in keys {
            if !all.contains(key) && !log.retired.contains(key) {
                all.push(key.clone());
            }
        }
        log.keys = all.into();
        if log.keys.is_empty() {
            return Err(RegistryError::NoKeys {
                origin: origin.clone(),
            });
        }
        Ok(match log.keys.len() - before {
            _ if !known => Change::Added,
            0 => Change::Nothing,
            more => Change::KeysAdded(more),
        })
    }

    /// Makes a known log active or disabled; `reason` says why it is disabled.
    ///
    /// # Errors
    /// [`RegistryError::UnknownLog`].
    pub fn switch(
        &mut self,
        origin: &Origin,
        state: LogState,
        reason: Option<&str>,
    ) -> Result<Change, RegistryError> {
        let log = self.known(origin)?;
        let changed = std::mem::replace(&mut log.state, state) != state;
        if changed || reason.is_some() {
            log.reason = reason.map(str::to_owned);
        }
        Ok(if changed {
            Change::StateChanged
        } else {
            Change::Nothing
        })
    }

    /// Says that a known log signs with a key no more, or does after all.
    ///
    /// # Errors
    /// [`RegistryError::UnknownLog`], [`RegistryError::UnknownKey`], and [`RegistryError::NoKeys`]
    /// for the last key: a log that signs with none is disabled.
    // Spec: STO-37
    pub fn retire(
        &mut self,
        origin: &Origin,
        key: &VerifierKey,
        retired: bool,
    ) -> Result<Change, RegistryError> {
        let log = self.known(origin)?;
        let last = log.keys.len() == 1;
        let (from, to) = if retired {
            (&mut log.keys, &mut log.retired)
        } else {
            (&mut log.retired, &mut log.keys)
        };
        if to.contains(key) {
            return Ok(Change::Nothing);
        }
        let origin = || origin.clone();
        let place = from.iter().position(|known| known == key);
        let place = place.ok_or_else(|| RegistryError::UnknownKey { origin: origin() })?;
        if retired && last {
            return Err(RegistryError::NoKeys { origin: origin() });
        }
        let mut all = std::mem::take(from).into_vec();
        let mut gained = std::mem::take(to).into_vec();
        gained.push(all.remove(place));
        (*from, *to) = (all.into(), gained.into());
        Ok(Change::Changed)
    }

    /// Says more about a known log; what is `None` stays as it is.
    ///
    /// # Errors
    /// [`RegistryError::UnknownLog`].
    pub fn describe(&mut self, origin: &Origin, about: About) -> Result<Change, RegistryError> {
        let log = self.known(origin)?;
        let before = log.clone();
        let About {
            qpd,
            contact,
            source,
            added,
            url,
            empty_stops,
            suspect_holds,
            cadence_s,
            pruned_below,
        } = about;
        log.qpd = qpd.or(log.qpd);
        log.contact = contact.or(log.contact.take());
        log.source = source.or(log.source.take());
        log.added = added.or(log.added);
        log.url = url.or(log.url.take());
        log.empty_stops = empty_stops.unwrap_or(log.empty_stops);
        log.suspect_holds = suspect_holds.unwrap_or(log.suspect_holds);
        log.cadence_s = cadence_s.unwrap_or(log.cadence_s);
        log.pruned_below = pruned_below.unwrap_or(log.pruned_below);
        Ok(if *log == before {
            Change::Nothing
        } else {
            Change::Changed
        })
    }

    /// Holds a known log, unless it is held already for what its operator has to decide, or for
    /// this, or for [`IMPORTED_MAX`] imported heads where this is one more, or the operator
    /// dismissed this evidence (which is known again by `evidence`).
    ///
    /// # Errors
    /// [`RegistryError::UnknownLog`].
    pub fn hold(
        &mut self,
        origin: &Origin,
        hold: &Hold,
        evidence: &str,
    ) -> Result<Change, RegistryError> {
        let log = self.known(origin)?;
        let dismissed = log.dismissed.iter().any(|known| known.evidence == evidence);
        // Spec: GSP-188, GSP-211. Imported heads stay below what an operator has to decide, also
        // those that come later, and below each other: none takes the place of another.
        let fits = if hold.cause == HoldCause::Imported {
            log.imported().count() < IMPORTED_MAX
                && log.imported().all(|known| known.evidence != hold.evidence)
        } else {
            !log.awaits_decision()
        };
        if dismissed || !fits {
            return Ok(Change::Nothing);
        }
        let decision = log.decision().cloned();
        let imported = log.imported().cloned();
        let all = decision.into_iter().chain([hold.clone()]).chain(imported);
        log.hold = stack(all.collect());
        Ok(Change::Changed)
    }

    /// Takes away the imported heads with these texts, wherever they stand.
    ///
    /// # Errors
    /// [`RegistryError::UnknownLog`].
    // Spec: GSP-187
    pub fn reach(&mut self, origin: &Origin, reached: &[String]) -> Result<Change, RegistryError> {
        let log = self.known(origin)?;
        let is_reached =
            |hold: &&Hold| hold.cause == HoldCause::Imported && reached.contains(&hold.evidence);
        if log.holds().filter(is_reached).count() == 0 {
            return Ok(Change::Nothing);
        }
        let left = log.holds().filter(|hold| !is_reached(hold)).cloned();
        log.hold = stack(left.collect());
        Ok(Change::Changed)
    }

    /// Decides on a hold, if the log is still held by this evidence.
    ///
    /// # Errors
    /// [`RegistryError::UnknownLog`], [`RegistryError::NotHeld`].
    pub fn resolve(
        &mut self,
        origin: &Origin,
        evidence: &str,
        resolution: Resolution,
    ) -> Result<Change, RegistryError> {
        let log = self.known(origin)?;
        let hold = log.hold.as_mut().filter(|hold| hold.evidence == evidence);
        let hold = hold.ok_or_else(|| RegistryError::NotHeld {
            origin: origin.clone(),
        })?;
        match resolution {
            Resolution::Adopt { reason } => {
                hold.adopt = true;
                hold.reason = Some(reason);
            }
            Resolution::Release => log.hold = hold.below.take(),
            Resolution::Dismiss(dismissed) => {
                log.hold = hold.below.take();
                let mut all = std::mem::take(&mut log.dismissed).into_vec();
                all.push(dismissed);
                let more = all.len().saturating_sub(DISMISSED_MAX);
                all.drain(..more);
                log.dismissed = all.into();
            }
        }
        Ok(Change::Changed)
    }

    fn known(&mut self, origin: &Origin) -> Result<&mut Log, RegistryError> {
        self.logs
            .get_mut(origin)
            .ok_or_else(|| RegistryError::UnknownLog {
                origin: origin.clone(),
            })
    }

    /// The keys of an active log; `None` when the log is unknown or disabled.
    pub fn keys_for(&self, origin: &Origin) -> Option<&[VerifierKey]> {
        let log = self.logs.get(origin)?;
        match log.state {
            LogState::Active => Some(&log.keys),
            LogState::Disabled => None,
        }
    }

    /// A known log, active or not.
    pub fn log(&self, origin: &Origin) -> Option<&Log> {
        self.logs.get(origin)
    }

    /// All known logs, by origin.
    pub fn logs(&self) -> impl ExactSizeIterator<Item = &Log> {
        self.logs.values()
    }

    /// How many bytes the list takes in its file, at most.
    pub fn bytes_max(&self) -> usize {
        self.logs.values().map(Log::bytes_max).sum()
    }

    /// Whether the list can be written.
    ///
    /// # Errors
    /// [`RegistryError::TooLarge`].
    pub fn check_length(&self) -> Result<(), RegistryError> {
        if self.bytes_max() <= REGISTRY_BYTES_MAX {
            return Ok(());
        }
        self.to_toml(Path::new("")).map(drop)
    }

    /// The known logs whose origins come after one, by origin; all of them after none.
    pub fn logs_after(&self, after: Option<&Origin>) -> impl Iterator<Item = &Log> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.logs
            .range::<Origin, _>((from, Bound::Unbounded))
            .map(|(_, log)| log)
    }

    fn to_toml(&self, path: &Path) -> Result<String, RegistryError> {
        let raw = RawRegistry {
            log: self
                .logs
                .values()
                .map(|log| RawLog {
                    origin: log.origin.as_str().to_owned(),
                    keys: log.keys.iter().map(VerifierKey::to_string).collect(),
                    retired: log.retired.iter().map(VerifierKey::to_string).collect(),
                    empty_stops: log.empty_stops,
                    suspect_holds: log.suspect_holds,
                    cadence_s: log.cadence_s,
                    pruned_below: log.pruned_below,
                    state: log.state,
                    qpd: log.qpd,
                    contact: log.contact.clone(),
                    source: log.source.clone(),
                    added: log.added,
                    reason: log.reason.clone(),
                    url: log.url.clone(),
                    hold: log.hold.clone(),
                    dismissed: log.dismissed.to_vec(),
                })
                .collect(),
        };
        let text = toml::to_string(&raw).map_err(|error| RegistryError::Io {
            doing: "write",
            path: path.to_owned(),
            source: io::Error::other(error),
        })?;
        let bytes = text.len();
        if bytes > REGISTRY_BYTES_MAX {
            Err(RegistryError::TooLarge { bytes })
        } else {
            Ok(text)
        }
    }
}

/// Replaces the file: a crash leaves the old one or the new one. The caller has the lock.
// Spec: STO-15
fn save(text: &str, path: &Path) -> Result<(), RegistryError> {
    let io = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| RegistryError::Io {
            doing,
            path,
            source,
        }
    };
    let draft = beside(path, ".new");
    let mut file = File::create(&draft).map_err(io("create", &draft))?;
    if let Ok(old) = fs::metadata(path) {
        let new = file.metadata().map_err(io("look at", &draft))?;
        // When root changes it, the service that owns it must still be able to read it.
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))
                .map_err(io("set the owner of", &draft))?;
        }
        file.set_permissions(old.permissions())
            .map_err(io("set the mode of", &draft))?;
    }
    file.write_all(text.as_bytes())
        .map_err(io("write", &draft))?;
    file.sync_all().map_err(io("make durable", &draft))?;
    fs::rename(&draft, path).map_err(io("replace", path))?;
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|source| RegistryError::Unsettled {
        path: path.to_owned(),
        source,
    })
}

/// Waits for the lock that changers share. It is on a file of its own, since the list itself is
/// replaced. Dropping the file releases it.
///
/// Somebody may have removed the file while we waited: then the next changer locks a new one, and
/// ours keeps nobody out. So it has to be the one that its name leads to once we have it.
// Spec: STO-15
fn lock(list: &Path) -> Result<File, RegistryError> {
    let path = beside(list, ".lock");
    let io = |source| RegistryError::Io {
        doing: "lock",
        path: path.clone(),
        source,
    };
    for _ in 0..LOCK_TRIES {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = file.map_err(io)?;
        own_like(&file, list).map_err(io)?;
        file.lock().map_err(io)?;
        let ours = file.metadata().map_err(io)?;
        let named = fs::metadata(&path);
        if named.is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino())) {
            return Ok(file);
        }
    }
    Err(RegistryError::LockMoved { path })
}

/// Once is an accident.
const LOCK_TRIES: usize = 16;

/// When root makes a file beside a list, the service that owns the list must be able to use it.
/// Nothing changes when they have one owner, or there is no list.
///
/// # Errors
/// What the system says to root. Nobody else can give a file away, and for them it stays as it is.
// Spec: STO-31
pub fn own_like(file: &File, list: &Path) -> io::Result<()> {
    let Ok(list) = fs::metadata(list) else {
        return Ok(());
    };
    let own = file.metadata()?;
    if (own.uid(), own.gid()) == (list.uid(), list.gid()) {
        return Ok(());
    }
    match fchown(file, Some(list.uid()), Some(list.gid())) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}

fn unreadable(path: &Path, source: io::Error) -> RegistryError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => RegistryError::Missing { path },
        _ => RegistryError::Io {
            doing: "read",
            path,
            source,
        },
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

type Keys = (Vec<VerifierKey>, Vec<Problem>);

/// The keys of a log and those that it has done with: none stands there twice.
fn parse_keys(log: usize, raw: &[String], raw_retired: &[String]) -> (Keys, Vec<VerifierKey>) {
    let (mut keys, mut problems) = (Vec::with_capacity(raw.len()), Vec::new());
    for (key, raw) in (1..).zip(raw.iter().chain(raw_retired)) {
        match VerifierKey::parse(raw) {
            Err(error) => problems.push(Problem::Key {
                log,
                key,
                reason: error.to_string(),
            }),
            Ok(parsed) if keys.contains(&parsed) => problems.push(Problem::KeyTwice { log, key }),
            Ok(parsed) => keys.push(parsed),
        }
    }
    if raw.is_empty() {
        problems.push(Problem::NoKeys { log });
    }
    // One that cannot be read is a problem, and then nothing of the file is used.
    let retired = keys.split_off(raw.len().min(keys.len()));
    ((keys, problems), retired)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRegistry {
    #[serde(default)]
    log: Vec<RawLog>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLog {
    origin: String,
    keys: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    retired: Vec<String>,
    state: LogState,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    empty_stops: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suspect_holds: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cadence_s: Option<NonZeroU32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pruned_below: Option<NonZeroU64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    qpd: Option<NonZeroU32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    contact: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    added: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold: Option<Box<Hold>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dismissed: Vec<Dismissed>,
}
