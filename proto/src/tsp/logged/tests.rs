//! What a log of eight entries proves about the token at its sixth.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::cosignature::{cosign, sign_note};
use crate::entry::{ClockEntry, ClockEvent, KeyEntry, KeyPurpose};
use crate::hash::node_hash;
use crate::proof::InclusionProof;
use crate::test_signer::TestSigner;
use crate::tsp::not_before::NotBefore;
use crate::tsp::response::TimestampResponse;
use crate::tsp::signed_data::Certificates;
use crate::tsp::test_authority::{NOW, TestAuthority, request, tst_info};
use crate::tsp::tst_info::{Extensions, SerialNumber};
use crate::tsp::verify::{Expected, verify_token, verify_unrooted};

const ORIGIN: &str = "log.example/time";
const PLACE: u64 = 5;
const QUORUM: &str = "group all 2 w0 w1 w2\nquorum all\n";

fn witnesses() -> [TestSigner; 3] {
    [0, 1, 2].map(|place| TestSigner::cosigner(&format!("w{place}.example"), 20 + place))
}

fn policy_of(origin: &str, quorum: &str) -> Policy {
    let mut text = format!("log {}\n", TestSigner::note(origin, 11).key);
    for (place, witness) in witnesses().iter().enumerate() {
        writeln!(text, "witness w{place} {}", witness.key).unwrap();
    }
    Policy::parse([&text, quorum].concat().as_bytes()).unwrap()
}

fn policy() -> Policy {
    policy_of(ORIGIN, QUORUM)
}

/// A checkpoint, signed by the log and cosigned by the witnesses that have a time.
fn cosigned(origin: &str, size: u64, root_hash: Hash, times: &[Option<u64>]) -> SignedCheckpoint {
    let checkpoint = Checkpoint {
        origin: Origin::parse(origin).unwrap(),
        head: TreeHead {
            size: TreeSize::new(size).unwrap(),
            root_hash,
        },
        extensions: crate::checkpoint::ExtensionLines::new(),
    };
    let log = TestSigner::note(origin, 11);
    let mut lines = vec![sign_note(&checkpoint.to_text(), &log).unwrap()];
    for (witness, time) in witnesses().iter().zip(times) {
        if let Some(time) = time {
            let time = UnixSeconds::new(*time).unwrap();
            lines.push(cosign(&checkpoint, time, witness).unwrap());
        }
    }
    SignedCheckpoint::new(checkpoint, lines).unwrap()
}

/// The receipt of an entry at a place of a tree of eight leaves, in which nothing else is known.
fn receipt(origin: &str, place: u64, entry: Entry, times: &[Option<u64>]) -> Receipt {
    let others = [1, 2, 3].map(|byte| Hash::new([byte; 32]));
    let mut root = entry.leaf_hash();
    for (level, other) in others.iter().enumerate() {
        root = if place >> level & 1 == 0 {
            node_hash(&root, other)
        } else {
            node_hash(other, &root)
        };
    }
    let proof = InclusionProof::new(others.to_vec()).unwrap();
    let checkpoint = cosigned(origin, 8, root, times);
    Receipt::new(entry, LeafIndex::new(place).unwrap(), proof, checkpoint).unwrap()
}

/// A token as the authority makes it: five seconds after the cosignatures in it.
fn info(authority: &TestAuthority) -> TstInfo {
    info_at(authority, NOW)
}

fn info_at(authority: &TestAuthority, now: u64) -> TstInfo {
    let origin = Origin::parse(ORIGIN).unwrap();
    let certificate = fingerprint(authority.unit.certificate());
    let unit = UnitId::of_certificate(&origin, &certificate);
    let times = [7, 6, 5].map(|ago| Some(now - ago));
    let before = cosigned(ORIGIN, 4, Hash::new([9; 32]), &times);
    TstInfo {
        serial: SerialNumber::of_unit(unit, LeafIndex::new(PLACE).unwrap()),
        gen_time: GenTime::new(now, 0).unwrap(),
        extensions: carrying(&before),
        ..tst_info(&authority.unit)
    }
}

fn carrying(checkpoint: &SignedCheckpoint) -> Extensions {
    Extensions::new(vec![NotBefore::new(checkpoint).unwrap().to_extension()]).unwrap()
}

