//! Rows of `spec/receipt.md` about COSE.

use jurat_proto::base64;
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::cose::receipt::{
    COSE_RECEIPT_BYTES_MAX, CoseReceipt, NoRootSignature, ReceiptError, VerifyError,
};
use jurat_proto::cose::{Sign1, sign_root};
use jurat_proto::hash::{Hash, leaf_hash, sha256};
use jurat_proto::hex;
use jurat_proto::key::{SignatureType, Signer as _, VerifierKey};
use jurat_proto::note::SignatureLine;
use jurat_proto::policy::{Policy, PolicyError};
use jurat_proto::proof::ProofError;
use jurat_proto::receipt::Receipt;
use jurat_proto::tree::TreeHead;
use minicbor::data::Tag;
use minicbor::{Decoder, Encoder};
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;
use proptest::prelude::*;

use crate::receipts::{SERVICE, entry, policy, receipt_of, service, tree, witnesses};
use crate::signing::{Key, signed, unsigned};

/// A checkpoint of the service's, with the line that signs its root, and cosigned by two.
fn checkpoint(head: TreeHead) -> SignedCheckpoint {
    let [a, _, c] = witnesses();
    let signed = signed(SERVICE, head, &[&service(), &a, &c]);
    let line = sign_root(signed.checkpoint(), &service()).unwrap();
    let all: Vec<usize> = (0..signed.signatures().len()).collect();
    signed.with_signatures(&all, &[line]).unwrap()
}

fn receipt() -> Receipt {
    receipt_of(checkpoint(tree().head(9)))
}

fn good() -> CoseReceipt {
    CoseReceipt::new(&receipt()).unwrap()
}

fn leaf() -> Hash {
    entry(7).leaf_hash()
}

/// The service's log, and no witness asked for.
fn alone() -> Policy {
    Policy::parse(format!("log {}\nquorum none\n", service().vkey()).as_bytes()).unwrap()
}

/// A message of these parts; the signature is the service's over the root, under that header.
fn message(protected: &[u8], unprotected: &[u8], payload: &[u8], root: &Hash) -> Vec<u8> {
    let mut to_sign = Encoder::new(Vec::new());
    to_sign.array(4).unwrap().str("Signature1").unwrap();
    to_sign.bytes(protected).unwrap().bytes(&[]).unwrap();
    to_sign.bytes(root.as_bytes()).unwrap();
    let signature = service().sign(&to_sign.into_writer()).unwrap();
    let mut bytes = Encoder::new(Vec::new());
    bytes.tag(Tag::new(18)).unwrap().array(4).unwrap();
    bytes.bytes(protected).unwrap();
    let mut bytes = [&bytes.into_writer(), unprotected, payload].concat();
    Encoder::new(&mut bytes).bytes(&signature).unwrap();
    bytes
}

/// The fields of a message: the content of the protected header, and the others as they are.
fn fields(bytes: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let mut decoder = Decoder::new(bytes);
    decoder.tag().unwrap();
    decoder.array().unwrap();
    let protected = decoder.bytes().unwrap().to_vec();
    let mut next = || {
        let from = decoder.position();
        decoder.skip().unwrap();
        bytes[from..decoder.position()].to_vec()
    };
    (protected, next(), next())
}

