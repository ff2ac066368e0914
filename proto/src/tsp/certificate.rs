//! Certificates, as far as time-stamps need them: who, which key, since when, what for.
//!
//! In scope: reading one, the extensions that decide whether it may sign time-stamps or
//! certificates, and the check of a signature with its key. Out of scope: which certificate leads
//! to which ([`crate::tsp::path`]); revocation.
//!
//! `x509-cert` reads the certificate; what is hashed, compared or signed is taken from the bytes
//! that came, never from what it would write.
//!
//! Signatures: ECDSA on P-256 and P-384 and RSA of 2048 to 8192 bits with PKCS #1 v1.5 padding,
//! each with SHA-256, SHA-384 or SHA-512. RSA-PSS, Ed25519 and SHA-1 are not verified.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;
use core::time::Duration;

use der::Decode as _;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::pkcs8::DecodePublicKey as _;
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::traits::PublicKeyParts as _;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, PrivateKeyUsagePeriod};

use crate::tsp::element::{Algorithm, Element, Parameters, tag};
use crate::tsp::gen_time::GenTime;
use crate::tsp::imprint::HashAlgorithm;
use crate::tsp::oid;

/// A certificate. Nothing of it is verified by parsing.
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    tbs: Vec<u8>,
    issuer: Vec<u8>,
    subject: Vec<u8>,
    serial: Vec<u8>,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
    public_key: Vec<u8>,
    fields: x509_cert::Certificate,
    key: Option<PublicKey>,
}

/// The longest certificate that is taken. Real ones have 0.4 to 3 kB.
// Spec: TSP-25
pub const CERTIFICATE_BYTES_MAX: usize = 64 * 1024;

/// The most certificates that are taken from one file: a system's whole store has 150.
// Spec: TSP-90
pub const CERTIFICATES_IN_FILE_MAX: usize = 1024;
const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

