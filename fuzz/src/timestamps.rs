//! RFC 3161: requests, answers, tokens, certificates.

use std::sync::LazyLock;

use jurat_proto::base64;
use jurat_proto::cose::Sign1;
use jurat_proto::tsp::certificate::Certificate;
use jurat_proto::tsp::gen_time::GenTime;
use jurat_proto::tsp::imprint::HashAlgorithm;
use jurat_proto::tsp::not_before::NotBefore;
use jurat_proto::tsp::oid::Oid;
use jurat_proto::tsp::request::{Offer, TimestampRequest};
use jurat_proto::tsp::response::{FailureBits, PkiStatus, Refusal, TimestampResponse};
use jurat_proto::tsp::signed_data::TimestampToken;
use jurat_proto::tsp::tst_info::{TstInfo, UnitId};
use jurat_proto::tsp::verify::{Expected, Trust, verify_response};

use crate::world::Add;
use crate::{canonical, canonical_text};

/// What `proto/src/tsp/examples.rs` makes.
macro_rules! example {
    ($name:literal) => {
        include_bytes!(concat!("../../proto/tests/tsp/", $name))
    };
}

const GRANTED: &[&[u8]] = &[
    example!("granted.tsr"),
    example!("upgraded.tsr"),
    example!("chain.tsr"),
    example!("p384.tsr"),
    example!("rsa.tsr"),
];

static ROOTS: LazyLock<Vec<Certificate>> =
    LazyLock::new(|| vec![Certificate::parse(example!("root.der")).expect("made for this")]);
static REQUEST: LazyLock<TimestampRequest> =
    LazyLock::new(|| TimestampRequest::parse(example!("request.tsq")).expect("made for this"));

pub(crate) fn request(data: &[u8]) {
    match TimestampRequest::parse(data) {
        Ok(request) => {
            assert_eq!(request.to_bytes(), data, "not as it was sent");
            let offer = Offer {
                default_policy: Oid::parse("1.2.3").expect("an identifier"),
                other_policies: Vec::new(),
                hash_algorithms: HashAlgorithm::ALL.to_vec(),
            };
            let granted = request.decide(&offer).is_ok();
            let default = request
                .policy()
                .is_none_or(|policy| *policy == offer.default_policy);
            assert_eq!(granted, default, "another policy than the offer's");
        }
        Err(error) => {
            let refusal = Refusal::Request(error);
            let response = TimestampResponse::rejected(&refusal);
            let again = TimestampResponse::parse(&response.to_bytes());
            assert_eq!(
                again.as_ref(),
                Ok(&response),
                "a refusal that cannot be read"
            );
            let bits = response.failures().into_iter();
            assert_eq!(
                bits.flat_map(FailureBits::failures).count(),
                1,
                "not one failure"
            );
        }
    }
}

pub(crate) fn response(data: &[u8]) {
    let Some(response) = canonical(data, TimestampResponse::parse, TimestampResponse::to_bytes)
    else {
        return;
    };
    let trust = Trust {
        roots: &ROOTS,
        others: &[],
    };
    let now = GenTime::new(1_800_000_000, 0).expect("a time");
    let Ok(verdict) = verify_response(&response, Expected::of_request(&REQUEST), trust, now) else {
        return;
    };
    assert_eq!(response.status(), PkiStatus::Granted);
    let token = response.token().expect("granted").without_receipt();
    let genuine = GRANTED.iter().any(|bytes| {
        let response = TimestampResponse::parse(bytes).expect("made for this");
        let genuine = response.token().map(TimestampToken::without_receipt);
        genuine.is_some_and(|genuine| genuine.tst_info() == token.tst_info())
    });
    assert!(genuine, "good, but nobody signed it");
    assert_eq!(verdict.policy, token.tst_info().policy);
}

pub(crate) fn token(data: &[u8]) {
    let Some(token) = canonical(data, TimestampToken::parse, TimestampToken::to_bytes) else {
        return;
    };
    let upgraded = token.with_receipt(b"a receipt").expect("short enough");
    let again = TimestampToken::parse(&upgraded.to_bytes()).expect("a token as before");
    assert_eq!(again.receipt(), Some(&b"a receipt"[..]));
    assert_eq!(again.without_receipt(), token.without_receipt());
    assert_eq!(again.tst_info_bytes(), token.tst_info_bytes());
}

pub(crate) fn tst_info(data: &[u8]) {
    canonical(data, NotBefore::parse, NotBefore::to_bytes);
    let Some(info) = canonical(data, TstInfo::parse, TstInfo::to_bytes) else {
        return;
    };
    drop(info.not_before());
    assert!(!info.gen_time.to_string().is_empty());
    assert!(info.serial.as_bytes().len() <= 21);
}

pub(crate) fn certificate(data: &[u8]) {
    if data.starts_with(b"-----") {
        drop(Certificate::parse_file(data));
    }
    let encode = |certificate: &Certificate| certificate.as_bytes().to_vec();
    let Some(certificate) = canonical(data, Certificate::parse, encode) else {
        return;
    };
    assert_eq!(
        Certificate::parse_file(data).as_deref(),
        Ok(&[certificate.clone()][..])
    );
    drop(certificate.verify_signer_profile());
    drop(certificate.subject_text());
}

pub(crate) fn cose_sign1(data: &[u8]) {
    let Some(message) = canonical(data, Sign1::parse, Sign1::to_bytes) else {
        return;
    };
    let token = TimestampToken::parse(example!("token.der")).expect("made for this");
    assert!(
        message.with_token(&token).is_err(),
        "it is about a document"
    );
}

pub(crate) fn oid(data: &[u8]) {
    canonical_text(data, Oid::parse, ToString::to_string);
    let unit = |text: &str| UnitId::parse(text).ok_or("no unit");
    canonical_text(data, unit, ToString::to_string);
}

pub(crate) fn seeds(add: Add<'_>) {
    add(
        "timestamp_request",
        "nonce",
        example!("request.tsq").to_vec(),
    );
    for (name, bytes) in ["granted", "upgraded", "chain", "p384", "rsa"]
        .into_iter()
        .zip(GRANTED)
    {
        add("timestamp_response", name, bytes.to_vec());
    }
    let rejected = example!("rejected.tsr").to_vec();
    add("timestamp_response", "rejected", rejected);
    add(
        "timestamp_token",
        "certificate",
        example!("token.der").to_vec(),
    );
    add("tst_info", "whole", example!("tst-info.der").to_vec());
    add(
        "tst_info",
        "not_before",
        example!("not-before.der").to_vec(),
    );
    add("certificate", "root", example!("root.der").to_vec());
    add("certificate", "unit", example!("unit.der").to_vec());
    add("oid", "unit", b"4a01020304050607".to_vec());
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        base64::encode(example!("root.der"))
    );
    add("certificate", "pem", pem.into_bytes());
    let message = [
        &b"\xd2\x84\x43\xa1\x01\x26\xa1\x04\x42\x31\x31\x54"[..],
        b"This is the content.\x58\x40",
        &[7; 64],
    ];
    add("cose_sign1", "message", message.concat());
    add(
        "oid",
        "uuid",
        b"2.25.126462678273024964918680120265618112008.1".to_vec(),
    );
}
