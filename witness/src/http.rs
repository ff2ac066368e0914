//! The witness over HTTP: routes, statuses, bodies. No decisions here.
//!
//! ```text
//! POST /add-checkpoint              200 lines · 400 403 404 409 413 422 429 · 500 503
//! POST /sign-subtree                200 lines · 400 403 404 413 422 · 500 503
//! GET  /<origin hash>/checkpoint    200 note · 404
//! GET  /health                      200 · 503
//! GET  /metrics                     200, OpenMetrics text
//! …    /gossip/v0/…                see `http/gossip.rs`
//! GET  /?page=N&q=TEXT              200, who this is, for people · 400 404 503
//! ```
//!
//! Errors are one line of text that says what is wrong. What concerns the operator goes to the log
//! and not to the client.
//!
//! Out of scope: limits, time-outs, TLS ([`jurat_daemon::http`]).
//!
//! Rows: `spec/witness.md` WIT-09, WIT-16, WIT-21, WIT-41, WIT-42, WIT-49, WIT-51, WIT-53, WIT-55,
//! WIT-95, WIT-97, WIT-98, WIT-99, WIT-111, WIT-114.

mod gossip;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jurat_daemon::http::{
    self, BodyError, Cache, Handler, Method, Request, Response, Route, StatusCode, header,
};
use jurat_daemon::telemetry;
use jurat_proto::add_checkpoint::{BODY_BYTES_MAX, CONFLICT_CONTENT_TYPE, conflict_body};
use jurat_proto::cosignature_lines::CosignatureLines;
use jurat_proto::hash::Hash;
use jurat_proto::hex;
use jurat_proto::key::VerifierKey;
use jurat_proto::tree::TreeSize;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;

use crate::about::{self, About};
use crate::cosign::{AddError, CheckpointError, ClockFault, SubtreeError, Witness};
use crate::evidence::Convicted;
use crate::heads::ReadError;
use crate::page::{self, PageError, Query};
use crate::quota::Client;
use crate::restore::{self, Held};

/// Answers the requests of one listener.
#[derive(Debug)]
pub struct Api {
    witness: Arc<Witness>,
    registry: Arc<Registry>,
    body_timeout: Duration,
    client_address_header: Option<header::HeaderName>,
    about: Arc<About>,
    /// A place for each page that is being made.
    pages: Arc<Semaphore>,
    gossip: Arc<gossip::Budgets>,
    is_public: bool,
}

impl Api {
    /// An API over a witness. `registry` is what `/metrics` shows.
    pub fn new(witness: Arc<Witness>, registry: Arc<Registry>, body_timeout: Duration) -> Self {
        Self {
            witness,
            registry,
            body_timeout,
            client_address_header: None,
            about: Arc::default(),
            pages: Arc::new(Semaphore::new(PAGES_MAX)),
            gossip: Arc::default(),
            is_public: false,
        }
    }

    /// The same for a place where no proxy keeps back what is for the operator. What strangers may
    /// ask for is one budget, whichever way they come.
    // Spec: GSP-92, GSP-149
    #[must_use]
    pub fn behind_bastion(&self) -> Self {
        Self {
            witness: Arc::clone(&self.witness),
            registry: Arc::default(),
            body_timeout: self.body_timeout,
            client_address_header: None,
            about: Arc::clone(&self.about),
            pages: Arc::clone(&self.pages),
            gossip: Arc::clone(&self.gossip),
            is_public: true,
        }
    }

    /// What the witness says of itself.
    #[must_use]
    pub fn with_about(mut self, about: About) -> Self {
        self.about = Arc::new(about);
        self
    }

    /// A proxy in front says in this header who the client is; it must not let the client say it.
    #[must_use]
    pub fn with_client_address_header(mut self, header: Option<header::HeaderName>) -> Self {
        self.client_address_header = header;
        self
    }

    /// Who pays for a request that brings nothing; nobody when it cannot be told.
    // Spec: WIT-67
    fn client(&self, request: &Request, peer: SocketAddr) -> Option<Client> {
        let Some(name) = &self.client_address_header else {
            return Client::of_peer(peer.ip());
        };
        // What the proxy itself added stands last.
        let value = request.headers().get_all(name).iter().next_back()?;
        let last = value.to_str().ok()?.rsplit(',').next()?;
        last.trim().parse().ok().map(Client::at)
    }

