//! How often a log may be cosigned, and how much a stranger may send for it that brings nothing.
//!
//! A log has a number of requests a day (`qpd`, from a list or the operator): so often it may grow,
//! and so often, counted by itself, it may be refreshed. Both are looked at before any signature is
//! verified, so anybody who knows the log's origin could use them up: with what the log never
//! signed, with a checkpoint that everybody can read and an old size that is wrong, and by sending
//! that checkpoint again with the right one. Therefore
//!
//! - growth is paid when the checkpoint that grew is about to be made durable, not before: nobody
//!   but the log makes that happen, and nothing else is taken from that bucket;
//! - refreshes, which anybody can ask for, have a bucket of their own; growth never waits for it;
//! - what is refused is charged to the address that sent it, for this log: it has a small budget
//!   for what the log did not sign, and one of the log's own size for what it did sign, since a
//!   log learns its old size from a conflict. An address that used one up is refused for this log
//!   and no other, and no other address is.
//!
//! All are token buckets, kept as the one number of the generic cell rate algorithm: when the
//! bucket will be full again. Time is an argument.
//!
//! Memory: two buckets (40 bytes) for each log that made a request since the start, and
//! [`ADDRESSES_MAX`] pairs of an address and a log that owe something. Who comes when there is no
//! room is not charged: to share a budget would let strangers use up that of a log, and whoever has
//! so many addresses is not held up by what one of them may do.
//!
//! Rows: `spec/witness.md` WIT-65 to WIT-68; what costs nothing, WIT-71, is [`crate::cosign`]'s.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher as _, Hash as KeyHash};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jurat_proto::hash::Hash;

/// A rate: so many at once, and one more each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Between two requests, in the long run.
    pub interval: Duration,
    /// How many may come at once after a long silence.
    pub burst: NonZeroU32,
}

impl Rate {
    /// So many a day; at once, as many as ten minutes give, and ten at least: a log that learns
    /// its old size, or starts again, asks a few times in a row.
    pub fn per_day(qpd: NonZeroU32) -> Self {
        Self {
            interval: DAY / qpd.get(),
            burst: NonZeroU32::new(qpd.get() / 144).map_or(BURST_MIN, |ten| ten.max(BURST_MIN)),
        }
    }

    /// So many a minute, all of them at once if need be.
    pub fn per_minute(count: NonZeroU32) -> Self {
        Self {
            interval: Duration::from_secs(60) / count.get(),
            burst: count,
        }
    }
}

/// A bucket of a [`Rate`]; a new one is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it will be full again, in nanoseconds: there are some for each log.
    full_at_ns: u64,
}

impl Bucket {
    /// Takes one out, at `now`.
    ///
    /// # Errors
    /// It is empty: how long until one is there. None was taken.
    pub fn take(&mut self, rate: Rate, now: Duration) -> Result<(), Duration> {
        self.look(rate, now)?;
        self.set(self.full_at().saturating_add(rate.interval));
        Ok(())
    }

    /// Whether one could be taken out, at `now`.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn look(&mut self, rate: Rate, now: Duration) -> Result<(), Duration> {
        // Also when it is refused: what was emptied at a slower rate fills at this one from now on.
        self.set(now.saturating_add(self.missing(rate, now)));
        let room = rate.interval.saturating_mul(rate.burst.get() - 1);
        let wait = self.missing(rate, now).saturating_sub(room);
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    /// Whether nothing is missing, at `now`.
    pub fn is_full(self, now: Duration) -> bool {
        self.full_at() <= now
    }

    /// How long until it is full. It cannot be more than empty, even if it was emptied at a slower
    /// rate than that which holds now.
    fn missing(self, rate: Rate, now: Duration) -> Duration {
        let empty = rate.interval.saturating_mul(rate.burst.get());
        self.full_at().saturating_sub(now).min(empty)
    }

