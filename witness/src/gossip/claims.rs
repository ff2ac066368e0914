//! Claims of requests: made for the ones that we send, and believed of those that come.
//!
//! A claim that does not count is no fault of a request: it is served as a stranger's, and the
//! answer says why. A peer whose clock is wrong, or that was given a new key, is heard all the
//! same; and who replays what a peer sent has a stranger's budget for it.
//!
//! Rows: `spec/gossip.md` GSP-90, GSP-91.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use jurat_proto::cosignature::sign_note;
use jurat_proto::gossip::{CLAIM_SKEW_MAX, Call, Claim, ClaimRefused, LastClaim, SignedClaim};
use jurat_proto::hash::{Hash, sha256};
use jurat_proto::key::{KeyName, UnixSeconds};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use super::records::Records;
use super::{Gossip, lock};

/// The field that a claim, or what became of it, stands in.
pub(crate) const CLAIM_FIELD: &str = "gossip-claim";

/// What is remembered of claims.
#[derive(Debug)]
pub(super) struct Claims {
    /// Of each peer that made one; at most as many as there are peers.
    last: Mutex<BTreeMap<KeyName, LastClaim>>,
    /// No claim of a later time counted before this start.
    before: u64,
    bound: Arc<Bound>,
    /// The time of the last one that we made, and how many there were.
    made: Mutex<u64>,
    count: AtomicU64,
}

/// How late a claim may be that counts: so much is durable. What the next process counts is later.
#[derive(Debug)]
struct Bound {
    seconds: AtomicU64,
    /// Whether it is being moved.
    moves: AtomicBool,
    records: Records,
}

impl Bound {
    /// Moves it ahead of a time. Blocks.
    fn reach(&self, time: u64) {
        let ahead = time.saturating_add(AHEAD);
        match self.records.store_claimed(ahead) {
            Ok(()) => drop(self.seconds.fetch_max(ahead, Ordering::AcqRel)),
            Err(error) => tracing::error!(%error, "claims of peers do not count: no disk takes it"),
        }
    }
}

impl Claims {
    /// Knows of the claims of before that none counts again.
    ///
    /// # Errors
    /// What was kept cannot be read.
    // Spec: GSP-191
    pub(super) fn open(records: &Records) -> io::Result<Self> {
        let before = records.claimed()?;
        let bound = Bound {
            seconds: AtomicU64::new(before),
            moves: AtomicBool::new(false),
            records: records.clone(),
        };
        Ok(Self {
            last: Mutex::default(),
            before,
            bound: Arc::new(bound),
            made: Mutex::default(),
            count: AtomicU64::new(0),
        })
    }

    /// Whether it is durable that a claim of this time may count. That is moved ahead in time where
    /// claims come often; the first after a while waits for the disk, and others meanwhile do not
    /// count.
    // Spec: GSP-191
    fn is_kept(&self, time: UnixSeconds) -> bool {
        let bound = self.bound.seconds.load(Ordering::Acquire);
        let (time, near) = (time.get(), bound.saturating_sub(AHEAD / 2));
        if time > near && !self.bound.moves.swap(true, Ordering::AcqRel) {
            let moved = Arc::clone(&self.bound);
            let reach = move || {
                moved.reach(time);
                moved.moves.store(false, Ordering::Release);
            };
            match Handle::try_current() {
                Ok(runtime) if time <= bound => drop(runtime.spawn_blocking(reach)),
                Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => {
                    block_in_place(reach);
                }
                _ => reach(),
            }
        }
        time <= self.bound.seconds.load(Ordering::Acquire)
    }

    /// What is known of a peer that has made no claim since the start. A time that no claim can
    /// have now is of a clock that was wrong: it would make strangers of all peers until then.
    // Spec: GSP-191
    fn before(&self, now: UnixSeconds) -> LastClaim {
        let latest = now.get().saturating_add(CLAIM_SKEW_MAX.as_secs() + AHEAD);
        match UnixSeconds::new(self.before) {
            Some(before) if (1..=latest).contains(&self.before) => LastClaim::until(before),
            _ => LastClaim::default(),
        }
    }

    /// When a claim is made: not before the last one, unless the clock was set back by much.
    fn time(&self, now: u64) -> UnixSeconds {
        let mut made = lock(&self.made);
        if *made < now || *made - now > SET_BACK_MAX {
            *made = now;
        }
        UnixSeconds::new(*made).unwrap_or(UnixSeconds::MAX)
    }

    /// Forgets those who are no peers any more.
    pub(super) fn keep(&self, is_peer: impl Fn(&KeyName) -> bool) {
        lock(&self.last).retain(|name, _| is_peer(name));
    }
}

