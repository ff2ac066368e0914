//! Notes, keys, checkpoints, requests, policies, proofs: texts that peers send.

use std::fmt::Write as _;

use jurat_proto::add_checkpoint::{self, AddCheckpoint, conflict_body, parse_conflict_body};
use jurat_proto::checkpoint::{Checkpoint, ExtensionLine, Origin, SignedCheckpoint};
use jurat_proto::cose::receipt::CoseReceipt;
use jurat_proto::cosignature_lines::CosignatureLines;
use jurat_proto::decimal::parse_decimal;
use jurat_proto::entry::Entry;
use jurat_proto::hash::Hash;
use jurat_proto::key::VerifierKey;
use jurat_proto::log_list::{LogList, compare, is_control};
use jurat_proto::note::{KeyName, Note, SignatureLine};
use jurat_proto::policy::Policy;
use jurat_proto::receipt::Receipt;
use jurat_proto::sign_subtree::{self, SignSubtree};
use jurat_proto::tlog_proof::TlogProof;
use jurat_proto::{base64, checkpoint as checkpoints, hex};

use crate::world::WORLD;
use crate::{canonical, canonical_text};

pub(crate) fn note(data: &[u8]) {
    let Some(note) = canonical(data, Note::parse, Note::to_bytes) else {
        return;
    };
    for line in note.signatures() {
        assert_eq!(SignatureLine::parse(&line.to_string()).as_ref(), Ok(line));
    }
    drop(checkpoints::verify_signatures(&note, &WORLD.keys));
}

pub(crate) fn signature_line(data: &[u8]) {
    canonical_text(data, SignatureLine::parse, ToString::to_string);
    canonical_text(data, KeyName::parse, |name| name.as_str().to_owned());
}

pub(crate) fn vkey(data: &[u8]) {
    let Some(key) = canonical_text(data, VerifierKey::parse, ToString::to_string) else {
        return;
    };
    let again = VerifierKey::from_parts(
        key.name().clone(),
        key.signature_type(),
        key.public_key_bytes(),
    );
    assert_eq!(again.as_ref(), Ok(&key), "a key's parts make the key");
    for signature in [&data[..data.len().min(72)], &[0; 64], &[]] {
        assert!(
            key.verify_note("a text\n", signature).is_err(),
            "verifies what nobody signed"
        );
    }
}

/// A text and a signature under keys that are known: the first byte divides them.
pub(crate) fn signature(data: &[u8]) {
    let Some((&at, rest)) = data.split_first() else {
        return;
    };
    let (text, signature) = rest.split_at(rest.len().min(usize::from(at)));
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    for key in &WORLD.keys {
        if key.verify_note(text, signature).is_ok() {
            let mut other = signature.to_vec();
            if let Some(last) = other.last_mut() {
                *last ^= 1;
            }
            assert!(
                key.verify_note(text, &other).is_err(),
                "two signatures by one key for a text"
            );
        }
    }
}

pub(crate) fn checkpoint(data: &[u8]) {
    let parsed = canonical(data, SignedCheckpoint::parse, SignedCheckpoint::to_bytes);
    let Some(signed) = parsed else { return };
    let by_note = checkpoints::verify_signatures(signed.note(), &WORLD.keys);
    assert_eq!(
        by_note,
        signed.verify_signatures(&WORLD.keys),
        "two ways, two answers"
    );
    drop(WORLD.policy.verify_checkpoint(&signed));
}

pub(crate) fn checkpoint_text(data: &[u8]) {
    canonical_text(data, Checkpoint::parse_text, Checkpoint::to_text);
    canonical_text(data, Origin::parse, |origin| origin.as_str().to_owned());
    canonical_text(data, ExtensionLine::parse, |line| line.as_str().to_owned());
}

pub(crate) fn add_checkpoint(data: &[u8]) {
    let Some(request) = canonical(data, AddCheckpoint::parse, AddCheckpoint::to_bytes) else {
        return;
    };
    let latest = WORLD.head(5);
    for (latest, keys) in [
        (None, None),
        (None, Some(&*WORLD.keys)),
        (Some(&latest), None),
    ] {
        match add_checkpoint::decide(latest, keys, &request) {
            Ok(accepted) => assert!(
                keys.is_some() && !accepted.signatures.is_empty(),
                "accepted without a signature that verifies"
            ),
            Err(refusal) => {
                assert!([400, 403, 404, 409, 422].contains(&refusal.status()));
                assert!(!refusal.to_string().is_empty());
            }
        }
    }
    let keys = Some(&*WORLD.keys);
    if let Ok(accepted) = add_checkpoint::decide(Some(&latest), keys, &request) {
        assert_eq!(request.old_size, latest.size, "accepted from another size");
        assert!(accepted.head.size >= latest.size, "accepted a smaller tree");
        if accepted.head.size == latest.size {
            assert_eq!(accepted.head, latest, "accepted two trees of one size");
        }
    }
}

