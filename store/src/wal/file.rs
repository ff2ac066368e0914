//! The files of a write-ahead log, at the edge to the disk.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
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
/// bookkeeping of the file system.
#[derive(Debug)]
pub(super) struct DiskFile(File);

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
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Ok(Some(Self(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    /// Makes a file of zeros, over any that is there.
    pub(super) fn create(path: &Path, bytes: usize) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        let zeros = vec![0; bytes];
        file.write_all_at(&zeros, 0)?;
        file.sync_all()?;
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        File::open(directory)?.sync_all()?;
        Ok(Self(file))
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
