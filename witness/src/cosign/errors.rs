//! Why a witness did not start, did not cosign, or did not show a checkpoint.

use std::io;

use jurat_daemon::clock::{NoTime, UnixTime};
use jurat_keys::FastKeyError;
use jurat_proto::add_checkpoint::{self, Refusal};
use jurat_proto::cosignature::SignError;
use jurat_proto::cosignature_lines::CosignatureLinesError;
use jurat_proto::key::UnixSeconds;
use jurat_proto::note::NoteError;
use jurat_proto::sign_subtree;
use jurat_proto::tree::{TreeHead, TreeSize};
use jurat_store::{StoreError, SwapRefusal};

use super::{NotRun, Payer, READS_MAX};
use crate::evidence::Convicted;
use crate::heads::ReadError;
use crate::metrics::Outcome;
use crate::quota::{Crowded, NotAdmitted, OverQuota};
use crate::restore::Held;

/// Why a witness did not start. The operator or the machine is at fault; nothing runs.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no key to sign with.
    #[error("a witness needs a key")]
    NoKeys,
    /// The state cannot be read.
    #[error("cannot read the state: {0}")]
    State(StoreError),
    /// A key that signs cannot be verified: a defect of this program.
    #[error("{0}")]
    Key(FastKeyError),
    /// The system gave no thread.
    #[error("cannot start the commit thread: {0}")]
    Thread(io::Error),
}

