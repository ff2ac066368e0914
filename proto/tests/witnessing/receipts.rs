//! Rows of `spec/receipt.md`.

use jurat_proto::checkpoint::{SignaturesError, SignedCheckpoint};
use jurat_proto::entry::{CheckpointEntry, ClockEntry, ClockEvent, Entry, EntryError};
use jurat_proto::key::UnixSeconds;
use jurat_proto::policy::{Policy, PolicyError, WitnessVerdict};
use jurat_proto::proof::ProofError;
use jurat_proto::receipt::{AnchoredError, ProvenEntry, Receipt, ReceiptError, ReceiptVerdict};
use jurat_proto::tlog_proof::{self, TlogProof, VerifyError};
use jurat_proto::tree::LeafIndex;
use proptest::prelude::*;

use crate::signing::{Key, NOW, Tree, signed};

/// The service that gives receipts, and the log that anchors with it.
pub(crate) const SERVICE: &str = "jurat.example/log";
const ANCHORED: &str = "anchored.example/log";

pub(crate) fn service() -> Key {
    Key::log(SERVICE, 1)
}

pub(crate) fn witnesses() -> [Key; 3] {
    [2, 3, 4].map(|n| Key::witness(&format!("w{n}.example"), n))
}

pub(crate) fn policy() -> Policy {
    let mut text = format!("log {}\n", service().vkey());
    for (name, key) in ["a", "b", "c"].iter().zip(witnesses()) {
        text += &format!("witness {name} {}\n", key.vkey());
    }
    text += "group g 2 a b c\nquorum g\n";
    Policy::parse(text.as_bytes()).unwrap()
}

pub(crate) fn entry(size: usize) -> Entry {
    let signed = signed(
        ANCHORED,
        Tree::new(9, "a").head(size),
        &[&Key::log(ANCHORED, 9)],
    );
    Entry::Checkpoint(CheckpointEntry::new(&signed, &[0]).unwrap())
}

/// The service's log has anchored sizes 1 to 9; the receipt is for entry 6, size 7.
pub(crate) fn tree() -> Tree {
    Tree::of(
        &(1..=9)
            .map(|size| entry(size).to_bytes())
            .collect::<Vec<_>>(),
    )
}

fn receipt(keys: &[&Key]) -> Receipt {
    receipt_of(signed(SERVICE, tree().head(9), keys))
}

pub(crate) fn receipt_of(checkpoint: SignedCheckpoint) -> Receipt {
    let index = LeafIndex::new(6).unwrap();
    Receipt::new(entry(7), index, tree().inclusion(6, 9), checkpoint).unwrap()
}

fn good() -> Receipt {
    let [a, _, c] = witnesses();
    receipt(&[&service(), &a, &c])
}

// Spec: RCP-01
#[test]
fn a_receipt_is_a_tlog_proof_with_the_entry() {
    let receipt = good();
    let file = receipt.to_bytes();
    let proof = TlogProof::parse(&file).unwrap();
    assert_eq!(proof.extra(), Some(entry(7).to_bytes().as_slice()));
    assert_eq!(proof.index().get(), 6);
    let parsed = Receipt::parse(&file).unwrap();
    assert_eq!(parsed, receipt);
    assert_eq!((parsed.entry(), parsed.tlog_proof()), (&entry(7), &proof));
    // Whoever knows tlog-proofs and the entry can verify it, and knows nothing of receipts.
    proof.verify(&entry(7).leaf_hash(), &policy()).unwrap();
}

// Spec: RCP-02, RCP-03
#[test]
fn other_proofs_are_no_receipts() {
    let receipt = good();
    let proof = receipt.tlog_proof();
    let with = |extra: Option<&[u8]>| {
        let (inclusion, checkpoint) = (proof.proof().clone(), proof.checkpoint().clone());
        let extra = extra.map(Vec::from);
        let file = TlogProof::new(extra, proof.index(), inclusion, checkpoint)
            .unwrap()
            .to_bytes();
        Receipt::parse(&file)
    };
    assert_eq!(with(None), Err(ReceiptError::NoEntry));
    assert_eq!(
        with(Some(b"opaque")),
        Err(ReceiptError::Entry(EntryError::NoFirstLine))
    );
    let unknown = EntryError::UnknownKind {
        kind: "later".into(),
    };
    assert_eq!(
        with(Some(b"jurat-entry/v1 later\n")),
        Err(ReceiptError::Entry(unknown))
    );
    assert!(matches!(
        Receipt::parse(b"no proof\n"),
        Err(ReceiptError::Proof(tlog_proof::ParseError::Magic { .. }))
    ));
}

