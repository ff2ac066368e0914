//! What an NTP daemon on this machine says of the clock that it keeps: whether it is synchronised.
//!
//! ```text
//! a file       systemd-timesyncd touches /run/systemd/timesync/synchronized at each answer
//! a command    `chronyc -c tracking`, one line of 14 fields, separated by commas
//! ```
//!
//! It is a condition, and no time source: a clock that its own daemon does not call synchronised is
//! not believed, and one that it does is judged by all else as before. What the kernel itself knows
//! (`adjtimex`) is what these daemons tell it.
//!
//! In scope: what is said, purely, and fetching it within bounds. Out of scope: what follows from
//! it ([`super::ClockGuard`]).
//!
//! Rows: `spec/clock.md` CLK-40 to CLK-42.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::UnixTime;

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalDaemon {
    /// A file that is there, and was touched not longer ago, while the clock is synchronised.
    File {
        /// Which.
        path: PathBuf,
        /// How long ago, as the clock has it.
        age_max: Duration,
    },
    /// A program that prints what `chronyc -c tracking` does.
    Command {
        /// It and its arguments; not empty.
        command: Vec<String>,
        /// How wrong the clock may be, by the daemon's own estimate.
        tolerance: Duration,
    },
}

/// Why the clock does not count as synchronised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsynchronised {
    /// It was not asked yet, or what it said is too old.
    #[error("the NTP daemon of this machine has not said that the clock is synchronised")]
    Unknown,
    /// It says that the clock is not.
    #[error("the NTP daemon of this machine says that the clock is not synchronised")]
    Denied,
    /// It was so long ago.
    #[error("the NTP daemon of this machine synchronised the clock {} s ago", .age.as_secs())]
    Old {
        /// How long.
        age: Duration,
    },
    /// It says so itself.
    #[error("the NTP daemon of this machine says that the clock can be {} ms off", .by.as_millis())]
    Uncertain {
        /// By how much.
        by: Duration,
    },
    /// It cannot be asked, or says nothing that is known. The operator is at fault.
    #[error("the NTP daemon of this machine cannot be asked whether the clock is synchronised")]
    Unreadable,
}

impl LocalDaemon {
    /// Asks, for [`ANSWER_WAIT`] at most.
    ///
    /// # Errors
    /// [`Unsynchronised`].
    // Spec: CLK-40, CLK-41, CLK-42
    pub async fn ask(&self, now: UnixTime) -> Result<(), Unsynchronised> {
        match self {
            Self::File { path, age_max } => {
                let path = path.clone();
                let reading = tokio::task::spawn_blocking(move || std::fs::metadata(path));
                let read = tokio::time::timeout(ANSWER_WAIT, reading).await;
                let touched = match read {
                    Ok(Ok(Ok(metadata))) => metadata.modified().ok(),
                    Ok(Ok(Err(error))) if error.kind() == io::ErrorKind::NotFound => {
                        return Err(Unsynchronised::Denied);
                    }
                    _ => None,
                };
                let touched = touched.ok_or(Unsynchronised::Unreadable)?;
                judge_touched(unix(touched), now, *age_max)
            }
            Self::Command { command, tolerance } => {
                let said = tokio::time::timeout(ANSWER_WAIT, run(command)).await;
                let said = said.ok().flatten().ok_or(Unsynchronised::Unreadable)?;
                judge_tracking(&said, *tolerance)
            }
        }
    }
}

/// Whether a file that was touched then says that the clock is synchronised now.
// Spec: CLK-41
fn judge_touched(
    touched: UnixTime,
    now: UnixTime,
    age_max: Duration,
) -> Result<(), Unsynchronised> {
    // One that is touched in the future was touched by another clock.
    let age = now.since(touched).max(touched.since(now));
    if age > age_max {
        return Err(Unsynchronised::Old { age });
    }
    Ok(())
}

/// Whether the clock is synchronised, and right enough, as `chronyc -c tracking` has it: field 5 is
/// its offset, fields 11 and 12 root delay and root dispersion, all in seconds, 14 the leap status.
// Spec: CLK-42
fn judge_tracking(said: &str, tolerance: Duration) -> Result<(), Unsynchronised> {
    let line = said.lines().next().ok_or(Unsynchronised::Unreadable)?;
    let fields: Vec<&str> = line.trim_end().split(',').collect();
    let [
        _,
        _,
        _,
        _,
        offset,
        _,
        _,
        _,
        _,
        _,
        delay,
        dispersion,
        _,
        leap,
    ] = fields.as_slice()
    else {
        return Err(Unsynchronised::Unreadable);
    };
    match *leap {
        "Normal" | "Insert second" | "Delete second" => {}
        "Not synchronised" => return Err(Unsynchronised::Denied),
        _ => return Err(Unsynchronised::Unreadable),
    }
    let seconds = |field: &str| {
        let seconds = field.parse::<f64>().ok().map(f64::abs);
        let length = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        length.ok_or(Unsynchronised::Unreadable)
    };
    let by = seconds(offset)?
        .saturating_add(seconds(delay)? / 2)
        .saturating_add(seconds(dispersion)?);
    if by > tolerance {
        return Err(Unsynchronised::Uncertain { by });
    }
    Ok(())
}

