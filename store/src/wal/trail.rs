//! Names that say how far a store went: `witness.redb.reached-0-12-345`, an empty file.
//!
//! A copy that is put over a folder writes over files, and leaves a name alone that it does not
//! know. So a name that is ahead of what the files hold says that these are older. It is changed by
//! a rename, which is one step, and only once what it says is durable: it is never ahead of a state
//! that is the newest, whenever the power goes.
//!
//! ```text
//! open ─► the name, durable ─► first frame, the name, answer ─► frames … ─► closed, the name
//!                                                         └─ every few seconds, beside the work
//! ```
//!
//! So a copy from before the last start is always behind the name, and one from after it as soon as
//! the name has moved again. A second folder, on another disk, shows also that the first one was
//! put back with all names in it.
//!
//! Rows: `spec/store.md` STO-40, STO-41.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::place::Reached;

/// Where names are kept.
#[derive(Debug, Clone)]
pub struct TrailFolder {
    path: PathBuf,
    /// What stands before what was reached.
    stem: String,
    /// The names that are there, the greatest last.
    names: Vec<Reached>,
    /// Whether the greatest may not be durable.
    unsettled: bool,
}

impl TrailFolder {
    /// The folder at `path`, in which the names of a store begin with `name`.
    ///
    /// # Errors
    /// It cannot be read, or has too many files.
    pub fn look(path: &Path, name: &str) -> io::Result<Self> {
        let stem = format!("{name}.reached-");
        let mut names = Vec::new();
        for (count, entry) in (1_usize..).zip(fs::read_dir(path)?) {
            if count > FILES_MAX {
                return Err(io::Error::other(format!("more than {FILES_MAX} files")));
            }
            let name = entry?.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix(&stem));
            names.extend(rest.and_then(Reached::parse));
        }
        names.sort_unstable();
        Ok(Self {
            path: path.to_owned(),
            stem,
            names,
            unsettled: false,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the greatest name says.
    pub fn newest(&self) -> Option<Reached> {
        self.names.last().copied()
    }

    fn file(&self, reached: Reached) -> PathBuf {
        self.path.join(format!("{}{reached}", self.stem))
    }

    /// Makes a name that says at least this, durably, and then the only one that says no more.
    // Spec: STO-40
    fn raise(&mut self, to: Reached) -> io::Result<()> {
        if self.newest().is_some_and(|newest| newest >= to) {
            return self.settle();
        }
        let renamed = self
            .newest()
            .map(|old| fs::rename(self.file(old), self.file(to)));
        match renamed {
            Some(Ok(())) => drop(self.names.pop()),
            // The first; or somebody took the last one away.
            None => self.make(to)?,
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => self.make(to)?,
            Some(Err(error)) => return Err(error),
        }
        // Before the wait: one that fails must not make another file each time.
        self.names.push(to);
        self.unsettled = true;
        self.settle()
    }

    /// Waits for the newest name, if that is owed, and leaves no other.
    fn settle(&mut self) -> io::Result<()> {
        if !self.unsettled {
            return Ok(());
        }
        File::open(&self.path)?.sync_all()?;
        self.unsettled = false;
        let newest = self.names.pop();
        for old in std::mem::take(&mut self.names) {
            // It says less than the new one, so it may stay.
            let _ = fs::remove_file(self.file(old));
        }
        self.names.extend(newest);
        Ok(())
    }

    fn make(&self, reached: Reached) -> io::Result<()> {
        let made = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.file(reached));
        made.map(drop)
    }
}

/// The names of a store that is open. Nothing is kept before [`Self::begin`].
#[derive(Debug, Default)]
pub(super) struct Trail {
    folders: OnceLock<Mutex<Vec<TrailFolder>>>,
    at: Mutex<Option<Reached>>,
    /// Whether the name has followed a frame of this process.
    followed: AtomicBool,
    fault: Mutex<Option<String>>,
}

impl Trail {
    /// Keeps names in these folders from now on, and makes them say where the store is.
    pub(super) fn begin(&self, folders: Vec<TrailFolder>, at: Reached) -> io::Result<()> {
        *lock(&self.at) = Some(at);
        let folders = self.folders.get_or_init(|| Mutex::new(folders));
        for folder in lock(folders).iter_mut() {
            folder.raise(at)?;
            // What was there may have been made by a process that was killed before its wait.
            File::open(&folder.path)?.sync_all()?;
        }
        Ok(())
    }

