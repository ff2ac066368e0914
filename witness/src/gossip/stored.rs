//! The heads that were cosigned before the start, on their way to the node.
//!
//! ```text
//! start ─► listening        one after the other ─► node      a hundred thousand take a minute
//!             └─ a log is signed for, shown, asked about: its head first
//! ```
//!
//! Each is verified as it is read ([`crate::heads`]), so to read all of them before the first
//! request would keep a witness of many logs from its work. What is not here yet is not on a page
//! either, which hides nothing: a page shows heads, it does not say that there are no others.
//!
//! Rows: `spec/gossip.md` GSP-71, GSP-97.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::gossip::node::{Answer, Event};
use jurat_proto::hash::Hash;
use jurat_proto::key::UnixSeconds;

use super::{Gossip, head_event, lock};
use crate::heads::{Heads, ReadError};

/// Where the heads are, and which the node has.
#[derive(Default)]
pub(super) struct Stored {
    /// They know us, too.
    heads: OnceLock<Weak<Heads>>,
    /// The logs whose head was brought, or that had none, by the hash of the origin.
    brought: Mutex<HashSet<Hash>>,
}

impl Gossip {
    /// Brings the stored heads to the node from now on.
    pub(crate) fn bring_from(&self, heads: &Arc<Heads>) {
        drop(self.stored.heads.set(Arc::downgrade(heads)));
    }

    /// Has the node told of the head of a log before anything is signed for it. Reads the disk and
    /// verifies a few signatures the first time.
    ///
    /// # Errors
    /// As for [`Heads::latest`].
    // Spec: GSP-71, GSP-97
    pub(crate) fn bring(&self, origin: &Origin) -> Result<(), ReadError> {
        let key = origin.hash();
        if lock(&self.stored.brought).contains(&key) {
            return Ok(());
        }
        if let Some(stored) = self.read_stored(origin)? {
            self.offer(origin, &stored.0, true);
            lock(&self.cosigned).stored.push(stored);
            self.wake.notify_one();
        }
        lock(&self.stored.brought).insert(key);
        Ok(())
    }

    /// Our newest head of a log.
    pub(super) fn newest_note(&self, origin: &Origin) -> Option<Arc<SignedCheckpoint>> {
        let heads = self.stored.heads.get().and_then(Weak::upgrade)?;
        let note = heads.note(origin).ok()??;
        Some(Arc::new(SignedCheckpoint::parse(&note).ok()?))
    }

    pub(super) fn read_stored(
        &self,
        origin: &Origin,
    ) -> Result<Option<(Vec<u8>, UnixSeconds)>, ReadError> {
        let Some(heads) = self.stored.heads.get().and_then(Weak::upgrade) else {
            return Ok(None);
        };
        // In this order: what was read and verified for the note is remembered for the other.
        let Some(note) = heads.note(origin)? else {
            return Ok(None);
        };
        let latest = heads.latest(origin)?;
        Ok(latest.map(|latest| (note.to_vec(), latest.time)))
    }

    /// The stored heads of the logs that an event is about.
    pub(super) fn heads_for(&self, event: &Event) -> Vec<Event> {
        let mut origins: Vec<&Origin> = Vec::new();
        match event {
            Event::ChallengeReceived { note, .. } | Event::Observed { note, .. } => {
                origins.push(note.origin());
            }
            Event::ProofSeen(opening) => origins.push(opening.note().origin()),
            Event::Answer { answer, .. } => match answer {
                Answer::Notes(notes) => {
                    origins.extend(notes.as_slice().iter().map(SignedCheckpoint::origin));
                }
                Answer::Opening(opening) => origins.push(opening.note().origin()),
                _ => {}
            },
            _ => {}
        }
        let logs = self.logs.current();
        let mut events = Vec::new();
        for origin in origins {
            // What nobody knows here is no reason to read a disk.
            if logs.log(origin).is_some() {
                events.extend(self.take_stored(origin));
            }
        }
        events
    }

    fn take_stored(&self, origin: &Origin) -> Option<Event> {
        let key = origin.hash();
        if lock(&self.stored.brought).contains(&key) {
            return None;
        }
        // One that is damaged is told of by `heads`, and comes when it is sound again.
        let stored = self.read_stored(origin).ok()?;
        lock(&self.stored.brought).insert(key);
        let (note, time) = stored?;
        self.offer(origin, &note, true);
        head_event(&note, time)
    }

    /// Whether the node was told of the head of a log: then [`Self::bring`] reads no disk.
    pub(crate) fn is_brought(&self, origin: &Origin) -> bool {
        lock(&self.stored.brought).contains(&origin.hash())
    }

    /// The stored heads of some logs after one, and the log after which to go on.
    // Spec: GSP-97
    pub(super) fn next_stored(&self, after: Option<&Origin>) -> (Vec<Event>, Option<Origin>) {
        let current = self.logs.current();
        let mut events = Vec::new();
        let mut read = 0;
        for log in current.logs_after(after) {
            if self.is_brought(&log.origin) {
                continue;
            }
            events.extend(self.take_stored(&log.origin));
            read += 1;
            if read >= AT_A_TIME {
                return (events, Some(log.origin.clone()));
            }
        }
        (events, None)
    }
}

/// Some milliseconds of a core; then it is others' turn.
const AT_A_TIME: usize = 32;
