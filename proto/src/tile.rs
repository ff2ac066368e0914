//! The tree as static files: tiles, entry bundles and their paths, as in C2SP tlog-tiles.
//!
//! ```text
//! tile/<L>/<N>[.p/<W>]         hashes of 32 bytes, one after the other
//! tile/entries/<N>[.p/<W>]     entries, each after its length in two bytes, highest first
//!
//! level 1                           [ h0 h1 ... ]                  hash k of level L + 1 =
//!                                    /    \                         root of the full tile k of L
//! level 0    [ 256 leaf hashes ] [ 256 leaf hashes ] [ W leaf hashes ]
//! entries    [ 256 entries     ] [ 256 entries     ] [ W entries     ]
//!                  000                 001                 002.p/<W>
//! ```
//!
//! A tile holds every eighth level of the tree; the levels between are computed from it. Full tiles
//! never change. The partial tile at the right end of a level belongs to one size and is another
//! file for each width.
//!
//! Out of scope: HTTP (content types, caching, which sizes are served) and storage.

mod bundle;
mod coord;
mod nodes;

pub use self::bundle::{BundleError, EntryBundle};
pub use self::coord::{BundleCoord, CoordError, PathError, TileCoord};
pub use self::nodes::{MissingTile, TileNodes, TileNodesError, TileReader};
use crate::decimal::DECIMAL_MAX;
use crate::tree::TreeSize;

/// How many hashes a full tile has, and how many entries a full bundle.
pub const TILE_WIDTH: u16 = 256;

/// The highest level that a path can name. No tree reaches above level 7.
pub const TILE_LEVEL_MAX: u8 = 63;

/// The highest index that a path can name here: tiles above it would lie beyond leaf 2^63 - 1.
// Spec: TIL-11
pub const TILE_INDEX_MAX: u64 = DECIMAL_MAX >> LEVELS_PER_TILE;

/// The longest entry in bytes: its length is written in 16 bits.
pub const ENTRY_BYTES_MAX: usize = 65_535;

/// How many levels of the tree one level of tiles stands for.
const LEVELS_PER_TILE: u32 = 8;

/// Every tile of a tree, level by level from the leaves, each from left to right; the last of a
/// level may be partial. Empty tiles are no tiles.
pub fn tiles_for(size: TreeSize) -> impl Iterator<Item = TileCoord> {
    // Spec: TIL-06, TIL-07
    (0..=TILE_LEVEL_MAX).flat_map(move |level| {
        let row = row_len(level, size);
        (0..row.div_ceil(u64::from(TILE_WIDTH)))
            .filter_map(move |index| TileCoord::of_size(level, index, size))
    })
}

/// Every entry bundle of a tree, from left to right; the last may be partial.
pub fn bundles_for(size: TreeSize) -> impl Iterator<Item = BundleCoord> {
    // Spec: TIL-06, TIL-07
    (0..size.get().div_ceil(u64::from(TILE_WIDTH)))
        .filter_map(move |index| BundleCoord::of_size(index, size))
}

/// How many hashes the partial tile at the right end of a level has; `None` when there is none.
pub fn partial_width(level: u8, size: TreeSize) -> Option<u16> {
    // Spec: TIL-06
    u16::try_from(row_len(level, size) % u64::from(TILE_WIDTH))
        .ok()
        .filter(|&width| width > 0)
}

