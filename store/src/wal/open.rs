//! Opening a store with its log: what is there is found, what is missing is refused.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::{Hash, sha256};

use super::checkpointer::{self, Checkpointer};
use super::file::{self, DiskFile, StateFile, WalFile};
use super::frame::{self, Draft, FORMAT, Segment};
use super::health::Health;
use super::known::Known;
use super::trail::Trail;
use super::{HeadMap, LogFiles, Recent, WalMark, WalOptions, WalStore, Writer, failed};
use crate::frames::{BLOCK, Header, Tail};
use crate::redb_store::{OpenError, RedbOptions, RedbStore};
use crate::{CheckpointStore as _, Corruption, OriginHead, StoreError, WriteError};

impl WalStore {
    /// Opens a store and its log. A store that has none gets one.
    ///
    /// # Errors
    /// [`OpenError`]: as for [`RedbStore::open`], and when the log that the store needs is missing,
    /// is another store's, goes on beyond a store that was closed, is broken in the middle, or is
    /// in use.
    // Spec: STO-22, STO-23
    pub fn open(path: impl AsRef<Path>, options: WalOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let in_use = || OpenError::InUse {
            path: path.to_owned(),
        };
        let before = StateFile::now(path).ok();
        let engine = RedbStore::open_behind_wal(path, options.redb)?;
        // Relative paths and links: the log is beside the file, whatever it was called.
        let real = file::real(path);
        let paths = file::paths(&real);
        let bytes = options.file_bytes.next_multiple_of(BLOCK).max(2 * BLOCK);
        let mut store = open(engine, &paths, bytes).map_err(|fault| fault.at(path))?;
        // Somebody who exchanges files while they are being opened is at work on this store.
        let database = before.filter(StateFile::is_in_place).ok_or_else(in_use)?;
        store.state.insert(0, database);
        if store.state.iter().all(StateFile::is_in_place) {
            Ok(store)
        } else {
            Err(in_use())
        }
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
        let peek = Peek::open(path, options)?;
        peek.latest(origin)
            .map_err(|source| Fault::from(source).at(path))
    }
}

/// The heads of a store that nobody serves, as they are now. Nobody can serve it while this is
/// there.
#[derive(Debug)]
pub struct Peek {
    engine: RedbStore,
    /// What the engine has not taken over yet.
    recent: BTreeMap<Origin, OriginHead>,
}

impl Peek {
    /// Reads the log of a store, and no head of the engine yet. Nothing is written.
    ///
    /// # Errors
    /// As for [`WalStore::open`].
    pub fn open(path: impl AsRef<Path>, options: RedbOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let engine = RedbStore::open_behind_wal(path, options)?;
        let real = file::real(path);
        let recent = recent(&engine, &file::paths(&real)).map_err(|fault| fault.at(path))?;
        Ok(Self { engine, recent })
    }

    /// The latest head of an origin.
    ///
    /// # Errors
    /// The store's.
    pub fn latest(&self, origin: &Origin) -> Result<Option<OriginHead>, StoreError> {
        match self.recent.get(origin) {
            Some(head) => Ok(Some(head.clone())),
            None => self.engine.latest_twice(origin),
        }
    }

    /// Up to `limit` origins with their heads in the byte order of the origins, after `after`.
    ///
    /// # Errors
    /// The store's.
    pub fn origins(
        &self,
        after: Option<&Origin>,
        limit: usize,
    ) -> Result<Vec<(Origin, OriginHead)>, StoreError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let newer = self.recent.range((from, Bound::Unbounded)).take(limit);
        let mut page: BTreeMap<Origin, OriginHead> =
            self.engine.origins(after, limit)?.into_iter().collect();
        page.extend(newer.map(|(origin, head)| (origin.clone(), head.clone())));
        Ok(page.into_iter().take(limit).collect())
    }
}

/// Why a log was not opened.
#[derive(Debug)]
enum Fault {
    /// Somebody has it.
    InUse(PathBuf),
    Store(StoreError),
}

