//! `jurat tsa`: the life of the time-stamping units' keys.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use jurat_daemon::clock::{Clock as _, SystemClock};
use jurat_proto::entry::CloseReason;
use jurat_proto::tsp::tst_info::UnitId;

use super::authority::{self, Authority};
use super::{ConfigArg, output};
use crate::config::Config;
use crate::tsa::pkcs11_row::{NewCurve, Pkcs11Row};
use crate::tsa::units::{AUTHORITY_KEY, GoneRow, UnitRow, Units, UnitsFile};

/// What is done to the units.
#[derive(Debug, Subcommand)]
pub(super) enum TsaCommand {
    /// Make a new unit, which signs from now on, and close the one before as superseded
    ///
    /// A running service takes it over within two seconds.
    Rotate(RotateArgs),
    /// Close the key of a unit: its earlier tokens stay good, and there are no more
    ///
    /// With one unit open that one is meant; with several, --unit says which.
    /// A running service takes it over within two seconds.
    Close(CloseArgs),
}

#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// PEM of your own authority: the unit's certificate first, then those above it, up to a root.
    /// Without it the authority that init made issues the certificate
    #[arg(long, value_name = "FILE")]
    chain: Option<PathBuf>,
    /// The unit's private key (PKCS#8 PEM), with --chain
    #[arg(
        long,
        value_name = "FILE",
        requires = "chain",
        conflicts_with = "module"
    )]
    key: Option<PathBuf>,
    #[command(flatten)]
    in_token: TokenArgs,
}

/// A key in a token of PKCS #11: all of these, or none.
#[derive(Debug, Args)]
#[command(next_help_heading = "The key in a token of PKCS #11 (an HSM)")]
struct TokenArgs {
    /// The vendor's library. Without --chain the key is made in the token, and never leaves it;
    /// with --chain it is there already
    #[arg(long = "pkcs11-module", value_name = "FILE",
        requires_all = ["token", "label", "pin_file"])]
    module: Option<PathBuf>,
    /// The token's label
    #[arg(long = "pkcs11-token", value_name = "LABEL", requires = "module")]
    token: Option<String>,
    /// The key's label in the token
    #[arg(long = "pkcs11-label", value_name = "LABEL", requires = "module")]
    label: Option<String>,
    /// A file with the PIN, which only its owner can read (mode 0600)
    #[arg(long = "pkcs11-pin-file", value_name = "FILE", requires = "module")]
    pin_file: Option<PathBuf>,
    /// Sessions at once, 1 to 64 (4 when left out)
    #[arg(long = "pkcs11-sessions", value_name = "COUNT", requires = "module",
        value_parser = clap::value_parser!(u8).range(1..=64))]
    sessions: Option<u8>,
    /// The curve of the key that is made (p-256 when left out)
    #[arg(
        long = "pkcs11-curve",
        value_name = "CURVE",
        value_enum,
        requires = "module",
        conflicts_with = "chain"
    )]
    curve: Option<NewCurve>,
}

impl TokenArgs {
    fn row(&self) -> anyhow::Result<Option<Pkcs11Row>> {
        let (Some(module), Some(token), Some(label), Some(pin_file)) =
            (&self.module, &self.token, &self.label, &self.pin_file)
        else {
            return Ok(None);
        };
        Ok(Some(Pkcs11Row {
            module: std::path::absolute(module)?,
            token: token.clone(),
            label: label.clone(),
            pin_file: std::path::absolute(pin_file)?,
            sessions: self.sessions,
        }))
    }
}

#[derive(Debug, Args)]
pub(super) struct CloseArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Why
    #[arg(long, value_enum)]
    reason: Reason,
    /// Which unit (16 hex digits); needed when more than one is open
    #[arg(long, value_name = "UNIT", value_parser = unit)]
    unit: Option<UnitId>,
    /// A unit that the log knows as open and that is not in the file any more
    #[arg(long, value_name = "UNIT", value_parser = unit, conflicts_with = "unit")]
    gone: Option<UnitId>,
}

