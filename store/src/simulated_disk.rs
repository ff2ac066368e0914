//! A disk in memory that fails, and that forgets what was not synced.

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

/// What all disks of a machine hang on: it fails at an operation, and from then on all of them do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Power(Arc<Mutex<Supply>>);

#[derive(Debug, Default)]
struct Supply {
    operations: u64,
    fails_at: Option<u64>,
}

impl Power {
    /// Counts anew, and fails at the `nth` operation from now.
    pub(crate) fn fails_at(&self, nth: u64) {
        *self.0.lock().unwrap() = Supply {
            operations: 0,
            fails_at: Some(nth),
        };
    }

    fn operation(&self) -> io::Result<()> {
        let mut supply = self.0.lock().unwrap();
        supply.operations += 1;
        match supply.fails_at {
            Some(at) if supply.operations >= at => Err(io::Error::other("the disk is gone")),
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
}

/// One file of a machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimulatedDisk {
    disk: Arc<Mutex<Disk>>,
    pub(crate) power: Power,
}

impl SimulatedDisk {
    pub(crate) fn of(image: Vec<u8>) -> Self {
        Self::on(image, Power::default())
    }

    /// A file that holds an image, on a machine.
    pub(crate) fn on(image: Vec<u8>, power: Power) -> Self {
        let disk = Disk {
            live: image.clone(),
            durable: image,
            pending: Vec::new(),
        };
        Self {
            disk: Arc::new(Mutex::new(disk)),
            power,
        }
    }

    /// The same file, with what is not synced, on a machine whose disk works.
    pub(crate) fn after_kill(&self, power: Power) -> Self {
        let disk = Arc::new(Mutex::new(self.disk.lock().unwrap().clone()));
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

    /// The bytes after a power cut: unsynced sectors survive at random.
    pub(crate) fn after_power_cut(&self, random: &mut Random) -> Vec<u8> {
        let disk = self.disk.lock().unwrap();
        let mut image = disk.durable.clone();
        let odds = [0, 50, 90, 100][random.below(4)];
        for (offset, bytes) in &disk.pending {
            if bytes.is_empty() {
                // A length is a matter of the file system's journal: take the longer one, since
                // a sector may lie beyond the shorter.
                image.resize(image.len().max(*offset), 0);
            }
            for (n, sector) in bytes.chunks(SECTOR).enumerate() {
                if random.below(100) < odds {
                    Disk::apply(&mut image, offset + n * SECTOR, sector);
                }
            }
        }
        image
    }
}

impl StorageBackend for SimulatedDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.disk.lock().unwrap().live.len()).unwrap())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.disk.lock().unwrap();
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
        self.power.operation()?;
        disk.durable = disk.live.clone();
        disk.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        let offset = usize::try_from(offset).unwrap();
        // A write that fails may have reached some sectors all the same.
        disk.pending.push((offset, data.to_vec()));
        self.power.operation()?;
        Disk::apply(&mut disk.live, offset, data);
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
