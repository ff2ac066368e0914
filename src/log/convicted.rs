//! Logs that an entry of this log convicts: nothing of them stands behind that entry.
//!
//! Whoever decides a submission looks at this before, and may wait for a commit long after. So the
//! commit looks as well: it alone knows what stands before what.

use std::collections::HashMap;
use std::fmt;

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::Hash;
use jurat_proto::hex;
use jurat_proto::tree::LeafIndex;

/// That a log is convicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Convicted {
    /// By which evidence.
    pub id: Hash,
    /// Where that stands in this log.
    pub index: LeafIndex,
}

impl fmt::Display for Convicted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, index) = (hex::encode(self.id.as_bytes()), self.index.get());
        write!(f, "evidence {id}, entry {index} of this log")
    }
}

/// What an entry does beside standing in the log: it convicts a log, this service, or both, by
/// evidence of this id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conviction {
    /// Which log, if one.
    pub origin: Option<Origin>,
    /// Whether a key of this service is convicted, or its own log: then nothing of any log is taken
    /// any more.
    pub ours: bool,
    /// By which evidence.
    pub id: Hash,
}

/// The logs that were convicted since the start. What the log had before that, nobody decides a
/// submission without: it is read before the first request.
#[derive(Debug, Default)]
pub(super) struct Convictions {
    logs: HashMap<Origin, Convicted>,
    ours: bool,
}

impl Convictions {
    /// Why nothing of a log is taken any more, if that is so.
    // Spec: SVC-59
    pub(super) fn of(&self, origin: &Origin) -> Option<&Convicted> {
        self.logs.get(origin)
    }

    /// From what is behind this entry on. The first counts.
    // Spec: SVC-59
    pub(super) fn add(&mut self, conviction: Conviction, index: LeafIndex) {
        let Conviction { origin, ours, id } = conviction;
        self.ours |= ours;
        if let Some(origin) = origin {
            self.logs.entry(origin).or_insert(Convicted { id, index });
        }
    }

    /// Whether nothing of any log is taken any more.
    // Spec: SVC-63
    pub(super) const fn are_ours(&self) -> bool {
        self.ours
    }
}
