//! A place behind a bastion: a small bastion in this process, over real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jurat_daemon::bastion::{Bastion, Identity};
use jurat_daemon::http::{self, Handler, HttpMetrics, Limits, Refused};
use jurat_daemon::shutdown::Shutdown;
use prometheus_client::registry::Registry;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

#[derive(Debug)]
struct Key(KeyPair);

impl Identity for Key {
    fn public_key(&self) -> [u8; 32] {
        self.0.der_bytes().try_into().unwrap()
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.0.sign(message).ok()
    }
}

/// Asks for a certificate, and believes whoever has its key.
#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ClientCertVerifier for Any {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 alone".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// A bastion of one backend at a time.
struct Place {
    listener: TcpListener,
    tls: TlsAcceptor,
    roots: tempfile::NamedTempFile,
}

impl Place {
    async fn new(protocols: &[&[u8]]) -> Self {
        let shown = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let roots = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(roots.path(), shown.cert.pem()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(shown.signing_key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(Any(provider)))
            .with_single_cert(vec![shown.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            tls: TlsAcceptor::from(Arc::new(config)),
            roots,
        }
    }

    /// The next backend.
    async fn stream(&self) -> TlsStream<TcpStream> {
        let (stream, _) = self.listener.accept().await.unwrap();
        self.tls.accept(stream).await.unwrap()
    }

    /// The next backend, and the certificate that it showed.
    async fn accept(&self) -> (SendRequest<Empty<Bytes>>, Vec<u8>, AbortHandle) {
        let stream = self.stream().await;
        let (_, session) = stream.get_ref();
        assert_eq!(session.alpn_protocol(), Some(&b"bastion/0"[..]));
        let certificate = session.peer_certificates().unwrap()[0].to_vec();
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        let connection = tokio::spawn(async move { drop(connection.await) });
        (sender, certificate, connection.abort_handle())
    }
}

/// Somebody behind a bastion.
struct Behind {
    key: Arc<Key>,
    shutdown: Shutdown,
    metrics: HttpMetrics,
    kept: JoinHandle<()>,
}

impl Behind {
    fn new(place: &Place, limits: Limits, handler: impl Handler) -> Self {
        Self::told(place, limits, handler, |_| {})
    }

    /// `told` hears of connections.
    fn told(
        place: &Place,
        limits: Limits,
        handler: impl Handler,
        told: impl Fn(bool) + Send + 'static,
    ) -> Self {
        let key = Arc::new(Key(KeyPair::generate_for(&PKCS_ED25519).unwrap()));
        let address = place.listener.local_addr().unwrap().to_string();
        let identity = Arc::<Key>::clone(&key);
        let bastion = Bastion::new(&address, identity, Some(place.roots.path())).unwrap();
        let (shutdown, handler) = (Shutdown::new(), Arc::new(handler));
        let metrics = HttpMetrics::register(&mut Registry::default());
        let (until, counted) = (shutdown.clone(), metrics.clone());
        let kept = tokio::spawn(bastion.keep(handler, limits, until, counted, told));
        Self {
            key,
            shutdown,
            metrics,
            kept,
        }
    }

    /// Ends it, in order.
    async fn end(self) {
        self.shutdown.trigger();
        let ended = timeout(Duration::from_secs(30), self.kept).await;
        ended.unwrap().unwrap();
    }
}

/// Answers everything with a few bytes.
async fn content(_: http::Request, _: SocketAddr) -> http::Response {
    http::text(StatusCode::OK, "content")
}

/// What a path gets, when the bastion names these clients.
async fn ask(
    sender: &mut SendRequest<Empty<Bytes>>,
    path: &str,
    clients: &[&str],
) -> (StatusCode, String) {
    let mut request = Request::get(format!("https://backend{path}"));
    for client in clients {
        request = request.header("X-Forwarded-For", *client);
    }
    let answer = sender.send_request(request.body(Empty::new()).unwrap());
    let answer = answer.await.unwrap();
    assert!(answer.headers().contains_key("x-content-type-options"));
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

// Spec: GSP-147, GSP-148, GSP-149
#[tokio::test]
async fn whoever_is_behind_a_bastion_is_known_by_its_key_and_answers_what_comes() {
    let place = Place::new(&[b"bastion/0"]).await;
    let (begun, goes_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let waits = (Arc::clone(&begun), Arc::clone(&goes_on));
    let handler = move |request: http::Request, peer: SocketAddr| {
        let (begun, goes_on) = waits.clone();
        async move {
            if request.uri().path() == "/slow" {
                begun.notify_one();
                goes_on.notified().await;
            }
            let text = format!("{} for {}", request.uri().path(), peer.ip());
            http::text(StatusCode::OK, text)
        }
    };
    let (tell, mut told) = mpsc::channel(8);
    let connected = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connected);
    let tell = move |is_connected: bool| {
        count.fetch_add(usize::from(is_connected), Ordering::SeqCst);
        tell.try_send(is_connected).unwrap();
    };
    let behind = Behind::told(&place, Limits::default(), handler, tell);
    let (mut sender, certificate, connection) = place.accept().await;
    // The handshake was signed by the key in the certificate, and that is the key.
    let public_key = behind.key.public_key();
    assert!(certificate.windows(32).any(|bytes| bytes == public_key));
    assert_eq!(told.recv().await, Some(true));
    let named = ask(&mut sender, "/a?b", &["192.0.2.7"]).await;
    assert_eq!(named, (StatusCode::OK, "/a for 192.0.2.7".to_owned()));
    // What is no client's address, or two of them, is the bastion's.
    for clients in [&[][..], &["192.0.2.7", "192.0.2.8"], &["nobody"]] {
        let (_, said) = ask(&mut sender, "/", clients).await;
        assert_eq!(said, "/ for 127.0.0.1", "{clients:?}");
    }
    // The connection ends, and is made again.
    connection.abort();
    drop(sender);
    let (sender, again, _connection) = place.accept().await;
    assert_eq!(again, certificate);
    assert_eq!(told.recv().await, Some(false));
    assert_eq!(told.recv().await, Some(true));
    // What was begun is answered before the end.
    let mut other = sender.clone();
    let slow = tokio::spawn(async move { ask(&mut other, "/slow", &["192.0.2.9"]).await });
    begun.notified().await;
    behind.shutdown.trigger();
    goes_on.notify_one();
    assert_eq!(slow.await.unwrap().1, "/slow for 192.0.2.9");
    drop(sender);
    behind.end().await;
    assert_eq!(connected.load(Ordering::SeqCst), 2);
}

// Spec: GSP-147
#[tokio::test]
async fn who_does_not_speak_the_protocol_is_no_bastion() {
    let place = Place::new(&[]).await;
    let nobody = |is_connected: bool| assert!(!is_connected);
    let behind = Behind::told(&place, Limits::default(), content, nobody);
    for _ in 0..2 {
        let stream = place.stream().await;
        let made = handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(stream));
        if let Ok((mut sender, connection)) = made.await {
            let connection = tokio::spawn(connection);
            let request = Request::get("https://backend/").body(Empty::new()).unwrap();
            assert!(sender.send_request(request).await.is_err());
            drop(connection.await);
        }
    }
    behind.end().await;
}

// Spec: GSP-147
#[tokio::test]
async fn a_bastion_under_other_roots_is_not_believed() {
    let (place, other) = (
        Place::new(&[b"bastion/0"]).await,
        Place::new(&[b"bastion/0"]).await,
    );
    std::fs::copy(other.roots.path(), place.roots.path()).unwrap();
    let nobody = |is_connected: bool| assert!(!is_connected);
    let behind = Behind::told(&place, Limits::default(), content, nobody);
    // It is refused each time, before it has seen whose certificate it asks for.
    for _ in 0..2 {
        let (stream, _) = place.listener.accept().await.unwrap();
        let refused = place.tls.accept(stream).await.map(|_| ()).unwrap_err();
        assert!(
            format!("{refused:?}").contains("AlertReceived"),
            "{refused:?}"
        );
    }
    behind.end().await;
}

// Spec: HTTP-19, GSP-149
#[tokio::test]
async fn head_over_a_bastion_has_no_content() {
    let place = Place::new(&[b"bastion/0"]).await;
    let behind = Behind::new(&place, Limits::default(), content);
    let (mut sender, _, _connection) = place.accept().await;
    let request = Request::head("https://backend/")
        .body(Empty::new())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.headers()["content-length"], "7");
    let body = answer.into_body().collect().await;
    let body = body.map(http_body_util::Collected::to_bytes);
    assert!(matches!(&body, Ok(bytes) if bytes.is_empty()), "{body:?}");
    drop(sender);
    behind.end().await;
}

// Spec: GSP-149
#[tokio::test]
async fn one_client_with_slow_bodies_keeps_nobody_else_out() {
    mod futures_never {
        use bytes::Bytes;
        use hyper::body::Frame;
        pub(super) struct Never;
        impl hyper::body::Body for Never {
            type Data = Bytes;
            type Error = std::convert::Infallible;
            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
                std::task::Poll::Pending
            }
        }
    }
    let place = Place::new(&[b"bastion/0"]).await;
    let handler = |request: http::Request, _: SocketAddr| async {
        match http::read_body(request, 1024, Duration::from_secs(600)).await {
            Ok(_) => http::text(StatusCode::OK, "read"),
            Err(error) => error.response(),
        }
    };
    let limits = Limits {
        body_timeout: Duration::from_secs(600),
        request_timeout: Duration::from_secs(600),
        ..Limits::default()
    };
    let behind = Behind::new(&place, limits, handler);
    let stream = place.stream().await;
    let (mut sender, connection) = handshake::<
        _,
        _,
        http_body_util::Either<futures_never::Never, Empty<Bytes>>,
    >(TokioExecutor::new(), TokioIo::new(stream))
    .await
    .unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let mut slow = Vec::new();
    let post = |client: &str| Request::post("https://backend/").header("X-Forwarded-For", client);
    for _ in 0..64 {
        let body = http_body_util::Either::Left(futures_never::Never);
        let asked = sender.send_request(post("192.0.2.7").body(body).unwrap());
        slow.push(tokio::spawn(asked));
    }
    let body = http_body_util::Either::Right(Empty::new());
    let honest = sender.send_request(post("192.0.2.8").body(body).unwrap());
    let honest = timeout(Duration::from_secs(5), honest).await;
    assert_eq!(honest.unwrap().unwrap().status(), StatusCode::OK);
    drop((slow, behind));
}