pub(crate) fn sign_subtree(data: &[u8]) {
    let parsed = canonical(data, SignSubtree::parse, SignSubtree::to_bytes);
    let Some(request) = parsed else { return };
    for known in [false, true] {
        if let Err(refusal) = sign_subtree::decide(known, &WORLD.keys[1..], &request) {
            assert!([400, 403, 404, 422].contains(&refusal.status()));
            assert!(!refusal.to_string().is_empty());
        }
    }
}

pub(crate) fn cosignature_lines(data: &[u8]) {
    let parsed = canonical(data, CosignatureLines::parse, CosignatureLines::to_bytes);
    if let Some(lines) = parsed {
        drop(lines.verify(&WORLD.signed(5, false), &WORLD.keys[1..]));
    }
}

pub(crate) fn conflict(data: &[u8]) {
    canonical(data, parse_conflict_body, |size| {
        conflict_body(*size).into_bytes()
    });
}

/// Policies have comments and free white space, so the law is weaker: what is written for an
/// accepted policy gives the same policy, and is itself canonical.
pub(crate) fn policy(data: &[u8]) {
    let policy = match Policy::parse(data) {
        Ok(policy) => policy,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let written = policy.to_bytes();
    let again = canonical(&written, Policy::parse, Policy::to_bytes);
    assert_eq!(again.as_ref(), Some(&policy), "writing a policy changes it");
    drop(policy.verify_checkpoint(&WORLD.signed(5, true)));
}

pub(crate) fn log_list(data: &[u8]) {
    let list = match LogList::parse(data) {
        Ok(list) => list,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    for anomaly in &list.anomalies {
        assert!(!anomaly.to_string().is_empty());
    }
    // What was taken is a list that says the same.
    let mut written = String::from("logs/v0\n");
    for log in &list.logs {
        assert!(!log.contact.chars().any(is_control));
        let _ = write!(
            written,
            "vkey {}\norigin {}\nqpd {}\ncontact {}\n",
            log.key, log.origin, log.qpd, log.contact
        );
    }
    let again = LogList::parse(written.as_bytes()).expect("written above");
    assert!(again.anomalies.is_empty(), "{:?}", again.anomalies);
    let said = |list: &LogList| -> Vec<_> {
        let logs = list.logs.iter();
        logs.map(|log| {
            (
                log.key.clone(),
                log.origin.clone(),
                log.qpd,
                log.contact.clone(),
            )
        })
        .collect()
    };
    assert_eq!(said(&again), said(&list));
    let difference = compare(&list, |_| None);
    assert_eq!(difference.new.len(), list.logs.len());
}

pub(crate) fn tlog_proof(data: &[u8]) {
    let Some(proof) = canonical(data, TlogProof::parse, TlogProof::to_bytes) else {
        return;
    };
    let leaf = jurat_proto::hash::leaf_hash(proof.extra().unwrap_or_default());
    drop(proof.verify(&leaf, &WORLD.policy));
}

pub(crate) fn entry(data: &[u8]) {
    let Some(entry) = canonical(data, Entry::parse, Entry::to_bytes) else {
        return;
    };
    assert_eq!(Entry::kind_of(data), Some(entry.kind()));
    assert_eq!(entry.leaf_hash(), jurat_proto::hash::leaf_hash(data));
}

pub(crate) fn receipt(data: &[u8]) {
    let Some(receipt) = canonical(data, Receipt::parse, Receipt::to_bytes) else {
        return;
    };
    drop(receipt.verify_anchored(&WORLD.keys));
    let Ok(verdict) = receipt.verify(&WORLD.policy) else {
        return;
    };
    assert_eq!(verdict.head, receipt.tlog_proof().checkpoint().head());
    assert_eq!(verdict.witnesses.len(), 2, "verified without the quorum");
}

pub(crate) fn cose_receipt(data: &[u8]) {
    let Some(receipt) = canonical(data, CoseReceipt::parse, CoseReceipt::to_bytes) else {
        return;
    };
    assert!(CoseReceipt::is_one(data));
    if let Some(whole) = receipt.to_receipt() {
        let leaf = whole.entry().leaf_hash();
        let verdict = receipt.verify(&leaf, &WORLD.policy);
        if let Ok(verdict) = verdict {
            let proven = whole
                .verify(&WORLD.policy)
                .expect("good in COSE, and nowhere else");
            assert_eq!((verdict.head, verdict.index), (proven.head, proven.index));
            assert_eq!(verdict.witnesses, proven.witnesses);
        }
    }
}

pub(crate) fn encodings(data: &[u8]) {
    canonical_text(data, base64::decode, |bytes| base64::encode(bytes));
    canonical_text(data, hex::decode, |bytes| hex::encode(bytes));
    canonical_text(data, parse_decimal, ToString::to_string);
    canonical_text(data, Hash::from_base64, Hash::to_base64);
    assert_eq!(base64::decode(&base64::encode(data)).as_deref(), Ok(data));
    assert_eq!(hex::decode(&hex::encode(data)).as_deref(), Ok(data));
}
