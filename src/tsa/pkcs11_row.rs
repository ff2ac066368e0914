//! Where a unit's key is in a token of PKCS #11, as the file of units says it.
//!
//! ```text
//! [unit.pkcs11]
//! module = "/usr/lib/softhsm/libsofthsm2.so"   the vendor's library
//! token = "jurat"                              the token's label
//! label = "unit-2"                             the key's label in it
//! pin_file = "keys/tsa/pin"                    the user's PIN, in a file for its owner alone
//! sessions = 4                                 at once; 4 when it is left out
//! ```
//!
//! Paths are relative to the file of units.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jurat_keys::TimestampSigner;
use serde::{Deserialize, Serialize};

/// A key's place in a token, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pkcs11Row {
    /// The vendor's library.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The key's label.
    pub label: String,
    /// The file of the PIN.
    pub pin_file: PathBuf,
    /// Sessions at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u8>,
}

/// The curve of a key that is to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum NewCurve {
    /// What every client verifies.
    #[default]
    #[value(name = "p-256")]
    P256,
    /// With SHA-384.
    #[value(name = "p-384")]
    P384,
}

/// Sessions when the file does not say.
#[cfg(feature = "pkcs11")]
const SESSIONS: u8 = 4;

#[cfg(feature = "pkcs11")]
impl Pkcs11Row {
    /// The key. Its token need not be there now.
    ///
    /// # Errors
    /// [`Pkcs11Problem`].
    pub(super) fn open(&self, dir: &Path) -> Result<Arc<dyn TimestampSigner>, Pkcs11Problem> {
        let location = self.location(dir)?;
        let key = jurat_keys::Pkcs11Key::open(&location).map_err(Pkcs11Problem::Key)?;
        Ok(key)
    }

    /// Makes the key, and gives its public key.
    ///
    /// # Errors
    /// [`Pkcs11Problem`]; nothing was made.
    pub fn generate(&self, dir: &Path, curve: NewCurve) -> Result<Vec<u8>, Pkcs11Problem> {
        let location = self.location(dir)?;
        let curve = match curve {
            NewCurve::P256 => jurat_keys::Pkcs11Curve::P256,
            NewCurve::P384 => jurat_keys::Pkcs11Curve::P384,
        };
        jurat_keys::Pkcs11Key::generate(&location, curve).map_err(Pkcs11Problem::Key)
    }

    fn location(&self, dir: &Path) -> Result<jurat_keys::Pkcs11Location, Pkcs11Problem> {
        let sessions = self.sessions.unwrap_or(SESSIONS);
        if !(1..=jurat_keys::SESSIONS_MAX).contains(&sessions) {
            return Err(Pkcs11Problem::Sessions { sessions });
        }
        Ok(jurat_keys::Pkcs11Location {
            module: dir.join(&self.module),
            token: self.token.clone(),
            label: self.label.clone(),
            pin_file: dir.join(&self.pin_file),
            sessions,
        })
    }
}

#[cfg(not(feature = "pkcs11"))]
impl Pkcs11Row {
    /// No key.
    ///
    /// # Errors
    /// [`Pkcs11Problem::NotBuilt`].
    pub(super) fn open(&self, _dir: &Path) -> Result<Arc<dyn TimestampSigner>, Pkcs11Problem> {
        Err(self.not_built())
    }

    /// No key.
    ///
    /// # Errors
    /// [`Pkcs11Problem::NotBuilt`].
    pub fn generate(&self, _dir: &Path, _curve: NewCurve) -> Result<Vec<u8>, Pkcs11Problem> {
        Err(self.not_built())
    }

    fn not_built(&self) -> Pkcs11Problem {
        Pkcs11Problem::NotBuilt {
            token: self.token.clone(),
        }
    }
}

/// Why there is no key in a token. The operator is at fault, or the device.
#[derive(Debug, thiserror::Error)]
pub enum Pkcs11Problem {
    /// The library, the token or the key.
    #[cfg(feature = "pkcs11")]
    #[error("{0}")]
    Key(jurat_keys::Pkcs11Error),
    /// None, or more than there may be.
    #[cfg(feature = "pkcs11")]
    #[error("{sessions} sessions: want 1 to {}", jurat_keys::SESSIONS_MAX)]
    Sessions {
        /// How many.
        sessions: u8,
    },
    /// This program was built without the feature.
    #[cfg(not(feature = "pkcs11"))]
    #[error("its key is in the token {token}: this program was built without the feature pkcs11")]
    NotBuilt {
        /// The token's label.
        token: String,
    },
}
