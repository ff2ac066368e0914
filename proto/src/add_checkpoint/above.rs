//! What a witness decides while it knows a head of a log that it has not cosigned itself, and must
//! not sign below: what it was told of by an import.
//!
//! ```text
//!   latest 5 ──────────────┐
//!                          ├──► 12 is cosigned when it is proven from both
//!   floor  9 ──────────────┘
//! ```
//!
//! A request brings one proof. So a log that is asked for both sends two requests about one tree,
//! as it does after any 409: the first answer says the size from which a proof is still missing.
//! What the first one proved is remembered ([`Joined`]) and counts for that very tree alone.
//!
//! In scope: the decision, as a pure function. Out of scope: what is remembered, where, and how a
//! floor came to be.
//!
//! Rules: `spec/gossip.md` GSP-186, GSP-187.

use super::{AddCheckpoint, Refusal};
use crate::proof::verify_consistency;
use crate::tree::{TreeHead, TreeSize};

/// A tree that was proven to be a continuation of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The older tree: what was cosigned last, or the floor.
    pub base: TreeHead,
    /// The newer tree.
    pub head: TreeHead,
}

/// What becomes of a request for a log that has a floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Above {
    /// The tree continues both: it may be cosigned, once it is durable.
    Cosign {
        /// Whether the head is the one that is stored already.
        refresh: bool,
    },
    /// The request's proof is good, and another one is missing: 409 with this size.
    Missing {
        /// What the request proved.
        proven: Joined,
        /// From which size a proof is missing.
        from: TreeSize,
    },
}

/// Decides about a request whose signatures are verified.
///
/// `latest` is what was cosigned last for the origin, nothing when it never was; `floor` the head
/// that must not be signed below; `joined` what an earlier request proved, if one did.
///
/// # Errors
/// [`Refusal`] with status 400, 409 or 422. No state has changed.
// Spec: GSP-186
pub fn decide_above(
    latest: Option<&TreeHead>,
    floor: &TreeHead,
    joined: Option<&Joined>,
    request: &AddCheckpoint,
) -> Result<Above, Refusal> {
    let (head, old_size) = (request.head(), request.old_size);
    // Spec: WIT-14
    if old_size > head.size {
        return Err(Refusal::OldSizeAboveCheckpoint {
            old_size,
            size: head.size,
        });
    }
    // The larger first: a log that is below it has to go there.
    let cosigned = latest.filter(|latest| latest.size > TreeSize::ZERO);
    let mut bases = [Some(floor), cosigned];
    bases.sort_by_key(|base| core::cmp::Reverse(base.map(|base| base.size)));
    for base in bases.into_iter().flatten() {
        if head.size < base.size {
            return Err(Refusal::Conflict {
                old_size,
                current: base.size,
            });
        }
        // Spec: WIT-20
        if head.size == base.size && head.root_hash != base.root_hash {
            return Err(Refusal::RootMismatch {
                size: head.size,
                latest: base.root_hash,
                submitted: head.root_hash,
            });
        }
    }
    let proven = prove(&bases, old_size, request)?;
    let is_open = |base: &&TreeHead| {
        let this = Joined { base: **base, head };
        **base != head && proven != Some(**base) && joined != Some(&this)
    };
    let missing = bases.into_iter().flatten().find(is_open);
    match (missing, proven) {
        (None, _) => Ok(Above::Cosign {
            refresh: latest == Some(&head),
        }),
        (Some(missing), Some(base)) => Ok(Above::Missing {
            proven: Joined { base, head },
            from: missing.size,
        }),
        // Spec: WIT-15
        (Some(missing), None) => Err(Refusal::Conflict {
            old_size,
            current: missing.size,
        }),
    }
}

/// The tree from which the request's proof leads to its head, if it begins at one that counts.
fn prove(
    bases: &[Option<&TreeHead>],
    old_size: TreeSize,
    request: &AddCheckpoint,
) -> Result<Option<TreeHead>, Refusal> {
    let head = request.head();
    // Spec: WIT-18
    if old_size == TreeSize::ZERO {
        let hashes = request.proof.hashes().len();
        return match hashes {
            0 => Ok(None),
            hashes => Err(Refusal::ProofNotEmpty { hashes }),
        };
    }
    let mut all = bases.iter().flatten();
    let Some(base) = all.find(|base| base.size == old_size) else {
        return Ok(None);
    };
    // Spec: WIT-19
    verify_consistency(base, &head, &request.proof).map_err(|reason| Refusal::Inconsistent {
        old_size,
        size: head.size,
        reason,
    })?;
    Ok(Some(**base))
}
