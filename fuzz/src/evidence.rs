//! Evidence and statements of gossip: files that anybody may hand in.

use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::cosignature::{cosign, sign_note};
use jurat_proto::entry::{Convicts, Entry, EvidenceEntry};
use jurat_proto::evidence::{Cosigner, Evidence, KnownKeys, ShownRow, Standing};
use jurat_proto::gossip::{
    Flags, OriginId, Page, Random, Row, SignedStatement, State, Statement, Tag,
};
use jurat_proto::hash::{leaf_hash, sha256};
use jurat_proto::key::{Signer, UnixSeconds};
use jurat_proto::note::KeyName;
use jurat_proto::proof::{InclusionProof, prove_consistency, prove_inclusion};
use jurat_proto::tlog_proof::TlogProof;
use jurat_proto::tree::{LeafIndex, TreeHead};

use crate::world::{Add, WORLD, key};
use crate::{canonical, canonical_text};
use jurat_keys::{Algorithm, SigningKey};

/// The name that the witness and its gossip key have.
const WITNESS: &str = "w1.example";

fn gossip_key() -> SigningKey {
    key(WITNESS, Algorithm::Ed25519, 4)
}

fn keys() -> KnownKeys {
    let world = &*WORLD;
    let mut keys = KnownKeys::new();
    let origin = world.origin();
    keys.add_log(origin, world.log.verifier_key().clone(), Standing::Current);
    for key in [&world.witness, &world.witness_ml_dsa] {
        keys.add_cosigner(key.verifier_key().clone())
            .expect("it cosigns");
    }
    let of_the_same = [world.witness.verifier_key().clone()];
    keys.add_gossip(gossip_key().verifier_key().clone(), &of_the_same)
        .expect("they are of the types");
    keys
}

pub(crate) fn evidence(data: &[u8]) {
    let Some(evidence) = canonical(data, Evidence::parse, Evidence::to_bytes) else {
        return;
    };
    let keys = keys();
    let Ok(verdict) = evidence.verify(&keys) else {
        assert!(evidence.minimised(&keys).is_err(), "proven when smaller");
        return;
    };
    assert_eq!(verdict.id, evidence.id());
    let (smallest, again) = evidence.minimised(&keys).expect("it is proven");
    assert_eq!(again, verdict, "minimising changes the verdict");
    assert_eq!(smallest.id(), verdict.id, "minimising changes the id");
    let read = Evidence::parse(&smallest.to_bytes()).expect("what is written is read");
    assert_eq!(read, smallest);
    let verified = read.verify(&keys).expect("it is proven");
    assert_eq!(verified.guilty.len(), verdict.guilty.len());
    let (merged, _) = evidence.merged(&smallest, &keys).expect("it is proven");
    assert_eq!(merged.id(), verdict.id);
}

pub(crate) fn statement(data: &[u8]) {
    canonical_text(data, Statement::parse_text, Statement::to_text);
    let parsed = canonical(data, SignedStatement::parse, SignedStatement::to_bytes);
    let Some(signed) = parsed else { return };
    let (subject, claim) = (signed.statement().subject(), signed.statement().claim());
    assert!(claim.starts_with(&subject), "a claim is about its subject");
}

pub(crate) fn row(data: &[u8]) {
    canonical_text(data, Row::parse, ToString::to_string);
}

/// The head of a history that is not the world's.
fn other_head(size: u64) -> TreeHead {
    TreeHead {
        root_hash: leaf_hash(b"another history"),
        ..WORLD.head(size)
    }
}

fn signed_by_both(head: TreeHead, time: u64) -> SignedCheckpoint {
    let world = &*WORLD;
    let mut checkpoint = world.checkpoint(0);
    checkpoint.head = head;
    let time = UnixSeconds::new(time).expect("a time");
    let lines = vec![
        sign_note(&checkpoint.to_text(), &world.log).expect("the log signs"),
        cosign(&checkpoint, time, &world.witness).expect("a cosigner signs"),
    ];
    SignedCheckpoint::new(checkpoint, lines).expect("a small note")
}

fn said(statement: Statement) -> SignedStatement {
    let line = sign_note(&statement.to_text(), &gossip_key()).expect("it signs");
    SignedStatement::new(statement, vec![line]).expect("a small note")
}

fn state(evidence: TreeHead) -> State {
    State {
        name: KeyName::parse(WITNESS).expect("a name"),
        epoch: Random([1; 16]),
        seq: 7,
        time: UnixSeconds::new(TIME).expect("a time"),
        rows: TreeHead::empty(),
        evidence,
        nonce: Some(Random([2; 16])),
    }
}

