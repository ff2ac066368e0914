//! What does each step of a submission cost?
//!
//! `cargo bench --bench parts`
//!
//! The steps of `POST /add-checkpoint` one by one, without HTTP and without the disk: what remains
//! of a request's time in `http.rs` is transport, scheduling and storage.

#![expect(clippy::unwrap_used, reason = "a bench may fail by panicking")]

mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::add_checkpoint::{AddCheckpoint, decide};
use jurat_proto::cosignature::cosign;
use jurat_proto::entry::{CheckpointEntry, Entry};
use jurat_proto::key::{KeyName, Signer as _, UnixSeconds};
use jurat_store::NewEntry;
use support::workload::Workload;

fn submission(c: &mut Criterion) {
    let workload = Workload::new(1, 2);
    let latest = workload.body(0, 0).head();
    let request = workload.body(0, 1);
    let body = request.to_bytes();
    let log = workload.key(0).verifier_key().clone();
    let keys = [log.clone()];
    let text = request.checkpoint.checkpoint().to_text();
    let line = request.checkpoint.signatures().first().unwrap();
    let time = UnixSeconds::new(1_700_000_000).unwrap();
    let signer = |algorithm| {
        SigningKey::generate(KeyName::parse("bench.example/cosigner").unwrap(), algorithm).unwrap()
    };
    let (ed25519, mldsa44) = (signer(Algorithm::CosignatureV1), signer(Algorithm::MlDsa44));

    let mut group = c.benchmark_group("submission");
    group.bench_function("parse the body", |b| {
        b.iter(|| AddCheckpoint::parse(black_box(&body)).unwrap());
    });
    group.bench_function("bare Ed25519 verification", |b| {
        b.iter(|| {
            log.verify_message(black_box(text.as_bytes()), line.signature())
                .unwrap();
        });
    });
    group.bench_function("decide (signature, proof, sizes)", |b| {
        b.iter(|| decide(Some(&latest), Some(&keys), black_box(&request)).unwrap());
    });
    let checkpoint = request.checkpoint.checkpoint();
    group.bench_function("cosign, Ed25519", |b| {
        b.iter(|| cosign(black_box(checkpoint), time, &ed25519).unwrap());
    });
    group.bench_function("cosign, ML-DSA-44", |b| {
        b.iter(|| cosign(black_box(checkpoint), time, &mldsa44).unwrap());
    });
    group.bench_function("entry and leaf hash", |b| {
        b.iter(|| {
            let entry = CheckpointEntry::new(black_box(&request.checkpoint), &[0]).unwrap();
            NewEntry::new(Entry::Checkpoint(entry).to_bytes()).unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, submission);
criterion_main!(benches);
