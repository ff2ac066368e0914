//! A unit whose key is in a token of PKCS #11: the real library of `SoftHSM`, the real service, and
//! OpenSSL to verify. The token goes away in the middle, and comes back.
#![cfg(feature = "pkcs11")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what panics here is a test that fails"
)]

mod network;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use jurat_proto::tsp::imprint::{HashAlgorithm, MessageImprint};
use jurat_proto::tsp::request::TimestampRequest;
use jurat_proto::tsp::response::{FailureBits, PkiFailureInfo, PkiStatus, TimestampResponse};
use serde_json::Value;

use crate::network::process::{JURAT, Process};
use crate::network::{Home, Service, eventually};

const QUERY: &str = "Content-Type: application/timestamp-query";
const PIN: &str = "correct horse";

/// A service, and a token of `SoftHSM` with the label `jurat` in a folder beside it.
struct Rig {
    home: Home,
}

impl Rig {
    fn new() -> Self {
        let rig = Self {
            home: Home::with_timestamps(),
        };
        std::fs::create_dir(rig.tokens()).unwrap();
        let tokens = rig.tokens();
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        std::fs::write(rig.softhsm_conf(), text).unwrap();
        rig.write_pin(PIN);
        let mut command = Command::new("softhsm2-util");
        command.args(["--init-token", "--free", "--label", "jurat"]);
        command.args(["--so-pin", "12345678", "--pin", PIN]);
        let output = rig.with_token(&mut command).output();
        let output = output.expect("softhsm2-util is there: `tests/run tools` installs it");
        assert!(output.status.success(), "{output:?}");
        rig
    }

    fn tokens(&self) -> PathBuf {
        self.home.root().join("tokens")
    }

    fn softhsm_conf(&self) -> PathBuf {
        self.home.root().join("softhsm2.conf")
    }

    fn pin_file(&self) -> PathBuf {
        self.home.root().join("pin")
    }

    fn write_pin(&self, pin: &str) {
        std::fs::write(self.pin_file(), format!("{pin}\n")).unwrap();
        let owner_alone = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.pin_file(), owner_alone).unwrap();
    }

    fn with_token<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("SOFTHSM2_CONF", self.softhsm_conf())
    }

    fn jurat(&self, args: &[&str]) -> Output {
        let mut command = Command::new(JURAT);
        command.args(args).arg("--config").arg(self.home.config());
        self.with_token(&mut command).output().unwrap()
    }

    fn rotate(&self, more: &[&str]) -> Output {
        let (module, pin) = (module(), self.pin_file());
        let args = ["tsa", "rotate", "--pkcs11-module", module.to_str().unwrap()];
        let token = ["--pkcs11-token", "jurat", "--pkcs11-label", "unit-2"];
        let pin = ["--pkcs11-pin-file", pin.to_str().unwrap()];
        self.jurat(&[&args, token.as_slice(), &pin, more].concat())
    }

    /// With a unit in the token.
    fn rotated() -> Self {
        let rig = Self::new();
        let output = rig.rotate(&[]);
        assert!(output.status.success(), "{output:?}");
        rig
    }

    fn serve(&self) -> Service {
        let mut command = Command::new(JURAT);
        command.args(["serve", "--config"]).arg(self.home.config());
        let command = self.with_token(&mut command);
        Service::of(Process::start(command, &self.home.stderr_file()))
    }

    /// Where alerts are told.
    fn alerts(&self) -> PathBuf {
        self.home.root().join("alerts.told")
    }

    /// Waits until an alert begins, or is over; gives what it says.
    fn told(&self, alert: &str, raised: bool) -> String {
        eventually(alert, || {
            let text = std::fs::read_to_string(self.alerts()).ok()?;
            let mut lines = text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            lines.find_map(|line| {
                let told: Value = serde_json::from_str(line).unwrap();
                let is = told["alert"] == alert && told["raised"] == raised;
                is.then(|| told["about"].as_str().unwrap().to_owned())
            })
        })
    }

    fn take_token_away(&self) {
        std::fs::rename(self.tokens(), self.home.root().join("away")).unwrap();
    }

    fn bring_token_back(&self) {
        std::fs::rename(self.home.root().join("away"), self.tokens()).unwrap();
    }
}

