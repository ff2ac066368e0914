//! `/gossip/v0/…` over HTTP: routes, statuses, bodies.
//!
//! ```text
//! GET  state?nonce=               200 signed state
//! GET  heads?epoch=&since=        200 rows and a signed page
//! POST fetch                      200 notes
//! POST challenge                  200 opening · 202 · 403 404
//! GET  opening/<origin>/<a>/<b>   200 opening · 404
//! POST observe                    200 · 202 · 403 404
//! GET  evidence?since=            200 list
//! GET  evidence/<id>              200 file · 404
//! POST evidence                   201 Location · 200 · 404 413 422 429 · 503
//! GET  confirmed/<origin>         200 JSON · 404
//! GET  suspicions                 200 signed suspicions
//! ```
//!
//! What proves itself is taken from anybody, within budgets: so many in a second from one address,
//! and from all.
//!
//! Rows: `spec/gossip.md` GSP-74, GSP-76.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jurat_daemon::http::{self, Cache, Method, Request, Response, Route, StatusCode, header};
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::decimal::parse_decimal;
use jurat_proto::evidence::{EVIDENCE_BYTES_MAX, Evidence};
use jurat_proto::gossip::node::{Event, Reply};
use jurat_proto::gossip::{FETCH_BYTES_MAX, Fetch, Random};
use jurat_proto::hash::Hash;
use jurat_proto::hex;
use jurat_proto::note::NOTE_BYTES_MAX;
use jurat_proto::tree::TreeSize;

use crate::gossip::{Gossip, NotNow};

/// The prefix of all its paths.
pub(super) const PREFIX: &str = "/gossip/v0/";

/// Answers a request below the prefix.
pub(super) async fn answer(
    gossip: &Gossip,
    budget: &Budget,
    request: Request,
    peer: SocketAddr,
    body_timeout: Duration,
) -> (Route, Response) {
    let path = request.uri().path();
    let path = path.strip_prefix(PREFIX).unwrap_or_default().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let post = request.method() == Method::POST;
    if post {
        if let Err(wait) = budget.take(peer.ip(), Instant::now()) {
            let response = http::retry_later(StatusCode::TOO_MANY_REQUESTS, "later\n", wait);
            return (Route("gossip"), response);
        }
        let response = match post_bound(&path) {
            None => match http::only(request.method(), &[Method::GET]) {
                Some(refused) if is_get(&path) => refused,
                _ => http::not_found(),
            },
            Some(bytes_max) => match http::read_body(request, bytes_max, body_timeout).await {
                Ok(body) => posted(gossip, &path, &body).await,
                Err(error) => error.response(),
            },
        };
        return (Route("gossip"), response);
    }
    let allowed: &[Method] = match (post_bound(&path), is_get(&path)) {
        (Some(_), false) => &[Method::POST],
        _ => &[Method::GET, Method::POST],
    };
    let response = match http::only(request.method(), allowed) {
        Some(refused) => refused,
        None => shown(gossip, &path, &query),
    };
    (Route("gossip"), response)
}

fn is_get(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or_default();
    matches!(
        first,
        "state" | "heads" | "opening" | "evidence" | "confirmed" | "suspicions"
    )
}

fn post_bound(path: &str) -> Option<usize> {
    match path {
        "fetch" => Some(FETCH_BYTES_MAX),
        "challenge" | "observe" => Some(NOTE_BYTES_MAX),
        "evidence" => Some(EVIDENCE_BYTES_MAX),
        _ => None,
    }
}

