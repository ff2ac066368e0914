//! Each row of `spec/*.md` is obeyed somewhere and tested somewhere, and both places say so.
//!
//! A row is a table line whose first cell is an id such as `WIT-07`. A citation is a comment with
//! `Spec:` and one or more ids behind it, divided by commas; a comma at the end of the line goes
//! on in the next.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::{Finding, Source, rust, settle, with_suffix};

#[test]
fn every_row_is_cited_by_code_and_by_a_test() {
    let specs: Vec<Source> = with_suffix(&[".md"])
        .into_iter()
        .filter(|s| s.path.starts_with("spec/"))
        .collect();
    let sources: Vec<Source> = rust()
        .into_iter()
        .filter(|s| !s.path.starts_with("tests/tidy"))
        .collect();
    settle(&check(&specs, &sources));
}

struct Row<'a> {
    spec: &'a Source,
    line: usize,
}

fn check(specs: &[Source], sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut rows: BTreeMap<String, Row<'_>> = BTreeMap::new();
    for spec in specs {
        for (line, text) in spec.lines() {
            let Some(id) = row_id(text) else { continue };
            if let Some(first) = rows.get(&id) {
                findings.push(spec.finding(
                    line,
                    format!("{id} is also a row of {}:{}", first.spec.path, first.line),
                    "give one of them a number of its own",
                ));
            }
            rows.entry(id).or_insert(Row { spec, line });
        }
    }
    let (mut obeyed, mut tested) = (BTreeSet::new(), BTreeSet::new());
    for source in sources {
        for (line, id) in citations(source) {
            if !rows.contains_key(&id) {
                findings.push(source.finding(
                    line,
                    format!("cites {id}, which is no row of spec/*.md"),
                    "correct the id, or write the row",
                ));
            }
            if source.is_test(line) {
                tested.insert(id);
            } else {
                obeyed.insert(id);
            }
        }
    }
    for (id, Row { spec, line }) in &rows {
        for (cited, place) in [(&obeyed, "the code that obeys it"), (&tested, "a test")] {
            if !cited.contains(id) {
                findings.push(spec.finding(
                    *line,
                    format!("{id} is not cited by {place}"),
                    &format!("write `// Spec: {id}` there"),
                ));
            }
        }
    }
    findings
}

fn row_id(line: &str) -> Option<String> {
    let cell = line
        .trim_start()
        .strip_prefix('|')?
        .split('|')
        .next()?
        .trim();
    id_at_start(cell).filter(|id| id.len() == cell.len())
}

/// Upper-case letters, a hyphen, digits.
fn id_at_start(text: &str) -> Option<String> {
    let letters = text.chars().take_while(char::is_ascii_uppercase).count();
    let rest = text.get(letters..)?.strip_prefix('-')?;
    let digits = rest.chars().take_while(char::is_ascii_digit).count();
    (letters > 0 && digits > 0).then(|| text[..letters + 1 + digits].to_owned())
}

fn citations(source: &Source) -> Vec<(usize, String)> {
    let mut cited = Vec::new();
    let mut unfinished = false;
    for (line, text) in source.lines() {
        let comment = text
            .find("//")
            .map(|at| text[at..].trim_start_matches(['/', '!']).trim());
        let list = match comment {
            Some(comment) if unfinished => Some(comment),
            Some(comment) => comment
                .find("Spec: ")
                .map(|at| &comment[at + "Spec: ".len()..]),
            None => None,
        };
        unfinished = false;
        let Some(mut rest) = list else { continue };
        while let Some(id) = id_at_start(rest) {
            rest = &rest[id.len()..];
            cited.push((line, id));
            let Some(more) = rest.strip_prefix(',') else {
                break;
            };
            rest = more.trim_start();
            unfinished = rest.is_empty();
        }
    }
    cited
}

#[test]
fn citations_are_read_as_they_are_written() {
    let source = Source::new(
        "x/src/a.rs",
        "// Spec: A-1\n/// Spec: B-02, C-3. Words.\nf(); // Spec: D-4,\n// E-5 and F-6\n",
    );
    let found = citations(&source);
    let ids: Vec<_> = found
        .iter()
        .map(|(line, id)| (*line, id.as_str()))
        .collect();
    assert_eq!(
        ids,
        [(1, "A-1"), (2, "B-02"), (2, "C-3"), (3, "D-4"), (4, "E-5")]
    );
}

#[test]
fn a_row_wants_code_and_test_and_a_citation_wants_a_row() {
    let spec = Source::new("spec/a.md", "| id | rule |\n| --- | --- |\n| A-01 | x |\n");
    let code = "// Spec: A-01\n";
    let test = "#[cfg(test)]\nmod tests {\n// Spec: A-01\n";
    for (text, faults) in [
        (format!("{code}{test}"), 0),
        (code.to_owned(), 1),
        (test.to_owned(), 1),
        (String::new(), 2),
        (format!("// Spec: A-1\n{code}{test}"), 1),
    ] {
        let source = Source::new("x/src/a.rs", &text);
        assert_eq!(
            check(std::slice::from_ref(&spec), &[source]).len(),
            faults,
            "{text}"
        );
    }
}
