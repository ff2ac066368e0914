//! The page for people, and `/health`, of a real process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "tests"
)]

mod rig;

use std::fs;

use jurat_proto::checkpoint::Origin;
use jurat_proto::hash::sha256;
use jurat_proto::key::UnixSeconds;
use jurat_store::registry::{Change, LogState, Registry};
use jurat_store::{CheckpointStore as _, HeadSwap, WalOptions, WalStore};
use rig::{Home, NAME, TestLog, until};

/// Adds logs that nobody runs.
fn add_many(home: &Home, key: &TestLog, origins: impl Iterator<Item = String>) {
    let keys = [key.vkey().clone()];
    Registry::edit(home.path("logs.toml"), &(), |registry| {
        for origin in origins {
            registry.add_keys(&Origin::parse(&origin).unwrap(), &keys)?;
        }
        Ok(Change::Added)
    })
    .unwrap();
}

const HOSTILE: &str = "<script>alert(\"x\")</script>&'";

#[test]
fn the_page_says_what_the_witness_network_asks_for() {
    // Spec: WIT-97, WIT-98
    let home = Home::new();
    let mut log = TestLog::new("example.com/log");
    log.grow(7);
    home.add_log(&log);
    add_many(
        &home,
        &log,
        [HOSTILE.to_owned(), "off.example".to_owned()].into_iter(),
    );
    Registry::edit(home.path("logs.toml"), &(), |registry| {
        let off = Origin::parse("off.example").unwrap();
        registry.switch(&off, LogState::Disabled, None)
    })
    .unwrap();
    let mut config = fs::read_to_string(home.config()).unwrap();
    config.push_str(
        "operator = \"A & B <Witnesses>\"\ncontact = \"ops@example.com\"\n\
         url = \"https://example.com/about\"\ndescription = \"Two\\nlines <b>\"\n\
         [lists]\nsources = [\"http://127.0.0.1:9/list\"]\nevery_s = 86400\n",
    );
    fs::write(home.config(), config).unwrap();
    let process = home.serve();
    assert_eq!(process.add(&log.request(0, 7)).status, 200);

    let answer = process.get("/");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let page = answer.text();
    let hash = log.origin.hash_hex();
    let size = format!("<a href=\"{hash}/checkpoint\">7</a>");
    for key in &home.keys {
        assert!(page.contains(&key.to_string()), "{page}");
    }
    for part in [
        NAME,
        "It cosigns.",
        "A &#38; B &#60;Witnesses&#62;",
        "ops@example.com",
        "https://example.com/about",
        "Two\nlines &#60;b&#62;",
        "https://witness.example.com/add-checkpoint",
        "https://witness.example.com/&lt;SHA-256",
        "http://127.0.0.1:9/list",
        "added every day",
        "8640000 requests a",
        "group witness.example.com/w1 any",
        "1 to 3 of 3.",
        &size,
        "<td class=\"good\">cosigned</td>",
        "<td class=\"dim\">disabled</td>",
        "<td class=\"dim\">nothing yet</td>",
        "&#60;script&#62;alert(&#34;x&#34;)&#60;/script&#62;&#38;&#39;",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("<script"), "{page}");

    // The style is the one that the policy names, and nothing else may be loaded.
    let (from, to) = (
        page.find("<style>").unwrap(),
        page.find("</style>").unwrap(),
    );
    let style = &page[from + "<style>".len()..to];
    let policy = answer.header("content-security-policy").unwrap();
    let wanted = format!("style-src 'sha256-{}'", sha256(style.as_bytes()));
    assert!(policy.contains(&wanted), "{policy}");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(!page.contains("style="), "{page}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );

    // What is sought is shown escaped, too.
    let found = process.get("/?q=%3Cscript%3E");
    assert!(
        found.text().contains("1 to 1 of 1, of 3 in all."),
        "{}",
        found.text()
    );
    assert!(
        found.text().contains("value=\"&#60;script&#62;\""),
        "{}",
        found.text()
    );
    assert!(!found.text().contains("<script"));
    assert!(process.get("/?q=nobody").text().contains("None of 3."));
    for (path, status) in [
        ("/?page=0", 400),
        ("/?page=x", 400),
        ("/?q=%ff", 400),
        ("/?page=2", 404),
    ] {
        assert_eq!(process.get(path).status, status, "{path}");
    }
    assert_eq!(process.call("POST", "/", b"").status, 405);
}

#[test]
fn many_logs_are_shown_by_the_hundred() {
    // Spec: WIT-98
    let home = Home::new();
    let log = TestLog::new("example.com/log");
    add_many(
        &home,
        &log,
        (0..1_250).map(|n| format!("log-{n:05}.example")),
    );
    let process = home.serve();
    let rows = |page: &str| page.matches("<tr><td>").count();

    let first = process.get("/");
    assert!(
        first.text().contains("1 to 100 of 1250."),
        "{}",
        first.text()
    );
    assert_eq!(rows(first.text()), 100);
    assert!(first.text().contains("rel=\"next\""));
    assert!(!first.text().contains("rel=\"prev\""));
    let last = process.get("/?page=13");
    assert!(last.text().contains("1201 to 1250 of 1250."));
    assert_eq!(rows(last.text()), 50);
    assert!(last.text().contains("log-01249.example"));
    assert!(!last.text().contains("rel=\"next\""));
    assert!(last.text().contains("rel=\"prev\""));
    let missing = process.get("/?page=14");
    assert_eq!(
        (missing.status, missing.text()),
        (404, "there are 13 pages\n")
    );
    let found = process.get("/?q=log-010&page=1");
    assert!(found.text().contains("1 to 100 of 100, of 1250 in all."));
    drop(process);

    let mut config = fs::read_to_string(home.config()).unwrap();
    config.push_str("show_logs = false\n");
    fs::write(home.config(), config).unwrap();
    let process = home.serve();
    let page = process.get("/?q=log-01249");
    assert!(page.text().contains("It has 1250 logs"), "{}", page.text());
    assert!(!page.text().contains("log-01249"));
}

#[test]
fn a_damaged_head_is_named_by_health_before_anybody_asks_for_it() {
    // Spec: WIT-99, WIT-100
    let home = Home::new();
    let mut bad = TestLog::new("example.com/bad");
    let mut good = TestLog::new("example.com/good");
    for log in [&mut bad, &mut good] {
        log.grow(5);
        home.add_log(log);
    }
    let process = home.serve();
    assert_eq!(process.add(&bad.request(0, 3)).status, 200);
    assert_eq!(process.add(&good.request(0, 3)).status, 200);
    let health = process.get("/health");
    assert_eq!((health.status, health.text()), (200, "ok\n"));
    assert!(process.terminate().success());
    {
        let store = WalStore::open(home.path("witness.redb"), WalOptions::default()).unwrap();
        let mut head = store.latest(&bad.origin).unwrap().unwrap();
        let expected = Some(head.head);
        head.time = UnixSeconds::new(head.time.get() + 1).unwrap();
        let origin = bad.origin.clone();
        let new = head;
        let swap = HeadSwap {
            origin,
            expected,
            new,
        };
        assert!(store.compare_and_swap(&[swap]).unwrap()[0].is_ok());
        store.close().unwrap();
    }
    let process = home.serve();
    until(|| process.get("/health").status == 503);
    let health = process.get("/health");
    let told = health.text();
    assert!(
        told.starts_with("the stored head of example.com/bad is not what"),
        "{told}"
    );
    assert_eq!(told.lines().count(), 1, "{told}");
    let metrics = process.get("/metrics");
    assert!(
        metrics.text().contains("\njurat_witness_heads_bad 1\n"),
        "{}",
        metrics.text()
    );
    let page = process.get("/");
    assert!(page.text().contains("not cosigned: 1"), "{}", page.text());
    assert!(
        page.text().contains("stored state damaged"),
        "{}",
        page.text()
    );

    let refused = process.add(&bad.request(3, 5));
    assert_eq!(refused.status, 500);
    assert!(
        refused
            .text()
            .starts_with("what this witness stored of this log is damaged;"),
        "{}",
        refused.text()
    );
    assert_eq!(process.get(&bad.checkpoint_path()).status, 500);
    assert_eq!(process.add(&good.request(3, 5)).status, 200, "others go on");
}