    /// Takes one out, there or not: it was looked at before, and others may have been faster.
    pub fn charge(&mut self, rate: Rate, now: Duration) {
        let missing = self.missing(rate, now).saturating_add(rate.interval);
        self.set(now.saturating_add(missing));
    }

    /// Puts one back that was taken out.
    pub fn put_back(&mut self, rate: Rate) {
        self.set(self.full_at().saturating_sub(rate.interval));
    }

    fn full_at(self) -> Duration {
        Duration::from_nanos(self.full_at_ns)
    }

    /// No process runs for 500 years.
    fn set(&mut self, full_at: Duration) {
        self.full_at_ns = u64::try_from(full_at.as_nanos()).unwrap_or(u64::MAX);
    }
}

/// What the operator allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaLimits {
    /// Requests a day of a log that has no number of its own; `None` for any number.
    pub default_qpd: Option<NonZeroU32>,
    /// Requests for one log, not signed by it, that one address may send in a minute.
    pub unsigned_per_minute: NonZeroU32,
    /// Requests of one log that may be worked on at a time, and a quarter as many refreshes.
    pub in_flight_max: usize,
}

/// What a request asks for, as its two sizes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The tree has grown: only the log can make such a request come true.
    Growth,
    /// Another cosignature on a tree that was cosigned already: anybody can ask for it.
    Refresh,
}

/// The buckets of a witness.
pub struct Quotas {
    limits: QuotaLimits,
    /// By a number that nobody can find another log for ([`Places`]).
    logs: Mutex<HashMap<u64, [Use; 2]>>,
    places: Places,
    addresses: Mutex<Addresses>,
}

/// Of one log and one kind of request.
#[derive(Debug, Default)]
struct Use {
    bucket: Bucket,
    in_flight: u32,
}

fn of_kind(log: &mut [Use; 2], kind: Kind) -> &mut Use {
    let [growth, refresh] = log;
    match kind {
        Kind::Growth => growth,
        Kind::Refresh => refresh,
    }
}

/// What addresses owe, each for one log.
#[derive(Debug, Default)]
struct Addresses {
    known: HashMap<(Client, Hash), Owed>,
    /// When those that owe nothing any more were forgotten last.
    swept: Option<Duration>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Owed {
    /// For what the log did not sign.
    unsigned: Bucket,
    /// For what it signed and could not be cosigned.
    refused: Bucket,
}

impl Addresses {
    /// `None` when there is no room.
    fn owed(&mut self, client: Client, origin: Hash, now: Duration) -> Option<&mut Owed> {
        let full = self.known.len() >= ADDRESSES_MAX && !self.known.contains_key(&(client, origin));
        if full {
            // To look through all of them costs more than a signature.
            let swept = self
                .swept
                .is_some_and(|at| now < at.saturating_add(SWEEP_EVERY));
            if !swept {
                self.swept = Some(now);
                // A full bucket is as good as none.
                let owes = |owed: &Owed| owed.unsigned.full_at().max(owed.refused.full_at()) > now;
                self.known.retain(|_, owed| owes(owed));
            }
            if self.known.len() >= ADDRESSES_MAX {
                return None;
            }
        }
        Some(self.known.entry((client, origin)).or_default())
    }
}

/// Who sent a request, as far as an address can tell: an IPv4 address, or the /64 of an IPv6
/// address, since a host has all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, KeyHash)]
pub struct Client(IpAddr);

impl Client {
    /// The client at the other end of a connection; `None` when it cannot be told who that is. On
    /// this machine, in a private network or on the same link stands a proxy or a container's
    /// gateway, behind which everybody has one address: to charge it would let any of them use up
    /// what the others have.
    // Spec: WIT-67
    pub fn of_peer(address: IpAddr) -> Option<Self> {
        let address = address.to_canonical();
        let shared = match address {
            IpAddr::V4(v4) => {
                let [first, second, ..] = v4.octets();
                // The last is that between a provider and its customers (RFC 6598).
                v4.is_loopback()
                    || v4.is_private()
                    || v4.is_link_local()
                    || (first == 100 && (64..128).contains(&second))
            }
            IpAddr::V6(v6) => {
                v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()
            }
        };
        (!shared).then(|| Self::at(address))
    }

