//! `jurat-witness logs …`: which logs are cosigned. All of it is safe while the witness serves, and
//! when two do it at once; each change is in the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Subcommand};
use jurat_daemon::client::{Client, ClientOptions, ClientRequest};
use jurat_daemon::clock::{Clock as _, SystemClock};
use jurat_daemon::exit;
use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::cosignature::NAME_BYTES_MAX;
use jurat_proto::hash::Hash;
use jurat_proto::hex;
use jurat_proto::key::{UnixSeconds, VerifierKey};
use jurat_proto::log_list::{QPD_MAX, is_control};
use jurat_store::registry::{
    About, Change, Dismissed, Hold, HoldCause, Log, LogState, Registry, RegistryError, Resolution,
};
use jurat_store::{OpenError, RedbOptions, WalStore};

use crate::cli::{Failed, before_opening};
use crate::config::Admin;
use crate::evidence::{EvidenceFolder, convicted_logs};
use crate::journal::peers::PeersJournal;
use crate::journal::{Entry, Journal, Recorder, state_name};
use crate::lists::{FETCH_TIMEOUT, Mode, Source, Target};
use crate::losses::{Loss, Lost, Said};
use crate::peers_command;
use crate::restore::evidence_id;
use crate::restore::own::Files;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum LogsCommand {
    /// Cosign a log, or trust another key of one that is known, or say more about it
    Add(NewLog),
    /// A log has done with a key: what the key signs is refused from now on, and convicts the log
    /// of nothing
    Retire {
        /// The first line of its checkpoints
        origin: Origin,
        /// The key
        vkey: String,
        /// It signs with the key after all
        #[arg(long)]
        undo: bool,
    },
    /// Print the logs
    List {
        /// Only those that are cosigned
        #[arg(long, conflicts_with_all = ["disabled", "held"])]
        active: bool,
        /// Only those that are disabled
        #[arg(long, conflicts_with = "held")]
        disabled: bool,
        /// Only those that nothing is signed for until you decide
        #[arg(long)]
        held: bool,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Print all that is known of a log, and what was cosigned for it last
    Show {
        /// The first line of its checkpoints
        origin: Origin,
        /// Where the witness that serves is asked, when it is not where the configuration says
        #[arg(long, value_name = "URL")]
        at: Option<String>,
    },
    /// Refuse a log from now on. Its state is kept
    Disable {
        /// The first line of its checkpoints
        origin: Origin,
        /// Why, for whoever reads it later
        #[arg(long)]
        reason: Option<String>,
    },
    /// Cosign a log again, from where it stopped
    Enable {
        /// The first line of its checkpoints
        origin: Origin,
    },
    /// Decide on a log that is held: take the evidence as the latest checkpoint, or put it aside
    #[command(
        group(ArgGroup::new("decision").required(true).args(["adopt", "dismiss"])),
        group(ArgGroup::new("which").required(true).args(["origin", "all_ahead", "all_moved"])),
    )]
    Resolve {
        /// The first line of its checkpoints
        origin: Option<Origin>,
        /// All logs that are held only because another witness, or the log itself, was ahead
        #[arg(long, conflicts_with = "adopt")]
        all_ahead: bool,
        /// All logs that are held because the state is a copy. It is the newest there is: it was
        /// moved in order, or nothing was cosigned since it was copied
        #[arg(long, conflicts_with = "adopt")]
        all_moved: bool,
        /// This witness cosigned it: it becomes the latest checkpoint, and the log is free again
        #[arg(long)]
        adopt: bool,
        /// It is explained otherwise: the log is free again, and this evidence does not hold it
        #[arg(long)]
        dismiss: bool,
        /// Why, for whoever reads the journal later
        #[arg(long)]
        reason: String,
    },
    /// Take the list as it is although it lost a hold, a disabled state or keys that its journal
    /// has: somebody edited it, or put an old one there. A log that is gone comes back, disabled
    Accept {
        /// Why, for whoever reads the journal later
        #[arg(long)]
        reason: String,
    },
    /// Add what is new in the witness network's lists that the configuration names, now
    Pull {
        /// Only print what would be added and what is odd
        #[arg(long)]
        dry_run: bool,
        /// These lists instead: URLs or files
        source: Vec<String>,
    },
    /// Print the journal of all changes of the list, or check that it is whole
    Journal {
        /// Only check it
        #[arg(long)]
        check: bool,
    },
}

