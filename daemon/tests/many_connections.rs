//! Thousands of idle connections, and one client that is served all the same.
//!
//! The idle peers live in a child process (this test binary again), so that each side has its own
//! descriptors.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells what it measured"
)]

mod support;

use std::env;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use jurat_daemon::http::{self, Limits, Request, StatusCode};
use jurat_daemon::limits::OpenFiles;
use support::{Server, patiently};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

const WANTED: usize = 10_000;
const NEEDED: usize = 4_000;
const PEERS: &str = "JURAT_TEST_IDLE_PEERS";

#[tokio::test]
async fn thousands_of_idle_connections_leave_room_for_one_more() {
    let connections = WANTED.min(OpenFiles::raise().unwrap().connections_max() - 100);
    assert!(
        connections >= NEEDED,
        "only {connections} descriptors: raise the hard limit"
    );
    let limits = Limits {
        connections_max: connections + 1,
        keep_alive_idle: Duration::from_secs(600),
        ..Limits::default()
    };
    let server = Server::start(limits, async |_request: Request, _peer| {
        http::text(StatusCode::OK, "ok\n")
    });
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "idle_peers", "--nocapture"])
        .env(PEERS, format!("{} {connections}", server.address))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    timeout(Duration::from_secs(300), async {
        while !lines
            .next_line()
            .await
            .unwrap()
            .expect("the peers ended")
            .contains("all idle")
        {}
    })
    .await
    .unwrap();
    assert_eq!(
        usize::try_from(server.metrics.connections_open()).unwrap(),
        connections
    );

    let mut peer = server.connect().await;
    for _ in 0..100 {
        assert_eq!(peer.get("/").await.status, 200);
    }
    let mut over = server.connect().await;
    assert_eq!(over.answer().await.status, 503); // Spec: HTTP-08

    // The drain closes them all: the peers see their ends, and end.
    server.shutdown.trigger();
    patiently(server.task).await.unwrap().unwrap();
    assert_eq!(server.metrics.connections_open(), 0);
    assert!(patiently(child.wait()).await.unwrap().success());
}

/// The child's part: nothing to do unless the parent asks.
#[tokio::test]
async fn idle_peers() {
    let Ok(asked) = env::var(PEERS) else {
        return;
    };
    let (address, count) = asked.split_once(' ').unwrap();
    let address: SocketAddr = address.parse().unwrap();
    OpenFiles::raise().unwrap();
    let mut streams = Vec::new();
    for _ in 0..count.parse().unwrap() {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        streams.push(stream);
    }
    println!("all idle");
    for mut stream in streams {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert!(rest.ends_with(b"ok\n"));
    }
}