    /// The client at an address.
    pub fn at(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// Why a request is not looked at. It may come again after the wait; nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverQuota {
    /// The log grew as often as it may. Its operator is at fault.
    #[error("this log may make {qpd} requests a day; come again in {} s", seconds(.wait))]
    Log {
        /// How many a day.
        qpd: NonZeroU32,
        /// How long until the next.
        wait: Duration,
    },
    /// The log was refreshed as often as it may. Nobody knows who is at fault; the newest
    /// cosignatures can be read.
    #[error(
        "this log may be cosigned anew {qpd} times a day, and was; what was cosigned last can be \
         read, or come again in {} s",
        seconds(.wait)
    )]
    Refreshes {
        /// How many a day.
        qpd: NonZeroU32,
        /// How long until the next.
        wait: Duration,
    },
    /// The address sent too much that the log did not sign. The client is at fault.
    #[error(
        "too many requests from this address were not signed by the log; come again in {} s",
        seconds(.wait)
    )]
    Address {
        /// How long until the next.
        wait: Duration,
    },
    /// The address sent too much that the log signed and that cannot be cosigned. The client is at
    /// fault.
    #[error(
        "too many requests from this address for this log were refused; come again in {} s",
        seconds(.wait)
    )]
    Refused {
        /// How long until the next.
        wait: Duration,
    },
}

impl OverQuota {
    /// For `Retry-After`: whole seconds, never too few.
    pub fn retry_after(&self) -> u32 {
        let (Self::Log { wait, .. }
        | Self::Refreshes { wait, .. }
        | Self::Address { wait }
        | Self::Refused { wait }) = self;
        u32::try_from(seconds(wait)).unwrap_or(u32::MAX)
    }
}

fn seconds(wait: &Duration) -> u64 {
    let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    whole.max(1)
}

/// Too many requests of one log are being worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowded {
    /// How many may be.
    pub in_flight_max: usize,
}

/// Why a request of a known log was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAdmitted {
    /// Its quota, or that of the address.
    OverQuota(OverQuota),
    /// The log's other requests.
    Crowded(Crowded),
}

impl Quotas {
    /// Full buckets.
    pub fn new(limits: QuotaLimits) -> Self {
        Self {
            limits,
            logs: Mutex::default(),
            places: Places::default(),
            addresses: Mutex::default(),
        }
    }

    /// Admits a request for a log that is known, before any of it is verified. `qpd` is the log's
    /// own number. A refresh is paid for here, growth by [`Admitted::spend`].
    ///
    /// # Errors
    /// [`NotAdmitted`]; no bucket changed.
    // Spec: WIT-65, WIT-66
    pub fn admit(
        self: &Arc<Self>,
        origin: Hash,
        kind: Kind,
        qpd: Option<NonZeroU32>,
        client: Option<Client>,
        now: Duration,
    ) -> Result<Admitted, NotAdmitted> {
        let qpd = qpd.or(self.limits.default_qpd);
        let rate = qpd.map(Rate::per_day);
        if let Some(client) = client {
            self.look_at(client, origin, rate, now)
                .map_err(NotAdmitted::OverQuota)?;
        }
        let in_flight_max = match kind {
            Kind::Growth => self.limits.in_flight_max,
            Kind::Refresh => (self.limits.in_flight_max / 4).max(1),
        };
        let mut logs = lock(&self.logs);
        let place = self.places.of(&origin);
        let used = of_kind(logs.entry(place).or_default(), kind);
        // Spec: WIT-68
        if usize::try_from(used.in_flight).unwrap_or(usize::MAX) >= in_flight_max {
            return Err(NotAdmitted::Crowded(Crowded { in_flight_max }));
        }
        if let Some((qpd, rate)) = qpd.zip(rate) {
            let over = match kind {
                Kind::Growth => used.bucket.look(rate, now).err(),
                Kind::Refresh => used.bucket.take(rate, now).err(),
            };
            if let Some(wait) = over {
                return Err(NotAdmitted::OverQuota(match kind {
                    Kind::Growth => OverQuota::Log { qpd, wait },
                    Kind::Refresh => OverQuota::Refreshes { qpd, wait },
                }));
            }
        }
        used.in_flight += 1;
        Ok(Admitted {
            quotas: Arc::clone(self),
            origin,
            place,
            kind,
            rate,
            paid: kind == Kind::Refresh,
            client,
        })
    }

