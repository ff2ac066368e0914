//! Good tokens of every kind, and each check failing alone.

use alloc::string::ToString as _;
use alloc::vec;

use super::*;
use crate::tsp::element::{Flag, element, push};
use crate::tsp::request::RequestError;
use crate::tsp::response::Refusal;
use crate::tsp::signed_data::{Attribute, Certificates, TimestampUnit};
use crate::tsp::test_authority::{
    CODE_SIGNING, DIGITAL_SIGNATURE, Draft, KEY_CERT_SIGN, NOW, TIME_STAMPING, TestAuthority,
    TestKey, YEAR, authority_extension, edit, edit_token, extension, key_usage, now, oid, purposes,
    request, tst_info, usage_period,
};
use crate::tsp::tst_info::{Extension, Extensions, TstInfo};

fn verify(authority: &TestAuthority, token: &TimestampToken) -> Result<TokenVerdict, VerifyError> {
    let request = request();
    let verdict = verify_token(
        token,
        Expected::of_request(&request),
        authority.trust(),
        now(),
    );
    if let Err(error) = &verdict {
        assert!(!error.to_string().is_empty());
    }
    verdict
}

/// A token with another signer's part, signed again.
fn signed_again(
    authority: &TestAuthority,
    change: impl FnOnce(&mut SignerInfo),
) -> Result<TokenVerdict, VerifyError> {
    let mut token = authority.granted();
    change(&mut token.signer);
    token.signer.signature = authority.key.sign(&token.signer.signed_message());
    verify(authority, &token)
}

/// A token that says something else.
fn saying(change: impl FnOnce(&mut TstInfo)) -> Result<TokenVerdict, VerifyError> {
    let authority = TestAuthority::new();
    let mut info = tst_info(&authority.unit);
    change(&mut info);
    verify(&authority, &unchecked(&authority, info))
}

/// Signs what the unit would refuse to sign.
fn unchecked(authority: &TestAuthority, info: TstInfo) -> TimestampToken {
    let prepared = authority.unit.to_be_signed(info, Certificates::Chain);
    let signature = authority.key.sign(prepared.message());
    prepared.finish(&signature).unwrap()
}

/// A token by a unit whose certificate is this one, issued by the root.
fn by_unit(change: impl FnOnce(&mut Draft)) -> Result<TokenVerdict, VerifyError> {
    let mut draft = Draft::unit("Test root");
    change(&mut draft);
    let mut authority = TestAuthority::new();
    let certificate = draft.issue(&authority.key, &TestKey::p256(1));
    authority.unit = TimestampUnit::assemble(certificate, Vec::new()).unwrap();
    let info = tst_info(&authority.unit);
    verify(&authority, &unchecked(&authority, info))
}

// Spec: TSP-60, TSP-65, TSP-66, TSP-75, TSP-76
#[test]
fn tokens_of_every_kind_of_key_are_good_and_say_who_when_and_what() {
    let draft = Draft::unit("Test root");
    for authority in [
        TestAuthority::new(),
        TestAuthority::with_chain(),
        TestAuthority::with(&draft, TestKey::p384(3)),
        TestAuthority::with(&draft, TestKey::rsa()),
    ] {
        let info = tst_info(&authority.unit);
        let token = authority.token(info.clone(), Certificates::Chain);
        let token = token.with_receipt(b"a receipt").unwrap();
        let verdict = verify(&authority, &token).unwrap();
        assert_eq!(&verdict.signer, authority.unit.certificate());
        assert_eq!(verdict.signer.subject_text(), "CN=Test unit");
        assert_eq!(verdict.root, Some(0));
        assert_eq!(verdict.gen_time, now());
        assert_eq!(verdict.accuracy, info.accuracy);
        assert_eq!(verdict.serial, info.serial);
        assert_eq!(verdict.policy, info.policy);
        assert_eq!(verdict.not_before, info.not_before().unwrap());
        assert_eq!(verdict.receipt.as_deref(), Some(&b"a receipt"[..]));

        let request = request();
        let response = TimestampResponse::granted(token);
        let expected = Expected::of_request(&request);
        let answered = verify_response(&response, expected, authority.trust(), now());
        assert_eq!(answered, Ok(verdict));
    }
}

