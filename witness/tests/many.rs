//! Many logs and many keys in one process: nothing of one is ever taken for another's, and the list
//! of logs is changed by several hands while all of them are served.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "tests"
)]

mod rig;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use jurat_proto::cosignature;
use jurat_proto::cosignature_lines::CosignatureLines;
use jurat_proto::key::{KeyName, Signer as _, UnixSeconds, VerifierKey};
use jurat_proto::note::SignatureLine;
use jurat_proto::proof::ConsistencyProof;
use rig::{Client, Home, NAME, TestLog, until, verified};

fn key(name: &str, algorithm: Algorithm) -> SigningKey {
    SigningKey::generate(KeyName::parse(name).unwrap(), algorithm).unwrap()
}

/// A tree under an origin of its own, signed by any keys: a log whose parts can be shared.
struct AnyLog<'a> {
    tree: &'a TestLog,
    origin: &'a str,
    keys: &'a [&'a SigningKey],
}

impl AnyLog<'_> {
    fn checkpoint(&self, size: u64) -> SignedCheckpoint {
        let checkpoint = Checkpoint {
            origin: Origin::parse(self.origin).unwrap(),
            head: self.tree.head(size),
            extensions: jurat_proto::checkpoint::ExtensionLines::new(),
        };
        let sign = |key: &&SigningKey| -> SignatureLine {
            let public = key.verifier_key();
            if [4, 6].contains(&public.signature_type().to_byte()) {
                let time = UnixSeconds::new(1_790_000_000).unwrap();
                return cosignature::cosign(&checkpoint, time, *key).unwrap();
            }
            let signature = key.sign(checkpoint.to_text().as_bytes()).unwrap();
            SignatureLine::new(public.name().clone(), public.key_id(), signature).unwrap()
        };
        let lines = self.keys.iter().map(sign).collect();
        SignedCheckpoint::new(checkpoint, lines).unwrap()
    }

    fn request(&self, old: u64, new: u64) -> Vec<u8> {
        let proof = self.tree.proof(old, new);
        self.tree.request_with(old, proof, self.checkpoint(new))
    }

    fn path(&self) -> String {
        let hash = Origin::parse(self.origin).unwrap().hash_hex();
        format!("/{hash}/checkpoint")
    }
}

fn add(home: &Home, key: &SigningKey, origin: &str) {
    let vkey = key.verifier_key().to_string();
    let output = home.logs(&["add", &vkey, "--origin", origin]);
    assert!(output.status.success(), "{output:?}");
}

// Spec: WIT-10, WIT-12, WIT-43
#[test]
fn logs_that_share_names_ids_and_keys_are_never_mixed_up() {
    let home = Home::new();
    let mut trees: Vec<TestLog> = (0..4).map(|n| TestLog::new(&format!("tree/{n}"))).collect();
    for tree in &mut trees {
        tree.grow(12);
    }
    let shared = key("example.com/shared", Algorithm::Ed25519);
    let same_name = key("example.com/shared", Algorithm::Ed25519);
    // One key for two origins; another key of that name for a third; two keys for a fourth.
    let by_shared = [&shared];
    let by_same_name = [&same_name];
    let by_both = [&shared, &same_name];
    let logs = [
        ("a", &by_shared[..]),
        ("a/b", &by_shared),
        ("b", &by_same_name),
        ("c", &by_both),
    ];
    let logs: Vec<AnyLog<'_>> = logs
        .iter()
        .zip(&trees)
        .map(|((origin, keys), tree)| AnyLog { tree, origin, keys })
        .collect();
    for log in &logs {
        for key in log.keys {
            add(&home, key, log.origin);
        }
    }
    let process = home.serve();
    for (n, log) in (1..).zip(&logs) {
        let answer = process.add(&log.request(0, n));
        assert_eq!(answer.status, 200, "{}: {}", log.origin, answer.text());
        verified(&answer.body, &log.checkpoint(n), &home.keys);
        let others: Vec<&AnyLog<'_>> = logs.iter().filter(|o| o.origin != log.origin).collect();
        for other in others {
            // The cosignature says for which log it is.
            let lines = CosignatureLines::parse(&answer.body).unwrap();
            let moved = AnyLog {
                origin: other.origin,
                ..*log
            };
            assert!(lines.verify(&moved.checkpoint(n), &home.keys).is_err());
        }
    }
    // A key of that name, which is not this log's, signs nothing for it.
    for (n, keys) in [(0, &by_same_name[..]), (1, &by_same_name), (2, &by_shared)] {
        let stranger = AnyLog { keys, ..logs[n] };
        let old = u64::try_from(n).unwrap() + 1;
        assert_eq!(process.add(&stranger.request(old, 9)).status, 403);
    }
    // Either of two keys is enough.
    for (old, new, keys) in [
        (4, 5, &by_shared[..]),
        (5, 6, &by_same_name),
        (6, 7, &by_both),
    ] {
        let log = AnyLog { keys, ..logs[3] };
        assert_eq!(process.add(&log.request(old, new)).status, 200);
    }
    let check = |process: &rig::Process| {
        for (log, size) in logs.iter().zip([1, 2, 3, 7]) {
            let served = SignedCheckpoint::parse(&process.get(&log.path()).body).unwrap();
            assert_eq!(served.origin().as_str(), log.origin);
            assert_eq!(served.head(), log.tree.head(size));
            let conflict = process.add(&log.request(11, 12));
            assert_eq!(conflict.text(), format!("{size}\n"));
        }
    };
    check(&process);
    drop(process);
    check(&home.serve());
}