// Spec: RCP-11, RCP-14, RCP-15, RCP-16
#[test]
fn a_receipt_in_cose_proves_what_the_receipt_does() {
    let cose = good();
    let bytes = cose.to_bytes();
    assert!(CoseReceipt::is_one(&bytes));
    let parsed = CoseReceipt::parse(&bytes).unwrap();
    assert_eq!((&parsed, parsed.to_bytes()), (&cose, bytes.clone()));
    assert_eq!(parsed.entry(), Some(&entry(7)));
    assert_eq!(parsed.checkpoint(), Some(&checkpoint(tree().head(9))));

    assert_eq!(parsed.to_receipt(), Some(receipt()));

    let verdict = parsed.verify(&leaf(), &policy()).unwrap();
    let expected = receipt().verify(&policy()).unwrap();
    assert_eq!(verdict.origin, expected.origin.as_str());
    assert_eq!((verdict.log, verdict.index), (expected.log, expected.index));
    assert_eq!(
        (verdict.head, verdict.witnesses),
        (expected.head, expected.witnesses)
    );

    // Byte for byte: five labels in ascending order, and three below.
    let id = hex::encode(service().vkey().key_id().as_bytes());
    let origin = hex::encode(SERVICE.as_bytes());
    let (protected, unprotected, payload) = fields(&bytes);
    assert_eq!(
        hex::encode(&protected),
        format!("a5012704 44{id} 0fa10171{origin} 19018b01 3a5f23d36d09").replace(' ', "")
    );
    let start = "a3 19018c a1 20 81 58".replace(' ', "");
    assert!(hex::encode(&unprotected).starts_with(&start));
    assert_eq!(payload, [0xf6]);
    // The smallest tree has an empty path.
    let first = checkpoint(tree().head(1));
    let index = jurat_proto::tree::LeafIndex::new(0).unwrap();
    let first = Receipt::new(entry(1), index, tree().inclusion(0, 1), first).unwrap();
    let first = CoseReceipt::new(&first).unwrap();
    assert!(hex::encode(&first.to_bytes()).contains(&"a1 20 81 44 83010080".replace(' ', "")));
    let again = CoseReceipt::parse(&first.to_bytes()).unwrap();
    again.verify(&entry(1).leaf_hash(), &policy()).unwrap();
}

// Spec: RCP-12, RCP-13
#[test]
fn the_line_that_signs_a_root_is_by_the_logs_key_and_of_a_type_of_its_own() {
    let checkpoint = unsigned(SERVICE, tree().head(9));
    let line = sign_root(&checkpoint, &service()).unwrap();
    let vkey = service().vkey();
    assert_eq!(line.name(), vkey.name());
    assert_ne!(line.key_id(), vkey.key_id());
    assert!(!vkey.matches(&line), "who knows the key ignores the line");
    let (id, signature) = line.signature().split_at(4);
    assert_eq!(id, vkey.key_id().as_bytes());
    assert_eq!(signature.len(), 64);
    // The id of the line, as C2SP signed-note has it for a type without a byte.
    let mut hashed = format!("{SERVICE}\n\u{7f}rfc9942 RFC9162_SHA256").into_bytes();
    hashed[SERVICE.len() + 1] = 0xff;
    hashed.extend_from_slice(vkey.public_key_bytes());
    let hash = sha256(&hashed);
    assert_eq!(line.key_id().as_bytes(), &hash.as_bytes()[..4]);
    // What is signed is no text, so that no note has this signature, and the other way round.
    let text = checkpoint.to_text();
    vkey.verify_note(&text, signature).unwrap_err();
    // Other keys sign no root.
    for other in [Key::witness(SERVICE, 1), Key::ml_dsa(SERVICE, 1)] {
        sign_root(&checkpoint, &other).unwrap_err();
    }
}

// Spec: RCP-12
#[test]
fn what_is_signed_in_cose_begins_no_text() {
    struct Recording(VerifierKey, std::sync::Mutex<Vec<u8>>);
    impl jurat_proto::key::Signer for Recording {
        fn verifier_key(&self) -> &VerifierKey {
            &self.0
        }
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, jurat_proto::key::SignerError> {
            *self.1.lock().unwrap() = message.to_vec();
            Ok(vec![0; 64])
        }
    }
    let recording = Recording(service().vkey(), Vec::new().into());
    sign_root(&unsigned(SERVICE, tree().head(9)), &recording).unwrap();
    let message = recording.1.into_inner().unwrap();
    assert_eq!(message[..12], *b"\x84\x6aSignature1");
    assert_eq!(std::str::from_utf8(&message).unwrap_err().valid_up_to(), 0);
}

