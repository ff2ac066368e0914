//! Hash algorithms, and the digest that a time-stamp is about.
//!
//! In scope: the algorithms that are taken, the lengths of their digests, and the form in which an
//! algorithm was named. Out of scope: what was hashed, which a time-stamp authority never sees.

use alloc::vec::Vec;
use core::fmt;

use const_oid::ObjectIdentifier;
use sha2::Digest as _;

use crate::tsp::element::{Algorithm, DerError, Element, Parameters, element, nest, push, tag};
use crate::tsp::oid::{self, Oid};

/// A hash algorithm that a time-stamp may be about. Weaker ones (MD5, SHA-1, SHA-224) are unknown
/// here.
// Spec: TSP-04
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SHA3-256.
    Sha3_256,
    /// SHA3-384.
    Sha3_384,
    /// SHA3-512.
    Sha3_512,
}

impl HashAlgorithm {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
        Self::Sha3_256,
        Self::Sha3_384,
        Self::Sha3_512,
    ];

    pub(crate) fn of_oid(oid: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.oid().as_bytes() == oid)
    }

    /// Its object identifier.
    pub fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Sha256 => oid::SHA256,
            Self::Sha384 => oid::SHA384,
            Self::Sha512 => oid::SHA512,
            Self::Sha3_256 => oid::SHA3_256,
            Self::Sha3_384 => oid::SHA3_384,
            Self::Sha3_512 => oid::SHA3_512,
        }
    }

    /// Its name in FIPS 180 and FIPS 202.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
            Self::Sha3_256 => "SHA3-256",
            Self::Sha3_384 => "SHA3-384",
            Self::Sha3_512 => "SHA3-512",
        }
    }

    /// How many bytes its digests have.
    pub fn digest_bytes(self) -> usize {
        match self {
            Self::Sha256 | Self::Sha3_256 => 32,
            Self::Sha384 | Self::Sha3_384 => 48,
            Self::Sha512 | Self::Sha3_512 => 64,
        }
    }

    /// The digest of some bytes.
    pub fn digest(self, bytes: &[u8]) -> Vec<u8> {
        let mut hasher = Hasher::new(self);
        hasher.update(bytes);
        hasher.finish()
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A digest in the making, of bytes that come piece by piece.
pub struct Hasher(State);

enum State {
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
    Sha3_256(sha3::Sha3_256),
    Sha3_384(sha3::Sha3_384),
    Sha3_512(sha3::Sha3_512),
}

impl Hasher {
    /// The digest of nothing so far.
    pub fn new(algorithm: HashAlgorithm) -> Self {
        Self(match algorithm {
            HashAlgorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            HashAlgorithm::Sha384 => State::Sha384(sha2::Sha384::new()),
            HashAlgorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
            HashAlgorithm::Sha3_256 => State::Sha3_256(sha3::Sha3_256::new()),
            HashAlgorithm::Sha3_384 => State::Sha3_384(sha3::Sha3_384::new()),
            HashAlgorithm::Sha3_512 => State::Sha3_512(sha3::Sha3_512::new()),
        })
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha384(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
            State::Sha3_256(state) => state.update(bytes),
            State::Sha3_384(state) => state.update(bytes),
            State::Sha3_512(state) => state.update(bytes),
        }
    }

    /// The digest of all of them.
    pub fn finish(self) -> Vec<u8> {
        match self.0 {
            State::Sha256(state) => state.finalize().to_vec(),
            State::Sha384(state) => state.finalize().to_vec(),
            State::Sha512(state) => state.finalize().to_vec(),
            State::Sha3_256(state) => state.finalize().to_vec(),
            State::Sha3_384(state) => state.finalize().to_vec(),
            State::Sha3_512(state) => state.finalize().to_vec(),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

/// How a hash algorithm was named: both forms are in use, and mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashParameters {
    /// Without parameters.
    Absent,
    /// With NULL.
    Null,
}

impl HashParameters {
    pub(crate) fn of(parameters: Parameters<'_>) -> Option<Self> {
        match parameters {
            Parameters::Absent => Some(Self::Absent),
            Parameters::Null => Some(Self::Null),
            Parameters::Other(_) => None,
        }
    }

    /// An `AlgorithmIdentifier` of this form.
    pub(crate) fn algorithm(self, oid: ObjectIdentifier) -> Vec<u8> {
        let mut out = Vec::new();
        self.push_algorithm(&mut out, oid);
        out
    }

    /// Appends the `AlgorithmIdentifier`.
    pub(crate) fn push_algorithm(self, out: &mut Vec<u8>, oid: ObjectIdentifier) {
        nest(out, tag::SEQUENCE, |out| {
            push(out, tag::OID, &[oid.as_bytes()]);
            if self == Self::Null {
                push(out, tag::NULL, &[]);
            }
        });
    }
}

/// The digest that a time-stamp is about, with its algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageImprint {
    algorithm: HashAlgorithm,
    parameters: HashParameters,
    digest: Vec<u8>,
}

impl MessageImprint {
    /// A digest that was made elsewhere.
    ///
    /// # Errors
    /// [`ImprintError::DigestLength`] when it has not the algorithm's length.
    // Spec: TSP-06
    pub fn new(algorithm: HashAlgorithm, digest: Vec<u8>) -> Result<Self, ImprintError> {
        if digest.len() != algorithm.digest_bytes() {
            return Err(ImprintError::DigestLength {
                algorithm,
                found: digest.len(),
            });
        }
        Ok(Self {
            algorithm,
            parameters: HashParameters::Absent,
            digest,
        })
    }

    /// The imprint of some bytes.
    pub fn of(algorithm: HashAlgorithm, bytes: &[u8]) -> Self {
        Self {
            algorithm,
            parameters: HashParameters::Absent,
            digest: algorithm.digest(bytes),
        }
    }

    /// Reads a `MessageImprint`.
    // Spec: TSP-04, TSP-05, TSP-06
    pub(crate) fn read(element: Element<'_>) -> Result<Self, ImprintError> {
        const FIELD: &str = "messageImprint";
        let mut inside = element.inside();
        let algorithm = inside.take(tag::SEQUENCE, "hashAlgorithm")?;
        let algorithm = Algorithm::read(algorithm, "hashAlgorithm")?;
        let digest = inside.take(tag::OCTET_STRING, "hashedMessage")?.content;
        inside.finish(FIELD)?;
        let Some(hash) = HashAlgorithm::of_oid(algorithm.oid) else {
            let oid = element_of_oid(algorithm.oid);
            let oid = Element::only(&oid, tag::OID, "hashAlgorithm")?;
            return Err(ImprintError::UnknownHash {
                oid: Oid::read(oid, "hashAlgorithm")?,
            });
        };
        let parameters = HashParameters::of(algorithm.parameters)
            .ok_or(ImprintError::HashParameters { algorithm: hash })?;
        let imprint = Self::new(hash, digest.to_vec())?;
        Ok(Self {
            parameters,
            ..imprint
        })
    }

    // Spec: TSP-05, TSP-31
    pub(crate) fn push(&self, out: &mut Vec<u8>) {
        nest(out, tag::SEQUENCE, |out| {
            self.parameters.push_algorithm(out, self.algorithm.oid());
            push(out, tag::OCTET_STRING, &[&self.digest]);
        });
    }

    /// The algorithm.
    pub fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// How the algorithm was named.
    pub fn parameters(&self) -> HashParameters {
        self.parameters
    }

    /// The digest.
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// Whether both are of the same bytes, however the algorithm was named.
    pub fn is_same(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.digest == other.digest
    }
}

fn element_of_oid(content: &[u8]) -> Vec<u8> {
    element(tag::OID, &[content])
}

/// Why a message imprint is not taken. Its maker is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImprintError {
    /// It is not DER.
    Der(DerError),
    /// A hash algorithm that is none of [`HashAlgorithm::ALL`].
    UnknownHash {
        /// What was named.
        oid: Oid,
    },
    /// Parameters that are neither absent nor NULL.
    HashParameters {
        /// The algorithm that has none.
        algorithm: HashAlgorithm,
    },
    /// A digest that has not the length of its algorithm's.
    DigestLength {
        /// The algorithm.
        algorithm: HashAlgorithm,
        /// The length that was found.
        found: usize,
    },
}

impl From<DerError> for ImprintError {
    fn from(error: DerError) -> Self {
        Self::Der(error)
    }
}

impl fmt::Display for ImprintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Der(error) => error.fmt(f),
            Self::UnknownHash { oid } => {
                write!(f, "the hash algorithm {oid} is not accepted")
            }
            Self::HashParameters { algorithm } => {
                write!(f, "{algorithm} takes no parameters other than NULL")
            }
            Self::DigestLength { algorithm, found } => write!(
                f,
                "a digest of {found} bytes, but those of {algorithm} have {}",
                algorithm.digest_bytes()
            ),
        }
    }
}

