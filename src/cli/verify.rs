//! `jurat verify`: offline; says what is proven, and what is not.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::cose::receipt::CoseReceipt;
use jurat_proto::entry::{KeyEntry, KeyEvent};
use jurat_proto::evidence::Evidence;
use jurat_proto::key::{UnixSeconds, VerifierKey};
use jurat_proto::policy::{Policy, WitnessVerdict};
use jurat_proto::receipt::{ProvenEntry, Receipt, ReceiptVerdict};
use serde_json::{Value, json};

use super::output;
use super::token::{self, TokenArgs, TokenVerifier};

mod cose_receipt;
mod evidence;

/// Files larger than this are not receipts, checkpoints, evidence or time-stamps.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Arguments of `jurat verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Receipts (.tlog-proof, or in COSE as RFC 9942 has them), checkpoints, time-stamps (.tsr) and
    /// evidence (.tlog-fork)
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The tlog-policy to verify under: which logs, which witnesses, how many. A time-stamp can do
    /// without, then nothing is asked of a log; and evidence, when keys are given
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A verifier key of the anchored log: its own signature in the receipt is verified as well.
    /// For evidence: a key of the log that the file is about, whatever the key's name
    #[arg(long = "log-key", value_name = "VKEY")]
    log_keys: Vec<String>,
    /// For evidence: as --log-key, of a key that the log signs with no more. What such a key signs
    /// may be by whoever got hold of it, so alone it does not convict the log
    #[arg(long = "retired-log-key", value_name = "VKEY")]
    retired_log_keys: Vec<String>,
    /// For evidence: a key with which a witness cosigns or gossips, never one of a log. Keys of one
    /// name that are given here are taken for one witness's
    #[arg(long = "key", value_name = "VKEY")]
    keys: Vec<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    token: TokenArgs,
}

/// What one file proves.
pub(super) struct Proven {
    /// In one sentence.
    pub(super) what: String,
    /// A line each.
    pub(super) details: Vec<String>,
    /// For programs.
    pub(super) json: Value,
}

/// What all files are verified with.
struct Verifier<'a> {
    policy: Option<Policy>,
    log_keys: Vec<VerifierKey>,
    accused: evidence::Keys,
    tokens: TokenVerifier<'a>,
}

/// Verifies every file; exit code 1 when one of them fails.
///
/// # Errors
/// When the policy or a key cannot be read. A file that proves nothing is a result, not an error.
pub(super) fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let policy = args.policy.as_deref().map(read_policy).transpose()?;
    let tokens = TokenVerifier::new(&args.token, policy.as_ref(), args.files.len())?;
    let verifier = Verifier {
        policy,
        log_keys: parse_keys(&args.log_keys)?,
        accused: evidence::Keys {
            retired: parse_keys(&args.retired_log_keys)?,
            witnesses: parse_keys(&args.keys)?,
        },
        tokens,
    };
    let mut rows = Vec::new();
    let mut all_good = true;
    for file in &args.files {
        let result = verifier.verify(file);
        if let Err(error) = &result
            && error.downcast_ref::<output::Usage>().is_some()
        {
            return result.map(|_| ExitCode::SUCCESS);
        }
        all_good &= result.is_ok();
        match &result {
            Ok(proven) if !args.json => {
                output::line(format_args!("{}: good. {}", file.display(), proven.what));
                for detail in &proven.details {
                    output::line(format_args!("  {detail}"));
                }
            }
            Err(error) if !args.json => {
                output::line(format_args!("{}: NOT GOOD. {error:#}", file.display()));
            }
            _ => {}
        }
        rows.push(match result {
            Ok(proven) => json!({
                "file": file.display().to_string(),
                "good": true,
                "proven": proven.json,
            }),
            Err(error) => json!({
                "file": file.display().to_string(),
                "good": false,
                "error": format!("{error:#}"),
                "misissued": token::is_misissuance(&error),
            }),
        });
    }
    if args.json {
        output::line(json!({ "good": all_good, "files": rows }));
    }
    Ok(ExitCode::from(if all_good {
        0
    } else {
        output::EXIT_FAILURE
    }))
}

