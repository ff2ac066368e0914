//! Opening a signed tree at a smaller size, from tiles that others serve.
//!
//! ```text
//! the log, at its URL ─► two mirrors, in turn        each: <prefix>/tile/<L>/<N>[.p/<W>]
//!      the tile as wide as it was ─► the full one ─► as wide as it is there now
//! ```
//!
//! A log that has a `url` in the list of logs serves tiles beside its checkpoint
//! (c2sp.org/tlog-tiles), and a mirror those of many logs (c2sp.org/tlog-mirror). They are not
//! signed and need not be: what they make leads to the root of the signed tree, or to nothing. So
//! it does not matter who serves them, and a mirror is trusted no more than anybody.
//!
//! A witness has no tiles of its own to begin with: it stores heads, and proofs that it was shown.
//!
//! Rows: `spec/gossip.md` GSP-80, GSP-144, GSP-145.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jurat_daemon::client::{Client, ClientRequest};
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::gossip::Opening;
use jurat_proto::key::VerifierKey;
use jurat_proto::note::NOTE_BYTES_MAX;
use jurat_proto::proof::ProofPlan;
use jurat_proto::tile::{TileCoord, TileNodes};
use jurat_proto::tree::{CompactRange, TreeSize};

/// Where a log's tiles are, by the URL of its checkpoint.
pub(super) fn prefix(checkpoint: &str) -> Option<&str> {
    checkpoint.strip_suffix("/checkpoint")
}

/// Reads what opens a tree from the first place that has it; nothing when none has. Each place has
/// its share of the time: one that is slow takes nobody else's.
// Spec: GSP-80, GSP-144
pub(super) async fn open(
    client: &Client,
    places: &[String],
    (old, note): (TreeSize, &SignedCheckpoint),
    keys: &[VerifierKey],
    time: Duration,
) -> Option<Opening> {
    let share = time
        / u32::try_from(places.len())
            .ok()
            .filter(|count| *count > 0)?;
    for prefix in places {
        let place = Place {
            client,
            prefix,
            keys,
        };
        let read = tokio::time::timeout(share, place.open(old, note));
        if let Ok(Some(opening)) = read.await {
            return Some(opening);
        }
    }
    None
}

/// Where the tiles of one log are.
struct Place<'p> {
    client: &'p Client,
    prefix: &'p str,
    /// The log's keys.
    keys: &'p [VerifierKey],
}

impl Place<'_> {
    async fn open(&self, old: TreeSize, note: &SignedCheckpoint) -> Option<Opening> {
        let to = note.head().size;
        let plan = ProofPlan::consistency(old, to).ok()?;
        let mut coords = plan.coords().to_vec();
        coords.extend(CompactRange::node_coords(old));
        let of = |node| TileCoord::of_node(node, to);
        let wanted: BTreeSet<TileCoord> = coords.into_iter().filter_map(of).collect();
        if wanted.len() > TILES_MAX {
            return None;
        }
        let (mut tiles, mut size) = (BTreeMap::new(), None);
        for coord in wanted {
            let bytes = match self.get(&coord.path(), TILE_BYTES_MAX).await.ok()? {
                Some(bytes) => bytes,
                None => self.wider(coord, note, &mut size).await?,
            };
            tiles.insert(coord, bytes);
        }
        Opening::read(old, note.clone(), &TileNodes::new(&tiles, to)).ok()
    }

    /// The first hashes of a wider tile of the same place: a partial one may be gone once the full
    /// one is there, and a mirror never had one as wide as that unless it had a tree of that size.
    /// `size` is that of the tree that is there, once it was asked for.
    // Spec: GSP-145
    async fn wider(
        &self,
        coord: TileCoord,
        note: &SignedCheckpoint,
        size: &mut Option<TreeSize>,
    ) -> Option<Vec<u8>> {
        if coord.is_full() {
            return None;
        }
        let full = coord.to_full();
        let mut found = self.get(&full.path(), TILE_BYTES_MAX).await.ok()?;
        if found.is_none() {
            let size = match *size {
                Some(size) => size,
                None => *size.insert(self.size(note).await?),
            };
            let newest = TileCoord::of_size(coord.level(), coord.index(), size)?;
            if newest.width() <= coord.width() || newest.is_full() {
                return None;
            }
            found = self.get(&newest.path(), TILE_BYTES_MAX).await.ok()?;
        }
        let mut bytes = found?;
        (bytes.len() >= coord.byte_len()).then(|| bytes.truncate(coord.byte_len()))?;
        Some(bytes)
    }

    /// The size of the tree whose tiles are there. No partial tile is asked for that a checkpoint
    /// of the log's does not call for.
    async fn size(&self, note: &SignedCheckpoint) -> Option<TreeSize> {
        let bytes = self.get("checkpoint", NOTE_BYTES_MAX).await.ok()??;
        let newest = SignedCheckpoint::parse(&bytes).ok()?;
        let lines = newest.verify_signatures(self.keys).ok()?;
        (newest.origin() == note.origin() && !lines.is_empty()).then(|| newest.head().size)
    }

    /// A file, or nothing when there is none.
    ///
    /// # Errors
    /// Nobody answers there.
    async fn get(&self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, ()> {
        let url = format!("{}/{path}", self.prefix);
        let request = ClientRequest::get(url).response_bytes_max(bytes_max);
        let answer = self.client.send(request).await.map_err(drop)?;
        Ok((answer.status == 200).then(|| answer.body.to_vec()))
    }
}

/// A tree of 2^63 leaves has eight levels of tiles, and an opening needs some of each.
const TILES_MAX: usize = 64;
/// 256 hashes.
const TILE_BYTES_MAX: usize = 8_192;