    async fn route(&self, request: Request, peer: SocketAddr) -> (Route, Response) {
        let path = request.uri().path();
        match path {
            "/add-checkpoint" => (
                Route("add-checkpoint"),
                self.add_checkpoint(request, peer).await,
            ),
            "/sign-subtree" => (Route("sign-subtree"), self.sign_subtree(request).await),
            // Spec: WIT-95
            about::PATH => (Route("about"), self.get(&request, Self::document)),
            "/health" if !self.is_public => (Route("health"), self.get(&request, Self::health)),
            "/metrics" if !self.is_public => (Route("metrics"), self.get(&request, Self::metrics)),
            path if path.starts_with(gossip::PREFIX) => match self.witness.gossip() {
                Some(_) if gossip::is_of_the_state(path) && self.is_copy() => gossip::not_now(),
                Some(with) => {
                    let (budgets, timeout) = (&self.gossip, self.body_timeout);
                    let client = self.client(&request, peer);
                    gossip::answer(with, budgets, request, client, timeout).await
                }
                None => (Route::OTHER, http::not_found()),
            },
            "/" => (Route("index"), self.index(&request).await),
            _ => match origin_hash(path) {
                // Spec: WIT-51
                Some(hash) => {
                    let refused = http::only(request.method(), &[Method::GET]);
                    let response = match refused {
                        Some(refused) => refused,
                        None => self.checkpoint(&hash).await,
                    };
                    (Route("checkpoint"), response)
                }
                None => (Route::OTHER, http::not_found()),
            },
        }
    }

    fn get(&self, request: &Request, answer: impl FnOnce(&Self) -> Response) -> Response {
        http::only(request.method(), &[Method::GET]).unwrap_or_else(|| answer(self))
    }

    async fn add_checkpoint(&self, request: Request, peer: SocketAddr) -> Response {
        let client = self.client(&request, peer);
        // Spec: WIT-41
        match self.post(request).await {
            Err(response) => response,
            Ok(body) => match self.witness.add_checkpoint_from(body, client).await {
                Ok(lines) => cosigned(&lines),
                Err(error) => add_refused(&error),
            },
        }
    }

    async fn sign_subtree(&self, request: Request) -> Response {
        // Spec: WIT-49
        match self.post(request).await {
            Err(response) => response,
            Ok(body) => match self.witness.sign_subtree(body).await {
                Ok(lines) => cosigned(&lines),
                Err(error) => subtree_refused(&error),
            },
        }
    }

    async fn post(&self, request: Request) -> Result<Bytes, Response> {
        if let Some(refused) = http::only(request.method(), &[Method::POST]) {
            return Err(refused);
        }
        // Spec: WIT-09
        http::read_body(request, BODY_BYTES_MAX, self.body_timeout)
            .await
            .map_err(|error: BodyError| error.response())
    }

    async fn checkpoint(&self, origin_hash: &Hash) -> Response {
        match self.witness.checkpoint(origin_hash).await {
            Ok(Some(note)) => {
                let response = http::text(StatusCode::OK, note);
                http::with_cache(response, Cache::Seconds(CHECKPOINT_CACHE_SECONDS))
            }
            // Spec: WIT-53
            Ok(None) => http::error(
                StatusCode::NOT_FOUND,
                "this witness never cosigned that log\n",
            ),
            Err(error @ (CheckpointError::Busy | CheckpointError::NotYet)) => {
                http::too_busy(format!("{error}\n"), RETRY_SECONDS)
            }
            Err(CheckpointError::Read(ReadError::Damaged { .. })) => damaged(),
            Err(error) => ours(&error),
        }
    }

    fn document(&self) -> Response {
        let keys = self.witness.keys();
        let Some(name) = keys.first().map(VerifierKey::name) else {
            return http::not_found();
        };
        let gossip = self.witness.gossip().map(|gossip| gossip.vkey());
        let response = http::json(StatusCode::OK, &self.about.document(name, keys, gossip));
        http::with_cache(response, Cache::Seconds(ABOUT_CACHE_SECONDS))
    }