impl Certificate {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// [`CertificateError`] when it is too long, not DER, or the algorithm outside of what is
    /// signed is another one than inside.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(CertificateError::TooLong { bytes: der.len() });
        }
        let fields =
            x509_cert::Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
        let slices = Slices::of(der).ok_or(CertificateError::Malformed)?;
        if slices.inner_algorithm != slices.algorithm {
            return Err(CertificateError::TwoAlgorithms);
        }
        Ok(Self {
            der: der.to_vec(),
            tbs: slices.tbs.to_vec(),
            issuer: slices.issuer.to_vec(),
            subject: slices.subject.to_vec(),
            serial: slices.serial.to_vec(),
            algorithm: slices.algorithm.to_vec(),
            signature: slices.signature.to_vec(),
            public_key: slices.key.to_vec(),
            key: PublicKey::of(slices.key),
            fields,
        })
    }

    /// Reads the certificates of a file: one in DER, or any number in PEM (RFC 7468), in which what
    /// stands between them is ignored.
    ///
    /// # Errors
    /// [`CertificateFileError`]: there is none or too many, or one is malformed. Whoever made the
    /// file is at fault.
    // Spec: TSP-90
    pub fn parse_file(file: &[u8]) -> Result<Vec<Self>, CertificateFileError> {
        let Some(text) = core::str::from_utf8(file)
            .ok()
            .filter(|text| text.contains(PEM_BEGIN))
        else {
            let one = Self::parse(file)
                .map_err(|reason| CertificateFileError::Certificate { place: 0, reason })?;
            return Ok(alloc::vec![one]);
        };
        let mut certificates = Vec::new();
        for (place, rest) in text.split(PEM_BEGIN).skip(1).enumerate() {
            if place >= CERTIFICATES_IN_FILE_MAX {
                return Err(CertificateFileError::TooMany);
            }
            let (body, _) = rest
                .split_once(PEM_END)
                .ok_or(CertificateFileError::Pem { place })?;
            let body: String = body.split_ascii_whitespace().collect();
            let der = crate::base64::decode(&body);
            let der = der.map_err(|_| CertificateFileError::Pem { place })?;
            let one = Self::parse(&der)
                .map_err(|reason| CertificateFileError::Certificate { place, reason })?;
            certificates.push(one);
        }
        Ok(certificates)
    }

    /// Its DER.
    pub fn as_bytes(&self) -> &[u8] {
        &self.der
    }

    /// The issuer's `Name` in DER.
    pub fn issuer(&self) -> &[u8] {
        &self.issuer
    }

    /// The subject's `Name` in DER.
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// The subject for people, as RFC 4514 writes names.
    pub fn subject_text(&self) -> String {
        self.fields.tbs_certificate().subject().to_string()
    }

    /// The `SubjectPublicKeyInfo` in DER.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// The content of the serial number.
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    pub(crate) fn key(&self) -> Option<&PublicKey> {
        self.key.as_ref()
    }

    /// Whether the time is in the period of validity, both ends included.
    pub(crate) fn is_valid_at(&self, time: GenTime) -> bool {
        self.validity().contains(&time.since_epoch())
    }

    /// The times since 1970 at which it is valid, both ends included.
    pub(crate) fn validity(&self) -> RangeInclusive<Duration> {
        let validity = self.fields.tbs_certificate().validity();
        validity.not_before.to_unix_duration()..=validity.not_after.to_unix_duration()
    }

    /// The time since 1970 after which its private key must sign nothing more: the end of its
    /// validity, or of the key's period of use if that is sooner.
    pub fn signs_until(&self) -> Duration {
        let period = self.usage_period();
        let to = period.map_or(Duration::MAX, |period| *period.end());
        to.min(self.valid_until())
    }

    /// The time since 1970 after which it is not valid.
    pub(crate) fn valid_until(&self) -> Duration {
        *self.validity().end()
    }

    pub(crate) fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    /// Whether one of its names is this `GeneralName`: the subject, or an alternative name.
    pub(crate) fn has_name(&self, name: &[u8]) -> bool {
        let subject = Element::only(name, tag::CONSTRUCTED_4, "tsa");
        if subject.is_ok_and(|subject| subject.content == self.subject) {
            return true;
        }
        let alternatives = self
            .extension(x509_cert::ext::pkix::ID_CE_SUBJECT_ALT_NAME)
            .map(|(_, value)| value);
        let Some(list) = alternatives
            .and_then(|value| Element::only(value, tag::SEQUENCE, "subjectAltName").ok())
        else {
            return false;
        };
        let mut names = list.inside();
        while let Ok(next) = names.next_any("subjectAltName") {
            if next.bytes == name {
                return true;
            }
        }
        false
    }

    fn extension(&self, oid: const_oid::ObjectIdentifier) -> Option<(bool, &[u8])> {
        self.extensions()
            .find(|(found, ..)| *found == oid)
            .map(|(_, critical, value)| (critical, value))
    }

    fn extensions(&self) -> impl Iterator<Item = (const_oid::ObjectIdentifier, bool, &[u8])> {
        let extensions = self.fields.tbs_certificate().extensions();
        extensions.into_iter().flatten().map(|extension| {
            let value = extension.extn_value.as_bytes();
            (extension.extn_id, extension.critical, value)
        })
    }

    fn read<'a, T>(&'a self) -> Result<Option<(bool, T)>, ProfileError>
    where
        T: der::Decode<'a> + const_oid::AssociatedOid,
    {
        let fields = self.fields.tbs_certificate();
        fields
            .get_extension::<T>()
            .map_err(|_| ProfileError::Extension)
    }

    /// Whether every extension is one that is looked at here, or need not be.
    // Spec: TSP-67
    fn verify_extensions(&self) -> Result<(), ProfileError> {
        use const_oid::db::rfc5280 as known;
        let mut seen = Vec::new();
        for (oid, critical, _) in self.extensions() {
            if seen.contains(&oid) {
                return Err(ProfileError::Extension);
            }
            seen.push(oid);
            // Constraints that nobody here applies must not pass as if somebody did.
            let constrains = [
                known::ID_CE_NAME_CONSTRAINTS,
                known::ID_CE_POLICY_CONSTRAINTS,
                known::ID_CE_INHIBIT_ANY_POLICY,
                known::ID_CE_POLICY_MAPPINGS,
            ];
            let looked_at = [
                known::ID_CE_BASIC_CONSTRAINTS,
                known::ID_CE_KEY_USAGE,
                known::ID_CE_EXT_KEY_USAGE,
                known::ID_CE_PRIVATE_KEY_USAGE_PERIOD,
                known::ID_CE_SUBJECT_ALT_NAME,
                known::ID_CE_CERTIFICATE_POLICIES,
            ];
            if constrains.contains(&oid) || (critical && !looked_at.contains(&oid)) {
                return Err(ProfileError::UnknownCritical { oid: oid.into() });
            }
        }
        Ok(())
    }

    /// Whether it may sign time-stamps: and nothing else.
    ///
    /// # Errors
    /// [`ProfileError`]: the first rule that it breaks.
    // Spec: TSP-64
    pub fn verify_signer_profile(&self) -> Result<(), ProfileError> {
        self.verify_extensions()?;
        match self.read::<ExtendedKeyUsage>()? {
            None => return Err(ProfileError::NoTimeStamping),
            Some((_, usage)) if !usage.0.contains(&oid::TIME_STAMPING) => {
                return Err(ProfileError::NoTimeStamping);
            }
            Some((_, usage)) if usage.0.len() != 1 => {
                return Err(ProfileError::OtherPurposes);
            }
            Some((false, _)) => return Err(ProfileError::PurposeNotCritical),
            Some((true, _)) => {}
        }
        if let Some((_, constraints)) = self.read::<BasicConstraints>()?
            && constraints.ca
        {
            return Err(ProfileError::Authority);
        }
        if let Some((_, KeyUsage(usages))) = self.read::<KeyUsage>()? {
            use x509_cert::ext::pkix::KeyUsages::{DigitalSignature, NonRepudiation};
            let permitted = DigitalSignature | NonRepudiation;
            if (usages & permitted).is_empty() || !(usages - permitted).is_empty() {
                return Err(ProfileError::KeyUsage);
            }
        }
        Ok(())
    }

    /// Whether the private key was in its period of use, where the certificate names one.
    // Spec: TSP-68
    pub(crate) fn verify_usage_period(&self, time: GenTime) -> Result<(), ProfileError> {
        if self.usage_period()?.contains(&time.since_epoch()) {
            Ok(())
        } else {
            Err(ProfileError::UsagePeriod)
        }
    }

    /// The times since 1970 at which its private key may sign, both ends included: always, where
    /// the certificate names no period.
    // Spec: TSP-68
    pub(crate) fn usage_period(&self) -> Result<RangeInclusive<Duration>, ProfileError> {
        let period = self.read::<PrivateKeyUsagePeriod>()?;
        let period = period.map(|(_, period)| period);
        let from = period.as_ref().and_then(|period| period.not_before);
        let to = period.as_ref().and_then(|period| period.not_after);
        let from = from.map_or(Duration::ZERO, |time| time.to_unix_duration());
        Ok(from..=to.map_or(Duration::MAX, |time| time.to_unix_duration()))
    }

    /// Whether it may sign a certificate with this many authorities between it and the signer.
    // Spec: TSP-67
    pub(crate) fn verify_authority_profile(&self, below: usize) -> Result<(), ProfileError> {
        self.verify_extensions()?;
        let (_, constraints) = self
            .read::<BasicConstraints>()?
            .ok_or(ProfileError::NotAuthority)?;
        if !constraints.ca {
            return Err(ProfileError::NotAuthority);
        }
        if let Some(most) = constraints.path_len_constraint
            && below > usize::from(most)
        {
            return Err(ProfileError::PathLength { most });
        }
        if let Some((_, usage)) = self.read::<KeyUsage>()?
            && !usage.key_cert_sign()
        {
            return Err(ProfileError::KeyUsage);
        }
        if let Some((_, usage)) = self.read::<ExtendedKeyUsage>()?
            && !usage.0.contains(&oid::TIME_STAMPING)
            && !usage.0.contains(&oid::ANY_EXTENDED_KEY_USAGE)
        {
            return Err(ProfileError::NoTimeStamping);
        }
        Ok(())
    }

    /// Verifies the signature on this certificate with another one's key.
    // Spec: TSP-66, TSP-75
    pub(crate) fn verify_issued_by(&self, issuer: &Self) -> Result<(), SignatureFault> {
        let algorithm = Element::only(&self.algorithm, tag::SEQUENCE, "signatureAlgorithm")
            .and_then(|element| Algorithm::read(element, "signatureAlgorithm"))
            .map_err(|_| SignatureFault::UnknownAlgorithm)?;
        let scheme = Scheme::of(algorithm, None).ok_or(SignatureFault::UnknownAlgorithm)?;
        issuer
            .key
            .as_ref()
            .ok_or(SignatureFault::UnknownKey)?
            .verify(scheme, &self.tbs, &self.signature)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let serial = crate::hex::encode(&self.serial);
        write!(f, "Certificate({}, serial {serial})", self.subject_text())
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

/// The parts of a certificate that are used as the bytes that they are.
struct Slices<'a> {
    tbs: &'a [u8],
    serial: &'a [u8],
    inner_algorithm: &'a [u8],
    issuer: &'a [u8],
    subject: &'a [u8],
    key: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Slices<'a> {
    /// `None` is not reached for bytes that `x509-cert` has read.
    fn of(der: &'a [u8]) -> Option<Self> {
        let certificate = Element::only(der, tag::SEQUENCE, "Certificate").ok()?;
        let mut outer = certificate.inside();
        let tbs = outer.take(tag::SEQUENCE, "tbsCertificate").ok()?;
        let algorithm = outer.take(tag::SEQUENCE, "signatureAlgorithm").ok()?;
        let signature = outer.take(tag::BIT_STRING, "signatureValue").ok()?;
        let mut fields = tbs.inside();
        fields.take_if(tag::CONSTRUCTED_0, "version").ok()?;
        let serial = fields.take(tag::INTEGER, "serialNumber").ok()?;
        let mut sequence = |field| fields.take(tag::SEQUENCE, field).ok();
        let inner_algorithm = sequence("signature")?;
        let issuer = sequence("issuer")?;
        sequence("validity")?;
        let subject = sequence("subject")?;
        let key = sequence("subjectPublicKeyInfo")?;
        Some(Self {
            tbs: tbs.bytes,
            serial: serial.content,
            inner_algorithm: inner_algorithm.bytes,
            issuer: issuer.bytes,
            subject: subject.bytes,
            key: key.bytes,
            algorithm: algorithm.bytes,
            signature: signature.content.strip_prefix(&[0])?,
        })
    }
}

