//! The bytes of a write-ahead log, as pure functions.
//!
//! A file is a sequence of blocks of 4 KiB. The first is the header of one generation; frames
//! follow, each beginning a block, each one batch of heads that became durable together:
//!
//! ```text
//! header   "jurat-heads-wal/2\n" | generation u64 | file bytes u64
//!                 | end of the generation before, 32 | hash 32
//! frame    "JHF2" | hash 32 | payload bytes u32 | generation u64 | number u64
//!                 | hash of the header, 32 | hash of the frame (or header) before, 32
//!                 | payload | zeros
//! payload  (origin bytes u16 | origin | size u64 | root 32 | time u64 | note bytes u32 | note)*
//! ```
//!
//! Integers are big-endian; a hash is the SHA-256 of all of the header before it, or of all of the
//! frame behind it. Each frame names the one before, and each header the last of the generation
//! before, back to 32 bytes that nobody else knows: bytes that somebody submitted, and that a crash
//! left at the start of a block, are no frame.
//!
//! Each frame also names the header of its generation, at a fixed place of its first block. So the
//! head of a frame is known for one of this generation even where the rest of it is broken, and
//! nobody from outside can make bytes that pass for it. A frame is written only when the one before
//! is durable; so one behind a broken one says that the broken one was acknowledged.
//!
//! No block that holds an acknowledged frame is ever written again in its generation, except with
//! the same bytes: a torn write can hurt only what nobody was told of.

use std::collections::HashMap;

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::{Hash, sha256};
use jurat_proto::key::UnixSeconds;
use jurat_proto::tree::{TreeHead, TreeSize};

use crate::{Corruption, OriginHead};

/// What is written at once and never again; no smaller than a sector of any disk.
pub(crate) const BLOCK: usize = 4096;

const HEADER: &[u8; 18] = b"jurat-heads-wal/2\n";
const FRAME: &[u8; 4] = b"JHF2";
/// Mark and hash; what is behind them is hashed.
const HASHED_FROM: usize = 4 + Hash::LEN;
const FRAME_HEAD: usize = HASHED_FROM + 4 + 8 + 8 + 2 * Hash::LEN;

/// The first block of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) generation: u64,
    /// How long its file is, and the other one.
    pub(super) file_bytes: u64,
    /// The end of the generation before.
    pub(super) previous: Hash,
}

impl Header {
    pub(super) fn to_block(self) -> Vec<u8> {
        let mut block = self.hashed();
        block.extend_from_slice(self.end().as_bytes());
        block.resize(BLOCK, 0);
        block
    }

    /// What the first frame names as the one before it.
    pub(super) fn end(self) -> Hash {
        sha256(&self.hashed())
    }

    fn hashed(self) -> Vec<u8> {
        let mut bytes = HEADER.to_vec();
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        bytes.extend_from_slice(&self.file_bytes.to_be_bytes());
        bytes.extend_from_slice(self.previous.as_bytes());
        bytes
    }

    /// `None` for a file that was never used, and for a header that was not completely written.
    fn parse(block: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(block);
        if bytes.take::<18>()? != *HEADER {
            return None;
        }
        let header = Self {
            generation: bytes.u64()?,
            file_bytes: bytes.u64()?,
            previous: bytes.hash()?,
        };
        (bytes.hash()? == header.end()).then_some(header)
    }
}

/// Where the next frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) generation: u64,
    /// The hash of the header.
    pub(super) begin: Hash,
    /// How many frames there are.
    pub(super) frames: u64,
    /// The hash of the last, or of the header.
    pub(super) end: Hash,
    /// How many bytes the header and the frames take, whole blocks.
    pub(super) used: usize,
}

impl Tail {
    pub(super) fn after(header: Header) -> Self {
        Self {
            generation: header.generation,
            begin: header.end(),
            frames: 0,
            end: header.end(),
            used: BLOCK,
        }
    }
}

/// A frame that is being filled.
#[derive(Debug, Default)]
pub(super) struct Draft {
    bytes: Vec<u8>,
}

