//! When a tree head is made, and the order in which it becomes one.
//!
//! Committed tree ─▶ time chosen ─▶ intent recorded durably ─▶ signed ─▶ offered to the cosigners.
//! The making of the next head waits until this one has its quorum, or until the witnesses have
//! had their time; so heads do not pile up behind a slow witness, and none overtakes another.

use std::sync::Arc;
use std::time::Duration;

use jurat_daemon::clock::{ClockGuard, NoTime};
use jurat_daemon::shutdown::Shutdown;
use jurat_proto::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use jurat_proto::cose::sign_root;
use jurat_proto::cosignature::{cosign, sign_note};
use jurat_proto::key::{SignatureType, Signer, UnixSeconds};
use jurat_proto::note::{NoteError, SignatureLine};
use jurat_proto::tree::TreeHead;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::Sequencer;
use super::sequencer::ControlError;

/// How often tree heads are made.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between two heads when nobody waits for one.
    pub interval: Duration,
    /// From the first entry that is not yet under a head, when somebody waits for its receipt.
    pub demand_delay: Duration,
    /// Between two heads of a tree that does not grow, so that its freshness can be seen.
    pub refresh: Duration,
    /// How long the making of the next head waits for this one's quorum.
    pub quorum_wait: Duration,
}

/// A tree head that the log has signed, before any witness has.
#[derive(Debug)]
pub struct SignedHead {
    /// The checkpoint with one line for each key of the log.
    pub signed: SignedCheckpoint,
    /// When, as the timestamped signatures say.
    pub time: UnixSeconds,
}

impl SignedHead {
    /// The tree head.
    pub fn head(&self) -> TreeHead {
        self.signed.head()
    }

    /// The checkpoint with the log's lines and further ones after them.
    ///
    /// # Errors
    /// When that is more than a note can hold.
    pub fn with(&self, more: &[SignatureLine]) -> Result<SignedCheckpoint, NoteError> {
        let all: Vec<usize> = (0..self.signed.signatures().len()).collect();
        self.signed.with_signatures(&all, more)
    }
}

/// Asks for a tree head soon; held by whoever waits for a receipt.
#[derive(Clone, Default)]
pub struct Demand(Arc<Notify>);

impl Demand {
    /// Somebody waits: the next head comes after [`Pace::demand_delay`] instead of
    /// [`Pace::interval`].
    pub fn raise(&self) {
        self.0.notify_one();
    }
}

/// Makes tree heads until told to stop.
pub struct TreeHeads {
    /// The log's origin.
    pub origin: Origin,
    /// The log's keys: one line of each is on every head.
    pub signers: Vec<Arc<dyn Signer>>,
    /// How often.
    pub pace: Pace,
    /// The time, while it can be believed.
    pub clock: Arc<ClockGuard>,
    /// Where intents are recorded.
    pub sequencer: Sequencer,
    /// Who waits.
    pub demand: Demand,
    /// Where signed heads go.
    pub offer: watch::Sender<Option<Arc<SignedHead>>>,
    /// Size and time of the newest head that has its quorum.
    pub published: watch::Receiver<Option<super::Published>>,
    /// The last head whose signing was recorded, from the store.
    pub last_signed: Option<(TreeHead, UnixSeconds)>,
    /// Counters.
    pub metrics: Metrics,
}

