//! Stored heads are read and verified again while the witness runs, though nobody asks for them.
//!
//! ```text
//! each tick ─► the heads that were found bad ─► some more of all logs, by origin ─► …
//!              (a repaired one is good again)   (pass after pass, a pause between)
//! ```
//!
//! A disk loses bits in what nobody reads. A head that went bad is found within one pass, before
//! its log comes back after a quiet month and gets no cosignature; `/health` and a metric say so.
//!
//! The rate is bounded: a check reads one row and verifies two or three signatures, about 0.25 ms
//! of one core. At the default rate this is a fortieth of a core, and a pass over 100,000 logs
//! takes 17 minutes.
//!
//! Out of scope: what the store answers from its own memory or the system's; a bit that turned on
//! the disk below is seen when it is read from there again.
//!
//! Rows: `spec/witness.md` WIT-99, WIT-100.

use std::sync::Arc;
use std::time::Duration;

use jurat_daemon::config::Problems;
use jurat_proto::checkpoint::Origin;
use serde::Deserialize;

use crate::cosign::Witness;
use crate::metrics::Metrics;

/// The `[recheck]` table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recheck {
    /// How many stored heads are verified again each second.
    heads_per_second: u32,
}

impl Default for Recheck {
    fn default() -> Self {
        Self {
            heads_per_second: 100,
        }
    }
}

impl Recheck {
    /// Adds what is wrong with the table to the problems of a configuration.
    pub fn check(&self, problems: &mut Problems) {
        problems.check(
            (1..=PER_SECOND_MAX).contains(&self.heads_per_second),
            "recheck.heads_per_second",
            self.heads_per_second,
            "1 to 10000 stored heads",
        );
    }

    /// Verifies for ever.
    pub async fn run(self, witness: Arc<Witness>, metrics: Metrics) {
        let per_tick = self.heads_per_second.div_ceil(TICKS_A_SECOND).max(1);
        let pause = Duration::from_secs(1) * per_tick / self.heads_per_second.max(1);
        let at_a_time = usize::try_from(per_tick).unwrap_or(usize::MAX);
        let mut walk = Walk::default();
        let mut resting = Duration::ZERO;
        loop {
            tokio::time::sleep(pause).await;
            let rests = !resting.is_zero();
            resting = resting.saturating_sub(pause);
            let (witness, metrics) = (Arc::clone(&witness), metrics.clone());
            let stepped = tokio::task::spawn_blocking(move || {
                let step = walk.step(&witness, at_a_time, rests);
                metrics.heads_checked(&step, witness.wall_time().seconds());
                (walk, step.pass_ended)
            });
            match stepped.await {
                Ok((went, ended)) => {
                    walk = went;
                    if ended {
                        resting = PASS_PAUSE;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "verifying stored heads again failed; from the start");
                    walk = Walk::default();
                }
            }
        }
    }
}

/// How far a pass is.
#[derive(Debug, Default)]
pub struct Walk {
    /// The last origin of the pass that was checked.
    after: Option<Origin>,
    /// The same, among those that were found bad before.
    after_bad: Option<Origin>,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// How many heads were verified.
    pub checked: usize,
    /// How many are not as they should be, now.
    pub bad: u64,
    /// Whether all logs have been looked at since the last time that this was so.
    pub pass_ended: bool,
}

impl Walk {
    /// Verifies up to `at_a_time` heads that were bad, and, unless it `rests`, as many others.
    /// Blocks.
    pub fn step(&mut self, witness: &Witness, at_a_time: usize, rests: bool) -> Step {
        let (heads, logs) = (witness.heads(), witness.logs().current());
        let bad = heads.faulty(self.after_bad.as_ref(), at_a_time);
        let mut checked = bad.len();
        for origin in &bad {
            // What is wrong with it is remembered there.
            let _ = heads.recheck(origin);
        }
        self.after_bad = bad.into_iter().next_back();
        let mut pass_ended = false;
        if !rests {
            let mut last = None;
            for log in logs.logs_after(self.after.as_ref()).take(at_a_time) {
                let _ = heads.recheck(&log.origin);
                checked += 1;
                last = Some(log.origin.clone());
            }
            pass_ended = last.is_none();
            self.after = last;
        }
        Step {
            checked,
            bad: heads.faults(0).0,
            pass_ended,
        }
    }
}

/// Short enough for a step not to hold up a thread that signs.
const TICKS_A_SECOND: u32 = 10;

/// Between two passes.
const PASS_PAUSE: Duration = Duration::from_secs(60);

const PER_SECOND_MAX: u32 = 10_000;