/// How many hashes all the tiles of a level have together.
fn row_len(level: u8, size: TreeSize) -> u64 {
    size.get()
        .checked_shr(LEVELS_PER_TILE * u32::from(level))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decimal::DecimalError;
    use crate::hash::{empty_root, leaf_hash, node_hash};
    use crate::tree::{NodeCoord, NodeReader as _};
    use alloc::collections::BTreeMap;
    use alloc::string::String;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn size(leaves: u64) -> TreeSize {
        TreeSize::new(leaves).unwrap()
    }

    // Spec: TIL-01, TIL-03, TIL-04, TIL-08
    #[test]
    fn paths_are_those_of_the_specification() {
        for (level, index, width, path) in [
            (0, 0, 256, "tile/0/000"),
            (0, 999, 1, "tile/0/999.p/1"),
            (1, 1_000, 255, "tile/1/x001/000.p/255"),
            (0, 1_234_067, 256, "tile/0/x001/x234/067"),
            (
                63,
                TILE_INDEX_MAX,
                256,
                "tile/63/x036/x028/x797/x018/x963/967",
            ),
        ] {
            let tile = TileCoord::new(level, index, width).unwrap();
            assert_eq!(tile.path(), path);
            assert_eq!(TileCoord::parse_path(path), Ok(tile));
        }
        let bundle = BundleCoord::new(1_234_067, 8).unwrap();
        assert_eq!(bundle.path(), "tile/entries/x001/x234/067.p/8");
        assert_eq!(BundleCoord::parse_path(&bundle.path()), Ok(bundle));
    }

    // Spec: TIL-01, TIL-02, TIL-03, TIL-04
    #[test]
    fn other_paths_are_refused_with_the_reason() {
        for (path, reason) in [
            ("", PathError::Prefix),
            ("/tile/0/000", PathError::Prefix),
            ("tile/0", PathError::NoIndex),
            (
                "tile/entries/000",
                PathError::Level(DecimalError::NotDigit {
                    offset: 0,
                    byte: b'e',
                }),
            ),
            ("tile/00/000", PathError::Level(DecimalError::LeadingZero)),
            (
                "tile/-1/000",
                PathError::Level(DecimalError::NotDigit {
                    offset: 0,
                    byte: b'-',
                }),
            ),
            ("tile//000", PathError::Level(DecimalError::Empty)),
            ("tile/64/000", PathError::LevelAbove { found: 64 }),
            ("tile/300/000", PathError::LevelAbove { found: 300 }),
            ("tile/0/", PathError::IndexElement),
            ("tile/0/0", PathError::IndexElement),
            ("tile/0/0000", PathError::IndexElement),
            ("tile/0/x000", PathError::IndexElement),
            ("tile/0/001/000", PathError::IndexElement),
            ("tile/0/x01/000", PathError::IndexElement),
            ("tile/0/X001/000", PathError::IndexElement),
            ("tile/0/+01", PathError::IndexElement),
            ("tile/0/000/", PathError::IndexElement),
            ("tile/0//000", PathError::IndexElement),
            ("tile/0/000?", PathError::IndexElement),
            ("tile/0/\u{0661}0", PathError::IndexElement),
            ("tile/0/x000/001", PathError::IndexPadded),
            ("tile/0/x036/x028/x797/x018/x963/968", PathError::IndexAbove),
            (
                "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
                PathError::IndexAbove,
            ),
            ("tile/0/000.p/", PathError::Width(DecimalError::Empty)),
            ("tile/0/000.p/0", PathError::WidthOutside { found: 0 }),
            ("tile/0/000.p/256", PathError::WidthOutside { found: 256 }),
            (
                "tile/0/000.p/65537",
                PathError::WidthOutside { found: 65_537 },
            ),
            (
                "tile/0/000.p/01",
                PathError::Width(DecimalError::LeadingZero),
            ),
            (
                "tile/0/000.p/1/",
                PathError::Width(DecimalError::NotDigit {
                    offset: 1,
                    byte: b'/',
                }),
            ),
            ("tile/0/000.p", PathError::IndexElement),
        ] {
            assert_eq!(TileCoord::parse_path(path), Err(reason), "{path:?}");
        }
        assert_eq!(
            BundleCoord::parse_path("tile/0/000"),
            Err(PathError::Prefix)
        );
        assert_eq!(
            BundleCoord::parse_path("tile/entries"),
            Err(PathError::Prefix)
        );
    }

    // Spec: TIL-01, TIL-04, TIL-11
    #[test]
    fn numbers_out_of_bounds_name_no_tile() {
        assert_eq!(
            TileCoord::new(64, 0, 1),
            Err(CoordError::Level { found: 64 })
        );
        let above = TILE_INDEX_MAX + 1;
        assert_eq!(
            TileCoord::new(0, above, 1),
            Err(CoordError::Index { found: above })
        );
        assert_eq!(
            BundleCoord::new(above, 1),
            Err(CoordError::Index { found: above })
        );
        for found in [0, 257, u16::MAX] {
            assert_eq!(
                TileCoord::new(0, 0, found),
                Err(CoordError::Width { found })
            );
            assert_eq!(BundleCoord::new(0, found), Err(CoordError::Width { found }));
        }
    }

    // Spec: TIL-06, TIL-07
    #[test]
    fn a_tree_has_the_tiles_of_the_specifications_examples() {
        let count = |leaves, level: u8, width: u16| {
            tiles_for(size(leaves))
                .filter(|tile| tile.level() == level && tile.width() == width)
                .count()
        };
        assert_eq!(count(70_000, 0, 256), 273);
        assert_eq!(count(70_000, 0, 112), 1);
        assert_eq!(count(70_000, 1, 256), 1);
        assert_eq!(count(70_000, 1, 17), 1);
        assert_eq!(count(70_000, 2, 1), 1);
        assert_eq!(tiles_for(size(70_000)).count(), 277);
        assert_eq!(partial_width(0, size(70_000)), Some(112));
        assert_eq!(partial_width(3, size(70_000)), None);

        let of_256: Vec<String> = tiles_for(size(256)).map(|tile| tile.path()).collect();
        assert_eq!(of_256, ["tile/0/000", "tile/1/000.p/1"]);
        assert_eq!(partial_width(0, size(256)), None);
        assert_eq!(tiles_for(TreeSize::ZERO).count(), 0);
        assert_eq!(bundles_for(TreeSize::ZERO).count(), 0);
        assert_eq!(bundles_for(size(70_000)).count(), 274);
        assert_eq!(
            bundles_for(size(70_000))
                .last()
                .map(|bundle| bundle.width()),
            Some(112)
        );
        assert_eq!(TileCoord::of_size(0, 274, size(70_000)), None);
        assert_eq!(TileCoord::of_size(255, 0, TreeSize::MAX), None);
        let widest = TileCoord::of_size(7, 0, TreeSize::MAX).map(|tile| tile.width());
        assert_eq!(widest, Some(127));
    }

    #[test]
    fn a_tile_is_covered_by_the_sizes_that_have_all_its_hashes() {
        let tile = TileCoord::new(1, 0, 2).unwrap();
        assert!(!tile.is_covered_by(size(511)));
        assert!(tile.is_covered_by(size(512)));
        assert!(tile.is_covered_by(TreeSize::MAX));
        assert!(
            !TileCoord::new(63, 0, 1)
                .unwrap()
                .is_covered_by(TreeSize::MAX)
        );
        let last = TileCoord::new(0, TILE_INDEX_MAX, 256).unwrap();
        assert!(!last.is_covered_by(TreeSize::MAX));
        let bundle = BundleCoord::new(TILE_INDEX_MAX, 255).unwrap();
        assert!(bundle.is_covered_by(TreeSize::MAX));
        assert_eq!(bundle.first() + 255, TreeSize::MAX.get());
        assert!(!bundle.to_full().is_covered_by(TreeSize::MAX));
    }

    // Spec: TIL-05
    #[test]
    fn a_full_tile_has_8192_bytes() {
        let tile = TileCoord::new(0, 7, 3).unwrap();
        assert_eq!(tile.byte_len(), 96);
        assert!(!tile.is_full());
        assert!(tile.to_full().is_full());
        assert_eq!(tile.to_full().byte_len(), 8_192);
    }

    // Spec: TIL-05, TIL-09
    #[test]
    fn tiles_of_another_length_and_nodes_outside_are_refused() {
        let tile = TileCoord::new(0, 0, 3).unwrap();
        let node = |level, index| NodeCoord { level, index };
        for found in [0, 95, 97, 8_192] {
            let tiles = BTreeMap::from([(tile, vec![0; found])]);
            assert_eq!(
                TileNodes::new(&tiles, size(3)).nodes(&[node(0, 1)]),
                Err(TileNodesError::TileLength { coord: tile, found })
            );
        }
        let tiles = BTreeMap::from([(tile, vec![0; 96])]);
        for node in [
            node(0, 3),
            node(1, 1),
            node(8, 0),
            node(63, 0),
            node(255, u64::MAX),
        ] {
            assert_eq!(
                TileNodes::new(&tiles, size(3)).nodes(&[node]),
                Err(TileNodesError::OutsideTree {
                    node,
                    size: size(3)
                })
            );
        }
        let coord = TileCoord::new(0, 0, 4).unwrap();
        assert_eq!(
            TileNodes::new(&tiles, size(4)).nodes(&[node(0, 1)]),
            Err(TileNodesError::Reader(MissingTile { coord }))
        );
    }

    // Spec: TIL-09
    #[test]
    fn nodes_between_tile_levels_are_hashed_from_the_tile_below() {
        let leaves = [leaf_hash(b"a"), leaf_hash(b"b"), empty_root()];
        let tile = leaves.iter().flat_map(|leaf| *leaf.as_bytes()).collect();
        let tiles = BTreeMap::from([(TileCoord::new(0, 0, 3).unwrap(), tile)]);
        let nodes = TileNodes::new(&tiles, size(3)).nodes(&[
            NodeCoord { level: 1, index: 0 },
            NodeCoord { level: 0, index: 2 },
        ]);
        assert_eq!(
            nodes,
            Ok(vec![node_hash(&leaves[0], &leaves[1]), leaves[2]])
        );
    }

    // Spec: TIL-10
    #[test]
    fn a_bundle_is_lengths_and_entries() {
        let bytes = EntryBundle::encode(&[&b"one"[..], b"", &[7; 256]]).unwrap();
        assert_eq!(bytes.get(..9), Some(&b"\0\x03one\0\0\x01\0"[..]));
        assert_eq!(
            EntryBundle::parse(&bytes, 3),
            Ok(vec![&b"one"[..], b"", &[7; 256]])
        );
        for (width, error) in [
            (0, BundleError::Width { found: 0 }),
            (1, BundleError::TrailingBytes { left: 260 }),
            (
                4,
                BundleError::Truncated {
                    position: 3,
                    left: 0,
                },
            ),
            (257, BundleError::Width { found: 257 }),
        ] {
            assert_eq!(EntryBundle::parse(&bytes, width), Err(error));
        }
        let cut = bytes.get(..bytes.len() - 1).unwrap();
        let error = BundleError::Truncated {
            position: 2,
            left: 257,
        };
        assert_eq!(EntryBundle::parse(cut, 3), Err(error));
        assert_eq!(
            EntryBundle::parse(&[0], 1),
            Err(BundleError::Truncated {
                position: 0,
                left: 1
            })
        );
    }

    // Spec: TIL-10
    #[test]
    fn entries_that_no_bundle_can_hold_are_refused() {
        let longest = vec![0; ENTRY_BYTES_MAX];
        assert!(EntryBundle::encode(&[&longest]).is_ok());
        let too_long = vec![0; ENTRY_BYTES_MAX + 1];
        assert_eq!(
            EntryBundle::encode(&[&b""[..], &too_long]),
            Err(BundleError::EntryTooLong {
                position: 1,
                found: ENTRY_BYTES_MAX + 1
            })
        );
        assert_eq!(
            EntryBundle::encode::<&[u8]>(&[]),
            Err(BundleError::Width { found: 0 })
        );
        assert_eq!(
            EntryBundle::encode(&[b""; 257]),
            Err(BundleError::Width { found: 257 })
        );
    }

    proptest! {
        #[test]
        fn every_tile_survives_its_path(
            level in 0..=63_u8,
            index in 0..=TILE_INDEX_MAX,
            bits in 0..64_u32,
            width in 1..=256_u16,
        ) {
            let index = index >> bits.min(54);
            let tile = TileCoord::new(level, index, width).unwrap();
            prop_assert_eq!(TileCoord::parse_path(&tile.path()), Ok(tile));
            let bundle = BundleCoord::new(index, width).unwrap();
            prop_assert_eq!(BundleCoord::parse_path(&bundle.path()), Ok(bundle));
        }

        #[test]
        fn a_path_that_parses_prints_the_same(
            path in "tile/(entries|[0-9]{1,2})(/x[0-9]{3}){0,3}/[0-9]{3}(\\.p/[0-9]{1,3})?",
        ) {
            if let Ok(tile) = TileCoord::parse_path(&path) {
                prop_assert_eq!(tile.path(), path);
            } else if let Ok(bundle) = BundleCoord::parse_path(&path) {
                prop_assert_eq!(bundle.path(), path);
            }
        }

        #[test]
        fn any_path_is_answered(path in "(tile/)?[0-9xp./a-z]{0,30}") {
            let _ = (TileCoord::parse_path(&path), BundleCoord::parse_path(&path));
        }

        #[test]
        fn every_bundle_survives(entries in proptest::collection::vec(any::<Vec<u8>>(), 1..20)) {
            let bytes = EntryBundle::encode(&entries).unwrap();
            let width = u16::try_from(entries.len()).unwrap();
            let parsed = EntryBundle::parse(&bytes, width).unwrap();
            prop_assert_eq!(&parsed, &entries);
            prop_assert_eq!(EntryBundle::encode(&parsed), Ok(bytes));
        }

        #[test]
        fn what_parses_as_a_bundle_encodes_to_the_same_bytes(bytes: Vec<u8>, width in 0..4_u16) {
            if let Ok(entries) = EntryBundle::parse(&bytes, width) {
                prop_assert_eq!(EntryBundle::encode(&entries), Ok(bytes.clone()));
            }
        }
    }
}
