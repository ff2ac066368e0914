//! What is evidence of a kind and what is not, and who is convicted by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jurat_proto::checkpoint::{ExtensionLine, SignedCheckpoint};
use jurat_proto::evidence::{
    Evidence, KnownKeys, LogFinding, NoContradiction, NotProven, Role, Standing,
};
use jurat_proto::gossip::{Page, Statement};
use jurat_proto::hash::{empty_root, leaf_hash};
use jurat_proto::key::{Primitive, SignatureType, VerifierKey};
use jurat_proto::proof::{ConsistencyProof, ProofError};
use jurat_proto::tree::TreeHead;

use super::{
    Cast, ORIGIN, by_empty, cosigned, cosigner, forked, hash, names, no_proof, origin, page_of,
    said, state, time, tlog_proof,
};
use crate::signing::{Key, NOW, Tree, signed, size, spoiled, unsigned};

// Spec: EVI-30, EVI-31, EVI-32
#[test]
fn a_failing_proof_is_asked_what_it_opens_to_before_it_is_dropped() {
    let cast = Cast::new();
    let (a, b) = forked(40, 9);
    let by = |tree: &Tree, at| signed(ORIGIN, tree.head(at), &[&cast.log]);
    for (from, to) in [(10, 33), (13, 14), (31, 32), (11, 40)] {
        let proof = b.consistency(from, to);
        let (from, to) = (usize::try_from(from).unwrap(), usize::try_from(to).unwrap());
        let evidence = Evidence::of_growth(&by(&a, from), &by(&b, to), &proof).unwrap();
        assert_eq!(evidence.opened_root(), Some(b.head(from).root_hash));
        assert_eq!(names(&evidence, &cast.keys()).len(), 1);
        let turned = Evidence::of_growth(&by(&b, to), &by(&a, from), &proof).unwrap();
        assert_eq!(turned, evidence, "in any order");
    }
    // Equal sizes need no proof, and are not hidden by one.
    for proof in [no_proof(), b.consistency(10, 33)] {
        assert!(Evidence::of_growth(&by(&a, 12), &by(&b, 12), &proof).is_ok());
    }
    let refused = |from: usize, to: usize, proof: &ConsistencyProof| {
        Evidence::of_growth(&by(&a, from), &by(&b, to), proof).unwrap_err()
    };
    let at = size(16);
    assert_eq!(
        refused(16, 33, &b.consistency(16, 33)),
        NoContradiction::NoOldRoot { size: at }
    );
    assert_eq!(
        refused(8, 9, &b.consistency(8, 9)),
        NoContradiction::NoOldRoot { size: size(8) }
    );
    assert_eq!(
        refused(9, 33, &b.consistency(9, 33)),
        NoContradiction::Consistent
    );
    assert!(matches!(
        refused(10, 33, &a.consistency(10, 33)),
        NoContradiction::Proof(ProofError::RootMismatch { .. })
    ));
    assert!(matches!(
        refused(10, 33, &no_proof()),
        NoContradiction::Proof(ProofError::MissingHashes { .. })
    ));
    // What the request did not carry comes from the tiles of the larger tree.
    let made = Evidence::opening(
        by(&a, 16),
        by(&b, 33),
        b.head(16).root_hash,
        b.consistency(16, 33),
    );
    assert_eq!(names(&made.unwrap(), &cast.keys()).len(), 1);
    let elsewhere = signed("other.example", b.head(33), &[&cast.log]);
    assert_eq!(
        Evidence::of_growth(&by(&a, 10), &elsewhere, &b.consistency(10, 33)),
        Err(NoContradiction::TwoOrigins)
    );
}

