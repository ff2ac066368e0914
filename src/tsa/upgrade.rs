//! A token with its receipt: not after.

use jurat_proto::entry::{Entry, TimestampEntry};
use jurat_proto::tree::LeafIndex;
use jurat_proto::tsp::signed_data::TimestampToken;
use jurat_store::StoreError;

use super::Authority;

/// Why a token is not one of this log's. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// Another authority made it, or a unit that this one does not know.
    #[error("the token is not one of this authority's: no unit of it has this serial number")]
    NotOurs,
    /// The log has no entry at its place.
    #[error("the log holds {size} entries, and the token says that it is entry {index}")]
    NoEntry {
        /// Its place.
        index: u64,
        /// How many there are.
        size: u64,
    },
    /// What is there is not its entry: somebody signed with this unit's key past this log.
    #[error(
        "entry {index} of the log is not this token's: whoever made it did so past the log. \
         Keep the token: it is a proof of that, if its signature is good"
    )]
    OtherEntry {
        /// Its place.
        index: u64,
    },
    /// The store failed.
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
}

impl Authority {
    /// The place of a token's entry, when it is there.
    ///
    /// # Errors
    /// [`UpgradeError`].
    // Spec: TSA-50
    pub fn place_of(&self, token: &TimestampToken) -> Result<LeafIndex, UpgradeError> {
        let info = token.tst_info();
        let (unit, index) = info.serial.as_unit().ok_or(UpgradeError::NotOurs)?;
        if !self.units.borrow().knows(unit) {
            return Err(UpgradeError::NotOurs);
        }
        let due = TimestampEntry::of(info).map_err(|_| UpgradeError::NotOurs)?;
        let Some(bytes) = self.store.entry(index)? else {
            let size = self.store.head()?.size.get();
            return Err(UpgradeError::NoEntry {
                index: index.get(),
                size,
            });
        };
        if bytes == Entry::Timestamp(due).to_bytes() {
            Ok(index)
        } else {
            Err(UpgradeError::OtherEntry { index: index.get() })
        }
    }
}
