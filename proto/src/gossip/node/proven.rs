//! Evidence: verified, latched, stored, and only then told.
//!
//! ```text
//! found ─► verified ─► latched (cosigning stops) ─► StoreEvidence ─► EvidenceStored ─► mail, list
//! ```

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::{Hash as _, Hasher};

use super::message::{Action, Alarm, Moment, Reply, RequestId};
use super::{Node, Step};
use crate::checkpoint::Origin;
use crate::evidence::{Evidence, Kind, LogFinding, NotProven, Verdict};
use crate::gossip::CatalogueEntry;
use crate::hash::{Hash, sha256};
use crate::key::{KeyId, KeyName};

/// How many who submitted one contradiction are told when it is durable; more are told at once
/// that it is not yet.
const WAITING_MAX: usize = 16;

/// How many further copies of one contradiction are kept that do not become one with the first.
const BESIDE_MAX: usize = 4;

/// Evidence that is held.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) evidence: Arc<Evidence>,
    verdict: Verdict,
    /// Copies that accuse whom it does not, and that do not become one with it: their texts are
    /// others, or their lines do not fit under one. With whether each was mailed.
    // Spec: GSP-117
    beside: Vec<(Arc<Evidence>, Verdict, bool)>,
    /// Its line in the list, once it is durable.
    pub(super) entry: Option<CatalogueEntry>,
    /// Whether this copy is durable.
    pub(super) stored: bool,
    /// How many copies are being stored; the last one is this.
    pub(super) outstanding: u32,
    /// One of those could not be.
    pub(super) spoiled: bool,
    /// It could not be stored, and was not since.
    pub(super) late: bool,
    /// Who waits until it is.
    pub(super) waiting: Vec<RequestId>,
    /// Who sent it, and needs no mail.
    pub(super) from: BTreeSet<KeyName>,
    pub(super) finder: Finder,
    pub(super) since: Moment,
}

impl Kept {
    /// For [`Node::fingerprint`].
    pub(super) fn hash_beside(&self, into: &mut impl Hasher) {
        self.beside.len().hash(into);
        for (evidence, _, mailed) in &self.beside {
            (evidence.to_bytes(), mailed).hash(into);
        }
    }
}

/// Who found evidence first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Finder {
    /// This witness: nobody else may know.
    Here,
    /// Somebody else, who tells others as well.
    Elsewhere,
}

/// What became of evidence.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// It is new, or proves more than what was held; it is being stored.
    New(Hash),
    /// It is held already.
    Known(Hash),
    /// Enough is held that convicts the same keys.
    Counted(Hash),
    /// It convicts nobody.
    Nothing(NotProven),
    /// A date decides whom it convicts.
    Undetermined(Hash),
}

impl Node {
    /// Takes evidence that was found here or sent by a peer.
    // Spec: GSP-44
    pub(super) fn found(
        &mut self,
        step: &mut Step<'_>,
        evidence: &Evidence,
        from: Option<&KeyName>,
    ) -> Found {
        // Every peer mails what every peer has: the same file again costs no signature.
        let id = evidence.id();
        if let Some(kept) = self.evidence.get_mut(&id)
            && (*kept.evidence == *evidence
                || kept.beside.iter().any(|(other, ..)| **other == *evidence))
        {
            kept.from.extend(from.cloned());
            return Found::Known(id);
        }
        let (smallest, verdict) = match step.verifier.evidence(evidence, &self.roster.keys) {
            Ok(proven) => proven,
            Err(reason) => return Found::Nothing(reason),
        };
        if !verdict.convicts() {
            if let Some(origin) = verdict.origin {
                self.alarm(step, Alarm::Undetermined { origin }, true);
            }
            return Found::Undetermined(id);
        }
        self.latch(step, &verdict);
        if let Some(kept) = self.evidence.get_mut(&id) {
            // Spec: GSP-45. Nobody shields a guilty witness by spreading a stripped copy first.
            let merged = kept.evidence.merged(&smallest, &self.roster.keys);
            if let Ok((_, both)) = &merged
                && (!both.accuses_all_of(&verdict) || !both.accuses_all_of(&kept.verdict))
            {
                return self.keep_beside(step, smallest, verdict);
            }
            return match merged {
                // Lines by keys that nobody here knows can be made by anybody: other ones are not
                // more, or each copy would be stored and mailed to everybody.
                Ok((merged, verdict))
                    if lines(&merged) > lines(&kept.evidence) || verdict != kept.verdict =>
                {
                    // Who sent another copy needs this one, too.
                    kept.from.clear();
                    if merged == smallest {
                        kept.from.extend(from.cloned());
                    }
                    kept.evidence = Arc::new(merged);
                    kept.verdict = verdict;
                    kept.stored = false;
                    self.store(step, &id);
                    self.tell_proven(step, &id);
                    Found::New(id)
                }
                _ => Found::Known(id),
            };
        }
        if self.is_enough(&verdict) {
            return Found::Counted(id);
        }
        let kept = Kept {
            evidence: Arc::new(smallest),
            verdict,
            beside: Vec::new(),
            entry: None,
            stored: false,
            outstanding: 0,
            spoiled: false,
            late: false,
            waiting: Vec::new(),
            from: from.into_iter().cloned().collect(),
            finder: match from {
                Some(_) => Finder::Elsewhere,
                None => Finder::Here,
            },
            since: step.wall,
        };
        self.evidence.insert(id, kept);
        self.store(step, &id);
        self.tell_proven(step, &id);
        Found::New(id)
    }

