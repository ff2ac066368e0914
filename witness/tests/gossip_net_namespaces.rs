//! Witnesses in network namespaces of their own, joined by a bridge, whose links go down and come
//! back, and which are killed in between.
//!
//! ```text
//!         here 10.77.0.1/24, a bridge: gossip goes over it
//!   ┌──────────┬──────────┐
//!   g0         g1         g2            ◄─ set down, or moved to another bridge
//!   │          │          │
//!  10.77.0.10 10.77.0.11 10.77.0.12     one namespace for each witness
//!  10.78.0.2  10.78.1.2  10.78.2.2
//!   │          │          │
//!   m0         m1         m2            the log, and who is told of alarms, get there always
//! ```
//!
//! A test starts itself again inside a namespace, in which it is root and the rest of the machine
//! cannot be reached; with the last process all of it is gone. That needs `unshare` and `nsenter`
//! (util-linux) and `ip` (iproute2), and a kernel that gives namespaces to this user, or to root
//! through `sudo`. The clock of a real process cannot be set without setting the machine's:
//! `gossip_net_simulated.rs` has wrong clocks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]
#![cfg(target_os = "linux")]

mod rig;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use jurat_proto::evidence::Evidence;
use jurat_proto::hex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use rig::circle::{Hook, Told, acquaint, add_logs, homes, name, quiet};
use rig::{Home, Process, TestLog, until};

/// What tells a test that it is inside, and where to say that it came to its end.
const INSIDE: &str = "JURAT_NET_INSIDE";

/// Ways to a namespace in which one is root: as oneself, as root, and as who may become root.
const WAYS: [&[&str]; 3] = [
    &["unshare", "--user", "--map-root-user", "--net"],
    &["unshare", "--net"],
    &["sudo", "-n", "-E", "unshare", "--net"],
];

/// Runs the body of a test inside.
fn inside(test: &str, body: fn()) {
    if let Some(done) = std::env::var_os(INSIDE) {
        body();
        return fs::write(done, test).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let done = dir.path().join("done");
    // What is needed there, tried out.
    let probe = "ip link add name p0 type veth peer name p1 && ip link add name p2 type bridge \
                 && unshare --net true";
    let mut faults = String::new();
    for way in WAYS {
        let (program, args) = way.split_first().unwrap();
        let mut command = Command::new(program);
        command.args(args);
        match command.args(["sh", "-c", probe]).output() {
            Ok(output) if output.status.success() => {
                let mut command = Command::new(program);
                command.args(args).arg(std::env::current_exe().unwrap());
                let ended = command
                    .args([test, "--exact", "--nocapture"])
                    .env(INSIDE, &done)
                    .status();
                assert!(ended.unwrap().success(), "{test} failed inside");
                // A program that has no such test ends well, too.
                assert_eq!(fs::read_to_string(&done).unwrap(), test);
                return;
            }
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                writeln!(faults, "{}: {}", way.join(" "), said.trim()).unwrap();
            }
            Err(error) => writeln!(faults, "{}: {error}", way.join(" ")).unwrap(),
        }
    }
    let help = format!(
        "this machine gives no network namespaces, so {test} cannot run:\n{faults}\
         It needs iproute2 and util-linux, and one of: kernel.unprivileged_userns_clone=1 and \
         kernel.apparmor_restrict_unprivileged_userns=0 (sysctl), root with CAP_SYS_ADMIN (docker \
         run --privileged), or sudo without a password."
    );
    assert!(std::env::var_os("CI").is_none(), "{help}");
    println!("NOT RUN: {help}");
}

fn ip(batch: &str) {
    let mut command = Command::new("ip");
    feed(command.args(["-batch", "-"]), batch);
}

fn feed(command: &mut Command, text: &str) {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success(), "{command:?} with\n{text}");
}

/// A namespace: there as long as somebody is in it, which this process is until its input ends.
struct Namespace(Child);