// Spec: RCP-05
#[test]
fn a_receipt_proves_log_place_entry_and_witnesses() {
    let time = UnixSeconds::new(NOW);
    let verdict = good().verify(&policy()).unwrap();
    let want = ReceiptVerdict {
        log: 0,
        origin: service().vkey().name().as_str().parse().unwrap(),
        index: LeafIndex::new(6).unwrap(),
        head: tree().head(9),
        entry: ProvenEntry::Checkpoint {
            origin: ANCHORED.parse().unwrap(),
            head: Tree::new(9, "a").head(7),
        },
        witnesses: vec![
            WitnessVerdict { witness: 0, time },
            WitnessVerdict { witness: 2, time },
        ],
    };
    assert_eq!(verdict, want);
    assert_eq!(verdict.entry.kind(), "checkpoint");
}

// Spec: RCP-05
#[test]
fn a_receipt_fails_closed_without_its_quorum() {
    let [a, _, _] = witnesses();
    let error = receipt(&[&service(), &a]).verify(&policy()).unwrap_err();
    let VerifyError::Policy(PolicyError::QuorumNotMet { unmet }) = &error else {
        panic!("{error:?}");
    };
    let missing: Vec<String> = unmet[0].missing.iter().map(ToString::to_string).collect();
    assert_eq!(missing, ["b", "c"]);
    // A log that is not the policy's, though it signs for itself.
    let tree = tree();
    let other = Key::log("other.example", 7);
    let checkpoint = signed("other.example", tree.head(9), &[&other, &a]);
    let index = LeafIndex::new(6).unwrap();
    let receipt = Receipt::new(entry(7), index, tree.inclusion(6, 9), checkpoint).unwrap();
    assert!(matches!(
        receipt.verify(&policy()),
        Err(VerifyError::Policy(PolicyError::UnknownLog { .. }))
    ));
}

// Spec: RCP-04
#[test]
fn another_entry_in_the_same_proof_does_not_verify() {
    let receipt = good();
    let proof = receipt.tlog_proof();
    for size in (1..=9).filter(|&size| size != 7) {
        let (inclusion, checkpoint) = (proof.proof().clone(), proof.checkpoint().clone());
        let other = Receipt::new(entry(size), proof.index(), inclusion, checkpoint).unwrap();
        assert!(matches!(
            other.verify(&policy()),
            Err(VerifyError::Inclusion(ProofError::RootMismatch { .. }))
        ));
    }
}

// Spec: RCP-06
#[test]
fn the_anchored_signature_is_proven_with_the_anchored_logs_key() {
    let receipt = good();
    let key = Key::log(ANCHORED, 9).vkey();
    let verified = receipt.verify_anchored(&[service().vkey(), key]).unwrap();
    assert_eq!((verified.len(), verified[0].key_index), (1, 1));
    let time = UnixSeconds::new(NOW).unwrap();
    let clock = ClockEntry::new(ClockEvent::Lost, time, "stepped").unwrap();
    let tree = tree();
    let (index, proof) = (LeafIndex::new(6).unwrap(), tree.inclusion(6, 9));
    let checkpoint = receipt.tlog_proof().checkpoint().clone();
    let other = Receipt::new(Entry::Clock(clock), index, proof, checkpoint).unwrap();
    assert_eq!(
        other.verify_anchored(&[service().vkey()]),
        Err(AnchoredError::NotCheckpoint { kind: "clock" })
    );
    for keys in [
        vec![],
        vec![service().vkey()],
        vec![Key::log(ANCHORED, 8).vkey()],
    ] {
        assert_eq!(
            receipt.verify_anchored(&keys),
            Err(AnchoredError::Signatures(SignaturesError::NoKnownSignature))
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Of all files one byte away from a receipt, those that verify say the same.
    // Spec: RCP-04
    #[test]
    fn a_changed_byte_proves_nothing_else(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut file = good().to_bytes();
        let at = at.index(file.len());
        file[at] = byte;
        if let Ok(receipt) = Receipt::parse(&file) {
            prop_assert_eq!(receipt.to_bytes(), file);
            if let Ok(verdict) = receipt.verify(&policy()) {
                prop_assert_eq!(verdict, good().verify(&policy()).unwrap());
            }
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(file in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Receipt::parse(&file);
    }
}
