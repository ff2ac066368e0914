//! What time does: rounds, the phases of heads that are not resolved, whom to ask, and alarms.
//!
//! ```text
//! New ── G rounds ──► Pending ── D1 ──► Suspect (hold) ── D2 ──► Unprovable (told in public)
//!  └──────────────────────┴── an opening ──┴───────────────────────┘
//! ```

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::log::{Attempts, Held};
use super::message::{Action, Alarm, Failure, Phase, Question};
use super::{Node, Step, origin_of};
use crate::gossip::Suspicion;
use crate::hash::{Hash, sha256};
use crate::key::KeyName;
use crate::tree::TreeHead;

/// How many failing peers are asked besides the chosen ones, so that silence is seen.
const FAILING_ASKED_MAX: usize = 2;
/// How many peers' clocks it takes to doubt one's own: of three, one may lie.
const CLOCKS_MIN: usize = 3;
/// How many cadences a log may miss.
const CADENCES_MAX: u32 = 3;
/// The chosen peers change this often.
const ROTATION_MS: u64 = 3_600_000;

impl Node {
    pub(super) fn tick(&mut self, step: &mut Step<'_>) {
        let timeout = self.config.answer_timeout;
        let late = self.peers.iter().filter(|(_, peer)| {
            let busy = peer.busy.as_ref();
            busy.is_some_and(|(_, _, since)| step.now.since(*since) > timeout)
        });
        let late: Vec<KeyName> = late.map(|(name, _)| name.clone()).collect();
        for name in late {
            let busy = self.peers.get_mut(&name).and_then(|peer| peer.busy.take());
            if let Some((_, question, _)) = busy {
                self.mail_again(&name, question, Failure::Unreachable);
            }
            self.failed(step, &name, Failure::Unreachable);
        }
        let patience = timeout.saturating_mul(2);
        let stuck = self.reading.iter();
        let stuck = stuck.filter(|(_, (_, _, since))| step.now.since(*since) > patience);
        let stuck: Vec<_> = stuck.map(|(key, reading)| (*key, *reading)).collect();
        for (key, (old, of, _)) in stuck {
            if let Some(origin) = self.logs.get(&key).map(origin_of) {
                self.tiles_read(step, &origin, (old, of), None);
            }
        }
        let unsettled: Vec<Hash> = self.unsettled.iter().copied().collect();
        for key in &unsettled {
            self.advance(step, key);
        }
        if step.now >= self.round_at {
            self.round(step, &unsettled);
        }
    }

    fn round(&mut self, step: &mut Step<'_>, unsettled: &[Hash]) {
        self.round_at = step.now.after(self.config.round);
        let percent = u64::from(self.config.jitter_percent.min(100));
        let round = u64::try_from(self.config.round.as_millis()).unwrap_or(u64::MAX);
        let most = round.saturating_mul(percent) / 100;
        // From one jitter too early to one too late.
        let shift = step.dice.below(most.saturating_mul(2).saturating_add(1));
        self.round_at.0 = self.round_at.0.saturating_add(shift).saturating_sub(most);

        for log in self.logs.values_mut() {
            log.new_in_round.clear();
        }
        for key in unsettled {
            if let Some(log) = self.logs.get_mut(key) {
                for open in &mut log.open {
                    open.rounds = open.rounds.saturating_add(1);
                    open.left = Attempts::ALL;
                }
            }
            self.advance(step, key);
            self.attempt(step, key);
        }
        self.store_again(step);
        let chosen = self.chosen(step);
        self.reread_one(step, &chosen);
        for name in chosen {
            let nonce = step.dice.random();
            if let Some(peer) = self.peers.get_mut(&name) {
                if peer.is_pausing(step.now) || peer.is_exchanging() {
                    continue;
                }
                peer.pages_left = self.config.pages_per_round;
                peer.notes_left = self.config.notes_per_round;
                peer.ask_round(Question::State { nonce });
            }
        }
        self.look_around(step);
    }

    /// Has the feed of one peer, at random, read from its beginning, when it is time.
    // Spec: GSP-35
    fn reread_one(&mut self, step: &mut Step<'_>, chosen: &BTreeSet<KeyName>) {
        if step.now < self.reread_at || chosen.is_empty() {
            return;
        }
        self.reread_at = step.now.after(self.config.reread_every);
        let count = u64::try_from(chosen.len()).unwrap_or(u64::MAX);
        let place = usize::try_from(step.dice.below(count)).unwrap_or(0);
        let name = chosen.iter().nth(place);
        if let Some(peer) = name.and_then(|name| self.peers.get_mut(name)) {
            peer.reread = Some(0);
        }
    }

    /// Whom to ask in this round: all, when they are few. Else some that change by the hour, one
    /// that nobody can foretell, and some that failed. A fixed set would leave whoever is
    /// surrounded by liars alone for ever.
    // Spec: GSP-35
    fn chosen(&self, step: &mut Step<'_>) -> BTreeSet<KeyName> {
        if self.peers.len() <= self.config.ask_all_up_to {
            return self.peers.keys().cloned().collect();
        }
        let hour = step.now.0 / ROTATION_MS;
        let mut ranked: Vec<(Hash, &KeyName)> = self
            .peers
            .keys()
            .map(|name| {
                let mut message = Vec::from(self.config.secret.0);
                message.extend(hour.to_be_bytes());
                message.extend(name.as_str().as_bytes());
                (sha256(&message), name)
            })
            .collect();
        ranked.sort_unstable();
        let rotating = ranked.iter().take(self.config.ask.saturating_sub(1));
        let mut chosen: BTreeSet<KeyName> = rotating.map(|(_, name)| (*name).clone()).collect();
        let count = u64::try_from(ranked.len()).unwrap_or(u64::MAX);
        let place = usize::try_from(step.dice.below(count)).unwrap_or(0);
        chosen.extend(ranked.get(place).map(|(_, name)| (*name).clone()));
        let failing = self.peers.iter();
        let failing = failing.filter(|(_, peer)| peer.is_due_again(step.now));
        chosen.extend(
            failing
                .take(FAILING_ASKED_MAX)
                .map(|(name, _)| name.clone()),
        );
        chosen
    }

