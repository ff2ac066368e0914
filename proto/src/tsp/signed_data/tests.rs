//! Tokens as bytes: made, read, and changed in one field at a time.

use alloc::string::ToString as _;

use proptest::prelude::*;

use super::*;
use crate::tsp::test_authority::{
    CODE_SIGNING, DIGITAL_SIGNATURE, Draft, NOW, TestAuthority, TestKey, YEAR, edit, edit_signer,
    edit_token, key_usage, now, oid, purposes, tst_info,
};

fn authorities() -> [TestAuthority; 4] {
    let draft = Draft::unit("Test root");
    [
        TestAuthority::new(),
        TestAuthority::with_chain(),
        TestAuthority::with(&draft, TestKey::p384(3)),
        TestAuthority::with(&draft, TestKey::rsa()),
    ]
}

// Spec: TSP-40, TSP-41
#[test]
fn tokens_of_every_kind_of_key_are_read_again() {
    for authority in authorities() {
        let info = tst_info(&authority.unit);
        for (certificates, count) in [
            (Certificates::Absent, 0),
            (Certificates::Signer, 1),
            (Certificates::Chain, 1 + authority.unit.chain.len()),
        ] {
            let token = authority.token(info.clone(), certificates);
            let bytes = token.to_bytes();
            let again = TimestampToken::parse(&bytes).unwrap();
            assert_eq!(again.to_bytes(), bytes);
            assert_eq!(again, token);
            assert_eq!(again.tst_info(), &info);
            assert_eq!(again.certificates().len(), count);
        }
    }
}

// Spec: TSP-44
#[test]
fn certificates_are_there_when_they_were_asked_for_and_sorted() {
    let authority = TestAuthority::with_chain();
    let info = tst_info(&authority.unit);
    let fields = |certificates| {
        let mut count = 0;
        let mut bag = Vec::new();
        edit_token(&authority.token(info.clone(), certificates), |fields| {
            count = fields.len();
            bag.clone_from(&fields[3]);
        });
        (count, bag)
    };
    assert_eq!(fields(Certificates::Absent).0, 4);
    let (count, bag) = fields(Certificates::Signer);
    assert_eq!(count, 5);
    let certificate = authority.unit.certificate().as_bytes();
    assert_eq!(bag, element(tag::CONSTRUCTED_0, &[certificate]));
    let (_, bag) = fields(Certificates::Chain);
    edit(&bag, |items| assert!(items.is_sorted() && items.len() == 2));
}

// Spec: TSP-42, TSP-45
#[test]
fn the_signature_is_over_a_sorted_set_of_four_attributes() {
    let authority = TestAuthority::new();
    let info = tst_info(&authority.unit);
    let prepared = authority.unit.prepare(info.clone(), Certificates::Absent);
    let prepared = prepared.unwrap();
    assert_eq!(prepared.message()[0], tag::SET);
    assert_eq!(prepared.tst_info(), &info);
    let mut kinds = Vec::new();
    edit(prepared.message(), |attributes| {
        assert!(attributes.is_sorted());
        for attribute in attributes {
            edit(attribute, |parts| {
                kinds.push(parts[0].clone());
                edit(&parts[1], |values| assert_eq!(values.len(), 1));
            });
        }
    });
    let expected = [
        "1.2.840.113549.1.9.3",
        "1.2.840.113549.1.9.52",
        "1.2.840.113549.1.9.4",
        "1.2.840.113549.1.9.16.2.47",
    ];
    assert_eq!(kinds, expected.map(oid));
    let message = prepared.message().to_vec();
    let signature = authority.key.sign(&message);
    assert_eq!(authority.unit.verify(&message, &signature), Ok(()));
    let token = prepared.finish(&signature).unwrap();
    assert_eq!(token.signer.signed_message(), message);
    // One digest algorithm throughout, and the digest is of the content.
    let digest = element(
        tag::OCTET_STRING,
        &[&authority.unit.hash_algorithm().digest(&info.to_bytes())],
    );
    let attribute = token.signer.signed_attribute(oid::MESSAGE_DIGEST).unwrap();
    assert_eq!(attribute.values, [digest]);
}

