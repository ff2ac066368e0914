//! What cosigners say of themselves, laid beside each other: the notes that they cosigned, with the
//! times in their lines, and the pages of their feeds.
//!
//! Nothing is verified here but what looks like a contradiction; evidence verifies it then.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Node, Step};
use crate::checkpoint::SignedCheckpoint;
use crate::evidence::{Cosigner, Evidence, ShownRow};
use crate::gossip::{Feed, Row};
use crate::hash::{Hash, leaf_hash};
use crate::key::{KeyName, UnixSeconds};
use crate::note::SignatureLine;
use crate::proof::prove_inclusion;
use crate::tree::{CompactRange, LeafIndex, NodeCoord, TreeHead};

impl Node {
    /// Whether a cosigner of this note, whose head may be long known, cosigned a larger head before
    /// or a smaller one after.
    // Spec: GSP-55
    pub(super) fn look_for_regress(
        &mut self,
        step: &mut Step<'_>,
        key: &Hash,
        note: &SignedCheckpoint,
    ) {
        let Some(log) = self.logs.get(key) else {
            return;
        };
        let mut suspected: Vec<(Arc<SignedCheckpoint>, UnixSeconds, UnixSeconds, Cosigner)> =
            Vec::new();
        for line in note.signatures() {
            let Some(time) = self.cosigned_at(line) else {
                continue;
            };
            for other in log.notes() {
                let before = other.signatures().iter().find_map(|before| {
                    let same = before.name() == line.name() && before.key_id() == line.key_id();
                    self.cosigned_at(before).filter(|_| same)
                });
                let Some(before) = before else {
                    continue;
                };
                let (size, held) = (note.head().size, other.head().size);
                let went_back = (size < held && time > before) || (size > held && time < before);
                // One is enough: the rest of such a note proves no more.
                if went_back && suspected.is_empty() {
                    let by = Cosigner {
                        name: line.name().clone(),
                        key_id: line.key_id(),
                    };
                    suspected.push((other.clone(), before, time, by));
                }
            }
        }
        for (other, before, time, by) in suspected {
            let evidence =
                Evidence::cosigner_regress(((*other).clone(), before), (note.clone(), time), by);
            self.contradiction(step, evidence);
        }
    }

    /// The time in a line of a known cosigner.
    fn cosigned_at(&self, line: &SignatureLine) -> Option<UnixSeconds> {
        let mut keys = self.roster.cosigners.get(line.name())?.iter();
        keys.find(|key| key.matches(line))?;
        let (time, _) = line.signature().split_first_chunk::<8>()?;
        UnixSeconds::new(u64::from_be_bytes(*time)).filter(|time| *time != UnixSeconds::ZERO)
    }

    /// Whether a page calls a head of a log the newest that its witness cosigned, when we hold a
    /// larger one with its cosignature from well before.
    // Spec: GSP-55
    pub(super) fn look_for_omission(&mut self, step: &mut Step<'_>, name: &KeyName, feed: &Feed) {
        let mut found = Vec::new();
        for (index, row) in feed.rows().iter().enumerate() {
            if row.flags.newest_cosigned {
                for key in self.roster.keys_of(row.origin) {
                    found.extend(self.omission(name, &key, feed, (index, row)));
                }
            }
            // One convicts; a proof for each row of a page would take the square of its length.
            if !found.is_empty() {
                break;
            }
        }
        for evidence in found {
            self.found(step, &evidence, None);
        }
    }

    fn omission(
        &self,
        name: &KeyName,
        key: &Hash,
        feed: &Feed,
        (index, row): (usize, &Row),
    ) -> Option<Evidence> {
        let log = self.logs.get(key)?;
        let page = feed.page();
        let shown: TreeHead = log.head_of_tag(&page.salt, row.size, &row.tag)?;
        let hidden = log.notes().filter(|note| note.head().size > row.size);
        for note in hidden {
            for line in note.signatures().iter().filter(|line| line.name() == name) {
                let Some(time) = self.cosigned_at(line) else {
                    continue;
                };
                if page.time.get().saturating_sub(time.get()) < 10 {
                    continue;
                }
                let by = Cosigner {
                    name: name.clone(),
                    key_id: line.key_id(),
                };
                let row = shown_row(feed, index, shown.root_hash)?;
                let (page, note) = (feed.signed().clone(), (**note).clone());
                if let Ok(evidence) = Evidence::omission(page, row, note, by, time) {
                    return Some(evidence);
                }
            }
        }
        None
    }
}

/// A row with the proof that its page has it.
fn shown_row(feed: &Feed, index: usize, root: Hash) -> Option<ShownRow> {
    let mut nodes: BTreeMap<NodeCoord, Hash> = BTreeMap::new();
    let mut tree = CompactRange::new();
    for row in feed.rows() {
        let leaf = leaf_hash(alloc::format!("{row}").as_bytes());
        let mut add = |coord, hash| {
            nodes.insert(coord, hash);
        };
        tree.append_with(leaf, &mut add).ok()?;
    }
    let row = *feed.rows().get(index)?;
    let index = LeafIndex::new(u64::try_from(index).ok()?)?;
    let proof = prove_inclusion(index, tree.size(), &nodes).ok()?;
    Some(ShownRow {
        row,
        root,
        index,
        proof,
    })
}
