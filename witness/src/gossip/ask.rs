//! Asking a peer: one request, one answer, bounded in time and bytes.
//!
//! Bodies may come compressed. What is decoded has the bound that a body has, and decoding stops
//! there: a small answer that would be large is refused after as many bytes as any other.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::GzDecoder;
use jurat_daemon::client::{ClientError, ClientRequest, ClientResponse};
use jurat_daemon::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderName, HeaderValue};
use jurat_proto::evidence::{EVIDENCE_BYTES_MAX, Evidence};
use jurat_proto::gossip::node::{Answer, Failure, Question};
use jurat_proto::gossip::{
    CATALOGUE_BYTES_MAX, Catalogue, FEED_BYTES_MAX, Feed, NOTES_BYTES_MAX, Notes,
    OPENING_BYTES_MAX, Opening, SignedStatement,
};
use jurat_proto::hex;
use jurat_proto::key::KeyName;

use super::claims::CLAIM_FIELD;
use super::{Gossip, in_turn};

impl Gossip {
    /// Who wants a head of ours opened that is larger than another one has that head, and it may
    /// be a branch that was shown to nobody else. Whoever can ask us finds it on our pages; where
    /// nobody can, it is shown before it is asked for, so that the peer holds it, too.
    // Spec: GSP-133
    pub(super) async fn show_first(
        self: &Arc<Self>,
        peer: &KeyName,
        url: &str,
        question: &Question,
    ) {
        let Question::Opening { origin, .. } = question else {
            return;
        };
        if !self.settings.outbound_only {
            return;
        }
        let (this, origin) = (Arc::clone(self), origin.clone());
        let newest = in_turn(&self.reading, move || this.newest_note(&origin)).await;
        let Ok(Some(note)) = newest else {
            return;
        };
        let shown = Question::Challenge(note);
        // What is to be learned of it comes by the question itself.
        drop(self.answer_of(peer, url, shown).await);
    }

    /// Asks a peer, and reads the answer. There is always one.
    pub(super) async fn answer_of(&self, peer: &KeyName, url: &str, question: Question) -> Answer {
        let asked = Asked::of(&question);
        let body = asked.body.as_deref();
        let method = if body.is_some() { "POST" } else { "GET" };
        let claim = self.claim(peer, method, &asked.target, body.unwrap_or_default());
        let bytes_max = asked.bytes_max;
        match self.client.send(asked.request(url, claim)).await {
            // A page is thousands of hashes: one answer at a time is read, by a thread that may.
            Ok(response) => {
                let read = move || answer(&question, &response, bytes_max);
                let answer = in_turn(&self.reading, read).await;
                answer.unwrap_or(Answer::Failed(Failure::Unreachable))
            }
            Err(ClientError::TooLarge { .. }) => Answer::Failed(Failure::Malformed),
            Err(_) => Answer::Failed(Failure::Unreachable),
        }
    }
}

/// What is asked, as HTTP has it.
struct Asked {
    /// From the peer's URL on.
    target: String,
    /// Of a POST.
    body: Option<Vec<u8>>,
    bytes_max: usize,
}

impl Asked {
    fn of(question: &Question) -> Self {
        let (target, body, bytes_max) = match question {
            Question::State { nonce } => (format!("state?nonce={nonce}"), None, STATE_BYTES_MAX),
            Question::Heads { epoch, since } => (
                format!("heads?epoch={epoch}&since={since}"),
                None,
                FEED_BYTES_MAX,
            ),
            Question::Fetch(fetch) => ("fetch".to_owned(), Some(fetch.to_bytes()), NOTES_BYTES_MAX),
            Question::Challenge(note) => (
                "challenge".to_owned(),
                Some(note.to_bytes()),
                OPENING_BYTES_MAX,
            ),
            Question::Opening { origin, old, size } => (
                format!("opening/{}/{old}/{size}", origin.hash_hex()),
                None,
                OPENING_BYTES_MAX,
            ),
            Question::Catalogue { since } => {
                (format!("evidence?since={since}"), None, CATALOGUE_BYTES_MAX)
            }
            Question::Evidence { id } => (
                format!("evidence/{}", hex::encode(id.as_bytes())),
                None,
                EVIDENCE_BYTES_MAX,
            ),
            Question::Mail(evidence) => (
                "evidence".to_owned(),
                Some(evidence.to_bytes()),
                REPLY_BYTES_MAX,
            ),
        };
        Self {
            target: format!("/gossip/v0/{target}"),
            body,
            bytes_max,
        }
    }

    fn request(self, url: &str, claim: Option<String>) -> ClientRequest {
        let url = format!("{url}{}", self.target);
        let request = match self.body {
            Some(body) => ClientRequest::post(url, body),
            None => ClientRequest::get(url),
        };
        let request = request
            .header(ACCEPT_ENCODING, HeaderValue::from_static(GZIP))
            .response_bytes_max(self.bytes_max);
        match claim.and_then(|claim| HeaderValue::try_from(claim).ok()) {
            Some(claim) => request.header(HeaderName::from_static(CLAIM_FIELD), claim),
            None => request,
        }
    }
}

