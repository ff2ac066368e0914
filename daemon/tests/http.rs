//! The listener's rules (`spec/http.md`) over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jurat_daemon::http::{
    self, BodyError, Limits, Method, Refused, Request, Response, Route, StatusCode, read_body,
};
use jurat_daemon::telemetry;
use support::{PATIENCE, Server, patiently};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, Interval, interval};

const SHORT: Duration = Duration::from_millis(300);

/// Answers with the path, or with the body when there is one.
async fn echo(request: Request, _peer: SocketAddr) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = match read_body(request, 1000, PATIENCE).await {
        Ok(body) if body.is_empty() => http::text(StatusCode::OK, path),
        Ok(body) => http::text(StatusCode::OK, body),
        Err(error) => error.response(),
    };
    response.extensions_mut().insert(Route("/echo"));
    response
}

#[tokio::test]
async fn a_connection_carries_many_requests_and_is_counted_once() {
    let server = Server::start(Limits::default(), echo);
    let mut peer = server.connect().await;
    for path in ["/a", "/b", "/c"] {
        let answer = peer.get(path).await;
        assert_eq!((answer.status, answer.text()), (200, path));
        assert_eq!(answer.field("x-content-type-options"), Some("nosniff")); // Spec: HTTP-15
    }
    drop(peer);
    let metrics = telemetry::encode(&server.registry);
    assert!(metrics.contains("http_connections_total 1\n"), "{metrics}");
    assert!(
        metrics.contains("http_requests_total{route=\"/echo\",class=\"2xx\"} 3\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("http_request_duration_seconds_count{route=\"/echo\"} 3\n"),
        "{metrics}"
    );
    server.stop().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(Limits::default(), echo);
    let mut peer = server.connect().await;
    let three: String = ["/1", "/2", "/3"]
        .map(|path| format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{path}"))
        .concat();
    peer.send(three).await;
    for path in ["/1", "/2", "/3"] {
        assert_eq!(peer.answer().await.text(), path);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_head_that_stops_is_answered_408_and_closed() {
    let limits = Limits {
        header_timeout: SHORT,
        ..Limits::default()
    };
    let server = Server::start(limits, echo);
    let mut peer = server.connect().await;
    let begun = Instant::now();
    peer.send("GET / HTTP/1.1\r\nHos").await;
    let answer = peer.answer().await;
    assert_eq!(answer.status, 408); // Spec: HTTP-01
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(peer.is_ended().await);
    assert!(begun.elapsed() >= SHORT, "{:?}", begun.elapsed());
    assert_eq!(server.metrics.refused_count(Refused::HeaderTimeout), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_head_that_trickles_earns_no_time_even_on_a_used_connection() {
    let limits = Limits {
        header_timeout: SHORT,
        ..Limits::default()
    };
    let server = Server::start(limits, echo);
    let mut peer = server.connect().await;
    assert_eq!(peer.get("/").await.status, 200);
    let (mut reader, mut writer) = peer.stream.into_split();
    let trickle = tokio::spawn(async move {
        let mut tick = interval(SHORT / 10);
        let _ = writer.write_all(b"GET / HTTP/1.1\r\nX: ").await;
        while writer.write_all(b"x").await.is_ok() {
            tick.tick().await;
        }
    });
    let mut answer = [0; 12];
    patiently(reader.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408"); // Spec: HTTP-01
    trickle.abort();
    server.stop().await;
}

#[tokio::test]
async fn an_idle_connection_outlives_the_head_timeout_and_ends_without_words() {
    let limits = Limits {
        header_timeout: SHORT / 10,
        keep_alive_idle: SHORT,
        ..Limits::default()
    };
    let server = Server::start(limits, echo);
    let (mut unused, mut used) = (server.connect().await, server.connect().await);
    assert_eq!(used.get("/").await.status, 200);
    let begun = Instant::now();
    // Spec: HTTP-02
    assert!(unused.is_ended().await);
    assert!(used.is_ended().await);
    assert!(begun.elapsed() >= SHORT / 2, "{:?}", begun.elapsed());
    assert_eq!(server.metrics.refused_count(Refused::HeaderTimeout), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_stops_is_answered_408_and_closed() {
    let limits = Limits {
        body_timeout: SHORT,
        ..Limits::default()
    };
    let server = Server::start(limits, echo);
    for head in [
        "Content-Length: 10\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let mut peer = server.connect().await;
        peer.send(format!("POST / HTTP/1.1\r\nHost: x\r\n{head}"))
            .await;
        let answer = peer.answer().await;
        assert_eq!(answer.status, 408, "{}", answer.text()); // Spec: HTTP-04
        assert_eq!(answer.field("connection"), Some("close"));
        assert!(peer.is_ended().await);
    }
    assert_eq!(server.metrics.refused_count(Refused::BodyTimeout), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_trickles_earns_no_time() {
    let limits = Limits {
        body_timeout: SHORT,
        ..Limits::default()
    };
    let server = Server::start(limits, echo);
    let peer = server.connect().await;
    let (mut reader, mut writer) = peer.stream.into_split();
    let trickle = tokio::spawn(async move {
        let mut tick = interval(SHORT / 10);
        let head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n";
        let _ = writer.write_all(head).await;
        while writer.write_all(b"x").await.is_ok() {
            tick.tick().await;
        }
    });
    let mut answer = [0; 12];
    patiently(reader.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408"); // Spec: HTTP-04
    trickle.abort();
    server.stop().await;
}

#[tokio::test]
async fn a_peer_that_hangs_up_in_a_body_is_an_error_to_the_handler_and_no_more() {
    let (tell, mut told) = mpsc::channel(1);
    let server = Server::start(Limits::default(), move |request: Request, _peer| {
        let tell = tell.clone();
        async move {
            let read = request.into_body().read(1000).await;
            let response = match &read {
                Ok(_) => http::text(StatusCode::OK, "whole\n"),
                Err(error) => error.response(),
            };
            tell.send(read).await.unwrap();
            response
        }
    });
    let mut peer = server.connect().await;
    peer.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        .await;
    drop(peer);
    let read = patiently(told.recv()).await.unwrap();
    assert!(matches!(read, Err(BodyError::Broken { .. })), "{read:?}"); // Spec: HTTP-07
    let mut peer = server.connect().await;
    assert_eq!(peer.get("/").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn an_announced_body_over_the_limit_is_413_before_any_handler_or_continue() {
    let seen = Arc::new(AtomicUsize::new(0));
    let limits = Limits {
        body_bytes_max: 1000,
        ..Limits::default()
    };
    let server = Server::start(limits, {
        let seen = Arc::clone(&seen);
        move |_request: Request, _peer| {
            seen.fetch_add(1, Ordering::Relaxed);
            async { http::text(StatusCode::OK, "seen\n") }
        }
    });
    let mut peer = server.connect().await;
    peer.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n")
        .await;
    let answer = peer.answer().await;
    assert_eq!(answer.status, 413); // Spec: HTTP-05
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(peer.is_ended().await);
    assert_eq!(seen.load(Ordering::Relaxed), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_handler_that_allows_less_refuses_before_continue_too() {
    let server = Server::start(Limits::default(), echo);
    let mut peer = server.connect().await;
    peer.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n")
        .await;
    assert_eq!(peer.answer().await.status, 413); // Spec: HTTP-05
    server.stop().await;
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_taken_after_continue() {
    let limits = Limits {
        body_bytes_max: 1000,
        ..Limits::default()
    };
    let server = Server::start(limits, echo);
    let mut peer = server.connect().await;
    peer.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n")
        .await;
    assert_eq!(peer.answer().await.status, 100);
    peer.send([b'x'; 1000]).await;
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.body.len()), (200, 1000));
    server.stop().await;
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_is_413_once_it_passes_it() {
    let limits = Limits {
        body_bytes_max: 500,
        ..Limits::default()
    };
    let server = Server::start(limits, echo);
    let mut peer = server.connect().await;
    peer.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    for _ in 0..6 {
        peer.send(format!("64\r\n{}\r\n", "x".repeat(100))).await;
    }
    assert_eq!(peer.answer().await.status, 413); // Spec: HTTP-05
    assert!(peer.is_ended().await);
    assert_eq!(server.metrics.refused_count(Refused::BodyTooLarge), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_reaches_a_peer_that_sends_on_before_it_reads() {
    let server = Server::start(Limits::default(), echo);
    let mut peer = server.connect().await;
    peer.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n")
        .await;
    // Far more than the sockets buffer: without the bounded read, a reset would eat the answer.
    peer.send(vec![b'x'; 2_000_000]).await;
    assert_eq!(peer.answer().await.status, 413); // Spec: HTTP-18
    server.stop().await;
}

#[tokio::test]
async fn what_does_not_parse_is_refused_and_closed() {
    let server = Server::start(Limits::default(), echo);
    let long = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "x".repeat(20_000)
    );
    let endless = format!("GET /{}", "x".repeat(100_000));
    let many = format!(
        "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "X: y\r\n".repeat(101)
    );
    for (bytes, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/1.9\r\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nBad Field: y\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            400,
        ),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\u{7f}\x03\x03", 400),
        ("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (&long, 431),
        (&endless, 431),
        (&many, 431),
    ] {
        let mut peer = server.connect().await;
        peer.send(bytes).await;
        let answer = peer.answer().await;
        let shown = &bytes[..bytes.len().min(60)];
        assert_eq!(answer.status, status, "{shown:?}: {}", answer.text()); // Spec: HTTP-07
    }
    let mut peer = server.connect().await;
    assert_eq!(peer.get("/").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn http_1_0_needs_no_host_and_is_closed_after_its_answer() {
    let server = Server::start(Limits::default(), echo);
    let mut peer = server.connect().await;
    peer.send("GET /old HTTP/1.0\r\n\r\n").await;
    assert_eq!(peer.answer().await.text(), "/old");
    assert!(peer.is_ended().await);
    server.stop().await;
}

#[tokio::test]
async fn head_has_the_fields_of_get_and_no_content() {
    let server = Server::start(
        Limits::default(),
        async |request: Request, _peer| match http::only(request.method(), &[Method::GET]) {
            Some(refusal) => refusal,
            None => http::text(StatusCode::OK, "twelve bytes"),
        },
    );
    let mut peer = server.connect().await;
    peer.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = peer.answer_to(false).await;
    assert_eq!(
        (answer.status, answer.field("content-length")),
        (200, Some("12"))
    ); // Spec: HTTP-19
    // Were there content, it would stand before this answer.
    peer.send("PUT / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = peer.answer().await;
    assert_eq!(
        (answer.status, answer.field("allow")),
        (405, Some("GET, HEAD"))
    ); // Spec: HTTP-12
    server.stop().await;
}

#[tokio::test]
async fn a_connection_over_the_limit_is_told_so_at_once() {
    let limits = Limits {
        connections_max: 2,
        ..Limits::default()
    };
    let server = Server::start(limits, echo);
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    assert_eq!(first.get("/").await.status, 200);
    assert_eq!(second.get("/").await.status, 200);
    let mut third = server.connect().await;
    let answer = third.answer().await;
    assert_eq!(answer.status, 503); // Spec: HTTP-08
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(third.is_ended().await);
    assert_eq!(server.metrics.refused_count(Refused::Connections), 1);
    assert_eq!(first.get("/").await.status, 200);

    drop(second);
    patiently(async {
        while server.metrics.connections_open() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The permit goes a moment after the gauge: the first that is admitted proves the place.
    patiently(async {
        loop {
            let mut peer = server.connect().await;
            peer.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
            if peer.answer().await.status == 200 {
                break;
            }
        }
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_request_over_the_limit_is_turned_away_and_its_connection_stays() {
    let (begun, mut has_begun) = mpsc::channel(1);
    let go = Arc::new(Notify::new());
    let limits = Limits {
        requests_in_flight_max: 1,
        ..Limits::default()
    };
    let server = Server::start(limits, {
        let go = Arc::clone(&go);
        move |request: Request, _peer| {
            let (go, begun) = (Arc::clone(&go), begun.clone());
            async move {
                if request.uri().path() == "/slow" {
                    begun.send(()).await.unwrap();
                    go.notified().await;
                }
                http::text(StatusCode::OK, "done\n")
            }
        }
    });
    let (mut slow, mut other) = (server.connect().await, server.connect().await);
    slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    patiently(has_begun.recv()).await.unwrap();
    let answer = other.get("/").await;
    assert_eq!(
        (answer.status, answer.field("retry-after")),
        (503, Some("1"))
    ); // Spec: HTTP-09
    go.notify_one();
    assert_eq!(slow.answer().await.status, 200);
    assert_eq!(other.get("/").await.status, 200);
    assert_eq!(server.metrics.refused_count(Refused::InFlight), 1);
    server.stop().await;
}

/// Counts when it is dropped.
struct OnDrop(Arc<AtomicUsize>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_handler_that_takes_too_long_is_dropped() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let limits = Limits {
        request_timeout: SHORT,
        ..Limits::default()
    };
    let server = Server::start(limits, {
        let dropped = Arc::clone(&dropped);
        move |_request: Request, _peer| {
            let guard = OnDrop(Arc::clone(&dropped));
            async move {
                let _guard = guard;
                std::future::pending().await
            }
        }
    });
    let mut peer = server.connect().await;
    let answer = peer.get("/").await;
    assert_eq!(
        (answer.status, answer.field("retry-after")),
        (503, Some("1"))
    ); // Spec: HTTP-03
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
    assert_eq!(server.metrics.refused_count(Refused::RequestTimeout), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_handler_that_panics_is_a_500_and_the_connection_stays() {
    let server = Server::start(Limits::default(), async |request: Request, _peer| {
        assert_ne!(request.uri().path(), "/bug", "secret detail");
        http::text(StatusCode::OK, "fine\n")
    });
    let mut peer = server.connect().await;
    let answer = peer.get("/bug").await;
    assert_eq!((answer.status, answer.text()), (500, "internal error\n")); // Spec: HTTP-16
    assert_eq!(peer.get("/").await.status, 200);
    assert_eq!(server.metrics.refused_count(Refused::Panic), 1);
    server.stop().await;
}

const LARGE: usize = 32 << 20;

async fn large(_request: Request, _peer: SocketAddr) -> Response {
    http::text(StatusCode::OK, vec![b'x'; LARGE])
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off() {
    let limits = Limits {
        write_timeout: SHORT,
        ..Limits::default()
    };
    let server = Server::start(limits, large);
    let mut peer = server.connect().await;
    peer.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    patiently(async {
        while server.metrics.refused_count(Refused::WriteTimeout) == 0 {
            tokio::time::sleep(SHORT / 10).await; // Wait: a counter has no event to wait for
        }
    })
    .await;
    let mut rest = Vec::new();
    let _ = patiently(peer.stream.read_to_end(&mut rest)).await;
    assert!(rest.len() < LARGE); // Spec: HTTP-06
    server.stop().await;
}

#[tokio::test]
async fn a_peer_that_reads_gets_all_of_a_large_response() {
    let server = Server::start(Limits::default(), large);
    let mut peer = server.connect().await;
    assert_eq!(peer.get("/").await.body.len(), LARGE);
    assert_eq!(peer.get("/").await.body.len(), LARGE);
    server.stop().await;
}

/// Takes at most `piece` bytes, then waits a little: a peer behind a thin line.
async fn sip(stream: &mut TcpStream, piece: usize, tick: &mut Interval) -> usize {
    let mut bytes = vec![0; piece];
    tick.tick().await;
    stream.read(&mut bytes).await.unwrap_or(0)
}

#[tokio::test]
async fn a_slow_reader_that_makes_progress_is_not_cut_off() {
    let limits = Limits {
        write_timeout: SHORT,
        ..Limits::default()
    };
    let server = Server::start(limits, large);
    let mut peer = server.connect().await;
    peer.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let begun = Instant::now();
    let mut tick = interval(SHORT / 30);
    let mut total = 0;
    while total < LARGE {
        let count = patiently(sip(&mut peer.stream, LARGE / 60, &mut tick)).await;
        assert_ne!(count, 0, "cut off after {total} bytes");
        total += count;
    }
    assert!(begun.elapsed() > SHORT); // Spec: HTTP-06
    assert_eq!(server.metrics.refused_count(Refused::WriteTimeout), 0);
    server.stop().await;
}

/// A handler that tells when it has begun, and waits to be let go.
struct Gate {
    begun: mpsc::Receiver<()>,
    go: Arc<Notify>,
}

fn gate() -> (Gate, impl http::Handler) {
    let (tell, begun) = mpsc::channel(1);
    let go = Arc::new(Notify::new());
    let handler = {
        let go = Arc::clone(&go);
        move |_request: Request, _peer| {
            let (go, tell) = (Arc::clone(&go), tell.clone());
            async move {
                tell.send(()).await.unwrap();
                go.notified().await;
                http::text(StatusCode::OK, "late but whole\n")
            }
        }
    };
    (Gate { begun, go }, handler)
}

#[tokio::test]
async fn a_drain_answers_what_is_in_flight_and_closes_what_is_idle() {
    let (mut gate, handler) = gate();
    let server = Server::start(Limits::default(), handler);
    let (mut idle, mut busy) = (server.connect().await, server.connect().await);
    busy.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    patiently(gate.begun.recv()).await.unwrap();
    server.shutdown.trigger();
    // Spec: HTTP-17
    assert!(idle.is_ended().await);
    patiently(async { while TcpStream::connect(server.address).await.is_ok() {} }).await;
    assert!(!server.task.is_finished());
    gate.go.notify_one();
    let answer = busy.answer().await;
    assert_eq!((answer.status, answer.text()), (200, "late but whole\n"));
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(busy.is_ended().await);
    server.stop().await;
}

#[tokio::test]
async fn a_drain_ends_in_time_whatever_is_in_flight() {
    let (mut gate, handler) = gate();
    let limits = Limits {
        drain_timeout: SHORT,
        ..Limits::default()
    };
    let server = Server::start(limits, handler);
    let mut busy = server.connect().await;
    busy.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    patiently(gate.begun.recv()).await.unwrap();
    let begun = Instant::now();
    server.shutdown.trigger();
    patiently(server.task).await.unwrap().unwrap();
    assert!(begun.elapsed() >= SHORT); // Spec: HTTP-17
    assert_eq!(server.metrics.refused_count(Refused::Drain), 1);
    assert_eq!(server.metrics.connections_open(), 0);
}

#[tokio::test]
async fn a_used_idle_connection_is_closed_by_a_drain() {
    let server = Server::start(Limits::default(), echo);
    let mut peer = server.connect().await;
    assert_eq!(peer.get("/").await.status, 200);
    server.shutdown.trigger();
    assert!(peer.is_ended().await); // Spec: HTTP-17
    server.stop().await;
}

#[tokio::test]
async fn an_entity_that_the_peer_has_is_not_sent_again() {
    let server = Server::start(Limits::default(), async |request: Request, _peer| {
        http::conditional(
            request.headers(),
            "v1",
            http::text(StatusCode::OK, "content\n"),
        )
    });
    let mut peer = server.connect().await;
    assert_eq!(peer.get("/").await.field("etag"), Some("\"v1\""));
    peer.send("GET / HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"v1\"\r\n\r\n")
        .await;
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.body.len()), (304, 0)); // Spec: HTTP-13
    assert_eq!(peer.get("/").await.text(), "content\n");
    server.stop().await;
}
