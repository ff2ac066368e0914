//! A store and its journal put together from several moments, cut short, damaged, or in two hands.
//!
//! Spec: STO-12, STO-13, STO-28, STO-29, STO-30.

use std::fs;
use std::path::PathBuf;

use super::super::journaled::journal_path;
use super::*;
use crate::{Corruption, OpenError};

const OPTIONS: JournalOptions = JournalOptions {
    redb: SMALL,
    file_bytes: 6 * BLOCK,
};

type Files = [Option<Vec<u8>>; 2];

fn names(path: &Path) -> [PathBuf; 2] {
    [path.to_owned(), journal_path(path)]
}

fn files(path: &Path) -> Files {
    names(path).map(|name| fs::read(name).ok())
}

fn put(folder: &TempDir, files: &Files) -> PathBuf {
    let path = folder.path().join("jurat.redb");
    for (name, bytes) in names(&path).iter().zip(files) {
        match bytes {
            Some(bytes) => fs::write(name, bytes).unwrap(),
            None => drop(fs::remove_file(name)),
        }
    }
    path
}

fn append(store: &RedbStore, n: u64) {
    let entries = vec![NewEntry::new(format!("entry {n}").into_bytes()).unwrap()];
    let batch = Batch {
        expected: store.head().unwrap(),
        entries,
        heads: Vec::new(),
    };
    store.commit(batch).unwrap();
}

fn open(path: &Path) -> Result<RedbStore, OpenError> {
    RedbStore::open_journaled(path, OPTIONS)
}

fn corruption(result: Result<RedbStore, OpenError>) -> Corruption {
    match result.unwrap_err() {
        OpenError::Store {
            source: StoreError::Corrupt(corruption),
            ..
        } => corruption,
        other => panic!("{other}"),
    }
}

struct Moment {
    name: &'static str,
    files: Files,
    size: u64,
}

/// A life of two starts, with a copy of both files at each of its moments.
fn moments() -> Vec<Moment> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("jurat.redb");
    drop(RedbStore::create(&path, SMALL).unwrap());
    let mut moments = Vec::new();
    let mut size = 0;
    let mut take = |name, size| {
        moments.push(Moment {
            name,
            files: files(&path),
            size,
        });
    };
    take("created", 0);
    let mut store = open(&path).unwrap();
    take("begun", 0);
    for (name, more, close) in [
        ("frames", 2, false),
        ("full", 2, false),
        ("rotated", 1, false),
        ("frames of the next", 2, false),
        ("closed", 1, true),
        ("begun again", 0, false),
        ("frames again", 1, false),
        ("rotated again", 7, false),
        ("closed again", 0, true),
    ] {
        for _ in 0..more {
            size += 1;
            append(&store, size);
        }
        if close {
            drop(store);
            take(name, size);
            store = open(&path).unwrap();
        } else {
            take(name, size);
        }
    }
    drop(store);
    moments
}

// Spec: STO-28, STO-29
#[test]
fn of_several_moments_nothing_passes_that_lost_an_entry() {
    let moments = moments();
    let mut accepted = Vec::new();
    for (at, now) in moments.iter().enumerate() {
        for (then, old) in moments.iter().enumerate() {
            for which in 0..2 {
                let mut mixed = now.files.clone();
                mixed[which] = old.files[which].clone();
                let case = (now.name, old.name, which);
                let folder = TempDir::new().unwrap();
                let path = put(&folder, &mixed);
                let result = open(&path);
                if at == then {
                    assert_eq!(result.unwrap().head().unwrap().size.get(), now.size);
                    continue;
                }
                match result {
                    Ok(store) => {
                        let found = store.head().unwrap().size.get();
                        assert!(fsck(&store, &mut |_| {}).unwrap().is_clean(), "{case:?}");
                        accepted.push((case, found));
                    }
                    Err(OpenError::Store {
                        source: StoreError::Corrupt(_),
                        ..
                    }) => {
                        // What was put there is evidence.
                        assert_eq!(files(&path)[1], mixed[1], "{case:?}");
                    }
                    Err(other) => panic!("{case:?}: {other}"),
                }
            }
        }
    }
    let generations = [
        &["begun", "frames", "full"][..],
        &["rotated", "frames of the next"],
        &["begun again", "frames again"],
    ];
    let size = |name| {
        moments
            .iter()
            .find(|moment| moment.name == name)
            .unwrap()
            .size
    };
    for ((now, old, which), found) in accepted {
        // With an older file of the engine nothing is lost, or it is refused. An older journal of
        // the generation that is written passes, and one of the end of that before: the journal
        // alone knows its end.
        let [engine, journal] = if which == 0 { [old, now] } else { [now, old] };
        let one = |known: &&[&str]| known.contains(&engine) && known.contains(&journal);
        let same = generations.iter().any(one);
        let end = (engine, journal) == ("frames of the next", "full");
        let older = size(journal) < size(engine);
        let newest = size(engine).max(size(journal));
        assert!(
            found == newest || older && (same || end),
            "{engine} with the journal of {journal}: {found}"
        );
    }
}

