//! New certificates for a time-stamp authority: its own root, and units below it.
//!
//! ```text
//! TBSCertificate                          Certificate
//!   version 3, serial number, algorithm     TBSCertificate
//!   issuer, validity, subject, key          algorithm
//!   extensions: those of the profile        signature
//! ```
//!
//! In scope: the two profiles that Jurat makes, in two steps, so that the private key stays where
//! it is: [`CertificateDraft::to_be_signed`] and [`CertificateDraft::finish`]. Out of scope: the
//! private key, the serial number's randomness, anybody else's profile. The builder of `x509-cert`
//! was not taken: it signs in one step through traits that a key elsewhere would have to imitate,
//! and its profiles prescribe names.
//!
//! Rules: `spec/timestamp.md`; RFC 5280; RFC 3161, 2.3.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use sha1::Digest as _;

use crate::tsp::certificate::{Certificate, CertificateError};
use crate::tsp::element::{Element, Flag, element, push, tag, unsigned_content};
use crate::tsp::gen_time::GenTime;
use crate::tsp::oid::{self, Oid};

/// What a certificate will say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateDraft {
    /// Its number: drawn at random, so that nobody can predict the bytes that are signed.
    pub serial: [u8; 16],
    /// The issuer's `Name` in DER; for a root its own.
    pub issuer: Vec<u8>,
    /// The subject's `Name` in DER.
    pub subject: Vec<u8>,
    /// From when to when it is valid, both included.
    pub validity: (GenTime, GenTime),
    /// The subject's `SubjectPublicKeyInfo` in DER.
    pub public_key: Vec<u8>,
    /// The issuer's, of which the authority key identifier is.
    pub issuer_public_key: Vec<u8>,
    /// What it is for.
    pub profile: CertificateProfile,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateProfile {
    /// A root that issues certificates of units, and of nothing else.
    Root,
    /// A time-stamping unit, whose private key signs within this period and not after it.
    Unit {
        /// From when to when, both included.
        key_usage: (GenTime, GenTime),
    },
}

impl CertificateDraft {
    /// What the issuer's P-256 key signs, with SHA-256.
    // Spec: TSP-50, TSP-51
    pub fn to_be_signed(&self) -> Vec<u8> {
        let mut inside = element(tag::CONSTRUCTED_0, &[&element(tag::INTEGER, &[&[2]])]);
        push(
            &mut inside,
            tag::INTEGER,
            &[&unsigned_content(&self.serial)],
        );
        inside.extend(algorithm());
        inside.extend_from_slice(&self.issuer);
        let validity = [time(self.validity.0), time(self.validity.1)];
        push(&mut inside, tag::SEQUENCE, &[&validity.concat()]);
        inside.extend_from_slice(&self.subject);
        inside.extend_from_slice(&self.public_key);
        let list = element(tag::SEQUENCE, &[&self.extensions()]);
        push(&mut inside, CONSTRUCTED_3, &[&list]);
        element(tag::SEQUENCE, &[&inside])
    }

    /// The certificate, with the signature of the issuer's key.
    ///
    /// # Errors
    /// [`CertificateError`] when a part of the draft is no DER of its kind. The caller is at
    /// fault.
    pub fn finish(&self, signature: &[u8]) -> Result<Certificate, CertificateError> {
        let signature = element(tag::BIT_STRING, &[&[0], signature]);
        let parts: [&[u8]; 3] = [&self.to_be_signed(), &algorithm(), &signature];
        Certificate::parse(&element(tag::SEQUENCE, &parts))
    }

    fn extensions(&self) -> Vec<u8> {
        let identifier = element(tag::OCTET_STRING, &[&key_identifier(&self.public_key)]);
        let issuer = element(
            tag::PRIMITIVE_0,
            &[&key_identifier(&self.issuer_public_key)],
        );
        let mut list = match self.profile {
            // Spec: TSP-50
            CertificateProfile::Root => {
                let no_authority_below = element(tag::INTEGER, &[&[0]]);
                let authority = element(tag::BOOLEAN, &[&[0xff]]);
                let constraints = element(tag::SEQUENCE, &[&authority, &no_authority_below]);
                vec![
                    extension("2.5.29.19", true, &constraints),
                    extension("2.5.29.15", true, &key_usage(KEY_CERT_SIGN)),
                ]
            }
            // Spec: TSP-51
            CertificateProfile::Unit { key_usage: period } => {
                let purpose = element(tag::OID, &[oid::TIME_STAMPING.as_bytes()]);
                let content = |time: GenTime| time.content().into_bytes();
                let from = element(tag::PRIMITIVE_0, &[&content(period.0)]);
                let to = element(tag::PRIMITIVE_1, &[&content(period.1)]);
                vec![
                    extension("2.5.29.15", true, &key_usage(DIGITAL_SIGNATURE)),
                    extension("2.5.29.37", true, &element(tag::SEQUENCE, &[&purpose])),
                    extension("2.5.29.16", false, &element(tag::SEQUENCE, &[&from, &to])),
                ]
            }
        };
        list.push(extension("2.5.29.14", false, &identifier));
        let issuer = element(tag::SEQUENCE, &[&issuer]);
        list.push(extension("2.5.29.35", false, &issuer));
        list.concat()
    }
}

