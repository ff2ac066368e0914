//! The real processes: `jurat serve`, and `jurat witness serve` for each witness.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use jurat_keys::SigningKey;
use jurat_proto::key::Signer as _;

use super::process;

/// The program, built with the same profile as the bench.
const JURAT: &str = env!("CARGO_BIN_EXE_jurat");

/// The service's origin.
pub const ORIGIN: &str = "bench.example/jurat";

/// A service's directory, made by `jurat init`.
pub struct Home {
    dir: PathBuf,
}

impl Home {
    /// A service without witnesses.
    pub fn init(dir: &Path) -> Self {
        let home = Self::with_authority(dir);
        // What is measured are checkpoints, from an empty log on.
        let text = std::fs::read_to_string(home.config()).unwrap();
        let (others, _) = text.split_once("\n[timestamp]").unwrap();
        std::fs::write(home.config(), others).unwrap();
        home
    }

    /// The same with its time-stamp authority, whose unit's start is the first entry.
    pub fn with_authority(dir: &Path) -> Self {
        run(Command::new(JURAT)
            .arg("init")
            .arg(dir)
            .args(["--origin", ORIGIN, "--without-witnesses"])
            .args(["--listen", "127.0.0.1:0"]));
        Self {
            dir: dir.to_owned(),
        }
    }

    /// Replaces the registry of logs.
    pub fn register(&self, registry: &str) {
        std::fs::write(self.dir.join("logs.toml"), registry).unwrap();
    }

    /// Takes the ML-DSA-44 key from the keys that cosign submitted checkpoints.
    pub fn cosign_with_ed25519_only(&self) {
        self.configure("cosigner_keys", "[\"keys/cosigner.ed25519.key\"]");
    }

    fn configure(&self, field: &str, value: &str) {
        let file = self.config();
        let text = std::fs::read_to_string(&file).unwrap();
        let mut found = false;
        let mut changed = String::new();
        for line in text.lines() {
            if line.starts_with(&format!("{field} = ")) {
                found = true;
                let _ = writeln!(changed, "{field} = {value}");
            } else {
                let _ = writeln!(changed, "{line}");
            }
        }
        assert!(found, "{field} is in the configuration");
        std::fs::write(&file, changed).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.dir.join("jurat.toml")
    }

    /// The file of the units of its time-stamp authority.
    pub fn units(&self) -> PathBuf {
        self.dir.join("timestamp.toml")
    }

    /// The service's database file.
    pub fn database(&self) -> PathBuf {
        self.dir.join("jurat.redb")
    }

    /// The key of the log and of the cosigner, of one kind.
    pub fn key(&self, name: &str) -> SigningKey {
        SigningKey::load(self.dir.join("keys").join(name)).unwrap()
    }

    /// Names the witnesses: two of three, either key of a witness.
    pub fn witnessed_by(&self, witnesses: &[Witness]) {
        let mut text = String::new();
        for key in self.log_keys() {
            let _ = writeln!(text, "log {key}");
        }
        let mut groups = String::new();
        for (number, witness) in witnesses.iter().enumerate() {
            let url = format!("http://{}", witness.process.address);
            for (place, key) in witness.keys.iter().enumerate() {
                let _ = writeln!(text, "witness w{number}.{place} {key} {url}");
            }
            let _ = writeln!(text, "group w{number} any w{number}.0 w{number}.1");
            let _ = write!(groups, " w{number}");
        }
        let quorum = witnesses.len().div_ceil(2);
        let _ = writeln!(text, "group quorum {quorum}{groups}\nquorum quorum");
        std::fs::write(self.dir.join("witnesses.policy"), text).unwrap();
    }

    /// The policy of the service's witnesses.
    pub fn policy(&self) -> Vec<u8> {
        std::fs::read(self.dir.join("witnesses.policy")).unwrap()
    }

    /// The verifier keys of the log.
    pub fn log_keys(&self) -> Vec<String> {
        ["log.ed25519.key", "log.mldsa44.key"]
            .iter()
            .map(|name| self.key(name).verifier_key().to_string())
            .collect()
    }

    /// Starts the service and waits until it listens.
    pub fn serve(&self) -> Process {
        let mut command = Command::new(JURAT);
        command.arg("serve").arg("--config").arg(self.config());
        Process::start(command, &self.dir.join("service.log"))
    }

    /// `jurat fsck`: how long it took, from start to exit. The service must not be running.
    pub fn fsck(&self) -> Duration {
        let begun = Instant::now();
        run(Command::new(JURAT)
            .args(["fsck", "--json", "--config"])
            .arg(self.config()));
        begun.elapsed()
    }
}

