//! Those who do not gossip, as peers: a distributor that shows what others cosigned and is brought
//! what we did, and places that are slow, silent or mad.
//!
//! The distributor here is a stub with the paths, statuses and rules of
//! github.com/transparency-dev/distributor as its handlers have them; `tests/interop/peers` runs
//! those handlers themselves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod rig;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::hash::sha256;
use jurat_proto::hex;
use jurat_proto::key::{KeyName, Signer as _, VerifierKey};

use rig::{Home, Process, TestLog, until};

const NAME: &str = "w1.example/w";
const QUICK: &str = "round_ms = 100\ngrace_rounds = 1\nslow_every_ms = 0\n\
                     passive_per_second = 1000\npeer_silence_ms = 600\n";

/// A request to a place.
struct Asked {
    method: String,
    path: String,
    body: Vec<u8>,
}

/// Answers each request by itself, each connection in a thread.
fn place(answer: impl Fn(&Asked) -> (u16, Vec<u8>) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, answer) = (client.unwrap(), Arc::clone(&answer));
            thread::spawn(move || serve(client, &*answer));
        }
    });
    address
}

fn serve(client: TcpStream, answer: &dyn Fn(&Asked) -> (u16, Vec<u8>)) -> Option<()> {
    let mut client = BufReader::new(client);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if client.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line == "\r\n" {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
        let mut words = lines[0].split(' ');
        let mut lengths = lines.iter().filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse().ok())?
        });
        let mut body = vec![0; lengths.next().unwrap_or(0)];
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        client.read_exact(&mut body).ok()?;
        let (status, body) = answer(&Asked { method, path, body });
        let wait = if status == 503 {
            "Retry-After: 1\r\n"
        } else {
            ""
        };
        let head = format!(
            "HTTP/1.1 {status} It\r\n{wait}Content-Length: {}\r\n\r\n",
            body.len()
        );
        client
            .get_mut()
            .write_all(&[head.as_bytes(), &body].concat())
            .ok()?;
    }
}

/// A distributor that knows one log and some witnesses.
#[derive(Clone, Default)]
struct Distributor(Arc<Mutex<Shelf>>);

#[derive(Default)]
struct Shelf {
    log: Option<(Origin, VerifierKey)>,
    witnesses: Vec<VerifierKey>,
    /// By the name of the witness.
    shown: BTreeMap<String, Vec<u8>>,
    /// `checkpoint.N`.
    cosigned_by: BTreeMap<usize, Vec<u8>>,
    /// What it answers to everything, when it is out of order.
    fault: Option<u16>,
    puts: Vec<(u16, Vec<u8>)>,
    put_at: Vec<Instant>,
    /// Whether its list has the log not yet, and how often it was read.
    unlisted: bool,
    lists: u64,
    reads: u64,
}

impl Distributor {
    fn of(log: &TestLog, witnesses: &[VerifierKey]) -> Self {
        let shelf = Shelf {
            log: Some((log.origin.clone(), log.vkey().clone())),
            witnesses: witnesses.to_vec(),
            ..Shelf::default()
        };
        Self(Arc::new(Mutex::new(shelf)))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Shelf) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    fn open(&self) -> SocketAddr {
        let this = self.clone();
        place(move |asked| this.with(|shelf| shelf.answer(asked)))
    }

    /// The size of what it has of a witness.
    fn size_of(&self, name: &str) -> Option<u64> {
        let shown = self.with(|shelf| shelf.shown.get(name).cloned())?;
        Some(SignedCheckpoint::parse(&shown).unwrap().head().size.get())
    }
}

impl Shelf {
    fn answer(&mut self, asked: &Asked) -> (u16, Vec<u8>) {
        if asked.method == "PUT" {
            self.put_at.push(Instant::now());
        }
        if let Some(status) = self.fault {
            if asked.method == "PUT" {
                self.puts.push((status, asked.body.clone()));
            }
            return (status, b"out of order\n".to_vec());
        }
        let json = |list: Vec<String>| (200, serde_json::to_vec(&list).unwrap());
        let (origin, key) = self.log.clone().unwrap();
        let id = hex::encode(sha256(format!("o:{origin}").as_bytes()).as_bytes());
        let witnesses = self.witnesses.iter().map(ToString::to_string);
        match asked.path.strip_prefix("/distributor/v0/") {
            Some("witnesses") => return json(witnesses.collect()),
            Some("logs") => {
                self.lists += 1;
                let mut ids = vec!["0".repeat(64), id];
                ids.truncate(2 - usize::from(self.unlisted));
                return json(ids);
            }
            _ => {}
        }
        let of_log = format!("/distributor/v0/logs/{id}/");
        let Some(rest) = asked.path.strip_prefix(&of_log) else {
            return (400, b"unknown log\n".to_vec());
        };
        if let Some(count) = rest.strip_prefix("checkpoint.") {
            let found = self.cosigned_by.get(&count.parse().unwrap());
            return found.map_or((404, Vec::new()), |note| (200, note.clone()));
        }
        let name = rest.strip_prefix("byWitness/").unwrap();
        let name = name.strip_suffix("/checkpoint").unwrap().to_owned();
        if asked.method == "GET" {
            self.reads += 1;
            let shown = self.shown.get(&name);
            return shown.map_or((404, Vec::new()), |note| (200, note.clone()));
        }
        let status = self.put(&name, &key, &asked.body);
        self.puts.push((status, asked.body.clone()));
        (status, Vec::new())
    }

