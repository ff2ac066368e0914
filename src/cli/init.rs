//! `jurat init`: keys, configuration and empty state. The only command that creates state.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use jurat_daemon::clock::{Clock as _, SystemClock};
use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::checkpoint::Origin;
use jurat_proto::key::Signer;
use jurat_proto::note::KeyName;
use jurat_proto::policy::Policy;
use jurat_store::registry::Registry;
use jurat_store::{JournalOptions, RedbStore};

use super::authority::{self, Authority};
use super::output;
use crate::config;
use crate::tsa::units::UnitsFile;

/// Arguments of `jurat init`.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Directory to create: it must not exist, or be empty
    #[arg(value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// The log's origin: a schema-less URL such as example.com/log, which nobody else uses
    #[arg(long)]
    pub(super) origin: String,
    /// The tlog-policy file that names the witnesses and the quorum; it is copied
    #[arg(long, value_name = "FILE", conflicts_with = "without_witnesses")]
    pub(super) policy: Option<PathBuf>,
    /// Run without witnesses (`quorum none`): nobody then notices when this log is rewritten
    #[arg(long)]
    pub(super) without_witnesses: bool,
    /// Where to listen; port 0 lets the system choose
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7380")]
    pub(super) listen: std::net::SocketAddr,
}

/// The verifier keys of a new service.
pub(super) struct Created {
    /// The configuration file.
    pub(super) config: PathBuf,
    /// The log's keys.
    pub(super) log: Vec<String>,
    /// The keys that cosign other logs.
    pub(super) cosigners: Vec<String>,
}

/// Creates the service and prints what its operator must do next.
///
/// # Errors
/// When the directory holds something already, or cannot be written.
pub(super) fn run(args: &InitArgs) -> anyhow::Result<ExitCode> {
    let created = create(args)?;
    output::line(format_args!("created {}", args.dir.display()));
    output::line("");
    output::line("Verifier keys of the log (for witnesses and for whoever verifies receipts):");
    for key in &created.log {
        output::line(format_args!("  {key}"));
    }
    output::line("Verifier keys that cosign registered logs:");
    for key in &created.cosigners {
        output::line(format_args!("  {key}"));
    }
    let root = args
        .dir
        .join(authority::DIR)
        .join(authority::CA_CERTIFICATE);
    output::line("Root certificate of its time-stamps (for whoever verifies tokens):");
    output::line(format_args!("  {}", root.display()));
    output::line("");
    let config = created.config.display();
    if args.policy.is_none() && !args.without_witnesses {
        let policy = args.dir.join("witnesses.policy");
        output::line(format_args!(
            "Next: name your witnesses in {},",
            policy.display()
        ));
        output::line(format_args!("then: jurat check-config --config {config}"));
    }
    output::line(format_args!("      jurat logs add VKEY --config {config}"));
    output::line(format_args!("      jurat serve --config {config}"));
    Ok(ExitCode::SUCCESS)
}

// Spec: SVC-19
/// Creates the service's directory.
///
/// # Errors
/// Those of [`run`].
pub(super) fn create(args: &InitArgs) -> anyhow::Result<Created> {
    // Spec: CKP-25, NOTE-32, COS-24, COS-26
    let origin = Origin::parse(&args.origin)
        .map_err(|error| output::usage(format_args!("--origin: {error}")))?;
    if args.origin.contains("://") {
        return Err(output::usage(
            "--origin is a URL without a schema: example.com/log, not https://example.com/log",
        ));
    }
    let name = KeyName::parse(&args.origin).map_err(|error| {
        output::usage(format_args!(
            "--origin must also serve as a key name, with no spaces and no plus sign: {error}"
        ))
    })?;
    let policy = args.policy.as_deref().map(read_policy).transpose()?;
    let made_dir = claim(&args.dir)?;
    let created = fill(args, &origin, &name, policy);
    if created.is_err() {
        undo(&args.dir, made_dir);
    }
    created
}

