//! The tables of the file and the bytes in their rows. All integers are big-endian.
//!
//! ```text
//! meta      name          format   "jurat-store/1"
//!                         tree     size u64 | root hash 32
//!                         dedup    merged through u64 | frozen through u64 | cursor 16, if any
//!                         publish  size u64 | root hash 32 | note
//!                         signed   size u64 | root hash 32 | time u64
//!                         wal      generation u64 | its end 32 | 1 while there is more, else 0
//!                         journal  generation u64 | frames u64 | end 32 | 1 while there is more
//!                         marks    listed through u64 | the newest time-stamp u64
//!                         place    epoch u64 | inode u64 | what follows, a bit each, u8
//!                                  | born u64 | machine 32 | outside 32 | inode u64 of the name
//!                                  | born u64 of it | since u64, why
//!                         wal-files for each: inode u64 | 1 and born u64, or 0
//! entries   index         the entry
//! leaves    row           leaf hashes [8 row, 8 row + 8), the last row maybe fewer
//! nodes     level<<56|row the same for tile levels 1 to 7 (subtrees of 256^level leaves)
//! dedup     prefix|index  nothing; prefix is the first 8 bytes of the leaf hash
//! origins   origin        size u64 | root 32 | time u64 | entry u64 | newest history u64 | note
//! history   entry index   previous entry of the origin u64 | size u64 | time u64
//! landmarks kind, index   nothing; entries of keys (1), the clock (2), evidence (3)
//! tips      origin        size u64 | root 32 | time u64: `origins` again, behind a write-ahead log
//! ```
//!
//! Rows are short because the engine has pages of 4 KiB, packs several values in one, and gives a
//! value that is longer than a page a power-of-two run of pages: a whole tile (8 KiB) or bundle
//! (77 kB) in a row would waste up to half, and would be rewritten with every partial width.
//! Eight hashes a row fill a page to 98 % and let an append rewrite one short row for each level.
//! All keys but those of `dedup`, `origins` and (at one page in 256) `nodes` ascend, and the
//! engine's splits leave the pages of an ascending table full.

use redb::{Error, TableDefinition};

use jurat_proto::hash::Hash;
use jurat_proto::key::UnixSeconds;
use jurat_proto::tree::{LeafIndex, TreeHead, TreeSize};

use super::journal::JournalMark;
use crate::wal::{FileId, FoundCopy, Identity, Placed, WalMark};
use crate::{Corruption, OriginHead, Published, SignedHead, StoreError};

pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(super) const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
pub(super) const LEAVES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("leaves");
pub(super) const NODES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("nodes");
pub(super) const DEDUP: TableDefinition<'_, u128, ()> = TableDefinition::new("dedup");
pub(super) const ORIGINS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("origins");
pub(super) const HISTORY: TableDefinition<'_, u64, &[u8; 24]> = TableDefinition::new("history");
pub(super) const LANDMARKS: TableDefinition<'_, (u8, u64), ()> = TableDefinition::new("landmarks");
pub(super) const TIPS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("tips");

pub(super) const FORMAT: &str = "format";
pub(super) const TREE: &str = "tree";
pub(super) const DEDUP_MARK: &str = "dedup";
pub(super) const PUBLISHED: &str = "publish";
pub(super) const SIGNED: &str = "signed";
pub(super) const WAL: &str = "wal";
pub(super) const JOURNAL: &str = "journal";
pub(super) const MARKS: &str = "marks";
pub(super) const PLACE: &str = "place";
pub(super) const WAL_FILES: &str = "wal-files";

/// The only format this version reads and writes.
pub(super) const FORMAT_1: &str = "jurat-store/1";

/// Hashes in a full row of `leaves` and `nodes`; divides the 256 of a tile.
pub(super) const ROW: u64 = 8;

/// Highest tile level of a tree of up to 2^63-1 leaves.
pub(super) const TILE_LEVEL_MAX: u8 = 7;

/// Turns an engine's error into ours, saying what was being done.
pub(super) fn engine<E: Into<Error>>(doing: &'static str) -> impl FnOnce(E) -> StoreError {
    move |source| StoreError::Engine {
        doing,
        source: Box::new(source.into()),
    }
}

