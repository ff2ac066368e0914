//! How many requests a log may make, and how much rubbish a stranger may send for it.
//!
//! A log has a number of add-checkpoint requests a day (`qpd`, from a list or the operator). It is
//! enforced before any signature is verified, so anybody who knows the log's origin could use it
//! up with requests that the log never signed. So what turns out not to be signed by the log is
//! given back to the log and charged to the address that sent it, which has a small budget of its
//! own, looked at first.
//!
//! Both are token buckets, kept as the one number of the generic cell rate algorithm: when the
//! bucket will be full again. Time is an argument.
//!
//! Memory: one bucket (about 60 bytes) for each log that made a request since the start, and
//! [`ADDRESSES_MAX`] for addresses; addresses beyond that share one.
//!
//! Rows: `spec/witness.md` WIT-65 to WIT-68.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash as KeyHash;
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
    /// When it will be full again.
    full_at: Duration,
}

impl Bucket {
    /// Takes one out, at `now`.
    ///
    /// # Errors
    /// It is empty: how long until one is there. None was taken.
    pub fn take(&mut self, rate: Rate, now: Duration) -> Result<(), Duration> {
        // Also when it is refused: what was emptied at a slower rate fills at this one from now on.
        self.full_at = now.saturating_add(self.missing(rate, now));
        self.look(rate, now)?;
        self.full_at = self.full_at.saturating_add(rate.interval);
        Ok(())
    }

    /// Whether one could be taken out, at `now`.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn look(&self, rate: Rate, now: Duration) -> Result<(), Duration> {
        let room = rate.interval.saturating_mul(rate.burst.get() - 1);
        let wait = self.missing(rate, now).saturating_sub(room);
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    /// How long until it is full. It cannot be more than empty, even if it was emptied at a slower
    /// rate than that which holds now.
    fn missing(&self, rate: Rate, now: Duration) -> Duration {
        let empty = rate.interval.saturating_mul(rate.burst.get());
        self.full_at.saturating_sub(now).min(empty)
    }

    /// Puts one back that was taken out.
    pub fn put_back(&mut self, rate: Rate) {
        self.full_at = self.full_at.saturating_sub(rate.interval);
    }
}

/// What the operator allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaLimits {
    /// Requests a day of a log that has no number of its own; `None` for any number.
    pub default_qpd: Option<NonZeroU32>,
    /// Requests not signed by the log that one address may send in a minute.
    pub unsigned_per_minute: NonZeroU32,
    /// Requests of one log that may be worked on at a time.
    pub in_flight_max: usize,
}

/// The buckets of a witness.
pub struct Quotas {
    limits: QuotaLimits,
    logs: Mutex<HashMap<Hash, LogUse>>,
    addresses: Mutex<Addresses>,
}

#[derive(Debug, Default)]
struct LogUse {
    bucket: Bucket,
    in_flight: usize,
}

#[derive(Debug, Default)]
struct Addresses {
    known: HashMap<Client, Bucket>,
    /// Of those for which there was no room.
    others: Bucket,
}

impl Addresses {
    fn bucket(&mut self, client: Client, now: Duration) -> &mut Bucket {
        if self.known.len() >= ADDRESSES_MAX && !self.known.contains_key(&client) {
            // A full bucket is as good as none.
            self.known.retain(|_, bucket| bucket.full_at > now);
            if self.known.len() >= ADDRESSES_MAX {
                return &mut self.others;
            }
        }
        self.known.entry(client).or_default()
    }
}

/// Who sent a request, as far as an address can tell: an IPv4 address, or the /64 of an IPv6
/// address, since a host has all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, KeyHash)]
pub struct Client(IpAddr);

impl Client {
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
    /// The log made as many requests as it may. Its operator is at fault.
    #[error("this log may make {qpd} requests a day; come again in {} s", seconds(.wait))]
    Log {
        /// How many a day.
        qpd: NonZeroU32,
        /// How long until the next.
        wait: Duration,
    },
    /// The address sent too much that no log signed. The client is at fault.
    #[error(
        "too many requests from this address were not signed by the log; come again in {} s",
        seconds(.wait)
    )]
    Address {
        /// How long until the next.
        wait: Duration,
    },
}

