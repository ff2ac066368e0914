//! Claims of requests: made for the ones that we send, and believed of those that come.
//!
//! A claim that does not count is no fault of a request: it is served as a stranger's, and the
//! answer says why. A peer whose clock is wrong, or that was given a new key, is heard all the
//! same; and who replays what a peer sent has a stranger's budget for it.
//!
//! Rows: `spec/gossip.md` GSP-90, GSP-91.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use jurat_proto::cosignature::sign_note;
use jurat_proto::gossip::{Call, Claim, ClaimRefused, LastClaim, SignedClaim};
use jurat_proto::hash::{Hash, sha256};
use jurat_proto::key::{KeyName, UnixSeconds};

use super::{Gossip, lock};

/// The field that a claim, or what became of it, stands in.
pub(crate) const CLAIM_FIELD: &str = "gossip-claim";

/// What is remembered of claims.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Of each peer that made one; at most as many as there are peers.
    last: Mutex<BTreeMap<KeyName, LastClaim>>,
    /// The time of the last one that we made, and how many there were.
    made: Mutex<u64>,
    count: AtomicU64,
}

impl Claims {
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
        last(&claim.name).unwrap_or_default().verify_next(claim)?;
        signed.verify_signature(&keys)?;
        let mut last = lock(&self.claims.last);
        last.entry(claim.name.clone()).or_default().take(claim)?;
        drop(last);
        self.contacts.claimed(&claim.name, now.get());
        Ok((claim.name.clone(), claim.body))
    }
}

/// A clock that was set back by more than what peers allow is not waited for.
const SET_BACK_MAX: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: GSP-90
    #[test]
    fn a_clock_that_steps_back_a_little_makes_no_claim_of_the_past() {
        let claims = Claims::default();
        for (now, said) in [(1_000, 1_000), (990, 1_000), (1_001, 1_001), (500, 500)] {
            assert_eq!(claims.time(now).get(), said, "{now}");
        }
    }
}