// Spec: WIT-10, KEY-22
#[test]
fn keys_of_every_type_sign_for_logs_in_one_process() {
    let home = Home::new();
    let mut tree = TestLog::new("tree");
    tree.grow(6);
    let kinds = [
        ("ed25519", Algorithm::Ed25519, 1),
        ("p256", Algorithm::P256, 2),
        ("cosignature", Algorithm::CosignatureV1, 4),
        ("ml-dsa", Algorithm::MlDsa44, 6),
    ];
    let keys: Vec<SigningKey> = kinds
        .iter()
        .map(|(name, algorithm, byte)| {
            let key = key(&format!("example.com/{name}"), *algorithm);
            assert_eq!(key.verifier_key().signature_type().to_byte(), *byte);
            add(&home, &key, &format!("example.com/{name}"));
            key
        })
        .collect();
    let process = home.serve();
    for (n, (name, ..)) in kinds.iter().enumerate() {
        let origin = format!("example.com/{name}");
        let by = |key| AnyLog {
            tree: &tree,
            origin: &origin,
            keys: key,
        };
        let (own, others) = ([&keys[n]], [&keys[(n + 1) % keys.len()]]);
        assert_eq!(
            process.add(&by(&others).request(0, 3)).status,
            403,
            "{name}"
        );
        for (old, new) in [(0, 3), (3, 6), (6, 6)] {
            let answer = process.add(&by(&own).request(old, new));
            assert_eq!(answer.status, 200, "{name}: {}", answer.text());
            verified(&answer.body, &by(&own).checkpoint(new), &home.keys);
        }
        let served = SignedCheckpoint::parse(&process.get(&by(&own).path()).body).unwrap();
        assert_eq!(served.signatures().len(), 3, "the log's line and ours");
    }
}

/// Old and new keys sign side by side, then the new ones alone: what was cosigned stays, and none
/// of it is signed anew from nothing.
// Spec: WIT-46, WIT-57
#[test]
fn keys_are_replaced_by_an_overlap() {
    let home = Home::new();
    let mut log = TestLog::new("example.com/log");
    log.grow(9);
    home.add_log(&log);
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 3)).status, 200);
    assert!(process.terminate().success());

    let new = [
        key(NAME, Algorithm::CosignatureV1),
        key(NAME, Algorithm::MlDsa44),
    ];
    new[0].save_new(home.path("new-ed25519.key")).unwrap();
    new[1].save_new(home.path("new-ml-dsa.key")).unwrap();
    let new: Vec<VerifierKey> = new.iter().map(|key| key.verifier_key().clone()).collect();
    let config = fs::read_to_string(home.config()).unwrap();
    let keys = "\"ed25519.key\", \"ml-dsa-44.key\"";
    assert!(config.contains(keys), "{config}");
    let both = format!("{keys}, \"new-ed25519.key\", \"new-ml-dsa.key\"");
    fs::write(home.config(), config.replace(keys, &both)).unwrap();
    let process = home.serve();
    let answer = process.add(&log.request(3, 6));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let all = [&home.keys[..], &new].concat();
    verified(&answer.body, &log.checkpoint(6), &all);
    assert!(process.terminate().success());

    // Lines by keys that nobody vouches for are no reason to believe what is stored.
    let alone = config.replace(keys, "\"new-ed25519.key\", \"new-ml-dsa.key\"");
    fs::write(home.config(), &alone).unwrap();
    let process = home.serve();
    assert_eq!(process.add(&log.request(6, 9)).status, 500);
    assert!(process.terminate().success());
    let former: Vec<String> = home.keys.iter().map(|key| format!("\"{key}\"")).collect();
    let former = format!("former_keys = [{}]\n{alone}", former.join(", "));
    fs::write(home.config(), former).unwrap();
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 9)).text(), "6\n");
    let answer = process.add(&log.request(6, 9));
    verified(&answer.body, &log.checkpoint(9), &new);
}

