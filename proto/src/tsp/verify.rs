//! Whether a token is good: plain RFC 3161, of any authority.
//!
//! In scope: everything that the token, the certificates and the roots say by themselves. Time is
//! that of the token, at which the certificates must have been valid, and the verifier's own, which
//! is an argument. Out of scope: revocation, and what the log says: the verdict hands on the
//! checkpoint that the token names and the receipt that it carries, and neither is verified here.
//!
//! Two tokens of one signer are one witness, not two: compare the signers of the verdicts.
//!
//! Rules: `spec/timestamp.md`; RFC 3161, 2.2 and 2.4.2; RFC 5035; RFC 5816.

use alloc::vec::Vec;
use core::fmt;

use sha1::Digest as _;

use crate::tsp::certificate::{Certificate, ProfileError, Scheme, SignatureFault};
use crate::tsp::element::{Algorithm, DerError, Element, Parameters, tag};
use crate::tsp::gen_time::GenTime;
use crate::tsp::imprint::{HashAlgorithm, MessageImprint};
use crate::tsp::not_before::{NotBefore, NotBeforeError};
use crate::tsp::oid::{self, Oid};
use crate::tsp::path::{PathError, verify_path};
use crate::tsp::request::{Nonce, TimestampRequest};
use crate::tsp::response::{PkiStatus, TimestampResponse};
use crate::tsp::signed_data::{SignerInfo, TimestampToken};
use crate::tsp::tst_info::{Accuracy, SerialNumber};

/// What a verifier asks of a token.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The digest of what was stamped.
    pub imprint: &'a MessageImprint,
    /// The policies that are good enough; `None`: any.
    pub policies: Option<&'a [Oid]>,
    /// The nonce of the request; `None` when there was none, or it is not known any more.
    pub nonce: Option<&'a Nonce>,
}

impl<'a> Expected<'a> {
    /// What the client that sent this request must find in the answer.
    pub fn of_request(request: &'a TimestampRequest) -> Self {
        Self {
            imprint: request.imprint(),
            policies: request.policy().map(core::slice::from_ref),
            nonce: request.nonce(),
        }
    }
}

/// Whom a verifier believes.
#[derive(Clone, Copy, Debug)]
pub struct Trust<'a> {
    /// The authorities. Without any, no token is good.
    pub roots: &'a [Certificate],
    /// Certificates that may lie on the way to a root, or be the signer's. They are not believed.
    pub others: &'a [Certificate],
}

/// How far the token's time may be ahead of the verifier's clock, which need not be exact.
// Spec: TSP-73
pub const CLOCK_SKEW_SECONDS_MAX: u64 = 300;

/// What a good token proves.
// Spec: TSP-76
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenVerdict {
    /// Who signed.
    pub signer: Certificate,
    /// The root that the signer's certificate leads to, by its place in [`Trust::roots`]. None
    /// after [`verify_unrooted`]: then anybody may have signed.
    pub root: Option<usize>,
    /// When the imprint existed, as the signer says.
    pub gen_time: GenTime,
    /// How exact that is.
    pub accuracy: Option<Accuracy>,
    /// The token's number.
    pub serial: SerialNumber,
    /// The policy under which it was made.
    pub policy: Oid,
    /// The cosigned checkpoint inside, which the token is not older than. To be verified under a
    /// policy.
    pub not_before: Option<NotBefore>,
    /// The receipt inside. To be verified under a policy; the signature does not cover it.
    pub receipt: Option<Vec<u8>>,
}

/// Verifies an authority's answer.
///
/// # Errors
/// [`VerifyError`]: the first check that fails.
// Spec: TSP-60
pub fn verify_response(
    response: &TimestampResponse,
    expected: Expected<'_>,
    trust: Trust<'_>,
    now: GenTime,
) -> Result<TokenVerdict, VerifyError> {
    match (response.status(), response.token()) {
        (PkiStatus::Granted, Some(token)) => verify_token(token, expected, trust, now),
        (status, _) => Err(VerifyError::Status { status }),
    }
}

/// What a client looks at before it keeps an answer: that it grants what was asked, and not yet who
/// signed it.
///
/// # Errors
/// [`VerifyError`]: the first check that fails. The authority is at fault.
// Spec: TSP-91
pub fn verify_answer<'a>(
    response: &'a TimestampResponse,
    request: &TimestampRequest,
    now: GenTime,
) -> Result<&'a TimestampToken, VerifyError> {
    match (response.status(), response.token()) {
        (PkiStatus::Granted, Some(token)) => {
            verify_content(token, Expected::of_request(request), now)?;
            if request.wants_certificate() {
                find_signer(&token.signer, &token.certificates())?;
            }
            Ok(token)
        }
        (status, _) => Err(VerifyError::Status { status }),
    }
}

