//! `jurat demo`: the whole network on one machine, with real processes and a real log's checkpoint.

mod fork;
mod sample_log;
mod stamp;
mod witnesses;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use jurat_daemon::shutdown::Shutdown;
use jurat_proto::add_checkpoint::AddCheckpoint;
use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::key::VerifierKey;
use jurat_proto::policy::Policy;
use jurat_proto::proof::ConsistencyProof;
use jurat_proto::receipt::Receipt;
use jurat_proto::tree::TreeSize;

use self::sample_log::SampleLog;
use self::witnesses::Witness;
use super::remote::{Remote, Submission};
use super::serve::runtime;
use super::{init, logs, output};
use crate::config::Config;
use crate::service;

/// Arguments of `jurat demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Keep keys, databases and receipts here (default: a temporary directory, removed at the end)
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Where the service listens; port 0 lets the system choose
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: std::net::SocketAddr,
    /// End after the receipts have been written and verified
    #[arg(long)]
    once: bool,
    /// Instead, run a log that forks: the witnesses compare what they were shown, prove it, and
    /// refuse the log. The evidence stays in DIR, or here, beside what is there already
    #[arg(long)]
    fork: bool,
}

/// The service's origin in the demonstration.
const ORIGIN: &str = "demo.example/jurat";

/// A checkpoint that the Go checksum database really signed, and its key (public data).
const GO_CHECKPOINT: &[u8] = include_bytes!("sum.golang.org-35225469.checkpoint");
const GO_KEY: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
const GO_ORIGIN: &str = "go.sum database tree";

/// How long a receipt may take before the demonstration has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two checkpoints of the sample log.
const SAMPLE_PERIOD: Duration = Duration::from_secs(2);

/// Between two rounds of gossip.
const ROUND: Duration = Duration::from_secs(2);

/// Runs the demonstration until Ctrl-C, or once.
///
/// # Errors
/// When a process does not start, or a receipt does not come or does not verify.
pub(super) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let dir = args
        .dir
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("jurat-demo-{}", std::process::id())));
    if dir
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_some())
    {
        bail!(
            "{} is not empty: give the demonstration a new directory",
            dir.display()
        );
    }
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let result = if args.fork {
        runtime()?.block_on(fork::demo(args.once, args.dir.is_some(), &dir))
    } else {
        runtime()?.block_on(demo(args, &dir))
    };
    if args.dir.is_none() {
        drop(std::fs::remove_dir_all(&dir));
    }
    result?;
    Ok(ExitCode::SUCCESS)
}

async fn demo(args: &DemoArgs, dir: &Path) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    output::line("Jurat: a service, three witness processes, and two logs that anchor");
    let service_dir = dir.join("service");
    let created = init::create(&init::InitArgs {
        dir: service_dir.clone(),
        origin: ORIGIN.to_owned(),
        policy: None,
        without_witnesses: false,
        listen: args.listen,
    })?;
    // They warn that they have just met their peers and have nobody else to ask, as it should be.
    let witnesses = Witness::start_all(dir, 3, &created.log, ROUND, "error").await?;
    introduce(&witnesses);
    let policy_file = service_dir.join("witnesses.policy");
    let policy_text = witnesses::policy(&created.log, &witnesses);
    std::fs::write(&policy_file, &policy_text)?;
    let policy = Policy::parse(policy_text.as_bytes())?;

    let mut sample = SampleLog::new("demo.example/payroll-audit")?;
    let registry = service_dir.join("logs.toml");
    logs::add(&registry, sample.origin(), sample.verifier_key())?;
    logs::add(
        &registry,
        &Origin::parse(GO_ORIGIN)?,
        &VerifierKey::parse(GO_KEY)?,
    )?;

    let config = Config::load(&created.config)?;
    let (tell, address) = tokio::sync::oneshot::channel();
    let running = tokio::spawn(service::run_on_system_clock(
        config,
        shutdown.clone(),
        |address| {
            let _ = tell.send(address);
        },
    ));
    let Ok(address) = address.await else {
        running.await??;
        bail!("the service did not start");
    };
    let url = format!("http://{address}");
    output::line(format_args!("  service  {url}  log {ORIGIN}"));
    output::line("");

    let story = tell_story(args, dir, &url, &policy, &policy_file, &mut sample);
    let told = tokio::select! {
        told = story => told,
        () = shutdown.wait() => Ok(()),
    };
    shutdown.trigger();
    running.await??;
    drop(witnesses);
    told
}

