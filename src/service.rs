//! Who talks to whom: opens the store, starts the sequencer, the tree heads, the cosigners and the
//! listener, and ends them in the right order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context;
use jurat_daemon::client::{Client, ClientOptions};
use jurat_daemon::clock::{Clock, ClockGuard, ClockMetrics, SystemClock};
use jurat_daemon::http::{self, HttpMetrics, Limits, Tls};
use jurat_daemon::shutdown::{Reloads, Shutdown};
use jurat_daemon::telemetry;
use jurat_proto::checkpoint::{Checkpoint, SignedCheckpoint};
use jurat_proto::cosignature::sign_note;
use jurat_proto::key::{SignatureType, Signer, UnixSeconds, VerifierKey};
use jurat_proto::tree::{TreeHead, TreeSize};
use jurat_store::{JournalOptions, LogStore, RedbOptions, RedbStore, StoreError};
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::alerts::{self, Alerts};
use crate::cli::C2SP_REVISION;
use crate::config::Config;
use crate::cosigners::times::WitnessTimes;
use crate::cosigners::{Cosigners, Parts, Standing};
use crate::evidence::pull::{self, Pulls};
use crate::evidence::{Convicted, Docket, Jury};
use crate::http::{App, Bundles, EvidenceBudget, UpgradeRoom};
use crate::log::receipts::Receipts;
use crate::log::tree_heads::{self, Demand, SignedHead, TreeHeads};
use crate::log::{Published, Sequencer};
use crate::submit::logs::Logs;
use crate::submit::{self, Submit};
use crate::tsa::rate::RateLimit;
use crate::tsa::{self, Authority, Lives};

/// How often the registry of logs is looked at for changes.
const LOGS_POLL: Duration = Duration::from_secs(1);

/// Runs the service until `shutdown`, then drains it. `listening` is called once with the address.
///
/// # Errors
/// When it cannot start, when the store fails under it, or when a witness shows that this state is
/// older than what was signed.
pub async fn run(
    config: Config,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
    listening: impl FnOnce(SocketAddr),
) -> anyhow::Result<()> {
    let tls = match &config.tls {
        Some(files) => Some(Tls::load(&files.certificate, &files.key)?),
        None => None,
    };
    let mut registry = Registry::default();
    let alerts = alerts(&config, &clock, &mut registry)?;
    let ran = run_alerting(config, clock, shutdown, listening, (tls, registry), &alerts).await;
    let error = ran.as_ref().err().map(|error| format!("{error:#}"));
    alerts.end(error).await;
    ran
}

/// Whatever ends it is told.
async fn run_alerting(
    mut config: Config,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
    listening: impl FnOnce(SocketAddr),
    (tls, mut registry): (Option<Tls>, Registry),
    alerts: &Arc<Alerts>,
) -> anyhow::Result<()> {
    let base = Base::open(&config, clock, &mut registry, &shutdown)?;
    let docket = Arc::clone(&base.docket);
    let listener =
        http::bind(config.listen).with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = listener.local_addr()?;
    let (offer, offered) = watch::channel(None);
    let parts = base.cosigner_parts(&config)?;
    let cosigners = Cosigners::start(parts, &offered, &mut registry, &shutdown);
    let demand = Demand::default();
    let heads = base.tree_heads(&config, offer, &cosigners, demand.clone(), &mut registry)?;
    tokio::spawn(watch_clock(Arc::clone(&base.clock), shutdown.clone()));
    tokio::spawn(end_when_convicted(docket.convicts_us(), shutdown.clone()));
    let (sequencer, store) = (base.sequencer.clone(), Arc::clone(&base.store));
    let standing = cosigners.standing.clone();
    let published = cosigners.published.clone();
    let waiting = Arc::new(Semaphore::new(waiting_max(&config.limits)));
    let authority = base
        .authority(
            &mut config,
            (published, standing.clone(), Arc::clone(&cosigners.times)),
            &waiting,
            &mut registry,
            &shutdown,
        )
        .await?;
    let parts = (demand, authority, waiting);
    let app = base.app(&config, cosigners, parts, registry, &shutdown)?;
    listening(address);
    tokio::spawn(sign_when_good(heads, standing.clone(), shutdown.clone()));
    let metrics = app.http_metrics.clone();
    let app = Arc::new(app);
    let following = follow_alerts(&app, alerts, &shutdown);
    let serve = http::serve(listener, tls, config.limits, app, shutdown.clone(), metrics);
    let outcome = tokio::select! {
        served = serve => served.context("the listener failed"),
        fault = sequencer.failed() => Err(anyhow::anyhow!(
            "the store failed: {fault}. Stopping: what is durable is known after a restart"
        )),
        why = refused(standing) => Err(anyhow::anyhow!(why)),
    };
    shutdown.trigger();
    sequencer.stop().await;
    // Others still have handles, and a drop in their threads would not be waited for.
    let outcome = ended(outcome, store.close());
    // What ended it was seen; one that panicked has seen all that it ever will.
    let _ = following.await;
    match &*docket.convicts_us().borrow() {
        Some(by) => Err(stopped_by(by)),
        None => outcome,
    }
}