/// A signature algorithm with its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Ecdsa(HashAlgorithm),
    RsaPkcs1(HashAlgorithm),
}

impl Scheme {
    /// The scheme of an `AlgorithmIdentifier`. That of RSA alone does not name the hash: a
    /// `SignerInfo` names it beside, a certificate does not.
    // Spec: TSP-75
    pub(crate) fn of(algorithm: Algorithm<'_>, digest: Option<HashAlgorithm>) -> Option<Self> {
        let ecdsa = [
            (oid::ECDSA_WITH_SHA256, HashAlgorithm::Sha256),
            (oid::ECDSA_WITH_SHA384, HashAlgorithm::Sha384),
            (oid::ECDSA_WITH_SHA512, HashAlgorithm::Sha512),
        ];
        let rsa = [
            (oid::SHA256_WITH_RSA, HashAlgorithm::Sha256),
            (oid::SHA384_WITH_RSA, HashAlgorithm::Sha384),
            (oid::SHA512_WITH_RSA, HashAlgorithm::Sha512),
        ];
        let named = |list: [(const_oid::ObjectIdentifier, HashAlgorithm); 3]| {
            let mut list = list.into_iter();
            list.find(|(oid, _)| oid.as_bytes() == algorithm.oid)
                .map(|(_, hash)| hash)
        };
        let absent = algorithm.parameters == Parameters::Absent;
        let null = algorithm.parameters == Parameters::Null;
        if let Some(hash) = named(ecdsa) {
            return absent.then_some(Self::Ecdsa(hash));
        }
        if let Some(hash) = named(rsa) {
            return (absent || null).then_some(Self::RsaPkcs1(hash));
        }
        let bare = algorithm.oid == oid::RSA_ENCRYPTION.as_bytes() && (absent || null);
        digest.filter(|_| bare).map(Self::RsaPkcs1)
    }

