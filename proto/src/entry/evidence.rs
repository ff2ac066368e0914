//! The entry of evidence: two signed statements that cannot both be honest, for good.
//!
//! ```text
//! jurat-entry/v1 evidence
//! convicts log | convicts keys            what the service found when it logged it
//! <the file, as `crate::evidence` has it>
//!
//! jurat-entry/v1 evidence                 a larger file, in several entries
//! convicts log | convicts keys
//! part <n> <count> <SHA-256 of the file, base64>
//! <its bytes from (n - 1) * 61440 on>
//! ```
//!
//! The file proves what it proves to whoever has the keys; the line before it is what cannot be
//! taken back: that the service knew, at this place of its log, that the log which the file is
//! about had forked. Keys that are called retired later change nothing of it.
//!
//! A log with long extension lines makes evidence that no single entry holds, and must not escape
//! by that. So a file is cut, and stands where the entry stands that completes it.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use crate::decimal::parse_decimal;
use crate::entry::EntryError;
use crate::entry::fields::wrong;
use crate::evidence::{EVIDENCE_BYTES_MAX, Evidence};
use crate::hash::{Hash, sha256};

/// The most bytes of a file in one entry.
// Spec: ENT-14
pub const EVIDENCE_PART_BYTES: usize = 60 * 1024;

/// In how many entries a file may stand.
const PARTS_MAX: usize = EVIDENCE_BYTES_MAX.div_ceil(EVIDENCE_PART_BYTES);

/// Evidence, or a part of it, and what it was found to prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceEntry {
    /// Whom it convicts, by the keys that the service knew when it logged it.
    pub convicts: Convicts,
    /// The file.
    pub file: EvidenceFile,
}

/// Whom logged evidence convicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Convicts {
    /// The log that it is about, of two histories: nothing is signed for it any more.
    Log,
    /// Keys alone: of witnesses, or such as their log has done with, or of a log that signed
    /// nonsense about the empty tree.
    Keys,
}

impl Convicts {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Log, Self::Keys];

    /// The word in the entry.
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Keys => "keys",
        }
    }
}

impl fmt::Display for Convicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A file of evidence as an entry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvidenceFile {
    /// All of it.
    Whole(Box<Evidence>),
    /// Some of it.
    Part(EvidencePart),
}

/// Some bytes of a file that is too large for one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidencePart {
    number: usize,
    count: usize,
    file: Hash,
    bytes: Vec<u8>,
}

impl EvidencePart {
    /// Its place among the parts, from 1.
    pub fn number(&self) -> usize {
        self.number
    }

    /// How many parts there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The SHA-256 of the file.
    pub fn file(&self) -> &Hash {
        &self.file
    }
}

impl EvidenceEntry {
    /// The entries that hold a file, in their order: one, unless it has more than
    /// [`EVIDENCE_PART_BYTES`].
    // Spec: ENT-14
    pub fn all_of(evidence: &Evidence, convicts: Convicts) -> Vec<Self> {
        let bytes = evidence.to_bytes();
        if bytes.len() <= EVIDENCE_PART_BYTES {
            let file = EvidenceFile::Whole(Box::new(evidence.clone()));
            return Vec::from([Self { convicts, file }]);
        }
        let (file, count) = (sha256(&bytes), bytes.len().div_ceil(EVIDENCE_PART_BYTES));
        let parts = (1..).zip(bytes.chunks(EVIDENCE_PART_BYTES));
        let part = |(number, bytes): (usize, &[u8])| Self {
            convicts,
            file: EvidenceFile::Part(EvidencePart {
                number,
                count,
                file,
                bytes: bytes.to_vec(),
            }),
        };
        parts.map(part).collect()
    }

    /// The part that it is, if it is not a whole file.
    pub fn part(&self) -> Option<&EvidencePart> {
        match &self.file {
            EvidenceFile::Whole(_) => None,
            EvidenceFile::Part(part) => Some(part),
        }
    }

