//! The smallest file, and the union of two.

use jurat_proto::checkpoint::{ExtensionLine, SignedCheckpoint};
use jurat_proto::evidence::{Evidence, Said, Standing};
use jurat_proto::note::SignatureLine;

use super::{Cast, ORIGIN, forked, names, one_of_each, origin};
use crate::signing::{Key, Tree, signed, spoiled, unsigned};

fn lines(evidence: &Evidence) -> [Vec<SignatureLine>; 2] {
    let (a, b) = evidence.statements();
    [
        a.signatures().to_vec(),
        b.map(|b| b.signatures().to_vec()).unwrap_or_default(),
    ]
}

// Spec: EVI-50, EVI-52
#[test]
fn a_minimal_file_has_one_line_for_each_convicted_key_and_convicts_the_same() {
    let cast = Cast::new();
    for (evidence, guilty) in one_of_each(&cast) {
        let (smallest, verdict) = evidence.minimised(&cast.keys()).unwrap();
        assert_eq!(Ok(&verdict), evidence.verify(&cast.keys()).as_ref());
        assert_eq!(smallest.id(), evidence.id());
        let [a, b] = lines(&smallest);
        assert_eq!(a.len(), guilty.len(), "{}", evidence.kind());
        assert!(b.len() == guilty.len() || b.is_empty());
        let again = smallest.minimised(&cast.keys()).unwrap();
        assert_eq!(again, (smallest, verdict), "once is enough");
    }
    // Bystanders, copies and failures go; the order is that of the bytes.
    let (a, b) = forked(20, 7);
    let all = [&cast.two, &cast.one, &cast.log];
    let mut noisy = signed(ORIGIN, a.head(20), &all).signatures().to_vec();
    noisy.insert(0, spoiled(&noisy[2]));
    noisy.push(cast.one.line(&unsigned(ORIGIN, a.head(20)), 5));
    let noisy = SignedCheckpoint::new(unsigned(ORIGIN, a.head(20)), noisy).unwrap();
    let other = signed(ORIGIN, b.head(20), &[&cast.one, &cast.log]);
    let evidence = Evidence::same_size(noisy, other).unwrap();
    let (smallest, _) = evidence.minimised(&cast.keys()).unwrap();
    for lines in lines(&smallest) {
        let said: Vec<String> = lines.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 2);
        assert!(said.is_sorted());
    }
}

// Spec: EVI-50
#[test]
fn a_file_against_a_log_across_its_keys_keeps_a_line_of_each() {
    let cast = Cast::new();
    let (a, b) = forked(20, 7);
    let mut keys = cast.keys();
    keys.add_log(origin(), cast.old_log.vkey(), Standing::Current);
    let evidence = Evidence::same_size(
        signed(ORIGIN, a.head(20), &[&cast.two, &cast.old_log]),
        signed(ORIGIN, b.head(20), &[&cast.log]),
    )
    .unwrap();
    let (smallest, verdict) = evidence.minimised(&keys).unwrap();
    assert_eq!(lines(&smallest).map(|lines| lines.len()), [1, 1]);
    assert_eq!(smallest.verify(&keys), Ok(verdict));
}

// Spec: EVI-51
#[test]
fn lines_of_strangers_stay_when_they_are_on_both_notes_and_at_most_sixteen() {
    let cast = Cast::new();
    let (a, b) = forked(20, 7);
    let strangers: Vec<Key> = (100..120)
        .map(|seed| Key::witness(&format!("s{seed}.example"), seed))
        .collect();
    let (on_both, on_one) = strangers.split_at(18);
    let with = |tree: &Tree, strangers: &[Key]| {
        let mut keys = vec![&cast.log];
        keys.extend(strangers);
        signed(ORIGIN, tree.head(20), &keys)
    };
    let evidence = Evidence::same_size(with(&a, &strangers), with(&b, on_both)).unwrap();
    let (smallest, _) = evidence.minimised(&cast.keys()).unwrap();
    for kept in lines(&smallest) {
        assert_eq!(kept.len(), 1 + 16);
        let stays = |key: &Key| kept.iter().any(|line| key.vkey().matches(line));
        assert!(!on_one.iter().any(stays));
    }
    // Somebody who knows them convicts them with the same file.
    let mut wiser = cast.keys();
    for stranger in on_both {
        wiser.add_cosigner(stranger.vkey()).unwrap();
    }
    assert_eq!(names(&smallest, &wiser).len(), 1 + 16);
}

