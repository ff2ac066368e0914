//! TLS of the listener, and the client against it and against peers that misbehave.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jurat_daemon::client::{Client, ClientError, ClientOptions, ClientRequest, ClientSetupError};
use jurat_daemon::http::{self, Limits, Refused, Request, Response, StatusCode, Tls, TlsError};
use jurat_daemon::telemetry;
use support::{PATIENCE, Server, patiently};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

const SHORT: Duration = Duration::from_millis(300);

struct Files {
    directory: TempDir,
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let files = Self {
            certificate: directory.path().join("certificate.pem"),
            key: directory.path().join("key.pem"),
            directory,
        };
        files.renew();
        files
    }

    fn renew(&self) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        fs::write(&self.certificate, made.cert.pem()).unwrap();
        fs::write(&self.key, made.signing_key.serialize_pem()).unwrap();
    }

    fn tls(&self) -> Tls {
        Tls::load(&self.certificate, &self.key).unwrap()
    }

    /// A client that trusts the certificate that the files hold now.
    fn client(&self) -> Client {
        Client::new(ClientOptions {
            extra_roots: Some(self.certificate.clone()),
            ..ClientOptions::default()
        })
        .unwrap()
    }
}

fn plain() -> Client {
    Client::new(ClientOptions::default()).unwrap()
}

async fn echo(request: Request, _peer: SocketAddr) -> Response {
    match request.into_body().read(1 << 20).await {
        Ok(body) => http::text(StatusCode::OK, body),
        Err(error) => error.response(),
    }
}

#[tokio::test]
async fn a_request_goes_over_tls_to_who_trusts_the_certificate_and_to_nobody_else() {
    let files = Files::new();
    let server = Server::start_tls(Limits::default(), Some(files.tls()), echo);
    let url = format!("https://{}/", server.address);
    let answer = files.client().post(&url, "over tls").await.unwrap();
    assert_eq!(
        (answer.status, &answer.body[..]),
        (StatusCode::OK, &b"over tls"[..])
    );
    let error = plain().get(&url).await.unwrap_err();
    assert!(matches!(error, ClientError::Tls { .. }), "{error:?}");
    assert!(error.nothing_sent());
    server.stop().await;
}

#[tokio::test]
async fn a_reload_shows_the_new_certificate_and_a_broken_one_changes_nothing() {
    let files = Files::new();
    let tls = files.tls();
    let server = Server::start_tls(Limits::default(), Some(tls.clone()), echo);
    let url = format!("https://{}/", server.address);
    files.renew();
    assert!(matches!(
        files.client().get(&url).await,
        Err(ClientError::Tls { .. })
    ));
    tls.reload().unwrap();
    assert!(files.client().get(&url).await.is_ok());
    let client = files.client();
    fs::write(&files.key, "no key").unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::Pem { .. })));
    assert!(client.get(&url).await.is_ok());
    server.stop().await;
}

#[tokio::test]
async fn a_handshake_that_stalls_or_is_none_is_closed_without_http() {
    let files = Files::new();
    let limits = Limits {
        header_timeout: SHORT,
        ..Limits::default()
    };
    let server = Server::start_tls(limits, Some(files.tls()), echo);
    let mut silent = server.connect().await;
    let mut plaintext = server.connect().await;
    let begun = Instant::now();
    plaintext.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut said = Vec::new();
    let _ = patiently(plaintext.stream.read_to_end(&mut said)).await;
    assert!(!said.starts_with(b"HTTP"), "{said:?}"); // Spec: HTTP-11
    assert!(silent.is_ended().await);
    assert!(begun.elapsed() >= SHORT);
    assert_eq!(server.metrics.refused_count(Refused::Tls), 2);
    server.stop().await;
}

#[test]
fn each_unusable_tls_file_has_its_own_error() {
    let files = Files::new();
    let other = Files::new();
    let absent = files.directory.path().join("absent.pem");
    let empty = files.directory.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let load = |certificate, key| Tls::load(certificate, key).unwrap_err();
    assert!(matches!(load(&absent, &files.key), TlsError::Read { file, .. } if file == absent));
    assert!(matches!(
        load(&empty, &files.key),
        TlsError::NoCertificate { .. }
    ));
    assert!(matches!(
        load(&files.certificate, &empty),
        TlsError::Pem { .. }
    ));
    assert!(matches!(
        load(&files.certificate, &other.key),
        TlsError::Refused { .. }
    ));
}

