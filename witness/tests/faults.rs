//! A real process whose disk is full, whose files cannot grow, or whose state was damaged, mixed
//! up or put back: it never signs below what it answered, and it ends with the code that says why.
//!
//! Spec: WIT-44, WIT-57, WIT-105, STO-22, STO-23, STO-25, STO-26.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod rig;
#[path = "../../store/tests/small_disk/mod.rs"]
mod small_disk;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use jurat_daemon::exit;
use jurat_proto::checkpoint::{Checkpoint, ExtensionLine, SignedCheckpoint};
use jurat_proto::cosignature;
use rig::{Home, Process, TestLog, until, verified};
use small_disk::SmallDisk;

const WITNESS: &str = env!("CARGO_BIN_EXE_jurat-witness");
const STATE: [&str; 3] = ["witness.redb", "witness.redb.wal-0", "witness.redb.wal-1"];

/// A process that listens, or how it ended and what it said.
fn try_serve(config: &Path) -> Result<Process, (ExitStatus, String)> {
    let mut child = Command::new(WITNESS)
        .args(["serve", "--config"])
        .arg(config)
        .env("RUST_LOG", "error")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    match line.trim_end().strip_prefix("listening on http://") {
        Some(address) => Ok(Process {
            address: address.parse().unwrap(),
            child,
        }),
        None => Err(end_and_words(child)),
    }
}

/// How a process ended, and what it said to standard error.
fn end_and_words(child: Child) -> (ExitStatus, String) {
    let output = child.wait_with_output().unwrap();
    (output.status, String::from_utf8(output.stderr).unwrap())
}

/// A log whose checkpoints are large: some tens of them fill a file.
struct LargeLog(TestLog);

impl LargeLog {
    fn new(name: &str, size: u64) -> Self {
        let mut log = TestLog::new(name);
        log.grow(size);
        Self(log)
    }

    fn checkpoint(&self, size: u64) -> SignedCheckpoint {
        let line = ExtensionLine::parse(&"x".repeat(500)).unwrap();
        let checkpoint = Checkpoint {
            origin: self.0.origin.clone(),
            head: self.0.head(size),
            extensions: std::iter::repeat_n(line, 100).collect(),
        };
        let line = cosignature::sign_note(&checkpoint.to_text(), &self.0.key).unwrap();
        SignedCheckpoint::new(checkpoint, vec![line]).unwrap()
    }

    fn request(&self, old: u64, new: u64) -> Vec<u8> {
        let proof = self.0.proof(old, new);
        self.0.request_with(old, proof, self.checkpoint(new))
    }

    /// Grows until the witness answers something else than 200, and says how far it got.
    fn fill(&self, process: &Process, from: u64, to: u64, home: &Home) -> u64 {
        let mut client = process.client();
        for size in from..to {
            let body = self.request(size, size + 1);
            let answer = client.call("POST", "/add-checkpoint", &body);
            match answer {
                Some(answer) if answer.status == 200 => {
                    verified(&answer.body, &self.checkpoint(size + 1), &home.keys);
                }
                Some(answer) => {
                    assert_eq!(answer.status, 503, "{}", answer.text());
                    return size;
                }
                None => return size,
            }
        }
        panic!("the disk was never full");
    }

    /// What was answered is there, at most one more is, and it goes on from there.
    fn goes_on(&self, process: &Process, answered: u64, home: &Home) -> u64 {
        let size = stored_size(process, &self.0).unwrap();
        assert!((answered..=answered + 1).contains(&size), "{size}");
        let answer = process.add(&self.request(size, size + 1));
        assert_eq!(answer.status, 200, "{}", answer.text());
        verified(&answer.body, &self.checkpoint(size + 1), &home.keys);
        size + 1
    }
}

/// What the read endpoint and a conflict say, which must be the same; nothing when the log is
/// refused.
fn stored_size(process: &Process, log: &TestLog) -> Option<u64> {
    let served = process.get(&log.checkpoint_path());
    let conflict = process.add(&log.request(0, 1));
    if served.status == 500 {
        assert_eq!(conflict.status, 500, "{}", conflict.text());
        return None;
    }
    assert_eq!(served.status, 200, "{}", served.text());
    let served = SignedCheckpoint::parse(&served.body).unwrap();
    let size = served.head().size.get();
    assert_eq!(served.head(), log.head(size));
    assert_eq!(conflict.status, 409);
    assert_eq!(conflict.text(), format!("{size}\n"));
    Some(size)
}

fn end_of(mut process: Process) -> Option<i32> {
    until(|| process.child.try_wait().unwrap().is_some());
    process.child.wait().unwrap().code()
}

