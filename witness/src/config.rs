//! `witness.toml`: what an operator says, and what of it is checked before a port opens.
//!
//! Relative paths start at the file's directory. Secrets are named by path. All problems are
//! reported together, with exit code 64.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jurat_daemon::clock::{GuardSettings, RawClock};
use jurat_daemon::config::{self, ConfigError, Loaded, Problems};
use jurat_daemon::http::header::HeaderName;
use jurat_daemon::http::{Limits, Tls};
use jurat_daemon::telemetry::LogFormat;
use jurat_keys::SigningKey;
use jurat_proto::add_checkpoint::BODY_BYTES_MAX;
use jurat_proto::evidence::EVIDENCE_BYTES_MAX;
use jurat_proto::key::{KeyName, SignatureType, Signer as _, VerifierKey};
use jurat_proto::log_list::QPD_MAX;
use jurat_store::WalOptions;
use serde::Deserialize;

use crate::about::{About, RawAbout};
use crate::bastion::{self, BastionSettings, RawBastion};
use crate::gossip::{self, GossipSettings, NamedPeer, RawGossip};
use crate::lists::Source;
use crate::log_list::LogList;
use crate::logs_command::sources;
use crate::quota::QuotaLimits;
use crate::recheck::Recheck;
use crate::restore::{RawRestoreGuard, RestoreGuard};

/// A checked configuration; everything it names was there and readable.
#[derive(Debug)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
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
    /// The keys that this witness had, and has no more.
    pub former_keys: Vec<VerifierKey>,
    /// The database file.
    pub database: PathBuf,
    /// The list of logs, loaded.
    pub logs: LogList,
    /// How many checkpoints wait for the disk at most.
    pub commits_waiting_max: NonZeroUsize,
    /// How many become durable together at most.
    pub commit_batch_max: NonZeroUsize,
    /// What is spent on the store and its log.
    pub wal: WalOptions,
    /// The lists of others that are followed.
    pub lists: Vec<Source>,
    /// How often.
    pub lists_every: Duration,
    /// How many logs they may add.
    pub lists_logs_max: usize,
    /// Whether a key is ML-DSA-44.
    pub ml_dsa: bool,
    /// The path of the list of logs.
    pub logs_path: PathBuf,
    /// How many requests logs and strangers may make.
    pub quotas: QuotaLimits,
    /// The header in which a proxy says who the client is.
    pub client_address_header: Option<HeaderName>,
    /// What the witness says of itself.
    pub about: About,
    /// How fast stored heads are verified again.
    pub recheck: Recheck,
    /// Who is asked whether the state is as new as what they have seen of it.
    pub restore_guard: RestoreGuard,
    /// With whom it gossips, if it does.
    pub gossip: Option<GossipSettings>,
    /// Behind which bastion it is, if it is.
    pub bastion: Option<BastionSettings>,
    /// Who is asked for the time, and when the clock is believed.
    pub clock: GuardSettings,
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
        let mut config = resolve(&loaded)?;
        file.clone_into(&mut config.file);
        Ok(config)
    }
}

/// Reads a file again for what it says of gossip.
///
/// # Errors
/// The file cannot be read or parsed, or all that is wrong with `[gossip]`. Nothing changed.
// Spec: GSP-96
pub fn gossip(file: &Path) -> Result<Option<GossipSettings>, ConfigError> {
    let loaded = config::load::<RawConfig>(file)?;
    let mut problems = loaded.problems();
    let right = "a key name, as example.com/w1";
    let name = problems.take("name", KeyName::parse(&loaded.raw.name), right);
    let raw = loaded.raw.gossip.as_ref();
    let settings = raw.map(|raw| gossip::resolve(raw, &loaded, name.as_ref(), &mut problems));
    Ok(problems.finish(Some(settings.flatten()))?)
}

/// What the commands that change the list of logs need of a configuration. They need no key that
/// can be read.
#[derive(Debug)]
pub struct Admin {
    /// The list of logs.
    pub logs: PathBuf,
    /// The database.
    pub database: PathBuf,
    /// Where to ask the witness, when it speaks plain HTTP.
    pub listen: Option<SocketAddr>,
    /// The lists of others that are followed.
    pub lists: Vec<Source>,
    /// How many logs they may add.
    pub lists_logs_max: usize,
    /// The keys that this witness had, as far as they can be read.
    pub former_keys: Vec<VerifierKey>,
    /// With whom it gossips, as that is written; nothing when it does not.
    pub(crate) peers: Option<Vec<NamedPeer>>,
    keys: Vec<PathBuf>,
}