impl Verifier<'_> {
    fn verify(&self, file: &Path) -> anyhow::Result<Proven> {
        let bytes = read_file(file, FILE_BYTES_MAX)?;
        if TokenVerifier::is_token(&bytes) {
            return self.tokens.verify(file, &bytes);
        }
        let policy = self.policy.as_ref();
        if bytes.starts_with(Evidence::MAGIC) {
            if policy.is_none() && self.log_keys.is_empty() && self.accused.is_empty() {
                let what = "give --policy, --log-key or --key: whom may it convict?";
                return Err(output::usage(format_args!("{}: {what}", file.display())));
            }
            return evidence::verify(&bytes, policy, &self.log_keys, &self.accused);
        }
        let policy = policy
            .ok_or_else(|| output::usage(format_args!("{}: give --policy", file.display())))?;
        if is_receipt(&bytes) {
            receipt(&bytes, policy, &self.log_keys)
        } else if CoseReceipt::is_one(&bytes) {
            let entry = self.tokens.entry()?;
            let (class, proven) =
                cose_receipt::verify(&bytes, entry.as_deref(), policy, &self.log_keys)?;
            self.tokens.require(class)?;
            Ok(proven)
        } else {
            let signed = SignedCheckpoint::parse(&bytes).context(
                "neither a receipt (c2sp.org/tlog-proof@v1, or in COSE), nor a checkpoint, nor \
                 evidence, nor a time-stamp",
            )?;
            checkpoint(&signed, policy)
        }
    }
}

/// Whether these bytes claim to be a receipt.
pub(super) fn is_receipt(bytes: &[u8]) -> bool {
    bytes.starts_with(b"c2sp.org/tlog-proof@v1\n")
}

/// Reads a policy that an argument names.
///
/// # Errors
/// When it cannot be read or is none.
pub(super) fn read_policy(path: &Path) -> anyhow::Result<Policy> {
    let bytes = fs::read(path).with_context(|| format!("{}", path.display()))?;
    Policy::parse(&bytes)
        .map_err(|error| output::usage(format_args!("{}: {error}", path.display())))
}

fn parse_keys(vkeys: &[String]) -> anyhow::Result<Vec<VerifierKey>> {
    let parse = |key: &String| VerifierKey::parse(key).map_err(output::usage);
    vkeys.iter().map(parse).collect()
}

/// Reads a file that must not be larger than this.
///
/// # Errors
/// When it is, or cannot be read.
pub(super) fn read_file(path: &Path, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let read = || {
        // What is no file has no size: it is read up to the bound.
        let mut bytes = Vec::new();
        let file = fs::File::open(path)?;
        file.take(bytes_max.saturating_add(1))
            .read_to_end(&mut bytes)?;
        anyhow::ensure!(
            u64::try_from(bytes.len()).unwrap_or(u64::MAX) <= bytes_max,
            "more than {bytes_max} bytes, which is the most that is read"
        );
        Ok(bytes)
    };
    read().with_context(|| format!("{}", path.display()))
}

/// Writes a file whole or not at all; one that exists is left alone unless told otherwise.
///
/// # Errors
/// When it exists, or cannot be written.
// Spec: TSP-93
pub(super) fn write_file(path: &Path, bytes: &[u8], replace: bool) -> anyhow::Result<()> {
    let new = |path: &Path| -> std::io::Result<()> {
        let mut file = fs::File::create_new(path)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        if written.is_err() {
            drop(fs::remove_file(path));
        }
        written
    };
    let written = if replace {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        drop(fs::remove_file(&beside));
        new(&beside).and_then(|()| fs::rename(&beside, path))
    } else {
        new(path)
    };
    written.with_context(|| format!("cannot write {}", path.display()))
}

fn receipt(bytes: &[u8], policy: &Policy, keys: &[VerifierKey]) -> anyhow::Result<Proven> {
    let receipt = Receipt::parse(bytes)?;
    told(&receipt, &receipt.verify(policy)?, policy, keys)
}

/// What a receipt that was verified proves.
fn told(
    receipt: &Receipt,
    verdict: &ReceiptVerdict,
    policy: &Policy,
    keys: &[VerifierKey],
) -> anyhow::Result<Proven> {
    let (said, entry) = proven_entry(receipt, &verdict.entry, keys)?;
    let mut details = vec![format!(
        "entry {} of log {} at size {}",
        verdict.index.get(),
        verdict.origin,
        verdict.head.size.get()
    )];
    details.extend(said);
    details.extend(witness_lines(policy, &verdict.witnesses));
    let json = json!({
        "kind": "receipt",
        "log": verdict.origin.as_str(),
        "index": verdict.index.get(),
        "size": verdict.head.size.get(),
        "root_hash": verdict.head.root_hash.to_base64(),
        "entry": entry,
        "witnesses": witness_rows(policy, &verdict.witnesses),
    });
    let what = format!(
        "Logged and witnessed by {}",
        count(policy, &verdict.witnesses)
    );
    Ok(Proven {
        what,
        details,
        json,
    })
}

