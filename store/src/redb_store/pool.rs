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
//!          all in the table │ frozen: in the table up  │ fresh: in memory only │
//!                           │ to the cursor, in memory │
//!                           │ beyond it                │
//! ```
//!
//! Where the sweep stands ([`Mark`]) is in the file, written in the transaction that inserts the
//! slice; the keys themselves are taken from the leaf hashes when the file is opened. The slices
//! are a quarter larger than the commits they ride on, so a sweep ends before the next one is due,
//! and what is in memory stays below twice the target, whatever crashes in between.

use std::collections::BTreeSet;

use super::schema::{Mark, dedup_key, split_dedup_key};

/// Keys of the newest entries. Changed only after the commit that it belongs to has returned.
#[derive(Debug)]
pub(super) struct Pool {
    /// A sweep starts when this many keys are fresh.
    target: usize,
    /// Keys of the entries from `frozen_through` on.
    fresh: BTreeSet<u128>,
    /// Keys, above the cursor, of the entries from `merged_through` to `frozen_through`.
    frozen: BTreeSet<u128>,
    mark: Mark,
}

/// What a commit is to insert into the table, and where the sweep stands after it.
#[derive(Debug)]
pub(super) struct Slice {
    /// Ascending.
    pub(super) keys: Vec<u128>,
    /// To be written when there are keys.
    pub(super) mark: Mark,
}

impl Pool {
    /// Rebuilds the pool from the keys of the entries from `merged_through` to `size`.
    pub(super) fn rebuild(
        target: usize,
        mark: Mark,
        keys: impl Iterator<Item = u128>,
        size: u64,
    ) -> Self {
        let (frozen, fresh): (Vec<u128>, Vec<u128>) =
            keys.partition(|key| split_dedup_key(*key).1 < mark.frozen_through);
        let frozen = frozen
            .into_iter()
            .filter(|key| mark.cursor.is_none_or(|at| *key > at));
        let mut pool = Self {
            target: target.max(1),
            fresh: fresh.into_iter().collect(),
            frozen: frozen.collect(),
            mark,
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
        keys.map(|key| split_dedup_key(*key).1)
    }

    /// The slice that a commit of `entries` entries carries.
    pub(super) fn slice(&self, entries: usize) -> Slice {
        let most = entries.saturating_add(entries.div_ceil(4));
        let keys: Vec<u128> = self.frozen.iter().copied().take(most).collect();
        let mut mark = self.mark;
        if keys.len() == self.frozen.len() {
            mark.merged_through = mark.frozen_through;
            mark.cursor = None;
        } else if let Some(last) = keys.last() {
            mark.cursor = Some(*last);
        }
        Slice { keys, mark }
    }

    /// The commit that carried `slice` has returned, and brought the tree to `size` with `keys`.
    pub(super) fn committed(&mut self, slice: &Slice, keys: impl Iterator<Item = u128>, size: u64) {
        for _ in &slice.keys {
            self.frozen.pop_first();
        }
        self.mark = slice.mark;
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
            self.mark.frozen_through = size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: usize = 64;

    fn keys(range: std::ops::Range<u64>) -> impl Iterator<Item = u128> {
        range.map(|i| dedup_key(i.wrapping_mul(0x9e37_79b9_7f4a_7c15), i))
    }

    #[test]
    fn every_key_is_in_the_pool_or_in_the_table_at_every_moment() {
        let mut table = BTreeSet::new();
        let (mut size, mut stored) = (0, Mark::START);
        let mut pool = Pool::rebuild(TARGET, stored, std::iter::empty(), 0);
        for step in 0..700u64 {
            let n = step % 7;
            let slice = pool.slice(usize::try_from(n).unwrap());
            table.extend(slice.keys.iter().copied());
            if !slice.keys.is_empty() {
                stored = slice.mark;
            }
            pool.committed(&slice, keys(size..size + n), size + n);
            size += n;
            for key in keys(0..size) {
                let (prefix, index) = split_dedup_key(key);
                assert!(table.contains(&key) || pool.indices(prefix).any(|i| i == index));
                assert!(index >= stored.merged_through || table.contains(&key));
            }
            assert!(
                pool.len() < 2 * TARGET,
                "the sweep keeps up: {}",
                pool.len()
            );
            // Crashes at the worst moments: a restart resumes the sweep where it was.
            if step % 5 == 0 {
                let before = pool.len();
                pool = Pool::rebuild(TARGET, stored, keys(stored.merged_through..size), size);
                assert!(pool.len() <= before);
            }
        }
        assert!(stored.merged_through > 1_000);
    }
}
