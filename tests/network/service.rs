//! The service: its directory, and the process that runs on it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use jurat_keys::SigningKey;
use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::key::{Signer as _, VerifierKey};
use jurat_proto::policy::Policy;
use jurat_proto::receipt::{Receipt, ReceiptVerdict};
use jurat_proto::tree::TreeHead;
use serde_json::Value;

use super::http::{self, Answer, Client};
use super::process::{self, JURAT, Process};
use super::{TestLog, eventually};

/// The origin of the services of these tests.
pub const ORIGIN: &str = "jurat.example/log";

/// The directory of a service, which outlives its processes.
pub struct Home {
    root: tempfile::TempDir,
}

impl Home {
    /// A service without witnesses and without time-stamps, that makes tree heads as fast as they
    /// are wanted: its first entry is the first one that is sent.
    pub fn new() -> Self {
        let home = Self::with_timestamps();
        let text = std::fs::read_to_string(home.config()).unwrap();
        let (others, timestamps) = text.split_once("\n[timestamp]").unwrap();
        assert!(!timestamps.contains("\n["), "it is the last table");
        std::fs::write(home.config(), others).unwrap();
        home
    }

    /// The same with the time-stamp authority, whose first entry is the start of its unit.
    pub fn with_timestamps() -> Self {
        let home = Self {
            root: tempfile::tempdir().unwrap(),
        };
        let dir = home.dir();
        let dir = dir.to_str().unwrap();
        let args = ["init", dir, "--origin", ORIGIN, "--listen", "127.0.0.1:0"];
        process::done(args.into_iter().chain(["--without-witnesses"]));
        home.edit("interval_ms = 1000 ", "interval_ms = 100 ");
        home.edit("demand_delay_ms = 100 ", "demand_delay_ms = 10 ");
        home
    }

    /// The directory around the service's, for whatever else the test keeps.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn dir(&self) -> PathBuf {
        self.root().join("service")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub fn database(&self) -> PathBuf {
        self.file("jurat.redb")
    }

    pub fn config(&self) -> PathBuf {
        self.file("jurat.toml")
    }

    /// Changes the configuration file.
    pub fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        std::fs::write(self.config(), text.replace(from, to)).unwrap();
    }

    /// Adds to the end of the configuration file.
    pub fn configure(&self, more: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        std::fs::write(self.config(), text + more + "\n").unwrap();
    }

    pub fn log_keys(&self) -> Vec<VerifierKey> {
        self.keys(["keys/log.ed25519.key", "keys/log.mldsa44.key"])
    }

    pub fn cosigner_keys(&self) -> Vec<VerifierKey> {
        self.keys(["keys/cosigner.ed25519.key", "keys/cosigner.mldsa44.key"])
    }

    fn keys(&self, files: [&str; 2]) -> Vec<VerifierKey> {
        let load = |file| SigningKey::load(self.file(file)).unwrap();
        files.map(|file| load(file).verifier_key().clone()).to_vec()
    }

    pub fn policy_file(&self) -> PathBuf {
        self.file("witnesses.policy")
    }

    pub fn policy(&self) -> Policy {
        Policy::parse(&std::fs::read(self.policy_file()).unwrap()).unwrap()
    }

    pub fn write_policy(&self, text: &str) {
        Policy::parse(text.as_bytes()).unwrap();
        std::fs::write(self.policy_file(), text).unwrap();
    }

    /// Runs a command on this service's configuration.
    pub fn command(&self, args: &[&str]) -> Output {
        let config = self.config();
        let config = config.to_str().unwrap();
        process::jurat(args.iter().copied().chain(["--config", config]))
    }

    pub fn add_log(&self, log: &TestLog) {
        self.add_key(&log.vkey().to_string(), log.origin.as_str());
    }

    pub fn add_key(&self, vkey: &str, origin: &str) {
        let output = self.command(&["logs", "add", vkey, "--origin", origin]);
        assert!(output.status.success(), "{output:?}");
    }

    /// The database is as it must be; gives the number of entries.
    pub fn fsck(&self) -> u64 {
        let output = self.command(&["fsck", "--json"]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text} {output:?}");
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(report["good"], true, "{report}");
        report["size"].as_u64().unwrap()
    }

    pub fn stderr_file(&self) -> PathBuf {
        self.root().join("service.stderr")
    }

    /// What its processes have printed to standard error so far.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.stderr_file()).unwrap_or_default()
    }

    /// Starts the process without waiting for it.
    pub fn spawn(&self) -> Process {
        let mut command = Command::new(JURAT);
        command.args(["serve", "--config"]).arg(self.config());
        Process::start(&mut command, &self.stderr_file())
    }

    /// Starts the process and waits until it listens.
    pub fn serve(&self) -> Service {
        Service::of(self.spawn())
    }

    /// `serve` must end by itself, with an error; gives what it printed.
    pub fn refuses_to_serve(&self) -> (i32, String) {
        let before = self.stderr();
        let mut process = self.spawn();
        let status = process.exit();
        let text = process.stderr()[before.len()..].to_owned();
        (status.code().expect("an exit code"), text)
    }

    /// What a receipt proves under this service's policy.
    pub fn verify(&self, receipt: &[u8]) -> ReceiptVerdict {
        let receipt = Receipt::parse(receipt).unwrap();
        receipt.verify(&self.policy()).unwrap()
    }
}

