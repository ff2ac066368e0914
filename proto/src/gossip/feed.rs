//! A page of the feed as it is served: its rows, an empty line, and the signed page.
//!
//! ```text
//! <origin> <size> <tag> <age> <flags>        the first row of an origin
//! <smaller by> <tag> <age> <flags>           each further one
//! …                                          as many rows as the page states
//!
//! <signed note of the page>
//! ```
//!
//! A row is shorter here than in the tree that the page commits to: its origin and the larger part
//! of its numbers stand before it.
//!
//! Rows: `spec/gossip.md` GSP-20, GSP-21, GSP-172.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::{Page, Row, RowError, SignedStatement, Statement, StatementError};
use crate::tree::TreeHead;

/// The longest page that is read: as much as a peer may send in a round.
// Spec: GSP-20
pub const FEED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most rows of a page.
// Spec: GSP-20
pub const FEED_ROWS_MAX: usize = 16_384;

/// The rows of a page, and the statement that commits to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    rows: Vec<Row>,
    signed: SignedStatement,
    page: Page,
}

impl Feed {
    /// Puts rows under a signed page.
    ///
    /// # Errors
    /// When the statement is no page, or is about other rows.
    // Spec: GSP-21
    pub fn new(rows: Vec<Row>, signed: SignedStatement) -> Result<Self, FeedError> {
        if rows.len() > FEED_ROWS_MAX {
            return Err(FeedError::TooMany);
        }
        let Statement::Page(page) = signed.statement() else {
            return Err(FeedError::NotAPage);
        };
        let page = page.clone();
        match Page::rows_head(&rows) {
            Ok(head) if head == page.rows => Ok(Self { rows, signed, page }),
            found => Err(FeedError::OtherRows {
                stated: page.rows,
                found: found.unwrap_or(TreeHead::empty()),
            }),
        }
    }

    /// Parses a page with its rows. Signatures are not verified.
    ///
    /// # Errors
    /// When the bytes are not exactly what [`Feed::to_bytes`] writes, or the rows are not those
    /// that the page is about.
    // Spec: GSP-20, GSP-21, GSP-88
    pub fn parse(bytes: &[u8]) -> Result<Self, FeedError> {
        if bytes.len() > FEED_BYTES_MAX {
            return Err(FeedError::TooLong { bytes: bytes.len() });
        }
        let text = core::str::from_utf8(bytes).map_err(|_| FeedError::NotText)?;
        let (lines, rest) = match text.strip_prefix('\n') {
            Some(rest) => ("", rest),
            None => text.split_once("\n\n").ok_or(FeedError::NoPage)?,
        };
        // The page first: its time is what those of the rows are counted from.
        let signed = SignedStatement::parse(rest.as_bytes()).map_err(FeedError::Statement)?;
        let Statement::Page(page) = signed.statement() else {
            return Err(FeedError::NotAPage);
        };
        let mut rows: Vec<Row> = Vec::new();
        for (index, line) in lines.split_terminator('\n').enumerate() {
            if index >= FEED_ROWS_MAX {
                return Err(FeedError::TooMany);
            }
            let row = Row::parse_line(line, rows.last(), page.time);
            rows.push(row.map_err(|reason| FeedError::Row { index, reason })?);
        }
        Self::new(rows, signed)
    }

    /// The bytes of the page.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = String::new();
        let mut before = None;
        for row in &self.rows {
            text.push_str(&row.to_line(before, self.page.time));
            text.push('\n');
            before = Some(row);
        }
        text.push('\n');
        let mut bytes = text.into_bytes();
        bytes.extend(self.signed.to_bytes());
        bytes
    }

    /// The rows, in their order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// What the page says.
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// The page as it was signed.
    pub fn signed(&self) -> &SignedStatement {
        &self.signed
    }
}

/// Why bytes are no page of a feed. Whoever sent them is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedError {
    /// They are more than are read.
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// They are not UTF-8.
    NotText,
    /// There are more than [`FEED_ROWS_MAX`] rows.
    TooMany,
    /// A line before the first empty one is no row.
    Row {
        /// Which, from 0.
        index: usize,
        /// Why it is none.
        reason: RowError,
    },
    /// No empty line ends the rows.
    NoPage,
    /// What follows the empty line is no statement.
    Statement(StatementError),
    /// It is a statement, and no page.
    NotAPage,
    /// The page is about other rows.
    OtherRows {
        /// What it states.
        stated: TreeHead,
        /// What the rows make.
        found: TreeHead,
    },
}

impl fmt::Display for FeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => write!(
                f,
                "{bytes} bytes are too many; at most {FEED_BYTES_MAX} are read"
            ),
            Self::NotText => f.write_str("the page is not UTF-8"),
            Self::TooMany => write!(f, "there are more than {FEED_ROWS_MAX} rows"),
            Self::Row { index, reason } => write!(f, "row {}: {reason}", index + 1),
            Self::NoPage => f.write_str("no empty line and no page follow the rows"),
            Self::Statement(error) => error.fmt(f),
            Self::NotAPage => f.write_str("the rows stand over a statement that is no page"),
            Self::OtherRows { stated, found } => write!(
                f,
                "the page is about {} rows with the root {}; these are {} with the root {}",
                stated.size, stated.root_hash, found.size, found.root_hash
            ),
        }
    }
}

impl core::error::Error for FeedError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Row { reason, .. } => Some(reason),
            Self::Statement(error) => Some(error),
            Self::TooLong { .. }
            | Self::NotText
            | Self::TooMany
            | Self::NoPage
            | Self::NotAPage
            | Self::OtherRows { .. } => None,
        }
    }
}
