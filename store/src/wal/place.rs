//! Where a store is and how far it went: what tells the newest state from a copy of an older one.
//!
//! Two accidents set files back. Somebody removes them and puts copies there: then they are other
//! files, and [`Identity`] and [`FileId`] say so. Or a copy is written over them, and they stay the
//! same files: then [`Reached`], in the *name* of a file that no copy writes over
//! ([`super::trail`]), is ahead of what the files hold.
//!
//! In scope: what is recorded in the store's file, and its bytes. Out of scope: what to do about it
//! (the witness decides), and what no file shows: a machine that was set back as a whole.
//!
//! Rows: `spec/store.md` STO-39, STO-40, STO-61, STO-63.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

use jurat_proto::decimal::parse_decimal;
use jurat_proto::hash::Hash;

/// Which file on which machine. The number of the device is no part of it: that changes when a
/// machine starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The number of the file. File systems give that of a removed file to another one.
    pub inode: u64,
    /// When the file was made, in nanoseconds since 1970, where the file system knows it. It is
    /// compared, and never with a clock.
    pub born_ns: Option<u64>,
    /// A digest of what names the machine, where there is such a thing.
    pub machine: Option<Hash>,
}

/// A file, as its file system tells it from others: by a rename it stays the same, and a copy is
/// another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    /// As in [`Identity::inode`].
    pub inode: u64,
    /// As in [`Identity::born_ns`].
    pub born_ns: Option<u64>,
}

impl FileId {
    /// That of the file at a path.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn at(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|file| Self::of(&file))
    }

    pub(super) fn of(file: &fs::Metadata) -> Self {
        let born = file.created().ok();
        let since = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Self {
            inode: file.ino(),
            born_ns: since.and_then(|since| u64::try_from(since.as_nanos()).ok()),
        }
    }

    /// Whether they differ in what is known of both: a kernel that does not say when a file was
    /// made has not made it another file.
    pub fn is_other_than(self, was: Self) -> bool {
        let born = self.born_ns.zip(was.born_ns);
        self.inode != was.inode || born.is_some_and(|(is, was)| is != was)
    }

    /// What to record of it from now on: what cannot be seen now stays as it was seen.
    #[must_use]
    pub fn merged(self, was: Self) -> Self {
        let born_ns = self.born_ns.or(was.born_ns);
        Self { born_ns, ..self }
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inode {}", self.inode)?;
        match self.born_ns {
            Some(born) => {
                let (seconds, rest) = (born / 1_000_000_000, born % 1_000_000_000);
                write!(f, " made at {seconds}.{rest:09}")
            }
            None => Ok(()),
        }
    }
}

impl Identity {
    /// That of the file at a path.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn of(path: &Path, machine: Option<Hash>) -> io::Result<Self> {
        let FileId { inode, born_ns } = FileId::at(path)?;
        Ok(Self {
            inode,
            born_ns,
            machine,
        })
    }

    /// The file alone.
    pub fn file(self) -> FileId {
        let Self { inode, born_ns, .. } = self;
        FileId { inode, born_ns }
    }
}

/// How far a store went. Ordered: what comes later is greater.
///
/// It counts what is durable in the write-ahead log, never time. A decision that a copy is to be
/// the newest begins another epoch, so that it is ahead of whatever was reached elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reached {
    /// How often that was decided.
    pub epoch: u64,
    /// The generation of the log.
    pub generation: u64,
    /// How many frames it has.
    pub frames: u64,
}

impl Reached {
    /// Of what [`fmt::Display`] writes; nothing else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut fields = text.splitn(3, '-').map(parse_decimal);
        let mut field = || fields.next()?.ok();
        let (epoch, generation, frames) = (field()?, field()?, field()?);
        Some(Self {
            epoch,
            generation,
            frames,
        })
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            epoch,
            generation,
            frames,
        } = self;
        write!(f, "{epoch}-{generation}-{frames}")
    }
}

/// What a store's file says of where it is: a row of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// As in [`Reached::epoch`].
    pub epoch: u64,
    /// Which file it was.
    pub identity: Identity,
    /// A digest of the folder outside, if names are kept in one that was there already.
    pub outside: Option<Hash>,
    /// Which file has the name beside the store, if that was seen.
    pub name: Option<FileId>,
    /// That it was found to be a copy, and nobody has decided on that yet.
    pub copy: Option<FoundCopy>,
}

/// A state that was found to be a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCopy {
    /// When, in seconds since 1970, for people.
    pub since: u64,
    /// What gave it away.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(epoch: u64, generation: u64, frames: u64) -> Reached {
        Reached {
            epoch,
            generation,
            frames,
        }
    }

    // Spec: STO-40
    #[test]
    fn what_was_reached_is_read_back_only_from_what_is_written() {
        for at in [
            reached(0, 0, 0),
            reached(1, 20, 300),
            reached(0, u64::MAX >> 1, 7),
        ] {
            assert_eq!(Reached::parse(&at.to_string()), Some(at));
        }
        for wrong in [
            "", "1-2", "1-2-3-4", "01-2-3", "1-2-+3", "1-2-3 ", "-1-2-3", "1--3",
        ] {
            assert_eq!(Reached::parse(wrong), None, "{wrong}");
        }
        let order = [
            reached(0, 1, 9),
            reached(0, 2, 0),
            reached(0, 2, 1),
            reached(1, 0, 0),
        ];
        assert!(order.is_sorted());
    }

    // Spec: STO-39
    #[test]
    fn another_file_has_another_identity_and_the_same_file_with_other_bytes_has_not() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&a, "1").unwrap();
        fs::write(&b, "1").unwrap();
        let first = Identity::of(&a, None).unwrap();
        assert_ne!(first, Identity::of(&b, None).unwrap());
        fs::write(&a, "22").unwrap();
        assert_eq!(first, Identity::of(&a, None).unwrap());
        fs::rename(&a, folder.path().join("c")).unwrap();
        assert_eq!(first, Identity::of(&folder.path().join("c"), None).unwrap());
        fs::copy(folder.path().join("c"), &a).unwrap();
        assert_ne!(first, Identity::of(&a, None).unwrap());
    }
}