// Spec: EVI-10, EVI-11, EVI-13
#[test]
fn the_smallest_and_the_largest_sizes() {
    let cast = Cast::new();
    let head = |leaves, byte| TreeHead {
        size: size(leaves),
        root_hash: hash(byte),
    };
    let by = |head| signed(ORIGIN, head, &[&cast.log]);
    let max = (1 << 63) - 1;
    for leaves in [0, 1, 2, max] {
        let evidence = Evidence::same_size(by(head(leaves, 2)), by(head(leaves, 1))).unwrap();
        let read = Evidence::parse(&evidence.to_bytes()).unwrap();
        assert_eq!(names(&read, &cast.keys()).len(), 1, "{leaves}");
        assert_eq!(
            Evidence::same_size(by(head(leaves, 1)), by(head(leaves, 1))),
            Err(NoContradiction::Consistent)
        );
    }
    let (a, b) = forked(2, 0);
    let one = Evidence::opening(
        by(a.head(1)),
        by(b.head(2)),
        b.head(1).root_hash,
        b.consistency(1, 2),
    );
    assert!(one.is_ok(), "a tree of one leaf opens");
    assert_eq!(
        Evidence::opening(by(head(0, 1)), by(b.head(2)), empty_root(), no_proof()),
        Err(NoContradiction::Shape),
        "nothing opens to nothing"
    );
    assert_eq!(
        Evidence::opening(by(a.head(2)), by(b.head(2)), hash(1), no_proof()),
        Err(NoContradiction::Shape)
    );
    assert_eq!(
        Evidence::opening(
            by(b.head(1)),
            by(b.head(2)),
            b.head(1).root_hash,
            b.consistency(1, 2)
        ),
        Err(NoContradiction::Consistent)
    );
    assert_eq!(
        Evidence::same_size(by(a.head(1)), by(b.head(2))),
        Err(NoContradiction::NoOpening)
    );
    assert_eq!(
        Evidence::empty(by(TreeHead::empty())),
        Err(NoContradiction::Consistent)
    );
    assert_eq!(
        Evidence::empty(by(a.head(1))),
        Err(NoContradiction::NotEmpty { size: size(1) })
    );
}

// Spec: EVI-12
#[test]
fn two_entries_are_evidence_only_at_one_index_under_their_own_notes() {
    let cast = Cast::new();
    let (a, b) = forked(20, 4);
    let proof = |tree: &Tree, index, at| {
        tlog_proof(tree, index, signed(ORIGIN, tree.head(at), &[&cast.log]))
    };
    let leaf = |label: &str, index: u64| leaf_hash(format!("{label}{index}").as_bytes());
    let mine = (leaf("a", 9), &proof(&a, 9, 12));
    for at in [12, 11, 20] {
        let theirs = (leaf("b", 9), &proof(&b, 9, at));
        let evidence = Evidence::entry(mine, theirs).unwrap();
        assert_eq!(Evidence::entry(theirs, mine).unwrap(), evidence);
        assert_eq!(evidence.leaves().unwrap().0.get(), 9);
        assert!(evidence.verify(&cast.keys()).is_ok(), "{at}");
    }
    for (theirs, why) in [
        (
            (leaf("b", 8), &proof(&b, 8, 20)),
            NoContradiction::TwoIndices,
        ),
        (
            (leaf("a", 9), &proof(&b, 9, 20)),
            NoContradiction::Consistent,
        ),
    ] {
        assert_eq!(Evidence::entry(mine, theirs), Err(why));
    }
    let wrong_leaf = Evidence::entry(mine, (leaf("c", 9), &proof(&b, 9, 20)));
    assert!(matches!(wrong_leaf, Err(NoContradiction::Proof(_))));
}

// Spec: EVI-13, EVI-46
#[test]
fn nonsense_about_the_empty_tree_convicts_the_log_and_is_no_second_history() {
    let cast = Cast::new();
    let evidence = Evidence::empty(by_empty(&[&cast.one, &cast.log])).unwrap();
    let verdict = evidence.verify(&cast.keys()).unwrap();
    assert_eq!(
        names(&evidence, &cast.keys()),
        [(Role::Log, cast.log.vkey().to_string())]
    );
    assert!(verdict.convicts() && !verdict.convicts_log());
    let unsigned = Evidence::empty(by_empty(&[&cast.one])).unwrap();
    assert_eq!(unsigned.verify(&cast.keys()), Err(NotProven::NoKnownKey));
}