    fn look_at(
        &self,
        client: Client,
        origin: Hash,
        rate: Option<Rate>,
        now: Duration,
    ) -> Result<(), OverQuota> {
        let mut addresses = lock(&self.addresses);
        let Some(owed) = addresses.known.get_mut(&(client, origin)) else {
            return Ok(());
        };
        let unsigned = Rate::per_minute(self.limits.unsigned_per_minute);
        let looked = owed.unsigned.look(unsigned, now);
        looked.map_err(|wait| OverQuota::Address { wait })?;
        let looked = rate.map_or(Ok(()), |rate| owed.refused.look(rate, now));
        looked.map_err(|wait| OverQuota::Refused { wait })
    }
}

/// Numbers for logs, of 64 bits: of each that is in memory for every log, in place of 32 bytes.
///
/// They are made with a secret of this process, so nobody can look for two logs with one number;
/// that two of 100,000 have one by chance happens once in a thousand million starts. For what may
/// be shared then without harm: a quota, or that somebody was asked.
#[derive(Debug, Default)]
pub(crate) struct Places(RandomState);

impl Places {
    /// That of an origin with this SHA-256.
    pub(crate) fn of(&self, origin: &Hash) -> u64 {
        self.0.hash_one(origin)
    }
}

impl fmt::Debug for Quotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quotas")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// A request that was admitted; dropping it makes room for the log's next.
#[derive(Debug)]
pub struct Admitted {
    quotas: Arc<Quotas>,
    origin: Hash,
    place: u64,
    kind: Kind,
    rate: Option<Rate>,
    /// Whether one was taken from the log's bucket.
    paid: bool,
    client: Option<Client>,
}

impl Admitted {
    /// The checkpoint is about to be made durable: the log pays for it, also when whoever sent it
    /// does not wait for the answer.
    // Spec: WIT-65
    pub fn spend(&mut self, now: Duration) {
        if let Some(rate) = self.rate
            && !self.paid
            && let Some(log) = lock(&self.quotas.logs).get_mut(&self.place)
        {
            of_kind(log, self.kind).bucket.charge(rate, now);
        }
        self.paid = true;
    }

    /// It came to nothing after all, and whoever sent it could not know.
    pub fn give_back(&mut self) {
        if let Some(rate) = self.rate
            && self.paid
            && let Some(log) = lock(&self.quotas.logs).get_mut(&self.place)
        {
            of_kind(log, self.kind).bucket.put_back(rate);
        }
        self.paid = false;
    }

    /// The log signed the request, and it cannot be cosigned: whoever sent it pays for it.
    // Spec: WIT-67
    pub fn refused(&mut self, now: Duration) {
        self.give_back();
        if let Some(rate) = self.rate {
            self.owes(now, |owed| owed.refused.charge(rate, now));
        }
    }

    /// The log did not sign the request: whoever sent it pays for it.
    // Spec: WIT-67
    pub fn not_signed(&mut self, now: Duration) {
        self.give_back();
        let rate = Rate::per_minute(self.quotas.limits.unsigned_per_minute);
        self.owes(now, |owed| owed.unsigned.charge(rate, now));
    }

