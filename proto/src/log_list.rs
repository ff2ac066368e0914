//! Lists of logs that witnesses may add to their own: the witness network's `logs/v0`.
//!
//! ```text
//! # comments and blank lines anywhere
//! logs/v0
//!
//! vkey tlog.foo.org+0a72cd63+AV2y…
//! origin tlog.foo.org/of/another/name      (when it is not the name of the key)
//! qpd 86400                                (add-checkpoint requests a day)
//! contact https://tlog.foo.org/contact
//! ```
//!
//! Whoever keeps such a list is trusted to name new logs, and with nothing else: [`compare`] finds
//! what is new, and what the list says differently of logs that are known is for the operator to
//! read. So one bad entry must not spoil a list either: it is left out and reported
//! ([`Anomaly`]), and the other logs are taken. An entry that is not exactly of the form is left
//! out as a whole, never mended: a line that was lost would otherwise give one log's key another
//! log's origin.
//!
//! Out of scope: where lists come from and how often.
//!
//! Rows: `spec/log-list.md`.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU32;

use crate::checkpoint::Origin;
use crate::decimal::parse_decimal;
use crate::key::{KeyError, SignatureType, VerifierKey};

/// A list, as far as it is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogList {
    /// The logs, in the order of the list, no origin twice.
    pub logs: Vec<ListedLog>,
    /// What was left out or is odd, in the order of the list; the first [`ANOMALIES_MAX`] of them.
    pub anomalies: Vec<Anomaly>,
    /// How many more there are.
    pub anomalies_more: usize,
}

/// A log in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedLog {
    /// The line of its vkey, from 1.
    pub line: usize,
    /// Its key.
    pub key: VerifierKey,
    /// The first line of its checkpoints.
    pub origin: Origin,
    /// How many add-checkpoint requests it may make a day.
    pub qpd: NonZeroU32,
    /// How to reach its operator; for people.
    pub contact: String,
}

/// Something in a list that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// Which line, from 1.
    pub line: usize,
    /// What is odd about it.
    pub kind: AnomalyKind,
}

/// What is odd. All but the first make the entry that they stand in be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnomalyKind {
    /// The line starts with a word that the format does not know. The line is ignored.
    UnknownKeyword,
    /// The line belongs to no entry: it follows no vkey, or one whose contact was read.
    NoEntry,
    /// The line is not UTF-8 or has a control character.
    NotText,
    /// The lines of an entry are not vkey, origin (if any), qpd and contact, in this order.
    Order,
    /// The entry ends before its contact.
    Incomplete,
    /// The list ends inside a line.
    CutShort,
    /// The vkey is none.
    Key(KeyError),
    /// The vkey's type is not Ed25519, the only one that the format allows.
    KeyType(SignatureType),
    /// The origin cannot be one.
    Origin,
    /// The requests a day are no decimal number from 1 to 2^31 - 1.
    Qpd,
    /// The origin or the contact is longer than [`VALUE_BYTES_MAX`].
    TooLong,
    /// The origin stood in the list before, with the same key.
    Twice,
    /// The origin stood in the list before, with another key.
    TwiceOtherKey,
}

impl AnomalyKind {
    /// One word for each kind, for counters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::UnknownKeyword => "unknown_keyword",
            Self::NoEntry => "no_entry",
            Self::NotText => "not_text",
            Self::Order => "order",
            Self::Incomplete => "incomplete",
            Self::CutShort => "cut_short",
            Self::Key(_) => "key",
            Self::KeyType(_) => "key_type",
            Self::Origin => "origin",
            Self::Qpd => "qpd",
            Self::TooLong => "too_long",
            Self::Twice => "twice",
            Self::TwiceOtherKey => "twice_other_key",
        }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match &self.kind {
            AnomalyKind::UnknownKeyword => f.write_str("an unknown keyword; the line is ignored"),
            AnomalyKind::NoEntry => f.write_str("a line of no entry: no vkey before it"),
            AnomalyKind::NotText => f.write_str("not UTF-8, or a control character"),
            AnomalyKind::Order => {
                f.write_str("not in the order vkey, origin (if any), qpd, contact")
            }
            AnomalyKind::Incomplete => f.write_str("the entry ends before its contact"),
            AnomalyKind::CutShort => f.write_str("the list ends inside this line"),
            AnomalyKind::Key(error) => write!(f, "not a vkey: {error}"),
            AnomalyKind::KeyType(kind) => {
                write!(f, "a key of type {:#04x}; lists hold 0x01", kind.to_byte())
            }
            AnomalyKind::Origin => f.write_str("not an origin"),
            AnomalyKind::Qpd => f.write_str("not a number from 1 to 2147483647"),
            AnomalyKind::TooLong => {
                write!(f, "longer than {VALUE_BYTES_MAX} bytes")
            }
            AnomalyKind::Twice => f.write_str("this origin is in the list already"),
            AnomalyKind::TwiceOtherKey => {
                f.write_str("this origin is in the list already, with another key")
            }
        }
    }
}

