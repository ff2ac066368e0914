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

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::decimal::{DECIMAL_MAX, DecimalError, parse_decimal};
use crate::hash::{Hash, node_hash};
use crate::tree::{NodeCoord, NodeReader, TreeSize};

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

/// Names a tile: its level, its index within the level, and how many hashes it has.
///
/// Orders by level, then index, then width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileCoord {
    level: u8,
    position: Position,
}

impl TileCoord {
    /// Takes a level of 0 to 63, an index up to [`TILE_INDEX_MAX`] and a width of 1 to 256.
    ///
    /// # Errors
    ///
    /// Says which of the numbers is out of bounds.
    pub const fn new(level: u8, index: u64, width: u16) -> Result<Self, CoordError> {
        // Spec: TIL-01
        if level > TILE_LEVEL_MAX {
            return Err(CoordError::Level { found: level });
        }
        match Position::new(index, width) {
            Ok(position) => Ok(Self { level, position }),
            Err(error) => Err(error),
        }
    }

    /// The tile at `level` and `index` as wide as it is in a tree of `size`; `None` when that tree
    /// has no hash there.
    pub fn of_size(level: u8, index: u64, size: TreeSize) -> Option<Self> {
        // Spec: TIL-06
        let position = Position::in_row(index, row_len(level, size))?;
        Some(Self { level, position })
    }

    /// The tile that holds the node, or the hashes from which it is computed, as wide as it is in a
    /// tree of `size`; `None` when the node is not complete in that tree.
    pub fn of_node(node: NodeCoord, size: TreeSize) -> Option<Self> {
        if !node.is_complete_in(size) {
            return None;
        }
        let place = Place::of(node);
        Self::of_size(place.level, place.index, size)
    }

    /// The level: 0 has the leaf hashes.
    pub const fn level(&self) -> u8 {
        self.level
    }

    /// The index within the level, counted from 0.
    pub const fn index(&self) -> u64 {
        self.position.index
    }

    /// How many hashes the tile has: 1 to 256.
    pub const fn width(&self) -> u16 {
        self.position.width
    }

    /// Whether the tile has all of its 256 hashes, so that it never changes again.
    pub const fn is_full(&self) -> bool {
        self.position.is_full()
    }

    /// The full tile in the same place.
    #[must_use]
    pub const fn to_full(self) -> Self {
        Self {
            level: self.level,
            position: self.position.to_full(),
        }
    }

    /// Whether a tree of `size` has all the hashes of the tile. A narrower tile of the same place,
    /// as earlier sizes had it, is also covered.
    pub fn is_covered_by(&self, size: TreeSize) -> bool {
        self.position.end() <= row_len(self.level, size)
    }

    /// How long the tile is in bytes.
    pub fn byte_len(&self) -> usize {
        // Spec: TIL-05
        usize::from(self.width()) * Hash::LEN
    }

    /// The path below the log's URL prefix, such as `tile/1/x001/234.p/5`.
    pub fn path(&self) -> String {
        // Spec: TIL-01
        alloc::format!("tile/{}/{}", self.level, self.position)
    }

    /// Parses what [`Self::path`] prints, and nothing else.
    ///
    /// # Errors
    ///
    /// Says which part of the path is wrong.
    pub fn parse_path(path: &str) -> Result<Self, PathError> {
        // Spec: TIL-01, TIL-02, TIL-03, TIL-04
        let rest = path.strip_prefix("tile/").ok_or(PathError::Prefix)?;
        let (level, rest) = rest.split_once('/').ok_or(PathError::NoIndex)?;
        let level = parse_decimal(level).map_err(PathError::Level)?;
        let level = u8::try_from(level)
            .ok()
            .filter(|&level| level <= TILE_LEVEL_MAX)
            .ok_or(PathError::LevelAbove { found: level })?;
        Ok(Self {
            level,
            position: Position::parse(rest)?,
        })
    }
}

impl fmt::Display for TileCoord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

/// Names an entry bundle: the entries below a tile of level 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleCoord {
    position: Position,
}

impl BundleCoord {
    /// Takes an index up to [`TILE_INDEX_MAX`] and a width of 1 to 256.
    ///
    /// # Errors
    ///
    /// Says which of the numbers is out of bounds.
    pub const fn new(index: u64, width: u16) -> Result<Self, CoordError> {
        match Position::new(index, width) {
            Ok(position) => Ok(Self { position }),
            Err(error) => Err(error),
        }
    }

