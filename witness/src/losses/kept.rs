//! What a journal said, kept beside it, so that a start need not read years of it.
//!
//! ```text
//! jurat-journal-said/v3
//! 120877810 601 <SHA-256 of the last line that was read>      bytes read, length of that line
//! <SHA-256 of the keys> dhi,<16 hex digits> example.com/log   a log: disabled, held, imported,
//!                                                             only added; the imported heads
//! <SHA-256 of all above>
//! ```
//!
//! It is a copy of what can be read again, and no more: one that is not whole, or that does not
//! belong to what the journal has now at that place, is as if it were not there, and so is one that
//! cannot be read. Since each line of the journal names the one before, the last of them stands for
//! all; [`Journal::check`] reads them. The file may be removed at any time.
//!
//! Rows: `spec/witness.md` WIT-76.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::{Hash, sha256};
use jurat_proto::hex;
use jurat_store::registry::{REGISTRY_BYTES_MAX, own_like};

use super::{Facts, Said};
use crate::journal::{Journal, LINE_BYTES_MAX};

/// The file of a journal.
pub(super) fn path(journal: &Journal) -> PathBuf {
    journal.path().with_extension("said")
}

/// Replaces what is kept. A power cut may leave half of it, which is then not whole: it is not
/// waited for.
///
/// # Errors
/// What the system says. There may be nothing afterwards, and then all of the journal is read.
pub(super) fn write(said: &Said, journal: &Journal) -> io::Result<()> {
    let text = text(said);
    if text.len() > BYTES_MAX {
        return Ok(());
    }
    let path = path(journal);
    let draft = path.with_extension("said.new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    // Spec: STO-31
    own_like(&file, journal.list())?;
    file.write_all(text.as_bytes())?;
    fs::rename(&draft, &path)
}

/// What is kept of the journal that is open here, if it is of use.
// Spec: WIT-76
pub(super) fn read(journal: &Journal, open: &mut File) -> Option<Said> {
    let mut text = String::new();
    let limit = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX);
    let file = File::open(path(journal)).ok()?;
    file.take(limit).read_to_string(&mut text).ok()?;
    let said = parse(&text)?;
    let mut last = vec![0; said.last.bytes];
    let length = u64::try_from(said.last.bytes).ok()?;
    let start = said.bytes.checked_sub(length)?;
    open.seek(SeekFrom::Start(start)).ok()?;
    open.read_exact(&mut last).ok()?;
    (sha256(&last) == said.last.digest).then_some(said)
}

fn text(said: &Said) -> String {
    let Last { bytes, digest } = said.last;
    let mut text = format!("{TITLE}\n{} {bytes} {}\n", said.bytes, shown(&digest));
    for (origin, facts) in &said.logs {
        let mut flags = String::new();
        for (flag, is) in FLAGS.into_iter().zip(facts.flags()) {
            flags.extend(is.then_some(flag));
        }
        if flags.is_empty() {
            flags.push('-');
        }
        for head in &facts.heads {
            let _ = write!(flags, ",{head:032x}");
        }
        let _ = writeln!(text, "{} {flags} {origin}", shown(&facts.keys));
    }
    let digest = shown(&sha256(text.as_bytes()));
    text + &digest + "\n"
}

/// Nothing unless it is what [`text`] writes.
fn parse(text: &str) -> Option<Said> {
    let (body, digest) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let signed = text.get(..body.len() + 1)?;
    if hash(digest)? != sha256(signed.as_bytes()) {
        return None;
    }
    let mut lines = body.split('\n');
    if lines.next()? != TITLE {
        return None;
    }
    let (bytes, rest) = lines.next()?.split_once(' ')?;
    let (last, digest) = rest.split_once(' ')?;
    let last = Last {
        bytes: last.parse().ok().filter(|bytes| *bytes <= LINE_BYTES_MAX)?,
        digest: hash(digest)?,
    };
    let log = |line: &str| -> Option<(Origin, Facts)> {
        let (keys, rest) = line.split_once(' ')?;
        let (said, origin) = rest.split_once(' ')?;
        let mut said = said.split(',');
        let flags = said.next()?;
        let heads = said.map(super::head).collect::<Option<Vec<u128>>>()?;
        let flags = FLAGS.map(|flag| flags.contains(flag));
        let facts = Facts::from_flags(hash(keys)?, flags, heads);
        Some((Origin::parse(origin).ok()?, facts))
    };
    // All at once: the nodes of the map are full then.
    let logs: BTreeMap<Origin, Facts> = lines.map(log).collect::<Option<_>>()?;
    let bytes = bytes.parse().ok()?;
    Some(Said {
        logs,
        bytes,
        last,
        kept: bytes,
    })
}

/// The last whole line that was read of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Last {
    /// Its length, with its newline.
    pub(super) bytes: usize,
    /// Its SHA-256.
    pub(super) digest: Hash,
}

fn shown(hash: &Hash) -> String {
    hex::encode(hash.as_bytes())
}

fn hash(text: &str) -> Option<Hash> {
    let bytes: [u8; Hash::LEN] = hex::decode(text).ok()?.try_into().ok()?;
    Some(Hash::new(bytes))
}

const TITLE: &str = "jurat-journal-said/v3";

/// As [`Facts::flags`] has them: disabled, held, imported, only added.
const FLAGS: [char; 4] = ['d', 'h', 'i', 'a'];

/// A log has less here than in the list.
const BYTES_MAX: usize = REGISTRY_BYTES_MAX;
