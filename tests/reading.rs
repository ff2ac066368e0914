//! The read API of the service, over real sockets: checkpoint, tiles, bundles, proofs, receipts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod network;

use std::io::Read as _;

use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::hash::{Hash, leaf_hash};
use jurat_proto::key::{SignatureType, VerifierKey};
use jurat_proto::proof::{ConsistencyProof, InclusionProof, verify_consistency, verify_inclusion};
use jurat_proto::tile::EntryBundle;
use jurat_proto::tree::{CompactRange, LeafIndex, TreeHead};
use network::service::{Home, Service};
use network::{TestLog, eventually};

/// A service with 300 anchored checkpoints, all of them under a published checkpoint.
fn filled() -> (Home, Service, TestLog) {
    filled_in(Home::new())
}

fn filled_in(home: Home) -> (Home, Service, TestLog) {
    let mut log = TestLog::new("reading.example/log");
    home.add_log(&log);
    let service = home.serve();
    for size in 1..=300 {
        log.grow(size);
        assert_eq!(service.add(&log.request(size - 1, size)).status, 200);
    }
    eventually("all entries are published", || {
        service.published().filter(|head| head.size.get() >= 300)
    });
    (home, service, log)
}

fn entries(service: &Service) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    for (path, width) in [("000", 256), ("001.p/44", 44)] {
        let bundle = service.get(&format!("/tile/entries/{path}"));
        assert_eq!(bundle.status, 200, "{path}");
        let parsed = EntryBundle::parse(&bundle.body, width).unwrap();
        entries.extend(parsed.into_iter().map(<[u8]>::to_vec));
    }
    entries
}

// Spec: TIL-20, TIL-21, CKP-22, CKP-23, CKP-24
#[test]
fn the_checkpoint_is_a_note_with_both_keys_of_the_log_and_is_hardly_cached() {
    let (home, service, _log) = filled();
    let answer = service.get("/checkpoint");
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(answer.header("cache-control"), Some("public, max-age=1"));
    let signed = service.checkpoint().unwrap();
    assert!(signed.checkpoint().extensions.is_empty());
    let keys = home.log_keys();
    assert!(
        keys.iter()
            .all(|key| key.name().as_str() == signed.origin().as_str())
    );
    let types: Vec<_> = keys.iter().map(VerifierKey::signature_type).collect();
    assert_eq!(types, [SignatureType::Ed25519, SignatureType::MlDsa44]);
    assert_eq!(signed.verify_signatures(&keys).unwrap().len(), 2);
    let etag = format!("If-None-Match: {}", answer.header("etag").unwrap());
    let again = service.call("GET", "/checkpoint", &[&etag], b"");
    assert!(
        again.status == 304 || again.body != answer.body,
        "{}",
        again.status
    );
}

// Spec: TIL-22, TIL-23, TIL-24, TIL-25, TIL-27
#[test]
fn tiles_and_bundles_give_the_tree_of_the_checkpoint() {
    let (_home, service, _log) = filled();
    let mut tree = CompactRange::new();
    for entry in entries(&service) {
        tree.append(leaf_hash(&entry)).unwrap();
    }
    assert_eq!(tree.head(), service.published().unwrap());
    let full = service.get("/tile/0/000");
    assert_eq!(full.body.len(), 8192);
    assert_eq!(
        full.header("content-type"),
        Some("application/octet-stream")
    );
    let immutable = Some("public, max-age=31536000, immutable");
    assert_eq!(full.header("cache-control"), immutable);
    // A partial tile stays after the full one exists, and is its beginning.
    let partial = service.get("/tile/0/000.p/7");
    assert_eq!(partial.body, full.body[..7 * 32]);
    let upper = service.get("/tile/1/000.p/1");
    assert_eq!(upper.body.len(), 32);
    let mut lower = CompactRange::new();
    for hash in full.body.chunks(32) {
        lower.append(Hash::from_slice(hash).unwrap()).unwrap();
    }
    assert_eq!(upper.body, lower.root().as_bytes());
}

