//! The least that a server can do that makes something durable before it answers: read the request,
//! write 4 KiB over what a file has, wait for the disk, answer. No library, no runtime, no
//! cryptography; each connection has a thread, which the kernel wakes directly.
//!
//! Beside it the figures of a real server tell what is ours and what is the machine's.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use super::service::Process;

/// The argument that makes a bench this server ([`serve_if_asked`]).
const ARGUMENT: &str = "--floor";

/// 4 KiB pages, each written over in turn.
const PAGES: u64 = 256;

/// Starts this program as that server, with its file in a folder.
pub fn start(folder: &Path) -> Process {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(ARGUMENT).arg(folder.join("floor"));
    Process::start(command, &folder.join("floor.log"))
}

/// Serves until it is killed, when that is what this process was started for.
pub fn serve_if_asked() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(ARGUMENT) {
        serve(&PathBuf::from(arguments.next().unwrap()));
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
