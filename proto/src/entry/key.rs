//! The entry of a key: since when a unit of the time-stamp authority signs, and when it ended.
//!
//! ```text
//! jurat-entry/v1 key
//! start | close superseded | close cessation | close compromise
//! timestamp-unit                   what the key is for
//! <unit>                           16 hex digits, the first half of its serial numbers
//! <SHA-256 of the certificate>     base64
//! <time>                           seconds since 1970
//! ```
//!
//! A unit has one key and one certificate. After a closing its log holds no more of its tokens;
//! one that claims a place after it is not the authority's, whoever has the key by then.

use alloc::vec::Vec;
use core::fmt;

use crate::decimal::parse_decimal;
use crate::entry::EntryError;
use crate::entry::fields::{lines, wrong};
use crate::hash::Hash;
use crate::key::UnixSeconds;
use crate::tsp::tst_info::UnitId;

/// That a key starts to sign, or has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// What happened.
    pub event: KeyEvent,
    /// What the key is for.
    pub purpose: KeyPurpose,
    /// The unit, as serial numbers name it.
    pub unit: UnitId,
    /// The SHA-256 of the unit's certificate in DER.
    pub certificate: Hash,
    /// When, by the service's clock.
    pub time: UnixSeconds,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEvent {
    /// From this entry on, the key signs.
    Start,
    /// From this entry on, it does not, for good.
    Close(CloseReason),
}

/// Why a key was closed. Tokens whose entry stands before the closing stay good in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Another key took its place.
    Superseded,
    /// Nothing takes its place.
    Cessation,
    /// Somebody else may have the key.
    Compromise,
}

impl CloseReason {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Superseded, Self::Cessation, Self::Compromise];

    /// The word in the entry.
    pub fn name(self) -> &'static str {
        match self {
            Self::Superseded => "superseded",
            Self::Cessation => "cessation",
            Self::Compromise => "compromise",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPurpose {
    /// It signs the tokens of a unit of the time-stamp authority.
    TimestampUnit,
}

impl KeyPurpose {
    /// The word in the entry.
    pub fn name(self) -> &'static str {
        match self {
            Self::TimestampUnit => "timestamp-unit",
        }
    }
}

impl KeyEntry {
    // Spec: ENT-11
    pub(super) fn parse(body: &[u8]) -> Result<Self, EntryError> {
        let [event, purpose, unit, certificate, time] = lines("key", body)?;
        let close = |reason: &CloseReason| event.strip_prefix("close ") == Some(reason.name());
        let event = match event {
            "start" => KeyEvent::Start,
            _ => CloseReason::ALL
                .into_iter()
                .find(close)
                .map(KeyEvent::Close)
                .ok_or_else(|| wrong("event", event))?,
        };
        if purpose != KeyPurpose::TimestampUnit.name() {
            return Err(wrong("purpose", purpose));
        }
        let seconds = parse_decimal(time).ok().and_then(UnixSeconds::new);
        Ok(Self {
            event,
            purpose: KeyPurpose::TimestampUnit,
            unit: UnitId::parse(unit).ok_or_else(|| wrong("unit", unit))?,
            certificate: Hash::from_base64(certificate).map_err(|_| wrong("hash", certificate))?,
            time: seconds.ok_or_else(|| wrong("time", time))?,
        })
    }

    pub(super) fn push(&self, out: &mut Vec<u8>) {
        let Self {
            event,
            purpose,
            unit,
            certificate,
            time,
        } = self;
        let event = match event {
            KeyEvent::Start => alloc::string::String::from("start"),
            KeyEvent::Close(reason) => alloc::format!("close {reason}"),
        };
        let purpose = purpose.name();
        let body = alloc::format!("{event}\n{purpose}\n{unit}\n{certificate}\n{time}\n");
        out.extend_from_slice(body.as_bytes());
    }
}
