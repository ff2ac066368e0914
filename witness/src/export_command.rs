//! `jurat-witness export FILE`: the newest checkpoint of each log, for another witness. It reads
//! the state, or asks the witness that serves, and changes nothing.
//!
//! ```text
//! stopped: the database      │                        ┌─ FILE.new ─► whole, durable ─► FILE
//! serving: GET /<hash>/…     ├─► each verified anew ──┤
//! evidence/                  │                        └─ anything wrong: no FILE
//! ```
//!
//! Rows: `spec/gossip.md` GSP-180 to GSP-183, GSP-214, GSP-221, GSP-222.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use jurat_daemon::client::{Client, ClientError, ClientOptions, ClientRequest, ClientResponse};
use jurat_daemon::clock::{Clock as _, SystemClock};
use jurat_daemon::exit;
use jurat_proto::checkpoint::{Origin, SignedCheckpoint};
use jurat_proto::export::{Encoder, ExportError, Header, Part};
use jurat_proto::hash::Hash;
use jurat_proto::key::{KeyName, UnixSeconds, VerifierKey};
use jurat_store::registry::Registry;
use jurat_store::{OpenError, Peek, RedbOptions};
use tokio::runtime::Runtime;

use crate::about::{self, NotOurs};
use crate::cli::{Failed, before_opening};
use crate::config::Admin;
use crate::evidence::{EvidenceFolder, files, read};
use crate::logs_command::shown;

/// What to write, and where.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The file; it must not be there yet
    file: PathBuf,
    /// The configuration file of the witness
    #[arg(long, value_name = "FILE", default_value = "witness.toml")]
    config: PathBuf,
    /// Also all evidence
    #[arg(long)]
    evidence: bool,
    /// Where the witness that serves is asked, when it is not where the configuration says
    #[arg(long, value_name = "URL")]
    at: Option<String>,
}

// Spec: GSP-183
pub(crate) fn run(args: &ExportArgs) -> Result<(), Failed> {
    let admin = Admin::load(&args.config)?;
    let own = own_keys(&admin)?;
    let name = own.first().map(VerifierKey::name).cloned();
    let name: KeyName = name.ok_or_else(|| no_key(&admin))?;
    let registry = Registry::load(&admin.logs)?;
    let heads = Heads::open(&admin, &own, args.at.as_deref())?;
    let draft = Draft::begin(&args.file)?;
    let time = UnixSeconds::new(SystemClock.now().seconds()).unwrap_or(UnixSeconds::ZERO);
    let mut out = Out::begin(draft, &Header { name, time })?;
    let mut progress = Progress::default();
    heads.each(&registry, |origin, note| {
        let note = ours(origin, &note, &own)?;
        progress.one("logs read");
        out.part(&Part::Head(note))
    })?;
    if args.evidence {
        for part in evidence(&admin)?.into_values() {
            out.part(&part)?;
        }
    }
    let counts = out.end(&args.file)?;
    print(&format!(
        "{}: {} heads, {} evidence\n",
        args.file.display(),
        counts.heads,
        counts.evidence
    ));
    tell_of_waiting(&registry);
    if matches!(heads, Heads::Serving(_)) {
        print(
            "The witness serves: what it cosigns from now on is not in the file. Stop it before \
             you export, if another is to go on with its keys\n",
        );
    }
    Ok(())
}

/// What this witness waits for itself is in no part of the file: whoever goes on from it has to be
/// told.
// Spec: GSP-222
fn tell_of_waiting(registry: &Registry) {
    let waiting = registry.logs().filter(|log| log.has_imported());
    let waiting: Vec<&Origin> = waiting.map(|log| &log.origin).collect();
    for origin in waiting.iter().take(TOLD_MAX) {
        let origin = shown(origin);
        print(&format!(
            "{origin}: waits for imported heads, which are not in the file\n"
        ));
    }
    let more = waiting.len().saturating_sub(TOLD_MAX);
    if more > 0 {
        print(&format!(
            "{more} more logs: wait for imported heads, which are not in the file\n"
        ));
    }
    if !waiting.is_empty() {
        print("Import the earlier files there, too\n");
    }
}

