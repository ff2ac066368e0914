//! The entry of a time-stamp: what a token says, without what it is about.
//!
//! ```text
//! jurat-entry/v1 timestamp
//! <leaf index>                     the entry's own place, and the second half of the serial number
//! <genTime>                        seconds since 1970
//! <policy>                         object identifier in dots
//! <unit>                           16 hex digits, the first half of the serial number
//! <SHA-256 of the TSTInfo>         base64
//! ```
//!
//! The imprint is in the hash alone, and in there behind the client's nonce, so that a reader of
//! the log learns how many time-stamps were made when and under which policy, and not of what.

use alloc::string::String;
use alloc::vec::Vec;

use crate::decimal::parse_decimal;
use crate::entry::EntryError;
use crate::entry::fields::{lines, wrong};
use crate::hash::{Hash, sha256};
use crate::key::UnixSeconds;
use crate::tree::LeafIndex;
use crate::tsp::gen_time::GenTime;
use crate::tsp::oid::Oid;
use crate::tsp::tst_info::{EncodedTstInfo, SerialNumber, TstInfo, UnitId};

/// What the log keeps of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampEntry {
    index: LeafIndex,
    gen_time: UnixSeconds,
    /// In dots: an identifier that has no such form is never one of an entry.
    policy: String,
    unit: UnitId,
    tst_info: Hash,
}

impl TimestampEntry {
    /// The entry that a token of Jurat's with this `TSTInfo` must have: of a token that was made
    /// here, the entry to append; of a token that was received, the one to look for.
    ///
    /// # Errors
    /// [`EntryError::NotOurToken`] when the serial number is no unit's and place's, the time has a
    /// fraction, or the policy cannot be written in dots. No log of Jurat's has such a token.
    // Spec: ENT-09, ENT-10
    pub fn of(tst_info: &TstInfo) -> Result<Self, EntryError> {
        Self::with_hash(tst_info, || sha256(&tst_info.to_bytes()))
    }

    /// [`Self::of`] one that is encoded already.
    ///
    /// # Errors
    /// As there.
    pub fn of_encoded(tst_info: &EncodedTstInfo) -> Result<Self, EntryError> {
        Self::with_hash(tst_info.info(), || sha256(tst_info.as_bytes()))
    }

    fn with_hash(tst_info: &TstInfo, hash: impl FnOnce() -> Hash) -> Result<Self, EntryError> {
        let (unit, index) = tst_info.serial.as_unit().ok_or(EntryError::NotOurToken)?;
        let seconds = tst_info.gen_time.seconds();
        let gen_time = UnixSeconds::new(seconds).filter(|_| tst_info.gen_time.nanos() == 0);
        Ok(Self {
            index,
            gen_time: gen_time.ok_or(EntryError::NotOurToken)?,
            policy: tst_info.policy.dotted().ok_or(EntryError::NotOurToken)?,
            unit,
            tst_info: hash(),
        })
    }

    /// The place of the entry in its log. Who reads an entry elsewhere than there holds a proof
    /// that the log was wrong.
    pub fn index(&self) -> LeafIndex {
        self.index
    }

    /// When the token says that it was made.
    pub fn gen_time(&self) -> UnixSeconds {
        self.gen_time
    }

    /// The policy of the token, in dots.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// The unit whose key signed.
    pub fn unit(&self) -> UnitId {
        self.unit
    }

    /// The token's serial number.
    pub fn serial(&self) -> SerialNumber {
        SerialNumber::of_unit(self.unit, self.index)
    }

    /// The SHA-256 of the token's `TSTInfo`.
    pub fn tst_info_hash(&self) -> &Hash {
        &self.tst_info
    }

    // Spec: ENT-09
    pub(super) fn parse(body: &[u8]) -> Result<Self, EntryError> {
        let [index, time, policy, unit, tst_info] = lines("timestamp", body)?;
        let place = parse_decimal(index).ok().and_then(LeafIndex::new);
        let seconds = parse_decimal(time).ok();
        let seconds = seconds.filter(|seconds| GenTime::new(*seconds, 0).is_some());
        let gen_time = seconds.and_then(UnixSeconds::new);
        let oid = Oid::parse(policy).map_err(|_| wrong("policy", policy))?;
        Ok(Self {
            index: place.ok_or_else(|| wrong("leaf index", index))?,
            gen_time: gen_time.ok_or_else(|| wrong("time", time))?,
            policy: oid.dotted().ok_or_else(|| wrong("policy", policy))?,
            unit: UnitId::parse(unit).ok_or_else(|| wrong("unit", unit))?,
            tst_info: Hash::from_base64(tst_info).map_err(|_| wrong("hash", tst_info))?,
        })
    }

    pub(super) fn push(&self, out: &mut Vec<u8>) {
        let Self {
            index,
            gen_time,
            policy,
            unit,
            tst_info,
        } = self;
        let body = alloc::format!("{index}\n{gen_time}\n{policy}\n{unit}\n{tst_info}\n");
        out.extend_from_slice(body.as_bytes());
    }
}
