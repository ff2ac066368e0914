//! No module is named after what it is not.

use crate::sources::{Finding, Source, rust, settle};

const EMPTY_NAMES: &[&str] = &[
    "common", "helper", "helpers", "manager", "misc", "shared", "types", "util", "utils",
];

#[test]
fn modules_are_nouns_of_the_field() {
    let findings: Vec<Finding> = rust().iter().flat_map(check).collect();
    settle(&findings);
}

fn check(source: &Source) -> Vec<Finding> {
    const MEND: &str = "put it beside its only caller, or name it after what it is";
    let mut findings = Vec::new();
    for part in source.path.trim_end_matches(".rs").split('/') {
        if EMPTY_NAMES.contains(&part) {
            findings.push(source.finding(1, format!("`{part}` says nothing"), MEND));
        }
    }
    for (line, text) in source.lines() {
        let mut words = text
            .split_whitespace()
            .skip_while(|word| word.starts_with("pub"));
        let inline = words.next() == Some("mod") && text.trim_end().ends_with('{');
        let name = words.next().unwrap_or_default();
        if inline && EMPTY_NAMES.contains(&name) {
            findings.push(source.finding(line, format!("`mod {name}` says nothing"), MEND));
        }
    }
    findings
}

#[test]
fn empty_names_are_found_in_paths_and_modules() {
    assert_eq!(check(&Source::new("x/src/util.rs", "")).len(), 1);
    assert_eq!(check(&Source::new("x/src/common/a.rs", "")).len(), 1);
    assert_eq!(
        check(&Source::new("x/src/a.rs", "pub(crate) mod helpers {\n}")).len(),
        1
    );
    assert_eq!(
        check(&Source::new("x/src/utilities_bill.rs", "mod tests {\n}")).len(),
        0
    );
}