/// Verifies a token.
///
/// # Errors
/// [`VerifyError`]: the first check that fails.
pub fn verify_token(
    token: &TimestampToken,
    expected: Expected<'_>,
    trust: Trust<'_>,
    now: GenTime,
) -> Result<TokenVerdict, VerifyError> {
    // Spec: TSP-66
    if trust.roots.is_empty() {
        return Err(VerifyError::NoRoots);
    }
    let mut verdict = verify_signed(token, expected, trust.others, now)?;
    let pool = pool(token, trust.others);
    let time = verdict.gen_time;
    let root = verify_path(&verdict.signer, &pool, trust.roots, time).map_err(VerifyError::Path)?;
    verdict.root = Some(root);
    Ok(verdict)
}

/// Verifies all of a token but who its signer is, for which there are no roots. The token is good
/// only if somebody else vouches for the signer's certificate: the log that has its entry, as
/// [`crate::tsp::logged::verify_logged`] finds.
///
/// # Errors
/// [`VerifyError`]: the first check that fails.
// Spec: TSP-89
pub fn verify_unrooted(
    token: &TimestampToken,
    expected: Expected<'_>,
    others: &[Certificate],
    now: GenTime,
) -> Result<TokenVerdict, VerifyError> {
    let verdict = verify_signed(token, expected, others, now)?;
    if verdict.signer.is_valid_at(verdict.gen_time) {
        Ok(verdict)
    } else {
        let subject = verdict.signer.subject_text();
        Err(VerifyError::Path(PathError::NotValid { subject }))
    }
}

/// All but the way to a root.
fn verify_signed(
    token: &TimestampToken,
    expected: Expected<'_>,
    others: &[Certificate],
    now: GenTime,
) -> Result<TokenVerdict, VerifyError> {
    let not_before = verify_content(token, expected, now)?;
    let signer_info = &token.signer;
    let scheme = verify_attributes(token)?;
    let pool = pool(token, others);
    let signer = find_signer(signer_info, &pool)?;

    let tst_info = token.tst_info();
    signer
        .verify_signer_profile()
        .map_err(VerifyError::Signer)?;
    signer
        .verify_usage_period(tst_info.gen_time)
        .map_err(VerifyError::Signer)?;
    // Spec: TSP-72
    if let Some(tsa) = &tst_info.tsa
        && !signer.has_name(tsa.as_bytes())
    {
        return Err(VerifyError::OtherName);
    }
    // Spec: TSP-65
    let key = signer
        .key()
        .ok_or(VerifyError::Signature(SignatureFault::UnknownKey))?;
    key.verify(
        scheme,
        &signer_info.signed_message(),
        &signer_info.signature,
    )
    .map_err(VerifyError::Signature)?;
    Ok(TokenVerdict {
        signer: signer.clone(),
        root: None,
        gen_time: tst_info.gen_time,
        accuracy: tst_info.accuracy,
        serial: tst_info.serial.clone(),
        policy: tst_info.policy.clone(),
        not_before,
        receipt: token.receipt().map(<[u8]>::to_vec),
    })
}

/// The certificates in the token, then those beside it.
fn pool(token: &TimestampToken, others: &[Certificate]) -> Vec<Certificate> {
    let mut pool = token.certificates();
    pool.extend(others.iter().cloned());
    pool
}

/// What the token says, against what is expected.
// Spec: TSP-69, TSP-70, TSP-71, TSP-73, TSP-74
fn verify_content(
    token: &TimestampToken,
    expected: Expected<'_>,
    now: GenTime,
) -> Result<Option<NotBefore>, VerifyError> {
    let tst_info = token.tst_info();
    if !tst_info.imprint.is_same(expected.imprint) {
        return Err(VerifyError::OtherImprint);
    }
    if let Some(policies) = expected.policies
        && !policies.contains(&tst_info.policy)
    {
        return Err(VerifyError::OtherPolicy {
            policy: tst_info.policy.clone(),
        });
    }
    match (expected.nonce, &tst_info.nonce) {
        (Some(_), None) => return Err(VerifyError::NoNonce),
        (Some(sent), Some(found)) if sent != found => return Err(VerifyError::OtherNonce),
        _ => {}
    }
    let latest = now.seconds().saturating_add(CLOCK_SKEW_SECONDS_MAX);
    if tst_info.gen_time.seconds() > latest {
        return Err(VerifyError::FromTheFuture {
            gen_time: tst_info.gen_time,
        });
    }
    for extension in tst_info.extensions.as_slice() {
        if extension.critical.is_true() && extension.oid != oid::NOT_BEFORE_CHECKPOINT {
            return Err(VerifyError::CriticalExtension {
                oid: extension.oid.clone(),
            });
        }
    }
    tst_info.not_before().map_err(VerifyError::NotBefore)
}

