//! `jurat demo --fork`: a log shows two histories to three witnesses, and they find out.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use jurat_daemon::client::{Client, ClientOptions, ClientRequest};
use jurat_daemon::shutdown::Shutdown;
use jurat_proto::evidence::{Evidence, KnownKeys, Standing};

use super::introduce;
use super::sample_log::SampleLog;
use super::witnesses::Witness;
use crate::cli::output;

/// How long the witnesses may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two rounds of gossip: so that it is seen, and not waited for.
const ROUND: Duration = Duration::from_secs(1);
/// Files of evidence in one folder.
const FILES_MAX: u32 = 100;
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// Tells the story; without `once`, goes on until Ctrl-C, so that all can be looked at.
///
/// # Errors
/// When a process does not start, or the fork is not found.
pub(super) async fn demo(once: bool, keep: bool, dir: &Path) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    output::line("Jurat: three witness processes that gossip, and a log that forks");
    let mut shown = SampleLog::new("demo.example/payroll-audit")?;
    let vkey = shown.verifier_key().to_string();
    let keys = std::slice::from_ref(&vkey);
    // What the witnesses have to say of it is told below.
    let witnesses = Witness::start_all(dir, 3, keys, ROUND, "off").await?;
    introduce(&witnesses);
    output::line("");
    let client = Client::new(ClientOptions::default())?;
    for _ in 0..5 {
        shown.append(&format!("record {}", shown.size().get()))?;
    }
    for witness in &witnesses {
        cosigned(&client, witness, &shown, "its history").await?;
    }
    shown.anchored();
    // From here on one witness is shown another history: somebody was never paid.
    let mut hidden = shown.branch()?;
    for number in 5..8 {
        shown.append(&format!("record {number}"))?;
        hidden.append(&format!("record {number}, rewritten"))?;
    }
    output::line("It rewrites three records, and shows that to the third witness alone:");
    let branches = [
        (&shown, "one history"),
        (&shown, "one history"),
        (&hidden, "ANOTHER HISTORY"),
    ];
    for (witness, (branch, what)) in witnesses.iter().zip(branches) {
        cosigned(&client, witness, branch, what).await?;
    }
    output::line("To each of them that was consistent. They compare:");
    let began = Instant::now();
    let mut file = Vec::new();
    for witness in &witnesses {
        file = evidence(&client, witness, began).await?;
    }
    let path = keep_new(if keep { dir } else { Path::new("") }, &file)?;
    let mut keys = KnownKeys::new();
    let origin = shown.origin().clone();
    keys.add_log(origin, shown.verifier_key().clone(), Standing::Current);
    let verdict = Evidence::parse(&std::fs::read(&path)?)?.verify(&keys)?;
    ensure!(verdict.convicts_log(), "the evidence convicts nobody");
    output::line("None of them cosigns it any more:");
    for witness in &witnesses {
        let (status, said) = add(&client, witness, &shown).await?;
        ensure!(status == 403, "{} answers {status}", witness.name);
        output::line(format_args!("  {}  {status}  {said}", witness.name));
    }
    output::line("");
    output::line("The evidence verifies with the log's key alone, offline:");
    let jurat = std::env::current_exe()?;
    let [jurat, path] = [&jurat, &path].map(|path| output::word(&path.display()));
    output::line(format_args!("  {jurat} verify {path} --log-key {vkey}"));
    if !once {
        output::line("");
        output::line("Their pages say so:");
        for witness in &witnesses {
            output::line(format_args!("  {}/", witness.url));
        }
        output::line("");
        output::line("Ctrl-C ends it.");
        shutdown.wait().await;
    }
    drop(witnesses);
    Ok(())
}

/// Writes the evidence into a file of its own: what an earlier run has left stays.
fn keep_new(folder: &Path, evidence: &[u8]) -> anyhow::Result<PathBuf> {
    for number in 1..=FILES_MAX {
        let name = match number {
            1 => "fork.tlog-fork".to_owned(),
            number => format!("fork-{number}.tlog-fork"),
        };
        let path = folder.join(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        match file {
            Ok(mut file) => {
                let written = file.write_all(evidence);
                written.with_context(|| format!("cannot write {}", path.display()))?;
                return Ok(path);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot create {}", path.display()));
            }
        }
    }
    bail!("there are {FILES_MAX} files of evidence here already: remove some, or give --dir")
}

async fn add(client: &Client, witness: &Witness, log: &SampleLog) -> anyhow::Result<(u16, String)> {
    let url = format!("{}/add-checkpoint", witness.url);
    let body = log.request()?.to_bytes();
    let answer = client.send(ClientRequest::post(url, body)).await?;
    let said = String::from_utf8_lossy(&answer.body).trim_end().to_owned();
    Ok((answer.status.as_u16(), said))
}

async fn cosigned(
    client: &Client,
    witness: &Witness,
    log: &SampleLog,
    what: &str,
) -> anyhow::Result<()> {
    let (status, said) = add(client, witness, log).await?;
    ensure!(status == 200, "{} answers {status}: {said}", witness.name);
    output::line(format_args!(
        "  {}  cosigned size {} of {what}",
        witness.name,
        log.size().get()
    ));
    Ok(())
}

/// Waits until a witness has evidence, and fetches it.
async fn evidence(client: &Client, witness: &Witness, began: Instant) -> anyhow::Result<Vec<u8>> {
    let url = format!("{}/gossip/v0/evidence", witness.url);
    while began.elapsed() < PATIENCE {
        let list = client
            .send(ClientRequest::get(format!("{url}?since=0")))
            .await?;
        let list = String::from_utf8_lossy(&list.body).into_owned();
        if let Some(id) = list.lines().next().and_then(|line| line.split(' ').nth(1)) {
            let file = client
                .send(ClientRequest::get(format!("{url}/{id}")))
                .await?;
            if file.status == 200 {
                output::line(format_args!(
                    "  {}  after {} ms: evidence {id}, {} bytes",
                    witness.name,
                    began.elapsed().as_millis(),
                    file.body.len()
                ));
                return Ok(file.body.to_vec());
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("{} did not find out", witness.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_of_an_earlier_run_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        for number in 1..=FILES_MAX {
            keep_new(folder.path(), &number.to_be_bytes()).unwrap();
        }
        let first = std::fs::read(folder.path().join("fork.tlog-fork")).unwrap();
        assert_eq!(first, 1_u32.to_be_bytes());
        let last = std::fs::read(folder.path().join("fork-100.tlog-fork")).unwrap();
        assert_eq!(last, FILES_MAX.to_be_bytes());
        let error = keep_new(folder.path(), b"one more").unwrap_err();
        assert!(error.to_string().contains("100 files"), "{error}");
    }
}