/// The `Name` in DER that is one common name.
///
/// # Errors
/// [`NameLength`] when it is empty or longer than a common name may be. The operator is at fault.
pub fn common_name(text: &str) -> Result<Vec<u8>, NameLength> {
    // RFC 5280, appendix A: ub-common-name.
    let chars = text.chars().count();
    if !(1..=64).contains(&chars) {
        return Err(NameLength { chars });
    }
    let kind = identifier("2.5.4.3");
    let text = element(tag::UTF8_STRING, &[text.as_bytes()]);
    let pair = element(tag::SEQUENCE, &[&kind, &text]);
    Ok(element(tag::SEQUENCE, &[&element(tag::SET, &[&pair])]))
}

/// Certificates as PEM (RFC 7468), in their order.
pub fn to_pem(certificates: &[Certificate]) -> String {
    let mut pem = String::new();
    for certificate in certificates {
        let base64 = crate::base64::encode(certificate.as_bytes());
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut rest = base64.as_str();
        while !rest.is_empty() {
            let (line, tail) = rest.split_at_checked(64).unwrap_or((rest, ""));
            pem.push_str(line);
            pem.push('\n');
            rest = tail;
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}

fn algorithm() -> Vec<u8> {
    let oid = element(tag::OID, &[oid::ECDSA_WITH_SHA256.as_bytes()]);
    element(tag::SEQUENCE, &[&oid])
}

/// Until 2049 the short form, and the long one from then on: RFC 5280, 4.1.2.5.
fn time(time: GenTime) -> Vec<u8> {
    let content = time.content();
    let short = content.get(2..).filter(|_| time.seconds() < YEAR_2050);
    match short {
        Some(short) => element(UTC_TIME, &[short.as_bytes()]),
        None => element(tag::GENERALIZED_TIME, &[content.as_bytes()]),
    }
}

fn extension(id: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let mut inside = identifier(id);
    if critical {
        Flag::new(true).push(&mut inside);
    }
    push(&mut inside, tag::OCTET_STRING, &[value]);
    element(tag::SEQUENCE, &[&inside])
}

/// The DER of an identifier that this module wrote down.
fn identifier(text: &str) -> Vec<u8> {
    let oid = Oid::parse(text);
    element(tag::OID, &[oid.as_ref().map_or(&[][..], Oid::as_bytes)])
}

/// A `KeyUsage` of one bit.
fn key_usage(bit: u8) -> Vec<u8> {
    let unused = u8::try_from(bit.trailing_zeros()).unwrap_or_default();
    element(tag::BIT_STRING, &[&[unused, bit]])
}

/// SHA-1 of the key's bits, as RFC 5280, 4.2.1.2 has it: a name, on which nothing rests.
fn key_identifier(public_key: &[u8]) -> Vec<u8> {
    let bits = Element::only(public_key, tag::SEQUENCE, "key")
        .and_then(|info| {
            let mut fields = info.inside();
            fields.take(tag::SEQUENCE, "algorithm")?;
            fields.take(tag::BIT_STRING, "key")
        })
        .map(|bits| bits.content.get(1..).unwrap_or_default());
    sha1::Sha1::digest(bits.unwrap_or_default()).to_vec()
}

const DIGITAL_SIGNATURE: u8 = 0x80;
const KEY_CERT_SIGN: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const CONSTRUCTED_3: u8 = 0xa3;
/// 2050-01-01T00:00:00Z.
const YEAR_2050: u64 = 2_524_608_000;

/// A name that is empty or longer than 64 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameLength {
    /// How long it is.
    pub chars: usize,
}

impl fmt::Display for NameLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chars = self.chars;
        write!(
            f,
            "a common name of {chars} characters, but one has 1 to 64"
        )
    }
}

impl core::error::Error for NameLength {}

#[cfg(test)]
mod tests {
    use p256::ecdsa::signature::Signer as _;
    use p256::pkcs8::EncodePublicKey as _;

    use super::*;
    use crate::tsp::path::verify_chain;
    use crate::tsp::signed_data::TimestampUnit;
    use crate::tsp::test_authority::{NOW, YEAR};

    fn key(seed: u8) -> (p256::ecdsa::SigningKey, Vec<u8>) {
        let key = p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap();
        let public = key.verifying_key().to_public_key_der().unwrap();
        (key, public.as_bytes().to_vec())
    }

