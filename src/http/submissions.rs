//! `POST /add-checkpoint`, `POST /anchor`, `GET /receipt/<index>` and `/receipt/<index>.cose`.

use std::time::Duration;

use jurat_daemon::http::{self, Request, Response, header};
use jurat_proto::add_checkpoint::{
    AddCheckpoint, BODY_BYTES_MAX, CONFLICT_CONTENT_TYPE, Refusal, conflict_body,
};
use jurat_proto::decimal::parse_decimal;
use jurat_proto::tree::{LeafIndex, TreeSize};
use tokio::time::Instant;

use super::respond::{error, text, with_header};
use super::{App, Refused, query};
use crate::log::AppendError;
use crate::log::receipts::{ReceiptError, Receipts};
use crate::submit::{Accepted, SubmitError};

/// How long `POST /anchor` waits for the receipt when the client names no time: longer than a
/// quorum takes unless witnesses are down.
const ANCHOR_WAIT: Duration = Duration::from_secs(10);

/// A clock is not set right within a second.
const NO_TIME_RETRY_SECONDS: u32 = 30;

/// How long a request that has come so far may still wait: it must be answered before the
/// listener's time for it is over, or its client would not learn that its entry is durable.
pub(super) fn patience(app: &App, begun: Instant, wanted: Duration) -> Duration {
    let all = app.limits.request_timeout;
    let last = all.saturating_sub(all / 6);
    wanted.min(last.saturating_sub(begun.elapsed()))
}

// Spec: WIT-41, WIT-46
/// C2SP tlog-witness add-checkpoint, byte for byte.
pub(super) async fn add_checkpoint(app: &App, request: Request) -> Response {
    match submit(app, request).await {
        Ok(accepted) => {
            let lines = accepted.cosignatures.iter();
            let body = lines.fold(String::new(), |body, line| format!("{body}{line}\n"));
            let response = text(200, body);
            with_header(response, header::LOCATION, &location(accepted.index))
        }
        Err(refused) => *refused,
    }
}

/// The same body; answers with the receipt, or 202 and its place when the wait ends first.
pub(super) async fn anchor(app: &App, request: Request) -> Response {
    let begun = Instant::now();
    let wanted = prefer_wait(&request).unwrap_or(ANCHOR_WAIT);
    match submit(app, request).await {
        Ok(accepted) => {
            let patience = patience(app, begun, wanted);
            let response = receipt_response(app.receipts.wait(accepted.index, patience).await);
            with_header(response, header::LOCATION, &location(accepted.index))
        }
        Err(refused) => *refused,
    }
}

/// A receipt, 202 while its quorum is pending, 404 when there is no such entry. In COSE when the
/// index ends so.
pub(super) async fn receipt(app: &App, request: &Request, name: &str) -> Response {
    let (index, in_cose) = match name.strip_suffix(".cose") {
        Some(index) => (index, true),
        None => (name, false),
    };
    let Some(index) = parse_decimal(index).ok().and_then(LeafIndex::new) else {
        return error(
            400,
            "the index must be a decimal without leading zeros, below 2^63",
        );
    };
    let wait = match query(request, "wait") {
        Ok(None) => 0,
        Ok(Some(wait)) => match parse_decimal(&wait) {
            Ok(seconds) => seconds,
            Err(_) => return error(400, "wait must be a number of seconds"),
        },
        Err(message) => return error(400, &message),
    };
    let patience = patience(app, Instant::now(), Duration::from_secs(wait));
    let receipt = match wait {
        0 => app.receipts.receipt(index),
        _ => app.receipts.wait(index, patience).await,
    };
    if !in_cose {
        return receipt_response(receipt);
    }
    // Spec: RCP-15
    let receipt = receipt.and_then(|receipt| Receipts::in_cose(index, &receipt));
    let content_type = receipt.is_ok().then_some(COSE_CONTENT_TYPE);
    let response = receipt_response(receipt);
    match content_type {
        Some(content_type) => with_header(response, header::CONTENT_TYPE, content_type),
        None => response,
    }
}

/// RFC 9052, 11.3.1.
const COSE_CONTENT_TYPE: &str = "application/cose; cose-type=\"cose-sign1\"";