    /// The bundle at `index` as wide as it is in a tree of `size`; `None` when that tree has no
    /// entry there.
    pub fn of_size(index: u64, size: TreeSize) -> Option<Self> {
        // Spec: TIL-06
        Some(Self {
            position: Position::in_row(index, size.get())?,
        })
    }

    /// The index, counted from 0.
    pub const fn index(&self) -> u64 {
        self.position.index
    }

    /// How many entries the bundle has: 1 to 256.
    pub const fn width(&self) -> u16 {
        self.position.width
    }

    /// The index of its first entry.
    pub const fn first(&self) -> u64 {
        self.position.first()
    }

    /// Whether the bundle has all of its 256 entries, so that it never changes again.
    pub const fn is_full(&self) -> bool {
        self.position.is_full()
    }

    /// The full bundle in the same place.
    #[must_use]
    pub const fn to_full(self) -> Self {
        Self {
            position: self.position.to_full(),
        }
    }

    /// Whether a tree of `size` has all the entries of the bundle.
    pub fn is_covered_by(&self, size: TreeSize) -> bool {
        self.position.end() <= size.get()
    }

    /// The path below the log's URL prefix, such as `tile/entries/x001/234.p/5`.
    pub fn path(&self) -> String {
        // Spec: TIL-08
        alloc::format!("tile/entries/{}", self.position)
    }

    /// Parses what [`Self::path`] prints, and nothing else.
    ///
    /// # Errors
    ///
    /// Says which part of the path is wrong.
    pub fn parse_path(path: &str) -> Result<Self, PathError> {
        // Spec: TIL-08
        let rest = path
            .strip_prefix("tile/entries/")
            .ok_or(PathError::Prefix)?;
        Ok(Self {
            position: Position::parse(rest)?,
        })
    }
}

impl fmt::Display for BundleCoord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

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

/// What tiles and bundles have in common: an index in a row, and a width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Position {
    index: u64,
    width: u16,
}

impl Position {
    const fn new(index: u64, width: u16) -> Result<Self, CoordError> {
        if index > TILE_INDEX_MAX {
            return Err(CoordError::Index { found: index });
        }
        if width == 0 || width > TILE_WIDTH {
            return Err(CoordError::Width { found: width });
        }
        Ok(Self { index, width })
    }

    fn in_row(index: u64, row_len: u64) -> Option<Self> {
        let left = row_len.checked_sub(index.checked_mul(u64::from(TILE_WIDTH))?)?;
        let width = u16::try_from(left.min(u64::from(TILE_WIDTH))).ok()?;
        Self::new(index, width).ok()
    }

    /// No overflow: the index is at most [`TILE_INDEX_MAX`].
    const fn first(self) -> u64 {
        self.index << LEVELS_PER_TILE
    }

    fn end(self) -> u64 {
        self.first() + u64::from(self.width)
    }

    const fn is_full(self) -> bool {
        self.width == TILE_WIDTH
    }

    const fn to_full(self) -> Self {
        Self {
            index: self.index,
            width: TILE_WIDTH,
        }
    }

    fn parse(text: &str) -> Result<Self, PathError> {
        // Spec: TIL-03, TIL-04
        let (index, width) = match text.split_once(".p/") {
            Some((index, width)) => (index, parse_partial_width(width)?),
            None => (text, TILE_WIDTH),
        };
        Ok(Self {
            index: parse_index(index)?,
            width,
        })
    }
}

/// Prints `<N>[.p/<W>]`.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Spec: TIL-03, TIL-04
        let mut group = 1_000_u64.pow(INDEX_GROUPS_MAX - 1);
        while group > 1 {
            if self.index >= group {
                write!(f, "x{:03}/", self.index / group % 1_000)?;
            }
            group /= 1_000;
        }
        write!(f, "{:03}", self.index % 1_000)?;
        if self.is_full() {
            Ok(())
        } else {
            write!(f, ".p/{}", self.width)
        }
    }
}

/// [`TILE_INDEX_MAX`] has 17 digits: six groups of three.
const INDEX_GROUPS_MAX: u32 = 6;

