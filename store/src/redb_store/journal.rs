//! The bytes of a journal, as functions: what becomes durable before the engine's file has it.
//!
//! [`crate::frames`] with two headers in front, of the generations with even and with odd numbers,
//! and a commit in each frame:
//!
//! ```text
//! header   "jurat-journal/1\n" | ..
//! frame    "JJF1" | .. | payload
//! payload  size u64 | root 32: the tree head that it leads to
//!          1 | size u64 | root 32 | time u64, or 0: a head that is about to be signed
//!          1 | size u64 | root 32 | note bytes u32 | note, or 0: a checkpoint to be published
//!          count u32 of heads, each: origin bytes u16 | origin
//!                 | 1 | size u64 | root 32, or 0: the head that it replaces
//!                 | size u64 | root 32 | time u64 | entry u64 | note bytes u32 | note
//!          (entry bytes u16 | entry)*
//! ```
//!
//! Integers are big-endian. A generation begins when the engine's file has all of the one before;
//! its header stands beside that of the one before, which a torn write does not hurt.

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::Hash;
use jurat_proto::key::UnixSeconds;
use jurat_proto::tree::{LeafIndex, TreeHead, TreeSize};

use crate::frames::{BLOCK, Bytes, Format, Header, Tail, room};
use crate::wal::WalFile;
use crate::{Batch, Corruption, HeadSwap, OriginHead, Published, Recorded, Records, SignedHead};

const FORMAT: Format = Format {
    header: b"jurat-journal/1\n",
    frame: *b"JJF1",
    first: 2 * BLOCK,
};

/// How far the engine's file goes: a row of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct JournalMark {
    /// The generation of the last frame that is in it.
    pub(super) generation: u64,
    /// The number of frames of that generation that are.
    pub(super) frames: u64,
    /// The hash of the last, or of the header.
    pub(super) end: Hash,
    /// Whether there may be more in the journal. If not, the file is whole by itself.
    pub(super) open: bool,
}

/// What one frame makes durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// The tree head that it leads to.
    pub(super) head: TreeHead,
    pub(super) entries: Vec<Vec<u8>>,
    pub(super) heads: Vec<HeadSwap>,
    pub(super) records: Records,
}

fn place(header: Header) -> usize {
    if header.generation.is_multiple_of(2) {
        0
    } else {
        BLOCK
    }
}

/// The headers of a file, each in its place.
fn headers(contents: &[u8]) -> impl Iterator<Item = Header> + '_ {
    let blocks = contents.chunks(BLOCK).take(2).enumerate();
    let headers = blocks.filter_map(|(at, block)| Some((at * BLOCK, FORMAT.parse_header(block)?)));
    headers.filter_map(|(at, header)| (place(header) == at).then_some(header))
}

fn check_length(header: Header, contents: &[u8]) -> Result<(), Corruption> {
    let bytes = u64::try_from(contents.len()).unwrap_or(u64::MAX);
    if bytes == header.file_bytes {
        return Ok(());
    }
    Err(Corruption::WalLength {
        generation: header.generation,
        bytes,
        expected: header.file_bytes,
    })
}

/// Where the engine's file ends, as far as the next generation wants to know.
fn tail_at(mark: JournalMark) -> Tail {
    Tail {
        generation: mark.generation,
        begin: mark.end,
        frames: mark.frames,
        end: mark.end,
        used: FORMAT.first,
    }
}

impl JournalMark {
    pub(super) fn at(tail: &Tail, open: bool) -> Self {
        Self {
            generation: tail.generation,
            frames: tail.frames,
            end: tail.end,
            open,
        }
    }
}

/// A journal that is being written.
pub(super) struct Journal {
    file: Box<dyn WalFile>,
    file_bytes: usize,
    tail: Tail,
    draft: Vec<u8>,
}

impl Journal {
    /// A file whose last frame is known.
    pub(super) fn behind(file: Box<dyn WalFile>, file_bytes: usize, tail: Tail) -> Self {
        let draft = Vec::new();
        Self {
            file,
            file_bytes,
            tail,
            draft,
        }
    }

    pub(super) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Whether its generation has any.
    pub(super) fn has_frames(&self) -> bool {
        self.tail.frames > 0
    }

    /// Begins the next generation. The engine's file has all of the one before.
    ///
    /// # Errors
    /// The file's; it is then not known what is in it.
    pub(super) fn begin_next(&mut self) -> std::io::Result<()> {
        let header = Header {
            generation: self.tail.generation.saturating_add(1),
            file_bytes: u64::try_from(self.file_bytes).unwrap_or(u64::MAX),
            previous: self.tail.end,
        };
        self.write(&FORMAT.header_block(header), place(header))?;
        self.tail = FORMAT.after(header);
        Ok(())
    }

