//! What gossip keeps across a restart, beside the database.
//!
//! ```text
//! gossip/
//!   secret                      16 random bytes: what page salts follow from
//!   paged                       a decimal: no page says a later time, in seconds
//!   claimed                     a decimal: no claim counted that says a later time, in seconds
//!   alarmed, alarms/            what waits for the webhook (`alarms`)
//!   peers.json                  how it is with the peers, for people (`account`)
//!   <origin hash>.heads         the heads of a log that are not ours, or not resolved
//!   *.new                       on its way; one that a process left behind is removed
//! ```
//!
//! The epoch is not kept: each start has a new one, so that what peers read of an earlier journal
//! is void, and nothing of it must be durable.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use jurat_daemon::files::{DRAFT, replace};
use jurat_proto::checkpoint::Origin;
use jurat_proto::decimal::parse_decimal;
use jurat_proto::gossip::Random;
use jurat_proto::gossip::node::LogRecord;
use jurat_proto::hash::Hash;
use jurat_proto::hex;

use crate::evidence::read_bounded;

pub(super) const FOLDER: &str = "gossip";
const SECRET: &str = "secret";
const PAGED: &str = "paged";
const CLAIMED: &str = "claimed";
const HEADS: &str = ".heads";
/// Sixteen notes of the largest size, and their lines.
const RECORD_BYTES_MAX: usize = 4 << 20;
/// A decimal.
const NUMBER_BYTES_MAX: usize = 32;

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Records {
    folder: PathBuf,
}

/// What is kept of a log, and whose it is.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) origin: Origin,
    pub(super) record: LogRecord,
}

impl Records {
    /// Opens the folder beside a database, which is made when it is not there: nothing that was
    /// signed depends on it.
    pub(super) fn beside(database: &Path) -> io::Result<Self> {
        let folder = database.with_file_name(FOLDER);
        if !folder.is_dir() {
            fs::create_dir(&folder)?;
        }
        // Each time: whoever made the folder may have died before its name was durable.
        let parent = folder.parent();
        let parent = parent.filter(|path| !path.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(Self { folder })
    }

    /// The secret of this witness, drawn the first time.
    pub(super) fn secret(&self, draw: impl FnOnce() -> io::Result<Random>) -> io::Result<Random> {
        let path = self.folder.join(SECRET);
        let secret = Random(Default::default());
        match read_bounded(&path, secret.0.len()) {
            Ok(bytes) => match bytes.try_into() {
                Ok(bytes) => Ok(Random(bytes)),
                Err(_) => Err(io::Error::other("the secret of gossip is cut short")),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = draw()?;
                replace(&path, &secret.0)?;
                Ok(secret)
            }
            Err(error) => Err(error),
        }
    }

    /// The time that no page of before is later than, in seconds; 0 when there was none.
    // Spec: GSP-98
    pub(super) fn paged(&self) -> io::Result<u64> {
        self.number(PAGED)
    }

    /// The time that no claim of before that counted is later than, in seconds; 0 when there was
    /// none.
    // Spec: GSP-191
    pub(super) fn claimed(&self) -> io::Result<u64> {
        self.number(CLAIMED)
    }

    /// Replaces that. Durable on return.
    pub(super) fn store_claimed(&self, seconds: u64) -> io::Result<()> {
        replace(
            &self.folder.join(CLAIMED),
            format!("{seconds}\n").as_bytes(),
        )
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn number(&self, file: &str) -> io::Result<u64> {
        let bytes = match read_bounded(&self.folder.join(file), NUMBER_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            read => read?,
        };
        let text = str::from_utf8(&bytes).ok();
        let number = text.and_then(|text| parse_decimal(text.trim_end()).ok());
        number.ok_or_else(|| io::Error::other(format!("the file gossip/{file} is no number")))
    }

    /// Replaces that. Durable on return.
    pub(super) fn store_paged(&self, seconds: u64) -> io::Result<()> {
        replace(&self.folder.join(PAGED), format!("{seconds}\n").as_bytes())
    }

    /// What was kept of every log. What cannot be read, or is not what its name says, is told, and
    /// left alone.
    pub(super) fn read(&self) -> io::Result<Vec<Kept>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(name) = name else { continue };
            if path.extension().is_some_and(|extension| extension == DRAFT) {
                // Nobody writes it: the database is ours.
                if let Err(error) = fs::remove_file(&path) {
                    tracing::warn!(path = %path.display(), %error, "a draft is left where it is");
                }
                continue;
            }
            let Some(hash) = name.strip_suffix(HEADS) else {
                continue;
            };
            match read_record(&path, hash) {
                Ok(kept) => records.push(kept),
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "no record of heads");
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
            Some(record) => replace(&path, &record.to_bytes()),
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => File::open(&self.folder)?.sync_all(),
            },
        }
    }
}

