//! The house rules that no compiler keeps: floors, spec rows, scenarios, the README's commands,
//! names, sizes.
//!
//! Each check reads the tree as it stands and fails with a list of `file:line`, what is wrong
//! there, and how to mend it. In scope: what a reader can be misled by. Out of scope: what rustc,
//! clippy and rustfmt already refuse.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken check should stop at once, where it broke"
)]

#[path = "tidy/changelog.rs"]
mod changelog;
#[path = "tidy/commands.rs"]
mod commands;
#[path = "tidy/examples.rs"]
mod examples;
#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/fuzzed.rs"]
mod fuzzed;
#[path = "tidy/links.rs"]
mod links;
#[path = "tidy/names.rs"]
mod names;
#[path = "tidy/scenarios.rs"]
mod scenarios;
#[path = "tidy/sources.rs"]
mod sources;
#[path = "tidy/spec_rows.rs"]
mod spec_rows;
#[path = "tidy/text.rs"]
mod text;
