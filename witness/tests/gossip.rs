//! Three witnesses as real processes, over real sockets, and a log that forks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod rig;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use jurat_daemon::clock::{Clock as _, SystemClock};
use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::checkpoint::{ExtensionLine, SignedCheckpoint};
use jurat_proto::cosignature::{cosign, sign_note};
use jurat_proto::evidence::{EVIDENCE_BYTES_MAX, Evidence, KnownKeys, Standing};
use jurat_proto::gossip::{
    Call, Claim, Feed, Fetch, Notes, Opening, SignedClaim, SignedStatement, Statement, Wanted,
};
use jurat_proto::hash::sha256;
use jurat_proto::hex;
use jurat_proto::key::{KeyName, Signer as _, UnixSeconds, VerifierKey};
use jurat_proto::note::SignatureLine;
use jurat_proto::proof::InclusionProof;
use jurat_proto::tlog_proof::TlogProof;
use jurat_proto::tree::{LeafIndex, NodeCoord, NodeReader as _, TreeSize};

use rig::{Answer, Home, Process, TestLog, files, run, serve_tiles, until};

/// An address that is known before the witness behind it runs; without one it answers nothing.
struct Door {
    address: SocketAddr,
    behind: Arc<Mutex<Option<SocketAddr>>>,
}

impl Door {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let behind = Arc::new(Mutex::new(None));
        let to = Arc::clone(&behind);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Some(to)) = (client, *to.lock().unwrap()) else {
                    continue;
                };
                let Ok(server) = TcpStream::connect(to) else {
                    continue;
                };
                let both = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || pump(client, server));
                thread::spawn(move || pump(both.1, both.0));
            }
        });
        Self { address, behind }
    }

    fn lead_to(&self, process: &Process) {
        *self.behind.lock().unwrap() = Some(process.address);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let closed: io::Result<()> = to.shutdown(Shutdown::Both);
    drop(closed);
}

/// Witnesses that know each other, none of which runs yet.
struct Circle {
    homes: Vec<Home>,
    doors: Vec<Door>,
}

impl Circle {
    fn of(names: &[&str], more: &str) -> Self {
        let homes: Vec<Home> = names.iter().map(|name| Home::named(name)).collect();
        let doors: Vec<Door> = names.iter().map(|_| Door::new()).collect();
        for (place, home) in homes.iter().enumerate() {
            let mut config = fs::read_to_string(home.config()).unwrap();
            let off = "#[gossip]\n#key = \"gossip.key\"\n";
            let on = off.replace('#', "");
            config = config.replace(off, &format!("{on}{more}"));
            for (other, (peer, door)) in homes.iter().zip(&doors).enumerate() {
                if other == place {
                    continue;
                }
                let keys: Vec<String> = peer.keys.iter().map(|key| format!("\"{key}\"")).collect();
                write!(
                    config,
                    "\n[[gossip.peer]]\nname = \"{}\"\nurl = \"http://{}\"\n\
                     gossip_keys = [\"{}\"]\nkeys = [{}]\n",
                    names[other],
                    door.address,
                    gossip_key(peer),
                    keys.join(", ")
                )
                .unwrap();
            }
            fs::write(home.config(), config).unwrap();
        }
        Self { homes, doors }
    }

    fn serve(&self) -> Vec<Process> {
        let each = self.homes.iter().zip(&self.doors);
        let serve = |(home, door): (&Home, &Door)| {
            let process = home.serve();
            door.lead_to(&process);
            process
        };
        each.map(serve).collect()
    }
}

fn gossip_key(home: &Home) -> VerifierKey {
    let key = SigningKey::load(home.path("gossip.key")).unwrap();
    key.verifier_key().clone()
}

/// Rounds of a drill.
const QUICK: &str = "round_ms = 100\ngrace_rounds = 1\nslow_every_ms = 0\n";
const NAMES: [&str; 3] = ["w1.example", "w2.example", "w3.example"];

// Spec: GSP-70, GSP-71, GSP-72, GSP-73, WIT-128
#[test]
fn a_fork_that_no_witness_saw_alone_is_proven_kept_and_refused_by_all() {
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let mut other = log.fork(7);
    other.grow(40);
    let circle = Circle::of(&NAMES, QUICK);
    for home in &circle.homes {
        home.add_log(&log);
    }
    let processes = circle.serve();
    // Two see one branch and the third another: each is consistent.
    for (process, branch) in processes.iter().zip([&log, &log, &other]) {
        // The third may have heard of the first already.
        let status = process.add(&branch.request(0, 13)).status;
        assert!(matches!(status, 200 | 403), "{status}");
    }
    let evidence = Evidence::same_size(log.checkpoint(13), other.checkpoint(13)).unwrap();
    let id = hex::encode(evidence.id().as_bytes());
    let mut keys = KnownKeys::new();
    keys.add_log(log.origin.clone(), log.vkey().clone(), Standing::Current);
    for ((process, home), branch) in processes
        .iter()
        .zip(&circle.homes)
        .zip([&log, &log, &other])
    {
        until(|| process.add(&branch.request(13, 14)).status == 403);
        let answer = process.add(&branch.request(13, 14));
        assert!(answer.text().contains(&id), "{}", answer.text());
        let file = home.path("evidence").join(format!("{id}.tlog-fork"));
        // The refusal does not wait for the disk, and the disk is not far behind.
        until(|| file.exists());
        let file = fs::read(file).unwrap();
        let verdict = Evidence::parse(&file).unwrap().verify(&keys).unwrap();
        assert!(verdict.convicts_log());
        // Anybody can have it.
        let path = format!("/gossip/v0/evidence/{id}");
        until(|| process.get(&path).status == 200);
        let list = || process.get("/gossip/v0/evidence?since=0");
        until(|| list().text().contains(&id));
        let shown = Evidence::parse(&process.get(&path).body).unwrap();
        assert!(shown.verify(&keys).unwrap().convicts_log());
    }
}