    /// The hash of what is signed.
    pub(crate) fn hash(self) -> HashAlgorithm {
        match self {
            Self::Ecdsa(hash) | Self::RsaPkcs1(hash) => hash,
        }
    }
}

/// A public key, ready to verify.
#[derive(Clone)]
pub(crate) enum PublicKey {
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    Rsa(rsa::PublicKey),
}

/// The shortest RSA key that counts. The library refuses those of more than 8192 bits.
// Spec: TSP-75
const RSA_BITS_MIN: u32 = 2048;

impl PublicKey {
    /// The key of a `SubjectPublicKeyInfo`; `None` when it is of another kind.
    fn of(info: &[u8]) -> Option<Self> {
        if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_der(info) {
            return Some(Self::P256(key));
        }
        if let Ok(key) = p384::ecdsa::VerifyingKey::from_public_key_der(info) {
            return Some(Self::P384(key));
        }
        let info = Element::only(info, tag::SEQUENCE, "subjectPublicKeyInfo").ok()?;
        let mut fields = info.inside();
        let algorithm = fields.take(tag::SEQUENCE, "algorithm").ok()?;
        let algorithm = Algorithm::read(algorithm, "algorithm").ok()?;
        let key = fields.take(tag::BIT_STRING, "subjectPublicKey").ok()?;
        if algorithm.oid != oid::RSA_ENCRYPTION.as_bytes() {
            return None;
        }
        let key = rsa::PublicKey::from_pkcs1_der(key.content.strip_prefix(&[0])?).ok()?;
        // Not by its bytes: of 256 bytes are also moduli of 2041 bits.
        (key.n().bit_width() >= RSA_BITS_MIN).then_some(Self::Rsa(key))
    }

