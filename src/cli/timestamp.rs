//! `jurat timestamp`: time-stamps of files, from our own service or any RFC 3161 authority.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use jurat_daemon::client::{Client, ClientOptions, ClientRequest, ClientResponse};
use jurat_daemon::clock::{Clock as _, SystemClock};
use jurat_proto::tsp::gen_time::GenTime;
use jurat_proto::tsp::imprint::HashAlgorithm;
use jurat_proto::tsp::logged::verify_upgrade;
use jurat_proto::tsp::oid::Oid;
use jurat_proto::tsp::request::{Nonce, TimestampRequest};
use jurat_proto::tsp::response::{RESPONSE_BYTES_MAX, TimestampResponse};
use jurat_proto::tsp::signed_data::TimestampToken;
use jurat_proto::tsp::verify::verify_answer;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::output;
use super::serve::runtime;
use super::token::{granted, imprint_of, imprint_of_cose};
use super::verify::{read_file, write_file};

/// Arguments of `jurat timestamp`.
#[derive(Clone, Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line, and any of them goes with any other"
)]
pub(super) struct TimestampArgs {
    /// What to stamp: FILE.tsq and FILE.tsr are written. With --upgrade, a time-stamp (.tsr) that
    /// exists gets its receipt
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The authority's URL, such as <http://127.0.0.1:7380/timestamp>
    #[arg(long)]
    url: String,
    /// Where to write, instead of beside each file
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// The hash algorithm
    #[arg(long, value_name = "NAME", default_value = "sha256")]
    hash: HashName,
    /// The policy to ask for
    #[arg(long, value_name = "OID", value_parser = Oid::parse)]
    policy_oid: Option<Oid>,
    /// Send no nonce. A document that can be guessed can then be recognised in the log
    #[arg(long)]
    no_nonce: bool,
    /// Do not ask for the signer's certificate: whoever verifies must have it
    #[arg(long)]
    no_cert: bool,
    /// The files are `COSE_Sign1` messages: stamp their signatures (`jurat export` puts the
    /// time-stamps in)
    #[arg(long)]
    cose: bool,
    /// Wait for the log and put the receipt into the time-stamp (an authority of Jurat's only)
    #[arg(long)]
    upgrade: bool,
    /// Write over files that exist
    #[arg(long)]
    force: bool,
    /// Connections at a time, each kept for many files
    #[arg(long, value_name = "COUNT", default_value_t = 4,
        value_parser = clap::value_parser!(u8).range(1..=64))]
    connections: u8,
    /// How long to go on asking for one file when the authority is busy, or for its receipt
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait_s: u64,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// The hash algorithms by their names on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum HashName {
    Sha256,
    Sha384,
    Sha512,
    #[value(name = "sha3-256")]
    Sha3_256,
    #[value(name = "sha3-384")]
    Sha3_384,
    #[value(name = "sha3-512")]
    Sha3_512,
}

impl HashName {
    fn algorithm(self) -> HashAlgorithm {
        match self {
            Self::Sha256 => HashAlgorithm::Sha256,
            Self::Sha384 => HashAlgorithm::Sha384,
            Self::Sha512 => HashAlgorithm::Sha512,
            Self::Sha3_256 => HashAlgorithm::Sha3_256,
            Self::Sha3_384 => HashAlgorithm::Sha3_384,
            Self::Sha3_512 => HashAlgorithm::Sha3_512,
        }
    }
}

/// One file's part of the work.
#[derive(Clone, Debug)]
enum Job {
    /// Stamp a file.
    Stamp {
        file: PathBuf,
        query: PathBuf,
        answer: PathBuf,
    },
    /// Fetch the receipt of a time-stamp that exists.
    Upgrade { file: PathBuf, answer: PathBuf },
}

impl Job {
    fn file(&self) -> &Path {
        match self {
            Self::Stamp { file, .. } | Self::Upgrade { file, .. } => file,
        }
    }
}

