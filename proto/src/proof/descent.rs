//! The way down from the root of a tree to a target within it.

use alloc::vec::Vec;

use crate::tree::NodeCoord;

/// Consecutive leaves `[lo, hi)`: never none, and `hi` at most 2^63 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Span {
    pub(super) lo: u64,
    pub(super) hi: u64,
}

impl Span {
    pub(super) const fn len(self) -> u64 {
        self.hi - self.lo
    }

    /// Where a node with two or more leaves splits: after the largest power of two below their
    /// number.
    const fn middle(self) -> u64 {
        // Spec: MRK-04
        match (self.len() - 1).checked_ilog2() {
            Some(log) => self.lo + (1 << log),
            None => self.hi,
        }
    }

    /// Appends the perfect subtrees that the node over these leaves is made of, from left to right.
    pub(super) fn push_nodes(self, coords: &mut Vec<NodeCoord>) {
        let mut lo = self.lo;
        // A span on the way down begins at a multiple of each power of two up to its length, so
        // the shift below loses nothing.
        for level in (0..63_u8).rev() {
            if (self.len() >> level) & 1 == 1 {
                coords.push(NodeCoord {
                    level,
                    index: lo >> level,
                });
                lo += 1 << level;
            }
        }
    }
}

/// The way down from a tree to a target within it; see the drawing in [`crate::proof`].
///
/// It yields, from the top, where the target is and which leaves the other child has. Afterwards,
/// `node` is what was reached.
pub(super) struct Descent {
    pub(super) node: Span,
    pub(super) target: Span,
    /// Whether `target` is still the whole of what is to be proven, whose hash the verifier has.
    pub(super) target_known: bool,
}

/// Where the target is, seen from a node above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Left,
    Right,
    Both,
}

impl Iterator for Descent {
    type Item = (Turn, Span);

    fn next(&mut self) -> Option<Self::Item> {
        // Spec: MRK-11
        // A node of one leaf is always the target: the target is in it and is not empty.
        if self.node == self.target || self.node.len() < 2 {
            return None;
        }
        let middle = self.node.middle();
        let left = Span {
            lo: self.node.lo,
            hi: middle,
        };
        let right = Span {
            lo: middle,
            hi: self.node.hi,
        };
        if self.target.hi <= middle {
            self.node = left;
            return Some((Turn::Left, right));
        }
        self.node = right;
        if self.target.lo >= middle {
            return Some((Turn::Right, left));
        }
        // The target is aligned, so it begins with the node, and the left child is a part of it.
        self.target.lo = middle;
        self.target_known = false;
        Some((Turn::Both, left))
    }
}