    // Spec: TSP-65, TSP-75
    pub(crate) fn verify(
        &self,
        scheme: Scheme,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureFault> {
        let digest = scheme.hash().digest(message);
        let verified = match (self, scheme) {
            (Self::P256(key), Scheme::Ecdsa(_)) => p256::ecdsa::Signature::from_der(signature)
                .and_then(|signature| key.verify_prehash(&digest, &signature))
                .is_ok(),
            (Self::P384(key), Scheme::Ecdsa(_)) => p384::ecdsa::Signature::from_der(signature)
                .and_then(|signature| key.verify_prehash(&digest, &signature))
                .is_ok(),
            (Self::Rsa(key), Scheme::RsaPkcs1(hash)) => {
                let verified = match hash {
                    HashAlgorithm::Sha256 => {
                        key.pkcs1v15_verify_prehash::<sha2::Sha256>(&digest, signature)
                    }
                    HashAlgorithm::Sha384 => {
                        key.pkcs1v15_verify_prehash::<sha2::Sha384>(&digest, signature)
                    }
                    HashAlgorithm::Sha512 => {
                        key.pkcs1v15_verify_prehash::<sha2::Sha512>(&digest, signature)
                    }
                    HashAlgorithm::Sha3_256 | HashAlgorithm::Sha3_384 | HashAlgorithm::Sha3_512 => {
                        return Err(SignatureFault::UnknownAlgorithm);
                    }
                };
                verified.is_ok()
            }
            (Self::P256(_) | Self::P384(_), Scheme::RsaPkcs1(_))
            | (Self::Rsa(_), Scheme::Ecdsa(_)) => return Err(SignatureFault::OtherKey),
        };
        if verified {
            Ok(())
        } else {
            Err(SignatureFault::Invalid)
        }
    }
}

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureFault {
    /// Its algorithm is none that is verified here.
    UnknownAlgorithm,
    /// The key is none that is verified with here.
    UnknownKey,
    /// The key is not of the algorithm's kind.
    OtherKey,
    /// It is not this key's signature over these bytes.
    Invalid,
}

impl fmt::Display for SignatureFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownAlgorithm => "the signature's algorithm is not one that is verified here",
            Self::UnknownKey => "the key is not one that is verified with here",
            Self::OtherKey => "the key is not of the signature's kind",
            Self::Invalid => "the signature does not verify",
        })
    }
}