// Spec: EVI-52
#[test]
fn extension_lines_that_no_signature_covers_go() {
    let cast = Cast::new();
    let (a, b) = forked(20, 7);
    let extended = |tree: &Tree, keys: &[&Key]| {
        let mut checkpoint = unsigned(ORIGIN, tree.head(20));
        checkpoint
            .extensions
            .push(&ExtensionLine::parse("extension").unwrap());
        let lines = keys.iter().map(|key| key.line(&checkpoint, 9)).collect();
        SignedCheckpoint::new(checkpoint, lines).unwrap()
    };
    let stays = |keys: &[&Key]| {
        let evidence = Evidence::same_size(extended(&a, keys), extended(&b, keys)).unwrap();
        let (smallest, verdict) = evidence.minimised(&cast.keys()).unwrap();
        assert_eq!(smallest.verify(&cast.keys()), Ok(verdict));
        let Said::Checkpoint(note) = smallest.statements().0 else {
            unreachable!("a checkpoint")
        };
        !note.checkpoint().extensions.is_empty()
    };
    assert!(!stays(&[&cast.ml_dsa]));
    assert!(!stays(&[&cast.ml_dsa, &cast.log_ml_dsa]));
    assert!(stays(&[&cast.ml_dsa, &cast.one]));
    assert!(stays(&[&cast.log]));
    assert!(
        stays(&[&cast.ml_dsa, &cast.stranger]),
        "what a stranger covers is not known"
    );
}

// Spec: EVI-53
#[test]
fn a_stripped_copy_protects_nobody() {
    let cast = Cast::new();
    let (a, b) = forked(20, 7);
    let of = |keys: &[&Key]| {
        let by = |tree: &Tree| signed(ORIGIN, tree.head(20), keys);
        Evidence::same_size(by(&a), by(&b)).unwrap()
    };
    let (stripped, whole) = (of(&[&cast.log]), of(&[&cast.one, &cast.ml_dsa]));
    assert_eq!(stripped.id(), whole.id());
    let (merged, verdict) = stripped.merged(&whole, &cast.keys()).unwrap();
    assert_eq!(verdict.guilty.len(), 3);
    assert_eq!(merged.verify(&cast.keys()), Ok(verdict));
    assert_eq!(whole.merged(&stripped, &cast.keys()).unwrap().0, merged);
    assert_eq!(merged.merged(&stripped, &cast.keys()).unwrap().0, merged);
    // What proves nothing adds nothing, and another contradiction is not mixed in.
    let noise = of(&[&cast.stranger]);
    assert_eq!(stripped.merged(&noise, &cast.keys()).unwrap().0, stripped);
    assert_eq!(noise.merged(&stripped, &cast.keys()).unwrap().0, stripped);
    let (other, _) = one_of_each(&cast).remove(3);
    assert_eq!(stripped.merged(&other, &cast.keys()).unwrap().0, stripped);
    // Other extension lines are another text, whose signatures are no good under this one.
    let extended = |tree: &Tree| {
        let mut checkpoint = unsigned(ORIGIN, tree.head(20));
        checkpoint
            .extensions
            .push(&ExtensionLine::parse("x").unwrap());
        let line = cast.one.line(&checkpoint, 9);
        SignedCheckpoint::new(checkpoint, vec![line]).unwrap()
    };
    let variant = Evidence::same_size(extended(&a), extended(&b)).unwrap();
    assert_eq!(variant.id(), stripped.id());
    assert_eq!(stripped.merged(&variant, &cast.keys()).unwrap().0, stripped);
}