    /// Evidence is an alarm once, and once more when it convicts its log, which it did not before:
    /// a copy that accuses a witness alone must not be all that an operator hears.
    // Spec: GSP-192
    fn tell_proven(&mut self, step: &mut Step<'_>, id: &Hash) {
        let Some(kept) = self.evidence.get(id) else {
            return;
        };
        let log = kept.verdict.origin.clone();
        let log = log.filter(|_| kept.verdict.convicts_log());
        let known = |log: Option<Origin>| Alarm::Proven { id: *id, log };
        if log.is_some() || !self.alarms.iter().any(|alarm| is_about(alarm, id)) {
            self.alarm(step, known(log), true);
        }
    }

    /// Two copies of one contradiction that do not become one, and neither accuses all: both stay,
    /// and the one that convicts the log is the one that is listed.
    // Spec: GSP-117
    fn keep_beside(&mut self, step: &mut Step<'_>, evidence: Evidence, verdict: Verdict) -> Found {
        let id = verdict.id;
        let Some(kept) = self.evidence.get_mut(&id) else {
            return Found::Known(id);
        };
        let convicts = |verdict: &Verdict| (verdict.convicts_log(), verdict.accused().count());
        let mut known = kept.beside.iter();
        if kept.verdict.accuses_all_of(&verdict)
            || known.any(|(_, other, _)| other.accuses_all_of(&verdict))
        {
            return Found::Known(id);
        }
        let is_better = verdict.convicts_log() && !kept.verdict.convicts_log();
        if kept.beside.len() >= BESIDE_MAX {
            // What convicts the log has room always.
            let least = kept.beside.iter().enumerate();
            let least = least.min_by_key(|(_, (_, other, _))| convicts(other));
            let Some((place, _)) = least.filter(|_| is_better) else {
                return Found::Counted(id);
            };
            kept.beside.remove(place);
        }
        let evidence = Arc::new(evidence);
        if is_better {
            let before = core::mem::replace(&mut kept.evidence, evidence);
            let told = core::mem::replace(&mut kept.verdict, verdict);
            kept.beside.push((before, told, kept.stored));
        } else {
            // It is stored first, and then the one that is listed again: the disk may keep but one.
            step.actions.push(Action::StoreEvidence {
                evidence: evidence.clone(),
                verdict: verdict.clone(),
            });
            kept.outstanding = kept.outstanding.saturating_add(1);
            kept.beside.push((evidence, verdict, false));
        }
        kept.from.clear();
        kept.stored = false;
        self.store(step, &id);
        self.tell_proven(step, &id);
        Found::New(id)
    }

    fn store(&mut self, step: &mut Step<'_>, id: &Hash) {
        if let Some(kept) = self.evidence.get_mut(id) {
            kept.spoiled &= kept.outstanding > 0;
            kept.outstanding = kept.outstanding.saturating_add(1);
            step.actions.push(Action::StoreEvidence {
                evidence: kept.evidence.clone(),
                verdict: kept.verdict.clone(),
            });
        }
    }

    /// Stops what the verdict stops, for good: cosigning the log, or signing at all.
    // Spec: GSP-44, GSP-47
    fn latch(&mut self, step: &mut Step<'_>, verdict: &Verdict) {
        let id = verdict.id;
        let own = |key| self.own.cosigners.contains(key) || self.own.gossip.contains(key);
        if verdict.guilty.iter().any(|guilty| own(&guilty.key)) && self.stopped.is_none() {
            self.stopped = Some(id);
            step.actions.push(Action::StopSigning { id });
        }
        let Some(origin) = &verdict.origin else {
            return;
        };
        let key = origin.hash();
        let limit = self.config.evidence_per_culprit;
        let Some(log) = self.log_mut(&key) else {
            return;
        };
        let empty = verdict.kind == Kind::Empty && verdict.log == LogFinding::Guilty;
        let stops = verdict.convicts_log() || (empty && log.settings.stop_on_empty);
        if !stops {
            return;
        }
        if log.convicted.is_empty() {
            step.actions.push(Action::StopCosigning {
                origin: origin.clone(),
                id,
            });
        }
        if log.convicted.len() < limit && !log.convicted.contains(&id) {
            log.convicted.push(id);
        }
        step.dirty.insert(key);
    }