#[test]
fn unusable_extra_roots_are_errors_at_setup() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("roots.pem");
    let setup = || {
        Client::new(ClientOptions {
            extra_roots: Some(file.clone()),
            ..ClientOptions::default()
        })
        .map(drop)
        .unwrap_err()
    };
    assert!(matches!(setup(), ClientSetupError::Roots { .. }));
    fs::write(&file, "").unwrap();
    assert!(matches!(setup(), ClientSetupError::NoRoot { .. }));
}

#[tokio::test]
async fn requests_to_one_host_share_a_connection() {
    let server = Server::start(Limits::default(), echo);
    let client = plain();
    for _ in 0..5 {
        let answer = client.clone().post(&server.url("/"), "x").await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
    }
    let metrics = telemetry::encode(&server.registry);
    assert!(metrics.contains("http_connections_total 1\n"), "{metrics}");
    server.stop().await;
}

#[tokio::test]
async fn an_error_status_is_an_answer_and_redirects_are_not_followed() {
    let server = Server::start(Limits::default(), async |_request: Request, _peer| {
        let mut response = http::text(StatusCode::FOUND, "elsewhere\n");
        response
            .headers_mut()
            .insert(http::header::LOCATION, "/other".parse().unwrap());
        response
    });
    let answer = plain().get(&server.url("/")).await.unwrap();
    assert_eq!(answer.status, StatusCode::FOUND);
    assert_eq!(answer.headers["location"], "/other");
    server.stop().await;
}

#[tokio::test]
async fn a_response_over_the_limit_is_not_read() {
    let server = Server::start(Limits::default(), echo);
    let request =
        |limit| ClientRequest::post(server.url("/"), vec![b'x'; 1000]).response_bytes_max(limit);
    assert_eq!(plain().send(request(1000)).await.unwrap().body.len(), 1000);
    let error = plain().send(request(999)).await.unwrap_err();
    assert!(
        matches!(error, ClientError::TooLarge { bytes_max: 999 }),
        "{error:?}"
    );
    server.stop().await;
}

/// A server that says `words` once to its one peer, then keeps the connection open or ends it.
async fn says(words: &'static str, ends: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(words.as_bytes()).await;
        if !ends {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    url
}

#[tokio::test]
async fn a_chunked_response_over_the_limit_is_cut_off() {
    let url = says(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n5\r\nfghij\r\n",
        false,
    )
    .await;
    let request = ClientRequest::get(url).response_bytes_max(8);
    let error = patiently(plain().send(request)).await.unwrap_err();
    assert!(
        matches!(error, ClientError::TooLarge { bytes_max: 8 }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_peer_that_stalls_is_a_timeout_wherever_it_stalls() {
    for words in [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    ] {
        let request = ClientRequest::get(says(words, false).await).timeout(SHORT);
        let error = patiently(plain().send(request)).await.unwrap_err();
        assert!(
            matches!(error, ClientError::Timeout { after } if after == SHORT),
            "{error:?}"
        );
        assert!(!error.nothing_sent());
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_or_is_none_is_broken() {
    for words in [
        "",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    ] {
        let request = ClientRequest::get(says(words, true).await).timeout(PATIENCE);
        let error = patiently(plain().send(request)).await.unwrap_err();
        assert!(
            matches!(error, ClientError::Broken { .. }),
            "{words:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_closed_port_is_a_connect_error_that_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let error = plain().get(&url).await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(error.nothing_sent());
}

#[tokio::test]
async fn what_is_no_http_url_is_refused_before_anything_is_sent() {
    for url in [
        "",
        "/path",
        "x",
        "ftp://x/",
        "http://",
        "file:///etc/passwd",
        "http://a b/",
    ] {
        let error = plain().get(url).await.unwrap_err();
        assert!(
            matches!(error, ClientError::InvalidUrl { .. }),
            "{url:?}: {error:?}"
        );
    }
}
