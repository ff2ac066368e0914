//! Notes, checkpoints and keys that other implementations made: Go's `note` package and its
//! checksum database, Tessera, Sigsum, and the examples of the C2SP texts.
//!
//! The folder is named by `JURAT_VECTORS` (`../shared/vectors` next to the workspace, when unset).
//! Without it there is nothing to read, which is a failure only under `JURAT_VECTORS_REQUIRED=1`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on should say so and stop"
)]

use std::fs;
use std::path::{Path, PathBuf};

use jurat_proto::checkpoint::{SignaturesError, SignedCheckpoint, verify_signatures};
use jurat_proto::key::{SignatureError, SignatureType, VerifierKey};
use jurat_proto::note::{LineError, Note, NoteError};

/// The folder of vectors, if there is one.
fn vectors() -> Option<PathBuf> {
    let folder = std::env::var_os("JURAT_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors"),
        PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder);
    }
    let required = std::env::var_os("JURAT_VECTORS_REQUIRED").is_some_and(|value| value == "1");
    assert!(
        !required,
        "JURAT_VECTORS_REQUIRED is set and {} is not there",
        folder.display()
    );
    println!("nothing to read: {} is not there", folder.display());
    None
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn key(path: &Path) -> VerifierKey {
    let text = String::from_utf8(read(path)).unwrap();
    let vkey = text.trim_end_matches('\n');
    let key = VerifierKey::parse(vkey).unwrap_or_else(|error| panic!("{vkey}: {error}"));
    assert_eq!(key.to_string(), vkey);
    key
}

/// The checkpoint of an add-checkpoint body: what follows the first empty line.
fn checkpoint_bytes(request: &[u8]) -> &[u8] {
    let at = request.windows(2).position(|pair| pair == b"\n\n").unwrap();
    request.get(at + 2..).unwrap()
}

// Spec: NOTE-01, NOTE-05, NOTE-15, NOTE-16, NOTE-20
#[test]
fn notes_of_go_and_c2sp_verify() {
    let Some(folder) = vectors() else { return };
    for name in ["c2sp-example", "peter-neumann"] {
        let bytes = read(&folder.join("notes").join(format!("{name}.note")));
        let key = key(&folder.join("notes").join(format!("{name}.vkey")));
        let note = Note::parse(&bytes).unwrap();
        assert_eq!(note.to_bytes(), bytes);
        let verified = verify_signatures(&note, std::slice::from_ref(&key)).unwrap();
        assert_eq!(verified.len(), 1);
        assert_eq!(key.signature_type(), SignatureType::Ed25519);

        // Any other text under the same signature is a bad note, not an unsigned one.
        let changed = Note::new(format!("{}\n", note.text()), note.signatures().to_vec()).unwrap();
        let answer = verify_signatures(&changed, &[key]);
        assert!(
            matches!(
                answer,
                Err(SignaturesError::BadSignature {
                    reason: SignatureError::Invalid,
                    ..
                })
            ),
            "{answer:?}"
        );
    }
}

// Spec: CKP-01, CKP-03, CKP-04, CKP-05
#[test]
fn checkpoints_of_the_go_checksum_database_verify_although_key_and_origin_differ_in_name() {
    let Some(folder) = vectors() else { return };
    let folder = folder.join("sumdb");
    let key = key(&folder.join("log.vkey"));
    let request = read(&folder.join("add-checkpoint-35225469.txt"));
    let note = read(&folder.join("checkpoint-6476701.txt"));
    for (bytes, size) in [
        (checkpoint_bytes(&request), 35_225_469),
        (&note[..], 6_476_701),
    ] {
        let signed = SignedCheckpoint::parse(bytes).unwrap();
        assert_eq!(signed.to_bytes(), bytes);
        assert_eq!(signed.origin().as_str(), "go.sum database tree");
        assert_eq!(key.name().as_str(), "sum.golang.org");
        assert_eq!(signed.head().size.get(), size);
        assert_eq!(
            signed
                .verify_signatures(std::slice::from_ref(&key))
                .unwrap()
                .len(),
            1
        );
    }
}

// Spec: CKP-01, CKP-04, CKP-05
#[test]
fn checkpoints_of_tessera_verify() {
    let Some(folder) = vectors() else { return };
    let folder = folder.join("tessera-log");
    let key = key(&folder.join("log.vkey"));
    for size in 0..=8 {
        let bytes = read(&folder.join(format!("checkpoint.{size}")));
        let signed = SignedCheckpoint::parse(&bytes).unwrap();
        assert_eq!(signed.to_bytes(), bytes);
        assert_eq!(signed.head().size.get(), size);
        assert_eq!(signed.origin().as_str(), key.name().as_str());
        assert_eq!(
            signed
                .verify_signatures(std::slice::from_ref(&key))
                .unwrap()
                .len(),
            1
        );
    }
}

// Spec: NOTE-08, NOTE-12, NOTE-14
#[test]
fn signatures_in_requests_to_witnesses_are_good_bad_or_unknown() {
    let Some(folder) = vectors() else { return };
    let folder = folder.join("witness-requests");
    let key = key(&folder.join("log.vkey"));
    let mut seen = 0;
    for number in 1..=5 {
        let request = read(&folder.join(format!("{number:02}.request")));
        let status = String::from_utf8(read(&folder.join(format!("{number:02}.status")))).unwrap();
        let parsed = SignedCheckpoint::parse(checkpoint_bytes(&request));
        // The second request's signature has stray bits after its last byte: not canonical.
        if status.trim() == "403" {
            let why = parsed.unwrap_err().to_string();
            assert!(why.contains("signature line 1"), "{why}");
            let note = Note::parse(checkpoint_bytes(&request));
            assert!(
                matches!(
                    note,
                    Err(NoteError::Line {
                        index: 0,
                        reason: LineError::Base64(_)
                    })
                ),
                "{note:?}"
            );
            continue;
        }
        let signed = parsed.unwrap();
        assert_eq!(signed.to_bytes(), checkpoint_bytes(&request));
        let answer = signed.verify_signatures(std::slice::from_ref(&key));
        // The third request is of a log with another origin, and its key has that name.
        if signed.origin().as_str() == key.name().as_str() {
            assert_eq!(answer.unwrap().len(), 1, "{number}");
            seen += 1;
        } else {
            assert_eq!(status.trim(), "404");
            assert_eq!(answer, Err(SignaturesError::NoKnownSignature));
        }
    }
    assert_eq!(seen, 3);
}
