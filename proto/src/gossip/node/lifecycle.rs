//! What time does: rounds, the phases of heads that are not resolved, whom to ask, and alarms.
//!
//! ```text
//! New ── G rounds ──► Pending ── D1 ──► Suspect (hold) ── D2 ──► Unprovable (told in public)
//!  └──────────────────────┴── an opening ──┴───────────────────────┘
//! ```

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::directory::Config;
use super::log::{Attempts, Held};
use super::message::{Action, Alarm, Failure, Phase, Question};
use super::peer::{Peer, Reading};
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
/// How often is drawn until enough are found that do not fail.
const DRAWS_MAX: u64 = 32;
/// What part of a round a tick, and what it brings about, is late at most.
const TICKS_PART: u32 = 8;
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
            if let Some((_, question, asked)) = busy {
                self.unanswered(step, &name, (question, asked), Failure::Unreachable);
            }
        }
        self.listen(step);
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
            self.ripen(step, key);
        }
        if step.now >= self.round_at {
            self.round(step, &unsettled);
        }
    }

    /// Reads tiles for heads that their log had the time to bring, and did not, and that no peer
    /// opened who was asked; and asks the next peer.
    // Spec: GSP-115, GSP-170, GSP-200
    pub(super) fn ripen(&mut self, step: &mut Step<'_>, key: &Hash) {
        let first = self.asked_first();
        let Some(log) = self.logs.get_mut(key) else {
            return;
        };
        let mut is_ripe = false;
        for open in &mut log.open {
            is_ripe |= open.ripens(step.now, first);
            is_ripe |= open.read_from.is_some() && open.may_ask(first);
        }
        if is_ripe {
            self.attempt(step, key);
        }
    }

    fn round(&mut self, step: &mut Step<'_>, unsettled: &[Hash]) {
        self.round_at = step.now.after(self.config.round);
        let percent = u64::from(self.config.jitter_percent.min(100));
        let round = u64::try_from(self.config.round.as_millis()).unwrap_or(u64::MAX);
        let most = round.saturating_mul(percent) / 100;
        // Spec: GSP-112. A round is never longer than it is called.
        let shift = step.dice.below(most.saturating_add(1));
        self.round_at.0 = self.round_at.0.saturating_sub(shift);

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
        for (name, reading) in chosen {
            let nonce = step.dice.random();
            let Config {
                pages_per_round,
                notes_per_round,
                at_once,
                ..
            } = self.config;
            if let Some(peer) = self.peer_mut(&name) {
                if peer.is_pausing(step.now) || peer.is_exchanging() {
                    continue;
                }
                peer.pages_left = pages_per_round;
                peer.notes_left = notes_per_round;
                peer.at_once_left = at_once;
                peer.reading = reading;
                peer.ask_round(Question::State { nonce });
            }
        }
        self.look_around(step);
    }

    /// Has the feed of one peer, at random, read from its beginning, when it is time. Not one whose
    /// page is on its way: that was asked for with another `since`, and its peer would be told as
    /// one that misbehaves.
    // Spec: GSP-35, GSP-131
    fn reread_one(&mut self, step: &mut Step<'_>, chosen: &BTreeMap<KeyName, Reading>) {
        let whole = chosen.iter();
        let whole = whole.filter(|(_, reading)| **reading == Reading::Whole);
        let is_free = |name: &&KeyName| {
            let peer = self.peers.get(*name);
            peer.is_none_or(|peer| !peer.is_pausing(step.now) && !peer.is_exchanging())
        };
        let whole: Vec<&KeyName> = whole.map(|(name, _)| name).filter(is_free).collect();
        if step.now < self.reread_at || whole.is_empty() {
            return;
        }
        self.reread_at = step.now.after(self.config.reread_every);
        let count = u64::try_from(whole.len()).unwrap_or(u64::MAX);
        let place = usize::try_from(step.dice.below(count)).unwrap_or(0);
        if let Some(peer) = whole.get(place).and_then(|name| self.peer_mut(name)) {
            peer.reread = Some(0);
        }
    }

    /// Whom to ask in this round: all, when they are few. Else some that change by the hour, one
    /// that nobody can foretell, and some that failed. A fixed set would leave whoever is
    /// surrounded by liars alone for ever. Of those that are here by chance less is read.
    // Spec: GSP-35, GSP-83
    fn chosen(&self, step: &mut Step<'_>) -> BTreeMap<KeyName, Reading> {
        let own = &self.own.name;
        if self.roster.count_but(&[own]) <= self.config.ask_all_up_to {
            let all = self.roster.all_but(own);
            return all.map(|name| (name.clone(), Reading::Whole)).collect();
        }
        let is_failing = |name: &KeyName| self.peers.get(name).is_some_and(Peer::is_failing);
        let hour = step.now.0 / ROTATION_MS;
        let mut chosen: BTreeMap<KeyName, Reading> = BTreeMap::new();
        // The next stands in for who fails.
        for draw in 0..DRAWS_MAX {
            if chosen.len() >= self.config.ask.saturating_sub(1) {
                break;
            }
            let mut message = Vec::from(self.config.secret.0);
            message.extend(hour.to_be_bytes());
            message.extend(draw.to_be_bytes());
            let hash = sha256(&message);
            let (number, _) = hash.as_bytes().split_at(8);
            let number = u64::from_be_bytes(number.try_into().unwrap_or_default());
            let name = self.roster.one_but(&[own], number);
            let name = name.filter(|name| !is_failing(name)).cloned();
            chosen.extend(name.map(|name| (name, Reading::Whole)));
        }
        let mut by_chance = 0;
        for _ in 0..DRAWS_MAX {
            if by_chance > self.config.ask_evidence {
                break;
            }
            let Some(name) = self.roster.one_but(&[own], step.dice.roll()) else {
                break;
            };
            if !is_failing(name) && !chosen.contains_key(name) {
                let reading = match by_chance {
                    0 => Reading::Newest,
                    _ => Reading::Evidence,
                };
                chosen.insert(name.clone(), reading);
                by_chance += 1;
            }
        }
        let failing = self.peers.iter();
        let failing = failing.filter(|(_, peer)| peer.is_failing() && !peer.is_pausing(step.now));
        let mut failing: Vec<&KeyName> = failing.map(|(name, _)| name).collect();
        for _ in 0..FAILING_ASKED_MAX.min(failing.len()) {
            let count = u64::try_from(failing.len()).unwrap_or(u64::MAX);
            let place = usize::try_from(step.dice.below(count)).unwrap_or(0);
            let name = failing.swap_remove(place);
            chosen.entry(name.clone()).or_insert(Reading::Newest);
        }
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
            if let Some(peer) = self.roster.peer(name) {
                let largest = by_operator.entry(&peer.operator).or_insert(*size);
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

    /// Who is silent, and whether anybody can be heard. With each tick, and a round too early: so
    /// long a silence may have lasted before a question showed it, and the alarm is to be there
    /// when the time is over.
    // Spec: GSP-54, GSP-113
    fn listen(&mut self, step: &mut Step<'_>) {
        let Config {
            round,
            peer_silence,
            ..
        } = self.config;
        let late = round / TICKS_PART;
        let unseen = round.saturating_add(late).min(peer_silence / 2);
        let patience = peer_silence.saturating_sub(unseen);
        let silent = self.peers.iter().filter(|(_, peer)| {
            let mut since = peer.failing_since.iter();
            since.any(|since| step.now.since(*since) >= patience)
        });
        let silent: Vec<KeyName> = silent.map(|(name, _)| name.clone()).collect();
        let is_failing = self.peers.values().any(Peer::is_failing);
        let count = self.roster.count_but(&[&self.own.name]);
        // Of many peers few are asked in a round, and it takes hours until most were.
        let nobody = peer_silence.saturating_sub(late);
        let nobody = nobody.max(round.saturating_mul(2));
        let unheard = is_failing && step.now.since(self.heard) >= nobody;
        let isolated = unheard || silent.len().saturating_mul(2) > count;
        for peer in silent {
            self.alarm(step, Alarm::PeerSilent { peer }, true);
        }
        self.alarm(step, Alarm::Isolated, isolated);
    }

    /// Alarms about what does not happen.
    // Spec: GSP-54
    fn look_around(&mut self, step: &mut Step<'_>) {
        let now = step.now;
        let mut alarms: Vec<(Alarm, bool)> = Vec::new();
        let heard = self.peers.values().filter(|peer| !peer.is_failing());
        let mut offsets: Vec<i64> = heard.filter_map(|peer| peer.clock_offset).collect();
        let count = self.roster.count_but(&[&self.own.name]);
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
            let lag = lag && log.own.is_some() && count > 0;
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

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec;
    use core::time::Duration;

    use super::super::{AskId, Dice, Directory, Event, Moment, Own, PeerSettings, Strict};
    use super::*;
    use crate::gossip::Random;

    struct Even;

    impl Dice for Even {
        fn roll(&mut self) -> u64 {
            0
        }
    }

    fn directory(asked: bool) -> (KeyName, Directory) {
        let [own, other] = ["a.example", "b.example"].map(|name| KeyName::parse(name).unwrap());
        let directory = Directory {
            own: Own {
                name: own,
                cosigners: vec![],
                gossip: vec![],
            },
            logs: vec![],
            peers: vec![PeerSettings {
                name: other.clone(),
                gossip: vec![],
                cosigners: vec![],
                operator: String::new(),
                asked,
            }],
        };
        (other, directory)
    }

    // Spec: GSP-133
    #[test]
    fn a_peer_that_cannot_be_asked_is_not_and_its_silence_is_no_alarm() {
        let (other, asked) = directory(true);
        let config = Config {
            round: Duration::from_secs(1),
            peer_silence: Duration::from_secs(10),
            ..Config::new(Random([0; 16]))
        };
        let mut node = Node::new(config, asked, Random([1; 16]), Moment(0)).unwrap();
        let run = |node: &mut Node, seconds: core::ops::Range<u64>| {
            let ticks = seconds.map(|second| Moment(second * 1_000));
            ticks
                .flat_map(|now| node.step(Event::Tick, now, &mut Even, &Strict))
                .collect::<Vec<Action>>()
        };
        let asks = run(&mut node, 0..200);
        assert!(
            asks.iter()
                .any(|action| matches!(action, Action::Ask { .. }))
        );
        let silent = Alarm::PeerSilent { peer: other };
        assert!(node.alarms().any(|alarm| *alarm == silent));
        // It turns out that it cannot be reached: the alarm about it is over, and it stays a peer.
        let changed = Event::DirectoryChanged(Box::new(directory(false).1));
        drop(node.step(changed, Moment(200_000), &mut Even, &Strict));
        let later = run(&mut node, 201..400);
        let quiet = later
            .iter()
            .all(|action| matches!(action, Action::Alarm { raised: false, .. }));
        assert!(quiet, "{later:?}");
        assert_eq!(node.alarms().count(), 0);
        assert!(node.roster.peer(&directory(false).0).is_some());
    }

    // Spec: GSP-131
    #[test]
    fn a_feed_is_not_begun_anew_while_a_page_of_it_is_on_its_way() {
        let (other, directory) = directory(true);
        let epoch = Random([1; 16]);
        let config = Config {
            round: Duration::from_secs(1),
            jitter_percent: 0,
            reread_every: Duration::ZERO,
            ..Config::new(Random([0; 16]))
        };
        let mut node = Node::new(config, directory, epoch, Moment(0)).unwrap();
        let asked = Question::Heads { epoch, since: 7 };
        node.peer_mut(&other).unwrap().busy = Some((AskId(1), asked, Moment(0)));
        drop(node.step(Event::Tick, Moment(1_000), &mut Even, &Strict));
        assert_eq!(node.peers[&other].reread, None);
        node.peer_mut(&other).unwrap().busy = None;
        drop(node.step(Event::Tick, Moment(3_000), &mut Even, &Strict));
        assert_eq!(node.peers[&other].reread, Some(0), "it is its turn later");
    }
}
