//! The list of logs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::cell::RefCell;
use std::io;
use std::num::{NonZeroU32, NonZeroU64};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use jurat_proto::checkpoint::Origin;
use jurat_proto::key::{KeyName, SignatureType, VerifierKey};
use jurat_store::registry::{
    About, Change, Dismissed, Edit, Hold, HoldCause, IMPORTED_MAX, LogState, Problem,
    REGISTRY_BYTES_MAX, Record, Registry, RegistryError, Resolution,
};

fn key(name: &str) -> VerifierKey {
    // The base point of the curve: a public key that everyone can check.
    let mut point = [0x66; 32];
    point[0] = 0x58;
    VerifierKey::from_parts(
        KeyName::parse(name).unwrap(),
        SignatureType::Ed25519,
        &point,
    )
    .unwrap()
}

fn origin(name: &str) -> Origin {
    Origin::parse(name).unwrap()
}

// Spec: STO-15
#[test]
fn logs_and_keys_are_added_and_never_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("logs.toml");
    let (a, b) = (origin("example.com/a"), origin("example.com/b"));
    assert!(matches!(
        Registry::load(&path),
        Err(RegistryError::Missing { .. })
    ));
    assert!(matches!(
        Registry::add(&path, &a, &[key("a")]),
        Err(RegistryError::Missing { .. })
    ));
    assert_eq!(Registry::create(&path).unwrap(), Registry::default());
    assert!(matches!(
        Registry::create(&path),
        Err(RegistryError::Exists { .. })
    ));
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    assert_eq!(
        Registry::add(&path, &a, &[key("a"), key("a")]).unwrap(),
        Change::Added
    );
    assert_eq!(
        Registry::add(&path, &a, &[key("a")]).unwrap(),
        Change::Nothing
    );
    assert_eq!(
        Registry::add(&path, &a, &[key("a2"), key("a")]).unwrap(),
        Change::KeysAdded(1)
    );
    assert_eq!(
        Registry::add(&path, &b, &[key("b")]).unwrap(),
        Change::Added
    );
    assert!(matches!(
        Registry::add(&path, &origin("keyless"), &[]),
        Err(RegistryError::NoKeys { .. })
    ));
    let disable = |origin| Registry::set_state(&path, origin, LogState::Disabled);
    assert_eq!(disable(&a).unwrap(), Change::StateChanged);
    assert_eq!(disable(&a).unwrap(), Change::Nothing);
    assert!(matches!(
        disable(&origin("nobody")),
        Err(RegistryError::UnknownLog { .. })
    ));
    // More keys do not make a disabled log active.
    assert_eq!(
        Registry::add(&path, &a, &[key("a3")]).unwrap(),
        Change::KeysAdded(1)
    );
    let registry = Registry::load(&path).unwrap();
    assert_eq!(registry.keys_for(&a), None);
    assert_eq!(
        registry.log(&a).unwrap().keys[..],
        [key("a"), key("a2"), key("a3")]
    );
    assert_eq!(registry.keys_for(&b), Some(&[key("b")][..]));
    assert_eq!(registry.keys_for(&origin("nobody")), None);
    assert_eq!(registry.logs().len(), 2);
    Registry::set_state(&path, &a, LogState::Active).unwrap();
    assert_eq!(
        Registry::load(&path).unwrap().keys_for(&a).unwrap().len(),
        3
    );
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640, "a change keeps the mode");
}

// Spec: STO-15
#[test]
fn changers_take_turns() {
    let directory = tempfile::tempdir().unwrap();
    let path = &directory.path().join("logs.toml");
    Registry::create(path).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for i in 0..5 {
                    let origin = origin(&format!("example.com/{thread}/{i}"));
                    Registry::add(path, &origin, &[key("k")]).unwrap();
                }
            });
        }
    });
    assert_eq!(Registry::load(path).unwrap().logs().len(), 20);
}

// Spec: STO-15
#[test]
fn a_list_behind_a_link_is_changed_where_it_is_and_keeps_its_owner() {
    let directory = tempfile::tempdir().unwrap();
    let (path, link) = (directory.path().join("real"), directory.path().join("link"));
    Registry::create(&path).unwrap();
    symlink(&path, &link).unwrap();
    // Only root can give a file away; everybody else checks the link.
    let given = chown(&path, Some(4_711), Some(4_712)).is_ok();
    Registry::add(&link, &origin("example.com/a"), &[key("a")]).unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(Registry::load(&path).unwrap().logs().len(), 1);
    let lock = directory.path().join("link.lock");
    assert!(!lock.exists(), "one list, one lock");
    if given {
        let metadata = path.metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (4_711, 4_712));
    }
}

