//! The token: CMS `SignedData` around a [`TstInfo`], with one signer.
//!
//! ```text
//! ContentInfo { id-signedData, [0] SignedData {
//!   version           3
//!   digestAlgorithms  the signer's, and no other
//!   encapContentInfo  { id-ct-TSTInfo, [0] OCTET STRING: the TSTInfo }
//!   certificates  [0] of the signer and its chain, if they were asked for
//!   crls          [1] never ours
//!   signerInfos       exactly one {
//!     version             1
//!     sid                 issuer and serial number
//!     digestAlgorithm
//!     signedAttrs     [0] content-type, message-digest, signingCertificateV2,
//!                         CMSAlgorithmProtection
//!     signatureAlgorithm
//!     signature           over signedAttrs, with the tag of SET instead of [0]
//!     unsignedAttrs   [1] the receipt, once the log has given one } } }
//! ```
//!
//! In scope: reading anybody's, writing ours, and putting a receipt into it. The private key is
//! elsewhere: [`TimestampUnit::prepare`] says what is to be signed, and [`ToBeSigned::finish`]
//! takes the signature. Out of scope: whether a token that was read is good
//! ([`crate::tsp::verify`]).
//!
//! Rules: `spec/timestamp.md`; RFC 5652, RFC 5035, RFC 5816, RFC 6211, RFC 8933.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;
use core::time::Duration;

use const_oid::ObjectIdentifier;
use der::Decode as _;

use crate::tlog_proof::TLOG_PROOF_BYTES_MAX;
use crate::tsp::certificate::{Certificate, ProfileError, PublicKey, Scheme, SignatureFault};
use crate::tsp::element::{
    Algorithm, DerError, DerFault, Element, Elements, element, nest, push, push_unsigned, tag,
};
use crate::tsp::gen_time::GenTime;
use crate::tsp::imprint::{HashAlgorithm, HashParameters};
use crate::tsp::oid::{self, Oid};
use crate::tsp::tst_info::{EncodedTstInfo, TsaName, TstInfo, TstInfoError};

/// A token: what an authority says, and its signature. Nothing of it is verified by parsing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampToken {
    digest_parameters: HashParameters,
    tst_info: TstInfo,
    tst_info_der: Vec<u8>,
    /// The elements of the list, in their order; none when there is no list.
    certificates: Vec<Vec<u8>>,
    crls: Vec<Vec<u8>>,
    pub(crate) signer: SignerInfo,
}

/// The most that a token may have: a receipt of the largest size, and as much for certificates.
// Spec: TSP-25
pub const TOKEN_BYTES_MAX: usize = 2 * TLOG_PROOF_BYTES_MAX;
/// The most certificates that a token may hold.
// Spec: TSP-25
const CERTIFICATES_MAX: usize = 32;

