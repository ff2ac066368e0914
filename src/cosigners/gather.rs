//! Gathering: counts verified cosignatures against the quorum, and publishes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jurat_daemon::shutdown::Shutdown;
use jurat_proto::key::UnixSeconds;
use jurat_proto::note::SignatureLine;
use jurat_proto::policy::Policy;
use jurat_proto::tree::TreeSize;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};

use super::{Report, Standing};
use crate::log::sequencer::ControlError;
use crate::log::tree_heads::SignedHead;
use crate::log::{Published, Sequencer};

/// Signed heads that may still get their quorum. A witness that answers later than this many
/// heads afterwards has helped itself to date, but nobody else.
const HEADS_KEPT: usize = 4;

/// A verified cosignature: the witness's index in the policy, its line, its time.
pub type Line = (usize, SignatureLine, UnixSeconds);

/// The gathering task.
pub(crate) struct Gatherer {
    policy: Policy,
    sequencer: Sequencer,
    compared: BTreeSet<usize>,
    heads: Vec<Gathered>,
    newest: Option<Published>,
    published: watch::Sender<Option<Published>>,
    standing: watch::Sender<Standing>,
    metrics: Metrics,
}

struct Gathered {
    head: Arc<SignedHead>,
    lines: BTreeMap<usize, (SignatureLine, UnixSeconds)>,
    /// How many of `lines` are in the published checkpoint.
    shown: usize,
}

impl Gatherer {
    pub(crate) fn new(
        policy: Policy,
        sequencer: Sequencer,
        newest: Option<Published>,
        published: watch::Sender<Option<Published>>,
        standing: watch::Sender<Standing>,
        metrics: Metrics,
    ) -> Self {
        Self {
            policy,
            sequencer,
            compared: BTreeSet::new(),
            heads: Vec::new(),
            newest,
            published,
            standing,
            metrics,
        }
    }

    /// Runs until `stop`. A head joins as soon as it is offered, so that `quorum none` needs no
    /// witness at all; `_open` keeps the channel open when there is none.
    pub(crate) async fn run(
        mut self,
        mut offered: watch::Receiver<Option<Arc<SignedHead>>>,
        _open: mpsc::Sender<Report>,
        mut reports: mpsc::Receiver<Report>,
        stop: Shutdown,
    ) {
        self.compare(&[]);
        loop {
            tokio::select! {
                report = reports.recv() => match report {
                    Some(report) => self.take(report),
                    None => return,
                },
                changed = offered.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if let Some(head) = offered.borrow_and_update().clone() {
                        self.add(&head, Vec::new());
                    }
                }
                () = stop.wait() => return,
            }
            // What has arrived meanwhile shares one publication.
            while let Ok(more) = reports.try_recv() {
                self.take(more);
            }
            if !self.publish().await {
                return;
            }
        }
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Compared { witnesses } => self.compare(&witnesses),
            Report::Ahead { why } => {
                self.standing.send_replace(Standing::Refused(why));
            }
            Report::Cosigned { head, lines } => self.add(&head, lines),
        }
    }

    // Spec: SVC-06
    fn compare(&mut self, witnesses: &[usize]) {
        self.compared.extend(witnesses);
        let enough = self
            .policy
            .quorum_met(|witness| self.compared.contains(&witness));
        if enough {
            self.standing.send_if_modified(|standing| {
                let first = *standing == Standing::Comparing;
                if first {
                    *standing = Standing::Good;
                }
                first
            });
        }
    }

    fn add(&mut self, head: &Arc<SignedHead>, lines: Vec<Line>) {
        self.metrics
            .cosignatures
            .inc_by(u64::try_from(lines.len()).unwrap_or(u64::MAX));
        let known = self
            .heads
            .iter_mut()
            .find(|gathered| Arc::ptr_eq(&gathered.head, head));
        if let Some(gathered) = known {
            gathered.add(lines);
            return;
        }
        let mut gathered = Gathered {
            head: Arc::clone(head),
            lines: BTreeMap::new(),
            shown: 0,
        };
        gathered.add(lines);
        self.heads.push(gathered);
        // The oldest goes, which is the one that has just come when its witness is that late.
        self.heads.sort_by_key(Gathered::age);
        if self.heads.len() > HEADS_KEPT {
            self.heads.remove(0);
        }
    }

    // Spec: SVC-07, SVC-08
    /// Publishes the newest head that has its quorum and something new to show. `false` when the
    /// store is closed.
    async fn publish(&mut self) -> bool {
        let newest = self
            .newest
            .as_ref()
            .map(|published| (published.head(), published.time()));
        let policy = &self.policy;
        let best = self
            .heads
            .iter_mut()
            .filter(|gathered| policy.quorum_met(|w| gathered.lines.contains_key(&w)))
            .filter(|gathered| gathered.improves(newest))
            .max_by_key(|gathered| gathered.age());
        let Some(gathered) = best else { return true };
        gathered.shown = gathered.lines.len();
        let lines: Vec<SignatureLine> = gathered
            .lines
            .values()
            .map(|(line, _)| line.clone())
            .collect();
        let size = gathered.head.head().size;
        let signed = match gathered.head.with(&lines) {
            Ok(signed) => signed,
            Err(error) => {
                tracing::error!(
                    tree.size = size.get(),
                    "cannot put the checkpoint together: {error}"
                );
                return true;
            }
        };
        let published = Published::new(signed, gathered.head.time);
        if let Err(error) = self
            .sequencer
            .publish(published.head(), published.bytes().to_vec())
            .await
        {
            tracing::error!(tree.size = size.get(), "cannot publish: {error}");
            if let ControlError::Refused(_) = error {
                // Nothing would ever be published again, and nobody would know why.
                let why = format!("a cosigned tree head cannot be published: {error}");
                self.standing.send_replace(Standing::Refused(why));
            }
            return false;
        }
        self.metrics.published.inc();
        self.metrics
            .size
            .set(i64::try_from(size.get()).unwrap_or(i64::MAX));
        self.newest = Some(published.clone());
        self.published.send_replace(Some(published));
        true
    }
}

