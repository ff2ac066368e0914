//! Evidence in the service's log: what is proven becomes an entry, once and for good, and the log
//! that it convicts is stopped and shown so, across kill -9, restarts and a registry that is
//! changed afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

mod network;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use jurat::evidence::{Docket, DocketError, Jury, Outcome, check_all};
use jurat::log::sequencer::WAITING_MAX;
use jurat::log::{Append, AppendError, Sequencer};
use jurat::submit::logs::Logs;
use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::checkpoint::{Checkpoint, ExtensionLine, SignedCheckpoint};
use jurat_proto::cosignature::cosign;
use jurat_proto::entry::{Convicts, Entry, EvidenceEntry};
use jurat_proto::evidence::{EVIDENCE_BYTES_MAX, Evidence, NotProven};
use jurat_proto::gossip::{Catalogue, CatalogueEntry};
use jurat_proto::hash::sha256;
use jurat_proto::hex;
use jurat_proto::key::{Signer as _, UnixSeconds, VerifierKey};
use jurat_proto::policy::Policy;
use jurat_proto::receipt::Receipt;
use jurat_proto::tree::LeafIndex;
use jurat_store::{HeadSwap, LogStore, MemoryStore, NewEntry, OriginHead};
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::sync::watch;

use crate::network::log::{key, line, sign};
use crate::network::process::done;
use crate::network::{
    Answer, Asked, Door, Home, Mode, Service, TestLog, WitnessHome, eventually, policy,
};

const FORKING: &str = "forking.example/log";
const OWN: &str = "own.example/log";
const TIME: u64 = 1_790_000_000;

/// A log, and another history of it that begins after three entries.
fn forking() -> (TestLog, TestLog) {
    let mut log = TestLog::new(FORKING);
    log.grow(40);
    let fork = log.fork(3, 40);
    (log, fork)
}

/// Two roots of one size.
fn fork_at(log: &TestLog, fork: &TestLog, size: u64) -> Evidence {
    Evidence::same_size(log.checkpoint(size), fork.checkpoint(size)).unwrap()
}

/// The same contradiction with one more line under each note.
fn and_by(evidence: &[&TestLog; 2], size: u64, key: &SigningKey) -> Evidence {
    let note = |log: &TestLog| {
        let checkpoint = log.unsigned(log.head(size));
        let time = UnixSeconds::new(TIME).unwrap();
        let line = cosign(&checkpoint, time, key).unwrap();
        let lines = vec![network::log::line(&checkpoint, &log.key), line];
        SignedCheckpoint::new(checkpoint, lines).unwrap()
    };
    Evidence::same_size(note(evidence[0]), note(evidence[1])).unwrap()
}

fn id(evidence: &Evidence) -> String {
    hex::encode(evidence.id().as_bytes())
}

fn bring(service: &Service, evidence: &Evidence) -> Answer {
    service.call("POST", "/evidence", &[], &evidence.to_bytes())
}

/// Everything that shows a log shows that it is convicted, by what, and where that stands.
fn shown_as_convicted(service: &Service, log: &TestLog, id: &str, index: u64) {
    let hash = log.origin.hash_hex();
    let due = |row: &Value| {
        assert_eq!(row["id"], id, "{row}");
        assert_eq!(row["index"], index, "{row}");
        assert_eq!(row["evidence"], format!("/evidence/{id}"), "{row}");
        assert_eq!(row["receipt"], format!("/receipt/{index}"), "{row}");
    };
    let logs = service.get("/logs").json()["logs"].clone();
    for row in logs.as_array().unwrap() {
        if row["origin"] == log.origin.as_str() {
            due(&row["convicted"]);
        } else {
            assert_eq!(row["convicted"], Value::Null);
        }
    }
    due(&service.get(&format!("/logs/{hash}")).json()["convicted"]);
    due(&service.get(&format!("/logs/{hash}/history")).json()["convicted"]);
    let latest = service.get(&format!("/logs/{hash}/checkpoint"));
    assert!(latest.header("link").unwrap().contains(id));
    let page = service.get("/");
    for text in [id, "convicted", &format!("/receipt/{index}")] {
        assert!(page.text().contains(text), "{text} is not on the page");
    }
    let health = service.health();
    assert_eq!(health["healthy"], true, "{health}");
    assert_eq!(health["evidence"]["logs_convicted"], 1, "{health}");
    due(&health["evidence"]["convicted"][0]);
    assert_eq!(service.metric("jurat_logs_convicted"), 1);
}