/// What became of one file.
struct Stamped {
    answer: PathBuf,
    token: TimestampToken,
    upgraded: bool,
}

/// Stamps every file; exit code 1 when one of them could not be.
///
/// # Errors
/// When two files would be written to one place, or the client cannot be set up. A file that could
/// not be stamped is said, and the others go on.
pub(super) fn run(args: &TimestampArgs) -> anyhow::Result<ExitCode> {
    let jobs: Vec<Job> = args.files.iter().map(|file| job(args, file)).collect();
    let mut written = BTreeSet::new();
    for job in &jobs {
        let (Job::Stamp { answer, .. } | Job::Upgrade { answer, .. }) = job;
        if !written.insert(answer) {
            return Err(output::usage(format_args!(
                "two time-stamps would be written to {}: stamp them one by one",
                answer.display()
            )));
        }
    }
    if let Some(dir) = &args.output {
        fs::create_dir_all(dir).with_context(|| format!("{}", dir.display()))?;
    }
    runtime()?.block_on(stamp_all(args, jobs))
}

fn job(args: &TimestampArgs, file: &Path) -> Job {
    let place = |suffix: &str| {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        match &args.output {
            Some(dir) => dir.join(name),
            None => file.with_file_name(name),
        }
    };
    let exists = file.extension().is_some_and(|extension| extension == "tsr");
    let file = file.to_owned();
    if args.upgrade && exists {
        let answer = place("");
        Job::Upgrade { file, answer }
    } else {
        let (query, answer) = (place(".tsq"), place(".tsr"));
        Job::Stamp {
            file,
            query,
            answer,
        }
    }
}

async fn stamp_all(args: &TimestampArgs, jobs: Vec<Job>) -> anyhow::Result<ExitCode> {
    let authority = Arc::new(Authority::new(args)?);
    let bar = output::progress(u64::try_from(jobs.len())?, "stamping");
    let mut rest = jobs.into_iter();
    let mut running = JoinSet::new();
    let mut rows = Vec::new();
    let mut all_good = true;
    loop {
        while running.len() < usize::from(args.connections)
            && let Some(job) = rest.next()
        {
            let authority = Arc::clone(&authority);
            running.spawn(async move {
                let result = authority.work(&job).await;
                (job, result)
            });
        }
        let Some(done) = running.join_next().await else {
            break;
        };
        let (job, result) = done.context("a task ended by itself")?;
        bar.inc(1);
        all_good &= result.is_ok();
        rows.push(say(args, &bar, &job, &result));
    }
    bar.finish_and_clear();
    if args.json {
        output::line(json!({ "good": all_good, "files": rows }));
    }
    Ok(ExitCode::from(if all_good {
        0
    } else {
        output::EXIT_FAILURE
    }))
}

fn say(
    args: &TimestampArgs,
    bar: &ProgressBar,
    job: &Job,
    result: &anyhow::Result<Stamped>,
) -> Value {
    let file = job.file().display().to_string();
    match result {
        Ok(stamped) => {
            let info = stamped.token.tst_info();
            let place = stamped.answer.display().to_string();
            let index = info.serial.as_unit().map(|(_, index)| index.get());
            let index = index.filter(|_| stamped.upgraded);
            if !args.json {
                let logged = index.map_or_else(String::new, |index| {
                    format!(", with the receipt of entry {index}")
                });
                bar.suspend(|| {
                    output::line(format_args!(
                        "{file}: stamped {}, time-stamp in {place}{logged}",
                        info.gen_time
                    ));
                });
            }
            json!({
                "file": file,
                "good": true,
                "timestamp": place,
                "time": info.gen_time.to_string(),
                "serial": info.serial.to_string(),
                "policy": info.policy.to_string(),
                "upgraded": stamped.upgraded,
                "index": index,
            })
        }
        Err(error) => {
            if !args.json {
                bar.suspend(|| output::line(format_args!("{file}: NOT STAMPED. {error:#}")));
            }
            json!({ "file": file, "good": false, "error": format!("{error:#}") })
        }
    }
}

