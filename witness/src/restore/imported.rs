//! Heads that were imported and are not reached yet: nothing is signed below them.
//!
//! ```text
//! import ─► hold, cause `imported`, in the list of logs
//!             ├─ a checkpoint that continues it and what we cosigned last ─► cosigned; released
//!             └─ anything else ─► 409 with the size from which a proof is missing, or 422
//! ```
//!
//! So no operator has to decide on each of a hundred thousand logs that a witness took over: the
//! log itself proves that it is the one that was imported, with requests as it makes them anyway.
//! Worse evidence of the restore guard goes above such a hold, which stays below it (GSP-188).
//!
//! In scope: what is remembered between requests, and the release. Out of scope: the decision
//! ([`jurat_proto::add_checkpoint::above`]), and the file ([`crate::import_command`]).
//!
//! Rows: `spec/gossip.md` GSP-184 to GSP-188, GSP-210.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jurat_proto::add_checkpoint::above::Joined;
use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::hash::{Hash, sha256};
use jurat_proto::key::{UnixSeconds, VerifierKey};
use jurat_proto::tree::{TreeHead, TreeSize};
use jurat_store::registry::{Change, Hold, HoldCause, RegistryError, Resolution};

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

impl Floor {
    /// What we know of the log besides what we cosigned last, where that is less.
    pub(super) fn or(&self, latest: Option<Latest>) -> Option<Latest> {
        let known = latest.filter(|latest| latest.head.size >= self.head.size);
        known.or_else(|| {
            Some(Latest {
                head: self.head,
                time: self
                    .not_before(latest)
                    .map_or(UnixSeconds::ZERO, |latest| latest.time),
            })
        })
    }

    /// The time before which nothing may be signed.
    pub(crate) fn not_before(&self, latest: Option<Latest>) -> Option<Latest> {
        let ours = self.time.map(|time| Latest {
            head: self.head,
            time,
        });
        match (latest, ours) {
            (Some(latest), Some(ours)) if ours.time > latest.time => Some(ours),
            (Some(latest), _) => Some(latest),
            (None, ours) => ours,
        }
    }
}

/// What requests proved of imported heads. Lost with the process: a log proves it again.
#[derive(Debug, Default)]
pub(crate) struct Joins {
    /// At most one for each log that is known.
    joined: Mutex<HashMap<Origin, Joined>>,
    /// Those that are reached durably, with what they were held for, until the list says so.
    reached: Mutex<HashMap<Origin, String>>,
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
        let Imported { note, evidence } = Imported::of(origin, hold)?;
        let text = sha256(evidence.as_bytes());
        let known = lock(&self.cosigned).get(&text).copied();
        let time = known.unwrap_or_else(|| {
            // Not under the lock: two that verify it at once find the same.
            let ours = note.verify_signatures(own).unwrap_or_default();
            let time = ours.iter().filter_map(|line| line.timestamp).max();
            let mut cosigned = lock(&self.cosigned);
            if cosigned.len() >= COSIGNED_MAX {
                cosigned.clear();
            }
            cosigned.insert(text, time);
            time
        });
        Some(Floor {
            head: note.head(),
            time,
            note,
            evidence: evidence.to_owned(),
        })
    }

    /// What an earlier request proved.
    pub(crate) fn joined(&self, origin: &Origin) -> Option<Joined> {
        lock(&self.joined).get(origin).copied()
    }

    /// A request proved this.
    pub(crate) fn join(&self, origin: &Origin, joined: Joined) {
        lock(&self.joined).insert(origin.clone(), joined);
    }

    /// A checkpoint is durable that continues what was imported.
    pub(crate) fn reach(&self, origin: &Origin, floor: &Floor) {
        lock(&self.joined).remove(origin);
        lock(&self.cosigned).remove(&sha256(floor.evidence.as_bytes()));
        lock(&self.reached).insert(origin.clone(), floor.evidence.clone());
    }

    /// Whether that was so, and the list does not say it yet.
    pub(crate) fn is_reached(&self, origin: &Origin, hold: &Hold) -> bool {
        let reached = lock(&self.reached);
        reached.get(origin) == Some(&hold.evidence)
    }
}

/// Releases the logs that reached what was imported, all in one change of the list. What cannot be
/// written is tried again.
// Spec: GSP-187
pub(super) async fn release(guard: &Arc<Guard>, witness: &Arc<Witness>) {
    let reached = lock(&witness.joins().reached).clone();
    if reached.is_empty() {
        return;
    }
    let all = reached.clone();
    let released = guard.edit(witness, move |registry| {
        let mut change = Change::Nothing;
        for (origin, evidence) in &all {
            match registry.resolve(origin, evidence, Resolution::Release) {
                Ok(_) => change = Change::Changed,
                // Its operator was faster.
                Err(RegistryError::NotHeld { .. } | RegistryError::UnknownLog { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((change, ()))
    });
    match released.await {
        Ok(()) => lock(&witness.joins().reached)
            .retain(|origin, evidence| reached.get(origin) != Some(evidence)),
        Err(error) => {
            tracing::error!(%error, "logs that reached what was imported are not released yet");
        }
    }
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
        joins.reach(&origin(), &floor);
        assert!(joins.is_reached(&origin(), &later));
        assert_eq!(lock(&joins.cosigned).len(), 2);
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