/// The cosignatures of the tree with the token, a few seconds later.
const AFTER: [Option<u64>; 3] = [Some(NOW + 1), Some(NOW + 4), Some(NOW + 2)];

fn entry_of(info: &TstInfo) -> Entry {
    Entry::Timestamp(TimestampEntry::of(info).unwrap())
}

/// Files for other programs: a token of the past, plain and with its receipt, its policy, and the
/// closing of its key.
pub(crate) fn examples() -> Vec<(&'static str, Vec<u8>)> {
    const PAST: u64 = 1_790_000_000;
    let authority = TestAuthority::new();
    let info = info_at(&authority, PAST);
    let after = [1, 4, 2].map(|late| Some(PAST + late));
    let receipt = receipt(ORIGIN, PLACE, entry_of(&info), &after);
    let plain = authority.token(info, Certificates::Signer);
    let logged = plain.with_receipt(&receipt.to_bytes()).unwrap();
    let granted = |token| TimestampResponse::granted(token).to_bytes();
    let closing = |place| closing(&authority, place, CloseReason::Compromise).to_bytes();
    vec![
        ("plain.tsr", granted(plain)),
        ("logged.tsr", granted(logged)),
        ("logged.policy", policy().to_bytes()),
        ("receipt.tlog-proof", receipt.to_bytes()),
        ("closed-after.tlog-proof", closing(PLACE + 1)),
        ("closed-before.tlog-proof", closing(PLACE - 1)),
    ]
}

fn good_receipt(info: &TstInfo) -> Receipt {
    receipt(ORIGIN, PLACE, entry_of(info), &AFTER)
}

/// Verifies a token that says this, signed by the authority.
fn verify_with(
    authority: &TestAuthority,
    info: &TstInfo,
    policy: &Policy,
    receipt: Option<&Receipt>,
    closings: &[Closing],
) -> Result<LoggedVerdict, LoggedError> {
    let token = authority.token(info.clone(), Certificates::Signer);
    let request = request();
    let expected = Expected::of_request(&request);
    let now = GenTime::new(NOW + 86_400, 0).unwrap();
    let verdict = verify_token(&token, expected, authority.trust(), now).unwrap();
    let evidence = Evidence {
        policy,
        receipt,
        closings,
    };
    verify_logged(&token, &verdict, evidence)
}

fn verify(info: &TstInfo, receipt: Option<&Receipt>) -> Result<LoggedVerdict, LoggedError> {
    verify_with(&TestAuthority::new(), info, &policy(), receipt, &[])
}

fn misissued(answer: Result<LoggedVerdict, LoggedError>) -> Misissuance {
    match answer {
        Err(LoggedError::Misissued(misissuance)) => misissuance,
        other => panic!("{other:?}"),
    }
}

// Spec: TSP-81, TSP-83, TSP-84, TSP-88
#[test]
fn a_logged_token_is_bracketed_by_the_times_of_two_quorums() {
    let info = info(&TestAuthority::new());
    let verdict = verify(&info, Some(&good_receipt(&info))).unwrap();
    assert_eq!(verdict.class(), TokenClass::Bracketed);
    // Two of three: the second time from the end, and from the start.
    let second = |time| UnixSeconds::new(time);
    assert_eq!(verdict.not_before.time(), second(NOW - 6));
    assert_eq!(verdict.not_after, second(NOW + 2));
    // A bracket that ends before it begins bounds nothing.
    let mut torn = verdict.clone();
    torn.not_after = second(NOW - 7);
    assert_eq!(torn.class(), TokenClass::Bracketed);
    torn.not_after = second(NOW - 8);
    assert_eq!(torn.class(), TokenClass::Witnessed);
    let proof = verdict.proof.as_ref().unwrap();
    assert_eq!(proof.index.get(), PLACE);
    assert_eq!(proof.origin.as_str(), ORIGIN);
    assert_eq!(proof.witnesses.len(), 3);
    assert_eq!(verdict.closing, None);
    let NotBeforeBound::Shown { head, .. } = &verdict.not_before else {
        panic!("{verdict:?}");
    };
    assert_eq!(head.size.get(), 4);
}