impl Namespace {
    fn new() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = holder.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(holder)
    }

    /// A command that is run inside.
    fn enter(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.0.id()))
            .arg(program);
        command
    }

    fn ip(&self, batch: &str) {
        feed(self.enter("ip").args(["-batch", "-"]), batch);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

const PORT: u16 = 8419;

/// Long enough that a debug build on a busy machine does what belongs into one.
fn round() -> Duration {
    let round = std::env::var("JURAT_NET_ROUND_MS").map_or(1_000, |round| {
        round.parse().expect("JURAT_NET_ROUND_MS is a number")
    });
    Duration::from_millis(round)
}

/// How long a peer may be silent.
fn silence() -> Duration {
    round() * 4
}

struct Net {
    processes: Vec<Option<Process>>,
    homes: Vec<Home>,
    namespaces: Vec<Namespace>,
    hook: Hook,
    told: Vec<Told>,
}

fn gossip_address(place: usize) -> SocketAddr {
    let host = u8::try_from(10 + place).unwrap();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 77, 0, host)), PORT)
}

fn log_address(place: usize, host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 78, u8::try_from(place).unwrap(), host))
}

impl Net {
    /// Witnesses that find each other at `url`, and these logs.
    fn start(count: usize, url: impl Fn(usize) -> String, logs: &[&TestLog]) -> Self {
        let namespaces: Vec<Namespace> = (0..count).map(|_| Namespace::new()).collect();
        let mut batch = String::from(
            "link set lo up\nlink add name here type bridge\naddr add 10.77.0.1/24 dev here\n\
             link set here up\nlink add name elsewhere type bridge\nlink set elsewhere up\n",
        );
        for (place, namespace) in namespaces.iter().enumerate() {
            let holder = namespace.0.id();
            write!(
                batch,
                "link add name g{place} type veth peer name gossip netns {holder}\n\
                 link set g{place} master here up\n\
                 link add name m{place} type veth peer name log netns {holder}\n\
                 addr add {}/30 dev m{place}\nlink set m{place} up\n",
                log_address(place, 1)
            )
            .unwrap();
        }
        ip(&batch);
        for (place, namespace) in namespaces.iter().enumerate() {
            namespace.ip(&format!(
                "link set lo up\naddr add {}/24 dev gossip\nlink set gossip up\n\
                 addr add {}/30 dev log\nlink set log up\n",
                gossip_address(place).ip(),
                log_address(place, 2)
            ));
        }
        let hook = Hook::open(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
        let homes = homes(count);
        let more = |place: usize| {
            format!(
                "round_ms = {}\npeer_silence_ms = {}\nalarm_webhook = \"http://{}:{}/\"\n",
                round().as_millis(),
                silence().as_millis(),
                log_address(place, 1),
                hook.address.port()
            )
        };
        let anywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT);
        acquaint(&homes, |_| anywhere, |_, other| url(other), more);
        add_logs(&homes, logs.iter().map(|log| (*log, None)));
        let mut net = Self {
            processes: homes.iter().map(|_| None).collect(),
            homes,
            namespaces,
            hook,
            told: Vec::new(),
        };
        for place in 0..count {
            net.serve(place);
        }
        net
    }

    fn direct(count: usize, logs: &[&TestLog]) -> Self {
        Self::start(
            count,
            |other| format!("http://{}", gossip_address(other)),
            logs,
        )
    }

    fn serve(&mut self, place: usize) {
        let command = self.namespaces[place].enter(env!("CARGO_BIN_EXE_jurat-witness"));
        let mut process = quiet(command, &self.homes[place]);
        process.address = SocketAddr::new(log_address(place, 2), PORT);
        self.processes[place] = Some(process);
    }

    /// SIGKILL.
    fn kill(&mut self, place: usize) {
        self.processes[place].take().unwrap().kill();
    }

    fn process(&self, place: usize) -> &Process {
        self.processes[place].as_ref().unwrap()
    }

    fn cosign(&self, places: impl IntoIterator<Item = usize>, log: &TestLog, old: u64, new: u64) {
        let request = log.request(old, new);
        for place in places {
            let answer = self.process(place).add(&request);
            assert_eq!(answer.status, 200, "witness {place}: {}", answer.text());
        }
    }

