//! `GET /proof/inclusion` and `GET /proof/consistency`: one base64 hash a line, as in C2SP texts,
//! or JSON.

use jurat_daemon::http::{self, Cache, Request, Response, StatusCode, header};
use jurat_proto::decimal::parse_decimal;
use jurat_proto::hash::Hash;
use jurat_proto::tree::{LeafIndex, TreeSize};
use serde_json::json;

use super::respond::{error, text, wants_json, with_header};
use super::{App, Refused, query};
use crate::log::tree::{Tree, TreeError};

/// `?index=N` or `?leaf=<base64 leaf hash>`, and `&size=N` (default: the published size).
/// `Content-Location` names the same proof with index and size, whatever was asked.
pub(super) fn inclusion(app: &App, request: &Request) -> Response {
    match try_inclusion(app, request) {
        Ok(response) => response,
        Err(refused) => *refused,
    }
}

/// `?from=N&to=N`; both within the published tree.
pub(super) fn consistency(app: &App, request: &Request) -> Response {
    match try_consistency(app, request) {
        Ok(response) => response,
        Err(refused) => *refused,
    }
}

fn try_inclusion(app: &App, request: &Request) -> Result<Response, Refused> {
    let published = app.published()?.size();
    let (size, cache) = match number(request, "size")? {
        Some(size) => (within(size, published, "size")?, FIXED),
        None => (published, MOVING),
    };
    let index = match (number(request, "index")?, leaf(request)?) {
        (Some(index), None) => LeafIndex::new(index).ok_or_else(|| bad("index is too large"))?,
        (None, Some(leaf)) => find(app, &leaf)?,
        _ => return Err(bad("give either index or leaf")),
    };
    if index.get() >= size.get() {
        let why = format!(
            "entry {} is not in the tree of {} leaves",
            index.get(),
            size.get()
        );
        return Err(error(404, &why).into());
    }
    let tree = Tree::of(app.store.as_ref());
    let proof = tree.inclusion(index, size).map_err(|why| failed(&why))?;
    let place = format!("/proof/inclusion?index={}&size={}", index.get(), size.get());
    let facts = [("index", index.get()), ("size", size.get())];
    Ok(answer(request, &place, &facts, proof.hashes(), cache))
}

fn try_consistency(app: &App, request: &Request) -> Result<Response, Refused> {
    let published = app.published()?.size();
    let from = number(request, "from")?.ok_or_else(|| bad("from is missing"))?;
    let to = number(request, "to")?.ok_or_else(|| bad("to is missing"))?;
    if from > to {
        return Err(bad("from must not be above to"));
    }
    let to = within(to, published, "to")?;
    let from = within(from, published, "from")?;
    let tree = Tree::of(app.store.as_ref());
    let proof = tree.consistency(from, to).map_err(|why| failed(&why))?;
    let place = format!("/proof/consistency?from={}&to={}", from.get(), to.get());
    Ok(answer(
        request,
        &place,
        &[("from", from.get()), ("to", to.get())],
        proof.hashes(),
        FIXED,
    ))
}

/// A proof between fixed sizes never changes.
const FIXED: Cache = Cache::Seconds(60);

/// One to the published size changes with it.
const MOVING: Cache = Cache::Seconds(1);

fn answer(
    request: &Request,
    place: &str,
    facts: &[(&str, u64)],
    hashes: &[Hash],
    cache: Cache,
) -> Response {
    let response = if wants_json(request.headers()) {
        let mut document = serde_json::Map::new();
        for (name, value) in facts {
            document.insert((*name).to_owned(), json!(value));
        }
        let proof: Vec<String> = hashes.iter().map(Hash::to_base64).collect();
        document.insert("proof".to_owned(), json!(proof));
        http::json(StatusCode::OK, &serde_json::Value::Object(document))
    } else {
        let lines: String = hashes.iter().map(|hash| hash.to_base64() + "\n").collect();
        text(200, lines)
    };
    let response = with_header(response, header::CONTENT_LOCATION, place);
    let response = with_header(response, header::VARY, "accept");
    http::with_cache(response, cache)
}

fn find(app: &App, leaf: &Hash) -> Result<LeafIndex, Refused> {
    match app.store.find_leaves(std::slice::from_ref(leaf)) {
        Ok(found) => found
            .into_iter()
            .flatten()
            .next()
            .ok_or_else(|| error(404, "no entry has this leaf hash").into()),
        Err(why) => {
            tracing::error!("a leaf hash could not be looked up: {why}");
            Err(error(500, "the store cannot be read").into())
        }
    }
}

fn leaf(request: &Request) -> Result<Option<Hash>, Refused> {
    let Some(text) = query(request, "leaf").map_err(|message| bad(&message))? else {
        return Ok(None);
    };
    Hash::from_base64(&text)
        .map(Some)
        .map_err(|why| bad(&format!("leaf must be a base64 SHA-256 leaf hash: {why}")))
}

fn number(request: &Request, name: &str) -> Result<Option<u64>, Refused> {
    let Some(text) = query(request, name).map_err(|message| bad(&message))? else {
        return Ok(None);
    };
    parse_decimal(&text)
        .map(Some)
        .map_err(|why| bad(&format!("{name}: {why}")))
}

fn within(size: u64, published: TreeSize, name: &str) -> Result<TreeSize, Refused> {
    TreeSize::new(size)
        .filter(|size| *size <= published)
        .ok_or_else(|| {
            let why = format!(
                "{name} is {size}, above the published size {}",
                published.get()
            );
            error(404, &why).into()
        })
}

fn bad(message: &str) -> Refused {
    Refused::from(error(400, message))
}

fn failed(why: &TreeError) -> Refused {
    tracing::error!("a proof could not be made: {why}");
    Refused::from(error(500, "the store cannot be read"))
}