/// The row of `nodes` that holds row `row` of a tile level.
pub(super) fn node_row(level: u8, row: u64) -> u64 {
    // A level has at most 2^(63 - 8 level) hashes, so a row number stays below 2^52.
    (u64::from(level) << 56) | row
}

/// Tile level and row number of a key of `leaves` or `nodes`.
pub(super) fn split_node_row(key: u64) -> (u8, u64) {
    let [level, ..] = key.to_be_bytes();
    (level, key & ((1 << 56) - 1))
}

/// A key of `dedup`. Keys of one prefix stand together, in the order of their indices.
pub(super) fn dedup_key(prefix: u64, index: u64) -> u128 {
    (u128::from(prefix) << 64) | u128::from(index)
}

/// Prefix and index of a key of `dedup`.
pub(super) fn split_dedup_key(key: u128) -> (u64, u64) {
    let [high, low] = [key >> 64, key & u128::from(u64::MAX)];
    // Both halves have 64 bits.
    (
        u64::try_from(high).unwrap_or(u64::MAX),
        u64::try_from(low).unwrap_or(u64::MAX),
    )
}

/// Where the sweep that fills `dedup` stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Entries below it have their row.
    pub(super) merged_through: u64,
    /// The entries from there to here are being merged, in the order of their keys.
    pub(super) frozen_through: u64,
    /// The last key of those that has its row; `None` when none has.
    pub(super) cursor: Option<u128>,
}

impl Mark {
    pub(super) const START: Self = Self {
        merged_through: 0,
        frozen_through: 0,
        cursor: None,
    };

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut row = self.merged_through.to_be_bytes().to_vec();
        row.extend_from_slice(&self.frozen_through.to_be_bytes());
        row.extend(self.cursor.into_iter().flat_map(u128::to_be_bytes));
        row
    }

    pub(super) fn parse(bytes: &[u8], size: TreeSize) -> Result<Self, StoreError> {
        let mut fields = Fields::new("meta/dedup", bytes);
        let (merged_through, frozen_through) = (fields.u64()?, fields.u64()?);
        let cursor = if fields.rest.is_empty() {
            None
        } else {
            Some(u128::from_be_bytes(fields.take()?))
        };
        fields.end()?;
        if merged_through > frozen_through || frozen_through > size.get() {
            return Err(Corruption::DedupMark {
                merged_through,
                frozen_through,
                size,
            }
            .into());
        }
        Ok(Self {
            merged_through,
            frozen_through,
            cursor,
        })
    }
}

/// How far the landmarks are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks {
    /// Entries below it are.
    pub(super) listed_through: u64,
    /// The newest time-stamp among them.
    pub(super) timestamp: Option<LeafIndex>,
}

impl Marks {
    pub(super) const START: Self = Self {
        listed_through: 0,
        timestamp: None,
    };

    pub(super) fn to_bytes(self) -> [u8; 16] {
        let mut row = [0; 16];
        let fields = [
            self.listed_through.to_be_bytes(),
            index_bytes(self.timestamp),
        ];
        row.copy_from_slice(fields.as_flattened());
        row
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut fields = Fields::new("meta/marks", bytes);
        let (listed_through, timestamp) = (fields.u64()?, fields.index()?);
        fields.end()?;
        Ok(Self {
            listed_through,
            timestamp,
        })
    }
}

