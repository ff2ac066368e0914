//! The files of a write-ahead log, at the edge to the disk.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;

use crate::frames::BLOCK;

use super::place::FileId;

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
///
/// What is written goes to the disk at once, past the system's cache, where the file system can do
/// that: the wait that follows then has only the disk's own cache to empty, which takes two thirds
/// of the time.
#[derive(Debug)]
pub(crate) struct DiskFile {
    file: File,
    direct: Mutex<Option<Direct>>,
}

impl WalFile for DiskFile {
    fn read(&self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.file.metadata()?.len()).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut direct = self.direct.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(way) = direct.as_mut() {
            match way.write_at(bytes, at)? {
                Direction::Written => return Ok(()),
                // Nobody was told of what was written: all of it is written again, in its place.
                Direction::Refused => *direct = None,
            }
        }
        self.file.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// The same file, written without the system's cache.
#[derive(Debug)]
struct Direct {
    file: File,
    /// What is written has to begin where a block does in memory, too.
    buffer: Aligned,
}

#[derive(Debug, PartialEq, Eq)]
enum Direction {
    Written,
    /// Or some of it was written.
    Refused,
}

impl Direct {
    /// `None` where the file system cannot, or the name leads elsewhere by now.
    fn beside(path: &Path, file: &File) -> Option<Self> {
        let flags = i32::try_from(OFlags::DIRECT.bits()).ok()?;
        let mut options = OpenOptions::new();
        let direct = options.write(true).custom_flags(flags).open(path).ok()?;
        (mark(&direct).ok()? == mark(file).ok()?).then(|| Self {
            file: direct,
            buffer: Aligned::new(),
        })
    }

    fn write_at(&mut self, bytes: &[u8], from: u64) -> io::Result<Direction> {
        let Self { file, buffer } = self;
        buffer.write(bytes, from, |aligned, at| file.write_at(aligned, at))
    }
}

/// Memory that begins where a page does.
#[derive(Debug)]
struct Aligned {
    memory: Vec<u8>,
    from: usize,
}

impl Aligned {
    const BYTES: usize = 64 * BLOCK;

    fn new() -> Self {
        let memory = vec![0; Self::BYTES + BLOCK];
        let from = memory.as_ptr().align_offset(BLOCK);
        Self { memory, from }
    }

    /// A copy of up to [`Self::BYTES`] bytes.
    fn holding(&mut self, bytes: &[u8]) -> &[u8] {
        let (from, to) = (self.from, self.from + bytes.len());
        if let Some(aligned) = self.memory.get_mut(from..to) {
            aligned.copy_from_slice(bytes);
        }
        self.memory.get(from..to).unwrap_or_default()
    }

    /// Writes by parts that begin where a block does in memory.
    ///
    /// Some disks want longer blocks than ours, and say so when one is written, or take a part of
    /// what they are given: what such a rest would need is the cache's to know.
    fn write(
        &mut self,
        bytes: &[u8],
        from: u64,
        mut write_at: impl FnMut(&[u8], u64) -> io::Result<usize>,
    ) -> io::Result<Direction> {
        let mut at = from;
        for part in bytes.chunks(Self::BYTES) {
            let aligned = self.holding(part);
            let written = loop {
                match write_at(aligned, at) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    done => break done,
                }
            };
            match written {
                Ok(written) if written == part.len() => {}
                Ok(_) => return Ok(Direction::Refused),
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    return Ok(Direction::Refused);
                }
                Err(error) => return Err(error),
            }
            at += u64::try_from(part.len()).map_err(io::Error::other)?;
        }
        Ok(Direction::Written)
    }
}

