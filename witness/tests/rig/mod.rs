//! A log that signs and proves, a witness process, and an HTTP client of a few lines.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unused_self,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests; and each test file uses its own part of this one"
)]

pub mod carry;
pub mod circle;

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::Duration;

use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::add_checkpoint::AddCheckpoint;
use jurat_proto::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use jurat_proto::cosignature;
use jurat_proto::cosignature_lines::CosignatureLines;
use jurat_proto::evidence::KnownKeys;
use jurat_proto::hash::{Hash, leaf_hash};
use jurat_proto::key::{KeyName, Signer as _, UnixSeconds, VerifierKey};
use jurat_proto::note::SignatureLine;
use jurat_proto::proof::{ConsistencyProof, prove_consistency};
use jurat_proto::tree::{CompactRange, NodeCoord, NodeReader, TreeHead, TreeSize};
use jurat_witness::evidence::Jury;

/// A log in memory.
pub struct TestLog {
    pub origin: Origin,
    pub key: SigningKey,
    range: CompactRange,
    nodes: HashMap<NodeCoord, Hash>,
    heads: Vec<TreeHead>,
}

impl TestLog {
    pub fn new(name: &str) -> Self {
        let key = SigningKey::generate(KeyName::parse(name).unwrap(), Algorithm::Ed25519).unwrap();
        Self::with_key(key)
    }

    pub fn with_key(key: SigningKey) -> Self {
        Self {
            origin: Origin::parse(key.verifier_key().name().as_str()).unwrap(),
            key,
            range: CompactRange::new(),
            nodes: HashMap::new(),
            heads: vec![TreeHead::empty()],
        }
    }

    /// Another history under the same key: the first `common` leaves are those of this log.
    pub fn fork(&mut self, common: u64) -> Self {
        let line = self.key.to_note_signer().unwrap();
        let mut fork = Self::with_key(SigningKey::parse_note_signer(&line).unwrap());
        fork.grow(common);
        let range = &mut fork.range;
        let nodes = &mut fork.nodes;
        range
            .append_with(leaf_hash(b"the fork"), &mut |coord, hash| {
                nodes.insert(coord, hash);
            })
            .unwrap();
        fork.heads.push(fork.range.head());
        fork
    }

    pub fn vkey(&self) -> &VerifierKey {
        self.key.verifier_key()
    }

    /// Appends leaves until there are `size`.
    pub fn grow(&mut self, size: u64) {
        while self.range.size().get() < size {
            let leaf = leaf_hash(&self.range.size().get().to_be_bytes());
            let nodes = &mut self.nodes;
            self.range
                .append_with(leaf, &mut |coord, hash| {
                    nodes.insert(coord, hash);
                })
                .unwrap();
            self.heads.push(self.range.head());
        }
    }

    pub fn head(&self, size: u64) -> TreeHead {
        self.heads[usize::try_from(size).unwrap()]
    }

    pub fn checkpoint(&self, size: u64) -> SignedCheckpoint {
        self.sign(self.head(size))
    }

    pub fn sign(&self, head: TreeHead) -> SignedCheckpoint {
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            head,
            extensions: jurat_proto::checkpoint::ExtensionLines::new(),
        };
        let line = match self.key.algorithm() {
            Algorithm::MlDsa44 | Algorithm::CosignatureV1 => {
                let time = UnixSeconds::new(1_790_000_000).unwrap();
                cosignature::cosign(&checkpoint, time, &self.key)
            }
            Algorithm::Ed25519 | Algorithm::P256 => {
                cosignature::sign_note(&checkpoint.to_text(), &self.key)
            }
        };
        SignedCheckpoint::new(checkpoint, vec![line.unwrap()]).unwrap()
    }

    pub fn proof(&self, old: u64, new: u64) -> ConsistencyProof {
        if old == 0 {
            return ConsistencyProof::new(Vec::new()).unwrap();
        }
        prove_consistency(
            TreeSize::new(old).unwrap(),
            TreeSize::new(new).unwrap(),
            self,
        )
        .unwrap()
    }

    pub fn request(&self, old: u64, new: u64) -> Vec<u8> {
        self.request_with(old, self.proof(old, new), self.checkpoint(new))
    }

    pub fn request_with(
        &self,
        old: u64,
        proof: ConsistencyProof,
        checkpoint: SignedCheckpoint,
    ) -> Vec<u8> {
        AddCheckpoint {
            old_size: TreeSize::new(old).unwrap(),
            proof,
            checkpoint,
        }
        .to_bytes()
    }

    pub fn checkpoint_path(&self) -> String {
        format!("/{}/checkpoint", self.origin.hash_hex())
    }
}

