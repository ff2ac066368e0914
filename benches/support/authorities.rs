//! Time-stamp authorities: what their clients send, and sigstore's, run as its README says.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use jurat_proto::tsp::imprint::{HashAlgorithm, MessageImprint};
use jurat_proto::tsp::request::{Nonce, TimestampRequest};
use jurat_proto::tsp::response::TimestampResponse;
use jurat_proto::tsp::signed_data::TimestampToken;

use super::peers::{quiet, until};
use super::process::cpu_time;

/// Where ours takes requests.
pub const OURS: &str = "/timestamp";
/// Where sigstore's does.
pub const SIGSTORE: &str = "/api/v1/timestamp";

/// The whole HTTP request for a token on a digest of its own, with a nonce and with the unit's
/// certificate. `more` is further fields of the head, each with its end of line.
pub fn request(path: &str, number: u64, more: &str) -> Vec<u8> {
    let body = body(number).to_bytes();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: bench.example\r\n\
         Content-Type: application/timestamp-query\r\n{more}Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut request = head.into_bytes();
    request.extend_from_slice(&body);
    request
}

/// The same without HTTP.
pub fn body(number: u64) -> TimestampRequest {
    // As long as the random ones of clients.
    let nonce = Nonce::from_number(&(number | 1 << 62).to_be_bytes()).unwrap();
    TimestampRequest::new(imprint(number), None, Some(nonce), true)
}

fn imprint(number: u64) -> MessageImprint {
    MessageImprint::of(HashAlgorithm::Sha256, &number.to_be_bytes())
}

/// The token of an answer to [`request`]: it is the one that was asked for.
pub fn token_of(answer: &[u8], number: u64) -> TimestampToken {
    let response = TimestampResponse::parse(answer).unwrap();
    let token = response.token().expect("granted").clone();
    assert!(token.tst_info().imprint.is_same(&imprint(number)));
    assert_eq!(token.tst_info().nonce.as_ref(), body(number).nonce());
    token
}

/// A running timestamp-authority of sigstore; killed when dropped.
pub struct Sigstore {
    server: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Sigstore {
    /// Its name and version.
    pub const NAME: &str = "sigstore/timestamp-authority v2.1.5";

    /// Starts the program with a key in its memory. The clocks of others cannot be asked here, and
    /// what it says of each request goes nowhere.
    pub fn start(program: &Path) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let server = quiet(
            Command::new(program)
                .args([
                    "serve",
                    "--timestamp-signer",
                    "memory",
                    "--log-type",
                    "prod",
                ])
                .args(["--disable-ntp-monitoring", "--host", "127.0.0.1", "--port"])
                .arg(address.port().to_string()),
        );
        until(|| TcpStream::connect(address).is_ok());
        Self { server, address }
    }

    /// Processor time so far.
    pub fn cpu_time(&self) -> Duration {
        cpu_time(&self.server.id().to_string())
    }
}

impl Drop for Sigstore {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
