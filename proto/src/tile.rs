//! Tiles and entry bundles.