/// What the signature covers besides: that the content is a `TSTInfo`, and this one, and that the
/// algorithms are those that were used. Gives the algorithm of the signature.
// Spec: TSP-62, TSP-75
fn verify_attributes(token: &TimestampToken) -> Result<Scheme, VerifyError> {
    let signer = &token.signer;
    let content_type = signer
        .signed_attribute(oid::CONTENT_TYPE)
        .ok_or(VerifyError::ContentType)?
        .only(tag::OID, "content-type")?;
    if content_type.content != oid::TST_INFO.as_bytes() {
        return Err(VerifyError::ContentType);
    }
    let digest = signer
        .signed_attribute(oid::MESSAGE_DIGEST)
        .ok_or(VerifyError::MessageDigest)?
        .only(tag::OCTET_STRING, "message-digest")?;
    if digest.content != signer.digest_algorithm.digest(token.tst_info_bytes()) {
        return Err(VerifyError::MessageDigest);
    }
    let field = "signatureAlgorithm";
    let algorithm = Element::only(&signer.signature_algorithm, tag::SEQUENCE, field)?;
    if let Some(protection) = signer.signed_attribute(oid::ALGORITHM_PROTECTION) {
        let field = "CMSAlgorithmProtection";
        let mut fields = protection.only(tag::SEQUENCE, field)?.inside();
        let digest = fields.take(tag::SEQUENCE, field)?;
        let used = signer
            .digest_parameters
            .algorithm(signer.digest_algorithm.oid());
        let signature = fields.take(tag::CONSTRUCTED_1, field)?;
        fields.finish(field)?;
        if digest.bytes != used || signature.content != algorithm.content {
            return Err(VerifyError::AlgorithmProtection);
        }
    }
    let algorithm = Algorithm::read(algorithm, field)?;
    let scheme = Scheme::of(algorithm, Some(signer.digest_algorithm));
    scheme.ok_or(VerifyError::Signature(SignatureFault::UnknownAlgorithm))
}

/// The certificate that the signer named: by issuer and serial number, and, under the signature,
/// by its hash. Never simply the first one.
// Spec: TSP-61, TSP-63
fn find_signer<'a>(
    signer: &SignerInfo,
    pool: &'a [Certificate],
) -> Result<&'a Certificate, VerifyError> {
    let mut candidates = pool
        .iter()
        .filter(|one| one.issuer() == signer.issuer && one.serial() == signer.serial)
        .peekable();
    if candidates.peek().is_none() {
        return Err(VerifyError::SignerNotFound);
    }
    let mut named = Vec::new();
    if let Some(attribute) = signer.signed_attribute(oid::SIGNING_CERTIFICATE_V2) {
        let value = attribute.only(tag::SEQUENCE, "signingCertificateV2")?;
        named.push(CertificateName::read(value, true)?);
    }
    if let Some(attribute) = signer.signed_attribute(oid::SIGNING_CERTIFICATE) {
        let value = attribute.only(tag::SEQUENCE, "signingCertificate")?;
        named.push(CertificateName::read(value, false)?);
    }
    if named.is_empty() {
        return Err(VerifyError::NoSigningCertificate);
    }
    candidates
        .find(|one| named.iter().all(|name| name.is_of(one)))
        .ok_or(VerifyError::OtherSigningCertificate)
}

/// An `ESSCertID` or `ESSCertIDv2`: the first of its list, which is the signer's.
struct CertificateName<'a> {
    /// `None`: SHA-1, which the older form has always.
    algorithm: Option<HashAlgorithm>,
    hash: &'a [u8],
    issuer_and_serial: Option<(&'a [u8], &'a [u8])>,
}

impl<'a> CertificateName<'a> {
    // Spec: TSP-63
    fn read(value: Element<'a>, v2: bool) -> Result<Self, VerifyError> {
        let mut fields = value.inside();
        let mut ids = fields.take(tag::SEQUENCE, "ESSCertID")?.inside();
        fields.take_if(tag::SEQUENCE, "policies")?;
        fields.finish("signingCertificate")?;
        let mut id = ids.take(tag::SEQUENCE, "ESSCertID")?.inside();
        let mut algorithm = v2.then_some(HashAlgorithm::Sha256);
        if v2 && let Some(named) = id.take_if(tag::SEQUENCE, "hashAlgorithm")? {
            let named = Algorithm::read(named, "hashAlgorithm")?;
            let hash = HashAlgorithm::of_oid(named.oid);
            let plain = !matches!(named.parameters, Parameters::Other(_));
            algorithm = hash.filter(|_| plain);
            if algorithm.is_none() {
                return Err(VerifyError::OtherSigningCertificate);
            }
        }
        let hash = id.take(tag::OCTET_STRING, "certHash")?.content;
        let mut issuer_and_serial = None;
        if let Some(both) = id.take_if(tag::SEQUENCE, "issuerSerial")? {
            let mut both = both.inside();
            let names = both.take(tag::SEQUENCE, "issuer")?;
            let issuer = names.inner(tag::CONSTRUCTED_4, "issuer")?.content;
            let serial = both.take(tag::INTEGER, "serialNumber")?.content;
            both.finish("issuerSerial")?;
            issuer_and_serial = Some((issuer, serial));
        }
        id.finish("ESSCertID")?;
        Ok(Self {
            algorithm,
            hash,
            issuer_and_serial,
        })
    }

