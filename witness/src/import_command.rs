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
//! Rows: `spec/gossip.md` GSP-182 to GSP-186, GSP-189.

use std::collections::{BTreeMap, BTreeSet, HashMap};
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
use jurat_store::registry::{Change, Hold, HoldCause, Log, Registry};

use crate::cli::Failed;
use crate::config::Admin;
use crate::evidence::{EvidenceFolder, Jury, Outcome};
use crate::evidence_command::Filed;
use crate::export_command::{Heads, Progress, data, ours, own_keys, print};
use crate::heads::Latest;
use crate::journal::{Journal, Recorder};
use crate::logs_command::{shown, uid};
use crate::metrics::Metrics;
use crate::restore::{Finding, Found, Keys, evidence_id, judge_import};

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
    let heads = Heads::open(&admin, args.at.as_deref())?;
    let (mut reader, header) = Reader::open(&args.file)?;
    let jury = Filed {
        registry,
        own: admin.verifier_keys(),
        former: admin.former_keys.clone(),
    };
    let from = header.name.to_string();
    let mut plan = Plan {
        jury: &jury,
        own: &own,
        heads: &heads,
        from: &from,
        seen: HashMap::new(),
        two: BTreeSet::new(),
        found: BTreeMap::new(),
        proven: Vec::new(),
        evidence: 0,
        tally: Tally::default(),
    };
    let mut progress = Progress::default();
    while let Some(part) = reader.next()? {
        plan.take(part)?;
        progress.one("parts verified");
    }
    plan.read_again(&args.file)?;
    plan.tell(&header, args.dry_run);
    let contradicts = plan.contradicts();
    let waits = if args.dry_run {
        0
    } else {
        apply(&admin, &plan, args, &header)?
    };
    plan.tally.tell();
    if contradicts {
        return Err(Failed {
            code: exit::REFUSED,
            message: "what was imported contradicts what is here, or itself".to_owned(),
        });
    }
    if waits > 0 {
        return Err(Failed {
            code: exit::RETRY,
            message: format!(
                "{waits} logs are held for something else already; import again when they are free"
            ),
        });
    }
    Ok(())
}

/// What a file does.
struct Plan<'a> {
    jury: &'a Filed,
    own: &'a [VerifierKey],
    heads: &'a Heads,
    from: &'a str,
    /// The trees in the file, by log.
    seen: HashMap<Origin, Vec<TreeHead>>,
    /// Of which the file has two of one size.
    two: BTreeSet<(Origin, TreeSize)>,
    /// The worst of each log, or the largest.
    found: BTreeMap<Origin, Found>,
    /// What contradicts itself, or what is here.
    proven: Vec<Evidence>,
    /// How many pieces of evidence convict somebody here.
    evidence: usize,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    same: usize,
    known: usize,
    not_listed: usize,
    convicts_nobody: usize,
}

