//! The files in `proto/tests/tsp`: what is made here is byte for byte what they hold. They are for
//! other programs to read, and where fuzzing starts.
//!
//! `JURAT_WRITE_EXAMPLES=1 cargo test -p jurat-proto examples` writes them again, after a format
//! has changed.

use alloc::vec;
use alloc::vec::Vec;
use std::fs;
use std::path::Path;

use crate::policy::Policy;
use crate::receipt::Receipt;
use crate::tsp::certificate::Certificate;
use crate::tsp::logged;
use crate::tsp::not_before::NotBefore;
use crate::tsp::request::{RequestError, TimestampRequest};
use crate::tsp::response::{Refusal, TimestampResponse};
use crate::tsp::signed_data::{Certificates, TimestampToken};
use crate::tsp::test_authority::{Draft, TestAuthority, TestKey, not_before, request, tst_info};
use crate::tsp::tst_info::TstInfo;

fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let authority = TestAuthority::new();
    let chain = TestAuthority::with_chain();
    let draft = Draft::unit("Test root");
    let p384 = TestAuthority::with(&draft, TestKey::p384(3));
    let rsa = TestAuthority::with(&draft, TestKey::rsa());
    let token = authority.granted();
    let upgraded = token.with_receipt(&[b'r'; 2000]).unwrap();
    let absent = authority.token(tst_info(&authority.unit), Certificates::Absent);
    let whole = chain.token(tst_info(&chain.unit), Certificates::Chain);
    let rejected = TimestampResponse::rejected(&Refusal::Request(RequestError::Version));
    let granted = |token| TimestampResponse::granted(token).to_bytes();
    let mut files = vec![
        ("root.der", authority.roots[0].as_bytes().to_vec()),
        ("unit.der", authority.unit.certificate().as_bytes().to_vec()),
        ("request.tsq", request().to_bytes()),
        ("token.der", token.to_bytes()),
        ("tst-info.der", token.tst_info_bytes().to_vec()),
        ("not-before.der", not_before().to_bytes()),
        ("granted.tsr", granted(token)),
        ("upgraded.tsr", granted(upgraded)),
        ("without-certificate.tsr", granted(absent)),
        ("chain.tsr", granted(whole)),
        ("p384.tsr", granted(p384.granted())),
        ("rsa.tsr", granted(rsa.granted())),
        ("rejected.tsr", rejected.to_bytes()),
    ];
    files.extend(logged::examples());
    files
}

// Spec: TSP-11, TSP-22, TSP-23, TSP-33, TSP-40, TSP-46
#[test]
fn examples_are_what_is_made_here_and_are_read_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tsp");
    let write = std::env::var_os("JURAT_WRITE_EXAMPLES").is_some_and(|value| value == "1");
    for (name, bytes) in examples() {
        if write {
            fs::write(folder.join(name), &bytes).unwrap();
        }
        let file = fs::read(folder.join(name)).unwrap();
        assert!(file == bytes, "{name} is not what is made here");
        let again = match name {
            "root.der" | "unit.der" => Certificate::parse(&file).unwrap().as_bytes().to_vec(),
            "request.tsq" => TimestampRequest::parse(&file).unwrap().to_bytes(),
            "token.der" => TimestampToken::parse(&file).unwrap().to_bytes(),
            "tst-info.der" => TstInfo::parse(&file).unwrap().to_bytes(),
            "logged.policy" => Policy::parse(&file).unwrap().to_bytes(),
            name if name.ends_with(".tlog-proof") => Receipt::parse(&file).unwrap().to_bytes(),
            "not-before.der" => NotBefore::parse(&file).unwrap().to_bytes(),
            _ => TimestampResponse::parse(&file).unwrap().to_bytes(),
        };
        assert!(again == file, "{name} re-encodes otherwise");
    }
}
