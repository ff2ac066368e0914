//! A filter in front of the dedup table: which leaf hashes are surely not in it.
//!
//! Nearly every search is for a hash that is new, and in a large tree each would read a page of
//! the table to learn that. The filter answers most of them from memory; whatever it lets through
//! is looked up as before, so answers stay exact, and a filter that is too small for its tree only
//! lets more through. Prefixes of leaf hashes are random, so their own bits choose the place:
//!
//! ```text
//! prefix, 64 bits   high: which line of 512 bits | low, 9 bits each: which 4 bits of the line
//! ```
//!
//! It is not in the file. After opening, each commit fills in a piece of what the table held;
//! until that is done, everything is let through.

use std::sync::atomic::{AtomicU64, Ordering};

use super::schema::split_dedup_key;

/// Bits in a cache line, and so in a line of the filter.
const LINE_BITS: u64 = 512;

/// Bits set for each prefix; good for 8 to 16 bits of filter for each.
const BITS: u32 = 4;

/// A blocked Bloom filter. Bits are only ever set, so sharing it needs no lock; what orders it
/// after a change of the pool is the lock around the pool.
#[derive(Debug)]
pub(super) struct Filter {
    words: Vec<AtomicU64>,
}

impl Filter {
    /// An empty filter of about that many bytes; one of zero bytes lets everything through.
    pub(super) fn new(bytes: usize) -> Self {
        let words = bytes / 64 * 8;
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(super) fn insert_keys(&self, keys: &[u128]) {
        for key in keys {
            self.insert(split_dedup_key(*key).0);
        }
    }

    pub(super) fn insert(&self, prefix: u64) {
        for (word, bit) in self.places(prefix) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Whether the prefix may have been inserted.
    pub(super) fn lets_through(&self, prefix: u64) -> bool {
        self.places(prefix)
            .all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    fn places(&self, prefix: u64) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let lines = u128::try_from(self.words.len() / 8).unwrap_or(0);
        // Below `lines`, so it is an index.
        let line = usize::try_from((u128::from(prefix) * lines) >> 64).unwrap_or(0);
        (0..BITS).filter_map(move |n| {
            let at = (prefix >> (9 * n)) % LINE_BITS;
            let word = self
                .words
                .get(line * 8 + usize::try_from(at / 64).unwrap_or(0))?;
            Some((word, 1 << (at % 64)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As random as prefixes of hashes are.
    fn prefixes(range: std::ops::Range<u64>) -> impl Iterator<Item = u64> {
        range.map(|i| super::super::prefix(&jurat_proto::hash::sha256(&i.to_be_bytes())))
    }

    #[test]
    fn what_was_inserted_is_let_through_and_little_else() {
        let filter = Filter::new(10_000);
        prefixes(0..8_000).for_each(|prefix| filter.insert(prefix));
        assert!(prefixes(0..8_000).all(|prefix| filter.lets_through(prefix)));
        let others = prefixes(8_000..18_000)
            .filter(|prefix| filter.lets_through(*prefix))
            .count();
        assert!(others < 400, "{others} of 10,000");
    }

    #[test]
    fn a_filter_without_room_lets_everything_through() {
        let filter = Filter::new(63);
        assert!(prefixes(0..100).all(|prefix| filter.lets_through(prefix)));
        filter.insert(7);
    }
}
