//! A time server on loopback that says what a test wants it to say. The witness's tests use it too.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests; and each test file uses its own part of this one"
)]

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use jurat_daemon::clock::sntp::{NtpTime, PACKET_BYTES};
use jurat_daemon::clock::{Clock as _, SystemClock, UnixTime};

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// The time of this machine, and that it is certain of it.
    Right,
    /// So many seconds after it.
    Ahead(u64),
    /// So many seconds before it.
    Behind(u64),
    /// Nothing.
    Nothing,
    /// The right time, but to another question.
    ToAnother,
    /// The right time, from another port than was asked.
    FromElsewhere,
    /// That it is not synchronised.
    Unsynchronised,
    /// That it is certain to within a minute.
    Uncertain,
    /// A kiss-o'-death.
    Kiss([u8; 4]),
    /// A kiss-o'-death that does not repeat the number, then the right time.
    ForgedKissFirst,
    /// Bytes.
    Garbage,
    /// More bytes than a packet has.
    TooMuch,
}

pub struct TimeServer {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    say: Say,
    questions: Vec<Vec<u8>>,
    ends: bool,
}

impl TimeServer {
    pub fn start(say: Say) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            say,
            questions: Vec::new(),
            ends: false,
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || serve(&socket, &shared));
        Self { address, state }
    }

    /// Says something else from now on.
    pub fn say(&self, say: Say) {
        self.state.lock().unwrap().say = say;
    }

    /// The questions that came.
    pub fn questions(&self) -> Vec<Vec<u8>> {
        self.state.lock().unwrap().questions.clone()
    }
}

impl Drop for TimeServer {
    fn drop(&mut self) {
        self.state.lock().unwrap().ends = true;
        let wake = UdpSocket::bind("127.0.0.1:0").unwrap();
        let _ = wake.send_to(&[], self.address);
    }
}

fn serve(socket: &UdpSocket, state: &Mutex<State>) {
    let mut buffer = [0; 1024];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        let question = buffer.get(..length).unwrap();
        let say = {
            let mut state = state.lock().unwrap();
            if state.ends {
                return;
            }
            state.questions.push(question.to_vec());
            state.say
        };
        let send = |packet: &[u8]| {
            // Whoever asked may have gone away.
            let _ = socket.send_to(packet, from);
        };
        let right = answer(question, SystemClock.now());
        match say {
            Say::Right => send(&right),
            Say::Ahead(seconds) => {
                let time = SystemClock.now().plus(Duration::from_secs(seconds));
                send(&answer(question, time));
            }
            Say::Behind(seconds) => {
                let time = SystemClock.now().minus(Duration::from_secs(seconds));
                send(&answer(question, time));
            }
            Say::Nothing => {}
            Say::ToAnother => send(&set(right, 31, right[31] ^ 1)),
            Say::FromElsewhere => {
                let other = UdpSocket::bind("127.0.0.1:0").unwrap();
                other.send_to(&right, from).unwrap();
            }
            Say::Unsynchronised => send(&set(right, 0, right[0] | 0b1100_0000)),
            Say::Uncertain => send(&set(right, 9, 60)),
            Say::Kiss(code) => send(&kiss(right, code)),
            Say::ForgedKissFirst => {
                let kiss = kiss(right, *b"DENY");
                send(&set(kiss, 24, kiss[24] ^ 1));
                send(&right);
            }
            Say::Garbage => send(b"no time"),
            Say::TooMuch => send(&[0x24; 200]),
        }
    }
}

/// Stratum 1, with a millisecond of dispersion.
fn answer(question: &[u8], time: UnixTime) -> [u8; PACKET_BYTES] {
    let mut packet = [0; PACKET_BYTES];
    packet[..4].copy_from_slice(&[0x24, 1, 6, 0xf0]);
    packet[10..12].copy_from_slice(&66_u16.to_be_bytes());
    packet[24..32].copy_from_slice(&question[40..48]);
    let time = NtpTime::from_unix(time).to_bits().to_be_bytes();
    packet[32..40].copy_from_slice(&time);
    packet[40..].copy_from_slice(&time);
    packet
}

fn set(mut packet: [u8; PACKET_BYTES], at: usize, byte: u8) -> [u8; PACKET_BYTES] {
    packet[at] = byte;
    packet
}

fn kiss(packet: [u8; PACKET_BYTES], code: [u8; 4]) -> [u8; PACKET_BYTES] {
    let mut packet = set(packet, 1, 0);
    packet[12..16].copy_from_slice(&code);
    packet
}
