//! Keys, chance, and logs that may fork.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ed25519_dalek::Signer as _;
use jurat_proto::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use jurat_proto::cosignature::{cosign, sign_note};
use jurat_proto::evidence::{Evidence, KnownKeys, NotProven, Verdict};
use jurat_proto::gossip::node::{Dice, Verifier};
use jurat_proto::gossip::{Opening, SignedStatement, Statement};
use jurat_proto::hash::{Hash, leaf_hash};
use jurat_proto::key::{KeyName, SignatureType, Signer, SignerError, UnixSeconds, VerifierKey};
use jurat_proto::note::SignatureLine;
use jurat_proto::proof::{ConsistencyProof, InclusionProof, prove_consistency, prove_inclusion};
use jurat_proto::tree::{CompactRange, LeafIndex, NodeCoord, TreeHead, TreeSize};
use ml_dsa::MlDsa44;

/// Chance that repeats itself (splitmix64).
#[derive(Clone)]
pub(crate) struct Chance(pub(crate) u64);

impl Dice for Chance {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Chance {
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A signing key made from a number.
#[derive(Clone)]
pub(crate) struct Key {
    key: VerifierKey,
    secret: Secret,
}

#[derive(Clone)]
enum Secret {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    MlDsa44(Arc<ml_dsa::SigningKey<MlDsa44>>),
}

impl Key {
    fn new(name: &str, signature_type: SignatureType, seed: u64) -> Self {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let (secret, public) = if signature_type == SignatureType::MlDsa44 {
            let secret = ml_dsa::SigningKey::<MlDsa44>::from_seed(&bytes.into());
            let public = secret.expanded_key().verifying_key().encode().to_vec();
            (Secret::MlDsa44(secret.into()), public)
        } else {
            let secret = ed25519_dalek::SigningKey::from_bytes(&bytes);
            let public = secret.verifying_key().to_bytes().to_vec();
            (Secret::Ed25519(secret.into()), public)
        };
        let name = KeyName::parse(name).unwrap();
        let key = VerifierKey::from_parts(name, signature_type, &public).unwrap();
        Self { key, secret }
    }

    /// A key of a log or of a cosigner: the type serves both.
    pub(crate) fn ml_dsa(name: &str, seed: u64) -> Self {
        Self::new(name, SignatureType::MlDsa44, seed)
    }

    pub(crate) fn note(name: &str, seed: u64) -> Self {
        Self::new(name, SignatureType::Ed25519, seed)
    }

    pub(crate) fn cosigner(name: &str, seed: u64) -> Self {
        Self::new(name, SignatureType::CosignatureV1, seed)
    }

    pub(crate) fn vkey(&self) -> VerifierKey {
        self.key.clone()
    }

    pub(crate) fn cosign(&self, note: &SignedCheckpoint, time: UnixSeconds) -> SignedCheckpoint {
        let line = cosign(note.checkpoint(), time, self).unwrap();
        let all: Vec<usize> = (0..note.signatures().len()).collect();
        note.with_signatures(&all, &[line]).unwrap()
    }

    pub(crate) fn say(&self, statement: Statement) -> SignedStatement {
        let line = sign_note(&statement.to_text(), self).unwrap();
        SignedStatement::new(statement, vec![line]).unwrap()
    }
}

impl Signer for Key {
    fn verifier_key(&self) -> &VerifierKey {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(match &self.secret {
            Secret::Ed25519(secret) => secret.sign(message).to_bytes().to_vec(),
            Secret::MlDsa44(secret) => {
                let signed = secret.expanded_key().sign_deterministic(message, &[]);
                signed.expect("no context is short").encode().to_vec()
            }
        })
    }
}

/// A verifier that checks each signature once, whoever asks.
#[derive(Default)]
pub(crate) struct Memory {
    lines: RefCell<HashMap<SignedText, bool>>,
    evidence: RefCell<HashMap<Vec<u8>, Proven>>,
}

type SignedText = (VerifierKey, String, Vec<u8>);
type Proven = Result<(Evidence, Verdict), NotProven>;

impl Memory {
    /// The keys changed: what they prove may, too.
    pub(crate) fn forget_evidence(&self) {
        self.evidence.borrow_mut().clear();
    }

