//! One question to an NTP server, and a strict reading of the answer: RFC 5905 and RFC 4330, the
//! client's part.
//!
//! ```text
//!  0               1               2               3
//! ┌──┬─────┬─────┬───────────────┬───────────────┬───────────────┐
//! │LI│ VN  │mode │ stratum       │ poll          │ precision     │   0
//! ├──┴─────┴─────┴───────────────┴───────────────┴───────────────┤
//! │ root delay, 16.16 seconds                                    │   4
//! │ root dispersion, 16.16 seconds                               │   8
//! │ reference id; of stratum 0: the kiss code, four letters      │  12
//! ├──────────────────────────────────────────────────────────────┤
//! │ reference timestamp, 32.32 seconds                           │  16
//! │ originate timestamp: what the client sent as its transmit    │  24
//! │ receive timestamp                                            │  32
//! │ transmit timestamp                                           │  40
//! └──────────────────────────────────────────────────────────────┘  48
//! ```
//!
//! The question says nothing about us: its transmit timestamp is a random number, which the answer
//! must repeat, so that nobody who does not see the question can answer it. What the answer took
//! is measured on boot time. True time when the answer came was neither before the server sent it
//! nor later than the whole round trip after that, give or take what the server says of its own
//! distance from the reference: no guess that both ways take equally long.
//!
//! Out of scope: authentication. Whoever sits on the path can answer anything; that is what the
//! quorum of sources is for ([`super::band`]). NTS belongs to an NTP daemon on this machine, which
//! can be asked over loopback like any other server.
//!
//! Rows: `spec/clock.md` CLK-20 to CLK-25.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, oneshot};

use super::band::{LeapSecond, SOURCES_MAX, Sample};
use super::{BootTime, Clock, UnixTime};

/// A server to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    host: String,
    port: u16,
}

impl Server {
    /// Reads `host`, `host:port`, `[IPv6 address]` or `[IPv6 address]:port`. The port is 123 unless
    /// it is said.
    ///
    /// # Errors
    /// [`ServerError`]; the operator is at fault.
    // Spec: CLK-20
    pub fn parse(text: &str) -> Result<Self, ServerError> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or(ServerError::Host)?;
            host.parse::<Ipv6Addr>().map_err(|_| ServerError::Host)?;
            let port = match rest {
                "" => None,
                rest => Some(rest.strip_prefix(':').ok_or(ServerError::Port)?),
            };
            (host, port)
        } else {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.chars().all(good) {
                return Err(ServerError::Host);
            }
            (host, port)
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|&port| port > 0),
            None => Some(NTP_PORT),
        };
        Ok(Self {
            host: host.to_owned(),
            port: port.ok_or(ServerError::Port)?,
        })
    }
}

/// As it is written, with the port.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What is no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// No name and no address. An IPv6 address stands in brackets.
    #[error("it has no host name or address")]
    Host,
    /// No port.
    #[error("its port is no number from 1 to 65535")]
    Port,
}

/// The question; `nonce` is what the answer must repeat.
// Spec: CLK-21
pub fn request(nonce: u64) -> [u8; PACKET_BYTES] {
    let mut packet = [0; PACKET_BYTES];
    let (head, tail) = packet.split_at_mut(TRANSMIT_AT);
    if let Some(first) = head.first_mut() {
        *first = (VERSION << 3) | MODE_CLIENT;
    }
    tail.copy_from_slice(&nonce.to_be_bytes());
    packet
}

/// What a server says of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// When it sent the reply.
    pub transmit: NtpTime,
    /// How long the question stayed with it.
    pub held: Duration,
    /// How far it says it may be from true time.
    pub distance: Duration,
    /// What it says about the end of the day.
    pub leap: LeapSecond,
}

