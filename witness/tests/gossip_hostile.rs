//! Scenario 26 against the real process: peers whose answers have no end, come a byte at a time, or
//! grow when they are unpacked. Nobody else waits for them, and the process stays small.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod rig;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use jurat_keys::SigningKey;
use jurat_proto::cosignature::sign_note;
use jurat_proto::gossip::{FEED_BYTES_MAX, Random, SignedStatement, State, Statement};
use jurat_proto::hex;
use jurat_proto::key::{Signer as _, UnixSeconds};
use jurat_proto::tree::TreeHead;

use rig::{Home, Process, TestLog, until};

/// What a hostile peer does when its feed is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conduct {
    /// A body without an end, as fast as it is read.
    Endless,
    /// A byte now and then, for ever.
    Slow,
    /// A small body that says that it is gzip, and is large when it is unpacked.
    Bomb,
}

const HOSTILE: [Conduct; 3] = [Conduct::Endless, Conduct::Slow, Conduct::Bomb];

/// A peer that says truly who it is, and has a great deal to show.
struct Hostile {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    /// The most bytes that went into one body.
    taken: Arc<AtomicUsize>,
}

impl Hostile {
    fn new(home: &Home, conduct: Conduct) -> Self {
        let key = Arc::new(SigningKey::load(home.path("gossip.key")).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, taken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (asked.clone(), taken.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (key, counts) = (key.clone(), counts.clone());
                thread::spawn(move || serve(client, &key, conduct, &counts));
            }
        });
        Self {
            address,
            asked,
            taken,
        }
    }
}

fn serve(
    mut client: TcpStream,
    key: &SigningKey,
    conduct: Conduct,
    (asked, taken): &(Arc<AtomicUsize>, Arc<AtomicUsize>),
) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    if let Some((_, nonce)) = head.split_once("state?nonce=") {
        let nonce = hex::decode(&nonce[..32]).unwrap();
        let body = state(key, Random(nonce.try_into().unwrap()));
        drop(answer(&mut client, "", &body));
        return;
    }
    if !head.contains("/heads?") {
        drop(client.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"));
        return;
    }
    asked.fetch_add(1, Ordering::SeqCst);
    let written = match conduct {
        Conduct::Endless => endless(&mut client),
        Conduct::Slow => slow(&mut client),
        Conduct::Bomb => {
            let body = bomb(200_000);
            drop(answer(&mut client, "content-encoding: gzip\r\n", &body));
            body.len()
        }
    };
    taken.fetch_max(written, Ordering::SeqCst);
}

fn answer(client: &mut TcpStream, more: &str, body: &[u8]) -> io::Result<()> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 200 OK\r\n{more}content-length: {length}\r\nconnection: close\r\n\r\n");
    client.write_all(&[head.as_bytes(), body].concat())
}

fn endless(client: &mut TcpStream) -> usize {
    let row = "0123456789abcdef 1 AAAAAAAAAAAAAAAA 1 -\n".repeat(1_000);
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
    let mut written = 0;
    if client.write_all(head.as_bytes()).is_ok() {
        while client.write_all(row.as_bytes()).is_ok() {
            written += row.len();
        }
    }
    written
}

fn slow(client: &mut TcpStream) -> usize {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\nconnection: close\r\n\r\n";
    let mut written = 0;
    if client.write_all(head.as_bytes()).is_ok() {
        while client.write_all(b"0").is_ok() {
            written += 1;
            // Wait: being slow is what this peer is for.
            thread::sleep(Duration::from_millis(50));
        }
    }
    written
}

fn state(key: &SigningKey, nonce: Random) -> Vec<u8> {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let statement = Statement::State(State {
        name: key.verifier_key().name().clone(),
        epoch: Random([1; 16]),
        seq: 1 << 40,
        time: UnixSeconds::new(now.as_secs()).unwrap(),
        rows: TreeHead::empty(),
        evidence: TreeHead::empty(),
        nonce: Some(nonce),
    });
    let line = sign_note(&statement.to_text(), key).unwrap();
    SignedStatement::new(statement, vec![line])
        .unwrap()
        .to_bytes()
}

