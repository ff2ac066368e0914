//! A real process in operation: its log lines, its end, and clients that are large, slow or many.

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
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jurat_daemon::limits::OpenFiles;
use jurat_proto::add_checkpoint::BODY_BYTES_MAX;
use jurat_proto::hash::sha256;
use jurat_proto::tree::TreeHead;
use rig::{Client, Home, TestLog, until, verified};
use serde_json::Value;

fn configure(home: &Home, text: &str) {
    let mut config = fs::read_to_string(home.config()).unwrap();
    config.push_str(text);
    fs::write(home.config(), config).unwrap();
}

fn home_of(log: &mut TestLog) -> Home {
    log.grow(20);
    let home = Home::new();
    home.add_log(log);
    home
}

/// A request with a body, of which nothing but the head is sent.
fn begin(address: SocketAddr, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let head =
        format!("POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn rest_of(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is as good as its end.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// A witness whose log lines are kept.
fn logged(home: &Home) -> (Child, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_jurat-witness"))
        .args(["serve", "--config", &home.config()])
        .env_remove("RUST_LOG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line.trim_end().strip_prefix("listening on http://");
    (child, address.unwrap().parse().unwrap())
}

#[test]
fn log_lines_are_json_objects_without_what_clients_sent() {
    // Spec: WIT-104
    let mut log = TestLog::new("example.com/log");
    let home = home_of(&mut log);
    configure(&home, "[log]\nformat = \"json\"\nfilter = \"debug\"\n");
    let (mut child, address) = logged(&home);
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let lines = std::thread::spawn(move || stderr.lines().collect::<Result<Vec<_>, _>>());
    let add = |body: &[u8]| {
        let mut client = Client::connect(address);
        client.call("POST", "/add-checkpoint", body).unwrap().status
    };
    assert_eq!(add(&log.request(0, 8)), 200);
    assert_eq!(add(b"nonsense-from-a-stranger"), 400);
    let other = TreeHead {
        size: log.head(8).size,
        root_hash: sha256(b"other"),
    };
    let forked = log.sign(other);
    assert_eq!(add(&log.request_with(8, log.proof(0, 0), forked)), 422);
    let pid = child.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    assert!(child.wait().unwrap().success());

    let lines = lines.join().unwrap().unwrap();
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    for line in &lines {
        for field in ["timestamp", "level", "message", "target"] {
            assert!(line[field].is_string(), "{field}: {line}");
        }
        assert!(!line.to_string().contains("nonsense"), "{line}");
    }
    let said = |message: &str| lines.iter().find(|line| line["message"] == message);
    assert_eq!(said("listening").unwrap()["address"], address.to_string());
    let fork = said("a log signed two trees of one size").unwrap();
    assert_eq!(fork["level"], "ERROR");
    assert_eq!(fork["origin"], "example.com/log");
    assert_eq!(fork["tree.size"], 8);
    assert_eq!(
        fork["root_hash.cosigned"],
        log.head(8).root_hash.to_string()
    );
    assert_eq!(fork["root_hash.submitted"], other.root_hash.to_string());
    assert!(said("stopped").is_some(), "it ended in order");
    let keys = ["ed25519.key", "ml-dsa-44.key"].map(|key| fs::read_to_string(home.path(key)));
    for key in keys {
        let key = key.unwrap();
        let secret = key.trim_end().splitn(5, '+').nth(4).unwrap();
        assert!(secret.len() > 40);
        assert!(lines.iter().all(|line| !line.to_string().contains(secret)));
    }
}

#[test]
fn a_request_in_flight_is_answered_before_the_end_and_stays() {
    // Spec: WIT-103
    let mut log = TestLog::new("example.com/log");
    let home = home_of(&mut log);
    let mut process = home.serve();
    let address = process.address;
    let body = log.request(0, 8);
    let (first, rest) = body.split_at(20);
    let mut busy = begin(address, body.len());
    busy.write_all(first).unwrap();
    let mut idle = process.client();
    assert_eq!(idle.call("GET", "/health", b"").unwrap().status, 200);

    process.signal("TERM");
    until(|| TcpStream::connect(address).is_err());
    assert!(
        idle.call("GET", "/health", b"").is_none(),
        "idle ones are closed"
    );
    assert!(process.child.try_wait().unwrap().is_none(), "it waits");
    busy.write_all(rest).unwrap();
    let answer = rest_of(busy);
    let (head, lines) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        head.to_ascii_lowercase().contains("connection: close"),
        "{head}"
    );
    verified(lines.as_bytes(), &log.checkpoint(8), &home.keys);
    assert!(process.child.wait().unwrap().success());

    let process = home.serve();
    let answer = process.add(&log.request(0, 8));
    assert_eq!(
        (answer.status, answer.text()),
        (409, "8\n"),
        "it was durable"
    );
}

#[test]
fn the_largest_bodies_are_read_and_refused_for_what_they_are() {
    // Spec: WIT-05, WIT-09
    let mut log = TestLog::new("example.com/log");
    let home = home_of(&mut log);
    let process = home.serve();
    let good = log.request(0, 8);
    let line = format!("{}\n", sha256(b"x"));
    // Nothing but proof lines; and proof lines before a checkpoint that is good.
    let mut lines_only = b"old 1\n".to_vec();
    while lines_only.len() + line.len() <= BODY_BYTES_MAX {
        lines_only.extend_from_slice(line.as_bytes());
    }
    let mut filled = b"old 0\n".to_vec();
    while filled.len() + line.len() + good.len() <= BODY_BYTES_MAX {
        filled.extend_from_slice(line.as_bytes());
    }
    filled.extend_from_slice(&good[b"old 0\n".len()..]);
    let mut exact = lines_only.clone();
    exact.resize(BODY_BYTES_MAX, b'\n');
    let mut client = process.client();
    let began = Instant::now();
    for body in [&lines_only, &filled, &exact] {
        assert!(body.len() > BODY_BYTES_MAX - 100);
        for _ in 0..20 {
            let answer = client.call("POST", "/add-checkpoint", body).unwrap();
            assert_eq!(answer.status, 400, "{}", answer.text());
            assert!(answer.body.len() < 200, "{}", answer.text());
        }
    }
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(10),
        "sixty large bodies took {took:?}"
    );
    let mut larger = exact;
    larger.push(b'\n');
    let answer = process.client().call("POST", "/add-checkpoint", &larger);
    assert_eq!(answer.unwrap().status, 413);
    assert_eq!(process.add(&good).status, 200);
}

/// Several requests sent before the first answer are answered in their order; and a body that comes
/// in pieces is the same body.
#[test]
fn pipelined_requests_and_bodies_in_pieces_are_answered_in_order() {
    // Spec: WIT-09, WIT-55
    let mut log = TestLog::new("example.com/log");
    let home = home_of(&mut log);
    let process = home.serve();
    let mut sent = Vec::new();
    let sizes = [(0, 3), (3, 5), (3, 6), (5, 8)];
    for (old, new) in sizes {
        let body = log.request(old, new);
        let length = body.len();
        let head =
            format!("POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {length}\r\n\r\n");
        sent.extend_from_slice(head.as_bytes());
        sent.extend_from_slice(&body);
    }
    let chunked = |body: &[u8], size: usize| {
        let head = "POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut bytes = head.as_bytes().to_vec();
        for chunk in body.chunks(size) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    };
    sent.extend(chunked(&log.request(8, 9), 7));
    // No length is announced, so that only counting finds it too long.
    let mut large = b"old 0\n".to_vec();
    large.resize(BODY_BYTES_MAX + 1, b'a');
    sent.extend(chunked(&large, 10_000));
    let mut stream = TcpStream::connect(process.address).unwrap();
    let timeout = Some(Duration::from_secs(30));
    stream.set_read_timeout(timeout).unwrap();
    let mut writer = stream.try_clone().unwrap();
    // The last one may be refused, and the connection reset, before all of it is sent.
    let writer = std::thread::spawn(move || writer.write_all(&sent));
    let mut answers = Vec::new();
    let _ = stream.read_to_end(&mut answers);
    let _ = writer.join().unwrap();
    let answers = String::from_utf8(answers).unwrap();
    let statuses: Vec<&str> = answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| &answer[..3])
        .collect();
    assert_eq!(
        statuses,
        ["200", "200", "409", "200", "200", "413"],
        "{answers}"
    );
    assert_eq!(process.add(&log.request(0, 1)).text(), "9\n");
}

