//! The witness as a process: open, listen, follow the list of logs, end in order.
//!
//! ```text
//! open the store ─► load heads ─► bind ─► "listening on …" ─► serve
//!     ├─ SIGTERM, SIGINT: drain, commit what waits, close              exit 0
//!     ├─ a commit's outcome is unknown, the disk failed: end at once   exit 74
//!     ├─ a file of the state was replaced: end at once                 exit 65
//!     └─ in any order, but evidence convicts a key of ours             exit 76
//! ```

use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use jurat_daemon::batch::Failure;
use jurat_daemon::client::{Client, ClientOptions, ClientSetupError};
use jurat_daemon::clock::{Clock as _, ClockGuard, ClockMetrics, GuardSettings, SystemClock};
use jurat_daemon::config::ConfigError;
use jurat_daemon::exit;
use jurat_daemon::http::{self, HttpMetrics, Limits, Tls};
use jurat_daemon::limits::OpenFiles;
use jurat_daemon::shutdown::{Reloads, Shutdown};
use jurat_daemon::telemetry::{self, TelemetryError};
use jurat_proto::hash::Hash;
use jurat_proto::hex;
use jurat_proto::key::{Signer, VerifierKey};
use jurat_store::registry::LogState;
use jurat_store::{OpenError, StoreError, WalStore, WriteError};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::C2SP_REVISION;
use crate::bastion::BastionSettings;
use crate::config::{self, Config};
use crate::cosign::{Parts, StartError, Witness};
use crate::evidence::{Convicted, EvidenceFolder, Listed};
use crate::gossip::{self, Gossip, GossipError, GossipSettings, NotTaken};
use crate::http::Api;
use crate::journal::peers::{PeerChange, PeersJournal};
use crate::lists::{FETCH_TIMEOUT, Mode, PullError, Source, Target};
use crate::log_list::LogListError;
use crate::metrics::Metrics;
use crate::recheck::Recheck;
use crate::restore::{self, Guard, Look, OwnState, OwnStateError};