/// A record under the name of its log, with heads of that log and no other: what somebody copied to
/// another name must not come back when the log has long been joined again.
fn read_record(path: &Path, hash: &str) -> io::Result<Kept> {
    let bytes = read_bounded(path, RECORD_BYTES_MAX)?;
    let record = LogRecord::parse(&bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let origin = {
        let top = record.top.iter().map(|(note, _)| note);
        let mut notes = top.chain(record.open.iter().map(|open| &open.note));
        let first = notes.next().map(|note| note.origin().clone());
        first.filter(|origin| notes.all(|note| note.origin() == origin))
    };
    let named = hex::decode(hash).ok();
    let named = named.and_then(|bytes| Hash::from_slice(&bytes));
    match origin {
        Some(origin) if Some(origin.hash()) == named => Ok(Kept { origin, record }),
        _ => Err(io::Error::other("its heads are not of the log of its name")),
    }
}

#[cfg(test)]
mod tests {
    use jurat_proto::checkpoint::SignedCheckpoint;
    use jurat_proto::gossip::node::{Moment, OpenRecord, Phase};

    use super::*;

    fn note(origin: &str) -> SignedCheckpoint {
        let root = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let text = format!("{origin}\n7\n{root}\n\n\u{2014} {origin} AQIDBAU=\n");
        SignedCheckpoint::parse(text.as_bytes()).unwrap()
    }

    fn record(origins: &[&str]) -> LogRecord {
        let open = origins.iter().map(|origin| OpenRecord {
            note: note(origin).into(),
            phase: Phase::Suspect,
            seen: Moment(1),
            since: Moment(2),
            tried: [3, 4],
        });
        LogRecord {
            top: None,
            open: open.collect(),
        }
    }

    // Spec: GSP-46
    #[test]
    fn a_record_counts_under_the_name_of_its_log_alone() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::beside(&dir.path().join("witness.redb")).unwrap();
        let folder = dir.path().join(FOLDER);
        let [one, other] = ["a.example", "b.example"].map(|text| Origin::parse(text).unwrap());
        records.store(&one, Some(&record(&["a.example"]))).unwrap();
        let read = |records: &Records| -> Vec<Origin> {
            let read = records.read().unwrap();
            read.into_iter().map(|kept| kept.origin).collect()
        };
        let only_one = std::slice::from_ref(&one);
        assert_eq!(read(&records), only_one);
        let path = |origin: &Origin| folder.join(origin.hash_hex() + HEADS);
        // Somebody copied it; somebody else put a folder there; a process died over a draft.
        fs::copy(path(&one), path(&other)).unwrap();
        fs::create_dir(folder.join("c.heads")).unwrap();
        let draft = path(&other).with_extension(DRAFT);
        fs::write(&draft, "half").unwrap();
        assert_eq!(read(&records), only_one);
        assert!(!draft.exists());
        assert!(path(&other).exists(), "what is not understood is left");
        // Two logs in one file.
        let both = record(&["b.example", "a.example"]);
        records.store(&other, Some(&both)).unwrap();
        assert_eq!(read(&records), only_one);
        records.store(&one, None).unwrap();
        assert_eq!(read(&records), []);
    }

    // Spec: GSP-73
    #[test]
    fn what_the_disk_does_not_take_is_an_error_and_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::beside(&dir.path().join("witness.redb")).unwrap();
        let origin = Origin::parse("a.example").unwrap();
        records
            .store(&origin, Some(&record(&["a.example"])))
            .unwrap();
        let path = dir.path().join(FOLDER).join(origin.hash_hex() + HEADS);
        let before = fs::read(&path).unwrap();
        fs::create_dir(path.with_extension(DRAFT)).unwrap();
        let more = record(&["a.example", "a.example"]);
        assert!(records.store(&origin, Some(&more)).is_err());
        assert_eq!(fs::read(&path).unwrap(), before);
        fs::remove_dir(path.with_extension(DRAFT)).unwrap();
        records.store(&origin, Some(&more)).unwrap();
        assert_ne!(fs::read(&path).unwrap(), before);
    }
}