// Spec: TSP-60
#[test]
fn any_other_status_is_refused() {
    let authority = TestAuthority::new();
    let request = request();
    let refused = |response: &TimestampResponse| {
        let expected = Expected::of_request(&request);
        verify_response(response, expected, authority.trust(), now()).unwrap_err()
    };
    let rejected = TimestampResponse::rejected(&Refusal::Request(RequestError::Version));
    let status = PkiStatus::Rejection;
    assert_eq!(refused(&rejected), VerifyError::Status { status });
    let granted = TimestampResponse::granted(authority.granted()).to_bytes();
    let modified = edit(&granted, |fields| {
        fields[0] = edit(&fields[0], |info| info[0] = vec![tag::INTEGER, 1, 1]);
    });
    let modified = TimestampResponse::parse(&modified).unwrap();
    let status = PkiStatus::GrantedWithMods;
    assert_eq!(refused(&modified), VerifyError::Status { status });
}

// Spec: TSP-69, TSP-70, TSP-71
#[test]
fn imprint_policy_and_nonce_must_be_those_that_were_asked_for() {
    let other = MessageImprint::of(HashAlgorithm::Sha256, b"another document\n");
    let answer = saying(|info| info.imprint = other.clone());
    assert_eq!(answer, Err(VerifyError::OtherImprint));
    let same_length = MessageImprint::of(HashAlgorithm::Sha3_256, b"a document\n");
    let answer = saying(|info| info.imprint = same_length.clone());
    assert_eq!(answer, Err(VerifyError::OtherImprint));

    let policy = Oid::parse("1.3.6.1.4.1.32473.1.2").unwrap();
    let answer = saying(|info| info.policy = policy.clone());
    assert_eq!(answer, Err(VerifyError::OtherPolicy { policy }));

    assert_eq!(saying(|info| info.nonce = None), Err(VerifyError::NoNonce));
    let nonce = Nonce::from_number(&[1]).unwrap();
    let answer = saying(|info| info.nonce = Some(nonce.clone()));
    assert_eq!(answer, Err(VerifyError::OtherNonce));

    // Who does not know the request asks for neither.
    let authority = TestAuthority::new();
    let imprint = MessageImprint::of(HashAlgorithm::Sha256, b"a document\n");
    let expected = Expected {
        imprint: &imprint,
        policies: None,
        nonce: None,
    };
    let token = authority.granted();
    assert!(verify_token(&token, expected, authority.trust(), now()).is_ok());
    let nobody = Expected {
        policies: Some(&[]),
        ..expected
    };
    let answer = verify_token(&token, nobody, authority.trust(), now());
    assert!(matches!(answer, Err(VerifyError::OtherPolicy { .. })));
}

// Spec: TSP-91
#[test]
fn a_client_keeps_an_answer_to_its_own_question() {
    let authority = TestAuthority::new();
    let request = request();
    let answer = TimestampResponse::granted(authority.granted());
    let kept = verify_answer(&answer, &request, now()).unwrap();
    assert_eq!(kept, &authority.granted());
    let ask = |policy: &str, nonce: u8| {
        let imprint = request.imprint().clone();
        let nonce = Nonce::from_number(&[nonce]).unwrap();
        let policy = Oid::parse(policy).unwrap();
        TimestampRequest::new(imprint, Some(policy), Some(nonce), true)
    };
    let refused = |request: &TimestampRequest| verify_answer(&answer, request, now()).unwrap_err();
    assert_eq!(
        refused(&ask(crate::tsp::test_authority::POLICY, 1)),
        VerifyError::OtherNonce
    );
    let other = refused(&ask("1.2.3", 1));
    assert!(matches!(other, VerifyError::OtherPolicy { .. }));
    let early = GenTime::new(NOW - 3600, 0).unwrap();
    let future = verify_answer(&answer, &request, early).unwrap_err();
    assert!(matches!(future, VerifyError::FromTheFuture { .. }));
    // The certificate was asked for, and is not there.
    let absent = authority.token(tst_info(&authority.unit), Certificates::Absent);
    let absent = TimestampResponse::granted(absent);
    let error = verify_answer(&absent, &request, now()).unwrap_err();
    assert_eq!(error, VerifyError::SignerNotFound);
    let rejected = TimestampResponse::rejected(&Refusal::TimeNotAvailable);
    let error = verify_answer(&rejected, &request, now()).unwrap_err();
    let status = PkiStatus::Rejection;
    assert_eq!(error, VerifyError::Status { status });
}

