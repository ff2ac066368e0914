//! What only a whole process shows: signals, log lines, and the metrics of the process itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::env;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use jurat_daemon::exit;
use jurat_daemon::http::{self, HttpMetrics, Limits, Request, StatusCode};
use jurat_daemon::shutdown::{Reloads, Shutdown};
use jurat_daemon::telemetry::{self, LogFormat, prometheus_client::registry::Registry};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

const CHILD: &str = "JURAT_TEST_SIGNALS";

async fn patiently<F: IntoFuture>(future: F) -> F::Output {
    timeout(Duration::from_secs(30), future)
        .await
        .expect("waited too long")
}

fn child(test: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

async fn says(lines: &mut Lines<BufReader<ChildStdout>>, word: &str) {
    line_with(lines, word).await;
}

/// The rest of the next line of the child that holds `word`.
async fn line_with(lines: &mut Lines<BufReader<ChildStdout>>, word: &str) -> String {
    patiently(async {
        loop {
            let line = lines.next_line().await.unwrap().expect("the child ended");
            if let Some((_, rest)) = line.split_once(word) {
                return rest.trim().to_owned();
            }
        }
    })
    .await
}

async fn signal(child: &Child, name: &str) {
    let pid = child.id().unwrap().to_string();
    let status = Command::new("kill")
        .args([name, &pid])
        .status()
        .await
        .unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn a_hangup_reloads_a_first_signal_asks_and_a_second_ends_at_once() {
    let (mut child, mut lines) = child("child_waits_for_signals");
    says(&mut lines, "waiting").await;
    signal(&child, "-HUP").await;
    says(&mut lines, "reloading").await;
    signal(&child, "-TERM").await;
    says(&mut lines, "draining for ever").await;
    signal(&child, "-INT").await;
    let status = patiently(child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(i32::from(exit::RETRY)));
    let mut log = String::new();
    let mut stderr = child.stderr.take().unwrap();
    patiently(AsyncReadExt::read_to_string(&mut stderr, &mut log))
        .await
        .unwrap();
    // One JSON object a line, with the signal as a field.
    assert!(log.contains("\"signal\":\"SIGTERM\""), "{log}");
    assert!(log.contains("\"signal\":\"SIGINT\""), "{log}");
}

/// The child's part: nothing to do unless the parent asks.
#[tokio::test]
async fn child_waits_for_signals() {
    if env::var(CHILD).is_err() {
        return;
    }
    telemetry::init_logs(LogFormat::Json, "info").unwrap();
    assert!(telemetry::init_logs(LogFormat::Human, "info").is_err());
    let shutdown = Shutdown::on_signals().unwrap();
    let mut reloads = Reloads::new().unwrap();
    println!("waiting");
    reloads.next().await;
    println!("reloading");
    shutdown.wait().await;
    println!("draining for ever");
    std::future::pending::<()>().await;
}

#[test]
fn process_metrics_are_read_at_each_scrape() {
    let mut registry = Registry::default();
    telemetry::register_process(&mut registry, "1.2.3", "abc");
    let text = telemetry::encode(&registry);
    for line in [
        "build_info{version=\"1.2.3\",revision=\"abc\"} 1\n",
        "# TYPE process_cpu_seconds counter\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    for (name, least) in [
        ("process_uptime_seconds ", 0.0),
        ("process_resident_memory_bytes ", 100_000.0),
        ("process_open_fds ", 3.0),
        ("process_max_fds ", 3.0),
        ("process_threads ", 1.0),
        ("process_cpu_seconds_total ", 0.0),
    ] {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .expect(name);
        let value: f64 = line.parse().unwrap();
        assert!(value >= least, "{name}{value}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_filter_that_does_not_parse_is_an_error() {
    assert!(telemetry::init_logs(LogFormat::Human, "nonsense=loud=quiet").is_err());
}

#[tokio::test]
async fn a_listener_out_of_descriptors_pauses_and_then_serves_all() {
    let (_child, mut lines) = child("child_serves_with_few_descriptors");
    let address = line_with(&mut lines, "serving at").await;
    let mut peers = Vec::new();
    for _ in 0..100 {
        let mut peer = TcpStream::connect(&address).await.unwrap();
        peer.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        peers.push(peer);
    }
    // The child has 64 descriptors: the last ones are accepted only as the first ones go.
    for mut peer in peers {
        let mut answer = [0; 15];
        patiently(peer.read_exact(&mut answer)).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK"); // Spec: HTTP-10
    }
    let mut peer = TcpStream::connect(&address).await.unwrap();
    peer.write_all(b"GET /errors HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    patiently(peer.read_to_string(&mut answer)).await.unwrap();
    let errors = answer
        .split_once("http_accept_errors_total ")
        .expect("counted")
        .1;
    let errors: u64 = errors.lines().next().unwrap().parse().unwrap();
    // It paused: without pauses it would have failed many thousand times.
    assert!((1..1000).contains(&errors), "{errors}");
}

/// The child's part: nothing to do unless the parent asks.
#[tokio::test]
async fn child_serves_with_few_descriptors() {
    if env::var(CHILD).is_err() {
        return;
    }
    let (_, hard) = rlimit::Resource::NOFILE.get().unwrap();
    rlimit::Resource::NOFILE.set(64, hard).unwrap();
    let listener = http::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    println!("serving at {}", listener.local_addr().unwrap());
    let mut registry = Registry::default();
    let metrics = HttpMetrics::register(&mut registry);
    let registry = Arc::new(registry);
    let handler = move |_request: Request, _peer| {
        let registry = Arc::clone(&registry);
        async move { http::text(StatusCode::OK, telemetry::encode(&registry)) }
    };
    let shutdown = Shutdown::new();
    http::serve(
        listener,
        None,
        Limits::default(),
        Arc::new(handler),
        shutdown,
        metrics,
    )
    .await
    .unwrap();
}
