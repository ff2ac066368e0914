//! Files that were put back show by themselves that they were: nobody is asked.
//!
//! Spec: WIT-89, WIT-90, WIT-91, WIT-92, WIT-93, WIT-94, WIT-106.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod rig;

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use jurat_store::{FoundCopy, Placed, WalOptions, WalStore};
use rig::{Home, Process, TestLog, until};

const DATABASE: &str = "witness.redb";

fn shell(script: &str, home: &Home) {
    let mut command = Command::new("sh");
    command.args(["-euc", script]).current_dir(&home.dir);
    let status = command.status().unwrap();
    assert!(status.success(), "{script}");
}

/// Short files of the log, since they are copied all the time.
fn new_home() -> Home {
    let home = Home::new();
    configure(&home, "\n[commit]\nlog_bytes = 262144\n");
    home
}

fn configure(home: &Home, text: &str) {
    let mut config = fs::read_to_string(home.config()).unwrap();
    config.push_str(text);
    fs::write(home.config(), config).unwrap();
}

/// A witness that cosigned size 5 and was stopped and copied to `old` then, and 9 and was stopped.
struct Two {
    home: Home,
    log: TestLog,
    fork: TestLog,
}

impl Two {
    fn new(config: &str) -> Self {
        let mut log = TestLog::new("example.com/log");
        log.grow(20);
        let fork = log.fork(5);
        let home = new_home();
        home.add_log(&log);
        configure(&home, config);
        let two = Self { home, log, fork };
        two.cosign(0, 5);
        shell("cp -a w old", &two.home);
        two.cosign(5, 9);
        two
    }

    /// A witness that cosigned size 5, was copied to `old` then, cosigned 9 and was killed.
    fn of_one_run() -> Self {
        let mut log = TestLog::new("example.com/log");
        log.grow(20);
        let fork = log.fork(5);
        let home = new_home();
        home.add_log(&log);
        let two = Self { home, log, fork };
        let mut process = two.home.serve();
        let add = |old, new| assert_eq!(process.add(&two.log.request(old, new)).status, 200);
        add(0, 5);
        shell("cp -a w old", &two.home);
        for size in 5..9 {
            add(size, size + 1);
        }
        process.kill();
        two
    }

    fn cosign(&self, old: u64, new: u64) {
        let process = self.home.serve();
        let answer = process.add(&self.log.request(old, new));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(process.terminate().success());
    }

    /// Nothing is signed, for either branch, and everybody is told why.
    fn held(&self, why: &str) -> Process {
        let process = self.home.serve();
        for body in [
            self.log.request(5, 9),
            self.fork.request(5, 6),
            self.log.request(9, 10),
            self.log.request(5, 5),
        ] {
            let answer = process.add(&body);
            assert_eq!(answer.status, 503, "{why}: {}", answer.text());
            assert!(answer.text().contains(why), "{why}: {}", answer.text());
            assert!(answer.header("retry-after").is_some());
        }
        let health = process.get("/health");
        assert_eq!(health.status, 503);
        assert!(health.text().contains(why), "{}", health.text());
        let metrics = process.get("/metrics");
        assert!(metrics.text().contains("\njurat_witness_state_held 1\n"));
        let page = process.get("/");
        assert!(page.text().contains("held, until the operator decides"));
        let shown = self.home.logs(&["show", "example.com/log"]);
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.contains("\nheld ") && shown.contains(why), "{shown}");
        process
    }

    /// No process serves it.
    fn refused(&self, code: i32, why: &str) {
        let output = rig::run(&["serve", "--config", &self.home.config()]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(why), "{text}");
    }

    fn names(&self) -> Vec<String> {
        let files = fs::read_dir(self.home.dir.path().join("w")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".reached-")).collect()
    }
}

fn resolve(home: &Home) -> std::process::Output {
    home.logs(&["resolve", "--all-moved", "--dismiss", "--reason", "a test"])
}

