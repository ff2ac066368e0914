//! How many time-stamps one client may ask for: a bucket of tokens for each network address.
//!
//! An IPv6 client has a whole /64, so that is what counts as one. Who the client behind a proxy is,
//! `jurat_daemon::http::TrustedProxies` says.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Addresses that are remembered at once. A bucket that is full again says nothing and is dropped
/// when the room is needed; an address for which there is no room shares one bucket with all others
/// that found none.
const CLIENTS_MAX: usize = 65_536;

/// Buckets that one request looks at for one that can be dropped. To look at all of them under the
/// lock would let whoever has many addresses slow everybody down; with so many at a time, a room
/// of nothing but dropped clients is found at once, and a mixed one within some requests.
const LOOKS_MAX: usize = 32;

/// A limit for each client.
#[derive(Debug)]
pub struct RateLimit {
    per_second: u32,
    burst: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    buckets: HashMap<IpAddr, Bucket>,
    /// The clients of `buckets`, each once: where the search for room goes on.
    turn: VecDeque<IpAddr>,
    overflow: Option<Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// When it will be full again.
    full_at: Instant,
}

impl RateLimit {
    /// So many a second, and so many at once.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self {
            per_second: per_second.max(1),
            burst: burst.max(1),
            state: Mutex::default(),
        }
    }

    /// Takes one for this client.
    ///
    /// # Errors
    /// How long until there is one again.
    // Spec: TSA-43
    pub fn take(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        let client = network(client);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = state.bucket(client, now);
        // A bucket that lacks n is full in n intervals; it holds `burst`.
        let interval = Duration::from_secs(1) / self.per_second;
        let full_at = bucket.full_at.max(now) + interval;
        let room_at = full_at.checked_sub(interval * self.burst).unwrap_or(now);
        match room_at.saturating_duration_since(now) {
            Duration::ZERO => {
                bucket.full_at = full_at;
                Ok(())
            }
            wait => Err(wait),
        }
    }
}

impl State {
    /// The client's bucket, or the one that it shares.
    fn bucket(&mut self, client: IpAddr, now: Instant) -> &mut Bucket {
        let fresh = Bucket { full_at: now };
        if !self.buckets.contains_key(&client) {
            if self.buckets.len() >= CLIENTS_MAX {
                self.make_room(now);
            }
            if self.buckets.len() >= CLIENTS_MAX {
                return self.overflow.get_or_insert(fresh);
            }
            self.turn.push_back(client);
        }
        self.buckets.entry(client).or_insert(fresh)
    }

    /// Drops one bucket that is full again, if there is one among the next few. Returns how many
    /// were looked at.
    // Spec: TSA-43
    fn make_room(&mut self, now: Instant) -> usize {
        for looks in 1..=LOOKS_MAX {
            let Some(client) = self.turn.pop_front() else {
                return looks;
            };
            if self
                .buckets
                .get(&client)
                .is_some_and(|bucket| bucket.full_at > now)
            {
                self.turn.push_back(client);
            } else {
                self.buckets.remove(&client);
                return looks;
            }
        }
        LOOKS_MAX
    }
}

fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6([a, b, c, d, 0, 0, 0, 0].into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    // Spec: TSA-43
    #[test]
    fn a_client_gets_its_burst_and_then_its_rate_and_others_theirs() {
        let limit = RateLimit::new(10, 3);
        let start = Instant::now();
        let (one, other) = (ip("192.0.2.1"), ip("192.0.2.2"));
        for _ in 0..3 {
            assert_eq!(limit.take(one, start), Ok(()));
        }
        let wait = limit.take(one, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(limit.take(other, start), Ok(()));
        let later = start + wait;
        assert_eq!(limit.take(one, later), Ok(()));
        assert!(limit.take(one, later).is_err());
        // An hour of rest gives a burst and no more.
        let later = start + Duration::from_secs(3_600);
        for _ in 0..3 {
            assert_eq!(limit.take(one, later), Ok(()));
        }
        assert!(limit.take(one, later).is_err());
    }

    // Spec: TSA-43
    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let limit = RateLimit::new(1, 1);
        let now = Instant::now();
        assert_eq!(limit.take(ip("2001:db8::1"), now), Ok(()));
        assert!(limit.take(ip("2001:db8::2:3"), now).is_err());
        assert_eq!(limit.take(ip("2001:db8:0:1::1"), now), Ok(()));
        assert_eq!(limit.take(ip("::ffff:192.0.2.1"), now), Ok(()));
        assert!(limit.take(ip("192.0.2.1"), now).is_err());
    }

    // Spec: TSA-43
    #[test]
    fn memory_is_bounded_and_those_who_find_no_room_share() {
        let limit = RateLimit::new(1, 1);
        let now = Instant::now();
        let client = |n: u32| IpAddr::V4(n.into());
        for n in 0..u32::try_from(CLIENTS_MAX).unwrap() {
            assert_eq!(limit.take(client(n), now), Ok(()));
        }
        let more = 1 << 24;
        assert_eq!(limit.take(client(more), now), Ok(()));
        assert!(limit.take(client(more + 1), now).is_err());
        let later = now + Duration::from_secs(2);
        assert_eq!(limit.take(client(more + 1), later), Ok(()));
        let state = limit.state.lock().unwrap();
        assert!(state.buckets.len() <= CLIENTS_MAX);
        assert_eq!(state.turn.len(), state.buckets.len());
    }

    // Spec: TSA-43
    #[test]
    fn a_request_looks_at_a_few_buckets_however_many_are_in_use() {
        let limit = RateLimit::new(1, 10);
        let now = Instant::now();
        let client = |n: usize| IpAddr::V4(u32::try_from(n).unwrap().into());
        // The first half asked for ten at once and has to wait; the second is soon full again.
        for n in 0..CLIENTS_MAX {
            let asked = if n < CLIENTS_MAX / 2 { 10 } else { 1 };
            for _ in 0..asked {
                assert_eq!(limit.take(client(n), now), Ok(()));
            }
        }
        let later = now + Duration::from_secs(2);
        assert_eq!(limit.state.lock().unwrap().make_room(later), LOOKS_MAX);
        // One who comes again and again finds room when the search has come to the second half.
        let stranger = client(1 << 24);
        let remembered = |limit: &RateLimit| {
            let state = limit.state.lock().unwrap();
            assert!(state.buckets.len() <= CLIENTS_MAX);
            state.buckets.contains_key(&stranger)
        };
        let mut asked = 0;
        while !remembered(&limit) {
            let _ = limit.take(stranger, later);
            asked += 1;
            assert!(asked <= CLIENTS_MAX / 2 / LOOKS_MAX);
        }
        assert_eq!(asked, CLIENTS_MAX / 2 / LOOKS_MAX);
        // From then on each look finds one.
        assert_eq!(limit.state.lock().unwrap().make_room(later), 1);
    }
}
