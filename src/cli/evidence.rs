//! `jurat evidence`: brings evidence to a service, and shows what its log has. Whom a file
//! convicts, `jurat verify` says, with no network.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use jurat_proto::evidence::{EVIDENCE_BYTES_MAX, Evidence};
use jurat_proto::hash::Hash;
use jurat_proto::hex;
use serde_json::{Value, json};

use super::output;
use super::remote::Remote;
use super::serve::runtime;

#[derive(Debug, Subcommand)]
pub(super) enum EvidenceCommand {
    /// Send files of evidence to a service, which logs those that convict a log or a witness that
    /// it knows
    Submit(SubmitArgs),
    /// List the evidence that a service's log has
    List(ListArgs),
    /// Fetch a file of evidence, to verify it with `jurat verify`
    Fetch(FetchArgs),
}

#[derive(Debug, Args)]
pub(super) struct SubmitArgs {
    /// The files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(super) struct FetchArgs {
    /// The id: 64 hex digits
    id: String,
    /// Where to write it; standard output by default
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
    /// The service's URL
    #[arg(long)]
    url: String,
}

#[derive(Debug, Args)]
struct ServiceArgs {
    /// The service's URL
    #[arg(long)]
    url: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Sends, lists or fetches evidence.
///
/// # Errors
/// When the service is out of reach or refuses.
pub(super) fn run(command: &EvidenceCommand) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    match command {
        EvidenceCommand::Submit(args) => runtime.block_on(submit(args)),
        EvidenceCommand::List(args) => runtime.block_on(list(args)),
        EvidenceCommand::Fetch(args) => runtime.block_on(fetch(args)),
    }
}

/// All files are read and checked before the first is sent: a typing error sends nothing.
async fn submit(args: &SubmitArgs) -> anyhow::Result<ExitCode> {
    let mut files = Vec::new();
    for path in &args.files {
        let shown = || format!("{}", path.display());
        let length = std::fs::metadata(path).with_context(shown)?.len();
        let fits = usize::try_from(length).is_ok_and(|length| length <= EVIDENCE_BYTES_MAX);
        ensure!(
            fits,
            "{}: {length} bytes are too many for evidence",
            path.display()
        );
        let bytes = std::fs::read(path).with_context(shown)?;
        let evidence = Evidence::parse(&bytes).with_context(shown)?;
        files.push((path, evidence));
    }
    let service = Remote::new(&args.service.url)?;
    let mut rows = Vec::new();
    for (path, evidence) in files {
        let row = service.bring(&evidence).await;
        let row = row.with_context(|| format!("{}", path.display()))?;
        if !args.service.json {
            let (outcome, index) = (field(&row, "outcome"), number(&row, "index"));
            let (id, convicts) = (field(&row, "id"), field(&row, "convicts"));
            output::line(format_args!(
                "{}: {outcome}: evidence {id}, entry {index}, convicts {convicts}",
                path.display()
            ));
        }
        rows.push(row);
    }
    if args.service.json {
        output::line(json!({ "evidence": rows }));
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let service = Remote::new(&args.service.url)?;
    let (mut after, mut rows) = (0, Vec::new());
    loop {
        let page = service.get(&format!("evidence?after={after}")).await?;
        let page: Value = serde_json::from_slice(&page).context("the list is no JSON")?;
        let found = page.get("evidence").and_then(Value::as_array);
        let found = found.context("the list has no evidence")?;
        rows.extend(found.iter().cloned());
        match page.get("next").and_then(Value::as_u64) {
            Some(next) if next > after => after = next,
            _ => break,
        }
    }
    if args.service.json {
        output::line(json!({ "evidence": rows }));
        return Ok(ExitCode::SUCCESS);
    }
    for row in &rows {
        let origin = row.get("origin").and_then(Value::as_str);
        let origin = origin.map_or_else(|| "-".to_owned(), output::one_line);
        output::line(format_args!(
            "{} {} {origin} entry {} convicts {}",
            field(row, "id"),
            field(row, "kind"),
            number(row, "index"),
            field(row, "convicts")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn fetch(args: &FetchArgs) -> anyhow::Result<ExitCode> {
    let id = hex::decode(&args.id)
        .ok()
        .and_then(|bytes| Hash::from_slice(&bytes));
    let Some(id) = id else {
        return Err(output::usage("the id is not 64 lower-case hex digits"));
    };
    let service = Remote::new(&args.url)?;
    let file = service.get(&format!("evidence/{}", args.id)).await?;
    let evidence = Evidence::parse(&file).context("what the service has under this id")?;
    if evidence.id() != id {
        bail!("the service answers with other evidence than was asked for");
    }
    match &args.output {
        Some(path) => {
            std::fs::write(path, &file).with_context(|| format!("{}", path.display()))?;
        }
        None => output::raw(&file),
    }
    Ok(ExitCode::SUCCESS)
}

/// What a service says, as a terminal may show it.
fn field(row: &Value, name: &str) -> String {
    output::one_line(row.get(name).and_then(Value::as_str).unwrap_or("?"))
}

fn number(row: &Value, name: &str) -> String {
    let number = row.get(name).and_then(Value::as_u64);
    number.map_or_else(|| "?".to_owned(), |number| number.to_string())
}
