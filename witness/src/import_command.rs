//! `jurat-witness import FILE`: what another witness, or this one elsewhere, had cosigned, so that
//! nothing is signed below it here.
//!
//! ```text
//! read all, verify all ─► anything bad: nothing happens
//!      └─► evidence, durable ─► journal ─► holds, in one change of the list
//! ```
//!
//! The state is read and never written: what is here already is neither replaced nor lowered. So it
//! is safe while the witness serves, which takes the list and the evidence over within seconds.
//!
//! Rows: `spec/gossip.md` GSP-182 to GSP-186, GSP-189, GSP-211, GSP-212, GSP-221, GSP-225.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use jurat_daemon::clock::{Clock as _, SystemClock};
use jurat_daemon::exit;
use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::evidence::Evidence;
use jurat_proto::export::{Decoder, ExportError, Header, Part, STEP_BYTES_MAX, Step};
use jurat_proto::key::{UnixSeconds, VerifierKey};
use jurat_proto::tree::{TreeHead, TreeSize};
use jurat_store::registry::{Change, Hold, HoldCause, IMPORTED_MAX, Log, Registry, RegistryError};

use crate::cli::Failed;
use crate::config::Admin;
use crate::evidence::{EvidenceFolder, Jury, Outcome};
use crate::evidence_command::Filed;
use crate::export_command::{Heads, Progress, TOLD_MAX, data, ours, own_keys, print};
use crate::heads::Latest;
use crate::journal::{Journal, Recorder};
use crate::logs_command::{shown, uid};
use crate::metrics::Metrics;
use crate::restore::imported::Imported;
use crate::restore::{Finding, Found, Keys, Unusable, evidence_id, judge_import};

/// What to read.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// A file that `export` wrote
    file: PathBuf,
    /// The configuration file of the witness
    #[arg(long, value_name = "FILE", default_value = "witness.toml")]
    config: PathBuf,
    /// Verify it and say what it would do, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Where the witness that serves is asked, when it is not where the configuration says
    #[arg(long, value_name = "URL")]
    at: Option<String>,
}

// Spec: GSP-183, GSP-184, GSP-185
pub(crate) fn run(args: &ImportArgs) -> Result<(), Failed> {
    let admin = Admin::load(&args.config)?;
    let own = own_keys(&admin)?;
    let registry = Registry::load(&admin.logs)?;
    let heads = Heads::open(&admin, &own, args.at.as_deref())?;
    let (mut reader, header) = Reader::open(&args.file)?;
    let jury = Filed {
        registry,
        own: admin.verifier_keys(),
        former: admin.former_keys.clone(),
    };
    // A terminal shows the name, and so do the list and the journal.
    let from = header.name.as_str().escape_debug().to_string();
    let mut plan = Plan {
        jury: &jury,
        own: &own,
        heads: &heads,
        from: &from,
        time: header.time,
        found: BTreeMap::new(),
        proven: Vec::new(),
        unproven: Vec::new(),
        evidence: 0,
        tally: Tally::default(),
    };
    let mut progress = Progress::default();
    while let Some(part) = reader.next()? {
        plan.take(part)?;
        progress.one("parts verified");
    }
    // Before anything is done: what a list cannot hold is refused whole.
    let now = SystemClock.now().seconds();
    let mut list = Registry::load(&admin.logs)?;
    let mut outcomes = plan.hold_all(&mut list, now)?.1;
    list.check_length()?;
    if !args.dry_run {
        outcomes = apply(&admin, &plan, args, now)?;
    }
    plan.tell(&outcomes, args.dry_run);
    plan.tally.tell();
    if plan.contradicts(&outcomes) {
        return Err(Failed {
            code: exit::REFUSED,
            message: "what was imported contradicts what is here".to_owned(),
        });
    }
    not_taken(&outcomes)
}

/// What was left out and can be taken later.
fn not_taken(outcomes: &Outcomes) -> Result<(), Failed> {
    let count = |wanted| outcomes.values().filter(|done| **done == wanted).count();
    let mut told = Vec::new();
    let waits = count(Done::Waits);
    if waits > 0 {
        told.push(format!(
            "{waits} logs are held for something else already; import again when they are free"
        ));
    }
    let raced = count(Done::Raced);
    if raced > 0 {
        told.push(format!(
            "of {raced} logs another history was imported or shown meanwhile; import again now"
        ));
    }
    let full = count(Done::Full);
    if full > 0 {
        told.push(format!(
            "{full} logs wait for {IMPORTED_MAX} imported heads already; import again when they \
             have reached these"
        ));
    }
    if told.is_empty() {
        return Ok(());
    }
    Err(Failed {
        code: exit::RETRY,
        message: told.join(", and "),
    })
}