// Spec: EVI-14
#[test]
fn a_cosigner_regressed_only_with_a_smaller_tree_at_a_later_time() {
    let cast = Cast::new();
    let (a, _) = forked(20, 20);
    let at =
        |leaves: usize, seconds, key: &Key| (cosigned(a.head(leaves), key, seconds), time(seconds));
    let one = &cast.one;
    let regress = |older, newer| Evidence::cosigner_regress(older, newer, cosigner(one));
    assert!(regress(at(9, NOW, one), at(8, NOW + 1, one)).is_ok());
    for (older, newer) in [
        (at(9, NOW, one), at(9, NOW + 1, one)),
        (at(9, NOW, one), at(8, NOW, one)),
        (at(9, NOW, one), at(10, NOW + 1, one)),
        (at(9, 0, one), at(8, NOW, one)),
    ] {
        assert_eq!(regress(older, newer), Err(NoContradiction::NoRegress));
    }
    let (note, _) = at(8, NOW + 1, one);
    assert_eq!(
        regress(at(9, NOW, one), (note, time(NOW + 2))),
        Err(NoContradiction::NotSignedAt {
            time: time(NOW + 2)
        })
    );
    assert_eq!(
        regress(at(9, NOW, one), at(8, NOW + 1, &cast.two)),
        Err(NoContradiction::NotSignedAt {
            time: time(NOW + 1)
        })
    );
    // A log's key is not a cosigner's, and a spoiled line is nobody's.
    let evidence = regress(at(9, NOW, one), at(8, NOW + 1, one)).unwrap();
    let mut logs = KnownKeys::new();
    logs.add_log(origin(), one.vkey(), Standing::Current);
    assert_eq!(evidence.verify(&logs), Err(NotProven::NoKnownKey));
    let (note, when) = at(8, NOW + 1, one);
    let line = spoiled(&note.signatures()[0]);
    let note = SignedCheckpoint::new(note.checkpoint().clone(), vec![line]).unwrap();
    let evidence = regress(at(9, NOW, one), (note, when)).unwrap();
    assert_eq!(
        evidence.verify(&cast.keys()),
        Err(NotProven::NobodySignedBoth)
    );
}

// Spec: EVI-15, GSP-07, GSP-10
#[test]
fn a_page_omits_only_what_its_own_witness_had_cosigned_well_before() {
    let cast = Cast::new();
    let (a, b) = forked(20, 7);
    let note = |leaves: usize, seconds, key: &Key| cosigned(a.head(leaves), key, seconds);
    let omission = |newest, page_at, note, by: &Key, at| {
        let (page, row) = page_of(&cast, &a.head(12), newest, page_at);
        Evidence::omission(page, row, note, cosigner(by), time(at))
    };
    let one = &cast.one;
    assert!(omission(true, NOW + 10, note(13, NOW, one), one, NOW).is_ok());
    for refused in [
        omission(true, NOW + 9, note(13, NOW, one), one, NOW),
        omission(true, NOW + 10, note(12, NOW, one), one, NOW),
        omission(false, NOW + 10, note(13, NOW, one), one, NOW),
        omission(true, NOW + 10, note(13, 0, one), one, 0),
        omission(true, NOW + 10, note(13, NOW, &cast.two), &cast.two, NOW),
    ] {
        assert_eq!(refused, Err(NoContradiction::NothingHidden));
    }
    assert_eq!(
        omission(true, NOW + 10, note(13, NOW - 1, one), one, NOW),
        Err(NoContradiction::NotSignedAt { time: time(NOW) })
    );
    // The row of another head, of another log, or of no page.
    let (page, row) = page_of(&cast, &a.head(12), true, NOW + 10);
    let mut other = row.clone();
    other.root = b.head(12).root_hash;
    let by = || cosigner(one);
    let with = |page, row, note| Evidence::omission(page, row, note, by(), time(NOW));
    assert_eq!(
        with(page.clone(), other, note(13, NOW, one)),
        Err(NoContradiction::AnotherHead)
    );
    let checkpoint = unsigned("other.example", a.head(13));
    let elsewhere = SignedCheckpoint::new(checkpoint.clone(), vec![one.line(&checkpoint, NOW)]);
    assert_eq!(
        with(page.clone(), row.clone(), elsewhere.unwrap()),
        Err(NoContradiction::AnotherHead)
    );
    let state = said(Statement::State(state(&cast, 8, 1)), &cast.gossip);
    assert_eq!(
        with(state, row.clone(), note(13, NOW, one)),
        Err(NoContradiction::NotAPage)
    );
    let mut moved = row.clone();
    moved.index = jurat_proto::tree::LeafIndex::new(1).unwrap();
    assert!(matches!(
        with(page.clone(), moved, note(13, NOW, one)),
        Err(NoContradiction::Proof(_))
    ));
    // The gossip key of one witness says nothing for another, nor for cosignatures.
    let evidence = with(page, row, note(13, NOW, one)).unwrap();
    let mut keys = KnownKeys::new();
    keys.add_cosigner(one.vkey()).unwrap();
    assert_eq!(evidence.verify(&keys), Err(NotProven::NoKnownKey));
    keys.add_gossip(Key::log("w2.example", 7).vkey(), &[])
        .unwrap();
    assert_eq!(evidence.verify(&keys), Err(NotProven::NoKnownKey));
    // Spec: GSP-10. Nor do keys of one name belong together, unless somebody says so.
    keys.add_gossip(cast.gossip.vkey(), &[cast.two.vkey()])
        .unwrap();
    assert_eq!(evidence.verify(&keys), Err(NotProven::NoKnownKey));
    keys.add_gossip(cast.gossip.vkey(), &[one.vkey()]).unwrap();
    assert!(evidence.verify(&keys).unwrap().convicts());
}

