//! The entry of the clock: when the service lost the time, and when it had it again.
//!
//! ```text
//! jurat-entry/v1 clock
//! lost | regained
//! <time>                           seconds since 1970
//! <reason>                         a word
//! ```
//!
//! The time of a `lost` entry is the one that was no longer believed; the witnesses' cosignatures
//! around it are what bounds it.

use alloc::string::String;
use alloc::vec::Vec;

use crate::decimal::parse_decimal;
use crate::entry::EntryError;
use crate::entry::fields::{lines, token, wrong};
use crate::key::UnixSeconds;

/// The most characters that a reason may have.
// Spec: ENT-12
const REASON_CHARS_MAX: usize = 64;

/// That the service's clock was lost or regained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockEntry {
    event: ClockEvent,
    time: UnixSeconds,
    reason: String,
}

/// What happened to the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockEvent {
    /// From here on no token is issued.
    Lost,
    /// From here on tokens are issued again.
    Regained,
}

impl ClockEvent {
    /// The word in the entry.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Regained => "regained",
        }
    }
}

impl ClockEntry {
    /// An entry.
    ///
    /// # Errors
    /// [`EntryError::Field`] when the reason is not 1 to 64 lower-case letters, digits and hyphens.
    // Spec: ENT-12
    pub fn new(event: ClockEvent, time: UnixSeconds, reason: &str) -> Result<Self, EntryError> {
        Ok(Self {
            event,
            time,
            reason: token("reason", reason, REASON_CHARS_MAX)?,
        })
    }

    /// What happened.
    pub fn event(&self) -> ClockEvent {
        self.event
    }

    /// What the wall clock said.
    pub fn time(&self) -> UnixSeconds {
        self.time
    }

    /// Why, in a word: of a regained clock, why it had been lost.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    // Spec: ENT-12
    pub(super) fn parse(body: &[u8]) -> Result<Self, EntryError> {
        let [event, time, reason] = lines("clock", body)?;
        let event = [ClockEvent::Lost, ClockEvent::Regained]
            .into_iter()
            .find(|known| known.name() == event)
            .ok_or_else(|| wrong("event", event))?;
        let seconds = parse_decimal(time).ok().and_then(UnixSeconds::new);
        Self::new(event, seconds.ok_or_else(|| wrong("time", time))?, reason)
    }

    pub(super) fn push(&self, out: &mut Vec<u8>) {
        let body = alloc::format!("{}\n{}\n{}\n", self.event.name(), self.time, self.reason);
        out.extend_from_slice(body.as_bytes());
    }
}
