//! Alarms on their way to a URL: kept on the disk until it has taken them.
//!
//! ```text
//! <parent>/
//!   <numbers>                    a decimal: no alarm had this number or a larger one
//!   <waiting>/                   made with the first alarm
//!     <number>.<seconds>.<kind>.<subject>.<raised|over>
//! ```
//!
//! A file is what the URL gets; its name says the rest: when the alarm was told, its kind, and 16
//! hex digits of a hash of what it is about. What waits is told in the order of the numbers. An
//! alarm that waits already is not kept again: each start tells what stands once more.
//!
//! In scope: what waits, and for how long. Out of scope: the requests (`webhook`).

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{Alarm, Tally};
use crate::files::{DRAFT, read_bounded, replace};

/// Where an outbox is, and what of it is dropped last.
#[derive(Clone, Debug)]
pub struct Layout {
    /// A folder that is there.
    pub parent: PathBuf,
    /// The folder in it for what waits.
    pub waiting: &'static str,
    /// The file in it that keeps numbers from being used again.
    pub numbers: &'static str,
    /// Alarms that never end: when there are too many, others go first.
    pub lasting: &'static [&'static str],
}

impl Layout {
    fn folder(&self) -> PathBuf {
        self.parent.join(self.waiting)
    }

    fn number_file(&self) -> PathBuf {
        self.parent.join(self.numbers)
    }

    /// The number that no alarm has had, nor a larger one; 0 when there was none.
    fn next(&self) -> io::Result<u64> {
        let bytes = match read_bounded(&self.number_file(), NUMBER_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            read => read?,
        };
        let text = str::from_utf8(&bytes).ok();
        let number = text.and_then(|text| text.trim_end().parse().ok());
        number.ok_or_else(|| {
            let file = self.number_file();
            io::Error::other(format!("{} is no number", file.display()))
        })
    }
}

/// What waits for a URL.
pub struct Outbox {
    layout: Layout,
    /// Whether this process writes there.
    ours: bool,
    waiting: Mutex<BTreeMap<u64, Waiting>>,
    /// The number of the next alarm.
    next: AtomicU64,
    /// Up to which none is used again.
    reserved: Mutex<u64>,
    /// Something waits.
    pub(super) wake: Notify,
    tally: Arc<dyn Tally>,
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
    /// How often the URL has refused it since the start.
    refused: u32,
    /// How often the URL has failed over it since the start.
    failed: u32,
}

impl Waiting {
    fn of(alarm: &Alarm, since: u64) -> Self {
        Self {
            since,
            kind: alarm.kind.to_owned(),
            subject: alarm.subject.as_str().to_owned(),
            raised: alarm.raised,
            unwritten: None,
            refused: 0,
            failed: 0,
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
        let number = number.parse().ok()?;
        let waiting = Self {
            since: since.parse().ok()?,
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            raised: state == RAISED,
            unwritten: None,
            refused: 0,
            failed: 0,
        };
        (waiting.name(number) == name).then_some((number, waiting))
    }

    /// How often it was tried in vain, as far as that says something of it: what the URL fails over
    /// a few times may be the URL's fault.
    fn tried(&self) -> u32 {
        self.refused.saturating_add(self.failed / FAILED_MIN)
    }

    fn is_about(&self, other: &Self) -> bool {
        self.kind == other.kind && self.subject == other.subject
    }
}

impl Outbox {
    /// Takes up what waits. A folder that cannot be read is no reason not to start: what is in it
    /// is told when it can be.
    ///
    /// Two processes must not do so at a time; the caller sees to that.
    pub fn open(layout: Layout, tally: Arc<dyn Tally>) -> Self {
        let waiting = match read_all(&layout.folder()) {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::error!(%error, "alarms that wait cannot be read");
                BTreeMap::new()
            }
        };
        let this = Self::with(layout, true, waiting, tally);
        this.reserve(this.next.load(Ordering::Relaxed));
        this.show();
        this
    }

    /// One in memory alone, whose numbers are larger than those on the disk: where another process
    /// has what is there.
    // Spec: SVC-66
    pub fn in_memory(layout: Layout, tally: Arc<dyn Tally>) -> Self {
        Self::with(layout, false, BTreeMap::new(), tally)
    }

    fn with(
        layout: Layout,
        ours: bool,
        waiting: BTreeMap<u64, Waiting>,
        tally: Arc<dyn Tally>,
    ) -> Self {
        let last = waiting.last_key_value().map_or(0, |(last, _)| last + 1);
        let next = match layout.next() {
            Ok(next) => next.max(last),
            Err(error) => {
                tracing::error!(%error, "the number of the last alarm is not known");
                last
            }
        };
        Self {
            layout,
            ours,
            waiting: Mutex::new(waiting),
            next: AtomicU64::new(next),
            reserved: Mutex::new(next),
            wake: Notify::new(),
            tally,
        }
    }

