//! Load: ready bytes are written to kept-alive connections and answers read. No HTTP library:
//! client and server share the machine, and what the client costs the server lacks. For the same
//! reason one thread drives all connections of a closed loop, and lets answers gather before it
//! looks at them: a client that is woken and switched to for each answer pays more for that than
//! for the rest, and part of it is paid by whoever sends the answer.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use super::report::Times;

/// A kept-alive connection. One request at a time.
pub struct Connection {
    stream: TcpStream,
    answer: Answer,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            answer: Answer::new(),
        }
    }

    /// Sends a request and reads the answer; returns its status.
    pub fn call(&mut self, request: &[u8]) -> u16 {
        self.send(request);
        loop {
            if let Some(status) = self.receive() {
                return status;
            }
        }
    }

    fn send(&mut self, request: &[u8]) {
        self.stream.write_all(request).unwrap();
        self.answer.clear();
    }

    /// Reads once; gives the status when the answer is whole.
    fn receive(&mut self) -> Option<u16> {
        let mut chunk = [0; 8 << 10];
        let count = self.stream.read(&mut chunk).expect("an answer in time");
        self.answer.push(&chunk[..count]);
        self.answer.is_whole().then(|| self.answer.status())
    }

    /// The body of the last answer.
    pub fn body(&self) -> &[u8] {
        self.answer.body()
    }
}

/// What came of an answer.
struct Answer {
    bytes: Vec<u8>,
    body_from: usize,
    end: Option<usize>,
}

impl Answer {
    fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(16 << 10),
            body_from: 0,
            end: None,
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.end = None;
    }

    fn push(&mut self, more: &[u8]) {
        assert!(!more.is_empty(), "the server closed the connection");
        self.bytes.extend_from_slice(more);
        if self.end.is_none() {
            self.end = self.find_end();
        }
    }

    fn is_whole(&self) -> bool {
        self.end.is_some_and(|end| self.bytes.len() >= end)
    }

    fn status(&self) -> u16 {
        let status = std::str::from_utf8(&self.bytes[9..12]).unwrap();
        status.parse().unwrap()
    }

    fn body(&self) -> &[u8] {
        &self.bytes[self.body_from..]
    }

    /// Where the answer ends, once its head is there.
    fn find_end(&mut self) -> Option<usize> {
        let head = self.bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        self.body_from = head + 4;
        let text = std::str::from_utf8(&self.bytes[..head]).unwrap();
        let length = text.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().unwrap())
        });
        Some(self.body_from + length.expect("a length"))
    }
}

/// How long answers gather in a closed loop: of 64 connections at 20,000 answers a second five.
const GATHER: Duration = Duration::from_micros(250);

const PATIENCE: Duration = Duration::from_secs(60);

const TOO_MANY: u16 = 429;

/// How often each status was answered.
pub type Statuses = BTreeMap<u16, u64>;

/// What a stretch of a closed loop gave.
pub struct Saturated {
    /// Answers with status 200 a second.
    pub rate: f64,
    /// Answers, after the warm-up.
    pub answered: u64,
    /// Of the whole stretch, with its warm-up.
    pub statuses: Statuses,
    /// As `statuses`.
    pub times: Vec<Duration>,
}

/// As many requests as the server takes, in stretches: one connection a lane, each sending its next
/// request when the last is answered.
pub struct ClosedLoop<'requests> {
    ready: OwnedFd,
    lanes: Vec<Lane<'requests>>,
}

impl<'requests> ClosedLoop<'requests> {
    pub fn open(address: SocketAddr, lanes: &'requests [Vec<Vec<u8>>]) -> Self {
        let ready = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let lanes: Vec<_> = lanes.iter().map(|lane| Lane::open(address, lane)).collect();
        for (number, lane) in lanes.iter().enumerate() {
            let data = epoll::EventData::new_u64(number.try_into().unwrap());
            let stream = &lane.connection.stream;
            epoll::add(&ready, stream, data, epoll::EventFlags::IN).unwrap();
        }
        Self { ready, lanes }
    }

    /// One stretch, which goes on where the last one ended. It ends after `length`, or when a lane
    /// has nothing left. `mark` is called at both ends of what is measured.
    pub fn run(
        &mut self,
        warm_up: Duration,
        length: Duration,
        mut mark: impl FnMut(),
    ) -> Saturated {
        let (mut statuses, mut times) = (Statuses::new(), Vec::new());
        let (mut answered, mut waiting) = (0_u64, self.lanes.len());
        // When what is measured began and ended, and how many had been answered.
        let mut from: Option<(Instant, u64)> = None;
        let mut until: Option<(Instant, u64)> = None;
        let mut events = Vec::with_capacity(self.lanes.len());
        let begun = Instant::now();
        for lane in &mut self.lanes {
            assert!(lane.send(), "nothing is left to send");
        }
        // Whoever has sent is still given its answer at the end.
        while waiting > 0 {
            events.clear();
            let patience = PATIENCE.try_into().unwrap();
            epoll::wait(&self.ready, spare_capacity(&mut events), Some(&patience)).unwrap();
            assert!(!events.is_empty(), "no answer in time");
            let mut is_empty = false;
            for event in &events {
                let lane = &mut self.lanes[usize::try_from(event.data.u64()).unwrap()];
                let Some(status) = lane.connection.receive() else {
                    continue;
                };
                *statuses.entry(status).or_default() += 1;
                // Told to come again, it does: the log's later requests stand on this.
                if status == TOO_MANY && until.is_none() {
                    lane.send_again();
                    continue;
                }
                times.push(lane.sent.elapsed());
                answered += u64::from(status == 200);
                lane.at += usize::from(status != TOO_MANY);
                let sent = until.is_none() && lane.send();
                waiting -= usize::from(!sent);
                is_empty |= !sent;
            }
            if from.is_none() && (is_empty || begun.elapsed() >= warm_up) {
                mark();
                from = Some((Instant::now(), answered));
            }
            let over = |(since, _): (Instant, u64)| is_empty || since.elapsed() >= length;
            if until.is_none() && from.is_some_and(over) {
                until = Some((Instant::now(), answered));
                mark();
            }
            thread::sleep(GATHER);
        }
        let ((since, before), (end, all)) = from.zip(until).unwrap();
        Saturated {
            rate: (all - before) as f64 / (end - since).as_secs_f64(),
            answered: all - before,
            statuses,
            times,
        }
    }
}