// Spec: RCP-15
#[test]
fn without_the_line_of_its_log_there_is_no_receipt_in_cose() {
    let [a, b, _] = witnesses();
    let plain = signed(SERVICE, tree().head(9), &[&service(), &a, &b]);
    let none = |signed: SignedCheckpoint| CoseReceipt::new(&receipt_of(signed)).unwrap_err();
    assert_eq!(none(plain.clone()), NoRootSignature);
    // Neither another's line is one, nor one that names no key of the log that signed.
    let line = sign_root(plain.checkpoint(), &service()).unwrap();
    let renamed = SignatureLine::new(
        a.vkey().name().clone(),
        line.key_id(),
        line.signature().to_vec(),
    );
    let stranger = sign_root(plain.checkpoint(), &Key::log(SERVICE, 8)).unwrap();
    for other in [renamed.unwrap(), stranger] {
        let with = plain.with_signatures(&[0, 1, 2], &[other]).unwrap();
        assert_eq!(none(with), NoRootSignature);
    }
}

// Spec: RCP-16, RCP-17
#[test]
fn a_root_that_only_the_log_signed_is_not_good_where_witnesses_are_asked_for() {
    // The owner of the log shows somebody a history of their own: signed in COSE, and nowhere else.
    let forked = crate::signing::Tree::new(9, "forked");
    let root = forked.head(9).root_hash;
    let leaf = leaf_hash(b"forked6");
    let (protected, _, payload) = fields(&good().to_bytes());
    let path = forked.inclusion(6, 9);
    let mut inclusion = Encoder::new(Vec::new());
    inclusion.array(3).unwrap().u64(9).unwrap().u64(6).unwrap();
    inclusion
        .array(u64::try_from(path.hashes().len()).unwrap())
        .unwrap();
    for hash in path.hashes() {
        inclusion.bytes(hash.as_bytes()).unwrap();
    }
    let inclusion = inclusion.into_writer();
    let unprotected = |more: Option<&[u8]>| {
        let mut map = Encoder::new(Vec::new());
        map.map(1 + u64::from(more.is_some()))
            .unwrap()
            .u64(396)
            .unwrap();
        map.map(1).unwrap().i8(-1).unwrap().array(1).unwrap();
        map.bytes(&inclusion).unwrap();
        if let Some(note) = more {
            map.i64(-1_596_183_407).unwrap().bytes(note).unwrap();
        }
        map.into_writer()
    };
    let bytes = message(&protected, &unprotected(None), &payload, &root);
    let bare = CoseReceipt::parse(&bytes).unwrap();
    assert_eq!(
        bare.verify(&leaf, &policy()),
        Err(VerifyError::NoCheckpoint)
    );
    let verdict = bare.verify(&leaf, &alone()).unwrap();
    assert_eq!(verdict.witnesses, []);
    assert_eq!(verdict.head, forked.head(9));
    // With the checkpoint that was witnessed, it is of another tree; with theirs, nobody cosigned.
    let witnessed = checkpoint(tree().head(9)).to_bytes();
    let bytes = message(&protected, &unprotected(Some(&witnessed)), &payload, &root);
    let error = CoseReceipt::parse(&bytes).unwrap().verify(&leaf, &policy());
    let Err(VerifyError::Inclusion(ProofError::RootMismatch { .. })) = error else {
        panic!("{error:?}");
    };
    let own = signed(SERVICE, forked.head(9), &[&service()]).to_bytes();
    let bytes = message(&protected, &unprotected(Some(&own)), &payload, &root);
    let error = CoseReceipt::parse(&bytes).unwrap().verify(&leaf, &policy());
    let Err(VerifyError::Policy(PolicyError::QuorumNotMet { .. })) = error else {
        panic!("{error:?}");
    };
    // A checkpoint of another size than was signed in COSE is refused at once.
    let smaller = checkpoint(tree().head(8)).to_bytes();
    let bytes = message(&protected, &unprotected(Some(&smaller)), &payload, &root);
    assert_eq!(
        CoseReceipt::parse(&bytes),
        Err(ReceiptError::OtherCheckpoint)
    );
}

