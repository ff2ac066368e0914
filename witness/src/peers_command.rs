//! `jurat-witness peers …`: with whom this witness gossips, and how it is with each of them. Reads
//! files, while a witness serves or not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use clap::Subcommand;
use jurat_daemon::clock::{Clock as _, SystemClock};
use jurat_daemon::exit;
use jurat_proto::log_list::is_control;
use serde::Serialize;

use crate::cli::Failed;
use crate::config::Admin;
use crate::gossip::NamedPeer;
use crate::gossip::account::{self, Account, Standing};
use crate::journal::JournalError;
use crate::journal::peers::{PeerLine, PeersJournal};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum PeersCommand {
    /// Print each peer: where it is asked, whose it is, when it was heard, and whether it fails
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Print the journal of all changes of the peers, or check that it is whole
    Journal {
        /// Only check it
        #[arg(long)]
        check: bool,
    },
}

pub(crate) fn run(config: &Path, command: &PeersCommand) -> Result<(), Failed> {
    let admin = Admin::load(config)?;
    match command {
        PeersCommand::List { json } => list(&admin, *json),
        PeersCommand::Journal { check } => {
            print_journal(&PeersJournal::beside(&admin.logs), *check)
        }
    }
}

/// How it is with a peer, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// It answers.
    Answers,
    /// It does not, for less long than what is an alarm.
    Failing,
    /// It does not answer, and that is an alarm.
    Silent,
    /// What it says of itself does not fit.
    Misbehaves,
    /// It is never asked: it asks, and tells.
    Outbound,
    /// It was not asked yet.
    NotAsked,
    /// It is in the configuration, and the witness has not read that since.
    NotTaken,
    /// The witness has it, and the configuration has not.
    Removed,
}

impl State {
    fn of(named: bool, standing: Option<&Standing>) -> Self {
        match standing {
            None => Self::NotTaken,
            Some(_) if !named => Self::Removed,
            Some(standing) if standing.misbehaves => Self::Misbehaves,
            Some(standing) if standing.silent => Self::Silent,
            Some(standing) if !standing.asked => Self::Outbound,
            Some(standing) if standing.failing_since.is_some() => Self::Failing,
            Some(standing) if standing.answered.is_none() => Self::NotAsked,
            Some(_) => Self::Answers,
        }
    }

    fn shown(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Failing => "failing",
            Self::Silent => "silent",
            Self::Misbehaves => "misbehaves",
            Self::Outbound => "outbound",
            Self::NotAsked => "not asked",
            Self::NotTaken => "not taken",
            Self::Removed => "removed",
        }
    }
}

/// A peer, for programs.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    name: &'a str,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<&'a str>,
    /// When this was written, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<u64>,
    #[serde(flatten)]
    standing: Option<&'a Standing>,
}

// Spec: GSP-141
fn list(admin: &Admin, json: bool) -> Result<(), Failed> {
    let Some(written) = &admin.peers else {
        return Err(Failed {
            code: exit::USAGE,
            message: "the configuration has no [gossip]: this witness has no peers".to_owned(),
        });
    };
    let (account, unreadable) = match account::beside(&admin.database) {
        Ok(account) => (account, None),
        Err(error) => (None, Some(error)),
    };
    if let Some(error) = unreadable {
        let told = format!("jurat-witness: what was written of the peers is unreadable: {error}\n");
        let _ = io::stderr().write_all(told.as_bytes());
    }
    let configured: BTreeMap<&str, &NamedPeer> = written
        .iter()
        .map(|peer| (peer.name.as_str(), peer))
        .collect();
    let standings = account.as_ref().map(|account| &account.peers);
    let mut names: Vec<&str> = configured.keys().copied().collect();
    names.extend(standings.into_iter().flatten().map(|(name, _)| &**name));
    names.sort_unstable();
    names.dedup();
    let mut text = String::new();
    for name in names {
        let peer = configured.get(name);
        let standing = standings.and_then(|standings| standings.get(name));
        let operator = peer.map(|peer| peer.operator.as_str());
        let listed = Listed {
            name,
            state: State::of(peer.is_some(), standing),
            url: peer.and_then(|peer| peer.url.as_deref()),
            operator: operator.filter(|operator| !operator.is_empty()),
            written: account.as_ref().map(|account| account.written),
            standing,
        };
        if json {
            let line = serde_json::to_string(&listed).map_err(|error| Failed {
                code: exit::SOFTWARE,
                message: error.to_string(),
            })?;
            let _ = writeln!(text, "{line}");
        } else {
            text.push_str(&line_of(&listed));
        }
    }
    if !json {
        text.push_str(&age_of(account.as_ref()));
    }
    print(&text);
    Ok(())
}