// Spec: TSP-43
#[test]
fn one_certificate_is_named_by_its_sha_256_and_by_issuer_and_serial_number() {
    let authority = TestAuthority::with(&Draft::unit("Test root"), TestKey::p384(3));
    let token = authority.granted();
    let attribute = token.signer.signed_attribute(oid::SIGNING_CERTIFICATE_V2);
    let [value] = &attribute.unwrap().values[..] else {
        panic!("one value");
    };
    let certificate = authority.unit.certificate();
    let hash = HashAlgorithm::Sha256.digest(certificate.as_bytes());
    edit(value, |fields| {
        assert_eq!(fields.len(), 1, "no policies");
        edit(&fields[0], |ids| {
            assert_eq!(ids.len(), 1, "one certificate");
            edit(&ids[0], |id| {
                assert_eq!(id.len(), 2, "the hash algorithm is the default");
                assert_eq!(id[0], element(tag::OCTET_STRING, &[&hash]));
                let name = element(tag::CONSTRUCTED_4, &[certificate.issuer()]);
                let names = element(tag::SEQUENCE, &[&name]);
                let serial = element(tag::INTEGER, &[certificate.serial()]);
                assert_eq!(id[1], element(tag::SEQUENCE, &[&names, &serial]));
            });
        });
    });
}

fn error(bytes: &[u8]) -> TokenError {
    let error = TimestampToken::parse(bytes).unwrap_err();
    assert!(!error.to_string().is_empty());
    error
}

// Spec: TSP-40
#[test]
fn another_structure_is_refused_by_its_name() {
    let token = TestAuthority::new().granted();
    let bytes = token.to_bytes();
    let other = edit(&bytes, |outer| outer[0] = oid("1.2.840.113549.1.7.1"));
    assert_eq!(error(&other), TokenError::NotSignedData);
    for version in [1, 4] {
        let other = edit_token(&token, |fields| fields[0] = vec![tag::INTEGER, 1, version]);
        assert_eq!(error(&other), TokenError::Version);
    }
    let other = edit_token(&token, |fields| {
        fields[2] = edit(&fields[2], |content| {
            content[0] = oid("1.2.840.113549.1.7.1");
        });
    });
    assert_eq!(error(&other), TokenError::NotTstInfo);
    // A list of certificates where one of revocations would be, and an empty one.
    let other = edit_token(&token, |fields| fields[3][0] = tag::CONSTRUCTED_1);
    assert_eq!(
        error(&other),
        TokenError::Der(DerFault::Malformed.of("crls"))
    );
    let other = edit_token(&token, |fields| fields[3] = vec![tag::CONSTRUCTED_0, 0]);
    assert_eq!(
        error(&other),
        TokenError::Der(DerFault::Empty.of("certificates"))
    );
    for bad in [&[&bytes[..], &[0]].concat()[..], &bytes[..100], b""] {
        assert!(matches!(error(bad), TokenError::Der(_)));
    }
}

// Spec: TSP-25
#[test]
fn sizes_are_bounded() {
    let bytes = vec![0x30; TOKEN_BYTES_MAX + 1];
    let long = TokenError::TooLong { bytes: bytes.len() };
    assert_eq!(error(&bytes), long);
    let many = edit_token(&TestAuthority::new().granted(), |fields| {
        let items = [tag::NULL, 0].repeat(CERTIFICATES_MAX + 1);
        fields[3] = element(tag::CONSTRUCTED_0, &[&items]);
    });
    assert_eq!(
        error(&many),
        TokenError::Der(DerFault::Range.of("certificates"))
    );
    let certificate = vec![0x30; crate::tsp::certificate::CERTIFICATE_BYTES_MAX + 1];
    assert!(Certificate::parse(&certificate).is_err());
}

