//! The commands, run as an operator runs them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod rig;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use jurat_proto::hash::sha256;
use jurat_proto::key::{SignatureType, VerifierKey};
use jurat_proto::policy::Policy;
use jurat_proto::{base64, hex};

use rig::{Home, NAME, Process, TestLog, run};

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn init_makes_a_witness_once_and_prints_what_others_need() {
    // Spec: WIT-47
    let home = Home::new();
    let types: Vec<_> = home.keys.iter().map(VerifierKey::signature_type).collect();
    assert_eq!(
        types,
        [SignatureType::CosignatureV1, SignatureType::MlDsa44]
    );
    for file in ["ed25519.key", "ml-dsa-44.key", "gossip.key", "bastion.key"] {
        let mode = fs::metadata(home.path(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let again = run(&["init", home.path("").to_str().unwrap(), "--name", NAME]);
    assert_eq!(code(&again), 64);
    assert!(
        stderr(&again).contains("ed25519.key exists already"),
        "{}",
        stderr(&again)
    );

    // Any one of the files is reason enough, and then none is made.
    for file in ["witness.toml", "logs.toml", "witness.redb", "ml-dsa-44.key"] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(file), "mine").unwrap();
        let output = run(&["init", dir.path().to_str().unwrap(), "--name", NAME]);
        assert_eq!(code(&output), 64, "{file}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{file}");
        assert_eq!(fs::read(dir.path().join(file)).unwrap(), b"mine");
    }
    let bad_name = run(&["init", "/nonexistent/x", "--name", "two words"]);
    assert_eq!(code(&bad_name), 64);
}

// Spec: WIT-88
#[test]
fn init_says_whom_the_restore_guard_asks_or_that_it_asks_nobody() {
    for published in [&[][..], &["https://a.example/w", "https://b.example/w"]] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        let mut args = vec!["init", path.to_str().unwrap(), "--name", NAME];
        args.extend(published.iter().flat_map(|url| ["--published", url]));
        let output = run(&args);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.contains("nobody is asked yet"), published.is_empty());
        let config = fs::read_to_string(path.join("witness.toml")).unwrap();
        let own = "[restore_guard]\nown = [\"https://a.example/w\", \"https://b.example/w\"]\n";
        assert_eq!(config.contains(own), !published.is_empty(), "{config}");
        let config = path.join("witness.toml");
        let checked = run(&["check-config", config.to_str().unwrap()]);
        assert_eq!(code(&checked), 0, "{}", stderr(&checked));
    }
}

#[test]
fn the_policy_lines_that_init_prints_are_a_policy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w");
    let output = run(&[
        "init",
        path.to_str().unwrap(),
        "--name",
        NAME,
        "--url",
        "https://w.example.com",
    ]);
    let text = String::from_utf8(output.stdout).unwrap();
    let from = text.find("# This witness").unwrap();
    let to = text.find("\nNext:").unwrap();
    let policy = format!("{}quorum {NAME}\n", &text[from..to]);
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    for signed in [[true, false], [false, true]] {
        assert!(policy.quorum_met(|witness| signed[witness]));
    }
    assert!(!policy.quorum_met(|_| false));
    // Spec: GSP-02, POL-33
    let [gossip] = policy.gossip() else {
        panic!("{policy:?}")
    };
    assert_eq!(gossip.key.signature_type(), SignatureType::Ed25519);
    assert_eq!(gossip.witnesses, [0, 1]);
}

#[test]
fn the_example_configuration_passes_its_own_check() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/witness.toml");
    let home = Home::new();
    fs::copy(example, home.config()).unwrap();
    let output = run(&["check-config", &home.config()]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    for key in &home.keys {
        assert!(text.contains(&key.to_string()), "{text}");
    }
}