impl Tally {
    fn tell(&self) {
        let lines = [
            (self.same, "heads are what was cosigned here last"),
            (self.known, "heads are smaller than what was cosigned here"),
            (
                self.not_listed,
                "heads are of logs that are not in the list, and were left out",
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
            Part::Head(note) | Part::Retained(note) => self.head(&note),
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
        let log_keys = log.every_key();
        let keys = Keys {
            log: &log_keys,
            own: self.own,
            peer: None,
        };
        let latest = here.as_ref().map(|here| latest(here, self.own));
        let finding = judge_import(note, keys, latest, self.from);
        let bad = |reason| data(format!("the head of {}: {reason}", shown(origin)));
        let finding = finding.map_err(|reason| bad(reason.to_string()))?;
        let seen = self.seen.entry(origin.clone()).or_default();
        if seen.len() >= HEADS_PER_LOG_MAX {
            return Err(bad(format!("there are more than {HEADS_PER_LOG_MAX}")));
        }
        let head = note.head();
        let mut alike = seen.iter().filter(|other| other.size == head.size);
        if alike.any(|other| other.root_hash != head.root_hash) {
            self.two.insert((origin.clone(), head.size));
        }
        seen.push(head);
        match finding {
            Finding::Same => self.tally.same += 1,
            Finding::Known | Finding::New => self.tally.known += 1,
            Finding::Evidence(evidence) => {
                if let (HoldCause::Fork, Some(here)) = (evidence.cause, here) {
                    self.proven
                        .extend(Evidence::same_size(here, note.clone()).ok());
                }
                let found = Found {
                    source: format!("the export of {}", self.from),
                    evidence: *evidence,
                };
                let before = self.found.get(origin);
                if before.is_none_or(|before| before.rank() < found.rank()) {
                    self.found.insert(origin.clone(), found);
                }
            }
        }
        Ok(())
    }

    /// Makes evidence of what the file has two of.
    fn read_again(&mut self, path: &Path) -> Result<(), Failed> {
        if self.two.is_empty() {
            return Ok(());
        }
        let mut first: HashMap<(Origin, TreeSize), SignedCheckpoint> = HashMap::new();
        let (mut reader, _) = Reader::open(path)?;
        while let Some(part) = reader.next()? {
            let (Part::Head(note) | Part::Retained(note)) = part else {
                continue;
            };
            let place = (note.origin().clone(), note.head().size);
            if !self.two.contains(&place) {
                continue;
            }
            match first.get(&place) {
                None => drop(first.insert(place, note)),
                Some(one) => self
                    .proven
                    .extend(Evidence::same_size(one.clone(), note).ok()),
            }
        }
        Ok(())
    }

    fn contradicts(&self) -> bool {
        let mut found = self.found.values();
        !self.proven.is_empty() || found.any(|found| found.evidence.cause != HoldCause::Imported)
    }

    fn tell(&self, header: &Header, dry_run: bool) {
        let would = if dry_run { "would be " } else { "" };
        let Header { name, time } = header;
        print(&format!("exported by {name} at {time}\n"));
        for (origin, found) in self.found.iter().take(TOLD_MAX) {
            let why = &found.evidence.why;
            print(&format!("{}: {would}held: {why}\n", shown(origin)));
        }
        let more = self.found.len().saturating_sub(TOLD_MAX);
        if more > 0 {
            print(&format!("{more} more logs: {would}held\n"));
        }
        let evidence = self.evidence + self.proven.len();
        if evidence > 0 {
            print(&format!("{evidence} pieces of evidence: {would}kept\n"));
        }
    }
}

fn latest(here: &SignedCheckpoint, own: &[VerifierKey]) -> Latest {
    let lines = here.verify_signatures(own).unwrap_or_default();
    let time = lines.iter().filter_map(|line| line.timestamp).max();
    Latest {
        head: here.head(),
        time: time.unwrap_or(UnixSeconds::ZERO),
    }
}

/// Evidence first, so that it is durable before anybody hears of it; then the journal and the list.
/// How many logs were held for something else.
fn apply(
    admin: &Admin,
    plan: &Plan<'_>,
    args: &ImportArgs,
    header: &Header,
) -> Result<usize, Failed> {
    if plan.evidence > 0 || !plan.proven.is_empty() {
        keep_evidence(admin, plan, &args.file)?;
    }
    let journal = Journal::beside(&admin.logs);
    let recorder = journal.by(format!("cli uid {}", uid()), &SystemClock);
    tell_journal(admin, &recorder, plan, header)?;
    if plan.found.is_empty() {
        return Ok(0);
    }
    let now = SystemClock.now().seconds();
    let mut waits = 0;
    // Spec: GSP-185
    Registry::edit(&admin.logs, &recorder, |registry| {
        let mut change = Change::Nothing;
        for (origin, found) in &plan.found {
            let hold = found.hold(now);
            match registry.hold(origin, &hold, &evidence_id(&hold))? {
                Change::Nothing => {
                    waits += usize::from(!is_done(registry.log(origin), &hold));
                }
                changed => change = changed,
            }
        }
        Ok(change)
    })?;
    Ok(waits)
}

/// Whether a log is held for this already, or its operator has put it aside.
fn is_done(log: Option<&Log>, hold: &Hold) -> bool {
    let Some(log) = log else { return true };
    let id = evidence_id(hold);
    let mut dismissed = log.dismissed.iter();
    let below = log.hold.as_ref().and_then(|now| now.below.as_deref());
    let mut standing = log.hold.as_deref().into_iter().chain(below);
    dismissed.any(|known| known.evidence == id) || standing.any(|known| evidence_id(known) == id)
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

fn tell_journal(
    admin: &Admin,
    recorder: &Recorder<'_>,
    plan: &Plan<'_>,
    header: &Header,
) -> Result<(), Failed> {
    let Header { name, time } = header;
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

/// Gossip holds no more of one log (GSP-33), and what it has cosigned.
const HEADS_PER_LOG_MAX: usize = 64;

/// Logs that are told of one by one.
const TOLD_MAX: usize = 20;

/// Read at once.
const READ_BYTES: usize = 64 << 10;
