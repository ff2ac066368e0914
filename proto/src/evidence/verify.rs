//! Who is convicted: which keys that the verifier knows signed both statements.
//!
//! Evidence asks *which* keys signed, where opening a note asks whether to trust it. So a line that
//! fails, or whose key is not known, is dropped, and voids nothing: otherwise anyone could protect
//! the guilty by adding one.

use alloc::vec::Vec;

use super::known::GossipKey;
use super::{
    Contradiction, Cosigner, Evidence, Kind, KnownKeys, LogKey, NotProven, Omission, Said,
    Standing, stated_time,
};
use crate::checkpoint::{Origin, SignedCheckpoint};
use crate::gossip::SignedStatement;
use crate::hash::Hash;
use crate::key::{UnixSeconds, Verified, VerifierKey};
use crate::note::SignatureLine;

/// What evidence proves, under the keys that the verifier knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which contradiction it is.
    pub id: Hash,
    /// Of which kind.
    pub kind: Kind,
    /// The log that it is about; statements of gossip that contradict each other are about none.
    pub origin: Option<Origin>,
    /// What it says of the log.
    pub log: LogFinding,
    /// The keys that signed both statements, each once: the log's first.
    pub guilty: Vec<Guilty>,
}

impl Verdict {
    /// Whether somebody is convicted: a key, or the log by two of its keys.
    pub fn convicts(&self) -> bool {
        !self.guilty.is_empty() || matches!(self.log, LogFinding::AcrossKeys { .. })
    }

    /// The keys that are convicted, or that convict their log between them.
    pub fn accused(&self) -> impl Iterator<Item = &VerifierKey> {
        let across = match &self.log {
            LogFinding::AcrossKeys { keys } => &keys[..],
            LogFinding::NotShown
            | LogFinding::Guilty
            | LogFinding::RetiredKey { .. }
            | LogFinding::Undetermined { .. } => &[],
        };
        let guilty = self.guilty.iter().map(|guilty| &guilty.key);
        guilty.chain(across)
    }

    /// Whether it accuses everybody whom another one does.
    // Spec: GSP-117
    pub fn accuses_all_of(&self, other: &Self) -> bool {
        let says = |key: &VerifierKey| self.accused().any(|accused| accused == key);
        other.accused().all(says) && (self.convicts_log() || !other.convicts_log())
    }

    /// Whether the log is convicted of two histories, so that nobody should cosign it any more.
    /// Nonsense about the empty tree is kept and told, and is no second history.
    // Spec: EVI-46
    pub fn convicts_log(&self) -> bool {
        match self.log {
            LogFinding::Guilty => self.kind != Kind::Empty,
            LogFinding::AcrossKeys { .. } => true,
            LogFinding::RetiredKey { .. }
            | LogFinding::Undetermined { .. }
            | LogFinding::NotShown => false,
        }
    }
}

/// What evidence says of the log that it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogFinding {
    /// Nothing: none of its keys signed both statements.
    #[default]
    NotShown,
    /// One of its keys signed both.
    Guilty,
    /// One of its keys signed the one statement and another the other. Both are its keys now.
    AcrossKeys {
        /// Who signed which.
        keys: [VerifierKey; 2],
    },
    /// A key that it has retired signed both: the key is convicted. When it was retired decides
    /// whether the log signed with it, or whoever got hold of it.
    RetiredKey {
        /// The first of them.
        key: VerifierKey,
    },
    /// As [`LogFinding::AcrossKeys`], but at least one of the keys is retired: when it was retired
    /// decides whether the log signed with it, or whoever got hold of it.
    Undetermined {
        /// Who signed which.
        keys: [VerifierKey; 2],
        /// Which of the two are retired.
        retired: [bool; 2],
    },
}

/// A key that signed both statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guilty {
    /// Whose key it is.
    pub role: Role,
    /// The key.
    pub key: VerifierKey,
    /// When it says that it signed either, as far as its type says so.
    pub times: [Option<UnixSeconds>; 2],
}

/// Whose key was convicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The log's.
    Log,
    /// A cosigner's.
    Cosigner,
    /// A witness's, as far as it gossips.
    Gossip,
}

impl Role {
    /// The name, as in lists and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Cosigner => "cosigner",
            Self::Gossip => "gossip",
        }
    }
}

impl Evidence {
    /// Says whom it convicts. The same evidence and keys always give the same answer.
    ///
    /// # Errors
    /// [`NotProven`] when it convicts nobody, and leaves nothing to a date either.
    // Spec: EVI-40, EVI-44
    pub fn verify(&self, keys: &KnownKeys) -> Result<Verdict, NotProven> {
        self.convict(keys).map(|(verdict, _)| verdict)
    }

