//! Witnesses, policies and heads for the tests of this folder.

use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use jurat_proto::cosignature::sign_note;
use jurat_proto::hash::sha256;
use jurat_proto::key::{Signer, VerifierKey};
use jurat_proto::note::KeyName;
use jurat_proto::policy::Policy;
use jurat_proto::tree::{TreeHead, TreeSize};
use std::fmt::Write as _;
use std::sync::LazyLock;

static LOG: LazyLock<SigningKey> = LazyLock::new(|| {
    SigningKey::generate(
        KeyName::parse("example.com/log").unwrap(),
        Algorithm::Ed25519,
    )
    .unwrap()
});

/// The verifier key of that log.
pub(crate) fn log_key() -> VerifierKey {
    LOG.verifier_key().clone()
}

/// A checkpoint of a made-up tree of that size, signed by its log.
pub(crate) fn checkpoint(size: u64) -> SignedCheckpoint {
    let root_hash = sha256(&size.to_be_bytes());
    signed(TreeHead {
        size: TreeSize::new(size).unwrap(),
        root_hash,
    })
}

/// A checkpoint of that head, signed by the same log.
pub(crate) fn signed(head: TreeHead) -> SignedCheckpoint {
    let origin = Origin::parse("example.com/log").unwrap();
    let checkpoint = Checkpoint {
        origin,
        head,
        extensions: jurat_proto::checkpoint::ExtensionLines::new(),
    };
    let line = sign_note(&checkpoint.to_text(), &*LOG).unwrap();
    SignedCheckpoint::new(checkpoint, vec![line]).unwrap()
}

/// So many witnesses, alternately with both kinds of key.
pub(crate) fn witness_keys(count: usize) -> Vec<SigningKey> {
    (0..count)
        .map(|number| {
            let kind = [Algorithm::CosignatureV1, Algorithm::MlDsa44][number % 2];
            let name = KeyName::parse(&format!("example.com/w{number}")).unwrap();
            SigningKey::generate(name, kind).unwrap()
        })
        .collect()
}

/// A policy with these witnesses at these URLs ("" for none) and a threshold over all of them.
pub(crate) fn policy_with(keys: &[SigningKey], urls: &[&str], threshold: &str) -> Policy {
    let mut text = String::new();
    let mut names = String::new();
    for (number, (key, url)) in keys.iter().zip(urls).enumerate() {
        writeln!(text, "witness w{number} {} {url}", key.verifier_key()).unwrap();
        write!(names, " w{number}").unwrap();
    }
    writeln!(
        text,
        "group all-of-them {threshold}{names}\nquorum all-of-them"
    )
    .unwrap();
    Policy::parse(text.as_bytes()).unwrap()
}