// Spec: TSP-84, TSP-88
#[test]
fn what_is_missing_lowers_the_class_and_nothing_else() {
    let authority = TestAuthority::new();
    let whole = info(&authority);
    let plain = TstInfo {
        extensions: Extensions::default(),
        ..whole.clone()
    };
    let class = |info: &TstInfo, quorum: &str, receipt: Option<&Receipt>| {
        let policy = policy_of(ORIGIN, quorum);
        verify_with(&authority, info, &policy, receipt, &[]).unwrap()
    };
    // Without a receipt the cosignatures inside still say that it is not older.
    let alone = class(&whole, QUORUM, None);
    assert_eq!(alone.class(), TokenClass::SignatureOnly);
    assert_eq!(alone.not_before.time(), UnixSeconds::new(NOW - 6));
    assert_eq!(alone.not_after, None);
    let nothing = class(&plain, QUORUM, None);
    assert_eq!(nothing.not_before, NotBeforeBound::Absent);
    assert_eq!(nothing.class(), TokenClass::SignatureOnly);
    let witnessed = class(&plain, QUORUM, Some(&good_receipt(&plain)));
    assert_eq!(witnessed.class(), TokenClass::Witnessed);
    assert_eq!(witnessed.not_after, UnixSeconds::new(NOW + 2));
    // Nobody is asked for, so no quorum stands for a time, nor for the log.
    let unasked = class(&whole, "quorum none\n", Some(&good_receipt(&whole)));
    assert_eq!(unasked.class(), TokenClass::Logged);
    assert!(!unasked.shows(TokenClass::Witnessed));
    assert_eq!((unasked.not_before.time(), unasked.not_after), (None, None));
    let unwitnessed = receipt(ORIGIN, PLACE, entry_of(&whole), &[]);
    let logged = class(&whole, "quorum none\n", Some(&unwitnessed));
    assert_eq!(logged.class(), TokenClass::Logged);
    // Cosignatures that do not meet the verifier's policy.
    let stale = class(&whole, "group g 3 w0 w1 w2\nquorum g\n", None);
    assert_eq!(stale.not_before.time(), UnixSeconds::new(NOW - 7));
    let mut strangers = whole;
    strangers.extensions = carrying(&cosigned("another.example", 4, Hash::new([9; 32]), &AFTER));
    let unknown = class(&strangers, QUORUM, None);
    assert!(matches!(
        unknown.not_before,
        NotBeforeBound::NotShown(PolicyError::UnknownLog { .. })
    ));
}

// Spec: TSP-89
#[test]
fn without_a_root_the_log_vouches_for_its_own_units_only() {
    let authority = TestAuthority::new();
    let info = info(&authority);
    let policy = policy();
    let now = GenTime::new(NOW + 86_400, 0).unwrap();
    let verify = |info: &TstInfo, receipt: Option<&Receipt>| {
        let token = authority.token(info.clone(), Certificates::Signer);
        let request = request();
        let expected = Expected::of_request(&request);
        let verdict = verify_unrooted(&token, expected, &[], now).unwrap();
        assert_eq!(verdict.root, None);
        let evidence = Evidence {
            policy: &policy,
            receipt,
            closings: &[],
        };
        verify_logged(&token, &verdict, evidence)
    };
    let good = verify(&info, Some(&good_receipt(&info))).unwrap();
    assert_eq!(good.class(), TokenClass::Bracketed);
    assert_eq!(verify(&info, None), Err(LoggedError::NobodyVouches));
    // Anybody can make a certificate, but no unit of the log's from it.
    let mut foreign = info.clone();
    foreign.serial = tst_info(&authority.unit).serial;
    let receipt = receipt(ORIGIN, PLACE, entry_of(&foreign), &AFTER);
    let answer = verify(&foreign, Some(&receipt));
    assert!(matches!(answer, Err(LoggedError::OtherLog { .. })));
}

// Spec: TSP-88
#[test]
fn a_class_shows_what_is_below_it() {
    let order = [
        TokenClass::SignatureOnly,
        TokenClass::Logged,
        TokenClass::Witnessed,
        TokenClass::Bracketed,
    ];
    let info = info(&TestAuthority::new());
    let bracketed = verify(&info, Some(&good_receipt(&info))).unwrap();
    assert!(order.iter().all(|class| bracketed.shows(*class)));
    assert!(!bracketed.shows(TokenClass::KeyClosed));
    let alone = verify(&info, None).unwrap();
    assert_eq!(
        order.map(|class| alone.shows(class)),
        [true, false, false, false]
    );
    let names = order.map(TokenClass::name);
    assert_eq!(
        names,
        ["signature only", "logged", "witnessed", "bracketed"]
    );
    assert_eq!(TokenClass::KeyClosed.to_string(), "key closed");
}

