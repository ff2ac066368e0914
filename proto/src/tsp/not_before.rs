//! The cosigned checkpoint in a token: the token is not older than its cosignatures.
//!
//! A tree head says nothing of time: whoever owns the log can make one ahead, and name it before
//! any witness has seen it. What nobody has before the witnesses sign is their signatures. So the
//! token holds them, under its own signature: whoever made the token had them by then, and each
//! says when it was made.
//!
//! ```text
//! NotBeforeCheckpoint ::= OCTET STRING (SIZE(1..65536))
//!     a signed note: the checkpoint, the log's line, and lines of witnesses
//! ```
//!
//! In scope: the extension. Out of scope: which lines an authority should put in
//! ([`Policy::reduce_checkpoint`]), and what they prove ([`Policy::verify_checkpoint`]).
//!
//! Rules: `spec/timestamp.md`.
//!
//! [`Policy::reduce_checkpoint`]: crate::policy::Policy::reduce_checkpoint
//! [`Policy::verify_checkpoint`]: crate::policy::Policy::verify_checkpoint

use alloc::vec::Vec;
use core::fmt;

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::tsp::element::{DerError, Element, Flag, element, tag};
use crate::tsp::oid;
use crate::tsp::tst_info::Extension;

/// The most bytes of the note in a token that is made: 20 cosignatures of Ed25519, or one of
/// ML-DSA-44 and a few of Ed25519. The token goes wherever the document goes.
// Spec: TSP-33
pub const NOTE_BYTES_MADE_MAX: usize = 4096;
/// The most bytes of the note in a token that is read: 16 cosignatures of ML-DSA-44, as long as
/// their names are short.
// Spec: TSP-33
pub const NOTE_BYTES_READ_MAX: usize = 64 * 1024;

/// A signed checkpoint that a token carries. No key has two lines under it. Nothing is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotBefore(SignedCheckpoint);

impl NotBefore {
    /// What an authority puts into a token: a checkpoint with no more lines than needed.
    ///
    /// # Errors
    /// [`NotBeforeError::TooLong`] above [`NOTE_BYTES_MADE_MAX`], [`NotBeforeError::SameKeyTwice`].
    /// The caller is at fault.
    // Spec: TSP-33
    pub fn new(checkpoint: &SignedCheckpoint) -> Result<Self, NotBeforeError> {
        let bytes = checkpoint.to_bytes().len();
        if bytes > NOTE_BYTES_MADE_MAX {
            return Err(NotBeforeError::TooLong { bytes });
        }
        check_distinct(checkpoint)?;
        Ok(Self(checkpoint.clone()))
    }

    /// Reads the value of the extension.
    ///
    /// # Errors
    /// [`NotBeforeError`]: the first thing that is wrong.
    // Spec: TSP-33
    pub fn parse(value: &[u8]) -> Result<Self, NotBeforeError> {
        let note = Element::only(value, tag::OCTET_STRING, "NotBeforeCheckpoint")?.content;
        if note.len() > NOTE_BYTES_READ_MAX {
            return Err(NotBeforeError::TooLong { bytes: note.len() });
        }
        let checkpoint = SignedCheckpoint::parse(note).map_err(NotBeforeError::Checkpoint)?;
        check_distinct(&checkpoint)?;
        Ok(Self(checkpoint))
    }

    /// The value of the extension.
    // Spec: TSP-33
    pub fn to_bytes(&self) -> Vec<u8> {
        element(tag::OCTET_STRING, &[&self.0.to_bytes()])
    }

    /// The extension, which is never critical.
    // Spec: TSP-33
    pub fn to_extension(&self) -> Extension {
        Extension {
            oid: oid::NOT_BEFORE_CHECKPOINT.into(),
            critical: Flag::Absent,
            value: self.to_bytes(),
        }
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> &SignedCheckpoint {
        &self.0
    }
}

/// A witness has one time here, so that a bound is one number.
// Spec: TSP-33
fn check_distinct(checkpoint: &SignedCheckpoint) -> Result<(), NotBeforeError> {
    let lines = checkpoint.signatures();
    for (second, line) in lines.iter().enumerate() {
        let same = |other: &crate::note::SignatureLine| {
            line.name() == other.name() && line.key_id() == other.key_id()
        };
        if let Some(first) = lines.iter().take(second).position(same) {
            return Err(NotBeforeError::SameKeyTwice { first, second });
        }
    }
    Ok(())
}

/// Why an extension holds no checkpoint that a token can carry. Its maker is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotBeforeError {
    /// It is not one OCTET STRING in DER.
    Der(DerError),
    /// The note is longer than [`NOTE_BYTES_READ_MAX`], or, when it is made,
    /// [`NOTE_BYTES_MADE_MAX`].
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The bytes are no signed checkpoint.
    Checkpoint(CheckpointError),
    /// Two signature lines are by the same key.
    SameKeyTwice {
        /// The place of the one, from 0.
        first: usize,
        /// The place of the other.
        second: usize,
    },
}

