//! What a witness remembers and is told about its memory: its write-ahead log, its journal, and the
//! checkpoints that others show it.

use std::fs;

use jurat_daemon::clock::{ManualClock, UnixTime};
use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::hash::sha256;
use jurat_proto::key::{UnixSeconds, VerifierKey};
use jurat_proto::tree::TreeHead;
use jurat_store::registry::{Edit, Log, LogState, Record as _};
use jurat_store::{OriginHead, WalStore};
use jurat_witness::heads::Latest;
use jurat_witness::journal::Journal;
use jurat_witness::restore::{Finding, Keys, judge};

use crate::settings::scratch_file;
use crate::world::{ORIGIN, WORLD};

const BLOCK: usize = 4096;

/// A file of a log: a header, one frame with this payload, and zeros.
fn log_with(payload: &[u8]) -> Vec<u8> {
    /// Mark, hash, length, generation, number, and two more hashes.
    const FRAME_HEAD: usize = 4 + 32 + 4 + 8 + 8 + 2 * 32;
    let generation = 1_u64.to_be_bytes();
    let frame_room = (FRAME_HEAD + payload.len()).next_multiple_of(BLOCK);
    let file_bytes = BLOCK + frame_room + BLOCK;
    let header = [
        &b"jurat-heads-wal/2\n"[..],
        &generation,
        &u64::try_from(file_bytes)
            .expect("inputs are short")
            .to_be_bytes(),
        &[7; 32],
    ]
    .concat();
    let begin = sha256(&header);
    let mut file = [&header[..], begin.as_bytes()].concat();
    file.resize(BLOCK, 0);
    let length = u32::try_from(payload.len()).expect("inputs are short");
    let hashed = [
        &length.to_be_bytes()[..],
        &generation,
        &0_u64.to_be_bytes(),
        begin.as_bytes(),
        begin.as_bytes(),
        payload,
    ]
    .concat();
    file.extend_from_slice(b"JHF2");
    file.extend_from_slice(sha256(&hashed).as_bytes());
    file.extend_from_slice(&hashed);
    file.resize(file_bytes, 0);
    file
}

fn row(origin: &Origin, head: &OriginHead) -> Vec<u8> {
    let name = origin.as_str().as_bytes();
    let name_bytes = u16::try_from(name.len()).expect("it was read with 16 bits");
    let note_bytes = u32::try_from(head.note.len()).expect("it was read with 32 bits");
    [
        &name_bytes.to_be_bytes()[..],
        name,
        &head.head.size.get().to_be_bytes(),
        head.head.root_hash.as_bytes(),
        &head.time.get().to_be_bytes(),
        &note_bytes.to_be_bytes(),
        &head.note,
    ]
    .concat()
}

/// A file as it lies there, and the payload of a frame that is whole: it was written, so that only
/// a defect of ours, or somebody who owns the files, puts there what is no heads.
pub(crate) fn wal_frame(data: &[u8]) {
    if let Err(error) = WalStore::heads_in_file(data) {
        assert!(!error.to_string().is_empty());
    }
    match WalStore::heads_in_file(&log_with(data)) {
        Ok(heads) => {
            assert_eq!(
                heads.is_empty(),
                data.is_empty(),
                "a payload is rows, or none"
            );
            for (origin, head) in &heads {
                let row = row(origin, head);
                let stands = data.windows(row.len()).any(|window| window == row);
                assert!(stands, "a head that nobody wrote");
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Two rows.
pub(crate) fn wal_payload() -> Vec<u8> {
    let row_of = |size: u64| {
        let signed = WORLD.signed(size, false);
        let head = OriginHead {
            head: signed.head(),
            time: UnixSeconds::new(1_790_000_000).expect("a time"),
            note: signed.to_bytes(),
            log_index: None,
        };
        row(signed.origin(), &head)
    };
    [row_of(5), row_of(9)].concat()
}

/// A journal that is whole stays whole when a change is written down, whatever was cut short
/// before; and one that is not says which line.
pub(crate) fn journal(data: &[u8]) {
    let path = scratch_file("journal.ndjson", data);
    let journal = Journal::beside(&path.with_file_name("logs.toml"));
    assert_eq!(journal.path(), path);
    let lines = match journal.check(|_| {}) {
        Ok(lines) => lines,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    record(&journal);
    let after = journal.check(|_| {}).expect("it was whole before");
    assert_eq!(after, lines + 1, "one line for one change");
    let now = fs::read(&path).expect("it was just written");
    assert!(now.starts_with(data), "something was taken away");
}

fn record(journal: &Journal) {
    let clock = ManualClock::new(UnixTime::from_seconds(1_790_000_000));
    let origin = Origin::parse(ORIGIN).expect("an origin");
    let keys: Vec<VerifierKey> = WORLD.keys[..1].to_vec();
    let log = Log::new(origin, keys, LogState::Active);
    let edit = Edit {
        before: None,
        after: &log,
    };
    let recorder = journal.by("fuzz", &clock);
    recorder.record(&[edit]).expect("the folder takes files");
}

/// A journal of two lines.
pub(crate) fn journal_text() -> Vec<u8> {
    let path = scratch_file("journal.ndjson", b"");
    let journal = Journal::beside(&path.with_file_name("logs.toml"));
    record(&journal);
    record(&journal);
    fs::read(path).expect("it was just written")
}

/// What somebody shows of a log holds it only with signatures that verify, and the evidence stands
/// by itself.
pub(crate) fn shown_checkpoint(data: &[u8]) {
    let origin = Origin::parse(ORIGIN).expect("an origin");
    let time = UnixSeconds::new(1_789_999_999).expect("a time");
    let at = |size: u64| Latest {
        head: WORLD.head(size),
        time,
    };
    let mut other = at(5);
    other.head = TreeHead {
        root_hash: sha256(b"other"),
        ..other.head
    };
    for latest in [None, Some(at(3)), Some(at(5)), Some(other), Some(at(9))] {
        for peer in [None, Some(&WORLD.keys[2..])] {
            let keys = Keys {
                log: &WORLD.keys[..1],
                own: &WORLD.keys[1..2],
                peer,
            };
            match judge(data, &origin, keys, latest) {
                Ok(Finding::Evidence(evidence)) => {
                    let note = SignedCheckpoint::parse(evidence.note.as_bytes());
                    let note = note.expect("evidence is a checkpoint");
                    assert_eq!((note.origin(), note.head()), (&origin, evidence.head));
                    assert!(note.verify_signatures(&WORLD.keys[..1]).is_ok());
                }
                Ok(Finding::Same) => {
                    let shown = SignedCheckpoint::parse(data).expect("it was taken for one");
                    assert_eq!(latest.map(|latest| latest.head), Some(shown.head()));
                }
                Ok(Finding::New) => assert!(latest.is_none()),
                Ok(Finding::Known) => {}
                Err(unusable) => assert!(!unusable.to_string().is_empty()),
            }
        }
    }
}