// Spec: TSP-81
#[test]
fn a_receipt_without_the_quorum_is_refused() {
    let info = info(&TestAuthority::new());
    let one = receipt(ORIGIN, PLACE, entry_of(&info), &AFTER[..1]);
    let error = verify(&info, Some(&one)).unwrap_err();
    let LoggedError::Receipt(tlog_proof::VerifyError::Policy(error)) = error else {
        panic!("{error:?}");
    };
    assert!(matches!(error, PolicyError::QuorumNotMet { .. }));
    // An entry that is not in the tree.
    let good = good_receipt(&info);
    let forged = Receipt::new(
        Entry::Clock(ClockEntry::new(ClockEvent::Lost, UnixSeconds::ZERO, "any").unwrap()),
        LeafIndex::new(PLACE).unwrap(),
        good.tlog_proof().proof().clone(),
        good.tlog_proof().checkpoint().clone(),
    );
    let error = verify(&info, Some(&forged.unwrap())).unwrap_err();
    assert!(matches!(
        error,
        LoggedError::Receipt(tlog_proof::VerifyError::Inclusion(_))
    ));
}

// Spec: TSP-80
#[test]
fn a_token_has_its_place_in_one_log() {
    let authority = TestAuthority::new();
    let info = info(&authority);
    let signer = authority.unit.certificate();
    let ours = policy();
    let place = log_of(&info, signer, &ours);
    assert_eq!(place, Some((ORIGIN, LeafIndex::new(PLACE).unwrap())));
    let another = policy_of("another.example", QUORUM);
    assert_eq!(log_of(&info, signer, &another), None);
    let foreign = tst_info(&authority.unit);
    assert_eq!(log_of(&foreign, signer, &ours), None, "another unit");
    // Another certificate makes another unit.
    let chain = TestAuthority::with_chain();
    assert_eq!(log_of(&info, chain.unit.certificate(), &ours), None);

    let elsewhere = receipt("another.example", PLACE, entry_of(&info), &AFTER);
    let answer = verify_with(&authority, &info, &another, Some(&elsewhere), &[]);
    let origin = Origin::parse("another.example").unwrap();
    assert_eq!(answer, Err(LoggedError::OtherLog { origin }));
    let answer = verify(&foreign, Some(&good_receipt(&info)));
    assert!(matches!(answer, Err(LoggedError::OtherLog { .. })));
    let other_place = receipt(ORIGIN, 3, entry_of(&info), &AFTER);
    let answer = verify(&info, Some(&other_place));
    let (token, receipt) = (LeafIndex::new(PLACE).unwrap(), LeafIndex::new(3).unwrap());
    assert_eq!(answer, Err(LoggedError::OtherIndex { token, receipt }));
}

/// Two tokens of one number, and one whose place went to something else.
// Spec: TSP-82
#[test]
fn another_entry_at_the_tokens_place_is_misissuance() {
    let info = info(&TestAuthority::new());
    let index = LeafIndex::new(PLACE).unwrap();
    for change in [
        |info: &mut TstInfo| info.gen_time = GenTime::new(NOW + 1, 0).unwrap(),
        |info: &mut TstInfo| info.accuracy = Accuracy::new(2, 0, 0),
        |info: &mut TstInfo| info.tsa = None,
    ] {
        let mut other = info.clone();
        change(&mut other);
        let answer = verify(&info, Some(&good_receipt(&other)));
        let kind = "timestamp";
        let expected = Misissuance::OtherEntry { index, kind };
        assert_eq!(misissued(answer), expected);
    }
    let clock = ClockEntry::new(ClockEvent::Regained, UnixSeconds::ZERO, "any").unwrap();
    let other = receipt(ORIGIN, PLACE, Entry::Clock(clock), &AFTER);
    let error = verify(&info, Some(&other)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "MISISSUED: at the token's place, 5, the log has another entry, of kind clock"
    );
    // No entry has a fraction of a second, so no token of ours has one.
    let mut fraction = info.clone();
    fraction.gen_time = GenTime::new(NOW, 500_000_000).unwrap();
    let answer = verify(&fraction, Some(&good_receipt(&info)));
    assert!(matches!(misissued(answer), Misissuance::OtherEntry { .. }));
}