impl TimestampToken {
    /// Reads a token, anybody's.
    ///
    /// # Errors
    /// [`TokenError`]: the first thing that is wrong.
    // Spec: TSP-40, TSP-41
    pub fn parse(bytes: &[u8]) -> Result<Self, TokenError> {
        if bytes.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong { bytes: bytes.len() });
        }
        let mut outer = Element::only(bytes, tag::SEQUENCE, "ContentInfo")?.inside();
        if outer.take(tag::OID, "contentType")?.content != oid::SIGNED_DATA.as_bytes() {
            return Err(TokenError::NotSignedData);
        }
        let explicit = outer.take(tag::CONSTRUCTED_0, "content")?;
        outer.finish("ContentInfo")?;
        let mut fields = explicit.inner(tag::SEQUENCE, "SignedData")?.inside();
        if fields.take(tag::INTEGER, "version")?.integer("version")? != [3] {
            return Err(TokenError::Version);
        }
        let digest_algorithms = fields.take(tag::SET, "digestAlgorithms")?;
        let tst_info_der = content(fields.take(tag::SEQUENCE, "encapContentInfo")?)?;
        let tst_info = TstInfo::parse(tst_info_der).map_err(TokenError::TstInfo)?;
        let certificates = fields.take_if(tag::CONSTRUCTED_0, "certificates")?;
        let certificates = list_of_any(certificates, "certificates")?;
        let crls = fields.take_if(tag::CONSTRUCTED_1, "crls")?;
        let crls = list_of_any(crls, "crls")?;
        for crl in &crls {
            // Spec: TSP-77. A list of certificates must not pass for one of revocations: one bit
            // tells their tags apart, and no signature covers either.
            x509_cert::crl::CertificateList::<x509_cert::certificate::Rfc5280>::from_der(crl)
                .map_err(|_| DerFault::Malformed.of("crls"))?;
        }
        let signers = fields.take(tag::SET, "signerInfos")?.inside();
        fields.finish("SignedData")?;
        let signers = signers.all(tag::SEQUENCE, "SignerInfo")?;
        let [signer] = signers[..] else {
            return Err(TokenError::SignerCount {
                found: signers.len(),
            });
        };
        let signer = SignerInfo::read(signer)?;
        // Spec: TSP-45
        let inside = digest_algorithms.inner(tag::SEQUENCE, "digestAlgorithms")?;
        let (digest_algorithm, digest_parameters) = read_hash(inside, "digestAlgorithms")?;
        if digest_algorithm != signer.digest_algorithm {
            return Err(TokenError::TwoDigestAlgorithms);
        }
        Ok(Self {
            digest_parameters,
            tst_info,
            tst_info_der: tst_info_der.to_vec(),
            certificates,
            crls,
            signer,
        })
    }

    /// The token's DER: of a parsed one, the bytes that were parsed.
    // Spec: TSP-40
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size_hint());
        self.push(&mut out);
        out
    }

    /// About how many bytes it has, and hardly more.
    pub(crate) fn size_hint(&self) -> usize {
        let values = |attributes: &[Attribute]| -> usize {
            let values = attributes.iter().flat_map(|attribute| &attribute.values);
            values.map(Vec::len).sum()
        };
        let bags = self.certificates.iter().chain(&self.crls);
        bags.map(Vec::len).sum::<usize>()
            + self.tst_info_der.len()
            + values(&self.signer.signed_attributes)
            + values(&self.signer.unsigned_attributes)
            + 512
    }

    /// Appends the token's DER.
    pub(crate) fn push(&self, out: &mut Vec<u8>) {
        nest(out, tag::SEQUENCE, |out| {
            push(out, tag::OID, &[oid::SIGNED_DATA.as_bytes()]);
            nest(out, tag::CONSTRUCTED_0, |out| {
                nest(out, tag::SEQUENCE, |out| self.push_signed_data(out));
            });
        });
    }

    fn push_signed_data(&self, out: &mut Vec<u8>) {
        push_unsigned(out, 3);
        let digest_oid = self.signer.digest_algorithm.oid();
        nest(out, tag::SET, |out| {
            self.digest_parameters.push_algorithm(out, digest_oid);
        });
        nest(out, tag::SEQUENCE, |out| {
            push(out, tag::OID, &[oid::TST_INFO.as_bytes()]);
            nest(out, tag::CONSTRUCTED_0, |out| {
                push(out, tag::OCTET_STRING, &[&self.tst_info_der]);
            });
        });
        // Spec: TSP-44
        for (tag, bag) in [
            (tag::CONSTRUCTED_0, &self.certificates),
            (tag::CONSTRUCTED_1, &self.crls),
        ] {
            if !bag.is_empty() {
                nest(out, tag, |out| extend_each(out, bag));
            }
        }
        nest(out, tag::SET, |out| self.signer.push(out));
    }

    /// What the token says.
    pub fn tst_info(&self) -> &TstInfo {
        &self.tst_info
    }

    /// The bytes of what the token says, which are what its digest is of.
    pub fn tst_info_bytes(&self) -> &[u8] {
        &self.tst_info_der
    }

    /// The certificates inside that can be read. Others are skipped: they can sign nothing here.
    pub fn certificates(&self) -> Vec<Certificate> {
        let certificates = self.certificates.iter();
        certificates
            .filter_map(|der| Certificate::parse(der).ok())
            .collect()
    }

    /// The receipt that was put into the token. Nothing authenticates it but its own proof.
    // Spec: TSP-46
    pub fn receipt(&self) -> Option<&[u8]> {
        let attribute = find(&self.signer.unsigned_attributes, oid::RECEIPT)?;
        read_receipt(attribute).ok()
    }

    /// The same token with this receipt, in place of another one if there is one. The signature
    /// does not cover it, so the token stays good.
    ///
    /// # Errors
    /// [`ReceiptLength`] when it is empty or longer than a tlog-proof may be.
    // Spec: TSP-46
    pub fn with_receipt(&self, receipt: &[u8]) -> Result<Self, ReceiptLength> {
        if receipt.is_empty() || receipt.len() > TLOG_PROOF_BYTES_MAX {
            return Err(ReceiptLength {
                bytes: receipt.len(),
            });
        }
        let mut token = self.without_receipt();
        let attribute = Attribute {
            oid: oid::RECEIPT.into(),
            values: vec![element(tag::OCTET_STRING, &[receipt])],
        };
        let attributes = &mut token.signer.unsigned_attributes;
        let bytes = attribute.to_bytes();
        // SET OF: in the order of the encodings, where the others already are.
        let at = attributes.partition_point(|other| other.to_bytes() < bytes);
        attributes.insert(at, attribute);
        Ok(token)
    }

    /// The token as it was before it had a receipt.
    // Spec: TSP-46
    #[must_use]
    pub fn without_receipt(&self) -> Self {
        let mut token = self.clone();
        let attributes = &mut token.signer.unsigned_attributes;
        attributes.retain(|attribute| attribute.oid != oid::RECEIPT);
        token
    }
}

