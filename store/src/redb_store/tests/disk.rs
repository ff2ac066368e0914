//! A disk that fails, and a machine that loses power: what was acknowledged is there afterwards.
//!
//! Spec: STO-03, STO-05.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use super::super::create::{builder, initialize};
use super::*;
use crate::fsck::fsck;
use crate::{Batch, LogStore, MemoryStore, NewEntry, Published, SignedHead};
use jurat_proto::key::UnixSeconds;
use jurat_proto::tree::LeafIndex;

/// What a power cut may leave, for each write since the last sync: nothing, all, or some of its
/// sectors.
const SECTOR: usize = 512;

#[derive(Debug, Default)]
struct Disk {
    /// What a reader sees.
    live: Vec<u8>,
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    /// Since the last sync: offset and bytes; no bytes for a new length.
    pending: Vec<(usize, Vec<u8>)>,
    operations: u64,
    fails_at: Option<u64>,
}

impl Disk {
    fn operation(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.fails_at {
            Some(at) if self.operations >= at => Err(io::Error::other("the disk is gone")),
            _ => Ok(()),
        }
    }

    fn apply(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            image.resize(offset, 0);
            return;
        }
        if image.len() < offset + bytes.len() {
            image.resize(offset + bytes.len(), 0);
        }
        image[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// The bytes after a power cut: unsynced sectors survive at random.
    fn after_power_cut(&self, random: &mut Random) -> Vec<u8> {
        let mut image = self.durable.clone();
        let odds = [0, 50, 90, 100][random.below(4)];
        for (offset, bytes) in &self.pending {
            if bytes.is_empty() {
                // A length is a matter of the file system's journal: take the longer one, since
                // a sector may lie beyond the shorter.
                image.resize(image.len().max(*offset), 0);
            }
            for (n, sector) in bytes.chunks(SECTOR).enumerate() {
                if random.below(100) < odds {
                    Self::apply(&mut image, offset + n * SECTOR, sector);
                }
            }
        }
        image
    }
}

#[derive(Debug, Clone, Default)]
struct SimulatedDisk(Arc<Mutex<Disk>>);

impl SimulatedDisk {
    fn of(image: Vec<u8>) -> Self {
        let disk = Disk {
            live: image.clone(),
            durable: image,
            ..Disk::default()
        };
        Self(Arc::new(Mutex::new(disk)))
    }

    fn open(&self) -> Result<RedbStore, OpenError> {
        let database = builder(SMALL).create_with_backend(self.clone()).unwrap();
        RedbStore::from_database("simulated".into(), database, SMALL)
    }
}

impl StorageBackend for SimulatedDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.0.lock().unwrap().live.len()).unwrap())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        let offset = usize::try_from(offset).unwrap();
        let bytes = disk.live.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.operation()?;
        let len = usize::try_from(len).unwrap();
        disk.live.resize(len, 0);
        disk.pending.push((len, Vec::new()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.operation()?;
        disk.durable = disk.live.clone();
        disk.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        let offset = usize::try_from(offset).unwrap();
        // A write that fails may have reached some sectors all the same.
        disk.pending.push((offset, data.to_vec()));
        disk.operation()?;
        Disk::apply(&mut disk.live, offset, data);
        Ok(())
    }
}

/// A generator small enough to read: xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(bits).unwrap() % bound
    }
}

/// One write of the workload, done to any store. `Ok` when it returned `Ok`; else whether its
/// outcome is unknown.
fn step(store: &dyn LogStore, n: u64) -> Result<(), bool> {
    let time = UnixSeconds::new(n).unwrap();
    let head = store.head().map_err(|_| false)?;
    match n % 5 {
        3 => store
            .publish(Published {
                head,
                note: vec![7; 300],
            })
            .map_err(|error| matches!(error, crate::RecordError::Unknown(_))),
        4 => store
            .record_signing(SignedHead { head, time })
            .map_err(|error| matches!(error, crate::RecordError::Unknown(_))),
        _ => {
            let entries = (0..n % 9 * 3)
                .map(|i| {
                    let mut bytes = format!("entry {n} {i}").into_bytes();
                    bytes.resize(if i == 5 { 5_000 } else { 100 }, b'.');
                    NewEntry::new(bytes).unwrap()
                })
                .collect();
            let origin = jurat_proto::checkpoint::Origin::parse("example.com/a").unwrap();
            let expected = store
                .latest(&origin)
                .map_err(|_| false)?
                .map(|latest| latest.head);
            let size = TreeSize::new(n).unwrap();
            let new_head = TreeHead {
                size,
                root_hash: jurat_proto::hash::sha256(&n.to_be_bytes()),
            };
            let log_index = head.size.get().checked_sub(1).and_then(LeafIndex::new);
            let new = crate::OriginHead {
                head: new_head,
                time,
                note: vec![1; 200],
                log_index,
            };
            let heads = vec![crate::HeadSwap {
                origin,
                expected,
                new,
            }];
            let batch = Batch {
                expected: head,
                entries,
                heads,
            };
            let outcome = store.commit(batch).map(|_| ());
            outcome.map_err(|error| matches!(error, crate::CommitError::Unknown(_)))
        }
    }
}

