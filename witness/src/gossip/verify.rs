//! How the node's signatures are checked: by aws-lc-rs, as those of requests are.
//!
//! The rule stays `jurat_proto`'s, and that both libraries decide alike is tested in `jurat_keys`.
//! A key is prepared for each check: that takes about a microsecond, where to remember a hundred
//! thousand prepared keys would take tens of megabytes.
//!
//! Rows: `spec/keys.md` KEY-22, `spec/evidence.md` EVI-70.

use jurat_keys::fast_verifier;
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::evidence::{Evidence, KnownKeys, NotProven, Verdict};
use jurat_proto::gossip::SignedStatement;
use jurat_proto::gossip::node::{Strict, Verifier};
use jurat_proto::key::VerifierKey;
use jurat_proto::note::SignatureLine;

/// As [`Strict`], and faster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fast;

impl Verifier for Fast {
    fn checkpoint(&self, key: &VerifierKey, note: &SignedCheckpoint, line: &SignatureLine) -> bool {
        key.matches(line) && Strict.checkpoint(&fast(key), note, line)
    }

    fn statement(&self, key: &VerifierKey, said: &SignedStatement, line: &SignatureLine) -> bool {
        key.matches(line) && Strict.statement(&fast(key), said, line)
    }

    // Spec: EVI-70
    fn evidence(
        &self,
        evidence: &Evidence,
        keys: &KnownKeys,
    ) -> Result<(Evidence, Verdict), NotProven> {
        evidence.minimised(&keys.about(evidence, fast))
    }
}

fn fast(key: &VerifierKey) -> VerifierKey {
    fast_verifier(key).unwrap_or_else(|error| {
        tracing::error!(%error, "verifying slowly");
        key.clone()
    })
}
