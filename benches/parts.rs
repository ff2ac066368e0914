//! What does each step of a submission, and of a time-stamp, cost?
//!
//! `cargo bench --bench parts`
//!
//! The steps of `POST /add-checkpoint` and of `POST /timestamp` one by one, without HTTP and the
//! disk: what remains of a request's time in `http.rs` and `timestamps.rs` is transport, scheduling
//! and storage.

#![expect(clippy::unwrap_used, reason = "a bench may fail by panicking")]

mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use jurat_keys::{Algorithm, SigningKey, TimestampKey, TimestampSigner as _};
use jurat_proto::add_checkpoint::{AddCheckpoint, decide};
use jurat_proto::checkpoint::Origin;
use jurat_proto::cosignature::cosign;
use jurat_proto::entry::{CheckpointEntry, Entry, TimestampEntry};
use jurat_proto::hash::Hash;
use jurat_proto::key::{KeyName, Signer as _, UnixSeconds};
use jurat_proto::tree::LeafIndex;
use jurat_proto::tsp::certificate::Certificate;
use jurat_proto::tsp::element::Flag;
use jurat_proto::tsp::gen_time::GenTime;
use jurat_proto::tsp::imprint::{HashAlgorithm, MessageImprint};
use jurat_proto::tsp::issue::{CertificateDraft, CertificateProfile, common_name};
use jurat_proto::tsp::oid::{DEFAULT_POLICY, Oid};
use jurat_proto::tsp::request::{Nonce, TimestampRequest};
use jurat_proto::tsp::response::TimestampResponse;
use jurat_proto::tsp::signed_data::{Certificates, TimestampUnit};
use jurat_proto::tsp::tst_info::{EncodedTstInfo, Extensions, SerialNumber, TstInfo, UnitId};
use jurat_proto::tsp::verify::{Expected, Trust, verify_response};
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

const NOW: u64 = 1_790_000_000;
const YEAR: u64 = 31_536_000;

/// A root and a unit below it, as `jurat init` makes them.
fn authority() -> (TimestampKey, TimestampUnit, Certificate) {
    let at = |seconds| GenTime::new(seconds, 0).unwrap();
    let validity = (at(NOW - YEAR), at(NOW + YEAR));
    let (root_key, key) = (
        TimestampKey::generate().unwrap(),
        TimestampKey::generate().unwrap(),
    );
    let name = common_name("bench.example time-stamp authority").unwrap();
    let root = CertificateDraft {
        serial: [0x41; 16],
        issuer: name.clone(),
        subject: name.clone(),
        validity,
        public_key: root_key.public_key().unwrap(),
        issuer_public_key: root_key.public_key().unwrap(),
        profile: CertificateProfile::Root,
    };
    let unit = CertificateDraft {
        serial: [0x42; 16],
        subject: common_name("bench.example time-stamps").unwrap(),
        public_key: key.public_key().unwrap(),
        profile: CertificateProfile::Unit {
            key_usage: validity,
        },
        ..root.clone()
    };
    let issue = |draft: &CertificateDraft| {
        let signature = root_key.sign(&draft.to_be_signed()).unwrap();
        draft.finish(&signature).unwrap()
    };
    let root = issue(&root);
    let unit = TimestampUnit::new(issue(&unit), vec![root.clone()]).unwrap();
    (key, unit, root)
}

fn timestamp(c: &mut Criterion) {
    let (key, unit, root) = authority();
    let origin = Origin::parse("bench.example/log").unwrap();
    let unit_id = UnitId::of_certificate(&origin, &Hash::new([7; 32]));
    let imprint = MessageImprint::of(HashAlgorithm::Sha256, b"what is stamped");
    let nonce = Nonce::from_number(&(7_u64 | 1 << 62).to_be_bytes()).unwrap();
    let request = TimestampRequest::new(imprint, None, Some(nonce), true);
    let body = request.to_bytes();
    let info = TstInfo {
        policy: Oid::from(DEFAULT_POLICY),
        imprint: request.imprint().clone(),
        serial: SerialNumber::of_unit(unit_id, LeafIndex::new(1_000_000).unwrap()),
        gen_time: GenTime::new(NOW, 0).unwrap(),
        accuracy: None,
        ordering: Flag::Absent,
        nonce: request.nonce().cloned(),
        tsa: Some(unit.name()),
        extensions: Extensions::default(),
    };
    let encoded = EncodedTstInfo::from(info.clone());
    let prepare = || unit.prepare(encoded.clone(), Certificates::Signer).unwrap();
    let prepared = prepare();
    let signature = key.sign(prepared.message()).unwrap();
    let answer = TimestampResponse::granted(prepared.clone().finish(&signature).unwrap());
    let bytes = answer.to_bytes();

    let mut group = c.benchmark_group("time-stamp");
    group.bench_function("parse the request", |b| {
        b.iter(|| TimestampRequest::parse(black_box(&body)).unwrap());
    });
    group.bench_function("TSTInfo in DER", |b| {
        b.iter(|| EncodedTstInfo::from(black_box(&info).clone()));
    });
    group.bench_function("entry and leaf hash", |b| {
        b.iter(|| {
            let entry = TimestampEntry::of_encoded(black_box(&encoded)).unwrap();
            NewEntry::new(Entry::Timestamp(entry).to_bytes()).unwrap()
        });
    });
    group.bench_function("signed attributes", |b| b.iter(|| black_box(prepare())));
    group.bench_function("bare P-256 signature", |b| {
        b.iter(|| key.sign(black_box(prepared.message())).unwrap());
    });
    group.bench_function("token and answer in DER", |b| {
        b.iter(|| {
            let token = black_box(&prepared).clone().finish(&signature).unwrap();
            TimestampResponse::granted(token).to_bytes()
        });
    });
    let roots = [root];
    let trust = Trust {
        roots: &roots,
        others: &[],
    };
    let now = GenTime::new(NOW, 0).unwrap();
    group.bench_function("parse and verify the answer", |b| {
        b.iter(|| {
            let answer = TimestampResponse::parse(black_box(&bytes)).unwrap();
            verify_response(&answer, Expected::of_request(&request), trust, now).unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, submission, timestamp);
criterion_main!(benches);