/// The content of an `EncapsulatedContentInfo` that holds a `TSTInfo`.
fn content(info: Element<'_>) -> Result<&[u8], TokenError> {
    let mut fields = info.inside();
    if fields.take(tag::OID, "eContentType")?.content != oid::TST_INFO.as_bytes() {
        return Err(TokenError::NotTstInfo);
    }
    let explicit = fields.take(tag::CONSTRUCTED_0, "eContent")?;
    fields.finish("encapContentInfo")?;
    Ok(explicit.inner(tag::OCTET_STRING, "eContent")?.content)
}

fn list_of_any(list: Option<Element<'_>>, field: &'static str) -> Result<Vec<Vec<u8>>, DerError> {
    let Some(list) = list else {
        return Ok(Vec::new());
    };
    let mut elements = list.inside();
    let mut items = Vec::new();
    while !elements.is_empty() {
        if items.len() == CERTIFICATES_MAX {
            return Err(DerFault::Range.of(field));
        }
        items.push(elements.next_any(field)?.bytes.to_vec());
    }
    if items.is_empty() {
        return Err(DerFault::Empty.of(field));
    }
    Ok(items)
}

fn extend_each(out: &mut Vec<u8>, items: &[Vec<u8>]) {
    for item in items {
        out.extend_from_slice(item);
    }
}

fn read_hash(
    element: Element<'_>,
    field: &'static str,
) -> Result<(HashAlgorithm, HashParameters), TokenError> {
    let algorithm = Algorithm::read(element, field)?;
    let parameters = HashParameters::of(algorithm.parameters);
    match (HashAlgorithm::of_oid(algorithm.oid), parameters) {
        (Some(hash), Some(parameters)) => Ok((hash, parameters)),
        _ => Err(TokenError::UnknownDigest),
    }
}

/// Who signed, and what exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignerInfo {
    /// The issuer's `Name` in DER, and the content of the serial number.
    pub(crate) issuer: Vec<u8>,
    pub(crate) serial: Vec<u8>,
    pub(crate) digest_algorithm: HashAlgorithm,
    pub(crate) digest_parameters: HashParameters,
    /// In the order in which they were signed.
    pub(crate) signed_attributes: Vec<Attribute>,
    /// The whole `AlgorithmIdentifier`.
    pub(crate) signature_algorithm: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pub(crate) unsigned_attributes: Vec<Attribute>,
}

