//! Is a witness ahead of the service? Pure judgements, for the rollback check.
//!
//! A service that was restored from a backup holds an old tree. If it signed on, it would give the
//! sizes between a second time, with other content: a fork of its own log, by accident. Witnesses
//! remember the newest head that they cosigned, so they are asked first.

use jurat_proto::checkpoint::{Origin, SignedCheckpoint, verify_signatures};
use jurat_proto::hash::Hash;
use jurat_proto::key::VerifierKey;
use jurat_proto::tree::{TreeHead, TreeSize};

/// What a witness's newest head says about the service's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// The head lies in the service's own history.
    Behind(TreeSize),
    /// The service once signed a larger tree than it holds now.
    Ahead(TreeSize),
    /// The service once signed another tree of a size that it holds.
    Forked {
        /// At this size.
        size: TreeSize,
        /// The root that was signed.
        signed: Hash,
        /// The root that the service holds.
        held: Hash,
    },
}

// Spec: SVC-06
/// Compares a head that this log signed with the service's own tree. `root_at` gives the root of
/// the service's tree at a size that it holds.
///
/// # Errors
/// Those of `root_at`.
pub fn judge<E>(
    own: &TreeHead,
    theirs: &TreeHead,
    root_at: impl FnOnce(TreeSize) -> Result<Hash, E>,
) -> Result<Judgement, E> {
    if theirs.size > own.size {
        return Ok(Judgement::Ahead(theirs.size));
    }
    let held = root_at(theirs.size)?;
    Ok(if held == theirs.root_hash {
        Judgement::Behind(theirs.size)
    } else {
        Judgement::Forked {
            size: theirs.size,
            signed: theirs.root_hash,
            held,
        }
    })
}

/// Reads a checkpoint that a witness serves, and accepts it as this log's only when one of this
/// log's own keys signed it: a witness cannot make up that the service is behind.
pub fn own_head(
    body: &[u8],
    origin: &Origin,
    log_keys: &[VerifierKey],
) -> Option<(TreeHead, SignedCheckpoint)> {
    let signed = SignedCheckpoint::parse(body).ok()?;
    if signed.origin() != origin {
        return None;
    }
    verify_signatures(signed.note(), log_keys).ok()?;
    Some((signed.head(), signed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jurat_proto::hash::sha256;

    fn head(size: u64, root: &[u8]) -> TreeHead {
        TreeHead {
            size: TreeSize::new(size).unwrap(),
            root_hash: sha256(root),
        }
    }

    fn judged(own: u64, theirs: &TreeHead) -> Judgement {
        let own = head(own, b"own");
        judge(&own, theirs, |_| Ok::<_, ()>(sha256(b"own"))).unwrap()
    }

    #[test]
    fn a_head_in_our_history_is_behind() {
        let size = TreeSize::new(4).unwrap();
        assert_eq!(judged(9, &head(4, b"own")), Judgement::Behind(size));
        assert_eq!(judged(4, &head(4, b"own")), Judgement::Behind(size));
    }

    #[test]
    fn a_larger_head_is_ahead_whatever_its_root() {
        let size = TreeSize::new(10).unwrap();
        assert_eq!(judged(9, &head(10, b"own")), Judgement::Ahead(size));
        assert_eq!(judged(9, &head(10, b"other")), Judgement::Ahead(size));
    }

    #[test]
    fn another_root_at_a_size_we_hold_is_a_fork() {
        let forked = Judgement::Forked {
            size: TreeSize::new(4).unwrap(),
            signed: sha256(b"other"),
            held: sha256(b"own"),
        };
        assert_eq!(judged(9, &head(4, b"other")), forked);
    }

    #[test]
    fn an_unsigned_claim_is_nobodys_head() {
        let origin = Origin::parse("example.com/log").unwrap();
        let body = b"example.com/log\n7\nRcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=\n\n\
            \xe2\x80\x94 example.com/log AAAAAAAA\n";
        assert!(own_head(body, &origin, &[]).is_none());
    }
}
