//! Signed notes: a text and the signature lines under it (c2sp.org/signed-note).
//!
//! ```text
//! <text: any lines, the last one ends in a newline>
//! <one empty line: the last empty line of the note>
//! — <key name> <base64(4-byte key id || signature)>      1 to 64 times
//! ```
//!
//! In scope: the format, strictly; what parses gives the same bytes again. Out of scope: keys and
//! whether a signature is good ([`crate::key`]), what the text says ([`crate::checkpoint`]). A note
//! that parsed proves nothing: its text must be ignored until a signature was verified.
//!
//! Rows: `spec/note.md`.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::base64::{self, Base64Error};
use crate::hex;

/// A signed note: a text that ends in a newline, and at least one signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<SignatureLine>,
}

impl Note {
    /// Puts a note together.
    ///
    /// # Errors
    /// When the text or the lines could not be read back as this note.
    pub fn new(text: String, signatures: Vec<SignatureLine>) -> Result<Self, NoteError> {
        check_text(&text)?;
        check_count(signatures.len())?;
        let note = Self { text, signatures };
        match note.encoded_len() {
            bytes if bytes > NOTE_BYTES_MAX => Err(NoteError::TooLarge { bytes }),
            _ => Ok(note),
        }
    }

    /// Parses the bytes of a note. Signatures are not verified.
    ///
    /// # Errors
    /// When the bytes are not exactly one note in the form that [`Note::to_bytes`] writes.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        // Spec: NOTE-09
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLarge { bytes: bytes.len() });
        }
        // Spec: NOTE-02
        let whole = core::str::from_utf8(bytes).map_err(|error| NoteError::NotUtf8 {
            offset: error.valid_up_to(),
        })?;
        Self::parse_str(whole)
    }

    /// As [`Note::parse`], for what is known to be UTF-8: a part of something that was read.
    pub(crate) fn parse_str(whole: &str) -> Result<Self, NoteError> {
        let bytes = whole.as_bytes();
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLarge { bytes: bytes.len() });
        }
        check_characters(bytes)?;
        // Spec: NOTE-01, NOTE-04
        let (before, lines) = whole.rsplit_once("\n\n").ok_or(NoteError::NoSeparator)?;
        let Some(lines) = lines.strip_suffix('\n') else {
            return Err(match lines {
                "" => NoteError::NoSignatures,
                _ => NoteError::NotTerminated,
            });
        };
        check_count(1 + lines.bytes().filter(|&byte| byte == b'\n').count())?;
        let mut signatures = Vec::new();
        for (index, line) in lines.split('\n').enumerate() {
            let line =
                SignatureLine::parse(line).map_err(|reason| NoteError::Line { index, reason })?;
            signatures.push(line);
        }
        let mut text = String::with_capacity(before.len() + 1);
        text.push_str(before);
        text.push('\n');
        Ok(Self { text, signatures })
    }

    /// The text, its last newline included: what signatures of type 0x01 cover.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines, in order; at least one.
    pub fn signatures(&self) -> &[SignatureLine] {
        &self.signatures
    }

    /// The bytes of the note: what [`Note::parse`] takes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        bytes.extend_from_slice(self.text.as_bytes());
        bytes.push(b'\n');
        for line in &self.signatures {
            line.push_to(&mut bytes);
            bytes.push(b'\n');
        }
        bytes
    }

    /// The same text under other lines: those of this note whose indices are in `keep` (each once,
    /// in the order of the note, whatever the order of `keep`), then those of `append` in their
    /// order. A line of `append` that is already there, byte for byte, is not added again. So the
    /// same arguments give the same bytes, and doing it twice changes nothing.
    ///
    /// # Errors
    /// [`NoteError::NoSuchLine`] when an index is not below the number of lines, and as
    /// [`Note::new`]: most of all, [`NoteError::NoSignatures`] when nothing is left.
    pub fn with_signatures(
        &self,
        keep: &[usize],
        append: &[SignatureLine],
    ) -> Result<Self, NoteError> {
        if let Some(&index) = keep.iter().find(|&&index| index >= self.signatures.len()) {
            return Err(NoteError::NoSuchLine {
                index,
                count: self.signatures.len(),
            });
        }
        let mut signatures: Vec<SignatureLine> = Vec::new();
        for (index, line) in self.signatures.iter().enumerate() {
            if keep.contains(&index) {
                signatures.push(line.clone());
            }
        }
        for line in append {
            if !signatures.contains(line) {
                signatures.push(line.clone());
            }
            // Stop before an absurd `append` makes the search above quadratic in earnest.
            check_count(signatures.len())?;
        }
        Self::new(self.text.clone(), signatures)
    }

    fn encoded_len(&self) -> usize {
        let lines = self.signatures.iter().map(|line| line.encoded_len() + 1);
        self.text.len() + 1 + lines.sum::<usize>()
    }
}

