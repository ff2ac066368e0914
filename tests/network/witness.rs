//! Witness processes, each behind a door of its own, and the policy that names them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use jurat_keys::SigningKey;
use jurat_proto::key::{Signer as _, VerifierKey};

use super::http::{self, Answer};
use super::process::{self, JURAT, Process};
use super::service::{Home, ORIGIN};
use super::{Door, Mode};

/// A witness: its directory, its door, and its process while that runs.
pub struct WitnessHome {
    pub name: String,
    pub door: Door,
    dir: PathBuf,
    process: Option<Process>,
}

impl WitnessHome {
    /// Creates a witness that knows a log by these keys, and starts it.
    pub fn new(root: &Path, number: usize, log_keys: &[VerifierKey]) -> Self {
        let name = format!("witness.example/w{number}");
        let dir = root.join(format!("witness{number}"));
        let path = dir.to_str().unwrap();
        let init = ["witness", "init", path, "--name", &name];
        process::done(init.into_iter().chain(["--listen", "127.0.0.1:0"]));
        let config = dir.join("witness.toml");
        let config = config.to_str().unwrap();
        for key in log_keys {
            let key = key.to_string();
            process::done(["witness", "logs", "add", &key, "--config", config]);
        }
        let mut witness = Self {
            name,
            door: Door::open(Mode::Closed),
            dir,
            process: None,
        };
        witness.start();
        witness
    }

    pub fn start(&mut self) {
        let mut command = Command::new(JURAT);
        command.args(["witness", "serve", "--config"]);
        command.arg(self.dir.join("witness.toml"));
        let process = Process::start(&mut command, &self.dir.join("stderr"));
        self.door.set(Mode::Forward(process.address()));
        self.process = Some(process);
    }

    /// SIGKILL. Whoever connects from now on is turned away.
    pub fn kill(&mut self) {
        self.process.take().expect("a running witness").kill();
        self.door.set(Mode::Closed);
    }

    pub fn keys(&self) -> Vec<VerifierKey> {
        ["ed25519.key", "ml-dsa-44.key"]
            .map(|file| SigningKey::load(self.dir.join(file)).unwrap())
            .iter()
            .map(|key| key.verifier_key().clone())
            .collect()
    }

    pub fn get(&self, path: &str) -> Answer {
        http::call(self.door.address, "GET", path, &[], b"").unwrap()
    }

    /// The newest checkpoint of the service's log that this witness has cosigned, as it serves it.
    pub fn cosigned(&self) -> Vec<u8> {
        let origin = jurat_proto::checkpoint::Origin::parse(ORIGIN).unwrap();
        let answer = self.get(&format!("/{}/checkpoint", origin.hash_hex()));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.body
    }
}

/// A member of a policy: a witness by its keys and the URL where it is asked.
pub struct Member {
    pub keys: Vec<VerifierKey>,
    pub url: String,
}

impl From<&WitnessHome> for Member {
    fn from(witness: &WitnessHome) -> Self {
        Self {
            keys: witness.keys(),
            url: witness.door.url(),
        }
    }
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
    let home = Home::new();
    let keys = home.log_keys();
    let witnesses: Vec<WitnessHome> = (1..=witnesses)
        .map(|number| WitnessHome::new(home.root(), number, &keys))
        .collect();
    let members: Vec<Member> = witnesses.iter().map(Member::from).collect();
    home.write_policy(&policy(&keys, &members, quorum));
    (home, witnesses)
}
