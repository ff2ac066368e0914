//! A link to one of our own files leads to a file.

use crate::sources::{Finding, Source, root, settle, with_suffix};

#[test]
fn links_between_documents_lead_somewhere() {
    let findings: Vec<Finding> = with_suffix(&[".md"]).iter().flat_map(check).collect();
    settle(&findings);
}

fn check(source: &Source) -> Vec<Finding> {
    let folder = root().join(&source.path);
    let folder = folder.parent().expect("a file is in a folder");
    let mut findings = Vec::new();
    for (line, text) in source.lines() {
        for target in targets(text) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") && !file.starts_with("mailto:") {
                let exists = folder.join(file).exists();
                if !exists {
                    let what = format!("links to {file}, which is not there");
                    findings.push(source.finding(line, what, "correct the path from this file"));
                }
            }
        }
    }
    findings
}

/// What stands in `](…)`.
fn targets(line: &str) -> Vec<&str> {
    let behind = line.split("](").skip(1);
    behind
        .filter_map(|rest| rest.split([')', ' ']).next())
        .collect()
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let text = "[a](Cargo.toml) [b](https://c2sp.org/x)\n[c](nowhere.md#d)";
    let findings = check(&Source::new("README.md", text));
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].line, 2);
}
