//! What peers send each other, and what a witness stores of it.

use std::collections::BTreeMap;

use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::evidence::Kind;
use jurat_proto::export;
use jurat_proto::gossip::node::{LogRecord, Moment, OpenRecord, Phase};
use jurat_proto::gossip::{
    Call, Catalogue, CatalogueEntry, Claim, Feed, Fetch, Flags, LastClaim, Notes, Opening,
    OriginId, Page, Random, Row, SignedClaim, SignedStatement, Statement, Suspicion, Tag, Wanted,
};
use jurat_proto::hash::{Hash, leaf_hash, sha256};
use jurat_proto::key::{KeyName, UnixSeconds};
use jurat_proto::note::{KeyId, SignatureLine};
use jurat_proto::proof::verify_consistency;
use jurat_proto::tree::{NodeCoord, TreeHead};

use crate::world::{Add, WORLD};
use crate::{canonical, canonical_text};

pub(crate) fn feed(data: &[u8]) {
    let Some(feed) = canonical(data, Feed::parse, Feed::to_bytes) else {
        return;
    };
    let stated = feed.page().rows;
    assert_eq!(Page::rows_head(feed.rows()), Ok(stated), "other rows");
}

pub(crate) fn fetch(data: &[u8]) {
    canonical(data, Fetch::parse, Fetch::to_bytes);
    canonical(data, Notes::parse, Notes::to_bytes);
}

pub(crate) fn opening(data: &[u8]) {
    let Some(opening) = canonical(data, Opening::parse, Opening::to_bytes) else {
        return;
    };
    let (old, new) = (opening.old(), opening.note().head());
    let verified = verify_consistency(&old, &new, opening.proof());
    assert_eq!(verified, Ok(()), "an opening that is not true");
}

pub(crate) fn catalogue(data: &[u8]) {
    canonical(data, Catalogue::parse, Catalogue::to_bytes);
}

pub(crate) fn suspicion(data: &[u8]) {
    canonical_text(data, Suspicion::parse_text, Suspicion::to_text);
}

pub(crate) fn claim(data: &[u8]) {
    canonical_text(data, Claim::parse_text, Claim::to_text);
    let Some(signed) = canonical_text(data, SignedClaim::parse_header, SignedClaim::to_header)
    else {
        return;
    };
    let claim = signed.claim();
    assert_eq!(Claim::parse_text(&claim.to_text()).as_ref(), Ok(claim));
    let mut last = LastClaim::default();
    assert_eq!(last.take(claim), Ok(()), "the first one counts");
    assert!(last.take(claim).is_err(), "it counts twice");
}

pub(crate) fn record(data: &[u8]) {
    let Some(record) = canonical(data, LogRecord::parse, LogRecord::to_bytes) else {
        return;
    };
    assert!(!record.is_empty(), "a record of nothing");
}

pub(crate) fn export(data: &[u8]) {
    canonical(data, export::parse, |(header, parts)| {
        export::to_bytes(header, parts).expect("they were accepted in this order")
    });
}

fn note(size: u64) -> SignedCheckpoint {
    WORLD.signed(size, false)
}

pub(crate) fn seeds(add: Add<'_>) {
    let origin = WORLD.origin();
    let time = UnixSeconds::new(1_790_000_000).expect("a time");
    let salt = Random([3; 16]);
    let row = |head: TreeHead, flags| Row {
        origin: OriginId::of(&origin),
        size: head.size,
        tag: Tag::of(&salt, &origin, &head),
        time,
        flags,
    };
    let newest = Flags {
        newest_cosigned: true,
        unresolved: false,
    };
    let rows = vec![
        row(WORLD.head(13), newest),
        row(WORLD.head(7), Flags::default()),
    ];
    let name = KeyName::parse("w1.example").expect("a name");
    let page = Statement::Page(Page {
        name: name.clone(),
        epoch: Random([1; 16]),
        seq: 7,
        since: 3,
        next: 7,
        time,
        salt,
        rows: Page::rows_head(&rows).expect("two rows"),
    });
    let line = SignatureLine::new(name.clone(), KeyId::new([1; 4]), vec![1]).expect("a line");
    let said = SignedStatement::new(page, vec![line]).expect("a small note");
    let wanted = rows.iter().map(Wanted::of).collect();
    add(
        "feed",
        "two",
        Feed::new(rows, said).expect("its rows").to_bytes(),
    );
    add(
        "fetch",
        "two",
        Fetch::new(salt, wanted).expect("two rows").to_bytes(),
    );
    add("fetch", "notes", Notes::new([note(5), note(13)]).to_bytes());
    let nodes: &BTreeMap<NodeCoord, Hash> = &WORLD.nodes;
    let opened = Opening::read(WORLD.head(7).size, note(13), nodes).expect("all nodes are there");
    add("opening", "smaller", opened.to_bytes());
    let itself = Opening::of_itself(note(13)).expect("it has leaves");
    add("opening", "itself", itself.to_bytes());
    let entry = |number, kind, origin| CatalogueEntry {
        number,
        id: leaf_hash(b"id"),
        kind,
        origin,
        file: leaf_hash(b"file"),
        time,
    };
    let list = Catalogue::new(
        0,
        vec![
            entry(1, Kind::Opening, Some(origin.hash())),
            entry(4, Kind::GossipEquivocation, None),
        ],
    );
    add("catalogue", "two", list.expect("they grow").to_bytes());
    let suspicion = Suspicion {
        name,
        time,
        origin,
        held: WORLD.head(13),
        suspect: WORLD.head(7),
        seen: time,
        tried: [3, 4],
    };
    add("suspicion", "one", suspicion.to_text().into_bytes());
    let claim = Claim {
        name: KeyName::parse("w1.example").expect("a name"),
        to: KeyName::parse("w2.example").expect("a name"),
        call: Call::new("POST", "/gossip/v0/fetch").expect("a call"),
        body: sha256(b"body"),
        time,
        number: 7,
    };
    add("claim", "text", claim.to_text().into_bytes());
    let line = SignatureLine::new(claim.name.clone(), KeyId::new([1; 4]), vec![1; 64]);
    let signed = SignedClaim::new(claim, line.expect("a line")).expect("it is short");
    add("claim", "signed", signed.to_header().into_bytes());
    let record = LogRecord {
        top: Some((note(13).into(), Moment(5))),
        open: vec![OpenRecord {
            note: note(7).into(),
            phase: Phase::Suspect,
            seen: Moment(6),
            since: Moment(7),
            tried: [1, 2],
        }],
    };
    add("gossip_record", "two", record.to_bytes());
    let name = KeyName::parse("w1.example").expect("a name");
    let header = export::Header { name, time };
    let parts = [export::Part::Head(note(13))];
    let bytes = export::to_bytes(&header, &parts).expect("they are in order");
    add("export", "one", bytes);
}
