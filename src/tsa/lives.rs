//! What the log says of the lives of units: which were started, which are closed.
//!
//! The file of units is the operator's word, and an old copy of it says less than the log: a unit
//! that the log closed would sign again. So the log decides, whatever the file says; where the two
//! cannot both be right in a way that a person must settle, it is said and nothing is done.

use std::collections::BTreeMap;

use jurat_proto::entry::{CloseReason, Entry, KeyEvent};
use jurat_proto::hash::Hash;
use jurat_proto::key::UnixSeconds;
use jurat_proto::tree::LeafIndex;
use jurat_proto::tsp::tst_info::UnitId;
use jurat_store::{Landmark, LogStore, StoreError};

/// The units that the log knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lives(BTreeMap<UnitId, Life>);

/// What the log says of one. Of several entries that say the same the first counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// The SHA-256 of its certificate.
    pub certificate: Hash,
    /// Since when it signs, and the entry that says so.
    pub started: Option<(LeafIndex, UnixSeconds)>,
    /// Since when it does not, why, and the entry that says so.
    pub closed: Option<(LeafIndex, UnixSeconds, CloseReason)>,
}

impl Lives {
    /// Reads all entries of keys, of which there are two for each unit.
    ///
    /// # Errors
    /// [`LivesError`]: the store cannot be read, or its list of these entries is wrong.
    // Spec: TSA-36
    pub fn read(store: &dyn LogStore) -> Result<Self, LivesError> {
        let mut lives: BTreeMap<UnitId, Life> = BTreeMap::new();
        let mut from = LeafIndex::default();
        loop {
            let page = store.landmarks(Landmark::Key, from, PAGE)?;
            for index in &page {
                let bytes = store.entry(*index)?.unwrap_or_default();
                let Ok(Entry::Key(entry)) = Entry::parse(&bytes) else {
                    return Err(LivesError::NoKey { index: index.get() });
                };
                let life = lives.entry(entry.unit).or_insert(Life {
                    certificate: entry.certificate,
                    started: None,
                    closed: None,
                });
                match entry.event {
                    KeyEvent::Start => {
                        life.started.get_or_insert((*index, entry.time));
                    }
                    KeyEvent::Close(reason) => {
                        life.closed.get_or_insert((*index, entry.time, reason));
                    }
                }
            }
            let next = page.last().filter(|_| page.len() == PAGE);
            match next.and_then(|last| LeafIndex::new(last.get() + 1)) {
                Some(next) => from = next,
                None => return Ok(Self(lives)),
            }
        }
    }

    /// What the log says of a unit, if it knows it.
    pub fn of(&self, unit: UnitId) -> Option<&Life> {
        self.0.get(&unit)
    }

    /// Those that were started and are not closed.
    pub fn open(&self) -> impl Iterator<Item = (UnitId, &Life)> {
        let open = |life: &&Life| life.closed.is_none();
        self.0
            .iter()
            .map(|(unit, life)| (*unit, life))
            .filter(move |(_, life)| open(life))
    }
}

/// Entries that are listed at a time.
const PAGE: usize = 256;

/// Why the lives of units are not known. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum LivesError {
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// An entry that is listed as one of a key is none. The database is damaged.
    #[error("entry {index} is listed as that of a key, and is none: run `jurat fsck`")]
    NoKey {
        /// The entry.
        index: u64,
    },
}