/// Reads fixed-length fields off the front of a row.
pub(super) struct Fields<'a> {
    row: &'static str,
    bytes: usize,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(row: &'static str, bytes: &'a [u8]) -> Self {
        Self {
            row,
            bytes: bytes.len(),
            rest: bytes,
        }
    }

    fn wrong(&self) -> StoreError {
        Corruption::Row {
            row: self.row,
            bytes: self.bytes,
        }
        .into()
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let (field, rest) = self.rest.split_first_chunk().ok_or_else(|| self.wrong())?;
        self.rest = rest;
        Ok(*field)
    }

    pub(super) fn u64(&mut self) -> Result<u64, StoreError> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    fn head(&mut self) -> Result<TreeHead, StoreError> {
        let size = TreeSize::new(self.u64()?).ok_or_else(|| self.wrong())?;
        Ok(TreeHead {
            size,
            root_hash: Hash::new(self.take()?),
        })
    }

    fn time(&mut self) -> Result<UnixSeconds, StoreError> {
        UnixSeconds::new(self.u64()?).ok_or_else(|| self.wrong())
    }

    fn flag(&mut self) -> Result<bool, StoreError> {
        match self.take()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [_] => Err(self.wrong()),
        }
    }

    /// An index, or none for the value that no index has.
    fn index(&mut self) -> Result<Option<LeafIndex>, StoreError> {
        match self.u64()? {
            u64::MAX => Ok(None),
            index => LeafIndex::new(index).map(Some).ok_or_else(|| self.wrong()),
        }
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn end(self) -> Result<(), StoreError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.wrong())
        }
    }
}

fn index_bytes(index: Option<LeafIndex>) -> [u8; 8] {
    index.map_or(u64::MAX, LeafIndex::get).to_be_bytes()
}

pub(super) fn head_bytes(head: &TreeHead) -> Vec<u8> {
    let mut row = head.size.get().to_be_bytes().to_vec();
    row.extend_from_slice(head.root_hash.as_bytes());
    row
}

pub(super) fn parse_head(bytes: &[u8]) -> Result<TreeHead, StoreError> {
    let mut fields = Fields::new("meta/tree", bytes);
    let head = fields.head()?;
    fields.end()?;
    Ok(head)
}

pub(super) fn published_bytes(published: &Published) -> Vec<u8> {
    let mut row = head_bytes(&published.head);
    row.extend_from_slice(&published.note);
    row
}

pub(super) fn parse_published(bytes: &[u8]) -> Result<Published, StoreError> {
    let mut fields = Fields::new("meta/publish", bytes);
    let head = fields.head()?;
    Ok(Published {
        head,
        note: fields.rest().to_vec(),
    })
}

/// A row of `tips`.
pub(super) fn tip_bytes(head: &TreeHead, time: UnixSeconds) -> Vec<u8> {
    let mut row = head_bytes(head);
    row.extend_from_slice(&time.get().to_be_bytes());
    row
}

pub(super) fn signed_bytes(signed: &SignedHead) -> Vec<u8> {
    let mut row = head_bytes(&signed.head);
    row.extend_from_slice(&signed.time.get().to_be_bytes());
    row
}

pub(super) fn parse_signed(bytes: &[u8]) -> Result<SignedHead, StoreError> {
    let mut fields = Fields::new("meta/signed", bytes);
    let signed = SignedHead {
        head: fields.head()?,
        time: fields.time()?,
    };
    fields.end()?;
    Ok(signed)
}

pub(super) fn wal_mark_bytes(mark: &WalMark) -> Vec<u8> {
    let mut row = mark.generation.to_be_bytes().to_vec();
    row.extend_from_slice(mark.end.as_bytes());
    row.push(u8::from(mark.open));
    row
}

pub(super) fn parse_wal_mark(bytes: &[u8]) -> Result<WalMark, StoreError> {
    let mut fields = Fields::new("meta/wal", bytes);
    let (generation, end) = (fields.u64()?, Hash::new(fields.take()?));
    let open = fields.flag()?;
    fields.end()?;
    Ok(WalMark {
        generation,
        end,
        open,
    })
}

