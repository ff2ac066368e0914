//! What all commands print alike: results to standard output, problems to standard error, one exit
//! code for each kind of end.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jurat_daemon::exit;
use jurat_store::engine_panic;

/// What was asked could not be done, or what was checked did not hold.
pub(super) const EXIT_FAILURE: u8 = 1;
/// The command line or the configuration is wrong (`EX_USAGE` of sysexits.h).
pub(super) const EXIT_USAGE: u8 = 64;

/// Prints one line to standard output. A reader that closed the pipe is not an error of ours.
pub(super) fn line(text: impl Display) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{text}"));
    drop(out.flush());
}

/// Prints text to standard output as it is.
pub(super) fn raw(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(bytes));
    drop(out.flush());
}

/// Prints one line to standard error.
pub(super) fn note(text: impl Display) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// What a peer says, for one line of ours: short, and nothing that a terminal obeys.
pub(super) fn one_line(text: &str) -> String {
    text.trim_end()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300)
        .collect()
}

/// A word of a command line, as a shell takes it: a path may have spaces.
pub(super) fn word(text: &impl ToString) -> String {
    let text = text.to_string();
    // What a shell cannot be told, none of ours has: a NUL.
    shlex::try_quote(&text).map_or_else(|_| text.clone(), std::borrow::Cow::into_owned)
}

/// Prints an error with its causes, and gives the exit code of failure.
pub(super) fn fail(error: &anyhow::Error) -> ExitCode {
    note(format_args!("jurat: {error:#}"));
    if error.downcast_ref::<Usage>().is_some() {
        ExitCode::from(EXIT_USAGE)
    } else {
        ExitCode::from(EXIT_FAILURE)
    }
}

/// From here on a panic of the storage engine ends the process with exit code 65 (`EX_DATAERR`)
/// and says that the database is damaged.
// Spec: STO-26
pub(super) fn before_opening(database: &Path) {
    let path = database.to_owned();
    exit::on_panic("jurat", move |info| {
        engine_panic(info, &path).map(|message| (exit::DATA, message))
    });
}

/// A mistake in how the program was called or configured: exit code 64.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub(super) String);

/// A progress bar on standard error when that is a terminal, nothing otherwise.
pub(super) fn progress(total: u64, what: &'static str) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let template = "{msg} [{bar:40}] {human_pos}/{human_len} ({per_sec}, {eta} left)";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Turns a mistake of the caller's into the error that ends with exit code 64.
pub(super) fn usage(error: impl Display) -> anyhow::Error {
    anyhow::Error::new(Usage(error.to_string()))
}