/// A connection and what it has to send.
struct Lane<'requests> {
    connection: Connection,
    requests: &'requests [Vec<u8>],
    /// What is sent next, or was sent and is not answered.
    at: usize,
    sent: Instant,
}

impl<'requests> Lane<'requests> {
    fn open(address: SocketAddr, requests: &'requests [Vec<u8>]) -> Self {
        Self {
            connection: Connection::open(address),
            requests,
            at: 0,
            sent: Instant::now(),
        }
    }

    /// False if nothing is left.
    fn send(&mut self) -> bool {
        self.sent = Instant::now();
        self.send_again()
    }

    fn send_again(&mut self) -> bool {
        let request = self.requests.get(self.at);
        if let Some(request) = request {
            self.connection.send(request);
        }
        request.is_some()
    }
}

/// What an open loop gave.
pub struct Paced {
    /// From the moment a request was due, not from when it was sent: a server (or this client)
    /// that falls behind makes all that follow late, and that is counted.
    pub times: Times,
    /// How long after they were due requests were sent.
    pub lateness: Times,
    pub statuses: Statuses,
}

impl Paced {
    /// What several turns gave.
    pub fn all(turns: Vec<Self>) -> Self {
        let (mut statuses, mut times, mut lateness) = (Statuses::new(), Vec::new(), Vec::new());
        for turn in turns {
            for (status, count) in turn.statuses {
                *statuses.entry(status).or_default() += count;
            }
            times.push(turn.times);
            lateness.push(turn.lateness);
        }
        Self {
            times: Times::all(times),
            lateness: Times::all(lateness),
            statuses,
        }
    }
}

/// Requests at a fixed rate, whatever the answers do. Request `i` goes over connection `i` modulo
/// `connections`, so that the requests of one log stay in order.
pub fn paced(
    address: SocketAddr,
    requests: &[Vec<u8>],
    rate: u32,
    connections: usize,
    skipped: usize,
) -> Paced {
    paced_and_looked_at(address, requests, rate, connections, skipped, |_| {})
}

/// The same, and each answer's body is looked at, after its time was taken.
pub fn paced_and_looked_at(
    address: SocketAddr,
    requests: &[Vec<u8>],
    rate: u32,
    connections: usize,
    skipped: usize,
    look: impl Fn(&[u8]) + Sync,
) -> Paced {
    let look = &look;
    let period = Duration::from_secs(1) / rate;
    let ready = Barrier::new(connections);
    // Later than the slowest thread needs to start.
    let first = Instant::now() + Duration::from_millis(500);
    let (mut statuses, mut all) = (Statuses::new(), Vec::new());
    thread::scope(|scope| {
        let clients: Vec<_> = (0..connections)
            .map(|number| {
                let ready = &ready;
                let client = move || {
                    wake_promptly();
                    let mut connection = Connection::open(address);
                    let mut statuses = Statuses::new();
                    let mut times = Vec::new();
                    ready.wait();
                    for (place, request) in requests
                        .iter()
                        .enumerate()
                        .skip(number)
                        .step_by(connections)
                    {
                        let due = first + period * u32::try_from(place).unwrap();
                        thread::sleep(due.saturating_duration_since(Instant::now()));
                        let late = due.elapsed();
                        let status = connection.call(request);
                        let took = due.elapsed();
                        look(connection.body());
                        *statuses.entry(status).or_default() += 1;
                        if place >= skipped {
                            times.push((took, late));
                        }
                    }
                    (statuses, times)
                };
                thread::Builder::new()
                    .stack_size(128 << 10)
                    .spawn_scoped(scope, client)
                    .unwrap()
            })
            .collect();
        (statuses, all) = join(clients);
    });
    let (times, lateness) = all.into_iter().unzip();
    Paced {
        times: Times::new(times),
        lateness: Times::new(lateness),
        statuses,
    }
}

/// Has sleeps of this thread end when they should: Linux may let them last 50 µs longer, to save
/// wakes, and that would be counted as the server's time.
fn wake_promptly() {
    let this = std::fs::read_link("/proc/thread-self").unwrap();
    let thread = this.file_name().unwrap().to_str().unwrap();
    std::fs::write(format!("/proc/{thread}/timerslack_ns"), "1000").unwrap();
}

type Client<'scope, T> = thread::ScopedJoinHandle<'scope, (Statuses, Vec<T>)>;

fn join<T>(clients: Vec<Client<'_, T>>) -> (Statuses, Vec<T>) {
    let mut statuses = Statuses::new();
    let mut times = Vec::new();
    for client in clients {
        let (counts, more) = client.join().unwrap();
        for (status, count) in counts {
            *statuses.entry(status).or_default() += count;
        }
        times.extend(more);
    }
    (statuses, times)
}