    /// Whether enough evidence is held of this kind about this log against each of these keys.
    // Spec: GSP-44
    fn is_enough(&self, verdict: &Verdict) -> bool {
        if self.evidence.len() >= self.config.evidence_max {
            // One cosigner can contradict itself about any number of logs, known or not, and must
            // not use up the room of others: the first file against each has room. There are no
            // more of those than keys.
            let of_log = verdict.convicts_log();
            return culprits(verdict).iter().all(|culprit| {
                self.evidence.values().any(|kept| {
                    let same_log = kept.verdict.origin == verdict.origin;
                    culprits(&kept.verdict).contains(culprit)
                        && (!of_log || (same_log && kept.verdict.convicts_log()))
                })
            });
        }
        let full = |culprit: &(KeyName, KeyId)| {
            let held = self.evidence.values().filter(|kept| {
                kept.verdict.kind == verdict.kind
                    && kept.verdict.origin == verdict.origin
                    && culprits(&kept.verdict).contains(culprit)
            });
            held.count() >= self.config.evidence_per_culprit
        };
        culprits(verdict).iter().all(full)
    }

    /// Evidence is durable: now it is listed, told and mailed.
    // Spec: GSP-45
    pub(super) fn stored(&mut self, step: &mut Step<'_>, id: &Hash) {
        let Some(kept) = self.evidence.get_mut(id) else {
            return;
        };
        kept.outstanding = kept.outstanding.saturating_sub(1);
        // Of two copies the first one may be durable, and the better one not yet.
        if kept.stored || kept.outstanding > 0 || kept.spoiled {
            return;
        }
        kept.stored = true;
        kept.late = false;
        let before = kept.entry.map(|entry| entry.number);
        let last = self.listed.last_key_value().map_or(0, |(last, _)| *last);
        let number = last.saturating_add(1);
        let origin = kept.evidence.origin();
        kept.entry = Some(CatalogueEntry {
            number,
            id: *id,
            kind: kept.evidence.kind(),
            origin: origin.map(Origin::hash),
            file: sha256(&kept.evidence.to_bytes()),
            time: kept.since.seconds(),
        });
        let waiting = core::mem::take(&mut kept.waiting);
        let evidence = kept.evidence.clone();
        let mut to_mail = alloc::vec![evidence.clone()];
        for (beside, _, mailed) in &mut kept.beside {
            if !core::mem::replace(mailed, true) {
                to_mail.push(beside.clone());
            }
        }
        let (from, finder) = (kept.from.clone(), kept.finder);
        // What stood in the way of the proof is not needed any more.
        let origin = evidence.origin().map(Origin::hash);
        if let Some(before) = before {
            self.listed.remove(&before);
        }
        self.listed.insert(number, *id);
        self.journal.seq = self.journal.seq.saturating_add(1);
        if let Some(log) = origin.and_then(|origin| self.logs.get_mut(&origin))
            && log.is_convicted()
        {
            log.open.clear();
            step.dirty.extend(origin);
        }
        for name in self.told_by_mail(step, &from, finder) {
            if let Some(peer) = self.peer_mut(&name) {
                for evidence in &to_mail {
                    peer.mail(evidence.clone());
                }
            }
        }
        for request in waiting {
            let reply = Reply::Stored { id: *id };
            step.replies.push(Action::Reply { request, reply });
        }
        let late = self.evidence.values().any(|kept| kept.late);
        self.alarm(step, Alarm::NotStored, late);
    }

    /// Who gets evidence by mail: everybody, from the witness that found it. Who has it from others
    /// passes it on to some, or each of a thousand witnesses would send it to each.
    // Spec: GSP-84
    fn told_by_mail(
        &self,
        step: &mut Step<'_>,
        from: &BTreeSet<KeyName>,
        finder: Finder,
    ) -> Vec<KeyName> {
        let most = self.config.pass_on;
        let own = &self.own.name;
        let others = || {
            self.roster
                .all_but(own)
                .filter(|name| !from.contains(*name))
        };
        if finder == Finder::Here || self.roster.count_but(&[own]) <= most {
            return others().cloned().collect();
        }
        let mut chosen: BTreeSet<KeyName> = BTreeSet::new();
        // Some are drawn twice, or had sent it: then it is fewer, which is enough.
        for _ in 0..most {
            let name = self.roster.one_but(&[own], step.dice.roll());
            chosen.extend(name.filter(|name| !from.contains(*name)).cloned());
        }
        chosen.into_iter().collect()
    }

