//! Heads that were imported and are not reached yet: nothing is signed below them.
//!
//! ```text
//! import ─► hold, cause `imported`, in the list of logs
//!             ├─ a checkpoint that continues it, and all others that were imported, and what we
//!             │  cosigned last ─► cosigned; released
//!             └─ anything else ─► 409 with the size from which a proof is missing, or 422
//! ```
//!
//! A file has no proofs. So of two imported heads neither takes the place of the other, however
//! large it is: a larger one may be of another history, whose log would be glad to have the smaller
//! one forgotten. They stand together until one checkpoint continues them all (GSP-211).
//!
//! So no operator has to decide on each of a hundred thousand logs that a witness took over: the
//! log itself proves that it is the one that was imported, with requests as it makes them anyway.
//! Worse evidence of the restore guard goes above such a hold, which stays below it (GSP-188).
//!
//! In scope: what is remembered between requests, and the release. Out of scope: the decision
//! ([`jurat_proto::add_checkpoint::above`]), and the file ([`crate::import_command`]).
//!
//! Rows: `spec/gossip.md` GSP-184 to GSP-188, GSP-210 to GSP-212, GSP-215.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jurat_proto::add_checkpoint::above::{Joined, Proven};
use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::hash::{Hash, sha256};
use jurat_proto::key::{UnixSeconds, VerifierKey};
use jurat_proto::tree::{TreeHead, TreeSize};
use jurat_store::registry::{Change, Hold, HoldCause, RegistryError};

use super::{Guard, lock};
use crate::cosign::Witness;
use crate::heads::Latest;

/// An imported head as the list has it. Its signatures were verified before it came there, and are
/// not verified here.
pub(crate) struct Imported<'a> {
    note: SignedCheckpoint,
    evidence: &'a str,
}

impl<'a> Imported<'a> {
    /// What a log is held for; nothing when that is no imported checkpoint of it.
    pub(crate) fn of(origin: &Origin, hold: &'a Hold) -> Option<Self> {
        if hold.cause != HoldCause::Imported {
            return None;
        }
        let note = SignedCheckpoint::parse(hold.evidence.as_bytes()).ok()?;
        let counts = note.origin() == origin && note.head().size != TreeSize::ZERO;
        counts.then_some(Self {
            note,
            evidence: &hold.evidence,
        })
    }

    /// The tree.
    pub(crate) fn head(&self) -> TreeHead {
        self.note.head()
    }

    /// As its log signed it.
    pub(crate) fn into_note(self) -> SignedCheckpoint {
        self.note
    }

    /// When we cosigned it, if we did.
    pub(crate) fn cosigned(&self, own: &[VerifierKey]) -> Option<UnixSeconds> {
        let ours = self.note.verify_signatures(own).unwrap_or_default();
        ours.iter().filter_map(|line| line.timestamp).max()
    }
}

/// A head that must not be signed below, with what our own cosignatures in it say. Only
/// [`Joins::floor`] makes one, and verifies them when it first sees the text.
#[derive(Debug, Clone)]
pub(crate) struct Floor {
    /// The tree.
    pub(crate) head: TreeHead,
    /// When we cosigned it, if we did.
    pub(crate) time: Option<UnixSeconds>,
    /// As its log signed it.
    pub(crate) note: SignedCheckpoint,
    /// The text of it in the list.
    evidence: String,
}

/// All heads of one log that must not be signed below, at least one.
#[derive(Debug, Clone)]
pub(crate) struct Floors(Vec<Floor>);

impl Floors {
    /// Nothing, when there are none.
    pub(crate) fn of(floors: Vec<Floor>) -> Option<Self> {
        (!floors.is_empty()).then_some(Self(floors))
    }

    /// The trees.
    pub(crate) fn heads(&self) -> Vec<TreeHead> {
        self.0.iter().map(|floor| floor.head).collect()
    }

    /// The size of the largest.
    pub(crate) fn largest(&self) -> TreeSize {
        let sizes = self.0.iter().map(|floor| floor.head.size);
        sizes.max().unwrap_or(TreeSize::ZERO)
    }

    /// As their log signed them.
    pub(crate) fn into_notes(self) -> impl Iterator<Item = SignedCheckpoint> {
        self.0.into_iter().map(|floor| floor.note)
    }

