//! `POST /timestamp` under all its names, `POST /timestamp/upgrade`, and sigstore's paths.
//!
//! A rejection is an answer: 200 with a DER body, since clients drop the body of any other status.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jurat_daemon::http::{self, Cache, HeaderMap, Request, Response, StatusCode, header};
use jurat_proto::tree::LeafIndex;
use jurat_proto::tsp::issue::to_pem;
use jurat_proto::tsp::request::REQUEST_BYTES_MAX;
use jurat_proto::tsp::response::{RESPONSE_BYTES_MAX, TimestampResponse};
use jurat_proto::tsp::signed_data::TimestampToken;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::respond::{error, with_header};
use super::submissions::{patience, prefer_wait};
use super::{App, Refused};
use crate::log::receipts::ReceiptError;
use crate::tsa::{Authority, Granted, UpgradeError, json};

const QUERY: &str = "application/timestamp-query";
const REPLY: &str = "application/timestamp-reply";
const JSON: &str = "application/json";
/// A token without an answer around it.
const TOKEN: &str = "application/cms";
/// The most of a request in JSON.
const JSON_BYTES_MAX: usize = 1024;
/// How long an upgrade waits for a receipt when the client names no time.
const UPGRADE_WAIT: Duration = Duration::from_secs(10);
/// Units of memory in [`UpgradeRoom`].
const ROOM_UNIT: usize = 1024;
/// The bodies of upgrades that are in memory at once, those that wait for their receipt included:
/// 32 MiB. Tokens have a few thousand bytes, so thousands may wait; of the largest that a listener
/// takes by default 128 fit.
const ROOM_UNITS: usize = 32 * 1024;

/// The memory for the bodies of upgrades.
pub struct UpgradeRoom(Semaphore);

impl Default for UpgradeRoom {
    fn default() -> Self {
        Self(Semaphore::new(ROOM_UNITS))
    }
}