/// What a file does.
struct Plan<'a> {
    jury: &'a Filed,
    own: &'a [VerifierKey],
    heads: &'a Heads,
    from: &'a str,
    time: UnixSeconds,
    /// Of each log at most one: so has the file.
    found: BTreeMap<Origin, Found>,
    /// What contradicts what is here.
    proven: Vec<Evidence>,
    /// The sizes at which it contradicts what a log is held for, and nobody is convicted.
    unproven: Vec<(Origin, TreeSize)>,
    /// How many pieces of evidence convict somebody here.
    evidence: usize,
    tally: Tally,
}

/// What became of a head that is to hold its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// The log is held for it.
    Held,
    /// It was so already.
    Known,
    /// The operator has put it aside.
    Dismissed,
    /// The log is held for something else.
    Waits,
    /// Another import was faster, with another history.
    Raced,
    /// It waits for as many imported heads as it may.
    Full,
}

#[derive(Default)]
struct Tally {
    same: usize,
    known: usize,
    not_listed: usize,
    retired: usize,
    convicts_nobody: usize,
}

impl Tally {
    fn tell(&self) {
        let lines = [
            (self.same, "heads are what was cosigned here last"),
            (self.known, "heads are older ones that were cosigned here"),
            (
                self.not_listed,
                "heads are of logs that are not in the list, and were left out",
            ),
            (
                self.retired,
                "heads are signed by keys that their logs have done with, and were left out",
            ),
            (
                self.convicts_nobody,
                "pieces of evidence convict nobody who is known here, and were left out",
            ),
        ];
        for (count, what) in lines.into_iter().filter(|(count, _)| *count > 0) {
            print(&format!("{count} {what}\n"));
        }
    }
}

