//! An HTTP/1.1 listener that is safe to show to strangers.
//!
//! hyper parses and frames; everything that it leaves to its user is here, once, for every daemon:
//!
//! ```text
//! accept ─► connections_max? ─► TLS ─► head (header_timeout, header_bytes_max, 100 fields)
//!            503, close                 408, 431, 400
//!   ─► Host? requests_in_flight_max? Content-Length? ─► handler (request_timeout, panics)
//!      400   503 + Retry-After       413                503        500
//!            body (body_timeout, body_bytes_max) ─► response (write_timeout, then a rate)
//!            408, 413                               reset
//!   ─► next request within keep_alive_idle, else closed
//! ```
//!
//! Each wait ends in bounded time, whatever the peer does. A connection that we end while its peer
//! may still be sending is closed in two steps (FIN, then a bounded read to the end), so that the
//! answer is not lost in a reset. Rules: `spec/http.md`.
//!
//! Out of scope: routes and their meaning (the [`Handler`]), HTTP/2 (a proxy in front speaks it,
//! and a bastion: [`crate::bastion`]), limits per client address (the same proxy, or the packet
//! filter, knows the true address).

mod body;
mod connection;
mod metrics;
mod negotiate;
mod proxies;
mod respond;
mod serve;
mod streams;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use serde::Deserialize;

pub use self::body::{Body, BodyError, read_body};
pub use self::metrics::{HttpMetrics, Refused, Route};
pub use self::negotiate::{accepts_gzip, accepts_json, if_none_match};
pub use self::proxies::{ForwardedField, Network, NoNetwork, TrustedProxies};
pub use self::respond::{
    Cache, conditional, error, gzipped, json, method_not_allowed, not_found, only, retry_later,
    text, too_busy, with_cache,
};
pub(crate) use self::serve::Reversed;
pub use self::serve::{Listener, bind, serve};
pub use self::tls::{Tls, TlsError};
pub use hyper::{HeaderMap, Method, StatusCode, Uri, header};

use crate::config::Problems;

/// A request whose body has not been read.
pub type Request = hyper::Request<Body>;

/// A whole response; bodies are built before the first byte leaves.
pub type Response = hyper::Response<Full<Bytes>>;

/// What a daemon does with a request.
pub trait Handler: Send + Sync + 'static {
    /// Answers a request of `peer` (the other end of the socket, which may be a proxy).
    ///
    /// The future is dropped at any await when the request's time is over or the peer hangs up:
    /// work that must not be cut in half belongs in a [`crate::batch::Batcher`] or a task.
    /// A response says its route for the metrics by a [`Route`] in its extensions.
    fn handle(&self, request: Request, peer: SocketAddr) -> impl Future<Output = Response> + Send;
}

impl<F, R> Handler for F
where
    F: Fn(Request, SocketAddr) -> R + Send + Sync + 'static,
    R: Future<Output = Response> + Send,
{
    fn handle(&self, request: Request, peer: SocketAddr) -> impl Future<Output = Response> + Send {
        self(request, peer)
    }
}

/// The bounds of a listener. In a configuration file each duration is in milliseconds, under its
/// name with `_ms`; what is left out has its default.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "RawLimits")]
pub struct Limits {
    /// From the first byte of a request head (or the start of a TLS handshake) to its end.
    /// Default 10 s.
    pub header_timeout: Duration,
    /// From the end of the head to the end of the body. Default 15 s.
    pub body_timeout: Duration,
    /// From the end of the head to the response, body included. Default 30 s; a handler that waits
    /// on purpose must answer before it.
    pub request_timeout: Duration,
    /// For the peer to take anything more of a response; in all it may take a second for each
    /// 16 KiB besides. Default 15 s.
    pub write_timeout: Duration,
    /// Between two requests of a connection, and before the first. Default 60 s.
    pub keep_alive_idle: Duration,
    /// Open connections. Default 8192; more than the descriptors allow fails at accept.
    pub connections_max: usize,
    /// Requests that a handler works on at a time. Default 4096.
    pub requests_in_flight_max: usize,
    /// The body of any request; a handler may allow less. Default 288 KiB, the largest that
    /// anybody sends: evidence.
    pub body_bytes_max: usize,
    /// The head of a request. Default 16 KiB, at least 8 KiB.
    pub header_bytes_max: usize,
    /// How long a shutdown waits for requests in flight. Default 10 s.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        RawLimits::default().into()
    }
}

