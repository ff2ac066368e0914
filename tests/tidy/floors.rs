//! Imports go down only: between the rooms, and between the floors inside a room.

use std::collections::BTreeMap;

use crate::sources::{Finding, Source, rust, settle, with_suffix};

/// A room, and the rooms that it may stand on. ARCHITECTURE.md draws it.
const ROOMS: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("daemon", &[]),
    ("keys", &["proto"]),
    ("store", &["proto"]),
    ("witness", &["proto", "keys", "store", "daemon"]),
    ("", &["proto", "keys", "store", "daemon", "witness"]),
    ("fuzz", &["proto", "keys", "store", "daemon", "witness", ""]),
];

/// A foreign crate, and the only rooms whose shipped code may name it.
const WALLS: &[(&str, &[&str], &str)] = &[
    (
        "aws-lc-rs",
        &["keys"],
        "private keys and signing live in keys/",
    ),
    (
        "cryptoki",
        &["keys"],
        "private keys and signing live in keys/, also those in a token",
    ),
    ("ed25519-dalek", &["proto"], "verification lives in proto/"),
    ("ml-dsa", &["proto"], "verification lives in proto/"),
    ("p256", &["proto"], "verification lives in proto/"),
    ("p384", &["proto"], "verification lives in proto/"),
    ("p521", &["proto"], "verification lives in proto/"),
    (
        "rsa",
        &["proto"],
        "verification lives in proto/; it signs nothing",
    ),
    ("x509-cert", &["proto"], "certificates are read in proto/"),
    (
        "redb",
        &["store"],
        "what survives a restart lives in store/",
    ),
    ("rustls", &["daemon"], "TLS lives in daemon/"),
    (
        "tokio",
        &["daemon", "witness", ""],
        "proto/, keys/ and store/ have no tasks",
    ),
    (
        "hyper",
        &["daemon", "witness", ""],
        "proto/, keys/ and store/ know no HTTP",
    ),
    (
        "anyhow",
        &["witness", ""],
        "errors of a library are exact; anyhow is for main and cli",
    ),
    (
        "jiff",
        &[""],
        "dates are for people: command line and pages",
    ),
];

/// What `proto/` may ship with: hashing, signatures, DER, CBOR and base64.
const PROTO_SHIPS: &[&str] = &[
    "base64",
    "const-oid",
    "der",
    "ed25519-dalek",
    "minicbor",
    "ml-dsa",
    "p256",
    "p384",
    "p521",
    "rsa",
    "sha1",
    "sha2",
    "sha3",
    "x509-cert",
];

/// Inside a crate: the modules of the upper floor, which those of the lower one must not name.
const FLOORS: &[Floors] = &[
    Floors {
        room: "src/",
        upper: &["cli", "http", "web", "service"],
        lower: &["log", "submit", "cosigners", "evidence", "tsa", "audit"],
    },
    Floors {
        room: "witness/src/",
        upper: &["cli", "http", "page", "serve"],
        lower: &[
            "cosign", "evidence", "heads", "log_list", "about", "recheck", "gossip",
        ],
    },
];

struct Floors {
    room: &'static str,
    upper: &'static [&'static str],
    lower: &'static [&'static str],
}

#[test]
fn rooms_depend_downwards_only() {
    let mut findings = Vec::new();
    for manifest in with_suffix(&["Cargo.toml"]) {
        let room = manifest
            .path
            .trim_end_matches("Cargo.toml")
            .trim_end_matches('/');
        let Some((_, below)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            findings.push(manifest.finding(
                1,
                format!("`{room}` is no room that tests/tidy/floors.rs knows"),
                "say there on which rooms it may stand",
            ));
            continue;
        };
        findings.extend(check_manifest(&manifest, room, below));
    }
    settle(&findings);
}

fn check_manifest(manifest: &Source, room: &str, below: &[&str]) -> Vec<Finding> {
    let table: toml::Table = manifest.text.parse().expect("cargo has read it");
    let mut findings = Vec::new();
    for kind in ["dependencies", "build-dependencies", "dev-dependencies"] {
        let names = table
            .get(kind)
            .and_then(toml::Value::as_table)
            .into_iter()
            .flatten();
        for (name, _) in names {
            let line = line_of(manifest, kind, name);
            let foreign = name != "jurat" && !name.starts_with("jurat-");
            if !foreign {
                let other = name
                    .strip_prefix("jurat")
                    .unwrap_or_default()
                    .trim_start_matches('-');
                if other != room && !below.contains(&other) {
                    findings.push(manifest.finding(
                        line,
                        format!("`{room}/` may not depend on {name}"),
                        "imports go down only: move what is shared to a floor below both",
                    ));
                }
            } else if kind != "dev-dependencies" && room != "fuzz" {
                findings.extend(check_wall(manifest, room, line, name));
            }
        }
    }
    let inherits = table
        .get("lints")
        .and_then(|lints| lints.get("workspace"))
        .and_then(toml::Value::as_bool);
    if room != "fuzz" && inherits != Some(true) {
        findings.push(manifest.finding(
            1,
            "does not take the workspace's lints".to_owned(),
            "add `[lints]` with `workspace = true`",
        ));
    }
    findings
}

