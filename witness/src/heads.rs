//! The latest cosigned checkpoint of each origin: in memory where it was asked for, never ahead of
//! the disk.
//!
//! One process owns the database, so what it holds at the start and what was committed since is
//! all there is. Nothing is read at the start: the first request for an origin reads its row and
//! checks it, later ones find tree head and time here, in about 100 bytes. A witness of 100,000
//! logs starts as fast as one of ten. The notes (up to 5 kB each with ML-DSA-44 cosignatures) stay
//! in the database.
//!
//! Only the work of a commit changes what is here, in one thread at a time, after the store said
//! that the swap is durable and before anyone is told; so a head that can be read here is durable,
//! and per origin heads appear in commit order.
//!
//! A stored head is believed only as far as the note stored with it bears it out ([`HeadFault`]):
//! nobody can make us remember what we did not cosign by writing into the file. A line of ours has
//! to be there, by a key that we have or, as the operator says, had; and none but ours and the
//! log's. Putting the whole file back to what it was is another matter, which no witness sees by
//! itself.
//!
//! What is not believed is remembered as such, and nothing is signed or served for it until
//! [`Heads::recheck`] finds it sound again.
//!
//! Rows: `spec/witness.md` WIT-54, WIT-57, WIT-99, WIT-100.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use jurat_proto::checkpoint::{CheckpointError, Origin, SignaturesError, SignedCheckpoint};
use jurat_proto::hash::Hash;
use jurat_proto::key::{KeyName, UnixSeconds, VerifierKey};
use jurat_proto::tree::TreeHead;
use jurat_store::{CheckpointStore, Corruption, HeadSwap, OriginHead, StoreError};

use crate::log_list::LogList;

/// What this witness cosigned last for an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latest {
    /// The tree head.
    pub head: TreeHead,
    /// The time in the cosignatures.
    pub time: UnixSeconds,
}

/// The latest of each origin.
pub struct Heads {
    store: Arc<dyn CheckpointStore>,
    /// Those that we have, and those that we had.
    own_keys: Vec<VerifierKey>,
    logs: Arc<LogList>,
    /// By the SHA-256 of the origin; those that were asked for or changed since the start.
    latest: RwLock<HashMap<Hash, Latest>>,
    count: AtomicU64,
    /// What is wrong with stored heads, by origin; at most one for each log that is known.
    faults: RwLock<BTreeMap<Origin, Fault>>,
    /// How many those are, to be looked at without the lock: there are hardly ever any.
    faults_count: AtomicU64,
    /// Who is told of each head that is durable.
    told: OnceLock<Arc<dyn Told>>,
}

/// Who hears of commits, in their thread: it must not wait.
pub(crate) trait Told: Send + Sync {
    /// A commit begins, of heads of which the earliest was signed then; or has ended.
    fn committing(&self, earliest: Option<UnixSeconds>);

    /// A head is durable.
    fn durable(&self, swap: &HeadSwap);
}

#[derive(Clone)]
enum Fault {
    /// Nothing is signed or served.
    Damaged(HeadFault),
    /// The disk is asked again each time.
    Unreadable(String),
}