fn parse_index(text: &str) -> Result<u64, PathError> {
    let mut index = 0_u64;
    let mut elements = text.split('/').peekable();
    let mut first = true;
    while let Some(element) = elements.next() {
        let more = elements.peek().is_some();
        let digits = if more {
            element.strip_prefix('x')
        } else {
            Some(element)
        };
        let digits = digits
            .filter(|digits| digits.len() == 3)
            .ok_or(PathError::IndexElement)?;
        if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(PathError::IndexElement);
        }
        if first && more && digits == "000" {
            return Err(PathError::IndexPadded);
        }
        first = false;
        index = digits
            .bytes()
            .try_fold(index, |index, digit| {
                index.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
            })
            .filter(|&index| index <= TILE_INDEX_MAX)
            .ok_or(PathError::IndexAbove)?;
    }
    Ok(index)
}

fn parse_partial_width(text: &str) -> Result<u16, PathError> {
    let width = parse_decimal(text).map_err(PathError::Width)?;
    u16::try_from(width)
        .ok()
        .filter(|&width| width > 0 && width < TILE_WIDTH)
        .ok_or(PathError::WidthOutside { found: width })
}

/// Numbers that name no tile or bundle. The fault is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordError {
    /// The level is above 63.
    Level {
        /// The level given.
        found: u8,
    },
    /// The index is above [`TILE_INDEX_MAX`].
    Index {
        /// The index given.
        found: u64,
    },
    /// The width is 0 or above 256.
    Width {
        /// The width given.
        found: u16,
    },
}

impl fmt::Display for CoordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level { found } => write!(f, "tile level {found} is above {TILE_LEVEL_MAX}"),
            Self::Index { found } => write!(f, "tile index {found} is above {TILE_INDEX_MAX}"),
            Self::Width { found } => write!(f, "tile width {found} is not 1 to {TILE_WIDTH}"),
        }
    }
}

impl core::error::Error for CoordError {}

/// Why a path names no tile or bundle. The fault is the sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// It does not begin with `tile/`, or `tile/entries/` for a bundle.
    Prefix,
    /// It ends before the index.
    NoIndex,
    /// The level is no canonical decimal number.
    Level(DecimalError),
    /// The level is above 63.
    LevelAbove {
        /// The level in the path.
        found: u64,
    },
    /// An element of the index is not three digits, after an `x` in all but the last element.
    IndexElement,
    /// The index begins with a group of zeros that it does not need.
    IndexPadded,
    /// The index is above [`TILE_INDEX_MAX`].
    IndexAbove,
    /// The width is no canonical decimal number.
    Width(DecimalError),
    /// The width of a partial tile is not 1 to 255.
    WidthOutside {
        /// The width in the path.
        found: u64,
    },
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix => f.write_str("the path does not begin as that of a tile or bundle"),
            Self::NoIndex => f.write_str("the path has no tile index"),
            Self::Level(reason) => write!(f, "the tile level: {reason}"),
            Self::LevelAbove { found } => {
                write!(f, "tile level {found} is above {TILE_LEVEL_MAX}")
            }
            Self::IndexElement => {
                f.write_str("the tile index is not written in groups of three digits")
            }
            Self::IndexPadded => f.write_str("the tile index has a leading group of zeros"),
            Self::IndexAbove => write!(f, "the tile index is above {TILE_INDEX_MAX}"),
            Self::Width(reason) => write!(f, "the width of the partial tile: {reason}"),
            Self::WidthOutside { found } => {
                write!(f, "width {found} of a partial tile is not 1 to 255")
            }
        }
    }
}

impl core::error::Error for PathError {}

/// Where tiles come from: a store, a directory, a log's URL.
///
/// An implementation may be untrusted: hashes that it makes up give a proof that does not verify,
/// never a wrong acceptance.
pub trait TileReader {
    /// Why a read failed.
    type Error;

    /// Returns the bytes of a tile, exactly [`TileCoord::byte_len`] of them.
    ///
    /// A partial tile may be gone once the full tile exists: fetch [`TileCoord::to_full`] then, and
    /// return its first hashes.
    ///
    /// # Errors
    ///
    /// When the tile is unknown or cannot be read.
    fn tile(&self, coord: TileCoord) -> Result<Vec<u8>, Self::Error>;
}

impl<R: TileReader + ?Sized> TileReader for &R {
    type Error = R::Error;

    fn tile(&self, coord: TileCoord) -> Result<Vec<u8>, Self::Error> {
        (**self).tile(coord)
    }
}

