//! How witnesses find out that a log shows them different histories: what they sign about
//! themselves (the state and the pages of the feed of heads), what they send each other, and what a
//! witness makes of it ([`node`]).
//!
//! ```text
//! jurat/gossip-state@v0                     jurat/gossip-page@v0
//! name <witness>                            name <witness>
//! epoch <32 hex digits>                     epoch <32 hex digits>
//! seq <decimal>                             seq <decimal>
//! time <decimal>                            since <decimal>
//! rows <count> <root hash>                  next <decimal>
//! evidence <count> <root hash>              time <decimal>
//! nonce <32 hex digits>     (if asked)      salt <32 hex digits>
//!                                           rows <count> <root hash>
//! — <witness> <signature by the gossip key>
//! ```
//!
//! Both are signed notes by the gossip key of a witness, a key that signs no checkpoints. It signs
//! three more texts: a [`Suspicion`], a [`Claim`] with a request, and alarms. Here are the two
//! texts and what makes two statements contradict each other; the bodies that peers exchange are
//! [`Feed`], [`Fetch`], [`Notes`], [`Opening`] and [`Catalogue`]. Out of scope: HTTP.
//!
//! The rows are committed to by the root hash of an RFC 6962 tree over them, so that one row can be
//! shown to have been in a page of a hundred thousand (evidence of an omission,
//! [`crate::evidence`]).
//!
//! Rows: `spec/gossip.md`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::decimal::{DecimalError, parse_decimal};
use crate::hash::{Hash, empty_root};
use crate::hex;
use crate::key::{KeyName, UnixSeconds};
use crate::note::{KeyNameError, Note, NoteError, SignatureLine};
use crate::tree::{TreeHead, TreeSize};

mod catalogue;
mod claim;
mod feed;
mod fetch;
pub mod node;
mod opening;
mod page;
mod row;
mod state;
mod suspicion;

pub use self::catalogue::{
    CATALOGUE_BYTES_MAX, CATALOGUE_LINES_MAX, Catalogue, CatalogueEntry, CatalogueError,
};
pub use self::claim::{
    CLAIM_BYTES_MAX, CLAIM_SKEW_MAX, Call, Claim, ClaimError, ClaimRefused, LastClaim, SignedClaim,
};
pub use self::feed::{FEED_BYTES_MAX, FEED_ROWS_MAX, Feed, FeedError};
pub use self::fetch::{
    FETCH_BYTES_MAX, FETCH_ROWS_MAX, Fetch, FetchError, NOTES_BYTES_MAX, Notes, NotesError, Wanted,
};
pub use self::opening::{OPENING_BYTES_MAX, Opening, OpeningError, ReadOpeningError};
pub use self::page::Page;
pub use self::row::{Flags, OriginId, Row, RowError, Tag};
pub use self::state::State;
pub use self::suspicion::{Suspicion, SuspicionError};

/// A statement as it was signed: what it says, and the note that says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedStatement {
    statement: Statement,
    note: Note,
}

impl SignedStatement {
    /// Puts signature lines under a statement.
    ///
    /// # Errors
    /// When there are no lines, too many, or the note would be too large.
    pub fn new(
        statement: Statement,
        signatures: Vec<SignatureLine>,
    ) -> Result<Self, StatementError> {
        let note = Note::new(statement.to_text(), signatures).map_err(StatementError::Note)?;
        Ok(Self { statement, note })
    }

    /// Parses a signed note whose text is a statement. Signatures are not verified.
    ///
    /// # Errors
    /// When the bytes are not exactly what [`SignedStatement::to_bytes`] writes.
    // Spec: GSP-01
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementError> {
        let note = Note::parse(bytes).map_err(StatementError::Note)?;
        let statement = Statement::parse_text(note.text())?;
        Ok(Self { statement, note })
    }

    /// What was signed.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The note: text and signature lines.
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// The signature lines, in order; at least one.
    pub fn signatures(&self) -> &[SignatureLine] {
        self.note.signatures()
    }

    /// The bytes of the note.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.note.to_bytes()
    }
}

/// One of the two texts that a gossip key signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// All that the witness holds.
    State(State),
    /// One page of its feed.
    Page(Page),
}

