//! Frames in a file of a fixed length, as pure functions: what the log of a witness's heads
//! ([`crate::wal`]) and the journal of a service ([`crate::redb_store`]) have in common.
//!
//! A file is a sequence of blocks of 4 KiB. Headers of generations come first; frames follow, each
//! beginning a block, each one step that became durable by itself:
//!
//! ```text
//! header   mark of the kind of file | generation u64 | file bytes u64
//!                 | end of the generation before, 32 | hash 32
//! frame    mark, 4 | hash 32 | payload bytes u32 | generation u64 | number u64
//!                 | hash of the header, 32 | hash of the frame (or header) before, 32
//!                 | payload | zeros
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

use jurat_proto::hash::{Hash, sha256};

/// What is written at once and never again; no smaller than a sector of any disk.
pub(crate) const BLOCK: usize = 4096;

/// Mark and hash of a frame; what is behind them is hashed.
const HASHED_FROM: usize = 4 + Hash::LEN;
const FRAME_HEAD: usize = HASHED_FROM + 4 + 8 + 8 + 2 * Hash::LEN;

/// What tells one kind of file from others.
#[derive(Debug)]
pub(crate) struct Format {
    /// Begins a header.
    pub(crate) header: &'static [u8],
    /// Begins a frame.
    pub(crate) frame: [u8; 4],
    /// Where the first frame begins.
    pub(crate) first: usize,
}

/// The first block of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) generation: u64,
    /// How long its file is.
    pub(crate) file_bytes: u64,
    /// The end of the generation before.
    pub(crate) previous: Hash,
}

/// Where the next frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) generation: u64,
    /// The hash of the header.
    pub(crate) begin: Hash,
    /// How many frames there are.
    pub(crate) frames: u64,
    /// The hash of the last, or of the header.
    pub(crate) end: Hash,
    /// How many bytes headers and frames take, whole blocks.
    pub(crate) used: usize,
}

/// What stands at the front of a frame, whole or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    hash: Hash,
    payload_bytes: u32,
    pub(crate) generation: u64,
    pub(crate) number: u64,
    /// The hash of its generation's header.
    pub(crate) begin: Hash,
    previous: Hash,
}

/// A frame that bears its own hash out.
pub(crate) struct Frame<'a> {
    pub(crate) head: FrameHead,
    pub(crate) payload: &'a [u8],
    /// Whole blocks.
    room: usize,
}

impl Frame<'_> {
    /// The tail behind it, when it is the next.
    pub(crate) fn follows(&self, tail: &Tail) -> Option<Tail> {
        let head = &self.head;
        let next = (head.generation, head.number) == (tail.generation, tail.frames)
            && (head.begin, head.previous) == (tail.begin, tail.end);
        next.then(|| Tail {
            frames: tail.frames + 1,
            end: head.hash,
            used: tail.used + self.room,
            ..*tail
        })
    }
}

impl Format {
    pub(crate) fn header_block(&self, header: Header) -> Vec<u8> {
        let mut block = self.hashed(header);
        block.extend_from_slice(self.begin(header).as_bytes());
        block.resize(BLOCK, 0);
        block
    }

    /// The hash of a header: what each frame of its generation names, and the first one as the one
    /// before it.
    pub(crate) fn begin(&self, header: Header) -> Hash {
        sha256(&self.hashed(header))
    }

    fn hashed(&self, header: Header) -> Vec<u8> {
        let mut bytes = self.header.to_vec();
        bytes.extend_from_slice(&header.generation.to_be_bytes());
        bytes.extend_from_slice(&header.file_bytes.to_be_bytes());
        bytes.extend_from_slice(header.previous.as_bytes());
        bytes
    }

    /// `None` for a header that was never, or not completely, written.
    pub(crate) fn parse_header(&self, block: &[u8]) -> Option<Header> {
        let mut bytes = Bytes(block.strip_prefix(self.header)?);
        let header = Header {
            generation: bytes.u64()?,
            file_bytes: bytes.u64()?,
            previous: bytes.hash()?,
        };
        (bytes.hash()? == self.begin(header)).then_some(header)
    }

    /// Of a generation that has no frame yet.
    pub(crate) fn after(&self, header: Header) -> Tail {
        let begin = self.begin(header);
        Tail {
            generation: header.generation,
            begin,
            frames: 0,
            end: begin,
            used: self.first,
        }
    }

    /// The head of the frame that begins these bytes, be the rest of it whole or not.
    pub(crate) fn head(&self, bytes: &[u8]) -> Option<FrameHead> {
        let mut bytes = Bytes(bytes.strip_prefix(&self.frame)?);
        Some(FrameHead {
            hash: bytes.hash()?,
            payload_bytes: bytes.u32()?,
            generation: bytes.u64()?,
            number: bytes.u64()?,
            begin: bytes.hash()?,
            previous: bytes.hash()?,
        })
    }

    /// Of each block that begins with one.
    pub(crate) fn heads<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = FrameHead> + 'a {
        bytes.chunks(BLOCK).filter_map(|block| self.head(block))
    }

    /// The frame that begins these bytes, when it is whole.
    pub(crate) fn frame<'a>(&self, all: &'a [u8]) -> Option<Frame<'a>> {
        let head = self.head(all)?;
        let end = FRAME_HEAD.checked_add(usize::try_from(head.payload_bytes).ok()?)?;
        let payload = all.get(FRAME_HEAD..end)?;
        let hashed = all.get(HASHED_FROM..end)?;
        (sha256(hashed) == head.hash).then_some(Frame {
            head,
            payload,
            room: end.next_multiple_of(BLOCK),
        })
    }

    /// Leaves room for the head of a frame; the payload is put behind it. The memory is used again.
    pub(crate) fn begin_draft(draft: &mut Vec<u8>) {
        draft.clear();
        draft.resize(FRAME_HEAD, 0);
    }

    /// Makes a draft the frame that goes to this tail; gives the tail behind it. `None` for a
    /// payload of 4 GiB or more.
    pub(crate) fn seal(&self, draft: &mut Vec<u8>, tail: Tail) -> Option<Tail> {
        let length = u32::try_from(draft.len().checked_sub(FRAME_HEAD)?).ok()?;
        let fields = [
            &length.to_be_bytes()[..],
            &tail.generation.to_be_bytes(),
            &tail.frames.to_be_bytes(),
            tail.begin.as_bytes(),
            tail.end.as_bytes(),
        ]
        .concat();
        let head = draft.get_mut(HASHED_FROM..FRAME_HEAD)?;
        head.copy_from_slice(&fields);
        let hash = sha256(draft.get(HASHED_FROM..)?);
        let (mark, rest) = draft.split_at_mut_checked(self.frame.len())?;
        mark.copy_from_slice(&self.frame);
        rest.get_mut(..Hash::LEN)?.copy_from_slice(hash.as_bytes());
        draft.resize(room(draft), 0);
        Some(Tail {
            frames: tail.frames + 1,
            end: hash,
            used: tail.used.checked_add(draft.len())?,
            ..tail
        })
    }
}

/// How much of a file a draft takes.
pub(crate) fn room(draft: &[u8]) -> usize {
    draft.len().next_multiple_of(BLOCK)
}

/// Takes fields off the front.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    pub(crate) fn hash(&mut self) -> Option<Hash> {
        self.take().map(Hash::new)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }
}
