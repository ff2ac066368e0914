//! `jurat logs`: the registry of logs that may anchor. Safe while the service runs: it reads the
//! file again when it changes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jurat_daemon::config::load;
use jurat_proto::checkpoint::Origin;
use jurat_proto::key::VerifierKey;
use jurat_store::registry::{LogState, Registry};
use serde::Deserialize;
use serde_json::json;

use super::{ConfigArg, Format, output};

#[derive(Debug, Subcommand)]
pub(super) enum LogsCommand {
    /// Let a log anchor, or give a log that may already another key
    Add(AddArgs),
    /// List the registered logs
    List(ListArgs),
    /// A log has done with a key: checkpoints that only this key signed are refused from now on
    Retire(RetireArgs),
    /// Take no more checkpoints of a log; its state is kept for ever
    Disable(OriginArgs),
    /// Take checkpoints of a disabled log again, from where it stood
    Enable(OriginArgs),
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// The log's verifier key: name+id+base64
    #[arg(value_name = "VKEY")]
    key: String,
    /// The log's origin line, when it is not the key's name
    #[arg(long)]
    origin: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Args)]
pub(super) struct RetireArgs {
    /// The log's verifier key: name+id+base64
    #[arg(value_name = "VKEY")]
    key: String,
    /// The log's origin line, when it is not the key's name
    #[arg(long)]
    origin: Option<String>,
    /// The log signs with the key after all
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The same as --format json
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Args)]
pub(super) struct OriginArgs {
    /// The log's origin line
    origin: String,
    #[command(flatten)]
    config: ConfigArg,
}

/// Changes or lists the registry.
///
/// # Errors
/// When the registry cannot be read or written, or the change makes no sense.
pub(super) fn run(command: LogsCommand) -> anyhow::Result<ExitCode> {
    match command {
        LogsCommand::Add(args) => {
            let key = VerifierKey::parse(&args.key).map_err(output::usage)?;
            let origin = args.origin.as_deref().unwrap_or(key.name().as_str());
            let origin = Origin::parse(origin).map_err(output::usage)?;
            add(&registry_file(&args.config.config)?, &origin, &key)?;
            output::line(format_args!("{} may anchor", origin.as_str()));
        }
        // Spec: STO-37
        LogsCommand::Retire(args) => {
            let key = VerifierKey::parse(&args.key).map_err(output::usage)?;
            let origin = args.origin.as_deref().unwrap_or(key.name().as_str());
            let origin = Origin::parse(origin).map_err(output::usage)?;
            let file = registry_file(&args.config.config)?;
            Registry::edit(file, &(), |registry| {
                registry.retire(&origin, &key, !args.undo)
            })?;
            let signs = if args.undo { "again" } else { "no more" };
            output::line(format_args!("{origin} signs {signs} with {}", args.key));
        }
        LogsCommand::Disable(args) => {
            let origin = Origin::parse(&args.origin).map_err(output::usage)?;
            set_state(&args.config, &origin, LogState::Disabled)?;
            output::line(format_args!("{} may no longer anchor", origin.as_str()));
        }
        LogsCommand::Enable(args) => {
            let origin = Origin::parse(&args.origin).map_err(output::usage)?;
            set_state(&args.config, &origin, LogState::Active)?;
            output::line(format_args!("{} may anchor again", origin.as_str()));
        }
        LogsCommand::List(args) => list(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Lets a log anchor.
///
/// # Errors
/// When the registry cannot be written.
pub(super) fn add(file: &Path, origin: &Origin, key: &VerifierKey) -> anyhow::Result<()> {
    Registry::add(file, origin, std::slice::from_ref(key))?;
    Ok(())
}

fn set_state(config: &ConfigArg, origin: &Origin, state: LogState) -> anyhow::Result<()> {
    Registry::set_state(registry_file(&config.config)?, origin, state)?;
    Ok(())
}

fn list(args: &ListArgs) -> anyhow::Result<()> {
    let registry = Registry::load(registry_file(&args.config.config)?)?;
    if args.json || args.format == Format::Json {
        let rows: Vec<_> = registry
            .logs()
            .map(|log| {
                let keys: Vec<String> = log.keys.iter().map(ToString::to_string).collect();
                let retired: Vec<String> = log.retired.iter().map(ToString::to_string).collect();
                json!({
                    "origin": log.origin.as_str(),
                    "origin_hash": log.origin.hash_hex(),
                    "active": log.state == LogState::Active,
                    "keys": keys,
                    "retired": retired,
                })
            })
            .collect();
        output::line(json!({ "logs": rows }));
        return Ok(());
    }
    for log in registry.logs() {
        let state = if log.state == LogState::Active {
            "active"
        } else {
            "disabled"
        };
        output::line(format_args!("{state:9} {}", log.origin));
        for key in &log.keys {
            output::line(format_args!("          {key}"));
        }
        for key in &log.retired {
            output::line(format_args!("          {key} (retired)"));
        }
    }
    Ok(())
}

/// Only the registry's place is read from the configuration, so that a log can be added before the
/// rest of it is complete.
#[derive(Deserialize)]
struct Place {
    logs: PathBuf,
}

fn registry_file(config: &Path) -> anyhow::Result<PathBuf> {
    let loaded = load::<Place>(config).map_err(output::usage)?;
    Ok(loaded.path(&loaded.raw.logs))
}
