//! Which logs are served, now: the list file of `jurat_store::registry`, followed while we run.
//!
//! The file is read again when its identity, length or time changes, or when it is asked for. A
//! list that cannot be read changes nothing. Of one that lost a log, or what the journal says of
//! one ([`crate::losses`]), these logs stay as they were and all else is taken over: a hold must
//! take effect whatever else is wrong with the file. The error is the operator's to see.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jurat_keys::fast_verifier;
use jurat_proto::checkpoint::Origin;
use jurat_proto::cosignature::NAME_BYTES_MAX;
use jurat_proto::hash::Hash;
use jurat_proto::key::VerifierKey;
use jurat_store::registry::{Hold, Log, LogState, Registry, RegistryError};

use crate::journal::Journal;
use crate::losses::{KEEP_BYTES, Loss, Said, told};

/// The list of logs that this process serves.
#[derive(Debug)]
pub struct LogList {
    path: PathBuf,
    current: RwLock<Arc<Logs>>,
    /// What the file was when it was last tried, good or not: a bad file is reported once.
    seen: Mutex<Option<FileMark>>,
    said: Mutex<Said>,
    origin_bytes_max: Option<usize>,
}

impl LogList {
    /// Loads the list. `ml_dsa` says that a key of ours is ML-DSA-44, whose message holds origins
    /// of at most [`NAME_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// [`LogListError`]; there is no list then.
    pub fn load(path: impl Into<PathBuf>, ml_dsa: bool) -> Result<Self, LogListError> {
        let path = path.into();
        let origin_bytes_max = ml_dsa.then_some(NAME_BYTES_MAX);
        let seen = FileMark::of(&path).ok();
        let mut said = Said::default();
        let (registry, losses) = load(&path, &mut said)?;
        said.share(&registry);
        if !losses.is_empty() {
            return Err(LogListError::Unjournaled { path, losses });
        }
        Ok(Self {
            path,
            said: Mutex::new(said),
            current: RwLock::new(Arc::new(Logs::new(registry, origin_bytes_max))),
            seen: Mutex::new(seen),
            origin_bytes_max,
        })
    }

    /// The list as it is now; holding it keeps it as it is.
    pub fn current(&self) -> Arc<Logs> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the file again when it changed since the last try. `Ok(true)` when it did.
    ///
    /// # Errors
    /// [`LogListError`]; the list in use stays.
    pub fn reload_if_changed(&self) -> Result<bool, LogListError> {
        let mark = FileMark::of(&self.path).map_err(|source| LogListError::Look {
            path: self.path.clone(),
            source,
        });
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match mark {
            Ok(mark) if *seen == Some(mark) => Ok(false),
            Ok(mark) => {
                // Before reading: a change in between is then seen by the next look.
                *seen = Some(mark);
                self.replace().map(|()| true)
            }
            Err(_) if seen.is_none() => Ok(false),
            Err(error) => {
                *seen = None;
                Err(error)
            }
        }
    }

    /// Reads the file again, changed or not.
    ///
    /// # Errors
    /// [`LogListError`]; the list in use stays.
    pub fn reload(&self) -> Result<(), LogListError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = FileMark::of(&self.path).ok();
        self.replace()
    }

    /// Keeps what the journal said for the next start, when enough was read since the last time.
    /// For who serves the list, and nobody else: it writes a file.
    ///
    /// # Errors
    /// It cannot be written; the next start takes longer.
    pub fn keep_journal(&self) -> io::Result<()> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.keep(&Journal::beside(&self.path), KEEP_BYTES)
    }

    fn replace(&self) -> Result<(), LogListError> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut new, losses) = load(&self.path, &mut said)?;
        drop(said);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let path = || self.path.clone();
        let gone: Vec<&Log> = current
            .logs()
            .filter(|log| new.log(&log.origin).is_none())
            .collect();
        let forgotten = gone.first().map(|lost| LogListError::Forgotten {
            path: path(),
            origin: lost.origin.clone(),
        });
        let lost = losses.iter().filter_map(|loss| current.log(&loss.origin));
        for was in gone.iter().copied().chain(lost) {
            new.keep(was);
        }
        *current = Arc::new(Logs::new(new, self.origin_bytes_max));
        match forgotten {
            Some(forgotten) => Err(forgotten),
            None if losses.is_empty() => Ok(()),
            None => Err(LogListError::Unjournaled {
                path: path(),
                losses,
            }),
        }
    }
}

