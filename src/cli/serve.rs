//! `jurat serve`.

use std::process::ExitCode;

use anyhow::Context;
use jurat_daemon::exit;
use jurat_daemon::limits::OpenFiles;
use jurat_daemon::shutdown::Shutdown;
use jurat_daemon::telemetry::{self, LogFormat};

use super::{ConfigArg, output};
use crate::config::Config;
use crate::service;
use crate::tsa::units::UnitsError;

/// Runs the service until it is told to stop.
///
/// # Errors
/// When it cannot start, or must stop.
pub(super) fn run(args: &ConfigArg) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config).map_err(output::usage)?;
    telemetry::init_logs(LogFormat::Human, "info")?;
    let files = OpenFiles::raise().context("cannot raise the limit of open files")?;
    tracing::debug!(files.soft = files.soft, "limit of open files");
    output::before_opening(&config.database);
    let origin = config.origin.clone();
    exit::block_on(runtime()?, async {
        let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
        let scheme = if config.tls.is_some() {
            "https"
        } else {
            "http"
        };
        service::run_on_system_clock(config, shutdown, |address| {
            output::line(format_args!("listening on {scheme}://{address}"));
            tracing::info!(
                origin = origin.as_str(),
                "listening on {scheme}://{address}"
            );
        })
        .await
        .map_err(|error| match error.downcast::<UnitsError>() {
            // The file of units and the log do not go together: it is the operator's to settle.
            Ok(units) => output::usage(format_args!("timestamp.units: {units}")),
            Err(error) => error,
        })
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The runtime of a command that talks to the network.
///
/// # Errors
/// When the operating system gives no threads.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")
}
