//! The log lines of the clock guard. A process of its own: whether a line is wanted is remembered
//! for the whole process, and threads without a subscriber want none.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jurat_daemon::clock::band::{LeapSecond, Sample};
use jurat_daemon::clock::{Clock as _, ClockGuard, ClockMetrics, ManualClock, RawClock, UnixTime};
use jurat_daemon::config::{self, Problems};

const START: UnixTime = UnixTime::from_seconds(1_790_000_000);

/// Where log lines go.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// Spec: CLK-34
#[test]
fn a_clock_that_is_not_believed_is_told_once_and_so_is_its_recovery() {
    let lines = Lines::default();
    let into = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer(move || into.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let clock = ManualClock::new(START);
        let file = Path::new("w.toml");
        let raw: RawClock = config::parse("ntp = [\"a\"]", file).unwrap();
        let settings = raw.resolve(&mut Problems::new(file));
        let guard = ClockGuard::new(Arc::new(clock.clone()), settings, ClockMetrics::default());
        let says = |time| {
            let sample = Sample {
                source: 0,
                at: clock.boot_time(),
                earliest: time,
                latest: time,
                leap: LeapSecond::None,
            };
            guard.answered(0, &Ok(sample));
        };
        let read = || {
            for _ in 0..3 {
                let _ = guard.read();
            }
        };
        read();
        says(START);
        read();
        clock.step_back(Duration::from_secs(3600));
        read();
        clock.advance(Duration::from_secs(700));
        read();
        clock.step_forward(Duration::from_secs(3600));
        says(clock.now());
        read();
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let told: Vec<&str> = text
        .lines()
        .map(|line| line.split(" fault=").next().unwrap().trim())
        .collect();
    assert_eq!(
        told,
        [
            "INFO no time is stated until the time sources agree",
            "INFO the clock is believed again",
            "ERROR the clock is not believed; no time is stated",
            "ERROR the clock is not believed; no time is stated",
            "INFO the clock is believed again",
        ]
    );
}