/// A log, and what is said of it.
#[derive(Debug, clap::Args)]
pub(crate) struct NewLog {
    /// The log's verifier key
    vkey: String,
    /// The first line of its checkpoints, when it is not the key's name
    #[arg(long)]
    origin: Option<Origin>,
    /// How many add-checkpoint requests it may make a day
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(QPD_MAX)))]
    qpd: Option<u32>,
    /// How to reach its operator
    #[arg(long)]
    contact: Option<String>,
    /// Where it shows its newest checkpoint, as <https://log.example.com/checkpoint>
    #[arg(long)]
    url: Option<String>,
    /// Whether nonsense that it signs about the empty tree stops it as a fork does; false at
    /// first, since honest logs have done it
    #[arg(long, value_name = "BOOL")]
    empty_stops: Option<bool>,
    /// Whether nothing of it is cosigned while nobody can join a head that it signed to the
    /// others; as [gossip] in the configuration says, at first
    #[arg(long, value_enum)]
    hold: Option<HoldSwitch>,
    /// How often, in seconds, it promised a new checkpoint: missing three is an alarm of
    /// gossip. 0 for never
    #[arg(long, value_name = "SECONDS")]
    cadence: Option<u32>,
    /// Below this size of its tree it has pruned its tiles: nobody can open heads there, and
    /// they never hold it. 0 for no size
    #[arg(long, value_name = "SIZE", value_parser = clap::value_parser!(u64).range(..=SIZE_MAX))]
    pruned_below: Option<u64>,
}

/// Whether a suspect head holds a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum HoldSwitch {
    /// It does
    On,
    /// It does not, and is an alarm
    Off,
    /// As [gossip] in the configuration says
    Default,
}

impl HoldSwitch {
    fn said(self) -> Option<bool> {
        match self {
            Self::On => Some(true),
            Self::Off => Some(false),
            Self::Default => None,
        }
    }
}

pub(crate) fn run(config: &Path, command: LogsCommand) -> Result<(), Failed> {
    let admin = Admin::load(config)?;
    let journal = Journal::beside(&admin.logs);
    let recorder = journal.by(format!("cli uid {}", uid()), &SystemClock);
    let edit = |change: &dyn Fn(&mut Registry) -> Result<Change, RegistryError>| {
        Registry::edit(&admin.logs, &recorder, change)
    };
    // Adding a log again does not enable it: whoever disabled it had a reason.
    let mut disabled = false;
    let (origin, change) = match command {
        LogsCommand::List {
            active,
            disabled,
            held,
            json,
        } => {
            let wanted = |log: &Log| {
                let in_state = |only: bool, state| !only || log.state == state;
                in_state(active, LogState::Active)
                    && in_state(disabled, LogState::Disabled)
                    && (!held || log.hold.is_some())
            };
            return list(&admin, wanted, json);
        }
        LogsCommand::Show { origin, at } => return show(&admin, &origin, at.as_deref()),
        LogsCommand::Pull { dry_run, source } => return pull(&admin, dry_run, &source),
        LogsCommand::Journal { check } => return print_journal(&journal, check),
        LogsCommand::Accept { reason } => return accept(&admin, &journal, &recorder, reason),
        LogsCommand::Add(new) => {
            let (origin, change) = add_new(&admin, &recorder, new)?;
            disabled = Registry::load(&admin.logs)?.keys_for(&origin).is_none();
            (origin, change)
        }
        LogsCommand::Resolve {
            all_moved: true,
            reason,
            ..
        } => return dismiss_copy(&admin, &recorder, reason),
        LogsCommand::Resolve {
            origin,
            adopt,
            reason,
            ..
        } => return resolve(&admin, &recorder, origin.as_ref(), adopt, reason),
        LogsCommand::Disable { origin, reason } => {
            let reason = printable("reason", reason)?;
            let change = edit(&|list| list.switch(&origin, LogState::Disabled, reason.as_deref()));
            (origin.clone(), change?)
        }
        // Spec: STO-37
        LogsCommand::Retire { origin, vkey, undo } => {
            let key = parsed_key(&vkey)?;
            let change = edit(&|list| list.retire(&origin, &key, !undo));
            (origin.clone(), change?)
        }
        LogsCommand::Enable { origin } => {
            let change = edit(&|list| list.switch(&origin, LogState::Active, None));
            (origin.clone(), change?)
        }
    };
    tell(&origin, change, disabled);
    Ok(())
}

