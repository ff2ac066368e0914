//! The `[bastion]` table: a place on the internet for a witness that has no address there.
//!
//! What is served over it is what the witness's own listener serves, but for `/metrics`, which is
//! for its operator. Rows: `spec/gossip.md` GSP-147 to GSP-149.

use std::path::PathBuf;
use std::sync::Arc;

use jurat_daemon::bastion::{Bastion, Identity};
use jurat_daemon::config::{Loaded, Problems};
use jurat_keys::SigningKey;
use jurat_proto::hash::sha256;
use jurat_proto::hex;
use jurat_proto::key::{SignatureType, Signer as _, VerifierKey};
use serde::Deserialize;

/// As it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawBastion {
    address: String,
    key: PathBuf,
    roots: Option<PathBuf>,
}

/// Behind which bastion, by which key.
#[derive(Debug, Clone)]
pub struct BastionSettings {
    /// The bastion.
    pub bastion: Bastion,
    /// Where the witness is found behind it: what stands before its paths.
    pub url: String,
}

/// What a table says; what is wrong with it goes to `problems`.
// Spec: GSP-147
pub(crate) fn resolve<T>(
    raw: &RawBastion,
    loaded: &Loaded<T>,
    others: &[VerifierKey],
    problems: &mut Problems,
) -> Option<BastionSettings> {
    let right = "the key that init made for it, mode 0600";
    let key = SigningKey::load(loaded.path(&raw.key));
    let key = problems.take("bastion.key", key, right)?;
    let verifier = key.verifier_key().clone();
    let bytes = verifier.public_key_bytes().to_vec();
    let is_new = others.iter().all(|other| other.public_key_bytes() != bytes);
    let is_right = verifier.signature_type() == SignatureType::Ed25519 && is_new;
    let right = "a key of type 0x01 that signs nothing else";
    problems.check(is_right, "bastion.key", &verifier, right);
    let public_key = bytes.try_into().ok().filter(|_| is_right)?;
    let identity = Arc::new(Key { key, public_key });
    let roots = raw.roots.as_ref().map(|roots| loaded.path(roots));
    let bastion = Bastion::new(&raw.address, identity, roots.as_deref());
    let right = "an address, as bastion.example.com:443";
    let bastion = problems.take("bastion.address", bastion, right)?;
    let hash = hex::encode(sha256(&public_key).as_bytes());
    let host = raw.address.strip_suffix(":443").unwrap_or(&raw.address);
    Some(BastionSettings {
        bastion,
        url: format!("https://{host}/{hash}"),
    })
}

#[derive(Debug)]
struct Key {
    key: SigningKey,
    public_key: [u8; 32],
}

impl Identity for Key {
    fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.key.sign(message).ok()
    }
}