impl Plan<'_> {
    fn take(&mut self, part: Part) -> Result<(), Failed> {
        match part {
            Part::Head(note) => self.head(&note),
            Part::Evidence(evidence) => {
                match evidence.verify(&self.jury.keys(evidence.origin())) {
                    Ok(_) => self.evidence += 1,
                    Err(_) => self.tally.convicts_nobody += 1,
                }
                Ok(())
            }
        }
    }

    fn head(&mut self, note: &SignedCheckpoint) -> Result<(), Failed> {
        let origin = note.origin();
        let Some(log) = self.jury.registry.log(origin) else {
            self.tally.not_listed += 1;
            return Ok(());
        };
        let here = self.heads.note(origin)?;
        let here = here.map(|here| ours(origin, &here, self.own)).transpose()?;
        // Spec: GSP-183. Whoever has a key that its log has done with must not hold the log; but
        // what we cosigned was the log's when we did.
        let cosigned = note.verify_signatures(self.own).is_ok();
        let log_keys = log.every_key();
        let by_log = if cosigned { &log_keys[..] } else { &log.keys };
        let keys = Keys {
            log: by_log,
            own: self.own,
            peer: None,
        };
        let latest = here.as_ref().map(|here| latest(here, self.own));
        let finding = match judge_import(note, keys, latest, self.from) {
            Err(Unusable::NotSigned { .. }) if note.verify_signatures(&log.retired).is_ok() => {
                self.tally.retired += 1;
                return Ok(());
            }
            finding => finding,
        };
        let bad = |reason| data(format!("the head of {}: {reason}", shown(origin)));
        let mut finding = finding.map_err(bad)?;
        let mut contradicted = here;
        // Spec: GSP-211, GSP-225. What the log is held for says as much as what was cosigned.
        if !is_fork(&finding) {
            if let Some(before) = self.listed_fork(log, note) {
                let (head, time) = (before.head(), UnixSeconds::ZERO);
                let before_it = Some(Latest { head, time });
                finding = judge_import(note, keys, before_it, self.from).map_err(bad)?;
                contradicted = Some(before);
            } else if undecided_fork(log, note).is_some() {
                self.unproven.push((origin.clone(), note.head().size));
            }
        }
        self.found(note, finding, contradicted);
        Ok(())
    }

    /// Takes over what was found, `other` being what it contradicts if it does.
    fn found(
        &mut self,
        note: &SignedCheckpoint,
        finding: Finding,
        other: Option<SignedCheckpoint>,
    ) {
        match finding {
            Finding::Same => self.tally.same += 1,
            Finding::Known | Finding::New => self.tally.known += 1,
            Finding::Evidence(evidence) => {
                if let (HoldCause::Fork, Some(other)) = (evidence.cause, other) {
                    self.proven
                        .extend(Evidence::same_size(other, note.clone()).ok());
                }
                let source = format!("the export of {}", self.from);
                let evidence = *evidence;
                self.found
                    .insert(note.origin().clone(), Found { source, evidence });
            }
        }
    }

    /// What a log is held for, with another root at the size of this: what was imported before, or
    /// what its operator has to decide about, if the two convict anybody.
    // Spec: GSP-211, GSP-225
    fn listed_fork(&self, log: &Log, note: &SignedCheckpoint) -> Option<SignedCheckpoint> {
        let undecided = || undecided_fork(log, note).filter(|shown| self.convict(shown, note));
        imported_fork(log, note).or_else(undecided)
    }

    /// Whether two checkpoints convict anybody between them. Neither needs the log's signature
    /// for that: one that is shown to us as ours may have none.
    fn convict(&self, one: &SignedCheckpoint, other: &SignedCheckpoint) -> bool {
        let keys = self.jury.keys(Some(one.origin()));
        let evidence = Evidence::same_size(one.clone(), other.clone()).ok();
        let verdict = evidence.and_then(|evidence| evidence.verify(&keys).ok());
        verdict.is_some_and(|verdict| verdict.convicts())
    }

    /// Holds the logs in a list, and says what became of each.
    // Spec: GSP-185
    fn hold_all(&self, list: &mut Registry, now: u64) -> Result<(Change, Outcomes), RegistryError> {
        let (mut change, mut outcomes) = (Change::Nothing, Outcomes::new());
        for (origin, found) in &self.found {
            let hold = found.hold(now);
            let id = evidence_id(&hold);
            let standing = list
                .log(origin)
                .and_then(|log| self.standing(log, &hold, &id));
            let done = match standing {
                Some(done) => done,
                None => match list.hold(origin, &hold, &id)? {
                    Change::Nothing if hold.cause == HoldCause::Imported => Done::Full,
                    Change::Nothing => Done::Waits,
                    changed => {
                        change = changed;
                        Done::Held
                    }
                },
            };
            outcomes.insert(origin.clone(), done);
        }
        Ok((change, outcomes))
    }

    /// Why a log is not to be held anew for what has this id.
    fn standing(&self, log: &Log, hold: &Hold, id: &str) -> Option<Done> {
        // Of one tree, what we cosigned later says more.
        let time = |hold: &Hold| Imported::of(&log.origin, hold)?.cosigned(self.own);
        let is_known = |known: &Hold| {
            evidence_id(known) == id
                && (known.evidence == hold.evidence || time(hold) <= time(known))
        };
        if log.holds().any(is_known) {
            return Some(Done::Known);
        }
        if log.dismissed.iter().any(|known| known.evidence == id) {
            return Some(Done::Dismissed);
        }
        if hold.cause == HoldCause::Fork {
            return None;
        }
        // This one has to be judged again.
        let note = SignedCheckpoint::parse(hold.evidence.as_bytes()).ok()?;
        self.listed_fork(log, &note).map(|_| Done::Raced)
    }

    /// Whether anything of it says that the state is wrong, but what the operator has put aside.
    fn contradicts(&self, outcomes: &Outcomes) -> bool {
        let mut found = self.found.iter();
        !self.proven.is_empty()
            || found.any(|(origin, found)| {
                found.evidence.cause != HoldCause::Imported
                    && outcomes.get(origin) != Some(&Done::Dismissed)
            })
    }

    fn tell(&self, outcomes: &Outcomes, dry_run: bool) {
        let would = if dry_run { "would be " } else { "" };
        print(&format!("exported by {} at {}\n", self.from, self.time));
        let of = |wanted| outcomes.iter().filter(move |(_, done)| **done == wanted);
        for (origin, _) in of(Done::Held).take(TOLD_MAX) {
            if let Some(found) = self.found.get(origin) {
                let why = &found.evidence.why;
                print(&format!("{}: {would}held: {why}\n", shown(origin)));
            }
        }
        let more = of(Done::Held).count().saturating_sub(TOLD_MAX);
        if more > 0 {
            print(&format!("{more} more logs: {would}held\n"));
        }
        let lines = [
            (Done::Known, "logs are held for that already"),
            (
                Done::Dismissed,
                "heads were put aside by the operator, and hold nothing",
            ),
        ];
        for (done, what) in lines {
            let count = of(done).count();
            if count > 0 {
                print(&format!("{count} {what}\n"));
            }
        }
        self.tell_unproven();
        let evidence = self.evidence + self.proven.len();
        if evidence > 0 {
            print(&format!("{evidence} pieces of evidence: {would}kept\n"));
        }
    }

    // Spec: GSP-225
    fn tell_unproven(&self) {
        for (origin, size) in self.unproven.iter().take(TOLD_MAX) {
            let origin = shown(origin);
            print(&format!(
                "{origin}: has another tree of size {size} than what it is held for, which lacks \
                 a signature of the log that would convict it\n"
            ));
        }
        let more = self.unproven.len().saturating_sub(TOLD_MAX);
        if more > 0 {
            print(&format!(
                "{more} more logs: have another tree than what they are held for, which convicts \
                 nobody\n"
            ));
        }
    }
}