/// Why a checkpoint was not cosigned. Nothing changed, unless said otherwise.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The body is no request. The client is at fault.
    #[error("{0}")]
    Malformed(add_checkpoint::ParseError),
    /// The checkpoint may not be cosigned. The client or its log is at fault.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// With our cosignatures the note would be larger than notes may be. The log is at fault: its
    /// extension lines fill the note.
    #[error("the checkpoint leaves no room for cosignatures: {0}")]
    Note(NoteError),
    /// Nothing can be signed at this time. The machine's clock is at fault.
    #[error("{0}")]
    Clock(#[from] ClockFault),
    /// Too much waits for a thread or for the disk. Nobody is at fault.
    #[error("{capacity} checkpoints wait to be signed or to become durable already")]
    Busy {
        /// The bound of each queue.
        capacity: usize,
    },
    /// The log, or the client, made more requests than it may.
    #[error("{0}")]
    OverQuota(OverQuota),
    /// The log is held. Its operator or ours has to act.
    #[error("{0}")]
    Held(Held),
    /// The log, or a key of ours, is convicted by evidence. It stays so.
    #[error("{0}")]
    Convicted(Convicted),
    /// Others were faster again and again. Nobody is at fault.
    #[error("other requests for this log were faster: {0}")]
    Contended(SwapRefusal),
    /// The disk did not take it. The machine is at fault.
    #[error("the checkpoint could not be stored")]
    NotWritten,
    /// What was cosigned last for the log is not known. The machine is at fault, or whoever wrote
    /// to the database.
    #[error("{0}")]
    State(#[from] ReadError),
    /// The process is ending. Whether the checkpoint is durable is not known.
    #[error("the witness is stopping")]
    Stopped,
    /// A key did not sign. The operator is at fault.
    #[error("{0}")]
    Sign(SignError),
    /// More keys than an answer may have lines. The operator is at fault.
    #[error("{0}")]
    Lines(CosignatureLinesError),
    /// A bug of ours.
    #[error("the request made the witness panic")]
    Panicked,
}

impl AddError {
    /// The size to answer with, for a conflict.
    pub fn conflict(&self) -> Option<TreeSize> {
        match self {
            Self::Refused(Refusal::Conflict { current, .. }) => Some(*current),
            _ => None,
        }
    }

    /// Who pays for a request that was admitted.
    pub(super) fn payer(&self) -> Payer {
        match self {
            Self::Refused(refusal) => match refusal {
                Refusal::NoTrustedSignature { .. }
                | Refusal::BadSignature(_)
                | Refusal::ExtensionsNotSigned { .. } => Payer::NotSigned,
                Refusal::OldSizeAboveCheckpoint { .. }
                | Refusal::Conflict { .. }
                | Refusal::WrongEmptyRoot { .. }
                | Refusal::ProofNotEmpty { .. }
                | Refusal::Inconsistent { .. }
                | Refusal::RootMismatch { .. } => Payer::Refused,
                Refusal::UnknownOrigin { .. } => Payer::Nobody,
            },
            Self::Note(_) | Self::Held(_) | Self::Convicted(_) => Payer::Refused,
            Self::Malformed(_)
            | Self::Clock(_)
            | Self::Busy { .. }
            | Self::OverQuota(_)
            | Self::Contended(_)
            | Self::NotWritten
            | Self::State(_)
            | Self::Stopped
            | Self::Sign(_)
            | Self::Lines(_)
            | Self::Panicked => Payer::Nobody,
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::OverQuota(_) => Outcome::OverQuota,
            Self::Held(_) => Outcome::Held,
            Self::Convicted(_) => Outcome::Convicted,
            Self::Malformed(_) | Self::Note(_) => Outcome::Malformed,
            Self::Refused(refusal) => match refusal {
                Refusal::UnknownOrigin { .. } => Outcome::UnknownLog,
                Refusal::NoTrustedSignature { .. }
                | Refusal::BadSignature(_)
                | Refusal::ExtensionsNotSigned { .. } => Outcome::Unsigned,
                Refusal::OldSizeAboveCheckpoint { .. } => Outcome::Malformed,
                Refusal::Conflict { .. } => Outcome::Conflict,
                Refusal::WrongEmptyRoot { .. }
                | Refusal::ProofNotEmpty { .. }
                | Refusal::Inconsistent { .. } => Outcome::Inconsistent,
                Refusal::RootMismatch { .. } => Outcome::Fork,
            },
            Self::Clock(_) => Outcome::Clock,
            Self::Busy { .. } | Self::Contended(_) => Outcome::Busy,
            Self::State(ReadError::Damaged { .. }) => Outcome::Damaged,
            Self::NotWritten
            | Self::State(ReadError::Store(_) | ReadError::Unreadable { .. })
            | Self::Stopped
            | Self::Sign(_)
            | Self::Lines(_)
            | Self::Panicked => Outcome::Failed,
        }
    }
}

impl From<NotAdmitted> for AddError {
    fn from(refused: NotAdmitted) -> Self {
        match refused {
            NotAdmitted::OverQuota(quota) => Self::OverQuota(quota),
            NotAdmitted::Crowded(Crowded { in_flight_max }) => Self::Busy {
                capacity: in_flight_max,
            },
        }
    }
}

impl From<NotRun> for AddError {
    fn from(error: NotRun) -> Self {
        match error {
            NotRun::Busy { capacity } => Self::Busy { capacity },
            NotRun::Panicked => Self::Panicked,
        }
    }
}

impl From<NotRun> for SubtreeError {
    fn from(error: NotRun) -> Self {
        match error {
            NotRun::Busy { capacity } => Self::Busy { capacity },
            NotRun::Panicked => Self::Panicked,
        }
    }
}

/// Why a checkpoint that may exist was not read. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Too many are being read. Nobody is at fault.
    #[error("{READS_MAX} checkpoints are being read already")]
    Busy,
    /// The witness has just started. Nobody is at fault.
    #[error("this witness is still looking through its state for logs that are in no list")]
    NotYet,
    /// It cannot be read, or is not what we cosigned. The machine is at fault.
    #[error("{0}")]
    Read(ReadError),
    /// A bug of ours.
    #[error("the request made the witness panic")]
    Panicked,
}