    /// What we know of the log besides what we cosigned last: the larger of that and what was
    /// imported, and then the other imported heads.
    pub(super) fn known(&self, latest: Option<Latest>) -> Vec<Latest> {
        let time = self.not_before(latest);
        let time = time.map_or(UnixSeconds::ZERO, |latest| latest.time);
        let heads = self.0.iter().map(|floor| floor.head);
        let mut known: Vec<Latest> = heads.map(|head| Latest { head, time }).collect();
        known.extend(latest);
        // What we cosigned first, where an imported head is no larger.
        known.reverse();
        known.sort_by_key(|known| std::cmp::Reverse(known.head.size));
        known
    }

    /// Those that we cosigned, and when.
    pub(super) fn cosigned(&self) -> Vec<Latest> {
        let ours = self.0.iter().filter_map(|floor| {
            let (head, time) = (floor.head, floor.time?);
            Some(Latest { head, time })
        });
        ours.collect()
    }

    /// The time before which nothing may be signed.
    pub(crate) fn not_before(&self, latest: Option<Latest>) -> Option<Latest> {
        let ours = self.cosigned().into_iter();
        // The last of equals: what we cosigned last, which is a head that is stored.
        ours.chain(latest).max_by_key(|known| known.time)
    }
}

/// What requests proved of imported heads. Lost with the process: a log proves it again.
#[derive(Debug, Default)]
pub(crate) struct Joins {
    /// At most one for each log that is known.
    proven: Mutex<HashMap<Origin, Proven>>,
    /// Those that are reached durably, with what they were held for, until the list says so.
    reached: Mutex<HashMap<Origin, Vec<String>>>,
    /// By SHA-256 of the text of an imported head: when we cosigned it, if we did. Requests that
    /// nobody signed ask for it, so it is verified once; and a hundred thousand logs may be held,
    /// so no more is kept of each than that.
    cosigned: Mutex<HashMap<Hash, Option<UnixSeconds>>>,
}

impl Joins {
    /// What a log is held for, where that is an imported head; `own` are all keys that we have and
    /// had, and always the same ones.
    // Spec: GSP-210
    pub(crate) fn floor(&self, origin: &Origin, hold: &Hold, own: &[VerifierKey]) -> Option<Floor> {
        let imported = Imported::of(origin, hold)?;
        let text = sha256(imported.evidence.as_bytes());
        let known = lock(&self.cosigned).get(&text).copied();
        let time = known.unwrap_or_else(|| {
            // Not under the lock: two that verify it at once find the same.
            let time = imported.cosigned(own);
            let mut cosigned = lock(&self.cosigned);
            if cosigned.len() >= COSIGNED_MAX {
                cosigned.clear();
            }
            cosigned.insert(text, time);
            time
        });
        Some(Floor {
            head: imported.head(),
            time,
            note: imported.note,
            evidence: imported.evidence.to_owned(),
        })
    }

    /// What earlier requests proved.
    pub(crate) fn proven(&self, origin: &Origin) -> Proven {
        lock(&self.proven).get(origin).cloned().unwrap_or_default()
    }

    /// A request proved this, beside what else counts.
    pub(crate) fn join(
        &self,
        origin: &Origin,
        latest: Option<&TreeHead>,
        floors: &[TreeHead],
        joined: Joined,
    ) {
        let mut all = lock(&self.proven);
        let proven = all.entry(origin.clone()).or_default();
        proven.add(latest, floors, joined);
    }

    /// A checkpoint is durable that continues what was imported.
    pub(crate) fn reach(&self, origin: &Origin, floors: &Floors) {
        lock(&self.proven).remove(origin);
        let texts = floors.0.iter().map(|floor| floor.evidence.clone());
        lock(&self.reached)
            .entry(origin.clone())
            .or_default()
            .extend(texts);
        let mut cosigned = lock(&self.cosigned);
        for floor in &floors.0 {
            cosigned.remove(&sha256(floor.evidence.as_bytes()));
        }
    }

    /// Whether that was so, and the list does not say it yet.
    pub(crate) fn is_reached(&self, origin: &Origin, hold: &Hold) -> bool {
        let reached = lock(&self.reached);
        reached
            .get(origin)
            .is_some_and(|texts| texts.contains(&hold.evidence))
    }
}

/// How long no log is released after a release that took so long. The list is written and read
/// whole for each, which takes seconds of processor time with a hundred thousand logs; and these
/// come one after the other, for hours. What is reached is free meanwhile.
// Spec: GSP-215
pub(super) fn rest_after(took: Duration) -> Duration {
    took.saturating_mul(REST_FACTOR).min(REST_MAX)
}

