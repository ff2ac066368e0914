//! Keys that sign, and a log that grows, in memory.

use std::collections::BTreeMap;

use ed25519_dalek::Signer as _;
use jurat_proto::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use jurat_proto::cosignature;
use jurat_proto::hash::{Hash, leaf_hash};
use jurat_proto::key::{KeyName, SignatureType, Signer, SignerError, UnixSeconds, VerifierKey};
use jurat_proto::note::SignatureLine;
use jurat_proto::proof::{
    ConsistencyProof, InclusionProof, Subtree, prove_consistency, prove_inclusion,
    prove_subtree_consistency,
};
use jurat_proto::tree::{CompactRange, LeafIndex, NodeCoord, TreeHead, TreeSize};

/// A signing key made from one seed byte.
pub(crate) struct Key {
    key: VerifierKey,
    secret: Secret,
}

enum Secret {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    MlDsa44(Box<ml_dsa::SigningKey<ml_dsa::MlDsa44>>),
}

impl Key {
    pub(crate) fn new(name: &str, signature_type: SignatureType, seed: u8) -> Self {
        let seed = [seed; 32];
        let name = KeyName::parse(name).unwrap();
        let (public, secret) = if signature_type == SignatureType::MlDsa44 {
            let secret = ml_dsa::SigningKey::<ml_dsa::MlDsa44>::from_seed(&seed.into());
            let public = secret.expanded_key().verifying_key().encode().to_vec();
            (public, Secret::MlDsa44(Box::new(secret)))
        } else {
            let secret = ed25519_dalek::SigningKey::from_bytes(&seed);
            (
                secret.verifying_key().to_bytes().to_vec(),
                Secret::Ed25519(Box::new(secret)),
            )
        };
        let key = VerifierKey::from_parts(name, signature_type, &public).unwrap();
        Self { key, secret }
    }

    pub(crate) fn log(name: &str, seed: u8) -> Self {
        Self::new(name, SignatureType::Ed25519, seed)
    }

    pub(crate) fn witness(name: &str, seed: u8) -> Self {
        Self::new(name, SignatureType::CosignatureV1, seed)
    }

    pub(crate) fn ml_dsa(name: &str, seed: u8) -> Self {
        Self::new(name, SignatureType::MlDsa44, seed)
    }

    pub(crate) fn vkey(&self) -> VerifierKey {
        self.key.clone()
    }

    /// The line of this key under a checkpoint; with a time when its type has one.
    pub(crate) fn line(&self, checkpoint: &Checkpoint, time: u64) -> SignatureLine {
        match self.key.signature_type() {
            SignatureType::Ed25519 => cosignature::sign_note(&checkpoint.to_text(), self).unwrap(),
            _ => cosignature::cosign(checkpoint, UnixSeconds::new(time).unwrap(), self).unwrap(),
        }
    }
}

impl Signer for Key {
    fn verifier_key(&self) -> &VerifierKey {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(match &self.secret {
            Secret::Ed25519(secret) => secret.sign(message).to_bytes().to_vec(),
            Secret::MlDsa44(secret) => secret
                .expanded_key()
                .sign_deterministic(message, &[])
                .unwrap()
                .encode()
                .to_vec(),
        })
    }
}

/// When everything here is signed, unless a test says otherwise.
pub(crate) const NOW: u64 = 1_790_000_000;

/// The same line with its last signature byte changed.
pub(crate) fn spoiled(line: &SignatureLine) -> SignatureLine {
    let mut signature = line.signature().to_vec();
    *signature.last_mut().unwrap() ^= 1;
    SignatureLine::new(line.name().clone(), line.key_id(), signature).unwrap()
}

/// A checkpoint under the lines of these keys.
pub(crate) fn signed(origin: &str, head: TreeHead, keys: &[&Key]) -> SignedCheckpoint {
    let checkpoint = unsigned(origin, head);
    let lines = keys.iter().map(|key| key.line(&checkpoint, NOW)).collect();
    SignedCheckpoint::new(checkpoint, lines).unwrap()
}

pub(crate) fn unsigned(origin: &str, head: TreeHead) -> Checkpoint {
    Checkpoint {
        origin: Origin::parse(origin).unwrap(),
        head,
        extensions: jurat_proto::checkpoint::ExtensionLines::new(),
    }
}

/// A log of the entries `0`, `1`, `2`, …
pub(crate) struct Tree {
    nodes: BTreeMap<NodeCoord, Hash>,
    heads: Vec<TreeHead>,
}

impl Tree {
    /// Entries are `<label><index>`, so that another label is another history.
    pub(crate) fn new(size: u64, label: &str) -> Self {
        Self::of(
            &(0..size)
                .map(|index| format!("{label}{index}").into_bytes())
                .collect::<Vec<_>>(),
        )
    }

    pub(crate) fn of(entries: &[Vec<u8>]) -> Self {
        let mut range = CompactRange::new();
        let mut nodes = BTreeMap::new();
        let mut heads = vec![range.head()];
        for entry in entries {
            range
                .append_with(leaf_hash(entry), &mut |coord, hash| {
                    nodes.insert(coord, hash);
                })
                .unwrap();
            heads.push(range.head());
        }
        Self { nodes, heads }
    }

    pub(crate) fn head(&self, size: usize) -> TreeHead {
        self.heads[size]
    }

    pub(crate) fn consistency(&self, from: u64, to: u64) -> ConsistencyProof {
        prove_consistency(size(from), size(to), &self.nodes).unwrap()
    }

    pub(crate) fn inclusion(&self, index: u64, of: u64) -> InclusionProof {
        prove_inclusion(LeafIndex::new(index).unwrap(), size(of), &self.nodes).unwrap()
    }

    pub(crate) fn subtree(
        &self,
        start: u64,
        end: u64,
        of: u64,
    ) -> (Subtree, Hash, ConsistencyProof) {
        let subtree = Subtree::new(start, end).unwrap();
        let proof = prove_subtree_consistency(&subtree, size(of), &self.nodes).unwrap();
        let mut range = CompactRange::new();
        for index in start..end {
            range
                .append(self.nodes[&NodeCoord { level: 0, index }])
                .unwrap();
        }
        (subtree, range.root(), proof)
    }
}

pub(crate) fn size(leaves: u64) -> TreeSize {
    TreeSize::new(leaves).unwrap()
}
