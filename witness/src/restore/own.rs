//! The part of the guard that asks nobody: what the state says of itself ([`super::copied`]), and
//! what its operator decides.
//!
//! ```text
//! start ─► open ─► decide ─► a copy: recorded in the state ─► names ─► witness.redb.held ─► listen
//!                                      │
//! logs resolve --all-moved ─► journal ─► witness.redb.resolved ─► recorded, another epoch ─► free
//! ```
//!
//! It is one fact about the whole state, whether there are ten logs or 100,000. What is recorded in
//! the state decides; the two files only carry it to the command and back, each with a digest of
//! what was found, so that a decision of last year decides nothing.
//!
//! Rows: `spec/witness.md` WIT-89 to WIT-94, WIT-106, WIT-107.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use jurat_proto::hash::{Hash, sha256};
use jurat_proto::hex;
use jurat_store::registry::{Registry, own_like};
use jurat_store::{
    FoundCopy, Identity, Placed, Reached, StoreError, TrailFolder, WalStore, WriteError,
};

use super::RestoreGuard;
use super::config::Moved;
use super::copied::{self, Here, Outside, Sign, Verdict};
use crate::journal::{self, Journal};

/// What a state says of itself.
pub struct OwnState {
    store: Arc<WalStore>,
    files: Files,
    /// What is recorded.
    placed: Mutex<Placed>,
    is_copy: AtomicBool,
    here: Identity,
    /// A digest of the folder outside.
    outside: Option<Hash>,
    /// The epoch of the newest name.
    epoch: u64,
}

/// What is looked at.
pub struct Look<'a> {
    /// The database.
    pub database: &'a Path,
    /// The list of logs, for its journal.
    pub logs: &'a Path,
    /// What names in the folder outside begin with: several witnesses may share it.
    pub name: &'a str,
    /// The clock: for people only.
    pub clock: &'a dyn jurat_daemon::clock::Clock,
    /// When the operator put evidence aside last, by any clock: that decides nothing on a copy that
    /// is found now.
    pub dismissed: u64,
}

impl OwnState {
    /// Looks at a state that was opened and from which nothing was signed yet; on return names say
    /// durably how far it went.
    ///
    /// # Errors
    /// [`OwnStateError`]; nothing may be signed then.
    // Spec: WIT-89, WIT-90, WIT-91
    pub fn open(
        store: &Arc<WalStore>,
        settings: &RestoreGuard,
        look: &Look<'_>,
    ) -> Result<Self, OwnStateError> {
        let database = look.database;
        let recorded = store.placed()?;
        let seen = Seen::look(store, recorded.as_ref(), settings, (database, look.name))?;
        let verdict = copied::decide(recorded.as_ref(), &seen.here);
        let newly = matches!(verdict, Verdict::Copied(_));
        let mut placed = seen.placed(recorded.as_ref(), verdict, settings.moved, look);
        // Before any name: one that is there says that there is a record. And a log in other files
        // that is only told of is told of once.
        if recorded.as_ref() != Some(&placed) || seen.here.other_log.is_some() {
            store.place(&placed)?;
        }
        let (identity, epoch) = (seen.here.identity, seen.epoch());
        let (mut folders, mut outside) = (seen.folders, seen.outside);
        // What is made where a disk is not mounted would be found there the next time.
        if placed.copy.is_some() && seen.here.outside.is_some_and(Outside::is_gone) {
            folders.truncate(1);
            outside = None;
        }
        store
            .keep_trail(folders, seen.here.reached)
            .map_err(OwnStateError::Name)?;
        // After the names: they have to be there from now on, and in these files.
        let name = store.name_file();
        let name = name.map(|is| placed.name.map_or(is, |was| is.merged(was)));
        if (placed.outside, placed.name) != (outside, name) && placed.copy.is_none() {
            (placed.outside, placed.name) = (outside, name);
            store.place(&placed)?;
        }
        let own = Self {
            store: Arc::clone(store),
            files: Files::beside(database),
            is_copy: AtomicBool::new(placed.copy.is_some()),
            placed: Mutex::new(placed),
            here: identity,
            outside,
            epoch,
        };
        own.tell(newly, look);
        own.decided();
        Ok(own)
    }

    /// That the state is a copy, and why, until its operator has decided.
    pub fn found(&self) -> Option<FoundCopy> {
        if !self.is_copy.load(Ordering::Acquire) {
            return None;
        }
        self.placed().copy.clone()
    }

    /// Why the names do not say how far the state went, if they do not.
    pub fn fault(&self) -> Option<String> {
        self.store.trail_fault()
    }

    /// Takes over what the operator decided, if that is so and of what was found; whether nothing
    /// is to be decided any more.
    // Spec: WIT-93
    pub fn decided(&self) -> bool {
        let mut placed = self.placed();
        let Some(copy) = &placed.copy else {
            self.files.remove();
            return true;
        };
        let Some(reason) = self.files.resolved(&id_of(copy)) else {
            return false;
        };
        let new = Placed {
            // Ahead of every name that there is: they are of a history that is given up.
            epoch: self.epoch.max(placed.epoch).saturating_add(1),
            identity: copied::merged(placed.identity, self.here),
            outside: self.outside,
            name: self.store.name_file(),
            copy: None,
        };
        if let Err(error) = self.store.place(&new) {
            tracing::error!(%error, "the decision on the state is not durable, and not in force");
            return false;
        }
        *placed = new;
        self.is_copy.store(false, Ordering::Release);
        self.files.remove();
        tracing::warn!(%reason, "the operator took this state for the newest; its logs are free");
        true
    }

