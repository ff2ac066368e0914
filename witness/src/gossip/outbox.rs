//! Alarms on their way to the webhook: kept on the disk until it has taken them.
//!
//! ```text
//! gossip/
//!   alarmed                      a decimal: no alarm had this number or a larger one
//!   alarms/                      made with the first alarm
//!     <number>.<seconds>.<kind>.<subject>.<raised|over>
//! ```
//!
//! A file is what the webhook gets; its name says the rest: when the alarm was told, its kind, and
//! 16 hex digits of a hash of what it is about. What waits is told in the order of the numbers. An
//! alarm that waits already is not kept again: each start tells what stands once more.
//!
//! In scope: what waits, and for how long. Out of scope: the requests ([`super::alarms`]).
//!
//! Rows: `spec/gossip.md` GSP-136, GSP-137.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use jurat_proto::decimal::parse_decimal;
use jurat_proto::hash::sha256;
use jurat_proto::hex;
use tokio::sync::Notify;

use super::alarms::Told;
use super::lock;
use super::records::{DRAFT, Records, replace};
use crate::evidence::read_bounded;
use crate::metrics::Metrics;

/// What waits for the webhook.
#[derive(Debug)]
pub(super) struct Outbox {
    folder: PathBuf,
    records: Records,
    waiting: Mutex<BTreeMap<u64, Waiting>>,
    /// The number of the next alarm.
    next: AtomicU64,
    /// Up to which none is used again.
    reserved: Mutex<u64>,
    /// Something waits.
    pub(super) wake: Notify,
    metrics: Metrics,
}

/// An alarm that waits.
#[derive(Debug, Clone)]
struct Waiting {
    /// When it was told, in seconds.
    since: u64,
    kind: String,
    subject: String,
    raised: bool,
    /// What the disk did not take is in memory alone.
    unwritten: Option<Bytes>,
}

impl Waiting {
    fn of(alarm: &Told, raised: bool, since: u64) -> Self {
        let subject = sha256(format!("{}\n{}", alarm.kind, alarm.about).as_bytes());
        let (first, _) = subject.as_bytes().split_at(8);
        Self {
            since,
            kind: alarm.kind.to_owned(),
            subject: hex::encode(first),
            raised,
            unwritten: None,
        }
    }

    fn name(&self, number: u64) -> String {
        let Self {
            since,
            kind,
            subject,
            raised,
            ..
        } = self;
        let state = if *raised { RAISED } else { OVER };
        format!("{number:020}.{since}.{kind}.{subject}.{state}")
    }

    /// Of a file, by its name.
    fn named(name: &str) -> Option<(u64, Self)> {
        let parts: Vec<&str> = name.split('.').collect();
        let [number, since, kind, subject, state] = parts[..] else {
            return None;
        };
        let digits = number.trim_start_matches('0');
        let number = parse_decimal(if digits.is_empty() { "0" } else { digits }).ok()?;
        let waiting = Self {
            since: parse_decimal(since).ok()?,
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            raised: state == RAISED,
            unwritten: None,
        };
        (waiting.name(number) == name).then_some((number, waiting))
    }

    fn is_about(&self, other: &Self) -> bool {
        self.kind == other.kind && self.subject == other.subject
    }
}

