//! `GET /health`, `GET /metrics`, `GET /openapi.json`.

use jurat_daemon::http::{self, Cache, Request, Response, StatusCode};
use jurat_daemon::telemetry;
use serde_json::json;

use super::App;
use super::evidence;
use super::respond::{bytes, with_etag};
use crate::cosigners::Standing;

/// Convicted logs that `/health` names; `/logs` has them all.
const CONVICTED_TOLD: usize = 20;

/// The service's interface; a test compares its paths with the router's.
const OPENAPI: &str = include_str!("openapi.json");

/// How the service is, and why.
pub struct Health {
    /// Whether readers get a fresh checkpoint.
    pub good: bool,
    /// In one sentence.
    pub summary: String,
    /// Age of the published checkpoint.
    pub age_s: Option<u64>,
}

impl App {
    // Spec: SVC-13, SVC-40
    /// Healthy is: the witnesses agree with this state, and a checkpoint with its quorum exists
    /// that is neither older than the limit nor newer than the clock, which is believed.
    pub fn health_now(&self) -> Health {
        let now = self.clock.clock().now().seconds();
        let time = self
            .published
            .borrow()
            .as_ref()
            .map(|published| published.time().get());
        let age_s = time.map(|time| now.saturating_sub(time));
        let behind_s = time.map_or(0, |time| time.saturating_sub(now));
        let limit = self.stale_after.as_secs();
        let standing = self.standing.borrow().clone();
        let ours = self.docket.convicts_us().borrow().clone();
        // Whether it may sign at all comes first, then whether it can tell the time.
        let no_time = self.clock.read_unordered().err();
        let no_time = no_time.map(|why| format!("{why}; nothing is signed"));
        let no_timestamps = self.no_timestamps();
        let (good, summary) = match (standing, age_s) {
            // Spec: SVC-57
            _ if ours.is_some() => (
                false,
                ours.map(|by| format!("{by} convicts a key of this service; nothing is signed"))
                    .unwrap_or_default(),
            ),
            (Standing::Refused(why), _) => (false, why),
            (Standing::Good | Standing::Comparing, _) if no_time.is_some() => {
                (false, no_time.unwrap_or_default())
            }
            (Standing::Comparing, _) => (
                false,
                "comparing this state with the witnesses'; too few have answered".to_owned(),
            ),
            (Standing::Good, None) => (
                false,
                "no tree head has had a quorum of cosignatures yet".to_owned(),
            ),
            (Standing::Good, Some(age)) if age > limit => (
                false,
                format!("the newest cosigned tree head is {age} s old, the limit is {limit} s"),
            ),
            (Standing::Good, Some(_)) if behind_s > 0 => (
                false,
                format!(
                    "the clock is {behind_s} s behind the newest cosigned tree head; \
                     nothing is signed until it has caught up"
                ),
            ),
            (Standing::Good, Some(_)) if no_timestamps.is_some() => {
                (false, no_timestamps.unwrap_or_default())
            }
            (Standing::Good, Some(_)) => (true, "ok".to_owned()),
        };
        Health {
            good,
            summary,
            age_s,
        }
    }

    /// Why no time-stamp could be made now, where there is an authority.
    // Spec: TSA-14, TSA-32
    fn no_timestamps(&self) -> Option<String> {
        let denied = self.authority.as_ref()?.ready().err()?;
        Some(format!("no time-stamp can be made: {denied}"))
    }
}

pub(super) fn health(app: &App) -> Response {
    let health = app.health_now();
    let published = app.published.borrow().clone();
    let committed = app.receipts.sequencer.committed().borrow().size.get();
    // Spec: SVC-58
    let (convicted_count, told) = app.docket.convicted_logs(CONVICTED_TOLD);
    let told = told.iter().map(|(origin, by)| {
        let mut row = evidence::convicted(by);
        if let Some(fields) = row.as_object_mut() {
            fields.insert("origin".to_owned(), json!(origin.as_str()));
        }
        row
    });
    let told: Vec<serde_json::Value> = told.collect();
    let document = json!({
        "healthy": health.good,
        "summary": health.summary,
        "origin": app.origin.as_str(),
        "committed_size": committed,
        "published_size": published.as_ref().map(|published| published.size().get()),
        "published_time": published.as_ref().map(|published| published.time().get()),
        "published_age_s": health.age_s,
        "timestamps": app.authority.as_ref().map(|authority| json!({
            "ready": authority.ready().is_ok(),
            "unit": authority.units.borrow().current().map(|unit| unit.id.to_string()),
            "signs_until": authority.signs_until(),
            "key_out_of_reach": authority.key_out_of_reach(),
            "warnings": authority.warnings(),
        })),
        "evidence": {
            "logged": app.docket.count(),
            "logs_convicted": convicted_count,
            "convicted": told,
            "pulled": app.pulls.rows(),
        },
        "witnesses": app.witnesses.rows(),
    });
    let status = if health.good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    http::with_cache(http::json(status, &document), Cache::No)
}

pub(super) fn metrics(app: &App) -> Response {
    bytes(
        telemetry::METRICS_CONTENT_TYPE,
        telemetry::encode(&app.registry),
    )
}

pub(super) fn openapi(request: &Request) -> Response {
    with_etag(
        request,
        OPENAPI.as_bytes(),
        bytes("application/json", OPENAPI),
    )
}