    /// Prepares the frame of a commit; gives the tail behind it, or `None` when it does not fit.
    pub(super) fn draft(
        &mut self,
        batch: &Batch,
        records: (&Records, &Recorded),
        head: TreeHead,
    ) -> Option<Tail> {
        Format::begin_draft(&mut self.draft);
        let most = self.file_bytes.checked_sub(self.tail.used)?;
        put_payload(&mut self.draft, batch, records, head, most)?;
        if room(&self.draft) > most {
            return None;
        }
        FORMAT.seal(&mut self.draft, self.tail)
    }

    /// Writes the drafted frame and waits for it.
    ///
    /// # Errors
    /// The file's; it is then not known what is in it.
    pub(super) fn append(&mut self, after: Tail) -> std::io::Result<()> {
        self.write(&self.draft, self.tail.used)?;
        self.tail = after;
        Ok(())
    }

    fn write(&self, bytes: &[u8], at: usize) -> std::io::Result<()> {
        let at = u64::try_from(at).map_err(std::io::Error::other)?;
        self.file.write_at(bytes, at)?;
        self.file.sync()
    }
}

/// `None` as soon as it is longer than `most`: what has no room is not copied.
fn put_payload(
    out: &mut Vec<u8>,
    batch: &Batch,
    (records, recorded): (&Records, &Recorded),
    head: TreeHead,
    most: usize,
) -> Option<()> {
    put_head(out, &head);
    match (&records.signing, &recorded.signing) {
        (Some(signed), Some(Ok(()))) => {
            out.push(1);
            put_head(out, &signed.head);
            out.extend_from_slice(&signed.time.get().to_be_bytes());
        }
        _ => out.push(0),
    }
    match (&records.publish, &recorded.publish) {
        (Some(published), Some(Ok(()))) => {
            out.push(1);
            put_head(out, &published.head);
            put_note(out, &published.note)?;
        }
        _ => out.push(0),
    }
    out.extend_from_slice(&u32::try_from(batch.heads.len()).ok()?.to_be_bytes());
    for HeadSwap {
        origin,
        expected,
        new,
    } in &batch.heads
    {
        let name = origin.as_str().as_bytes();
        out.extend_from_slice(&u16::try_from(name.len()).ok()?.to_be_bytes());
        out.extend_from_slice(name);
        out.push(u8::from(expected.is_some()));
        if let Some(expected) = expected {
            put_head(out, expected);
        }
        put_head(out, &new.head);
        out.extend_from_slice(&new.time.get().to_be_bytes());
        let index = new.log_index.map_or(u64::MAX, LeafIndex::get);
        out.extend_from_slice(&index.to_be_bytes());
        put_note(out, &new.note)?;
        most.checked_sub(out.len())?;
    }
    for entry in &batch.entries {
        let bytes = entry.bytes();
        out.extend_from_slice(&u16::try_from(bytes.len()).ok()?.to_be_bytes());
        out.extend_from_slice(bytes);
        most.checked_sub(out.len())?;
    }
    Some(())
}

fn put_head(out: &mut Vec<u8>, head: &TreeHead) {
    out.extend_from_slice(&head.size.get().to_be_bytes());
    out.extend_from_slice(head.root_hash.as_bytes());
}

fn put_note(out: &mut Vec<u8>, note: &[u8]) -> Option<()> {
    out.extend_from_slice(&u32::try_from(note.len()).ok()?.to_be_bytes());
    out.extend_from_slice(note);
    Some(())
}

