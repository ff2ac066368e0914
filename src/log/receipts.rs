//! Receipts: an entry, its inclusion proof, and the cosigned checkpoint that covers it.
//!
//! They fail closed: without a published checkpoint, which is one with its quorum, there is none.

use std::sync::Arc;
use std::time::Duration;

use jurat_daemon::shutdown::Shutdown;
use jurat_proto::cose::receipt::{CoseReceipt, NoRootSignature};
use jurat_proto::receipt::Receipt;
use jurat_proto::tlog_proof::TlogProof;
use jurat_proto::tree::{LeafIndex, TreeSize};
use jurat_store::{LogStore, StoreError};
use tokio::sync::{Semaphore, watch};

use super::tree::{Tree, TreeError};
use super::tree_heads::Demand;
use super::{Published, Sequencer};

/// Makes receipts. Clones share everything.
#[derive(Clone)]
pub struct Receipts {
    /// Entries and tiles.
    pub store: Arc<dyn LogStore>,
    /// The committed head, to tell an entry that is not covered yet from one that does not exist.
    pub sequencer: Sequencer,
    /// The newest checkpoint with its quorum.
    pub published: watch::Receiver<Option<Published>>,
    /// Where a waiting caller asks for a tree head.
    pub demand: Demand,
    /// Places for those who wait.
    pub waiting: Arc<Semaphore>,
    /// Ends all waits.
    pub shutdown: Shutdown,
}

/// Why there is no receipt.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// No such entry.
    #[error("no entry has index {index}: the log holds {size}")]
    NoEntry {
        /// The index asked for.
        index: u64,
        /// Entries in the log.
        size: u64,
    },
    /// The entry is durable, but no checkpoint with a quorum of cosignatures covers it yet.
    #[error("entry {index} waits for a tree head with a quorum of cosignatures")]
    Pending {
        /// The index asked for.
        index: u64,
        /// The published tree size.
        published: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The published checkpoint was signed before roots were signed in COSE.
    #[error("entry {index} waits for a tree head that the log signs in COSE")]
    NotInCose {
        /// The index asked for.
        index: u64,
    },
    /// The parts do not make a receipt; a bug.
    #[error("the receipt cannot be put together: {0}")]
    Encode(String),
    /// The tree could not be read.
    #[error("{0}")]
    Tree(#[from] TreeError),
}

impl Receipts {
    // Spec: SVC-10
    /// The receipt of an entry under the newest published checkpoint.
    ///
    /// # Errors
    /// [`ReceiptError`]; nothing changes.
    pub fn receipt(&self, index: LeafIndex) -> Result<Vec<u8>, ReceiptError> {
        let size = self.sequencer.committed().borrow().size.get();
        if index.get() >= size {
            return Err(ReceiptError::NoEntry {
                index: index.get(),
                size,
            });
        }
        let published = self.published.borrow().clone();
        let covered = published
            .as_ref()
            .map_or(0, |published| published.size().get());
        let Some(published) = published.filter(|_| index.get() < covered) else {
            return Err(ReceiptError::Pending {
                index: index.get(),
                published: covered,
            });
        };
        let entry = self.store.entry(index)?.ok_or(ReceiptError::NoEntry {
            index: index.get(),
            size,
        })?;
        let proof = Tree::of(self.store.as_ref()).inclusion(index, published.size())?;
        let signed = published.signed().clone();
        let receipt = TlogProof::new(Some(entry), index, proof, signed)
            .map_err(|error| ReceiptError::Encode(error.to_string()))?;
        Ok(receipt.to_bytes())
    }

    // Spec: RCP-15
    /// The same receipt in COSE.
    ///
    /// # Errors
    /// [`ReceiptError`]; nothing changes.
    pub fn in_cose(index: LeafIndex, receipt: &[u8]) -> Result<Vec<u8>, ReceiptError> {
        let receipt = Receipt::parse(receipt);
        let receipt = receipt.map_err(|error| ReceiptError::Encode(error.to_string()))?;
        let receipt = CoseReceipt::new(&receipt).map_err(|NoRootSignature| {
            let index = index.get();
            ReceiptError::NotInCose { index }
        })?;
        Ok(receipt.to_bytes())
    }

    /// The receipt of an entry, waiting for its checkpoint when it has none yet. The wait asks for
    /// a tree head, and ends with [`ReceiptError::Pending`] after `patience`, at shutdown, and at
    /// once when too many wait already: while witnesses are down, those who wait must leave room
    /// for those who do not.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub async fn wait(
        &self,
        index: LeafIndex,
        patience: Duration,
    ) -> Result<Vec<u8>, ReceiptError> {
        match self.receipt(index) {
            Err(ReceiptError::Pending { .. }) => {}
            known => return known,
        }
        let Ok(_place) = self.waiting.try_acquire() else {
            return self.receipt(index);
        };
        let mut published = self.published.clone();
        let covered = async {
            loop {
                let size = published
                    .borrow_and_update()
                    .as_ref()
                    .map_or(TreeSize::ZERO, Published::size);
                if index.get() < size.get() {
                    return;
                }
                self.demand.raise();
                if published.changed().await.is_err() {
                    return;
                }
            }
        };
        // Whether the wait ended well is what the receipt itself then says.
        tokio::select! {
            _ = tokio::time::timeout(patience, covered) => {}
            // No tree head comes any more, and the drain should not wait for one.
            () = self.shutdown.wait() => {}
        }
        self.receipt(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Append;
    use jurat_store::{MemoryStore, NewEntry};
    use prometheus_client::registry::Registry;

    /// One entry, and nothing published.
    async fn unwitnessed(places: usize) -> (Receipts, watch::Sender<Option<Published>>) {
        let store: Arc<dyn LogStore> = Arc::new(MemoryStore::new());
        let sequencer = Sequencer::start(Arc::clone(&store), &mut Registry::default()).unwrap();
        let entry = NewEntry::new(b"a".to_vec()).unwrap();
        let append = Append { entry, head: None };
        sequencer.append(append).await.unwrap();
        let (publish, published) = watch::channel(None);
        let receipts = Receipts {
            store,
            sequencer,
            published,
            demand: Demand::default(),
            waiting: Arc::new(Semaphore::new(places)),
            shutdown: Shutdown::new(),
        };
        (receipts, publish)
    }

    const LONG: Duration = Duration::from_secs(3_600);

    async fn pending(receipts: &Receipts) -> bool {
        let first = LeafIndex::new(0).unwrap();
        let waited = tokio::time::timeout(Duration::from_secs(10), receipts.wait(first, LONG));
        matches!(waited.await, Ok(Err(ReceiptError::Pending { .. })))
    }

    // Spec: SVC-10
    #[tokio::test]
    async fn who_finds_no_place_to_wait_is_answered_at_once() {
        let (receipts, _publish) = unwitnessed(1).await;
        let place = receipts.waiting.try_acquire().unwrap();
        assert!(pending(&receipts).await);
        drop(place);
        let brief = Duration::from_millis(10);
        let waited = receipts.wait(LeafIndex::new(0).unwrap(), brief).await;
        assert!(matches!(waited, Err(ReceiptError::Pending { .. })));
        assert_eq!(receipts.waiting.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_shutdown_ends_all_waits() {
        let (receipts, _publish) = unwitnessed(1).await;
        let shutdown = receipts.shutdown.clone();
        let waiting = tokio::spawn(async move { pending(&receipts).await });
        tokio::task::yield_now().await;
        shutdown.trigger();
        assert!(waiting.await.unwrap());
    }
}
