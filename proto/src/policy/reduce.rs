//! A cosigned checkpoint with no more lines than show its quorum.
//!
//! Members stand in a group at most once, so groups form a tree, and the cheapest way to meet a
//! group is the cheapest ways to meet its cheapest members: one pass finds the fewest bytes.

use alloc::string::ToString as _;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;

use super::{Member, Policy, PolicyError, Quorum};
use crate::checkpoint::{SignedCheckpoint, VerifiedSignature};
use crate::key::{UnixSeconds, VerifierKey};
use crate::note::NoteError;

impl Policy {
    /// The same checkpoint with one line of the log and the lines of one sufficient set of
    /// witnesses, in the fewest bytes; of lines of one length, the later. Cosignatures that state
    /// no time are left out and do not count: who reads the result asks when it was cosigned.
    ///
    /// # Errors
    /// [`ReduceError`]: the checkpoint does not meet the policy, or takes more bytes.
    // Spec: POL-29
    pub fn reduce_checkpoint(
        &self,
        checkpoint: &SignedCheckpoint,
        bytes_max: usize,
    ) -> Result<SignedCheckpoint, ReduceError> {
        let (_, keys) = self.logs_of(checkpoint.origin());
        self.reduce_checkpoint_by(checkpoint, &keys, bytes_max)
    }

    /// As [`Policy::reduce_checkpoint`], for a log whose keys the caller knows, whatever their
    /// names. The policy's own logs have no say.
    ///
    /// # Errors
    /// As [`Policy::reduce_checkpoint`].
    // Spec: POL-29
    pub fn reduce_checkpoint_by(
        &self,
        checkpoint: &SignedCheckpoint,
        log_keys: &[VerifierKey],
        bytes_max: usize,
    ) -> Result<SignedCheckpoint, ReduceError> {
        let (keys, verified) = self
            .verified_lines(checkpoint, log_keys)
            .map_err(ReduceError::Policy)?;
        let lines = Lines {
            checkpoint,
            keys: &keys,
            verified: &verified,
        };
        let logs: Vec<usize> = lines.by(|key| log_keys.contains(key)).collect();
        if logs.is_empty() {
            let origin = checkpoint.origin().clone();
            return Err(ReduceError::Policy(PolicyError::NotSignedByLog { origin }));
        }
        let sets = logs.iter().filter_map(|&log| self.least(&lines, log));
        let Some(least) = sets.min_by_key(|set| (set.bytes, Reverse(set.time))) else {
            let timed = |place: usize| lines.of_witness(self, place, None).is_some();
            let unmet = self.shortfall(timed);
            return Err(ReduceError::Policy(PolicyError::QuorumNotMet { unmet }));
        };
        let reduced = checkpoint
            .with_signatures(&least.lines, &[])
            .map_err(ReduceError::Note)?;
        match reduced.to_bytes().len() {
            bytes if bytes > bytes_max => Err(ReduceError::TooLong { bytes, bytes_max }),
            _ => Ok(reduced),
        }
    }

    /// This line of the log and the cheapest lines that meet the quorum beside it.
    fn least(&self, lines: &Lines<'_>, log: usize) -> Option<Set> {
        let witnesses: Vec<Option<Set>> = (0..self.witnesses.len())
            .map(|place| lines.of_witness(self, place, Some(log)))
            .collect();
        let mut groups: Vec<Option<Set>> = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let sets = group.members.iter().filter_map(|member| match *member {
                Member::Witness(place) => witnesses.get(place).cloned().flatten(),
                Member::Group(place) => groups.get(place).cloned().flatten(),
            });
            let mut sets: Vec<Set> = sets.collect();
            sets.sort_by_key(|set| (set.bytes, Reverse(set.time)));
            let needed = group.needed();
            let met = sets.len() >= needed;
            let together = |sets: Vec<Set>| sets.into_iter().take(needed).reduce(Set::and);
            groups.push(met.then(|| together(sets)).flatten());
        }
        let quorum = match self.quorum {
            Quorum::None => return Some(lines.set(log)),
            Quorum::Member(Member::Witness(place)) => witnesses.get(place).cloned().flatten()?,
            Quorum::Member(Member::Group(place)) => groups.get(place).cloned().flatten()?,
        };
        let time = quorum.time;
        Some(Set {
            time,
            ..lines.set(log).and(quorum)
        })
    }
}

/// Some lines of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Set {
    lines: Vec<usize>,
    bytes: usize,
    /// The earliest time of a cosignature among them.
    time: Option<UnixSeconds>,
}

impl Set {
    fn and(mut self, other: Self) -> Self {
        self.lines.extend(other.lines);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.time = self.time.min(other.time);
        self
    }
}

/// The lines of a checkpoint that verified.
struct Lines<'a> {
    checkpoint: &'a SignedCheckpoint,
    keys: &'a [VerifierKey],
    verified: &'a [VerifiedSignature],
}