/// What became of each log that is to be held.
type Outcomes = BTreeMap<Origin, Done>;

fn latest(here: &SignedCheckpoint, own: &[VerifierKey]) -> Latest {
    let lines = here.verify_signatures(own).unwrap_or_default();
    let time = lines.iter().filter_map(|line| line.timestamp).max();
    Latest {
        head: here.head(),
        time: time.unwrap_or(UnixSeconds::ZERO),
    }
}

/// Evidence first, so that it is durable before anybody hears of it; then the journal and the list.
fn apply(admin: &Admin, plan: &Plan<'_>, args: &ImportArgs, now: u64) -> Result<Outcomes, Failed> {
    if plan.evidence > 0 || !plan.proven.is_empty() {
        keep_evidence(admin, plan, &args.file)?;
    }
    let journal = Journal::beside(&admin.logs);
    let recorder = journal.by(format!("cli uid {}", uid()), &SystemClock);
    tell_journal(admin, &recorder, plan)?;
    let mut outcomes = Outcomes::new();
    // Spec: GSP-185
    Registry::edit(&admin.logs, &recorder, |registry| {
        let (change, done) = plan.hold_all(registry, now)?;
        outcomes = done;
        Ok(change)
    })?;
    Ok(outcomes)
}

fn is_fork(finding: &Finding) -> bool {
    matches!(finding, Finding::Evidence(evidence) if evidence.cause == HoldCause::Fork)
}

/// What was imported of a log before, with another root at the size of this.
fn imported_fork(log: &Log, note: &SignedCheckpoint) -> Option<SignedCheckpoint> {
    let head = note.head();
    let before = log.imported();
    let before = before.filter_map(|hold| Imported::of(&log.origin, hold));
    let mut before = before.map(Imported::into_note);
    before.find(|before| is_other_root(before.head(), head))
}

/// What its operator has to decide about a log, with another root at the size of this.
fn undecided_fork(log: &Log, note: &SignedCheckpoint) -> Option<SignedCheckpoint> {
    let shown = SignedCheckpoint::parse(log.decision()?.evidence.as_bytes()).ok()?;
    let is_fork = shown.origin() == note.origin() && is_other_root(shown.head(), note.head());
    is_fork.then_some(shown)
}

fn is_other_root(one: TreeHead, other: TreeHead) -> bool {
    one.size == other.size && one.root_hash != other.root_hash
}

