//! `jurat check-config`.

use std::process::ExitCode;

use super::{ConfigArg, output};
use crate::config::Config;

/// Checks a configuration and the files that it names.
///
/// # Errors
/// All problems at once.
pub(super) fn run(args: &ConfigArg) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config).map_err(output::usage)?;
    output::line(format_args!(
        "{}: good. Log {}, {} log keys, {} cosigner keys, {} witnesses",
        args.config.display(),
        config.origin.as_str(),
        config.log_keys.len(),
        config.cosigner_keys.len(),
        config.policy.witnesses().len()
    ));
    Ok(ExitCode::SUCCESS)
}