fn page(row: &Row) -> Page {
    Page {
        name: KeyName::parse(WITNESS).expect("a name"),
        epoch: Random([1; 16]),
        seq: 7,
        since: 3,
        next: 7,
        time: UnixSeconds::new(TIME + 60).expect("a time"),
        salt: Random([3; 16]),
        rows: Page::rows_head([row]).expect("one row"),
    }
}

fn hiding_row() -> Row {
    let head = WORLD.head(5);
    let origin = WORLD.origin();
    Row {
        origin: OriginId::of(&origin),
        size: head.size,
        tag: Tag::of(&Random([3; 16]), &origin, &head),
        time: UnixSeconds::new(TIME).expect("a time"),
        flags: Flags {
            newest_cosigned: true,
            unresolved: false,
        },
    }
}

const TIME: u64 = 1_790_000_000;

pub(crate) fn seeds(add: Add<'_>) {
    let world = &*WORLD;
    let time = |seconds| UnixSeconds::new(seconds).expect("a time");
    let by = |head| signed_by_both(head, TIME);
    let cosigner = Cosigner {
        name: world.witness.verifier_key().name().clone(),
        key_id: world.witness.verifier_key().key_id(),
    };
    let mut evidence = |name, evidence: Evidence| add("evidence", name, evidence.to_bytes());
    let same_size = Evidence::same_size(by(world.head(13)), by(other_head(13)));
    let same_size = same_size.expect("two roots");
    let logged = EvidenceEntry::all_of(&same_size, Convicts::Log);
    let file = same_size.to_bytes();
    evidence("same_size", same_size);
    let (from, to) = (world.head(7).size, world.head(13).size);
    let proof = prove_consistency(from, to, &world.nodes).expect("all nodes are there");
    let opening = Evidence::of_growth(&by(other_head(7)), &by(world.head(13)), &proof);
    evidence(
        "opening",
        opening.expect("the proof reaches the newer root"),
    );
    let mut nonsense = TreeHead::empty();
    nonsense.root_hash = leaf_hash(b"nothing");
    evidence("empty", Evidence::empty(by(nonsense)).expect("nonsense"));
    let index = LeafIndex::new(0).expect("an index");
    let proof = prove_inclusion(index, to, &world.nodes).expect("all nodes are there");
    let proof = TlogProof::new(None, index, proof, by(world.head(13))).expect("a proof");
    let alone = leaf_hash(b"the only leaf");
    let mut head = world.head(1);
    head.root_hash = alone;
    let other = TlogProof::new(None, index, InclusionProof::default(), by(head)).expect("a proof");
    let entry = Evidence::entry((leaf_hash(b"leaf 0"), &proof), (alone, &other));
    evidence("entry", entry.expect("two entries"));
    let regress = Evidence::cosigner_regress(
        (signed_by_both(world.head(13), TIME), time(TIME)),
        (signed_by_both(world.head(12), TIME + 1), time(TIME + 1)),
        cosigner.clone(),
    );
    evidence("cosigner_regress", regress.expect("it went back"));
    let row = hiding_row();
    let shown = ShownRow {
        row,
        root: world.head(5).root_hash,
        index,
        proof: InclusionProof::default(),
    };
    let signed_page = said(Statement::Page(page(&row)));
    let hidden = by(world.head(13));
    let omission = Evidence::omission(signed_page.clone(), shown, hidden, cosigner, time(TIME));
    evidence("omission", omission.expect("it hid a head"));
    let states = [TreeHead::empty(), world.head(1)].map(|head| said(Statement::State(state(head))));
    let [one, other] = states;
    let equivocation = Evidence::gossip_equivocation(one.clone(), other);
    evidence("gossip_equivocation", equivocation.expect("two claims"));
    let whole = logged.into_iter().next().expect("it fits one entry");
    add("entry", "evidence", Entry::Evidence(whole).to_bytes());
    let head = format!(
        "jurat-entry/v1 evidence\nconvicts keys\npart 2 2 {}\n",
        sha256(&file)
    );
    let part = [head.into_bytes(), file].concat();
    assert!(Entry::parse(&part).is_ok());
    add("entry", "evidence_part", part);
    add("statement", "state", one.to_bytes());
    add("statement", "page", signed_page.to_bytes());
    add(
        "statement",
        "text",
        signed_page.statement().to_text().into_bytes(),
    );
    add("gossip_row", "newest", row.to_string().into_bytes());
}
