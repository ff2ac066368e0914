//! The least that a server can do, without a library or a runtime; each connection has a thread,
//! which the kernel wakes directly. Beside it the figures of a real server tell what is ours and
//! what is the machine's.
//!
//! - One that makes something durable before it answers: reads the request, writes 4 KiB over what
//!   a file has, waits for the disk, answers. No cryptography.
//! - One that signs: reads the request, verifies a signature, signs with each key, answers with as
//!   many bytes. No disk.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use jurat_keys::{Algorithm, SigningKey, fast_verifier};
use jurat_proto::checkpoint::{Checkpoint, ExtensionLines, Origin};
use jurat_proto::cosignature::{cosigned_message, sign_note};
use jurat_proto::key::{KeyName, Signer as _, UnixSeconds, VerifierKey};
use jurat_proto::note::SignatureLine;
use jurat_proto::tree::TreeHead;

use super::service::Process;

/// The arguments that make a bench these servers ([`serve_if_asked`]).
const ARGUMENT: &str = "--floor";
const SIGNS: &str = "--floor-signs";

/// 4 KiB pages, each written over in turn.
const PAGES: u64 = 256;

/// Starts this program as that server, with its file in a folder.
pub fn start(folder: &Path) -> Process {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(ARGUMENT).arg(folder.join("floor"));
    Process::start(command, &folder.join("floor.log"))
}

/// Starts this program as the server that signs with these keys.
pub fn start_signing(keys: &[PathBuf], folder: &Path) -> Process {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(SIGNS).args(keys);
    Process::start(command, &folder.join("floor-signs.log"))
}

/// Serves until it is killed, when that is what this process was started for.
pub fn serve_if_asked() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some(ARGUMENT) => serve(&PathBuf::from(arguments.next().unwrap())),
        Some(SIGNS) => serve_signing(arguments.map(PathBuf::from)),
        _ => {}
    }
}

/// What a request to a witness costs in signatures: one verification of the log's, and one
/// signature of each key.
pub struct Signatures {
    log: VerifierKey,
    text: String,
    line: SignatureLine,
    signers: Vec<(Vec<u8>, SigningKey)>,
}

impl Signatures {
    pub fn of(signers: Vec<SigningKey>) -> Self {
        let log = SigningKey::generate(
            KeyName::parse("log.bench.example").unwrap(),
            Algorithm::Ed25519,
        )
        .unwrap();
        let checkpoint = Checkpoint {
            origin: Origin::parse("log.bench.example").unwrap(),
            head: TreeHead::empty(),
            extensions: ExtensionLines::new(),
        };
        let text = checkpoint.to_text();
        let line = sign_note(&text, &log).unwrap();
        let time = UnixSeconds::new(1_700_000_000).unwrap();
        let message = |signer: SigningKey| {
            let message = cosigned_message(signer.verifier_key(), &checkpoint, time).unwrap();
            (message, signer)
        };
        Self {
            log: fast_verifier(log.verifier_key()).unwrap(),
            line,
            signers: signers.into_iter().map(message).collect(),
            text,
        }
    }

    /// Verifies and signs; how many bytes the signatures have.
    pub fn make(&self) -> usize {
        let verified = self
            .log
            .verify_message(self.text.as_bytes(), self.line.signature());
        verified.unwrap();
        let signed = self.signers.iter();
        signed
            .map(|(message, signer)| signer.sign(message).unwrap().len())
            .sum()
    }
}

fn serve_signing(keys: impl Iterator<Item = PathBuf>) -> ! {
    let signers = keys.map(|file| SigningKey::load(file).unwrap()).collect();
    let signatures = Arc::new(Signatures::of(signers));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("listening on http://{}", listener.local_addr().unwrap());
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        let signatures = Arc::clone(&signatures);
        thread::spawn(move || {
            stream.set_nodelay(true).unwrap();
            let mut requests = BufReader::new(stream.try_clone().unwrap());
            while read_request(&mut requests).is_some() {
                // In base64.
                let body = signatures.make().div_ceil(3) * 4;
                let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {body}\r\n\r\n");
                answer.extend(std::iter::repeat_n('A', body));
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        });
    }
}

fn serve(path: &Path) -> ! {
    let file = File::create(path).unwrap();
    let size = usize::try_from(PAGES).unwrap() * 4096;
    file.write_all_at(&vec![1; size], 0).unwrap();
    file.sync_all().unwrap();
    let disk = Arc::new(Mutex::new((file, 0)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("listening on http://{}", listener.local_addr().unwrap());
    loop {
        let (stream, _) = listener.accept().unwrap();
        let disk = Arc::clone(&disk);
        thread::spawn(move || answer_all(stream, &disk));
    }
}

fn answer_all(mut stream: TcpStream, disk: &Mutex<(File, u64)>) {
    stream.set_nodelay(true).unwrap();
    let mut requests = BufReader::new(stream.try_clone().unwrap());
    while read_request(&mut requests).is_some() {
        {
            let (file, round) = &mut *disk.lock().unwrap();
            let page = vec![u8::try_from(*round % 251).unwrap(); 4096];
            file.write_all_at(&page, *round % PAGES * 4096).unwrap();
            file.sync_data().unwrap();
            *round += 1;
        }
        let answered = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        if answered.is_err() {
            return;
        }
    }
}

/// The body's length; `None` when the client has gone.
fn read_request(from: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    from.read_exact(&mut vec![0; length]).ok()?;
    Some(length)
}
