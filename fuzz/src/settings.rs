//! Files that an operator writes: keys, the list of logs, configurations.

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use jurat::tsa::json;
use jurat::tsa::units::UnitsFile;
use jurat_daemon::config;
use jurat_daemon::http::Limits;
use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::key::Signer as _;
use jurat_proto::note::KeyName;
use jurat_proto::tsp::request::TimestampRequest;
use jurat_store::registry::Registry;

use crate::canonical_text;
use crate::world::{ORIGIN, WORLD};

/// A folder that this process alone uses, with what a configuration may name.
static SCRATCH: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("jurat-fuzz-{}", std::process::id()));
    make_scratch(&folder).expect("the folder for temporary files takes files");
    folder
});

fn make_scratch(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir(folder)?;
    for (file, key) in [
        (LOG_KEY, &WORLD.log),
        (COSIGNER_KEY, &WORLD.witness),
        (OTHER_COSIGNER_KEY, &WORLD.witness_ml_dsa),
    ] {
        key.save_new(folder.join(file))?;
    }
    fs::write(folder.join("witnesses.policy"), "quorum none\n")?;
    fs::write(folder.join("state.redb"), "")?;
    Registry::create(folder.join("logs.toml"))?;
    Ok(())
}

const LOG_KEY: &str = "log.key";
const COSIGNER_KEY: &str = "cosigner.key";
const OTHER_COSIGNER_KEY: &str = "other.key";

/// Writes the input to a private file of the scratch folder.
pub(crate) fn scratch_file(name: &str, data: &[u8]) -> PathBuf {
    let path = SCRATCH.join(name);
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&path).expect("the folder takes files");
    file.write_all(data).expect("the folder takes files");
    path
}

/// Key files end in one newline or none; the law is about the line.
pub(crate) fn key_file(data: &[u8]) {
    let line = data.strip_suffix(b"\n").unwrap_or(data);
    canonical_text(line, SigningKey::parse_note_signer, |key| {
        let line = key.to_note_signer().expect("it came in this format");
        line.trim_end_matches('\n').to_owned()
    });
}

/// DER has more than one way to write a key that may be read; what is written must be read again.
pub(crate) fn key_pem(data: &[u8]) {
    let path = scratch_file("input.pem", data);
    let name = KeyName::parse("fuzz.example").expect("a key name");
    let algorithms = [
        Algorithm::Ed25519,
        Algorithm::CosignatureV1,
        Algorithm::MlDsa44,
        Algorithm::P256,
    ];
    for algorithm in algorithms {
        match SigningKey::load_pkcs8(&path, name.clone(), algorithm) {
            Ok(key) => {
                let written = key.to_pkcs8_pem().expect("a key can be written");
                assert!(written.starts_with("-----BEGIN PRIVATE KEY-----"));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

pub(crate) fn registry(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Registry::parse(text) {
        Ok(registry) => {
            for log in registry.logs() {
                assert!(registry.log(&log.origin).is_some(), "listed, but not found");
            }
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a problem");
            assert!(
                problems
                    .iter()
                    .all(|problem| !problem.to_string().is_empty())
            );
        }
    }
}

/// What is written again says the same.
pub(crate) fn units(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match UnitsFile::parse(text) {
        // A number above 63 bits cannot be written in TOML, and is not read from it either.
        Ok(file) => {
            let again = file.to_text().expect("what was read can be written");
            assert_eq!(UnitsFile::parse(&again), Ok(file));
        }
        Err(error) => assert!(!error.is_empty()),
    }
}

/// A request in JSON is one in DER.
pub(crate) fn timestamp_json(data: &[u8]) {
    match json::parse(data) {
        Ok(request) => {
            let der = request.to_bytes();
            assert_eq!(TimestampRequest::parse(&der), Ok(request));
        }
        Err(error) => assert!(!error.is_empty()),
    }
}

/// The strict TOML reader of both programs, with the section that both have.
pub(crate) fn limits(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Err(problems) = config::parse::<Limits>(text, Path::new("fuzz.toml")) {
        assert!(!problems.is_empty(), "refused without a problem");
        assert!(!problems.to_string().is_empty());
    }
}

pub(crate) fn service_config(data: &[u8]) {
    let path = scratch_file("jurat.toml", data);
    if let Err(error) = jurat::config::Config::load(&path) {
        assert!(!error.to_string().is_empty());
    }
}

pub(crate) fn witness_config(data: &[u8]) {
    let path = scratch_file("witness.toml", data);
    if let Err(error) = jurat_witness::config::Config::load(&path) {
        assert!(!error.to_string().is_empty());
    }
}

/// Configurations that both programs accept in the scratch folder.
pub(crate) fn configurations() -> [(&'static str, String); 2] {
    let service = format!(
        "origin = \"{ORIGIN}\"\nlisten = \"127.0.0.1:0\"\ndatabase = \"state.redb\"\n\
         logs = \"logs.toml\"\npolicy = \"witnesses.policy\"\nlog_keys = [\"{LOG_KEY}\"]\n\
         cosigner_keys = [\"{COSIGNER_KEY}\", \"{OTHER_COSIGNER_KEY}\"]\n\
         [tree_heads]\ninterval_ms = 1000\n[health]\nstale_after_s = 120\n"
    );
    let witness = format!(
        "name = \"{}\"\nlisten = \"127.0.0.1:0\"\nkeys = [\"{COSIGNER_KEY}\"]\n\
         database = \"state.redb\"\nlogs = \"logs.toml\"\n[commit]\nbatch_max = 8\n",
        WORLD.witness.verifier_key().name()
    );
    [("service_config", service), ("witness_config", witness)]
}