// Spec: GSP-189
fn keep_evidence(admin: &Admin, plan: &Plan<'_>, path: &Path) -> Result<(), Failed> {
    let io = |error: std::io::Error| Failed {
        code: exit::IO,
        message: error.to_string(),
    };
    let folder = EvidenceFolder::beside(&admin.database);
    let jury = Filed {
        registry: Registry::load(&admin.logs)?,
        own: admin.verifier_keys(),
        former: admin.former_keys.clone(),
    };
    let folder = EvidenceFolder::open(folder, Metrics::unregistered(), jury).map_err(io)?;
    let keep = |evidence: &Evidence| match folder.keep(evidence) {
        Some((_, Outcome::NotWritten)) => Err(io(std::io::Error::other(
            "the disk did not take evidence; nothing else was changed",
        ))),
        _ => Ok(()),
    };
    plan.proven.iter().try_for_each(keep)?;
    if plan.evidence == 0 {
        return Ok(());
    }
    let (mut reader, _) = Reader::open(path)?;
    while let Some(part) = reader.next()? {
        if let Part::Evidence(evidence) = part {
            keep(&evidence)?;
        }
    }
    Ok(())
}

fn tell_journal(admin: &Admin, recorder: &Recorder<'_>, plan: &Plan<'_>) -> Result<(), Failed> {
    let (name, time) = (plan.from, plan.time);
    let (held, evidence) = (plan.found.len(), plan.evidence + plan.proven.len());
    let because = format!(
        "what {name} exported at {time}: {held} logs to be held, {evidence} pieces of evidence"
    );
    let told = Registry::settled(&admin.logs, || recorder.tell("imported", &because))?;
    told.map_err(|error| Failed {
        code: exit::IO,
        message: format!("the journal cannot be written: {error}; no log is held"),
    })
}

/// A file, part after part.
struct Reader {
    path: PathBuf,
    file: File,
    decoder: Decoder,
    /// What was read and not used: from `used` on.
    bytes: Vec<u8>,
    used: usize,
    ended: bool,
}

impl Reader {
    /// Opens a regular file and reads its header.
    fn open(path: &Path) -> Result<(Self, Header), Failed> {
        let io = |error: std::io::Error| Failed {
            code: exit::IO,
            message: format!("cannot read {}: {error}", path.display()),
        };
        // Before it is opened: to open a pipe is to wait for who writes it.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(io(std::io::Error::other("it is not a regular file")));
        }
        let file = File::open(path).map_err(io)?;
        let mut reader = Self {
            path: path.to_owned(),
            file,
            decoder: Decoder::default(),
            bytes: Vec::new(),
            used: 0,
            ended: false,
        };
        match reader.step()? {
            Step::Header(header, used) => {
                reader.used += used;
                Ok((reader, header))
            }
            Step::More | Step::Part(..) | Step::End(_) => Err(reader.bad(&ExportError::Header)),
        }
    }

    fn next(&mut self) -> Result<Option<Part>, Failed> {
        match self.step()? {
            Step::Part(part, used) => {
                self.used += used;
                Ok(Some(part))
            }
            Step::End(_) => Ok(None),
            Step::More | Step::Header(..) => Err(self.bad(&ExportError::CutShort)),
        }
    }

    fn step(&mut self) -> Result<Step, Failed> {
        loop {
            let rest = self.bytes.get(self.used..).unwrap_or_default();
            // The last line is whole when nothing follows it.
            let step = match self.decoder.step(rest) {
                Ok(Step::More) => None,
                Ok(Step::End(counts)) if !self.ended => {
                    if self.fill()? {
                        return Err(self.bad(&ExportError::AfterTheEnd));
                    }
                    Some(Step::End(counts))
                }
                Ok(step) => Some(step),
                Err(error) => return Err(self.bad(&error)),
            };
            if let Some(step) = step {
                return Ok(step);
            }
            if self.bytes.len() - self.used >= STEP_BYTES_MAX || !self.fill()? {
                return Err(self.bad(&ExportError::CutShort));
            }
        }
    }

    /// Reads on; whether there was anything.
    fn fill(&mut self) -> Result<bool, Failed> {
        self.bytes.drain(..self.used);
        self.used = 0;
        let mut chunk = vec![0; READ_BYTES];
        let read = self.file.read(&mut chunk).map_err(|error| Failed {
            code: exit::IO,
            message: format!("cannot read {}: {error}", self.path.display()),
        })?;
        self.ended = read == 0;
        self.bytes.extend(chunk.get(..read).unwrap_or_default());
        Ok(read > 0)
    }

    fn bad(&self, error: &ExportError) -> Failed {
        data(format!(
            "{}: {error}; nothing was changed",
            self.path.display()
        ))
    }
}

/// Read at once.
const READ_BYTES: usize = 64 << 10;