// Spec: GSP-194, GSP-213
#[test]
fn a_witness_that_hears_nobody_cosigns_nothing_where_that_is_wanted_and_goes_on_by_itself() {
    const ALARM: &str = "alarm: more than half of the peers do not answer\n";
    const NOBODY: &str = "this witness has not heard from other witnesses for so long";
    let mut log = TestLog::new("example.com/log");
    log.grow(20);
    for hold in [true, false] {
        let word = if hold { "hold" } else { "sign" };
        let more = format!("{QUICK}peer_silence_ms = 2000\nisolated = \"{word}\"\n");
        let circle = Circle::of(&NAMES[..2], &more);
        for home in &circle.homes {
            home.add_log(&log);
        }
        let mut processes = circle.serve();
        let mut other = processes.pop().unwrap();
        let alone = processes.pop().unwrap();
        // The first round may have found nobody yet.
        until(|| alone.add(&log.request(0, 5)).status == 200);
        assert_eq!(alone.get("/health").status, 200);

        other.kill();
        until(|| alone.get("/health").text().contains(ALARM));
        let (health, metrics) = (alone.get("/health"), alone.get("/metrics"));
        let answer = alone.add(&log.request(5, 9));
        let wanted = if hold { 503 } else { 200 };
        assert_eq!((health.status, answer.status), (wanted, wanted), "{word}");
        assert_eq!(health.text().contains(NOBODY), hold, "{}", health.text());
        let healthy = format!("jurat_witness_healthy {}\n", u8::from(!hold));
        assert!(metrics.text().contains(&healthy), "{word}");
        if hold {
            assert!(answer.text().contains(NOBODY), "{}", answer.text());
            assert_eq!(answer.header("retry-after"), Some("60"));
            // Nothing of it is stored, and what was is served.
            let stored = alone.get(&log.checkpoint_path());
            let stored = SignedCheckpoint::parse(&stored.body).unwrap();
            assert_eq!(stored.head(), log.head(5));
        }

        // Nobody has to decide: one that is heard again is enough.
        let other = circle.homes[1].serve();
        circle.doors[1].lead_to(&other);
        until(|| !alone.get("/health").text().contains(ALARM));
        assert_eq!(alone.get("/health").status, 200, "{word}");
        let from = if hold { 5 } else { 9 };
        assert_eq!(alone.add(&log.request(from, 12)).status, 200, "{word}");
    }
}

// Spec: GSP-74, GSP-75, GSP-76
#[test]
fn what_a_witness_says_of_itself_is_signed_by_its_gossip_key() {
    let circle = Circle::of(&NAMES[..1], "");
    let home = &circle.homes[0];
    let mut log = TestLog::new("example.com/log");
    log.grow(13);
    home.add_log(&log);
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 13)).status, 200);
    let nonce = "00112233445566778899aabbccddeeff";
    let state = process.get(&format!("/gossip/v0/state?nonce={nonce}"));
    let signed = SignedStatement::parse(&state.body).unwrap();
    let Statement::State(state) = signed.statement() else {
        panic!("{signed:?}")
    };
    assert_eq!(state.nonce.unwrap().to_string(), nonce);
    let key = gossip_key(home);
    let line = &signed.signatures()[0];
    assert!(
        key.verify_note(signed.note().text(), line.signature())
            .is_ok()
    );
    for path in ["/gossip/v0/state?nonce=x", "/gossip/v0/heads?since=-1"] {
        assert_eq!(process.get(path).status, 400, "{path}");
    }
    assert_eq!(process.get("/gossip/v0/what").status, 404);
    assert_eq!(process.get("/gossip/v0/fetch").status, 405);
    let evidence = "/gossip/v0/evidence";
    assert_eq!(process.call("POST", evidence, b"rubbish").status, 422);
    // Spec: EVI-02, EVI-55
    for (bytes, status) in [(0, 422), (1, 413)] {
        let file = vec![b'x'; EVIDENCE_BYTES_MAX + bytes];
        assert_eq!(process.call("POST", evidence, &file).status, status);
    }
}

// Spec: GSP-133
#[test]
fn a_witness_that_nobody_can_ask_finds_forks_and_tells_its_peers_of_them() {
    let config = format!("{QUICK}suspect_after_ms = 0\npeer_silence_ms = 300\n");
    let circle = Circle::of(&NAMES, &config);
    let edit = |home: &Home, from: &str, to: &str| {
        let text = fs::read_to_string(home.config()).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(home.config(), text.replace(from, to)).unwrap();
    };
    let inside = &circle.homes[0];
    edit(inside, "round_ms", "outbound_only = true\nround_ms");
    let url = format!("url = \"http://{}\"\n", circle.doors[0].address);
    for home in &circle.homes[1..] {
        edit(home, &url, "");
    }
    let [mut log, mut second] = ["example.com/log", "example.com/second"].map(TestLog::new);
    let [other, hidden] = [&mut log, &mut second].map(|log| {
        log.grow(40);
        let mut other = log.fork(7);
        other.grow(40);
        other
    });
    for home in &circle.homes {
        home.add_log(&log);
        home.add_log(&second);
    }
    let processes: Vec<Process> = circle.homes.iter().map(Home::serve).collect();
    // The other branch is shown to it alone: at the same size, and with a larger tree whose log
    // opens it to nobody.
    assert_eq!(processes[0].add(&other.request(0, 13)).status, 200);
    assert_eq!(processes[0].add(&hidden.request(0, 30)).status, 200);
    for process in &processes[1..] {
        assert_eq!(process.add(&log.request(0, 13)).status, 200);
        assert_eq!(process.add(&second.request(0, 13)).status, 200);
    }
    // Nobody finds the first one, to whom no address leads.
    circle.doors[1].lead_to(&processes[1]);
    circle.doors[2].lead_to(&processes[2]);
    for process in &processes[1..] {
        until(|| process.add(&log.request(13, 14)).status == 403);
        until(|| process.add(&second.request(13, 13)).status == 503);
        let answer = process.add(&second.request(13, 13));
        assert!(answer.text().contains("at size 30"), "{}", answer.text());
        let health = process.get("/health");
        let silent = format!("{} does not answer", NAMES[0]);
        assert!(!health.text().contains(&silent), "{}", health.text());
    }
    assert_eq!(processes[0].add(&other.request(13, 14)).status, 403);
}

/// Evidence that a key cosigned both branches of a log.
fn both_cosigned(log: &TestLog, other: &TestLog, key: &SigningKey) -> Evidence {
    let cosigned = |of: &TestLog| {
        let note = of.checkpoint(13);
        let time = UnixSeconds::new(1_790_000_000).unwrap();
        let line = cosign(note.checkpoint(), time, key).unwrap();
        let lines = [note.signatures(), &[line]].concat();
        SignedCheckpoint::new(note.checkpoint().clone(), lines).unwrap()
    };
    Evidence::same_size(cosigned(log), cosigned(other)).unwrap()
}

