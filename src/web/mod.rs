//! Pages for people.

use askama::Template;
use jurat_daemon::http::{self, Response, StatusCode, header};

use jurat_proto::hex;
use jurat_store::registry::LogState;

use crate::cosigners::WitnessStatus;
use crate::evidence::Convicted;
use crate::http::App;

/// Logs that the page lists; `/logs` has them all.
const LOGS_SHOWN: usize = 100;

#[derive(Template)]
#[template(path = "status.html")]
struct Page<'a> {
    origin: &'a str,
    version: &'a str,
    good: bool,
    summary: &'a str,
    checkpoint: Option<String>,
    age_s: u64,
    committed: u64,
    log_keys: &'a [String],
    cosigner_keys: &'a [String],
    witnesses: Vec<WitnessStatus>,
    logs: Vec<LogRow>,
    logs_total: usize,
    convicted_total: usize,
    convicted: Vec<(String, ConvictedRow)>,
    evidence: usize,
}

struct LogRow {
    origin: String,
    hash: String,
    active: bool,
    size: Option<u64>,
    convicted: Option<ConvictedRow>,
}

struct ConvictedRow {
    id: String,
    index: u64,
}

impl ConvictedRow {
    fn of(by: &Convicted) -> Self {
        Self {
            id: hex::encode(by.id.as_bytes()),
            index: by.index.get(),
        }
    }
}

/// The status page at `/`.
pub fn page(app: &App) -> Response {
    let health = app.health_now();
    let published = app.published.borrow().clone();
    let registry = app.submit.logs.borrow().clone();
    let mut logs = Vec::new();
    for log in registry.all().take(LOGS_SHOWN) {
        let latest = app.store.latest(&log.origin).ok().flatten();
        logs.push(LogRow {
            origin: log.origin.to_string(),
            hash: log.origin.hash_hex(),
            active: log.state == LogState::Active,
            size: latest.map(|latest| latest.head.size.get()),
            convicted: app
                .docket
                .convicted(&log.origin)
                .as_ref()
                .map(ConvictedRow::of),
        });
    }
    let (convicted_total, convicted) = app.docket.convicted_logs(LOGS_SHOWN);
    let page = Page {
        origin: app.origin.as_str(),
        version: crate::cli::VERSION,
        good: health.good,
        summary: &health.summary,
        checkpoint: published
            .map(|published| String::from_utf8_lossy(published.bytes()).into_owned()),
        age_s: health.age_s.unwrap_or_default(),
        committed: app.receipts.sequencer.committed().borrow().size.get(),
        log_keys: &app.keys.log,
        cosigner_keys: &app.keys.cosigners,
        witnesses: app.witnesses.rows(),
        logs,
        logs_total: registry.all().len(),
        convicted_total,
        convicted: convicted
            .into_iter()
            .map(|(origin, by)| (origin.to_string(), ConvictedRow::of(&by)))
            .collect(),
        evidence: app.docket.count(),
    };
    match page.render() {
        Ok(html) => {
            let mut response = http::text(StatusCode::OK, html);
            let headers = response.headers_mut();
            headers.insert(
                header::CONTENT_TYPE,
                header::HeaderValue::from_static("text/html; charset=utf-8"),
            );
            headers.insert(
                header::CONTENT_SECURITY_POLICY,
                header::HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
            );
            response
        }
        Err(error) => {
            tracing::error!("the status page could not be made: {error}");
            http::error(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
        }
    }
}
