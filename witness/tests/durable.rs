//! What the system was asked to do, seen with strace: no answer leaves before the state is on the
//! disk, and none after the disk failed; and who changed the list of logs is told when that may
//! not be durable.
//!
//! Spec: WIT-44, WIT-69, WIT-105, STO-15, STO-19.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod rig;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rig::{Home, Process, TestLog, until, verified};

/// A system call that has returned.
struct Call {
    name: String,
    /// What strace shows between the parentheses, and behind them.
    text: String,
    /// Lines of the trace: strace writes one when a call begins that others interleave with.
    began: usize,
    ended: usize,
}

impl Call {
    fn is_sync_of_the_log(&self) -> bool {
        ["fsync", "fdatasync"].contains(&&*self.name)
            && self.text.contains(".redb.wal-")
            && self.text.ends_with("= 0")
    }

    fn is_write_of_the_log(&self) -> bool {
        self.name == "pwrite64" && self.text.contains(".redb.wal-")
    }

    fn shows(&self, names: &[&str], what: &str) -> bool {
        names.contains(&&*self.name) && self.text.contains(what)
    }
}

/// The calls of a trace made with `-f -y`, in the order in which they returned.
fn calls(trace: &str) -> Vec<Call> {
    let mut unfinished: HashMap<(&str, &str), (usize, &str)> = HashMap::new();
    let mut calls = Vec::new();
    for (at, line) in trace.lines().enumerate() {
        let Some((thread, line)) = line.split_once(' ') else {
            continue;
        };
        let line = line.trim_start();
        if let Some(rest) = line.strip_prefix("<... ") {
            let (name, rest) = rest.split_once(" resumed>").unwrap();
            let Some((began, first)) = unfinished.remove(&(thread, name)) else {
                continue;
            };
            let (name, text) = (name.to_owned(), format!("{first}{rest}"));
            calls.push(Call {
                name,
                text,
                began,
                ended: at,
            });
        } else if let Some((name, text)) = line.split_once('(') {
            if let Some(first) = text.strip_suffix(" <unfinished ...>") {
                unfinished.insert((thread, name), (at, first));
            } else {
                let (name, text) = (name.to_owned(), text.to_owned());
                calls.push(Call {
                    name,
                    text,
                    began: at,
                    ended: at,
                });
            }
        }
    }
    calls
}

const READS: &[&str] = &["read", "recvfrom", "recvmsg", "readv"];
const WRITES: &[&str] = &["write", "writev", "sendto", "sendmsg"];

/// A witness under strace.
struct Traced {
    process: Process,
    trace: PathBuf,
}

impl Traced {
    fn start(home: &Home, options: &[&str]) -> Self {
        let trace = home.path("trace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-s", "1000000", "-o"]).arg(&trace);
        strace.args(["-e", "signal=none"]).args(options);
        strace.arg(env!("CARGO_BIN_EXE_jurat-witness"));
        let config = home.config();
        let process = Process::spawn(strace, Path::new(&config));
        Self { process, trace }
    }

    /// The witness itself: strace's only child.
    fn witness(&self) -> String {
        let strace = self.process.child.id();
        let children = format!("/proc/{strace}/task/{strace}/children");
        let children = std::fs::read_to_string(children).unwrap();
        children.split_whitespace().next().unwrap().to_owned()
    }

    fn stop(mut self) -> Vec<Call> {
        let killed = Command::new("kill").arg(self.witness()).status().unwrap();
        assert!(killed.success());
        assert!(self.process.child.wait().unwrap().success());
        calls(&std::fs::read_to_string(&self.trace).unwrap())
    }
}

