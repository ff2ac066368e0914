//! Files that an operator writes: keys, the list of logs, configurations.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use jurat_daemon::config;
use jurat_daemon::http::Limits;
use jurat_keys::{Algorithm, SigningKey};
use jurat_proto::note::KeyName;
use jurat_store::registry::Registry;

use crate::canonical_text;

/// One file that this process alone uses, in memory where the system has such a place.
static SCRATCH: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Some(Path::new("/dev/shm")).filter(|folder| folder.is_dir());
    let folder = folder.map_or_else(std::env::temp_dir, Path::to_path_buf);
    folder.join(format!("jurat-fuzz-{}", std::process::id()))
});

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
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&*SCRATCH).expect("the folder takes files");
    file.write_all(data).expect("the folder takes files");
    drop(file);
    let name = KeyName::parse("fuzz.example").expect("a key name");
    let algorithms = [
        Algorithm::Ed25519,
        Algorithm::CosignatureV1,
        Algorithm::MlDsa44,
        Algorithm::P256,
    ];
    for algorithm in algorithms {
        match SigningKey::load_pkcs8(&*SCRATCH, name.clone(), algorithm) {
            Ok(key) => {
                let written = key.to_pkcs8_pem().expect("a key can be written");
                assert!(written.starts_with("-----BEGIN PRIVATE KEY-----"));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    drop(fs::remove_file(&*SCRATCH));
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
