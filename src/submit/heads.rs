//! Does a stored head say what its checkpoint says?
//!
//! The store keeps an origin's head beside the checkpoint that it was accepted with, and knows
//! neither notes nor entries. A head that was set back, by a flipped bit or by somebody who can
//! write the file, would let a log rewrite what it anchored; so it is believed only with its
//! checkpoint, and `jurat fsck` also looks for the entry.

use jurat_proto::checkpoint::{CheckpointError, Origin, SignedCheckpoint};
use jurat_proto::entry::Entry;
use jurat_proto::tree::{LeafIndex, TreeHead};
use jurat_store::{LogStore, OriginHead, StoreError};

/// How a stored head contradicts what is stored with it. At fault: the disk, or whoever wrote to
/// the database. Bring back the newest good state; the entries in the log say what was accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// The checkpoint beside the head does not parse.
    #[error("the checkpoint stored with the head of {origin} does not parse: {reason}")]
    Checkpoint {
        /// Whose head.
        origin: Origin,
        /// Why.
        reason: CheckpointError,
    },
    /// It is another checkpoint.
    #[error(
        "the stored head of {origin} has size {} and root {}, its checkpoint says {} size {}, \
         root {}",
        .head.size, .head.root_hash, .says, .checkpoint.size, .checkpoint.root_hash
    )]
    Other {
        /// Whose head.
        origin: Origin,
        /// The stored head.
        head: TreeHead,
        /// The origin in the checkpoint.
        says: Origin,
        /// The head in the checkpoint.
        checkpoint: TreeHead,
    },
    /// The entry that should carry it does not.
    #[error("entry {index:?} does not carry the stored head of {origin}")]
    Entry {
        /// Whose head.
        origin: Origin,
        /// The entry that the head names.
        index: Option<LeafIndex>,
    },
}

/// Checks a head against the checkpoint that is stored with it.
///
/// # Errors
/// [`Damaged`].
// Spec: SVC-20
pub fn check(origin: &Origin, latest: &OriginHead) -> Result<(), Box<Damaged>> {
    let signed = SignedCheckpoint::parse(&latest.note)
        .map_err(|reason| Damaged::Checkpoint {
            origin: origin.clone(),
            reason,
        })
        .map_err(Box::new)?;
    if signed.origin() != origin || signed.head() != latest.head {
        return Err(Box::new(Damaged::Other {
            origin: origin.clone(),
            head: latest.head,
            says: signed.origin().clone(),
            checkpoint: signed.head(),
        }));
    }
    Ok(())
}

/// Checks all heads of a store, also against the entries that carry them.
///
/// # Errors
/// When the store cannot be read. What contradicts itself is in the answer.
// Spec: SVC-20
pub fn check_all(store: &dyn LogStore) -> Result<Vec<Damaged>, StoreError> {
    let mut damaged = Vec::new();
    let mut after: Option<Origin> = None;
    loop {
        let page = store.origins(after.as_ref(), PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(damaged);
        };
        after = Some(last.clone());
        for (origin, latest) in &page {
            if let Err(found) = check(origin, latest) {
                damaged.push(*found);
            } else if !is_carried(store, origin, latest)? {
                damaged.push(Damaged::Entry {
                    origin: origin.clone(),
                    index: latest.log_index,
                });
            }
        }
    }
}

/// Origins that are looked at together.
const PAGE: usize = 256;

fn is_carried(
    store: &dyn LogStore,
    origin: &Origin,
    latest: &OriginHead,
) -> Result<bool, StoreError> {
    let Some(index) = latest.log_index else {
        return Ok(false);
    };
    let entry = store.entry(index)?.map(|bytes| Entry::parse(&bytes));
    let Some(Ok(Entry::Checkpoint(entry))) = entry else {
        return Ok(false);
    };
    let checkpoint = entry.checkpoint();
    Ok(checkpoint.origin() == origin && checkpoint.head() == latest.head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cosigners::testing::checkpoint;
    use jurat_proto::entry::CheckpointEntry;
    use jurat_proto::key::UnixSeconds;
    use jurat_store::{Batch, HeadSwap, MemoryStore, NewEntry};

    fn stored(size: u64, note_of: u64) -> OriginHead {
        OriginHead {
            head: checkpoint(size).head(),
            time: UnixSeconds::ZERO,
            note: checkpoint(note_of).to_bytes(),
            log_index: LeafIndex::new(0),
        }
    }

    fn origin() -> Origin {
        checkpoint(1).origin().clone()
    }

    /// A store with one entry, the checkpoint of that size, and this head.
    fn store(entry_of: u64, head: OriginHead) -> MemoryStore {
        let store = MemoryStore::new();
        let entry = CheckpointEntry::new(&checkpoint(entry_of), &[0]).unwrap();
        let batch = Batch {
            expected: TreeHead::empty(),
            entries: vec![NewEntry::new(Entry::Checkpoint(entry).to_bytes()).unwrap()],
            heads: vec![HeadSwap {
                origin: origin(),
                expected: None,
                new: head,
            }],
        };
        store.commit(batch).unwrap();
        store
    }

    // Spec: SVC-20
    #[test]
    fn a_head_that_was_set_back_is_not_believed() {
        assert_eq!(check(&origin(), &stored(7, 7)), Ok(()));
        let back = check(&origin(), &stored(3, 7)).unwrap_err();
        assert!(matches!(*back, Damaged::Other { .. }), "{back}");
        let moved = check(&Origin::parse("other").unwrap(), &stored(7, 7));
        assert!(matches!(
            moved.map_err(|damaged| *damaged),
            Err(Damaged::Other { .. })
        ));
        let mut cut = stored(7, 7);
        cut.note.truncate(20);
        let cut = check(&origin(), &cut).unwrap_err();
        assert!(matches!(*cut, Damaged::Checkpoint { .. }), "{cut}");
    }

    // Spec: SVC-20
    #[test]
    fn a_head_whose_entry_is_another_one_is_found() {
        assert_eq!(check_all(&store(7, stored(7, 7))).unwrap(), []);
        let found = check_all(&store(3, stored(7, 7))).unwrap();
        assert!(matches!(found[..], [Damaged::Entry { .. }]), "{found:?}");
        let found = check_all(&store(7, stored(3, 7))).unwrap();
        assert!(matches!(found[..], [Damaged::Other { .. }]), "{found:?}");
    }
}
