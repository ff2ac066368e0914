//! Names that say how far a store went: `witness.redb.reached-0-12-345`, an empty file.
//!
//! A copy that is put over a folder writes over files, and leaves a name alone that it does not
//! know. So a name that is ahead of what the files hold says that these are older. And one that is
//! another file than the one that was made once, or is gone, says that somebody put files here, or
//! took some away. It is changed by a rename, which is one step and leaves the file the same, and
//! only once what it says is durable: it is never ahead of a state that is the newest, whenever the
//! power goes.
//!
//! ```text
//! open ─► the name, durable ─► first frame, the name, durable, answer ─► frames … ─► closed
//!                                       each frame: the name, not waited for ─┤
//!                    a thread for each folder: waited for every few seconds ──┘
//! ```
//!
//! So a copy from before the last start is always behind the name, and so is any other when the
//! process was killed; when the power went, one from before the last wait. A second folder, on
//! another disk, shows also that the first one was put back with all names in it; it has a thread
//! of its own, and whoever waits for that waits for a bounded time, for a folder may be on a disk
//! that does not answer.
//!
//! Rows: `spec/store.md` STO-40, STO-41, STO-60 to STO-63.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::place::{FileId, Reached};

/// Where names are kept.
#[derive(Debug, Clone)]
pub struct TrailFolder {
    path: PathBuf,
    /// What stands before what was reached.
    stem: String,
    /// The names that are there, the greatest last.
    names: Vec<Reached>,
    /// Which file has the greatest.
    file: Option<FileId>,
    /// The name that was waited for last.
    settled: Option<Reached>,
    /// Whether the store itself is here: then who takes the name away takes a part of it.
    beside: bool,
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
        let mut folder = Self {
            path: path.to_owned(),
            stem,
            names,
            file: None,
            settled: None,
            beside: false,
        };
        let newest = folder.newest().map(|newest| folder.path_of(newest));
        folder.file = newest.map(|newest| FileId::at(&newest)).transpose()?;
        Ok(folder)
    }

    /// The folder of the store itself.
    pub(super) fn beside(mut self) -> Self {
        self.beside = true;
        self
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the greatest name says.
    pub fn newest(&self) -> Option<Reached> {
        self.names.last().copied()
    }

    /// Which file has the greatest name.
    pub fn file(&self) -> Option<FileId> {
        self.file
    }

    fn path_of(&self, reached: Reached) -> PathBuf {
        self.path.join(format!("{}{reached}", self.stem))
    }

    /// Makes a name that says at least this. It may not be durable.
    // Spec: STO-40, STO-60
    fn advance(&mut self, to: Reached) -> io::Result<()> {
        let old = self.newest();
        if old.is_some_and(|old| old >= to) {
            return Ok(());
        }
        match old.map(|old| fs::rename(self.path_of(old), self.path_of(to))) {
            Some(Ok(())) => drop(self.names.pop()),
            None => self.file = Some(self.make(to)?),
            // Beside the store it says that somebody put a copy here; outside, that the disk is not
            // mounted any more.
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound && !self.beside => {
                self.file = Some(self.make(to)?);
            }
            Some(Err(error)) => return Err(error),
        }
        self.names.push(to);
        Ok(())
    }

    /// The newest name, if nobody waited for it.
    fn owed(&self) -> Option<Reached> {
        let newest = self.newest();
        newest.filter(|_| newest != self.settled)
    }

    /// It, or a later one, is durable: all that say less go.
    fn settle(&mut self, settled: Reached) {
        self.settled = Some(settled);
        let newest = self.names.pop();
        for old in std::mem::take(&mut self.names) {
            // It says less than the new one, so it may stay.
            let _ = fs::remove_file(self.path_of(old));
        }
        self.names.extend(newest);
    }

    fn make(&self, reached: Reached) -> io::Result<FileId> {
        let made = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path_of(reached));
        made.and_then(|file| file.metadata())
            .map(|file| FileId::of(&file))
    }

    /// The newest name, if it leads to another file by now, or to none.
    // Spec: STO-61
    fn lost(&self) -> Option<PathBuf> {
        let (newest, file) = self.newest().zip(self.file)?;
        let path = self.path_of(newest);
        let same = FileId::at(&path).is_ok_and(|now| !now.is_other_than(file));
        (!same).then_some(path)
    }
}

