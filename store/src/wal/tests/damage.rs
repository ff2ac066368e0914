//! Files that were damaged where they lay: bits that turned, blocks that were lost, zeroed or put
//! in another's place, halves of files, files that changed places.
//!
//! The law: a head that was acknowledged is found, or the store or the read is refused. It is never
//! said that there was none, and never is an older one shown as the newest. What is read and does
//! not bear itself out (here by a seal, in a witness by its own signatures) counts as refused.
//!
//! One exception: the last frame of the log. What was damaged there cannot be told from a write
//! that a power cut tore, which nobody was told of.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

const LOGS: u64 = 40;

/// A note that bears out what stands beside it, as a witness's own cosignature does.
fn sealed(n: u64, size: u64) -> OriginHead {
    let mut head = head(size, 0);
    let seal = sha256(format!("{} {size} {}", origin(n), head.head.root_hash).as_bytes());
    head.note = [seal.as_bytes().repeat(4), vec![b'n'; 700]].concat();
    head
}

fn put(store: &WalStore, n: u64, size: u64) {
    let swap = HeadSwap {
        new: sealed(n, size),
        ..swap(store, n, size, 0)
    };
    assert_eq!(store.compare_and_swap(&[swap]).unwrap(), [Ok(())]);
}

/// The files of a store, and the size that was acknowledged last for each origin.
struct Scene {
    name: &'static str,
    files: [Vec<u8>; 3],
    sizes: Vec<u64>,
    /// Whose head the last frame of the log has, and the size that it had before.
    last: Option<(u64, u64)>,
}

fn index(n: u64) -> usize {
    usize::try_from(n).unwrap()
}

/// A store after so many heads: after an orderly end, or after a kill.
fn scene(name: &'static str, heads: u64, closed_after: &[u64]) -> Scene {
    let mut machine = Machine::new();
    let mut store = machine.open().unwrap();
    let mut sizes = vec![0; index(LOGS)];
    let mut last = None;
    for step in 1..=heads {
        let n = step * 7 % LOGS;
        put(&store, n, step);
        last = Some((n, std::mem::replace(&mut sizes[index(n)], step)));
        if closed_after.contains(&step) {
            store.close().unwrap();
            drop(store);
            machine = machine.after(false, &mut Random(step));
            if step == heads {
                return Scene::of(name, &machine, sizes, None);
            }
            store = machine.open().unwrap();
        }
    }
    store.checkpointer.idle().unwrap();
    let left = machine.after(false, &mut Random(heads));
    Scene::of(name, &left, sizes, last)
}

impl Scene {
    fn of(
        name: &'static str,
        machine: &Machine,
        sizes: Vec<u64>,
        last: Option<(u64, u64)>,
    ) -> Self {
        let [a, b] = machine.files.each_ref().map(SimulatedDisk::live);
        let files = [machine.engine.live(), a, b];
        let scene = Self {
            name,
            files,
            sizes,
            last,
        };
        assert_eq!(scene.found(scene.files.clone(), 0), Ok(true), "{name}");
        scene
    }

    fn found(&self, files: [Vec<u8>; 3], place: usize) -> Result<bool, String> {
        let found = Self::found_of(files.clone(), &self.sizes);
        match self.last {
            Some((n, before)) if found.is_err() && place > 0 => {
                let mut cut_off = self.sizes.clone();
                cut_off[index(n)] = before;
                Self::found_of(files, &cut_off)
            }
            _ => found,
        }
    }

    /// `Ok(true)` when all is there, `Ok(false)` when something was refused.
    fn found_of(files: [Vec<u8>; 3], sizes: &[u64]) -> Result<bool, String> {
        let looked = catch_unwind(AssertUnwindSafe(|| look(files, sizes)));
        // The engine gives up on some pages that no version of it wrote: the process ends.
        looked.unwrap_or(Ok(false))
    }
}

fn look(files: [Vec<u8>; 3], sizes: &[u64]) -> Result<bool, String> {
    let machine = Machine::with(files);
    let Ok(store) = machine.open() else {
        return Ok(false);
    };
    let mut whole = true;
    for (n, &size) in (0..).zip(sizes) {
        match store.latest(&origin(n)) {
            Ok(None) if size == 0 => {}
            Ok(None) => return Err(format!("{} of size {size} is gone", origin(n))),
            Ok(Some(found)) if found == sealed(n, size) => {}
            Ok(Some(found)) if found == sealed(n, found.head.size.get()) => {
                let found = found.head.size;
                return Err(format!("{}: {found} instead of {size}", origin(n)));
            }
            Ok(Some(_)) | Err(_) => whole = false,
        }
    }
    Ok(whole)
}

fn scenes() -> [Scene; 5] {
    [
        scene("closed", 60, &[60]),
        scene("closed twice", 60, &[20, 60]),
        scene("just begun again", 44, &[40]),
        scene("first generation", 4, &[]),
        scene("many generations", 90, &[]),
    ]
}

#[derive(Debug, Clone, Copy)]
enum Damage {
    Bit,
    Byte,
    Sector,
    Block,
    Truncated,
    Copied,
}

