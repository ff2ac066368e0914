//! The laws that every parser of untrusted bytes keeps, as functions of bytes.
//!
//! A target takes any bytes and panics when a law is broken: what is accepted is canonical
//! (re-encoding gives the same bytes), what is refused says why without failing at it, and
//! verification returns, whatever it is given. One program (`src/bin/parsers.rs`) holds all
//! targets, so that the smoke run links once. The seeds (`fuzz/seeds`) are made here, too, and
//! committed.
//!
//! In scope: everything that reads what a peer, an operator or a disk may have made up. Out of
//! scope: HTTP framing, which hyper parses and fuzzes.

use std::fmt::Display;

mod clock;
mod evidence;
mod gossip;
mod memory;
mod settings;
mod texts;
mod timestamps;
mod trees;
mod world;

pub use world::{World, seeds};

/// A target: its name, which is also that of its seeds' folder, and the law.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("note", texts::note),
    ("signature_line", texts::signature_line),
    ("vkey", texts::vkey),
    ("checkpoint", texts::checkpoint),
    ("checkpoint_text", texts::checkpoint_text),
    ("add_checkpoint", texts::add_checkpoint),
    ("sign_subtree", texts::sign_subtree),
    ("cosignature_lines", texts::cosignature_lines),
    ("conflict", texts::conflict),
    ("policy", texts::policy),
    ("log_list", texts::log_list),
    ("tlog_proof", texts::tlog_proof),
    ("entry", texts::entry),
    ("receipt", texts::receipt),
    ("cose_receipt", texts::cose_receipt),
    ("evidence", evidence::evidence),
    ("statement", evidence::statement),
    ("gossip_row", evidence::row),
    ("feed", gossip::feed),
    ("fetch", gossip::fetch),
    ("opening", gossip::opening),
    ("catalogue", gossip::catalogue),
    ("suspicion", gossip::suspicion),
    ("claim", gossip::claim),
    ("gossip_record", gossip::record),
    ("export", gossip::export),
    ("encodings", texts::encodings),
    ("signature", texts::signature),
    ("proof_lines", trees::proof_lines),
    ("tile_path", trees::tile_path),
    ("bundle", trees::bundle),
    ("tile_nodes", trees::tile_nodes),
    ("verify_proof", trees::verify_proof),
    ("prove_and_verify", trees::prove_and_verify),
    ("timestamp_request", timestamps::request),
    ("timestamp_response", timestamps::response),
    ("timestamp_token", timestamps::token),
    ("tst_info", timestamps::tst_info),
    ("certificate", timestamps::certificate),
    ("oid", timestamps::oid),
    ("cose_sign1", timestamps::cose_sign1),
    ("key_file", settings::key_file),
    ("key_pem", settings::key_pem),
    ("registry", settings::registry),
    ("timestamp_json", settings::timestamp_json),
    ("units", settings::units),
    ("limits", settings::limits),
    ("service_config", settings::service_config),
    ("witness_config", settings::witness_config),
    ("sntp_reply", clock::sntp_reply),
    ("ntp_server", clock::ntp_server),
    ("wal_frame", memory::wal_frame),
    ("journal", memory::journal),
    ("shown_checkpoint", memory::shown_checkpoint),
];

/// The canonical law for bytes.
fn canonical<T, E: Display>(
    data: &[u8],
    parse: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> Option<T> {
    match parse(data) {
        Ok(value) => {
            let again = encode(&value);
            assert_eq!(again, data, "accepted, but not in its canonical form");
            Some(value)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty(), "a refusal without a reason");
            None
        }
    }
}

/// The canonical law for text; bytes that are not UTF-8 are nobody's input here.
fn canonical_text<T, E: Display>(
    data: &[u8],
    parse: impl Fn(&str) -> Result<T, E>,
    encode: impl Fn(&T) -> String,
) -> Option<T> {
    std::str::from_utf8(data).ok()?;
    canonical(
        data,
        |data| parse(std::str::from_utf8(data).unwrap_or_default()),
        |value| encode(value).into_bytes(),
    )
}