/// Writes everything into an empty directory; the configuration last, so that what has one is
/// whole.
fn fill(
    args: &InitArgs,
    origin: &Origin,
    name: &KeyName,
    policy: Option<Vec<u8>>,
) -> anyhow::Result<Created> {
    let keys = args.dir.join(KEYS);
    private_dir(&keys)?;
    let cosigner = KeyName::parse(&format!("{}/cosigner", args.origin))?;
    let log = [
        key(&keys.join("log.ed25519.key"), name, Algorithm::Ed25519)?,
        key(&keys.join("log.mldsa44.key"), name, Algorithm::MlDsa44)?,
    ];
    let cosigners = [
        key(
            &keys.join("cosigner.ed25519.key"),
            &cosigner,
            Algorithm::CosignatureV1,
        )?,
        key(
            &keys.join("cosigner.mldsa44.key"),
            &cosigner,
            Algorithm::MlDsa44,
        )?,
    ];
    // Spec: SVC-61. A key of its own: a plain note signature signs any text.
    let alerts = KeyName::parse(&format!("{}/alerts", args.origin))?;
    key(
        &keys.join("alerts.ed25519.key"),
        &alerts,
        Algorithm::Ed25519,
    )?;
    let timestamps = keys.join(TIMESTAMPS);
    private_dir(&timestamps)?;
    let now = SystemClock.now().seconds();
    let authority = Authority::generate(&args.origin, now)?;
    authority.save(&timestamps)?;
    authority.issue(&timestamps, &args.origin, 1, now)?;
    let units = UnitsFile {
        unit: vec![authority::row(1, now)],
        gone: Vec::new(),
    };
    write_new(&args.dir.join(UNITS), units.to_text()?.as_bytes())?;
    sync_dir(&timestamps)?;
    let policy = match policy {
        Some(policy) => policy,
        None => policy_template(&log, args.without_witnesses)?.into_bytes(),
    };
    write_new(&args.dir.join(POLICY), &policy)?;
    Registry::create(args.dir.join(LOGS)).context("cannot create logs.toml")?;
    let database = args.dir.join(DATABASE);
    drop(
        RedbStore::create_journaled(&database, JournalOptions::default())
            .with_context(|| format!("cannot create {}", database.display()))?,
    );
    let config = args.dir.join(config::FILE_NAME);
    write_new(&config, config_text(origin, args).as_bytes())?;
    // The keys are about to be told to others: their names must survive a power cut.
    sync_dir(&args.dir)?;
    sync_dir(args.dir.parent().unwrap_or(&args.dir))?;
    Ok(Created {
        config,
        log: log.to_vec(),
        cosigners: cosigners.to_vec(),
    })
}

fn read_policy(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
    Policy::parse(&bytes).with_context(|| format!("{}", path.display()))?;
    Ok(bytes)
}

const KEYS: &str = "keys";
/// Below it: the time-stamp authority's.
const TIMESTAMPS: &str = "tsa";
const UNITS: &str = "timestamp.toml";
const POLICY: &str = "witnesses.policy";
const LOGS: &str = "logs.toml";
/// The registry's lock lies beside it.
const LOGS_LOCK: &str = "logs.toml.lock";
const DATABASE: &str = "jurat.redb";
/// Beside the database.
const JOURNAL: &str = "jurat.redb.journal";
/// What becomes the journal.
const JOURNAL_DRAFT: &str = "jurat.redb.journal.new";

/// Takes an empty directory, or makes one for its owner alone. Whether it was made.
fn claim(dir: &Path) -> anyhow::Result<bool> {
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
    }
    let existed = dir.exists();
    if !existed {
        private_dir(dir)?;
    }
    let mut entries = std::fs::read_dir(dir).with_context(|| format!("{}", dir.display()))?;
    if entries.next().is_some() {
        bail!(
            "{} is not empty; init never overwrites anything",
            dir.display()
        );
    }
    Ok(!existed)
}

/// After a failure: removes what [`fill`] made in a directory that was empty, so that init can be
/// run again. What cannot be removed is left; the error that is told came before.
fn undo(dir: &Path, made_dir: bool) {
    let files = [
        config::FILE_NAME,
        DATABASE,
        JOURNAL,
        JOURNAL_DRAFT,
        LOGS_LOCK,
        LOGS,
        POLICY,
        UNITS,
    ];
    for name in files {
        drop(std::fs::remove_file(dir.join(name)));
    }
    drop(std::fs::remove_dir_all(dir.join(KEYS)));
    if made_dir {
        drop(std::fs::remove_dir(dir));
    }
}

