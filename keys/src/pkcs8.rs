//! Private keys in PKCS#8 PEM, as `openssl genpkey` writes them.
//!
//! ```text
//! -----BEGIN PRIVATE KEY-----
//! base64(DER PrivateKeyInfo), in lines
//! -----END PRIVATE KEY-----
//! ```
//!
//! In scope: exactly one unencrypted `PRIVATE KEY` block and nothing else in the file, and DER that
//! ends where its outer SEQUENCE says. Out of scope: what is inside the DER (aws-lc-rs parses it),
//! encrypted keys, and the older `EC PRIVATE KEY` block.
//!
//! Rows: `spec/keys.md` KEY-05, KEY-06.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

/// The DER bytes of the one private key in `text`.
pub(crate) fn parse_pem(text: &str) -> Result<Zeroizing<Vec<u8>>, PemError> {
    // Spec: KEY-05
    let mut lines = text.lines();
    match lines.next() {
        Some(BEGIN) => {}
        Some("-----BEGIN ENCRYPTED PRIVATE KEY-----") => return Err(PemError::Encrypted),
        Some(line) if line.starts_with("-----BEGIN ") => return Err(PemError::OtherLabel),
        _ => return Err(PemError::NotPem),
    }
    // The whole text bounds the body, so the buffer never grows and leaves no copy behind.
    let mut body = Zeroizing::new(String::with_capacity(text.len()));
    let mut closed = false;
    for line in lines.by_ref() {
        if line == END {
            closed = true;
            break;
        }
        body.push_str(line);
    }
    if !closed {
        return Err(PemError::NotClosed);
    }
    if lines.next().is_some() {
        return Err(PemError::TrailingData);
    }
    let mut der = Zeroizing::new(vec![0_u8; body.len()]);
    let length = STANDARD
        .decode_slice(body.as_str(), der.as_mut_slice())
        .map_err(|_| PemError::Base64)?;
    der.truncate(length);
    match sequence_bytes(&der) {
        Some(stated) if stated == der.len() => Ok(der),
        Some(stated) if stated < der.len() => Err(PemError::TrailingDer {
            bytes: der.len() - stated,
        }),
        _ => Err(PemError::Der),
    }
}

/// Writes the PEM of `der`.
pub(crate) fn to_pem(der: &[u8]) -> Zeroizing<String> {
    let mut body = Zeroizing::new(String::with_capacity(der.len().div_ceil(3) * 4));
    STANDARD.encode_string(der, &mut body);
    let mut pem = Zeroizing::new(String::with_capacity(
        BEGIN.len() + END.len() + 2 + body.len() + body.len().div_ceil(LINE_CHARS),
    ));
    pem.push_str(BEGIN);
    pem.push('\n');
    let mut rest = body.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so every index is a character boundary.
        let (line, tail) = rest.split_at(rest.len().min(LINE_CHARS));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str(END);
    pem.push('\n');
    pem
}

/// How many bytes the outer SEQUENCE takes, header included. aws-lc-rs stops reading there and does
/// not say whether anything follows, so this is where what follows is refused.
fn sequence_bytes(der: &[u8]) -> Option<usize> {
    // Spec: KEY-06
    match *der {
        [0x30, length, ..] if length < 0x80 => Some(2 + usize::from(length)),
        [0x30, 0x81, length, ..] if length >= 0x80 => Some(3 + usize::from(length)),
        [0x30, 0x82, high, low, ..] if high > 0 => {
            Some(4 + (usize::from(high) << 8) + usize::from(low))
        }
        _ => None,
    }
}

/// Why a PEM text was not taken. The operator is at fault. No variant carries a part of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PemError {
    /// The text does not begin with a PEM header.
    #[error("it does not begin with -----BEGIN PRIVATE KEY-----")]
    NotPem,
    /// The key is encrypted with a passphrase.
    #[error(
        "the key is encrypted; decrypt it with `openssl pkcs8 -topk8 -nocrypt` into a file of \
         mode 0600"
    )]
    Encrypted,
    /// The PEM holds something else, or a private key in an older form.
    #[error("it holds another kind of PEM block; convert it with `openssl pkcs8 -topk8 -nocrypt`")]
    OtherLabel,
    /// There is no END line.
    #[error("there is no -----END PRIVATE KEY----- line")]
    NotClosed,
    /// There is something after the END line.
    #[error("there is something after the -----END PRIVATE KEY----- line")]
    TrailingData,
    /// The body is not strict base64.
    #[error("the body is not strict base64")]
    Base64,
    /// The body is not one DER SEQUENCE.
    #[error("the body is not a DER structure")]
    Der,
    /// There are bytes after the DER structure.
    #[error("{bytes} bytes follow the DER structure")]
    TrailingDer {
        /// How many.
        bytes: usize,
    },
}

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// RFC 7468: 64 characters a line.
const LINE_CHARS: usize = 64;