// Spec: TSP-73
#[test]
fn a_time_that_is_still_to_come_is_refused() {
    let authority = TestAuthority::new();
    let at = |seconds| {
        let request = request();
        let expected = Expected::of_request(&request);
        let now = GenTime::new(seconds, 0).unwrap();
        verify_token(&authority.granted(), expected, authority.trust(), now).err()
    };
    let future = VerifyError::FromTheFuture { gen_time: now() };
    assert_eq!(at(NOW - CLOCK_SKEW_SECONDS_MAX), None);
    assert_eq!(at(NOW - CLOCK_SKEW_SECONDS_MAX - 1), Some(future));
    // Long after: the certificates have expired since, but were valid then.
    assert_eq!(at(NOW + 100 * YEAR), None);
}

// Spec: TSP-33, TSP-74
#[test]
fn a_critical_extension_that_is_not_known_is_refused() {
    let unknown = |critical| {
        let extension = Extension {
            oid: Oid::parse("1.3.6.1.4.1.32473.9").unwrap(),
            critical,
            value: vec![5, 0],
        };
        saying(|info| info.extensions = Extensions::new(vec![extension]).unwrap())
    };
    assert!(unknown(Flag::Absent).is_ok());
    assert!(unknown(Flag::ExplicitFalse).is_ok());
    let refused = unknown(Flag::True).unwrap_err();
    assert!(matches!(refused, VerifyError::CriticalExtension { .. }));
    let malformed = saying(|info| {
        let extension = Extension {
            oid: oid::NOT_BEFORE_CHECKPOINT.into(),
            critical: Flag::Absent,
            value: vec![5, 0],
        };
        info.extensions = Extensions::new(vec![extension]).unwrap();
    });
    assert!(matches!(malformed, Err(VerifyError::NotBefore(_))));
}

// Spec: TSP-66
#[test]
fn without_roots_or_with_others_nobody_is_believed() {
    let mut authority = TestAuthority::new();
    let token = authority.granted();
    let other_key = TestKey::p256(8);
    let same_name = Draft::root().issue(&other_key, &other_key);
    authority.roots = vec![];
    assert_eq!(verify(&authority, &token), Err(VerifyError::NoRoots));
    authority.roots = vec![same_name];
    let subject = "CN=Test unit".to_string();
    let reason = SignatureFault::Invalid;
    let fault = PathError::Signature { subject, reason };
    assert_eq!(verify(&authority, &token), Err(VerifyError::Path(fault)));
    let mut draft = Draft::root();
    draft.subject = "Another root".into();
    draft.issuer = draft.subject.clone();
    authority.roots = vec![draft.issue(&other_key, &other_key)];
    let subject = "CN=Test unit".to_string();
    let fault = PathError::NoIssuer { subject };
    assert_eq!(verify(&authority, &token), Err(VerifyError::Path(fault)));
    // The right one is found behind others.
    authority.roots.extend(TestAuthority::new().roots);
    assert_eq!(verify(&authority, &token).unwrap().root, Some(1));
}

/// Certificates that were put into the bag, which nothing protects.
// Spec: TSP-61, TSP-63
#[test]
fn the_signer_is_the_one_that_is_named_and_never_the_first_in_the_bag() {
    let authority = TestAuthority::new();
    let token = authority.granted();
    let (mallory, fake_root) = (TestKey::p256(66), TestKey::p256(67));
    let mut draft = Draft::unit("Test root");
    let look_alike = draft.issue(&mallory, &fake_root);
    draft.serial = 99;
    let stranger = draft.issue(&mallory, &fake_root);
    let with_bag = |bag: &[&Certificate]| {
        let bytes = edit_token(&token, |fields| {
            let bag: Vec<&[u8]> = bag.iter().map(|one| one.as_bytes()).collect();
            fields[3] = element(tag::CONSTRUCTED_0, &bag);
        });
        TimestampToken::parse(&bytes).unwrap()
    };
    let own = authority.unit.certificate();
    for bag in [
        &[&stranger, own][..],
        &[own, &stranger],
        &[&look_alike, own],
        &[own, &look_alike],
    ] {
        let verdict = verify(&authority, &with_bag(bag)).unwrap();
        assert_eq!(&verdict.signer, own);
    }
    let answer = verify(&authority, &with_bag(&[&stranger]));
    assert_eq!(answer, Err(VerifyError::SignerNotFound));
    let answer = verify(&authority, &with_bag(&[&look_alike]));
    assert_eq!(answer, Err(VerifyError::OtherSigningCertificate));

    // Mallory signs in the unit's name: her certificate, her key, the unit's names.
    for signing in [look_alike, stranger] {
        let forged = TestAuthority {
            roots: vec![],
            unit: TimestampUnit::assemble(signing, vec![own.clone()]).unwrap(),
            key: TestKey::p256(66),
        };
        let info = tst_info(&forged.unit);
        let answer = verify(&authority, &unchecked(&forged, info));
        let unsigned = matches!(answer, Err(VerifyError::Path(PathError::Signature { .. })));
        assert!(unsigned, "{answer:?}");
    }
}