/// Reads the list, and what it lost that its journal has.
// Spec: WIT-74
fn load(path: &Path, said: &mut Said) -> Result<(Registry, Vec<Loss>), LogListError> {
    let journal = Journal::beside(path);
    let mut compared = || {
        // In this order: a change is in the journal before it is in the list.
        let registry = Registry::load(path)?;
        said.read_on(&journal)
            .map_err(|source| LogListError::Journal {
                path: journal.path().to_owned(),
                source,
            })?;
        let losses = said.losses(&registry);
        Ok::<_, LogListError>((registry, losses))
    };
    let (registry, losses) = compared()?;
    if losses.is_empty() {
        return Ok((registry, losses));
    }
    // Perhaps somebody is in the middle of a change.
    match Registry::settled(path, compared) {
        Ok(compared) => compared,
        Err(_) => Ok((registry, losses)),
    }
}

/// One reading of the list.
pub struct Logs {
    registry: Registry,
    /// Monitors name an origin by its SHA-256: here in the order of how that begins.
    by_hash: Vec<(u64, Origin)>,
    held: Vec<Origin>,
    /// The longest origin that all keys of ours can sign.
    origin_bytes_max: Option<usize>,
    too_long: Vec<Origin>,
    /// The keys of the logs that were asked for lately, ready to verify fast.
    verifiers: RwLock<HashMap<Origin, Arc<[VerifierKey]>>>,
}

impl Logs {
    fn new(registry: Registry, origin_bytes_max: Option<usize>) -> Self {
        let origins = registry.logs().map(|log| log.origin.clone());
        let mut by_hash: Vec<(u64, Origin)> = origins
            .map(|origin| (beginning(&origin.hash()), origin))
            .collect();
        by_hash.sort_unstable();
        let held = registry.logs().filter(|log| log.hold.is_some());
        let held = held.map(|log| log.origin.clone()).collect();
        let too_long = |log: &&Log| {
            let bytes = log.origin.as_str().len();
            log.state == LogState::Active && origin_bytes_max.is_some_and(|max| bytes > max)
        };
        let too_long = registry.logs().filter(too_long);
        let too_long = too_long.map(|log| log.origin.clone()).collect();
        Self {
            registry,
            by_hash,
            held,
            origin_bytes_max,
            too_long,
            verifiers: RwLock::default(),
        }
    }

    /// The keys of a log that is served; `None` when it is unknown or disabled, or its origin does
    /// not fit into what our keys sign.
    pub fn keys_for(&self, origin: &Origin) -> Option<Arc<[VerifierKey]>> {
        let keys = &self.served(origin)?.keys;
        let known = self
            .verifiers
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = known.get(origin) {
            return Some(Arc::clone(ready));
        }
        drop(known);
        let ready: Arc<[VerifierKey]> = keys
            .iter()
            .map(|key| {
                fast_verifier(key).unwrap_or_else(|error| {
                    tracing::error!(%error, "verifying slowly");
                    key.clone()
                })
            })
            .collect();
        let mut known = self
            .verifiers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if known.len() >= VERIFIERS_MAX {
            known.clear();
        }
        known.insert(origin.clone(), Arc::clone(&ready));
        Some(ready)
    }

    // Spec: WIT-73
    fn served(&self, origin: &Origin) -> Option<&Log> {
        let bytes = origin.as_str().len();
        if self.origin_bytes_max.is_some_and(|max| bytes > max) {
            return None;
        }
        let log = self.registry.log(origin)?;
        (log.state == LogState::Active).then_some(log)
    }

    /// The requests a day that a log that is served may make, or that it has no number of its own;
    /// `None` when the log is not served, as for [`Self::keys_for`].
    pub fn active_qpd(&self, origin: &Origin) -> Option<Option<NonZeroU32>> {
        self.served(origin).map(|log| log.qpd)
    }

    /// The active logs that are not served, since an ML-DSA-44 key of ours cannot sign for them.
    pub fn too_long(&self) -> &[Origin] {
        &self.too_long
    }

    /// The logs that are held.
    pub fn held(&self) -> &[Origin] {
        &self.held
    }