#[test]
fn slow_clients_are_cut_off_and_hold_up_nobody() {
    let mut log = TestLog::new("example.com/log");
    let home = home_of(&mut log);
    configure(
        &home,
        "[limits]\nheader_timeout_ms = 400\nbody_timeout_ms = 400\nkeep_alive_idle_ms = 400\n\
         requests_in_flight_max = 300\n",
    );
    let process = home.serve();
    let body = log.request(0, 8);
    let mut slow: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = begin(process.address, body.len());
            stream.write_all(&body[..9]).unwrap();
            stream
        })
        .collect();
    slow.extend((0..200).map(|_| {
        let mut stream = TcpStream::connect(process.address).unwrap();
        stream.write_all(b"POST /add-checkpoint HT").unwrap();
        stream
    }));
    assert_eq!(process.add(&body).status, 200);
    assert_eq!(process.get("/health").status, 200);
    for stream in slow {
        let answer = rest_of(stream);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    let metrics = process.get("/metrics");
    for reason in ["BodyTimeout", "HeaderTimeout"] {
        let line = format!("jurat_http_refused_total{{reason=\"{reason}\"}} 200\n");
        assert!(metrics.text().contains(&line), "{}", metrics.text());
    }
    assert!(metrics.text().contains("jurat_http_requests_in_flight 1\n"));
}