/// Of the time, one part for releases and so many for other work.
const REST_FACTOR: u32 = 20;
const REST_MAX: Duration = Duration::from_secs(300);

/// Releases the logs that reached what was imported, all in one change of the list; whether there
/// were any. What cannot be written is tried again.
// Spec: GSP-187
pub(super) async fn release(guard: &Arc<Guard>, witness: &Arc<Witness>) -> bool {
    let reached = lock(&witness.joins().reached).clone();
    if reached.is_empty() {
        return false;
    }
    let all = reached.clone();
    let released = guard.edit(witness, move |registry| {
        let mut change = Change::Nothing;
        for (origin, texts) in &all {
            match registry.reach(origin, texts) {
                Ok(Change::Nothing) | Err(RegistryError::UnknownLog { .. }) => {}
                Ok(_) => change = Change::Changed,
                Err(error) => return Err(error),
            }
        }
        Ok((change, ()))
    });
    match released.await {
        // What was reached meanwhile is released with the next ones; and what is written may not
        // have been taken over yet.
        Ok(()) => {
            let current = witness.logs().current();
            let stands = |origin: &Origin, texts: &[String]| {
                let log = current.held_log(origin);
                log.is_some_and(|log| log.imported().any(|hold| texts.contains(&hold.evidence)))
            };
            lock(&witness.joins().reached).retain(|origin, texts| {
                reached.get(origin) != Some(texts) || stands(origin, texts)
            });
        }
        Err(error) => {
            tracing::error!(%error, "logs that reached what was imported are not released yet");
        }
    }
    true
}