impl Draft {
    /// Throws away what is there; the memory is used again.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(FRAME_HEAD, 0);
    }

    /// `false`, and nothing changed, for an origin or a note of a length that the format cannot
    /// say.
    pub(super) fn push(&mut self, origin: &Origin, new: &OriginHead) -> bool {
        let (name, note) = (origin.as_str().as_bytes(), new.note.as_slice());
        let lengths = (u16::try_from(name.len()), u32::try_from(note.len()));
        let (Ok(name_bytes), Ok(note_bytes)) = lengths else {
            return false;
        };
        self.bytes.extend_from_slice(&name_bytes.to_be_bytes());
        self.bytes.extend_from_slice(name);
        let size = new.head.size.get();
        self.bytes.extend_from_slice(&size.to_be_bytes());
        self.bytes.extend_from_slice(new.head.root_hash.as_bytes());
        self.bytes.extend_from_slice(&new.time.get().to_be_bytes());
        self.bytes.extend_from_slice(&note_bytes.to_be_bytes());
        self.bytes.extend_from_slice(note);
        true
    }

    /// How much room the frame takes.
    pub(super) fn room(&self) -> usize {
        self.bytes.len().next_multiple_of(BLOCK)
    }

    /// How much room it would take with one more head.
    pub(super) fn room_with(&self, origin: &Origin, new: &OriginHead) -> usize {
        let one = 2 + origin.as_str().len() + 8 + Hash::LEN + 8 + 4 + new.note.len();
        (self.bytes.len() + one).next_multiple_of(BLOCK)
    }

    /// The frame's bytes, and the tail behind it. `None` beyond 4 GiB.
    pub(super) fn finish(&mut self, tail: Tail) -> Option<(&[u8], Tail)> {
        let length = u32::try_from(self.bytes.len().checked_sub(FRAME_HEAD)?).ok()?;
        let fields = [
            &length.to_be_bytes()[..],
            &tail.generation.to_be_bytes(),
            &tail.frames.to_be_bytes(),
            tail.begin.as_bytes(),
            tail.end.as_bytes(),
        ]
        .concat();
        self.bytes
            .get_mut(HASHED_FROM..FRAME_HEAD)?
            .copy_from_slice(&fields);
        let hash = sha256(self.bytes.get(HASHED_FROM..)?);
        let (mark, rest) = self.bytes.split_at_mut_checked(FRAME.len())?;
        mark.copy_from_slice(FRAME);
        rest.get_mut(..Hash::LEN)?.copy_from_slice(hash.as_bytes());
        self.bytes.resize(self.room(), 0);
        let after = Tail {
            frames: tail.frames + 1,
            end: hash,
            used: tail.used + self.bytes.len(),
            ..tail
        };
        Some((&self.bytes, after))
    }
}

/// What stands at the front of a frame, whole or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FrameHead {
    hash: Hash,
    payload_bytes: u32,
    generation: u64,
    number: u64,
    begin: Hash,
    previous: Hash,
}

impl FrameHead {
    fn parse(all: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(all);
        if bytes.take::<4>()? != *FRAME {
            return None;
        }
        Some(Self {
            hash: bytes.hash()?,
            payload_bytes: bytes.u32()?,
            generation: bytes.u64()?,
            number: bytes.u64()?,
            begin: bytes.hash()?,
            previous: bytes.hash()?,
        })
    }
}

/// A frame that bears its own hash out.
struct Frame<'a> {
    head: FrameHead,
    payload: &'a [u8],
    /// Whole blocks.
    room: usize,
}

impl<'a> Frame<'a> {
    /// The frame that begins these bytes.
    fn parse(all: &'a [u8]) -> Option<Self> {
        let head = FrameHead::parse(all)?;
        let end = FRAME_HEAD.checked_add(usize::try_from(head.payload_bytes).ok()?)?;
        let payload = all.get(FRAME_HEAD..end)?;
        let hashed = all.get(HASHED_FROM..end)?;
        (sha256(hashed) == head.hash).then_some(Self {
            head,
            payload,
            room: end.next_multiple_of(BLOCK),
        })
    }

    /// Whether it is the next.
    fn follows(&self, tail: &Tail) -> bool {
        let head = &self.head;
        (head.generation, head.number) == (tail.generation, tail.frames)
            && (head.begin, head.previous) == (tail.begin, tail.end)
    }
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) tail: Tail,
    /// Where the last frame begins, or the header when there is none. All before it was waited for
    /// before it was written.
    pub(super) last: usize,
    /// The next frame was begun, and is not whole.
    pub(super) torn: bool,
    /// The newest head of each origin in it.
    pub(super) heads: HashMap<Origin, OriginHead>,
}