impl Outbox {
    /// Takes up what waits. A folder that cannot be read is no reason not to start: what is in it
    /// is told when it can be.
    pub(super) fn open(records: &Records, metrics: Metrics) -> Self {
        let folder = records.folder().join(FOLDER);
        let waiting = match read_all(&folder) {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::error!(%error, "alarms that wait cannot be read");
                BTreeMap::new()
            }
        };
        let last = waiting.last_key_value().map_or(0, |(last, _)| last + 1);
        let next = match records.alarmed() {
            Ok(next) => next.max(last),
            Err(error) => {
                tracing::error!(%error, "the number of the last alarm is not known");
                last
            }
        };
        let this = Self {
            folder,
            records: records.clone(),
            waiting: Mutex::new(waiting),
            next: AtomicU64::new(next),
            reserved: Mutex::new(next),
            wake: Notify::new(),
            metrics,
        };
        this.reserve(next);
        this.show();
        this
    }

    /// The number of an alarm: larger than that of each one before, across starts, too.
    // Spec: GSP-137
    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes sure that no number up to some after this one is used again. Blocks now and then.
    fn reserve(&self, number: u64) {
        let mut reserved = lock(&self.reserved);
        if number.saturating_add(NUMBERS / 2) < *reserved {
            return;
        }
        let next = number.saturating_add(NUMBERS);
        match self.records.store_alarmed(next) {
            Ok(()) => *reserved = next,
            Err(error) => tracing::error!(%error, "the number of an alarm was not written"),
        }
    }

    /// Keeps an alarm. Blocks until it is durable, or was lost and said to be.
    // Spec: GSP-136
    pub(super) fn put(&self, number: u64, alarm: &Told, raised: bool, now: u64, body: &[u8]) {
        self.reserve(number);
        let mut new = Waiting::of(alarm, raised, now);
        {
            let waiting = lock(&self.waiting);
            let mut before = waiting.values().rev();
            let before = before.find(|before| before.is_about(&new));
            if before.is_some_and(|before| before.raised == raised) {
                return;
            }
        }
        let path = self.folder.join(new.name(number));
        if let Err(error) = self.make().and_then(|()| replace(&path, body)) {
            tracing::error!(%error, kind = alarm.kind, number, "an alarm is not durable");
            new.unwritten = Some(Bytes::copy_from_slice(body));
        }
        lock(&self.waiting).insert(number, new);
        self.make_room();
        self.show();
        self.wake.notify_one();
    }

    fn make(&self) -> io::Result<()> {
        if self.folder.is_dir() {
            return Ok(());
        }
        fs::create_dir(&self.folder)?;
        File::open(self.records.folder())?.sync_all()
    }

    /// Drops the oldest while there are too many: of those that end first, since a proof stays one
    /// for good and is what all of this is for.
    fn make_room(&self) {
        loop {
            let victim = {
                let waiting = lock(&self.waiting);
                if waiting.len() <= WAITING_MAX {
                    return;
                }
                let ends = waiting.iter().find(|(_, waiting)| waiting.kind != PROVEN);
                ends.or_else(|| waiting.first_key_value())
                    .map(|(number, _)| *number)
            };
            let Some(number) = victim else { return };
            self.lose(number, "full");
        }
    }

    /// Drops what is too old to be told.
    // Spec: GSP-136
    pub(super) fn expire(&self, now: u64) {
        let old = |waiting: &Waiting| now.saturating_sub(waiting.since) > KEPT_SECONDS;
        let expired: Vec<u64> = {
            let waiting = lock(&self.waiting);
            let expired = waiting.iter().filter(|(_, waiting)| old(waiting));
            expired.map(|(number, _)| *number).collect()
        };
        for number in expired {
            self.lose(number, "old");
        }
    }

    fn lose(&self, number: u64, reason: &'static str) {
        if let Some(lost) = self.remove(number) {
            let kind = lost.kind;
            tracing::error!(number, %kind, reason, "an alarm is given up: no webhook took it");
            self.metrics.alarm_lost(reason);
        }
    }

    /// The webhook has taken it.
    pub(super) fn taken(&self, number: u64) {
        drop(self.remove(number));
    }

    fn remove(&self, number: u64) -> Option<Waiting> {
        let gone = lock(&self.waiting).remove(&number)?;
        let removed = fs::remove_file(self.folder.join(gone.name(number)));
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, number, "an alarm that was told will be told again");
        }
        self.show();
        Some(gone)
    }

    /// The numbers of what waits, the oldest first.
    pub(super) fn numbers(&self) -> Vec<u64> {
        lock(&self.waiting).keys().copied().collect()
    }

    /// What the webhook is to get; nothing when it cannot be read, or waits no more.
    pub(super) fn body(&self, number: u64) -> Option<Bytes> {
        let waiting = lock(&self.waiting).get(&number).cloned()?;
        if let Some(bytes) = waiting.unwritten {
            return Some(bytes);
        }
        match read_bounded(&self.folder.join(waiting.name(number)), BODY_BYTES_MAX) {
            Ok(bytes) => Some(Bytes::from(bytes)),
            Err(error) => {
                tracing::error!(%error, number, "an alarm that waits cannot be read");
                None
            }
        }
    }

    fn show(&self) {
        self.metrics.alarms_waiting(lock(&self.waiting).len());
    }
}

fn read_all(folder: &Path) -> io::Result<BTreeMap<u64, Waiting>> {
    let mut waiting = BTreeMap::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(waiting),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if path.extension().is_some_and(|extension| extension == DRAFT) {
            // Its alarm was never kept, and what stands is told again.
            drop(fs::remove_file(&path));
        } else if let Some((number, one)) = Waiting::named(name) {
            waiting.insert(number, one);
        } else {
            tracing::warn!(path = %path.display(), "this is no alarm, and is left alone");
        }
    }
    Ok(waiting)
}

