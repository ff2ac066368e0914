//! One page of the feed of heads: which part of the feed it is, and the root hash over its rows.

use alloc::string::String;

use super::{Fields, PAGE_FORMAT, Random, Row, StatementError, push_field, push_table};
use crate::hash::leaf_hash;
use crate::key::{KeyName, UnixSeconds};
use crate::tree::{CompactRange, TreeFull, TreeHead};

/// What a witness says that a part of its feed holds, after its change number `seq`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Who says it: the name of the witness and of its gossip key.
    pub name: KeyName,
    /// Which journal.
    pub epoch: Random,
    /// How many changes the journal has seen.
    pub seq: u64,
    /// The page begins after this change.
    pub since: u64,
    /// The last change that it holds, or `since` when it holds none.
    pub next: u64,
    /// When it was said.
    pub time: UnixSeconds,
    /// What the tags of its rows are salted with.
    pub salt: Random,
    /// How many rows it has, and the root hash of the tree over them.
    pub rows: TreeHead,
}

impl Page {
    /// The root hash over rows, as pages state it.
    ///
    /// # Errors
    /// Never for rows that fit in memory.
    // Spec: GSP-05
    pub fn rows_head<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Result<TreeHead, TreeFull> {
        let mut tree = CompactRange::new();
        for row in rows {
            tree.append(leaf_hash(alloc::format!("{row}").as_bytes()))?;
        }
        Ok(tree.head())
    }

    // Spec: GSP-04
    pub(super) fn parse_fields(fields: &mut Fields<'_>) -> Result<Self, StatementError> {
        let page = Self {
            name: fields.name()?,
            epoch: fields.random("epoch")?,
            seq: fields.number("seq")?,
            since: fields.number("since")?,
            next: fields.number("next")?,
            time: fields.time()?,
            salt: fields.random("salt")?,
            rows: fields.table("rows")?,
        };
        let Self {
            since, next, seq, ..
        } = page;
        if since > next || next > seq {
            return Err(StatementError::Part { since, next, seq });
        }
        Ok(page)
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = self.subject();
        push_field(&mut text, "time", &self.time);
        self.push_content(&mut text);
        text
    }

    pub(super) fn subject(&self) -> String {
        let mut text = String::from(PAGE_FORMAT);
        text.push('\n');
        push_field(&mut text, "name", &self.name);
        push_field(&mut text, "epoch", &self.epoch);
        push_field(&mut text, "seq", &self.seq);
        push_field(&mut text, "since", &self.since);
        push_field(&mut text, "next", &self.next);
        text
    }

    pub(super) fn claim(&self) -> String {
        let mut text = self.subject();
        self.push_content(&mut text);
        text
    }

    fn push_content(&self, text: &mut String) {
        push_field(text, "salt", &self.salt);
        push_table(text, "rows", &self.rows);
    }
}