/// The tiles of a tree of one size.
impl TileReader for BTreeMap<TileCoord, Vec<u8>> {
    type Error = MissingTile;

    fn tile(&self, coord: TileCoord) -> Result<Vec<u8>, MissingTile> {
        self.get(&coord).cloned().ok_or(MissingTile { coord })
    }
}

/// A reader in memory does not hold this tile. The fault is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingTile {
    /// The tile that was asked for.
    pub coord: TileCoord,
}

impl fmt::Display for MissingTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not held", self.coord)
    }
}

impl core::error::Error for MissingTile {}

/// The nodes of a tree of a given size, computed from its tiles.
///
/// Take the size from a checkpoint that is verified: partial tiles of other sizes need not exist.
/// Each call reads each tile that it needs once, however many nodes come from it.
#[derive(Clone, Debug)]
pub struct TileNodes<R> {
    reader: R,
    size: TreeSize,
}

impl<R: TileReader> TileNodes<R> {
    /// Reads the tiles of the tree of `size` leaves.
    pub const fn new(reader: R, size: TreeSize) -> Self {
        Self { reader, size }
    }

    /// The size of the tree.
    pub const fn size(&self) -> TreeSize {
        self.size
    }

    fn read(&self, coord: TileCoord) -> Result<Vec<u8>, TileNodesError<R::Error>> {
        // Spec: TIL-05
        let bytes = self.reader.tile(coord).map_err(TileNodesError::Reader)?;
        if bytes.len() != coord.byte_len() {
            return Err(TileNodesError::TileLength {
                coord,
                found: bytes.len(),
            });
        }
        Ok(bytes)
    }
}

impl<R: TileReader> NodeReader for TileNodes<R> {
    type Error = TileNodesError<R::Error>;

    fn nodes(&self, coords: &[NodeCoord]) -> Result<Vec<Hash>, Self::Error> {
        // Spec: TIL-09
        let mut tiles: BTreeMap<TileCoord, Vec<u8>> = BTreeMap::new();
        let mut hashes = Vec::with_capacity(coords.len());
        for &node in coords {
            let outside = TileNodesError::OutsideTree {
                node,
                size: self.size,
            };
            let Some(coord) = TileCoord::of_node(node, self.size) else {
                return Err(outside);
            };
            let bytes = match tiles.entry(coord) {
                alloc::collections::btree_map::Entry::Occupied(held) => held.into_mut(),
                alloc::collections::btree_map::Entry::Vacant(gap) => gap.insert(self.read(coord)?),
            };
            hashes.push(Place::of(node).hash_in(bytes).ok_or(outside)?);
        }
        Ok(hashes)
    }
}

/// Where the hashes are from which a node is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    level: u8,
    index: u64,
    /// The first of them within the tile.
    first: usize,
    /// How many there are: a power of two, 1 to 128.
    count: usize,
}

impl Place {
    /// For a node that is complete in some tree, so that the shift loses nothing.
    fn of(node: NodeCoord) -> Self {
        // Spec: TIL-09
        let (level, above) = (node.level / 8, node.level % 8);
        let first = node.index << above;
        Self {
            level,
            index: first >> LEVELS_PER_TILE,
            first: usize::from(first.to_le_bytes()[0]),
            count: 1 << above,
        }
    }

    /// `None` when the tile does not reach that far.
    fn hash_in(self, tile: &[u8]) -> Option<Hash> {
        let (hashes, _) = tile.as_chunks::<{ Hash::LEN }>();
        let below = hashes.get(self.first..self.first.checked_add(self.count)?)?;
        let mut row: Vec<Hash> = below.iter().copied().map(Hash::new).collect();
        while row.len() > 1 {
            row = row
                .as_chunks()
                .0
                .iter()
                .map(|[left, right]| node_hash(left, right))
                .collect();
        }
        row.pop()
    }
}

/// Why nodes could not be computed from tiles. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TileNodesError<E> {
    /// The tree of that size does not have the node; the caller is at fault.
    OutsideTree {
        /// The node asked for.
        node: NodeCoord,
        /// The size of the tree.
        size: TreeSize,
    },
    /// The tile reader failed.
    Reader(E),
    /// A tile is too short or too long; whoever serves it is at fault.
    TileLength {
        /// The tile asked for.
        coord: TileCoord,
        /// How many bytes came.
        found: usize,
    },
}