    /// As [`Evidence::verify`], with the lines that the verdict stands on.
    pub(super) fn convict(&self, keys: &KnownKeys) -> Result<(Verdict, Lines), NotProven> {
        let (a, b) = self.statements();
        let mut trial = Trial {
            is_long: [Some(a), b].into_iter().flatten().any(Said::is_long),
            ..Trial::default()
        };
        match &self.0 {
            Contradiction::SameSize(_)
            | Contradiction::Opening { .. }
            | Contradiction::Entry(_) => {
                if let (Said::Checkpoint(a), Some(Said::Checkpoint(b))) = (a, b) {
                    trial.two_histories(a, b, keys);
                }
            }
            Contradiction::Empty(note) => trial.nonsense(note, keys),
            Contradiction::CosignerRegress { notes, by, times } => {
                trial.regress(notes, by, times, keys);
            }
            Contradiction::Omission(omission) => trial.omission(omission, keys),
            Contradiction::GossipEquivocation([a, b]) => trial.equivocation(a, b, keys),
        }
        let Trial {
            guilty,
            log,
            lines,
            candidates,
            failed,
            ..
        } = trial;
        if guilty.is_empty() && log == LogFinding::NotShown {
            return Err(match candidates {
                0 => NotProven::NoKnownKey,
                _ => NotProven::NobodySignedBoth,
            });
        }
        let verdict = Verdict {
            id: self.id(),
            kind: self.kind(),
            origin: self.origin().cloned(),
            log,
            guilty,
        };
        let failed = failed.into_iter().map(|(_, line)| line.clone()).collect();
        Ok((
            verdict,
            Lines {
                count: lines,
                failed,
            },
        ))
    }
}

/// How many lines may fail before the others are dropped unseen. Honest files have none; with more,
/// whoever sends files that convict nobody would decide how long we compute.
// Spec: EVI-45
const FAILED_LINES_MAX: usize = 2;
/// Over a text of more bytes one line that failed is enough: each check hashes all of it.
// Spec: EVI-54
const LONG_TEXT_BYTES: usize = 8 * 1024;

/// What became of the lines that were tried.
pub(super) struct Lines {
    /// The places of those that count, in either note.
    pub(super) count: [Vec<usize>; 2],
    /// Those that failed.
    pub(super) failed: Vec<SignatureLine>,
}

/// What was found so far.
#[derive(Default)]
struct Trial<'e> {
    guilty: Vec<Guilty>,
    log: LogFinding,
    /// The places of the lines that count, in either note.
    lines: [Vec<usize>; 2],
    /// How many keys that could be convicted have lines where it takes them.
    candidates: usize,
    /// The lines that failed, and for which key: none is tried, or counts, twice.
    failed: Vec<(VerifierKey, &'e SignatureLine)>,
    /// Those that are good, as well, and when they say that they were made: a log is looked for
    /// twice.
    good: Vec<(VerifierKey, &'e SignatureLine, Option<UnixSeconds>)>,
    /// Either statement is long, so that checks are dear.
    is_long: bool,
}

/// A line that was verified.
#[derive(Clone, Copy)]
struct Good {
    line: usize,
    time: Option<UnixSeconds>,
}

impl Said<'_> {
    fn is_long(self) -> bool {
        let text = match self {
            Self::Checkpoint(note) => note.note().text(),
            Self::Gossip(note) => note.note().text(),
        };
        text.len() > LONG_TEXT_BYTES
    }
}

impl<'e> Trial<'e> {
    /// Same size, opening, entry: a log or a cosigner that signed both signed two histories.
    // Spec: EVI-10, EVI-11, EVI-12, EVI-42
    fn two_histories(
        &mut self,
        a: &'e SignedCheckpoint,
        b: &'e SignedCheckpoint,
        keys: &KnownKeys,
    ) {
        let mut retired = None;
        for log in keys.logs(a.origin()) {
            let before = self.guilty.len();
            self.accuse(Role::Log, &log.key, a, b);
            if self.guilty.len() > before {
                match log.standing {
                    Standing::Current => self.log = LogFinding::Guilty,
                    Standing::Retired => retired = retired.or(Some(&log.key)),
                }
            }
        }
        // Spec: EVI-43, EVI-45. All of the log before any cosigner: anybody can put lines in a
        // cosigner's name under a note, and they fail.
        if self.log == LogFinding::NotShown {
            self.across_keys(a, b, keys);
        }
        if let (Some(key), LogFinding::NotShown | LogFinding::Undetermined { .. }) =
            (retired, &self.log)
        {
            self.log = LogFinding::RetiredKey { key: key.clone() };
        }
        for key in keys.cosigners() {
            self.accuse(Role::Cosigner, key, a, b);
        }
    }