// Spec: EVI-16, GSP-08, GSP-09
#[test]
fn two_claims_about_one_state_or_page_are_equivocation() {
    let cast = Cast::new();
    let by = |statement| said(statement, &cast.gossip);
    let states = |seq, evidence| by(Statement::State(state(&cast, seq, evidence)));
    let two = Evidence::gossip_equivocation;
    assert!(two(states(8, 1), states(8, 2)).is_ok());
    assert_eq!(
        two(states(8, 1), states(9, 2)),
        Err(NoContradiction::TwoSubjects)
    );
    let later = by(Statement::State(jurat_proto::gossip::State {
        time: time(NOW + 99),
        nonce: Some(jurat_proto::gossip::Random([1; 16])),
        ..state(&cast, 8, 1)
    }));
    assert_eq!(two(states(8, 1), later), Err(NoContradiction::Consistent));
    let (a, b) = forked(20, 7);
    let page = |tree: &Tree| page_of(&cast, &tree.head(12), true, NOW).0;
    let evidence = two(page(&a), page(&b)).unwrap();
    assert_eq!(
        names(&evidence, &cast.keys()),
        [(Role::Gossip, cast.gossip.vkey().to_string())]
    );
    assert_eq!(evidence.origin(), None);
    assert!(!evidence.verify(&cast.keys()).unwrap().convicts_log());
    let Statement::Page(one) = page(&a).statement().clone() else {
        unreachable!("a page")
    };
    let elsewhere = by(Statement::Page(Page { since: 3, ..one }));
    assert_eq!(two(page(&a), elsewhere), Err(NoContradiction::TwoSubjects));
}

// Spec: EVI-41, EVI-42, EVI-44
#[test]
fn only_known_keys_of_this_log_and_of_cosigners_are_convicted() {
    let cast = Cast::new();
    let (a, b) = forked(20, 7);
    let all = [
        &cast.log,
        &cast.log_ml_dsa,
        &cast.one,
        &cast.ml_dsa,
        &cast.stranger,
    ];
    let note_a = signed(ORIGIN, a.head(20), &all);
    let some = [&cast.one, &cast.log, &cast.ml_dsa, &cast.two];
    let note_b = signed(ORIGIN, b.head(20), &some);
    let evidence = Evidence::same_size(note_a.clone(), note_b.clone()).unwrap();
    let expected: Vec<_> = [
        (Role::Log, &cast.log),
        (Role::Cosigner, &cast.one),
        (Role::Cosigner, &cast.ml_dsa),
    ]
    .map(|(role, key)| (role, key.vkey().to_string()))
    .into();
    assert_eq!(names(&evidence, &cast.keys()), expected);

    let mut other_log = KnownKeys::new();
    other_log.add_log("x".parse().unwrap(), cast.log.vkey(), Standing::Current);
    assert_eq!(evidence.verify(&other_log), Err(NotProven::NoKnownKey));
    let mut gossip = KnownKeys::new();
    gossip.add_gossip(cast.log.vkey(), &[]).unwrap();
    assert_eq!(evidence.verify(&gossip), Err(NotProven::NoKnownKey));
    for key in [&cast.log, &cast.gossip] {
        assert!(
            gossip.add_cosigner(key.vkey()).is_err(),
            "0x01 cosigns nothing"
        );
    }
    assert!(gossip.add_gossip(cast.one.vkey(), &[]).is_err());
    assert!(
        gossip
            .add_gossip(cast.gossip.vkey(), &[cast.log.vkey()])
            .is_err()
    );

    // One key may be the log's and a cosigner's: it is convicted once, as the log's.
    let mut twice = cast.keys();
    twice.add_log(origin(), cast.one.vkey(), Standing::Current);
    assert_eq!(names(&evidence, &twice).len(), 3);
    // A spoiled line of one key voids nothing for the others.
    let mut lines = note_a.signatures().to_vec();
    lines[0] = spoiled(&lines[0]);
    let note_a = SignedCheckpoint::new(note_a.checkpoint().clone(), lines).unwrap();
    let in_part = Evidence::same_size(note_a, note_b).unwrap();
    assert_eq!(names(&in_part, &cast.keys()), expected[1..]);
}

