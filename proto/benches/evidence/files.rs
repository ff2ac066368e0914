//! Files of evidence that cost as much as they can, and what they cost.

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::Criterion;
use jurat_proto::checkpoint::{Checkpoint, ExtensionLine, Origin, SignedCheckpoint};
use jurat_proto::cosignature::{cosign, sign_note};
use jurat_proto::evidence::{Evidence, KnownKeys, STRANGERS_EVIDENCE_BYTES_MAX, Standing};
use jurat_proto::hash::{Hash, leaf_hash};
use jurat_proto::key::{KeyName, SignatureType, Signer, SignerError, UnixSeconds, VerifierKey};
use jurat_proto::note::SignatureLine;
use jurat_proto::proof::{ConsistencyProof, prove_consistency};
use jurat_proto::tree::{CompactRange, NodeCoord, TreeHead, TreeSize};

/// What makes the few keys that a file is about ready for another library; none for the one of
/// `jurat_proto` itself.
pub(crate) type Prepare = Option<fn(&VerifierKey) -> VerifierKey>;

const ORIGIN: &str = "bench.example/log";
const TIME: UnixSeconds = UnixSeconds::MAX;
/// How many witnesses the reader knows.
const WITNESSES: u8 = 30;
const OLDER: u64 = 99_999;
const NEWER: u64 = 100_000;

enum Secret {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    MlDsa44(Box<ml_dsa::SigningKey<ml_dsa::MlDsa44>>),
}

struct Key {
    key: VerifierKey,
    secret: Secret,
}

impl Key {
    fn new(name: &str, signature_type: SignatureType, seed: u8) -> Self {
        let (public, secret) = if signature_type == SignatureType::MlDsa44 {
            let secret = ml_dsa::SigningKey::<ml_dsa::MlDsa44>::from_seed(&[seed; 32].into());
            let public = secret.expanded_key().verifying_key().encode().to_vec();
            (public, Secret::MlDsa44(Box::new(secret)))
        } else {
            let secret = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
            let public = secret.verifying_key().to_bytes().to_vec();
            (public, Secret::Ed25519(Box::new(secret)))
        };
        let name = KeyName::parse(name).unwrap();
        let key = VerifierKey::from_parts(name, signature_type, &public).unwrap();
        Self { key, secret }
    }

    fn line(&self, checkpoint: &Checkpoint) -> SignatureLine {
        match self.key.signature_type() {
            SignatureType::Ed25519 => sign_note(&checkpoint.to_text(), self).unwrap(),
            _ => cosign(checkpoint, TIME, self).unwrap(),
        }
    }
}

impl Signer for Key {
    fn verifier_key(&self) -> &VerifierKey {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(match &self.secret {
            Secret::Ed25519(secret) => ed25519_dalek::Signer::sign(&**secret, message)
                .to_bytes()
                .to_vec(),
            Secret::MlDsa44(secret) => {
                let signature = secret.expanded_key().sign_deterministic(message, &[]);
                signature.unwrap().encode().to_vec()
            }
        })
    }
}

/// A log, its witnesses, and two histories of it that part before the last entries.
struct World {
    prepare: Prepare,
    keys: KnownKeys,
    log: Key,
    witnesses: Vec<Key>,
    heads: [TreeHead; 2],
    fork: TreeHead,
    proof: ConsistencyProof,
}

impl World {
    fn new(prepare: Prepare, log_type: SignatureType, witness_type: SignatureType) -> Self {
        let log = Key::new(ORIGIN, log_type, 1);
        let witnesses: Vec<Key> = (0..WITNESSES)
            .map(|number| Key::new(&format!("w{number}.example"), witness_type, 2 + number))
            .collect();
        let mut keys = KnownKeys::new();
        let origin = Origin::parse(ORIGIN).unwrap();
        keys.add_log(origin, log.key.clone(), Standing::Current);
        for witness in &witnesses {
            keys.add_cosigner(witness.key.clone()).unwrap();
        }
        let mut nodes: BTreeMap<NodeCoord, Hash> = BTreeMap::new();
        let mut tree = CompactRange::new();
        let heads = [OLDER, NEWER].map(|size| {
            for index in tree.size().get()..size {
                let leaf = leaf_hash(&index.to_be_bytes());
                tree.append_with(leaf, &mut |coord, hash| {
                    nodes.insert(coord, hash);
                })
                .unwrap();
            }
            tree.head()
        });
        let [from, to] = [OLDER, NEWER].map(|size| TreeSize::new(size).unwrap());
        let proof = prove_consistency(from, to, &nodes).unwrap();
        let fork = TreeHead {
            size: from,
            root_hash: leaf_hash(b"another history"),
        };
        Self {
            prepare,
            keys,
            log,
            witnesses,
            heads,
            fork,
            proof,
        }
    }

