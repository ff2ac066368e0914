//! Time-stamps of the real service, asked for and verified by OpenSSL: what it grants and refuses,
//! in which order what becomes durable, and the life of its keys.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what panics here is a test that fails"
)]

mod network;
#[path = "../daemon/tests/time_server/mod.rs"]
mod time_server;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use jurat_proto::entry::{CloseReason, Entry, KeyEvent, TimestampEntry};
use jurat_proto::receipt::Receipt;
use jurat_proto::tsp::certificate::Certificate;
use jurat_proto::tsp::gen_time::GenTime;
use jurat_proto::tsp::imprint::{HashAlgorithm, MessageImprint};
use jurat_proto::tsp::oid::Oid;
use jurat_proto::tsp::request::{Nonce, TimestampRequest};
use jurat_proto::tsp::response::{FailureBits, PkiFailureInfo, PkiStatus, TimestampResponse};
use jurat_proto::tsp::tst_info::{TstInfo, UnitId};
use jurat_proto::tsp::verify::{Expected, Trust, verify_token};

use crate::network::{Answer, Home, Service, eventually, network_of};
use crate::time_server::{Say, TimeServer};

const QUERY: &str = "Content-Type: application/timestamp-query";

fn openssl(dir: &Path, args: &[&str]) -> (bool, String) {
    let output = Command::new("openssl")
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// A request by OpenSSL, in a file.
fn query(dir: &Path, more: &[&str]) -> Vec<u8> {
    std::fs::write(dir.join("data"), "what is stamped").unwrap();
    let args = ["ts", "-query", "-data", "data", "-out", "q.tsq"];
    let (made, text) = openssl(dir, &[&args, more].concat());
    assert!(made, "{text}");
    std::fs::read(dir.join("q.tsq")).unwrap()
}

/// OpenSSL takes the answer for the request of [`query`].
fn verified_by_openssl(home: &Home, answer: &[u8], more: &[&str]) {
    let root = home.file("keys/tsa/ca.pem");
    std::fs::write(home.root().join("r.tsr"), answer).unwrap();
    let args = [
        "ts",
        "-verify",
        "-queryfile",
        "q.tsq",
        "-in",
        "r.tsr",
        "-CAfile",
    ];
    let args = [&args, [root.to_str().unwrap()].as_slice(), more].concat();
    let (good, text) = openssl(home.root(), &args);
    assert!(good, "{text}");
}

/// And so does our own verifier.
fn verified_here(answer: &[u8], query: &[u8], root: &Path) {
    let response = TimestampResponse::parse(answer).unwrap();
    let token = response.token().unwrap();
    let root = Certificate::parse_file(&std::fs::read(root).unwrap()).unwrap();
    let asked = TimestampRequest::parse(query).unwrap();
    let trust = Trust {
        roots: &root,
        others: &[],
    };
    let now = token.tst_info().gen_time;
    let good = verify_token(token, Expected::of_request(&asked), trust, now);
    assert_eq!(good.unwrap().root, Some(0));
}

fn request(number: u64) -> TimestampRequest {
    let digest = HashAlgorithm::Sha256.digest(&number.to_be_bytes());
    let imprint = MessageImprint::new(HashAlgorithm::Sha256, digest).unwrap();
    let nonce = Nonce::from_number(&number.to_be_bytes()).unwrap();
    TimestampRequest::new(imprint, None, Some(nonce), true)
}

fn stamp(service: &Service, body: &[u8]) -> TimestampResponse {
    let answer = service.call("POST", "/timestamp", &[QUERY], body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    TimestampResponse::parse(&answer.body).unwrap()
}

fn granted(service: &Service, number: u64) -> (TimestampResponse, TstInfo) {
    let response = stamp(service, &request(number).to_bytes());
    assert_eq!(
        response.status(),
        PkiStatus::Granted,
        "{:?}",
        response.texts()
    );
    let info = response.token().unwrap().tst_info().clone();
    (response, info)
}

fn failure(response: &TimestampResponse) -> Option<PkiFailureInfo> {
    assert_eq!(response.status(), PkiStatus::Rejection);
    assert!(!response.texts().concat().is_empty());
    assert!(response.token().is_none());
    response
        .failures()
        .into_iter()
        .flat_map(FailureBits::failures)
        .next()
}

fn unit_of(info: &TstInfo) -> (UnitId, u64) {
    let (unit, index) = info.serial.as_unit().unwrap();
    (unit, index.get())
}

/// The entry at a place, from its receipt.
fn entry(home: &Home, service: &Service, index: u64) -> Entry {
    let answer = service.get(&format!("/receipt/{index}?wait=25"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(home.verify(&answer.body).index.get(), index);
    Receipt::parse(&answer.body).unwrap().entry().clone()
}

// Spec: TSA-01, TSA-03, TSA-05, TSA-20, TSA-31, TSA-40, TSP-51
#[test]
fn openssl_gets_a_token_whose_entry_is_in_the_log() {
    let home = Home::with_timestamps();
    let service = home.serve();
    let Entry::Key(start) = entry(&home, &service, 0) else {
        panic!("the first entry is the unit's start");
    };
    assert_eq!(start.event, KeyEvent::Start);
    let unit = home.file("keys/tsa/unit-1.pem");
    let root = home.file("keys/tsa/ca.pem");
    let (root, unit) = (root.to_str().unwrap(), unit.to_str().unwrap());
    let args = [
        "verify",
        "-x509_strict",
        "-CAfile",
        root,
        "-purpose",
        "timestampsign",
        unit,
    ];
    let (good, text) = openssl(home.root(), &args);
    assert!(good, "{text}");

    for (place, hash) in ["-sha256", "-sha384", "-sha512", "-sha3-256"]
        .iter()
        .enumerate()
    {
        let body = query(home.root(), &[hash, "-cert"]);
        let answer = service.call("POST", "/timestamp", &[QUERY], &body);
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("content-type").unwrap(),
            "application/timestamp-reply"
        );
        assert_eq!(answer.header("cache-control").unwrap(), "no-store");
        let location = answer.header("location").unwrap();
        verified_by_openssl(&home, &answer.body, &[]);
        let response = TimestampResponse::parse(&answer.body).unwrap();
        let info = response.token().unwrap().tst_info();
        let (unit, index) = unit_of(info);
        assert_eq!(unit, start.unit);
        assert_eq!(location, format!("/receipt/{index}"));
        assert_eq!(index, 1 + u64::try_from(place).unwrap());
        let due = TimestampEntry::of(info).unwrap();
        assert_eq!(entry(&home, &service, index), Entry::Timestamp(due));
        // Without time sources nobody knows how wrong the clock is.
        assert_eq!(info.accuracy, None);
    }
    // By now a checkpoint is published, and the next token is after it.
    let (response, info) = granted(&service, 1);
    let before = info
        .not_before()
        .unwrap()
        .expect("a checkpoint is published");
    home.policy()
        .verify_checkpoint(before.checkpoint())
        .unwrap();
    assert!(response.token().unwrap().certificates().len() == 1);
}

// Spec: TSA-01, TSP-44
#[test]
fn a_token_without_certificates_verifies_with_the_certificate_beside_it() {
    let home = Home::with_timestamps();
    let service = home.serve();
    let body = query(home.root(), &["-sha256", "-no_nonce"]);
    let answer = service.call("POST", "/tsa", &[QUERY], &body);
    let unit = home.file("keys/tsa/unit-1.pem");
    verified_by_openssl(&home, &answer.body, &["-untrusted", unit.to_str().unwrap()]);
    let response = TimestampResponse::parse(&answer.body).unwrap();
    assert!(response.token().unwrap().certificates().is_empty());
}

// Spec: TSA-02, TSA-40, TSA-41
#[test]
fn a_refusal_is_an_answer_that_openssl_shows_and_other_faults_are_statuses() {
    let home = Home::with_timestamps();
    let service = home.serve();
    let good = request(1).to_bytes();
    let policy = Some(Oid::parse("1.2.3").unwrap());
    let imprint = request(1).imprint().clone();
    let other_policy = TimestampRequest::new(imprint, policy, None, true).to_bytes();
    let md5 = query(home.root(), &["-md5"]);
    for (body, want) in [
        (&good[1..], PkiFailureInfo::BadDataFormat),
        (
            &[good.as_slice(), b"\0"].concat(),
            PkiFailureInfo::BadDataFormat,
        ),
        (&other_policy, PkiFailureInfo::UnacceptedPolicy),
        (&md5, PkiFailureInfo::BadAlg),
    ] {
        assert_eq!(failure(&stamp(&service, body)), Some(want));
    }
    let answer = service.call("POST", "/", &[QUERY], &other_policy);
    std::fs::write(home.root().join("rejected.tsr"), &answer.body).unwrap();
    let (_, text) = openssl(
        home.root(),
        &["ts", "-reply", "-in", "rejected.tsr", "-text"],
    );
    assert!(
        text.contains("the policy 1.2.3 is not offered here"),
        "{text}"
    );

    let call =
        |path: &str, headers: &[&str], body: &[u8]| service.call("POST", path, headers, body);
    assert_eq!(call("/timestamp", &[QUERY], b"").status, 400);
    assert_eq!(
        call("/timestamp", &["Content-Type: text/plain"], &good).status,
        415
    );
    assert_eq!(call("/timestamp", &[], &good).status, 200);
    let parameter = "Content-Type: Application/Timestamp-Query; a=b";
    assert_eq!(call("/timestamp", &[parameter], &good).status, 200);
    assert_eq!(call("/timestamp", &[QUERY], &[0x30; 4097]).status, 413);
    let refused = service.get("/timestamp");
    assert_eq!(
        (refused.status, refused.header("allow")),
        (405, Some("POST"))
    );
    // Nothing of what was refused is in the log.
    assert_eq!(service.committed(), 3);
}

// Spec: TSA-42, TSA-44
#[test]
fn sigstores_paths_give_the_same_and_the_chain() {
    let home = Home::with_timestamps();
    let service = home.serve();
    let digest = HashAlgorithm::Sha256.digest(b"an artifact");
    let json = format!(
        r#"{{"artifactHash":"{}","hashAlgorithm":"sha256","certificates":true,"nonce":7}}"#,
        jurat_proto::base64::encode(&digest)
    );
    let path = "/api/v1/timestamp";
    let json_type = "Content-Type: application/json";
    let answer = service.call("POST", path, &[json_type], json.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let response = TimestampResponse::parse(&answer.body).unwrap();
    let info = response.token().unwrap().tst_info();
    assert_eq!(info.imprint.digest(), digest);
    assert_eq!(info.nonce.as_ref().unwrap().as_bytes(), [7]);
    let wrong = service.call("POST", path, &[json_type], b"{}");
    assert_eq!(wrong.status, 400);
    assert!(wrong.text().contains("artifactHash"), "{}", wrong.text());
    assert_eq!(
        service
            .call("POST", path, &[QUERY], &request(1).to_bytes())
            .status,
        200
    );
    let chain = service.get("/api/v1/timestamp/certchain");
    let file = std::fs::read_to_string(home.file("keys/tsa/unit-1.pem")).unwrap();
    assert_eq!(chain.text(), file);
}

// Spec: TSA-50, TSA-51, TSA-52
#[test]
fn an_upgraded_token_is_an_ordinary_one_with_its_receipt() {
    let home = Home::with_timestamps();
    let service = home.serve();
    let body = query(home.root(), &["-sha256", "-cert"]);
    let plain = service.call("POST", "/timestamp", &[QUERY], &body);
    let upgraded = service.call(
        "POST",
        "/timestamp/upgrade",
        &["Prefer: wait=25"],
        &plain.body,
    );
    assert_eq!(upgraded.status, 200, "{}", upgraded.text());
    verified_by_openssl(&home, &upgraded.body, &[]);
    let proven = |answer: &Answer| {
        let response = TimestampResponse::parse(&answer.body).unwrap();
        let token = response.token().unwrap().clone();
        let receipt = Receipt::parse(token.receipt().expect("a receipt")).unwrap();
        receipt.verify(&home.policy()).unwrap();
        let due = TimestampEntry::of(token.tst_info()).unwrap();
        assert_eq!(receipt.entry(), &Entry::Timestamp(due));
        token
    };
    let token = proven(&upgraded);
    assert_eq!(
        TimestampResponse::parse(&plain.body).unwrap().token(),
        Some(&token.without_receipt())
    );
    // A bare token comes back as one, and one that has a receipt gets a newer one.
    let bare = service.call("POST", "/timestamp/upgrade", &[], &token.to_bytes());
    assert_eq!(bare.header("content-type"), Some("application/cms"));
    let again = jurat_proto::tsp::signed_data::TimestampToken::parse(&bare.body).unwrap();
    assert_eq!(again.without_receipt(), token.without_receipt());
    // At once, when the client would rather wait.
    let wait = [QUERY, "Prefer: wait=25"];
    let at_once = service.call("POST", "/timestamp", &wait, &body);
    assert_eq!(at_once.header("preference-applied"), Some("wait"));
    proven(&at_once);
    verified_by_openssl(&home, &at_once.body, &[]);
}

// Spec: TSA-11, TSA-20, TSA-52
#[test]
fn witnesses_and_not_the_authority_say_between_when_a_token_was_made() {
    let (home, witnesses) = network_of(Home::with_timestamps(), 3, 2);
    let service = home.serve();
    let policy = home.policy();
    let first = service.get("/receipt/0?wait=25");
    assert_eq!(first.status, 200, "{}", first.text());
    let wait = [QUERY, "Prefer: wait=25"];
    let answer = eventually("a token that names a checkpoint", || {
        let body = query(home.root(), &["-sha256", "-cert"]);
        let answer = service.call("POST", "/timestamp", &wait, &body);
        let response = TimestampResponse::parse(&answer.body).unwrap();
        let info = response.token().unwrap().tst_info();
        info.not_before().unwrap().is_some().then_some(answer)
    });
    verified_by_openssl(&home, &answer.body, &[]);
    let response = TimestampResponse::parse(&answer.body).unwrap();
    let token = response.token().unwrap();
    let info = token.tst_info();
    let before = info.not_before().unwrap().unwrap();
    // The lines of the log and of two witnesses, and no more than they need.
    assert_eq!(before.checkpoint().signatures().len(), 3);
    let verdict = policy.verify_checkpoint(before.checkpoint()).unwrap();
    let since = policy.quorum_since(&verdict.witnesses).unwrap();
    let receipt = Receipt::parse(token.receipt().unwrap()).unwrap();
    let verdict = receipt.verify(&policy).unwrap();
    let by = policy.quorum_by(&verdict.witnesses).unwrap();
    let made = info.gen_time.seconds();
    assert!(
        since.get() <= made && made <= by.get(),
        "{since} {made} {by}"
    );
    drop(witnesses);
}

// Spec: TSA-07
#[test]
fn no_token_is_made_before_the_witnesses_have_been_compared_with() {
    let (home, mut witnesses) = network_of(Home::with_timestamps(), 1, 1);
    witnesses[0].kill();
    let service = home.serve();
    let before = service.committed();
    let refused = stamp(&service, &request(1).to_bytes());
    assert_eq!(failure(&refused), Some(PkiFailureInfo::SystemFailure));
    assert_eq!(service.committed(), before);
    witnesses[0].start();
    eventually("the witness has been compared with", || {
        let response = stamp(&service, &request(2).to_bytes());
        response.token().map(|_| ())
    });
}

// Spec: TSA-13, TSA-14
#[test]
fn a_clock_that_the_time_sources_contradict_is_stated_in_no_token() {
    let home = Home::with_timestamps();
    let source = TimeServer::start(Say::Right);
    let address = source.address;
    home.configure(&format!(
        "[clock]\nntp = [\"{address}\"]\nevery_s = 1\nvalid_s = 3600"
    ));
    let service = home.serve();
    let mut numbers = 1..;
    // On a slow machine also some before the source has answered.
    let refusals = std::cell::Cell::new(0);
    let mut next = || {
        let response = stamp(&service, &request(numbers.next().unwrap()).to_bytes());
        refusals.set(refusals.get() + u64::from(response.token().is_none()));
        response
    };
    let granted = |response: TimestampResponse| response.token().map(|t| t.tst_info().clone());
    let info = eventually("the source has answered", || granted(next()));
    assert_eq!(info.accuracy.unwrap().as_micros(), 2_000_000);
    let mut last = unit_of(&info).1;
    source.say(Say::Ahead(3_600));
    let refused = eventually("the clock is doubted", || {
        let response = next();
        let Some(token) = response.token() else {
            return Some(response);
        };
        last = unit_of(token.tst_info()).1;
        None
    });
    assert_eq!(failure(&refused), Some(PkiFailureInfo::TimeNotAvailable));
    let health = service.until("it says so", |health| health["healthy"] == false);
    assert_eq!(health["timestamps"]["ready"], false, "{health}");
    assert_eq!(
        service.metric("jurat_timestamp_requests_total{outcome=\"no_time\"}"),
        refusals.get()
    );
    // Nobody sees the loss yet: no tree head is signed without a time.
    let logged = last + 2;
    eventually("the loss is logged", || {
        (service.committed() == logged).then_some(())
    });
    source.say(Say::Right);
    let again = eventually("the clock is believed again", || granted(next()));
    assert!(unit_of(&again).1 >= logged);
    let events = eventually("that it was regained is logged", || {
        let size = service.published()?.size.get();
        let bundle = service.get(&format!("/tile/entries/000.p/{size}"));
        let text = String::from_utf8_lossy(&bundle.body).into_owned();
        let events = text.match_indices("v1 clock\n").map(|(at, found)| {
            let rest = &text[at + found.len()..];
            rest.lines().next().unwrap().to_owned()
        });
        Some(events.collect::<Vec<_>>()).filter(|events| events.len() == 2)
    });
    assert_eq!(events, ["lost", "regained"]);
    drop(service);
    home.fsck();
}

// Spec: TSA-50
#[test]
fn a_token_that_the_log_does_not_have_gets_no_receipt() {
    let (home, other) = (Home::with_timestamps(), Home::with_timestamps());
    let (service, stranger) = (home.serve(), other.serve());
    let upgrade = |body: &[u8]| service.call("POST", "/timestamp/upgrade", &[], body);
    assert_eq!(upgrade(b"no token").status, 400);
    let rejected = stamp(&service, b"nonsense").to_bytes();
    assert_eq!(upgrade(&rejected).status, 400);
    let (foreign, _) = granted(&stranger, 1);
    assert_eq!(upgrade(&foreign.to_bytes()).status, 404);
    // Somebody else with the unit's key: the same place, another token.
    let (mine, info) = granted(&service, 1);
    let mut forged = mine.to_bytes();
    let imprint = info.imprint.digest();
    let at = forged
        .windows(32)
        .position(|window| window == imprint)
        .unwrap();
    forged[at] ^= 1;
    let answer = upgrade(&forged);
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(answer.text().contains("past the log"), "{}", answer.text());
}

// Spec: TSA-31, TSA-32, TSA-33, TSA-34, TSA-35
#[test]
fn units_follow_each_other_and_no_token_stands_after_its_units_closing() {
    let home = Home::with_timestamps();
    let service = home.serve();
    let (_, first) = granted(&service, 1);
    let output = home.command(&["tsa", "rotate"]);
    assert!(output.status.success(), "{output:?}");
    let mut numbers = 2..;
    // While the change is taken over, every request is granted by the one or the other.
    let second = eventually("the next unit signs", || {
        let (_, info) = granted(&service, numbers.next().unwrap());
        (unit_of(&info).0 != unit_of(&first).0).then_some(info)
    });
    let output = home.command(&["tsa", "close", "--reason", "compromise"]);
    assert!(output.status.success(), "{output:?}");
    let refused = eventually("no unit signs", || {
        let response = stamp(&service, &request(numbers.next().unwrap()).to_bytes());
        (response.status() == PkiStatus::Rejection).then_some(response)
    });
    assert_eq!(failure(&refused), Some(PkiFailureInfo::SystemFailure));
    let health = service.until("it says so", |health| health["healthy"] == false);
    let summary = health["summary"].as_str().unwrap();
    assert!(
        summary.contains("no time-stamping unit is open"),
        "{summary}"
    );
    let close = eventually("the closing is logged", || {
        let last = service.committed() - 1;
        match entry(&home, &service, last) {
            Entry::Key(key) => Some(key),
            _ => None,
        }
    });
    assert_eq!(close.event, KeyEvent::Close(CloseReason::Compromise));
    assert_eq!(close.unit, unit_of(&second).0);
    drop(service);
    // Once more from the start: nothing is logged twice, and closed stays closed.
    let entries = home.fsck();
    let service = home.serve();
    assert_eq!(
        failure(&stamp(&service, &request(1).to_bytes())),
        Some(PkiFailureInfo::SystemFailure)
    );
    assert_eq!(service.committed(), entries);
    let mut closed = Vec::new();
    let mut started = Vec::new();
    for index in 0..entries {
        match entry(&home, &service, index) {
            Entry::Key(key) if key.event == KeyEvent::Start => started.push(key.unit),
            Entry::Key(key) => closed.push(key.unit),
            Entry::Timestamp(token) => {
                assert!(started.contains(&token.unit()) && !closed.contains(&token.unit()));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(closed, [unit_of(&first).0, unit_of(&second).0]);
    assert_eq!(started, closed);
}

// Spec: TSA-35
#[test]
fn a_change_of_units_begins_alone_and_is_not_stopped_by_one_that_ended_half_way() {
    let home = Home::with_timestamps();
    let rotate = || home.command(&["tsa", "rotate"]).status.success();
    std::fs::write(home.file("timestamp.toml.new"), "").unwrap();
    assert!(!rotate());
    // Refused before it did anything.
    assert!(!home.file("keys/tsa/unit-2.key").exists());
    std::fs::remove_file(home.file("timestamp.toml.new")).unwrap();
    std::fs::write(home.file("keys/tsa/unit-2.key"), "").unwrap();
    assert!(rotate());
    assert_eq!(
        std::fs::read(home.file("keys/tsa/unit-2.key")).unwrap(),
        b""
    );
    let units = std::fs::read_to_string(home.file("timestamp.toml")).unwrap();
    assert!(units.contains("unit-3.key"), "{units}");
    assert!(!home.file("timestamp.toml.new").exists());
}

// Spec: TSA-04, TSA-30, TSA-35, KEY-23
#[test]
fn an_authority_of_the_operators_own_issues_the_next_units_also_of_rsa_and_p384() {
    let home = Home::with_timestamps();
    let dir = home.root();
    let extensions = "[root]\nbasicConstraints = critical,CA:TRUE\n\
         keyUsage = critical,keyCertSign\n\
         subjectKeyIdentifier = hash\n[unit]\nkeyUsage = critical,digitalSignature\n\
         extendedKeyUsage = critical,timeStamping\nsubjectKeyIdentifier = hash\n\
         authorityKeyIdentifier = keyid\n[req]\ndistinguished_name = dn\n[dn]\n";
    std::fs::write(dir.join("own.cnf"), extensions).unwrap();
    let run = |line: &str| {
        let (done, text) = openssl(dir, &line.split(' ').collect::<Vec<_>>());
        assert!(done, "{line}: {text}");
    };
    run("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out own.key");
    run("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out unit.key");
    run(
        "req -x509 -config own.cnf -extensions root -key own.key -subj /CN=Own -days 99 \
         -out own.pem",
    );
    run("req -new -config own.cnf -key unit.key -subj /CN=Unit -out unit.csr");
    run(
        "x509 -req -in unit.csr -CA own.pem -CAkey own.key -CAcreateserial -extfile own.cnf \
         -extensions unit -days 90 -out unit.pem",
    );
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    std::fs::write(dir.join("chain.pem"), read("unit.pem") + &read("own.pem")).unwrap();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let rotate = |chain: &str, key: &str| {
        let (chain, key) = (path(chain), path(key));
        home.command(&["tsa", "rotate", "--chain", &chain, "--key", &key])
    };
    // Another key than the certificate's changes nothing.
    let before = std::fs::read(home.file("timestamp.toml")).unwrap();
    let refused = rotate("chain.pem", "own.key");
    assert!(!refused.status.success());
    assert_eq!(std::fs::read(home.file("timestamp.toml")).unwrap(), before);
    let output = rotate("chain.pem", "unit.key");
    assert!(output.status.success(), "{output:?}");
    home.configure("include_chain = true");

    let service = home.serve();
    let body = query(dir, &["-sha512", "-cert"]);
    let answer = service.call("POST", "/timestamp", &[QUERY], &body);
    std::fs::write(dir.join("r.tsr"), &answer.body).unwrap();
    run("ts -verify -queryfile q.tsq -in r.tsr -CAfile own.pem");
    let response = TimestampResponse::parse(&answer.body).unwrap();
    assert_eq!(response.token().unwrap().certificates().len(), 2);

    // The next one is of P-384, which signs with SHA-384.
    run("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out next.key");
    run("req -new -config own.cnf -key next.key -subj /CN=Next -out next.csr");
    run(
        "x509 -req -in next.csr -CA own.pem -CAkey own.key -CAcreateserial -extfile own.cnf \
         -extensions unit -days 90 -out next.pem",
    );
    let chain = read("next.pem") + &read("own.pem");
    std::fs::write(dir.join("next-chain.pem"), chain).unwrap();
    let output = rotate("next-chain.pem", "next.key");
    assert!(output.status.success(), "{output:?}");
    let answer = eventually("the next unit signs", || {
        let answer = service.call("POST", "/timestamp", &[QUERY], &body);
        std::fs::write(dir.join("r.tsr"), &answer.body).unwrap();
        run("ts -verify -queryfile q.tsq -in r.tsr -CAfile own.pem");
        let (_, text) = openssl(dir, &["asn1parse", "-inform", "DER", "-in", "r.tsr"]);
        text.contains("ecdsa-with-SHA384").then_some(answer)
    });
    verified_here(&answer.body, &body, &dir.join("own.pem"));
}

// Spec: TSA-30, TSP-48
#[test]
fn a_unit_that_must_not_sign_stops_the_start_with_all_that_is_wrong() {
    let home = Home::with_timestamps();
    let other = Home::with_timestamps();
    let key = home.file("keys/tsa/unit-1.key");
    std::fs::copy(other.file("keys/tsa/unit-1.key"), &key).unwrap();
    let chain = std::fs::read_to_string(home.file("keys/tsa/unit-1.pem")).unwrap();
    let end = "-----END CERTIFICATE-----\n";
    let (leaf, _) = chain.split_once(end).unwrap();
    std::fs::write(home.file("keys/tsa/unit-1.pem"), format!("{leaf}{end}")).unwrap();
    for args in [["check-config"], ["serve"]] {
        let output = home.command(&args);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{text}");
        assert!(
            text.contains("its private key is not the certificate's"),
            "{text}"
        );
        assert!(text.contains("its chain: "), "{text}");
    }
}

// Spec: TSA-30
#[test]
fn every_problem_of_the_table_is_reported_at_once() {
    let home = Home::with_timestamps();
    home.configure(
        "policy = \"1.2.x\"\naccuracy_ms = 1000\nhash_algorithms = [\"MD5\"]\n\
         require_time_sources = true\nclient_burst = 0",
    );
    std::fs::write(home.file("timestamp.toml"), "[[unit]]\nchain = 7\n").unwrap();
    let output = home.command(&["check-config"]);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    for field in [
        "policy",
        "accuracy_ms",
        "hash_algorithms",
        "require_time_sources",
        "client_burst",
        "units",
    ] {
        assert!(
            text.contains(&format!("timestamp.{field}")),
            "{field}: {text}"
        );
    }
}

// Spec: TSA-43
#[test]
fn a_client_that_asks_too_often_is_told_when_to_come_again() {
    let home = Home::with_timestamps();
    home.configure("client_per_s = 1\nclient_burst = 2");
    let service = home.serve();
    let body = request(1).to_bytes();
    let call = || service.call("POST", "/timestamp", &[QUERY], &body);
    let refused = eventually("the burst is over", || {
        let answer = call();
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some());
    // An upgrade is no way around: it costs more.
    eventually("upgrades are counted, too", || {
        let answer = service.call("POST", "/timestamp/upgrade", &[], &body);
        (answer.status == 429).then_some(())
    });
}

// Spec: TSA-43, SVC-81
#[test]
fn behind_a_proxy_that_is_trusted_each_client_has_its_own_limit_and_says_nothing_of_itself() {
    let home = Home::with_timestamps();
    home.configure("client_per_s = 1\nclient_burst = 2\n[proxies]\ntrusted = [\"127.0.0.0/8\"]");
    let service = home.serve();
    let body = request(1).to_bytes();
    let call = |from: &str| {
        let from = format!("X-Forwarded-For: {from}");
        service.call("POST", "/timestamp", &[QUERY, &from], &body)
    };
    eventually("the burst of one client is over", || {
        (call("192.0.2.1").status == 429).then_some(())
    });
    // Another has its own, and one that invents others is still who the proxy says.
    for n in 0..2 {
        assert_eq!(call("192.0.2.2").status, 200, "{n}");
    }
    let mut invented = 0..;
    eventually("inventing clients helps nobody", || {
        let n = invented.next()?;
        (call(&format!("198.51.100.{}, 192.0.2.3", n % 256)).status == 429).then_some(())
    });

    // Whom nobody trusts is not believed.
    let home = Home::with_timestamps();
    home.configure("client_per_s = 1\nclient_burst = 2\n[proxies]\ntrusted = [\"10.0.0.0/8\"]");
    let service = home.serve();
    let mut invented = 0..;
    eventually("a client that is no proxy is one client", || {
        let from = format!("X-Forwarded-For: 192.0.2.{}", invented.next()? % 256);
        let answer = service.call("POST", "/timestamp", &[QUERY, &from], &body);
        (answer.status == 429).then_some(())
    });

    // What names nobody is said before anything is opened.
    let home = Home::with_timestamps();
    home.configure("[proxies]\ntrusted = [\"10.0.0.0/8\", \"proxy.example\"]\nfield = \"Via\"");
    let refused = home.command(&["check-config"]);
    assert_eq!(refused.status.code(), Some(64));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("proxies.trusted[1]") && said.contains("proxies.field"),
        "{said}"
    );
    for everybody in ["0.0.0.0/0", "::/0"] {
        let home = Home::with_timestamps();
        home.configure(&format!("[proxies]\ntrusted = [\"{everybody}\"]"));
        let refused = home.command(&["check-config"]);
        assert_eq!(refused.status.code(), Some(64));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        let due =
            format!("{everybody} is everybody, and each of them could say that he is another");
        assert!(
            said.contains("proxies.trusted[0]") && said.contains(&due),
            "{said}"
        );
    }
}

// Spec: TSA-53
#[test]
fn upgrades_that_are_slowly_sent_are_bounded_and_leave_room_when_they_end() {
    let home = Home::with_timestamps();
    let service = home.serve();
    let (plain, _) = granted(&service, 1);
    let upgrade = || service.call("POST", "/timestamp/upgrade", &[], &plain.to_bytes());
    let head = "POST /timestamp/upgrade HTTP/1.1\r\nHost: a\r\nContent-Length: 262144\r\n\r\n";
    let slow: Vec<_> = (0..130)
        .map(|_| {
            let mut connection = std::net::TcpStream::connect(service.address).unwrap();
            connection.write_all(head.as_bytes()).unwrap();
            connection.set_nonblocking(true).unwrap();
            connection
        })
        .collect();
    // 128 fit, and then there is no room at all: the two others have their answer.
    eventually("the room is full", || {
        let answered = slow.iter().filter(|it| it.peek(&mut [0]).is_ok());
        (answered.count() >= 2).then_some(())
    });
    let refused = upgrade();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    // Time-stamps do not need that room.
    granted(&service, 2);
    drop(slow);
    eventually("there is room again", || {
        (upgrade().status == 200).then_some(())
    });
}

// Spec: TSA-10, TSA-11
#[test]
fn times_do_not_go_back_with_the_index() {
    let home = Home::with_timestamps();
    let service = home.serve();
    let answers: Vec<TstInfo> = std::thread::scope(|scope| {
        let client = |from: u64| {
            let service = &service;
            scope.spawn(move || {
                let numbers = from..from + 40;
                numbers
                    .map(|number| granted(service, number).1)
                    .collect::<Vec<_>>()
            })
        };
        let clients = [0, 1_000, 2_000, 3_000].map(client);
        clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect()
    });
    let mut places: Vec<(u64, GenTime)> = answers
        .iter()
        .map(|info| (unit_of(info).1, info.gen_time))
        .collect();
    places.sort_unstable();
    let before = places.len();
    places.dedup_by_key(|(index, _)| *index);
    assert_eq!(places.len(), before, "an index was given twice");
    assert!(places.is_sorted_by_key(|(_, time)| *time));
    assert!(places.iter().all(|(_, time)| time.nanos() == 0));
}

/// So that a test which needs it says so, rather than fail in the middle.
#[test]
fn openssl_is_installed() {
    let (found, text) = openssl(&PathBuf::from("."), &["version"]);
    assert!(found, "{text}; tests/run tools installs it");
}

/// Clients that were not built for this service speak TLS with it: curl asks, OpenSSL verifies.
// Spec: TSA-01, TSA-40
#[test]
fn a_time_stamp_is_had_over_tls_and_by_nobody_who_does_not_know_the_certificate() {
    let home = Home::with_timestamps();
    let dir = home.root();
    let made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
                -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 \
                -keyout tls.key -out tls.pem";
    let (made, text) = openssl(dir, &made.split_whitespace().collect::<Vec<_>>());
    assert!(made, "{text}");
    let file = |name: &str| dir.join(name).display().to_string();
    home.configure(&format!(
        "[tls]\ncertificate_file = \"{}\"\nkey_file = \"{}\"",
        file("tls.pem"),
        file("tls.key")
    ));
    let mut process = home.spawn();
    let address = process.address();
    let url = format!("https://{address}/timestamp");
    query(dir, &["-sha256", "-cert"]);
    let curl = |more: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "60", "-H", QUERY]);
        curl.args([
            "--data-binary",
            "@q.tsq",
            "-o",
            "r.tsr",
            "-w",
            "%{http_code}",
            &url,
        ]);
        curl.args(more).current_dir(dir).output().unwrap()
    };
    let pem = file("tls.pem");
    let answer = curl(&["--cacert", &pem]);
    assert!(answer.status.success(), "{answer:?}");
    assert_eq!(answer.stdout, b"200");
    let token = std::fs::read(dir.join("r.tsr")).unwrap();
    verified_by_openssl(&home, &token, &[]);
    // Neither who does not trust the certificate nor who speaks no TLS gets one.
    std::fs::remove_file(dir.join("r.tsr")).unwrap();
    assert_eq!(curl(&[]).status.code(), Some(60), "an unknown certificate");
    let plain = network::http::call(address, "GET", "/health", &[], b"");
    assert!(plain.is_err(), "{plain:?}");
    assert!(!dir.join("r.tsr").exists());
    assert!(process.terminate().success());
}