fn tell(origin: &Origin, change: Change, disabled: bool) {
    let done = match change {
        Change::Added => "added".to_owned(),
        Change::KeysAdded(count) => {
            format!("{count} more key{}", if count == 1 { "" } else { "s" })
        }
        Change::StateChanged | Change::Changed => "changed".to_owned(),
        Change::Nothing => "it was so already".to_owned(),
    };
    let still = if disabled {
        ", and is disabled; enable it to have it cosigned"
    } else {
        ""
    };
    print(&format!("{origin}: {done}{still}\n"));
}

fn add_new(
    admin: &Admin,
    recorder: &Recorder<'_>,
    new: NewLog,
) -> Result<(Origin, Change), Failed> {
    let (origin, key) = new_log(admin, &new.vkey, new.origin)?;
    let about = About {
        qpd: new.qpd.and_then(NonZeroU32::new),
        contact: printable("contact", new.contact)?,
        url: checked_url(new.url)?,
        empty_stops: new.empty_stops,
        // Spec: WIT-133
        suspect_holds: new.hold.map(HoldSwitch::said),
        cadence_s: new.cadence.map(NonZeroU32::new),
        pruned_below: new.pruned_below.map(NonZeroU64::new),
        ..About::default()
    };
    let change = add(admin, recorder, &origin, key, about)?;
    Ok((origin, change))
}

fn add(
    admin: &Admin,
    recorder: &Recorder<'_>,
    origin: &Origin,
    key: VerifierKey,
    about: About,
) -> Result<Change, RegistryError> {
    let now = SystemClock.now().seconds();
    Registry::edit(&admin.logs, recorder, |registry| {
        let change = registry.add_keys(origin, &[key])?;
        let added = (change == Change::Added).then_some(now);
        let described = registry.describe(origin, About { added, ..about })?;
        Ok(if change == Change::Nothing {
            described
        } else {
            change
        })
    })
}

fn new_log(
    admin: &Admin,
    vkey: &str,
    origin: Option<Origin>,
) -> Result<(Origin, VerifierKey), Failed> {
    let key = parsed_key(vkey)?;
    let origin = match origin {
        Some(origin) => origin,
        None => Origin::parse(key.name().as_str())
            .map_err(|error| usage(format!("the key's name is no origin: {error}")))?,
    };
    if origin.as_str().len() > NAME_BYTES_MAX && admin.ml_dsa() {
        return Err(usage(format!(
            "an ML-DSA-44 key cosigns origins of at most {NAME_BYTES_MAX} bytes"
        )));
    }
    Ok((origin, key))
}

fn parsed_key(vkey: &str) -> Result<VerifierKey, Failed> {
    VerifierKey::parse(vkey)
        .map_err(|error| usage(format!("{vkey} is not a verifier key: {error}")))
}

fn printable(what: &str, text: Option<String>) -> Result<Option<String>, Failed> {
    match &text {
        Some(text) if text.chars().any(is_control) => {
            Err(usage(format!("the {what} has control characters")))
        }
        Some(text) if text.len() > TEXT_BYTES_MAX => Err(usage(format!(
            "the {what} has {} bytes, {TEXT_BYTES_MAX} are kept",
            text.len()
        ))),
        _ => Ok(text),
    }
}

fn checked_url(url: Option<String>) -> Result<Option<String>, Failed> {
    let url = printable("url", url)?;
    match &url {
        Some(url) if !url.starts_with("https://") && !url.starts_with("http://") => {
            Err(usage(format!("{url} is no https or http URL")))
        }
        _ => Ok(url),
    }
}

