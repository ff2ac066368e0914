//! A time-stamp authority that is none of ours: `openssl ts`, with a certificate authority of its
//! own in a folder.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests; and each test file uses its own part of this one"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The policy of those who ask for none, and one for those who ask.
pub const DEFAULT_POLICY: &str = "1.3.6.1.4.1.32473.7.1";
pub const OTHER_POLICY: &str = "1.3.6.1.4.1.32473.7.2";

pub struct Authority {
    dir: tempfile::TempDir,
    /// `openssl ts` counts its serial numbers in a file.
    turn: Mutex<u32>,
}

/// A kind of key, as `openssl req -newkey` has it.
pub const P256: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
pub const P384: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"];
pub const RSA: &[&str] = &["-newkey", "rsa:2048"];

/// The one purpose that a signer of time-stamps has.
pub const TIME_STAMPING: &str = "critical,timeStamping";

impl Authority {
    /// A root, and a signer with the name `tsa` under it.
    pub fn new(key: &[&str]) -> Self {
        let authority = Self {
            dir: tempfile::tempdir().unwrap(),
            turn: Mutex::new(0),
        };
        let root = [
            "req",
            "-x509",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=Foreign root",
        ];
        let files = ["-keyout", "root.key", "-out", "root.pem"];
        let authority_only = ["-addext", "keyUsage=critical,keyCertSign"];
        authority.openssl(&[&root[..], P256, &files, &authority_only].concat());
        authority.signer("tsa", key, "7", TIME_STAMPING);
        let config = format!(
            "[tsa]\ndefault_tsa = unit\n[unit]\nserial = {}\nsigner_digest = sha256\n\
             default_policy = {DEFAULT_POLICY}\nother_policies = {OTHER_POLICY}\n\
             digests = sha256, sha384, sha512\naccuracy = secs:1, millisecs:500\ntsa_name = yes\n\
             ess_cert_id_alg = sha256\n",
            authority.file("serial").display(),
        );
        fs::write(authority.file("ts.cnf"), config).unwrap();
        authority
    }

    /// Another signer under the root: NAME.pem and NAME.key.
    pub fn signer(&self, name: &str, key: &[&str], serial: &str, purposes: &str) {
        let subject = format!("/CN=Foreign {name}");
        let (key_file, request) = (format!("{name}.key"), format!("{name}.csr"));
        let make = ["req", "-new", "-nodes", "-subj", &subject];
        let files = ["-keyout", &key_file, "-out", &request];
        self.openssl(&[&make[..], key, &files].concat());
        self.certify(name, &request, serial, purposes);
    }

    /// Another certificate for the key of a request.
    pub fn certify(&self, name: &str, request: &str, serial: &str, purposes: &str) {
        let extensions = format!("{name}.ext");
        let text = format!("keyUsage=critical,digitalSignature\nextendedKeyUsage={purposes}\n");
        fs::write(self.file(&extensions), text).unwrap();
        let certificate = format!("{name}.pem");
        let issuer = [
            "-CA",
            "root.pem",
            "-CAkey",
            "root.key",
            "-set_serial",
            serial,
        ];
        let what = [
            "x509",
            "-req",
            "-in",
            request,
            "-days",
            "20",
            "-extfile",
            &extensions,
        ];
        self.openssl(&[&what[..], &issuer, &["-out", &certificate]].concat());
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn path(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.file(name), bytes).unwrap();
        self.path(name)
    }

    /// Runs openssl in the folder.
    pub fn openssl(&self, args: &[&str]) {
        let output = Command::new("openssl")
            .args(args)
            .current_dir(self.dir.path())
            .output()
            .expect("openssl is installed: tests/run does it");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {args:?}: {said}");
    }

    /// Makes the request NAME.tsq for a file.
    pub fn query(&self, data: &str, name: &str, more: &[&str]) {
        let what = ["ts", "-query", "-data", data, "-out", name, "-cert"];
        self.openssl(&[&what[..], more].concat());
    }

    /// Answers a request of a file with the file NAME, as the signer.
    pub fn reply(&self, query: &str, name: &str, signer: &str, more: &[&str]) {
        let (certificate, key) = (format!("{signer}.pem"), format!("{signer}.key"));
        let what = [
            "ts",
            "-reply",
            "-config",
            "ts.cnf",
            "-queryfile",
            query,
            "-out",
            name,
        ];
        let by = ["-signer", &certificate, "-inkey", &key];
        self.openssl(&[&what[..], &by, more].concat());
    }

    /// Answers the bytes of a request.
    pub fn answer(&self, query: &[u8]) -> Vec<u8> {
        let mut turn = self.turn.lock().unwrap();
        *turn += 1;
        let (query_file, answer) = (format!("turn{turn}.tsq"), format!("turn{turn}.tsr"));
        fs::write(self.file(&query_file), query).unwrap();
        self.reply(&query_file, &answer, "tsa", &[]);
        fs::read(self.file(&answer)).unwrap()
    }

    /// The `TSTInfo` of an answer.
    pub fn content(&self, answer: &str) -> Vec<u8> {
        self.openssl(&[
            "ts",
            "-reply",
            "-in",
            answer,
            "-token_out",
            "-out",
            "token.der",
        ]);
        let token = [
            "cms",
            "-verify",
            "-noverify",
            "-inform",
            "DER",
            "-in",
            "token.der",
        ];
        self.openssl(&[&token[..], &["-out", "content.der"]].concat());
        fs::read(self.file("content.der")).unwrap()
    }

    /// A token NAME with this content, signed by any key, which `openssl ts` would not do.
    pub fn sign(&self, content: &[u8], name: &str, signer: &str) {
        self.write("to-sign.der", content);
        let (certificate, key) = (format!("{signer}.pem"), format!("{signer}.key"));
        let what = [
            "cms",
            "-sign",
            "-binary",
            "-nodetach",
            "-cades",
            "-md",
            "sha256",
        ];
        let kind = [
            "-econtent_type",
            "1.2.840.113549.1.9.16.1.4",
            "-outform",
            "DER",
        ];
        let files = ["-in", "to-sign.der", "-out", name];
        let by = ["-signer", &certificate, "-inkey", &key];
        self.openssl(&[&what[..], &kind, &files, &by].concat());
    }
}

/// Other people's examples and ours, which `proto` makes.
pub fn example(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/tests/tsp");
    folder.join(name)
}