/// A service that listens.
pub struct Service {
    pub process: Process,
    pub address: SocketAddr,
}

impl Service {
    pub fn of(process: Process) -> Self {
        let address = process.address();
        Self { process, address }
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address).unwrap()
    }

    pub fn try_call(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> io::Result<Answer> {
        http::call(self.address, method, path, headers, body)
    }

    pub fn call(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        self.try_call(method, path, headers, body).unwrap()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], b"")
    }

    pub fn add(&self, body: &[u8]) -> Answer {
        self.call("POST", "/add-checkpoint", &[], body)
    }

    /// Waits for the receipt no longer than `wait` seconds.
    pub fn anchor(&self, body: &[u8], wait: u64) -> Answer {
        let prefer = format!("Prefer: wait={wait}");
        self.call("POST", "/anchor", &[&prefer], body)
    }

    /// Anchors what must be accepted, and gives its index and receipt.
    pub fn anchored(&self, body: &[u8]) -> (u64, Vec<u8>) {
        let answer = self.anchor(body, 25);
        assert_eq!(answer.status, 200, "{}", answer.text());
        (answer.index(), answer.body)
    }

    pub fn health(&self) -> Value {
        self.get("/health").json()
    }

    /// Waits until `/health` says what is wanted.
    pub fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        eventually(what, || {
            last = self.health();
            wanted(&last).then(|| last.clone())
        })
    }

    pub fn committed(&self) -> u64 {
        self.health()["committed_size"].as_u64().unwrap()
    }

    /// The latest head that is known of each log, and how many entries there are.
    pub fn state(&self) -> (u64, Value) {
        (self.committed(), self.get("/logs").json()["logs"].clone())
    }

    /// The published checkpoint, once there is one.
    pub fn checkpoint(&self) -> Option<SignedCheckpoint> {
        let answer = self.get("/checkpoint");
        (answer.status == 200).then(|| SignedCheckpoint::parse(&answer.body).unwrap())
    }

    pub fn published(&self) -> Option<TreeHead> {
        self.checkpoint().map(|checkpoint| checkpoint.head())
    }

    /// One value of `/metrics`.
    pub fn metric(&self, name: &str) -> u64 {
        let answer = self.get("/metrics");
        let text = answer.text();
        let of = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        text.lines()
            .find_map(of)
            .unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// The latest anchored checkpoint of a log.
    pub fn latest(&self, origin: &Origin) -> Option<SignedCheckpoint> {
        let answer = self.get(&format!("/logs/{}/checkpoint", origin.hash_hex()));
        (answer.status == 200).then(|| SignedCheckpoint::parse(&answer.body).unwrap())
    }
}
