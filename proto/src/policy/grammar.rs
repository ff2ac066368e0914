//! The policy file's lines, and everything that can be wrong with them.

use alloc::string::String;
use core::fmt;

use super::{
    GOSSIP, GROUPS_MAX, LOGS_MAX, POLICY_BYTES_MAX, Policy, PolicyBuilder, PolicyWord, RETIRED,
    Threshold, WITNESSES_MAX,
};
use crate::decimal::{DecimalError, parse_decimal};
use crate::key::{KeyError, VerifierKey};
use crate::note::SignatureType;

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// [`PolicyParseError`]: the first thing that is wrong, with its line. The file's author is at
    /// fault.
    pub fn parse(file: &[u8]) -> Result<Self, PolicyParseError> {
        // Spec: POL-19
        if file.len() > POLICY_BYTES_MAX {
            return Err(PolicyParseError::TooLong { bytes: file.len() });
        }
        check_octets(file)?;
        let mut builder = PolicyBuilder::new();
        let mut lines = file.split(|&octet| octet == b'\n').zip(1..).peekable();
        while let Some((octets, line)) = lines.next() {
            if lines.peek().is_none() {
                // What follows the last newline. Were it a line, a file cut short in the middle of
                // its quorum could name another, weaker one.
                // Spec: POL-02
                if octets.is_empty() {
                    break;
                }
                return Err(PolicyParseError::Unterminated { line });
            }
            parse_line(&mut builder, octets)
                .map_err(|fault| PolicyParseError::Line { line, fault })?;
        }
        match builder.finish() {
            Ok(policy) => Ok(policy),
            Err(PolicyFault::TooLong { bytes }) => Err(PolicyParseError::TooLong { bytes }),
            Err(_) => Err(PolicyParseError::NoQuorum),
        }
    }
}

/// Tab, newline, printable ASCII, and anything with the high bit set.
// Spec: POL-01
fn check_octets(file: &[u8]) -> Result<(), PolicyParseError> {
    let allowed = |octet: u8| matches!(octet, 0x09 | 0x0a | 0x20..=0x7e | 0x80..=0xff);
    for (octets, line) in file.split(|&octet| octet == b'\n').zip(1..) {
        if let Some((octet, column)) = octets.iter().copied().zip(1..).find(|&(o, _)| !allowed(o)) {
            return Err(PolicyParseError::ForbiddenOctet {
                line,
                column,
                octet,
            });
        }
    }
    Ok(())
}

// Spec: POL-03, POL-04, POL-06
fn parse_line(builder: &mut PolicyBuilder, octets: &[u8]) -> Result<(), PolicyFault> {
    let mut items = octets
        .split(|octet| matches!(octet, b' ' | b'\t'))
        .filter(|item| !item.is_empty());
    let ours = |item: &&[u8]| !item.starts_with(b"#") || item.starts_with(OURS);
    let Some(keyword) = items.next().filter(ours) else {
        return Ok(());
    };
    match keyword {
        b"log" => {
            let key = parse_key(required(&mut items, "a log's vkey")?)?;
            let url = items.next().and_then(PolicyWord::new);
            nothing_left(&mut items)?;
            builder.log(key, url)
        }
        b"witness" => {
            let name = word(required(&mut items, "a witness's name")?)?;
            let key = parse_key(required(&mut items, "a witness's vkey")?)?;
            let url = items.next().and_then(PolicyWord::new);
            nothing_left(&mut items)?;
            builder.witness(name, key, url)
        }
        b"group" => {
            let name = word(required(&mut items, "a group's name")?)?;
            let threshold = parse_threshold(required(&mut items, "any, all or a number")?)?;
            builder.group(name, threshold, items)
        }
        b"quorum" => {
            let name = required(&mut items, "the quorum's name")?;
            nothing_left(&mut items)?;
            builder.quorum(name)
        }
        RETIRED => {
            let key = parse_key(required(&mut items, "a retired key")?)?;
            nothing_left(&mut items)?;
            builder.retired(key)
        }
        GOSSIP => {
            let key = parse_key(required(&mut items, "a gossip key")?)?;
            builder.gossip(key, items)
        }
        other => Err(PolicyFault::UnknownKeyword {
            keyword: lossy(other),
        }),
    }
}

/// How a comment begins that is one to others only. One of these that is not understood refuses the
/// file: who wrote it meant something.
// Spec: POL-34
const OURS: &[u8] = b"#jurat:";

fn required<'a>(
    items: &mut impl Iterator<Item = &'a [u8]>,
    what: &'static str,
) -> Result<&'a [u8], PolicyFault> {
    items.next().ok_or(PolicyFault::Missing { what })
}

fn nothing_left<'a>(items: &mut impl Iterator<Item = &'a [u8]>) -> Result<(), PolicyFault> {
    match items.next() {
        None => Ok(()),
        Some(item) => Err(PolicyFault::Extra { item: lossy(item) }),
    }
}

