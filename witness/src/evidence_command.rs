//! `jurat-witness evidence …`: what this witness caught. It reads files, while a witness serves or
//! not.

use std::io::{self, Write as _};
use std::path::Path;

use clap::Subcommand;
use jurat_daemon::exit;
use jurat_proto::checkpoint::Origin;
use jurat_proto::hex;

use crate::cli::Failed;
use crate::config::Admin;
use crate::evidence::{EvidenceFolder, files, read};

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
}

// Spec: WIT-122
pub(crate) fn run(config: &Path, command: &EvidenceCommand) -> Result<(), Failed> {
    let folder = EvidenceFolder::beside(&Admin::load(config)?.database);
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
