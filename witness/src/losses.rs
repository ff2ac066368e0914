//! What a list of logs lost although nobody journaled it.
//!
//! ```text
//! editor with an old buffer ─► logs.toml, without the hold of this morning
//! backup of last week       ─► logs.toml, with a log enabled that was disabled
//! anybody                   ─► logs.toml, with another key for a log
//!        none of them left a line in journal.ndjson
//! ```
//!
//! The commands, the lists and the restore guard write a line into the journal before they change
//! the list ([`crate::journal`]), so the last line about a log says how it must be. What protects
//! those who rely on the witness must not go without a word: a hold, a log that is disabled, the
//! keys of a log, the log itself. All else may be edited by hand, and so may a list that has no
//! journal.
//!
//! A line may say of a change that a crash kept from being made. If it added the log, nothing is
//! missed; otherwise the list and its journal differ, and the operator says what holds: makes the
//! change again, or accepts the list as it is. A line whose `before` has lost something that the
//! line before it had does not make up for it.
//!
//! In scope: reading the journal as it grows and comparing. Out of scope: whether the journal is
//! whole ([`Journal::check`]).
//!
//! Rows: `spec/witness.md` WIT-74.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::{Hash, sha256};
use jurat_store::registry::{LogState, Registry};

use crate::journal::{ACCEPTED, Entry, Journal, LINE_BYTES_MAX, Line, state_name};

/// What the journal says of each log, as far as it was read: about 150 bytes a log.
#[derive(Debug, Default)]
pub(crate) struct Said {
    logs: BTreeMap<Origin, Facts>,
    /// How much of the journal was read.
    bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Facts {
    keys: Hash,
    disabled: bool,
    held: bool,
    /// The log may never have been in the list: the line that added it is the only one.
    only_added: bool,
}

impl Facts {
    fn of(entry: &Entry) -> Self {
        Self {
            keys: keys_hash(entry.keys.iter().map(String::as_str)),
            disabled: entry.state == state_name(LogState::Disabled),
            held: entry.hold.is_some(),
            only_added: false,
        }
    }
}

/// The keys in any order.
fn keys_hash<'a>(keys: impl Iterator<Item = &'a str>) -> Hash {
    let mut keys: Vec<&str> = keys.collect();
    keys.sort_unstable();
    sha256(keys.join("\n").as_bytes())
}

impl Said {
    /// Reads what was written since the last time.
    ///
    /// # Errors
    /// The journal is there and cannot be read.
    pub(crate) fn read_on(&mut self, journal: &Journal) -> io::Result<()> {
        let mut file = match File::open(journal.path()) {
            // What it said stays said.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        if file.metadata()?.len() < self.bytes {
            // Another file: it is not shortened.
            *self = Self::default();
        }
        file.seek(SeekFrom::Start(self.bytes))?;
        let mut reader = BufReader::new(file);
        let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
        loop {
            let mut line = Vec::new();
            (&mut reader).take(limit).read_until(b'\n', &mut line)?;
            // The last one may be cut short, or on its way.
            if line.last() != Some(&b'\n') && u64::try_from(line.len()) != Ok(limit) {
                return Ok(());
            }
            self.bytes += u64::try_from(line.len()).unwrap_or(u64::MAX);
            if let Ok(line) = serde_json::from_slice::<Line>(&line) {
                self.hear(&line);
            }
        }
    }

    fn hear(&mut self, line: &Line) {
        let Ok(origin) = Origin::parse(&line.origin) else {
            return;
        };
        let mut now = Facts::of(&line.after);
        // A log that is added twice was not in the list after all.
        let again = |known: &&Facts| known.only_added && line.before.is_none();
        let known = self.logs.get(&origin).filter(|known| !again(known));
        match (known, &line.before) {
            (Some(known), before) if line.action != ACCEPTED => {
                let before = before.as_ref().map(Facts::of);
                now.disabled |= known.disabled && before.is_none_or(|before| !before.disabled);
                now.held |= known.held && before.is_none_or(|before| !before.held);
                if now.keys != known.keys && before.is_none_or(|before| before.keys != known.keys) {
                    now.keys = known.keys;
                }
            }
            (None, None) => now.only_added = true,
            _ => {}
        }
        self.logs.insert(origin, now);
    }

