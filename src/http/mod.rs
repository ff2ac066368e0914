//! The service over HTTP: routes, statuses and headers. Nothing is decided here.
//!
//! Every route, its parameters and its answers stand in `openapi.json` beside this file, which is
//! also served; `docs/http.md` explains them.

mod evidence;
mod logs;
mod proofs;
mod respond;
pub mod status;
mod submissions;
mod tiles;
mod timestamps;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jurat_daemon::clock::ClockGuard;
use jurat_daemon::http::{
    self, Handler, HttpMetrics, Limits, Method, Request, Response, Route, TrustedProxies,
};
use jurat_proto::checkpoint::Origin;
use jurat_store::LogStore;
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, watch};

pub use self::evidence::Budget as EvidenceBudget;
pub use self::tiles::Bundles;
pub use self::timestamps::UpgradeRoom;
use crate::config::Config;
use crate::cosigners::{Standing, Status};
use crate::evidence::Docket;
use crate::evidence::pull::Pulls;
use crate::log::Published;
use crate::log::receipts::Receipts;
use crate::submit::Submit;
use crate::tsa::Authority;
use crate::tsa::rate::RateLimit;

/// Everything that the routes read and call.
pub struct App {
    /// The log's origin.
    pub origin: Origin,
    /// The log's and the cosigners' verifier keys, for the page.
    pub keys: Keys,
    /// Entries and tiles.
    pub store: Arc<dyn LogStore>,
    /// Bounds on entry bundles.
    pub bundles: Bundles,
    /// One walk through a log's history at a time: it may be long.
    pub walking: Arc<Semaphore>,
    /// The door for checkpoints.
    pub submit: Submit,
    /// The evidence in the log.
    pub docket: Arc<Docket>,
    /// How much of it may be brought.
    pub evidence_budget: EvidenceBudget,
    /// Who is asked for it.
    pub pulls: Arc<Pulls>,
    /// Receipts.
    pub receipts: Receipts,
    /// The time-stamp authority, if there is one.
    pub authority: Option<Arc<Authority>>,
    /// What one client may ask of it.
    pub timestamp_rate: Option<RateLimit>,
    /// Whose word on who a client is counts.
    pub proxies: TrustedProxies,
    /// Memory for tokens that wait for their receipts.
    pub upgrade_room: UpgradeRoom,
    /// The published checkpoint.
    pub published: watch::Receiver<Option<Published>>,
    /// Whether the service may sign.
    pub standing: watch::Receiver<Standing>,
    /// One row for each witness.
    pub witnesses: Arc<Status>,
    /// The time, while it can be believed.
    pub clock: Arc<ClockGuard>,
    /// When the published checkpoint is too old.
    pub stale_after: Duration,
    /// Body limits and times.
    pub limits: Limits,
    /// Metrics of the listener.
    pub http_metrics: HttpMetrics,
    /// All metrics.
    pub registry: Registry,
}

/// Verifier keys as text.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Of the log.
    pub log: Vec<String>,
    /// That cosign other logs' checkpoints.
    pub cosigners: Vec<String>,
}

impl App {
    /// The verifier keys of a configuration.
    pub fn key_lines(config: &Config) -> Keys {
        let lines = |keys: &[Arc<dyn jurat_proto::key::Signer>]| {
            keys.iter()
                .map(|key| key.verifier_key().to_string())
                .collect()
        };
        Keys {
            log: lines(&config.log_keys),
            cosigners: lines(&config.cosigner_keys),
        }
    }

    async fn route(&self, request: Request, peer: SocketAddr) -> Response {
        let path = request.uri().path().to_owned();
        let name = match route_name(&path) {
            // Some time-stamp clients know a host and no path.
            "page" if self.authority.is_some() && *request.method() == Method::POST => "timestamp",
            name => name,
        };
        let allowed: &[Method] = match name {
            "add-checkpoint" | "anchor" | "timestamp" | "timestamp-upgrade" => &[Method::POST],
            "page" if self.authority.is_some() => &[Method::GET, Method::POST],
            "evidence" if path == "/evidence" => &[Method::GET, Method::POST],
            _ => &[Method::GET],
        };
        let mut response = match http::only(request.method(), allowed) {
            _ if name == Route::OTHER.0 => http::not_found(),
            Some(refused) => refused,
            None => match name {
                "add-checkpoint" => submissions::add_checkpoint(self, request).await,
                "anchor" => submissions::anchor(self, request).await,
                "timestamp" => {
                    let with_json = path == SIGSTORE;
                    timestamps::stamp(self, request, peer, with_json).await
                }
                "evidence" if *request.method() == Method::POST => {
                    evidence::submit(self, request, peer).await
                }
                "timestamp-upgrade" => timestamps::upgrade(self, request, peer).await,
                "certchain" => timestamps::chain(self),
                _ => self.read(&path, &request).await,
            },
        };
        response.extensions_mut().insert(Route(name));
        response
    }

