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
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jurat_daemon::bastion::{Bastion, Identity};
use jurat_daemon::http::{self, HttpMetrics, Limits};
use jurat_daemon::shutdown::Shutdown;
use prometheus_client::registry::Registry;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

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

    fn backend(&self, key: &Arc<Key>) -> Bastion {
        let address = self.listener.local_addr().unwrap().to_string();
        Bastion::new(&address, Arc::<Key>::clone(key), Some(self.roots.path())).unwrap()
    }

    /// The next backend, and the certificate that it showed.
    async fn accept(&self) -> (SendRequest<Empty<Bytes>>, Vec<u8>, tokio::task::AbortHandle) {
        let (stream, _) = self.listener.accept().await.unwrap();
        let stream = self.tls.accept(stream).await.unwrap();
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
    let key = Arc::new(Key(KeyPair::generate_for(&PKCS_ED25519).unwrap()));
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
    let shutdown = Shutdown::new();
    let metrics = HttpMetrics::register(&mut Registry::default());
    let (tell, mut told) = mpsc::channel(8);
    let connected = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connected);
    let kept = tokio::spawn(place.backend(&key).keep(
        Arc::new(handler),
        Limits::default(),
        shutdown.clone(),
        metrics,
        move |is_connected| {
            count.fetch_add(usize::from(is_connected), Ordering::SeqCst);
            tell.try_send(is_connected).unwrap();
        },
    ));
    let (mut sender, certificate, connection) = place.accept().await;
    // The handshake was signed by the key in the certificate, and that is the key.
    let public_key = key.public_key();
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
    shutdown.trigger();
    goes_on.notify_one();
    assert_eq!(slow.await.unwrap().1, "/slow for 192.0.2.9");
    drop(sender);
    timeout(Duration::from_secs(30), kept)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(connected.load(Ordering::SeqCst), 2);
}

// Spec: GSP-147
#[tokio::test]
async fn who_does_not_speak_the_protocol_is_no_bastion() {
    let place = Place::new(&[]).await;
    let key = Arc::new(Key(KeyPair::generate_for(&PKCS_ED25519).unwrap()));
    let shutdown = Shutdown::new();
    let handler = |_: http::Request, _: SocketAddr| async {
        http::text(StatusCode::OK, "nobody is to see this")
    };
    let metrics = HttpMetrics::register(&mut Registry::default());
    let kept = tokio::spawn(place.backend(&key).keep(
        Arc::new(handler),
        Limits::default(),
        shutdown.clone(),
        metrics,
        |is_connected| assert!(!is_connected),
    ));
    for _ in 0..2 {
        let (stream, _) = place.listener.accept().await.unwrap();
        let stream = place.tls.accept(stream).await.unwrap();
        let made = handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(stream));
        if let Ok((mut sender, connection)) = made.await {
            let connection = tokio::spawn(connection);
            let request = Request::get("https://backend/").body(Empty::new()).unwrap();
            assert!(sender.send_request(request).await.is_err());
            drop(connection.await);
        }
    }
    shutdown.trigger();
    timeout(Duration::from_secs(30), kept)
        .await
        .unwrap()
        .unwrap();
}

// Spec: HTTP-19, GSP-149
#[tokio::test]
async fn head_over_a_bastion_has_no_content() {
    let place = Place::new(&[b"bastion/0"]).await;
    let key = Arc::new(Key(KeyPair::generate_for(&PKCS_ED25519).unwrap()));
    let shutdown = Shutdown::new();
    let handler = |_: http::Request, _: SocketAddr| async { http::text(StatusCode::OK, "content") };
    let metrics = HttpMetrics::register(&mut Registry::default());
    let kept = tokio::spawn(place.backend(&key).keep(
        Arc::new(handler),
        Limits::default(),
        shutdown.clone(),
        metrics,
        |_| {},
    ));
    let (mut sender, _, _connection) = place.accept().await;
    let request = Request::head("https://backend/")
        .body(Empty::new())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.headers()["content-length"], "7");
    let body = answer.into_body().collect().await;
    let body = body.map(http_body_util::Collected::to_bytes);
    assert!(matches!(&body, Ok(bytes) if bytes.is_empty()), "{body:?}");
    shutdown.trigger();
    drop(sender);
    timeout(Duration::from_secs(30), kept)
        .await
        .unwrap()
        .unwrap();
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
    let key = Arc::new(Key(KeyPair::generate_for(&PKCS_ED25519).unwrap()));
    let shutdown = Shutdown::new();
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
    let metrics = HttpMetrics::register(&mut Registry::default());
    let kept = tokio::spawn(place.backend(&key).keep(
        Arc::new(handler),
        limits,
        shutdown.clone(),
        metrics,
        |_| {},
    ));
    let (stream, _) = place.listener.accept().await.unwrap();
    let stream = place.tls.accept(stream).await.unwrap();
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
    drop((slow, kept));
    shutdown.trigger();
}

// Spec: GSP-148
#[tokio::test]
async fn requests_that_are_taken_back_cost_nobody_else_the_connection() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let place = Place::new(&[b"bastion/0"]).await;
    let key = Arc::new(Key(KeyPair::generate_for(&PKCS_ED25519).unwrap()));
    let shutdown = Shutdown::new();
    let handler = |_: http::Request, _: SocketAddr| async { http::text(StatusCode::OK, "content") };
    let metrics = HttpMetrics::register(&mut Registry::default());
    let kept = tokio::spawn(place.backend(&key).keep(
        Arc::new(handler),
        Limits::default(),
        shutdown.clone(),
        metrics,
        |_| {},
    ));
    let (stream, _) = place.listener.accept().await.unwrap();
    let mut stream = place.tls.accept(stream).await.unwrap();
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
    drop(kept);
    shutdown.trigger();
}
