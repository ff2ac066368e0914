//! What all backends have in common, as pure functions, so that there is one text of the rules.

use jurat_proto::hash::Hash;
use jurat_proto::key::UnixSeconds;
use jurat_proto::tree::{LeafIndex, TreeHead, TreeSize};

use crate::{HeadRefusal, HeadSwap, SignedHead, SwapRefusal};

/// Whether a swap may replace the current head (with its time), in a store whose tree has `size`
/// entries once the batch's own are counted.
// Spec: STO-06, STO-07
pub(crate) fn check_swap(
    current: Option<(TreeHead, UnixSeconds)>,
    swap: &HeadSwap,
    size: TreeSize,
) -> Result<(), SwapRefusal> {
    let current_head = current.map(|(head, _)| head);
    if swap.expected != current_head {
        return Err(SwapRefusal::Conflict {
            current: current_head,
        });
    }
    let new = &swap.new;
    if let Some((head, time)) = current {
        if new.head.size < head.size {
            return Err(SwapRefusal::Shrinks {
                current: head.size,
                new: new.head.size,
            });
        }
        if new.head.size == head.size && new.head.root_hash != head.root_hash {
            return Err(SwapRefusal::Forks {
                current: head,
                new: new.head,
            });
        }
        if new.time < time {
            return Err(SwapRefusal::TimeWentBack {
                current: time,
                new: new.time,
            });
        }
    }
    match new.log_index {
        Some(log_index) if log_index.get() >= size.get() => {
            Err(SwapRefusal::NoSuchEntry { log_index, size })
        }
        _ => Ok(()),
    }
}

/// Whether `head` may be published, or recorded as signed, after `current`, in a tree whose root
/// at `head.size` is `ours` (`None`: the tree of size `committed` is smaller than that).
// Spec: STO-08, STO-09
pub(crate) fn check_head(
    current: Option<TreeSize>,
    head: &TreeHead,
    committed: TreeSize,
    ours: Option<Hash>,
) -> Result<(), HeadRefusal> {
    let size = head.size;
    match ours {
        None => return Err(HeadRefusal::NotCommitted { size, committed }),
        Some(ours) if ours != head.root_hash => {
            return Err(HeadRefusal::OtherRoot {
                size,
                ours,
                theirs: head.root_hash,
            });
        }
        Some(_) => {}
    }
    match current {
        Some(current) if size < current => Err(HeadRefusal::SizeWentBack { current, size }),
        _ => Ok(()),
    }
}

/// Whether a signature may state this time after the last one.
// Spec: STO-09
pub(crate) fn check_signing_time(
    current: Option<SignedHead>,
    time: UnixSeconds,
) -> Result<(), HeadRefusal> {
    match current {
        Some(last) if time < last.time => Err(HeadRefusal::TimeWentBack {
            current: last.time,
            time,
        }),
        _ => Ok(()),
    }
}

/// The size after appending `entries` to a tree of `size`, unless it is full.
pub(crate) fn grown(size: TreeSize, entries: usize) -> Option<TreeSize> {
    size.get()
        .checked_add(u64::try_from(entries).ok()?)
        .and_then(TreeSize::new)
}

/// The index of the leaf that a tree of `size` gets next.
pub(crate) fn next_index(size: TreeSize) -> LeafIndex {
    LeafIndex::new(size.get()).unwrap_or_default()
}

/// The first 8 bytes of a leaf hash.
pub(crate) fn prefix(leaf_hash: &Hash) -> u64 {
    // A hash has 32 bytes, so it has a first chunk of 8.
    let first = leaf_hash.as_bytes().first_chunk();
    first.map_or(0, |first| u64::from_be_bytes(*first))
}