    // Spec: ENT-13, ENT-14
    pub(super) fn parse(body: &[u8]) -> Result<Self, EntryError> {
        let (found, rest) = line(body).ok_or(TOO_SHORT)?;
        let convicts = found.strip_prefix("convicts ").and_then(|name| {
            let named = |known: &Convicts| known.name() == name;
            Convicts::ALL.into_iter().find(named)
        });
        let convicts = convicts.ok_or_else(|| wrong("finding", found))?;
        let (first, bytes) = line(rest).ok_or(TOO_SHORT)?;
        let file = match first.strip_prefix("part ") {
            Some(part) => EvidenceFile::Part(parse_part(part, bytes)?),
            None if rest.len() > EVIDENCE_PART_BYTES => {
                return Err(wrong("file in one piece", first));
            }
            None => EvidenceFile::Whole(Box::new(
                Evidence::parse(rest).map_err(|reason| EntryError::Evidence(Box::new(reason)))?,
            )),
        };
        Ok(Self { convicts, file })
    }

    pub(super) fn push(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(alloc::format!("convicts {}\n", self.convicts).as_bytes());
        match &self.file {
            EvidenceFile::Whole(evidence) => out.extend_from_slice(&evidence.to_bytes()),
            EvidenceFile::Part(part) => {
                let (number, count, file) = (part.number, part.count, part.file);
                let line = alloc::format!("part {number} {count} {file}\n");
                out.extend_from_slice(line.as_bytes());
                out.extend_from_slice(&part.bytes);
            }
        }
    }
}

/// The body has fewer lines than it must have.
const TOO_SHORT: EntryError = EntryError::Lines {
    kind: "evidence",
    due: 2,
};

fn line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let (line, rest) = bytes.split_at(end);
    Some((core::str::from_utf8(line).ok()?, rest.get(1..)?))
}

/// All parts but the last are full, so that a file is cut in one way.
fn parse_part(head: &str, bytes: &[u8]) -> Result<EvidencePart, EntryError> {
    let fault = || wrong("part", head);
    let mut fields = head.split(' ');
    let mut field = || fields.next().ok_or_else(fault);
    let number = |text: &str| {
        let number = parse_decimal(text).map_err(|_| fault())?;
        usize::try_from(number).map_err(|_| fault())
    };
    let (place, count) = (number(field()?)?, number(field()?)?);
    let file = Hash::from_base64(field()?).map_err(|_| fault())?;
    let full = if place < count {
        bytes.len() == EVIDENCE_PART_BYTES
    } else {
        (1..=EVIDENCE_PART_BYTES).contains(&bytes.len())
    };
    let whole = count.saturating_sub(1) * EVIDENCE_PART_BYTES + bytes.len();
    let holds = (2..=PARTS_MAX).contains(&count)
        && (1..=count).contains(&place)
        && full
        && (place < count || whole <= EVIDENCE_BYTES_MAX);
    if fields.next().is_some() || !holds {
        return Err(fault());
    }
    Ok(EvidencePart {
        number: place,
        count,
        file,
        bytes: bytes.to_vec(),
    })
}

/// Files whose entries are read one after the other.
#[derive(Debug, Default)]
pub struct EvidenceFiles(BTreeMap<Hash, BTreeMap<usize, EvidencePart>>);

impl EvidenceFiles {
    /// Takes the next entry: the evidence that it completes, once.
    ///
    /// # Errors
    /// What its parts make is not the file that they name, or no evidence. Whoever logged them is
    /// at fault; other files are not disturbed.
    // Spec: ENT-14
    pub fn add(&mut self, entry: EvidenceEntry) -> Result<Option<Evidence>, EntryError> {
        let part = match entry.file {
            EvidenceFile::Whole(evidence) => return Ok(Some(*evidence)),
            EvidenceFile::Part(part) => part,
        };
        let (file, count) = (part.file, part.count);
        let parts = self.0.entry(file).or_default();
        if parts.len() == count {
            return Ok(None);
        }
        parts.entry(part.number).or_insert(part);
        if parts.len() < count {
            return Ok(None);
        }
        let bytes: Vec<u8> = parts
            .values()
            .flat_map(|part| &part.bytes)
            .copied()
            .collect();
        // What is complete needs no memory, but it is known that it was.
        for part in parts.values_mut() {
            part.bytes = Vec::new();
        }
        if sha256(&bytes) != file {
            return Err(wrong("file of the parts", &alloc::format!("{file}")));
        }
        let evidence = Evidence::parse(&bytes);
        let evidence = evidence.map_err(|reason| EntryError::Evidence(Box::new(reason)))?;
        Ok(Some(evidence))
    }
}