    /// This key made this signature here: it needs no check.
    pub(crate) fn signed(&self, key: &VerifierKey, said: &SignedStatement) {
        for line in said.signatures() {
            let place = (
                key.clone(),
                said.note().text().to_owned(),
                line.signature().to_vec(),
            );
            self.lines.borrow_mut().insert(place, true);
        }
    }

    fn line(
        &self,
        key: &VerifierKey,
        text: &str,
        line: &SignatureLine,
        verify: impl FnOnce() -> bool,
    ) -> bool {
        let place = (key.clone(), text.to_owned(), line.signature().to_vec());
        let mut lines = self.lines.borrow_mut();
        *lines
            .entry(place)
            .or_insert_with(|| key.matches(line) && verify())
    }
}

impl Verifier for Memory {
    fn checkpoint(&self, key: &VerifierKey, note: &SignedCheckpoint, line: &SignatureLine) -> bool {
        self.line(key, note.note().text(), line, || {
            let signature = line.signature();
            key.verify_checkpoint(note.checkpoint(), signature).is_ok()
        })
    }

    fn statement(&self, key: &VerifierKey, said: &SignedStatement, line: &SignatureLine) -> bool {
        self.line(key, said.note().text(), line, || {
            key.verify_note(said.note().text(), line.signature())
                .is_ok()
        })
    }

    /// All nodes of a simulation know the same keys.
    fn evidence(
        &self,
        evidence: &Evidence,
        keys: &KnownKeys,
    ) -> Result<(Evidence, Verdict), NotProven> {
        let mut known = self.evidence.borrow_mut();
        let bytes = evidence.to_bytes();
        let proven = known
            .entry(bytes)
            .or_insert_with(|| evidence.minimised(keys));
        proven.clone()
    }
}

/// One history of a log.
#[derive(Clone, Default)]
pub(crate) struct Branch {
    nodes: BTreeMap<NodeCoord, Hash>,
    range: CompactRange,
    heads: Vec<TreeHead>,
}

impl Branch {
    fn grow(&mut self, size: u64, label: &str) {
        if self.heads.is_empty() {
            self.heads.push(self.range.head());
        }
        for index in self.range.size().get()..size {
            let leaf = leaf_hash(format!("{label}{index}").as_bytes());
            let nodes = &mut self.nodes;
            self.range
                .append_with(leaf, &mut |coord, hash| {
                    nodes.insert(coord, hash);
                })
                .unwrap();
            self.heads.push(self.range.head());
        }
    }

    fn head(&self, size: u64) -> TreeHead {
        self.heads[usize::try_from(size).unwrap()]
    }
}

/// How a log serves its tiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tiles {
    /// All of both branches.
    Open,
    /// None.
    Refused,
    /// Others than it signed.
    Garbage,
    /// Each witness gets those of the branches that are listed for it.
    Followers(BTreeMap<usize, BTreeSet<usize>>),
    /// Only those of trees up to this size.
    UpTo(u64),
}

/// A log: a key, and one history or more.
#[derive(Clone)]
pub(crate) struct SimLog {
    pub(crate) origin: Origin,
    pub(crate) key: Key,
    /// The key that it signs with after a rotation.
    pub(crate) next: Option<Key>,
    branches: Vec<Branch>,
    pub(crate) tiles: Tiles,
}

impl SimLog {
    pub(crate) fn new(name: &str, seed: u64) -> Self {
        let mut first = Branch::default();
        first.grow(0, "a");
        Self {
            origin: Origin::parse(name).unwrap(),
            key: Key::note(name, seed),
            next: Some(Key::note(name, seed + 500)),
            branches: vec![first],
            tiles: Tiles::Open,
        }
    }

