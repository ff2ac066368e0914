//! `TimeStampReq`: what a client asks, and which answer is due when it is not as it must be.
//!
//! ```text
//! TimeStampReq ::= SEQUENCE {
//!   version         INTEGER { v1(1) },
//!   messageImprint  MessageImprint,            the algorithm and the digest
//!   reqPolicy       OBJECT IDENTIFIER OPTIONAL,
//!   nonce           INTEGER OPTIONAL,          echoed byte for byte
//!   certReq         BOOLEAN DEFAULT FALSE,
//!   extensions  [0] IMPLICIT Extensions OPTIONAL   none is known, so none is taken
//! }
//! ```
//!
//! In scope: strict reading, writing, and the decision whether a request can be granted as far as
//! its own bytes and the offer say. Out of scope: the clock, the log and the signature, for which
//! [`Refusal`] has the reasons; HTTP.
//!
//! Rules: `spec/timestamp.md`; RFC 3161, 2.4.1.

use alloc::vec::Vec;
use core::fmt;

use crate::tsp::element::{
    DerError, DerFault, Element, Elements, Flag, is_minimal_integer, push, push_unsigned, tag,
    unsigned_content,
};
use crate::tsp::imprint::{HashAlgorithm, ImprintError, MessageImprint};
use crate::tsp::oid::Oid;
use crate::tsp::response::{PkiFailureInfo, Refusal};

/// A request for a time-stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampRequest {
    imprint: MessageImprint,
    policy: Option<Oid>,
    nonce: Option<Nonce>,
    certificate: Flag,
}

/// The most that a request may have. Real ones have 60 to 120 bytes.
// Spec: TSP-01
pub const REQUEST_BYTES_MAX: usize = 4096;

impl TimestampRequest {
    /// A request, as a client makes it.
    pub fn new(
        imprint: MessageImprint,
        policy: Option<Oid>,
        nonce: Option<Nonce>,
        wants_certificate: bool,
    ) -> Self {
        Self {
            imprint,
            policy,
            nonce,
            certificate: Flag::new(wants_certificate),
        }
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`RequestError`]: the first thing that is wrong. [`RequestError::failure`] has the bit that
    /// answers it.
    // Spec: TSP-01, TSP-11
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > REQUEST_BYTES_MAX {
            return Err(RequestError::TooLong { bytes: bytes.len() });
        }
        let mut fields = Element::only(bytes, tag::SEQUENCE, "TimeStampReq")?.inside();
        // Spec: TSP-03
        let version = fields.take(tag::INTEGER, "version")?.integer("version")?;
        if version != [1] {
            return Err(RequestError::Version);
        }
        let imprint = fields.take(tag::SEQUENCE, "messageImprint")?;
        let imprint = MessageImprint::read(imprint).map_err(RequestError::Imprint)?;
        let policy = fields.take_if(tag::OID, "reqPolicy")?;
        let policy = policy.map(|oid| Oid::read(oid, "reqPolicy")).transpose()?;
        let nonce = fields.take_if(tag::INTEGER, "nonce")?;
        let nonce = nonce.map(read_nonce).transpose()?;
        // Spec: TSP-08
        let certificate = Flag::take(&mut fields, "certReq")?;
        if let Some(extensions) = fields.take_if(tag::CONSTRUCTED_0, "extensions")? {
            fields.finish("TimeStampReq")?;
            return Err(refused_extensions(extensions.inside())?);
        }
        fields.finish("TimeStampReq")?;
        Ok(Self {
            imprint,
            policy,
            nonce,
            certificate,
        })
    }

    /// The request's DER: of a parsed one, the bytes that were parsed.
    // Spec: TSP-11
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut inside = Vec::new();
        push_unsigned(&mut inside, 1);
        self.imprint.push(&mut inside);
        if let Some(policy) = &self.policy {
            policy.push(&mut inside);
        }
        if let Some(nonce) = &self.nonce {
            nonce.push(&mut inside);
        }
        self.certificate.push(&mut inside);
        let mut request = Vec::new();
        push(&mut request, tag::SEQUENCE, &[&inside]);
        request
    }

    /// The digest that is to be stamped.
    pub fn imprint(&self) -> &MessageImprint {
        &self.imprint
    }

    /// The policy that is asked for.
    pub fn policy(&self) -> Option<&Oid> {
        self.policy.as_ref()
    }

    /// The number to be echoed.
    pub fn nonce(&self) -> Option<&Nonce> {
        self.nonce.as_ref()
    }

    /// Whether the token is to hold the signer's certificate.
    pub fn wants_certificate(&self) -> bool {
        self.certificate.is_true()
    }

    /// Whether an authority with this offer can grant the request, and under which policy.
    ///
    /// # Errors
    /// [`Refusal::HashNotOffered`] or [`Refusal::UnacceptedPolicy`]: the client's fault, and
    /// nothing changed.
    // Spec: TSP-09
    pub fn decide<'a>(&'a self, offer: &'a Offer) -> Result<&'a Oid, Refusal> {
        let algorithm = self.imprint.algorithm();
        if !offer.hash_algorithms.contains(&algorithm) {
            return Err(Refusal::HashNotOffered { algorithm });
        }
        match &self.policy {
            None => Ok(&offer.default_policy),
            Some(policy) if *policy == offer.default_policy => Ok(policy),
            Some(policy) if offer.other_policies.contains(policy) => Ok(policy),
            Some(policy) => Err(Refusal::UnacceptedPolicy {
                policy: policy.clone(),
            }),
        }
    }
}