fn list(admin: &Admin, wanted: impl Fn(&Log) -> bool, json: bool) -> Result<(), Failed> {
    let mut text = String::new();
    let convicted = convicted(admin)?;
    // Spec: WIT-91
    if let Some(copy) = Files::beside(&admin.database).held().filter(|_| !json) {
        let _ = writeln!(text, "state    held since {}: {}", copy.since, copy.why);
    }
    for log in Registry::load(&admin.logs)?
        .logs()
        .filter(|log| wanted(log))
    {
        if json {
            let entry = Listed {
                origin: log.origin.as_str(),
                convicted: convicted
                    .get(&log.origin)
                    .map(|id| hex::encode(id.as_bytes())),
                entry: Entry::from(log),
            };
            let line = serde_json::to_string(&entry).map_err(|error| Failed {
                code: exit::SOFTWARE,
                message: error.to_string(),
            })?;
            let _ = writeln!(text, "{line}");
            continue;
        }
        let _ = writeln!(text, "{:8} {}", state_name(log.state), shown(&log.origin));
        for key in &log.keys {
            let _ = writeln!(text, "         {key}");
        }
        for key in &log.retired {
            let _ = writeln!(text, "         {key} (retired)");
        }
        for hold in log.holds() {
            let _ = writeln!(text, "         held: {}", hold.why);
        }
        if let Some(id) = convicted.get(&log.origin) {
            let id = hex::encode(id.as_bytes());
            let _ = writeln!(text, "         convicted: evidence {id}");
        }
    }
    print(&text);
    Ok(())
}

#[derive(serde::Serialize)]
struct Listed<'a> {
    origin: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    convicted: Option<String>,
    #[serde(flatten)]
    entry: Entry,
}

/// The logs that evidence stopped.
// Spec: WIT-129
fn convicted(admin: &Admin) -> Result<BTreeMap<Origin, Hash>, Failed> {
    let folder = EvidenceFolder::beside(&admin.database);
    convicted_logs(&folder).map_err(|error| Failed {
        code: exit::IO,
        message: format!("cannot read {}: {error}", folder.display()),
    })
}

/// Origins that are in the list from before may hold what a terminal obeys.
pub(crate) fn shown(origin: &Origin) -> String {
    let escape = |character: char| -> Box<dyn Iterator<Item = char>> {
        if is_control(character) {
            Box::new(character.escape_unicode())
        } else {
            Box::new(std::iter::once(character))
        }
    };
    origin.as_str().chars().flat_map(escape).collect()
}

fn show(admin: &Admin, origin: &Origin, at: Option<&str>) -> Result<(), Failed> {
    let registry = Registry::load(&admin.logs)?;
    let log = registry.log(origin).ok_or_else(|| Failed {
        code: exit::USAGE,
        message: format!("no log has the origin {:?}", origin.as_str()),
    })?;
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{name:9} {value}");
    };
    line("origin", &shown(&log.origin));
    line("hash", &log.origin.hash_hex());
    line("state", &state_name(log.state));
    for key in &log.keys {
        line("key", key);
    }
    for key in &log.retired {
        line("retired", key);
    }
    if log.empty_stops {
        line("stops", &"for nonsense about the empty tree, too");
    }
    show_settings(log, &mut line);
    if let Some(qpd) = log.qpd {
        line("quota", &format!("{qpd} requests a day"));
    }
    let texts = [
        ("contact", &log.contact),
        ("source", &log.source),
        ("reason", &log.reason),
        ("url", &log.url),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            line(name, value);
        }
    }
    if let Some(added) = log.added {
        line("added", &format!("at {added}"));
    }
    for hold in log.holds() {
        line(
            "held",
            &format!("since {}: {} ({})", hold.since, hold.why, hold.source),
        );
    }
    if let Some(copy) = Files::beside(&admin.database).held() {
        let why = copy.why;
        let text = format!(
            "since {}, as all logs that nothing confirms: {why}",
            copy.since
        );
        line("held", &text);
    }
    if let Some(id) = convicted(admin)?.get(origin) {
        let id = hex::encode(id.as_bytes());
        line(
            "convicted",
            &format!("evidence {id}; not cosigned any more"),
        );
    }
    match latest(admin, origin, at) {
        Ok(Some((head, time))) => {
            line("cosigned", &format!("size {} at {time}", head.size.get()));
            line("root", &head.root_hash);
        }
        Ok(None) => line("cosigned", &"never"),
        Err(reason) => line("cosigned", &format!("not known: {reason}")),
    }
    print(&text);
    Ok(())
}