/// Lines in the witness's own name, true ones and false ones, of each of its keys: they are as if
/// they were not there, in the answer, in what is stored and in what is served.
// Spec: WIT-10, WIT-56
#[test]
fn lines_in_the_witnesss_own_name_change_nothing() {
    let home = Home::new();
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    home.add_log(&log);
    let process = home.serve();
    let mut size = 0;
    let grown = |extra: &dyn Fn(&SignedCheckpoint) -> Vec<SignatureLine>, first: bool, old: u64| {
        let signed = log.checkpoint(old + 1);
        let mut lines = extra(&signed);
        let at = if first { lines.len() } else { 0 };
        lines.insert(at, signed.signatures()[0].clone());
        let crowded = SignedCheckpoint::new(signed.checkpoint().clone(), lines).unwrap();
        let answer = process.add(&log.request_with(old, log.proof(old, old + 1), crowded));
        assert_eq!(answer.status, 200, "{}", answer.text());
        verified(&answer.body, &signed, &home.keys);
        let served = process.get(&log.checkpoint_path());
        let served = SignedCheckpoint::parse(&served.body).unwrap();
        let ours = CosignatureLines::parse(&answer.body).unwrap();
        let wanted = [&signed.signatures()[..1], ours.lines()].concat();
        assert_eq!(served.signatures(), wanted);
        old + 1
    };
    let bytes = [72, 2428];
    for (ours, right) in home.keys.iter().zip(bytes) {
        let of = |signature: Vec<u8>| {
            SignatureLine::new(ours.name().clone(), ours.key_id(), signature).unwrap()
        };
        let garbage = |length: usize, byte: u8| of(vec![byte; length]);
        for first in [true, false] {
            // Of the right length, too short and too long; and sixteen of them.
            for length in [1, right - 1, right, right + 1] {
                size = grown(&|_| vec![garbage(length, 7)], first, size);
            }
            let many = |_: &SignedCheckpoint| (0..15).map(|n| garbage(right, n)).collect();
            size = grown(&many, first, size);
            // A true one, of the tree before; and one of this very tree is not to be had before it
            // is signed, but by a refresh.
            let before = process.get(&log.checkpoint_path());
            let before = SignedCheckpoint::parse(&before.body).unwrap();
            let true_lines = before.signatures()[1..].to_vec();
            size = grown(&|_| true_lines.clone(), first, size);
        }
    }
    let served = process.get(&log.checkpoint_path());
    let whole = SignedCheckpoint::parse(&served.body).unwrap();
    let none = ConsistencyProof::new(Vec::new()).unwrap();
    let answer = process.add(&log.request_with(size, none.clone(), whole.clone()));
    assert_eq!(answer.status, 200, "a refresh with all that was served");
    verified(&answer.body, &log.checkpoint(size), &home.keys);
    // Our line alone is nobody's signature as a log, not even if our key is a log's.
    let alone = SignedCheckpoint::new(whole.checkpoint().clone(), whole.signatures()[1..].to_vec());
    let alone = log.request_with(size, none, alone.unwrap());
    assert_eq!(process.add(&alone).status, 403);
    for ours in &home.keys {
        let vkey = ours.to_string();
        let added = home.logs(&["add", &vkey, "--origin", "example.com/log"]);
        assert!(added.status.success());
    }
    process.signal("HUP");
    // What was read anew is seen at another log, which was added last.
    let marker = TestLog::new("example.com/marker");
    home.add_log(&marker);
    until(|| process.add(&marker.request(0, 0)).status == 200);
    assert_eq!(process.add(&alone).status, 403);
    assert_eq!(names_of(&process.get(&log.checkpoint_path()).body), 3);
}

fn names_of(note: &[u8]) -> usize {
    SignedCheckpoint::parse(note).unwrap().signatures().len()
}