impl Reply {
    /// Reads a datagram that came as the answer to [`request`] with this nonce.
    ///
    /// # Errors
    /// [`ReplyError`]; the server or somebody in its name is at fault.
    // Spec: CLK-22
    pub fn parse(bytes: &[u8], nonce: u64) -> Result<Self, ReplyError> {
        let packet: &[u8; PACKET_BYTES] = bytes
            .try_into()
            .map_err(|_| ReplyError::Length { bytes: bytes.len() })?;
        let [first, stratum, _poll, precision, ..] = *packet;
        let (leap, version, mode) = (first >> 6, (first >> 3) & 7, first & 7);
        if mode != MODE_SERVER {
            return Err(ReplyError::Mode { mode });
        }
        if u64_at(packet, ORIGINATE_AT) != nonce {
            return Err(ReplyError::NotAsked);
        }
        if version != VERSION {
            return Err(ReplyError::Version { version });
        }
        // Spec: CLK-24
        if stratum == 0 {
            let code = u32_at(packet, REFERENCE_AT).to_be_bytes();
            return Err(if NO_TIME_YET.contains(&code) {
                ReplyError::Unsynchronised { stratum }
            } else {
                ReplyError::Kiss(Kiss(code))
            });
        }
        if stratum > STRATUM_MAX || leap == LEAP_UNSYNCHRONISED {
            return Err(ReplyError::Unsynchronised { stratum });
        }
        let (receive, transmit) = (u64_at(packet, RECEIVE_AT), u64_at(packet, TRANSMIT_AT));
        if receive == 0 || transmit == 0 {
            return Err(ReplyError::NoTime);
        }
        // Both may lie on either side of the moment at which the count begins again.
        let held = transmit.wrapping_sub(receive);
        if held > u64::MAX / 2 {
            return Err(ReplyError::SentBeforeReceived);
        }
        let delay = short(u32_at(packet, ROOT_DELAY_AT));
        let dispersion = short(u32_at(packet, ROOT_DISPERSION_AT));
        Ok(Self {
            transmit: NtpTime(transmit),
            held: span(held),
            distance: delay / 2 + dispersion + precise(precision),
            leap: match leap {
                1 => LeapSecond::Inserted,
                2 => LeapSecond::Deleted,
                _ => LeapSecond::None,
            },
        })
    }

    /// What it means for true time, when the question left at `sent` and the answer came at `came`.
    ///
    /// # Errors
    /// [`ReplyError`]; the server is at fault, or the network is slow.
    // Spec: CLK-23
    pub fn sample(
        &self,
        source: usize,
        sent: BootTime,
        came: BootTime,
        uncertainty_max: Duration,
    ) -> Result<Sample, ReplyError> {
        let round_trip = came.since(sent);
        if self.held > round_trip.saturating_add(HELD_SLACK) {
            return Err(ReplyError::HeldTooLong {
                held: self.held,
                round_trip,
            });
        }
        let way = round_trip.saturating_sub(self.held);
        let uncertainty = way / 2 + self.distance;
        if uncertainty > uncertainty_max {
            return Err(ReplyError::Uncertain { uncertainty });
        }
        let transmit = self.transmit.to_unix();
        Ok(Sample {
            source,
            at: came,
            // The rest of a millisecond goes to the end where it does no harm.
            earliest: transmit.minus(self.distance + MILLISECOND),
            latest: transmit.plus(way + self.distance + MILLISECOND + MILLISECOND),
            leap: self.leap,
        })
    }
}

/// Seconds since 1900 and a fraction, as 32.32 bits, which begin again in 2036.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NtpTime(u64);

impl NtpTime {
    /// The NTP time of a Unix time.
    pub const fn from_unix(time: UnixTime) -> Self {
        let seconds = time.seconds().wrapping_add(UNIX_EPOCH_SECONDS) << 32;
        Self(seconds | ((time.subsec_millis() << 32) / 1000))
    }

    /// As it stands in a packet.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The Unix time, its fraction cut to milliseconds. What would be before 2026 in the first
    /// count, before this program, is in the second one, which ends in 2172.
    // Spec: CLK-25
    pub const fn to_unix(self) -> UnixTime {
        let (seconds, fraction) = (self.0 >> 32, self.0 & FRACTION);
        let seconds = if seconds < FIRST_SECONDS {
            seconds + (1 << 32)
        } else {
            seconds
        };
        let unix = seconds.saturating_sub(UNIX_EPOCH_SECONDS);
        UnixTime::from_millis(unix * 1000 + ((fraction * 1000) >> 32))
    }
}

