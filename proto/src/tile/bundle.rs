//! Entry bundles: the entries themselves, each behind its length.

use alloc::vec::Vec;
use core::fmt;

use super::{ENTRY_BYTES_MAX, TILE_WIDTH};

/// The bytes of an entry bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryBundle {}

impl EntryBundle {
    /// Writes entries into one bundle: 1 to 256 of them.
    ///
    /// # Errors
    ///
    /// When there are too few, too many, or one is too long.
    pub fn encode<E: AsRef<[u8]>>(entries: &[E]) -> Result<Vec<u8>, BundleError> {
        // Spec: TIL-10
        if entries.is_empty() || entries.len() > usize::from(TILE_WIDTH) {
            return Err(BundleError::Width {
                found: entries.len(),
            });
        }
        let mut bytes = Vec::new();
        for (position, entry) in entries.iter().enumerate() {
            let entry = entry.as_ref();
            let length = u16::try_from(entry.len()).map_err(|_| BundleError::EntryTooLong {
                position,
                found: entry.len(),
            })?;
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(entry);
        }
        Ok(bytes)
    }

    /// Reads the entries of a bundle that has `width` of them.
    ///
    /// # Errors
    ///
    /// When the width is not 1 to 256, the bundle ends within an entry, or bytes are left over.
    pub fn parse(bytes: &[u8], width: u16) -> Result<Vec<&[u8]>, BundleError> {
        // Spec: TIL-10
        if width == 0 || width > TILE_WIDTH {
            return Err(BundleError::Width {
                found: usize::from(width),
            });
        }
        let mut entries = Vec::with_capacity(usize::from(width));
        let mut rest = bytes;
        for position in 0..usize::from(width) {
            let cut = BundleError::Truncated {
                position,
                left: rest.len(),
            };
            let (length, after) = rest.split_first_chunk::<2>().ok_or(cut)?;
            let length = usize::from(u16::from_be_bytes(*length));
            let (entry, after) = after.split_at_checked(length).ok_or(cut)?;
            entries.push(entry);
            rest = after;
        }
        if rest.is_empty() {
            Ok(entries)
        } else {
            Err(BundleError::TrailingBytes { left: rest.len() })
        }
    }
}

/// Why entries and a bundle do not fit each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleError {
    /// A bundle has 1 to 256 entries; the caller is at fault.
    Width {
        /// How many there would be.
        found: usize,
    },
    /// An entry is longer than [`ENTRY_BYTES_MAX`]; whoever let it into the log is at fault.
    EntryTooLong {
        /// Its position in the bundle, counted from 0.
        position: usize,
        /// Its length in bytes.
        found: usize,
    },
    /// The bundle ends within an entry or its length; whoever serves it is at fault.
    Truncated {
        /// The position of that entry in the bundle, counted from 0.
        position: usize,
        /// How many bytes are left for it, its length included.
        left: usize,
    },
    /// There are bytes after the last entry; whoever serves the bundle is at fault.
    TrailingBytes {
        /// How many there are.
        left: usize,
    },
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Width { found } => write!(f, "a bundle cannot have {found} entries"),
            Self::EntryTooLong { position, found } => {
                write!(
                    f,
                    "entry {position} has {found} bytes, above {ENTRY_BYTES_MAX}"
                )
            }
            Self::Truncated { position, left } => {
                write!(
                    f,
                    "the bundle ends within entry {position}, {left} bytes after its start"
                )
            }
            Self::TrailingBytes { left } => {
                write!(
                    f,
                    "{left} bytes are left after the last entry of the bundle"
                )
            }
        }
    }
}

impl core::error::Error for BundleError {}
