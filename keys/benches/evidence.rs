//! What does evidence cost a witness, which verifies with aws-lc-rs? The files are those of
//! `proto/benches/evidence.rs`, and so are the names; keys are made ready for each file anew.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench may fail by panicking"
)]

#[path = "../../proto/benches/evidence/files.rs"]
mod files;

use criterion::{Criterion, criterion_group, criterion_main};
use jurat_keys::fast_verifier;
use jurat_proto::key::VerifierKey;

fn fast(key: &VerifierKey) -> VerifierKey {
    fast_verifier(key).unwrap()
}

fn all(c: &mut Criterion) {
    files::hostile(c, Some(fast));
    files::truth(c, Some(fast));
    files::parts(c, Some(fast));
}

criterion_group!(benches, all);
criterion_main!(benches);