pub(super) fn place_bytes(placed: &Placed) -> Vec<u8> {
    let Identity {
        inode,
        born_ns,
        machine,
    } = placed.identity;
    let name_born = placed.name.and_then(|name| name.born_ns);
    let fields = [
        born_ns.map(|born| born.to_be_bytes().to_vec()),
        machine.map(|machine| machine.as_bytes().to_vec()),
        placed.outside.map(|outside| outside.as_bytes().to_vec()),
        placed.name.map(|name| name.inode.to_be_bytes().to_vec()),
        name_born.map(|born| born.to_be_bytes().to_vec()),
        placed.copy.as_ref().map(|copy| {
            let mut field = copy.since.to_be_bytes().to_vec();
            field.extend_from_slice(copy.why.as_bytes());
            field
        }),
    ];
    let bits = fields.iter().zip(PLACE_BITS);
    let bits = bits.filter_map(|(field, bit)| field.as_ref().map(|_| bit));
    let mut row = placed.epoch.to_be_bytes().to_vec();
    row.extend_from_slice(&inode.to_be_bytes());
    row.push(bits.sum());
    row.extend(fields.into_iter().flatten().flatten());
    row
}

pub(super) fn parse_place(bytes: &[u8]) -> Result<Placed, StoreError> {
    let mut fields = Fields::new("meta/place", bytes);
    let (epoch, inode) = (fields.u64()?, fields.u64()?);
    let [bits] = fields.take()?;
    if bits > PLACE_BITS.iter().sum() {
        return Err(fields.wrong());
    }
    let has = PLACE_BITS.map(|bit| bits & bit != 0);
    let [
        has_born,
        has_machine,
        has_outside,
        has_name,
        has_name_born,
        has_copy,
    ] = has;
    if has_name_born && !has_name {
        return Err(fields.wrong());
    }
    let born_ns = has_born.then(|| fields.u64()).transpose()?;
    let machine = has_machine
        .then(|| fields.take().map(Hash::new))
        .transpose()?;
    let outside = has_outside
        .then(|| fields.take().map(Hash::new))
        .transpose()?;
    let inode_of_name = has_name.then(|| fields.u64()).transpose()?;
    let name_born = has_name_born.then(|| fields.u64()).transpose()?;
    let name = inode_of_name.map(|inode| FileId {
        inode,
        born_ns: name_born,
    });
    let copy = if has_copy {
        let since = fields.u64()?;
        let why = String::from_utf8(fields.rest.to_vec());
        let why = why.map_err(|_| fields.wrong())?;
        fields.rest = &[];
        Some(FoundCopy { since, why })
    } else {
        None
    };
    fields.end()?;
    Ok(Placed {
        epoch,
        identity: Identity {
            inode,
            born_ns,
            machine,
        },
        outside,
        name,
        copy,
    })
}

/// Which of the optional fields of a place follow, in this order: what has no length of its own is
/// the last.
const PLACE_BITS: [u8; 6] = [1, 2, 4, 16, 32, 8];

pub(super) fn log_files_bytes(files: &[FileId; 2]) -> Vec<u8> {
    let mut row = Vec::new();
    for file in files {
        row.extend_from_slice(&file.inode.to_be_bytes());
        row.push(u8::from(file.born_ns.is_some()));
        row.extend(file.born_ns.map(u64::to_be_bytes).into_iter().flatten());
    }
    row
}

pub(super) fn parse_log_files(bytes: &[u8]) -> Result<[FileId; 2], StoreError> {
    let mut fields = Fields::new("meta/wal-files", bytes);
    let mut file = || {
        let inode = fields.u64()?;
        let born = fields.flag()?.then(|| fields.u64()).transpose()?;
        Ok::<_, StoreError>(FileId {
            inode,
            born_ns: born,
        })
    };
    let files = [file()?, file()?];
    fields.end()?;
    Ok(files)
}

pub(super) fn journal_mark_bytes(mark: &JournalMark) -> Vec<u8> {
    let mut row = mark.generation.to_be_bytes().to_vec();
    row.extend_from_slice(&mark.frames.to_be_bytes());
    row.extend_from_slice(mark.end.as_bytes());
    row.push(u8::from(mark.open));
    row
}

pub(super) fn parse_journal_mark(bytes: &[u8]) -> Result<JournalMark, StoreError> {
    let mut fields = Fields::new("meta/journal", bytes);
    let (generation, frames) = (fields.u64()?, fields.u64()?);
    let end = Hash::new(fields.take()?);
    let open = fields.flag()?;
    fields.end()?;
    Ok(JournalMark {
        generation,
        frames,
        end,
        open,
    })
}

