//! The command line. It parses, calls, prints and exits; decisions are elsewhere.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use jurat_daemon::config::ConfigError;
use jurat_daemon::exit;
use jurat_proto::key::{KeyName, Signer as _, VerifierKey};
use jurat_store::engine_panic;
use jurat_store::registry::RegistryError;

use crate::about::{UrlFault, check_url};
use crate::config::{Config, LISTEN_DEFAULT};
use crate::evidence_command::{self, EvidenceCommand};
use crate::export_command::{self, ExportArgs};
use crate::gossip::GossipSettings;
use crate::import_command::{self, ImportArgs};
use crate::init::{self, InitError};
use crate::logs_command::{self, LogsCommand};
use crate::peers_command::{self, PeersCommand};
use crate::serve;

/// Runs the witness's command line; the first argument is the program's name. Blocks until the
/// command ends.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output, mistakes to standard error.
            let _ = error.print();
            return ExitCode::from(match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => exit::OK,
                _ => exit::USAGE,
            });
        }
    };
    match execute(cli.command) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(failure) => {
            let _ = writeln!(io::stderr(), "jurat-witness: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

#[derive(Debug, Parser)]
#[command(name = "jurat-witness", version = VERSION, about, long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (C2SP tlog-witness, revision 2026-07-22)"
);

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new witness: keys, configuration, empty state. Never overwrites
    Init {
        /// Where; made if it is not there
        dir: PathBuf,
        /// The name of the witness, a URL without its scheme, as witness.example.com/w1
        #[arg(long)]
        name: KeyName,
        /// The address that the configuration says
        #[arg(long, default_value = LISTEN_DEFAULT)]
        listen: SocketAddr,
        /// The public URL, for the policy lines that are printed and for `[about]`
        #[arg(long, value_parser = public_url)]
        url: Option<String>,
        /// Where its checkpoints are published and stay, for `[restore_guard]`: a place that is
        /// neither this process nor a cache that asks it. May be given several times
        #[arg(long, value_name = "URL", value_parser = public_url)]
        published: Vec<String>,
    },
    /// Run the witness
    Serve {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a configuration and everything it names; print all problems, exit with 64 if any
    CheckConfig {
        /// The configuration file
        #[arg(value_name = "FILE", required_unless_present = "config")]
        file: Option<PathBuf>,
        /// The same, as `serve` takes it
        #[arg(long, value_name = "FILE", conflicts_with = "file")]
        config: Option<PathBuf>,
    },
    /// Which logs are cosigned. A running witness takes changes over within a second or two
    Logs {
        /// The configuration file of the witness
        #[arg(
            global = true,
            long,
            value_name = "FILE",
            default_value = "witness.toml"
        )]
        config: PathBuf,
        #[command(subcommand)]
        command: LogsCommand,
    },
    /// With whom it gossips, and how it is with each of them
    Peers {
        /// The configuration file of the witness
        #[arg(
            global = true,
            long,
            value_name = "FILE",
            default_value = "witness.toml"
        )]
        config: PathBuf,
        #[command(subcommand)]
        command: PeersCommand,
    },
    /// What logs and other witnesses were caught at: files that anybody can verify
    Evidence {
        /// The configuration file of the witness
        #[arg(
            global = true,
            long,
            value_name = "FILE",
            default_value = "witness.toml"
        )]
        config: PathBuf,
        #[command(subcommand)]
        command: EvidenceCommand,
    },
    /// Write the newest checkpoint of each log to a file, for another witness. It works while the
    /// witness serves or not, and changes nothing
    Export(ExportArgs),
    /// Take over what another witness exported: nothing is signed below it from then on, until a
    /// log proves that it continues it. It works while the witness serves or not; what is here
    /// already is neither replaced nor lowered. Exit code 1 when something contradicts what is
    /// here, 65 when the file is not whole or not signed as it has to be, 75 when a log is held for
    /// something else already
    Import(ImportArgs),
}

/// What the user reads and what the caller tests.
pub(crate) struct Failed {
    pub(crate) code: u8,
    pub(crate) message: String,
}