// Spec: TSP-86
#[test]
fn a_place_that_its_own_checkpoint_has_taken_is_misissuance() {
    let mut info = info(&TestAuthority::new());
    let times = [Some(NOW - 3); 3];
    let of_size = |size| cosigned(ORIGIN, size, Hash::new([9; 32]), &times);
    info.extensions = carrying(&of_size(PLACE));
    assert!(verify(&info, None).is_ok());
    info.extensions = carrying(&of_size(PLACE + 1));
    let (index, size) = (LeafIndex::new(PLACE).unwrap(), TreeSize::new(6).unwrap());
    let expected = Misissuance::PlaceTaken { index, size };
    assert_eq!(misissued(verify(&info, None)), expected);
}

// Spec: TSP-85
#[test]
fn a_time_outside_the_cosignatures_is_misissuance_and_said_exactly() {
    let mut info = info(&TestAuthority::new());
    // A second of accuracy on either side, and the second that the witness has cut off.
    for (gen_time, good) in [
        (NOW - 8, false),
        (NOW - 7, true),
        (NOW + 3, true),
        (NOW + 4, false),
    ] {
        info.gen_time = GenTime::new(gen_time, 0).unwrap();
        let answer = verify(&info, Some(&good_receipt(&info)));
        assert_eq!(answer.is_ok(), good, "{gen_time}");
    }
    let error = verify(&info, Some(&good_receipt(&info))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "MISISSUED: the token says 2027-01-15T08:00:04Z, within 1000000 microseconds, and \
         witnesses had cosigned its entry by 2027-01-15T08:00:02Z"
    );
    info.gen_time = GenTime::new(NOW - 60, 0).unwrap();
    // The token alone shows it: no receipt is needed.
    let error = verify(&info, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "MISISSUED: the token says 2027-01-15T07:59:00Z, within 1000000 microseconds, and \
         carries cosignatures of 2027-01-15T07:59:54Z"
    );
}

/// The closing of the authority's key at a place of the log.
fn closing(authority: &TestAuthority, place: u64, reason: CloseReason) -> Receipt {
    let certificate = fingerprint(authority.unit.certificate());
    let key = KeyEntry {
        event: KeyEvent::Close(reason),
        purpose: KeyPurpose::TimestampUnit,
        unit: UnitId::of_certificate(&Origin::parse(ORIGIN).unwrap(), &certificate),
        certificate,
        time: UnixSeconds::new(NOW + 60).unwrap(),
    };
    receipt(ORIGIN, place, Entry::Key(key), &AFTER)
}

// Spec: TSP-87, TSP-88
#[test]
fn below_the_closing_a_proven_token_stays_good_and_all_else_is_refused() {
    let authority = TestAuthority::new();
    let info = info(&authority);
    let proven = good_receipt(&info);
    let verify = |receipt: Option<&Receipt>, closings: &[Closing]| {
        verify_with(&authority, &info, &policy(), receipt, closings)
    };
    for reason in CloseReason::ALL {
        let after = Closing::verify(&closing(&authority, 6, reason), &policy()).unwrap();
        assert_eq!((after.index.get(), after.reason), (6, reason));
        let good = verify(Some(&proven), core::slice::from_ref(&after)).unwrap();
        assert_eq!(good.class(), TokenClass::KeyClosed);
        assert!(good.shows(TokenClass::Bracketed));
        assert_eq!(good.closing.as_ref(), Some(&after));
        // Without a receipt, whoever has the key now may have made it.
        let refused = verify(None, core::slice::from_ref(&after));
        let index = None;
        assert_eq!(
            refused,
            Err(LoggedError::KeyClosed {
                closing: after.clone(),
                index
            })
        );
        for place in [0, 4] {
            let before = Closing::verify(&closing(&authority, place, reason), &policy()).unwrap();
            let both = [after.clone(), before.clone()];
            let refused = verify(Some(&proven), &both);
            let index = LeafIndex::new(PLACE);
            let error = LoggedError::KeyClosed {
                closing: before,
                index,
            };
            assert_eq!(refused, Err(error));
        }
    }
    // The closing of another key takes nothing away.
    let other = closing(&TestAuthority::with_chain(), 0, CloseReason::Compromise);
    let other = Closing::verify(&other, &policy()).unwrap();
    let verdict = verify(None, &[other]).unwrap();
    assert_eq!(
        (verdict.class(), verdict.closing),
        (TokenClass::SignatureOnly, None)
    );
}

