//! The commands that the documents show exist, with their flags.
//!
//! Read are the fenced blocks of README.md and of docs/: all lines of `sh` and `bash` blocks, and
//! the lines of `console` blocks behind a `$`. A command is looked up in the help of the real
//! program, a script or a cargo target in the tree.

use std::collections::BTreeMap;
use std::process::Command;

use crate::sources::{Finding, Source, root, settle, with_suffix};

/// What a stranger is promised to be able to run.
const PROMISED: &[&str] = &["cargo run --release -- demo", "tests/run"];

#[test]
fn the_readme_shows_the_promised_commands() {
    let readme = document("README.md");
    for promised in PROMISED {
        let shown = commands(&readme)
            .iter()
            .any(|(_, words)| words.join(" ") == *promised);
        assert!(
            shown,
            "README.md:1: does not show `{promised}`\n    mend: show it alone on a line of a block"
        );
    }
}

#[test]
fn every_command_shown_exists() {
    let mut helps = Helps::default();
    let mut findings = Vec::new();
    for source in with_suffix(&[".md"]) {
        if !source.path.contains('/') || source.path.starts_with("docs/") {
            for (line, words) in commands(&source) {
                if let Err(what) = check(&words, &mut helps) {
                    let mend = "correct the document, or the program";
                    findings.push(Finding {
                        line,
                        ..source.finding(line, what, mend)
                    });
                }
            }
        }
    }
    settle(&findings);
}

fn document(path: &str) -> Source {
    let text = std::fs::read_to_string(root().join(path));
    Source::new(
        path,
        &text.unwrap_or_else(|error| panic!("{path}: {error}")),
    )
}

/// Each command of the document's fenced blocks, with the line on which it begins.
fn commands(source: &Source) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut language: Option<String> = None;
    let mut unfinished: Option<(usize, String)> = None;
    for (line, text) in source.lines() {
        let text = text.trim();
        if let Some(after) = text.strip_prefix("```") {
            language = if language.is_some() {
                None
            } else {
                Some(after.to_owned())
            };
            continue;
        }
        let shown = match (language.as_deref(), &unfinished) {
            (Some("sh" | "bash"), _) | (Some("console"), Some(_)) => text,
            (Some("console"), None) => match text.strip_prefix("$ ") {
                Some(command) => command,
                None => continue,
            },
            _ => continue,
        };
        let (begun, mut whole) = unfinished.take().unwrap_or((line, String::new()));
        whole.push_str(shown);
        if let Some(continued) = whole.strip_suffix('\\') {
            unfinished = Some((begun, continued.to_owned()));
            continue;
        }
        found.extend(
            split_commands(&whole)
                .into_iter()
                .map(|words| (begun, words)),
        );
    }
    found
}

/// The simple commands of a shell line, each as words without quotes, assignments and redirections.
fn split_commands(line: &str) -> Vec<Vec<String>> {
    let mut list = vec![Vec::new()];
    for word in line.split_whitespace() {
        match word {
            "&&" | "||" | "|" | ";" | "&" => list.push(Vec::new()),
            _ if word.starts_with('#') => break,
            _ if word.starts_with(['>', '<']) || word.starts_with("2>") => {}
            _ => {
                let ends = word.ends_with(';');
                let word = word.trim_end_matches(';').trim_matches(['"', '\'']);
                list.last_mut().unwrap().push(word.to_owned());
                if ends {
                    list.push(Vec::new());
                }
            }
        }
    }
    for words in &mut list {
        let before = words
            .iter()
            .take_while(|w| *w == "sudo" || is_assignment(w))
            .count();
        words.drain(..before);
    }
    list.retain(|words| !words.is_empty());
    list
}

fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map_or("", |(name, _)| name);
    !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

fn check(words: &[String], helps: &mut Helps) -> Result<(), String> {
    let (program, arguments) = words.split_first().expect("no command is empty");
    let name = program.rsplit('/').next().unwrap_or_default();
    match name {
        "jurat" => helps.check(&["jurat"], arguments),
        "jurat-witness" => helps.check(&["jurat", "witness"], arguments),
        "cargo" => check_cargo(arguments, helps),
        _ if ["tests/", "fuzz/", ".ci/", "benches/"]
            .iter()
            .any(|p| program.starts_with(p)) =>
        {
            let exists = root().join(program).is_file();
            exists
                .then_some(())
                .ok_or_else(|| format!("{program} is not there"))
        }
        _ => Ok(()),
    }
}