    fn accuse(
        &mut self,
        role: Role,
        key: &VerifierKey,
        a: &'e SignedCheckpoint,
        b: &'e SignedCheckpoint,
    ) {
        // One key may be both the log's and a cosigner's, and is convicted once.
        if self.guilty.iter().any(|guilty| guilty.key == *key) {
            return;
        }
        let has_line = |note: &SignedCheckpoint| {
            let mut lines = note.signatures().iter();
            lines.any(|line| key.matches(line))
        };
        if !has_line(a) || !has_line(b) {
            return;
        }
        self.candidates += 1;
        // Spec: EVI-45
        let Some(on_a) = self.signed(key, a) else {
            return;
        };
        let Some(on_b) = self.signed(key, b) else {
            return;
        };
        self.convict(role, key, on_a, Some(on_b));
    }

    /// Two keys of one log, one on each note.
    // Spec: EVI-43
    fn across_keys(&mut self, a: &'e SignedCheckpoint, b: &'e SignedCheckpoint, keys: &KnownKeys) {
        let stands = |log: &LogKey| {
            let mut lines = a.signatures().iter().chain(b.signatures());
            lines.any(|line| log.key.matches(line))
        };
        self.candidates += keys.logs(a.origin()).filter(|log| stands(log)).count();
        let Some((log_a, on_a)) = self.first_log_key(a, keys) else {
            return;
        };
        let Some((log_b, on_b)) = self.first_log_key(b, keys) else {
            return;
        };
        let keys = [log_a.key.clone(), log_b.key.clone()];
        let retired = [log_a, log_b].map(|log| log.standing == Standing::Retired);
        self.log = if retired == [false, false] {
            LogFinding::AcrossKeys { keys }
        } else {
            LogFinding::Undetermined { keys, retired }
        };
        self.keep(on_a, Some(on_b));
    }

