//! A disk that fails once or for good, at any operation of a life of starts, work and ends.
//!
//! Spec: STO-20, STO-21, STO-22, STO-24.

use std::sync::mpsc;
use std::time::Duration;

use super::*;

/// The next start after a wait that failed, and after that one failed in turn.
// Spec: STO-22
#[test]
fn what_a_failed_wait_left_in_the_cache_is_made_durable_before_it_is_shown() {
    let mut shown = BTreeSet::new();
    for seed in 1..40 {
        let mut random = Random(seed);
        let machine = Machine::new();
        let store = machine.open().unwrap();
        work(&store, &swaps(&store, 1)).unwrap();
        machine.power.fails_once_at(2);
        let error = store.compare_and_swap(&[swap(&machine_model(&store), 1, 7, 10)]);
        assert!(matches!(error, Err(WriteError::Unknown(_))), "{error:?}");
        let mut machine = machine.after(false, &mut random);
        drop(store);
        for fails_at in 1..=(seed % 4) {
            machine.power.fails_once_at(fails_at);
            let _ = machine.open();
            machine = machine.after(false, &mut random);
        }
        let store = machine.open().unwrap();
        let found = page(&store);
        let after = machine.after(true, &mut random);
        assert_eq!(page(&after.open().unwrap()), found, "seed {seed}");
        shown.insert(store.latest(&origin(1)).unwrap().unwrap().head.size.get());
    }
    // The frame was whole in the cache, and so it was believed.
    assert_eq!(shown, BTreeSet::from([7]));
}

/// What a store holds, to make swaps for it from when it answers no more.
fn machine_model(store: &WalStore) -> MemoryStore {
    let model = MemoryStore::new();
    for (origin, new) in store.origins(None, 99).unwrap() {
        let swap = HeadSwap {
            origin,
            expected: None,
            new,
        };
        work(&model, &[swap]).unwrap();
    }
    model
}

const LIVES: u64 = 3;
const STEPS_A_LIFE: u64 = 9;

/// Starts, works and ends in order, again and again. Gives the step that was not acknowledged.
fn live(machine: &Machine, model: &MemoryStore) -> Result<(), Option<u64>> {
    for life in 0..LIVES {
        let store = machine.open().map_err(|_| None)?;
        for n in life * STEPS_A_LIFE + 1..=(life + 1) * STEPS_A_LIFE {
            let swaps = swaps(model, n);
            work(&store, &swaps).map_err(|_| Some(n))?;
            work(model, &swaps).unwrap();
        }
        store.close().map_err(|_| None)?;
    }
    Ok(())
}

// Spec: STO-20, STO-21, STO-22, STO-24
#[test]
fn nothing_acknowledged_is_lost_wherever_starts_and_ends_are_cut_off() {
    let mut random = Random(0xbf58_476d_1ce4_e5b9);
    let mut generations = BTreeSet::new();
    for (power_cut, once) in [(true, false), (false, false), (true, true), (false, true)] {
        for fails_at in 1.. {
            let (machine, model) = (Machine::new(), MemoryStore::new());
            if once {
                machine.power.fails_once_at(fails_at);
            } else {
                machine.power.fails_at(fails_at);
            }
            let lived = live(&machine, &model);
            // A fault that nobody met, since it fell into what an orderly end may leave undone.
            if lived.is_ok() && machine.power.operations() < fails_at {
                break;
            }
            let left = machine.after(power_cut, &mut random);
            drop(machine);
            let failed = lived.err().flatten();
            let store = left
                .open()
                .unwrap_or_else(|error| panic!("fault at {fails_at}, once {once}: {error}"));
            let found = page(&store);
            if found != page(&model) {
                let n = failed.expect("something was lost that was acknowledged");
                work(&model, &swaps(&model, n)).unwrap();
                assert_eq!(found, page(&model), "step {n}, fault at {fails_at}");
            }
            let again = left.after(true, &mut random).open().unwrap();
            assert_eq!(page(&again), found, "fault at {fails_at}, once {once}");
            for n in 100..104 {
                work(&store, &swaps(&store, n)).unwrap();
            }
            generations.insert(store.writer.lock().unwrap().tail.generation);
        }
    }
    // The files changed places many times, so that what was cut off was everywhere.
    assert!(generations.last() > Some(&8), "{generations:?}");
}

/// More heads than the engine keeps in memory.
const MANY: u64 = 2_000;

/// A machine whose engine's file is on a disk of its own, with many heads in it.
fn with_separate_disks() -> (Machine, Power) {
    let mut machine = Machine::new();
    let store = machine.open().unwrap();
    for first in (0..MANY).step_by(18) {
        let new = (first..MANY.min(first + 18)).map(|n| HeadSwap {
            origin: origin(n),
            expected: None,
            new: head(1, 900),
        });
        work(&store, &new.collect::<Vec<_>>()).unwrap();
    }
    store.close().unwrap();
    drop(store);
    let power = Power::default();
    machine.engine = SimulatedDisk::on(machine.engine.live(), power.clone());
    (machine, power)
}