/// A row of `origins`: the head, and where its history begins.
pub(super) struct OriginRow {
    pub(super) head: OriginHead,
    pub(super) newest: Option<LeafIndex>,
}

impl OriginRow {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut row = head_bytes(&self.head.head);
        row.extend_from_slice(&self.head.time.get().to_be_bytes());
        row.extend_from_slice(&index_bytes(self.head.log_index));
        row.extend_from_slice(&index_bytes(self.newest));
        row.extend_from_slice(&self.head.note);
        row
    }

    /// Head and time alone, without a copy of the note.
    pub(super) fn parse_head(bytes: &[u8]) -> Result<(TreeHead, UnixSeconds), StoreError> {
        let mut fields = Fields::new("origins", bytes);
        Ok((fields.head()?, fields.time()?))
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut fields = Fields::new("origins", bytes);
        let (head, time) = (fields.head()?, fields.time()?);
        let (log_index, newest) = (fields.index()?, fields.index()?);
        let note = fields.rest().to_vec();
        Ok(Self {
            head: OriginHead {
                head,
                time,
                note,
                log_index,
            },
            newest,
        })
    }
}

/// A row of `history`.
pub(super) struct HistoryRow {
    pub(super) previous: Option<LeafIndex>,
    pub(super) size: TreeSize,
    pub(super) time: UnixSeconds,
}

impl HistoryRow {
    pub(super) fn to_bytes(&self) -> [u8; 24] {
        let mut row = [0; 24];
        let fields = [
            index_bytes(self.previous),
            self.size.get().to_be_bytes(),
            self.time.get().to_be_bytes(),
        ];
        row.copy_from_slice(fields.as_flattened());
        row
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut fields = Fields::new("history", bytes);
        let previous = fields.index()?;
        let size = TreeSize::new(fields.u64()?).ok_or_else(|| fields.wrong())?;
        let time = fields.time()?;
        fields.end()?;
        Ok(Self {
            previous,
            size,
            time,
        })
    }
}

#[cfg(test)]
mod tests {
    use jurat_proto::hash::sha256;

    use super::*;

    // Spec: STO-39, STO-61, STO-63
    #[test]
    fn what_is_recorded_of_files_is_read_back_and_nothing_else_is() {
        let file = |born_ns| FileId { inode: 7, born_ns };
        let copy = FoundCopy {
            since: 5,
            why: "w".to_owned(),
        };
        for bits in 0..64_u8 {
            let known = |bit: u8| bits & bit != 0;
            let born = |bit| known(bit).then_some(9);
            let placed = Placed {
                epoch: 3,
                identity: Identity {
                    inode: 4,
                    born_ns: born(1),
                    machine: known(2).then(|| sha256(b"m")),
                },
                outside: known(4).then(|| sha256(b"o")),
                name: known(8).then(|| file(born(16))),
                copy: known(32).then(|| copy.clone()),
            };
            let row = place_bytes(&placed);
            assert_eq!(parse_place(&row).unwrap(), placed);
            // What was found ends where the row does.
            if !known(32) {
                assert!(parse_place(&row[..row.len() - 1]).is_err());
                assert!(parse_place(&[&row[..], &[0]].concat()).is_err());
            }
            let files = [file(born(1)), file(born(2))];
            let row = log_files_bytes(&files);
            assert_eq!(parse_log_files(&row).unwrap(), files);
            assert!(parse_log_files(&row[1..]).is_err());
            assert!(parse_log_files(&[&row[..], &[0]].concat()).is_err());
        }
        // A time of a name, and no name; and a bit that says nothing.
        for bits in [32_u8, 64, 128] {
            let row = [&[0; 16][..], &[bits], &[0; 8]].concat();
            assert!(parse_place(&row).is_err(), "{bits}");
        }
        // As earlier versions wrote it.
        let row = [&[0; 16][..], &[1 | 8], &[0; 8], &[0; 8], b"why"].concat();
        let placed = parse_place(&row).unwrap();
        assert_eq!(
            (placed.name, placed.copy.unwrap().why),
            (None, "why".to_owned())
        );
    }
}