// Spec: STO-15
#[test]
fn a_draft_that_a_crash_left_is_ignored_and_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("logs.toml");
    Registry::create(&path).unwrap();
    std::fs::write(directory.path().join("logs.toml.new"), "half a li").unwrap();
    assert_eq!(Registry::load(&path).unwrap().logs().len(), 0);
    Registry::add(&path, &origin("a"), &[key("a")]).unwrap();
    assert_eq!(Registry::load(&path).unwrap().logs().len(), 1);
}

// Spec: STO-16
#[test]
fn every_problem_of_a_list_is_named() {
    let good = key("a").to_string();
    let text = format!(
        r#"
        [[log]]
        origin = "a"
        keys = ["{good}", "nonsense", "{good}"]
        state = "active"
        [[log]]
        origin = "a"
        keys = []
        state = "disabled"
        [[log]]
        origin = ""
        keys = ["{good}"]
        state = "active"
        "#
    );
    let problems = Registry::parse(&text).unwrap_err();
    let named: Vec<String> = problems.iter().map(Problem::to_string).collect();
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    assert!(named[0].starts_with("log 1: key 2: "), "{named:?}");
    assert_eq!(
        named[1..4],
        [
            "log 1: key 3 is there already",
            "log 2: it has no key",
            "log 2: the origin \"a\" is there already",
        ]
    );
    assert!(
        named[4].starts_with("log 3: \"\" is no origin: "),
        "{named:?}"
    );
    for text in [
        "log = 1",
        "[[log]]",
        "[[logs]]",
        &format!("[[log]]\norigin = \"a\"\nkeys = [\"{good}\"]"),
        &format!("[[log]]\norigin = \"a\"\nkeys = [\"{good}\"]\nstate = \"on\""),
        &format!("[[log]]\norigin = \"a\"\nkeys = [\"{good}\"]\nstate = \"active\"\nnote = 1"),
    ] {
        let problems = Registry::parse(text).unwrap_err();
        assert!(
            matches!(problems.as_slice(), [Problem::Toml(_)]),
            "{text}: {problems:?}"
        );
    }
    assert_eq!(Registry::parse("").unwrap(), Registry::default());
}

// Spec: STO-15
#[test]
fn a_hold_survives_until_it_is_decided_and_dismissed_evidence_does_not_hold_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("logs.toml");
    let a = origin("example.com/a");
    Registry::create(&path).unwrap();
    Registry::add(&path, &a, &[key("a")]).unwrap();
    let url = "https://example.com/a/checkpoint";
    let about = About {
        url: Some(url.to_owned()),
        qpd: NonZeroU32::new(24),
        ..About::default()
    };
    let describe = || Registry::edit(&path, &(), |list| list.describe(&a, about.clone())).unwrap();
    assert_eq!(describe(), Change::Changed);
    assert_eq!(describe(), Change::Nothing);
    let hold = Hold {
        cause: HoldCause::Ours,
        since: 1_790_000_000,
        source: "https://example.com/a/checkpoint".to_owned(),
        why: "we cosigned size 9 and remember size 7".to_owned(),
        adopt: false,
        reason: None,
        evidence: "example.com/a\n9\n…\n\n— \"\"\" '''\\\n".to_owned(),
        below: None,
    };
    let set = || Registry::edit(&path, &(), |list| list.hold(&a, &hold, "00ff")).unwrap();
    assert_eq!(set(), Change::Changed);
    assert_eq!(set(), Change::Nothing, "the first evidence stays");
    let log = Registry::load(&path).unwrap().log(&a).unwrap().clone();
    assert_eq!(log.hold.as_deref(), Some(&hold));
    assert_eq!(log.url.as_deref(), Some(url));
    assert_eq!(log.qpd, NonZeroU32::new(24));

    let resolve =
        |evidence: &str, how| Registry::edit(&path, &(), |list| list.resolve(&a, evidence, how));
    assert!(matches!(
        resolve("other", Resolution::Release),
        Err(RegistryError::NotHeld { .. })
    ));
    let adopt = Resolution::Adopt {
        reason: "restored".to_owned(),
    };
    resolve(&hold.evidence, adopt).unwrap();
    let log = Registry::load(&path).unwrap().log(&a).unwrap().clone();
    assert!(log.hold.unwrap().adopt, "held until it is done");
    resolve(&hold.evidence, Resolution::Release).unwrap();
    assert_eq!(set(), Change::Changed);
    let dismissed = Dismissed {
        evidence: "00ff".to_owned(),
        reason: "a test key".to_owned(),
        at: 1_790_000_001,
    };
    resolve(&hold.evidence, Resolution::Dismiss(dismissed.clone())).unwrap();
    assert_eq!(set(), Change::Nothing, "the operator judged it");
    let log = Registry::load(&path).unwrap().log(&a).unwrap().clone();
    assert_eq!((log.hold, log.dismissed), (None, [dismissed].into()));
}