impl core::error::Error for SignatureFault {}

/// Why a certificate may not do what it did. Its issuer is at fault, or who used it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileError {
    /// An extension that is there twice, or is not what it must be.
    Extension,
    /// A critical extension, or a constraint, that is not applied here.
    UnknownCritical {
        /// Which.
        oid: oid::Oid,
    },
    /// Its key is not for time-stamps.
    NoTimeStamping,
    /// Its key is for other things, too.
    OtherPurposes,
    /// That its key is for time-stamps is not critical.
    PurposeNotCritical,
    /// It is an authority's, which signs certificates and no time-stamps.
    Authority,
    /// It is no authority's, but signed a certificate.
    NotAuthority,
    /// Its key usage does not permit it.
    KeyUsage,
    /// More authorities stand below it than it permits.
    PathLength {
        /// How many it permits.
        most: u8,
    },
    /// The private key was not in its period of use.
    UsagePeriod,
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Extension => f.write_str("an extension is malformed or there twice"),
            Self::UnknownCritical { oid } => {
                write!(f, "the extension {oid} constrains, and is not applied here")
            }
            Self::NoTimeStamping => f.write_str("its key is not for time-stamps"),
            Self::OtherPurposes => f.write_str("its key is not for time-stamps alone"),
            Self::PurposeNotCritical => {
                f.write_str("its extended key usage is not marked as critical")
            }
            Self::Authority => f.write_str("it is the certificate of an authority"),
            Self::NotAuthority => f.write_str("it is not the certificate of an authority"),
            Self::KeyUsage => f.write_str("its key usage does not permit what it did"),
            Self::PathLength { most } => {
                write!(f, "more than {most} authorities stand below it")
            }
            Self::UsagePeriod => f.write_str("its private key was not in its period of use"),
        }
    }
}

impl core::error::Error for ProfileError {}

/// Why bytes are no certificate. Its maker is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateError {
    /// More than [`CERTIFICATE_BYTES_MAX`].
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It is not DER, or not the fields that are due.
    Malformed,
    /// It names one signature algorithm inside of what is signed, and another one outside.
    TwoAlgorithms,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => write!(
                f,
                "the certificate has {bytes} bytes, of at most {CERTIFICATE_BYTES_MAX}"
            ),
            Self::Malformed => f.write_str("the certificate is malformed"),
            Self::TwoAlgorithms => {
                f.write_str("the certificate names two different signature algorithms")
            }
        }
    }
}

impl core::error::Error for CertificateError {}

/// Why a file holds no certificates. Whoever made it is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateFileError {
    /// A part that starts like a certificate in PEM does not end like one, or is no base64.
    Pem {
        /// Which, from 0.
        place: usize,
    },
    /// What is in DER, or in a part of PEM, is no certificate.
    Certificate {
        /// Which, from 0.
        place: usize,
        /// Why.
        reason: CertificateError,
    },
    /// More than [`CERTIFICATES_IN_FILE_MAX`].
    TooMany,
}

