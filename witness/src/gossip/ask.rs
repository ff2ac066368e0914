//! Asking a peer: one request, one answer, bounded in time and bytes.

use std::time::Duration;

use jurat_daemon::client::{Client, ClientError, ClientRequest, ClientResponse};
use jurat_proto::evidence::{EVIDENCE_BYTES_MAX, Evidence};
use jurat_proto::gossip::node::{Answer, Failure, Question};
use jurat_proto::gossip::{
    CATALOGUE_BYTES_MAX, Catalogue, FEED_BYTES_MAX, Feed, NOTES_BYTES_MAX, Notes,
    OPENING_BYTES_MAX, Opening, SignedStatement,
};
use jurat_proto::hex;

/// Asks, and reads the answer. There is always one.
pub(super) async fn ask(client: &Client, url: &str, question: &Question) -> Answer {
    match client.send(request(url, question)).await {
        Ok(response) => answer(question, &response),
        Err(ClientError::TooLarge { .. }) => Answer::Failed(Failure::Malformed),
        Err(_) => Answer::Failed(Failure::Unreachable),
    }
}

fn request(url: &str, question: &Question) -> ClientRequest {
    let at = |path: &str| format!("{url}/gossip/v0/{path}");
    let (request, bytes_max) = match question {
        Question::State { nonce } => (
            ClientRequest::get(at(&format!("state?nonce={nonce}"))),
            STATE_BYTES_MAX,
        ),
        Question::Heads { epoch, since } => (
            ClientRequest::get(at(&format!("heads?epoch={epoch}&since={since}"))),
            FEED_BYTES_MAX,
        ),
        Question::Fetch(fetch) => (
            ClientRequest::post(at("fetch"), fetch.to_bytes()),
            NOTES_BYTES_MAX,
        ),
        Question::Challenge(note) => (
            ClientRequest::post(at("challenge"), note.to_bytes()),
            OPENING_BYTES_MAX,
        ),
        Question::Opening { origin, old, size } => (
            ClientRequest::get(at(&format!("opening/{}/{old}/{size}", origin.hash_hex()))),
            OPENING_BYTES_MAX,
        ),
        Question::Catalogue { since } => (
            ClientRequest::get(at(&format!("evidence?since={since}"))),
            CATALOGUE_BYTES_MAX,
        ),
        Question::Evidence { id } => (
            ClientRequest::get(at(&format!("evidence/{}", hex::encode(id.as_bytes())))),
            EVIDENCE_BYTES_MAX,
        ),
        Question::Mail(evidence) => (
            ClientRequest::post(at("evidence"), evidence.to_bytes()),
            REPLY_BYTES_MAX,
        ),
    };
    request.response_bytes_max(bytes_max)
}

fn answer(question: &Question, response: &ClientResponse) -> Answer {
    let body = &response.body;
    let status = response.status.as_u16();
    match (question, status) {
        (Question::Mail(_), 200 | 201) => Answer::Taken,
        (Question::Challenge(_), 202 | 404)
        | (Question::Opening { .. } | Question::Evidence { .. }, 404) => Answer::Nothing,
        (_, 429 | 503) => Answer::Failed(Failure::Busy {
            wait: retry_after(response),
        }),
        (_, 200) => read(question, body).unwrap_or(Answer::Failed(Failure::Malformed)),
        _ => Answer::Failed(Failure::Refused),
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

/// When the peer says nothing of it.
const RETRY_SECONDS: u64 = 30;
/// A state and its line.
const STATE_BYTES_MAX: usize = 8 * 1024;
/// A line of text.
const REPLY_BYTES_MAX: usize = 8 * 1024;