fn hold_for(cause: HoldCause, evidence: &str) -> Hold {
    Hold {
        cause,
        since: 1,
        source: "somewhere".to_owned(),
        why: "it is larger".to_owned(),
        adopt: false,
        reason: None,
        evidence: evidence.to_owned(),
        below: None,
    }
}

// Spec: GSP-187, GSP-188, GSP-211
#[test]
fn imported_heads_stand_together_and_below_what_has_to_be_decided() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("logs.toml");
    let a = origin("example.com/a");
    Registry::create(&path).unwrap();
    Registry::add(&path, &a, &[key("a")]).unwrap();
    let imported = hold_for(HoldCause::Imported, "nine");
    let put = |hold: &Hold| {
        let edited = Registry::edit(&path, &(), |list| list.hold(&a, hold, &hold.evidence));
        (edited.unwrap(), Registry::load(&path).unwrap())
    };
    let standing = |list: &Registry| list.log(&a).unwrap().hold.as_deref().cloned();
    assert_eq!(put(&imported).0, Change::Changed);
    let larger = hold_for(HoldCause::Imported, "twelve");
    assert_eq!(put(&larger).0, Change::Changed);
    assert_eq!(put(&larger).0, Change::Nothing, "it is there");
    assert_eq!(put(&imported).0, Change::Nothing, "it is there");
    let imported = Hold {
        below: Some(Box::new(imported.clone())),
        ..larger.clone()
    };
    let worse = hold_for(HoldCause::Fork, "another nine");
    let (change, list) = put(&worse);
    assert_eq!(change, Change::Changed);
    let both = Hold {
        below: Some(Box::new(imported.clone())),
        ..worse.clone()
    };
    assert_eq!(standing(&list), Some(both));
    let other = hold_for(HoldCause::Ours, "eleven");
    assert_eq!(put(&other).0, Change::Nothing);
    let more = hold_for(HoldCause::Imported, "fifteen");
    let (change, list) = put(&more);
    assert_eq!(change, Change::Changed, "below what has to be decided");
    let sizes: Vec<&str> = list
        .log(&a)
        .unwrap()
        .holds()
        .map(|it| &*it.evidence)
        .collect();
    assert_eq!(sizes, ["another nine", "fifteen", "twelve", "nine"]);
    let reached = ["fifteen".to_owned()];
    Registry::edit(&path, &(), |list| list.reach(&a, &reached)).unwrap();
    let resolve = |hold: &Hold| {
        let release = Resolution::Release;
        Registry::edit(&path, &(), |list| list.resolve(&a, &hold.evidence, release)).unwrap();
        standing(&Registry::load(&path).unwrap())
    };
    assert_eq!(resolve(&worse), Some(imported.clone()));
    let reach = |texts: &[&str]| {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let edited = Registry::edit(&path, &(), |list| list.reach(&a, &texts));
        (edited.unwrap(), standing(&Registry::load(&path).unwrap()))
    };
    assert_eq!(reach(&["another nine"]), (Change::Nothing, Some(imported)));
    put(&worse);
    // Also from below what has to be decided, which is not reached.
    let above = Hold {
        below: Some(Box::new(larger.clone())),
        ..worse.clone()
    };
    let both = ["nine", "another nine"];
    assert_eq!(reach(&both), (Change::Changed, Some(above)));
    assert_eq!(resolve(&worse), Some(larger));
    assert_eq!(reach(&["twelve"]), (Change::Changed, None));
}