/// The first bytes that a program prints, if it ends well.
async fn run(command: &[String]) -> Option<String> {
    let (program, arguments) = command.split_first()?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let mut said = Vec::new();
    let mut stdout = child.stdout.take()?.take(SAID_BYTES_MAX);
    stdout.read_to_end(&mut said).await.ok()?;
    drop(stdout);
    let status = child.wait().await.ok()?;
    String::from_utf8(said).ok().filter(|_| status.success())
}

fn unix(time: SystemTime) -> UnixTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime::EPOCH.plus(since)
}

/// How long a program has to say it.
pub const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// A line of `chronyc -c tracking` has about 150.
const SAID_BYTES_MAX: u64 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Duration = Duration::from_secs(1);

    fn tracking(offset: &str, delay: &str, dispersion: &str, leap: &str) -> String {
        format!(
            "C0000201,192.0.2.1,3,1790000000.123456789,{offset},0.000012,0.000034,-1.2,0.001,0.02,\
             {delay},{dispersion},64.5,{leap}\n"
        )
    }

    // Spec: CLK-42
    #[test]
    fn chronyc_is_read_and_what_it_says_is_believed_within_the_tolerance() {
        let judge = |said: &str| judge_tracking(said, TOLERANCE);
        assert_eq!(
            judge(&tracking("-0.000004", "0.02", "0.001", "Normal")),
            Ok(())
        );
        assert_eq!(
            judge(&tracking("0.5", "0.4", "0.3", "Insert second")),
            Ok(())
        );
        let by = Duration::from_millis(1_500);
        let uncertain = Err(Unsynchronised::Uncertain { by });
        assert_eq!(judge(&tracking("-0.5", "1.0", "0.5", "Normal")), uncertain);
        let denied = Err(Unsynchronised::Denied);
        assert_eq!(judge(&tracking("0", "1", "1", "Not synchronised")), denied);
        let unreadable = [
            String::new(),
            "506 Cannot talk to daemon\n".to_owned(),
            tracking("0", "0", "0", "Maybe"),
            tracking("nan", "0", "0", "Normal"),
            tracking("0", "inf", "0", "Normal"),
            tracking("0", "0", "x", "Normal"),
            tracking("0", "0,0", "0", "Normal"),
        ];
        for said in unreadable {
            assert_eq!(judge(&said), Err(Unsynchronised::Unreadable), "{said}");
        }
    }

    // Spec: CLK-41
    #[tokio::test]
    async fn a_file_counts_while_it_is_there_and_not_too_old() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("synchronized");
        let age_max = Duration::from_secs(4_096);
        let local = LocalDaemon::File {
            path: path.clone(),
            age_max,
        };
        let now = UnixTime::from_seconds(1_790_000_000);
        assert_eq!(local.ask(now).await, Err(Unsynchronised::Denied));
        std::fs::write(&path, "").unwrap();
        let touched = unix(std::fs::metadata(&path).unwrap().modified().unwrap());
        for (now, ages) in [
            (touched, None),
            (touched.plus(age_max), None),
            (touched.plus(age_max + Duration::from_secs(1)), Some(4_097)),
            (touched.minus(Duration::from_secs(5_000)), Some(5_000)),
        ] {
            let due = ages.map_or(Ok(()), |age| {
                Err(Unsynchronised::Old {
                    age: Duration::from_secs(age),
                })
            });
            assert_eq!(local.ask(now).await, due, "{now}");
        }
    }

    // Spec: CLK-40
    #[tokio::test]
    async fn a_program_that_fails_floods_or_hangs_says_nothing() {
        let ask = |script: &str| {
            let command = ["sh", "-c", script].map(ToOwned::to_owned).to_vec();
            let tolerance = TOLERANCE;
            async move {
                let local = LocalDaemon::Command { command, tolerance };
                local.ask(UnixTime::EPOCH).await
            }
        };
        let good = tracking("0.0001", "0.02", "0.001", "Normal");
        assert_eq!(ask(&format!("printf '{good}'")).await, Ok(()));
        let unreadable = Err(Unsynchronised::Unreadable);
        for script in [
            format!("printf '{good}'; exit 1"),
            "exec yes".to_owned(),
            "exec sleep 600".to_owned(),
            "exec /nonexistent".to_owned(),
        ] {
            assert_eq!(ask(&script).await, unreadable, "{script}");
        }
    }
}