    /// The disk did not take it: who waits is told, and the next round tries again.
    pub(super) fn not_stored(&mut self, step: &mut Step<'_>, id: &Hash) {
        let Some(kept) = self.evidence.get_mut(id) else {
            return;
        };
        kept.outstanding = kept.outstanding.saturating_sub(1);
        kept.spoiled = true;
        kept.late = true;
        for request in core::mem::take(&mut kept.waiting) {
            let reply = Reply::NotStored;
            step.replies.push(Action::Reply { request, reply });
        }
        self.alarm(step, Alarm::NotStored, true);
    }

    /// What is not durable is tried again.
    pub(super) fn store_again(&mut self, step: &mut Step<'_>) {
        if !self.alarms.contains(&Alarm::NotStored) {
            return;
        }
        let idle = |kept: &Kept| !kept.stored && kept.outstanding == 0;
        let waiting = self.evidence.iter().filter(|(_, kept)| idle(kept));
        let waiting: Vec<Hash> = waiting.map(|(id, _)| *id).collect();
        for id in waiting {
            self.store(step, &id);
        }
    }

    /// Somebody submits evidence, or this process found some elsewhere.
    // Spec: GSP-52
    pub(super) fn submitted(
        &mut self,
        step: &mut Step<'_>,
        request: Option<RequestId>,
        evidence: &Evidence,
    ) {
        let known_log = evidence
            .origin()
            .is_none_or(|origin| self.roster.logs.contains_key(&origin.hash()));
        let found = self.found(step, evidence, None);
        let Some(request) = request else {
            return;
        };
        if let Found::New(id) = found
            && let Some(kept) = self.evidence.get_mut(&id)
        {
            kept.finder = Finder::Elsewhere;
        }
        let reply = match found {
            // Spec: GSP-45. It may be known here, and not be durable yet.
            Found::New(id) | Found::Known(id) => match self.evidence.get_mut(&id) {
                Some(kept) if kept.stored => Reply::Known { id },
                Some(kept) if kept.waiting.len() < WAITING_MAX => {
                    kept.waiting.push(request);
                    return;
                }
                _ => Reply::NotStored,
            },
            Found::Counted(id) | Found::Undetermined(id) => Reply::Known { id },
            Found::Nothing(_) if !known_log => Reply::UnknownOrigin,
            Found::Nothing(reason) => Reply::NotProven(reason),
        };
        step.replies.push(Action::Reply { request, reply });
    }

    /// Puts back evidence that is durable, before the first step: what it stops is stopped. Of
    /// copies of one contradiction (GSP-117) each is put back, the one that is listed first.
    ///
    /// Returns whether it convicts anybody under the keys of today.
    // Spec: GSP-46
    pub fn restore_evidence(
        &mut self,
        evidence: &Evidence,
        since: Moment,
        dice: &mut dyn super::Dice,
        verifier: &dyn super::Verifier,
    ) -> Vec<Action> {
        let mut step = Step {
            now: self.steady,
            wall: since,
            dice,
            verifier,
            actions: Vec::new(),
            replies: Vec::new(),
            dirty: BTreeSet::new(),
        };
        if let Found::New(id) = self.found(&mut step, evidence, None) {
            // Others were told before; those who were not have it from them.
            if let Some(kept) = self.evidence.get_mut(&id) {
                kept.finder = Finder::Elsewhere;
                // Whatever was to be stored is.
                kept.outstanding = 1;
            }
            self.stored(&mut step, &id);
        }
        let actions = self.conclude(step);
        let is_news = |action: &Action| {
            matches!(
                action,
                Action::StopCosigning { .. } | Action::StopSigning { .. } | Action::Alarm { .. }
            )
        };
        actions.into_iter().filter(is_news).collect()
    }
}

/// How many signature lines a file has.
fn lines(evidence: &Evidence) -> usize {
    let (a, b) = evidence.statements();
    let b = b.map_or(0, |b| b.signatures().len());
    a.signatures().len().saturating_add(b)
}

fn is_about(alarm: &Alarm, id: &Hash) -> bool {
    matches!(alarm, Alarm::Proven { id: known, .. } if known == id)
}

/// The keys that are convicted, or that convict their log between them.
fn culprits(verdict: &Verdict) -> Vec<(KeyName, KeyId)> {
    let guilty = verdict.guilty.iter().map(|guilty| &guilty.key);
    let across = match &verdict.log {
        LogFinding::AcrossKeys { keys } => &keys[..],
        LogFinding::NotShown
        | LogFinding::Guilty
        | LogFinding::RetiredKey { .. }
        | LogFinding::Undetermined { .. } => &[],
    };
    let keys = guilty.chain(across);
    keys.map(|key| (key.name().clone(), key.key_id())).collect()
}
