//! What the authority logs of itself: its units' starts and ends, and its clock.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jurat_daemon::clock::{ClockGuard, NoTime, NotAccurate};
use jurat_daemon::shutdown::{Reloads, Shutdown};
use jurat_proto::checkpoint::Origin;
use jurat_proto::entry::{ClockEntry, ClockEvent, Entry};
use jurat_proto::key::UnixSeconds;
use jurat_store::{Landmark, LogStore, NewEntry, StoreError};
use tokio::sync::watch;

use super::lives::Lives;
use super::units::{Units, UnitsError};
use super::{Authority, Doubt};
use crate::log::{Append, AppendError, Sequencer};

/// How often the clock is looked at for a loss, and the file of units for a change.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Appends an entry, again and again while too many wait.
async fn append(sequencer: &Sequencer, entry: &Entry) -> Result<(), AppendError> {
    let Ok(entry) = NewEntry::new(entry.to_bytes()) else {
        // Not reached: these entries have a few lines.
        return Ok(());
    };
    loop {
        let append = Append {
            entry: entry.clone(),
            head: None,
        };
        match sequencer.append(append).await {
            Err(AppendError::Overloaded) => tokio::time::sleep(LOOK_EVERY).await,
            result => return result.map(|_| ()),
        }
    }
}

/// Logs the starts and the ends of units that the log lacks.
///
/// # Errors
/// When the log takes no entries.
// Spec: TSA-31, TSA-36
pub async fn log_units(units: &Units, sequencer: &Sequencer) -> Result<(), AppendError> {
    for entry in units.entries() {
        append(sequencer, &entry).await?;
    }
    Ok(())
}

/// Reads the file, and takes the log's word over it.
// Spec: TSA-34, TSA-36, TSA-37
async fn read(
    path: &std::path::Path,
    origin: &Origin,
    store: &Arc<dyn LogStore>,
) -> Result<Units, UnitsError> {
    let (path, origin, store) = (path.to_owned(), origin.clone(), Arc::clone(store));
    // A key in a device may let it wait for seconds.
    let reading = tokio::task::spawn_blocking(move || {
        let units = Units::load(&path, &origin)?;
        units.under(Lives::read(store.as_ref())?)
    });
    match reading.await {
        Ok(units) => units,
        Err(_) => Err(UnitsError::Stopped),
    }
}