// Spec: EVI-45
#[test]
fn after_two_failed_lines_the_rest_is_dropped_unseen() {
    let cast = Cast::new();
    let (a, b) = forked(20, 7);
    let keys = [&cast.log, &cast.one, &cast.two, &cast.ml_dsa];
    let whole = |tree: &Tree| signed(ORIGIN, tree.head(20), &keys);
    let with_spoiled = |count: usize| {
        let note = whole(&a);
        let mut lines = note.signatures().to_vec();
        for line in lines.iter_mut().skip(1).take(count) {
            *line = spoiled(line);
        }
        let note = SignedCheckpoint::new(note.checkpoint().clone(), lines).unwrap();
        Evidence::same_size(note, whole(&b)).unwrap()
    };
    let convicted = |count| names(&with_spoiled(count), &cast.keys()).len();
    assert_eq!([0, 1, 2].map(convicted), [4, 3, 1]);
}

/// How many signatures were checked, and how many bytes were hashed for them.
#[derive(Clone, Default)]
struct Meter(Arc<[AtomicUsize; 2]>);

impl Meter {
    /// The same key, metered.
    fn on(&self, key: &VerifierKey) -> VerifierKey {
        key.with_primitive(Box::new(Metered(self.clone(), key.clone())))
    }

    fn read(&self) -> [usize; 2] {
        [0, 1].map(|place| self.0[place].swap(0, Ordering::Relaxed))
    }
}

struct Metered(Meter, VerifierKey);

impl Primitive for Metered {
    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let Self(Meter(read), key) = self;
        read[0].fetch_add(1, Ordering::Relaxed);
        read[1].fetch_add(message.len(), Ordering::Relaxed);
        key.verify_message(message, signature).is_ok()
    }
}

/// However the lines are spoiled, and however long the notes are: who convicts nobody has at most
/// two long notes hashed, or four short ones; and who is guilty is convicted over the longest.
// Spec: EVI-45, EVI-54
#[test]
fn what_convicts_nobody_costs_few_signatures_over_few_bytes() {
    let (a, b) = forked(20, 7);
    let mut signers = vec![Key::log(ORIGIN, 1)];
    signers.extend((0..60).map(|seed| Key::witness(&format!("w{seed}.example"), 10 + seed)));
    let meter = Meter::default();
    let mut keys = KnownKeys::new();
    for (place, key) in signers.iter().enumerate() {
        let key = meter.on(&key.vkey());
        if place == 0 {
            keys.add_log(origin(), key, Standing::Current);
        } else {
            keys.add_cosigner(key).unwrap();
        }
    }
    let note = |tree: &Tree, bytes: usize, spoil: &dyn Fn(usize) -> bool| {
        let mut checkpoint = unsigned(ORIGIN, tree.head(20));
        if bytes > 0 {
            let line = ExtensionLine::parse(&"x".repeat(bytes)).unwrap();
            checkpoint.extensions.push(&line);
        }
        let lines = signers.iter().enumerate().map(|(place, key)| {
            let line = key.line(&checkpoint, NOW);
            if spoil(place) { spoiled(&line) } else { line }
        });
        let lines = lines.collect();
        SignedCheckpoint::new(checkpoint, lines).unwrap()
    };
    let long = 110_000;
    let costs = |lengths: [usize; 2], spoil: [&dyn Fn(usize) -> bool; 2]| {
        let one = note(&a, lengths[0], spoil[0]);
        let other = note(&b, lengths[1], spoil[1]);
        let verdict = Evidence::same_size(one, other).unwrap().verify(&keys);
        (
            verdict.map_or(0, |verdict| verdict.guilty.len()),
            meter.read(),
        )
    };
    let (good, all): (&dyn Fn(usize) -> bool, &dyn Fn(usize) -> bool) = (&|_| false, &|_| true);
    for lengths in [[long, long], [long, 0], [0, long], [0, 0], [8_000, 8_000]] {
        let is_long = lengths.contains(&long);
        let most = if is_long { 2 } else { 4 };
        for spoil in [[good, all], [all, good], [all, all]] {
            let (guilty, [signatures, bytes]) = costs(lengths, spoil);
            assert_eq!(guilty, 0);
            assert!(signatures <= most, "{signatures} signatures");
            assert!(bytes <= 2 * 128 * 1024, "{bytes} bytes");
        }
        // All of them, and the log behind the bad lines of all others.
        assert_eq!(costs(lengths, [good, good]).0, signers.len());
        let but_the_log = |place| place > 0;
        let (guilty, [signatures, _]) = costs(lengths, [good, &but_the_log]);
        assert_eq!(guilty, 1);
        assert!(signatures <= 2 + most);
    }
}

