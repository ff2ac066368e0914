//! A small world of fixed keys, one log, two witnesses and a tree, and the seeds made of it.
//!
//! The keys are constants, so that the signatures in the committed seeds verify here, and a fuzzer
//! that starts from them begins behind the signature checks.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jurat_keys::{Algorithm, KeyTextError, SigningKey};
use jurat_proto::add_checkpoint::{AddCheckpoint, conflict_body};
use jurat_proto::base64;
use jurat_proto::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use jurat_proto::cose::receipt::CoseReceipt;
use jurat_proto::cose::sign_root;
use jurat_proto::cosignature::{cosign, sign_note};
use jurat_proto::cosignature_lines::CosignatureLines;
use jurat_proto::entry::{CheckpointEntry, Entry};
use jurat_proto::hash::{Hash, leaf_hash};
use jurat_proto::key::{KeyId, Signer, UnixSeconds, VerifierKey};
use jurat_proto::note::SignatureLine;
use jurat_proto::policy::Policy;
use jurat_proto::proof::{Subtree, prove_consistency, prove_inclusion, prove_subtree_consistency};
use jurat_proto::receipt::Receipt;
use jurat_proto::sign_subtree::SignSubtree;
use jurat_proto::tile::{BundleCoord, EntryBundle, TileCoord};
use jurat_proto::tree::{CompactRange, LeafIndex, NodeCoord, TreeHead, TreeSize};

use crate::memory::{journal_text, wal_payload};
use crate::settings::configurations;

/// Who signs, and what there is to sign.
pub struct World {
    /// The log's key, type 0x01.
    pub log: SigningKey,
    /// A witness's key, type 0x04.
    pub witness: SigningKey,
    /// Another witness's key, type 0x06.
    pub witness_ml_dsa: SigningKey,
    /// A log's key that is of P-256, which only verifies.
    pub keys: Vec<VerifierKey>,
    /// Both witnesses, two of two.
    pub policy: Policy,
    /// All complete nodes of a tree of [`LEAVES`] leaves.
    pub nodes: BTreeMap<NodeCoord, Hash>,
}

/// How many leaves the tree has: enough for two full tiles and a partial one.
pub const LEAVES: u64 = 520;
/// The origin and key name of the log.
pub(crate) const ORIGIN: &str = "fuzz.example/log";
/// The time of all cosignatures.
const TIME: u64 = 1_790_000_000;

/// The world, made once.
pub static WORLD: LazyLock<World> = LazyLock::new(|| {
    let log = key(ORIGIN, Algorithm::Ed25519, 1);
    let witness = key("w1.example", Algorithm::CosignatureV1, 2);
    let witness_ml_dsa = key("w2.example", Algorithm::MlDsa44, 3);
    let keys: Vec<VerifierKey> = [&log, &witness, &witness_ml_dsa]
        .map(|key| key.verifier_key().clone())
        .into();
    let policy = Policy::parse(policy_text(&keys).as_bytes()).expect("written below");
    let mut nodes = BTreeMap::new();
    let mut tree = CompactRange::new();
    for index in 0..LEAVES {
        let leaf = leaf_hash(&leaf(index));
        tree.append_with(leaf, &mut |coord, hash| {
            nodes.insert(coord, hash);
        })
        .expect("far from full");
    }
    World {
        log,
        witness,
        witness_ml_dsa,
        keys,
        policy,
        nodes,
    }
});

fn leaf(index: u64) -> Vec<u8> {
    format!("leaf {index}").into_bytes()
}

/// A key whose secret everybody knows. Its id follows from the secret, and a signer line with
/// another id is refused with the right one.
pub(crate) fn key(name: &str, algorithm: Algorithm, secret: u8) -> SigningKey {
    let mut material = vec![algorithm.signature_type().to_byte()];
    material.extend([secret; 32]);
    let line = |id: KeyId| format!("PRIVATE+KEY+{name}+{id}+{}\n", base64::encode(&material));
    match SigningKey::parse_note_signer(&line(KeyId::new([0; 4]))) {
        Err(KeyTextError::WrongKeyId { computed, .. }) => {
            SigningKey::parse_note_signer(&line(computed)).expect("this is its id")
        }
        other => panic!("no key of all secrets has the id 00000000: {other:?}"),
    }
}

fn policy_text(keys: &[VerifierKey]) -> String {
    format!(
        "# fuzz\nlog {} https://fuzz.example/\nwitness w1 {} https://w1.example/\nwitness w2 {}\n\
         group both all w1 w2\nquorum both\n",
        keys[0], keys[1], keys[2]
    )
}

