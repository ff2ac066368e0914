//! The `[clock]` table of a configuration.
//!
//! Rows: `spec/clock.md` CLK-10, CLK-20.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::band::{Rules, SOURCES_MAX};
use super::local::LocalDaemon;
use super::sntp::Server;
use super::steady::StepLimits;
use crate::config::Problems;

/// As it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawClock {
    ntp: Vec<String>,
    agree_min: Option<usize>,
    tolerance_ms: u64,
    every_s: u64,
    valid_s: u64,
    step_max_s: u64,
    settle_s: u64,
    synchronised_file: Option<PathBuf>,
    synchronised_max_age_s: u64,
    synchronised_command: Vec<String>,
}

impl Default for RawClock {
    fn default() -> Self {
        Self {
            ntp: Vec::new(),
            agree_min: None,
            tolerance_ms: 1_000,
            every_s: 64,
            valid_s: 600,
            step_max_s: 10,
            settle_s: 300,
            synchronised_file: None,
            synchronised_max_age_s: 4_096,
            synchronised_command: Vec::new(),
        }
    }
}

/// Whom a guard asks, and what it believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardSettings {
    /// The time sources; none for a guard that watches only for steps.
    pub servers: Vec<Server>,
    /// What counts as agreement of these.
    pub rules: Rules,
    /// How often they are asked, give or take a tenth.
    pub every: Duration,
    /// What counts as a step.
    pub steps: StepLimits,
    /// The NTP daemon of this machine, if the clock counts only while it says so.
    pub local: Option<LocalDaemon>,
}

impl Default for GuardSettings {
    fn default() -> Self {
        let raw = RawClock::default();
        raw.settings(Vec::new())
    }
}

impl RawClock {
    /// What the table says; what is wrong with it goes to `problems`.
    pub fn resolve(&self, problems: &mut Problems) -> GuardSettings {
        let mut servers: Vec<Server> = Vec::new();
        problems.check(
            self.ntp.len() <= SOURCES_MAX,
            "clock.ntp",
            format!("there are {}", self.ntp.len()),
            "at most 8",
        );
        for (place, text) in self.ntp.iter().take(SOURCES_MAX).enumerate() {
            let field = format!("clock.ntp[{place}]");
            let right = "a server, as time.example.com, 192.0.2.1:123 or [2001:db8::1]";
            let Some(server) = problems.take(&field, Server::parse(text), right) else {
                continue;
            };
            let wrong = "the same server as one before it";
            let right = "each server once: otherwise it counts for two";
            problems.check(!servers.contains(&server), &field, wrong, right);
            servers.push(server);
        }
        // Spec: CLK-10
        if let Some(agree_min) = self.agree_min {
            let sources = self.ntp.len();
            let (least, most) = (majority(sources), sources);
            problems.check(
                (least..=most).contains(&agree_min) && sources > 0,
                "clock.agree_min",
                agree_min,
                &match sources {
                    0 => "left out, because there is no source in ntp".to_owned(),
                    _ => format!("{least} to {most}: more than half of the sources in ntp"),
                },
            );
        }
        for (key, value, least, most) in [
            ("clock.tolerance_ms", self.tolerance_ms, 10, 60_000),
            ("clock.every_s", self.every_s, 1, 3_600),
            ("clock.step_max_s", self.step_max_s, 1, 3_600),
            ("clock.settle_s", self.settle_s, 1, 86_400),
        ] {
            let right = format!("{least} to {most}");
            problems.check((least..=most).contains(&value), key, value, &right);
        }
        let least = self.every_s.saturating_mul(2).min(VALID_SECONDS_MAX);
        problems.check(
            (least..=VALID_SECONDS_MAX).contains(&self.valid_s),
            "clock.valid_s",
            self.valid_s,
            &format!(
                "{least} to {VALID_SECONDS_MAX}: twice every_s, so that one answer may be lost"
            ),
        );
        self.check_local(problems);
        self.settings(servers)
    }

    // Spec: CLK-40
    fn check_local(&self, problems: &mut Problems) {
        if let Some(file) = &self.synchronised_file {
            problems.check(
                file.is_absolute(),
                "clock.synchronised_file",
                file.display(),
                "an absolute path, as /run/systemd/timesync/synchronized",
            );
            problems.check(
                self.synchronised_command.is_empty(),
                "clock.synchronised_command",
                "there is a synchronised_file as well",
                "one of the two",
            );
        }
        problems.check(
            self.synchronised_command
                .first()
                .is_none_or(|program| !program.is_empty()),
            "clock.synchronised_command",
            "its first word is empty",
            "a program and its arguments, as [\"chronyc\", \"-c\", \"tracking\"]",
        );
        problems.check(
            (64..=VALID_SECONDS_MAX).contains(&self.synchronised_max_age_s),
            "clock.synchronised_max_age_s",
            self.synchronised_max_age_s,
            &format!("64 to {VALID_SECONDS_MAX}"),
        );
    }

    fn local(&self) -> Option<LocalDaemon> {
        if let Some(path) = self.synchronised_file.clone() {
            let age_max = Duration::from_secs(self.synchronised_max_age_s);
            return Some(LocalDaemon::File { path, age_max });
        }
        let command = self.synchronised_command.clone();
        let tolerance = Duration::from_millis(self.tolerance_ms);
        (!command.is_empty()).then_some(LocalDaemon::Command { command, tolerance })
    }

