//! What happens to a node, and what it wants done.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

use super::Directory;
use super::record::LogRecord;
use crate::checkpoint::{Origin, SignedCheckpoint};
use crate::evidence::{Evidence, NotProven, Verdict};
use crate::gossip::{Catalogue, Feed, Fetch, Notes, Opening, Random, SignedStatement, Suspicion};
use crate::hash::Hash;
use crate::key::{KeyName, UnixSeconds};
use crate::proof::ConsistencyProof;
use crate::tree::{TreeHead, TreeSize};

/// A moment, in milliseconds since the epoch. Lifecycles outlive the process, so it is wall time;
/// where it goes back, nothing gets older.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// How long ago `earlier` was; nothing when it is to come.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// So much later.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(wait))
    }

    /// So much earlier.
    #[must_use]
    pub fn before(self, wait: Duration) -> Self {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(wait))
    }

    /// The second that it is in.
    pub fn seconds(self) -> UnixSeconds {
        UnixSeconds::new(self.0 / 1_000).unwrap_or(UnixSeconds::MAX)
    }
}

/// The number that the shell gave to a request of somebody else, so that the answer finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The number that the node gave to a question of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// Where chance comes from: an argument, so that a simulation repeats itself.
pub trait Dice {
    /// Sixty-four bits that nobody can foretell.
    fn roll(&mut self) -> u64;

    /// A number below `bound`; 0 when that is 0. Slightly uneven, which matters to nothing here.
    fn below(&mut self, bound: u64) -> u64 {
        self.roll().checked_rem(bound).unwrap_or(0)
    }

    /// Sixteen random bytes.
    fn random(&mut self) -> Random {
        let (high, low) = (self.roll().to_be_bytes(), self.roll().to_be_bytes());
        let mut bytes = [0; 16];
        for (byte, drawn) in bytes.iter_mut().zip(high.into_iter().chain(low)) {
            *byte = drawn;
        }
        Random(bytes)
    }
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time passes. A few times a round, or when nothing else happens.
    Tick,
    /// This witness cosigned a head, and it is durable.
    HeadCosigned {
        /// The checkpoint as it is served, with this witness's line.
        note: SignedCheckpoint,
        /// The time in that line.
        time: UnixSeconds,
        /// The head that it grew from and the proof of that, as the log sent them.
        grown_from: Option<(TreeHead, ConsistencyProof)>,
    },
    /// A log sent a proof with a checkpoint that it signed, whatever became of the request.
    ProofSeen(Box<Opening>),
    /// The lists of logs and peers changed.
    DirectoryChanged(Box<Directory>),
    /// What a peer answered.
    Answer {
        /// The peer.
        peer: KeyName,
        /// To which question.
        ask: AskId,
        /// What.
        answer: Answer,
    },
    /// What reading a log's tiles gave: nothing when they cannot be had, or are not its tree's.
    TilesRead {
        /// The log.
        origin: Origin,
        /// At which size the tree was to be opened.
        old: TreeSize,
        /// The head that was to be opened.
        of: TreeHead,
        /// The opening.
        opening: Option<Box<Opening>>,
    },
    /// Somebody wants to know what the larger of our heads was at the size of this one.
    ChallengeReceived {
        /// Which request.
        request: RequestId,
        /// The peer that makes it, when it is known which one does: the head counts as that peer's.
        from: Option<KeyName>,
        /// The head.
        note: SignedCheckpoint,
    },
    /// Somebody saw a checkpoint in the wild.
    Observed {
        /// Which request.
        request: RequestId,
        /// The checkpoint.
        note: SignedCheckpoint,
    },
    /// Evidence came from this process itself (nobody waits for an answer) or was submitted.
    EvidenceReceived {
        /// Which request.
        request: Option<RequestId>,
        /// The evidence.
        evidence: Box<Evidence>,
    },
    /// Evidence is durable, as [`Action::StoreEvidence`] asked.
    EvidenceStored {
        /// Which.
        id: Hash,
    },
    /// Evidence could not be stored: it is asked for again in the next round.
    EvidenceNotStored {
        /// Which.
        id: Hash,
    },
}