const OLDER: &str = "the name beside it says that it had reached";
const MOVED: &str = "its file was copied, restored or moved: it is inode";
const LOG_MOVED: &str = "a file of its log was copied, restored or moved: it is inode";
const NAME_MOVED: &str = "the name beside it was copied, restored or moved: it is inode";
const GONE: &str = "there was a name beside it that says how far it went, and there is none";

#[test]
fn a_folder_that_is_put_back_by_whatever_means_signs_nothing() {
    for (how, why) in [
        ("cp -a old/. w/", OLDER),
        ("cp old/* w/", OLDER),
        ("rm -r w; cp -a old w", MOVED),
        ("tar cf t -C old .; rm -r w; mkdir w; tar xf t -C w", MOVED),
        (
            "for f in old/*; do cp -a $f w/tmp; mv w/tmp w/$(basename $f); done",
            OLDER,
        ),
        ("mv w newer; mv old w", MOVED),
        ("tar cf t -C old .; tar xf t -C w", OLDER),
        ("tar cf t -C old .; tar xf t -C w --overwrite", OLDER),
        ("rsync -ac old/ w/", OLDER),
        ("rsync -ac --inplace old/ w/", OLDER),
        ("rsync -ac --delete old/ w/", MOVED),
        ("rsync -ac --delete --inplace old/ w/", NAME_MOVED),
        ("rm w/*.reached-*; cp -a old/. w/", NAME_MOVED),
        (
            "rm w/*.reached-*; cp -a old/witness.redb old/*.wal-* w/",
            GONE,
        ),
    ] {
        let two = Two::new("");
        shell(how, &two.home);
        let process = two.held(why);
        assert!(process.terminate().success());
        // Nor after another start.
        drop(two.held(why));
    }
}

/// A copy of the run that was killed later: the database's file has not changed since, and the copy
/// has the very name, or one that only this run moved on.
// Spec: WIT-106
#[test]
fn a_copy_of_the_same_run_that_is_put_back_after_a_crash_signs_nothing() {
    for (how, why) in [
        ("rsync -ac --delete old/ w/", LOG_MOVED),
        ("rsync -ac --delete old/ w/", NAME_MOVED),
        ("rsync -ac --delete --inplace old/ w/", NAME_MOVED),
        ("rsync -ac --inplace old/ w/", OLDER),
        ("rsync -ac old/ w/", OLDER),
        ("cp -a old/. w/", OLDER),
        ("rm w/*.reached-*; cp -a old/. w/", NAME_MOVED),
        ("rm w/*.reached-*; cp -a old/*.wal-* w/", GONE),
        ("rm -r w; cp -a old w", MOVED),
    ] {
        let two = Two::of_one_run();
        shell(how, &two.home);
        let process = two.held(why);
        assert!(process.terminate().success());
        drop(two.held(why));
    }
}

/// When the power went, the name may say what it said before: then it is the log's files that tell.
// Spec: WIT-106
#[test]
fn a_log_that_was_exchanged_is_seen_though_the_name_is_right() {
    let two = Two::of_one_run();
    let script = "mv w/*.reached-* w/$(basename old/*.reached-*); rsync -ac --delete old/ w/";
    shell(script, &two.home);
    let why = two.held(LOG_MOVED);
    assert!(!why.get("/health").text().contains(NAME_MOVED));
}

