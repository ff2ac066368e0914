//! The state of a witness: how much it holds, and the root hashes over it.

use alloc::string::String;

use super::{Fields, Random, STATE_FORMAT, StatementError, push_field, push_table};
use crate::key::{KeyName, UnixSeconds};
use crate::tree::TreeHead;

/// What a witness says that it holds, after its change number `seq`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Who says it: the name of the witness and of its gossip key.
    pub name: KeyName,
    /// Which journal: drawn anew when a journal begins.
    pub epoch: Random,
    /// How many changes the journal has seen.
    pub seq: u64,
    /// When it was said.
    pub time: UnixSeconds,
    /// How many heads it holds, and the root hash over them.
    pub rows: TreeHead,
    /// How much evidence it holds, and the root hash over its ids.
    pub evidence: TreeHead,
    /// What the asker wanted to see in the answer.
    pub nonce: Option<Random>,
}

impl State {
    // Spec: GSP-03
    pub(super) fn parse_fields(fields: &mut Fields<'_>) -> Result<Self, StatementError> {
        Ok(Self {
            name: fields.name()?,
            epoch: fields.random("epoch")?,
            seq: fields.number("seq")?,
            time: fields.time()?,
            rows: fields.table("rows")?,
            evidence: fields.table("evidence")?,
            nonce: match fields.rest {
                "" => None,
                _ => Some(fields.random("nonce")?),
            },
        })
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = self.subject();
        push_field(&mut text, "time", &self.time);
        self.push_content(&mut text);
        if let Some(nonce) = &self.nonce {
            push_field(&mut text, "nonce", nonce);
        }
        text
    }

    pub(super) fn subject(&self) -> String {
        let mut text = String::from(STATE_FORMAT);
        text.push('\n');
        push_field(&mut text, "name", &self.name);
        push_field(&mut text, "epoch", &self.epoch);
        push_field(&mut text, "seq", &self.seq);
        text
    }

    pub(super) fn claim(&self) -> String {
        let mut text = self.subject();
        self.push_content(&mut text);
        text
    }

    fn push_content(&self, text: &mut String) {
        push_table(text, "rows", &self.rows);
        push_table(text, "evidence", &self.evidence);
    }
}