#[test]
fn all_problems_of_a_configuration_are_told_at_once() {
    let home = Home::new();
    fs::set_permissions(home.path("ed25519.key"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(
        home.config(),
        format!(
            "name = \"other.example/w\"\nlisten = \"here\"\ndatabase = \"absent.redb\"\n\
         keys = [\"ed25519.key\", \"ml-dsa-44.key\", \"ml-dsa-44.key\"]\nlogs = \"absent.toml\"\n\
         former_keys = [\"nonsense\", \"{}\"]\n[restore_guard]\nwait_ms = 1\n\
         [commit]\nbatch_max = 0\nlog_bytes = 1\n[limits]\nbody_bytes_max = 10\n",
            TestLog::new("other.example/log").vkey()
        ),
    )
    .unwrap();
    for command in [
        &["check-config"][..],
        &["check-config", "--config"],
        &["serve", "--config"],
    ] {
        let output = run(&[command, &[home.config().as_str()]].concat());
        assert_eq!(code(&output), 64);
        let text = stderr(&output);
        for part in [
            "listen: ",
            "keys[0]: ",
            "chmod 600",
            "keys[1]: the key is named witness.example.com/w1",
            "keys[2]: the same key",
            "former_keys: other.example/log+",
            "restore_guard.wait_ms: 1",
            "database: ",
            "logs: ",
            "commit.batch_max: 0",
            "commit.log_bytes: 1",
            "limits.body_bytes_max: 10",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    fs::write(home.config(), "nonsense = 1\n").unwrap();
    assert_eq!(code(&run(&["check-config", &home.config()])), 64);
    assert_eq!(
        code(&run(&["check-config", "/nonexistent/witness.toml"])),
        64
    );
    assert_eq!(code(&run(&["serve"])), 64);
    assert_eq!(code(&run(&["check-config"])), 64);
    assert_eq!(code(&run(&["dance"])), 64);
}

#[test]
fn the_version_names_the_revision_of_the_protocol() {
    let output = run(&["--version"]);
    assert_eq!(code(&output), 0);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(jurat_witness::C2SP_REVISION), "{text}");
    assert_eq!(jurat_witness::C2SP_REVISION, "2026-07-22");
}

#[test]
fn a_second_process_on_the_same_database_is_refused() {
    let home = Home::new();
    let first = home.serve();
    let second = run(&["serve", "--config", &home.config()]);
    assert_eq!(code(&second), 69, "{}", stderr(&second));
    assert!(
        stderr(&second).contains("in use by another process"),
        "{}",
        stderr(&second)
    );
    assert!(
        first.terminate().success(),
        "and the first one ends in order"
    );
    let third = home.serve();
    assert!(third.terminate().success());
}

#[test]
fn a_missing_database_is_an_error_and_never_an_empty_one() {
    let home = Home::new();
    fs::remove_file(home.path("witness.redb")).unwrap();
    let output = run(&["serve", "--config", &home.config()]);
    assert_eq!(code(&output), 64);
    assert!(
        stderr(&output).contains("witness.redb is not there"),
        "{}",
        stderr(&output)
    );
    assert!(!home.path("witness.redb").exists());
}

#[test]
fn the_list_of_logs_is_changed_by_commands_that_say_what_they_did() {
    let home = Home::new();
    let log = TestLog::new("example.com/log");
    let other = TestLog::new("example.com/log");
    let say = |args: &[&str]| {
        let output = home.logs(args);
        (code(&output), String::from_utf8(output.stdout).unwrap())
    };
    let ok = |text: &str| (0, text.to_owned());
    let vkey = log.vkey().to_string();
    assert_eq!(say(&["add", &vkey]), ok("example.com/log: added\n"));
    assert_eq!(
        say(&["add", &vkey]),
        ok("example.com/log: it was so already\n")
    );
    assert_eq!(
        say(&["add", &other.vkey().to_string()]),
        ok("example.com/log: 1 more key\n")
    );
    assert_eq!(
        say(&["add", &vkey, "--origin", "go.sum database tree"]),
        ok("go.sum database tree: added\n")
    );
    assert_eq!(
        say(&["disable", "example.com/log"]),
        ok("example.com/log: changed\n")
    );
    let (_, list) = say(&["list"]);
    let wanted = [
        "disabled example.com/log",
        &format!("         {vkey}"),
        &format!("         {}", other.vkey()),
        "active   go.sum database tree",
        &format!("         {vkey}"),
    ];
    assert_eq!(list.lines().collect::<Vec<_>>(), wanted);
    assert_eq!(
        say(&["enable", "example.com/log"]),
        ok("example.com/log: changed\n")
    );
    for (args, want) in [
        (&["enable", "example.com/unknown"][..], 64),
        (&["add", "not-a-vkey"], 64),
        (&["add", &vkey, "--origin", &"o".repeat(256)], 64),
    ] {
        assert_eq!(say(args).0, want, "{args:?}");
    }
}

#[test]
fn a_log_is_shown_with_all_that_is_known_of_it_served_or_not() {
    // Spec: WIT-69, WIT-70
    let home = Home::new();
    let mut log = TestLog::new("example.com/log");
    log.grow(3);
    let say = |args: &[&str]| {
        let output = home.logs(args);
        assert_eq!(code(&output), 0, "{args:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let fail = |args: &[&str]| {
        let output = home.logs(args);
        assert_eq!(code(&output), 64, "{args:?}");
        stderr(&output)
    };
    let vkey = log.vkey().to_string();
    let url = "https://log.example.com/checkpoint";
    let about = ["--qpd", "1440", "--contact", "ops", "--url", url];
    say(&[&["add", &vkey][..], &about].concat());
    let shown = say(&["show", "example.com/log"]);
    for line in [
        "state     active",
        &format!("key       {vkey}"),
        "quota     1440 requests a day",
        "contact   ops",
        &format!("url       {url}"),
        "cosigned  never",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    let process = home.serve();
    let answer = process.add(&log.request(0, 3));
    let time = rig::verified(&answer.body, &log.checkpoint(3), &home.keys);
    let cosigned = format!("cosigned  size 3 at {time}");
    let at = format!("http://{}", process.address);
    let shown = say(&["show", "example.com/log", "--at", &at]);
    assert!(shown.contains(&cosigned), "while it serves: {shown}");
    assert!(process.terminate().success());
    let shown = say(&["show", "example.com/log"]);
    assert!(shown.contains(&cosigned), "and after: {shown}");

    say(&["disable", "example.com/log", "--reason", "it forked"]);
    let listed = say(&["list", "--disabled", "--json"]);
    for part in [
        "\"state\":\"disabled\"",
        "\"reason\":\"it forked\"",
        "\"qpd\":1440",
    ] {
        assert!(listed.contains(part), "{part}: {listed}");
    }
    assert_eq!(say(&["list", "--active"]), "");
    assert_eq!(say(&["list", "--held"]), "");
    let journal = say(&["journal"]);
    let actions: Vec<_> = journal.lines().map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(actions, [Some("added"), Some("disabled")], "{journal}");
    assert!(journal.contains("(cli uid "), "{journal}");
    assert!(say(&["journal", "--check"]).ends_with("2 lines, whole\n"));
    let path = home.path("journal.ndjson");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("added", "addXd", 1)).unwrap();
    let broken = home.logs(&["journal", "--check"]);
    assert_eq!(code(&broken), 65);
    assert!(stderr(&broken).contains("line 2"), "{}", stderr(&broken));

    assert!(fail(&["show", "example.com/none"]).contains("no log has the origin"));
    assert!(fail(&["add", &vkey, "--qpd", "0"]).contains("qpd"));
    assert!(fail(&["add", &vkey, "--url", "ftp://x"]).contains("no https or http URL"));
    assert!(fail(&["add", &vkey, "--contact", "a\u{9b}b"]).contains("control characters"));
    assert!(fail(&["add", &vkey, "--origin", "a\u{9b}b"]).contains("control characters"));
    assert!(fail(&["pull"]).contains("names no list"));
}

#[test]
fn a_list_is_pulled_by_hand_and_by_the_witness_itself() {
    // Spec: LST-11, LST-12, LST-13
    let home = Home::new();
    let mut listed = TestLog::new("example.com/listed");
    let mut later = TestLog::new("example.com/later");
    listed.grow(2);
    later.grow(2);
    let entry = |log: &TestLog| format!("vkey {}\nqpd 1440\ncontact ops\n\n", log.vkey());
    let list = home.path("list.1");
    fs::write(&list, format!("logs/v0\n{}vkey x\n", entry(&listed))).unwrap();
    let list = list.to_str().unwrap();
    let pulled = home.logs(&["pull", "--dry-run", list]);
    let told = String::from_utf8(pulled.stdout).unwrap();
    assert!(told.starts_with("+ example.com/listed  1440"), "{told}");
    assert!(told.contains("? line 6: not a vkey"), "{told}");
    assert!(
        told.ends_with("1 would be added, 0 known, 1 odd\n"),
        "{told}"
    );
    assert!(home.logs(&["list"]).stdout.is_empty(), "nothing changed");

    // From the configuration, at the start and on SIGHUP.
    let config = fs::read_to_string(home.config()).unwrap();
    fs::write(
        home.config(),
        format!("{config}\n[lists]\nsources = [\"list.1\"]\n"),
    )
    .unwrap();
    let process = home.serve();
    rig::until(|| process.add(&listed.request(0, 2)).status == 200);
    let metrics = process.get("/metrics");
    assert!(
        metrics.text().contains("kind=\"key\"} 1"),
        "{}",
        metrics.text()
    );
    let text = ["logs/v0\n", &entry(&later)].concat();
    fs::write(list, text).unwrap();
    process.signal("HUP");
    rig::until(|| process.add(&later.request(0, 2)).status == 200);
    assert_eq!(
        process.add(&listed.request(2, 2)).status,
        200,
        "none is removed"
    );
    // What is no list changes nothing and is counted.
    fs::write(list, "<html>").unwrap();
    process.signal("HUP");
    rig::until(|| {
        let metrics = process.get("/metrics");
        metrics.text().contains("result=\"failed\"} 1")
    });
    assert_eq!(process.add(&later.request(2, 2)).status, 200);
    let bad = home.logs(&["pull", list]);
    assert_eq!(code(&bad), 69);
    assert!(stderr(&bad).contains("the first line is not logs/v0"));
}

/// Serves one answer: a head, and then the same bytes until the other side has had enough. How many
/// it took.
fn endless(head: &'static str, bytes: Vec<u8>) -> (String, std::thread::JoinHandle<u64>) {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/list", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut sent = 0;
        while stream.write_all(&bytes).is_ok() {
            sent += u64::try_from(bytes.len()).unwrap();
            assert!(sent < 1 << 30, "it never has enough");
        }
        sent
    });
    (url, served)
}

/// A list that says that it is huge is not begun; one that never ends is cut off at its bound.
/// While one is followed that answers nothing, the witness serves, and ends when it is told to.
// Spec: LST-11
#[test]
fn lists_without_an_end_are_cut_off() {
    let home = Home::new();
    let mut log = TestLog::new("example.com/log");
    log.grow(2);
    home.add_log(&log);
    let before = fs::read(home.path("logs.toml")).unwrap();
    let huge = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nlogs/v0\n";
    let open = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nlogs/v0\n";
    let comment = [&b"#"[..], &vec![b'x'; 65_534], b"\n"].concat();
    let most = u64::try_from(jurat_proto::log_list::LIST_BYTES_MAX).unwrap();
    for (head, most) in [(huge, 16 << 20), (open, most + (16 << 20))] {
        let (url, served) = endless(head, comment.clone());
        let pulled = home.logs(&["pull", &url]);
        assert_eq!(code(&pulled), 69, "{}", stderr(&pulled));
        let sent = served.join().unwrap();
        assert!(sent <= most, "{sent}");
    }
    assert_eq!(fs::read(home.path("logs.toml")).unwrap(), before);

    // Accepts by the system's queue alone, and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = fs::read_to_string(home.config()).unwrap();
    let at = silent.local_addr().unwrap();
    let config = format!("{config}\n[lists]\nsources = [\"http://{at}/list\"]\n");
    fs::write(home.config(), config).unwrap();
    let process = home.serve();
    let (_asked, _) = silent.accept().unwrap();
    assert_eq!(process.add(&log.request(0, 2)).status, 200);
    assert!(process.terminate().success());
}

/// All encodings of points whose order divides eight: y = 1, -1, 0 and the two y of order eight,
/// with both signs, and y = 0 and 1 written as p and p + 1. Anybody can sign for such a key.
fn keys_of_small_order() -> Vec<String> {
    let order_eight = [
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ];
    let mut points: Vec<[u8; 32]> = order_eight
        .map(|digits| hex::decode(digits).unwrap().try_into().unwrap())
        .into();
    for low in [0, 1] {
        let mut point = [0; 32];
        point[0] = low;
        points.push(point);
    }
    for low in [0xec, 0xed, 0xee] {
        let mut point = [0xff; 32];
        (point[0], point[31]) = (low, 0x7f);
        points.push(point);
    }
    let signs = points.iter().flat_map(|point| {
        let mut other = *point;
        other[31] ^= 0x80;
        [*point, other]
    });
    signs.map(|point| vkey_of(&point)).collect()
}

fn vkey_of(point: &[u8; 32]) -> String {
    let name = "example.com/weak";
    let key = [&[1], &point[..]].concat();
    let id = sha256(&[name.as_bytes(), b"\n", &key].concat());
    let id = hex::encode(&id.as_bytes()[..4]);
    format!("{name}+{id}+{}", base64::encode(&key))
}

// Spec: NOTE-16
#[test]
fn keys_for_which_anybody_can_sign_come_in_nowhere() {
    let home = Home::new();
    let log = TestLog::new("example.com/log");
    // The form itself is right.
    let right = vkey_of(log.vkey().public_key_bytes().try_into().unwrap());
    assert!(VerifierKey::parse(&right).is_ok(), "{right}");
    let weak = keys_of_small_order();
    assert_eq!(weak.len(), 14);
    for vkey in &weak {
        let added = home.logs(&["add", vkey]);
        assert_eq!(code(&added), 64, "{vkey}");
        let policy = format!("log {vkey}\nquorum none\n");
        assert!(Policy::parse(policy.as_bytes()).is_err(), "{vkey}");
        let policy = format!("witness w {vkey}\nquorum w\n");
        assert!(Policy::parse(policy.as_bytes()).is_err(), "{vkey}");
    }
    // In a list they spoil nothing else.
    let mut list = String::from("logs/v0\n");
    for vkey in weak.iter().chain([&log.vkey().to_string()]) {
        list += &["vkey ", vkey, "\nqpd 24\ncontact c\n"].concat();
    }
    let path = home.path("list");
    fs::write(&path, list).unwrap();
    let pulled = home.logs(&["pull", path.to_str().unwrap()]);
    let told = String::from_utf8(pulled.stdout).unwrap();
    assert!(told.ends_with("1 added, 0 known, 14 odd\n"), "{told}");
    // By hand: a start is refused, and a witness that runs goes on with the list that it has.
    let process = home.serve();
    let good = fs::read_to_string(home.path("logs.toml")).unwrap();
    for vkey in [&weak[0], &weak[5], &weak[13]] {
        let entry = format!(
            "[[log]]\norigin = \"example.com/weak\"\nkeys = [\"{vkey}\"]\nstate = \"active\"\n"
        );
        fs::write(home.path("logs.toml"), format!("{good}{entry}")).unwrap();
        let checked = run(&["check-config", &home.config()]);
        assert_eq!(code(&checked), 64);
        assert!(stderr(&checked).contains("key 1"), "{}", stderr(&checked));
        process.signal("HUP");
        assert_eq!(process.add(&log.request(0, 0)).status, 200);
    }
}

#[test]
fn a_witness_with_ed25519_alone_signs_checkpoints_and_no_subtrees() {
    // Spec: WIT-46, WIT-47
    let home = Home::new();
    let config = fs::read_to_string(home.config()).unwrap();
    fs::write(home.config(), config.replace(", \"ml-dsa-44.key\"", "")).unwrap();
    let mut log = TestLog::new("example.com/log");
    log.grow(2);
    home.add_log(&log);
    let process: Process = home.serve();
    let answer = process.add(&log.request(0, 2));
    rig::verified(&answer.body, &log.checkpoint(2), &home.keys[..1]);
    let served = process.get(&log.checkpoint_path());
    let body = [
        format!("subtree 0 2\n{}\n\n", log.head(2).root_hash.to_base64()).into_bytes(),
        served.body,
    ]
    .concat();
    assert_eq!(process.call("POST", "/sign-subtree", &body).status, 404);
}

#[test]
fn what_an_old_copy_of_the_list_has_lost_is_not_taken_over_nor_served() {
    // Spec: WIT-74
    let home = Home::new();
    let mut log = TestLog::new("example.com/log");
    let mut other = TestLog::new("example.com/other");
    log.grow(3);
    other.grow(3);
    home.add_log(&log);
    let old = fs::read_to_string(home.path("logs.toml")).unwrap();
    assert!(home.logs(&["disable", "example.com/log"]).status.success());
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 3)).status, 404);

    // While it serves: all else is taken over.
    let entry = format!(
        "[[log]]\norigin = \"example.com/other\"\nkeys = [\"{}\"]\nstate = \"active\"\n",
        other.vkey()
    );
    fs::write(home.path("logs.toml"), old + &entry).unwrap();
    rig::until(|| process.add(&other.request(0, 3)).status == 200);
    assert_eq!(
        process.add(&log.request(0, 3)).status,
        404,
        "it stays disabled"
    );
    let metrics = process.get("/metrics");
    assert!(metrics.text().contains("log_list_errors_total 1\n"));
    assert!(process.terminate().success());

    // And at the start nothing is, until somebody says why.
    let refused = run(&["serve", "--config", &home.config()]);
    assert_eq!(code(&refused), 64, "{refused:?}");
    let told = stderr(&refused);
    assert!(
        told.contains("example.com/log is not disabled any more"),
        "{told}"
    );
    assert!(told.contains("logs accept --reason"), "{told}");
    let accepted = home.logs(&["accept", "--reason", "it is repaired"]);
    assert_eq!(
        String::from_utf8(accepted.stdout).unwrap(),
        "accepted: example.com/log is not disabled any more\n"
    );
    let again = home.logs(&["accept", "--reason", "again"]);
    assert_eq!(again.stdout, b"the list is as its journal says\n");
    assert!(home.logs(&["journal", "--check"]).status.success());
    let journal = fs::read_to_string(home.path("journal.ndjson")).unwrap();
    assert!(journal.contains("\"because\":\"it is repaired\""));

    // A log that is gone comes back.
    fs::write(home.path("logs.toml"), entry).unwrap();
    let refused = run(&["check-config", &home.config()]);
    assert!(stderr(&refused).contains("example.com/log is gone"));
    let accepted = home.logs(&["accept", "--reason", "mine was older"]);
    assert_eq!(accepted.stdout, b"example.com/log: back, and disabled\n");
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 3)).status, 404);
    assert_eq!(process.add(&other.request(3, 3)).status, 200);
}

