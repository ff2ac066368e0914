//! Which logs may be cosigned, as gossip has decided: a table beside the node, so that nobody who
//! cosigns waits for a node that is reading what a peer said.
//!
//! The driver writes it in the step that decides, before anything is stored or told: the next
//! request obeys a hold that is decided. A log without an entry is free.
//!
//! Rows: `spec/gossip.md` GSP-42, GSP-99.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};

use jurat_proto::checkpoint::Origin;
use jurat_proto::gossip::node::{Action, Alarm, Cosigning};
use jurat_proto::hash::Hash;

#[derive(Debug, Default)]
pub(super) struct Standings {
    /// By the hash of the origin; those that are not free.
    logs: RwLock<HashMap<Hash, Cosigning>>,
    /// How many those are, to be looked at without the lock: there are hardly ever any.
    count: AtomicUsize,
    /// The evidence that convicts a key of ours. It never ends.
    stopped: OnceLock<Hash>,
    /// Whether nothing is cosigned while no peer is heard.
    hold_isolated: bool,
    /// Whether that is so.
    isolated: AtomicBool,
}

impl Standings {
    /// With whether nothing is cosigned while no peer is heard.
    pub(super) fn holding(mut self, hold_isolated: bool) -> Self {
        self.hold_isolated = hold_isolated;
        self
    }

    /// Whether a log may be cosigned.
    // Spec: GSP-99, GSP-194
    pub(super) fn of(&self, origin: &Origin) -> Cosigning {
        if let Some(id) = self.stopped.get() {
            return Cosigning::Stopped { id: *id };
        }
        let otherwise = if self.hold_all() {
            Cosigning::Isolated
        } else {
            Cosigning::Free
        };
        if self.count.load(Ordering::Acquire) == 0 {
            return otherwise;
        }
        let logs = self.logs.read().unwrap_or_else(PoisonError::into_inner);
        logs.get(&origin.hash()).copied().unwrap_or(otherwise)
    }

    /// Whether nothing of any log is cosigned, since no peer is heard.
    // Spec: GSP-194
    pub(super) fn hold_all(&self) -> bool {
        self.hold_isolated && self.isolated.load(Ordering::Acquire)
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
            // Which logs are held is another matter than whom we hear.
            Cosigning::Free | Cosigning::Isolated => drop(logs.remove(&origin.hash())),
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
                Action::Alarm {
                    alarm: Alarm::Isolated,
                    raised,
                } => self.isolated.store(*raised, Ordering::Release),
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

    // Spec: GSP-194
    #[test]
    fn who_hears_nobody_cosigns_or_not_as_was_said() {
        let [one, other] = ["a.example/1", "a.example/2"].map(|text| Origin::parse(text).unwrap());
        let id = sha256(b"evidence");
        let alone = |raised| Action::Alarm {
            alarm: Alarm::Isolated,
            raised,
        };
        for (holds, meanwhile) in [(true, Cosigning::Isolated), (false, Cosigning::Free)] {
            let table = Standings::default().holding(holds);
            let origin = other.clone();
            table.obey(&[Action::StopCosigning { origin, id }, alone(true)]);
            assert_eq!(table.of(&one), meanwhile);
            assert_eq!(table.of(&other), Cosigning::Convicted { id });
            table.obey(&[alone(false)]);
            assert_eq!(table.of(&one), Cosigning::Free);
        }
    }
}