/// A store that fails in the last moment is no orderly end either, though nothing that was answered
/// is lost.
// Spec: SVC-80, SVC-90
fn ended(outcome: anyhow::Result<()>, closed: Result<(), StoreError>) -> anyhow::Result<()> {
    let Err(error) = closed else {
        return outcome;
    };
    tracing::warn!(%error, "the journal was not emptied");
    outcome.and_then(|()| {
        Err(anyhow::anyhow!(
            "the store was not closed in order: {error}. What is durable is known after a restart"
        ))
    })
}

fn alerts(
    config: &Config,
    clock: &Arc<dyn Clock>,
    registry: &mut Registry,
) -> anyhow::Result<Arc<Alerts>> {
    let client = Client::new(ClientOptions {
        extra_roots: config.ca_file.clone(),
        ..ClientOptions::default()
    })?;
    let origin = config.origin.clone();
    let alerts = Alerts::start(&config.alerts, origin, &client, clock, registry);
    Ok(Arc::new(alerts))
}

fn follow_alerts(app: &Arc<App>, alerts: &Arc<Alerts>, shutdown: &Shutdown) -> JoinHandle<()> {
    let (alerts, clock) = (Arc::clone(alerts), Arc::clone(app.clock.clock()));
    let app = Arc::clone(app);
    tokio::spawn(alerts::follow(
        alerts,
        clock,
        move || app.alerts(),
        shutdown.clone(),
    ))
}

async fn watch_clock(clock: Arc<ClockGuard>, shutdown: Shutdown) {
    tokio::select! {
        () = clock.run() => {}
        () = shutdown.wait() => {}
    }
}

/// What every other part stands on.
struct Base {
    store: Arc<dyn LogStore>,
    sequencer: Sequencer,
    clock: Arc<ClockGuard>,
    logs: watch::Receiver<Arc<Logs>>,
    docket: Arc<Docket>,
}

impl Base {
    fn open(
        config: &Config,
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        // Spec: SVC-19
        let options = JournalOptions {
            redb: RedbOptions {
                cache_bytes: config.cache_bytes,
                ..RedbOptions::default()
            },
            ..JournalOptions::default()
        };
        let store: Arc<dyn LogStore> = Arc::new(
            RedbStore::open_journaled(&config.database, options)
                .with_context(|| format!("cannot open {}", config.database.display()))?,
        );
        let sequencer = Sequencer::start(Arc::clone(&store), registry)?;
        let logs = watch_logs(config, shutdown)?;
        let docket = docket(config, &store, &sequencer, logs.clone(), registry)?;
        telemetry::register_process(registry, env!("CARGO_PKG_VERSION"), C2SP_REVISION);
        let sources = config.clock.servers.len();
        let metrics = ClockMetrics::register(registry.sub_registry_with_prefix("jurat"), sources);
        Ok(Self {
            store,
            sequencer,
            clock: Arc::new(ClockGuard::new(clock, config.clock.clone(), metrics)),
            logs,
            docket,
        })
    }