#[test]
fn thousands_of_connections_are_served_and_more_are_turned_away() {
    const CONNECTIONS: usize = 10_000;
    let mut log = TestLog::new("example.com/log");
    let home = home_of(&mut log);
    configure(
        &home,
        &format!("[limits]\nconnections_max = {CONNECTIONS}\n"),
    );
    let files = OpenFiles::raise().unwrap();
    assert!(
        files.connections_max() > CONNECTIONS,
        "raise the hard limit on descriptors"
    );
    let process = home.serve();
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| process.client()).collect();
    for client in clients.iter_mut().step_by(5) {
        assert_eq!(client.call("GET", "/health", b"").unwrap().status, 200);
    }
    for _ in 0..20 {
        // Told so, or reset when too many are being told.
        let answer = process.client().call("GET", "/health", b"");
        assert!(answer.is_none_or(|answer| answer.status == 503));
    }
    let path = log.checkpoint_path();
    let last = clients.last_mut().unwrap();
    let answer = last
        .call("POST", "/add-checkpoint", &log.request(0, 8))
        .unwrap();
    assert_eq!(answer.status, 200, "who is connected is served");
    for client in clients.iter_mut().step_by(50) {
        assert_eq!(client.call("GET", &path, b"").unwrap().status, 200);
    }
    let metrics = clients[0].call("GET", "/metrics", b"").unwrap();
    let value = |name: &str| -> u64 {
        let line = metrics
            .text()
            .lines()
            .find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name}"))
            .trim()
            .parse()
            .unwrap()
    };
    assert_eq!(value("jurat_http_connections_open "), 10_000);
    assert!(value("jurat_http_refused_total{reason=\"Connections\"} ") >= 20);
    let resident = value("jurat_process_resident_memory_bytes ");
    assert!(resident < 400 << 20, "{resident} bytes");
    clients.truncate(CONNECTIONS - 10);
    until(|| {
        let answer = process.client().call("GET", "/health", b"");
        answer.is_some_and(|answer| answer.status == 200)
    });
}
