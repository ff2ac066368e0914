//! What a witness takes along to another: the newest checkpoint of each log that it cosigned, and
//! evidence.
//!
//! ```text
//! jurat/witness-export@v0
//! name <witness>
//! time <decimal>                                   seconds since 1970, for people
//!                                                  an empty line
//! head <bytes>                                     of each log one, in the order of the origins
//! <signed note>                                    so many bytes
//! evidence <bytes>                                 by id
//! <tlog-fork>
//! end <heads> <evidence> <64 hex digits>
//! ```
//!
//! The digits of the last line are SHA-256 of all that is before it. They say that the file is
//! whole, not whose it is: what it carries is signed by logs and witnesses, each part by itself.
//!
//! In scope: the bytes, part after part, since a file may be larger than memory should be. Out of
//! scope: who must have signed what, and what becomes of it.
//!
//! Rules: `spec/gossip.md` GSP-180 to GSP-182.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest as _, Sha256};

use crate::checkpoint::{CheckpointError, Origin, SignedCheckpoint};
use crate::decimal::parse_decimal;
use crate::evidence::{self, EVIDENCE_BYTES_MAX, Evidence};
use crate::hash::Hash;
use crate::hex;
use crate::key::{KeyName, UnixSeconds};
use crate::note::NOTE_BYTES_MAX;

/// The first line.
pub const FORMAT: &str = "jurat/witness-export@v0";

/// More parts than this no file has: some ten times the logs that a witness is built for.
// Spec: GSP-180
pub const PARTS_MAX: u64 = 1 << 20;

/// What [`Decoder::step`] may need at once: the longest part, and the line before it.
pub const STEP_BYTES_MAX: usize = EVIDENCE_BYTES_MAX + LINE_BYTES_MAX;

/// The longest line of the format's own: that of a name.
const LINE_BYTES_MAX: usize = 4096;

/// Who made a file, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The witness.
    pub name: KeyName,
    /// When, by its clock.
    pub time: UnixSeconds,
}

/// One thing that a file carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The newest checkpoint of a log that the witness cosigned.
    Head(SignedCheckpoint),
    /// Evidence that it keeps.
    Evidence(Box<Evidence>),
}

impl Part {
    fn word(&self) -> &'static str {
        match self {
            Self::Head(_) => "head",
            Self::Evidence(_) => "evidence",
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Head(note) => note.to_bytes(),
            Self::Evidence(evidence) => evidence.to_bytes(),
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::Head(note) => Place::Head(note.origin().clone()),
            Self::Evidence(evidence) => Place::Evidence(evidence.id(), evidence.to_bytes()),
        }
    }
}

/// Where a part stands: each one after the one before, so no two say the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Head(Origin),
    Evidence(Hash, Vec<u8>),
}

/// How many parts of each kind there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// [`Part::Head`].
    pub heads: u64,
    /// [`Part::Evidence`].
    pub evidence: u64,
}

impl Counts {
    fn add(&mut self, part: &Part) {
        let count = match part {
            Part::Head(_) => &mut self.heads,
            Part::Evidence(_) => &mut self.evidence,
        };
        *count += 1;
    }

    fn all(&self) -> u64 {
        self.heads + self.evidence
    }
}

/// The order, the numbers and the digest of what was written or read.
#[derive(Clone, Debug, Default)]
struct Account {
    last: Option<Place>,
    counts: Counts,
    digest: Sha256,
}

impl Account {
    fn take(&mut self, part: &Part) -> Result<(), ExportError> {
        let place = part.place();
        // Spec: GSP-181
        if self.last.as_ref().is_some_and(|last| *last >= place) {
            return Err(ExportError::Order);
        }
        if self.counts.all() >= PARTS_MAX {
            return Err(ExportError::TooMany);
        }
        self.last = Some(place);
        self.counts.add(part);
        Ok(())
    }

    fn last_line(self) -> String {
        let Counts { heads, evidence } = self.counts;
        let digest = hex::encode(self.digest.finalize().as_slice());
        format!("end {heads} {evidence} {digest}\n")
    }
}

/// Writes a file, part after part.
#[derive(Clone, Debug)]
pub struct Encoder {
    account: Account,
}