/// Between a busy answer and the next question, first and at most.
// Spec: TSP-93
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MOST: Duration = Duration::from_secs(30);
/// One request, from connecting to the last byte. An answer with its receipt may wait for
/// witnesses.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The authority, and how it is asked.
struct Authority {
    client: Client,
    upgrade_url: String,
    args: TimestampArgs,
}

impl Authority {
    fn new(args: &TimestampArgs) -> anyhow::Result<Self> {
        let client = Client::new(ClientOptions {
            request_timeout: TIMEOUT,
            response_bytes_max: RESPONSE_BYTES_MAX,
            idle_per_host_max: usize::from(args.connections),
            ..ClientOptions::default()
        })?;
        Ok(Self {
            client,
            upgrade_url: upgrade_url(&args.url),
            args: args.clone(),
        })
    }

    async fn work(&self, job: &Job) -> anyhow::Result<Stamped> {
        match job {
            Job::Stamp {
                file,
                query,
                answer,
            } => self.stamp(file, query, answer).await,
            Job::Upgrade { file, answer } => {
                let bytes = read_file(file, u64::try_from(RESPONSE_BYTES_MAX)?)?;
                let before = TimestampResponse::parse(&bytes).context("no time-stamp answer")?;
                if answer != file {
                    self.must_not_exist(answer)?;
                }
                let after = self.upgraded(granted(&before)?).await?;
                // The same time-stamp, and more: nothing is lost.
                let bytes = TimestampResponse::granted(after.clone()).to_bytes();
                write_file(answer, &bytes, answer == file || self.args.force)?;
                Ok(Stamped {
                    answer: answer.clone(),
                    token: after,
                    upgraded: true,
                })
            }
        }
    }

    async fn stamp(&self, file: &Path, query: &Path, answer: &Path) -> anyhow::Result<Stamped> {
        self.must_not_exist(query)?;
        self.must_not_exist(answer)?;
        let (path, algorithm) = (file.to_owned(), self.args.hash.algorithm());
        let of = if self.args.cose {
            imprint_of_cose
        } else {
            imprint_of
        };
        let imprint = tokio::task::spawn_blocking(move || of(&path, algorithm)).await??;
        let nonce = if self.args.no_nonce {
            None
        } else {
            Some(nonce()?)
        };
        let policy = self.args.policy_oid.clone();
        let request = TimestampRequest::new(imprint, policy, nonce, !self.args.no_cert);
        let asked = Bytes::from(request.to_bytes());
        let body = self.ask(&self.args.url, QUERY_TYPE, asked.clone()).await?;
        let response = TimestampResponse::parse(&body).context("no time-stamp answer")?;
        granted(&response)?;
        let now = GenTime::new(SystemClock.now().seconds(), 0);
        let now = now.context("this machine's clock is after the year 9999")?;
        let token = verify_answer(&response, &request, now)
            .context("not what was asked for")?
            .clone();
        write_file(query, &asked, self.args.force)?;
        write_file(answer, &body, self.args.force)?;
        let mut stamped = Stamped {
            answer: answer.to_owned(),
            token,
            upgraded: false,
        };
        if self.args.upgrade {
            let after = self
                .upgraded(&stamped.token)
                .await
                .with_context(|| format!("stamped, and {} has no receipt yet", answer.display()))?;
            let bytes = TimestampResponse::granted(after.clone()).to_bytes();
            write_file(answer, &bytes, true)?;
            stamped.token = after;
            stamped.upgraded = true;
        }
        Ok(stamped)
    }