    fn tell(&self, newly: bool, look: &Look<'_>) {
        let placed = self.placed();
        let Some(copy) = &placed.copy else { return };
        let why = &copy.why;
        tracing::error!(%why, "the state is a copy; logs are held until the operator decides");
        if let Err(error) = self.files.write_held(copy) {
            tracing::error!(%error, "what the state is held for cannot be written");
        }
        if newly {
            let journal = Journal::beside(look.logs);
            let recorder = journal.by(journal::GUARD, look.clock);
            let said = Registry::settled(look.logs, || recorder.tell("state held", why));
            if !matches!(said, Ok(Ok(()))) {
                tracing::error!("the journal cannot be written");
            }
        }
    }

    // What a panic left poisoned is whole: each change here is one step.
    fn placed(&self) -> std::sync::MutexGuard<'_, Placed> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for OwnState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnState")
            .field("placed", &self.placed)
            .finish_non_exhaustive()
    }
}

/// What is there at a start.
struct Seen {
    here: Here,
    folders: Vec<TrailFolder>,
    /// A digest of the folder outside.
    outside: Option<Hash>,
}

impl Seen {
    fn look(
        store: &WalStore,
        recorded: Option<&Placed>,
        settings: &RestoreGuard,
        (database, witness): (&Path, &str),
    ) -> Result<Self, OwnStateError> {
        let machine = settings.machine_id_file.as_deref().and_then(machine);
        let identity = Identity::of(database, machine).map_err(OwnStateError::Look)?;
        let epoch = recorded.map_or(0, |recorded| recorded.epoch);
        let beside = store.trail_folder().map_err(OwnStateError::Look)?;
        let outside = settings.mark_dir.as_deref();
        let outside = outside.map(|dir| outside_of(dir, database, witness));
        let outside = outside.transpose()?;
        let kept = recorded.and_then(|recorded| recorded.outside);
        let here = Here {
            identity,
            reached: store.reached(epoch)?,
            beside: beside.newest(),
            name: beside.file(),
            other_log: store.other_log_file(),
            outside: outside.as_ref().map(|(folder, digest)| Outside {
                newest: folder.newest(),
                kept: kept == Some(*digest),
            }),
        };
        let (folder, digest) = outside.unzip();
        let folders = [Some(beside), folder].into_iter().flatten().collect();
        Ok(Self {
            here,
            folders,
            outside: digest,
        })
    }

    /// That of the newest name, or of the state.
    fn epoch(&self) -> u64 {
        let names = self.folders.iter().filter_map(TrailFolder::newest);
        let epochs = names.map(|newest| newest.epoch);
        epochs.fold(self.here.reached.epoch, u64::max)
    }

    /// What to record.
    fn placed(
        &self,
        was: Option<&Placed>,
        verdict: Verdict,
        moved: Moved,
        look: &Look<'_>,
    ) -> Placed {
        let here = self.here.identity;
        let copy = match verdict {
            Verdict::Sound => None,
            Verdict::Unrecorded => {
                tell_unrecorded(self.here.reached);
                None
            }
            Verdict::Undecided(copy) => Some(copy),
            Verdict::Copied(signs) if moved == Moved::Report && !older(&signs) => {
                let why = copied::told(&signs);
                tracing::warn!(%why, "the state is a copy, and by the configuration none is held");
                None
            }
            Verdict::Copied(signs) => Some(FoundCopy {
                since: look
                    .clock
                    .now()
                    .seconds()
                    .max(look.dismissed.saturating_add(1)),
                why: copied::told(&signs),
            }),
        };
        Placed {
            epoch: self.here.reached.epoch,
            identity: match was {
                // It is the one that it was until its operator says otherwise.
                Some(was) if copy.is_some() => was.identity,
                Some(was) => copied::merged(was.identity, here),
                None => here,
            },
            outside: was.and_then(|was| was.outside),
            // What is another by now is recorded once it is kept.
            name: was.and_then(|was| was.name),
            copy,
        }
    }
}

fn older(signs: &[Sign]) -> bool {
    signs.iter().any(|sign| sign.is_older())
}

/// A new one has nothing yet that could be older.
// Spec: WIT-94
fn tell_unrecorded(reached: Reached) {
    if reached.generation > 1 || reached.frames > 0 {
        tracing::warn!(
            "this state has no record of where it is, as those of earlier versions; it is taken \
             for the newest, and a copy of it is noticed from now on"
        );
    }
}

