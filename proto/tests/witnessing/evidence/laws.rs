//! What holds for every fork, every honest history, and every change of a file.

use std::cell::RefCell;
use std::collections::BTreeSet;

use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::evidence::{Evidence, Said, Verdict};
use jurat_proto::key::VerifierKey;
use jurat_proto::note::SignatureLine;
use jurat_proto::proof::ConsistencyProof;
use jurat_proto::tree::TreeHead;
use proptest::prelude::*;

use super::{Cast, ORIGIN, forked, names, one_of_each};
use crate::signing::{Key, Tree, signed, unsigned};

/// What whoever has the larger tree's tiles makes of two heads.
fn with_tiles(small: SignedCheckpoint, large: SignedCheckpoint, tree: &Tree) -> Option<Evidence> {
    let (from, to) = (small.head().size, large.head().size);
    if from == to {
        return Evidence::same_size(small, large).ok();
    }
    if from.is_zero() {
        return None;
    }
    let proof = tree.consistency(from.get(), to.get());
    Evidence::opening(small, large, head(tree, from.get()).root_hash, proof).ok()
}

// Spec: EVI-10, EVI-11
#[test]
fn every_pair_of_sizes_and_every_fork_point_up_to_a_bound() {
    const LEAVES: u64 = 14;
    let cast = Cast::new();
    for shared in 0..LEAVES {
        let (a, b) = forked(LEAVES, shared);
        let by = |tree: &Tree, at| signed(ORIGIN, head(tree, at), &[&cast.log]);
        for from in 1..=LEAVES {
            for to in from..=LEAVES {
                let fork = with_tiles(by(&a, from), by(&b, to), &b);
                assert_eq!(fork.is_some(), from > shared, "{shared} {from} {to}");
                assert_eq!(with_tiles(by(&b, from), by(&b, to), &b), None);
                // What came in a request is enough whenever the proof carries the old root.
                let proof = consistency(&b, from, to);
                let request = Evidence::of_growth(&by(&a, from), &by(&b, to), &proof).ok();
                let carried = from == to || !from.is_power_of_two();
                assert_eq!(request, fork.filter(|_| carried));
            }
        }
    }
}

fn head(tree: &Tree, at: u64) -> TreeHead {
    tree.head(usize::try_from(at).unwrap())
}

fn consistency(tree: &Tree, from: u64, to: u64) -> ConsistencyProof {
    if from == to {
        ConsistencyProof::default()
    } else {
        tree.consistency(from, to)
    }
}

fn sizes() -> impl Strategy<Value = (u64, u64, u64)> {
    (1..150_u64)
        .prop_flat_map(|to| (1..=to, Just(to)))
        .prop_flat_map(|(from, to)| (0..from, Just(from), Just(to)))
}