/// Why no tree head could be signed this time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The wall clock stands before the time of the last tree head: whoever set it back must set it
    /// right, or time must catch up.
    #[error(
        "the clock says {now}, which is {behind} s before the last tree head's time; \
         no tree head is signed until it has caught up"
    )]
    ClockBehind {
        /// Seconds since the epoch that the clock shows.
        now: u64,
        /// By how much it is behind.
        behind: u64,
    },
    /// Nobody can say what time it is.
    #[error("{0}; no tree head is signed")]
    NoTime(#[from] NoTime),
    /// The store is closed and the process stopping, or the store's rules forbid it.
    #[error("the intent to sign could not be recorded: {0}")]
    NotRecorded(#[from] ControlError),
    /// A signing key failed.
    #[error("a key of the log could not sign: {0}")]
    Signer(String),
}

impl TreeHeads {
    /// Runs until `shutdown`. Faults are logged once each time their kind changes, and counted.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut last_made: Option<Instant> = None;
        let mut last_error: Option<SigningError> = None;
        loop {
            let head = tokio::select! {
                head = self.next_due(last_made) => head,
                () = shutdown.wait() => return,
            };
            last_made = Some(Instant::now());
            match self.sign(head).await {
                Ok(signed) => {
                    if last_error.take().is_some() {
                        tracing::info!("tree heads are being signed again");
                    }
                    self.metrics.signed.inc();
                    self.offer.send_replace(Some(Arc::new(signed)));
                    tokio::select! {
                        () = self.quorum(head) => {}
                        () = shutdown.wait() => return,
                    }
                }
                Err(error) => {
                    self.metrics.refused.inc();
                    let same_kind = last_error.as_ref().is_some_and(|last| {
                        std::mem::discriminant(last) == std::mem::discriminant(&error)
                    });
                    if !same_kind {
                        tracing::error!(tree.size = head.size.get(), "{error}");
                    }
                    last_error = Some(error);
                }
            }
        }
    }

    /// Waits until a head should be made, and returns what it is to cover.
    async fn next_due(&self, last_made: Option<Instant>) -> TreeHead {
        let mut committed = self.sequencer.committed();
        // Not what was recorded: a head that no key could sign is still to be made.
        let signed = self
            .offer
            .borrow()
            .as_ref()
            .map(|signed| signed.head().size);
        let mut pending_since = None;
        let mut demanded = false;
        loop {
            let head = *committed.borrow_and_update();
            if Some(head.size) != signed && pending_since.is_none() {
                pending_since = Some(Instant::now());
            }
            let Some(due) = due(self.pace, last_made, pending_since, demanded) else {
                return head;
            };
            tokio::select! {
                () = tokio::time::sleep_until(due) => return *committed.borrow_and_update(),
                changed = committed.changed() => {
                    if changed.is_err() {
                        // The sequencer is gone, and the process about to be.
                        std::future::pending::<()>().await;
                    }
                }
                () = self.demand.0.notified() => demanded = true,
            }
        }
    }

    // Spec: CKP-21, SVC-04, SVC-40
    /// "A log MUST not sign any checkpoint which is inconsistent with any checkpoint
    /// it previously signed": the head is committed, the store is append-only, and the intent is
    /// durable before the first signature exists.
    async fn sign(&mut self, head: TreeHead) -> Result<SignedHead, SigningError> {
        let time = signing_time(self.clock.read_unordered()?.seconds(), self.last_signed)?;
        self.sequencer.record_signing(head, time).await?;
        self.last_signed = Some((head, time));
        let signed = self.sign_checkpoint(head, time)?;
        self.metrics
            .signed_size
            .set(i64::try_from(head.size.get()).unwrap_or(i64::MAX));
        Ok(SignedHead { signed, time })
    }

    fn sign_checkpoint(
        &self,
        head: TreeHead,
        time: UnixSeconds,
    ) -> Result<SignedCheckpoint, SigningError> {
        // Spec: CKP-24
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            head,
            extensions: jurat_proto::checkpoint::ExtensionLines::new(),
        };
        let text = checkpoint.to_text();
        let signs_notes = |signer: &Arc<dyn Signer>| {
            signer.verifier_key().signature_type() == SignatureType::Ed25519
        };
        let line = |signer: &Arc<dyn Signer>| {
            if signs_notes(signer) {
                sign_note(&text, signer.as_ref())
            } else {
                cosign(&checkpoint, time, signer.as_ref())
            }
        };
        let lines = self.signers.iter().map(line);
        // Spec: RCP-12. After the lines that are the checkpoint's, as nobody needs these for it.
        let of_notes = self.signers.iter().filter(|signer| signs_notes(signer));
        let roots = of_notes.map(|signer| sign_root(&checkpoint, signer.as_ref()));
        let lines = lines
            .chain(roots)
            .collect::<Result<_, _>>()
            .map_err(|error| SigningError::Signer(error.to_string()))?;
        SignedCheckpoint::new(checkpoint, lines)
            .map_err(|error| SigningError::Signer(error.to_string()))
    }

    /// Waits until the head is published, but no longer than the witnesses have time.
    async fn quorum(&mut self, head: TreeHead) {
        let reached = self.published.wait_for(|published| {
            published
                .as_ref()
                .is_some_and(|published| published.size() >= head.size)
        });
        if tokio::time::timeout(self.pace.quorum_wait, reached)
            .await
            .is_err()
        {
            self.metrics.without_quorum.inc();
            tracing::warn!(
                tree.size = head.size.get(),
                "no quorum of witnesses within {} ms; the head is not published yet",
                self.pace.quorum_wait.as_millis()
            );
        }
    }
}

// Spec: SVC-12
/// When the next head is due, from when the last was made, since when entries wait, and whether
/// anybody waits for them; `None` is at once. Pure.
fn due(
    pace: Pace,
    last_made: Option<Instant>,
    pending_since: Option<Instant>,
    demanded: bool,
) -> Option<Instant> {
    let last_made = last_made?;
    Some(match pending_since {
        Some(since) if demanded => since.max(last_made) + pace.demand_delay.min(pace.interval),
        // However long the interval: a log with entries is no staler than one without.
        Some(_) => last_made + pace.interval.min(pace.refresh),
        None => last_made + pace.refresh,
    })
}

// Spec: SVC-05
/// The time to sign with: the clock's, unless that is before the last one. Pure.
fn signing_time(
    now: u64,
    last_signed: Option<(TreeHead, UnixSeconds)>,
) -> Result<UnixSeconds, SigningError> {
    let last = last_signed.map_or(0, |(_, time)| time.get());
    match UnixSeconds::new(now) {
        Some(time) if now >= last => Ok(time),
        _ => Err(SigningError::ClockBehind {
            now,
            behind: last.saturating_sub(now),
        }),
    }
}