/// The keys that this witness has and had, as far as they can be read.
pub(crate) fn own_keys(admin: &Admin) -> Result<Vec<VerifierKey>, Failed> {
    let mut keys = admin.verifier_keys();
    if keys.is_empty() {
        return Err(no_key(admin));
    }
    keys.extend(admin.former_keys.iter().cloned());
    Ok(keys)
}

fn no_key(admin: &Admin) -> Failed {
    let database = admin.database.display();
    Failed {
        code: exit::USAGE,
        message: format!("no key of the witness of {database} can be read"),
    }
}

/// A stored checkpoint that we cosigned.
// Spec: WIT-57
pub(crate) fn ours(
    origin: &Origin,
    note: &[u8],
    own: &[VerifierKey],
) -> Result<SignedCheckpoint, Failed> {
    let bad = |reason: String| {
        data(format!(
            "the stored head of {} is not what this witness cosigned: {reason}",
            origin.as_str().escape_debug()
        ))
    };
    let note = SignedCheckpoint::parse(note).map_err(|error| bad(error.to_string()))?;
    if note.origin() != origin {
        return Err(bad("it is of another log".to_owned()));
    }
    let signed = note.verify_signatures(own);
    signed.map_err(|error| bad(error.to_string()))?;
    Ok(note)
}

/// Where the newest checkpoints are.
pub(crate) enum Heads {
    /// In a database that nobody serves, and that nobody can serve as long as this is here.
    Stopped(Box<Peek>),
    /// At a witness.
    Serving(Box<Server>),
}

/// A witness that serves.
pub(crate) struct Server {
    at: String,
    client: Client,
    runtime: Runtime,
}

impl Server {
    /// Whether anybody is there to be asked, whatever the answer is.
    fn listens(&self) -> bool {
        let url = format!("{}/health", self.at);
        let request = ClientRequest::get(&url).timeout(ASK_TIMEOUT);
        let answer = self.runtime.block_on(self.client.send(request));
        !matches!(answer, Err(ClientError::Connect { .. }))
    }

    /// What it answers there, once it has time.
    fn ask(&self, path: &str) -> Result<ClientResponse, ClientError> {
        let url = format!("{}{path}", self.at);
        let ask = async {
            let mut left = BUSY_TRIES;
            loop {
                let request = ClientRequest::get(&url).timeout(ASK_TIMEOUT);
                let answer = self.client.send(request).await;
                left -= 1;
                match answer {
                    // Too many ask at once; one log more must not cost all that were read.
                    Ok(answer) if answer.status == 503 && left > 0 => {}
                    // Nor must a moment in which it does not answer, where it did before.
                    Err(ClientError::Timeout { .. }) if left > BUSY_TRIES - SLOW_TRIES => {}
                    answer => return answer,
                }
                tokio::time::sleep(BUSY_PAUSE).await;
            }
        };
        self.runtime.block_on(ask)
    }

    /// Whether it is the witness that has these keys. Any server has nothing of a log that it never
    /// heard of, and that must not be taken for what a witness remembers.
    // Spec: GSP-221
    fn verify_ours(&self, admin: &Admin, own: &[VerifierKey]) -> Result<(), Failed> {
        let refused = |what: String| Failed {
            code: exit::UNAVAILABLE,
            message: format!("the server at {} {what}; nothing was done", self.at),
        };
        let not_ours = |reason: String| refused(format!("is not this witness: {reason}"));
        // That it fails, or has no time, says nothing of who it is.
        let silent = |reason: String| refused(format!("does not say who it is: {reason}"));
        let answer = self.ask(about::PATH);
        let answer = answer.map_err(|error| silent(error.to_string()))?;
        let status = answer.status;
        if status != 200 {
            let reason = format!("{} answers {}", about::PATH, status.as_u16());
            let fails = status.is_server_error();
            return Err(if fails {
                silent(reason)
            } else {
                not_ours(reason)
            });
        }
        about::verify_ours(&answer.body, own).map_err(|reason| match (reason, admin.unread_key()) {
            (NotOurs::OtherKey { vkey }, Some(path)) => refused(format!(
                "has the key {vkey:?}, which may be that in {}: this file cannot be read",
                path.display()
            )),
            (reason, _) => not_ours(reason.to_string()),
        })
    }
}