/// The frames of a generation, up to the first that was not completely written.
///
/// # Errors
/// Those that are `known` are not there as the engine's file knows them, and there may be more; or
/// a frame in the middle is broken: the head of one is behind it, so that it was acknowledged once.
fn read(
    contents: &[u8],
    header: Header,
    mut known: Option<JournalMark>,
) -> Result<(Vec<Change>, Tail), Corruption> {
    check_length(header, contents)?;
    let mut tail = FORMAT.after(header);
    let mut changes = Vec::new();
    let broken = |tail: &Tail| Corruption::Wal {
        generation: tail.generation,
        at: tail.used,
    };
    let behind = |tail: &Tail| contents.get(tail.used..).unwrap_or_default();
    loop {
        known = known.filter(|mark| (mark.frames, mark.end) != (tail.frames, tail.end));
        let Some(frame) = FORMAT.frame(behind(&tail)) else {
            break;
        };
        let Some(after) = frame.follows(&tail) else {
            break;
        };
        if known.is_none() {
            changes.push(read_payload(frame.payload).ok_or_else(|| broken(&tail))?);
        }
        tail = after;
    }
    let (next, rest) = behind(&tail).split_at_checked(BLOCK).unwrap_or_default();
    // One that was cut off is the next, and the last.
    let cut_off = FORMAT
        .head(next)
        .is_none_or(|head| head.begin != tail.begin || head.number == tail.frames);
    let following = Header {
        generation: header.generation.saturating_add(1),
        previous: tail.end,
        ..header
    };
    let lost = [tail.begin, FORMAT.begin(following)];
    let frames = contents.get(FORMAT.first..).unwrap_or_default();
    // Behind what the engine's file has, and says to be all, the last may be missing: it was taken
    // over from the system's cache.
    let missing = known.is_some_and(|mark| mark.open || mark.frames <= tail.frames);
    if missing
        || !cut_off
        || FORMAT.heads(rest).any(|head| head.begin == lost[0])
        || FORMAT.heads(frames).any(|head| head.begin == lost[1])
    {
        return Err(broken(&tail));
    }
    Ok((changes, tail))
}

/// What a journal has that the engine's file has not, and where it ends.
///
/// # Errors
/// It is not the one that goes on from there, or not whole.
// Spec: STO-28, STO-29
pub(super) fn go_on(contents: &[u8], mark: JournalMark) -> Result<(Vec<Change>, Tail), Corruption> {
    let next = mark.generation.saturating_add(1);
    let absent = Corruption::WalAbsent { generation: next };
    let newest = headers(contents).max_by_key(|header| header.generation);
    let newest = newest.ok_or_else(|| absent.clone())?;
    let (changes, tail) = if newest.generation == next && newest.previous == mark.end {
        read(contents, newest, None)?
    } else if newest.generation == mark.generation {
        read(contents, newest, Some(mark))?
    } else {
        return Err(absent);
    };
    // A next generation without a frame is begun again, with the same header.
    let tail = if changes.is_empty() {
        tail_at(mark)
    } else {
        tail
    };
    Ok((changes, tail))
}

/// Whether a journal has nothing that the engine's file, which says that it is whole, has not;
/// gives the tail that this says. Beyond it there may be no more than the header of the next
/// generation, of a start that was cut off before anything was accepted.
///
/// # Errors
/// It goes on beyond that, or is of another moment.
// Spec: STO-29
pub(super) fn check_ended(
    contents: &[u8],
    closed: Option<JournalMark>,
    identity: Hash,
) -> Result<Tail, Corruption> {
    let generation = closed.map_or(0, |mark| mark.generation);
    let newer = |found| Corruption::WalNewer { generation, found };
    let frames = || FORMAT.heads(contents.get(FORMAT.first..).unwrap_or_default());
    for header in headers(contents) {
        let follows = header.generation == generation.saturating_add(1)
            && closed.is_none_or(|mark| mark.end == header.previous)
            && frames().all(|frame| frame.begin != FORMAT.begin(header));
        if header.generation > generation && !follows {
            return Err(newer(header.generation));
        }
    }
    for header in headers(contents) {
        if let Some(mark) = closed.filter(|_| header.generation == generation) {
            let (changes, _) = read(contents, header, Some(mark))?;
            if !changes.is_empty() {
                return Err(newer(generation));
            }
        }
    }
    let mark = closed.unwrap_or(JournalMark {
        generation,
        frames: 0,
        end: identity,
        open: false,
    });
    Ok(tail_at(mark))
}

/// All commits of the newest generation in a journal, as it alone has them.
pub(super) fn newest(contents: &[u8]) -> Result<Vec<Change>, Corruption> {
    let newest = headers(contents).max_by_key(|header| header.generation);
    match newest {
        Some(header) => Ok(read(contents, header, None)?.0),
        None => Ok(Vec::new()),
    }
}

fn read_payload(payload: &[u8]) -> Option<Change> {
    let mut bytes = Bytes(payload);
    let head = bytes.head()?;
    let mut records = Records::default();
    if bytes.flag()? {
        records.signing = Some(SignedHead {
            head: bytes.head()?,
            time: UnixSeconds::new(bytes.u64()?)?,
        });
    }
    if bytes.flag()? {
        records.publish = Some(Published {
            head: bytes.head()?,
            note: bytes.note()?,
        });
    }
    let mut heads = Vec::new();
    for _ in 0..bytes.u32()? {
        heads.push(bytes.swap()?);
    }
    let mut entries = Vec::new();
    while !bytes.0.is_empty() {
        let length = usize::from(bytes.u16()?);
        entries.push(bytes.slice(length)?.to_vec());
    }
    Some(Change {
        head,
        entries,
        heads,
        records,
    })
}