    fn everybody(&self) -> std::ops::Range<usize> {
        0..self.homes.len()
    }

    /// Waits until each of these has told this alarm, or that it is over.
    fn told(&mut self, places: impl IntoIterator<Item = usize>, raised: bool, what: &[&str]) {
        let mut missing: BTreeSet<String> = places.into_iter().map(name).collect();
        let is_it = |told: &Told| {
            let text = format!("{} {}", told.alarm, told.about);
            told.raised == raised && what.iter().all(|what| text.contains(what))
        };
        let deadline = Instant::now() + round() * 60;
        for told in &self.told {
            if is_it(told) {
                missing.remove(&told.witness);
            }
        }
        while !missing.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(told) = self.hook.told.recv_timeout(left) else {
                panic!("{missing:?} do not tell {what:?} ({raised})");
            };
            if is_it(&told) {
                missing.remove(&told.witness);
            }
            self.told.push(told);
        }
    }

    /// The witnesses that have told this so far.
    fn tellers(&mut self, what: &str) -> BTreeSet<String> {
        self.told.extend(self.hook.told.try_iter());
        let told = self.told.iter().filter(|told| told.about.contains(what));
        told.map(|told| told.witness.clone()).collect()
    }

    fn shows(&self, place: usize, id: &str) -> bool {
        let path = format!("/gossip/v0/evidence/{id}");
        self.process(place).get(&path).status == 200
    }
}

fn id_of(log: &TestLog, other: &TestLog, size: u64) -> String {
    let evidence = Evidence::same_size(log.checkpoint(size), other.checkpoint(size));
    hex::encode(evidence.unwrap().id().as_bytes())
}

/// A log of which all have ten leaves, and its other history.
fn forked(name: &str) -> (TestLog, TestLog) {
    let mut log = TestLog::new(name);
    log.grow(20);
    let mut other = log.fork(12);
    other.grow(20);
    (log, other)
}

// Spec: GSP-35, GSP-100
#[test]
fn a_fork_while_a_bridge_is_apart_is_proven_at_all_soon_after_it_is_whole() {
    inside(
        "a_fork_while_a_bridge_is_apart_is_proven_at_all_soon_after_it_is_whole",
        || {
            let (log, other) = forked("example.com/log");
            let mut net = Net::direct(5, &[&log]);
            net.cosign(net.everybody(), &log, 0, 10);
            // Two are behind another bridge: what is sent to the other side is lost.
            ip("link set g3 master elsewhere\nlink set g4 master elsewhere\n");
            net.cosign(0..3, &log, 10, 20);
            net.cosign(3..5, &other, 10, 20);
            let id = id_of(&log, &other, 20);
            outage(&mut net, 0..5, &id);
            ip("link set g3 master here\nlink set g4 master here\n");
            rounds("bridges", &mut net, &id);
        },
    );
}

// Spec: GSP-35, GSP-100
#[test]
fn a_fork_while_one_has_no_routes_is_proven_at_all_soon_after_it_has() {
    inside(
        "a_fork_while_one_has_no_routes_is_proven_at_all_soon_after_it_has",
        || {
            let (log, other) = forked("example.com/log");
            let mut net = Net::direct(5, &[&log]);
            net.cosign(net.everybody(), &log, 0, 10);
            // It can ask nobody; and the others reach it, but what it answers is lost.
            let mut routes = String::new();
            for place in 1..5 {
                let address = gossip_address(place).ip();
                writeln!(routes, "route add blackhole {address}/32").unwrap();
            }
            net.namespaces[0].ip(&routes);
            net.cosign(1..5, &log, 10, 20);
            net.cosign([0], &other, 10, 20);
            let id = id_of(&log, &other, 20);
            outage(&mut net, 0..1, &id);
            net.namespaces[0].ip(&routes.replace("add", "del"));
            rounds("routes", &mut net, &id);
        },
    );
}