/// Ends of every kind, files of the log that are made anew, and what a crash leaves between a name
/// and its record.
// Spec: WIT-106, WIT-89
#[test]
fn no_ordinary_start_is_taken_for_a_copy() {
    let two = Two::new("");
    let mut size = 9;
    let mut step = |kill: bool| {
        let mut process = two.home.serve();
        let answer = process.add(&two.log.request(size, size + 1));
        assert_eq!(answer.status, 200, "{}", answer.text());
        size += 1;
        if kill {
            process.kill();
        } else {
            assert!(process.terminate().success());
        }
    };
    let config = fs::read_to_string(two.home.config()).unwrap();
    for (n, kill) in [true, true, false, false, true, false]
        .into_iter()
        .enumerate()
    {
        step(kill);
        // After an orderly end they are made anew, with other lengths.
        let length = 262_144 + 4_096 * n;
        let config = config.replace("262144", &length.to_string());
        fs::write(two.home.config(), config).unwrap();
    }
    // Nothing is needed of a log that was closed.
    shell("rm w/*.wal-*", &two.home);
    step(true);
    step(false);
    // Killed between the name and its record, as when a state of an earlier version is taken over.
    let store = state_of(&two.home);
    let placed = store.placed().unwrap().unwrap();
    assert!(placed.name.is_some());
    store
        .place(&Placed {
            name: None,
            ..placed
        })
        .unwrap();
    drop(store);
    shell(
        "mv w/*.reached-* aside; cp aside w/witness.redb.reached-0-1-1",
        &two.home,
    );
    step(true);
    step(false);
}

/// Whoever takes the name away while the witness runs puts files back under it.
// Spec: WIT-106, WIT-87
#[test]
fn a_name_that_is_taken_away_or_exchanged_ends_the_process_and_holds_the_next() {
    for (how, why) in [
        ("rm w/*.reached-*", GONE),
        (
            "for n in w/*.reached-*; do cp $n t; mv t $n; done",
            NAME_MOVED,
        ),
    ] {
        let two = Two::new("");
        let mut process = two.home.serve();
        shell(how, &two.home);
        until(|| process.child.try_wait().unwrap().is_some());
        assert_eq!(process.child.wait().unwrap().code(), Some(65));
        assert!(two.held(why).terminate().success());
        assert!(resolve(&two.home).status.success());
        two.cosign(9, 10);
        two.cosign(10, 11);
    }
}

#[test]
fn a_part_of_the_state_that_is_put_back_is_refused_or_held() {
    let two = Two::new("");
    // The store's file alone, beside the log that went on, over the file and in its place.
    for how in [
        "cp -a old/witness.redb w/",
        "rm w/witness.redb; cp -a old/witness.redb w/",
    ] {
        shell("rm -rf kept; cp -a w kept", &two.home);
        shell(how, &two.home);
        two.refused(65, "the store is an older copy");
        shell("cp -a kept/. w/", &two.home);
    }
    // The log alone is older than the store that was closed: nothing in it is needed.
    let two = Two::new("");
    shell("cp -a old/*.wal-* w/", &two.home);
    let process = two.home.serve();
    assert_eq!(process.add(&two.fork.request(5, 6)).status, 409);
    assert_eq!(process.add(&two.log.request(9, 10)).status, 200);
    assert!(process.terminate().success());
    // Without a log the older file of the store looks whole.
    shell("rm w/*.wal-*; cp -a old/witness.redb w/", &two.home);
    drop(two.held(OLDER));
    shell("rm w/witness.redb", &two.home);
    two.refused(64, "is not there");
}

