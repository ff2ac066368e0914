//! What the witness counts. Every label has a bounded set of values: no origin is one.
//!
//! Rows: `spec/witness.md` WIT-101, WIT-102.

use std::time::Duration;

use jurat_proto::evidence::Kind as EvidenceKind;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::evidence;
use crate::recheck::Step;
use crate::restore::Lag;

/// The witness's own metrics. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    outcomes: Family<OutcomeLabel, Counter>,
    /// 1 while `/health` answers 200; set when it is scraped.
    healthy: Gauge,
    cosigned: Gauge,
    commit_seconds: Histogram,
    commit_swaps: Histogram,
    /// Origins that were ever cosigned.
    pub(crate) origins: Gauge,
    /// Origins that were cosigned and that no list names.
    pub(crate) origins_unlisted: Gauge,
    /// Logs that are served.
    pub(crate) logs_active: Gauge,
    /// Logs that are known and disabled.
    pub(crate) logs_disabled: Gauge,
    /// Logs that are active and not served, for their origins are too long.
    pub(crate) logs_too_long: Gauge,
    heads_checked: Counter,
    heads_bad: Gauge,
    heads_passed: Gauge,
    log_list_errors: Counter,
    list_pulls: Family<PullLabel, Counter>,
    list_pulled: Family<ListLabel, Gauge>,
    list_oddities: Family<OddityLabel, Gauge>,
    guard_answers: Family<GuardLabel, Counter>,
    guard_lag: Family<SourceLabel, Gauge>,
    guard_sources: Gauge,
    /// Logs for which nothing is signed until the operator decides.
    pub(crate) logs_held: Gauge,
    holds_not_durable: Gauge,
    state_held: Gauge,
    state_marks_failed: Gauge,
    evidence: Family<EvidenceLabel, Counter>,
    evidence_kept: Gauge,
    evidence_not_written: Gauge,
    evidence_aside: Gauge,
    logs_convicted: Gauge,
    convicted: Gauge,
    alarms: Family<AlarmLabel, Gauge>,
    alarms_waiting: Gauge,
    alarms_lost: Family<LossLabel, Counter>,
    bastion_connected: Gauge,
    passive_reads: Family<PlaceOutcome, Counter>,
    distributor_puts: Family<PlaceOutcome, Counter>,
    distributor_waiting: Family<DistributorLabel, Gauge>,
}

impl Metrics {
    /// Metrics that `registry` shows.
    pub fn register(registry: &mut Registry) -> Self {
        let this = Self::unregistered();
        this.register_calls(registry);
        this.register_state(registry);
        this.register_lists(registry);
        this.register_guard(registry);
        this.register_evidence(registry);
        this.register_gossip(registry);
        this
    }

