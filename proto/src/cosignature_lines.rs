//! The body of a witness's 200 answer: one or more signature lines.
//!
//! ```text
//! — <key name> <base64(key id || signature)>     one or more, each with a newline
//! ```
//!
//! Both `add-checkpoint` and `sign-subtree` answer so. In scope: the lines, and what a client keeps
//! of an answer to `add-checkpoint`. Out of scope: making the signatures (`cosignature`).
//!
//! Rules: `spec/witness.md`; C2SP tlog-witness, revision of 2026-07-22.

use alloc::vec::Vec;
use core::fmt;

use crate::checkpoint::{SignaturesError, SignedCheckpoint, VerifiedSignature, verify_lines};
use crate::key::VerifierKey;
use crate::note::{LineError, NOTE_BYTES_MAX, SIGNATURES_MAX, SignatureLine};

/// The signature lines of a witness's answer: at least one, at most [`SIGNATURES_MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignatureLines(Vec<SignatureLine>);

impl CosignatureLines {
    /// The answer with these lines.
    ///
    /// # Errors
    /// [`CosignatureLinesError`] when there are none or too many.
    // Spec: WIT-21
    pub fn new(lines: Vec<SignatureLine>) -> Result<Self, CosignatureLinesError> {
        match lines.len() {
            0 => Err(CosignatureLinesError::Empty),
            count if count > SIGNATURES_MAX => Err(CosignatureLinesError::TooMany),
            _ => Ok(Self(lines)),
        }
    }

    /// Reads an answer. Only the canonical form is accepted.
    ///
    /// # Errors
    /// [`CosignatureLinesError`]: the first thing that is wrong. The witness is at fault.
    // Spec: WIT-21
    pub fn parse(body: &[u8]) -> Result<Self, CosignatureLinesError> {
        if body.len() > NOTE_BYTES_MAX {
            return Err(CosignatureLinesError::TooLong { bytes: body.len() });
        }
        let text = core::str::from_utf8(body).map_err(|_| CosignatureLinesError::NotText)?;
        let Some(text) = text.strip_suffix('\n') else {
            return Err(if text.is_empty() {
                CosignatureLinesError::Empty
            } else {
                CosignatureLinesError::Unterminated
            });
        };
        let mut lines = Vec::new();
        for (text, line) in text.split('\n').zip(1..) {
            if lines.len() >= SIGNATURES_MAX {
                return Err(CosignatureLinesError::TooMany);
            }
            let parsed = SignatureLine::parse(text)
                .map_err(|reason| CosignatureLinesError::Line { line, reason })?;
            lines.push(parsed);
        }
        Self::new(lines)
    }

    /// The answer's body.
    // Spec: WIT-21
    pub fn to_bytes(&self) -> Vec<u8> {
        let lines = self.0.iter().map(|line| line.encoded_len() + 1);
        let mut body = Vec::with_capacity(lines.sum());
        for line in &self.0 {
            line.push_to(&mut body);
            body.push(b'\n');
        }
        body
    }

    /// The lines.
    pub fn lines(&self) -> &[SignatureLine] {
        &self.0
    }

    /// The lines, taken out.
    pub fn into_lines(self) -> Vec<SignatureLine> {
        self.0
    }

    /// What a client may move to its own view of the checkpoint: the lines that are cosignatures on
    /// it by one of these keys. Lines by other keys are ignored. Places are those of
    /// [`CosignatureLines::lines`].
    ///
    /// # Errors
    /// [`CosignaturesError`] when a line names one of the keys but does not verify, omits the time,
    /// or no line is by any of the keys. The witness is at fault.
    // Spec: WIT-22, WIT-23, WIT-24
    pub fn verify(
        &self,
        checkpoint: &SignedCheckpoint,
        keys: &[VerifierKey],
    ) -> Result<Vec<VerifiedSignature>, CosignaturesError> {
        let verified = verify_lines(checkpoint.checkpoint(), &self.0, keys)
            .map_err(CosignaturesError::Signatures)?;
        for signature in &verified {
            if signature.timestamp.is_none_or(|time| time.get() == 0) {
                return Err(CosignaturesError::NoTime {
                    line: signature.line_index,
                });
            }
        }
        Ok(verified)
    }
}

/// Why a body is no answer of signature lines. The witness is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CosignatureLinesError {
    /// No line at all.
    Empty,
    /// More than [`SIGNATURES_MAX`] lines.
    TooMany,
    /// More than [`NOTE_BYTES_MAX`] bytes.
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// Not UTF-8.
    NotText,
    /// The last line has no newline.
    Unterminated,
    /// A line is no signature line.
    Line {
        /// The line, from 1.
        line: usize,
        /// Why it is none.
        reason: LineError,
    },
}

impl fmt::Display for CosignatureLinesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the answer has no signature line"),
            Self::TooMany => write!(
                f,
                "the answer has more than {SIGNATURES_MAX} signature lines"
            ),
            Self::TooLong { bytes } => {
                write!(
                    f,
                    "the answer has {bytes} bytes; at most {NOTE_BYTES_MAX} are read"
                )
            }
            Self::NotText => f.write_str("the answer is not UTF-8"),
            Self::Unterminated => f.write_str("the answer's last line has no newline at its end"),
            Self::Line { line, reason } => {
                write!(
                    f,
                    "line {line} of the answer is no signature line: {reason}"
                )
            }
        }
    }
}

impl core::error::Error for CosignatureLinesError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Line { reason, .. } => Some(reason),
            Self::Empty
            | Self::TooMany
            | Self::TooLong { .. }
            | Self::NotText
            | Self::Unterminated => None,
        }
    }
}

/// Why a client keeps nothing of an answer. The witness is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CosignaturesError {
    /// A line by one of the keys does not verify, or none of the lines is by any of them.
    Signatures(SignaturesError),
    /// The line verifies but does not say when the checkpoint was the newest.
    NoTime {
        /// The line's place, from 0.
        line: usize,
    },
}

impl fmt::Display for CosignaturesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signatures(error) => write!(f, "the answer's cosignatures: {error}"),
            Self::NoTime { line } => {
                write!(
                    f,
                    "line {} of the answer is a cosignature without a time",
                    line + 1
                )
            }
        }
    }
}

impl core::error::Error for CosignaturesError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Signatures(error) => Some(error),
            Self::NoTime { .. } => None,
        }
    }
}