    /// Another epoch: from now on names say so.
    pub(super) fn begin_epoch(&self, epoch: u64) {
        if let Some(at) = lock(&self.at).as_mut() {
            at.epoch = epoch;
        }
        self.raise();
    }

    /// A frame is durable; the first one of this process is followed before it is acknowledged.
    pub(super) fn reached(&self, generation: u64, frames: u64) {
        if let Some(at) = lock(&self.at).as_mut() {
            (at.generation, at.frames) = (generation, frames);
        } else {
            return;
        }
        if !self.followed.swap(true, Ordering::AcqRel) {
            self.raise();
        }
    }

    /// Makes the names say where the store is. One that cannot be made stops nothing, and is told.
    pub(super) fn raise(&self) {
        let (Some(folders), Some(at)) = (self.folders.get(), *lock(&self.at)) else {
            return;
        };
        let mut failed = None;
        for folder in lock(folders).iter_mut() {
            if let Err(error) = folder.raise(at) {
                failed = Some(format!("{}: {error}", folder.path.display()));
            }
        }
        let mut fault = lock(&self.fault);
        if let Some(reason) = failed.as_ref().filter(|_| fault.is_none()) {
            tracing::error!(%reason, "the name that says how far the state went cannot be made");
        }
        *fault = failed;
    }

    /// Why the names do not say where the store is, if that is so.
    pub(super) fn fault(&self) -> Option<String> {
        lock(&self.fault).clone()
    }
}

// What a panic left poisoned is whole: each change here is one step, or is made again.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the names of the store at this path begin with.
pub(super) fn name_of(store: &Path) -> String {
    let name = OsString::from(store.file_name().unwrap_or_default());
    name.to_string_lossy().into_owned()
}

/// While the log is not emptied, how often the name follows it: a wait for the disk in a thread of
/// its own, and so far back goes what is not seen when a copy of the same run is put back.
pub(super) const RAISE_EVERY: Duration = Duration::from_secs(5);

/// A folder of a witness has a dozen.
const FILES_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(generation: u64, frames: u64) -> Reached {
        Reached {
            epoch: 0,
            generation,
            frames,
        }
    }

    fn look(folder: &tempfile::TempDir) -> TrailFolder {
        TrailFolder::look(folder.path(), "w.redb").unwrap()
    }

    // Spec: STO-40
    #[test]
    fn the_name_only_goes_up_and_is_the_only_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(look(&folder).newest(), None);
        let mut kept = look(&folder);
        for (to, newest) in [(3, 3), (2, 3), (7, 7)] {
            kept.raise(reached(1, to)).unwrap();
            assert_eq!(look(&folder).newest(), Some(reached(1, newest)));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        // A copy brought an old one back, and somebody took the new one away.
        File::create(folder.path().join("w.redb.reached-0-1-2")).unwrap();
        File::create(folder.path().join("w.redb.reached-0-1-02")).unwrap();
        File::create(folder.path().join("other.redb.reached-0-9-9")).unwrap();
        let mut kept = look(&folder);
        assert_eq!(kept.newest(), Some(reached(1, 7)));
        fs::remove_file(folder.path().join("w.redb.reached-0-1-7")).unwrap();
        kept.raise(reached(2, 0)).unwrap();
        assert_eq!(look(&folder).names, [reached(2, 0)]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    // Spec: STO-41
    #[test]
    fn the_first_frame_is_followed_at_once_and_a_folder_that_is_gone_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let trail = Trail::default();
        trail.reached(1, 1);
        trail.begin(vec![look(&folder)], reached(1, 1)).unwrap();
        assert_eq!(look(&folder).newest(), Some(reached(1, 1)));
        trail.reached(1, 2);
        assert_eq!(look(&folder).newest(), Some(reached(1, 2)));
        trail.reached(1, 3);
        assert_eq!(look(&folder).newest(), Some(reached(1, 2)));
        trail.raise();
        assert_eq!(look(&folder).newest(), Some(reached(1, 3)));
        let path = folder.path().to_owned();
        folder.close().unwrap();
        trail.reached(1, 4);
        trail.raise();
        assert!(trail.fault().unwrap().contains(path.to_str().unwrap()));
        fs::create_dir(&path).unwrap();
        trail.raise();
        assert_eq!(trail.fault(), None);
        fs::remove_dir_all(&path).unwrap();
    }
}
