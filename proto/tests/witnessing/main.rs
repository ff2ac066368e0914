//! Witnesses' requests and answers, policies, proofs, entries, receipts and evidence, through the
//! public API: each row of their specifications is a test here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what panics here is a test that fails"
)]
#![allow(clippy::too_many_lines, reason = "a table has a line for each case")]
#![allow(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "texts are put together so that they look like what they are"
)]

mod above;
mod add_checkpoint;
mod answers;
mod cose_receipts;
mod entries;
mod evidence;
mod export;
mod kinds;
mod policy;
mod proofs;
mod receipts;
mod sign_subtree;
mod signing;
