//! Evidence: every kind, every fault, and the laws.

mod field;
mod format;
mod kinds;
mod laws;
mod smallest;

use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::cosignature;
use jurat_proto::evidence::{Cosigner, Evidence, Kind, KnownKeys, Role, ShownRow, Standing};
use jurat_proto::gossip::{
    Flags, OriginId, Page, Random, Row, SignedStatement, State, Statement, Tag,
};
use jurat_proto::hash::{Hash, leaf_hash};
use jurat_proto::key::UnixSeconds;
use jurat_proto::note::SignatureLine;
use jurat_proto::proof::{ConsistencyProof, prove_inclusion};
use jurat_proto::tlog_proof::TlogProof;
use jurat_proto::tree::{CompactRange, LeafIndex, TreeHead};

use crate::signing::{Key, NOW, Tree, signed, size, unsigned};

const ORIGIN: &str = "log.example/tree";

/// Everybody who can be accused, and a stranger.
struct Cast {
    log: Key,
    log_ml_dsa: Key,
    old_log: Key,
    one: Key,
    two: Key,
    ml_dsa: Key,
    gossip: Key,
    stranger: Key,
}

impl Cast {
    fn new() -> Self {
        Self {
            log: Key::log(ORIGIN, 1),
            log_ml_dsa: Key::ml_dsa(ORIGIN, 2),
            old_log: Key::log("log.example/old", 3),
            one: Key::witness("w1.example", 4),
            two: Key::witness("w2.example", 5),
            ml_dsa: Key::ml_dsa("w3.example", 6),
            gossip: Key::log("w1.example", 7),
            stranger: Key::witness("nobody.example", 8),
        }
    }

    fn keys(&self) -> KnownKeys {
        let mut keys = KnownKeys::new();
        for key in [&self.log, &self.log_ml_dsa] {
            keys.add_log(origin(), key.vkey(), Standing::Current);
        }
        for key in [&self.one, &self.two, &self.ml_dsa] {
            keys.add_cosigner(key.vkey()).unwrap();
        }
        keys.add_gossip(self.gossip.vkey(), &[self.one.vkey()])
            .unwrap();
        keys
    }
}

fn origin() -> Origin {
    Origin::parse(ORIGIN).unwrap()
}

/// A history, and another that has the same first `shared` entries.
fn forked(leaves: u64, shared: u64) -> (Tree, Tree) {
    let history = |label: &str| {
        let entry = |index| {
            let label = if index < shared { "" } else { label };
            format!("{label}{index}").into_bytes()
        };
        Tree::of(&(0..leaves).map(entry).collect::<Vec<_>>())
    };
    (history("a"), history("b"))
}

fn time(seconds: u64) -> UnixSeconds {
    UnixSeconds::new(seconds).unwrap()
}

fn tlog_proof(tree: &Tree, index: u64, note: SignedCheckpoint) -> TlogProof {
    let of = note.head().size.get();
    let index_of = LeafIndex::new(index).unwrap();
    TlogProof::new(None, index_of, tree.inclusion(index, of), note).unwrap()
}

/// A checkpoint cosigned by one key at a time.
fn cosigned(head: TreeHead, key: &Key, at: u64) -> SignedCheckpoint {
    let checkpoint = unsigned(ORIGIN, head);
    let line = key.line(&checkpoint, at);
    SignedCheckpoint::new(checkpoint, vec![line]).unwrap()
}

fn cosigner(key: &Key) -> Cosigner {
    Cosigner {
        name: key.vkey().name().clone(),
        key_id: key.vkey().key_id(),
    }
}

/// A statement by a gossip key.
fn said(statement: Statement, key: &Key) -> SignedStatement {
    let line: SignatureLine = cosignature::sign_note(&statement.to_text(), key).unwrap();
    SignedStatement::new(statement, vec![line]).unwrap()
}

fn state(cast: &Cast, seq: u64, evidence: u64) -> State {
    let mut tree = CompactRange::new();
    for index in 0..evidence {
        tree.append(leaf_hash(&index.to_be_bytes())).unwrap();
    }
    State {
        name: cast.gossip.vkey().name().clone(),
        epoch: Random([9; 16]),
        seq,
        time: time(NOW + evidence),
        rows: TreeHead::empty(),
        evidence: tree.head(),
        nonce: None,
    }
}