/// A service with a checkpoint of a log that forks and one of an honest log, and with evidence as
/// its third entry.
struct Convicted {
    home: Home,
    service: Service,
    log: TestLog,
    fork: TestLog,
    honest: TestLog,
    evidence: Evidence,
    id: String,
}

fn convicted() -> Convicted {
    let home = Home::new();
    let (log, fork) = forking();
    let mut honest = TestLog::new("honest.example/log");
    honest.grow(9);
    home.add_log(&log);
    home.add_log(&honest);
    let service = home.serve();
    service.anchored(&log.request(0, 5));
    service.anchored(&honest.request(0, 5));
    let evidence = fork_at(&log, &fork, 7);
    let id = id(&evidence);
    let answer = bring(&service, &evidence);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let place = format!("/evidence/{id}");
    assert_eq!(answer.header("location"), Some(&*place));
    let logged = answer.json();
    assert_eq!(
        (&logged["id"], &logged["index"]),
        (&id.as_str().into(), &2.into())
    );
    assert_eq!(logged["convicts"], "log");
    assert_eq!(logged["keys"], serde_json::json!([log.vkey().to_string()]));
    Convicted {
        home,
        service,
        log,
        fork,
        honest,
        evidence,
        id,
    }
}

// Spec: SVC-51, SVC-53, SVC-58
#[test]
fn posted_evidence_is_one_entry_and_verifies_from_the_log_alone() {
    let Convicted {
        home,
        service,
        log,
        fork,
        evidence,
        id,
        ..
    } = convicted();
    // Again, and with a line of somebody whom nobody knows: the same, at the same place.
    let stranger = key("stranger.example/w", Algorithm::CosignatureV1);
    for again in [&evidence, &and_by(&[&log, &fork], 7, &stranger)] {
        let answer = bring(&service, again);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["index"], 2);
    }
    assert_eq!(service.committed(), 3);
    shown_as_convicted(&service, &log, &id, 2);
    // The file and the receipt of its entry, each by itself.
    let file = home.root().join("fork.tlog-fork");
    let (path, url) = (file.to_str().unwrap(), url(&service));
    done(["evidence", "fetch", &id, "--url", &url, "-o", path]);
    done(["verify", path, "--log-key", &log.vkey().to_string()]);
    let fetched = Evidence::parse(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(fetched, evidence);
    let receipt = service.get("/receipt/2?wait=10");
    assert_eq!(receipt.status, 200);
    let entry = Entry::Evidence(EvidenceEntry::all_of(&evidence, Convicts::Log).remove(0));
    assert_eq!(*Receipt::parse(&receipt.body).unwrap().entry(), entry);
    home.verify(&receipt.body);
    let receipt_file = home.root().join("receipt");
    std::fs::write(&receipt_file, &receipt.body).unwrap();
    let policy = home.policy_file();
    let (receipt, policy) = (receipt_file.to_str().unwrap(), policy.to_str().unwrap());
    let said = done(["verify", receipt, "--policy", policy]);
    assert!(
        said.contains(&id) && said.contains("convicts log"),
        "{said}"
    );
    let said = done(["evidence", "submit", path, "--url", &url]);
    let known = format!(": known: evidence {id}, entry 2, convicts log\n");
    assert!(said.ends_with(&known), "{said}");
    let listed = done(["evidence", "list", "--url", &url]);
    let due = format!("{id} same-size {FORKING} entry 2 convicts log\n");
    assert_eq!(listed, due);
}