// Spec: RCP-14, RCP-16, RCP-18
#[test]
fn a_witnessed_checkpoint_does_not_replace_the_signature_in_cose() {
    let root = tree().head(9).root_hash;
    let (protected, unprotected, payload) = fields(&good().to_bytes());
    let parsed = |bytes: &[u8]| CoseReceipt::parse(bytes);
    let same = message(&protected, &unprotected, &payload, &root);
    assert_eq!(same, good().to_bytes(), "Ed25519 gives one signature");
    let another = message(&protected, &unprotected, &payload, &leaf());
    let error = parsed(&another).unwrap().verify(&leaf(), &policy());
    assert_eq!(error, Err(VerifyError::NotSigned));
    // Another log's word, and another entry.
    let text = policy().to_bytes();
    let text = String::from_utf8(text).unwrap();
    let vkey = service().vkey().to_string();
    let stranger = text.replace(&vkey, &Key::log(SERVICE, 8).vkey().to_string());
    let stranger = Policy::parse(stranger.as_bytes()).unwrap();
    let error = good().verify(&leaf(), &stranger);
    assert!(matches!(error, Err(VerifyError::Policy(_))), "{error:?}");
    let error = good().verify(&entry(6).leaf_hash(), &policy());
    assert!(matches!(error, Err(VerifyError::Inclusion(_))), "{error:?}");
    // The header is signed: with another size, or without it, nothing fits.
    let header = |from: &str, to: &str| {
        let changed = hex::encode(&protected).replace(from, to);
        assert_ne!(changed, hex::encode(&protected));
        message(
            &hex::decode(&changed).unwrap(),
            &unprotected,
            &payload,
            &root,
        )
    };
    let other_size = header("3a5f23d36d09", "3a5f23d36d08");
    assert_eq!(parsed(&other_size), Err(ReceiptError::OtherSize));
    let without_size = header("3a5f23d36d09", "3a5f23d36a09");
    let unnamed = header("0fa10171", "0fa10271");
    for other in [without_size, unnamed] {
        assert_eq!(parsed(&other), Err(ReceiptError::OtherCheckpoint));
    }
    // The key id is a hint.
    let id = hex::encode(service().vkey().key_id().as_bytes());
    let hinted = parsed(&header(&id, "00000000")).unwrap();
    hinted.verify(&leaf(), &policy()).unwrap();
    // Ed25519 is what RFC 9864 calls the same algorithm; ES256 is not what the key signs with.
    let renamed = parsed(&header("a50127", "a50132")).unwrap();
    renamed.verify(&leaf(), &policy()).unwrap();
    let es256 = parsed(&header("a50127", "a50126")).unwrap();
    assert_eq!(
        es256.verify(&leaf(), &policy()),
        Err(VerifyError::NotSigned)
    );
}

/// One path leads to one root from trees of several sizes, so an unsigned size is nobody's word.
// Spec: RCP-14
#[test]
fn a_size_that_is_not_signed_can_be_changed_and_is_said_to_be_so() {
    let root = tree().head(9).root_hash;
    let (protected, _, payload) = fields(&good().to_bytes());
    let sized = |size: u64| {
        let path = tree().inclusion(6, 9);
        let mut inclusion = Encoder::new(Vec::new());
        inclusion
            .array(3)
            .unwrap()
            .u64(size)
            .unwrap()
            .u64(6)
            .unwrap();
        inclusion.array(4).unwrap();
        for hash in path.hashes() {
            inclusion.bytes(hash.as_bytes()).unwrap();
        }
        let mut map = Encoder::new(Vec::new());
        map.map(1)
            .unwrap()
            .u64(396)
            .unwrap()
            .map(1)
            .unwrap()
            .i8(-1)
            .unwrap();
        map.array(1)
            .unwrap()
            .bytes(&inclusion.into_writer())
            .unwrap();
        map.into_writer()
    };
    let plain = hex::decode("a2012719018b01").unwrap();
    for size in [9, 10, 16] {
        let receipt = message(&plain, &sized(size), &payload, &root);
        let receipt = CoseReceipt::parse(&receipt).unwrap();
        assert!(!receipt.size_is_signed());
        let verdict = receipt.verify(&leaf(), &alone()).unwrap();
        assert_eq!(verdict.head.size.get(), size);
    }
    let signed = |size| CoseReceipt::parse(&message(&protected, &sized(size), &payload, &root));
    assert!(signed(9).unwrap().size_is_signed());
    assert_eq!(signed(10), Err(ReceiptError::OtherSize));
}