// Spec: GSP-134, WIT-131
#[test]
fn what_a_former_key_is_convicted_of_stops_nothing_that_another_signs() {
    let circle = Circle::of(&NAMES[..1], QUICK);
    let home = &circle.homes[0];
    let name = KeyName::parse(NAMES[0]).unwrap();
    let former = SigningKey::generate(name, Algorithm::CosignatureV1).unwrap();
    let config = fs::read_to_string(home.config()).unwrap();
    let named = format!("former_keys = [\"{}\"]\n", former.verifier_key());
    fs::write(home.config(), named + &config).unwrap();
    let [mut log, mut second] = ["example.com/log", "example.com/second"].map(TestLog::new);
    log.grow(40);
    second.grow(40);
    let mut other = log.fork(7);
    other.grow(40);
    home.add_log(&log);
    home.add_log(&second);
    let evidence = both_cosigned(&log, &other, &former);
    let process = home.serve();
    let posted = process.call("POST", "/gossip/v0/evidence", &evidence.to_bytes());
    assert_eq!(posted.status, 201, "{}", posted.text());
    let works = |process: &Process, old, new| {
        let answer = process.add(&second.request(old, new));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(process.get("/health").status, 200);
        assert_eq!(process.get("/gossip/v0/state").status, 200);
    };
    works(&process, 0, 13);
    assert!(process.terminate().success());
    works(&home.serve(), 13, 14);
}

// Spec: GSP-117, GSP-143
#[test]
fn all_copies_of_a_contradiction_outlive_kill_9_and_are_mailed_after_it() {
    let circle = Circle::of(&NAMES, QUICK);
    let [us, other, absent] = [&circle.homes[0], &circle.homes[1], &circle.homes[2]];
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let mut branch = log.fork(7);
    branch.grow(40);
    for home in [us, other] {
        home.add_log(&log);
    }
    let of_log = Evidence::same_size(log.checkpoint(13), branch.checkpoint(13)).unwrap();
    // The third witness cosigned both trees, under texts that the log did not sign.
    let key = SigningKey::load(absent.path("ed25519.key")).unwrap();
    let variant = |of: &TestLog| {
        let mut checkpoint = of.checkpoint(13).checkpoint().clone();
        checkpoint.extensions = ExtensionLine::parse("variant").unwrap().into();
        let time = UnixSeconds::new(1_790_000_000).unwrap();
        let line = cosign(&checkpoint, time, &key).unwrap();
        SignedCheckpoint::new(checkpoint, vec![line]).unwrap()
    };
    let of_witness = Evidence::same_size(variant(&log), variant(&branch)).unwrap();
    assert_eq!(of_log.id(), of_witness.id());
    let mut process = us.serve();
    let post = |evidence: &Evidence| {
        let posted = process.call("POST", "/gossip/v0/evidence", &evidence.to_bytes());
        assert_eq!(posted.status, 201, "{}", posted.text());
    };
    post(&of_witness);
    // It is told when it is durable: from then on the process may die.
    post(&of_log);
    process.kill();
    let name = hex::encode(of_log.id().as_bytes());
    let kept = |home: &Home| {
        let read = |suffix: &str| {
            let path = home.path("evidence").join(format!("{name}{suffix}"));
            Evidence::parse(&fs::read(path).ok()?).ok()
        };
        [".tlog-fork", ".1.tlog-fork"].map(read)
    };
    let both = [Some(of_log.clone()), Some(of_witness.clone())];
    assert_eq!(kept(us), both);
    let listed = run(&[
        "evidence",
        "--config",
        &us.config(),
        "show",
        &name,
        "--copy",
        "1",
    ]);
    assert_eq!(listed.stdout, of_witness.to_bytes());
    // Who was not there meanwhile gets both.
    let processes = [us.serve(), other.serve()];
    for (door, process) in circle.doors.iter().zip(&processes) {
        door.lead_to(process);
    }
    until(|| kept(other) == both);
    for process in &processes {
        let shown = process.get(&format!("/gossip/v0/evidence/{name}"));
        assert_eq!(shown.body, of_log.to_bytes());
        assert_eq!(process.add(&log.request(0, 13)).status, 403);
    }
}

// Spec: GSP-47, GSP-135
#[test]
fn a_witness_that_is_convicted_signs_no_statement_and_makes_no_claim() {
    let circle = Circle::of(&NAMES[..2], QUICK);
    let home = &circle.homes[0];
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let mut other = log.fork(7);
    other.grow(40);
    home.add_log(&log);
    // Its peer says nothing, and remembers whether it was asked with a claim.
    let claims = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&claims);
    let asked = TcpListener::bind("127.0.0.1:0").unwrap();
    *circle.doors[1].behind.lock().unwrap() = Some(asked.local_addr().unwrap());
    thread::spawn(move || {
        for client in asked.incoming() {
            let (mut client, mut head, mut byte) = (client.unwrap(), Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|n| n == 1) {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            *seen.lock().unwrap() = Some(head.contains("\r\ngossip-claim: "));
        }
    });
    let process = home.serve();
    until(|| *claims.lock().unwrap() == Some(true));
    let own = SigningKey::load(home.path("ed25519.key")).unwrap();
    let evidence = both_cosigned(&log, &other, &own);
    let posted = process.call("POST", "/gossip/v0/evidence", &evidence.to_bytes());
    assert_eq!(posted.status, 201, "{}", posted.text());
    for path in ["state", "heads", "suspicions"] {
        assert_eq!(
            process.get(&format!("/gossip/v0/{path}")).status,
            503,
            "{path}"
        );
    }
    until(|| *claims.lock().unwrap() == Some(false));
    assert_eq!(process.get("/health").status, 503);
    let list = process.get("/gossip/v0/evidence?since=0");
    assert!(list.text().contains(" same-size "), "{}", list.text());
    assert_eq!(process.terminate().code(), Some(76));
}

// Spec: GSP-53, GSP-79
#[test]
fn what_enough_operators_hold_is_confirmed_for_people_and_programs() {
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let circle = Circle::of(&NAMES, QUICK);
    for home in &circle.homes {
        home.add_log(&log);
    }
    let processes = circle.serve();
    let path = format!("/gossip/v0/confirmed/{}", log.origin.hash_hex());
    assert_eq!(processes[0].get(&path).status, 404);
    for process in &processes {
        assert_eq!(process.add(&log.request(0, 13)).status, 200);
    }
    for process in &processes {
        until(|| process.get(&path).status == 200);
        let confirmed: serde_json::Value =
            serde_json::from_slice(&process.get(&path).body).unwrap();
        assert_eq!(confirmed["size"], 13);
        let root = log.head(13).root_hash.to_base64();
        assert_eq!(confirmed["root_hash"], root);
        assert!(process.get("/").text().contains("<td>13</td>"));
        let about = process.get("/witness.v0.json");
        assert!(about.text().contains("\"gossip_key\":"), "{}", about.text());
    }
}

