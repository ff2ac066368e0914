//! Checkpoints: signed notes that state a log's tree head (c2sp.org/tlog-checkpoint).
//!
//! ```text
//! <origin: any non-empty line>
//! <tree size: decimal>
//! <root hash: base64 of 32 bytes>
//! <extension line: any non-empty line>       0 or more times
//!
//! — <signature lines>
//! ```
//!
//! In scope: the text, and which lines of a note are by known keys and good. Out of scope: whether
//! two tree heads belong to one history ([`crate::proof`]), and how cosigners sign
//! ([`crate::cosignature`]).
//!
//! Rows: `spec/checkpoint.md`.

use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::base64::Base64Error;
use crate::decimal::{DecimalError, parse_decimal};
use crate::hash::{Hash, sha256};
use crate::hex;
use crate::key::{KeyId, KeyName, SignatureError, UnixSeconds, VerifierKey};
use crate::note::{NOTE_BYTES_MAX, Note, NoteError, SignatureLine};
use crate::tree::{TreeHead, TreeSize};

/// A checkpoint as it was signed: what it says, and the note that says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
}

impl SignedCheckpoint {
    /// Puts signature lines under a checkpoint.
    ///
    /// # Errors
    /// When there are no lines, too many, or the note would be too large.
    pub fn new(
        checkpoint: Checkpoint,
        signatures: Vec<SignatureLine>,
    ) -> Result<Self, CheckpointError> {
        let note = Note::new(checkpoint.to_text(), signatures).map_err(CheckpointError::Note)?;
        Ok(Self { checkpoint, note })
    }

    /// Parses a signed note whose text is a checkpoint. Signatures are not verified.
    ///
    /// # Errors
    /// When the bytes are not exactly what [`SignedCheckpoint::to_bytes`] writes.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        Self::of_note(Note::parse(bytes).map_err(CheckpointError::Note)?)
    }

    /// As [`SignedCheckpoint::parse`], for what is known to be UTF-8.
    pub(crate) fn parse_str(text: &str) -> Result<Self, CheckpointError> {
        Self::of_note(Note::parse_str(text).map_err(CheckpointError::Note)?)
    }

    fn of_note(note: Note) -> Result<Self, CheckpointError> {
        let checkpoint = Checkpoint::parse_text(note.text())?;
        Ok(Self { checkpoint, note })
    }

    /// What the checkpoint says.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The log.
    pub fn origin(&self) -> &Origin {
        &self.checkpoint.origin
    }

    /// The tree head.
    pub fn head(&self) -> TreeHead {
        self.checkpoint.head
    }

    /// The note: text and signature lines.
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// The signature lines, in order; at least one.
    pub fn signatures(&self) -> &[SignatureLine] {
        self.note.signatures()
    }

    /// The bytes of the note.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.note.to_bytes()
    }

    /// The same checkpoint with some of its lines and further ones, as [`Note::with_signatures`].
    ///
    /// # Errors
    /// As [`Note::with_signatures`].
    pub fn with_signatures(
        &self,
        keep: &[usize],
        append: &[SignatureLine],
    ) -> Result<Self, NoteError> {
        let note = self.note.with_signatures(keep, append)?;
        Ok(Self {
            checkpoint: self.checkpoint.clone(),
            note,
        })
    }

    /// As [`verify_signatures`], without parsing the text again.
    ///
    /// # Errors
    /// As [`verify_signatures`].
    pub fn verify_signatures(
        &self,
        keys: &[VerifierKey],
    ) -> Result<Vec<VerifiedSignature>, SignaturesError> {
        verify_lines(&self.checkpoint, self.signatures(), keys)
    }
}

/// What a checkpoint says. Each part is valid by its type, so every value has a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log.
    pub origin: Origin,
    /// Its tree: size and root hash. Nothing here says that the two belong together; even the root
    /// hash of the empty tree is not checked.
    pub head: TreeHead,
    /// Lines that no monitor can audit. Usually there are none, and ML-DSA-44 cosignatures do not
    /// cover them: believe them only under a signature whose
    /// [key covers them](VerifierKey::covers_extension_lines).
    pub extensions: ExtensionLines,
}

