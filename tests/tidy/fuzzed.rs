//! Every parser of untrusted bytes has a fuzz target.

use crate::sources::{Finding, Source, rust, settle};

#[test]
fn every_parser_of_proto_is_fuzzed() {
    let sources = rust();
    let targets: String = sources
        .iter()
        .filter(|s| s.path.starts_with("fuzz/"))
        .map(Source::code)
        .collect();
    let findings: Vec<Finding> = sources
        .iter()
        .filter(|source| source.path.starts_with("proto/src/"))
        .flat_map(|source| check(source, &targets))
        .collect();
    settle(&findings);
}

fn check(source: &Source, targets: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut owner = String::new();
    let code = source.code();
    for (above, line) in code.lines().enumerate() {
        if line.starts_with("impl") {
            owner = owner_of(line);
        } else if line.starts_with('}') {
            owner.clear();
        }
        let Some((_, rest)) = line.split_once("pub fn ") else {
            continue;
        };
        let name: String = rest
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        if name != "parse" && !name.starts_with("parse_") {
            continue;
        }
        let call = if owner.is_empty() {
            name
        } else {
            format!("{owner}::{name}")
        };
        if !targets.contains(&call) {
            findings.push(source.finding(
                above + 1,
                format!("no fuzz target calls {call}"),
                "add it to fuzz/src, with a seed and the law that it must keep",
            ));
        }
    }
    findings
}

/// The type of an `impl` line, without generics.
fn owner_of(line: &str) -> String {
    let line = line.split(" for ").last().unwrap_or_default();
    let name = line.trim_start_matches("impl").trim_start();
    let name = if name.starts_with('<') {
        name.split_once("> ").map_or("", |(_, n)| n)
    } else {
        name
    };
    name.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

#[test]
fn a_parser_without_a_target_is_found() {
    let text = "impl<'a> Note<'a> {\n    pub fn parse() {}\n}\npub fn parse_decimal() {}\n";
    let source = Source::new("proto/src/note.rs", text);
    assert_eq!(check(&source, "").len(), 2);
    assert_eq!(
        check(&source, "Note::parse(data); parse_decimal(data)").len(),
        0
    );
}
