//! Clients that are slow, large, rude or many: each meets its limit, and the others are served.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "what panics here is a test that fails"
)]

mod network;

use std::io::Read as _;
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::{Arc, Barrier, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use jurat::log::sequencer::WAITING_MAX;
use jurat::log::{Append, AppendError, Sequencer};
use jurat_daemon::limits::OpenFiles;
use jurat_proto::tree::TreeHead;
use jurat_store::{Fault, Faulty, LogStore, MemoryStore, NewEntry};
use prometheus_client::registry::Registry;
use tokio::sync::Notify;

use crate::network::{Client, Home, Service, TestLog, eventually, http};

/// A time limit for slow clients in these tests.
const LIMIT: Duration = Duration::from_millis(500);

fn short_limits() -> (Home, Service, TestLog) {
    let home = Home::new();
    let ms = LIMIT.as_millis();
    home.configure(&format!(
        "[limits]\nheader_timeout_ms = {ms}\nbody_timeout_ms = {ms}\nkeep_alive_idle_ms = {ms}"
    ));
    let mut log = TestLog::new("log.example/a");
    log.grow(60);
    home.add_log(&log);
    let service = home.serve();
    service.anchored(&log.request(0, 1));
    (home, service, log)
}

/// Sends byte after byte until the other end has had enough, and gives its answer.
fn drip(client: &mut Client, bytes: &[u8]) -> Option<u16> {
    for byte in bytes {
        if client.send(std::slice::from_ref(byte)).is_err() {
            break;
        }
        // Wait: a client that is slow on purpose.
        std::thread::sleep(LIMIT / 20);
    }
    client.read("POST").ok().map(|answer| answer.status)
}

/// Many clients that never finish, one in the header and one in the body, and one in a hurry.
// Spec: HTTP-01, HTTP-04
#[test]
fn slow_clients_are_cut_off_and_delay_nobody() {
    let (home, service, log) = short_limits();
    let head = format!(
        "POST /add-checkpoint HTTP/1.1\r\nHost: t\r\nX-Slow: {}\r\n",
        "y".repeat(200)
    );
    let request = http::request("POST", "/add-checkpoint", &[], &log.request(50, 60));
    let body_at = request.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let gate = Barrier::new(41);
    std::thread::scope(|scope| {
        let mut slow = Vec::new();
        for number in 0..40 {
            let (gate, service, head, request) = (&gate, &service, &head, &request);
            slow.push(scope.spawn(move || {
                let mut client = service.client();
                gate.wait();
                let began = Instant::now();
                let status = if number % 2 == 0 {
                    drip(&mut client, head.as_bytes())
                } else {
                    client.send(&request[..body_at]).unwrap();
                    drip(&mut client, &request[body_at..body_at + 100])
                };
                (status, began.elapsed())
            }));
        }
        gate.wait();
        for size in 1..20 {
            service.anchored(&log.request(size, size + 1));
        }
        for slow in slow {
            let (status, took) = slow.join().unwrap();
            assert_eq!(status, Some(408));
            assert!((LIMIT..10 * LIMIT).contains(&took), "{took:?}");
        }
    });
    assert_eq!(service.committed(), 20);
    drop(service);
    home.fsck();
}

/// A connection on which nothing happens is closed, and so is one that never asked anything.
// Spec: HTTP-02
#[test]
fn idle_connections_are_closed() {
    let (_home, service, log) = short_limits();
    let mut silent = service.client();
    let mut used = service.client();
    let answer = used.call("POST", "/add-checkpoint", &[], &log.request(1, 2));
    assert_eq!(answer.unwrap().status, 200);
    assert!(used.rest().unwrap().is_empty());
    assert!(silent.rest().unwrap().is_empty());
}

/// Clients that hang up at every stage: the state is that before or that after, and the service
/// goes on.
// Spec: SVC-01
#[test]
fn clients_that_hang_up_leave_the_state_whole() {
    let (home, service, log) = short_limits();
    let mut held = 1;
    // Sent whole and not heard of: each of them may still come to be decided.
    let mut unheard = Vec::new();
    for size in 2..50 {
        let request = http::request("POST", "/add-checkpoint", &[], &log.request(held, size));
        let whole = request.len();
        // In the head, in the body, one byte before its end, after it, and within the answer.
        let stage = size % 5;
        let sent = [20, whole / 2, whole - 1, whole, whole][usize::try_from(stage).unwrap()];
        let mut client = service.client();
        client.send(&request[..sent]).unwrap();
        if stage == 3 {
            unheard.push(size);
        } else if stage == 4 {
            client.stream.read_exact(&mut [0]).unwrap();
        }
        drop(client);
        let latest = service.latest(&log.origin).unwrap().head();
        let now = latest.size.get();
        assert_eq!(latest, log.head(now));
        let decided = now == held || unheard.contains(&now) || (stage == 4 && now == size);
        assert!(decided, "{now} after {held} at stage {stage}");
        held = now;
    }
    eventually("another client anchors", || {
        held = service.latest(&log.origin).unwrap().head().size.get();
        (service.add(&log.request(held, 60)).status == 200).then_some(())
    });
    let (index, _) = service.anchored(&log.request(60, 60));
    assert!(index > 0);
    assert_eq!(service.committed(), index + 1);
    drop(service);
    assert_eq!(home.fsck(), index + 1);
}

// Spec: HTTP-07
#[test]
fn an_oversized_head_gets_431() {
    let (_home, service, log) = short_limits();
    let huge = format!("X-Huge: {}", "z".repeat(20_000));
    let answer = service.call("POST", "/anchor", &[&huge], &log.request(1, 2));
    assert_eq!(answer.status, 431);
    let fields: Vec<String> = (0..200).map(|n| format!("X-{n}: 1")).collect();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    let answer = service.call("POST", "/anchor", &fields, &log.request(1, 2));
    assert_eq!(answer.status, 431);
    let path = format!("/logs/{}", "a".repeat(30_000));
    let answer = service.call("GET", &path, &[], b"");
    assert!(matches!(answer.status, 414 | 431), "{}", answer.status);
    assert_eq!(service.committed(), 1);
    service.anchored(&log.request(1, 2));
}

/// 10,000 connections that say nothing. The one that speaks is served as if it were alone.
#[test]
fn ten_thousand_idle_connections_delay_nobody() {
    const CONNECTIONS: usize = 10_000;
    let files = OpenFiles::raise().unwrap();
    let home = Home::new();
    home.configure("[limits]\nconnections_max = 12000\nkeep_alive_idle_ms = 600000");
    let mut log = TestLog::new("log.example/a");
    log.grow(60);
    home.add_log(&log);
    let service = home.serve();
    let room = files.connections_max();
    let connections = CONNECTIONS.min(room);
    if connections < CONNECTIONS {
        println!(
            "the limit of open files ({}) allows {connections}",
            files.hard
        );
        assert!(
            std::env::var_os("CI").is_none(),
            "10,000 connections need a limit of open files (ulimit -Hn) above 10,256"
        );
    }
    let idle: Vec<TcpStream> = (0..connections)
        .map(|_| TcpStream::connect(service.address).unwrap())
        .collect();
    service.anchored(&log.request(0, 1));
    let open = eventually("all are open", || {
        let open = service.metric("http_connections_open");
        (open >= u64::try_from(connections).unwrap()).then_some(open)
    });
    println!("{open} connections are open");
    for size in 1..20 {
        let began = Instant::now();
        let (_, receipt) = service.anchored(&log.request(size, size + 1));
        home.verify(&receipt);
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    // Each of them still works.
    for stream in idle.iter().step_by(997) {
        let mut client = Client {
            stream: std::io::BufReader::new(stream.try_clone().unwrap()),
        };
        let answer = client.call("GET", "/health", &[], b"").unwrap();
        assert_eq!(answer.status, 200);
    }
    drop(idle);
    eventually("all are closed", || {
        (service.metric("http_connections_open") < 10).then_some(())
    });
}

/// More connections than are allowed are turned away at once, and those that are open go on.
// Spec: HTTP-08
#[test]
fn connections_beyond_the_limit_are_turned_away() {
    let home = Home::new();
    home.configure("[limits]\nconnections_max = 8");
    let mut log = TestLog::new("log.example/a");
    log.grow(9);
    home.add_log(&log);
    let service = home.serve();
    let mut first = service.client();
    let answer = first.call("POST", "/add-checkpoint", &[], &log.request(0, 1));
    assert_eq!(answer.unwrap().status, 200);
    let idle: Vec<Client> = (0..7)
        .map(|_| {
            let mut client = service.client();
            client.call("GET", "/logs", &[], b"").unwrap();
            client
        })
        .collect();
    let mut refused = service.client();
    assert_eq!(refused.read("GET").unwrap().status, 503);
    let answer = first.call("POST", "/add-checkpoint", &[], &log.request(1, 2));
    assert_eq!(answer.unwrap().status, 200);
    drop(idle);
    eventually("there is room again", || {
        let mut client = service.client();
        let answer = client.call("POST", "/add-checkpoint", &[], &log.request(2, 2));
        answer
            .is_ok_and(|answer| answer.status == 200)
            .then_some(())
    });
}

/// As many submissions wait as may, behind a disk that does not answer; one more is refused at
/// once, and nothing of it is kept.
// Spec: SVC-15
#[tokio::test]
async fn submissions_beyond_the_queue_are_refused_at_once() {
    let (release, released) = std::sync::mpsc::sync_channel::<()>(0);
    let released = Mutex::new(released);
    let stuck = Arc::new(Notify::new());
    let is_stuck = Arc::clone(&stuck);
    let store = Arc::new(Faulty::with_crash(MemoryStore::new(), move || {
        is_stuck.notify_one();
        let _ = released.lock().unwrap().recv();
    }));
    store.fail_at(1, Fault::CrashBefore);
    let shared: Arc<dyn LogStore> = store.clone();
    let sequencer = Sequencer::start(shared, &mut Registry::default()).unwrap();
    let submit = |n: usize| {
        let sequencer = sequencer.clone();
        let entry = NewEntry::new(format!("entry {n}").into_bytes()).unwrap();
        let append = Append { entry, head: None };
        async move { sequencer.append(append).await }
    };
    let first = tokio::spawn(submit(0));
    stuck.notified().await;
    let waiting = (1..=WAITING_MAX.get()).map(|n| Box::pin(submit(n)));
    let mut waiting: Vec<_> = waiting.collect();
    for submission in &mut waiting {
        assert!(poll_once(submission.as_mut()).await.is_none());
    }
    let refused = submit(WAITING_MAX.get() + 1).await;
    assert_eq!(refused, Err(AppendError::Overloaded));
    release.send(()).unwrap();
    assert_eq!(first.await.unwrap(), Err(AppendError::Stopped));
    for submission in waiting {
        assert_eq!(submission.await, Err(AppendError::Stopped));
    }
    assert_eq!(store.inner().head().unwrap(), TreeHead::empty());
}

/// The outcome, when it is there already.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