    /// What a list has lost, by origin.
    // Spec: WIT-74
    pub(crate) fn losses(&self, registry: &Registry) -> Vec<Loss> {
        let mut losses = Vec::new();
        for (origin, said) in &self.logs {
            let mut lost = |what| {
                losses.push(Loss {
                    origin: origin.clone(),
                    what,
                });
            };
            let Some(log) = registry.log(origin) else {
                if !said.only_added {
                    lost(Lost::Log);
                }
                continue;
            };
            if said.held && log.hold.is_none() {
                lost(Lost::Hold);
            }
            if said.disabled && log.state == LogState::Active {
                lost(Lost::Disabled);
            }
            let keys: Vec<String> = log.keys.iter().map(ToString::to_string).collect();
            if keys_hash(keys.iter().map(String::as_str)) != said.keys {
                lost(Lost::Keys);
            }
        }
        losses
    }
}

/// Something that a list has lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Of which log.
    pub origin: Origin,
    /// What.
    pub what: Lost,
}

/// What a list can lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The log is not in it.
    Log,
    /// The log is held no more.
    Hold,
    /// The log is active again.
    Disabled,
    /// The log has not the keys that it had.
    Keys,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, what } = self;
        match what {
            Lost::Log => write!(f, "{origin} is gone"),
            Lost::Hold => write!(f, "{origin} is not held any more"),
            Lost::Disabled => write!(f, "{origin} is not disabled any more"),
            Lost::Keys => write!(f, "{origin} has other keys"),
        }
    }
}

/// The first of them, and how many more there are.
pub(crate) fn told(losses: &[Loss]) -> String {
    let first = losses.iter().take(TOLD_MAX).map(ToString::to_string);
    let mut told = first.collect::<Vec<_>>().join("; ");
    if let Some(more) = losses.len().checked_sub(TOLD_MAX).filter(|more| *more > 0) {
        let _ = write!(told, "; and {more} more");
    }
    told
}