/// What is said of a log for gossip.
// Spec: WIT-133
fn show_settings(log: &Log, line: &mut dyn FnMut(&str, &dyn std::fmt::Display)) {
    match log.suspect_holds {
        Some(true) => line("hold", &"on"),
        Some(false) => line("hold", &"off"),
        None => {}
    }
    if let Some(cadence) = log.cadence_s {
        line("cadence", &format!("a checkpoint each {cadence} s"));
    }
    if let Some(size) = log.pruned_below {
        line("pruned", &format!("below size {size}"));
    }
}

/// Decides on a hold, by the evidence that was read: one that another process put there meanwhile
/// is not decided on.
// Spec: WIT-86
fn resolve(
    admin: &Admin,
    recorder: &Recorder<'_>,
    origin: Option<&Origin>,
    adopt: bool,
    reason: String,
) -> Result<(), Failed> {
    let reason = printable("reason", Some(reason))?.unwrap_or_default();
    let Some(origin) = origin else {
        return dismiss_all_ahead(admin, recorder, &reason);
    };
    let registry = Registry::load(&admin.logs)?;
    let hold = registry.log(origin).and_then(|log| log.hold.as_deref());
    let Some(hold) = hold else {
        let origin = origin.clone();
        return Err(RegistryError::NotHeld { origin }.into());
    };
    if adopt && hold.cause != HoldCause::Ours {
        let message = format!(
            "only what this witness cosigned itself can be adopted, and this is not: {}",
            hold.why
        );
        let code = exit::USAGE;
        return Err(Failed { code, message });
    }
    let resolution = if adopt {
        Resolution::Adopt { reason }
    } else {
        dismissal(hold, reason)
    };
    let mut left = None;
    Registry::edit(&admin.logs, recorder, |registry| {
        let done = registry.resolve(origin, &hold.evidence, resolution)?;
        let hold = registry.log(origin).and_then(|log| log.hold.as_deref());
        left = hold.map(|hold| hold.why.clone());
        Ok(done)
    })?;
    print(&match left {
        _ if adopt => "to be adopted by the witness that serves, within seconds, or when one \
                       starts; the log is held until then\n"
            .to_owned(),
        // Spec: GSP-188
        Some(why) => format!("dismissed; the log is held for what stood below: {why}\n"),
        None => "dismissed; the log is free\n".to_owned(),
    });
    Ok(())
}

fn dismissal(hold: &Hold, reason: String) -> Resolution {
    Resolution::Dismiss(Dismissed {
        evidence: evidence_id(hold),
        reason,
        at: SystemClock.now().seconds(),
    })
}

/// Puts aside that others are ahead, for each log that is held for that and nothing else: after an
/// outage these are many.
// Spec: WIT-84
fn dismiss_all_ahead(admin: &Admin, recorder: &Recorder<'_>, reason: &str) -> Result<(), Failed> {
    let mut count = 0_usize;
    Registry::edit(&admin.logs, recorder, |registry| {
        let held: Vec<(Origin, Hold)> = registry
            .logs()
            .filter_map(|log| Some((log.origin.clone(), Hold::clone(log.hold.as_ref()?))))
            .filter(|(_, hold)| hold.cause == HoldCause::Peer)
            .collect();
        for (origin, hold) in &held {
            let resolution = dismissal(hold, reason.to_owned());
            registry.resolve(origin, &hold.evidence, resolution)?;
        }
        count = held.len();
        Ok(Change::Changed)
    })?;
    let s = if count == 1 { "" } else { "s" };
    print(&format!("dismissed; {count} log{s} free\n"));
    Ok(())
}