// Spec: TSP-61, TSP-65
#[test]
fn a_signature_by_another_key_is_refused() {
    let authority = TestAuthority::new();
    let mut token = authority.granted();
    token.signer.signature = TestKey::p256(66).sign(&token.signer.signed_message());
    let fault = VerifyError::Signature(SignatureFault::Invalid);
    assert_eq!(verify(&authority, &token), Err(fault.clone()));
    token.signer.signature = vec![1, 2, 3];
    assert_eq!(verify(&authority, &token), Err(fault));
    // Without certificates the verifier brings the signer's.
    let token = authority.token(tst_info(&authority.unit), Certificates::Absent);
    assert_eq!(verify(&authority, &token), Err(VerifyError::SignerNotFound));
    let (request, others) = (request(), [authority.unit.certificate().clone()]);
    let trust = Trust {
        others: &others,
        ..authority.trust()
    };
    assert!(verify_token(&token, Expected::of_request(&request), trust, now()).is_ok());
}

fn replace(signer: &mut SignerInfo, oid: const_oid::ObjectIdentifier, value: Option<Vec<u8>>) {
    let attributes = &mut signer.signed_attributes;
    attributes.retain(|attribute| attribute.oid != oid);
    attributes.extend(value.map(|value| Attribute::one(oid, value)));
}

// Spec: TSP-62
#[test]
fn content_type_and_digest_are_signed_and_true() {
    let authority = TestAuthority::new();
    let changed = |oid, value: Option<Vec<u8>>| {
        signed_again(&authority, |signer| replace(signer, oid, value)).unwrap_err()
    };
    let data = oid("1.2.840.113549.1.7.1");
    assert_eq!(changed(oid::CONTENT_TYPE, None), VerifyError::ContentType);
    assert_eq!(
        changed(oid::CONTENT_TYPE, Some(data)),
        VerifyError::ContentType
    );
    assert_eq!(
        changed(oid::MESSAGE_DIGEST, None),
        VerifyError::MessageDigest
    );
    let digest = element(tag::OCTET_STRING, &[&[7; 32]]);
    let other = changed(oid::MESSAGE_DIGEST, Some(digest));
    assert_eq!(other, VerifyError::MessageDigest);
    let malformed = changed(oid::MESSAGE_DIGEST, Some(vec![5, 0]));
    assert!(matches!(malformed, VerifyError::Attribute(_)));
    let two = signed_again(&authority, |signer| {
        let attribute = signer.signed_attributes.iter_mut();
        let mut attribute = attribute.filter(|one| one.oid == oid::MESSAGE_DIGEST);
        let values = &mut attribute.next().unwrap().values;
        values.push(values[0].clone());
    });
    assert!(matches!(two, Err(VerifyError::Attribute(_))));
    // A TSTInfo under the signature of another one.
    let mut info = tst_info(&authority.unit);
    info.gen_time = GenTime::new(NOW - 60, 0).unwrap();
    let older = element(tag::OCTET_STRING, &[&info.to_bytes()]);
    let swapped = edit_token(&authority.granted(), |fields| {
        fields[2] = edit(&fields[2], |content| {
            content[1] = element(tag::CONSTRUCTED_0, &[&older]);
        });
    });
    let swapped = TimestampToken::parse(&swapped).unwrap();
    assert_eq!(
        verify(&authority, &swapped),
        Err(VerifyError::MessageDigest)
    );
}

