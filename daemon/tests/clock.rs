//! The clock guard: with a clock and sources in the test's hand, and with servers on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod time_server;

use std::net::ToSocketAddrs as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jurat_daemon::clock::band::{Direction, LeapSecond, Sample};
use jurat_daemon::clock::local::Unsynchronised;
use jurat_daemon::clock::sntp::{AskError, ReplyError, Server, SntpClient};
use jurat_daemon::clock::{
    Answer, Clock, ClockGuard, ClockMetrics, GuardSettings, ManualClock, NoTime, NotAccurate,
    RawClock, SystemClock, UnixTime,
};
use jurat_daemon::config::{self, Problems};
use jurat_daemon::telemetry;
use jurat_daemon::telemetry::prometheus_client::registry::Registry;
use time_server::{Say, TimeServer};

const START: UnixTime = UnixTime::from_seconds(1_790_000_000);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn settings(table: &str) -> GuardSettings {
    let file = Path::new("w.toml");
    let raw: RawClock = config::parse(table, file).unwrap();
    let mut problems = Problems::new(file);
    let settings = raw.resolve(&mut problems);
    assert!(problems.is_empty(), "{problems}");
    settings
}

/// A guard whose sources answer when a test says so.
struct Bench {
    clock: ManualClock,
    guard: ClockGuard,
    metrics: ClockMetrics,
    registry: Registry,
}

impl Bench {
    fn new(table: &str) -> Self {
        let clock = ManualClock::new(START);
        let settings = settings(table);
        let mut registry = Registry::default();
        let metrics = ClockMetrics::register(&mut registry, settings.servers.len());
        let guard = ClockGuard::new(Arc::new(clock.clone()), settings, metrics.clone());
        Self {
            clock,
            guard,
            metrics,
            registry,
        }
    }

    fn three() -> Self {
        Self::new("ntp = [\"a\", \"b\", \"c\"]")
    }

    /// A source says that it is this time now, to within 10 ms.
    fn says(&self, source: usize, time: UnixTime) {
        let sample = Sample {
            source,
            at: self.clock.boot_time(),
            earliest: time.minus(Duration::from_millis(10)),
            latest: time.plus(Duration::from_millis(10)),
            leap: LeapSecond::None,
        };
        self.guard.answered(source, &Ok(sample));
    }

    fn all_say(&self, time: UnixTime) {
        (0..3).for_each(|source| self.says(source, time));
    }

    fn fault(&self) -> NoTime {
        self.guard.read().unwrap_err()
    }

    fn shows(&self, line: &str) -> bool {
        let text = telemetry::encode(&self.registry);
        text.lines().any(|shown| shown == line)
    }
}

// Spec: CLK-30
#[test]
fn without_sources_only_steps_are_seen() {
    let bench = Bench::new("");
    let told = bench.guard.read().unwrap();
    assert_eq!((told.time, told.bound), (START, None));
    bench.clock.step_back(seconds(60));
    assert_eq!(
        bench.fault().to_string(),
        "the clock stepped back; its time counts again in 61 s"
    );
    bench.clock.advance(seconds(60));
    bench.guard.read().unwrap();
    bench.clock.step_forward(seconds(3600));
    assert_eq!(
        bench.fault().to_string(),
        "the clock leapt 3600 s ahead; its time counts when it has been steady for 301 s more"
    );
    bench.clock.advance(seconds(300));
    bench.guard.read().unwrap();
}

// Spec: CLK-36
#[test]
fn who_remembers_what_it_signed_is_told_a_time_that_stepped_back_and_no_other_wrong_one() {
    let bench = Bench::new("");
    bench.guard.read().unwrap();
    bench.clock.step_back(seconds(60));
    let told = bench.guard.read_unordered();
    assert_eq!(told, Ok(START.minus(seconds(60))));
    bench.clock.step_forward(seconds(3660));
    let told = bench.guard.read_unordered();
    assert!(matches!(told, Err(NoTime::Leapt(_))), "{told:?}");
    let bench = Bench::three();
    bench.all_say(START);
    bench.clock.step_back(seconds(60));
    let told = bench.guard.read_unordered();
    assert!(matches!(told, Err(NoTime::Outside { .. })), "{told:?}");
}

