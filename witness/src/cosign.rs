//! The order that keeps a witness honest, in one place and without a socket:
//!
//! ```text
//! parse ─► keys of the origin ─► verify the log's signatures ─► latest head ─► decide ─► time
//!   400        404                     403                                    400 409 422   503
//!     ─► sign with every key ─► compare-and-swap, durable ─► head visible ─► answer
//!              500                lost: decide again, 409     (heads.rs)      200
//! ```
//!
//! A refresh within the second of the cosignatures that are durable already is answered with these:
//! signed again they would say the same.
//!
//! - Nothing signed leaves, and nothing new can be read, before it is durable. The swap carries the
//!   checkpoint with its verified signatures and our cosignatures: one transaction holds what the
//!   read endpoint serves.
//! - The swap expects the head that the decision saw. Who loses a race decides again on the new
//!   head; the signatures made for the lost race are dropped, never sent.
//! - Swaps of many requests become durable together ([`jurat_daemon::batch`]), with one wait for
//!   the disk.
//! - When it is not known whether a swap is durable, nothing is answered any more and
//!   [`Witness::failed`] resolves: the process ends and starts again from what is on the disk.
//! - Cosignature times of an origin never go back. When the clock is behind them, or was never set,
//!   or cannot be believed ([`jurat_daemon::clock`]), nothing is signed that states a time.
//!
//! Out of scope: HTTP ([`crate::http`]); whether a request deserves a cosignature
//! ([`jurat_proto::add_checkpoint`] decides, as a pure function).
//!
//! Rows: `spec/witness.md` WIT-43 to WIT-50, WIT-56, WIT-71, WIT-72, WIT-110 to WIT-112, WIT-120.

mod commit;
mod errors;
mod growth;

use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jurat_daemon::batch::{BatchError, Batcher, Failure, Linger};
use jurat_daemon::clock::{ClockGuard, UnixTime};
use jurat_keys::fast_verifier;
use jurat_proto::add_checkpoint::{self, AddCheckpoint, Refusal};
use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::cosignature::{self, SignError};
use jurat_proto::cosignature_lines::CosignatureLines;
use jurat_proto::evidence::Evidence;
use jurat_proto::hash::Hash;
use jurat_proto::hex;
use jurat_proto::key::{Signer, UnixSeconds, VerifierKey};
use jurat_proto::note::SignatureLine;
use jurat_proto::proof::ConsistencyProof;
use jurat_proto::sign_subtree::{self, SignSubtree};
use jurat_proto::tree::TreeSize;
use jurat_store::registry::Log;
use jurat_store::{CheckpointStore, HeadSwap, OriginHead, SwapRefusal};
use tokio::sync::Semaphore;

use self::commit::{SwapFault, committer};
pub use self::errors::{AddError, CheckpointError, ClockFault, StartError, SubtreeError};
use crate::evidence::Outcome::{Kept, NotWritten};
use crate::evidence::{Convicted, EvidenceFolder};
use crate::gossip::Gossip;
use crate::heads::{Heads, Latest, Told};
use crate::log_list::LogList;
use crate::metrics::{Call, Metrics, Outcome};
use crate::quota::{Admitted, Client, Kind, QuotaLimits, Quotas};
use crate::restore::imported::{Floors, Joins};
use crate::restore::{self, Found, Guard, Held, Holds};
use crate::unlisted::{Known, Unlisted};
use jurat_proto::gossip::node::Cosigning;

/// A witness: keys, state, clock and the logs that it serves.
pub struct Witness {
    signers: Vec<Box<dyn Signer>>,
    /// The verifier keys of `signers`, in the same order.
    own_keys: Vec<VerifierKey>,
    /// These, and the ones that signed before them.
    every_key: Vec<VerifierKey>,
    /// Whether all of `signers` are here and wait for nothing.
    only_computes: bool,
    logs: Arc<LogList>,
    heads: Arc<Heads>,
    unlisted: Arc<Unlisted>,
    clock: Arc<ClockGuard>,
    quotas: Arc<Quotas>,
    guard: Option<Arc<Guard>>,
    holds: Holds,
    joins: Joins,
    /// For time since the start, which quotas count in.
    started: Instant,
    /// What the wall clock showed at the start.
    began: UnixTime,
    commits: Batcher<HeadSwap, Result<(), SwapFault>>,
    /// A place for each piece of work that has a thread or waits for one.
    places: Arc<Semaphore>,
    places_max: usize,
    /// A part of the places: sign-subtree gets no more, so that add-checkpoint never waits for it.
    subtrees: Arc<Semaphore>,
    /// A place for each note that is being read for a monitor.
    reads: Arc<Semaphore>,
    metrics: Metrics,
    /// Where evidence is kept.
    evidence: Option<Arc<EvidenceFolder>>,
    /// A place for the one refusal that is looked at for evidence.
    evidence_place: Arc<Semaphore>,
    gossip: Option<Arc<Gossip>>,
}

/// What a witness is made of.
pub struct Parts {
    /// Its keys, each of type 0x04 or 0x06: answers have a line for each, in this order.
    pub signers: Vec<Box<dyn Signer>>,
    /// The keys that it had and has no more: what they cosigned is ours.
    pub former_keys: Vec<VerifierKey>,
    /// Where its state is.
    pub store: Arc<dyn CheckpointStore>,
    /// The time, while it can be believed.
    pub clock: Arc<ClockGuard>,
    /// The logs.
    pub logs: Arc<LogList>,
    /// What it counts.
    pub metrics: Metrics,
    /// How many requests logs and strangers may make.
    pub quotas: QuotaLimits,
    /// Who asks others whether the state is as new as what they have seen of it.
    pub guard: Option<Arc<Guard>>,
    /// How many requests are verified and signed, or wait for that, at most; and how many swaps
    /// wait for the disk at most. Beyond it requests are refused as too many.
    pub commits_waiting_max: NonZeroUsize,
    /// How many become durable together at most.
    pub commit_batch_max: NonZeroUsize,
}