    /// The number of an alarm: larger than that of each one before, across starts, too.
    // Spec: GSP-137, SVC-66
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes sure that no number up to some after this one is used again. Blocks now and then.
    fn reserve(&self, number: u64) {
        let mut reserved = lock(&self.reserved);
        if !self.ours || number.saturating_add(NUMBERS / 2) < *reserved {
            return;
        }
        let next = number.saturating_add(NUMBERS);
        match replace(&self.layout.number_file(), format!("{next}\n").as_bytes()) {
            Ok(()) => *reserved = next,
            Err(error) => tracing::error!(%error, "the number of an alarm was not written"),
        }
    }

    /// Keeps an alarm. Blocks until it is durable, or was lost and said to be.
    // Spec: GSP-136, SVC-65
    pub(super) fn put(&self, number: u64, alarm: &Alarm, now: u64, body: &[u8]) {
        self.reserve(number);
        let mut new = Waiting::of(alarm, now);
        {
            let waiting = lock(&self.waiting);
            let mut before = waiting.values().rev();
            let before = before.find(|before| before.is_about(&new));
            if before.is_some_and(|before| before.raised == new.raised) {
                return;
            }
        }
        let path = self.layout.folder().join(new.name(number));
        let kept = if self.ours {
            self.make().and_then(|()| replace(&path, body))
        } else {
            Err(io::Error::other("another process has the folder"))
        };
        if let Err(error) = kept {
            tracing::error!(%error, kind = alarm.kind, number, "an alarm is not durable");
            new.unwritten = Some(Bytes::copy_from_slice(body));
        }
        lock(&self.waiting).insert(number, new);
        self.make_room();
        self.show();
        self.wake.notify_one();
    }

    fn make(&self) -> io::Result<()> {
        let folder = self.layout.folder();
        if folder.is_dir() {
            return Ok(());
        }
        fs::create_dir(folder)?;
        File::open(&self.layout.parent)?.sync_all()
    }

    /// Drops the oldest while there are too many: of those that end first, since what lasts for
    /// good is what all of this is for.
    fn make_room(&self) {
        let lasts = |kind: &str| self.layout.lasting.contains(&kind);
        loop {
            let victim = {
                let waiting = lock(&self.waiting);
                if waiting.len() <= WAITING_MAX {
                    return;
                }
                let ends = waiting.iter().find(|(_, waiting)| !lasts(&waiting.kind));
                ends.or_else(|| waiting.first_key_value())
                    .map(|(number, _)| *number)
            };
            let Some(number) = victim else { return };
            self.lose(number, "full");
        }
    }