/// The header of a file.
pub(super) fn header(bytes: &[u8]) -> Option<Header> {
    bytes.get(..BLOCK).and_then(Header::parse)
}

/// Reads a file: its frames up to the first that was not completely written. `None` when it has no
/// header.
///
/// # Errors
/// A frame in the middle is broken: the head of one is behind it, so that it was acknowledged once.
/// Or the file has another length than it was made with.
// Spec: STO-22
pub(super) fn read(bytes: &[u8]) -> Result<Option<Segment>, Corruption> {
    let Some(header) = header(bytes) else {
        return Ok(None);
    };
    check_length(bytes, header)?;
    let mut tail = Tail::after(header);
    let mut heads = HashMap::new();
    let mut last = 0;
    let broken = |tail: &Tail| Corruption::Wal {
        generation: tail.generation,
        at: tail.used,
    };
    while let Some(frame) = bytes.get(tail.used..).and_then(Frame::parse)
        && frame.follows(&tail)
    {
        read_payload(frame.payload, &mut heads).ok_or_else(|| broken(&tail))?;
        last = tail.used;
        tail = Tail {
            frames: tail.frames + 1,
            end: frame.head.hash,
            used: tail.used + frame.room,
            ..tail
        };
    }
    let behind = bytes.get(tail.used..).unwrap_or_default();
    let (next, behind) = behind.split_at_checked(BLOCK).unwrap_or_default();
    // One that was cut off is the next, and the last.
    let next = FrameHead::parse(next).filter(|head| head.begin == tail.begin);
    let cut_off = next.is_none_or(|head| head.number == tail.frames);
    if !cut_off || has_head_of(behind, tail.begin) {
        return Err(broken(&tail));
    }
    Ok(Some(Segment {
        tail,
        last,
        torn: next.is_some(),
        heads,
    }))
}

/// Whether a file is as long as its generation says. One that is shorter has lost its end, and
/// nothing else would tell.
pub(super) fn check_length(bytes: &[u8], header: Header) -> Result<(), Corruption> {
    let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if found == header.file_bytes && bytes.len().is_multiple_of(BLOCK) {
        return Ok(());
    }
    Err(Corruption::WalLength {
        generation: header.generation,
        bytes: found,
        expected: header.file_bytes,
    })
}

/// Whether the head of a frame of the generation that begins so begins any of these blocks, be the
/// rest of it whole or not.
pub(super) fn has_head_of(bytes: &[u8], begin: Hash) -> bool {
    let mut heads = bytes.chunks(BLOCK).filter_map(FrameHead::parse);
    heads.any(|head| head.begin == begin)
}

/// The newest generation above one of which there is a header or a frame, each by itself whole.
pub(super) fn newer_than(bytes: &[u8], generation: u64) -> Option<u64> {
    let frames = (0..bytes.len())
        .step_by(BLOCK)
        .filter_map(|at| Frame::parse(bytes.get(at..)?))
        .map(|frame| frame.head.generation);
    let header = header(bytes).map(|header| header.generation);
    let newest = frames.chain(header).max();
    newest.filter(|newest| *newest > generation)
}

/// Whether a header was begun here and is not whole.
pub(super) fn has_torn_header(bytes: &[u8]) -> bool {
    header(bytes).is_none() && bytes.iter().take(BLOCK).any(|byte| *byte != 0)
}

fn read_payload(payload: &[u8], heads: &mut HashMap<Origin, OriginHead>) -> Option<()> {
    let mut bytes = Bytes(payload);
    while !bytes.0.is_empty() {
        let name_bytes = usize::from(bytes.u16()?);
        let name = std::str::from_utf8(bytes.slice(name_bytes)?).ok()?;
        let origin = Origin::parse(name).ok()?;
        let head = TreeHead {
            size: TreeSize::new(bytes.u64()?)?,
            root_hash: bytes.hash()?,
        };
        let time = UnixSeconds::new(bytes.u64()?)?;
        let note_bytes = usize::try_from(bytes.u32()?).ok()?;
        let note = bytes.slice(note_bytes)?.to_vec();
        let new = OriginHead {
            head,
            time,
            note,
            log_index: None,
        };
        heads.insert(origin, new);
    }
    Some(())
}

/// Takes fields off the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn hash(&mut self) -> Option<Hash> {
        self.take().map(Hash::new)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }
}