/// Why a text is no list at all. Whoever serves it is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogListError {
    /// It is longer than [`LIST_BYTES_MAX`].
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The first line that counts is not `logs/v0`.
    NotAList,
    /// It has more than [`LOGS_MAX`] logs.
    TooMany,
}

impl fmt::Display for LogListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => {
                write!(f, "the list has {bytes} bytes; {LIST_BYTES_MAX} are read")
            }
            Self::NotAList => f.write_str("the first line is not logs/v0"),
            Self::TooMany => write!(f, "the list has more than {LOGS_MAX} logs"),
        }
    }
}

impl core::error::Error for LogListError {}

/// The longest list that is read: 100,000 logs of 300 bytes, twice over.
pub const LIST_BYTES_MAX: usize = 64 << 20;

/// The most logs that are taken from a list.
pub const LOGS_MAX: usize = 200_000;

/// The longest origin and the longest contact that are taken. Whoever keeps a list could otherwise
/// fill with one entry what has room for all logs.
pub const VALUE_BYTES_MAX: usize = 1024;

/// How many anomalies are told one by one.
pub const ANOMALIES_MAX: usize = 1_000;

impl LogList {
    /// Reads a list.
    ///
    /// # Errors
    /// [`LogListError`]: nothing is taken from it then. Single entries are never a reason.
    pub fn parse(list: &[u8]) -> Result<Self, LogListError> {
        if list.len() > LIST_BYTES_MAX {
            return Err(LogListError::TooLong { bytes: list.len() });
        }
        let mut reader = Reader::default();
        let mut header = false;
        // Spec: LST-02
        for (number, bytes) in (1..).zip(list.split_inclusive(|&byte| byte == b'\n')) {
            let complete = bytes.last() == Some(&b'\n');
            let line = bytes.trim_ascii();
            if line.is_empty() || line.first() == Some(&b'#') {
                continue;
            }
            if !header {
                // Spec: LST-01
                if line != b"logs/v0" {
                    return Err(LogListError::NotAList);
                }
                header = true;
                continue;
            }
            if complete {
                reader.line(number, line);
            } else {
                // Spec: LST-10. Half a number is a number, too.
                reader.spoil(number, AnomalyKind::CutShort);
            }
            if reader.list.logs.len() > LOGS_MAX {
                return Err(LogListError::TooMany);
            }
        }
        if !header {
            return Err(LogListError::NotAList);
        }
        reader.end();
        Ok(reader.list)
    }
}

#[derive(Default)]
struct Reader {
    list: LogList,
    /// The line of each origin's entry in `list.logs`, by place.
    places: BTreeMap<Origin, usize>,
    entry: Option<Entry>,
}

/// The entry that is being read.
struct Entry {
    line: usize,
    key: Option<VerifierKey>,
    origin: Option<Origin>,
    qpd: Option<NonZeroU32>,
    contact: Option<String>,
    /// Something was wrong with it: it is left out, and what is wrong with the rest of it is not
    /// told.
    spoilt: bool,
}

impl Reader {
    fn line(&mut self, number: usize, line: &[u8]) {
        let text = str::from_utf8(line).ok();
        // The bidirectional controls among them could show an operator another line than this.
        let text = text.filter(|text| !text.chars().any(is_control));
        let Some(text) = text else {
            // Spec: LST-08. Which keyword it was is not certain, so the entry cannot be whole.
            return self.spoil(number, AnomalyKind::NotText);
        };
        let (keyword, value) = text.split_once(' ').unwrap_or((text, ""));
        match keyword {
            "vkey" => self.vkey(number, value),
            "origin" | "qpd" | "contact" => self.field(number, keyword, value),
            // Spec: LST-07
            _ => self.tell(number, AnomalyKind::UnknownKeyword),
        }
    }

    fn vkey(&mut self, number: usize, value: &str) {
        self.end();
        self.entry = Some(Entry {
            line: number,
            key: None,
            origin: None,
            qpd: None,
            contact: None,
            spoilt: false,
        });
        match VerifierKey::parse(value) {
            // Spec: LST-04
            Ok(key) if key.signature_type() != SignatureType::Ed25519 => {
                self.spoil(number, AnomalyKind::KeyType(key.signature_type()));
            }
            Ok(key) => {
                if let Some(entry) = &mut self.entry {
                    entry.key = Some(key);
                }
            }
            Err(error) => self.spoil(number, AnomalyKind::Key(error)),
        }
    }

    fn field(&mut self, number: usize, keyword: &str, value: &str) {
        let Some(entry) = &mut self.entry else {
            return self.tell(number, AnomalyKind::NoEntry);
        };
        let done = (entry.origin.is_some(), entry.qpd.is_some());
        // Spec: LST-03
        let wrong = match (keyword, done) {
            // Spec: LST-14
            ("origin", (false, false)) | ("contact", (_, true))
                if value.len() > VALUE_BYTES_MAX =>
            {
                Some(AnomalyKind::TooLong)
            }
            ("origin", (false, false)) => match Origin::parse(value) {
                Ok(origin) => {
                    entry.origin = Some(origin);
                    None
                }
                Err(_) => Some(AnomalyKind::Origin),
            },
            ("qpd", (_, false)) => {
                entry.qpd = parse_qpd(value);
                entry.qpd.is_none().then_some(AnomalyKind::Qpd)
            }
            ("contact", (_, true)) => {
                entry.contact = Some(value.into());
                // That was its last line: what follows is no part of it, whatever it is.
                return self.end();
            }
            _ => Some(AnomalyKind::Order),
        };
        if let Some(wrong) = wrong {
            self.spoil(number, wrong);
        }
    }

