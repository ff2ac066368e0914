//! `POST /evidence`, `GET /evidence`, `GET /evidence/<id>`.
//!
//! Evidence proves itself, so it is taken from anybody, within a budget: so many in a second from
//! one address, and from all.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jurat_daemon::http::{self, Cache, Request, Response, StatusCode, header};
use jurat_proto::checkpoint::Origin;
use jurat_proto::decimal::parse_decimal;
use jurat_proto::evidence::{EVIDENCE_BYTES_MAX, Evidence, NotProven};
use jurat_proto::hash::Hash;
use jurat_proto::hex;
use jurat_proto::tree::LeafIndex;
use serde_json::{Value, json};

use super::respond::{error, text, with_header};
use super::{App, query};
use crate::evidence::{Convicted, DocketError, Logged, Outcome};
use crate::log::AppendError;
use crate::tsa::rate::RateLimit;

/// Items on one page of the list.
const PAGE_MAX: usize = 1_000;
/// What a witness or an auditor brings at once, and then in a second.
const OF_ONE: (u32, u32) = (5, 100);
/// Verifying what is hostile takes less than a millisecond.
const OF_ALL: (u32, u32) = (50, 400);

/// How much evidence may be brought.
// Spec: SVC-53
pub struct Budget {
    one: RateLimit,
    all: RateLimit,
}

impl Default for Budget {
    fn default() -> Self {
        let limit = |(per_second, burst)| RateLimit::new(per_second, burst);
        Self {
            one: limit(OF_ONE),
            all: limit(OF_ALL),
        }
    }
}

impl Budget {
    fn take(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        self.one.take(client, now)?;
        self.all.take(Ipv4Addr::UNSPECIFIED.into(), now)
    }
}

// Spec: SVC-51, SVC-53
pub(super) async fn submit(app: &App, request: Request, peer: SocketAddr) -> Response {
    let now = app.clock.clock().instant();
    if let Err(wait) = app.evidence_budget.take(peer.ip(), now) {
        let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX);
        let why = "evidence is brought faster than it is looked at\n";
        return http::retry_later(
            StatusCode::TOO_MANY_REQUESTS,
            why,
            seconds.saturating_add(1),
        );
    }
    let body = http::read_body(request, EVIDENCE_BYTES_MAX, app.limits.body_timeout).await;
    let body = match body {
        Ok(body) => body,
        Err(error) => return error.response(),
    };
    let evidence = match Evidence::parse(&body) {
        Ok(evidence) => evidence,
        Err(why) => return error(422, &why.to_string()),
    };
    match app.docket.submit(evidence).await {
        Ok((outcome, logged)) => taken(outcome, &logged),
        Err(why) => refused(&why),
    }
}

/// `Location` names what is there; the body says where in the log.
fn taken(outcome: Outcome, logged: &Logged) -> Response {
    let (status, said) = match outcome {
        Outcome::Logged => (StatusCode::CREATED, "logged"),
        Outcome::More => (StatusCode::CREATED, "logged: it convicts more keys"),
        Outcome::Known => (StatusCode::OK, "known"),
        Outcome::Enough => (
            StatusCode::OK,
            "not logged: this, and as much as is kept, convicts the same keys already",
        ),
    };
    let mut document = row(logged);
    if let Some(fields) = document.as_object_mut() {
        fields.insert("outcome".to_owned(), json!(said));
    }
    let response = http::with_cache(http::json(status, &document), Cache::No);
    with_header(response, header::LOCATION, &location(&logged.id))
}

fn refused(why: &DocketError) -> Response {
    let said = why.to_string();
    match why {
        DocketError::NotProven(NotProven::NoKnownKey) => error(404, &said),
        DocketError::NotProven(NotProven::NobodySignedBoth) | DocketError::Undetermined => {
            error(422, &said)
        }
        DocketError::Append(
            AppendError::Overloaded
            | AppendError::Stopped
            | AppendError::Conflict { .. }
            | AppendError::Convicted(_),
        ) => http::too_busy(format!("{said}\n"), 1),
        DocketError::Entry | DocketError::Store(_) | DocketError::Damaged(_) => {
            tracing::error!("evidence could not be logged: {said}");
            error(500, "the store failed; nothing was changed")
        }
    }
}

/// What is logged, in the order of the log, at most [`PAGE_MAX`] after so many.
pub(super) fn list(app: &App, request: &Request) -> Response {
    let after = match query(request, "after").map(|after| after.map(|text| parse_decimal(&text))) {
        Ok(None) => 0,
        Ok(Some(Ok(after))) => usize::try_from(after).unwrap_or(usize::MAX),
        Ok(Some(Err(_))) => return error(400, "after must be a number in decimal"),
        Err(message) => return error(400, &message),
    };
    let page = app.docket.list(after, PAGE_MAX);
    let next = (page.len() == PAGE_MAX).then(|| after.saturating_add(PAGE_MAX));
    let rows: Vec<Value> = page.iter().map(row).collect();
    let document = json!({ "evidence": rows, "next": next });
    http::with_cache(http::json(StatusCode::OK, &document), Cache::No)
}

/// A file, as anybody verifies it.
pub(super) async fn file(app: &App, id: &str) -> Response {
    let id = hex::decode(id)
        .ok()
        .and_then(|bytes| Hash::from_slice(&bytes));
    let Some(logged) = id.and_then(|id| app.docket.logged(&id)) else {
        return error(404, "there is no such evidence in this log");
    };
    let docket = Arc::clone(&app.docket);
    match tokio::task::spawn_blocking(move || docket.file(&logged)).await {
        Ok(Ok(evidence)) => http::with_cache(text(200, evidence.to_bytes()), Cache::No),
        Ok(Err(why)) => failed(&why),
        Err(why) => failed(&why),
    }
}

fn failed(why: &dyn std::fmt::Display) -> Response {
    tracing::error!("evidence could not be read: {why}");
    error(500, "the store cannot be read")
}

fn row(logged: &Logged) -> Value {
    let entries: Vec<u64> = logged.entries.iter().map(|index| index.get()).collect();
    json!({
        "id": hex::encode(logged.id.as_bytes()),
        "kind": logged.kind.name(),
        "origin": logged.origin.as_ref().map(Origin::as_str),
        "origin_hash": logged.origin.as_ref().map(Origin::hash_hex),
        "convicts": logged.convicts.name(),
        "keys": logged.keys,
        "index": logged.index.get(),
        "entries": entries,
        "evidence": location(&logged.id),
        "receipt": receipt(logged.index),
    })
}

/// That a log is convicted, wherever it is shown.
// Spec: SVC-58
pub(super) fn convicted(by: &Convicted) -> Value {
    json!({
        "id": hex::encode(by.id.as_bytes()),
        "index": by.index.get(),
        "evidence": location(&by.id),
        "receipt": receipt(by.index),
    })
}

/// The same for who reads no JSON.
// Spec: SVC-58
pub(super) fn marked(app: &App, origin: &Origin, response: Response) -> Response {
    match app.docket.convicted(origin) {
        Some(by) => {
            let link = format!(
                "<{}>; rel=\"related\"; title=\"convicted\"",
                location(&by.id)
            );
            with_header(response, header::LINK, &link)
        }
        None => response,
    }
}

fn location(id: &Hash) -> String {
    format!("/evidence/{}", hex::encode(id.as_bytes()))
}

fn receipt(index: LeafIndex) -> String {
    format!("/receipt/{}", index.get())
}