    /// Drops what is too old to be told.
    // Spec: GSP-136, SVC-65
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
            self.tally.lost(reason);
        }
    }

    /// The URL has taken it.
    pub(super) fn taken(&self, number: u64) {
        if self.remove(number).is_some() {
            self.tally.taken();
        }
    }

    fn remove(&self, number: u64) -> Option<Waiting> {
        let gone = lock(&self.waiting).remove(&number)?;
        let removed = fs::remove_file(self.layout.folder().join(gone.name(number)));
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, number, "an alarm that was told will be told again");
        }
        self.show();
        Some(gone)
    }

    /// The numbers of what waits, in the order in which it is told: what was refused least, so that
    /// nothing that is refused stands before what is not; of that, what lasts; of that, the oldest.
    /// That something is over is never told before that it began.
    // Spec: GSP-193
    pub(super) fn numbers(&self) -> Vec<u64> {
        let waiting = lock(&self.waiting);
        let mut tried: BTreeMap<(&str, &str), u32> = BTreeMap::new();
        let mut numbers: Vec<(u32, bool, u64)> = waiting
            .iter()
            .map(|(number, waiting)| {
                let ends = !self.layout.lasting.contains(&&*waiting.kind);
                // What was told before about the same is no later.
                let tried = tried.entry((&waiting.kind, &waiting.subject)).or_default();
                *tried = (*tried).max(waiting.tried());
                (*tried, ends, *number)
            })
            .collect();
        drop(waiting);
        numbers.sort_unstable();
        numbers.into_iter().map(|(.., number)| number).collect()
    }

    /// The URL does not want it, or not yet.
    pub(super) fn refused(&self, number: u64) {
        if let Some(waiting) = lock(&self.waiting).get_mut(&number) {
            waiting.refused = waiting.refused.saturating_add(1);
        }
    }

    /// The URL failed over it.
    pub(super) fn failed(&self, number: u64) {
        if let Some(waiting) = lock(&self.waiting).get_mut(&number) {
            waiting.failed = waiting.failed.saturating_add(1);
        }
    }

    /// Whether an alarm is about the same as one of those.
    pub(super) fn is_about_one_of(&self, number: u64, others: &[u64]) -> bool {
        let waiting = lock(&self.waiting);
        let mut others = others.iter().filter_map(|other| waiting.get(other));
        let one = waiting.get(&number);
        one.is_some_and(|one| others.any(|other| other.is_about(one)))
    }

    /// What the webhook is to get; nothing when it cannot be read, or waits no more.
    pub(super) fn body(&self, number: u64) -> Option<Bytes> {
        let waiting = lock(&self.waiting).get(&number).cloned()?;
        if let Some(bytes) = waiting.unwritten {
            return Some(bytes);
        }
        match read_bounded(
            &self.layout.folder().join(waiting.name(number)),
            BODY_BYTES_MAX,
        ) {
            Ok(bytes) => Some(Bytes::from(bytes)),
            Err(error) => {
                tracing::error!(%error, number, "an alarm that waits cannot be read");
                None
            }
        }
    }

    fn show(&self) {
        self.tally.waiting(lock(&self.waiting).len());
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

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("layout", &self.layout)
            .field("ours", &self.ours)
            .finish_non_exhaustive()
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

const RAISED: &str = "raised";
const OVER: &str = "over";
/// Some hundred kilobytes of files: a receiver that was away for days has enough to read.
// Spec: GSP-136, SVC-65
pub const WAITING_MAX: usize = 1_024;
/// After so many failures over one alarm others are tried first.
const FAILED_MIN: u32 = 3;
/// A week: longer than any holiday that nobody stands in for should be.
// Spec: GSP-136, SVC-65
const KEPT_SECONDS: u64 = 604_800;
/// How many numbers are taken from the disk at once: a start skips so many at most.
const NUMBERS: u64 = 65_536;
/// An alarm names a log, a peer or a place.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// A decimal.
const NUMBER_BYTES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::super::Subject;
    use super::*;

    /// Counts nothing.
    struct Nobody;

    impl Tally for Nobody {
        fn waiting(&self, _count: usize) {}
        fn taken(&self) {}
        fn lost(&self, _reason: &'static str) {}
    }

    fn told(kind: &'static str, about: &str) -> Alarm {
        let mut subject = [0; 8];
        for (octet, from) in subject.iter_mut().zip(about.bytes()) {
            *octet = from;
        }
        Alarm {
            kind,
            subject: Subject::new(subject),
            raised: true,
        }
    }

    fn over(alarm: &Alarm) -> Alarm {
        Alarm {
            raised: false,
            ..alarm.clone()
        }
    }

    fn layout(parent: &Path) -> Layout {
        Layout {
            parent: parent.to_owned(),
            waiting: FOLDER,
            numbers: "alarmed",
            lasting: &["proven"],
        }
    }

    fn open(parent: &Path) -> Outbox {
        Outbox::open(layout(parent), Arc::new(Nobody))
    }

    fn put(outbox: &Outbox, alarm: &Alarm, now: u64) -> u64 {
        let number = outbox.number();
        let body = format!("{} {}", alarm.kind, alarm.subject.as_str());
        outbox.put(number, alarm, now, body.as_bytes());
        number
    }

    const FOLDER: &str = "alarms";

    // Spec: GSP-136, GSP-137, SVC-65, SVC-66
    #[test]
    fn what_was_not_taken_waits_across_starts_in_order_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = open(dir.path());
        let (fork, silent) = (told("proven", "a fork"), told("peer-silent", "w2"));
        let first = put(&outbox, &fork, 100);
        let second = put(&outbox, &silent, 101);
        put(&outbox, &fork, 102);
        let third = put(&outbox, &over(&silent), 103);
        assert_eq!(outbox.numbers(), [first, second, third]);
        drop(outbox);
        // A process died over one; somebody else put something there.
        let folder = dir.path().join(FOLDER);
        fs::write(folder.join("x.new"), "half").unwrap();
        fs::write(folder.join("notes"), "mine").unwrap();
        let outbox = open(dir.path());
        assert_eq!(outbox.numbers(), [first, second, third]);
        let body = outbox.body(first).unwrap();
        assert!(body.starts_with(b"proven "), "{body:?}");
        assert!(!folder.join("x.new").exists() && folder.join("notes").exists());
        // A start tells what stands again.
        let again = put(&outbox, &fork, 200);
        assert!(again > third, "numbers grow");
        assert_eq!(outbox.numbers(), [first, second, third]);
        outbox.taken(first);
        assert_eq!(outbox.numbers(), [second, third]);
        let later = put(&outbox, &fork, 300);
        drop(outbox);
        let outbox = open(dir.path());
        assert_eq!(outbox.numbers(), [later, second, third]);
        assert!(outbox.number() > later);
    }

    // Spec: GSP-193
    #[test]
    fn proofs_are_told_first_and_what_is_refused_last() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = open(dir.path());
        let silent = ["a", "b", "c"].map(|peer| put(&outbox, &told("peer-silent", peer), 0));
        let forks = ["d", "e"].map(|log| put(&outbox, &told("proven", log), 0));
        let ([one, two, three], [fork, other]) = (silent, forks);
        assert_eq!(outbox.numbers(), [fork, other, one, two, three]);
        // What nobody ever takes stands behind what was not tried as often, a proof or not.
        for number in [fork, one] {
            outbox.refused(number);
        }
        assert_eq!(outbox.numbers(), [other, two, three, fork, one]);
        for number in [other, two, three, two] {
            outbox.refused(number);
        }
        assert_eq!(outbox.numbers(), [fork, other, one, three, two]);
    }

    // Spec: GSP-193
    #[test]
    fn that_something_is_over_is_told_behind_that_it_began() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = open(dir.path());
        let isolated = told("isolated", "");
        let began = put(&outbox, &isolated, 0);
        let other = put(&outbox, &told("peer-silent", "a"), 0);
        outbox.refused(began);
        let ended = put(&outbox, &over(&isolated), 1);
        assert_eq!(outbox.numbers(), [other, began, ended]);
        assert!(outbox.is_about_one_of(ended, &[other, began]));
        assert!(!outbox.is_about_one_of(other, &[began]));
        outbox.taken(began);
        assert_eq!(outbox.numbers(), [other, ended]);
    }

    // Spec: GSP-193
    #[test]
    fn what_the_url_fails_over_again_and_again_lets_others_pass() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = open(dir.path());
        let fork = put(&outbox, &told("proven", "a"), 0);
        let silent = put(&outbox, &told("peer-silent", "b"), 0);
        for _ in 0..FAILED_MIN {
            assert_eq!(
                outbox.numbers(),
                [fork, silent],
                "it may be the URL's fault"
            );
            outbox.failed(fork);
        }
        assert_eq!(outbox.numbers(), [silent, fork]);
    }

    // Spec: GSP-136, SVC-65
    #[test]
    fn what_waits_has_a_bound_and_an_end_and_a_proof_goes_last() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = open(dir.path());
        let fork = put(&outbox, &told("proven", "a fork"), 0);
        // As many as there may be, without a wait for the disk each.
        for _ in 1..WAITING_MAX {
            let number = outbox.number();
            let silent = Waiting::of(&told("peer-silent", &number.to_string()), 0);
            fs::write(outbox.layout.folder().join(silent.name(number)), "a peer").unwrap();
        }
        let outbox = open(dir.path());
        let before = outbox.numbers();
        let isolated = told("isolated", "");
        put(&outbox, &isolated, 0);
        put(&outbox, &over(&isolated), 0);
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

    // Spec: GSP-136, SVC-65
    #[test]
    fn what_the_disk_does_not_take_is_told_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = open(dir.path());
        fs::write(dir.path().join(FOLDER), "no folder").unwrap();
        let number = put(&outbox, &told("proven", "a fork"), 0);
        let body = outbox.body(number).unwrap();
        assert!(body.starts_with(b"proven "), "{body:?}");
        outbox.taken(number);
        assert!(outbox.numbers().is_empty());
    }

    // Spec: SVC-66
    #[test]
    fn what_another_process_has_is_left_alone_and_its_numbers_are_passed() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path());
        let fork = told("proven", "a fork");
        let kept = put(&first, &fork, 0);
        let files = |parent: &Path| {
            let entries = fs::read_dir(parent.join(FOLDER)).unwrap();
            entries
                .map(|entry| entry.unwrap().path())
                .collect::<Vec<_>>()
        };
        let (before, numbers) = (
            files(dir.path()),
            fs::read(dir.path().join("alarmed")).unwrap(),
        );
        let second = Outbox::in_memory(layout(dir.path()), Arc::new(Nobody));
        let number = put(&second, &told("ended", "twice"), 0);
        assert!(number > kept + 1_000);
        assert!(second.body(number).unwrap().starts_with(b"ended "));
        assert_eq!(files(dir.path()), before);
        assert_eq!(fs::read(dir.path().join("alarmed")).unwrap(), numbers);
    }
}