/// Debian's, or the one that is named.
fn module() -> PathBuf {
    if let Some(named) = std::env::var_os("SOFTHSM2_MODULE") {
        return named.into();
    }
    let known = [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib64/libsofthsm2.so",
    ];
    let found = known.iter().map(Path::new).find(|path| path.exists());
    found
        .expect("softhsm2 is installed by `tests/run tools`")
        .to_owned()
}

fn stamp(service: &Service, number: u64) -> TimestampResponse {
    let digest = HashAlgorithm::Sha256.digest(&number.to_be_bytes());
    let imprint = MessageImprint::new(HashAlgorithm::Sha256, digest).unwrap();
    let request = TimestampRequest::new(imprint, None, None, true).to_bytes();
    let answer = service.call("POST", "/timestamp", &[QUERY], &request);
    assert_eq!(answer.status, 200, "{}", answer.text());
    TimestampResponse::parse(&answer.body).unwrap()
}

fn is_granted(response: &TimestampResponse) -> bool {
    response.status() == PkiStatus::Granted
}

fn failure(response: &TimestampResponse) -> Option<PkiFailureInfo> {
    let bits = response.failures().into_iter();
    bits.flat_map(FailureBits::failures).next()
}

fn openssl(dir: &Path, line: &str) {
    let output = Command::new("openssl")
        .args(line.split(' '))
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
}

/// OpenSSL asks, and takes the answer.
fn verified_by_openssl(rig: &Rig, service: &Service, root: &Path) {
    let dir = rig.home.root();
    std::fs::write(dir.join("data"), "what is stamped").unwrap();
    openssl(dir, "ts -query -data data -sha256 -cert -out q.tsq");
    let query = std::fs::read(dir.join("q.tsq")).unwrap();
    let answer = service.call("POST", "/timestamp", &[QUERY], &query);
    std::fs::write(dir.join("r.tsr"), &answer.body).unwrap();
    let root = root.display();
    openssl(
        dir,
        &format!("ts -verify -queryfile q.tsq -in r.tsr -CAfile {root}"),
    );
}

// Spec: TSA-60, TSA-61, TSA-63, SVC-60, KEY-30, KEY-31, KEY-33, KEY-34
#[test]
fn a_unit_in_a_token_signs_stops_when_it_is_gone_and_signs_when_it_is_back() {
    let rig = Rig::rotated();
    let alerts = rig.alerts();
    let tell = format!("[\"sh\", \"-c\", \"cat >> {}\"]", alerts.display());
    rig.home.configure(&format!("[alerts]\nexec = {tell}"));
    assert!(!rig.home.file("keys/tsa/unit-2.key").exists());
    let units = std::fs::read_to_string(rig.home.file("timestamp.toml")).unwrap();
    assert!(
        units.contains("label = \"unit-2\"") && !units.contains(PIN),
        "{units}"
    );
    let good = rig.jurat(&["check-config"]);
    assert!(good.status.success(), "{good:?}");

    let service = rig.serve();
    verified_by_openssl(&rig, &service, &rig.home.file("keys/tsa/ca.pem"));
    let requests = |outcome: &str| {
        let name = format!("jurat_timestamp_requests_total{{outcome=\"{outcome}\"}}");
        service.metric(&name)
    };
    eventually("the gauge", || {
        (service.metric("jurat_timestamp_key_reachable") == 1).then_some(())
    });

    rig.take_token_away();
    let mut numbers = 0..;
    let refused = eventually("the token is missed", || {
        let response = stamp(&service, numbers.next().unwrap());
        (!is_granted(&response)).then_some(response)
    });
    assert_eq!(failure(&refused), Some(PkiFailureInfo::SystemFailure));
    let said = "its key is out of reach: the key unit-2 in the token jurat";
    let health = service.until("it says so", |health| {
        health["summary"].as_str().unwrap().contains(said)
    });
    assert!(
        health["timestamps"]["key_out_of_reach"].is_string(),
        "{health}"
    );
    assert_eq!(
        (&health["healthy"], &health["timestamps"]["ready"]),
        (&false.into(), &false.into())
    );
    eventually("the gauge falls", || {
        (service.metric("jurat_timestamp_key_reachable") == 0).then_some(())
    });
    let about = rig.told("timestamp-key", true);
    assert!(about.contains(said), "{about}");
    assert_eq!(service.metric("jurat_alerts{alert=\"timestamp-key\"}"), 1);
    // While it is known to be away nothing is logged; the log itself goes on.
    let size = service.committed();
    let refused = stamp(&service, numbers.next().unwrap());
    assert_eq!(failure(&refused), Some(PkiFailureInfo::SystemFailure));
    assert_eq!(service.committed(), size);
    assert!(requests("no_key") >= 1);
    assert!(service.published().is_some());

    rig.bring_token_back();
    eventually("it signs again", || {
        is_granted(&stamp(&service, numbers.next().unwrap())).then_some(())
    });
    let health = service.until("it says so", |health| health["healthy"] == true);
    assert!(
        health["timestamps"]["key_out_of_reach"].is_null(),
        "{health}"
    );
    verified_by_openssl(&rig, &service, &rig.home.file("keys/tsa/ca.pem"));
    rig.told("timestamp-key", false);
    assert_eq!(service.metric("jurat_alerts{alert=\"timestamp-key\"}"), 0);
    drop(service);
    rig.home.fsck();
}

