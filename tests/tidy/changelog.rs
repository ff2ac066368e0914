//! The changelog knows the version that is being built.

use std::fs;

use crate::sources::root;

#[test]
fn the_changelog_has_a_heading_for_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    let text = fs::read_to_string(root().join("CHANGELOG.md")).unwrap_or_default();
    let heading = text
        .lines()
        .find(|line| line.starts_with("## ") && line.contains(version));
    assert!(
        heading.is_some(),
        "CHANGELOG.md:1: no heading for {version}\n    mend: add `## {version}` and what changes \
         for the reader"
    );
}