impl SignerInfo {
    // Spec: TSP-41
    fn read(info: Element<'_>) -> Result<Self, TokenError> {
        let mut fields = info.inside();
        let version = fields.take(tag::INTEGER, "version")?.integer("version")?;
        if version != [1] {
            return Err(TokenError::SignerVersion);
        }
        let mut sid = fields.take(tag::SEQUENCE, "sid")?.inside();
        let issuer = sid.take(tag::SEQUENCE, "issuer")?.bytes.to_vec();
        let serial = sid.take(tag::INTEGER, "serialNumber")?;
        let serial = serial.integer("serialNumber")?.to_vec();
        sid.finish("sid")?;
        let digest = fields.take(tag::SEQUENCE, "digestAlgorithm")?;
        let (digest_algorithm, digest_parameters) = read_hash(digest, "digestAlgorithm")?;
        let signed = fields.take_if(tag::CONSTRUCTED_0, "signedAttrs")?;
        let signed = signed.ok_or(TokenError::NoSignedAttributes)?;
        let signed_attributes = Attribute::read_all(signed.inside(), "signedAttrs")?;
        let algorithm = fields.take(tag::SEQUENCE, "signatureAlgorithm")?;
        let signature = fields.take(tag::OCTET_STRING, "signature")?.content;
        let mut unsigned_attributes = Vec::new();
        if let Some(unsigned) = fields.take_if(tag::CONSTRUCTED_1, "unsignedAttrs")? {
            unsigned_attributes = Attribute::read_all(unsigned.inside(), "unsignedAttrs")?;
        }
        fields.finish("SignerInfo")?;
        for (at, attribute) in signed_attributes.iter().enumerate() {
            let before = signed_attributes.get(..at).unwrap_or_default();
            if before.iter().any(|other| other.oid == attribute.oid) {
                return Err(DerFault::Twice.of("signedAttrs").into());
            }
        }
        let receipts = unsigned_attributes
            .iter()
            .filter(|attribute| attribute.oid == oid::RECEIPT);
        for (before, attribute) in receipts.enumerate() {
            if before > 0 {
                return Err(DerFault::Twice.of("unsignedAttrs").into());
            }
            read_receipt(attribute)?;
        }
        Ok(Self {
            issuer,
            serial,
            digest_algorithm,
            digest_parameters,
            signed_attributes,
            signature_algorithm: algorithm.bytes.to_vec(),
            signature: signature.to_vec(),
            unsigned_attributes,
        })
    }

    fn push(&self, out: &mut Vec<u8>) {
        nest(out, tag::SEQUENCE, |out| {
            push_unsigned(out, 1);
            nest(out, tag::SEQUENCE, |out| {
                out.extend_from_slice(&self.issuer);
                push(out, tag::INTEGER, &[&self.serial]);
            });
            let digest_oid = self.digest_algorithm.oid();
            self.digest_parameters.push_algorithm(out, digest_oid);
            push_attributes(out, tag::CONSTRUCTED_0, &self.signed_attributes);
            out.extend_from_slice(&self.signature_algorithm);
            push(out, tag::OCTET_STRING, &[&self.signature]);
            if !self.unsigned_attributes.is_empty() {
                push_attributes(out, tag::CONSTRUCTED_1, &self.unsigned_attributes);
            }
        });
    }

    /// What the signature is over: the attributes as they came, with the tag of SET.
    // Spec: TSP-42
    pub(crate) fn signed_message(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(512);
        push_attributes(&mut message, tag::SET, &self.signed_attributes);
        message
    }

    /// The signed attribute of this kind.
    pub(crate) fn signed_attribute(&self, oid: ObjectIdentifier) -> Option<&Attribute> {
        find(&self.signed_attributes, oid)
    }
}

fn find(attributes: &[Attribute], oid: ObjectIdentifier) -> Option<&Attribute> {
    attributes.iter().find(|attribute| attribute.oid == oid)
}

/// An attribute: a kind, and elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) oid: Oid,
    pub(crate) values: Vec<Vec<u8>>,
}

impl Attribute {
    pub(crate) fn one(oid: ObjectIdentifier, value: Vec<u8>) -> Self {
        Self {
            oid: oid.into(),
            values: vec![value],
        }
    }

