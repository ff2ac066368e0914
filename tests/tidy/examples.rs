//! Each configuration that the documents show passes `check-config`.
//!
//! An example is tried as its reader would use it: in a folder that `init` has just made, in the
//! place of the configuration there. So it names its files as `init` does, relative to itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::sources::{Finding, Source, settle, with_suffix};

#[test]
fn examples_pass_check_config() {
    let examples = with_suffix(&[".toml"]);
    let examples: Vec<&Source> = examples
        .iter()
        .filter(|source| source.path.starts_with("docs/examples/"))
        .collect();
    let findings: Vec<Finding> = examples
        .iter()
        .filter_map(|example| check(example))
        .collect();
    settle(&findings);
}

fn check(example: &Source) -> Option<Finding> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = folder.path().join("d");
    let witness = example.path.rsplit('/').next()?.starts_with("witness");
    let settings: toml::Table = match example.text.parse() {
        Ok(settings) => settings,
        Err(error) => return Some(example.finding(1, format!("{error}"), "write TOML")),
    };
    let named = |field: &str| {
        settings
            .get(field)
            .and_then(toml::Value::as_str)
            .unwrap_or_default()
    };
    let (config, init) = if witness {
        let init = jurat(&["witness", "init"], &dir, &["--name", named("name")]);
        ("witness.toml", init)
    } else {
        let init = jurat(
            &["init"],
            &dir,
            &["--origin", named("origin"), "--without-witnesses"],
        );
        ("jurat.toml", init)
    };
    if let Err(why) = init {
        return Some(example.finding(1, why, "give it an origin or name that init takes"));
    }
    let config = dir.join(config);
    assert!(config.is_file(), "init writes {}", config.display());
    fs::write(&config, &example.text).expect("the folder is ours");
    let check = if witness {
        jurat(&["witness", "check-config", "--config"], &config, &[])
    } else {
        jurat(&["check-config", "--config"], &config, &[])
    };
    check
        .err()
        .map(|why| example.finding(1, why, "correct the example, or check-config"))
}

fn jurat(before: &[&str], path: &Path, after: &[&str]) -> Result<(), String> {
    let output = Command::new(env!("CARGO_BIN_EXE_jurat"))
        .args(before)
        .arg(path)
        .args(after)
        .output()
        .expect("cargo has built it");
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("`jurat {}` says: {}", before.join(" "), why.trim()))
}