    /// Begins another history that shares the first entries of an existing one.
    pub(crate) fn fork(&mut self, branch: usize, size: u64) -> usize {
        self.grow(branch, size);
        let mut fork = Branch::default();
        fork.grow(0, "");
        let shared: Vec<Hash> = (0..size)
            .map(|index| self.branches[branch].nodes[&NodeCoord { level: 0, index }])
            .collect();
        for leaf in shared {
            let nodes = &mut fork.nodes;
            fork.range
                .append_with(leaf, &mut |coord, hash| {
                    nodes.insert(coord, hash);
                })
                .unwrap();
            fork.heads.push(fork.range.head());
        }
        self.branches.push(fork);
        self.branches.len() - 1
    }

    fn label(&self, branch: usize) -> String {
        format!("{}/{branch}/", self.origin)
    }

    pub(crate) fn grow(&mut self, branch: usize, size: u64) {
        let label = self.label(branch);
        self.branches[branch].grow(size, &label);
    }

    pub(crate) fn head(&mut self, branch: usize, size: u64) -> TreeHead {
        self.grow(branch, size);
        self.branches[branch].head(size)
    }

    /// A checkpoint that the log signed.
    pub(crate) fn note(&mut self, branch: usize, size: u64) -> SignedCheckpoint {
        let head = self.head(branch, size);
        self.sign(head)
    }

    pub(crate) fn sign(&self, head: TreeHead) -> SignedCheckpoint {
        self.sign_with(&self.key, head)
    }

    pub(crate) fn sign_with(&self, key: &Key, head: TreeHead) -> SignedCheckpoint {
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            head,
            extensions: jurat_proto::checkpoint::ExtensionLines::new(),
        };
        let line = if key.vkey().signature_type() == SignatureType::MlDsa44 {
            cosign(&checkpoint, UnixSeconds::ZERO, key).unwrap()
        } else {
            sign_note(&checkpoint.to_text(), key).unwrap()
        };
        SignedCheckpoint::new(checkpoint, vec![line]).unwrap()
    }

    pub(crate) fn proof(&mut self, branch: usize, from: u64, to: u64) -> ConsistencyProof {
        self.grow(branch, to);
        prove_consistency(size(from), size(to), &self.branches[branch].nodes).unwrap()
    }

    /// The leaf hash of an entry, and the proof that it is in the tree.
    pub(crate) fn entry(
        &mut self,
        branch: usize,
        index: LeafIndex,
        to: u64,
    ) -> (Hash, InclusionProof) {
        self.grow(branch, to);
        let nodes = &self.branches[branch].nodes;
        let at = NodeCoord {
            level: 0,
            index: index.get(),
        };
        (nodes[&at], prove_inclusion(index, size(to), nodes).unwrap())
    }

    /// What a witness reads from the tiles.
    pub(crate) fn open(
        &self,
        witness: usize,
        old: TreeSize,
        note: &SignedCheckpoint,
    ) -> Option<Opening> {
        let head = note.head();
        let branch = self.branches.iter().position(|branch| {
            let place = usize::try_from(head.size.get()).unwrap();
            branch.heads.get(place) == Some(&head)
        })?;
        let served = match &self.tiles {
            Tiles::Open | Tiles::Garbage => true,
            Tiles::Refused => false,
            Tiles::Followers(followers) => followers
                .get(&witness)
                .is_some_and(|branches| branches.contains(&branch)),
            Tiles::UpTo(most) => head.size.get() <= *most,
        };
        if !served {
            return None;
        }
        let nodes = &self.branches[branch].nodes;
        if self.tiles == Tiles::Garbage {
            let garbage: BTreeMap<NodeCoord, Hash> = nodes
                .keys()
                .map(|coord| (*coord, leaf_hash(b"garbage")))
                .collect();
            let opened = Opening::read(old, note.clone(), &garbage);
            assert!(opened.is_err(), "garbage leads nowhere");
            return None;
        }
        Some(Opening::read(old, note.clone(), nodes).unwrap())
    }
}

pub(crate) fn size(leaves: u64) -> TreeSize {
    TreeSize::new(leaves).unwrap()
}

/// A head that no tree has; heads whose `last` differ have roots that begin alike.
pub(crate) fn leaf_head(leaves: u64, last: u8) -> TreeHead {
    let mut root = [9; 32];
    root[31] = last;
    TreeHead {
        size: size(leaves),
        root_hash: Hash::new(root),
    }
}