/// What is no answer that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// It has not the size of a packet. We asked for no extension and no authentication.
    #[error("the answer has {bytes} bytes, not 48")]
    Length {
        /// How many it has.
        bytes: usize,
    },
    /// It is not from a server to a client.
    #[error("the answer has mode {mode}, not 4")]
    Mode {
        /// Its mode.
        mode: u8,
    },
    /// It does not repeat what we sent: it answers somebody else, or an older question, or somebody
    /// guesses.
    #[error("the answer is not to our question")]
    NotAsked,
    /// It is of another version.
    #[error("the answer has version {version}, not 4")]
    Version {
        /// Its version.
        version: u8,
    },
    /// The server wants to be asked less, or not at all.
    #[error("the server says {0} (kiss-o'-death)")]
    Kiss(Kiss),
    /// The server does not know the time.
    #[error("the server is not synchronised (stratum {stratum})")]
    Unsynchronised {
        /// How far it says it is from a reference; above 15 says the same.
        stratum: u8,
    },
    /// It states no time.
    #[error("the answer states no time")]
    NoTime,
    /// It was sent before the question came.
    #[error("the answer says that it was sent before the question came")]
    SentBeforeReceived,
    /// It was on the way for less than no time.
    #[error(
        "the answer says that the question stayed {} ms with the server, of {} ms in all",
        .held.as_millis(),
        .round_trip.as_millis()
    )]
    HeldTooLong {
        /// What the server says.
        held: Duration,
        /// What we measured.
        round_trip: Duration,
    },
    /// It says too little to be of use.
    #[error("the answer is uncertain by {} ms", .uncertainty.as_millis())]
    Uncertain {
        /// Half the way, and the server's own distance.
        uncertainty: Duration,
    },
}

impl ReplyError {
    /// Whether anybody could have sent it, without having seen the question: then the answer may
    /// yet come.
    fn is_anybodys(self) -> bool {
        matches!(
            self,
            Self::Length { .. } | Self::Mode { .. } | Self::NotAsked
        )
    }
}

/// Four letters that say why a server does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kiss([u8; 4]);

/// Letters as they are; what is none as a full stop.
impl fmt::Display for Kiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            let letter = char::from(byte);
            let shown = letter.is_ascii_alphanumeric();
            write!(f, "{}", if shown { letter } else { '.' })?;
        }
        Ok(())
    }
}

/// Why a server gave no sample. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Its name leads nowhere.
    #[error("its name cannot be looked up: {0}")]
    Lookup(io::Error),
    /// As many look-ups as may run have not ended. The system's resolver is at fault.
    #[error("its name is not looked up: {LOOKUPS_MAX} other look-ups have not ended")]
    LookupsHang,
    /// Its name has no address.
    #[error("its name has no address")]
    NoAddress,
    /// No question can be sent, or the answer says that nobody is there.
    #[error("it cannot be reached: {0}")]
    Unreachable(io::Error),
    /// The system gives no random number.
    #[error("there is no random number: {0}")]
    NoRandom(getrandom::Error),
    /// No answer.
    #[error("there is no answer within {} ms", .waited.as_millis())]
    Silent {
        /// How long we waited.
        waited: Duration,
    },
    /// No answer that counts.
    #[error("{0}")]
    Reply(#[from] ReplyError),
}

/// Asks servers.
#[derive(Clone, Debug)]
pub struct SntpClient {
    /// A place for each look-up of a name that runs.
    lookups: Arc<Semaphore>,
}

impl Default for SntpClient {
    fn default() -> Self {
        Self {
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
        }
    }
}

impl SntpClient {
    /// Asks a server, the `source`th of our list, and waits for at most `wait`.
    ///
    /// # Errors
    /// [`AskError`].
    // Spec: CLK-21, CLK-22
    pub async fn ask(
        &self,
        server: &Server,
        source: usize,
        clock: &dyn Clock,
        wait: Duration,
        uncertainty_max: Duration,
    ) -> Result<Sample, AskError> {
        let mut heard = None;
        let exchange = async {
            let socket = self.connect(server).await?;
            let nonce = getrandom::u64().map_err(AskError::NoRandom)?;
            let sent = clock.boot_time();
            let question = socket.send(&request(nonce)).await;
            question.map_err(AskError::Unreachable)?;
            // One byte more than a packet has, so that longer ones are seen to be longer.
            let mut datagram = [0; PACKET_BYTES + 1];
            for _ in 0..DATAGRAMS_MAX {
                // The socket is connected: what comes from another address is not received.
                let length = socket.recv(&mut datagram).await;
                let length = length.map_err(AskError::Unreachable)?;
                let came = clock.boot_time();
                match Reply::parse(datagram.get(..length).unwrap_or_default(), nonce) {
                    Ok(reply) => return Ok(reply.sample(source, sent, came, uncertainty_max)?),
                    Err(error) if error.is_anybodys() => heard = Some(error),
                    Err(error) => return Err(error.into()),
                }
            }
            Err(AskError::Silent { waited: wait })
        };
        let asked = tokio::time::timeout(wait, exchange).await;
        match (asked, heard) {
            (Ok(Ok(sample)), _) => Ok(sample),
            (Err(_) | Ok(Err(AskError::Silent { .. })), Some(error)) => Err(error.into()),
            (Err(_), None) => Err(AskError::Silent { waited: wait }),
            (Ok(Err(error)), _) => Err(error),
        }
    }

