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
//! and from all. A peer has a budget of its own, for which its requests bring a claim; so a crowd
//! of strangers keeps nobody's peers from telling what they found. What only looks something up is
//! not counted; what is signed, or goes over many logs, is.
//!
//! Bodies that are worth it are compressed for who takes that, and what can be shown again has an
//! entity tag.
//!
//! Rows: `spec/gossip.md` GSP-74, GSP-76, GSP-91 to GSP-94.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use jurat_daemon::http::{
    self, Cache, HeaderMap, Method, Request, Response, Route, StatusCode, header,
};
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::decimal::parse_decimal;
use jurat_proto::evidence::{EVIDENCE_BYTES_MAX, Evidence, STRANGERS_EVIDENCE_BYTES_MAX};
use jurat_proto::gossip::node::{Event, Reply};
use jurat_proto::gossip::{ClaimRefused, FETCH_BYTES_MAX, Fetch, Random};
use jurat_proto::hash::{Hash, sha256};
use jurat_proto::hex;
use jurat_proto::key::KeyName;
use jurat_proto::note::NOTE_BYTES_MAX;
use jurat_proto::tlog_proof::{TLOG_PROOF_BYTES_MAX, TlogProof};
use jurat_proto::tree::TreeSize;
use tokio::time::Instant;

use crate::gossip::{CLAIM_FIELD, Gossip, NotNow, PAGE_SECONDS};
use crate::quota::{Bucket, Client, Rate};

/// The prefix of all its paths.
pub(super) const PREFIX: &str = "/gossip/v0/";

/// Answers a request below the prefix.
pub(super) async fn answer(
    gossip: &Arc<Gossip>,
    budgets: &Budgets,
    request: Request,
    client: Option<Client>,
    body_timeout: Duration,
) -> (Route, Response) {
    let path = request.uri().path();
    let path = path.strip_prefix(PREFIX).unwrap_or_default().to_owned();
    let allowed: &[Method] = match (post_bound(&path), is_get(&path)) {
        (Some(_), false) => &[Method::POST],
        (Some(_), true) => &[Method::GET, Method::POST],
        (None, true) => &[Method::GET],
        (None, false) => return (Route("gossip"), http::not_found()),
    };
    if let Some(refused) = http::only(request.method(), allowed) {
        return (Route("gossip"), refused);
    }
    let mut sender = Sender::of(gossip, budgets, client, &request);
    let response = match budgets.take(&sender, counted(&path, request.method())) {
        Ok(()) => respond(gossip, budgets, &mut sender, &path, request, body_timeout).await,
        Err(wait) => over_budget(wait),
    };
    (Route("gossip"), sender.mark(response))
}

async fn respond(
    gossip: &Arc<Gossip>,
    budgets: &Budgets,
    sender: &mut Sender,
    path: &str,
    request: Request,
    body_timeout: Duration,
) -> Response {
    // Spec: GSP-97
    if gossip.ready().await.is_err() {
        return later();
    }
    let headers = request.headers().clone();
    if request.method() != Method::POST {
        let query = request.uri().query().unwrap_or_default().to_owned();
        return shown(gossip, path, &query, headers).await;
    }
    let bytes_max = post_bound(path).unwrap_or_default();
    let body = match http::read_body(request, bytes_max, body_timeout).await {
        Ok(body) => body,
        Err(error) => return error.response(),
    };
    if sender.is_other(&body)
        && let Err(wait) = budgets.take(sender, counted(path, &Method::POST))
    {
        return over_budget(wait);
    }
    // Spec: EVI-55. The larger ones cost a stranger two.
    if sender.peer().is_none()
        && path == "evidence"
        && body.len() > STRANGERS_EVIDENCE_BYTES_MAX
        && let Err(wait) = budgets.take(sender, Counted::Posted)
    {
        return over_budget(wait);
    }
    posted(gossip, sender.peer(), path, &body, headers).await
}

/// Who makes a request.
struct Sender {
    client: Option<Client>,
    /// The peer, and the hash that its body has; or why a claim does not count.
    claimed: Option<Result<(KeyName, Hash), ClaimRefused>>,
}

