//! Files of several moments or stores put together, cut short, damaged, or in two hands.
//!
//! Spec: STO-13, STO-22, STO-23, STO-60, STO-63.

use std::fs;

use super::*;

/// The three files of a store.
type Files = [Option<Vec<u8>>; 3];

fn names(path: &Path) -> [PathBuf; 3] {
    let [a, b] = file::paths(path);
    [path.to_owned(), a, b]
}

fn files(path: &Path) -> Files {
    names(path).map(|name| fs::read(name).ok())
}

/// A store made of these files.
fn put(folder: &TempDir, files: &Files) -> PathBuf {
    let path = folder.path().join("witness.redb");
    for (name, bytes) in names(&path).iter().zip(files) {
        match bytes {
            Some(bytes) => fs::write(name, bytes).unwrap(),
            None => drop(fs::remove_file(name)),
        }
    }
    path
}

struct Moment {
    name: &'static str,
    files: Files,
    page: Vec<(String, u64, u64, usize)>,
}

/// A life of two starts, with a copy of all files at each of its moments.
fn moments() -> Vec<Moment> {
    let folder = TempDir::new().unwrap();
    let path = create(&folder);
    let mut moments = Vec::new();
    let mut take = |name, page| {
        moments.push(Moment {
            name,
            files: files(&path),
            page,
        });
    };
    take("created", Vec::new());
    let run = |steps: std::ops::Range<u64>, close: bool| {
        let store = open(&path);
        for n in steps {
            work(&store, &[swap(&store, n % 3, n, 10)]).unwrap();
        }
        let page = page(&store);
        if close {
            store.close().unwrap();
        }
        page
    };
    take("closed", run(1..4, true));
    take("begun", run(4..4, false));
    take("frames", run(4..6, false));
    take("more frames", run(6..8, false));
    take("rotated", run(8..21, false));
    take("closed again", run(21..23, true));
    moments
}

/// The moments of one generation.
const SECOND: [&str; 3] = ["begun", "frames", "more frames"];

// Spec: STO-23
#[test]
fn of_several_moments_nothing_passes_that_lost_a_head() {
    let moments = moments();
    let mut accepted = Vec::new();
    for (at, now) in moments.iter().enumerate().skip(1) {
        for old in moments.iter().take(at) {
            for bits in 1..8 {
                let which = [bits & 1 != 0, bits & 2 != 0, bits & 4 != 0];
                let mut mixed = now.files.clone();
                for (place, _) in which.iter().enumerate().filter(|(_, old)| **old) {
                    mixed[place] = old.files[place].clone();
                }
                let case = (now.name, old.name, which);
                let folder = TempDir::new().unwrap();
                let path = put(&folder, &mixed);
                let before = files(&path);
                let peeked = WalStore::peek(&path, OPTIONS, &origin(1));
                match WalStore::open(&path, SMALL) {
                    Ok(store) => {
                        let found = page(&store);
                        // What nobody here can tell: the whole store of another moment, and an
                        // older copy of the file that is written, which alone knows its end.
                        let undetected = mixed == old.files
                            || (which[1]
                                && SECOND.contains(&now.name)
                                && SECOND.contains(&old.name));
                        assert!(
                            found == now.page || undetected,
                            "{case:?}: {found:?} and not {:?}",
                            now.page
                        );
                        assert_eq!(peeked.unwrap(), store.latest(&origin(1)).unwrap());
                        accepted.push(case);
                    }
                    Err(OpenError::Store {
                        source: StoreError::Corrupt(_),
                        ..
                    }) => {
                        assert!(peeked.is_err(), "{case:?}");
                        // What was put there is evidence.
                        assert_eq!(files(&path)[1..], before[1..], "{case:?}");
                    }
                    Err(other) => panic!("{case:?}: {other}"),
                }
            }
        }
    }
    // The one that this is about: a database that was closed in order beside the log that went on.
    for old in ["created", "closed"] {
        for now in ["frames", "more frames", "rotated", "closed again"] {
            assert!(!accepted.contains(&(now, old, [true, false, false])));
        }
    }
}