    fn checkpoint(head: TreeHead, filler: &[usize]) -> Checkpoint {
        let line = |bytes: &usize| ExtensionLine::parse(&"x".repeat(*bytes)).unwrap();
        Checkpoint {
            origin: Origin::parse(ORIGIN).unwrap(),
            head,
            extensions: filler.iter().map(line).collect(),
        }
    }

    /// Signed by all, with as many lines spoiled, from the first.
    fn note(&self, head: TreeHead, filler: &[usize], spoiled: usize) -> SignedCheckpoint {
        let checkpoint = Self::checkpoint(head, filler);
        let signers = std::iter::once(&self.log).chain(&self.witnesses);
        let mut lines: Vec<SignatureLine> = signers.map(|key| key.line(&checkpoint)).collect();
        for line in lines.iter_mut().take(spoiled) {
            let mut signature = line.signature().to_vec();
            *signature.last_mut().unwrap() ^= 1;
            *line = SignatureLine::new(line.name().clone(), line.key_id(), signature).unwrap();
        }
        SignedCheckpoint::new(checkpoint, lines).unwrap()
    }

    /// A file whose larger note has so many bad lines, and the smaller one as many when the log has
    /// no part in it.
    fn file(&self, filler: &[usize], spoiled: usize) -> Vec<u8> {
        self.file_of(filler, [0, spoiled])
    }

    fn file_of(&self, filler: &[usize], [first, spoiled]: [usize; 2]) -> Vec<u8> {
        let older = self.note(self.fork, filler, first);
        let newer = self.note(self.heads[1], filler, spoiled);
        let evidence = Evidence::of_growth(&older, &newer, &self.proof).unwrap();
        evidence.to_bytes()
    }

    fn judge(&self, file: &[u8]) -> Result<usize, ()> {
        let evidence = Evidence::parse(black_box(file)).map_err(|_| ())?;
        let verdict = match self.prepare {
            Some(prepare) => evidence.verify(&self.keys.about(&evidence, prepare)),
            None => evidence.verify(&self.keys),
        };
        let verdict = verdict.map_err(|_| ())?;
        Ok(verdict.guilty.len())
    }
}

/// All lines of a note: the log's and the witnesses'.
const ALL: usize = 31;
/// As many bytes as a note of 128 KiB has room for beside them.
const LARGEST: usize = 127_000;
/// The same in a file that a stranger may send.
const STRANGERS: usize = 61_000;