// Spec: GSP-212
#[test]
fn a_log_waits_for_so_many_imported_heads_and_no_more() {
    let a = origin("example.com/a");
    let mut list = Registry::default();
    list.add_keys(&a, &[key("a")]).unwrap();
    let hold = |cause, evidence: String| Hold {
        cause,
        since: 1,
        source: "somewhere".to_owned(),
        why: "it is larger".to_owned(),
        adopt: false,
        reason: None,
        evidence,
        below: None,
    };
    for n in 0..=IMPORTED_MAX {
        let head = hold(HoldCause::Imported, n.to_string());
        let change = list.hold(&a, &head, &head.evidence).unwrap();
        let room = n < IMPORTED_MAX;
        assert_eq!(change == Change::Changed, room, "{n}");
    }
    assert_eq!(list.log(&a).unwrap().imported().count(), IMPORTED_MAX);
    let worse = hold(HoldCause::Fork, "another nine".to_owned());
    assert_eq!(list.hold(&a, &worse, "id").unwrap(), Change::Changed);
}

// Spec: GSP-185
#[test]
fn a_list_says_before_it_is_written_that_it_is_too_long() {
    let a = origin("example.com/a");
    let mut list = Registry::default();
    list.add_keys(&a, &[key("a")]).unwrap();
    list.check_length().unwrap();
    let about = About {
        contact: Some("x".repeat(REGISTRY_BYTES_MAX)),
        ..About::default()
    };
    list.describe(&a, about).unwrap();
    let error = list.check_length().unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
}

/// Writes down origins, and sees what the list on the disk is meanwhile.
struct Recorder<'p> {
    path: &'p std::path::Path,
    fails: bool,
    seen: RefCell<Vec<(String, bool, usize)>>,
}

impl Record for Recorder<'_> {
    fn record(&self, edits: &[Edit<'_>]) -> io::Result<()> {
        if self.fails {
            return Err(io::Error::other("the disk is full"));
        }
        let on_disk = Registry::load(self.path).unwrap().logs().len();
        for edit in edits {
            let origin = edit.after.origin.to_string();
            let new = edit.before.is_none();
            self.seen.borrow_mut().push((origin, new, on_disk));
        }
        Ok(())
    }
}

// Spec: STO-19
#[test]
fn a_change_is_written_down_before_it_is_made_and_not_made_when_it_cannot_be() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("logs.toml");
    Registry::create(&path).unwrap();
    let (a, b) = (origin("a"), origin("b"));
    let recorder = |fails| Recorder {
        path: &path,
        fails,
        seen: RefCell::default(),
    };
    let both = |list: &mut Registry| {
        list.add_keys(&a, &[key("a")])?;
        list.add_keys(&b, &[key("b")])
    };
    let failing = Registry::edit(&path, &recorder(true), both);
    assert!(matches!(failing, Err(RegistryError::NotRecorded(_))));
    assert_eq!(Registry::load(&path).unwrap(), Registry::default());

    let good = recorder(false);
    Registry::edit(&path, &good, both).unwrap();
    Registry::edit(&path, &good, both).unwrap();
    let off = |list: &mut Registry| list.switch(&b, LogState::Disabled, Some("it forked"));
    Registry::edit(&path, &good, off).unwrap();
    let seen = good.seen.into_inner();
    let expected = [("a", true, 0), ("b", true, 0), ("b", false, 2)];
    let expected = expected.map(|(origin, new, count)| (origin.to_owned(), new, count));
    assert_eq!(
        seen, expected,
        "only what changes, with the old list still there"
    );
    let list = Registry::load(&path).unwrap();
    assert_eq!(list.log(&b).unwrap().reason.as_deref(), Some("it forked"));
    assert_eq!(list.log(&a).unwrap().state, LogState::Active);

    // What one edit begins and cannot finish is not made at all.
    let unknown = origin("unknown");
    let half = Registry::edit(&path, &recorder(false), |list| {
        list.switch(&a, LogState::Disabled, None)?;
        list.switch(&unknown, LogState::Disabled, None)
    });
    assert!(matches!(half, Err(RegistryError::UnknownLog { .. })));
    assert_eq!(Registry::load(&path).unwrap(), list);
}

