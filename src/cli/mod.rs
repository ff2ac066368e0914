//! The command line: one file a command. Nothing is decided here that a test could not reach in the
//! floors below; a command reads its arguments, calls, prints, and chooses the exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod anchor;
mod authority;
mod check_config;
#[cfg(feature = "demo")]
mod demo;
mod evidence;
mod export;
mod fsck;
mod init;
mod logs;
mod manual;
mod output;
mod remote;
mod serve;
mod timestamp;
mod token;
mod tsa;
mod verify;

/// The revision of the C2SP texts that are obeyed.
pub const C2SP_REVISION: &str = "2026-07-22";

/// What `--version` prints after the name: the release, and the revision of the C2SP texts obeyed.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (C2SP texts at the revision of 2026-07-22)"
);

/// Transparency-log style witness and timestamp service.
///
/// Jurat keeps checkpoints of other logs in an append-only Merkle tree of its own, has every tree
/// head cosigned by independent witnesses, and returns receipts that anyone verifies offline.
#[derive(Debug, Parser)]
#[command(name = "jurat", version = VERSION, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole network on this machine: a service, three witness processes, a log that
    /// anchors
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
    /// Create keys, configuration and empty state for a new service (the only command that does)
    Init(init::InitArgs),
    /// Run the service
    Serve(ConfigArg),
    /// Check a configuration and report all problems at once (exit code 64 when there are any)
    CheckConfig(check_config::CheckConfigArgs),
    /// Which logs may anchor: add, list, disable, enable. A log is never forgotten
    #[command(subcommand)]
    Logs(logs::LogsCommand),
    /// The keys of the time-stamp authority: rotate, close
    #[command(subcommand)]
    Tsa(tsa::TsaCommand),
    /// Send checkpoints of a log to a service and fetch their receipts
    Anchor(anchor::AnchorArgs),
    /// Have files time-stamped (RFC 3161), by a service of Jurat's or any authority
    Timestamp(timestamp::TimestampArgs),
    /// Verify receipts, checkpoints, time-stamps and evidence offline, under a policy (exit code 0
    /// or 1)
    Verify(verify::VerifyArgs),
    /// Write a time-stamp or its proof in another form: the token, its receipt, COSE headers
    Export(export::ExportArgs),
    /// Evidence against logs and witnesses: bring it to a service, list and fetch what is logged
    #[command(subcommand)]
    Evidence(evidence::EvidenceCommand),
    /// Derive the whole tree again from what is stored, and compare
    Fsck(fsck::FsckArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one page a command into a directory
    Man {
        /// Write `jurat.1`, `jurat-serve.1`, … into this directory instead of printing
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Run as a witness process (used by `demo`)
    #[cfg(feature = "demo")]
    #[command(hide = true, disable_help_flag = true)]
    Witness {
        /// Arguments of `jurat-witness`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<std::ffi::OsString>,
    },
}

/// The one argument of commands that act on a service's own state.
#[derive(Debug, Clone, Args)]
pub struct ConfigArg {
    /// The service's configuration file
    #[arg(
        long,
        short,
        value_name = "FILE",
        env = "JURAT_CONFIG",
        default_value = "jurat.toml"
    )]
    pub config: PathBuf,
}

/// How a command prints its result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON document, for scripts
    Json,
}

/// Parses the command line of this process and runs the command.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() {
                output::EXIT_USAGE
            } else {
                0
            };
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    let result = match cli.command {
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::CheckConfig(args) => check_config::run(&args),
        Command::Logs(command) => logs::run(command),
        Command::Tsa(command) => tsa::run(&command),
        Command::Anchor(args) => anchor::run(&args),
        Command::Timestamp(args) => timestamp::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Evidence(command) => evidence::run(&command),
        Command::Fsck(args) => fsck::run(&args),
        Command::Completions { shell } => Ok(manual::completions(shell)),
        Command::Man { dir } => manual::man(dir.as_deref()),
        #[cfg(feature = "demo")]
        Command::Witness { args } => {
            let name = std::iter::once(std::ffi::OsString::from("jurat-witness"));
            return jurat_witness::cli::run(name.chain(args));
        }
    };
    result.unwrap_or_else(|error| output::fail(&error))
}