impl Statement {
    /// Parses the text of a statement.
    ///
    /// # Errors
    /// When the text is not exactly what [`Statement::to_text`] writes.
    // Spec: GSP-01, GSP-02
    pub fn parse_text(text: &str) -> Result<Self, StatementError> {
        let mut fields = Fields::new(text)?;
        let statement = match fields.next_line()? {
            STATE_FORMAT => Self::State(State::parse_fields(&mut fields)?),
            PAGE_FORMAT => Self::Page(Page::parse_fields(&mut fields)?),
            _ => return Err(StatementError::Format),
        };
        fields.end()?;
        Ok(statement)
    }

    /// The text, its last newline included.
    pub fn to_text(&self) -> String {
        match self {
            Self::State(state) => state.to_text(),
            Self::Page(page) => page.to_text(),
        }
    }

    /// Who says it.
    pub fn name(&self) -> &KeyName {
        match self {
            Self::State(state) => &state.name,
            Self::Page(page) => &page.name,
        }
    }

    /// When it was said.
    pub fn time(&self) -> UnixSeconds {
        match self {
            Self::State(state) => state.time,
            Self::Page(page) => page.time,
        }
    }

    /// What it is about, without what it says: format, name, epoch, sequence number, and for a page
    /// the part of the feed.
    // Spec: GSP-08, GSP-09
    pub fn subject(&self) -> String {
        match self {
            Self::State(state) => state.subject(),
            Self::Page(page) => page.subject(),
        }
    }

    /// Subject and content, without the time and the nonce, which may differ between two true
    /// statements about one thing. Two statements with one subject and two claims contradict each
    /// other.
    // Spec: GSP-08, GSP-09
    pub fn claim(&self) -> String {
        match self {
            Self::State(state) => state.claim(),
            Self::Page(page) => page.claim(),
        }
    }
}

/// The first line of a state.
const STATE_FORMAT: &str = "jurat/gossip-state@v0";
/// The first line of a page.
const PAGE_FORMAT: &str = "jurat/gossip-page@v0";

/// Sixteen random bytes: an epoch, a salt or a nonce, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Random(pub [u8; 16]);

/// Thirty-two lower-case hex digits.
impl fmt::Display for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

/// The lines of a statement, each a word, a space and a value.
struct Fields<'a> {
    rest: &'a str,
}

impl<'a> Fields<'a> {
    fn new(text: &'a str) -> Result<Self, StatementError> {
        if text.len() > STATEMENT_BYTES_MAX {
            return Err(StatementError::TooLong { bytes: text.len() });
        }
        Ok(Self { rest: text })
    }

    fn next_line(&mut self) -> Result<&'a str, StatementError> {
        let (line, rest) = self
            .rest
            .split_once('\n')
            .ok_or(StatementError::TooFewLines)?;
        self.rest = rest;
        Ok(line)
    }

    fn field(&mut self, word: &'static str) -> Result<&'a str, StatementError> {
        let line = self.next_line()?;
        line.strip_prefix(word)
            .and_then(|value| value.strip_prefix(' '))
            .ok_or(StatementError::Field { word })
    }

    fn name(&mut self) -> Result<KeyName, StatementError> {
        KeyName::parse(self.field("name")?).map_err(StatementError::Name)
    }

    fn number(&mut self, word: &'static str) -> Result<u64, StatementError> {
        let value = self.field(word)?;
        parse_decimal(value).map_err(|reason| StatementError::Number { word, reason })
    }

    fn time(&mut self) -> Result<UnixSeconds, StatementError> {
        let word = "time";
        UnixSeconds::new(self.number(word)?).ok_or(StatementError::Number {
            word,
            reason: DecimalError::TooLarge,
        })
    }

    fn random(&mut self, word: &'static str) -> Result<Random, StatementError> {
        let bytes = hex::decode(self.field(word)?).ok();
        let bytes = bytes.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        bytes.map(Random).ok_or(StatementError::Random { word })
    }

    /// A count and the root hash of the tree over as many things.
    // Spec: GSP-05
    fn table(&mut self, word: &'static str) -> Result<TreeHead, StatementError> {
        let value = self.field(word)?;
        let (count, root) = value
            .split_once(' ')
            .ok_or(StatementError::Table { word })?;
        let too_large = StatementError::Number {
            word,
            reason: DecimalError::TooLarge,
        };
        let count =
            parse_decimal(count).map_err(|reason| StatementError::Number { word, reason })?;
        let size = TreeSize::new(count).ok_or(too_large)?;
        let root_hash = Hash::from_base64(root).map_err(|_| StatementError::Table { word })?;
        if size.is_zero() && root_hash != empty_root() {
            return Err(StatementError::Table { word });
        }
        Ok(TreeHead { size, root_hash })
    }

    fn end(&self) -> Result<(), StatementError> {
        match self.rest {
            "" => Ok(()),
            _ => Err(StatementError::TooManyLines),
        }
    }
}