    // Spec: WIT-99, WIT-114
    fn health(&self) -> Response {
        let mut faults: Vec<String> = self.clock_fault().into_iter().collect();
        let (bad, told) = self.witness.heads().faults(FAULTS_TOLD);
        let more = bad.saturating_sub(u64::try_from(told.len()).unwrap_or(u64::MAX));
        faults.extend(told.iter().map(ToString::to_string));
        if more > 0 {
            faults.push(format!(
                "{more} more stored heads are not as they should be"
            ));
        }
        // Spec: WIT-83
        let (holds, told) = self.witness.holds().not_durable(FAULTS_TOLD);
        let more = holds.saturating_sub(told.len());
        faults.extend(told);
        if more > 0 {
            faults.push(format!("{more} more holds cannot be written"));
        }
        faults.extend(self.state_faults());
        faults.extend(self.own_fault());
        faults.extend(self.isolated());
        let alarms = [self.name_alarm(), self.alarms()].concat().concat();
        if faults.is_empty() {
            let text = format!("ok\n{alarms}");
            return http::with_cache(http::text(StatusCode::OK, text), Cache::No);
        }
        let text = faults.join("\n") + "\n" + &alarms;
        http::error(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    /// What somebody has to look at while the witness does its work, a line each.
    // Spec: WIT-122, WIT-123, WIT-126, WIT-129
    fn alarms(&self) -> Vec<String> {
        let Some(evidence) = self.witness.evidence() else {
            return Vec::new();
        };
        let counts = evidence.counts();
        let (convicted, told) = evidence.convicted_logs(FAULTS_TOLD);
        let lines = [
            ("evidence kept", counts.kept),
            ("evidence that cannot be written", counts.unwritten),
            ("evidence set aside", counts.aside),
            ("logs convicted", convicted),
        ];
        let lines = lines.into_iter().filter(|(_, count)| *count > 0);
        let lines = lines.map(|(what, count)| format!("{what}: {count}\n"));
        let told = told.into_iter().map(|(origin, id)| {
            let id = hex::encode(id.as_bytes());
            format!("convicted: {origin}, evidence {id}\n")
        });
        let gossip = self.witness.gossip();
        let raised = gossip.map(|gossip| gossip.alarms(FAULTS_TOLD));
        let raised = raised.into_iter().flatten();
        let raised = raised.map(|alarm| format!("alarm: {alarm}\n"));
        lines.chain(told).chain(raised).collect()
    }

    /// That we may not sign at all.
    // Spec: WIT-131
    fn own_fault(&self) -> Option<String> {
        let id = self.witness.evidence()?.convicts_us()?;
        Some(Convicted::Ours(id).to_string())
    }

    /// That we sign nothing, since no peer is heard.
    // Spec: GSP-213
    fn isolated(&self) -> Option<String> {
        let gossip = self.witness.gossip()?;
        gossip.holds_all().then(|| Held::Isolated.to_string())
    }

    fn is_copy(&self) -> bool {
        let guard = self.witness.guard();
        guard.is_some_and(|guard| guard.copy().is_some())
    }

    /// A name that cannot be made stops nothing.
    // Spec: STO-41
    fn name_alarm(&self) -> Vec<String> {
        let own = self.witness.guard().and_then(|guard| guard.own_state());
        let fault = own.and_then(|own| own.fault());
        let told = "the name that says how far the state went cannot be made\n";
        fault.map(|_| told.to_owned()).into_iter().collect()
    }

    /// What the state says of itself.
    // Spec: WIT-91
    fn state_faults(&self) -> Vec<String> {
        let own = self.witness.guard().and_then(|guard| guard.own_state());
        let copy = own.and_then(|own| own.found());
        let copy = copy.map(|copy| format!("the state is held since {}: {}", copy.since, copy.why));
        copy.into_iter().collect()
    }

    /// Why the witness does not sign as it should, if it does not, without a word about which log.
    fn fault(&self) -> Option<String> {
        let heads = match self.witness.heads().faults(0).0 {
            0 => None,
            bad => Some(format!(
                "logs not cosigned: {bad}, whose stored state is damaged"
            )),
        };
        let holds = match self.witness.holds().not_durable(0).0 {
            0 => None,
            holds => Some(format!("holds that cannot be written: {holds}")),
        };
        let faults = self.clock_fault().into_iter().chain(heads).chain(holds);
        let faults = faults.chain(self.own_fault()).chain(self.state_faults());
        let faults = faults.chain(self.isolated());
        let faults: Vec<String> = faults.collect();
        (!faults.is_empty()).then(|| faults.join("\n"))
    }

    fn clock_fault(&self) -> Option<String> {
        let clock = self.witness.check_clock();
        clock.err().map(|fault| fault.to_string())
    }

    fn metrics(&self) -> Response {
        let healthy = self.fault().is_none();
        let bad = self.witness.heads().faults(0).0;
        let holds = self.witness.holds().not_durable(0).0;
        self.witness.metrics().scraped(healthy, bad, holds);
        let own = self.witness.guard().and_then(|guard| guard.own_state());
        let held = own.is_some_and(|own| own.found().is_some());
        let failed = own.is_some_and(|own| own.fault().is_some());
        self.witness.metrics().scraped_state(held, failed);
        let mut response = http::text(StatusCode::OK, telemetry::encode(&self.registry));
        let content_type = header::HeaderValue::from_static(telemetry::METRICS_CONTENT_TYPE);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
        http::with_cache(response, Cache::No)
    }

    // Spec: WIT-97, WIT-98
    async fn index(&self, request: &Request) -> Response {
        if let Some(refused) = http::only(request.method(), &[Method::GET]) {
            return refused;
        }
        let query = match Query::parse(request.uri().query().unwrap_or_default()) {
            Ok(query) => query,
            Err(fault) => return http::error(StatusCode::BAD_REQUEST, format!("{fault}\n")),
        };
        let Ok(place) = Arc::clone(&self.pages).try_acquire_owned() else {
            return http::too_busy("others are reading this page\n", RETRY_SECONDS);
        };
        let (witness, about) = (Arc::clone(&self.witness), Arc::clone(&self.about));
        let fault = self.fault();
        let rendered = tokio::task::spawn_blocking(move || {
            let rendered = page::render(&witness, &about, &query, fault);
            drop(place);
            rendered
        });
        match rendered.await {
            Ok(Ok(html)) => page_of(html),
            Ok(Err(error @ PageError::NoSuchPage { .. })) => {
                http::error(StatusCode::NOT_FOUND, format!("{error}\n"))
            }
            Ok(Err(error @ PageError::Template(_))) => ours(&error),
            Err(error) => ours(&error),
        }
    }
}

impl Handler for Api {
    async fn handle(&self, request: Request, peer: SocketAddr) -> Response {
        let (route, mut response) = self.route(request, peer).await;
        response.extensions_mut().insert(route);
        response
    }
}

/// The hash in `/<64 lower-case hex digits>/checkpoint`.
fn origin_hash(path: &str) -> Option<Hash> {
    let digits = path.strip_prefix('/')?.strip_suffix("/checkpoint")?;
    Hash::from_slice(&hex::decode(digits).ok()?)
}

fn page_of(html: String) -> Response {
    let mut response = http::text(StatusCode::OK, html);
    let fields = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            page::content_security_policy(),
        ),
    ] {
        fields.insert(name, header::HeaderValue::from_static(value));
    }
    http::with_cache(response, Cache::Seconds(PAGE_CACHE_SECONDS))
}