    /// A socket that hears only this server, at the first of its addresses to which there is a way.
    async fn connect(&self, server: &Server) -> Result<UdpSocket, AskError> {
        let mut fault = AskError::NoAddress;
        for address in self.addresses(server).await? {
            match connected(address).await {
                Ok(socket) => return Ok(socket),
                Err(error) => fault = AskError::Unreachable(error),
            }
        }
        Err(fault)
    }

    /// Looks a name up, in a thread of its own: the system's way to do so may block for a minute,
    /// and the runtime's threads for what blocks belong to those who sign. Whoever stops waiting
    /// leaves the thread behind, so there is a bound on how many.
    async fn addresses(&self, server: &Server) -> Result<Vec<SocketAddr>, AskError> {
        if let Ok(address) = server.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, server.port)]);
        }
        let place = Arc::clone(&self.lookups).try_acquire_owned();
        let place = place.map_err(|_| AskError::LookupsHang)?;
        let (tell, told) = oneshot::channel();
        let (host, port) = (server.host.clone(), server.port);
        let lookup = move || {
            let found = (host.as_str(), port).to_socket_addrs();
            let found = found.map(|found| found.take(ADDRESSES_MAX).collect());
            // The place first: who is told may ask again at once.
            drop(place);
            drop(tell.send(found));
        };
        let thread = thread::Builder::new().name("ntp-lookup".to_owned());
        thread.spawn(lookup).map_err(AskError::Lookup)?;
        let found = told.await.map_err(|_| AskError::NoAddress)?;
        found.map_err(AskError::Lookup)
    }
}