    fn at(seconds: u64) -> GenTime {
        GenTime::new(seconds, 0).unwrap()
    }

    fn issue(draft: &CertificateDraft, key: &p256::ecdsa::SigningKey) -> Certificate {
        let signature: p256::ecdsa::DerSignature = key.sign(&draft.to_be_signed());
        draft.finish(signature.as_bytes()).unwrap()
    }

    fn chain() -> [Certificate; 2] {
        let (root_key, root_public) = key(1);
        let (_, public) = key(2);
        let name = common_name("Time-stamps of example.com/log").unwrap();
        let root = CertificateDraft {
            serial: [0x80; 16],
            issuer: name.clone(),
            subject: name.clone(),
            validity: (at(NOW), at(NOW + 40 * YEAR)),
            public_key: root_public.clone(),
            issuer_public_key: root_public.clone(),
            profile: CertificateProfile::Root,
        };
        let unit = CertificateDraft {
            serial: [0; 16],
            issuer: name,
            subject: common_name("Unit 1").unwrap(),
            validity: (at(NOW), at(NOW + 6 * YEAR)),
            public_key: public,
            issuer_public_key: root_public,
            profile: CertificateProfile::Unit {
                key_usage: (at(NOW), at(NOW + YEAR)),
            },
        };
        [issue(&unit, &root_key), issue(&root, &root_key)]
    }

    // Spec: TSP-50, TSP-51
    #[test]
    fn a_unit_that_is_issued_here_has_the_profile_and_a_path_to_its_root() {
        let [unit, root] = chain();
        unit.verify_signer_profile().unwrap();
        verify_chain(&[unit.clone(), root.clone()], at(NOW)).unwrap();
        assert!(verify_chain(&[unit.clone(), root.clone()], at(NOW - 1)).is_err());
        assert!(verify_chain(&[unit.clone(), unit.clone()], at(NOW)).is_err());
        assert!(verify_chain(core::slice::from_ref(&unit), at(NOW)).is_err());
        let issuing = TimestampUnit::new(unit.clone(), vec![root]).unwrap();
        issuing.verify_time(at(NOW + YEAR)).unwrap();
        // The key ends long before the certificate, so that tokens can be checked for years.
        assert!(issuing.verify_time(at(NOW + YEAR + 1)).is_err());
        assert_eq!(unit.signs_until(), at(NOW + YEAR).since_epoch());
    }

    // Spec: TSP-47
    #[test]
    fn a_unit_whose_root_ends_first_signs_no_longer_than_that() {
        let (root_key, root_public) = key(1);
        let (_, public) = key(2);
        let name = common_name("Root").unwrap();
        let end = NOW + YEAR / 2;
        let root = CertificateDraft {
            serial: [0x80; 16],
            issuer: name.clone(),
            subject: name.clone(),
            validity: (at(NOW), at(end)),
            public_key: root_public.clone(),
            issuer_public_key: root_public.clone(),
            profile: CertificateProfile::Root,
        };
        let unit = CertificateDraft {
            serial: [0; 16],
            issuer: name,
            subject: common_name("Unit 1").unwrap(),
            validity: (at(NOW), at(NOW + 6 * YEAR)),
            public_key: public,
            issuer_public_key: root_public,
            profile: CertificateProfile::Unit {
                key_usage: (at(NOW), at(NOW + YEAR)),
            },
        };
        let chain = [issue(&unit, &root_key), issue(&root, &root_key)];
        verify_chain(&chain, at(end)).unwrap();
        assert!(verify_chain(&chain, at(end + 1)).is_err());
        let [unit, root] = chain;
        let issuing = TimestampUnit::new(unit, vec![root]).unwrap();
        issuing.verify_time(at(end)).unwrap();
        assert!(issuing.verify_time(at(end + 1)).is_err());
        assert_eq!(issuing.signs_until(), at(end).since_epoch());
    }

    // Spec: TSP-51
    #[test]
    fn names_are_bounded_and_pem_can_be_read_again() {
        assert_eq!(common_name(""), Err(NameLength { chars: 0 }));
        assert_eq!(common_name(&"é".repeat(65)), Err(NameLength { chars: 65 }));
        common_name(&"é".repeat(64)).unwrap();
        let [unit, root] = chain();
        let pem = to_pem(&[unit.clone(), root]);
        assert_eq!(pem.matches("-----BEGIN CERTIFICATE-----\n").count(), 2);
        assert!(pem.lines().all(|line| line.len() <= 64));
        let body: String = pem
            .lines()
            .skip(1)
            .take_while(|line| !line.starts_with('-'))
            .collect();
        assert_eq!(crate::base64::decode(&body).unwrap(), unit.as_bytes());
    }
}