    fn read_all(list: Elements<'_>, field: &'static str) -> Result<Vec<Self>, DerError> {
        let mut attributes = Vec::new();
        for attribute in list.all(tag::SEQUENCE, field)? {
            let mut fields = attribute.inside();
            let oid = Oid::read(fields.take(tag::OID, field)?, field)?;
            let mut elements = fields.take(tag::SET, field)?.inside();
            fields.finish(field)?;
            let mut values = Vec::new();
            while !elements.is_empty() {
                values.push(elements.next_any(field)?.bytes.to_vec());
            }
            attributes.push(Self { oid, values });
        }
        if attributes.is_empty() {
            return Err(DerFault::Empty.of(field));
        }
        Ok(attributes)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.push(&mut out);
        out
    }

    fn push(&self, out: &mut Vec<u8>) {
        nest(out, tag::SEQUENCE, |out| {
            self.oid.push(out);
            nest(out, tag::SET, |out| extend_each(out, &self.values));
        });
    }

    /// Its only value.
    pub(crate) fn only(&self, tag: u8, field: &'static str) -> Result<Element<'_>, DerError> {
        match &self.values[..] {
            [value] => Element::only(value, tag, field),
            [] => Err(DerFault::Empty.of(field)),
            [_, _, ..] => Err(DerFault::Twice.of(field)),
        }
    }
}

fn push_attributes(out: &mut Vec<u8>, tag: u8, attributes: &[Attribute]) {
    nest(out, tag, |out| {
        for attribute in attributes {
            attribute.push(out);
        }
    });
}

fn read_receipt(attribute: &Attribute) -> Result<&[u8], DerError> {
    let octets = attribute.only(tag::OCTET_STRING, "receipt")?.content;
    if octets.is_empty() || octets.len() > TLOG_PROOF_BYTES_MAX {
        return Err(DerFault::Range.of("receipt"));
    }
    Ok(octets)
}

/// A time-stamping unit: a certificate whose private key signs time-stamps, and how.
#[derive(Clone, Debug)]
pub struct TimestampUnit {
    certificate: Certificate,
    chain: Vec<Certificate>,
    /// When the certificate and those above it are all valid, and when its key may sign: read once,
    /// since each token asks.
    validity: RangeInclusive<Duration>,
    usage_period: Result<RangeInclusive<Duration>, ProfileError>,
    scheme: Scheme,
    signature_algorithm: Vec<u8>,
    /// The signed attributes of all its tokens, in their order. The message digest in there is of
    /// no token; one of a token takes its place, since that does not depend on its value.
    attributes: Vec<Attribute>,
}

/// Which certificates a token holds: none unless the client asked for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// None.
    Absent,
    /// The signer's.
    Signer,
    /// The signer's and its chain's.
    Chain,
}

impl TimestampUnit {
    /// A unit with this certificate, and those of the authorities above it.
    ///
    /// # Errors
    /// [`UnitError`] when the certificate is not one for time-stamps alone, or its key not one
    /// that signs here. The operator is at fault.
    // Spec: TSP-47
    pub fn new(certificate: Certificate, chain: Vec<Certificate>) -> Result<Self, UnitError> {
        certificate
            .verify_signer_profile()
            .map_err(UnitError::Profile)?;
        Self::assemble(certificate, chain)
    }

    // Spec: TSP-43, TSP-45
    pub(crate) fn assemble(
        certificate: Certificate,
        chain: Vec<Certificate>,
    ) -> Result<Self, UnitError> {
        if chain.len() >= CERTIFICATES_MAX {
            return Err(UnitError::ChainLength { found: chain.len() });
        }
        let key = certificate.key().ok_or(UnitError::UnknownKey)?;
        let (scheme, algorithm, parameters) = match key {
            PublicKey::P256(_) => (
                Scheme::Ecdsa(HashAlgorithm::Sha256),
                oid::ECDSA_WITH_SHA256,
                HashParameters::Absent,
            ),
            PublicKey::P384(_) => (
                Scheme::Ecdsa(HashAlgorithm::Sha384),
                oid::ECDSA_WITH_SHA384,
                HashParameters::Absent,
            ),
            PublicKey::Rsa(_) => (
                Scheme::RsaPkcs1(HashAlgorithm::Sha256),
                oid::SHA256_WITH_RSA,
                HashParameters::Null,
            ),
        };
        let signature_algorithm = parameters.algorithm(algorithm);
        let content_type = element(tag::OID, &[oid::TST_INFO.as_bytes()]);
        let any_digest = scheme.hash().digest(&[]);
        let mut attributes = vec![
            Attribute::one(oid::CONTENT_TYPE, content_type),
            Attribute::one(
                oid::MESSAGE_DIGEST,
                element(tag::OCTET_STRING, &[&any_digest]),
            ),
            Attribute::one(
                oid::ALGORITHM_PROTECTION,
                algorithm_protection(scheme.hash(), algorithm, parameters),
            ),
            Attribute::one(
                oid::SIGNING_CERTIFICATE_V2,
                signing_certificate(&certificate),
            ),
        ];
        attributes.sort_by_cached_key(Attribute::to_bytes);
        let validity = chain.iter().map(Certificate::validity);
        let validity = validity.fold(certificate.validity(), |whole, one| {
            *whole.start().max(one.start())..=*whole.end().min(one.end())
        });
        let usage_period = certificate.usage_period();
        Ok(Self {
            certificate,
            chain,
            validity,
            usage_period,
            scheme,
            signature_algorithm,
            attributes,
        })
    }

