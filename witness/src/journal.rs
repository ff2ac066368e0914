//! The journal of administrative actions: what changed in the list of logs, when, and by whom.
//!
//! ```text
//! {"previous":"<SHA-256 of the line before>","time":1790000000,"actor":"cli uid 1000",
//!  "action":"added","origin":"…","before":null,"after":{…}}
//! ```
//!
//! One JSON object a line, appended and made durable before the change takes effect
//! ([`jurat_store::registry::Record`]), under the lock of the list. So it may say of a change that
//! a crash kept from being made; the next line about the same log then has the old `before` again.
//! It is never shortened. Each line names the one before it (`chain`).
//!
//! A list is compared with the last line about each of its logs ([`crate::losses`]). A line
//! `accepted` says, with `because`, that a log is as it is whatever was said before.
//!
//! Who is a peer of gossip has a journal of its own beside it ([`peers`]).
//!
//! Rows: `spec/witness.md` WIT-69, WIT-70, WIT-74.

mod chain;
pub mod peers;

use std::io;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};

use jurat_daemon::clock::Clock;
use jurat_proto::hash::sha256;
use jurat_store::registry::{DISMISSED_MAX, Edit, Log, LogState, Record};
use serde::{Deserialize, Serialize};

pub use self::chain::JournalError;
pub(crate) use self::chain::LINE_BYTES_MAX;
use self::chain::{Before, Link};

/// The file's name, beside the list of logs.
pub const FILE_NAME: &str = "journal.ndjson";

/// The journal of a list of logs.
#[derive(Debug, Clone)]
pub struct Journal {
    path: PathBuf,
    list: PathBuf,
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// SHA-256 of the line before, in hex; 64 zeroes in the first.
    pub previous: String,
    /// Whether the line before was cut short by a crash.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub after_cut: bool,
    /// When, in seconds since 1970, by the clock of the machine.
    pub time: u64,
    /// Who, as far as that is known.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// To which log; empty when it is about the state.
    pub origin: String,
    /// Why, where a reason has to be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// How the log was; nothing when it is new.
    pub before: Option<Entry>,
    /// How it is from now on.
    pub after: Entry,
}

impl Link for Line {
    fn previous(&self) -> &str {
        &self.previous
    }

    fn after_cut(&self) -> bool {
        self.after_cut
    }
}

/// A log as it stands in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its verifier keys.
    pub keys: Vec<String>,
    /// The keys that it has done with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<String>,
    /// `active` or `disabled`.
    pub state: String,
    /// Requests a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qpd: Option<u32>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// The list it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Why it is disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where it shows its checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether nonsense about the empty tree stops it, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_stops: bool,
    /// Whether a suspect head holds it, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect_holds: Option<bool>,
    /// How often it promised a checkpoint, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cadence_s: Option<u32>,
    /// Below which size it has no tiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned_below: Option<u64>,
    /// What it is held for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// Whether that needs no decision: an imported head, with nothing worse above it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hold_imported: bool,
    /// Whether there is an imported head below what it is held for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub imported_below: bool,
    /// Which imported heads it waits for: of each the first 16 hex digits of SHA-256 of its text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imported: Vec<String>,
    /// How much evidence was dismissed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dismissed: usize,
    /// Why the operator decided as was decided last on what it is or was held for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl From<&Log> for Entry {
    fn from(log: &Log) -> Self {
        Self {
            keys: log.keys.iter().map(ToString::to_string).collect(),
            retired: log.retired.iter().map(ToString::to_string).collect(),
            empty_stops: log.empty_stops,
            suspect_holds: log.suspect_holds,
            cadence_s: log.cadence_s.map(NonZeroU32::get),
            pruned_below: log.pruned_below.map(NonZeroU64::get),
            state: state_name(log.state).to_owned(),
            qpd: log.qpd.map(NonZeroU32::get),
            contact: log.contact.clone(),
            source: log.source.clone(),
            reason: log.reason.clone(),
            url: log.url.clone(),
            hold: log.hold.as_ref().map(|hold| hold.why.clone()),
            hold_imported: log.has_imported() && !log.awaits_decision(),
            imported_below: log.has_imported() && log.awaits_decision(),
            imported: imported_ids(log).map(|id| format!("{id:032x}")).collect(),
            dismissed: log.dismissed.len(),
            decision: decision(log).map(str::to_owned),
        }
    }
}

/// What the imported heads of a log are known again by: so many bits that whoever has the log's key
/// makes no two of one.
pub(crate) fn imported_ids(log: &Log) -> impl Iterator<Item = u128> {
    log.imported().map(|hold| {
        let hash = sha256(hold.evidence.as_bytes());
        let first = hash.as_bytes().first_chunk().copied();
        u128::from_be_bytes(first.unwrap_or_default())
    })
}

