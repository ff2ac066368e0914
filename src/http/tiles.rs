//! The tlog-tiles read API.
//!
//! Only what the published checkpoint covers is served: a tile beyond it could show entries that
//! no witness has seen. Within it, every partial tile of a width that the tree has had is served,
//! also after the full tile exists: tiles are assembled from rows, so none is stored twice.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use jurat_daemon::http::{self, Cache, Request, Response};
use jurat_proto::tile::{BundleCoord, TileCoord};
use jurat_proto::tree::TreeSize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
pub(super) async fn tile(app: &App, request: &Request, path: &str) -> Response {
    let size = match app.published() {
        Ok(published) => published.size(),
        Err(refused) => return *refused,
    };
    let path = path.trim_start_matches('/');
    if path.starts_with("tile/entries/") {
        return match BundleCoord::parse_path(path) {
            Ok(bundle) if bundle.is_covered_by(size) => self::bundle(app, request, bundle).await,
            Ok(_) => absent(size),
            Err(why) => error(404, &why.to_string()),
        };
    }
    match TileCoord::parse_path(path) {
        Ok(tile) if tile.is_covered_by(size) => match app.store.tile(tile) {
            Ok(Some(body)) => immutable(bytes(OCTETS, body)),
            Ok(None) => absent(size),
            Err(why) => unreadable(path, &why),
        },
        Ok(_) => absent(size),
        Err(why) => error(404, &why.to_string()),
    }
}

/// A bundle is up to 16 MiB of rows, and compressing it takes a tenth of a second and more: it is
/// made on a thread for work that blocks, few at a time, and takes its place in memory from a
/// budget until its last byte has been sent, or a few slow readers would take all there is.
async fn bundle(app: &App, request: &Request, bundle: BundleCoord) -> Response {
    let zip = wants_gzip(request.headers());
    let store = Arc::clone(&app.store);
    let Ok(turn) = Arc::clone(&app.bundles.making).acquire_owned().await else {
        return http::too_busy("the service is stopping\n", 1);
    };
    let made = tokio::task::spawn_blocking(move || {
        let made = store.bundle(bundle).map(|found| {
            found.map(|plain| match zip.then(|| gzip(&plain)) {
                Some(Ok(zipped)) => (zipped, true),
                _ => (plain, false),
            })
        });
        drop(turn);
        made
    });
    match made.await {
        Ok(Ok(Some((body, zipped)))) => match app.bundles.keep(body) {
            Some(body) => immutable(http::gzipped(bytes(OCTETS, body), zipped)),
            None => http::too_busy("too many entry bundles are on their way\n", 1),
        },
        Ok(Ok(None)) => error(404, "not part of the tree"),
        Ok(Err(why)) => unreadable(&bundle.path(), &why),
        Err(why) => unreadable(&bundle.path(), &why),
    }
}

/// Bounds on entry bundles that are being made and sent.
pub struct Bundles {
    making: Arc<Semaphore>,
    memory: Arc<Semaphore>,
}

/// Bundles made at a time.
const MAKING_MAX: usize = 4;

/// Bundles in memory, in KiB: 512 MiB, which is 32 of the largest or 6,500 of usual size.
const MEMORY_KIB_MAX: usize = 512 << 10;

impl Default for Bundles {
    fn default() -> Self {
        Self::new(MEMORY_KIB_MAX)
    }
}

impl Bundles {
    fn new(memory_kib: usize) -> Self {
        Self {
            making: Arc::new(Semaphore::new(MAKING_MAX)),
            memory: Arc::new(Semaphore::new(memory_kib)),
        }
    }

    /// The bytes, which give their place back when they are dropped; `None` when there is none.
    fn keep(&self, body: Vec<u8>) -> Option<Bytes> {
        let kib = u32::try_from(body.len().div_ceil(1 << 10)).ok()?;
        let place = Arc::clone(&self.memory).try_acquire_many_owned(kib).ok()?;
        Some(Bytes::from_owner(Kept {
            body,
            _place: place,
        }))
    }
}

struct Kept {
    body: Vec<u8>,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

const OCTETS: &str = "application/octet-stream";

fn absent(size: TreeSize) -> Response {
    let text = format!("not part of the published tree of {} leaves", size.get());
    error(404, &text)
}

fn unreadable(path: &str, why: &dyn std::fmt::Display) -> Response {
    tracing::error!(http.path = path, "a tile could not be read: {why}");
    error(500, "the store cannot be read")
}

// Spec: TIL-23, TIL-24
/// A tile or bundle of given coordinates never changes.
fn immutable(response: Response) -> Response {
    http::with_cache(response, Cache::Immutable)
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_on_their_way_take_memory_from_a_budget_until_they_are_sent() {
        let bundles = Bundles::new(3);
        let first = bundles.keep(vec![1; 2_000]).unwrap();
        assert!(bundles.keep(vec![2; 1_025]).is_none());
        let second = bundles.keep(vec![2; 1_024]).unwrap();
        assert_eq!((first.len(), second.len()), (2_000, 1_024));
        drop(first.clone());
        assert!(bundles.keep(vec![3]).is_none());
        drop(first);
        assert!(bundles.keep(vec![3; 2_048]).is_some());
    }
}
