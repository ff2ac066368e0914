//! COSE messages: the two header parameters of RFC 9921 for time-stamps, and receipts (RFC 9942).
//!
//! ```text
//! COSE_Sign1 = [                  with or without tag 18
//!   protected:   bstr,
//!   unprotected: { … ? 270: bstr },
//!   payload:     bstr / nil,
//!   signature:   bstr
//! ]
//!
//! 270  3161-ctt    a token about the signature: its imprint is of that field as it is encoded
//! 269  3161-ttc    a token about the payload, in the protected header, before it is signed
//! ```
//!
//! The value of both is a `TimeStampToken` in DER; with a receipt inside, the message carries the
//! proof of its log as well. In scope: cutting a message at its fields, and putting a token in;
//! [`receipt`] is what a log signs in COSE. Out of scope: other messages' own signatures;
//! `COSE_Sign`.
//!
//! Rules: `spec/timestamp.md`, `spec/receipt.md`; RFC 9052, 4.2; RFC 9921, 3.

mod deterministic;
pub mod receipt;
mod root_line;

pub use self::root_line::sign_root;

use alloc::vec::Vec;
use core::fmt;

use minicbor::data::{Tag, Type};
use minicbor::{Decoder, Encoder};

use self::deterministic::{HEADERS_MAX, Headers, Written, byte_string, push};
use crate::tsp::imprint::MessageImprint;
use crate::tsp::signed_data::TimestampToken;

/// A `COSE_Sign1` message, cut at its fields. Nothing is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sign1 {
    tagged: bool,
    protected: Vec<u8>,
    /// The members of the unprotected header, each a label and a value in CBOR.
    unprotected: Vec<(Vec<u8>, Vec<u8>)>,
    payload: Vec<u8>,
    signature: Vec<u8>,
    /// The token in the unprotected header.
    token: Option<Vec<u8>>,
}

/// The longest message that is read.
// Spec: TSP-95
pub const SIGN1_BYTES_MAX: usize = 16 << 20;
const TAG_SIGN1: u64 = 18;
const TTC: i64 = 269;
const CTT: i64 = 270;

impl Sign1 {
    /// Reads a message.
    ///
    /// # Errors
    /// [`CoseError`]: the first thing that is wrong. Who made the message is at fault.
    // Spec: TSP-95
    pub fn parse(bytes: &[u8]) -> Result<Self, CoseError> {
        if bytes.len() > SIGN1_BYTES_MAX {
            return Err(CoseError::TooLong { bytes: bytes.len() });
        }
        let mut fields = Fields(Decoder::new(bytes));
        let tagged = fields.datatype()? == Type::Tag;
        if tagged && fields.0.tag().ok().map(Tag::as_u64) != Some(TAG_SIGN1) {
            return Err(CoseError::NotSign1);
        }
        if fields.0.array().ok().flatten() != Some(4) {
            return Err(CoseError::NotSign1);
        }
        let protected = fields.of_type(Type::Bytes)?;
        if fields.datatype()? != Type::Map {
            return Err(CoseError::NotSign1);
        }
        // Spec: TSP-95
        let count = fields.0.map().ok().flatten();
        let count = count.filter(|count| *count <= HEADERS_MAX);
        let mut unprotected = Vec::new();
        let mut token = None;
        for _ in 0..count.ok_or(CoseError::Headers)? {
            let label = fields.next()?;
            let is_token = Decoder::new(&label).i64().ok() == Some(CTT);
            let value = fields.next()?;
            if is_token {
                if token.is_some() {
                    return Err(CoseError::Headers);
                }
                let value = Decoder::new(&value).bytes().map(<[u8]>::to_vec);
                token = Some(value.map_err(|_| CoseError::Headers)?);
            }
            unprotected.push((label, value));
        }
        let payload = match fields.datatype()? {
            Type::Null => fields.next()?,
            _ => fields.of_type(Type::Bytes)?,
        };
        let signature = fields.of_type(Type::Bytes)?;
        let message = Self {
            tagged,
            protected,
            unprotected,
            payload,
            signature,
            token,
        };
        // Another length of a length, or something after the message.
        if message.to_bytes() == bytes {
            Ok(message)
        } else {
            Err(CoseError::NotCanonical)
        }
    }