// Spec: SVC-52, SVC-55, SVC-58
#[test]
fn a_convicted_log_is_stopped_for_good_whatever_happens_then() {
    let Convicted {
        home,
        mut service,
        log,
        honest,
        evidence,
        id,
        ..
    } = convicted();
    // Nothing of it is taken any more, by either door, and nothing is cosigned.
    let requests = [
        ("/add-checkpoint", log.request(5, 8)),
        ("/anchor", log.request(5, 5)),
    ];
    for (door, request) in requests {
        let refused = service.call("POST", door, &[], &request);
        assert_eq!(refused.status, 403, "{}", refused.text());
        assert!(refused.text().contains(&id) && refused.text().contains("entry 2"));
    }
    assert_eq!(service.committed(), 3);
    service.anchored(&honest.request(5, 9));
    // What was said before stands.
    assert_eq!(service.get("/receipt/0").status, 200);
    // A power cut; and somebody calls the key that signed both retired.
    service.process.kill();
    let vkey = log.vkey().to_string();
    let only = home.command(&["logs", "retire", &vkey]);
    assert!(!only.status.success(), "a log has a key: {only:?}");
    let another = key(FORKING, Algorithm::Ed25519);
    home.add_key(&another.verifier_key().to_string(), FORKING);
    let retired = home.command(&["logs", "retire", &vkey]);
    assert!(retired.status.success(), "{retired:?}");
    let service = home.serve();
    service.until("a head with its quorum", |health| health["healthy"] == true);
    shown_as_convicted(&service, &log, &id, 2);
    assert_eq!(bring(&service, &evidence).json()["index"], 2);
    let by_the_new_key = sign(&log.unsigned(log.head(8)), &another);
    let request = network::log::body(5, log.proof(5, 8), by_the_new_key);
    assert_eq!(service.add(&request).status, 403);
    drop(service);
    assert_eq!(home.fsck(), 4);
}

fn url(service: &Service) -> String {
    format!("http://{}", service.address)
}

// Spec: SVC-51, SVC-53
#[test]
fn what_proves_nothing_is_refused_and_leaves_nothing() {
    let home = Home::new();
    let (log, fork) = forking();
    home.add_log(&log);
    let service = home.serve();
    let mut unknown = TestLog::new("unknown.example/log");
    unknown.grow(5);
    let of_unknown = fork_at(&unknown, &unknown.fork(2, 5), 5);
    let other_key = TestLog::with_key(FORKING, key(FORKING, Algorithm::Ed25519));
    let checkpoint = fork.unsigned(fork.head(7));
    let half = Evidence::same_size(log.checkpoint(7), sign(&checkpoint, &other_key.key)).unwrap();
    let good = fork_at(&log, &fork, 7).to_bytes();
    let mut consistent = log.checkpoint(7).to_bytes();
    consistent.push(b'\n');
    let cases = [
        ("an unknown log", of_unknown.to_bytes(), 404),
        ("one note by another key", half.to_bytes(), 422),
        ("nothing", Vec::new(), 422),
        ("no evidence", consistent, 422),
        ("half a file", good[..good.len() / 2].to_vec(), 422),
        ("too much", vec![b'\n'; EVIDENCE_BYTES_MAX + 1], 413),
    ];
    for (name, body, status) in cases {
        let answer = service.call("POST", "/evidence", &[], &body);
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert_eq!(answer.header("location"), None, "{name}");
    }
    assert_eq!(service.committed(), 0);
    assert_eq!(
        service.get("/evidence").json()["evidence"],
        serde_json::json!([])
    );
    let zeros = "0".repeat(64);
    assert_eq!(service.get(&format!("/evidence/{zeros}")).status, 404);
    assert_eq!(service.get("/evidence/x").status, 404);
    // Who brings more than is looked at is told when to come again.
    let mut client = service.client();
    let flood = (0..500).find_map(|_| {
        let answer = client.call("POST", "/evidence", &[], b"").unwrap();
        (answer.status == 429).then_some(answer)
    });
    assert!(flood.expect("a bound").header("retry-after").is_some());
}

// Spec: SVC-54
#[test]
fn a_log_that_shows_its_fork_to_the_service_convicts_itself() {
    let home = Home::new();
    let (log, fork) = forking();
    home.add_log(&log);
    let service = home.serve();
    service.anchored(&log.request(0, 5));
    // Honest mistakes convict nobody.
    assert_eq!(service.add(&log.request(3, 8)).status, 409);
    let mistaken = network::log::body(5, log.proof(4, 8), log.checkpoint(8));
    assert_eq!(service.add(&mistaken).status, 422);
    assert_eq!(service.committed(), 1);
    // From 5 entries the proof shows the other history's root.
    assert_eq!(service.add(&fork.request(5, 8)).status, 422);
    let evidence = service.get("/evidence").json()["evidence"].clone();
    assert_eq!(evidence[0]["kind"], "opening", "{evidence}");
    let (id, index) = (evidence[0]["id"].as_str().unwrap(), 1);
    assert_eq!(evidence[0]["index"], index);
    service.until("a head with its quorum", |health| health["healthy"] == true);
    shown_as_convicted(&service, &log, id, index);
    assert_eq!(service.add(&log.request(5, 8)).status, 403);
    // The other branch, and its signature alone, is answered alike.
    assert_eq!(service.add(&fork.request(5, 9)).status, 403);
    assert_eq!(service.committed(), 2);
}