async fn connected(address: SocketAddr) -> io::Result<UdpSocket> {
    // Port 0: the system takes another one each time, at random.
    let local = match address {
        SocketAddr::V4(_) => "0.0.0.0:0",
        SocketAddr::V6(_) => "[::]:0",
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(address).await?;
    Ok(socket)
}

fn u32_at(packet: &[u8; PACKET_BYTES], at: usize) -> u32 {
    let bytes = packet.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn u64_at(packet: &[u8; PACKET_BYTES], at: usize) -> u64 {
    let bytes = packet.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// 32.32 seconds.
fn span(bits: u64) -> Duration {
    let nanos = ((bits & FRACTION) * 1_000_000_000) >> 32;
    Duration::from_secs(bits >> 32) + Duration::from_nanos(nanos)
}

/// 16.16 seconds.
fn short(bits: u32) -> Duration {
    span(u64::from(bits) << 16)
}

/// Two to the power of this many seconds.
fn precise(exponent: u8) -> Duration {
    let exponent = i32::from(i8::from_be_bytes([exponent]));
    // Nobody measures in seconds; a server that says so is uncertain by far more than we take.
    let exponent = exponent.clamp(-32, 8) + 32;
    span(1 << u32::try_from(exponent).unwrap_or(0))
}

/// The size of a packet without extensions.
pub const PACKET_BYTES: usize = 48;

const ROOT_DELAY_AT: usize = 4;
const ROOT_DISPERSION_AT: usize = 8;
const REFERENCE_AT: usize = 12;
const ORIGINATE_AT: usize = 24;
const RECEIVE_AT: usize = 32;
const TRANSMIT_AT: usize = 40;

const VERSION: u8 = 4;
const MODE_CLIENT: u8 = 3;
const MODE_SERVER: u8 = 4;
const STRATUM_MAX: u8 = 15;

/// With stratum 0, how servers say that they have no time yet: chronyd without a code, ntpd with
/// one that says why. None of them asks to be left alone, and they may know the time in a moment.
const NO_TIME_YET: [[u8; 4]; 3] = [[0; 4], *b"INIT", *b"STEP"];
const LEAP_UNSYNCHRONISED: u8 = 3;
const NTP_PORT: u16 = 123;

/// What a name in the DNS may have.
const HOST_BYTES_MAX: usize = 253;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Names that are looked up at a time, those included that nobody waits for any more.
const LOOKUPS_MAX: usize = SOURCES_MAX;

/// Datagrams that are read for one question; a flood of them must not keep us busy.
const DATAGRAMS_MAX: usize = 16;

/// Two clocks measured: theirs may be this much coarser.
const HELD_SLACK: Duration = Duration::from_millis(2);

const MILLISECOND: Duration = Duration::from_millis(1);

const FRACTION: u64 = (1 << 32) - 1;

/// 1970-01-01 in seconds since 1900-01-01.
const UNIX_EPOCH_SECONDS: u64 = 2_208_988_800;

/// 2026-01-01 in seconds since 1900-01-01.
const FIRST_SECONDS: u64 = 3_976_214_400;

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: u64 = 0x0123_4567_89ab_cdef;
    const NOW: UnixTime = UnixTime::from_millis(1_790_000_000_250);

    /// A good answer: stratum 2, 10 ms of root delay, 5 of dispersion, held for 3 ms.
    fn answer() -> [u8; PACKET_BYTES] {
        let mut packet = [0; PACKET_BYTES];
        packet[..4].copy_from_slice(&[0b00_100_100, 2, 6, 0xe8]);
        packet[4..8].copy_from_slice(&655_u32.to_be_bytes());
        packet[8..12].copy_from_slice(&327_u32.to_be_bytes());
        packet[12..16].copy_from_slice(&[192, 0, 2, 1]);
        packet[24..32].copy_from_slice(&NONCE.to_be_bytes());
        let at = |time: UnixTime| NtpTime::from_unix(time).to_bits().to_be_bytes();
        packet[32..40].copy_from_slice(&at(NOW.minus(Duration::from_millis(3))));
        packet[40..].copy_from_slice(&at(NOW));
        packet
    }

    fn with(change: impl FnOnce(&mut [u8; PACKET_BYTES])) -> Result<Reply, ReplyError> {
        let mut packet = answer();
        change(&mut packet);
        Reply::parse(&packet, NONCE)
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    // Spec: CLK-20
    #[test]
    fn servers_are_names_or_addresses_with_a_port_or_without() {
        for (text, shown) in [
            ("time.example.com", "time.example.com:123"),
            ("time.example.com:1123", "time.example.com:1123"),
            ("192.0.2.1", "192.0.2.1:123"),
            ("[2001:db8::1]", "[2001:db8::1]:123"),
            ("[::1]:4", "[::1]:4"),
        ] {
            assert_eq!(Server::parse(text).unwrap().to_string(), shown);
        }
        let long = "a".repeat(254);
        for (text, error) in [
            ("", ServerError::Host),
            (":123", ServerError::Host),
            ("a b", ServerError::Host),
            ("ntp://a", ServerError::Port),
            (&long, ServerError::Host),
            ("[::1", ServerError::Host),
            ("[a]", ServerError::Host),
            ("[::1]1", ServerError::Port),
            ("a:0", ServerError::Port),
            ("a:65536", ServerError::Port),
            ("a:", ServerError::Port),
            ("::1", ServerError::Host),
            ("a:1:2", ServerError::Port),
        ] {
            assert_eq!(Server::parse(text), Err(error), "{text}");
        }
    }

    // Spec: CLK-21
    #[test]
    fn the_question_says_nothing_but_a_number() {
        let question = request(NONCE);
        assert_eq!(question[0], 0x23);
        assert_eq!(question[1..40], [0; 39]);
        assert_eq!(question[40..], NONCE.to_be_bytes());
    }

    // Spec: CLK-22, CLK-23
    #[test]
    fn a_good_answer_is_an_interval_of_true_time() {
        let reply = Reply::parse(&answer(), NONCE).unwrap();
        assert_eq!(reply.transmit.to_unix(), NOW);
        assert!(reply.held > Duration::from_micros(2_999) && reply.held < ms(4));
        assert!(reply.distance > ms(9) && reply.distance < ms(11));
        let (sent, came) = (BootTime::ZERO, BootTime::ZERO.plus(ms(23)));
        let sample = reply.sample(7, sent, came, ms(1_000)).unwrap();
        assert_eq!((sample.source, sample.at), (7, came));
        // True time on arrival: between now and 20 ms later, give or take 10.
        let early = NOW.since(sample.earliest);
        assert!(early >= ms(10) && early <= ms(13), "{early:?}");
        let late = sample.latest.since(NOW);
        assert!(late >= ms(30) && late <= ms(33), "{late:?}");
        let refused = reply.sample(7, sent, came, ms(15)).unwrap_err();
        assert!(matches!(refused, ReplyError::Uncertain { .. }), "{refused}");
        let quick = reply.sample(7, sent, BootTime::ZERO, ms(1_000));
        assert!(matches!(quick, Err(ReplyError::HeldTooLong { .. })));
    }

    // Spec: CLK-22, CLK-24
    #[test]
    fn what_is_no_answer_is_refused_with_its_reason() {
        let kiss = |code: &[u8; 4]| {
            let code = *code;
            with(move |p| {
                p[0] |= 0b1100_0000;
                p[1] = 0;
                p[12..16].copy_from_slice(&code);
            })
        };
        let transmit_first = |p: &mut [u8; PACKET_BYTES]| p[32] ^= 0x10;
        for (refused, shown) in [
            (
                with(|p| p[0] = 0b00_100_011),
                "the answer has mode 3, not 4",
            ),
            (
                with(|p| p[0] = 0b00_011_100),
                "the answer has version 3, not 4",
            ),
            (with(|p| p[31] ^= 1), "the answer is not to our question"),
            (kiss(b"RATE"), "the server says RATE (kiss-o'-death)"),
            (kiss(b"X\n\0\xff"), "the server says X... (kiss-o'-death)"),
            (kiss(&[0; 4]), "the server is not synchronised (stratum 0)"),
            (kiss(b"INIT"), "the server is not synchronised (stratum 0)"),
            (kiss(b"STEP"), "the server is not synchronised (stratum 0)"),
            (
                with(|p| p[0] |= 0b1100_0000),
                "the server is not synchronised (stratum 2)",
            ),
            (
                with(|p| p[1] = 16),
                "the server is not synchronised (stratum 16)",
            ),
            (with(|p| p[40..].fill(0)), "the answer states no time"),
            (with(|p| p[32..40].fill(0)), "the answer states no time"),
            (
                with(transmit_first),
                "the answer says that it was sent before the question came",
            ),
        ] {
            assert_eq!(refused.unwrap_err().to_string(), shown);
        }
        for bytes in [0, 1, 47, 49, 68] {
            let mut packet = answer().to_vec();
            packet.resize(bytes, 0);
            assert_eq!(
                Reply::parse(&packet, NONCE),
                Err(ReplyError::Length { bytes })
            );
        }
        // A kiss that does not repeat our number is from anybody, and means nothing.
        let forged = with(|p| {
            p[1] = 0;
            p[24] ^= 1;
        });
        assert_eq!(forged, Err(ReplyError::NotAsked));
    }

    // Spec: CLK-22
    #[test]
    fn a_server_that_is_far_from_the_reference_says_so() {
        for (precision, least) in [(0_u8, ms(1_000)), (8, ms(256_000)), (127, ms(256_000))] {
            let reply = with(|p| p[3] = precision).unwrap();
            assert!(reply.distance >= least, "{precision}");
        }
        let reply = with(|p| p[4..12].fill(0xff)).unwrap();
        assert!(reply.distance > Duration::from_secs(98_000));
    }

    // Spec: CLK-14
    #[test]
    fn a_leap_second_is_announced() {
        for (leap, bits) in [
            (LeapSecond::None, 0),
            (LeapSecond::Inserted, 1),
            (LeapSecond::Deleted, 2),
        ] {
            let reply = with(|p| p[0] |= bits << 6).unwrap();
            assert_eq!(reply.leap, leap);
        }
    }

    // Spec: CLK-25
    #[test]
    fn times_after_the_count_begins_again_are_read() {
        for seconds in [
            1_767_225_600,
            1_790_000_000,
            // 2036-02-07T06:28:15Z, the last second of the first count, and the next two.
            2_085_978_495,
            2_085_978_496,
            2_085_978_497,
            4_000_000_000,
        ] {
            let time = UnixTime::from_seconds(seconds);
            assert_eq!(NtpTime::from_unix(time).to_unix(), time);
        }
        let across = with(|p| {
            p[32..40].copy_from_slice(&u64::MAX.to_be_bytes());
            p[40..].copy_from_slice(&[0, 0, 0, 0, 0x80, 0, 0, 0]);
        });
        assert_eq!(across.unwrap().held, ms(500));
    }
}