/// A witness that is measured by itself.
pub struct WitnessHome {
    dir: PathBuf,
    both: bool,
}

impl WitnessHome {
    /// Makes one, with an Ed25519 key and, with `both`, an ML-DSA-44 key. It knows no quota.
    pub fn init(dir: &Path, both: bool) -> Self {
        run(Command::new(JURAT)
            .args(["witness", "init"])
            .arg(dir)
            .args(["--name", "witness.bench.example", "--listen", "127.0.0.1:0"]));
        let home = Self {
            dir: dir.to_owned(),
            both,
        };
        let mut config = std::fs::read_to_string(home.config()).unwrap();
        if !both {
            config = config.replace(", \"ml-dsa-44.key\"", "");
        }
        config.push_str("\n[quota]\ndefault_qpd = 0\n");
        std::fs::write(home.config(), config).unwrap();
        home
    }

    fn config(&self) -> PathBuf {
        self.dir.join("witness.toml")
    }

    /// Its list of logs.
    pub fn register(&self, registry: &str) {
        std::fs::write(self.dir.join("logs.toml"), registry).unwrap();
    }

    /// The files of its keys.
    pub fn key_files(&self) -> Vec<PathBuf> {
        let files = ["ed25519.key", "ml-dsa-44.key"];
        let files = files[..if self.both { 2 } else { 1 }].iter();
        files.map(|file| self.dir.join(file)).collect()
    }

    /// Its keys.
    pub fn signers(&self) -> Vec<SigningKey> {
        let files = self.key_files().into_iter();
        files.map(|file| SigningKey::load(file).unwrap()).collect()
    }

    /// Starts it.
    pub fn serve(&self) -> Process {
        let mut serve = Command::new(JURAT);
        serve
            .args(["witness", "serve", "--config"])
            .arg(self.config());
        Process::start(serve, &self.dir.join("witness.log"))
    }
}

/// A witness process.
pub struct Witness {
    process: Process,
    keys: Vec<String>,
}

impl Witness {
    /// Makes a witness that knows a log, and starts it.
    pub fn start(dir: &Path, number: usize, log_keys: &[String]) -> Self {
        let home = dir.join(format!("witness{number}"));
        let name = format!("witness{number}.bench.example");
        let witness = |command: &str| {
            let mut witness = Command::new(JURAT);
            witness.args(["witness", command]);
            witness
        };
        run(witness("init")
            .arg(&home)
            .args(["--name", &name, "--listen", "127.0.0.1:0"]));
        let config = home.join("witness.toml");
        for key in log_keys {
            run(witness("logs")
                .arg("--config")
                .arg(&config)
                .args(["add", key, "--origin", ORIGIN]));
        }
        let mut serve = witness("serve");
        serve.arg("--config").arg(&config);
        let process = Process::start(serve, &home.join("witness.log"));
        let keys = ["ed25519.key", "ml-dsa-44.key"]
            .iter()
            .map(|file| SigningKey::load(home.join(file)).unwrap())
            .map(|key| key.verifier_key().to_string())
            .collect();
        Self { process, keys }
    }

    /// Processor time so far.
    pub fn cpu_time(&self) -> Duration {
        self.process.cpu_time()
    }
}

/// A running server; killed, as by a power cut, when dropped.
pub struct Process {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    /// Where it listens.
    pub address: SocketAddr,
    /// From the start of the process to its word that it listens.
    pub started_in: Duration,
}

impl Process {
    /// Starts a program that says where it listens; what else it says goes to the log.
    pub fn start(mut command: Command, log: &Path) -> Self {
        let begun = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(log).unwrap())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let address = loop {
            let mut line = String::new();
            if stdout.read_line(&mut line).unwrap() == 0 {
                let log = std::fs::read_to_string(log).unwrap_or_default();
                panic!("{command:?} ended before it listened:\n{log}");
            }
            if let Some((_, url)) = line.trim_end().split_once("listening on http://") {
                break url.parse().unwrap();
            }
        };
        Self {
            started_in: begun.elapsed(),
            child,
            _stdout: stdout,
            address,
        }
    }

    /// Processor time so far.
    pub fn cpu_time(&self) -> Duration {
        process::cpu_time(&self.child.id().to_string())
    }

    /// Resident memory.
    pub fn resident_bytes(&self) -> u64 {
        process::resident_bytes(&self.child.id().to_string())
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) {
        run(Command::new("kill").arg(self.child.id().to_string()));
        assert!(self.child.wait().unwrap().success(), "an orderly end");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