impl Sender {
    // Spec: GSP-91
    fn of(gossip: &Gossip, budgets: &Budgets, client: Option<Client>, request: &Request) -> Self {
        let claim = request.headers().get(CLAIM_FIELD);
        let claimed = claim.map(|value| {
            if !budgets.may_claim(client) {
                return Err(ClaimRefused::NotLookedAt);
            }
            let value = value.to_str().map_err(|_| ClaimRefused::Malformed)?;
            let target = request.uri().path_and_query();
            let target = target.map_or("", |target| target.as_str());
            let claimed = gossip.claimed(value, request.method().as_str(), target);
            if claimed.is_err() {
                budgets.claimed_in_vain(client);
            }
            claimed
        });
        Self { client, claimed }
    }

    fn peer(&self) -> Option<&KeyName> {
        let (name, _) = self.claimed.as_ref()?.as_ref().ok()?;
        Some(name)
    }

    /// Whether the body is another one than that of the claim: then it is a stranger's.
    fn is_other(&mut self, body: &[u8]) -> bool {
        let is_other = match &self.claimed {
            Some(Ok((_, hash))) => *hash != sha256(body),
            _ => false,
        };
        if is_other {
            self.claimed = Some(Err(ClaimRefused::OtherBody));
        }
        is_other
    }

    /// Says what became of the claim, if there was one.
    fn mark(&self, mut response: Response) -> Response {
        let word = match &self.claimed {
            None => return response,
            Some(Ok(_)) => "counts",
            Some(Err(reason)) => reason.name(),
        };
        let field = header::HeaderName::from_static(CLAIM_FIELD);
        let fields = response.headers_mut();
        fields.insert(field, header::HeaderValue::from_static(word));
        response
    }
}

fn is_get(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or_default();
    matches!(
        first,
        "state" | "heads" | "opening" | "evidence" | "confirmed" | "suspicions"
    )
}

/// How many bytes may be posted.
fn post_bound(path: &str) -> Option<usize> {
    match path {
        "fetch" => Some(FETCH_BYTES_MAX),
        "challenge" => Some(NOTE_BYTES_MAX),
        "observe" => Some(TLOG_PROOF_BYTES_MAX.max(NOTE_BYTES_MAX)),
        "evidence" => Some(EVIDENCE_BYTES_MAX),
        _ => None,
    }
}

/// Whether this would be signed by us, and say what the state says: one that is an older copy would
/// convict us of what it does not remember.
// Spec: WIT-91
pub(super) fn is_of_the_state(path: &str) -> bool {
    let rest = path.strip_prefix(PREFIX).unwrap_or_default();
    counted(rest, &Method::GET) == Counted::Made
}

/// The answer while the state says of itself that it is a copy.
pub(super) fn not_now() -> (Route, Response) {
    (Route("gossip"), later())
}

// Spec: GSP-92
fn counted(path: &str, method: &Method) -> Counted {
    match path {
        "state" | "heads" | "suspicions" | "fetch" => Counted::Made,
        _ if *method == Method::POST => Counted::Posted,
        _ => Counted::LookedUp,
    }
}

async fn shown(gossip: &Arc<Gossip>, path: &str, query: &str, headers: HeaderMap) -> Response {
    let mut parts = path.split('/');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let this = Arc::clone(gossip);
    match (first, &*rest) {
        ("state", []) => {
            let nonce = match parameter(query, "nonce").map(random) {
                Some(None) => return bad("the nonce is not 32 hex digits"),
                nonce => nonce.flatten(),
            };
            let state = gossip.make(move || this.state(nonce)).await;
            match state {
                Ok(Ok(state)) => text(StatusCode::OK, state.to_bytes()),
                Ok(Err(NotNow)) | Err(NotNow) => later(),
            }
        }
        ("heads", []) => {
            let epoch = parameter(query, "epoch").and_then(random);
            let since = parameter(query, "since").map(parse_decimal);
            let Ok(since) = since.unwrap_or(Ok(0)) else {
                return bad("since is no number");
            };
            let page = gossip.make(move || {
                let page = this.page(epoch, since)?;
                Ok::<_, NotNow>(again(&headers, &page.bytes, PAGE_SECONDS))
            });
            page.await.flatten().unwrap_or_else(|NotNow| later())
        }
        ("suspicions", []) => {
            let said = gossip.make(move || {
                let said = this.suspicions()?;
                Ok::<_, NotNow>(packed(&headers, &said).0)
            });
            said.await.flatten().unwrap_or_else(|NotNow| later())
        }
        _ => looked_up(gossip, first, &rest, query, headers).await,
    }
}