/// What to do. Actions are done in their order, and one that stores is durable before the next
/// begins; but [`Action::StoreEvidence`] answers by an event, so that nothing waits for a disk
/// that is full.
#[derive(Clone, Debug)]
pub enum Action {
    /// Ask a peer something, and bring the answer as [`Event::Answer`]; always one.
    Ask {
        /// The peer.
        peer: KeyName,
        /// The number of the question.
        ask: AskId,
        /// What.
        question: Question,
    },
    /// Open a signed tree at a smaller size from the log's tiles (or our mirror's), and bring
    /// [`Event::TilesRead`]; always one.
    ReadTiles {
        /// The smaller size.
        old: TreeSize,
        /// The tree.
        note: Arc<SignedCheckpoint>,
    },
    /// Answer a request.
    Reply {
        /// Which.
        request: RequestId,
        /// What.
        reply: Reply,
    },
    /// Replace what is stored for a log; delete it when there is nothing.
    StoreLog {
        /// The log.
        origin: Origin,
        /// What to store.
        record: Option<Box<LogRecord>>,
    },
    /// Store evidence for good, under its id; a file that is there is replaced by this one, which
    /// proves as much or more. Then bring [`Event::EvidenceStored`] or
    /// [`Event::EvidenceNotStored`]; always one for each of these actions, also of one id.
    StoreEvidence {
        /// The evidence.
        evidence: Arc<Evidence>,
        /// What it proves.
        verdict: Verdict,
    },
    /// Cosign nothing of a log but what is proven consistent with a suspect head.
    Hold {
        /// The log.
        origin: Origin,
        /// The suspect head.
        suspect: TreeHead,
    },
    /// The hold is over.
    Release {
        /// The log.
        origin: Origin,
    },
    /// Cosign nothing of a log any more: it is convicted.
    StopCosigning {
        /// The log.
        origin: Origin,
        /// By which evidence.
        id: Hash,
    },
    /// Sign nothing any more, publish, and end with a failure: a key of this witness is convicted.
    StopSigning {
        /// By which evidence.
        id: Hash,
    },
    /// Sign a suspicion with the gossip key and show it.
    Publish(Box<Suspicion>),
    /// An alarm begins, or ends.
    Alarm {
        /// Which.
        alarm: Alarm,
        /// Whether it begins.
        raised: bool,
    },
    /// A head that was not resolved is: for the audit log.
    Resolved {
        /// The log.
        origin: Origin,
        /// The head.
        head: TreeHead,
        /// How far it had come.
        phase: Phase,
    },
}

/// What a peer is asked.
#[derive(Clone, Debug)]
pub enum Question {
    /// `GET gossip/v0/state?nonce=`
    State {
        /// What the answer must show.
        nonce: Random,
    },
    /// `GET gossip/v0/heads?epoch=&since=`
    Heads {
        /// Which journal.
        epoch: Random,
        /// After which change.
        since: u64,
    },
    /// `POST gossip/v0/fetch`
    Fetch(Fetch),
    /// `POST gossip/v0/challenge`
    Challenge(Arc<SignedCheckpoint>),
    /// `GET gossip/v0/opening/<origin hash>/<a>/<b>`
    Opening {
        /// The log.
        origin: Origin,
        /// The smaller size.
        old: TreeSize,
        /// The size of the larger tree.
        size: TreeSize,
    },
    /// `GET gossip/v0/evidence?since=`
    Catalogue {
        /// After which number.
        since: u64,
    },
    /// `GET gossip/v0/evidence/<id>`
    Evidence {
        /// Which.
        id: Hash,
    },
    /// `POST gossip/v0/evidence`
    Mail(Arc<Evidence>),
}