impl Lines<'_> {
    /// The lines by keys of which `wanted` says yes.
    fn by(&self, wanted: impl Fn(&VerifierKey) -> bool) -> impl Iterator<Item = usize> {
        let by =
            move |line: &&VerifiedSignature| self.keys.get(line.key_index).is_some_and(&wanted);
        self.verified.iter().filter(by).map(|line| line.line_index)
    }

    /// The witness's cheapest line with a time. A line that is in the set as the log's is free.
    fn of_witness(&self, policy: &Policy, place: usize, log: Option<usize>) -> Option<Set> {
        let key = &policy.witnesses.get(place)?.key;
        let mut sets: Vec<Set> = Vec::new();
        for line in self.by(|other| other == key) {
            let set = self.set(line);
            if set.time.is_none() {
                continue;
            }
            let free = Some(line) == log;
            sets.push(Set {
                bytes: if free { 0 } else { set.bytes },
                ..set
            });
        }
        sets.into_iter()
            .min_by_key(|set| (set.bytes, Reverse(set.time)))
    }

    fn set(&self, line: usize) -> Set {
        let verified = self.verified.iter().find(|other| other.line_index == line);
        let time = verified.and_then(|verified| verified.timestamp);
        let text = self.checkpoint.signatures().get(line);
        Set {
            lines: alloc::vec![line],
            bytes: text.map_or(0, |line| line.to_string().len() + 1),
            time: time.filter(|time| time.get() > 0),
        }
    }
}

/// Why a checkpoint cannot be reduced. Nothing is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReduceError {
    /// It does not meet the policy with the lines that state a time.
    Policy(PolicyError),
    /// The least that meets it is longer than the caller takes.
    TooLong {
        /// What it takes.
        bytes: usize,
        /// What the caller takes.
        bytes_max: usize,
    },
    /// The lines that are left make no note, which lines of a note always do.
    Note(NoteError),
}