/// After a crash what is newest is in the log.
#[test]
fn after_a_crash_an_older_log_is_held_and_none_is_refused() {
    let two = Two::new("");
    let mut process = two.home.serve();
    assert_eq!(process.add(&two.log.request(9, 10)).status, 200);
    process.kill();
    shell("rm -r old; cp -a w old", &two.home);
    let mut process = two.home.serve();
    assert_eq!(process.add(&two.log.request(10, 12)).status, 200);
    process.kill();
    shell("cp -a w newest", &two.home);
    shell("cp -a old/*.wal-* w/", &two.home);
    let process = two.home.serve();
    let answer = process.add(&two.log.request(10, 11));
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains(OLDER), "{}", answer.text());
    drop(process);
    for (how, why) in [
        ("rm w/witness.redb.wal-0", "witness.redb.wal-0"),
        ("rm w/witness.redb.wal-1", "witness.redb.wal-1"),
        ("rm w/*.wal-*", "witness.redb.wal-0"),
    ] {
        shell(&format!("cp -a newest/. w/; {how}"), &two.home);
        let output = rig::run(&["serve", "--config", &two.home.config()]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(65), "{text}");
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn a_folder_outside_shows_that_all_of_the_state_was_put_back() {
    let outside = "\n[restore_guard]\nmark_dir = \"../outside\"\n";
    let home_of = |two: &Two| two.home.dir.path().join("outside");
    let new = || {
        // The folder has to be there before the configuration names it.
        let mut log = TestLog::new("example.com/log");
        log.grow(20);
        let fork = log.fork(5);
        let home = new_home();
        home.add_log(&log);
        fs::create_dir(home.dir.path().join("outside")).unwrap();
        configure(&home, outside);
        let two = Two { home, log, fork };
        two.cosign(0, 5);
        shell("cp -a w old", &two.home);
        two.cosign(5, 9);
        two
    };
    let two = new();
    assert_eq!(fs::read_dir(home_of(&two)).unwrap().count(), 1);
    // With all names, so that nothing is left in the folder that is newer.
    shell("rm w/*.reached-*; cp -a old/. w/", &two.home);
    drop(two.held("the name in mark_dir says that it had reached"));
    let two = new();
    shell("rm outside/*", &two.home);
    drop(two.held("is it mounted?"));
    assert!(resolve(&two.home).status.success());
    two.cosign(9, 10);
    two.cosign(10, 11);
    // One that is not there is no folder that was always empty.
    fs::remove_dir_all(home_of(&two)).unwrap();
    two.refused(64, "restore_guard.mark_dir");
}

#[test]
fn a_machine_that_is_another_holds_until_the_operator_decides_for_all_logs_at_once() {
    let config =
        "\n[restore_guard]\nmachine_id_file = \"machine\"\n[gossip]\nkey = \"gossip.key\"\n";
    let two = Two::new(config);
    let early = resolve(&two.home);
    assert_eq!(early.status.code(), Some(64), "{early:?}");
    // What was not known is no other machine, and neither is what is not known any more.
    fs::write(
        two.home.path("machine"),
        "11112222333344445555666677778888\n",
    )
    .unwrap();
    two.cosign(9, 10);
    fs::write(two.home.path("machine"), "uninitialized\n").unwrap();
    two.cosign(10, 11);
    fs::write(
        two.home.path("machine"),
        "99992222333344445555666677778888\n",
    )
    .unwrap();
    let process = two.held("it is on another machine");
    // A page of what an older state remembers would convict us.
    let page = "/gossip/v0/heads?since=0";
    assert_eq!(process.get(page).status, 503);
    let list = two.home.logs(&["list", "--held"]);
    assert!(
        String::from_utf8(list.stdout)
            .unwrap()
            .starts_with("state    held since")
    );
    assert!(resolve(&two.home).status.success());
    until(|| process.add(&two.log.request(11, 12)).status == 200);
    assert_eq!(process.get("/health").status, 200);
    assert_eq!(process.get(page).status, 200);
    let list = two.home.logs(&["list", "--held"]);
    assert!(list.stdout.is_empty());
    assert!(process.terminate().success());
    two.cosign(12, 13);
    let journal = String::from_utf8(two.home.logs(&["journal"]).stdout).unwrap();
    for line in [
        "state held  (restore guard): it is on another",
        "state taken  (cli uid",
    ] {
        assert!(journal.contains(line), "{journal}");
    }
    assert!(journal.contains(": a test ("), "{journal}");
    assert!(two.home.logs(&["journal", "--check"]).status.success());
    assert_eq!(resolve(&two.home).status.code(), Some(64));
}

/// A decision is of one finding; and an older copy is not taken for a state that only moved.
#[test]
fn a_decision_decides_nothing_else_and_what_was_moved_can_be_reported_only() {
    let two = Two::new("\n[restore_guard]\nmoved = \"report\"\n");
    shell("mv w was; cp -a was w", &two.home);
    two.cosign(9, 10);
    shell("cp -a old/. w/", &two.home);
    let process = two.held(OLDER);
    assert!(resolve(&two.home).status.success());
    let decision = two.home.path("witness.redb.resolved");
    let taken = fs::read(&decision);
    until(|| process.add(&two.log.request(5, 11)).status == 200);
    assert!(process.terminate().success());
    // What it took is the newest now: what was there before is behind it, by all means.
    assert_eq!(two.names().len(), 1, "{:?}", two.names());
    shell("cp -a old/. w/", &two.home);
    if let Ok(taken) = taken {
        fs::write(&decision, taken).unwrap();
    }
    drop(two.held(OLDER));
}

/// kill -9 after each of the steps that make a name, a record or a decision: what was the newest is
/// not held, and what was not still is.
#[test]
fn whatever_step_is_the_last_before_a_crash_the_newest_state_is_served() {
    let two = Two::new("");
    let name = |home: &Home, name: &str| drop(File::create(home.path(name)).unwrap());
    // The state went on, and the name did not.
    let [now] = two.names().try_into().unwrap();
    fs::rename(
        two.home.path(&now),
        two.home.path("witness.redb.reached-0-1-1"),
    )
    .unwrap();
    two.cosign(9, 10);
    two.cosign(10, 11);
    // The new one is there, and so are others that say less.
    name(&two.home, "witness.redb.reached-0-1-1");
    name(&two.home, "witness.redb.reached-0-2-0");
    two.cosign(11, 12);
    assert_eq!(two.names().len(), 1);
    // It was found to be a copy, and the process died before it could tell the command.
    name(&two.home, "witness.redb.reached-0-900-0");
    let mut process = two.home.serve();
    assert_eq!(process.add(&two.log.request(12, 13)).status, 503);
    process.kill();
    fs::remove_file(two.home.path("witness.redb.held")).unwrap();
    // Nor does it help to take the name away: it is recorded.
    fs::remove_file(two.home.path("witness.redb.reached-0-900-0")).unwrap();
    let mut process = two.home.serve();
    assert_eq!(process.add(&two.log.request(12, 13)).status, 503);
    // Decided, and killed before the witness took it over.
    process.kill();
    assert!(resolve(&two.home).status.success());
    let decision = fs::read(two.home.path("witness.redb.resolved")).unwrap();
    let found = fs::read(two.home.path("witness.redb.held")).unwrap();
    two.cosign(12, 13);
    // Taken over, and killed before the names and the files say so.
    let [now] = two.names().try_into().unwrap();
    let before = two.home.path("witness.redb.reached-0-900-0");
    fs::rename(two.home.path(&now), before).unwrap();
    fs::write(two.home.path("witness.redb.resolved"), decision).unwrap();
    fs::write(two.home.path("witness.redb.held"), found).unwrap();
    two.cosign(13, 14);
    assert_eq!(two.names().len(), 1);
    assert!(two.names()[0].contains("reached-1-"), "{:?}", two.names());
    assert!(!two.home.path("witness.redb.held").exists());
}

fn state_of(home: &Home) -> WalStore {
    WalStore::open(home.path(DATABASE), WalOptions::default()).unwrap()
}

#[test]
fn a_state_from_before_there_were_records_is_taken_with_a_warning_and_guarded_from_then_on() {
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    let fork = log.fork(5);
    let home = new_home();
    home.add_log(&log);
    let said = |home: &Home| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jurat-witness"));
        let lines = home.path("stderr");
        command.stderr(File::create(&lines).unwrap());
        let process = Process::spawn(command, Path::new(&home.config()));
        assert!(process.terminate().success());
        fs::read_to_string(lines).unwrap()
    };
    let warning = "has no record of where it is";
    let new = new_home();
    assert!(!said(&new).contains(warning), "it is new");
    // What an earlier version left.
    for _ in 0..2 {
        state_of(&home).close().unwrap();
    }
    shell("cp -a w old", &home);
    assert!(said(&home).contains(warning));
    assert!(!said(&home).contains(warning));
    let two = Two { home, log, fork };
    two.cosign(0, 5);
    two.cosign(5, 9);
    let store = state_of(&two.home);
    let placed = store.placed().unwrap().unwrap();
    assert_eq!((placed.epoch, placed.copy), (0, None::<FoundCopy>));
    drop(store);
    shell("rm w/*.wal-*; cp -a old/witness.redb w/", &two.home);
    let process = two.home.serve();
    let answer = process.add(&two.log.request(0, 5));
    assert_eq!(answer.status, 503);
    let why = "it has no record of where it is, and a name says";
    assert!(answer.text().contains(why), "{}", answer.text());
}