impl World {
    /// The tree head of the first leaves.
    pub fn head(&self, size: u64) -> TreeHead {
        let size = TreeSize::new(size).expect("a small size");
        let nodes = CompactRange::node_coords(size)
            .into_iter()
            .map(|coord| self.nodes[&coord])
            .collect();
        CompactRange::from_nodes(size, nodes)
            .expect("all of its nodes")
            .head()
    }

    /// The origin of the log.
    pub(crate) fn origin(&self) -> Origin {
        Origin::parse(ORIGIN).expect("an origin")
    }

    pub(crate) fn checkpoint(&self, size: u64) -> Checkpoint {
        let origin = Origin::parse(ORIGIN).expect("an origin");
        Checkpoint {
            origin,
            head: self.head(size),
            extensions: jurat_proto::checkpoint::ExtensionLines::new(),
        }
    }

    fn cosignatures(&self, checkpoint: &Checkpoint) -> Vec<SignatureLine> {
        let time = UnixSeconds::new(TIME).expect("a time");
        [&self.witness, &self.witness_ml_dsa]
            .map(|key| cosign(checkpoint, time, key).expect("a cosigner signs"))
            .into()
    }

    /// A checkpoint by the log alone, or cosigned.
    pub fn signed(&self, size: u64, cosigned: bool) -> SignedCheckpoint {
        let checkpoint = self.checkpoint(size);
        let mut lines = vec![sign_note(&checkpoint.to_text(), &self.log).expect("the log signs")];
        if cosigned {
            lines.extend(self.cosignatures(&checkpoint));
        }
        SignedCheckpoint::new(checkpoint, lines).expect("a small note")
    }

    fn add_checkpoint(&self, old: u64, new: u64) -> AddCheckpoint {
        let (from, to) = (self.head(old).size, self.head(new).size);
        let proof = prove_consistency(from, to, &self.nodes).expect("all nodes are there");
        AddCheckpoint {
            old_size: from,
            proof,
            checkpoint: self.signed(new, false),
        }
    }

    fn sign_subtree(&self) -> SignSubtree {
        let subtree = Subtree::new(8, 13).expect("the specification's own example");
        let size = self.head(14).size;
        let proof = prove_subtree_consistency(&subtree, size, &self.nodes).expect("all nodes");
        let mut range = CompactRange::new();
        for index in 8..13 {
            range
                .append(leaf_hash(&leaf(index)))
                .expect("far from full");
        }
        SignSubtree::new(subtree, range.root(), proof, self.signed(14, true)).expect("in the tree")
    }

    /// A receipt whose entry is itself the only leaf of the tree that its checkpoint is of.
    fn receipt(&self) -> Receipt {
        let entry = Entry::Checkpoint(
            CheckpointEntry::new(&self.signed(7, false), &[0]).expect("one line, one key"),
        );
        let mut nodes = BTreeMap::new();
        let mut tree = CompactRange::new();
        for leaf in [leaf_hash(b"before"), entry.leaf_hash(), leaf_hash(b"after")] {
            tree.append_with(leaf, &mut |coord, hash| {
                nodes.insert(coord, hash);
            })
            .expect("far from full");
        }
        let index = LeafIndex::new(1).expect("a small index");
        let proof = prove_inclusion(index, tree.size(), &nodes).expect("all nodes are there");
        let origin = Origin::parse(ORIGIN).expect("an origin");
        let checkpoint = Checkpoint {
            origin,
            head: tree.head(),
            extensions: jurat_proto::checkpoint::ExtensionLines::new(),
        };
        let mut lines = vec![sign_note(&checkpoint.to_text(), &self.log).expect("the log signs")];
        lines.push(sign_root(&checkpoint, &self.log).expect("the log signs"));
        lines.extend(self.cosignatures(&checkpoint));
        let checkpoint = SignedCheckpoint::new(checkpoint, lines).expect("a small note");
        Receipt::new(entry, index, proof, checkpoint).expect("an entry is not empty")
    }
}

/// A committed input.
#[derive(Clone, Debug)]
pub struct Seed {
    /// The target that it is for.
    pub target: &'static str,
    /// The file's name.
    pub name: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
}