/// A long outage, in which nobody gets the proof, and these notice that somebody is silent.
fn outage(net: &mut Net, noticing: std::ops::Range<usize>, id: &str) {
    net.told(noticing, true, &["peer-silent"]);
    // Wait: who fails for so long would be left alone for longer than what is allowed after it.
    thread::sleep(round() * 6);
    assert_eq!(net.tellers(id), BTreeSet::new());
}

/// How many rounds it takes from now until all have the proof.
fn rounds(what: &str, net: &mut Net, id: &str) {
    let healed = Instant::now();
    net.told(net.everybody(), true, &["proven", id]);
    let took = healed.elapsed().as_secs_f64() / round().as_secs_f64();
    println!("{what}: proven at all {took:.2} rounds after healing");
    assert!(took <= ROUNDS_AFTER_HEALING, "{took} rounds");
    for place in net.everybody() {
        until(|| net.shows(place, id));
    }
}

const ROUNDS_AFTER_HEALING: f64 = 6.0;

// Spec: GSP-45, GSP-46, GSP-73
#[test]
fn a_proof_survives_the_death_of_its_only_holder_and_spreads() {
    inside(
        "a_proof_survives_the_death_of_its_only_holder_and_spreads",
        || {
            let (log, other) = forked("example.com/log");
            let mut net = Net::direct(4, &[&log]);
            net.cosign(net.everybody(), &log, 0, 20);
            // Nobody else hears of what somebody shows to the first.
            ip("link set g0 down\n");
            let (id, shown) = (id_of(&log, &other, 20), other.checkpoint(20).to_bytes());
            let first = net.process(0).client();
            let observing = thread::spawn(move || {
                let mut first = first;
                // It may be dead before it answers.
                first.call("POST", "/gossip/v0/observe", &shown)
            });
            net.told([0], true, &["proven", &id]);
            net.kill(0);
            drop(observing.join().unwrap());

            net.serve(0);
            assert!(net.shows(0, &id), "what it told, it has");
            assert_eq!(net.process(0).add(&log.request(20, 20)).status, 403);
            assert_eq!(net.tellers(&id), BTreeSet::from([name(0)]));
            ip("link set g0 up\n");
            net.told(net.everybody(), true, &["proven", &id]);
            for place in net.everybody() {
                until(|| net.shows(place, &id));
                assert_eq!(net.process(place).add(&log.request(20, 20)).status, 403);
            }
        },
    );
}

// Spec: GSP-54, GSP-77
#[test]
fn witnesses_that_reach_nobody_say_so_and_when_it_is_over() {
    inside(
        "witnesses_that_reach_nobody_say_so_and_when_it_is_over",
        || {
            let mut log = TestLog::new("example.com/log");
            log.grow(20);
            let mut net = Net::direct(4, &[&log]);
            net.cosign(net.everybody(), &log, 0, 10);
            let confirmed = format!("/gossip/v0/confirmed/{}", log.origin.hash_hex());
            for place in net.everybody() {
                until(|| net.process(place).get(&confirmed).status == 200);
            }
            ip("link set here down\n");
            let began = Instant::now();
            net.told(net.everybody(), true, &["isolated"]);
            let took = began.elapsed();
            println!("isolated: told by all after {took:?}, of {:?}", silence());
            assert!(took >= silence(), "{took:?}: it may be a hiccup");
            assert!(took <= silence() + round() * 12, "{took:?}");
            for place in net.everybody() {
                let health = net.process(place).get("/health");
                assert_eq!(health.status, 200);
                assert!(
                    health.text().contains("more than half of the peers"),
                    "{}",
                    health.text()
                );
            }
            // It goes on with its work, as its operator wants.
            net.cosign(net.everybody(), &log, 10, 20);
            ip("link set here up\n");
            let everybody = net.everybody();
            net.told(everybody, false, &["isolated"]);
        },
    );
}

/// Loses and delays what goes through it.
struct Weather {
    /// Of a thousand pieces, so many are lost: their connection is cut, or says nothing any more.
    lost: u64,
    delay: Duration,
    chance: Mutex<u64>,
}

