//! The bytes of a write-ahead log, as pure functions.
//!
//! A file is a sequence of blocks of 4 KiB. The first is the header of one generation; frames
//! follow, each beginning a block, each one batch of heads that became durable together:
//!
//! ```text
//! header   "jurat-heads-wal/1\n" | generation u64 | end of the generation before, 32 | hash 32
//! frame    "JHF1" | hash 32 | payload bytes u32 | generation u64 | number u64
//!                 | hash of the frame (or header) before, 32 | payload | zeros
//! payload  (origin bytes u16 | origin | size u64 | root 32 | time u64 | note bytes u32 | note)*
//! ```
//!
//! Integers are big-endian; a hash is the SHA-256 of all of the header before it, or of all of the
//! frame behind it. Each frame names the one before, and each header the last of the generation
//! before, back to 32 bytes that nobody else knows: bytes that somebody submitted, and that a crash
//! left at the start of a block, are no frame.
//!
//! No block that holds an acknowledged frame is ever written again in its generation: a torn write
//! can hurt only what nobody was told of.

use std::collections::HashMap;

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::{Hash, sha256};
use jurat_proto::key::UnixSeconds;
use jurat_proto::tree::{TreeHead, TreeSize};

use crate::{Corruption, OriginHead};

/// What is written at once and never again; no smaller than a sector of any disk.
pub(super) const BLOCK: usize = 4096;

const HEADER: &[u8; 18] = b"jurat-heads-wal/1\n";
const FRAME: &[u8; 4] = b"JHF1";
/// Mark and hash; what is behind them is hashed.
const HASHED_FROM: usize = 4 + Hash::LEN;
const FRAME_HEAD: usize = HASHED_FROM + 4 + 8 + 8 + Hash::LEN;

/// The first block of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) generation: u64,
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
            previous: bytes.hash()?,
        };
        (bytes.hash()? == header.end()).then_some(header)
    }
}

/// Where the next frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) generation: u64,
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

/// A frame that bears its own hash out.
struct Frame<'a> {
    hash: Hash,
    generation: u64,
    number: u64,
    previous: Hash,
    payload: &'a [u8],
    /// Whole blocks.
    room: usize,
}

impl<'a> Frame<'a> {
    /// The frame that begins these bytes.
    fn parse(all: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes(all);
        if bytes.take::<4>()? != *FRAME {
            return None;
        }
        let hash = bytes.hash()?;
        let length = usize::try_from(bytes.u32()?).ok()?;
        let (generation, number) = (bytes.u64()?, bytes.u64()?);
        let previous = bytes.hash()?;
        let payload = bytes.0.get(..length)?;
        let hashed = all.get(HASHED_FROM..FRAME_HEAD.checked_add(length)?)?;
        (sha256(hashed) == hash).then_some(Self {
            hash,
            generation,
            number,
            previous,
            payload,
            room: (FRAME_HEAD + length).next_multiple_of(BLOCK),
        })
    }
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) tail: Tail,
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
/// A frame in the middle is broken: one behind it is whole, so that it was acknowledged once.
// Spec: STO-22
pub(super) fn read(bytes: &[u8]) -> Result<Option<Segment>, Corruption> {
    let Some(header) = header(bytes) else {
        return Ok(None);
    };
    let mut tail = Tail::after(header);
    let mut heads = HashMap::new();
    while let Some(frame) = bytes.get(tail.used..).and_then(Frame::parse) {
        let place = (frame.generation, frame.number, frame.previous);
        if place != (tail.generation, tail.frames, tail.end) {
            break;
        }
        read_payload(frame.payload, &mut heads).ok_or(Corruption::Wal {
            generation: tail.generation,
            at: tail.used,
        })?;
        tail = Tail {
            frames: tail.frames + 1,
            end: frame.hash,
            used: tail.used + frame.room,
            ..tail
        };
    }
    if has_frame_of(
        bytes.get(tail.used..).unwrap_or_default(),
        header.generation,
    ) {
        return Err(Corruption::Wal {
            generation: tail.generation,
            at: tail.used,
        });
    }
    Ok(Some(Segment { tail, heads }))
}

/// Whether a whole frame of a generation begins any of these blocks.
pub(super) fn has_frame_of(bytes: &[u8], generation: u64) -> bool {
    (0..bytes.len())
        .step_by(BLOCK)
        .filter_map(|at| Frame::parse(bytes.get(at..)?))
        .any(|frame| frame.generation == generation)
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