    async fn read(&self, path: &str, request: &Request) -> Response {
        match path {
            "/" => crate::web::page(self),
            "/checkpoint" => tiles::checkpoint(self, request),
            "/proof/inclusion" => proofs::inclusion(self, request),
            "/proof/consistency" => proofs::consistency(self, request),
            "/logs" => logs::list(self, request),
            "/evidence" => evidence::list(self, request),
            "/health" => status::health(self),
            "/metrics" => status::metrics(self),
            "/openapi.json" => status::openapi(request),
            _ => {
                if let Some(index) = path.strip_prefix("/receipt/") {
                    submissions::receipt(self, request, index).await
                } else if let Some(id) = path.strip_prefix("/evidence/") {
                    evidence::file(self, id).await
                } else if let Some(rest) = path.strip_prefix("/logs/") {
                    logs::one(self, request, rest).await
                } else if path.starts_with("/tile/") {
                    tiles::tile(self, request, path).await
                } else {
                    http::not_found()
                }
            }
        }
    }

    /// The published checkpoint, or the answer that there is none yet.
    fn published(&self) -> Result<Published, Refused> {
        self.published.borrow().clone().ok_or_else(|| {
            let why = "no tree head has a quorum of cosignatures yet; see /health\n";
            Refused::from(http::too_busy(why, 1))
        })
    }
}

/// A response that ends the handling of a request early; boxed, since it is the rare way out.
type Refused = Box<Response>;

impl Handler for App {
    async fn handle(&self, request: Request, peer: SocketAddr) -> Response {
        // Spec: SVC-81
        let client = self.proxies.client(peer.ip(), request.headers());
        let peer = SocketAddr::new(client, peer.port());
        self.route(request, peer).await
    }
}

/// Where sigstore's clients send their requests, also in JSON.
const SIGSTORE: &str = "/api/v1/timestamp";

/// The label of a path in metrics: a closed set.
fn route_name(path: &str) -> &'static str {
    match path {
        "/" => "page",
        "/add-checkpoint" => "add-checkpoint",
        "/anchor" => "anchor",
        "/timestamp" | "/tsa" | SIGSTORE => "timestamp",
        "/timestamp/upgrade" => "timestamp-upgrade",
        "/api/v1/timestamp/certchain" => "certchain",
        "/checkpoint" => "checkpoint",
        "/proof/inclusion" | "/proof/consistency" => "proof",
        "/logs" => "logs",
        "/evidence" => "evidence",
        "/health" => "health",
        "/metrics" => "metrics",
        "/openapi.json" => "openapi",
        _ if path.starts_with("/receipt/") => "receipt",
        _ if path.starts_with("/logs/") => "logs",
        _ if path.starts_with("/evidence/") => "evidence",
        _ if path.starts_with("/tile/entries/") => "bundle",
        _ if path.starts_with("/tile/") => "tile",
        _ => Route::OTHER.0,
    }
}

/// The one value of a query parameter, percent-decoded where it matters (`+` and `%2B`, `%2F`,
/// `%3D` of base64).
///
/// # Errors
/// A message when the parameter is there twice.
fn query(request: &Request, name: &str) -> Result<Option<String>, String> {
    let mut found = None;
    for pair in request.uri().query().unwrap_or_default().split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if key == name && found.replace(percent_decode(value)).is_some() {
            return Err(format!("the parameter {name} is given twice"));
        }
    }
    Ok(found)
}

/// Decodes `%XX`; anything that is not two hex digits stays as it is. `+` stays too: these are
/// base64 values, not form fields.
fn percent_decode(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .filter(|hex| hex.iter().all(u8::is_ascii_hexdigit))
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if let Some(byte) = escaped {
            bytes.push(byte);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_keep_plus_and_decode_escapes() {
        assert_eq!(percent_decode("a%2Fb%2b+c%3D"), "a/b++c=");
        assert_eq!(percent_decode("100%"), "100%");
        assert_eq!(percent_decode("%zz%4"), "%zz%4");
        assert_eq!(percent_decode("%+f"), "%+f");
    }

    #[test]
    fn every_path_has_a_label_of_a_closed_set() {
        assert_eq!(route_name("/tile/entries/000"), "bundle");
        assert_eq!(route_name("/tile/0/000"), "tile");
        assert_eq!(route_name("/../etc/passwd"), "other");
    }
}
