//! The latest cosigned checkpoint of each origin, in memory, never ahead of the disk.
//!
//! One process owns the database, so what was loaded when it opened and what it committed since is
//! all there is: reads never wait for the disk or for a commit. Only the commit thread changes it,
//! after the store said that the swap is durable and before anyone is told; so a head that can be
//! read here is durable, and per origin heads appear in commit order.
//!
//! A stored head is believed only as far as the note stored with it bears it out ([`HeadFault`]):
//! nobody can make us remember what we did not cosign by writing into the file. Putting the whole
//! file back to what it was is another matter, which no witness sees by itself.
//!
//! About 4 kB for each origin that was ever cosigned.
//!
//! Rows: `spec/witness.md` WIT-54, WIT-57.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use jurat_proto::checkpoint::{CheckpointError, Origin, SignaturesError, SignedCheckpoint};
use jurat_proto::hash::Hash;
use jurat_proto::key::{UnixSeconds, VerifierKey};
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
    /// Loads every origin of the store. `own_keys` are this witness's.
    ///
    /// # Errors
    /// [`LoadError`]; nothing is served from such a store.
    pub fn load(store: &dyn CheckpointStore, own_keys: &[VerifierKey]) -> Result<Self, LoadError> {
        let mut latest = HashMap::new();
        let mut by_former_keys = 0_u64;
        let mut after: Option<Origin> = None;
        loop {
            let page = store.origins(after.as_ref(), PAGE)?;
            let full = page.len() >= PAGE;
            for (origin, head) in page {
                match check(&origin, &head, own_keys) {
                    Ok(Signed::ByUs) => {}
                    Ok(Signed::ByFormerKeys) => by_former_keys += 1,
                    Err(fault) => return Err(LoadError::Damaged { origin, fault }),
                }
                latest.insert(origin.hash(), Arc::new(Latest::from(head)));
                after = Some(origin);
            }
            if !full {
                break;
            }
        }
        if by_former_keys > 0 {
            tracing::warn!(
                origins = by_former_keys,
                "checkpoints are stored that none of the present keys cosigned; have the keys been \
                 replaced?"
            );
        }
        Ok(Self {
            latest: RwLock::new(latest),
        })
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

enum Signed {
    ByUs,
    /// None of our keys did: they were replaced since.
    ByFormerKeys,
}

/// Whether the note of a stored head says what the head says.
// Spec: WIT-57
fn check(
    origin: &Origin,
    stored: &OriginHead,
    own_keys: &[VerifierKey],
) -> Result<Signed, HeadFault> {
    let note = SignedCheckpoint::parse(&stored.note).map_err(HeadFault::NotACheckpoint)?;
    if note.origin() != origin {
        let note = note.origin().clone();
        return Err(HeadFault::OtherOrigin { note });
    }
    if note.head() != stored.head {
        return Err(HeadFault::OtherHead {
            stored: stored.head,
            note: note.head(),
        });
    }
    let lines = match note.verify_signatures(own_keys) {
        Ok(lines) => lines,
        Err(SignaturesError::NoKnownSignature) => return Ok(Signed::ByFormerKeys),
        Err(error) => return Err(HeadFault::NotOurs(error)),
    };
    match lines
        .iter()
        .find(|line| line.timestamp != Some(stored.time))
    {
        Some(line) => Err(HeadFault::OtherTime {
            stored: stored.time,
            signed: line.timestamp,
        }),
        None => Ok(Signed::ByUs),
    }
}

/// Why the state was not loaded. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The backend's failure.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A head contradicts the note that is stored with it. The disk is at fault, or whoever wrote
    /// to the file. What we cosigned last is then not known, so nothing may be signed.
    #[error("the stored head of {origin} is not what this witness cosigned: {fault}")]
    Damaged {
        /// The log.
        origin: Origin,
        /// What gave it away.
        fault: HeadFault,
    },
}

/// How a stored head contradicts the note that is stored with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadFault {
    /// The note is no checkpoint.
    #[error("its note is no checkpoint: {0}")]
    NotACheckpoint(CheckpointError),
    /// The note is of another log.
    #[error("its note is of {note}")]
    OtherOrigin {
        /// The origin in the note.
        note: Origin,
    },
    /// The note has another tree head.
    #[error(
        "it is of size {} and root {}, its note of size {} and root {}",
        .stored.size.get(),
        .stored.root_hash,
        .note.size.get(),
        .note.root_hash
    )]
    OtherHead {
        /// The stored tree head.
        stored: TreeHead,
        /// The tree head in the note.
        note: TreeHead,
    },
    /// A line in the note names one of our keys and is not its cosignature.
    #[error("its note: {0}")]
    NotOurs(SignaturesError),
    /// Our cosignature has another time.
    #[error(
        "its time is {stored}, that of our cosignature {}",
        .signed.map_or(0, UnixSeconds::get)
    )]
    OtherTime {
        /// The stored time.
        stored: UnixSeconds,
        /// The time in the cosignature, if it says one.
        signed: Option<UnixSeconds>,
    },
}

/// Origins that are loaded at a time.
const PAGE: usize = 1024;
