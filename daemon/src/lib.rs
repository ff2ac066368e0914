//! See the crate's description in Cargo.toml; its modules land one by one.
