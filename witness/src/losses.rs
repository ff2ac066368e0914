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
//! those who rely on the witness must not go without a word: a hold, what was imported, a log that
//! is disabled, the keys of a log, the log itself. A hold that ends by itself does not stand for
//! one that awaits a decision. All else may be edited by hand, and so may a list that has no
//! journal.
//!
//! A line may say of a change that a crash kept from being made. If it added the log, nothing is
//! missed; otherwise the list and its journal differ, and the operator says what holds: makes the
//! change again, or accepts the list as it is. A line whose `before` has lost something that the
//! line before it had does not make up for it.
//!
//! A journal grows for ever, and parsing 200,000 lines takes a second. So what was read is kept in
//! a file beside it (`kept`), and a start reads what came after.
//!
//! In scope: reading the journal as it grows and comparing. Out of scope: whether the journal is
//! whole ([`Journal::check`]).
//!
//! Rows: `spec/witness.md` WIT-74, WIT-76.

mod kept;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::{Hash, sha256};
use jurat_proto::key::VerifierKey;
use jurat_store::registry::{LogState, Registry};

use self::kept::Last;
use crate::journal::{ACCEPTED, Entry, Journal, LINE_BYTES_MAX, Line, imported_ids, state_name};

/// What the journal says of each log, as far as it was read: about 150 bytes a log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    logs: BTreeMap<Origin, Facts>,
    /// How much of the journal was read.
    bytes: u64,
    /// Where that ends.
    last: Last,
    /// How much of it is in what is kept.
    kept: u64,
}

impl Default for Said {
    fn default() -> Self {
        Self {
            logs: BTreeMap::new(),
            bytes: 0,
            last: Last {
                bytes: 0,
                digest: sha256(b""),
            },
            kept: 0,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one flag of what is kept"
)]
struct Facts {
    keys: Hash,
    disabled: bool,
    /// Until its operator decides.
    held: bool,
    /// There is an imported head that is not reached, whatever stands above it.
    imported: bool,
    /// The log may never have been in the list: the line that added it is the only one.
    only_added: bool,
    /// Which imported heads those are ([`imported_ids`]), as far as the lines say it; in order.
    heads: Box<[u128]>,
}

impl Facts {
    fn of(entry: &Entry) -> Self {
        Self {
            keys: keys_hash(&entry.keys, &entry.retired),
            disabled: entry.state == state_name(LogState::Disabled),
            held: entry.hold.is_some() && !entry.hold_imported,
            imported: entry.hold_imported || entry.imported_below,
            only_added: false,
            heads: in_order(entry.imported.iter().filter_map(|id| head(id)).collect()),
        }
    }

    fn flags(&self) -> [bool; 4] {
        [self.disabled, self.held, self.imported, self.only_added]
    }

    fn from_flags(
        keys: Hash,
        [disabled, held, imported, only_added]: [bool; 4],
        heads: Vec<u128>,
    ) -> Self {
        Self {
            keys,
            disabled,
            held,
            imported,
            only_added,
            heads: in_order(heads),
        }
    }
}

fn in_order(mut heads: Vec<u128>) -> Box<[u128]> {
    heads.sort_unstable();
    heads.dedup();
    heads.into()
}

/// As lines, and what is kept, name an imported head: 32 hex digits.
fn head(id: &str) -> Option<u128> {
    let digits = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(id, 16).ok().filter(|_| digits)
}

/// The keys in any order, and those that the log has done with.
fn keys_hash(keys: &[String], retired: &[String]) -> Hash {
    let retired = retired.iter().map(|key| format!("retired {key}"));
    let mut keys: Vec<String> = keys.iter().cloned().chain(retired).collect();
    keys.sort_unstable();
    sha256(keys.join("\n").as_bytes())
}

impl Said {
    /// Reads what was written since the last time, the first time since it was kept.
    ///
    /// # Errors
    /// The journal is there and cannot be read.
    // Spec: WIT-76
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
        if self.bytes == 0
            && let Some(kept) = kept::read(journal, &mut file)
        {
            *self = kept;
        }
        file.seek(SeekFrom::Start(self.bytes))?;
        let mut reader = BufReader::new(file);
        let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
        let (mut line, mut last) = (Vec::new(), Vec::new());
        loop {
            line.clear();
            (&mut reader).take(limit).read_until(b'\n', &mut line)?;
            // The last one may be cut short, or on its way.
            if line.last() != Some(&b'\n') && u64::try_from(line.len()) != Ok(limit) {
                break;
            }
            self.bytes += u64::try_from(line.len()).unwrap_or(u64::MAX);
            if let Ok(line) = serde_json::from_slice::<Line>(&line) {
                self.hear(&line);
            }
            std::mem::swap(&mut line, &mut last);
        }
        if !last.is_empty() {
            self.last = Last {
                bytes: last.len(),
                digest: sha256(&last),
            };
        }
        Ok(())
    }

