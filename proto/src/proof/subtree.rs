//! Which leaves a proof can be about: `[start, end)` where a node begins.

use core::fmt;

use super::descent::Span;
use crate::decimal::DECIMAL_MAX;

/// Which leaves a subtree has: `[start, end)`, where `start` is a multiple of the smallest power of
/// two that is not below `end - start`.
///
/// This alignment is what makes every subtree with `end - start` a power of two a node of each
/// larger tree, and every other one a node with its right edge cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subtree(pub(super) Span);

impl Subtree {
    /// Takes the leaves `[start, end)`.
    ///
    /// # Errors
    ///
    /// When there are no leaves in it, `end` is above 2^63 - 1, or `start` is not aligned.
    pub const fn new(start: u64, end: u64) -> Result<Self, SubtreeError> {
        // Spec: MRK-08
        if end > DECIMAL_MAX {
            return Err(SubtreeError::TooLarge { end });
        }
        if start >= end {
            return Err(SubtreeError::Empty { start, end });
        }
        // At most 2^63, since end - start is below that.
        let alignment = (end - start).next_power_of_two();
        if !start.is_multiple_of(alignment) {
            return Err(SubtreeError::Unaligned {
                start,
                end,
                alignment,
            });
        }
        Ok(Self(Span { lo: start, hi: end }))
    }

    /// The index of its first leaf.
    pub const fn start(&self) -> u64 {
        self.0.lo
    }

    /// The index after its last leaf.
    pub const fn end(&self) -> u64 {
        self.0.hi
    }

    /// Whether the number of leaves is a power of two, so that the subtree is a node of every tree
    /// that has its leaves.
    pub const fn is_full(&self) -> bool {
        self.0.len().is_power_of_two()
    }
}

impl fmt::Display for Subtree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.0.lo, self.0.hi)
    }
}

/// Why two numbers do not name a subtree. The fault is the sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubtreeError {
    /// There are no leaves in `[start, end)`.
    Empty {
        /// The first leaf.
        start: u64,
        /// The index after the last leaf.
        end: u64,
    },
    /// No tree has that many leaves.
    TooLarge {
        /// The index after the last leaf.
        end: u64,
    },
    /// The leaves do not begin where a node of that height begins.
    Unaligned {
        /// The first leaf.
        start: u64,
        /// The index after the last leaf.
        end: u64,
        /// What `start` would have to be a multiple of.
        alignment: u64,
    },
}

impl fmt::Display for SubtreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty { start, end } => write!(f, "there is no leaf in [{start}, {end})"),
            Self::TooLarge { end } => {
                write!(f, "a subtree cannot end at {end}, above {DECIMAL_MAX}")
            }
            Self::Unaligned {
                start,
                end,
                alignment,
            } => {
                write!(
                    f,
                    "[{start}, {end}) is no subtree: {start} is no multiple of {alignment}"
                )
            }
        }
    }
}

impl core::error::Error for SubtreeError {}
