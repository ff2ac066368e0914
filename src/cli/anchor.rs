//! `jurat anchor`: sends a log's checkpoints to a service and keeps the receipts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use jurat_proto::add_checkpoint::AddCheckpoint;
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::proof::ConsistencyProof;
use jurat_proto::tree::TreeSize;
use serde_json::json;

use super::output;
use super::remote::{Remote, Submission, read_checkpoint};
use super::serve::runtime;

/// Conflicts in a row after which somebody else is anchoring this log faster than we do.
const CONFLICTS_MAX: usize = 5;

/// Arguments of `jurat anchor`.
#[derive(Debug, Args)]
pub(super) struct AnchorArgs {
    /// The service's URL
    #[arg(long)]
    url: String,
    /// Signed checkpoints of one log, in any order
    #[arg(value_name = "CHECKPOINT", required = true)]
    checkpoints: Vec<PathBuf>,
    /// Where to write the receipt; a directory when there are several checkpoints
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
    /// The URL of the log's tiles (tlog-tiles), from which consistency proofs are built
    #[arg(long, value_name = "URL")]
    tiles: Option<String>,
    /// A file with the consistency proof from the size that the service holds, one hash a line
    #[arg(long, value_name = "FILE", conflicts_with = "tiles")]
    proof: Option<PathBuf>,
    /// How long to wait for the witnesses
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait_s: u64,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Anchors every checkpoint, smallest first, and writes the receipts.
///
/// # Errors
/// When the service refuses one, or its receipt does not come in time. Receipts written before
/// stay.
pub(super) fn run(args: &AnchorArgs) -> anyhow::Result<ExitCode> {
    let mut checkpoints = Vec::with_capacity(args.checkpoints.len());
    for path in &args.checkpoints {
        checkpoints.push((path.clone(), read_checkpoint(path)?));
    }
    checkpoints.sort_by_key(|(_, checkpoint)| checkpoint.head().size);
    let several = checkpoints.len() > 1;
    if several && args.proof.is_some() {
        return Err(output::usage(
            "--proof serves one checkpoint; use --tiles for several",
        ));
    }
    let places = checkpoints
        .iter()
        .map(|(path, _)| receipt_path(args.output.as_deref(), path, several));
    if let Some(twice) = first_twice(places) {
        return Err(output::usage(format_args!(
            "two receipts would be written to {}: rename a checkpoint, or anchor them one by one",
            twice.display()
        )));
    }
    if several && let Some(dir) = &args.output {
        std::fs::create_dir_all(dir).with_context(|| format!("{}", dir.display()))?;
    }
    runtime()?.block_on(anchor_all(args, &checkpoints, several))
}

async fn anchor_all(
    args: &AnchorArgs,
    checkpoints: &[(PathBuf, SignedCheckpoint)],
    several: bool,
) -> anyhow::Result<ExitCode> {
    let service = Remote::new(&args.url)?;
    let total = u64::try_from(checkpoints.len()).unwrap_or(u64::MAX);
    let bar = output::progress(total, "anchoring");
    let mut known = TreeSize::ZERO;
    let mut rows = Vec::new();
    for (path, checkpoint) in checkpoints {
        let receipt = anchor_one(args, &service, checkpoint, &mut known)
            .await
            .with_context(|| format!("{}", path.display()))?;
        let place = receipt_path(args.output.as_deref(), path, several);
        std::fs::write(&place, &receipt)
            .with_context(|| format!("cannot write {}", place.display()))?;
        bar.inc(1);
        if args.json {
            rows.push(json!({
                "checkpoint": path.display().to_string(),
                "size": checkpoint.head().size.get(),
                "receipt": place.display().to_string(),
            }));
        } else {
            bar.suspend(|| {
                output::line(format_args!(
                    "{}: size {} anchored, receipt in {}",
                    path.display(),
                    checkpoint.head().size.get(),
                    place.display()
                ));
            });
        }
    }
    bar.finish_and_clear();
    if args.json {
        output::line(json!({ "anchored": rows }));
    }
    Ok(ExitCode::SUCCESS)
}

async fn anchor_one(
    args: &AnchorArgs,
    service: &Remote,
    checkpoint: &SignedCheckpoint,
    known: &mut TreeSize,
) -> anyhow::Result<Vec<u8>> {
    let size = checkpoint.head().size;
    for _ in 0..CONFLICTS_MAX {
        let proof = proof(args, *known, size).await?;
        let request = AddCheckpoint {
            old_size: *known,
            proof,
            checkpoint: checkpoint.clone(),
        };
        match service.anchor(&request).await? {
            Submission::Receipt(receipt) => {
                *known = size;
                return Ok(receipt.to_vec());
            }
            Submission::Pending(place) => {
                *known = size;
                let patience = Duration::from_secs(args.wait_s);
                return Ok(service.receipt(&place, patience).await?.to_vec());
            }
            Submission::Conflict(theirs) if theirs > size => bail!(
                "the service holds size {} of this log already, which is above {}",
                theirs.get(),
                size.get()
            ),
            Submission::Conflict(theirs) => *known = theirs,
        }
    }
    bail!("the service's size of this log changed {CONFLICTS_MAX} times; is another one anchoring?")
}

async fn proof(
    args: &AnchorArgs,
    from: TreeSize,
    to: TreeSize,
) -> anyhow::Result<ConsistencyProof> {
    if from == TreeSize::ZERO || from == to {
        return Ok(ConsistencyProof::default());
    }
    if let Some(url) = &args.tiles {
        return Remote::new(url)?.consistency_from_tiles(from, to).await;
    }
    if let Some(path) = &args.proof {
        let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        return ConsistencyProof::parse_lines(&text).with_context(|| format!("{}", path.display()));
    }
    bail!(
        "the service holds size {} of this log: give the consistency proof from there to {} with \
         --proof, or the log's tiles with --tiles",
        from.get(),
        to.get()
    )
}

// Spec: PRF-11
fn receipt_path(output: Option<&Path>, checkpoint: &Path, several: bool) -> PathBuf {
    let name = || {
        let mut name = checkpoint.file_name().unwrap_or_default().to_owned();
        name.push(".tlog-proof");
        PathBuf::from(name)
    };
    match output {
        Some(path) if several => path.join(name()),
        Some(path) => path.to_owned(),
        None => checkpoint.with_file_name(name()),
    }
}

fn first_twice(mut paths: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    let mut seen = BTreeSet::new();
    paths.find(|path| !seen.insert(path.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_receipt_is_written_over_another() {
        let into = |dir: Option<&str>| {
            let paths = ["a/checkpoint", "b/checkpoint"];
            first_twice(
                paths
                    .map(|path| receipt_path(dir.map(Path::new), Path::new(path), true))
                    .into_iter(),
            )
        };
        assert_eq!(into(None), None);
        let both = PathBuf::from("out/checkpoint.tlog-proof");
        assert_eq!(into(Some("out")), Some(both));
    }
}