// Spec: TSP-62, TSP-75
#[test]
fn the_algorithms_are_those_that_the_signature_says() {
    let authority = TestAuthority::new();
    let without = signed_again(&authority, |signer| {
        replace(signer, oid::ALGORITHM_PROTECTION, None);
    });
    assert!(without.is_ok(), "it need not be there");
    let sha256 = element(tag::SEQUENCE, &[&oid("2.16.840.1.101.3.4.2.1")]);
    let sha512 = element(tag::SEQUENCE, &[&oid("2.16.840.1.101.3.4.2.3")]);
    let ecdsa = |text| element(tag::CONSTRUCTED_1, &[&oid(text)]);
    for (digest, signature) in [
        (&sha512, ecdsa("1.2.840.10045.4.3.2")),
        (&sha256, ecdsa("1.2.840.10045.4.3.3")),
    ] {
        let value = element(tag::SEQUENCE, &[digest, &signature]);
        let answer = signed_again(&authority, |signer| {
            replace(signer, oid::ALGORITHM_PROTECTION, Some(value));
        });
        assert_eq!(answer, Err(VerifyError::AlgorithmProtection));
    }
    let named = |algorithm: &str, parameters: &[u8]| {
        let algorithm = element(tag::SEQUENCE, &[&oid(algorithm), parameters]);
        signed_again(&authority, |signer| {
            replace(signer, oid::ALGORITHM_PROTECTION, None);
            signer.signature_algorithm = algorithm;
        })
    };
    assert!(named("1.2.840.10045.4.3.2", &[]).is_ok());
    for (algorithm, parameters, fault) in [
        ("1.2.840.10045.4.3.3", &[][..], SignatureFault::Invalid),
        (
            "1.2.840.10045.4.3.2",
            &[5, 0],
            SignatureFault::UnknownAlgorithm,
        ),
        ("1.2.840.10045.4.1", &[], SignatureFault::UnknownAlgorithm),
        ("1.3.101.112", &[], SignatureFault::UnknownAlgorithm),
        (
            "1.2.840.113549.1.1.10",
            &[],
            SignatureFault::UnknownAlgorithm,
        ),
        ("1.2.840.113549.1.1.11", &[5, 0], SignatureFault::OtherKey),
    ] {
        let answer = named(algorithm, parameters);
        assert_eq!(answer, Err(VerifyError::Signature(fault)), "{algorithm}");
    }
    // RSA by its bare name, as others write it.
    let rsa = TestAuthority::with(&Draft::unit("Test root"), TestKey::rsa());
    let bare = element(tag::SEQUENCE, &[&oid("1.2.840.113549.1.1.1"), &[5, 0]]);
    let answer = signed_again(&rsa, |signer| {
        replace(signer, oid::ALGORITHM_PROTECTION, None);
        signer.signature_algorithm = bare;
    });
    assert!(answer.is_ok(), "{answer:?}");
}

/// A `SigningCertificate` of one certificate.
fn signing_certificate(algorithm: &[u8], hash: &[u8], names: Option<(&[u8], &[u8])>) -> Vec<u8> {
    let mut id = algorithm.to_vec();
    push(&mut id, tag::OCTET_STRING, &[hash]);
    if let Some((issuer, serial)) = names {
        let name = element(tag::CONSTRUCTED_4, &[issuer]);
        let serial = element(tag::INTEGER, &[serial]);
        push(
            &mut id,
            tag::SEQUENCE,
            &[&element(tag::SEQUENCE, &[&name]), &serial],
        );
    }
    let ids = element(tag::SEQUENCE, &[&element(tag::SEQUENCE, &[&id])]);
    element(tag::SEQUENCE, &[&ids])
}

// Spec: TSP-63
#[test]
fn the_certificate_is_named_under_the_signature_by_hash_issuer_and_serial_number() {
    let authority = TestAuthority::new();
    let own = authority.unit.certificate();
    let answer = |v2: Option<Vec<u8>>, v1: Option<Vec<u8>>| {
        signed_again(&authority, |signer| {
            replace(signer, oid::SIGNING_CERTIFICATE_V2, v2);
            replace(signer, oid::SIGNING_CERTIFICATE, v1);
        })
        .err()
    };
    let names = Some((own.issuer(), own.serial()));
    let sha1 = sha1::Sha1::digest(own.as_bytes()).to_vec();
    let sha256 = HashAlgorithm::Sha256.digest(own.as_bytes());
    let sha512 = HashAlgorithm::Sha512.digest(own.as_bytes());
    let named_sha512 = element(tag::SEQUENCE, &[&oid("2.16.840.1.101.3.4.2.3"), &[5, 0]]);
    let v2 = |hash: &[u8], names| Some(signing_certificate(&[], hash, names));
    let good = v2(&sha256, names);
    let good_v1 = Some(signing_certificate(&[], &sha1, names));

    assert_eq!(answer(None, None), Some(VerifyError::NoSigningCertificate));
    assert_eq!(answer(good.clone(), None), None);
    assert_eq!(answer(v2(&sha256, None), None), None);
    let by_sha512 = signing_certificate(&named_sha512, &sha512, names);
    assert_eq!(answer(Some(by_sha512), None), None);
    assert_eq!(answer(None, good_v1.clone()), None);
    assert_eq!(answer(good.clone(), good_v1.clone()), None);

    let other = Some(VerifyError::OtherSigningCertificate);
    let other_issuer = crate::tsp::test_authority::name("Somebody");
    let named_sha1 = element(tag::SEQUENCE, &[&oid("1.3.14.3.2.26")]);
    let bad_v2 = [
        v2(&[7; 32], names),
        v2(&sha256, Some((own.issuer(), &[4]))),
        v2(&sha256, Some((&other_issuer, own.serial()))),
        v2(&sha1, names),
        Some(signing_certificate(&named_sha512, &sha256, names)),
        Some(signing_certificate(&named_sha1, &sha1, names)),
    ];
    for bad in bad_v2 {
        assert_eq!(answer(bad.clone(), None), other);
        assert_eq!(answer(bad, good_v1.clone()), other, "both must be right");
    }
    let bad_v1 = Some(signing_certificate(&[], &sha256, names));
    assert_eq!(answer(None, bad_v1.clone()), other);
    assert_eq!(answer(good, bad_v1), other);
    let empty = Some(vec![tag::SEQUENCE, 2, tag::SEQUENCE, 0]);
    assert!(matches!(
        answer(empty, None),
        Some(VerifyError::Attribute(_))
    ));
}