/// What waits for the node, each in its turn.
// Spec: GSP-130
async fn looked_up(
    gossip: &Arc<Gossip>,
    first: &str,
    rest: &[&str],
    query: &str,
    headers: HeaderMap,
) -> Response {
    match (first, rest) {
        ("opening", [origin, old, size]) => {
            let number = |text: &str| TreeSize::new(parse_decimal(text).ok()?);
            let named = hash(origin).zip(number(old)).zip(number(size));
            let opening = move |this: &Gossip| {
                let ((origin, old), size) = named?;
                let opening = this.opening(&origin, old, size)?;
                Some(again(&headers, &opening.to_bytes(), CACHE_SECONDS))
            };
            found(
                gossip.look(opening).await,
                "that opening is not known here\n",
            )
        }
        ("evidence", []) => match parameter(query, "since").map_or(Ok(0), parse_decimal) {
            Ok(since) => {
                let list = move |this: &Gossip| {
                    again(&headers, &this.catalogue(since).to_bytes(), PAGE_SECONDS)
                };
                gossip.look(list).await.unwrap_or_else(|NotNow| later())
            }
            Err(_) => bad("since is no number"),
        },
        ("evidence", [id]) => {
            let id = hash(id);
            let file = move |this: &Gossip| {
                let evidence = this.evidence(&id?)?;
                Some(again(&headers, &evidence.to_bytes(), CACHE_SECONDS))
            };
            found(gossip.look(file).await, "there is no such evidence\n")
        }
        // Spec: GSP-79
        ("confirmed", [origin]) => {
            let origin = hash(origin);
            let confirmed = move |this: &Gossip| {
                let confirmed = this.confirmed_of(&origin?)?;
                Some(http::with_cache(
                    http::json(StatusCode::OK, &confirmed),
                    Cache::No,
                ))
            };
            found(gossip.look(confirmed).await, "no head of it is confirmed\n")
        }
        _ => http::not_found(),
    }
}

async fn posted(
    gossip: &Arc<Gossip>,
    from: Option<&KeyName>,
    path: &str,
    body: &[u8],
    headers: HeaderMap,
) -> Response {
    match path {
        "fetch" => match Fetch::parse(body) {
            Ok(fetch) => {
                let this = Arc::clone(gossip);
                let notes = move || packed(&headers, &this.notes(&fetch).to_bytes()).0;
                gossip.make(notes).await.unwrap_or_else(|NotNow| later())
            }
            Err(error) => bad(&error.to_string()),
        },
        "evidence" => match Evidence::parse(body) {
            Ok(evidence) => {
                let evidence = Box::new(evidence);
                let event = |request| Event::EvidenceReceived {
                    request: Some(request),
                    evidence,
                };
                replied(gossip, headers, gossip.request(from, event).await).await
            }
            Err(error) => http::error(StatusCode::UNPROCESSABLE_ENTITY, format!("{error}\n")),
        },
        // Spec: GSP-140
        "observe" if TlogProof::is_one(body) => match TlogProof::parse(body) {
            Ok(proof) => {
                let note = proof.checkpoint().clone();
                let event = |request| Event::Observed { request, note };
                replied(gossip, headers, gossip.request(from, event).await).await
            }
            Err(error) => bad(&error.to_string()),
        },
        _ => match SignedCheckpoint::parse(body) {
            Ok(note) if path == "challenge" => {
                let event = |request| Event::ChallengeReceived {
                    request,
                    from: from.cloned(),
                    note,
                };
                replied(gossip, headers, gossip.request(from, event).await).await
            }
            Ok(note) => {
                let event = |request| Event::Observed { request, note };
                replied(gossip, headers, gossip.request(from, event).await).await
            }
            Err(error) => bad(&error.to_string()),
        },
    }
}