fn check_cargo(arguments: &[String], helps: &mut Helps) -> Result<(), String> {
    let end = arguments
        .iter()
        .position(|word| word == "--")
        .unwrap_or(arguments.len());
    let (own, rest) = (
        &arguments[..end],
        arguments.get(end + 1..).unwrap_or_default(),
    );
    let value = |flags: [&str; 2]| {
        own.windows(2)
            .find(|pair| flags.contains(&pair[0].as_str()))
            .map(|pair| pair[1].as_str())
    };
    let package = value(["-p", "--package"]).unwrap_or("jurat");
    let room = package
        .strip_prefix("jurat")
        .unwrap_or(package)
        .trim_start_matches('-');
    if !root().join(room).join("Cargo.toml").is_file() {
        return Err(format!("there is no package {package}"));
    }
    for (flag, folder) in [
        ("--bench", "benches"),
        ("--test", "tests"),
        ("--example", "examples"),
    ] {
        if let Some(target) = value([flag, flag]) {
            let folder = root().join(room).join(folder);
            let exists = folder.join(format!("{target}.rs")).is_file()
                || folder.join(target).join("main.rs").is_file();
            if !exists {
                return Err(format!("{package} has no {flag} {target}"));
            }
        }
    }
    match (own.first().map(String::as_str), package) {
        (Some("run"), "jurat-witness") => helps.check(&["jurat", "witness"], rest),
        (Some("run"), _) => helps.check(&["jurat"], rest),
        _ => Ok(()),
    }
}

/// What `--help` prints, by program and subcommands. The witness's own program is the same code as
/// the hidden subcommand `jurat witness`, which every build of the tests has at hand.
#[derive(Default)]
struct Helps(BTreeMap<Vec<String>, String>);

impl Helps {
    fn of(&mut self, chain: &[String]) -> Result<&str, String> {
        if !self.0.contains_key(chain) {
            let output = Command::new(env!("CARGO_BIN_EXE_jurat"))
                .args(&chain[1..])
                .arg("--help")
                .output()
                .expect("cargo has built it");
            if !output.status.success() {
                return Err(format!("`{} --help` fails", chain.join(" ")));
            }
            let text = String::from_utf8(output.stdout).expect("help is text");
            self.0.insert(chain.to_vec(), text);
        }
        Ok(&self.0[chain])
    }

    fn check(&mut self, program: &[&str], arguments: &[String]) -> Result<(), String> {
        let mut chain: Vec<String> = program.iter().map(|word| (*word).to_owned()).collect();
        let mut descending = true;
        for word in arguments {
            let help = self.of(&chain)?;
            if word == "--" {
                break;
            }
            if word.starts_with('-') && word.len() > 1 {
                let flag = word.split('=').next().unwrap_or_default();
                if !names_flag(help, flag) {
                    return Err(format!("`{}` has no {flag}", chain.join(" ")));
                }
                descending = false;
            } else if descending {
                match subcommands(help) {
                    known if known.is_empty() => descending = false,
                    known if known.contains(&word.as_str()) => chain.push(word.clone()),
                    _ => return Err(format!("`{}` has no {word}", chain.join(" "))),
                }
            }
        }
        self.of(&chain).map(drop)
    }
}

fn subcommands(help: &str) -> Vec<&str> {
    let section = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    section
        .take_while(|line| line.starts_with(' '))
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect()
}

fn names_flag(help: &str, flag: &str) -> bool {
    flag == "--version"
        || help.match_indices(flag).any(|(at, _)| {
            let inside = |c: char| c.is_alphanumeric() || c == '-';
            !help[..at].ends_with(inside) && !help[at + flag.len()..].starts_with(inside)
        })
}

#[test]
fn commands_are_read_from_blocks_as_a_person_would() {
    let text = "```sh\nA=1 jurat serve \\\n  --config f # why\ntests/run && cargo test\n```\n\
                ```console\n$ jurat init x\nwritten\n```\n```text\njurat nothing\n```\n";
    let found = commands(&Source::new("README.md", text));
    let joined: Vec<_> = found
        .iter()
        .map(|(line, words)| (*line, words.join(" ")))
        .collect();
    let expected = [
        (2, "jurat serve --config f"),
        (4, "tests/run"),
        (4, "cargo test"),
        (7, "jurat init x"),
    ];
    assert_eq!(
        joined,
        expected.map(|(line, words)| (line, words.to_owned()))
    );
}

#[test]
fn a_command_that_does_not_exist_is_found() {
    let mut helps = Helps::default();
    for wrong in [
        "jurat conjure",
        "jurat serve --conjure",
        "jurat logs conjure",
        "cargo run --release -- conjure",
        "cargo test -p jurat-conjure",
        "cargo bench --bench conjure",
        "tests/conjure",
    ] {
        let words: Vec<String> = wrong.split(' ').map(str::to_owned).collect();
        assert!(check(&words, &mut helps).is_err(), "{wrong}");
    }
    for right in [
        "jurat serve --config f",
        "cargo run --release -- serve --config=f",
        "ls -l",
    ] {
        let words: Vec<String> = right.split(' ').map(str::to_owned).collect();
        assert_eq!(check(&words, &mut helps), Ok(()), "{right}");
    }
}
