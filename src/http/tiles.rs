//! The tlog-tiles read API.
//!
//! Only what the published checkpoint covers is served: a tile beyond it could show entries that
//! no witness has seen. Within it, every partial tile of a width that the tree has had is served,
//! also after the full tile exists: tiles are assembled from rows, so none is stored twice.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use jurat_daemon::http::{self, Cache, Request, Response};
use jurat_proto::tile::{BundleCoord, TileCoord};

use super::App;
use super::respond::{bytes, error, wants_gzip, with_etag};

/// `GET /checkpoint`.
// Spec: TIL-20
/// `text/plain; charset=utf-8`, and not cached beyond a few seconds.
pub(super) fn checkpoint(app: &App, request: &Request) -> Response {
    match app.published() {
        Ok(published) => {
            let note = published.bytes();
            let response = bytes("text/plain; charset=utf-8", note.to_vec());
            with_etag(request, note, http::with_cache(response, Cache::Seconds(1)))
        }
        Err(refused) => *refused,
    }
}

// Spec: TIL-22, TIL-25, TIL-26, TIL-27
/// `GET /tile/<L>/<N>[.p/<W>]` and `GET /tile/entries/<N>[.p/<W>]`.
pub(super) fn tile(app: &App, request: &Request, path: &str) -> Response {
    let size = match app.published() {
        Ok(published) => published.size(),
        Err(refused) => return *refused,
    };
    let path = path.trim_start_matches('/');
    let found = if path.starts_with("tile/entries/") {
        match BundleCoord::parse_path(path) {
            Ok(bundle) if bundle.is_covered_by(size) => app
                .store
                .bundle(bundle)
                .map(|bytes| bytes.map(|bytes| (bytes, true))),
            Ok(_) => Ok(None),
            Err(why) => return error(404, &why.to_string()),
        }
    } else {
        match TileCoord::parse_path(path) {
            Ok(tile) if tile.is_covered_by(size) => app
                .store
                .tile(tile)
                .map(|bytes| bytes.map(|bytes| (bytes, false))),
            Ok(_) => Ok(None),
            Err(why) => return error(404, &why.to_string()),
        }
    };
    match found {
        Ok(Some((body, compress))) => immutable(request, body, compress),
        Ok(None) => {
            let text = format!("not part of the published tree of {} leaves", size.get());
            error(404, &text)
        }
        Err(why) => {
            tracing::error!(http.path = path, "a tile could not be read: {why}");
            error(500, "the store cannot be read")
        }
    }
}

// Spec: TIL-23, TIL-24
/// Immutable, `application/octet-stream`; bundles are compressed for those who accept it.
fn immutable(request: &Request, body: Vec<u8>, compress: bool) -> Response {
    let content_type = "application/octet-stream";
    let response = if compress {
        match wants_gzip(request.headers()).then(|| gzip(&body)) {
            Some(Ok(zipped)) => http::gzipped(bytes(content_type, zipped), true),
            _ => http::gzipped(bytes(content_type, body), false),
        }
    } else {
        bytes(content_type, body)
    };
    http::with_cache(response, Cache::Immutable)
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}