/// A log that is disabled and enabled again goes on from where it was, whatever is asked meanwhile;
/// adding it again does not enable it, and says so.
#[test]
fn a_log_that_comes_back_never_starts_from_nothing() {
    let home = Home::new();
    let mut log = TestLog::new("example.com/log");
    log.grow(9);
    home.add_log(&log);
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 200);
    let reason = ["disable", "example.com/log", "--reason", "it forked"];
    assert!(home.logs(&reason).status.success());
    process.signal("HUP");
    until(|| process.add(&log.request(0, 5)).status == 404);
    let vkey = log.vkey().to_string();
    let again = home.logs(&["add", &vkey]);
    let said = String::from_utf8(again.stdout).unwrap();
    assert_eq!(
        said,
        "example.com/log: it was so already, and is disabled; enable it to have it cosigned\n"
    );
    assert_eq!(process.add(&log.request(5, 6)).status, 404);
    drop(process);
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 404);
    assert!(home.logs(&["enable", "example.com/log"]).status.success());
    process.signal("HUP");
    until(|| process.add(&log.request(0, 6)).status == 409);
    assert_eq!(process.add(&log.request(0, 6)).text(), "5\n");
    assert_eq!(process.add(&log.request(5, 6)).status, 200);
}

/// Four hands change the list in a loop, each its own logs and all of them one; and a log that
/// nobody touches is served all the while.
// Spec: WIT-69, WIT-70, STO-15
#[test]
fn many_hands_change_the_list_while_it_is_served() {
    const HANDS: usize = 4;
    const EACH: usize = 4;
    let home = Arc::new(Home::new());
    let mut steady = TestLog::new("example.com/steady");
    steady.grow(50_000);
    home.add_log(&steady);
    let shared = TestLog::new("example.com/shared");
    home.add_log(&shared);
    let process = home.serve();
    let (stop, address) = (Arc::new(AtomicBool::new(false)), process.address);
    let load = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            let mut client = Client::connect(address);
            let mut size = 0;
            while !stop.load(Ordering::SeqCst) {
                let body = steady.request(size, size + 1);
                let answer = client.call("POST", "/add-checkpoint", &body).unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text());
                size += 1;
            }
            size
        })
    };
    let hands: Vec<_> = (0..HANDS)
        .map(|hand| {
            let home = Arc::clone(&home);
            thread::spawn(move || {
                let done = |args: &[&str]| {
                    let output = home.logs(args);
                    assert!(output.status.success(), "{args:?}: {output:?}");
                };
                for n in 0..EACH {
                    let name = format!("example.com/{hand}/{n}");
                    let vkey = key(&name, Algorithm::Ed25519).verifier_key().to_string();
                    done(&["add", &vkey]);
                    let more = key("example.com/shared", Algorithm::Ed25519);
                    done(&["add", &more.verifier_key().to_string()]);
                    done(&["disable", &name]);
                    done(&["list"]);
                    done(&[
                        "show",
                        "example.com/shared",
                        "--at",
                        &format!("http://{address}"),
                    ]);
                    if n % 2 == 0 {
                        done(&["enable", &name]);
                    }
                }
            })
        })
        .collect();
    for hand in hands {
        hand.join().unwrap();
    }
    process.signal("HUP");
    stop.store(true, Ordering::SeqCst);
    assert!(load.join().unwrap() > 0);
    let listed = String::from_utf8(home.logs(&["list", "--json"]).stdout).unwrap();
    let listed: Vec<serde_json::Value> = listed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(listed.len(), 2 + HANDS * EACH, "no log was lost");
    for log in &listed {
        let origin = log["origin"].as_str().unwrap();
        let keys = log["keys"].as_array().unwrap().len();
        if origin == "example.com/shared" {
            assert_eq!(keys, 1 + HANDS * EACH, "no key was lost");
        } else {
            let last: usize = origin.rsplit('/').next().unwrap().parse().unwrap_or(0);
            let state = if last.is_multiple_of(2) {
                "active"
            } else {
                "disabled"
            };
            assert_eq!(log["state"], state, "{origin}");
        }
    }
    let checked = home.logs(&["journal", "--check"]);
    let checked = String::from_utf8(checked.stdout).unwrap();
    // Two logs at first; then for each: added, a key of the shared one, disabled, half of them
    // enabled.
    let lines = 2 + HANDS * EACH * 3 + HANDS * EACH / 2;
    assert!(
        checked.ends_with(&format!("{lines} lines, whole\n")),
        "{checked}"
    );
    until(|| {
        let metrics = process.get("/metrics");
        let active = format!("jurat_witness_logs_active {}\n", 2 + HANDS * EACH / 2);
        metrics.text().contains(&active)
    });
}