// Spec: GSP-39, GSP-40, GSP-42, GSP-46, GSP-60, GSP-78
#[test]
fn a_head_that_nobody_can_join_holds_its_log_until_somebody_does() {
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    // Larger trees than what anybody has a proof to: a branch that was hidden, or a fork.
    let config = format!("{QUICK}suspect_after_ms = 0\n");
    let circle = Circle::of(&NAMES[..2], &config);
    for home in &circle.homes {
        home.add_log(&log);
    }
    let mut processes = circle.serve();
    assert_eq!(processes[0].add(&log.request(0, 13)).status, 200);
    assert_eq!(processes[1].add(&log.request(0, 30)).status, 200);
    let held = |process: &Process, size: &str| {
        let answer = process.add(&log.request(13, 13));
        let named = answer.text().contains(size);
        answer.status == 503 && named
    };
    until(|| held(&processes[0], "at size 30"));
    let record = format!("gossip/{}.heads", log.origin.hash_hex());
    let record = circle.homes[0].path(&record);
    until(|| fs::read_to_string(&record).is_ok_and(|text| text.contains("open suspect")));
    // It is held again before the first request, whatever became of the process and of its peer.
    let mut first = processes.remove(0);
    first.kill();
    processes[0].kill();
    let process = circle.homes[0].serve();
    let answer = process.add(&log.request(13, 13));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("at size 30"), "{}", answer.text());
    let health = process.get("/health");
    assert!(health.text().contains("alarm: "), "{}", health.text());

    // Anybody lifts it who shows what the larger tree was.
    let opening = Opening::new(log.head(13), log.proof(13, 30), log.checkpoint(30)).unwrap();
    let request = log.request_with(13, opening.proof().clone(), log.checkpoint(30));
    until(|| process.add(&request).status == 200);
    assert_eq!(process.add(&log.request(30, 31)).status, 200);
}

/// The tile of a tree of so many leaves that begins with the first one.
fn first_tile(log: &TestLog, width: u64) -> Vec<u8> {
    let coords = (0..width).map(|index| NodeCoord { level: 0, index });
    let hashes = log.nodes(&coords.collect::<Vec<_>>()).unwrap();
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

// Spec: GSP-38, GSP-80, GSP-144, GSP-145
#[test]
fn a_fork_at_two_sizes_is_proven_from_the_tiles_of_the_larger_tree_wherever_they_are() {
    // As wide as the tree was; the full tile, when the partial one is gone; as wide as the tree is
    // there now; and each of them at a mirror, of a log that shows nothing itself.
    let layouts = ["exact", "full", "newest"];
    let (mut files, mut mirrored) = (BTreeMap::new(), BTreeMap::new());
    let mut logs = Vec::new();
    for mirror in [false, true] {
        for layout in layouts {
            let mut log = TestLog::new(&format!("example.com/{layout}/{mirror}"));
            log.grow(40);
            let mut other = log.fork(7);
            other.grow(300);
            let (tile, checkpoint) = match layout {
                "exact" => (("tile/0/000.p/30", 30), None),
                "full" => (("tile/0/000", 256), None),
                _ => (
                    ("tile/0/000.p/200", 200),
                    Some(other.checkpoint(200).to_bytes()),
                ),
            };
            let (map, prefix) = if mirror {
                (&mut mirrored, format!("/{}", log.origin.hash_hex()))
            } else {
                (&mut files, format!("/{layout}"))
            };
            map.insert(format!("{prefix}/{}", tile.0), first_tile(&other, tile.1));
            if let Some(checkpoint) = checkpoint {
                map.insert(format!("{prefix}/checkpoint"), checkpoint);
            }
            logs.push((log, other, (!mirror).then_some(layout)));
        }
    }
    let (address, mirror) = (serve_tiles(files), serve_tiles(mirrored));
    // A mirror that nobody answers at, one that has nothing, and one that has it.
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let empty = serve_tiles(BTreeMap::new());
    let mirrors = [nobody, empty, mirror].map(|at| format!("\"http://{at}\""));
    let more = format!(
        "{QUICK}mirrors = [{}]\npassive_per_second = 1\n",
        mirrors.join(", ")
    );
    let circle = Circle::of(&NAMES[..2], &more);
    for home in &circle.homes {
        for (log, _, layout) in &logs {
            let url = layout.map(|layout| format!("http://{address}/{layout}/checkpoint"));
            let url = url.as_ref().map(|url| ["--url", url]);
            let args = url.as_ref().map_or(&[][..], |url| &url[..]);
            let vkey = log.vkey().to_string();
            let added = home.logs(&[&["add", &vkey], args].concat());
            assert!(added.status.success(), "{added:?}");
        }
    }
    let processes = circle.serve();
    for (log, other, _) in &logs {
        // What the log itself shows may be seen before.
        let status = processes[0].add(&log.request(0, 13)).status;
        assert!(matches!(status, 200 | 403 | 503), "{status}");
        let status = processes[1].add(&other.request(0, 30)).status;
        assert!(matches!(status, 200 | 403 | 503), "{status}");
    }
    for (log, _, _) in &logs {
        for process in &processes {
            until(|| process.add(&log.request(13, 14)).status == 403);
        }
    }
    for process in &processes {
        until(|| {
            let list = process.get("/gossip/v0/evidence?since=0");
            list.text().matches(" opening ").count() >= logs.len()
        });
    }
}

/// A head that a log had cosigned and never published by itself, as one that collects cosignatures
/// first does when it goes on meanwhile: nowhere is there a tile as wide as that tree was.
// Spec: GSP-39, GSP-40, GSP-144, GSP-145
#[test]
fn scenario_13_a_head_that_was_published_only_as_part_of_a_larger_one_holds_nothing() {
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let place = format!("/{}", log.origin.hash_hex());
    let mirror = serve_tiles(BTreeMap::from([
        (format!("{place}/checkpoint"), log.checkpoint(40).to_bytes()),
        (format!("{place}/tile/0/000.p/40"), first_tile(&log, 40)),
    ]));
    let more = format!("{QUICK}mirrors = [\"http://{mirror}\"]\n");
    let circle = Circle::of(&NAMES[..1], &more);
    circle.homes[0].add_log(&log);
    let process = circle.homes[0].serve();
    assert_eq!(process.add(&log.request(0, 13)).status, 200);
    let observe = || {
        let note = log.checkpoint(30).to_bytes();
        process.call("POST", "/gossip/v0/observe", &note)
    };
    assert_eq!(observe().status, 202);
    until(|| observe().text() == "consistent\n");
    assert_eq!(process.get("/health").text(), "ok\n");
    assert_eq!(process.add(&log.request(13, 30)).status, 200);
}

/// A signature whose number is not below the order of the group: some verifiers take it.
fn not_canonical(signature: &[u8]) -> Vec<u8> {
    let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let order = hex::decode(order).unwrap();
    let (point, number) = signature.split_at(32);
    let (mut sum, mut carry) = (point.to_vec(), 0);
    for (one, other) in number.iter().zip(order) {
        carry += u16::from(*one) + u16::from(other);
        sum.push(u8::try_from(carry & 0xff).unwrap());
        carry >>= 8;
    }
    sum
}

// Spec: GSP-52, GSP-76, NOTE-16
#[test]
fn scenario_23_false_evidence_is_refused_over_http_and_convicts_nobody() {
    let circle = Circle::of(&NAMES[..1], QUICK);
    let home = &circle.homes[0];
    let [mut log, mut stranger] = ["example.com/log", "example.com/stranger"].map(TestLog::new);
    let fork = |log: &mut TestLog| {
        log.grow(40);
        let mut other = log.fork(7);
        other.grow(40);
        other
    };
    let (other, strange) = (fork(&mut log), fork(&mut stranger));
    home.add_log(&log);
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 13)).status, 200);
    let (one, two) = (log.checkpoint(13), other.checkpoint(13));
    let with = |note: &SignedCheckpoint, change: &dyn Fn(&[u8]) -> Vec<u8>| {
        let line = &note.signatures()[0];
        let signature = change(line.signature());
        let line = SignatureLine::new(line.name().clone(), line.key_id(), signature).unwrap();
        SignedCheckpoint::new(note.checkpoint().clone(), vec![line]).unwrap()
    };
    let good = Evidence::same_size(one.clone(), two.clone()).unwrap();
    let of = |one, two| Evidence::same_size(one, two).unwrap().to_bytes();
    let thief = stranger.checkpoint(13);
    let forged = with(&two, &|_| thief.signatures()[0].signature().to_vec());
    let mutated = with(&two, &|signature| {
        let mut other = signature.to_vec();
        other[40] ^= 1;
        other
    });
    let lax = with(&two, &not_canonical);
    let text = String::from_utf8(good.to_bytes()).unwrap();
    let moved = text.replacen("\n13\n", "\n14\n", 1);
    for (what, file, status) in [
        ("signed by somebody else", of(one.clone(), forged), 422),
        ("mutated", of(one.clone(), mutated), 422),
        ("not canonical", of(one, lax), 422),
        ("another size", moved.into_bytes(), 422),
        ("cut short", text.as_bytes()[..text.len() - 9].to_vec(), 422),
        (
            "another origin",
            of(stranger.checkpoint(13), strange.checkpoint(13)),
            404,
        ),
    ] {
        let posted = process.call("POST", "/gossip/v0/evidence", &file);
        assert_eq!(posted.status, status, "{what}: {}", posted.text());
    }
    assert_eq!(
        process.get("/gossip/v0/evidence?since=0").text(),
        "next 0\n"
    );
    assert!(!home.path("evidence").exists());
    assert_eq!(process.add(&log.request(13, 14)).status, 200);
    // The true one is taken.
    let posted = process.call("POST", "/gossip/v0/evidence", &good.to_bytes());
    assert_eq!(posted.status, 201, "{}", posted.text());
    assert_eq!(process.add(&log.request(14, 15)).status, 403);
}