    /// The token with its receipt.
    // Spec: TSP-92
    async fn upgraded(&self, token: &TimestampToken) -> anyhow::Result<TimestampToken> {
        let body = TimestampResponse::granted(token.without_receipt()).to_bytes();
        let answer = self.ask(&self.upgrade_url, REPLY_TYPE, body.into()).await?;
        let response = TimestampResponse::parse(&answer).context("no time-stamp answer")?;
        let after = granted(&response)?;
        verify_upgrade(token, after)?;
        Ok(after.clone())
    }

    /// Posts until there is an answer, as long as patience lasts.
    // Spec: TSP-93
    async fn ask(&self, url: &str, content_type: &str, body: Bytes) -> anyhow::Result<Bytes> {
        let mut left = Duration::from_secs(self.args.wait_s);
        let mut pause = PAUSE_FIRST;
        loop {
            let mut request = ClientRequest::post(url, body.clone());
            request
                .headers
                .insert("content-type", content_type.parse()?);
            request.headers.insert("accept", REPLY_TYPE.parse()?);
            let answer = self.client.send(request).await;
            let answer = answer.with_context(|| url.to_owned())?;
            match answer.status.as_u16() {
                200 | 201 => return Ok(answer.body),
                status @ (202 | 429 | 503) => {
                    let wait = retry_after(&answer).map_or(pause, |said| said.max(pause));
                    ensure!(
                        wait <= left,
                        "{url} answered {status} for as long as --wait-s says: {}",
                        said(&answer)
                    );
                    tokio::time::sleep(wait).await;
                    left = left.saturating_sub(wait);
                    pause = (pause * 2).min(PAUSE_MOST);
                }
                status => bail!("{url} answered {status}: {}", said(&answer)),
            }
        }
    }

    fn must_not_exist(&self, path: &Path) -> anyhow::Result<()> {
        ensure!(
            self.args.force || fs::symlink_metadata(path).is_err(),
            "{} exists already; --force writes over it",
            path.display()
        );
        Ok(())
    }
}

const QUERY_TYPE: &str = "application/timestamp-query";
const REPLY_TYPE: &str = "application/timestamp-reply";

/// What an error answer says: the authority's own words where it is a time-stamp answer, which some
/// send with an error status.
fn said(answer: &ClientResponse) -> String {
    match TimestampResponse::parse(&answer.body) {
        Ok(response) => match granted(&response) {
            Ok(_) => "a time-stamp, with an error status".to_owned(),
            Err(error) => error.to_string(),
        },
        Err(_) => output::one_line(&String::from_utf8_lossy(&answer.body)),
    }
}

fn retry_after(answer: &ClientResponse) -> Option<Duration> {
    let value = answer.headers.get("retry-after")?;
    let seconds = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// 128 bits, so that nobody finds the document by guessing.
fn nonce() -> anyhow::Result<Nonce> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).context("the system has no random numbers")?;
    Ok(Nonce::from_number(&random)?)
}

/// Where the service adds receipts: beside the path at which it stamps.
fn upgrade_url(url: &str) -> String {
    let base = url.trim_end_matches('/');
    let paths = ["/api/v1/timestamp", "/timestamp", "/tsa"];
    let base = paths
        .iter()
        .find_map(|path| base.strip_suffix(path))
        .unwrap_or(base);
    format!("{base}/timestamp/upgrade")
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: TSP-92
    #[test]
    fn receipts_are_asked_for_beside_the_path_that_stamps() {
        for (url, expected) in [
            ("http://tsa.example", "http://tsa.example/timestamp/upgrade"),
            (
                "http://tsa.example/",
                "http://tsa.example/timestamp/upgrade",
            ),
            (
                "http://tsa.example/tsa",
                "http://tsa.example/timestamp/upgrade",
            ),
            ("http://a/timestamp", "http://a/timestamp/upgrade"),
            (
                "http://a/b/api/v1/timestamp/",
                "http://a/b/timestamp/upgrade",
            ),
        ] {
            assert_eq!(upgrade_url(url), expected);
        }
    }
}