    /// Why nothing is signed for a log, if it is held.
    pub fn hold(&self, origin: &Origin) -> Option<&Hold> {
        self.held_log(origin)?.hold.as_deref()
    }

    /// A log that is held.
    pub fn held_log(&self, origin: &Origin) -> Option<&Log> {
        // Hardly ever is any.
        if self.held.is_empty() {
            return None;
        }
        let log = self.registry.log(origin)?;
        log.hold.is_some().then_some(log)
    }

    /// Whether a log is served, as for [`Self::keys_for`].
    pub fn is_active(&self, origin: &Origin) -> bool {
        self.served(origin).is_some()
    }

    /// The origin with this SHA-256, of an active or a disabled log.
    pub fn origin(&self, hash: &Hash) -> Option<&Origin> {
        let begins = beginning(hash);
        let from = self.by_hash.partition_point(|(other, _)| *other < begins);
        let same = self.by_hash.get(from..)?.iter();
        let mut same = same.take_while(|(other, _)| *other == begins);
        same.find_map(|(_, origin)| (origin.hash() == *hash).then_some(origin))
    }

    /// A known log, active or not.
    pub fn log(&self, origin: &Origin) -> Option<&Log> {
        self.registry.log(origin)
    }

    /// All known logs, by origin.
    pub fn logs(&self) -> impl ExactSizeIterator<Item = &Log> {
        self.registry.logs()
    }

    /// The known logs whose origins come after one, by origin; all of them after none.
    pub fn logs_after(&self, after: Option<&Origin>) -> impl Iterator<Item = &Log> {
        self.registry.logs_after(after)
    }
}

/// The first eight bytes of a hash.
fn beginning(hash: &Hash) -> u64 {
    let first = hash.as_bytes().first_chunk().copied();
    u64::from_be_bytes(first.unwrap_or_default())
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs")
            .field("logs", &self.registry.logs().len())
            .finish_non_exhaustive()
    }
}

/// Why a list of logs is not taken. The operator is at fault; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum LogListError {
    /// The file cannot be looked at.
    #[error("cannot look at {}: {source}", path.display())]
    Look {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file cannot be read, or is not a list of logs.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The journal of the list cannot be read, so that it is not known what the list must hold.
    #[error("cannot read {}: {source}", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The list lost what its journal has. Whoever edited it, or put an old one there, is at fault.
    /// While the witness runs these logs stay as they were.
    #[error(
        "{}: {}, and no line of its journal says why; put it back, or accept the list as it is \
         with `jurat-witness logs accept --reason TEXT`",
        path.display(),
        told(losses)
    )]
    Unjournaled {
        /// The file.
        path: PathBuf,
        /// What is missing.
        losses: Vec<Loss>,
    },
    /// A log that was in the list is not there any more. Logs are disabled, never removed: its
    /// state would look like that of a log which was never seen. It stays as it was.
    #[error("{}: the log {origin} is gone; disable it instead", path.display())]
    Forgotten {
        /// The file.
        path: PathBuf,
        /// The log.
        origin: Origin,
    },
}

/// For how many logs keys are kept ready, at a kilobyte or two each. To make one ready takes some
/// microseconds, which is little beside a signature.
const VERIFIERS_MAX: usize = 2_048;

/// What tells one content of the file from another. Changers replace the file, so its inode alone
/// changes when time and length do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileMark {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl FileMark {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use jurat_keys::{Algorithm, SigningKey};
    use jurat_proto::key::{KeyName, Signer as _};

    use super::*;

    #[test]
    fn an_origin_is_found_by_its_whole_hash_and_by_no_other() {
        let name = KeyName::parse("a").unwrap();
        let key = SigningKey::generate(name, Algorithm::Ed25519).unwrap();
        let key = key.verifier_key().clone();
        let mut registry = Registry::default();
        for n in 0..20 {
            let origin = Origin::parse(&format!("example.com/{n}")).unwrap();
            registry
                .add_keys(&origin, std::slice::from_ref(&key))
                .unwrap();
        }
        let logs = Logs::new(registry, None);
        for log in logs.logs() {
            let hash = log.origin.hash();
            assert_eq!(logs.origin(&hash), Some(&log.origin));
            for byte in [0, 7, 8, 31] {
                let mut other = *hash.as_bytes();
                other[byte] ^= 1;
                assert_eq!(logs.origin(&Hash::new(other)), None);
            }
        }
    }
}
