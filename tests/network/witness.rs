//! Witness processes, each behind a door of its own, and the policy that names them.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use jurat_keys::SigningKey;
use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::key::{Signer as _, VerifierKey};

use super::http;
use super::process::{self, JURAT, Process};
use super::service::{Home, ORIGIN};
use super::{Door, Mode};

/// A witness: its directory, its door, and its process while that runs.
pub struct WitnessHome {
    pub name: String,
    pub door: Door,
    /// Where its process listens, behind the door.
    pub address: SocketAddr,
    /// How it is spoken to.
    scheme: &'static str,
    dir: PathBuf,
    process: Option<Process>,
}

impl WitnessHome {
    /// Creates a witness that knows a log by these keys, and starts it.
    pub fn new(root: &Path, number: usize, log_keys: &[VerifierKey]) -> Self {
        Self::with(root, number, log_keys, "")
    }

    /// The same, one that gossips with nobody yet, and shows what it has.
    pub fn gossiping(root: &Path, number: usize, log_keys: &[VerifierKey]) -> Self {
        Self::with(root, number, log_keys, "\n[gossip]\nkey = \"gossip.key\"\n")
    }

    /// The same, one that speaks TLS with these PEM files.
    pub fn behind_tls(
        root: &Path,
        number: usize,
        log_keys: &[VerifierKey],
        [certificates, key]: [&Path; 2],
    ) -> Self {
        let (certificates, key) = (certificates.display(), key.display());
        let tls = format!("\n[tls]\ncertificates = \"{certificates}\"\nkey = \"{key}\"\n");
        Self {
            scheme: "https",
            ..Self::with(root, number, log_keys, &tls)
        }
    }

    fn with(root: &Path, number: usize, log_keys: &[VerifierKey], configured: &str) -> Self {
        let name = format!("witness.example/w{number}");
        let dir = root.join(format!("witness{number}"));
        let path = dir.to_str().unwrap();
        let init = ["witness", "init", path, "--name", &name];
        process::done(init.into_iter().chain(["--listen", "127.0.0.1:0"]));
        let config = dir.join("witness.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text + configured).unwrap();
        let config = config.to_str().unwrap();
        for key in log_keys {
            let key = key.to_string();
            process::done(["witness", "logs", "add", &key, "--config", config]);
        }
        let mut witness = Self {
            name,
            door: Door::open(Mode::Closed),
            address: ([127, 0, 0, 1], 0).into(),
            scheme: "http",
            dir,
            process: None,
        };
        std::fs::copy(witness.database(), witness.dir.join("empty")).unwrap();
        witness.start();
        witness
    }

    pub fn start(&mut self) {
        let mut command = Command::new(JURAT);
        command.args(["witness", "serve", "--config"]);
        command.arg(self.dir.join("witness.toml"));
        let process = Process::start(&mut command, &self.dir.join("stderr"));
        self.address = process.address();
        self.door.set(Mode::Forward(self.address));
        self.process = Some(process);
    }

    /// SIGKILL. Whoever connects from now on is turned away.
    pub fn kill(&mut self) {
        self.process.take().expect("a running witness").kill();
        self.door.set(Mode::Closed);
    }

    fn database(&self) -> PathBuf {
        self.dir.join("witness.redb")
    }

    /// A stopped witness loses everything but its keys and its list of logs.
    pub fn forget(&self) {
        assert!(self.process.is_none());
        std::fs::copy(self.dir.join("empty"), self.database()).unwrap();
        // An empty database beside a log that was written to is refused.
        for log in ["witness.redb.wal-0", "witness.redb.wal-1"] {
            std::fs::remove_file(self.dir.join(log)).unwrap();
        }
        // And one beside the name that says how far it went would sign nothing.
        for file in std::fs::read_dir(&self.dir).unwrap() {
            let path = file.unwrap().path();
            if path.to_string_lossy().contains(".reached-") {
                std::fs::remove_file(path).unwrap();
            }
        }
    }

    /// What a witness is in a policy.
    pub fn member(&self) -> Member {
        Member {
            keys: self.keys(),
            url: format!("{}://{}", self.scheme, self.door.address),
        }
    }

    pub fn keys(&self) -> Vec<VerifierKey> {
        ["ed25519.key", "ml-dsa-44.key"]
            .map(|file| SigningKey::load(self.dir.join(file)).unwrap())
            .iter()
            .map(|key| key.verifier_key().clone())
            .collect()
    }

    /// The newest checkpoint of the service's log that this witness has cosigned, as it serves it.
    pub fn cosigned(&self) -> Option<SignedCheckpoint> {
        let path = format!("/{}/checkpoint", Origin::parse(ORIGIN).unwrap().hash_hex());
        let answer = http::call(self.address, "GET", &path, &[], b"").unwrap();
        (answer.status == 200).then(|| SignedCheckpoint::parse(&answer.body).unwrap())
    }

    /// Sends it a checkpoint of any log.
    pub fn add(&self, body: &[u8]) -> http::Answer {
        http::call(self.address, "POST", "/add-checkpoint", &[], body).unwrap()
    }

    /// Its size, 0 when there is none.
    pub fn cosigned_size(&self) -> u64 {
        let cosigned = self.cosigned();
        cosigned.map_or(0, |checkpoint| checkpoint.head().size.get())
    }
}

/// A member of a policy: a witness by its keys and the URL where it is asked.
pub struct Member {
    pub keys: Vec<VerifierKey>,
    pub url: String,
}

/// A policy in which `quorum` of the members must cosign; either key of a member counts for it.
/// The keys of member 1 are named `w1.0`, `w1.1`, and so on.
pub fn policy(log_keys: &[VerifierKey], members: &[Member], quorum: usize) -> String {
    let mut text = String::new();
    for key in log_keys {
        let _ = writeln!(text, "log {key}");
    }
    let mut groups = String::new();
    for (number, member) in (1..).zip(members) {
        let mut names = String::new();
        for (place, key) in member.keys.iter().enumerate() {
            let name = format!("w{number}.{place}");
            let _ = writeln!(text, "witness {name} {key} {}", member.url);
            let _ = write!(names, " {name}");
        }
        let _ = writeln!(text, "group w{number} any{names}");
        let _ = write!(groups, " w{number}");
    }
    let _ = writeln!(text, "group enough {quorum}{groups}\nquorum enough");
    text
}

/// A service with so many running witnesses, of which `quorum` must cosign. It is not started yet.
pub fn network(witnesses: usize, quorum: usize) -> (Home, Vec<WitnessHome>) {
    network_of(Home::new(), witnesses, quorum)
}

/// The same around a service that is there.
pub fn network_of(home: Home, witnesses: usize, quorum: usize) -> (Home, Vec<WitnessHome>) {
    let keys = home.log_keys();
    let witnesses: Vec<WitnessHome> = (1..=witnesses)
        .map(|number| WitnessHome::new(home.root(), number, &keys))
        .collect();
    let members: Vec<Member> = witnesses.iter().map(WitnessHome::member).collect();
    home.write_policy(&policy(&keys, &members, quorum));
    (home, witnesses)
}