    fn settings(&self, servers: Vec<Server>) -> GuardSettings {
        let sources = servers.len();
        let tolerance = Duration::from_millis(self.tolerance_ms);
        GuardSettings {
            rules: Rules {
                sources,
                agree_min: self.agree_min.unwrap_or_else(|| majority(sources)),
                tolerance,
                valid: Duration::from_secs(self.valid_s),
            },
            servers,
            every: Duration::from_secs(self.every_s),
            steps: StepLimits {
                step_max: Duration::from_secs(self.step_max_s),
                settle: Duration::from_secs(self.settle_s),
                ..StepLimits::default()
            },
            local: self.local(),
        }
    }
}

/// More than half.
const fn majority(sources: usize) -> usize {
    sources / 2 + 1
}

/// A day: what an oscillator may drift in it makes any answer useless.
const VALID_SECONDS_MAX: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn read(text: &str) -> Result<GuardSettings, Vec<String>> {
        let raw: RawClock = toml::from_str(text).unwrap();
        let mut problems = Problems::new(Path::new("w.toml"));
        let settings = raw.resolve(&mut problems);
        let wrong: Vec<String> = problems
            .iter()
            .map(|problem| format!("{}: {}; {}", problem.key, problem.wrong, problem.right))
            .collect();
        if wrong.is_empty() {
            Ok(settings)
        } else {
            Err(wrong)
        }
    }

    // Spec: CLK-10
    #[test]
    fn without_a_number_more_than_half_must_agree() {
        for (sources, agree_min) in [(1, 1), (2, 2), (3, 2), (4, 3), (8, 5)] {
            let ntp: Vec<String> = (0..sources).map(|n| format!("t{n}.example.com")).collect();
            let settings = read(&format!("ntp = {ntp:?}")).unwrap();
            assert_eq!(settings.rules.sources, sources);
            assert_eq!(settings.rules.agree_min, agree_min);
        }
        assert_eq!(read("").unwrap(), GuardSettings::default());
        let all = read("ntp = [\"a\", \"b\", \"c\"]\nagree_min = 3").unwrap();
        assert_eq!(all.rules.agree_min, 3);
    }

    // Spec: CLK-40
    #[test]
    fn a_file_or_a_command_says_whether_the_clock_is_synchronised() {
        let local = |text| read(text).unwrap().local;
        assert_eq!(local(""), None);
        let file = local("synchronised_file = \"/run/x\"\nsynchronised_max_age_s = 64");
        let (path, age_max) = (PathBuf::from("/run/x"), Duration::from_secs(64));
        assert_eq!(file, Some(LocalDaemon::File { path, age_max }));
        let asked = local("synchronised_command = [\"chronyc\", \"-c\"]\ntolerance_ms = 70");
        let command = vec!["chronyc".to_owned(), "-c".to_owned()];
        let tolerance = Duration::from_millis(70);
        assert_eq!(asked, Some(LocalDaemon::Command { command, tolerance }));
        assert_eq!(
            read(
                "synchronised_file = \"x\"\nsynchronised_command = [\"\"]\n\
                 synchronised_max_age_s = 1"
            )
            .unwrap_err(),
            [
                "clock.synchronised_file: x; \
                 an absolute path, as /run/systemd/timesync/synchronized",
                "clock.synchronised_command: there is a synchronised_file as well; one of the two",
                "clock.synchronised_command: its first word is empty; \
                 a program and its arguments, as [\"chronyc\", \"-c\", \"tracking\"]",
                "clock.synchronised_max_age_s: 1; 64 to 86400",
            ]
        );
    }

    // Spec: CLK-10, CLK-20
    #[test]
    fn all_that_is_wrong_is_told() {
        let told = |text| read(text).unwrap_err();
        assert_eq!(
            told("ntp = [\"a\", \"a:123\", \"::1\"]\nagree_min = 1"),
            [
                "clock.ntp[1]: the same server as one before it; \
                 each server once: otherwise it counts for two",
                "clock.ntp[2]: it has no host name or address; \
                 a server, as time.example.com, 192.0.2.1:123 or [2001:db8::1]",
                "clock.agree_min: 1; 2 to 3: more than half of the sources in ntp",
            ]
        );
        assert_eq!(
            told("agree_min = 1"),
            ["clock.agree_min: 1; left out, because there is no source in ntp"]
        );
        assert_eq!(
            told("ntp = [\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\"]"),
            ["clock.ntp: there are 9; at most 8"]
        );
        assert_eq!(
            told("tolerance_ms = 9\nevery_s = 0\nvalid_s = 90000\nstep_max_s = 0\nsettle_s = 0"),
            [
                "clock.tolerance_ms: 9; 10 to 60000",
                "clock.every_s: 0; 1 to 3600",
                "clock.step_max_s: 0; 1 to 3600",
                "clock.settle_s: 0; 1 to 86400",
                "clock.valid_s: 90000; 0 to 86400: twice every_s, so that one answer may be lost",
            ]
        );
        assert_eq!(
            told("every_s = 64\nvalid_s = 127"),
            ["clock.valid_s: 127; 128 to 86400: twice every_s, so that one answer may be lost"]
        );
    }
}
