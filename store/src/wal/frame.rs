//! The bytes of a write-ahead log, as pure functions: [`crate::frames`] with one header in front
//! and a batch of heads in each frame.
//!
//! ```text
//! header   "jurat-heads-wal/2\n" | ..
//! frame    "JHF2" | .. | payload
//! payload  (origin bytes u16 | origin | size u64 | root 32 | time u64 | note bytes u32 | note)*
//! ```
//!
//! Integers are big-endian. The other file is as long as the header says, too.

use std::collections::HashMap;

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::Hash;
use jurat_proto::key::UnixSeconds;
use jurat_proto::tree::{TreeHead, TreeSize};

use crate::frames::{BLOCK, Bytes, Format, Header, Tail, room};
use crate::{Corruption, OriginHead};

pub(super) const FORMAT: Format = Format {
    header: b"jurat-heads-wal/2\n",
    frame: *b"JHF2",
    first: BLOCK,
};

/// A frame that is being filled.
#[derive(Debug, Default)]
pub(super) struct Draft {
    bytes: Vec<u8>,
}

impl Draft {
    /// Throws away what is there; the memory is used again.
    pub(super) fn clear(&mut self) {
        Format::begin_draft(&mut self.bytes);
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
        room(&self.bytes)
    }

    /// How much room it would take with one more head.
    pub(super) fn room_with(&self, origin: &Origin, new: &OriginHead) -> usize {
        let one = 2 + origin.as_str().len() + 8 + Hash::LEN + 8 + 4 + new.note.len();
        (self.bytes.len() + one).next_multiple_of(BLOCK)
    }

    /// The frame's bytes, and the tail behind it. `None` beyond 4 GiB.
    pub(super) fn finish(&mut self, tail: Tail) -> Option<(&[u8], Tail)> {
        let after = FORMAT.seal(&mut self.bytes, tail)?;
        Some((&self.bytes, after))
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
    let block = bytes.get(..BLOCK)?;
    FORMAT.parse_header(block)
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
    let mut tail = FORMAT.after(header);
    let mut heads = HashMap::new();
    let mut last = 0;
    let broken = |tail: &Tail| Corruption::Wal {
        generation: tail.generation,
        at: tail.used,
    };
    let frame_at = |at| bytes.get(at..).and_then(|all| FORMAT.frame(all));
    while let Some(frame) = frame_at(tail.used)
        && let Some(after) = frame.follows(&tail)
    {
        read_payload(frame.payload, &mut heads).ok_or_else(|| broken(&tail))?;
        last = tail.used;
        tail = after;
    }
    let behind = bytes.get(tail.used..).unwrap_or_default();
    let (next, behind) = behind.split_at_checked(BLOCK).unwrap_or_default();
    // One that was cut off is the next, and the last.
    let next = FORMAT.head(next).filter(|head| head.begin == tail.begin);
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
    FORMAT.heads(bytes).any(|head| head.begin == begin)
}

/// The newest generation above one of which there is a header or a frame, each by itself whole.
pub(super) fn newer_than(bytes: &[u8], generation: u64) -> Option<u64> {
    let frames = (0..bytes.len())
        .step_by(BLOCK)
        .filter_map(|at| FORMAT.frame(bytes.get(at..)?))
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

#[cfg(test)]
mod tests {
    use super::*;
    use jurat_proto::hash::sha256;

    fn head(size: u64, note_bytes: usize) -> OriginHead {
        OriginHead {
            head: TreeHead {
                size: TreeSize::new(size).unwrap(),
                root_hash: sha256(&size.to_be_bytes()),
            },
            time: UnixSeconds::new(size + 1).unwrap(),
            note: vec![b'n'; note_bytes],
            log_index: None,
        }
    }

    /// The digest was made by another program from what is said of the format: files that earlier
    /// versions wrote are read, and the other way round.
    // Spec: STO-22
    #[test]
    fn a_file_has_the_bytes_that_the_format_says() {
        let mut file = vec![0; 6 * BLOCK];
        let header = Header {
            generation: 7,
            file_bytes: 6 * 4_096,
            previous: sha256(b"previous"),
        };
        file[..BLOCK].copy_from_slice(&FORMAT.header_block(header));
        let mut tail = FORMAT.after(header);
        let mut draft = Draft::default();
        let frames: [&[(&str, u64, usize)]; 2] = [
            &[("example.com/1", 3, 10), ("example.com/2", 4, 0)],
            &[("example.com/1", 5, 5_000)],
        ];
        for heads in frames {
            draft.clear();
            for (origin, size, note_bytes) in heads {
                let origin = Origin::parse(origin).unwrap();
                assert!(draft.push(&origin, &head(*size, *note_bytes)));
            }
            let at = tail.used;
            let (bytes, after) = draft.finish(tail).unwrap();
            file[at..at + bytes.len()].copy_from_slice(bytes);
            tail = after;
        }
        let due = "QEqx4yQqQJoDtVODmKDKozLcjUDyJYuDEhTcuOS2jvY=";
        assert_eq!(sha256(&file).to_string(), due);
        let read = read(&file).unwrap().unwrap();
        assert_eq!((read.tail, read.heads.len(), read.torn), (tail, 2, false));
    }
}
