//! What the benches share: their switches, the workload, the real processes, the load, the table.

#![allow(dead_code, reason = "each bench uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    clippy::needless_pass_by_value,
    clippy::unchecked_time_subtraction,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    unreachable_pub,
    reason = "a program that measures, and stops at the first failure"
)]

pub mod authorities;
pub mod disk;
pub mod floor;
pub mod load;
pub mod peers;
pub mod process;
pub mod report;
pub mod service;
pub mod turns;
pub mod workload;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// How much is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// What the table holds.
    Full,
    /// Seconds: whether the bench works, and roughly where the figures lie.
    Quick,
}

impl Effort {
    /// From the command line. `None` when cargo runs the bench as a test: there is nothing to do,
    /// and a debug build would measure nothing.
    pub fn from_arguments() -> Option<Self> {
        let given = |switch: &str| std::env::args().any(|argument| argument == switch);
        if given("--quick") {
            Some(Self::Quick)
        } else if given("--bench") {
            Some(Self::Full)
        } else {
            println!("nothing measured: run by `cargo bench`, or with --quick");
            None
        }
    }

    /// One value for each effort.
    pub fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

/// Whether a part of a bench was asked for: all are, unless some are named.
pub fn wants(part: &str) -> bool {
    let named: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    named.is_empty() || named.iter().any(|name| name == part)
}

/// A folder for databases, removed at the end. Not in the system's temporary directory, which may
/// be memory: an fsync would then cost nothing.
pub fn scratch() -> TempDir {
    let root = std::env::var_os("JURAT_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    std::fs::create_dir_all(&root).unwrap();
    TempDir::with_prefix_in("bench-", root).unwrap()
}

/// Bytes that the file system has given to a file; a file with holes is longer than that.
pub fn allocated_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).unwrap().blocks() * 512
}

/// Numbers that need not be good, but the same in each run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 16) % bound
    }
}
