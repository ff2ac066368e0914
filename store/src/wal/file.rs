//! The files of a write-ahead log, at the edge to the disk.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// What is done to a file of the log. Tests break it.
pub(crate) trait WalFile: Send + Sync {
    /// All of it.
    fn read(&self) -> io::Result<Vec<u8>>;
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Returns when everything that was written is on the disk.
    fn sync(&self) -> io::Result<()>;
}

/// A file whose blocks exist before they are used, so that a wait for the disk waits for no
/// bookkeeping of the file system. Locked: the engine's lock is on its own file, and is no help
/// when that one is exchanged for a copy.
#[derive(Debug)]
pub(crate) struct DiskFile(File);

impl WalFile for DiskFile {
    fn read(&self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.0.metadata()?.len()).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl DiskFile {
    /// `None` when there is no file.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] when somebody else has it open.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Self::locked(file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn locked(file: File) -> io::Result<Self> {
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::ResourceBusy.into()),
            // A file system without locks: the engine said what there is to say about it.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                Ok(Self(file))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    pub(super) fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    /// Makes a file of zeros, over any that is there. Its name leads to it only when all of it is
    /// on the disk.
    // Spec: STO-12
    pub(crate) fn create(path: &Path, bytes: usize) -> io::Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let draft = path.with_file_name(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        let file = Self::locked(file)?;
        file.0.write_all_at(&vec![0; bytes], 0)?;
        file.0.sync_all()?;
        fs::rename(&draft, path)?;
        sync_directory(path)?;
        Ok(file)
    }

    /// Makes sure that a file that was there is still there after a power cut: who made it may have
    /// been killed before that was certain.
    pub(crate) fn settle(&self, path: &Path) -> io::Result<()> {
        self.0.sync_all()?;
        sync_directory(path)
    }

    /// Device and number of the file that is open.
    pub(super) fn mark(&self) -> io::Result<(u64, u64)> {
        self.0.metadata().map(|file| (file.dev(), file.ino()))
    }
}

/// Where a path leads; as it is where that cannot be told by a path.
pub(super) fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

/// A file that holds a part of a store, as it was when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFile {
    /// Its name.
    pub path: PathBuf,
    mark: (u64, u64),
}

impl StateFile {
    /// What a name leads to now.
    pub(super) fn now(path: &Path) -> io::Result<Self> {
        let file = fs::metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            mark: (file.dev(), file.ino()),
        })
    }

    pub(super) fn of(path: &Path, file: &DiskFile) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            mark: file.mark()?,
        })
    }

    /// Whether its name still leads to it.
    pub fn is_in_place(&self) -> bool {
        Self::now(&self.path).is_ok_and(|now| now == *self)
    }
}

/// Where the two files of a database are: `witness.redb.wal-0` beside `witness.redb`.
pub(super) fn paths(database: &Path) -> [PathBuf; 2] {
    ["wal-0", "wal-1"].map(|ending| {
        let mut name = OsString::from(database.file_name().unwrap_or_default());
        name.push(".");
        name.push(ending);
        database.with_file_name(name)
    })
}
