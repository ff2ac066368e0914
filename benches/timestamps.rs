//! How many time-stamps does an authority make, how soon, and what does it cost to log them?
//!
//! `cargo bench --bench timestamps [-- --quick] [throughput] [parts] [latency] [upgraded]`
//!
//! The authority is a process of its own, made by `jurat init`; this process only sends. Each
//! request has a digest and a nonce of its own and asks for the certificate.
//!
//! - `throughput`: 64 kept-alive connections; each answer is durable in the log before it leaves.
//!   Beside it, in the same run and under the same client: the same without any log, and sigstore's
//!   timestamp authority with its key in memory, which has no log (the program that
//!   `JURAT_BENCH_AUTHORITY` names; `benches/run timestamps` builds it. Left out without).
//! - `parts`: one token from request to answer, beside the signature alone, in one thread.
//! - `latency`: at 500 a second, beside what an fsync costs on the same disk at the same pace.
//! - `upgraded`: with `Prefer: wait`, until the receipt of three witnesses' log is in the token.
//!
//! There is no authority without a log but in here: this program, started with `unlogged` and a
//! service's file of units, serves requests with the same library, listener and allocator.

#![expect(
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::unchecked_time_subtraction,
    reason = "a program that measures, and stops at the first failure"
)]

mod support;

use std::hint::black_box;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jurat::tsa::units::{Unit, Units};
use jurat_daemon::http::{self, HttpMetrics, Limits, Request, Response, StatusCode, header};
use jurat_daemon::shutdown::Shutdown;
use jurat_proto::checkpoint::Origin;
use jurat_proto::tree::LeafIndex;
use jurat_proto::tsp::element::Flag;
use jurat_proto::tsp::gen_time::GenTime;
use jurat_proto::tsp::imprint::HashAlgorithm;
use jurat_proto::tsp::oid::{DEFAULT_POLICY, Oid};
use jurat_proto::tsp::request::{Offer, REQUEST_BYTES_MAX, TimestampRequest};
use jurat_proto::tsp::response::TimestampResponse;
use jurat_proto::tsp::signed_data::{Certificates, ToBeSigned};
use jurat_proto::tsp::tst_info::{Extensions, SerialNumber, TstInfo};
use serde_json::json;
use support::Effort;
use support::authorities::{OURS, SIGSTORE, Sigstore, body, request, token_of};
use support::load::{ClosedLoop, Connection, Statuses, paced, paced_and_looked_at};
use support::process::thread_cpu_time;
use support::report::{Report, Times, a_second, ms, thousands};
use support::service::{Home, ORIGIN, Process, Witness};
use support::turns::Turns;
use support::{disk, floor};
use tikv_jemallocator::Jemalloc;

/// The service's.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

const CONNECTIONS: u64 = 64;

fn main() {
    floor::serve_if_asked();
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("unlogged") {
        unlogged(&PathBuf::from(arguments.next().unwrap()));
        return;
    }
    let Some(effort) = Effort::from_arguments() else {
        return;
    };
    let mut report = Report::new("timestamps");
    if support::wants("throughput") {
        throughput(effort, &mut report);
    }
    if support::wants("parts") {
        parts(effort, &mut report);
    }
    if support::wants("latency") {
        latency(effort, &mut report);
    }
    if support::wants("upgraded") {
        upgraded(effort, &mut report);
    }
    report.finish();
}

fn only_200(statuses: &Statuses) {
    let only = statuses.keys().all(|status| *status == 200);
    assert!(only, "not only 200: {statuses:?}");
}

/// Whom the load goes to.
struct Target<'a> {
    who: &'a str,
    path: &'a str,
    address: SocketAddr,
}