/// Only our own newest checkpoint says that nothing was forgotten: a log that shows what we
/// remember, and may want us to forget the rest, does not.
#[test]
fn a_copy_signs_for_a_log_of_which_we_published_just_what_it_remembers() {
    let (mut log, mut other) = (
        TestLog::new("example.com/log"),
        TestLog::new("example.com/o"),
    );
    log.grow(20);
    other.grow(20);
    let home = new_home();
    home.add_log(&log);
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 200);
    let ours = process.get(&log.checkpoint_path()).body;
    assert!(process.terminate().success());
    let server = rig::files(vec![
        (log.checkpoint_path(), ours),
        ("/checkpoint".to_owned(), other.checkpoint(5).to_bytes()),
    ]);
    let (vkey, url) = (
        other.vkey().to_string(),
        format!("http://{server}/checkpoint"),
    );
    assert!(home.logs(&["add", &vkey, "--url", &url]).status.success());
    configure(
        &home,
        &format!("\n[restore_guard]\nown = [\"http://{server}\"]\n"),
    );
    let process = home.serve();
    assert_eq!(process.add(&other.request(0, 5)).status, 200);
    assert!(process.terminate().success());
    shell("mv w was; cp -a was w", &home);
    let process = home.serve();
    let answer = process.add(&other.request(5, 6));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains(MOVED), "{}", answer.text());
    let answer = process.add(&log.request(5, 6));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// What was found before says nothing of a copy of that state: neither does what was decided.
