//! What a log may grow from: what was cosigned last, and what was imported.

use jurat_proto::add_checkpoint::above::{self, Above};
use jurat_proto::add_checkpoint::{AddCheckpoint, Refusal};
use jurat_proto::checkpoint::Origin;
use jurat_proto::tree::TreeHead;
use jurat_store::registry::{Hold, HoldCause, Log};

use super::{AddError, Witness};
use crate::restore::Held;
use crate::restore::imported::{Floors, Joins};

impl Witness {
    /// Why nothing is signed for a log, whatever it proves; or what it has to continue besides what
    /// was cosigned last.
    ///
    /// # Errors
    /// [`Held`].
    // Spec: GSP-186, GSP-211
    pub(crate) fn may_grow(&self, origin: &Origin) -> Result<Option<Floors>, Held> {
        let current = self.logs.current();
        let (mut floors, mut held) = (Vec::new(), None);
        if let Some(log) = current.held_log(origin) {
            held = log.decision().map(Held::by);
            let open = log.imported();
            for hold in open.filter(|hold| !self.joins.is_reached(origin, hold)) {
                match self.joins.floor(origin, hold, &self.every_key) {
                    Some(floor) => floors.push(floor),
                    None => held = held.or_else(|| Some(Held::by(hold))),
                }
            }
        }
        let held = held.or_else(|| self.holds.held(origin));
        let held = held.or_else(|| self.copied(origin));
        match held.or_else(|| self.suspect(origin)) {
            Some(held) => Err(held),
            None => Ok(Floors::of(floors)),
        }
    }

    /// What the list holds a log for.
    // Spec: GSP-215
    pub(super) fn listed(&self, origin: &Origin) -> Option<Held> {
        let current = self.logs.current();
        // What is reached holds no more, before the list says so.
        let is_open = |hold: &&Hold| {
            hold.cause != HoldCause::Imported || !self.joins.is_reached(origin, hold)
        };
        let mut holds = current.held_log(origin)?.holds();
        holds.find(is_open).map(Held::by)
    }

    /// What an operator has to decide about a log first.
    // Spec: GSP-188
    pub(crate) fn undecided(&self, origin: &Origin) -> Option<Held> {
        let current = self.logs.current();
        let listed = current.held_log(origin).and_then(Log::decision);
        listed.map(Held::by).or_else(|| self.holds.held(origin))
    }

    /// What was imported of a log and is not reached yet, whatever else it is held for.
    pub(crate) fn floors(&self, origin: &Origin) -> Option<Floors> {
        let current = self.logs.current();
        let imported = current.held_log(origin)?.imported();
        let open = imported.filter(|hold| !self.joins.is_reached(origin, hold));
        let floors = open.filter_map(|hold| self.joins.floor(origin, hold, &self.every_key));
        Floors::of(floors.collect())
    }

    /// What requests proved of imported heads.
    pub(crate) fn joins(&self) -> &Joins {
        &self.joins
    }

    /// Whether the answer to a request may leave whose checkpoint is durable: a log may be held
    /// since.
    ///
    /// # Errors
    /// [`AddError::Held`], or 409 where a head was imported meanwhile.
    // Spec: WIT-83, GSP-186
    pub(super) fn is_free_still(&self, request: &AddCheckpoint) -> Result<(), AddError> {
        match self.may_grow(request.origin()).map_err(AddError::Held)? {
            None => Ok(()),
            Some(floors) => Err(AddError::Refused(Refusal::Conflict {
                old_size: request.old_size,
                current: floors.largest(),
            })),
        }
    }