// Spec: CLK-30
#[test]
fn no_time_is_told_before_the_sources_have_agreed_once() {
    let bench = Bench::three();
    let waiting = |answers| NoTime::Waiting { answers, needed: 2 };
    assert_eq!(bench.fault(), waiting(0));
    bench.says(0, START);
    assert_eq!(bench.fault(), waiting(1));
    assert_eq!(
        bench.fault().to_string(),
        "1 time sources have answered since the start; 2 must"
    );
    bench.says(1, START);
    assert_eq!(bench.guard.read().unwrap().time, START);
}

// Spec: CLK-30, CLK-05
#[test]
fn a_clock_outside_the_band_is_refused_until_it_is_back() {
    for ahead in [true, false] {
        let bench = Bench::three();
        bench.all_say(START);
        bench.guard.read().unwrap();
        bench.clock.advance(seconds(10));
        let (direction, shown) = if ahead {
            bench.clock.step_forward(seconds(3600));
            (Direction::Ahead, "ahead of")
        } else {
            bench.clock.step_back(seconds(3600));
            (Direction::Behind, "behind")
        };
        let fault = bench.fault();
        let NoTime::Outside { by, direction: way } = fault else {
            panic!("{fault}")
        };
        assert!(by > seconds(3599) && by < seconds(3600), "{by:?}");
        assert_eq!(way, direction);
        let text = fault.to_string();
        let shown = format!(" s {shown} what the time sources agree on");
        assert!(text.starts_with("the clock is 3599.9"), "{text}");
        assert!(text.ends_with(&shown), "{text}");
        // It does not settle: the sources know better.
        bench.clock.advance(seconds(400));
        assert!(matches!(bench.fault(), NoTime::Outside { .. }));
        bench.clock.set(START.plus(seconds(410)));
        assert_eq!(bench.guard.read().unwrap().time, START.plus(seconds(410)));
    }
}

// Spec: CLK-05, CLK-30
#[test]
fn a_clock_that_is_wrong_when_the_process_starts_signs_when_it_is_set_right() {
    let bench = Bench::three();
    let right = START.minus(seconds(3600));
    bench.all_say(right);
    assert!(matches!(bench.fault(), NoTime::Outside { .. }));
    bench.clock.set(right);
    assert_eq!(bench.guard.read().unwrap().time, right);
}

// Spec: CLK-30
#[test]
fn sources_that_contradict_each_other_stop_it_and_a_liar_does_not() {
    let bench = Bench::three();
    bench.says(0, START);
    bench.says(1, START);
    bench.says(2, START.plus(seconds(3600)));
    bench.guard.read().unwrap();
    bench.clock.advance(Duration::from_millis(1));
    bench.says(1, START.minus(seconds(3600)));
    let fault = bench.fault();
    let expected = NoTime::NoAgreement {
        answers: 3,
        agree: 1,
        needed: 2,
    };
    assert_eq!(fault, expected);
    assert_eq!(
        fault.to_string(),
        "the time sources contradict each other: of 3, 1 agree; 2 must"
    );
    bench.clock.advance(Duration::from_millis(1));
    bench.says(2, START);
    bench.guard.read().unwrap();
}

// Spec: CLK-13, CLK-30
#[test]
fn sources_that_fall_silent_stop_it_when_their_answers_are_too_old() {
    let bench = Bench::three();
    bench.all_say(START);
    bench.clock.advance(seconds(600));
    bench.guard.read().unwrap();
    bench.clock.advance(seconds(1));
    let fault = bench.fault();
    let age = seconds(601);
    assert_eq!(fault, NoTime::Stale { age, needed: 2 });
    assert_eq!(
        fault.to_string(),
        "too few time sources have answered for 601 s; 2 must"
    );
    bench.all_say(bench.clock.now());
    bench.guard.read().unwrap();
}