/// What the making of tree heads counts.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    signed: Counter,
    refused: Counter,
    without_quorum: Counter,
    signed_size: Gauge,
}

impl Metrics {
    /// Registers the metrics of tree heads.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("jurat_tree_heads");
        registry.register("signed", "Tree heads signed", metrics.signed.clone());
        registry.register(
            "refused",
            "Times that no tree head could be signed (the clock, a key or the store failed)",
            metrics.refused.clone(),
        );
        registry.register(
            "without_quorum",
            "Tree heads that had no quorum within the witnesses' time",
            metrics.without_quorum.clone(),
        );
        registry.register(
            "signed_size_leaves",
            "Tree size of the newest signed tree head",
            metrics.signed_size.clone(),
        );
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jurat_daemon::clock::SystemClock;
    use jurat_keys::{Algorithm, SigningKey};
    use jurat_proto::key::{SignerError, VerifierKey};
    use jurat_proto::note::KeyName;
    use jurat_proto::tree::TreeSize;
    use jurat_store::MemoryStore;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const PACE: Pace = Pace {
        interval: Duration::from_secs(1),
        demand_delay: Duration::from_millis(100),
        refresh: Duration::from_secs(30),
        quorum_wait: Duration::from_secs(2),
    };

    // Spec: SVC-12
    #[tokio::test]
    async fn heads_are_due_at_once_then_by_interval_demand_or_refresh() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let entry = now + ms(300);
        assert_eq!(due(PACE, None, Some(now), false), None);
        assert_eq!(
            due(PACE, Some(now), Some(entry), false),
            Some(now + ms(1_000))
        );
        assert_eq!(
            due(PACE, Some(now), Some(entry), true),
            Some(entry + ms(100))
        );
        // A demand for entries that came before the last head waits from that head on.
        assert_eq!(
            due(PACE, Some(entry), Some(now), true),
            Some(entry + ms(100))
        );
        assert_eq!(due(PACE, Some(now), None, false), Some(now + ms(30_000)));
        assert_eq!(due(PACE, Some(now), None, true), Some(now + ms(30_000)));
        let slow = Pace {
            interval: ms(3_600_000),
            ..PACE
        };
        let by_refresh = Some(now + ms(30_000));
        assert_eq!(due(slow, Some(now), Some(entry), false), by_refresh);
    }

    /// A key that fails until it does not.
    struct Failing {
        key: SigningKey,
        fails: AtomicUsize,
    }

    impl Signer for Failing {
        fn verifier_key(&self) -> &VerifierKey {
            self.key.verifier_key()
        }

        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
            let left = self.fails.load(Ordering::SeqCst);
            if left > 0 {
                self.fails.store(left - 1, Ordering::SeqCst);
                return Err(SignerError::new("the token is locked"));
            }
            self.key.sign(message)
        }
    }

    // Spec: SVC-12
    #[tokio::test]
    async fn a_head_that_no_key_could_sign_is_tried_again_after_the_interval() {
        let name = KeyName::parse("example.com/log").unwrap();
        let key = SigningKey::generate(name, Algorithm::Ed25519).unwrap();
        let signer = Failing {
            key,
            fails: AtomicUsize::new(1),
        };
        let registry = &mut Registry::default();
        let sequencer = Sequencer::start(Arc::new(MemoryStore::new()), registry).unwrap();
        let (offer, mut offered) = watch::channel(None);
        let heads = TreeHeads {
            origin: Origin::parse("example.com/log").unwrap(),
            signers: vec![Arc::new(signer)],
            pace: Pace {
                interval: Duration::from_millis(20),
                ..PACE
            },
            clock: Arc::new(ClockGuard::alone(Arc::new(SystemClock))),
            sequencer,
            demand: Demand::default(),
            offer,
            published: watch::channel(None).1,
            last_signed: None,
            metrics: Metrics::default(),
        };
        let shutdown = Shutdown::new();
        tokio::spawn(heads.run(shutdown.clone()));
        // Far below the refresh of 30 s.
        let soon = tokio::time::timeout(Duration::from_secs(10), offered.changed());
        soon.await.unwrap().unwrap();
        shutdown.trigger();
    }

    // Spec: SVC-05, COS-23
    #[test]
    fn a_clock_that_stepped_back_signs_nothing_until_it_has_caught_up() {
        let at = |seconds| UnixSeconds::new(seconds).unwrap();
        let head = TreeHead {
            size: TreeSize::ZERO,
            ..TreeHead::empty()
        };
        let last = Some((head, at(1_000)));
        assert_eq!(
            signing_time(900, last),
            Err(SigningError::ClockBehind {
                now: 900,
                behind: 100
            })
        );
        assert_eq!(signing_time(1_000, last), Ok(at(1_000)));
        assert_eq!(signing_time(1_001, last), Ok(at(1_001)));
        assert_eq!(signing_time(0, None), Ok(at(0)));
        assert!(signing_time(u64::MAX, None).is_err());
    }
}