// Spec: TSP-87
#[test]
fn a_closing_is_proven_and_of_its_own_log() {
    let authority = TestAuthority::new();
    let good = closing(&authority, 6, CloseReason::Compromise);
    let another = policy_of("another.example", QUORUM);
    let answer = Closing::verify(&good, &another);
    assert!(matches!(answer, Err(ClosingError::Receipt(_))));
    let Entry::Key(key) = good.entry() else {
        panic!("{good:?}");
    };
    let mut start = *key;
    start.event = KeyEvent::Start;
    let start = receipt(ORIGIN, 6, Entry::Key(start), &AFTER);
    let answer = Closing::verify(&start, &policy());
    assert_eq!(answer, Err(ClosingError::NotClosing { kind: "key" }));
    let info = info(&authority);
    let answer = Closing::verify(&good_receipt(&info), &policy());
    let kind = "timestamp";
    assert_eq!(answer, Err(ClosingError::NotClosing { kind }));
    let elsewhere = receipt("another.example", 6, Entry::Key(*key), &AFTER);
    let answer = Closing::verify(&elsewhere, &another);
    assert_eq!(answer, Err(ClosingError::OtherLog { unit: key.unit }));
}

// Spec: TSP-92
#[test]
fn an_upgrade_adds_the_right_receipt_and_changes_nothing_else() {
    let authority = TestAuthority::new();
    let info = info(&authority);
    let before = authority.token(info.clone(), Certificates::Signer);
    let with = |receipt: &Receipt| before.with_receipt(&receipt.to_bytes()).unwrap();
    let good = good_receipt(&info);
    assert_eq!(verify_upgrade(&before, &with(&good)), Ok(good.clone()));
    // One that had a receipt may come back with another.
    assert_eq!(verify_upgrade(&with(&good), &with(&good)), Ok(good.clone()));
    assert_eq!(
        verify_upgrade(&before, &before),
        Err(UpgradeError::NoReceipt)
    );
    let text = before.with_receipt(b"a receipt").unwrap();
    let answer = verify_upgrade(&before, &text);
    assert!(matches!(answer, Err(UpgradeError::Receipt(_))));
    let mut later = info.clone();
    later.gen_time = GenTime::new(NOW + 1, 0).unwrap();
    let another = authority.token(later.clone(), Certificates::Signer);
    let another = another.with_receipt(&good.to_bytes()).unwrap();
    let answer = verify_upgrade(&before, &another);
    assert_eq!(answer, Err(UpgradeError::OtherToken));
    for wrong in [
        good_receipt(&later),
        receipt(ORIGIN, 3, entry_of(&info), &AFTER),
    ] {
        let answer = verify_upgrade(&before, &with(&wrong));
        assert_eq!(answer, Err(UpgradeError::OtherEntry));
    }
    let loose = Receipt::new(
        entry_of(&info),
        LeafIndex::new(PLACE).unwrap(),
        good.tlog_proof().proof().clone(),
        cosigned(ORIGIN, 8, Hash::new([9; 32]), &AFTER),
    );
    let answer = verify_upgrade(&before, &with(&loose.unwrap()));
    assert!(matches!(answer, Err(UpgradeError::Proof(_))));
}

/// Times around [`NOW`], so that bounds are met and missed.
fn near() -> impl Strategy<Value = u64> {
    NOW - 4..NOW + 4
}

