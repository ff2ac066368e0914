//! Which logs may be cosigned, as gossip has decided: a table beside the node, so that nobody who
//! cosigns waits for a node that is reading what a peer said.
//!
//! The driver writes it in the step that decides, before anything is stored or told: the next
//! request obeys a hold that is decided. A log without an entry is free.
//!
//! Rows: `spec/gossip.md` GSP-42, GSP-99.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};

use jurat_proto::checkpoint::Origin;
use jurat_proto::gossip::node::{Action, Cosigning};
use jurat_proto::hash::Hash;

#[derive(Debug, Default)]
pub(super) struct Standings {
    /// By the hash of the origin; those that are not free.
    logs: RwLock<HashMap<Hash, Cosigning>>,
    /// How many those are, to be looked at without the lock: there are hardly ever any.
    count: AtomicUsize,
    /// The evidence that convicts a key of ours. It never ends.
    stopped: OnceLock<Hash>,
}

impl Standings {
    /// Whether a log may be cosigned.
    // Spec: GSP-99
    pub(super) fn of(&self, origin: &Origin) -> Cosigning {
        if let Some(id) = self.stopped.get() {
            return Cosigning::Stopped { id: *id };
        }
        if self.count.load(Ordering::Acquire) == 0 {
            return Cosigning::Free;
        }
        let logs = self.logs.read().unwrap_or_else(PoisonError::into_inner);
        logs.get(&origin.hash()).copied().unwrap_or(Cosigning::Free)
    }

    /// Says how it is with a log.
    pub(super) fn set(&self, origin: &Origin, cosigning: Cosigning) {
        if let Cosigning::Stopped { id } = cosigning {
            // The first one stays.
            let _ = self.stopped.set(id);
            return;
        }
        // A map that a panic left poisoned is whole: each change is one step.
        let mut logs = self.logs.write().unwrap_or_else(PoisonError::into_inner);
        match cosigning {
            Cosigning::Free => drop(logs.remove(&origin.hash())),
            other => drop(logs.insert(origin.hash(), other)),
        }
        self.count.store(logs.len(), Ordering::Release);
    }

    /// Obeys what a step decided.
    pub(super) fn obey(&self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Hold { origin, suspect } => {
                    let suspect = *suspect;
                    self.set(origin, Cosigning::Held { suspect });
                }
                Action::Release { origin } => self.set(origin, Cosigning::Free),
                Action::StopCosigning { origin, id } => {
                    self.set(origin, Cosigning::Convicted { id: *id });
                }
                Action::StopSigning { id } => {
                    let _ = self.stopped.set(*id);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jurat_proto::hash::sha256;
    use jurat_proto::tree::{TreeHead, TreeSize};

    use super::*;

    // Spec: GSP-42, GSP-99
    #[test]
    fn what_a_step_decides_is_obeyed_and_nothing_else_is_held() {
        let table = Standings::default();
        let [one, other] = ["a.example/1", "a.example/2"].map(|text| Origin::parse(text).unwrap());
        let suspect = TreeHead {
            size: TreeSize::new(7).unwrap(),
            root_hash: sha256(b"root"),
        };
        assert_eq!(table.of(&one), Cosigning::Free);
        let origin = one.clone();
        table.obey(&[Action::Hold { origin, suspect }]);
        assert_eq!(table.of(&one), Cosigning::Held { suspect });
        assert_eq!(table.of(&other), Cosigning::Free);
        let origin = one.clone();
        table.obey(&[Action::Release { origin }]);
        assert_eq!(table.of(&one), Cosigning::Free);
        let (origin, id) = (one.clone(), sha256(b"evidence"));
        table.obey(&[Action::StopCosigning { origin, id }]);
        assert_eq!(table.of(&one), Cosigning::Convicted { id });
        assert_eq!(table.of(&other), Cosigning::Free);
        table.obey(&[Action::StopSigning { id }]);
        assert_eq!(table.of(&other), Cosigning::Stopped { id });
    }
}