// Spec: EVI-42, EVI-43, EVI-46
#[test]
fn two_keys_of_one_log_convict_the_log_only_while_both_are_current() {
    let cast = Cast::new();
    let (a, b) = forked(20, 7);
    let across = Evidence::of_growth(
        &signed(ORIGIN, a.head(13), &[&cast.old_log, &cast.one]),
        &signed(ORIGIN, b.head(20), &[&cast.log]),
        &b.consistency(13, 20),
    )
    .unwrap();
    let keys_with = |standing| {
        let mut keys = cast.keys();
        keys.add_log(origin(), cast.old_log.vkey(), standing);
        keys
    };
    let pair: [VerifierKey; 2] = [cast.old_log.vkey(), cast.log.vkey()];
    let verdict = across.verify(&keys_with(Standing::Current)).unwrap();
    assert_eq!(verdict.log, LogFinding::AcrossKeys { keys: pair.clone() });
    assert!(verdict.convicts() && verdict.convicts_log() && verdict.guilty.is_empty());
    let verdict = across.verify(&keys_with(Standing::Retired)).unwrap();
    let retired = [true, false];
    assert_eq!(
        verdict.log,
        LogFinding::Undetermined {
            keys: pair,
            retired
        }
    );
    assert!(!verdict.convicts() && !verdict.convicts_log());
    assert_eq!(
        across.verify(&cast.keys()),
        Err(NotProven::NobodySignedBoth)
    );
    // A retired key that signed both is convicted all the same, and the log is not: somebody may
    // have stolen what it has done with.
    let by_old = |tree: &Tree| signed(ORIGIN, tree.head(20), &[&cast.old_log]);
    let same = Evidence::same_size(by_old(&a), by_old(&b)).unwrap();
    let verdict = same.verify(&keys_with(Standing::Retired)).unwrap();
    assert!(verdict.convicts() && !verdict.convicts_log());
    let key = cast.old_log.vkey();
    assert_eq!(verdict.log, LogFinding::RetiredKey { key });
    assert!(
        same.verify(&keys_with(Standing::Current))
            .unwrap()
            .convicts_log()
    );
    // Beside two that are current it excuses nothing.
    let by = |tree: &Tree, key| signed(ORIGIN, tree.head(20), &[&cast.old_log, key]);
    let both = Evidence::same_size(by(&a, &cast.log), by(&b, &cast.log_ml_dsa)).unwrap();
    let verdict = both.verify(&keys_with(Standing::Retired)).unwrap();
    assert!(matches!(verdict.log, LogFinding::AcrossKeys { .. }) && verdict.convicts_log());
    // A convicted cosigner does not hide what the log did across its keys.
    let with_witness = Evidence::same_size(
        signed(ORIGIN, a.head(20), &[&cast.old_log, &cast.one]),
        signed(ORIGIN, b.head(20), &[&cast.log, &cast.one]),
    );
    let verdict = with_witness
        .unwrap()
        .verify(&keys_with(Standing::Current))
        .unwrap();
    assert_eq!(verdict.guilty.len(), 1);
    assert!(matches!(verdict.log, LogFinding::AcrossKeys { .. }));
}