fn introduce(witnesses: &[Witness]) {
    for witness in witnesses {
        output::line(format_args!(
            "  witness {}  {}  process {}",
            witness.name, witness.url, witness.process
        ));
    }
}

/// Anchors the real checkpoint and the sample log; without `--once`, goes on.
async fn tell_story(
    args: &DemoArgs,
    dir: &Path,
    url: &str,
    policy: &Policy,
    policy_file: &Path,
    sample: &mut SampleLog,
) -> anyhow::Result<()> {
    let remote = Remote::new(url)?;
    let checkpoint = SignedCheckpoint::parse(GO_CHECKPOINT)?;
    let request = AddCheckpoint {
        old_size: TreeSize::ZERO,
        proof: ConsistencyProof::default(),
        checkpoint,
    };
    let go_receipt = dir.join("sum.golang.org.tlog-proof");
    let line = anchor(&remote, &request, policy, &go_receipt).await?;
    output::line("A checkpoint that the Go checksum database signed:");
    output::line(format_args!("  {line}"));
    output::line("A time-stamp of that receipt, which is in the log as well:");
    let service = dir.join("service");
    let line = stamp::stamp(url, &service, &go_receipt, policy).await?;
    output::line(format_args!("  {line}"));
    let receipt = dir.join("payroll-audit.tlog-proof");
    output::line("A sample audit log:");
    loop {
        for _ in 0..3 {
            sample.append(&format!("record {}", sample.size().get()))?;
        }
        let line = anchor(&remote, &sample.request()?, policy, &receipt).await?;
        sample.anchored();
        output::line(format_args!("  {line}"));
        if args.once {
            break;
        }
        if sample.size().get() == 3 {
            output::line("");
            output::line(format_args!("Status page:  {url}/"));
            output::line("Verify offline, in another terminal:");
            let jurat = std::env::current_exe()?;
            output::line(format_args!(
                "  {} verify {} --policy {} --log-key {}",
                output::word(&jurat.display()),
                output::word(&receipt.display()),
                output::word(&policy_file.display()),
                sample.verifier_key()
            ));
            output::line("");
            output::line("The log goes on, Ctrl-C ends it:");
        }
        tokio::time::sleep(SAMPLE_PERIOD).await;
    }
    output::line("");
    output::line(
        "Both receipts and the time-stamp verified offline: logged, and cosigned by a quorum of \
         witnesses.",
    );
    Ok(())
}

/// Anchors one checkpoint, writes its receipt, verifies the file, and tells about it.
async fn anchor(
    remote: &Remote,
    request: &AddCheckpoint,
    policy: &Policy,
    file: &Path,
) -> anyhow::Result<String> {
    let began = Instant::now();
    let receipt = match remote.anchor(request).await? {
        Submission::Receipt(receipt) => receipt,
        Submission::Pending(place) => remote.receipt(&place, PATIENCE).await?,
        Submission::Conflict(size) => bail!("the service holds size {} already", size.get()),
    };
    let took = began.elapsed();
    std::fs::write(file, &receipt).with_context(|| format!("{}", file.display()))?;
    let bytes = std::fs::read(file)?;
    let verdict = Receipt::parse(&bytes)?.verify(policy)?;
    let head = request.checkpoint.head();
    Ok(format!(
        "{} size {}: entry {} of {} leaves, {} cosignatures, {} ms; receipt of {} bytes \
         verifies: {}",
        request.checkpoint.origin(),
        head.size.get(),
        verdict.index.get(),
        verdict.head.size.get(),
        verdict.witnesses.len(),
        took.as_millis(),
        bytes.len(),
        file.display()
    ))
}