/// A gzip file of so many runs of 258 zeros: thirteen bits each.
fn bomb(runs: usize) -> Vec<u8> {
    let (mut bytes, mut word, mut bits) = (vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], 0_u32, 0);
    let mut push = |code: u32, length: u32| {
        word |= code << bits;
        bits += length;
        while bits >= 8 {
            bytes.push(u8::try_from(word & 0xff).unwrap());
            word >>= 8;
            bits -= 8;
        }
    };
    // The last block, of fixed codes; a zero; then "258 more of it". Codes are written backwards.
    push(0b011, 3);
    push(0b0000_1100, 8);
    for _ in 0..runs {
        push(0b1010_0011, 8);
        push(0, 5);
    }
    push(0, 7);
    push(0, 7);
    bytes
}

/// How large a process ever was, in KiB.
fn largest(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.unwrap().split_whitespace().nth(1).unwrap();
    number.parse().unwrap()
}

fn peer(name: &str, address: SocketAddr, home: &Home) -> String {
    let key = SigningKey::load(home.path("gossip.key")).unwrap();
    let keys: Vec<String> = home.keys.iter().map(|key| format!("\"{key}\"")).collect();
    let mut text = String::new();
    write!(
        text,
        "\n[[gossip.peer]]\nname = \"{name}\"\nurl = \"http://{address}\"\n\
         gossip_keys = [\"{}\"]\nkeys = [{}]\n",
        key.verifier_key(),
        keys.join(", ")
    )
    .unwrap();
    text
}

fn configure(home: &Home, peers: &str) {
    let config = fs::read_to_string(home.config()).unwrap();
    let off = "#[gossip]\n#key = \"gossip.key\"\n";
    let on = off.replace('#', "");
    let quick = "round_ms = 100\ngrace_rounds = 1\nslow_every_ms = 0\n";
    let config = config.replace(off, &format!("{on}{quick}"));
    fs::write(home.config(), config + peers).unwrap();
}

// Spec: GSP-20, GSP-72, GSP-88
#[test]
fn scenario_26_peers_without_an_end_keep_nobody_waiting_and_fill_nothing() {
    let mut log = TestLog::new("example.com/log");
    log.grow(40);
    let mut other = log.fork(7);
    other.grow(40);
    let honest = Home::named("w2.example");
    configure(&honest, "");
    honest.add_log(&log);
    let friend = honest.serve();

    let homes = ["h1.example", "h2.example", "h3.example"].map(Home::named);
    let hostile: Vec<Hostile> = homes
        .iter()
        .zip(HOSTILE)
        .map(|(home, conduct)| Hostile::new(home, conduct))
        .collect();
    let mut peers = peer("w2.example", friend.address, &honest);
    for (place, (home, hostile)) in homes.iter().zip(&hostile).enumerate() {
        peers += &peer(&format!("h{}.example", place + 1), hostile.address, home);
    }
    let home = Home::named("w1.example");
    configure(&home, &peers);
    home.add_log(&log);
    let process = home.serve();
    for hostile in &hostile {
        until(|| hostile.asked.load(Ordering::SeqCst) > 0);
    }
    // While the slow one has its question still, a fork is proven with the one that is honest.
    assert_eq!(process.add(&log.request(0, 13)).status, 200);
    assert_eq!(friend.add(&other.request(0, 13)).status, 200);
    until(|| process.add(&log.request(13, 14)).status == 403);

    // The bomb was sent, and is small until it is unpacked.
    let sent = hostile[2].taken.load(Ordering::SeqCst);
    assert!((1..FEED_BYTES_MAX).contains(&sent), "{sent}");
    // Whoever has no end is asked again, and given up again.
    until(|| hostile[0].asked.load(Ordering::SeqCst) > 2);
    until(|| hostile[2].asked.load(Ordering::SeqCst) > 2);
    let taken = hostile[0].taken.load(Ordering::SeqCst);
    // What the sockets hold, besides what was read.
    assert!(taken < FEED_BYTES_MAX + (16 << 20), "{taken}");
    let largest = largest(&process);
    assert!(largest < 256 * 1024, "{largest} KiB");
    assert_eq!(process.get("/health").status, 200);
}
