//! Entries that have their place and are not committed yet.
//!
//! ```text
//!  place ─► lock: the next index ─► the entry is made for it ─► `entries` ─► unlock
//!                                                                  │ all of them, in order
//!                                             the next commit ◄────┘
//! ```
//!
//! A place is given in the thread that asks, so that what follows from it (a signature) begins at
//! once, and the commit takes whatever has a place by then. Submissions that need no place of
//! their own get theirs behind those, when they are committed ([`Taking::then`]).
//!
//! Whoever waits for a batch waits on one channel that all of it share: telling them is one step.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jurat_proto::tree::{LeafIndex, TreeSize};
use jurat_store::NewEntry;
use tokio::sync::watch;

/// The places between the committed tree and its next size.
pub(super) struct Places(Mutex<Pending>);

struct Pending {
    /// Of the tree with all that has a place.
    size: TreeSize,
    entries: Vec<NewEntry>,
    /// Which batch these entries will be.
    batch: u64,
    /// Says that this batch is durable; dropped when that is not known.
    done: watch::Sender<bool>,
    /// Somebody sees to it that this batch is committed.
    called: bool,
    /// How many the batches before had: the largest, each counting half of the one after it. A
    /// lone one amid many is no end of the load.
    recent: usize,
    /// How many there were at once that had a place and were not durable: the most, forgotten
    /// slowly.
    crowd: usize,
    open: bool,
}

/// How much waits for a commit, and how much is usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    /// These wait.
    pub(super) waiting: usize,
    /// The batches before had so many.
    pub(super) recent: usize,
    /// So many were there at once, waiting or being committed.
    pub(super) crowd: usize,
}

/// Why there was no place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoPlace<E> {
    /// Nothing is committed any more.
    Closed,
    /// As many wait as may.
    Full,
    /// There is no further index.
    LogFull,
    /// The maker refused.
    Refused(E),
}

/// A place that was given.
pub(super) struct Placed {
    pub(super) index: LeafIndex,
    batch: u64,
    done: watch::Receiver<bool>,
}

impl Placed {
    /// Waits until its batch is durable; `false` when that will never be known.
    pub(super) async fn durable(&mut self) -> bool {
        self.done.wait_for(|done| *done).await.is_ok()
    }
}

impl Places {
    /// None are given beyond a tree of this size.
    pub(super) fn behind(size: TreeSize) -> Self {
        Self(Mutex::new(Pending {
            size,
            entries: Vec::new(),
            batch: 0,
            done: watch::Sender::new(false),
            called: false,
            recent: 0,
            crowd: 0,
            open: true,
        }))
    }

    // What a maker's panic leaves is whole: nothing changes before it has returned.
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the next place to what `maker` makes for it, and says whether the caller must see to
    /// the commit now. A lone entry may wait for [`Self::is_uncalled`].
    ///
    /// # Errors
    /// [`NoPlace`]; then the next one to ask gets the place.
    pub(super) fn place<T, E>(
        &self,
        most: usize,
        maker: impl FnOnce(LeafIndex) -> Result<(T, NewEntry), E>,
    ) -> Result<(T, Placed, bool), NoPlace<E>> {
        let mut pending = self.lock();
        if !pending.open {
            return Err(NoPlace::Closed);
        }
        if pending.entries.len() >= most {
            return Err(NoPlace::Full);
        }
        let (index, size) = next_place(pending.size).ok_or(NoPlace::LogFull)?;
        let (made, entry) = maker(index).map_err(NoPlace::Refused)?;
        pending.entries.push(entry);
        pending.size = size;
        let load = pending.recent > 1 || pending.entries.len() > 1;
        let call = load && !std::mem::replace(&mut pending.called, load);
        let placed = Placed {
            index,
            batch: pending.batch,
            done: pending.done.subscribe(),
        };
        Ok((made, placed, call))
    }

    /// Whether nobody sees to the commit of this one yet. If so, the caller must from now on.
    pub(super) fn is_uncalled(&self, placed: &Placed) -> bool {
        let mut pending = self.lock();
        pending.open
            && pending.batch == placed.batch
            && !std::mem::replace(&mut pending.called, true)
    }

    pub(super) fn load(&self) -> Load {
        let pending = self.lock();
        Load {
            waiting: pending.entries.len(),
            recent: pending.recent,
            crowd: pending.crowd,
        }
    }

    /// A batch of so many is durable, and they have not been told.
    pub(super) fn committed(&self, batch: usize) {
        let mut pending = self.lock();
        let faded = pending.crowd - pending.crowd.div_ceil(CROWD_FADES);
        pending.crowd = faded.max(batch + pending.entries.len());
    }

    /// All that have a place. No more are given until the answer is dropped.
    pub(super) fn take(&self) -> Taking<'_> {
        let mut pending = self.lock();
        let entries = std::mem::take(&mut pending.entries);
        let done = std::mem::replace(&mut pending.done, watch::Sender::new(false));
        pending.batch += 1;
        pending.called = false;
        pending.recent = entries.len().max(pending.recent / 2);
        Taking {
            pending,
            entries,
            done,
        }
    }

    /// No more places; who waits for one that was given learns that its outcome is not known.
    pub(super) fn close(&self) {
        let mut pending = self.lock();
        pending.open = false;
        pending.entries.clear();
        pending.done = watch::Sender::new(false);
    }
}

/// The crowd shrinks by one in so many with each commit: some commits with less say little.
const CROWD_FADES: usize = 16;

