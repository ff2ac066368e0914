//! The log against the reference model, a machine that loses power, and hands that mix up files.
//!
//! Spec: STO-20, STO-21, STO-22, STO-23, STO-24, STO-25.

mod damage;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jurat_proto::hash::sha256;
use proptest::prelude::*;
use tempfile::TempDir;

use super::open::{begin, check_ended, go_on};
use super::*;
use crate::simulated_disk::{Power, Random, SimulatedDisk};
use crate::{Corruption, MemoryStore, OpenError};

mod faults;
mod moments;

const OPTIONS: RedbOptions = RedbOptions {
    cache_bytes: 1 << 20,
    dedup_pool: 16,
    dedup_filter_bytes: 1 << 10,
};

/// So small that the files change places all the time.
const SMALL: WalOptions = WalOptions {
    redb: OPTIONS,
    file_bytes: 6 * BLOCK,
};

fn origin(n: u64) -> Origin {
    Origin::parse(&format!("example.com/{n}")).unwrap()
}

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

/// Takes an origin from what it is to a size.
fn swap(store: &dyn CheckpointStore, n: u64, size: u64, note_bytes: usize) -> HeadSwap {
    let latest = store.latest(&origin(n)).unwrap();
    HeadSwap {
        origin: origin(n),
        expected: latest.map(|latest| latest.head),
        new: head(size, note_bytes),
    }
}

fn create(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("witness.redb");
    drop(RedbStore::create(&path, OPTIONS).unwrap());
    path
}

fn open(path: &Path) -> WalStore {
    WalStore::open(path, SMALL).unwrap()
}