    fn register_calls(&self, registry: &mut Registry) {
        // Spec: WIT-102
        // From the start: what appears only when it happens is missed by `increase()`.
        for (call, outcomes) in OUTCOMES {
            for &outcome in outcomes {
                let label = OutcomeLabel { call, outcome };
                drop(self.outcomes.get_or_create(&label));
            }
        }
        registry.register(
            "witness_outcomes",
            "What became of the requests, by call and outcome",
            self.outcomes.clone(),
        );
        registry.register(
            "witness_cosigned_timestamp_seconds",
            "The time in the newest cosignature since the start, in seconds since 1970; 0 before",
            self.cosigned.clone(),
        );
        registry.register_with_unit(
            "witness_commit",
            "From handing a batch of swaps to the store to their being durable",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
        registry.register(
            "witness_commit_swaps",
            "Swaps that became durable together",
            self.commit_swaps.clone(),
        );
    }

    fn register_state(&self, registry: &mut Registry) {
        registry.register(
            "witness_healthy",
            "1 while the health endpoint answers 200, else 0",
            self.healthy.clone(),
        );
        registry.register(
            "witness_origins",
            "Origins that were ever cosigned",
            self.origins.clone(),
        );
        registry.register(
            "witness_origins_unlisted",
            "Origins that were cosigned and are in no list of logs since the start",
            self.origins_unlisted.clone(),
        );
        registry.register(
            "witness_logs_active",
            "Logs served",
            self.logs_active.clone(),
        );
        registry.register(
            "witness_logs_disabled",
            "Logs known and not served",
            self.logs_disabled.clone(),
        );
        registry.register(
            "witness_logs_too_long",
            "Active logs that are not served: an ML-DSA-44 key cannot sign so long an origin",
            self.logs_too_long.clone(),
        );
        registry.register(
            "witness_heads_rechecked",
            "Stored heads that were read and verified again",
            self.heads_checked.clone(),
        );
        registry.register(
            "witness_heads_bad",
            "Stored heads that are damaged or cannot be read; nothing is signed for these logs",
            self.heads_bad.clone(),
        );
        registry.register(
            "witness_heads_recheck_pass_timestamp_seconds",
            "When all stored heads had been verified again last, in seconds since 1970",
            self.heads_passed.clone(),
        );
    }

    fn register_lists(&self, registry: &mut Registry) {
        registry.register(
            "witness_log_list_errors",
            "Changes of the list of logs that could not be taken over",
            self.log_list_errors.clone(),
        );
        registry.register(
            "witness_list_pulls",
            "Pulls of the witness network's lists, by list and whether they succeeded",
            self.list_pulls.clone(),
        );
        registry.register(
            "witness_list_pulled_timestamp_seconds",
            "When a list was pulled last with success, in seconds since 1970",
            self.list_pulled.clone(),
        );
        registry.register(
            "witness_list_oddities",
            "What was odd about a list at the last pull, by kind",
            self.list_oddities.clone(),
        );
    }

    fn register_guard(&self, registry: &mut Registry) {
        for source in GUARD_SOURCES {
            for answer in GUARD_ANSWERS {
                drop(
                    self.guard_answers
                        .get_or_create(&GuardLabel { source, answer }),
                );
            }
        }
        registry.register(
            "witness_restore_guard_answers",
            "What others showed of the logs, by who was asked and what it says about our memory",
            self.guard_answers.clone(),
        );
        registry.register(
            "witness_restore_guard_sources",
            "Whom the restore guard asks besides logs that show their own checkpoints; 0 is off",
            self.guard_sources.clone(),
        );
        self.guard_lag(&Lag::default());
        registry.register(
            "witness_restore_guard_lag",
            "By how many leaves others were ahead at most in the last pass over all logs",
            self.guard_lag.clone(),
        );
        registry.register(
            "witness_logs_held",
            "Logs for which nothing is signed until the operator decides",
            self.logs_held.clone(),
        );
        registry.register(
            "witness_holds_not_durable",
            "Logs that are held in memory only: their holds cannot be written",
            self.holds_not_durable.clone(),
        );
        registry.register(
            "witness_state_held",
            "Whether the state says of itself that it is a copy, and holds logs for that",
            self.state_held.clone(),
        );
        registry.register(
            "witness_state_marks_failed",
            "Whether the names that say how far the state went cannot be made",
            self.state_marks_failed.clone(),
        );
    }

    fn register_evidence(&self, registry: &mut Registry) {
        for kind in EvidenceKind::ALL {
            for outcome in EVIDENCE_OUTCOMES {
                let label = EvidenceLabel {
                    kind: kind.name(),
                    outcome,
                };
                drop(self.evidence.get_or_create(&label));
            }
        }
        registry.register(
            "witness_evidence",
            "Contradictions that were proven, by kind and what became of the evidence",
            self.evidence.clone(),
        );
        registry.register(
            "witness_evidence_kept",
            "Files of evidence that are kept",
            self.evidence_kept.clone(),
        );
        registry.register(
            "witness_evidence_not_written",
            "Files of evidence that the disk did not take",
            self.evidence_not_written.clone(),
        );
        registry.register(
            "witness_evidence_set_aside",
            "Files in the folder of evidence that are none, or cannot be read",
            self.evidence_aside.clone(),
        );
        registry.register(
            "witness_logs_convicted",
            "Logs that are not cosigned any more, for good, since evidence convicts them",
            self.logs_convicted.clone(),
        );
        registry.register(
            "witness_convicted",
            "Whether evidence convicts a cosigner key of this witness: it signs nothing then",
            self.convicted.clone(),
        );
    }

    fn register_gossip(&self, registry: &mut Registry) {
        for alarm in ALARMS {
            drop(self.alarms.get_or_create(&AlarmLabel { alarm }));
        }
        registry.register(
            "witness_alarms",
            "Alarms of gossip that are raised, by kind",
            self.alarms.clone(),
        );
        for reason in ALARM_LOSSES {
            drop(self.alarms_lost.get_or_create(&LossLabel { reason }));
        }
        registry.register(
            "witness_alarms_waiting",
            "Alarms that the webhook has not taken yet",
            self.alarms_waiting.clone(),
        );
        registry.register(
            "witness_alarms_lost",
            "Alarms that were given up, by reason",
            self.alarms_lost.clone(),
        );
        registry.register(
            "witness_bastion_connected",
            "Whether there is a connection to the bastion, where one is configured",
            self.bastion_connected.clone(),
        );
        registry.register(
            "witness_passive_reads",
            "What those who do not gossip were asked for, by outcome",
            self.passive_reads.clone(),
        );
        registry.register(
            "witness_distributor_puts",
            "Heads that distributors were brought, by outcome",
            self.distributor_puts.clone(),
        );
        registry.register(
            "witness_distributor_waiting",
            "Logs whose newest cosigned head a distributor was not brought yet",
            self.distributor_waiting.clone(),
        );
    }

    /// Whether there is a connection to the bastion.
    pub(crate) fn behind_bastion(&self, connected: bool) {
        self.bastion_connected.set(i64::from(connected));
    }

    /// How many alarms wait for the webhook.
    pub(crate) fn alarms_waiting(&self, waiting: usize) {
        let waiting = i64::try_from(waiting).unwrap_or(i64::MAX);
        self.alarms_waiting.set(waiting);
    }

    /// An alarm was given up.
    pub(crate) fn alarm_lost(&self, reason: &'static str) {
        self.alarms_lost.get_or_create(&LossLabel { reason }).inc();
    }

    /// Somebody who does not gossip was looked at.
    pub(crate) fn passive_read(&self, outcome: &'static str) {
        let reads = self.passive_reads.get_or_create(&PlaceOutcome { outcome });
        reads.inc();
    }

    /// A distributor was brought a head.
    pub(crate) fn distributor_put(&self, outcome: &'static str) {
        let puts = self
            .distributor_puts
            .get_or_create(&PlaceOutcome { outcome });
        puts.inc();
    }

    /// How many heads wait for a distributor.
    pub(crate) fn distributor_waiting(&self, url: &str, waiting: usize) {
        let distributor = url.to_owned();
        let gauge = self
            .distributor_waiting
            .get_or_create(&DistributorLabel { distributor });
        gauge.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// An alarm of gossip began or ended.
    pub(crate) fn alarm(&self, alarm: &'static str, raised: bool) {
        let alarms = self.alarms.get_or_create(&AlarmLabel { alarm });
        if raised {
            alarms.inc();
        } else {
            alarms.dec();
        }
    }

    /// Counts a contradiction that was proven.
    pub(crate) fn evidence_found(&self, kind: EvidenceKind, outcome: evidence::Outcome) {
        let outcome = match outcome {
            evidence::Outcome::Kept => "kept",
            evidence::Outcome::Merged => "merged",
            evidence::Outcome::Beside => "beside",
            evidence::Outcome::Known => "known",
            evidence::Outcome::Counted => "counted",
            evidence::Outcome::NotWritten => "not_written",
        };
        let kind = kind.name();
        let label = EvidenceLabel { kind, outcome };
        self.evidence.get_or_create(&label).inc();
    }

    /// How much evidence there is, how many logs it stopped, and whether it stopped us.
    pub(crate) fn evidence_kept(&self, counts: evidence::Counts, logs: usize, ours: bool) {
        let count = |files: usize| i64::try_from(files).unwrap_or(i64::MAX);
        self.evidence_kept.set(count(counts.kept));
        self.evidence_not_written.set(count(counts.unwritten));
        self.evidence_aside.set(count(counts.aside));
        self.logs_convicted.set(count(logs));
        self.convicted.set(i64::from(ours));
    }

    /// Whom the restore guard asks.
    pub(crate) fn guard_sources(&self, sources: usize) {
        let sources = i64::try_from(sources).unwrap_or(i64::MAX);
        self.guard_sources.set(sources);
    }

    /// By how much others were ahead in a pass of the restore guard.
    pub(crate) fn guard_lag(&self, lag: &Lag) {
        for (source, leaves) in [("peer", lag.peer), ("log", lag.log)] {
            let label = SourceLabel { source };
            let leaves = i64::try_from(leaves).unwrap_or(i64::MAX);
            self.guard_lag.get_or_create(&label).set(leaves);
        }
    }

    /// Counts what somebody showed of a log.
    pub(crate) fn guard_answer(&self, source: &'static str, answer: GuardAnswer) {
        let label = GuardLabel { source, answer };
        self.guard_answers.get_or_create(&label).inc();
    }

    /// Metrics that nobody scrapes.
    pub fn unregistered() -> Self {
        Self {
            outcomes: Family::default(),
            healthy: Gauge::default(),
            cosigned: Gauge::default(),
            commit_seconds: Histogram::new(COMMIT_SECONDS),
            commit_swaps: Histogram::new(COMMIT_SWAPS),
            origins: Gauge::default(),
            origins_unlisted: Gauge::default(),
            logs_active: Gauge::default(),
            logs_disabled: Gauge::default(),
            logs_too_long: Gauge::default(),
            heads_checked: Counter::default(),
            heads_bad: Gauge::default(),
            heads_passed: Gauge::default(),
            log_list_errors: Counter::default(),
            list_pulls: Family::default(),
            list_pulled: Family::default(),
            list_oddities: Family::default(),
            guard_answers: Family::default(),
            guard_sources: Gauge::default(),
            guard_lag: Family::default(),
            logs_held: Gauge::default(),
            holds_not_durable: Gauge::default(),
            state_held: Gauge::default(),
            state_marks_failed: Gauge::default(),
            evidence: Family::default(),
            evidence_kept: Gauge::default(),
            evidence_not_written: Gauge::default(),
            evidence_aside: Gauge::default(),
            logs_convicted: Gauge::default(),
            convicted: Gauge::default(),
            alarms: Family::default(),
            alarms_waiting: Gauge::default(),
            alarms_lost: Family::default(),
            bastion_connected: Gauge::default(),
            passive_reads: Family::default(),
            distributor_puts: Family::default(),
            distributor_waiting: Family::default(),
        }
    }

    /// A call that is counted once, whatever becomes of it.
    pub(crate) fn call(&self, call: Call) -> Counted {
        Counted {
            metrics: self.clone(),
            call,
            outcome: Outcome::Abandoned,
        }
    }

    /// Counts a request's outcome.
    fn outcome(&self, call: Call, outcome: Outcome) {
        self.outcomes
            .get_or_create(&OutcomeLabel { call, outcome })
            .inc();
    }

    /// How often this outcome was counted.
    pub fn outcome_count(&self, call: Call, outcome: Outcome) -> u64 {
        self.outcomes
            .get(&OutcomeLabel { call, outcome })
            .map_or(0, |counter| counter.get())
    }

    /// Swaps became durable; `newest` is the latest time in them.
    pub(crate) fn committed(&self, swaps: usize, newest: u64, took: Duration) {
        let newest = i64::try_from(newest).unwrap_or(i64::MAX);
        self.cosigned.set(newest.max(self.cosigned.get()));
        self.commit_seconds.observe(took.as_secs_f64());
        self.commit_swaps
            .observe(f64::from(u32::try_from(swaps).unwrap_or(u32::MAX)));
    }

    /// Stored heads were verified again, at this time.
    pub(crate) fn heads_checked(&self, step: &Step, now: u64) {
        self.heads_checked
            .inc_by(u64::try_from(step.checked).unwrap_or(u64::MAX));
        if step.pass_ended {
            self.heads_passed
                .set(i64::try_from(now).unwrap_or(i64::MAX));
        }
    }

    /// What is told as it is at the moment of a scrape.
    pub(crate) fn scraped(&self, healthy: bool, heads_bad: u64, holds_not_durable: usize) {
        let holds = i64::try_from(holds_not_durable).unwrap_or(i64::MAX);
        self.holds_not_durable.set(holds);
        self.healthy.set(i64::from(healthy));
        self.heads_bad
            .set(i64::try_from(heads_bad).unwrap_or(i64::MAX));
    }

    /// What the state says of itself, at the moment of a scrape.
    pub(crate) fn scraped_state(&self, held: bool, marks_failed: bool) {
        self.state_held.set(i64::from(held));
        self.state_marks_failed.set(i64::from(marks_failed));
    }

    /// A list was pulled, with these oddities, at this time.
    pub(crate) fn list_pulled(&self, list: &str, now: u64, oddities: &[(&'static str, usize)]) {
        self.list_pull(list, true);
        let label = ListLabel {
            list: list.to_owned(),
        };
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        self.list_pulled.get_or_create(&label).set(now);
        let label = |kind| OddityLabel {
            list: list.to_owned(),
            kind,
        };
        // Spec: WIT-102. All kinds, each time: what was odd once and is no more is 0.
        for kind in ODDITIES {
            let met = oddities.iter().find(|(met, _)| *met == kind);
            let count = met.map_or(0, |(_, count)| *count);
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.list_oddities.get_or_create(&label(kind)).set(count);
        }
    }

    /// A pull of a list failed, or (`ok`) did not.
    pub(crate) fn list_pull(&self, list: &str, ok: bool) {
        let list = list.to_owned();
        self.list_pulls
            .get_or_create(&PullLabel {
                list,
                result: if ok { "ok" } else { "failed" },
            })
            .inc();
    }

    pub(crate) fn log_list_failed(&self) {
        self.log_list_errors.inc();
    }
}

/// Counts a call when it is dropped: as abandoned, unless something became of it.
#[derive(Debug)]
pub(crate) struct Counted {
    metrics: Metrics,
    call: Call,
    outcome: Outcome,
}

impl Counted {
    pub(crate) fn became(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.outcome(self.call, self.outcome);
    }
}

/// A call of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Call {
    /// add-checkpoint.
    AddCheckpoint,
    /// sign-subtree.
    SignSubtree,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// Cosigned; the log grew, or is new.
    Grown,
    /// Cosigned; the same tree head at a new time.
    Refreshed,
    /// Cosigned: a subtree.
    Signed,
    /// The body is malformed, or one of its numbers is.
    Malformed,
    /// The log is unknown or disabled.
    UnknownLog,
    /// The signatures do not suffice.
    Unsigned,
    /// The old size is not the stored one.
    Conflict,
    /// The proof does not verify.
    Inconsistent,
    /// Two roots for one size, both signed by the log.
    Fork,
    /// The log is held until the operator decides, or not yet known to be as we remember it.
    Held,
    /// The log is convicted, or a key of ours.
    Convicted,
    /// The clock is not fit to sign with.
    Clock,
    /// More requests than the log, or the client, may make.
    OverQuota,
    /// Too much waits already.
    Busy,
    /// What is stored for the log is not what was cosigned.
    Damaged,
    /// We cosigned what we do not remember: the state was set back, or somebody has our key.
    RolledBack,
    /// The client went away, or the request's time was over, before there was an answer.
    Abandoned,
    /// We failed: a key, the disk.
    Failed,
}

/// The alarms of gossip.
const ALARMS: [&str; 14] = [
    "proven",
    "undetermined",
    "suspect",
    "peer-silent",
    "isolated",
    "peer-misbehaves",
    "peer-clock",
    "own-clock",
    "agreement-lag",
    "stalled",
    "not-stored",
    "heads-not-stored",
    "passive-silent",
    "distributor",
];

/// Why an alarm is given up: too many wait, it is too old, too many begin at once.
const ALARM_LOSSES: [&str; 4] = ["full", "old", "burst", "exec"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LossLabel {
    reason: &'static str,
}

/// What came of asking, or bringing; the outcomes are a closed set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PlaceOutcome {
    outcome: &'static str,
}

/// A distributor by its URL in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DistributorLabel {
    distributor: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AlarmLabel {
    alarm: &'static str,
}

/// What can become of each call.
const OUTCOMES: [(Call, &[Outcome]); 2] = [
    (
        Call::AddCheckpoint,
        &[
            Outcome::Grown,
            Outcome::Refreshed,
            Outcome::Malformed,
            Outcome::UnknownLog,
            Outcome::Unsigned,
            Outcome::Conflict,
            Outcome::Inconsistent,
            Outcome::Fork,
            Outcome::Held,
            Outcome::Convicted,
            Outcome::Clock,
            Outcome::OverQuota,
            Outcome::Busy,
            Outcome::Damaged,
            Outcome::Abandoned,
            Outcome::Failed,
        ],
    ),
    (
        Call::SignSubtree,
        &[
            Outcome::Signed,
            Outcome::Malformed,
            Outcome::UnknownLog,
            Outcome::Unsigned,
            Outcome::Inconsistent,
            Outcome::Held,
            Outcome::Convicted,
            Outcome::Busy,
            Outcome::Damaged,
            Outcome::RolledBack,
            Outcome::Abandoned,
            Outcome::Failed,
        ],
    ),
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    call: Call,
    outcome: Outcome,
}

/// The configuration bounds how many lists there are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListLabel {
    list: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PullLabel {
    list: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OddityLabel {
    list: String,
    kind: &'static str,
}

/// What can be odd about a list: [`jurat_proto::log_list::AnomalyKind::name`],
/// [`jurat_proto::log_list::DisagreementKind::name`], and what [`crate::lists`] adds.
const ODDITIES: [&str; 19] = [
    "unknown_keyword",
    "no_entry",
    "not_text",
    "order",
    "incomplete",
    "cut_short",
    "key",
    "key_type",
    "origin",
    "qpd",
    "too_long",
    "twice",
    "twice_other_key",
    "other_key",
    "other_qpd",
    "disabled_here",
    "more",
    "origin_too_long",
    "no_room",
];

/// From a fast disk's cache to one that is in trouble.
const COMMIT_SECONDS: [f64; 12] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5,
];

const COMMIT_SWAPS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GuardLabel {
    source: &'static str,
    answer: GuardAnswer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EvidenceLabel {
    kind: &'static str,
    outcome: &'static str,
}

const EVIDENCE_OUTCOMES: [&str; 6] = [
    "kept",
    "merged",
    "beside",
    "known",
    "counted",
    "not_written",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: &'static str,
}

/// What a source showed of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum GuardAnswer {
    /// Nothing that we do not know.
    Known,
    /// A larger tree than we cosigned, without a cosignature of ours.
    Ahead,
    /// A cosignature of ours that we do not remember.
    Ours,
    /// Another tree of the size that we remember.
    Fork,
    /// Nothing that counts: unsigned, of another log, or no checkpoint.
    Unusable,
    /// No answer.
    Unreachable,
}

const GUARD_SOURCES: [&str; 3] = ["own", "peer", "log"];

const GUARD_ANSWERS: [GuardAnswer; 6] = [
    GuardAnswer::Known,
    GuardAnswer::Ahead,
    GuardAnswer::Ours,
    GuardAnswer::Fork,
    GuardAnswer::Unusable,
    GuardAnswer::Unreachable,
];

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: WIT-102
    #[test]
    fn what_is_odd_no_more_is_zero_and_each_kind_is_there() {
        let metrics = Metrics::unregistered();
        let at = |kind| {
            let label = OddityLabel {
                list: "l".to_owned(),
                kind,
            };
            metrics.list_oddities.get(&label).map(|gauge| gauge.get())
        };
        metrics.list_pulled("l", 1, &[("other_key", 3), ("key", 1)]);
        assert_eq!((at("other_key"), at("key")), (Some(3), Some(1)));
        metrics.list_pulled("l", 2, &[("key", 2)]);
        assert_eq!((at("other_key"), at("key")), (Some(0), Some(2)));
        assert!(ODDITIES.into_iter().all(|kind| at(kind).is_some()));
    }
}
