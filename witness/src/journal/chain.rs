//! Lines of which each names the one before it: what journals are made of.
//!
//! ```text
//! {"previous":"<SHA-256 of the line before>", …}
//! ```
//!
//! One JSON object a line, only appended to, durable on return. A line cannot be taken out or
//! changed by accident; whoever owns the file can still write all of it anew.
//!
//! A line that a crash cut short stays as it is: the next one is written after it on a line of its
//! own and says so.
//!
//! Rows: `spec/witness.md` WIT-70.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use jurat_proto::hash::sha256;
use jurat_proto::hex;
use jurat_store::registry::own_like;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A line of a journal.
pub(super) trait Link: Serialize + DeserializeOwned {
    /// SHA-256 of the line before, in hex; 64 zeroes in the first.
    fn previous(&self) -> &str;

    /// Whether the line before was cut short by a crash.
    fn after_cut(&self) -> bool;
}

/// What a new line says of the one before.
pub(super) struct Before {
    pub(super) previous: String,
    pub(super) after_cut: bool,
}

/// Reads every line and checks that each names the one before. `each` gets the lines.
///
/// # Errors
/// [`JournalError`], the first that is found.
// Spec: WIT-70
pub(super) fn check<L: Link>(path: &Path, mut each: impl FnMut(&L)) -> Result<u64, JournalError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        file => file.map_err(JournalError::Io)?,
    };
    let mut reader = BufReader::new(file);
    let (mut number, mut previous, mut cut) = (0_u64, FIRST.to_owned(), false);
    while let Some(bytes) = next_line(&mut reader).map_err(JournalError::Io)? {
        number += 1;
        let broken = |what: &'static str| JournalError::Broken { line: number, what };
        match serde_json::from_slice::<L>(&bytes) {
            Ok(line) => {
                if line.previous() != previous {
                    return Err(broken("it does not name the line before"));
                }
                if line.after_cut() != cut {
                    return Err(broken("the line before it is not a line of the journal"));
                }
                each(&line);
                cut = false;
            }
            Err(_) if cut => return Err(broken("it is not a line of the journal")),
            Err(_) => cut = true,
        }
        previous = digest(&bytes);
    }
    // A line that was cut short may be the last: the next change will say so.
    Ok(number)
}

/// Hands over every line that can be read, whether or not the journal is whole.
///
/// # Errors
/// The file is there and cannot be read.
pub(super) fn read<L: Link>(path: &Path, mut each: impl FnMut(L)) -> io::Result<()> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let mut reader = BufReader::new(file);
    while let Some(bytes) = next_line(&mut reader)? {
        if let Ok(line) = serde_json::from_slice(&bytes) {
            each(line);
        }
    }
    Ok(())
}

fn next_line(reader: &mut BufReader<File>) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    let count = reader.take(limit).read_until(b'\n', &mut bytes)?;
    Ok((count > 0).then_some(bytes))
}

/// Appends lines, and makes them durable. The file is made when it is not there, and belongs to
/// whom `like` belongs to.
///
/// # Errors
/// They cannot be written. Some of them may stand there, and the last may be cut short.
pub(super) fn append<L: Link>(
    path: &Path,
    like: &Path,
    lines: impl Iterator<Item = impl FnOnce(Before) -> L>,
) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    // Spec: STO-31
    own_like(&file, like)?;
    let last = last_line(&mut file)?;
    let mut after_cut = false;
    let mut text = Vec::new();
    let mut previous = match &last {
        None => FIRST.to_owned(),
        Some(bytes) => {
            let mut bytes = bytes.clone();
            after_cut = serde_json::from_slice::<L>(&bytes).is_err();
            if bytes.last() != Some(&b'\n') {
                text.push(b'\n');
                bytes.push(b'\n');
            }
            digest(&bytes)
        }
    };
    if after_cut {
        tracing::warn!(journal = %path.display(), "the last line of the journal was cut short");
    }
    for make in lines {
        let made = make(Before {
            previous,
            after_cut: std::mem::take(&mut after_cut),
        });
        let start = text.len();
        serde_json::to_writer(&mut text, &made)?;
        text.push(b'\n');
        let written = text.get(start..).unwrap_or_default();
        // Who checks the journal reads no longer line: it would be broken for ever.
        if written.len() >= LINE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a line of more than {LINE_BYTES_MAX} bytes"),
            ));
        }
        previous = digest(written);
    }
    file.write_all(&text)?;
    file.sync_all()?;
    // Each time: who made the file may have been cut off, or have failed, before its name was
    // durable, and nobody knows that any more.
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// The last line, with its newline if it has one; `None` of an empty file.
fn last_line(file: &mut File) -> io::Result<Option<Vec<u8>>> {
    let length = file.seek(SeekFrom::End(0))?;
    let reach = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    file.seek(SeekFrom::Start(length.saturating_sub(reach)))?;
    let mut tail = Vec::new();
    file.take(reach).read_to_end(&mut tail)?;
    let body = tail.strip_suffix(b"\n").unwrap_or(&tail);
    let start = body.iter().rposition(|&byte| byte == b'\n');
    let last = tail.split_off(start.map_or(0, |newline| newline + 1));
    Ok(Some(last).filter(|line| !line.is_empty()))
}

fn digest(line: &[u8]) -> String {
    hex::encode(sha256(line).as_bytes())
}

/// What the first line names as the one before.
const FIRST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The longest line that is written and read. A log has some kilobytes, unless it has hundreds of
/// keys or an origin as long as a note.
// Spec: WIT-70
pub(crate) const LINE_BYTES_MAX: usize = 4 << 20;

/// Why a journal is not whole. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Io(io::Error),
    /// A line is not what it was.
    #[error("line {line}: {what}")]
    Broken {
        /// Which line, from 1.
        line: u64,
        /// What is wrong.
        what: &'static str,
    },
}