/// What the folder `seeds` holds. Every seed is accepted by its parser.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |target, name, bytes: Vec<u8>| {
        seeds.push(Seed {
            target,
            name,
            bytes,
        })
    };
    note_seeds(&mut add);
    request_seeds(&mut add);
    proof_seeds(&mut add);
    tree_seeds(&mut add);
    settings_seeds(&mut add);
    crate::timestamps::seeds(&mut add);
    crate::evidence::seeds(&mut add);
    crate::gossip::seeds(&mut add);
    seeds
}

pub(crate) type Add<'a> = &'a mut dyn FnMut(&'static str, &'static str, Vec<u8>);

fn note_seeds(add: Add<'_>) {
    let world = &*WORLD;
    let plain = world.signed(5, false);
    let cosigned = world.signed(5, true);
    add("note", "plain", plain.to_bytes());
    add("note", "cosigned", cosigned.to_bytes());
    add(
        "signature_line",
        "ed25519",
        plain.signatures()[0].to_string().into_bytes(),
    );
    add(
        "signature_line",
        "cosignature",
        cosigned.signatures()[1].to_string().into_bytes(),
    );
    for (name, key) in ["ed25519", "cosignature", "ml_dsa_44"]
        .into_iter()
        .zip(&world.keys)
    {
        add("vkey", name, key.to_string().into_bytes());
        let text = plain.note().text().as_bytes();
        let line = cosigned
            .signatures()
            .iter()
            .find(|line| key.matches(line))
            .expect("signed");
        let mut input = vec![u8::try_from(text.len()).expect("a short text")];
        input.extend_from_slice(text);
        input.extend_from_slice(line.signature());
        add("signature", name, input);
    }
    add("checkpoint", "plain", plain.to_bytes());
    add("checkpoint", "cosigned", cosigned.to_bytes());
    add(
        "checkpoint_text",
        "plain",
        plain.note().text().as_bytes().to_vec(),
    );
    let extended = format!("{}extension line\n", plain.note().text());
    add("checkpoint_text", "extended", extended.into_bytes());
    add("encodings", "decimal", b"9223372036854775807".to_vec());
    add(
        "encodings",
        "hash",
        world.head(3).root_hash.to_base64().into_bytes(),
    );
    add("encodings", "hex", b"00ff10ab".to_vec());
}

fn request_seeds(add: Add<'_>) {
    let world = &*WORLD;
    add(
        "add_checkpoint",
        "first",
        world.add_checkpoint(0, 5).to_bytes(),
    );
    add(
        "add_checkpoint",
        "growth",
        world.add_checkpoint(5, 13).to_bytes(),
    );
    add(
        "add_checkpoint",
        "refresh",
        world.add_checkpoint(5, 5).to_bytes(),
    );
    add("sign_subtree", "example", world.sign_subtree().to_bytes());
    let lines = world.cosignatures(&world.checkpoint(5));
    let lines = CosignatureLines::new(lines).expect("two lines");
    add("cosignature_lines", "both", lines.to_bytes());
    add(
        "conflict",
        "size",
        conflict_body(world.head(13).size).into_bytes(),
    );
}

fn proof_seeds(add: Add<'_>) {
    let world = &*WORLD;
    add("policy", "both", policy_text(&world.keys).into_bytes());
    add("policy", "none", b"quorum none\n".to_vec());
    let log_key = world.keys.first().expect("a key");
    let list = format!(
        "# a comment\nlogs/v0\n\nvkey {log_key}\norigin o\nqpd 24\ncontact c\n\n\
         vkey {log_key}\nqpd 86400\ncontact c d\n"
    );
    add("log_list", "two", list.into_bytes());
    let receipt = world.receipt();
    add("receipt", "checkpoint", receipt.to_bytes());
    add("tlog_proof", "receipt", receipt.to_bytes());
    let in_cose = CoseReceipt::new(&receipt).expect("its root is signed in COSE");
    add("cose_receipt", "whole", in_cose.to_bytes());
    add("entry", "checkpoint", receipt.entry().to_bytes());
    for (kind, body) in [
        (
            "timestamp",
            "7\n1795000000\n1.3.6.1.4.1.99999.1\n4a01020304050607\nHASH\n",
        ),
        (
            "key",
            "close superseded\ntimestamp-unit\n4a01020304050607\nHASH\n1795000000\n",
        ),
        ("clock", "lost\n1795000000\nsources-disagree\n"),
    ] {
        let body = body.replace("HASH", &leaf_hash(b"any").to_base64());
        let entry = format!("jurat-entry/v1 {kind}\n{body}").into_bytes();
        assert!(Entry::parse(&entry).is_ok(), "{kind}");
        add("entry", kind, entry);
    }
    add(
        "proof_lines",
        "two",
        receipt.tlog_proof().proof().to_lines().into_bytes(),
    );
}