/// A fork of the service's own log: its keys sign another tree.
fn own_fork(home: &Home) -> Evidence {
    let key = SigningKey::load(home.file("keys/log.ed25519.key")).unwrap();
    let mut log = TestLog::with_key(network::service::ORIGIN, key);
    log.grow(5);
    fork_at(&log, &log.fork(2, 5), 5)
}

// Spec: SVC-57
#[test]
fn a_service_whose_own_key_signed_two_histories_logs_it_and_ends() {
    let home = Home::new();
    let mut service = home.serve();
    let evidence = own_fork(&home);
    let answer = bring(&service, &evidence);
    assert_eq!(answer.status, 201, "{}", answer.text());
    // Whoever brought it was told; now it ends.
    let status = service.process.exit();
    assert!(!status.success());
    let (_, told) = home.refuses_to_serve();
    for text in [&*id(&evidence), "entry 0", "a key of this service"] {
        assert!(told.contains(text), "{told}");
    }
    assert_eq!(home.fsck(), 1);
}

// Spec: SVC-56
#[test]
fn what_witnesses_prove_ends_in_the_log_and_what_a_liar_lists_disturbs_nobody() {
    let home = Home::new();
    let (log, fork) = forking();
    home.add_log(&log);
    let mut keys = home.log_keys();
    keys.push(log.vkey().clone());
    let witness = WitnessHome::gossiping(home.root(), 1, &keys);
    // One that lists more than anybody reads, and has nothing of it.
    let asked = Arc::new(AtomicUsize::new(0));
    let liar = Door::open(Mode::Answer(lying(&asked)));
    home.configure(&format!(
        "[evidence]\npull_every_ms = 50\nfrom = [\"{}\"]",
        liar.url()
    ));
    let members = [witness.member()];
    home.write_policy(&policy(&home.log_keys(), &members, 1));
    let service = home.serve();
    service.anchored(&log.request(0, 5));
    // The log shows its witness one history, and then the other.
    assert_eq!(witness.add(&log.request(0, 6)).status, 200);
    assert_eq!(witness.add(&fork.request(6, 9)).status, 422);
    let row = eventually("the service has what its witness found", || {
        let row = service.get("/evidence").json()["evidence"][0].clone();
        row.is_object().then_some(row)
    });
    assert_eq!(
        (row["kind"].as_str(), row["convicts"].as_str()),
        (Some("opening"), Some("log"))
    );
    let index = row["index"].as_u64().unwrap();
    service.until("a head with its quorum", |health| {
        health["published_size"] == index + 1
    });
    shown_as_convicted(&service, &log, row["id"].as_str().unwrap(), index);
    eventually("the liar was asked again", || {
        (asked.load(Ordering::Relaxed) > 3).then_some(())
    });
    let pulled = service.health()["evidence"]["pulled"].clone();
    assert_eq!(
        (&pulled[0]["gossips"], &pulled[0]["error"]),
        (&true.into(), &Value::Null)
    );
    assert!(pulled[1]["error"].is_string(), "{pulled}");
    assert_eq!(
        service.get("/evidence").json()["evidence"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

/// A list of a hundred files, and for each of them an answer that breaks off.
fn lying(asked: &Arc<AtomicUsize>) -> network::door::Answerer {
    let asked = Arc::clone(asked);
    let entry = |number: u64| CatalogueEntry {
        number,
        id: sha256(&number.to_be_bytes()),
        kind: jurat_proto::evidence::Kind::SameSize,
        origin: None,
        file: sha256(b"file"),
        time: UnixSeconds::new(TIME).unwrap(),
    };
    let list = Catalogue::new(0, (1..=100).map(entry).collect())
        .unwrap()
        .to_bytes();
    Arc::new(move |request: &Asked| {
        if request.path.contains("?since=") {
            asked.fetch_add(1, Ordering::Relaxed);
            let mut answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", list.len()).into_bytes();
            answer.extend(&list);
            return answer;
        }
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec()
    })
}

/// A docket over a store in memory, with a registry of one log.
struct Desk {
    home: Home,
    store: Arc<dyn LogStore>,
    sequencer: Sequencer,
    policy: Policy,
}

impl Desk {
    fn new(log: &TestLog, witness: &VerifierKey) -> Self {
        let home = Home::new();
        home.add_log(log);
        let store: Arc<dyn LogStore> = Arc::new(MemoryStore::new());
        let sequencer = Sequencer::start(Arc::clone(&store), &mut Registry::default()).unwrap();
        let policy = format!("witness w {witness}\nquorum w\n");
        let policy = Policy::parse(policy.as_bytes()).unwrap();
        Self {
            home,
            store,
            sequencer,
            policy,
        }
    }

    /// As at a start.
    fn open(&self) -> Arc<Docket> {
        self.open_with(&[])
    }

    /// The same with these keys of the service's own log.
    fn open_with(&self, log_keys: &[VerifierKey]) -> Arc<Docket> {
        let logs = Logs::load(&self.home.file("logs.toml")).unwrap();
        let jury = Jury {
            origin: jurat_proto::checkpoint::Origin::parse(OWN).unwrap(),
            log_keys: log_keys.to_vec(),
            cosigners: self.home.cosigner_keys(),
            policy: self.policy.clone(),
            logs: watch::Sender::new(Arc::new(logs)).subscribe(),
        };
        let (store, sequencer) = (Arc::clone(&self.store), self.sequencer.clone());
        Arc::new(Docket::open(jury, store, sequencer, &mut Registry::default()).unwrap())
    }

    fn size(&self) -> u64 {
        self.store.head().unwrap().size.get()
    }
}

// Spec: SVC-51, SVC-53, EVI-53
#[tokio::test]
async fn a_copy_that_convicts_more_is_logged_too_and_a_log_that_forks_for_ever_is_counted() {
    let (log, fork) = forking();
    let witness = key("w.example/w1", Algorithm::CosignatureV1);
    let desk = Desk::new(&log, witness.verifier_key());
    let docket = desk.open();
    // A stripped copy comes first: it does not shield the witness.
    let (outcome, first) = docket.submit(fork_at(&log, &fork, 7)).await.unwrap();
    assert_eq!(
        (outcome, first.index.get(), first.keys.len()),
        (Outcome::Logged, 0, 1)
    );
    let full = and_by(&[&log, &fork], 7, &witness);
    let (outcome, more) = docket.submit(full.clone()).await.unwrap();
    assert_eq!(
        (outcome, more.index, more.keys.len()),
        (Outcome::More, first.index, 2)
    );
    assert_eq!(docket.file(&more).unwrap(), full);
    let (outcome, same) = docket.submit(fork_at(&log, &fork, 7)).await.unwrap();
    assert_eq!((outcome, &same), (Outcome::Known, &more));
    assert_eq!(desk.size(), 2);
    // Four of a kind are enough, however many are made.
    for size in 8..20 {
        let (outcome, logged) = docket.submit(fork_at(&log, &fork, size)).await.unwrap();
        let due = if size < 11 {
            Outcome::Logged
        } else {
            Outcome::Enough
        };
        assert_eq!(outcome, due, "{size}");
        assert_eq!(size < 11, logged.id == fork_at(&log, &fork, size).id());
    }
    // Another kind has room of its own.
    let opening = Evidence::of_growth(&log.checkpoint(7), &fork.checkpoint(12), &fork.proof(7, 12));
    let (outcome, _) = docket.submit(opening.unwrap()).await.unwrap();
    assert_eq!((outcome, desk.size()), (Outcome::Logged, 6));
    // A start knows the same.
    let again = desk.open();
    assert_eq!(again.list(0, 100), docket.list(0, 100));
    assert_eq!(again.convicted(&log.origin), docket.convicted(&log.origin));
    assert_eq!(again.convicted(&log.origin).unwrap().index, first.index);
}

/// Two files about one contradiction, each with half of the witnesses that signed both sides: one
/// note holds no more than 64 lines, and neither half hides the other.
// Spec: SVC-51, SVC-64
#[tokio::test]
async fn of_two_copies_that_fit_no_single_file_each_is_logged_that_convicts_one_more() {
    let (log, fork) = forking();
    let witnesses: Vec<SigningKey> = (0..80)
        .map(|n| key(&format!("w.example/{n}"), Algorithm::CosignatureV1))
        .collect();
    let mut desk = Desk::new(&log, witnesses[0].verifier_key());
    let lines = witnesses.iter().enumerate();
    let lines = lines.map(|(n, key)| format!("witness w{n} {}\n", key.verifier_key()));
    let policy = lines.collect::<String>() + "quorum w0\n";
    desk.policy = Policy::parse(policy.as_bytes()).unwrap();
    let docket = desk.open();
    let by = |witnesses: &[SigningKey]| {
        let note = |log: &TestLog| {
            let checkpoint = log.unsigned(log.head(7));
            let time = UnixSeconds::new(TIME).unwrap();
            let mut lines = vec![line(&checkpoint, &log.key)];
            let by = |key: &SigningKey| cosign(&checkpoint, time, key).unwrap();
            lines.extend(witnesses.iter().map(by));
            SignedCheckpoint::new(checkpoint, lines).unwrap()
        };
        Evidence::same_size(note(&log), note(&fork)).unwrap()
    };
    let (_, first) = docket.submit(by(&witnesses[..40])).await.unwrap();
    assert_eq!(first.keys.len(), 41);
    let (outcome, both) = docket.submit(by(&witnesses[40..])).await.unwrap();
    assert_eq!((outcome, both.keys.len()), (Outcome::More, 81));
    assert_eq!(both.id, first.id);
    let size = desk.size();
    assert!(size > 1, "{size}");
    // Any part of either, and a mixture, is known: nobody fills the log with them.
    for (from, to) in [(0, 40), (40, 80), (10, 60), (79, 80)] {
        let (outcome, _) = docket.submit(by(&witnesses[from..to])).await.unwrap();
        assert_eq!(outcome, Outcome::Known, "{from} {to}");
    }
    assert_eq!(desk.size(), size);
    // A start finds all of it.
    let again = desk.open();
    assert_eq!(again.list(0, 9), docket.list(0, 9));
    assert_eq!(again.list(0, 9)[0].keys.len(), 81);
    assert!(check_all(desk.store.as_ref()).unwrap().is_empty());
}

/// A fork between notes of that many bytes each.
fn long(log: &TestLog, fork: &TestLog, bytes: usize) -> Evidence {
    let note = |log: &TestLog| {
        let mut checkpoint: Checkpoint = log.unsigned(log.head(9));
        while checkpoint.to_text().len() < bytes {
            let line = ExtensionLine::parse(&"x".repeat(1_000)).unwrap();
            checkpoint.extensions.push(&line);
        }
        SignedCheckpoint::new(checkpoint.clone(), vec![line(&checkpoint, &log.key)]).unwrap()
    };
    Evidence::same_size(note(log), note(fork)).unwrap()
}

// Spec: ENT-14, SVC-51, SVC-52
#[tokio::test]
async fn evidence_larger_than_an_entry_is_logged_in_parts_and_a_crash_between_them_is_mended() {
    let (log, fork) = forking();
    let witness = key("w.example/w1", Algorithm::CosignatureV1);
    let desk = Desk::new(&log, witness.verifier_key());
    let evidence = long(&log, &fork, 100_000);
    let parts = EvidenceEntry::all_of(&evidence, Convicts::Log);
    assert_eq!(parts.len(), 4);
    // The process died after two of them, and something else came between.
    let entries = parts
        .iter()
        .cloned()
        .map(|part| Entry::Evidence(part).to_bytes());
    let between = [b"jurat-entry/v1 other\n".to_vec()];
    for bytes in entries.take(2).chain(between) {
        let entry = NewEntry::new(bytes).unwrap();
        desk.sequencer
            .append(Append { entry, head: None })
            .await
            .unwrap();
    }
    let docket = desk.open();
    assert_eq!((docket.count(), docket.convicted(&log.origin)), (0, None));
    let (outcome, logged) = docket.submit(evidence.clone()).await.unwrap();
    assert_eq!(outcome, Outcome::Logged);
    let places: Vec<u64> = logged.entries.iter().map(|index| index.get()).collect();
    assert_eq!((places, logged.index.get()), (vec![0, 1, 3, 4], 4));
    assert_eq!(docket.file(&logged).unwrap(), evidence);
    let again = desk.open();
    assert_eq!(again.list(0, 9), std::slice::from_ref(&logged));
    assert_eq!(again.file(&logged).unwrap(), evidence);
    assert_eq!(again.convicted(&log.origin).unwrap().index.get(), 4);
    assert!(check_all(desk.store.as_ref()).unwrap().is_empty());
    // A part that is none of its file is damage that is named.
    let mut bytes = Entry::Evidence(parts[3].clone()).to_bytes();
    let text = String::from_utf8_lossy(&bytes).replace(
        &sha256(&evidence.to_bytes()).to_base64(),
        &sha256(b"another file").to_base64(),
    );
    bytes = text.into_bytes();
    for number in 1..=4 {
        let part = String::from_utf8_lossy(&bytes).replace("part 4 4", &format!("part {number} 4"));
        let padded = if number < 4 {
            format!(
                "{part}{}",
                "x".repeat(61_440 - (part.len() - head_bytes(&part)))
            )
        } else {
            part
        };
        let entry = NewEntry::new(padded.into_bytes()).unwrap();
        desk.sequencer
            .append(Append { entry, head: None })
            .await
            .unwrap();
    }
    let damaged = check_all(desk.store.as_ref()).unwrap();
    assert_eq!(damaged.len(), 1, "{damaged:?}");
    assert!(damaged[0].to_string().contains("entry 8"), "{}", damaged[0]);
}

/// The three lines before the bytes of a part.
fn head_bytes(part: &str) -> usize {
    part.split_inclusive('\n').take(3).map(str::len).sum()
}

// Spec: SVC-57
#[tokio::test]
async fn a_cosigner_key_of_the_service_that_cosigned_two_histories_is_told_of() {
    let (log, fork) = forking();
    let witness = key("w.example/w1", Algorithm::CosignatureV1);
    let desk = Desk::new(&log, witness.verifier_key());
    let docket = desk.open();
    let others = and_by(&[&log, &fork], 7, &witness);
    docket.submit(others).await.unwrap();
    assert_eq!(
        *docket.convicts_us().borrow(),
        None,
        "the key of a witness is none of ours"
    );
    let own = SigningKey::load(desk.home.file("keys/cosigner.ed25519.key")).unwrap();
    let (_, logged) = docket
        .submit(and_by(&[&log, &fork], 8, &own))
        .await
        .unwrap();
    let ours = docket.convicts_us().borrow().clone().unwrap();
    assert_eq!((ours.id, ours.index), (logged.id, logged.index));
    assert_eq!(*desk.open().convicts_us().borrow(), Some(ours));
    let unknown = TestLog::new("unknown.example/log");
    drop(unknown);
    let stranger = key("stranger.example/w", Algorithm::CosignatureV1);
    let mut elsewhere = TestLog::new("elsewhere.example/log");
    elsewhere.grow(9);
    let of_nobody = and_by(&[&elsewhere, &elsewhere.fork(2, 9)], 8, &stranger);
    let refused = docket.submit(of_nobody).await;
    assert!(
        matches!(refused, Err(DocketError::NotProven(NotProven::NoKnownKey))),
        "{refused:?}"
    );
    assert_eq!(logged.index, LeafIndex::new(1).unwrap());
}

// Spec: SVC-57
#[tokio::test]
async fn a_service_convicted_across_two_keys_stays_so_when_one_of_them_leaves() {
    let (log, _) = forking();
    let witness = key("w.example/w1", Algorithm::CosignatureV1);
    let desk = Desk::new(&log, witness.verifier_key());
    let mut own = TestLog::new(OWN);
    own.grow(9);
    let fork = own.fork(2, 9);
    let other = key(OWN, Algorithm::Ed25519);
    let by_other = sign(&fork.unsigned(fork.head(9)), &other);
    let across = Evidence::same_size(own.checkpoint(9), by_other).unwrap();
    let both = [own.vkey().clone(), other.verifier_key().clone()];
    let docket = desk.open_with(&both);
    let (_, logged) = docket.submit(across).await.unwrap();
    for keys in [&both[..], &both[..1], &both[1..], &[]] {
        let ours = desk.open_with(keys).convicts_us().borrow().clone();
        assert_eq!(ours.map(|by| by.id), Some(logged.id), "{}", keys.len());
    }
}

/// A checkpoint of a log at 5 entries, as its submission hands it over to the commit.
fn decided(log: &TestLog) -> Append {
    Append {
        entry: NewEntry::new(b"a checkpoint".to_vec()).unwrap(),
        head: Some(HeadSwap {
            origin: log.origin.clone(),
            expected: None,
            new: OriginHead {
                head: log.head(5),
                time: UnixSeconds::new(TIME).unwrap(),
                note: log.checkpoint(5).to_bytes(),
                log_index: None,
            },
        }),
    }
}

// Spec: SVC-59
#[tokio::test]
async fn a_submission_that_was_decided_before_the_evidence_is_not_committed_behind_it() {
    let (log, fork) = forking();
    let witness = key("w.example/w1", Algorithm::CosignatureV1);
    for bytes in [0, 100_000] {
        let desk = Desk::new(&log, witness.verifier_key());
        let docket = desk.open();
        // What a submission hands over, made before anything was known against its log.
        let decided = decided(&log);
        let (_, logged) = docket.submit(long(&log, &fork, bytes)).await.unwrap();
        let size = desk.size();
        let refused = desk.sequencer.append(decided).await;
        let by = docket.convicted(&log.origin).unwrap();
        assert_eq!(by.index, logged.index);
        assert_eq!(refused, Err(AppendError::Convicted(by)));
        assert_eq!(desk.size(), size);
        assert!(desk.store.latest(&log.origin).unwrap().is_none());
    }
}

/// A service that ends because its own key is convicted commits nothing that waited.
// Spec: SVC-57, SVC-63
#[tokio::test]
async fn nothing_that_waited_is_committed_behind_evidence_against_the_service_itself() {
    let (log, fork) = forking();
    let witness = key("w.example/w1", Algorithm::CosignatureV1);
    let desk = Desk::new(&log, witness.verifier_key());
    let docket = desk.open();
    let mut honest = TestLog::new("honest.example/log");
    honest.grow(5);
    let own = SigningKey::load(desk.home.file("keys/cosigner.ed25519.key")).unwrap();
    let evidence = and_by(&[&log, &fork], 8, &own);
    let (_, logged) = docket.submit(evidence).await.unwrap();
    assert!(docket.convicts_us().borrow().is_some());
    let size = desk.size();
    assert_eq!(logged.index.get() + 1, size);
    // What a submission of another log hands over, made before anything was known.
    let refused = desk.sequencer.append(decided(&honest)).await;
    assert_eq!(refused, Err(AppendError::Stopped));
    assert_eq!(desk.size(), size);
    assert!(desk.store.latest(&honest.origin).unwrap().is_none());
    // Evidence is none of it: more of it may be on its way.
    let (outcome, _) = docket.submit(fork_at(&log, &fork, 9)).await.unwrap();
    assert_eq!((outcome, desk.size()), (Outcome::Logged, size + 1));
}

/// A service whose log takes nothing now must be shown the fork again, and not refuse it and
/// forget.
// Spec: SVC-54
#[tokio::test]
async fn a_fork_that_an_overloaded_log_cannot_take_is_not_passed_over() {
    let (log, fork) = forking();
    let witness = key("w.example/w1", Algorithm::CosignatureV1);
    let desk = Desk::new(&log, witness.verifier_key());
    let docket = desk.open();
    // No commit goes on while a place is being given.
    let (release, released) = std::sync::mpsc::sync_channel::<()>(1);
    let (held, holds) = std::sync::mpsc::sync_channel(1);
    let sequencer = desk.sequencer.clone();
    let holder = std::thread::spawn(move || {
        let refused = sequencer.place(|_| {
            held.send(()).unwrap();
            released.recv().unwrap();
            Err::<((), NewEntry), _>("held")
        });
        assert!(refused.is_err());
    });
    holds.recv().unwrap();
    // The committer has taken one batch, and the queue is full behind it.
    let mut waiting = Vec::new();
    let mut is_full = false;
    while !is_full || waiting.len() <= WAITING_MAX.get() {
        let (sequencer, number) = (desk.sequencer.clone(), waiting.len());
        let mut append = Box::pin(async move {
            let entry = NewEntry::new(format!("entry {number}").into_bytes()).unwrap();
            sequencer.append(Append { entry, head: None }).await
        });
        is_full = poll_once(append.as_mut()).await.is_some();
        if is_full {
            std::thread::yield_now();
        } else {
            waiting.push(append);
        }
    }
    let (stored, shown) = (log.checkpoint(5).to_bytes(), fork.checkpoint(8));
    let proof = fork.proof(5, 8);
    let looked = docket.look(Some(&stored), &shown, &proof).await;
    assert!(
        matches!(looked, Err(DocketError::Append(AppendError::Overloaded))),
        "{looked:?}"
    );
    release.send(()).unwrap();
    holder.join().unwrap();
    for append in waiting {
        append.await.unwrap();
    }
    assert_eq!(docket.convicted(&log.origin), None);
    docket.look(Some(&stored), &shown, &proof).await.unwrap();
    assert!(docket.convicted(&log.origin).is_some());
}

/// The outcome, when it is there already.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