// Spec: TSP-64
#[test]
fn a_signer_is_for_time_stamps_alone_and_critically_so() {
    assert!(by_unit(|_| {}).is_ok());
    let usage = || key_usage(DIGITAL_SIGNATURE);
    for (extensions, reason) in [
        (vec![], ProfileError::NoTimeStamping),
        (vec![usage()], ProfileError::NoTimeStamping),
        (
            vec![purposes(&[CODE_SIGNING], true)],
            ProfileError::NoTimeStamping,
        ),
        (
            vec![purposes(&["2.5.29.37.0"], true)],
            ProfileError::NoTimeStamping,
        ),
        (
            vec![purposes(&[TIME_STAMPING, CODE_SIGNING], true)],
            ProfileError::OtherPurposes,
        ),
        (
            vec![purposes(&[TIME_STAMPING, "1.3.6.1.4.1.32473.8"], true)],
            ProfileError::OtherPurposes,
        ),
        (
            vec![purposes(&[TIME_STAMPING], false)],
            ProfileError::PurposeNotCritical,
        ),
        (
            vec![purposes(&[TIME_STAMPING], true), authority_extension(None)],
            ProfileError::Authority,
        ),
        (
            vec![purposes(&[TIME_STAMPING], true), key_usage(KEY_CERT_SIGN)],
            ProfileError::KeyUsage,
        ),
        (
            vec![
                purposes(&[TIME_STAMPING], true),
                key_usage(DIGITAL_SIGNATURE | KEY_CERT_SIGN),
            ],
            ProfileError::KeyUsage,
        ),
        (
            vec![
                purposes(&[TIME_STAMPING], true),
                purposes(&[TIME_STAMPING], true),
            ],
            ProfileError::Extension,
        ),
        (
            vec![
                purposes(&[TIME_STAMPING], true),
                extension("2.5.29.19", true, b""),
            ],
            ProfileError::Extension,
        ),
    ] {
        let answer = by_unit(|draft| draft.extensions = extensions);
        assert_eq!(answer, Err(VerifyError::Signer(reason)));
    }
    let unknown = by_unit(|draft| {
        let unknown = extension("1.3.6.1.4.1.32473.7", true, &[5, 0]);
        draft.extensions.push(unknown);
    });
    let unknown = unknown.unwrap_err();
    let critical = VerifyError::Signer(ProfileError::UnknownCritical {
        oid: Oid::parse("1.3.6.1.4.1.32473.7").unwrap(),
    });
    assert_eq!(unknown, critical);
    let without_usage = by_unit(|draft| draft.extensions = vec![purposes(&[TIME_STAMPING], true)]);
    assert!(without_usage.is_ok());
}

// Spec: TSP-68
#[test]
fn the_token_is_of_the_time_in_which_the_key_was_in_use() {
    let period = |from, to| {
        by_unit(|draft| {
            draft.extensions = vec![purposes(&[TIME_STAMPING], true), usage_period(from, to)];
        })
        .err()
    };
    let outside = Some(VerifyError::Signer(ProfileError::UsagePeriod));
    assert_eq!(period(NOW, NOW), None);
    assert_eq!(period(NOW + 1, NOW + 2), outside);
    assert_eq!(period(NOW - 2, NOW - 1), outside);
}

