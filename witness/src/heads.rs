//! The latest cosigned checkpoint of each origin, in memory, never ahead of the disk.
//!
//! One process owns the database, so what was loaded when it opened and what it committed since is
//! all there is: reads never wait for the disk or for a commit. Only the commit thread changes it,
//! after the store said that the swap is durable and before anyone is told; so a head that can be
//! read here is durable, and per origin heads appear in commit order.
//!
//! About 4 kB for each origin that was ever cosigned.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::Hash;
use jurat_proto::key::UnixSeconds;
use jurat_proto::tree::TreeHead;
use jurat_store::{CheckpointStore, HeadSwap, OriginHead, StoreError};

/// What this witness cosigned last for an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    /// The tree head.
    pub head: TreeHead,
    /// The time in the cosignatures.
    pub time: UnixSeconds,
    /// The checkpoint with the log's verified signatures and our cosignatures.
    pub note: Bytes,
}

/// The latest of each origin, by the SHA-256 of the origin.
#[derive(Debug)]
pub struct Heads {
    latest: RwLock<HashMap<Hash, Arc<Latest>>>,
}

impl Heads {
    /// Loads every origin of the store.
    ///
    /// # Errors
    /// The backend's failures.
    pub fn load(store: &dyn CheckpointStore) -> Result<Self, StoreError> {
        let mut latest = HashMap::new();
        let mut after: Option<Origin> = None;
        loop {
            let page = store.origins(after.as_ref(), PAGE)?;
            let full = page.len() >= PAGE;
            for (origin, head) in page {
                latest.insert(origin.hash(), Arc::new(Latest::from(head)));
                after = Some(origin);
            }
            if !full {
                return Ok(Self {
                    latest: RwLock::new(latest),
                });
            }
        }
    }

    /// The latest of the origin with this SHA-256.
    pub fn latest(&self, origin_hash: &Hash) -> Option<Arc<Latest>> {
        // A map that a panic left poisoned is whole: an insert is one step.
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        latest.get(origin_hash).map(Arc::clone)
    }

    /// How many origins were ever cosigned.
    pub fn len(&self) -> usize {
        self.latest
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes over swaps that are durable.
    pub(crate) fn committed(&self, swaps: impl Iterator<Item = HeadSwap>) {
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        for swap in swaps {
            latest.insert(swap.origin.hash(), Arc::new(Latest::from(swap.new)));
        }
    }
}

impl From<OriginHead> for Latest {
    fn from(head: OriginHead) -> Self {
        Self {
            head: head.head,
            time: head.time,
            note: Bytes::from(head.note),
        }
    }
}

/// Origins that are loaded at a time.
const PAGE: usize = 1024;