/// Which requests an authority grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The policy of those who ask for none. Those who ask for it by its name get it, too.
    pub default_policy: Oid,
    /// Others that are granted to those who ask.
    pub other_policies: Vec<Oid>,
    /// The hash algorithms that are not switched off.
    pub hash_algorithms: Vec<HashAlgorithm>,
}

/// The one reason why these extensions are refused; an error when they are not even extensions.
// Spec: TSP-10
fn refused_extensions(extensions: Elements<'_>) -> Result<RequestError, DerError> {
    const FIELD: &str = "extensions";
    let mut first = None;
    for extension in extensions.all(tag::SEQUENCE, FIELD)? {
        let mut fields = extension.inside();
        let oid = Oid::read(fields.take(tag::OID, "extnID")?, "extnID")?;
        Flag::take(&mut fields, "critical")?;
        fields.take(tag::OCTET_STRING, "extnValue")?;
        fields.finish("Extension")?;
        first = first.or(Some(oid));
    }
    let oid = first.ok_or(DerFault::Empty.of(FIELD))?;
    Ok(RequestError::UnknownExtension { oid })
}

/// An INTEGER that a client chooses and finds again in its token, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(Vec<u8>);

/// The longest nonce in octets of its content. Clients send 8, some 32.
// Spec: TSP-07
pub const NONCE_OCTETS_MAX: usize = 64;

impl Nonce {
    /// The nonce that is the number of these bytes, most significant first, and not negative.
    ///
    /// # Errors
    /// [`RequestError::NonceTooLong`].
    // Spec: TSP-07
    pub fn from_number(number: &[u8]) -> Result<Self, RequestError> {
        Self::new(&unsigned_content(number))
    }

    /// The content of the INTEGER.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn new(content: &[u8]) -> Result<Self, RequestError> {
        debug_assert!(is_minimal_integer(content), "read or made as an INTEGER");
        if content.len() > NONCE_OCTETS_MAX {
            return Err(RequestError::NonceTooLong {
                octets: content.len(),
            });
        }
        Ok(Self(content.to_vec()))
    }

    pub(crate) fn push(&self, out: &mut Vec<u8>) {
        push(out, tag::INTEGER, &[&self.0]);
    }
}

// Spec: TSP-07
pub(crate) fn read_nonce(element: Element<'_>) -> Result<Nonce, RequestError> {
    Nonce::new(element.integer("nonce")?)
}

/// Why bytes are no request that could be granted. The client is at fault; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// More than [`REQUEST_BYTES_MAX`].
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It is not DER, or not the fields that are due.
    Der(DerError),
    /// The version is not 1.
    Version,
    /// The digest and its algorithm.
    Imprint(ImprintError),
    /// A nonce of more than [`NONCE_OCTETS_MAX`].
    NonceTooLong {
        /// How long it is.
        octets: usize,
    },
    /// An extension, of which none is known.
    UnknownExtension {
        /// The first.
        oid: Oid,
    },
}

impl RequestError {
    /// The failure that says so to the client.
    // Spec: TSP-20
    pub fn failure(&self) -> PkiFailureInfo {
        match self {
            Self::TooLong { .. }
            | Self::Der(_)
            | Self::Imprint(ImprintError::Der(_) | ImprintError::DigestLength { .. }) => {
                PkiFailureInfo::BadDataFormat
            }
            Self::Version | Self::NonceTooLong { .. } => PkiFailureInfo::BadRequest,
            Self::Imprint(
                ImprintError::UnknownHash { .. } | ImprintError::HashParameters { .. },
            ) => PkiFailureInfo::BadAlg,
            Self::UnknownExtension { .. } => PkiFailureInfo::UnacceptedExtension,
        }
    }
}

impl From<DerError> for RequestError {
    fn from(error: DerError) -> Self {
        Self::Der(error)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => write!(
                f,
                "the request has {bytes} bytes, of at most {REQUEST_BYTES_MAX}"
            ),
            Self::Der(error) => error.fmt(f),
            Self::Version => f.write_str("the version of the request is not 1"),
            Self::Imprint(error) => error.fmt(f),
            Self::NonceTooLong { octets } => write!(
                f,
                "the nonce has {octets} octets, of at most {NONCE_OCTETS_MAX}"
            ),
            Self::UnknownExtension { oid } => write!(f, "the extension {oid} is not known"),
        }
    }
}

impl core::error::Error for RequestError {}

#[cfg(test)]
mod tests;
