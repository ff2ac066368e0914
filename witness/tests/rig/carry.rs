//! What one witness exports and another imports.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use jurat_proto::export::{Header, Part, to_bytes};
use jurat_proto::key::{KeyName, UnixSeconds};

use super::{Home, TestLog, run};

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

pub fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(both).unwrap()
}

/// A file that is not there, and the folder that it is in.
pub fn nowhere() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heads.export");
    (dir, path)
}

pub fn export(home: &Home, file: &Path, more: &[&str]) -> Output {
    let config = home.config();
    run(&[
        &["export", file.to_str().unwrap(), "--config", &config],
        more,
    ]
    .concat())
}

pub fn import(home: &Home, file: &Path, more: &[&str]) -> Output {
    let config = home.config();
    run(&[
        &["import", file.to_str().unwrap(), "--config", &config],
        more,
    ]
    .concat())
}

pub fn imported(home: &Home, file: &Path) {
    let output = import(home, file, &[]);
    assert_eq!(code(&output), 0, "{}", said(&output));
}

/// A file of another witness, with these notes, in order.
pub fn file_of(parts: &[Part]) -> (tempfile::TempDir, PathBuf) {
    let header = Header {
        name: KeyName::parse("other.example/w2").unwrap(),
        time: UnixSeconds::new(1_790_000_000).unwrap(),
    };
    let (dir, path) = nowhere();
    fs::write(&path, to_bytes(&header, parts).unwrap()).unwrap();
    (dir, path)
}

pub fn head_of(log: &TestLog, size: u64) -> (tempfile::TempDir, PathBuf) {
    file_of(&[Part::Head(log.checkpoint(size))])
}

pub fn state(home: &Home) -> [Option<Vec<u8>>; 2] {
    let files = ["logs.toml", "journal.ndjson"];
    files.map(|file| fs::read(home.path(file)).ok())
}

pub fn held(home: &Home) -> String {
    String::from_utf8(home.logs(&["list", "--held"]).stdout).unwrap()
}

pub fn journal(home: &Home) -> String {
    let output = home.logs(&["journal"]);
    assert_eq!(code(&output), 0);
    assert_eq!(code(&home.logs(&["journal", "--check"])), 0);
    said(&output)
}
