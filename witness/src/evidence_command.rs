//! `jurat-witness evidence …`: what this witness caught, or was told of. It reads and writes files,
//! while a witness serves or not.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use jurat_daemon::clock::{Clock as _, SystemClock};
use jurat_daemon::exit;
use jurat_proto::checkpoint::Origin;
use jurat_proto::evidence::KnownKeys;
use jurat_proto::hex;
use jurat_proto::key::VerifierKey;
use jurat_proto::log_list::is_control;
use jurat_store::registry::Registry;

use crate::cli::Failed;
use crate::config::Admin;
use crate::evidence::{
    EvidenceFolder, Jury, Outcome, add_log_keys, annotate, copy_of, files, notes, read,
};
use crate::logs_command::uid;
use crate::metrics::Metrics;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum EvidenceCommand {
    /// Print what is kept: id, kind, log and file, and what was noted about it
    List,
    /// Print a file, as anybody can verify it
    Show {
        /// The id, or the beginning of it
        id: String,
        /// Another copy of the same contradiction, which accuses somebody else: the number in the
        /// name of its file
        #[arg(long, value_name = "NUMBER")]
        copy: Option<usize>,
    },
    /// Verify files of others with the keys of the logs and of this witness, and keep them
    Submit {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Note something about evidence, for whoever reads the list later. What it stopped stays so
    Annotate {
        /// The id, or the beginning of it
        id: String,
        /// What to note
        note: String,
    },
}

// Spec: WIT-122
pub(crate) fn run(config: &Path, command: &EvidenceCommand) -> Result<(), Failed> {
    let admin = Admin::load(config)?;
    if let EvidenceCommand::Submit { files } = command {
        return files.iter().try_for_each(|file| submit(&admin, file));
    }
    let folder = EvidenceFolder::beside(&admin.database);
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| Failed {
            code: exit::IO,
            message: format!("cannot read {path}: {error}"),
        }
    };
    let mut found = Vec::new();
    for path in files(&folder).map_err(failed(&folder))? {
        match read(&path) {
            Ok(Ok(evidence)) => found.push((hex::encode(evidence.id().as_bytes()), path, evidence)),
            // Spec: WIT-126. One that is bad hides no other.
            Ok(Err(error)) => complain(&path, &error),
            Err(error) => complain(&path, &error),
        }
    }
    let number = |path: &Path| copy_of(path).map(|(_, number)| number);
    let pick = |wanted: &str, copy: Option<usize>| {
        let found = found.iter().filter(|(_, path, _)| number(path) == copy);
        let mut alike = found.filter(|(id, ..)| id.starts_with(wanted));
        match (alike.next(), alike.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(no_such(wanted, "no evidence")),
            (Some(_), Some(_)) => Err(no_such(wanted, "more than one piece of evidence")),
        }
    };
    match command {
        EvidenceCommand::List => {
            for (id, path, evidence) in &found {
                let origin = evidence.origin().map_or("-", Origin::as_str);
                print(format!("{id} {} {origin} {}\n", evidence.kind(), path.display()).as_bytes());
                if number(path).is_some() {
                    continue;
                }
                let notes = notes(&folder, &evidence.id()).map_err(failed(path))?;
                for note in notes.lines() {
                    print(format!("  {note}\n").as_bytes());
                }
            }
            Ok(())
        }
        // Spec: WIT-129
        EvidenceCommand::Annotate { id, note } => {
            let (_, path, evidence) = pick(id, None)?;
            if note.chars().any(is_control) {
                return Err(Failed {
                    code: exit::USAGE,
                    message: "the note has control characters".to_owned(),
                });
            }
            let line = format!("{} uid {}: {note}\n", SystemClock.now().seconds(), uid());
            annotate(&folder, &evidence.id(), &line).map_err(failed(path))
        }
        EvidenceCommand::Submit { .. } => Ok(()),
        EvidenceCommand::Show { id, copy } => {
            print(&pick(id, *copy)?.2.to_bytes());
            Ok(())
        }
    }
}

// Spec: WIT-124
fn submit(admin: &Admin, path: &Path) -> Result<(), Failed> {
    let shown = path.display();
    let io = |error: io::Error| Failed {
        code: exit::IO,
        message: format!("{shown}: {error}"),
    };
    let refused = |reason: String| Failed {
        code: exit::DATA,
        message: format!("{shown}: {reason}; nothing was kept"),
    };
    let evidence = read(path).map_err(io)?;
    let evidence = evidence.map_err(|error| refused(error.to_string()))?;
    let jury = Filed {
        registry: Registry::load(&admin.logs)?,
        own: admin.verifier_keys(),
        former: admin.former_keys.clone(),
    };
    if let Err(reason) = evidence.verify(&jury.keys(evidence.origin())) {
        return Err(refused(reason.to_string()));
    }
    let folder = EvidenceFolder::beside(&admin.database);
    let folder = EvidenceFolder::open(folder, Metrics::unregistered(), jury).map_err(io)?;
    let id = hex::encode(evidence.id().as_bytes());
    let said = match folder.keep(&evidence) {
        Some((_, Outcome::Kept)) => "kept",
        Some((_, Outcome::Merged)) => "known already; it convicts with more lines now",
        Some((_, Outcome::Beside)) => "kept beside a copy that accuses somebody else",
        Some((_, Outcome::Known)) => "known already",
        Some((_, Outcome::Counted)) => "good, and enough is kept that convicts the same keys",
        Some((_, Outcome::NotWritten)) => {
            return Err(io(io::Error::other("the disk did not take it")));
        }
        None => return Err(refused("it convicts nobody for certain".to_owned())),
    };
    print(format!("{id} {said}\n").as_bytes());
    Ok(())
}

/// The keys that the files name.
#[derive(Debug)]
pub(crate) struct Filed {
    pub(crate) registry: Registry,
    pub(crate) own: Vec<VerifierKey>,
    pub(crate) former: Vec<VerifierKey>,
}

impl Jury for Filed {
    fn keys(&self, origin: Option<&Origin>) -> KnownKeys {
        let mut keys = KnownKeys::new();
        if let Some(log) = origin.and_then(|origin| self.registry.log(origin)) {
            add_log_keys(&mut keys, log);
        }
        for key in self.own.iter().chain(&self.former) {
            // Ours are of types that cosign.
            let _ = keys.add_cosigner(key.clone());
        }
        keys
    }

    fn own(&self) -> &[VerifierKey] {
        &self.own
    }
}

fn complain(path: &Path, error: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr(), "jurat-witness: {}: {error}", path.display());
}

fn no_such(id: &str, what: &str) -> Failed {
    Failed {
        code: exit::USAGE,
        message: format!("{what} has an id that begins with \"{id}\""),
    }
}

/// A reader that went away is no failure of the command.
fn print(bytes: &[u8]) {
    let _ = io::stdout().lock().write_all(bytes);
}
