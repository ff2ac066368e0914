//! `TimeStampResp`: a token, or why there is none.
//!
//! ```text
//! TimeStampResp ::= SEQUENCE {
//!   status          PKIStatusInfo,
//!   timeStampToken  ContentInfo OPTIONAL       see `signed_data`
//! }
//! PKIStatusInfo ::= SEQUENCE {
//!   status        INTEGER,                     0 granted … 5
//!   statusString  SEQUENCE OF UTF8String OPTIONAL,
//!   failInfo      BIT STRING OPTIONAL          of named bits: no zeros at its end
//! }
//! ```
//!
//! In scope: the statuses and failures of RFC 3161, 2.4.2, which refusal is which failure, both
//! directions of the encoding. Out of scope: HTTP, where a refusal is 200, too.
//!
//! Rules: `spec/timestamp.md`.

use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::tsp::element::{DerError, DerFault, Element, nest, push, push_unsigned, tag};
use crate::tsp::imprint::HashAlgorithm;
use crate::tsp::oid::Oid;
use crate::tsp::request::RequestError;
use crate::tsp::signed_data::{TimestampToken, TokenError};

/// An answer of a time-stamp authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampResponse {
    status: PkiStatus,
    texts: Vec<String>,
    failures: Option<FailureBits>,
    token: Option<TimestampToken>,
}

/// The most that a response may have: the largest token and what is around it.
// Spec: TSP-25
pub const RESPONSE_BYTES_MAX: usize = super::signed_data::TOKEN_BYTES_MAX + 8 * 1024;

impl TimestampResponse {
    /// The answer that has the token. It never carries a text, with which some clients had trouble.
    // Spec: TSP-23
    pub fn granted(token: TimestampToken) -> Self {
        Self {
            status: PkiStatus::Granted,
            texts: Vec::new(),
            failures: None,
            token: Some(token),
        }
    }

    /// The answer that says why there is no token.
    // Spec: TSP-22
    pub fn rejected(refusal: &Refusal) -> Self {
        Self {
            status: PkiStatus::Rejection,
            texts: vec![refusal.to_string()],
            failures: Some(FailureBits::of(refusal.failure())),
            token: None,
        }
    }

    /// Reads a response, anybody's.
    ///
    /// # Errors
    /// [`ResponseError`]: the first thing that is wrong.
    // Spec: TSP-24
    pub fn parse(bytes: &[u8]) -> Result<Self, ResponseError> {
        // Spec: TSP-25
        if bytes.len() > RESPONSE_BYTES_MAX {
            return Err(ResponseError::TooLong { bytes: bytes.len() });
        }
        let mut fields = Element::only(bytes, tag::SEQUENCE, "TimeStampResp")?.inside();
        let mut info = fields.take(tag::SEQUENCE, "PKIStatusInfo")?.inside();
        let status = info.take(tag::INTEGER, "status")?.unsigned("status")?;
        let status = PkiStatus::from_number(status).ok_or(ResponseError::UnknownStatus)?;
        let mut texts = Vec::new();
        if let Some(list) = info.take_if(tag::SEQUENCE, "statusString")? {
            for text in list.inside().all(tag::UTF8_STRING, "statusString")? {
                let text = core::str::from_utf8(text.content)
                    .map_err(|_| DerFault::Text.of("statusString"))?;
                texts.push(text.into());
            }
            if texts.is_empty() {
                return Err(DerFault::Empty.of("statusString").into());
            }
        }
        let failures = info.take_if(tag::BIT_STRING, "failInfo")?;
        let failures = failures.map(FailureBits::read).transpose()?;
        info.finish("PKIStatusInfo")?;
        let token = if fields.is_empty() {
            None
        } else {
            let token = fields.take(tag::SEQUENCE, "timeStampToken")?.bytes;
            Some(TimestampToken::parse(token).map_err(ResponseError::Token)?)
        };
        fields.finish("TimeStampResp")?;
        match (status.has_token(), token.is_some()) {
            (true, false) => Err(ResponseError::NoToken { status }),
            (false, true) => Err(ResponseError::TokenInRejection { status }),
            _ => Ok(Self {
                status,
                texts,
                failures,
                token,
            }),
        }
    }