// Spec: WIT-44, WIT-105
#[test]
fn before_each_200_the_state_was_written_and_waited_for() {
    const CLIENTS: u64 = 8;
    const EACH: u64 = 6;
    let home = Home::new();
    let mut logs: Vec<TestLog> = (0..=CLIENTS)
        .map(|n| TestLog::new(&format!("example.com/{n}")))
        .collect();
    for log in &mut logs {
        log.grow(20);
        home.add_log(log);
    }
    let names = "trace=read,recvfrom,recvmsg,readv,write,writev,sendto,sendmsg,\
                 pwrite64,pwritev,fsync,fdatasync";
    let traced = Traced::start(&home, &["-e", names]);
    // One after the other, growing and refreshed: the order of calls is then the order of events.
    let repeats = grow_and_refresh(&traced.process, &logs[0]);
    // And together, so that waits are shared.
    let address = traced.process.address;
    let logs = Arc::new(logs);
    let clients = (1..=CLIENTS).map(|n| {
        let logs = Arc::clone(&logs);
        thread::spawn(move || {
            let log = &logs[usize::try_from(n).unwrap()];
            let mut client = rig::Client::connect(address);
            for size in 1..=EACH {
                let body = log.request(size - 1, size);
                let answer = client.call("POST", "/add-checkpoint", &body).unwrap();
                assert_eq!(answer.status, 200);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.join().unwrap();
    }
    let calls = traced.stop();

    // Requests wait for each other on a connection, so the newest request that was read on it is
    // the one that is answered.
    let mut asked: HashMap<String, (usize, String)> = HashMap::new();
    let mut answered = 0;
    for call in &calls {
        let descriptor = call.text.split_once(',').map_or("", |(first, _)| first);
        if call.shows(READS, "POST /add-checkpoint") {
            let checkpoint = checkpoint_in(&call.text);
            asked.insert(descriptor.to_owned(), (call.ended, checkpoint));
        }
        if !call.shows(WRITES, "HTTP/1.1 200") {
            continue;
        }
        let (asked, checkpoint) = &asked.remove(descriptor).expect("an answer to a request");
        answered += 1;
        let durable = calls.iter().any(|sync| {
            let written = |write: &Call| {
                write.is_write_of_the_log()
                    && write.began > *asked
                    && write.ended < sync.began
                    && write.text.contains(checkpoint)
            };
            sync.is_sync_of_the_log() && sync.ended < call.began && calls.iter().any(written)
        });
        let repeated = repeats.get(answered - 1) == Some(&true);
        assert!(
            durable || repeated,
            "answer {answered} left before its state was durable"
        );
    }
    let together = usize::try_from(CLIENTS * EACH).unwrap();
    assert_eq!(answered, repeats.len() + together);
}

/// Of which log, and of which size, the checkpoint in a request is, as strace shows it: what the
/// write of this very request has in it, whoever else's the same write has.
fn checkpoint_in(request: &str) -> String {
    let (_, note) = request
        .split_once("\\n\\nexample.com/")
        .expect("a checkpoint");
    let lines: Vec<&str> = note.split("\\n").take(2).collect();
    format!("example.com/{}\\n{}\\n", lines[0], lines[1])
}

/// Sends growth and refreshes, one after the other. Which answers are those that left before, to
/// the byte: they are of one second.
fn grow_and_refresh(process: &Process, log: &TestLog) -> Vec<bool> {
    let mut newest = Vec::new();
    let mut repeats = Vec::new();
    let mut send = |old, size| {
        let answer = process.add(&log.request(old, size));
        assert_eq!(answer.status, 200);
        let repeated = std::mem::replace(&mut newest, answer.body) == newest;
        assert!(!repeated || old == size, "growth is never a repetition");
        repeats.push(repeated);
        repeated
    };
    for size in 1..=10 {
        send(size - 1, size);
        send(size, size);
    }
    // Until three refreshes were of seconds of their own.
    let mut refreshed = 0;
    while refreshed < 3 {
        refreshed += u64::from(!send(10, 10));
        // Wait: for the clock of the process to show another second.
        thread::sleep(Duration::from_millis(200));
    }
    repeats
}

/// A flood for logs that nobody registered reads, writes and waits for nothing on the disk, and one
/// for a log whose quota is used up neither.
// Spec: WIT-65, WIT-66
#[test]
fn what_is_refused_unread_touches_no_file() {
    let home = Home::new();
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let vkey = log.vkey().to_string();
    let added = home.logs(&["add", &vkey, "--qpd", "24"]);
    assert!(added.status.success(), "{added:?}");
    let mut stranger = TestLog::new("example.com/stranger");
    stranger.grow(2);
    let names = "trace=read,recvfrom,recvmsg,readv,write,writev,sendto,sendmsg,\
                 pread64,pwrite64,pwritev,fsync,fdatasync";
    let traced = Traced::start(&home, &["-e", names]);
    let mut client = traced.process.client();
    let mut send = |body: &[u8]| client.call("POST", "/add-checkpoint", body).unwrap().status;
    // The log's burst of ten.
    for size in 1..=10 {
        assert_eq!(send(&log.request(size - 1, size)), 200);
    }
    for _ in 0..200 {
        assert_eq!(send(&stranger.request(0, 2)), 404);
        assert_eq!(send(&log.request(10, 11)), 429);
    }
    let metrics = traced.process.get("/metrics");
    for line in [
        "outcome=\"UnknownLog\"} 200\n",
        "outcome=\"OverQuota\"} 200\n",
    ] {
        assert!(metrics.text().contains(line), "{}", metrics.text());
    }
    let calls = traced.stop();
    let of = |what: &str| {
        let found = calls.iter().filter(|call| call.shows(WRITES, what));
        found.map(|call| call.began).collect::<Vec<_>>()
    };
    let refused = [of("HTTP/1.1 404"), of("HTTP/1.1 429")].concat();
    assert_eq!(refused.len(), 400);
    let (first, last) = (refused.iter().min().unwrap(), refused.iter().max().unwrap());
    let during = |call: &&Call| (first..last).contains(&&call.began);
    let touched = |call: &&Call| call.text.contains("witness.redb");
    let found: Vec<&str> = calls
        .iter()
        .filter(during)
        .filter(touched)
        .map(|call| call.text.as_str())
        .collect();
    assert!(found.is_empty(), "{found:?}");
    assert!(
        calls.iter().any(|call| touched(&call)),
        "before, for the ten"
    );
}

/// A witness whose system calls fail from some moment on answers nothing that is not durable, ends,
/// and goes on from what it acknowledged.
fn fails(call: &str, error: &str) {
    let mut log = TestLog::new("example.com/log");
    // strace counts the calls of each thread, and any thread that reads a request may make them.
    log.grow(1000);
    let home = Home::new();
    home.add_log(&log);
    // The first checkpoint without faults, so that the log's files are there.
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 1)).status, 200);
    drop(process);
    for round in 0..3 {
        let served = home.serve();
        let stored = served.get(&log.checkpoint_path());
        let head = jurat_proto::checkpoint::SignedCheckpoint::parse(&stored.body).unwrap();
        let mut acknowledged = head.head().size.get();
        drop(served);
        // A start makes some such calls of its own.
        let inject = format!("inject={call}:error={error}:when={}+", 16 + 3 * round);
        let only = format!("trace={call}");
        let mut traced = Traced::start(&home, &["-e", &only, "-e", &inject]);
        loop {
            let mut client = traced.process.client();
            let body = log.request(acknowledged, acknowledged + 1);
            match client.call("POST", "/add-checkpoint", &body) {
                Some(answer) if answer.status == 200 => acknowledged += 1,
                Some(answer) => {
                    assert_eq!(answer.status, 503, "{}", answer.text());
                    break;
                }
                None => break,
            }
        }
        // strace ends as its child did.
        until(|| traced.process.child.try_wait().unwrap().is_some());
        let code = traced.process.child.wait().unwrap().code();
        assert_eq!(code, Some(74), "the disk failed, or it is not known");
        let process = home.serve();
        let stored = process.get(&log.checkpoint_path());
        let found = jurat_proto::checkpoint::SignedCheckpoint::parse(&stored.body).unwrap();
        let size = found.head().size.get();
        // What was cut off may be durable or not; what was acknowledged is.
        assert!((acknowledged..=acknowledged + 1).contains(&size), "{size}");
        let body = log.request(size, size + 1);
        let answer = process.add(&body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        verified(&answer.body, &log.checkpoint(size + 1), &home.keys);
    }
}

// Spec: WIT-44
#[test]
fn a_failed_fsync_is_never_answered_with_200_and_ends_the_process() {
    fails("fdatasync", "EIO");
    fails("fdatasync", "ENOSPC");
}

// Spec: WIT-44
#[test]
fn a_failed_write_is_never_answered_with_200_and_ends_the_process() {
    fails("pwrite64", "ENOSPC");
    fails("pwrite64", "EIO");
}

/// A directory whose entries may not be durable: who could not make the journal's name durable has
/// changed nothing, also when the file is there already, from a try that failed; who replaced the
/// list has, and is told what is not known.
// Spec: STO-15, STO-19, WIT-69
#[test]
fn a_directory_that_cannot_be_made_durable_is_told_and_hides_no_change() {
    let home = Home::new();
    let logs: Vec<TestLog> = (0..2)
        .map(|n| {
            let mut log = TestLog::new(&format!("example.com/{n}"));
            log.grow(2);
            log
        })
        .collect();
    let listed = || String::from_utf8(home.logs(&["list"]).stdout).unwrap();
    // The journal waits for the directory first, then the list does.
    let add = |log: &TestLog, fails: usize| -> (Output, usize) {
        let directory = std::fs::canonicalize(home.path("")).unwrap();
        let trace = home.path("trace");
        let mut strace = Command::new("strace");
        strace
            .args(["-f", "-o"])
            .arg(&trace)
            .arg("-P")
            .arg(directory);
        strace.args(["-e", "trace=fsync", "-e"]);
        strace.arg(format!("inject=fsync:error=EIO:when={fails}"));
        strace.arg(env!("CARGO_BIN_EXE_jurat-witness"));
        let (vkey, config) = (log.vkey().to_string(), home.config());
        strace.args(["logs", "add", &vkey, "--config", &config]);
        let output = strace.output().unwrap();
        let trace = std::fs::read_to_string(trace).unwrap();
        (output, trace.matches("(INJECTED)").count())
    };
    let said = |output: &Output| String::from_utf8(output.stderr.clone()).unwrap();

    for _ in 0..2 {
        let (output, failed) = add(&logs[0], 1);
        assert_eq!((output.status.code(), failed), (Some(74), 1));
        let text = said(&output);
        assert!(text.contains("nothing was changed"), "{text}");
        assert!(!listed().contains("example.com/0"), "{}", listed());
    }
    home.add_log(&logs[0]);

    let process = home.serve();
    let (output, failed) = add(&logs[1], 2);
    assert_eq!((output.status.code(), failed), (Some(74), 1));
    let text = said(&output);
    let wanted = "was changed, and it is not known whether the change is durable";
    assert!(text.contains(wanted), "{text}");
    // It is in force, for those who look and for the process that serves.
    assert!(listed().contains("example.com/1"), "{}", listed());
    until(|| process.add(&logs[1].request(0, 1)).status == 200);
    // Trying again is no error, and the journal is whole.
    home.add_log(&logs[1]);
    assert!(home.logs(&["journal", "--check"]).status.success());
    assert!(process.terminate().success());
    assert_eq!(home.serve().add(&logs[1].request(1, 2)).status, 200);
}

/// A witness whose `mark_dir` is there.
fn marked() -> (Home, TestLog, PathBuf) {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let home = Home::new();
    home.add_log(&log);
    let outside = home.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let mut config = std::fs::read_to_string(home.config()).unwrap();
    config.push_str("\n[restore_guard]\nmark_dir = \"../outside\"\n");
    std::fs::write(home.config(), config).unwrap();
    // As a trace names it.
    let outside = std::fs::canonicalize(outside).unwrap();
    (home, log, outside)
}

/// With what code a process ended that strace traces: by its first thread, for strace itself waits
/// until the call is over that it holds up.
fn end_of(mut strace: Process, witness: &str) -> i32 {
    let stat = format!("/proc/{witness}/stat");
    for _ in 0..1_200 {
        if let Some(status) = strace.child.try_wait().unwrap() {
            return status.code().unwrap();
        }
        let text = std::fs::read_to_string(&stat).unwrap_or_default();
        let (_, fields) = text.rsplit_once(") ").unwrap_or_default();
        if fields.starts_with('Z') {
            let (_, code) = fields.trim_end().rsplit_once(' ').unwrap();
            // Its last thread has the files until strace lets it go.
            drop(strace);
            let threads = format!("/proc/{witness}/task");
            until(|| std::fs::read_dir(&threads).map_or(0, Iterator::count) < 2);
            return code.parse::<i32>().unwrap() >> 8;
        }
        // Wait: for the process to end.
        thread::sleep(Duration::from_millis(50));
    }
    panic!("it did not end within a minute");
}

/// The disk of `mark_dir` goes away while the witness runs: its wait takes ten minutes. All that is
/// waited for here is far below that.
// Spec: WIT-107, STO-62
#[test]
fn a_mark_dir_that_does_not_answer_holds_up_no_answer_and_no_end() {
    let (home, log, outside) = marked();
    let outside = outside.to_str().unwrap();
    // Its thread waits at the start, and then for the first checkpoint.
    let hangs = "inject=fsync:delay_enter=600000000:when=2+";
    let options = ["-P", outside, "-e", "trace=fsync", "-e", hangs];
    let traced = Traced::start(&home, &options);
    for size in 0..5 {
        let answer = traced.process.add(&log.request(size, size + 1));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let health = traced.process.get("/health");
    assert_eq!(health.status, 200);
    let alarm = "the name that says how far the state went cannot be made";
    assert!(health.text().contains(alarm), "{}", health.text());
    let metrics = traced.process.get("/metrics");
    let alarm = "\njurat_witness_state_marks_failed 1\n";
    assert!(metrics.text().contains(alarm), "{}", metrics.text());
    let witness = traced.witness();
    let killed = Command::new("kill").arg(&witness).status().unwrap();
    assert!(killed.success());
    assert_eq!(end_of(traced.process, &witness), 0);
    // Nothing was lost by it, and the next start finds the disk there again.
    let process = home.serve();
    assert_eq!(process.add(&log.request(5, 6)).status, 200);
    assert!(!process.get("/health").text().contains("cannot be made"));
}

// Spec: WIT-107, STO-62
#[test]
fn a_start_is_refused_when_mark_dir_does_not_answer_however_it_does_not() {
    for call in ["openat", "fsync"] {
        let (home, log, outside) = marked();
        let said = home.path("stderr");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o"]).arg(home.path("trace"));
        strace.arg("-P").arg(&outside);
        strace.args(["-e", &format!("trace={call}"), "-e"]);
        strace.arg(format!("inject={call}:delay_enter=600000000"));
        strace.arg(env!("CARGO_BIN_EXE_jurat-witness"));
        strace.args(["serve", "--config", &home.config()]);
        strace.stderr(std::fs::File::create(&said).unwrap());
        let child = strace.spawn().unwrap();
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        // It does not listen, so it has no address.
        let strace = Process {
            child,
            address: ([127, 0, 0, 1], 0).into(),
        };
        // strace has other children before.
        let is_witness = |child: &str| {
            let name = std::fs::read_to_string(format!("/proc/{child}/comm"));
            name.is_ok_and(|name| name.trim() == "jurat-witness")
        };
        let mut witness = String::new();
        until(|| {
            let text = std::fs::read_to_string(&children).unwrap_or_default();
            witness = text.trim().to_owned();
            is_witness(&witness)
        });
        assert_eq!(end_of(strace, &witness), 74, "{call}");
        let text = std::fs::read_to_string(&said).unwrap();
        assert!(text.contains("answer"), "{call}: {text}");
        assert!(text.contains("outside"), "{call}: {text}");
        // It is no copy for that.
        let process = home.serve();
        assert_eq!(process.add(&log.request(0, 1)).status, 200);
    }
}
