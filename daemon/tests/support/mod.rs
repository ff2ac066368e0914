//! A listener on a free port, and a peer that writes raw bytes.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jurat_daemon::http::{self, Handler, HttpMetrics, Limits, Tls};
use jurat_daemon::shutdown::Shutdown;
use jurat_daemon::telemetry::prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longer than anything here may take on a busy machine: a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Server {
    pub address: SocketAddr,
    pub shutdown: Shutdown,
    pub metrics: HttpMetrics,
    pub registry: Registry,
    pub task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub fn start<H: Handler>(limits: Limits, handler: H) -> Self {
        Self::start_tls(limits, None, handler)
    }

    pub fn start_tls<H: Handler>(limits: Limits, tls: Option<Tls>, handler: H) -> Self {
        let listener = http::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let mut registry = Registry::default();
        let metrics = HttpMetrics::register(&mut registry);
        let task = tokio::spawn(http::serve(
            listener,
            tls,
            limits,
            Arc::new(handler),
            shutdown.clone(),
            metrics.clone(),
        ));
        Self {
            address,
            shutdown,
            metrics,
            registry,
            task,
        }
    }

    pub async fn connect(&self) -> Peer {
        Peer {
            stream: TcpStream::connect(self.address).await.unwrap(),
            buffer: Vec::new(),
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Ends the listener and waits until it has.
    pub async fn stop(self) {
        self.shutdown.trigger();
        patiently(self.task).await.unwrap().unwrap();
        assert_eq!(self.metrics.connections_open(), 0);
    }
}

pub struct Peer {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Peer {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        patiently(self.stream.write_all(bytes.as_ref()))
            .await
            .unwrap();
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
            .await;
        self.answer().await
    }

    /// The next response; panics when the connection ends before it does.
    pub async fn answer(&mut self) -> Answer {
        self.answer_to(true).await
    }

    /// The next response, whose content is absent when it answers HEAD.
    pub async fn answer_to(&mut self, has_body: bool) -> Answer {
        let head_end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.fill().await, "ended in a head: {:?}", self.buffered());
        };
        let head: Vec<u8> = self.buffer.drain(..head_end).collect();
        let mut answer = Answer {
            status: 0,
            head: String::from_utf8(head).unwrap(),
            body: Vec::new(),
        };
        answer.status = answer.head[9..12].parse().unwrap();
        let length = answer
            .field("content-length")
            .map_or(0, |l| l.parse().unwrap());
        if has_body && answer.status != 304 && answer.status >= 200 {
            while self.buffer.len() < length {
                assert!(self.fill().await, "ended in a body");
            }
            answer.body = self.buffer.drain(..length).collect();
        }
        answer
    }

    /// Whether the server has closed its end with nothing more to say.
    pub async fn is_ended(&mut self) -> bool {
        self.buffer.is_empty() && !self.fill().await
    }

    pub fn buffered(&self) -> String {
        String::from_utf8_lossy(&self.buffer).into_owned()
    }

    async fn fill(&mut self) -> bool {
        let mut chunk = vec![0; 16384];
        let count = patiently(self.stream.read(&mut chunk)).await.unwrap();
        self.buffer.extend_from_slice(&chunk[..count]);
        count > 0
    }
}

pub async fn patiently<F: IntoFuture>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("waited too long")
}
