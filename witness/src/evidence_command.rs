//! `jurat-witness evidence …`: what this witness caught, or was told of. It reads and writes files,
//! while a witness serves or not.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use jurat_daemon::exit;
use jurat_proto::checkpoint::Origin;
use jurat_proto::evidence::{KnownKeys, Standing};
use jurat_proto::hex;
use jurat_store::registry::Registry;

use crate::cli::Failed;
use crate::config::Admin;
use crate::evidence::{EvidenceFolder, Outcome, files, read};
use crate::metrics::Metrics;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum EvidenceCommand {
    /// Print what is kept: id, kind, log and file
    List,
    /// Print a file, as anybody can verify it
    Show {
        /// The id, or the beginning of it
        id: String,
    },
    /// Verify files of others with the keys of the logs and of this witness, and keep them
    Submit {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
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
        if let Ok(evidence) = read(&path).map_err(failed(&path))? {
            found.push((hex::encode(evidence.id().as_bytes()), path, evidence));
        }
    }
    match command {
        EvidenceCommand::List => {
            for (id, path, evidence) in found {
                let origin = evidence.origin().map_or("-", Origin::as_str);
                print(format!("{id} {} {origin} {}\n", evidence.kind(), path.display()).as_bytes());
            }
            Ok(())
        }
        EvidenceCommand::Submit { .. } => Ok(()),
        EvidenceCommand::Show { id: wanted } => {
            let mut alike = found
                .iter()
                .filter(|(id, ..)| id.starts_with(wanted.as_str()));
            match (alike.next(), alike.next()) {
                (Some((_, _, evidence)), None) => {
                    print(&evidence.to_bytes());
                    Ok(())
                }
                (None, _) => Err(no_such(wanted, "no evidence")),
                (Some(_), Some(_)) => Err(no_such(wanted, "more than one piece of evidence")),
            }
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
    let registry = Registry::load(&admin.logs)?;
    let mut keys = KnownKeys::new();
    if let Some(log) = evidence.origin().and_then(|origin| registry.log(origin)) {
        for key in &log.keys {
            keys.add_log(log.origin.clone(), key.clone(), Standing::Current);
        }
    }
    for key in admin.verifier_keys() {
        // Ours are of types that cosign.
        let _ = keys.add_cosigner(key);
    }
    if let Err(reason) = evidence.verify(&keys) {
        return Err(refused(reason.to_string()));
    }
    let folder = EvidenceFolder::beside(&admin.database);
    let folder = EvidenceFolder::open(folder, Metrics::unregistered()).map_err(io)?;
    let id = hex::encode(evidence.id().as_bytes());
    let said = match folder.keep(&evidence, &keys) {
        Some((_, Outcome::Kept)) => "kept",
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
