//! Small files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// What the name of a file ends with while it is on its way. One that a process left behind is
/// nothing.
pub const DRAFT: &str = "new";

/// Makes a file, for its owner alone, what it is to be, whole or not at all. Durable on return.
///
/// # Errors
/// What the file system says; the file is as it was before, or, when the folder could not be made
/// durable, as it is to be.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension(DRAFT);
    let written = write(&draft, bytes).and_then(|()| fs::rename(&draft, path));
    if let Err(error) = written {
        // What a full disk took of it would keep the disk full.
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn write(draft: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(draft)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads a regular file, no more of it than this.
///
/// # Errors
/// It cannot be read, is longer, or is no regular file.
pub fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    // Before it is opened: to open a pipe is to wait for who writes it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    File::open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::other(format!(
            "it is longer than {bytes_max} bytes"
        )));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_read_within_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        replace(&path, b"first").unwrap();
        replace(&path, b"other").unwrap();
        assert_eq!(read_bounded(&path, 5).unwrap(), b"other");
        assert!(read_bounded(&path, 4).is_err());
        assert!(read_bounded(dir.path(), 5).is_err());
        // What cannot be written leaves what was there, and no draft.
        fs::create_dir(path.with_extension(DRAFT)).unwrap();
        assert!(replace(&path, b"third").is_err());
        assert_eq!(read_bounded(&path, 5).unwrap(), b"other");
    }
}