// Spec: CLK-01, CLK-05
#[test]
fn no_time_is_told_before_one_that_was_told_whatever_the_sources_say() {
    let bench = Bench::three();
    bench.all_say(START);
    let told = bench.guard.read().unwrap().time;
    bench.clock.step_back(Duration::from_millis(500));
    assert!(matches!(bench.fault(), NoTime::SteppedBack(_)));
    bench.clock.advance(Duration::from_millis(500));
    assert_eq!(bench.guard.read().unwrap().time, told);
}

// Spec: CLK-32
#[test]
fn who_needs_an_accuracy_is_told_why_there_is_none() {
    let alone = Bench::new("");
    let accuracy = Duration::from_millis(100);
    assert_eq!(
        alone.guard.read_within(accuracy),
        Err(NotAccurate::NoSources)
    );
    let bench = Bench::three();
    assert!(matches!(
        bench.guard.read_within(accuracy),
        Err(NotAccurate::NoTime(NoTime::Waiting { .. }))
    ));
    bench.all_say(START);
    let told = bench.guard.read_within(accuracy).unwrap();
    assert!(told.bound.unwrap() <= Duration::from_millis(15), "{told:?}");
    // 500 ppm of 200 s are 100 ms.
    bench.clock.advance(seconds(200));
    bench.guard.read().unwrap();
    let refused = bench.guard.read_within(accuracy).unwrap_err();
    let NotAccurate::TooUncertain { bound, .. } = refused else {
        panic!("{refused}")
    };
    assert!(bound > accuracy && bound < accuracy * 2, "{bound:?}");
}

// Spec: CLK-35
#[test]
fn metrics_say_what_is_known_of_the_clock() {
    let bench = Bench::three();
    assert!(bench.shows("clock_state{state=\"Good\"} 1"));
    assert!(bench.shows("clock_bound_seconds NaN"));
    assert!(bench.shows("clock_source_answers_total{source=\"2\",answer=\"Kiss\"} 0"));
    bench.fault();
    assert!(bench.shows("clock_state{state=\"Waiting\"} 1"));
    assert!(bench.shows("clock_state{state=\"Good\"} 0"));
    bench.all_say(START.minus(Duration::from_millis(250)));
    bench.guard.read().unwrap();
    assert!(bench.shows("clock_state{state=\"Good\"} 1"));
    assert!(bench.shows("clock_offset_seconds 0.25"));
    assert!(bench.shows("clock_bound_seconds 0.261"));
    assert!(bench.shows("clock_source_answers_total{source=\"0\",answer=\"Good\"} 1"));
    let silent = AskError::Silent { waited: seconds(2) };
    bench.guard.answered(0, &Err(silent));
    assert_eq!(bench.metrics.answer_count(0, Answer::Silent), 1);
}

/// Asks one server and waits for a short while.
async fn ask(server: &TimeServer) -> Result<Sample, AskError> {
    let wait = Duration::from_millis(300);
    let server = Server::parse(&server.address.to_string()).unwrap();
    SntpClient::default()
        .ask(&server, 0, &SystemClock, wait, seconds(1))
        .await
}

// Spec: CLK-21, CLK-22, CLK-23
#[tokio::test]
async fn a_server_that_answers_gives_an_interval_with_true_time_in_it() {
    let server = TimeServer::start(Say::Right);
    for say in [Say::Right, Say::ForgedKissFirst] {
        server.say(say);
        let sample = ask(&server).await.unwrap();
        let (wall, boot) = (SystemClock.now(), SystemClock.boot_time());
        let then = wall.minus(boot.since(sample.at));
        // This machine's clock is what the server knows; it may be slewed meanwhile.
        let slack = Duration::from_millis(5);
        assert!(sample.earliest <= then.plus(slack), "{sample:?} {then}");
        assert!(then <= sample.latest.plus(slack), "{sample:?} {then}");
    }
    server.say(Say::Ahead(3600));
    let sample = ask(&server).await.unwrap();
    assert!(sample.earliest.since(SystemClock.now()) > seconds(3590));
    let mut numbers: Vec<Vec<u8>> = Vec::new();
    for question in server.questions() {
        assert_eq!(question.len(), 48);
        assert_eq!(question[0], 0x23);
        assert_eq!(question[1..40], [0; 39], "it says nothing about us");
        numbers.push(question[40..].to_vec());
    }
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), 3, "another number each time");
}

