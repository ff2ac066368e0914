//! What the operator decided is done: evidence becomes the latest checkpoint.
//!
//! It is cosigned anew, at the present time, and becomes the latest as any checkpoint does. That
//! is a refresh of what we cosigned already, and none of our lines in the evidence need be kept:
//! they may be of several times, or by former keys, or older than what we remember, while the times
//! of a log never go back.

use std::sync::Arc;

use jurat_proto::add_checkpoint::verify_log_signatures;
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_store::HeadSwap;
use jurat_store::registry::{Hold, HoldCause, Log};

use super::Guard;
use super::imported::Imported;
use crate::cosign::Witness;
use crate::heads::Latest;

/// Takes over the evidence of each hold that the operator wants to be adopted, and releases the
/// log. What fails is tried again later.
// Spec: WIT-86
pub async fn adopt(guard: &Arc<Guard>, witness: &Arc<Witness>) {
    let wanted: Vec<Log> = {
        let current = witness.logs().current();
        let held = current.held().iter();
        held.filter_map(|origin| current.log(origin).cloned())
            .collect()
    };
    for log in wanted {
        let Some(hold) = log.hold.as_ref().filter(|hold| hold.adopt) else {
            continue;
        };
        let origin = &log.origin;
        if !guard.tries(origin) {
            continue;
        }
        let taken = match swap(witness, &log, hold) {
            Ok(Some(swap)) => witness.adopt(swap).await,
            Ok(None) => Ok(()),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = taken {
            tracing::error!(%origin, %reason, "the evidence was not adopted; the log stays held");
        } else if let Err(error) = guard.release(witness, &log).await {
            tracing::error!(%origin, %error, "the evidence was adopted; the log is not released");
        } else {
            guard.adopted(origin);
        }
    }
}

/// The swap that makes evidence the latest checkpoint; nothing when it is that already.
fn swap(witness: &Witness, log: &Log, hold: &Hold) -> Result<Option<HeadSwap>, String> {
    if hold.cause != HoldCause::Ours {
        return Err("only what this witness cosigned itself can be adopted".to_owned());
    }
    let note = SignedCheckpoint::parse(hold.evidence.as_bytes());
    let note = note.map_err(|error| error.to_string())?;
    if note.origin() != &log.origin {
        return Err(format!("it is a checkpoint of {}", note.origin()));
    }
    // Spec: GSP-188. Signed anew it would be later than the larger one.
    let imported = log.imported();
    let imported = imported.filter_map(|hold| Imported::of(&log.origin, hold));
    let heads = imported.map(|imported| imported.head());
    let head = note.head();
    // Spec: GSP-211. Nor beside another root of its size.
    let mut beyond = heads.filter(|imported| imported.size >= head.size && *imported != head);
    if let Some(beyond) = beyond.next() {
        let size = beyond.size.get();
        return Err(format!("size {size} was imported; dismiss it"));
    }
    let signed = verify_log_signatures(Some(&log.every_key()), &note);
    let signed = signed.map_err(|error| format!("the log has not signed it: {error}"))?;
    let cosigned = note.verify_signatures(witness.every_key());
    let cosigned = cosigned.map_err(|error| format!("we have not cosigned it: {error}"))?;
    let times = cosigned.iter().filter_map(|line| line.timestamp);
    let time = times.max().ok_or("our cosignature has no time")?;
    let latest = witness.heads().latest(&log.origin);
    let latest = latest.map_err(|error| error.to_string())?;
    if let Some(latest) = latest {
        if latest.head == note.head() && latest.time >= time {
            return Ok(None);
        }
        if latest.head.size > note.head().size {
            let size = latest.head.size.get();
            return Err(format!("we have cosigned size {size} since; dismiss it"));
        }
    }
    // Spec: GSP-186
    let floors = witness.floors(&log.origin);
    let known = floors.map_or(latest, |floors| floors.not_before(latest));
    let not_before = Latest {
        head: note.head(),
        time: known.map_or(time, |known| known.time.max(time)),
    };
    let keep = witness.log_lines(&note, signed);
    let signed = witness.sign(&note, &keep, Some(not_before));
    let (new, _) = signed.map_err(|error| error.to_string())?;
    Ok(Some(HeadSwap {
        origin: log.origin.clone(),
        expected: latest.map(|latest| latest.head),
        new,
    }))
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroUsize};

    use jurat_daemon::clock::{ClockGuard, ManualClock, UnixTime};
    use jurat_keys::{Algorithm, SigningKey};
    use jurat_proto::checkpoint::{Checkpoint, ExtensionLines, Origin};
    use jurat_proto::cosignature;
    use jurat_proto::hash::sha256;
    use jurat_proto::key::{KeyName, Signer as _, UnixSeconds};
    use jurat_proto::note::SignatureLine;
    use jurat_proto::tree::{TreeHead, TreeSize};
    use jurat_store::registry::Registry;
    use jurat_store::{CheckpointStore as _, MemoryStore, OriginHead};

    use super::*;
    use crate::cosign::Parts;
    use crate::log_list::LogList;
    use crate::metrics::Metrics;
    use crate::quota::QuotaLimits;

    const NOW: u64 = 1_790_000_000;

    fn key(name: &str, algorithm: Algorithm) -> SigningKey {
        SigningKey::generate(KeyName::parse(name).unwrap(), algorithm).unwrap()
    }

    fn hold(cause: HoldCause, evidence: String) -> Hold {
        Hold {
            cause,
            since: 1,
            source: "a test".to_owned(),
            why: "a reason".to_owned(),
            adopt: cause == HoldCause::Ours,
            reason: None,
            evidence,
            below: None,
        }
    }

    /// A witness, a log, and what is remembered and listed of it.
    struct Bench {
        dir: tempfile::TempDir,
        log: SigningKey,
        own: SigningKey,
        store: Arc<MemoryStore>,
    }

    impl Bench {
        fn new() -> Self {
            let log = key("example.com/log", Algorithm::Ed25519);
            let dir = tempfile::tempdir().unwrap();
            let list = dir.path().join("logs.toml");
            Registry::create(&list).unwrap();
            Registry::add(&list, &origin(), &[log.verifier_key().clone()]).unwrap();
            Self {
                dir,
                log,
                own: key("witness.example/w", Algorithm::CosignatureV1),
                store: Arc::new(MemoryStore::new()),
            }
        }

        /// As the log and we signed it, if we did.
        fn note(&self, head: TreeHead, cosigned: Option<u64>) -> String {
            let log = cosignature::sign_note(&checkpoint(head).to_text(), &self.log).unwrap();
            self.with_lines(head, vec![log], cosigned)
        }

        fn with_lines(
            &self,
            head: TreeHead,
            mut lines: Vec<SignatureLine>,
            cosigned: Option<u64>,
        ) -> String {
            let checkpoint = checkpoint(head);
            let ours = cosigned.map(|time| {
                let time = UnixSeconds::new(time).unwrap();
                cosignature::cosign(&checkpoint, time, &self.own).unwrap()
            });
            lines.extend(ours);
            let note = SignedCheckpoint::new(checkpoint, lines).unwrap();
            String::from_utf8(note.to_bytes()).unwrap()
        }

        fn remembers(&self, head: TreeHead, time: u64) {
            let note = self.note(head, Some(time)).into_bytes();
            let new = OriginHead {
                head,
                time: UnixSeconds::new(time).unwrap(),
                note,
                log_index: None,
            };
            let swap = HeadSwap {
                origin: origin(),
                expected: None,
                new,
            };
            let [swapped] = &self.store.compare_and_swap(&[swap]).unwrap()[..] else {
                panic!("one swap, one result");
            };
            assert!(swapped.is_ok());
        }

        /// What becomes of the decision to adopt this, above imported heads.
        fn adopts(&self, evidence: &Hold, imported: &[String]) -> Result<Option<HeadSwap>, String> {
            let list = self.dir.path().join("logs.toml");
            for (id, note) in imported.iter().enumerate() {
                let hold = hold(HoldCause::Imported, note.clone());
                Registry::edit(&list, &(), |list| {
                    list.hold(&origin(), &hold, &id.to_string())
                })
                .unwrap();
            }
            let clock = ManualClock::new(UnixTime::from_seconds(NOW));
            let witness = Witness::start(Parts {
                signers: vec![Box::new(
                    SigningKey::parse_note_signer(&self.own.to_note_signer().unwrap()).unwrap(),
                )],
                former_keys: Vec::new(),
                store: Arc::<MemoryStore>::clone(&self.store),
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
            })
            .unwrap();
            let mut log = Registry::load(&list)
                .unwrap()
                .log(&origin())
                .unwrap()
                .clone();
            let mut top = evidence.clone();
            top.below = log.hold.take();
            log.hold = Some(Box::new(top));
            swap(&witness, &log, log.hold.as_ref().unwrap())
        }

        /// The time of our cosignature in what becomes the latest checkpoint.
        fn adopted(&self, swap: Result<Option<HeadSwap>, String>) -> u64 {
            let new = swap.unwrap().unwrap().new;
            let note = SignedCheckpoint::parse(&new.note).unwrap();
            let own = [self.own.verifier_key().clone()];
            let lines = note.verify_signatures(&own).unwrap();
            assert_eq!(lines.len(), 1, "our older lines are not kept");
            assert_eq!(lines[0].timestamp, Some(new.time));
            new.time.get()
        }
    }

    fn origin() -> Origin {
        Origin::parse("example.com/log").unwrap()
    }

    fn checkpoint(head: TreeHead) -> Checkpoint {
        Checkpoint {
            origin: origin(),
            head,
            extensions: ExtensionLines::new(),
        }
    }

    fn head(size: u64, root: &str) -> TreeHead {
        TreeHead {
            size: TreeSize::new(size).unwrap(),
            root_hash: sha256(root.as_bytes()),
        }
    }

    fn why(swap: Result<Option<HeadSwap>, String>) -> String {
        swap.unwrap_err()
    }

    // Spec: WIT-86, GSP-188, GSP-211
    #[test]
    fn evidence_below_an_imported_head_or_of_another_tree_of_its_size_is_not_adopted() {
        let nine = head(9, "nine");
        let adopts = |imported: TreeHead| {
            let bench = Bench::new();
            bench.remembers(head(5, "five"), NOW - 100);
            let evidence = hold(HoldCause::Ours, bench.note(nine, Some(NOW - 50)));
            // One that is smaller is no reason, wherever it stands.
            let others = [head(4, "four"), imported, head(6, "six")];
            let others = others.map(|head| bench.note(head, None));
            bench
                .adopts(&evidence, &others)
                .map(|swap| swap.map(|swap| swap.new.head))
        };
        assert_eq!(adopts(nine), Ok(Some(nine)));
        assert_eq!(adopts(head(8, "eight")), Ok(Some(nine)));
        let refused = |size: u64| Err(format!("size {size} was imported; dismiss it"));
        assert_eq!(adopts(head(9, "another nine")), refused(9));
        assert_eq!(adopts(head(10, "ten")), refused(10));
    }

    // Spec: WIT-86, GSP-186
    #[test]
    fn what_is_adopted_is_cosigned_before_no_time_of_ours_wherever_that_is_known_from() {
        // With the time of the evidence, of an imported head below it, and of what is remembered.
        let adopts = |evidence: u64, imported: u64, remembered: u64| {
            let bench = Bench::new();
            bench.remembers(head(5, "five"), remembered);
            let evidence = hold(HoldCause::Ours, bench.note(head(9, "nine"), Some(evidence)));
            let imported = [
                bench.note(head(4, "four"), Some(NOW - 200)),
                bench.note(head(8, "eight"), Some(imported)),
            ];
            let swap = bench.adopts(&evidence, &imported);
            swap.map(|swap| bench.adopted(Ok(swap)))
        };
        assert_eq!(adopts(NOW - 100, NOW - 50, NOW - 150), Ok(NOW));
        // A clock that is behind any of them signs nothing: the log stays held.
        let ahead = NOW + 3600;
        for (evidence, imported, remembered) in [
            (ahead, NOW - 50, NOW - 150),
            (NOW - 100, ahead, NOW - 150),
            (NOW - 100, NOW - 50, ahead),
        ] {
            let reason = adopts(evidence, imported, remembered).unwrap_err();
            assert!(reason.contains("clock"), "{reason}");
        }
    }

    // Spec: WIT-86
    #[test]
    fn evidence_that_is_not_ours_and_the_logs_and_the_newest_is_not_adopted() {
        let (five, nine) = (head(5, "five"), head(9, "nine"));
        let bench = Bench::new();
        bench.remembers(five, NOW - 100);
        let adopts = |hold: Hold| bench.adopts(&hold, &[]);
        let ours = |note: String| adopts(hold(HoldCause::Ours, note));
        let good = bench.note(nine, Some(NOW - 50));
        assert_eq!(bench.adopted(ours(good.clone())), NOW);

        let reason = why(adopts(hold(HoldCause::Peer, good.clone())));
        assert_eq!(
            reason,
            "only what this witness cosigned itself can be adopted"
        );
        let no_note = SignedCheckpoint::parse(b"no note").unwrap_err();
        assert_eq!(why(ours("no note".to_owned())), no_note.to_string());
        let elsewhere = good.replacen("example.com/log", "example.com/other", 1);
        let reason = why(ours(elsewhere));
        assert_eq!(reason, "it is a checkpoint of example.com/other");
        let unsigned = bench.with_lines(nine, Vec::new(), Some(NOW - 50));
        let reason = why(ours(unsigned));
        assert!(reason.starts_with("the log has not signed it"), "{reason}");
        let reason = why(ours(bench.note(nine, None)));
        assert!(reason.starts_with("we have not cosigned it"), "{reason}");
        let reason = why(ours(bench.note(head(4, "four"), Some(NOW - 50))));
        assert_eq!(reason, "we have cosigned size 5 since; dismiss it");
        // What is the latest already is written by nobody, and what is later of the same tree is.
        for (time, is_known) in [(NOW - 101, true), (NOW - 100, true), (NOW - 99, false)] {
            let swap = ours(bench.note(five, Some(time))).unwrap();
            assert_eq!(swap.is_none(), is_known, "{time}");
        }
    }
}