fn unit(text: &str) -> Result<UnitId, String> {
    UnitId::parse(text).ok_or_else(|| "want 16 lower-case hex digits".to_owned())
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
/// When there is no authority, no open unit, or a file cannot be written. Nothing changed then,
/// unless the error says that the file is changed: its directory did not become durable.
pub(super) fn run(command: &TsaCommand) -> anyhow::Result<ExitCode> {
    match command {
        TsaCommand::Rotate(args) => rotate(args),
        TsaCommand::Close(args) => close(args),
    }
}

// Spec: TSA-33, TSA-35
fn rotate(args: &RotateArgs) -> anyhow::Result<ExitCode> {
    let home = Home::open(&args.config.config)?;
    let mut closed = Vec::new();
    let edit = |file: &mut UnitsFile| {
        closed = home.open_units(file)?;
        add_unit(&home, file, args)
    };
    // Spec: TSA-63. The unit before is closed by this, so the next one must be able to sign.
    let accept = |units: &Units| {
        let key = units.current().and_then(|unit| unit.key.as_ref());
        match key.and_then(|key| key.out_of_reach()) {
            Some(why) => bail!("the key of the new unit cannot be used: {why}"),
            None => Ok(()),
        }
    };
    let units = home.change(edit, accept)?;
    let unit = units.current().context("the new unit is there")?;
    for (_, before) in closed {
        output::line(format_args!("unit {before} is closed (superseded)"));
    }
    output::line(format_args!("unit {} signs from now on", unit.id));
    let authority = home.dir().join(AUTHORITY_KEY);
    if authority.exists() {
        output::line(format_args!(
            "{} is not needed until the next one: keep it elsewhere",
            authority.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn add_unit(home: &Home, file: &mut UnitsFile, args: &RotateArgs) -> anyhow::Result<()> {
    let now = SystemClock.now().seconds();
    let token = args.in_token.row()?;
    let row = if let Some(chain) = &args.chain {
        if args.key.is_none() && token.is_none() {
            return Err(output::usage(
                "--chain wants the key: --key, or --pkcs11-module",
            ));
        }
        UnitRow {
            chain: std::path::absolute(chain)?,
            key: args.key.as_ref().map(std::path::absolute).transpose()?,
            started: now,
            closed: None,
            reason: None,
            pkcs11: token,
        }
    } else {
        let dir = home.dir().join(authority::DIR);
        let number = authority::free_number(&dir, file.unit.len() + 1);
        let authority = Authority::load(&dir).context(
            "the authority that issues units cannot be used; bring its key back, or give \
             --chain and --key",
        )?;
        match token {
            None => {
                authority.issue(&dir, &home.origin, number, now)?;
                authority::row(number, now)
            }
            // Spec: TSA-63
            Some(token) => {
                let curve = args.in_token.curve.unwrap_or_default();
                let public_key = token.generate(home.dir(), curve)?;
                authority.issue_for(public_key, &dir, &home.origin, number, now)?;
                UnitRow {
                    key: None,
                    pkcs11: Some(token),
                    ..authority::row(number, now)
                }
            }
        }
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
    let reason = args.reason.of_entry();
    let mut closed = None;
    let edit = |file: &mut UnitsFile| {
        let now = SystemClock.now().seconds();
        let unit = match args.gone {
            Some(gone) => close_gone(&home, file, gone, reason, now)?,
            None => close_one(&home, file, args.unit, reason, now)?,
        };
        closed = Some(unit);
        Ok(())
    };
    let units = home.change(edit, |_| Ok(()))?;
    let unit = closed.context("a unit was closed")?;
    output::line(format_args!("unit {unit} is closed ({reason})"));
    match units.current() {
        Some(unit) => output::line(format_args!("unit {} signs from now on", unit.id)),
        None => output::line("no unit signs until `jurat tsa rotate` makes another"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Closes the unit that is asked for, or the only one that is open.
// Spec: TSA-35
fn close_one(
    home: &Home,
    file: &mut UnitsFile,
    wanted: Option<UnitId>,
    reason: CloseReason,
    now: u64,
) -> anyhow::Result<UnitId> {
    let open = home.open_units(file)?;
    let found = match (wanted, open.as_slice()) {
        (_, []) => bail!("no unit is open"),
        (None, [one]) => *one,
        (None, several) => {
            let names: Vec<_> = several.iter().map(|(_, unit)| unit.to_string()).collect();
            return Err(output::usage(format_args!(
                "{} units are open; say which with --unit: {}",
                names.len(),
                names.join(", ")
            )));
        }
        (Some(wanted), open) => *open
            .iter()
            .find(|(_, unit)| *unit == wanted)
            .with_context(|| format!("no open unit of the file is {wanted}"))?,
    };
    let (place, unit) = found;
    let row = file.unit.get_mut(place).context("the row is there")?;
    row.closed = Some(now.max(row.started));
    row.reason = Some(reason.name().to_owned());
    Ok(unit)
}

/// Closes a unit of which there is nothing but what the log says.
// Spec: TSA-37
fn close_gone(
    home: &Home,
    file: &mut UnitsFile,
    unit: UnitId,
    reason: CloseReason,
    now: u64,
) -> anyhow::Result<UnitId> {
    for row in &file.unit {
        if row
            .id(home.dir(), &home.parsed)
            .is_ok_and(|known| known == unit)
        {
            bail!("unit {unit} is in the file: close it with --unit");
        }
    }
    if file.gone.iter().any(|row| row.unit == unit.to_string()) {
        bail!("unit {unit} is closed already");
    }
    file.gone.push(GoneRow {
        unit: unit.to_string(),
        closed: now,
        reason: reason.name().to_owned(),
    });
    Ok(unit)
}

/// The files of a service with an authority.
struct Home {
    units: PathBuf,
    origin: String,
    parsed: jurat_proto::checkpoint::Origin,
}

impl Home {
    fn open(config: &Path) -> anyhow::Result<Self> {
        let (origin, units) = Config::units_file(config)?;
        Ok(Self {
            units: units.context("the configuration has no [timestamp]: there is no authority")?,
            origin: origin.as_str().to_owned(),
            parsed: origin,
        })
    }

    /// The open units of the file, with their places: by their certificates alone, since a key that
    /// cannot be had is a reason to close one.
    fn open_units(&self, file: &UnitsFile) -> anyhow::Result<Vec<(usize, UnitId)>> {
        let rows = file.unit.iter().enumerate();
        let open = rows.filter(|(_, row)| row.closed.is_none());
        open.map(|(place, row)| {
            let id = row.id(self.dir(), &self.parsed);
            Ok((place, id.with_context(|| format!("unit {}", place + 1))?))
        })
        .collect()
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
        accept: impl FnOnce(&Units) -> anyhow::Result<()>,
    ) -> anyhow::Result<Units> {
        let make = |mut opened: File, new: &Path| {
            let mut file = UnitsFile::read(&self.units)?;
            edit(&mut file)?;
            opened.write_all(file.to_text()?.as_bytes())?;
            opened.sync_all()?;
            let units = Units::load(new, &self.parsed)?;
            accept(&units)?;
            Ok(units)
        };
        replace(&self.units, make, || File::open(self.dir())?.sync_all())
    }
}

/// Makes a file anew beside itself, under a name that only one can have at a time, and puts it in
/// its own place. `sync` makes the names in its directory durable.
///
/// From when it is in its place the other name is free, and whatever has it is somebody else's: it
/// is taken away before that alone.
// Spec: TSA-35
fn replace<T>(
    path: &Path,
    make: impl FnOnce(File, &Path) -> anyhow::Result<T>,
    sync: impl FnOnce() -> std::io::Result<()>,
) -> anyhow::Result<T> {
    let new = path.with_extension("toml.new");
    let opened = File::create_new(&new).with_context(|| {
        format!(
            "cannot create {}: another `jurat tsa` is at work, or one ended half-way and the file \
             can be removed",
            new.display()
        )
    })?;
    let done = make(opened, &new).and_then(|result| {
        std::fs::rename(&new, path)?;
        Ok(result)
    });
    let result = done.inspect_err(|_| drop(std::fs::remove_file(&new)))?;
    sync().with_context(|| {
        format!(
            "{} is changed, and a running service takes it over, but the disk did not say that it \
             is durable: look at it again after a loss of power",
            path.display()
        )
    })?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    // Spec: TSA-35
    #[test]
    fn what_fails_after_the_file_is_in_its_place_leaves_the_next_ones_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("timestamp.toml");
        let new = dir.path().join("timestamp.toml.new");
        std::fs::write(&path, "before").unwrap();
        let write = |mut file: File, _: &Path| Ok(file.write_all(b"after")?);
        let failed = replace(&path, write, || {
            // The next one begins as soon as it can.
            let mut next = File::create_new(&new)?;
            next.write_all(b"the next one's")?;
            Err(Error::from(ErrorKind::StorageFull))
        });
        let said = format!("{:#}", failed.unwrap_err());
        assert!(said.contains("timestamp.toml is changed"), "{said}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "after");
        assert_eq!(std::fs::read_to_string(&new).unwrap(), "the next one's");
        // Who comes while there is one changes nothing and takes nothing away.
        let refused = replace(&path, |_, _| -> anyhow::Result<()> { panic!() }, || Ok(()));
        let said = format!("{:#}", refused.unwrap_err());
        assert!(said.contains("another `jurat tsa` is at work"), "{said}");
        assert_eq!(std::fs::read_to_string(&new).unwrap(), "the next one's");
        // What fails before leaves nothing behind.
        std::fs::remove_file(&new).unwrap();
        let failed = replace(
            &path,
            |_, _| -> anyhow::Result<()> { bail!("cannot") },
            || Ok(()),
        );
        assert_eq!(failed.unwrap_err().to_string(), "cannot");
        assert!(!new.exists());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "after");
    }
}