// Spec: RCP-10
#[test]
fn what_is_no_cose_receipt_is_refused() {
    let root = tree().head(9).root_hash;
    let (protected, unprotected, payload) = fields(&good().to_bytes());
    let read = |bytes: &[u8]| CoseReceipt::parse(bytes).unwrap_err();
    let header = |text: &str| {
        let protected = hex::decode(text).unwrap();
        read(&message(&protected, &unprotected, &payload, &root))
    };
    assert_eq!(
        header("a20126 19018b02".replace(' ', "").as_str()),
        ReceiptError::OtherTree
    );
    for (text, error) in [
        ("", ReceiptError::NotDeterministic),
        ("80", ReceiptError::NotDeterministic),
        ("a0", ReceiptError::OtherTree),
        ("a10126", ReceiptError::OtherTree),
        ("a1390001", ReceiptError::NotDeterministic),
        ("a119018b01", ReceiptError::Algorithm),
        ("a2012919018b01", ReceiptError::Algorithm),
        ("a301260127 19018b01", ReceiptError::NotDeterministic),
        ("a2012619018b1801", ReceiptError::NotDeterministic),
        ("a3012602810119018b01", ReceiptError::Critical),
        ("a2012619018b01", ReceiptError::OtherCheckpoint),
    ] {
        assert_eq!(header(&text.replace(' ', "")), error, "{text}");
    }
    // Without the size under the signature, which would have to be the proof's.
    let plain = hex::decode("a2012719018b01").unwrap();
    let unsigned = |text: &str| {
        let unprotected = hex::decode(&text.replace(' ', "")).unwrap();
        read(&message(&plain, &unprotected, &payload, &root))
    };
    for (text, error) in [
        ("a0", ReceiptError::Proofs),
        ("a1 19018c a0", ReceiptError::Proofs),
        ("a1 19018c a1 21 81 44 83010080", ReceiptError::Proofs),
        ("a1 19018c a1 20 80", ReceiptError::Proofs),
        (
            "a1 19018c a1 20 82 44 83010080 44 83010080",
            ReceiptError::Proofs,
        ),
        (
            "a1 19018c a2 20 81 44 83010080 21 81 44 83010080",
            ReceiptError::Proofs,
        ),
        ("a1 19018c a1 20 81 83010080", ReceiptError::Proofs),
        ("a1 19018c a1 20 81 45 83010081 40", ReceiptError::Proofs),
        (
            "a1 19018c a1 20 81 45 8301008000",
            ReceiptError::NotDeterministic,
        ),
        (
            "a1 19018c a1 20 81 45 831801 0080",
            ReceiptError::NotDeterministic,
        ),
        ("a1 19018c a1 20 81 46 9f0100 80ff00", ReceiptError::Proofs),
        (
            "a1 19018c b801 20 81 44 83010080",
            ReceiptError::NotDeterministic,
        ),
        (
            "a2 19018c a1 20 81 44 83010080 3a5f23d36e 00",
            ReceiptError::Header,
        ),
        (
            "a2 19018c a1 20 81 44 83010080 19018c 00",
            ReceiptError::Header,
        ),
    ] {
        assert_eq!(unsigned(text), error, "{text}");
    }
    let with = |unprotected: &str| {
        let bytes = hex::decode(&unprotected.replace(' ', "")).unwrap();
        read(&message(&plain, &bytes, &payload, &root))
    };
    let note = with("a2 19018c a1 20 81 44 83010080 3a5f23d36e 40");
    assert!(matches!(note, ReceiptError::Checkpoint(_)), "{note:?}");
    let entry = with("a2 19018c a1 20 81 44 83010080 3a5f23d36f 40");
    assert!(matches!(entry, ReceiptError::Entry(_)), "{entry:?}");
    // More hashes than any proof has.
    let mut long = Encoder::new(Vec::new());
    long.array(3)
        .unwrap()
        .u64(9)
        .unwrap()
        .u64(6)
        .unwrap()
        .array(64)
        .unwrap();
    for _ in 0..64 {
        long.bytes(&[0; 32]).unwrap();
    }
    let mut map = Encoder::new(Vec::new());
    map.map(1)
        .unwrap()
        .u64(396)
        .unwrap()
        .map(1)
        .unwrap()
        .i8(-1)
        .unwrap();
    map.array(1).unwrap().bytes(&long.into_writer()).unwrap();
    let path = read(&message(&protected, &map.into_writer(), &payload, &root));
    assert!(matches!(path, ReceiptError::Path(_)), "{path:?}");

    let bytes = good().to_bytes();
    assert_eq!(read(&bytes[1..]), ReceiptError::Untagged);
    let attached = message(&protected, &unprotected, &[0x40], &root);
    assert_eq!(read(&attached), ReceiptError::Attached);
    assert!(matches!(
        read(&[&bytes[..], b"\0"].concat()),
        ReceiptError::Message(_)
    ));
    let bytes = COSE_RECEIPT_BYTES_MAX + 1;
    assert_eq!(read(&vec![0xd2; bytes]), ReceiptError::TooLong { bytes });
    // A message with a time-stamp in it is one, and no receipt.
    let stamped = "d28443a10126a1 19010e 4100 f640".replace(' ', "");
    let stamped = hex::decode(&stamped).unwrap();
    Sign1::parse(&stamped).unwrap();
    assert_eq!(read(&stamped), ReceiptError::OtherTree);
}

