//! Strict configuration: TOML in, every problem out, before any port opens.
//!
//! A program's `RawConfig` (serde, `deny_unknown_fields`) is read by [`load`]; the program then
//! resolves it into its checked `Config` while it collects what is wrong in [`Problems`], each
//! with its key path, what is wrong and what would be right. All of them are reported together,
//! with exit code [`exit::USAGE`]. Relative paths mean relative to the file that
//! names them ([`Loaded::path`]). A key that holds a duration or a size ends in its unit:
//! `timeout_ms`, `interval_seconds`, `body_bytes_max`.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::exit;

/// A configuration file larger than this is not read: it is not a configuration file.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// A parsed file, and where it was.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// What the file says.
    pub raw: T,
    file: PathBuf,
}

impl<T> Loaded<T> {
    /// The file that was read.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Resolves a path that the file names: relative paths start at the file's directory.
    pub fn path(&self, named: impl AsRef<Path>) -> PathBuf {
        self.file
            .parent()
            .unwrap_or_else(|| Path::new(""))
            .join(named)
    }

    /// An empty collector for the problems of this file.
    pub fn problems(&self) -> Problems {
        Problems::new(&self.file)
    }
}

/// Reads and parses a file. Reports as many problems of syntax, unknown keys and types as can be
/// told apart, not only the first.
///
/// # Errors
/// [`ConfigError::Read`] when the file cannot be read, else [`ConfigError::Problems`].
pub fn load<T: DeserializeOwned>(file: &Path) -> Result<Loaded<T>, ConfigError> {
    let read_error = |source| ConfigError::Read {
        file: file.to_owned(),
        source,
    };
    let length = fs::metadata(file).map_err(read_error)?.len();
    if length > CONFIG_BYTES_MAX {
        let mut problems = Problems::new(file);
        problems.add(
            "",
            format!("the file has {length} bytes"),
            format!("at most {CONFIG_BYTES_MAX} bytes"),
        );
        return Err(problems.into());
    }
    let text = fs::read_to_string(file).map_err(read_error)?;
    Ok(Loaded {
        raw: parse(&text, file)?,
        file: file.to_owned(),
    })
}

/// Parses the text of a file; `file` is only named in problems.
///
/// # Errors
/// [`Problems`], as [`load`] reports them.
pub fn parse<T: DeserializeOwned>(text: &str, file: &Path) -> Result<T, Problems> {
    let mut problems = Problems::new(file);
    if let Err(error) = text.parse::<toml::Table>() {
        let place = place(text, error.span());
        problems.add(place.key, at_line(place.line, &error), "valid TOML");
        return Err(problems);
    }
    let mut rest = text.to_owned();
    let mut blanked = BTreeSet::new();
    let mut found = Vec::new();
    for _ in 0..PARSE_PROBLEMS_MAX {
        let error = match toml::from_str::<T>(&rest) {
            Ok(value) if found.is_empty() => return Ok(value),
            Ok(_) => break,
            Err(error) => error,
        };
        // A field that is missing only because its bad value was blanked is no problem of its own.
        let artefact = blanked
            .iter()
            .any(|key| error.message() == format!("missing field `{key}`"));
        if artefact {
            break;
        }
        let place = place(&rest, error.span());
        let message = error.message().to_owned();
        found.push((place.line, place.key, error));
        let Some((key, bytes)) = place.assignment else {
            break;
        };
        // Take it out of the way, so that the next round meets the next problem.
        let stand_in = (!message.starts_with("unknown field"))
            .then(|| stand_in::<T>(&rest, &key, &bytes))
            .flatten();
        rest = stand_in.unwrap_or_else(|| {
            let cut = without(&rest, &bytes);
            let last = key.rsplit('.').next().unwrap_or(&key);
            blanked.insert(last.trim().to_owned());
            cut
        });
    }
    found.sort_by_key(|(line, ..)| *line);
    for (line, key, error) in found {
        problems.add(key, at_line(line, &error), expectation(error.message()));
    }
    Err(problems)
}

/// More problems than this in one file are not worth reading.
const PARSE_PROBLEMS_MAX: usize = 64;

/// An assignment of more lines than this is not taken out as a whole.
const ASSIGNMENT_LINES_MAX: usize = 64;

struct Place {
    line: usize,
    key: String,
    /// The key as it stands there, and the bytes of the lines that assign it.
    assignment: Option<(String, Range<usize>)>,
}

/// The text with a value in place of a bad one that is of the right type, so that the field is not
/// missing either; the parser itself says which type is right.
fn stand_in<T: DeserializeOwned>(text: &str, key: &str, bytes: &Range<usize>) -> Option<String> {
    let rest = without(text, bytes);
    ["1", "\"x\"", "true", "[]", "{}", "0.5"]
        .iter()
        .map(|value| {
            let mut tried = rest.clone();
            tried.insert_str(bytes.start, &format!("{key} = {value}"));
            tried
        })
        .find(|tried| match toml::from_str::<T>(tried) {
            Ok(_) => true,
            Err(error) => {
                let next = place(tried, error.span()).assignment;
                next.is_none_or(|(_, next)| next.start != bytes.start)
            }
        })
}