fn shown(gossip: &Gossip, path: &str, query: &str) -> Response {
    let mut parts = path.split('/');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    match (first, &*rest) {
        ("state", []) => {
            let nonce = match parameter(query, "nonce").map(random) {
                Some(None) => return bad("the nonce is not 32 hex digits"),
                nonce => nonce.flatten(),
            };
            let state = gossip.state(nonce).map(|state| state.to_bytes());
            fresh(state, Cache::No)
        }
        ("heads", []) => {
            let epoch = parameter(query, "epoch").and_then(random);
            let since = parameter(query, "since").map(parse_decimal);
            let Ok(since) = since.unwrap_or(Ok(0)) else {
                return bad("since is no number");
            };
            let feed = gossip.feed(epoch, since).map(|feed| feed.to_bytes());
            fresh(feed, Cache::No)
        }
        ("opening", [origin, old, size]) => {
            let number = |text: &str| TreeSize::new(parse_decimal(text).ok()?);
            let named = hash(origin).zip(number(old)).zip(number(size));
            let opening =
                named.and_then(|((origin, old), size)| gossip.opening(&origin, old, size));
            match opening {
                Some(opening) => text(StatusCode::OK, opening.to_bytes()),
                None => http::error(StatusCode::NOT_FOUND, "that opening is not known here\n"),
            }
        }
        ("evidence", []) => match parameter(query, "since").map_or(Ok(0), parse_decimal) {
            Ok(since) => text(StatusCode::OK, gossip.catalogue(since).to_bytes()),
            Err(_) => bad("since is no number"),
        },
        ("evidence", [id]) => match hash(id).and_then(|id| gossip.evidence(&id)) {
            Some(evidence) => text(StatusCode::OK, evidence.to_bytes()),
            None => http::error(StatusCode::NOT_FOUND, "there is no such evidence\n"),
        },
        // Spec: GSP-79
        ("confirmed", [origin]) => match hash(origin).and_then(|hash| gossip.confirmed_of(&hash)) {
            Some(confirmed) => http::with_cache(http::json(StatusCode::OK, &confirmed), Cache::No),
            None => http::error(StatusCode::NOT_FOUND, "no head of it is confirmed\n"),
        },
        ("suspicions", []) => text(StatusCode::OK, gossip.suspicions()),
        _ => http::not_found(),
    }
}

async fn posted(gossip: &Gossip, path: &str, body: &[u8]) -> Response {
    match path {
        "fetch" => match Fetch::parse(body) {
            Ok(fetch) => text(StatusCode::OK, gossip.notes(&fetch).to_bytes()),
            Err(error) => bad(&error.to_string()),
        },
        "evidence" => match Evidence::parse(body) {
            Ok(evidence) => {
                let evidence = Box::new(evidence);
                let event = |request| Event::EvidenceReceived {
                    request: Some(request),
                    evidence,
                };
                replied(gossip.request(event).await)
            }
            Err(error) => http::error(StatusCode::UNPROCESSABLE_ENTITY, format!("{error}\n")),
        },
        _ => match SignedCheckpoint::parse(body) {
            Ok(note) if path == "challenge" => {
                let event = |request| Event::ChallengeReceived { request, note };
                replied(gossip.request(event).await)
            }
            Ok(note) => {
                let event = |request| Event::Observed { request, note };
                replied(gossip.request(event).await)
            }
            Err(error) => bad(&error.to_string()),
        },
    }
}

