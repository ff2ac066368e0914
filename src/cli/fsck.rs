//! `jurat fsck`: derives the whole tree again from what is stored.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use jurat_store::fsck::{self, Progress};
use jurat_store::{JournalOptions, LogStore, RedbOptions, RedbStore};
use serde_json::json;

use super::{ConfigArg, output};
use crate::config::Config;
use crate::evidence;
use crate::submit::heads;

/// Arguments of `jurat fsck`.
#[derive(Debug, Args)]
pub(super) struct FsckArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Checks the whole database; the service must not be running.
///
/// # Errors
/// When the database cannot be opened or read. Damage that is found is a result: exit code 1.
pub(super) fn run(args: &FsckArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config.config).map_err(output::usage)?;
    let options = JournalOptions {
        redb: RedbOptions {
            cache_bytes: config.cache_bytes,
            ..RedbOptions::default()
        },
        ..JournalOptions::default()
    };
    output::before_opening(&config.database);
    let store = RedbStore::open_as_found(&config.database, options)
        .with_context(|| format!("cannot open {}", config.database.display()))?;
    let head = store.head()?;
    let bar = output::progress(head.size.get(), "entries");
    let report = fsck::fsck(&store, &mut |progress| match progress {
        Progress::Entries(done, of) => show(&bar, "entries", done, of),
        Progress::Dedup(done, of) => show(&bar, "dedup rows", done, of),
        Progress::Origins(done) => show(&bar, "origins", done, done),
    })?;
    bar.finish_and_clear();
    let mut problems: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    if report.findings_left_out > 0 {
        problems.push(format!("and {} more", report.findings_left_out));
    }
    problems.extend(heads::check_all(&store)?.iter().map(ToString::to_string));
    problems.extend(evidence::check_all(&store)?.iter().map(ToString::to_string));
    if args.json {
        output::line(json!({
            "good": problems.is_empty(),
            "size": head.size.get(),
            "root_hash": head.root_hash.to_base64(),
            "problems": problems,
        }));
    } else if problems.is_empty() {
        output::line(format_args!(
            "clean: {} entries, root {}",
            head.size.get(),
            head.root_hash
        ));
    } else {
        for problem in &problems {
            output::line(problem);
        }
        output::line(format_args!(
            "{} problems in {} entries",
            problems.len(),
            head.size.get()
        ));
    }
    Ok(ExitCode::from(if problems.is_empty() {
        0
    } else {
        output::EXIT_FAILURE
    }))
}

fn show(bar: &indicatif::ProgressBar, what: &'static str, done: u64, of: u64) {
    bar.set_message(what);
    bar.set_length(of);
    bar.set_position(done);
}