fn word(item: &[u8]) -> Result<PolicyWord, PolicyFault> {
    PolicyWord::new(item).ok_or(PolicyFault::Missing { what: "a name" })
}

// Spec: POL-07
fn parse_key(item: &[u8]) -> Result<VerifierKey, PolicyFault> {
    let text = core::str::from_utf8(item).map_err(|_| PolicyFault::KeyNotText)?;
    VerifierKey::parse(text).map_err(PolicyFault::Key)
}

// Spec: POL-15
fn parse_threshold(item: &[u8]) -> Result<Threshold, PolicyFault> {
    match item {
        b"any" => Ok(Threshold::Any),
        b"all" => Ok(Threshold::All),
        _ => {
            let text = core::str::from_utf8(item).map_err(|_| PolicyFault::Threshold {
                item: lossy(item),
                reason: None,
            })?;
            let number = parse_decimal(text).map_err(|reason| PolicyFault::Threshold {
                item: lossy(item),
                reason: Some(reason),
            })?;
            // A number that this machine cannot count to is larger than any group.
            Ok(Threshold::AtLeast(
                usize::try_from(number).unwrap_or(usize::MAX),
            ))
        }
    }
}

/// At most the first 80 octets, for people.
fn lossy(item: &[u8]) -> String {
    let (shown, rest) = item.split_at(item.len().min(80));
    let mut text = String::from_utf8_lossy(shown).into_owned();
    if !rest.is_empty() {
        text.push('…');
    }
    text
}

/// Why a policy file was refused. Its author is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyParseError {
    /// The file is larger than [`POLICY_BYTES_MAX`].
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// An octet that no policy may contain: a control character other than tab and newline.
    ForbiddenOctet {
        /// The line, from 1.
        line: usize,
        /// The octet's place in the line, from 1.
        column: usize,
        /// The octet.
        octet: u8,
    },
    /// The last line has no newline: the file may have been cut short.
    Unterminated {
        /// The line, from 1.
        line: usize,
    },
    /// A line breaks a rule.
    Line {
        /// The line, from 1.
        line: usize,
        /// The rule it breaks.
        fault: PolicyFault,
    },
    /// No line sets the quorum.
    NoQuorum,
}

impl fmt::Display for PolicyParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => {
                write!(
                    f,
                    "the policy has {bytes} bytes; at most {POLICY_BYTES_MAX} are read"
                )
            }
            Self::ForbiddenOctet {
                line,
                column,
                octet: b'\r',
            } => write!(
                f,
                "policy line {line}: carriage return at column {column}; lines end in a \
                 newline only"
            ),
            Self::ForbiddenOctet {
                line,
                column,
                octet,
            } => write!(
                f,
                "policy line {line}: octet 0x{octet:02x} at column {column}; the only control \
                 characters allowed are tab and newline"
            ),
            Self::Unterminated { line } => write!(
                f,
                "policy line {line} is the last and has no newline at its end; the file may be cut \
                 short"
            ),
            Self::Line { line, fault } => write!(f, "policy line {line}: {fault}"),
            Self::NoQuorum => f.write_str(
                "the policy has no quorum line; to ask for no witness, write \"quorum none\"",
            ),
        }
    }
}

impl core::error::Error for PolicyParseError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Line { fault, .. } => Some(fault),
            Self::TooLong { .. }
            | Self::ForbiddenOctet { .. }
            | Self::Unterminated { .. }
            | Self::NoQuorum => None,
        }
    }
}

