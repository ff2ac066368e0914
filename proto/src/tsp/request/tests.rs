//! Each rule of a request as a row of bytes.

use alloc::string::ToString as _;
use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::tsp::element::element;
use crate::tsp::imprint::HashParameters;
use crate::tsp::test_authority::{extension, oid, policy, request};

/// The fields of a request, each as its own bytes.
fn fields(algorithm: &str, parameters: &[u8], digest: &[u8]) -> Vec<Vec<u8>> {
    let algorithm = element(tag::SEQUENCE, &[&oid(algorithm), parameters]);
    let digest = element(tag::OCTET_STRING, &[digest]);
    vec![
        vec![tag::INTEGER, 1, 1],
        element(tag::SEQUENCE, &[&algorithm, &digest]),
    ]
}

const SHA256: &str = "2.16.840.1.101.3.4.2.1";

fn plain() -> Vec<Vec<u8>> {
    fields(SHA256, &[], &[7; 32])
}

fn sequence(fields: &[Vec<u8>]) -> Vec<u8> {
    element(tag::SEQUENCE, &[&fields.concat()])
}

fn with(field: Vec<u8>) -> Vec<u8> {
    let mut fields = plain();
    fields.push(field);
    sequence(&fields)
}

fn refused(bytes: &[u8]) -> RequestError {
    let error = TimestampRequest::parse(bytes).unwrap_err();
    assert!(!error.to_string().is_empty());
    error
}

fn accepted(bytes: &[u8]) -> TimestampRequest {
    let request = TimestampRequest::parse(bytes).unwrap();
    assert_eq!(request.to_bytes(), bytes, "as it was sent");
    request
}

// Spec: TSP-01
#[test]
fn what_is_not_strict_der_is_bad_data() {
    let good = sequence(&plain());
    accepted(&good);
    let long_length = [&[0x30, 0x81, good[1]], &good[2..]].concat();
    let indefinite = [&[0x30, 0x80], &good[2..], &[0, 0]].concat();
    let constructed = sequence(&[
        vec![tag::INTEGER, 1, 1],
        element(
            tag::SEQUENCE,
            &[
                &element(tag::SEQUENCE, &[&oid(SHA256)]),
                &element(0x24, &[&element(tag::OCTET_STRING, &[&[7; 32]])]),
            ],
        ),
    ]);
    let mut cases = vec![
        vec![],
        b"GET / HTTP/1.1".to_vec(),
        [&good[..], &[0]].concat(),
        [&good[..], &good].concat(),
        good[..good.len() - 1].to_vec(),
        long_length,
        indefinite,
        constructed,
        sequence(&plain()[..1]),
        // A BOOLEAN that is TRUE in BER only, a nonce that is not minimal, one that is empty.
        with(vec![tag::BOOLEAN, 1, 1]),
        with(vec![tag::INTEGER, 2, 0, 1]),
        with(vec![tag::INTEGER, 2, 0xff, 0x80]),
        with(vec![tag::INTEGER, 0]),
        // Fields in another order, and one that there is not.
        with([&[tag::BOOLEAN, 1, 0xff][..], &[tag::INTEGER, 1, 5]].concat()),
        with(vec![tag::CONSTRUCTED_1, 0]),
    ];
    cases.push(with(element(tag::OID, &[&[0x2a, 0x80, 0x01]])));
    for case in cases {
        let error = refused(&case);
        assert_eq!(
            error.failure(),
            PkiFailureInfo::BadDataFormat,
            "{case:02x?}"
        );
    }
    let long = with(element(tag::INTEGER, &[&[1; REQUEST_BYTES_MAX]]));
    let bytes = long.len();
    assert_eq!(refused(&long), RequestError::TooLong { bytes });
    assert_eq!(refused(&long).failure(), PkiFailureInfo::BadDataFormat);
}