/// The log in front of the store has its room beforehand, so that a full disk stops the store
/// behind it first; then, when both files of the log are full, the witness.
// Spec: WIT-44, STO-21
#[test]
fn a_full_disk_ends_the_witness_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for (but, from_the_start) in [(0, true), (0, false), (200_000, false)] {
        let Some(disk) = SmallDisk::mount(dir.path(), 40) else {
            println!("mounting is not permitted here");
            return;
        };
        let home = Home::new();
        let logs: Vec<LargeLog> = (0..2)
            .map(|n| LargeLog::new(&format!("example.com/{n}"), 700))
            .collect();
        for log in &logs {
            home.add_log(&log.0);
        }
        let database = disk.path.join("witness.redb");
        fs::copy(home.path("witness.redb"), &database).unwrap();
        let config = fs::read_to_string(home.config()).unwrap();
        let database = format!("\"{}\"", database.display());
        fs::write(home.config(), config.replace("\"witness.redb\"", &database)).unwrap();
        if from_the_start {
            // No room for the log: it is not begun, and nothing is lost by trying.
            let ballast = disk.fill(but);
            let refused = try_serve(Path::new(&home.config()));
            let code = refused.map_or_else(|(status, _)| status.code(), |_| Some(0));
            assert_eq!(code, Some(i32::from(exit::IO)));
            fs::remove_file(ballast).unwrap();
        }
        let process = home.serve();
        assert_eq!(process.add(&logs[1].request(0, 5)).status, 200);
        let ballast = disk.fill(but);
        let answered = logs[0].fill(&process, 0, 600, &home);
        assert!(answered > 100, "{answered}: it had room for more");
        assert_eq!(end_of(process), Some(i32::from(exit::IO)));
        // While it is full, the witness may come up or not.
        match try_serve(Path::new(&home.config())) {
            Ok(again) => {
                let size = stored_size(&again, &logs[0].0).unwrap();
                assert!((answered..=answered + 1).contains(&size), "{size}");
            }
            Err((status, said)) => assert_eq!(status.code(), Some(i32::from(exit::IO)), "{said}"),
        }
        fs::remove_file(ballast).unwrap();
        let process = home.serve();
        logs[0].goes_on(&process, answered, &home);
        assert_eq!(stored_size(&process, &logs[1].0), Some(5));
        assert!(process.terminate().success());
    }
}

/// A limit on the size of files (`EFBIG`), which needs no permission to mount.
// Spec: WIT-44, STO-21
#[test]
fn files_that_cannot_grow_end_the_witness_and_lose_nothing() {
    let home = Home::new();
    let log = LargeLog::new("example.com/log", 400);
    home.add_log(&log.0);
    let mut size = 0;
    for limit_kib in [100, 1_900, 4_000, 7_000] {
        let script = format!("trap '' XFSZ; ulimit -f {limit_kib}; exec \"$0\" \"$@\"");
        let mut command = Command::new("bash");
        command.args(["-c", &script, WITNESS]);
        if limit_kib == 100 {
            // Not even the log in front of the store can be made.
            let output = command.args(["serve", "--config", &home.config()]).output();
            let code = output.unwrap().status.code();
            assert_eq!(code, Some(i32::from(exit::IO)));
            // With its files there, it can be begun.
            let process = home.serve();
            assert_eq!(process.add(&log.request(0, 1)).status, 200);
            assert!(process.terminate().success());
            size = 1;
            continue;
        }
        let process = Process::spawn(command, Path::new(&home.config()));
        let answered = log.fill(&process, size, 400, &home);
        assert!(answered > size + 10, "{answered}");
        assert_eq!(end_of(process), Some(i32::from(exit::IO)));
        let process = home.serve();
        size = log.goes_on(&process, answered, &home);
        assert!(process.terminate().success());
    }
}