/// More than a list of logs has room for imported heads: what is kept is then of heads that the
/// list has no more, and each that it has is verified once again.
const COSIGNED_MAX: usize = 1 << 19;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use jurat_keys::{Algorithm, SigningKey, fast_verifier};
    use jurat_proto::checkpoint::{Checkpoint, ExtensionLines};
    use jurat_proto::cosignature;
    use jurat_proto::key::{KeyName, Primitive, Signer as _};
    use jurat_proto::note::SignatureLine;

    use super::*;

    fn key(name: &str, algorithm: Algorithm) -> SigningKey {
        SigningKey::generate(KeyName::parse(name).unwrap(), algorithm).unwrap()
    }

    fn at(seconds: u64) -> UnixSeconds {
        UnixSeconds::new(seconds).unwrap()
    }

    /// As a log signs it, with our cosignature of this time.
    fn hold(log: &SigningKey, own: &SigningKey, size: u64, time: u64) -> Hold {
        let checkpoint = Checkpoint {
            origin: origin(),
            head: TreeHead {
                size: TreeSize::new(size).unwrap(),
                root_hash: sha256(b"a tree"),
            },
            extensions: ExtensionLines::new(),
        };
        let lines: Vec<SignatureLine> = vec![
            cosignature::sign_note(&checkpoint.to_text(), log).unwrap(),
            cosignature::cosign(&checkpoint, at(time), own).unwrap(),
        ];
        let note = SignedCheckpoint::new(checkpoint, lines).unwrap();
        Hold {
            cause: HoldCause::Imported,
            since: 1,
            source: "a file".to_owned(),
            why: "it is larger".to_owned(),
            adopt: false,
            reason: None,
            evidence: String::from_utf8(note.to_bytes()).unwrap(),
            below: None,
        }
    }

    fn origin() -> Origin {
        Origin::parse("example.com/log").unwrap()
    }

    struct Counting(VerifierKey, Arc<AtomicUsize>);

    impl Primitive for Counting {
        fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
            self.1.fetch_add(1, Ordering::Relaxed);
            let fast = fast_verifier(&self.0).unwrap();
            // The signature has been taken apart already: what is left is the bare check.
            fast.verify_message(message, signature).is_ok()
        }
    }

    // Spec: GSP-210
    #[test]
    fn our_cosignature_under_an_imported_head_is_verified_once_and_not_for_each_request() {
        let log = key("example.com/log", Algorithm::Ed25519);
        let own = key("witness.example/w", Algorithm::CosignatureV1);
        let count = Arc::new(AtomicUsize::new(0));
        let keys = [own.verifier_key().with_primitive(Box::new(Counting(
            own.verifier_key().clone(),
            Arc::clone(&count),
        )))];
        let joins = Joins::default();
        let nine = hold(&log, &own, 9, 1_790_000_000);
        for _ in 0..100 {
            let floor = joins.floor(&origin(), &nine, &keys).unwrap();
            assert_eq!(floor.time, Some(at(1_790_000_000)));
            assert_eq!(count.load(Ordering::Relaxed), 1);
        }
        // Another text is another head, whatever its tree.
        let later = hold(&log, &own, 9, 1_790_000_001);
        let floor = joins.floor(&origin(), &later, &keys).unwrap();
        assert_eq!(floor.time, Some(at(1_790_000_001)));
        assert_eq!(count.load(Ordering::Relaxed), 2);
        // One whose line is not ours is no less a floor.
        let other = key("witness.example/w", Algorithm::CosignatureV1);
        let foreign = hold(&log, &other, 12, 1_790_000_002);
        assert_eq!(joins.floor(&origin(), &foreign, &keys).unwrap().time, None);
        // What is reached is forgotten.
        joins.reach(&origin(), &Floors::of(vec![floor]).unwrap());
        assert!(joins.is_reached(&origin(), &later));
        assert_eq!(lock(&joins.cosigned).len(), 2);
    }

    // Spec: GSP-186, GSP-211
    #[test]
    fn what_is_known_of_a_log_begins_with_the_largest_and_no_time_is_before_any_of_ours() {
        let log = key("example.com/log", Algorithm::Ed25519);
        let own = key("witness.example/w", Algorithm::CosignatureV1);
        let other = key("other.example/w", Algorithm::CosignatureV1);
        let (joins, keys) = (Joins::default(), [own.verifier_key().clone()]);
        let floor = |by: &SigningKey, size, time| {
            let hold = hold(&log, by, size, time);
            joins.floor(&origin(), &hold, &keys).unwrap()
        };
        // Of the larger one the time is not ours.
        let floors = vec![
            floor(&other, 12, 1_790_000_300),
            floor(&own, 9, 1_790_000_200),
        ];
        let floors = Floors::of(floors).unwrap();
        let latest = |size, time| Latest {
            head: TreeHead {
                size: TreeSize::new(size).unwrap(),
                root_hash: sha256(b"a tree"),
            },
            time: at(time),
        };
        for (time, not_before) in [
            (1_790_000_100, 1_790_000_200),
            (1_790_000_250, 1_790_000_250),
        ] {
            let latest = Some(latest(5, time));
            assert_eq!(floors.not_before(latest).unwrap().time, at(not_before));
            let known = floors.known(latest);
            let sizes: Vec<u64> = known.iter().map(|known| known.head.size.get()).collect();
            assert_eq!(sizes, [12, 9, 5]);
            assert_eq!(known[0].time, at(not_before));
        }
        // What was cosigned is known with its own time, where it is no smaller.
        let latest = latest(12, 1_790_000_100);
        assert_eq!(floors.known(Some(latest))[0], latest);
        assert_eq!(floors.not_before(None).unwrap().time, at(1_790_000_200));
    }

    // Spec: GSP-215
    #[test]
    fn releases_take_a_small_part_of_the_time_and_are_not_put_off_for_long() {
        let rest = |took_ms| rest_after(Duration::from_millis(took_ms));
        assert_eq!(rest(10), Duration::from_millis(200));
        assert_eq!(rest(4_000), Duration::from_secs(80));
        assert_eq!(rest(60_000), Duration::from_secs(300));
        assert_eq!(rest_after(Duration::MAX), Duration::from_secs(300));
    }

    // Spec: GSP-210
    #[test]
    fn what_is_kept_of_imported_heads_has_a_bound() {
        let log = key("example.com/log", Algorithm::Ed25519);
        let own = key("witness.example/w", Algorithm::CosignatureV1);
        let joins = Joins::default();
        let others = (0..COSIGNED_MAX).map(|n| {
            let mut bytes = [0; Hash::LEN];
            bytes[..8].copy_from_slice(&u64::try_from(n).unwrap().to_be_bytes());
            (Hash::new(bytes), None)
        });
        lock(&joins.cosigned).extend(others);
        let nine = hold(&log, &own, 9, 1_790_000_000);
        let keys = [own.verifier_key().clone()];
        let floor = joins.floor(&origin(), &nine, &keys).unwrap();
        assert_eq!(floor.time, Some(at(1_790_000_000)));
        assert_eq!(lock(&joins.cosigned).len(), 1);
    }
}