impl Gossip {
    /// The value of the field for a request to a peer; nothing where the claim would be too long,
    /// or a key of ours is convicted.
    // Spec: GSP-90, GSP-135
    pub(super) fn claim(
        &self,
        to: &KeyName,
        method: &str,
        target: &str,
        body: &[u8],
    ) -> Option<String> {
        if self.evidence.convicts_us().is_some() {
            return None;
        }
        let key = &*self.settings.key;
        let claim = Claim {
            name: self.settings.vkey().name().clone(),
            to: to.clone(),
            call: Call::new(method, target).ok()?,
            body: sha256(body),
            time: self.claims.time(self.clock.now().seconds()),
            number: self.claims.count.fetch_add(1, Ordering::Relaxed),
        };
        let line = sign_note(&claim.to_text(), key).ok()?;
        let signed = SignedClaim::new(claim, line).ok()?;
        Some(signed.to_header())
    }

    /// Who makes a request, by its claim, and the hash that its body has then. What is cheap is
    /// looked at first; a claim that counts does not count again.
    ///
    /// # Errors
    /// [`ClaimRefused`]: it is a stranger's.
    // Spec: GSP-91
    pub(crate) fn claimed(
        &self,
        value: &str,
        method: &str,
        target: &str,
    ) -> Result<(KeyName, Hash), ClaimRefused> {
        let signed = SignedClaim::parse_header(value).map_err(|_| ClaimRefused::Malformed)?;
        let claim = signed.claim();
        let keys = self.settings.gossip_keys(&claim.name);
        let keys = keys.ok_or(ClaimRefused::UnknownPeer)?;
        let call = Call::new(method, target).map_err(|_| ClaimRefused::OtherCall)?;
        let now = UnixSeconds::new(self.clock.now().seconds()).unwrap_or(UnixSeconds::MAX);
        claim.verify_call(self.settings.vkey().name(), &call, now)?;
        let last = |name| lock(&self.claims.last).get(name).copied();
        let before = self.claims.before(now);
        last(&claim.name).unwrap_or(before).verify_next(claim)?;
        signed.verify_signature(&keys)?;
        if !self.claims.is_kept(claim.time) {
            return Err(ClaimRefused::NotKept);
        }
        let mut last = lock(&self.claims.last);
        last.entry(claim.name.clone())
            .or_insert(before)
            .take(claim)?;
        drop(last);
        self.contacts.claimed(&claim.name, now.get());
        Ok((claim.name.clone(), claim.body))
    }
}

/// How much later a claim may be than what is durable, in seconds: for so long after a start a peer
/// is a stranger at most, and each half of it costs a wait for the disk.
const AHEAD: u64 = 4;

/// A clock that was set back by more than what peers allow is not waited for.
const SET_BACK_MAX: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: GSP-90
    #[test]
    fn a_clock_that_steps_back_a_little_makes_no_claim_of_the_past() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::beside(&dir.path().join("witness.redb")).unwrap();
        let claims = Claims::open(&records).unwrap();
        for (now, said) in [(1_000, 1_000), (990, 1_000), (1_001, 1_001), (500, 500)] {
            assert_eq!(claims.time(now).get(), said, "{now}");
        }
    }

    // Spec: GSP-191
    #[test]
    fn what_counted_before_a_start_does_not_count_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::beside(&dir.path().join("witness.redb")).unwrap();
        let at = |seconds| UnixSeconds::new(seconds).unwrap();
        let claim = |seconds| Claim {
            name: KeyName::parse("w1.example").unwrap(),
            to: KeyName::parse("w2.example").unwrap(),
            call: Call::new("GET", "/gossip/v0/state").unwrap(),
            body: sha256(b""),
            time: at(seconds),
            number: u64::MAX - 1,
        };
        let first = Claims::open(&records).unwrap();
        let before = first.before(at(1_000));
        assert!(before.verify_next(&claim(1)).is_ok(), "none counted");
        assert!(first.is_kept(at(1_000)));
        assert!(first.is_kept(at(1_100)), "the first after a while waits");
        assert_eq!(records.claimed().unwrap(), 1_100 + AHEAD);
        let again = Claims::open(&records).unwrap();
        for counted in [1_000, 1_001, 1_100] {
            let refused = again.before(at(1_001)).verify_next(&claim(counted));
            assert_eq!(refused, Err(ClaimRefused::Again), "{counted}");
        }
        let later = claim(1_100 + AHEAD + 1);
        assert!(again.before(at(1_001)).verify_next(&later).is_ok());
        // What was counted while the clock was wrong shuts nobody out when it is right.
        assert!(again.before(at(900)).verify_next(&claim(900)).is_ok());
        // A start that counts nothing says nothing new.
        assert_eq!(records.claimed().unwrap(), 1_100 + AHEAD);
        // A disk that does not take it keeps claims from counting, and not from being served.
        let folder = dir.path().join("gossip");
        std::fs::create_dir(folder.join("claimed.new")).unwrap();
        assert!(!again.is_kept(at(2_000)));
    }
}
