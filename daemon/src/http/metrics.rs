//! What a listener counts. All labels are bounded: routes and reasons are compiled in.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::StatusCode;

/// The label of a route. A handler puts one into the extensions of its response; being `'static`,
/// it cannot be made from what a peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Route(pub &'static str);

impl Route {
    /// What has no route: unknown paths, and requests that no handler saw.
    pub const OTHER: Self = Self("other");
}

/// Why a connection or a request was refused or ended by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Refused {
    /// `connections_max` are open.
    Connections,
    /// `requests_in_flight_max` are being worked on.
    InFlight,
    /// The head did not end within `header_timeout`.
    HeaderTimeout,
    /// The body did not end within its timeout.
    BodyTimeout,
    /// The body is larger than allowed.
    BodyTooLarge,
    /// The head or the body does not parse, or `Host` is missing.
    Malformed,
    /// The TLS handshake failed or took too long.
    Tls,
    /// The handler did not answer within `request_timeout`.
    RequestTimeout,
    /// The handler panicked.
    Panic,
    /// The peer did not take the response.
    WriteTimeout,
    /// The drain was over before the request was.
    Drain,
}

impl Refused {
    const ALL: [Self; 11] = [
        Self::Connections,
        Self::InFlight,
        Self::HeaderTimeout,
        Self::BodyTimeout,
        Self::BodyTooLarge,
        Self::Malformed,
        Self::Tls,
        Self::RequestTimeout,
        Self::Panic,
        Self::WriteTimeout,
        Self::Drain,
    ];
}

/// The metrics of one listener.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    pub(super) connections_open: Gauge,
    pub(super) requests_in_flight: Gauge,
    connections: Counter,
    accept_errors: Counter,
    refused: Family<RefusedLabel, Counter>,
    requests: Family<RequestLabels, Counter>,
    latency: Family<RouteLabel, Histogram, fn() -> Histogram>,
}

impl HttpMetrics {
    /// Registers them. For several listeners, pass sub-registries that differ in a label.
    pub fn register(registry: &mut Registry) -> Self {
        let this = Self::unregistered();
        // From the start: what appears only when it happens is missed by `increase()`.
        for reason in Refused::ALL {
            drop(this.refused.get_or_create(&RefusedLabel { reason }));
        }
        registry.register(
            "http_connections_open",
            "Open connections",
            this.connections_open.clone(),
        );
        registry.register(
            "http_connections",
            "Connections accepted",
            this.connections.clone(),
        );
        registry.register(
            "http_accept_errors",
            "Errors of accept, each followed by a pause",
            this.accept_errors.clone(),
        );
        registry.register(
            "http_requests_in_flight",
            "Requests that handlers work on",
            this.requests_in_flight.clone(),
        );
        registry.register(
            "http_refused",
            "Connections and requests refused or ended, by reason",
            this.refused.clone(),
        );
        registry.register(
            "http_requests",
            "Responses, by route and status class",
            this.requests.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "From the end of the request head to the response",
            Unit::Seconds,
            this.latency.clone(),
        );
        this
    }

    /// Metrics that nobody scrapes.
    pub fn unregistered() -> Self {
        Self {
            connections_open: Gauge::default(),
            requests_in_flight: Gauge::default(),
            connections: Counter::default(),
            accept_errors: Counter::default(),
            refused: Family::default(),
            requests: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS)),
        }
    }

    /// How many connections are open.
    pub fn connections_open(&self) -> i64 {
        self.connections_open.get()
    }

    /// How often this reason occurred.
    pub fn refused_count(&self, reason: Refused) -> u64 {
        self.refused
            .get(&RefusedLabel { reason })
            .map_or(0, |counter| counter.get())
    }

    pub(super) fn accepted(&self) {
        self.connections.inc();
    }

    pub(super) fn accept_failed(&self) {
        self.accept_errors.inc();
    }

    pub(super) fn refused(&self, reason: Refused) {
        self.refused.get_or_create(&RefusedLabel { reason }).inc();
    }

    pub(super) fn answered(&self, route: Route, status: StatusCode, took: Duration) {
        let class = StatusClass::of(status);
        self.requests
            .get_or_create(&RequestLabels {
                route: route.0,
                class,
            })
            .inc();
        self.latency
            .get_or_create(&RouteLabel { route: route.0 })
            .observe(took.as_secs_f64());
    }
}

/// Counts one while it lives.
pub(super) struct Counted(Gauge);

impl Counted {
    pub(super) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// From a memory hit to a request that waits for a quorum.
const LATENCY_BUCKETS: [f64; 13] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabel {
    reason: Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    class: StatusClass,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct StatusClass(&'static str);

impl StatusClass {
    fn of(status: StatusCode) -> Self {
        Self(match status.as_u16() / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        })
    }
}

impl EncodeLabelValue for StatusClass {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }
}