fn cosigned(lines: &CosignatureLines) -> Response {
    // Spec: WIT-21
    http::with_cache(http::text(StatusCode::OK, lines.to_bytes()), Cache::No)
}

fn conflict(current: TreeSize) -> Response {
    // Spec: WIT-16, WIT-42
    let mut response = http::error(StatusCode::CONFLICT, conflict_body(current));
    let content_type = header::HeaderValue::from_static(CONFLICT_CONTENT_TYPE);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

fn add_refused(error: &AddError) -> Response {
    let message = format!("{error}\n");
    match error {
        AddError::Malformed(malformed) => http::error(status(malformed.status()), message),
        AddError::Refused(refusal) => {
            if let Some(current) = error.conflict() {
                return conflict(current);
            }
            http::error(status(refusal.status()), message)
        }
        AddError::Note(_) => http::error(StatusCode::PAYLOAD_TOO_LARGE, message),
        AddError::Clock(fault) => clock(fault),
        // Spec: WIT-65
        AddError::OverQuota(quota) => {
            http::retry_later(StatusCode::TOO_MANY_REQUESTS, message, quota.retry_after())
        }
        // Spec: WIT-83
        AddError::Held(held) => self::held(held),
        AddError::Convicted(convicted) => self::convicted(*convicted),
        AddError::Busy { .. } | AddError::Contended(_) => http::too_busy(message, RETRY_SECONDS),
        AddError::NotWritten => http::too_busy(message, RETRY_LATER_SECONDS),
        AddError::Stopped => http::error(StatusCode::SERVICE_UNAVAILABLE, message),
        AddError::State(ReadError::Damaged { .. }) => damaged(),
        AddError::State(_) | AddError::Sign(_) | AddError::Lines(_) | AddError::Panicked => {
            ours(error)
        }
    }
}

fn subtree_refused(error: &SubtreeError) -> Response {
    let message = format!("{error}\n");
    match error {
        SubtreeError::Malformed(malformed) => http::error(status(malformed.status()), message),
        SubtreeError::Refused(refusal) => http::error(status(refusal.status()), message),
        SubtreeError::StateIsBehind { .. }
        | SubtreeError::TimeIsBehind { .. }
        | SubtreeError::TwoTrees { .. } => {
            tracing::error!(%error, "the state of this witness is not the one that it had");
            http::error(StatusCode::SERVICE_UNAVAILABLE, message)
        }
        SubtreeError::Held(held) => self::held(held),
        SubtreeError::Convicted(convicted) => self::convicted(*convicted),
        SubtreeError::Busy { .. } => http::too_busy(message, RETRY_SECONDS),
        SubtreeError::State(ReadError::Damaged { .. }) => damaged(),
        SubtreeError::State(_)
        | SubtreeError::Sign(_)
        | SubtreeError::Lines(_)
        | SubtreeError::Panicked => ours(error),
    }
}

// Spec: WIT-128, WIT-131
fn convicted(convicted: Convicted) -> Response {
    let status = match convicted {
        // As for a signature that is not trusted: the key is not, any more.
        Convicted::Log(_) => StatusCode::FORBIDDEN,
        Convicted::Ours(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    http::error(status, format!("{convicted}\n"))
}

fn held(held: &Held) -> Response {
    let message = format!("{held}\n");
    http::retry_later(
        StatusCode::SERVICE_UNAVAILABLE,
        message,
        restore::RETRY_AFTER_SECONDS,
    )
}

/// The guard tells the operator when the clock is not believed and when it is again, once each.
// Spec: WIT-111
fn clock(fault: &ClockFault) -> Response {
    match fault {
        ClockFault::NoTime(_) => {}
        ClockFault::BehindCosigned { .. }
        | ClockFault::BehindPage { .. }
        | ClockFault::NotSet { .. } => {
            tracing::error!(%fault, "nothing is signed until the clock is right");
        }
    }
    http::too_busy(format!("{fault}\n"), RETRY_LATER_SECONDS)
}

/// A stored head is damaged. Nothing is logged here: it was when it was found, and whoever asks
/// again and again must not fill the disk.
// Spec: WIT-100
fn damaged() -> Response {
    http::error(
        StatusCode::INTERNAL_SERVER_ERROR,
        "what this witness stored of this log is damaged; nothing is signed or shown for the log \
         until that is repaired\n",
    )
}

/// What the client can do nothing about and need not know.
fn ours(error: &dyn std::fmt::Display) -> Response {
    tracing::error!(%error, "a request failed through our fault");
    http::error(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal error; the operator was told\n",
    )
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Shorter than the second in which most logs make a new checkpoint: a cache in front absorbs a
/// crowd of monitors and shows nothing that is old.
const CHECKPOINT_CACHE_SECONDS: u32 = 1;

/// It changes when the witness is started with another configuration.
const ABOUT_CACHE_SECONDS: u32 = 60;

/// Damaged heads that `/health` names.
const FAULTS_TOLD: usize = 10;

/// Sizes and ages may lag that much.
const PAGE_CACHE_SECONDS: u32 = 5;

/// Pages that are made at a time. The first look at a log verifies what is stored of it: a page
/// may take tens of milliseconds of a core, which belong to the logs.
const PAGES_MAX: usize = 2;

/// When a burst is over.
const RETRY_SECONDS: u32 = 1;

/// When something has to be repaired first.
const RETRY_LATER_SECONDS: u32 = 30;
