//! Opening a store with its log: what is there is found, what is missing is refused.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::{Hash, sha256};

use super::checkpointer::Checkpointer;
use super::file::{self, DiskFile, WalFile};
use super::frame::{self, BLOCK, Draft, Header, Segment, Tail};
use super::{HeadMap, Recent, WalMark, WalOptions, WalStore, Writer, failed};
use crate::redb_store::{OpenError, RedbOptions, RedbStore};
use crate::{CheckpointStore as _, Corruption, OriginHead, StoreError, WriteError};

impl WalStore {
    /// Opens a store and its log. A store that has none gets one.
    ///
    /// # Errors
    /// [`OpenError`]: as for [`RedbStore::open`], and when the log that the store needs is missing,
    /// is another store's, or is broken in the middle.
    // Spec: STO-22, STO-23
    pub fn open(path: impl AsRef<Path>, options: WalOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let engine = RedbStore::open_behind_wal(path, options.redb)?;
        // Relative paths and links: the log is beside the file, whatever it was called.
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let paths = file::paths(&real);
        let bytes = options.file_bytes.next_multiple_of(BLOCK).max(2 * BLOCK);
        open(engine, &paths, bytes).map_err(|source| OpenError::Store {
            path: path.to_owned(),
            source,
        })
    }

    /// The latest head of an origin in a store that nobody serves, whoever asks: nothing is
    /// written, and no file is made that its owner could not use.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn peek(
        path: impl AsRef<Path>,
        options: RedbOptions,
        origin: &Origin,
    ) -> Result<Option<OriginHead>, OpenError> {
        let path = path.as_ref();
        let engine = RedbStore::open_behind_wal(path, options)?;
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        peek(&engine, &file::paths(&real), origin).map_err(|source| OpenError::Store {
            path: path.to_owned(),
            source,
        })
    }
}

fn peek(
    engine: &RedbStore,
    paths: &[PathBuf; 2],
    origin: &Origin,
) -> Result<Option<OriginHead>, StoreError> {
    if let Some(mark) = engine.wal_mark()?
        && mark.open
    {
        let mut contents = Vec::new();
        for path in paths {
            let read = existing(path)?.read();
            contents.push(read.map_err(|source| failed(READING, source))?);
        }
        one_length(&contents)?;
        let log = Log::find(&contents, mark)?;
        for (_, mut segment) in log.newest.into_iter().chain([log.oldest]) {
            if let Some(head) = segment.heads.remove(origin) {
                return Ok(Some(head));
            }
        }
    }
    engine.latest_twice(origin)
}

const READING: &str = "reading the write-ahead log";

fn open(engine: RedbStore, paths: &[PathBuf; 2], bytes: usize) -> Result<WalStore, StoreError> {
    match engine.wal_mark()? {
        Some(mark) if mark.open => {
            let [a, b] = paths.each_ref().map(|path| existing(path));
            go_on(engine, [a?, b?], mark)
        }
        closed => {
            let [a, b] = paths.each_ref().map(|path| allocated(path, bytes));
            begin(engine, [a?, b?], closed, bytes)
        }
    }
}

fn existing(path: &Path) -> Result<Box<dyn WalFile>, StoreError> {
    let opened = DiskFile::open(path).map_err(|e| failed("opening the write-ahead log", e))?;
    match opened {
        Some(file) => Ok(Box::new(file)),
        None => Err(Corruption::WalMissing {
            path: path.to_owned(),
        }
        .into()),
    }
}

/// A file of this length; [`begin`] looks at the contents of one that is there.
fn allocated(path: &Path, bytes: usize) -> Result<Box<dyn WalFile>, StoreError> {
    let doing = "creating the write-ahead log";
    let file = || -> io::Result<DiskFile> {
        match DiskFile::open(path)? {
            Some(file) if usize::try_from(file.bytes()?).ok() == Some(bytes) => Ok(file),
            // Another length was configured; whether anything is lost with it is not looked at.
            _ => DiskFile::create(path, bytes),
        }
    };
    Ok(Box::new(file().map_err(|e| failed(doing, e))?))
}

/// Begins a log for an engine's file that is whole by itself.
pub(super) fn begin(
    engine: RedbStore,
    files: [Box<dyn WalFile>; 2],
    closed: Option<WalMark>,
    bytes: usize,
) -> Result<WalStore, StoreError> {
    let (generation, previous) = match closed {
        Some(mark) => (mark.generation, mark.end),
        None => (0, identity()),
    };
    for file in &files {
        let read = file.read().map_err(|source| failed(READING, source))?;
        not_newer(&read, generation)?;
    }
    let header = Header {
        generation: generation + 1,
        previous,
    };
    let [first, _] = &files;
    first
        .write_at(&header.to_block(), 0)
        .and_then(|()| first.sync())
        .map_err(|source| failed("beginning the write-ahead log", source))?;
    let mark = WalMark {
        generation,
        end: previous,
        open: true,
    };
    engine
        .apply_heads(&HeadMap::new(), mark)
        .map_err(unwritten)?;
    assemble(engine, files, bytes, (0, Tail::after(header)), [None, None])
}

fn unwritten(error: WriteError) -> StoreError {
    match error {
        WriteError::Failed(error) | WriteError::Unknown(error) => error,
    }
}