// Spec: GSP-76
async fn replied(
    gossip: &Arc<Gossip>,
    headers: HeaderMap,
    reply: Result<Reply, NotNow>,
) -> Response {
    let hex = |id: &Hash| hex::encode(id.as_bytes());
    match reply {
        Err(NotNow) => later(),
        // Spec: GSP-94
        Ok(Reply::NotStored) => http::too_busy(NOT_STORED, RETRY_SECONDS),
        // Spec: GSP-93. It may be as long as a note: a thread compresses it.
        Ok(Reply::Opening(opening)) => {
            let opening = move || packed(&headers, &opening.to_bytes()).0;
            gossip.make(opening).await.unwrap_or_else(|NotNow| later())
        }
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

/// A body, compressed when that is worth it and the peer takes it; and whether it is.
// Spec: GSP-93
fn packed(headers: &HeaderMap, body: &[u8]) -> (Response, bool) {
    let wanted = body.len() >= GZIP_MIN && http::accepts_gzip(headers);
    let small = wanted.then(|| gzip(body)).flatten();
    let is_packed = small.is_some();
    let body = small.unwrap_or_else(|| body.to_vec());
    (
        http::gzipped(text(StatusCode::OK, body), is_packed),
        is_packed,
    )
}

/// As [`packed`], and whoever has it already is told so.
// Spec: GSP-93
fn again(headers: &HeaderMap, body: &[u8], seconds: u32) -> Response {
    let hash = sha256(body);
    let (half, _) = hash.as_bytes().split_at(Hash::LEN / 2);
    let (response, is_packed) = packed(headers, body);
    // The two forms are two entities.
    let form = if is_packed { "-gzip" } else { "" };
    let etag = format!("{}{form}", hex::encode(half));
    let response = http::with_cache(response, Cache::Seconds(seconds));
    http::conditional(headers, &etag, response)
}

fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

/// What was looked up, if it was there.
// Spec: GSP-130
fn found(looked: Result<Option<Response>, NotNow>, missing: &'static str) -> Response {
    match looked {
        Ok(Some(response)) => response,
        Ok(None) => http::error(StatusCode::NOT_FOUND, missing),
        Err(NotNow) => later(),
    }
}

fn later() -> Response {
    http::too_busy("later\n", RETRY_SECONDS)
}

fn over_budget(wait: Duration) -> Response {
    let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX);
    let seconds = seconds.saturating_add(1);
    http::retry_later(StatusCode::TOO_MANY_REQUESTS, "later\n", seconds)
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

/// What a request costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    /// A body is read, and what is in it verified.
    Posted,
    /// Something is made that goes over many logs, or signed.
    Made,
    /// What is there is looked up, which is not counted.
    LookedUp,
}

/// How many requests are answered: of each peer; and of strangers, those of each address, and of
/// all together.
// Spec: GSP-76, GSP-92
#[derive(Debug)]
pub(super) struct Budgets {
    began: Instant,
    buckets: Mutex<Buckets>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            buckets: Mutex::default(),
        }
    }
}

#[derive(Debug, Default)]
struct Buckets {
    posted: Bucket,
    made: Bucket,
    /// Those that owe something, for requests and for claims.
    by: HashMap<Client, [Bucket; 2]>,
    peers: BTreeMap<KeyName, Bucket>,
}

impl Buckets {
    /// Those of an address; nothing when it cannot be told whose it is, or there is no room.
    fn of(&mut self, client: Option<Client>, now: Duration) -> Option<&mut [Bucket; 2]> {
        let client = client?;
        if self.by.len() >= ADDRESSES_MAX && !self.by.contains_key(&client) {
            self.by
                .retain(|_, [requests, claims]| !requests.is_full(now) || !claims.is_full(now));
            if self.by.len() >= ADDRESSES_MAX {
                return None;
            }
        }
        Some(self.by.entry(client).or_default())
    }
}

impl Budgets {
    /// Takes what a request costs out of the budget of who makes it.
    fn take(&self, sender: &Sender, what: Counted) -> Result<(), Duration> {
        if what == Counted::LookedUp {
            return Ok(());
        }
        let now = self.began.elapsed();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = sender.peer() {
            if buckets.peers.len() >= PEERS_MAX {
                buckets.peers.retain(|_, bucket| !bucket.is_full(now));
            }
            return buckets
                .peers
                .entry(peer.clone())
                .or_default()
                .take(OF_PEER, now);
        }
        if let Some([requests, _]) = buckets.of(sender.client, now) {
            requests.take(OF_ADDRESS, now)?;
        }
        match what {
            Counted::Posted => buckets.posted.take(POSTED, now),
            Counted::Made => buckets.made.take(MADE, now),
            Counted::LookedUp => Ok(()),
        }
    }

