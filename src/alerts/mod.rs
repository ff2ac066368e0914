//! Alerts: what `/health` shows when somebody looks is told to whom the operator names, when it
//! begins and when it is over.
//!
//! ```text
//!                 twice a second            when it changed          one after the other, each
//!  troubles ─────────▶ look (pure but for ─────────▶ queues of 64 ─┬─▶ a program
//!  of `/health`        the clock's instant)                        └─▶ the disk ─▶ a URL, in a
//!                                                                                  signed note
//! ```
//!
//! An alert is a state, not an event: what finds no place in a queue is told when there is one, if
//! it is still so. In scope: what is told of, when, and in which order. Out of scope: what a
//! trouble is ([`crate::http::status`]); how it is told (`sinks`).
//!
//! Rows: `spec/service.md` SVC-60 to SVC-62, SVC-65 to SVC-68, SVC-70.

mod remembered;
mod sinks;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jurat_daemon::client::Client;
use jurat_daemon::clock::Clock;
use jurat_daemon::shutdown::Shutdown;
use jurat_keys::SigningKey;
use jurat_proto::checkpoint::Origin;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::task::JoinSet;

use self::sinks::{Folder, Notice, Sink, alarm};

/// How soon a trouble is seen.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long the end of the service waits for what is yet to be told.
const END_WAIT: Duration = Duration::from_secs(10);

/// What was raised when the process before ended is over when it is not so for this long: a start
/// finds out by and by.
// Spec: SVC-70
const SETTLES: Duration = Duration::from_secs(10);

/// Longest text that is told.
const ABOUT_CHARS_MAX: usize = 1_000;

/// Who is told.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// A program and its arguments; none when it is empty.
    pub exec: Vec<String>,
    /// A URL, and the key that signs what it gets.
    pub webhook: Option<(String, Arc<SigningKey>)>,
    /// Where what the URL has not taken waits.
    pub folder: PathBuf,
}

/// What is alerted of. A closed set: the words are labels of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Evidence convicts a key of this service, or its log.
    Convicted,
    /// A witness shows that this state must not sign.
    NotSigning,
    /// The clock is not believed, or not exact enough for tokens.
    Clock,
    /// Too few witnesses cosign.
    Witnesses,
    /// No time-stamping unit may sign.
    Unit,
    /// The key of the unit that signs cannot be used.
    Key,
    /// The unit that signs will not for long.
    UnitEnds,
    /// A log that anchors here is convicted.
    LogConvicted,
    /// The service ended with an error.
    Ended,
}

impl Kind {
    /// All.
    pub const ALL: [Self; 9] = [
        Self::Convicted,
        Self::NotSigning,
        Self::Clock,
        Self::Witnesses,
        Self::Unit,
        Self::Key,
        Self::UnitEnds,
        Self::LogConvicted,
        Self::Ended,
    ];

    /// The word for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Convicted => "convicted",
            Self::NotSigning => "not-signing",
            Self::Clock => "clock",
            Self::Witnesses => "witnesses",
            Self::Unit => "timestamp-unit",
            Self::Key => "timestamp-key",
            Self::UnitEnds => "timestamp-unit-ends",
            Self::LogConvicted => "log-convicted",
            Self::Ended => "ended",
        }
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Of which kind.
    pub kind: Kind,
    /// The log that it is about, when it is one that anchors here.
    pub log: Option<Origin>,
    /// In one sentence.
    pub about: String,
    /// How long it must last to be told: what each start goes through is none at first.
    pub patience: Duration,
}

impl Trouble {
    /// One that is told at once.
    pub fn new(kind: Kind, about: impl Into<String>) -> Self {
        Self {
            kind,
            log: None,
            about: about.into(),
            patience: Duration::ZERO,
        }
    }