impl<E: fmt::Display> fmt::Display for TileNodesError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutsideTree { node, size } => {
                let NodeCoord { level, index } = node;
                write!(
                    f,
                    "there is no node {index} of level {level} in a tree of size {size}"
                )
            }
            Self::Reader(error) => error.fmt(f),
            Self::TileLength { coord, found } => {
                write!(
                    f,
                    "{coord} has {found} bytes where {} are needed",
                    coord.byte_len()
                )
            }
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for TileNodesError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Reader(error) => error.source(),
            Self::OutsideTree { .. } | Self::TileLength { .. } => None,
        }
    }
}

/// The bytes of an entry bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryBundle {}

impl EntryBundle {
    /// Writes entries into one bundle: 1 to 256 of them.
    ///
    /// # Errors
    ///
    /// When there are too few, too many, or one is too long.
    pub fn encode<E: AsRef<[u8]>>(entries: &[E]) -> Result<Vec<u8>, BundleError> {
        // Spec: TIL-10
        if entries.is_empty() || entries.len() > usize::from(TILE_WIDTH) {
            return Err(BundleError::Width {
                found: entries.len(),
            });
        }
        let mut bytes = Vec::new();
        for (position, entry) in entries.iter().enumerate() {
            let entry = entry.as_ref();
            let length = u16::try_from(entry.len()).map_err(|_| BundleError::EntryTooLong {
                position,
                found: entry.len(),
            })?;
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(entry);
        }
        Ok(bytes)
    }

    /// Reads the entries of a bundle that has `width` of them.
    ///
    /// # Errors
    ///
    /// When the width is not 1 to 256, the bundle ends within an entry, or bytes are left over.
    pub fn parse(bytes: &[u8], width: u16) -> Result<Vec<&[u8]>, BundleError> {
        // Spec: TIL-10
        if width == 0 || width > TILE_WIDTH {
            return Err(BundleError::Width {
                found: usize::from(width),
            });
        }
        let mut entries = Vec::with_capacity(usize::from(width));
        let mut rest = bytes;
        for position in 0..usize::from(width) {
            let cut = BundleError::Truncated {
                position,
                left: rest.len(),
            };
            let (length, after) = rest.split_first_chunk::<2>().ok_or(cut)?;
            let length = usize::from(u16::from_be_bytes(*length));
            let (entry, after) = after.split_at_checked(length).ok_or(cut)?;
            entries.push(entry);
            rest = after;
        }
        if rest.is_empty() {
            Ok(entries)
        } else {
            Err(BundleError::TrailingBytes { left: rest.len() })
        }
    }
}

/// Why entries and a bundle do not fit each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleError {
    /// A bundle has 1 to 256 entries; the caller is at fault.
    Width {
        /// How many there would be.
        found: usize,
    },
    /// An entry is longer than [`ENTRY_BYTES_MAX`]; whoever let it into the log is at fault.
    EntryTooLong {
        /// Its position in the bundle, counted from 0.
        position: usize,
        /// Its length in bytes.
        found: usize,
    },
    /// The bundle ends within an entry or its length; whoever serves it is at fault.
    Truncated {
        /// The position of that entry in the bundle, counted from 0.
        position: usize,
        /// How many bytes are left for it, its length included.
        left: usize,
    },
    /// There are bytes after the last entry; whoever serves the bundle is at fault.
    TrailingBytes {
        /// How many there are.
        left: usize,
    },
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Width { found } => write!(f, "a bundle cannot have {found} entries"),
            Self::EntryTooLong { position, found } => {
                write!(
                    f,
                    "entry {position} has {found} bytes, above {ENTRY_BYTES_MAX}"
                )
            }
            Self::Truncated { position, left } => {
                write!(
                    f,
                    "the bundle ends within entry {position}, {left} bytes after its start"
                )
            }
            Self::TrailingBytes { left } => {
                write!(
                    f,
                    "{left} bytes are left after the last entry of the bundle"
                )
            }
        }
    }
}

impl core::error::Error for BundleError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{empty_root, leaf_hash};
    use alloc::vec;
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
        fn every_tile_survives_its_path(level in 0..=63_u8, index in 0..=TILE_INDEX_MAX, bits in 0..64_u32, width in 1..=256_u16) {
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
