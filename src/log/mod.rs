//! The service's own log: entries go in, durable positions and signed tree heads come out.
//!
//! ```text
//!  submitters ──▶ sequencer (one thread, group commit) ──▶ store
//!                     │ committed head
//!                     ▼
//!                 tree heads: intent durable ──▶ sign ──▶ cosigners ──▶ publish
//! ```
//!
//! In scope: order, deduplication, when a tree head is made, what is signed and published. Out of
//! scope: where bytes lie (`jurat-store`), who cosigns ([`crate::cosigners`]), HTTP.
//!
//! Invariants, each with a test:
//! - an entry is answered for only after the transaction that holds it is durable;
//! - nothing of a log stands behind the entry that convicts it;
//! - a tree head is signed only when its tree is durable and its signing has been recorded durably,
//!   so a restart never signs a head that contradicts an earlier one;
//! - the time of tree heads never goes back, across restarts too;
//! - what is published is cosigned by a quorum, and its size never goes back.

mod convicted;
mod places;
pub mod published;
pub mod receipts;
pub mod sequencer;
pub mod tree;
pub mod tree_heads;

pub use convicted::{Convicted, Conviction};
pub use published::Published;
pub use sequencer::{Append, AppendError, Appended, PlaceError, Placing, Sequencer};
