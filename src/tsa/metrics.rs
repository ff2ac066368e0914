//! What the authority counts. Labels are closed sets.

use jurat_proto::tsp::response::PkiFailureInfo;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Denied;
use super::units::Unusable;

/// Requests by outcome, and how the unit is.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    requests: Family<Outcome, Counter>,
    /// Seconds since 1970 after which the current unit signs nothing.
    pub signs_until: Gauge,
    /// Whether a token could be made.
    pub ready: Gauge,
    /// Whether the key of the unit that signs can be used.
    pub key_reachable: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl Metrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("jurat_timestamp");
        registry.register(
            "requests",
            "Time-stamp requests, by outcome",
            metrics.requests.clone(),
        );
        registry.register(
            "signs_until_seconds",
            "When the current unit's key or certificate ends, in seconds since 1970; 0 without one",
            metrics.signs_until.clone(),
        );
        registry.register(
            "ready",
            "1 while a time-stamp can be made, else 0",
            metrics.ready.clone(),
        );
        registry.register(
            "key_reachable",
            "0 while the current unit's key is in a token of PKCS #11 that cannot be used, else 1",
            metrics.key_reachable.clone(),
        );
        metrics
    }

    pub(super) fn record(&self, denied: Option<&Denied>) {
        let outcome = match denied {
            None => "granted",
            Some(Denied::Request(refusal)) => match refusal.failure() {
                PkiFailureInfo::BadAlg => "bad_alg",
                PkiFailureInfo::BadRequest => "bad_request",
                PkiFailureInfo::BadDataFormat => "bad_data_format",
                PkiFailureInfo::UnacceptedPolicy => "unaccepted_policy",
                PkiFailureInfo::UnacceptedExtension => "unaccepted_extension",
                PkiFailureInfo::TimeNotAvailable
                | PkiFailureInfo::AddInfoNotAvailable
                | PkiFailureInfo::SystemFailure => "failed",
            },
            Some(Denied::NoTime(_)) => "no_time",
            Some(Denied::Unit(Unusable::Key(_) | Unusable::Faulty)) => "no_key",
            Some(Denied::Unit(Unusable::Closed | Unusable::Time(_)) | Denied::NoUnit) => "no_unit",
            Some(Denied::Standing(_)) => "not_compared",
            Some(Denied::Log(_) | Denied::Signer(_)) => "failed",
            Some(Denied::Overloaded) => "overloaded",
        };
        self.requests.get_or_create(&Outcome { outcome }).inc();
    }
}