    /// Leaves out the entry that is being read.
    fn spoil(&mut self, line: usize, kind: AnomalyKind) {
        match &mut self.entry {
            Some(entry) if entry.spoilt => {}
            Some(entry) => {
                entry.spoilt = true;
                self.tell(line, kind);
            }
            None => self.tell(line, kind),
        }
    }

    fn tell(&mut self, line: usize, kind: AnomalyKind) {
        if self.list.anomalies.len() < ANOMALIES_MAX {
            self.list.anomalies.push(Anomaly { line, kind });
        } else {
            self.list.anomalies_more += 1;
        }
    }

    /// Takes the entry that was being read into the list.
    fn end(&mut self) {
        let Some(entry) = self.entry.take() else {
            return;
        };
        if entry.spoilt {
            return;
        }
        let line = entry.line;
        let (Some(key), Some(qpd), Some(contact)) = (entry.key, entry.qpd, entry.contact) else {
            return self.tell(line, AnomalyKind::Incomplete);
        };
        // Spec: LST-05
        let origin = entry
            .origin
            .or_else(|| Origin::parse(key.name().as_str()).ok());
        let Some(origin) = origin else {
            return self.tell(line, AnomalyKind::Origin);
        };
        // Spec: LST-09
        if let Some(first) = self.places.get(&origin) {
            let same = self.list.logs.get(*first).is_some_and(|log| log.key == key);
            let kind = if same {
                AnomalyKind::Twice
            } else {
                AnomalyKind::TwiceOtherKey
            };
            return self.tell(line, kind);
        }
        self.places.insert(origin.clone(), self.list.logs.len());
        self.list.logs.push(ListedLog {
            line,
            key,
            origin,
            qpd,
            contact,
        });
    }
}

/// Whether a character has no place in a line that a terminal may show: controls, and what
/// reorders the text around it.
pub fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(character, '\u{2066}'..='\u{2069}' | '\u{feff}')
}

// Spec: LST-06
fn parse_qpd(value: &str) -> Option<NonZeroU32> {
    let qpd = u32::try_from(parse_decimal(value).ok()?).ok()?;
    NonZeroU32::new(qpd).filter(|qpd| qpd.get() <= QPD_MAX)
}

/// The most requests a day that a list can grant.
pub const QPD_MAX: u32 = (1 << 31) - 1;

/// What is known of a log before a list is applied.
#[derive(Clone, Copy, Debug)]
pub struct KnownLog<'a> {
    /// Its keys.
    pub keys: &'a [VerifierKey],
    /// The requests a day that it may make, if there is a bound.
    pub qpd: Option<NonZeroU32>,
    /// Whether it is cosigned.
    pub active: bool,
}

/// What a list would change, and what it says differently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference<'a> {
    /// Logs to add.
    pub new: Vec<&'a ListedLog>,
    /// How many are known, as they are in the list or otherwise.
    pub known: usize,
    /// Where the list says otherwise. It changes nothing.
    pub disagreements: Vec<Disagreement<'a>>,
}

/// A log of which a list says something else than is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement<'a> {
    /// What the list says.
    pub listed: &'a ListedLog,
    /// In what it differs.
    pub kind: DisagreementKind,
}

/// In what a list differs from what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisagreementKind {
    /// The key is none of the known ones.
    Key,
    /// The requests a day are not the known ones.
    Qpd,
    /// The log is disabled here.
    Disabled,
}

impl DisagreementKind {
    /// One word for each kind, for counters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "other_key",
            Self::Qpd => "other_qpd",
            Self::Disabled => "disabled_here",
        }
    }
}

/// Compares a list with what is known. A log is new when its origin is not known; of one that is
/// known nothing changes, whatever the list says: its keys, its quota and its state are the
/// operator's.
// Spec: LST-11, LST-12
pub fn compare<'a, 'k>(
    list: &'a LogList,
    known: impl Fn(&Origin) -> Option<KnownLog<'k>>,
) -> Difference<'a> {
    let mut difference = Difference::default();
    for listed in &list.logs {
        let Some(log) = known(&listed.origin) else {
            difference.new.push(listed);
            continue;
        };
        difference.known += 1;
        let mut differs = |kind| {
            difference.disagreements.push(Disagreement { listed, kind });
        };
        if !log.keys.contains(&listed.key) {
            differs(DisagreementKind::Key);
        }
        if log.qpd.is_some_and(|qpd| qpd != listed.qpd) {
            differs(DisagreementKind::Qpd);
        }
        if !log.active {
            differs(DisagreementKind::Disabled);
        }
    }
    difference
}

#[cfg(test)]
mod tests;