// Spec: TIL-24
#[test]
fn bundles_are_compressed_for_those_who_accept_it() {
    let (_home, service, _log) = filled();
    let path = "/tile/entries/000";
    let plain = service.call("GET", path, &["Accept-Encoding: gzip;q=0, identity"], b"");
    assert_eq!(plain.header("content-encoding"), None);
    let zipped = service.call("GET", path, &["Accept-Encoding: br, gzip"], b"");
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));
    assert_eq!(zipped.header("vary"), Some("accept-encoding"));
    let mut unzipped = Vec::new();
    flate2::read::GzDecoder::new(&zipped.body[..])
        .read_to_end(&mut unzipped)
        .unwrap();
    assert_eq!(unzipped, plain.body);
    let tile = service.call("GET", "/tile/0/000", &["Accept-Encoding: gzip"], b"");
    assert_eq!(
        tile.header("content-encoding"),
        None,
        "hashes do not compress"
    );
}

// Spec: TIL-22, TIL-23, TIL-26
#[test]
fn what_the_published_tree_does_not_have_is_not_found_and_not_cached() {
    let (_home, service, _log) = filled();
    for path in [
        "/tile/0/001",
        "/tile/0/001.p/45",
        "/tile/0/002.p/1",
        "/tile/1/000.p/2",
        "/tile/2/000.p/1",
        "/tile/entries/001",
        "/tile/0/000.p/0",
        "/tile/0/000.p/256",
        "/tile/0/000.p/07",
        "/tile/00/000",
        "/tile/64/000",
        "/tile/0/0",
        "/tile/0/x000/000",
        "/tile/0/x001",
        "/tile/0/000/",
        "/tile/0/../0/000",
        "/tile/0/%30%30%30",
        "/tile/entries/x9/000",
    ] {
        let answer = service.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
}

#[test]
fn proofs_verify_in_text_and_in_json() {
    let (_home, service, _log) = filled();
    let head = service.published().unwrap();
    let entries = entries(&service);
    for index in [0, 1, 255, 256, 299_usize] {
        let leaf = leaf_hash(&entries[index]);
        let by_index = service.get(&format!("/proof/inclusion?index={index}"));
        let proof = InclusionProof::parse_lines(by_index.text()).unwrap();
        let place = LeafIndex::new(u64::try_from(index).unwrap()).unwrap();
        verify_inclusion(place, &leaf, &proof, &head).unwrap();
        let named = format!("/proof/inclusion?index={index}&size=300");
        assert_eq!(by_index.header("content-location"), Some(named.as_str()));
        let escaped = leaf.to_base64().replace('+', "%2B").replace('/', "%2f");
        let by_leaf = service.get(&format!("/proof/inclusion?leaf={escaped}"));
        assert_eq!(by_leaf.body, by_index.body);
        assert_eq!(by_leaf.header("content-location"), Some(named.as_str()));
    }
    let mut smaller = CompactRange::new();
    for entry in &entries[..100] {
        smaller.append(leaf_hash(entry)).unwrap();
    }
    let path = "/proof/consistency?from=100&to=300";
    let text = service.get(path);
    let proof = ConsistencyProof::parse_lines(text.text()).unwrap();
    verify_consistency(&smaller.head(), &head, &proof).unwrap();
    let json = service
        .call("GET", path, &["Accept: application/json"], b"")
        .json();
    assert_eq!(
        (json["from"].as_u64(), json["to"].as_u64()),
        (Some(100), Some(300))
    );
    let hashes = json["proof"].as_array().unwrap().iter();
    let lines: Vec<&str> = hashes.map(|hash| hash.as_str().unwrap()).collect();
    assert_eq!(lines, text.text().lines().collect::<Vec<_>>());
    assert_eq!(service.get("/proof/consistency?from=0&to=300").body, b"");
    assert_eq!(service.get("/proof/consistency?from=300&to=300").body, b"");
}

#[test]
fn a_bad_query_for_a_proof_is_told_what_is_wrong() {
    let (_home, service, _log) = filled();
    for (query, status) in [
        ("inclusion", 400),
        ("inclusion?index=0&leaf=AAAA", 400),
        ("inclusion?index=01", 400),
        ("inclusion?index=-1", 400),
        ("inclusion?index=1&index=2", 400),
        ("inclusion?index=9223372036854775808", 400),
        ("inclusion?index=300", 404),
        ("inclusion?index=100&size=100", 404),
        ("inclusion?index=0&size=301", 404),
        ("inclusion?leaf=not-base64", 400),
        (
            "inclusion?leaf=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            404,
        ),
        ("consistency?from=1", 400),
        ("consistency?to=1", 400),
        ("consistency?from=2&to=1", 400),
        ("consistency?from=1&to=301", 404),
        ("consistency?from=a&to=b", 400),
    ] {
        let answer = service.get(&format!("/proof/{query}"));
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
        assert!(
            answer.text().ends_with('\n') && answer.text().len() > 10,
            "{query}"
        );
    }
    for (path, status) in [("01", 400), ("x", 400), ("300", 404), ("0?wait=x", 400)] {
        assert_eq!(
            service.get(&format!("/receipt/{path}")).status,
            status,
            "{path}"
        );
    }
}

#[test]
fn every_path_of_the_interface_document_is_routed_and_no_other() {
    let (_home, service, log) = filled_in(Home::with_timestamps());
    let document = service.get("/openapi.json").json();
    let hash = log.checkpoint(1).origin().hash_hex();
    for (path, item) in document["paths"].as_object().unwrap() {
        let path = path
            .replace("{index}", "0")
            .replace("{path}", "0/000")
            .replace("{origin_hash}", &hash)
            .replace("{id}", &"0".repeat(64));
        let query = match path.as_str() {
            "/proof/inclusion" => "?index=0",
            "/proof/consistency" => "?from=1&to=2",
            _ => "",
        };
        let reads = item.get("get").is_some();
        let (method, other) = if reads {
            ("GET", "POST")
        } else {
            ("POST", "GET")
        };
        let status = service
            .call(method, &format!("{path}{query}"), &[], b"")
            .status;
        let due = match (reads, path.starts_with("/evidence/")) {
            (true, false) => 200,
            // No log has been convicted here.
            (true, true) => 404,
            (false, _) => 400,
        };
        assert_eq!(status, due, "{method} {path}");
        if path == "/" {
            // It is for people, and for time-stamp clients that know no path.
            assert_eq!(service.call("POST", "/", &[], b"").status, 400);
        }
        let both = path == "/" || item.as_object().unwrap().len() == 2;
        let other = if both { "PUT" } else { other };
        let refused = service.call(other, &path, &[], b"");
        assert_eq!(refused.status, 405, "{other} {path}");
        assert!(refused.header("allow").unwrap().contains(method));
    }
    assert_eq!(service.get("/timestamps").status, 404);
    let (head, body) = (
        service.call("HEAD", "/checkpoint", &[], b""),
        service.get("/"),
    );
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(
        body.text().contains("reading.example/log"),
        "the page names the log"
    );
}

// Spec: SVC-16
#[test]
fn logs_and_their_history_lead_to_receipts() {
    let (home, service, log) = filled();
    let row = service.get("/logs").json()["logs"][0].clone();
    assert_eq!(row["origin"], "reading.example/log");
    assert_eq!(row["latest"]["size"], 300);
    let hash = row["origin_hash"].as_str().unwrap();
    let history = service
        .get(&format!("/logs/{hash}/history?before=2"))
        .json();
    let sizes: Vec<_> = history["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["size"].as_u64())
        .collect();
    assert_eq!(sizes, [Some(2), Some(1)]);
    let receipt = service.get(history["history"][0]["receipt"].as_str().unwrap());
    assert_eq!(receipt.status, 200);
    let latest = service.get(&format!("/logs/{hash}/checkpoint"));
    let served = SignedCheckpoint::parse(&latest.body).unwrap();
    let keys = [vec![log.vkey().clone()], home.cosigner_keys()].concat();
    assert_eq!(served.signatures().len(), 3, "its own line, and our two");
    assert_eq!(served.verify_signatures(&keys).unwrap().len(), 3);
    assert!(
        latest
            .text()
            .starts_with(&log.checkpoint(300).checkpoint().to_text())
    );
    assert_eq!(service.get("/logs?after=00").status, 404);
    assert_eq!(
        service.get(&format!("/logs?after={hash}")).json()["logs"],
        serde_json::json!([])
    );
    assert_eq!(service.get("/logs/00/history").status, 404);
}

// Spec: CKP-21, SVC-04, SVC-07
#[test]
fn heads_before_and_after_a_restart_are_consistent_and_times_go_on() {
    let (home, service, mut log) = filled();
    let before: TreeHead = service.published().unwrap();
    drop(service);
    let service = home.serve();
    assert!(
        service.published().unwrap().size >= before.size,
        "served at once after a restart"
    );
    log.grow(301);
    assert_eq!(service.add(&log.request(300, 301)).status, 200);
    let after = eventually("the new entry is published", || {
        service.published().filter(|head| head.size.get() == 301)
    });
    let lines = service.get("/proof/consistency?from=300&to=301");
    let proof = ConsistencyProof::parse_lines(lines.text()).unwrap();
    verify_consistency(&before, &after, &proof).unwrap();
}