    fn is_of(&self, certificate: &Certificate) -> bool {
        let hash = match self.algorithm {
            Some(algorithm) => algorithm.digest(certificate.as_bytes()),
            None => sha1::Sha1::digest(certificate.as_bytes()).to_vec(),
        };
        let named = (certificate.issuer(), certificate.serial());
        hash == self.hash && self.issuer_and_serial.is_none_or(|both| both == named)
    }
}

/// Why a token is not good. Its maker is at fault, unless the verifier expected the wrong thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyError {
    /// The authority did not grant.
    Status {
        /// What it said.
        status: PkiStatus,
    },
    /// The verifier has no roots, so nobody is believed.
    NoRoots,
    /// It is about something else.
    OtherImprint,
    /// It was made under another policy.
    OtherPolicy {
        /// Which.
        policy: Oid,
    },
    /// A nonce was sent, and none came back.
    NoNonce,
    /// Another nonce came back than was sent.
    OtherNonce,
    /// Its time is ahead of the verifier's clock by more than [`CLOCK_SKEW_SECONDS_MAX`].
    FromTheFuture {
        /// The time.
        gen_time: GenTime,
    },
    /// A critical extension of the `TSTInfo` that is not known here.
    CriticalExtension {
        /// Which.
        oid: Oid,
    },
    /// The checkpoint that it names is not in its form.
    NotBefore(NotBeforeError),
    /// A signed attribute is not in its form.
    Attribute(DerError),
    /// The signed content type is missing, or is not that of a `TSTInfo`.
    ContentType,
    /// The signed digest is missing, or is not that of the `TSTInfo`.
    MessageDigest,
    /// Other algorithms were used than the signature says.
    AlgorithmProtection,
    /// No certificate at hand is the one that the signer names.
    SignerNotFound,
    /// The signature does not say which certificate it was made with.
    NoSigningCertificate,
    /// The signature says that it was made with another certificate.
    OtherSigningCertificate,
    /// The signer's certificate does not permit time-stamps.
    Signer(ProfileError),
    /// The token names another authority than the signer's certificate.
    OtherName,
    /// The signature does not count.
    Signature(SignatureFault),
    /// No path leads from the signer's certificate to a root.
    Path(PathError),
}

impl From<DerError> for VerifyError {
    fn from(error: DerError) -> Self {
        Self::Attribute(error)
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { status } => write!(f, "the authority's answer is {status}"),
            Self::NoRoots => f.write_str("without a root certificate nobody is believed"),
            Self::OtherImprint => f.write_str("the token is about another digest"),
            Self::OtherPolicy { policy } => {
                write!(f, "the token was made under the policy {policy}")
            }
            Self::NoNonce => f.write_str("the token lacks the nonce that was sent"),
            Self::OtherNonce => f.write_str("the token has another nonce than was sent"),
            Self::FromTheFuture { gen_time } => {
                write!(f, "the token's time, {gen_time}, is still to come")
            }
            Self::CriticalExtension { oid } => {
                write!(f, "the token's critical extension {oid} is not known")
            }
            Self::NotBefore(error) => write!(f, "the checkpoint in the token: {error}"),
            Self::Attribute(error) => write!(f, "a signed attribute of the token: {error}"),
            Self::ContentType => f.write_str("the signed content type is not TSTInfo"),
            Self::MessageDigest => f.write_str("the signed digest is not that of the TSTInfo"),
            Self::AlgorithmProtection => {
                f.write_str("other algorithms were used than the signature says")
            }
            Self::SignerNotFound => f.write_str("the signer's certificate is not at hand"),
            Self::NoSigningCertificate => {
                f.write_str("the signature does not say with which certificate it was made")
            }
            Self::OtherSigningCertificate => {
                f.write_str("the signature was made with another certificate")
            }
            Self::Signer(reason) => write!(f, "the signer's certificate: {reason}"),
            Self::OtherName => {
                f.write_str("the token names another authority than its signer's certificate")
            }
            Self::Signature(fault) => write!(f, "the token's signature: {fault}"),
            Self::Path(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for VerifyError {}

#[cfg(test)]
mod tests;