/// For people.
fn line_of(peer: &Listed<'_>) -> String {
    let now = SystemClock.now().seconds();
    let mut text = format!("{:10} {}", peer.state.shown(), printable(peer.name));
    if let Some(url) = peer.url {
        let _ = write!(text, " {}", printable(url));
    }
    if let Some(operator) = peer.operator {
        let _ = write!(text, " ({})", printable(operator));
    }
    text.push('\n');
    let Some(standing) = peer.standing else {
        return text;
    };
    let ago = |time: u64| format!("{} s ago", now.saturating_sub(time));
    let mut facts = Vec::new();
    facts.extend(
        standing
            .answered
            .map(|time| format!("answered {}", ago(time))),
    );
    facts.extend(
        standing
            .claimed
            .map(|time| format!("asked us {}", ago(time))),
    );
    facts.extend(standing.failing_since.map(|time| {
        let count = standing.failures.max(1);
        format!(
            "failing since {} s, {count} in a row",
            now.saturating_sub(time)
        )
    }));
    let pause = standing
        .paused_until
        .and_then(|until| until.checked_sub(now));
    let pause = pause.filter(|seconds| *seconds > 0);
    facts.extend(pause.map(|seconds| format!("asked again in {seconds} s")));
    let offset = standing.clock_offset_s.filter(|offset| *offset != 0);
    facts.extend(offset.map(|offset| format!("its clock is {offset:+} s off ours")));
    if !facts.is_empty() {
        let _ = writeln!(text, "           {}", facts.join("; "));
    }
    text
}

fn age_of(account: Option<&Account>) -> String {
    let Some(account) = account else {
        return "no witness has said yet how it is with them\n".to_owned();
    };
    let age = SystemClock.now().seconds().saturating_sub(account.written);
    if age > account.every_s.saturating_mul(LATE).saturating_add(LATE) {
        return format!("as it was {age} s ago: no witness serves here, or it is stuck\n");
    }
    format!("as it was {age} s ago\n")
}

/// What a journal has, or that it is whole.
pub(crate) fn print_checked(
    journal: &Path,
    lines: &str,
    checked: Result<u64, JournalError>,
    check: bool,
) -> Result<(), Failed> {
    print(lines);
    let journal = journal.display();
    let count = checked.map_err(|error| Failed {
        code: exit::DATA,
        message: format!("{journal}: {error}"),
    })?;
    if check {
        print(&format!("{journal}: {count} lines, whole\n"));
    }
    Ok(())
}

// Spec: GSP-142
pub(crate) fn print_journal(journal: &PeersJournal, check: bool) -> Result<(), Failed> {
    let mut text = String::new();
    let checked = journal.check(|line: &PeerLine| {
        if !check {
            let PeerLine {
                time,
                action,
                peer,
                actor,
                ..
            } = line;
            let _ = writeln!(text, "{time} {action} {} ({actor})", printable(peer));
        }
    });
    print_checked(journal.path(), &text, checked, check)
}

/// Without what a terminal obeys.
fn printable(text: &str) -> String {
    let escape = |character: char| match character {
        control if is_control(control) => control.escape_unicode().collect::<String>(),
        other => other.to_string(),
    };
    text.chars().map(escape).collect()
}

/// A reader that went away is no failure of the command.
fn print(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// Of how many turns none may have been written before that is told.
const LATE: u64 = 3;
