//! Alerts of the real service: a program that it runs and a URL that it tells, when the clock is
//! lost, when no unit may sign, and when it ends because evidence convicts it.
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

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use jurat_daemon::clock::{Clock as _, SystemClock};
use jurat_keys::{SigningKey, TimestampKey, TimestampSigner as _, random_serial};
use jurat_proto::evidence::Evidence;
use jurat_proto::key::{Signer as _, VerifierKey};
use jurat_proto::note::Note;
use jurat_proto::tsp::certificate::Certificate;
use jurat_proto::tsp::gen_time::GenTime;
use jurat_proto::tsp::issue::{CertificateDraft, CertificateProfile, common_name, to_pem};
use serde_json::Value;

use crate::network::door::response;
use crate::network::{Door, Home, Mode, TestLog, eventually};
use crate::time_server::{Say, TimeServer};

/// Where a service tells its alerts.
struct Ears {
    file: PathBuf,
    /// What came to the URL.
    posted: Arc<Mutex<Vec<Vec<u8>>>>,
    door: Door,
}

impl Ears {
    fn of(home: &Home) -> Self {
        let ears = Self {
            file: home.root().join("told"),
            posted: Arc::default(),
            door: Door::open(Mode::Closed),
        };
        ears.take();
        home.configure(&format!(
            "[alerts]\nexec = [\"sh\", \"-c\", \"cat >> {}\"]\nwebhook = \"{}/\"\n\
             key = \"keys/alerts.ed25519.key\"",
            ears.file.display(),
            ears.door.url()
        ));
        ears
    }

    /// From now on the URL takes what comes.
    fn take(&self) {
        let heard = Arc::clone(&self.posted);
        self.door.set(Mode::Answer(Arc::new(move |asked| {
            heard.lock().unwrap().push(asked.body.clone());
            response(200, "text/plain", b"")
        })));
    }

    /// From now on it reads each, and never answers.
    fn fall_silent(&self) {
        self.door.set(Mode::Silent);
    }