// Spec: TSP-03
#[test]
fn another_version_is_a_bad_request() {
    for version in [&[0][..], &[2], &[1, 0], &[0xff]] {
        let mut fields = plain();
        fields[0] = element(tag::INTEGER, &[version]);
        let error = refused(&sequence(&fields));
        assert_eq!(error, RequestError::Version);
        assert_eq!(error.failure(), PkiFailureInfo::BadRequest);
    }
}

// Spec: TSP-04, TSP-06
#[test]
fn six_hash_algorithms_are_taken_and_no_others() {
    for algorithm in HashAlgorithm::ALL {
        let name = Oid::from(algorithm.oid()).to_string();
        let digest = vec![9; algorithm.digest_bytes()];
        let request = accepted(&sequence(&fields(&name, &[], &digest)));
        assert_eq!(request.imprint().algorithm(), algorithm);
        assert_eq!(request.imprint().digest(), digest);
        for bytes in [0, 20, digest.len() - 1, digest.len() + 1] {
            let error = refused(&sequence(&fields(&name, &[], &vec![9; bytes])));
            assert_eq!(error.failure(), PkiFailureInfo::BadDataFormat);
        }
    }
    for (unknown, bytes) in [
        ("1.2.840.113549.2.5", 16),
        ("1.3.14.3.2.26", 20),
        ("2.16.840.1.101.3.4.2.4", 28),
        ("2.16.840.1.101.3.4.2.7", 28),
        ("2.25.126462678273024964918680120265618112008", 32),
    ] {
        let error = refused(&sequence(&fields(unknown, &[5, 0], &vec![9; bytes])));
        assert_eq!(error.failure(), PkiFailureInfo::BadAlg);
        assert!(error.to_string().contains(unknown), "{error}");
    }
}

// Spec: TSP-05
#[test]
fn parameters_are_absent_or_null_and_stay_as_they_were_sent() {
    let absent = accepted(&sequence(&plain()));
    assert_eq!(absent.imprint().parameters(), HashParameters::Absent);
    let null = accepted(&sequence(&fields(SHA256, &[tag::NULL, 0], &[7; 32])));
    assert_eq!(null.imprint().parameters(), HashParameters::Null);
    assert!(absent.imprint().is_same(null.imprint()));
    for parameters in [
        &[tag::NULL, 1, 0][..],
        &[0x30, 0],
        &[tag::INTEGER, 1, 1],
        &[4, 0],
    ] {
        let error = refused(&sequence(&fields(SHA256, parameters, &[7; 32])));
        assert_eq!(error.failure(), PkiFailureInfo::BadAlg, "{parameters:?}");
    }
    let twice = refused(&sequence(&fields(SHA256, &[5, 0, 5, 0], &[7; 32])));
    assert_eq!(twice.failure(), PkiFailureInfo::BadDataFormat);
}

// Spec: TSP-07
#[test]
fn a_nonce_stays_byte_for_byte_up_to_64_octets() {
    let long = [0x7f; NONCE_OCTETS_MAX];
    let mut longer = long.to_vec();
    for content in [
        &[0][..],
        &[0x7f],
        &[0x80],
        &[0xff],
        &[0, 0x80],
        &[0xfe; 32],
        &long,
    ] {
        let request = accepted(&with(element(tag::INTEGER, &[content])));
        assert_eq!(request.nonce().unwrap().as_bytes(), content);
    }
    longer.push(1);
    let error = refused(&with(element(tag::INTEGER, &[&longer])));
    assert_eq!(error, RequestError::NonceTooLong { octets: 65 });
    assert_eq!(error.failure(), PkiFailureInfo::BadRequest);

    for (number, content) in [
        (&[][..], &[0][..]),
        (&[0, 0], &[0]),
        (&[0, 1], &[1]),
        (&[0x80], &[0, 0x80]),
    ] {
        assert_eq!(Nonce::from_number(number).unwrap().as_bytes(), content);
    }
    assert!(Nonce::from_number(&[0x80; 64]).is_err());
}

// Spec: TSP-08
#[test]
fn a_written_out_false_is_taken_and_stays() {
    assert!(!accepted(&with(vec![tag::BOOLEAN, 1, 0])).wants_certificate());
    assert!(accepted(&with(vec![tag::BOOLEAN, 1, 0xff])).wants_certificate());
    assert!(!accepted(&sequence(&plain())).wants_certificate());
}

