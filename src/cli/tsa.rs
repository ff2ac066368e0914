//! `jurat tsa`: the life of the time-stamping units' keys.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use jurat_daemon::clock::{Clock as _, SystemClock};
use jurat_proto::entry::CloseReason;

use super::authority::{self, Authority};
use super::{ConfigArg, output};
use crate::config::Config;
use crate::tsa::units::{UnitRow, Units, UnitsFile};

/// What is done to the units.
#[derive(Debug, Subcommand)]
pub(super) enum TsaCommand {
    /// Make a new unit, which signs from now on, and close the one before as superseded
    ///
    /// A running service takes it over within two seconds.
    Rotate(RotateArgs),
    /// Close the key of the unit that signs: its earlier tokens stay good, and there are no more
    ///
    /// A running service takes it over within two seconds.
    Close(CloseArgs),
}

#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// PEM of your own authority: the unit's certificate first, then those above it, up to a root.
    /// Without it the authority that init made issues the certificate
    #[arg(long, value_name = "FILE", requires = "key")]
    chain: Option<PathBuf>,
    /// The unit's private key (PKCS#8 PEM), with --chain
    #[arg(long, value_name = "FILE", requires = "chain")]
    key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct CloseArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Why
    #[arg(long, value_enum)]
    reason: Reason,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Reason {
    /// Another key takes its place
    Superseded,
    /// Nothing takes its place
    Cessation,
    /// Somebody else may have the key
    Compromise,
}

impl Reason {
    fn of_entry(self) -> CloseReason {
        match self {
            Self::Superseded => CloseReason::Superseded,
            Self::Cessation => CloseReason::Cessation,
            Self::Compromise => CloseReason::Compromise,
        }
    }
}

/// Runs one of them.
///
/// # Errors
/// When there is no authority, no open unit, or a file cannot be written. Nothing changed then.
pub(super) fn run(command: &TsaCommand) -> anyhow::Result<ExitCode> {
    match command {
        TsaCommand::Rotate(args) => rotate(args),
        TsaCommand::Close(args) => close(args),
    }
}

// Spec: TSA-33, TSA-35
fn rotate(args: &RotateArgs) -> anyhow::Result<ExitCode> {
    let home = Home::open(&args.config.config)?;
    let units = home.change(|file| add_unit(&home, file, args))?;
    let unit = units.current().context("the new unit is there")?;
    output::line(format_args!("unit {} signs from now on", unit.id));
    Ok(ExitCode::SUCCESS)
}

fn add_unit(home: &Home, file: &mut UnitsFile, args: &RotateArgs) -> anyhow::Result<()> {
    let now = SystemClock.now().seconds();
    let row = if let (Some(chain), Some(key)) = (&args.chain, &args.key) {
        UnitRow {
            chain: std::path::absolute(chain)?,
            key: std::path::absolute(key)?,
            started: now,
            closed: None,
            reason: None,
        }
    } else {
        let dir = home.dir().join(authority::DIR);
        let number = authority::free_number(&dir, file.unit.len() + 1);
        let authority = Authority::load(&dir).context(
            "the authority that issues units cannot be used; bring its key back, or give \
             --chain and --key",
        )?;
        authority.issue(&dir, &home.origin, number, now)?;
        authority::row(number, now)
    };
    let open = file.unit.iter_mut().filter(|row| row.closed.is_none());
    for before in open {
        before.closed = Some(now.max(before.started));
        before.reason = Some(CloseReason::Superseded.name().to_owned());
    }
    file.unit.push(row);
    Ok(())
}

// Spec: TSA-33, TSA-35
fn close(args: &CloseArgs) -> anyhow::Result<ExitCode> {
    let home = Home::open(&args.config.config)?;
    home.change(|file| {
        let now = SystemClock.now().seconds();
        let Some(open) = file.unit.iter_mut().rev().find(|row| row.closed.is_none()) else {
            bail!("no unit is open");
        };
        open.closed = Some(now.max(open.started));
        open.reason = Some(args.reason.of_entry().name().to_owned());
        Ok(())
    })?;
    output::line("closed; no unit signs until `jurat tsa rotate` makes another");
    Ok(ExitCode::SUCCESS)
}

/// The files of a service with an authority.
struct Home {
    units: PathBuf,
    origin: String,
    parsed: jurat_proto::checkpoint::Origin,
}

impl Home {
    fn open(config: &Path) -> anyhow::Result<Self> {
        let config = Config::load(config)?;
        let timestamp = config
            .timestamp
            .context("the configuration has no [timestamp]: there is no authority")?;
        Ok(Self {
            units: timestamp.units_file,
            origin: config.origin.as_str().to_owned(),
            parsed: config.origin,
        })
    }

    fn dir(&self) -> &Path {
        self.units.parent().unwrap_or_else(|| Path::new(""))
    }

    /// Puts a changed file in the place of the one before, durably, when it can be used. Who comes
    /// second is refused before anything is read: what it read would be old when it writes, and
    /// undo the first one's change.
    // Spec: TSA-35
    fn change(
        &self,
        edit: impl FnOnce(&mut UnitsFile) -> anyhow::Result<()>,
    ) -> anyhow::Result<Units> {
        let new = self.units.with_extension("toml.new");
        let mut opened = std::fs::File::create_new(&new).with_context(|| {
            format!(
                "cannot create {}: another `jurat tsa` is at work, or one ended half-way and the \
                 file can be removed",
                new.display()
            )
        })?;
        let replaced = (|| {
            let mut file = UnitsFile::read(&self.units)?;
            edit(&mut file)?;
            opened.write_all(file.to_text()?.as_bytes())?;
            opened.sync_all()?;
            let units = Units::load(&new, &self.parsed)?;
            std::fs::rename(&new, &self.units)?;
            std::fs::File::open(self.dir())?.sync_all()?;
            anyhow::Ok(units)
        })();
        if replaced.is_err() {
            drop(std::fs::remove_file(&new));
        }
        replaced
    }
}