    /// Keeps what was read for the next start, once it is `least` more bytes than what is kept.
    ///
    /// # Errors
    /// It cannot be written. That costs the next start some time; it is tried again after as many
    /// bytes more.
    // Spec: WIT-76
    pub(crate) fn keep(&mut self, journal: &Journal, least: u64) -> io::Result<()> {
        if self.bytes.saturating_sub(self.kept) < least {
            return Ok(());
        }
        self.kept = self.bytes;
        kept::write(self, journal)
    }

    /// Lets the names of logs be those of the list, so that each is in memory once.
    pub(crate) fn share(&mut self, registry: &Registry) {
        let logs = std::mem::take(&mut self.logs).into_iter();
        let shared = logs.map(|(origin, facts)| match registry.log(&origin) {
            Some(log) => (log.origin.clone(), facts),
            None => (origin, facts),
        });
        // In order, so that the nodes of the map are full.
        self.logs = shared.collect();
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
                let was = before.as_ref();
                now.disabled |= known.disabled && was.is_none_or(|before| !before.disabled);
                now.held |= known.held && was.is_none_or(|before| !before.held);
                // Spec: GSP-211
                now.imported |= known.imported && was.is_none_or(|before| !before.imported);
                let lost = known.heads.iter();
                let lost = lost
                    .filter(|head| was.is_none_or(|before| !before.heads.contains(head)))
                    .copied();
                now.heads = in_order(now.heads.iter().copied().chain(lost).collect());
                if now.keys != known.keys && was.is_none_or(|before| before.keys != known.keys) {
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
            if said.held && !log.awaits_decision() {
                lost(Lost::Hold);
            }
            // Spec: GSP-211. More than there has to be is no loss.
            let has = |head: &u128| imported_ids(log).any(|id| id == *head);
            if (said.imported && !log.has_imported()) || !said.heads.iter().all(has) {
                lost(Lost::Imported);
            }
            if said.disabled && log.state == LogState::Active {
                lost(Lost::Disabled);
            }
            let written = |keys: &[VerifierKey]| -> Vec<String> {
                keys.iter().map(ToString::to_string).collect()
            };
            if keys_hash(&written(&log.keys), &written(&log.retired)) != said.keys {
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
    /// Some of what was imported of it, and is not reached, is not there any more.
    Imported,
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
            Lost::Imported => write!(f, "{origin} has lost what was imported of it"),
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

/// What is read of a journal before it is kept anew: a thousand lines or two, some milliseconds.
pub(crate) const KEEP_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::fs;

    use jurat_daemon::clock::{ManualClock, UnixTime};
    use jurat_keys::{Algorithm, SigningKey};
    use jurat_proto::key::{KeyName, Signer as _};
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
            below: None,
        };
        list.hold(&a(), &hold, "id")
    }

    fn import(list: &mut Registry) -> Result<Change, RegistryError> {
        let hold = Hold {
            cause: HoldCause::Imported,
            since: 1,
            source: "s".to_owned(),
            why: "w".to_owned(),
            adopt: false,
            reason: None,
            evidence: "i".to_owned(),
            below: None,
        };
        list.hold(&a(), &hold, "imported id")
    }

    // Spec: WIT-74, GSP-188
    #[test]
    fn a_hold_that_ends_by_itself_does_not_stand_for_one_that_is_to_be_decided() {
        let bench = Bench::new();
        let without = bench.text();
        bench.edit(import);
        let weak = bench.text();
        assert_eq!(bench.lost(), []);
        fs::write(bench.list(), &without).unwrap();
        assert_eq!(bench.lost(), [Lost::Imported]);
        fs::write(bench.list(), &weak).unwrap();
        bench.edit(hold);
        let both = bench.text();
        assert_eq!(bench.lost(), []);
        fs::write(bench.list(), &weak).unwrap();
        assert_eq!(bench.lost(), [Lost::Hold]);
        // What is put back has both again, whichever was lost.
        let was = Registry::parse(&both).unwrap().log(&a()).unwrap().clone();
        let mut again = Registry::parse(&weak).unwrap();
        again.keep(&was);
        assert_eq!(again, Registry::parse(&both).unwrap());
        fs::write(bench.list(), &without).unwrap();
        bench.edit(hold);
        assert_eq!(bench.lost(), [Lost::Imported]);
        let mut again = Registry::load(bench.list()).unwrap();
        again.keep(&was);
        assert_eq!(again, Registry::parse(&both).unwrap());
        fs::write(bench.list(), both.replacen("fork", "imported", 1)).unwrap();
        assert_eq!(bench.lost(), [Lost::Hold], "by hand");
        // What is decided, and what is reached, leaves a line.
        fs::write(bench.list(), &both).unwrap();
        bench.edit(|list| list.resolve(&a(), "e", Resolution::Release));
        assert_eq!(bench.lost(), []);
        fs::write(bench.list(), &both).unwrap();
        assert_eq!(bench.lost(), [], "more than there has to be");
        fs::write(bench.list(), &weak).unwrap();
        bench.edit(|list| list.resolve(&a(), "i", Resolution::Release));
        assert_eq!(bench.lost(), []);
    }

    // Spec: WIT-74, WIT-76, GSP-211
    #[test]
    fn an_imported_head_is_missed_although_another_is_still_there() {
        let bench = Bench::new();
        bench.edit(import);
        let one = bench.text();
        bench.edit(|list| {
            let mut larger = list.log(&a()).unwrap().hold.as_deref().unwrap().clone();
            larger.evidence = "j".to_owned();
            list.hold(&a(), &larger, "another imported id")
        });
        let two = bench.text();
        assert_eq!(bench.lost(), []);
        fs::write(bench.list(), &one).unwrap();
        assert_eq!(bench.lost(), [Lost::Imported]);
        // Another change does not make up for it, nor does what is kept.
        bench.edit(|list| {
            let contact = Some("me".to_owned());
            list.describe(
                &a(),
                jurat_store::registry::About {
                    contact,
                    ..Default::default()
                },
            )
        });
        assert_eq!(bench.lost(), [Lost::Imported]);
        let mut said = Said::default();
        said.read_on(&bench.journal).unwrap();
        said.keep(&bench.journal, 1).unwrap();
        let mut again = Said::default();
        again.read_on(&bench.journal).unwrap();
        assert!(again.kept > 0);
        assert_eq!(again, said);
        assert_eq!(bench.lost(), [Lost::Imported]);
        // What is put back has both again.
        let was = Registry::parse(&two).unwrap().log(&a()).unwrap().clone();
        let mut list = Registry::load(bench.list()).unwrap();
        list.keep(&was);
        assert_eq!(list.log(&a()).unwrap().imported().count(), 2);
        fs::write(bench.list(), &two).unwrap();
        assert_eq!(bench.lost(), []);
        // One that is reached leaves a line, and the other is missed as before.
        bench.edit(|list| list.reach(&a(), &["i".to_owned()]));
        let other = bench.text();
        assert_eq!(bench.lost(), []);
        fs::write(bench.list(), &one).unwrap();
        assert_eq!(bench.lost(), [Lost::Imported]);
        fs::write(bench.list(), &two).unwrap();
        assert_eq!(bench.lost(), [], "more than there has to be");
        fs::write(bench.list(), &other).unwrap();
        bench.edit(|list| list.reach(&a(), &["j".to_owned()]));
        assert_eq!(bench.lost(), []);
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

    #[test]
    fn the_name_of_a_log_is_in_memory_once() {
        let bench = Bench::new();
        let mut said = Said::default();
        said.read_on(&bench.journal).unwrap();
        let facts = said.logs[&a()].clone();
        let registry = Registry::load(bench.list()).unwrap();
        let listed = registry.log(&a()).unwrap().origin.as_str();
        let name = |said: &Said| said.logs.keys().next().unwrap().as_str().as_ptr();
        assert_ne!(name(&said), listed.as_ptr());
        said.share(&registry);
        assert_eq!(name(&said), listed.as_ptr());
        assert_eq!(said.logs[&a()], facts);
        // One that is in no list stays said.
        said.share(&Registry::default());
        assert_eq!(said.logs[&a()], facts);
    }

    // Spec: WIT-76
    #[test]
    fn a_start_goes_on_from_what_is_kept_and_comes_to_what_the_whole_says() {
        let bench = Bench::new();
        let other = Origin::parse("b c").unwrap();
        bench.edit(|list| list.add_keys(&other, &[key()]));
        bench.edit(hold);
        let mut said = Said::default();
        said.read_on(&bench.journal).unwrap();
        said.keep(&bench.journal, said.bytes + 1).unwrap();
        assert!(!kept::path(&bench.journal).exists(), "too little to keep");
        said.keep(&bench.journal, 1).unwrap();
        bench.edit(off);
        let mut whole = Said::default();
        said.read_on(&bench.journal).unwrap();
        let again = || {
            let mut again = Said::default();
            again.read_on(&bench.journal).unwrap();
            again
        };
        assert_eq!(again(), said);
        assert!(said.logs[&a()].held && said.logs[&a()].disabled && said.logs[&other].only_added);
        // It is not read from the beginning: what nobody reads can be anything.
        let text = fs::read(bench.journal.path()).unwrap();
        let mut unread = text.clone();
        unread[..100].fill(b'x');
        fs::write(bench.journal.path(), &unread).unwrap();
        assert_eq!(again(), said);
        fs::remove_file(kept::path(&bench.journal)).unwrap();
        whole.read_on(&bench.journal).unwrap();
        assert_ne!(
            whole, said,
            "the first line is about a log that none is about now"
        );
    }

    // Spec: WIT-76
    #[test]
    fn what_is_kept_counts_only_whole_and_beside_the_journal_that_it_is_of() {
        let bench = Bench::new();
        let early = fs::read(bench.journal.path()).unwrap();
        bench.edit(hold);
        let mut said = Said::default();
        said.read_on(&bench.journal).unwrap();
        said.keep(&bench.journal, 1).unwrap();
        let path = kept::path(&bench.journal);
        let good = fs::read(&path).unwrap();
        let text = fs::read(bench.journal.path()).unwrap();
        // A first line that a whole reading does not understand, so that it shows which was done.
        let mut marked = text.clone();
        marked[..early.len() - 1].fill(b'x');
        fs::write(bench.journal.path(), &marked).unwrap();
        let known = || {
            let mut said = Said::default();
            said.read_on(&bench.journal).unwrap();
            said.logs
                .get(&a())
                .is_some_and(|facts| !facts.only_added && facts.held)
                && said.kept > 0
        };
        assert!(known());
        for at in 0..good.len() {
            let mut damaged = good.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert!(!known(), "byte {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert!(!known(), "{at} bytes");
        }
        fs::write(&path, [&good[..], b"\n"].concat()).unwrap();
        assert!(!known());
        fs::write(&path, &good).unwrap();
        // Another journal: a shorter one, and one that goes on in another way.
        fs::write(bench.journal.path(), &early).unwrap();
        assert!(!known());
        bench.edit(off);
        assert!(!known());
        let longer = [&early[..], &b" ".repeat(text.len())].concat();
        fs::write(bench.journal.path(), longer).unwrap();
        assert!(!known());
    }
}