/// Runs a witness until a signal ends it. When it listens, one line on standard output says where:
/// `listening on http://127.0.0.1:8419`.
///
/// # Errors
/// [`ServeError`], which knows its exit code.
pub fn run(config: Config) -> Result<(), ServeError> {
    // Spec: WIT-104
    telemetry::init_logs(config.log_format, &config.log_filter).map_err(ServeError::Logs)?;
    match OpenFiles::raise() {
        Ok(files) if files.connections_max() < config.limits.connections_max => tracing::warn!(
            descriptors = files.soft,
            connections_max = config.limits.connections_max,
            "fewer file descriptors than connections; raise LimitNOFILE"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot raise the limit on open files"),
    }
    let store = Arc::new(WalStore::open(&config.database, config.wal)?);
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Signatures and proofs never wait for anything: more threads than cores only queue.
        .max_blocking_threads(cores.saturating_mul(2).max(4))
        .build()
        .map_err(ServeError::Runtime)?;
    exit::block_on(runtime, serve(config, Arc::clone(&store)))?;
    // Spec: STO-24
    store.close().map_err(ServeError::Close)
}

async fn serve(config: Config, store: Arc<WalStore>) -> Result<(), ServeError> {
    let shutdown = Shutdown::on_signals().map_err(ServeError::Signals)?;
    let reloads = Reloads::new().map_err(ServeError::Signals)?;
    let mut registry = Registry::with_prefix("jurat");
    telemetry::register_process(&mut registry, env!("CARGO_PKG_VERSION"), C2SP_REVISION);
    let http_metrics = HttpMetrics::register(&mut registry);
    let metrics = Metrics::register(&mut registry);
    let lists = Lists::of(&config, metrics.clone());
    let clock = guarded(config.clock.clone(), &mut registry);
    let (path, wall) = (lists.target.logs.clone(), Arc::new(SystemClock));
    let guard = Guard::new(config.restore_guard.clone(), path, wall, metrics.clone());
    let guard = guard.map_err(ServeError::Client)?;
    let guard = Arc::new(guard.with_own_state(own_state(&config, &store)?));
    guard.warn_if_off();
    let told = failure_of(&store);
    let state = Arc::clone(&store);
    let (tls, limits, about) = (
        config.tls.clone(),
        config.limits.clone(),
        config.about.clone(),
    );
    let (at, header, recheck) = (
        config.listen,
        config.client_address_header.clone(),
        config.recheck,
    );
    let (file, bastion) = (config.file.clone(), config.bastion.clone());
    let journal = PeersJournal::beside(&config.logs_path);
    let witness = witness_of(config, store, &clock, &metrics, &guard)?;
    count_logs(&witness, &metrics);
    let listener = listen(at, tls.is_some())?;
    let (pull, asked) = watch::channel(());
    let mut background = background((lists, recheck), &guard, &witness, asked);
    background.spawn(clock.run());
    let again = Again {
        file,
        journal,
        tls: tls.clone(),
        reloads,
        pull,
    };
    background.spawn(follow(Arc::clone(&witness), guard, metrics, again));
    let registry = Arc::new(registry);
    let api = Api::new(Arc::clone(&witness), registry, limits.body_timeout);
    let with = (limits.clone(), shutdown.clone(), http_metrics.clone());
    let ending = shutdown.clone();
    let api = api.with_client_address_header(header).with_about(about);
    let behind = bastion.map(|bastion| behind(bastion, &witness, &api, with));
    // Spec: WIT-55, WIT-103
    let served = http::serve(listener, tls, limits, Arc::new(api), shutdown, http_metrics);
    tokio::select! {
        // The failure first: an orderly end must not hide it.
        biased;
        failure = witness.failed() => Err(failed(failure)),
        Ok(error) = told => Err(error),
        path = replaced(state) => Err(ServeError::Replaced { path }),
        result = served => {
            // Spec: WIT-103. What came over the bastion is answered, too. A listener that broke is
            // an end as well.
            ending.trigger();
            if let Some(behind) = behind {
                drop(behind.await);
            }
            background.abort_all();
            // Requests that outlived the drain may still have swaps with the disk.
            witness.stop().await.map_err(failed)?;
            tracing::info!("stopped");
            ended(result, &witness)
        }
    }
}

/// What this state says of itself, before anything is signed.
// Spec: WIT-89
fn own_state(config: &Config, store: &Arc<WalStore>) -> Result<Arc<OwnState>, ServeError> {
    let logs = config.logs.current();
    let dismissed = logs.logs_after(None).flat_map(|log| &log.dismissed);
    let look = Look {
        dismissed: dismissed.map(|dismissed| dismissed.at).max().unwrap_or(0),
        database: &config.database,
        logs: &config.logs_path,
        name: config.name.as_str(),
        clock: &SystemClock,
    };
    Ok(Arc::new(OwnState::open(
        store,
        &config.restore_guard,
        &look,
    )?))
}

/// Has what comes over a bastion answered. Metrics are not shown there, so none are registered.
// Spec: GSP-148, GSP-149
fn behind(
    settings: BastionSettings,
    witness: &Arc<Witness>,
    api: &Api,
    (limits, shutdown, counted): (Limits, Shutdown, HttpMetrics),
) -> JoinHandle<()> {
    let api = api.behind_bastion();
    let metrics = witness.metrics().clone();
    let told = move |connected| metrics.behind_bastion(connected);
    let kept = settings
        .bastion
        .keep(Arc::new(api), limits, shutdown, counted, told);
    tokio::spawn(kept)
}

// Spec: WIT-131
fn ended(served: io::Result<()>, witness: &Witness) -> Result<(), ServeError> {
    served.map_err(ServeError::Accept)?;
    match witness.evidence().and_then(|kept| kept.convicts_us()) {
        Some(id) => Err(ServeError::Convicted { id }),
        None => Ok(()),
    }
}

/// Opens the state, what evidence stopped, and gossip, in this order: nothing is signed before it
/// is known what must not be.
fn witness_of(
    config: Config,
    store: Arc<WalStore>,
    clock: &Arc<ClockGuard>,
    metrics: &Metrics,
    guard: &Arc<Guard>,
) -> Result<Arc<Witness>, ServeError> {
    // Spec: GSP-142
    let peers = config.gossip.as_ref();
    let peers = peers.map(GossipSettings::entries).unwrap_or_default();
    let journal = PeersJournal::beside(&config.logs_path);
    let recorded = journal.record("start", &peers, &**clock.clock());
    tell_of(&recorded.map_err(ServeError::PeersJournal)?);
    let logs = Arc::new(config.logs);
    let own = config.keys.iter().map(|key| key.verifier_key().clone());
    let (own, former): (Vec<VerifierKey>, _) = (own.collect(), config.former_keys.clone());
    let (cosigners, gone) = (own.clone(), former.clone());
    let jury = Listed::new(Arc::clone(&logs), own, former, config.gossip.clone());
    let evidence = evidence_of(&config.database, metrics, jury)?;
    let boxed = |key| -> Box<dyn Signer> { Box::new(key) };
    let signers = config.keys.into_iter().map(boxed);
    let witness = Witness::start(Parts {
        signers: signers.collect(),
        former_keys: config.former_keys,
        store,
        clock: Arc::clone(clock),
        logs: Arc::clone(&logs),
        metrics: metrics.clone(),
        quotas: config.quotas,
        guard: Some(Arc::clone(guard)),
        commits_waiting_max: config.commits_waiting_max,
        commit_batch_max: config.commit_batch_max,
    })?;
    let witness = witness.with_evidence(Arc::clone(&evidence));
    let Some(settings) = config.gossip else {
        return Ok(Arc::new(witness));
    };
    let client = Client::new(gossip::client_options(&settings)).map_err(GossipError::Client)?;
    let gossip = Gossip::open(gossip::Parts {
        settings,
        cosigners,
        former: gone,
        database: &config.database,
        evidence,
        logs,
        clock: Arc::clone(clock),
        metrics: metrics.clone(),
        client,
    })?;
    Ok(Arc::new(witness.with_gossip(Arc::new(gossip))))
}

/// Starts what is no request and goes on for ever. It ends with the listener.
fn background(
    (config, recheck): (Lists, Recheck),
    guard: &Arc<Guard>,
    witness: &Arc<Witness>,
    asked: watch::Receiver<()>,
) -> JoinSet<()> {
    let mut background = JoinSet::new();
    background.spawn(config.follow(asked));
    let metrics = witness.metrics().clone();
    background.spawn(recheck.run(Arc::clone(witness), metrics));
    background.spawn(restore::sweep(Arc::clone(guard), Arc::clone(witness)));
    background.spawn(restore::keep(Arc::clone(guard), Arc::clone(witness)));
    if let Some(evidence) = witness.evidence() {
        let gossip = witness.gossip().cloned();
        background.spawn(tend(Arc::clone(evidence), gossip));
    }
    if let Some(gossip) = witness.gossip() {
        background.spawn(Arc::clone(gossip).run());
        background.spawn(Arc::clone(gossip).watch());
    }
    background
}

// Spec: WIT-110, WIT-113
fn guarded(settings: GuardSettings, registry: &mut Registry) -> Arc<ClockGuard> {
    let metrics = ClockMetrics::register(registry, settings.servers.len());
    Arc::new(ClockGuard::new(Arc::new(SystemClock), settings, metrics))
}

fn failed(failure: Failure) -> ServeError {
    tracing::error!(%failure, "ending at once: what is durable has to be read again");
    ServeError::Failed(failure)
}

/// Resolves when the store failed, in whichever of its threads.
fn failure_of(store: &WalStore) -> oneshot::Receiver<ServeError> {
    let (tell, told) = oneshot::channel();
    // Nobody listens any more when the process ends for another reason.
    store.on_failure(move |error| drop(tell.send(broken(error))));
    told
}

fn broken(error: &StoreError) -> ServeError {
    tracing::error!(%error, "ending at once: the store answers nothing more");
    ServeError::Store {
        damaged: error.is_damage(),
        reason: error.to_string(),
    }
}

fn listen(address: SocketAddr, tls: bool) -> Result<TcpListener, ServeError> {
    let error = |source| ServeError::Listen { address, source };
    let listener = http::bind(address).map_err(error)?;
    let address = listener.local_addr().map_err(error)?;
    announce(address, tls);
    Ok(listener)
}

fn announce(address: SocketAddr, tls: bool) {
    let scheme = if tls { "https" } else { "http" };
    tracing::info!(%address, "listening");
    // Whoever started us may have closed the pipe; that is no reason not to serve.
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "listening on {scheme}://{address}");
    let _ = out.flush();
}