    /// Exactly the log's line and one of the witness must verify, and sizes do not go back.
    fn put(&mut self, name: &str, key: &VerifierKey, body: &[u8]) -> u16 {
        let witness = self
            .witnesses
            .iter()
            .find(|key| key.name().as_str() == name);
        let (Ok(note), Some(witness)) = (SignedCheckpoint::parse(body), witness) else {
            return 400;
        };
        let verified = note.verify_signatures(&[key.clone(), witness.clone()]);
        if verified.map_or(0, |lines| lines.len()) != 2 {
            return 400;
        }
        let size = |bytes: &Vec<u8>| SignedCheckpoint::parse(bytes).unwrap().head().size;
        if self
            .shown
            .get(name)
            .is_some_and(|old| size(old) > note.head().size)
        {
            return 400;
        }
        self.shown.insert(name.to_owned(), body.to_vec());
        200
    }
}

/// A witness that gossips with nobody but those who do not.
fn home(log: &TestLog, more: &str) -> Home {
    let home = Home::named(NAME);
    let config = fs::read_to_string(home.config()).unwrap();
    let off = "#[gossip]\n#key = \"gossip.key\"\n";
    assert!(config.contains(off));
    let on = format!("{}{QUICK}{more}\n", off.replace('#', ""));
    fs::write(home.config(), config.replace(off, &on)).unwrap();
    home.add_log(log);
    home
}

fn forking() -> (TestLog, TestLog) {
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let mut other = log.fork(7);
    other.grow(40);
    (log, other)
}

fn key(name: &str) -> VerifierKey {
    let name = KeyName::parse(name).unwrap();
    SigningKey::generate(name, Algorithm::CosignatureV1)
        .unwrap()
        .verifier_key()
        .clone()
}

fn ed25519(home: &Home) -> VerifierKey {
    home.keys[0].clone()
}

fn metric(process: &Process, line: &str) -> bool {
    process.get("/metrics").text().contains(line)
}

// Spec: GSP-107, GSP-108, GSP-110
#[test]
fn scenario_37_a_distributor_is_brought_our_heads_and_its_fork_is_found_by_us_alone() {
    let (log, other) = forking();
    let distributor = Distributor::default();
    let address = distributor.open();
    let home = home(&log, &format!("distributors = [\"http://{address}/\"]"));
    let others = key("other.example/w");
    let known = Distributor::of(&log, &[ed25519(&home), others.clone()]);
    distributor.with(|shelf| *shelf = std::mem::take(&mut *known.0.lock().unwrap()));
    let mut process = home.serve();
    assert_eq!(process.add(&log.request(0, 5)).status, 200);
    until(|| distributor.size_of(NAME) == Some(5));
    // What comes while one waits takes its place.
    for size in 6..=12 {
        assert_eq!(process.add(&log.request(size - 1, size)).status, 200);
    }
    until(|| distributor.size_of(NAME) == Some(12));
    let taken = "jurat_witness_distributor_puts_total{outcome=\"taken\"}";
    until(|| metric(&process, taken));
    distributor.with(|shelf| {
        assert!(shelf.puts.iter().all(|(status, _)| *status == 200));
        let brought = SignedCheckpoint::parse(&shelf.shown[NAME]).unwrap();
        let keys = [vec![log.vkey().clone()], home.keys.clone()].concat();
        assert_eq!(brought.verify_signatures(&keys).unwrap().len(), keys.len());
    });
    // A start brings the newest again, to a distributor that has lost everything.
    process.kill();
    distributor.with(|shelf| shelf.shown.clear());
    let process = home.serve();
    until(|| distributor.size_of(NAME) == Some(12));
    // Another witness, which saw nothing wrong, has brought the other branch. The distributor takes
    // both, as it compares nobody with anybody.
    let forked = other.checkpoint(12).to_bytes();
    distributor.with(|shelf| shelf.shown.insert("other.example/w".to_owned(), forked));
    until(|| process.add(&log.request(12, 12)).status == 403);
    // Nothing more is brought of a log that is convicted.
    let list = || process.get("/gossip/v0/evidence?since=0");
    until(|| list().text().contains(" same-size "));
    assert_eq!(distributor.size_of(NAME), Some(12));
}

