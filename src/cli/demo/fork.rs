//! `jurat demo --fork`: a log shows two histories to three witnesses, and they find out.

use std::path::Path;
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
    let witnesses = Witness::start_all(dir, 3, keys, ROUND, Some("off")).await?;
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
    let path = if keep {
        dir.join("fork.tlog-fork")
    } else {
        Path::new("fork.tlog-fork").to_owned()
    };
    std::fs::write(&path, &file).with_context(|| format!("{}", path.display()))?;
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
    let (jurat, path) = (jurat.display(), path.display());
    output::line(format_args!("  {jurat} verify {path} --log-key {vkey}"));
    if !once {
        output::line("");
        output::line("Ctrl-C ends it.");
        shutdown.wait().await;
    }
    drop(witnesses);
    Ok(())
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
