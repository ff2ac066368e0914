//! Private keys: the only room that holds their bytes.
//!
//! In scope: making keys, key files (the Go note signer format, PKCS#8 PEM), keys in tokens of
//! PKCS #11 (the feature `pkcs11`), signing, and the primitive of a faster verification
//! ([`fast_verifier`]). Out of scope: what is signed, and what counts as a signature; both are
//! `jurat_proto`'s.
//!
//! - A key file is readable by its owner alone, or it is refused ([`FileError::Exposed`]).
//! - A key is never overwritten ([`SigningKey::save_new`]).
//! - Secrets are wiped when they are dropped and appear in no error and no `Debug` output.
//!
//! Rows: `spec/keys.md`.

mod file;
mod note_signer;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod pkcs8;
mod signing_key;
mod timestamp_key;
mod verify;

pub use crate::file::FileError;
pub use crate::note_signer::NoteSignerError;
pub use crate::pkcs8::PemError;
#[cfg(feature = "pkcs11")]
pub use crate::pkcs11::{
    Pkcs11Curve, Pkcs11Error, Pkcs11Key, Pkcs11Location, SESSIONS_MAX, end_pkcs11,
};
pub use crate::signing_key::{
    Algorithm, GenerateError, KeyFileError, KeyFileProblem, KeyTextError, SigningKey,
};
pub use crate::timestamp_key::{
    TimestampKey, TimestampKeyError, TimestampSigner, TimestampVerifier, WrongSignature,
    random_serial,
};
pub use crate::verify::{FastKeyError, fast_verifier};