    /// Whether the request is a refresh, while nothing may be signed below imported heads.
    // Spec: GSP-186, GSP-211
    pub(super) fn decide_above(
        &self,
        latest: Option<&TreeHead>,
        floors: &Floors,
        request: &AddCheckpoint,
    ) -> Result<bool, Refusal> {
        let origin = request.origin();
        let (floors, proven) = (floors.heads(), self.joins.proven(origin));
        match above::decide_above(latest, &floors, &proven, request)? {
            Above::Cosign { refresh } => Ok(refresh),
            Above::Missing { proven, from } => {
                self.joins.join(origin, latest, &floors, proven);
                Err(Refusal::Conflict {
                    old_size: request.old_size,
                    current: from,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroUsize};
    use std::path::PathBuf;
    use std::sync::{Arc, OnceLock};

    use bytes::Bytes;
    use jurat_daemon::clock::{ClockGuard, ManualClock, UnixTime};
    use jurat_keys::{Algorithm, SigningKey};
    use jurat_proto::checkpoint::{Checkpoint, ExtensionLines, SignedCheckpoint};
    use jurat_proto::cosignature;
    use jurat_proto::hash::sha256;
    use jurat_proto::key::{KeyName, Signer as _};
    use jurat_proto::proof::ConsistencyProof;
    use jurat_proto::tree::TreeSize;
    use jurat_store::registry::Registry;
    use jurat_store::{
        CheckpointStore, HeadSwap, MemoryStore, OriginHead, StoreError, SwapRefusal, WriteError,
    };

    use super::*;
    use crate::cosign::Parts;
    use crate::log_list::LogList;
    use crate::metrics::Metrics;
    use crate::quota::QuotaLimits;

    fn origin() -> Origin {
        Origin::parse("example.com/log").unwrap()
    }

    fn size(size: u64) -> TreeSize {
        TreeSize::new(size).unwrap()
    }

    fn signed(log: &SigningKey, at: u64, root: &str) -> SignedCheckpoint {
        let checkpoint = Checkpoint {
            origin: origin(),
            head: TreeHead {
                size: size(at),
                root_hash: sha256(root.as_bytes()),
            },
            extensions: ExtensionLines::new(),
        };
        let line = cosignature::sign_note(&checkpoint.to_text(), log).unwrap();
        SignedCheckpoint::new(checkpoint, vec![line]).unwrap()
    }

    /// A store that imports a head once a swap is durable, before anybody is told.
    struct Importing {
        inner: MemoryStore,
        list: PathBuf,
        imported: Option<SignedCheckpoint>,
        witness: OnceLock<Arc<Witness>>,
    }

    impl CheckpointStore for Importing {
        fn latest(&self, origin: &Origin) -> Result<Option<OriginHead>, StoreError> {
            self.inner.latest(origin)
        }
        fn compare_and_swap(
            &self,
            swaps: &[HeadSwap],
        ) -> Result<Vec<Result<(), SwapRefusal>>, WriteError> {
            let swapped = self.inner.compare_and_swap(swaps);
            if let Some(note) = &self.imported {
                let hold = Hold {
                    cause: HoldCause::Imported,
                    since: 1,
                    source: "a test".to_owned(),
                    why: "it was imported".to_owned(),
                    adopt: false,
                    reason: None,
                    evidence: String::from_utf8(note.to_bytes()).unwrap(),
                    below: None,
                };
                let done = Registry::edit(&self.list, &(), |list| {
                    list.hold(note.origin(), &hold, "one")
                });
                done.unwrap();
                self.witness.get().unwrap().logs().reload().unwrap();
            }
            swapped
        }
        fn origins(
            &self,
            after: Option<&Origin>,
            limit: usize,
        ) -> Result<Vec<(Origin, OriginHead)>, StoreError> {
            self.inner.origins(after, limit)
        }
        fn origin_count(&self) -> Result<u64, StoreError> {
            self.inner.origin_count()
        }
    }

    // Spec: GSP-186, WIT-83
    #[tokio::test]
    async fn a_head_that_is_imported_while_the_disk_works_is_asked_for_and_no_line_leaves() {
        let log_key = KeyName::parse("example.com/log").unwrap();
        let log = SigningKey::generate(log_key, Algorithm::Ed25519).unwrap();
        let five = signed(&log, 5, "five");
        let meanwhile = [
            (None, None),
            (Some(signed(&log, 3, "three")), Some(3)),
            (Some(signed(&log, 9, "nine")), Some(9)),
            // Of that size, with another root: the log has to show which it is.
            (Some(signed(&log, 5, "another")), Some(5)),
        ];
        for (imported, wanted) in meanwhile {
            let dir = tempfile::tempdir().unwrap();
            let list = dir.path().join("logs.toml");
            Registry::create(&list).unwrap();
            Registry::add(&list, &origin(), &[log.verifier_key().clone()]).unwrap();
            let store = Arc::new(Importing {
                inner: MemoryStore::new(),
                list: list.clone(),
                imported,
                witness: OnceLock::new(),
            });
            let name = KeyName::parse("witness.example/w").unwrap();
            let own = SigningKey::generate(name, Algorithm::CosignatureV1).unwrap();
            let clock = ManualClock::new(UnixTime::from_seconds(1_790_000_000));
            let witness = Witness::start(Parts {
                signers: vec![Box::new(own)],
                former_keys: Vec::new(),
                store: Arc::<Importing>::clone(&store),
                clock: Arc::new(ClockGuard::alone(Arc::new(clock))),
                logs: Arc::new(LogList::load(&list, true).unwrap()),
                metrics: Metrics::unregistered(),
                guard: None,
                quotas: QuotaLimits {
                    default_qpd: None,
                    unsigned_per_minute: NonZeroU32::MIN,
                    in_flight_max: 1,
                },
                commits_waiting_max: NonZeroUsize::MIN,
                commit_batch_max: NonZeroUsize::MIN,
            });
            let witness = Arc::new(witness.unwrap());
            assert!(store.witness.set(Arc::clone(&witness)).is_ok());
            let request = AddCheckpoint {
                old_size: TreeSize::ZERO,
                proof: ConsistencyProof::new(Vec::new()).unwrap(),
                checkpoint: five.clone(),
            };
            let answer = witness
                .add_checkpoint(Bytes::from(request.to_bytes()))
                .await;
            // It was durable, and this was not known before.
            let stored = store.latest(&origin()).unwrap().unwrap();
            assert_eq!(stored.head, five.head());
            match (answer, wanted) {
                (Ok(lines), None) => assert_eq!(lines.lines().len(), 1),
                (Err(AddError::Refused(refusal)), Some(wanted)) => {
                    let conflict = Refusal::Conflict {
                        old_size: TreeSize::ZERO,
                        current: size(wanted),
                    };
                    assert_eq!(refusal, conflict);
                }
                (answer, wanted) => panic!("{answer:?} instead of {wanted:?}"),
            }
        }
    }
}
