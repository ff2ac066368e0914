//! COSE receipts: of ours, which carry checkpoint and entry, and of others.

use jurat_proto::cose::receipt::CoseReceipt;
use jurat_proto::hash::leaf_hash;
use jurat_proto::key::VerifierKey;
use jurat_proto::policy::Policy;
use jurat_proto::tsp::logged::TokenClass;
use serde_json::{Value, json};

use super::{Proven, count, output, told, witness_lines, witness_rows};

/// Verifies a COSE receipt, of the entry inside or of one that is given: what is proven, and its
/// class.
// Spec: RCP-16, RCP-17
pub(super) fn verify(
    bytes: &[u8],
    entry: Option<&[u8]>,
    policy: &Policy,
    log_keys: &[VerifierKey],
) -> anyhow::Result<(TokenClass, Proven)> {
    let cose = CoseReceipt::parse(bytes)?;
    let leaf = match (entry, cose.entry()) {
        (Some(entry), _) => leaf_hash(entry),
        (None, Some(inside)) => inside.leaf_hash(),
        (None, None) => {
            let what = "the COSE receipt does not carry its entry: give it as --data";
            return Err(output::usage(what));
        }
    };
    let verdict = cose.verify(&leaf, policy)?;
    let class = if policy.quorum_met(|_| false) {
        TokenClass::Logged
    } else {
        TokenClass::Witnessed
    };
    let mut proven = if let Some(receipt) = cose.to_receipt() {
        told(&receipt, &receipt.verify(policy)?, policy, log_keys)?
    } else {
        let mut details = vec![format!(
            "entry {} of log {} at size {}",
            verdict.index, verdict.origin, verdict.head.size
        )];
        details.extend(witness_lines(policy, &verdict.witnesses));
        Proven {
            what: match &verdict.witnesses[..] {
                [] => "Logged, and witnessed by nobody".to_owned(),
                witnesses => format!("Logged and witnessed by {}", count(policy, witnesses)),
            },
            details,
            json: json!({
                "log": verdict.origin,
                "index": verdict.index.get(),
                "size": verdict.head.size.get(),
                "root_hash": verdict.head.root_hash.to_base64(),
                "witnesses": witness_rows(policy, &verdict.witnesses),
            }),
        }
    };
    let signed = if cose.size_is_signed() {
        "root and tree size are signed in COSE by the log"
    } else {
        "the root is signed in COSE by the log. Not proven: the tree size, which is not signed"
    };
    proven.details.push(signed.to_owned());
    if let Value::Object(json) = &mut proven.json {
        json.insert("kind".to_owned(), "cose-receipt".into());
        json.insert("size_signed".to_owned(), cose.size_is_signed().into());
        json.insert("class".to_owned(), class.name().into());
    }
    Ok((class, proven))
}
