//! `jurat check-config`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{ConfigArg, output};
use crate::config::Config;

/// Arguments of `jurat check-config`.
#[derive(Debug, Args)]
pub(super) struct CheckConfigArgs {
    /// The configuration file (the same as --config)
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
}

/// Checks a configuration and the files that it names.
///
/// # Errors
/// All problems at once.
pub(super) fn run(args: &CheckConfigArgs) -> anyhow::Result<ExitCode> {
    let file = args.file.as_ref().unwrap_or(&args.config.config);
    let config = Config::load(file).map_err(output::usage)?;
    output::line(format_args!(
        "{}: good. Log {}, {} log keys, {} cosigner keys, {} witnesses",
        file.display(),
        config.origin.as_str(),
        config.log_keys.len(),
        config.cosigner_keys.len(),
        config.policy.witnesses().len()
    ));
    // Spec: TSA-61
    let units = config.timestamp.as_ref();
    let units = units.map_or(&[][..], |timestamp| timestamp.units.all());
    for unit in units {
        if let Some(why) = unit.key.as_ref().and_then(|key| key.out_of_reach()) {
            output::line(format_args!(
                "unit {}: its key is out of reach now: {why}",
                unit.id
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}
