//! TLS of a listener: a certificate chain and its key from PEM files, replaceable while it runs.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The certificate that a listener shows, shared by its clones.
#[derive(Clone)]
pub struct Tls {
    certificates: PathBuf,
    key: PathBuf,
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

impl Tls {
    /// Loads a PEM chain (leaf first) and its PEM key.
    ///
    /// # Errors
    /// [`TlsError`] says which file and why.
    pub fn load(certificates: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self {
            config: Arc::new(RwLock::new(Arc::new(read(certificates, key)?))),
            certificates: certificates.to_owned(),
            key: key.to_owned(),
        })
    }

    /// Loads the files again; connections accepted from now on see them.
    ///
    /// # Errors
    /// [`TlsError`]; then what was loaded before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let config = Arc::new(read(&self.certificates, &self.key)?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("certificates", &self.certificates)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

fn read(certificates: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect)
        .map_err(|error| TlsError::of_pem(certificates, error))?;
    if chain.is_empty() {
        let file = certificates.to_owned();
        return Err(TlsError::NoCertificate { file });
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::of_pem(key, error))?;
    let refused = |source| TlsError::Refused {
        certificates: certificates.to_owned(),
        key: key.to_owned(),
        source,
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(refused)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Why TLS cannot be set up. The operator's files are at fault; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not the PEM that it should be.
    #[error("{} is not the PEM that is needed: {source}", file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// What the parser says.
        source: pem::Error,
    },
    /// The chain holds no certificate.
    #[error("{} holds no certificate", file.display())]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// The pair does not work together.
    #[error("{} with {}: {source}", certificates.display(), key.display())]
    Refused {
        /// The chain's file.
        certificates: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What the library says.
        source: rustls::Error,
    },
}

impl TlsError {
    fn of_pem(file: &Path, error: pem::Error) -> Self {
        let file = file.to_owned();
        match error {
            pem::Error::Io(source) => Self::Read { file, source },
            source => Self::Pem { file, source },
        }
    }
}
