//! The service's configuration: a TOML file, checked as a whole before any port opens.
//!
//! `RawConfig` is the file as it is written; [`Config`] is what the service runs on, with every
//! path resolved, every file read and every number within its bounds. All problems are reported at
//! once.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jurat_daemon::client::{Client, ClientOptions};
use jurat_daemon::clock::{GuardSettings, RawClock};
use jurat_daemon::config::{ConfigError, Loaded, Problems, load};
use jurat_daemon::http::{ForwardedField, Limits, Network, Tls, TrustedProxies};
use jurat_keys::SigningKey;
use jurat_proto::checkpoint::Origin;
use jurat_proto::key::{SignatureType, Signer, VerifierKey};
use jurat_proto::policy::Policy;
use jurat_proto::tsp::imprint::HashAlgorithm;
use jurat_proto::tsp::oid::Oid;
use jurat_proto::tsp::request::Offer;
use jurat_store::registry::Registry;
use serde::Deserialize;

use crate::alerts;
use crate::cosigners::Settings;
use crate::evidence::pull;
use crate::log::tree_heads::Pace;
use crate::tsa::units::{AUTHORITY_KEY, Units};
use crate::tsa::{self, LeapSeconds};

/// The name of the configuration file that `jurat init` writes.
pub const FILE_NAME: &str = "jurat.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    origin: String,
    listen: SocketAddr,
    database: PathBuf,
    logs: PathBuf,
    policy: PathBuf,
    log_keys: Vec<PathBuf>,
    cosigner_keys: Vec<PathBuf>,
    #[serde(default)]
    tree_heads: RawTreeHeads,
    #[serde(default)]
    witnesses: RawWitnesses,
    #[serde(default)]
    health: RawHealth,
    #[serde(default)]
    evidence: RawEvidence,
    #[serde(default)]
    storage: RawStorage,
    #[serde(default)]
    clock: RawClock,
    timestamp: Option<RawTimestamp>,
    #[serde(default)]
    alerts: RawAlerts,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    proxies: RawProxies,
    tls: Option<RawTls>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawProxies {
    trusted: Vec<String>,
    field: String,
}