/// Made by `@transmute/cose` 0.2.11, whose author edits RFC 9942, with ES256: entry 17 of 20, with
/// the tree of that RFC's example, and the one entry of a tree.
const TRANSMUTE: [&str; 2] = [
    "d2845835a3012604582b545a415977736c64346a46376b534a6468645f55504d4d746f437569756462644741636b31\
     65544772784119018b01a119018ca12081586a831411835820fc9f050f173ee54d0a9066f77c155e1cb7f78ef44d03\
     3b2e31c25ff9221c92cb5820bd0136adaed4d7fcef82529e989a000f59931a27aa0fd0d8af351ca76b28cf215820d6\
     8af9d65a15d7887efe689f912101699dec2b2ded031e0ce7c2a2db93b1632bf65840b3e3acdd360f5f6ea1d38ec92b\
     e19ca58098790596ffc688e2964eba515a7337cdaa925ea3648efb28d41872d7be0b0426372cf95996e5b7c879f646\
     3b601991",
    "d2845835a3012604582b545a415977736c64346a46376b534a6468645f55504d4d746f437569756462644741636b31\
     65544772784119018b01a119018ca120814483010080f658402c112d6eb9afc159fa8e09cd9e842e6fe6ee9ce9e71e\
     9b891866f44a6d2b4d213fc584e5393376ecc8defa7bb7c6a3bbc5b2b25654631e4c465e276bcda26fdc",
];
const TRANSMUTE_KEY: &str = "transmute.example+b79b42ed+AjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABH1qGg1\
    FuSSIvC9SHW2cmaFxvRIHji+K7R8on9KYB1eswA3Di9nuy4eamwApZKrXkxaNsl+JlDivQg/DMXSz/eU=";

