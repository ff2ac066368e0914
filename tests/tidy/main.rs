//! The house rules that no compiler keeps: floors, spec rows, the README's commands, names, sizes.
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

mod changelog;
mod commands;
mod examples;
mod floors;
mod fuzzed;
mod links;
mod names;
mod sources;
mod spec_rows;
mod text;
