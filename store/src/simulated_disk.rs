//! A disk in memory that fails, and that forgets what was not synced.
//!
//! Between it and its readers is a cache, as systems have one. A wait for the disk writes the pages
//! that were changed since the last. One that *fails* has written some sectors of them, and takes
//! all for written: readers find them in the cache, and no later wait writes them, unless they are
//! changed again.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use crate::StoreError;
use crate::redb_store::{OpenError, RedbOptions, RedbStore, builder, initialize};
use crate::wal::WalFile;

/// What a power cut may leave, for each write since the last sync: nothing, all, or some of its
/// sectors.
const SECTOR: usize = 512;

/// What is written at once, and is dirty or not as one.
const PAGE: usize = 4096;

/// What all disks of a machine hang on: it fails at an operation, and from then on all of them do,
/// or only at that one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Power(Arc<Mutex<Supply>>);

#[derive(Debug, Default)]
struct Supply {
    operations: u64,
    fails_at: Option<u64>,
    once: bool,
    reads_fail: bool,
}

impl Power {
    /// Counts anew, and fails at the `nth` operation from now.
    pub(crate) fn fails_at(&self, nth: u64) {
        *self.0.lock().unwrap() = Supply {
            operations: 0,
            fails_at: Some(nth),
            ..Supply::default()
        };
    }

    /// Counts anew, and fails at the `nth` operation from now, and only there.
    pub(crate) fn fails_once_at(&self, nth: u64) {
        self.fails_at(nth);
        self.0.lock().unwrap().once = true;
    }

    /// Reads fail, or do so no more.
    pub(crate) fn reads_fail(&self, fail: bool) {
        self.0.lock().unwrap().reads_fail = fail;
    }

    /// How many operations there were since it was counted anew.
    pub(crate) fn operations(&self) -> u64 {
        self.0.lock().unwrap().operations
    }