impl core::error::Error for ImprintError {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;
    use crate::hex;

    // Spec: TSP-04, TSP-06
    #[test]
    fn digests_are_those_of_the_standards_and_have_their_lengths() {
        for (algorithm, start) in [
            (HashAlgorithm::Sha256, "e3b0c44298fc1c14"),
            (HashAlgorithm::Sha384, "38b060a751ac9638"),
            (HashAlgorithm::Sha512, "cf83e1357eefb8bd"),
            (HashAlgorithm::Sha3_256, "a7ffc6f8bf1ed766"),
            (HashAlgorithm::Sha3_384, "0c63a75b845e4f7d"),
            (HashAlgorithm::Sha3_512, "a69f73cca23a9ac5"),
        ] {
            let digest = algorithm.digest(b"");
            assert!(hex::encode(&digest).starts_with(start), "{algorithm}");
            assert_eq!(digest.len(), algorithm.digest_bytes());
            assert_eq!(
                HashAlgorithm::of_oid(algorithm.oid().as_bytes()),
                Some(algorithm)
            );
            let short = MessageImprint::new(algorithm, digest[1..].to_vec()).unwrap_err();
            assert!(short.to_string().contains(algorithm.name()));
            let mut pieces = Hasher::new(algorithm);
            pieces.update(b"a do");
            pieces.update(b"cument");
            assert_eq!(pieces.finish(), algorithm.digest(b"a document"));
        }
    }
}