    /// Lets the heads of a log that are not resolved grow older.
    // Spec: GSP-40, GSP-41, GSP-43
    fn advance(&mut self, step: &mut Step<'_>, key: &Hash) {
        let name = self.own.name.clone();
        let Some(log) = self.logs.get_mut(key) else {
            return;
        };
        if log.is_convicted() {
            return;
        }
        let held = log.reference().map(Held::head);
        let origin = origin_of(log);
        let pruned_below = log.settings.pruned_below;
        for open in &mut log.open {
            loop {
                let elapsed = step.now.since(open.since);
                let next = match open.phase {
                    Phase::New if open.rounds >= self.config.grace_rounds => Phase::Pending,
                    Phase::Pending
                        if open.head().size >= pruned_below
                            && elapsed >= self.config.suspect_after
                            && open.attempts > 0 =>
                    {
                        Phase::Suspect
                    }
                    Phase::Suspect if elapsed >= self.config.unprovable_after => Phase::Unprovable,
                    _ => break,
                };
                open.phase = next;
                open.since = step.now;
                open.since_wall = step.wall;
                open.rounds = 0;
                step.dirty.insert(*key);
                if next == Phase::Unprovable
                    && let Some(held) = held
                {
                    let suspicion = Suspicion {
                        name: name.clone(),
                        time: step.wall.seconds(),
                        origin: origin.clone(),
                        held,
                        suspect: open.head(),
                        seen: open.seen.seconds(),
                        tried: open.tried,
                    };
                    step.actions.push(Action::Publish(Box::new(suspicion)));
                }
            }
        }
    }

    /// The largest head that enough operators hold as well.
    // Spec: GSP-53
    pub(super) fn confirm(&mut self, step: &mut Step<'_>, key: &Hash) {
        let quorum = self.config.quorum;
        let Some(log) = self.logs.get_mut(key) else {
            return;
        };
        let mut by_operator = BTreeMap::new();
        for (name, size) in &log.agreed {
            if let Some(peer) = self.peers.get(name) {
                let largest = by_operator.entry(&peer.settings.operator).or_insert(*size);
                *largest = (*largest).max(*size);
            }
        }
        let mut sizes: Vec<_> = by_operator.into_values().collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let size = sizes.get(quorum.saturating_sub(1)).copied();
        if let Some(size) = size
            && let Some(root_hash) = log.known_root(size)
        {
            let head = TreeHead { size, root_hash };
            if log.confirmed.is_none_or(|(before, _)| before.size < size) {
                log.confirmed = Some((head, step.wall));
            }
        }
        let confirmed = log.confirmed.map(|(head, _)| head.size);
        if log.own.as_ref().map(|own| own.head().size) <= confirmed {
            log.unconfirmed_since = None;
        }
    }

    /// Alarms about what does not happen.
    // Spec: GSP-54
    fn look_around(&mut self, step: &mut Step<'_>) {
        let now = step.now;
        let mut alarms: Vec<(Alarm, bool)> = Vec::new();
        let mut silent = 0_usize;
        let mut offsets = Vec::new();
        for (name, peer) in &self.peers {
            let is_silent = peer
                .failing_since
                .is_some_and(|since| now.since(since) >= self.config.peer_silence);
            silent += usize::from(is_silent);
            let peer_name = name.clone();
            alarms.push((Alarm::PeerSilent { peer: peer_name }, is_silent));
            if peer.failing_since.is_none() {
                offsets.extend(peer.clock_offset);
            }
        }
        let isolated = !self.peers.is_empty() && silent.saturating_mul(2) > self.peers.len();
        alarms.push((Alarm::Isolated, isolated));
        offsets.sort_unstable();
        if let Some(median) = offsets.get(offsets.len() / 2)
            && offsets.len() >= CLOCKS_MIN
        {
            let skew_max = self.config.clock_skew.as_secs();
            alarms.push((Alarm::OwnClock, median.unsigned_abs() > skew_max));
            for (name, peer) in &self.peers {
                let off = peer.clock_offset.map(|offset| offset.abs_diff(*median));
                let peer = name.clone();
                alarms.push((Alarm::PeerClock { peer }, off > Some(skew_max)));
            }
        }
        for log in self.logs.values() {
            let lag = log
                .unconfirmed_since
                .is_some_and(|since| now.since(since) >= self.config.agreement_lag);
            let lag = lag && log.own.is_some() && !self.peers.is_empty();
            alarms.push((
                Alarm::AgreementLag {
                    origin: origin_of(log),
                },
                lag,
            ));
            if let Some(cadence) = log.settings.cadence {
                let late = now.since(log.grew) > cadence.saturating_mul(CADENCES_MAX);
                let origin = origin_of(log);
                alarms.push((Alarm::Stalled { origin }, late && log.own.is_some()));
            }
        }
        for (alarm, raised) in alarms {
            self.alarm(step, alarm, raised);
        }
    }
}