impl Admin {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read or parsed.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let loaded = config::load::<RawConfig>(file)?;
        let raw = &loaded.raw;
        let listen = raw.listen.parse().ok();
        Ok(Self {
            logs: loaded.path(&raw.logs),
            database: loaded.path(&raw.database),
            listen: listen.filter(|_| raw.tls.is_none()),
            lists: sources(&raw.lists.sources, &loaded.path(Path::new(""))),
            lists_logs_max: raw.lists.logs_max,
            former_keys: parsed_keys(&raw.former_keys),
            peers: raw.gossip.as_ref().map(RawGossip::named),
            keys: raw.keys.iter().map(|key| loaded.path(key)).collect(),
        })
    }

    /// Whether one of the keys is ML-DSA-44, as far as its file can be read.
    pub fn ml_dsa(&self) -> bool {
        let keys = self.verifier_keys();
        keys.iter()
            .any(|key| key.signature_type() == SignatureType::MlDsa44)
    }

    /// The keys of the witness, as far as their files can be read.
    pub fn verifier_keys(&self) -> Vec<VerifierKey> {
        let keys = self
            .keys
            .iter()
            .filter_map(|path| SigningKey::load(path).ok());
        keys.map(|key| key.verifier_key().clone()).collect()
    }

    /// The first of the files of its keys that cannot be read.
    pub fn unread_key(&self) -> Option<&Path> {
        let mut keys = self.keys.iter().map(PathBuf::as_path);
        keys.find(|path| SigningKey::load(path).is_err())
    }
}

fn parsed_keys(raw: &[String]) -> Vec<VerifierKey> {
    let keys = raw.iter().take(FORMER_KEYS_MAX);
    keys.filter_map(|vkey| VerifierKey::parse(vkey).ok())
        .collect()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    name: String,
    #[serde(default = "default_listen")]
    listen: String,
    keys: Vec<PathBuf>,
    #[serde(default)]
    former_keys: Vec<String>,
    database: PathBuf,
    logs: PathBuf,
    tls: Option<RawTls>,
    limits: Option<Limits>,
    #[serde(default)]
    lists: RawLists,
    #[serde(default)]
    quota: RawQuota,
    #[serde(default)]
    commit: RawCommit,
    #[serde(default)]
    about: RawAbout,
    #[serde(default)]
    recheck: Recheck,
    #[serde(default)]
    restore_guard: RawRestoreGuard,
    gossip: Option<RawGossip>,
    bastion: Option<RawBastion>,
    #[serde(default)]
    clock: RawClock,
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
    log_bytes: usize,
}