/// The longest note that is read or written, in bytes. Sixteen ML-DSA-44 cosignatures take about
/// 54 KiB (NOTE-10); 128 KiB is what other implementations accept as well.
// Spec: NOTE-09
pub const NOTE_BYTES_MAX: usize = 128 * 1024;

/// The most signature lines that a note may have: four times what must be accepted (NOTE-10).
// Spec: NOTE-09, NOTE-10
pub const SIGNATURES_MAX: usize = 64;

/// Whether a text can stand in a note, as far as its length in a note is not concerned.
pub(crate) fn check_text(text: &str) -> Result<(), NoteError> {
    if !text.ends_with('\n') {
        return Err(NoteError::TextNotTerminated);
    }
    check_characters(text.as_bytes())
}

/// Spec: NOTE-03. Newlines are the only control characters (below U+0020) in a note.
fn check_characters(text: &[u8]) -> Result<(), NoteError> {
    // Without a branch, so that many bytes are looked at in one step.
    let bad = text.iter().fold(0, |bad, byte| {
        bad | (u8::from(*byte < b' ') & u8::from(*byte != b'\n'))
    });
    if bad == 0 {
        return Ok(());
    }
    match text
        .iter()
        .enumerate()
        .find(|&(_, &byte)| byte < b' ' && byte != b'\n')
    {
        Some((offset, &byte)) => Err(NoteError::ControlCharacter { byte, offset }),
        None => Ok(()),
    }
}

fn check_count(count: usize) -> Result<(), NoteError> {
    match count {
        0 => Err(NoteError::NoSignatures),
        1..=SIGNATURES_MAX => Ok(()),
        _ => Err(NoteError::TooManySignatures { count }),
    }
}

/// One signature line: who signed, and the bytes that only the owner of that key understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureLine {
    name: KeyName,
    key_id: KeyId,
    signature: Vec<u8>,
}

impl SignatureLine {
    /// Puts a line together; `signature` is without the key id.
    ///
    /// # Errors
    /// [`LineError::TooShort`] when the signature is empty.
    pub fn new(name: KeyName, key_id: KeyId, signature: Vec<u8>) -> Result<Self, LineError> {
        if signature.is_empty() {
            return Err(LineError::TooShort { bytes: KeyId::LEN });
        }
        Ok(Self {
            name,
            key_id,
            signature,
        })
    }

    /// Parses one line, without its newline.
    ///
    /// # Errors
    /// When the line is not exactly what [`SignatureLine`] displays.
    pub fn parse(line: &str) -> Result<Self, LineError> {
        // Spec: NOTE-05
        let rest = line.strip_prefix(LINE_PREFIX).ok_or(LineError::NoDash)?;
        let (name, blob) = rest.split_once(' ').ok_or(LineError::NoSpace)?;
        let name = KeyName::parse(name).map_err(LineError::KeyName)?;
        // Spec: NOTE-07, NOTE-08
        let blob = base64::decode(blob).map_err(LineError::Base64)?;
        match blob.split_first_chunk() {
            Some((id, signature)) if !signature.is_empty() => Ok(Self {
                name,
                key_id: KeyId::new(*id),
                signature: signature.to_vec(),
            }),
            _ => Err(LineError::TooShort { bytes: blob.len() }),
        }
    }

    /// The name of the key.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The id of the key.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The signature, without the key id; never empty. For timestamped signatures (0x04 and 0x06)
    /// it starts with the timestamp.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Appends the line, without a newline.
    pub(crate) fn push_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(LINE_PREFIX.as_bytes());
        bytes.extend_from_slice(self.name.as_str().as_bytes());
        bytes.push(b' ');
        base64::push_joined(*self.key_id.as_bytes(), &self.signature, bytes);
    }

    /// How long the line is, without a newline.
    pub(crate) fn encoded_len(&self) -> usize {
        let blob = (KeyId::LEN + self.signature.len())
            .div_ceil(3)
            .saturating_mul(4);
        blob.saturating_add(LINE_PREFIX.len() + self.name.as_str().len() + 1)
    }
}