impl Fault {
    fn at(self, path: &Path) -> OpenError {
        match self {
            Self::InUse(path) => OpenError::InUse { path },
            Self::Store(source) => OpenError::Store {
                path: path.to_owned(),
                source,
            },
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Corruption> for Fault {
    fn from(corruption: Corruption) -> Self {
        Self::Store(corruption.into())
    }
}

/// The heads that are in the log of an engine, the newest of each origin.
fn recent(engine: &RedbStore, paths: &[PathBuf; 2]) -> Result<BTreeMap<Origin, OriginHead>, Fault> {
    let [a, b] = paths.each_ref().map(|path| present(path));
    let (a, b) = (a?, b?);
    let mut heads = BTreeMap::new();
    match engine.wal_mark()? {
        Some(mark) if mark.open => {
            let [a, b] = needed(paths, a, b)?;
            let log = Log::find(&[read(&a)?, read(&b)?], mark)?;
            // The newest come last and win.
            let segments = [Some(log.oldest), log.newest].into_iter().flatten();
            segments.for_each(|(_, segment)| heads.extend(segment.heads));
        }
        closed => ended(paths, [a.as_ref(), b.as_ref()], closed)?,
    }
    Ok(heads)
}

const READING: &str = "reading the write-ahead log";

fn read(file: &(impl WalFile + ?Sized)) -> Result<Vec<u8>, StoreError> {
    file.read().map_err(|source| failed(READING, source))
}

/// [`check_ended`] for the files that are there.
fn ended(
    paths: &[PathBuf; 2],
    found: [Option<&DiskFile>; 2],
    closed: Option<WalMark>,
) -> Result<(), Fault> {
    // The first is made before the second is.
    if let ([None, Some(_)], [first, _]) = (found, paths) {
        let path = first.clone();
        return Err(Corruption::WalMissing { path }.into());
    }
    let [a, b] = found.map(|file| file.map_or_else(|| Ok(Vec::new()), read));
    Ok(check_ended(&[a?, b?], closed)?)
}

fn open(engine: RedbStore, paths: &[PathBuf; 2], bytes: usize) -> Result<WalStore, Fault> {
    let [first, second] = paths;
    let (a, b) = (present(first)?, present(second)?);
    let mark = engine.wal_mark()?;
    let going_on = mark.filter(|mark| mark.open);
    let files = if going_on.is_some() {
        needed(paths, a, b)?
    } else {
        // Before anything is written over.
        ended(paths, [a.as_ref(), b.as_ref()], mark)?;
        [allocated(a, first, bytes)?, allocated(b, second, bytes)?]
    };
    let looking = |source| failed("looking at the write-ahead log", source);
    let state = paths.iter().zip(&files);
    let state: io::Result<_> = state
        .map(|(path, file)| StateFile::of(path, file))
        .collect();
    let state = state.map_err(looking)?;
    let [a, b] = &files;
    let found = a.id().and_then(|a| Ok([a, b.id()?])).map_err(looking)?;
    let recorded = engine.log_files()?;
    // Before the store's file says that it needs them: from then on they are those.
    if going_on.is_none() && recorded != Some(found) {
        engine.record_log_files(&found).map_err(unwritten)?;
    }
    let was = recorded.filter(|_| going_on.is_some());
    let files = files.map(|file| -> Box<dyn WalFile> { Box::new(file) });
    let mut store = match going_on {
        Some(mark) => go_on(engine, files, mark)?,
        None => begin(engine, files, mark, bytes)?,
    };
    store.state = state;
    store.log_files = Some(LogFiles { was, found });
    Ok(store)
}

/// A file of the log that is there.
fn present(path: &Path) -> Result<Option<DiskFile>, Fault> {
    match DiskFile::open(path) {
        Ok(file) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            Err(Fault::InUse(path.to_owned()))
        }
        Err(error) => Err(failed("opening the write-ahead log", error).into()),
    }
}

fn needed<F>(paths: &[PathBuf; 2], a: Option<F>, b: Option<F>) -> Result<[F; 2], Corruption> {
    let [first, second] = paths;
    let missing = |path: &PathBuf| Corruption::WalMissing { path: path.clone() };
    Ok([
        a.ok_or_else(|| missing(first))?,
        b.ok_or_else(|| missing(second))?,
    ])
}

/// A file of this length; the contents of one that is there are of no use.
fn allocated(found: Option<DiskFile>, path: &Path, bytes: usize) -> Result<DiskFile, StoreError> {
    let file = || -> io::Result<DiskFile> {
        match found {
            Some(file) if usize::try_from(file.bytes()?).ok() == Some(bytes) => {
                file.settle(path)?;
                Ok(file)
            }
            _ => DiskFile::create(path, bytes),
        }
    };
    file().map_err(|error| failed("creating the write-ahead log", error))
}

/// Whether a log ends where a store says that it was closed: beyond it there may be no more than
/// the header of the next generation, of a start that was cut off before anything was accepted.
///
/// So a store that was closed once, and is put back beside the log that went on from there, does
/// not pass for the newest.
// Spec: STO-23
pub(super) fn check_ended(
    contents: &[Vec<u8>; 2],
    closed: Option<WalMark>,
) -> Result<(), Corruption> {
    let ended = closed.map_or(0, |mark| mark.generation);
    let newer = |found| Corruption::WalNewer {
        generation: ended,
        found,
    };
    for (place, bytes) in contents.iter().enumerate() {
        let header = frame::header(bytes);
        let begun = header.filter(|header| {
            place == 0
                && header.generation == ended + 1
                && closed.is_none_or(|mark| mark.end == header.previous)
                && !frame::has_head_of(bytes, FORMAT.begin(*header))
        });
        let without_header = bytes.get(BLOCK..).unwrap_or_default();
        let all = begun.map_or(bytes.as_slice(), |_| without_header);
        if let Some(found) = frame::newer_than(all, ended) {
            return Err(newer(found));
        }
        // The generation that it was closed with: of another moment, or of another store, it has
        // another end.
        if let Some(mark) = closed.filter(|_| header.is_some_and(|h| h.generation == ended))
            && frame::read(bytes)?.is_none_or(|segment| segment.tail.end != mark.end)
        {
            return Err(Corruption::WalAbsent { generation: ended });
        }
    }
    Ok(())
}

/// Begins a log for an engine's file that is whole by itself. Only after [`check_ended`].
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
    let header = Header {
        generation: generation + 1,
        file_bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        previous,
    };
    let [first, _] = &files;
    first
        .write_at(&FORMAT.header_block(header), 0)
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
    assemble(
        engine,
        files,
        bytes,
        (0, FORMAT.after(header)),
        [None, None],
    )
}

fn unwritten(error: WriteError) -> StoreError {
    match error {
        WriteError::Failed(error) | WriteError::Unknown(error) => error,
    }
}

/// 32 bytes that nobody else knows: they tie frames to this store, and are no key.
pub(crate) fn identity() -> Hash {
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
    let [a, b] = &files;
    let contents = [read(a.as_ref())?, read(b.as_ref())?];
    let Log {
        oldest: (place, oldest),
        newest,
    } = Log::find(&contents, mark)?;
    let (active, frozen) = match newest {
        Some((place, newest)) => ((place, newest), Some(oldest)),
        None => ((place, oldest), None),
    };
    let ((place, active), [bytes, _]) = (active, contents.each_ref().map(Vec::len));
    make_durable(&files, &contents, (place, &active))?;
    if active.torn || contents.iter().any(|bytes| frame::has_torn_header(bytes)) {
        tracing::warn!(
            wal.generation = active.tail.generation,
            wal.frames = active.tail.frames,
            "the end of the write-ahead log was cut off, and is left out: nobody was told of it"
        );
    }
    let tail = active.tail;
    assemble(engine, files, bytes, (place, tail), [Some(active), frozen])
}

/// What is believed here will be told to others, and must not go with the next power cut.
///
/// A process that was killed before its wait left the last frame in the system's cache, from where
/// a wait brings it to the disk. One whose wait *failed* left it there, too, but the system holds
/// it for written: it is read, and no later wait writes it. So it is written once more. All before
/// it was waited for, with success, before it was written.
///
/// The engine's file needs nothing like it. Its commits wait twice, first for all pages, then for
/// the header that makes them count: whatever header is read, its pages are on the disk. And
/// opening it writes the header again, and waits for it.
// Spec: STO-22
fn make_durable(
    files: &[Box<dyn WalFile>; 2],
    contents: &[Vec<u8>; 2],
    (place, active): (usize, &Segment),
) -> Result<(), StoreError> {
    let last = active.last..active.tail.used;
    let bytes = contents.get(place).and_then(|bytes| bytes.get(last));
    let at = u64::try_from(active.last).unwrap_or(u64::MAX);
    let written = match (files.get(place), bytes) {
        (Some(file), Some(bytes)) => file.write_at(bytes, at),
        _ => Ok(()),
    };
    written
        .and_then(|()| files.iter().try_for_each(|file| file.sync()))
        .map_err(|source| failed("making the write-ahead log durable", source))
}

/// The files that go on from an engine's file, each with its place.
#[derive(Debug)]
struct Log {
    oldest: (usize, Segment),
    newest: Option<(usize, Segment)>,
}

impl Log {
    // Spec: STO-22, STO-23
    fn find(contents: &[Vec<u8>; 2], mark: WalMark) -> Result<Self, Corruption> {
        let first = (mark.generation + 1, mark.end);
        let Some((oldest, header)) = find(contents, first)? else {
            return Err(Corruption::WalAbsent {
                generation: first.0,
            });
        };
        for bytes in contents {
            frame::check_length(bytes, header)?;
        }
        let tail = oldest.1.tail;
        let second = Header {
            generation: tail.generation + 1,
            previous: tail.end,
            ..header
        };
        let newest = find(contents, (second.generation, second.previous))?;
        let known = newest.as_ref().map_or(tail, |(newest, _)| newest.1.tail);
        // A header that was not completely written has no frames behind it. One that names another
        // end says that the oldest file has lost its last frames.
        let lost = |bytes: &Vec<u8>| {
            frame::newer_than(bytes, known.generation).is_some()
                || (newest.is_none() && frame::has_head_of(bytes, FORMAT.begin(second)))
        };
        if contents.iter().any(lost) {
            let (generation, at) = (known.generation, known.used);
            return Err(Corruption::Wal { generation, at });
        }
        // The next generation begins only behind a whole one.
        let newest = newest.map(|(newest, _)| newest);
        if newest.is_some() && oldest.1.torn {
            let (generation, at) = (tail.generation, tail.used);
            return Err(Corruption::Wal { generation, at });
        }
        Ok(Self { oldest, newest })
    }
}

/// A file, its place, and its header.
type Found = ((usize, Segment), Header);

/// The file that holds the generation that follows this end, and its header.
fn find(
    contents: &[Vec<u8>; 2],
    (generation, previous): (u64, Hash),
) -> Result<Option<Found>, Corruption> {
    for (place, bytes) in contents.iter().enumerate() {
        if let Some(header) = frame::header(bytes)
            && (header.generation, header.previous) == (generation, previous)
        {
            let segment = frame::read(bytes)?;
            return Ok(segment.map(|segment| ((place, segment), header)));
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
    let health = Arc::new(Health::default());
    let parts = checkpointer::Parts {
        engine: Arc::clone(&engine),
        recent: Arc::clone(&recent),
        health: Arc::clone(&health),
    };
    let checkpointer = Checkpointer::spawn(parts, unfinished)
        .map_err(|source| failed("starting a thread", source))?;
    Ok(WalStore {
        engine,
        files,
        file_bytes,
        writer: Mutex::new(Writer {
            file,
            tail,
            draft: Draft::default(),
            known: Known::default(),
        }),
        recent,
        health,
        state: Vec::new(),
        trail: Trail::default(),
        log_files: None,
        checkpointer,
        count: AtomicU64::new(count),
    })
}