// Spec: CLK-21, CLK-22, CLK-24
#[tokio::test]
async fn what_counts_as_no_answer_says_why() {
    let server = TimeServer::start(Say::Nothing);
    for (say, shown, answer) in [
        (
            Say::Nothing,
            "there is no answer within 300 ms",
            Answer::Silent,
        ),
        (
            Say::FromElsewhere,
            "there is no answer within 300 ms",
            Answer::Silent,
        ),
        (
            Say::ToAnother,
            "the answer is not to our question",
            Answer::Malformed,
        ),
        (
            Say::Garbage,
            "the answer has 7 bytes, not 48",
            Answer::Malformed,
        ),
        (
            Say::TooMuch,
            "the answer has 49 bytes, not 48",
            Answer::Malformed,
        ),
        (
            Say::Unsynchronised,
            "the server is not synchronised (stratum 1)",
            Answer::Unsynchronised,
        ),
        (
            Say::Kiss(*b"RATE"),
            "the server says RATE (kiss-o'-death)",
            Answer::Kiss,
        ),
    ] {
        server.say(say);
        let error = ask(&server).await.unwrap_err();
        assert_eq!(error.to_string(), shown, "{say:?}");
        assert_eq!(Answer::of(&error), answer, "{say:?}");
    }
    server.say(Say::Uncertain);
    let error = ask(&server).await.unwrap_err();
    assert!(
        matches!(error, AskError::Reply(ReplyError::Uncertain { .. })),
        "{error}"
    );
    let nobody = server.address.to_string();
    drop(server);
    let nobody = Server::parse(&nobody).unwrap();
    let client = SntpClient::default();
    let ask = || client.ask(&nobody, 0, &SystemClock, seconds(1), seconds(1));
    let mut asked = ask().await;
    while matches!(asked, Err(AskError::Silent { .. })) {
        // The server's thread may have had its port a little longer.
        asked = ask().await;
    }
    assert!(matches!(asked, Err(AskError::Unreachable(_))), "{asked:?}");
}

// Spec: CLK-20
#[tokio::test]
async fn a_server_is_asked_by_its_name_too() {
    let server = TimeServer::start(Say::Right);
    let named = format!("localhost:{}", server.address.port());
    let named = Server::parse(&named).unwrap();
    let mut addresses = ("localhost", server.address.port())
        .to_socket_addrs()
        .unwrap();
    let first_is_ours = addresses.next() == Some(server.address);
    let client = SntpClient::default();
    // More often than look-ups may run at a time: each gives its place back.
    for _ in 0..20 {
        let asked = client.ask(&named, 0, &SystemClock, seconds(10), seconds(1));
        match asked.await {
            Ok(_) => assert!(first_is_ours),
            // The name means an IPv6 address first, where nobody is.
            Err(AskError::Unreachable(_)) => assert!(!first_is_ours),
            Err(error) => panic!("{error}"),
        }
    }
}

// Spec: CLK-24
#[tokio::test]
async fn a_kissed_guard_leaves_that_server_alone() {
    let servers = [Say::Kiss(*b"DENY"), Say::Right].map(TimeServer::start);
    let [kissing, other] = &servers;
    let table = format!("ntp = [\"{}\", \"{}\"]", kissing.address, other.address);
    let clock = ManualClock::new(START);
    let settings = settings(&table);
    let guard = ClockGuard::new(Arc::new(clock.clone()), settings, ClockMetrics::default());
    let asked = || (kissing.questions().len(), other.questions().len());
    guard.ask_all().await;
    guard.ask_all().await;
    assert_eq!(asked(), (1, 2));
    clock.advance(seconds(15 * 60));
    guard.ask_all().await;
    guard.ask_all().await;
    assert_eq!(asked(), (2, 4));
    clock.advance(seconds(15 * 60));
    guard.ask_all().await;
    assert_eq!(asked(), (2, 5), "half an hour the second time");
    clock.advance(seconds(15 * 60));
    kissing.say(Say::Right);
    guard.ask_all().await;
    guard.ask_all().await;
    assert_eq!(asked(), (4, 7));
}