const FOLDER: &str = "alarms";
const RAISED: &str = "raised";
const OVER: &str = "over";
/// The kind of the alarm that never ends.
const PROVEN: &str = "proven";
/// Some hundred kilobytes of files: a receiver that was away for days has enough to read.
// Spec: GSP-136
const WAITING_MAX: usize = 1_024;
/// A week: longer than any holiday that nobody stands in for should be.
// Spec: GSP-136
const KEPT_SECONDS: u64 = 604_800;
/// How many numbers are taken from the disk at once: a start skips so many at most.
const NUMBERS: u64 = 65_536;
/// An alarm names a log, a peer or a place.
const BODY_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: &'static str, about: &str) -> Told {
        Told {
            kind,
            about: about.to_owned(),
        }
    }

    fn open(folder: &Path) -> Outbox {
        let records = Records::beside(&folder.join("witness.redb")).unwrap();
        Outbox::open(&records, Metrics::unregistered())
    }

    fn put(outbox: &Outbox, alarm: &Told, raised: bool, now: u64) -> u64 {
        let number = outbox.number();
        outbox.put(number, alarm, raised, now, alarm.about.as_bytes());
        number
    }

    // Spec: GSP-136, GSP-137
    #[test]
    fn what_was_not_taken_waits_across_starts_in_order_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = open(dir.path());
        let (fork, silent) = (told("proven", "a fork"), told("peer-silent", "w2"));
        let first = put(&outbox, &fork, true, 100);
        let second = put(&outbox, &silent, true, 101);
        put(&outbox, &fork, true, 102);
        let third = put(&outbox, &silent, false, 103);
        assert_eq!(outbox.numbers(), [first, second, third]);
        drop(outbox);
        // A process died over one; somebody else put something there.
        let folder = dir.path().join("gossip").join(FOLDER);
        fs::write(folder.join("x.new"), "half").unwrap();
        fs::write(folder.join("notes"), "mine").unwrap();
        let outbox = open(dir.path());
        assert_eq!(outbox.numbers(), [first, second, third]);
        assert_eq!(outbox.body(first).unwrap(), "a fork");
        assert!(!folder.join("x.new").exists() && folder.join("notes").exists());
        // A start tells what stands again.
        let again = put(&outbox, &fork, true, 200);
        assert!(again > third, "numbers grow");
        assert_eq!(outbox.numbers(), [first, second, third]);
        outbox.taken(first);
        assert_eq!(outbox.numbers(), [second, third]);
        let later = put(&outbox, &fork, true, 300);
        drop(outbox);
        let outbox = open(dir.path());
        assert_eq!(outbox.numbers(), [second, third, later]);
        assert!(outbox.number() > later);
    }

    // Spec: GSP-136
    #[test]
    fn what_waits_has_a_bound_and_an_end_and_a_proof_goes_last() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = open(dir.path());
        let fork = put(&outbox, &told("proven", "a fork"), true, 0);
        // As many as there may be, without a wait for the disk each.
        for _ in 1..WAITING_MAX {
            let number = outbox.number();
            let silent = Waiting::of(&told("peer-silent", &number.to_string()), true, 0);
            fs::write(outbox.folder.join(silent.name(number)), "a peer").unwrap();
        }
        let outbox = open(dir.path());
        let before = outbox.numbers();
        put(&outbox, &told("isolated", ""), true, 0);
        put(&outbox, &told("isolated", ""), false, 0);
        let waiting = outbox.numbers();
        assert_eq!(waiting.len(), WAITING_MAX);
        assert_eq!(waiting[0], fork);
        assert_eq!(waiting[1], before[3], "the oldest two made room");
        outbox.expire(KEPT_SECONDS);
        assert_eq!(outbox.numbers().len(), WAITING_MAX, "a day and more");
        outbox.expire(KEPT_SECONDS + 1);
        assert!(outbox.numbers().is_empty());
        assert!(open(dir.path()).numbers().is_empty());
    }

    // Spec: GSP-136
    #[test]
    fn what_the_disk_does_not_take_is_told_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = open(dir.path());
        fs::write(dir.path().join("gossip").join(FOLDER), "no folder").unwrap();
        let number = put(&outbox, &told("proven", "a fork"), true, 0);
        assert_eq!(outbox.body(number).unwrap(), "a fork");
        outbox.taken(number);
        assert!(outbox.numbers().is_empty());
    }
}