// Spec: STO-29
#[test]
fn an_older_database_beside_a_journal_that_went_on_is_refused() {
    let moments = moments();
    let at = |name| moments.iter().find(|moment| moment.name == name).unwrap();
    for (engine, journal) in [
        ("created", "frames"),
        ("created", "rotated"),
        ("closed", "frames again"),
        ("closed", "rotated again"),
        ("begun", "begun again"),
        ("frames", "rotated again"),
    ] {
        let folder = TempDir::new().unwrap();
        let files = [at(engine).files[0].clone(), at(journal).files[1].clone()];
        let error = corruption(open(&put(&folder, &files)));
        assert!(
            matches!(
                error,
                Corruption::WalNewer { .. } | Corruption::WalAbsent { .. }
            ),
            "{engine}, {journal}: {error}"
        );
    }
}

// Spec: STO-29
#[test]
fn a_store_that_needs_its_journal_is_not_opened_without_it() {
    let moments = moments();
    let frames = &moments[2];
    assert_eq!(frames.name, "frames");
    let folder = TempDir::new().unwrap();
    let path = put(&folder, &[frames.files[0].clone(), None]);
    let missing = Corruption::WalMissing {
        path: journal_path(&path),
    };
    assert_eq!(corruption(open(&path)), missing);
    let path = put(&folder, &frames.files);
    assert_eq!(
        corruption(RedbStore::open(&path, SMALL)),
        Corruption::BehindJournal
    );
    // Zeros are no journal, and neither is half of one.
    let zeros = Some(vec![0; 6 * BLOCK]);
    let path = put(&folder, &[frames.files[0].clone(), zeros]);
    assert!(matches!(
        corruption(open(&path)),
        Corruption::WalAbsent { .. }
    ));
    let mut half = frames.files.clone();
    half[1].as_mut().unwrap().truncate(4 * BLOCK);
    let path = put(&folder, &half);
    assert!(matches!(
        corruption(open(&path)),
        Corruption::WalLength { .. }
    ));
}

// Spec: STO-28
#[test]
fn a_broken_frame_is_refused_when_another_is_behind_it_and_the_last_may_be_torn() {
    let moments = moments();
    let full = moments.iter().find(|moment| moment.name == "full").unwrap();
    let folder = TempDir::new().unwrap();
    let with = |frame: usize, at: usize| {
        let mut files = full.files.clone();
        files[1].as_mut().unwrap()[(2 + frame) * BLOCK + at] ^= 1;
        put(&folder, &files)
    };
    for frame in 0..3 {
        for at in [5, 60, 150] {
            let broken = corruption(open(&with(frame, at)));
            let expected = Corruption::Wal {
                generation: 1,
                at: (2 + frame) * BLOCK,
            };
            assert_eq!(broken, expected, "{frame} {at}");
        }
    }
    for at in [0, 5, 150] {
        let store = open(&with(3, at)).unwrap();
        assert_eq!(store.head().unwrap().size.get(), full.size - 1);
    }
    // Both headers.
    for block in [0, 1] {
        let mut files = full.files.clone();
        files[1].as_mut().unwrap()[block * BLOCK + 20] ^= 1;
        match (block, open(&put(&folder, &files))) {
            (0, Ok(store)) => assert_eq!(store.head().unwrap().size.get(), full.size),
            (1, Err(_)) => {}
            (_, other) => panic!("{block}: {other:?}"),
        }
    }
}