/// The reason that was given to adopt what the log is held for; else the one that was given to put
/// evidence aside last.
fn decision(log: &Log) -> Option<&str> {
    let adopted = log.hold.as_ref().and_then(|hold| hold.reason.as_deref());
    let dismissed = log.dismissed.last();
    adopted.or_else(|| dismissed.map(|dismissed| dismissed.reason.as_str()))
}

impl Line {
    /// The reason that was given, if this line is about a decision on a hold.
    pub fn decided(&self) -> Option<&str> {
        let (before, after) = (self.before.as_ref()?, &self.after);
        let differs = before.decision != after.decision;
        let adopts = after.hold.is_some() && differs;
        // The oldest of many makes room for the newest.
        let dismisses = after.dismissed > before.dismissed
            || (after.dismissed == DISMISSED_MAX && after.hold.is_none() && differs);
        after.decision.as_deref().filter(|_| adopts || dismisses)
    }
}

/// Who the restore guard is in the journal.
pub const GUARD: &str = "restore guard";

/// As it stands in the list and in the journal.
pub fn state_name(state: LogState) -> &'static str {
    match state {
        LogState::Active => "active",
        LogState::Disabled => "disabled",
    }
}

fn action(edit: &Edit<'_>) -> &'static str {
    let Some(before) = edit.before else {
        return "added";
    };
    let after = edit.after;
    match (before.state, after.state) {
        (LogState::Active, LogState::Disabled) => "disabled",
        (LogState::Disabled, LogState::Active) => "enabled",
        _ if after.retired.len() > before.retired.len() => "key retired",
        _ if after.retired.len() < before.retired.len() => "key current again",
        _ if after.keys.len() > before.keys.len() => "keys added",
        _ if before.hold.is_none() && after.hold.is_some() => "held",
        _ if before.hold.is_some() && after.hold.is_none() => "released",
        _ if !before.awaits_decision() && after.awaits_decision() => "held",
        _ if before.awaits_decision() && !after.awaits_decision() => "released",
        _ if after.imported().count() > before.imported().count() => "held",
        _ if after.imported().count() < before.imported().count() => "released",
        _ => "changed",
    }
}

impl Journal {
    /// The journal of the list of logs at `logs`.
    pub fn beside(logs: &Path) -> Self {
        Self {
            path: logs.with_file_name(FILE_NAME),
            list: logs.to_owned(),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The list that it is about.
    pub(crate) fn list(&self) -> &Path {
        &self.list
    }

    /// Records changes as made by `actor`.
    pub fn by<'a>(&'a self, actor: impl Into<String>, clock: &'a dyn Clock) -> Recorder<'a> {
        Recorder {
            journal: self,
            actor: actor.into(),
            clock,
        }
    }

    /// Reads every line and checks that each names the one before. `each` gets the lines.
    ///
    /// # Errors
    /// [`JournalError`], the first that is found.
    // Spec: WIT-70
    pub fn check(&self, mut each: impl FnMut(&Line)) -> Result<u64, JournalError> {
        chain::check(&self.path, |line| each(line))
    }
}

/// Writes changes into a journal, in somebody's name.
pub struct Recorder<'a> {
    journal: &'a Journal,
    actor: String,
    clock: &'a dyn Clock,
}

/// What is done when a list is accepted as it is ([`crate::losses`]).
pub(crate) const ACCEPTED: &str = "accepted";

/// What a line says, beside who, when and after what.
struct Saying {
    action: &'static str,
    origin: String,
    because: Option<String>,
    before: Option<Entry>,
    after: Entry,
}

impl Record for Recorder<'_> {
    // Spec: WIT-69
    fn record(&self, edits: &[Edit<'_>]) -> io::Result<()> {
        let sayings = edits.iter().map(|edit| Saying {
            action: action(edit),
            origin: edit.after.origin.to_string(),
            because: None,
            before: edit.before.map(Entry::from),
            after: Entry::from(edit.after),
        });
        self.write(sayings)
    }
}

impl Recorder<'_> {
    /// Records that these logs are as they are now, whatever the journal said before. The caller
    /// has the lock of the list.
    ///
    /// # Errors
    /// It cannot be written down.
    // Spec: WIT-74
    pub(crate) fn accept(&self, logs: &[&Log], because: &str) -> io::Result<()> {
        self.write(logs.iter().map(|log| Saying {
            action: ACCEPTED,
            origin: log.origin.to_string(),
            because: Some(because.to_owned()),
            before: None,
            after: Entry::from(*log),
        }))
    }

    /// Records what was found, or decided, of the whole state. The caller has the lock of the list.
    ///
    /// # Errors
    /// It cannot be written down.
    // Spec: WIT-93
    pub(crate) fn tell(&self, action: &'static str, because: &str) -> io::Result<()> {
        let nothing = Entry {
            keys: Vec::new(),
            retired: Vec::new(),
            state: String::new(),
            qpd: None,
            contact: None,
            source: None,
            reason: None,
            url: None,
            empty_stops: false,
            suspect_holds: None,
            cadence_s: None,
            pruned_below: None,
            hold: None,
            hold_imported: false,
            imported_below: false,
            imported: Vec::new(),
            dismissed: 0,
            decision: None,
        };
        self.write(std::iter::once(Saying {
            action,
            origin: String::new(),
            because: Some(because.to_owned()),
            before: None,
            after: nothing,
        }))
    }

    fn write(&self, sayings: impl Iterator<Item = Saying>) -> io::Result<()> {
        let time = self.clock.now().seconds();
        let lines = sayings.map(|saying| {
            move |Before {
                      previous,
                      after_cut,
                  }| Line {
                previous,
                after_cut,
                time,
                actor: self.actor.clone(),
                action: saying.action.to_owned(),
                origin: saying.origin,
                because: saying.because,
                before: saying.before,
                after: saying.after,
            }
        });
        chain::append(&self.journal.path, &self.journal.list, lines)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jurat_daemon::clock::{ManualClock, UnixTime};
    use jurat_keys::{Algorithm, SigningKey};
    use jurat_proto::checkpoint::Origin;
    use jurat_proto::key::{KeyName, Signer as _, VerifierKey};
    use jurat_store::registry::{
        About, Change, Dismissed, Hold, HoldCause, Registry, RegistryError, Resolution,
    };

    use super::*;

    struct Bench {
        dir: tempfile::TempDir,
        journal: Journal,
        clock: ManualClock,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let list = dir.path().join("logs.toml");
            Registry::create(&list).unwrap();
            Self {
                journal: Journal::beside(&list),
                dir,
                clock: ManualClock::new(UnixTime::from_seconds(1_790_000_000)),
            }
        }

        fn edit(
            &self,
            edit: impl FnOnce(&mut Registry) -> Result<Change, RegistryError>,
        ) -> Result<Change, RegistryError> {
            let recorder = self.journal.by("cli uid 0", &self.clock);
            Registry::edit(self.dir.path().join("logs.toml"), &recorder, edit)
        }

        fn lines(&self) -> Result<Vec<(String, String)>, JournalError> {
            let mut lines = Vec::new();
            self.journal
                .check(|line| lines.push((line.action.clone(), line.origin.clone())))?;
            Ok(lines)
        }
    }

    fn key(name: &str) -> VerifierKey {
        let name = KeyName::parse(name).unwrap();
        let key = SigningKey::generate(name, Algorithm::Ed25519).unwrap();
        key.verifier_key().clone()
    }

    fn origin(name: &str) -> Origin {
        Origin::parse(name).unwrap()
    }

    // Spec: WIT-69, WIT-70
    #[test]
    fn each_change_leaves_a_line_that_names_the_one_before() {
        let bench = Bench::new();
        assert_eq!(bench.lines().unwrap(), []);
        let a = origin("a");
        bench.edit(|list| list.add_keys(&a, &[key("a")])).unwrap();
        bench.edit(|list| list.add_keys(&a, &[key("a")])).unwrap();
        let off = |list: &mut Registry| list.switch(&a, LogState::Disabled, Some("it forked"));
        bench.edit(off).unwrap();
        bench.edit(off).unwrap();
        let on = |list: &mut Registry| list.switch(&a, LogState::Active, None);
        bench.edit(on).unwrap();
        let lines = bench.lines().unwrap();
        let actions: Vec<&str> = lines.iter().map(|(action, _)| action.as_str()).collect();
        assert_eq!(actions, ["added", "keys added", "disabled", "enabled"]);

        let path = bench.journal.path();
        let text = fs::read_to_string(path).unwrap();
        // A line is taken out; one is changed; two change places.
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let without = [lines[0], lines[2], lines[3]].concat();
        let changed = text.replacen("it forked", "it did it", 1);
        let swapped = [lines[0], lines[2], lines[1], lines[3]].concat();
        for (broken, at) in [(without, 2), (changed, 4), (swapped, 2)] {
            fs::write(path, broken).unwrap();
            let error = bench.lines().unwrap_err();
            let told = matches!(error, JournalError::Broken { line, .. } if line == at);
            assert!(told, "{error}");
        }
    }

    // Spec: WIT-69, WIT-70
    #[test]
    fn a_line_that_a_crash_cut_short_stays_and_the_next_says_so() {
        let bench = Bench::new();
        let (a, b) = (origin("a"), origin("b"));
        bench.edit(|list| list.add_keys(&a, &[key("a")])).unwrap();
        let path = bench.journal.path();
        let whole = fs::read(path).unwrap();
        for cut in [1, 2, 40, whole.len() - 2] {
            let mut text = whole.clone();
            text.extend_from_slice(&whole[..cut]);
            fs::write(path, &text).unwrap();
            bench.lines().unwrap();
            let known = |list: &mut Registry| list.add_keys(&b, &[key("b")]);
            bench.edit(known).unwrap();
            let lines = bench.lines().unwrap();
            assert_eq!(lines.len(), 2, "{cut}");
            let now = fs::read(path).unwrap();
            assert!(now.starts_with(&text), "nothing is taken away");
        }
    }

    // Spec: WIT-69, WIT-86
    #[test]
    fn a_decision_on_a_hold_leaves_its_reason() {
        let bench = Bench::new();
        let a = origin("a");
        bench.edit(|list| list.add_keys(&a, &[key("a")])).unwrap();
        let hold = Hold {
            cause: HoldCause::Ours,
            since: 1,
            source: "somewhere".to_owned(),
            why: "it is larger".to_owned(),
            adopt: false,
            reason: None,
            evidence: "the note".to_owned(),
            below: None,
        };
        let put = |list: &mut Registry| list.hold(&a, &hold, "its id");
        let decide = |how| bench.edit(|list| list.resolve(&a, &hold.evidence, how));
        bench.edit(put).unwrap();
        let reason = "the old disk".to_owned();
        let dismiss = || {
            Resolution::Dismiss(Dismissed {
                evidence: "another id".to_owned(),
                reason: "a test copy".to_owned(),
                at: 2,
            })
        };
        for how in [dismiss(), Resolution::Adopt { reason }, Resolution::Release] {
            decide(how).unwrap();
            let _ = bench.edit(put);
        }
        decide(dismiss()).unwrap();
        bench
            .edit(|list| list.switch(&a, LogState::Disabled, Some("it forked")))
            .unwrap();
        let mut lines = Vec::new();
        let each = |line: &Line| {
            lines.push((line.action.clone(), line.decided().map(str::to_owned)));
        };
        bench.journal.check(each).unwrap();
        let lines: Vec<(&str, Option<&str>)> = lines
            .iter()
            .map(|(action, reason)| (action.as_str(), reason.as_deref()))
            .collect();
        let wanted = [
            ("added", None),
            ("held", None),
            ("released", Some("a test copy")),
            ("held", None),
            ("changed", Some("the old disk")),
            ("released", None),
            ("held", None),
            ("released", Some("a test copy")),
            ("disabled", None),
        ];
        assert_eq!(lines, wanted);
    }

    // Spec: STO-31
    #[test]
    fn what_root_records_belongs_to_the_owner_of_the_list() {
        use std::os::unix::fs::{MetadataExt as _, chown};
        let bench = Bench::new();
        let list = bench.dir.path().join("logs.toml");
        let owner = |path: &Path| {
            fs::metadata(path)
                .map(|file| (file.uid(), file.gid()))
                .unwrap()
        };
        let mut wanted = owner(&list);
        // Only root can give files away; for all others there is one owner anyway.
        if chown(&list, Some(12_345), Some(12_346)).is_ok() {
            wanted = (12_345, 12_346);
        }
        let a = origin("a");
        bench.edit(|list| list.add_keys(&a, &[key("a")])).unwrap();
        let lock = bench.dir.path().join("logs.toml.lock");
        for path in [list.as_path(), bench.journal.path(), &lock] {
            assert_eq!(owner(path), wanted, "{}", path.display());
        }
    }

    // Spec: WIT-69, WIT-70
    #[test]
    fn a_line_that_nobody_would_read_is_not_written() {
        let bench = Bench::new();
        let a = origin("a");
        bench.edit(|list| list.add_keys(&a, &[key("a")])).unwrap();
        let about = About {
            contact: Some("c".repeat(LINE_BYTES_MAX)),
            ..About::default()
        };
        let refused = bench.edit(|list| list.describe(&a, about));
        assert!(matches!(refused, Err(RegistryError::NotRecorded(_))));
        assert_eq!(bench.lines().unwrap().len(), 1);
    }

    // Spec: WIT-69
    #[test]
    fn without_a_line_there_is_no_change() {
        let bench = Bench::new();
        fs::create_dir(bench.journal.path()).unwrap();
        let a = origin("a");
        let refused = bench.edit(|list| list.add_keys(&a, &[key("a")]));
        assert!(matches!(refused, Err(RegistryError::NotRecorded(_))));
        let list = Registry::load(bench.dir.path().join("logs.toml")).unwrap();
        assert_eq!(list, Registry::default());
    }
}
