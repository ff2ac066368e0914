//! A log of somebody else, in memory: it signs checkpoints and proves consistency.

use std::collections::HashMap;
use std::convert::Infallible;

use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::add_checkpoint::AddCheckpoint;
use jurat_proto::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use jurat_proto::cosignature::{cosign, sign_note};
use jurat_proto::hash::{Hash, leaf_hash};
use jurat_proto::key::{KeyName, Signer as _, UnixSeconds, VerifierKey};
use jurat_proto::note::SignatureLine;
use jurat_proto::proof::{ConsistencyProof, prove_consistency};
use jurat_proto::tree::{CompactRange, NodeCoord, NodeReader, TreeHead, TreeSize};

/// The time that logs with timestamped keys sign with.
const TIME: u64 = 1_790_000_000;

pub struct TestLog {
    pub origin: Origin,
    pub key: SigningKey,
    range: CompactRange,
    nodes: HashMap<NodeCoord, Hash>,
    heads: Vec<TreeHead>,
}

impl TestLog {
    /// A log whose key has its origin as name.
    pub fn new(origin: &str) -> Self {
        Self::with_algorithm(origin, Algorithm::Ed25519)
    }

    pub fn with_algorithm(origin: &str, algorithm: Algorithm) -> Self {
        Self::with_key(origin, key(origin, algorithm))
    }

    pub fn with_key(origin: &str, key: SigningKey) -> Self {
        Self {
            origin: Origin::parse(origin).unwrap(),
            key,
            range: CompactRange::new(),
            nodes: HashMap::new(),
            heads: vec![TreeHead::empty()],
        }
    }

    /// Another history under the same key: the first `common` leaves are those of this log, and
    /// `size` is its size.
    pub fn fork(&self, common: u64, size: u64) -> Self {
        let line = self.key.to_note_signer().unwrap();
        let key = SigningKey::parse_note_signer(&line).unwrap();
        let mut fork = Self::with_key(self.origin.as_str(), key);
        fork.grow(common);
        while fork.size() < size {
            fork.append(format!("another history {}", fork.size()).as_bytes());
        }
        fork
    }

    pub fn vkey(&self) -> &VerifierKey {
        self.key.verifier_key()
    }

    pub fn size(&self) -> u64 {
        self.range.size().get()
    }

    /// Appends leaves until there are `size`.
    pub fn grow(&mut self, size: u64) {
        while self.size() < size {
            self.append(&self.size().to_be_bytes());
        }
    }

    fn append(&mut self, entry: &[u8]) {
        let nodes = &mut self.nodes;
        let mut keep = |coord, hash| {
            nodes.insert(coord, hash);
        };
        self.range.append_with(leaf_hash(entry), &mut keep).unwrap();
        self.heads.push(self.range.head());
    }

    pub fn head(&self, size: u64) -> TreeHead {
        self.heads[usize::try_from(size).unwrap()]
    }

    pub fn checkpoint(&self, size: u64) -> SignedCheckpoint {
        self.sign(self.head(size))
    }

    pub fn sign(&self, head: TreeHead) -> SignedCheckpoint {
        sign(&self.unsigned(head), &self.key)
    }

    pub fn unsigned(&self, head: TreeHead) -> Checkpoint {
        Checkpoint {
            origin: self.origin.clone(),
            head,
            extensions: jurat_proto::checkpoint::ExtensionLines::new(),
        }
    }

    /// From size 0 and between equal sizes there is nothing to prove.
    pub fn proof(&self, old: u64, new: u64) -> ConsistencyProof {
        if old == 0 || old >= new {
            return ConsistencyProof::default();
        }
        let (old, new) = (TreeSize::new(old).unwrap(), TreeSize::new(new).unwrap());
        prove_consistency(old, new, self).unwrap()
    }

    /// The body of an add-checkpoint request.
    pub fn request(&self, old: u64, new: u64) -> Vec<u8> {
        body(old, self.proof(old, new), self.checkpoint(new))
    }
}

impl NodeReader for TestLog {
    type Error = Infallible;

    fn nodes(&self, coords: &[NodeCoord]) -> Result<Vec<Hash>, Infallible> {
        Ok(coords.iter().map(|coord| self.nodes[coord]).collect())
    }
}

pub fn key(name: &str, algorithm: Algorithm) -> SigningKey {
    SigningKey::generate(KeyName::parse(name).unwrap(), algorithm).unwrap()
}

/// One signature line of a checkpoint, by a key of any type.
pub fn line(checkpoint: &Checkpoint, key: &SigningKey) -> SignatureLine {
    match key.algorithm() {
        Algorithm::Ed25519 => sign_note(&checkpoint.to_text(), key).unwrap(),
        _ => cosign(checkpoint, UnixSeconds::new(TIME).unwrap(), key).unwrap(),
    }
}

pub fn sign(checkpoint: &Checkpoint, key: &SigningKey) -> SignedCheckpoint {
    SignedCheckpoint::new(checkpoint.clone(), vec![line(checkpoint, key)]).unwrap()
}

pub fn body(old: u64, proof: ConsistencyProof, checkpoint: SignedCheckpoint) -> Vec<u8> {
    AddCheckpoint {
        old_size: TreeSize::new(old).unwrap(),
        proof,
        checkpoint,
    }
    .to_bytes()
}