// Spec: TSA-61
#[test]
fn a_service_starts_without_its_token_and_stamps_when_it_comes() {
    let rig = Rig::rotated();
    rig.take_token_away();
    std::fs::create_dir(rig.tokens()).unwrap();
    let checked = rig.jurat(&["check-config"]);
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        checked.status.success() && text.contains("out of reach now"),
        "{checked:?}"
    );
    // But no unit is closed in favour of one that cannot sign.
    let units = std::fs::read(rig.home.file("timestamp.toml")).unwrap();
    let other = Home::with_timestamps();
    let chain = other.file("keys/tsa/unit-1.pem");
    let refused = rig.rotate(&["--chain", chain.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        text.contains("the key of the new unit cannot be used"),
        "{text}"
    );
    assert_eq!(
        std::fs::read(rig.home.file("timestamp.toml")).unwrap(),
        units
    );
    let service = rig.serve();
    assert_eq!(
        failure(&stamp(&service, 1)),
        Some(PkiFailureInfo::SystemFailure)
    );
    let health = service.health();
    let why = health["timestamps"]["key_out_of_reach"].as_str().unwrap();
    assert!(
        why.contains("no slot has a token with the label jurat"),
        "{why}"
    );
    std::fs::remove_dir_all(rig.tokens()).unwrap();
    rig.bring_token_back();
    eventually("it signs", || is_granted(&stamp(&service, 2)).then_some(()));
}

// Spec: KEY-32, KEY-21
#[test]
fn a_pin_that_is_refused_is_tried_once_and_the_next_one_at_once() {
    let rig = Rig::rotated();
    rig.write_pin("wrong");
    let service = rig.serve();
    let reach = |health: &Value| health["timestamps"]["key_out_of_reach"].clone();
    let why = reach(&service.health()).as_str().unwrap().to_owned();
    assert!(why.contains("refuses the PIN"), "{why}");
    assert!(!why.contains("wrong"), "{why}");
    // SoftHSM locks no token, but says in its flags that there was a wrong try.
    rig.write_pin(PIN);
    eventually("it signs", || is_granted(&stamp(&service, 1)).then_some(()));
    // A file that others can read is refused before it is read.
    drop(service);
    let all = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(rig.pin_file(), all).unwrap();
    let service = rig.serve();
    let why = reach(&service.health()).as_str().unwrap().to_owned();
    assert!(why.contains("0644"), "{why}");
}

// Spec: TSA-63, KEY-34
#[test]
fn a_key_is_made_once_and_nothing_is_changed_when_it_cannot_be() {
    let rig = Rig::rotated();
    let before = std::fs::read(rig.home.file("timestamp.toml")).unwrap();
    let again = rig.rotate(&[]);
    assert!(!again.status.success());
    let text = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        text.contains("has something with the label unit-2 already"),
        "{text}"
    );
    assert_eq!(
        std::fs::read(rig.home.file("timestamp.toml")).unwrap(),
        before
    );
    assert!(!rig.home.file("keys/tsa/unit-3.pem").exists());
    // A key that has a certificate of another one is refused, as in a file.
    let chain = rig.home.file("keys/tsa/unit-1.pem");
    let other = rig.rotate(&["--chain", chain.to_str().unwrap()]);
    assert!(!other.status.success());
    let text = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(
        text.contains("its private key is not the certificate's"),
        "{text}"
    );
    // Of a library that is none the start says so.
    let units = String::from_utf8(before).unwrap();
    let broken = units.replace(module().to_str().unwrap(), "/nowhere/lib.so");
    std::fs::write(rig.home.file("timestamp.toml"), broken).unwrap();
    let output = rig.jurat(&["check-config"]);
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("cannot load the PKCS #11 library /nowhere/lib.so"),
        "{text}"
    );
}