/// A digest of what names this machine. What the file says is not to be told to others.
fn machine(file: &Path) -> Option<Hash> {
    let mut text = String::new();
    let opened = File::open(file).ok()?;
    opened
        .take(MACHINE_BYTES_MAX)
        .read_to_string(&mut text)
        .ok()?;
    let name = text.trim();
    let known = !name.is_empty() && name != "uninitialized";
    known.then(|| sha256(format!("jurat machine\n{name}").as_bytes()))
}

/// The folder outside, and a digest of its name. It may be on a disk that does not answer.
// Spec: WIT-107
fn outside_of(
    dir: &Path,
    database: &Path,
    witness: &str,
) -> Result<(TrailFolder, Hash), OwnStateError> {
    let digest = hex::encode(sha256(witness.as_bytes()).as_bytes());
    let name = format!("witness-{}", digest.get(..16).unwrap_or_default());
    let (path, state) = (dir.to_owned(), database.parent().unwrap_or(Path::new("")));
    let state = fs::canonicalize(state);
    let looked = in_time(move || {
        let real = fs::canonicalize(path)?;
        if state.is_ok_and(|state| state == real) {
            return Err(io::Error::other("it is the folder of the state itself"));
        }
        let folder = TrailFolder::look(&real, &name)?;
        Ok((folder, sha256(real.as_os_str().as_encoded_bytes())))
    });
    looked
        .and_then(|looked| looked)
        .map_err(|source| OwnStateError::MarkDir {
            path: dir.to_owned(),
            source,
        })
}

/// What this gives within [`DISK_PATIENCE`]; after that its thread is left to itself.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`]; or there is no thread to be had.
// Spec: WIT-107
pub(super) fn in_time<T: Send + 'static>(of: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (tell, told) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name("mark_dir".to_owned());
    // Nobody may listen any more.
    thread.spawn(move || drop(tell.send(of())))?;
    told.recv_timeout(DISK_PATIENCE).map_err(|_| {
        let seconds = DISK_PATIENCE.as_secs();
        let why = format!("it did not answer within {seconds} s; is its disk there?");
        io::Error::new(io::ErrorKind::TimedOut, why)
    })
}

/// How long a start waits for a folder that may be on another disk.
const DISK_PATIENCE: Duration = Duration::from_secs(10);

/// What a finding is known again by.
fn id_of(copy: &FoundCopy) -> String {
    let FoundCopy { since, why } = copy;
    hex::encode(sha256(format!("{since}\n{why}").as_bytes()).as_bytes())
}

/// The files beside a database that carry a finding to the command and a decision back.
#[derive(Debug)]
pub(crate) struct Files {
    held: PathBuf,
    resolved: PathBuf,
    database: PathBuf,
}

impl Files {
    /// Those of a database.
    pub(crate) fn beside(database: &Path) -> Self {
        let file = |ending: &str| {
            let mut name = database.file_name().unwrap_or_default().to_owned();
            name.push(ending);
            database.with_file_name(name)
        };
        Self {
            held: file(".held"),
            resolved: file(".resolved"),
            database: database.to_owned(),
        }
    }

    /// What the witness that serves, or served last, found.
    pub(crate) fn held(&self) -> Option<FoundCopy> {
        let text = read(&self.held)?;
        let (since, why) = text.strip_suffix('\n')?.split_once('\n')?;
        let since = since.parse().ok()?;
        let why = why.to_owned();
        Some(FoundCopy { since, why })
    }

    fn write_held(&self, copy: &FoundCopy) -> io::Result<()> {
        self.write(&self.held, &format!("{}\n{}\n", copy.since, copy.why))
    }

    /// Says what the operator decided.
    pub(crate) fn resolve(&self, copy: &FoundCopy, reason: &str) -> io::Result<()> {
        self.write(&self.resolved, &format!("{}\n{reason}\n", id_of(copy)))
    }

    /// The reason, if this was decided.
    fn resolved(&self, id: &str) -> Option<String> {
        let text = read(&self.resolved)?;
        let (of, reason) = text.strip_suffix('\n')?.split_once('\n')?;
        (of == id).then(|| reason.to_owned())
    }

    /// What cannot be removed says nothing: its digest is of another finding.
    fn remove(&self) {
        let _ = fs::remove_file(&self.resolved);
        let _ = fs::remove_file(&self.held);
    }

    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        let mut draft = path.as_os_str().to_owned();
        draft.push(".new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        // Spec: STO-31
        own_like(&file, &self.database)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

/// A machine's name has 33 bytes.
const MACHINE_BYTES_MAX: u64 = 4_096;

/// A reason has at most a kilobyte, and what was found no more.
const FILE_BYTES_MAX: u64 = 16 << 10;

/// Why a state cannot be looked at. The operator is at fault, or the disk. Nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum OwnStateError {
    /// Its file or folder cannot be looked at.
    #[error("cannot look at the state: {0}")]
    Look(io::Error),
    /// The folder outside cannot be used.
    #[error("restore_guard.mark_dir {} cannot be used: {source}", .path.display())]
    MarkDir {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A name cannot be made.
    #[error("the name that says how far the state went cannot be made: {0}")]
    Name(io::Error),
    /// The store cannot be read.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The store does not take what is to be recorded.
    #[error("{0}")]
    Record(#[from] WriteError),
}