// Spec: STO-23
#[test]
fn a_start_that_was_cut_off_before_it_accepted_anything_goes_on() {
    let moments = moments();
    let [closed, begun, frames] = [1, 2, 3].map(|at| &moments[at].files);
    let with = |log: &Files| [closed[0].clone(), log[1].clone(), log[2].clone()];
    let folder = TempDir::new().unwrap();
    // The header is there, and the engine's row is not.
    let path = put(&folder, &with(begun));
    assert_eq!(page(&open(&path)), moments[1].page);
    let newer = |found| Corruption::WalNewer {
        generation: 1,
        found,
    };
    let refused = |files: &Files| corruption(WalStore::open(put(&folder, files), SMALL));
    assert_eq!(refused(&with(frames)), newer(2));
    // A frame behind the header, of which no more than the front is there.
    let mut torn = with(frames);
    torn[1].as_mut().unwrap()[BLOCK + 200..].fill(0);
    assert_eq!(refused(&torn), newer(2));
    // A header where no start writes it, or that names another end.
    let mut swapped = with(begun);
    swapped.swap(1, 2);
    assert_eq!(refused(&swapped), newer(2));
    let other = Header {
        generation: 2,
        file_bytes: 6 * 4096,
        previous: sha256(b"another store"),
    };
    let mut foreign = with(begun);
    foreign[1].as_mut().unwrap()[..BLOCK].copy_from_slice(&FORMAT.header_block(other));
    assert_eq!(refused(&foreign), newer(2));
    // A torn header, and nothing behind it.
    let mut torn = with(begun);
    torn[1].as_mut().unwrap()[60] ^= 1;
    assert_eq!(page(&open(&put(&folder, &torn))), moments[1].page);
}

// Spec: STO-22, STO-23
#[test]
fn a_file_that_lost_its_end_is_refused() {
    let machine = Machine::new();
    let store = machine.open().unwrap();
    for n in 1..=3 {
        work(&store, &[swap(&store, 1, n, 10)]).unwrap();
    }
    drop(store);
    for bytes in [0, 100, BLOCK, 2 * BLOCK, 4 * BLOCK, 5 * BLOCK + 1] {
        for which in [&[0][..], &[1], &[0, 1]] {
            let cut = machine.after(false, &mut Random(1));
            for file in which {
                cut.files[*file].cut(bytes);
            }
            let error = cut.open().unwrap_err();
            let refused = matches!(
                error,
                StoreError::Corrupt(Corruption::WalLength { .. } | Corruption::WalAbsent { .. })
            );
            assert!(refused, "{bytes} {which:?}: {error}");
        }
    }
}

// Spec: STO-22
#[test]
fn a_broken_frame_is_refused_when_the_head_of_another_is_behind_it() {
    let machine = Machine::new();
    let store = machine.open().unwrap();
    for n in 1..=4 {
        work(&store, &[swap(&store, 1, n, 10)]).unwrap();
    }
    drop(store);
    // Each of the last frames is broken, and its head is not.
    for first in 1..=3 {
        let bad = machine.after(false, &mut Random(1));
        for frame in first..=4 {
            bad.files[0].spoil(frame * BLOCK + 150);
        }
        let error = bad.open().unwrap_err();
        let expected = Corruption::Wal {
            generation: 1,
            at: first * BLOCK,
        };
        assert!(
            matches!(&error, StoreError::Corrupt(found) if *found == expected),
            "{first}: {error}"
        );
    }
    // The last alone may have been cut off; so may one whose head is not even there.
    for at in [0, 150] {
        let torn = machine.after(false, &mut Random(1));
        torn.files[0].spoil(4 * BLOCK + at);
        assert_eq!(
            torn.open().unwrap().latest(&origin(1)).unwrap(),
            Some(head(3, 10))
        );
    }
}

// Spec: STO-22
#[test]
fn what_a_former_generation_left_in_a_file_is_no_evidence() {
    let machine = Machine::new();
    let store = machine.open().unwrap();
    // The first generations fill their files; the third has one frame, and behind it are those of
    // the first.
    for n in 1..=11 {
        work(&store, &[swap(&store, 1, n, 10)]).unwrap();
    }
    assert_eq!(store.writer.lock().unwrap().tail.generation, 3);
    drop(store);
    let left = machine.after(false, &mut Random(1));
    assert_eq!(
        left.open().unwrap().latest(&origin(1)).unwrap(),
        Some(head(11, 10))
    );
}

// Spec: STO-13, STO-23
#[test]
fn a_copy_of_the_database_does_not_get_the_log_that_another_process_writes() {
    let folder = TempDir::new().unwrap();
    let path = create(&folder);
    let store = open(&path);
    work(&store, &swaps(&store, 1)).unwrap();
    assert!(store.files().iter().all(StateFile::is_in_place));
    let copy = folder.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    fs::rename(&copy, &path).unwrap();
    let second = WalStore::open(&path, SMALL).unwrap_err();
    let OpenError::InUse { path: busy } = second else {
        panic!("{second}");
    };
    assert_eq!(busy, file::paths(&path)[0]);
    let peeked = WalStore::peek(&path, OPTIONS, &origin(1)).unwrap_err();
    assert!(matches!(peeked, OpenError::InUse { .. }), "{peeked}");
    // And the first one can find out.
    let in_place = store.files().iter().map(StateFile::is_in_place);
    assert_eq!(in_place.collect::<Vec<_>>(), [false, true, true]);
}