/// The names of a store that is open. Nothing is kept before [`Self::begin`].
#[derive(Debug, Default)]
pub(super) struct Trail {
    keepers: OnceLock<Vec<Keeper>>,
    at: Arc<Mutex<Option<Reached>>>,
    /// Whether the name has followed a frame of this process.
    followed: AtomicBool,
}

impl Trail {
    /// Keeps names in these folders from now on, and makes them say durably where the store is.
    // Spec: STO-40, STO-62
    pub(super) fn begin(&self, folders: Vec<TrailFolder>, at: Reached) -> io::Result<()> {
        *lock(&self.at) = Some(at);
        let keepers = folders
            .into_iter()
            .map(|folder| Keeper::spawn(folder, &self.at));
        let keepers = keepers.collect::<io::Result<Vec<_>>>()?;
        let keepers = self.keepers.get_or_init(|| keepers);
        let until = Instant::now() + START_PATIENCE;
        for keeper in keepers {
            keeper.ask();
        }
        keepers.iter().try_for_each(|keeper| {
            keeper.wait(until);
            keeper
                .fault()
                .map_or(Ok(()), |fault| Err(io::Error::other(fault)))
        })
    }

    /// Another epoch: from now on names say so.
    pub(super) fn begin_epoch(&self, epoch: u64) {
        if let Some(at) = lock(&self.at).as_mut() {
            at.epoch = epoch;
        }
        self.raise();
    }

    /// A frame is durable. The name beside the store follows it; that of the first one of this
    /// process does so durably, as do all others, before it is acknowledged.
    // Spec: STO-41, STO-60
    pub(super) fn reached(&self, generation: u64, frames: u64) {
        let at = {
            let mut at = lock(&self.at);
            let Some(at) = at.as_mut() else { return };
            (at.generation, at.frames) = (generation, frames);
            *at
        };
        if !self.followed.swap(true, Ordering::AcqRel) {
            return self.raise();
        }
        if let Some(beside) = self.beside() {
            beside.advance(at);
        }
    }

    /// Makes the names say durably where the store is. One that cannot be made, or not within
    /// [`PATIENCE`], stops nothing, and is told.
    pub(super) fn raise(&self) {
        let keepers = self.keepers.get().map(Vec::as_slice).unwrap_or_default();
        let until = Instant::now() + PATIENCE;
        for keeper in keepers {
            keeper.ask();
        }
        for keeper in keepers {
            keeper.wait(until);
        }
    }

    /// Why the names do not say where the store is, if that is so.
    pub(super) fn fault(&self) -> Option<String> {
        self.keepers.get()?.iter().find_map(Keeper::fault)
    }

    /// Which file has the name beside the store.
    pub(super) fn file(&self) -> Option<FileId> {
        lock(&self.beside()?.shared.folder).file
    }

    /// The name beside the store, if somebody removed or replaced it.
    pub(super) fn lost(&self) -> Option<PathBuf> {
        lock(&self.beside()?.shared.folder).lost()
    }

    fn beside(&self) -> Option<&Keeper> {
        self.keepers
            .get()?
            .iter()
            .find(|keeper| keeper.shared.beside)
    }
}

/// A handle to the thread that waits for the disk of one folder; its drop ends it.
#[derive(Debug)]
struct Keeper {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    beside: bool,
    /// Held while a name is changed, and never through a wait for the disk. Where the store is not,
    /// the thread alone takes it.
    folder: Mutex<TrailFolder>,
    at: Arc<Mutex<Option<Reached>>>,
    errands: Mutex<Errands>,
    changed: Condvar,
}

/// What the thread of a folder was asked for, and what became of it.
#[derive(Debug, Default)]
struct Errands {
    asked: u64,
    done: u64,
    /// When it began what it is doing.
    since: Option<Instant>,
    /// Somebody has waited in vain.
    is_late: bool,
    fault: Option<String>,
    ending: bool,
    ended: bool,
}