// Spec: TSP-72
#[test]
fn the_authority_that_the_token_names_is_the_signer() {
    use crate::tsp::tst_info::TsaName;
    let other = TsaName::directory(&crate::tsp::test_authority::name("Somebody"));
    let answer = saying(|info| info.tsa = Some(other.clone()));
    assert_eq!(answer, Err(VerifyError::OtherName));
    assert!(saying(|info| info.tsa = None).is_ok());
    let alternative = element(tag::SEQUENCE, &[other.as_bytes()]);
    let mut draft = Draft::unit("Test root");
    draft
        .extensions
        .push(extension("2.5.29.17", false, &alternative));
    let authority = TestAuthority::with(&draft, TestKey::p256(2));
    let mut info = tst_info(&authority.unit);
    info.tsa = Some(other);
    assert!(verify(&authority, &unchecked(&authority, info)).is_ok());
}

/// What a token is worth whose unit stands below these authorities, from the top down.
fn below(root: &Draft, between: &[Draft], unit_validity: (u64, u64)) -> Option<PathError> {
    let root_key = TestKey::p256(1);
    let root = root.issue(&root_key, &root_key);
    let (mut upper_key, mut upper_name) = (root_key, "Test root".to_string());
    let mut chain = Vec::new();
    for (at, draft) in between.iter().enumerate() {
        let key = TestKey::p256(20 + u8::try_from(at).unwrap());
        let mut draft = draft.clone();
        draft.issuer = upper_name;
        chain.push(draft.issue(&key, &upper_key));
        (upper_key, upper_name) = (key, draft.subject);
    }
    let mut draft = Draft::unit(&upper_name);
    draft.validity = unit_validity;
    let key = TestKey::p256(2);
    let certificate = draft.issue(&key, &upper_key);
    let authority = TestAuthority {
        roots: vec![root],
        unit: TimestampUnit::assemble(certificate, chain).unwrap(),
        key,
    };
    let info = tst_info(&authority.unit);
    match verify(&authority, &unchecked(&authority, info)) {
        Ok(_) => None,
        Err(VerifyError::Path(error)) => Some(error),
        Err(other) => panic!("{other}"),
    }
}

const VALID: (u64, u64) = (NOW - 10, NOW + 10);

// Spec: TSP-66
#[test]
fn every_certificate_was_valid_at_the_time_of_the_token() {
    let not_valid = |subject: &str| {
        Some(PathError::NotValid {
            subject: subject.into(),
        })
    };
    for (validity, fault) in [
        ((NOW, NOW), false),
        ((NOW + 1, NOW + 2), true),
        ((NOW - 2, NOW - 1), true),
    ] {
        let expected = |subject| fault.then(|| not_valid(subject)).flatten();
        let (mut root, mut between) = (Draft::root(), Draft::between());
        let answer = below(&root, &[between.clone()], validity);
        assert_eq!(answer, expected("CN=Test unit"));
        between.validity = validity;
        assert_eq!(
            below(&root, &[between], VALID),
            expected("CN=Test authority")
        );
        root.validity = validity;
        assert_eq!(below(&root, &[], VALID), expected("CN=Test root"));
    }
}