// Spec: TSP-41
#[test]
fn there_is_one_signer_named_by_issuer_and_serial_number_over_attributes() {
    let token = TestAuthority::new().granted();
    let two = edit_token(&token, |fields| {
        fields[4] = edit(&fields[4], |signers| signers.push(signers[0].clone()));
    });
    assert_eq!(error(&two), TokenError::SignerCount { found: 2 });
    let none = edit_token(&token, |fields| fields[4] = vec![tag::SET, 0]);
    assert_eq!(error(&none), TokenError::SignerCount { found: 0 });
    let by_key = edit_signer(&token, |fields| {
        fields[0] = vec![tag::INTEGER, 1, 3];
        fields[1] = element(tag::PRIMITIVE_0, &[&[7; 20]]);
    });
    assert_eq!(error(&by_key), TokenError::SignerVersion);
    let bare = edit_signer(&token, |fields| {
        fields.remove(3);
    });
    assert_eq!(error(&bare), TokenError::NoSignedAttributes);
    let empty = edit_signer(&token, |fields| fields[3] = vec![tag::CONSTRUCTED_0, 0]);
    assert_eq!(
        error(&empty),
        TokenError::Der(DerFault::Empty.of("signedAttrs"))
    );
    let twice = edit_signer(&token, |fields| {
        fields[3] = edit(&fields[3], |all| all.push(all[0].clone()));
    });
    assert_eq!(
        error(&twice),
        TokenError::Der(DerFault::Twice.of("signedAttrs"))
    );
}

// Spec: TSP-45
#[test]
fn there_is_one_digest_algorithm_throughout() {
    let token = TestAuthority::new().granted();
    let sha512 = element(tag::SEQUENCE, &[&oid("2.16.840.1.101.3.4.2.3")]);
    let other = edit_token(&token, |fields| fields[1] = element(tag::SET, &[&sha512]));
    assert_eq!(error(&other), TokenError::TwoDigestAlgorithms);
    let more = edit_token(&token, |fields| {
        fields[1] = edit(&fields[1], |all| all.push(sha512.clone()));
    });
    assert!(matches!(error(&more), TokenError::Der(_)));
    let sha1 = element(tag::SEQUENCE, &[&oid("1.3.14.3.2.26")]);
    let weak = edit_signer(&token, |fields| fields[2].clone_from(&sha1));
    assert_eq!(error(&weak), TokenError::UnknownDigest);
    // NULL says the same as nothing, and stays.
    let null = edit_token(&token, |fields| {
        let algorithm = HashParameters::Null.algorithm(HashAlgorithm::Sha256.oid());
        fields[1] = element(tag::SET, &[&algorithm]);
    });
    assert_eq!(TimestampToken::parse(&null).unwrap().to_bytes(), null);
}

// Spec: TSP-45
#[test]
fn a_signature_that_the_key_cannot_have_made_finishes_nothing() {
    for authority in authorities() {
        let prepared = authority
            .unit
            .prepare(tst_info(&authority.unit), Certificates::Absent)
            .unwrap();
        for bad in [&[][..], &[0; 64], &[1; 300]] {
            let answer = prepared.clone().finish(bad);
            assert_eq!(answer, Err(SignatureForm { bytes: bad.len() }));
        }
        // The form of another unit's is right, but the unit knows its own.
        let other = TestKey::p256(9).sign(prepared.message());
        let fault = authority.unit.verify(prepared.message(), &other);
        assert_eq!(fault, Err(SignatureFault::Invalid));
    }
}

// Spec: TSP-47
#[test]
fn a_unit_has_a_certificate_for_time_stamps_alone_and_keeps_to_its_times() {
    let root_key = TestKey::p256(1);
    let mut draft = Draft::unit("Test root");
    draft.extensions = vec![
        key_usage(DIGITAL_SIGNATURE),
        purposes(&[CODE_SIGNING], true),
    ];
    let certificate = draft.issue(&TestKey::p256(2), &root_key);
    let refused = TimestampUnit::new(certificate, Vec::new()).unwrap_err();
    assert_eq!(refused, UnitError::Profile(ProfileError::NoTimeStamping));

    let authority = TestAuthority::new();
    let chain = vec![authority.roots[0].clone(); CERTIFICATES_MAX];
    let long = TimestampUnit::new(authority.unit.certificate().clone(), chain).unwrap_err();
    assert_eq!(long, UnitError::ChainLength { found: 32 });
    let at = |seconds| {
        let mut info = tst_info(&authority.unit);
        info.gen_time = GenTime::new(seconds, 0).unwrap();
        authority.unit.prepare(info, Certificates::Absent).err()
    };
    let after_use = UnitTimeError::UsagePeriod(ProfileError::UsagePeriod);
    for (seconds, expected) in [
        (NOW - YEAR, None),
        (NOW - YEAR - 1, Some(UnitTimeError::NotValid)),
        (NOW + YEAR / 2, None),
        (NOW + YEAR / 2 + 1, Some(after_use)),
        (NOW + 5 * YEAR + 1, Some(UnitTimeError::NotValid)),
    ] {
        assert_eq!(at(seconds), expected, "{seconds}");
    }
    assert_eq!(tst_info(&authority.unit).gen_time, now());
}

