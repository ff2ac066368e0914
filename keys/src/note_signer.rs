//! The Go note signer format: one line that holds one private key.
//!
//! ```text
//! PRIVATE+KEY+<key name>+<key id, 8 hex digits>+<base64(type || 32-byte seed)>
//! ```
//!
//! In scope: turning that line into a name, a type and a seed, and back. Out of scope: files, and
//! whether the key id is right (only the public key can tell; [`crate::SigningKey`] checks it).
//!
//! Rows: `spec/keys.md` KEY-01 to KEY-04.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jurat_proto::key::{KeyId, KeyName};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::Algorithm;

/// The bytes of a seed: Ed25519 (RFC 8032) and ML-DSA-44 (FIPS 204, ξ) both derive their keys from
/// 32 bytes.
pub(crate) const SEED_BYTES: usize = 32;

/// A parsed signer line. The seed is wiped when it is dropped.
pub(crate) struct NoteSigner {
    pub(crate) name: KeyName,
    pub(crate) stated_id: KeyId,
    pub(crate) algorithm: Algorithm,
    pub(crate) seed: Zeroizing<[u8; SEED_BYTES]>,
}

impl NoteSigner {
    /// Parses one line, with or without its final newline, and nothing after it.
    pub(crate) fn parse(text: &str) -> Result<Self, NoteSignerError> {
        // Spec: KEY-02
        let line = text.strip_suffix('\n').unwrap_or(text);
        if line.contains(['\n', '\r']) {
            return Err(NoteSignerError::TrailingData);
        }
        let rest = line
            .strip_prefix(PREFIX)
            .ok_or(NoteSignerError::NotASigner)?;
        // Key names hold no plus, base64 may: split from the left, exactly twice.
        let mut parts = rest.splitn(3, '+');
        let (Some(name), Some(id), Some(material)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(NoteSignerError::MissingPart);
        };
        let name = KeyName::parse(name).map_err(|_| NoteSignerError::KeyName)?;
        let stated_id = parse_key_id(id).ok_or(NoteSignerError::KeyId)?;

        // Spec: KEY-01
        let mut bytes = Zeroizing::new([0_u8; 1 + SEED_BYTES]);
        if material.len() != MATERIAL_CHARS {
            return Err(NoteSignerError::MaterialLength {
                chars: material.len(),
            });
        }
        let written = STANDARD
            .decode_slice(material, bytes.as_mut_slice())
            .map_err(|_| NoteSignerError::Base64)?;
        if written != bytes.len() {
            return Err(NoteSignerError::Base64);
        }
        let [type_byte, seed_bytes @ ..] = &*bytes;
        let algorithm = match *type_byte {
            0x01 => Algorithm::Ed25519,
            0x04 => Algorithm::CosignatureV1,
            0x06 => Algorithm::MlDsa44,
            other => return Err(NoteSignerError::UnsupportedType { type_byte: other }),
        };
        Ok(Self {
            name,
            stated_id,
            algorithm,
            seed: Zeroizing::new(*seed_bytes),
        })
    }
}

/// Writes the signer line, final newline included.
pub(crate) fn to_line(
    name: &KeyName,
    id: KeyId,
    type_byte: u8,
    seed: &[u8; SEED_BYTES],
) -> Zeroizing<String> {
    let mut material = Zeroizing::new([0_u8; 1 + SEED_BYTES]);
    let [first, rest @ ..] = &mut *material;
    *first = type_byte;
    rest.copy_from_slice(seed);

    // One allocation of the right size: a string that grows would leave copies of the seed behind.
    let name = name.as_str();
    let mut line = Zeroizing::new(String::with_capacity(
        PREFIX.len() + name.len() + 1 + 8 + 1 + MATERIAL_CHARS + 1,
    ));
    line.push_str(PREFIX);
    line.push_str(name);
    line.push('+');
    line.push_str(&jurat_proto::hex::encode(id.as_bytes()));
    line.push('+');
    STANDARD.encode_string(material.as_slice(), &mut line);
    line.push('\n');
    line
}

/// Why a signer line was not taken. The operator is at fault (or whoever wrote the file). No
/// variant carries a part of the line, so that no secret can reach a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoteSignerError {
    /// The text does not begin with `PRIVATE+KEY+`.
    #[error("it does not begin with PRIVATE+KEY+ (is it the public key?)")]
    NotASigner,
    /// There are fewer than three parts after `PRIVATE+KEY+`.
    #[error("a part is missing: want PRIVATE+KEY+<name>+<key id>+<base64>")]
    MissingPart,
    /// There is something after the line.
    #[error("there is more than one line in it")]
    TrailingData,
    /// The key name is empty or holds a space or a plus.
    #[error("the key name is not valid")]
    KeyName,
    /// The key id is not eight lower-case hex digits.
    #[error("the key id is not eight lower-case hex digits")]
    KeyId,
    /// The key material is not the base64 of a type byte and a 32-byte seed.
    #[error(
        "the key material has {chars} characters; a type and a 32-byte seed make {MATERIAL_CHARS}"
    )]
    MaterialLength {
        /// How many characters there are.
        chars: usize,
    },
    /// The key material is not strict standard base64.
    #[error("the key material is not strict base64")]
    Base64,
    /// The type is not one that this format carries here.
    #[error("signature type {type_byte:#04x} is not supported (supported: 0x01, 0x04, 0x06)")]
    UnsupportedType {
        /// The type byte.
        type_byte: u8,
    },
}

fn parse_key_id(text: &str) -> Option<KeyId> {
    // Spec: KEY-04
    let bytes = jurat_proto::hex::decode(text).ok()?;
    Some(KeyId::new(<[u8; 4]>::try_from(bytes).ok()?))
}

const PREFIX: &str = "PRIVATE+KEY+";

/// 33 bytes in base64: a multiple of three, so there is never padding.
const MATERIAL_CHARS: usize = 44;