fn evidence_of(
    database: &Path,
    metrics: &Metrics,
    jury: Listed,
) -> Result<Arc<EvidenceFolder>, ServeError> {
    let folder = EvidenceFolder::beside(database);
    let opened = EvidenceFolder::open(folder, metrics.clone(), jury);
    let evidence = opened.map_err(ServeError::Evidence)?;
    if let Some(id) = evidence.convicts_us() {
        let id = hex::encode(id.as_bytes());
        tracing::error!(%id, "evidence convicts a key of this witness: it signs nothing");
    }
    Ok(Arc::new(evidence))
}

/// Tries again and again to write evidence that the disk did not take, and takes note of what
/// `evidence submit` brought.
// Spec: WIT-123, WIT-124
async fn tend(evidence: Arc<EvidenceFolder>, gossip: Option<Arc<Gossip>>) {
    loop {
        tokio::time::sleep(TEND_EVERY).await;
        let (folder, gossip) = (Arc::clone(&evidence), gossip.clone());
        let tended = tokio::task::spawn_blocking(move || {
            folder.retry();
            folder.look(|evidence| {
                if let Some(gossip) = &gossip {
                    gossip.found(evidence);
                }
            })
        });
        if !matches!(tended.await, Ok(Ok(()))) {
            tracing::error!("the folder of evidence cannot be read");
        }
    }
}