#[test]
fn an_origin_that_a_terminal_would_not_show_is_not_added() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("logs.toml");
    Registry::create(&path).unwrap();
    for name in ["a\u{9b}31m", "a\u{202e}b"] {
        let refused = Registry::add(&path, &origin(name), &[key("a")]);
        assert!(matches!(refused, Err(RegistryError::Unprintable { .. })));
    }
}

#[test]
fn a_problem_in_a_long_list_is_told_with_its_place() {
    let mut text = String::new();
    for number in 1..=5_000 {
        let vkey = key(&format!("log{number}")).to_string();
        let vkey = if number == 4_321 { "bad" } else { &vkey };
        text += &[
            "[[log]]\norigin = \"log",
            &number.to_string(),
            "\"\nkeys = [\"",
            vkey,
        ]
        .concat();
        text += "\"]\nstate = \"active\"\n";
    }
    let problems = Registry::parse(&text).unwrap_err();
    assert!(
        matches!(
            problems[..],
            [Problem::Key {
                log: 4_321,
                key: 1,
                ..
            }]
        ),
        "{problems:?}"
    );
}

// Spec: STO-16
#[test]
fn a_long_list_is_read_the_same_in_pieces_and_as_a_whole() {
    let vkey = key("log").to_string();
    let table = |number: usize, first: &str| {
        let state = "state = \"disabled\"\nreason = \"[[log]]\"";
        let dismissed = "[[log.dismissed]]\nevidence = \"00\"\nreason = \"r\"\nat = 1";
        format!(
            "{first}\norigin = \"log{number}\"\nkeys = [\n\"{vkey}\",\n]\n{state}\n{dismissed}\n"
        )
    };
    let list = |odd: &str| -> String {
        let first = |number| if number == 600 { odd } else { "[[log]]" };
        (1..=1_500)
            .map(|number| table(number, first(number)))
            .collect()
    };
    let plain = list("[[log]]");
    let pieces = Registry::parse(&plain).unwrap();
    assert_eq!(pieces.logs().len(), 1_500);
    // A comment with the marks of a long string is enough for the list to be read as a whole.
    let whole = Registry::parse(&format!("# '''\n{plain}")).unwrap();
    assert_eq!(pieces, whole);
    for odd in ["  [[log]]  ", "[[ log ]]", "[[log]] # odd", "[[\"log\"]]"] {
        assert_eq!(Registry::parse(&list(odd)).unwrap(), whole, "{odd}");
    }
    // What looks like a table in a long string is none.
    let hidden = list("[[log]]").replacen("\"[[log]]\"", "\"\"\"\n[[log]]\n\"\"\"", 1);
    assert_eq!(Registry::parse(&hidden).unwrap().logs().len(), 1_500);
    // A wrong line is told by its place in the whole; a log that is there twice by its number.
    let problems = Registry::parse(&list("[[log]]\nodd = 1")).unwrap_err();
    let [Problem::Toml(text)] = &problems[..] else {
        panic!("{problems:?}");
    };
    assert!(text.contains(&format!("line {}", 599 * 11 + 2)), "{text}");
    let twice = plain.replace("\"log900\"", "\"log1\"");
    let problems = Registry::parse(&twice).unwrap_err();
    assert!(
        matches!(&problems[..], [Problem::OriginTwice { log: 900, .. }]),
        "{problems:?}"
    );
    let field = Registry::parse(&format!("odd = 1\n{plain}")).unwrap_err();
    assert!(matches!(&field[..], [Problem::Toml(_)]), "{field:?}");
}

// Spec: STO-15
#[test]
fn a_lock_file_that_is_removed_while_it_is_waited_for_lets_no_change_be_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("logs.toml");
    Registry::create(&path).unwrap();
    let lock = directory.path().join("logs.toml.lock");
    for round in 0..20 {
        let held = std::fs::File::options().write(true).open(&lock).unwrap();
        held.lock().unwrap();
        std::thread::scope(|scope| {
            let add = |number: u32| {
                let (path, name) = (&path, format!("example.com/{round}/{number}"));
                move || Registry::add(path, &origin(&name), &[key("a")]).unwrap()
            };
            let mut adding: Vec<_> = (0..4).map(|number| scope.spawn(add(number))).collect();
            // Some wait for this file by now, and some come later to another one.
            std::fs::remove_file(&lock).unwrap();
            adding.extend((4..8).map(|number| scope.spawn(add(number))));
            drop(held);
            for added in adding {
                assert_eq!(added.join().unwrap(), Change::Added);
            }
        });
        let known = Registry::load(&path).unwrap().logs().len();
        assert_eq!(known, (round + 1) * 8, "a change was lost");
    }
}