/// The rule of the policy format that a definition breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyFault {
    /// The line starts with a word that is none of `log`, `witness`, `group`, `quorum`.
    UnknownKeyword {
        /// The word.
        keyword: String,
    },
    /// The line ends before a required item.
    Missing {
        /// What is missing.
        what: &'static str,
    },
    /// The line has an item too many.
    Extra {
        /// The first such item.
        item: String,
    },
    /// The vkey is not UTF-8.
    KeyNotText,
    /// The vkey is not one.
    Key(KeyError),
    /// The vkey has an octet that no policy may contain (only a [`PolicyBuilder`] meets it).
    KeyNotWritable,
    /// The witness's key signs something other than cosignatures.
    WitnessKeyType {
        /// The key's signature type.
        signature_type: SignatureType,
    },
    /// The witness's gossip key is of another type than gossip keys have.
    GossipKeyType {
        /// The key's signature type.
        signature_type: SignatureType,
    },
    /// The key is named for the same on a line above.
    SaidTwice {
        /// The key.
        key: String,
    },
    /// The name is a group's, where a witness's is wanted.
    NotAWitness {
        /// The name.
        name: PolicyWord,
    },
    /// Another log has the same public key.
    DuplicateLogKey {
        /// The other log's vkey.
        first: String,
    },
    /// Another witness has the same public key.
    DuplicateWitnessKey {
        /// The other witness's name.
        first: PolicyWord,
    },
    /// The name is already a witness's or group's.
    DuplicateName {
        /// The name.
        name: PolicyWord,
    },
    /// `none` is predefined and cannot be defined.
    ReservedName,
    /// The name is not defined on any line above.
    UnknownName {
        /// The name.
        name: PolicyWord,
    },
    /// `none` is listed as a group's member.
    NoneAsMember,
    /// The name is listed as a member for the second time.
    MemberTwice {
        /// The name.
        name: PolicyWord,
        /// The group that lists it first.
        first: PolicyWord,
    },
    /// The group lists nobody.
    EmptyGroup {
        /// The group's name.
        name: PolicyWord,
    },
    /// The threshold is neither `any`, `all` nor a decimal number.
    Threshold {
        /// What stands there.
        item: String,
        /// Why it is no number; nothing when it is not even text.
        reason: Option<DecimalError>,
    },
    /// The threshold is zero or larger than the count of members.
    ThresholdOutOfRange {
        /// The threshold.
        threshold: usize,
        /// The count of members.
        members: usize,
    },
    /// The quorum is already set.
    SecondQuorum,
    /// The quorum was never set (only a [`PolicyBuilder`] says it so).
    NoQuorum,
    /// The policy would be larger than [`POLICY_BYTES_MAX`] (only a [`PolicyBuilder`] says it so).
    TooLong {
        /// Its length as a file.
        bytes: usize,
    },
    /// More than [`LOGS_MAX`] logs.
    TooManyLogs,
    /// More than [`WITNESSES_MAX`] witnesses.
    TooManyWitnesses,
    /// More than [`GROUPS_MAX`] groups.
    TooManyGroups,
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKeyword { keyword } => write!(
                f,
                "unknown keyword \"{keyword}\"; a line starts with log, witness, group, quorum or #"
            ),
            Self::Missing { what } => write!(f, "{what} is missing"),
            Self::Extra { item } => write!(f, "unexpected \"{item}\" after the last item"),
            Self::KeyNotText => f.write_str("the vkey is not UTF-8"),
            Self::KeyNotWritable => {
                f.write_str("the key's name has an octet that no policy may contain")
            }
            Self::Key(error) => write!(f, "the vkey is not valid: {error}"),
            Self::WitnessKeyType { signature_type } => write!(
                f,
                "a key of signature type {signature_type} cannot cosign; a witness needs type 0x04 \
                 or 0x06"
            ),
            Self::GossipKeyType { signature_type } => write!(
                f,
                "a key of signature type {signature_type} does not gossip; type 0x01 does"
            ),
            Self::SaidTwice { key } => write!(f, "a line above says this of {key} already"),
            Self::NotAWitness { name } => write!(f, "{name} is a group; name witnesses"),
            Self::DuplicateLogKey { first } => {
                write!(f, "the log has the same public key as {first}")
            }
            Self::DuplicateWitnessKey { first } => {
                write!(f, "the witness has the same public key as {first}")
            }
            Self::DuplicateName { name } => write!(f, "the name {name} is already defined"),
            Self::ReservedName => f.write_str("the name none is predefined; choose another"),
            Self::UnknownName { name } => {
                write!(f, "the name {name} is not defined on any line above")
            }
            Self::NoneAsMember => f.write_str("none cannot be a member of a group"),
            Self::MemberTwice { name, first } => {
                write!(
                    f,
                    "{name} is already a member of {first}; a name is a member once"
                )
            }
            Self::EmptyGroup { name } => write!(f, "the group {name} lists no member"),
            Self::Threshold {
                item,
                reason: Some(reason),
            } => {
                write!(f, "\"{item}\" is neither any, all nor a number: {reason}")
            }
            Self::Threshold { item, reason: None } => {
                write!(f, "\"{item}\" is neither any, all nor a number")
            }
            Self::ThresholdOutOfRange { threshold, members } => {
                write!(
                    f,
                    "a threshold of {threshold} does not fit {members} members"
                )
            }
            Self::SecondQuorum => f.write_str("the quorum is already set on a line above"),
            Self::NoQuorum => f.write_str("the quorum is not set"),
            Self::TooLong { bytes } => {
                write!(
                    f,
                    "the policy has {bytes} bytes; at most {POLICY_BYTES_MAX} are read"
                )
            }
            Self::TooManyLogs => write!(f, "more than {LOGS_MAX} logs"),
            Self::TooManyWitnesses => write!(f, "more than {WITNESSES_MAX} witnesses"),
            Self::TooManyGroups => write!(f, "more than {GROUPS_MAX} groups"),
        }
    }
}

impl core::error::Error for PolicyFault {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Key(error) => Some(error),
            Self::Threshold {
                reason: Some(reason),
                ..
            } => Some(reason),
            _ => None,
        }
    }
}
