//! What a witness decides while it knows heads of a log that it has not cosigned itself, and must
//! not sign below: what it was told of by imports.
//!
//! ```text
//!   latest 5 ──────────────┐
//!   floor  9 ──────────────┼──► 15 is cosigned when it is proven from all of them
//!   floor 12 ──────────────┘
//! ```
//!
//! A request brings one proof. So a log that is asked for several sends as many requests about one
//! tree, as it does after any 409: the first answer says the size from which a proof is still
//! missing. What they proved is remembered ([`Proven`]): for that very tree, and, since two trees
//! that one tree continues are of one history, for good between the heads themselves. So a log that
//! grows between its requests comes to an end, too. Anybody may send what the log once signed; so
//! what is forgotten is of the smallest tree, and an old one takes no room from a new one.
//!
//! In scope: the decision, as a pure function. Out of scope: what is remembered, where, and how a
//! floor came to be.
//!
//! Rules: `spec/gossip.md` GSP-186, GSP-187, GSP-211, GSP-220.

use alloc::vec::Vec;

use super::{AddCheckpoint, Refusal};
use crate::proof::verify_consistency;
use crate::tree::{TreeHead, TreeSize};

/// A tree that was proven to be a continuation of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The older tree: what was cosigned last, or a floor.
    pub base: TreeHead,
    /// The newer tree.
    pub head: TreeHead,
}

/// What the requests for a log have proven so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proven {
    /// At most one for each two heads that count, and one from each of these to each of
    /// [`TREES_MAX`] trees.
    joined: Vec<Joined>,
}

impl Proven {
    /// Takes over what a request proved; `latest` and `floors` are as for [`decide_above`]. What
    /// was proven of another tree stays, unless four larger ones are known.
    // Spec: GSP-187, GSP-211, GSP-220
    pub fn add(&mut self, latest: Option<&TreeHead>, floors: &[TreeHead], new: Joined) {
        let bases = bases(latest, floors);
        let largest = bases.first().map_or(TreeSize::ZERO, |base| base.size);
        // A tree below the largest head that counts is never cosigned.
        let counts = |joined: &Joined| {
            bases.contains(&joined.base)
                && (joined.head.size >= largest || bases.contains(&joined.head))
        };
        self.joined.retain(counts);
        // The smaller of two that one tree continues is continued by the larger.
        let implied = self.joined.iter().filter(|other| other.head == new.head);
        let implied = implied.map(|other| {
            let (base, head) = if other.base.size <= new.base.size {
                (other.base, new.base)
            } else {
                (new.base, other.base)
            };
            Joined { base, head }
        });
        let implied: Vec<Joined> = implied.chain([new]).collect();
        for joined in implied {
            if joined.base != joined.head && counts(&joined) && !self.joined.contains(&joined) {
                self.joined.push(joined);
            }
        }
        self.forget_small_trees(&bases);
    }

    /// Of the trees that none of `bases` is, leaves the largest; of equals those that came first.
    // Spec: GSP-220
    fn forget_small_trees(&mut self, bases: &[TreeHead]) {
        let mut trees: Vec<TreeHead> = Vec::new();
        for Joined { head, .. } in &self.joined {
            if !bases.contains(head) && !trees.contains(head) {
                trees.push(*head);
            }
        }
        trees.sort_by_key(|tree| core::cmp::Reverse(tree.size));
        trees.truncate(TREES_MAX);
        let stays = |joined: &Joined| bases.contains(&joined.head) || trees.contains(&joined.head);
        self.joined.retain(stays);
    }

    /// Which of `bases`, the largest first, a tree continues, when a request proved it from
    /// `proven`; the others are open.
    fn open<'a>(
        &self,
        bases: &'a [TreeHead],
        head: TreeHead,
        proven: Option<TreeHead>,
    ) -> Option<&'a TreeHead> {
        let mut continued: Vec<TreeHead> = Vec::from([head]);
        continued.extend(proven);
        let mut open = None;
        for base in bases {
            let known = self.joined.iter().filter(|joined| joined.base == *base);
            let mut known = known.map(|joined| joined.head);
            if continued.contains(base) || known.any(|head| continued.contains(&head)) {
                continued.push(*base);
            } else {
                open = open.or(Some(base));
            }
        }
        open
    }
}

/// The heads that a tree has to continue, the largest first.
fn bases(latest: Option<&TreeHead>, floors: &[TreeHead]) -> Vec<TreeHead> {
    let cosigned = latest.filter(|latest| latest.size > TreeSize::ZERO);
    let mut bases: Vec<TreeHead> = floors.iter().chain(cosigned).copied().collect();
    bases.sort_by_key(|base| core::cmp::Reverse((base.size, base.root_hash)));
    bases.dedup();
    bases
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
/// `latest` is what was cosigned last for the origin, nothing when it never was; `floors` the heads
/// that must not be signed below; `proven` what earlier requests proved.
///
/// # Errors
/// [`Refusal`] with status 400, 409 or 422. No state has changed.
// Spec: GSP-186, GSP-211
pub fn decide_above(
    latest: Option<&TreeHead>,
    floors: &[TreeHead],
    proven: &Proven,
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
    let bases = bases(latest, floors);
    for base in &bases {
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
    let base = prove(&bases, old_size, request)?;
    match (proven.open(&bases, head, base), base) {
        // Spec: WIT-15. Its proof, which nobody checks, begins at a tree that is not known here.
        (None, None) if old_size > TreeSize::ZERO => Err(Refusal::Conflict {
            old_size,
            current: bases.first().map_or(TreeSize::ZERO, |base| base.size),
        }),
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
    bases: &[TreeHead],
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
    // Of two trees of one size no tree continues both.
    let mut proven = None;
    for base in bases.iter().filter(|base| base.size == old_size) {
        // Spec: WIT-19
        verify_consistency(base, &head, &request.proof).map_err(|reason| {
            Refusal::Inconsistent {
                old_size,
                size: head.size,
                reason,
            }
        })?;
        proven = Some(*base);
    }
    Ok(proven)
}

/// How many trees it is remembered of what was proven about them. One is enough for a log that asks
/// about its newest tree; the others are for one that has several on their way.
// Spec: GSP-220
const TREES_MAX: usize = 4;