/// A page of some rows, one of them of the head, and that row with its proof.
fn page_of(cast: &Cast, head: &TreeHead, newest: bool, at: u64) -> (SignedStatement, ShownRow) {
    let salt = Random([5; 16]);
    let row = Row {
        origin: OriginId::of(&origin()),
        size: head.size,
        tag: Tag::of(&salt, &origin(), head),
        time: time(NOW - 1000),
        flags: Flags {
            newest_cosigned: newest,
            unresolved: false,
        },
    };
    let other = |byte| Row {
        origin: OriginId([byte; 8]),
        ..row
    };
    let rows = [other(1), other(2), row, other(3)];
    let mut nodes = std::collections::BTreeMap::new();
    let mut tree = CompactRange::new();
    for row in &rows {
        let leaf = leaf_hash(row.to_string().as_bytes());
        tree.append_with(leaf, &mut |coord, hash| {
            nodes.insert(coord, hash);
        })
        .unwrap();
    }
    assert_eq!(Page::rows_head(&rows), Ok(tree.head()));
    let index = LeafIndex::new(2).unwrap();
    let page = Page {
        name: cast.gossip.vkey().name().clone(),
        epoch: Random([9; 16]),
        seq: 40,
        since: 0,
        next: 40,
        time: time(at),
        salt,
        rows: tree.head(),
    };
    let shown = ShownRow {
        row,
        root: head.root_hash,
        index,
        proof: prove_inclusion(index, tree.size(), &nodes).unwrap(),
    };
    (said(Statement::Page(page), &cast.gossip), shown)
}

/// One of each kind, with whom it convicts.
fn one_of_each(cast: &Cast) -> Vec<(Evidence, Vec<(Role, Key)>)> {
    let (a, b) = forked(30, 7);
    let by = |tree: &Tree, at: usize, keys: &[&Key]| signed(ORIGIN, tree.head(at), keys);
    let log = || (Role::Log, Key::log(ORIGIN, 1));
    let one = || (Role::Cosigner, Key::witness("w1.example", 4));
    let ml_dsa = || (Role::Cosigner, Key::ml_dsa("w3.example", 6));
    let gossip = || (Role::Gossip, Key::log("w1.example", 7));
    let both: &[&Key] = &[&cast.log, &cast.one];
    let leaf = |label: &str| leaf_hash(format!("{label}9").as_bytes());
    let (page, row) = page_of(cast, &a.head(12), true, NOW + 10);
    vec![
        (
            Evidence::same_size(by(&a, 20, both), by(&b, 20, both)).unwrap(),
            vec![log(), one()],
        ),
        (
            Evidence::of_growth(
                &by(&a, 13, &[&cast.log, &cast.ml_dsa]),
                &by(&b, 29, &[&cast.log, &cast.ml_dsa]),
                &b.consistency(13, 29),
            )
            .unwrap(),
            vec![log(), ml_dsa()],
        ),
        (
            Evidence::entry(
                (leaf("a"), &tlog_proof(&a, 9, by(&a, 12, both))),
                (leaf("b"), &tlog_proof(&b, 9, by(&b, 30, both))),
            )
            .unwrap(),
            vec![log(), one()],
        ),
        (
            Evidence::empty(by_empty(&[&cast.log])).unwrap(),
            vec![log()],
        ),
        (
            Evidence::cosigner_regress(
                (cosigned(a.head(12), &cast.one, NOW), time(NOW)),
                (cosigned(a.head(11), &cast.one, NOW + 1), time(NOW + 1)),
                cosigner(&cast.one),
            )
            .unwrap(),
            vec![one()],
        ),
        (
            Evidence::omission(
                page,
                row,
                cosigned(a.head(13), &cast.one, NOW),
                cosigner(&cast.one),
                time(NOW),
            )
            .unwrap(),
            vec![gossip()],
        ),
        (
            Evidence::gossip_equivocation(
                said(Statement::State(state(cast, 8, 1)), &cast.gossip),
                said(Statement::State(state(cast, 8, 2)), &cast.gossip),
            )
            .unwrap(),
            vec![gossip()],
        ),
    ]
}

/// A tree without leaves that has some.
fn by_empty(keys: &[&Key]) -> SignedCheckpoint {
    let head = TreeHead {
        size: size(0),
        root_hash: leaf_hash(b"nothing"),
    };
    signed(ORIGIN, head, keys)
}

fn names(evidence: &Evidence, keys: &KnownKeys) -> Vec<(Role, String)> {
    let verdict = evidence.verify(keys).unwrap();
    let guilty = verdict.guilty.iter();
    guilty
        .map(|guilty| (guilty.role, guilty.key.to_string()))
        .collect()
}

fn no_proof() -> ConsistencyProof {
    ConsistencyProof::default()
}

fn hash(byte: u8) -> Hash {
    Hash::new([byte; 32])
}

// Spec: EVI-03, EVI-10, EVI-11, EVI-12, EVI-13, EVI-14, EVI-15, EVI-16, EVI-40
#[test]
fn every_kind_convicts_exactly_who_signed_both() {
    let cast = Cast::new();
    let mut kinds = Vec::new();
    for (evidence, guilty) in one_of_each(&cast) {
        let expected: Vec<_> = guilty
            .iter()
            .map(|(role, key)| (*role, key.vkey().to_string()))
            .collect();
        assert_eq!(
            names(&evidence, &cast.keys()),
            expected,
            "{}",
            evidence.kind()
        );
        let read = Evidence::parse(&evidence.to_bytes()).unwrap();
        assert_eq!(read, evidence);
        assert_eq!(read.id(), evidence.id());
        assert_eq!(read.verify(&cast.keys()), evidence.verify(&cast.keys()));
        kinds.push(evidence.kind());
    }
    assert_eq!(kinds, Kind::ALL);
}
