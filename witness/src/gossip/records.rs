//! What gossip keeps across a restart, beside the database.
//!
//! ```text
//! gossip/
//!   secret                      16 random bytes: what page salts follow from
//!   <origin hash>.heads         the heads of a log that are not ours, or not resolved
//! ```
//!
//! The epoch is not kept: each start has a new one, so that what peers read of an earlier journal
//! is void, and nothing of it must be durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jurat_proto::checkpoint::Origin;
use jurat_proto::gossip::Random;
use jurat_proto::gossip::node::LogRecord;

const FOLDER: &str = "gossip";
const SECRET: &str = "secret";
const HEADS: &str = ".heads";
/// Sixteen notes of the largest size, and their lines.
const RECORD_BYTES_MAX: u64 = 4 << 20;

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Records {
    folder: PathBuf,
}

impl Records {
    /// Opens the folder beside a database, which is made when it is not there: nothing that was
    /// signed depends on it.
    pub(super) fn beside(database: &Path) -> io::Result<Self> {
        let folder = database.with_file_name(FOLDER);
        if !folder.is_dir() {
            fs::create_dir(&folder)?;
        }
        Ok(Self { folder })
    }

    /// The secret of this witness, drawn the first time.
    pub(super) fn secret(&self, draw: impl FnOnce() -> io::Result<Random>) -> io::Result<Random> {
        let path = self.folder.join(SECRET);
        let mut bytes = [0; 16];
        match File::open(&path) {
            Ok(mut file) => {
                file.read_exact(&mut bytes)?;
                Ok(Random(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = draw()?;
                self.replace(&path, &secret.0)?;
                Ok(secret)
            }
            Err(error) => Err(error),
        }
    }

    /// What was kept of every log. What cannot be read is told, and left alone.
    pub(super) fn read(&self) -> io::Result<Vec<LogRecord>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if !name.is_some_and(|name| name.ends_with(HEADS)) {
                continue;
            }
            let mut bytes = Vec::new();
            let read = File::open(&path)
                .and_then(|file| file.take(RECORD_BYTES_MAX).read_to_end(&mut bytes));
            match read.map(|_| LogRecord::parse(&bytes)) {
                Ok(Ok(record)) => records.push(record),
                Ok(Err(error)) => {
                    tracing::error!(path = %path.display(), %error, "no record of heads");
                }
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "heads cannot be read");
                }
            }
        }
        Ok(records)
    }

    /// Replaces what is kept of a log. Durable on return.
    // Spec: GSP-46
    pub(super) fn store(&self, origin: &Origin, record: Option<&LogRecord>) -> io::Result<()> {
        let path = self.folder.join(origin.hash_hex() + HEADS);
        match record {
            Some(record) => self.replace(&path, &record.to_bytes()),
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => File::open(&self.folder)?.sync_all(),
            },
        }
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let draft = path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(&self.folder)?.sync_all()
    }
}
