//! `GET /logs`, `GET /logs/<origin hash>`, `/logs/<origin hash>/checkpoint`, `…/history`.

use std::sync::Arc;

use jurat_daemon::http::{self, Cache, Request, Response, StatusCode};
use jurat_proto::checkpoint::Origin;
use jurat_proto::decimal::parse_decimal;
use jurat_proto::tree::LeafIndex;
use jurat_store::registry::{Log, LogState};
use jurat_store::{OriginHead, StoreError};
use serde_json::{Value, json};

use super::respond::{bytes, error};
use super::{App, evidence, query};

/// Logs on one page of `/logs`.
const PAGE_MAX: usize = 1_000;

/// Items on one page of a log's history.
const HISTORY_MAX: usize = 1_000;

/// The registered logs with their latest anchored heads, in the order of their origins, at most
/// [`PAGE_MAX`] from `?after=<origin hash>` on; `next` leads to the following page.
pub(super) fn list(app: &App, request: &Request) -> Response {
    let after = match query(request, "after") {
        Ok(after) => after,
        Err(message) => return error(400, &message),
    };
    let logs = app.submit.logs.borrow().clone();
    let after = match after.map(|hash| logs.by_hash(&hash)) {
        Some(None) => return error(404, "no log has the origin hash given as after"),
        after => after.flatten(),
    };
    let mut rows = Vec::new();
    let mut next = None;
    // The registry is in the order of the origins.
    let rest = |log: &&Log| after.is_none_or(|after| log.origin > *after);
    for log in logs.all().filter(rest) {
        if rows.len() == PAGE_MAX {
            next = rows
                .last()
                .and_then(|row: &Value| row.get("origin_hash").cloned());
            break;
        }
        match row(app, &log.origin, log.state == LogState::Active) {
            Ok(row) => rows.push(row),
            Err(why) => return failed(&why),
        }
    }
    http::json(StatusCode::OK, &json!({ "logs": rows, "next": next }))
}

/// What is known of one log.
pub(super) async fn one(app: &App, request: &Request, rest: &str) -> Response {
    let (hash, what) = rest.split_once('/').unwrap_or((rest, ""));
    let logs = app.submit.logs.borrow().clone();
    let Some(origin) = logs.by_hash(hash) else {
        return error(404, "no log with this origin hash is registered");
    };
    match what {
        "" if hash == rest => {
            let active = logs.keys_for(origin).is_some();
            match row(app, origin, active) {
                Ok(row) => http::json(StatusCode::OK, &row),
                Err(why) => failed(&why),
            }
        }
        "checkpoint" => match app.store.latest(origin) {
            Ok(Some(latest)) => {
                let response = bytes("text/plain; charset=utf-8", latest.note);
                evidence::marked(app, origin, http::with_cache(response, Cache::Seconds(1)))
            }
            Ok(None) => error(404, "this log has not anchored anything yet"),
            Err(why) => failed(&why),
        },
        "history" => history(app, request, origin).await,
        _ => http::not_found(),
    }
}

/// The anchored checkpoints of a log, newest first: `?before=<index>` continues.
///
/// The store walks from the newest one to the page, which for an old page of a busy log takes
/// seconds: so on a thread for work that blocks, and one at a time.
async fn history(app: &App, request: &Request, origin: &Origin) -> Response {
    let before = match query(request, "before") {
        Ok(None) => None,
        Ok(Some(text)) => match parse_decimal(&text).ok().and_then(LeafIndex::new) {
            Some(index) => Some(index),
            None => return error(400, "before must be a leaf index in decimal"),
        },
        Err(message) => return error(400, &message),
    };
    let Ok(turn) = Arc::clone(&app.walking).acquire_owned().await else {
        return http::too_busy("the service is stopping\n", 1);
    };
    let (store, walked) = (Arc::clone(&app.store), origin.clone());
    let walk = tokio::task::spawn_blocking(move || {
        let items = store.history(&walked, before, HISTORY_MAX);
        drop(turn);
        items
    });
    match walk.await {
        Err(why) => failed(&why),
        Ok(Err(why)) => failed(&why),
        Ok(Ok(items)) => {
            let next = (items.len() == HISTORY_MAX)
                .then(|| items.last().map(|item| item.log_index.get()))
                .flatten();
            let rows: Vec<Value> = items
                .iter()
                .map(|item| {
                    json!({
                        "index": item.log_index.get(),
                        "size": item.size.get(),
                        "time": item.time.get(),
                        "receipt": format!("/receipt/{}", item.log_index.get()),
                    })
                })
                .collect();
            http::json(
                StatusCode::OK,
                &json!({
                    "origin": origin.as_str(),
                    "convicted": app.docket.convicted(origin).as_ref().map(evidence::convicted),
                    "history": rows,
                    "next": next,
                }),
            )
        }
    }
}

fn row(app: &App, origin: &Origin, active: bool) -> Result<Value, StoreError> {
    let latest = app.store.latest(origin)?;
    Ok(json!({
        "origin": origin.as_str(),
        "origin_hash": origin.hash_hex(),
        "active": active,
        "convicted": app.docket.convicted(origin).as_ref().map(evidence::convicted),
        "latest": latest.as_ref().map(head),
    }))
}

fn head(latest: &OriginHead) -> Value {
    json!({
        "size": latest.head.size.get(),
        "root_hash": latest.head.root_hash.to_base64(),
        "time": latest.time.get(),
        "index": latest.log_index.map(LeafIndex::get),
    })
}

fn failed(why: &dyn std::fmt::Display) -> Response {
    tracing::error!("the anchored logs could not be read: {why}");
    error(500, "the store cannot be read")
}