fn execute(command: Command) -> Result<(), Failed> {
    match command {
        Command::Init {
            dir,
            name,
            listen,
            url,
            published,
        } => {
            let listen = listen.to_string();
            let made = init::init(&dir, &name, &listen, (url.as_deref(), &published))?;
            print(&format!(
                "Made a witness in {}. Its verifier keys:\n\n{}\n{}\n\
                 Next: jurat-witness logs --config {1} add VKEY\n      \
                 jurat-witness serve --config {1}\n\
                 Keep the database with the keys: a witness that forgets can be made to sign \
                 a fork.\n{}",
                dir.display(),
                dir.join("witness.toml").display(),
                format_keys(&made.keys, Some(&made.gossip), url.as_deref()),
                // Spec: WIT-88
                if published.is_empty() {
                    "Files that are put back show it; whether the whole machine was, nobody is \
                     asked yet: see [restore_guard] in its configuration.\n"
                } else {
                    ""
                },
            ));
            Ok(())
        }
        Command::Serve { config } => {
            let config = Config::load(&config)?;
            before_opening(&config.database);
            serve::run(config).map_err(|error| Failed {
                code: error.exit_code(),
                message: error.to_string(),
            })
        }
        Command::CheckConfig { file, config } => {
            let file = file.or(config).unwrap_or_default();
            let config = Config::load(&file)?;
            let keys: Vec<_> = config
                .keys
                .iter()
                .map(|key| key.verifier_key().clone())
                .collect();
            print(&format!(
                "{}: ok\n\n{}",
                file.display(),
                format_keys(
                    &keys,
                    config.gossip.as_ref().map(GossipSettings::vkey),
                    None
                )
            ));
            if let Some(bastion) = &config.bastion {
                print(&format!("\nBehind a bastion: {}\n", bastion.url));
            }
            Ok(())
        }
        Command::Logs { config, command } => logs_command::run(&config, command),
        Command::Peers { config, command } => peers_command::run(&config, &command),
        Command::Evidence { config, command } => evidence_command::run(&config, &command),
        Command::Export(args) => export_command::run(&args),
        Command::Import(args) => import_command::run(&args),
    }
}

/// From here on a panic of the storage engine ends the process as other damage does.
// Spec: STO-26
pub(crate) fn before_opening(database: &Path) {
    let path = database.to_owned();
    exit::on_panic("jurat-witness", move |info| {
        engine_panic(info, &path).map(|message| (exit::DATA, message))
    });
}

fn public_url(text: &str) -> Result<String, UrlFault> {
    check_url(text).map(|()| text.to_owned())
}

fn format_keys(keys: &[VerifierKey], gossip: Option<&VerifierKey>, url: Option<&str>) -> String {
    let mut text = String::new();
    for key in keys {
        text.push_str(&key.to_string());
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&init::policy_snippet(keys, gossip, url));
    text
}

/// A reader that went away is no failure of the command.
fn print(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

impl From<ConfigError> for Failed {
    fn from(error: ConfigError) -> Self {
        Self {
            code: error.exit_code(),
            message: error.to_string(),
        }
    }
}

impl From<InitError> for Failed {
    fn from(error: InitError) -> Self {
        let code = match &error {
            InitError::Exists { .. } | InitError::Generate(_) => exit::USAGE,
            InitError::Io { .. }
            | InitError::Key(_)
            | InitError::Create(_)
            | InitError::Registry(_) => exit::IO,
        };
        Self {
            code,
            message: error.to_string(),
        }
    }
}

impl From<RegistryError> for Failed {
    fn from(error: RegistryError) -> Self {
        let code = match &error {
            RegistryError::UnknownLog { .. }
            | RegistryError::Unprintable { .. }
            | RegistryError::NotHeld { .. }
            | RegistryError::UnknownKey { .. }
            | RegistryError::NoKeys { .. }
            | RegistryError::TooLarge { .. }
            | RegistryError::Missing { .. }
            | RegistryError::Exists { .. } => exit::USAGE,
            RegistryError::Parse { .. } => exit::DATA,
            RegistryError::Io { .. }
            | RegistryError::Unsettled { .. }
            | RegistryError::LockMoved { .. }
            | RegistryError::NotRecorded(_) => exit::IO,
        };
        Self {
            code,
            message: error.to_string(),
        }
    }
}
