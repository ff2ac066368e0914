//! An HTTP/1.1 client for a daemon's few peers: pooled, with a bound on every wait and every size.
//!
//! `https` is checked against the system's roots and the extra ones that the operator names;
//! `http` is allowed, for loopback and for messages that carry their own signatures. Redirects are
//! not followed: a peer is where its configuration says. Requests are never repeated, except by
//! the pool when an idle connection turns out closed before any byte was sent.

mod again;
mod road;

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig as TlsClientConfig, RootCertStore};
use tokio::time::timeout;

pub use self::again::{PAUSE_MAX, pause_after, retry_after};
use self::road::Road;
pub use self::road::{Dialled, Link};

/// The bounds of a client.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// From the call to the last byte of the response. Default 10 s.
    pub request_timeout: Duration,
    /// Name lookup and TCP handshake. Default 5 s.
    pub connect_timeout: Duration,
    /// The body of a response. Default 1 MiB.
    pub response_bytes_max: usize,
    /// Idle connections kept for each host. Default 4.
    pub idle_per_host_max: usize,
    /// How long they are kept. Default 30 s: less than our own listener keeps them.
    pub idle_timeout: Duration,
    /// PEM certificates that are roots besides the system's.
    pub extra_roots: Option<PathBuf>,
    /// What the client calls itself.
    pub user_agent: String,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            response_bytes_max: 1 << 20,
            idle_per_host_max: 4,
            idle_timeout: Duration::from_secs(30),
            extra_roots: None,
            user_agent: concat!("jurat/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// A client; its clones share one pool.
#[derive(Clone)]
pub struct Client {
    pool: Pool<HttpsConnector<Road>, Full<Bytes>>,
    options: Arc<ClientOptions>,
    user_agent: HeaderValue,
}

/// What to ask.
#[derive(Clone, Debug)]
pub struct ClientRequest {
    /// GET, POST, …
    pub method: Method,
    /// An absolute `http` or `https` URL.
    pub url: String,
    /// Fields; `Host` and the length are added.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Instead of the client's own limit.
    pub timeout: Option<Duration>,
    /// Instead of the client's own limit.
    pub response_bytes_max: Option<usize>,
}

impl ClientRequest {
    /// A request without body.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::GET, url, Bytes::new())
    }

    /// A request with a body.
    pub fn post(url: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self::new(Method::POST, url, body.into())
    }

    /// Any request.
    pub fn new(method: Method, url: impl Into<String>, body: Bytes) -> Self {
        Self {
            method,
            url: url.into(),
            headers: HeaderMap::new(),
            body,
            timeout: None,
            response_bytes_max: None,
        }
    }

    /// Adds a field.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Sets the time that this request has.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the size that this response may have.
    #[must_use]
    pub fn response_bytes_max(mut self, bytes_max: usize) -> Self {
        self.response_bytes_max = Some(bytes_max);
        self
    }
}