fn tree_seeds(add: Add<'_>) {
    let tile = TileCoord::new(1, 1_234_067, 255).expect("a tile");
    add("tile_path", "partial", tile.path().into_bytes());
    let bundle = BundleCoord::new(1_234_067, 256).expect("a bundle");
    add("tile_path", "bundle", bundle.path().into_bytes());
    let mut bytes = vec![2];
    bytes.extend(EntryBundle::encode(&[leaf(0), Vec::new(), leaf(2)]).expect("short entries"));
    add("bundle", "three", bytes);
    add("tile_nodes", "any", (0..96).collect());
    add("verify_proof", "any", (0..200).collect());
    add("prove_and_verify", "small", vec![7, 0, 3, 0, 5, 0, 1, 0]);
    add("prove_and_verify", "large", vec![8, 2, 0, 1, 255, 1, 9, 3]);
}

fn settings_seeds(add: Add<'_>) {
    let world = &*WORLD;
    for (name, key) in [
        ("ed25519", &world.log),
        ("cosignature", &world.witness),
        ("ml_dsa_44", &world.witness_ml_dsa),
    ] {
        let line = key.to_note_signer().expect("these types have the format");
        add("key_file", name, line.as_bytes().to_vec());
        let pem = key.to_pkcs8_pem().expect("they have this one, too");
        add("key_pem", name, pem.as_bytes().to_vec());
    }
    let registry = format!(
        "[[log]]\norigin = \"{ORIGIN}\"\nkeys = [\"{}\"]\nstate = \"active\"\n",
        world.keys[0]
    );
    add("registry", "one", registry.into_bytes());
    add(
        "limits",
        "some",
        b"connections_max = 100\nbody_timeout_ms = 5000\n".to_vec(),
    );
    add("wal_frame", "two", wal_payload());
    add("journal", "two", journal_text());
    let shown = [("plain", false), ("cosigned", true)];
    for (name, cosigned) in shown {
        let note = world.signed(5, cosigned).to_bytes();
        add("shown_checkpoint", name, note);
    }
    let units = "[[unit]]\nchain = \"u.pem\"\nkey = \"u.key\"\nstarted = 7\nclosed = 8\n\
                 reason = \"superseded\"\n\n[[unit]]\nchain = \"v.pem\"\nkey = \"v.key\"\n\
                 started = 8\n";
    add("units", "two", units.as_bytes().to_vec());
    let units = "[[unit]]\nchain = \"u.pem\"\nstarted = 7\n\n[unit.pkcs11]\nmodule = \"m.so\"\n\
                 token = \"t\"\nlabel = \"l\"\npin_file = \"p\"\nsessions = 4\n\n[[gone]]\n\
                 unit = \"4f00112233445566\"\nclosed = 8\nreason = \"compromise\"\n";
    add("units", "token", units.as_bytes().to_vec());
    let digest = leaf_hash(b"any").to_base64();
    let json = format!(
        "{{\"artifactHash\":\"{digest}\",\"hashAlgorithm\":\"sha256\",\"certificates\":true,\
         \"nonce\":7,\"tsaPolicyOID\":\"1.2.3\"}}"
    );
    let large = json.replace(":7,", ":340282366920938463463374607431768211455,");
    add("timestamp_json", "large_nonce", large.into_bytes());
    add("timestamp_json", "whole", json.into_bytes());
    for (target, text) in configurations() {
        add(target, "whole", text.into_bytes());
    }
    let mut reply = vec![0; 48];
    // Stratum 2, 10 ms of root delay, 5 of dispersion, sent 3 ms after the question came.
    reply[..12].copy_from_slice(&[0x24, 2, 6, 0xe8, 0, 0, 2, 0x8f, 0, 0, 1, 0x47]);
    reply[24..32].copy_from_slice(b"question");
    reply[32..40].copy_from_slice(&[0xee, 0x60, 0, 0, 0x40, 0, 0, 0]);
    reply[40..].copy_from_slice(&[0xee, 0x60, 0, 0, 0x40, 0xc4, 0, 0]);
    add("sntp_reply", "good", reply);
    add("ntp_server", "name", b"time.example.com".to_vec());
    add("ntp_server", "address", b"[2001:db8::1]:123".to_vec());
}