fn answer(question: &Question, response: &ClientResponse, bytes_max: usize) -> Answer {
    let status = response.status.as_u16();
    match (question, status) {
        (Question::Mail(_), 200 | 201) => Answer::Taken,
        (Question::Challenge(_), 202 | 404)
        | (Question::Opening { .. } | Question::Evidence { .. }, 404) => Answer::Nothing,
        (_, 429 | 503) => Answer::Failed(Failure::Busy {
            wait: retry_after(response),
        }),
        (_, 200) => {
            let body = decoded(response, bytes_max);
            let read = body.and_then(|body| read(question, &body));
            read.unwrap_or(Answer::Failed(Failure::Malformed))
        }
        _ => Answer::Failed(Failure::Refused),
    }
}

/// The body as it was before it was compressed, if it is at most so long.
// Spec: GSP-93
fn decoded(response: &ClientResponse, bytes_max: usize) -> Option<Vec<u8>> {
    match response.headers.get(CONTENT_ENCODING) {
        None => Some(response.body.to_vec()),
        Some(coding) if coding == GZIP => {
            let limit = u64::try_from(bytes_max).ok()?.saturating_add(1);
            let mut body = Vec::new();
            let mut decoder = GzDecoder::new(&*response.body).take(limit);
            decoder.read_to_end(&mut body).ok()?;
            (body.len() <= bytes_max).then_some(body)
        }
        Some(_) => None,
    }
}

fn read(question: &Question, body: &[u8]) -> Option<Answer> {
    Some(match question {
        Question::State { .. } => Answer::State(Box::new(SignedStatement::parse(body).ok()?)),
        Question::Heads { .. } => Answer::Heads(Box::new(Feed::parse(body).ok()?)),
        Question::Fetch(_) => Answer::Notes(Notes::parse(body).ok()?),
        Question::Challenge(_) | Question::Opening { .. } => {
            Answer::Opening(Box::new(Opening::parse(body).ok()?))
        }
        Question::Catalogue { .. } => Answer::Catalogue(Catalogue::parse(body).ok()?),
        Question::Evidence { .. } => Answer::Evidence(Box::new(Evidence::parse(body).ok()?)),
        Question::Mail(_) => Answer::Taken,
    })
}

fn retry_after(response: &ClientResponse) -> Duration {
    let value = response.headers.get("retry-after");
    let seconds = value.and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(RETRY_SECONDS))
}

const GZIP: &str = "gzip";
/// When the peer says nothing of it.
const RETRY_SECONDS: u64 = 30;
/// A state and its line.
const STATE_BYTES_MAX: usize = 8 * 1024;
/// A line of text.
const REPLY_BYTES_MAX: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use bytes::Bytes;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use jurat_daemon::http::{HeaderMap, StatusCode};

    use super::*;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn response(body: Vec<u8>, coding: Option<&'static str>) -> ClientResponse {
        let mut headers = HeaderMap::new();
        if let Some(coding) = coding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        ClientResponse {
            status: StatusCode::OK,
            headers,
            body: Bytes::from(body),
        }
    }

    // Spec: GSP-93
    #[test]
    fn a_small_answer_that_would_be_large_is_refused_at_the_bound() {
        let list = b"next 7\n";
        let question = Question::Catalogue { since: 7 };
        let read = |body, coding| answer(&question, &response(body, coding), CATALOGUE_BYTES_MAX);
        let is_good =
            |answer: Answer| matches!(answer, Answer::Catalogue(list) if list.next() == 7);
        assert!(is_good(read(list.to_vec(), None)));
        assert!(is_good(read(gzip(list), Some("gzip"))));
        let malformed = |answer: Answer| matches!(answer, Answer::Failed(Failure::Malformed));
        // A bomb of 2 MiB is some KiB on its way.
        let bomb = gzip(&vec![b'0'; 2 << 20]);
        assert!(
            bomb.len() < CATALOGUE_BYTES_MAX,
            "it passes the first bound"
        );
        let bomb = response(bomb, Some("gzip"));
        assert!(decoded(&bomb, CATALOGUE_BYTES_MAX).is_none());
        assert!(malformed(answer(&question, &bomb, CATALOGUE_BYTES_MAX)));
        // What is not what it says, in another coding, or cut short.
        assert!(malformed(read(list.to_vec(), Some("gzip"))));
        assert!(malformed(read(gzip(list), Some("br"))));
        let mut short = gzip(list);
        short.truncate(12);
        assert!(malformed(read(short, Some("gzip"))));
        let exact = response(gzip(&[b'x'; 100]), Some("gzip"));
        assert_eq!(decoded(&exact, 100).map(|body| body.len()), Some(100));
        assert!(decoded(&exact, 99).is_none());
    }
}