/// The line without its newline: what [`SignatureLine::parse`] takes.
impl fmt::Display for SignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut blob = Vec::new();
        base64::push_joined(*self.key_id.as_bytes(), &self.signature, &mut blob);
        let blob = core::str::from_utf8(&blob).map_err(|_| fmt::Error)?;
        write!(f, "{LINE_PREFIX}{} {blob}", self.name)
    }
}

/// An em dash and a space.
const LINE_PREFIX: &str = "\u{2014} ";

/// The name of a key: not empty, and without Unicode white space, plus signs and control
/// characters. Names are compared byte for byte; they are not URLs that anyone should fetch.
/// Copies share one text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(Arc<str>);

impl KeyName {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is empty or holds a character that no key name may hold.
    pub fn parse(name: &str) -> Result<Self, KeyNameError> {
        // Spec: NOTE-06
        if name.is_empty() {
            return Err(KeyNameError::Empty);
        }
        let bad = |c: &char| c.is_whitespace() || *c == '+' || *c < ' ';
        match name.chars().find(bad) {
            Some(character) => Err(KeyNameError::Character { character }),
            None => Ok(Self(name.into())),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::str::FromStr for KeyName {
    type Err = KeyNameError;

    fn from_str(name: &str) -> Result<Self, KeyNameError> {
        Self::parse(name)
    }
}

/// The four bytes that, together with its name, point at a key. An identifier and no strong hash:
/// anyone can make a key with a given id, so it never stands for the public key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 4]);

impl KeyId {
    /// The length in bytes.
    pub const LEN: usize = 4;

    /// Takes the bytes, the most significant first.
    pub const fn new(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// The bytes, the most significant first.
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

/// Eight lower-case hex digits, as in vkeys.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

/// The assigned signature types. Which of them this crate verifies: [`crate::key::VerifierKey`].
///
/// Made from a byte by [`SignatureType::from_byte`], so that no assigned byte is ever `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureType {
    /// 0x01: Ed25519 over the note text.
    Ed25519,
    /// 0x02: ECDSA with SHA-256 over the note text.
    Ecdsa,
    /// 0x04: timestamped Ed25519 cosignature of a checkpoint.
    CosignatureV1,
    /// 0x05: an RFC 6962 `TreeHeadSignature`.
    Rfc6962,
    /// 0x06: timestamped ML-DSA-44 cosignature of a checkpoint or subtree.
    MlDsa44,
    /// A byte that was unassigned, or reserved, in the revision this crate follows.
    Other(u8),
}

impl SignatureType {
    /// The type that a byte stands for.
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            0x01 => Self::Ed25519,
            0x02 => Self::Ecdsa,
            0x04 => Self::CosignatureV1,
            0x05 => Self::Rfc6962,
            0x06 => Self::MlDsa44,
            other => Self::Other(other),
        }
    }

    /// The byte in vkeys and in the hash that makes key ids.
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::Ecdsa => 0x02,
            Self::CosignatureV1 => 0x04,
            Self::Rfc6962 => 0x05,
            Self::MlDsa44 => 0x06,
            Self::Other(byte) => byte,
        }
    }
}

/// The byte and, where it is assigned, its name.
impl fmt::Display for SignatureType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Ed25519 => " (Ed25519)",
            Self::Ecdsa => " (ECDSA)",
            Self::CosignatureV1 => " (Ed25519 cosignature)",
            Self::Rfc6962 => " (RFC 6962)",
            Self::MlDsa44 => " (ML-DSA-44 cosignature)",
            Self::Other(_) => "",
        };
        write!(f, "{:#04x}{name}", self.to_byte())
    }
}

