//! What an operator's Prometheus sees: `/metrics` of a real process, and the example of rules.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod rig;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rig::{Home, TestLog, until};

/// A sample: its name, its labels, its value.
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: String,
}

/// Reads the text form, of which our label values use no escapes.
fn samples(text: &str) -> Vec<Sample> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').unwrap();
        let labels = labels.split("\",").filter(|label| !label.is_empty());
        let labels = labels.map(|label| {
            let (name, value) = label.split_once("=\"").unwrap();
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        });
        Sample {
            name: name.to_owned(),
            labels: labels.collect(),
            value: value.to_owned(),
        }
    });
    samples.collect()
}

fn count(samples: &[Sample], call: &str, outcome: &str) -> u64 {
    let labels = [("call", call), ("outcome", outcome)].map(|(n, v)| (n.to_owned(), v.to_owned()));
    let sample = samples
        .iter()
        .find(|sample| sample.name == "jurat_witness_outcomes_total" && sample.labels == labels);
    sample
        .unwrap_or_else(|| panic!("{call} {outcome}"))
        .value
        .parse()
        .unwrap()
}

/// A label and the values that it may have.
type Matcher = (String, Vec<String>);

/// The metrics in an expression, each with its matchers.
fn selectors(expr: &str) -> Vec<(String, Vec<Matcher>)> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = expr;
    while let Some(at) = rest.find("jurat_") {
        let tail = &rest[at..];
        let end = tail.find(|c| !word(c)).unwrap_or(tail.len());
        let (name, after) = tail.split_at(end);
        let braces = after
            .strip_prefix('{')
            .and_then(|after| after.split_once('}'));
        let matchers = braces.map_or("", |(matchers, _)| matchers);
        let matchers = matchers.split(',').filter(|matcher| !matcher.is_empty());
        let matchers = matchers.map(|matcher| {
            let (label, value) = matcher.split_once('=').unwrap();
            let values = value.trim_start_matches('~').trim_matches('"').split('|');
            (label.to_owned(), values.map(str::to_owned).collect())
        });
        found.push((name.to_owned(), matchers.collect()));
        rest = after;
    }
    found
}

#[test]
fn the_alert_rules_ask_for_what_is_there() {
    // Spec: WIT-102
    let home = Home::new();
    let mut log = TestLog::new("example.com/log");
    log.grow(3);
    home.add_log(&log);
    let stranger = TestLog::new("example.com/log");
    let listed = format!("logs/v0\nvkey {}\nqpd 24\ncontact ops\n", stranger.vkey());
    fs::write(home.path("list"), listed).unwrap();
    let mut config = fs::read_to_string(home.config()).unwrap();
    config.push_str("[lists]\nsources = [\"list\", \"absent\"]\n");
    // Nobody answers there: the rules about time sources find what they ask for all the same.
    config.push_str("[clock]\nntp = [\"127.0.0.1:1\"]\n");
    fs::write(home.config(), config).unwrap();
    let process = home.serve();
    until(|| {
        let metrics = process.get("/metrics");
        metrics.text().contains("kind=\"other_key\"") && metrics.text().contains("\"failed\"")
    });
    let scraped = samples(process.get("/metrics").text());

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/witness-alerts.yml");
    let rules = fs::read_to_string(file).unwrap();
    let mut names = BTreeSet::new();
    let mut used = 0;
    for rule in rules.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        assert!(names.insert(name), "{name} is there twice");
        let field = |field: &str| {
            let line = rule
                .lines()
                .find_map(|line| line.trim().strip_prefix(field));
            line.unwrap_or_else(|| panic!("{name} has no {field}"))
                .trim()
        };
        assert!(["{severity: page}", "{severity: ticket}"].contains(&field("labels:")));
        assert!(field("summary:").ends_with('.'), "{name}");
        let expr = field("expr:");
        let balanced = |open, close| expr.matches(open).count() == expr.matches(close).count();
        assert!(
            balanced('(', ')') && balanced('{', '}') && balanced('[', ']'),
            "{name}"
        );
        for (metric, matchers) in selectors(expr) {
            used += 1;
            let series: Vec<&Sample> = scraped.iter().filter(|s| s.name == metric).collect();
            assert!(!series.is_empty(), "{name}: there is no {metric}");
            for (label, values) in matchers {
                for value in values {
                    let wanted = (label.clone(), value);
                    assert!(
                        series.iter().any(|sample| sample.labels.contains(&wanted)),
                        "{name}: {metric} never has {wanted:?}"
                    );
                }
            }
        }
    }
    assert!(
        names.len() > 15 && used >= names.len(),
        "{used} in {names:?}"
    );
}

#[test]
fn each_call_is_counted_once_and_no_label_names_a_log() {
    // Spec: WIT-101, WIT-102
    let home = Home::new();
    let mut log = TestLog::new("example.com/log");
    log.grow(9);
    home.add_log(&log);
    let process = home.serve();
    let empty = samples(process.get("/metrics").text());
    assert_eq!(
        count(&empty, "AddCheckpoint", "Fork"),
        0,
        "there before it happens"
    );
    assert_eq!(count(&empty, "SignSubtree", "RolledBack"), 0);

    assert_eq!(process.add(&log.request(0, 3)).status, 200);
    assert_eq!(process.add(&log.request(3, 3)).status, 200);
    assert_eq!(process.add(&log.request(0, 5)).status, 409);
    assert_eq!(process.add(b"x").status, 400);
    let unknown = TestLog::new("example.com/unknown");
    assert_eq!(process.add(&unknown.request(0, 0)).status, 404);
    assert_eq!(process.call("POST", "/sign-subtree", b"x").status, 400);
    for path in [
        log.checkpoint_path(),
        unknown.checkpoint_path(),
        "/nothing".to_owned(),
    ] {
        process.get(&path);
    }
    let text = process.get("/metrics").text().to_owned();
    let after = samples(&text);
    for (outcome, times) in [
        ("Grown", 1),
        ("Refreshed", 1),
        ("Conflict", 1),
        ("Malformed", 1),
        ("UnknownLog", 1),
        ("Abandoned", 0),
    ] {
        assert_eq!(count(&after, "AddCheckpoint", outcome), times, "{outcome}");
    }
    assert_eq!(count(&after, "SignSubtree", "Malformed"), 1);
    let value = |name: &str| {
        after
            .iter()
            .find(|sample| sample.name == name)
            .unwrap()
            .value
            .clone()
    };
    assert_eq!(value("jurat_witness_healthy"), "1");
    let cosigned: u64 = value("jurat_witness_cosigned_timestamp_seconds")
        .parse()
        .unwrap();
    assert!(cosigned > 1_784_678_400, "{cosigned}");
    assert!(!text.contains("example.com"), "{text}");
    assert!(!text.contains(&log.origin.hash_hex()), "{text}");
    // What is served does not make the metrics grow.
    assert_eq!(after.len(), {
        for n in 0..50 {
            process.get(&format!("/{n}"));
            process.add(&TestLog::new(&format!("example.com/{n}")).request(0, 0));
        }
        samples(process.get("/metrics").text()).len()
    });
}