// Spec: GSP-107
#[test]
fn what_several_cosigned_is_looked_at_too_and_lists_of_nonsense_end_nothing() {
    let (log, other) = forking();
    let distributor = Distributor::of(&log, &[key("other.example/w")]);
    let address = distributor.open();
    // A place that answers everything with what is nothing.
    let mad = place(|asked| match asked.path.as_str() {
        "/distributor/v0/witnesses" => (200, b"{\"not\": \"a list\"}".to_vec()),
        _ => (200, vec![b'x'; 200_000]),
    });
    let more = format!("distributors = [\"http://{mad}\", \"http://{address}\"]");
    let home = home(&log, &more);
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 13)).status, 200);
    let of_another = TestLog::new("example.com/another").checkpoint(0).to_bytes();
    distributor.with(|shelf| shelf.shown.insert("other.example/w".to_owned(), of_another));
    until(|| distributor.with(|shelf| shelf.reads > 3));
    assert_eq!(process.add(&log.request(13, 13)).status, 200);
    let forked = other.checkpoint(13).to_bytes();
    distributor.with(|shelf| shelf.cosigned_by.insert(1, forked));
    until(|| process.add(&log.request(13, 13)).status == 403);
}

// Spec: GSP-81, GSP-105, GSP-106
#[test]
fn a_place_that_is_silent_delays_no_other_and_is_an_alarm() {
    let (log, other) = forking();
    // One accepts and never answers; one is not there; one fails; and one shows the fork.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let failing = place(|_| (503, Vec::new()));
    let shown = Arc::new(Mutex::new(None));
    let (path, show) = (log.checkpoint_path(), Arc::clone(&shown));
    let good = place(move |asked| match &*show.lock().unwrap() {
        Some(note) if asked.path == path => (200, Vec::clone(note)),
        _ => (404, Vec::new()),
    });
    let places = [silent.local_addr().unwrap(), gone, failing, good];
    let places = places.map(|place| format!("\"http://{place}\"")).join(", ");
    let home = home(&log, &format!("passive = [{places}]"));
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 13)).status, 200);
    let silences = "jurat_witness_alarms{alarm=\"passive-silent\"} 2\n";
    until(|| metric(&process, silences));
    let health = process.get("/health");
    assert_eq!(health.status, 200);
    for place in [gone, failing] {
        assert!(
            health
                .text()
                .contains(&format!("alarm: http://{place} does not answer\n"))
        );
    }
    *shown.lock().unwrap() = Some(other.checkpoint(13).to_bytes());
    until(|| process.add(&log.request(13, 13)).status == 403);
}

// Spec: GSP-108, GSP-109
#[test]
fn a_distributor_that_is_out_of_order_delays_no_signature_and_gets_the_newest_head_when_it_is_back()
{
    let (log, _) = forking();
    let distributor = Distributor::of(&log, &[]);
    distributor.with(|shelf| shelf.fault = Some(503));
    // And beside it one that accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, silent) = (distributor.open(), silent.local_addr().unwrap());
    let more = format!("distributors = [\"http://{silent}\", \"http://{address}\"]");
    let home = home(&log, &more);
    let process = home.serve();
    for size in 1..=20 {
        assert_eq!(
            process.add(&log.request(size - 1, size)).status,
            200,
            "{size}"
        );
    }
    until(|| metric(&process, "jurat_witness_alarms{alarm=\"distributor\"} 1\n"));
    let waiting = |address: SocketAddr, count: u64| {
        let name = "jurat_witness_distributor_waiting";
        format!("{name}{{distributor=\"http://{address}\"}} {count}\n")
    };
    until(|| metric(&process, &waiting(address, 1)));
    // Back in order, it does not know our key yet: it refuses, and each head is brought once.
    distributor.with(|shelf| shelf.fault = None);
    until(|| {
        metric(
            &process,
            "jurat_witness_distributor_puts_total{outcome=\"refused\"} 1\n",
        )
    });
    until(|| metric(&process, &waiting(address, 0)));
    assert_eq!(process.add(&log.request(20, 21)).status, 200);
    until(|| {
        metric(
            &process,
            "jurat_witness_distributor_puts_total{outcome=\"refused\"} 2\n",
        )
    });
    distributor.with(|shelf| shelf.witnesses.push(ed25519(&home)));
    assert_eq!(process.add(&log.request(21, 22)).status, 200);
    until(|| distributor.size_of(NAME) == Some(22));
    until(|| metric(&process, "jurat_witness_alarms{alarm=\"distributor\"} 0\n"));
    distributor.with(|shelf| {
        let sizes = shelf
            .puts
            .iter()
            .map(|(_, body)| SignedCheckpoint::parse(body).unwrap());
        let sizes: Vec<u64> = sizes.map(|note| note.head().size.get()).collect();
        assert!(sizes.is_sorted(), "{sizes:?}");
    });
}