    fn owes(&self, now: Duration, charge: impl FnOnce(&mut Owed)) {
        let Some(client) = self.client else { return };
        if let Some(owed) = lock(&self.quotas.addresses).owed(client, self.origin, now) {
            charge(owed);
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(log) = lock(&self.quotas.logs).get_mut(&self.place) {
            let used = of_kind(log, self.kind);
            used.in_flight = used.in_flight.saturating_sub(1);
        }
    }
}

/// Each change of what is locked is one step: a panic leaves it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const DAY: Duration = Duration::from_secs(86_400);

const BURST_MIN: NonZeroU32 = match NonZeroU32::new(10) {
    Some(ten) => ten,
    None => NonZeroU32::MIN,
};

/// For how many pairs of an address and a log it is known what they owe: two megabytes.
pub const ADDRESSES_MAX: usize = 16_384;

/// How often room is looked for among them.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(value: u32) -> NonZeroU32 {
        NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN)
    }

    fn quotas(in_flight_max: usize) -> Arc<Quotas> {
        Arc::new(Quotas::new(QuotaLimits {
            default_qpd: None,
            unsigned_per_minute: number(3),
            in_flight_max,
        }))
    }

    #[test]
    fn the_buckets_of_a_log_take_32_bytes() {
        assert!(size_of::<[Use; 2]>() <= 32);
    }

    const LOG: Hash = Hash::new([1; 32]);
    const OTHER: Hash = Hash::new([2; 32]);
    const NOW: Duration = Duration::from_secs(1_000);

    fn client(last: u8) -> Client {
        Client::at(IpAddr::from([192, 0, 2, last]))
    }

    fn grow(quotas: &Arc<Quotas>, client: Option<Client>, now: Duration) -> Result<(), OverQuota> {
        match quotas.admit(LOG, Kind::Growth, Some(number(24)), client, now) {
            Ok(mut admitted) => {
                admitted.spend(now);
                Ok(())
            }
            Err(NotAdmitted::OverQuota(over)) => Err(over),
            Err(NotAdmitted::Crowded(_)) => panic!("there is room"),
        }
    }

    // Spec: WIT-65
    #[test]
    fn a_log_gets_its_burst_and_then_one_each_interval() {
        let quotas = quotas(100);
        let grow = |now| grow(&quotas, None, now);
        for _ in 0..10 {
            assert_eq!(grow(NOW), Ok(()));
        }
        let refused = OverQuota::Log {
            qpd: number(24),
            wait: Duration::from_secs(3_600),
        };
        assert_eq!(grow(NOW), Err(refused));
        assert_eq!(refused.retry_after(), 3600);
        let later = NOW + Duration::from_secs(3_600);
        let early = grow(later.saturating_sub(Duration::from_nanos(1)));
        let wait = Duration::from_nanos(1);
        let refused = OverQuota::Log {
            qpd: number(24),
            wait,
        };
        assert_eq!(early, Err(refused));
        assert_eq!(refused.retry_after(), 1, "never a second too early");
        assert_eq!(grow(later), Ok(()));
        assert!(grow(later).is_err());
        let other = quotas.admit(OTHER, Kind::Growth, Some(number(24)), None, NOW);
        assert!(other.is_ok(), "each log has its own");
    }

    // Spec: WIT-65
    #[test]
    fn growth_waits_for_nothing_but_growth() {
        let quotas = quotas(100);
        let admit = |kind| quotas.admit(LOG, kind, Some(number(24)), None, NOW);
        // Held at the same time, whatever becomes of them.
        let pending: Vec<_> = (0..50).map(|_| admit(Kind::Growth)).collect();
        assert!(pending.iter().all(Result::is_ok));
        drop(pending);
        for _ in 0..10 {
            assert!(admit(Kind::Refresh).is_ok());
        }
        let refused = OverQuota::Refreshes {
            qpd: number(24),
            wait: Duration::from_secs(3_600),
        };
        assert_eq!(
            admit(Kind::Refresh).map(drop),
            Err(NotAdmitted::OverQuota(refused))
        );
        for _ in 0..10 {
            assert_eq!(grow(&quotas, None, NOW), Ok(()));
        }
        assert!(grow(&quotas, None, NOW).is_err());
    }

    // Spec: WIT-65
    #[test]
    fn what_came_to_nothing_is_given_back_once() {
        let quotas = quotas(100);
        for kind in [Kind::Growth, Kind::Refresh] {
            for _ in 0..50 {
                let admitted = quotas.admit(LOG, kind, Some(number(24)), None, NOW);
                let mut admitted = admitted.unwrap();
                admitted.spend(NOW);
                admitted.give_back();
                admitted.give_back();
            }
            let mut passed = 0;
            while let Ok(mut admitted) = quotas.admit(LOG, kind, Some(number(24)), None, NOW) {
                admitted.spend(NOW);
                passed += 1;
            }
            assert_eq!(passed, 10);
        }
    }

    #[test]
    fn a_log_that_gets_more_has_it_at_once() {
        let (slow, fast) = (Rate::per_day(number(24)), Rate::per_day(number(86_400)));
        let mut bucket = Bucket::default();
        while bucket.take(slow, NOW).is_ok() {}
        assert_eq!(bucket.look(fast, NOW), Err(Duration::from_secs(1)));
        assert_eq!(bucket.take(fast, NOW + Duration::from_secs(1)), Ok(()));
        assert!(bucket.take(fast, NOW + Duration::from_secs(1)).is_err());
    }

    // Spec: WIT-67
    #[test]
    fn rubbish_is_paid_by_whoever_sends_it_and_not_by_the_log() {
        let quotas = quotas(100);
        let admit = |log, from, now| {
            quotas.admit(log, Kind::Growth, Some(number(24)), Some(client(from)), now)
        };
        for _ in 0..3 {
            admit(LOG, 1, NOW).unwrap().not_signed(NOW);
        }
        let wait = Duration::from_secs(20);
        let refused = NotAdmitted::OverQuota(OverQuota::Address { wait });
        assert_eq!(admit(LOG, 1, NOW).map(drop), Err(refused));
        assert!(admit(OTHER, 1, NOW).is_ok(), "another log is not concerned");
        for _ in 0..10 {
            assert_eq!(
                grow(&quotas, Some(client(2)), NOW),
                Ok(()),
                "nor is this one"
            );
        }
        assert!(admit(LOG, 2, NOW).is_err(), "its quota is used up");
        let later = NOW + Duration::from_secs(3_600);
        assert!(admit(LOG, 1, later).is_ok(), "the address has paid");
    }

    // Spec: WIT-67
    #[test]
    fn what_is_refused_is_paid_by_whoever_sends_it_as_often_as_the_log_may_ask() {
        let quotas = quotas(100);
        let admit = |log, from, now| {
            quotas.admit(log, Kind::Growth, Some(number(24)), Some(client(from)), now)
        };
        for _ in 0..10 {
            admit(LOG, 1, NOW).unwrap().refused(NOW);
        }
        let wait = Duration::from_secs(3_600);
        let refused = NotAdmitted::OverQuota(OverQuota::Refused { wait });
        assert_eq!(admit(LOG, 1, NOW).map(drop), Err(refused));
        assert!(admit(OTHER, 1, NOW).is_ok());
        for _ in 0..10 {
            assert_eq!(grow(&quotas, Some(client(2)), NOW), Ok(()));
        }
        assert!(admit(LOG, 1, NOW + wait).is_ok());
        // Of a log that may ask any number of times, so may everybody.
        for _ in 0..100 {
            let free = quotas.admit(OTHER, Kind::Growth, None, Some(client(1)), NOW);
            free.unwrap().refused(NOW);
        }
    }

    // Spec: WIT-68
    #[test]
    fn a_log_has_only_so_many_requests_at_a_time() {
        let quotas = quotas(2);
        let admit = || quotas.admit(LOG, Kind::Growth, None, None, NOW);
        let (one, two) = (admit(), admit());
        assert!(one.is_ok() && two.is_ok());
        let crowded = NotAdmitted::Crowded(Crowded { in_flight_max: 2 });
        assert_eq!(admit().map(drop), Err(crowded));
        assert!(quotas.admit(OTHER, Kind::Growth, None, None, NOW).is_ok());
        let refresh = || quotas.admit(LOG, Kind::Refresh, None, None, NOW);
        let held = refresh();
        assert!(
            held.is_ok() && refresh().is_err(),
            "refreshes have their own"
        );
        drop(one);
        assert!(admit().is_ok());
        drop(two);
    }

    #[test]
    fn one_host_has_one_budget() {
        let at = |text: &str| text.parse().map(Client::at).ok();
        assert_eq!(at("2001:db8:1:2::1"), at("2001:db8:1:2:ffff::9"));
        assert_ne!(at("2001:db8:1:2::1"), at("2001:db8:1:3::1"));
        assert_eq!(at("::ffff:192.0.2.7"), at("192.0.2.7"));
        assert_ne!(at("192.0.2.7"), at("192.0.2.8"));
    }

    // Spec: WIT-67
    #[test]
    fn nobody_is_charged_for_what_others_behind_the_same_address_do() {
        let of = |text: &str| Client::of_peer(text.parse().unwrap());
        for shared in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "10.0.0.1",
            "172.17.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "::ffff:10.0.0.1",
            "fd00::1",
            "fe80::1",
        ] {
            assert_eq!(of(shared), None, "{shared}");
        }
        for public in [
            "192.0.2.1",
            "172.32.0.1",
            "100.128.0.1",
            "100.63.0.1",
            "2001:db8::1",
        ] {
            assert_eq!(of(public), Some(Client::at(public.parse().unwrap())));
        }
    }

    // Spec: WIT-67
    #[test]
    fn whoever_fills_the_table_takes_nothing_from_others() {
        let mut addresses = Addresses::default();
        let rate = Rate::per_minute(number(3));
        let at = |n: usize| Client::at(IpAddr::from(u32::try_from(n).unwrap_or(0).to_be_bytes()));
        for n in 0..ADDRESSES_MAX {
            let owed = addresses.owed(at(n), LOG, NOW).unwrap();
            owed.unsigned.charge(rate, NOW);
        }
        for _ in 0..2 {
            assert!(addresses.owed(at(ADDRESSES_MAX), LOG, NOW).is_none());
        }
        assert!(addresses.owed(at(0), LOG, NOW).is_some(), "it still owes");
        assert_eq!(addresses.known.len(), ADDRESSES_MAX);
        let later = NOW + Duration::from_secs(60);
        assert!(addresses.owed(at(ADDRESSES_MAX), LOG, later).is_some());
        assert_eq!(addresses.known.len(), 1, "who owes nothing is forgotten");
    }

    proptest! {
        /// In any stretch of time no more pass than the burst and what the interval gives; and
        /// who comes when it was told to is let in.
        #[test]
        fn no_more_than_the_rate_pass(
            qpd in 1_u32..1_000_000,
            gaps in prop::collection::vec(0_u64..200_000, 1..400),
        ) {
            let rate = Rate::per_day(number(qpd));
            let mut bucket = Bucket::default();
            let mut now = NOW;
            let mut passed = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                match bucket.take(rate, now) {
                    Ok(()) => passed.push(now),
                    Err(wait) => {
                        let mut then = bucket;
                        prop_assert_eq!(then.take(rate, now + wait), Ok(()));
                        let mut early = bucket;
                        let just = wait.saturating_sub(Duration::from_nanos(1));
                        prop_assert!(early.take(rate, now + just).is_err());
                    }
                }
            }
            for (place, from) in passed.iter().enumerate() {
                for (count, to) in passed[place..].iter().enumerate() {
                    let stretch = to.saturating_sub(*from).as_nanos() / rate.interval.as_nanos();
                    let most = u128::from(rate.burst.get()) + stretch;
                    prop_assert!(u128::try_from(count).unwrap_or(0) < most + 1);
                }
            }
        }
    }
}