#[test]
fn an_older_copy_of_a_state_that_was_held_is_seen_and_no_decision_of_before_is_of_it() {
    let mut two = Two::new("");
    let mut fork = two.log.fork(9);
    fork.grow(20);
    two.fork = fork;
    shell("mv w was; cp -a was w", &two.home);
    drop(two.held(MOVED));
    shell("rm -r old; cp -a w old", &two.home);
    assert!(resolve(&two.home).status.success());
    shell("rm -rf pending; cp -a w pending", &two.home);
    two.cosign(9, 10);
    two.cosign(10, 12);
    shell("cp -a w newest", &two.home);
    for copy in ["old", "pending"] {
        shell(&format!("cp -a {copy}/witness.redb* w/"), &two.home);
        let process = two.home.serve();
        let answer = process.add(&two.fork.request(9, 12));
        assert_eq!(answer.status, 503, "{copy}: {}", answer.text());
        assert!(answer.text().contains(OLDER), "{copy}: {}", answer.text());
        drop(process);
        shell("rm w/witness.redb*; cp -a newest/. w/", &two.home);
    }
}

/// A clock that was wrong when the copy was found makes no decision of before one of now.
#[test]
fn what_was_dismissed_before_a_copy_was_found_frees_nothing_whatever_the_clock_said() {
    let mut two = Two::new("");
    let mut fork = two.log.fork(5);
    fork.grow(20);
    two.fork = fork;
    let text = fs::read_to_string(two.home.path("logs.toml")).unwrap();
    // As if the clock of the machine began in 1970 when the copy is found.
    let dismissed =
        "\n[[log.dismissed]]\nevidence = \"ahead-00\"\nreason = \"an outage\"\nat = 4000000000\n";
    fs::write(two.home.path("logs.toml"), text + dismissed).unwrap();
    shell("cp -a old/witness.redb* w/", &two.home);
    let process = two.home.serve();
    let answer = process.add(&two.fork.request(5, 9));
    assert_eq!(answer.status, 503, "{}", answer.text());
}