// Spec: TSP-46
#[test]
fn a_receipt_goes_in_and_comes_out_and_changes_nothing_else() {
    let token = TestAuthority::new().granted();
    let receipt = vec![b'r'; 2000];
    assert_eq!(token.receipt(), None);
    let upgraded = token.with_receipt(&receipt).unwrap();
    let bytes = upgraded.to_bytes();
    let again = TimestampToken::parse(&bytes).unwrap();
    assert_eq!(again.receipt(), Some(&receipt[..]));
    assert_eq!(again.to_bytes(), bytes);
    assert_eq!(again.without_receipt().to_bytes(), token.to_bytes());
    assert_eq!(upgraded.with_receipt(&receipt).unwrap(), upgraded);
    let replaced = upgraded.with_receipt(b"newer").unwrap();
    assert_eq!(replaced.receipt(), Some(&b"newer"[..]));
    for bytes in [0, TLOG_PROOF_BYTES_MAX + 1] {
        let answer = token.with_receipt(&vec![1; bytes]);
        assert_eq!(answer, Err(ReceiptLength { bytes }));
    }
    let longest = token.with_receipt(&vec![1; TLOG_PROOF_BYTES_MAX]).unwrap();
    assert!(TimestampToken::parse(&longest.to_bytes()).is_ok());
}

// Spec: TSP-46
#[test]
fn attributes_of_others_stay_beside_the_receipt() {
    let token = TestAuthority::new().granted();
    let attribute = |text: &str| {
        let values = element(tag::SET, &[&[tag::NULL, 0]]);
        element(tag::SEQUENCE, &[&oid(text), &values])
    };
    let (short, long) = (attribute("1.2.3"), attribute("1.2.840.113549.1.9.16.2.14"));
    let foreign = edit_signer(&token, |fields| {
        fields.push(element(tag::CONSTRUCTED_1, &[&short, &long]));
    });
    let foreign = TimestampToken::parse(&foreign).unwrap();
    let upgraded = foreign.with_receipt(b"receipt").unwrap();
    edit_signer(&upgraded, |fields| {
        edit(&fields[6], |all| assert!(all.is_sorted() && all.len() == 3));
    });
    assert_eq!(upgraded.without_receipt(), foreign);
    // Two receipts, one without content, one that is no OCTET STRING.
    let receipt = Oid::from(oid::RECEIPT).to_string();
    let values = element(tag::SET, &[&[tag::OCTET_STRING, 0]]);
    let empty = element(tag::SEQUENCE, &[&oid(&receipt), &values]);
    for bad in [empty, attribute(&receipt)] {
        let bad = edit_signer(&token, |fields| {
            fields.push(element(tag::CONSTRUCTED_1, &[&bad]));
        });
        assert!(matches!(error(&bad), TokenError::Der(_)));
    }
    let twice = edit_signer(&upgraded, |fields| {
        fields[6] = edit(&fields[6], |all| {
            let receipt = all.iter().max_by_key(|one| one.len()).unwrap().clone();
            all.push(receipt);
        });
    });
    assert_eq!(
        error(&twice),
        TokenError::Der(DerFault::Twice.of("unsignedAttrs"))
    );
}

proptest! {
    // Spec: TSP-40, TSP-46
    #[test]
    fn what_is_accepted_is_written_as_it_came(
        at in any::<prop::sample::Index>(),
        bit in 0_u32..8,
    ) {
        let token = TestAuthority::new().granted().with_receipt(b"a receipt").unwrap();
        let mut bytes = token.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(token) = TimestampToken::parse(&bytes) {
            prop_assert_eq!(token.to_bytes(), bytes);
        }
    }
}