/// Where a file is changed, and how.
#[derive(Clone, Debug)]
enum Change {
    Byte(prop::sample::Index, u8),
    Drop(prop::sample::Index),
    Double(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Cut(prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (index(), 1..=255_u8).prop_map(|(at, with)| Change::Byte(at, with)),
        1 => index().prop_map(Change::Drop),
        1 => index().prop_map(Change::Double),
        1 => (index(), index()).prop_map(|(one, other)| Change::Swap(one, other)),
        1 => index().prop_map(Change::Cut),
    ]
}

fn changed(file: &[u8], change: &Change) -> Vec<u8> {
    if file.is_empty() {
        return Vec::new();
    }
    let mut lines: Vec<Vec<u8>> = file
        .split_inclusive(|&byte| byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    match change {
        Change::Byte(at, with) => {
            let mut file = file.to_vec();
            let at = at.index(file.len());
            file[at] ^= with;
            return file;
        }
        Change::Drop(at) => {
            let at = at.index(lines.len());
            lines.remove(at);
        }
        Change::Double(at) => {
            let at = at.index(lines.len());
            lines.insert(at, lines[at].clone());
        }
        Change::Swap(one, other) => {
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            lines.swap(one, other);
        }
        Change::Cut(at) => lines.truncate(at.index(lines.len())),
    }
    lines.concat()
}

fn convicted(verdict: &Verdict) -> Vec<String> {
    verdict
        .guilty
        .iter()
        .map(|guilty| guilty.key.to_string())
        .collect()
}

/// What is prepared of the keys is what the file has lines of, and decides what all of them do.
// Spec: EVI-70
#[test]
fn the_keys_that_a_file_is_about_decide_as_all_do() {
    let cast = Cast::new();
    for (evidence, guilty) in one_of_each(&cast) {
        let prepared = RefCell::new(BTreeSet::new());
        let about = cast.keys().about(&evidence, |key| {
            prepared.borrow_mut().insert(key.to_string());
            key.clone()
        });
        assert_eq!(evidence.minimised(&about), evidence.minimised(&cast.keys()));
        let (a, b) = evidence.statements();
        let lines = a.signatures().iter();
        let lines: Vec<&SignatureLine> = lines.chain(b.iter().flat_map(Said::signatures)).collect();
        let prepared = prepared.into_inner();
        for (_, key) in guilty {
            assert!(prepared.contains(&key.vkey().to_string()));
        }
        for vkey in prepared {
            let key = VerifierKey::parse(&vkey).unwrap();
            assert!(lines.iter().any(|line| key.matches(line)), "{vkey}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// P1: a fork at any point and any two sizes, the larger side's tiles being there, convicts
    /// exactly the log.
    // Spec: EVI-11, EVI-40
    #[test]
    fn p1_a_fork_at_any_point_convicts_exactly_the_log((shared, from, to) in sizes()) {
        let cast = Cast::new();
        let (a, b) = forked(to, shared);
        let by = |tree: &Tree, at: u64, keys: &[&Key]| {
            signed(ORIGIN, head(tree, at), keys)
        };
        let small = by(&a, from, &[&cast.log, &cast.one]);
        let large = by(&b, to, &[&cast.two, &cast.log]);
        let evidence = with_tiles(small, large, &b).expect("the tiles show it");
        let read = Evidence::parse(&evidence.to_bytes()).unwrap();
        let verdict = read.verify(&cast.keys()).unwrap();
        prop_assert!(verdict.convicts_log());
        prop_assert_eq!(convicted(&verdict), [cast.log.vkey().to_string()]);
    }

    /// P2: no evidence verifies for heads of one history.
    #[test]
    fn p2_heads_of_one_history_make_no_evidence(
        (_, from, to) in sizes(),
        noise: [u8; 32],
        at: prop::sample::Index,
    ) {
        let cast = Cast::new();
        let (tree, _) = forked(to, to);
        let by = |at: u64| signed(ORIGIN, head(&tree, at), &[&cast.log]);
        prop_assert_eq!(with_tiles(by(from), by(to), &tree), None);
        let proof = consistency(&tree, from, to);
        prop_assert!(Evidence::of_growth(&by(from), &by(to), &proof).is_err());
        // Nor does any root that somebody invents, nor any proof.
        let invented = jurat_proto::hash::Hash::new(noise);
        let opening = Evidence::opening(by(from), by(to), invented, proof.clone());
        prop_assert!(opening.is_err());
        let mut hashes = proof.into_hashes();
        if !hashes.is_empty() {
            let at = at.index(hashes.len());
            hashes[at] = invented;
            let proof = ConsistencyProof::new(hashes).unwrap();
            prop_assert!(Evidence::of_growth(&by(from), &by(to), &proof).is_err());
            prop_assert!(Evidence::opening(by(from), by(to), invented, proof).is_err());
        }
    }

    /// P3: id and verdict are the same under another wrapping.
    // Spec: EVI-20, EVI-44
    #[test]
    fn p3_id_and_verdict_survive_another_wrapping(
        (shared, from, to) in sizes(),
        turn in 0..5_usize,
        strangers in prop::collection::vec(40..90_u8, 0..4),
        at in 1..1_000_000_u64,
    ) {
        let cast = Cast::new();
        let (a, b) = forked(to, shared);
        let notes = [(&a, from), (&b, to)].map(|(tree, at)| {
            let head = head(tree, at);
            signed(ORIGIN, head, &[&cast.log, &cast.one, &cast.ml_dsa])
        });
        let [small, large] = notes.clone();
        let evidence = with_tiles(small, large, &b).expect("the tiles show it");
        let wrapped = notes.map(|note| {
            let said = unsigned(ORIGIN, note.head());
            let mut lines: Vec<SignatureLine> = note.signatures().to_vec();
            // Cosigned again, at another time.
            lines[1] = cast.one.line(&said, at);
            for seed in &strangers {
                lines.push(Key::witness("stranger.example", *seed).line(&said, at));
            }
            let turn = turn % lines.len();
            lines.rotate_left(turn);
            SignedCheckpoint::new(said, lines).unwrap()
        });
        let [small, large] = wrapped;
        let again = with_tiles(small, large, &b).expect("the same heads");
        prop_assert_eq!(again.id(), evidence.id());
        prop_assert_eq!(names(&again, &cast.keys()), names(&evidence, &cast.keys()));
        let smallest = |evidence: &Evidence| evidence.minimised(&cast.keys()).unwrap().0;
        prop_assert_eq!(smallest(&again).id(), evidence.id());
        prop_assert_eq!(
            names(&smallest(&again), &cast.keys()),
            names(&smallest(&evidence), &cast.keys())
        );
    }

    // Spec: EVI-01, EVI-03
    #[test]
    fn no_change_of_a_file_convicts_anybody_else(
        which in 0..7_usize,
        changes in prop::collection::vec(change(), 1..3),
    ) {
        let cast = Cast::new();
        let (evidence, _) = one_of_each(&cast).remove(which);
        let expected = evidence.verify(&cast.keys()).unwrap();
        let mut file = evidence.to_bytes();
        for change in &changes {
            file = changed(&file, change);
        }
        if let Ok(read) = Evidence::parse(&file) {
            prop_assert_eq!(read.to_bytes(), file);
            // Spec: EVI-70
            let about = cast.keys().about(&read, Clone::clone);
            prop_assert_eq!(read.minimised(&about), read.minimised(&cast.keys()));
            if let Ok(verdict) = read.verify(&cast.keys()) {
                let before = convicted(&expected);
                prop_assert!(convicted(&verdict).iter().all(|key| before.contains(key)));
            }
        }
    }
}