impl Limits {
    /// Adds what is wrong with these limits to the problems of a configuration; `key` is the path
    /// of the table.
    pub fn check(&self, key: &str, problems: &mut Problems) {
        for (name, duration) in [
            ("header_timeout_ms", self.header_timeout),
            ("body_timeout_ms", self.body_timeout),
            ("request_timeout_ms", self.request_timeout),
            ("write_timeout_ms", self.write_timeout),
            ("keep_alive_idle_ms", self.keep_alive_idle),
            ("drain_timeout_ms", self.drain_timeout),
        ] {
            problems.check(
                (DURATION_MIN..=DURATION_MAX).contains(&duration),
                &format!("{key}.{name}"),
                format!("{} ms", duration.as_millis()),
                "10 ms to 1 h",
            );
        }
        problems.check(
            self.body_timeout <= self.request_timeout,
            &format!("{key}.body_timeout_ms"),
            "longer than request_timeout_ms, which ends the body too",
            "at most request_timeout_ms",
        );
        for (name, value, range) in [
            ("connections_max", self.connections_max, 1..=1_000_000),
            (
                "requests_in_flight_max",
                self.requests_in_flight_max,
                1..=1_000_000,
            ),
            ("body_bytes_max", self.body_bytes_max, 0..=1 << 30),
            (
                "header_bytes_max",
                self.header_bytes_max,
                HEADER_BYTES_MIN..=1 << 20,
            ),
        ] {
            problems.check(
                range.contains(&value),
                &format!("{key}.{name}"),
                value,
                &format!("{} to {}", range.start(), range.end()),
            );
        }
    }
}

const DURATION_MIN: Duration = Duration::from_millis(10);
const DURATION_MAX: Duration = Duration::from_secs(3600);

/// hyper's smallest read buffer.
const HEADER_BYTES_MIN: usize = 8192;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLimits {
    header_timeout_ms: u64,
    body_timeout_ms: u64,
    request_timeout_ms: u64,
    write_timeout_ms: u64,
    keep_alive_idle_ms: u64,
    connections_max: usize,
    requests_in_flight_max: usize,
    body_bytes_max: usize,
    header_bytes_max: usize,
    drain_timeout_ms: u64,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            header_timeout_ms: 10_000,
            body_timeout_ms: 15_000,
            request_timeout_ms: 30_000,
            write_timeout_ms: 15_000,
            keep_alive_idle_ms: 60_000,
            connections_max: 8192,
            requests_in_flight_max: 4096,
            body_bytes_max: 288 * 1024,
            header_bytes_max: 16 * 1024,
            drain_timeout_ms: 10_000,
        }
    }
}

impl From<RawLimits> for Limits {
    fn from(raw: RawLimits) -> Self {
        Self {
            header_timeout: Duration::from_millis(raw.header_timeout_ms),
            body_timeout: Duration::from_millis(raw.body_timeout_ms),
            request_timeout: Duration::from_millis(raw.request_timeout_ms),
            write_timeout: Duration::from_millis(raw.write_timeout_ms),
            keep_alive_idle: Duration::from_millis(raw.keep_alive_idle_ms),
            connections_max: raw.connections_max,
            requests_in_flight_max: raw.requests_in_flight_max,
            body_bytes_max: raw.body_bytes_max,
            header_bytes_max: raw.header_bytes_max,
            drain_timeout: Duration::from_millis(raw.drain_timeout_ms),
        }
    }
}
