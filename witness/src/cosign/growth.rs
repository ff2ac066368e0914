//! What a log may grow from: what was cosigned last, and what was imported.

use jurat_proto::add_checkpoint::above::{self, Above};
use jurat_proto::add_checkpoint::{AddCheckpoint, Refusal};
use jurat_proto::checkpoint::Origin;
use jurat_proto::tree::TreeHead;
use jurat_store::registry::HoldCause;

use super::Witness;
use crate::restore::Held;
use crate::restore::imported::{Floor, Joins};

impl Witness {
    /// Why nothing is signed for a log, whatever it proves; or what it has to continue besides what
    /// was cosigned last.
    ///
    /// # Errors
    /// [`Held`].
    // Spec: GSP-186
    pub(crate) fn may_grow(&self, origin: &Origin) -> Result<Option<Floor>, Held> {
        let current = self.logs.current();
        let listed = current.hold(origin);
        let listed = listed.filter(|hold| !self.joins.is_reached(origin, hold));
        let floor = listed.and_then(|hold| self.joins.floor(origin, hold, &self.every_key));
        let held = listed.filter(|_| floor.is_none()).map(Held::by);
        let held = held.or_else(|| self.holds.held(origin));
        let held = held.or_else(|| self.copied(origin));
        match held.or_else(|| self.suspect(origin)) {
            Some(held) => Err(held),
            None => Ok(floor),
        }
    }

    /// What an operator has to decide about a log first.
    // Spec: GSP-188
    pub(crate) fn undecided(&self, origin: &Origin) -> Option<Held> {
        let current = self.logs.current();
        let listed = current.hold(origin);
        let listed = listed.filter(|hold| hold.cause != HoldCause::Imported);
        listed.map(Held::by).or_else(|| self.holds.held(origin))
    }

    /// What was imported of a log and is not reached yet, whatever else it is held for.
    pub(crate) fn floor(&self, origin: &Origin) -> Option<Floor> {
        let current = self.logs.current();
        let hold = current.hold(origin)?;
        let hold = hold.below.as_deref().unwrap_or(hold);
        let open = !self.joins.is_reached(origin, hold);
        open.then(|| self.joins.floor(origin, hold, &self.every_key))?
    }

    /// What requests proved of imported heads.
    pub(crate) fn joins(&self) -> &Joins {
        &self.joins
    }

    /// Whether the request is a refresh, while nothing may be signed below an imported head.
    // Spec: GSP-186
    pub(super) fn decide_above(
        &self,
        latest: Option<&TreeHead>,
        floor: &Floor,
        request: &AddCheckpoint,
    ) -> Result<bool, Refusal> {
        let origin = request.origin();
        let joined = self.joins.joined(origin);
        match above::decide_above(latest, &floor.head, joined.as_ref(), request)? {
            Above::Cosign { refresh } => Ok(refresh),
            Above::Missing { proven, from } => {
                self.joins.join(origin, proven);
                Err(Refusal::Conflict {
                    old_size: request.old_size,
                    current: from,
                })
            }
        }
    }
}