/// Takes the state for the newest, however many logs there are.
// Spec: WIT-93
fn dismiss_copy(admin: &Admin, recorder: &Recorder<'_>, reason: String) -> Result<(), Failed> {
    let reason = printable("reason", Some(reason))?.unwrap_or_default();
    let files = Files::beside(&admin.database);
    let Some(copy) = files.held() else {
        return Err(usage(
            "the state is not held, or no witness has served it since".to_owned(),
        ));
    };
    let failed = |error: io::Error| Failed {
        code: exit::IO,
        message: error.to_string(),
    };
    let because = format!("{reason} ({})", copy.why);
    let told = Registry::settled(&admin.logs, || recorder.tell("state taken", &because))?;
    told.and_then(|()| files.resolve(&copy, &reason))
        .map_err(failed)?;
    print(
        "to be taken for the newest by the witness that serves, within seconds, or when one \
         starts; its logs are free then\n",
    );
    Ok(())
}

/// Makes the journal say what the list says.
// Spec: WIT-74
fn accept(
    admin: &Admin,
    journal: &Journal,
    recorder: &Recorder<'_>,
    reason: String,
) -> Result<(), Failed> {
    let reason = printable("reason", Some(reason))?.unwrap_or_default();
    let failed = |message: String| Failed {
        code: exit::IO,
        message,
    };
    let losses = || -> Result<Vec<Loss>, Failed> {
        let mut said = Said::default();
        let read = said.read_on(journal);
        read.map_err(|error| failed(format!("{}: {error}", journal.path().display())))?;
        Ok(said.losses(&Registry::load(&admin.logs)?))
    };
    let mut gone: BTreeMap<Origin, Vec<VerifierKey>> = losses()?
        .into_iter()
        .filter(|loss| loss.what == Lost::Log)
        .map(|loss| (loss.origin, Vec::new()))
        .collect();
    let read = journal.check(|line| {
        let origin = Origin::parse(&line.origin).ok();
        if let Some(keys) = origin.and_then(|origin| gone.get_mut(&origin)) {
            let parsed = line.after.keys.iter();
            *keys = parsed
                .filter_map(|key| VerifierKey::parse(key).ok())
                .collect();
        }
    });
    read.map_err(|error| failed(format!("{}: {error}", journal.path().display())))?;
    Registry::edit(&admin.logs, recorder, |registry| {
        for (origin, keys) in &gone {
            registry.add_keys(origin, keys)?;
            registry.switch(origin, LogState::Disabled, Some(&reason))?;
        }
        Ok(Change::Added)
    })?;
    let accepted = Registry::settled(&admin.logs, || {
        let (losses, registry) = (losses()?, Registry::load(&admin.logs)?);
        let lost: BTreeSet<&Origin> = losses.iter().map(|loss| &loss.origin).collect();
        let logs: Vec<&Log> = lost.iter().filter_map(|lost| registry.log(lost)).collect();
        let written = recorder.accept(&logs, &reason);
        written.map_err(|error| failed(format!("{}: {error}", journal.path().display())))?;
        Ok::<_, Failed>(losses)
    })??;
    let mut text = String::new();
    for origin in gone.keys() {
        let _ = writeln!(text, "{}: back, and disabled", shown(origin));
    }
    for loss in &accepted {
        let _ = writeln!(text, "accepted: {loss}");
    }
    if text.is_empty() {
        text.push_str("the list is as its journal says\n");
    }
    print(&text);
    Ok(())
}

type Latest = Option<(jurat_proto::tree::TreeHead, String)>;

/// What was cosigned last: the witness that serves says it; when none does, its database.
fn latest(admin: &Admin, origin: &Origin, at: Option<&str>) -> Result<Latest, String> {
    before_opening(&admin.database);
    match WalStore::peek(&admin.database, RedbOptions::default(), origin) {
        Ok(latest) => {
            let time = |time: UnixSeconds| time.to_string();
            Ok(latest.map(|latest| (latest.head, time(latest.time))))
        }
        Err(OpenError::InUse { .. }) => asked(admin, origin, at),
        Err(error) => Err(error.to_string()),
    }
}