impl Weather {
    /// A number below another one; the same ones for one seed.
    fn below(&self, bound: u64) -> u64 {
        let mut state = self.chance.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    async fn pass(&self, mut client: TcpStream, to: SocketAddr) -> Option<()> {
        let mut server = TcpStream::connect(to).await.ok()?;
        let (mut up, mut down) = (vec![0; 16_384], vec![0; 16_384]);
        loop {
            let (bytes, other) = tokio::select! {
                count = client.read(&mut up) => (&up[..count.ok()?], &mut server),
                count = server.read(&mut down) => (&down[..count.ok()?], &mut client),
            };
            if bytes.is_empty() {
                return None;
            }
            let delay = u64::try_from(self.delay.as_millis()).unwrap();
            // Wait: this is the delay.
            tokio::time::sleep(Duration::from_millis(self.below(2 * delay))).await;
            if self.below(1_000) < self.lost {
                if self.below(2) == 0 {
                    return None;
                }
                // Until whoever waits gives up.
                while client.read(&mut up).await.ok()? > 0 {}
                return None;
            }
            other.write_all(bytes).await.ok()?;
        }
    }
}

/// A place in front of a witness, in that weather.
fn in_weather(runtime: &Runtime, weather: &Arc<Weather>, to: SocketAddr) -> SocketAddr {
    let here = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    let listener = runtime.block_on(TcpListener::bind(here)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let weather = Arc::clone(weather);
    runtime.spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let weather = Arc::clone(&weather);
            tokio::spawn(async move { weather.pass(client, to).await });
        }
    });
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1)), port)
}

// Spec: GSP-45, GSP-72
#[test]
fn a_fork_is_proven_at_all_through_loss_delay_and_deaths() {
    inside(
        "a_fork_is_proven_at_all_through_loss_delay_and_deaths",
        || {
            let seed = std::env::var("JURAT_NET_SEED").map_or(0x6a75_7261_7401, |seed| {
                seed.parse().expect("JURAT_NET_SEED is a number")
            });
            println!("JURAT_NET_SEED={seed}");
            let weather = Arc::new(Weather {
                lost: 50,
                delay: Duration::from_millis(40),
                chance: Mutex::new(seed),
            });
            let runtime = Runtime::new().unwrap();
            let doors: Vec<SocketAddr> = (0..5)
                .map(|place| in_weather(&runtime, &weather, gossip_address(place)))
                .collect();
            let (log, other) = forked("example.com/log");
            let mut honest = TestLog::new("example.com/honest");
            honest.grow(20);
            let url = |other: usize| format!("http://{}", doors[other]);
            let mut net = Net::start(5, url, &[&log, &honest]);
            let pick = |below: usize| {
                let below = u64::try_from(below).unwrap();
                usize::try_from(weather.below(below)).unwrap()
            };
            net.cosign(net.everybody(), &log, 0, 10);
            net.cosign(net.everybody(), &honest, 0, 10);
            let victim = pick(5);
            let others = net.everybody().filter(|place| *place != victim);
            net.cosign(others, &log, 10, 20);
            net.cosign([victim], &other, 10, 20);
            net.cosign([victim], &honest, 10, 20);
            let began = Instant::now();
            let mut times = 0;
            let id = id_of(&log, &other, 20);
            // Until the first has the proof, one after the other dies and comes back.
            while net.tellers(&id).is_empty() && times < 20 {
                times += 1;
                let dead = pick(5);
                // Wait: somewhere in a round.
                thread::sleep(round().mul_f64(0.05 * f64::from(u8::try_from(pick(20)).unwrap())));
                net.kill(dead);
                net.serve(dead);
            }
            net.told(net.everybody(), true, &["proven", &id]);
            let took = began.elapsed().as_secs_f64() / round().as_secs_f64();
            println!("weather: proven at all after {took:.2} rounds and {times} deaths");
            for place in net.everybody() {
                until(|| net.shows(place, &id));
                let list = net.process(place).get("/gossip/v0/evidence?since=0");
                assert_eq!(list.text().lines().count(), 2, "{}", list.text());
                let old = if place == victim { 20 } else { 10 };
                let answer = net.process(place).add(&honest.request(old, 20));
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        },
    );
}