impl Checkpoint {
    /// Parses the text of a checkpoint: what stands above the empty line before the signatures.
    ///
    /// # Errors
    /// When the text is not exactly what [`Checkpoint::to_text`] writes.
    pub fn parse_text(text: &str) -> Result<Self, CheckpointError> {
        if text.len() > NOTE_BYTES_MAX {
            return Err(CheckpointError::Note(NoteError::TooLarge {
                bytes: text.len(),
            }));
        }
        // Spec: CKP-01
        if !text.ends_with('\n') {
            return Err(CheckpointError::NotTerminated);
        }
        let mut lines = text.splitn(4, '\n');
        let (Some(origin), Some(size), Some(root_hash), Some(extensions)) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::TooFewLines);
        };
        let origin = Origin::parse(origin).map_err(CheckpointError::Origin)?;
        // Spec: CKP-04
        let size = parse_decimal(size).map_err(CheckpointError::Size)?;
        let size = TreeSize::new(size).ok_or(CheckpointError::Size(DecimalError::TooLarge))?;
        // Spec: CKP-05
        let root_hash = Hash::from_base64(root_hash).map_err(CheckpointError::RootHash)?;
        let extensions = ExtensionLines::parse(extensions)?;
        Ok(Self {
            origin,
            head: TreeHead { size, root_hash },
            extensions,
        })
    }

    /// The text, its last newline included.
    pub fn to_text(&self) -> String {
        let Self {
            origin,
            head,
            extensions,
        } = self;
        let mut text = String::new();
        let size = head.size.get().to_string();
        let head = [origin.as_str(), &size, &head.root_hash.to_base64()];
        for line in head {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str(&extensions.0);
        text
    }
}

/// The first line of a checkpoint: the identity of a log. Compared byte for byte, and never taken
/// for a URL or a key name. Copies share one text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(Arc<str>);

impl Origin {
    /// Checks that a text can be the origin line of a checkpoint.
    ///
    /// # Errors
    /// When it is empty or holds a control character.
    pub fn parse(origin: &str) -> Result<Self, TextLineError> {
        // Spec: CKP-02, CKP-03
        check_line(origin).map(|line| Self(line.into()))
    }

    /// The line, without its newline.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the line without its newline.
    pub fn hash(&self) -> Hash {
        sha256(self.0.as_bytes())
    }

    /// [`Origin::hash`] in 64 lower-case hex digits: how the origin stands in URL paths.
    pub fn hash_hex(&self) -> String {
        hex::encode(self.hash().as_bytes())
    }
}

/// The line, without its newline.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::str::FromStr for Origin {
    type Err = TextLineError;

    fn from_str(origin: &str) -> Result<Self, TextLineError> {
        Self::parse(origin)
    }
}

/// A line of a checkpoint after the root hash: opaque, and not empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtensionLine(String);

impl ExtensionLine {
    /// Checks that a text can be an extension line.
    ///
    /// # Errors
    /// When it is empty or holds a control character.
    pub fn parse(line: &str) -> Result<Self, TextLineError> {
        // Spec: CKP-06
        check_line(line).map(|line| Self(line.into()))
    }

    /// The line, without its newline.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The line, without its newline.
impl fmt::Display for ExtensionLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The lines of a checkpoint after the root hash, in order, held as one text: a note has room for
/// sixty thousand, and whoever sends one decides how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtensionLines(String);

impl ExtensionLines {
    /// None.
    pub const fn new() -> Self {
        Self(String::new())
    }