impl Heads {
    /// Those of a witness, `at` being where it serves, if that is said.
    /// `own` are the keys of this witness, which it has to have there.
    pub(crate) fn open(
        admin: &Admin,
        own: &[VerifierKey],
        at: Option<&str>,
    ) -> Result<Self, Failed> {
        before_opening(&admin.database);
        if let Some(stopped) = Self::stopped(admin)? {
            return Ok(stopped);
        }
        let listen = admin.listen.map(|listen| format!("http://{listen}"));
        let at = at.map(str::to_owned).or(listen).ok_or_else(|| Failed {
            code: exit::USAGE,
            message: "the witness that serves speaks TLS; say where, with --at URL".to_owned(),
        })?;
        let failed = |error: &dyn std::fmt::Display| Failed {
            code: exit::OS,
            message: error.to_string(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed(&error))?;
        let client = Client::new(ClientOptions::default()).map_err(|error| failed(&error))?;
        let server = Server {
            at: at.trim_end_matches('/').to_owned(),
            client,
            runtime,
        };
        // Spec: GSP-214. Who has the database may be a command like this one, which ends, or a
        // witness that does not listen yet.
        let mut left = BUSY_TRIES;
        while !server.listens() {
            left -= 1;
            if left == 0 {
                let database = admin.database.display();
                return Err(Failed {
                    code: exit::UNAVAILABLE,
                    message: format!(
                        "another process has {database}, and no witness answers at {}; nothing \
                         was done",
                        server.at
                    ),
                });
            }
            std::thread::sleep(BUSY_PAUSE);
            if let Some(stopped) = Self::stopped(admin)? {
                return Ok(stopped);
            }
        }
        server.verify_ours(admin, own)?;
        Ok(Self::Serving(Box::new(server)))
    }

    /// Those in a database that no other process has.
    fn stopped(admin: &Admin) -> Result<Option<Self>, Failed> {
        match Peek::open(&admin.database, RedbOptions::default()) {
            Ok(peek) => Ok(Some(Self::Stopped(Box::new(peek)))),
            Err(OpenError::InUse { .. }) => Ok(None),
            Err(error) => Err(data(error.to_string())),
        }
    }

    /// The newest note of a log.
    pub(crate) fn note(&self, origin: &Origin) -> Result<Option<Vec<u8>>, Failed> {
        match self {
            Self::Stopped(peek) => {
                let latest = peek.latest(origin);
                let latest = latest.map_err(|error| data(error.to_string()))?;
                Ok(latest.map(|latest| latest.note))
            }
            Self::Serving(server) => {
                let path = format!("/{}/checkpoint", origin.hash_hex());
                let failed = |reason: String| Failed {
                    code: exit::UNAVAILABLE,
                    message: format!("the witness that serves: {reason}"),
                };
                let answer = server.ask(&path);
                let answer = answer.map_err(|error| failed(error.to_string()))?;
                match answer.status.as_u16() {
                    200 => Ok(Some(answer.body.to_vec())),
                    404 => Ok(None),
                    status => Err(failed(format!("{}{path} answers {status}", server.at))),
                }
            }
        }
    }

    /// Each log and its note, in the order of the origins: of a witness that serves, those that
    /// its list names.
    fn each(
        &self,
        registry: &Registry,
        mut take: impl FnMut(&Origin, Vec<u8>) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let Self::Stopped(peek) = self else {
            for log in registry.logs() {
                if let Some(note) = self.note(&log.origin)? {
                    take(&log.origin, note)?;
                }
            }
            return Ok(());
        };
        let mut after: Option<Origin> = None;
        loop {
            let page = peek.origins(after.as_ref(), PAGE);
            let page = page.map_err(|error| data(error.to_string()))?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            for (origin, head) in page {
                take(&origin, head.note)?;
            }
        }
    }
}

fn evidence(admin: &Admin) -> Result<BTreeMap<(Hash, Vec<u8>), Part>, Failed> {
    let folder = EvidenceFolder::beside(&admin.database);
    let failed = |path: &Path, error: &dyn std::fmt::Display| Failed {
        code: exit::IO,
        message: format!("{}: {error}", path.display()),
    };
    let mut found = BTreeMap::new();
    for path in files(&folder).map_err(|error| failed(&folder, &error))? {
        match read(&path).map_err(|error| failed(&path, &error))? {
            Ok(evidence) => {
                let place = (evidence.id(), evidence.to_bytes());
                found.insert(place, Part::Evidence(Box::new(evidence)));
            }
            // Spec: WIT-126. One that is bad hides no other.
            Err(error) => complain(&format!("{}: {error}; left out", path.display())),
        }
    }
    Ok(found)
}

/// A file on its way.
struct Draft {
    path: PathBuf,
    file: BufWriter<File>,
    kept: bool,
}

impl Draft {
    fn begin(file: &Path) -> Result<Self, Failed> {
        if fs::symlink_metadata(file).is_ok() {
            return Err(Failed {
                code: exit::USAGE,
                message: format!("{} exists already", file.display()),
            });
        }
        let mut path = file.as_os_str().to_owned();
        path.push(".new");
        let path = PathBuf::from(path);
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path);
        let opened = opened.map_err(|error| cannot_write(&path, &error))?;
        Ok(Self {
            path,
            file: BufWriter::new(opened),
            kept: false,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| cannot_write(&self.path, &error))
    }