impl Bytes<'_> {
    fn flag(&mut self) -> Option<bool> {
        match self.take()? {
            [0] => Some(false),
            [1] => Some(true),
            [_] => None,
        }
    }

    fn head(&mut self) -> Option<TreeHead> {
        Some(TreeHead {
            size: TreeSize::new(self.u64()?)?,
            root_hash: self.hash()?,
        })
    }

    fn note(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.u32()?).ok()?;
        Some(self.slice(length)?.to_vec())
    }

    fn swap(&mut self) -> Option<HeadSwap> {
        let length = usize::from(self.u16()?);
        let name = std::str::from_utf8(self.slice(length)?).ok()?;
        let origin = Origin::parse(name).ok()?;
        let expected = if self.flag()? {
            Some(self.head()?)
        } else {
            None
        };
        let head = self.head()?;
        let time = UnixSeconds::new(self.u64()?)?;
        let log_index = match self.u64()? {
            u64::MAX => None,
            index => Some(LeafIndex::new(index)?),
        };
        let note = self.note()?;
        Some(HeadSwap {
            origin,
            expected,
            new: OriginHead {
                head,
                time,
                note,
                log_index,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NewEntry;
    use crate::simulated_disk::{Power, SimulatedDisk};
    use jurat_proto::hash::sha256;

    const BYTES: usize = 8 * BLOCK;

    fn tree_head(size: u64) -> TreeHead {
        TreeHead {
            size: TreeSize::new(size).unwrap(),
            root_hash: sha256(&size.to_be_bytes()),
        }
    }

    fn swap(origin: &str, expected: Option<u64>, new: u64, index: Option<u64>) -> HeadSwap {
        HeadSwap {
            origin: Origin::parse(origin).unwrap(),
            expected: expected.map(tree_head),
            new: OriginHead {
                head: tree_head(new),
                time: UnixSeconds::new(new + 1).unwrap(),
                note: vec![b'n'; if index.is_some() { 10 } else { 0 }],
                log_index: index.and_then(LeafIndex::new),
            },
        }
    }

    fn entry(bytes: &[u8]) -> NewEntry {
        NewEntry::new(bytes.to_vec()).unwrap()
    }

    /// The digest was made by another program from what is said of the format: files that earlier
    /// versions wrote are read, and the other way round.
    // Spec: STO-28
    #[test]
    fn a_file_has_the_bytes_that_the_format_says() {
        let disk = SimulatedDisk::on(vec![0; BYTES], Power::default());
        let before = Tail {
            generation: 6,
            begin: sha256(b"begin"),
            frames: 3,
            end: sha256(b"previous"),
            used: FORMAT.first,
        };
        let mut journal = Journal::behind(Box::new(disk.clone()), BYTES, before);
        journal.begin_next().unwrap();
        let time = UnixSeconds::new(20).unwrap();
        let records = Records {
            signing: Some(SignedHead {
                head: tree_head(9),
                time,
            }),
            publish: Some(Published {
                head: tree_head(8),
                note: b"note".to_vec(),
            }),
        };
        let recorded = Recorded {
            signing: Some(Ok(())),
            publish: Some(Ok(())),
        };
        let first = Batch {
            expected: tree_head(10),
            entries: vec![entry(b"one"), entry(b"")],
            heads: vec![
                swap("example.com/1", Some(3), 5, Some(10)),
                swap("example.com/2", None, 6, None),
            ],
        };
        let second = Batch {
            expected: tree_head(12),
            entries: vec![entry(&[b'e'; 5_000])],
            heads: Vec::new(),
        };
        let none = (Records::default(), Recorded::default());
        let commits = [(&first, &(records, recorded), 12), (&second, &none, 13)];
        for (batch, (records, recorded), size) in commits {
            let kept = (records, recorded);
            let after = journal.draft(batch, kept, tree_head(size)).unwrap();
            journal.append(after).unwrap();
        }
        let file = disk.read().unwrap();
        let due = "0kJAlBnb1+TuDA3PcR94gEmMVt5tmZjo+VbeX1UQ+J8=";
        assert_eq!(sha256(&file).to_string(), due);
        let changes = newest(&file).unwrap();
        assert_eq!((changes.len(), changes[1].head), (2, tree_head(13)));
    }
}
