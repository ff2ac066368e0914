//! Lines, sizes, and words that do not belong in a source.

use crate::sources::{Finding, Source, rust, settle, with_suffix};

const COLUMNS_MAX: usize = 100;
/// A word of this length cannot be broken: an address, a hash, a key.
const UNBREAKABLE_COLUMNS: usize = 60;
const FILE_LINES_WARN: usize = 1_000;
const FILE_LINES_MAX: usize = 1_500;
/// How far above a sleep its reason may stand.
const REASON_LINES: usize = 3;

#[test]
fn lines_fit_in_a_hundred_columns() {
    let findings: Vec<Finding> = rust().iter().flat_map(long_lines).collect();
    settle(&findings);
}

fn long_lines(source: &Source) -> Vec<Finding> {
    let too_long = source.lines().filter(|(_, text)| {
        let longest = text
            .split_whitespace()
            .map(|word| word.chars().count())
            .max();
        text.chars().count() > COLUMNS_MAX && longest < Some(UNBREAKABLE_COLUMNS)
    });
    too_long
        .map(|(line, text)| {
            let columns = text.chars().count();
            source.finding(line, format!("{columns} columns"), "break it at 100")
        })
        .collect()
}

#[test]
fn files_stay_readable() {
    let mut findings = Vec::new();
    for source in rust() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            let what = format!("{lines} lines, of at most {FILE_LINES_MAX}");
            findings.push(source.finding(lines, what, "split it along its nouns"));
        } else if lines > FILE_LINES_WARN {
            println!(
                "{}: {lines} lines: time to split it along its nouns",
                source.path
            );
        }
    }
    settle(&findings);
}

#[test]
fn no_file_names_somebodys_machine() {
    // In two halves each, so that this file passes.
    let homes = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
    ];
    let mut findings = Vec::new();
    for source in with_suffix(&[
        ".rs", ".md", ".toml", ".go", ".mod", ".txt", ".html", "/run",
    ]) {
        for (line, text) in source.lines() {
            for home in homes.iter().filter(|home| text.contains(**home)) {
                let what = format!("`{home}` is a path of one machine");
                findings.push(source.finding(line, what, "make it relative, or a parameter"));
            }
        }
    }
    settle(&findings);
}

#[test]
fn tests_do_not_sleep_without_a_reason() {
    let findings: Vec<Finding> = rust().iter().flat_map(unexplained_sleeps).collect();
    settle(&findings);
}

/// Benches are let off: pacing a load is what they sleep for.
fn unexplained_sleeps(source: &Source) -> Vec<Finding> {
    if source.path.split('/').any(|part| part == "benches") {
        return Vec::new();
    }
    let lines: Vec<&str> = source.text.lines().collect();
    let mut findings = Vec::new();
    for (line, text) in source.lines() {
        let code = text.split("//").next().unwrap_or_default();
        let sleeps = code.contains("sleep(") && !code.contains("fn ");
        let explained = lines[line.saturating_sub(1 + REASON_LINES)..line]
            .iter()
            .any(|near| near.contains("// Wait: "));
        if sleeps && source.is_test(line) && !explained {
            findings.push(source.finding(
                line,
                "a test sleeps".to_owned(),
                "wait for what it waits for, or say why it cannot: `// Wait: reason`",
            ));
        }
    }
    findings
}

#[test]
fn no_test_is_put_aside() {
    let mut findings = Vec::new();
    for source in rust() {
        for (line, text) in source.lines() {
            if text.trim_start().starts_with("#[ignore") {
                let what = "a test is ignored".to_owned();
                findings.push(source.finding(line, what, "run it, or delete it"));
            }
        }
    }
    settle(&findings);
}

#[test]
fn what_is_left_to_do_is_not_left_in_the_code() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
    ];
    let mut findings = Vec::new();
    for source in rust() {
        for (line, text) in source.lines() {
            for mark in marks.iter().filter(|mark| text.contains(**mark)) {
                let what = format!("{mark} in a source");
                findings.push(source.finding(line, what, "do it, or say as a limit what holds"));
            }
        }
    }
    settle(&findings);
}

#[test]
fn a_long_line_is_found_unless_it_cannot_be_broken() {
    let breakable = format!("// {}", "word ".repeat(30));
    let unbreakable = format!("// https://{}", "a".repeat(120));
    assert_eq!(long_lines(&Source::new("a.rs", &breakable)).len(), 1);
    assert_eq!(long_lines(&Source::new("a.rs", &unbreakable)).len(), 0);
    assert_eq!(long_lines(&Source::new("a.rs", &"é ".repeat(50))).len(), 0);
}

#[test]
fn a_sleep_is_found_unless_its_reason_is_near() {
    let sleep = concat!("std::thread::sle", "ep(x);\n");
    assert_eq!(
        unexplained_sleeps(&Source::new("x/tests/a.rs", sleep)).len(),
        1
    );
    let explained = format!("// Wait: the clock of the other process.\n{sleep}");
    assert_eq!(
        unexplained_sleeps(&Source::new("x/tests/a.rs", &explained)).len(),
        0
    );
    assert_eq!(
        unexplained_sleeps(&Source::new("x/src/a.rs", sleep)).len(),
        0
    );
}