    /// The response's DER: of a parsed one, the bytes that were parsed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let token = self.token.as_ref();
        let mut response = Vec::with_capacity(64 + token.map_or(0, TimestampToken::size_hint));
        nest(&mut response, tag::SEQUENCE, |out| {
            nest(out, tag::SEQUENCE, |out| self.push_info(out));
            if let Some(token) = token {
                token.push(out);
            }
        });
        response
    }

    fn push_info(&self, out: &mut Vec<u8>) {
        push_unsigned(out, self.status.number());
        if !self.texts.is_empty() {
            nest(out, tag::SEQUENCE, |out| {
                for text in &self.texts {
                    push(out, tag::UTF8_STRING, &[text.as_bytes()]);
                }
            });
        }
        if let Some(failures) = self.failures {
            failures.push(out);
        }
    }

    /// The status.
    pub fn status(&self) -> PkiStatus {
        self.status
    }

    /// What the authority says about it, in words.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Which failures it names.
    pub fn failures(&self) -> Option<FailureBits> {
        self.failures
    }

    /// The token, if it was granted.
    pub fn token(&self) -> Option<&TimestampToken> {
        self.token.as_ref()
    }
}

/// The status of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PkiStatus {
    /// The token is as it was asked for.
    Granted,
    /// The token is otherwise. Jurat neither sends nor accepts this: several clients refuse it.
    GrantedWithMods,
    /// There is no token.
    Rejection,
    /// There is none yet.
    Waiting,
    /// A revocation is near.
    RevocationWarning,
    /// A revocation has happened.
    RevocationNotification,
}

impl PkiStatus {
    const ALL: [Self; 6] = [
        Self::Granted,
        Self::GrantedWithMods,
        Self::Rejection,
        Self::Waiting,
        Self::RevocationWarning,
        Self::RevocationNotification,
    ];

    fn from_number(number: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|status| status.number() == number)
    }

    /// The number in the encoding.
    pub fn number(self) -> u64 {
        match self {
            Self::Granted => 0,
            Self::GrantedWithMods => 1,
            Self::Rejection => 2,
            Self::Waiting => 3,
            Self::RevocationWarning => 4,
            Self::RevocationNotification => 5,
        }
    }

    /// Whether a token must be there. With the others it must not be.
    // Spec: TSP-24
    pub fn has_token(self) -> bool {
        match self {
            Self::Granted | Self::GrantedWithMods => true,
            Self::Rejection
            | Self::Waiting
            | Self::RevocationWarning
            | Self::RevocationNotification => false,
        }
    }

    /// Its name in RFC 3161.
    pub fn name(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::GrantedWithMods => "grantedWithMods",
            Self::Rejection => "rejection",
            Self::Waiting => "waiting",
            Self::RevocationWarning => "revocationWarning",
            Self::RevocationNotification => "revocationNotification",
        }
    }
}

impl fmt::Display for PkiStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The failures that an authority may name: these eight and no others.
// Spec: TSP-20
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PkiFailureInfo {
    /// The hash algorithm is not taken.
    BadAlg,
    /// The request is understood and not permitted.
    BadRequest,
    /// The request is not understood.
    BadDataFormat,
    /// The time is not known well enough.
    TimeNotAvailable,
    /// The policy is not offered.
    UnacceptedPolicy,
    /// The extension is not known.
    UnacceptedExtension,
    /// The extension is known, and what it asks for is not there.
    AddInfoNotAvailable,
    /// The authority cannot.
    SystemFailure,
}

impl PkiFailureInfo {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::BadAlg,
        Self::BadRequest,
        Self::BadDataFormat,
        Self::TimeNotAvailable,
        Self::UnacceptedPolicy,
        Self::UnacceptedExtension,
        Self::AddInfoNotAvailable,
        Self::SystemFailure,
    ];

    /// The number of its bit.
    pub fn bit(self) -> u32 {
        match self {
            Self::BadAlg => 0,
            Self::BadRequest => 2,
            Self::BadDataFormat => 5,
            Self::TimeNotAvailable => 14,
            Self::UnacceptedPolicy => 15,
            Self::UnacceptedExtension => 16,
            Self::AddInfoNotAvailable => 17,
            Self::SystemFailure => 25,
        }
    }

    /// Its name in RFC 3161.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadAlg => "badAlg",
            Self::BadRequest => "badRequest",
            Self::BadDataFormat => "badDataFormat",
            Self::TimeNotAvailable => "timeNotAvailable",
            Self::UnacceptedPolicy => "unacceptedPolicy",
            Self::UnacceptedExtension => "unacceptedExtension",
            Self::AddInfoNotAvailable => "addInfoNotAvailable",
            Self::SystemFailure => "systemFailure",
        }
    }
}

impl fmt::Display for PkiFailureInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The bits of a `failInfo`: bit 0 is the most significant of the first octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureBits(u32);

impl FailureBits {
    /// One failure.
    pub fn of(failure: PkiFailureInfo) -> Self {
        Self((1 << 31) >> failure.bit())
    }