    fn operation(&self) -> io::Result<()> {
        let mut supply = self.0.lock().unwrap();
        supply.operations += 1;
        match supply.fails_at {
            Some(at) if supply.operations == at || (supply.operations > at && !supply.once) => {
                Err(io::Error::other("the disk is gone"))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Disk {
    /// What a reader sees.
    live: Vec<u8>,
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    /// Since the last sync: offset and bytes; no bytes for a new length.
    pending: Vec<(usize, Vec<u8>)>,
    /// Writes that failed: on a power cut they may have reached some sectors all the same.
    failed: Vec<(usize, Vec<u8>)>,
    /// The pages that the next sync writes.
    dirty: BTreeSet<usize>,
}

impl Disk {
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

    /// Writes reach the disk at random.
    fn settle(writes: &[(usize, Vec<u8>)], image: &mut Vec<u8>, random: &mut Random) {
        let odds = [0, 50, 90, 100][random.below(4)];
        for (offset, bytes) in writes {
            if bytes.is_empty() {
                // A length is a matter of the file system's journal: take the longer one, since
                // a sector may lie beyond the shorter.
                image.resize(image.len().max(*offset), 0);
            }
            for (n, sector) in bytes.chunks(SECTOR).enumerate() {
                if random.below(100) < odds {
                    Self::apply(image, offset + n * SECTOR, sector);
                }
            }
        }
    }
}

/// One file of a machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimulatedDisk {
    disk: Arc<Mutex<Disk>>,
    pub(crate) power: Power,
}

impl SimulatedDisk {
    /// A file that holds an image, on a machine.
    pub(crate) fn on(image: Vec<u8>, power: Power) -> Self {
        let disk = Disk {
            live: image.clone(),
            durable: image,
            ..Disk::default()
        };
        Self {
            disk: Arc::new(Mutex::new(disk)),
            power,
        }
    }

    /// The same file, with what is in the cache, on a machine whose disk works.
    pub(crate) fn after_kill(&self, power: Power, random: &mut Random) -> Self {
        let mut disk = self.disk.lock().unwrap().clone();
        // What a failed sync left behind is on the disk by now, or never will be.
        Disk::settle(&disk.pending, &mut disk.durable, random);
        let page = |page: &usize| {
            let bytes = disk.live.iter().skip(page * PAGE).take(PAGE);
            (page * PAGE, bytes.copied().collect::<Vec<u8>>())
        };
        let dirty = disk.dirty.iter().map(page);
        disk.pending = dirty.filter(|(_, bytes)| !bytes.is_empty()).collect();
        disk.failed.clear();
        let disk = Arc::new(Mutex::new(disk));
        Self { disk, power }
    }

    /// A file with an empty store.
    pub(crate) fn with_store(options: RedbOptions) -> Self {
        let disk = Self::default();
        let database = builder(options).create_with_backend(disk.clone()).unwrap();
        initialize(&database).unwrap();
        disk
    }

    pub(crate) fn open(&self, options: RedbOptions) -> Result<RedbStore, OpenError> {
        let path = PathBuf::from("simulated");
        match builder(options).create_with_backend(self.clone()) {
            Ok(database) => RedbStore::from_database(path, database, options),
            Err(error) => {
                let (doing, source) = ("opening", Box::new(error));
                let source = StoreError::Engine { doing, source };
                Err(OpenError::Store { path, source })
            }
        }
    }

    /// What readers see, which a process that dies leaves behind.
    pub(crate) fn live(&self) -> Vec<u8> {
        self.disk.lock().unwrap().live.clone()
    }

    /// Changes a byte behind everybody's back.
    pub(crate) fn spoil(&self, at: usize) {
        let mut disk = self.disk.lock().unwrap();
        disk.live[at] ^= 1;
        disk.durable[at] ^= 1;
    }

    /// Takes away its end behind everybody's back.
    pub(crate) fn cut(&self, bytes: usize) {
        let mut disk = self.disk.lock().unwrap();
        disk.live.truncate(bytes);
        disk.durable.truncate(bytes);
    }

    /// The bytes after a power cut: unsynced sectors survive at random.
    pub(crate) fn after_power_cut(&self, random: &mut Random) -> Vec<u8> {
        let disk = self.disk.lock().unwrap();
        let mut image = disk.durable.clone();
        let writes = [&disk.failed[..], &disk.pending].concat();
        Disk::settle(&writes, &mut image, random);
        image
    }
}

impl StorageBackend for SimulatedDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.disk.lock().unwrap().live.len()).unwrap())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.disk.lock().unwrap();
        if self.power.0.lock().unwrap().reads_fail {
            return Err(io::Error::other("a sector cannot be read"));
        }
        let offset = usize::try_from(offset).unwrap();
        let bytes = disk.live.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        self.power.operation()?;
        let len = usize::try_from(len).unwrap();
        disk.live.resize(len, 0);
        disk.pending.push((len, Vec::new()));

        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        let dirty = std::mem::take(&mut disk.dirty);
        self.power.operation()?;
        let Disk { live, durable, .. } = &mut *disk;
        durable.resize(live.len(), 0);
        for page in dirty {
            let (from, to) = (page * PAGE, ((page + 1) * PAGE).min(live.len()));
            if from < to {
                durable[from..to].copy_from_slice(&live[from..to]);
            }
        }
        disk.pending.clear();
        disk.failed.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        let offset = usize::try_from(offset).unwrap();
        if let Err(error) = self.power.operation() {
            disk.failed.push((offset, data.to_vec()));
            return Err(error);
        }
        disk.pending.push((offset, data.to_vec()));
        Disk::apply(&mut disk.live, offset, data);
        disk.dirty
            .extend(offset / PAGE..(offset + data.len()).div_ceil(PAGE));
        Ok(())
    }
}

impl WalFile for SimulatedDisk {
    fn read(&self) -> io::Result<Vec<u8>> {
        Ok(self.live())
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        StorageBackend::write(self, at, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A generator small enough to read: xorshift64*.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(bits).unwrap() % bound
    }
}