/// What the entry of a receipt says, for people and for programs.
fn proven_entry(
    receipt: &Receipt,
    entry: &ProvenEntry,
    keys: &[VerifierKey],
) -> anyhow::Result<(Vec<String>, Value)> {
    let kind = entry.kind();
    Ok(match entry {
        ProvenEntry::Checkpoint { origin, head } => {
            if !keys.is_empty() {
                receipt
                    .verify_anchored(keys)
                    .context("the anchored checkpoint")?;
            }
            let signature = if keys.is_empty() {
                "not verified here: the anchored log's own signature (give --log-key)"
            } else {
                "the anchored log's own signature verifies under the given key"
            };
            let anchored = format!(
                "anchored: {origin}, size {}, root {}",
                head.size.get(),
                head.root_hash
            );
            let json = json!({
                "kind": kind,
                "origin": origin.as_str(),
                "size": head.size.get(),
                "root_hash": head.root_hash.to_base64(),
                "signature_verified": !keys.is_empty(),
            });
            (vec![anchored, signature.to_owned()], json)
        }
        ProvenEntry::Timestamp(token) => {
            let said = format!(
                "time-stamp {}: {}, policy {}, TSTInfo {}",
                token.serial(),
                when(token.gen_time()),
                token.policy(),
                token.tst_info_hash()
            );
            let json = json!({
                "kind": kind,
                "index": token.index().get(),
                "time": token.gen_time().get(),
                "policy": token.policy(),
                "unit": token.unit().to_string(),
                "tst_info": token.tst_info_hash().to_base64(),
            });
            (vec![said], json)
        }
        ProvenEntry::Key(key) => key_entry(kind, key),
        ProvenEntry::Evidence(entry) => evidence::entry(kind, entry),
        ProvenEntry::Clock(clock) => {
            let event = clock.event().name();
            let said = format!("clock {event}: {}, {}", clock.reason(), when(clock.time()));
            let json = json!({
                "kind": kind,
                "event": event,
                "time": clock.time().get(),
                "reason": clock.reason(),
            });
            (vec![said], json)
        }
    })
}

fn key_entry(kind: &str, key: &KeyEntry) -> (Vec<String>, Value) {
    let (event, reason) = match key.event {
        KeyEvent::Start => ("start", None),
        KeyEvent::Close(reason) => ("close", Some(reason.name())),
    };
    let said = format!(
        "key of unit {}: {event}{}, {}, certificate {}",
        key.unit,
        reason
            .map(|reason| format!(" ({reason})"))
            .unwrap_or_default(),
        when(key.time),
        key.certificate
    );
    let json = json!({
        "kind": kind,
        "event": event,
        "reason": reason,
        "purpose": key.purpose.name(),
        "unit": key.unit.to_string(),
        "certificate": key.certificate.to_base64(),
        "time": key.time.get(),
    });
    (vec![said], json)
}

fn checkpoint(signed: &SignedCheckpoint, policy: &Policy) -> anyhow::Result<Proven> {
    let verdict = policy.verify_checkpoint(signed)?;
    let head = signed.head();
    let mut details = vec![format!(
        "{}, size {}, root {}",
        signed.origin(),
        head.size.get(),
        head.root_hash
    )];
    details.extend(witness_lines(policy, &verdict.witnesses));
    let json = json!({
        "kind": "checkpoint",
        "log": signed.origin().as_str(),
        "size": head.size.get(),
        "root_hash": head.root_hash.to_base64(),
        "witnesses": witness_rows(policy, &verdict.witnesses),
    });
    let what = format!(
        "A checkpoint, witnessed by {}",
        count(policy, &verdict.witnesses)
    );
    Ok(Proven {
        what,
        details,
        json,
    })
}

pub(super) fn count(policy: &Policy, witnesses: &[WitnessVerdict]) -> String {
    format!(
        "{} of {} keys of the policy",
        witnesses.len(),
        policy.witnesses().len()
    )
}

fn name(policy: &Policy, witness: usize) -> String {
    policy
        .witnesses()
        .get(witness)
        .map(|witness| witness.name.to_string())
        .unwrap_or_default()
}

pub(super) fn witness_lines(policy: &Policy, witnesses: &[WitnessVerdict]) -> Vec<String> {
    let line = |verdict: &WitnessVerdict| {
        let at = verdict
            .time
            .map_or_else(|| "without a time".to_owned(), when);
        format!("witness {} cosigned {at}", name(policy, verdict.witness))
    };
    witnesses.iter().map(line).collect()
}

pub(super) fn witness_rows(policy: &Policy, witnesses: &[WitnessVerdict]) -> Vec<Value> {
    let row = |verdict: &WitnessVerdict| {
        json!({
            "name": name(policy, verdict.witness),
            "time": verdict.time.map(UnixSeconds::get),
        })
    };
    witnesses.iter().map(row).collect()
}

pub(super) fn when(time: UnixSeconds) -> String {
    i64::try_from(time.get())
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| format!("at {time} s"), |time| format!("at {time}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: TSP-93
    #[test]
    fn nothing_that_exists_is_written_over_unless_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tsr");
        write_file(&path, b"one", false).unwrap();
        assert!(write_file(&path, b"two", false).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write_file(&path, b"two", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
