//! A document is stamped by the real service among three real witnesses, and what is proven of it
//! is verified offline: plain, with its receipt, and after the key was closed. And what a witness's
//! clock does to time-stamps, and TLS before it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what panics here is a test that fails"
)]

mod network;

use std::fs;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jurat_daemon::clock::{
    BootTime, Clock, ClockGuard, ClockMetrics, RawClock, SystemClock, UnixTime,
};
use jurat_daemon::config::{self, Problems};
use jurat_daemon::http::{self, HttpMetrics, Limits};
use jurat_daemon::shutdown::Shutdown;
use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::key::{KeyName, Signer, VerifierKey};
use jurat_proto::tsp::imprint::{HashAlgorithm, MessageImprint};
use jurat_proto::tsp::request::TimestampRequest;
use jurat_proto::tsp::response::{FailureBits, PkiFailureInfo, TimestampResponse};
use jurat_store::MemoryStore;
use jurat_witness::cosign::{Parts, Witness};
use jurat_witness::http::Api;
use jurat_witness::log_list::LogList;
use jurat_witness::metrics::Metrics;
use jurat_witness::quota::QuotaLimits;
use prometheus_client::registry::Registry;
use serde_json::Value;

use crate::network::service::ORIGIN;
use crate::network::{
    Answer, Home, Member, Service, WitnessHome, eventually, jurat, network_of, policy,
};

fn verify(token: &str, more: &[&str]) -> (i32, Value) {
    let args = ["verify", token, "--json"];
    let output = jurat(args.iter().chain(more));
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code().unwrap(), report["files"][0].clone())
}

/// A client that was not built for it shows the extension with the cosigned checkpoint, which is
/// not critical.
fn shown_by_openssl(token: &str) {
    let shown = Command::new("openssl")
        .args(["ts", "-reply", "-text", "-in", token])
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let (_, extensions) = shown.split_once("Extensions:").expect(&shown);
    let mut lines = extensions
        .lines()
        .map(str::trim)
        .skip_while(|line| line.is_empty());
    assert_eq!(lines.next(), Some(&*format!("{ARC}.1:")), "{shown}");
    // The note's text, as far as OpenSSL prints it: no "critical" stands before it.
    assert!(extensions.contains(ORIGIN), "{shown}");
}

/// The arc of our object identifiers (`spec/timestamp.md`).
const ARC: &str = "1.2.840.113556.1.8000.2554.24355.54125.48897.16678.42822.7514055.13516296";

/// The receipt inside a token as a COSE receipt, alone and beside tokens.
fn in_cose(token: &str, without: &str, policy: &str, index: u64) {
    let export = |token: &str, to: &str| {
        let output = jurat(["export", token, "--as", "cose-receipt", "-o", to]);
        output.status.code().unwrap()
    };
    let receipt = format!("{token}.cose");
    assert_eq!(export(token, &receipt), 0);
    assert_eq!(
        export(without, &format!("{without}.cose")),
        1,
        "there is none inside"
    );
    let (code, row) = verify(&receipt, &["--policy", policy]);
    assert_eq!(code, 0, "{row}");
    assert_eq!(row["proven"]["entry"]["kind"], "timestamp");
    assert_eq!(row["proven"]["index"], index);
    let beside = ["--policy", policy, "--receipt", &receipt];
    let (code, row) = verify(token, &beside);
    assert_eq!(code, 0, "{row}");
    assert_eq!(row["proven"]["class"], "bracketed");
    assert_eq!(verify(without, &beside).0, 1, "another's receipt");
}