const TOLD_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use std::fs;

    use jurat_daemon::clock::{ManualClock, UnixTime};
    use jurat_keys::{Algorithm, SigningKey};
    use jurat_proto::key::{KeyName, Signer as _, VerifierKey};
    use jurat_store::registry::{Change, Hold, HoldCause, RegistryError, Resolution};

    use super::*;

    struct Bench {
        dir: tempfile::TempDir,
        journal: Journal,
        clock: ManualClock,
    }

    impl Bench {
        /// With a log `a` that has a key.
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let list = dir.path().join("logs.toml");
            Registry::create(&list).unwrap();
            let bench = Self {
                journal: Journal::beside(&list),
                dir,
                clock: ManualClock::new(UnixTime::from_seconds(1_790_000_000)),
            };
            bench.edit(|list| list.add_keys(&a(), &[key()]));
            bench
        }

        fn list(&self) -> std::path::PathBuf {
            self.dir.path().join("logs.toml")
        }

        fn edit(&self, edit: impl FnOnce(&mut Registry) -> Result<Change, RegistryError>) {
            let recorder = self.journal.by("test", &self.clock);
            Registry::edit(self.list(), &recorder, edit).unwrap();
        }

        fn text(&self) -> String {
            fs::read_to_string(self.list()).unwrap()
        }

        fn lost(&self) -> Vec<Lost> {
            let mut said = Said::default();
            said.read_on(&self.journal).unwrap();
            let losses = said.losses(&Registry::load(self.list()).unwrap());
            losses.into_iter().map(|loss| loss.what).collect()
        }
    }

    fn a() -> Origin {
        Origin::parse("a").unwrap()
    }

    fn key() -> VerifierKey {
        let name = KeyName::parse("a").unwrap();
        let key = SigningKey::generate(name, Algorithm::Ed25519).unwrap();
        key.verifier_key().clone()
    }

    fn hold(list: &mut Registry) -> Result<Change, RegistryError> {
        let hold = Hold {
            cause: HoldCause::Fork,
            since: 1,
            source: "s".to_owned(),
            why: "w".to_owned(),
            adopt: false,
            reason: None,
            evidence: "e".to_owned(),
        };
        list.hold(&a(), &hold, "id")
    }

    fn off(list: &mut Registry) -> Result<Change, RegistryError> {
        list.switch(&a(), LogState::Disabled, None)
    }

    // Spec: WIT-74
    #[test]
    fn what_goes_without_a_line_is_missed_and_what_goes_with_one_is_not() {
        type Edit = fn(&mut Registry) -> Result<Change, RegistryError>;
        let more: Edit = |list| list.add_keys(&a(), &[key()]);
        let changes: [(Edit, Lost, Option<Edit>); 3] = [
            (
                hold,
                Lost::Hold,
                Some(|list| list.resolve(&a(), "e", Resolution::Release)),
            ),
            (
                off,
                Lost::Disabled,
                Some(|list| list.switch(&a(), LogState::Active, None)),
            ),
            (more, Lost::Keys, None),
        ];
        for (change, lost, undo) in changes {
            let bench = Bench::new();
            let old = bench.text();
            bench.edit(change);
            assert_eq!(bench.lost(), []);
            let new = bench.text();
            fs::write(bench.list(), &old).unwrap();
            assert_eq!(bench.lost(), [lost]);
            // Another change of the log does not make up for it.
            let about = jurat_store::registry::About {
                contact: Some("me".to_owned()),
                ..Default::default()
            };
            bench.edit(|list| list.describe(&a(), about));
            assert_eq!(bench.lost(), [lost]);
            fs::write(bench.list(), &new).unwrap();
            assert_eq!(bench.lost(), []);
            if let Some(undo) = undo {
                bench.edit(undo);
                assert_eq!(bench.lost(), []);
            }
        }
    }

    // Spec: WIT-74
    #[test]
    fn a_log_is_missed_unless_a_crash_kept_it_from_being_added() {
        let bench = Bench::new();
        fs::write(bench.list(), "").unwrap();
        assert_eq!(bench.lost(), []);
        bench.edit(|list| list.add_keys(&a(), &[key()]));
        assert_eq!(bench.lost(), [], "with the key that it has now");
        bench.edit(off);
        fs::write(bench.list(), "").unwrap();
        assert_eq!(bench.lost(), [Lost::Log]);
        // As a new log with another key it is not what it was.
        bench.edit(|list| list.add_keys(&a(), &[key()]));
        assert_eq!(bench.lost(), [Lost::Disabled, Lost::Keys]);
    }

    // Spec: WIT-74
    #[test]
    fn the_journal_is_read_as_it_grows_and_needs_not_be_there() {
        let bench = Bench::new();
        let mut said = Said::default();
        said.read_on(&bench.journal).unwrap();
        let read = said.bytes;
        bench.edit(off);
        // A line that is cut short, or on its way.
        let mut text = fs::read(bench.journal.path()).unwrap();
        text.extend_from_slice(b"{\"previous\":");
        fs::write(bench.journal.path(), &text).unwrap();
        said.read_on(&bench.journal).unwrap();
        assert!(said.bytes > read && said.bytes < u64::try_from(text.len()).unwrap());
        assert!(said.logs[&a()].disabled);
        fs::remove_file(bench.journal.path()).unwrap();
        said.read_on(&bench.journal).unwrap();
        assert!(said.logs[&a()].disabled, "what it said stays said");
        assert_eq!(bench.lost(), [], "a list without a journal is as it is");
    }
}