impl Default for RawCommit {
    fn default() -> Self {
        Self {
            waiting_max: 1024,
            batch_max: 256,
            log_bytes: WalOptions::default().file_bytes,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLists {
    sources: Vec<String>,
    every_s: u64,
    logs_max: usize,
}

impl Default for RawLists {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            every_s: 3600,
            logs_max: 200_000,
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
    let right = "a key name, as example.com/w1";
    let name = problems.take("name", KeyName::parse(&raw.name), right);
    let right = "an address, as 127.0.0.1:8419";
    let listen = problems.take("listen", raw.listen.parse(), right);
    let tls = resolve_tls(loaded, &mut problems);
    let mut limits = raw.limits.clone().unwrap_or_default();
    limits.check("limits", &mut problems);
    problems.check(
        limits.body_bytes_max >= BODY_BYTES_MAX,
        "limits.body_bytes_max",
        limits.body_bytes_max,
        "at least 131072, which witnesses must read",
    );
    // Spec: WIT-09. A larger body is refused by its Content-Length, before any of it is read.
    limits.body_bytes_max = limits.body_bytes_max.min(EVIDENCE_BYTES_MAX);
    let keys = resolve_keys(loaded, name.as_ref(), &mut problems);
    let former_keys = resolve_former_keys(&raw.former_keys, &mut problems);
    let database = resolve_database(loaded, &mut problems);
    let ml_dsa = keys.iter().any(is_ml_dsa);
    let logs = LogList::load(loaded.path(&raw.logs), ml_dsa);
    let logs = problems.take("logs", logs, "the list that init made and `logs` changes");
    let (waiting, batch, wal) = resolve_commit(&raw.commit, &mut problems);

    let lists_every = check_lists(&raw.lists, &mut problems);
    let (unsigned, address_header) = resolve_quota(&raw.quota, &mut problems);
    let about = raw.about.resolve(&mut problems);
    raw.recheck.check(&mut problems);
    let restore_guard = raw
        .restore_guard
        .resolve(|path| loaded.path(path), &mut problems);
    let clock = raw.clock.resolve(&mut problems);
    let gossip = resolve_gossip(loaded, name.as_ref(), &mut problems);
    let bastion = resolve_bastion(loaded, &keys, gossip.as_ref(), &mut problems);
    let lists = sources(&raw.lists.sources, &loaded.path(Path::new("")));
    let default_qpd = NonZeroU32::new(raw.quota.default_qpd);

    let config = name.zip(listen).zip(logs).zip(waiting).zip(batch);
    let config = config.map(|((((name, listen), logs), waiting), batch)| Config {
        file: PathBuf::new(),
        recheck: raw.recheck,
        restore_guard,
        gossip,
        bastion,
        clock,
        about: about.with_lists(&lists, lists_every, default_qpd),
        lists,
        lists_every,
        lists_logs_max: raw.lists.logs_max,
        ml_dsa,
        logs_path: loaded.path(&raw.logs),
        quotas: QuotaLimits {
            default_qpd,
            unsigned_per_minute: unsigned,
            in_flight_max: (waiting.get() / 4).max(1),
        },
        client_address_header: address_header,
        name,
        listen,
        tls,
        limits,
        keys,
        former_keys,
        database,
        logs,
        commits_waiting_max: waiting,
        commit_batch_max: batch,
        wal,
        log_format: raw.log.format,
        log_filter: raw.log.filter.clone(),
    });
    problems.finish(config)
}

fn resolve_tls(loaded: &Loaded<RawConfig>, problems: &mut Problems) -> Option<Tls> {
    let tls = loaded.raw.tls.as_ref()?;
    let read = Tls::load(&loaded.path(&tls.certificates), &loaded.path(&tls.key));
    problems.take("tls", read, "a PEM chain and its PEM key")
}

fn resolve_gossip(
    loaded: &Loaded<RawConfig>,
    name: Option<&KeyName>,
    problems: &mut Problems,
) -> Option<GossipSettings> {
    gossip::resolve(loaded.raw.gossip.as_ref()?, loaded, name, problems)
}

fn resolve_bastion(
    loaded: &Loaded<RawConfig>,
    keys: &[SigningKey],
    gossip: Option<&GossipSettings>,
    problems: &mut Problems,
) -> Option<BastionSettings> {
    let others = keys.iter().map(|key| key.verifier_key().clone());
    let others = others.chain(gossip.map(|gossip| gossip.vkey().clone()));
    let others: Vec<VerifierKey> = others.collect();
    bastion::resolve(loaded.raw.bastion.as_ref()?, loaded, &others, problems)
}

fn resolve_database(loaded: &Loaded<RawConfig>, problems: &mut Problems) -> PathBuf {
    let database = loaded.path(&loaded.raw.database);
    problems.check(
        database.is_file(),
        "database",
        format!("{} is not there", database.display()),
        "the file that init made; if it was lost, read docs/witness.md before anything else",
    );
    database
}

fn check_lists(raw: &RawLists, problems: &mut Problems) -> Duration {
    problems.check(
        (60..=604_800).contains(&raw.every_s),
        "lists.every_s",
        raw.every_s,
        "60 to 604800, a week, which the witness network asks for",
    );
    problems.check(
        (1..=1_000_000).contains(&raw.logs_max),
        "lists.logs_max",
        raw.logs_max,
        "1 to 1000000",
    );
    problems.check(
        raw.sources.len() <= LISTS_MAX,
        "lists.sources",
        format!("there are {}", raw.sources.len()),
        "at most 16",
    );
    Duration::from_secs(raw.every_s)
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

fn resolve_commit(
    raw: &RawCommit,
    problems: &mut Problems,
) -> (Option<NonZeroUsize>, Option<NonZeroUsize>, WalOptions) {
    let waiting = commit_bound("commit.waiting_max", raw.waiting_max, problems);
    let batch = commit_bound("commit.batch_max", raw.batch_max, problems);
    problems.check(
        (WalOptions::FILE_BYTES_MIN..=WalOptions::FILE_BYTES_MAX).contains(&raw.log_bytes),
        "commit.log_bytes",
        raw.log_bytes,
        "262144 to 67108864",
    );
    let wal = WalOptions {
        file_bytes: raw.log_bytes,
        ..WalOptions::default()
    };
    (waiting, batch, wal)
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

fn is_ml_dsa(key: &SigningKey) -> bool {
    key.verifier_key().signature_type() == SignatureType::MlDsa44
}

fn resolve_former_keys(raw: &[String], problems: &mut Problems) -> Vec<VerifierKey> {
    problems.check(
        raw.len() <= FORMER_KEYS_MAX,
        "former_keys",
        format!("there are {}", raw.len()),
        "at most 64",
    );
    let right = "vkeys of a cosigner, of type 0x04 or 0x06";
    let mut keys = Vec::new();
    for vkey in raw.iter().take(FORMER_KEYS_MAX) {
        let parsed = problems.take("former_keys", VerifierKey::parse(vkey), right);
        let Some(key) = parsed else { continue };
        let kind = key.signature_type();
        let cosigns = matches!(kind, SignatureType::CosignatureV1 | SignatureType::MlDsa44);
        problems.check(cosigns, "former_keys", vkey, right);
        keys.push(key);
    }
    keys
}

/// Each is tried on each stored line; nobody replaces keys so often.
const FORMER_KEYS_MAX: usize = 64;

/// What signed-note asks verifiers to accept at least.
const KEYS_MAX: usize = 16;

/// How many lists are followed; each has its own counters.
const LISTS_MAX: usize = 16;