    /// Its certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Its name, as tokens have it.
    // Spec: TSP-37
    pub fn name(&self) -> TsaName {
        TsaName::directory(self.certificate.subject())
    }

    /// The hash that its private key signs with.
    pub fn hash_algorithm(&self) -> HashAlgorithm {
        self.scheme.hash()
    }

    /// Says what is to be signed for a token that says this.
    ///
    /// # Errors
    /// [`UnitTimeError`] when the certificate or its private key must not be used at the token's
    /// time. Nothing was signed.
    // Spec: TSP-45, TSP-47
    pub fn prepare(
        &self,
        tst_info: impl Into<EncodedTstInfo>,
        certificates: Certificates,
    ) -> Result<ToBeSigned, UnitTimeError> {
        let tst_info = tst_info.into();
        self.verify_time(tst_info.info().gen_time)?;
        Ok(self.to_be_signed(tst_info, certificates))
    }

    /// Whether the unit may sign at a time, before anything is logged about it. A token of a time
    /// at which a certificate above it is over is good nowhere (TSP-66).
    ///
    /// # Errors
    /// [`UnitTimeError`] when a certificate or the private key must not be used then.
    // Spec: TSP-47
    pub fn verify_time(&self, time: GenTime) -> Result<(), UnitTimeError> {
        let time = time.since_epoch();
        if !self.validity.contains(&time) {
            return Err(UnitTimeError::NotValid);
        }
        match &self.usage_period {
            Ok(period) if period.contains(&time) => Ok(()),
            Ok(_) => Err(UnitTimeError::UsagePeriod(ProfileError::UsagePeriod)),
            Err(error) => Err(UnitTimeError::UsagePeriod(error.clone())),
        }
    }

    /// The time since 1970 after which it signs nothing more.
    pub fn signs_until(&self) -> Duration {
        let above = self.chain.iter().map(Certificate::valid_until);
        above.fold(self.certificate.signs_until(), Duration::min)
    }

    /// The signer's certificate and those above it, in the order in which they were given.
    pub fn chain(&self) -> impl Iterator<Item = &Certificate> {
        core::iter::once(&self.certificate).chain(&self.chain)
    }

    // Spec: TSP-42, TSP-44, TSP-45
    pub(crate) fn to_be_signed(
        &self,
        tst_info: impl Into<EncodedTstInfo>,
        certificates: Certificates,
    ) -> ToBeSigned {
        let (tst_info, tst_info_der) = tst_info.into().into_parts();
        let hash = self.scheme.hash();
        let digest = element(tag::OCTET_STRING, &[&hash.digest(&tst_info_der)]);
        let mut signed_attributes = self.attributes.clone();
        let mut all = signed_attributes.iter_mut();
        if let Some(attribute) = all.find(|attribute| attribute.oid == oid::MESSAGE_DIGEST) {
            attribute.values = vec![digest];
        }
        let signer = SignerInfo {
            issuer: self.certificate.issuer().to_vec(),
            serial: self.certificate.serial().to_vec(),
            digest_algorithm: hash,
            digest_parameters: HashParameters::Absent,
            signed_attributes,
            signature_algorithm: self.signature_algorithm.clone(),
            signature: Vec::new(),
            unsigned_attributes: Vec::new(),
        };
        let mut bag: Vec<Vec<u8>> = match certificates {
            Certificates::Absent => Vec::new(),
            Certificates::Signer => vec![self.certificate.as_bytes().to_vec()],
            Certificates::Chain => {
                let chain = core::iter::once(&self.certificate).chain(&self.chain);
                chain.map(|one| one.as_bytes().to_vec()).collect()
            }
        };
        bag.sort_unstable();
        ToBeSigned {
            message: signer.signed_message(),
            key: self.certificate.key().cloned(),
            token: TimestampToken {
                digest_parameters: HashParameters::Absent,
                tst_info,
                tst_info_der,
                certificates: bag,
                crls: Vec::new(),
                signer,
            },
        }
    }