    /// Reads what stands after the root hash, which is nothing or ends in a newline.
    fn parse(text: &str) -> Result<Self, CheckpointError> {
        // Without a branch, so that many bytes are looked at in one step.
        let bytes = text.as_bytes();
        let newline = |byte: &u8| u8::from(*byte == b'\n');
        let control = |byte: &u8| u8::from(*byte < b' ') & (1 ^ newline(byte));
        let pairs = bytes.iter().zip(bytes.get(1..).unwrap_or_default());
        let bad = pairs.fold(0, |bad, (byte, next)| {
            bad | control(byte) | (newline(byte) & newline(next))
        });
        let bad = bad | bytes.first().map_or(0, newline) | bytes.last().map_or(0, control);
        if bad != 0 {
            for (index, line) in text.split('\n').enumerate() {
                check_line(line).map_err(|reason| CheckpointError::Extension { index, reason })?;
            }
        }
        Ok(Self(text.into()))
    }

    /// Puts a line behind the others.
    // The text of the line is checked by its type.
    pub fn push(&mut self, line: &ExtensionLine) {
        self.0.push_str(line.as_str());
        self.0.push('\n');
    }

    /// Leaves none.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each line, without its newline.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.lines()
    }
}

impl FromIterator<ExtensionLine> for ExtensionLines {
    fn from_iter<I: IntoIterator<Item = ExtensionLine>>(lines: I) -> Self {
        let mut all = Self::new();
        for line in lines {
            all.push(&line);
        }
        all
    }
}

impl From<ExtensionLine> for ExtensionLines {
    fn from(line: ExtensionLine) -> Self {
        core::iter::once(line).collect()
    }
}

fn check_line(line: &str) -> Result<&str, TextLineError> {
    if line.is_empty() {
        return Err(TextLineError::Empty);
    }
    if line.len() > NOTE_BYTES_MAX {
        return Err(TextLineError::TooLong { bytes: line.len() });
    }
    match line.bytes().enumerate().find(|&(_, byte)| byte < b' ') {
        Some((offset, byte)) => Err(TextLineError::ControlCharacter { byte, offset }),
        None => Ok(line),
    }
}

/// Verifies the lines of a note that are by known keys, and says which they are.
///
/// - A line is by a known key when it has the key's name *and* its id; other lines are ignored,
///   whatever they hold.
/// - One line by a known key that does not verify poisons the note, even when others are good.
/// - When a key has more than one line, each of them is verified and each is in the answer: whoever
///   counts keys must count each `key_index` once. (Cosigners sign the same checkpoint again with a
///   new time, so two good lines of one key are no fault.)
/// - A key that is in `keys` twice counts where it is first.
///
/// The answer is in the order of the lines and is never empty.
///
/// # Errors
/// When a known key's line is bad, when no line is by a known key, or when a line is by two
/// different keys at once.
pub fn verify_signatures(
    note: &Note,
    keys: &[VerifierKey],
) -> Result<Vec<VerifiedSignature>, SignaturesError> {
    verify_with(note.signatures(), keys, |key, signature| {
        key.verify_note(note.text(), signature)
    })
}

/// As [`verify_signatures`], for lines that arrive apart from their checkpoint, as they do from a
/// witness.
///
/// # Errors
/// As [`verify_signatures`].
pub fn verify_lines(
    checkpoint: &Checkpoint,
    lines: &[SignatureLine],
    keys: &[VerifierKey],
) -> Result<Vec<VerifiedSignature>, SignaturesError> {
    verify_with(lines, keys, |key, signature| {
        key.verify_checkpoint(checkpoint, signature)
    })
}

