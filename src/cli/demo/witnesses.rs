//! The demonstration's witnesses: this program again, as processes of their own.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use jurat_keys::SigningKey;
use jurat_proto::key::Signer;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long a witness may take to say where it listens.
const START_MAX: Duration = Duration::from_secs(10);

/// A running witness process; it ends when this is dropped.
pub(super) struct Witness {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) process: u32,
    keys: Vec<String>,
    _child: Child,
}

impl Witness {
    /// Creates a witness in `dir`, registers the log's keys with it, and starts it.
    pub(super) async fn start(
        dir: &Path,
        number: usize,
        log_keys: &[String],
    ) -> anyhow::Result<Self> {
        let name = format!("demo.example/witness{number}");
        let home = dir.join(format!("witness{number}"));
        let config = home.join("witness.toml");
        run([
            "init".into(),
            home.clone().into(),
            "--name".into(),
            name.clone().into(),
            "--listen".into(),
            "127.0.0.1:0".into(),
        ])
        .await?;
        for key in log_keys {
            run([
                "logs".into(),
                "add".into(),
                key.into(),
                "--config".into(),
                config.clone().into(),
            ])
            .await?;
        }
        let mut child = command(["serve".into(), "--config".into(), config.into()])?
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a witness process")?;
        let stdout = child
            .stdout
            .take()
            .context("the witness has no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let url = tokio::time::timeout(START_MAX, async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, url)) = line.split_once("listening on ") {
                    return Ok(url.to_owned());
                }
            }
            bail!("witness {number} ended before it listened")
        })
        .await
        .context("the witness does not say where it listens")??;
        let keys = ["ed25519.key", "ml-dsa-44.key"]
            .iter()
            .map(|file| {
                Ok(SigningKey::load(home.join(file))?
                    .verifier_key()
                    .to_string())
            })
            .collect::<anyhow::Result<_>>()?;
        let process = child.id().unwrap_or_default();
        Ok(Self {
            name,
            url,
            process,
            keys,
            _child: child,
        })
    }
}

/// A policy with two of the three witnesses as quorum; either key of a witness counts for it.
pub(super) fn policy(log_keys: &[String], witnesses: &[Witness]) -> String {
    let mut text = String::new();
    for key in log_keys {
        let _ = writeln!(text, "log {key}");
    }
    let mut groups = String::new();
    for (number, witness) in witnesses.iter().enumerate() {
        let mut members = String::new();
        for (place, key) in witness.keys.iter().enumerate() {
            let _ = writeln!(text, "witness w{number}.{place} {key} {}", witness.url);
            let _ = write!(members, " w{number}.{place}");
        }
        let _ = writeln!(text, "group w{number} any{members}");
        let _ = write!(groups, " w{number}");
    }
    let _ = writeln!(text, "group two-of-three 2{groups}\nquorum two-of-three");
    text
}

fn command<const N: usize>(args: [OsString; N]) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.arg("witness").args(args).stdin(Stdio::null());
    // What a witness has to say in good times would be in the middle of the story.
    if std::env::var_os("RUST_LOG").is_none() {
        command.env("RUST_LOG", "warn");
    }
    Ok(command)
}

async fn run<const N: usize>(args: [OsString; N]) -> anyhow::Result<()> {
    let output = command(args)?.stdout(Stdio::null()).output().await?;
    if !output.status.success() {
        bail!(
            "a witness command failed: {}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(())
}