impl Encoder {
    /// Begins: the bytes of the first lines.
    // Spec: GSP-180
    pub fn begin(header: &Header) -> (Self, Vec<u8>) {
        let (name, time) = (&header.name, header.time);
        let bytes = format!("{FORMAT}\nname {name}\ntime {time}\n\n").into_bytes();
        let mut account = Account::default();
        account.digest.update(&bytes);
        (Self { account }, bytes)
    }

    /// The bytes of the next part.
    ///
    /// # Errors
    /// [`ExportError::Order`] when it does not come after the one before,
    /// [`ExportError::TooMany`]. At fault: the caller.
    pub fn part(&mut self, part: &Part) -> Result<Vec<u8>, ExportError> {
        self.account.take(part)?;
        let body = part.to_bytes();
        let mut bytes = format!("{} {}\n", part.word(), body.len()).into_bytes();
        bytes.extend(body);
        self.account.digest.update(&bytes);
        Ok(bytes)
    }

    /// How many parts there are.
    pub fn counts(&self) -> Counts {
        self.account.counts
    }

    /// The bytes of the last line.
    pub fn end(self) -> Vec<u8> {
        self.account.last_line().into_bytes()
    }
}

/// Reads a file, part after part.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    begun: bool,
    ended: bool,
    account: Account,
}

/// What was at the beginning of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is not all there: more bytes are needed, no more than [`STEP_BYTES_MAX`] in all. Where
    /// there are none, the file is cut short.
    More,
    /// The first lines, in so many bytes.
    Header(Header, usize),
    /// A part, in so many bytes.
    Part(Part, usize),
    /// The last line: the file is whole.
    End(Counts),
}

impl Decoder {
    /// Reads what stands at the beginning of `bytes`, where the step before ended.
    ///
    /// # Errors
    /// [`ExportError`]: the first thing that is wrong. The file is refused whole.
    // Spec: GSP-180, GSP-181, GSP-182
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, ExportError> {
        if self.ended {
            return match bytes {
                [] => Ok(Step::End(self.account.counts)),
                _ => Err(ExportError::AfterTheEnd),
            };
        }
        if !self.begun {
            return self.header(bytes);
        }
        let Some((line, rest)) = line(bytes)? else {
            return Ok(Step::More);
        };
        let (word, value) = line.split_once(' ').ok_or(ExportError::Line)?;
        if word == "end" {
            return self.end(line, rest);
        }
        let bytes_max = match word {
            "head" => NOTE_BYTES_MAX,
            "evidence" => EVIDENCE_BYTES_MAX,
            _ => return Err(ExportError::Line),
        };
        let length = parse_decimal(value).ok();
        let length = length.and_then(|length| usize::try_from(length).ok());
        let length = length.ok_or(ExportError::Line)?;
        if length > bytes_max {
            return Err(ExportError::TooLong { bytes_max });
        }
        let Some(body) = rest.get(..length) else {
            return Ok(Step::More);
        };
        let part = if word == "head" {
            Part::Head(note(body)?)
        } else {
            let evidence = Evidence::parse(body).map_err(ExportError::Evidence)?;
            Part::Evidence(Box::new(evidence))
        };
        self.account.take(&part)?;
        let used = line.len() + 1 + length;
        self.account
            .digest
            .update(bytes.get(..used).unwrap_or_default());
        Ok(Step::Part(part, used))
    }

    fn header(&mut self, bytes: &[u8]) -> Result<Step, ExportError> {
        let mut rest = bytes;
        let mut lines: [&str; 4] = [""; 4];
        for (place, wanted) in lines.iter_mut().enumerate() {
            let Some((found, after)) = line(rest)? else {
                // What cannot become a header is told at once, however little of it there is.
                return match place {
                    0 if !FORMAT.as_bytes().starts_with(rest) => Err(ExportError::Format),
                    _ => Ok(Step::More),
                };
            };
            if place == 0 && found != FORMAT {
                return Err(ExportError::Format);
            }
            (*wanted, rest) = (found, after);
        }
        let [_, name, time, empty] = lines;
        let name = name.strip_prefix("name ").map(KeyName::parse);
        let time = time.strip_prefix("time ").map(parse_decimal);
        let (Some(Ok(name)), Some(Ok(time)), "") = (name, time, empty) else {
            return Err(ExportError::Header);
        };
        let time = UnixSeconds::new(time).ok_or(ExportError::Header)?;
        let used = bytes.len() - rest.len();
        self.account
            .digest
            .update(bytes.get(..used).unwrap_or_default());
        self.begun = true;
        Ok(Step::Header(Header { name, time }, used))
    }