    /// Whether a claim from this address is looked at: each costs a signature.
    fn may_claim(&self, client: Option<Client>) -> bool {
        let now = self.began.elapsed();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.of(client, now);
        bucket.is_none_or(|[_, claims]| claims.look(CLAIMS, now).is_ok())
    }

    fn claimed_in_vain(&self, client: Option<Client>) {
        let now = self.began.elapsed();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some([_, claims]) = buckets.of(client, now) {
            claims.charge(CLAIMS, now);
        }
    }
}

const fn rate(interval_ms: u64, burst: u32) -> Rate {
    Rate {
        interval: Duration::from_millis(interval_ms),
        burst: match NonZeroU32::new(burst) {
            Some(burst) => burst,
            None => NonZeroU32::MIN,
        },
    }
}

/// A peer asks some questions in a round, and brings what it found; in a drill a round takes a
/// tenth of a second.
const OF_PEER: Rate = rate(10, 1_000);
/// One stranger.
const OF_ADDRESS: Rate = rate(200, 100);
/// All strangers: verifying what is hostile takes less than a millisecond.
const POSTED: Rate = rate(5, 400);
/// All strangers: a page takes some milliseconds, and so do a thousand notes.
const MADE: Rate = rate(50, 200);
/// Claims of one address that do not count.
const CLAIMS: Rate = rate(1_000, 20);
const ADDRESSES_MAX: usize = 4_096;
const PEERS_MAX: usize = 2_048;
/// What is shorter is not made smaller.
const GZIP_MIN: usize = 1_024;
/// What stays as it is while it is there; a cache may be behind by so much.
const CACHE_SECONDS: u32 = 30;
const RETRY_SECONDS: u32 = 5;
/// What was sent is not kept.
const NOT_STORED: &str = "not stored: the disk does not take it\n";

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn sender(address: &str, peer: Option<&str>) -> Sender {
        let address: IpAddr = address.parse().unwrap();
        let name = peer.map(|name| KeyName::parse(name).unwrap());
        Sender {
            client: Client::of_peer(address),
            claimed: name.map(|name| Ok((name, sha256(b"")))),
        }
    }

    fn taken(budgets: &Budgets, sender: &Sender, most: usize) -> usize {
        let take = || budgets.take(sender, Counted::Posted).is_ok();
        std::iter::repeat_with(take)
            .take(most)
            .filter(|taken| *taken)
            .count()
    }

    // Spec: GSP-92
    #[test]
    fn strangers_use_up_what_strangers_have() {
        let budgets = Budgets::default();
        let crowd = sender("192.0.2.1", None);
        // One address; its neighbours in an IPv6 network are one, too.
        assert!((100..200).contains(&taken(&budgets, &crowd, 500)));
        assert!(taken(&budgets, &sender("2001:db8::1", None), 500) >= 100);
        assert!(taken(&budgets, &sender("2001:db8::2", None), 500) < 50);
        assert!(taken(&budgets, &sender("2001:db8:0:1::1", None), 50) == 50);
        // All of them together, from wherever they come.
        let mut all = 0;
        for last in 2..20 {
            all += taken(&budgets, &sender(&format!("192.0.2.{last}"), None), 50);
        }
        assert!(all < 400, "{all}");
        let peer = sender("192.0.2.1", Some("w1.example"));
        assert_eq!(taken(&budgets, &peer, 900), 900, "a peer is no stranger");
        assert!(taken(&budgets, &peer, 2_000) < 1_500);
        let other = sender("192.0.2.1", Some("w2.example"));
        assert_eq!(taken(&budgets, &other, 900), 900, "each has its own");
    }

    // Spec: GSP-91
    #[test]
    fn claims_that_do_not_count_are_not_looked_at_for_ever() {
        let budgets = Budgets::default();
        let [bad, good] = ["192.0.2.1", "192.0.2.2"].map(|address| sender(address, None).client);
        for _ in 0..30 {
            budgets.claimed_in_vain(bad);
        }
        assert!(!budgets.may_claim(bad));
        assert!(budgets.may_claim(good));
        assert!(budgets.may_claim(None), "nobody knows who it is");
    }
}