pub(crate) fn hostile(c: &mut Criterion, prepare: Prepare) {
    let mut group = c.benchmark_group("hostile");
    let world = World::new(
        prepare,
        SignatureType::Ed25519,
        SignatureType::CosignatureV1,
    );
    // The larger note is made up, under lines that name every key that we know.
    let made_up = world.file(&[], ALL);
    assert_eq!(world.judge(&made_up), Err(()));
    group.bench_function("made up, Ed25519", |b| b.iter(|| world.judge(&made_up)));
    // As much as a note has room for, beside the lines.
    let short = vec![1; LARGEST / 2];
    let shapes: [(&str, &[usize]); 3] = [
        ("made up, 8 kB", &[8_000]),
        ("made up, largest notes", &[LARGEST]),
        ("made up, most lines", &short),
    ];
    for (name, filler) in shapes {
        let file = world.file(filler, ALL);
        assert_eq!(world.judge(&file), Err(()));
        group.bench_function(name, |b| b.iter(|| world.judge(&file)));
    }
    let file = world.file_of(&[LARGEST], [ALL, ALL]);
    assert_eq!(world.judge(&file), Err(()));
    group.bench_function("made up, largest notes, by a stranger", |b| {
        b.iter(|| world.judge(&file));
    });
    for (name, filler) in [
        ("made up, largest of a stranger", vec![STRANGERS]),
        ("made up, most lines of a stranger", vec![1; STRANGERS / 2]),
    ] {
        let file = world.file(&filler, ALL);
        assert!(
            (STRANGERS_EVIDENCE_BYTES_MAX - 2_000..=STRANGERS_EVIDENCE_BYTES_MAX)
                .contains(&file.len())
        );
        assert_eq!(world.judge(&file), Err(()));
        group.bench_function(name, |b| b.iter(|| world.judge(&file)));
    }
    // Its root is made up, too: refused before any signature is looked at.
    let broken = String::from_utf8(made_up.clone()).unwrap();
    let root = broken.lines().nth(2).unwrap();
    let broken = broken
        .replace(root, &leaf_hash(b"no root").to_base64())
        .into_bytes();
    assert!(Evidence::parse(&broken).is_err());
    group.bench_function("no proof", |b| b.iter(|| world.judge(&broken)));
    let rubbish = vec![b'x'; 256 * 1024];
    group.bench_function("rubbish", |b| b.iter(|| world.judge(&rubbish)));

    let log_signs = World::new(
        prepare,
        SignatureType::MlDsa44,
        SignatureType::CosignatureV1,
    );
    let made_up = log_signs.file(&[], ALL);
    assert_eq!(log_signs.judge(&made_up), Err(()));
    group.bench_function("made up, ML-DSA-44 log", |b| {
        b.iter(|| log_signs.judge(&made_up));
    });
    group.finish();
}

pub(crate) fn truth(c: &mut Criterion, prepare: Prepare) {
    let mut group = c.benchmark_group("true");
    let world = World::new(
        prepare,
        SignatureType::Ed25519,
        SignatureType::CosignatureV1,
    );
    let whole = world.file(&[], 0);
    assert_eq!(world.judge(&whole), Ok(ALL));
    group.bench_function("thirty-one keys", |b| b.iter(|| world.judge(&whole)));
    let alone = |head| {
        let checkpoint = World::checkpoint(head, &[]);
        let line = world.log.line(&checkpoint);
        SignedCheckpoint::new(checkpoint, vec![line]).unwrap()
    };
    let (older, newer) = (alone(world.fork), alone(world.heads[1]));
    let file = Evidence::of_growth(&older, &newer, &world.proof)
        .unwrap()
        .to_bytes();
    assert_eq!(world.judge(&file), Ok(1));
    group.bench_function("the log alone", |b| b.iter(|| world.judge(&file)));
    group.finish();

    let mut group = c.benchmark_group("making");
    group.bench_function("opening from a failed proof", |b| {
        b.iter(|| Evidence::of_growth(black_box(&older), &newer, &world.proof));
    });
    let honest = alone(world.heads[0]);
    group.bench_function("nothing from one that is good", |b| {
        b.iter(|| Evidence::of_growth(black_box(&honest), &newer, &world.proof));
    });
    group.finish();
}

/// What the largest file costs, part by part: to read it, to hash one of its notes, and to check a
/// line under a long note and under a short one.
pub(crate) fn parts(c: &mut Criterion, prepare: Prepare) {
    let mut group = c.benchmark_group("parts");
    let world = World::new(
        prepare,
        SignatureType::Ed25519,
        SignatureType::CosignatureV1,
    );
    for (name, filler) in [
        ("largest notes", vec![LARGEST]),
        ("most lines", vec![1; LARGEST / 2]),
    ] {
        let file = world.file(&filler, ALL);
        group.bench_function(format!("read, {name}"), |b| {
            b.iter(|| Evidence::parse(black_box(&file)).unwrap());
        });
    }
    let key = match prepare {
        Some(prepare) => prepare(&world.log.key),
        None => world.log.key.clone(),
    };
    for (name, filler) in [("long", &[LARGEST][..]), ("short", &[])] {
        let note = world.note(world.heads[1], filler, 0);
        let line = &note.signatures()[0];
        group.bench_function(format!("one line under a {name} note"), |b| {
            b.iter(|| {
                key.verify_signed(black_box(&note), line.signature())
                    .unwrap()
            });
        });
    }
    if let Some(prepare) = prepare {
        group.bench_function("making a key ready", |b| {
            b.iter(|| prepare(black_box(&world.log.key)));
        });
    }
    group.finish();
}
