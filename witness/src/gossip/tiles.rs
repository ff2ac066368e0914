//! Opening a signed tree at a smaller size, from the tiles that its log serves.
//!
//! A log that has a `url` in the list of logs serves tiles beside its checkpoint
//! (c2sp.org/tlog-tiles). They are not signed and need not be: what they make leads to the root of
//! the signed tree, or to nothing.

use std::collections::{BTreeMap, BTreeSet};

use jurat_daemon::client::{Client, ClientRequest};
use jurat_proto::checkpoint::SignedCheckpoint;
use jurat_proto::gossip::Opening;
use jurat_proto::proof::ProofPlan;
use jurat_proto::tile::{TileCoord, TileNodes};
use jurat_proto::tree::{CompactRange, TreeSize};

/// Where a log's tiles are, by the URL of its checkpoint.
pub(super) fn prefix(checkpoint: &str) -> Option<&str> {
    checkpoint.strip_suffix("/checkpoint")
}

/// Reads what opens a tree; nothing when it cannot be had, or is not the tree's.
// Spec: GSP-80
pub(super) async fn open(
    client: &Client,
    prefix: &str,
    old: TreeSize,
    note: &SignedCheckpoint,
) -> Option<Opening> {
    let to = note.head().size;
    let plan = ProofPlan::consistency(old, to).ok()?;
    let mut coords = plan.coords().to_vec();
    coords.extend(CompactRange::node_coords(old));
    let of = |node| TileCoord::of_node(node, to);
    let wanted: BTreeSet<TileCoord> = coords.into_iter().filter_map(of).collect();
    if wanted.len() > TILES_MAX {
        return None;
    }
    let mut tiles = BTreeMap::new();
    for coord in wanted {
        let url = format!("{prefix}/{}", coord.path());
        let request = ClientRequest::get(url).response_bytes_max(TILE_BYTES_MAX);
        let answer = client.send(request).await.ok()?;
        if answer.status != 200 {
            return None;
        }
        tiles.insert(coord, answer.body.to_vec());
    }
    Opening::read(old, note.clone(), &TileNodes::new(&tiles, to)).ok()
}

/// A tree of 2^63 leaves has eight levels of tiles, and an opening needs some of each.
const TILES_MAX: usize = 64;
/// 256 hashes.
const TILE_BYTES_MAX: usize = 8_192;