impl OverQuota {
    /// For `Retry-After`: whole seconds, never too few.
    pub fn retry_after(&self) -> u32 {
        let (Self::Log { wait, .. } | Self::Address { wait }) = self;
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
            addresses: Mutex::default(),
        }
    }

    /// Admits a request for a log that is known, before any of it is verified. `qpd` is the log's
    /// own number.
    ///
    /// # Errors
    /// [`NotAdmitted`]; no bucket changed.
    // Spec: WIT-65, WIT-66
    pub fn admit(
        self: &Arc<Self>,
        origin: Hash,
        qpd: Option<NonZeroU32>,
        client: Option<Client>,
        now: Duration,
    ) -> Result<Admitted, NotAdmitted> {
        if let Some(client) = client {
            let rate = Rate::per_minute(self.limits.unsigned_per_minute);
            let mut addresses = lock(&self.addresses);
            let looked = match addresses.known.get(&client) {
                Some(bucket) => bucket.look(rate, now),
                None if addresses.known.len() < ADDRESSES_MAX => Ok(()),
                None => addresses.bucket(client, now).look(rate, now),
            };
            looked.map_err(|wait| NotAdmitted::OverQuota(OverQuota::Address { wait }))?;
        }
        let rate = qpd.or(self.limits.default_qpd);
        let rate = rate.map(|qpd| (qpd, Rate::per_day(qpd)));
        let mut logs = lock(&self.logs);
        let log = logs.entry(origin).or_default();
        let in_flight_max = self.limits.in_flight_max;
        // Spec: WIT-68
        if log.in_flight >= in_flight_max {
            return Err(NotAdmitted::Crowded(Crowded { in_flight_max }));
        }
        if let Some((qpd, rate)) = rate {
            let taken = log.bucket.take(rate, now);
            taken.map_err(|wait| NotAdmitted::OverQuota(OverQuota::Log { qpd, wait }))?;
        }
        log.in_flight += 1;
        Ok(Admitted {
            quotas: Arc::clone(self),
            origin,
            rate: rate.map(|(_, rate)| rate),
            client,
        })
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
    rate: Option<Rate>,
    client: Option<Client>,
}