// Spec: TSP-81, TSP-83, TSP-84, TSP-87, TSP-89, TSP-92, TSA-50, RCP-15
#[test]
fn a_document_is_stamped_bracketed_by_witnesses_and_outlives_its_key() {
    let (home, _witnesses) = network_of(Home::with_timestamps(), 3, 2);
    let service = home.serve();
    let url = format!("http://{}/timestamp", service.address);
    let place = |name: &str| home.root().join(name).to_str().unwrap().to_owned();
    let stamp = |args: &[&str]| {
        let output = jurat(["timestamp", "--url", &url].iter().chain(args));
        assert!(output.status.success(), "{output:?}");
    };
    // Until a quorum has cosigned a tree head, a token has nothing to carry.
    service.until("something is published", |health| {
        health["published_size"].as_u64() > Some(0)
    });
    for name in ["first", "late"] {
        fs::write(place(name), name).unwrap();
    }
    stamp(&["--upgrade", &place("first")]);
    stamp(&[&place("late")]);

    shown_by_openssl(&place("late.tsr"));

    let (policy, root) = (home.policy_file(), home.file("keys/tsa/ca.pem"));
    let (policy, root) = (policy.to_str().unwrap(), root.to_str().unwrap());
    let (first, late) = (place("first.tsr"), place("late.tsr"));
    let query = place("first.tsq");
    let how = ["--policy", policy, "--ca", root];
    let required = [&how[..], &["--require", "bracketed", "--query", &query]].concat();
    let (code, row) = verify(&first, &required);
    assert_eq!(code, 0, "{row}");
    let proven = &row["proven"];
    assert_eq!(proven["class"], "bracketed");
    let (from, to) = (&proven["not_before"], &proven["not_after"]);
    assert!(from.as_u64().unwrap() <= to.as_u64().unwrap(), "{proven}");
    let index = proven["proof"]["index"].as_u64().unwrap();
    // The log stands for its unit.
    assert_eq!(verify(&first, &["--policy", policy]).0, 0);
    in_cose(&first, &late, policy, index);
    // Alone, a token is as good as its signature, and not older than what it carries.
    let (code, row) = verify(&late, &how);
    assert_eq!(
        (code, &row["proven"]["class"]),
        (0, &"signature only".into()),
        "{row}"
    );
    assert!(row["proven"]["not_before"].is_u64(), "{row}");
    assert_eq!(verify(&late, &required[..6]).0, 1);

    let closed = home.command(&["tsa", "close", "--reason", "compromise"]);
    assert!(closed.status.success(), "{closed:?}");
    let closing = eventually("the closing is in the log", || {
        (index + 1..index + 8).find_map(|index| {
            let answer = service.get(&format!("/receipt/{index}"));
            let text = (answer.status == 200).then_some(answer.body)?;
            let file = place("closing.tlog-proof");
            fs::write(&file, text).unwrap();
            let (code, row) = verify(&file, &["--policy", policy]);
            assert_eq!(code, 0, "{row}");
            (row["proven"]["entry"]["event"] == "close").then_some(file)
        })
    });
    let how = [&how[..], &["--closed", &closing]].concat();
    let (code, row) = verify(&first, &how);
    assert_eq!(
        (code, &row["proven"]["class"]),
        (0, &"key closed".into()),
        "{row}"
    );
    let (code, row) = verify(&late, &how);
    assert_eq!(code, 1, "{row}");
    // It was logged before the closing: its receipt saves it.
    stamp(&["--upgrade", &late]);
    let (code, row) = verify(&late, &how);
    assert_eq!(
        (code, &row["proven"]["class"]),
        (0, &"key closed".into()),
        "{row}"
    );
}

/// A witness as it is shipped, over HTTP, whose clock is the test's: when the machine of the
/// witness sleeps, its clock goes on.
struct Skewed {
    member: Member,
    clock: Arc<SkewedClock>,
    _runtime: tokio::runtime::Runtime,
}

/// The machine's, so many seconds off.
struct SkewedClock {
    seconds: AtomicI64,
    /// How much of that passed while the machine of the witness slept.
    slept: AtomicI64,
}

impl Clock for SkewedClock {
    fn now(&self) -> UnixTime {
        let millis = i64::try_from(SystemClock.now().millis()).unwrap();
        let millis = millis + self.seconds.load(Ordering::SeqCst) * 1_000;
        UnixTime::from_millis(u64::try_from(millis).unwrap())
    }

    fn instant(&self) -> Instant {
        SystemClock.instant()
    }

    fn boot_time(&self) -> BootTime {
        let slept = u64::try_from(self.slept.load(Ordering::SeqCst)).unwrap();
        SystemClock.boot_time().plus(Duration::from_secs(slept))
    }
}