impl fmt::Display for ReduceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(error) => error.fmt(f),
            Self::TooLong { bytes, bytes_max } => write!(
                f,
                "the checkpoint and its quorum take {bytes} bytes; at most {bytes_max} are taken"
            ),
            Self::Note(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ReduceError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Policy(error) => Some(error),
            Self::Note(error) => Some(error),
            Self::TooLong { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;
    use alloc::vec;
    use core::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::cosignature::{cosign, sign_note};
    use crate::note::SignatureLine;
    use crate::test_signer::TestSigner;

    const ORIGIN: &str = "log.example";

    fn checkpoint() -> Checkpoint {
        let root = crate::hash::Hash::new([5; 32]).to_base64();
        Checkpoint::parse_text(&format!("{ORIGIN}\n7\n{root}\n")).unwrap()
    }

    fn log() -> TestSigner {
        TestSigner::note(ORIGIN, 1)
    }

    /// Six witnesses; the second and the fifth have ML-DSA keys, the last a long name.
    fn witnesses() -> Vec<TestSigner> {
        let long = "a-witness-with-a-rather-long-name.example";
        vec![
            TestSigner::cosigner("w0", 10),
            TestSigner::ml_dsa("w1", 11),
            TestSigner::cosigner("w2", 12),
            TestSigner::cosigner("w3", 13),
            TestSigner::ml_dsa("w4", 14),
            TestSigner::cosigner(long, 15),
        ]
    }

    fn policy(groups: &str) -> Policy {
        let mut text = format!("log {}\n", log().key);
        for (place, witness) in witnesses().iter().enumerate() {
            writeln!(text, "witness w{place} {}", witness.key).unwrap();
        }
        text.push_str(groups);
        Policy::parse(text.as_bytes()).unwrap()
    }

    fn line(witness: usize, time: u64) -> SignatureLine {
        let time = UnixSeconds::new(time).unwrap();
        cosign(&checkpoint(), time, &witnesses()[witness]).unwrap()
    }

    fn signed(lines: Vec<SignatureLine>) -> SignedCheckpoint {
        let mut all = vec![sign_note(&checkpoint().to_text(), &log()).unwrap()];
        all.extend(lines);
        SignedCheckpoint::new(checkpoint(), all).unwrap()
    }

    fn names(signed: &SignedCheckpoint) -> Vec<String> {
        let lines = signed.signatures().iter();
        lines.map(|line| line.name().as_str().into()).collect()
    }

    // Spec: POL-29
    #[test]
    fn small_signatures_and_later_ones_are_kept_and_strangers_dropped() {
        let policy = policy("group all 2 w0 w1 w2 w3\nquorum all\n");
        let stranger = TestSigner::cosigner("stranger", 30);
        let time = UnixSeconds::new(100).unwrap();
        let stranger = cosign(&checkpoint(), time, &stranger).unwrap();
        let lines = vec![
            stranger,
            line(1, 100),
            line(0, 90),
            line(2, 80),
            line(3, 95),
        ];
        let whole = signed(lines);
        let reduced = policy.reduce_checkpoint(&whole, 1000).unwrap();
        assert_eq!(names(&reduced), [ORIGIN, "w0", "w3"]);
        assert_eq!(
            policy.reduce_checkpoint(&reduced, 1000),
            Ok(reduced.clone())
        );
        let bytes = reduced.to_bytes().len();
        assert_eq!(policy.reduce_checkpoint(&whole, bytes), Ok(reduced));
        let bytes_max = bytes - 1;
        let too_long = Err(ReduceError::TooLong { bytes, bytes_max });
        assert_eq!(policy.reduce_checkpoint(&whole, bytes_max), too_long);
    }

    // Spec: POL-29
    #[test]
    fn of_a_key_that_signed_twice_the_later_line_is_kept() {
        let policy = policy("quorum w0\n");
        let reduced = policy.reduce_checkpoint(&signed(vec![line(0, 5), line(0, 9)]), 4096);
        assert_eq!(reduced, Ok(signed(vec![line(0, 9)])));
    }

    // Spec: POL-29
    #[test]
    fn what_does_not_meet_the_policy_is_not_reduced() {
        let policy = policy("group two 2 w0 w1\nquorum two\n");
        let refused = |signed: &SignedCheckpoint| match policy.reduce_checkpoint(signed, 65536) {
            Err(ReduceError::Policy(error)) => error,
            other => panic!("{other:?}"),
        };
        let one = refused(&signed(vec![line(0, 5), line(2, 5)]));
        assert!(matches!(one, PolicyError::QuorumNotMet { .. }), "{one}");
        // A cosignature that states no time counts for the policy, and not here.
        let untimed = signed(vec![line(0, 5), line(1, 0)]);
        assert!(policy.verify_checkpoint(&untimed).is_ok());
        let error = refused(&untimed);
        assert_eq!(
            error.to_string(),
            "the quorum is not met: two needs 2 of 2 and has 1, without w1"
        );
        let unsigned = SignedCheckpoint::new(checkpoint(), vec![line(0, 5)]).unwrap();
        let error = refused(&unsigned);
        assert!(matches!(error, PolicyError::NotSignedByLog { .. }));
        let good = line(0, 5);
        let mut broken = good.signature().to_vec();
        broken[20] ^= 1;
        let broken = SignatureLine::new(good.name().clone(), good.key_id(), broken).unwrap();
        let error = refused(&signed(vec![broken]));
        assert!(matches!(error, PolicyError::BadSignature(_)));
    }

    // Spec: POL-29
    #[test]
    fn a_key_that_is_log_and_witness_needs_one_line() {
        let both = TestSigner::cosigner(ORIGIN, 40);
        let text = format!(
            "log {}\nlog {}\nwitness w {}\nquorum w\n",
            log().key,
            both.key,
            both.key
        );
        let policy = Policy::parse(text.as_bytes()).unwrap();
        let time = UnixSeconds::new(3).unwrap();
        let line = cosign(&checkpoint(), time, &both).unwrap();
        let alone = SignedCheckpoint::new(checkpoint(), vec![line.clone()]).unwrap();
        assert_eq!(
            policy.reduce_checkpoint(&signed(vec![line]), 4096),
            Ok(alone)
        );
    }

    const GROUPS: [&str; 6] = [
        "quorum none\n",
        "quorum w1\n",
        "group a any w0 w1 w2 w3 w4 w5\nquorum a\n",
        "group a 3 w0 w1 w2 w3 w4 w5\nquorum a\n",
        "group a 2 w0 w1 w2\ngroup b any w3 w4\ngroup c 2 a b w5\nquorum c\n",
        "group a all w1 w4\ngroup b 2 w0 w5\ngroup c any a b\ngroup d all c w2\nquorum d\n",
    ];

    proptest! {
        // Spec: POL-29
        #[test]
        fn nothing_smaller_meets_the_policy(
            cosigned in prop::collection::vec((0_usize..6, 1_u64..4), 0..7),
            groups in prop::sample::select(&GROUPS[..]),
        ) {
            let policy = policy(groups);
            let whole = signed(cosigned.iter().map(|&(who, time)| line(who, time)).collect());
            let count = whole.signatures().len();
            // Every subset of the lines; the log's is the first.
            let subsets = (0_u32..1 << (count - 1)).filter_map(|bits| {
                let keep = (1..count).filter(|place| bits >> (place - 1) & 1 == 1);
                let keep: Vec<usize> = core::iter::once(0).chain(keep).collect();
                let part = whole.with_signatures(&keep, &[]).unwrap();
                policy.verify_checkpoint(&part).ok().map(|_| part.to_bytes().len())
            });
            let least = subsets.min();
            let reduced = policy.reduce_checkpoint(&whole, usize::MAX);
            prop_assert_eq!(reduced.as_ref().ok().map(|part| part.to_bytes().len()), least);
            prop_assert_eq!(reduced.is_ok(), policy.verify_checkpoint(&whole).is_ok());
            if let Ok(reduced) = reduced {
                prop_assert!(policy.verify_checkpoint(&reduced).is_ok());
                let lines = reduced.signatures();
                prop_assert!(lines.iter().all(|line| whole.signatures().contains(line)));
            }
        }
    }
}