// Spec: TSA-60, TSA-63, KEY-23, KEY-30, KEY-34
#[test]
fn a_key_of_p384_is_made_in_a_token_and_signs_with_sha384() {
    let rig = Rig::new();
    let output = rig.rotate(&["--pkcs11-curve", "p-521"]);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    let output = rig.rotate(&["--pkcs11-curve", "p-384"]);
    assert!(output.status.success(), "{output:?}");
    let service = rig.serve();
    let root = rig.home.file("keys/tsa/ca.pem");
    verified_by_openssl(&rig, &service, &root);
    signed_with_sha384(&rig);
    // And by what everybody else verifies with.
    let dir = rig.home.root();
    let verified = Command::new(JURAT)
        .args(["verify", "r.tsr", "--data", "data", "--ca"])
        .arg(&root)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

/// The token that OpenSSL took last.
fn signed_with_sha384(rig: &Rig) {
    let shown = Command::new("openssl")
        .args(["asn1parse", "-inform", "DER", "-in", "r.tsr"])
        .current_dir(rig.home.root())
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains(":ecdsa-with-SHA384"), "{shown}");
}

// Spec: TSA-60, KEY-30
#[test]
fn keys_of_the_operators_own_of_rsa_and_p384_sign_in_a_token_too() {
    let rsa = ["RSA", "rsa_keygen_bits:3072"];
    own_key_in_a_token(rsa, Ok(()));
    let p384 = ["EC", "ec_paramgen_curve:P-384"];
    signed_with_sha384(&own_key_in_a_token(p384, Ok(())));
    // A curve that no time-stamp of ours is signed on is said to be one, and changes nothing.
    let p521 = ["EC", "ec_paramgen_curve:P-521"];
    own_key_in_a_token(p521, Err("neither of P-256 nor P-384 nor RSA"));
}

/// A key that OpenSSL makes, of a certificate of its own, is brought into a token, and signs; or is
/// refused with these words.
fn own_key_in_a_token([kind, option]: [&str; 2], due: Result<(), &str>) -> Rig {
    let rig = Rig::new();
    let dir = rig.home.root();
    let extensions = "[root]\nbasicConstraints = critical,CA:TRUE\n\
         keyUsage = critical,keyCertSign\n\
         subjectKeyIdentifier = hash\n[unit]\nkeyUsage = critical,digitalSignature\n\
         extendedKeyUsage = critical,timeStamping\nsubjectKeyIdentifier = hash\n\
         authorityKeyIdentifier = keyid\n[req]\ndistinguished_name = dn\n[dn]\n";
    std::fs::write(dir.join("own.cnf"), extensions).unwrap();
    openssl(
        dir,
        "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out own.key",
    );
    openssl(
        dir,
        &format!("genpkey -algorithm {kind} -pkeyopt {option} -out unit.key"),
    );
    openssl(
        dir,
        "req -x509 -config own.cnf -extensions root -key own.key -subj /CN=Own -days 99 \
         -out own.pem",
    );
    openssl(
        dir,
        "req -new -config own.cnf -key unit.key -subj /CN=Unit -out unit.csr",
    );
    openssl(
        dir,
        "x509 -req -in unit.csr -CA own.pem -CAkey own.key -CAcreateserial -extfile own.cnf \
         -extensions unit -days 90 -out unit.pem",
    );
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    std::fs::write(dir.join("chain.pem"), read("unit.pem") + &read("own.pem")).unwrap();
    let mut import = Command::new("softhsm2-util");
    import.arg("--import").arg(dir.join("unit.key"));
    import.args([
        "--token", "jurat", "--label", "unit-2", "--id", "02", "--pin", PIN,
    ]);
    let output = rig.with_token(&mut import).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let chain = dir.join("chain.pem");
    let output = rig.rotate(&["--chain", chain.to_str().unwrap()]);
    if let Err(said) = due {
        assert!(!output.status.success());
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(said), "{text}");
        return rig;
    }
    assert!(output.status.success(), "{output:?}");
    let service = rig.serve();
    verified_by_openssl(&rig, &service, &dir.join("own.pem"));
    rig
}