/// Sigstore's and ours take turns, since the machine's speed is not always the same: what is
/// compared is of one turn.
fn throughput(effort: Effort, report: &mut Report) {
    let folder = support::scratch();
    let home = Home::with_authority(&folder.path().join("service"));
    let program = std::env::var_os("JURAT_BENCH_AUTHORITY").map(PathBuf::from);
    let peer = program.map(|program| Sigstore::start(&program));
    let service = home.serve();
    let server = unlogged_server(folder.path(), &home);
    let requests = requests(OURS, effort.pick(12_000, 500));
    let theirs = requests_of_peer(peer.as_ref(), effort);
    let mut logged = Loaded::new(ours(LOGGED, &service), &requests);
    let mut unlogged = Loaded::new(ours(UNLOGGED, &server), &requests);
    let mut beside = peer.as_ref().map(|peer| {
        let target = Target {
            who: Sigstore::NAME,
            path: SIGSTORE,
            address: peer.address,
        };
        (Loaded::new(target, &theirs), peer)
    });
    for _ in 0..effort.pick(5, 1) {
        if let Some((loaded, peer)) = &mut beside {
            loaded.take_turn(effort, || peer.cpu_time());
        }
        logged.take_turn(effort, || service.cpu_time());
        unlogged.take_turn(effort, || server.cpu_time());
    }
    let beside = beside.map(|(loaded, _)| loaded.report(report));
    let ours = [logged.report(report), unlogged.report(report)];
    drop(service);
    home.fsck();
    let Some(beside) = beside else {
        report.more("No peer was measured: JURAT_BENCH_AUTHORITY is not set.");
        return;
    };
    for ((who, bar), ours) in [(LOGGED, 3.0), (UNLOGGED, 4.0)].into_iter().zip(ours) {
        let times = ours.beside(&beside.rates);
        report.row(
            &format!("{who}, beside {}", Sigstore::NAME),
            &format!("≥ {bar} times"),
            Some(times.median >= bar),
            &format!(
                "{:.1} times ({:.1} to {:.1})",
                times.median, times.least, times.most
            ),
            json!({ "times": times.median, "least": times.least, "most": times.most }),
        );
    }
}

const LOGGED: &str = "time-stamps, logged and durable";
const UNLOGGED: &str = "time-stamps, without a log";

fn ours<'a>(who: &'a str, process: &Process) -> Target<'a> {
    Target {
        who,
        path: OURS,
        address: process.address,
    }
}

/// So many requests for each connection.
fn requests(path: &str, each: u64) -> Vec<Vec<Vec<u8>>> {
    let lane = |lane: u64| {
        let numbers = lane * each..(lane + 1) * each;
        numbers.map(|number| request(path, number, "")).collect()
    };
    (0..CONNECTIONS).map(lane).collect()
}

fn requests_of_peer(peer: Option<&Sigstore>, effort: Effort) -> Vec<Vec<Vec<u8>>> {
    peer.map_or_else(Vec::new, |_| requests(SIGSTORE, effort.pick(6_000, 500)))
}

/// An authority, and its load.
struct Loaded<'a> {
    target: Target<'a>,
    load: ClosedLoop<'a>,
    turns: Turns,
}

impl<'a> Loaded<'a> {
    fn new(target: Target<'a>, requests: &'a [Vec<Vec<u8>>]) -> Self {
        check_answer(&target);
        let load = ClosedLoop::open(target.address, requests);
        let turns = Turns::new();
        Self {
            target,
            load,
            turns,
        }
    }

    fn take_turn(&mut self, effort: Effort, server_cpu_time: impl Fn() -> Duration) {
        let warm_up = Duration::from_millis(effort.pick(500, 200));
        let length = Duration::from_millis(effort.pick(3_000, 800));
        self.turns
            .take(&mut self.load, warm_up, length, server_cpu_time);
        only_200(&self.turns.statuses);
    }

    fn report(self, report: &mut Report) -> Turns {
        let Self { target, turns, .. } = self;
        let rate = turns.rate();
        let [server_us, client_us] = turns.each();
        let times = turns.times();
        report.row(
            &format!("{}: 64 connections", target.who),
            "",
            None,
            &format!(
                "{}; processor time each: authority {server_us:.0} µs, this client \
                 {client_us:.0} µs; {}",
                a_second(&rate),
                times.summary()
            ),
            json!({
                "per_second": rate.median, "least": rate.least, "most": rate.most,
                "authority_cpu_us": server_us, "client_cpu_us": client_us,
                "latency": times.json(),
            }),
        );
        turns
    }
}

/// An answer holds the token that was asked for.
fn check_answer(target: &Target<'_>) {
    let number = u64::from(u32::MAX);
    let mut connection = Connection::open(target.address);
    let status = connection.call(&request(target.path, number, ""));
    assert_eq!(status, 200);
    token_of(connection.body(), number);
}

/// Starts this program as an authority without a log.
fn unlogged_server(folder: &Path, home: &Home) -> Process {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("unlogged").arg(home.units());
    Process::start(command, &folder.join("unlogged.log"))
}