impl NodeReader for TestLog {
    type Error = Infallible;

    fn nodes(&self, coords: &[NodeCoord]) -> Result<Vec<Hash>, Infallible> {
        Ok(coords.iter().map(|coord| self.nodes[coord]).collect())
    }
}

/// The lines of a 200 answer, verified as the answer of a witness with these keys: one line for
/// each key, in order, all with one time that is not zero, which is returned.
pub fn verified(body: &[u8], checkpoint: &SignedCheckpoint, keys: &[VerifierKey]) -> u64 {
    let lines = CosignatureLines::parse(body).unwrap();
    assert_eq!(lines.lines().len(), keys.len());
    let verified = lines.verify(checkpoint, keys).unwrap();
    let places: Vec<(usize, usize)> = verified
        .iter()
        .map(|line| (line.line_index, line.key_index))
        .collect();
    let wanted: Vec<(usize, usize)> = (0..keys.len()).map(|place| (place, place)).collect();
    assert_eq!(
        places, wanted,
        "a line for each key, in the order of the keys"
    );
    let time = verified[0].timestamp.unwrap();
    assert!(verified.iter().all(|line| line.timestamp == Some(time)));
    time.get()
}

/// Convicts nobody.
#[derive(Debug)]
pub struct Nobody;

impl Jury for Nobody {
    fn keys(&self, _: Option<&Origin>) -> KnownKeys {
        KnownKeys::new()
    }

    fn own(&self) -> &[VerifierKey] {
        &[]
    }
}

/// Lines that do not belong there are not there.
pub fn names(lines: &[SignatureLine]) -> Vec<String> {
    lines.iter().map(|line| line.name().to_string()).collect()
}

/// A directory with a witness in it.
pub struct Home {
    pub dir: tempfile::TempDir,
    pub keys: Vec<VerifierKey>,
}

pub const NAME: &str = "witness.example.com/w1";

impl Home {
    pub fn new() -> Self {
        Self::named(NAME)
    }

    pub fn named(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        let output = run(&[
            "init",
            path.to_str().unwrap(),
            "--name",
            name,
            "--listen",
            "127.0.0.1:0",
            "--url",
            "https://witness.example.com",
        ]);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let keys: Vec<VerifierKey> = text
            .lines()
            .filter(|line| line.starts_with(name))
            .map(|line| VerifierKey::parse(line).unwrap())
            .collect();
        assert_eq!(keys.len(), 2, "{text}");
        Self { dir, keys }
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join("w").join(file)
    }

    pub fn config(&self) -> String {
        self.path("witness.toml").to_str().unwrap().to_owned()
    }

    pub fn logs(&self, args: &[&str]) -> Output {
        let config = self.config();
        run(&[&["logs", "--config", &config], args].concat())
    }

    pub fn add_log(&self, log: &TestLog) {
        let (vkey, config) = (log.vkey().to_string(), self.config());
        let output = run(&["logs", "add", &vkey, "--config", &config]);
        assert!(output.status.success(), "{output:?}");
    }

    pub fn serve(&self) -> Process {
        Process::start(Path::new(&self.config()))
    }
}

/// Runs a command to its end.
pub fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_jurat-witness"))
        .args(args)
        .output()
        .unwrap()
}