const DAMAGES: [Damage; 6] = [
    Damage::Bit,
    Damage::Byte,
    Damage::Sector,
    Damage::Block,
    Damage::Truncated,
    Damage::Copied,
];

fn damage(file: &mut Vec<u8>, damage: Damage, at: usize, random: &mut Random) {
    match damage {
        Damage::Bit => file[at] ^= 1 << random.below(8),
        Damage::Byte => file[at] ^= u8::try_from(1 + random.below(255)).unwrap(),
        Damage::Sector => zero(file, at, 512),
        Damage::Block => zero(file, at, BLOCK),
        Damage::Truncated => file.truncate(at),
        Damage::Copied => {
            let from = random.below(file.len() / BLOCK) * BLOCK;
            let to = at / BLOCK * BLOCK;
            let block = file[from..from + BLOCK].to_vec();
            file[to..to + BLOCK].copy_from_slice(&block);
        }
    }
}

fn zero(file: &mut [u8], at: usize, length: usize) {
    let from = at / length * length;
    let to = file.len().min(from + length);
    file[from..to].fill(0);
}

/// The outcomes of many damages.
#[derive(Debug, Default)]
struct Tally {
    refused: u64,
    whole: u64,
    broken: Vec<String>,
}

impl Tally {
    fn count(&mut self, found: Result<bool, String>, what: impl FnOnce() -> String) {
        match found {
            Ok(true) => self.whole += 1,
            Ok(false) => self.refused += 1,
            Err(error) => self.broken.push(format!("{}: {error}", what())),
        }
    }
}

/// `JURAT_DAMAGE_CASES` asks for more than the ordinary 8 of each kind.
// Spec: STO-22, STO-23, STO-25
#[test]
fn damage_is_refused_and_never_passes_for_an_older_store() {
    let cases = std::env::var("JURAT_DAMAGE_CASES");
    let cases: u32 = cases.map_or(8, |cases| cases.parse().unwrap());
    let mut random = Random(0x5eed);
    let mut tally = Tally::default();
    for scene in scenes() {
        for place in 0..3 {
            for kind in DAMAGES {
                for _ in 0..cases {
                    let mut files = scene.files.clone();
                    let length = files[place].len();
                    // Mostly where something is written.
                    let at = loop {
                        let at = random.below(length);
                        if random.below(64) == 0 || files[place][at] != 0 {
                            break at;
                        }
                    };
                    damage(&mut files[place], kind, at, &mut random);
                    let what = || format!("{}: file {place}, {kind:?} at {at}", scene.name);
                    tally.count(scene.found(files, place), what);
                }
            }
        }
    }
    assert_eq!(tally.broken, <[String; 0]>::default());
    assert!(tally.refused > 100 && tally.whole > 100, "{tally:?}");
}

/// The engine's header is small, and one bit of it says which of two commits is the last.
// Spec: STO-25
#[test]
fn no_bit_of_the_header_sets_a_store_back() {
    let mut tally = Tally::default();
    for scene in &scenes()[2..4] {
        for bit in 0..8 * HEADER_BYTES {
            let mut files = scene.files.clone();
            files[0][bit / 8] ^= 1 << (bit % 8);
            tally.count(scene.found(files, 0), || {
                format!("{} bit {bit}", scene.name)
            });
        }
    }
    assert_eq!(tally.broken, <[String; 0]>::default());
    assert!(tally.refused > 100, "{tally:?}");
}

// Spec: STO-25
#[test]
fn a_damaged_head_is_nobody_elses_loss() {
    let scene = scene("closed", 60, &[60]);
    let size = scene.sizes[3];
    let root = head(size, 0).head.root_hash;
    // In the table of heads, in the second one, and in pages that are of no use any more.
    let written: Vec<usize> = scene.files[0]
        .windows(Hash::LEN)
        .enumerate()
        .filter(|(_, bytes)| bytes == root.as_bytes())
        .map(|(at, _)| at)
        .collect();
    let mut damaged = 0;
    for at in written {
        let mut files = scene.files.clone();
        files[0][at] ^= 1;
        let store = Machine::with(files).open().unwrap();
        let Err(error) = store.latest(&origin(3)) else {
            continue;
        };
        let StoreError::Corrupt(Corruption::TwoHeads { origin: of }) = error else {
            panic!("{error}");
        };
        assert_eq!(of, origin(3));
        let new = |n: u64| HeadSwap {
            origin: origin(n),
            expected: Some(head(scene.sizes[index(n)], 0).head),
            new: sealed(n, 100),
        };
        let results = store.compare_and_swap(&[new(2), new(3), new(4)]).unwrap();
        let [Ok(()), Err(SwapRefusal::Damaged(_)), Ok(())] = results[..] else {
            panic!("{results:?}");
        };
        assert_eq!(store.latest(&origin(4)).unwrap(), Some(sealed(4, 100)));
        damaged += 1;
    }
    assert_eq!(damaged, 2, "once in each table");
}

/// All that the engine has in front of its two commit slots, and a part of the first.
const HEADER_BYTES: usize = 80;