    fn all(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        // A line that is being written has no end yet.
        let lines = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Waits until an alert begins, or is over.
    fn hear(&self, alert: &str, raised: bool) -> Value {
        let is = |told: &Value| told["alert"] == alert && told["raised"] == raised;
        let what = format!("{alert}: {raised}");
        eventually(&what, || self.all().into_iter().find(|told| is(told)))
    }

    /// The lines that the URL got, each under a signature by this key.
    fn signed(&self, key: &VerifierKey) -> Vec<Value> {
        let posted = self.posted.lock().unwrap();
        let line = |body: &Vec<u8>| {
            let note = Note::parse(body).unwrap();
            let [signature] = note.signatures() else {
                panic!("one signature");
            };
            assert_eq!(signature.key_id(), key.key_id());
            key.verify_note(note.text(), signature.signature()).unwrap();
            let json = note.text().strip_prefix("jurat/service-alert@v0\n");
            serde_json::from_str(json.unwrap()).unwrap()
        };
        posted.iter().map(line).collect()
    }
}

fn alerts_key(home: &Home) -> VerifierKey {
    let key = SigningKey::load(home.file("keys/alerts.ed25519.key")).unwrap();
    key.verifier_key().clone()
}

// Spec: SVC-60, SVC-61, TSA-14
#[test]
fn a_clock_that_is_lost_and_regained_is_told_to_the_program_and_to_the_url() {
    let home = Home::with_timestamps();
    let source = TimeServer::start(Say::Right);
    home.configure(&format!(
        "[clock]\nntp = [\"{}\"]\nevery_s = 1\nvalid_s = 3600",
        source.address
    ));
    let ears = Ears::of(&home);
    let mut service = home.serve();
    service.until("all is well", |health| health["healthy"] == true);
    assert!(ears.all().is_empty(), "a start is no alert");
    source.say(Say::Ahead(3_600));
    let lost = ears.hear("clock", true);
    assert_eq!(lost["service"], network::service::ORIGIN);
    let about = lost["about"].as_str().unwrap();
    assert!(about.contains("what the time sources agree on"), "{about}");
    assert_eq!(service.metric("jurat_alerts{alert=\"clock\"}"), 1);
    source.say(Say::Right);
    let regained = ears.hear("clock", false);
    assert!(regained["number"].as_u64() > lost["number"].as_u64());
    let count = "jurat_alerts_told_total{sink=\"webhook\",outcome=\"told\"}";
    eventually("the URL was told both", || {
        let metrics = service.get("/metrics");
        metrics.text().contains(&format!("{count} 2")).then_some(())
    });
    let due = [("clock", true), ("clock", false)];
    for told in [ears.all(), ears.signed(&alerts_key(&home))] {
        let told: Vec<(&str, bool)> = told
            .iter()
            .map(|told| (told["alert"].as_str().unwrap(), told["raised"] == true))
            .collect();
        assert_eq!(told, due);
    }
    assert!(service.process.terminate().success());
    assert_eq!(ears.all().len(), 2, "an orderly end is no alert");
}

/// Not that what was wrong is found again: it is not so any more when the next process starts.
// Spec: SVC-65, SVC-66, SVC-67
#[test]
fn an_alert_outlives_the_process_that_was_killed_before_the_url_had_it() {
    let home = Home::with_timestamps();
    let source = TimeServer::start(Say::Right);
    home.configure(&format!(
        "[clock]\nntp = [\"{}\"]\nevery_s = 1\nvalid_s = 3600",
        source.address
    ));
    let ears = Ears::of(&home);
    ears.fall_silent();
    let mut service = home.serve();
    service.until("all is well", |health| health["healthy"] == true);
    let waiting = "jurat_alerts_waiting{sink=\"webhook\"}";
    assert_eq!(service.metric(waiting), 0);
    source.say(Say::Ahead(3_600));
    let lost = ears.hear("clock", true);
    eventually("it is kept", || {
        (service.metric(waiting) == 1).then_some(())
    });
    service.process.kill();
    source.say(Say::Right);
    // An orderly end waits for nobody who does not answer, beyond one try; nothing is lost.
    ears.door.set(Mode::Closed);
    let mut service = home.serve();
    assert!(service.metric(waiting) >= 1);
    assert!(service.process.terminate().success());
    ears.take();
    let mut service = home.serve();
    eventually("it is told", || {
        (service.metric(waiting) == 0).then_some(())
    });
    let key = alerts_key(&home);
    let told = |ears: &Ears| {
        let all = ears.signed(&key).into_iter();
        all.filter(|told| told["alert"] == "clock" && told["raised"] == true)
            .collect::<Vec<_>>()
    };
    let first = told(&ears);
    assert_eq!((first.len(), &first[0]["about"]), (1, &lost["about"]));
    assert!(service.process.terminate().success());
    // Nothing is told twice, and the next number is larger than all before.
    source.say(Say::Ahead(3_600));
    drop(std::fs::remove_file(&ears.file));
    let service = home.serve();
    let next = ears.hear("clock", true);
    assert!(next["number"].as_u64() > lost["number"].as_u64());
    let both = eventually("both were told", || {
        Some(told(&ears)).filter(|all| all.len() == 2)
    });
    assert_eq!(both[0], first[0]);
    assert!(both[1]["number"].as_u64() > first[0]["number"].as_u64());
    drop(service);
}

/// Puts a certificate whose key's period ends so many seconds from now, or before, in the place of
/// the first unit's. Gives when that is.
fn unit_that_ends(home: &Home, seconds: i64) -> u64 {
    let dir = home.file("keys/tsa");
    let authority = TimestampKey::load(dir.join("ca.key")).unwrap();
    let root = std::fs::read(dir.join("ca.pem")).unwrap();
    let root = Certificate::parse_file(&root).unwrap().remove(0);
    let unit = TimestampKey::load(dir.join("unit-1.key")).unwrap();
    let now = SystemClock.now().seconds();
    let time = |seconds| GenTime::new(seconds, 0).unwrap();
    let ends = now.checked_add_signed(seconds).unwrap();
    let from = time(now - 1_000);
    let draft = CertificateDraft {
        serial: random_serial().unwrap(),
        issuer: root.subject().to_vec(),
        subject: common_name("a unit").unwrap(),
        validity: (from, time(now + 10_000_000)),
        public_key: unit.public_key().unwrap(),
        issuer_public_key: authority.public_key().unwrap(),
        profile: CertificateProfile::Unit {
            key_usage: (from, time(ends)),
        },
    };
    let signature = authority.sign(&draft.to_be_signed()).unwrap();
    let certificate = draft.finish(&signature).unwrap();
    std::fs::write(dir.join("unit-1.pem"), to_pem(&[certificate, root])).unwrap();
    ends
}

// Spec: SVC-60, TSA-32
#[test]
fn a_unit_that_has_ended_is_told_and_that_another_one_signs() {
    let home = Home::with_timestamps();
    unit_that_ends(&home, -10);
    let ears = Ears::of(&home);
    let service = home.serve();
    let told = ears.hear("timestamp-unit", true);
    let about = told["about"].as_str().unwrap();
    assert!(about.contains("no time-stamping unit may sign"), "{about}");
    // Until a first tree head is published, that is the worst.
    service.until("it says so", |health| health["summary"] == about);
    let rotated = home.command(&["tsa", "rotate"]);
    assert!(rotated.status.success(), "{rotated:?}");
    ears.hear("timestamp-unit", false);
    service.until("all is well", |health| health["healthy"] == true);
}

/// In time to make another one, and while all is well.
// Spec: SVC-60, SVC-68, TSA-32
#[test]
fn a_unit_that_ends_soon_is_told_of_though_it_signs() {
    let home = Home::with_timestamps();
    let ends = unit_that_ends(&home, 10 * 86_400);
    let ears = Ears::of(&home);
    let service = home.serve();
    let told = ears.hear("timestamp-unit-ends", true);
    let about = told["about"].as_str().unwrap();
    let time = GenTime::new(ends, 0).unwrap().to_string();
    assert!(
        time.ends_with('Z') && about.ends_with(&format!("ends at {time}")),
        "{about}"
    );
    let health = service.until("all is well", |health| health["healthy"] == true);
    assert_eq!(health["timestamps"]["signs_until"], ends);
    assert_eq!(service.metric("jurat_timestamp_signs_until_seconds"), ends);
    let rotated = home.command(&["tsa", "rotate"]);
    assert!(rotated.status.success(), "{rotated:?}");
    ears.hear("timestamp-unit-ends", false);
}

// Spec: SVC-57, SVC-60, SVC-62
#[test]
fn a_service_that_is_convicted_tells_so_before_it_ends_and_at_each_start() {
    let home = Home::new();
    let ears = Ears::of(&home);
    let mut service = home.serve();
    let key = SigningKey::load(home.file("keys/log.ed25519.key")).unwrap();
    let mut log = TestLog::with_key(network::service::ORIGIN, key);
    log.grow(5);
    let fork = log.fork(2, 5);
    let evidence = Evidence::same_size(log.checkpoint(5), fork.checkpoint(5)).unwrap();
    let answer = service.call("POST", "/evidence", &[], &evidence.to_bytes());
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(!service.process.exit().success());
    // Whoever ended has told: nobody has to wait for it.
    let told = ears.all();
    for alert in ["convicted", "ended"] {
        let told = told.iter().find(|told| told["alert"] == alert);
        let about = told.expect(alert)["about"].as_str().unwrap();
        assert!(about.contains("a key of this service"), "{about}");
    }
    assert_eq!(ears.signed(&alerts_key(&home)).len(), told.len());
    home.refuses_to_serve();
    let ended = |told: &&Value| told["alert"] == "ended";
    assert_eq!(ears.all().iter().filter(ended).count(), 2);
}

// Spec: SVC-61
#[test]
fn a_url_without_a_key_of_its_own_is_refused() {
    let home = Home::new();
    home.configure("[alerts]\nwebhook = \"https://alerts.example/\"\nexec = [\"\"]");
    let (code, told) = home.refuses_to_serve();
    assert_eq!(code, 64);
    for text in ["alerts.key: none", "alerts.exec: its first word is empty"] {
        assert!(told.contains(text), "{told}");
    }
    for key in ["log.ed25519", "cosigner.ed25519"] {
        home.edit("exec = [\"\"]", "exec = []\nkey = \"keys/x.key\"");
        home.edit("keys/x.key", &format!("keys/{key}.key"));
        let (code, told) = home.refuses_to_serve();
        assert_eq!(code, 64);
        assert!(
            told.contains("a note key that signs nothing else")
                || told.contains("signs nothing else"),
            "{told}"
        );
        home.edit(
            &format!("exec = []\nkey = \"keys/{key}.key\""),
            "exec = [\"\"]",
        );
    }
}

/// Each rule for Prometheus asks for what `/metrics` has.
// Spec: SVC-60
#[test]
fn the_rules_for_prometheus_ask_for_metrics_that_exist() {
    let home = Home::with_timestamps();
    let ears = Ears::of(&home);
    home.edit("cat >>", "exit 1; cat >>");
    let source = TimeServer::start(Say::Ahead(3_600));
    home.configure(&format!(
        "[clock]\nntp = [\"{}\"]\nevery_s = 1",
        source.address
    ));
    let service = home.serve();
    eventually("both sinks were tried", || {
        let metrics = service.get("/metrics").text().to_owned();
        let failed = "sink=\"exec\",outcome=\"failed\"";
        let told = "sink=\"webhook\",outcome=\"told\"";
        (metrics.contains(failed) && metrics.contains(told)).then_some(())
    });
    drop(ears);
    let metrics = service.get("/metrics").text().to_owned();
    let rules = include_str!("../docs/examples/service-alerts.yml");
    let exprs: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "))
        .filter(|expr| !expr.starts_with("up{"))
        .collect();
    assert!(exprs.len() > 6);
    for expr in exprs {
        let start = expr.find("jurat_").unwrap();
        let (name, rest) = expr[start..].split_once('{').unwrap();
        let (labels, _) = rest.split_once('}').unwrap();
        let series: Vec<&str> = metrics
            .lines()
            .filter(|line| line.starts_with(&format!("{name}{{")))
            .collect();
        for label in labels.split(',') {
            let (label, values) = label.split_once('=').unwrap();
            let values = values.trim_start_matches('~').trim_matches('"');
            for value in values.split('|') {
                let wanted = format!("{label}=\"{value}\"");
                let has = series.iter().any(|line| line.contains(&wanted));
                assert!(has, "{expr}: {name} never has {wanted}");
            }
        }
    }
}
