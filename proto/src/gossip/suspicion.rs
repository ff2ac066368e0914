//! What a witness says in public of a head that nobody could open.
//!
//! ```text
//! jurat/gossip-suspicion@v0
//! name <witness>
//! time <decimal>
//! origin <origin>
//! held <size> <root hash>
//! suspect <size> <root hash>
//! seen <decimal>
//! tried <decimal> <decimal>
//! — <witness> <signature by the gossip key>
//! ```
//!
//! A statement, and no proof: that a log, its mirrors and the witnesses could not or would not show
//! one signed tree to be a beginning of the other. Policy may act when several say so.
//!
//! Rows: `spec/gossip.md` GSP-43.

use alloc::string::String;
use core::fmt;

use super::{Fields, StatementError, push_field};
use crate::checkpoint::{Origin, TextLineError};
use crate::decimal::{DecimalError, parse_decimal};
use crate::hash::Hash;
use crate::key::{KeyName, UnixSeconds};
use crate::tree::{TreeHead, TreeSize};

/// The two heads, and what was done to join them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspicion {
    /// Who says it: the name of the witness and of its gossip key.
    pub name: KeyName,
    /// When.
    pub time: UnixSeconds,
    /// The log.
    pub origin: Origin,
    /// What the witness holds to be the log's history.
    pub held: TreeHead,
    /// What the log signed as well.
    pub suspect: TreeHead,
    /// When it was first seen.
    pub seen: UnixSeconds,
    /// How often the log's tiles were read, and how often peers were asked, in vain.
    pub tried: [u64; 2],
}

/// The first line.
const FORMAT: &str = "jurat/gossip-suspicion@v0";

impl Suspicion {
    /// Parses the text of a suspicion.
    ///
    /// # Errors
    /// When the text is not exactly what [`Suspicion::to_text`] writes.
    // Spec: GSP-43
    pub fn parse_text(text: &str) -> Result<Self, SuspicionError> {
        let mut fields = Fields::new(text).map_err(SuspicionError::Statement)?;
        if fields.next_line().map_err(SuspicionError::Statement)? != FORMAT {
            return Err(SuspicionError::Statement(StatementError::Format));
        }
        let name = fields.name().map_err(SuspicionError::Statement)?;
        let time = time(&mut fields, "time")?;
        let origin = fields.field("origin").map_err(SuspicionError::Statement)?;
        let origin = Origin::parse(origin).map_err(SuspicionError::Origin)?;
        let held = head(&mut fields, "held")?;
        let suspect = head(&mut fields, "suspect")?;
        let seen = self::time(&mut fields, "seen")?;
        let tried = fields.field("tried").map_err(SuspicionError::Statement)?;
        let (tiles, peers) = tried
            .split_once(' ')
            .ok_or(SuspicionError::Pair { word: "tried" })?;
        let tried = [number("tried", tiles)?, number("tried", peers)?];
        fields.end().map_err(SuspicionError::Statement)?;
        if held == suspect {
            return Err(SuspicionError::OneHead);
        }
        Ok(Self {
            name,
            time,
            origin,
            held,
            suspect,
            seen,
            tried,
        })
    }

    /// The text, its last newline included.
    pub fn to_text(&self) -> String {
        let mut text = String::from(FORMAT);
        text.push('\n');
        let pair = |head: &TreeHead| alloc::format!("{} {}", head.size, head.root_hash);
        push_field(&mut text, "name", &self.name);
        push_field(&mut text, "time", &self.time);
        push_field(&mut text, "origin", &self.origin);
        push_field(&mut text, "held", &pair(&self.held));
        push_field(&mut text, "suspect", &pair(&self.suspect));
        push_field(&mut text, "seen", &self.seen);
        let [tiles, peers] = self.tried;
        push_field(&mut text, "tried", &alloc::format!("{tiles} {peers}"));
        text
    }
}

fn number(word: &'static str, text: &str) -> Result<u64, SuspicionError> {
    parse_decimal(text)
        .map_err(|reason| SuspicionError::Statement(StatementError::Number { word, reason }))
}

fn time(fields: &mut Fields<'_>, word: &'static str) -> Result<UnixSeconds, SuspicionError> {
    let value = fields.field(word).map_err(SuspicionError::Statement)?;
    let too_large = StatementError::Number {
        word,
        reason: DecimalError::TooLarge,
    };
    UnixSeconds::new(number(word, value)?).ok_or(SuspicionError::Statement(too_large))
}

/// A size and a root hash. Unlike the tables of states, size 0 may have any root: logs have signed
/// such heads.
fn head(fields: &mut Fields<'_>, word: &'static str) -> Result<TreeHead, SuspicionError> {
    let value = fields.field(word).map_err(SuspicionError::Statement)?;
    let (size, root) = value.split_once(' ').ok_or(SuspicionError::Pair { word })?;
    let too_large = StatementError::Number {
        word,
        reason: DecimalError::TooLarge,
    };
    let size = TreeSize::new(number(word, size)?);
    Ok(TreeHead {
        size: size.ok_or(SuspicionError::Statement(too_large))?,
        root_hash: Hash::from_base64(root).map_err(|_| SuspicionError::Pair { word })?,
    })
}

/// Why a text is no suspicion. Whoever made it is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SuspicionError {
    /// As for other texts of gossip.
    Statement(StatementError),
    /// The origin is none.
    Origin(TextLineError),
    /// A value is not the two that are due.
    Pair {
        /// The word before it.
        word: &'static str,
    },
    /// The two heads are one.
    OneHead,
}

impl fmt::Display for SuspicionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Statement(error) => error.fmt(f),
            Self::Origin(error) => write!(f, "the origin: {error}"),
            Self::Pair { word } => write!(f, "the value after \"{word}\" is not a pair"),
            Self::OneHead => f.write_str("the two heads are one head"),
        }
    }
}

impl core::error::Error for SuspicionError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Statement(error) => Some(error),
            Self::Origin(error) => Some(error),
            Self::Pair { .. } | Self::OneHead => None,
        }
    }
}