/// A disk that is full or gone is not mended sooner.
const TEND_EVERY: Duration = Duration::from_secs(10);

/// What is read again on SIGHUP, beside the list of logs.
struct Again {
    /// The configuration, for the peers that it names.
    file: PathBuf,
    /// Where what changes of them is written down.
    journal: PeersJournal,
    tls: Option<Tls>,
    reloads: Reloads,
    pull: watch::Sender<()>,
}

/// Takes over changes of the list of logs: when its file changes, and on SIGHUP, which also loads
/// the certificate and the peers again.
async fn follow(witness: Arc<Witness>, guard: Arc<Guard>, metrics: Metrics, again: Again) {
    let Again {
        file,
        journal,
        tls,
        mut reloads,
        pull,
    } = again;
    loop {
        let asked = tokio::select! {
            () = reloads.next() => true,
            () = tokio::time::sleep(LOOK_EVERY) => false,
        };
        if asked {
            pull.send_replace(());
        }
        let follower = Arc::clone(&witness);
        let state = guard.own_state().filter(|state| state.found().is_some());
        let state = state.cloned();
        let looked = tokio::task::spawn_blocking(move || {
            if let Some(state) = state {
                state.decided();
            }
            let logs = follower.logs();
            let looked = if asked {
                logs.reload().map(|()| true)
            } else {
                logs.reload_if_changed()
            };
            if let Err(error) = logs.keep_journal() {
                tracing::warn!(%error, "the next start has to read more of the journal");
            }
            looked
        });
        if let Ok(result) = looked.await {
            looked_at(&result, &witness, &metrics);
        }
        let held = witness.logs().current().held().len();
        let all = held.saturating_add(witness.holds().count());
        metrics
            .logs_held
            .set(i64::try_from(all).unwrap_or(i64::MAX));
        if held > 0 {
            restore::adopt(&guard, &witness).await;
        }
        if asked && let Some(Err(error)) = tls.as_ref().map(Tls::reload) {
            tracing::error!(%error, "the certificate was not reloaded; the old one stays in use");
        }
        if asked && let Some(gossip) = witness.gossip().cloned() {
            let file = file.clone();
            let journal = journal.clone();
            let take = move || take_peers(&gossip, &file, &journal);
            let taken = tokio::task::spawn_blocking(take);
            if let Ok(Err(error)) = taken.await {
                tracing::error!(%error, "the peers were not taken over; they stay as they were");
            }
        }
    }
}