/// The body of the next request to a webhook, which is answered so.
fn receive(hook: &TcpListener, answer: &str) -> Vec<u8> {
    let (mut client, _) = hook.accept().unwrap();
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap();
    let length = length.lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    client.read_exact(&mut body).unwrap();
    let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    client.write_all(answer.as_bytes()).unwrap();
    body
}

/// The JSON object in an alarm.
fn alarm_in(body: &[u8]) -> serde_json::Value {
    let text = str::from_utf8(body).unwrap();
    serde_json::from_str(text.lines().nth(1).unwrap()).unwrap()
}

// Spec: GSP-136, GSP-137
#[test]
fn an_alarm_outlives_the_process_that_could_not_deliver_it() {
    let hook = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = hook.local_addr().unwrap();
    let more = format!("{QUICK}alarm_webhook = \"http://{at}/\"\n");
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let mut other = log.fork(7);
    other.grow(40);
    let circle = Circle::of(&NAMES[..1], &more);
    let home = &circle.homes[0];
    home.add_log(&log);
    let mut further = TestLog::new("example.com/further");
    further.grow(40);
    let mut branch = further.fork(7);
    branch.grow(40);
    home.add_log(&further);
    let mut process = home.serve();
    assert_eq!(process.add(&log.request(0, 13)).status, 200);
    let body = other.request_with(13, log.proof(13, 13), other.checkpoint(13));
    assert_eq!(process.add(&body).status, 422);
    let told = receive(&hook, "503 Later");
    assert_eq!(alarm_in(&told)["alarm"], "proven");
    process.kill();
    // Not that what it tells of is found again: the alarm itself was kept.
    fs::remove_dir_all(home.path("evidence")).unwrap();
    let process = home.serve();
    // What the webhook does not want, for now, waits and keeps nothing else from being told.
    assert_eq!(receive(&hook, "400 No"), told);
    assert_eq!(process.add(&further.request(0, 13)).status, 200);
    let body = branch.request_with(13, further.proof(13, 13), branch.checkpoint(13));
    assert_eq!(process.add(&body).status, 422);
    // Either may be on its way, and each is told: what was refused is not in the way (GSP-193).
    let both = [(); 2].map(|()| receive(&hook, "200 OK"));
    assert!(both.contains(&told));
    let number = |body: &Vec<u8>| alarm_in(body)["number"].as_u64().unwrap();
    assert!(both.iter().any(|body| number(body) > number(&told)));
    until(|| {
        let metrics = process.get("/metrics");
        metrics.text().contains("jurat_witness_alarms_waiting 0\n")
    });
}

// Spec: GSP-77, GSP-146
#[test]
fn an_alarm_goes_to_a_program_and_to_a_url_under_the_gossip_key() {
    let hook = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = hook.local_addr().unwrap();
    let told = tempfile::tempdir().unwrap();
    let told = told.path().join("told");
    let more = format!(
        "{QUICK}alarm_exec = [\"sh\", \"-c\", \"mkdir {0}.first && exit 1; cat >> {0}\"]\n\
         alarm_webhook = \"http://{at}/\"\n",
        told.display()
    );
    fs::create_dir_all(told.parent().unwrap()).unwrap();
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let mut other = log.fork(7);
    other.grow(40);
    let circle = Circle::of(&NAMES[..1], &more);
    circle.homes[0].add_log(&log);
    let process = circle.homes[0].serve();
    assert_eq!(process.add(&log.request(0, 13)).status, 200);
    let body = other.request_with(13, log.proof(13, 13), other.checkpoint(13));
    assert_eq!(process.add(&body).status, 422);

    // The first time the webhook is out of order, and the program fails: both are tried again.
    assert_eq!(receive(&hook, "500 No"), receive(&hook, "200 OK"));
    until(|| fs::read_to_string(&told).is_ok_and(|text| text.ends_with('\n')));
    let text = fs::read_to_string(&told).unwrap();
    let alarm: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(alarm["alarm"], "proven");
    assert_eq!(alarm["raised"], true);
    assert_eq!(alarm["witness"], NAMES[0]);
    let metrics = process.get("/metrics");
    let line = "jurat_witness_alarms{alarm=\"proven\"} 1\n";
    assert!(metrics.text().contains(line), "{}", metrics.text());
}