/// A witness that serves. Killed when dropped.
pub struct Process {
    pub child: Child,
    pub address: SocketAddr,
}

impl Process {
    pub fn start(config: &Path) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_jurat-witness")), config)
    }

    /// Starts a command that goes on with the arguments of a witness.
    pub fn spawn(mut command: Command, config: &Path) -> Self {
        let mut child = command
            .args(["serve", "--config"])
            .arg(config)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim_end()
            .strip_prefix("listening on http://")
            .unwrap_or_else(|| panic!("it did not start: {line:?}"));
        Self {
            address: address.parse().unwrap(),
            child,
        }
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// A request of its own connection.
    pub fn call(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        self.client().call(method, path, body).unwrap()
    }

    pub fn add(&self, body: &[u8]) -> Answer {
        self.call("POST", "/add-checkpoint", body)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, b"")
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// SIGKILL: no handler runs.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn terminate(mut self) -> ExitStatus {
        self.signal("TERM");
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves files over HTTP, as a CDN would, and says where.
pub fn files(files: Vec<(String, Vec<u8>)>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let files: HashMap<String, Vec<u8>> = files.into_iter().collect();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap_or(0) <= 2 {
                    break;
                }
                lines.push(line);
            }
            let path = lines.first().and_then(|line| line.split(' ').nth(1));
            let file = path.and_then(|path| files.get(path));
            let (status, body) = file.map_or((404, &b""[..]), |file| (200, file));
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.get_mut().write_all(head.as_bytes());
            let _ = stream.get_mut().write_all(body);
        }
    });
    address
}

/// One connection, kept alive.
pub struct Client {
    stream: BufReader<TcpStream>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    pub fn over(stream: TcpStream) -> Self {
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// `None` when the connection broke: the peer may have died.
    pub fn call(&mut self, method: &str, path: &str, body: &[u8]) -> Option<Answer> {
        self.call_with(method, path, &[], body)
    }

    /// [`Self::call`] with fields of its own.
    pub fn call_with(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: witness\r\n");
        for (name, value) in fields {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if method == "POST" || !body.is_empty() {
            let _ = write!(head, "Content-Length: {}\r\n", body.len());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.stream.get_mut().write_all(&bytes).ok()?;
        self.read(method)
    }

    fn read(&mut self, method: &str) -> Option<Answer> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let status = lines[0].split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines[1..]
            .iter()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
        let mut body = vec![0; if method == "HEAD" { 0 } else { length }];
        self.stream.read_exact(&mut body).ok()?;
        Some(Answer {
            status,
            headers,
            body,
        })
    }
}

/// The folder of other people's test data, when there is one. `JURAT_VECTORS_REQUIRED=1` or
/// `CI=true` makes its absence a failure.
pub fn vectors() -> Option<PathBuf> {
    let path = std::env::var_os("JURAT_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors"),
        PathBuf::from,
    );
    if path.is_dir() {
        return Some(path);
    }
    let is = |name: &str, due: &str| std::env::var_os(name).is_some_and(|value| value == due);
    assert!(
        !is("JURAT_VECTORS_REQUIRED", "1") && !is("CI", "true"),
        "the vectors are required, and {} is not there",
        path.display()
    );
    println!("nothing to read: {} is not there", path.display());
    None
}

/// Waits for what another process does by itself; at most 20 s.
pub fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..400 {
        if holds() {
            return;
        }
        // Wait: for the other process, which looks once a second.
        thread::sleep(Duration::from_millis(50));
    }
    panic!("it did not happen within 20 s");
}

/// Serves files of a log, by path; without an end.
pub fn serve_tiles(tiles: BTreeMap<String, Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|n| n == 1) {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default();
            let (status, body) = match tiles.get(path) {
                Some(body) => ("200 OK", body.clone()),
                None => ("404 Not Found", Vec::new()),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            drop(client.write_all(&[answer.as_bytes(), &body].concat()));
        }
    });
    address
}