fn verify_with(
    lines: &[SignatureLine],
    keys: &[VerifierKey],
    verify: impl Fn(&VerifierKey, &[u8]) -> Result<crate::key::Verified, SignatureError>,
) -> Result<Vec<VerifiedSignature>, SignaturesError> {
    let mut verified = Vec::new();
    for (line_index, line) in lines.iter().enumerate() {
        // Spec: NOTE-11, COS-02, CKP-07
        let Some((key_index, key)) = known_key(line, keys)? else {
            continue;
        };
        // A copy of a line that was verified is as good: whoever repeats one costs us no more.
        let copied = verified
            .iter()
            .copied()
            .find(|other: &VerifiedSignature| lines.get(other.line_index) == Some(line));
        if let Some(original) = copied {
            verified.push(VerifiedSignature {
                line_index,
                ..original
            });
            continue;
        }
        // Spec: NOTE-12
        match verify(key, line.signature()) {
            Ok(said) => {
                let timestamp = said.timestamp;
                verified.push(VerifiedSignature {
                    key_index,
                    line_index,
                    timestamp,
                });
            }
            Err(reason) => {
                let (name, key_id) = (line.name().clone(), line.key_id());
                return Err(SignaturesError::BadSignature {
                    name,
                    key_id,
                    line_index,
                    reason,
                });
            }
        }
    }
    // Spec: NOTE-14
    if verified.is_empty() {
        Err(SignaturesError::NoKnownSignature)
    } else {
        Ok(verified)
    }
}

/// The key that a line is by, unless two different keys share its name and id.
fn known_key<'k>(
    line: &SignatureLine,
    keys: &'k [VerifierKey],
) -> Result<Option<(usize, &'k VerifierKey)>, SignaturesError> {
    let mut matching = keys.iter().enumerate().filter(|(_, key)| key.matches(line));
    let first = matching.next();
    match first {
        Some((_, key)) if matching.any(|(_, other)| other != key) => {
            let (name, key_id) = (line.name().clone(), line.key_id());
            Err(SignaturesError::AmbiguousKey { name, key_id })
        }
        _ => Ok(first),
    }
}

/// A line that was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedSignature {
    /// Whose: an index into the keys.
    pub key_index: usize,
    /// Which: an index into the lines.
    pub line_index: usize,
    /// When the signer says it signed: as [`crate::key::Verified::timestamp`].
    pub timestamp: Option<UnixSeconds>,
}

/// Why the signatures of a note do not show that a known key signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignaturesError {
    /// A line claims to be by a known key and is not good. Whoever added it is at fault.
    BadSignature {
        /// The name of the key.
        name: KeyName,
        /// The id of the key.
        key_id: KeyId,
        /// Which line, from 0.
        line_index: usize,
        /// What is wrong with it.
        reason: SignatureError,
    },
    /// No line is by a known key.
    NoKnownSignature,
    /// Two different known keys have the same name and id. Whoever made the list of keys is at
    /// fault.
    AmbiguousKey {
        /// The name of the keys.
        name: KeyName,
        /// The id of the keys.
        key_id: KeyId,
    },
}

impl fmt::Display for SignaturesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSignature {
                name,
                key_id,
                line_index,
                reason,
            } => {
                write!(
                    f,
                    "signature line {} by {name}+{key_id}: {reason}",
                    line_index + 1
                )
            }
            Self::NoKnownSignature => f.write_str("no signature is by a known key"),
            Self::AmbiguousKey { name, key_id } => {
                write!(f, "two different keys are known as {name}+{key_id}")
            }
        }
    }
}

impl core::error::Error for SignaturesError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::BadSignature { reason, .. } => Some(reason),
            Self::NoKnownSignature | Self::AmbiguousKey { .. } => None,
        }
    }
}

/// Why bytes are not a checkpoint. Whoever made them is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointError {
    /// They are not a signed note, or it would be too large.
    Note(NoteError),
    /// The text does not end in a newline.
    NotTerminated,
    /// The text has fewer than three lines.
    TooFewLines,
    /// The first line is not an origin.
    Origin(TextLineError),
    /// The second line is not a tree size.
    Size(DecimalError),
    /// The third line is not a root hash.
    RootHash(Base64Error),
    /// A line after the third is not an extension line.
    Extension {
        /// Which of the extension lines, from 0.
        index: usize,
        /// What is wrong with it.
        reason: TextLineError,
    },
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(error) => write!(f, "{error}"),
            Self::NotTerminated => f.write_str("the checkpoint's text does not end in a newline"),
            Self::TooFewLines => f.write_str("the checkpoint has fewer than three lines"),
            Self::Origin(error) => write!(f, "the origin line {error}"),
            Self::Size(error) => write!(f, "the tree size is not valid: {error}"),
            Self::RootHash(error) => write!(f, "the root hash is not valid: {error}"),
            Self::Extension { index, reason } => write!(f, "extension line {} {reason}", index + 1),
        }
    }
}

