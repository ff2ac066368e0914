//! `init`: the only command that makes state.
//!
//! ```text
//! DIR/ed25519.key      0600   cosigner key, type 0x04, note signer format
//! DIR/ml-dsa-44.key    0600   cosigner key, type 0x06
//! DIR/gossip.key       0600   gossip key, type 0x01
//! DIR/bastion.key      0600   by which a bastion knows it, type 0x01
//! DIR/witness.redb            the checkpoints cosigned: none (and, once it serves, two .wal files
//!                             and an empty .reached- one)
//! DIR/logs.toml               the logs: none
//! DIR/witness.toml            last, so that a directory that init did not finish cannot be served
//! ```
//!
//! Nothing that exists is touched; when any of these files is there, nothing is made.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use jurat_keys::{Algorithm, GenerateError, KeyFileError, SigningKey};
use jurat_proto::key::{KeyName, SignatureType, Signer as _, VerifierKey};
use jurat_store::registry::{Registry, RegistryError};
use jurat_store::{CreateError, RedbOptions, RedbStore};

/// Makes a witness in `directory` and gives its verifier keys. All of it is durable on return.
///
/// # Errors
/// [`InitError`]. When it is [`InitError::Exists`], nothing was made; otherwise what was made until
/// then stays, because it is never safe to delete keys unasked.
///
/// `url`, when there is one, is where others reach the witness ([`crate::about::check_url`]), and
/// `published` is where its checkpoints will be, besides it.
pub fn init(
    directory: &Path,
    name: &KeyName,
    listen: &str,
    (url, published): (Option<&str>, &[String]),
) -> Result<Made, InitError> {
    for file in FILES {
        let path = directory.join(file);
        if path.symlink_metadata().is_ok() {
            return Err(InitError::Exists { path });
        }
    }
    let io = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| InitError::Io {
            doing,
            path,
            source,
        }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(io("create", directory))?;
    let mut keys = Vec::new();
    for (file, algorithm) in KEY_FILES {
        let key = SigningKey::generate(name.clone(), algorithm)?;
        key.save_new(directory.join(file))?;
        keys.push(key.verifier_key().clone());
    }
    // Spec: GSP-02. A key of its own: a plain note signature signs any text.
    let key = SigningKey::generate(name.clone(), Algorithm::Ed25519)?;
    key.save_new(directory.join(GOSSIP_FILE))?;
    let gossip = key.verifier_key().clone();
    // Spec: GSP-147
    let key = SigningKey::generate(name.clone(), Algorithm::Ed25519)?;
    key.save_new(directory.join(BASTION_FILE))?;
    drop(RedbStore::create(
        directory.join(DATABASE_FILE),
        RedbOptions::default(),
    )?);
    Registry::create(directory.join(LOGS_FILE))?;
    let config = directory.join(CONFIG_FILE);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&config)
        .and_then(|mut file| {
            file.write_all(config_text(name, listen, url, published).as_bytes())?;
            file.sync_all()
        })
        .map_err(io("write", &config))?;
    // The directory's own name, too: its parent may be as new as it is.
    let parent = fs::canonicalize(directory)
        .ok()
        .and_then(|path| path.parent().map(Path::to_owned));
    for directory in [Some(directory.to_owned()), parent].into_iter().flatten() {
        let synced = File::open(&directory).and_then(|directory| directory.sync_all());
        synced.map_err(io("make durable", &directory))?;
    }
    Ok(Made { keys, gossip })
}

/// The verifier keys of a new witness.
#[derive(Debug)]
pub struct Made {
    /// With which it cosigns.
    pub keys: Vec<VerifierKey>,
    /// With which it gossips.
    pub gossip: VerifierKey,
}

/// What those who rely on this witness put into their policy (c2sp.org/tlog-policy): a line for
/// each key, one for the gossip key, and a group that either key satisfies.
pub fn policy_snippet(
    keys: &[VerifierKey],
    gossip: Option<&VerifierKey>,
    url: Option<&str>,
) -> String {
    let mut text = String::from("# This witness, for a tlog-policy file\n");
    let mut members = Vec::new();
    let mut group = None;
    for key in keys {
        let kind = match key.signature_type() {
            SignatureType::MlDsa44 => "ml-dsa-44",
            _ => "ed25519",
        };
        let member = format!("{}/{kind}", key.name());
        let _ = write!(text, "witness {member} {key}");
        let _ = writeln!(
            text,
            "{}",
            url.map(|url| format!(" {url}")).unwrap_or_default()
        );
        members.push(member);
        group = Some(key.name());
    }
    if let Some(gossip) = gossip {
        let _ = writeln!(text, "#jurat:gossip {gossip} {}", members.join(" "));
    }
    if let Some(group) = group.filter(|_| members.len() > 1) {
        let _ = writeln!(text, "group {group} any {}", members.join(" "));
    }
    text
}

/// Why a witness was not made. The operator is at fault, or the machine.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is a file already. Nothing was made.
    #[error("{} exists already; a witness is never made over another", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// There is no key.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// A key was not saved.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The database was not made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The list of logs was not made.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

fn config_text(name: &KeyName, listen: &str, url: Option<&str>, published: &[String]) -> String {
    // A TOML basic string: key names hold no control characters, so these two are all there is to
    // escape.
    let name = name.as_str().replace('\\', "\\\\").replace('"', "\\\"");
    // A URL that was checked needs no escape.
    let about = url.map_or_else(String::new, |url| {
        format!("\n[about]\nsubmission_url = \"{url}\"\nmonitoring_url = \"{url}\"\n")
    });
    let quoted: Vec<String> = published.iter().map(|url| format!("\"{url}\"")).collect();
    // Spec: WIT-88
    let guard = if published.is_empty() {
        "# Whom to ask whether this machine was put back to what it was; that files were is seen\n\
         # without. Nobody until you name the places where your checkpoints are published,\n\
         # other witnesses, or both; see the example. A log that was added with --url is asked.\n\
         #[restore_guard]\n\
         #own = [\"https://checkpoints.example.com/w1\"]\n"
            .to_owned()
    } else {
        format!("[restore_guard]\nown = [{}]\n", quoted.join(", "))
    };
    format!(
        "# Configuration of a witness; docs/examples/witness.toml explains every field.\n\
         name = \"{name}\"\n\
         listen = \"{listen}\"\n\
         keys = [\"{ED25519_FILE}\", \"{ML_DSA_FILE}\"]\n\
         database = \"{DATABASE_FILE}\"\n\
         logs = \"{LOGS_FILE}\"\n\n\
         # To compare what it holds with other witnesses: see [gossip] in the example.\n\
         #[gossip]\n\
         #key = \"{GOSSIP_FILE}\"\n\n{guard}{about}"
    )
}

const ED25519_FILE: &str = "ed25519.key";
const ML_DSA_FILE: &str = "ml-dsa-44.key";
const GOSSIP_FILE: &str = "gossip.key";
const BASTION_FILE: &str = "bastion.key";
const DATABASE_FILE: &str = "witness.redb";
const LOGS_FILE: &str = "logs.toml";
const CONFIG_FILE: &str = "witness.toml";

const FILES: [&str; 7] = [
    ED25519_FILE,
    ML_DSA_FILE,
    GOSSIP_FILE,
    BASTION_FILE,
    DATABASE_FILE,
    LOGS_FILE,
    CONFIG_FILE,
];

// Spec: WIT-47
const KEY_FILES: [(&str, Algorithm); 2] = [
    (ED25519_FILE, Algorithm::CosignatureV1),
    (ML_DSA_FILE, Algorithm::MlDsa44),
];
