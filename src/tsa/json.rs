//! The form of a request that sigstore's clients send: the same in JSON.

use jurat_proto::base64;
use jurat_proto::tsp::imprint::{HashAlgorithm, MessageImprint};
use jurat_proto::tsp::oid::Oid;
use jurat_proto::tsp::request::{Nonce, TimestampRequest};
use serde::Deserialize;

/// Reads a request.
///
/// # Errors
/// What is wrong, with the name of the field. The client is at fault.
// Spec: TSA-42
pub fn parse(body: &[u8]) -> Result<TimestampRequest, String> {
    let json: JsonRequest = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let digest =
        base64::decode(&json.artifact_hash).map_err(|error| format!("artifactHash: {error}"))?;
    let name = json.hash_algorithm.to_ascii_lowercase().replace('-', "");
    let algorithm = HashAlgorithm::ALL
        .into_iter()
        .find(|known| known.name().to_ascii_lowercase().replace('-', "") == name)
        .ok_or_else(|| format!("hashAlgorithm {} is not known", json.hash_algorithm))?;
    let imprint =
        MessageImprint::new(algorithm, digest).map_err(|error| format!("artifactHash: {error}"))?;
    let policy = json.tsa_policy_oid.filter(|policy| !policy.is_empty());
    let policy = policy.map(|policy| Oid::parse(&policy)).transpose();
    let policy = policy.map_err(|error| format!("tsaPolicyOID: {error}"))?;
    let nonce = json
        .nonce
        .map(|nonce| Nonce::from_number(&nonce.to_be_bytes()))
        .transpose();
    let nonce = nonce.map_err(|error| format!("nonce: {error}"))?;
    Ok(TimestampRequest::new(
        imprint,
        policy,
        nonce,
        json.certificates,
    ))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JsonRequest {
    artifact_hash: String,
    hash_algorithm: String,
    #[serde(default)]
    certificates: bool,
    nonce: Option<u64>,
    #[serde(rename = "tsaPolicyOID")]
    tsa_policy_oid: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: TSA-42
    #[test]
    fn the_json_form_says_the_same_as_the_der_form() {
        let digest = base64::encode(&[7; 32]);
        let json = format!(
            r#"{{"artifactHash":"{digest}","hashAlgorithm":"sha256","certificates":true,
                "nonce":18446744073709551615,"tsaPolicyOID":"1.2.3"}}"#
        );
        let request = parse(json.as_bytes()).unwrap();
        let der = request.to_bytes();
        assert_eq!(TimestampRequest::parse(&der), Ok(request.clone()));
        assert_eq!(request.imprint().digest(), [7; 32]);
        assert_eq!(request.imprint().algorithm(), HashAlgorithm::Sha256);
        assert_eq!(request.policy().unwrap().to_string(), "1.2.3");
        assert_eq!(request.nonce().unwrap().as_bytes()[1..], [0xff; 8]);
        assert!(request.wants_certificate());
        for (wrong, why) in [
            (
                json.replace("sha256", "md5"),
                "hashAlgorithm md5 is not known",
            ),
            (json.replace("sha256", "sha384"), "artifactHash: "),
            (json.replace("1.2.3", "1"), "tsaPolicyOID: "),
            (json.replace("nonce", "more"), "unknown field"),
            (json.replace(&digest, "!"), "artifactHash: "),
            ("7".to_owned(), "invalid type"),
        ] {
            let error = parse(wrong.as_bytes()).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }
}