/// Takes over the peers that the configuration names now.
// Spec: GSP-96
fn take_peers(gossip: &Gossip, file: &Path, journal: &PeersJournal) -> Result<(), PeersError> {
    let settings = config::gossip(file)?.ok_or(NotTaken::Gone)?;
    tell_of(&gossip.take_peers(&settings, journal)?);
    Ok(())
}

fn tell_of(changes: &[PeerChange]) {
    for change in changes {
        let peer = &change.peer;
        tracing::warn!(%peer, "of the peers: {}", change.action());
    }
}

/// Why peers were not taken over. The operator is at fault; nothing changed.
#[derive(Debug, thiserror::Error)]
enum PeersError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    NotTaken(#[from] NotTaken),
}

/// The witness network's lists that are followed.
struct Lists {
    sources: Vec<Source>,
    every: Duration,
    target: Target,
    metrics: Metrics,
}

impl Lists {
    fn of(config: &Config, metrics: Metrics) -> Self {
        Self {
            sources: config.lists.clone(),
            every: config.lists_every,
            target: Target {
                logs: config.logs_path.clone(),
                ml_dsa: config.ml_dsa,
                logs_max: config.lists_logs_max,
            },
            metrics,
        }
    }

    /// Pulls all lists: now, then as often as the operator wants, and when asked.
    async fn follow(self, mut asked: watch::Receiver<()>) {
        if self.sources.is_empty() {
            return;
        }
        let client = match Client::new(ClientOptions::default()) {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%error, "no list of logs is followed");
                return;
            }
        };
        loop {
            for source in &self.sources {
                self.pull(source, &client).await;
            }
            tokio::select! {
                () = tokio::time::sleep(spread(self.every)) => {}
                changed = asked.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn pull(&self, source: &Source, client: &Client) {
        let name = source.name();
        let bytes = match source.read(client, FETCH_TIMEOUT).await {
            Ok(bytes) => bytes,
            Err(error) => return self.failed(&name, &error),
        };
        let (target, from) = (self.target.clone(), source.clone());
        let applied = tokio::task::spawn_blocking(move || {
            target.apply(&from, &bytes, &SystemClock, Mode::Apply)
        });
        match applied.await {
            Ok(Ok(report)) => {
                let now = SystemClock.now().seconds();
                self.metrics.list_pulled(&name, now, &report.oddities);
                for line in &report.lines {
                    tracing::info!(list = %name, "{line}");
                }
                let (added, known) = (report.added, report.known);
                tracing::info!(list = %name, added, known, "the list was pulled");
            }
            Ok(Err(error)) => self.failed(&name, &error),
            Err(error) => tracing::error!(list = %name, %error, "pulling a list failed"),
        }
    }

    fn failed(&self, name: &str, error: &PullError) {
        self.metrics.list_pull(name, false);
        tracing::error!(list = %name, %error, "the list was not pulled; nothing changes");
    }
}

/// Up to a tenth more or less, so that witnesses that were started together do not ask together.
fn spread(every: Duration) -> Duration {
    let chance = RandomState::new().hash_one(0_u8) % 201;
    every.saturating_mul(900 + u32::try_from(chance).unwrap_or(100)) / 1000
}

fn looked_at(result: &Result<bool, LogListError>, witness: &Witness, metrics: &Metrics) {
    match result {
        Ok(false) => {}
        Ok(true) => {
            count_logs(witness, metrics);
            tracing::info!(
                logs = witness.logs().current().logs().len(),
                "the list of logs was read"
            );
        }
        Err(error) => {
            metrics.log_list_failed();
            // What it lost stays as it was; all else may have been taken over.
            count_logs(witness, metrics);
            tracing::error!(%error, "the list of logs was not taken over as it is");
        }
    }
}

fn count_logs(witness: &Witness, metrics: &Metrics) {
    let current = witness.logs().current();
    let active = current
        .logs()
        .filter(|log| log.state == LogState::Active)
        .count();
    let too_long = current.too_long();
    // Spec: WIT-73
    for origin in too_long.iter().take(TOO_LONG_TOLD) {
        tracing::error!(
            %origin,
            "a log is not served: an ML-DSA-44 key cannot sign so long an origin"
        );
    }
    let count = |logs: usize| i64::try_from(logs).unwrap_or(i64::MAX);
    metrics
        .logs_active
        .set(count(active.saturating_sub(too_long.len())));
    metrics.logs_too_long.set(count(too_long.len()));
    metrics
        .logs_disabled
        .set(count(current.logs().len() - active));
}

/// Resolves when a path leads to another file than to the one that is open, or to none: somebody
/// puts back a copy, or mounts something over it, while we go on writing to a file that nobody will
/// find again. The name beside them is such a file: who puts a copy over the others may take it
/// away.
// Spec: WIT-87, WIT-106
async fn replaced(store: Arc<WalStore>) -> PathBuf {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Some(path) = store.lost_file() {
            tracing::error!(path = %path.display(), "a file of the state was replaced");
            return path;
        }
    }
}