impl fmt::Display for CertificateFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pem { place } => write!(f, "certificate {}: not proper PEM", place + 1),
            Self::Certificate { place, reason } => {
                write!(f, "certificate {}: {reason}", place + 1)
            }
            Self::TooMany => write!(f, "more than {CERTIFICATES_IN_FILE_MAX} certificates"),
        }
    }
}

impl core::error::Error for CertificateFileError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Certificate { reason, .. } => Some(reason),
            Self::Pem { .. } | Self::TooMany => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;

    use super::*;
    use crate::tsp::test_authority::TestAuthority;

    fn pem(certificate: &Certificate) -> String {
        let text = crate::base64::encode(certificate.as_bytes());
        let mut lines = String::new();
        for line in text.as_bytes().chunks(64) {
            lines.push_str(core::str::from_utf8(line).unwrap());
            lines.push_str("\r\n");
        }
        format!("{PEM_BEGIN}\n{lines}{PEM_END}\n")
    }

    // Spec: TSP-75
    #[test]
    fn an_rsa_key_has_2048_bits_at_least() {
        use crate::tsp::element::element;
        let key_of = |first: u8| {
            let mut modulus = vec![0xff; 256];
            modulus[0] = first;
            // A number whose highest bit is set has a zero before it.
            if first >= 0x80 {
                modulus.insert(0, 0);
            }
            let numbers = [
                element(tag::INTEGER, &[&modulus]),
                element(tag::INTEGER, &[&[1, 0, 1]]),
            ];
            let key = element(tag::SEQUENCE, &[&numbers.concat()]);
            let oid = element(tag::OID, &[oid::RSA_ENCRYPTION.as_bytes()]);
            let algorithm = element(tag::SEQUENCE, &[&oid, &[5, 0]]);
            let bits = element(tag::BIT_STRING, &[&[0], &key]);
            PublicKey::of(&element(tag::SEQUENCE, &[&algorithm, &bits]))
        };
        for (first, taken) in [(0xff, true), (0x80, true), (0x7f, false), (0x01, false)] {
            assert_eq!(key_of(first).is_some(), taken, "{first:#x}");
        }
    }

    // Spec: TSP-90
    #[test]
    fn certificates_are_read_from_der_and_from_pem_with_text_around() {
        let authority = TestAuthority::new();
        let (root, unit) = (&authority.roots[0], authority.unit.certificate());
        let read = |file: &[u8]| Certificate::parse_file(file);
        assert_eq!(read(root.as_bytes()), Ok(vec![root.clone()]));
        let file = format!("Subject: CN=Test root\n{}\nand\n{}", pem(root), pem(unit));
        assert_eq!(read(file.as_bytes()), Ok(vec![root.clone(), unit.clone()]));
        let one = pem(root);
        let most = one.repeat(CERTIFICATES_IN_FILE_MAX);
        assert_eq!(
            read(most.as_bytes()).unwrap().len(),
            CERTIFICATES_IN_FILE_MAX
        );
        let more = format!("{most}{one}");
        assert_eq!(read(more.as_bytes()), Err(CertificateFileError::TooMany));
    }

    // Spec: TSP-90
    #[test]
    fn a_file_with_a_broken_certificate_is_refused_whole() {
        let good = pem(&TestAuthority::new().roots[0]);
        let read = |file: &str| Certificate::parse_file(file.as_bytes()).unwrap_err();
        let cut = format!("{good}{}", &good[..good.len() - 20]);
        assert_eq!(read(&cut), CertificateFileError::Pem { place: 1 });
        let spoiled = good.replacen("MII", "M$I", 1);
        assert_ne!(spoiled, good);
        assert_eq!(read(&spoiled), CertificateFileError::Pem { place: 0 });
        let empty = format!("{PEM_BEGIN}\n{PEM_END}\n");
        let reason = CertificateError::Malformed;
        for file in ["", "no certificate", &empty] {
            let error = CertificateFileError::Certificate { place: 0, reason };
            assert_eq!(read(file), error, "{file}");
        }
    }
}