/// Everything that the traits show of a store.
#[derive(Debug, PartialEq)]
struct Seen {
    head: TreeHead,
    entries: Vec<Option<Vec<u8>>>,
    origins: Vec<(jurat_proto::checkpoint::Origin, crate::OriginHead)>,
    history: Vec<crate::HistoryItem>,
    published: Option<Published>,
    signed: Option<SignedHead>,
}

fn seen(store: &dyn LogStore) -> Seen {
    let head = store.head().unwrap();
    let origins = store.origins(None, 10).unwrap();
    Seen {
        head,
        entries: (0..head.size.get())
            .map(|i| store.entry(LeafIndex::new(i).unwrap()).unwrap())
            .collect(),
        history: origins
            .iter()
            .flat_map(|(origin, _)| store.history(origin, None, 1_000).unwrap())
            .collect(),
        origins,
        published: store.published().unwrap(),
        signed: store.last_signed().unwrap(),
    }
}

const STEPS: u64 = 24;

fn new_disk() -> SimulatedDisk {
    let disk = SimulatedDisk::default();
    initialize(&builder(SMALL).create_with_backend(disk.clone()).unwrap()).unwrap();
    disk
}

/// Runs the workload until the disk fails at `fails_at`, cuts the power, and looks.
fn crash_at(fails_at: u64, random: &mut Random) -> Option<bool> {
    let disk = new_disk();
    let model = MemoryStore::new();
    let store = disk.open().unwrap();
    {
        let mut disk = disk.0.lock().unwrap();
        (disk.operations, disk.fails_at) = (0, Some(fails_at));
    }
    let mut failed = None;
    for n in 1..=STEPS {
        match step(&store, n) {
            Ok(()) => step(&model, n).unwrap(),
            Err(unknown) => {
                failed = Some((n, unknown));
                if unknown {
                    assert!(matches!(store.head(), Err(StoreError::Stopped)));
                    assert!(step(&store, n + 1).is_err());
                }
                break;
            }
        }
    }
    // The image before the drop, which would flush: a process that dies flushes nothing.
    let image = disk.0.lock().unwrap().after_power_cut(random);
    drop(store);
    let disk = SimulatedDisk::of(image);
    let store = disk.open().unwrap();
    let (found, acknowledged) = (seen(&store), seen(&model));
    let mut took_effect = false;
    if found != acknowledged {
        let (n, unknown) = failed.unwrap();
        assert!(
            unknown,
            "step {n} said that nothing changed (fault at {fails_at})"
        );
        step(&model, n).unwrap();
        assert_eq!(
            found,
            seen(&model),
            "step {n}, fault at {fails_at}: neither before nor after"
        );
        took_effect = true;
    }
    let report = fsck(&store, &mut |_| {}).unwrap();
    assert!(report.is_clean(), "fault at {fails_at}: {report:?}");
    // And it goes on from there.
    for n in STEPS + 1..STEPS + 4 {
        step(&store, n).unwrap();
    }
    assert!(fsck(&store, &mut |_| {}).unwrap().is_clean());
    failed.map(|_| took_effect)
}

#[test]
fn nothing_acknowledged_is_lost_wherever_the_disk_fails() {
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut outcomes = BTreeSet::new();
    for fails_at in 1.. {
        match crash_at(fails_at, &mut random) {
            Some(took_effect) => outcomes.insert(took_effect),
            None => break,
        };
    }
    // Both kinds of unknown occurred, so the test looked where it matters.
    assert_eq!(outcomes.len(), 2);
}