/// With more of them, another one is no news.
const TOO_LONG_TOLD: usize = 10;

/// How soon a change of the list of logs, or of the files of the state, is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why the witness ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The state cannot be looked at.
    #[error("{0}")]
    OwnState(#[from] OwnStateError),
    /// Log lines could not be set up. The operator's filter is at fault.
    #[error("{0}")]
    Logs(TelemetryError),
    /// The database was not opened.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// The witness did not start.
    #[error("{0}")]
    Start(#[from] StartError),
    /// The system gave no threads.
    #[error("cannot start the runtime: {0}")]
    Runtime(io::Error),
    /// The system gave no signal handlers.
    #[error("cannot handle signals: {0}")]
    Signals(io::Error),
    /// A file of the state was moved, removed or replaced while we had it open. Whoever did it is
    /// at fault; what was cosigned last is in the file that was there before. A supervisor must not
    /// start us on what is there now.
    #[error(
        "{} is not the file that this witness has open; nothing more is signed",
        .path.display()
    )]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// The store answers nothing more: the disk failed under it, or what it holds contradicts
    /// itself. A new start finds what is durable.
    #[error("the store failed: {reason}")]
    Store {
        /// Whether a new start would find the same.
        damaged: bool,
        /// What the store says.
        reason: String,
    },
    /// What evidence is kept cannot be read.
    #[error("the folder of evidence cannot be read: {0}")]
    Evidence(io::Error),
    /// Evidence convicts a cosigner key of ours. The operator has to find out how, and gets a new
    /// key. Until then each start serves what is read, signs nothing, and ends so.
    #[error("{}", Convicted::Ours(*.id))]
    Convicted {
        /// The evidence.
        id: Hash,
    },
    /// Gossip cannot start.
    #[error("{0}")]
    Gossip(#[from] GossipError),
    /// A change of the peers cannot be written down.
    #[error("the journal of peers: {0}")]
    PeersJournal(io::Error),
    /// No client can be made for the restore guard.
    #[error("the restore guard cannot ask: {0}")]
    Client(ClientSetupError),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The listener broke.
    #[error("the listener failed: {0}")]
    Accept(io::Error),
    /// The newest heads did not go into the store's own file. They are in its log.
    #[error("the store was not closed, and needs its log to be opened again: {0}")]
    Close(WriteError),
    /// A commit's outcome is not known, or the commit thread broke. A new start reads what is
    /// durable and goes on from there.
    #[error("{0}")]
    Failed(Failure),
}