impl Witness {
    /// Opens the state and starts the commit thread.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub fn start(parts: Parts) -> Result<Self, StartError> {
        let Parts {
            signers,
            store,
            clock,
            logs,
            metrics,
            ..
        } = parts;
        if signers.is_empty() {
            return Err(StartError::NoKeys);
        }
        let own_keys: Vec<VerifierKey> = signers
            .iter()
            .map(|signer| signer.verifier_key().clone())
            .collect();
        let fast_keys = own_keys.iter().map(fast_verifier).collect::<Result<_, _>>();
        let fast_keys: Vec<VerifierKey> = fast_keys.map_err(StartError::Key)?;
        let former = parts.former_keys.iter().map(fast_verifier);
        let former = former.collect::<Result<Vec<_>, _>>();
        let mut every_key = fast_keys.clone();
        every_key.extend(former.map_err(StartError::Key)?);
        let heads = Heads::open(Arc::clone(&store), every_key.clone(), Arc::clone(&logs));
        let heads = Arc::new(heads.map_err(StartError::State)?);
        let unlisted = Unlisted::find(Arc::clone(&store), Arc::clone(&logs), metrics.clone());
        let unlisted = unlisted.map_err(StartError::State)?;
        metrics
            .origins
            .set(i64::try_from(heads.count()).unwrap_or(i64::MAX));
        let commits = Batcher::spawn_lingering(
            "commit",
            parts.commits_waiting_max,
            parts.commit_batch_max,
            Some(LINGER),
            committer(
                store,
                Arc::clone(&heads),
                Arc::clone(clock.clock()),
                metrics.clone(),
            ),
        )
        .map_err(StartError::Thread)?;
        let (started, began) = (clock.clock().instant(), clock.clock().now());
        Ok(Self {
            only_computes: signers.iter().all(|signer| signer.only_computes()),
            signers,
            own_keys: fast_keys,
            every_key,
            logs,
            heads,
            unlisted,
            clock,
            quotas: Arc::new(Quotas::new(parts.quotas)),
            guard: parts.guard,
            holds: Holds::default(),
            joins: Joins::default(),
            started,
            began,
            commits,
            places: Arc::new(Semaphore::new(parts.commits_waiting_max.get())),
            places_max: parts.commits_waiting_max.get(),
            subtrees: Arc::new(Semaphore::new(subtrees_max(
                parts.commits_waiting_max.get(),
            ))),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            metrics,
            evidence: None,
            evidence_place: Arc::new(Semaphore::new(1)),
            gossip: None,
        })
    }

    /// Keeps evidence in this folder.
    #[must_use]
    pub fn with_evidence(mut self, folder: Arc<EvidenceFolder>) -> Self {
        self.evidence = Some(folder);
        self
    }

    /// Asks gossip before each cosignature, and tells it of each head that is durable, and of each
    /// that is stored, before anything is signed for its log.
    // Spec: GSP-71
    #[must_use]
    pub fn with_gossip(mut self, gossip: Arc<Gossip>) -> Self {
        gossip.bring_from(&self.heads);
        let told: Arc<dyn Told> = Arc::<Gossip>::clone(&gossip);
        self.heads.tell(told);
        self.gossip = Some(gossip);
        self
    }

    /// With whom it gossips, if it does.
    pub fn gossip(&self) -> Option<&Arc<Gossip>> {
        self.gossip.as_ref()
    }

    /// Where evidence is kept, if anywhere.
    pub fn evidence(&self) -> Option<&Arc<EvidenceFolder>> {
        self.evidence.as_ref()
    }

    /// The verifier keys, in the order of the lines in answers.
    pub fn keys(&self) -> &[VerifierKey] {
        &self.own_keys
    }

    /// The verifier keys, and those that this witness had before: what any of them cosigned is
    /// ours.
    pub fn every_key(&self) -> &[VerifierKey] {
        &self.every_key
    }

    /// The latest cosigned checkpoints; all of them durable.
    pub fn heads(&self) -> &Heads {
        &self.heads
    }

    /// The logs that are served.
    pub fn logs(&self) -> &LogList {
        &self.logs
    }

    /// The logs that are held, though not yet in the list.
    pub(crate) fn holds(&self) -> &Holds {
        &self.holds
    }

    /// Why nothing is signed for a log until the operator decides, if that is so.
    // Spec: WIT-83
    pub(crate) fn held(&self, origin: &Origin) -> Option<Held> {
        let listed = self.listed(origin);
        let held = listed.or_else(|| self.holds.held(origin));
        let held = held.or_else(|| self.copied(origin));
        held.or_else(|| self.suspect(origin))
    }

    /// That our state is a copy, for a log about which nobody can be asked.
    // Spec: WIT-91
    fn copied(&self, origin: &Origin) -> Option<Held> {
        let guard = self.guard.as_ref().filter(|guard| guard.copy().is_some())?;
        guard.held_as_copy(self.logs.current().log(origin)?)
    }

    /// Who guards our memory.
    pub(crate) fn guard(&self) -> Option<&Arc<Guard>> {
        self.guard.as_ref()
    }

    /// A head that its log signed and that nobody can join to ours.
    // Spec: GSP-42
    fn suspect(&self, origin: &Origin) -> Option<Held> {
        match self.gossip.as_ref()?.cosigning(origin) {
            Cosigning::Held { suspect } => Some(Held::Suspect { head: suspect }),
            // Spec: GSP-194
            Cosigning::Isolated => Some(Held::Isolated),
            // Evidence says these ([`Self::convicted`]).
            Cosigning::Free | Cosigning::Convicted { .. } | Cosigning::Stopped { .. } => None,
        }
    }

    /// What it counts.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Whether a time could be signed now.
    ///
    /// # Errors
    /// What is wrong with the clock.
    pub fn check_clock(&self) -> Result<(), ClockFault> {
        self.time_after(None).map(|_| ())
    }

    /// What the wall clock shows, right or wrong; not for signing.
    pub fn wall_time(&self) -> UnixTime {
        self.clock.clock().now()
    }

    /// Resolves when a commit's outcome is not known, or the commit thread failed: the process must
    /// end. Never resolves otherwise.
    pub fn failed(&self) -> impl Future<Output = Failure> + Send + 'static {
        self.commits.failed()
    }

    /// Accepts nothing more and returns when what waits is durable.
    ///
    /// # Errors
    /// As [`Self::failed`], when it was so before, or one of the last commits made it so.
    pub async fn stop(&self) -> Result<(), Failure> {
        let failed = self.failed();
        self.commits.stop().await;
        // The worker has ended, so a failure is there to be read at once.
        tokio::select! {
            biased;
            failure = failed => Err(failure),
            () = std::future::ready(()) => Ok(()),
        }
    }

    /// add-checkpoint: the lines of the answer, once the checkpoint is durable.
    ///
    /// When the future is dropped, the checkpoint may become durable all the same; its cosignature
    /// then can be had again by asking with the new size.
    ///
    /// # Errors
    /// [`AddError`]. No state changed, unless it is [`AddError::Stopped`], or [`AddError::Held`]
    /// for a hold that came while the checkpoint became durable.
    pub async fn add_checkpoint(
        self: &Arc<Self>,
        body: Bytes,
    ) -> Result<CosignatureLines, AddError> {
        self.add_checkpoint_from(body, None).await
    }

    /// [`Self::add_checkpoint`] for a client whose address is known: it pays for what the log did
    /// not sign.
    ///
    /// # Errors
    /// As for [`Self::add_checkpoint`].
    pub async fn add_checkpoint_from(
        self: &Arc<Self>,
        body: Bytes,
        client: Option<Client>,
    ) -> Result<CosignatureLines, AddError> {
        // Spec: WIT-101
        let counted = self.metrics.call(Call::AddCheckpoint);
        let result = self.add(&body, client).await;
        let outcome = match &result {
            Ok((_, Progress::Refreshed)) => Outcome::Refreshed,
            Ok((_, Progress::Grown)) => Outcome::Grown,
            Err(error) => error.outcome(),
        };
        counted.became(outcome);
        result.map(|(lines, _)| lines)
    }

    async fn add(
        self: &Arc<Self>,
        body: &[u8],
        client: Option<Client>,
    ) -> Result<(CosignatureLines, Progress), AddError> {
        let request = AddCheckpoint::parse(body).map_err(AddError::Malformed)?;
        // A flood for logs that nobody registered costs a parse and a look-up, no thread, no disk.
        let Some(qpd) = self.logs.current().active_qpd(request.origin()) else {
            let origin = request.origin().clone();
            return Err(AddError::Refused(Refusal::UnknownOrigin { origin }));
        };
        // Spec: WIT-128
        if let Some(convicted) = self.convicted(request.origin()) {
            return Err(AddError::Convicted(convicted));
        }
        // Spec: WIT-65. Nor does one for a log that is known, once its quota is used up.
        let origin = request.origin().hash();
        let kind = if request.old_size == request.head().size {
            Kind::Refresh
        } else {
            Kind::Growth
        };
        let quotas = &self.quotas;
        let mut admitted = quotas.admit(origin, kind, qpd, client, self.uptime())?;
        let request = Arc::new(request);
        let again = Arc::clone(&request);
        let added = self.add_admitted(again, &origin, &mut admitted).await;
        // Spec: WIT-67. Before anything is waited for: who hangs up has paid.
        if let Err(error) = &added {
            match error.payer() {
                Payer::NotSigned => admitted.not_signed(self.uptime()),
                Payer::Refused => admitted.refused(self.uptime()),
                Payer::Nobody => admitted.give_back(),
            }
        }
        // Spec: GSP-42
        if let Err(AddError::Held(Held::Suspect { .. })) = &added {
            self.shows(request).await;
            return added;
        }
        // Spec: WIT-120
        if let Err(AddError::Refused(refusal)) = &added
            && may_prove(&request, refusal)
        {
            let (shown, proof) = (request.checkpoint.clone(), request.proof.clone());
            self.look_for_evidence(shown, proof).await;
        }
        added
    }

    /// A log that is held for a head may send the very proof that joins it.
    async fn shows(self: &Arc<Self>, request: Arc<AddCheckpoint>) {
        let (Some(gossip), this) = (self.gossip.clone(), Arc::clone(self)) else {
            return;
        };
        let shown = self.work(false, move || {
            let latest = this.heads.latest(request.origin()).ok().flatten();
            if let Some(latest) = latest.filter(|_| this.verify(&request).is_ok()) {
                gossip.grown(latest.head, &request.proof, &request.checkpoint);
            }
        });
        // Too much waits: the log tries again, as it must anyway.
        drop(shown.await);
    }

    async fn add_admitted(
        self: &Arc<Self>,
        request: Arc<AddCheckpoint>,
        origin: &Hash,
        admitted: &mut Admitted,
    ) -> Result<(CosignatureLines, Progress), AddError> {
        self.may_grow(request.origin()).map_err(AddError::Held)?;
        let cleared = self.is_cleared(request.origin(), origin);
        let brought = self.gossip.as_ref();
        let brought = brought.is_none_or(|gossip| gossip.is_brought(request.origin()));
        let here = self.only_computes && brought && self.heads.is_known(request.origin());
        let this = Arc::clone(self);
        let first = Arc::clone(&request);
        let (verified, prepared) = self
            .work(here, move || {
                let verified = this.verify(&first)?;
                let prepared = cleared.then(|| this.prepare(&first, &verified));
                Ok::<_, AddError>((Arc::new(verified), prepared.transpose()?))
            })
            .await??;
        let mut prepared = match prepared {
            Some(prepared) => prepared,
            // Others are asked only for who has signed as the log.
            None => self.prepare_guarded(&request, &verified).await?,
        };
        let mut attempts_left = ATTEMPTS;
        loop {
            attempts_left -= 1;
            let Some(swap) = prepared.swap else {
                admitted.give_back();
                return Ok((prepared.lines, prepared.progress));
            };
            admitted.spend(self.uptime());
            let old = swap.expected.filter(|old| *old != swap.new.head);
            // Spec: WIT-43, WIT-44, WIT-105
            match self.commits.submit(swap).await {
                // Spec: WIT-83. It may be held since; that it is stored harms nobody.
                Ok(Ok(())) => {
                    if let Some(floors) = &prepared.floors {
                        self.joins.reach(request.origin(), floors);
                    }
                    if let (Some(gossip), Some(old)) = (&self.gossip, old) {
                        gossip.grown(old, &request.proof, &request.checkpoint);
                    }
                    if let Some(convicted) = self.convicted(request.origin()) {
                        return Err(AddError::Convicted(convicted));
                    }
                    self.is_free_still(&request)?;
                    return Ok((prepared.lines, prepared.progress));
                }
                Ok(Err(SwapFault::Lost(SwapRefusal::Damaged(corruption)))) => {
                    let error = self.heads.found_damaged(request.origin(), corruption);
                    return Err(AddError::State(error));
                }
                Ok(Err(SwapFault::Lost(_) | SwapFault::Stale)) if attempts_left > 0 => {}
                Ok(Err(SwapFault::Stale)) => {
                    let capacity = self.places_max;
                    return Err(AddError::Busy { capacity });
                }
                Ok(Err(SwapFault::Lost(refusal))) => return Err(AddError::Contended(refusal)),
                Ok(Err(SwapFault::NotWritten)) => return Err(AddError::NotWritten),
                Err(BatchError::Full { capacity }) => return Err(AddError::Busy { capacity }),
                Err(BatchError::Stopped) => return Err(AddError::Stopped),
            }
            // The signatures that were just made are for a head or a time that somebody else was
            // faster with. They are dropped here.
            let (this, request) = (Arc::clone(self), Arc::clone(&request));
            let verified = Arc::clone(&verified);
            prepared = self
                .work(here, move || this.prepare(&request, &verified))
                .await??;
        }
    }

    /// Keeps what a checkpoint that its log signed proves together with the one that is stored, and
    /// with the proof that came with it.
    ///
    /// What is stored is read at once, since another request may replace it; then each waits for
    /// its turn, and nothing is dropped because there is much of it. It goes on when the client has
    /// hung up.
    // Spec: WIT-120
    pub(crate) async fn look_for_evidence(
        self: &Arc<Self>,
        shown: SignedCheckpoint,
        proof: ConsistencyProof,
    ) {
        let Some(folder) = self.evidence.clone() else {
            return;
        };
        let this = Arc::clone(self);
        let place = Arc::clone(&self.evidence_place);
        let looked = tokio::spawn(async move {
            let proven = tokio::task::spawn_blocking({
                let this = Arc::clone(&this);
                move || this.evidence_in(&shown, &proof)
            });
            let Some(evidence) = proven.await? else {
                return Ok(());
            };
            let _place = place.acquire_owned().await;
            let gossip = this.gossip.clone();
            tokio::task::spawn_blocking(move || {
                Self::keep_evidence(&folder, &evidence);
                // It is durable: now others may know.
                if let Some(gossip) = gossip {
                    gossip.found(evidence);
                }
            })
            .await
        });
        if !matches!(looked.await, Ok(Ok(()))) {
            tracing::error!("looking for evidence failed");
        }
    }

    fn evidence_in(&self, shown: &SignedCheckpoint, proof: &ConsistencyProof) -> Option<Evidence> {
        if shown.head().size == TreeSize::ZERO {
            return Evidence::empty(shown.clone()).ok();
        }
        let stored = self.heads.note(shown.origin()).ok().flatten();
        let stored = stored.and_then(|note| SignedCheckpoint::parse(&note).ok());
        let imported = self.floors(shown.origin());
        let imported = imported.into_iter().flat_map(Floors::into_notes);
        // Spec: EVI-30, GSP-189
        let mut known = stored.into_iter().chain(imported);
        known.find_map(|known| Evidence::of_growth(&known, shown, proof).ok())
    }

    /// Why nothing is signed for a log any more, if that is so.
    // Spec: WIT-128, WIT-130, WIT-131
    pub(crate) fn convicted(&self, origin: &Origin) -> Option<Convicted> {
        let folder = self.evidence.as_ref()?;
        let current = self.logs.current();
        let nonsense_stops = current.log(origin).is_some_and(|log| log.empty_stops);
        let kept = folder.convicted(origin, nonsense_stops);
        kept.or_else(|| match self.gossip.as_ref()?.cosigning(origin) {
            Cosigning::Convicted { id } => Some(Convicted::Log(id)),
            Cosigning::Stopped { id } => Some(Convicted::Ours(id)),
            Cosigning::Free | Cosigning::Held { .. } | Cosigning::Isolated => None,
        })
    }

    fn keep_evidence(folder: &EvidenceFolder, evidence: &Evidence) {
        let kept = folder.keep(evidence);
        // Once for each: a log that forks again and again is counted.
        if let Some((verdict, Kept | NotWritten)) = kept {
            let origin = verdict.origin.as_ref().map(Origin::as_str);
            tracing::error!(
                origin,
                kind = %verdict.kind,
                id = hex::encode(verdict.id.as_bytes()),
                "a log is convicted; `jurat-witness evidence show` has the proof"
            );
        }
    }

    /// Whether a log can be signed for without asking others about it first.
    // Spec: WIT-82
    fn is_cleared(&self, origin: &Origin, hash: &Hash) -> bool {
        let logs = self.logs.current();
        match (&self.guard, logs.log(origin)) {
            (Some(guard), Some(log)) => guard.is_cleared(log, hash),
            _ => true,
        }
    }

    /// Asks others about a log.
    async fn clear(self: &Arc<Self>, origin: &Origin) -> Result<(), Held> {
        match &self.guard {
            Some(guard) => guard.clear(self, origin).await,
            None => Ok(()),
        }
    }

    async fn prepare_guarded(
        self: &Arc<Self>,
        request: &Arc<AddCheckpoint>,
        verified: &Arc<Vec<usize>>,
    ) -> Result<Prepared, AddError> {
        let cleared = self.clear(request.origin()).await;
        cleared.map_err(AddError::Held)?;
        let (this, request) = (Arc::clone(self), Arc::clone(request));
        let verified = Arc::clone(verified);
        self.work(false, move || this.prepare(&request, &verified))
            .await?
    }

    /// Makes what the operator decided the latest checkpoint of a log.
    pub(crate) async fn adopt(&self, swap: HeadSwap) -> Result<(), String> {
        match self.commits.submit(swap).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(SwapFault::Lost(refusal))) => Err(refusal.to_string()),
            Ok(Err(SwapFault::NotWritten | SwapFault::Stale)) => {
                Err(AddError::NotWritten.to_string())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Which lines of the checkpoint to keep: one for each of the log's keys that signed it.
    fn verify(&self, request: &AddCheckpoint) -> Result<Vec<usize>, AddError> {
        let checkpoint = &request.checkpoint;
        let keys = self.logs.current().keys_for(request.origin());
        let verified = add_checkpoint::verify_log_signatures(keys.as_deref(), checkpoint)?;
        let keep = self.log_lines(checkpoint, verified);
        if keep.is_empty() {
            let origin = request.origin().clone();
            return Err(AddError::Refused(Refusal::NoTrustedSignature { origin }));
        }
        Ok(keep)
    }

    /// Of the lines that verified with a log's keys, those to keep.
    // Spec: WIT-56. A key may have signed twice; and a line in our name is not the log's, even if
    // somebody registered our key as one of a log's.
    pub(crate) fn log_lines(
        &self,
        checkpoint: &SignedCheckpoint,
        verified: Vec<usize>,
    ) -> Vec<usize> {
        let lines = checkpoint.signatures();
        let mut keep: Vec<usize> = Vec::new();
        for index in verified {
            let Some(line) = lines.get(index) else {
                continue;
            };
            let ours = self.every_key.iter().any(|key| key.matches(line));
            let twice = keep
                .iter()
                .filter_map(|&kept| lines.get(kept))
                .any(|kept| kept.name() == line.name() && kept.key_id() == line.key_id());
            if !ours && !twice {
                keep.push(index);
            }
        }
        keep
    }

    /// Decides on the latest head and signs; nothing of it has left yet.
    fn prepare(&self, request: &AddCheckpoint, verified: &[usize]) -> Result<Prepared, AddError> {
        let origin = request.origin();
        // Again: it may have been held or disabled since the request came.
        let floors = self.may_grow(origin).map_err(AddError::Held)?;
        if !self.logs.current().is_active(origin) {
            let origin = origin.clone();
            return Err(AddError::Refused(Refusal::UnknownOrigin { origin }));
        }
        if let Some(gossip) = &self.gossip {
            gossip.bring(origin)?;
        }
        let latest = self.heads.latest(origin)?;
        let expected = latest.map(|latest| latest.head);
        // Spec: WIT-48
        let decided = match &floors {
            None => add_checkpoint::decide_consistency(expected.as_ref(), request)
                .map(|progress| progress.refresh),
            Some(floors) => self.decide_above(expected.as_ref(), floors, request),
        };
        let refresh = decided.inspect_err(|refusal| tell_of_fork(request, refusal))?;
        let not_before = match &floors {
            None => latest,
            Some(floors) => floors.not_before(latest),
        };
        if let Some(latest) = latest.filter(|_| refresh && floors.is_none())
            && self.time_after(Some(latest))? == latest.time
            && let Some(lines) = self.repeated(request, verified, latest)?
        {
            return Ok(Prepared {
                swap: None,
                lines,
                progress: Progress::Refreshed,
                floors: None,
            });
        }
        let (new, cosignatures) = self.sign(&request.checkpoint, verified, not_before)?;
        Ok(Prepared {
            swap: Some(HeadSwap {
                origin: origin.clone(),
                expected,
                new,
            }),
            lines: CosignatureLines::new(cosignatures).map_err(AddError::Lines)?,
            progress: if refresh {
                Progress::Refreshed
            } else {
                Progress::Grown
            },
            floors,
        })
    }

    /// Signs a checkpoint with every key, not before the time of `latest`: what to store, with
    /// these lines of the log's, and the new lines.
    pub(crate) fn sign(
        &self,
        signed: &SignedCheckpoint,
        verified: &[usize],
        latest: Option<Latest>,
    ) -> Result<(OriginHead, Vec<SignatureLine>), AddError> {
        // Spec: WIT-128. Again: it may have been since the request came.
        if let Some(convicted) = self.convicted(signed.origin()) {
            return Err(AddError::Convicted(convicted));
        }
        let time = self.time_after(latest)?;
        // Spec: WIT-46
        let checkpoint = signed.checkpoint();
        let cosignatures = self
            .signers
            .iter()
            .map(|signer| cosignature::cosign(checkpoint, time, &**signer))
            .collect::<Result<Vec<SignatureLine>, SignError>>()
            .map_err(AddError::Sign)?;
        // Spec: WIT-45, WIT-52
        let note = signed
            .with_signatures(verified, &cosignatures)
            .map_err(AddError::Note)?
            .to_bytes();
        let new = OriginHead {
            head: signed.head(),
            time,
            note,
            log_index: None,
        };
        Ok((new, cosignatures))
    }

    /// The cosignatures that are durable and served, when they are what would be signed now: on
    /// this very text, with all that was verified of it, at this time. They were made durable since
    /// the start, so that it is not the page cache of a disk that failed which says so.
    ///
    /// It reads the row that was written last, which is in memory.
    // Spec: WIT-71
    fn repeated(
        &self,
        request: &AddCheckpoint,
        verified: &[usize],
        latest: Latest,
    ) -> Result<Option<CosignatureLines>, AddError> {
        if latest.time.get() <= self.began.seconds() {
            return Ok(None);
        }
        let note = self.heads.note(request.origin())?;
        let stored = note.and_then(|note| SignedCheckpoint::parse(&note).ok());
        let submitted = &request.checkpoint;
        let same = |stored: &SignedCheckpoint| stored.checkpoint() == submitted.checkpoint();
        let Some(stored) = stored.filter(same) else {
            return Ok(None);
        };
        let kept = |index: &usize| {
            let line = submitted.signatures().get(*index);
            line.is_some_and(|line| stored.signatures().contains(line))
        };
        if !verified.iter().all(kept) {
            return Ok(None);
        }
        // Somebody may have been faster again: then the time is another one.
        let Ok(signed) = stored.verify_signatures(&self.own_keys) else {
            return Ok(None);
        };
        if signed
            .iter()
            .any(|line| line.timestamp != Some(latest.time))
        {
            return Ok(None);
        }
        let line_of = |key: usize| {
            let line = signed.iter().find(|line| line.key_index == key)?;
            stored.signatures().get(line.line_index).cloned()
        };
        let lines: Option<Vec<SignatureLine>> = (0..self.own_keys.len()).map(line_of).collect();
        Ok(lines.and_then(|lines| CosignatureLines::new(lines).ok()))
    }

    /// sign-subtree: the lines of the answer. No state changes, but that a log is held when the
    /// request proves that our state is not the one that we had.
    ///
    /// # Errors
    /// [`SubtreeError`].
    pub async fn sign_subtree(
        self: &Arc<Self>,
        body: Bytes,
    ) -> Result<CosignatureLines, SubtreeError> {
        let counted = self.metrics.call(Call::SignSubtree);
        let result = self.subtree(body).await;
        let outcome = result
            .as_ref()
            .map_or_else(SubtreeError::outcome, |_| Outcome::Signed);
        counted.became(outcome);
        result
    }

    async fn subtree(self: &Arc<Self>, body: Bytes) -> Result<CosignatureLines, SubtreeError> {
        let request = SignSubtree::parse(&body).map_err(SubtreeError::Malformed)?;
        // Spec: WIT-72. As for add-checkpoint: a flood for logs that nobody registered costs a
        // parse and a look-up.
        if !self.logs.current().is_active(request.origin()) {
            let origin = request.origin().clone();
            let unknown = sign_subtree::Refusal::UnknownOrigin { origin };
            return Err(SubtreeError::Refused(unknown));
        }
        // Spec: WIT-128
        if let Some(convicted) = self.convicted(request.origin()) {
            return Err(SubtreeError::Convicted(convicted));
        }
        let capacity = subtrees_max(self.places_max);
        let part = Arc::clone(&self.subtrees).try_acquire_owned();
        // Whoever hangs up leaves the work behind, so it is the work that holds the place.
        let part = Arc::new(part.map_err(|_| SubtreeError::Busy { capacity })?);
        let (this, held) = (Arc::clone(self), Arc::clone(&part));
        let (asked, signed) = self
            .work(false, move || {
                let _held = held;
                let origin = request.origin();
                let known = this.logs.current().is_active(origin);
                let accepted = sign_subtree::decide(known, &this.own_keys, &request)
                    .map_err(SubtreeError::Refused)?;
                if let Some(held) = this.held(origin) {
                    return Err(SubtreeError::Held(held));
                }
                let cleared = this.is_cleared(origin, &origin.hash());
                let signed = cleared.then(|| this.cosign_subtree(&request, &accepted));
                Ok::<_, SubtreeError>((Arc::new((request, accepted)), signed))
            })
            .await??;
        let signed = if let Some(signed) = signed {
            signed
        } else {
            // Spec: WIT-82. We have signed the reference checkpoint: others are not asked for
            // anybody.
            let cleared = self.clear(asked.0.origin()).await;
            cleared.map_err(SubtreeError::Held)?;
            let (this, asked) = (Arc::clone(self), Arc::clone(&asked));
            let work = move || {
                let _held = part;
                this.cosign_subtree(&asked.0, &asked.1)
            };
            self.work(false, work).await?
        };
        if let Err(
            SubtreeError::StateIsBehind { .. }
            | SubtreeError::TimeIsBehind { .. }
            | SubtreeError::TwoTrees { .. },
        ) = &signed
        {
            self.hold_for(asked.0.reference()).await;
        }
        signed
    }

    /// The latest time in our lines on a checkpoint on which they were verified before.
    fn time_of_ours(&self, checkpoint: &SignedCheckpoint) -> Option<UnixSeconds> {
        let lines = checkpoint.signatures().iter();
        let ours = lines.filter(|line| self.own_keys.iter().any(|key| key.matches(line)));
        let times = ours.filter_map(|line| line.signature().first_chunk().copied());
        let seconds = times.map(u64::from_be_bytes).max()?;
        UnixSeconds::new(seconds)
    }

    /// Holds a log for a checkpoint that we cosigned and do not remember.
    // Spec: WIT-83
    async fn hold_for(self: &Arc<Self>, reference: &SignedCheckpoint) {
        let origin = reference.origin();
        let current = self.logs.current();
        let log_keys = current.log(origin).map(Log::every_key);
        let keys = restore::Keys {
            log: log_keys.as_deref().unwrap_or_default(),
            own: &self.every_key,
            peer: None,
        };
        let latest = self.heads.latest(origin).ok().flatten();
        let Some(evidence) = restore::judge_reference(reference, keys, latest) else {
            return;
        };
        let source = "a sign-subtree request".to_owned();
        let found = Found { source, evidence };
        if let Some(guard) = &self.guard {
            drop(guard.hold(self, origin, &found).await);
        } else {
            let hold = found.hold(self.wall_time().seconds());
            self.holds.begin(origin, hold);
            restore::keep_fork(self, &found).await;
        }
    }

    fn cosign_subtree(
        &self,
        request: &SignSubtree,
        accepted: &sign_subtree::Accepted,
    ) -> Result<CosignatureLines, SubtreeError> {
        let origin = request.origin();
        // Again: it may have been held, disabled or convicted since the request came.
        if let Some(held) = self.held(origin) {
            return Err(SubtreeError::Held(held));
        }
        if let Some(convicted) = self.convicted(origin) {
            return Err(SubtreeError::Convicted(convicted));
        }
        if !self.logs.current().is_active(origin) {
            let origin = origin.clone();
            return Err(SubtreeError::Refused(
                sign_subtree::Refusal::UnknownOrigin { origin },
            ));
        }
        // We cosigned the reference checkpoint, and we cosign nothing before it is durable: if our
        // state is behind it, the state is not the one that we had. A restored copy, the wrong
        // volume, or a second witness with our key; none of them may go on signing. Nor may we when
        // it is another tree of the size that we remember: we have signed a fork.
        let reference = request.reference().head();
        let latest = self.heads.latest(origin)?;
        let stored = latest.map(|latest| latest.head);
        match stored {
            Some(stored) if stored.size == reference.size && stored != reference => {
                return Err(SubtreeError::TwoTrees { reference, stored });
            }
            Some(stored) if stored.size >= reference.size => {}
            _ => return Err(SubtreeError::StateIsBehind { reference, stored }),
        }
        let cosigned = self.time_of_ours(request.reference());
        if let (Some(reference), Some(Latest { time: stored, .. })) = (cosigned, latest)
            && reference > stored
        {
            return Err(SubtreeError::TimeIsBehind { reference, stored });
        }
        // Spec: WIT-50
        let signers = self.signers.iter().enumerate();
        let lines = signers
            .filter(|(place, _)| accepted.signers.contains(place))
            .map(|(_, signer)| {
                cosignature::cosign_subtree(origin, request.subtree(), request.hash(), &**signer)
            })
            .collect::<Result<Vec<SignatureLine>, SignError>>()
            .map_err(SubtreeError::Sign)?;
        CosignatureLines::new(lines).map_err(SubtreeError::Lines)
    }

    /// The checkpoint that is served for the origin with this SHA-256; `None` for one that was
    /// never cosigned.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub async fn checkpoint(&self, origin_hash: &Hash) -> Result<Option<Bytes>, CheckpointError> {
        let logs = self.logs.current();
        let origin = match logs.origin(origin_hash) {
            Some(origin) => origin.clone(),
            // Spec: WIT-53, WIT-75
            None => match self.unlisted.of(origin_hash) {
                Known::Cosigned(origin) => origin,
                Known::Never => return Ok(None),
                Known::NotYet => return Err(CheckpointError::NotYet),
            },
        };
        let place = Arc::clone(&self.reads).try_acquire_owned();
        let place = place.map_err(|_| CheckpointError::Busy)?;
        let heads = Arc::clone(&self.heads);
        let read = tokio::task::spawn_blocking(move || {
            // Spec: WIT-54, WIT-57
            let note = heads.note(&origin);
            drop(place);
            note
        });
        let note = read.await.map_err(|_| CheckpointError::Panicked)?;
        note.map_err(CheckpointError::Read)
    }

    /// Runs signatures and proofs: `here`, which holds up a worker of the runtime for a fraction of
    /// a millisecond and spares two changes of threads; or, when they may wait for a key or for the
    /// disk, in a thread where that holds up nobody.
    ///
    /// The runtime's queue for such threads has no bound, and whoever hangs up leaves the work in
    /// it: what the listener has in flight is not what waits here. So the work itself holds the
    /// place.
    async fn work<R: Send + 'static>(
        &self,
        here: bool,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, NotRun> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| NotRun::Busy {
                capacity: self.places_max,
            })?;
        let work = move || {
            let result = work();
            drop(place);
            result
        };
        if here {
            return catch_unwind(AssertUnwindSafe(work)).map_err(|_| NotRun::Panicked);
        }
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| NotRun::Panicked)
    }

    fn uptime(&self) -> Duration {
        let now = self.clock.clock().instant();
        now.saturating_duration_since(self.started)
    }

    // Spec: WIT-112, WIT-134
    fn time_after(&self, latest: Option<Latest>) -> Result<UnixSeconds, ClockFault> {
        let now = self.time()?;
        let page = self.gossip.as_ref();
        if let Some(page) = page.and_then(|gossip| gossip.page_after(now)) {
            return Err(ClockFault::BehindPage { now, page });
        }
        match latest {
            Some(latest) if latest.time > now => Err(ClockFault::BehindCosigned {
                now,
                cosigned: latest.time,
            }),
            _ => Ok(now),
        }
    }

    // Spec: WIT-110
    fn time(&self) -> Result<UnixSeconds, ClockFault> {
        let now = self.clock.read()?.time;
        UnixSeconds::new(now.seconds())
            .filter(|_| now >= CLOCK_FLOOR)
            .ok_or(ClockFault::NotSet { now })
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness")
            .field("keys", &self.own_keys)
            .field("logs", &self.logs)
            .finish_non_exhaustive()
    }
}

