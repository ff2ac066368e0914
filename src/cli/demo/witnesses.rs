//! The demonstration's witnesses: this program again, as processes of their own.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
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

/// A witness that does not run yet.
struct Made {
    name: String,
    home: PathBuf,
    address: SocketAddr,
    keys: Vec<String>,
    gossip: String,
}

impl Witness {
    /// Creates witnesses in `dir` that know each other, registers the log's keys with them, and
    /// starts them. Each asks the others every `round`, and writes log lines of this level.
    pub(super) async fn start_all(
        dir: &Path,
        count: usize,
        log_keys: &[String],
        round: Duration,
        log: &str,
    ) -> anyhow::Result<Vec<Self>> {
        let mut made = Vec::new();
        for (number, address) in (1..).zip(free_addresses(count)?) {
            made.push(make(dir, number, address, log_keys).await?);
        }
        let mut running = Vec::new();
        for (place, witness) in made.iter().enumerate() {
            let config = witness.home.join("witness.toml");
            let mut text = std::fs::read_to_string(&config)?;
            let off = "#[gossip]\n#key = \"gossip.key\"\n";
            let on = off.replace('#', "");
            let times = format!("round_ms = {}\ngrace_rounds = 1\n", round.as_millis());
            text = text.replace(off, &format!("{on}{times}"));
            let others = made.iter().enumerate().filter(|(other, _)| *other != place);
            for (_, peer) in others {
                let _ = write!(
                    text,
                    "\n[[gossip.peer]]\nname = \"{}\"\nurl = \"http://{}\"\n\
                     gossip_keys = [\"{}\"]\nkeys = [\"{}\"]\n",
                    peer.name,
                    peer.address,
                    peer.gossip,
                    peer.keys.join("\", \"")
                );
            }
            std::fs::write(&config, text)?;
            running.push(Self::start(witness, config, log).await?);
        }
        Ok(running)
    }

    async fn start(made: &Made, config: PathBuf, log: &str) -> anyhow::Result<Self> {
        let name = made.name.clone();
        let mut command = command(["serve".into(), "--config".into(), config.into()])?;
        if std::env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", log);
        }
        let mut child = command
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
            bail!("{name} ended before it listened")
        })
        .await
        .context("the witness does not say where it listens")??;
        Ok(Self {
            name: made.name.clone(),
            url,
            process: child.id().unwrap_or_default(),
            keys: made.keys.clone(),
            _child: child,
        })
    }
}

async fn make(
    dir: &Path,
    number: usize,
    address: SocketAddr,
    log_keys: &[String],
) -> anyhow::Result<Made> {
    let name = format!("demo.example/witness{number}");
    let home = dir.join(format!("witness{number}"));
    let config = home.join("witness.toml");
    run([
        "init".into(),
        home.clone().into(),
        "--name".into(),
        name.clone().into(),
        "--listen".into(),
        address.to_string().into(),
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
    let vkey = |file: &str| -> anyhow::Result<String> {
        let key = SigningKey::load(home.join(file))?;
        Ok(key.verifier_key().to_string())
    };
    Ok(Made {
        keys: vec![vkey("ed25519.key")?, vkey("ml-dsa-44.key")?],
        gossip: vkey("gossip.key")?,
        name,
        address,
        home,
    })
}

/// Where witnesses will listen that must know each other's addresses before they run. Somebody may
/// take one in between; then that witness says so and the demonstration ends.
fn free_addresses(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let bind = |_| std::net::TcpListener::bind("127.0.0.1:0");
    let bound: Vec<_> = (0..count).map(bind).collect::<Result<_, _>>()?;
    let addresses = bound.iter().map(std::net::TcpListener::local_addr);
    Ok(addresses.collect::<Result<_, _>>()?)
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