impl ServeError {
    /// The exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            // Spec: WIT-107. Its disk may come back.
            Self::OwnState(OwnStateError::MarkDir { source, .. })
                if source.kind() == io::ErrorKind::TimedOut =>
            {
                exit::IO
            }
            Self::Logs(_)
            | Self::OwnState(OwnStateError::MarkDir { .. })
            | Self::Open(OpenError::Missing { .. })
            | Self::Start(StartError::NoKeys) => exit::USAGE,
            Self::Open(OpenError::InUse { .. }) => exit::UNAVAILABLE,
            Self::Convicted { .. } => exit::CONVICTED,
            // Spec: WIT-87
            Self::Open(OpenError::NotAStore { .. } | OpenError::UnknownFormat { .. })
            | Self::Replaced { .. }
            | Self::Store { damaged: true, .. } => exit::DATA,
            Self::Open(OpenError::Store { source, .. })
            | Self::Start(StartError::State(source))
            | Self::Close(WriteError::Failed(source) | WriteError::Unknown(source))
                if source.is_damage() =>
            {
                exit::DATA
            }
            Self::Open(OpenError::Store { .. })
            | Self::Start(StartError::State(_))
            | Self::Evidence(_)
            | Self::OwnState(_)
            | Self::Gossip(GossipError::Io(_))
            | Self::PeersJournal(_)
            | Self::Close(_)
            | Self::Store { damaged: false, .. }
            | Self::Failed(Failure::Fatal(_)) => exit::IO,
            Self::Start(StartError::Thread(_) | StartError::Key(_))
            | Self::Runtime(_)
            | Self::Signals(_)
            | Self::Listen { .. }
            | Self::Client(_)
            | Self::Gossip(GossipError::Client(_) | GossipError::Key(_))
            | Self::Accept(_) => exit::OS,
            Self::Failed(Failure::Panicked { .. } | Failure::WrongAnswerCount { .. }) => {
                exit::SOFTWARE
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jurat_keys::{Algorithm, SigningKey};
    use jurat_proto::key::KeyName;
    use jurat_store::registry::Registry as LogRegistry;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    fn entry(name: &str) -> String {
        let name = KeyName::parse(name).unwrap();
        let key = SigningKey::generate(name, Algorithm::Ed25519).unwrap();
        format!("vkey {}\nqpd 24\ncontact ops\n", key.verifier_key())
    }

    /// Nobody asks for it, and nothing is signalled: the timer alone. A server that fails once is
    /// asked again, and changes nothing.
    // Spec: LST-11, LST-13
    #[tokio::test]
    async fn a_list_over_http_is_pulled_again_by_the_timer() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs.toml");
        LogRegistry::create(&logs).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source = format!("http://{}/list", listener.local_addr().unwrap());
        let lists = Lists {
            sources: vec![Source::Url(source)],
            every: Duration::from_millis(20),
            target: Target {
                logs: logs.clone(),
                ml_dsa: false,
                logs_max: 10,
            },
            metrics: Metrics::unregistered(),
        };
        let (_tell, asked) = watch::channel(());
        let following = tokio::spawn(lists.follow(asked));
        let (a, b) = (entry("example.com/a"), entry("example.com/b"));
        let listed = || {
            let registry = LogRegistry::load(&logs).unwrap();
            let origins = registry.logs().map(|log| log.origin.to_string());
            origins.collect::<Vec<_>>()
        };
        // What each question is answered with, and what the one after it finds.
        let one = ["example.com/a".to_owned()];
        let both = [one[0].clone(), "example.com/b".to_owned()];
        for (status, list, due) in [
            ("200 OK", format!("logs/v0\n{a}"), &[][..]),
            ("500 No", String::new(), &one),
            ("200 OK", format!("logs/v0\n{a}\n{b}"), &one),
            ("500 No", String::new(), &both),
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert_eq!(listed(), due);
            let mut request = vec![0; 4_096];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /list HTTP/1.1\r\n"));
            let length = list.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all((head + &list).as_bytes()).await.unwrap();
        }
        following.abort();
    }
}
