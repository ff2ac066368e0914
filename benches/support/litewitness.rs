//! litewitness (filippo.io/torchwood), run as its README says, with an ssh-agent for the key. Its
//! database is filled by `tests/interop/peers/cmd/litelogs`.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::load::Connection;
use super::process::cpu_time;
use super::workload::Workload;

/// A running litewitness and its agent; both are killed when dropped.
pub struct Litewitness {
    child: Child,
    agent: Child,
    address: SocketAddr,
    strace: PathBuf,
}

/// Starts one that knows the logs of a workload.
pub fn start(programs: &Path, folder: &Path, workload: &Workload) -> Litewitness {
    let path = |name: &str| folder.join(name);
    run(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f"])
        .arg(path("key")));
    let agent = Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(path("agent"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
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
    // It does not say which port it got.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let child = Command::new(programs.join("litewitness"))
        .arg("-db")
        .arg(path("db"))
        .args(["-name", "peer.bench.example", "-key", &fingerprint])
        .arg("-ssh-agent")
        .arg(path("agent"))
        .args(["-listen", &address.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(path("log")).unwrap())
        .spawn()
        .unwrap();
    until(|| TcpStream::connect(address).is_ok());
    Litewitness {
        child,
        agent,
        address,
        strace: path("strace"),
    }
}

impl Litewitness {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Processor time so far.
    pub fn cpu_time(&self) -> Duration {
        cpu_time(&self.child.id().to_string())
    }

    /// How often it makes a file durable for one request, when requests come one by one: refreshes
    /// of the newest checkpoint, or whatever they are answered with.
    pub fn fsyncs_a_request(&self, workload: &Workload) -> f64 {
        const REQUESTS: usize = 50;
        let log = workload.logs() - 1;
        let mut connection = Connection::open(self.address);
        let mut at = 0;
        while connection.call(&workload.request("/add-checkpoint", log, at)) != 200 {
            at += 1;
        }
        let mut strace = Command::new("strace")
            .args(["-f", "-e", "trace=fsync,fdatasync", "-p"])
            .arg(self.child.id().to_string())
            .arg("-o")
            .arg(&self.strace)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until(|| self.strace.exists());
        thread::sleep(Duration::from_millis(500));
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
}

impl Drop for Litewitness {
    fn drop(&mut self) {
        for child in [&mut self.child, &mut self.agent] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn until(mut holds: impl FnMut() -> bool) {
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