/// Why bytes are not a note, or parts make none. Whoever made them is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoteError {
    /// The note is longer than [`NOTE_BYTES_MAX`].
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// The note is not UTF-8.
    NotUtf8 {
        /// How many bytes before the fault are.
        offset: usize,
    },
    /// There is a control character other than newline.
    ControlCharacter {
        /// The character.
        byte: u8,
        /// Where it stands.
        offset: usize,
    },
    /// No empty line separates a text from signatures.
    NoSeparator,
    /// The text does not end in a newline.
    TextNotTerminated,
    /// There is no signature line.
    NoSignatures,
    /// The last signature line does not end in a newline.
    NotTerminated,
    /// There are more than [`SIGNATURES_MAX`] signature lines.
    TooManySignatures {
        /// How many there are.
        count: usize,
    },
    /// A line under the text is not a signature line.
    Line {
        /// Which of the lines under the text, from 0.
        index: usize,
        /// What is wrong with it.
        reason: LineError,
    },
    /// A line was to be kept that does not exist. The calling code is at fault.
    NoSuchLine {
        /// The index asked for.
        index: usize,
        /// How many lines there are.
        count: usize,
    },
}

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes } => {
                write!(
                    f,
                    "the note has {bytes} bytes; at most {NOTE_BYTES_MAX} are accepted"
                )
            }
            Self::NotUtf8 { offset } => write!(f, "the note is not UTF-8 at byte {offset}"),
            Self::ControlCharacter { byte, offset } => {
                write!(
                    f,
                    "the note has the control character {byte:#04x} at byte {offset}"
                )
            }
            Self::NoSeparator => f.write_str("no empty line separates the text from signatures"),
            Self::TextNotTerminated => f.write_str("the text does not end in a newline"),
            Self::NoSignatures => f.write_str("the note has no signature line"),
            Self::NotTerminated => f.write_str("the note does not end in a newline"),
            Self::TooManySignatures { count } => {
                write!(
                    f,
                    "the note has {count} signatures; at most {SIGNATURES_MAX} are accepted"
                )
            }
            Self::Line { index, reason } => write!(f, "signature line {}: {reason}", index + 1),
            Self::NoSuchLine { index, count } => {
                write!(
                    f,
                    "there is no signature line with index {index}; there are {count}"
                )
            }
        }
    }
}

impl core::error::Error for NoteError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Line { reason, .. } => Some(reason),
            Self::TooLarge { .. }
            | Self::NotUtf8 { .. }
            | Self::ControlCharacter { .. }
            | Self::NoSeparator
            | Self::TextNotTerminated
            | Self::NoSignatures
            | Self::NotTerminated
            | Self::TooManySignatures { .. }
            | Self::NoSuchLine { .. } => None,
        }
    }
}

/// Why a line is not a signature line. Whoever made it is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineError {
    /// The line does not start with an em dash and a space.
    NoDash,
    /// No space follows the key name.
    NoSpace,
    /// The key name is none.
    KeyName(KeyNameError),
    /// What follows the key name is not canonical base64.
    Base64(Base64Error),
    /// There are not more bytes than a key id takes.
    TooShort {
        /// How many bytes there are, key id included.
        bytes: usize,
    },
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDash => f.write_str("it does not start with an em dash and a space"),
            Self::NoSpace => f.write_str("no space follows the key name"),
            Self::KeyName(error) => write!(f, "{error}"),
            Self::Base64(error) => write!(f, "the signature is not base64: {error}"),
            Self::TooShort { bytes } => {
                write!(f, "{bytes} bytes cannot be a key id of 4 and a signature")
            }
        }
    }
}

impl core::error::Error for LineError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::KeyName(error) => Some(error),
            Self::Base64(error) => Some(error),
            Self::NoDash | Self::NoSpace | Self::TooShort { .. } => None,
        }
    }
}

/// Why a text is not a key name. Whoever chose it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyNameError {
    /// It is empty.
    Empty,
    /// It has white space, a plus sign or a control character.
    Character {
        /// The first such character.
        character: char,
    },
}

impl fmt::Display for KeyNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the key name is empty"),
            Self::Character { character } => {
                write!(f, "the key name has the character {character:?}")
            }
        }
    }
}

