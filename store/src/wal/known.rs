//! What the newest head of each origin is, in a few bytes: so that a swap need not be looked up in
//! the engine, by the one thread that everybody waits for.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::sha256;
use jurat_proto::key::UnixSeconds;
use jurat_proto::tree::TreeHead;

/// A digest of the newest head of each origin that was read or written since the start, and its
/// time: 32 bytes for each, besides the room that a map leaves.
///
/// It says whether a head is the newest, and not which one is. Two origins may share a place: then
/// only the one that was there last is known, since the digest is of the origin, too.
#[derive(Debug, Default)]
pub(super) struct Known {
    places: RandomState,
    heads: HashMap<u64, ([u8; 16], UnixSeconds)>,
}

impl Known {
    /// The time of this head, if it is known for the newest of the origin.
    pub(super) fn time_of(&self, origin: &Origin, head: &TreeHead) -> Option<UnixSeconds> {
        let place = self.place(origin);
        let (known, time) = self.heads.get(&place)?;
        (*known == digest(place, origin, head)).then_some(*time)
    }

    /// This is the newest from now on.
    pub(super) fn remember(&mut self, origin: &Origin, head: &TreeHead, time: UnixSeconds) {
        let place = self.place(origin);
        self.heads
            .insert(place, (digest(place, origin, head), time));
    }

    fn place(&self, origin: &Origin) -> u64 {
        self.places.hash_one(origin.as_str())
    }
}

/// The place, which nobody else knows, comes first, then the size and the root, all of a fixed
/// length, so that no other origin and head have the same bytes, and none of one digest can be
/// looked for.
fn digest(place: u64, origin: &Origin, head: &TreeHead) -> [u8; 16] {
    let (place, size) = (place.to_be_bytes(), head.size.get().to_be_bytes());
    let (root, name) = (head.root_hash, origin.as_str().as_bytes());
    let bytes = [&place[..], &size, root.as_bytes(), name].concat();
    let hash = sha256(&bytes);
    // A hash has 32 bytes, so it has a first chunk of 16.
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use jurat_proto::tree::TreeSize;

    use super::*;

    fn origin(name: &str) -> Origin {
        Origin::parse(name).unwrap()
    }

    fn head(size: u64, root: u8) -> TreeHead {
        TreeHead {
            size: TreeSize::new(size).unwrap(),
            root_hash: sha256(&[root]),
        }
    }

    // Spec: STO-38
    #[test]
    fn only_the_head_that_was_remembered_last_is_known() {
        let mut known = Known::default();
        let time = |seconds| UnixSeconds::new(seconds).unwrap();
        known.remember(&origin("a"), &head(5, 1), time(10));
        known.remember(&origin("b"), &head(6, 1), time(11));
        assert_eq!(known.time_of(&origin("a"), &head(5, 1)), Some(time(10)));
        for other in [head(5, 2), head(6, 1)] {
            assert_eq!(known.time_of(&origin("a"), &other), None);
        }
        known.remember(&origin("a"), &head(7, 2), time(12));
        assert_eq!(known.time_of(&origin("a"), &head(5, 1)), None);
        assert_eq!(known.time_of(&origin("a"), &head(7, 2)), Some(time(12)));
        assert_eq!(known.time_of(&origin("c"), &head(7, 2)), None);
    }

    #[test]
    fn another_origin_in_its_place_is_not_taken_for_it() {
        let mut known = Known::default();
        let time = UnixSeconds::new(10).unwrap();
        known.remember(&origin("a"), &head(5, 1), time);
        let place = known.place(&origin("a"));
        let other = digest(place, &origin("b"), &head(5, 1));
        known.heads.insert(place, (other, time));
        assert_eq!(known.time_of(&origin("a"), &head(5, 1)), None);
    }
}
