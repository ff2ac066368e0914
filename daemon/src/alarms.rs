//! Alarms, told to whom the operator names: a program that is run, and a URL.
//!
//! ```text
//!            text ─┬──────────▶ hook: on the standard input of a program
//!  number ─────────┤
//!                  └─▶ seal ──▶ keep: a file for each, durable ──▶ deliver: until the URL takes it
//!                               (the outbox)
//! ```
//!
//! How often a program is run is the caller's to say. What a URL gets outlives the process that
//! told it: it waits in the [`Outbox`] until it was taken, and is tried again.
//!
//! In scope: how something is told, and for how long it is tried. Out of scope: what is told of,
//! when it begins, and what its text says. The seal, too, is the caller's: there are no keys here.
//!
//! Rows: `spec/gossip.md` GSP-136 and GSP-137, `spec/service.md` SVC-65 to SVC-67.

mod hook;
mod outbox;
mod webhook;

pub use self::hook::{HookError, run};
pub use self::outbox::{Layout, Outbox, WAITING_MAX};
pub use self::webhook::{Seal, Webhook, WebhookParts};

/// What is told, as far as it matters to what waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// One of a bounded number of words of letters and `-`.
    pub kind: &'static str,
    /// What it is about: two of one kind and subject are about the same.
    pub subject: Subject,
    /// Whether it began, or is over.
    pub raised: bool,
}

/// What an alarm is about, so short that it has place in a name: 16 hex digits of a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject(String);

impl Subject {
    /// Of the first octets of a hash.
    pub fn new(hash: [u8; 8]) -> Self {
        Self(format!("{:016x}", u64::from_be_bytes(hash)))
    }

    fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who counts what becomes of alarms.
pub trait Tally: Send + Sync {
    /// So many wait for the URL.
    fn waiting(&self, count: usize);
    /// The URL has taken one.
    fn taken(&self);
    /// One was given up: `full`, too many wait; `old`, it waited for too long.
    fn lost(&self, reason: &'static str);
}
