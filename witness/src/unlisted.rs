//! Logs that were cosigned and that no list names any more.
//!
//! Logs are disabled and never removed, and a list that lost one is refused while the witness runs
//! and when its journal has the log ([`crate::losses`]). Who takes a log out of a list without a
//! journal, while nothing runs, makes the witness say of it that it never cosigned it, which is
//! false and hides what monitors ask for. So the state is asked at the start: what no list names is
//! served as for a disabled log, verified by our own signatures, and reported.
//!
//! The state is by origin, and monitors ask by the SHA-256 of one, so all of it has to be looked
//! through. The first page is read before anything is served; a large state is read on in a thread,
//! and until that ends it is not known that a log was never cosigned.
//!
//! Rows: `spec/witness.md` WIT-53, WIT-75.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::Hash;
use jurat_store::{CheckpointStore, StoreError};

use crate::log_list::LogList;
use crate::metrics::Metrics;

/// The logs that were found.
#[derive(Default)]
pub(crate) struct Unlisted {
    found: RwLock<HashMap<Hash, Origin>>,
    /// All of the state was looked through.
    whole: AtomicBool,
}

/// What is known of an origin that no list names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// It was cosigned.
    Cosigned(Origin),
    /// It never was.
    Never,
    /// The state is being looked through.
    NotYet,
}

impl Unlisted {
    /// Reads the first page, and leaves the rest to a thread.
    ///
    /// # Errors
    /// The state cannot be read.
    pub(crate) fn find(
        store: Arc<dyn CheckpointStore>,
        logs: Arc<LogList>,
        metrics: Metrics,
    ) -> Result<Arc<Self>, StoreError> {
        let this = Arc::new(Self::default());
        let after = this.read(&*store, &logs, &metrics, None, PAGE)?;
        if after.is_some() {
            let found = Arc::clone(&this);
            let spawned = thread::Builder::new()
                .name("unlisted".to_owned())
                .spawn(move || found.read_on(&*store, &logs, &metrics, after));
            if let Err(error) = spawned {
                tracing::error!(%error, "it stays unknown which logs no list names");
            }
        }
        Ok(this)
    }

    fn read_on(
        &self,
        store: &dyn CheckpointStore,
        logs: &LogList,
        metrics: &Metrics,
        mut after: Option<Origin>,
    ) {
        while let Some(from) = after {
            after = match self.read(store, logs, metrics, Some(&from), PAGE) {
                Ok(after) => after,
                Err(error) => {
                    tracing::error!(%error, "it stays unknown which logs no list names");
                    return;
                }
            };
        }
    }

    /// Reads a page; the last origin of it, unless it was the last page.
    fn read(
        &self,
        store: &dyn CheckpointStore,
        logs: &LogList,
        metrics: &Metrics,
        after: Option<&Origin>,
        most: usize,
    ) -> Result<Option<Origin>, StoreError> {
        let page = store.origins(after, most)?;
        let last = page.last().map(|(origin, _)| origin.clone());
        let more = page.len() == most;
        let logs = logs.current();
        let mut found = self.found.write().unwrap_or_else(PoisonError::into_inner);
        for (origin, _) in page {
            if logs.log(&origin).is_none() {
                if found.len() < TOLD_MAX {
                    tracing::error!(
                        %origin,
                        "a log was cosigned and is in no list; put it back and disable it"
                    );
                }
                found.insert(origin.hash(), origin);
            }
        }
        let count = i64::try_from(found.len()).unwrap_or(i64::MAX);
        metrics.origins_unlisted.set(count);
        if !more {
            self.whole.store(true, Ordering::Release);
        }
        Ok(last.filter(|_| more))
    }

    /// What is known of an origin that no list names.
    // Spec: WIT-75
    pub(crate) fn of(&self, hash: &Hash) -> Known {
        // Before looking: what is found afterwards was not looked through then.
        let whole = self.whole.load(Ordering::Acquire);
        let found = self.found.read().unwrap_or_else(PoisonError::into_inner);
        match found.get(hash) {
            Some(origin) => Known::Cosigned(origin.clone()),
            None if whole => Known::Never,
            None => Known::NotYet,
        }
    }
}

impl fmt::Debug for Unlisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unlisted")
            .field("whole", &self.whole)
            .finish_non_exhaustive()
    }
}

/// Some megabytes, with notes of five kilobytes.
const PAGE: usize = 1024;

/// With more of them, another one is no news.
const TOLD_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use std::fs;

    use jurat_proto::tree::TreeHead;
    use jurat_store::registry::Registry;
    use jurat_store::{HeadSwap, MemoryStore, OriginHead};

    use super::*;

    // Spec: WIT-75
    #[test]
    fn until_all_was_looked_through_nothing_is_said_to_be_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("logs.toml");
        Registry::create(&list).unwrap();
        fs::write(&list, "").unwrap();
        let logs = LogList::load(&list, true).unwrap();
        let store = MemoryStore::new();
        let origins: Vec<Origin> = (0..5)
            .map(|n| format!("log {n}").parse().unwrap())
            .collect();
        let swaps = origins.iter().map(|origin| HeadSwap {
            origin: origin.clone(),
            expected: None,
            new: OriginHead {
                head: TreeHead::empty(),
                time: jurat_proto::key::UnixSeconds::new(1_790_000_000).unwrap(),
                note: Vec::new(),
                log_index: None,
            },
        });
        store.compare_and_swap(&swaps.collect::<Vec<_>>()).unwrap();
        let never = "never".parse::<Origin>().unwrap().hash();
        let unlisted = Unlisted::default();
        let metrics = Metrics::unregistered();
        let mut after = None;
        for read in [2, 4, 5] {
            assert_eq!(unlisted.of(&never), Known::NotYet);
            after = unlisted
                .read(&store, &logs, &metrics, after.as_ref(), 2)
                .unwrap();
            for (place, origin) in origins.iter().enumerate() {
                let cosigned = unlisted.of(&origin.hash()) == Known::Cosigned(origin.clone());
                assert_eq!(cosigned, place < read);
            }
            assert_eq!(metrics.origins_unlisted.get(), i64::try_from(read).unwrap());
        }
        assert_eq!((after, unlisted.of(&never)), (None, Known::Never));
    }
}