// Spec: STO-37
#[test]
fn a_key_that_a_log_has_done_with_is_kept_and_not_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("logs.toml");
    let (a, old, new) = (origin("a"), key("old"), key("new"));
    Registry::create(&path).unwrap();
    Registry::add(&path, &a, std::slice::from_ref(&old)).unwrap();
    let retire = |key: &VerifierKey, retired| {
        Registry::edit(&path, &(), |list| list.retire(&a, key, retired))
    };
    assert!(matches!(
        retire(&old, true),
        Err(RegistryError::NoKeys { .. })
    ));
    assert!(matches!(
        retire(&new, true),
        Err(RegistryError::UnknownKey { .. })
    ));
    Registry::add(&path, &a, std::slice::from_ref(&new)).unwrap();
    assert_eq!(retire(&old, true).unwrap(), Change::Changed);
    assert_eq!(retire(&old, true).unwrap(), Change::Nothing);
    // Whoever adds it again, a list of others' for example, does not bring it back.
    let added = Registry::add(&path, &a, std::slice::from_ref(&old));
    assert_eq!(added.unwrap(), Change::Nothing);
    let list = Registry::load(&path).unwrap();
    assert_eq!(list.keys_for(&a).unwrap(), std::slice::from_ref(&new));
    assert_eq!(
        list.log(&a).unwrap().retired[..],
        *std::slice::from_ref(&old)
    );
    let about = About {
        empty_stops: Some(true),
        ..About::default()
    };
    Registry::edit(&path, &(), |list| list.describe(&a, about)).unwrap();
    assert!(Registry::load(&path).unwrap().log(&a).unwrap().empty_stops);
    assert_eq!(retire(&old, false).unwrap(), Change::Changed);
    let list = Registry::load(&path).unwrap();
    assert_eq!(list.keys_for(&a).unwrap(), [new, old.clone()]);
    let twice = format!(
        "[[log]]\norigin = \"a\"\nkeys = [\"{old}\"]\nretired = [\"{old}\"]\nstate = \"active\"\n"
    );
    let problems = Registry::parse(&twice).unwrap_err();
    assert!(matches!(
        problems.as_slice(),
        [Problem::KeyTwice { log: 1, key: 2 }]
    ));
}

// Spec: STO-16, WIT-133
#[test]
fn what_gossip_is_told_of_a_log_is_kept_and_taken_back_and_older_lists_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("logs.toml");
    let (a, key) = (origin("a"), key("a"));
    let old = format!("[[log]]\norigin = \"a\"\nkeys = [\"{key}\"]\nstate = \"active\"\n");
    std::fs::write(&path, &old).unwrap();
    let settings = || {
        let list = Registry::load(&path).unwrap();
        let log = list.log(&a).unwrap();
        (log.suspect_holds, log.cadence_s, log.pruned_below)
    };
    assert_eq!(settings(), (None, None, None));
    let say = |about: About| Registry::edit(&path, &(), |list| list.describe(&a, about)).unwrap();
    let (cadence, size) = (NonZeroU32::new(60), NonZeroU64::new(1 << 40));
    let all = About {
        suspect_holds: Some(Some(false)),
        cadence_s: Some(cadence),
        pruned_below: Some(size),
        ..About::default()
    };
    assert_eq!(say(all), Change::Changed);
    assert_eq!(settings(), (Some(false), cadence, size));
    // What is not said stays.
    assert_eq!(say(About::default()), Change::Nothing);
    assert_eq!(settings(), (Some(false), cadence, size));
    let none = About {
        suspect_holds: Some(None),
        cadence_s: Some(None),
        pruned_below: Some(None),
        ..About::default()
    };
    assert_eq!(say(none), Change::Changed);
    let again = std::fs::read_to_string(&path).unwrap();
    assert_eq!(again, old, "as it was before");
    let wrong = old + "cadence_s = 0\n";
    assert!(Registry::parse(&wrong).is_err());
}