    /// Verifies a signature that was made with the private key: at start, that the key is the
    /// certificate's, and on tokens before they leave.
    ///
    /// # Errors
    /// [`SignatureFault`] when it is not this unit's over this message.
    // Spec: TSP-47
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureFault> {
        let key = self.certificate.key().ok_or(SignatureFault::UnknownKey)?;
        key.verify(self.scheme, message, signature)
    }
}

/// Which algorithms the signer used, said under the signature: RFC 6211.
fn algorithm_protection(
    digest: HashAlgorithm,
    signature: ObjectIdentifier,
    parameters: HashParameters,
) -> Vec<u8> {
    let digest = HashParameters::Absent.algorithm(digest.oid());
    let mut inside = element(tag::OID, &[signature.as_bytes()]);
    if parameters == HashParameters::Null {
        push(&mut inside, tag::NULL, &[]);
    }
    let signature = element(tag::CONSTRUCTED_1, &[&inside]);
    element(tag::SEQUENCE, &[&digest, &signature])
}

/// Which certificate signed, said under the signature: RFC 5035. The hash is SHA-256, which is the
/// default and therefore not named.
// Spec: TSP-43
fn signing_certificate(certificate: &Certificate) -> Vec<u8> {
    let hash = HashAlgorithm::Sha256.digest(certificate.as_bytes());
    let hash = element(tag::OCTET_STRING, &[&hash]);
    let name = TsaName::directory(certificate.issuer());
    let names = element(tag::SEQUENCE, &[name.as_bytes()]);
    let serial = element(tag::INTEGER, &[certificate.serial()]);
    let issuer_serial = element(tag::SEQUENCE, &[&names, &serial]);
    let id = element(tag::SEQUENCE, &[&hash, &issuer_serial]);
    let ids = element(tag::SEQUENCE, &[&id]);
    element(tag::SEQUENCE, &[&ids])
}

/// A token that lacks its signature.
#[derive(Clone)]
pub struct ToBeSigned {
    message: Vec<u8>,
    key: Option<PublicKey>,
    token: TimestampToken,
}

impl ToBeSigned {
    /// What the private key signs, with [`TimestampUnit::hash_algorithm`] as the hash.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// What the token will say.
    pub fn tst_info(&self) -> &TstInfo {
        self.token.tst_info()
    }

    /// The token. The signature's form is looked at; that it is good is not checked again here,
    /// which would cost more than the signing: see [`TimestampUnit::verify`].
    ///
    /// # Errors
    /// [`SignatureForm`] when no key of the unit's kind makes such signatures. The signer is at
    /// fault.
    // Spec: TSP-45
    pub fn finish(mut self, signature: &[u8]) -> Result<TimestampToken, SignatureForm> {
        let proper = match &self.key {
            Some(PublicKey::P256(_)) => p256::ecdsa::Signature::from_der(signature).is_ok(),
            Some(PublicKey::P384(_)) => p384::ecdsa::Signature::from_der(signature).is_ok(),
            Some(PublicKey::Rsa(key)) => signature.len() == rsa::traits::PublicKeyParts::size(key),
            None => false,
        };
        if !proper {
            return Err(SignatureForm {
                bytes: signature.len(),
            });
        }
        self.token.signer.signature = signature.to_vec();
        Ok(self.token)
    }
}