async fn submit(app: &App, request: Request) -> Result<Accepted, Refused> {
    let body = http::read_body(request, BODY_BYTES_MAX, app.limits.body_timeout)
        .await
        .map_err(|error| Refused::from(error.response()))?;
    let parsed = AddCheckpoint::parse(&body)
        .map_err(|why| Refused::from(error(why.status(), &why.to_string())))?;
    app.submit
        .add_checkpoint(&parsed)
        .await
        .map_err(|refused| refusal(&refused).into())
}

/// The one place where a refused submission becomes a status.
fn refusal(refused: &SubmitError) -> Response {
    let why = refused.to_string();
    match refused {
        SubmitError::Refused(Refusal::Conflict { current, .. }) => {
            // Spec: WIT-42
            let body = conflict_body(*current);
            with_header(text(409, body), header::CONTENT_TYPE, CONFLICT_CONTENT_TYPE)
        }
        SubmitError::Refused(refusal) => error(refusal.status(), &why),
        SubmitError::Entry(_) | SubmitError::TooLong(_) => error(413, &why),
        SubmitError::Append(AppendError::Conflict { current }) => {
            let body = conflict_body(current.map_or(TreeSize::ZERO, |head| head.size));
            with_header(text(409, body), header::CONTENT_TYPE, CONFLICT_CONTENT_TYPE)
        }
        SubmitError::Append(AppendError::Overloaded | AppendError::Stopped)
        | SubmitError::ClockBehind { .. } => http::too_busy(format!("{why}\n"), 1),
        // Spec: SVC-55
        SubmitError::Convicted(_) | SubmitError::Append(AppendError::Convicted(_)) => {
            error(403, &why)
        }
        // Spec: SVC-40
        SubmitError::NoTime(_) => http::too_busy(format!("{why}\n"), NO_TIME_RETRY_SECONDS),
        SubmitError::Damaged(cause) => {
            tracing::error!("the database is damaged; run `jurat fsck`: {cause}");
            error(
                500,
                "what is stored of this log is damaged; nothing was changed",
            )
        }
        SubmitError::Evidence(cause) => {
            tracing::error!("evidence against a log could not be logged: {cause}");
            error(500, "evidence against this log could not be logged")
        }
        SubmitError::Store(cause) => {
            tracing::error!("a submission could not be decided: {cause}");
            error(500, "the store cannot be read; nothing was changed")
        }
        SubmitError::Signer(cause) => {
            tracing::error!("a submission could not be cosigned: {cause}");
            error(
                500,
                "a key of this service could not sign; nothing was changed",
            )
        }
    }
}

fn receipt_response(result: Result<Vec<u8>, ReceiptError>) -> Response {
    match result {
        Ok(receipt) => {
            // A later receipt of the same entry stands under a newer checkpoint; both are good.
            with_header(text(200, receipt), header::CACHE_CONTROL, "no-cache")
        }
        Err(why @ ReceiptError::NoEntry { .. }) => error(404, &why.to_string()),
        Err(why @ (ReceiptError::Pending { .. } | ReceiptError::NotInCose { .. })) => {
            with_header(error(202, &why.to_string()), header::RETRY_AFTER, "1")
        }
        Err(why @ (ReceiptError::Store(_) | ReceiptError::Tree(_) | ReceiptError::Encode(_))) => {
            tracing::error!("a receipt could not be made: {why}");
            error(500, "the store cannot be read")
        }
    }
}

fn location(index: LeafIndex) -> String {
    format!("/receipt/{}", index.get())
}

/// `Prefer: wait=N` of RFC 7240, in seconds; other preferences are ignored, as it says.
pub(super) fn prefer_wait(request: &Request) -> Option<Duration> {
    request
        .headers()
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .filter_map(|preference| preference.trim().strip_prefix("wait="))
        .find_map(|seconds| seconds.trim_matches('"').parse().ok())
        .map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: SVC-15
    #[test]
    fn a_full_queue_and_a_stopping_service_ask_to_come_again() {
        for cause in [AppendError::Overloaded, AppendError::Stopped] {
            let response = refusal(&SubmitError::Append(cause));
            assert_eq!(response.status(), 503);
            assert_eq!(response.headers()["retry-after"], "1");
        }
    }

    #[test]
    fn a_conflict_that_outlived_its_retries_tells_the_size() {
        let response = refusal(&SubmitError::Append(AppendError::Conflict {
            current: None,
        }));
        assert_eq!(response.status(), 409);
        assert_eq!(response.headers()["content-type"], CONFLICT_CONTENT_TYPE);
    }
}
