//! Rows GSP-186, GSP-187, GSP-211 and GSP-220 of `spec/gossip.md`: what is decided above imported
//! heads.

use jurat_proto::add_checkpoint::above::{Above, Joined, Proven, decide_above};
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
    let decide = |from, to| {
        decide_above(
            None,
            &[floor],
            &Proven::default(),
            &request(&tree, from, to),
        )
    };
    // What every log sends first to a witness that it does not know.
    assert_eq!(decide(0, 12), conflict(0, 9));
    assert_eq!(decide(9, 12), Ok(Above::Cosign { refresh: false }));
    assert_eq!(decide(0, 9), Ok(Above::Cosign { refresh: false }));
    assert_eq!(decide(9, 9), Ok(Above::Cosign { refresh: false }));
    for below in [1, 5, 8] {
        assert_eq!(decide(0, below), conflict(0, 9));
    }
    assert_eq!(decide(4, 12), conflict(4, 9));
    // No proof is needed, and none is believed that begins elsewhere.
    assert_eq!(decide(4, 9), conflict(4, 9));
    let above = decide_above(None, &[floor], &Proven::default(), &{
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
        let mut proven = Proven::default();
        if let Some(joined) = joined {
            proven.add(Some(&latest), &[floor], *joined);
        }
        decide_above(Some(&latest), &[floor], &proven, &request(&tree, from, to))
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
    let none = Proven::default();
    let decide = |from, to| decide_above(Some(&latest), &[small], &none, &request(&tree, from, to));
    assert!(matches!(decide(5, 5), Ok(Above::Missing { from, .. }) if from == size(3)));
    assert_eq!(decide(3, 5), Ok(Above::Cosign { refresh: true }));
    assert_eq!(decide(3, 4), conflict(3, 5));
}

// Spec: GSP-186
#[test]
fn another_history_than_the_imported_one_is_refused() {
    let (tree, fork) = (Tree::new(20, "e"), Tree::new(20, "x"));
    let (latest, floor) = (head(&tree, 5), head(&tree, 9));
    let none = Proven::default();
    let decide = |request: &AddCheckpoint| decide_above(Some(&latest), &[floor], &none, request);
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

/// A log that answers each 409 once with the proof that is asked for, and then grows; how many
/// trees it needs until one is cosigned.
fn trees_until_cosigned(tree: &Tree, latest: Option<u64>, floors: &[u64], known: u64) -> usize {
    let latest = latest.map(|latest| head(tree, latest));
    let floors: Vec<TreeHead> = floors.iter().map(|floor| head(tree, *floor)).collect();
    let (mut proven, mut from) = (Proven::default(), known);
    for (count, to) in (16..).take(16).enumerate() {
        for _ in 0..2 {
            let request = request(tree, from, to);
            match decide_above(latest.as_ref(), &floors, &proven, &request) {
                Ok(Above::Cosign { .. }) => return count + 1,
                Ok(Above::Missing {
                    proven: joined,
                    from: missing,
                }) => {
                    proven.add(latest.as_ref(), &floors, joined);
                    from = missing.get();
                }
                Err(Refusal::Conflict { current, .. }) => from = current.get(),
                Err(refusal) => panic!("{refusal}"),
            }
        }
    }
    panic!("it is never cosigned");
}

// Spec: GSP-211
#[test]
fn a_log_that_grows_between_its_requests_comes_to_an_end_above_many_heads() {
    let tree = Tree::new(40, "e");
    assert_eq!(trees_until_cosigned(&tree, None, &[9], 0), 1);
    assert_eq!(trees_until_cosigned(&tree, Some(5), &[9], 5), 1);
    assert_eq!(trees_until_cosigned(&tree, Some(5), &[9, 12], 5), 2);
    let eight = [6, 7, 8, 9, 10, 11, 12, 13];
    assert!(trees_until_cosigned(&tree, Some(5), &eight, 0) <= 9);
}

/// A witness that decides, and remembers what was proven to it.
struct Above9And12 {
    tree: Tree,
    proven: Proven,
}

impl Above9And12 {
    fn new() -> Self {
        Self {
            tree: Tree::new(40, "e"),
            proven: Proven::default(),
        }
    }

    /// Nothing when it is cosigned, or else the size from which a proof is missing.
    fn ask(&mut self, from: u64, to: u64) -> Option<u64> {
        let floors = [head(&self.tree, 9), head(&self.tree, 12)];
        match decide_above(None, &floors, &self.proven, &request(&self.tree, from, to)) {
            Ok(Above::Cosign { .. }) => None,
            Ok(Above::Missing { proven, from }) => {
                self.proven.add(None, &floors, proven);
                Some(from.get())
            }
            Err(Refusal::Conflict { current, .. }) => Some(current.get()),
            Err(refusal) => panic!("{refusal}"),
        }
    }
}

// Spec: GSP-220
#[test]
fn a_replay_of_older_trees_makes_no_log_repeat_a_request() {
    let mut witness = Above9And12::new();
    assert_eq!(witness.ask(9, 20), Some(12));
    for to in 13..20 {
        // Each of them from one of both, which joins nothing.
        let (from, other) = if to % 2 == 0 { (9, 12) } else { (12, 9) };
        assert_eq!(witness.ask(from, to), Some(other));
    }
    assert_eq!(witness.ask(12, 20), None);
}

// Spec: GSP-220
#[test]
fn what_is_remembered_is_of_the_four_largest_trees() {
    let mut witness = Above9And12::new();
    for to in [22, 20, 24, 21, 23] {
        assert_eq!(witness.ask(9, to), Some(12));
    }
    for to in 21..=24 {
        let mut witness = Above9And12 {
            tree: Tree::new(40, "e"),
            proven: witness.proven.clone(),
        };
        assert_eq!(witness.ask(12, to), None, "{to}");
    }
    assert_eq!(witness.ask(12, 20), Some(9));
    // A smaller one had no room, and one that joins two heads is of use all the same.
    assert_eq!(witness.ask(9, 19), Some(12));
    assert_eq!(witness.ask(12, 19), Some(9));
    assert_eq!(witness.ask(12, 24), None);
}

// Spec: GSP-211
#[test]
fn a_larger_head_does_not_take_the_place_of_a_smaller_one_of_another_history() {
    let (tree, fork) = (Tree::new(20, "e"), Tree::new(20, "x"));
    let floors = [head(&tree, 9), head(&fork, 12)];
    let mut proven = Proven::default();
    // Each of them is proven, of its own history, and none is cosigned.
    let first = decide_above(None, &floors, &proven, &request(&fork, 12, 15));
    let Ok(Above::Missing {
        proven: joined,
        from,
    }) = first
    else {
        panic!("{first:?}");
    };
    assert_eq!(from, size(9));
    proven.add(None, &floors, joined);
    let second = decide_above(None, &floors, &proven, &request(&fork, 9, 15));
    assert!(
        matches!(second, Err(Refusal::Inconsistent { .. })),
        "{second:?}"
    );
    let other = decide_above(None, &floors, &proven, &request(&tree, 9, 15));
    let Ok(Above::Missing {
        proven: joined,
        from,
    }) = other
    else {
        panic!("{other:?}");
    };
    assert_eq!(from, size(12));
    proven.add(None, &floors, joined);
    let last = decide_above(None, &floors, &proven, &request(&tree, 12, 15));
    assert!(
        matches!(last, Err(Refusal::Inconsistent { .. })),
        "{last:?}"
    );
    // Nor is anything above two trees of one size.
    let floors = [head(&tree, 9), head(&fork, 9)];
    for tree in [&tree, &fork] {
        let decided = decide_above(None, &floors, &Proven::default(), &request(tree, 9, 15));
        assert!(
            matches!(decided, Err(Refusal::Inconsistent { .. })),
            "{decided:?}"
        );
    }
}

proptest! {
    /// Whatever is asked for and remembered: what is cosigned continues all.
    // Spec: GSP-186, GSP-187, GSP-211
    #[test]
    fn nothing_is_cosigned_that_does_not_continue_all(
        split in 0_u64..12,
        at in 0_u64..12,
        floors in prop::collection::vec((1_u64..12, any::<bool>()), 1..4),
        asked in prop::collection::vec((0_u64..14, 1_u64..14, any::<bool>()), 1..16),
    ) {
        let one = Tree::new(16, "e");
        let entry = |place: u64| {
            let label = if place < split { "e" } else { "x" };
            format!("{label}{place}").into_bytes()
        };
        let other = Tree::of(&(0..16).map(entry).collect::<Vec<_>>());
        let latest = (at > 0).then(|| head(&one, at));
        // Imported heads may be of the other history.
        let of = |of_other| if of_other { &other } else { &one };
        let floors: Vec<TreeHead> = floors.iter().map(|(at, is)| head(of(*is), *at)).collect();
        let mut proven = Proven::default();
        for (from, to, of_other) in asked {
            let request = request(of(of_other), from.min(to), to);
            match decide_above(latest.as_ref(), &floors, &proven, &request) {
                Ok(Above::Cosign { .. }) => {
                    let found = request.head();
                    let is_of = |tree: &Tree, base: TreeHead| {
                        head(tree, to) == found && head(tree, base.size.get()) == base
                            && base.size <= found.size
                    };
                    let of_all = |tree| floors.iter().chain(&latest).all(|base| is_of(tree, *base));
                    prop_assert!(of_all(&one) || of_all(&other));
                }
                Ok(Above::Missing { proven: joined, from }) => {
                    let mut sizes = floors.iter().chain(&latest).map(|base| base.size);
                    prop_assert!(sizes.any(|size| from == size));
                    proven.add(latest.as_ref(), &floors, joined);
                }
                Err(_) => {}
            }
        }
    }

    /// The same while heads are imported and reached in between, and what was proven stays; and
    /// whatever is sent, no more is remembered than the four trees and the heads have room for.
    // Spec: GSP-186, GSP-211, GSP-220
    #[test]
    fn nothing_is_cosigned_below_a_head_that_comes_later_and_what_is_remembered_has_a_bound(
        split in 0_u64..16,
        steps in prop::collection::vec(
            (0_u8..6, prop::sample::select(vec![0_u64, 2, 3, 5, 8]), 1_u64..24, any::<bool>()),
            1..80,
        ),
    ) {
        let one = Tree::new(24, "e");
        let entry = |place: u64| {
            let label = if place < split { "e" } else { "x" };
            format!("{label}{place}").into_bytes()
        };
        let other = Tree::of(&(0..24).map(entry).collect::<Vec<_>>());
        let of = |of_other| if of_other { &other } else { &one };
        let (mut latest, mut floors, mut proven) = (None, Vec::new(), Proven::default());
        for (kind, small, to, of_other) in steps {
            if kind == 0 && floors.len() < 8 {
                floors.push(head(of(of_other), small.max(1)));
                continue;
            }
            // Nearly always from a head that counts, or there is little to prove.
            let known: Vec<&TreeHead> = floors.iter().chain(&latest).collect();
            let from = match known.len() {
                0 => small,
                count => known[usize::from(kind) % count].size.get(),
            };
            let request = request(of(of_other), from.min(to), to);
            match decide_above(latest.as_ref(), &floors, &proven, &request) {
                Ok(Above::Cosign { .. }) => {
                    let found = request.head();
                    let is_of = |tree: &Tree, base: &TreeHead| {
                        head(tree, to) == found && head(tree, base.size.get()) == *base
                            && base.size <= found.size
                    };
                    let of_all = |tree| known.iter().all(|base| is_of(tree, base));
                    prop_assert!(of_all(&one) || of_all(&other));
                    latest = Some(found);
                    floors.clear();
                }
                Ok(Above::Missing { proven: joined, .. }) => {
                    proven.add(latest.as_ref(), &floors, joined);
                    let heads = floors.len() + usize::from(latest.is_some());
                    let most = heads * (heads - 1) / 2 + 4 * heads;
                    let all = format!("{proven:?}").matches("Joined").count();
                    prop_assert!(all <= most);
                }
                Err(_) => {}
            }
        }
    }

    /// A log that sends, about one tree, the proof that the last answer asked for is asked no
    /// more often for all that a stranger sends between its requests: what the log signed before.
    // Spec: GSP-211, GSP-220
    #[test]
    fn no_replay_makes_a_log_send_one_request_more(
        at in 0_u64..12,
        floors in prop::collection::vec(1_u64..12, 1..9),
        known in 0_u64..12,
        replays in prop::collection::vec((0_usize..10, 0_u64..13, 12_u64..=30), 0..40),
    ) {
        let tree = Tree::new(32, "e");
        let latest = (at > 0).then(|| head(&tree, at));
        let floors: Vec<TreeHead> = floors.iter().map(|at| head(&tree, *at)).collect();
        let requests = |replays: &[(usize, u64, u64)]| {
            let (mut proven, mut from) = (Proven::default(), known);
            for sent in 0..=10 {
                for (_, from, to) in replays.iter().filter(|(when, ..)| *when == sent) {
                    let request = request(&tree, *from, *to);
                    match decide_above(latest.as_ref(), &floors, &proven, &request) {
                        // It is free, and no proof but the next one is missing.
                        Ok(Above::Cosign { .. }) => return sent,
                        Ok(Above::Missing { proven: joined, .. }) => {
                            proven.add(latest.as_ref(), &floors, joined);
                        }
                        Err(_) => {}
                    }
                }
                let request = request(&tree, from, 30);
                match decide_above(latest.as_ref(), &floors, &proven, &request) {
                    Ok(Above::Cosign { .. }) => return sent + 1,
                    Ok(Above::Missing { proven: joined, from: missing }) => {
                        proven.add(latest.as_ref(), &floors, joined);
                        from = missing.get();
                    }
                    Err(Refusal::Conflict { current, .. }) => from = current.get(),
                    Err(refusal) => panic!("{refusal}"),
                }
            }
            panic!("it is never cosigned");
        };
        prop_assert!(requests(&replays) <= requests(&[]));
    }
}