impl Skewed {
    fn start(dir: &Path, log_keys: &[VerifierKey], seconds: i64) -> Self {
        let clock = Arc::new(SkewedClock {
            seconds: seconds.into(),
            slept: 0.into(),
        });
        let list = dir.join("skewed.toml");
        jurat_store::registry::Registry::create(&list).unwrap();
        let origin = jurat_proto::checkpoint::Origin::parse(ORIGIN).unwrap();
        jurat_store::registry::Registry::add(&list, &origin, log_keys).unwrap();
        let name = KeyName::parse("witness.example/skewed").unwrap();
        let key = SigningKey::generate(name, Algorithm::MlDsa44).unwrap();
        let public = key.verifier_key().clone();
        let file = Path::new("witness.toml");
        let raw: RawClock = config::parse("", file).unwrap();
        let settings = raw.resolve(&mut Problems::new(file));
        let shown: Arc<dyn Clock> = clock.clone();
        let guard = ClockGuard::new(shown, settings, ClockMetrics::default());
        let parts = Parts {
            signers: vec![Box::new(key)],
            store: Arc::new(MemoryStore::new()),
            clock: Arc::new(guard),
            logs: Arc::new(LogList::load(list, true).unwrap()),
            metrics: Metrics::unregistered(),
            guard: None,
            former_keys: Vec::new(),
            quotas: QuotaLimits {
                default_qpd: None,
                unsigned_per_minute: NonZeroU32::new(60).unwrap(),
                in_flight_max: 8,
            },
            commits_waiting_max: NonZeroUsize::new(32).unwrap(),
            commit_batch_max: NonZeroUsize::new(16).unwrap(),
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let entered = runtime.enter();
        let witness = Arc::new(Witness::start(parts).unwrap());
        let listener = http::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let registry = Arc::new(Registry::default());
        let api = Arc::new(Api::new(witness, registry, Duration::from_secs(10)));
        let metrics = HttpMetrics::register(&mut Registry::default());
        runtime.spawn(async move {
            let limits = Limits::default();
            let served = http::serve(listener, None, limits, api, Shutdown::new(), metrics);
            served.await.unwrap();
        });
        drop(entered);
        Self {
            member: Member {
                keys: vec![public],
                url,
            },
            clock,
            _runtime: runtime,
        }
    }

    /// So many seconds pass for the witness alone, while its machine sleeps.
    fn loses(&self, seconds: i64) {
        self.clock.slept.fetch_add(seconds, Ordering::SeqCst);
        self.clock.seconds.fetch_add(seconds, Ordering::SeqCst);
    }
}

fn stamp(service: &Service) -> TimestampResponse {
    let imprint = MessageImprint::new(HashAlgorithm::Sha256, vec![7; 32]).unwrap();
    let request = TimestampRequest::new(imprint, None, None, false).to_bytes();
    let query = ["Content-Type: application/timestamp-query"];
    let answer = service.call("POST", "/timestamp", &query, &request);
    assert_eq!(answer.status, 200, "{}", answer.text());
    TimestampResponse::parse(&answer.body).unwrap()
}

fn failure(response: &TimestampResponse) -> Option<PkiFailureInfo> {
    let bits = response.failures().into_iter();
    bits.flat_map(FailureBits::failures).next()
}

/// What the log says of the clock, as far as it is published.
fn clock_events(service: &Service) -> Vec<String> {
    let size = service.published().map_or(0, |head| head.size.get());
    let bundle = service.get(&format!("/tile/entries/000.p/{size}"));
    let text = String::from_utf8_lossy(&bundle.body).into_owned();
    let events = text.split("v1 clock\n").skip(1).map(|entry| {
        let lines: Vec<&str> = entry.lines().take(3).collect();
        format!("{} {}", lines[0], lines[2])
    });
    events.collect()
}

/// The one witness of the quorum says that it is an hour earlier, then that it is now, then that it
/// is an hour later.
// Spec: TSA-11, TSA-14, TSA-15, SVC-68
#[test]
fn a_witness_whose_clock_is_off_stops_time_stamps_until_it_is_right() {
    let home = Home::with_timestamps();
    let witness = Skewed::start(home.root(), &home.log_keys(), -3_600);
    let policy = policy(&home.log_keys(), std::slice::from_ref(&witness.member), 1);
    home.write_policy(&policy);
    home.edit("refresh_s = 30 ", "refresh_s = 1 ");
    let service = home.serve();
    let no_time = Some(PkiFailureInfo::TimeNotAvailable);
    let said = |text: &str| {
        let told = service.until(text, |health| {
            health["summary"].as_str().unwrap().contains(text)
        });
        assert_eq!(told["timestamps"]["ready"], false, "{told}");
        assert_eq!(failure(&stamp(&service)), no_time);
        told["summary"].as_str().unwrap().to_owned()
    };
    said("s ahead of what a quorum of witnesses says");
    // Tree heads go on: they are what shows that the witness is right again.
    witness.loses(3_600);
    eventually("time-stamps are made", || {
        stamp(&service).token().map(|_| ())
    });
    let due = ["lost ahead-of-witnesses", "regained ahead-of-witnesses"];
    eventually("both are logged", || {
        (clock_events(&service) == due).then_some(())
    });
    witness.loses(3_600);
    let summary = said("which is before");
    let (_, dates) = summary.split_once("the clock says ").unwrap();
    assert_eq!(dates.matches('T').count(), 2, "dates, not numbers: {dates}");
}

fn openssl(dir: &Path, line: &str) {
    let mut openssl = Command::new("openssl");
    let output = openssl.args(line.split_whitespace()).current_dir(dir);
    let output = output.output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
}

// Spec: SVC-69
#[test]
fn a_witness_behind_a_private_authoritys_tls_counts_for_who_names_the_authority() {
    let home = Home::with_timestamps();
    let dir = home.root();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(
        dir,
        &format!("req -x509 {key} -days 2 -subj /CN=Private -keyout ca.key -out ca.pem"),
    );
    openssl(
        dir,
        &format!("req {key} -subj /CN=witness -keyout w.key -out w.csr"),
    );
    fs::write(dir.join("w.ext"), "subjectAltName = IP:127.0.0.1\n").unwrap();
    openssl(
        dir,
        "x509 -req -in w.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile w.ext \
         -out w.pem",
    );
    let files = [&*dir.join("w.pem"), &*dir.join("w.key")];
    let witness = WitnessHome::behind_tls(dir, 1, &home.log_keys(), files);
    home.write_policy(&policy(&home.log_keys(), &[witness.member()], 1));
    let service = home.serve();
    let told = service.until("it is refused", |health| {
        health["witnesses"].to_string().contains("certificate")
    });
    assert_eq!(told["published_size"], Value::Null, "{told}");
    assert_eq!(
        failure(&stamp(&service)),
        Some(PkiFailureInfo::SystemFailure)
    );
    drop(service);
    let ca = dir.join("ca.pem");
    home.edit(
        "[witnesses]\n",
        &format!("[witnesses]\nca_file = \"{}\"\n", ca.display()),
    );
    let service = home.serve();
    service.until("something is published", |health| {
        health["published_size"].as_u64() > Some(0)
    });
    assert!(stamp(&service).token().is_some());
    drop(service);
    // A file that is none of certificates is said to be before anything starts.
    fs::write(&ca, "no certificate").unwrap();
    let (code, said) = home.refuses_to_serve();
    assert_eq!(code, 64);
    assert!(said.contains("witnesses.ca_file"), "{said}");
}

/// A quorum that is gone costs those who would rather wait their time, and nobody else anything.
// Spec: TSA-16, TSA-52
#[test]
fn without_witnesses_a_wait_ends_with_the_plain_token_and_leaves_room_for_others() {
    const IN_FLIGHT: usize = 8;
    let (home, mut witnesses) = network_of(Home::with_timestamps(), 1, 1);
    home.configure(&format!("[limits]\nrequests_in_flight_max = {IN_FLIGHT}"));
    let service = home.serve();
    service.until("something is published", |health| {
        health["published_size"].as_u64() > Some(0)
    });
    witnesses[0].kill();
    let imprint = MessageImprint::new(HashAlgorithm::Sha256, vec![7; 32]).unwrap();
    let request = TimestampRequest::new(imprint, None, None, false).to_bytes();
    let ask = |seconds: u64| {
        let prefer = format!("Prefer: wait={seconds}");
        let query = ["Content-Type: application/timestamp-query", &prefer];
        service.call("POST", "/timestamp", &query, &request)
    };
    let plain = |answer: &Answer| {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("preference-applied"), None);
        let response = TimestampResponse::parse(&answer.body).unwrap();
        assert!(response.token().unwrap().receipt().is_none());
    };
    let (tell, told) = std::sync::mpsc::sync_channel(IN_FLIGHT);
    std::thread::scope(|scope| {
        for _ in 0..IN_FLIGHT {
            scope.spawn(|| tell.send(ask(5)).unwrap());
        }
        // A quarter finds no place to wait; then there is room for who wants none.
        for _ in 0..IN_FLIGHT / 4 {
            plain(&told.recv().unwrap());
        }
        assert_eq!(service.get("/logs").status, 200);
        assert_eq!(service.get("/receipt/0").status, 200);
        assert!(told.try_recv().is_err(), "the others wait still");
        for _ in IN_FLIGHT / 4..IN_FLIGHT {
            plain(&told.recv().unwrap());
        }
    });
    witnesses[0].start();
    let upgraded = eventually("the witness is back", || {
        let answer = ask(25);
        (answer.header("preference-applied") == Some("wait")).then_some(answer)
    });
    let response = TimestampResponse::parse(&upgraded.body).unwrap();
    assert!(response.token().unwrap().receipt().is_some());
}