// Spec: CLK-31, CLK-33
#[tokio::test]
async fn a_guard_that_runs_agrees_by_itself_and_asks_at_once_after_a_step() {
    let servers = [(); 3].map(|()| TimeServer::start(Say::Right));
    let addresses = servers.each_ref().map(|server| server.address.to_string());
    let table = format!("ntp = {addresses:?}\nevery_s = 3600\nvalid_s = 7200");
    let clock = ManualClock::new(SystemClock.now());
    let settings = settings(&table);
    let metrics = ClockMetrics::default();
    let guard = ClockGuard::new(Arc::new(clock.clone()), settings, metrics.clone());
    let guard = Arc::new(guard);
    let running = tokio::spawn(Arc::clone(&guard).run());
    let answers = || {
        (0..3)
            .map(|source| metrics.answer_count(source, Answer::Good))
            .min()
    };
    let until = async |wanted| {
        while answers() < Some(wanted) {
            // Wait: for the guard's own task, which has nobody to tell.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(seconds(30), until(1)).await.unwrap();
    guard.read().unwrap();
    // Nobody reads the guard: it sees the step by itself, and asks long before the hour.
    clock.step_forward(seconds(5));
    tokio::time::timeout(seconds(30), until(2)).await.unwrap();
    assert!(matches!(guard.read(), Err(NoTime::Outside { .. })));
    running.abort();
}

/// What the machine's own daemon says is asked for besides the sources, and takes their word back.
// Spec: CLK-30, CLK-40
#[tokio::test]
async fn a_clock_that_its_own_daemon_does_not_call_synchronised_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let said = dir.path().join("tracking");
    let tracking = |leap: &str| {
        let line = format!("7F7F0101,t,3,1.5,0.0001,0,0,0,0,0,0.02,0.001,64,{leap}\n");
        std::fs::write(&said, line).unwrap();
    };
    let table = format!(
        "ntp = [\"a\", \"b\", \"c\"]\nsynchronised_command = [\"cat\", \"{}\"]",
        said.display()
    );
    let bench = Bench::new(&table);
    bench.all_say(START);
    let unknown = NoTime::NotSynchronised(Unsynchronised::Unknown);
    assert_eq!(bench.fault(), unknown);
    assert!(bench.fault().is_of_a_start());
    bench.guard.ask_local().await;
    let unreadable = NoTime::NotSynchronised(Unsynchronised::Unreadable);
    assert_eq!(bench.fault(), unreadable, "there is no such file yet");
    tracking("Normal");
    bench.guard.ask_local().await;
    assert_eq!(bench.guard.read().unwrap().time, START);
    tracking("Not synchronised");
    bench.guard.ask_local().await;
    let denied = NoTime::NotSynchronised(Unsynchronised::Denied);
    assert_eq!(bench.fault(), denied);
    assert!(!denied.is_of_a_start());
    assert!(bench.shows("clock_state{state=\"NotSynchronised\"} 1"));
    assert_eq!(bench.guard.read_unordered(), Err(denied));
    // It confirms nothing by itself, and what it said ends.
    tracking("Normal");
    bench.guard.ask_local().await;
    bench.guard.read().unwrap();
    bench.clock.advance(seconds(60));
    bench.guard.read().unwrap();
    bench.clock.advance(seconds(1));
    assert_eq!(bench.fault(), unreadable);
    bench.guard.ask_local().await;
    bench.clock.step_forward(seconds(60));
    assert!(matches!(bench.fault(), NoTime::Outside { .. }));
}

/// The guard asks by itself, before anybody wants the time.
// Spec: CLK-40
#[tokio::test]
async fn a_guard_that_runs_asks_the_daemon_of_its_machine() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let table = format!("synchronised_file = \"{}\"", file.path().display());
    let settings = settings(&table);
    let guard = ClockGuard::new(Arc::new(SystemClock), settings, ClockMetrics::default());
    let guard = Arc::new(guard);
    assert!(guard.read().is_err());
    let running = tokio::spawn(Arc::clone(&guard).run());
    while guard.read().is_err() {
        tokio::task::yield_now().await;
    }
    running.abort();
}