impl UpgradeRoom {
    /// Room for a body of so many bytes, now or not at all.
    // Spec: TSA-53
    fn reserve(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Refused> {
        self.0
            .try_acquire_many(units(bytes))
            .map_err(|_| http::too_busy("too many upgrades are in flight\n", 1).into())
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(ROOM_UNIT)).unwrap_or(u32::MAX)
}

/// The most that the body of a request may have: what its head says, if that is less than is taken.
fn body_bytes_max(headers: &HeaderMap, taken: usize) -> usize {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    length.map_or(taken, |length: usize| length.min(taken))
}

/// RFC 3161; `with_json` also takes sigstore's form.
// Spec: TSA-40, TSA-41, TSA-42, TSA-43
pub(super) async fn stamp(
    app: &App,
    request: Request,
    peer: SocketAddr,
    with_json: bool,
) -> Response {
    let Some(authority) = &app.authority else {
        return http::not_found();
    };
    http::with_cache(
        match take(app, authority, request, peer, with_json).await {
            Ok(response) => response,
            Err(refused) => *refused,
        },
        Cache::No,
    )
}

async fn take(
    app: &App,
    authority: &Arc<Authority>,
    request: Request,
    peer: SocketAddr,
    with_json: bool,
) -> Result<Response, Refused> {
    let begun = Instant::now();
    within_rate(app, peer)?;
    let wanted = prefer_wait(&request);
    let form = form(request.headers(), with_json)?;
    let limit = if form == Form::Json {
        JSON_BYTES_MAX
    } else {
        REQUEST_BYTES_MAX
    };
    let body = http::read_body(request, limit, app.limits.body_timeout)
        .await
        .map_err(|error| Refused::from(error.response()))?;
    if body.is_empty() {
        return Err(error(400, "the body is empty; want a TimeStampReq in DER").into());
    }
    let body = match form {
        Form::Der => body.to_vec(),
        Form::Json => json::parse(&body)
            .map_err(|why| Refused::from(error(400, &why)))?
            .to_bytes(),
    };
    let (response, index) = match authority.answer(&body).await {
        Granted::Token { response, index } => (response, index),
        Granted::Rejected(response) => return Ok(reply(&response)),
        Granted::Overloaded => return Ok(http::too_busy("too many requests are waiting\n", 1)),
    };
    let upgraded = match wanted {
        None => None,
        // Spec: TSA-52. The plain token is as good as before; it is sent when there is no receipt.
        Some(wanted) => {
            let receipt = app.receipts.wait(index, patience(app, begun, wanted)).await;
            receipt.ok().and_then(|receipt| {
                let token = response.token()?.with_receipt(&receipt).ok()?;
                Some(TimestampResponse::granted(token))
            })
        }
    };
    let answer = match &upgraded {
        Some(upgraded) => with_header(reply(upgraded), PREFERENCE_APPLIED, "wait"),
        None => reply(&response),
    };
    Ok(with_header(answer, header::LOCATION, &location(index)))
}

// Spec: TSA-43
fn within_rate(app: &App, peer: SocketAddr) -> Result<(), Refused> {
    let now = app.clock.clock().instant();
    match &app.timestamp_rate {
        Some(limit) => limit
            .take(peer.ip(), now)
            .map_err(|wait| Refused::from(too_many(wait))),
        None => Ok(()),
    }
}

const PREFERENCE_APPLIED: header::HeaderName =
    header::HeaderName::from_static("preference-applied");

/// Puts the receipt into a token, or into the token of a whole answer.
// Spec: TSA-50, TSA-51, TSA-53
pub(super) async fn upgrade(app: &App, request: Request, peer: SocketAddr) -> Response {
    let Some(authority) = &app.authority else {
        return http::not_found();
    };
    let response = match upgraded(app, authority, request, peer).await {
        Ok(response) => response,
        Err(refused) => *refused,
    };
    http::with_cache(response, Cache::No)
}

async fn upgraded(
    app: &App,
    authority: &Authority,
    request: Request,
    peer: SocketAddr,
) -> Result<Response, Refused> {
    let begun = Instant::now();
    within_rate(app, peer)?;
    let wanted = prefer_wait(&request).unwrap_or(UPGRADE_WAIT);
    let most = RESPONSE_BYTES_MAX.min(app.limits.body_bytes_max);
    let limit = body_bytes_max(request.headers(), most);
    let mut room = app.upgrade_room.reserve(limit)?;
    let body = http::read_body(request, limit, app.limits.body_timeout)
        .await
        .map_err(|error| Refused::from(error.response()))?;
    // What the body turned out not to need is for others.
    drop(room.split(usize::try_from(units(limit) - units(body.len())).unwrap_or_default()));
    let whole = TimestampResponse::parse(&body).ok();
    let token = match &whole {
        Some(response) => response.token().cloned().ok_or_else(|| {
            Refused::from(error(
                400,
                "the answer is a rejection; there is no token in it",
            ))
        })?,
        None => TimestampToken::parse(&body).map_err(|why| {
            let why = format!("neither a TimeStampResp nor a token: {why}");
            Refused::from(error(400, &why))
        })?,
    };
    let index = authority
        .place_of(&token)
        .map_err(|why| Refused::from(not_ours(&why)))?;
    let receipt = app.receipts.wait(index, patience(app, begun, wanted)).await;
    let receipt = receipt.map_err(|why| Refused::from(no_receipt(&why)))?;
    let token = token
        .with_receipt(&receipt)
        .map_err(|why| Refused::from(error(500, &why.to_string())))?;
    Ok(match whole {
        Some(_) => reply(&TimestampResponse::granted(token)),
        None => body_of(TOKEN, token.to_bytes()),
    })
}

fn not_ours(why: &UpgradeError) -> Response {
    match why {
        UpgradeError::NotOurs => error(404, &why.to_string()),
        UpgradeError::NoEntry { .. } | UpgradeError::OtherEntry { .. } => {
            error(409, &why.to_string())
        }
        UpgradeError::Store(cause) => {
            tracing::error!("a token could not be upgraded: {cause}");
            error(500, "the store cannot be read")
        }
    }
}

fn no_receipt(why: &ReceiptError) -> Response {
    match why {
        ReceiptError::Pending { .. } | ReceiptError::NotInCose { .. } => {
            with_header(error(202, &why.to_string()), header::RETRY_AFTER, "1")
        }
        ReceiptError::NoEntry { .. } => error(404, &why.to_string()),
        ReceiptError::Store(_) | ReceiptError::Tree(_) | ReceiptError::Encode(_) => {
            tracing::error!("a receipt could not be made: {why}");
            error(500, "the store cannot be read")
        }
    }
}

/// The signing unit's certificate and those above it, for clients that start from a base URL.
// Spec: TSA-44
pub(super) fn chain(app: &App) -> Response {
    let Some(authority) = &app.authority else {
        return http::not_found();
    };
    let current = authority.units.borrow().current().map(Arc::clone);
    let Some(unit) = current else {
        return error(404, "no time-stamping unit is open");
    };
    let chain: Vec<_> = unit.issuing.chain().cloned().collect();
    with_header(
        body_of(
            "application/pem-certificate-chain",
            to_pem(&chain).into_bytes(),
        ),
        header::CACHE_CONTROL,
        "max-age=3600",
    )
}

fn reply(response: &TimestampResponse) -> Response {
    body_of(REPLY, response.to_bytes())
}

fn body_of(content_type: &str, body: Vec<u8>) -> Response {
    let response = http::text(StatusCode::OK, body);
    with_header(response, header::CONTENT_TYPE, content_type)
}

fn too_many(wait: Duration) -> Response {
    let seconds = u32::try_from(wait.as_secs())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    let mut response = http::too_busy("this client asks too often\n", seconds);
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response
}

fn location(index: LeafIndex) -> String {
    format!("/receipt/{}", index.get())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Der,
    Json,
}

/// The form of a request by its media type. Some clients send none, and mean DER.
// Spec: TSA-41
fn form(headers: &HeaderMap, with_json: bool) -> Result<Form, Refused> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(Form::Der);
    };
    let essence = value.to_str().unwrap_or_default();
    let essence = essence.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(QUERY) {
        Ok(Form::Der)
    } else if with_json && essence.eq_ignore_ascii_case(JSON) {
        Ok(Form::Json)
    } else {
        let want = if with_json {
            " or application/json"
        } else {
            ""
        };
        Err(error(415, &format!("the type of the body must be {QUERY}{want}")).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: TSA-53
    #[test]
    fn the_bodies_of_upgrades_have_so_much_room_and_no_more() {
        let room = UpgradeRoom::default();
        let fit = ROOM_UNITS * ROOM_UNIT / RESPONSE_BYTES_MAX;
        let held: Vec<_> = (0..fit)
            .map(|_| room.reserve(RESPONSE_BYTES_MAX).unwrap())
            .collect();
        let refused = room.reserve(RESPONSE_BYTES_MAX).unwrap_err();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
        drop(held);
        assert!(room.reserve(RESPONSE_BYTES_MAX).is_ok());
    }

    // Spec: TSA-53
    #[test]
    fn a_body_whose_length_is_said_takes_that_much_room() {
        let with = |length: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(
                header::CONTENT_LENGTH,
                header::HeaderValue::from_static(length),
            );
            body_bytes_max(&headers, RESPONSE_BYTES_MAX)
        };
        assert_eq!(with("5000"), 5000);
        assert_eq!(with("99999999999999999999"), RESPONSE_BYTES_MAX);
        assert_eq!(with("600000"), RESPONSE_BYTES_MAX);
        assert_eq!(body_bytes_max(&HeaderMap::new(), 7), 7);
    }

    // Spec: TSA-41
    #[test]
    fn the_type_of_a_body_is_read_as_a_media_type() {
        let with = |value: &str, json| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            form(&headers, json).map_err(|response| response.status())
        };
        assert_eq!(with("application/timestamp-query", false), Ok(Form::Der));
        assert_eq!(
            with("Application/Timestamp-Query ; a=b", true),
            Ok(Form::Der)
        );
        assert_eq!(
            with("application/json; charset=utf-8", true),
            Ok(Form::Json)
        );
        assert_eq!(
            with("application/json", false),
            Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)
        );
        assert_eq!(
            with("text/plain", true),
            Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)
        );
        assert!(form(&HeaderMap::new(), false).is_ok());
    }
}
