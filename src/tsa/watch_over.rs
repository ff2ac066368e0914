//! What the authority logs of itself: its units' starts and ends, and its clock.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jurat_daemon::clock::{ClockGuard, NoTime};
use jurat_daemon::shutdown::{Reloads, Shutdown};
use jurat_proto::checkpoint::Origin;
use jurat_proto::entry::{ClockEntry, ClockEvent, Entry};
use jurat_proto::key::UnixSeconds;
use jurat_store::NewEntry;
use tokio::sync::watch;

use super::Authority;
use super::units::{Unit, Units};
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

/// Logs the start and the end of each unit that was read at start.
///
/// # Errors
/// When the log takes no entries.
// Spec: TSA-31
pub async fn log_units(units: &Units, sequencer: &Sequencer) -> Result<(), AppendError> {
    for unit in units.all() {
        log_life(unit, sequencer).await?;
    }
    Ok(())
}

/// The entries of a unit's life so far: the same bytes every time, and so there once.
async fn log_life(unit: &Unit, sequencer: &Sequencer) -> Result<(), AppendError> {
    for entry in unit.entries() {
        append(sequencer, &entry).await?;
    }
    Ok(())
}

/// Reads the file of units again when it changes or SIGHUP arrives. A file that cannot be used
/// leaves what was read before in force.
// Spec: TSA-34
pub async fn follow_units(
    path: PathBuf,
    origin: Origin,
    units: watch::Sender<Arc<Units>>,
    sequencer: Sequencer,
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
            match Units::load(&path, &origin) {
                Ok(loaded) => {
                    seen = now;
                    fault.clear();
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
        if before.find(unit.id).is_none()
            && let Some(start) = unit.entries().first()
        {
            append(sequencer, start).await?;
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
    let mut lost: Option<&'static str> = None;
    loop {
        let ready = i64::from(authority.ready().is_ok());
        authority.metrics.ready.set(ready);
        let until = authority.signs_until().unwrap_or_default();
        authority
            .metrics
            .signs_until
            .set(i64::try_from(until).unwrap_or(i64::MAX));
        let doubt = authority.clock.read().err();
        let event = match (lost, &doubt) {
            // Before the first answers of the sources there was nothing to lose.
            (None, Some(NoTime::Waiting { .. }) | None) | (Some(_), Some(_)) => None,
            (None, Some(why)) => Some((ClockEvent::Lost, reason(why))),
            (Some(reason), None) => Some((ClockEvent::Regained, reason)),
        };
        if let Some((event, reason)) = event {
            let entry = clock_entry(&authority.clock, event, reason);
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

/// In a word.
fn reason(why: &NoTime) -> &'static str {
    match why {
        NoTime::SteppedBack(_) => "stepped-back",
        NoTime::Leapt(_) => "leapt",
        NoTime::Outside { .. } => "outside",
        NoTime::NoAgreement { .. } => "no-agreement",
        NoTime::Stale { .. } => "stale",
        NoTime::Waiting { .. } => "waiting",
    }
}
