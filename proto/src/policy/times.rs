//! What the times of cosignatures say together: by when a quorum had seen a checkpoint, and since
//! when.
//!
//! One witness may have a wrong clock, or lie. A time that a quorum stands for is as good as the
//! quorum: to move it, as many witnesses must be wrong as it takes to break the policy.

use super::{Policy, Quorum, WitnessVerdict};
use crate::key::UnixSeconds;

impl Policy {
    /// The time by which a quorum had cosigned: the least, such that the cosignatures up to it
    /// meet the quorum. None when those that state a time do not, or nobody is asked for.
    // Spec: POL-30
    pub fn quorum_by(&self, witnesses: &[WitnessVerdict]) -> Option<UnixSeconds> {
        let met = |by: &UnixSeconds| self.met_in(witnesses, |time| time <= *by);
        times(witnesses).filter(met).min()
    }

    /// The time since which a quorum has cosigned: the greatest, such that the cosignatures from it
    /// on meet the quorum. None when those that state a time do not, or nobody is asked for.
    // Spec: POL-31
    pub fn quorum_since(&self, witnesses: &[WitnessVerdict]) -> Option<UnixSeconds> {
        let met = |since: &UnixSeconds| self.met_in(witnesses, |time| time >= *since);
        times(witnesses).filter(met).max()
    }

    fn met_in(&self, witnesses: &[WitnessVerdict], counts: impl Fn(UnixSeconds) -> bool) -> bool {
        let counted = |witness: &WitnessVerdict| witness.time.is_some_and(&counts);
        self.quorum != Quorum::None
            && self.quorum_met(|place| {
                let by = |witness: &&WitnessVerdict| witness.witness == place;
                witnesses.iter().filter(by).any(counted)
            })
    }
}

fn times(witnesses: &[WitnessVerdict]) -> impl Iterator<Item = UnixSeconds> {
    witnesses.iter().filter_map(|witness| witness.time)
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;
    use core::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::test_signer::TestSigner;

    fn policy(groups: &str) -> Policy {
        let mut text = String::new();
        for place in 0..4_u8 {
            let key = TestSigner::cosigner("w", 10 + place).key;
            writeln!(text, "witness w{place} {key}").unwrap();
        }
        Policy::parse([&text, groups].concat().as_bytes()).unwrap()
    }

    fn verdicts(times: &[Option<u64>]) -> Vec<WitnessVerdict> {
        let verdict = |(witness, time): (usize, &Option<u64>)| {
            let time = Some(UnixSeconds::new((*time)?).unwrap());
            Some(WitnessVerdict { witness, time })
        };
        times.iter().enumerate().filter_map(verdict).collect()
    }

    fn both(groups: &str, times: &[Option<u64>]) -> (Option<u64>, Option<u64>) {
        let (policy, verdicts) = (policy(groups), verdicts(times));
        let by = policy.quorum_by(&verdicts).map(UnixSeconds::get);
        (by, policy.quorum_since(&verdicts).map(UnixSeconds::get))
    }

    // Spec: POL-30, POL-31
    #[test]
    fn a_quorum_of_k_is_the_kth_time_from_either_end() {
        let times = [Some(40), Some(10), Some(30), Some(20)];
        for (needed, by, since) in [(1, 10, 40), (2, 20, 30), (3, 30, 20), (4, 40, 10)] {
            let groups = alloc::format!("group g {needed} w0 w1 w2 w3\nquorum g\n");
            assert_eq!(both(&groups, &times), (Some(by), Some(since)));
        }
        assert_eq!(both("quorum w2\n", &times), (Some(30), Some(30)));
        let nested = "group a any w0 w1\ngroup b all w2 w3\ngroup g all a b\nquorum g\n";
        assert_eq!(both(nested, &times), (Some(30), Some(20)));
    }

    // Spec: POL-30, POL-31
    #[test]
    fn without_a_timed_quorum_there_is_no_time() {
        assert_eq!(both("quorum none\n", &[Some(5)]), (None, None));
        assert_eq!(both("quorum w0\n", &[None, Some(5)]), (None, None));
        let all = "group g all w0 w1\nquorum g\n";
        let mut untimed = verdicts(&[Some(5), Some(6)]);
        untimed[1].time = None;
        assert_eq!(policy(all).quorum_by(&untimed), None);
        assert_eq!(policy(all).quorum_since(&untimed), None);
    }

    const GROUPS: [&str; 4] = [
        "quorum w1\n",
        "group g 2 w0 w1 w2 w3\nquorum g\n",
        "group a any w0 w1\ngroup g all a w2 w3\nquorum g\n",
        "group a all w0 w1\ngroup g any a w2\nquorum g\n",
    ];

    proptest! {
        // Spec: POL-30, POL-31
        #[test]
        fn the_times_are_the_first_and_the_last_that_hold(
            times in prop::collection::vec(prop::option::of(0_u64..20), 4),
            groups in prop::sample::select(&GROUPS[..]),
        ) {
            let policy = policy(groups);
            let met = |counts: &dyn Fn(u64) -> bool| {
                policy.quorum_met(|place| times[place].is_some_and(counts))
            };
            let by = (0..20).find(|by| met(&|time| time <= *by));
            let since = (0..20).rev().find(|since| met(&|time| time >= *since));
            prop_assert_eq!(both(groups, &times), (by, since));
        }

        // Spec: POL-30, POL-31
        #[test]
        fn one_more_witness_never_loosens_a_bound(
            times in prop::collection::vec(prop::option::of(0_u64..20), 4),
            more in (0_usize..4, 0_u64..20),
            groups in prop::sample::select(&GROUPS[..]),
        ) {
            prop_assume!(times[more.0].is_none());
            let (by, since) = both(groups, &times);
            let mut all = times;
            all[more.0] = Some(more.1);
            let (tighter_by, tighter_since) = both(groups, &all);
            prop_assert!(by.is_none() || tighter_by <= by);
            prop_assert!(tighter_since >= since);
        }
    }
}