/// A batch that is being put together.
pub(super) struct Taking<'a> {
    pending: MutexGuard<'a, Pending>,
    pub(super) entries: Vec<NewEntry>,
    done: watch::Sender<bool>,
}

impl Taking<'_> {
    /// The tree's size with the batch as it is.
    pub(super) fn size(&self) -> TreeSize {
        self.pending.size
    }

    /// Puts entries behind those that are there, which brings the tree to `size`; ends the batch.
    pub(super) fn then(mut self, more: Vec<NewEntry>, size: TreeSize) -> (Vec<NewEntry>, Durable) {
        self.pending.size = size;
        if self.entries.is_empty() {
            self.entries = more;
        } else {
            self.entries.extend(more);
        }
        (self.entries, Durable(self.done))
    }
}

/// Tells a batch's submitters. Dropped without it, they learn that its outcome is not known.
pub(super) struct Durable(watch::Sender<bool>);

impl Durable {
    pub(super) fn tell(self) {
        // Whoever comes to ask later reads it as well.
        self.0.send_replace(true);
    }
}

/// The index behind a tree, and the size of the tree with it.
pub(super) fn next_place(size: TreeSize) -> Option<(LeafIndex, TreeSize)> {
    let index = LeafIndex::new(size.get())?;
    let size = TreeSize::new(size.get().checked_add(1)?)?;
    Some((index, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> NewEntry {
        NewEntry::new(text.as_bytes().to_vec()).unwrap()
    }

    fn size(size: u64) -> TreeSize {
        TreeSize::new(size).unwrap()
    }

    type Given = Result<(LeafIndex, Placed, bool), NoPlace<()>>;

    fn place(places: &Places, text: &str) -> Given {
        places.place(3, |index| Ok((index, entry(text))))
    }

    // Spec: SVC-50
    #[test]
    fn places_follow_each_other_and_one_that_is_refused_goes_to_the_next() {
        let places = Places::behind(size(10));
        let (_, first, _) = place(&places, "a").unwrap();
        let refused: Given = places.place(3, |index| {
            assert_eq!(index.get(), 11);
            Err(())
        });
        assert!(matches!(refused, Err(NoPlace::Refused(()))));
        let (_, second, _) = place(&places, "b").unwrap();
        assert_eq!((first.index.get(), second.index.get()), (10, 11));
        let taking = places.take();
        assert_eq!(taking.size(), size(12));
        let (entries, _durable) = taking.then(vec![entry("c")], size(13));
        assert_eq!(entries, ["a", "b", "c"].map(entry));
        let (_, next, _) = place(&places, "d").unwrap();
        assert_eq!(next.index.get(), 13);
    }

    #[test]
    fn a_full_queue_and_a_full_log_give_no_place() {
        let places = Places::behind(size(0));
        for text in ["a", "b", "c"] {
            place(&places, text).unwrap();
        }
        assert!(matches!(place(&places, "d"), Err(NoPlace::Full)));
        let full = Places::behind(TreeSize::MAX);
        assert!(matches!(place(&full, "a"), Err(NoPlace::LogFull)));
    }

    #[test]
    fn one_of_a_batch_sees_to_its_commit_and_a_lone_one_only_when_it_waits() {
        let places = Places::behind(size(0));
        let (_, lone, call) = place(&places, "a").unwrap();
        assert!(!call);
        assert!(places.is_uncalled(&lone));
        assert!(!places.is_uncalled(&lone));
        places.take().then(Vec::new(), size(1)).1.tell();
        let (_, first, call) = place(&places, "b").unwrap();
        assert!(!call);
        let (_, second, call) = place(&places, "c").unwrap();
        assert!(call, "the second must not wait for what the first does");
        assert!(!places.is_uncalled(&first) && !places.is_uncalled(&second));
        places.take().then(Vec::new(), size(3)).1.tell();
        // Two came together, so more are expected: the first one calls.
        let (_, _, call) = place(&places, "d").unwrap();
        assert!(call);
        assert!(!places.is_uncalled(&first), "its batch is over");
    }

    #[test]
    fn the_crowd_is_what_is_committed_and_what_came_meanwhile() {
        let places = Places::behind(size(0));
        for _ in 0..2 {
            place(&places, "a").unwrap();
        }
        let batch = places.take();
        let count = batch.entries.len();
        drop(batch.then(Vec::new(), size(2)));
        place(&places, "b").unwrap();
        places.committed(count);
        let Load { waiting, crowd, .. } = places.load();
        assert_eq!((waiting, crowd), (1, 3));
        for _ in 0..3 {
            places.committed(0);
        }
        assert_eq!(places.load().crowd, 1, "nobody else came again");
    }

    // Spec: TSA-05
    #[tokio::test]
    async fn a_batch_is_told_when_it_is_durable_and_not_the_next_one() {
        let places = Places::behind(size(0));
        let (_, mut first, _) = place(&places, "a").unwrap();
        let (_, durable) = places.take().then(Vec::new(), size(1));
        let (_, mut second, _) = place(&places, "b").unwrap();
        durable.tell();
        assert!(first.durable().await);
        let (_, unknown) = places.take().then(Vec::new(), size(2));
        drop(unknown);
        assert!(!second.durable().await);
        let (_, mut third, _) = place(&places, "c").unwrap();
        places.close();
        assert!(!third.durable().await);
        assert!(matches!(place(&places, "d"), Err(NoPlace::Closed)));
    }
}
