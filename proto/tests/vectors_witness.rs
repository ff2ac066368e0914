//! Requests that another implementation was tested with, and a real one of the Go checksum
//! database.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "what panics here is a test that fails"
)]

use std::path::{Path, PathBuf};

use jurat_proto::add_checkpoint::{AddCheckpoint, ParseError, Refusal, decide};
use jurat_proto::base64::Base64Error;
use jurat_proto::body::BodyError;
use jurat_proto::checkpoint::CheckpointError;
use jurat_proto::entry::{CheckpointEntry, Entry};
use jurat_proto::key::VerifierKey;
use jurat_proto::note::{LineError, NoteError};
use jurat_proto::policy::{Policy, PolicyError};
use jurat_proto::tree::TreeHead;

/// The folder of foreign vectors, when it is there.
///
/// `JURAT_VECTORS` names it; without it, `../shared/vectors` beside the workspace is taken when it
/// exists. With `JURAT_VECTORS_REQUIRED=1`, its absence fails the test.
fn vectors(folder: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let root = std::env::var_os("JURAT_VECTORS").map_or(beside, PathBuf::from);
    let path = root.join(folder);
    if path.is_dir() {
        return Some(path);
    }
    let required = std::env::var_os("JURAT_VECTORS_REQUIRED").is_some_and(|value| value == "1");
    assert!(
        !required,
        "the vectors are required, but {} is no folder",
        path.display()
    );
    println!("nothing to read: {} is no folder", path.display());
    None
}

fn vkey(folder: &Path) -> VerifierKey {
    let text = std::fs::read_to_string(folder.join("log.vkey")).unwrap();
    VerifierKey::parse(text.trim_end()).unwrap()
}

/// Sends the bodies in order to a witness that knows one log, and keeps its state.
// Spec: WIT-01, WIT-10, WIT-11, WIT-13, WIT-15, WIT-18, WIT-19
#[test]
fn requests_in_order_get_the_statuses_that_are_due() {
    let Some(folder) = vectors("witness-requests") else {
        return;
    };
    let keys = [vkey(&folder)];
    let origin = keys[0].name().as_str().to_owned();
    let mut latest: Option<TreeHead> = None;
    for (name, status) in [
        ("01", 200),
        ("02", 403),
        ("03", 404),
        ("04", 422),
        ("05", 422),
    ] {
        let body = std::fs::read(folder.join(format!("{name}.request"))).unwrap();
        let given = std::fs::read_to_string(folder.join(format!("{name}.status"))).unwrap();
        assert_eq!(given.trim_end().parse(), Ok(status), "{name}");
        let request = match AddCheckpoint::parse(&body) {
            Ok(request) => request,
            // The last character of this signature was changed so that bits stray behind the last
            // byte: it is no base64, and fails before anybody can say that it is no signature.
            Err(error) if name == "02" => {
                let ParseError::Body(BodyError::Checkpoint { reason, .. }) = &error else {
                    panic!("{error:?}");
                };
                let CheckpointError::Note(NoteError::Line { reason, .. }) = reason else {
                    panic!("{reason:?}");
                };
                let stray = matches!(reason, LineError::Base64(Base64Error::TrailingBits { .. }));
                assert!(stray, "{reason:?}");
                assert_eq!(error.status(), 400);
                continue;
            }
            Err(error) => panic!("{name}: {error}"),
        };
        assert_eq!(request.to_bytes(), body, "{name}");
        let known = (request.origin().as_str() == origin).then_some(keys.as_slice());
        match decide(latest.as_ref(), known, &request) {
            Ok(accepted) => {
                assert_eq!(status, 200, "{name}");
                assert_eq!((accepted.signatures, accepted.refresh), (vec![0], false));
                latest = Some(accepted.head);
            }
            Err(refusal) => assert_eq!(refusal.status(), status, "{name}: {refusal}"),
        }
    }
    assert_eq!(latest.unwrap().size.get(), 1);
}

/// The key's name, `sum.golang.org`, is not the origin, `go.sum database tree`.
// Spec: WIT-10, POL-21, POL-26, ENT-05
#[test]
fn a_real_request_is_accepted_anchored_and_verified() {
    let Some(folder) = vectors("sumdb") else {
        return;
    };
    let key = vkey(&folder);
    let body = std::fs::read(folder.join("add-checkpoint-35225469.txt")).unwrap();
    let request = AddCheckpoint::parse(&body).unwrap();
    assert_eq!(request.to_bytes(), body);
    assert_eq!(request.origin().as_str(), "go.sum database tree");
    let accepted = decide(None, Some(std::slice::from_ref(&key)), &request).unwrap();
    assert_eq!(accepted.head.size.get(), 35_225_469);
    // Once it is stored, the same bytes come with an old size that is no longer ours.
    let again = decide(
        Some(&accepted.head),
        Some(std::slice::from_ref(&key)),
        &request,
    );
    assert!(
        matches!(again, Err(Refusal::Conflict { current, .. }) if current == accepted.head.size)
    );

    let entry = CheckpointEntry::new(&request.checkpoint, &accepted.signatures).unwrap();
    let entry = Entry::Checkpoint(entry);
    assert_eq!(Entry::parse(&entry.to_bytes()), Ok(entry.clone()));
    assert!(entry.to_bytes().ends_with(&request.checkpoint.to_bytes()));

    let policy = Policy::parse(format!("log {key}\nquorum none\n").as_bytes()).unwrap();
    assert!(matches!(
        policy.verify_checkpoint(&request.checkpoint),
        Err(PolicyError::UnknownLog { .. })
    ));
    policy
        .verify_checkpoint_by(&request.checkpoint, &[key])
        .unwrap();
}