impl core::error::Error for CheckpointError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Note(error) => Some(error),
            Self::Origin(error) | Self::Extension { reason: error, .. } => Some(error),
            Self::Size(error) => Some(error),
            Self::RootHash(error) => Some(error),
            Self::NotTerminated | Self::TooFewLines => None,
        }
    }
}

/// Why a text is not an origin or an extension line. Whoever chose it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextLineError {
    /// It is empty.
    Empty,
    /// No note could hold it.
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It has a control character, such as a newline.
    ControlCharacter {
        /// The first one.
        byte: u8,
        /// Where it stands.
        offset: usize,
    },
}

impl fmt::Display for TextLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::TooLong { bytes } => {
                write!(f, "has {bytes} bytes; a note may have {NOTE_BYTES_MAX}")
            }
            Self::ControlCharacter { byte, offset } => {
                write!(f, "has the control character {byte:#04x} at byte {offset}")
            }
        }
    }
}

impl core::error::Error for TextLineError {}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned as _;
    use alloc::format;
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::cosignature::{cosign, sign_note};
    use crate::key::SignatureType;
    use crate::test_signer::TestSigner;

    const ROOT: &str = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";

    fn text() -> String {
        format!("example.com/behind-the-sofa\n20852163\n{ROOT}\n")
    }

    // Spec: CKP-01, CKP-02, CKP-04, CKP-05, CKP-06
    #[test]
    fn a_checkpoint_is_origin_size_root_and_extension_lines() {
        let checkpoint = Checkpoint::parse_text(&text()).unwrap();
        assert_eq!(checkpoint.origin.as_str(), "example.com/behind-the-sofa");
        assert_eq!(checkpoint.head.size.get(), 20_852_163);
        assert_eq!(checkpoint.head.root_hash.to_base64(), ROOT);
        assert!(checkpoint.extensions.is_empty());
        assert_eq!(checkpoint.to_text(), text());

        let text = format!("{}one line\n\u{2014} another\n", text());
        let checkpoint = Checkpoint::parse_text(&text).unwrap();
        let extensions: Vec<_> = checkpoint.extensions.iter().collect();
        assert_eq!(extensions, ["one line", "\u{2014} another"]);
        assert_eq!(checkpoint.to_text(), text);
    }

    // Spec: CKP-01, CKP-02, CKP-04, CKP-05, CKP-06
    #[test]
    fn what_is_no_checkpoint_is_refused_for_its_reason() {
        let control = TextLineError::ControlCharacter {
            byte: b'\t',
            offset: 0,
        };
        for (text, why) in [
            (String::new(), CheckpointError::NotTerminated),
            (format!("a\n1\n{ROOT}"), CheckpointError::NotTerminated),
            ("\n".to_owned(), CheckpointError::TooFewLines),
            ("a\n1\n".to_owned(), CheckpointError::TooFewLines),
            (
                format!("\n1\n{ROOT}\n"),
                CheckpointError::Origin(TextLineError::Empty),
            ),
            (
                format!("\ta\n1\n{ROOT}\n"),
                CheckpointError::Origin(control),
            ),
            (
                format!("a\n\n{ROOT}\n"),
                CheckpointError::Size(DecimalError::Empty),
            ),
            (
                format!("a\n01\n{ROOT}\n"),
                CheckpointError::Size(DecimalError::LeadingZero),
            ),
            (
                format!("a\n00\n{ROOT}\n"),
                CheckpointError::Size(DecimalError::LeadingZero),
            ),
            (
                format!("a\n9223372036854775808\n{ROOT}\n"),
                CheckpointError::Size(DecimalError::TooLarge),
            ),
            (
                format!("a\n1\n{ROOT}\n\n"),
                CheckpointError::Extension {
                    index: 0,
                    reason: TextLineError::Empty,
                },
            ),
            (
                format!("a\n1\n{ROOT}\nb\n\tc\n"),
                CheckpointError::Extension {
                    index: 1,
                    reason: control,
                },
            ),
        ] {
            assert_eq!(Checkpoint::parse_text(&text), Err(why), "{text:?}");
        }
    }

    // Spec: CKP-04, CKP-05
    #[test]
    fn sizes_and_roots_have_one_form() {
        for size in ["+1", "-1", " 1", "1 ", "0x1", "1_0", "१"] {
            let text = format!("a\n{size}\n{ROOT}\n");
            let answer = Checkpoint::parse_text(&text);
            assert!(
                matches!(answer, Err(CheckpointError::Size(_))),
                "{size}: {answer:?}"
            );
        }
        for root in [
            "",
            "AAAA",
            "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2J=",
            &ROOT[..43],
        ] {
            let text = format!("a\n1\n{root}\n");
            let answer = Checkpoint::parse_text(&text);
            assert!(
                matches!(answer, Err(CheckpointError::RootHash(_))),
                "{root}: {answer:?}"
            );
        }
        for size in ["0", "9223372036854775807"] {
            let text = format!("a\n{size}\n{ROOT}\n");
            assert_eq!(Checkpoint::parse_text(&text).unwrap().to_text(), text);
        }
        let long = format!("{}{}\n", text(), "x".repeat(NOTE_BYTES_MAX));
        let bytes = long.len();
        let why = CheckpointError::Note(NoteError::TooLarge { bytes });
        assert_eq!(Checkpoint::parse_text(&long), Err(why));
    }

    // Spec: CKP-03
    #[test]
    fn an_origin_is_any_line_that_is_not_empty() {
        for origin in [
            "a",
            "go.sum database tree",
            "a+b",
            " ",
            "\u{a0}",
            "日本",
            "https://x.test/?",
        ] {
            assert_eq!(Origin::parse(origin).unwrap().as_str(), origin);
            let text = format!("{origin}\n1\n{ROOT}\n");
            assert_eq!(Checkpoint::parse_text(&text).unwrap().to_text(), text);
        }
        assert_eq!(Origin::parse(""), Err(TextLineError::Empty));
        let newline = TextLineError::ControlCharacter {
            byte: b'\n',
            offset: 1,
        };
        assert_eq!(Origin::parse("a\nb"), Err(newline));
        let bytes = NOTE_BYTES_MAX + 1;
        assert_eq!(
            Origin::parse(&"x".repeat(bytes)),
            Err(TextLineError::TooLong { bytes })
        );
    }

    #[test]
    fn an_origin_is_hashed_without_its_newline() {
        let origin = Origin::parse("abc").unwrap();
        // FIPS 180-2, B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(origin.hash_hex(), abc);
    }

    fn signed(lines: Vec<SignatureLine>) -> SignedCheckpoint {
        SignedCheckpoint::new(Checkpoint::parse_text(&text()).unwrap(), lines).unwrap()
    }

    fn time(seconds: u64) -> UnixSeconds {
        UnixSeconds::new(seconds).unwrap()
    }

    // Spec: NOTE-11, CKP-07, COS-02
    #[test]
    fn known_lines_are_verified_and_the_others_ignored() {
        let checkpoint = Checkpoint::parse_text(&text()).unwrap();
        let log = TestSigner::note("example.com/log", 1);
        let witness = TestSigner::cosigner("w.example", 2);
        let ml_dsa = TestSigner::ml_dsa("w.example", 3);
        let stranger = TestSigner::note("stranger.example", 4);
        let log_line = sign_note(&text(), &log).unwrap();
        let lines = vec![
            sign_note(&text(), &stranger).unwrap(),
            log_line.clone(),
            // The name of a known key with another id, and the id of a known key with another name.
            SignatureLine::new(log.key.name().clone(), KeyId::new([9; 4]), vec![1]).unwrap(),
            SignatureLine::new(stranger.key.name().clone(), log.key.key_id(), vec![1]).unwrap(),
            cosign(&checkpoint, time(5), &witness).unwrap(),
            cosign(&checkpoint, time(6), &ml_dsa).unwrap(),
            cosign(&checkpoint, time(7), &witness).unwrap(),
            cosign(&checkpoint, UnixSeconds::ZERO, &ml_dsa).unwrap(),
        ];
        let signed = signed(lines.clone());
        let keys = [ml_dsa.key.clone(), log.key.clone(), witness.key.clone()];
        let at = |key_index, line_index, timestamp| VerifiedSignature {
            key_index,
            line_index,
            timestamp,
        };
        // Spec: COS-10
        let wanted = vec![
            at(1, 1, None),
            at(2, 4, Some(time(5))),
            at(0, 5, Some(time(6))),
            at(2, 6, Some(time(7))),
            at(0, 7, None),
        ];
        assert_eq!(verify_signatures(signed.note(), &keys), Ok(wanted.clone()));
        assert_eq!(signed.verify_signatures(&keys), Ok(wanted.clone()));
        assert_eq!(verify_lines(signed.checkpoint(), &lines, &keys), Ok(wanted));
        // The same key twice is one key: the first.
        let twice = [log.key.clone(), log.key.clone()];
        assert_eq!(signed.verify_signatures(&twice), Ok(vec![at(0, 1, None)]));
        // Spec: NOTE-14
        let none = Err(SignaturesError::NoKnownSignature);
        assert_eq!(signed.verify_signatures(&[]), none);
        assert_eq!(
            signed.verify_signatures(&[TestSigner::note("x", 7).key]),
            none
        );
    }

    // Spec: NOTE-12
    #[test]
    fn one_bad_line_of_a_known_key_poisons_the_note() {
        let log = TestSigner::note("example.com/log", 1);
        let witness = TestSigner::cosigner("w.example", 2);
        let good = sign_note(&text(), &log).unwrap();
        let keys = [log.key.clone(), witness.key.clone()];
        let other = Checkpoint::parse_text(&format!("a\n1\n{ROOT}\n")).unwrap();
        let cases = [
            (
                sign_note("another text\n", &log).unwrap(),
                SignatureError::Invalid,
            ),
            (
                cosign(&other, time(1), &witness).unwrap(),
                SignatureError::Invalid,
            ),
            (
                SignatureLine::new(log.key.name().clone(), log.key.key_id(), vec![1; 63]).unwrap(),
                SignatureError::WrongLength {
                    bytes: 63,
                    expected: 64,
                },
            ),
            (
                SignatureLine::new(witness.key.name().clone(), witness.key.key_id(), vec![0; 7])
                    .unwrap(),
                SignatureError::NoTimestamp { bytes: 7 },
            ),
        ];
        for (bad, reason) in cases {
            // Before the good line, after it, and as a second line of the same key.
            for (lines, line_index) in [
                (vec![bad.clone(), good.clone()], 0),
                (vec![good.clone(), bad.clone()], 1),
            ] {
                let wanted = SignaturesError::BadSignature {
                    name: bad.name().clone(),
                    key_id: bad.key_id(),
                    line_index,
                    reason: reason.clone(),
                };
                let signed = signed(lines);
                assert_eq!(verify_signatures(signed.note(), &keys), Err(wanted.clone()));
                assert_eq!(signed.verify_signatures(&keys), Err(wanted));
            }
        }
    }

    // Spec: NOTE-11
    #[test]
    fn two_keys_with_one_name_and_id_are_ambiguous() {
        // Ids have four bytes, and any 1312 bytes are an ML-DSA-44 key: a pair is soon found.
        let [first, second] = [58461_u32, 96027].map(|number| {
            let mut public_key = [0; 1312];
            public_key[..4].copy_from_slice(&number.to_be_bytes());
            let name = KeyName::parse("x").unwrap();
            VerifierKey::from_parts(name, SignatureType::MlDsa44, &public_key).unwrap()
        });
        assert_eq!(first.key_id(), second.key_id());
        let (name, key_id) = (first.name().clone(), first.key_id());
        let line = SignatureLine::new(name.clone(), key_id, vec![1]).unwrap();
        let wanted = SignaturesError::AmbiguousKey { name, key_id };
        let signed = signed(vec![line]);
        assert_eq!(
            verify_signatures(signed.note(), &[first, second]),
            Err(wanted)
        );
    }

    // Spec: COS-01
    #[test]
    fn a_cosignature_under_what_is_no_checkpoint_is_bad() {
        let witness = TestSigner::cosigner("w.example", 2);
        let line = cosign(&Checkpoint::parse_text(&text()).unwrap(), time(1), &witness).unwrap();
        let note = Note::new("not a checkpoint\n".into(), vec![line]).unwrap();
        let answer = verify_signatures(&note, core::slice::from_ref(&witness.key));
        assert!(
            matches!(
                answer,
                Err(SignaturesError::BadSignature {
                    reason: SignatureError::NotACheckpoint(CheckpointError::TooFewLines),
                    ..
                })
            ),
            "{answer:?}"
        );
    }

    #[test]
    fn a_signed_checkpoint_keeps_its_text_when_its_lines_change() {
        let log = TestSigner::note("example.com/log", 1);
        let witness = TestSigner::cosigner("w.example", 2);
        let first = signed(vec![sign_note(&text(), &log).unwrap()]);
        let line = cosign(first.checkpoint(), time(1), &witness).unwrap();
        let both = first
            .with_signatures(&[0], core::slice::from_ref(&line))
            .unwrap();
        assert_eq!(both.checkpoint(), first.checkpoint());
        assert_eq!(both.signatures(), [first.signatures()[0].clone(), line]);
        assert_eq!(SignedCheckpoint::parse(&both.to_bytes()), Ok(both.clone()));
        assert_eq!(both.with_signatures(&[0], &[]), Ok(first));
        assert_eq!(both.with_signatures(&[], &[]), Err(NoteError::NoSignatures));
        assert_eq!(both.head(), both.checkpoint().head);
        assert_eq!(both.origin(), &both.checkpoint().origin);
    }

    proptest! {
        #[test]
        fn every_checkpoint_survives_its_bytes(
            origin in "[^\\x00-\\x1f]{1,40}",
            size in 0..=(u64::MAX >> 1),
            root_hash: [u8; 32],
            extensions in prop::collection::vec("[^\\x00-\\x1f]{1,20}", 0..4),
        ) {
            let checkpoint = Checkpoint {
                origin: Origin::parse(&origin).unwrap(),
                head: TreeHead {
                    size: TreeSize::new(size).unwrap(),
                    root_hash: Hash::new(root_hash),
                },
                extensions: extensions.iter().map(|x| ExtensionLine::parse(x).unwrap()).collect(),
            };
            let text = checkpoint.to_text();
            prop_assert_eq!(Checkpoint::parse_text(&text), Ok(checkpoint.clone()));
            let line = SignatureLine::parse("\u{2014} x AQIDBAU=").unwrap();
            let signed = SignedCheckpoint::new(checkpoint, vec![line]).unwrap();
            prop_assert_eq!(SignedCheckpoint::parse(&signed.to_bytes()), Ok(signed));
        }

        #[test]
        fn what_parses_has_one_form(
            at in 0..80_usize,
            cut in 0..3_usize,
            put in "[\n0-9a-zA-Z+/= ]{0,3}",
        ) {
            let mut text = format!("a\n120\n{ROOT}\nextension\n");
            let at = at.min(text.len());
            let end = (at + cut).min(text.len());
            text.replace_range(at..end, &put);
            if let Ok(checkpoint) = Checkpoint::parse_text(&text) {
                prop_assert_eq!(checkpoint.to_text(), text);
            }
        }

        #[test]
        fn any_text_is_answered(text: String) {
            let _ = Checkpoint::parse_text(&text);
        }
    }
}