// Spec: STO-28
#[test]
fn commits_without_room_in_a_row_leave_a_store_that_goes_on_from_its_journal() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("jurat.redb");
    let store = RedbStore::create_journaled(&path, OPTIONS).unwrap();
    let large = |n: u8| NewEntry::new(vec![n; 5 * BLOCK]).unwrap();
    for n in 0..3 {
        let batch = Batch {
            expected: store.head().unwrap(),
            entries: vec![large(n)],
            heads: Vec::new(),
        };
        store.commit(batch).unwrap();
    }
    append(&store, 1);
    // As a crash leaves them.
    let left = files(&path);
    let copy = TempDir::new().unwrap();
    let store = open(&put(&copy, &left)).unwrap();
    assert_eq!(store.head().unwrap().size.get(), 4);
}

// Spec: STO-28, STO-29
#[test]
fn who_looks_into_a_store_makes_no_journal_and_needs_the_one_that_there_is() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("plain.redb");
    drop(RedbStore::create(&path, SMALL).unwrap());
    drop(RedbStore::open_as_found(&path, OPTIONS).unwrap());
    assert!(!journal_path(&path).exists());
    let moments = moments();
    let frames = &moments[2];
    let path = put(&folder, &frames.files);
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let store = RedbStore::open_as_found(&link, OPTIONS).unwrap();
    assert_eq!(store.head().unwrap().size.get(), frames.size);
    drop(store);
    let path = put(&folder, &[frames.files[0].clone(), None]);
    let without = RedbStore::open_as_found(&path, OPTIONS);
    assert_eq!(corruption(without), Corruption::BehindJournal);
}

// Spec: STO-13
#[test]
fn a_journal_in_use_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("jurat.redb");
    let store = RedbStore::create_journaled(&path, OPTIONS).unwrap();
    append(&store, 1);
    let copy = folder.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    fs::rename(&copy, &path).unwrap();
    let OpenError::InUse { path: busy } = open(&path).unwrap_err() else {
        panic!("it is opened");
    };
    assert_eq!(busy, journal_path(&path));
}

// Spec: STO-12, STO-30
#[test]
fn a_store_that_was_closed_is_whole_without_its_journal() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("jurat.redb");
    let store = RedbStore::create_journaled(&path, OPTIONS).unwrap();
    for n in 1..=9 {
        append(&store, n);
    }
    drop(store);
    let head = RedbStore::open(&path, SMALL).unwrap().head().unwrap();
    assert_eq!(head.size.get(), 9);
    // It may get another length then, or be lost.
    let longer = JournalOptions {
        file_bytes: 9 * BLOCK,
        ..OPTIONS
    };
    let store = RedbStore::open_journaled(&path, longer).unwrap();
    let length = usize::try_from(fs::metadata(journal_path(&path)).unwrap().len()).unwrap();
    assert_eq!(length, 9 * BLOCK);
    append(&store, 10);
    drop(store);
    fs::remove_file(journal_path(&path)).unwrap();
    let store = open(&path).unwrap();
    append(&store, 11);
    assert_eq!(store.head().unwrap().size.get(), 11);
    // What went by the plain way is in the file.
    drop(store);
    let store = RedbStore::open(&path, SMALL).unwrap();
    append(&store, 12);
    drop(store);
    assert_eq!(open(&path).unwrap().head().unwrap().size.get(), 12);
}

// Spec: STO-28
#[test]
fn a_journal_alone_tells_its_entries() {
    let moments = moments();
    let full = moments.iter().find(|moment| moment.name == "full").unwrap();
    let entries = RedbStore::entries_in_journal(full.files[1].as_ref().unwrap()).unwrap();
    let expected: Vec<_> = (1..=4).map(|n| format!("entry {n}").into_bytes()).collect();
    assert_eq!(entries, expected);
    assert_eq!(
        RedbStore::entries_in_journal(&[]).unwrap(),
        Vec::<Vec<u8>>::new()
    );
}