    /// One that is told when it lasts.
    #[must_use]
    pub fn lasting(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn key(&self) -> Key {
        (self.kind, self.log.clone())
    }
}

/// What is told of once: a kind, and a log or none.
type Key = (Kind, Option<Origin>);

/// The alerts of a service that runs.
pub struct Alerts {
    origin: Origin,
    state: Mutex<State>,
    metrics: Metrics,
}

struct State {
    /// None when nobody is told.
    folder: Option<Folder>,
    /// Since when what is not told yet has been so.
    since: BTreeMap<Key, Instant>,
    raised: BTreeMap<Key, String>,
    sinks: Vec<Told>,
    /// What was raised before the start, until it is known whether it still is.
    before: BTreeMap<Key, String>,
    /// When was looked first.
    begun: Option<Instant>,
    /// What is on the disk, or will be.
    remembered: BTreeSet<Key>,
}

impl State {
    // Spec: SVC-70
    fn settle(&mut self, now: Instant) {
        let begun = *self.begun.get_or_insert(now);
        let raised = &self.raised;
        self.before.retain(|key, _| !raised.contains_key(key));
        if now.saturating_duration_since(begun) < SETTLES {
            return;
        }
        for (key, about) in std::mem::take(&mut self.before) {
            tracing::warn!(alert = key.0.name(), %about, "the alert from before the start is over");
            for told in &mut self.sinks {
                told.raised.entry(key.clone()).or_insert(about.clone());
            }
        }
    }