/// Made by pycose 1.1.0 with `EdDSA`, of the same tree.
const PYCOSE: &str = "d2844fa3012704467079636f736519018b01a119018ca12081586a831411835820fc9f050f173\
    ee54d0a9066f77c155e1cb7f78ef44d033b2e31c25ff9221c92cb5820bd0136adaed4d7fcef82529e989a000f59931a\
    27aa0fd0d8af351ca76b28cf215820d68af9d65a15d7887efe689f912101699dec2b2ded031e0ce7c2a2db93b1632bf\
    65840650afbce2ac10e8d32e9b3d7f34027738e8929013202438da2a950a7b44fb5f09a53671880799f11b9630eff0e\
    2343ab1edbf7c325974e8ca5e55a238f36cf0a";
const PYCOSE_KEY: &str = "pycose.example+616411da+AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs";

/// `examples/inclusion-receipt.cbor` of the draft that became RFC 9942; its key is not public.
const DRAFT: &str = "d2845840a40126044a746573742d6b65792d3119018b010fa10178286874\
    7470733a2f2f7472616e73706172656e63792d736572766963652e6578616d706c652e636f6da119018ca1208158\
    6a8305038358203d06455dd33da4e9bbd8090677a2d0955e6dffe4b92069605a468920d1198095582033a5211719\
    e06238a191c7244a7633187da2c9aaa5bc6dec54e2cbb49825543458204d75742d9ea02f7767dcd554a7878ff22c\
    db208be9f3d35f7aa7700b57e741c0f6584034e81008fb0e4e521657668745450df608d0e5c015dffc5d607dd782\
    36c2908f4e2b643817d9191d0abd7c074aff2b1bfda519ab3fab210ff2e0a1de275de6a7";

// Spec: RCP-10, RCP-17, RCP-18
#[test]
fn receipts_that_others_made_verify_with_the_key_of_their_log() {
    let of = |key: &str| Policy::parse(format!("log {key}\nquorum none\n").as_bytes()).unwrap();
    let read = |text: &str| {
        let bytes = hex::decode(text).unwrap();
        let receipt = CoseReceipt::parse(&bytes).unwrap();
        assert_eq!(receipt.to_bytes(), bytes);
        assert_eq!((receipt.entry(), receipt.checkpoint()), (None, None));
        receipt
    };
    let [transmute, first] = TRANSMUTE.map(read);
    for (receipt, key, entry, other_key) in [
        (&transmute, TRANSMUTE_KEY, "entry-17", PYCOSE_KEY),
        (&first, TRANSMUTE_KEY, "entry-0", PYCOSE_KEY),
        (&read(PYCOSE), PYCOSE_KEY, "entry-17", TRANSMUTE_KEY),
    ] {
        let leaf = leaf_hash(entry.as_bytes());
        let verdict = receipt.verify(&leaf, &of(key)).unwrap();
        assert_eq!(format!("entry-{}", verdict.index), entry);
        assert_eq!(verdict.witnesses, []);
        for (leaf, key) in [(leaf, other_key), (leaf_hash(b"entry-16"), key)] {
            let error = receipt.verify(&leaf, &of(key));
            assert_eq!(error, Err(VerifyError::NotSigned));
        }
    }
    let head = transmute
        .verify(&leaf_hash(b"entry-17"), &of(TRANSMUTE_KEY))
        .unwrap();
    assert_eq!(
        hex::encode(head.head.root_hash.as_bytes()),
        "a9a39066a116c15dc7093e219d1330b3aea78e98f28b3a78f2ad1d4dceadaafd"
    );
    read(DRAFT);
    // A signature that is none in P-256, of a key that is.
    let zero = TRANSMUTE[1].replace("2c112d6eb9afc159", "0000000000000000");
    let zero = zero.split_at(zero.len() - 112).0.to_owned() + &"0".repeat(112);
    let error = read(&zero).verify(&leaf_hash(b"entry-0"), &of(TRANSMUTE_KEY));
    assert_eq!(error, Err(VerifyError::NotSigned));
    assert_eq!(service().vkey().signature_type(), SignatureType::Ed25519);
}