// Spec: TSP-67
#[test]
fn authorities_are_such_and_keep_to_their_limits() {
    let fault = |extensions: Vec<Vec<u8>>| {
        let between = Draft {
            extensions,
            ..Draft::between()
        };
        let as_root = Draft {
            extensions: between.extensions.clone(),
            ..Draft::root()
        };
        let reason = |answer| match answer {
            None => None,
            Some(PathError::Authority { reason, .. }) => Some(reason),
            Some(other) => panic!("{other}"),
        };
        let root = reason(below(&as_root, &[], VALID));
        let between = reason(below(&Draft::root(), &[between], VALID));
        assert_eq!(root, between, "the same rules for a root");
        between
    };
    let authority = || authority_extension(None);
    let not_applied = |text: &str| {
        Some(ProfileError::UnknownCritical {
            oid: Oid::parse(text).unwrap(),
        })
    };
    let no_authority = element(tag::SEQUENCE, &[]);
    for (extensions, expected) in [
        (vec![authority()], None),
        (vec![authority_extension(Some(0))], None),
        (vec![authority(), purposes(&["2.5.29.37.0"], true)], None),
        (
            vec![authority(), purposes(&[CODE_SIGNING, TIME_STAMPING], false)],
            None,
        ),
        (vec![], Some(ProfileError::NotAuthority)),
        (
            vec![extension("2.5.29.19", true, &no_authority)],
            Some(ProfileError::NotAuthority),
        ),
        (
            vec![authority(), key_usage(DIGITAL_SIGNATURE)],
            Some(ProfileError::KeyUsage),
        ),
        (
            vec![authority(), purposes(&[CODE_SIGNING], false)],
            Some(ProfileError::NoTimeStamping),
        ),
        (
            vec![authority(), extension("2.5.29.30", false, &[0x30, 0])],
            not_applied("2.5.29.30"),
        ),
        (
            vec![authority(), extension("2.5.29.36", true, &[0x30, 0])],
            not_applied("2.5.29.36"),
        ),
        (
            vec![authority(), extension("1.3.6.1.4.1.32473.7", true, b"")],
            not_applied("1.3.6.1.4.1.32473.7"),
        ),
        (
            vec![authority(), extension("1.3.6.1.4.1.32473.7", false, b"")],
            None,
        ),
    ] {
        assert_eq!(fault(extensions), expected);
    }
}

// Spec: TSP-67
#[test]
fn a_path_is_no_longer_than_its_authorities_and_this_verifier_permit() {
    let level = |at: usize, path_length| Draft {
        subject: alloc::format!("Level {at}"),
        serial: u8::try_from(10 + at).unwrap(),
        extensions: vec![authority_extension(path_length)],
        ..Draft::between()
    };
    let two = |path_length| {
        below(
            &Draft::root(),
            &[level(0, path_length), level(1, None)],
            VALID,
        )
    };
    assert_eq!(two(Some(1)), None);
    let reason = ProfileError::PathLength { most: 0 };
    let subject = "CN=Level 0".to_string();
    assert_eq!(two(Some(0)), Some(PathError::Authority { subject, reason }));
    let levels: Vec<Draft> = (0..9).map(|at| level(at, None)).collect();
    assert_eq!(below(&Draft::root(), &levels[..8], VALID), None);
    assert_eq!(
        below(&Draft::root(), &levels, VALID),
        Some(PathError::TooLong)
    );
}

/// A bag of authorities that all have issued each other would take long to search.
// Spec: TSP-67
#[test]
fn a_search_among_look_alikes_ends() {
    let key = TestKey::p256(30);
    let level = |serial| Draft {
        subject: "Loop".into(),
        issuer: "Loop".into(),
        serial,
        extensions: vec![authority_extension(None)],
        ..Draft::between()
    };
    let chain: Vec<Certificate> = (1..=30)
        .map(|serial| level(serial).issue(&key, &key))
        .collect();
    let authority = TestAuthority {
        unit: TimestampUnit::assemble(Draft::unit("Loop").issue(&TestKey::p256(2), &key), chain)
            .unwrap(),
        ..TestAuthority::new()
    };
    let info = tst_info(&authority.unit);
    let answer = verify(&authority, &unchecked(&authority, info));
    assert!(matches!(answer, Err(VerifyError::Path(_))), "{answer:?}");
}

/// Nothing of a token can change unnoticed but its receipt, which has a proof of its own.
// Spec: TSP-77
#[test]
fn a_token_with_any_one_bit_changed_is_not_good() {
    let authority = TestAuthority::with_chain();
    let token = authority.token(tst_info(&authority.unit), Certificates::Chain);
    let response = TimestampResponse::granted(token.with_receipt(b"a receipt").unwrap());
    let bytes = response.to_bytes();
    let request = request();
    let verdict = |bytes: &[u8]| {
        let response = TimestampResponse::parse(bytes).ok()?;
        let expected = Expected::of_request(&request);
        verify_response(&response, expected, authority.trust(), now()).ok()
    };
    let good = verdict(&bytes).unwrap();
    let mut unnoticed = 0;
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            if let Some(verdict) = verdict(&changed) {
                assert_ne!(verdict.receipt, good.receipt, "byte {at}, bit {bit}");
                unnoticed += 1;
            }
        }
    }
    // The bits of the receipt, and those of the attribute's kind: then it is no receipt.
    let attribute = "a receipt".len() + oid::RECEIPT.as_bytes().len();
    assert!(unnoticed <= 8 * attribute, "{unnoticed}");
    assert!(unnoticed >= 8 * "a receipt".len());
}
