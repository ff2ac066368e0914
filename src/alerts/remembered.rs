//! What is raised, on the disk: the end of what a process was killed under is told by the next one.
//!
//! ```text
//! alerts/raised      [{"alert":…,"log":…,"about":…}, …]
//! ```
//!
//! Rows: `spec/service.md` SVC-70.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jurat_daemon::files::{read_bounded, replace};
use jurat_proto::checkpoint::Origin;
use serde::{Deserialize, Serialize};

use super::{Key, Kind};

/// A thousand logs that are convicted, each with a kilobyte of reasons and of name.
const BYTES_MAX: usize = 4 << 20;

/// The file of what is raised.
pub(super) struct Remembered {
    path: PathBuf,
    /// What is to be written, until it is.
    next: Mutex<Option<Vec<u8>>>,
    /// One writes at a time.
    turn: Mutex<()>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    alert: String,
    log: Option<String>,
    about: String,
}

impl Row {
    fn key(&self) -> Option<Key> {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == self.alert);
        let log = self.log.as_deref().map(Origin::parse).transpose();
        Some((kind?, log.ok()?))
    }
}

impl Remembered {
    /// In this folder.
    pub(super) fn beside(folder: &Path) -> Self {
        Self {
            path: folder.join("raised"),
            next: Mutex::default(),
            turn: Mutex::default(),
        }
    }

    /// What was raised when the process before ended. What cannot be read is told of anew, if it
    /// is still so.
    pub(super) fn read(&self) -> BTreeMap<Key, String> {
        let rows: Vec<Row> = match read_bounded(&self.path, BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => {
                let rows = read.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
                rows.unwrap_or_else(|error| {
                    tracing::error!(%error, "what was raised before the start is not known");
                    Vec::new()
                })
            }
        };
        let rows = rows.into_iter();
        rows.filter_map(|row| Some((row.key()?, row.about)))
            .collect()
    }

    /// Has this written soon. Never waits; must be called within a tokio runtime.
    pub(super) fn keep(self: &Arc<Self>, raised: &BTreeMap<Key, String>) {
        let rows = raised.iter().map(|((kind, log), about)| Row {
            alert: kind.name().to_owned(),
            log: log.as_ref().map(|log| log.as_str().to_owned()),
            about: about.clone(),
        });
        let rows: Vec<Row> = rows.collect();
        // Text makes JSON.
        let text = serde_json::to_vec(&rows).unwrap_or_default();
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        let this = Arc::clone(self);
        drop(tokio::task::spawn_blocking(move || this.write()));
    }

    /// Writes what is to be written, if it is not yet. Blocks.
    pub(super) fn write(&self) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self
            .next
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(text) = next
            && let Err(error) = replace(&self.path, &text)
        {
            tracing::error!(%error, "what is raised was not written");
        }
    }
}