impl Gathered {
    /// Larger is newer.
    fn age(&self) -> (TreeSize, UnixSeconds) {
        (self.head.head().size, self.head.time)
    }

    fn add(&mut self, lines: Vec<Line>) {
        for (witness, line, time) in lines {
            self.lines.insert(witness, (line, time));
        }
    }

    /// Whether this head, with what is gathered, tells readers more than the published one: it is
    /// larger, or newer at the same size, or the same with more cosignatures.
    fn improves(&self, published: Option<(jurat_proto::tree::TreeHead, UnixSeconds)>) -> bool {
        let Some((head, time)) = published else {
            return true;
        };
        let own = self.head.head();
        if own.size != head.size {
            return own.size > head.size;
        }
        self.head.time > time || (self.head.time == time && self.lines.len() > self.shown)
    }
}

/// What gathering counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    cosignatures: Counter,
    published: Counter,
    size: Gauge,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("jurat_cosigners");
        registry.register(
            "cosignatures",
            "Verified cosignatures of own tree heads",
            metrics.cosignatures.clone(),
        );
        registry.register(
            "published",
            "Checkpoints published (a head with its quorum, or with more cosignatures)",
            metrics.published.clone(),
        );
        registry.register(
            "published_size_leaves",
            "Tree size of the published checkpoint",
            metrics.size.clone(),
        );
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cosigners::testing::{policy_with, signed, witness_keys};
    use crate::log::Append;
    use jurat_keys::SigningKey;
    use jurat_proto::cosignature::cosign;
    use jurat_store::{LogStore, MemoryStore, NewEntry};
    use prometheus_client::registry::Registry;

    struct Setting {
        keys: Vec<SigningKey>,
        store: Arc<MemoryStore>,
        sequencer: Sequencer,
        gatherer: Gatherer,
        published: watch::Receiver<Option<Published>>,
        standing: watch::Receiver<Standing>,
    }

    /// Three witnesses, of which `threshold` must cosign.
    fn setting(threshold: &str) -> Setting {
        let keys = witness_keys(3);
        let policy = policy_with(&keys, &["http://a", "http://b", "http://c"], threshold);
        let store = Arc::new(MemoryStore::new());
        let shared: Arc<dyn LogStore> = store.clone();
        let sequencer = Sequencer::start(shared, &mut Registry::default()).unwrap();
        let (published_to, published) = watch::channel(None);
        let (standing_to, standing) = watch::channel(Standing::Comparing);
        let metrics = Metrics::new(&mut Registry::default());
        let gatherer = Gatherer::new(
            policy,
            sequencer.clone(),
            None,
            published_to,
            standing_to,
            metrics,
        );
        Setting {
            keys,
            store,
            sequencer,
            gatherer,
            published,
            standing,
        }
    }

    impl Setting {
        /// Appends an entry and gives the head over it, as signed at that time.
        async fn head(&self, text: &str, time: u64) -> Arc<SignedHead> {
            let entry = NewEntry::new(text.as_bytes().to_vec()).unwrap();
            self.sequencer
                .append(Append { entry, head: None })
                .await
                .unwrap();
            self.again(time)
        }

        fn again(&self, time: u64) -> Arc<SignedHead> {
            let signed = signed(*self.sequencer.committed().borrow());
            Arc::new(SignedHead {
                signed,
                time: UnixSeconds::new(time).unwrap(),
            })
        }

        async fn cosigned(&mut self, witness: usize, head: &Arc<SignedHead>) {
            let checkpoint = head.signed.checkpoint();
            let line = cosign(checkpoint, head.time, &self.keys[witness]).unwrap();
            let lines = vec![(witness, line, head.time)];
            self.gatherer.take(Report::Cosigned {
                head: Arc::clone(head),
                lines,
            });
            assert!(self.gatherer.publish().await);
        }

        /// Size, time and number of signature lines of what readers see.
        fn seen(&self) -> Option<(u64, u64, usize)> {
            let published = self.published.borrow().clone()?;
            let lines = published.signed().signatures().len();
            Some((published.size().get(), published.time().get(), lines))
        }
    }

    // Spec: SVC-07, SVC-08
    #[tokio::test]
    async fn a_head_is_published_with_its_quorum_and_again_with_each_later_line() {
        let mut setting = setting("2");
        let head = setting.head("a", 100).await;
        setting.cosigned(1, &head).await;
        assert_eq!(setting.seen(), None);
        setting.cosigned(1, &head).await;
        assert_eq!(setting.seen(), None, "one witness twice is one witness");
        setting.cosigned(0, &head).await;
        assert_eq!(setting.seen(), Some((1, 100, 3)));
        setting.cosigned(2, &head).await;
        assert_eq!(setting.seen(), Some((1, 100, 4)));
        let stored = setting.store.published().unwrap().unwrap();
        assert_eq!(
            stored.note,
            setting.published.borrow().clone().unwrap().bytes()
        );
    }

    // Spec: SVC-07
    #[tokio::test]
    async fn a_late_quorum_of_an_older_head_changes_nothing() {
        let mut setting = setting("2");
        let old = setting.head("a", 100).await;
        setting.cosigned(0, &old).await;
        let new = setting.head("b", 101).await;
        setting.cosigned(0, &new).await;
        setting.cosigned(1, &new).await;
        assert_eq!(setting.seen(), Some((2, 101, 3)));
        setting.cosigned(1, &old).await;
        setting.cosigned(2, &old).await;
        assert_eq!(setting.seen(), Some((2, 101, 3)));
    }

    #[tokio::test]
    async fn a_newer_head_of_the_same_size_replaces_the_older_one() {
        let mut setting = setting("1");
        let head = setting.head("a", 100).await;
        setting.cosigned(0, &head).await;
        setting.cosigned(1, &head).await;
        let refreshed = setting.again(130);
        setting.cosigned(2, &refreshed).await;
        assert_eq!(setting.seen(), Some((1, 130, 2)));
        setting.cosigned(2, &head).await;
        assert_eq!(
            setting.seen(),
            Some((1, 130, 2)),
            "time of one size never goes back"
        );
    }

    // Spec: SVC-06
    #[tokio::test]
    async fn signing_waits_until_a_quorum_has_been_compared_with() {
        let mut setting = setting("2");
        setting
            .gatherer
            .take(Report::Compared { witnesses: vec![2] });
        assert_eq!(*setting.standing.borrow(), Standing::Comparing);
        setting
            .gatherer
            .take(Report::Compared { witnesses: vec![0] });
        assert_eq!(*setting.standing.borrow(), Standing::Good);
        setting.gatherer.take(Report::Ahead {
            why: "ahead".to_owned(),
        });
        setting
            .gatherer
            .take(Report::Compared { witnesses: vec![1] });
        assert_eq!(
            *setting.standing.borrow(),
            Standing::Refused("ahead".to_owned())
        );
    }

    /// The store holds another tree than what was cosigned: nobody may go on.
    #[tokio::test]
    async fn a_publication_that_the_store_refuses_stops_the_service() {
        let mut setting = setting("1");
        let head = setting.head("a", 100).await;
        let mut other = head.head();
        other.root_hash = jurat_proto::hash::sha256(b"other");
        let head = Arc::new(SignedHead {
            signed: signed(other),
            time: head.time,
        });
        let line = cosign(head.signed.checkpoint(), head.time, &setting.keys[0]).unwrap();
        let lines = vec![(0, line, head.time)];
        setting.gatherer.take(Report::Cosigned { head, lines });
        assert!(!setting.gatherer.publish().await);
        assert!(matches!(*setting.standing.borrow(), Standing::Refused(_)));
    }

    #[tokio::test]
    async fn a_witness_that_is_late_pushes_no_newer_head_out() {
        let mut setting = setting("2");
        let late = setting.head("late", 99).await;
        let mut heads = Vec::new();
        for number in 0..4 {
            heads.push(setting.head(&number.to_string(), 100 + number).await);
            setting.cosigned(0, &heads[heads.len() - 1]).await;
        }
        setting.cosigned(2, &late).await;
        setting.cosigned(1, &heads[0]).await;
        assert_eq!(setting.seen(), Some((2, 100, 3)));
    }

    #[tokio::test]
    async fn heads_that_never_get_their_quorum_are_not_kept_for_ever() {
        let mut setting = setting("2");
        for number in 0..20 {
            let head = setting.head(&number.to_string(), 100 + number).await;
            setting.cosigned(0, &head).await;
        }
        assert_eq!(setting.gatherer.heads.len(), HEADS_KEPT);
        assert_eq!(setting.seen(), None);
    }
}
