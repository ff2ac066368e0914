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

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, SignatureAlgorithm, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::{ClientSetupError, root_store};
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
        let certificate = certificate(&*identity).ok_or(BastionError::Key)?;
        let certificate = CertificateDer::from(certificate);
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
                () = sleep(pause_after(failures)) => {}
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
fn certificate(identity: &dyn Identity) -> Option<Vec<u8>> {
    let ed25519 = der(SEQUENCE, &[&[OID, 3, 0x2b, 0x65, 0x70]]);
    let common_name = [OID, 3, 0x55, 0x04, 0x03];
    let name = der(SEQUENCE, &[&common_name, &der(UTF8, &[b"bastion backend"])]);
    let name = der(SEQUENCE, &[&der(SET, &[&name])]);
    let (first, last) = (
        der(UTC_TIME, &[b"700101000000Z"]),
        der(TIME, &[b"99991231235959Z"]),
    );
    let validity = der(SEQUENCE, &[&first, &last]);
    let key = der(BITS, &[&[0], &identity.public_key()]);
    let key = der(SEQUENCE, &[&ed25519, &key]);
    // Key usage, critical: digital signatures. Extended key usage: a client's.
    let (key_usage, extended) = ([OID, 3, 0x55, 0x1d, 0x0f], [OID, 3, 0x55, 0x1d, 0x25]);
    let client = [OID, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];
    let signs = der(OCTETS, &[&[BITS, 2, 7, 0x80]]);
    let signs = der(SEQUENCE, &[&key_usage, &[BOOLEAN, 1, 0xff], &signs]);
    let asks = der(OCTETS, &[&der(SEQUENCE, &[&client])]);
    let asks = der(SEQUENCE, &[&extended, &asks]);
    let uses = der(EXTENSIONS, &[&der(SEQUENCE, &[&signs, &asks])]);
    let (version, serial) = ([VERSION, 3, INTEGER, 1, 2], [INTEGER, 1, 1]);
    let signed = der(
        SEQUENCE,
        &[
            &version, &serial, &ed25519, &name, &validity, &name, &key, &uses,
        ],
    );
    let signature = der(BITS, &[&[0], &identity.sign(&signed)?]);
    Some(der(SEQUENCE, &[&signed, &ed25519, &signature]))
}

/// A value of DER, of parts that are shorter than 64 KiB together.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let [high, low] = length.to_be_bytes();
    let length: &[u8] = match length {
        0..0x80 => &[low],
        0x80..0x100 => &[0x81, low],
        _ => &[0x82, high, low],
    };
    [&[tag], length, &body].concat()
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const UTF8: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

fn pause_after(failures: u32) -> Duration {
    let doubled = PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(PAUSE_MAX)
}

/// How a backend says what it wants.
const PROTOCOL: &[u8] = b"bastion/0";
/// Until requests can come.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that lasted so long was a good one.
const STEADY: Duration = Duration::from_secs(60);
const PAUSE_MIN: Duration = Duration::from_millis(500);
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

    // Spec: GSP-148
    #[test]
    fn pauses_double_up_to_a_minute() {
        let pauses = [1, 2, 7, 8, u32::MAX].map(pause_after);
        let ms = [500, 1_000, 32_000, 60_000, 60_000];
        assert_eq!(pauses, ms.map(Duration::from_millis));
    }

    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        for (length, head) in [
            (0, &[OCTETS, 0][..]),
            (127, &[OCTETS, 127]),
            (128, &[OCTETS, 0x81, 128]),
            (256, &[OCTETS, 0x82, 1, 0]),
        ] {
            let value = der(OCTETS, &[&vec![0; length]]);
            assert!(value.starts_with(head) && value.len() == head.len() + length);
        }
    }
}
