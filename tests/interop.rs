//! A foreign log and a foreign auditor, written in Go on other people's libraries, against a real
//! service and three real witness processes.
//!
//! The Go program is in `tests/interop`; what it checks is told there. Here the network is set up
//! as an operator would do it, with the command line alone; the witnesses are the code of
//! `jurat-witness` as `jurat witness` runs it. Half-way the service is killed with no warning.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should say where"
)]

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

const ORIGIN: &str = "interop.example/jurat";
const WITNESSES: usize = 3;
const QUORUM: usize = 2;

#[test]
fn foreign_log_and_auditor_find_no_fault_also_after_a_kill() {
    let Some(program) = build_program() else {
        assert!(
            env::var_os("CI").is_none(),
            "there is no `go` on PATH: `tests/run` installs it"
        );
        println!("cannot run: there is no `go` on PATH (`tests/run` installs it)");
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let foreign = folder.join("foreign");
    let foreign_key = output(Command::new(&program).arg("key").arg(&foreign));
    let network = Network::set_up(folder, foreign_key.trim());

    let service = network.start_service(folder);
    let first = run_program(&program, &network, &service, &foreign, &["-anchors", "300"]);
    println!("{first}");
    assert!(first.contains("all proven"), "{first}");
    drop(service);

    let fsck = output(jurat(&["fsck", "--config"]).arg(&network.config));
    let service = network.start_service(folder);
    let second = run_program(
        &program,
        &network,
        &service,
        &foreign,
        &["-anchors", "8", "-fork"],
    );
    assert!(second.contains("all proven"), "{fsck}{second}");
}

/// Builds the Go program; nothing when there is no Go to build it with.
fn build_program() -> Option<PathBuf> {
    let version = Command::new("go").arg("version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop");
    output(
        Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")),
    );
    Some(program)
}

/// What the foreign auditor is told, and what the service is started with.
struct Network {
    config: PathBuf,
    log_keys: Vec<String>,
    cosigner_keys: Vec<String>,
    witness_keys: Vec<String>,
    _witnesses: Vec<Process>,
}

impl Network {
    /// Witnesses that know the service, and a service that knows them and the foreign log.
    fn set_up(folder: &Path, foreign_key: &str) -> Self {
        let dir = folder.join("service");
        let said =
            output(jurat(&["init", "--origin", ORIGIN, "--listen", "127.0.0.1:0"]).arg(&dir));
        let keys = |name: &str| -> Vec<String> {
            let start = format!("{name}+");
            let words = said
                .split_whitespace()
                .filter(|word| word.starts_with(&start));
            words.map(str::to_owned).collect()
        };
        let (log_keys, cosigner_keys) = (keys(ORIGIN), keys(&format!("{ORIGIN}/cosigner")));
        assert!(!log_keys.is_empty() && !cosigner_keys.is_empty(), "{said}");

        let mut policy = String::new();
        for key in &log_keys {
            writeln!(policy, "log {key}").expect("a string takes all");
        }
        let (mut witness_keys, mut witnesses, mut groups) = (vec![], vec![], String::new());
        for number in 0..WITNESSES {
            let (own, process) = start_witness(folder, number, &log_keys);
            let mut members = String::new();
            for (place, key) in own.iter().enumerate() {
                writeln!(policy, "witness w{number}.{place} {key} {}", process.url)
                    .expect("a string takes all");
                write!(members, " w{number}.{place}").expect("a string takes all");
            }
            writeln!(policy, "group w{number} any{members}").expect("a string takes all");
            write!(groups, " w{number}").expect("a string takes all");
            witness_keys.extend(own);
            witnesses.push(process);
        }
        writeln!(policy, "group some {QUORUM}{groups}\nquorum some").expect("a string takes all");
        fs::write(dir.join("witnesses.policy"), policy).expect("init has made the folder");

        let config = dir.join("jurat.toml");
        output(jurat(&["check-config", "--config"]).arg(&config));
        output(jurat(&["logs", "add", foreign_key, "--config"]).arg(&config));
        Self {
            config,
            log_keys,
            cosigner_keys,
            witness_keys,
            _witnesses: witnesses,
        }
    }

    fn start_service(&self, folder: &Path) -> Process {
        let mut command = jurat(&["serve", "--config"]);
        Process::start(command.arg(&self.config), folder.join("service.log"))
    }
}

fn start_witness(folder: &Path, number: usize, log_keys: &[String]) -> (Vec<String>, Process) {
    let dir = folder.join(format!("witness{number}"));
    let name = format!("witness{number}.example");
    let said = output(
        jurat(&[
            "witness",
            "init",
            "--name",
            &name,
            "--listen",
            "127.0.0.1:0",
        ])
        .arg(&dir),
    );
    let own: Vec<String> = said
        .lines()
        .filter_map(|line| line.strip_prefix("witness ")?.split(' ').nth(1))
        .map(str::to_owned)
        .collect();
    assert!(!own.is_empty(), "{said}");
    let config = dir.join("witness.toml");
    for key in log_keys {
        output(jurat(&["witness", "logs", "add", key, "--config"]).arg(&config));
    }
    let mut command = jurat(&["witness", "serve", "--config"]);
    (
        own,
        Process::start(command.arg(&config), folder.join(format!("{name}.log"))),
    )
}

/// A running server. It is killed when this is dropped, as a power cut would do it.
struct Process {
    url: String,
    log: PathBuf,
    child: Child,
    _stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a server and reads from its first line where it listens.
    fn start(command: &mut Command, log: PathBuf) -> Self {
        let stderr = File::options()
            .append(true)
            .create(true)
            .open(&log)
            .expect("a log file");
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("cargo has built the program");
        let mut stdout = BufReader::new(child.stdout.take().expect("it was asked for"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("its first line is text");
        let url = line.trim().strip_prefix("listening on ").map(str::to_owned);
        let process = Self {
            url: url.unwrap_or_default(),
            log,
            child,
            _stdout: stdout,
        };
        assert!(!process.url.is_empty(), "said {line:?}; {}", process.told());
        process
    }

    fn told(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn run_program(
    program: &Path,
    network: &Network,
    service: &Process,
    foreign: &Path,
    how: &[&str],
) -> String {
    let mut command = Command::new(program);
    command
        .args(["run", "-url", &service.url, "-origin", ORIGIN, "-work"])
        .arg(foreign);
    command.args(["-log-vkey", ed25519_key(&network.log_keys)]);
    command.args(["-quorum", &QUORUM.to_string()]).args(how);
    for key in &network.witness_keys {
        command.args(["-witness-vkey", key]);
    }
    for key in &network.cosigner_keys {
        command.args(["-cosigner-vkey", key]);
    }
    let result = command.output().expect("it was built");
    let said = String::from_utf8_lossy(&result.stdout).into_owned();
    assert!(
        result.status.success(),
        "{said}{}\nthe service:\n{}",
        String::from_utf8_lossy(&result.stderr),
        service.told()
    );
    said
}

/// The key that Go's library can verify: type 0x01, so that its base64 begins with `A`, unlike that
/// of type 0x06.
fn ed25519_key(keys: &[String]) -> &str {
    let material = |key: &String| key.splitn(3, '+').nth(2).map(str::to_owned);
    keys.iter()
        .find(|key| material(key).is_some_and(|material| material.starts_with('A')))
        .expect("the log has one")
}

fn jurat(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jurat"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command to its end and returns what it printed.
fn output(command: &mut Command) -> String {
    let result = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        result.status.success(),
        "{command:?}: {}\n{}",
        result.status,
        String::from_utf8_lossy(&result.stderr)
    );
    String::from_utf8_lossy(&result.stdout).into_owned()
}
