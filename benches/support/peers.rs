//! Witnesses of others, run as their READMEs say.
//!
//! - litewitness (filippo.io/torchwood), with an ssh-agent for the key. Its database is filled by
//!   `tests/interop/peers/cmd/litelogs`.
//! - omniwitness (transparency-dev/witness), with its `SQLite` database and the logs in a YAML
//!   file, beside those that it has built in.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::key::KeyName;

use super::load::Connection;
use super::process::cpu_time;
use super::workload::Workload;

/// A running witness of somebody else, and its ssh-agent; both are killed when dropped.
pub struct Peer {
    witness: Child,
    agent: Option<Child>,
    address: SocketAddr,
    strace: PathBuf,
}

/// Starts one that knows the logs of a workload. The programs are in the first folder, what it
/// stores goes to the second.
pub type Start = fn(&Path, &Path, &Workload) -> Peer;

/// The peers: name, version, and how to start one.
pub const PEERS: &[(&str, Start)] = &[
    ("litewitness v0.10.0", litewitness),
    ("omniwitness of 2026-07-20", |programs, folder, workload| {
        omniwitness(programs, folder, workload, None)
    }),
];

/// Not as it comes: with one connection to its database, writers do not meet, and nobody is told to
/// come again.
pub const TUNED: (&str, Start) = (
    "omniwitness of 2026-07-20 with --db_max_conns 1",
    |programs, folder, workload| omniwitness(programs, folder, workload, Some("1")),
);

fn litewitness(programs: &Path, folder: &Path, workload: &Workload) -> Peer {
    let path = |name: &str| folder.join(name);
    run(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f"])
        .arg(path("key")));
    let agent = quiet(
        Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(path("agent")),
    );
    until(|| path("agent").exists());
    run(Command::new("ssh-add")
        .arg("-q")
        .arg(path("key"))
        .env("SSH_AUTH_SOCK", path("agent")));
    let shown = Command::new("ssh-keygen")
        .args(["-l", "-f"])
        .arg(path("key.pub"))
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let fingerprint = shown.split(' ').nth(1).unwrap().to_owned();
    fs::write(path("list"), workload.verifier_keys()).unwrap();
    run(Command::new(programs.join("litelogs"))
        .arg(path("db"))
        .arg(path("list")));
    let mut command = Command::new(programs.join("litewitness"));
    command
        .arg("-db")
        .arg(path("db"))
        .args(["-name", "peer.bench.example", "-key", &fingerprint])
        .arg("-ssh-agent")
        .arg(path("agent"))
        .arg("-listen");
    Peer::listening(command, Some(agent), folder)
}

fn omniwitness(
    programs: &Path,
    folder: &Path,
    workload: &Workload,
    connections: Option<&str>,
) -> Peer {
    let path = |name: &str| folder.join(name);
    let name = KeyName::parse("peer.bench.example").unwrap();
    // It makes a cosigner's key of a log's.
    let key = SigningKey::generate(name, Algorithm::Ed25519).unwrap();
    fs::write(path("key"), &*key.to_note_signer().unwrap()).unwrap();
    let mut logs = "Logs:\n".to_owned();
    for key in workload.verifier_keys().lines() {
        let origin = key.split('+').next().unwrap();
        let _ = writeln!(logs, "  - Origin: {origin}\n    PublicKey: {key}");
    }
    fs::write(path("logs.yaml"), logs).unwrap();
    let mut command = Command::new(programs.join("omniwitness"));
    command
        .arg("--private_key_path")
        .arg(path("key"))
        .arg("--db_file")
        .arg(path("db"))
        .arg("--additional_logs")
        .arg(path("logs.yaml"))
        .args(["--metrics_listen", ""]);
    if let Some(connections) = connections {
        command.args(["--db_max_conns", connections]);
    }
    command.arg("--listen");
    Peer::listening(command, None, folder)
}

impl Peer {
    /// Starts a program whose last argument will be the address. It does not say which port it
    /// got, so it is told one that nobody has.
    fn listening(mut command: Command, agent: Option<Child>, folder: &Path) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let witness = command
            .arg(address.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        let peer = Self {
            witness,
            agent,
            address,
            strace: folder.join("strace"),
        };
        until(|| TcpStream::connect(address).is_ok());
        peer
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Processor time so far, without that of its ssh-agent.
    pub fn cpu_time(&self) -> Duration {
        cpu_time(&self.witness.id().to_string())
    }

    /// How often it makes a file durable for one request, when requests come one by one.
    pub fn fsyncs_a_request(&self, workload: &Workload) -> f64 {
        const REQUESTS: usize = 50;
        let log = workload.logs() - 1;
        let mut connection = Connection::open(self.address);
        let mut at = 0;
        while connection.call(&workload.request("/add-checkpoint", log, at)) != 200 {
            at += 1;
        }
        let mut strace = quiet(
            Command::new("strace")
                .args(["-f", "-e", "trace=fsync,fdatasync", "-p"])
                .arg(self.witness.id().to_string())
                .arg("-o")
                .arg(&self.strace),
        );
        until(|| self.is_traced());
        let mut sent = 0;
        while sent < REQUESTS && at + 1 < workload.checkpoints() {
            at += 1;
            sent += 1;
            let status = connection.call(&workload.request("/add-checkpoint", log, at));
            assert_eq!(status, 200);
        }
        run(Command::new("kill").args(["-INT", &strace.id().to_string()]));
        let _ = strace.wait();
        let trace = fs::read_to_string(&self.strace).unwrap();
        let calls = trace.lines().filter(|line| line.contains("sync(")).count();
        calls as f64 / sent.max(1) as f64
    }

    /// Whether each of its threads has a tracer.
    fn is_traced(&self) -> bool {
        let tasks = format!("/proc/{}/task", self.witness.id());
        fs::read_dir(tasks).unwrap().all(|task| {
            let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            status
                .lines()
                .any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for child in [Some(&mut self.witness), self.agent.as_mut()]
            .into_iter()
            .flatten()
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(super) fn quiet(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

pub(super) fn until(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "it did not happen within 20 s");
        thread::sleep(Duration::from_millis(20));
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