/// How long nothing may be told before the test is over.
const PATIENCE: Duration = Duration::from_secs(60);

fn told(store: &WalStore) -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::sync_channel(1);
    store.on_failure(move |error| tell.send(error.to_string()).unwrap());
    told
}

// Spec: STO-05, STO-20, STO-21
#[test]
fn an_engine_that_does_not_take_the_log_over_ends_the_store_and_somebody_is_told() {
    let (machine, engine) = with_separate_disks();
    let store = machine.open().unwrap();
    let failure = told(&store);
    engine.fails_at(1);
    // Five blocks of frames, and the sixth makes the files change places; then nobody comes.
    let model = MemoryStore::new();
    for n in 1..=6 {
        let swaps = [swap(&model, 9_999, n, 10)];
        work(&store, &swaps).unwrap();
        work(&model, &swaps).unwrap();
    }
    let reason = failure.recv_timeout(PATIENCE).unwrap();
    engine.fails_at(u64::MAX);
    assert!(reason.contains("the disk is gone"), "{reason}");
    // The disk works again, the engine does not.
    let error = store
        .compare_and_swap(&[swap(&model, 9_999, 7, 10)])
        .unwrap_err();
    assert!(matches!(error, WriteError::Unknown(_)), "{error}");
    assert!(matches!(
        store.latest(&origin(9_999)),
        Err(StoreError::Stopped)
    ));
    assert!(
        told(&store).try_recv().is_ok(),
        "who asks late is told at once"
    );
    let left = machine.after(true, &mut Random(7));
    drop(store);
    let store = left.open().unwrap();
    assert_eq!(store.latest(&origin(9_999)).unwrap(), Some(head(6, 10)));
}

// Spec: STO-05, STO-20
#[test]
fn an_engine_that_failed_a_read_ends_the_store() {
    let (machine, engine) = with_separate_disks();
    let store = machine.open().unwrap();
    let failure = told(&store);
    engine.reads_fail(true);
    let first_failed = (0..MANY).find(|n| store.latest(&origin(*n)).is_err());
    engine.reads_fail(false);
    let unread = first_failed.expect("not all of it is in memory");
    assert!(failure.recv_timeout(PATIENCE).is_ok());
    let error = store.latest(&origin(unread)).unwrap_err();
    assert!(matches!(error, StoreError::Stopped), "{error}");
    // The swap is told to stop, not to come again.
    let error = store
        .compare_and_swap(&[swap(&MemoryStore::new(), 5_000, 1, 10)])
        .unwrap_err();
    assert!(matches!(error, WriteError::Unknown(_)), "{error}");
    // And one that meets the failure itself.
    let store = machine.after(false, &mut Random(3)).open().unwrap();
    drop(store);
    let (machine, engine) = with_separate_disks();
    let store = machine.open().unwrap();
    engine.reads_fail(true);
    let error = (0..MANY)
        .find_map(|n| {
            let swap = HeadSwap {
                origin: origin(n),
                expected: Some(head(1, 0).head),
                new: head(2, 10),
            };
            store.compare_and_swap(&[swap]).err()
        })
        .unwrap();
    assert!(matches!(error, WriteError::Unknown(_)), "{error}");
}

// Spec: STO-05, STO-21
#[test]
fn a_batch_that_is_half_durable_is_not_said_to_have_failed() {
    let machine = Machine::new();
    let store = machine.open().unwrap();
    let model = MemoryStore::new();
    let batch = [
        swap(&model, 1, 1, 9_000),
        swap(&model, 2, 1, 9_000),
        swap(&model, 3, 1, 6 * BLOCK),
    ];
    let error = store.compare_and_swap(&batch).unwrap_err();
    assert!(matches!(error, WriteError::Unknown(_)), "{error}");
    assert!(store.origins(None, 9).is_err());
    let left = machine.after(true, &mut Random(1)).open().unwrap();
    assert!(left.latest(&origin(1)).unwrap().is_some());
    // Nor when the disk fails between its frames, which are one write and one wait each.
    for fails_at in 1.. {
        let machine = Machine::new();
        let store = machine.open().unwrap();
        machine.power.fails_once_at(fails_at);
        let batch: Vec<HeadSwap> = (0..8).map(|n| swap(&model, n, 1, 9_000)).collect();
        match store.compare_and_swap(&batch) {
            Ok(_) => break,
            Err(error) => assert!(matches!(error, WriteError::Unknown(_)), "{error}"),
        }
    }
}

// Spec: STO-20, STO-24
#[test]
fn a_head_does_not_go_back_while_the_store_is_closed() {
    let machine = Machine::new();
    let store = machine.open().unwrap();
    for n in 1..=4 {
        work(&store, &[swap(&store, 1, n, 10)]).unwrap();
    }
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            loop {
                match store.latest(&origin(1)) {
                    Ok(found) => assert_eq!(found, Some(head(4, 10))),
                    Err(error) => return error,
                }
            }
        });
        store.close().unwrap();
        assert!(matches!(reader.join().unwrap(), StoreError::Stopped));
    });
}