// Spec: TSP-09
#[test]
fn policies_are_granted_when_offered_and_the_default_by_its_name_too() {
    let other = Oid::parse("1.3.6.1.4.1.32473.1.2").unwrap();
    let offer = Offer {
        default_policy: policy(),
        other_policies: vec![other.clone()],
        hash_algorithms: vec![HashAlgorithm::Sha256],
    };
    let asks = |asked: Option<&Oid>| {
        let mut fields = plain();
        fields.extend(asked.map(|oid| element(tag::OID, &[oid.as_bytes()])));
        accepted(&sequence(&fields))
    };
    assert_eq!(asks(None).decide(&offer), Ok(&policy()));
    assert_eq!(asks(Some(&policy())).decide(&offer), Ok(&policy()));
    assert_eq!(asks(Some(&other)).decide(&offer), Ok(&other));
    // An identifier of any arcs is read, and not offered.
    for unknown in [
        "1.3.6.1.4.1.32473.1.3",
        "2.25.126462678273024964918680120265618112008",
    ] {
        let unknown = Oid::parse(unknown).unwrap();
        let refusal = asks(Some(&unknown)).decide(&offer).unwrap_err();
        assert_eq!(refusal.failure(), PkiFailureInfo::UnacceptedPolicy);
        assert!(refusal.to_string().contains(&unknown.to_string()));
    }
    let sha512 = accepted(&sequence(&fields("2.16.840.1.101.3.4.2.3", &[], &[7; 64])));
    let refusal = sha512.decide(&offer).unwrap_err();
    assert_eq!(refusal.failure(), PkiFailureInfo::BadAlg);
}

// Spec: TSP-10
#[test]
fn every_extension_is_unknown_and_an_empty_list_is_malformed() {
    for critical in [false, true] {
        let one = extension("1.3.6.1.4.1.32473.9", critical, b"x");
        let error = refused(&with(element(tag::CONSTRUCTED_0, &[&one])));
        assert_eq!(error.failure(), PkiFailureInfo::UnacceptedExtension);
        assert!(error.to_string().contains("1.3.6.1.4.1.32473.9"));
    }
    for list in [&[][..], &[0x30, 0], &[tag::NULL, 0]] {
        let error = refused(&with(element(tag::CONSTRUCTED_0, &[list])));
        assert_eq!(error.failure(), PkiFailureInfo::BadDataFormat, "{list:?}");
    }
}

// Spec: TSP-11
#[test]
fn a_request_that_was_made_here_is_read_again() {
    let made = request();
    assert_eq!(accepted(&made.to_bytes()), made);
}

proptest! {
    // Spec: TSP-11
    #[test]
    fn what_is_accepted_is_written_as_it_came(
        at in 0_usize..128,
        bit in 0_u32..8,
        cut in 0_usize..128,
    ) {
        let mut bytes = request().to_bytes();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        for bytes in [&bytes[..], &bytes[..cut.min(bytes.len())]] {
            if let Ok(request) = TimestampRequest::parse(bytes) {
                prop_assert_eq!(request.to_bytes(), bytes);
            }
        }
    }

    // Spec: TSP-07, TSP-11
    #[test]
    fn any_request_is_read_again(
        algorithm in prop::sample::select(&HashAlgorithm::ALL[..]),
        data in prop::collection::vec(any::<u8>(), 0..8),
        named in any::<bool>(),
        nonce in prop::option::of(prop::collection::vec(any::<u8>(), 0..63)),
        wants in any::<bool>(),
    ) {
        let nonce = nonce.map(|number| Nonce::from_number(&number).unwrap());
        let imprint = MessageImprint::of(algorithm, &data);
        let request = TimestampRequest::new(imprint, named.then(policy), nonce, wants);
        prop_assert_eq!(TimestampRequest::parse(&request.to_bytes()), Ok(request));
    }
}
