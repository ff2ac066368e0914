//! Logs that anchor: what they send, signed before the clock runs.
//!
//! Each log begins with a tree of [`FIRST`] leaves and anchors again after every [`STEP`] more,
//! with the consistency proof. All logs hold the same leaves, which nobody can tell from outside,
//! so that the proofs are made once; origins, keys and signatures are their own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::add_checkpoint::AddCheckpoint;
use jurat_proto::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use jurat_proto::cosignature::sign_note;
use jurat_proto::hash::{Hash, leaf_hash};
use jurat_proto::key::{KeyName, Signer as _};
use jurat_proto::proof::{ConsistencyProof, prove_consistency};
use jurat_proto::tree::{CompactRange, NodeCoord, TreeHead, TreeSize};

/// Leaves of each log when it anchors for the first time.
const FIRST: u64 = 100_000;

/// Leaves that each log gains between two checkpoints.
const STEP: u64 = 97;

/// Some logs, their keys, and the states that they go through.
pub struct Workload {
    logs: Vec<(Origin, SigningKey)>,
    heads: Vec<TreeHead>,
    proofs: Vec<ConsistencyProof>,
}

impl Workload {
    /// So many logs, each with so many checkpoints to anchor.
    pub fn new(logs: usize, checkpoints: usize) -> Self {
        let logs = (0..logs)
            .map(|number| {
                let origin = format!("log{number}.bench.example/2026");
                let name = KeyName::parse(&origin).unwrap();
                let key = SigningKey::generate(name, Algorithm::Ed25519).unwrap();
                (Origin::parse(&origin).unwrap(), key)
            })
            .collect();
        let mut nodes: BTreeMap<NodeCoord, Hash> = BTreeMap::new();
        let mut tree = CompactRange::new();
        let mut heads: Vec<TreeHead> = Vec::new();
        let mut proofs = Vec::new();
        let mut size = FIRST;
        for _ in 0..checkpoints {
            for leaf in tree.size().get()..size {
                let leaf = leaf_hash(&leaf.to_le_bytes());
                tree.append_with(leaf, &mut |coord, hash| {
                    nodes.insert(coord, hash);
                })
                .unwrap();
            }
            let head = tree.head();
            proofs.push(match heads.last() {
                Some(last) => prove_consistency(last.size, head.size, &nodes).unwrap(),
                None => ConsistencyProof::default(),
            });
            heads.push(head);
            size += STEP;
        }
        Self {
            logs,
            heads,
            proofs,
        }
    }

    /// How many logs.
    pub fn logs(&self) -> usize {
        self.logs.len()
    }

    /// How many checkpoints of each.
    pub fn checkpoints(&self) -> usize {
        self.heads.len()
    }

    /// The registry file that lets them anchor.
    pub fn registry(&self) -> String {
        let mut text = String::new();
        for (origin, key) in &self.logs {
            let key = key.verifier_key();
            let _ = writeln!(
                text,
                "[[log]]\norigin = \"{origin}\"\nkeys = [\"{key}\"]\nstate = \"active\"\n",
                origin = origin.as_str(),
            );
        }
        text
    }

    /// Their verifier keys, one a line; the name of each is the log's origin.
    pub fn verifier_keys(&self) -> String {
        let key = |(_, key): &(Origin, SigningKey)| format!("{}\n", key.verifier_key());
        self.logs.iter().map(key).collect()
    }

    /// A log's request body for one of its checkpoints.
    pub fn body(&self, log: usize, checkpoint: usize) -> AddCheckpoint {
        let (origin, key) = &self.logs[log];
        let previous = checkpoint.checked_sub(1).map(|before| self.heads[before]);
        let signed = Checkpoint {
            origin: origin.clone(),
            head: self.heads[checkpoint],
            extensions: jurat_proto::checkpoint::ExtensionLines::new(),
        };
        let line = sign_note(&signed.to_text(), key).unwrap();
        AddCheckpoint {
            old_size: previous.map_or(TreeSize::ZERO, |head| head.size),
            proof: self.proofs[checkpoint].clone(),
            checkpoint: SignedCheckpoint::new(signed, vec![line]).unwrap(),
        }
    }

    /// The whole HTTP request for it.
    pub fn request(&self, path: &str, log: usize, checkpoint: usize) -> Vec<u8> {
        let body = self.body(log, checkpoint).to_bytes();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: bench.example\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut request = head.into_bytes();
        request.extend_from_slice(&body);
        request
    }

    /// A log's key, to measure bare signatures with.
    pub fn key(&self, log: usize) -> &SigningKey {
        &self.logs[log].1
    }
}
