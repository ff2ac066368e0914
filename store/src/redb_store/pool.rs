//! The pool of dedup keys that are not in their table yet, and the sweep that brings them there.
//!
//! A row of `dedup` has a random key. Inserting the keys of each commit at once would touch about
//! one page of 4 KiB for each entry as soon as the table outgrows a few thousand pages: at ten
//! million entries the index would cost more than all the rest. So new keys wait in memory until
//! there are many, and are then inserted in the order of the keys, a slice with each commit: a
//! page of the table is touched once for all the keys that fall in it.
//!
//! ```text
//! entries  0 ────────────── merged_through ─────────── frozen_through ───────── size
//!          all in the table │ frozen: those up to the  │ fresh: in memory only │
//!                           │ cursor are in the table  │
//! ```
//!
//! `merged_through` is in the file; the rest is rebuilt from the leaf hashes when it is opened.
//! A crash in the middle of a sweep leaves some keys in the table that the pool then has again:
//! inserting them a second time changes nothing. The slices are a quarter larger than the commits
//! they ride on, so a sweep ends before the next one is due and the pool stays below twice its
//! target.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::schema::dedup_key;

/// Keys of the newest entries. Changed only after the commit that it belongs to has returned.
#[derive(Debug)]
pub(super) struct Pool {
    /// A sweep starts when this many keys are fresh.
    target: usize,
    /// Keys of the entries [frozen_through, size).
    fresh: BTreeSet<u128>,
    /// Keys of the entries [merged_through, frozen_through); empty between sweeps.
    frozen: BTreeSet<u128>,
    frozen_through: u64,
    /// The last key of `frozen` that is in the table.
    cursor: Option<u128>,
}

/// What a commit is to insert into the table.
#[derive(Debug)]
pub(super) struct Slice {
    /// Ascending.
    pub(super) keys: Vec<u128>,
    /// Set when the sweep ends with this slice: the new `merged_through`.
    pub(super) merged_through: Option<u64>,
}

impl Pool {
    /// Rebuilds the pool from the keys of the entries [merged through, size).
    pub(super) fn rebuild(target: usize, keys: impl Iterator<Item = u128>, size: u64) -> Self {
        let mut pool = Self {
            target,
            fresh: keys.collect(),
            frozen: BTreeSet::new(),
            frozen_through: size,
            cursor: None,
        };
        pool.freeze_when_due(size);
        pool
    }

    /// Indices of the entries in the pool whose leaf hash has this prefix, ascending.
    pub(super) fn indices(&self, prefix: u64) -> impl Iterator<Item = u64> + '_ {
        let keys = dedup_key(prefix, 0)..=dedup_key(prefix, u64::MAX);
        let keys = self
            .frozen
            .range(keys.clone())
            .chain(self.fresh.range(keys));
        keys.map(|key| super::schema::split_dedup_key(*key).1)
    }

    /// The slice that a commit of `entries` entries carries.
    pub(super) fn slice(&self, entries: usize) -> Slice {
        let most = entries.saturating_add(entries.div_ceil(4));
        let from = self.cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.frozen.range((from, Bound::Unbounded)).copied();
        let keys: Vec<u128> = rest.by_ref().take(most).collect();
        let ends = !self.frozen.is_empty() && rest.next().is_none();
        Slice {
            keys,
            merged_through: ends.then_some(self.frozen_through),
        }
    }

    /// The commit that carried `slice` has returned, and brought the tree to `size` with `keys`.
    pub(super) fn committed(&mut self, slice: &Slice, keys: impl Iterator<Item = u128>, size: u64) {
        if slice.merged_through.is_some() {
            self.frozen = BTreeSet::new();
            self.cursor = None;
        } else if let Some(last) = slice.keys.last() {
            self.cursor = Some(*last);
        }
        self.fresh.extend(keys);
        self.freeze_when_due(size);
    }

    /// Keys held in memory.
    pub(super) fn len(&self) -> usize {
        self.fresh.len() + self.frozen.len()
    }

    fn freeze_when_due(&mut self, size: u64) {
        if self.frozen.is_empty() && self.fresh.len() >= self.target {
            std::mem::swap(&mut self.frozen, &mut self.fresh);
            self.frozen_through = size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(range: std::ops::Range<u64>) -> impl Iterator<Item = u128> {
        range.map(|i| dedup_key(i.wrapping_mul(0x9e37_79b9_7f4a_7c15), i))
    }

    #[test]
    fn every_key_is_in_the_pool_or_in_the_table_at_every_moment() {
        let mut table = BTreeSet::new();
        let mut pool = Pool::rebuild(64, std::iter::empty(), 0);
        let (mut size, mut merged_through) = (0, 0);
        for step in 0..400u64 {
            let n = step % 7;
            let slice = pool.slice(usize::try_from(n).unwrap());
            table.extend(slice.keys.iter().copied());
            merged_through = slice.merged_through.unwrap_or(merged_through);
            pool.committed(&slice, keys(size..size + n), size + n);
            size += n;
            for key in keys(0..size) {
                let (prefix, index) = super::super::schema::split_dedup_key(key);
                assert!(table.contains(&key) || pool.indices(prefix).any(|i| i == index));
                assert!(index >= merged_through || table.contains(&key));
            }
            assert!(
                pool.len() < 2 * 64 + 8,
                "the sweep keeps up: {}",
                pool.len()
            );
            if step % 37 == 0 {
                pool = Pool::rebuild(64, keys(merged_through..size), size);
            }
        }
        assert!(merged_through > 0);
    }
}