/// Reads the file of units again when it changes or SIGHUP arrives. A file that cannot be used
/// leaves what was read before in force.
// Spec: TSA-34
pub async fn follow_units(
    path: PathBuf,
    origin: Origin,
    units: watch::Sender<Arc<Units>>,
    (store, sequencer): (Arc<dyn LogStore>, Sequencer),
    shutdown: Shutdown,
) {
    let Ok(mut reloads) = Reloads::new() else {
        return;
    };
    // Before anything is waited for: what changed since the start is then seen as a change, once.
    let mut seen = None;
    let mut fault = String::new();
    loop {
        let now = stamp(&path);
        if now != seen {
            match read(&path, &origin, &store).await {
                Ok(loaded) => {
                    seen = now;
                    fault.clear();
                    // Said once: at the start, or when a file says something new.
                    if loaded.overruled() != units.borrow().overruled() {
                        for overruled in loaded.overruled() {
                            tracing::error!("{overruled}");
                        }
                    }
                    if replace(&units, loaded, &sequencer).await.is_err() {
                        return;
                    }
                }
                // Tried again, since the fault may pass without a change of the file.
                Err(error) => {
                    let text = error.to_string();
                    if fault != text {
                        tracing::error!("the units cannot be used; those before stay: {text}");
                        fault = text;
                    }
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = reloads.next() => seen = None,
            () = shutdown.wait() => return,
        }
    }
}

/// Puts new units in the place of those before: a new unit's start is logged before it signs; one
/// that is closed signs nothing from before its closing is logged.
// Spec: TSA-31, TSA-33
async fn replace(
    units: &watch::Sender<Arc<Units>>,
    now: Units,
    sequencer: &Sequencer,
) -> Result<(), AppendError> {
    let before = Arc::clone(&units.borrow());
    let now = Arc::new(now.following(&before));
    for unit in now.all() {
        if before.find(unit.id).is_none() {
            let starts = now.entries_of(unit).into_iter();
            for start in starts.take(1) {
                append(sequencer, &start).await?;
            }
        }
    }
    // First, so that a request whose unit has ended finds the next one.
    units.send_replace(Arc::clone(&now));
    // Requests that wait for their place hold the unit as it was, and look at this there.
    for unit in before.all() {
        let still = now.find(unit.id);
        if still.is_none_or(|unit| unit.closed.is_some()) {
            unit.ended.store(true, Ordering::SeqCst);
        }
    }
    log_units(&now, sequencer).await
}

fn stamp(path: &std::path::Path) -> Option<(std::time::SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Logs that the clock was lost, and that it was regained; keeps the gauges.
// Spec: TSA-14
pub async fn follow_clock(authority: Arc<Authority>, shutdown: Shutdown) {
    // What was lost before a restart is lost until it is regained.
    let mut lost = match lost_before(authority.store.as_ref()) {
        Ok(lost) => lost,
        Err(error) => {
            tracing::error!("what the log says of the clock cannot be read: {error}");
            None
        }
    };
    loop {
        let ready = i64::from(authority.ready().is_ok());
        authority.metrics.ready.set(ready);
        let reachable = i64::from(authority.key_out_of_reach().is_none());
        authority.metrics.key_reachable.set(reachable);
        let until = authority.signs_until().unwrap_or_default();
        authority
            .metrics
            .signs_until
            .set(i64::try_from(until).unwrap_or(i64::MAX));
        let doubt = authority.tell().err();
        let event = match (&lost, &doubt) {
            // Before the first answers of the sources there was nothing to lose.
            (None, None) | (Some(_), Some(_)) => None,
            (None, Some(Doubt::Guard(NotAccurate::NoTime(why)))) if why.is_of_a_start() => None,
            (None, Some(why)) => Some((ClockEvent::Lost, reason(why).to_owned())),
            (Some(reason), None) => Some((ClockEvent::Regained, reason.clone())),
        };
        if let Some((event, reason)) = event {
            let entry = clock_entry(&authority.clock, event, &reason);
            if let Some(entry) = entry
                && append(&authority.sequencer, &entry).await.is_err()
            {
                return;
            }
            lost = (event == ClockEvent::Lost).then_some(reason);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shutdown.wait() => return,
        }
    }
}

fn clock_entry(clock: &ClockGuard, event: ClockEvent, reason: &str) -> Option<Entry> {
    let time = UnixSeconds::new(clock.clock().now().seconds())?;
    ClockEntry::new(event, time, reason).ok().map(Entry::Clock)
}

/// Why the clock was lost, if the last that the log says of it is that it was.
// Spec: TSA-14
fn lost_before(store: &dyn LogStore) -> Result<Option<String>, StoreError> {
    let Some(index) = store.newest(Landmark::Clock)? else {
        return Ok(None);
    };
    let entry = store.entry(index)?.map(|bytes| Entry::parse(&bytes));
    Ok(match entry {
        Some(Ok(Entry::Clock(entry))) if entry.event() == ClockEvent::Lost => {
            Some(entry.reason().to_owned())
        }
        _ => None,
    })
}

/// In a word.
fn reason(why: &Doubt) -> &'static str {
    let why = match why {
        Doubt::Guard(why) => why,
        Doubt::AheadOfWitnesses { .. } => return "ahead-of-witnesses",
    };
    match why {
        NotAccurate::NoTime(NoTime::SteppedBack(_)) => "stepped-back",
        NotAccurate::NoTime(NoTime::Leapt(_)) => "leapt",
        NotAccurate::NoTime(NoTime::Outside { .. }) => "outside",
        NotAccurate::NoTime(NoTime::NoAgreement { .. }) => "no-agreement",
        NotAccurate::NoTime(NoTime::Stale { .. }) => "stale",
        NotAccurate::NoTime(NoTime::Waiting { .. }) => "waiting",
        NotAccurate::NoTime(NoTime::NotSynchronised(_)) => "not-synchronised",
        NotAccurate::NoSources => "no-sources",
        NotAccurate::TooUncertain { .. } => "too-uncertain",
    }
}