fn asked(admin: &Admin, origin: &Origin, at: Option<&str>) -> Result<Latest, String> {
    let listen = admin.listen.map(|listen| format!("http://{listen}"));
    let Some(at) = at.map(str::to_owned).or(listen) else {
        return Err("the witness that serves speaks TLS; say where, with --at URL".to_owned());
    };
    let url = format!(
        "{}/{}/checkpoint",
        at.trim_end_matches('/'),
        origin.hash_hex()
    );
    let answer = block_on(async {
        let options = ClientOptions::default();
        let client = Client::new(options).map_err(|error| error.to_string())?;
        let request = ClientRequest::get(&url).timeout(ASK_TIMEOUT);
        let answer = client.send(request).await;
        answer.map_err(|error| format!("the witness that serves does not answer: {error}"))
    })??;
    match answer.status.as_u16() {
        404 => Ok(None),
        200 => {
            let note = SignedCheckpoint::parse(&answer.body).map_err(|error| error.to_string())?;
            let lines = note.verify_signatures(&admin.verifier_keys());
            let time = lines.ok().and_then(|lines| lines.first()?.timestamp);
            let time = time.map_or_else(|| "an unknown time".to_owned(), |time| time.to_string());
            Ok(Some((note.head(), time)))
        }
        status => Err(format!("{url} answers {status}")),
    }
}

fn pull(admin: &Admin, dry_run: bool, sources: &[String]) -> Result<(), Failed> {
    let named: Vec<Source> = sources
        .iter()
        .map(|source| Source::parse(source, Path::new("")))
        .collect();
    let sources = if named.is_empty() {
        &admin.lists
    } else {
        &named
    };
    if sources.is_empty() {
        return Err(usage(
            "the configuration names no list; name one, as a URL or a file".to_owned(),
        ));
    }
    let target = Target {
        logs: admin.logs.clone(),
        ml_dsa: admin.ml_dsa(),
        logs_max: admin.lists_logs_max,
    };
    let mode = if dry_run { Mode::DryRun } else { Mode::Apply };
    let mut failed = Vec::new();
    for source in sources {
        let name = source.name();
        let pulled = block_on(async {
            let client = Client::new(ClientOptions::default()).map_err(|e| e.to_string())?;
            let bytes = source
                .read(&client, FETCH_TIMEOUT)
                .await
                .map_err(|e| e.to_string())?;
            target
                .apply(source, &bytes, &SystemClock, mode)
                .map_err(|e| e.to_string())
        })
        .and_then(|result| result);
        match pulled {
            Ok(report) => print(&report.text(&name, dry_run)),
            Err(reason) => failed.push(format!("{name}: {reason}")),
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failed {
            code: exit::UNAVAILABLE,
            message: failed.join("\n"),
        })
    }
}

fn print_journal(journal: &Journal, check: bool) -> Result<(), Failed> {
    let mut text = String::new();
    let checked = journal.check(|line| {
        if !check {
            let origin = Origin::parse(&line.origin).map_or_else(|_| String::new(), |o| shown(&o));
            let decided = line.decided().or(line.because.as_deref());
            let decided = decided.map(|reason| format!(": {reason}"));
            let _ = writeln!(
                text,
                "{} {} {origin} ({}){}",
                line.time,
                line.action,
                line.actor,
                decided.unwrap_or_default()
            );
        }
    });
    peers_command::print_checked(journal.path(), &text, checked, check)?;
    if check {
        // Spec: GSP-142. A witness without peers has none.
        let peers = PeersJournal::beside(journal.list());
        if peers.path().exists() {
            return peers_command::print_journal(&peers, true);
        }
    }
    Ok(())
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    Ok(runtime.block_on(future))
}

fn usage(message: String) -> Failed {
    Failed {
        code: exit::USAGE,
        message,
    }
}

/// The owner of this process, as the system shows it.
pub(crate) fn uid() -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").map_or(u32::MAX, |process| process.uid())
}

/// A reader that went away is no failure of the command.
fn print(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// 2^63 - 1.
const SIZE_MAX: u64 = u64::MAX >> 1;

/// The longest contact, reason or URL that is kept.
const TEXT_BYTES_MAX: usize = 1024;

/// For a witness on this machine.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Relative sources in a configuration start at its directory.
pub(crate) fn sources(lists: &[String], base: &Path) -> Vec<Source> {
    let base: PathBuf = base.to_owned();
    lists
        .iter()
        .map(|list| Source::parse(list, &base))
        .collect()
}