fn corruption(result: Result<WalStore, OpenError>) -> Corruption {
    match result.unwrap_err() {
        OpenError::Store {
            source: StoreError::Corrupt(corruption),
            ..
        } => corruption,
        other => panic!("{other}"),
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Batches of (origin, growth, note bytes); every fourth expects what is not there.
    Swap(Vec<(u64, u64, usize, bool)>),
    /// The process ends without a word, and starts again.
    Kill,
    /// The process ends in order, and starts again.
    Close,
    /// What the engine holds alone is looked at.
    Page(u64, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = (
        0..6_u64,
        0..3_u64,
        0..9_000_usize,
        prop::bool::weighted(0.2),
    );
    let step = prop_oneof![
        6 => prop::collection::vec(one, 1..6).prop_map(Step::Swap),
        1 => Just(Step::Kill),
        1 => Just(Step::Close),
        1 => (0..6_u64, 1..5_usize).prop_map(|(after, limit)| Step::Page(after, limit)),
    ];
    prop::collection::vec(step, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    // Spec: STO-06, STO-07, STO-20, STO-24
    #[test]
    fn it_is_the_store_that_the_model_is(steps in steps()) {
        let folder = TempDir::new().unwrap();
        let path = create(&folder);
        let (mut store, model) = (open(&path), MemoryStore::new());
        for step in steps {
            match step {
                Step::Swap(wanted) => {
                    let mut swaps = Vec::new();
                    for (n, growth, note, stale) in wanted {
                        let now = model.latest(&origin(n)).unwrap();
                        let size = now.map_or(0, |now| now.head.size.get()) + growth;
                        let mut swap = swap(&model, n, size, note);
                        if stale {
                            swap.expected = Some(head(1_000_000, 0).head);
                        }
                        swaps.push(swap);
                    }
                    let got = store.compare_and_swap(&swaps).unwrap();
                    prop_assert_eq!(got, model.compare_and_swap(&swaps).unwrap());
                }
                Step::Kill => {
                    drop(store);
                    let peeked = WalStore::peek(&path, OPTIONS, &origin(1)).unwrap();
                    prop_assert_eq!(peeked, model.latest(&origin(1)).unwrap());
                    let peek = Peek::open(&path, OPTIONS).unwrap();
                    for (after, limit) in [(None, 99), (None, 2), (Some(origin(1)), 2)] {
                        let page = peek.origins(after.as_ref(), limit).unwrap();
                        prop_assert_eq!(page, model.origins(after.as_ref(), limit).unwrap());
                    }
                    drop(peek);
                    store = open(&path);
                }
                Step::Close => {
                    store.close().unwrap();
                    prop_assert!(store.compare_and_swap(&[]).is_err());
                    drop(store);
                    let alone = RedbStore::open(&path, OPTIONS).unwrap();
                    let wanted = model.origins(None, 99).unwrap();
                    prop_assert_eq!(alone.origins(None, 99).unwrap(), wanted);
                    drop(alone);
                    let peeked = WalStore::peek(&path, OPTIONS, &origin(1)).unwrap();
                    prop_assert_eq!(peeked, model.latest(&origin(1)).unwrap());
                    store = open(&path);
                }
                Step::Page(after, limit) => {
                    let after = origin(after);
                    let got = store.origins(Some(&after), limit).unwrap();
                    prop_assert_eq!(got, model.origins(Some(&after), limit).unwrap());
                }
            }
            for n in 0..6 {
                let origin = origin(n);
                prop_assert_eq!(store.latest(&origin).unwrap(), model.latest(&origin).unwrap());
            }
            prop_assert_eq!(store.origin_count().unwrap(), model.origin_count().unwrap());
        }
    }
}

/// A machine with the three files of a store.
struct Machine {
    power: Power,
    engine: SimulatedDisk,
    files: [SimulatedDisk; 2],
}

impl Machine {
    fn new() -> Self {
        let engine = SimulatedDisk::with_store(OPTIONS).live();
        Self::with([engine, vec![0; 6 * BLOCK], vec![0; 6 * BLOCK]])
    }

    fn with([engine, a, b]: [Vec<u8>; 3]) -> Self {
        let power = Power::default();
        let file = |image| SimulatedDisk::on(image, power.clone());
        Self {
            engine: file(engine),
            files: [file(a), file(b)],
            power,
        }
    }

    fn open(&self) -> Result<WalStore, StoreError> {
        let engine = match self.engine.open(OPTIONS) {
            Ok(engine) => engine,
            Err(OpenError::Store { source, .. }) => return Err(source),
            Err(other) => panic!("{other}"),
        };
        let files = self
            .files
            .each_ref()
            .map(|file| -> Box<dyn WalFile> { Box::new(file.clone()) });
        match engine.wal_mark()? {
            Some(mark) if mark.open => go_on(engine, files, mark),
            closed => {
                check_ended(&self.files.each_ref().map(SimulatedDisk::live), closed)?;
                begin(engine, files, closed, 6 * BLOCK)
            }
        }
    }

    /// What is left when the power goes, or only the process.
    fn after(&self, power_cut: bool, random: &mut Random) -> Self {
        let [a, b] = &self.files;
        if power_cut {
            return Self::with([&self.engine, a, b].map(|disk| disk.after_power_cut(random)));
        }
        let power = Power::default();
        let mut same = |disk: &SimulatedDisk| disk.after_kill(power.clone(), random);
        Self {
            engine: same(&self.engine),
            files: [same(a), same(b)],
            power,
        }
    }
}

/// The work of a step, as `known` would have it.
fn swaps(known: &dyn CheckpointStore, n: u64) -> [HeadSwap; 2] {
    let notes = [100, 5_000, 9_000, 100];
    let note = notes[usize::try_from(n % 4).unwrap()];
    [n % 5, n % 3 + 5].map(|who| swap(known, who, n, note))
}

fn work(store: &dyn CheckpointStore, swaps: &[HeadSwap]) -> Result<(), WriteError> {
    let results = store.compare_and_swap(swaps)?;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    Ok(())
}

const STEPS: u64 = 24;

/// Works until the power fails at an operation, then looks at what is left. `None` when it did not
/// fail; else whether the work that was cut off took effect.
fn crash_at(fails_at: u64, power_cut: bool, random: &mut Random) -> Option<bool> {
    let machine = Machine::new();
    let model = MemoryStore::new();
    let mut failed = None;
    // Opening for the first time is part of it.
    machine.power.fails_at(fails_at);
    if let Ok(store) = machine.open() {
        for n in 1..=STEPS {
            let swaps = swaps(&model, n);
            if work(&store, &swaps).is_err() {
                failed = Some(n);
                break;
            }
            work(&model, &swaps).unwrap();
        }
        let left = machine.after(power_cut, random);
        drop(store);
        return found(&left, &model, failed, fails_at);
    }
    let left = machine.after(power_cut, random);
    found(&left, &model, Some(1), fails_at)
}

/// What a store holds, short enough to read when it is the wrong thing.
fn page(store: &dyn CheckpointStore) -> Vec<(String, u64, u64, usize)> {
    let page = store.origins(None, 99).unwrap().into_iter();
    page.map(|(origin, latest)| {
        let (size, time) = (latest.head.size.get(), latest.time.get());
        assert_eq!(latest, head(size, latest.note.len()));
        (origin.to_string(), size, time, latest.note.len())
    })
    .collect()
}

fn found(left: &Machine, model: &MemoryStore, failed: Option<u64>, at: u64) -> Option<bool> {
    let store = left
        .open()
        .unwrap_or_else(|error| panic!("fault at {at}: {error}"));
    let found = page(&store);
    let mut took_effect = false;
    if found != page(model) {
        let n = failed.expect("something was lost without a fault");
        work(model, &swaps(model, n)).unwrap();
        assert_eq!(found, page(model), "step {n}, fault at {at}");
        took_effect = true;
    }
    // What was found is durable: the next power cut, at once, does not take it away.
    let again = left.after(true, &mut Random(at)).open().unwrap();
    assert_eq!(page(&again), found, "fault at {at}");
    // And it goes on from there.
    for n in STEPS + 1..STEPS + 8 {
        work(&store, &swaps(&store, n)).unwrap();
    }
    failed.map(|_| took_effect)
}

// Spec: STO-21, STO-22
#[test]
fn nothing_acknowledged_is_lost_wherever_the_power_fails() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut outcomes = BTreeSet::new();
    for power_cut in [true, false] {
        for fails_at in 1.. {
            let outcome = crash_at(fails_at, power_cut, &mut random);
            match outcome {
                Some(took_effect) => outcomes.insert((power_cut, took_effect)),
                None => break,
            };
        }
    }
    // With a power cut both happen: so the test looked where it matters.
    assert!(outcomes.is_superset(&BTreeSet::from([(true, false), (true, true)])));
}

// Spec: STO-21
#[test]
fn after_a_failed_wait_nothing_more_is_accepted() {
    let machine = Machine::new();
    let store = machine.open().unwrap();
    work(&store, &swaps(&store, 1)).unwrap();
    let swaps = [swap(&store, 1, 7, 10)];
    // The write is one operation, the wait another.
    machine.power.fails_at(2);
    let error = store.compare_and_swap(&swaps).unwrap_err();
    assert!(matches!(error, WriteError::Unknown(_)), "{error}");
    machine.power.fails_at(u64::MAX);
    let error = store.compare_and_swap(&swaps).unwrap_err();
    assert!(
        matches!(error, WriteError::Unknown(_)),
        "who did not hear it the first time has to stop, too: {error}"
    );
    // Nor is anything answered: what is there is not known.
    let answers = [
        store.latest(&origin(1)).map(drop),
        store.origins(None, 9).map(drop),
        store.origin_count().map(drop),
        // Of this one the engine alone knows.
        store.latest(&origin(99)).map(drop),
    ];
    for answer in answers {
        assert!(matches!(answer, Err(StoreError::Stopped)), "{answer:?}");
    }
}

// Spec: STO-22
#[test]
fn a_log_that_is_broken_in_the_middle_is_refused() {
    let machine = Machine::new();
    let store = machine.open().unwrap();
    for n in 1..=3 {
        store.compare_and_swap(&[swap(&store, 1, n, 10)]).unwrap();
    }
    drop(store);
    // Any byte of a frame that others follow.
    for at in [0, 5, 39, 45, 60, 100, 150] {
        let bad = machine.after(false, &mut Random(1));
        bad.files[0].spoil(BLOCK + at);
        let error = bad.open().unwrap_err();
        let expected = Corruption::Wal {
            generation: 1,
            at: BLOCK,
        };
        assert!(
            matches!(&error, StoreError::Corrupt(found) if *found == expected),
            "byte {at}: {error}"
        );
    }
    // The last one may be a write that was cut off: nobody can tell, and its loss was never
    // acknowledged by a machine that keeps what it said it kept.
    let last = machine.after(false, &mut Random(1));
    last.files[0].spoil(3 * BLOCK + 100);
    let store = last.open().unwrap();
    assert_eq!(store.latest(&origin(1)).unwrap(), Some(head(2, 10)));
}

// Spec: STO-22
#[test]
fn a_generation_that_lost_its_end_or_its_header_is_refused() {
    let machine = Machine::new();
    let store = machine.open().unwrap();
    // Five blocks of frames fill the first file; the next goes to the second.
    for n in 1..=5 {
        let swap = swap(&store, 1, n, 10);
        store.compare_and_swap(&[swap]).unwrap();
    }
    // The engine's file as it is now, before it takes over the first file.
    let engine = machine.engine.live();
    let swap = swap(&store, 1, 6, 10);
    store.compare_and_swap(&[swap]).unwrap();
    drop(store);
    let [a, b] = machine.files.each_ref().map(SimulatedDisk::live);
    let before = || Machine::with([engine.clone(), a.clone(), b.clone()]);
    let whole = before().open().unwrap();
    assert_eq!(whole.latest(&origin(1)).unwrap(), Some(head(6, 10)));
    for (file, at) in [(0, 5 * BLOCK + 100), (1, 20), (1, 30)] {
        let machine = before();
        machine.files[file].spoil(at);
        let error = machine.open().unwrap_err();
        assert!(
            matches!(error, StoreError::Corrupt(Corruption::Wal { .. })),
            "file {file} byte {at}: {error}"
        );
    }
}

// Spec: STO-23
#[test]
fn files_of_two_moments_are_not_taken_for_a_store() {
    let folder = TempDir::new().unwrap();
    let path = create(&folder);
    let [a, b] = file::paths(&path);
    let store = open(&path);
    store.compare_and_swap(&[swap(&store, 1, 5, 10)]).unwrap();
    drop(store);
    // By itself the engine's file would say that nothing was ever cosigned.
    let error = RedbStore::open(&path, OPTIONS).unwrap_err();
    assert!(error.to_string().contains("write-ahead log"), "{error}");
    // A file of the log is gone.
    for file in [&a, &b] {
        let kept = std::fs::read(file).unwrap();
        std::fs::remove_file(file).unwrap();
        let missing = corruption(WalStore::open(&path, SMALL));
        assert_eq!(missing, Corruption::WalMissing { path: file.clone() });
        std::fs::write(file, kept).unwrap();
    }
    // Another store's log.
    let other = TempDir::new().unwrap();
    let other_path = create(&other);
    drop(open(&other_path));
    let kept = std::fs::read(&a).unwrap();
    std::fs::copy(&file::paths(&other_path)[0], &a).unwrap();
    let absent = corruption(WalStore::open(&path, SMALL));
    assert_eq!(absent, Corruption::WalAbsent { generation: 1 });
    std::fs::write(&a, kept).unwrap();
    // An older copy of the engine's file beside a newer log.
    let old = std::fs::read(&path).unwrap();
    let store = open(&path);
    for n in 6..40 {
        store
            .compare_and_swap(&[swap(&store, 1, n, 3_000)])
            .unwrap();
    }
    drop(store);
    let new = std::fs::read(&path).unwrap();
    std::fs::write(&path, old).unwrap();
    let absent = corruption(WalStore::open(&path, SMALL));
    assert_eq!(absent, Corruption::WalAbsent { generation: 1 });
    std::fs::write(&path, new).unwrap();
    let store = open(&path);
    assert_eq!(store.latest(&origin(1)).unwrap(), Some(head(39, 3_000)));
    assert_eq!(store.origin_count().unwrap(), 1);
}

// Spec: STO-23
#[test]
fn a_store_in_use_is_refused_and_its_log_not_touched() {
    let folder = TempDir::new().unwrap();
    let path = create(&folder);
    let store = open(&path);
    work(&store, &swaps(&store, 1)).unwrap();
    let before = file::paths(&path).map(|file| std::fs::read(file).unwrap());
    let second = WalStore::open(&path, SMALL).unwrap_err();
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
    assert_eq!(
        file::paths(&path).map(|file| std::fs::read(file).unwrap()),
        before
    );
}

// Spec: STO-20
#[test]
fn batches_that_do_not_fit_in_a_file_take_several_frames_and_a_huge_note_none() {
    let folder = TempDir::new().unwrap();
    let store = open(&create(&folder));
    let swaps: Vec<HeadSwap> = (0..20).map(|n| swap(&store, n, 1, 9_000)).collect();
    let results = store.compare_and_swap(&swaps).unwrap();
    assert_eq!(results, vec![Ok(()); 20]);
    let huge = [swap(&store, 1, 2, 6 * BLOCK)];
    let error = store.compare_and_swap(&huge).unwrap_err();
    assert!(matches!(error, WriteError::Failed(_)), "{error}");
    store.compare_and_swap(&[swap(&store, 1, 2, 10)]).unwrap();
    let path = store.engine().path().to_owned();
    drop(store);
    let store = open(&path);
    assert_eq!(store.origin_count().unwrap(), 20);
    assert_eq!(store.latest(&origin(1)).unwrap(), Some(head(2, 10)));
    assert_eq!(store.latest(&origin(19)).unwrap(), Some(head(1, 9_000)));
}
