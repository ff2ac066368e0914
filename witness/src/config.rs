//! `witness.toml`: what an operator says, and what of it is checked before a port opens.
//!
//! Relative paths start at the file's directory. Secrets are named by path. All problems are
//! reported together, with exit code 64.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

use jurat_daemon::config::{self, ConfigError, Loaded, Problems};
use jurat_daemon::http::header::HeaderName;
use jurat_daemon::http::{Limits, Tls};
use jurat_daemon::telemetry::LogFormat;
use jurat_keys::SigningKey;
use jurat_proto::add_checkpoint::BODY_BYTES_MAX;
use jurat_proto::key::{KeyName, SignatureType, Signer as _};
use jurat_proto::log_list::QPD_MAX;
use serde::Deserialize;

use crate::log_list::LogList;
use crate::quota::QuotaLimits;

/// A checked configuration; everything it names was there and readable.
#[derive(Debug)]
pub struct Config {
    /// The witness's name: that of all its keys.
    pub name: KeyName,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Certificate and key, when the listener itself speaks TLS.
    pub tls: Option<Tls>,
    /// The bounds of the listener.
    pub limits: Limits,
    /// The keys, in the order of the lines in answers.
    pub keys: Vec<SigningKey>,
    /// The database file.
    pub database: PathBuf,
    /// The list of logs, loaded.
    pub logs: LogList,
    /// How many checkpoints wait for the disk at most.
    pub commits_waiting_max: NonZeroUsize,
    /// How many become durable together at most.
    pub commit_batch_max: NonZeroUsize,
    /// How many requests logs and strangers may make.
    pub quotas: QuotaLimits,
    /// The header in which a proxy says who the client is.
    pub client_address_header: Option<HeaderName>,
    /// The form of log lines.
    pub log_format: LogFormat,
    /// Which log lines.
    pub log_filter: String,
}

impl Config {
    /// Reads and checks a file, and loads the keys and the list of logs that it names.
    ///
    /// # Errors
    /// The file cannot be read, or all that is wrong with it. Nothing changed.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let loaded = config::load::<RawConfig>(file)?;
        Ok(resolve(&loaded)?)
    }
}

/// The path of the list of logs that a configuration names, for the commands that change it. Keys
/// need not be readable for them.
///
/// # Errors
/// The file cannot be read or parsed.
pub fn logs_file(file: &Path) -> Result<PathBuf, ConfigError> {
    let loaded = config::load::<RawConfig>(file)?;
    Ok(loaded.path(&loaded.raw.logs))
}