// Spec: GSP-51, GSP-81, GSP-140
#[test]
fn a_witness_that_does_not_gossip_is_a_peer_all_the_same() {
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let mut other = log.fork(7);
    other.grow(40);
    // All that it serves is the monitoring endpoint of the protocol.
    let shown = other.checkpoint(13).to_bytes();
    let address = serve_tiles(BTreeMap::from([(log.checkpoint_path(), shown)]));
    let more = format!("{QUICK}passive = [\"http://{address}/\"]\npassive_per_second = 100\n");
    let circle = Circle::of(&NAMES[..1], &more);
    circle.homes[0].add_log(&log);
    let process = circle.homes[0].serve();
    // What the peer shows may be seen before this is answered.
    let first = process.add(&log.request(0, 13)).status;
    assert!(matches!(first, 200 | 403), "{first}");
    until(|| process.add(&log.request(13, 13)).status == 403);
    // Whoever saw something in the wild shows it, too.
    let mut second = TestLog::new("example.com/second");
    second.grow(40);
    let mut hidden = second.fork(7);
    hidden.grow(40);
    circle.homes[0].add_log(&second);
    until(|| process.add(&second.request(0, 13)).status == 200);
    let observe = |note: Vec<u8>| process.call("POST", "/gossip/v0/observe", &note);
    // It is told of what was cosigned without a wait.
    until(|| {
        let answer = observe(second.checkpoint(13).to_bytes());
        assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
        answer.status == 200 && answer.text() == "consistent\n"
    });
    // Of evidence it is told once that is durable.
    until(|| {
        let answer = observe(hidden.checkpoint(13).to_bytes());
        assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
        answer.text().starts_with("evidence ")
    });
    assert_eq!(process.add(&second.request(13, 13)).status, 403);
    // Who has a receipt need not take it apart.
    let mut third = TestLog::new("example.com/third");
    third.grow(40);
    let mut shown = third.fork(7);
    shown.grow(40);
    circle.homes[0].add_log(&third);
    until(|| process.add(&third.request(0, 13)).status == 200);
    let (path, size) = (Vec::new(), TreeSize::new(13).unwrap());
    let proof = InclusionProof::new(path).unwrap();
    let receipt = TlogProof::new(
        None,
        LeafIndex::new(3).unwrap(),
        proof,
        shown.checkpoint(size.get()),
    );
    let receipt = receipt.unwrap().to_bytes();
    until(|| observe(receipt.clone()).text().starts_with("evidence "));
    assert_eq!(observe(b"c2sp.org/tlog-proof@v1\n".to_vec()).status, 400);
    let stranger = TestLog::new("example.com/stranger");
    assert_eq!(observe(stranger.checkpoint(0).to_bytes()).status, 404);
}

/// A request to a witness, with the claim of a peer.
fn claim_of(from: &Home, to: &str, call: (&str, &str), body: &[u8], number: u64) -> Claim {
    Claim {
        name: gossip_key(from).name().clone(),
        to: KeyName::parse(to).unwrap(),
        call: Call::new(call.0, call.1).unwrap(),
        body: sha256(body),
        time: UnixSeconds::new(now()).unwrap(),
        number,
    }
}

fn signed(from: &Home, claim: Claim) -> String {
    let key = SigningKey::load(from.path("gossip.key")).unwrap();
    let line = sign_note(&claim.to_text(), &key).unwrap();
    SignedClaim::new(claim, line).unwrap().to_header()
}

fn now() -> u64 {
    SystemClock.now().seconds()
}

// Spec: GSP-90, GSP-91, GSP-92, GSP-191
#[test]
fn a_peer_is_served_from_its_own_budget_when_its_claim_counts() {
    let circle = Circle::of(&NAMES[..2], "");
    let [us, peer] = [&circle.homes[0], &circle.homes[1]];
    let process = us.serve();
    let mut client = process.client();
    let (path, body) = ("/gossip/v0/fetch", b"rubbish".as_slice());
    let post = ("POST", path);
    let mut send = |header: &str, body: &[u8]| {
        let fields = [("Gossip-Claim", header)];
        let answer = client.call_with("POST", path, &fields, body).unwrap();
        let word = answer.header("gossip-claim").unwrap().to_owned();
        (answer.status, word)
    };
    let good = signed(peer, claim_of(peer, NAMES[0], post, body, 1));
    assert_eq!(send(&good, body), (400, "counts".to_owned()));
    // The same again, or one from before it.
    assert_eq!(send(&good, body).1, "again");
    let before = signed(peer, claim_of(peer, NAMES[0], post, body, 0));
    assert_eq!(send(&before, body).1, "again");
    // Passed on from another witness, made for another call, body or time, by another key.
    let claim = |to, call, number| claim_of(peer, to, call, body, number);
    let other = signed(peer, claim(NAMES[2], post, 2));
    assert_eq!(send(&other, body).1, "other-recipient");
    let other = signed(peer, claim(NAMES[0], ("POST", "/gossip/v0/observe"), 2));
    assert_eq!(send(&other, body).1, "other-call");
    let time = UnixSeconds::new(now() - 200).unwrap();
    let late = Claim {
        time,
        ..claim(NAMES[0], post, 2)
    };
    assert_eq!(send(&signed(peer, late), body).1, "other-time");
    let forged = signed(us, claim(NAMES[0], post, 2));
    assert_eq!(send(&forged, body).1, "not-signed");
    let unknown = claim_of(us, NAMES[0], post, body, 2);
    assert_eq!(send(&signed(us, unknown), body).1, "unknown-peer");
    assert_eq!(send("AAAA", body).1, "malformed");
    let changed = signed(peer, claim(NAMES[0], post, 2));
    assert_eq!(send(&changed, b"other rubbish").1, "other-body");

    // Strangers use up what they have, and the peer is heard as before.
    let mut crowd = process.client();
    let stranger = || crowd.call("POST", path, b"x").unwrap().status == 429;
    assert!(
        std::iter::repeat_with(stranger)
            .take(2_000)
            .any(|full| full)
    );
    let next = signed(peer, claim(NAMES[0], post, 1_000));
    assert_eq!(send(&next, body), (400, "counts".to_owned()));

    // Spec: GSP-191. Nor does it count again after a start.
    process.terminate();
    let process = us.serve();
    let fields = [("Gossip-Claim", &*next)];
    let answer = process.client().call_with("POST", path, &fields, body);
    assert_eq!(answer.unwrap().header("gossip-claim"), Some("again"));
}