/// Whether a refused request may be half of a proof.
fn may_prove(request: &AddCheckpoint, refusal: &Refusal) -> bool {
    match refusal {
        Refusal::RootMismatch { .. }
        | Refusal::Inconsistent { .. }
        | Refusal::WrongEmptyRoot { .. } => true,
        // A client that is late, or two trees of one size behind a wrong old size.
        Refusal::Conflict { current, .. } => {
            request.head().size == *current && *current != TreeSize::ZERO
        }
        Refusal::UnknownOrigin { .. }
        | Refusal::NoTrustedSignature { .. }
        | Refusal::BadSignature(_)
        | Refusal::ExtensionsNotSigned { .. }
        | Refusal::OldSizeAboveCheckpoint { .. }
        | Refusal::ProofNotEmpty { .. } => false,
    }
}

/// The log signed two trees of one size. Whoever reads this has to ask its operator why.
fn tell_of_fork(request: &AddCheckpoint, refusal: &Refusal) {
    if let Refusal::RootMismatch {
        size,
        latest,
        submitted,
    } = refusal
    {
        tracing::error!(
            // Not `log.origin`: tracing's formatter keeps fields under `log.` to itself.
            origin = %request.origin(),
            tree.size = size.get(),
            root_hash.cosigned = %latest,
            root_hash.submitted = %submitted,
            "a log signed two trees of one size"
        );
    }
}