// Spec: GSP-148
#[tokio::test]
async fn requests_that_are_taken_back_cost_nobody_else_the_connection() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let place = Place::new(&[b"bastion/0"]).await;
    let behind = Behind::new(&place, Limits::default(), content);
    let mut stream = place.stream().await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    let head = [0x82, 0x87, 0x84, 0x41, 1, b'b'];
    for number in 0..31_u32 {
        let id = (2 * number + 1).to_be_bytes();
        bytes.extend([0, 0, 6, 1, 5]);
        bytes.extend(id);
        bytes.extend(head);
        if number < 30 {
            bytes.extend([0, 0, 4, 3, 0]);
            bytes.extend(id);
            bytes.extend([0, 0, 0, 8]);
        }
    }
    stream.write_all(&bytes).await.unwrap();
    loop {
        let mut frame = [0; 9];
        stream.read_exact(&mut frame).await.unwrap();
        let length = usize::from(frame[1]) << 8 | usize::from(frame[2]);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let (kind, id) = (frame[3], frame[8]);
        assert_ne!(kind, 7, "going away: {body:?}");
        if (kind, id) == (1, 61) {
            break;
        }
    }
    drop(behind);
}

// Spec: GSP-190
#[tokio::test]
async fn who_takes_nothing_of_an_answer_loses_its_stream_and_nobody_the_connection() {
    let place = Place::new(&[b"bastion/0"]).await;
    let handler = |request: http::Request, _: SocketAddr| async move {
        let length = if request.uri().path() == "/large" {
            4 << 20
        } else {
            7
        };
        http::text(StatusCode::OK, "x".repeat(length))
    };
    let limits = Limits {
        write_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let behind = Behind::new(&place, limits, handler);
    let stream = TokioIo::new(place.stream().await);
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(16 << 20)
        .handshake::<_, Empty<Bytes>>(stream)
        .await
        .unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let get = |path: &str| {
        let request = Request::get(format!("https://backend{path}"));
        let request = request.header("X-Forwarded-For", "192.0.2.7");
        request.body(Empty::new()).unwrap()
    };
    // As many as one client may have at a time, and none of them is read.
    let mut unread: Vec<hyper::Response<Incoming>> = Vec::new();
    for _ in 0..16 {
        unread.push(sender.send_request(get("/large")).await.unwrap());
    }
    let busy = sender.send_request(get("/")).await.unwrap();
    assert_eq!(busy.status(), StatusCode::SERVICE_UNAVAILABLE);
    let reset = async {
        while behind.metrics.refused_count(Refused::WriteTimeout) < 16 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), reset).await.unwrap();
    for answer in unread {
        assert!(answer.into_body().collect().await.is_err());
    }
    let answer = sender.send_request(get("/")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    // Who does read gets all of it.
    let large = sender.send_request(get("/large")).await.unwrap();
    let large = large.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(large.len(), 4 << 20);
    drop(sender);
    behind.end().await;
}