/// What RFC 9864 calls ECDSA on P-256 and Ed25519 says the curve; the old names are those of all
/// who wrote before it.
// Spec: RCP-10, RCP-18
#[test]
fn the_algorithms_that_name_their_curve_are_those_that_did_not() {
    let root = "a9a39066a116c15dc7093e219d1330b3aea78e98f28b3a78f2ad1d4dceadaafd";
    let root = hex::decode(root).unwrap();
    let key = p256::ecdsa::SigningKey::from_slice(&[9; 32]).unwrap();
    let public = key.verifying_key().to_public_key_der().unwrap();
    let id = hex::encode(&sha256(public.as_bytes()).as_bytes()[..4]);
    let material = base64::encode(&[&[2], public.as_bytes()].concat());
    let policy = format!("log p256.example+{id}+{material}\nquorum none\n");
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    let leaf = leaf_hash(b"entry-17");
    let transmute = hex::decode(TRANSMUTE[0]).unwrap();
    let (protected, unprotected, payload) = fields(&transmute);
    // The algorithm is the first member: -7, -9; and Ed25519, whose curve is another one.
    let told = |algorithm: &str| {
        let header = hex::encode(&protected).replacen("a30126", algorithm, 1);
        let header = hex::decode(&header).unwrap();
        let mut to_sign = Encoder::new(Vec::new());
        to_sign.array(4).unwrap().str("Signature1").unwrap();
        to_sign.bytes(&header).unwrap().bytes(&[]).unwrap();
        to_sign.bytes(&root).unwrap();
        let signature: p256::ecdsa::Signature = key.sign(&to_sign.into_writer());
        let mut bytes = Encoder::new(Vec::new());
        bytes.tag(Tag::new(18)).unwrap().array(4).unwrap();
        bytes.bytes(&header).unwrap();
        let mut bytes = [&bytes.into_writer(), &unprotected[..], &payload].concat();
        Encoder::new(&mut bytes)
            .bytes(&signature.to_bytes())
            .unwrap();
        CoseReceipt::parse(&bytes)
    };
    for known in ["a30126", "a30128"] {
        let verdict = told(known).unwrap().verify(&leaf, &policy).unwrap();
        assert_eq!(verdict.index.get(), 17, "{known}");
    }
    for other in ["a30132", "a30127"] {
        let error = told(other).unwrap().verify(&leaf, &policy);
        assert_eq!(error, Err(VerifyError::NotSigned), "{other}");
    }
    // ESP384 and ES384.
    for unknown in ["a3013832", "a3013822"] {
        assert_eq!(told(unknown), Err(ReceiptError::Algorithm), "{unknown}");
    }
    // A signature under the one name is none under the other: the header is signed.
    let renamed = hex::encode(&told("a30126").unwrap().to_bytes()).replacen("a30126", "a30128", 1);
    let renamed = CoseReceipt::parse(&hex::decode(&renamed).unwrap()).unwrap();
    assert_eq!(renamed.verify(&leaf, &policy), Err(VerifyError::NotSigned));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Of all files one byte away from a receipt, those that verify say the same.
    // Spec: RCP-16
    #[test]
    fn a_changed_byte_proves_nothing_else(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut file = good().to_bytes();
        let at = at.index(file.len());
        file[at] = byte;
        if let Ok(receipt) = CoseReceipt::parse(&file) {
            prop_assert_eq!(receipt.to_bytes(), file);
            if let Ok(verdict) = receipt.verify(&leaf(), &policy()) {
                prop_assert_eq!(verdict, good().verify(&leaf(), &policy()).unwrap());
            }
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(file in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = CoseReceipt::parse(&file);
        let _ = CoseReceipt::parse(&[b"\xd2\x84", &file[..]].concat());
    }
}