// Spec: STO-12, STO-23
#[test]
fn files_get_another_length_only_while_nothing_needs_them() {
    let folder = TempDir::new().unwrap();
    let path = create(&folder);
    let longer = WalOptions {
        file_bytes: 9 * BLOCK,
        ..SMALL
    };
    let length = || {
        let [_, a, b] = names(&path).map(|name| fs::metadata(name).unwrap().len());
        assert_eq!(a, b);
        usize::try_from(a).unwrap() / BLOCK
    };
    let store = open(&path);
    work(&store, &swaps(&store, 1)).unwrap();
    drop(store);
    let store = WalStore::open(&path, longer).unwrap();
    assert_eq!(length(), 6);
    let found = page(&store);
    store.close().unwrap();
    drop(store);
    // A start that was killed while it made the files: one of them, and a piece of the other.
    let [_, a, b] = names(&path);
    fs::remove_file(&b).unwrap();
    let mut draft = b.into_os_string();
    draft.push(".new");
    fs::write(&draft, b"00").unwrap();
    let store = WalStore::open(&path, longer).unwrap();
    assert_eq!((length(), page(&store)), (9, found));
    assert!(!Path::new(&draft).exists());
    assert!(a.exists());
}

/// What is recorded of the log's files counts while the store needs them, and only then: a crash
/// between making them and needing them leaves a record that is right, or one of nothing needed.
// Spec: STO-63
#[test]
fn files_of_a_log_that_is_needed_are_told_apart_from_copies_and_others_are_not_looked_at() {
    let folder = TempDir::new().unwrap();
    let path = create(&folder);
    let store = open(&path);
    work(&store, &swaps(&store, 1)).unwrap();
    assert_eq!(store.other_log_file(), None);
    drop(store);
    let store = open(&path);
    assert_eq!(store.other_log_file(), None, "it went on in its own");
    let placed = Placed {
        epoch: 0,
        identity: Identity::of(&path, None).unwrap(),
        outside: None,
        name: None,
        copy: None,
    };
    drop(store);
    let [_, first, _] = names(&path);
    let aside = folder.path().join("aside");
    fs::rename(&first, &aside).unwrap();
    fs::copy(&aside, &first).unwrap();
    let [was, is] = [&aside, &first].map(|file| FileId::at(file).unwrap());
    let copy = Some(FoundCopy {
        since: 1,
        why: "w".to_owned(),
    });
    // Seen again and again, also once it is recorded as a copy, until somebody decides.
    for copy in [copy.clone(), copy, None] {
        let store = open(&path);
        assert_eq!(store.other_log_file(), Some((was, is)));
        let placed = placed.clone();
        store.place(&Placed { copy, ..placed }).unwrap();
    }
    let store = open(&path);
    assert_eq!(store.other_log_file(), None);
    store.close().unwrap();
    drop(store);
    fs::remove_file(&first).unwrap();
    fs::rename(&aside, &first).unwrap();
    let store = open(&path);
    assert_eq!(store.other_log_file(), None, "nothing of it was needed");
    drop(store);
    assert_eq!(open(&path).other_log_file(), None);
}

/// Each frame, also while a full file is being taken over: that is another thread's business.
// Spec: STO-41, STO-60
#[test]
fn the_name_follows_while_the_engine_is_busy() {
    let folder = TempDir::new().unwrap();
    let path = create(&folder);
    let store = open(&path);
    let outside = TempDir::new().unwrap();
    let folders = vec![
        store.trail_folder().unwrap(),
        TrailFolder::look(outside.path(), "w").unwrap(),
    ];
    store
        .keep_trail(folders, store.reached(0).unwrap())
        .unwrap();
    let newest = |path: &Path, name| TrailFolder::look(path, name).unwrap().newest();
    // As if it committed for as long as this is held.
    let busy = store.engine.keep_busy();
    // With a fourth it would have to wait.
    for n in 1..=3 {
        work(&store, &[swap(&store, 1, n, 4_000)]).unwrap();
        let reached = store.reached(0).unwrap();
        assert_eq!(newest(folder.path(), "witness.redb"), Some(reached));
    }
    assert!(
        store.reached(0).unwrap().generation > 1,
        "the files changed places"
    );
    let reached = store.reached(0).unwrap();
    let mut waits = 0;
    while newest(outside.path(), "w") != Some(reached) {
        waits += 1;
        assert!(waits < 1_000, "20 s");
        // Wait: for the thread of that folder, which works every few seconds.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    drop(busy);
    store.close().unwrap();
    drop(store);
    // At an orderly end both say where the next start begins.
    let store = open(&path);
    let reached = store.reached(0).unwrap();
    assert_eq!(newest(folder.path(), "witness.redb"), Some(reached));
    assert_eq!(newest(outside.path(), "w"), Some(reached));
}
