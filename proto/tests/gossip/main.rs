//! The gossip of witnesses, simulated: many nodes over one queue of events, with loss, delay,
//! partitions, crashes, liars, and logs that fork. Everything follows from a seed, which a failure
//! prints.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "what panics here is a test that fails"
)]
#![allow(
    clippy::too_many_lines,
    reason = "a scenario is told from its beginning to its end"
)]

mod actors;
mod alone;
mod bounds;
mod collisions;
mod exhaustive;
mod feed;
mod figures;
mod formats;
mod many;
mod model;
mod network;
mod openings;
mod promises;
mod review;
mod scenarios;
mod silent;
mod weather;