    /// What somebody was told is raised, and has not been told is over. An end is never over.
    // Spec: SVC-70
    fn remember(&mut self) {
        let Some(Folder {
            remembered: Some(remembered),
            ..
        }) = &self.folder
        else {
            return;
        };
        let told = self.sinks.iter().flat_map(|told| &told.raised);
        let all = told.chain(&self.before).chain(&self.raised);
        let all = all.filter(|((kind, _), _)| *kind != Kind::Ended);
        let all: BTreeMap<Key, String> = all
            .map(|(key, about)| (key.clone(), about.clone()))
            .collect();
        let keys: BTreeSet<Key> = all.keys().cloned().collect();
        if keys != self.remembered {
            remembered.keep(&all);
            self.remembered = keys;
        }
    }
}

/// What one sink was told is raised.
struct Told {
    sink: Sink,
    raised: BTreeMap<Key, String>,
}

impl Alerts {
    /// Starts the sinks. Must be called within a tokio runtime.
    pub fn start(
        settings: &Settings,
        origin: Origin,
        client: &Client,
        clock: &Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> Self {
        let metrics = Metrics::new(registry);
        let mut sinks = Vec::new();
        if !settings.exec.is_empty() {
            sinks.push(Sink::exec(settings.exec.clone(), metrics.told.clone()));
        }
        let told = !sinks.is_empty() || settings.webhook.is_some();
        let folder = told.then(|| Folder::take(&settings.folder, &metrics));
        if let (Some(webhook), Some(folder)) = (settings.webhook.clone(), &folder) {
            sinks.push(Sink::webhook(webhook, client, clock, folder));
        }
        Self::with(origin, folder, sinks, metrics)
    }

    fn with(origin: Origin, folder: Option<Folder>, sinks: Vec<Sink>, metrics: Metrics) -> Self {
        let told = |sink| Told {
            sink,
            raised: BTreeMap::new(),
        };
        let remembered = folder.as_ref().and_then(|it| it.remembered.as_ref());
        let before = remembered.map(|it| it.read()).unwrap_or_default();
        Self {
            origin,
            state: Mutex::new(State {
                folder,
                since: BTreeMap::new(),
                raised: BTreeMap::new(),
                sinks: sinks.into_iter().map(told).collect(),
                remembered: before.keys().cloned().collect(),
                before,
                begun: None,
            }),
            metrics,
        }
    }

    /// Takes what is wrong now, and tells what changed. Never waits.
    // Spec: SVC-60, SVC-61
    pub fn look(&self, now: Instant, troubles: Vec<Trouble>) {
        let mut state = self.lock();
        let mut current = BTreeMap::new();
        let mut since = BTreeMap::new();
        for trouble in troubles {
            let key = trouble.key();
            let began = state.since.get(&key).copied().unwrap_or(now);
            since.entry(key.clone()).or_insert(began);
            let lasts = now.saturating_duration_since(began) >= trouble.patience;
            let known = state.raised.contains_key(&key) || state.before.contains_key(&key);
            if lasts || known {
                let about = trouble.about.chars().take(ABOUT_CHARS_MAX).collect();
                current.entry(key).or_insert(about);
            }
        }
        state.since = since;
        self.show(&state.raised, &current);
        state.raised = current;
        state.settle(now);
        self.tell(&mut state);
        state.remember();
    }

    /// Log lines and gauges.
    fn show(&self, before: &BTreeMap<Key, String>, now: &BTreeMap<Key, String>) {
        for ((kind, log), about) in now {
            if !before.contains_key(&(*kind, log.clone())) {
                tracing::error!(alert = kind.name(), %about, "alert");
            }
        }
        for ((kind, log), about) in before {
            if !now.contains_key(&(*kind, log.clone())) {
                tracing::warn!(alert = kind.name(), %about, "the alert is over");
            }
        }
        for kind in Kind::ALL {
            let count = now.keys().filter(|(of, _)| *of == kind).count();
            let gauge = self
                .metrics
                .raised
                .get_or_create(&Of { alert: kind.name() });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Puts into the queues what their sinks have not been told; what is over goes first.
    // Spec: SVC-61
    fn tell(&self, state: &mut State) {
        let State {
            folder: Some(folder),
            raised,
            sinks,
            ..
        } = state
        else {
            return;
        };
        for told in sinks {
            let ended: Vec<Key> = told
                .raised
                .keys()
                .filter(|key| !raised.contains_key(key))
                .cloned()
                .collect();
            for key in ended {
                let about = told.raised.get(&key).cloned().unwrap_or_default();
                let notice = self.notice(&key, &about, false, folder);
                if told.sink.put(notice) {
                    told.raised.remove(&key);
                }
            }
            for (key, about) in raised.iter() {
                if !told.raised.contains_key(key)
                    && told.sink.put(self.notice(key, about, true, folder))
                {
                    told.raised.insert(key.clone(), about.clone());
                }
            }
        }
    }

    fn notice(&self, key: &Key, about: &str, raised: bool, folder: &Folder) -> Notice {
        let (kind, log) = key;
        let number = folder.outbox.number();
        let json = json!({
            "service": self.origin.as_str(),
            "alert": kind.name(),
            "raised": raised,
            "about": about,
            "log": log.as_ref().map(Origin::as_str),
            "number": number,
        });
        Notice {
            number,
            alarm: alarm(key, about, raised),
            text: format!("{json}\n"),
        }
    }

    /// Tells why the service ends, if that is an error, and waits a while for what is yet to be
    /// told. At the end in order the URL is tried once more: what it does not take is kept.
    // Spec: SVC-62, SVC-67
    pub async fn end(&self, error: Option<String>) {
        let patience = match error {
            Some(_) => END_WAIT,
            None => Duration::ZERO,
        };
        if let Some(error) = error {
            // What was wrong until now is so no less: nothing is taken back by an end.
            let mut state = self.lock();
            state
                .raised
                .entry((Kind::Ended, None))
                .or_insert(error.chars().take(ABOUT_CHARS_MAX).collect());
            self.tell(&mut state);
        }
        let sinks: Vec<Sink> = self.lock().sinks.drain(..).map(|told| told.sink).collect();
        let mut ends: JoinSet<()> = JoinSet::new();
        for sink in sinks {
            ends.spawn(sink.end(patience));
        }
        let ended = async { while ends.join_next().await.is_some() {} };
        if tokio::time::timeout(END_WAIT, ended).await.is_err() {
            tracing::error!("not all alerts were told before the end");
        }
        let remembered = self
            .lock()
            .folder
            .as_ref()
            .and_then(|it| it.remembered.clone());
        if let Some(remembered) = remembered {
            // One that panicked wrote nothing.
            let _ = tokio::task::spawn_blocking(move || remembered.write()).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at what is wrong until the service ends, and once more then.
// Spec: SVC-60
pub async fn follow(
    alerts: Arc<Alerts>,
    clock: Arc<dyn Clock>,
    troubles: impl Fn() -> Vec<Trouble> + Send,
    shutdown: Shutdown,
) {
    while !shutdown.is_triggered() {
        alerts.look(clock.instant(), troubles());
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shutdown.wait() => {}
        }
    }
    alerts.look(clock.instant(), troubles());
}

/// Alerts by kind, and what became of telling them.
#[derive(Clone)]
struct Metrics {
    raised: Family<Of, Gauge>,
    told: Family<Outcome, Counter>,
    waiting: Family<SinkLabel, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabel {
    sink: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    alert: &'static str,
}

/// The labels of one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    sink: &'static str,
    outcome: &'static str,
}

impl Metrics {
    fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            raised: Family::default(),
            told: Family::default(),
            waiting: Family::default(),
        };
        for kind in Kind::ALL {
            metrics
                .raised
                .get_or_create(&Of { alert: kind.name() })
                .set(0);
        }
        let registry = registry.sub_registry_with_prefix("jurat");
        registry.register(
            "alerts",
            "Alerts that are raised, by kind",
            metrics.raised.clone(),
        );
        registry.register(
            "alerts_told",
            "Alerts that were told, raised and over, by sink and outcome",
            metrics.told.clone(),
        );
        registry.register(
            "alerts_waiting",
            "Alerts that the URL has not taken yet",
            metrics.waiting.clone(),
        );
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(60);

    /// Alerts whose only sink is a queue that the test reads.
    fn rig() -> (Alerts, tokio::sync::mpsc::Receiver<String>) {
        rig_in(std::path::Path::new("/nowhere/at-all"))
    }

    fn rig_in(folder: &std::path::Path) -> (Alerts, tokio::sync::mpsc::Receiver<String>) {
        let (sink, queue) = Sink::queue_alone();
        let metrics = Metrics::new(&mut Registry::default());
        let folder = Folder::take(folder, &metrics);
        let origin = Origin::parse("jurat.example/log").unwrap();
        let alerts = Alerts::with(origin, Some(folder), vec![sink], metrics);
        (alerts, queue)
    }

    fn of_log(number: usize) -> Trouble {
        Trouble {
            log: Some(Origin::parse(&format!("log.example/{number}")).unwrap()),
            ..Trouble::new(Kind::LogConvicted, "convicted")
        }
    }

    /// Alert, raised or over, number.
    fn told(queue: &mut tokio::sync::mpsc::Receiver<String>) -> Vec<(String, bool, u64)> {
        let mut all = Vec::new();
        while let Ok(text) = queue.try_recv() {
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            let alert = json["alert"].as_str().unwrap().to_owned();
            let number = json["number"].as_u64().unwrap();
            all.push((alert, json["raised"].as_bool().unwrap(), number));
        }
        all
    }

    // Spec: SVC-60, SVC-61
    #[tokio::test]
    async fn each_change_is_told_once_and_what_each_start_goes_through_when_it_lasts() {
        let (alerts, mut queue) = rig();
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let clock = || Trouble::new(Kind::Clock, "it leapt");
        let starts = || Trouble::new(Kind::Witnesses, "comparing").lasting(WAIT);
        alerts.look(at(0), vec![clock(), starts()]);
        alerts.look(
            at(1),
            vec![Trouble::new(Kind::Clock, "for another reason"), starts()],
        );
        assert_eq!(told(&mut queue), [("clock".to_owned(), true, 0)]);
        alerts.look(at(59), vec![starts()]);
        assert_eq!(told(&mut queue), [("clock".to_owned(), false, 1)]);
        alerts.look(at(60), vec![starts()]);
        assert_eq!(told(&mut queue), [("witnesses".to_owned(), true, 2)]);
        alerts.look(at(61), Vec::new());
        assert_eq!(told(&mut queue), [("witnesses".to_owned(), false, 3)]);
        // It begins anew, and so does its patience.
        alerts.look(at(62), vec![starts()]);
        alerts.look(at(121), vec![starts()]);
        assert_eq!(told(&mut queue), []);
        alerts.look(at(122), vec![starts()]);
        assert_eq!(told(&mut queue), [("witnesses".to_owned(), true, 4)]);
    }

    // Spec: SVC-61
    #[tokio::test]
    async fn what_finds_no_place_is_told_later_if_it_is_still_so() {
        let (alerts, mut queue) = rig();
        let now = Instant::now();
        let many: Vec<Trouble> = (0..80).map(of_log).collect();
        alerts.look(now, many.clone());
        let first = told(&mut queue);
        assert_eq!(first.len(), sinks::QUEUE);
        // Ten of those that found no place are over meanwhile.
        alerts.look(now, many[..70].to_vec());
        let rest = told(&mut queue);
        let still = rest.iter().filter(|(_, raised, _)| *raised).count();
        let in_all = first.len() + still;
        let over = rest.len() - still;
        assert_eq!(in_all - over, 70);
        alerts.look(now, many[..70].to_vec());
        assert_eq!(told(&mut queue), []);
    }

    // Spec: SVC-62
    #[tokio::test]
    async fn an_end_with_an_error_is_told_and_takes_nothing_back() {
        let (alerts, mut queue) = rig();
        alerts.look(Instant::now(), vec![Trouble::new(Kind::Clock, "it leapt")]);
        alerts.end(Some("the store failed".to_owned())).await;
        let due = [("clock".to_owned(), true, 0), ("ended".to_owned(), true, 1)];
        assert_eq!(told(&mut queue), due);
    }

    // Spec: SVC-70
    #[tokio::test]
    async fn what_a_process_ended_under_is_over_when_the_next_one_does_not_find_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("alerts");
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let clock = || Trouble::new(Kind::Clock, "it leapt");
        let starts = || Trouble::new(Kind::Witnesses, "comparing").lasting(WAIT);
        let changes = |queue: &mut tokio::sync::mpsc::Receiver<String>| {
            let all = told(queue).into_iter();
            all.map(|(alert, raised, _)| (alert, raised))
                .collect::<Vec<_>>()
        };
        let change = |alert: &str, raised| (alert.to_owned(), raised);
        let (alerts, mut queue) = rig_in(&folder);
        alerts.look(at(0), vec![clock(), starts()]);
        alerts.look(at(60), vec![clock(), starts()]);
        assert_eq!(changes(&mut queue).len(), 2);
        alerts.end(Some("the store failed".to_owned())).await;
        drop(alerts);
        let (alerts, mut queue) = rig_in(&folder);
        // It still compares, and is told of at once: nothing has become better.
        alerts.look(at(0), vec![starts()]);
        assert_eq!(changes(&mut queue), [change("witnesses", true)]);
        alerts.look(at(9), vec![starts()]);
        assert_eq!(changes(&mut queue), []);
        // Whoever ends meanwhile hands it on.
        alerts.end(None).await;
        drop(alerts);
        let (alerts, mut queue) = rig_in(&folder);
        alerts.look(at(0), Vec::new());
        alerts.look(at(5), vec![starts()]);
        assert_eq!(changes(&mut queue), [change("witnesses", true)]);
        alerts.look(at(10), Vec::new());
        let over = [change("clock", false), change("witnesses", false)];
        assert_eq!(changes(&mut queue), over);
        alerts.end(None).await;
        drop(alerts);
        let (alerts, mut queue) = rig_in(&folder);
        alerts.look(at(0), Vec::new());
        alerts.look(at(10), Vec::new());
        assert_eq!(changes(&mut queue), []);
    }

    /// It is about to be refused the database.
    // Spec: SVC-66
    #[tokio::test]
    async fn a_second_process_has_larger_numbers_and_leaves_alone_what_waits() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("alerts");
        let clock = || Trouble::new(Kind::Clock, "it leapt");
        let (first, mut queue) = rig_in(&folder);
        first.look(Instant::now(), vec![clock()]);
        let number = told(&mut queue)[0].2;
        let (second, mut queue) = rig_in(&folder);
        assert!(second.lock().folder.as_ref().unwrap().remembered.is_none());
        second.look(Instant::now(), vec![clock()]);
        assert!(told(&mut queue)[0].2 > number + 1_000);
        second.end(None).await;
        first.end(None).await;
        drop(first);
        let (third, mut queue) = rig_in(&folder);
        third.look(Instant::now(), vec![clock()]);
        assert!(told(&mut queue)[0].2 > number + 1_000);
    }
}
