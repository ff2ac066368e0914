//! Statuses, failures and their bits.

use alloc::format;

use super::*;
use crate::tsp::element::element;
use crate::tsp::element::tag;
use crate::tsp::imprint::ImprintError;
use crate::tsp::request::TimestampRequest;
use crate::tsp::test_authority::{TestAuthority, policy};

/// One refusal for each failure.
fn refusals() -> [(Refusal, PkiFailureInfo, &'static [u8]); 8] {
    let unknown = ImprintError::UnknownHash { oid: policy() };
    [
        (
            Refusal::Request(RequestError::Imprint(unknown)),
            PkiFailureInfo::BadAlg,
            &[3, 2, 7, 0x80],
        ),
        (
            Refusal::Request(RequestError::Version),
            PkiFailureInfo::BadRequest,
            &[3, 2, 5, 0x20],
        ),
        (
            Refusal::Request(TimestampRequest::parse(b"").unwrap_err()),
            PkiFailureInfo::BadDataFormat,
            &[3, 2, 2, 0x04],
        ),
        (
            Refusal::TimeNotAvailable,
            PkiFailureInfo::TimeNotAvailable,
            &[3, 3, 1, 0, 0x02],
        ),
        (
            Refusal::UnacceptedPolicy { policy: policy() },
            PkiFailureInfo::UnacceptedPolicy,
            &[3, 3, 0, 0, 0x01],
        ),
        (
            Refusal::Request(RequestError::UnknownExtension { oid: policy() }),
            PkiFailureInfo::UnacceptedExtension,
            &[3, 4, 7, 0, 0, 0x80],
        ),
        (
            Refusal::AddInfoNotAvailable,
            PkiFailureInfo::AddInfoNotAvailable,
            &[3, 4, 6, 0, 0, 0x40],
        ),
        (
            Refusal::SystemFailure,
            PkiFailureInfo::SystemFailure,
            &[3, 5, 6, 0, 0, 0, 0x40],
        ),
    ]
}

// Spec: TSP-20, TSP-21, TSP-22
#[test]
fn each_refusal_is_a_rejection_with_its_one_bit_and_a_text() {
    for (refusal, failure, bits) in refusals() {
        assert_eq!(refusal.failure(), failure);
        let response = TimestampResponse::rejected(&refusal);
        let bytes = response.to_bytes();
        assert!(bytes.ends_with(bits), "{failure}: {bytes:02x?}");
        assert_eq!(response.status(), PkiStatus::Rejection);
        assert_eq!(response.token(), None);
        assert_eq!(response.texts(), [format!("{refusal}")]);
        assert!(!response.texts()[0].is_empty());
        let named: Vec<_> = response.failures().unwrap().failures().collect();
        assert_eq!(named, [failure]);
        assert_eq!(TimestampResponse::parse(&bytes), Ok(response));
    }
}

// Spec: TSP-23
#[test]
fn a_grant_has_its_token_and_no_text() {
    let token = TestAuthority::new().granted();
    let response = TimestampResponse::granted(token.clone());
    let bytes = response.to_bytes();
    assert_eq!(bytes[4..9], [0x30, 3, 2, 1, 0]);
    assert!(response.texts().is_empty() && response.failures().is_none());
    let again = TimestampResponse::parse(&bytes).unwrap();
    assert_eq!(again.token(), Some(&token));
    assert_eq!(again.to_bytes(), bytes);
}

fn bytes(status: u8, more: &[u8], token: &[u8]) -> Vec<u8> {
    let status = element(tag::INTEGER, &[&[status]]);
    let info = element(tag::SEQUENCE, &[&status, more]);
    element(tag::SEQUENCE, &[&info, token])
}

// Spec: TSP-24
#[test]
fn status_and_token_must_agree() {
    let token = TestAuthority::new().granted().to_bytes();
    for status in 0..=5 {
        let (with, without) = (bytes(status, &[], &token), bytes(status, &[], &[]));
        let (good, bad) = if status <= 1 {
            (with, without)
        } else {
            (without, with)
        };
        let response = TimestampResponse::parse(&good).unwrap();
        assert_eq!(response.to_bytes(), good);
        assert_eq!(response.status().number(), u64::from(status));
        let error = TimestampResponse::parse(&bad).unwrap_err();
        let expected = matches!(
            error,
            ResponseError::NoToken { .. } | ResponseError::TokenInRejection { .. }
        );
        assert!(expected, "{error}");
    }
    let error = TimestampResponse::parse(&bytes(6, &[], &[])).unwrap_err();
    assert_eq!(error, ResponseError::UnknownStatus);
}

// Spec: TSP-21, TSP-24
#[test]
fn answers_of_others_keep_their_texts_and_bits() {
    let texts = element(
        tag::SEQUENCE,
        &[
            &element(tag::UTF8_STRING, &["nein".as_bytes()]),
            &element(tag::UTF8_STRING, &["não".as_bytes()]),
        ],
    );
    let two_bits = element(tag::BIT_STRING, &[&[2, 0x84]]);
    let good = bytes(2, &[&texts[..], &two_bits].concat(), &[]);
    let response = TimestampResponse::parse(&good).unwrap();
    assert_eq!(response.to_bytes(), good);
    assert_eq!(response.texts(), ["nein", "não"]);
    let named: Vec<_> = response.failures().unwrap().failures().collect();
    let both = [PkiFailureInfo::BadAlg, PkiFailureInfo::BadDataFormat];
    assert_eq!(named, both);
    for bad in [
        &[tag::SEQUENCE, 0][..],
        &element(tag::SEQUENCE, &[&element(tag::UTF8_STRING, &[&[0xff]])]),
        &element(tag::SEQUENCE, &[&element(0x13, &[b"x"])]),
        // Zeros at the end of named bits, a wrong count of them, no content, too many.
        &[3, 2, 6, 0x80],
        &[3, 3, 7, 0x80, 0],
        &[3, 2, 9, 0x80],
        &[3, 0],
        &[3, 6, 0, 0, 0, 0, 0, 1],
    ] {
        let error = TimestampResponse::parse(&bytes(2, bad, &[])).unwrap_err();
        assert!(
            matches!(error, ResponseError::Der(_)),
            "{bad:02x?}: {error}"
        );
    }
}

// Spec: TSP-25
#[test]
fn an_answer_of_excessive_length_is_not_read() {
    let long = alloc::vec![0x30; RESPONSE_BYTES_MAX + 1];
    let error = TimestampResponse::parse(&long).unwrap_err();
    let bytes = long.len();
    assert_eq!(error, ResponseError::TooLong { bytes });
}