// Spec: GSP-132
#[test]
fn a_distributor_that_wants_to_be_left_alone_is_brought_no_other_log_either() {
    let (log, _) = forking();
    let mut second = TestLog::new("example.com/second");
    second.grow(40);
    let distributor = Distributor::of(&log, &[]);
    distributor.with(|shelf| shelf.fault = Some(503));
    let address = distributor.open();
    let home = home(&log, &format!("distributors = [\"http://{address}\"]"));
    home.add_log(&second);
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 13)).status, 200);
    assert_eq!(process.add(&second.request(0, 13)).status, 200);
    until(|| distributor.with(|shelf| shelf.put_at.len() >= 3));
    distributor.with(|shelf| {
        let pairs = shelf.put_at.windows(2);
        let pauses: Vec<Duration> = pairs.map(|pair| pair[1] - pair[0]).collect();
        let second = Duration::from_millis(950);
        assert!(pauses.iter().all(|pause| *pause >= second), "{pauses:?}");
    });
}

// Spec: GSP-138
#[test]
fn a_log_that_is_listed_later_is_brought_with_the_head_that_is_there() {
    let (log, _) = forking();
    let distributor = Distributor::of(&log, &[]);
    distributor.with(|shelf| shelf.unlisted = true);
    let address = distributor.open();
    let home = home(&log, &format!("distributors = [\"http://{address}\"]"));
    distributor.with(|shelf| shelf.witnesses.push(ed25519(&home)));
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 13)).status, 200);
    let lists = distributor.with(|shelf| shelf.lists);
    until(|| distributor.with(|shelf| shelf.lists > lists + 2));
    assert_eq!(distributor.size_of(NAME), None);
    distributor.with(|shelf| shelf.unlisted = false);
    until(|| distributor.size_of(NAME) == Some(13));
}

// Spec: GSP-106
#[test]
fn a_place_that_falls_silent_is_an_alarm_until_it_answers_again() {
    let (log, _) = forking();
    let works = Arc::new(Mutex::new(true));
    let state = Arc::clone(&works);
    let place = place(move |_| (if *state.lock().unwrap() { 404 } else { 503 }, Vec::new()));
    let home = home(&log, &format!("passive = [\"http://{place}\"]"));
    let process = home.serve();
    until(|| {
        metric(
            &process,
            "jurat_witness_passive_reads_total{outcome=\"nothing\"}",
        )
    });
    let alarms = |count: u8| {
        let line = format!("jurat_witness_alarms{{alarm=\"passive-silent\"}} {count}\n");
        until(|| metric(&process, &line));
    };
    alarms(0);
    *works.lock().unwrap() = false;
    alarms(1);
    *works.lock().unwrap() = true;
    alarms(0);
}

// Spec: GSP-81, GSP-105
#[test]
fn what_a_log_shows_at_its_own_url_is_looked_at_while_others_say_nothing() {
    let (log, other) = forking();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let shown = Arc::new(Mutex::new(None));
    let show = Arc::clone(&shown);
    let good = place(move |_| match &*show.lock().unwrap() {
        Some(note) => (200, Vec::clone(note)),
        None => (404, Vec::new()),
    });
    let home = home(&log, "");
    let add = |log: &TestLog, place: SocketAddr| {
        let (vkey, url) = (log.vkey().to_string(), format!("http://{place}/checkpoint"));
        let added = home.logs(&["add", &vkey, "--url", &url]);
        assert!(added.status.success(), "{added:?}");
    };
    // Before it, in the order of the list, stand logs that accept a connection and say nothing.
    for number in 0..5 {
        let quiet = TestLog::new(&format!("a{number}.example/log"));
        add(&quiet, silent.local_addr().unwrap());
    }
    add(&log, good);
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 13)).status, 200);
    *shown.lock().unwrap() = Some(other.checkpoint(13).to_bytes());
    // Sooner than whoever waits for the silent ones, and by gossip's own count.
    let shown = "jurat_witness_passive_reads_total{outcome=\"shown\"}";
    until(|| metric(&process, shown));
    until(|| process.add(&log.request(13, 13)).status == 403);
}
