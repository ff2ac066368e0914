//! The names of tiles and entry bundles, and their paths.

use alloc::string::String;
use core::fmt;

use super::nodes::Place;
use super::{LEVELS_PER_TILE, TILE_INDEX_MAX, TILE_LEVEL_MAX, TILE_WIDTH, row_len};
use crate::decimal::{DecimalError, parse_decimal};
use crate::hash::Hash;
use crate::tree::{NodeCoord, TreeSize};

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
