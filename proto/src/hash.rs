//! SHA-256 as the tree uses it: RFC 6962 section 2.1.
//!
//! ```text
//! leaf hash  = SHA-256(0x00 || entry)
//! node hash  = SHA-256(0x01 || left || right)
//! empty root = SHA-256()
//! ```
//!
//! The first byte keeps the two apart: no entry can be chosen so that its leaf hash is the hash of
//! an inner node, so a tree of two leaves cannot pass for a tree of one.
//!
//! Out of scope: which hashes are combined with which. That is [`crate::tree`] and
//! [`crate::proof`].

use alloc::string::String;
use core::fmt;

use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};

use crate::base64::{self, Base64Error};

/// A SHA-256 value: a leaf hash, a node hash, a root hash or the digest of something else.
///
/// `Display` and `Debug` print base64, as the notes do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// Length of a hash in bytes.
    pub const LEN: usize = 32;

    /// Takes 32 bytes as a hash.
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The hash's bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Takes a slice of exactly 32 bytes; `None` for any other length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The canonical base64 of the hash: 44 characters.
    pub fn to_base64(&self) -> String {
        base64::encode(&self.0)
    }

    /// Parses what [`Self::to_base64`] prints, and nothing else.
    ///
    /// # Errors
    ///
    /// When `text` is not canonical base64, or not that of 32 bytes.
    pub fn from_base64(text: &str) -> Result<Self, Base64Error> {
        let bytes = base64::decode(text)?;
        Self::from_slice(&bytes).ok_or(Base64Error::DecodedLength {
            expected: Self::LEN,
            found: bytes.len(),
        })
    }
}

impl From<[u8; Hash::LEN]> for Hash {
    fn from(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Hash {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Plain SHA-256, with no prefix: origin hashes and digests, never the tree.
pub fn sha256(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

/// The leaf hash of an entry: `SHA-256(0x00 || entry)`.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    // Spec: MRK-02
    Hash(
        Sha256::new()
            .chain_update([0x00])
            .chain_update(entry)
            .finalize()
            .into(),
    )
}

/// The hash of an inner node: `SHA-256(0x01 || left || right)`.
///
/// This is the function in which a growing log spends its time. The message always has 65 bytes,
/// hence two blocks with a constant padding: they are laid out on the stack and compressed in one
/// call, without the buffer and the length count of the streaming interface.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    // Spec: MRK-03
    let mut blocks = [[0_u8; 64]; 2];
    let [first, second] = &mut blocks;
    let [right_head @ .., right_last] = &right.0;
    let (prefix, children) = first.split_at_mut(1);
    let (left_half, right_half) = children.split_at_mut(Hash::LEN);
    prefix.copy_from_slice(&[0x01]);
    left_half.copy_from_slice(&left.0);
    right_half.copy_from_slice(right_head);
    let [spill, stop, .., bits_high, bits_low] = second;
    *spill = *right_last;
    *stop = 0x80;
    [*bits_high, *bits_low] = NODE_MESSAGE_BITS.to_be_bytes();

    let mut state = SHA256_INITIAL_STATE;
    compress256(&mut state, &blocks);
    let mut hash = [0_u8; Hash::LEN];
    for (bytes, word) in hash.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    Hash(hash)
}

/// Length of the message of a node hash in bits: the prefix and two hashes.
const NODE_MESSAGE_BITS: u16 = 8 * (1 + 32 + 32);

/// FIPS 180-4, section 5.3.3.
const SHA256_INITIAL_STATE: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The root hash of the tree without leaves: SHA-256 of nothing.
pub const fn empty_root() -> Hash {
    // Spec: MRK-01
    Hash([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9,
        0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52,
        0xb8, 0x55,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    use crate::hex;

    // Spec: MRK-01
    #[test]
    fn empty_root_is_sha256_of_nothing() {
        assert_eq!(empty_root(), sha256(b""));
    }

    // Spec: MRK-02
    #[test]
    fn leaf_hash_of_the_empty_entry_is_the_known_value() {
        assert_eq!(
            hex::encode(leaf_hash(b"").as_bytes()),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
    }

    #[test]
    fn sha256_is_that_of_fips_180() {
        assert_eq!(
            hex::encode(sha256(b"abc").as_bytes()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn text_forms_are_base64() {
        let hash = empty_root();
        let text = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert_eq!(format!("{hash}"), text);
        assert_eq!(format!("{hash:?}"), text);
        assert_eq!(Hash::from_base64(text), Ok(hash));
    }

    #[test]
    fn only_32_bytes_are_a_hash() {
        assert_eq!(Hash::from_slice(&[0; 31]), None);
        assert_eq!(Hash::from_slice(&[0; 33]), None);
        assert_eq!(Hash::from_slice(&[7; 32]), Some(Hash::new([7; 32])));
        assert_eq!(
            Hash::from_base64("AAAA"),
            Err(Base64Error::DecodedLength {
                expected: 32,
                found: 3
            })
        );
    }

    proptest! {
        // Spec: MRK-03
        #[test]
        fn node_hash_is_sha256_of_prefix_left_right(left: [u8; 32], right: [u8; 32]) {
            let mut message = Vec::from([0x01]);
            message.extend(left);
            message.extend(right);
            prop_assert_eq!(node_hash(&Hash(left), &Hash(right)), sha256(&message));
        }

        // Spec: MRK-02
        #[test]
        fn leaf_hash_is_sha256_of_prefix_entry(entry: Vec<u8>) {
            let mut message = Vec::from([0x00]);
            message.extend(&entry);
            prop_assert_eq!(leaf_hash(&entry), sha256(&message));
        }

        #[test]
        fn every_hash_survives_base64(bytes: [u8; 32]) {
            prop_assert_eq!(Hash::from_base64(&Hash(bytes).to_base64()), Ok(Hash(bytes)));
        }
    }
}
