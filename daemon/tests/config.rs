//! Strict configuration: all problems, each with its key, what is wrong and what would be right.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use jurat_daemon::config::{self, CONFIG_BYTES_MAX, ConfigError, Problems};
use jurat_daemon::exit;
use jurat_daemon::http::Limits;
use proptest::prelude::*;
use serde::Deserialize;
use tempfile::TempDir;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    origin: String,
    database: Option<String>,
    #[serde(default)]
    listen: RawListen,
    #[serde(default)]
    #[expect(dead_code, reason = "only parsed")]
    peer: Vec<RawPeer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawListen {
    address: String,
    limits: Limits,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only parsed")]
struct RawPeer {
    name: String,
    ports: Vec<u16>,
}

fn parse(text: &str) -> Result<Raw, Problems> {
    config::parse(text, Path::new("test.toml"))
}

fn keys(problems: &Problems) -> Vec<&str> {
    problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect()
}

#[test]
fn a_right_file_is_read_and_its_paths_start_at_its_directory() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("jurat.toml");
    fs::write(
        &file,
        "origin = 'x'\ndatabase = 'state/log.redb'\n[listen.limits]\nbody_timeout_ms = 70\n",
    )
    .unwrap();
    let loaded = config::load::<Raw>(&file).unwrap();
    assert_eq!(loaded.raw.origin, "x");
    let named = loaded.raw.database.clone().unwrap();
    assert_eq!(loaded.path(named), directory.path().join("state/log.redb"));
    assert_eq!(loaded.path("/absolute"), Path::new("/absolute"));
    assert_eq!(
        loaded.raw.listen.limits.body_timeout,
        Duration::from_millis(70)
    );
    assert_eq!(
        loaded.raw.listen.limits.connections_max,
        Limits::default().connections_max
    );
}

#[test]
fn all_problems_of_a_file_are_told_with_key_and_line() {
    let problems = parse(
        "origin = 7\nunknown = 1\n\n[listen]\naddress = 'x'\ntypo = [\n  1,\n]\n\n\
         [listen.limits]\nbody_timeout_ms = -1\nheader_timeout = 5\n\n\
         [[peer]]\nname = 'a'\nports = [\n  1,\n  70000,\n]\n",
    )
    .unwrap_err();
    assert_eq!(
        keys(&problems),
        [
            "origin",
            "unknown",
            "listen.typo",
            "listen.limits.body_timeout_ms",
            "listen.limits.header_timeout",
            "peer.ports",
        ],
        "{problems}"
    );
    let origin = problems
        .iter()
        .find(|problem| problem.key == "origin")
        .unwrap();
    assert_eq!(
        origin.wrong,
        "line 1: invalid type: integer `7`, expected a string"
    );
    assert_eq!(origin.right, "a string");
    assert!(
        !problems.iter().any(|p| p.wrong.contains("missing")),
        "{problems}"
    );
}

#[test]
fn a_missing_field_and_bad_syntax_are_problems() {
    let problems = parse("").unwrap_err();
    assert!(
        problems.to_string().contains("missing field `origin`"),
        "{problems}"
    );
    let problems = parse("origin = 'x'\norigin = 'y'\n").unwrap_err();
    assert!(problems.to_string().contains("line 2"), "{problems}");
    let problems = parse("origin = \n").unwrap_err();
    assert_eq!(problems.iter().len(), 1);
    assert_eq!(problems.iter().next().unwrap().right, "valid TOML");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = TempDir::new().unwrap();
    let absent = directory.path().join("absent.toml");
    let error = config::load::<Raw>(&absent).unwrap_err();
    assert!(matches!(&error, ConfigError::Read { file, .. } if *file == absent));
    assert_eq!(error.exit_code(), exit::USAGE);
    let huge = directory.path().join("huge.toml");
    let length = usize::try_from(CONFIG_BYTES_MAX).unwrap() + 1;
    fs::write(&huge, vec![b'#'; length]).unwrap();
    assert!(matches!(
        config::load::<Raw>(&huge),
        Err(ConfigError::Problems(_))
    ));
}

#[test]
fn a_resolver_collects_what_is_wrong_and_gives_nothing() {
    let mut problems = Problems::new(Path::new("test.toml"));
    let port: Option<u16> = problems.take("listen.port", "x".parse::<u16>(), "1 to 65535");
    assert_eq!(port, None);
    problems.check(false, "quorum", 3, "at most 2: there are two witnesses");
    problems.check(true, "fine", 1, "anything");
    let error = problems.finish(Some(())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "test.toml: 2 problems\n  \
         listen.port: invalid digit found in string (right: 1 to 65535)\n  \
         quorum: 3 (right: at most 2: there are two witnesses)"
    );
    assert_eq!(Problems::new(Path::new("x")).finish(Some(5)), Ok(5));
    assert!(Problems::new(Path::new("x")).finish(None::<u8>).is_err());
}

#[test]
fn limits_outside_their_range_are_problems_at_their_keys() {
    let mut problems = Problems::new(Path::new("test.toml"));
    Limits::default().check("listen.limits", &mut problems);
    assert!(problems.is_empty(), "{problems}");
    let limits = Limits {
        header_timeout: Duration::ZERO,
        body_timeout: Duration::from_secs(31),
        connections_max: 0,
        header_bytes_max: 100,
        ..Limits::default()
    };
    limits.check("listen.limits", &mut problems);
    assert_eq!(
        keys(&problems),
        [
            "listen.limits.header_timeout_ms",
            "listen.limits.body_timeout_ms",
            "listen.limits.connections_max",
            "listen.limits.header_bytes_max",
        ]
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "(\\PC|[\\[\\]='\"#\n. a-e0-9])*") {
        let _ = parse(&text);
        let _ = parse(&format!("origin = 1\n{text}"));
    }

    #[test]
    fn lines_in_any_order_terminate(lines in prop::collection::vec(prop::sample::select(vec![
        "origin = 'x'", "origin = 1", "[listen]", "[listen.limits]", "typo = 1", "[[peer]]",
        "name = 'é'", "ports = [1,\n 'x']", "a.b = 2", "'quoted=' = 3", "x = {a = 1, b = '['}",
    ]), 0..12)) {
        let _ = parse(&lines.join("\n"));
    }
}