// Spec: GSP-93
#[test]
fn bodies_are_compressed_and_not_sent_again_to_who_has_them() {
    let circle = Circle::of(&NAMES[..1], "");
    let home = &circle.homes[0];
    let mut log = TestLog::new("example.com/log");
    log.grow(13);
    home.add_log(&log);
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 13)).status, 200);
    until(|| {
        !Feed::parse(&process.get("/gossip/v0/heads").body)
            .unwrap()
            .rows()
            .is_empty()
    });
    let mut client = process.client();
    let path = "/gossip/v0/heads?since=0";
    let first = client.call("GET", path, b"").unwrap();
    let etag = first.header("etag").unwrap().to_owned();
    assert_eq!(first.header("cache-control"), Some("public, max-age=5"));
    let again = [("If-None-Match", &*etag)];
    let again = client.call_with("GET", path, &again, b"").unwrap();
    assert_eq!((again.status, &*again.body), (304, &b""[..]));
    assert_eq!(again.header("etag"), Some(&*etag));

    // A note with an ML-DSA-44 line is some kilobytes.
    let feed = Feed::parse(&first.body).unwrap();
    let wanted = feed.rows().iter().map(Wanted::of).collect();
    let fetch = Fetch::new(feed.page().salt, wanted).unwrap().to_bytes();
    let path = "/gossip/v0/fetch";
    let plain = client.call("POST", path, &fetch).unwrap();
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(Notes::parse(&plain.body).unwrap().as_slice().len(), 1);
    let takes = [("Accept-Encoding", "gzip")];
    let packed = client.call_with("POST", path, &takes, &fetch).unwrap();
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.len() < plain.body.len());
    let mut body = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(&*packed.body);
    decoder.read_to_end(&mut body).unwrap();
    assert_eq!(body, plain.body);
}

// Spec: GSP-73, GSP-94
#[test]
fn nobody_is_told_pending_of_a_head_that_a_crash_would_forget() {
    let circle = Circle::of(&NAMES[..1], QUICK);
    let home = &circle.homes[0];
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    home.add_log(&log);
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 13)).status, 200);
    let observe = || {
        let note = log.checkpoint(30).to_bytes();
        process.call("POST", "/gossip/v0/observe", &note)
    };
    let health = |line: &str| process.get("/health").text().contains(line);
    // The disk takes no file of this name.
    let draft = home.path("gossip").join(log.origin.hash_hex() + ".new");
    fs::create_dir(&draft).unwrap();
    for _ in 0..2 {
        // The second time the node holds the head already: it is no more durable for that.
        let answer = observe();
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.text(), "not stored: the disk does not take it\n");
        assert!(answer.header("retry-after").is_some());
    }
    let told = "alarm: heads that others show are not durable\n";
    until(|| health(told));
    let metric = |raised: u8| {
        let line = format!("jurat_witness_alarms{{alarm=\"heads-not-stored\"}} {raised}\n");
        process.get("/metrics").text().contains(&line)
    };
    until(|| metric(1));
    fs::remove_dir(&draft).unwrap();
    let answer = observe();
    assert_eq!((answer.status, answer.text()), (202, "pending\n"));
    let record = home.path("gossip").join(log.origin.hash_hex() + ".heads");
    assert!(record.exists(), "it was told of");
    until(|| !health(told) && metric(0));
}

// Spec: GSP-41, GSP-42, GSP-54, GSP-78, GSP-95, WIT-133
#[test]
fn what_the_list_says_of_a_log_decides_what_holds_it() {
    let circle = Circle::of(&NAMES[..1], &format!("{QUICK}suspect_after_ms = 0\n"));
    let home = &circle.homes[0];
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    home.add_log(&log);
    let vkey = log.vkey().to_string();
    let say = |option: &[&str]| {
        let said = home.logs(&[&["add", &vkey], option].concat());
        assert!(said.status.success(), "{said:?}");
    };
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 13)).status, 200);
    // No tiles, and no peer to ask: nobody can join it, and that is enough.
    let note = log.checkpoint(30).to_bytes();
    let observed = process.call("POST", "/gossip/v0/observe", &note);
    assert_eq!((observed.status, observed.text()), (202, "pending\n"));
    let status = || process.add(&log.request(13, 13)).status;
    until(|| status() == 503);
    assert!(
        process
            .add(&log.request(13, 13))
            .text()
            .contains("at size 30")
    );
    say(&["--hold", "off"]);
    until(|| status() == 200);
    say(&["--hold", "on"]);
    until(|| status() == 503);
    say(&[
        "--hold",
        "default",
        "--pruned-below",
        "20",
        "--cadence",
        "1",
    ]);
    assert_eq!(status(), 503, "it is not below that size");
    let stalled = "alarm: example.com/log brings no checkpoint\n";
    until(|| process.get("/health").text().contains(stalled));

    let shown = home.logs(&["show", log.origin.as_str()]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    for line in ["cadence   a checkpoint each 1 s", "pruned    below size 20"] {
        assert!(shown.contains(line), "{shown}");
    }
    assert!(!shown.contains("\nhold "), "{shown}");
    say(&["--hold", "off", "--pruned-below", "0", "--cadence", "0"]);
    let list = fs::read_to_string(home.path("logs.toml")).unwrap();
    assert!(list.contains("suspect_holds = false\n"), "{list}");
    assert!(
        !list.contains("cadence_s") && !list.contains("pruned_below"),
        "{list}"
    );
    let journal = fs::read_to_string(home.path("journal.ndjson")).unwrap();
    assert!(
        journal.contains("\"cadence_s\":1,\"pruned_below\":20"),
        "{journal}"
    );
    until(|| status() == 200);
}

// Spec: GSP-96
#[test]
fn peers_come_and_go_while_the_witness_runs() {
    let circle = Circle::of(&NAMES[..3], "");
    let [us, one, other] = [&circle.homes[0], &circle.homes[1], &circle.homes[2]];
    let process = us.serve();
    let call = ("GET", "/gossip/v0/state");
    let mut number = 0;
    let mut standing = |peer: &Home| {
        number += 1;
        let header = signed(peer, claim_of(peer, NAMES[0], call, b"", number));
        let fields = [("Gossip-Claim", &*header)];
        let answer = process.client().call_with(call.0, call.1, &fields, b"");
        answer.unwrap().header("gossip-claim").unwrap().to_owned()
    };
    assert_eq!(
        (standing(one), standing(other)),
        ("counts".into(), "counts".into())
    );
    let config = fs::read_to_string(us.config()).unwrap();
    let place = config.rfind("\n[[gossip.peer]]").unwrap();
    // A file with something wrong in it changes nothing, and what is right in it neither.
    fs::write(us.config(), format!("{}\nnonsense = 1\n", &config[..place])).unwrap();
    process.signal("HUP");
    assert_eq!(standing(other), "counts");
    fs::write(us.config(), &config[..place]).unwrap();
    process.signal("HUP");
    until(|| standing(other) == "unknown-peer");
    assert_eq!(standing(one), "counts");
    // The other comes back, and one has another key.
    let was = gossip_key(one).to_string();
    fs::remove_file(one.path("gossip.key")).unwrap();
    let name = KeyName::parse(NAMES[1]).unwrap();
    let key = SigningKey::generate(name, Algorithm::Ed25519).unwrap();
    key.save_new(one.path("gossip.key")).unwrap();
    let rekeyed = config.replace(&was, &gossip_key(one).to_string());
    assert_eq!(standing(one), "not-signed");
    fs::write(us.config(), rekeyed).unwrap();
    process.signal("HUP");
    until(|| standing(one) == "counts");
    assert_eq!(standing(other), "counts");
}