// Spec: EVI-43, EVI-45
#[test]
fn a_log_does_not_hide_its_second_key_behind_bad_lines_of_witnesses() {
    let cast = Cast::new();
    let (a, b) = forked(20, 7);
    let witnesses = [&cast.one, &cast.two];
    let with = |log, tree: &Tree| signed(ORIGIN, tree.head(20), &[log, &cast.one, &cast.two]);
    let note = with(&cast.log, &b);
    let mut lines = note.signatures().to_vec();
    for line in lines.iter_mut().skip(1) {
        *line = spoiled(line);
    }
    let note = SignedCheckpoint::new(note.checkpoint().clone(), lines).unwrap();
    let evidence = Evidence::same_size(with(&cast.old_log, &a), note).unwrap();
    let mut keys = KnownKeys::new();
    for key in [&cast.log, &cast.old_log] {
        keys.add_log(origin(), key.vkey(), Standing::Current);
    }
    for key in witnesses {
        keys.add_cosigner(key.vkey()).unwrap();
    }
    let verdict = evidence.verify(&keys).unwrap();
    assert!(matches!(verdict.log, LogFinding::AcrossKeys { .. }));
    assert!(verdict.convicts_log() && verdict.guilty.is_empty());

    // One bad line of the log's is one, however often the log is looked for.
    let both = |tree: &Tree| signed(ORIGIN, tree.head(20), &[&cast.log, &cast.old_log]);
    let note = both(&a);
    let lines = note.signatures();
    let lines = vec![spoiled(&lines[0]), lines[1].clone()];
    let note = SignedCheckpoint::new(note.checkpoint().clone(), lines).unwrap();
    let other = signed(ORIGIN, b.head(20), &[&cast.log]);
    let evidence = Evidence::same_size(note, other).unwrap();
    assert!(evidence.verify(&keys).unwrap().convicts_log());
}

// Spec: EVI-41
#[test]
fn a_log_may_sign_with_p256() {
    use jurat_proto::note::{KeyName, SignatureLine};
    use p256::ecdsa::signature::Signer as _;
    use p256::pkcs8::EncodePublicKey as _;

    let secret = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let der = secret.verifying_key().to_public_key_der().unwrap();
    let name = KeyName::parse(ORIGIN).unwrap();
    let key = VerifierKey::from_parts(name.clone(), SignatureType::Ecdsa, der.as_bytes()).unwrap();
    let (a, b) = forked(20, 7);
    let by = |tree: &Tree| {
        let checkpoint = unsigned(ORIGIN, tree.head(20));
        let signature: p256::ecdsa::DerSignature = secret.sign(checkpoint.to_text().as_bytes());
        let signature = signature.as_bytes().to_vec();
        let line = SignatureLine::new(name.clone(), key.key_id(), signature).unwrap();
        SignedCheckpoint::new(checkpoint, vec![line]).unwrap()
    };
    let mut keys = KnownKeys::new();
    keys.add_log(origin(), key.clone(), Standing::Current);
    let evidence = Evidence::same_size(by(&a), by(&b)).unwrap();
    assert_eq!(names(&evidence, &keys), [(Role::Log, key.to_string())]);
}

// Spec: EVI-42
#[test]
fn a_signature_that_only_some_verifiers_accept_convicts_nobody() {
    let cast = Cast::new();
    let (a, b) = forked(20, 7);
    let note = signed(ORIGIN, b.head(20), &[&cast.log]);
    // s + L is the same number to a verifier that does not look.
    let line = &note.signatures()[0];
    let mut signature = line.signature().to_vec();
    let mut carry = 0_u8;
    for (byte, order) in signature[32..].iter_mut().zip(GROUP_ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + u16::from(carry);
        [carry, *byte] = sum.to_be_bytes();
    }
    let line = jurat_proto::note::SignatureLine::new(line.name().clone(), line.key_id(), signature);
    let note = SignedCheckpoint::new(note.checkpoint().clone(), vec![line.unwrap()]).unwrap();
    let evidence = Evidence::same_size(signed(ORIGIN, a.head(20), &[&cast.log]), note).unwrap();
    assert_eq!(
        evidence.verify(&cast.keys()),
        Err(NotProven::NobodySignedBoth)
    );
}

const GROUP_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];