impl fmt::Debug for ToBeSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToBeSigned({:?})", self.token.tst_info)
    }
}

/// A signature that is not of the form that the unit's key makes: for ECDSA the DER of `r` and
/// `s`, for RSA as long as the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureForm {
    /// How long it is.
    pub bytes: usize,
}

impl fmt::Display for SignatureForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes;
        write!(f, "{bytes} bytes are no signature of the unit's key")
    }
}

impl core::error::Error for SignatureForm {}

/// A receipt that is empty or longer than a tlog-proof may be. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptLength {
    /// How long it is.
    pub bytes: usize,
}

impl fmt::Display for ReceiptLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes;
        write!(
            f,
            "a receipt of {bytes} bytes, but one has 1 to {TLOG_PROOF_BYTES_MAX}"
        )
    }
}

impl core::error::Error for ReceiptLength {}

/// Why a certificate makes no unit. The operator is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitError {
    /// It is not one for time-stamps alone.
    Profile(ProfileError),
    /// Its key is neither of P-256 nor P-384 nor RSA of 2048 to 8192 bits.
    UnknownKey,
    /// More certificates than a token may hold.
    ChainLength {
        /// How many stand above the signer's.
        found: usize,
    },
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile(reason) => {
                write!(f, "the certificate is not one for time-stamps: {reason}")
            }
            Self::UnknownKey => f.write_str(
                "the certificate's key is neither of P-256 nor P-384 nor RSA of 2048 to 8192 bits",
            ),
            Self::ChainLength { found } => {
                write!(f, "a chain of {found} certificates is too long for a token")
            }
        }
    }
}

impl core::error::Error for UnitError {}

/// Why a unit must not sign at a time. The operator is at fault; nothing was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitTimeError {
    /// Its certificate, or one above it, is not valid then.
    NotValid,
    /// Its private key is not in its period of use then.
    UsagePeriod(ProfileError),
}

impl fmt::Display for UnitTimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotValid => {
                f.write_str("a certificate of the unit's chain is not valid at this time")
            }
            Self::UsagePeriod(reason) => {
                write!(f, "the unit's certificate at this time: {reason}")
            }
        }
    }
}

impl core::error::Error for UnitTimeError {}

/// Why bytes are no token. Its maker is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// More than [`TOKEN_BYTES_MAX`].
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It is not DER, or not the fields that are due.
    Der(DerError),
    /// It is not `SignedData`.
    NotSignedData,
    /// What is signed is no `TSTInfo`.
    NotTstInfo,
    /// The version of the `SignedData` is not 3.
    Version,
    /// Not exactly one signer.
    SignerCount {
        /// How many.
        found: usize,
    },
    /// The version of the `SignerInfo` is not 1: the signer is not named by issuer and serial
    /// number, as nearly all clients need it.
    SignerVersion,
    /// The signature is not over attributes.
    NoSignedAttributes,
    /// A digest algorithm that is not known here, or that has parameters.
    UnknownDigest,
    /// The list of digest algorithms is not that of the signer's.
    TwoDigestAlgorithms,
    /// What is signed.
    TstInfo(TstInfoError),
}

impl From<DerError> for TokenError {
    fn from(error: DerError) -> Self {
        Self::Der(error)
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => {
                write!(
                    f,
                    "the token has {bytes} bytes, of at most {TOKEN_BYTES_MAX}"
                )
            }
            Self::Der(error) => error.fmt(f),
            Self::NotSignedData => f.write_str("the token is not CMS SignedData"),
            Self::NotTstInfo => f.write_str("the token signs something else than a TSTInfo"),
            Self::Version => f.write_str("the version of the SignedData is not 3"),
            Self::SignerCount { found } => {
                write!(f, "the token has {found} signers, and must have one")
            }
            Self::SignerVersion => {
                f.write_str("the signer is not named by issuer and serial number")
            }
            Self::NoSignedAttributes => f.write_str("the token has no signed attributes"),
            Self::UnknownDigest => f.write_str("the token's digest algorithm is not accepted"),
            Self::TwoDigestAlgorithms => {
                f.write_str("the token names another digest algorithm than its signer")
            }
            Self::TstInfo(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for TokenError {}

#[cfg(test)]
mod tests;