    fn end(&mut self, line: &str, rest: &[u8]) -> Result<Step, ExportError> {
        let due = self.account.clone().last_line();
        if due.strip_suffix('\n') != Some(line) {
            return Err(ExportError::NotWhole);
        }
        self.ended = true;
        if !rest.is_empty() {
            return Err(ExportError::AfterTheEnd);
        }
        Ok(Step::End(self.account.counts))
    }
}

fn note(body: &[u8]) -> Result<SignedCheckpoint, ExportError> {
    SignedCheckpoint::parse(body).map_err(ExportError::Note)
}

/// The first line, and what is behind it.
fn line(bytes: &[u8]) -> Result<Option<(&str, &[u8])>, ExportError> {
    let window = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = window.iter().position(|&byte| byte == b'\n') else {
        let may_come = bytes.len() < LINE_BYTES_MAX;
        return may_come.then_some(None).ok_or(ExportError::Line);
    };
    let (line, rest) = bytes.split_at_checked(end).ok_or(ExportError::Line)?;
    let line = core::str::from_utf8(line).map_err(|_| ExportError::Line)?;
    Ok(Some((line, rest.get(1..).unwrap_or_default())))
}

/// Why bytes are no file of this format. Whoever made or changed it is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportError {
    /// The first line is another.
    Format,
    /// The lines `name` and `time` and the empty one are not there, or not as they are to be.
    Header,
    /// A line is none that may stand there.
    Line,
    /// A part says that it is longer than its kind may be.
    TooLong {
        /// How long that is.
        bytes_max: usize,
    },
    /// A note is no checkpoint.
    Note(CheckpointError),
    /// A piece of evidence is none.
    Evidence(evidence::ParseError),
    /// A part does not come after the one before it.
    Order,
    /// There are more parts than [`PARTS_MAX`].
    TooMany,
    /// The last line does not say what is before it.
    NotWhole,
    /// Something follows the last line.
    AfterTheEnd,
    /// It ends before the last line.
    CutShort,
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format => write!(f, "the first line is not \"{FORMAT}\""),
            Self::Header => f.write_str(
                "after the first line there must be \"name <witness>\", \"time <seconds>\" and an \
                 empty line",
            ),
            Self::Line => f.write_str(
                "a part must begin with \"head\" or \"evidence\" and its length, and the last \
                 line with \"end\"",
            ),
            Self::TooLong { bytes_max } => {
                write!(
                    f,
                    "a part is longer than the {bytes_max} bytes that it may have"
                )
            }
            Self::Note(error) => write!(f, "a note: {error}"),
            Self::Evidence(error) => write!(f, "evidence: {error}"),
            Self::Order => f.write_str("a part does not come after the one before it"),
            Self::TooMany => write!(f, "there are more than {PARTS_MAX} parts"),
            Self::NotWhole => f.write_str("the last line does not say what is before it"),
            Self::AfterTheEnd => f.write_str("something follows the last line"),
            Self::CutShort => f.write_str("the file ends before its last line"),
        }
    }
}

impl core::error::Error for ExportError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Note(error) => Some(error),
            Self::Evidence(error) => Some(error),
            _ => None,
        }
    }
}

/// Reads a whole file that is in memory: its first lines and its parts.
///
/// # Errors
/// [`ExportError`].
pub fn parse(mut bytes: &[u8]) -> Result<(Header, Vec<Part>), ExportError> {
    let (mut decoder, mut header, mut parts) = (Decoder::default(), None, Vec::new());
    loop {
        let used = match decoder.step(bytes)? {
            Step::More => return Err(ExportError::CutShort),
            Step::Header(first, used) => {
                header = Some(first);
                used
            }
            Step::Part(part, used) => {
                parts.push(part);
                used
            }
            Step::End(_) => {
                let header = header.ok_or(ExportError::Header)?;
                return Ok((header, parts));
            }
        };
        bytes = bytes.get(used..).unwrap_or_default();
    }
}

/// The bytes of a whole file.
///
/// # Errors
/// As for [`Encoder::part`].
pub fn to_bytes(header: &Header, parts: &[Part]) -> Result<Vec<u8>, ExportError> {
    let (mut encoder, mut bytes) = Encoder::begin(header);
    for part in parts {
        bytes.extend(encoder.part(part)?);
    }
    bytes.extend(encoder.end());
    Ok(bytes)
}