/// A store that is whole by itself says so in one row. When a damaged row says it of a store that
/// is not, its log has frames behind the generation that the row names: no frame is written before
/// the row that knows of its generation is durable.
// Spec: STO-25
fn not_newer(bytes: &[u8], known: u64) -> Result<(), StoreError> {
    match frame::header(bytes) {
        Some(Header { generation, .. })
            if generation > known && frame::has_frame_of(bytes, generation) =>
        {
            Err(Corruption::WalUnknown { generation }.into())
        }
        _ => Ok(()),
    }
}

/// 32 bytes that nobody else knows: they tie frames to this store, and are no key.
fn identity() -> Hash {
    let seeds = RandomState::new();
    let numbers = [0_u8, 1, 2, 3].map(|number| seeds.hash_one(number).to_be_bytes());
    sha256(numbers.as_flattened())
}

/// Goes on where the log ends.
pub(super) fn go_on(
    engine: RedbStore,
    files: [Box<dyn WalFile>; 2],
    mark: WalMark,
) -> Result<WalStore, StoreError> {
    let mut contents = Vec::new();
    for file in &files {
        // What a killed process wrote may be nowhere but in the system's cache; what is read here
        // will be told to others.
        let read = file.sync().and_then(|()| file.read());
        contents.push(read.map_err(|source| failed(READING, source))?);
    }
    let bytes = one_length(&contents)?;
    let Log {
        oldest: (place, oldest),
        newest,
    } = Log::find(&contents, mark)?;
    match newest {
        None => {
            let tail = oldest.tail;
            assemble(engine, files, bytes, (place, tail), [Some(oldest), None])
        }
        Some((place, newest)) => {
            let tail = newest.tail;
            let segments = [Some(newest), Some(oldest)];
            assemble(engine, files, bytes, (place, tail), segments)
        }
    }
}

/// The length of both files: they were made alike, and a file that was cut short may have lost what
/// was acknowledged last.
// Spec: STO-25
fn one_length(contents: &[Vec<u8>]) -> Result<usize, StoreError> {
    match contents {
        [a, b] if a.len() == b.len() => Ok(a.len()),
        [a, b] => {
            let bytes = (a.len(), b.len());
            Err(Corruption::WalCut { bytes }.into())
        }
        _ => Ok(0),
    }
}

/// The files that go on from an engine's file, each with its place.
struct Log {
    oldest: (usize, Segment),
    newest: Option<(usize, Segment)>,
}

impl Log {
    // Spec: STO-22, STO-23
    fn find(contents: &[Vec<u8>], mark: WalMark) -> Result<Self, StoreError> {
        let first = (mark.generation + 1, mark.end);
        let Some(oldest) = find(contents, first)? else {
            return Err(Corruption::WalAbsent {
                generation: first.0,
            }
            .into());
        };
        let tail = oldest.1.tail;
        let second = tail.generation + 1;
        let newest = find(contents, (second, tail.end))?;
        // A header that was not completely written has no frames behind it. One that names another
        // end says that the oldest file has lost its last frames.
        let lost = |bytes: &Vec<u8>| frame::has_frame_of(bytes, second) || names(bytes, second);
        if newest.is_none() && contents.iter().any(lost) {
            let (generation, at) = (tail.generation, tail.used);
            return Err(Corruption::Wal { generation, at }.into());
        }
        Ok(Self { oldest, newest })
    }
}

/// Whether a file has a whole header of this generation.
fn names(bytes: &[u8], generation: u64) -> bool {
    frame::header(bytes).is_some_and(|header| header.generation == generation)
}

/// The file that holds the generation that follows this end.
fn find(
    contents: &[Vec<u8>],
    (generation, previous): (u64, Hash),
) -> Result<Option<(usize, Segment)>, StoreError> {
    let wanted = Header {
        generation,
        previous,
    };
    for (place, bytes) in contents.iter().enumerate() {
        if frame::header(bytes) == Some(wanted) {
            return Ok(frame::read(bytes)?.map(|segment| (place, segment)));
        }
    }
    Ok(None)
}

fn assemble(
    engine: RedbStore,
    files: [Box<dyn WalFile>; 2],
    file_bytes: usize,
    (file, tail): (usize, Tail),
    [active, frozen]: [Option<Segment>; 2],
) -> Result<WalStore, StoreError> {
    let unfinished = frozen.as_ref().map(|segment| WalMark {
        generation: segment.tail.generation,
        end: segment.tail.end,
        open: true,
    });
    let heads = |segment: Option<Segment>| segment.map(|segment| segment.heads).unwrap_or_default();
    let recent = Recent {
        active: heads(active),
        frozen: Arc::new(heads(frozen)),
    };
    let mut count = engine.origin_count()?;
    let only_active = recent.active.keys();
    let only_active = only_active.filter(|origin| !recent.frozen.contains_key(*origin));
    for origin in recent.frozen.keys().chain(only_active) {
        count += u64::from(!engine.has_head(origin)?);
    }
    let (engine, recent) = (Arc::new(engine), Arc::new(RwLock::new(recent)));
    let checkpointer = Checkpointer::spawn(Arc::clone(&engine), Arc::clone(&recent), unfinished)
        .map_err(|source| failed("starting a thread", source))?;
    Ok(WalStore {
        engine,
        files,
        file_bytes,
        writer: Mutex::new(Writer {
            file,
            tail,
            draft: Draft::default(),
            stopped: false,
        }),
        recent,
        checkpointer,
        count: AtomicU64::new(count),
    })
}
