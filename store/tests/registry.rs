//! The list of logs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use jurat_proto::checkpoint::Origin;
use jurat_proto::key::{KeyName, SignatureType, VerifierKey};
use jurat_store::registry::{Change, LogState, Problem, Registry, RegistryError};

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
        registry.log(&a).unwrap().keys,
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