proptest! {
    /// The law in whole milliseconds, beside the code's nanoseconds.
    // Spec: TSP-85
    #[test]
    fn a_token_is_good_exactly_when_its_time_can_be_between_the_bounds(
        (whole, millis) in (near(), 0_u32..1000),
        accuracy in prop::option::of((0_u32..3, 0_u16..1000)),
        not_before in prop::option::of(prop_oneof![near(), NOW - 70..NOW + 70]),
        not_after in prop::option::of(prop_oneof![near(), NOW - 70..NOW + 70]),
    ) {
        let mut info = tst_info(&TestAuthority::new().unit);
        info.gen_time = GenTime::new(whole, millis * 1_000_000).unwrap();
        info.accuracy = accuracy.and_then(|(s, ms)| Accuracy::new(s, ms, 0));
        let time = |seconds: Option<u64>| seconds.and_then(UnixSeconds::new);
        let answer = verify_time(&info, time(not_before), time(not_after));
        let says = whole * 1000 + u64::from(millis);
        let margin = match accuracy {
            Some((s, ms)) if s > 0 || ms > 0 => u64::from(s) * 1000 + u64::from(ms),
            _ => 60_000,
        };
        // Some moment that the token allows is after the one and before the end of the other.
        let allowed = says - margin..=says + margin;
        let from = not_before.map_or(0, |second| second * 1000);
        let until = not_after.map_or(u64::MAX, |second| second * 1000 + 999);
        prop_assert_eq!(
            answer.is_ok(),
            *allowed.end() >= from && *allowed.start() <= until
        );
    }

    /// What a witness adds can only tighten the bracket, and the true time stays inside.
    // Spec: TSP-83, TSP-84
    #[test]
    fn honest_witnesses_bracket_the_true_time(
        before in prop::collection::vec(1_u64..30, 3),
        after in prop::collection::vec(0_u64..30, 3),
        missing in 0_usize..4,
    ) {
        let authority = TestAuthority::new();
        let mut info = info(&authority);
        let mut earlier: Vec<Option<u64>> = before.iter().map(|ago| Some(NOW - ago)).collect();
        let mut later: Vec<Option<u64>> = after.iter().map(|late| Some(NOW + late)).collect();
        if let (Some(one), Some(other)) = (earlier.get_mut(missing), later.get_mut(missing)) {
            (*one, *other) = (None, None);
        }
        info.extensions = carrying(&cosigned(ORIGIN, 4, Hash::new([9; 32]), &earlier));
        let receipt = receipt(ORIGIN, PLACE, entry_of(&info), &later);
        let verdict = verify(&info, Some(&receipt)).unwrap();
        prop_assert_eq!(verdict.class(), TokenClass::Bracketed);
        prop_assert!(verdict.not_before.time().unwrap().get() <= NOW);
        prop_assert!(verdict.not_after.unwrap().get() >= NOW);
    }

    /// Receipts are not protected by the token's signature.
    // Spec: TSP-81
    #[test]
    fn a_receipt_with_a_bit_changed_proves_the_same_or_nothing(
        at in any::<prop::sample::Index>(),
        bit in 0_u32..8,
    ) {
        let info = info(&TestAuthority::new());
        let good = good_receipt(&info);
        let mut bytes = good.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = Receipt::parse(&bytes)
            && let Ok(verdict) = verify(&info, Some(&changed))
        {
            // A line that became a stranger's does not count any more.
            let whole = verify(&info, Some(&good)).unwrap();
            let (proof, proven) = (verdict.proof.unwrap(), whole.proof.unwrap());
            prop_assert_eq!(proof.head, proven.head);
            prop_assert_eq!(proof.entry, proven.entry);
            prop_assert!(proof.witnesses.iter().all(|who| proven.witnesses.contains(who)));
        }
    }
}

/// Every sentence is one that a person can act on.
#[test]
fn errors_name_places_and_logs() {
    let authority = TestAuthority::new();
    let key = closing(&authority, 6, CloseReason::Compromise);
    let closing = Closing::verify(&key, &policy()).unwrap();
    let index = LeafIndex::new(7);
    let said: Vec<String> = [None, index]
        .map(|index| {
            let closing = closing.clone();
            LoggedError::KeyClosed { closing, index }.to_string()
        })
        .into();
    assert_eq!(
        said,
        [
            "the key was closed (compromise) at entry 6, and the token is not proven to stand \
             before",
            "the key was closed (compromise) at entry 6, and the token stands after it, at 7",
        ]
    );
}