/// The store's own file cannot take over what is in its log, in a thread of its own, when nobody
/// asks for anything: the process does not wait for a request that would be told.
// Spec: WIT-44, STO-21
#[test]
fn a_store_that_cannot_take_its_log_over_ends_an_idle_witness() {
    let home = Home::new();
    let logs: Vec<LargeLog> = (0..8)
        .map(|n| LargeLog::new(&format!("example.com/{n}"), 2))
        .collect();
    for log in &logs {
        home.add_log(&log.0);
    }
    let config = fs::read_to_string(home.config()).unwrap();
    let short = config + "[commit]\nlog_bytes = 262144\n";
    fs::write(home.config(), short).unwrap();
    // The files of the log fit in, some of the heads that are in one of them do not.
    let mut command = Command::new("bash");
    let script = "trap '' XFSZ; ulimit -f 260; exec \"$0\" \"$@\"";
    command.args(["-c", script, WITNESS]);
    let process = Process::spawn(command, Path::new(&home.config()));
    let other = home.path("witness.redb.wal-1");
    let changed_places = || fs::read(&other).unwrap()[..64] != [0; 64];
    let mut answered = Vec::new();
    for log in &logs {
        if changed_places() {
            break;
        }
        match process
            .client()
            .call("POST", "/add-checkpoint", &log.request(0, 1))
        {
            Some(answer) if answer.status == 200 => answered.push(log),
            // The request that made them do so may meet the end of the process.
            other => assert!(changed_places(), "{other:?}"),
        }
    }
    assert!(changed_places() && answered.len() > 2, "{}", answered.len());
    assert_eq!(end_of(process), Some(i32::from(exit::IO)));
    let process = home.serve();
    for log in answered {
        assert_eq!(stored_size(&process, &log.0), Some(1));
        log.goes_on(&process, 1, &home);
    }
}

/// A state of which all is known.
struct Scene {
    home: Home,
    logs: Vec<TestLog>,
    files: Vec<Vec<u8>>,
}

const SIZES: [u64; 6] = [40, 3, 17, 1, 30, 9];

impl Scene {
    fn new(closed: bool) -> Self {
        let home = Home::new();
        let logs: Vec<TestLog> = (0..SIZES.len())
            .map(|n| {
                let mut log = TestLog::new(&format!("example.com/log-{n}"));
                log.grow(41);
                home.add_log(&log);
                log
            })
            .collect();
        // Once closed, so that heads are in the store, and newer ones in its log.
        for round in 0..2 {
            let mut process = home.serve();
            for (log, size) in logs.iter().zip(SIZES) {
                let (old, new) = if round == 0 { (0, 1) } else { (1, size) };
                assert_eq!(process.add(&log.request(old, new)).status, 200);
            }
            if round == 0 || closed {
                assert!(process.terminate().success());
            } else {
                process.kill();
            }
        }
        let files = STATE.map(|file| fs::read(home.path(file)).unwrap()).into();
        Self { home, logs, files }
    }

    /// Reads the head of each log. If that ended the process: how, and what it said.
    fn read_all(&self, process: &mut Process) -> Option<(ExitStatus, String)> {
        let mut paths = self.logs.iter().map(TestLog::checkpoint_path);
        if paths.all(|path| process.client().call("GET", &path, b"").is_some()) {
            return None;
        }
        let mut said = String::new();
        let mut stderr = process.child.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        Some((process.child.wait().unwrap(), said))
    }

    /// Serves files in place of the state. How many logs were refused; all of them when the start
    /// was. `may_lack` is a log whose last answer is in the last frame, which was damaged.
    fn served(&self, files: &[Vec<u8>], may_lack: Option<usize>) -> usize {
        for (file, bytes) in STATE.iter().zip(files) {
            fs::write(self.home.path(file), bytes).unwrap();
        }
        let served = try_serve(Path::new(&self.home.config())).and_then(|mut process| {
            let ended = self.read_all(&mut process);
            ended.map_or(Ok(process), Err)
        });
        let process = match served {
            Ok(process) => process,
            Err((status, said)) => {
                assert_eq!(status.code(), Some(i32::from(exit::DATA)), "{said}");
                return SIZES.len();
            }
        };
        // Where a name says that there was a frame behind it, the last one is missed, too.
        let answer = process.add(&self.logs[0].request(0, 1));
        if answer.status == 503 {
            assert!(answer.text().contains("had reached"), "{}", answer.text());
            assert!(may_lack.is_some());
            return SIZES.len();
        }
        let mut refused = 0;
        for (n, (log, size)) in self.logs.iter().zip(SIZES).enumerate() {
            match stored_size(&process, log) {
                None => refused += 1,
                Some(1) if may_lack == Some(n) => {}
                Some(found) => assert_eq!(found, size, "log {n}"),
            }
        }
        if refused > 0 {
            assert_eq!(process.get("/health").status, 503);
        }
        refused
    }
}

/// All places where bytes stand.
fn places(file: &[u8], bytes: &[u8]) -> Vec<usize> {
    let windows = file.windows(bytes.len()).enumerate();
    let found = windows.filter(|(_, window)| *window == bytes);
    found.map(|(at, _)| at).collect()
}

