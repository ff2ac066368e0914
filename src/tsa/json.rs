//! The form of a request that sigstore's clients send: the same in JSON.

use jurat_proto::base64;
use jurat_proto::tsp::imprint::{HashAlgorithm, MessageImprint};
use jurat_proto::tsp::oid::Oid;
use jurat_proto::tsp::request::{NONCE_OCTETS_MAX, Nonce, TimestampRequest};
use serde::Deserialize;
use serde_json::value::RawValue;

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
    let nonce = json.nonce.map(|nonce| nonce_of(nonce.get())).transpose()?;
    Ok(TimestampRequest::new(
        imprint,
        policy,
        nonce,
        json.certificates,
    ))
}

/// A whole number of decimal digits, as long as a nonce may be. A sign, a fraction or an exponent
/// is none, whatever its value.
fn nonce_of(number: &str) -> Result<Nonce, String> {
    let mut bytes = Vec::new();
    for digit in number.chars() {
        let Some(digit) = digit.to_digit(10) else {
            return Err("nonce: want a whole number, not negative, in decimal digits".to_owned());
        };
        let mut carry = digit;
        for byte in &mut bytes {
            carry += u32::from(*byte) * 10;
            let [low, ..] = carry.to_le_bytes();
            *byte = low;
            carry >>= 8;
        }
        if carry > 0 {
            let [low, ..] = carry.to_le_bytes();
            bytes.push(low);
        }
        // What is longer will not get shorter.
        if bytes.len() > NONCE_OCTETS_MAX {
            break;
        }
    }
    bytes.reverse();
    Nonce::from_number(&bytes).map_err(|error| format!("nonce: {error}"))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JsonRequest {
    artifact_hash: String,
    hash_algorithm: String,
    #[serde(default)]
    certificates: bool,
    /// As it stands there: clients send 64 bits, 128, or more, and a number of JSON has no limit.
    nonce: Option<Box<RawValue>>,
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
            (json.replace("18446744073709551615", "-7"), "nonce: want"),
            (json.replace("18446744073709551615", "7.0"), "nonce: want"),
            (json.replace("18446744073709551615", "1e3"), "nonce: want"),
            (json.replace("18446744073709551615", "\"7\""), "nonce: want"),
            ("7".to_owned(), "invalid type"),
        ] {
            let error = parse(wrong.as_bytes()).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }
    // Spec: TSA-42
    #[test]
    fn a_nonce_is_as_large_as_one_in_der_may_be() {
        let digest = base64::encode(&[7; 32]);
        let with = |nonce: &str| {
            let json = format!(
                r#"{{"artifactHash":"{digest}","hashAlgorithm":"sha256","nonce":{nonce}}}"#
            );
            parse(json.as_bytes()).map(|request| request.nonce().unwrap().as_bytes().to_vec())
        };
        assert_eq!(with("0").unwrap(), [0]);
        assert_eq!(with("128").unwrap(), [0, 128]);
        // 2^64, 2^128 - 1 and 2^511 - 1, of which the last fills the 64 octets.
        let mut first = vec![0; 9];
        first[0] = 1;
        assert_eq!(with("18446744073709551616").unwrap(), first);
        let second = with("340282366920938463463374607431768211455").unwrap();
        assert_eq!(second, [[0].as_slice(), &[0xff; 16]].concat());
        let longest = power_of_two_less_one(511);
        let mut third = vec![0xff; 64];
        third[0] = 0x7f;
        assert_eq!(with(&longest).unwrap(), third);
        for longer in [power_of_two_less_one(512), "9".repeat(900)] {
            let error = with(&longer).unwrap_err();
            assert!(
                error.starts_with("nonce: the nonce has 65 octets"),
                "{error}"
            );
        }
    }

    /// In decimal digits, by doubling.
    fn power_of_two_less_one(exponent: usize) -> String {
        let mut digits = vec![0_u8];
        for _ in 0..exponent {
            let mut carry = 1;
            for digit in &mut digits {
                let doubled = *digit * 2 + carry;
                (*digit, carry) = (doubled % 10, doubled / 10);
            }
            if carry > 0 {
                digits.push(carry);
            }
        }
        digits
            .iter()
            .rev()
            .map(|digit| char::from(b'0' + digit))
            .collect()
    }
}
