//! A small log of somebody else's: it grows, signs its checkpoints, and proves consistency.

use anyhow::Context;
use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::add_checkpoint::AddCheckpoint;
use jurat_proto::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use jurat_proto::cosignature::sign_note;
use jurat_proto::hash::{Hash, leaf_hash};
use jurat_proto::key::{Signer, VerifierKey};
use jurat_proto::note::KeyName;
use jurat_proto::proof::{ConsistencyProof, prove_consistency};
use jurat_proto::tree::{CompactRange, NodeCoord, TreeSize};
use std::collections::BTreeMap;

/// A log in memory.
pub(super) struct SampleLog {
    key: SigningKey,
    origin: Origin,
    tree: CompactRange,
    nodes: BTreeMap<NodeCoord, Hash>,
    anchored: TreeSize,
}

impl SampleLog {
    /// An empty log with a fresh Ed25519 key.
    ///
    /// # Errors
    /// When no key can be made.
    pub(super) fn new(origin: &str) -> anyhow::Result<Self> {
        Ok(Self {
            key: SigningKey::generate(KeyName::parse(origin)?, Algorithm::Ed25519)?,
            origin: Origin::parse(origin)?,
            tree: CompactRange::new(),
            nodes: BTreeMap::new(),
            anchored: TreeSize::ZERO,
        })
    }

    /// The same log, with the same key, as it is shown to somebody else from here on.
    ///
    /// # Errors
    /// When the key cannot be copied.
    pub(super) fn branch(&self) -> anyhow::Result<Self> {
        let key = self
            .key
            .to_note_signer()
            .context("the key cannot be copied")?;
        let key = SigningKey::parse_note_signer(&key)?;
        Ok(Self {
            key,
            origin: self.origin.clone(),
            tree: self.tree.clone(),
            nodes: self.nodes.clone(),
            anchored: self.anchored,
        })
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) fn verifier_key(&self) -> &VerifierKey {
        self.key.verifier_key()
    }

    pub(super) fn size(&self) -> TreeSize {
        self.tree.size()
    }

    /// Appends one audit record.
    ///
    /// # Errors
    /// When the log is full.
    pub(super) fn append(&mut self, record: &str) -> anyhow::Result<()> {
        let nodes = &mut self.nodes;
        self.tree
            .append_with(leaf_hash(record.as_bytes()), &mut |coord, hash| {
                nodes.insert(coord, hash);
            })
            .context("the sample log is full")?;
        Ok(())
    }

    /// The request that anchors the log as it is now.
    ///
    /// # Errors
    /// When the key does not sign.
    pub(super) fn request(&self) -> anyhow::Result<AddCheckpoint> {
        let head = self.tree.head();
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            head,
            extensions: jurat_proto::checkpoint::ExtensionLines::new(),
        };
        let line = sign_note(&checkpoint.to_text(), &self.key)?;
        let checkpoint = SignedCheckpoint::new(checkpoint, vec![line])?;
        let proof = if self.anchored.is_zero() || self.anchored == head.size {
            ConsistencyProof::default()
        } else {
            prove_consistency(self.anchored, head.size, &self.nodes)?
        };
        Ok(AddCheckpoint {
            old_size: self.anchored,
            proof,
            checkpoint,
        })
    }

    /// What was requested has been accepted.
    pub(super) fn anchored(&mut self) {
        self.anchored = self.tree.size();
    }
}