/// The name of a log as it stands in the rows, its root hash, a piece of its note: whatever of it
/// is damaged wherever it stands, that log is refused, or all are, or the piece was of no use.
// Spec: WIT-57, WIT-99, STO-25
#[test]
fn a_damaged_row_refuses_its_log_and_nothing_is_signed_below_what_was_answered() {
    let scene = Scene::new(true);
    let log = &scene.logs[0];
    let root = log.head(SIZES[0]).root_hash;
    let pieces = [
        log.origin.as_str().as_bytes().to_vec(),
        root.as_bytes().to_vec(),
        root.to_base64().into_bytes(),
    ];
    let (mut one, mut all) = (0, 0);
    for piece in pieces {
        let found = places(&scene.files[0], &piece);
        assert!(!found.is_empty());
        for at in found.into_iter().take(4) {
            let mut files = scene.files.clone();
            files[0][at + 14] ^= 1;
            match scene.served(&files, None) {
                0 => {}
                1 => one += 1,
                _ => all += 1,
            }
        }
    }
    assert!(one >= 3, "{one} refused alone, {all} times all");
}

/// Blocks of the store's file that are lost, or have another's contents, so that the engine reads
/// what no version of it wrote. It finds some of that when it opens the file, some when it reads a
/// row; and it says so by an error, or by a panic.
// Spec: STO-26
#[test]
fn whatever_the_engine_makes_of_a_lost_block_it_is_damage() {
    let scene = Scene::new(true);
    let good = &scene.files[0];
    let (first, config) = (&good[BLOCK..2 * BLOCK], scene.home.config());
    let (mut panicked, mut refused) = (0, 0);
    for at in (0..good.len()).step_by(BLOCK) {
        let used = good[at..at + BLOCK].iter().any(|byte| *byte != 0);
        for contents in [&[0; BLOCK][..], &[0xff; BLOCK], first] {
            if !used || contents == &good[at..at + BLOCK] {
                continue;
            }
            let mut file = good.clone();
            file[at..at + BLOCK].copy_from_slice(contents);
            for (name, bytes) in STATE.iter().zip([&file, &scene.files[1], &scene.files[2]]) {
                fs::write(scene.home.path(name), bytes).unwrap();
            }
            let (status, said) = match try_serve(Path::new(&config)) {
                Err(ended) => ended,
                Ok(mut process) => match scene.read_all(&mut process) {
                    None => continue,
                    Some(ended) => ended,
                },
            };
            assert_eq!(status.code(), Some(i32::from(exit::DATA)), "{at}: {said}");
            assert!(said.contains("witness.redb"), "{at}: {said}");
            refused += 1;
            let by_panic = "witness.redb is damaged: the storage engine cannot go on";
            panicked += u32::from(said.contains(by_panic));
        }
    }
    assert!(
        panicked > 0,
        "{refused} were refused, none of them by a panic"
    );
}

/// Of the engine.
const BLOCK: usize = 4096;

/// What hands and disks do to whole files and to any place in them.
// Spec: STO-22, STO-23, STO-25
#[test]
fn damaged_files_never_set_a_log_back() {
    let last = SIZES.len() - 1;
    for closed in [true, false] {
        let scene = Scene::new(closed);
        let with = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
            let mut files = scene.files.clone();
            change(&mut files);
            scene.served(&files, None)
        };
        assert_eq!(with(&|_| {}), 0);
        assert_eq!(with(&|files| files.swap(1, 2)), 0, "each says which it is");
        // The store's own file is needed in any case, its log only if it was not closed. But a log
        // that was cut short does not show where it ended, and so not that the store is the newest.
        for (file, needed) in [(0, true), (1, !closed)] {
            let length = scene.files[file].len();
            let refused = if needed { SIZES.len() } else { 0 };
            assert_eq!(with(&|files| files[file].fill(0)), refused, "{file}");
            let half = |files: &mut Vec<Vec<u8>>| files[file].truncate(length / 2);
            assert_eq!(with(&half), SIZES.len(), "{file}");
        }
        // Any place that is in use.
        let mut random = 0x5eed_u64;
        for case in 0..6 {
            let file = case % 3;
            let mut files = scene.files.clone();
            let used: Vec<usize> = (0..files[file].len())
                .filter(|&at| files[file][at] != 0)
                .collect();
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let pick = usize::try_from(random >> 33).unwrap();
            // The second file of the log was never used.
            let Some(&at) = used.get(pick % used.len().max(1)) else {
                continue;
            };
            files[file][at] ^= 0x10;
            scene.served(&files, Some(last).filter(|_| !closed && file > 0));
        }
    }
}