impl core::error::Error for KeyNameError {}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString as _;
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo AQIDBA==\n";

    fn line(name: &str, signature: &[u8]) -> SignatureLine {
        let name = KeyName::parse(name).unwrap();
        SignatureLine::new(name, KeyId::new([1, 2, 3, 4]), signature.to_vec()).unwrap()
    }

    // Spec: NOTE-01, NOTE-05, NOTE-07
    #[test]
    fn a_note_is_a_text_an_empty_line_and_signature_lines() {
        let bytes = "a\nb\n\n\u{2014} example.com/foo AQIDBAU=\n\u{2014} x AQIDBAUG\n".as_bytes();
        let note = Note::parse(bytes).unwrap();
        assert_eq!(note.text(), "a\nb\n");
        let signatures = [line("example.com/foo", &[5]), line("x", &[5, 6])];
        assert_eq!(note.signatures(), signatures);
        assert_eq!(note.to_bytes(), bytes);
        assert_eq!(Note::new("a\nb\n".into(), signatures.to_vec()), Ok(note));
        assert_eq!(
            signatures[0].to_string(),
            "\u{2014} example.com/foo AQIDBAU="
        );
        assert_eq!(signatures[0].key_id().to_string(), "01020304");
    }

    // Spec: NOTE-04
    #[test]
    fn the_last_empty_line_separates() {
        for text in [
            "\n",
            "\n\n",
            "a\n\n",
            "a\n\nb\n",
            "\u{2014} x AQIDBAU=\n\na\n",
        ] {
            let bytes = format!("{text}\n\u{2014} x AQIDBAU=\n").into_bytes();
            let note = Note::parse(&bytes).unwrap();
            assert_eq!(note.text(), text);
            assert_eq!(note.to_bytes(), bytes);
        }
    }

    // Spec: NOTE-01, NOTE-02, NOTE-03
    #[test]
    fn what_is_no_note_is_refused_for_its_reason() {
        let control = |byte, offset| NoteError::ControlCharacter { byte, offset };
        for (bytes, why) in [
            (&b""[..], NoteError::NoSeparator),
            (b"a\n", NoteError::NoSeparator),
            (b"\n\xe2\x80\x94 x AQIDBAU=\n", NoteError::NoSeparator),
            (b"a\n\xe2\x80\x94 x AQIDBAU=\n", NoteError::NoSeparator),
            (b"a\n\n", NoteError::NoSignatures),
            (b"a\n\n\xe2\x80\x94 x AQIDBAU=", NoteError::NotTerminated),
            (b"a\n\n\xe2\x80\x94 x AQIDBAU=\n\n", NoteError::NoSignatures),
            (b"a\r\n\n\xe2\x80\x94 x AQIDBAU=\n", control(b'\r', 1)),
            (b"\ta\n\n\xe2\x80\x94 x AQIDBAU=\n", control(b'\t', 0)),
            (b"a\0\n\n\xe2\x80\x94 x AQIDBAU=\n", control(0, 1)),
            (b"a\x1f\n\n\xe2\x80\x94 x AQIDBAU=\n", control(0x1f, 1)),
            (
                b"a\xff\n\n\xe2\x80\x94 x AQIDBAU=\n",
                NoteError::NotUtf8 { offset: 1 },
            ),
            // A surrogate, and an overlong slash.
            (
                b"\xed\xa0\x80\n\n\xe2\x80\x94 x AQIDBAU=\n",
                NoteError::NotUtf8 { offset: 0 },
            ),
            (
                b"a\xc0\xaf\n\n\xe2\x80\x94 x AQIDBAU=\n",
                NoteError::NotUtf8 { offset: 1 },
            ),
        ] {
            assert_eq!(Note::parse(bytes), Err(why), "{}", bytes.escape_ascii());
        }
        // DEL and the controls above it are not ASCII control characters below U+0020.
        for text in ["a\u{7f}\n", "a\u{85}\n", "\u{feff}a\n"] {
            let note = Note::new(text.into(), vec![line("x", &[5])]).unwrap();
            assert_eq!(Note::parse(&note.to_bytes()), Ok(note));
        }
    }

    // Spec: NOTE-05, NOTE-06, NOTE-07, NOTE-08
    #[test]
    fn what_is_no_signature_line_is_refused_for_its_reason() {
        let character = |character| LineError::KeyName(KeyNameError::Character { character });
        for (text, why) in [
            ("", LineError::NoDash),
            ("- x AQIDBAU=", LineError::NoDash),
            ("\u{2013} x AQIDBAU=", LineError::NoDash),
            ("\u{2014}x AQIDBAU=", LineError::NoDash),
            (" \u{2014} x AQIDBAU=", LineError::NoDash),
            ("\u{2014} xAQIDBAU=", LineError::NoSpace),
            (
                "\u{2014}  AQIDBAU=",
                LineError::KeyName(KeyNameError::Empty),
            ),
            ("\u{2014} a+b AQIDBAU=", character('+')),
            ("\u{2014} a\u{a0}b AQIDBAU=", character('\u{a0}')),
            ("\u{2014} a\tb AQIDBAU=", character('\t')),
            ("\u{2014} x ", LineError::TooShort { bytes: 0 }),
            ("\u{2014} x AQID", LineError::TooShort { bytes: 3 }),
            ("\u{2014} x AQIDBA==", LineError::TooShort { bytes: 4 }),
        ] {
            assert_eq!(SignatureLine::parse(text), Err(why), "{text:?}");
        }
        for text in [
            "\u{2014} x AQIDBAV=",
            "\u{2014} x AQIDBAU",
            "\u{2014} x AQIDBAU= ",
            "\u{2014} x  AQIDBAU=",
        ] {
            let answer = SignatureLine::parse(text);
            assert!(
                matches!(answer, Err(LineError::Base64(_))),
                "{text:?}: {answer:?}"
            );
        }
        let name = KeyName::parse("x").unwrap();
        let empty = SignatureLine::new(name, KeyId::new([0; 4]), vec![]);
        assert_eq!(empty, Err(LineError::TooShort { bytes: 4 }));
        let reason = LineError::TooShort { bytes: 4 };
        assert_eq!(
            Note::parse(NOTE.as_bytes()),
            Err(NoteError::Line { index: 0, reason })
        );
    }

    // Spec: NOTE-06
    #[test]
    fn key_names_have_no_white_space_plus_or_control_character() {
        let spaces = "\u{9}\u{a}\u{b}\u{c}\u{d}\u{20}\u{85}\u{a0}\u{1680}\u{2000}\u{2001}\u{2002}\
                      \u{2003}\u{2004}\u{2005}\u{2006}\u{2007}\u{2008}\u{2009}\u{200a}\u{2028}\
                      \u{2029}\u{202f}\u{205f}\u{3000}";
        for character in spaces.chars().chain(['+', '\0', '\u{1f}']) {
            for name in [
                format!("a{character}b"),
                format!("{character}"),
                format!("a{character}"),
            ] {
                let why = KeyNameError::Character { character };
                assert_eq!(KeyName::parse(&name), Err(why), "{name:?}");
            }
        }
        assert_eq!(KeyName::parse(""), Err(KeyNameError::Empty));
        for name in [
            "a",
            "example.com/log42",
            "oid/1.3.6.1.4.1.44363.47.1.99",
            "\u{2014}",
            "é/ß",
        ] {
            assert_eq!(KeyName::parse(name).unwrap().as_str(), name);
        }
    }

    // Spec: NOTE-09, NOTE-10
    #[test]
    fn sixteen_of_the_largest_signatures_fit_and_there_is_a_limit() {
        // "Post-quantum signatures can be up to nearly 5kB."
        let large = line(
            "witness.example.com/a-rather-long-name-for-a-cosigner",
            &[7; 5000],
        );
        let note = Note::new("a\n".into(), vec![large; 16]).unwrap();
        assert_eq!(Note::parse(&note.to_bytes()), Ok(note));

        let small = line("x", &[5]);
        let most = Note::new("a\n".into(), vec![small.clone(); SIGNATURES_MAX]).unwrap();
        let bytes = most.to_bytes();
        assert_eq!(Note::parse(&bytes), Ok(most));
        let count = SIGNATURES_MAX + 1;
        let too_many = Err(NoteError::TooManySignatures { count });
        assert_eq!(
            Note::new("a\n".into(), vec![small.clone(); count]),
            too_many
        );
        let bytes = [&bytes[..], "\u{2014} x AQIDBAU=\n".as_bytes()].concat();
        assert_eq!(Note::parse(&bytes), too_many);

        let rest = "\n\n\u{2014} x AQIDBAU=\n";
        let text = "a".repeat(NOTE_BYTES_MAX - rest.len());
        let bytes = format!("{text}{rest}").into_bytes();
        assert_eq!(Note::parse(&bytes).unwrap().to_bytes(), bytes);
        let bytes = format!("a{text}{rest}").into_bytes();
        let too_large = Err(NoteError::TooLarge {
            bytes: NOTE_BYTES_MAX + 1,
        });
        assert_eq!(Note::parse(&bytes), too_large);
        assert_eq!(Note::new(format!("a{text}\n"), vec![small]), too_large);
    }

    // Spec: NOTE-01, NOTE-03
    #[test]
    fn parts_that_make_no_note_are_refused() {
        let lines = vec![line("x", &[5])];
        for (text, why) in [
            ("", NoteError::TextNotTerminated),
            ("a", NoteError::TextNotTerminated),
            (
                "a\t\n",
                NoteError::ControlCharacter {
                    byte: b'\t',
                    offset: 1,
                },
            ),
        ] {
            assert_eq!(Note::new(text.into(), lines.clone()), Err(why));
        }
        assert_eq!(
            Note::new("a\n".into(), vec![]),
            Err(NoteError::NoSignatures)
        );
    }

    #[test]
    fn lines_are_kept_in_the_notes_order_and_appended_once() {
        let (a, b, c) = (line("a", &[1]), line("b", &[2]), line("c", &[3]));
        let note = Note::new("t\n".into(), vec![a.clone(), b.clone()]).unwrap();
        let lines = |keep: &[usize], append: &[SignatureLine]| {
            note.with_signatures(keep, append)
                .map(|note| note.signatures().to_vec())
        };
        assert_eq!(lines(&[1, 0, 1], &[]), Ok(vec![a.clone(), b.clone()]));
        assert_eq!(
            lines(&[1], &[c.clone(), a.clone()]),
            Ok(vec![b.clone(), c.clone(), a.clone()])
        );
        assert_eq!(
            lines(&[0], &[a.clone(), c.clone(), c.clone()]),
            Ok(vec![a.clone(), c.clone()])
        );
        assert_eq!(lines(&[], &[]), Err(NoteError::NoSignatures));
        assert_eq!(
            lines(&[2], &[c]),
            Err(NoteError::NoSuchLine { index: 2, count: 2 })
        );
        let many: Vec<_> = (0..=u8::MAX).map(|byte| line("x", &[byte])).collect();
        let count = SIGNATURES_MAX + 1;
        assert_eq!(
            lines(&[0], &many),
            Err(NoteError::TooManySignatures { count })
        );
    }

    #[test]
    fn signature_types_are_their_bytes() {
        for byte in 0..=u8::MAX {
            assert_eq!(SignatureType::from_byte(byte).to_byte(), byte);
        }
        assert_eq!(SignatureType::from_byte(6), SignatureType::MlDsa44);
        assert_eq!(SignatureType::from_byte(3), SignatureType::Other(3));
        assert_eq!(
            SignatureType::MlDsa44.to_string(),
            "0x06 (ML-DSA-44 cosignature)"
        );
    }

    fn any_line() -> impl Strategy<Value = SignatureLine> {
        let signature = prop::collection::vec(any::<u8>(), 1..80);
        (
            "[^ +\\p{White_Space}\\p{Cc}]{1,12}",
            any::<[u8; 4]>(),
            signature,
        )
            .prop_map(|(name, id, signature)| {
                let name = KeyName::parse(&name).unwrap();
                SignatureLine::new(name, KeyId::new(id), signature).unwrap()
            })
    }

    fn any_note() -> impl Strategy<Value = Note> {
        let text = prop::collection::vec("[^\\x00-\\x1f]{0,20}\n", 1..6);
        let lines = prop::collection::vec(any_line(), 1..5);
        (text, lines).prop_map(|(text, lines)| Note::new(text.concat(), lines).unwrap())
    }

    proptest! {
        #[test]
        fn every_note_survives_its_bytes(note in any_note()) {
            prop_assert_eq!(Note::parse(&note.to_bytes()), Ok(note));
        }

        #[test]
        fn what_parses_has_one_form(
            note in any_note(),
            at in any::<prop::sample::Index>(),
            cut in 0_usize..3,
            put in prop::collection::vec(any::<u8>(), 0..3),
        ) {
            let mut bytes = note.to_bytes();
            let at = at.index(bytes.len());
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, put);
            if let Ok(note) = Note::parse(&bytes) {
                prop_assert_eq!(note.to_bytes(), bytes);
            }
        }

        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let _ = Note::parse(&bytes);
        }

        #[test]
        fn any_line_is_answered_canonically(
            text in "(\u{2014} )?[a-z+ ]{0,4} ?[A-Za-z0-9+/]{0,12}={0,2}",
        ) {
            if let Ok(line) = SignatureLine::parse(&text) {
                prop_assert_eq!(line.to_string(), text);
            }
        }
    }
}