    fn first_log_key<'k>(
        &mut self,
        note: &'e SignedCheckpoint,
        keys: &'k KnownKeys,
    ) -> Option<(&'k LogKey, Good)> {
        let mut logs = keys.logs(note.origin());
        logs.find_map(|log| Some((log, self.signed(&log.key, note)?)))
    }

    /// A tree without leaves: only the log's own keys are asked. A cosigner that did not look is
    /// lax, and no liar.
    // Spec: EVI-13
    fn nonsense(&mut self, note: &'e SignedCheckpoint, keys: &KnownKeys) {
        for log in keys.logs(note.origin()) {
            if !note.signatures().iter().any(|line| log.key.matches(line)) {
                continue;
            }
            self.candidates += 1;
            if let Some(good) = self.signed(&log.key, note) {
                self.convict(Role::Log, &log.key, good, None);
                match (log.standing, &self.log) {
                    (Standing::Current, _) => self.log = LogFinding::Guilty,
                    (Standing::Retired, LogFinding::NotShown) => {
                        let key = log.key.clone();
                        self.log = LogFinding::RetiredKey { key };
                    }
                    (Standing::Retired, _) => {}
                }
            }
        }
    }

    // Spec: EVI-14
    fn regress(
        &mut self,
        [a, b]: &'e [SignedCheckpoint; 2],
        by: &Cosigner,
        [time_a, time_b]: &[UnixSeconds; 2],
        keys: &KnownKeys,
    ) {
        for key in keys.cosigners().iter().filter(|key| is(key, by)) {
            self.candidates += 1;
            let on_a = self.signed_at(key, a, *time_a);
            let on_b = on_a.and_then(|_| self.signed_at(key, b, *time_b));
            if let (Some(on_a), Some(on_b)) = (on_a, on_b) {
                self.convict(Role::Cosigner, key, on_a, Some(on_b));
            }
        }
    }

    /// The gossip key alone is convicted: whoever stole it can hide what its witness cosigned.
    // Spec: EVI-15
    fn omission(&mut self, omission: &'e Omission, keys: &KnownKeys) {
        let Omission {
            page,
            note,
            by,
            time,
            ..
        } = omission;
        for GossipKey { key, cosigners } in speakers(page, keys) {
            // Spec: GSP-10. Of this witness: who has another's name has not its keys.
            let Some(cosigner) = cosigners.iter().find(|key| is(key, by)) else {
                continue;
            };
            self.candidates += 1;
            let on_page = self.stated(key, page);
            let on_note = on_page.and_then(|_| self.signed_at(cosigner, note, *time));
            if let (Some(on_page), Some(on_note)) = (on_page, on_note) {
                self.convict(Role::Gossip, key, on_page, Some(on_note));
            }
        }
    }

    // Spec: EVI-16
    fn equivocation(&mut self, a: &'e SignedStatement, b: &'e SignedStatement, keys: &KnownKeys) {
        for GossipKey { key, .. } in speakers(a, keys) {
            if !b.signatures().iter().any(|line| key.matches(line)) {
                continue;
            }
            self.candidates += 1;
            let on_a = self.stated(key, a);
            let on_b = on_a.and_then(|_| self.stated(key, b));
            if let (Some(on_a), Some(on_b)) = (on_a, on_b) {
                self.convict(Role::Gossip, key, on_a, Some(on_b));
            }
        }
    }

    fn convict(&mut self, role: Role, key: &VerifierKey, on_a: Good, on_b: Option<Good>) {
        self.guilty.push(Guilty {
            role,
            key: key.clone(),
            times: [on_a.time, on_b.and_then(|good| good.time)],
        });
        self.keep(on_a, on_b);
    }

    fn keep(&mut self, on_a: Good, on_b: Option<Good>) {
        let [a, b] = &mut self.lines;
        a.push(on_a.line);
        b.extend(on_b.map(|good| good.line));
    }

    /// The first good line of a key under a checkpoint.
    fn signed(&mut self, key: &VerifierKey, note: &'e SignedCheckpoint) -> Option<Good> {
        self.find(
            key,
            note.signatures(),
            |_| true,
            |line| key.verify_signed(note, line.signature()).ok(),
        )
    }

    /// The first good line of a key that states this time.
    fn signed_at(
        &mut self,
        key: &VerifierKey,
        note: &'e SignedCheckpoint,
        time: UnixSeconds,
    ) -> Option<Good> {
        let at = |line: &SignatureLine| stated_time(line) == Some(time);
        self.find(key, note.signatures(), at, |line| {
            key.verify_signed(note, line.signature()).ok()
        })
    }

    /// The first good line of a key under a statement of gossip.
    fn stated(&mut self, key: &VerifierKey, signed: &'e SignedStatement) -> Option<Good> {
        let text = signed.note().text();
        self.find(
            key,
            signed.signatures(),
            |_| true,
            |line| key.verify_note(text, line.signature()).ok(),
        )
    }

    fn find(
        &mut self,
        key: &VerifierKey,
        lines: &'e [SignatureLine],
        wanted: impl Fn(&SignatureLine) -> bool,
        verify: impl Fn(&SignatureLine) -> Option<Verified>,
    ) -> Option<Good> {
        for (place, line) in lines.iter().enumerate() {
            if !key.matches(line) || !wanted(line) {
                continue;
            }
            let is_this =
                |of: &VerifierKey, other: &SignatureLine| core::ptr::eq(other, line) && of == key;
            let mut good = self.good.iter();
            if let Some((.., time)) = good.find(|(of, other, _)| is_this(of, other)) {
                let (line, time) = (place, *time);
                return Some(Good { line, time });
            }
            if self.failed.iter().any(|(of, other)| is_this(of, other)) {
                continue;
            }
            // Spec: EVI-45, EVI-54
            if self.failed.len() >= FAILED_LINES_MAX || (self.is_long && !self.failed.is_empty()) {
                return None;
            }
            match verify(line) {
                Some(Verified { timestamp }) => {
                    self.good.push((key.clone(), line, timestamp));
                    return Some(Good {
                        line: place,
                        time: timestamp,
                    });
                }
                None => self.failed.push((key.clone(), line)),
            }
        }
        None
    }
}

/// The known gossip keys that have the name of who speaks, and a line under what is said.
// Spec: GSP-10
fn speakers<'k>(
    signed: &SignedStatement,
    keys: &'k KnownKeys,
) -> impl Iterator<Item = &'k GossipKey> {
    let name = signed.statement().name();
    let lines = signed.signatures();
    keys.gossip().iter().filter(move |GossipKey { key, .. }| {
        key.name() == name && lines.iter().any(|line| key.matches(line))
    })
}

fn is(key: &VerifierKey, by: &Cosigner) -> bool {
    *key.name() == by.name && key.key_id() == by.key_id
}