    /// Asks witnesses for their evidence from now on.
    // Spec: SVC-56
    fn pulls(
        &self,
        config: &Config,
        registry: &mut Registry,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Arc<Pulls>> {
        let client = Client::new(ClientOptions {
            request_timeout: config.settings.timeout,
            connect_timeout: config.settings.timeout,
            extra_roots: config.ca_file.clone(),
            ..ClientOptions::default()
        })?;
        let parts = pull::Parts {
            docket: Arc::clone(&self.docket),
            client,
            clock: Arc::clone(self.clock.clock()),
            every: config.evidence.every,
        };
        let urls = config.evidence.urls(&config.policy);
        Ok(pull::start(parts, urls, registry, shutdown))
    }

    fn cosigner_parts(&self, config: &Config) -> anyhow::Result<Parts> {
        let client = Client::new(ClientOptions {
            request_timeout: config.settings.timeout,
            connect_timeout: config.settings.timeout,
            extra_roots: config.ca_file.clone(),
            ..ClientOptions::default()
        })?;
        let published = restored(self.store.as_ref(), &config.log_verifier_keys())?;
        let probe = match &published {
            Some(published) => published.signed().clone(),
            None => empty_tree(config)?,
        };
        let signed = self.store.last_signed()?;
        Ok(Parts {
            policy: config.policy.clone(),
            origin: config.origin.clone(),
            log_keys: config.log_verifier_keys(),
            store: Arc::clone(&self.store),
            sequencer: self.sequencer.clone(),
            client,
            clock: Arc::clone(self.clock.clock()),
            settings: config.settings.clone(),
            published,
            probe,
            signed: signed.map_or(TreeSize::ZERO, |signed| signed.head.size),
        })
    }

    fn tree_heads(
        &self,
        config: &Config,
        offer: watch::Sender<Option<Arc<SignedHead>>>,
        cosigners: &Cosigners,
        demand: Demand,
        registry: &mut Registry,
    ) -> anyhow::Result<TreeHeads> {
        Ok(TreeHeads {
            origin: config.origin.clone(),
            signers: config.log_keys.clone(),
            pace: config.pace,
            clock: Arc::clone(&self.clock),
            sequencer: self.sequencer.clone(),
            demand,
            offer,
            published: cosigners.published.clone(),
            last_signed: self
                .store
                .last_signed()?
                .map(|signed| (signed.head, signed.time)),
            metrics: tree_heads::Metrics::new(registry),
        })
    }

    /// The time-stamp authority, if one is configured, with the starts of its units in the log.
    // Spec: TSA-31
    async fn authority(
        &self,
        config: &mut Config,
        (published, standing, times): (
            watch::Receiver<Option<Published>>,
            watch::Receiver<Standing>,
            Arc<WitnessTimes>,
        ),
        waiting: &Arc<Semaphore>,
        registry: &mut Registry,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Option<Arc<Authority>>> {
        let lives = Lives::read(self.store.as_ref())?;
        let Some(timestamp) = &mut config.timestamp else {
            // Spec: TSA-37
            for (unit, _) in lives.open() {
                tracing::warn!(
                    "unit {unit} is open in the log, and the configuration has no [timestamp]: \
                     nothing closes it"
                );
            }
            return Ok(None);
        };
        let loaded = std::mem::take(&mut timestamp.units);
        // Spec: TSA-36, TSA-37
        let loaded = loaded.under(lives)?;
        tsa::log_units(&loaded, &self.sequencer)
            .await
            .context("the starts of the time-stamping units cannot be logged")?;
        let (tell_units, units) = watch::channel(Arc::new(loaded));
        let (tell_bracket, bracket) = watch::channel(None);
        let authority = Arc::new(Authority {
            origin: config.origin.clone(),
            settings: timestamp.settings.clone(),
            units,
            store: Arc::clone(&self.store),
            sequencer: self.sequencer.clone(),
            clock: Arc::clone(&self.clock),
            times,
            standing,
            bracket,
            last: AtomicU64::new(tsa::last_time(self.store.as_ref())?),
            waiting: Arc::clone(waiting),
            slow: Semaphore::new(slow_max()),
            metrics: tsa::Metrics::new(registry),
        });
        tokio::spawn(tsa::follow_units(
            timestamp.units_file.clone(),
            config.origin.clone(),
            tell_units,
            (Arc::clone(&self.store), self.sequencer.clone()),
            shutdown.clone(),
        ));
        for warning in authority.warnings() {
            tracing::warn!("{warning}");
        }
        tokio::spawn(tsa::follow(
            published,
            config.policy.clone(),
            config
                .log_keys
                .iter()
                .map(|key| key.verifier_key().clone())
                .collect(),
            tell_bracket,
            shutdown.clone(),
        ));
        tokio::spawn(tsa::follow_clock(Arc::clone(&authority), shutdown.clone()));
        Ok(Some(authority))
    }

    fn app(
        self,
        config: &Config,
        cosigners: Cosigners,
        (demand, authority, waiting): (Demand, Option<Arc<Authority>>, Arc<Semaphore>),
        mut registry: Registry,
        shutdown: &Shutdown,
    ) -> anyhow::Result<App> {
        let pulls = self.pulls(config, &mut registry, shutdown)?;
        let submit = Submit {
            logs: self.logs,
            store: Arc::clone(&self.store),
            sequencer: self.sequencer.clone(),
            cosigners: config.cosigner_keys.clone(),
            clock: Arc::clone(&self.clock),
            docket: Arc::clone(&self.docket),
            metrics: submit::Metrics::new(&mut registry),
        };
        let receipts = Receipts {
            store: Arc::clone(&self.store),
            sequencer: self.sequencer,
            published: cosigners.published.clone(),
            demand,
            waiting,
            shutdown: shutdown.clone(),
        };
        Ok(App {
            origin: config.origin.clone(),
            keys: App::key_lines(config),
            store: self.store,
            bundles: Bundles::default(),
            walking: Arc::new(Semaphore::new(1)),
            submit,
            docket: self.docket,
            evidence_budget: EvidenceBudget::default(),
            pulls,
            receipts,
            authority,
            proxies: config.proxies.clone(),
            timestamp_rate: config
                .timestamp
                .as_ref()
                .and_then(|timestamp| timestamp.rate)
                .map(|(per_second, burst)| RateLimit::new(per_second, burst)),
            upgrade_room: UpgradeRoom::default(),
            published: cosigners.published,
            standing: cosigners.standing,
            witnesses: cosigners.status,
            clock: self.clock,
            stale_after: config.stale_after,
            limits: config.limits.clone(),
            http_metrics: HttpMetrics::register(&mut registry),
            registry,
        })
    }
}

/// The evidence in the log. One that convicts a key of this service starts nothing.
// Spec: SVC-52, SVC-57
fn docket(
    config: &Config,
    store: &Arc<dyn LogStore>,
    sequencer: &Sequencer,
    logs: watch::Receiver<Arc<Logs>>,
    registry: &mut Registry,
) -> anyhow::Result<Arc<Docket>> {
    let cosigners = config.cosigner_keys.iter();
    let jury = Jury {
        origin: config.origin.clone(),
        log_keys: config.log_verifier_keys(),
        cosigners: cosigners.map(|key| key.verifier_key().clone()).collect(),
        policy: config.policy.clone(),
        logs,
    };
    let docket = Docket::open(jury, Arc::clone(store), sequencer.clone(), registry)?;
    if let Some(by) = &*docket.convicts_us().borrow() {
        return Err(stopped_by(by));
    }
    Ok(Arc::new(docket))
}

/// Ends the service when evidence convicts a key of it: in order, so that whoever brought it is
/// told. Nothing is signed from the moment that it is known ([`Docket::signs`]).
// Spec: SVC-57
async fn end_when_convicted(mut ours: watch::Receiver<Option<Convicted>>, shutdown: Shutdown) {
    tokio::select! {
        convicted = ours.wait_for(Option::is_some) => {
            if convicted.is_ok() {
                shutdown.trigger();
            }
        }
        () = shutdown.wait() => {}
    }
}

// Spec: SVC-57
fn stopped_by(by: &Convicted) -> anyhow::Error {
    anyhow::anyhow!(
        "{by} convicts a key of this service, or its log, whatever keys it has now: it signed two \
         histories, or somebody who has the key did. Nothing is signed any more"
    )
}

/// Slow signatures at once: as many as there are cores, less one, which is for everybody else.
fn slow_max() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    cores.saturating_sub(1).max(1)
}

/// Requests that may wait for witnesses: all but a quarter, so that submissions, readers and
/// `/health` are served while the witnesses are down and everybody waits.
fn waiting_max(limits: &Limits) -> usize {
    limits.requests_in_flight_max - limits.requests_in_flight_max / 4
}

/// The service with the machine's own clock.
///
/// # Errors
/// Those of [`run`].
pub async fn run_on_system_clock(
    config: Config,
    shutdown: Shutdown,
    listening: impl FnOnce(SocketAddr),
) -> anyhow::Result<()> {
    run(config, Arc::new(SystemClock), shutdown, listening).await
}

/// Starts to sign when a quorum of witnesses has been compared with, and never when one of them is
/// ahead.
async fn sign_when_good(
    heads: TreeHeads,
    mut standing: watch::Receiver<Standing>,
    shutdown: Shutdown,
) {
    let good = tokio::select! {
        good = standing.wait_for(|standing| *standing != Standing::Comparing) => {
            good.is_ok_and(|standing| *standing == Standing::Good)
        }
        () = shutdown.wait() => false,
    };
    if good {
        // A witness that comes back later may still show that this state must not sign: then not
        // one more head is begun while the process winds down.
        tokio::select! {
            () = heads.run(shutdown) => {}
            _ = refused(standing) => {}
        }
    }
}

/// Resolves when a witness has shown that this state must not sign.
async fn refused(mut standing: watch::Receiver<Standing>) -> String {
    loop {
        if let Standing::Refused(why) = &*standing.borrow_and_update() {
            return why.clone();
        }
        if standing.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The checkpoint that was published before the restart, so that readers are served at once.
fn restored(store: &dyn LogStore, log_keys: &[VerifierKey]) -> anyhow::Result<Option<Published>> {
    let Some(stored) = store.published()? else {
        return Ok(None);
    };
    let signed = SignedCheckpoint::parse(&stored.note)
        .context("the published checkpoint in the store does not parse: run `jurat fsck`")?;
    let verified = signed.verify_signatures(log_keys).context(
        "the published checkpoint in the store is not signed by the configured log keys",
    )?;
    let time = verified
        .iter()
        .filter_map(|signature| signature.timestamp)
        .max();
    let fallback = store.last_signed()?.map(|signed| signed.time);
    let time = time.or(fallback).unwrap_or(UnixSeconds::ZERO);
    Ok(Some(Published::new(signed, time)))
}

// Spec: SVC-06
/// The empty tree under the log's note signatures, which state no time: nothing that could go back
/// or contradict anything, and so the one checkpoint that needs no record before it is signed.
fn empty_tree(config: &Config) -> anyhow::Result<SignedCheckpoint> {
    let checkpoint = Checkpoint {
        origin: config.origin.clone(),
        head: TreeHead::empty(),
        extensions: jurat_proto::checkpoint::ExtensionLines::new(),
    };
    let text = checkpoint.to_text();
    let ed25519 =
        |key: &&Arc<dyn Signer>| key.verifier_key().signature_type() == SignatureType::Ed25519;
    let lines = config.log_keys.iter().filter(ed25519);
    let lines = lines
        .map(|key| sign_note(&text, key.as_ref()))
        .collect::<Result<_, _>>()
        .context("a key of the log could not sign")?;
    Ok(SignedCheckpoint::new(checkpoint, lines)?)
}

// Spec: SVC-14, SVC-18
/// Reads the registry of logs, and again whenever its file changes or SIGHUP arrives. A registry
/// that does not parse leaves the one before it in force.
fn watch_logs(config: &Config, shutdown: &Shutdown) -> anyhow::Result<watch::Receiver<Arc<Logs>>> {
    let path = config.logs.clone();
    // Before the file is read: what changes meanwhile is then seen as a change.
    let mut seen = stamp(&path);
    let (tell, logs) = watch::channel(Arc::new(Logs::load(&path)?));
    let shutdown = shutdown.clone();
    let mut reloads = Reloads::new()?;
    tokio::spawn(async move {
        let mut fault = String::new();
        loop {
            let forced = tokio::select! {
                () = tokio::time::sleep(LOGS_POLL) => false,
                () = reloads.next() => true,
                () = shutdown.wait() => return,
            };
            let now = stamp(&path);
            if now == seen && !forced {
                continue;
            }
            match Logs::load(&path) {
                Ok(logs) => {
                    seen = now;
                    fault.clear();
                    tracing::info!(
                        logs.count = logs.all().len(),
                        "the registry of logs was read again"
                    );
                    tell.send_replace(Arc::new(logs));
                }
                // Tried again, since the fault may pass without a change of the file.
                Err(error) => {
                    let text = error.to_string();
                    if fault != text {
                        tracing::error!(
                            "the registry of logs cannot be read; the one before stays in force: \
                             {text}"
                        );
                        fault = text;
                    }
                }
            }
        }
    });
    Ok(logs)
}

fn stamp(path: &std::path::Path) -> Option<(std::time::SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: SVC-80
    #[test]
    fn a_store_that_fails_while_the_service_ends_makes_that_a_failure() {
        let full = || StoreError::Engine {
            doing: "committing",
            source: "the disk is full".into(),
        };
        assert!(ended(Ok(()), Ok(())).is_ok());
        let said = ended(Ok(()), Err(full())).unwrap_err().to_string();
        assert!(said.contains("the disk is full"), "{said}");
        // What ended it before is what is told.
        let before = || Err(anyhow::anyhow!("before"));
        for closed in [Ok(()), Err(full())] {
            assert_eq!(ended(before(), closed).unwrap_err().to_string(), "before");
        }
    }
}