/// A journal of more than a MiB. What was read of it is kept by the process that serves, by nobody
/// else, and the next start goes by it.
// Spec: WIT-76
#[test]
fn what_was_read_of_a_long_journal_is_kept_for_the_next_start() {
    let home = Home::new();
    let log = TestLog::new("example.com/log");
    home.add_log(&log);
    assert!(home.logs(&["disable", "example.com/log"]).status.success());
    let [journal, kept, list] = ["journal.ndjson", "journal.said", "list"].map(|f| home.path(f));
    let first = fs::read(&journal).unwrap().len();
    let entry = |n| format!("vkey {}\norigin o/{n}\nqpd 24\ncontact ops\n\n", log.vkey());
    let text: String = (0..3_000).map(entry).collect();
    fs::write(&list, format!("logs/v0\n{text}")).unwrap();
    let pulled = home.logs(&["pull", list.to_str().unwrap()]);
    assert!(pulled.status.success(), "{pulled:?}");
    assert!(fs::metadata(&journal).unwrap().len() > 1 << 20);
    let checked = run(&["check-config", "--config", &home.config()]);
    assert!(checked.status.success());
    assert!(!kept.exists());
    let process = home.serve();
    rig::until(|| kept.exists());
    assert!(process.terminate().success());

    // The beginning no longer says that the log was disabled; it is known all the same.
    let mut text = fs::read(&journal).unwrap();
    text[..first - 1].fill(b' ');
    fs::write(&journal, text).unwrap();
    let logs = fs::read_to_string(home.path("logs.toml")).unwrap();
    fs::write(
        home.path("logs.toml"),
        logs.replace("\"disabled\"", "\"active\""),
    )
    .unwrap();
    let refused = run(&["serve", "--config", &home.config()]);
    assert_eq!(code(&refused), 64, "{refused:?}");
    let told = stderr(&refused);
    assert!(
        told.contains("example.com/log is not disabled any more"),
        "{told}"
    );
    fs::remove_file(&kept).unwrap();
    home.serve();
}