impl Default for RawProxies {
    fn default() -> Self {
        Self {
            trusted: Vec::new(),
            field: ForwardedField::default().name().to_owned(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawAlerts {
    exec: Vec<String>,
    webhook: Option<String>,
    key: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTimestamp {
    units: PathBuf,
    #[serde(default = "default_policy")]
    policy: String,
    #[serde(default)]
    other_policies: Vec<String>,
    #[serde(default)]
    hash_algorithms: Option<Vec<String>>,
    #[serde(default = "default_accuracy_ms")]
    accuracy_ms: u64,
    #[serde(default)]
    require_time_sources: bool,
    #[serde(default)]
    include_chain: bool,
    #[serde(default)]
    leap_seconds: RawLeapSeconds,
    #[serde(default)]
    client_per_s: u32,
    #[serde(default = "default_client_burst")]
    client_burst: u32,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawLeapSeconds {
    #[default]
    Pause,
    None,
}

fn default_policy() -> String {
    Oid::from(jurat_proto::tsp::oid::DEFAULT_POLICY).to_string()
}

const fn default_accuracy_ms() -> u64 {
    2_000
}

const fn default_client_burst() -> u32 {
    100
}

/// The time-stamp authority's part of a configuration.
pub struct Timestamp {
    /// The file of its units.
    pub units_file: PathBuf,
    /// Them.
    pub units: Units,
    /// How tokens are made.
    pub settings: tsa::Settings,
    /// What one client may ask for: so many a second, and so many at once.
    pub rate: Option<(u32, u32)>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawTreeHeads {
    interval_ms: u64,
    demand_delay_ms: u64,
    refresh_s: u64,
}

impl Default for RawTreeHeads {
    fn default() -> Self {
        Self {
            interval_ms: 1_000,
            demand_delay_ms: 100,
            refresh_s: 30,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawWitnesses {
    timeout_ms: u64,
    ignore_ahead: Vec<String>,
    ca_file: Option<PathBuf>,
}

impl Default for RawWitnesses {
    fn default() -> Self {
        Self {
            timeout_ms: 2_000,
            ignore_ahead: Vec::new(),
            ca_file: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawHealth {
    stale_after_s: u64,
}

impl Default for RawHealth {
    fn default() -> Self {
        Self { stale_after_s: 120 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawEvidence {
    pull_every_ms: u64,
    from: Vec<String>,
}

impl Default for RawEvidence {
    fn default() -> Self {
        Self {
            pull_every_ms: 60_000,
            from: Vec::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawStorage {
    cache_mib: usize,
}

impl Default for RawStorage {
    fn default() -> Self {
        Self { cache_mib: 64 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    certificate_file: PathBuf,
    key_file: PathBuf,
}

/// Where the service's certificate and its key are.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// PEM, the service's certificate first.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// A checked configuration, with its keys and policy loaded.
pub struct Config {
    /// The log's origin.
    pub origin: Origin,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The database file.
    pub database: PathBuf,
    /// The registry of logs that may anchor.
    pub logs: PathBuf,
    /// The witnesses and the quorum.
    pub policy: Policy,
    /// Keys that sign tree heads.
    pub log_keys: Vec<Arc<dyn Signer>>,
    /// Keys that cosign the checkpoints of registered logs.
    pub cosigner_keys: Vec<Arc<dyn Signer>>,
    /// How often tree heads are made.
    pub pace: Pace,
    /// How witnesses are asked.
    pub settings: Settings,
    /// More certificate authorities for witnesses at https URLs.
    pub ca_file: Option<PathBuf>,
    /// `/health` says no when the published checkpoint is older.
    pub stale_after: Duration,
    /// How witnesses are asked for evidence.
    pub evidence: pull::Settings,
    /// Memory that the store may use for pages, in bytes.
    pub cache_bytes: usize,
    /// Who is asked for the time, and when the clock is believed.
    pub clock: GuardSettings,
    /// The time-stamp authority, if there is one.
    pub timestamp: Option<Timestamp>,
    /// Who is told when something is wrong.
    pub alerts: alerts::Settings,
    /// Limits of the listener.
    pub limits: Limits,
    /// Whose word on who a client is counts.
    pub proxies: TrustedProxies,
    /// Whether the listener speaks TLS itself.
    pub tls: Option<TlsFiles>,
}

impl Config {
    /// Reads and checks a configuration file and the files that it names.
    ///
    /// # Errors
    /// All problems found; nothing was changed or opened for writing.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let loaded = load::<RawConfig>(path)?;
        let mut problems = loaded.problems();
        let config = Self::resolve(&loaded, &mut problems);
        problems.finish(config).map_err(ConfigError::Problems)
    }

    /// The log's origin and the file of its units, of a configuration in which other things may be
    /// wrong: who closes a unit because its key is lost cannot be asked to bring it first.
    ///
    /// # Errors
    /// The file cannot be read, or has no origin.
    pub fn units_file(path: &Path) -> Result<(Origin, Option<PathBuf>), ConfigError> {
        let loaded = load::<RawConfig>(path)?;
        let mut problems = loaded.problems();
        let raw = &loaded.raw;
        let origin = problems.take("origin", Origin::parse(&raw.origin), "a schema-less URL");
        let origin = problems.finish(origin).map_err(ConfigError::Problems)?;
        let file = raw.timestamp.as_ref().map(|raw| loaded.path(&raw.units));
        Ok((origin, file))
    }

    fn resolve(loaded: &Loaded<RawConfig>, problems: &mut Problems) -> Option<Self> {
        let raw = &loaded.raw;
        let at = |file: &Path| loaded.path(file);
        let origin = problems.take("origin", Origin::parse(&raw.origin), "a schema-less URL");
        let log_keys = keys(
            problems,
            "log_keys",
            raw.log_keys.iter().map(|file| at(file)),
        );
        let cosigner_files = raw.cosigner_keys.iter().map(|file| at(file));
        let cosigner_keys = keys(problems, "cosigner_keys", cosigner_files);
        if let Some(origin) = &origin {
            check_log_keys(problems, origin, &log_keys);
        }
        check_cosigner_keys(problems, &log_keys, &cosigner_keys);
        let policy = policy(problems, &at(&raw.policy));
        if let Some(policy) = &policy {
            check_policy(problems, policy, &raw.witnesses.ignore_ahead);
            check_independence(problems, policy, log_keys.iter().chain(&cosigner_keys));
        }
        let pace = pace(problems, raw);
        let clock = raw.clock.resolve(problems);
        let timestamp = timestamp(
            problems,
            raw,
            !clock.servers.is_empty(),
            origin.as_ref(),
            at,
        );
        let signers = log_keys.iter().chain(&cosigner_keys);
        let folder = at(&raw.database).with_file_name("alerts");
        let alerts = alerts(problems, (&raw.alerts, folder), signers, at);
        let proxies = proxies(&raw.proxies, problems);
        check_rest(problems, raw, at);
        Some(Self {
            origin: origin?,
            listen: raw.listen,
            database: at(&raw.database),
            logs: at(&raw.logs),
            policy: policy?,
            log_keys,
            cosigner_keys,
            pace,
            settings: Settings {
                timeout: Duration::from_millis(raw.witnesses.timeout_ms),
                retry_min: Duration::from_millis(100),
                retry_max: Duration::from_secs(10),
                ignore_ahead: raw.witnesses.ignore_ahead.clone(),
            },
            ca_file: raw.witnesses.ca_file.as_deref().map(at),
            stale_after: Duration::from_secs(raw.health.stale_after_s),
            evidence: pull::Settings {
                every: Duration::from_millis(raw.evidence.pull_every_ms),
                from: raw.evidence.from.clone(),
            },
            cache_bytes: raw.storage.cache_mib.saturating_mul(1 << 20),
            clock,
            timestamp,
            alerts,
            limits: raw.limits.clone(),
            proxies,
            tls: raw.tls.as_ref().map(|tls| TlsFiles {
                certificate: at(&tls.certificate_file),
                key: at(&tls.key_file),
            }),
        })
    }

    /// The log's verifier keys.
    pub fn log_verifier_keys(&self) -> Vec<VerifierKey> {
        self.log_keys
            .iter()
            .map(|key| key.verifier_key().clone())
            .collect()
    }
}

// Spec: SVC-61
fn alerts<'a>(
    problems: &mut Problems,
    (raw, folder): (&RawAlerts, PathBuf),
    mut signers: impl Iterator<Item = &'a Arc<dyn Signer>>,
    at: impl Fn(&Path) -> PathBuf,
) -> alerts::Settings {
    const KEY_RIGHT: &str = "an Ed25519 note key that signs nothing else, as `jurat init` makes it";
    problems.check(
        raw.exec.first().is_none_or(|program| !program.is_empty()),
        "alerts.exec",
        "its first word is empty",
        "a program and its arguments",
    );
    if let Some(url) = &raw.webhook {
        problems.check(is_http(url), "alerts.webhook", url, "an http or https URL");
        problems.check(
            raw.key.is_some(),
            "alerts.key",
            "none, and what the webhook gets is signed",
            KEY_RIGHT,
        );
    }
    let key = raw.key.as_deref().map(at);
    let key = key.and_then(|path| problems.take("alerts.key", SigningKey::load(path), KEY_RIGHT));
    if let Some(key) = &key {
        let public = key.verifier_key();
        let signs_trees = signers.any(|other| {
            let other = other.verifier_key();
            other.public_key_bytes() == public.public_key_bytes() || other.name() == public.name()
        });
        problems.check(
            public.signature_type() == SignatureType::Ed25519 && !signs_trees,
            "alerts.key",
            format!(
                "key {} is of type {}",
                public.name(),
                public.signature_type()
            ),
            KEY_RIGHT,
        );
    }
    let webhook = raw.webhook.clone().zip(key.map(Arc::new));
    alerts::Settings {
        exec: raw.exec.clone(),
        webhook,
        folder,
    }
}

// Spec: TSA-30
fn timestamp(
    problems: &mut Problems,
    raw: &RawConfig,
    has_sources: bool,
    origin: Option<&Origin>,
    at: impl Fn(&Path) -> PathBuf,
) -> Option<Timestamp> {
    const POLICY_RIGHT: &str = "an object identifier such as 1.3.6.1.4.1.99999.1";
    let raw = raw.timestamp.as_ref()?;
    let field = "timestamp.policy";
    let default_policy = problems.take(field, Oid::parse(&raw.policy), POLICY_RIGHT);
    let mut other_policies = Vec::new();
    for (place, policy) in raw.other_policies.iter().enumerate() {
        let field = format!("timestamp.other_policies[{place}]");
        other_policies.extend(problems.take(&field, Oid::parse(policy), POLICY_RIGHT));
    }
    let hash_algorithms = match &raw.hash_algorithms {
        None => HashAlgorithm::ALL.to_vec(),
        Some(names) => hash_algorithms(problems, names),
    };
    in_range(
        problems,
        "timestamp.accuracy_ms",
        raw.accuracy_ms,
        1_001..=60_000,
    );
    problems.check(
        has_sources || !raw.require_time_sources,
        "timestamp.require_time_sources",
        "there are no time sources, so that no time-stamp would ever be made",
        "servers in clock.ntp",
    );
    in_range(
        problems,
        "timestamp.client_burst",
        raw.client_burst,
        1..=100_000,
    );
    in_range(
        problems,
        "timestamp.client_per_s",
        raw.client_per_s,
        0..=100_000,
    );
    let units_file = at(&raw.units);
    let units = problems.take(
        "timestamp.units",
        Units::load(&units_file, origin?),
        "a file of units that `jurat init` or `jurat tsa` made",
    );
    Some(Timestamp {
        units: units?,
        settings: tsa::Settings {
            offer: Offer {
                default_policy: default_policy?,
                other_policies,
                hash_algorithms,
            },
            accuracy: Duration::from_millis(raw.accuracy_ms),
            has_sources,
            authority_key: units_file.with_file_name(AUTHORITY_KEY),
            include_chain: raw.include_chain,
            leap_seconds: match raw.leap_seconds {
                RawLeapSeconds::Pause => LeapSeconds::Pause,
                RawLeapSeconds::None => LeapSeconds::Ignore,
            },
        },
        units_file,
        rate: (raw.client_per_s > 0).then_some((raw.client_per_s, raw.client_burst)),
    })
}

// Spec: SVC-81
fn proxies(raw: &RawProxies, problems: &mut Problems) -> TrustedProxies {
    let mut networks = Vec::new();
    for (place, text) in raw.trusted.iter().enumerate() {
        let field = format!("proxies.trusted[{place}]");
        let right = "an address or a network, such as 127.0.0.1 or 10.0.0.0/8";
        if let Some(network) = problems.take(&field, text.parse::<Network>(), right) {
            problems.check(
                !network.is_everybody(),
                &field,
                format_args!("{text} is everybody, and each of them could say that he is another"),
                "the single addresses of your proxies",
            );
            networks.push(network);
        }
    }
    problems.check(
        networks.len() <= PROXIES_MAX,
        "proxies.trusted",
        networks.len(),
        "64 at most",
    );
    let field = ForwardedField::named(&raw.field);
    problems.check(
        field.is_some(),
        "proxies.field",
        &raw.field,
        "X-Forwarded-For or Forwarded",
    );
    TrustedProxies::new(networks, field.unwrap_or_default())
}

/// Each request compares with all of them.
const PROXIES_MAX: usize = 64;

fn hash_algorithms(problems: &mut Problems, names: &[String]) -> Vec<HashAlgorithm> {
    const FIELD: &str = "timestamp.hash_algorithms";
    let mut algorithms = Vec::new();
    for name in names {
        let known = HashAlgorithm::ALL
            .into_iter()
            .find(|known| known.name() == name);
        match known {
            Some(known) => algorithms.push(known),
            None => problems.add(
                FIELD,
                format!("{name} is not known"),
                "names such as SHA-256, SHA-384, SHA-512, SHA3-256",
            ),
        }
    }
    problems.check(
        !algorithms.is_empty(),
        FIELD,
        "none",
        "at least one algorithm",
    );
    algorithms
}

fn check_rest(problems: &mut Problems, raw: &RawConfig, at: impl Fn(&Path) -> PathBuf) {
    let (logs, database) = (at(&raw.logs), at(&raw.database));
    problems.check(
        raw.health.stale_after_s > raw.tree_heads.refresh_s,
        "health.stale_after_s",
        "not above tree_heads.refresh_s: a log without traffic would never be healthy",
        "more than tree_heads.refresh_s",
    );
    check_evidence(problems, &raw.evidence);
    in_range(
        problems,
        "storage.cache_mib",
        raw.storage.cache_mib,
        8..=65_536,
    );
    raw.limits.check("limits", problems);
    if let Some(tls) = &raw.tls {
        let (certificate, key) = (at(&tls.certificate_file), at(&tls.key_file));
        problems.take(
            "tls",
            Tls::load(&certificate, &key),
            "PEM files of a certificate and its key",
        );
    }
    // Spec: SVC-69
    if let Some(file) = &raw.witnesses.ca_file {
        let options = ClientOptions {
            extra_roots: Some(at(file)),
            ..ClientOptions::default()
        };
        problems.take(
            "witnesses.ca_file",
            Client::new(options),
            "a PEM file with certificates",
        );
    }
    problems.take(
        "logs",
        Registry::load(logs),
        "a registry that `jurat init` made",
    );
    problems.check(
        database.is_file(),
        "database",
        format!("{} does not exist", database.display()),
        "the file that `jurat init` created; nothing else creates it",
    );
}

// Spec: SVC-56
fn check_evidence(problems: &mut Problems, raw: &RawEvidence) {
    in_range(
        problems,
        "evidence.pull_every_ms",
        raw.pull_every_ms,
        0..=86_400_000,
    );
    problems.check(
        raw.from.len() <= EVIDENCE_FROM_MAX,
        "evidence.from",
        raw.from.len(),
        "at most 64 URLs",
    );
    for url in &raw.from {
        problems.check(is_http(url), "evidence.from", url, "http or https URLs");
    }
}

/// Witnesses that are asked for evidence besides those of the policy; each has a task of its own.
const EVIDENCE_FROM_MAX: usize = 64;

fn keys(
    problems: &mut Problems,
    field: &str,
    paths: impl Iterator<Item = PathBuf>,
) -> Vec<Arc<dyn Signer>> {
    let mut keys: Vec<Arc<dyn Signer>> = Vec::new();
    for (place, path) in paths.enumerate() {
        let field = format!("{field}[{place}]");
        if let Some(key) = problems.take(&field, SigningKey::load(&path), KEY_RIGHT) {
            keys.push(Arc::new(key));
        }
    }
    keys
}

// Spec: TIL-21, CKP-22, CKP-23
/// "the checkpoint MUST carry at least one Ed25519 signature by the log".
fn check_log_keys(problems: &mut Problems, origin: &Origin, keys: &[Arc<dyn Signer>]) {
    for key in keys {
        let key = key.verifier_key();
        if key.name().as_str() != origin.as_str() {
            problems.add(
                "log_keys",
                format!("the key is named {}", key.name()),
                format!("keys with the origin as their name: {origin}"),
            );
        }
    }
    let mut seen = BTreeSet::new();
    for key in keys {
        let key = key.verifier_key();
        let kind = key.signature_type();
        if !matches!(
            kind,
            SignatureType::Ed25519 | SignatureType::CosignatureV1 | SignatureType::MlDsa44
        ) {
            problems.add(
                "log_keys",
                format!(
                    "key {} is of type {kind}, which cannot sign tree heads",
                    key.name()
                ),
                "keys of type 0x01, 0x04 or 0x06",
            );
        }
        if !seen.insert(key.public_key_bytes()) {
            problems.add(
                "log_keys",
                format!("a key of type {kind} is there twice"),
                "each key once",
            );
        }
    }
    let ed25519 =
        |key: &Arc<dyn Signer>| key.verifier_key().signature_type() == SignatureType::Ed25519;
    if !keys.iter().any(ed25519) {
        problems.add(
            "log_keys",
            "no Ed25519 note key",
            "at least one key of signature type 0x01",
        );
    }
}

// Spec: COS-21, COS-22, NOTE-33
/// "MUST use distinct public keys for each cosigner".
fn check_cosigner_keys(
    problems: &mut Problems,
    log_keys: &[Arc<dyn Signer>],
    cosigner_keys: &[Arc<dyn Signer>],
) {
    if cosigner_keys.is_empty() {
        problems.add(
            "cosigner_keys",
            "no key",
            "at least one key of type 0x04 or 0x06",
        );
    }
    for key in cosigner_keys {
        let key = key.verifier_key();
        let kind = key.signature_type();
        if !matches!(kind, SignatureType::CosignatureV1 | SignatureType::MlDsa44) {
            problems.add(
                "cosigner_keys",
                format!("key {} is of type {kind}, which cannot cosign", key.name()),
                "keys of type 0x04 or 0x06",
            );
        }
        let same = |other: &&Arc<dyn Signer>| {
            other.verifier_key().public_key_bytes() == key.public_key_bytes()
        };
        if log_keys.iter().any(|other| same(&other))
            || cosigner_keys.iter().filter(same).count() > 1
        {
            problems.add(
                "cosigner_keys",
                format!("key {} is used twice", key.name()),
                "another key for each purpose",
            );
        }
    }
}

fn policy(problems: &mut Problems, path: &Path) -> Option<Policy> {
    match std::fs::read(path) {
        Ok(bytes) => problems.take(
            "policy",
            Policy::parse(&bytes),
            "a tlog-policy with a quorum",
        ),
        Err(error) => {
            let wrong = format!("cannot read {}: {error}", path.display());
            problems.add("policy", wrong, "a tlog-policy file");
            None
        }
    }
}

fn check_policy(problems: &mut Problems, policy: &Policy, ignore_ahead: &[String]) {
    let reachable = |index: usize| {
        policy
            .witnesses()
            .get(index)
            .and_then(|w| w.url.as_ref()?.to_str())
            .is_some_and(is_http)
    };
    for witness in policy.witnesses() {
        if let Some(url) = &witness.url
            && !url.to_str().is_some_and(is_http)
        {
            problems.add(
                "policy",
                format!("witness {}: its URL cannot be asked", witness.name),
                "an http or https URL",
            );
        }
    }
    if !policy.quorum_met(reachable) {
        problems.add(
            "policy",
            "the quorum cannot be reached: too few of its witnesses have a URL",
            "a URL after the key of each witness that the service shall ask",
        );
    }
    for name in ignore_ahead {
        if !policy
            .witnesses()
            .iter()
            .any(|w| w.name.to_string() == *name)
        {
            let wrong = format!("no witness is named {name}");
            problems.add(
                "witnesses.ignore_ahead",
                wrong,
                "names of witnesses in the policy",
            );
        }
    }
}

fn is_http(url: &str) -> bool {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}

/// A service that witnesses itself is witnessed by nobody.
fn check_independence<'a>(
    problems: &mut Problems,
    policy: &Policy,
    own: impl Iterator<Item = &'a Arc<dyn Signer>>,
) {
    let own: Vec<&[u8]> = own
        .map(|key| key.verifier_key().public_key_bytes())
        .collect();
    for witness in policy.witnesses() {
        if own.contains(&witness.key.public_key_bytes()) {
            problems.add(
                "policy",
                format!("witness {} has a key of this service", witness.name),
                "witnesses with keys that others hold",
            );
        }
    }
}

fn pace(problems: &mut Problems, raw: &RawConfig) -> Pace {
    let heads = &raw.tree_heads;
    in_range(
        problems,
        "tree_heads.interval_ms",
        heads.interval_ms,
        10..=3_600_000,
    );
    let delays = 1..=heads.interval_ms.max(1);
    in_range(
        problems,
        "tree_heads.demand_delay_ms",
        heads.demand_delay_ms,
        delays,
    );
    in_range(
        problems,
        "tree_heads.refresh_s",
        heads.refresh_s,
        1..=86_400,
    );
    in_range(
        problems,
        "witnesses.timeout_ms",
        raw.witnesses.timeout_ms,
        10..=60_000,
    );
    Pace {
        interval: Duration::from_millis(heads.interval_ms),
        demand_delay: Duration::from_millis(heads.demand_delay_ms),
        refresh: Duration::from_secs(heads.refresh_s),
        quorum_wait: Duration::from_millis(raw.witnesses.timeout_ms),
    }
}

fn in_range<T: PartialOrd + std::fmt::Display>(
    problems: &mut Problems,
    key: &str,
    value: T,
    range: std::ops::RangeInclusive<T>,
) {
    let right = format!("{} to {}", range.start(), range.end());
    problems.check(range.contains(&value), key, value, &right);
}

/// What is right for a key file.
const KEY_RIGHT: &str = "a key file that only its owner can read";

#[cfg(test)]
mod tests {
    use super::*;
    use jurat_keys::Algorithm;
    use jurat_proto::note::KeyName;

    fn key(name: &str, kind: Algorithm) -> Arc<dyn Signer> {
        Arc::new(SigningKey::generate(KeyName::parse(name).unwrap(), kind).unwrap())
    }

    fn told(check: impl FnOnce(&mut Problems)) -> Vec<String> {
        let mut problems = Problems::new(Path::new("jurat.toml"));
        check(&mut problems);
        problems
            .iter()
            .map(|problem| problem.wrong.clone())
            .collect()
    }

    fn policy(key: &Arc<dyn Signer>, url: &str) -> Policy {
        let text = format!("witness w {} {url}\nquorum w\n", key.verifier_key());
        Policy::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_log_key_signs_once_and_is_of_a_kind_that_can() {
        let origin = Origin::parse("example.com/log").unwrap();
        let log = key("example.com/log", Algorithm::Ed25519);
        let p256 = key("example.com/log", Algorithm::P256);
        let check = |keys: &[Arc<dyn Signer>]| told(|p| check_log_keys(p, &origin, keys));
        assert!(check(std::slice::from_ref(&log)).is_empty());
        assert_eq!(check(&[Arc::clone(&log), Arc::clone(&log)]).len(), 1);
        assert_eq!(check(&[log, p256]).len(), 1);
    }

    #[test]
    fn a_witness_is_somebody_else() {
        let (own, other) = (
            key("example.com/log", Algorithm::CosignatureV1),
            key("example.com/w", Algorithm::CosignatureV1),
        );
        let check = |witness| {
            told(|p| check_independence(p, &policy(witness, "http://w"), [&own].into_iter()))
        };
        assert!(check(&other).is_empty());
        assert_eq!(check(&own).len(), 1);
    }

    #[test]
    fn a_witness_is_asked_over_http_or_not_at_all() {
        let witness = key("example.com/w", Algorithm::CosignatureV1);
        let check = |url: &str| told(|p| check_policy(p, &policy(&witness, url), &[]));
        assert!(check("https://w.example/x").is_empty());
        assert!(check("http://127.0.0.1:1").is_empty());
        for url in ["w.example", "ftp://w.example", "http:///x"] {
            assert_eq!(check(url).len(), 2, "{url}: the URL, and so the quorum");
        }
    }
}
