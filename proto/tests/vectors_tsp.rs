//! A request, the answer and the certificates of another time-stamp authority.
//!
//! The folder is named by `JURAT_VECTORS` (`../shared/vectors` next to the workspace, when unset).
//! Without it there is nothing to read, which is a failure only under `JURAT_VECTORS_REQUIRED=1`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on should say so and stop"
)]

use std::fs;
use std::path::{Path, PathBuf};

use jurat_proto::base64;
use jurat_proto::tsp::certificate::Certificate;
use jurat_proto::tsp::gen_time::GenTime;
use jurat_proto::tsp::imprint::{HashAlgorithm, MessageImprint};
use jurat_proto::tsp::path::PathError;
use jurat_proto::tsp::request::TimestampRequest;
use jurat_proto::tsp::response::TimestampResponse;
use jurat_proto::tsp::verify::{Expected, TokenVerdict, Trust, VerifyError, verify_response};

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

/// Certificates in PEM, in their order.
fn certificates(path: &Path) -> Vec<Certificate> {
    let text = String::from_utf8(read(path)).unwrap();
    let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1);
    blocks
        .map(|block| {
            let (body, _) = block.split_once("-----END CERTIFICATE-----").unwrap();
            let body: String = body.split_whitespace().collect();
            Certificate::parse(&base64::decode(&body).unwrap()).unwrap()
        })
        .collect()
}

/// 2024-10-08T15:40:32Z, when the token was made.
const MADE: u64 = 1_728_402_032;

struct Foreign {
    request: TimestampRequest,
    response: Vec<u8>,
    /// The signer, an authority, the root.
    chain: Vec<Certificate>,
}

impl Foreign {
    fn load(folder: &Path) -> Self {
        let folder = folder.join("rfc3161");
        let request = read(&folder.join("request.der"));
        let parsed = TimestampRequest::parse(&request).unwrap();
        assert_eq!(parsed.to_bytes(), request);
        Self {
            request: parsed,
            response: read(&folder.join("response.tsr")),
            chain: certificates(&folder.join("ts_chain.pem")),
        }
    }

    fn verify(&self, response: &[u8], others: usize) -> Option<Result<TokenVerdict, VerifyError>> {
        let response = TimestampResponse::parse(response).ok()?;
        let trust = Trust {
            roots: &self.chain[2..],
            others: &self.chain[..others],
        };
        let now = GenTime::new(MADE + 86_400, 0).unwrap();
        let expected = Expected::of_request(&self.request);
        Some(verify_response(&response, expected, trust, now))
    }
}

// Spec: TSP-11, TSP-24, TSP-40, TSP-60, TSP-63, TSP-66, TSP-75, TSP-76
#[test]
fn a_token_of_another_authority_is_good() {
    let Some(folder) = vectors() else { return };
    let foreign = Foreign::load(&folder);
    let response = TimestampResponse::parse(&foreign.response).unwrap();
    assert_eq!(response.to_bytes(), foreign.response);
    assert_eq!(foreign.chain.len(), 3);

    let verdict = foreign.verify(&foreign.response, 2).unwrap().unwrap();
    assert_eq!(verdict.signer, foreign.chain[0]);
    assert_eq!(
        verdict.signer.subject_text(),
        "CN=Test TSA Timestamping,O=local"
    );
    assert_eq!(verdict.gen_time.to_string(), "2024-10-08T15:40:32Z");
    assert_eq!(verdict.accuracy.unwrap().as_micros(), 1_000_000);
    assert_eq!(verdict.policy.to_string(), "1.3.6.1.4.1.57264.2");
    let serial = "797035501f358571fed54952bebbd000497461dc";
    assert_eq!(verdict.serial.to_string(), serial);
    assert_eq!(verdict.serial.as_unit(), None);
    assert_eq!((verdict.not_before, verdict.receipt), (None, None));
    let imprint = MessageImprint::of(HashAlgorithm::Sha512, b"hello");
    assert!(foreign.request.imprint().is_same(&imprint));
}

// Spec: TSP-66, TSP-70, TSP-71
#[test]
fn it_is_not_good_without_its_chain_or_for_another_request() {
    let Some(folder) = vectors() else { return };
    let mut foreign = Foreign::load(&folder);
    let alone = foreign.verify(&foreign.response, 0).unwrap();
    let subject = "CN=Test TSA Timestamping,O=local".to_owned();
    let no_issuer = VerifyError::Path(PathError::NoIssuer { subject });
    assert_eq!(alone, Err(no_issuer));

    let sent = foreign.request.clone();
    let other = MessageImprint::of(HashAlgorithm::Sha512, b"hallo");
    foreign.request = TimestampRequest::new(other, None, sent.nonce().cloned(), true);
    let answer = foreign.verify(&foreign.response, 2).unwrap();
    assert_eq!(answer, Err(VerifyError::OtherImprint));
    let nonce = jurat_proto::tsp::request::Nonce::from_number(&[1]).unwrap();
    foreign.request = TimestampRequest::new(sent.imprint().clone(), None, Some(nonce), true);
    let answer = foreign.verify(&foreign.response, 2).unwrap();
    assert_eq!(answer, Err(VerifyError::OtherNonce));
}

// Spec: TSP-62, TSP-65
#[test]
fn it_is_not_good_with_any_one_bit_changed() {
    let Some(folder) = vectors() else { return };
    let foreign = Foreign::load(&folder);
    for at in 0..foreign.response.len() {
        for bit in 0..8 {
            let mut changed = foreign.response.clone();
            changed[at] ^= 1 << bit;
            // The authority's certificate comes from outside, the signer's from inside.
            let response = TimestampResponse::parse(&changed);
            let Ok(response) = response else { continue };
            let trust = Trust {
                roots: &foreign.chain[2..],
                others: &foreign.chain[1..2],
            };
            let now = GenTime::new(MADE, 0).unwrap();
            let expected = Expected::of_request(&foreign.request);
            let verdict = verify_response(&response, expected, trust, now);
            assert!(verdict.is_err(), "byte {at}, bit {bit}");
        }
    }
}
