//! A place behind a bastion (c2sp.org/https-bastion, revision of 2026-07-22): connects out, and
//! serves what comes in over that connection.
//!
//! ```text
//! daemon ── TLS 1.3, "bastion/0", a certificate ─► bastion ◄── https://…/<key hash>/… ── all
//!        ◄───────────── requests, HTTP/2 ──────────
//! ```
//!
//! Whoever has no address that others could use is asked all the same. A bastion may keep, read and
//! change what it passes on, as every proxy may: what is served this way has to prove itself.
//!
//! In scope: the connection, and making it again. Out of scope: what is served, whose key it is,
//! being a bastion. Rows: `spec/gossip.md` GSP-147 to GSP-149.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose,
    PKCS_ED25519, PublicKeyData, date_time_ymd,
};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, SignatureAlgorithm, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::{ClientSetupError, pause_after, root_store};
use crate::http::{Handler, HttpMetrics, Limits, Reversed};
use crate::shutdown::Shutdown;

/// The Ed25519 key by which a bastion knows a backend.
pub trait Identity: fmt::Debug + Send + Sync {
    /// The public key.
    fn public_key(&self) -> [u8; 32];

    /// Signs bytes; nothing when the key is out of reach.
    fn sign(&self, message: &[u8]) -> Option<Vec<u8>>;
}

/// A bastion to be reached.
#[derive(Clone)]
pub struct Bastion {
    address: String,
    name: ServerName<'static>,
    tls: TlsConnector,
}

impl Bastion {
    /// The bastion at an address, `bastion.example.com:443`, known by a certificate under the
    /// system's roots and those of a PEM file.
    ///
    /// # Errors
    /// [`BastionError`]: the address, the roots or the key cannot be used.
    // Spec: GSP-147
    pub fn new(
        address: &str,
        identity: Arc<dyn Identity>,
        roots: Option<&Path>,
    ) -> Result<Self, BastionError> {
        let (host, port) = address.rsplit_once(':').ok_or(BastionError::NoPort)?;
        port.parse::<u16>().map_err(|_| BastionError::NoPort)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())?;
        let certificate = certificate(&*identity).map_err(|_| BastionError::Key)?;
        let key = CertifiedKey::new(vec![certificate], Arc::new(Key(identity)));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(root_store(roots)?)
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        // Each connection says anew whose it is.
        config.resumption = Resumption::disabled();
        Ok(Self {
            address: address.to_owned(),
            name,
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Keeps a connection, and has a handler answer what comes in over it, until `shutdown` is
    /// tripped. `told` hears when it is there and when it is gone.
    // Spec: GSP-148
    pub async fn keep<H: Handler>(
        self,
        handler: Arc<H>,
        limits: Limits,
        shutdown: Shutdown,
        metrics: HttpMetrics,
        told: impl Fn(bool) + Send,
    ) {
        let server = Reversed::new(limits, handler, shutdown.clone(), metrics);
        let mut failures = 0_u32;
        loop {
            let connected = tokio::select! {
                () = shutdown.wait() => return,
                connected = self.connect() => connected,
            };
            let begun = Instant::now();
            let cause = match connected {
                Ok((stream, peer)) => {
                    tracing::info!(bastion = self.address, "behind a bastion");
                    told(true);
                    server.drive(stream, peer).await;
                    told(false);
                    "it ends each connection soon".to_owned()
                }
                Err(cause) => {
                    tracing::debug!(bastion = self.address, %cause, "no connection");
                    cause.to_string()
                }
            };
            if shutdown.is_triggered() {
                return;
            }
            failures = if begun.elapsed() >= STEADY {
                1
            } else {
                failures.saturating_add(1)
            };
            if failures == FAILURES_TOLD {
                tracing::error!(bastion = self.address, %cause, "the bastion cannot be reached");
            }
            tokio::select! {
                () = shutdown.wait() => return,
                () = sleep(pause_after(failures).min(PAUSE_MAX)) => {}
            }
        }
    }

    async fn connect(&self) -> io::Result<(TlsStream<TcpStream>, SocketAddr)> {
        let connected = async {
            let stream = TcpStream::connect(&self.address).await?;
            stream.set_nodelay(true)?;
            let peer = stream.peer_addr()?;
            let stream = self.tls.connect(self.name.clone(), stream).await?;
            let (_, session) = stream.get_ref();
            if session.alpn_protocol() != Some(PROTOCOL) {
                return Err(io::Error::other("it is no bastion"));
            }
            Ok((stream, peer))
        };
        timeout(CONNECT_TIMEOUT, connected).await?
    }
}

impl fmt::Debug for Bastion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bastion")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Why a bastion cannot be used. The operator is at fault.
#[derive(Debug, thiserror::Error)]
pub enum BastionError {
    /// The address has no port.
    #[error("the address of a bastion ends in a colon and a port")]
    NoPort,
    /// It is neither a name nor an address.
    #[error("that is no name of a host: {0}")]
    Name(#[from] InvalidDnsNameError),
    /// The key does not sign.
    #[error("the key of the bastion does not sign")]
    Key,
    /// The roots cannot be used.
    #[error(transparent)]
    Roots(#[from] ClientSetupError),
    /// TLS refuses.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// What TLS signs with.
#[derive(Debug)]
struct Key(Arc<dyn Identity>);

impl rustls::sign::SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        let is_offered = offered.contains(&SignatureScheme::ED25519);
        is_offered.then(|| -> Box<dyn rustls::sign::Signer> { Box::new(Key(self.0.clone())) })
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl rustls::sign::Signer for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let signature = self.0.sign(message);
        signature.ok_or_else(|| rustls::Error::General("the key does not sign".to_owned()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// A certificate that says nothing but the key, and that the key signed (RFC 5280, RFC 8410). It
/// has no end: the bastion knows the key, and asks no certificate for how long.
// Spec: GSP-147
fn certificate(identity: &dyn Identity) -> Result<CertificateDer<'static>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, "bastion backend");
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = SelfSigned {
        public_key: identity.public_key(),
        identity,
    };
    Ok(params.self_signed(&key)?.into())
}

/// What a certificate is signed with.
struct SelfSigned<'a> {
    identity: &'a dyn Identity,
    public_key: [u8; 32],
}

impl PublicKeyData for SelfSigned<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.public_key
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl rcgen::SigningKey for SelfSigned<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self.identity.sign(message);
        signature.ok_or(rcgen::Error::RemoteKeyError)
    }
}

/// How a backend says what it wants.
const PROTOCOL: &[u8] = b"bastion/0";
/// Until requests can come.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that lasted so long was a good one.
const STEADY: Duration = Duration::from_secs(60);
/// Who is behind a bastion is reached by nobody meanwhile.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// After how many failures in a row, half a minute, that is told.
const FAILURES_TOLD: u32 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Broken;

    impl Identity for Broken {
        fn public_key(&self) -> [u8; 32] {
            [7; 32]
        }

        fn sign(&self, _: &[u8]) -> Option<Vec<u8>> {
            None
        }
    }

    // Spec: GSP-147
    #[test]
    fn addresses_have_a_port_and_keys_sign() {
        let refused = |address: &str| Bastion::new(address, Arc::new(Broken), None).unwrap_err();
        for address in ["bastion.example.com", "bastion.example.com:https", ":"] {
            assert!(
                matches!(refused(address), BastionError::NoPort),
                "{address}"
            );
        }
        assert!(matches!(refused(":443"), BastionError::Name(_)));
        let key = refused("bastion.example.com:443");
        assert!(matches!(key, BastionError::Key), "{key}");
    }
}
