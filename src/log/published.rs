//! The published checkpoint: the newest tree head that a quorum of witnesses has cosigned.

use std::sync::Arc;

use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::key::UnixSeconds;
use jurat_proto::tree::{TreeHead, TreeSize};

/// A checkpoint that readers may see, as it is served. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Published {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    signed: SignedCheckpoint,
    bytes: Vec<u8>,
    time: UnixSeconds,
}

impl Published {
    /// Wraps a checkpoint whose signatures were verified, and the time at which its log signed it.
    pub fn new(signed: SignedCheckpoint, time: UnixSeconds) -> Self {
        let bytes = signed.to_bytes();
        Self {
            inner: Arc::new(Inner {
                signed,
                bytes,
                time,
            }),
        }
    }

    /// The tree head.
    pub fn head(&self) -> TreeHead {
        self.inner.signed.head()
    }

    /// The tree size.
    pub fn size(&self) -> TreeSize {
        self.head().size
    }

    /// The checkpoint with its signatures.
    pub fn signed(&self) -> &SignedCheckpoint {
        &self.inner.signed
    }

    /// The signed note, byte for byte as it is served.
    pub fn bytes(&self) -> &[u8] {
        &self.inner.bytes
    }

    /// When the log signed it.
    pub fn time(&self) -> UnixSeconds {
        self.inner.time
    }
}
