//! A listener that stands before a witness, so that its URL stays while the witness comes and goes,
//! falls silent, or lies.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::Answer;

pub struct Door {
    pub address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    /// Connections that were accepted.
    accepted: AtomicUsize,
}

struct State {
    mode: Mode,
    /// Everything that must break when the mode changes.
    open: Vec<TcpStream>,
}

/// What happens to a connection.
#[derive(Clone)]
pub enum Mode {
    /// It is passed on, byte for byte.
    Forward(SocketAddr),
    /// It is accepted, and nothing ever comes back.
    Silent,
    /// It is closed at once.
    Closed,
    /// Each request is answered with these bytes.
    Answer(Answerer),
}

/// Makes the bytes of a response.
pub type Answerer = Arc<dyn Fn(&Asked) -> Vec<u8> + Send + Sync>;

/// A request.
pub struct Asked {
    pub method: String,
    pub path: String,
    pub body: Vec<u8>,
}

impl Door {
    pub fn open(mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            state: Mutex::new(State {
                mode,
                open: Vec::new(),
            }),
            accepted: AtomicUsize::new(0),
        });
        let door = Self {
            address,
            inner: Arc::clone(&inner),
        };
        // Ends with the test program.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                inner.accepted.fetch_add(1, Ordering::SeqCst);
                inner.admit(stream);
            }
        });
        door
    }

    /// A door behind which each request is answered with a status and a body.
    pub fn answering(answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::open(Mode::Answer(Arc::new(answer)))
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes what happens, and breaks the connections that are open.
    pub fn set(&self, mode: Mode) {
        let mut state = self.inner.state.lock().unwrap();
        state.mode = mode;
        for stream in state.open.drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    pub fn accepted(&self) -> usize {
        self.inner.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.set(Mode::Closed);
    }
}

impl Inner {
    fn admit(&self, stream: TcpStream) {
        let mut state = self.state.lock().unwrap();
        match &state.mode {
            Mode::Closed => {}
            Mode::Silent => state.open.push(stream),
            Mode::Forward(to) => {
                let Ok(upstream) = TcpStream::connect(to) else {
                    return;
                };
                state.open.push(stream.try_clone().unwrap());
                state.open.push(upstream.try_clone().unwrap());
                pump(stream.try_clone().unwrap(), upstream.try_clone().unwrap());
                pump(upstream, stream);
            }
            Mode::Answer(answer) => {
                let answer = Arc::clone(answer);
                state.open.push(stream.try_clone().unwrap());
                std::thread::spawn(move || respond(stream, &answer));
            }
        }
    }
}

/// Passes on what comes until either end closes.
fn pump(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        drop(from.set_nodelay(true));
        drop(std::io::copy(&mut from, &mut to));
        drop(from.shutdown(Shutdown::Both));
        drop(to.shutdown(Shutdown::Both));
    });
}

fn respond(stream: TcpStream, answer: &Answerer) {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader) {
        if reader.get_mut().write_all(&answer(&asked)).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut first = String::new();
    if reader.read_line(&mut first).ok()? == 0 {
        return None;
    }
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { method, path, body })
}

/// The bytes of a response.
pub fn response(status: u16, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// An answer that was received, to be passed on.
pub fn relay(answer: &Answer) -> Vec<u8> {
    let content_type = answer.header("content-type").unwrap_or("text/plain");
    response(answer.status, content_type, &answer.body)
}
