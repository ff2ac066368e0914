//! What gossip is on the wire: two witnesses as processes, and all that goes between them counted,
//! fields of HTTP and bodies apart. `docs/gossip-figures.md` has what it prints:
//!
//! ```sh
//! cargo test -p jurat-witness --test gossip_bytes -- --nocapture
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod rig;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rig::circle::{Place, acquaint, add_logs, homes, quiet, witness};
use rig::{TestLog, until};

/// A question and its answer, as they went by.
#[derive(Clone, Debug, Default)]
struct Exchange {
    question: String,
    asked: usize,
    answer: String,
    answered: usize,
}

/// A message of HTTP/1.1 whose body has a length: its fields with the empty line, and its body.
fn message(from: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let mut line = String::new();
        if from.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let field = line.to_ascii_lowercase();
        assert!(!field.starts_with("transfer-encoding"), "{line}");
        if let Some(value) = field.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head += &line;
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// Where a witness is found by the other one: what comes there goes on, and is counted. Ends with
/// the test program.
fn counted(to: SocketAddr, seen: &Arc<Mutex<Vec<Exchange>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::clone(seen);
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let seen = Arc::clone(&seen);
            thread::spawn(move || pass_on(client, to, &seen));
        }
    });
    address
}

/// One connection: a question, its answer, and the next one.
fn pass_on(client: TcpStream, to: SocketAddr, seen: &Mutex<Vec<Exchange>>) -> Option<()> {
    let server = TcpStream::connect(to).ok()?;
    let (mut client, mut server) = (BufReader::new(client), BufReader::new(server));
    loop {
        let (question, body) = message(&mut client)?;
        let asked = body.len();
        let whole = [question.as_bytes(), &body].concat();
        server.get_mut().write_all(&whole).ok()?;
        let (answer, body) = message(&mut server)?;
        let answered = body.len();
        let whole = [answer.as_bytes(), &body].concat();
        client.get_mut().write_all(&whole).ok()?;
        seen.lock().unwrap().push(Exchange {
            question,
            asked,
            answer,
            answered,
        });
    }
}

impl Exchange {
    /// What is asked: the first part of the path after `/gossip/v0/`.
    fn kind(&self) -> &str {
        let path = self.question.split(' ').nth(1).unwrap();
        let path = path.strip_prefix("/gossip/v0/").unwrap();
        path.split(['/', '?']).next().unwrap()
    }

    /// The line of a field of the question, its end included.
    fn field(head: &'_ str, name: &str) -> Option<String> {
        let mut lines = head.split_inclusive("\r\n");
        let of = |line: &&str| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
        lines.find(of).map(str::to_owned)
    }

    fn claim(&self) -> usize {
        Self::field(&self.question, "gossip-claim").map_or(0, |line| line.len())
    }

    /// All but bodies and claim.
    fn fields(&self) -> usize {
        self.question.len() + self.answer.len() - self.claim()
    }
}

const LOGS: usize = 40;

// Spec: GSP-93
#[test]
fn witnesses_ask_for_gzip_and_get_it_and_few_other_bytes_go_between_them() {
    let homes = homes(2);
    let places: Vec<Place> = homes.iter().map(|_| Place::take()).collect();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let found: Vec<SocketAddr> = places
        .iter()
        .map(|place| counted(place.address, &seen))
        .collect();
    let url = |_, other: usize| format!("http://{}", found[other]);
    let more = |_| "round_ms = 1000\n".to_owned();
    acquaint(&homes, |place| places[place].address, url, more);
    let logs = (0..LOGS).map(|log| {
        let mut log = TestLog::new(&format!("example.com/{log}"));
        log.grow(20);
        log
    });
    let logs: Vec<TestLog> = logs.collect();
    add_logs(&homes, logs.iter().map(|log| (log, None)));
    let processes: Vec<_> = homes.iter().map(|home| quiet(witness(), home)).collect();
    for log in &logs {
        for process in &processes {
            assert_eq!(process.add(&log.request(0, 10)).status, 200);
        }
        // The other one hears of it by gossip.
        assert_eq!(processes[0].add(&log.request(10, 20)).status, 200);
    }
    let kinds = || {
        let mut kinds: BTreeMap<String, Vec<Exchange>> = BTreeMap::new();
        for exchange in &*seen.lock().unwrap() {
            let of = kinds.entry(exchange.kind().to_owned()).or_default();
            of.push(exchange.clone());
        }
        kinds
    };
    // With a list of evidence, or without: there is none, and it is asked for seldom.
    until(|| {
        let kinds = kinds();
        let mut all = ["state", "heads", "fetch", "challenge"].iter();
        all.all(|kind| kinds.contains_key(*kind))
    });
    let mut packed = 0;
    for (kind, exchanges) in kinds() {
        let count = exchanges.len();
        let mean = |of: fn(&Exchange) -> usize| exchanges.iter().map(of).sum::<usize>() / count;
        println!(
            "{kind}: {count}, fields {}, claim {}, asked {}, answered {}",
            mean(Exchange::fields),
            mean(Exchange::claim),
            mean(|exchange| exchange.asked),
            mean(|exchange| exchange.answered),
        );
        println!("{}{}", exchanges[0].question, exchanges[0].answer);
        for exchange in exchanges {
            let accepts = Exchange::field(&exchange.question, "accept-encoding");
            assert!(accepts.is_some_and(|field| field.contains("gzip")));
            let coding = Exchange::field(&exchange.answer, "content-encoding");
            assert!(
                exchange.answered < 1024 || coding.is_some(),
                "{}",
                exchange.answer
            );
            packed += usize::from(coding.is_some());
            assert!(exchange.fields() <= FIELDS_MAX, "{exchange:?}");
        }
    }
    assert!(packed > 0, "no answer was compressed");
}

/// The fields of a question and its answer, without the claim.
const FIELDS_MAX: usize = 600;