impl Keeper {
    fn spawn(folder: TrailFolder, at: &Arc<Mutex<Option<Reached>>>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            path: folder.path.clone(),
            beside: folder.beside,
            folder: Mutex::new(folder),
            at: Arc::clone(at),
            errands: Mutex::default(),
            changed: Condvar::new(),
        });
        let worker = Arc::clone(&shared);
        let thread = thread::Builder::new().name("names".to_owned());
        // It is not joined: a disk that does not answer may never let it go.
        drop(thread.spawn(move || worker.run())?);
        Ok(Self { shared })
    }

    fn ask(&self) {
        lock(&self.shared.errands).asked += 1;
        self.shared.changed.notify_all();
    }

    /// Waits until all that was asked for is done; not for a folder that is late already.
    // Spec: STO-62
    fn wait(&self, until: Instant) {
        let busy = |errands: &mut Errands| errands.asked != errands.done && !errands.is_late;
        let mut errands = self.shared.wait_while(until, busy);
        if errands.asked != errands.done && !errands.is_late {
            errands.is_late = true;
            let path = self.shared.path.display();
            tracing::error!(%path, "this folder does not answer; nothing waits for it any more");
        }
    }

    /// The name says this from now on, whenever it becomes durable.
    fn advance(&self, to: Reached) {
        let advanced = lock(&self.shared.folder).advance(to);
        if let Err(error) = advanced {
            self.shared.tell(Err(error));
        }
    }

    fn fault(&self) -> Option<String> {
        let errands = lock(&self.shared.errands);
        let slow = |since: Instant| since.elapsed() > PATIENCE;
        if errands.is_late || errands.since.is_some_and(slow) {
            return Some(format!(
                "{}: it does not answer",
                self.shared.path.display()
            ));
        }
        errands.fault.clone()
    }
}

impl Drop for Keeper {
    /// Nothing changes in the folder from then on, unless its disk does not answer.
    fn drop(&mut self) {
        let mut errands = lock(&self.shared.errands);
        errands.ending = true;
        let patience = if errands.is_late {
            Duration::ZERO
        } else {
            PATIENCE
        };
        drop(errands);
        self.shared.changed.notify_all();
        let until = Instant::now() + patience;
        drop(self.shared.wait_while(until, |errands| !errands.ended));
    }
}

impl Shared {
    fn wait_while(
        &self,
        until: Instant,
        condition: impl FnMut(&mut Errands) -> bool,
    ) -> MutexGuard<'_, Errands> {
        let patience = until.saturating_duration_since(Instant::now());
        let errands = lock(&self.errands);
        let waited = self
            .changed
            .wait_timeout_while(errands, patience, condition);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn run(&self) {
        loop {
            let idle = |errands: &mut Errands| errands.asked == errands.done && !errands.ending;
            let mut errands = self.wait_while(Instant::now() + RAISE_EVERY, idle);
            if errands.ending && errands.asked == errands.done {
                errands.ended = true;
                break;
            }
            let asked = errands.asked;
            errands.since = Some(Instant::now());
            drop(errands);
            let raised = self.raise();
            self.tell(raised);
            let mut errands = lock(&self.errands);
            (errands.since, errands.is_late, errands.done) = (None, false, asked);
            drop(errands);
            self.changed.notify_all();
        }
        self.changed.notify_all();
    }

    // Spec: STO-40
    fn raise(&self) -> io::Result<()> {
        let Some(at) = *lock(&self.at) else {
            return Ok(());
        };
        let owed = {
            let mut folder = lock(&self.folder);
            folder.advance(at)?;
            folder.owed()
        };
        let Some(owed) = owed else { return Ok(()) };
        File::open(&self.path)?.sync_all()?;
        lock(&self.folder).settle(owed);
        Ok(())
    }