// Spec: GSP-76
fn replied(reply: Result<Reply, NotNow>) -> Response {
    let hex = |id: &Hash| hex::encode(id.as_bytes());
    match reply {
        Err(NotNow) | Ok(Reply::NotStored) => http::too_busy("later\n", RETRY_SECONDS),
        Ok(Reply::Opening(opening)) => text(StatusCode::OK, opening.to_bytes()),
        Ok(Reply::Consistent) => text(StatusCode::OK, "consistent\n"),
        Ok(Reply::Pending) => text(StatusCode::ACCEPTED, "pending\n"),
        Ok(Reply::Convicted { id }) => text(StatusCode::OK, format!("evidence {}\n", hex(&id))),
        Ok(Reply::Stored { id }) => {
            let mut response = text(StatusCode::CREATED, format!("evidence {}\n", hex(&id)));
            let location = format!("{PREFIX}evidence/{}", hex(&id));
            if let Ok(location) = header::HeaderValue::try_from(location) {
                response.headers_mut().insert(header::LOCATION, location);
            }
            response
        }
        Ok(Reply::Known { id }) => text(StatusCode::OK, format!("known: evidence {}\n", hex(&id))),
        Ok(Reply::UnknownOrigin) => {
            http::error(StatusCode::NOT_FOUND, "no key of this log is known here\n")
        }
        Ok(Reply::NotSigned) => http::error(StatusCode::FORBIDDEN, "the log did not sign it\n"),
        Ok(Reply::NotProven(reason)) => {
            http::error(StatusCode::UNPROCESSABLE_ENTITY, format!("{reason}\n"))
        }
        Ok(Reply::TooMany) => {
            http::retry_later(StatusCode::TOO_MANY_REQUESTS, "later\n", RETRY_SECONDS)
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response {
    http::with_cache(http::text(status, body), Cache::No)
}

fn fresh(body: Result<Vec<u8>, NotNow>, cache: Cache) -> Response {
    match body {
        Ok(body) => http::with_cache(http::text(StatusCode::OK, body), cache),
        Err(NotNow) => http::too_busy("later\n", RETRY_SECONDS),
    }
}

fn bad(what: &str) -> Response {
    http::error(StatusCode::BAD_REQUEST, format!("{what}\n"))
}

fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(key, value)| (key == name).then_some(value))
}

fn random(text: &str) -> Option<Random> {
    let bytes = hex::decode(text).ok()?;
    Some(Random(bytes.try_into().ok()?))
}

fn hash(text: &str) -> Option<Hash> {
    Hash::from_slice(&hex::decode(text).ok()?)
}

/// What is posted by anybody: a bucket for each address, and one for all.
// Spec: GSP-76
#[derive(Debug, Default)]
pub(super) struct Budget(Mutex<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    all: Bucket,
    by: BTreeMap<IpAddr, Bucket>,
}

#[derive(Debug, Default)]
struct Bucket {
    /// When it is empty of what was taken.
    until: Option<Instant>,
}

impl Bucket {
    /// Takes a place that comes back after `each`; up to `burst` may be out.
    fn take(&mut self, now: Instant, each: Duration, burst: u32) -> Result<(), Duration> {
        let until = self.until.filter(|until| *until > now).unwrap_or(now);
        let out = until.saturating_duration_since(now);
        let over = (out + each).saturating_sub(each.saturating_mul(burst));
        if !over.is_zero() {
            return Err(over);
        }
        self.until = Some(until + each);
        Ok(())
    }
}

impl Budget {
    fn take(&self, address: IpAddr, now: Instant) -> Result<(), u32> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.by.len() >= ADDRESSES_MAX {
            buckets
                .by
                .retain(|_, bucket| bucket.until.is_some_and(|until| until > now));
        }
        let crowded = buckets.by.len() >= ADDRESSES_MAX;
        // Behind loopback is a proxy, or a neighbour: who it is cannot be told.
        let taken = if address.is_loopback() || (crowded && !buckets.by.contains_key(&address)) {
            Ok(())
        } else {
            let bucket = buckets.by.entry(address).or_default();
            bucket.take(now, EACH_OF_ONE, BURST_OF_ONE)
        };
        let taken = taken.and_then(|()| buckets.all.take(now, EACH_OF_ALL, BURST_OF_ALL));
        taken.map_err(|wait| {
            u32::try_from(wait.as_secs())
                .unwrap_or(u32::MAX)
                .saturating_add(1)
        })
    }
}

/// A peer asks a few questions in a round, and brings what it found.
const EACH_OF_ONE: Duration = Duration::from_millis(200);
const BURST_OF_ONE: u32 = 100;
/// Verifying what is hostile takes less than a millisecond.
const EACH_OF_ALL: Duration = Duration::from_millis(5);
const BURST_OF_ALL: u32 = 400;
const ADDRESSES_MAX: usize = 4_096;
const RETRY_SECONDS: u32 = 5;