impl From<DerError> for NotBeforeError {
    fn from(error: DerError) -> Self {
        Self::Der(error)
    }
}

impl fmt::Display for NotBeforeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Der(error) => error.fmt(f),
            Self::TooLong { bytes } => write!(f, "a note of {bytes} bytes is too long for a token"),
            Self::Checkpoint(error) => error.fmt(f),
            Self::SameKeyTwice { first, second } => write!(
                f,
                "signature lines {} and {} are by the same key",
                first + 1,
                second + 1
            ),
        }
    }
}

impl core::error::Error for NotBeforeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Der(error) => Some(error),
            Self::Checkpoint(error) => Some(error),
            Self::TooLong { .. } | Self::SameKeyTwice { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::checkpoint::ExtensionLine;
    use crate::cosignature::cosign;
    use crate::key::UnixSeconds;
    use crate::test_signer::TestSigner;
    use crate::tsp::element::DerFault;
    use crate::tsp::test_authority::{NOW, cosigned, not_before};

    // Spec: TSP-33
    #[test]
    fn the_whole_note_is_in_the_token_and_the_extension_is_never_critical() {
        let made = not_before();
        assert_eq!(made.checkpoint(), &cosigned());
        assert_eq!(made.checkpoint().signatures().len(), 3);
        let bytes = made.to_bytes();
        let note = cosigned().to_bytes();
        assert!(bytes.ends_with(&note), "{bytes:02x?}");
        assert_eq!(NotBefore::parse(&bytes), Ok(made.clone()));
        let extension = made.to_extension();
        assert_eq!(extension.critical, Flag::Absent);
        assert_eq!(extension.oid, oid::NOT_BEFORE_CHECKPOINT);
    }

    // Spec: TSP-33
    #[test]
    fn what_is_no_note_in_an_octet_string_is_refused() {
        let field = "NotBeforeCheckpoint";
        let note = cosigned().to_bytes();
        let twice = element(tag::OCTET_STRING, &[&note]).repeat(2);
        let bytes = note.len() + 4;
        for (value, fault) in [
            (Vec::new(), DerFault::Missing),
            (
                element(tag::UTF8_STRING, &[&note]),
                DerFault::Tag { found: 0x0c },
            ),
            (twice, DerFault::Trailing { bytes }),
        ] {
            let error = NotBeforeError::Der(fault.of(field));
            assert_eq!(NotBefore::parse(&value), Err(error));
        }
        for note in [&note[..note.len() - 1], b"", b"log.example/time\n1\n"] {
            let error = NotBefore::parse(&element(tag::OCTET_STRING, &[note])).unwrap_err();
            assert!(matches!(error, NotBeforeError::Checkpoint(_)), "{error}");
        }
    }

    // Spec: TSP-33
    #[test]
    fn a_key_that_signs_twice_is_refused() {
        let signed = cosigned();
        let witness = TestSigner::cosigner("w1.example", 12);
        let later = UnixSeconds::new(NOW).unwrap();
        let line = cosign(signed.checkpoint(), later, &witness).unwrap();
        let signed = signed.with_signatures(&[0, 1, 2], &[line]).unwrap();
        let error = NotBeforeError::SameKeyTwice {
            first: 1,
            second: 3,
        };
        assert_eq!(NotBefore::new(&signed), Err(error.clone()));
        let value = element(tag::OCTET_STRING, &[&signed.to_bytes()]);
        assert_eq!(NotBefore::parse(&value), Err(error));
    }

    // Spec: TSP-33
    #[test]
    fn more_is_read_than_is_made_and_both_have_an_end() {
        let of_length = |bytes: usize| {
            let signed = cosigned();
            let mut checkpoint = signed.checkpoint().clone();
            let line = "x".repeat(bytes - signed.to_bytes().len() - 1);
            checkpoint.extensions = ExtensionLine::parse(&line).unwrap().into();
            let signed = SignedCheckpoint::new(checkpoint, signed.signatures().to_vec()).unwrap();
            assert_eq!(signed.to_bytes().len(), bytes);
            signed
        };
        let read = |signed: &SignedCheckpoint| {
            NotBefore::parse(&element(tag::OCTET_STRING, &[&signed.to_bytes()]))
        };
        let largest_made = of_length(NOTE_BYTES_MADE_MAX);
        assert_eq!(
            read(&largest_made),
            Ok(NotBefore::new(&largest_made).unwrap())
        );
        let bytes = NOTE_BYTES_MADE_MAX + 1;
        let too_long = Err(NotBeforeError::TooLong { bytes });
        assert_eq!(NotBefore::new(&of_length(bytes)), too_long);
        assert!(read(&of_length(NOTE_BYTES_READ_MAX)).is_ok());
        let bytes = NOTE_BYTES_READ_MAX + 1;
        assert_eq!(
            read(&of_length(bytes)),
            Err(NotBeforeError::TooLong { bytes })
        );
    }
}