impl Heads {
    /// The heads of a store. `own_keys` are this witness's, the former ones too; `logs` has the
    /// logs'.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn open(
        store: Arc<dyn CheckpointStore>,
        own_keys: Vec<VerifierKey>,
        logs: Arc<LogList>,
    ) -> Result<Self, StoreError> {
        let count = AtomicU64::new(store.origin_count()?);
        Ok(Self {
            store,
            own_keys,
            logs,
            latest: RwLock::default(),
            count,
            faults: RwLock::default(),
            faults_count: AtomicU64::new(0),
            told: OnceLock::new(),
        })
    }

    /// Whether [`Self::latest`] reads no disk.
    pub fn is_known(&self, origin: &Origin) -> bool {
        let known = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        known.contains_key(&origin.hash())
    }

    /// The latest of an origin. The first time it reads the disk and verifies a few signatures.
    ///
    /// # Errors
    /// [`ReadError`]. It is then not known what was cosigned for this origin: nothing may be.
    pub fn latest(&self, origin: &Origin) -> Result<Option<Latest>, ReadError> {
        self.not_damaged(origin)?;
        match self.remembered(origin) {
            Some(latest) => Ok(Some(latest)),
            None => Ok(self.read(origin)?.map(|(latest, _)| latest)),
        }
    }

    fn remembered(&self, origin: &Origin) -> Option<Latest> {
        // A map that a panic left poisoned is whole: an insert is one step.
        let known = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&origin.hash()).copied()
    }

    /// The note of the latest of an origin, from the disk, checked as it is each time.
    ///
    /// # Errors
    /// As for [`Self::latest`].
    pub fn note(&self, origin: &Origin) -> Result<Option<Bytes>, ReadError> {
        self.not_damaged(origin)?;
        Ok(self.read(origin)?.map(|(_, note)| note))
    }

    fn read(&self, origin: &Origin) -> Result<Option<(Latest, Bytes)>, ReadError> {
        let read = self.read_checked(origin);
        if let Err(error) = &read {
            self.mark(origin, error);
        }
        let Some(stored) = read? else {
            return Ok(None);
        };
        let read = Latest {
            head: stored.head,
            time: stored.time,
        };
        let mut known = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        // What was committed since we read is newer than what we read.
        if let Entry::Vacant(vacant) = known.entry(origin.hash()) {
            vacant.insert(read);
        }
        Ok(Some((read, Bytes::from(stored.note))))
    }

    fn read_checked(&self, origin: &Origin) -> Result<Option<OriginHead>, ReadError> {
        let stored = match self.store.latest(origin) {
            Ok(Some(stored)) => stored,
            Ok(None) => return Ok(None),
            Err(StoreError::Corrupt(corruption)) => {
                let fault = HeadFault::Corrupt(Box::new(corruption));
                return Err(damaged(origin, fault));
            }
            Err(error) => return Err(error.into()),
        };
        let logs = self.logs.current();
        let log_keys = logs.keys_for(origin);
        // A log that is disabled has keys, too; those of one that no list names are not known.
        let every_key;
        let log_keys = match (&log_keys, logs.log(origin)) {
            // It may have been signed with a key that the log has done with since.
            (_, Some(log)) if !log.retired.is_empty() => {
                every_key = log.every_key();
                Some(&*every_key)
            }
            (Some(ready), _) => Some(&**ready),
            (None, Some(log)) => Some(&*log.keys),
            (None, None) => None,
        };
        match check(origin, &stored, &self.own_keys, log_keys) {
            Ok(()) => Ok(Some(stored)),
            Err(fault) => Err(damaged(origin, fault)),
        }
    }

    /// Reads what is stored for an origin again and verifies it. What is wrong is remembered
    /// ([`Self::faults`]), and what is right again forgotten.
    ///
    /// # Errors
    /// As for [`Self::latest`].
    // Spec: WIT-99
    pub fn recheck(&self, origin: &Origin) -> Result<(), ReadError> {
        // In this order: what is committed in between is on the disk before it is remembered.
        let remembered = self.remembered(origin);
        let checked = self.read_checked(origin).and_then(|stored| {
            let fault = compare(remembered, stored.as_ref());
            fault.map_err(|fault| damaged(origin, fault))
        });
        match &checked {
            Ok(()) => self.unmark(origin),
            Err(error) => self.mark(origin, error),
        }
        checked
    }

    /// How many origins are known not to be as they should, and what is wrong with the first.
    pub fn faults(&self, most: usize) -> (u64, Vec<ReadError>) {
        let faults = self.faults.read().unwrap_or_else(PoisonError::into_inner);
        let first = faults.iter().take(most);
        let told = first.map(|(origin, fault)| match fault {
            Fault::Damaged(fault) => damaged(origin, fault.clone()),
            Fault::Unreadable(reason) => ReadError::Unreadable {
                origin: origin.clone(),
                reason: reason.clone(),
            },
        });
        (self.faults_count.load(Ordering::Acquire), told.collect())
    }

    /// Up to `most` origins that were found not to be as they should, after `after`.
    pub(crate) fn faulty(&self, after: Option<&Origin>, most: usize) -> Vec<Origin> {
        let faults = self.faults.read().unwrap_or_else(PoisonError::into_inner);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let origins = faults.range((from, Bound::Unbounded));
        origins
            .map(|(origin, _)| origin.clone())
            .take(most)
            .collect()
    }

    // Spec: WIT-100
    fn not_damaged(&self, origin: &Origin) -> Result<(), ReadError> {
        if self.faults_count.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let faults = self.faults.read().unwrap_or_else(PoisonError::into_inner);
        match faults.get(origin) {
            Some(Fault::Damaged(fault)) => Err(damaged(origin, fault.clone())),
            Some(Fault::Unreadable(_)) | None => Ok(()),
        }
    }

    fn mark(&self, origin: &Origin, error: &ReadError) {
        let fault = match error {
            ReadError::Damaged { fault, .. } => Fault::Damaged(fault.clone()),
            ReadError::Store(error) => Fault::Unreadable(error.to_string()),
            ReadError::Unreadable { reason, .. } => Fault::Unreadable(reason.clone()),
        };
        let mut faults = self.faults.write().unwrap_or_else(PoisonError::into_inner);
        if faults.insert(origin.clone(), fault).is_none() {
            let before = self.faults_count.fetch_add(1, Ordering::AcqRel);
            drop(faults);
            // A disk that is gone is one fault, not one for each log.
            if before < FAULTS_LOGGED_MAX {
                tracing::error!(%origin, %error, "a stored head is not as it should be");
            }
        }
    }

    /// Takes note of what the store found while it swapped a head that is remembered here.
    // Spec: WIT-100
    pub(crate) fn found_damaged(&self, origin: &Origin, corruption: Box<Corruption>) -> ReadError {
        let error = damaged(origin, HeadFault::Corrupt(corruption));
        self.mark(origin, &error);
        error
    }

    fn unmark(&self, origin: &Origin) {
        if self.faults_count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut faults = self.faults.write().unwrap_or_else(PoisonError::into_inner);
        if faults.remove(origin).is_some() {
            self.faults_count.fetch_sub(1, Ordering::AcqRel);
            drop(faults);
            tracing::warn!(%origin, "the stored head is sound again");
        }
    }

    /// How many origins were ever cosigned.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Tells somebody of each head from now on, as soon as it is durable. Once.
    pub(crate) fn tell(&self, told: Arc<dyn Told>) {
        drop(self.told.set(told));
    }

    /// Who hears of commits, if anybody does.
    pub(crate) fn told(&self) -> Option<&Arc<dyn Told>> {
        self.told.get()
    }

    /// Takes over swaps that are durable.
    pub(crate) fn committed<'a>(&self, swaps: impl Iterator<Item = &'a HeadSwap>) {
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        for swap in swaps {
            let new = Latest {
                head: swap.new.head,
                time: swap.new.time,
            };
            latest.insert(swap.origin.hash(), new);
            if let Some(told) = self.told.get() {
                told.durable(swap);
            }
            if swap.expected.is_none() {
                self.count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl fmt::Debug for Heads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heads")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// Whether the note of a stored head says what the head says.
// Spec: WIT-57
fn check(
    origin: &Origin,
    stored: &OriginHead,
    own_keys: &[VerifierKey],
    log_keys: Option<&[VerifierKey]>,
) -> Result<(), HeadFault> {
    let note = SignedCheckpoint::parse(&stored.note).map_err(HeadFault::NotACheckpoint)?;
    if note.origin() != origin {
        let note = note.origin().clone();
        return Err(HeadFault::OtherOrigin { note });
    }
    if note.head() != stored.head {
        return Err(HeadFault::OtherHead {
            stored: stored.head,
            note: note.head(),
        });
    }
    let own = note
        .verify_signatures(own_keys)
        .map_err(|error| match error {
            SignaturesError::NoKnownSignature => HeadFault::NotCosigned,
            error => HeadFault::NotOurs(error),
        })?;
    let other = own.iter().find(|line| line.timestamp != Some(stored.time));
    if let Some(line) = other {
        return Err(HeadFault::OtherTime {
            stored: stored.time,
            signed: line.timestamp,
        });
    }
    // Spec: WIT-75. The log's lines were verified before they were stored.
    let Some(log_keys) = log_keys else {
        return Ok(());
    };
    // Spec: WIT-56
    let log = match note.verify_signatures(log_keys) {
        Ok(log) => log,
        Err(SignaturesError::NoKnownSignature) => Vec::new(),
        Err(error) => return Err(HeadFault::NotTheLogs(error)),
    };
    let is_known = |index| own.iter().chain(&log).any(|line| line.line_index == index);
    let mut lines = note.signatures().iter().enumerate();
    match lines.find(|&(index, _)| !is_known(index)) {
        Some((_, line)) => Err(HeadFault::UnknownLine {
            name: line.name().clone(),
        }),
        None => Ok(()),
    }
}

/// With so many that are bad, more of them are no news.
const FAULTS_LOGGED_MAX: u64 = 100;

fn damaged(origin: &Origin, fault: HeadFault) -> ReadError {
    let origin = origin.clone();
    ReadError::Damaged { origin, fault }
}

/// Whether the disk still has what was seen on it before.
fn compare(remembered: Option<Latest>, stored: Option<&OriginHead>) -> Result<(), HeadFault> {
    let Some(remembered) = remembered else {
        return Ok(());
    };
    match stored {
        Some(stored)
            if stored.head.size > remembered.head.size
                || (stored.head == remembered.head && stored.time >= remembered.time) =>
        {
            Ok(())
        }
        _ => Err(HeadFault::NotWhatItWas {
            remembered: remembered.head,
            stored: stored.map(|stored| stored.head),
        }),
    }
}

/// Why it is not known what was cosigned last for an origin. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The backend's failure.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The backend failed for this origin before.
    #[error("the stored head of {origin} cannot be read: {reason}")]
    Unreadable {
        /// The log.
        origin: Origin,
        /// The failure.
        reason: String,
    },
    /// A head contradicts the note that is stored with it. The disk is at fault, or whoever wrote
    /// to the file.
    #[error("the stored head of {origin} is not what this witness cosigned: {fault}")]
    Damaged {
        /// The log.
        origin: Origin,
        /// What gave it away.
        fault: HeadFault,
    },
}

/// How a stored head contradicts the note that is stored with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadFault {
    /// The store found it damaged.
    #[error("{0}")]
    Corrupt(Box<Corruption>),
    /// The note is no checkpoint.
    #[error("its note is no checkpoint: {0}")]
    NotACheckpoint(CheckpointError),
    /// The note is of another log.
    #[error("its note is of {note}")]
    OtherOrigin {
        /// The origin in the note.
        note: Origin,
    },
    /// The note has another tree head.
    #[error(
        "it is of size {} and root {}, its note of size {} and root {}",
        .stored.size.get(),
        .stored.root_hash,
        .note.size.get(),
        .note.root_hash
    )]
    OtherHead {
        /// The stored tree head.
        stored: TreeHead,
        /// The tree head in the note.
        note: TreeHead,
    },
    /// A line in the note names one of our keys and is not its cosignature.
    #[error("its note: {0}")]
    NotOurs(SignaturesError),
    /// No line in the note is ours. Keys that were replaced may not have been named to us.
    #[error("none of the lines in its note is by a key of ours, present or former")]
    NotCosigned,
    /// A line in the note is by nobody whom we know: neither ours nor the log's.
    #[error("its note has a line by {name}, which is neither a key of ours nor one of the log's")]
    UnknownLine {
        /// Whose it says it is.
        name: KeyName,
    },
    /// A line in the note names one of the log's keys and is not its signature.
    #[error("its note, as to the log's keys: {0}")]
    NotTheLogs(SignaturesError),
    /// What was durable is not there any more.
    #[error(
        "it was of size {} and root {}, and {}",
        .remembered.size.get(),
        .remembered.root_hash,
        .stored.map_or_else(
            || "is gone".to_owned(),
            |stored| format!("is of size {} and root {}", stored.size.get(), stored.root_hash)
        )
    )]
    NotWhatItWas {
        /// What was read or committed before.
        remembered: TreeHead,
        /// What is stored.
        stored: Option<TreeHead>,
    },
    /// Our cosignature has another time.
    #[error(
        "its time is {stored}, that of our cosignature {}",
        .signed.map_or(0, UnixSeconds::get)
    )]
    OtherTime {
        /// The stored time.
        stored: UnixSeconds,
        /// The time in the cosignature, if it says one.
        signed: Option<UnixSeconds>,
    },
}