/// Why a subtree was not cosigned. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum SubtreeError {
    /// The body is no request. The client is at fault.
    #[error("{0}")]
    Malformed(sign_subtree::ParseError),
    /// The subtree may not be cosigned. The client is at fault.
    #[error("{0}")]
    Refused(sign_subtree::Refusal),
    /// We cosigned a larger tree than we remember. The operator is at fault: the state is an old
    /// copy, or two witnesses have one key.
    #[error(
        "this witness cosigned size {} but remembers size {}; its state was rolled back",
        .reference.size.get(),
        .stored.map_or(0, |stored| stored.size.get())
    )]
    StateIsBehind {
        /// What we cosigned.
        reference: TreeHead,
        /// What we remember.
        stored: Option<TreeHead>,
    },
    /// We cosigned later than we remember. The operator is at fault, as above.
    #[error(
        "this witness cosigned at {reference} but remembers no time after {stored}; its state was \
         rolled back"
    )]
    TimeIsBehind {
        /// When we cosigned.
        reference: UnixSeconds,
        /// What we remember.
        stored: UnixSeconds,
    },
    /// We cosigned another tree of the size that we remember. The operator is at fault, as above;
    /// and the log has forked.
    #[error(
        "this witness cosigned root {} at size {} but remembers root {}",
        .reference.root_hash,
        .reference.size.get(),
        .stored.root_hash
    )]
    TwoTrees {
        /// What we cosigned.
        reference: TreeHead,
        /// What we remember.
        stored: TreeHead,
    },
    /// The log is held, as for [`AddError::Held`].
    #[error("{0}")]
    Held(Held),
    /// The log, or a key of ours, is convicted, as for [`AddError::Convicted`].
    #[error("{0}")]
    Convicted(Convicted),
    /// What was cosigned last for the log is not known, as for [`AddError::State`].
    #[error("{0}")]
    State(#[from] ReadError),
    /// A key did not sign. The operator is at fault.
    #[error("{0}")]
    Sign(SignError),
    /// Too much waits for a thread. Nobody is at fault.
    #[error("{capacity} requests wait to be signed already")]
    Busy {
        /// The bound of the queue.
        capacity: usize,
    },
    /// There would be no line in the answer, or too many.
    #[error("{0}")]
    Lines(CosignatureLinesError),
    /// A bug of ours.
    #[error("the request made the witness panic")]
    Panicked,
}

impl SubtreeError {
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Malformed(_) => Outcome::Malformed,
            Self::Refused(refusal) => match refusal {
                sign_subtree::Refusal::Inconsistent(_) => Outcome::Inconsistent,
                sign_subtree::Refusal::UnknownOrigin { .. }
                | sign_subtree::Refusal::NoSubtreeKey => Outcome::UnknownLog,
                sign_subtree::Refusal::NotCosigned | sign_subtree::Refusal::BadSignature(_) => {
                    Outcome::Unsigned
                }
            },
            Self::Held(_) => Outcome::Held,
            Self::Convicted(_) => Outcome::Convicted,
            Self::Busy { .. } => Outcome::Busy,
            Self::StateIsBehind { .. } | Self::TimeIsBehind { .. } | Self::TwoTrees { .. } => {
                Outcome::RolledBack
            }
            Self::State(ReadError::Damaged { .. }) => Outcome::Damaged,
            Self::State(ReadError::Store(_) | ReadError::Unreadable { .. })
            | Self::Sign(_)
            | Self::Lines(_)
            | Self::Panicked => Outcome::Failed,
        }
    }
}

/// Why no time can be signed. The machine's clock is at fault; nothing changed, and it passes when
/// the clock is right again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClockFault {
    /// Nobody can say what time it is: wall time stepped, or the time sources do not confirm it.
    #[error("{0}")]
    NoTime(#[from] NoTime),
    /// Wall time is before the time in a cosignature that we gave for the same origin.
    #[error(
        "the clock of this witness shows {now}, and it cosigned this log at {cosigned} already"
    )]
    BehindCosigned {
        /// What the clock shows.
        now: UnixSeconds,
        /// What we signed.
        cosigned: UnixSeconds,
    },
    /// Wall time is before the time in a page of gossip that we signed: what is cosigned now would
    /// be missing there.
    #[error("the clock of this witness shows {now}, and its gossip said up to {page} already")]
    BehindPage {
        /// What the clock shows.
        now: UnixSeconds,
        /// What a page may have said.
        page: UnixSeconds,
    },
    /// Wall time is before this program existed.
    #[error("the clock of this witness shows {now}; it is not set")]
    NotSet {
        /// What the clock shows.
        now: UnixTime,
    },
}
