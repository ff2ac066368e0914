//! `GET /health`, `GET /metrics`, `GET /openapi.json`.

use std::time::Duration;

use jurat_daemon::http::{self, Cache, Request, Response, StatusCode};
use jurat_daemon::telemetry;
use serde_json::json;

use super::App;
use super::evidence;
use super::respond::{bytes, with_etag};
use crate::alerts::{Kind, Trouble};
use crate::cosigners::Standing;
use crate::log::Published;
use crate::tsa::units::Unusable;
use crate::tsa::{self, Denied};

/// Convicted logs that `/health` names; `/logs` has them all.
const CONVICTED_TOLD: usize = 20;

/// Convicted logs of each of which an alert is told. They never end.
const CONVICTED_ALERTED: usize = 1_000;

/// How long before its end a unit is alerted of: two weeks, in which another one can be made.
const UNIT_ENDS_SECONDS: u64 = 14 * 86_400;

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
        let troubles = self.troubles();
        let worst = troubles.into_iter().next();
        Health {
            good: worst.is_none(),
            summary: worst.map_or_else(|| "ok".to_owned(), |trouble| trouble.about),
            age_s: self.age_s(),
        }
    }

    /// What keeps the service from being healthy, the worst first: whether it may sign at all,
    /// then whether it can tell the time.
    pub fn troubles(&self) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        let standing = self.standing.borrow().clone();
        // Spec: SVC-57
        if let Some(by) = &*self.docket.convicts_us().borrow() {
            let why = format!("{by} convicts a key of this service; nothing is signed");
            troubles.push(Trouble::new(Kind::Convicted, why));
        }
        if let Standing::Refused(why) = &standing {
            troubles.push(Trouble::new(Kind::NotSigning, why.clone()));
        }
        if let Err(why) = self.clock.read_unordered() {
            let trouble = Trouble::new(Kind::Clock, format!("{why}; nothing is signed"));
            // Each start waits for its sources.
            troubles.push(if why.is_of_a_start() {
                trouble.lasting(self.stale_after)
            } else {
                trouble
            });
        }
        troubles.extend(self.not_published(&standing));
        troubles.extend(self.no_timestamps());
        troubles
    }

    fn age_s(&self) -> Option<u64> {
        let now = self.clock.clock().now().seconds();
        let published = self.published.borrow();
        let time = published.as_ref().map(|published| published.time().get());
        time.map(|time| now.saturating_sub(time))
    }

    /// Why readers get no fresh checkpoint.
    fn not_published(&self, standing: &Standing) -> Option<Trouble> {
        let limit = self.stale_after;
        let witnesses = |why: &str| Some(Trouble::new(Kind::Witnesses, why).lasting(limit));
        match standing {
            Standing::Refused(_) => return None,
            Standing::Comparing => {
                return witnesses(
                    "comparing this state with the witnesses'; too few have answered",
                );
            }
            Standing::Good => {}
        }
        let Some(age) = self.age_s() else {
            return witnesses("no tree head has had a quorum of cosignatures yet");
        };
        let limit = limit.as_secs();
        if age > limit {
            let why =
                format!("the newest cosigned tree head is {age} s old, the limit is {limit} s");
            return Some(Trouble::new(Kind::Witnesses, why));
        }
        let time = self.published.borrow().as_ref().map(Published::time);
        let now = self.clock.clock().now().seconds();
        let behind = time.map_or(0, |time| time.get().saturating_sub(now));
        (behind > 0).then(|| {
            let why = format!(
                "the clock is {behind} s behind the newest cosigned tree head; \
                 nothing is signed until it has caught up"
            );
            Trouble::new(Kind::Clock, why)
        })
    }

    /// Why no time-stamp could be made now, where there is an authority.
    // Spec: TSA-14, TSA-32
    fn no_timestamps(&self) -> Option<Trouble> {
        let denied = self.authority.as_ref()?.ready().err()?;
        let kind = match &denied {
            // Which is a trouble by itself.
            Denied::Standing(_) => return None,
            Denied::NoTime(_) => Kind::Clock,
            Denied::Unit(Unusable::Key(_) | Unusable::Faulty) | Denied::Signer(_) => Kind::Key,
            Denied::Unit(Unusable::Closed | Unusable::Time(_))
            | Denied::NoUnit
            | Denied::Request(_)
            | Denied::Log(_)
            | Denied::Overloaded => Kind::Unit,
        };
        let why = format!("no time-stamp can be made: {denied}");
        let trouble = Trouble::new(kind, why);
        Some(match self.clock.read() {
            Err(why) if why.is_of_a_start() => trouble.lasting(self.stale_after),
            _ => trouble,
        })
    }

    /// What an operator is told of: the troubles, and what is none of the service's health.
    // Spec: SVC-60, SVC-68
    pub fn alerts(&self) -> Vec<Trouble> {
        let mut alerts = self.troubles();
        let now = self.clock.clock().now().seconds();
        let until = self.authority.as_ref().and_then(|it| it.signs_until());
        if let Some(until) = until
            && (now..now.saturating_add(UNIT_ENDS_SECONDS)).contains(&until)
        {
            let until = tsa::rfc3339(until);
            let why = format!("the unit that signs time-stamps ends at {until}");
            alerts.push(Trouble::new(Kind::UnitEnds, why));
        }
        let (_, convicted) = self.docket.convicted_logs(CONVICTED_ALERTED);
        alerts.extend(convicted.into_iter().map(|(origin, by)| Trouble {
            about: format!("{by} convicts {origin}: nothing of it is taken any more"),
            log: Some(origin),
            kind: Kind::LogConvicted,
            patience: Duration::ZERO,
        }));
        alerts
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
