//! Rows GSP-186 and GSP-187 of `spec/gossip.md`: what is decided above an imported head.

use jurat_proto::add_checkpoint::above::{Above, Joined, decide_above};
use jurat_proto::add_checkpoint::{AddCheckpoint, Refusal};
use jurat_proto::proof::ConsistencyProof;
use jurat_proto::tree::TreeHead;
use proptest::prelude::*;

use crate::signing::{Key, Tree, signed, size};

const ORIGIN: &str = "log.example/one";

fn request(tree: &Tree, from: u64, to: u64) -> AddCheckpoint {
    let proof = match from {
        0 => ConsistencyProof::new(Vec::new()).unwrap(),
        from => tree.consistency(from, to),
    };
    AddCheckpoint {
        old_size: size(from),
        proof,
        checkpoint: signed(ORIGIN, head(tree, to), &[&Key::log(ORIGIN, 1)]),
    }
}

fn head(tree: &Tree, at: u64) -> TreeHead {
    tree.head(usize::try_from(at).unwrap())
}

fn conflict(old: u64, current: u64) -> Result<Above, Refusal> {
    Err(Refusal::Conflict {
        old_size: size(old),
        current: size(current),
    })
}

// Spec: GSP-186
#[test]
fn a_new_witness_signs_what_continues_the_imported_head_and_nothing_below_it() {
    let tree = Tree::new(20, "e");
    let floor = head(&tree, 9);
    let decide = |from, to| decide_above(None, &floor, None, &request(&tree, from, to));
    // What every log sends first to a witness that it does not know.
    assert_eq!(decide(0, 12), conflict(0, 9));
    assert_eq!(decide(9, 12), Ok(Above::Cosign { refresh: false }));
    assert_eq!(decide(0, 9), Ok(Above::Cosign { refresh: false }));
    assert_eq!(decide(9, 9), Ok(Above::Cosign { refresh: false }));
    for below in [1, 5, 8] {
        assert_eq!(decide(0, below), conflict(0, 9));
    }
    assert_eq!(decide(4, 12), conflict(4, 9));
    let above = decide_above(None, &floor, None, &{
        let mut request = request(&tree, 9, 12);
        request.old_size = size(13);
        request
    });
    assert!(matches!(above, Err(Refusal::OldSizeAboveCheckpoint { .. })));
}

// Spec: GSP-186, GSP-187
#[test]
fn two_requests_about_one_tree_prove_it_from_both() {
    let tree = Tree::new(20, "e");
    let (latest, floor) = (head(&tree, 5), head(&tree, 9));
    let decide = |joined: Option<&Joined>, from, to| {
        decide_above(Some(&latest), &floor, joined, &request(&tree, from, to))
    };
    for (first, second) in [(5, 9), (9, 5)] {
        let Ok(Above::Missing { proven, from }) = decide(None, first, 12) else {
            panic!("{first} alone is not enough");
        };
        assert_eq!(from, size(second));
        assert_eq!(
            decide(Some(&proven), second, 12),
            Ok(Above::Cosign { refresh: false })
        );
        // The same again proves no more, and what was proven counts for that tree alone.
        let missing = |decided| matches!(decided, Ok(Above::Missing { .. }));
        assert!(missing(decide(Some(&proven), first, 12)));
        assert!(missing(decide(Some(&proven), second, 13)));
    }
    // The imported head itself needs the proof from what was cosigned, and no other.
    assert_eq!(decide(None, 5, 9), Ok(Above::Cosign { refresh: false }));
    assert!(matches!(decide(None, 9, 9), Ok(Above::Missing { from, .. }) if from == size(5)));
    for below in [5, 8] {
        assert_eq!(decide(None, 5, below), conflict(5, 9));
    }
    // What was cosigned may be the larger one.
    let small = head(&tree, 3);
    let decide = |from, to| decide_above(Some(&latest), &small, None, &request(&tree, from, to));
    assert!(matches!(decide(5, 5), Ok(Above::Missing { from, .. }) if from == size(3)));
    assert_eq!(decide(3, 5), Ok(Above::Cosign { refresh: true }));
    assert_eq!(decide(3, 4), conflict(3, 5));
}

// Spec: GSP-186
#[test]
fn another_history_than_the_imported_one_is_refused() {
    let (tree, fork) = (Tree::new(20, "e"), Tree::new(20, "x"));
    let (latest, floor) = (head(&tree, 5), head(&tree, 9));
    let decide = |request: &AddCheckpoint| decide_above(Some(&latest), &floor, None, request);
    let other = decide(&request(&fork, 9, 9));
    assert!(matches!(other, Err(Refusal::RootMismatch { size: at, .. }) if at == size(9)));
    for from in [5, 9] {
        let other = decide(&request(&fork, from, 12));
        assert!(matches!(other, Err(Refusal::Inconsistent { .. })), "{from}");
    }
    let mut proven = request(&tree, 0, 12);
    proven.proof = tree.consistency(5, 12);
    assert!(matches!(
        decide(&proven),
        Err(Refusal::ProofNotEmpty { .. })
    ));
}

proptest! {
    /// Whatever is asked for and remembered: what is cosigned continues both.
    // Spec: GSP-186, GSP-187
    #[test]
    fn nothing_is_cosigned_that_does_not_continue_both(
        split in 0_u64..12,
        at in (0_u64..12, 1_u64..12),
        asked in prop::collection::vec((0_u64..14, 1_u64..14, any::<bool>()), 1..12),
    ) {
        let one = Tree::new(16, "e");
        let entry = |place: u64| {
            let label = if place < split { "e" } else { "x" };
            format!("{label}{place}").into_bytes()
        };
        let other = Tree::of(&(0..16).map(entry).collect::<Vec<_>>());
        let latest = (at.0 > 0).then(|| head(&one, at.0));
        // The imported head may be of the other history.
        let floor = head(&other, at.1);
        let mut joined = None;
        for (from, to, of_other) in asked {
            let tree = if of_other { &other } else { &one };
            let request = request(tree, from.min(to), to);
            match decide_above(latest.as_ref(), &floor, joined.as_ref(), &request) {
                Ok(Above::Cosign { .. }) => {
                    let found = request.head();
                    let is_of = |tree: &Tree, base: TreeHead| {
                        head(tree, to) == found && head(tree, base.size.get()) == base
                            && base.size <= found.size
                    };
                    let of_both = |tree| is_of(tree, floor)
                        && latest.is_none_or(|latest| is_of(tree, latest));
                    prop_assert!(of_both(&one) || of_both(&other));
                }
                Ok(Above::Missing { proven, from }) => {
                    prop_assert!(from == floor.size || latest.is_some_and(|l| l.size == from));
                    joined = Some(proven);
                }
                Err(_) => {}
            }
        }
    }
}