impl DiskFile {
    /// `None` when there is no file.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] when somebody else has it open.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => {
                let file = Self::locked(file)?;
                Ok(Some(file.written_directly(path)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn locked(file: File) -> io::Result<Self> {
        match file.try_lock() {
            Ok(()) => Ok(Self::through_the_cache(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::ResourceBusy.into()),
            // A file system without locks: the engine said what there is to say about it.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                Ok(Self::through_the_cache(file))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn through_the_cache(file: File) -> Self {
        let direct = Mutex::new(None);
        Self { file, direct }
    }

    fn written_directly(self, path: &Path) -> Self {
        let direct = Direct::beside(path, &self.file);
        Self {
            direct: Mutex::new(direct),
            ..self
        }
    }

    pub(super) fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
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
        file.file.write_all_at(&vec![0; bytes], 0)?;
        file.file.sync_all()?;
        let file = file.written_directly(&draft);
        fs::rename(&draft, path)?;
        sync_directory(path)?;
        Ok(file)
    }

    /// Makes sure that a file that was there is still there after a power cut: who made it may have
    /// been killed before that was certain.
    pub(crate) fn settle(&self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        sync_directory(path)
    }

    /// Which file it is.
    pub(super) fn id(&self) -> io::Result<FileId> {
        self.file.metadata().map(|file| FileId::of(&file))
    }

    /// Device and number of the file that is open.
    pub(super) fn mark(&self) -> io::Result<(u64, u64)> {
        mark(&self.file)
    }
}

fn mark(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|file| (file.dev(), file.ino()))
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

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: usize = 150;

    /// A file of zeros. A temporary folder may be memory, which takes everything.
    fn zeros() -> (tempfile::TempDir, DiskFile) {
        let program = std::env::current_exe().unwrap();
        let folder = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        let file = DiskFile::create(&folder.path().join("file"), BLOCKS * BLOCK).unwrap();
        (folder, file)
    }

    fn is_direct(file: &DiskFile) -> bool {
        file.direct.lock().unwrap().is_some()
    }

    /// Opened past the cache, where the file system here can do that.
    fn past_the_cache(folder: &tempfile::TempDir) -> Option<File> {
        let flags = i32::try_from(OFlags::DIRECT.bits()).unwrap();
        let mut options = OpenOptions::new();
        let options = options.write(true).custom_flags(flags);
        options.open(folder.path().join("file")).ok()
    }

    /// What is in the file after some writes is what should be.
    fn check_writes(file: &DiskFile, writes: &[(usize, usize)]) {
        let mut wanted = vec![0; BLOCKS * BLOCK];
        for (at, length) in writes {
            let bytes: Vec<u8> = (1..=251).cycle().take(*length).collect();
            wanted[*at..at + length].copy_from_slice(&bytes);
            file.write_at(&bytes, u64::try_from(*at).unwrap()).unwrap();
            file.sync().unwrap();
        }
        assert!(file.read().unwrap() == wanted, "{writes:?}");
    }

    #[test]
    fn blocks_of_any_number_are_read_as_they_were_written_past_the_cache_or_through_it() {
        for direct in [true, false] {
            let (folder, file) = zeros();
            let can = past_the_cache(&folder).is_some();
            assert_eq!(is_direct(&file), can);
            if !direct {
                *file.direct.lock().unwrap() = None;
            }
            let writes = [(0, BLOCK), (3 * BLOCK, 140 * BLOCK), (2 * BLOCK, BLOCK)];
            check_writes(&file, &writes);
            assert_eq!(is_direct(&file), direct && can);
            drop(file);
            let again = DiskFile::open(&folder.path().join("file"));
            assert_eq!(is_direct(&again.unwrap().unwrap()), can);
        }
    }

    #[test]
    fn what_a_disk_refuses_to_take_directly_is_written_all_the_same() {
        let refused = [
            vec![(0, BLOCK), (BLOCK + 7, 100), (7, 60)],
            // The first part is taken, and the second is no block.
            vec![(0, Aligned::BYTES + 100)],
        ];
        for writes in refused {
            let (folder, file) = zeros();
            let blocks_alone = past_the_cache(&folder).is_some_and(|direct| {
                let unaligned = direct.write_at(Aligned::new().holding(&[0; 100]), 0);
                unaligned.is_err_and(|error| error.kind() == io::ErrorKind::InvalidInput)
            });
            let was = is_direct(&file);
            check_writes(&file, &writes);
            // And stays so: the cache takes what comes next.
            assert_eq!(is_direct(&file), was && !blocks_alone);
        }
    }

    #[test]
    fn what_a_disk_takes_in_part_is_left_to_the_cache_and_what_fails_fails() {
        type Answer = fn() -> io::Result<usize>;
        let due: [(Answer, Result<Direction, io::ErrorKind>); 5] = [
            (|| Ok(BLOCK), Ok(Direction::Written)),
            (|| Ok(512), Ok(Direction::Refused)),
            (|| Ok(0), Ok(Direction::Refused)),
            (
                || Err(io::ErrorKind::InvalidInput.into()),
                Ok(Direction::Refused),
            ),
            (
                || Err(io::ErrorKind::StorageFull.into()),
                Err(io::ErrorKind::StorageFull),
            ),
        ];
        for (last, due) in due {
            let mut places = Vec::new();
            let bytes = vec![7; Aligned::BYTES + BLOCK];
            let done = Aligned::new().write(&bytes, 4_096, |part, at| {
                places.push(at);
                if part.len() == Aligned::BYTES {
                    Ok(part.len())
                } else {
                    last()
                }
            });
            assert_eq!(done.map_err(|error| error.kind()), due);
            assert_eq!(places, [4_096, 4_096 + 64 * 4_096]);
        }
    }
}
