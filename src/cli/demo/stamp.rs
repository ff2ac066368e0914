//! The demonstration's time-stamp: asked for, upgraded with its receipt, and verified.

use std::path::Path;

use anyhow::{Context, bail};
use jurat_daemon::client::{Client, ClientOptions, ClientRequest};
use jurat_daemon::clock::{Clock as _, SystemClock};
use jurat_daemon::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use jurat_keys::random_serial;
use jurat_proto::entry::{Entry, TimestampEntry};
use jurat_proto::key::UnixSeconds;
use jurat_proto::policy::Policy;
use jurat_proto::receipt::Receipt;
use jurat_proto::tsp::gen_time::GenTime;
use jurat_proto::tsp::imprint::{HashAlgorithm, MessageImprint};
use jurat_proto::tsp::request::{Nonce, TimestampRequest};
use jurat_proto::tsp::response::{RESPONSE_BYTES_MAX, TimestampResponse};
use jurat_proto::tsp::verify::{Expected, Trust, verify_response};

use super::super::authority::{CA_CERTIFICATE, DIR};
use crate::tsa::units::read_chain;

/// Stamps a file, writes the answer beside it, verifies it, and tells about it.
///
/// # Errors
/// When there is no token with a receipt in time, or it does not verify.
pub(super) async fn stamp(
    url: &str,
    service: &Path,
    file: &Path,
    policy: &Policy,
) -> anyhow::Result<String> {
    let bytes = std::fs::read(file)?;
    let imprint = MessageImprint::new(HashAlgorithm::Sha256, HashAlgorithm::Sha256.digest(&bytes))?;
    let nonce = Nonce::from_number(&random_serial()?)?;
    let request = TimestampRequest::new(imprint, None, Some(nonce), true);
    let ask = ClientRequest::post(format!("{url}/timestamp"), request.to_bytes())
        .header(
            CONTENT_TYPE,
            HeaderValue::from_static("application/timestamp-query"),
        )
        .header(
            HeaderName::from_static("prefer"),
            HeaderValue::from_static("wait=10"),
        )
        .response_bytes_max(RESPONSE_BYTES_MAX);
    let answer = Client::new(ClientOptions::default())?.send(ask).await?;
    if answer.status.as_u16() != 200 {
        bail!("{url}/timestamp answered {}", answer.status);
    }
    let stamped = file.with_extension("tsr");
    std::fs::write(&stamped, &answer.body)?;

    let response = TimestampResponse::parse(&std::fs::read(&stamped)?)?;
    let roots = read_chain(&service.join(DIR).join(CA_CERTIFICATE))?;
    let trust = Trust {
        roots: &roots,
        others: &[],
    };
    let now = GenTime::new(SystemClock.now().seconds(), 0).context("a clock before 9999")?;
    let good = verify_response(&response, Expected::of_request(&request), trust, now)?;
    let token = response.token().context("a good answer has a token")?;
    let receipt = token.receipt().context("no receipt came in time")?;
    let receipt = Receipt::parse(receipt)?;
    let verdict = receipt.verify(policy)?;
    let due = Entry::Timestamp(TimestampEntry::of(token.tst_info())?);
    if *receipt.entry() != due {
        bail!("the receipt in the token is that of another entry");
    }
    // Nobody had these cosignatures before they were made.
    let before = match &good.not_before {
        Some(before) => policy.verify_checkpoint(before.checkpoint())?.witnesses,
        None => Vec::new(),
    };
    let since = policy.quorum_since(&before).map_or(0, UnixSeconds::get);
    let by = policy
        .quorum_by(&verdict.witnesses)
        .map_or(0, UnixSeconds::get);
    let within = match since {
        0 => String::new(),
        _ => format!(
            ", within {} s by the witnesses",
            by.saturating_sub(since) + 1
        ),
    };
    Ok(format!(
        "{}{within}: entry {} of {} leaves, {} cosignatures; token of {} bytes verifies: {}",
        good.gen_time,
        verdict.index.get(),
        verdict.head.size.get(),
        verdict.witnesses.len(),
        answer.body.len(),
        stamped.display()
    ))
}