// Spec: GSP-46, GSP-71, GSP-97
#[test]
fn a_start_forgets_no_hold_and_no_head_also_of_a_log_that_comes_back() {
    let circle = Circle::of(&NAMES[..1], &format!("{QUICK}suspect_after_ms = 0\n"));
    let home = &circle.homes[0];
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let mut other = log.fork(7);
    other.grow(40);
    let mut second = TestLog::new("example.com/second");
    second.grow(40);
    let mut branch = second.fork(7);
    branch.grow(40);
    home.add_log(&log);
    home.add_log(&second);
    let observe = |process: &Process, log: &TestLog, size| {
        process.call(
            "POST",
            "/gossip/v0/observe",
            &log.checkpoint(size).to_bytes(),
        )
    };
    let mut process = home.serve();
    assert_eq!(process.add(&log.request(0, 13)).status, 200);
    assert_eq!(process.add(&second.request(0, 13)).status, 200);
    assert_eq!(observe(&process, &other, 30).status, 202);
    until(|| process.add(&log.request(13, 13)).status == 503);
    let record = home.path("gossip").join(log.origin.hash_hex() + ".heads");
    until(|| fs::read_to_string(&record).is_ok_and(|text| text.contains("open suspect")));
    process.kill();
    // Somebody takes the log out of the list, and starts.
    let list = fs::read_to_string(home.path("logs.toml")).unwrap();
    let place = list
        .find("[[log]]\norigin = \"example.com/second\"")
        .unwrap();
    fs::write(home.path("logs.toml"), &list[place..]).unwrap();
    fs::remove_file(home.path("journal.ndjson")).unwrap();
    let process = home.serve();
    // What was cosigned before the start is known when somebody shows the other branch.
    let answer = observe(&process, &branch, 13);
    assert_ne!(answer.text(), "consistent\n", "{}", answer.status);
    until(|| process.add(&second.request(13, 13)).status == 403);
    let refused = process.add(&log.request(13, 13));
    let known = |answer: &Answer| answer.status != 404;
    assert!(!known(&refused), "{}", refused.text());
    home.add_log(&log);
    let mut first = refused;
    until(|| {
        first = process.add(&log.request(13, 13));
        known(&first)
    });
    assert_eq!(first.status, 503, "it is held from the moment it is listed");
    assert!(first.text().contains("at size 30"), "{}", first.text());
    assert!(record.exists());
}

// Spec: WIT-83, WIT-85, GSP-188
#[test]
fn what_an_operator_has_to_decide_is_written_down_also_of_a_log_that_gossip_holds() {
    let circle = Circle::of(&NAMES[..1], &format!("{QUICK}suspect_after_ms = 0\n"));
    let home = &circle.homes[0];
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let mut other = log.fork(7);
    other.grow(40);
    home.add_log(&log);
    // Its keys elsewhere: what they cosign there this state does not know.
    let elsewhere = Home::named(NAMES[0]);
    for file in ["ed25519.key", "ml-dsa-44.key"] {
        fs::copy(home.path(file), elsewhere.path(file)).unwrap();
    }
    elsewhere.add_log(&log);
    let process = elsewhere.serve();
    assert_eq!(process.add(&log.request(0, 20)).status, 200);
    let later = process.get(&log.checkpoint_path()).body;
    process.terminate();
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 13)).status, 200);
    let stray = other.checkpoint(30).to_bytes();
    let shown = process.call("POST", "/gossip/v0/observe", &stray);
    assert_eq!(shown.status, 202);
    let record = home.path("gossip").join(log.origin.hash_hex() + ".heads");
    until(|| fs::read_to_string(&record).is_ok_and(|text| text.contains("open suspect")));
    process.terminate();
    let address = files(vec![(log.checkpoint_path(), later)]);
    let mut config = fs::read_to_string(home.config()).unwrap();
    write!(config, "\n[restore_guard]\nown = [\"http://{address}\"]\n").unwrap();
    fs::write(home.config(), config).unwrap();
    let process = home.serve();
    let answer = process.add(&log.request(13, 13));
    assert_eq!(answer.status, 503, "{}", answer.text());
    let held = || home.logs(&["list", "--held"]).stdout;
    until(|| String::from_utf8_lossy(&held()).contains("example.com/log"));
    let answer = process.add(&log.request(13, 13));
    assert!(
        answer.text().contains("we cosigned size 20"),
        "{}",
        answer.text()
    );
    let journal = String::from_utf8(home.logs(&["journal"]).stdout).unwrap();
    assert!(journal.contains(" held "), "{journal}");
}

// Spec: GSP-98, WIT-134
#[test]
fn nothing_is_cosigned_before_the_time_of_a_page_of_an_earlier_process() {
    let circle = Circle::of(&NAMES[..1], "");
    let home = &circle.homes[0];
    let mut log = TestLog::new("example.com/log");
    log.grow(13);
    home.add_log(&log);
    let process = home.serve();
    assert_eq!(process.get("/gossip/v0/heads").status, 200);
    assert!(process.terminate().success());
    let paged = home.path("gossip/paged");
    let text = fs::read_to_string(&paged).unwrap();
    let time: u64 = text.trim_end().parse().unwrap();
    assert!((time - 10..time).contains(&now()), "{time}");
    // The clock was an hour ahead, and was set back.
    fs::write(&paged, format!("{}\n", time + 3_600)).unwrap();
    let process = home.serve();
    let answer = process.add(&log.request(0, 13));
    assert_eq!(answer.status, 503, "{}", answer.text());
    let said = "and its gossip said up to";
    assert!(answer.text().contains(said), "{}", answer.text());
    let health = process.get("/health");
    assert!(health.status == 503 && health.text().contains(said));
    assert!(process.terminate().success());
    fs::write(&paged, text).unwrap();
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 13)).status, 200);
}
