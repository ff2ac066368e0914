//! Load: threads that write ready bytes to kept-alive connections and read answers. No HTTP
//! library: client and server share the machine, and what the client costs the server lacks.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::report::Times;

/// A kept-alive connection. One request at a time.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    body_from: usize,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            buffer: Vec::with_capacity(16 << 10),
            body_from: 0,
        }
    }

    /// Sends a request and reads the answer; returns its status.
    pub fn call(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).unwrap();
        self.buffer.clear();
        let mut end = None;
        while end.is_none_or(|end| self.buffer.len() < end) {
            let mut chunk = [0; 8 << 10];
            let count = self.stream.read(&mut chunk).expect("an answer in time");
            assert!(count > 0, "the server closed the connection");
            self.buffer.extend_from_slice(&chunk[..count]);
            if end.is_none() {
                end = self.answer_end();
            }
        }
        let status = std::str::from_utf8(&self.buffer[9..12]).unwrap();
        status.parse().unwrap()
    }

    /// The body of the last answer.
    pub fn body(&self) -> &[u8] {
        &self.buffer[self.body_from..]
    }

    /// Where the answer ends, once its head is there.
    fn answer_end(&mut self) -> Option<usize> {
        let head = self
            .buffer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")?;
        self.body_from = head + 4;
        let text = std::str::from_utf8(&self.buffer[..head]).unwrap();
        let length = text.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().unwrap())
        });
        Some(self.body_from + length.expect("a length"))
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

const TOO_MANY: u16 = 429;

/// How often each status was answered.
pub type Statuses = BTreeMap<u16, u64>;

/// What a closed loop gave.
pub struct Saturated {
    /// Answers with status 200 a second.
    pub rate: f64,
    /// Over this time, after the warm-up.
    pub elapsed: Duration,
    /// Answers in it.
    pub answered: u64,
    /// Of the whole run.
    pub statuses: Statuses,
    /// Of the whole run.
    pub times: Times,
}

/// As many requests as the server takes: one connection a lane, each sending its next request when
/// the last is answered. Ends after `length`, or when a lane has nothing left. `mark` is called at
/// both ends of the measured stretch.
pub fn saturate(
    address: SocketAddr,
    lanes: &[Vec<Vec<u8>>],
    warm_up: Duration,
    length: Duration,
    mut mark: impl FnMut(),
) -> Saturated {
    let stop = AtomicBool::new(false);
    let answered = AtomicU64::new(0);
    let start = Barrier::new(lanes.len() + 1);
    let (stop, answered, start) = (&stop, &answered, &start);
    thread::scope(|scope| {
        let clients: Vec<_> = lanes
            .iter()
            .map(|lane| {
                scope.spawn(move || {
                    let mut connection = Connection::open(address);
                    let mut statuses = Statuses::new();
                    let mut times = Vec::with_capacity(lane.len());
                    start.wait();
                    for request in lane {
                        if stop.load(Ordering::Relaxed) {
                            return (statuses, times);
                        }
                        let sent = Instant::now();
                        let mut status = connection.call(request);
                        *statuses.entry(status).or_default() += 1;
                        // Told to come again, it does: the log's later requests stand on this.
                        while status == TOO_MANY && !stop.load(Ordering::Relaxed) {
                            status = connection.call(request);
                            *statuses.entry(status).or_default() += 1;
                        }
                        times.push(sent.elapsed());
                        answered.fetch_add(u64::from(status == 200), Ordering::Relaxed);
                    }
                    stop.store(true, Ordering::Relaxed);
                    (statuses, times)
                })
            })
            .collect();
        start.wait();
        thread::sleep(warm_up);
        mark();
        let from = (Instant::now(), answered.load(Ordering::Relaxed));
        while from.0.elapsed() < length && !stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
        let elapsed = from.0.elapsed();
        let counted = answered.load(Ordering::Relaxed) - from.1;
        mark();
        stop.store(true, Ordering::Relaxed);
        let (statuses, times) = join(clients);
        Saturated {
            rate: counted as f64 / elapsed.as_secs_f64(),
            elapsed,
            answered: counted,
            statuses,
            times: Times::new(times),
        }
    })
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