    /// The message: of a parsed one, the bytes that were parsed.
    // Spec: TSP-95
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.tagged {
            push(&mut bytes, |out| out.tag(Tag::new(TAG_SIGN1)).map(drop));
        }
        push(&mut bytes, |out| out.array(4).map(drop));
        bytes.extend_from_slice(&self.protected);
        let count = u64::try_from(self.unprotected.len()).unwrap_or(u64::MAX);
        push(&mut bytes, |out| out.map(count).map(drop));
        for (label, value) in &self.unprotected {
            bytes.extend_from_slice(label);
            bytes.extend_from_slice(value);
        }
        bytes.extend_from_slice(&self.payload);
        bytes.extend_from_slice(&self.signature);
        bytes
    }

    /// The signature field as it is encoded, head included: what a token in the unprotected header
    /// is about.
    // Spec: TSP-96
    pub fn signature_field(&self) -> &[u8] {
        &self.signature
    }

    /// The protected header: the bytes that the signature covers, which are a map in CBOR.
    fn protected(&self) -> &[u8] {
        byte_string(&self.protected).unwrap_or_default()
    }

    /// The unprotected header, when no label is there twice.
    fn unprotected(&self) -> Option<Headers<'_>> {
        let members = self.unprotected.iter();
        Headers::new(
            members
                .map(|(label, value)| (&label[..], &value[..]))
                .collect(),
        )
    }

    /// The token in the unprotected header, in DER.
    // Spec: TSP-96
    pub fn token(&self) -> Option<&[u8]> {
        self.token.as_deref()
    }

    /// The same message with a token about its signature.
    ///
    /// # Errors
    /// [`CoseError::OtherImprint`] when the token is about something else,
    /// [`CoseError::HasToken`] when there is one already, [`CoseError::Headers`] when there is no
    /// room.
    // Spec: TSP-96
    pub fn with_token(&self, token: &TimestampToken) -> Result<Self, CoseError> {
        let imprint = &token.tst_info().imprint;
        if !MessageImprint::of(imprint.algorithm(), &self.signature).is_same(imprint) {
            return Err(CoseError::OtherImprint);
        }
        if self.token.is_some() {
            return Err(CoseError::HasToken);
        }
        let mut message = self.clone();
        let der = token.to_bytes();
        message
            .unprotected
            .push(member(CTT, |out| out.bytes(&der).map(drop)));
        message.token = Some(der);
        if message.unprotected.len() > usize::try_from(HEADERS_MAX).unwrap_or(usize::MAX) {
            return Err(CoseError::Headers);
        }
        Ok(message)
    }
}

/// A header of one member, 3161-ttc, for the protected header of a message whose payload the token
/// is about.
// Spec: TSP-97
pub fn ttc_header(token: &TimestampToken) -> Vec<u8> {
    let mut header = Vec::new();
    push(&mut header, |out| out.map(1).map(drop));
    let (label, value) = member(TTC, |out| out.bytes(&token.to_bytes()).map(drop));
    header.extend_from_slice(&label);
    header.extend_from_slice(&value);
    header
}

/// What a signer of a `COSE_Sign1` signs (RFC 9052, 4.4): with nothing that only the application
/// knows.
// Spec: RCP-11
fn signature1(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push(&mut bytes, |out| {
        out.array(4)?.str("Signature1")?;
        out.bytes(protected)?.bytes(&[])?.bytes(payload).map(drop)
    });
    bytes
}

/// A header parameter, cut at its label.
fn member(
    label: i64,
    value: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Written,
) -> (Vec<u8>, Vec<u8>) {
    let (mut name, mut content) = (Vec::new(), Vec::new());
    push(&mut name, |out| out.i64(label).map(drop));
    push(&mut content, value);
    (name, content)
}

/// Items one after another, each as its bytes.
struct Fields<'a>(Decoder<'a>);

impl Fields<'_> {
    fn datatype(&self) -> Result<Type, CoseError> {
        self.0.datatype().map_err(|_| CoseError::Malformed)
    }

    fn next(&mut self) -> Result<Vec<u8>, CoseError> {
        let from = self.0.position();
        self.0.skip().map_err(|_| CoseError::Malformed)?;
        let item = self.0.input().get(from..self.0.position());
        item.map(<[u8]>::to_vec).ok_or(CoseError::Malformed)
    }

    fn of_type(&mut self, wanted: Type) -> Result<Vec<u8>, CoseError> {
        if self.datatype()? == wanted {
            self.next()
        } else {
            Err(CoseError::NotSign1)
        }
    }
}

/// Why a message is none, or takes no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoseError {
    /// More than [`SIGN1_BYTES_MAX`].
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It is not CBOR.
    Malformed,
    /// It is CBOR, and no `COSE_Sign1`.
    NotSign1,
    /// The unprotected header has too many members, or a time-stamp that is none.
    Headers,
    /// It does not re-encode to the same bytes: lengths are not the shortest, or something follows.
    NotCanonical,
    /// The token is not about this message's signature.
    OtherImprint,
    /// There is a token already.
    HasToken,
}

impl fmt::Display for CoseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => write!(
                f,
                "the message has {bytes} bytes, of at most {SIGN1_BYTES_MAX}"
            ),
            Self::Malformed => f.write_str("the message is not CBOR"),
            Self::NotSign1 => f.write_str("the message is no COSE_Sign1"),
            Self::Headers => f.write_str("the message's unprotected header is not taken"),
            Self::NotCanonical => {
                f.write_str("the message is not in its shortest form, or something follows it")
            }
            Self::OtherImprint => {
                f.write_str("the time-stamp is not about the signature of this message")
            }
            Self::HasToken => f.write_str("the message has a time-stamp of its signature already"),
        }
    }
}