    fn tell(&self, raised: io::Result<()>) {
        let fault = raised
            .err()
            .map(|error| format!("{}: {error}", self.path.display()));
        let mut errands = lock(&self.errands);
        if let Some(reason) = fault.as_ref().filter(|_| errands.fault.is_none()) {
            tracing::error!(%reason, "the name that says how far the state went cannot be made");
        }
        errands.fault = fault;
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

/// How often a name is waited for: so far back goes what is not seen when the power went and a copy
/// of the same run is written over the files.
const RAISE_EVERY: Duration = Duration::from_secs(5);

/// How long an answer, or the end of the process, waits for a folder; once, until it answers again.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a start does.
const START_PATIENCE: Duration = Duration::from_secs(10);

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

    /// Waits for what a thread does by itself; at most 20 s.
    fn until(mut holds: impl FnMut() -> bool) {
        for _ in 0..2_000 {
            if holds() {
                return;
            }
            // Wait: for the thread.
            thread::sleep(Duration::from_millis(10));
        }
        panic!("it did not happen within 20 s");
    }

    fn raise(folder: &mut TrailFolder, to: Reached) {
        folder.advance(to).unwrap();
        if let Some(owed) = folder.owed() {
            folder.settle(owed);
        }
    }

    // Spec: STO-40
    #[test]
    fn the_name_only_goes_up_and_is_the_only_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(look(&folder).newest(), None);
        let mut kept = look(&folder);
        for (to, newest) in [(3, 3), (2, 3), (7, 7)] {
            raise(&mut kept, reached(1, to));
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
        raise(&mut kept, reached(2, 0));
        assert_eq!(look(&folder).names, [reached(2, 0)]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    // Spec: STO-61
    #[test]
    fn the_name_stays_one_file_and_one_that_is_taken_away_beside_the_store_is_not_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = look(&folder).beside();
        kept.advance(reached(1, 1)).unwrap();
        let made = kept.file().unwrap();
        kept.advance(reached(1, 2)).unwrap();
        assert_eq!(look(&folder).file(), Some(made));
        assert_eq!(kept.lost(), None);
        let name = folder.path().join("w.redb.reached-0-1-2");
        let aside = folder.path().join("aside");
        fs::rename(&name, &aside).unwrap();
        assert_eq!(kept.lost().as_ref(), Some(&name));
        assert!(kept.advance(reached(1, 3)).is_err());
        // Another file of the same name is not it, and it is.
        File::create(&name).unwrap();
        assert_eq!(kept.lost().as_ref(), Some(&name));
        fs::rename(&aside, &name).unwrap();
        assert_eq!(kept.lost(), None);
        kept.advance(reached(1, 3)).unwrap();
        assert_eq!(look(&folder).names, [reached(1, 3)]);
    }

    // Spec: STO-41, STO-60
    #[test]
    fn each_frame_is_followed_and_a_folder_that_is_gone_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let trail = Trail::default();
        trail.reached(1, 1);
        let folders = vec![look(&folder).beside(), look(&outside)];
        trail.begin(folders, reached(1, 1)).unwrap();
        let both = || [look(&folder).newest(), look(&outside).newest()];
        assert_eq!(both(), [Some(reached(1, 1)); 2]);
        trail.reached(1, 2);
        assert_eq!(both(), [Some(reached(1, 2)); 2], "the first, durably");
        trail.reached(1, 3);
        assert_eq!(look(&folder).newest(), Some(reached(1, 3)));
        // By itself, though nobody asks: the store may be busy with something else.
        until(|| look(&outside).newest() == Some(reached(1, 3)));
        let path = outside.path().to_owned();
        outside.close().unwrap();
        trail.reached(1, 4);
        trail.raise();
        assert!(trail.fault().unwrap().contains(path.to_str().unwrap()));
        fs::create_dir(&path).unwrap();
        trail.raise();
        assert_eq!(trail.fault(), None);
        fs::remove_dir_all(&path).unwrap();
    }

    /// A folder whose disk does not answer: its thread is kept in the middle of its work.
    // Spec: STO-62
    #[test]
    fn a_folder_that_hangs_is_waited_for_once_and_told_of_until_it_answers() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let trail = Trail::default();
        let folders = vec![look(&folder).beside(), look(&outside)];
        trail.begin(folders, reached(1, 1)).unwrap();
        assert_eq!(trail.fault(), None);
        let hangs = trail.keepers.get().unwrap()[1]
            .shared
            .folder
            .lock()
            .unwrap();
        for frames in 2..200 {
            trail.reached(1, frames);
            trail.raise();
            assert_eq!(look(&folder).newest(), Some(reached(1, frames)));
        }
        let fault = trail.fault().unwrap();
        assert!(fault.contains(outside.path().to_str().unwrap()), "{fault}");
        assert!(fault.contains("does not answer"), "{fault}");
        assert_eq!(look(&outside).newest(), Some(reached(1, 1)));
        drop(hangs);
        until(|| trail.fault().is_none());
        until(|| look(&outside).newest() == Some(reached(1, 199)));
    }
}
