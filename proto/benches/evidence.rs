//! What does evidence cost whoever reads it?
//!
//! - `hostile/*`: files that convict nobody, as somebody would make them who wants to waste our
//!   time. The aim is less than 0.5 ms for each. `largest notes` have the most bytes that are read,
//!   `most lines` as many bytes in the shortest lines; `by a stranger` no line is good, as when who
//!   makes it has no key of a log that signs such notes. `largest of a stranger` is the most that
//!   costs whoever is no peer one question (EVI-55), its first note signed by the log.
//! - `true/*`: files that convict.
//! - `making/*`: an opening from a request whose proof failed, which every refused request pays.
//! - `parts/*`: of what the largest file costs, which part costs how much.
//!
//! With the library of `jurat_proto` itself; `keys/benches/evidence.rs` asks the same of the one
//! that witnesses use.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench may fail by panicking"
)]

#[path = "evidence/files.rs"]
mod files;

use criterion::{Criterion, criterion_group, criterion_main};

fn all(c: &mut Criterion) {
    files::hostile(c, None);
    files::truth(c, None);
    files::parts(c, None);
}

criterion_group!(benches, all);
criterion_main!(benches);