/// Where in the text a problem is: the line, the key path (the table header above it and the key
/// that is assigned there), and which bytes assign it.
fn place(text: &str, span: Option<Range<usize>>) -> Place {
    let at = span.map_or(0, |span| span.start).min(text.len());
    let before = text.get(..at).unwrap_or("");
    let lines = line_ranges(text);
    let line = before.matches('\n').count();
    let assignment = assignment(text, &lines, line);

    let is_header = |range: &&Range<usize>| {
        text.get((*range).clone())
            .is_some_and(|line| line.starts_with('['))
    };
    let above = assignment.as_ref().map_or(line + 1, |(first, ..)| *first);
    let header = lines.iter().take(above).rev().find(is_header);
    let header = header
        .and_then(|range| text.get(range.clone()))
        .map(|line| line.split_once(']').map_or(line, |(name, _)| name))
        .map(|name| name.trim_start_matches('[').trim().to_owned());
    let assigned = assignment.as_ref().map(|(_, key, _)| key.clone());
    let path: Vec<String> = header.into_iter().chain(assigned).collect();
    Place {
        line: line + 1,
        key: path.join("."),
        assignment: assignment.map(|(_, key, bytes)| (key, bytes)),
    }
}

/// The lines of a text, without their ends.
fn line_ranges(text: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    text.split('\n')
        .map(|line| {
            let range = start..start + line.len();
            start = range.end + 1;
            range
        })
        .collect()
}

/// The assignment that a line belongs to: its first line, its key and its bytes. It is what can be
/// taken out so that the rest is still TOML, which no guess about brackets and quotes could tell
/// better.
fn assignment(
    text: &str,
    lines: &[Range<usize>],
    line: usize,
) -> Option<(usize, String, Range<usize>)> {
    for first in (line.saturating_sub(ASSIGNMENT_LINES_MAX)..=line).rev() {
        let start = lines.get(first)?.clone();
        let shown = text.get(start.clone())?.trim_start();
        if shown.starts_with('[') && first < line {
            return None;
        }
        let Some((key, _)) = shown.split_once('=') else {
            continue;
        };
        for last in lines.iter().skip(line).take(ASSIGNMENT_LINES_MAX) {
            let bytes = start.start..last.end;
            if without(text, &bytes).parse::<toml::Table>().is_ok() {
                return Some((first, key.trim().to_owned(), bytes));
            }
        }
    }
    None
}

/// The text with those bytes blanked; its lines keep their numbers.
fn without(text: &str, bytes: &Range<usize>) -> String {
    let (before, after) = (text.get(..bytes.start), text.get(bytes.end..));
    let blank = text
        .get(bytes.clone())
        .map_or(0, |cut| cut.matches('\n').count());
    [
        before.unwrap_or(""),
        &"\n".repeat(blank),
        after.unwrap_or(""),
    ]
    .concat()
}

fn at_line(line: usize, error: &toml::de::Error) -> String {
    format!("line {line}: {}", error.message())
}

/// What serde's message says would be right; its "expected ..." is the only machine's answer.
fn expectation(message: &str) -> String {
    match message.split_once("expected ") {
        Some((_, expected)) => expected.to_owned(),
        None if message.starts_with("missing field") => "the field with a value".to_owned(),
        None => "see the example configuration".to_owned(),
    }
}

/// Why there is no configuration. The operator's file is at fault; nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file that was named.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file was read, and says what it may not.
    #[error(transparent)]
    Problems(#[from] Problems),
}

impl ConfigError {
    /// The exit code for it.
    pub const fn exit_code(&self) -> u8 {
        exit::USAGE
    }
}

/// Everything that is wrong with one configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    file: PathBuf,
    list: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The path of the key, as `listen.limits.body_timeout_ms`; empty for the whole file.
    pub key: String,
    /// What is wrong. It carries no secret: values of secret keys are paths.
    pub wrong: String,
    /// What would be right.
    pub right: String,
}

impl Problems {
    /// No problem so far.
    pub fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            list: Vec::new(),
        }
    }

    /// Adds a problem.
    pub fn add(
        &mut self,
        key: impl Into<String>,
        wrong: impl Into<String>,
        right: impl Into<String>,
    ) {
        self.list.push(Problem {
            key: key.into(),
            wrong: wrong.into(),
            right: right.into(),
        });
    }

    /// Adds a problem unless `holds`.
    pub fn check(&mut self, holds: bool, key: &str, wrong: impl fmt::Display, right: &str) {
        if !holds {
            self.add(key, wrong.to_string(), right);
        }
    }

    /// Takes the value, or adds its error as a problem and gives nothing.
    pub fn take<T, E: fmt::Display>(
        &mut self,
        key: &str,
        result: Result<T, E>,
        right: &str,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(key, error.to_string(), right);
                None
            }
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The problems, in the order in which they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// The checked configuration, when nothing is wrong and it could be built.
    ///
    /// # Errors
    /// All the problems. A configuration that is absent although no problem was added is a bug of
    /// the caller, and is reported as a problem too.
    pub fn finish<T>(mut self, config: Option<T>) -> Result<T, Self> {
        match config {
            Some(config) if self.list.is_empty() => Ok(config),
            None if self.list.is_empty() => {
                self.add("", "the configuration was not built", "a bug: report it");
                Err(self)
            }
            _ => Err(self),
        }
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::error::Error for Problems {}

/// One line for the file, then one for each problem.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.list.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(f, "{}: {count} {noun}", self.file.display())?;
        for Problem { key, wrong, right } in &self.list {
            let key = if key.is_empty() { "(file)" } else { key };
            write!(f, "\n  {key}: {wrong} (right: {right})")?;
        }
        Ok(())
    }
}
