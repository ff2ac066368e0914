//! Witnesses that gossip with each other as processes of their own, each at an address that is
//! known before it runs, and the alarms that they tell.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use jurat_keys::SigningKey;
use jurat_proto::key::{Signer as _, VerifierKey};
use tokio::net::TcpSocket;

use super::{Home, Process, TestLog};

/// A port that is ours, and where nobody listens yet: whoever wants to, and says that the address
/// may be used again, can.
pub struct Place {
    pub address: SocketAddr,
    _bound: TcpSocket,
}

impl Place {
    pub fn take() -> Self {
        let bound = TcpSocket::new_v4().unwrap();
        bound.set_reuseaddr(true).unwrap();
        bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = bound.local_addr().unwrap();
        Self {
            address,
            _bound: bound,
        }
    }
}

pub fn name(place: usize) -> String {
    format!("w{place}.example")
}

/// Homes of so many witnesses that know each other.
pub fn homes(count: usize) -> Vec<Home> {
    (0..count).map(|place| Home::named(&name(place))).collect()
}

/// Has each home gossip with all others: `listen` is where the witness of a place listens, `url`
/// where the witness of the first place finds that of the second.
pub fn acquaint(
    homes: &[Home],
    listen: impl Fn(usize) -> SocketAddr,
    url: impl Fn(usize, usize) -> String,
    more: impl Fn(usize) -> String,
) {
    let gossip: Vec<VerifierKey> = homes.iter().map(gossip_key).collect();
    for (place, home) in homes.iter().enumerate() {
        let config = fs::read_to_string(home.config()).unwrap();
        let (anywhere, here) = ("listen = \"127.0.0.1:0\"", listen(place));
        assert!(config.contains(anywhere), "{config}");
        let config = config.replace(anywhere, &format!("listen = \"{here}\""));
        let off = "#[gossip]\n#key = \"gossip.key\"\n";
        let on = off.replace('#', "");
        let mut config = config.replace(off, &format!("{on}{}", more(place)));
        for (other, peer) in homes.iter().enumerate() {
            if other == place {
                continue;
            }
            let keys: Vec<String> = peer.keys.iter().map(|key| format!("\"{key}\"")).collect();
            write!(
                config,
                "\n[[gossip.peer]]\nname = \"{}\"\nurl = \"{}\"\n\
                 gossip_keys = [\"{}\"]\nkeys = [{}]\n",
                name(other),
                url(place, other),
                gossip[other],
                keys.join(", ")
            )
            .unwrap();
        }
        fs::write(home.config(), config).unwrap();
    }
}

pub fn gossip_key(home: &Home) -> VerifierKey {
    let key = SigningKey::load(home.path("gossip.key")).unwrap();
    key.verifier_key().clone()
}

/// Puts logs into the list of each home, each with the URL where it shows itself, if it does.
pub fn add_logs<'l>(homes: &[Home], logs: impl Iterator<Item = (&'l TestLog, Option<String>)>) {
    let (first, others) = homes.split_first().unwrap();
    for (log, url) in logs {
        let vkey = log.vkey().to_string();
        let url = url.as_deref().map(|url| ["--url", url]);
        let args = [
            &["add", &vkey][..],
            url.as_ref().map_or(&[], |url| &url[..]),
        ]
        .concat();
        let added = first.logs(&args);
        assert!(added.status.success(), "{added:?}");
    }
    for other in others {
        fs::copy(first.path("logs.toml"), other.path("logs.toml")).unwrap();
    }
}

/// A command for a witness whose log lines go to a file in its home.
pub fn quiet(mut command: Command, home: &Home) -> Process {
    let lines = File::options()
        .create(true)
        .append(true)
        .open(home.path("stderr"))
        .unwrap();
    command.stderr(Stdio::from(lines));
    Process::spawn(command, Path::new(&home.config()))
}

pub fn witness() -> Command {
    Command::new(env!("CARGO_BIN_EXE_jurat-witness"))
}

/// An alarm, as a witness told it.
#[derive(Debug, Clone)]
pub struct Told {
    pub at: Instant,
    pub witness: String,
    pub alarm: String,
    pub raised: bool,
    pub about: String,
}

/// Where witnesses tell their alarms: nobody has to ask them again and again.
pub struct Hook {
    pub address: SocketAddr,
    pub told: mpsc::Receiver<Told>,
}

impl Hook {
    pub fn open(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = mpsc::sync_channel(TOLD_MAX);
        // Ends with the test program, as what it starts does.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let tell = tell.clone();
                thread::spawn(move || listen(stream, &tell));
            }
        });
        Self { address, told }
    }
}

/// Takes notes of one connection until it ends.
fn listen(stream: TcpStream, tell: &mpsc::SyncSender<Told>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let field = line.to_ascii_lowercase();
            if let Some(value) = field.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        let at = Instant::now();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.get_mut().write_all(answer).ok()?;
        let text = String::from_utf8(body).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("jurat/gossip-alarm@v0"), "{text}");
        let json: serde_json::Value = serde_json::from_str(lines.next()?).unwrap();
        let of = |field: &str| json[field].as_str().unwrap().to_owned();
        let told = Told {
            at,
            witness: of("witness"),
            alarm: of("alarm"),
            raised: json["raised"].as_bool().unwrap(),
            about: of("about"),
        };
        tell.send(told).ok()?;
    }
}

/// Alarms that wait to be looked at; whoever tells one more waits, too.
const TOLD_MAX: usize = 16_384;