/// What a peer answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To [`Question::State`].
    State(Box<SignedStatement>),
    /// To [`Question::Heads`].
    Heads(Box<Feed>),
    /// To [`Question::Fetch`].
    Notes(Notes),
    /// To [`Question::Challenge`] and [`Question::Opening`].
    Opening(Box<Opening>),
    /// To [`Question::Challenge`]: not yet (202), or the log is not known there (404); to
    /// [`Question::Opening`] and [`Question::Evidence`]: there is none (404).
    Nothing,
    /// To [`Question::Catalogue`].
    Catalogue(Catalogue),
    /// To [`Question::Evidence`].
    Evidence(Box<Evidence>),
    /// To [`Question::Mail`]: the peer has it.
    Taken,
    /// There is no answer, or none that can be read.
    Failed(Failure),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing answers, or not in time.
    Unreachable,
    /// The peer wants us to wait (429, 503 with Retry-After).
    Busy {
        /// How long.
        wait: Duration,
    },
    /// What came is not what such an answer is.
    Malformed,
    /// The peer refuses (other statuses).
    Refused,
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// 200 with an opening.
    Opening(Box<Opening>),
    /// 200: it is consistent with what we hold. To a challenge, which wants an opening, 202.
    Consistent,
    /// 202: it is taken, and not known yet.
    Pending,
    /// 200 with the id of the evidence that convicts its log. To a challenge, 202: the challenger
    /// gets the evidence by mail.
    Convicted {
        /// Which.
        id: Hash,
    },
    /// 201: new evidence, or a copy that proves more; it is durable.
    Stored {
        /// Which.
        id: Hash,
    },
    /// 200: nothing was new.
    Known {
        /// Which.
        id: Hash,
    },
    /// 503: the disk does not take it.
    NotStored,
    /// 404: no key of this log is known.
    UnknownOrigin,
    /// 403: none of the log's keys signed it.
    NotSigned,
    /// 422: it proves nothing.
    NotProven(NotProven),
    /// 429: the log's share of this round is used up.
    TooMany,
}

/// How far a head has come that is not resolved.
// Spec: GSP-40
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// It was just seen.
    New,
    /// Rounds went by without an opening.
    Pending,
    /// It holds its log's cosignatures.
    Suspect,
    /// The public was told.
    Unprovable,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 4] = [Self::New, Self::Pending, Self::Suspect, Self::Unprovable];

    /// The name, as in records, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Pending => "pending",
            Self::Suspect => "suspect",
            Self::Unprovable => "unprovable",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What somebody should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alarm {
    /// Evidence convicts somebody. It never ends. When a copy of the contradiction comes that
    /// convicts the log, too, that is told besides.
    Proven {
        /// Which.
        id: Hash,
        /// The log that it convicts, if it does.
        log: Option<Origin>,
    },
    /// Two keys of a log contradict each other, and one is retired: a date decides.
    Undetermined {
        /// The log.
        origin: Origin,
    },
    /// A log has a suspect head.
    Suspect {
        /// The log.
        origin: Origin,
    },
    /// A peer does not answer.
    PeerSilent {
        /// The peer.
        peer: KeyName,
    },
    /// More than half of the peers do not answer.
    Isolated,
    /// What a peer says of itself does not fit: it went back, or is not signed.
    PeerMisbehaves {
        /// The peer.
        peer: KeyName,
    },
    /// A peer's clock is off the median.
    PeerClock {
        /// The peer.
        peer: KeyName,
    },
    /// Our clock is off the median of the peers'.
    OwnClock,
    /// The newest cosigned head of a log is not confirmed for long.
    AgreementLag {
        /// The log.
        origin: Origin,
    },
    /// A log that promised checkpoints brings none.
    Stalled {
        /// The log.
        origin: Origin,
    },
    /// Evidence is not durable.
    NotStored,
}