    /// Those of its failures that RFC 3161 has.
    pub fn failures(self) -> impl Iterator<Item = PkiFailureInfo> {
        PkiFailureInfo::ALL
            .into_iter()
            .filter(move |failure| self.0 & Self::of(*failure).0 != 0)
    }

    // Spec: TSP-21
    fn read(element: Element<'_>) -> Result<Self, DerError> {
        const FIELD: &str = "failInfo";
        let octets = element
            .content
            .get(1..)
            .ok_or(DerFault::Missing.of(FIELD))?;
        let mut bits = [0; 4];
        bits.get_mut(..octets.len())
            .ok_or(DerFault::Range.of(FIELD))?
            .copy_from_slice(octets);
        let bits = Self(u32::from_be_bytes(bits));
        let mut again = Vec::new();
        bits.push(&mut again);
        // Zeros at the end, or a wrong count of them.
        if again == element.bytes {
            Ok(bits)
        } else {
            Err(DerFault::Text.of(FIELD))
        }
    }

    // Spec: TSP-21
    fn push(self, out: &mut Vec<u8>) {
        let octets = self.0.to_be_bytes();
        let zeros = octets.iter().rev().take_while(|octet| **octet == 0).count();
        let used = octets.get(..octets.len() - zeros).unwrap_or_default();
        let unused = used.last().map_or(0, |last| last.trailing_zeros());
        let unused = u8::try_from(unused).unwrap_or_default();
        push(out, tag::BIT_STRING, &[&[unused], used]);
    }
}

/// Every reason for which an authority refuses, with the failure that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request is not as it must be. The client is at fault.
    Request(RequestError),
    /// The operator has switched this hash algorithm off.
    HashNotOffered {
        /// Which.
        algorithm: HashAlgorithm,
    },
    /// The policy that was asked for is not offered.
    UnacceptedPolicy {
        /// Which.
        policy: Oid,
    },
    /// The clock is not known to be as good as the declared accuracy. The operator is at fault, or
    /// nobody.
    TimeNotAvailable,
    /// What a known extension asks for is not there at the moment.
    AddInfoNotAvailable,
    /// No token could be made or made durable. The operator is at fault.
    SystemFailure,
}

impl Refusal {
    /// The failure that says so to the client.
    // Spec: TSP-20
    pub fn failure(&self) -> PkiFailureInfo {
        match self {
            Self::Request(error) => error.failure(),
            Self::HashNotOffered { .. } => PkiFailureInfo::BadAlg,
            Self::UnacceptedPolicy { .. } => PkiFailureInfo::UnacceptedPolicy,
            Self::TimeNotAvailable => PkiFailureInfo::TimeNotAvailable,
            Self::AddInfoNotAvailable => PkiFailureInfo::AddInfoNotAvailable,
            Self::SystemFailure => PkiFailureInfo::SystemFailure,
        }
    }
}

impl fmt::Display for Refusal {
    /// The status text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => error.fmt(f),
            Self::HashNotOffered { algorithm } => write!(f, "{algorithm} is not offered here"),
            Self::UnacceptedPolicy { policy } => {
                write!(f, "the policy {policy} is not offered here")
            }
            Self::TimeNotAvailable => {
                f.write_str("the clock is not known to be accurate enough at the moment")
            }
            Self::AddInfoNotAvailable => {
                f.write_str("what the extension asks for is not available at the moment")
            }
            Self::SystemFailure => f.write_str("no time-stamp can be made at the moment"),
        }
    }
}

impl core::error::Error for Refusal {}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

/// Why bytes are no response. Its maker is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// More than [`RESPONSE_BYTES_MAX`].
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It is not DER, or not the fields that are due.
    Der(DerError),
    /// A status that RFC 3161 does not have.
    UnknownStatus,
    /// A grant without a token.
    NoToken {
        /// The status.
        status: PkiStatus,
    },
    /// A token beside a status that forbids it.
    TokenInRejection {
        /// The status.
        status: PkiStatus,
    },
    /// The token.
    Token(TokenError),
}

impl From<DerError> for ResponseError {
    fn from(error: DerError) -> Self {
        Self::Der(error)
    }
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => write!(
                f,
                "the response has {bytes} bytes, of at most {RESPONSE_BYTES_MAX}"
            ),
            Self::Der(error) => error.fmt(f),
            Self::UnknownStatus => f.write_str("the status is none that there is"),
            Self::NoToken { status } => write!(f, "the status is {status}, but there is no token"),
            Self::TokenInRejection { status } => {
                write!(f, "there is a token although the status is {status}")
            }
            Self::Token(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ResponseError {}

#[cfg(test)]
mod tests;
