//! Secrets in files: who may read them, how they are read, and how a new one comes to be.
//!
//! In scope: the checks that come before a byte is looked at, and durable exclusive creation. Out
//! of scope: what the bytes mean.
//!
//! Rows: `spec/keys.md` KEY-10 to KEY-16.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

/// Reads a secret that only its owner can read. Symbolic links are followed (service managers and
/// container platforms mount secrets behind them); what they lead to is what is checked.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<String>, FileError> {
    // Spec: KEY-11. Looked at before opening, because opening a pipe would wait for a writer; and
    // again on the open file, because the name may have been given to another file in between.
    check(
        path,
        &fs::metadata(path).map_err(|source| FileError::Open { source })?,
    )?;
    let mut file = File::open(path).map_err(|source| FileError::Open { source })?;
    let bytes = check(
        path,
        &file
            .metadata()
            .map_err(|source| FileError::Read { source })?,
    )?;

    // Spec: KEY-12. One byte more than is allowed, so that a file that grew since is caught too.
    // The buffer has its final size from the start: growth would leave copies behind.
    let mut buffer = Zeroizing::new(vec![0_u8; KEY_FILE_BYTES_MAX + 1]);
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(FileError::Read { source }),
        }
    }
    if length > KEY_FILE_BYTES_MAX {
        return Err(FileError::TooLarge {
            bytes: bytes.max(KEY_FILE_BYTES_MAX_U64 + 1),
        });
    }
    if length == 0 {
        return Err(FileError::Empty);
    }
    let text = buffer
        .get(..length)
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .ok_or(FileError::NotText)?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Creates `path` with `secret` in it, readable by its owner alone, durable on return. Refuses when
/// anything has that name already. When writing fails, what was created is removed again.
pub(crate) fn write_new_secret(path: &Path, secret: &str) -> Result<(), FileError> {
    // Spec: KEY-15
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => FileError::Exists,
            _ => FileError::Create { source },
        })?;
    let written = file
        .write_all(secret.as_bytes())
        .and_then(|()| file.sync_all());
    // Spec: KEY-16. A file whose name is not durable is a key that a power cut can take back after
    // its public half was handed out.
    let durable = written.and_then(|()| File::open(parent(path))?.sync_all());
    durable.map_err(|source| {
        // The error that matters is the first one; half a key must not look like a key.
        let _ = fs::remove_file(path);
        FileError::Write { source }
    })
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The size of the file, when it is one that may be read.
fn check(path: &Path, metadata: &Metadata) -> Result<u64, FileError> {
    // Spec: KEY-11
    if !metadata.is_file() {
        return Err(FileError::NotRegular);
    }
    // Spec: KEY-10
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileError::Exposed {
            path: path.to_owned(),
            mode,
            uid: metadata.uid(),
        });
    }
    // Spec: KEY-12
    if metadata.len() > KEY_FILE_BYTES_MAX_U64 {
        return Err(FileError::TooLarge {
            bytes: metadata.len(),
        });
    }
    Ok(metadata.len())
}

/// What is wrong with a key file as a file. The operator is at fault, or the disk; nothing changed.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be opened; most often there is no such file.
    #[error("cannot open it: {source}")]
    Open {
        /// What the system said.
        source: io::Error,
    },
    /// It was opened and cannot be read.
    #[error("cannot read it: {source}")]
    Read {
        /// What the system said.
        source: io::Error,
    },
    /// It is a directory, a pipe, a socket or a device.
    #[error("it is not a regular file")]
    NotRegular,
    /// Others than its owner can read, write or run it.
    #[error(
        "its mode is {mode:04o} (owner uid {uid}), so others than its owner can reach the private \
         key; run `chmod 600 {}`, and consider whether the key has been read",
        shell_word(path)
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Who owns it.
        uid: u32,
    },
    /// It is larger than any key.
    #[error("it has {bytes} bytes, and no key file has more than {KEY_FILE_BYTES_MAX}")]
    TooLarge {
        /// Its size in bytes, at least.
        bytes: u64,
    },
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It is not UTF-8 text.
    #[error("it is not text; PKCS#8 keys must be in PEM form")]
    NotText,
    /// Something with that name exists; it was not touched.
    #[error("it exists already, and a key is never overwritten")]
    Exists,
    /// It cannot be created.
    #[error("cannot create it: {source}")]
    Create {
        /// What the system said.
        source: io::Error,
    },
    /// It was created and could not be made durable; it was removed again.
    #[error("cannot write it: {source}")]
    Write {
        /// What the system said.
        source: io::Error,
    },
}

/// The path as one word of a shell command, so that the command in the message can be run as it is.
fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) && !text.starts_with('-') {
        return text.into_owned();
    }
    format!("-- '{}'", text.replace('\'', r"'\''"))
}

/// The largest key file that is read. A PKCS#8 ML-DSA-44 key with seed and expanded key is 2.7 kB,
/// about 3.7 kB in PEM; 16 KiB leaves room and keeps a wrong path (a database) from being read.
const KEY_FILE_BYTES_MAX: usize = 16 * 1024;
const KEY_FILE_BYTES_MAX_U64: u64 = 16 * 1024;
