//! The files of the folder: their names, how they are read with a bound, and how they are written
//! whole or not at all.
//!
//! ```text
//! <id>.tlog-fork            evidence
//! <id>.<n>.tlog-fork        another copy of it: see `copies`
//! <id>.conviction           what it stopped: see `convictions`
//! <id>.notes                what the operator wrote about it
//! <id>.tlog-fork.aside.<n>  what stood under the name and was no evidence
//! .<id>.<process>.draft     on its way; locked by whoever writes it
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jurat_proto::evidence::{EVIDENCE_BYTES_MAX, Evidence, ParseError};
use jurat_proto::hash::Hash;
use jurat_proto::hex;

/// How the names of files of evidence end.
pub(super) const EVIDENCE: &str = ".tlog-fork";
/// How the names of drafts end.
const DRAFT: &str = ".draft";

/// The files of evidence in a folder, by name; none when there is no folder.
///
/// # Errors
/// The folder cannot be read.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    with_suffix(folder, EVIDENCE)
}

/// The files of a folder whose names are visible and end like this, by name.
pub(super) fn with_suffix(folder: &Path, suffix: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.ends_with(suffix) && !name.starts_with('.')) {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Whether the system could not read a file that may be good: the disk, or the permissions, not
/// what is in it. That it is gone is an answer.
pub(super) fn passes(error: &io::Error) -> bool {
    error.raw_os_error().is_some() && error.kind() != io::ErrorKind::NotFound
}

/// The id in a name that ends like this.
pub(super) fn id_of(path: &Path, suffix: &str) -> Option<Hash> {
    let name = path.file_name()?.to_str()?.strip_suffix(suffix)?;
    Hash::from_slice(&hex::decode(name).ok()?)
}

/// Whether a name is that of a copy: the id, and which copy.
pub fn copy_of(path: &Path) -> Option<(Hash, usize)> {
    let name = path.file_name()?.to_str()?.strip_suffix(EVIDENCE)?;
    let (id, number) = name.split_once('.')?;
    let number = number.parse().ok();
    let number = number.filter(|number| (1..=COPIES_MAX).contains(number))?;
    Some((Hash::from_slice(&hex::decode(id).ok()?)?, number))
}

/// How the name of a copy ends.
pub(super) fn copy_suffix(number: usize) -> String {
    format!(".{number}{EVIDENCE}")
}

/// How many copies of one contradiction are kept besides the first, as by a node.
// Spec: GSP-117, GSP-143
pub(super) const COPIES_MAX: usize = 4;

/// The file of an id.
pub(super) fn named(folder: &Path, id: &Hash, suffix: &str) -> PathBuf {
    folder.join(hex::encode(id.as_bytes()) + suffix)
}

/// Reads a file of evidence, of the folder or not.
///
/// # Errors
/// The file cannot be read, or is something else than a file; within, it is no evidence.
// Spec: WIT-127
pub fn read(path: &Path) -> io::Result<Result<Evidence, ParseError>> {
    // One byte more, so that the parser says that it is too long.
    let bytes = read_bounded(path, EVIDENCE_BYTES_MAX + 1)?;
    Ok(Evidence::parse(&bytes))
}

/// Reads a file, up to so many bytes. What is no file may never end, or never begin: it is not
/// opened.
// Spec: WIT-127
pub(crate) fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let no_file = || io::Error::other("it is not a regular file");
    if !fs::metadata(path)?.is_file() {
        return Err(no_file());
    }
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(no_file());
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What the operator wrote about evidence, a line each; nothing when nothing was.
///
/// # Errors
/// It is there and cannot be read.
pub fn notes(folder: &Path, id: &Hash) -> io::Result<String> {
    match read_bounded(&named(folder, id, NOTES), NOTES_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => Ok(String::from_utf8_lossy(&read?).into_owned()),
    }
}

/// Adds a line to what was written about evidence. Durable on return.
///
/// # Errors
/// It cannot be written, or there is too much already.
// Spec: WIT-129
pub fn annotate(folder: &Path, id: &Hash, line: &str) -> io::Result<()> {
    let path = named(folder, id, NOTES);
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    let bytes = file.metadata()?.len();
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    if bytes.saturating_add(line.len()) > NOTES_BYTES_MAX {
        return Err(io::Error::other("there are too many notes"));
    }
    file.write_all(line.as_bytes())?;
    file.sync_all()?;
    File::open(folder)?.sync_all()
}

const NOTES: &str = ".notes";
const NOTES_BYTES_MAX: usize = 64 * 1024;

/// What tells one content of a file from another: those who write replace it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark([i64; 4]);

impl Mark {
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Some(Self([
            signed(metadata.ino()),
            signed(metadata.len()),
            metadata.ctime(),
            metadata.ctime_nsec(),
        ]))
    }
}

/// Writes a file of the folder, which is made when it is not there. The file appears whole or not
/// at all: it is durable under another name first.
// Spec: WIT-120
pub(super) fn write(folder: &Path, id: &Hash, suffix: &str, bytes: &[u8]) -> io::Result<()> {
    if !folder.is_dir() {
        fs::create_dir(folder)?;
    }
    // Each time: whoever made the folder may have died before its name was durable.
    let parent = folder.parent();
    let parent = parent.filter(|path| !path.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    // A command may write the same at the same time.
    let name = hex::encode(id.as_bytes());
    let draft = folder.join(format!(".{name}.{}{DRAFT}", std::process::id()));
    let written =
        draft_of(&draft, bytes).and_then(|_locked| fs::rename(&draft, named(folder, id, suffix)));
    if let Err(error) = written {
        // What a full disk took of it would keep the disk full, once for each fork.
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

fn draft_of(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = File::create(path)?;
    // As long as somebody has it, nobody sweeps it.
    file.lock()?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}

/// Gives back the drafts of processes that died over them.
// Spec: WIT-127
pub(super) fn sweep(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if !is_draft(&path) || !fs::symlink_metadata(&path)?.is_file() {
            continue;
        }
        let file = OpenOptions::new().write(true).open(&path)?;
        if file.try_lock().is_ok() {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// `.<id>.<process>.draft`
fn is_draft(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let middle = name.and_then(|name| name.strip_prefix('.')?.strip_suffix(DRAFT));
    let parts = middle.and_then(|middle| middle.split_once('.'));
    parts.is_some_and(|(id, process)| {
        hex::decode(id).is_ok_and(|id| Hash::from_slice(&id).is_some())
            && !process.is_empty()
            && process.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Makes room for a file of evidence where something stands that is none. Nothing is removed.
// Spec: WIT-126
pub(super) fn set_aside(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Ok(());
    }
    for number in 0..ASIDE_MAX {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".aside.{number}"));
        if fs::symlink_metadata(&name).is_err() {
            return fs::rename(path, name);
        }
    }
    Err(io::Error::other("too much was set aside under this name"))
}

/// Bits rot once; more often, somebody has to look.
const ASIDE_MAX: usize = 16;