/// Appends a line.
fn push_field(text: &mut String, word: &str, value: &impl ToString) {
    for part in [word, " ", &value.to_string(), "\n"] {
        text.push_str(part);
    }
}

/// Appends a line with a count and a root hash.
fn push_table(text: &mut String, word: &str, head: &TreeHead) {
    push_field(
        text,
        word,
        &alloc::format!("{} {}", head.size, head.root_hash),
    );
}

/// The longest statement: its numbers and hashes take less than 500 bytes, the name the rest.
const STATEMENT_BYTES_MAX: usize = 8 * 1024;

/// Why a text is not a statement. Whoever made it is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatementError {
    /// It is not a signed note, or it would be too large.
    Note(NoteError),
    /// The text is longer than statements are.
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The first line names no format of a statement.
    Format,
    /// A line is missing, or the last one has no newline.
    TooFewLines,
    /// Lines follow the last one.
    TooManyLines,
    /// A line does not begin with the word that is due.
    Field {
        /// The word.
        word: &'static str,
    },
    /// The name is no key name.
    Name(KeyNameError),
    /// A number is not one.
    Number {
        /// The word before it.
        word: &'static str,
        /// Why it is none.
        reason: DecimalError,
    },
    /// A value is not 32 hex digits.
    Random {
        /// The word before it.
        word: &'static str,
    },
    /// A value is not a count and the root hash of as many rows.
    Table {
        /// The word before it.
        word: &'static str,
    },
    /// The part of the feed is not one: `since`, `next` and `seq` must not fall.
    Part {
        /// After which change the page begins.
        since: u64,
        /// The last change that it holds.
        next: u64,
        /// The last change that there was.
        seq: u64,
    },
}

impl fmt::Display for StatementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(error) => write!(f, "the statement is not a signed note: {error}"),
            Self::TooLong { bytes } => write!(
                f,
                "the statement has {bytes} bytes; at most {STATEMENT_BYTES_MAX} are read"
            ),
            Self::Format => write!(
                f,
                "the first line is neither \"{STATE_FORMAT}\" nor \"{PAGE_FORMAT}\""
            ),
            Self::TooFewLines => f.write_str("the statement ends too early"),
            Self::TooManyLines => f.write_str("lines follow the end of the statement"),
            Self::Field { word } => write!(f, "a line \"{word} …\" is missing"),
            Self::Name(error) => write!(f, "the name: {error}"),
            Self::Number { word, reason } => write!(f, "the number after \"{word}\": {reason}"),
            Self::Random { word } => {
                write!(
                    f,
                    "the value after \"{word}\" is not 32 lower-case hex digits"
                )
            }
            Self::Table { word } => write!(
                f,
                "the value after \"{word}\" is not a count and a root hash of as many"
            ),
            Self::Part { since, next, seq } => {
                write!(f, "the part of the feed is from {since} to {next} of {seq}")
            }
        }
    }
}

impl core::error::Error for StatementError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Note(error) => Some(error),
            Self::Name(error) => Some(error),
            Self::Number { reason, .. } => Some(reason),
            Self::TooLong { .. }
            | Self::Format
            | Self::TooFewLines
            | Self::TooManyLines
            | Self::Field { .. }
            | Self::Random { .. }
            | Self::Table { .. }
            | Self::Part { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