/// What came back: whole, whatever the status.
#[derive(Clone, Debug)]
pub struct ClientResponse {
    /// The status; an error status is no [`ClientError`].
    pub status: StatusCode,
    /// The fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Client {
    /// Sets up a client. Opens no connection.
    ///
    /// # Errors
    /// [`ClientSetupError`]: the extra roots or the name it goes by are not usable. That the system
    /// has no roots is not an error: then only the extra ones count.
    pub fn new(options: ClientOptions) -> Result<Self, ClientSetupError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(options.connect_timeout));
        Self::over(options, Road::System(tcp))
    }

    /// As [`Client::new`], over a network that a test made up.
    ///
    /// # Errors
    /// As for [`Client::new`].
    pub fn dialling(
        options: ClientOptions,
        dial: impl Fn(Uri) -> Dialled + Send + Sync + 'static,
    ) -> Result<Self, ClientSetupError> {
        let within = options.connect_timeout;
        let dial = Arc::new(dial);
        Self::over(options, Road::Made { dial, within })
    }

    fn over(options: ClientOptions, road: Road) -> Result<Self, ClientSetupError> {
        let user_agent =
            HeaderValue::from_str(&options.user_agent).map_err(|_| ClientSetupError::UserAgent)?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(options.extra_roots.as_deref())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(road);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(options.idle_timeout)
            .pool_max_idle_per_host(options.idle_per_host_max)
            .http1_max_buf_size(RESPONSE_HEAD_BYTES_MAX)
            .build(connector);
        Ok(Self {
            pool,
            options: Arc::new(options),
            user_agent,
        })
    }

    /// GET.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get(&self, url: &str) -> Result<ClientResponse, ClientError> {
        self.send(ClientRequest::get(url)).await
    }

    /// POST.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post(
        &self,
        url: &str,
        body: impl Into<Bytes>,
    ) -> Result<ClientResponse, ClientError> {
        self.send(ClientRequest::post(url, body)).await
    }

    /// Sends a request and reads its whole response.
    ///
    /// # Errors
    /// [`ClientError`]; each says whether the peer may have acted on the request.
    pub async fn send(&self, request: ClientRequest) -> Result<ClientResponse, ClientError> {
        let after = request.timeout.unwrap_or(self.options.request_timeout);
        let bytes_max = request
            .response_bytes_max
            .unwrap_or(self.options.response_bytes_max);
        let request = self.build(request)?;
        timeout(after, async {
            let response = self
                .pool
                .request(request)
                .await
                .map_err(ClientError::of_pool)?;
            let (parts, body) = response.into_parts();
            Ok(ClientResponse {
                status: parts.status,
                headers: parts.headers,
                body: read(body, bytes_max).await?,
            })
        })
        .await
        .unwrap_or(Err(ClientError::Timeout { after }))
    }

    fn build(&self, request: ClientRequest) -> Result<Request<Full<Bytes>>, ClientError> {
        let invalid = || ClientError::InvalidUrl {
            url: request.url.clone(),
        };
        let uri: Uri = request.url.parse().map_err(|_| invalid())?;
        if !matches!(uri.scheme_str(), Some("http" | "https"))
            || uri.host().is_none_or(str::is_empty)
        {
            return Err(invalid());
        }
        let mut built = Request::new(Full::new(request.body));
        *built.method_mut() = request.method;
        *built.uri_mut() = uri;
        *built.headers_mut() = request.headers;
        built
            .headers_mut()
            .entry(USER_AGENT)
            .or_insert_with(|| self.user_agent.clone());
        Ok(built)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// The head of a response, and what is read of its body at a time.
const RESPONSE_HEAD_BYTES_MAX: usize = 64 * 1024;

async fn read(mut body: Incoming, bytes_max: usize) -> Result<Bytes, ClientError> {
    let too_large = || ClientError::TooLarge { bytes_max };
    if usize::try_from(body.size_hint().lower()).map_or(true, |announced| announced > bytes_max) {
        return Err(too_large());
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|cause| ClientError::Broken {
            cause: Box::new(cause),
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if data.len() > bytes_max - whole.len() {
            return Err(too_large());
        }
        if whole.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// The system's roots, and those of a PEM file.
pub(crate) fn root_store(extra_roots: Option<&Path>) -> Result<RootCertStore, ClientSetupError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "some of the system's root certificates cannot be read");
    }
    roots.add_parsable_certificates(native.certs);
    if let Some(file) = extra_roots {
        let fault = |source| ClientSetupError::Roots {
            file: file.to_owned(),
            source,
        };
        let mut count = 0;
        for certificate in CertificateDer::pem_file_iter(file).map_err(fault)? {
            let added = roots.add(certificate.map_err(fault)?);
            added.map_err(|source| ClientSetupError::Root {
                file: file.to_owned(),
                source,
            })?;
            count += 1;
        }
        if count == 0 {
            let file = file.to_owned();
            return Err(ClientSetupError::NoRoot { file });
        }
    }
    Ok(roots)
}

fn tls_config(extra_roots: Option<&Path>) -> Result<TlsClientConfig, ClientSetupError> {
    let roots = root_store(extra_roots)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(TlsClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| ClientSetupError::Tls { source })?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Why a client cannot be set up. The operator's configuration is at fault.
#[derive(Debug, thiserror::Error)]
pub enum ClientSetupError {
    /// The file of extra roots cannot be read or is not PEM.
    #[error("extra roots {}: {source}", file.display())]
    Roots {
        /// The file.
        file: PathBuf,
        /// What the parser says.
        source: pem::Error,
    },
    /// A certificate in it cannot be a root.
    #[error("extra roots {}: {source}", file.display())]
    Root {
        /// The file.
        file: PathBuf,
        /// What the library says.
        source: rustls::Error,
    },
    /// The file of extra roots holds no certificate.
    #[error("extra roots {}: no certificate in it", file.display())]
    NoRoot {
        /// The file.
        file: PathBuf,
    },
    /// The library refuses its own defaults.
    #[error("TLS: {source}")]
    Tls {
        /// What the library says.
        source: rustls::Error,
    },
    /// The user agent is no field value.
    #[error("the user agent holds characters that a field may not")]
    UserAgent,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an absolute `http` or `https` URL. Ours or the operator's fault; nothing was sent.
    #[error("{url:?} is not an http or https URL")]
    InvalidUrl {
        /// The URL.
        url: String,
    },
    /// No connection: name, network or port. Nothing was sent.
    #[error("cannot connect: {cause}")]
    Connect {
        /// What the system says.
        cause: Box<dyn StdError + Send + Sync>,
    },
    /// The peer's certificate or its TLS is not acceptable. Nothing was sent.
    #[error("TLS: {cause}")]
    Tls {
        /// What the library says.
        cause: rustls::Error,
    },
    /// The time was over. The peer may have acted on the request.
    #[error("no response within {} ms", after.as_millis())]
    Timeout {
        /// The time it had.
        after: Duration,
    },
    /// The response is larger than allowed. The peer may have acted on the request.
    #[error("the response is larger than {bytes_max} bytes")]
    TooLarge {
        /// The limit that was passed.
        bytes_max: usize,
    },
    /// The connection broke or what came is not HTTP. The peer may have acted on the request.
    #[error("the connection broke or the response is malformed: {cause}")]
    Broken {
        /// What the parser says.
        cause: Box<dyn StdError + Send + Sync>,
    },
}

impl ClientError {
    /// Whether it is certain that the peer saw nothing of the request.
    pub fn nothing_sent(&self) -> bool {
        match self {
            Self::InvalidUrl { .. } | Self::Connect { .. } | Self::Tls { .. } => true,
            Self::Timeout { .. } | Self::TooLarge { .. } | Self::Broken { .. } => false,
        }
    }

    fn of_pool(error: hyper_util::client::legacy::Error) -> Self {
        let connecting = error.is_connect();
        if let Some(cause) = tls_cause(&error).filter(|_| connecting) {
            return Self::Tls { cause };
        }
        let cause = Box::new(Chain(error));
        if connecting {
            Self::Connect { cause }
        } else {
            Self::Broken { cause }
        }
    }
}

/// The TLS error somewhere below; `io::Error` hides what it wraps from `source`.
fn tls_cause(error: &(dyn StdError + 'static)) -> Option<rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls.clone());
        }
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// An error that says its causes too: the outermost message alone ("client error (Connect)")
/// tells an operator nothing.
#[derive(Debug)]
struct Chain<E>(E);

impl<E: StdError> fmt::Display for Chain<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}

impl<E: StdError> StdError for Chain<E> {}
