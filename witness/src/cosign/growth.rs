//! What a log may grow from: what was cosigned last, and what was imported.

use jurat_proto::add_checkpoint::above::{self, Above};
use jurat_proto::add_checkpoint::{AddCheckpoint, Refusal};
use jurat_proto::checkpoint::Origin;
use jurat_proto::tree::TreeHead;
use jurat_store::registry::{Hold, HoldCause, Log};

use super::{AddError, Witness};
use crate::restore::Held;
use crate::restore::imported::{Floors, Joins};

impl Witness {
    /// Why nothing is signed for a log, whatever it proves; or what it has to continue besides what
    /// was cosigned last.
    ///
    /// # Errors
    /// [`Held`].
    // Spec: GSP-186, GSP-211
    pub(crate) fn may_grow(&self, origin: &Origin) -> Result<Option<Floors>, Held> {
        let current = self.logs.current();
        let (mut floors, mut held) = (Vec::new(), None);
        if let Some(log) = current.held_log(origin) {
            held = log.decision().map(Held::by);
            let open = log.imported();
            for hold in open.filter(|hold| !self.joins.is_reached(origin, hold)) {
                match self.joins.floor(origin, hold, &self.every_key) {
                    Some(floor) => floors.push(floor),
                    None => held = held.or_else(|| Some(Held::by(hold))),
                }
            }
        }
        let held = held.or_else(|| self.holds.held(origin));
        let held = held.or_else(|| self.copied(origin));
        match held.or_else(|| self.suspect(origin)) {
            Some(held) => Err(held),
            None => Ok(Floors::of(floors)),
        }
    }

    /// What the list holds a log for.
    // Spec: GSP-215
    pub(super) fn listed(&self, origin: &Origin) -> Option<Held> {
        let current = self.logs.current();
        // What is reached holds no more, before the list says so.
        let is_open = |hold: &&Hold| {
            hold.cause != HoldCause::Imported || !self.joins.is_reached(origin, hold)
        };
        let mut holds = current.held_log(origin)?.holds();
        holds.find(is_open).map(Held::by)
    }

    /// What an operator has to decide about a log first.
    // Spec: GSP-188
    pub(crate) fn undecided(&self, origin: &Origin) -> Option<Held> {
        let current = self.logs.current();
        let listed = current.held_log(origin).and_then(Log::decision);
        listed.map(Held::by).or_else(|| self.holds.held(origin))
    }

    /// What was imported of a log and is not reached yet, whatever else it is held for.
    pub(crate) fn floors(&self, origin: &Origin) -> Option<Floors> {
        let current = self.logs.current();
        let imported = current.held_log(origin)?.imported();
        let open = imported.filter(|hold| !self.joins.is_reached(origin, hold));
        let floors = open.filter_map(|hold| self.joins.floor(origin, hold, &self.every_key));
        Floors::of(floors.collect())
    }

    /// What requests proved of imported heads.
    pub(crate) fn joins(&self) -> &Joins {
        &self.joins
    }

    /// Whether the answer to a request may leave whose checkpoint is durable: a log may be held
    /// since.
    ///
    /// # Errors
    /// [`AddError::Held`], or 409 where a head was imported meanwhile.
    // Spec: WIT-83, GSP-186
    pub(super) fn is_free_still(&self, request: &AddCheckpoint) -> Result<(), AddError> {
        match self.may_grow(request.origin()).map_err(AddError::Held)? {
            None => Ok(()),
            Some(floors) => Err(AddError::Refused(Refusal::Conflict {
                old_size: request.old_size,
                current: floors.largest(),
            })),
        }
    }

    /// Whether the request is a refresh, while nothing may be signed below imported heads.
    // Spec: GSP-186, GSP-211
    pub(super) fn decide_above(
        &self,
        latest: Option<&TreeHead>,
        floors: &Floors,
        request: &AddCheckpoint,
    ) -> Result<bool, Refusal> {
        let origin = request.origin();
        let (floors, proven) = (floors.heads(), self.joins.proven(origin));
        match above::decide_above(latest, &floors, &proven, request)? {
            Above::Cosign { refresh } => Ok(refresh),
            Above::Missing { proven, from } => {
                self.joins.join(origin, latest, &floors, proven);
                Err(Refusal::Conflict {
                    old_size: request.old_size,
                    current: from,
                })
            }
        }
    }
}