/// Serves requests until it is killed.
fn unlogged(units: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let maker = Arc::new(Maker::load(units, Extensions::default()));
        let listener = http::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        println!("listening on http://{}", listener.local_addr().unwrap());
        let handler = move |request: Request, _: SocketAddr| answer(Arc::clone(&maker), request);
        http::serve(
            listener,
            None,
            Limits::default(),
            Arc::new(handler),
            Shutdown::new(),
            HttpMetrics::unregistered(),
        )
        .await
        .unwrap();
    });
}

async fn answer(maker: Arc<Maker>, request: Request) -> Response {
    let patience = Duration::from_secs(10);
    let body = http::read_body(request, REQUEST_BYTES_MAX, patience)
        .await
        .unwrap();
    let mut response = http::text(StatusCode::OK, maker.answer(&body));
    let reply = header::HeaderValue::from_static("application/timestamp-reply");
    response.headers_mut().insert(header::CONTENT_TYPE, reply);
    response
}

/// Makes tokens by the steps of the service, without its log.
struct Maker {
    unit: Arc<Unit>,
    offer: Offer,
    extensions: Extensions,
    next: AtomicU64,
}

impl Maker {
    fn load(units: &Path, extensions: Extensions) -> Self {
        let units = Units::load(units, &Origin::parse(ORIGIN).unwrap()).unwrap();
        Self {
            unit: Arc::clone(units.current().unwrap()),
            offer: Offer {
                default_policy: Oid::from(DEFAULT_POLICY),
                other_policies: Vec::new(),
                hash_algorithms: HashAlgorithm::ALL.to_vec(),
            },
            extensions,
            next: AtomicU64::new(0),
        }
    }

    fn answer(&self, request: &[u8]) -> Vec<u8> {
        let prepared = self.prepare(request);
        let signature = self.sign(prepared.message());
        TimestampResponse::granted(prepared.finish(&signature).unwrap()).to_bytes()
    }

    fn prepare(&self, request: &[u8]) -> ToBeSigned {
        let request = TimestampRequest::parse(request).unwrap();
        let policy = request.decide(&self.offer).unwrap().clone();
        let index = LeafIndex::new(self.next.fetch_add(1, Ordering::Relaxed)).unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "a service has a guarded clock; this none"
        )]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let info = TstInfo {
            policy,
            imprint: request.imprint().clone(),
            serial: SerialNumber::of_unit(self.unit.id, index),
            gen_time: GenTime::new(now.as_secs(), 0).unwrap(),
            accuracy: None,
            ordering: Flag::Absent,
            nonce: request.nonce().cloned(),
            tsa: Some(self.unit.issuing.name()),
            extensions: self.extensions.clone(),
        };
        self.unit
            .issuing
            .prepare(info, Certificates::Signer)
            .unwrap()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.unit.key.as_ref().unwrap().sign(message).unwrap()
    }
}

fn parts(effort: Effort, report: &mut Report) {
    let folder = support::scratch();
    let (home, witnesses) = witnessed(folder.path());
    let service = home.serve();
    // As tokens of a witnessed service are: they say what they are after.
    let extensions = first_with_extensions(&service);
    drop((service, witnesses));
    let maker = Maker::load(&home.units(), extensions);
    let requests: Vec<Vec<u8>> = (0..256).map(|number| body(number).to_bytes()).collect();
    let first = body(0).to_bytes();
    let message = maker.prepare(&first).message().to_vec();
    let (mut whole, mut bare) = (Duration::ZERO, Duration::ZERO);
    // By turns: the machine's speed is not always the same.
    let rounds = effort.pick(200, 10);
    for _ in 0..rounds {
        whole += spent(|| {
            for request in &requests {
                black_box(maker.answer(black_box(request)));
            }
        });
        bare += spent(|| {
            for _ in &requests {
                black_box(maker.sign(black_box(&message)));
            }
        });
    }
    let count = f64::from(rounds) * requests.len() as f64;
    let [whole, bare] = [whole, bare].map(|spent| count / spent.as_secs_f64());
    let share = whole / bare;
    report.row(
        "one token: parse, build, sign, encode, in one thread",
        "≥ 70 % of the bare P-256 signatures",
        Some(share >= 0.7),
        &format!(
            "{:.0} %: {} tokens and {} signatures a second of processor time; {} bytes",
            share * 100.0,
            thousands(whole),
            thousands(bare),
            maker.answer(&first).len(),
        ),
        json!({ "share": share, "tokens_per_second": whole, "signatures_per_second": bare }),
    );
}

/// Processor time of this thread.
fn spent(work: impl FnOnce()) -> Duration {
    let before = thread_cpu_time();
    work();
    thread_cpu_time() - before
}

