//! What an operator sees: log lines on standard error, metrics as text.
//!
//! Registries are passed in, never global. Labels have a bounded set of values. The subscriber of
//! `tracing` is the one thing that the process has only once.

use std::fmt;
use std::fs;
use std::io::{self, IsTerminal as _};
use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

pub use prometheus_client;

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Sends log lines to standard error. `filter` is a tracing filter such as
/// `info,jurat_daemon=debug`; the environment variable `RUST_LOG` overrides it.
///
/// # Errors
/// A filter that does not parse, or a subscriber that was set before.
pub fn init_logs(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(set) if !set.is_empty() => EnvFilter::try_new(set),
        _ => EnvFilter::try_new(filter),
    }
    .map_err(TelemetryError::Filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    match format {
        LogFormat::Human => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|_| TelemetryError::AlreadySet)
}

/// Why there are no log lines. The operator's filter or the program's order is at fault.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("log filter: {0}")]
    Filter(ParseError),
    /// The process has a subscriber already.
    #[error("log lines have been set up before")]
    AlreadySet,
}

/// The content type of [`encode`].
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The registry as `OpenMetrics` text.
pub fn encode(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a String fails only when a metric's own encoder does; then what came is sent
    // without the end mark, which a scraper reports as truncated.
    if prometheus_client::encoding::text::encode(&mut text, registry).is_err() {
        tracing::error!("a metric failed to encode");
    }
    text
}

/// Registers build information and the metrics of this process, read at each scrape.
pub fn register_process(registry: &mut Registry, version: &str, revision: &str) {
    registry.register(
        "build",
        "The program that runs",
        Info::new(vec![
            ("version".to_owned(), version.to_owned()),
            ("revision".to_owned(), revision.to_owned()),
        ]),
    );
    registry.register_collector(Box::new(ProcessMetrics {
        started: Instant::now(),
    }));
}

#[derive(Debug)]
struct ProcessMetrics {
    started: Instant,
}

impl Collector for ProcessMetrics {
    /// What the system does not tell (`/proc` absent) is left out, not reported as zero.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let uptime = ConstGauge::new(self.started.elapsed().as_secs_f64());
        gauge(
            &mut encoder,
            "process_uptime",
            "Since the start",
            Some(&Unit::Seconds),
            &uptime,
        )?;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(resident) = status_kib(&status, "VmRSS:") {
            let bytes = ConstGauge::new(resident.saturating_mul(1024));
            let help = "Resident set size";
            gauge(
                &mut encoder,
                "process_resident_memory",
                help,
                Some(&Unit::Bytes),
                &bytes,
            )?;
        }
        if let Some(threads) = status_kib(&status, "Threads:") {
            let threads = ConstGauge::new(threads);
            gauge(&mut encoder, "process_threads", "Threads", None, &threads)?;
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // The directory that is being read is itself one of them.
            let open = ConstGauge::new(i64::try_from(open.count()).unwrap_or(i64::MAX) - 1);
            gauge(
                &mut encoder,
                "process_open_fds",
                "Open file descriptors",
                None,
                &open,
            )?;
        }
        if let Ok((soft, _)) = rlimit::Resource::NOFILE.get() {
            let max = ConstGauge::new(i64::try_from(soft).unwrap_or(i64::MAX));
            gauge(
                &mut encoder,
                "process_max_fds",
                "Limit on file descriptors",
                None,
                &max,
            )?;
        }
        if let Some(seconds) = cpu_seconds() {
            let cpu = ConstCounter::new(seconds);
            let metric = encoder.encode_descriptor(
                "process_cpu",
                "User and system time",
                Some(&Unit::Seconds),
                cpu.metric_type(),
            )?;
            cpu.encode(metric)?;
        }
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    let metric = encoder.encode_descriptor(name, help, unit, value.metric_type())?;
    value.encode(metric)
}

/// The first number after a key of `/proc/self/status`.
fn status_kib(status: &str, key: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Time on a processor: fields 14 and 15 of `/proc/self/stat`, in ticks of [`TICKS_PER_SECOND`].
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The command's name, in parentheses, may hold anything: count from behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

/// The unit of times in `/proc`: Linux fixes it at 100 for user space on every architecture that
/// we build for.
const TICKS_PER_SECOND: f64 = 100.0;