    /// Gives it its name, which nobody has.
    fn keep(mut self, name: &Path) -> Result<(), Failed> {
        let kept = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all())
            // A link replaces nothing, as a new name would.
            .and_then(|()| fs::hard_link(&self.path, name))
            .and_then(|()| fs::remove_file(&self.path))
            .and_then(|()| {
                let folder = name.parent().filter(|path| !path.as_os_str().is_empty());
                File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
            });
        self.kept = kept.is_ok();
        kept.map_err(|error| cannot_write(name, &error))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Failed {
    Failed {
        code: exit::IO,
        message: format!("cannot write {}: {error}", path.display()),
    }
}

struct Out {
    draft: Draft,
    encoder: Encoder,
}

impl Out {
    fn begin(mut draft: Draft, header: &Header) -> Result<Self, Failed> {
        let (encoder, bytes) = Encoder::begin(header);
        draft.write(&bytes)?;
        Ok(Self { draft, encoder })
    }

    fn part(&mut self, part: &Part) -> Result<(), Failed> {
        let bytes = self.encoder.part(part);
        let bytes = bytes.map_err(|error: ExportError| data(error.to_string()))?;
        self.draft.write(&bytes)
    }

    fn end(mut self, name: &Path) -> Result<jurat_proto::export::Counts, Failed> {
        let counts = self.encoder.counts();
        self.draft.write(&self.encoder.end())?;
        self.draft.keep(name)?;
        Ok(counts)
    }
}

/// A line on standard error each few seconds, for who waits.
#[derive(Default)]
pub(crate) struct Progress {
    count: u64,
    told: Option<Instant>,
}

impl Progress {
    pub(crate) fn one(&mut self, what: &str) {
        self.count += 1;
        // Not each: to look at a clock costs more than most of these.
        if !self.count.is_multiple_of(512) {
            return;
        }
        let now = SystemClock.instant();
        let told = *self.told.get_or_insert(now);
        if now.saturating_duration_since(told) >= TELL_EVERY {
            self.told = Some(now);
            complain(&format!("{} {what}", self.count));
        }
    }
}

pub(crate) fn data(message: String) -> Failed {
    Failed {
        code: exit::DATA,
        message,
    }
}

fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "jurat-witness: {message}");
}

/// A reader that went away is no failure of the command.
pub(crate) fn print(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// Heads that are read at once: each has a note of some kilobytes.
const PAGE: usize = 256;

/// Logs that are told of one by one.
pub(crate) const TOLD_MAX: usize = 20;

/// For a witness on this machine.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a witness is asked that says it is busy, and the time between.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// How often one is asked that does not answer within [`ASK_TIMEOUT`].
const SLOW_TRIES: u32 = 3;

/// Between two lines of progress.
const TELL_EVERY: Duration = Duration::from_secs(2);
