//! The list of logs that may anchor: one TOML file, shared by service and witness.
//!
//! ```toml
//! [[log]]
//! origin = "example.com/log"
//! keys = ["example.com/log+c5b49d6d+AUx…"]   # vkeys; a checkpoint by any of them is the log's
//! state = "active"                           # or "disabled": known, and refused
//! ```
//!
//! In scope: reading it strictly, and changing it so that a crash leaves the old list or the new
//! one, with two changers taking turns. A log is never forgotten: it can be disabled, and get more
//! keys, but neither a log nor a key is ever taken out. Out of scope: whether a log's checkpoints
//! are good, and when a running process reads the file again.
//!
//! Comments in the file do not survive a change; the file is not the place for them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use jurat_proto::checkpoint::Origin;
use jurat_proto::key::VerifierKey;

/// The logs that are known, by origin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registry {
    logs: BTreeMap<Origin, Log>,
}

/// A log that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The first line of its checkpoints.
    pub origin: Origin,
    /// Never empty, no key twice.
    pub keys: Vec<VerifierKey>,
    /// Whether its checkpoints are accepted.
    pub state: LogState,
}

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

/// A list is read whole into memory, so its length is bounded: about 50,000 logs.
pub const REGISTRY_BYTES_MAX: usize = 16 << 20;

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
        registry.save(path)?;
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
        let raw: RawRegistry =
            toml::from_str(text).map_err(|error| vec![Problem::Toml(error.to_string())])?;
        let mut problems = Vec::new();
        let mut logs = BTreeMap::new();
        for (log, raw) in (1..).zip(raw.log) {
            let keys = parse_keys(log, &raw.keys, &mut problems);
            match Origin::parse(&raw.origin) {
                Err(error) => {
                    let (origin, reason) = (raw.origin, error.to_string());
                    problems.push(Problem::Origin {
                        log,
                        origin,
                        reason,
                    });
                }
                Ok(origin) if logs.contains_key(&origin) => {
                    problems.push(Problem::OriginTwice {
                        log,
                        origin: raw.origin,
                    });
                }
                Ok(origin) => {
                    logs.insert(
                        origin.clone(),
                        Log {
                            origin,
                            keys,
                            state: raw.state,
                        },
                    );
                }
            }
        }
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
    /// Those of [`Self::load`], and what the file system refuses.
    // Spec: STO-15
    pub fn add(
        path: impl AsRef<Path>,
        origin: &Origin,
        keys: &[VerifierKey],
    ) -> Result<Change, RegistryError> {
        Self::change(path.as_ref(), |logs| {
            let known = logs.contains_key(origin);
            let log = logs.entry(origin.clone()).or_insert_with(|| Log {
                origin: origin.clone(),
                keys: Vec::new(),
                state: LogState::Active,
            });
            let before = log.keys.len();
            for key in keys {
                if !log.keys.contains(key) {
                    log.keys.push(key.clone());
                }
            }
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
        })
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
        Self::change(path.as_ref(), |logs| {
            let log = logs
                .get_mut(origin)
                .ok_or_else(|| RegistryError::UnknownLog {
                    origin: origin.clone(),
                })?;
            let changed = std::mem::replace(&mut log.state, state) != state;
            Ok(if changed {
                Change::StateChanged
            } else {
                Change::Nothing
            })
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

    fn change(
        path: &Path,
        change: impl FnOnce(&mut BTreeMap<Origin, Log>) -> Result<Change, RegistryError>,
    ) -> Result<Change, RegistryError> {
        // The file itself, not a link to it: the link stays, and whoever comes by another name
        // waits for the same lock.
        let path = fs::canonicalize(path).map_err(|source| unreadable(path, source))?;
        let _lock = lock(&path)?;
        let mut registry = Self::load(&path)?;
        let done = change(&mut registry.logs)?;
        if done != Change::Nothing {
            registry.save(&path)?;
        }
        Ok(done)
    }

    /// Replaces the file: a crash leaves the old one or the new one. The caller has the lock.
    // Spec: STO-15
    fn save(&self, path: &Path) -> Result<(), RegistryError> {
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| RegistryError::Io {
                doing,
                path,
                source,
            }
        };
        let text = self.to_toml(path)?;
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
        synced.map_err(io("make durable", directory))
    }

    fn to_toml(&self, path: &Path) -> Result<String, RegistryError> {
        let raw = RawRegistry {
            log: self
                .logs
                .values()
                .map(|log| RawLog {
                    origin: log.origin.as_str().to_owned(),
                    keys: log.keys.iter().map(VerifierKey::to_string).collect(),
                    state: log.state,
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

/// Waits for the lock that changers share. It is on a file of its own, since the list itself is
/// replaced. Dropping the file releases it.
fn lock(path: &Path) -> Result<File, RegistryError> {
    let path = beside(path, ".lock");
    let io = |source| RegistryError::Io {
        doing: "lock",
        path: path.clone(),
        source,
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let file = file.map_err(io)?;
    file.lock().map_err(io)?;
    Ok(file)
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

fn parse_keys(log: usize, raw: &[String], problems: &mut Vec<Problem>) -> Vec<VerifierKey> {
    let mut keys = Vec::with_capacity(raw.len());
    for (key, raw) in (1..).zip(raw) {
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
    keys
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
    state: LogState,
}