// Spec: EVI-51, EVI-53
#[test]
fn nobody_shields_a_witness_with_a_line_in_its_name() {
    let cast = Cast::new();
    let (a, b) = forked(20, 7);
    let mut wiser = cast.keys();
    wiser.add_cosigner(cast.stranger.vkey()).unwrap();
    let by = |tree: &Tree, keys: &[&Key]| signed(ORIGIN, tree.head(20), keys);
    let with = |note: &SignedCheckpoint, first: Vec<SignatureLine>| {
        let lines = [first, note.signatures().to_vec()].concat();
        SignedCheckpoint::new(note.checkpoint().clone(), lines).unwrap()
    };
    // A line of a stranger's name that fails stands before the one that is good.
    let keys = [&cast.log, &cast.stranger];
    let bad = |note: &SignedCheckpoint| vec![spoiled(&note.signatures()[1])];
    let (on_a, on_b) = (by(&a, &keys), by(&b, &keys));
    let shielded = Evidence::same_size(with(&on_a, bad(&on_a)), on_b).unwrap();
    let (smallest, _) = shielded.minimised(&cast.keys()).unwrap();
    assert_eq!(names(&smallest, &wiser).len(), 2);

    // Two that fail make the rest drop unseen: it stays for who tries again.
    let keys = [&cast.one, &cast.two, &cast.log, &cast.ml_dsa];
    let (on_a, on_b) = (by(&a, &keys), by(&b, &keys));
    let fail = |note: &SignedCheckpoint| note.signatures()[..2].iter().map(spoiled).collect();
    let shielded = Evidence::same_size(with(&on_a, fail(&on_a)), on_b).unwrap();
    let (smallest, verdict) = shielded.minimised(&cast.keys()).unwrap();
    assert_eq!(verdict.guilty.len(), 2, "the log, and the first witness");
    assert_eq!(names(&smallest, &cast.keys()).len(), 4);

    // What is known for another's gossip, somebody else may know for a cosigner's.
    let mut other = cast.keys();
    let gossiping = Key::log("w9.example", 9);
    other.add_gossip(gossiping.vkey(), &[]).unwrap();
    let keys = [&cast.log, &gossiping];
    let evidence = Evidence::same_size(by(&a, &keys), by(&b, &keys)).unwrap();
    let (smallest, _) = evidence.minimised(&other).unwrap();
    assert_eq!(lines(&smallest).map(|lines| lines.len()), [2, 2]);
}

// Spec: EVI-53
#[test]
fn what_comes_later_displaces_nothing() {
    let cast = Cast::new();
    let (a, b) = forked(20, 7);
    let of = |keys: &[&Key]| {
        let by = |tree: &Tree| signed(ORIGIN, tree.head(20), keys);
        Evidence::same_size(by(&a), by(&b)).unwrap()
    };
    let mut wiser = cast.keys();
    // Whichever lines sort first, those that were there stay.
    for seed in 30..36 {
        let guilty = Key::witness("guilty.example", seed);
        wiser.add_cosigner(guilty.vkey()).unwrap();
        let kept = of(&[&cast.log, &guilty]).minimised(&cast.keys()).unwrap().0;
        let noise: Vec<Key> = (100..116)
            .map(|seed| Key::witness(&format!("a{seed}.example"), seed))
            .collect();
        let mut keys = vec![&cast.log];
        keys.extend(&noise);
        let (merged, _) = kept.merged(&of(&keys), &cast.keys()).unwrap();
        assert_eq!(names(&merged, &wiser).len(), 2, "seed {seed}");
        assert_eq!(merged.merged(&of(&keys), &cast.keys()).unwrap().0, merged);
    }
    // Nor is what ML-DSA-44 covers lost for the extension lines that it does not.
    let extended = |tree: &Tree, keys: &[&Key]| {
        let mut checkpoint = unsigned(ORIGIN, tree.head(20));
        let extension = ExtensionLine::parse("extension").unwrap();
        checkpoint.extensions.push(&extension);
        let lines = keys.iter().map(|key| key.line(&checkpoint, 9)).collect();
        SignedCheckpoint::new(checkpoint, lines).unwrap()
    };
    let variant = |keys: &[&Key]| {
        let whole = Evidence::same_size(extended(&a, keys), extended(&b, keys)).unwrap();
        whole.minimised(&cast.keys()).unwrap().0
    };
    let (bare, full) = (variant(&[&cast.ml_dsa]), variant(&[&cast.one]));
    for (one, other) in [(&bare, &full), (&full, &bare)] {
        let (merged, verdict) = one.merged(other, &cast.keys()).unwrap();
        assert_eq!(verdict.guilty.len(), 2);
        assert_eq!(merged.verify(&cast.keys()), Ok(verdict));
    }
}
