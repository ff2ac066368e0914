//! Copies of one contradiction that do not become one: their texts differ, or their lines do not
//! fit under one, and neither accuses all whom both do.
//!
//! ```text
//! <id>.tlog-fork        the one that convicts the log, if one does
//! <id>.1.tlog-fork      …
//! <id>.4.tlog-fork      up to four that accuse somebody whom none of the others does
//! ```
//!
//! Whoever keeps but one of them can be made to forget the others: who is guilty with a log, or the
//! log itself, would spread a copy that accuses somebody else first.
//!
//! Rows: `spec/gossip.md` GSP-117, GSP-143.

use std::io;

use jurat_proto::evidence::{Evidence, KnownKeys, Verdict};
use jurat_proto::hash::Hash;

use super::files::{COPIES_MAX, EVIDENCE, Mark, copy_suffix, named, read, set_aside, write};
use super::{EvidenceFolder, Kept, Outcome, State};

/// What two copies make together, if that accuses all whom both do.
pub(super) fn joined(
    one: &Evidence,
    other: &Evidence,
    keys: &KnownKeys,
) -> Option<(Evidence, Verdict)> {
    let (merged, verdict) = one.merged(other, keys).ok()?;
    let accused = |of: &Evidence| {
        let of = of.verify(keys);
        of.is_ok_and(|of| verdict.accuses_all_of(&of))
    };
    (accused(one) && accused(other)).then_some((merged, verdict))
}

impl EvidenceFolder {
    /// Keeps a copy beside the one that is kept, unless nobody is accused by it alone. Blocks until
    /// it is durable.
    // Spec: GSP-143
    pub(super) fn keep_beside(
        &self,
        state: &mut State,
        kept: &Evidence,
        evidence: &Evidence,
        keys: &KnownKeys,
    ) -> Outcome {
        let Ok(verdict) = evidence.verify(keys) else {
            return Outcome::Known;
        };
        // By the keys of today the one that is kept may convict nobody.
        let first = kept.verify(keys).ok();
        let id = evidence.id();
        let (copies, free) = self.copies(&id, keys);
        let mut known = first.iter().chain(copies.iter().map(|(_, copy)| copy));
        if known.any(|other| other.accuses_all_of(&verdict)) {
            return Outcome::Known;
        }
        let of_log = first.as_ref().is_some_and(Verdict::convicts_log);
        let is_better = verdict.convicts_log() && !of_log;
        let weight = |verdict: &Verdict| (verdict.convicts_log(), verdict.accused().count());
        let least = copies.iter().min_by_key(|(_, copy)| weight(copy));
        // What convicts the log has room always.
        let place = free.or(least.filter(|_| is_better).map(|(place, _)| *place));
        let Some(place) = place else {
            return Outcome::Counted;
        };
        let written = if is_better {
            // In this order: a crash between the two loses neither.
            let aside = self.write_copy(state, &id, place, kept);
            aside.and_then(|()| self.write_first(state, evidence, keys))
        } else {
            self.write_copy(state, &id, place, evidence)
        };
        match written {
            Ok(()) => {
                self.take_effect(state, &verdict);
                Outcome::Beside
            }
            Err(error) => {
                tracing::error!(%error, "a copy of evidence was not written; it is tried again");
                state.wait(evidence.clone(), super::culprits(&verdict));
                Outcome::NotWritten
            }
        }
    }

    fn write_copy(
        &self,
        state: &mut State,
        id: &Hash,
        place: usize,
        evidence: &Evidence,
    ) -> io::Result<()> {
        let suffix = copy_suffix(place);
        write(&self.folder, id, &suffix, &evidence.to_bytes())?;
        let path = named(&self.folder, id, &suffix);
        let mark = Mark::of(&path);
        state.copies.insert(path, mark);
        Ok(())
    }

    fn write_first(
        &self,
        state: &mut State,
        evidence: &Evidence,
        keys: &KnownKeys,
    ) -> io::Result<()> {
        let id = evidence.id();
        write(&self.folder, &id, EVIDENCE, &evidence.to_bytes())?;
        let mark = Mark::of(&named(&self.folder, &id, EVIDENCE));
        let verdict = evidence.verify(keys).ok();
        let kept = Kept::of(evidence, verdict.as_ref(), mark);
        state.kept.insert(id, kept);
        Ok(())
    }

    /// What the copies of a contradiction prove that can be read, and a place for another one. What
    /// stands in a place and is no copy of it makes room.
    fn copies(&self, id: &Hash, keys: &KnownKeys) -> (Vec<(usize, Verdict)>, Option<usize>) {
        let (mut copies, mut free) = (Vec::new(), None);
        for place in 1..=COPIES_MAX {
            let path = named(&self.folder, id, &copy_suffix(place));
            let is_free = match read(&path) {
                Ok(Ok(copy)) if copy.id() == *id => {
                    // One that convicts nobody by the keys of today has its place for another day.
                    copies.extend(copy.verify(keys).ok().map(|verdict| (place, verdict)));
                    false
                }
                Ok(_) => set_aside(&path).is_ok(),
                // What cannot be read now may be a copy.
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            };
            free = free.or(is_free.then_some(place));
        }
        (copies, free)
    }
}