/// Whether one of the keys that a configuration names is ML-DSA-44, as far as its file can be read.
///
/// # Errors
/// The file cannot be read or parsed.
pub fn names_ml_dsa_key(file: &Path) -> Result<bool, ConfigError> {
    let loaded = config::load::<RawConfig>(file)?;
    let ml_dsa = |path: &PathBuf| {
        SigningKey::load(loaded.path(path))
            .is_ok_and(|key| key.verifier_key().signature_type() == SignatureType::MlDsa44)
    };
    Ok(loaded.raw.keys.iter().any(ml_dsa))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    name: String,
    #[serde(default = "default_listen")]
    listen: String,
    keys: Vec<PathBuf>,
    database: PathBuf,
    logs: PathBuf,
    tls: Option<RawTls>,
    limits: Option<Limits>,
    #[serde(default)]
    quota: RawQuota,
    #[serde(default)]
    commit: RawCommit,
    #[serde(default)]
    log: RawLog,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    certificates: PathBuf,
    key: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawCommit {
    waiting_max: usize,
    batch_max: usize,
}

impl Default for RawCommit {
    fn default() -> Self {
        Self {
            waiting_max: 1024,
            batch_max: 256,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawQuota {
    default_qpd: u32,
    unsigned_per_minute: u32,
    client_address_header: Option<String>,
}

impl Default for RawQuota {
    fn default() -> Self {
        Self {
            default_qpd: 8_640_000,
            unsigned_per_minute: 60,
            client_address_header: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLog {
    format: LogFormat,
    filter: String,
}

impl Default for RawLog {
    fn default() -> Self {
        Self {
            format: LogFormat::Human,
            filter: "info".to_owned(),
        }
    }
}

/// The address when none is given: loopback, because a proxy with a certificate belongs in front.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:8419";

fn default_listen() -> String {
    LISTEN_DEFAULT.to_owned()
}

fn resolve(loaded: &Loaded<RawConfig>) -> Result<Config, Problems> {
    let mut problems = loaded.problems();
    let raw = &loaded.raw;
    let name = problems.take(
        "name",
        KeyName::parse(&raw.name),
        "a key name, as example.com/w1",
    );
    let listen = problems.take(
        "listen",
        raw.listen.parse(),
        "an address, as 127.0.0.1:8419",
    );
    let tls = raw.tls.as_ref().and_then(|tls| {
        let loaded = Tls::load(&loaded.path(&tls.certificates), &loaded.path(&tls.key));
        problems.take("tls", loaded, "a PEM chain and its PEM key")
    });
    let mut limits = raw.limits.clone().unwrap_or_default();
    limits.check("limits", &mut problems);
    problems.check(
        limits.body_bytes_max >= BODY_BYTES_MAX,
        "limits.body_bytes_max",
        limits.body_bytes_max,
        "at least 131072, which witnesses must read",
    );
    // Spec: WIT-09. A larger body is refused by its Content-Length, before any of it is read.
    limits.body_bytes_max = limits.body_bytes_max.min(BODY_BYTES_MAX);
    let keys = resolve_keys(loaded, name.as_ref(), &mut problems);
    let database = loaded.path(&raw.database);
    problems.check(
        database.is_file(),
        "database",
        format!("{} is not there", database.display()),
        "the file that init made; if it was lost, read docs/witness.md before anything else",
    );
    let ml_dsa = keys
        .iter()
        .any(|key| key.verifier_key().signature_type() == SignatureType::MlDsa44);
    let logs = LogList::load(loaded.path(&raw.logs), ml_dsa);
    let logs = problems.take("logs", logs, "the list that init made and `logs` changes");
    let waiting = commit_bound("commit.waiting_max", raw.commit.waiting_max, &mut problems);
    let batch = commit_bound("commit.batch_max", raw.commit.batch_max, &mut problems);

    let (unsigned, address_header) = resolve_quota(&raw.quota, &mut problems);

    let config = name.zip(listen).zip(logs).zip(waiting).zip(batch);
    let config = config.map(|((((name, listen), logs), waiting), batch)| Config {
        quotas: QuotaLimits {
            default_qpd: NonZeroU32::new(raw.quota.default_qpd),
            unsigned_per_minute: unsigned,
            in_flight_max: (waiting.get() / 4).max(1),
        },
        client_address_header: address_header,
        name,
        listen,
        tls,
        limits,
        keys,
        database,
        logs,
        commits_waiting_max: waiting,
        commit_batch_max: batch,
        log_format: raw.log.format,
        log_filter: raw.log.filter.clone(),
    });
    problems.finish(config)
}

fn resolve_quota(raw: &RawQuota, problems: &mut Problems) -> (NonZeroU32, Option<HeaderName>) {
    problems.check(
        raw.default_qpd <= QPD_MAX,
        "quota.default_qpd",
        raw.default_qpd,
        "0 for no bound, or up to 2147483647 requests a day",
    );
    problems.check(
        (1..=1_000_000).contains(&raw.unsigned_per_minute),
        "quota.unsigned_per_minute",
        raw.unsigned_per_minute,
        "1 to 1000000",
    );
    let header = raw.client_address_header.as_ref().and_then(|name| {
        problems.take(
            "quota.client_address_header",
            HeaderName::from_bytes(name.as_bytes()),
            "the name of a header, as X-Forwarded-For",
        )
    });
    let unsigned = NonZeroU32::new(raw.unsigned_per_minute).unwrap_or(NonZeroU32::MIN);
    (unsigned, header)
}

fn commit_bound(key: &str, value: usize, problems: &mut Problems) -> Option<NonZeroUsize> {
    let right = "1 to 65536";
    problems.check((1..=65_536).contains(&value), key, value, right);
    NonZeroUsize::new(value)
}

fn resolve_keys(
    loaded: &Loaded<RawConfig>,
    name: Option<&KeyName>,
    problems: &mut Problems,
) -> Vec<SigningKey> {
    let mut keys: Vec<SigningKey> = Vec::new();
    problems.check(
        !loaded.raw.keys.is_empty(),
        "keys",
        "there is none",
        "at least one key file",
    );
    problems.check(
        loaded.raw.keys.len() <= KEYS_MAX,
        "keys",
        format!("there are {}", loaded.raw.keys.len()),
        "at most 16: verifiers need not read more signatures of a checkpoint",
    );
    for (place, path) in loaded.raw.keys.iter().take(KEYS_MAX).enumerate() {
        let field = format!("keys[{place}]");
        let Some(key) = problems.take(
            &field,
            SigningKey::load(loaded.path(path)),
            "a key file that init made, mode 0600",
        ) else {
            continue;
        };
        let verifier = key.verifier_key();
        let kind = verifier.signature_type();
        problems.check(
            matches!(kind, SignatureType::CosignatureV1 | SignatureType::MlDsa44),
            &field,
            format!("a key of type {:#04x}", kind.to_byte()),
            "a cosigner's key, of type 0x04 or 0x06",
        );
        if let Some(name) = name {
            let right = "a key with the name of this witness";
            let wrong = format!("the key is named {}", verifier.name());
            problems.check(verifier.name() == name, &field, wrong, right);
        }
        let twice = keys
            .iter()
            .any(|other| other.verifier_key().public_key_bytes() == verifier.public_key_bytes());
        problems.check(
            !twice,
            &field,
            "the same key as one before it",
            "each key once",
        );
        keys.push(key);
    }
    keys
}

/// What signed-note asks verifiers to accept at least.
const KEYS_MAX: usize = 16;