fn check_wall(manifest: &Source, room: &str, line: usize, name: &str) -> Option<Finding> {
    if room == "proto" && !PROTO_SHIPS.contains(&name) {
        return Some(manifest.finding(
            line,
            format!("proto/ ships with {name}"),
            "proto/ takes only hashing, signatures, DER, CBOR and base64",
        ));
    }
    let (_, rooms, reason) = WALLS.iter().find(|(crate_name, ..)| *crate_name == name)?;
    (!rooms.contains(&room)).then(|| {
        manifest.finding(
            line,
            format!("`{room}/` depends on {name}"),
            &format!("{reason}; ask it"),
        )
    })
}

fn line_of(manifest: &Source, kind: &str, name: &str) -> usize {
    let header = format!("[{kind}]");
    let below = manifest
        .lines()
        .skip_while(|(_, line)| line.trim() != header);
    let entry = below.into_iter().find(|(_, line)| {
        line.split(['=', '.', ' ']).next() == Some(name)
            || line.trim() == format!("[{kind}.{name}]")
    });
    entry.map_or(1, |(line, _)| line)
}

#[test]
fn lower_floors_do_not_name_upper_ones() {
    let findings: Vec<Finding> = rust().iter().flat_map(check_floors).collect();
    settle(&findings);
}

fn check_floors(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for floors in FLOORS {
        let Some(inside) = source.path.strip_prefix(floors.room) else {
            continue;
        };
        let module = inside.split(['/', '.']).next().unwrap_or_default();
        if !floors.lower.contains(&module) {
            continue;
        }
        for (line, name) in crate_paths(&source.code()) {
            if floors.upper.contains(&name.as_str()) {
                findings.push(source.finding(
                    line,
                    format!("{module} names crate::{name}, which stands above it"),
                    "pass it in as an argument or a trait, or move it down",
                ));
            }
        }
    }
    findings
}

/// The top-level modules that code names through `crate::`, groups included, with their lines.
fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        let line = 1 + code[..at].matches('\n').count();
        let rest = &code[at + found.len()..];
        let names = match rest.strip_prefix('{') {
            Some(group) => group_names(group),
            None => vec![identifier(rest)],
        };
        paths.extend(names.into_iter().map(|name| (line, name)));
    }
    paths
}

/// The first identifier of each item of a group, up to its closing brace.
fn group_names(group: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let mut items = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(String::new()),
            _ if depth == 0 => items.last_mut().unwrap().push(c),
            _ => {}
        }
    }
    items.iter().map(|item| identifier(item.trim())).collect()
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

#[test]
fn a_path_upwards_is_found_in_every_spelling() {
    for code in [
        "use crate::http::Routes;",
        "use crate::{log::Tree, http::{Routes, Status}};",
        "use crate::{\n    log,\n    http,\n};",
        "fn f(x: crate::http::X) {}",
    ] {
        let source = Source::new("src/log/tree.rs", code);
        assert_eq!(check_floors(&source).len(), 1, "{code}");
    }
    for code in [
        "// use crate::http;",
        "use crate::httpd;",
        "#[cfg(test)]\nmod t {\ncrate::http",
    ] {
        let source = Source::new("src/log/tree.rs", code);
        assert!(check_floors(&source).is_empty(), "{code}");
    }
}

#[test]
fn a_wall_stands_in_every_kind_of_dependency() {
    let forbidden = BTreeMap::from([
        ("store", "[dependencies]\njurat-keys.workspace = true"),
        (
            "keys",
            "[dev-dependencies]\njurat-store = { path = \"../store\" }",
        ),
        ("proto", "[dependencies]\nserde = \"1\""),
        ("daemon", "[build-dependencies]\naws-lc-rs = \"1\""),
        ("witness", "[dependencies]\njurat = { path = \"..\" }"),
    ]);
    for (room, text) in forbidden {
        let manifest = Source::new(
            "x/Cargo.toml",
            &format!("{text}\n[lints]\nworkspace = true"),
        );
        let below = ROOMS.iter().find(|(name, _)| *name == room).unwrap().1;
        let findings = check_manifest(&manifest, room, below);
        assert_eq!(findings.len(), 1, "{room}: {text}");
        assert_eq!(findings[0].line, 2);
    }
}