impl Admitted {
    /// The log did not sign the request: whoever sent it pays for it.
    // Spec: WIT-67
    pub fn not_signed(&self, now: Duration) {
        if let Some(rate) = self.rate
            && let Some(log) = lock(&self.quotas.logs).get_mut(&self.origin)
        {
            log.bucket.put_back(rate);
        }
        if let Some(client) = self.client {
            let rate = Rate::per_minute(self.quotas.limits.unsigned_per_minute);
            // Whoever was admitted together with others may find it empty: then it is.
            let _ = lock(&self.quotas.addresses)
                .bucket(client, now)
                .take(rate, now);
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(log) = lock(&self.quotas.logs).get_mut(&self.origin) {
            log.in_flight = log.in_flight.saturating_sub(1);
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

/// How many addresses have a budget of their own.
pub const ADDRESSES_MAX: usize = 16_384;

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

    const LOG: Hash = Hash::new([1; 32]);
    const OTHER: Hash = Hash::new([2; 32]);
    const NOW: Duration = Duration::from_secs(1_000);

    fn client(last: u8) -> Client {
        Client::at(IpAddr::from([192, 0, 2, last]))
    }

    // Spec: WIT-65
    #[test]
    fn a_log_gets_its_burst_and_then_one_each_interval() {
        let quotas = quotas(100);
        let admit = |now| quotas.admit(LOG, Some(number(24)), None, now).map(drop);
        for _ in 0..10 {
            assert_eq!(admit(NOW), Ok(()));
        }
        let refused = OverQuota::Log {
            qpd: number(24),
            wait: Duration::from_secs(3_600),
        };
        assert_eq!(admit(NOW), Err(NotAdmitted::OverQuota(refused)));
        assert_eq!(refused.retry_after(), 3600);
        let later = NOW + Duration::from_secs(3_600);
        let early = admit(later.saturating_sub(Duration::from_nanos(1)));
        let wait = Duration::from_nanos(1);
        let refused = OverQuota::Log {
            qpd: number(24),
            wait,
        };
        assert_eq!(early, Err(NotAdmitted::OverQuota(refused)));
        assert_eq!(refused.retry_after(), 1, "never a second too early");
        assert_eq!(admit(later), Ok(()));
        assert!(admit(later).is_err());
        let other = quotas.admit(OTHER, Some(number(24)), None, NOW);
        assert!(other.is_ok(), "each log has its own");
    }

    #[test]
    fn a_log_that_gets_more_has_it_at_once() {
        let (slow, fast) = (Rate::per_day(number(24)), Rate::per_day(number(86_400)));
        let mut bucket = Bucket::default();
        while bucket.take(slow, NOW).is_ok() {}
        assert_eq!(bucket.take(fast, NOW), Err(Duration::from_secs(1)));
        assert_eq!(bucket.take(fast, NOW + Duration::from_secs(1)), Ok(()));
        assert!(bucket.take(fast, NOW + Duration::from_secs(1)).is_err());
    }

    // Spec: WIT-67
    #[test]
    fn rubbish_is_paid_by_whoever_sends_it_and_not_by_the_log() {
        let quotas = quotas(100);
        let admit = |from, now| quotas.admit(LOG, Some(number(24)), Some(from), now);
        for _ in 0..3 {
            let admitted = admit(client(1), NOW);
            assert!(admitted.is_ok_and(|admitted| {
                admitted.not_signed(NOW);
                true
            }));
        }
        let wait = Duration::from_secs(20);
        let refused = NotAdmitted::OverQuota(OverQuota::Address { wait });
        assert_eq!(admit(client(1), NOW).map(drop), Err(refused));
        for _ in 0..10 {
            assert!(admit(client(2), NOW).is_ok(), "the log has lost nothing");
        }
        assert!(admit(client(2), NOW).is_err());
        assert!(
            admit(client(1), NOW + wait).is_err(),
            "its quota is used up"
        );
        let wait = NOW + Duration::from_secs(3_600);
        assert!(admit(client(1), wait).is_ok(), "the address has paid");
    }

    // Spec: WIT-68
    #[test]
    fn a_log_has_only_so_many_requests_at_a_time() {
        let quotas = quotas(2);
        let admit = || quotas.admit(LOG, None, None, NOW);
        let (one, two) = (admit(), admit());
        assert!(one.is_ok() && two.is_ok());
        let crowded = NotAdmitted::Crowded(Crowded { in_flight_max: 2 });
        assert_eq!(admit().map(drop), Err(crowded));
        assert!(quotas.admit(OTHER, None, None, NOW).is_ok());
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

    #[test]
    fn addresses_beyond_the_bound_share_a_budget() {
        let mut addresses = Addresses::default();
        let rate = Rate::per_minute(number(3));
        let at = |n: usize| Client::at(IpAddr::from(u32::try_from(n).unwrap_or(0).to_be_bytes()));
        for n in 0..ADDRESSES_MAX {
            assert_eq!(addresses.bucket(at(n), NOW).take(rate, NOW), Ok(()));
        }
        for n in 0..3 {
            let beyond = addresses.bucket(at(ADDRESSES_MAX + n), NOW);
            assert_eq!(beyond.take(rate, NOW), Ok(()));
        }
        let beyond = addresses.bucket(at(ADDRESSES_MAX + 9), NOW);
        assert!(beyond.take(rate, NOW).is_err());
        assert_eq!(addresses.known.len(), ADDRESSES_MAX);
        let later = NOW + Duration::from_secs(60);
        let beyond = addresses.bucket(at(ADDRESSES_MAX + 9), later);
        assert_eq!(beyond.take(rate, later), Ok(()));
        assert_eq!(addresses.known.len(), 1, "full buckets are forgotten");
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