impl core::error::Error for CoseError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;
    use crate::tsp::imprint::HashAlgorithm;
    use crate::tsp::signed_data::Certificates;
    use crate::tsp::test_authority::{TestAuthority, tst_info};

    /// The message of RFC 9921, 3.1.1, and the digest that it gives.
    const MESSAGE: &str = "d28443a10126a10442313154546869732069732074686520636f6e74656e742e58408eb33e\
        4ca31d1c465ab05aac34cc6b23d58fef5c083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a2234\
        44547e01f11d3b0916e5a4c345cacb36";
    const IMPRINT: &str = "44c2419d131d53d55584b5dd33b788c24e551c6d44b1afc8b2b85e6954763b4e";

    fn message() -> Vec<u8> {
        hex::decode(MESSAGE).unwrap()
    }

    fn token(about: &[u8]) -> TimestampToken {
        let authority = TestAuthority::new();
        let mut info = tst_info(&authority.unit);
        info.imprint = MessageImprint::of(HashAlgorithm::Sha256, about);
        authority.token(info, Certificates::Signer)
    }

    // Spec: TSP-95, TSP-96
    #[test]
    fn the_example_of_the_rfc_gives_its_imprint() {
        let read = Sign1::parse(&message()).unwrap();
        assert_eq!(read.to_bytes(), message());
        assert_eq!(read.token(), None);
        let digest = HashAlgorithm::Sha256.digest(read.signature_field());
        assert_eq!(hex::encode(&digest), IMPRINT);
        // Without the tag, and with the payload elsewhere.
        let untagged = &message()[1..];
        assert_eq!(Sign1::parse(untagged).unwrap().to_bytes(), untagged);
        let detached = MESSAGE.replace("54546869732069732074686520636f6e74656e742e", "f6");
        let detached = hex::decode(&detached).unwrap();
        assert_eq!(Sign1::parse(&detached).unwrap().to_bytes(), detached);
    }

    // Spec: TSP-96
    #[test]
    fn a_token_about_the_signature_goes_into_the_unprotected_header_once() {
        let plain = Sign1::parse(&message()).unwrap();
        let token = token(plain.signature_field());
        let stamped = plain.with_token(&token).unwrap();
        let again = Sign1::parse(&stamped.to_bytes()).unwrap();
        assert_eq!(again, stamped);
        assert_eq!(again.token(), Some(&token.to_bytes()[..]));
        // Map of two, the member that was there, and 270 with the token.
        let text = hex::encode(&stamped.to_bytes());
        assert!(text.starts_with("d28443a10126a204423131 19010e 59".replace(' ', "").as_str()));
        assert!(text.ends_with(&MESSAGE[22..]), "all else is as it was");
        assert_eq!(stamped.with_token(&token), Err(CoseError::HasToken));
        let other = self::token(b"This is the content.");
        assert_eq!(plain.with_token(&other), Err(CoseError::OtherImprint));
    }

    // Spec: TSP-97
    #[test]
    fn a_token_about_the_payload_is_a_header_of_one_member() {
        let token = token(b"This is the content.");
        let header = ttc_header(&token);
        let der = token.to_bytes();
        assert_eq!(hex::encode(&header[..5]), "a119010d59");
        assert!(header.ends_with(&der));
        assert_eq!(header.len(), 7 + der.len());
    }

    // Spec: TSP-95
    #[test]
    fn what_is_no_message_is_refused() {
        let read = |text: &str| Sign1::parse(&hex::decode(text).unwrap()).unwrap_err();
        for (text, error) in [
            ("", CoseError::Malformed),
            ("d1", CoseError::NotSign1),
            ("83", CoseError::NotSign1),
            ("9f40a0f640ff", CoseError::NotSign1),
            ("8460a0f640", CoseError::NotSign1),
            ("8440bff6ff40", CoseError::NotSign1),
            ("8440a119010e01f640", CoseError::Headers),
            ("8440a0f6", CoseError::Malformed),
            ("8440a0f64041", CoseError::NotCanonical),
            ("8440b800f640", CoseError::NotCanonical),
            ("8440a0f65840", CoseError::Malformed),
        ] {
            assert_eq!(read(text), error, "{text}");
        }
        assert!(Sign1::parse(&[0x84, 0x40, 0xa0, 0xf6, 0x40]).is_ok());
        let bytes = SIGN1_BYTES_MAX + 1;
        let long = Sign1::parse(&alloc::vec![0; bytes]);
        assert_eq!(long, Err(CoseError::TooLong { bytes }));
    }
}