/// A service with three witnesses, of which two are its quorum.
fn witnessed(folder: &Path) -> (Home, Vec<Witness>) {
    let home = Home::with_authority(&folder.join("service"));
    let log_keys = home.log_keys();
    let witnesses: Vec<Witness> = (1..=3)
        .map(|number| Witness::start(folder, number, &log_keys))
        .collect();
    home.witnessed_by(&witnesses);
    (home, witnesses)
}

/// Those of the first token that has some: there is a cosigned checkpoint by then.
fn first_with_extensions(service: &Process) -> Extensions {
    let mut connection = Connection::open(service.address);
    for number in 0.. {
        let status = connection.call(&request(OURS, number, "Prefer: wait=10\r\n"));
        assert_eq!(status, 200);
        let token = token_of(connection.body(), number);
        let extensions = &token.tst_info().extensions;
        if !extensions.as_slice().is_empty() {
            return extensions.clone();
        }
        assert!(number < 100, "no token names a checkpoint");
    }
    unreachable!("the loop has no end but those in it")
}

const RATE: u32 = 500;

fn latency(effort: Effort, report: &mut Report) {
    let seconds = effort.pick(60, 3);
    let requests: Vec<Vec<u8>> = (0..seconds * u64::from(RATE))
        .map(|number| request(OURS, number, ""))
        .collect();
    let folder = support::scratch();
    let home = Home::with_authority(&folder.path().join("service"));
    let service = home.serve();
    let fsyncs = || disk::fsyncs(folder.path(), effort.pick(5_000, 500), RATE);
    let before = fsyncs();
    let health = b"GET /health HTTP/1.1\r\nHost: bench.example\r\n\r\n".to_vec();
    let healths = vec![health; effort.pick(5_000, 750)];
    let bare = paced(service.address, &healths, RATE, 32, 500).times;
    let ours = paced(service.address, &requests, RATE, 32, 500);
    drop(service);
    let floor = floor::start(folder.path());
    let least = paced(floor.address, &requests, RATE, 32, 500).times;
    drop(floor);
    let disk = Times::new([before, fsyncs()].concat());
    only_200(&ours.statuses);
    let two = disk.at(99.0) * 2;
    report.row(
        "time-stamps, logged and durable: 500 requests/s, from when due",
        "p99 ≤ two fsyncs (p99)",
        Some(ours.times.at(99.0) <= two),
        &format!(
            "{}; of which p99 {} ms until sent; at this pace one fsync of 4 KiB takes {}, so two \
             of p99 {} ms; GET /health, which needs no disk, p50 {}, p99 {} ms; a server that does \
             nothing but such a write and wait {}",
            ours.times.summary(),
            ms(ours.lateness.at(99.0)),
            disk.summary(),
            ms(two),
            ms(bare.at(50.0)),
            ms(bare.at(99.0)),
            least.summary(),
        ),
        json!({ "latency": ours.times.json(), "fsync": disk.json(), "health": bare.json(),
            "floor": least.json() }),
    );
}

const UPGRADED_RATE: u32 = 50;

fn upgraded(effort: Effort, report: &mut Report) {
    let folder = support::scratch();
    let (home, witnesses) = witnessed(folder.path());
    let service = home.serve();
    first_with_extensions(&service);
    let seconds = effort.pick(30, 4);
    let requests: Vec<Vec<u8>> = (0..seconds * u64::from(UPGRADED_RATE))
        .map(|number| request(OURS, number, "Prefer: wait=20\r\n"))
        .collect();
    // Enough connections that none has to wait for an answer to one before.
    let paced = paced_and_looked_at(
        service.address,
        &requests,
        UPGRADED_RATE,
        128,
        50,
        |answer| {
            let response = TimestampResponse::parse(answer).unwrap();
            assert!(response.token().unwrap().receipt().is_some(), "no receipt");
        },
    );
    only_200(&paced.statuses);
    let (p50, p99) = (paced.times.at(50.0), paced.times.at(99.0));
    report.row(
        "time-stamps with `Prefer: wait`, upgraded, three witnesses: 50 requests/s, from when due",
        "p50 ≤ 0.6 s, p99 ≤ 1.5 s",
        Some(p50 <= Duration::from_millis(600) && p99 <= Duration::from_millis(1_500)),
        &paced.times.summary(),
        json!({ "latency": paced.times.json() }),
    );
    drop((service, witnesses));
}