struct Prepared {
    /// What has to become durable; nothing when it is already.
    swap: Option<HeadSwap>,
    lines: CosignatureLines,
    progress: Progress,
    /// What was imported, and is reached when it is durable.
    floors: Option<Floors>,
}

#[derive(Clone, Copy)]
enum Progress {
    Grown,
    Refreshed,
}

/// Who pays for a request that brought nothing.
enum Payer {
    /// Whoever sent what the log did not sign.
    NotSigned,
    /// Whoever sent what the log signed and what cannot be cosigned.
    Refused,
    /// Nobody: we failed, or others were faster.
    Nobody,
}

/// Why work gave no result.
enum NotRun {
    /// No place was free.
    Busy {
        /// How many there are.
        capacity: usize,
    },
    /// A bug. The process ends with it where panics abort.
    Panicked,
}

/// 2026-07-22T00:00:00Z, the date of the protocol's text: before it nobody ran this program. It
/// also keeps the time from being zero, which a cosignature must not say.
const CLOCK_FLOOR: UnixTime = UnixTime::from_seconds(1_784_678_400);

/// A wait for the disk costs as much processor time as one Ed25519 cosignature with its
/// verification; under load, when all cores sign, it is shared among more.
const LINGER: Linger = Linger {
    after: 3,
    step: Duration::from_micros(600),
    steps_max: 4,
};

/// How many of so many places sign-subtree may have.
const fn subtrees_max(places: usize) -> usize {
    let quarter = places / 4;
    if quarter == 0 { 1 } else { quarter }
}

/// How many monitors' requests read the disk or wait for a thread that does. A read takes tens of
/// microseconds.
const READS_MAX: usize = 1024;

/// How often a request is decided. A race over the head needs two, and ends in a conflict; one over
/// the second in which two refreshes were signed may need another.
const ATTEMPTS: u32 = 3;
