//! A disk that fails, and a machine that loses power: what was acknowledged is there afterwards.
//!
//! Spec: STO-03, STO-05, STO-27, STO-28, STO-50.

use std::collections::BTreeSet;

use super::*;
use crate::fsck::fsck;
use crate::simulated_disk::{Power, Random, SimulatedDisk};
use crate::{Batch, LogStore, MemoryStore, NewEntry, Published, SignedHead};
use jurat_proto::key::UnixSeconds;
use jurat_proto::tree::LeafIndex;

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
            // Some are of entries alone: those may be answered before the engine has them.
            let heads = (n % 3 != 1).then_some(crate::HeadSwap {
                origin,
                expected,
                new,
            });
            let heads = heads.into_iter().collect();
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

/// The disks of a store, on one machine.
pub(super) struct Disks {
    pub(super) engine: SimulatedDisk,
    journal: Option<SimulatedDisk>,
}

impl Disks {
    pub(super) fn new(journal_blocks: Option<usize>) -> Self {
        let engine = SimulatedDisk::with_store(SMALL);
        let power = engine.power.clone();
        let journal = |blocks| SimulatedDisk::on(vec![0; blocks * BLOCK], power);
        Self {
            journal: journal_blocks.map(journal),
            engine,
        }
    }

    pub(super) fn open(&self) -> RedbStore {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> Result<RedbStore, String> {
        let opened = self.engine.open(SMALL);
        let mut store = opened.map_err(|error| error.to_string())?;
        if let Some(journal) = &self.journal {
            let attached = store
                .journal_mark()
                .and_then(|mark| store.attach(Box::new(journal.clone()), mark));
            attached.map_err(|error| error.to_string())?;
        }
        Ok(store)
    }

    pub(super) fn after(&self, how: End, random: &mut Random) -> Self {
        let power = Power::default();
        let mut next = |disk: &SimulatedDisk| match how {
            End::PowerCut => SimulatedDisk::on(disk.after_power_cut(random), power.clone()),
            End::Kill => disk.after_kill(power.clone(), random),
        };
        Self {
            engine: next(&self.engine),
            journal: self.journal.as_ref().map(next),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum End {
    PowerCut,
    Kill,
}

/// Runs the workload until the disk fails at `fails_at`, ends it, and looks.
fn crash_at(
    (journal, how): (Option<usize>, End),
    fails_at: u64,
    random: &mut Random,
) -> Option<bool> {
    let disks = Disks::new(journal);
    let model = MemoryStore::new();
    let store = disks.open();
    disks.engine.power.fails_at(fails_at);
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
    // The images before the drop, which would flush: a process that dies flushes nothing.
    let left = disks.after(how, random);
    drop(store);
    let store = left.open();
    // What is shown now must outlast a power cut.
    let shown = seen(&store);
    let cut = left.after(End::PowerCut, random);
    drop(store);
    let store = cut.open();
    assert_eq!(seen(&store), shown, "fault at {fails_at}, {how:?}");
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
    for case in [
        (None, End::PowerCut),
        (Some(5), End::PowerCut),
        (Some(40), End::PowerCut),
        (Some(40), End::Kill),
    ] {
        let mut outcomes = BTreeSet::new();
        for fails_at in 1.. {
            match crash_at(case, fails_at, &mut random) {
                Some(took_effect) => outcomes.insert(took_effect),
                None => break,
            };
        }
        // Both kinds of unknown occurred, so the test looked where it matters.
        assert_eq!(outcomes.len(), 2, "{case:?}");
    }
}

/// Fails the workload at `fails_at`, and then the opening at each of its operations.
fn crash_while_opening_after(
    (journal, [how, then]): (usize, [End; 2]),
    fails_at: u64,
    random: &mut Random,
) -> bool {
    let disks = Disks::new(Some(journal));
    let store = disks.open();
    let model = MemoryStore::new();
    disks.engine.power.fails_at(fails_at);
    let failed = (1..=STEPS).find(|n| {
        let done = step(&store, *n).is_ok();
        if done {
            step(&model, *n).unwrap();
        }
        !done
    });
    let before = seen(&model);
    let after = failed.map(|n| {
        step(&model, n).unwrap();
        seen(&model)
    });
    for again in 1.. {
        let left = disks.after(how, random);
        left.engine.power.fails_at(again);
        let opened = left.try_open();
        let cut = left.after(then, random);
        let whole = opened.is_ok();
        drop(opened);
        let case = format!("faults at {fails_at} and {again}, {how:?}, {then:?}, {journal}");
        let store = cut.try_open();
        let store = store.unwrap_or_else(|error| panic!("{case}: {error}"));
        let found = seen(&store);
        assert!(found == before || Some(found) == after, "{case}");
        if whole {
            break;
        }
    }
    failed.is_some()
}

// Spec: STO-28
#[test]
fn an_opening_that_is_cut_off_is_done_again() {
    let mut random = Random(0x0f1e_2d3c_4b5a_6978);
    for case in [
        (3, [End::Kill, End::PowerCut]),
        (5, [End::PowerCut, End::Kill]),
        (40, [End::Kill, End::PowerCut]),
    ] {
        // Not all faults: there are some twenty to each.
        for fails_at in (4..).step_by(13) {
            if !crash_while_opening_after(case, fails_at, &mut random) {
                break;
            }
        }
    }
}