fn sync_dir(dir: &Path) -> anyhow::Result<()> {
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    std::fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .with_context(|| format!("cannot make {} durable", dir.display()))
}

fn private_dir(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot create {}", dir.display()))
}

fn key(path: &Path, name: &KeyName, algorithm: Algorithm) -> anyhow::Result<String> {
    let key = SigningKey::generate(name.clone(), algorithm)?;
    key.save_new(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(key.verifier_key().to_string())
}

fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use std::io::Write as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn policy_template(log: &[String], without_witnesses: bool) -> Result<String, std::fmt::Error> {
    let mut text = String::from(
        "# A tlog-policy: which logs are believed, who witnesses them, and how many must.\n\
         # Give this file to whoever verifies receipts.\n\n",
    );
    for key in log {
        writeln!(text, "log {key}")?;
    }
    text.push_str(
        "\n# witness NAME VKEY URL      one line a key; two keys of one witness share its URL\n\
         # group NAME 2 A B C         at least 2 of A, B and C; any and all are numbers too\n\
         # quorum NAME\n",
    );
    if without_witnesses {
        text.push_str("\nquorum none\n");
    }
    Ok(text)
}

fn config_text(origin: &Origin, args: &InitArgs) -> String {
    let origin = toml::Value::String(origin.as_str().to_owned());
    let listen = args.listen;
    format!(
        "# Configuration of the service. Paths are relative to this file. `jurat check-config`\n\
         # reports all problems at once; docs/service.md explains every field.\n\n\
         origin = {origin}\n\
         listen = \"{listen}\"\n\
         database = \"jurat.redb\"\n\
         logs = \"logs.toml\"\n\
         policy = \"witnesses.policy\"\n\
         log_keys = [\"keys/log.ed25519.key\", \"keys/log.mldsa44.key\"]\n\
         cosigner_keys = [\"keys/cosigner.ed25519.key\", \"keys/cosigner.mldsa44.key\"]\n\n\
         [tree_heads]\n\
         interval_ms = 1000      # between two tree heads, when nobody waits for a receipt\n\
         demand_delay_ms = 100   # from an entry to its tree head, when somebody does\n\
         refresh_s = 30          # between two tree heads of a log that does not grow\n\n\
         [witnesses]\n\
         timeout_ms = 2000       # of one request to one witness\n\n\
         [health]\n\
         stale_after_s = 120     # /health says no when the cosigned tree head is older\n\n\
         # Who is told when something is wrong: a program, a URL, or both; see docs/service.md.\n\
         #[alerts]\n\
         #exec = [\"/usr/local/bin/tell\"]\n\
         #webhook = \"https://alerts.example.com/jurat\"\n\
         #key = \"keys/alerts.ed25519.key\"\n\n\
         [timestamp]             # RFC 3161; without time servers in [clock], without an accuracy\n\
         units = \"timestamp.toml\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn args(dir: PathBuf) -> InitArgs {
        InitArgs {
            dir,
            origin: "example.com/log".to_owned(),
            policy: None,
            without_witnesses: true,
            listen: ([127, 0, 0, 1], 0).into(),
        }
    }

    #[test]
    fn what_init_makes_is_for_its_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/service");
        create(&args(dir.clone())).unwrap();
        let mode = std::fs::metadata(&dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }

    // Spec: SVC-19
    #[test]
    fn an_init_that_fails_leaves_nothing_and_can_be_run_again() {
        let root = tempfile::tempdir().unwrap();
        // Something that fill meets halfway, or at its end.
        for met in [DATABASE, config::FILE_NAME] {
            let names = ["empty", "absent"].map(|name| root.path().join(format!("{name} {met}")));
            std::fs::create_dir(&names[0]).unwrap();
            for dir in names {
                let existed = dir.exists();
                let args = args(dir.clone());
                let origin = Origin::parse(&args.origin).unwrap();
                let name = KeyName::parse(&args.origin).unwrap();
                let made = claim(&dir).unwrap();
                std::fs::create_dir(dir.join(met)).unwrap();
                assert!(fill(&args, &origin, &name, None).is_err());
                std::fs::remove_dir(dir.join(met)).unwrap();
                undo(&dir, made);
                assert_eq!(dir.exists(), existed);
                create(&args).unwrap();
            }
        }
    }
}
